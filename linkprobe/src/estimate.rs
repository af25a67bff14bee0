//! How much has the line? An estimate that stops when it is good enough. Pure.

use std::time::Duration;

use crate::steady::{Sample, Steady, Windows};

/// How near the estimate has to be, as a share of it.
const WITHIN: f64 = 0.02;

/// Shortest time, so that what is measured is more than a burst.
const SHORTEST: Duration = Duration::from_millis(1500);

/// Longest time: two fifths of what speedtest-cli takes.
const LONGEST: Duration = Duration::from_millis(3900);

/// Shortest steady part.
const SETTLED: Duration = Duration::from_millis(900);

/// Growth of the second half over the first beyond which the senders still seek the line's rate.
const GROWING: f64 = 1.03;

/// Length of a window, but for long round trips.
const WINDOW: Duration = Duration::from_millis(60);

/// Length of a window on a line that is done before four of the others have passed.
const FINE: Duration = Duration::from_millis(10);

/// Longest window.
const LONGEST_WINDOW: Duration = Duration::from_millis(250);

/// Longest time between two looks.
const GAP: Duration = Duration::from_millis(40);

/// What was estimated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The steady part; nothing where too little came.
    pub steady: Option<Steady>,
    /// Whether it is as near as it was to be.
    pub is_sure: bool,
}

/// A transfer that is measured.
#[derive(Debug, Clone)]
pub struct Meter {
    windows: Windows,
    /// Shorter ones, for lines that carry all they may in some of them.
    fine: Windows,
    round_trip: Duration,
    most_bytes: u64,
}

impl Meter {
    /// One that takes at most so many bytes.
    #[must_use]
    pub fn new(round_trip: Duration, most_bytes: u64) -> Self {
        let length = (2 * round_trip).clamp(WINDOW, LONGEST_WINDOW);
        let [windows, fine] = [length, FINE].map(|length| Windows::new(length, GAP));
        Self { windows, fine, round_trip, most_bytes }
    }

    /// Takes what has arrived; the estimate, when it is time.
    pub fn learn(&mut self, sample: Sample) -> Option<Estimate> {
        let is_news = self.windows.add(sample);
        self.fine.add(sample);
        let longest = LONGEST.max(self.round_trip * 12);
        let is_over = sample.at >= longest || sample.bytes >= self.most_bytes;
        if !is_over && (!is_news || sample.at < SHORTEST.max(self.round_trip * 8)) {
            return None;
        }
        let steady = self.windows.steady();
        let is_sure = steady.is_some_and(|steady| {
            // One look of several that each are one: half of what a single one would do with.
            let near = 3.0 * steady.error < WITHIN * steady.rate;
            let settled = (1.0 / GROWING..GROWING).contains(&steady.growth);
            near && settled && steady.length >= SETTLED
        });
        let steady = steady.or_else(|| self.fine.steady());
        (is_sure || is_over).then_some(Estimate { steady, is_sure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimate of a line, and when it came.
    fn measure(rate: impl Fn(f64) -> f64, most: u64) -> (Estimate, f64) {
        let mut meter = Meter::new(Duration::from_millis(20), most);
        let (mut at, mut bytes) = (0.0, 0.0);
        loop {
            at += 0.005;
            bytes += rate(at) * 0.005;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            let sample = Sample { at: Duration::from_secs_f64(at), bytes: bytes as u64 };
            if let Some(estimate) = meter.learn(sample) {
                return (estimate, at);
            }
        }
    }

    #[test]
    fn what_is_steady_is_measured_soon_and_what_is_not_as_long_as_it_may_take() {
        let ramp = |at: f64| 1e6 * (at / 0.3).min(1.0);
        let (estimate, at) = measure(ramp, u64::MAX);
        let rate = estimate.steady.unwrap().rate;
        assert!(estimate.is_sure && (rate / 1e6 - 1.0).abs() < 0.02 && at < 3.2, "{rate} {at}");
        let (estimate, at) = measure(|at| 1e6 * (1.0 + at), u64::MAX);
        assert!(!estimate.is_sure && at > 3.8, "{estimate:?} {at}");
        let (_, at) = measure(ramp, 300_000);
        assert!(at < 0.5, "{at}: no more than it may take");
    }
}
