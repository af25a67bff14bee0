//! What checks of a line remember from one to the next.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use notifier::spool::files;
use serde::{Deserialize, Serialize};

use crate::alarm::{self, Aspect};

/// After so many checks one takes longer: a day of hourly ones, whatever the clock says.
const LONG_AFTER: u32 = 24;

/// Or after so many seconds.
const LONG_AFTER_S: i64 = 24 * 3600;

/// What is remembered of a line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What was told.
    pub aspects: BTreeMap<Aspect, alarm::Memory>,
    /// Checks with a test since the last that took longer.
    pub since_long: u32,
    /// When that was, or the first of all, in seconds since 1970.
    pub long_at_s: Option<i64>,
    /// What the last longer test has found behind a token bucket.
    pub bucket: Option<Bucket>,
}

/// A line that is fast at first, and then is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Bits a second, in the end.
    pub rate: f64,
    /// When it was found, in seconds since 1970.
    pub at_s: i64,
}

impl Memory {
    /// What is remembered of the line `link` in `dir`. A file that makes no sense is none: then something may be
    /// told twice.
    #[must_use]
    pub fn recall(dir: &Path, link: &str) -> Self {
        let bytes = files::read_small(&dir.join(file(link))).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Remembers it.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn keep(&self, dir: &Path, link: &str) -> io::Result<()> {
        files::write_durably(dir, &file(link), &serde_json::to_vec(self)?)
    }

    /// Whether it is time for a longer test. Not at first: who has just set it up looks at one check.
    #[must_use]
    pub fn is_long_due(&self, now_s: i64) -> bool {
        let passed = |at: i64| !(0..LONG_AFTER_S).contains(&now_s.saturating_sub(at));
        self.since_long >= LONG_AFTER || self.long_at_s.is_some_and(passed)
    }

    /// A test was made.
    pub fn tested(&mut self, was_long: bool, now_s: i64) {
        if was_long || self.long_at_s.is_none() {
            self.since_long = 0;
            self.long_at_s = Some(now_s);
        } else {
            self.since_long += 1;
        }
    }
}

fn file(link: &str) -> String {
    format!("{link}.checks.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_test_in_a_day_is_longer_whatever_the_clock_does() {
        let mut memory = Memory::default();
        assert!(!memory.is_long_due(1_000_000));
        memory.tested(false, 1_000_000);
        let day = LONG_AFTER_S;
        for (now_s, due) in
            [(1_000_001, false), (1_000_000 + day, true), (5, true), (i64::MIN, true)]
        {
            assert_eq!(memory.is_long_due(now_s), due, "{now_s}");
        }
        // A clock that stands still.
        (0..LONG_AFTER).for_each(|_| memory.tested(false, 1_000_000));
        assert!(memory.is_long_due(1_000_000));
        memory.tested(true, 1_000_000);
        assert!(!memory.is_long_due(1_000_000));
    }
}
