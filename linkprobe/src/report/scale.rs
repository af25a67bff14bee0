//! Axes: where a number lies, and at which numbers a person looks for a mark.

use super::Period;
use crate::local::{self, DAY_S, HOUR_S};

/// An axis of numbers, linear from zero or logarithmic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    least: f64,
    most: f64,
    is_log: bool,
}

/// From this ratio of the largest to the smallest an axis is logarithmic: a line of 90 Mbit/s for
/// which 10 are asked would else have what matters in its lowest tenth.
const LOG_FROM: f64 = 6.0;

/// Farther apart no two speeds are.
const MOST_RATIO: f64 = 1e9;

impl Scale {
    /// An axis on which all these numbers lie, each above zero; logarithmic where they are far apart.
    #[must_use]
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        if least <= most && least > 0.0 && (LOG_FROM..MOST_RATIO).contains(&(most / least)) {
            let (least, most) = (round_down(least / 1.1), round_up(most * 1.1));
            return Self { least, most, is_log: true };
        }
        Self::linear(most)
    }

    /// From zero to somewhat above `most`.
    #[must_use]
    pub fn linear(most: f64) -> Self {
        let most = if most > 0.0 && most.is_finite() { most * 1.1 } else { 1.0 };
        Self { least: 0.0, most, is_log: false }
    }

    /// Where a number lies, from 0 to 1; what is past an end lies on it.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.is_log {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            value / self.most
        };
        place.clamp(0.0, 1.0)
    }

    /// Whether the number is past its upper end.
    #[must_use]
    pub fn is_above(&self, value: f64) -> bool {
        value > self.most
    }

    /// Its upper end.
    #[must_use]
    pub fn top(&self) -> f64 {
        self.most
    }

    /// At which numbers there are marks: about `wanted` of them.
    #[must_use]
    pub fn marks(&self, wanted: usize) -> Vec<f64> {
        if self.is_log {
            let all = |steps: &[f64]| -> Vec<f64> {
                let decades = (-3..=14).map(|power| 10_f64.powi(power));
                let all = decades.flat_map(|decade| steps.iter().map(move |step| step * decade));
                let inside = |mark: &f64| (self.least * 0.999..=self.most * 1.001).contains(mark);
                all.filter(inside).collect()
            };
            let fine = all(&[1.0, 2.0, 5.0]);
            let marks = if fine.len() > 2 * wanted { all(&[1.0]) } else { fine };
            return if marks.len() < 2 { vec![self.least, self.most] } else { marks };
        }
        let wanted = u32::try_from(wanted.max(1)).unwrap_or(1);
        let step = round_up(self.most / f64::from(wanted));
        let marks = (0..=2 * wanted).map(|index| f64::from(index) * step);
        marks.filter(|mark| *mark <= self.most).collect()
    }
}

/// The next of 1, 2, 5, 10, 20 … that is no smaller.
fn round_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * decade).find(|round| *round >= value * 0.9999).unwrap_or(value)
}

/// The last of them that is no larger.
fn round_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [5.0, 2.0, 1.0];
    steps.iter().map(|step| step * decade).find(|round| *round <= value * 1.0001).unwrap_or(value)
}

/// The moments at which a time axis has a mark, with its words, `most` of them at most: midnights, or
/// hours or minutes of a short one, or firsts of months of a long one; in local time.
#[must_use]
pub fn moments(period: Period, most: usize) -> Vec<(i64, String)> {
    let most = i64::try_from(most.max(1)).unwrap_or(1);
    let inside = |at_s: &i64| (period.from_s..=period.to_s).contains(at_s);
    let span = period.seconds();
    let steps = [5, 10, 20, 30, 60, 120, 180, 360, 720].map(|minutes| minutes * HOUR_S / 60);
    if let Some(step) = steps.into_iter().find(|step| span / step < most && span <= 3 * DAY_S) {
        let begin = local::midnight(period.from_s);
        let hours = (0..=(span + DAY_S) / step).map(|index| begin + index * step);
        let named = |at_s: i64| match local::minute(at_s).split_once(' ') {
            Some((_, "00:00")) => (at_s, local::day(at_s)),
            Some((_, time)) => (at_s, time.to_owned()),
            None => (at_s, String::new()),
        };
        return hours.filter(inside).map(named).collect();
    }
    if let Some(days) = [1, 2, 3, 7, 14].into_iter().find(|days| span / (days * DAY_S) < most) {
        let mut marks = Vec::new();
        let mut at_s = local::midnight(period.from_s);
        while at_s <= period.to_s {
            marks.push((at_s, local::day(at_s)));
            // Half a day more: a day may have 23 or 25 hours.
            at_s = local::midnight(at_s + days * DAY_S + DAY_S / 2);
        }
        marks.retain(|(at_s, _)| inside(at_s));
        return marks;
    }
    let mut marks = Vec::new();
    let mut at_s = local::first_of_month(period.from_s);
    while at_s <= period.to_s {
        marks.push((at_s, local::month_and_year(at_s)));
        at_s = local::first_of_month(at_s + 32 * DAY_S);
    }
    marks.retain(|(at_s, _)| inside(at_s));
    let step = marks.len().div_ceil(usize::try_from(most).unwrap_or(1)).max(1);
    marks.into_iter().step_by(step).collect()
}

/// Where a moment lies in a period, from 0 to 1.
#[must_use]
pub fn place_in(period: Period, at_s: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share is shown to a pixel")]
    let share = (at_s - period.from_s) as f64 / period.seconds() as f64;
    share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_apart_are_on_a_logarithmic_axis_with_round_marks() {
        let scale = Scale::of([4e6, 1e7, 9e7].into_iter());
        assert!(scale.is_log);
        assert_eq!(scale.marks(6), [2e6, 5e6, 1e7, 2e7, 5e7, 1e8]);
        assert_eq!((scale.place(2e6), scale.place(1e8), scale.place(1.0)), (0.0, 1.0, 0.0));
        let scale = Scale::of([8e6, 1e7].into_iter());
        assert!(!scale.is_log);
        assert_eq!(scale.marks(5), [0.0, 5e6, 1e7]);
        assert!(scale.is_above(2e7) && !scale.is_above(1e7));
    }

    #[test]
    fn an_axis_of_nothing_or_of_nonsense_is_one_all_the_same() {
        for values in [vec![], vec![0.0], vec![-1.0], vec![f64::MAX], vec![1e-300, 1e300]] {
            let scale = Scale::of(values.iter().copied());
            for value in [0.0, 1.0, -1.0, 1e9, f64::NAN] {
                let place = scale.place(value);
                assert!((0.0..=1.0).contains(&place) || value.is_nan(), "{values:?} {place}");
            }
            assert!(scale.marks(5).len() <= 60, "{values:?}");
        }
    }

    #[test]
    fn a_time_axis_has_a_few_round_marks_whatever_its_length() {
        let from_s = local::midnight(1_795_000_000) + 1000;
        for (hours, first) in [(1, None), (20, Some(":00")), (70, None), (24 * 30, Some(" Nov"))] {
            let marks = moments(Period { from_s, to_s: from_s + hours * HOUR_S }, 12);
            assert!(marks.len() <= 13, "{hours}: {marks:?}");
            if let Some(first) = first {
                assert!(marks[0].1.contains(first), "{hours}: {marks:?}");
            }
        }
        for days in [100, 365, 3650, 20_000] {
            let marks = moments(Period { from_s, to_s: from_s + days * DAY_S }, 12);
            assert!((5..=13).contains(&marks.len()), "{days}: {marks:?}");
            assert!(marks.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
