//! After a provider has taken a message: asks what became of it, and takes it back from `sent/` when
//! it has not arrived. An SMS is filtered by a carrier minutes after Twilio has said `queued`.

use super::Outbox;
use crate::channel::{Followed, Outcome};
use crate::clock::Stamp;
use crate::deliver::route::{self, Gates, Step};
use crate::deliver::worker::Report;
use crate::event::AlertId;
use crate::message::New;
use crate::spool::claim::Claimed;
use crate::spool::id_of;
use crate::spool::queue::{Phase, State};
use crate::syslog::{Level, Line};

/// When the provider is asked, in seconds after it has taken the message and then after each
/// look. After the last one silence counts as arrival: some carriers never report.
const LOOKS_S: [u64; 6] = [5, 15, 60, 300, 900, 3600];

/// Most messages followed at a time; of more, the newest.
const MOST: usize = 200;

/// A message that a provider has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// The channel.
    pub channel: String,
    /// The provider's id.
    pub id: String,
    recipient: String,
    pub(super) names: Vec<String>,
    looks: usize,
    due_ms: u64,
}

impl Follow {
    fn line(&self, event: &'static str) -> Line {
        let line = Line::new(event).text("channel", &self.channel);
        let line = line.text("to", &self.recipient).text("id", &self.id);
        match self.names.first().and_then(|name| id_of(name)) {
            Some(id) => line.word("alert", id).word("messages", self.names.len()),
            None => line,
        }
    }
}

impl Outbox {
    /// Whether the message of this report is to be followed; if so, it is from now on.
    pub(super) fn follow_up(&mut self, report: &Report, now_ms: u64) -> bool {
        let Outcome::Delivered { id: Some(id), .. } = &report.outcome else { return false };
        if !self.policy.ways.get(&report.channel).is_some_and(|way| way.follows) {
            return false;
        }
        if self.follows.len() == MOST {
            self.follows.remove(0);
        }
        self.follows.push(Follow {
            channel: report.channel.clone(),
            id: id.clone(),
            recipient: report.recipient.clone(),
            names: report.names.clone(),
            looks: 0,
            due_ms: now_ms.saturating_add(LOOKS_S[0] * 1000),
        });
        true
    }

    /// Takes up what a sender before this one has followed.
    pub(super) fn take_up_follows(&mut self, now_ms: u64) {
        let mut follows: Vec<Follow> = Vec::new();
        for (name, state) in self.queue.followed() {
            for (channel, legs) in &state.channels {
                for (recipient, leg) in legs.iter().filter(|(_, leg)| leg.followed) {
                    let Some(id) = &leg.provider_id else { continue };
                    let same = |one: &&mut Follow| one.channel == *channel && one.id == *id;
                    if let Some(one) = follows.iter_mut().find(same) {
                        one.names.push(name.clone());
                        continue;
                    }
                    follows.push(Follow {
                        channel: channel.clone(),
                        id: id.clone(),
                        recipient: recipient.clone(),
                        names: vec![name.clone()],
                        looks: 1,
                        due_ms: now_ms.saturating_add(LOOKS_S[0] * 1000),
                    });
                }
            }
        }
        let surplus = follows.len().saturating_sub(MOST);
        self.follows = follows.split_off(surplus);
    }

    /// The look that is due on an idle channel, and when the next one is.
    #[must_use]
    pub fn follow_due(&mut self, now_ms: u64, idle: &[&str]) -> (Option<Follow>, u64) {
        let ways = &self.policy.ways;
        self.follows.retain(|follow| ways.contains_key(&follow.channel));
        let due =
            |follow: &Follow| follow.due_ms <= now_ms && idle.contains(&follow.channel.as_str());
        if let Some(at) = self.follows.iter().position(due) {
            return (Some(self.follows.remove(at)), now_ms);
        }
        let later = self.follows.iter().map(|follow| follow.due_ms.max(now_ms));
        // One on a busy channel is due when that reports, which ends the sleep by itself.
        let waiting = later.filter(|due_ms| *due_ms > now_ms).min();
        (None, waiting.unwrap_or(u64::MAX))
    }

    /// Takes in what became of a message that was followed.
    pub fn followed(&mut self, mut follow: Follow, outcome: Followed, now_ms: u64) {
        match outcome {
            Followed::Arrived(said) => {
                self.log.say(Level::Info, &follow.line("alert-arrived").text("answer", &said));
                self.end_follow(&follow);
            }
            Followed::Underway(_) | Followed::NotAsked(_) => {
                follow.looks += 1;
                match LOOKS_S.get(follow.looks) {
                    Some(seconds) => {
                        follow.due_ms = now_ms.saturating_add(seconds * 1000);
                        self.follows.push(follow);
                    }
                    None => self.end_follow(&follow),
                }
            }
            Followed::Failed { why, again } => {
                self.log.say(Level::Error, &follow.line("alert-undelivered").text("reason", &why));
                for name in &follow.names {
                    self.take_again(name, &follow, &why, again, now_ms);
                }
            }
        }
    }

    /// Forgets that a message is followed. On disk it is a hint only, so nobody waits for it.
    fn end_follow(&mut self, follow: &Follow) {
        for name in &follow.names {
            if let Some(entry) = self.entries.get_mut(name) {
                entry.leg_mut(&follow.channel, &follow.recipient).followed = false;
            } else if let Some(mut state) = self.queue.sent_state(name) {
                if let Some(leg) = state.leg_mut(&follow.channel, &follow.recipient) {
                    leg.followed = false;
                    let _ = self.queue.write_sent_state(name, &state);
                }
            }
        }
    }

    /// Sets a message on its way again, as far as its route has one left.
    fn take_again(&mut self, name: &str, follow: &Follow, why: &str, again: bool, now_ms: u64) {
        let fail = |state: &mut State| {
            let leg = state.leg_mut(&follow.channel, &follow.recipient)?;
            leg.followed = false;
            leg.last = why.to_owned();
            // Once more and not for ever: by then the carrier has said the same twice.
            let once_more = again && leg.tries < 2;
            leg.phase = if once_more { Phase::Waiting } else { Phase::Failed };
            leg.told_as = None;
            leg.provider_id = None;
            Some(())
        };
        if let Some(entry) = self.entries.get_mut(name) {
            if fail(&mut entry.state).is_some() {
                self.write(&[name.to_owned()], now_ms);
            }
            return;
        }
        let Some(mut state) = self.queue.sent_state(name) else { return };
        if fail(&mut state).is_none() || self.arrived_otherwise(name, &state, now_ms) {
            let _ = self.queue.write_sent_state(name, &state);
            return;
        }
        let recalled = self.queue.recall(name, &state);
        let taken_back = recalled.is_ok();
        let told = recalled.map_err(|error| format!("cannot take a message back: {error}"));
        self.tell_once(super::Thing::PutAway, told);
        if !taken_back {
            return;
        }
        if let Ok((claimed @ Claimed::Event { .. }, state)) = self.queue.take_up(name) {
            self.take_in(claimed, state, now_ms);
        }
    }

    /// Whether another of its recipients, or another channel, has it all the same.
    fn arrived_otherwise(&self, name: &str, state: &State, now_ms: u64) -> bool {
        let Ok(event) = self.queue.sent_event(name) else { return true };
        let entry = super::Entry {
            new: New::default(),
            alone: false,
            subject: None,
            id: id_of(name).unwrap_or_else(|| AlertId::from_bits(0)),
            kind: event.what.kind(),
            severity: event.severity,
            at: event.at.clone(),
            state: state.clone(),
        };
        let gates = Gates::default();
        matches!(route::next(&self.view(&entry, &gates, &Stamp::now(), now_ms)), Step::Done)
    }
}
