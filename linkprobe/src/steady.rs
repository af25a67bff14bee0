//! The steady part of a transfer, its rate, and how sure that is. Pure.
//!
//! How much had arrived is sampled all the time; this cuts the samples into windows, drops the beginning
//! in which the senders still sought the line's rate, and gives the rest a mean and an interval that
//! stays true however often it is looked at.
//!
//! - The beginning is dropped by the marginal standard error rule (White, "An effective truncation
//!   heuristic for bias reduction in simulation output", 1997): it ends where the standard error of
//!   what is left is least; but only if it is another rate than what is left.
//! - The spread is made larger by how alike neighbouring windows are, or smaller (the variance of the mean of a first
//!   order autoregression): while TCP recovers or the radio fades they are, and windows that were taken
//!   for independent would look surer than they are.
//! - The interval is Robbins' normal mixture ("Statistical methods related to the law of the iterated
//!   logarithm", 1970; Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences",
//!   2021). One for a fixed number of windows, looked at after each of them until it suits, would be wrong
//!   several times as often as it says.

use std::time::Duration;

/// How much payload had arrived at a moment, counted from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The moment, on a clock that begins with the transfer.
    pub at: Duration,
    /// Bytes since the beginning.
    pub bytes: u64,
}

/// Least spread of a window's rate, as a share of the mean: an estimate from a handful of windows may
/// be far too small by chance, and 20 to 50 ms are never measured better than by a millisecond.
const LEAST_SPREAD: f64 = 0.04;

/// How often an interval may be wrong, at all the moments at which it is looked at, together; half of
/// that on either side.
const WRONG: f64 = 0.01;

/// Windows at which the interval is tightest; far from there it is a little wider.
const TUNED_FOR: f64 = 12.0;

/// Most that neighbouring windows are taken to be alike: of more there is no end to be seen.
const MOST_ALIKE: f64 = 0.8;

/// The same the other way: what comes in lumps makes one window rich at the cost of its neighbour, and the
/// mean is surer than it looks.
const LEAST_ALIKE: f64 = -0.5;

/// Windows without which that is not believed, half of it.
const SHY: f64 = 6.0;

/// By how many standard errors the beginning has to differ from the rest.
const OTHER: f64 = 5.0;

/// Where several windows are one round trip, the share of the rest's rate below which the beginning is a slow start:
/// that doubles, takes most of the windows, and may be more than half of them.
const RAMP: f64 = 0.5;

/// Fewest windows of which anything is said.
const FEWEST: usize = 4;

/// The rate of a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    /// How long, in seconds.
    length: f64,
    /// Bytes.
    bytes: f64,
}

/// Samples, cut into windows.
#[derive(Debug, Clone)]
pub struct Windows {
    /// How long one is, at least.
    length: Duration,
    /// Longest time between two samples; beyond it we did not look, and what arrived in the meantime
    /// says as much about us as about the line.
    gap: Duration,
    /// Whether they are shorter than a round trip.
    are_short: bool,
    windows: Vec<Window>,
    /// Of the window that is not full yet: where it began.
    begun: Option<Sample>,
    last: Option<Sample>,
}

/// What the steady part is like. Rates are in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steady {
    /// Mean rate.
    pub rate: f64,
    /// The true rate is within so much of it, whenever one looks.
    pub within: f64,
    /// Its standard error: for who looks once.
    pub error: f64,
    /// How many windows.
    pub windows: usize,
    /// How long it is.
    pub length: Duration,
    /// Rate of its second half over that of its first.
    pub growth: f64,
}

impl Windows {
    /// Windows of this length. Samples further apart than `gap` have nothing between them.
    #[must_use]
    pub fn new(length: Duration, gap: Duration) -> Self {
        Self { length, gap, are_short: false, windows: Vec::new(), begun: None, last: None }
    }

    /// The same on a line whose round trip is longer than a window, as a satellite's is.
    #[must_use]
    pub fn shorter_than_a_round_trip(self) -> Self {
        Self { are_short: true, ..self }
    }

    /// Takes the next sample; whether a window is full by it.
    pub fn add(&mut self, sample: Sample) -> bool {
        let late = self.last.is_some_and(|last| sample.at.saturating_sub(last.at) > self.gap);
        let begun = match self.begun {
            Some(begun) if !late => begun,
            _ => {
                (self.begun, self.last) = (Some(sample), Some(sample));
                return false;
            }
        };
        self.last = Some(sample);
        let length = sample.at.saturating_sub(begun.at);
        let is_full = length >= self.length;
        if is_full {
            let bytes = sample.bytes.saturating_sub(begun.bytes);
            #[expect(clippy::cast_precision_loss, reason = "a transfer has less than 2^53 bytes")]
            self.windows.push(Window { length: length.as_secs_f64(), bytes: bytes as f64 });
            self.begun = Some(sample);
        }
        is_full
    }

    /// The steady part, if there are windows enough.
    #[must_use]
    pub fn steady(&self) -> Option<Steady> {
        let windows = self.windows.get(beginning(&self.windows, self.are_short)..)?;
        (windows.len() >= FEWEST).then(|| judge(windows))
    }

    /// The highest rate of two windows in a row, and by how much the last two are above those before them; nothing of
    /// fewer than six.
    #[must_use]
    pub fn peak(&self) -> Option<(f64, f64)> {
        let [.., one, two, three, four] = self.windows.as_slice() else { return None };
        let pairs = self.windows.windows(2).map(rate);
        let growth = rate(&[*three, *four]) / rate(&[*one, *two]);
        (self.windows.len() >= 6).then(|| (pairs.fold(0.0, f64::max), growth))
    }

    /// What the last `time` is like, whatever came before; nothing when less was looked at.
    #[must_use]
    pub fn of_late(&self, time: Duration) -> Option<Steady> {
        let mut length = 0.0;
        let wanted = time.as_secs_f64();
        let mut from = self.windows.len();
        while length < wanted {
            from = from.checked_sub(1)?;
            length += self.windows.get(from)?.length;
        }
        let windows = self.windows.get(from..)?;
        (windows.len() >= FEWEST).then(|| judge(windows))
    }
}

/// How many windows belong to the beginning: at most half of them, but for a slow start of short ones.
fn beginning(windows: &[Window], are_short: bool) -> usize {
    let all = windows.len().saturating_sub(FEWEST);
    let half = (windows.len() / 2).min(all);
    let is_ramp = |from: usize| {
        let (first, rest) = windows.split_at(from);
        are_short && rate(first) < RAMP * rate(rest)
    };
    let error = |from: usize| {
        let rest = windows.get(from..).unwrap_or_default();
        let mean = rate(rest);
        let squares = rest.iter().map(|window| (window.rate() - mean).powi(2));
        // The square of the standard error, but for a factor that all have.
        squares.sum::<f64>() / count(rest).powi(2)
    };
    let mut best = (0, f64::INFINITY);
    for from in (0..=all).filter(|from| *from <= half || is_ramp(*from)) {
        let error = error(from);
        if error < best.1 {
            best = (from, error);
        }
    }
    // A calm stretch of a restless whole has a small error as well, and is no proof of a beginning.
    let (first, rest) = windows.split_at(best.0);
    let mean = rate(rest);
    let spread = spread(rest, mean).max(LEAST_SPREAD * mean);
    let usual = spread * (1.0 / count(first) + 1.0 / count(rest)).sqrt();
    let is_other = (rate(first) - mean).abs() > OTHER * usual;
    if is_other || best.0 > half { best.0 } else { 0 }
}

impl Window {
    fn rate(&self) -> f64 {
        self.bytes / self.length
    }
}

/// Mean rate: all bytes over all time, so that a long window counts for more.
fn rate(windows: &[Window]) -> f64 {
    let bytes: f64 = windows.iter().map(|window| window.bytes).sum();
    let length: f64 = windows.iter().map(|window| window.length).sum();
    if length > 0.0 { bytes / length } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "some hundreds at most")]
fn count(windows: &[Window]) -> f64 {
    windows.len() as f64
}

fn judge(windows: &[Window]) -> Steady {
    let mean = rate(windows);
    let spread = spread(windows, mean).max(LEAST_SPREAD * mean);
    let (first, second) = windows.split_at(windows.len() / 2);
    let before = rate(first);
    Steady {
        rate: mean,
        within: spread * half_width(count(windows)),
        error: spread / count(windows).sqrt(),
        windows: windows.len(),
        length: Duration::from_secs_f64(windows.iter().map(|window| window.length).sum()),
        growth: if before > 0.0 { rate(second) / before } else { f64::INFINITY },
    }
}

/// Standard deviation of a window's rate, made larger by how alike neighbours are, and as it is known
/// from few.
#[expect(clippy::cast_precision_loss, reason = "some hundreds at most")]
fn spread(windows: &[Window], mean: f64) -> f64 {
    let n = windows.len() as f64;
    let off: Vec<f64> = windows.iter().map(|window| window.rate() - mean).collect();
    let squares: f64 = off.iter().map(|off| off * off).sum();
    if squares <= 0.0 {
        return 0.0;
    }
    let products: f64 = off.windows(2).map(|two| two.iter().product::<f64>()).sum();
    let seen = products / squares;
    // What is seen in a short series is too low (Kendall, 1954).
    let alike = (seen + (1.0 + 3.0 * seen) / n).clamp(LEAST_ALIKE, MOST_ALIKE);
    // The variance of a mean: of an autoregression, and of a moving average (both of the first order).
    let more = match alike {
        alike if alike >= 0.0 => (1.0 + alike) / (1.0 - alike),
        alike => 1.0 + 2.0 * alike * n / (n + SHY),
    };
    // Student's t over the normal distribution's quantile (Cornish and Fisher's first term).
    let quantile = (2.0 * (1.0 / WRONG).ln()).sqrt();
    let unknown = 1.0 + (quantile.powi(2) + 1.0) / (4.0 * (n - 1.0));
    (squares / (n - 1.0) * more).sqrt() * unknown
}

/// Half the width of the interval for the mean of `n` windows, in standard deviations of one.
fn half_width(n: f64) -> f64 {
    let mixture = n + TUNED_FOR;
    (mixture * (2.0 * (1.0 / WRONG).ln() + (mixture / TUNED_FOR).ln())).sqrt() / n
}

#[cfg(test)]
pub(crate) mod tests;
