//! Calls that fail: when they are tried again, and when somebody hears of it.

use notifier::clock::millis;

use super::{Action, Kind, Now, Policy, SETTLE_MS, Tale, Trouble, Verb};

/// Rests after calls that have failed: the first ones, and all others.
const AGAIN_MS: [u64; 4] = [5_000, 10_000, 20_000, 30_000];
const IDLE_MS: u64 = 600_000;
const REFUSED_MS: u64 = 300_000;
const IDLE_REFUSED_MS: u64 = 3_600_000;

/// Longest rest that a provider may ask for.
const LONGEST_RETRY_MS: u64 = 300_000;

/// For how long it may not go before somebody is told.
const TELL_START_MS: u64 = 60_000;
const TELL_STOP_MS: u64 = 900_000;
const TELL_IDLE_MS: u64 = 24 * 3_600_000;

/// How bad what was told is: at first whether somebody has to mend it, and from [`NEEDED`] on that the machine is needed
/// meanwhile.
const LATER: u8 = 1;
const FOR_SOMEBODY: u8 = 2;
const NEEDED: u8 = 2;

/// What is known of the calls that have failed.
#[derive(Debug, Clone)]
pub(super) struct Failing {
    pub verb: Verb,
    pub trouble: Trouble,
    since_ms: u64,
    times: usize,
}

impl Policy {
    pub(super) fn failed(&mut self, verb: Verb, trouble: Trouble, now: &Now) {
        let times = match &self.failing {
            Some(failing) if failing.verb == verb => failing.times + 1,
            _ => 0,
        };
        let since_ms = match &self.failing {
            Some(failing) if failing.verb == verb => failing.since_ms,
            _ => now.ms,
        };
        if verb != Verb::Describe {
            // It may have come through all the same.
            self.seen = None;
            self.settle_ms = now.ms + SETTLE_MS;
        }
        let needed = self.want.on || self.note.runs.is_some();
        let again_ms = AGAIN_MS.get(times).or(AGAIN_MS.last()).copied().unwrap_or(SETTLE_MS);
        let wished = trouble.retry_after.map(millis).map(|ms| ms.clamp(1_000, LONGEST_RETRY_MS));
        let rest_ms = match (trouble.kind, needed) {
            (Kind::Busy, true) => wished.unwrap_or(again_ms),
            (Kind::Away, true) => again_ms,
            // The line that it goes by is paid by the byte, maybe.
            (Kind::Busy | Kind::Away, false) => IDLE_MS,
            (_, true) => REFUSED_MS,
            (_, false) => IDLE_REFUSED_MS,
        };
        self.rest_ms = now.ms + rest_ms;
        self.failing = Some(Failing { verb, trouble, since_ms, times });
    }

    pub(super) fn clear_failing(&mut self, verb: Verb, actions: &mut Vec<Action>) {
        let is_of_it = |failing: &Failing| failing.verb == verb || verb != Verb::Describe;
        let over = self.failing.as_ref().is_none_or(is_of_it);
        if !over {
            return;
        }
        self.failing = None;
        if std::mem::take(&mut self.note.told.trouble) > 0 {
            actions.push(Action::Keep);
            actions.push(Action::Tell(Tale::TroubleOver));
        }
    }

    /// It was not needed, and is, or the other way.
    pub(super) fn need_changes(&mut self, now: &Now) {
        if !self.want.on {
            // Whoever was told that it cannot be started is told anew when it is needed the next time.
            let told = &mut self.note.told.trouble;
            *told = if *told > NEEDED { *told - NEEDED } else { *told };
            return;
        }
        // What could wait cannot any more, and whether it still fails is seen in a moment.
        self.rest_ms = now.ms;
        if self.failing.as_ref().is_some_and(|failing| failing.verb == Verb::Describe) {
            self.failing = None;
        }
        if self.is_stopping() {
            self.look_ms = now.ms;
        }
    }

    /// Tells what fails, once, and once more when that is worse than what was told.
    pub(super) fn tell_failing(&mut self, now: &Now) -> Option<Tale> {
        let failing = self.failing.as_ref()?;
        let is_for_somebody = failing.trouble.kind.is_for_somebody();
        let patience_ms = match failing.verb {
            _ if is_for_somebody => 0,
            _ if self.want.on => TELL_START_MS,
            Verb::Stop => TELL_STOP_MS,
            _ if self.note.runs.is_some() => TELL_STOP_MS,
            _ => TELL_IDLE_MS,
        };
        let level = if is_for_somebody { FOR_SOMEBODY } else { LATER };
        let level = if self.want.on { level + NEEDED } else { level };
        let is_due = now.ms.saturating_sub(failing.since_ms) >= patience_ms;
        if !is_due || level <= self.note.told.trouble {
            return None;
        }
        self.note.told.trouble = level;
        let (why, needed) = (failing.trouble.why.clone(), self.want.on);
        Some(Tale::Trouble { verb: failing.verb, why, needed })
    }
}
