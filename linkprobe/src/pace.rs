//! No faster than that: one pace for all flows of a test.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long a time may be made up for, when nothing came for a while.
const LAG: Duration = Duration::from_millis(50);

/// Time that one read is worth: what is taken at once comes at once, and would look like a restless line.
const CHUNK: Duration = Duration::from_millis(3);

/// Lets bytes through at a rate.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: f64,
    /// When the next byte may come.
    next: Mutex<Instant>,
}

impl Pace {
    /// From now on, at this rate.
    #[must_use]
    pub fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, next: Mutex::new(Instant::now()) }
    }

    /// How much is best taken at once, in bytes.
    #[must_use]
    pub fn chunk(&self) -> usize {
        let bytes = self.bytes_per_second * CHUNK.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let bytes = bytes.clamp(1_448.0, 65_536.0) as usize;
        bytes
    }

    /// How long to wait after `bytes` were taken.
    #[must_use]
    pub fn wait_after(&self, bytes: usize) -> Duration {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::cast_precision_loss, reason = "64 KiB at most")]
        let worth = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let from = now.checked_sub(LAG).map_or(*next, |least| (*next).max(least));
        *next = from + worth;
        next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_one_rate() {
        let pace = Pace::new(1e6);
        let waits: Vec<Duration> = (0..10).map(|_| pace.wait_after(10_000)).collect();
        let last = waits.last().unwrap();
        assert!(
            (Duration::from_millis(30)..=Duration::from_millis(100)).contains(last),
            "{last:?}"
        );
        assert_eq!(pace.chunk(), 3000);
    }
}
