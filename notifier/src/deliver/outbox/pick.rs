//! What goes out next: the best try for each channel that has nothing to do, and what is told with
//! it in the same message.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Entry, Outbox};
use crate::channel::Message;
use crate::clock::{Stamp, millis};
use crate::deliver::also;
use crate::deliver::limits::Claim;
use crate::deliver::policy::Way;
use crate::deliver::route::{self, Gates, Step};
use crate::deliver::worker::Job;
use crate::event::{Event, What};
use crate::message::{Facts, Marks, New};
use crate::spool::files::ReadError;
use crate::spool::queue::Phase;
use crate::syslog::{Level, Line};

/// Most events told in one message: each is read from disk and marked there first.
const TOGETHER: usize = 500;

/// Most messages prepared at once for a channel that takes each event alone: one fsync(2) of the
/// directory does for all of them.
const RUN: usize = 32;

/// How long a message waits that could not be read.
const UNREADABLE: Duration = Duration::from_secs(60);

/// A try that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The channel.
    pub channel: String,
    pub(super) recipient: String,
    /// The messages' names in the queue that are told in one; first the one that gives its id.
    pub(super) names: Vec<String>,
}

/// The best that was found for a channel so far.
struct Best {
    rank: (bool, u32),
    recipient: String,
    names: Vec<String>,
}

impl Outbox {
    /// Finds the best tries for each channel of `idle`, and says when to look again (on the
    /// monotonic clock). Logins go before others; then what is perhaps out, which has to be looked
    /// for before others push it off the provider's list; then what has been tried least, so
    /// that a message nobody can deliver never blocks the next. On the way it puts away what
    /// is over.
    pub fn due(&mut self, now_ms: u64, idle: &[&str]) -> (Vec<Due>, u64) {
        let now = Stamp::now();
        let gates = self.gates(now_ms);
        self.say_full(&gates, now_ms);
        let mut best: BTreeMap<String, Best> = BTreeMap::new();
        let (mut over, mut satisfied, mut wake_ms) = (Vec::new(), 0, u64::MAX);
        let first_rank = (self.logins == 0, u32::from(self.doubtful.is_empty()));
        for (name, entry) in &self.entries {
            if !idle.is_empty() && satisfied == idle.len() {
                // Nothing can be better, and the next look is soon: after a report.
                break;
            }
            if let Some(until) = self.held_until(name, now_ms) {
                wake_ms = wake_ms.min(until);
                continue;
            }
            match route::next(&self.view(entry, &gates, &now, now_ms)) {
                Step::Wait(at_ms) => wake_ms = wake_ms.min(at_ms),
                Step::Try(tries) => {
                    let now = &now;
                    let tries = tries.into_iter().filter(|(to, whom)| {
                        idle.contains(&to.as_str())
                            && !self.comes_after_another(name, to, whom, now)
                    });
                    for (channel, recipient) in tries {
                        let rank = (!entry.is_login(), entry.rank(&channel, &recipient));
                        let most = self.run_of(&channel);
                        let best = best.entry(channel).or_insert_with(|| Best {
                            rank: (true, u32::MAX),
                            recipient: String::new(),
                            names: Vec::new(),
                        });
                        if best.names.is_empty() || rank < best.rank {
                            *best = Best { rank, recipient, names: vec![name.clone()] };
                        } else if rank == best.rank
                            && recipient == best.recipient
                            && best.names.len() < most
                        {
                            best.names.push(name.clone());
                        } else {
                            continue;
                        }
                        satisfied += usize::from(rank == first_rank && best.names.len() == most);
                    }
                }
                step => over.push((name.clone(), step)),
            }
        }
        let mut due = Vec::new();
        for (channel, best) in best {
            let Best { recipient, names, .. } = best;
            if self.policy.ways.get(&channel).is_some_and(|way| way.together) {
                let names = self.companions(&channel, &recipient, &names, &now, now_ms);
                due.push(Due { channel, recipient, names });
            } else {
                let one = |name| Due {
                    channel: channel.clone(),
                    recipient: recipient.clone(),
                    names: vec![name],
                };
                due.extend(names.into_iter().map(one));
            }
        }
        for (name, step) in over {
            self.put_away(&name, &step);
        }
        (due, wake_ms)
    }

    /// Says which channels have come to send as much as they may, and which may go on. Else what
    /// waits for that would look as if nobody cared.
    fn say_full(&mut self, gates: &Gates, now_ms: u64) {
        for (channel, full) in &gates.full {
            let is_full = full.other > now_ms;
            if is_full && self.full.insert(channel.clone()) {
                let wait_s = full.other.saturating_sub(now_ms).div_ceil(1000);
                let line = Line::new("channel-full").text("channel", channel);
                let line = line.word("next-s", wait_s);
                let effect = "more goes to the next channel of the route, or waits";
                self.log.say(Level::Warning, &line.text("effect", effect));
            } else if !is_full && self.full.remove(channel) {
                self.log.say(Level::Info, &Line::new("channel-free").text("channel", channel));
            }
        }
    }

    /// Whether an earlier change of the same thing has to go this way first. Where what was told
    /// last stands, a `down` that is tried again after its `up` would be down for ever.
    fn comes_after_another(&self, name: &str, channel: &str, recipient: &str, now: &Stamp) -> bool {
        if !self.policy.ways.get(channel).is_some_and(|way| way.in_order) {
            return false;
        }
        let Some(entry) = self.entries.get(name) else { return false };
        let when = entry.at.by_clock_of(now);
        let is_open = |other: &Entry| {
            let stops = &self.policy.route(other.kind, other.severity).stops;
            stops.iter().any(|stop| stop.channel == channel)
                && other.state.leg(channel, recipient).is_none_or(|leg| !leg.phase.is_final())
        };
        // Oldest first, by and large: of many changes the first one answers.
        let others = entry.subject.as_ref().and_then(|subject| self.changes.get(subject));
        others.into_iter().flatten().any(|other_name| {
            self.entries.get(other_name).is_some_and(|other| {
                let earlier = (other.at.by_clock_of(now), other_name.as_str()) < (when, name);
                earlier && is_open(other)
            })
        })
    }

    /// How many messages are prepared at once for a channel. Where there are limits, one: whether
    /// there is room for the next is known when that has gone out.
    fn run_of(&self, channel: &str) -> usize {
        let in_runs = |way: &Way| way.in_runs && !way.limits.are_set();
        if self.policy.ways.get(channel).is_some_and(in_runs) { RUN } else { 1 }
    }

    /// What goes out with the message `lead`, which comes first. Of what is perhaps out, just
    /// what went out with it then; else everything of its kind that may go the same way now.
    fn companions(
        &self,
        channel: &str,
        recipient: &str,
        lead: &[String],
        now: &Stamp,
        now_ms: u64,
    ) -> Vec<String> {
        let mut names = lead.to_vec();
        let Some((first, lead)) = lead.first().and_then(|name| self.entries.get_key_value(name))
        else {
            return names;
        };
        let leg = lead.state.leg(channel, recipient);
        if let Some(leg) = leg.filter(|leg| leg.phase == Phase::Doubtful) {
            let Some(id) = leg.told_as else { return names };
            let with_it = |entry: &Entry| {
                let leg = entry.state.leg(channel, recipient);
                leg.is_some_and(|leg| leg.phase == Phase::Doubtful && leg.told_as == Some(id))
            };
            let all = self.entries.iter().filter(|(_, entry)| with_it(entry));
            let mut all: Vec<_> = all.collect();
            all.sort_by_key(|(_, entry)| entry.id != id);
            return all.into_iter().map(|(name, _)| name.clone()).collect();
        }
        if lead.alone {
            return names;
        }
        // What is collected goes now; but where a channel is full, its messages go another way.
        let gates = Gates { collecting: BTreeMap::new(), ..self.gates(now_ms) };
        for (name, entry) in &self.entries {
            if names.len() == TOGETHER {
                break;
            }
            let waits = |phase| phase == Phase::Waiting;
            let leg = entry.state.leg(channel, recipient);
            let is_held = self.held_until(name, now_ms).is_some();
            let stays = is_held || !leg.is_none_or(|leg| waits(leg.phase));
            if entry.kind != lead.kind || name == first || stays || entry.alone {
                continue;
            }
            let step = route::next(&self.view(entry, &gates, now, now_ms));
            let this_way = |(to, whom): &(String, String)| to == channel && whom == recipient;
            if matches!(step, Step::Try(tries) if tries.iter().any(this_way)) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Begins tries: writes `sending`, and answers what the channels need. What is gone by now
    /// is left out.
    pub fn begin(&mut self, due: &[Due], now_ms: u64) -> Vec<(String, Job)> {
        let mut jobs = Vec::new();
        let mut names = Vec::new();
        for due in due {
            if let Some(job) = self.prepare(due, now_ms) {
                names.extend(job.names.iter().cloned());
                jobs.push((due.channel.clone(), job));
            }
        }
        if !names.is_empty() {
            self.write(&names, now_ms);
        }
        jobs
    }

    fn prepare(&mut self, due: &Due, now_ms: u64) -> Option<Job> {
        let (mut names, mut events) = (Vec::new(), Vec::new());
        for name in &due.names {
            if let Some(event) = self.read(name, now_ms) {
                names.push(name.clone());
                events.push(event);
            }
        }
        let mut events = events.into_iter();
        let event = events.next()?;
        let lead = names.first().and_then(|name| self.entries.get(name))?;
        let leg = lead.state.leg(&due.channel, &due.recipient);
        let doubtful = leg.is_some_and(|leg| leg.phase == Phase::Doubtful);
        let told_as = match leg.and_then(|leg| leg.told_as).filter(|_| doubtful) {
            // It is looked for first, and only what went out can be found.
            Some(id) => Some(id),
            None => (names.len() > 1).then_some(lead.id),
        };
        let (accepted, looks) = leg.map_or((0, 0), |leg| (leg.accepted, leg.looks));
        let (mut new, mut facts) = (Marks::new(), Facts::new());
        for name in &names {
            self.let_hold_go(name);
            let Some(entry) = self.entries.get_mut(name) else { continue };
            if entry.new != New::default() {
                new.insert(entry.id, entry.new);
            }
            if let Some(fact) = entry.state.fact() {
                facts.insert(entry.id, fact.clone());
            }
            let leg = entry.leg_mut(&due.channel, &due.recipient);
            leg.phase = Phase::Sending;
            leg.tries = leg.tries.saturating_add(1);
            leg.told_as = told_as;
            self.see_doubt(name);
        }
        let message = Message {
            hint: if names.len() == 1 { self.hint(&event) } else { None },
            expired: self.books.ledger.expired,
            event,
            more: events.collect(),
            new,
            facts,
            now: Stamp::now(),
            recipient: due.recipient.clone(),
        };
        let claim = names.first().and_then(|name| self.entries.get(name)).map(Entry::claim);
        let may_send = self.has_room(&due.channel, claim.unwrap_or_default(), now_ms);
        Some(Job { names, message, doubtful, told_as, accepted, looks, may_send })
    }

    /// Whether a channel may send one more now.
    fn has_room(&self, channel: &str, claim: Claim, now_ms: u64) -> bool {
        let way = self.policy.ways.get(channel);
        way.is_none_or(|way| self.full_until(channel, way, claim, now_ms) <= now_ms)
    }

    fn hint(&self, event: &Event) -> Option<String> {
        let here = event.host == self.host && matches!(event.what, What::Login(_));
        if here { also::logged_in() } else { None }
    }

    /// The event of a message; `None` when it is gone, is none any more, or cannot be read now.
    fn read(&mut self, name: &str, now_ms: u64) -> Option<Event> {
        match self.queue.event(name) {
            Ok(Some(event)) => Some(event),
            Ok(None) => {
                self.let_go(name, "before a try");
                None
            }
            Err(error) => {
                let why = error.to_string();
                if matches!(error, ReadError::NotAnEvent(_)) {
                    self.forget(name, &why);
                }
                // Still there: it cannot be read now, or cannot be moved.
                self.put_off(name, &why, now_ms);
                None
            }
        }
    }

    /// Lets a message wait that the disk does not give out.
    fn put_off(&mut self, name: &str, why: &str, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let line = Line::new("alert-deferred").word("alert", entry.id).text("reason", why);
        let route = self.policy.route(entry.kind, entry.severity);
        for stop in &route.stops {
            for recipient in &stop.recipients {
                let leg = entry.leg_mut(&stop.channel, recipient);
                leg.due_ms = now_ms.saturating_add(millis(UNREADABLE));
            }
        }
        self.log.say(Level::Error, &line);
    }
}
