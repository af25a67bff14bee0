//! The messages that are not yet out: what is known of each, in memory and on disk in step.
//!
//! The file is the truth. The state of a message is written before a try (`sending`) and after
//! it, so that a sender that was killed in between knows which messages to look for at the
//! provider. A disk that takes no more writes does not stop the sending: an alert
//! twice is better than none, and a full disk may be what the alert is about.

pub mod books;
mod follow;
mod hold;
mod intake;
mod learn;
mod pick;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::health::{Health, Trouble, resume};
use super::limits::{self, Claim, Usage};
use super::lookup::Ask;
use super::pace::Pace;
use super::policy::{Policy, Way};
use super::route::{Full, Gates, Step, View};
use super::seen::{self, Seen};
use super::throttle::Throttle;
use crate::clock::{Stamp, millis};
use crate::event::{AlertId, Severity};
use crate::fact::Finder;
use crate::foreign::Foreign;
use crate::message::New;
use crate::spool::queue::{Leg, Phase, Queue, State};
use crate::spool::{files, prune};
use crate::syslog::{Level, Line, Log};
use books::Books;
pub use follow::Follow;
use hold::Hold;
pub use intake::Taken;
pub use pick::Due;

/// How long the provider gets to list a message of which nobody knows whether it has it.
const SETTLE: Duration = Duration::from_secs(2);

/// An event that looks older than this, and is of another boot, has its time from a clock that was
/// wrong: a machine without a battery for its clock boots in the past. It does not expire.
const BELIEVED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Files in `[host] state` that keep the channels' health, and how much they have sent.
const HEALTH_FILE: &str = "channels.json";

/// A message that is not yet out. Its event stays on disk until it is sent.
#[derive(Debug)]
struct Entry {
    id: AlertId,
    /// [`crate::event::What::kind`].
    kind: &'static str,
    /// Of a condition: what it is of.
    subject: Option<Subject>,
    severity: Severity,
    at: Stamp,
    /// What of it was never seen before.
    new: New,
    /// Whether it goes at once and in a message of its own: a drill waits for it.
    alone: bool,
    state: State,
}

/// What a condition is of: a host, and a name there.
type Subject = (Foreign, Foreign);

/// All messages that are not yet out, and the channels' health.
pub struct Outbox {
    queue: Queue,
    log: Log,
    host: Foreign,
    state_dir: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// The names of `entries` by their ids.
    ids: BTreeMap<AlertId, String>,
    /// The names of those `entries` that are of one subject.
    changes: HashMap<Subject, Vec<String>>,
    /// How many of `entries` are logins.
    logins: usize,
    /// Names of `entries` that are perhaps out.
    doubtful: BTreeSet<String>,
    /// Holds back the lines that whoever may write into `drop/` can cause.
    refusals: Throttle,
    health: BTreeMap<String, Health>,
    /// What the channels that have limits have sent.
    usage: BTreeMap<String, Usage>,
    /// Channels of which was said that they have sent as much as they may.
    full: BTreeSet<String>,
    /// How fast messages follow each other, by channel and recipient.
    paces: BTreeMap<(String, String), Pace>,
    /// Messages that a provider has taken and is asked about.
    follows: Vec<Follow>,
    /// Where logins have come from.
    seen: Seen,
    policy: Policy,
    /// Who finds out more about logins, and what they are to be asked.
    finders: Vec<Arc<dyn Finder>>,
    asks: Vec<Ask>,
    /// Names of `entries` that wait for an answer.
    held: BTreeMap<String, Hold>,
    /// What is counted.
    books: Books,
    /// Files of `state_dir` that could not be written when that was last tried.
    unwritten: BTreeSet<&'static str>,
    /// What is wrong now and has been told, by the thing that is wrong.
    told: BTreeMap<Thing, String>,
}

/// What can be wrong for a while, so that it is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Drop,
    Claim,
    State,
    StateFile,
    PutAway,
    Sync,
    Report,
    Metrics,
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
            changes: HashMap::new(),
            logins: 0,
            doubtful: BTreeSet::new(),
            refusals: Throttle::default(),
            health: BTreeMap::new(),
            usage: BTreeMap::new(),
            full: BTreeSet::new(),
            paces: BTreeMap::new(),
            follows: Vec::new(),
            seen: Seen::default(),
            policy: Policy::default(),
            finders: Vec::new(),
            asks: Vec::new(),
            held: BTreeMap::new(),
            books: Books::default(),
            unwritten: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    /// Takes over a configuration.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Takes up what a sender before this one has left. `now_ms` is `now` on the monotonic clock, or
    /// a little later.
    ///
    /// # Errors
    ///
    /// When `queue/` cannot be read.
    pub fn load(&mut self, now: &Stamp, now_ms: u64) -> io::Result<()> {
        self.health = self.read_state_file(HEALTH_FILE);
        for health in self.health.values_mut() {
            health.after_read(now_ms, now);
        }
        self.usage = self.read_state_file(limits::FILE);
        for usage in self.usage.values_mut() {
            usage.after_read(now_ms, now);
        }
        self.take_up_follows(now_ms);
        self.seen = Seen::read(&self.state_dir);
        self.load_books();
        for name in self.queue.names()? {
            match self.queue.take_up(&name) {
                Ok((one, state)) => self.take_in(one, wake_up(state, now_ms, now), now_ms),
                // One bad file must not keep the others from getting out.
                Err(error) => {
                    let line = Line::new("queue-file-stuck").text("file", &name);
                    self.log.say(Level::Error, &line.text("message", &error.to_string()));
                }
            }
        }
        self.write_seen();
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

    fn view<'a>(
        &'a self,
        entry: &'a Entry,
        gates: &'a Gates,
        now: &Stamp,
        now_ms: u64,
    ) -> View<'a> {
        let age = entry.at.age(now);
        let believed = age < BELIEVED || entry.at.is_same_boot(now);
        View {
            route: self.policy.route(entry.kind, entry.severity),
            patience: self.policy.patience,
            expiry: if believed { self.policy.expiry(entry.kind) } else { Duration::MAX },
            claim: entry.claim(),
            alone: entry.alone,
            age,
            state: &entry.state,
            health: &self.health,
            gates,
            now_ms,
        }
    }

    /// Until when a channel has sent as much as it may; 0 where it has not.
    fn full_until(&self, channel: &str, way: &Way, claim: Claim, now_ms: u64) -> u64 {
        let usage = self.usage.get(channel);
        usage.map_or(0, |usage| usage.free_at(&way.limits, way.segments, claim, now_ms))
    }

    /// What holds back messages that were never tried.
    fn gates(&self, now_ms: u64) -> Gates {
        let mut gates = Gates::default();
        for (channel, way) in &self.policy.ways {
            if way.limits.are_set() {
                let until = |critical, login| {
                    self.full_until(channel, way, Claim { critical, login }, now_ms)
                };
                let full = Full {
                    other: until(false, false),
                    critical: until(true, false),
                    login: until(false, true),
                    critical_login: until(true, true),
                };
                gates.full.insert(channel.clone(), full);
            }
        }
        for ((channel, recipient), pace) in &self.paces {
            if self.policy.ways.get(channel).is_some_and(|way| way.together) {
                let recipients = gates.collecting.entry(channel.clone()).or_default();
                recipients.insert(recipient.clone(), pace.free_at());
            }
        }
        gates
    }

    /// Somebody says that things have changed: all waits end, but those that a provider
    /// asked for.
    pub fn kick(&mut self, now_ms: u64) {
        for health in self.health.values_mut() {
            health.kick();
        }
        // What is collected is told as it is.
        self.paces.clear();
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

    /// A line is back: what waits for the network is tried now. Not what waits because of its settings or
    /// its provider, and what is collected to be told together goes on being collected.
    pub fn line_is_back(&mut self, now_ms: u64) {
        let of_network = |health: &&mut Health| health.trouble == Some(Trouble::Network);
        self.health.values_mut().filter(of_network).for_each(Health::kick);
        for entry in self.entries.values_mut() {
            let legs = entry.state.channels.values_mut().flat_map(BTreeMap::values_mut);
            for leg in legs.filter(|leg| leg.phase == Phase::Doubtful) {
                leg.due_ms = leg.due_ms.min(now_ms.saturating_add(millis(SETTLE)));
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

    /// Makes durable what has been put away.
    pub fn sync(&mut self) {
        let synced = self.queue.sync();
        let what = "what was sent may be sent again after a power cut";
        self.tell_once(Thing::Sync, synced.map_err(|error| format!("{what}: {error}")));
    }

    /// Takes a message out of the queue when nothing more is to be tried.
    fn put_away(&mut self, name: &str, step: &Step) {
        let Some(entry) = self.entries.get(name) else { return };
        match step {
            Step::GiveUp if !self.policy.route(entry.kind, entry.severity).stops.is_empty() => {
                let reason = entry.reasons();
                self.forget(name, &reason);
            }
            // Tried before, and then the channels were taken out of the file: it waits for them.
            Step::GiveUp if entry.is_begun() => {}
            // Without a route the alert stands in the log, and that is all there is: a default
            // that works.
            Step::Done | Step::GiveUp => {
                let moved = self.queue.delivered(name, &entry.state);
                if self.has_left("sent/", moved) {
                    self.remove(name);
                }
            }
            Step::Expire => {
                let age_h = self.policy.expiry(entry.kind).as_secs() / 3600;
                let reason = format!("expired after {age_h} h; {}", entry.reasons());
                self.forget(name, reason.trim_end_matches([' ', ';']));
                self.books.ledger.one_expired();
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
        if let Some(subject) = &entry.subject {
            if let Some(names) = self.changes.get_mut(subject) {
                names.retain(|of| of != name);
                if names.is_empty() {
                    self.changes.remove(subject);
                }
            }
        }
        self.logins -= usize::from(entry.is_login());
        self.doubtful.remove(name);
        self.held.remove(name);
        Some(entry)
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
        self.books.ledger.lost();
        if let Some(entry) = self.remove(name) {
            self.say_failed(entry.id, name, reason);
        }
    }

    fn say_failed(&self, id: AlertId, name: &str, reason: &str) {
        let line = Line::new("alert-failed").word("alert", id).text("reason", reason);
        self.log.say(Level::Error, &line.text("kept-as", &format!("failed/{name}")));
    }

    fn write(&mut self, names: &[String], now_ms: u64) {
        let now = Stamp::now();
        for name in names {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            entry.state.written = now.clone();
            for leg in entry.state.channels.values_mut().flat_map(BTreeMap::values_mut) {
                leg.not_before_ms = match leg.due_ms.saturating_sub(now_ms) {
                    0 => 0,
                    wait => now.unix_ms.saturating_add(wait),
                };
            }
        }
        let mut states: Vec<(&str, &State)> = Vec::with_capacity(names.len());
        for name in names {
            states.extend(self.entries.get(name).map(|entry| (name.as_str(), &entry.state)));
        }
        let written = self.queue.write_states(&states).map_err(|error| {
            format!("cannot write the state of a message: {error}; a crash now may send it twice")
        });
        self.tell_once(Thing::State, written);
    }

    fn write_health(&mut self, now_ms: u64) {
        let now = Stamp::now();
        for health in self.health.values_mut() {
            health.before_write(now_ms, &now);
        }
        let json = serde_json::to_vec(&self.health);
        self.write_state_file(HEALTH_FILE, json);
    }

    fn write_usage(&mut self, now_ms: u64) {
        let now = Stamp::now();
        for (channel, usage) in &mut self.usage {
            usage.before_write(self.policy.ways.get(channel), now_ms, &now);
        }
        let json = serde_json::to_vec(&self.usage);
        self.write_state_file(limits::FILE, json);
    }

    /// Makes what has been seen durable. Before anything of it is sent: a login that is told as not
    /// new must not be the one that made the place familiar and then be forgotten with it.
    fn write_seen(&mut self) {
        if self.seen.is_changed() {
            let json = serde_json::to_vec(&self.seen);
            if self.write_state_file(seen::FILE, json) {
                self.seen.was_written();
            }
        }
    }

    fn read_state_file<T: serde::de::DeserializeOwned + Default>(&self, file: &str) -> T {
        std::fs::read(self.state_dir.join(file))
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default()
    }

    /// Answers whether it has been written.
    fn write_state_file(&mut self, file: &'static str, json: serde_json::Result<Vec<u8>>) -> bool {
        let written = json
            .map_err(io::Error::from)
            .and_then(|json| files::write_durably(&self.state_dir, file, &json))
            .map_err(|error| format!("cannot write into {}: {error}", self.state_dir.display()));
        let is_written = written.is_ok();
        if is_written {
            self.unwritten.remove(file);
        } else {
            self.unwritten.insert(file);
        }
        // One file that can be written does not mean that all is well again.
        if !is_written || self.unwritten.is_empty() {
            self.tell_once(Thing::StateFile, written);
        }
        is_written
    }

    /// Says once what goes on being wrong, and forgets it when it has come right.
    fn tell_once(&mut self, thing: Thing, result: Result<(), String>) {
        let Err(message) = result else {
            self.told.remove(&thing);
            return;
        };
        if self.told.get(&thing) != Some(&message) {
            let event = match thing {
                Thing::StateFile | Thing::Metrics => "state-trouble",
                _ => "spool-trouble",
            };
            self.log.say(Level::Error, &Line::new(event).text("message", &message));
            self.told.insert(thing, message);
        }
    }
}

impl Entry {
    fn is_login(&self) -> bool {
        self.kind == "login"
    }

    /// How much of its channels' limits it may use.
    fn claim(&self) -> Claim {
        Claim { critical: self.severity == Severity::Critical, login: self.is_login() }
    }

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
        self.state.is_begun()
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

/// A state as a new sender takes it up: of what was being sent, nobody knows.
fn wake_up(mut state: State, now_ms: u64, now: &Stamp) -> State {
    let State { channels, written, .. } = &mut state;
    for leg in channels.values_mut().flat_map(BTreeMap::values_mut) {
        leg.due_ms = resume(written.left_ms(leg.not_before_ms, now), now_ms);
        if leg.phase == Phase::Sending {
            leg.phase = Phase::Doubtful;
            leg.due_ms = leg.due_ms.max(now_ms.saturating_add(millis(SETTLE)));
        }
    }
    state
}

#[cfg(test)]
mod tests;
