//! Random moments that can be repeated.

use std::time::{Duration, SystemTime};

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers for the same seed, anywhere.
pub struct Random(u64);

impl Random {
    /// The seed is `BASTION_SEED`, or the time; it stands in the output of a failed test.
    ///
    /// # Panics
    ///
    /// When that is no number.
    #[must_use]
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = std::env::var("BASTION_SEED").map_or_else(
            |_| u64::from(now.subsec_nanos()),
            |seed| seed.parse().expect("BASTION_SEED is a number"),
        );
        eprintln!("to repeat this: BASTION_SEED={seed}");
        Self(seed)
    }

    /// The numbers of this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A time shorter than `end`, to the microsecond.
    pub fn time_below(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).unwrap_or(1).max(1)))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
