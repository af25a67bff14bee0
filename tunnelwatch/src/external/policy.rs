//! When to look at a VPN's far end, when to compare its host key, when to start the VPN anew, and what
//! to tell. Pure: what happened and the time in, what to do out.
//!
//! A VPN comes back by itself after most faults of the line; to start it anew helps when its program has
//! ended or hangs. So that is done when nothing has answered for some looks, and seldom.

use notifier::daemon::news::News;
use serde::Deserialize;

use crate::proof::Identity;

/// So many looks in a row without an answer mean that it is down, and so many that it is to be
/// started anew.
const DOWN_AFTER: u32 = 2;
const START_AFTER: u32 = 3;

/// After a look that failed, the next one comes this soon; and while it is down for longer than
/// `EAGER_MS`, or something answers that is not what it ought to be, this soon.
const LOOK_AGAIN_MS: u64 = 2_000;
const LOOK_LATER_MS: u64 = 10_000;
const EAGER_MS: u64 = 60_000;

/// Least time between two starts, by the number of those that have been in vain.
const REST_MS: [u64; 5] = [30_000, 60_000, 120_000, 300_000, 600_000];

/// A start makes the network change, which says nothing of the line: in this time a kick is no reason
/// to start again sooner.
const OWN_CHANGE_MS: u64 = 10_000;

/// Least time between two starts because the network has changed: it changes all the time.
const NETWORK_REST_MS: u64 = 120_000;

/// How long it must have worked for its end to be news, and not one more start in vain: longer than
/// it takes to notice.
const WORKED_MS: u64 = 120_000;

/// How often the host key is compared: it takes sshd six connections, so less often than it is
/// looked at; and how soon again, when another was found or somebody kicks.
const COMPARE_EVERY_MS: u64 = 600_000;
const COMPARE_AGAIN_MS: u64 = 60_000;
const COMPARE_KICKED_MS: u64 = 15_000;

/// So many comparisons in a row that come to nothing are no proof any more.
const UNKNOWN_MOST: u32 = 3;

/// What the policy has to know of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How often a tunnel that works is looked at.
    pub check_every_ms: u64,
    /// How long it may be down before somebody is told.
    pub alert_after_ms: u64,
    /// Whether there is a way to start it.
    pub can_start: bool,
    /// Whether there are host keys to compare with.
    pub has_keys: bool,
    /// How long after its beginning nothing is told.
    pub quiet_ms: u64,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look whether an sshd answers.
    Look,
    /// Compare its host key.
    Compare,
    /// Start it.
    Start {
        /// Whether it may run already, and is to be stopped before.
        anew: bool,
    },
    /// Tell that it is down.
    TellDown(Cause),
    /// Tell that it is up again, after so many milliseconds.
    TellUp {
        /// How long it was down.
        down_ms: u64,
    },
}

/// Why it does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Nothing answers at the address.
    NoAnswer,
    /// Something answers that is no sshd.
    NoSshd,
    /// An sshd answers that has another host's key.
    WrongHost,
    /// An sshd answers, and its key cannot be compared.
    KeyUnknown,
    /// The command that starts it cannot be run, or may not do that.
    NoStart,
    /// The command that starts it has failed.
    StartFailed,
}

impl Cause {
    /// Its word in the log and in `status --json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::NoSshd => "no-sshd",
            Self::WrongHost => "wrong-host",
            Self::KeyUnknown => "key-unknown",
            Self::NoStart => "no-start",
            Self::StartFailed => "start-failed",
        }
    }

    /// The cause with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        serde_json::from_value(word.into()).ok()
    }

    /// Whether somebody has to mend something: then it is told at once, and not after `alert-after`.
    #[must_use]
    pub fn needs_somebody(self) -> bool {
        matches!(self, Self::WrongHost | Self::NoStart)
    }
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// An sshd.
    Sshd,
    /// Something else.
    Other,
    /// Nothing.
    Nothing,
}

/// The policy of one external tunnel.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    news: News<Cause>,
    /// Since when it works, if it does.
    up_ms: Option<u64>,
    /// When the next look is due, and whether one is under way.
    look_ms: u64,
    looking: bool,
    /// Looks in a row that have not found an sshd.
    failed: u32,
    /// What the last look or comparison has found amiss.
    amiss: Option<Cause>,
    /// When the next comparison is due, whether one is under way, and when the last one began.
    compare_ms: u64,
    comparing: bool,
    compared_ms: Option<u64>,
    /// Comparisons in a row that have come to nothing.
    unknown: u32,
    /// When the last start began or ended, whether it is under way, and when the next may begin.
    started_ms: Option<u64>,
    starting: bool,
    start_ms: u64,
    /// Starts in a row that were in vain.
    starts: usize,
    /// Whether it has worked once.
    has_worked: bool,
    /// What went wrong with the last start.
    start_trouble: Option<Cause>,
}

impl Policy {
    /// A tunnel that is to be looked at at once: it may work already.
    #[must_use]
    pub fn new(rules: Rules, now_ms: u64) -> Self {
        Self {
            rules,
            news: News::new(rules.alert_after_ms, now_ms).quiet_until(now_ms + rules.quiet_ms),
            up_ms: None,
            look_ms: now_ms,
            looking: false,
            failed: 0,
            amiss: None,
            compare_ms: now_ms,
            comparing: false,
            compared_ms: None,
            unknown: 0,
            started_ms: None,
            starting: false,
            start_ms: now_ms,
            starts: 0,
            has_worked: false,
            start_trouble: None,
        }
    }

    /// A tunnel that was told to be down, since then and for this reason, by who has ended since: it is
    /// not told again, but its return is.
    #[must_use]
    pub fn resumed(rules: Rules, now_ms: u64, down_ms: u64, cause: Cause) -> Self {
        let told = (cause, cause.needs_somebody());
        let news =
            News::resumed(rules.alert_after_ms, down_ms, told).quiet_until(now_ms + rules.quiet_ms);
        // Who ended may have left it running.
        Self { news, has_worked: true, ..Self::new(rules, now_ms) }
    }

    /// What is due now, in this order.
    pub fn act(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if now_ms >= self.due_look_ms() {
            self.looking = true;
            actions.push(Action::Look);
        }
        if now_ms >= self.due_start_ms() {
            let anew = self.has_worked || self.started_ms.is_some();
            self.starting = true;
            self.started_ms = Some(now_ms);
            actions.push(Action::Start { anew });
        }
        self.tell(now_ms, &mut actions);
        actions
    }

    /// When [`Policy::act`] has something to do without anything happening before.
    #[must_use]
    pub fn wake_ms(&self) -> u64 {
        let tell_ms = match (self.up_ms, self.cause()) {
            // What nobody has looked at yet is nothing to tell.
            (None, None) => u64::MAX,
            (up_ms, cause) => self.news.due_ms(up_ms, cause.is_some_and(Cause::needs_somebody)),
        };
        self.due_look_ms().min(self.due_start_ms()).min(tell_ms)
    }

    /// What a look has found.
    pub fn seen(&mut self, seen: Seen, now_ms: u64) -> Vec<Action> {
        self.looking = false;
        let mut actions = Vec::new();
        match seen {
            Seen::Sshd => {
                self.failed = 0;
                self.look_ms = now_ms + self.rules.check_every_ms;
                if matches!(self.amiss, Some(Cause::NoAnswer | Cause::NoSshd)) {
                    self.amiss = None;
                }
                if !self.rules.has_keys {
                    self.works(now_ms);
                } else if now_ms >= self.compare_ms && !self.comparing {
                    self.comparing = true;
                    self.compared_ms = Some(now_ms);
                    actions.push(Action::Compare);
                }
            }
            Seen::Other | Seen::Nothing => {
                self.failed = self.failed.saturating_add(1);
                let nothing = seen == Seen::Nothing;
                let begun_ms = self.started_ms.max(self.news.down_since_ms()).unwrap_or(now_ms);
                let eager = self.is_up() || now_ms.saturating_sub(begun_ms) < EAGER_MS;
                let later_ms = LOOK_LATER_MS.min(self.rules.check_every_ms);
                let rest_ms = if nothing && eager { LOOK_AGAIN_MS } else { later_ms };
                self.look_ms = now_ms + rest_ms;
                if self.failed >= DOWN_AFTER || self.up_ms.is_none() {
                    let cause = if nothing { Cause::NoAnswer } else { Cause::NoSshd };
                    self.fails(cause, now_ms);
                }
            }
        }
        self.tell(now_ms, &mut actions);
        actions
    }

    /// What a comparison of host keys has found.
    pub fn compared(&mut self, found: Identity, now_ms: u64) -> Vec<Action> {
        self.comparing = false;
        self.unknown = if found == Identity::Unknown { self.unknown.saturating_add(1) } else { 0 };
        match found {
            Identity::Same => {
                // It may have gone while it was compared.
                if self.failed == 0 {
                    self.works(now_ms);
                    self.compare_ms = now_ms + COMPARE_EVERY_MS;
                } else {
                    self.compare_ms = now_ms;
                }
            }
            Identity::Other => {
                self.fails(Cause::WrongHost, now_ms);
                self.compare_ms = now_ms + COMPARE_AGAIN_MS;
            }
            // Who was another is so until he is known; who was known, for a while.
            Identity::Unknown => {
                self.compare_ms = now_ms;
                let is_other = self.amiss == Some(Cause::WrongHost);
                if !is_other && (self.up_ms.is_none() || self.unknown >= UNKNOWN_MOST) {
                    self.fails(Cause::KeyUnknown, now_ms);
                }
            }
        }
        let mut actions = Vec::new();
        self.tell(now_ms, &mut actions);
        actions
    }

    /// The start is over.
    pub fn started(&mut self, trouble: Option<Cause>, now_ms: u64) {
        self.starting = false;
        self.started_ms = Some(now_ms);
        self.start_trouble = trouble;
        self.failed = 0;
        self.look_ms = now_ms;
        let rest_ms = REST_MS.get(self.starts).or(REST_MS.last()).copied().unwrap_or_default();
        self.start_ms = now_ms + rest_ms;
        self.starts += 1;
    }

    /// Somebody says that something has changed. It is looked at, and need not wait for long to be
    /// started.
    pub fn kick(&mut self, now_ms: u64) {
        let [least, ..] = REST_MS;
        self.hurry(least, now_ms);
    }

    /// The network has changed. It is looked at, and may be started a little sooner.
    pub fn network(&mut self, now_ms: u64) {
        self.hurry(NETWORK_REST_MS, now_ms);
    }

    fn hurry(&mut self, rest_ms: u64, now_ms: u64) {
        self.look_ms = self.look_ms.min(now_ms);
        if let Some(started) = self.started_ms {
            if now_ms >= started + OWN_CHANGE_MS {
                self.start_ms = self.start_ms.min(started + rest_ms).max(now_ms);
            }
        }
        let again = self.compared_ms.map_or(now_ms, |at| at + COMPARE_KICKED_MS);
        self.compare_ms = self.compare_ms.min(again);
    }

    /// Something near has failed: it is looked at.
    pub fn doubt(&mut self, now_ms: u64) {
        self.look_ms = self.look_ms.min(now_ms);
    }

    /// Whether it works, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up_ms.is_some()
    }

    /// Since when it is not known to work.
    #[must_use]
    pub fn down_since_ms(&self) -> Option<u64> {
        self.news.down_since_ms()
    }

    /// Since when it is as it is.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.up_ms.or(self.news.down_since_ms()).unwrap_or(0)
    }

    /// Why it does not work, if it does not.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let amiss = self.amiss.filter(|_| !self.is_up());
        // That nothing answers is no wonder when it could not be started.
        match (amiss, self.start_trouble) {
            (None | Some(Cause::NoAnswer), Some(trouble)) if !self.is_up() => Some(trouble),
            _ => amiss,
        }
    }

    fn due_look_ms(&self) -> u64 {
        if self.looking { u64::MAX } else { self.look_ms }
    }

    fn due_start_ms(&self) -> u64 {
        let fresh = !self.has_worked && self.started_ms.is_none();
        let enough = self.failed >= if fresh { 1 } else { START_AFTER };
        // Who answers there does so through the VPN, so another one would not mend it.
        let absent = self.amiss == Some(Cause::NoAnswer);
        let may = self.rules.can_start && !self.starting && !self.looking;
        if may && enough && absent { self.start_ms } else { u64::MAX }
    }

    fn works(&mut self, now_ms: u64) {
        self.up_ms.get_or_insert(now_ms);
        self.has_worked = true;
        (self.amiss, self.start_trouble) = (None, None);
    }

    fn fails(&mut self, cause: Cause, now_ms: u64) {
        if let Some(up) = self.up_ms.take() {
            if now_ms.saturating_sub(up) >= WORKED_MS {
                self.starts = 0;
                self.start_ms = now_ms;
            }
            // Who comes back is compared before he is believed.
            self.compare_ms = self.compare_ms.min(now_ms);
        }
        self.amiss = Some(cause);
        self.news.fails(now_ms);
    }

    fn tell(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if let Some(up_ms) = self.up_ms {
            if let Some((down_ms, _)) = self.news.up(up_ms, now_ms) {
                actions.push(Action::TellUp { down_ms });
            }
            return;
        }
        let Some(cause) = self.cause() else { return };
        if self.news.down(cause, cause.needs_somebody(), now_ms) {
            actions.push(Action::TellDown(cause));
        }
    }
}

#[cfg(test)]
mod tests;
