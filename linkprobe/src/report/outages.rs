//! When the line was down: as `watch` wrote it, and where nobody watched, as the checks saw it.

use serde::Serialize;

use super::Period;
use super::point::Point;
use crate::record::{Kind, Verdict};

/// A time in which the line was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// Begin, in seconds since 1970.
    pub from_s: i64,
    /// End; of one that was not seen to end, the last moment at which it was down.
    pub to_s: i64,
    /// Who saw it.
    pub seen_by: Eye,
    /// Whether the line was seen up again.
    pub over: bool,
}

impl Outage {
    /// How long it was.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.to_s.saturating_sub(self.from_s)
    }
}

/// Who looks at a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eye {
    /// `linkprobe watch`, each few seconds.
    Watch,
    /// `linkprobe check`: between two of them nobody looks.
    Checks,
}

impl Eye {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Checks => "checks",
        }
    }
}

/// Longest time between two checks for which what the first one saw is believed to have lasted.
const BELIEVED_S: i64 = 3 * 3600;

/// All outages of the period, in order, of points in order.
#[must_use]
pub fn outages(points: &[Point], period: Period) -> Vec<Outage> {
    let mut all: Vec<Outage> = points
        .iter()
        .filter(|point| point.kind == Kind::Outage)
        .map(|point| Outage {
            from_s: point.at_s.max(period.from_s),
            to_s: point.end_s().min(period.to_s),
            seen_by: Eye::Watch,
            over: true,
        })
        .filter(|outage| outage.from_s <= outage.to_s)
        .collect();
    let watched = all.clone();
    let seen = by_checks(points);
    let twice = |outage: &Outage| {
        watched.iter().any(|other| other.from_s <= outage.to_s && outage.from_s <= other.to_s)
    };
    all.extend(seen.into_iter().filter(|outage| !twice(outage)));
    all.sort_by_key(|outage| outage.from_s);
    all
}

/// Runs of checks that found it down: from the first of them to the check that found it up.
fn by_checks(points: &[Point]) -> Vec<Outage> {
    let mut runs: Vec<Outage> = Vec::new();
    for point in points.iter().filter(|point| point.kind == Kind::Check) {
        let down = point.verdict == Some(Verdict::Down);
        let open = runs.last_mut().filter(|run| !run.over && point.at_s - run.to_s <= BELIEVED_S);
        match open {
            Some(run) => {
                run.to_s = point.at_s;
                run.over = !down;
            }
            None if down => runs.push(Outage {
                from_s: point.at_s,
                to_s: point.at_s,
                seen_by: Eye::Checks,
                over: false,
            }),
            None => {}
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn check(hour: i64, verdict: Verdict) -> Point {
        let record = Record { kind: Kind::Check, verdict: Some(verdict), ..Record::default() };
        Point::of(hour * 3_600_000, &record)
    }

    fn outage(hour: i64, took_s: f64) -> Point {
        let record = Record { kind: Kind::Outage, took_s: Some(took_s), ..Record::default() };
        Point::of(hour * 3_600_000, &record)
    }

    /// `from-to` in hours, `?` where the end was not seen, `w` for the watch's.
    fn found(points: &[Point]) -> Vec<String> {
        let period = Period { from_s: 0, to_s: 100 * 3600 };
        let text = |outage: &Outage| {
            let watch = if outage.seen_by == Eye::Watch { "w" } else { "" };
            let end = if outage.over { "" } else { "?" };
            format!("{}-{}{end}{watch}", outage.from_s / 3600, outage.to_s / 3600)
        };
        outages(points, period).iter().map(text).collect()
    }

    #[test]
    fn checks_see_an_outage_from_the_first_that_fails_to_the_first_that_does_not() {
        use Verdict::{Down, Good, Slow, Untested};
        type Row<'a> = (&'a [(i64, Verdict)], &'a [&'a str]);
        let table: [Row<'_>; 6] = [
            (&[(1, Good), (2, Good)], &[]),
            (&[(1, Good), (2, Down), (3, Down), (4, Slow), (5, Down), (6, Good)], &["2-4", "5-6"]),
            (&[(1, Down)], &["1-1?"]),
            (&[(1, Down), (2, Down)], &["1-2?"]),
            // What is untested is there.
            (&[(1, Down), (2, Untested)], &["1-2"]),
            // A machine that was off saw nothing.
            (&[(1, Down), (2, Down), (50, Good), (51, Good)], &["1-2?"]),
        ];
        for (checks, want) in table {
            let points: Vec<Point> = checks.iter().map(|(hour, v)| check(*hour, *v)).collect();
            assert_eq!(found(&points), want, "{checks:?}");
        }
    }

    #[test]
    fn what_the_watch_saw_is_not_told_again_by_checks() {
        let points = [
            outage(1, 3.5 * 3600.0),
            check(2, Verdict::Down),
            check(3, Verdict::Down),
            check(5, Verdict::Good),
            check(9, Verdict::Down),
            check(10, Verdict::Good),
            outage(20, 60.0),
        ];
        assert_eq!(found(&points), ["1-4w", "9-10", "20-20w"]);
    }

    #[test]
    fn an_outage_is_cut_to_the_period() {
        let period = Period { from_s: 3600 * 2, to_s: 3600 * 4 };
        let cut = outages(&[outage(1, 9.0 * 3600.0)], period);
        assert_eq!((cut[0].from_s, cut[0].to_s), (7200, 14_400));
    }
}
