//! The messages that are not yet out: what is known of each, in memory and on disk in step.
//!
//! The file is the truth. The state of a message is written before a try (`sending`) and after
//! it, so that a sender that was killed in between knows which messages to look for at the
//! provider. A disk that takes no more writes does not stop the sending: an alert
//! twice is better than none, and a full disk may be what the alert is about.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::health::{Health, resume};
use super::route::{self, Step, Stop, View};
use super::throttle::Throttle;
use super::worker::{Job, Report, was_asked};
use super::{also, backoff};
use crate::channel::{Fault, Message, Outcome};
use crate::clock::{Stamp, millis, unix_ms};
use crate::event::{AlertId, What};
use crate::ffi;
use crate::foreign::Foreign;
use crate::spool::files::ReadError;
use crate::spool::queue::{Leg, Phase, Queue, State};
use crate::spool::{files, prune};
use crate::syslog::{Level, Line, Log};

/// How long the provider gets to list a message of which nobody knows whether it has it.
const SETTLE: Duration = Duration::from_secs(2);

/// How long a message waits that could not be read.
const UNREADABLE: Duration = Duration::from_secs(60);

/// File in `[host] state` that keeps the channels' health.
const HEALTH_FILE: &str = "channels.json";

/// A message that is not yet out. Its event stays on disk until it is sent.
#[derive(Debug)]
struct Entry {
    id: AlertId,
    is_login: bool,
    at: Stamp,
    state: State,
}

/// All messages that are not yet out, and the channels' health.
pub struct Outbox {
    queue: Queue,
    log: Log,
    host: Foreign,
    state_dir: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// The names of `entries` by their ids.
    ids: BTreeMap<AlertId, String>,
    /// How many of `entries` are logins.
    logins: usize,
    /// Names of `entries` that are perhaps out.
    doubtful: BTreeSet<String>,
    /// Holds back the lines that whoever may write into `drop/` can cause.
    refusals: Throttle,
    health: BTreeMap<String, Health>,
    route: Vec<Stop>,
    patience: Duration,
    /// What is wrong now and has been told, by the thing that is wrong.
    told: BTreeMap<Thing, String>,
}

/// What can be wrong for a while, so that it is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Drop,
    Claim,
    State,
    Health,
    PutAway,
}

/// A try that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    name: String,
    /// The channel.
    pub channel: String,
    recipient: String,
}

impl Outbox {
    /// An outbox over `queue`, with nothing in it.
    #[must_use]
    pub fn new(queue: Queue, log: Log, host: Foreign, state_dir: PathBuf) -> Self {
        Self {
            queue,
            log,
            host,
            state_dir,
            entries: BTreeMap::new(),
            ids: BTreeMap::new(),
            logins: 0,
            doubtful: BTreeSet::new(),
            refusals: Throttle::default(),
            health: BTreeMap::new(),
            route: Vec::new(),
            patience: Duration::ZERO,
            told: BTreeMap::new(),
        }
    }

    /// Takes over a configuration.
    pub fn set_route(&mut self, route: Vec<Stop>, patience: Duration) {
        (self.route, self.patience) = (route, patience);
    }

    /// Takes up what a sender before this one has left.
    ///
    /// # Errors
    ///
    /// When `queue/` cannot be read.
    pub fn load(&mut self, now_ms: u64) -> io::Result<()> {
        let file = self.state_dir.join(HEALTH_FILE);
        self.health = std::fs::read(file)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default();
        let wall_ms = unix_ms();
        for health in self.health.values_mut() {
            health.after_read(now_ms, wall_ms);
        }
        for name in self.queue.names()? {
            match self.queue.take_up(&name) {
                Ok((one, state)) => self.take_in(one, wake_up(state, now_ms, wall_ms), now_ms),
                // One bad file must not keep the others from getting out.
                Err(error) => {
                    let line = Line::new("queue-file-stuck").text("file", &name);
                    self.log.say(Level::Error, &line.text("message", &error.to_string()));
                }
            }
        }
        Ok(())
    }

    /// How many messages are not yet out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether all messages are out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Finds the best try for each channel of `idle`, and says when to look again (on the
    /// monotonic clock). Logins go before notes; then what is perhaps out, which has to be looked
    /// for before others push it off the provider's list; then what has been tried least, so
    /// that a message nobody can deliver never blocks the next. On the way it puts away what
    /// is over.
    pub fn due(&mut self, now_ms: u64, idle: &[&str]) -> (Vec<Due>, u64) {
        let now = Stamp::now();
        let mut best: BTreeMap<String, ((bool, u32), Due)> = BTreeMap::new();
        let (mut over, mut first, mut wake_ms) = (Vec::new(), 0, u64::MAX);
        let first_rank = (self.logins == 0, u32::from(self.doubtful.is_empty()));
        for (name, entry) in &self.entries {
            if !idle.is_empty() && first == idle.len() {
                // Nothing can be better, and the next look is soon: after a report.
                break;
            }
            match route::next(&self.view(entry, &now, now_ms)) {
                Step::Wait(at_ms) => wake_ms = wake_ms.min(at_ms),
                Step::Try(tries) => {
                    let tries = tries.into_iter().filter(|(to, _)| idle.contains(&to.as_str()));
                    for (channel, recipient) in tries {
                        let rank = (!entry.is_login, entry.rank(&channel, &recipient));
                        if best.get(&channel).is_some_and(|(least, _)| *least <= rank) {
                            continue;
                        }
                        first += usize::from(rank == first_rank);
                        let due = Due { name: name.clone(), channel: channel.clone(), recipient };
                        best.insert(channel, (rank, due));
                    }
                }
                step => over.push((name.clone(), step)),
            }
        }
        for (name, step) in over {
            self.put_away(&name, &step);
        }
        (best.into_values().map(|(_, due)| due).collect(), wake_ms)
    }

    fn view<'a>(&'a self, entry: &'a Entry, now: &Stamp, now_ms: u64) -> View<'a> {
        View {
            route: &self.route,
            patience: self.patience,
            age: entry.at.age(now),
            state: &entry.state,
            health: &self.health,
            now_ms,
        }
    }

    /// Begins a try: writes `sending`, and answers what the channel needs. `None` when the
    /// message is gone.
    pub fn begin(&mut self, due: &Due, now_ms: u64) -> Option<Job> {
        let event = match self.queue.event(&due.name) {
            Ok(Some(event)) => event,
            Ok(None) => {
                self.let_go(&due.name, "before a try");
                return None;
            }
            Err(error) => {
                let why = error.to_string();
                if matches!(error, ReadError::NotAnEvent(_)) {
                    self.forget(&due.name, &why);
                }
                // Still there: it cannot be read now, or cannot be moved.
                self.put_off(&due.name, &why, now_ms);
                return None;
            }
        };
        let entry = self.entries.get_mut(&due.name)?;
        let leg = entry.leg_mut(&due.channel, &due.recipient);
        let doubtful = leg.phase == Phase::Doubtful;
        let (accepted, looks) = (leg.accepted, leg.looks);
        leg.phase = Phase::Sending;
        leg.tries = leg.tries.saturating_add(1);
        self.see_doubt(&due.name);
        self.write(&due.name, now_ms);
        let here = event.host == self.host && matches!(event.what, What::Login(_));
        let message = Message {
            hint: if here { also::logged_in() } else { None },
            event,
            more: Vec::new(),
            now: Stamp::now(),
            recipient: due.recipient.clone(),
        };
        Some(Job { name: due.name.clone(), message, doubtful, accepted, looks })
    }

    /// Takes in what became of a try.
    pub fn learn(&mut self, report: &Report, now_ms: u64) {
        let random = ffi::random_u32().unwrap_or_default();
        self.learn_health(&report.channel, &report.outcome, now_ms, random);
        let Some(entry) = self.entries.get_mut(&report.name) else { return };
        let (id, late) = (entry.id, entry.at.age(&Stamp::now()));
        let leg = entry.leg_mut(&report.channel, &report.recipient);
        settle(leg, report, now_ms, random);
        let tries = leg.tries;
        let line = |event| {
            Line::new(event)
                .word("alert", id)
                .text("channel", &report.channel)
                .text("to", &report.recipient)
                .word("try", tries)
        };
        let said = report.outcome.to_string();
        match leg.phase {
            Phase::Done => {
                let line = line("alert-sent").word("late-s", late.as_secs()).text("answer", &said);
                self.log.say(Level::Info, &line);
            }
            Phase::Failed => {
                self.log.say(Level::Error, &line("alert-refused").text("reason", &said))
            }
            // Of what goes on for hours, each doubling is told.
            _ if tries.is_power_of_two() => {
                let doubt = leg.phase == Phase::Doubtful;
                let line = line("alert-deferred").word("doubtful", doubt).text("reason", &said);
                self.log.say(Level::Warning, &line);
            }
            _ => {}
        }
        if !self.queue.has(&report.name) {
            self.let_go(&report.name, "during a try");
            return;
        }
        self.see_doubt(&report.name);
        self.write(&report.name, now_ms);
        if let Some(entry) = self.entries.get(&report.name) {
            let step = route::next(&self.view(entry, &Stamp::now(), now_ms));
            self.put_away(&report.name, &step);
        }
    }

    fn learn_health(&mut self, channel: &str, outcome: &Outcome, now_ms: u64, random: u32) {
        let health = self.health.entry(channel.to_owned()).or_default();
        let before = health.clone();
        health.learn(outcome, now_ms, random);
        let after = health.clone();
        if before == after {
            return;
        }
        // Written before it is told: what a provider asked for must survive a kill here.
        self.write_health(now_ms);
        let (level, line) = match (before.trouble, after.trouble) {
            (Some(_), None) => {
                let line = Line::new("channel-well").text("channel", channel);
                (Level::Info, line.word("failures", before.failures))
            }
            (_, Some(trouble))
                if before.trouble != after.trouble || after.failures.is_power_of_two() =>
            {
                let wait_s = after.until_ms.saturating_sub(now_ms).div_ceil(1000);
                let line = Line::new("channel-trouble")
                    .text("channel", channel)
                    .word("trouble", format!("{trouble:?}").to_lowercase())
                    .word("failures", after.failures)
                    .word("next-try-s", wait_s)
                    .text("reason", &after.last);
                (Level::Warning, line)
            }
            _ => return,
        };
        self.log.say(level, &line);
    }

    /// Somebody says that things have changed: all waits end, but those that a provider
    /// asked for.
    pub fn kick(&mut self, now_ms: u64) {
        for health in self.health.values_mut() {
            health.kick();
        }
        for entry in self.entries.values_mut() {
            for leg in entry.state.channels.values_mut().flat_map(BTreeMap::values_mut) {
                let least_ms = match leg.phase {
                    Phase::Doubtful => now_ms.saturating_add(millis(SETTLE)),
                    _ => 0,
                };
                leg.due_ms = leg.due_ms.min(least_ms);
            }
        }
        self.write_health(now_ms);
    }

    /// Removes what is kept in `sent/` and `failed/` beyond the ceiling.
    pub fn prune(&self) {
        let gone = prune::prune(self.queue.spool());
        if gone > 0 {
            let line = Line::new("failed-pruned").word("messages", gone);
            self.log.say(Level::Warning, &line.text("reason", "failed/ keeps the newest alone"));
        }
    }

    /// Takes a message out of the queue when nothing more is to be tried.
    fn put_away(&mut self, name: &str, step: &Step) {
        match step {
            Step::GiveUp if !self.route.is_empty() => {
                let reason = self.entries.get(name).map_or_else(String::new, Entry::reasons);
                self.forget(name, &reason);
            }
            // Tried before, and then the channels were taken out of the file: it waits for them.
            Step::GiveUp if self.entries.get(name).is_some_and(Entry::is_begun) => {}
            // Without a route the alert stands in the log, and that is all there is: a default
            // that works.
            Step::Done | Step::GiveUp => {
                let moved = self.queue.delivered(name);
                if self.has_left("sent/", moved) {
                    self.remove(name);
                }
            }
            Step::Try(_) | Step::Wait(_) => {}
        }
    }

    /// Whether a message has left the queue, by us or by an administrator's hand.
    fn has_left(&mut self, to: &str, moved: io::Result<()>) -> bool {
        let moved = match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot put a message into {to}: {error}"))
            }
            _ => Ok(()),
        };
        let left = moved.is_ok();
        self.tell_once(Thing::PutAway, moved);
        left
    }

    /// Keeps `doubtful` in step with a state that has changed.
    fn see_doubt(&mut self, name: &str) {
        let mut legs = self.entries.get(name).into_iter().flat_map(|entry| entry.state.legs());
        if legs.any(|leg| leg.phase == Phase::Doubtful) {
            self.doubtful.insert(name.to_owned());
        } else {
            self.doubtful.remove(name);
        }
    }

    fn remove(&mut self, name: &str) -> Option<Entry> {
        let entry = self.entries.remove(name)?;
        if self.ids.get(&entry.id).is_some_and(|of| of == name) {
            self.ids.remove(&entry.id);
        }
        self.logins -= usize::from(entry.is_login);
        self.doubtful.remove(name);
        Some(entry)
    }

    /// Lets a message wait that the disk does not give out.
    fn put_off(&mut self, name: &str, why: &str, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let line = Line::new("alert-deferred").word("alert", entry.id).text("reason", why);
        for stop in &self.route {
            for recipient in &stop.recipients {
                let leg = entry.leg_mut(&stop.channel, recipient);
                leg.due_ms = now_ms.saturating_add(millis(UNREADABLE));
            }
        }
        self.log.say(Level::Error, &line);
    }

    /// Forgets a message that an administrator has taken out of the queue.
    fn let_go(&mut self, name: &str, when: &str) {
        if let Some(gone) = self.remove(name) {
            let line = Line::new("alert-dropped").word("alert", gone.id);
            let reason = format!("taken out of the queue by hand, {when}");
            self.log.say(Level::Warning, &line.text("reason", &reason));
        }
    }

    fn forget(&mut self, name: &str, reason: &str) {
        let moved = self.queue.give_up(name, reason);
        if !self.has_left("failed/", moved) {
            return;
        }
        if let Some(entry) = self.remove(name) {
            self.say_failed(entry.id, name, reason);
        }
    }

    fn say_failed(&self, id: AlertId, name: &str, reason: &str) {
        let line = Line::new("alert-failed").word("alert", id).text("reason", reason);
        self.log.say(Level::Error, &line.text("kept-as", &format!("failed/{name}")));
    }

    fn write(&mut self, name: &str, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let wall_ms = unix_ms();
        for leg in entry.state.channels.values_mut().flat_map(BTreeMap::values_mut) {
            leg.not_before_ms = match leg.due_ms.saturating_sub(now_ms) {
                0 => 0,
                wait => wall_ms.saturating_add(wait),
            };
        }
        let written = self.queue.write_state(name, &entry.state).map_err(|error| {
            format!("cannot write the state of a message: {error}; a crash now may send it twice")
        });
        self.tell_once(Thing::State, written);
    }

    fn write_health(&mut self, now_ms: u64) {
        let wall_ms = unix_ms();
        for health in self.health.values_mut() {
            health.before_write(now_ms, wall_ms);
        }
        let written = serde_json::to_vec(&self.health)
            .map_err(io::Error::from)
            .and_then(|json| files::write_durably(&self.state_dir, HEALTH_FILE, &json))
            .map_err(|error| {
                format!("cannot write {}: {error}", self.state_dir.join(HEALTH_FILE).display())
            });
        self.tell_once(Thing::Health, written);
    }

    /// Says once what goes on being wrong, and forgets it when it has come right.
    fn tell_once(&mut self, thing: Thing, result: Result<(), String>) {
        let Err(message) = result else {
            self.told.remove(&thing);
            return;
        };
        if self.told.get(&thing) != Some(&message) {
            let event = match thing {
                Thing::Health => "state-trouble",
                _ => "spool-trouble",
            };
            self.log.say(Level::Error, &Line::new(event).text("message", &message));
            self.told.insert(thing, message);
        }
    }
}

impl Entry {
    /// What goes first: 0 what is perhaps out, then by the number of tries.
    fn rank(&self, channel: &str, recipient: &str) -> u32 {
        match self.state.channels.get(channel).and_then(|legs| legs.get(recipient)) {
            Some(leg) if leg.phase == Phase::Doubtful => 0,
            leg => leg.map_or(0, |leg| leg.tries).saturating_add(1),
        }
    }

    fn leg_mut(&mut self, channel: &str, recipient: &str) -> &mut Leg {
        let legs = self.state.channels.entry(channel.to_owned()).or_default();
        legs.entry(recipient.to_owned()).or_default()
    }

    /// Whether anything has been tried.
    fn is_begun(&self) -> bool {
        self.state.legs().any(|leg| leg.tries > 0)
    }

    /// Why each leg failed, for the file beside it in `failed/`.
    fn reasons(&self) -> String {
        let legs = self.state.channels.iter().flat_map(|(channel, legs)| {
            legs.iter()
                .map(move |(recipient, leg)| format!("{channel} to {recipient}: {}", leg.last))
        });
        legs.collect::<Vec<_>>().join("; ")
    }
}

/// What a try's outcome makes of its leg.
fn settle(leg: &mut Leg, report: &Report, now_ms: u64, random: u32) {
    let open = if report.unresolved { Phase::Doubtful } else { Phase::Waiting };
    let wait_ms = millis(backoff::after(leg.tries, random));
    leg.due_ms = 0;
    leg.looks = match report.unresolved {
        true if was_asked(&report.outcome) => leg.looks.saturating_add(1),
        true => leg.looks,
        false => 0,
    };
    leg.last = report.outcome.to_string();
    leg.phase = match &report.outcome {
        Outcome::Delivered { id, .. } => {
            leg.provider_id.clone_from(id);
            Phase::Done
        }
        Outcome::Never { .. } if !report.unresolved => Phase::Failed,
        Outcome::Doubtful { accepted, .. } => {
            leg.accepted = leg.accepted.saturating_add(u32::from(*accepted));
            leg.due_ms = now_ms.saturating_add(wait_ms.max(millis(SETTLE)));
            Phase::Doubtful
        }
        Outcome::Later { fault: Fault::Message, .. } | Outcome::Never { .. } => {
            leg.due_ms = now_ms.saturating_add(wait_ms);
            open
        }
        // The channel waits, and with it the message.
        Outcome::Later { .. } | Outcome::Config { .. } => open,
    };
}

/// A state as a new sender takes it up: of what was being sent, nobody knows.
fn wake_up(mut state: State, now_ms: u64, wall_ms: u64) -> State {
    for leg in state.channels.values_mut().flat_map(BTreeMap::values_mut) {
        leg.due_ms = resume(leg.not_before_ms, now_ms, wall_ms);
        if leg.phase == Phase::Sending {
            leg.phase = Phase::Doubtful;
            leg.due_ms = leg.due_ms.max(now_ms.saturating_add(millis(SETTLE)));
        }
    }
    state
}

mod intake;

#[cfg(test)]
mod tests;
