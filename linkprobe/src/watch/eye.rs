//! The thread of one line: it looks, and does what the policy makes of that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use notifier::clock::{millis, unix_ms};
use notifier::ffi::boottime;
use notifier::syslog::{Level, Line as Record};

use super::Word;
use super::hour::Hour;
use super::state::{Asked, State, rounded_ms};
use super::tell::{Down, Teller};
use crate::config::Link;
use crate::line::Line;
use crate::reach::policy::{Action, Policy, Rules};
use crate::reach::{By, Care, Cause, Found, Look, Probe, look_with};
use crate::resolvers;

/// Longest sleep: the state is shown as often.
const LONGEST: Duration = Duration::from_secs(20);

/// How often everybody is asked though the line is well: one whose name server is silent is to be seen.
const ALL_EVERY_MS: u64 = 300_000;

/// How often it is found out anew which name servers the line has, unless the network changes.
const FIND_EVERY_MS: u64 = 600_000;

/// How long is waited for the first until the others are asked: three times as long as usual, within
/// these.
const PATIENCE: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1_200)];

/// Moments before the boot, at which a line went down, are moments of the policy's clock, too: it begins
/// so many milliseconds earlier.
const BEFORE_BOOT_MS: u64 = 1 << 40;

/// Who looks at a line.
pub struct Eye {
    /// The line.
    pub link: Link,
    /// How many there are.
    pub lines: usize,
    /// Who tells of it.
    pub teller: Arc<Teller>,
    /// What others tell this thread.
    pub words: Receiver<Word>,
}

/// What is known of a line from the looks so far.
struct Known {
    servers: resolvers::Found,
    found_ms: u64,
    all_ms: Option<u64>,
    /// Whose turn it is to be asked first.
    turn: usize,
    probes: Vec<Probe>,
    rtt: Option<Duration>,
    /// A mean of the last round trips.
    usual: Option<Duration>,
    /// Why the last look has failed, and why the line was told to be down.
    why: String,
    looked: Option<Instant>,
    cause: Option<Cause>,
    told: String,
    bytes: [u64; 2],
    /// Whether the last look has failed.
    fails: bool,
}

impl Eye {
    /// Watches it until it is told to stop.
    pub fn watch(self) {
        let name = self.link.name.as_str();
        let begun = Instant::now();
        // The boot clock counts while the machine sleeps, and nobody can set it.
        let clock = || BEFORE_BOOT_MS + millis(boottime().unwrap_or_else(|| begun.elapsed()));
        let now_ms = clock();
        let rules = Rules {
            check_every_ms: millis(self.link.check_every),
            alert_after_ms: millis(self.link.alert_after),
        };
        let told = self.teller.told(name);
        let mut policy = match &told {
            Some(told) => {
                let down_ms = now_ms.saturating_sub(millis(told.age()));
                Policy::resumed(rules, now_ms, down_ms, Cause::of_word(&told.cause))
            }
            None => Policy::new(rules, now_ms, now_ms + millis(self.teller.quiet(self.lines))),
        };
        let mut known = Known {
            servers: self.find(None),
            found_ms: now_ms,
            all_ms: None,
            turn: 0,
            probes: Vec::new(),
            rtt: None,
            usual: None,
            why: told.as_ref().map(|told| told.text.clone()).unwrap_or_default(),
            looked: None,
            cause: told.as_ref().map(|told| Cause::of_word(&told.cause)),
            told: told.map(|told| told.text).unwrap_or_default(),
            bytes: [0; 2],
            fails: false,
        };
        let mut hour = Hour::new(name, millis(self.link.check_every));
        let mut stop = false;
        while !stop {
            let begun_ms = clock();
            let actions = if begun_ms >= policy.look_ms() {
                let look = self.look(&mut known, &policy, begun_ms);
                hour.looked(&look);
                let failed = std::mem::replace(&mut known.fails, !look.is_up());
                if known.fails && !failed {
                    self.teller.doubts(name);
                }
                let seen = if look.is_up() { Ok(()) } else { Err(look.cause()) };
                policy.looked(begun_ms, clock(), seen)
            } else {
                policy.tick(begun_ms).into_iter().collect()
            };
            let now_ms = clock();
            // Before anything is told: whether another line is up is asked of the book.
            self.teller.show(name, self.state(&known, &policy, now_ms));
            for action in actions {
                self.act(action, &mut known, &policy, now_ms);
            }
            hour.passes(now_ms, policy.is_up() == Some(true));
            if let Some(spent) = hour.spent(now_ms) {
                self.teller.spent(name, spent);
            }
            if let Some(record) = hour.is_over(now_ms) {
                self.teller.hour(&record);
            }
            let wait = Duration::from_millis(policy.due_ms().saturating_sub(clock()));
            stop = self.hear(wait.min(LONGEST), &mut policy, &mut known, clock);
        }
        self.teller.spent(name, hour.spent(u64::MAX).unwrap_or_default());
        if let Some(record) = hour.is_over(u64::MAX) {
            self.teller.hour(&record);
        }
    }

    /// Waits for words, and takes them in; whether one was to stop.
    fn hear(
        &self,
        most: Duration,
        policy: &mut Policy,
        known: &mut Known,
        clock: impl Fn() -> u64,
    ) -> bool {
        let first = match self.words.recv_timeout(most) {
            Ok(word) => Some(word),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        for word in first.into_iter().chain(self.words.try_iter()) {
            match word {
                Word::Stop => return true,
                Word::Look => policy.hurry(clock()),
                Word::All => {
                    known.all_ms = None;
                    policy.hurry(clock());
                }
                Word::Network => {
                    known.found_ms = 0;
                    policy.hurry(clock());
                }
            }
        }
        false
    }

    /// The name servers of the line; a change of them is logged.
    fn find(&self, before: Option<&resolvers::Found>) -> resolvers::Found {
        let line = Line::of(&self.link);
        let found = match &self.link.resolvers {
            Some(servers) => {
                resolvers::Found { servers: servers.clone(), from: "the configuration".into() }
            }
            None => resolvers::find(&line, !self.link.targets.is_empty()),
        };
        if before != Some(&found) {
            let servers: Vec<String> = found.servers.iter().map(SocketAddr::to_string).collect();
            let line = Record::new("link-resolvers").text("link", &self.link.name);
            let line = line.text("servers", &servers.join(" ")).text("from", &found.from);
            self.teller.log(Level::Info, &line);
        }
        found
    }

    fn look(&self, known: &mut Known, policy: &Policy, now_ms: u64) -> Look {
        if now_ms.saturating_sub(known.found_ms) >= FIND_EVERY_MS {
            known.servers = self.find(Some(&known.servers));
            known.found_ms = now_ms;
        }
        let is_well = policy.is_up() == Some(true) && !policy.is_doubtful();
        let was_all = known.all_ms.is_some_and(|at| now_ms.saturating_sub(at) < ALL_EVERY_MS);
        let first = (is_well && was_all).then(|| next_first(&known.probes, known.turn));
        if first.is_none() {
            known.all_ms = Some(now_ms);
        }
        known.turn = first.map_or(0, |first| first + 1);
        let patience = known.usual.map_or(PATIENCE[1], |usual| usual * 3);
        let care =
            Care { patience: patience.clamp(PATIENCE[0], PATIENCE[1]), first, ..Care::default() };
        let line = Line::of(&self.link);
        let look = look_with(&line, &known.servers.servers, &self.link.targets, &care);
        known.learn(&look);
        look
    }

    fn act(&self, action: Action, known: &mut Known, policy: &Policy, now_ms: u64) {
        let name = &self.link.name;
        let ms = Duration::from_millis;
        let age = ms(now_ms.saturating_sub(policy.since_ms().unwrap_or(now_ms)));
        match action {
            Action::Down(cause) => {
                known.cause = Some(cause);
                self.teller.fell(name, &Down { cause, why: &known.why, age });
            }
            Action::Up { down_ms } => {
                let why = std::mem::take(&mut known.why);
                self.teller.rose(name, down_ms.map(|down| (ms(down), why.as_str())));
                known.cause = None;
            }
            Action::TellDown(cause) => {
                known.told.clone_from(&known.why);
                self.teller.tell_down(name, &Down { cause, why: &known.why, age });
            }
            Action::TellUp { down_ms } => {
                let why = std::mem::take(&mut known.told);
                self.teller.tell_up(name, ms(down_ms), &why);
            }
        }
    }

    fn state(&self, known: &Known, policy: &Policy, now_ms: u64) -> State {
        // By the wall clock as it stands now, whoever has set it since.
        let ago = |age_ms: u64| unix_ms().saturating_sub(age_ms) / 1000;
        let up = policy.is_up();
        let why = (up != Some(true) || policy.is_doubtful()).then(|| known.why.clone());
        State {
            up,
            cause: known.cause.filter(|_| up == Some(false)).map(|cause| cause.word().to_owned()),
            why: why.filter(|why| !why.is_empty()),
            since_s: policy.since_ms().map(|since| ago(now_ms.saturating_sub(since))),
            looked_s: known.looked.map(|at| ago(millis(at.elapsed()))),
            rtt_ms: known.rtt.map(rounded_ms),
            interface: self.link.interface.clone(),
            source: self.link.source,
            resolvers_from: Some(known.servers.from.clone()),
            asked: known.probes.iter().map(Asked::from).collect(),
            bytes_sent: known.bytes[0],
            bytes_received: known.bytes[1],
        }
    }
}

impl Known {
    fn learn(&mut self, look: &Look) {
        self.looked = Some(Instant::now());
        for (sum, more) in self.bytes.iter_mut().zip(look.bytes) {
            *sum = sum.saturating_add(more);
        }
        let same = self.probes.len() == look.probes.len()
            && self.probes.iter().zip(&look.probes).all(|(a, b)| (a.to, a.by) == (b.to, b.by));
        if look.trouble.is_none() {
            let before = std::mem::replace(&mut self.probes, look.probes.clone());
            for (now, before) in self.probes.iter_mut().zip(before) {
                if same && now.found == Found::NotAsked {
                    now.found = before.found;
                }
            }
        }
        match look.rtt() {
            Some(rtt) => {
                self.rtt = Some(rtt);
                self.usual = Some(self.usual.map_or(rtt, |usual| (usual * 7 + rtt) / 8));
            }
            None => {
                self.why = look.why();
                self.cause = Some(look.cause());
            }
        }
    }
}

/// Who is to be asked first, from `turn` on, counted among those who count: name servers are asked in
/// turn, as that is the smaller question, and only those that have answered; targets, where there is no
/// other.
fn next_first(known: &[Probe], turn: usize) -> usize {
    let all_near = known.iter().all(|probe| probe.near);
    let counting: Vec<&Probe> = known.iter().filter(|probe| all_near || !probe.near).collect();
    let from_turn = |wanted: &dyn Fn(&Probe) -> bool| {
        let places = (0..counting.len()).map(|step| (turn + step) % counting.len());
        places.into_iter().find(|at| wanted(counting[*at]))
    };
    let answers = |probe: &Probe| probe.found.took().is_some();
    from_turn(&|probe| probe.by == By::Dns && answers(probe))
        .or_else(|| from_turn(&answers))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_answer_are_asked_in_turn() {
        let probe = |by, near, answers: bool| Probe {
            to: "192.0.2.1:53".parse().unwrap(),
            by,
            near,
            found: if answers { Found::Answered(Duration::ZERO) } else { Found::Silent },
        };
        let (router, dead) = (probe(By::Dns, true, true), probe(By::Dns, false, false));
        let (server, target) = (probe(By::Dns, false, true), probe(By::Tcp, false, true));
        let turns = |known: &[Probe]| {
            let mut turn = 0;
            let mut next = || {
                let first = next_first(known, turn);
                turn = first + 1;
                first
            };
            [next(), next(), next()]
        };
        let of =
            |probes: &[&Probe]| probes.iter().map(|probe| (*probe).clone()).collect::<Vec<_>>();
        assert_eq!(turns(&of(&[&server, &server, &target])), [0, 1, 0]);
        assert_eq!(turns(&of(&[&router, &server, &dead, &server, &target])), [0, 2, 0]);
        assert_eq!(turns(&of(&[&router, &dead, &target, &target])), [1, 2, 1]);
        assert_eq!(turns(&of(&[&router])), [0, 0, 0]);
        assert_eq!(turns(&of(&[&dead])), [0, 0, 0]);
        assert_eq!(turns(&[]), [0, 0, 0]);
    }
}
