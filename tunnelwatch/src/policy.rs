//! When to start ssh, when to end it, when to look through the forward, and what to tell. Pure:
//! what happened and the time in, what to do out.

use notifier::daemon::news::News;

use crate::cause::Cause;

mod pace;
mod rival;

use pace::{compare_again_ms, first_look_again_ms, rest_ms};
use rival::Rival;

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

/// Least time between two starts after a key was rejected.
const AFTER_REJECTION_MS: u64 = 5_000;

/// How often a tunnel on a fallback port tries to go home, and where home was found not to work.
const HOME_EVERY_MS: u64 = 60_000;
const BAD_HOME_EVERY_MS: u64 = 600_000;

/// So many sessions on a port that never worked mean that the next port is to be tried.
const VAIN_MOST: u32 = 2;

/// Most tries in a minute that a jump host gets to refuse, whatever happens here in the meantime; and
/// how long the next one waits after one that was sooner because the network had changed.
const REFUSALS_MOST: usize = 12;
const MINUTE_MS: u64 = 60_000;
const AFTER_HASTE_MS: u64 = 10_000;

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
    /// How long after its beginning nothing is told.
    pub quiet_ms: u64,
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
    /// Tell that somebody else takes the home port again and again.
    TellTaken,
}

/// Where a tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No ssh runs; the next one starts then.
    Waiting { until_ms: u64 },
    /// One runs, and has not worked yet; how often it was looked through in vain.
    Opening { since_ms: u64, look_ms: u64, looks: u32 },
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
    /// Ports that were busy since it last worked.
    busy: usize,
    /// Sessions in a row that never worked on this port though they lived.
    vain: u32,
    /// Whether home was left because of that.
    bad_home: bool,
    /// When the tries of the last minute began that the jump host has refused.
    refusals: Vec<u64>,
    /// Whether the try that is under way began sooner because the network had changed.
    hasty: bool,
    /// Tries whose key was rejected since it last worked.
    rejected: u32,
    /// Whether a look is under way.
    looking: bool,
    /// How often the keys were compared, and when they are next; nothing once they are the same.
    compare: Option<(u32, u64)>,
    /// Since when it is not known to work, and what was told of that.
    news: News<Cause>,
    /// The port that was told last.
    told_port: usize,
    /// Since when it works on its port.
    port_ms: u64,
    /// Who else may hold the home port.
    rival: Rival,
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
            vain: 0,
            bad_home: false,
            refusals: Vec::new(),
            hasty: false,
            rejected: 0,
            looking: false,
            compare: None,
            news: News::new(rules.alert_after_ms, now_ms).quiet_until(now_ms + rules.quiet_ms),
            told_port: 0,
            port_ms: now_ms,
            rival: Rival::default(),
            kicked: false,
            pending: Vec::new(),
        }
    }

    /// A tunnel that was told to be down, since then and for this reason, by who has ended since: it is
    /// not told again, but its return is.
    #[must_use]
    pub fn resumed(rules: Rules, now_ms: u64, down_ms: u64, cause: Cause) -> Self {
        let fresh = Self::new(rules, now_ms);
        let told = (cause, cause.needs_somebody());
        let news = News::resumed(rules.alert_after_ms, down_ms, told);
        Self { news: news.quiet_until(now_ms + rules.quiet_ms), ..fresh }
    }

    /// What is due now, in this order.
    pub fn act(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = std::mem::take(&mut self.pending);
        match self.phase {
            Phase::Waiting { until_ms } if now_ms >= until_ms => {
                self.started_ms = now_ms;
                let look_ms = now_ms + FIRST_LOOKS_MS;
                self.phase = Phase::Opening { since_ms: now_ms, look_ms, looks: 0 };
                self.looking = false;
                self.compare = Some((0, now_ms));
                actions.push(Action::Start { port: self.port });
            }
            Phase::Opening { since_ms, looks, .. } if now_ms >= since_ms + FIRST_PROOF_MS => {
                actions.push(Action::Stop);
                // ssh makes its sockets when the jump host has let it in.
                let cause = if looks > 0 { Cause::ForwardBroken } else { Cause::Unreachable };
                self.failed(cause, now_ms);
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
                let home_ms = self.next_home_ms(now_ms);
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
            Phase::Opening { since_ms, look_ms, .. } => {
                look(look_ms).min(since_ms + FIRST_PROOF_MS)
            }
            // It goes home while it is well.
            Phase::Open { look_ms, home_ms, failed: 0, .. } if self.port > 0 => {
                look(look_ms).min(home_ms)
            }
            Phase::Open { look_ms, .. } => look(look_ms),
        };
        due.min(self.tell_ms())
    }

    /// ssh has ended.
    pub fn ended(&mut self, cause: Cause, now_ms: u64) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            return;
        }
        self.failed(cause, now_ms);
    }

    /// The jump host has given the port.
    pub fn given(&mut self, now_ms: u64) {
        if let Phase::Opening { look_ms, looks: 0, .. } = &mut self.phase {
            *look_ms = now_ms;
        }
    }

    /// There is no way yet to look through, or none any more.
    pub fn no_way(&mut self, now_ms: u64) -> Vec<Action> {
        let Phase::Opening { look_ms, .. } = &mut self.phase else {
            return self.not_proved(Cause::ForwardBroken, now_ms);
        };
        *look_ms = now_ms + FIRST_LOOKS_MS;
        self.looking = false;
        Vec::new()
    }

    /// The key behind the forward is the target's.
    pub fn compared(&mut self) {
        self.compare = None;
    }

    /// The forward works.
    pub fn proved(&mut self, now_ms: u64) -> Vec<Action> {
        self.looking = false;
        let look_ms = now_ms + self.rules.check_every_ms;
        let mut actions = Vec::new();
        self.phase = match self.phase {
            Phase::Waiting { .. } => return actions,
            Phase::Opening { .. } => {
                // What has changed may be the home port: it was given back meanwhile.
                let home_ms = if self.kicked { now_ms } else { self.next_home_ms(now_ms) };
                self.port_ms = now_ms;
                Phase::Open { since_ms: now_ms, look_ms, failed: 0, home_ms }
            }
            Phase::Open { since_ms, home_ms, failed, .. } => {
                let since_ms = if failed >= BROKEN_AFTER { now_ms } else { since_ms };
                Phase::Open { since_ms, look_ms, failed: 0, home_ms }
            }
        };
        if let Some((times, _)) = self.compare.filter(|(_, at_ms)| now_ms >= *at_ms) {
            actions.push(Action::Identify);
            self.compare = Some((times.saturating_add(1), now_ms + compare_again_ms(times)));
        }
        self.busy = 0;
        self.kicked = false;
        self.rival.proved();
        self.rejected = 0;
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
            Phase::Opening { look_ms, since_ms, looks } => {
                // The way is open and its end is not: nothing that a new session could mend.
                if cause.is_of_a_look() {
                    let (since_ms, home_ms) = (*since_ms, self.next_home_ms(now_ms));
                    self.port_ms = now_ms;
                    let look_ms = now_ms + LOOK_AGAIN_MS;
                    self.phase = Phase::Open { since_ms, look_ms, failed: 1, home_ms };
                    self.failing = Some((cause, 1, now_ms));
                } else {
                    *look_ms = now_ms + first_look_again_ms(*looks);
                    *looks = looks.saturating_add(1);
                }
            }
            Phase::Open { look_ms, failed, .. } => {
                *failed = failed.saturating_add(1);
                *look_ms = now_ms + LOOK_AGAIN_MS;
                // Where something has changed, one look that fails is no accident.
                let changed = self.kicked && !cause.is_of_a_look();
                if *failed >= BROKEN_AFTER || changed {
                    self.news.fails(now_ms);
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

    /// The session has the home port as well now, or has not. Who is behind it is another question
    /// than before.
    pub fn went_home(&mut self, home: bool, now_ms: u64) {
        if home {
            (self.port, self.vain, self.port_ms) = (0, 0, now_ms);
            self.compare = Some((0, now_ms));
            self.doubt(now_ms);
        }
    }

    /// Something has changed: a key, or somebody says so. What waits is tried now, as if it were for the
    /// first time, and what is open is looked at.
    pub fn kick(&mut self, now_ms: u64) {
        self.rejected = 0;
        if let Phase::Waiting { until_ms } = &mut self.phase {
            *until_ms = now_ms;
            // Why it did not work stays the reason until another is known.
            self.failing = self.failing.map(|(cause, _, _)| (cause, 0, now_ms));
        }
        self.bad_home = false;
        self.look_again(now_ms);
    }

    /// The network has changed. What it may have mended is tried now, and what is open is looked at.
    pub fn network(&mut self, now_ms: u64) {
        let mends = self.failing.is_some_and(|(cause, _, _)| cause.is_of_the_line());
        let soonest_ms = self.least_ms(now_ms);
        if let Phase::Waiting { until_ms } = &mut self.phase {
            if mends && soonest_ms < *until_ms {
                *until_ms = soonest_ms;
                self.hasty = true;
            }
        }
        self.look_again(now_ms);
    }

    fn look_again(&mut self, now_ms: u64) {
        self.kicked = true;
        let goes_home = !self.bad_home;
        match &mut self.phase {
            Phase::Waiting { .. } => {}
            Phase::Opening { look_ms, .. } => *look_ms = (*look_ms).min(now_ms),
            Phase::Open { look_ms, home_ms, .. } => {
                *look_ms = (*look_ms).min(now_ms);
                if goes_home {
                    *home_ms = (*home_ms).min(now_ms);
                }
            }
        }
    }

    /// When a try may begin that the jump host may refuse.
    fn least_ms(&self, now_ms: u64) -> u64 {
        let oldest = self.refusals.len().checked_sub(REFUSALS_MOST);
        let oldest = oldest.and_then(|at| self.refusals.get(at));
        oldest.map_or(now_ms, |at| (at + MINUTE_MS).max(now_ms))
    }

    fn next_home_ms(&self, now_ms: u64) -> u64 {
        now_ms + if self.bad_home { BAD_HOME_EVERY_MS } else { HOME_EVERY_MS }
    }

    /// Something near has failed: what is open is looked at. What waits has its reason to.
    pub fn doubt(&mut self, now_ms: u64) {
        if let Phase::Open { look_ms, .. } = &mut self.phase {
            *look_ms = (*look_ms).min(now_ms);
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
        self.news.down_since_ms()
    }

    /// Since when it works.
    #[must_use]
    pub fn up_since_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { since_ms, .. } if self.is_up() => Some(since_ms),
            _ => None,
        }
    }

    fn failed(&mut self, cause: Cause, now_ms: u64) {
        let worked = matches!(self.phase, Phase::Open { since_ms, .. }
            if now_ms.saturating_sub(since_ms) >= WORKED_MS);
        self.looking = false;
        self.news.fails(now_ms);
        let (tries, first_ms) = match self.failing {
            Some((before, tries, first_ms)) if before == cause && !worked => {
                (tries.saturating_add(1), first_ms)
            }
            _ => (1, now_ms),
        };
        self.failing = Some((cause, tries, first_ms));
        // Whatever happens between: who counts rejected keys does not forget them for that.
        let tries = match cause {
            Cause::KeyRejected => {
                self.rejected = self.rejected.saturating_add(1);
                self.rejected
            }
            _ => tries,
        };
        let mut rest = rest_ms(cause, tries, now_ms.saturating_sub(first_ms));
        if self.rejected > 0 {
            rest = rest.max(AFTER_REJECTION_MS);
        }
        let is_hasty = std::mem::take(&mut self.hasty);
        let mut least_ms = now_ms + AT_ONCE_MS;
        if matches!(cause, Cause::Refused | Cause::PortBusy) {
            self.refusals.retain(|at| now_ms.saturating_sub(*at) < MINUTE_MS);
            self.refusals.push(self.started_ms);
            least_ms = least_ms.max(self.least_ms(now_ms));
            rest = rest.max(if is_hasty { AFTER_HASTE_MS } else { 0 });
        }
        if cause == Cause::PortBusy {
            if self.port == 0 && self.rival.holds(now_ms) {
                self.pending.push(Action::TellTaken);
            }
            if self.rules.release && self.rival.asks(now_ms) {
                self.pending.push(Action::Release);
            }
            // Each port is tried at once, and once.
            self.busy = self.busy.saturating_add(1);
            if self.busy < self.rules.ports {
                rest = AT_ONCE_MS;
            }
            self.next_port();
        }
        let lived_in_vain = match cause {
            Cause::ForwardBroken => matches!(self.phase, Phase::Opening { .. }),
            Cause::WrongHost => !worked,
            _ => false,
        };
        if worked {
            self.vain = 0;
        } else if lived_in_vain {
            self.vain += 1;
            if self.vain >= VAIN_MOST && self.rules.ports > 1 {
                self.bad_home |= self.port == 0;
                self.next_port();
            }
        }
        let was_home = self.port == 0 && matches!(self.phase, Phase::Open { .. });
        self.rival.ends(was_home && cause == Cause::Closed);
        // Counted from the start of the try, which may have taken its time.
        self.phase = Phase::Waiting { until_ms: (self.started_ms + rest).max(least_ms) };
    }

    fn next_port(&mut self) {
        (self.port, self.vain) = ((self.port + 1) % self.rules.ports.max(1), 0);
    }

    /// Whether somebody has to mend something.
    fn is_for_somebody(&self) -> bool {
        self.failing.is_some_and(|(cause, _, _)| cause.needs_somebody())
    }

    /// When there is something to tell.
    fn tell_ms(&self) -> u64 {
        let up_ms = self.up_since_ms();
        let moved_ms = match up_ms {
            Some(_) if !self.news.is_told() && self.told_port != self.port => {
                self.news.moved_ms(self.port_ms)
            }
            _ => u64::MAX,
        };
        self.news.due_ms(up_ms, self.is_for_somebody()).min(moved_ms)
    }

    fn tell(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if let Some(up_ms) = self.up_since_ms() {
            if let Some((down_ms, cause)) = self.news.up(up_ms, now_ms) {
                actions.push(Action::TellUp { down_ms, cause, port: self.port });
                self.told_port = self.port;
            } else if !self.news.is_told()
                && self.told_port != self.port
                && now_ms >= self.news.moved_ms(self.port_ms)
            {
                self.told_port = self.port;
                self.news.moves(now_ms);
                actions.push(Action::TellMoved { port: self.port });
            }
            if now_ms >= up_ms + WORKED_MS {
                self.failing = None;
                self.vain = 0;
                self.bad_home &= self.port != 0 || now_ms < self.port_ms + WORKED_MS;
            }
            return;
        }
        let cause = self.failing.map_or(Cause::Closed, |(cause, _, _)| cause);
        if self.news.down(cause, cause.needs_somebody(), now_ms) {
            actions.push(Action::TellDown(cause));
        }
    }
}

#[cfg(test)]
mod tests;
