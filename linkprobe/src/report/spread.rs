//! Percentiles of what is known of a line, some of it as a bound alone.

use serde::Serialize;

use crate::record::Bound;

/// A number that was found, and how near it is to what the line has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The number.
    pub value: f64,
    /// What it says.
    pub is: Bound,
}

/// A percentile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantile {
    /// The number.
    pub value: f64,
    /// `at-least`: the percentile is no less than that.
    pub is: Bound,
}

/// The 5th, 50th and 95th percentile of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// How many samples there were.
    pub count: usize,
    /// Of how many of them a bound alone is known.
    pub bounds: usize,
    /// One of twenty is no more.
    pub p5: Quantile,
    /// The median.
    pub p50: Quantile,
    /// One of twenty is no less.
    pub p95: Quantile,
}

impl Spread {
    /// Of samples in any order; `None` of none.
    ///
    /// A check takes no more than it has to, so most of them know a bound: the line has at least that.
    /// To leave those out would be to keep the bad ones alone, and to count them as speeds would
    /// make a fast line as slow as its threshold. So each counts with its number, and a percentile says
    /// `at-least` when one of the samples up to it is a bound: as no line was slower than its
    /// bound, the true percentile is no less. Without any the number is the percentile.
    ///
    /// By the nearest rank: always a number that was found.
    #[must_use]
    pub fn of(samples: &mut [Sample]) -> Option<Self> {
        // Of two alike the exact one comes first: it is as small as the other may be.
        samples.sort_by(|a, b| {
            a.value.total_cmp(&b.value).then_with(|| is_bound(a.is).cmp(&is_bound(b.is)))
        });
        let first_bound = samples.iter().position(|sample| is_bound(sample.is));
        let quantile = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1) - 1;
            let sample = samples.get(rank)?;
            let bound = first_bound.is_some_and(|first| first <= rank);
            let is = if bound { Bound::AtLeast } else { Bound::About };
            Some(Quantile { value: sample.value, is })
        };
        Some(Self {
            count: samples.len(),
            bounds: samples.iter().filter(|sample| is_bound(sample.is)).count(),
            p5: quantile(5)?,
            p50: quantile(50)?,
            p95: quantile(95)?,
        })
    }

    /// Of numbers that say what they say.
    #[must_use]
    pub fn of_exact(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let about = |value| Sample { value, is: Bound::About };
        Self::of(&mut values.into_iter().map(about).collect::<Vec<_>>())
    }
}

fn is_bound(is: Bound) -> bool {
    is == Bound::AtLeast
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(value: f64) -> Sample {
        Sample { value, is: Bound::About }
    }

    fn at_least(value: f64) -> Sample {
        Sample { value, is: Bound::AtLeast }
    }

    #[test]
    fn nothing_has_no_percentiles_and_one_is_all_of_them() {
        assert_eq!(Spread::of(&mut []), None);
        let one = Spread::of(&mut [at_least(3.0)]).unwrap();
        let want = Quantile { value: 3.0, is: Bound::AtLeast };
        assert_eq!((one.count, one.p5, one.p50, one.p95), (1, want, want, want));
    }

    #[test]
    fn a_percentile_above_a_bound_is_one() {
        // (samples, p5, p50, p95), with + for at least.
        let ten = |n: usize| vec![at_least(10.0); n];
        let mut slow = ten(80);
        slow.extend(vec![about(4.0); 20]);
        let mut measured = ten(99);
        measured.push(about(90.0));
        let all_slow = (1..=100).map(|n| about(f64::from(n))).collect();
        let mut alike = vec![at_least(10.0); 50];
        alike.extend(vec![about(10.0); 50]);
        for (mut samples, want) in [
            (ten(100), ["10+", "10+", "10+"]),
            (slow, ["4", "10+", "10+"]),
            // One measurement does not tell what the other hours had.
            (measured, ["10+", "10+", "10+"]),
            (all_slow, ["5", "50", "95"]),
            (alike, ["10", "10", "10+"]),
        ] {
            let found = Spread::of(&mut samples).unwrap();
            let text =
                |q: Quantile| format!("{}{}", q.value, if is_bound(q.is) { "+" } else { "" });
            assert_eq!([found.p5, found.p50, found.p95].map(text), want.map(String::from));
        }
    }

    #[test]
    fn the_true_percentile_is_never_below_what_is_said() {
        // Every line of five hours with 1 to 3 each, seen through every set of bounds at 2.
        for code in 0..243_u32 {
            let truth: Vec<f64> =
                (0..5).map(|hour| f64::from(code / 3_u32.pow(hour) % 3 + 1)).collect();
            let mut seen: Vec<Sample> =
                truth.iter().map(|v| if *v >= 2.0 { at_least(2.0) } else { about(*v) }).collect();
            let seen = Spread::of(&mut seen).unwrap();
            let truth = Spread::of_exact(truth).unwrap();
            for (seen, truth) in [(seen.p5, truth.p5), (seen.p50, truth.p50), (seen.p95, truth.p95)]
            {
                assert!(seen.value <= truth.value, "{code}");
                assert!(is_bound(seen.is) || seen.value == truth.value, "{code}");
            }
        }
    }
}
