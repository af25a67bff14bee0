//! When to look at a line, when it is down or up, and what is told of that. Pure: what a look has seen and
//! the time in, what to do out.
//!
//! The clock is that of the boot, which nobody can set and which counts while the machine sleeps: after a
//! sleep a look is due at once, and nobody has looked meanwhile.

use std::collections::VecDeque;

use notifier::daemon::news::News;

use super::Cause;

/// So many of the last so many looks have to fail, unless this machine itself says what is wrong.
const BAD: usize = 3;
const OF: usize = 4;

/// So many in a row have to work after that.
const GOOD: u32 = 2;

/// How long after a look that failed the next one comes, by the number of those that have failed in a
/// row; then the last of these.
const AGAIN_MS: [u64; 6] = [1_000, 1_000, 2_000, 4_000, 8_000, 10_000];

/// The same when the line has been down for as long as this: packets that nobody answers may be paid for
/// all the same.
const LONG_MS: u64 = 3_600_000;
const LONG_EVERY_MS: u64 = 30_000;

/// The most between two looks while an outage is not made up for, however seldom the line is looked at, and
/// while it is about to be told that it is over.
const SHAKY_EVERY_MS: u64 = 10_000;
const UNTOLD_EVERY_MS: u64 = 2_000;

/// What the policy has to know of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How often a line that is up is looked at.
    pub check_every_ms: u64,
    /// How long it may be down before somebody is told.
    pub alert_after_ms: u64,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is up.
    Up {
        /// For how long it was down, if it was known to be.
        down_ms: Option<u64>,
    },
    /// It is down.
    Down(Cause),
    /// Somebody has to hear that it is down.
    TellDown(Cause),
    /// Somebody has to hear that it is up again.
    TellUp {
        /// For how long it was down.
        down_ms: u64,
    },
}

/// How a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has looked often enough to say.
    Unknown,
    /// Up, since then.
    Up { since_ms: u64 },
    /// Down, since then.
    Down { since_ms: u64, cause: Cause },
}

/// The policy of one line.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    state: State,
    /// What the last looks have seen since the state changed.
    recent: VecDeque<bool>,
    /// Looks in a row that have worked, and when the first of them was.
    good: (u32, u64),
    /// The same of those that have failed.
    bad: (u32, u64),
    look_ms: u64,
    news: News<Cause>,
}

impl Policy {
    /// Of a line that nobody has looked at yet. Nothing is told before `quiet_ms`.
    #[must_use]
    pub fn new(rules: Rules, now_ms: u64, quiet_ms: u64) -> Self {
        let news = News::new(rules.alert_after_ms, now_ms).quiet_until(quiet_ms);
        Self::with(rules, now_ms, State::Unknown, news)
    }

    /// Of a line of which somebody was told that it is down since then.
    #[must_use]
    pub fn resumed(rules: Rules, now_ms: u64, down_ms: u64, cause: Cause) -> Self {
        let news = News::resumed(rules.alert_after_ms, down_ms, (cause, false));
        Self::with(rules, now_ms, State::Down { since_ms: down_ms, cause }, news)
    }

    fn with(rules: Rules, now_ms: u64, state: State, news: News<Cause>) -> Self {
        let recent = VecDeque::with_capacity(OF);
        Self { rules, state, recent, good: (0, 0), bad: (0, 0), look_ms: now_ms, news }
    }

    /// Whether it is up, if that is known.
    #[must_use]
    pub fn is_up(&self) -> Option<bool> {
        match self.state {
            State::Unknown => None,
            State::Up { .. } => Some(true),
            State::Down { .. } => Some(false),
        }
    }

    /// Since when it is so, if that is known.
    #[must_use]
    pub fn since_ms(&self) -> Option<u64> {
        match self.state {
            State::Unknown => None,
            State::Up { since_ms } | State::Down { since_ms, .. } => Some(since_ms),
        }
    }

    /// Whether the last look has failed although the line still counts as up.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.bad.0 > 0 && self.is_up() == Some(true)
    }

    /// When the next look is due.
    #[must_use]
    pub fn look_ms(&self) -> u64 {
        self.look_ms
    }

    /// When there is something to do: a look, or something to tell.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        self.look_ms.min(self.news.due_ms(self.up_ms(), false))
    }

    /// A look is to be taken now: somebody says so, or the network has changed.
    pub fn hurry(&mut self, now_ms: u64) {
        self.look_ms = self.look_ms.min(now_ms);
    }

    /// A look that was begun at `begun_ms` has ended, and has seen this.
    pub fn looked(&mut self, begun_ms: u64, now_ms: u64, seen: Result<(), Cause>) -> Vec<Action> {
        let is_good = seen.is_ok();
        if self.recent.len() == OF {
            self.recent.pop_front();
        }
        self.recent.push_back(is_good);
        let (run, other) =
            if is_good { (&mut self.good, &mut self.bad) } else { (&mut self.bad, &mut self.good) };
        *other = (0, 0);
        *run = (run.0 + 1, if run.0 == 0 { begun_ms } else { run.1 });
        let mut actions = Vec::new();
        match seen {
            Ok(()) => actions.extend(self.works()),
            Err(cause) => actions.extend(self.fails(cause)),
        }
        actions.extend(self.tick(now_ms));
        self.look_ms = now_ms + self.pause_ms(now_ms);
        actions
    }

    fn works(&mut self) -> Option<Action> {
        let needs = if self.state == State::Unknown { 1 } else { GOOD };
        let (run, first_ms) = self.good;
        if run < needs || self.is_up() == Some(true) {
            return None;
        }
        let down_ms = match self.state {
            State::Down { since_ms, .. } => Some(first_ms.saturating_sub(since_ms)),
            _ => None,
        };
        self.state = State::Up { since_ms: first_ms };
        self.recent.clear();
        Some(Action::Up { down_ms })
    }

    fn fails(&mut self, cause: Cause) -> Option<Action> {
        if let State::Down { since_ms, .. } = self.state {
            // What is wrong may change while it is down.
            self.state = State::Down { since_ms, cause };
            return None;
        }
        let bad = self.recent.iter().filter(|good| !**good).count();
        if bad < BAD && !cause.is_certain() {
            return None;
        }
        // Of a line that works now and then, since it last did.
        let since_ms = self.bad.1;
        self.state = State::Down { since_ms, cause };
        self.recent.clear();
        self.news.fails(since_ms);
        Some(Action::Down(cause))
    }

    /// What is to be told now.
    pub fn tick(&mut self, now_ms: u64) -> Option<Action> {
        match self.state {
            State::Unknown => None,
            State::Up { since_ms } => {
                // A look that has failed says that this is not the moment.
                if self.bad.0 > 0 && self.news.is_told() {
                    return None;
                }
                self.news.up(since_ms, now_ms).map(|(down_ms, _)| Action::TellUp { down_ms })
            }
            State::Down { cause, .. } => {
                self.news.down(cause, false, now_ms).then_some(Action::TellDown(cause))
            }
        }
    }

    fn up_ms(&self) -> Option<u64> {
        match self.state {
            State::Up { since_ms } if self.bad.0 == 0 => Some(since_ms),
            // Neither the one nor the other is told.
            State::Up { .. } | State::Unknown => Some(u64::MAX / 2),
            State::Down { .. } => None,
        }
    }

    fn pause_ms(&self, now_ms: u64) -> u64 {
        let every_ms = self.rules.check_every_ms;
        match (self.bad.0, self.state) {
            (0, State::Down { .. }) => AGAIN_MS[0],
            (0, _) if self.news.is_told() => every_ms.min(UNTOLD_EVERY_MS),
            (0, _) if self.news.down_since_ms().is_some() => every_ms.min(SHAKY_EVERY_MS),
            (0, _) => every_ms,
            (_, State::Down { since_ms, .. }) if now_ms.saturating_sub(since_ms) >= LONG_MS => {
                LONG_EVERY_MS
            }
            (run, _) => {
                let at = usize::try_from(run - 1).unwrap_or(usize::MAX).min(AGAIN_MS.len() - 1);
                AGAIN_MS[at]
            }
        }
    }
}

#[cfg(test)]
mod tests;
