//! Logins that are held a moment for what their own record does not say.
//!
//! How long is counted from when the sender has taken them in, by the monotonic clock, and is at most
//! what the [`Finder`] asks for. With or without an answer, they are told then. Nothing else waits for
//! them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, Outbox};
use crate::clock::millis;
use crate::deliver::lookup::{Ask, Found};
use crate::event::{Event, What};
use crate::fact::{Fact, Finder, Looked};
use crate::spool::queue::State;

/// Most logins held at the same time: of a flood, the others are told at once and without.
const MOST: usize = 128;

/// Longest that anybody may have a login held.
const LONGEST: Duration = Duration::from_secs(3);

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
            self.held.retain(|_, until| *until > now_ms);
        }
        if self.held.len() >= MOST {
            return;
        }
        let patience = patience.min(LONGEST);
        self.held.insert(name.to_owned(), now_ms.saturating_add(millis(patience)));
        self.asks.push(Ask {
            name: name.to_owned(),
            event: Box::new(event.clone()),
            finder,
            deadline: Instant::now() + patience,
        });
    }

    /// Until when a message is held, if it is.
    pub(super) fn held_until(&self, name: &str, now_ms: u64) -> Option<u64> {
        self.held.get(name).copied().filter(|until| *until > now_ms)
    }

    /// What is to be asked about the messages that have come in since the last call.
    pub fn asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// Takes answers in, durably, and lets go of the messages that were held for them. One that comes
    /// when its message has been told, in whole or in part, comes too late.
    pub fn found(&mut self, answers: Vec<Found>, now_ms: u64) {
        let mut names = Vec::with_capacity(answers.len());
        for Found { name, fact, .. } in answers {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            if entry.state.looked.is_some() || entry.state.is_begun() {
                continue;
            }
            entry.state.looked = Some(Looked { fact });
            self.held.remove(&name);
            names.push(name);
        }
        if !names.is_empty() {
            self.write(&names, now_ms);
        }
    }
}

impl Entry {
    /// What was found out about it.
    pub(super) fn fact(&self) -> Option<&Fact> {
        self.state.looked.as_ref()?.fact.as_ref()
    }
}
