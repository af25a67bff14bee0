//! Medians, and how far they can be believed.

/// Measured values, sorted.
#[derive(Debug, Clone)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Of these values.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The median; not a number when there is nothing.
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The value that `percent` of the values do not exceed ("nearest rank").
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// All together.
    pub fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Between which values the true median lies with 95 %: by order statistics, so
    /// without any assumption about the distribution.
    pub fn median_interval(&self) -> (f64, f64) {
        let n = self.0.len();
        let Ok(count) = u32::try_from(n) else { return (f64::NAN, f64::NAN) };
        // The sign test's half width in ranks, 0.98 * sqrt(n), found in whole numbers.
        let half = (0..=count).find(|half| f64::from(*half) >= 0.98 * f64::from(count).sqrt());
        let half = half.and_then(|half| usize::try_from(half).ok()).unwrap_or(n);
        let low = (n / 2).saturating_sub(half);
        let high = (n / 2 + half).min(n.saturating_sub(1));
        let at = |rank: usize| self.0.get(rank).copied().unwrap_or(f64::NAN);
        (at(low), at(high))
    }

    /// `median 0.12, p95 0.20, p99 0.31 ms`.
    pub fn in_words(&self, unit: &str) -> String {
        let (median, p95, p99) = (self.median(), self.percentile(95), self.percentile(99));
        format!("median {}, p95 {}, p99 {} {unit}", short(median), short(p95), short(p99))
    }
}

/// Three digits that count: `0.0123`, `4.56`, `123`.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
