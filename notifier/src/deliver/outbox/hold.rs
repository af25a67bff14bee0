//! Logins that are held a moment for what their own record does not say.
//!
//! How long is counted from when the sender has taken them in, by the monotonic clock, and is at most
//! what the [`Finder`] asks for. With or without an answer, they are told then. Nothing else waits for
//! them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Outbox;
use crate::clock::{Stamp, millis, unix_ms};
use crate::deliver::lookup::{Ask, Found};
use crate::event::{Event, What};
use crate::fact::{Fact, Finder, Looked};
use crate::message::Facts;
use crate::spool::queue::State;
use crate::syslog::{Level, Line};
use crate::text;

/// Most logins held at the same time: of a flood, the others are told at once and without.
const MOST: usize = 128;

/// Longest that anybody may have a login held.
const LONGEST: Duration = Duration::from_secs(3);

/// A login that is held.
#[derive(Debug)]
pub(super) struct Hold {
    /// Until when.
    until_ms: u64,
    /// What is told when there is no answer by then.
    late: Option<Fact>,
}

impl Outbox {
    /// Takes over who finds out more about logins. The first that wants to is asked.
    pub fn set_finders(&mut self, finders: Vec<Arc<dyn Finder>>) {
        self.finders = finders;
    }

    /// Holds a message that comes in, if there is more to be found out about it.
    pub(super) fn hold(&mut self, name: &str, event: &Event, state: &State, now_ms: u64) {
        if !matches!(event.what, What::Login(_)) || state.looked.is_some() || state.is_begun() {
            return;
        }
        let asked = self.finders.iter().find_map(|one| Some((one.patience(event)?, one.clone())));
        let Some((patience, finder)) = asked else { return };
        if self.held.len() >= MOST {
            self.held.retain(|_, hold| hold.until_ms > now_ms);
        }
        if self.held.len() >= MOST {
            return;
        }
        let patience = patience.min(LONGEST);
        let hold = Hold { until_ms: now_ms.saturating_add(millis(patience)), late: finder.late() };
        self.held.insert(name.to_owned(), hold);
        self.asks.push(Ask {
            name: name.to_owned(),
            event: Box::new(event.clone()),
            finder,
            deadline: Instant::now() + patience,
        });
    }

    /// Until when a message is held, if it is.
    pub(super) fn held_until(&self, name: &str, now_ms: u64) -> Option<u64> {
        self.held.get(name).map(|hold| hold.until_ms).filter(|until| *until > now_ms)
    }

    /// A message is told now, whether there was an answer or not: nothing more is looked for.
    pub(super) fn let_hold_go(&mut self, name: &str) {
        let Some(hold) = self.held.remove(name) else { return };
        if let Some(entry) = self.entries.get_mut(name) {
            entry.state.looked.get_or_insert(Looked { fact: hold.late });
        }
    }

    /// What is to be asked about the messages that have come in since the last call.
    pub fn asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// Takes answers in, durably, and lets go of the messages that were held for them. One that comes
    /// when its message has been told, in whole or in part, comes too late.
    pub fn found(&mut self, answers: Vec<Found>, now_ms: u64) {
        let mut names = Vec::with_capacity(answers.len());
        for Found { name, event, fact } in answers {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            if entry.state.looked.is_some() || entry.state.is_begun() {
                continue;
            }
            self.held.remove(&name);
            if let Some(answer) = fact.as_ref().and_then(Fact::via) {
                let new = self.seen.look_via(entry.id, answer, unix_ms() / 1000);
                entry.new = entry.new.and(new);
            }
            entry.state.looked = Some(Looked { fact: fact.clone() });
            if let Some(fact) = fact {
                self.log_fact(&event, fact);
            }
            names.push(name);
        }
        if !names.is_empty() {
            self.write_seen();
            self.write(&names, now_ms);
        }
    }

    /// Without a channel this line is all that anybody hears of it.
    fn log_fact(&self, event: &Event, fact: Fact) {
        let facts = Facts::from([(event.id, fact)]);
        let text = text::event_line_with(event, &facts, &Stamp::now());
        let line = Line::new("alert-fact").word("alert", event.id).text("text", &text);
        self.log.say(Level::Notice, &line);
    }
}
