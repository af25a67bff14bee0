//! Which tries are put on record: an outage of a day is some ten thousand of them, all alike. Pure.

use std::time::{Duration, Instant};

use crate::cause::Cause;

/// So many tries in a row that end alike are put on record, and then one in so long a time.
const FIRST: u32 = 5;
const THEN: Duration = Duration::from_secs(600);

/// The tries since it last worked.
#[derive(Debug, Default)]
pub struct Tries {
    /// Why the last one ended, and how many in a row for that.
    last: Option<(Cause, u32)>,
    /// When one was put on record.
    told: Option<Instant>,
    /// How many were not since then.
    untold: u32,
}

impl Tries {
    /// Whether the try that begins is put on record.
    #[must_use]
    pub fn begins(&self, now: Instant) -> bool {
        let count = self.last.map_or(0, |(_, count)| count);
        count < FIRST || self.is_time(now)
    }

    /// A try has ended; whether that is put on record, and how many like it before were not.
    pub fn ended(&mut self, cause: Cause, now: Instant) -> Option<u32> {
        let before = self.last.filter(|(last, _)| *last == cause).map_or(0, |(_, count)| count);
        let count = before.saturating_add(1);
        if before == 0 {
            self.untold = 0;
        }
        self.last = Some((cause, count));
        if count <= FIRST || self.is_time(now) {
            self.told = Some(now);
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold = self.untold.saturating_add(1);
        None
    }

    /// It works: the next end is news.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    fn is_time(&self, now: Instant) -> bool {
        self.told.is_none_or(|at| now.saturating_duration_since(at) >= THEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_tries_is_some_records_and_what_is_new_is_one_at_once() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut tries = Tries::default();
        let day = (0..86_400).step_by(8);
        let told = day.filter(|second| {
            let begins = tries.begins(at(*second));
            let told = tries.ended(Cause::Unreachable, at(*second));
            assert_eq!(begins, told.is_some(), "{second}");
            assert!(told.is_none_or(|untold| untold <= 75), "{told:?}");
            told.is_some()
        });
        assert_eq!(told.count(), 148);
        assert_eq!(tries.ended(Cause::Refused, at(86_400)), Some(0));
        tries.worked();
        assert!(tries.begins(at(86_410)));
        assert_eq!(tries.ended(Cause::Refused, at(86_411)), Some(0));
    }
}
