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

    /// For how many seconds of this time it was.
    #[must_use]
    pub fn within(&self, from_s: i64, to_s: i64) -> i64 {
        self.to_s.min(to_s).saturating_sub(self.from_s.max(from_s)).max(0)
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

/// So near to an outage that the watch saw, what a check found is the same one: a check takes its time, and
/// the watch counts from the first of its looks that failed.
pub const BESIDE_S: i64 = 60;

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
    let told = Told::of(points, &all);
    let of_checks = by_checks(points, &told);
    let beside = |one: &Outage, other: &Outage| {
        other.from_s <= one.to_s + BESIDE_S && one.from_s <= other.to_s + BESIDE_S
    };
    let twice = |outage: &Outage| all.iter().any(|other| beside(outage, other));
    let of_checks: Vec<Outage> = of_checks.into_iter().filter(|outage| !twice(outage)).collect();
    all.extend(of_checks);
    all.sort_by_key(|outage| outage.from_s);
    all
}

/// The times of which the watch has told all: its outages, and what it looked at, if all that it saw to be
/// down there is in one of these. An outage that is not over it has not written yet.
pub struct Told(Vec<(i64, i64)>);

impl Told {
    /// Of points, and outages that the watch saw, or others among them.
    #[must_use]
    pub fn of(points: &[Point], outages: &[Outage]) -> Self {
        let by_watch = || outages.iter().filter(|outage| outage.seen_by == Eye::Watch);
        let hours = points.iter().filter(|point| point.kind == Kind::Watch);
        let whole = hours.filter(|hour| {
            let told: i64 = by_watch().map(|o| o.within(hour.at_s, hour.end_s())).sum();
            #[expect(clippy::cast_precision_loss, reason = "no more than 2^52 seconds")]
            let told = if told > 0 { (told + BESIDE_S) as f64 } else { 0.0 };
            hour.up_s.is_some_and(|up_s| hour.took_s - up_s <= told)
        });
        let whole = whole.map(|hour| (hour.at_s, hour.end_s()));
        let near = by_watch().map(|o| (o.from_s - BESIDE_S, o.to_s + BESIDE_S));
        Self(whole.chain(near).collect())
    }

    /// Whether the watch has told all of the time of this check.
    #[must_use]
    pub fn is_of(&self, check: &Point) -> bool {
        let touches = |(from_s, to_s): &(i64, i64)| *from_s <= check.end_s() && check.at_s <= *to_s;
        self.0.iter().any(touches)
    }
}

/// Runs of checks that found it down, of which the watch has not told: from the first of them to the check
/// that found it up.
fn by_checks(points: &[Point], told: &Told) -> Vec<Outage> {
    let mut runs: Vec<Outage> = Vec::new();
    for point in points.iter().filter(|point| point.kind == Kind::Check) {
        let down = point.verdict == Some(Verdict::Down);
        if down && told.is_of(point) {
            continue;
        }
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

/// For how long of an hour of the watch the line was down: before the watch is sure of an outage it counts
/// its first seconds as up. Nothing of what is no such hour.
#[must_use]
pub fn down_of(hour: &Point, outages: &[Outage]) -> Option<f64> {
    let up_s = hour.up_s.filter(|_| hour.kind == Kind::Watch)?;
    let seen = outages.iter().filter(|outage| outage.seen_by == Eye::Watch);
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^52 seconds")]
    let seen = seen.map(|outage| outage.within(hour.at_s, hour.end_s())).sum::<i64>() as f64;
    Some((hour.took_s - up_s).max(seen.min(hour.took_s)))
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

    fn at(kind: Kind, minute: i64, change: impl FnOnce(&mut Record)) -> Point {
        let mut record = Record { kind, ..Record::default() };
        change(&mut record);
        Point::of(minute * 60_000, &record)
    }

    #[test]
    fn a_check_amid_or_beside_what_the_watch_saw_is_no_outage_of_its_own() {
        let down = |minute| at(Kind::Check, minute, |record| record.verdict = Some(Verdict::Down));
        let good = |minute| at(Kind::Check, minute, |record| record.verdict = Some(Verdict::Good));
        let outage = |minute, s| at(Kind::Outage, minute, |record| record.took_s = Some(s));
        let watch = |minute, took_s, up_s| {
            at(Kind::Watch, minute, |record| {
                (record.took_s, record.up_s) = (Some(took_s), Some(up_s));
            })
        };
        type Row = (&'static str, Vec<Point>, &'static [&'static str]);
        let table: [Row; 7] = [
            ("amid it", vec![outage(10, 300.0), down(12), good(20)], &["10-15w"]),
            ("just before", vec![down(9), outage(10, 60.0), good(12)], &["10-11w"]),
            ("just after", vec![outage(10, 60.0), down(12), good(13)], &["10-11w"]),
            ("at another time", vec![outage(10, 60.0), down(30), good(31)], &["10-11w", "30-31"]),
            (
                "the next is another",
                vec![outage(10, 60.0), down(10), down(60), good(90)],
                &["10-11w", "60-90"],
            ),
            ("watch saw it up", vec![watch(0, 3600.0, 3600.0), down(30), good(31)], &[]),
            // What is not over the watch has not yet written.
            ("watch saw it down", vec![watch(0, 3600.0, 1800.0), down(40)], &["40-40?"]),
        ];
        for (what, points, want) in table {
            let period = Period { from_s: 0, to_s: 6000 };
            let text = |outage: &Outage| {
                let watch = if outage.seen_by == Eye::Watch { "w" } else { "" };
                let end = if outage.over { "" } else { "?" };
                format!("{}-{}{end}{watch}", outage.from_s / 60, outage.to_s / 60)
            };
            let found: Vec<String> = outages(&points, period).iter().map(text).collect();
            assert_eq!(found, want, "{what}");
        }
    }

    #[test]
    fn an_outage_is_cut_to_the_period() {
        let period = Period { from_s: 3600 * 2, to_s: 3600 * 4 };
        let cut = outages(&[outage(1, 9.0 * 3600.0)], period);
        assert_eq!((cut[0].from_s, cut[0].to_s), (7200, 14_400));
    }
}
