//! When to start ssh, when to end it, when to look through the forward, and what to tell. Pure:
//! what happened and the time in, what to do out.

use crate::cause::Cause;

/// Shortest time between two starts after a session that had worked: it comes back at once.
const AT_ONCE_MS: u64 = 100;

/// How long a session must have worked for its end to be news, and not one more failed try.
const WORKED_MS: u64 = 30_000;

/// How often the forward is looked through until it works for the first time, and how long a new
/// session gets for that.
const FIRST_LOOKS_MS: u64 = 250;
const FIRST_PROOF_MS: u64 = 30_000;

/// After a look that failed, the next one comes this soon; so many in a row mean that it is broken.
const LOOK_AGAIN_MS: u64 = 1_500;
const BROKEN_AFTER: u32 = 2;

/// How often a tunnel on a fallback port tries to go home.
const HOME_EVERY_MS: u64 = 60_000;

/// How long a tunnel has to work before that is told; doubled for each time that it was told in the
/// last hour, so that one that flaps is told less and less often.
const SETTLED_MS: u64 = 5_000;
const HOUR_MS: u64 = 3_600_000;
const MOST_FLAPS: u32 = 7;

/// What the policy has to know of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many ports there are: the first is home, the others are fallbacks.
    pub ports: usize,
    /// How often a tunnel that works is looked through.
    pub check_every_ms: u64,
    /// How long it may be down before somebody is told.
    pub alert_after_ms: u64,
    /// Whether the jump host can be asked to end a session that holds the port.
    pub release: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start ssh with the forward on this port.
    Start {
        /// Index of the port.
        port: usize,
    },
    /// End ssh.
    Stop,
    /// Look through the forward.
    Look,
    /// Compare the host key behind the forward with the target's own.
    Identify,
    /// Ask the jump host to end the session that holds the home port.
    Release,
    /// Ask the session for a forward on the home port as well.
    GoHome,
    /// Tell that it is down.
    TellDown(Cause),
    /// Tell that it is up again, after so many milliseconds.
    TellUp {
        /// How long it was down.
        down_ms: u64,
        /// Why, when it was told.
        cause: Cause,
        /// Index of the port that it is on now.
        port: usize,
    },
    /// Tell that it has moved to another port.
    TellMoved {
        /// Index of the port.
        port: usize,
    },
}

/// Where a tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No ssh runs; the next one starts then.
    Waiting { until_ms: u64 },
    /// One runs, and has not worked yet.
    Opening { since_ms: u64, look_ms: u64 },
    /// It works, or did at the last look but `failed`.
    Open { since_ms: u64, look_ms: u64, failed: u32, home_ms: u64 },
}

/// The policy of one tunnel.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    phase: Phase,
    port: usize,
    /// When the last try began.
    started_ms: u64,
    /// Tries in a row that have failed for this reason, and since when.
    failing: Option<(Cause, u32, u64)>,
    /// Ports that were busy in this round.
    busy: usize,
    /// Whether a look is under way.
    looking: bool,
    /// Since when it is not known to work.
    down_since_ms: Option<u64>,
    /// What was told of that.
    told: Option<Cause>,
    /// When it was told that it is up, in the last hour.
    ups: Vec<u64>,
    /// The port that was told last.
    told_port: usize,
    /// Whether the jump host was asked to release the port since it last worked.
    released: bool,
    /// Whether something has changed since it was last proved to work.
    kicked: bool,
    /// What is to be done at the next occasion.
    pending: Vec<Action>,
}

impl Policy {
    /// A tunnel that is to be started at once.
    #[must_use]
    pub fn new(rules: Rules, now_ms: u64) -> Self {
        Self {
            rules,
            phase: Phase::Waiting { until_ms: now_ms },
            port: 0,
            started_ms: now_ms,
            failing: None,
            busy: 0,
            looking: false,
            down_since_ms: Some(now_ms),
            told: None,
            ups: Vec::new(),
            told_port: 0,
            released: false,
            kicked: false,
            pending: Vec::new(),
        }
    }

    /// What is due now, in this order.
    pub fn act(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = std::mem::take(&mut self.pending);
        match self.phase {
            Phase::Waiting { until_ms } if now_ms >= until_ms => {
                self.started_ms = now_ms;
                self.phase = Phase::Opening { since_ms: now_ms, look_ms: now_ms + FIRST_LOOKS_MS };
                self.looking = false;
                actions.push(Action::Start { port: self.port });
            }
            Phase::Opening { since_ms, .. } if now_ms >= since_ms + FIRST_PROOF_MS => {
                actions.push(Action::Stop);
                self.failed(self.open_cause(), now_ms);
            }
            Phase::Opening { look_ms, .. } | Phase::Open { look_ms, .. }
                if now_ms >= look_ms && !self.looking =>
            {
                self.looking = true;
                actions.push(Action::Look);
            }
            _ => {}
        }
        if let Phase::Open { home_ms, since_ms, look_ms, failed } = self.phase {
            if self.port > 0 && now_ms >= home_ms && failed == 0 {
                let home_ms = now_ms + HOME_EVERY_MS;
                self.phase = Phase::Open { home_ms, since_ms, look_ms, failed };
                actions.push(Action::GoHome);
            }
        }
        self.tell(now_ms, &mut actions);
        actions
    }

    /// When [`Policy::act`] has something to do without anything happening before.
    #[must_use]
    pub fn wake_ms(&self) -> u64 {
        let look = |look_ms: u64| if self.looking { u64::MAX } else { look_ms };
        let due = match self.phase {
            Phase::Waiting { until_ms } => until_ms,
            Phase::Opening { since_ms, look_ms } => look(look_ms).min(since_ms + FIRST_PROOF_MS),
            Phase::Open { look_ms, home_ms, .. } if self.port > 0 => look(look_ms).min(home_ms),
            Phase::Open { look_ms, .. } => look(look_ms),
        };
        due.min(self.tell_ms())
    }

    /// ssh has ended.
    pub fn ended(&mut self, cause: Cause, now_ms: u64) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            return;
        }
        let cause = match cause {
            // It was up to us to say why, and nothing was said.
            Cause::Closed => self.open_cause(),
            cause => cause,
        };
        self.failed(cause, now_ms);
    }

    /// The forward works.
    pub fn proved(&mut self, now_ms: u64) -> Vec<Action> {
        self.looking = false;
        let look_ms = now_ms + self.rules.check_every_ms;
        let mut actions = Vec::new();
        self.phase = match self.phase {
            Phase::Waiting { .. } => return actions,
            Phase::Opening { .. } => {
                actions.push(Action::Identify);
                // What has changed may be the home port: it was given back meanwhile.
                let home_ms = if self.kicked { now_ms } else { now_ms + HOME_EVERY_MS };
                Phase::Open { since_ms: now_ms, look_ms, failed: 0, home_ms }
            }
            Phase::Open { since_ms, home_ms, failed, .. } => {
                let since_ms = if failed >= BROKEN_AFTER { now_ms } else { since_ms };
                Phase::Open { since_ms, look_ms, failed: 0, home_ms }
            }
        };
        self.busy = 0;
        (self.released, self.kicked) = (false, false);
        // What a look has found, a look takes back; what ended a session, time.
        self.failing = self.failing.filter(|(cause, _, _)| !cause.is_of_a_look());
        self.tell(now_ms, &mut actions);
        actions
    }

    /// The forward did not work when it was looked through.
    pub fn not_proved(&mut self, cause: Cause, now_ms: u64) -> Vec<Action> {
        self.looking = false;
        let mut actions = Vec::new();
        match &mut self.phase {
            Phase::Waiting { .. } => {}
            Phase::Opening { look_ms, since_ms } => {
                // The way is open and its end is not: nothing that a new session could mend.
                if cause.is_of_a_look() {
                    let (since_ms, home_ms) = (*since_ms, now_ms + HOME_EVERY_MS);
                    let look_ms = now_ms + LOOK_AGAIN_MS;
                    self.phase = Phase::Open { since_ms, look_ms, failed: 1, home_ms };
                    self.failing = Some((cause, 1, now_ms));
                } else {
                    *look_ms = now_ms + FIRST_LOOKS_MS;
                }
            }
            Phase::Open { look_ms, failed, .. } => {
                *failed = failed.saturating_add(1);
                *look_ms = now_ms + LOOK_AGAIN_MS;
                // Where something has changed, one look that fails is no accident.
                let changed = self.kicked && !cause.is_of_a_look();
                if *failed >= BROKEN_AFTER || changed {
                    self.down_since_ms.get_or_insert(now_ms);
                    if cause.is_of_a_look() {
                        *look_ms = now_ms + self.rules.check_every_ms.min(10_000);
                        self.failing = Some((cause, *failed, now_ms));
                    } else {
                        actions.push(Action::Stop);
                        self.failed(cause, now_ms);
                    }
                }
            }
        }
        self.tell(now_ms, &mut actions);
        actions
    }

    /// What answers behind the forward is not the target.
    pub fn wrong_host(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = vec![Action::Stop];
        self.failed(Cause::WrongHost, now_ms);
        self.tell(now_ms, &mut actions);
        actions
    }

    /// The session has the home port as well now, or has not.
    pub fn went_home(&mut self, home: bool) {
        if home {
            self.port = 0;
        }
    }

    /// Something has changed: the network, a key, or somebody says so. What waits is tried now, and
    /// what is open is looked at.
    pub fn kick(&mut self, now_ms: u64) {
        self.kicked = true;
        match &mut self.phase {
            Phase::Waiting { until_ms } => {
                *until_ms = now_ms;
                self.failing = None;
            }
            Phase::Opening { look_ms, .. } => *look_ms = (*look_ms).min(now_ms),
            Phase::Open { look_ms, home_ms, .. } => {
                *look_ms = (*look_ms).min(now_ms);
                *home_ms = (*home_ms).min(now_ms);
            }
        }
    }

    /// Whether it works, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Open { failed, .. } if failed < BROKEN_AFTER)
            && self.failing.is_none_or(|(cause, _, _)| !cause.is_of_a_look())
    }

    /// Index of the port that it is on, or is tried on.
    #[must_use]
    pub fn port(&self) -> usize {
        self.port
    }

    /// Why it does not work, if it does not.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.failing.map(|(cause, _, _)| cause).filter(|_| !self.is_up())
    }

    /// Since when it is not known to work.
    #[must_use]
    pub fn down_since_ms(&self) -> Option<u64> {
        self.down_since_ms
    }

    /// Since when it works.
    #[must_use]
    pub fn up_since_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { since_ms, .. } if self.is_up() => Some(since_ms),
            _ => None,
        }
    }

    /// A session that never worked, and did not say why.
    fn open_cause(&self) -> Cause {
        match self.phase {
            Phase::Open { .. } => Cause::Closed,
            _ => Cause::ForwardBroken,
        }
    }

    fn failed(&mut self, cause: Cause, now_ms: u64) {
        let worked = matches!(self.phase, Phase::Open { since_ms, .. }
            if now_ms.saturating_sub(since_ms) >= WORKED_MS);
        self.looking = false;
        self.down_since_ms.get_or_insert(now_ms);
        let (tries, first_ms) = match self.failing {
            Some((before, tries, first_ms)) if before == cause && !worked => {
                (tries.saturating_add(1), first_ms)
            }
            _ => (1, now_ms),
        };
        self.failing = Some((cause, tries, first_ms));
        let mut rest = rest_ms(cause, tries, now_ms.saturating_sub(first_ms));
        if cause == Cause::PortBusy {
            if self.rules.release && !std::mem::replace(&mut self.released, true) {
                self.pending.push(Action::Release);
            }
            self.busy += 1;
            if self.busy % self.rules.ports.max(1) != 0 {
                rest = AT_ONCE_MS;
            }
            self.port = (self.port + 1) % self.rules.ports.max(1);
        }
        // Counted from the start of the try, which may have taken its time.
        let until_ms = (self.started_ms + rest).max(now_ms + AT_ONCE_MS);
        self.phase = Phase::Waiting { until_ms };
    }

    /// How long it has to work before that is told.
    fn settled_ms(&self, now_ms: u64) -> u64 {
        let flaps = self.ups.iter().filter(|up| now_ms.saturating_sub(**up) < HOUR_MS).count();
        SETTLED_MS << u32::try_from(flaps).unwrap_or(MOST_FLAPS).min(MOST_FLAPS)
    }

    /// Whether somebody has to mend something.
    fn is_for_somebody(&self) -> bool {
        self.failing.is_some_and(|(cause, _, _)| cause.needs_somebody())
    }

    /// When there is something to tell.
    fn tell_ms(&self) -> u64 {
        match (self.up_since_ms(), self.down_since_ms, self.told) {
            (Some(up), Some(_), Some(_)) => up + self.settled_ms(up),
            (None, Some(down), None) if self.is_for_somebody() => down,
            (None, Some(down), None) => down + self.rules.alert_after_ms,
            _ => u64::MAX,
        }
    }

    fn tell(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if let Some(up_ms) = self.up_since_ms() {
            let settled = now_ms >= up_ms + self.settled_ms(up_ms);
            match (self.told, self.down_since_ms) {
                (Some(cause), Some(down)) if settled => {
                    let down_ms = up_ms.saturating_sub(down);
                    actions.push(Action::TellUp { down_ms, cause, port: self.port });
                    self.told_port = self.port;
                    self.ups.retain(|up| now_ms.saturating_sub(*up) < HOUR_MS);
                    self.ups.push(now_ms);
                    (self.told, self.down_since_ms) = (None, None);
                }
                (None, _) => {
                    self.down_since_ms = None;
                    if self.told_port != self.port {
                        self.told_port = self.port;
                        actions.push(Action::TellMoved { port: self.port });
                    }
                }
                _ => {}
            }
            if now_ms >= up_ms + WORKED_MS {
                self.failing = None;
            }
            return;
        }
        let Some(down) = self.down_since_ms else { return };
        let cause = self.failing.map_or(Cause::Closed, |(cause, _, _)| cause);
        let late = now_ms >= down + self.rules.alert_after_ms;
        let at_once = cause.needs_somebody();
        // One cause after another is told once: the first, unless a later one has a remedy.
        if self.told.is_none() && (late || at_once)
            || at_once && self.told.is_some_and(|told| !told.needs_somebody())
        {
            self.told = Some(cause);
            actions.push(Action::TellDown(cause));
        }
    }
}

/// Milliseconds between the starts of two tries, after `tries` in a row have failed for `cause` for
/// `for_ms`. There is no doubling without an end: the jump host may come back any second.
fn rest_ms(cause: Cause, tries: u32, for_ms: u64) -> u64 {
    match cause {
        Cause::Closed | Cause::Silent | Cause::ForwardBroken => match tries {
            1 => 0,
            2 => 1_000,
            3 => 3_000,
            _ => 5_000,
        },
        // At most twelve in a minute, and soon enough for a jump host that is started anew.
        Cause::Refused | Cause::PortBusy => match (tries, for_ms) {
            (1, _) => 3_000,
            (_, 0..40_000) => 4_600,
            _ => 8_000,
        },
        Cause::Dns | Cause::Unreachable => match for_ms {
            0..60_000 => 3_000,
            _ => 8_000,
        },
        // Four in the first minute: more is what fail2ban and sshd's penalties wait for.
        Cause::KeyRejected => match tries {
            1 => 5_000,
            2 => 20_000,
            3 => 30_000,
            _ => 600_000,
        },
        Cause::HostKey | Cause::WrongHost => 60_000,
        Cause::NoSsh | Cause::BadOption => 60_000,
        Cause::ProbeDenied | Cause::TargetDown => 10_000,
    }
}

#[cfg(test)]
mod tests;
