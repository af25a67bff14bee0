//! A period in equal pieces: whether the line was up in each, and what checks found in it.

use super::Period;
use super::outages::{BESIDE_S, Eye, Outage, Told};
use super::point::Point;
use crate::record::{Kind, Verdict};

/// A piece of a period.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Its time.
    pub period: Period,
    /// Share of the time looked at in which the line was down; nothing where nobody looked.
    pub down: Option<f64>,
    /// The verdicts of its checks, the worst first, and the share of each.
    pub verdicts: Vec<(Verdict, f64)>,
}

/// So long a check speaks for the line, if no other follows: they come hourly, with some jitter.
const CHECK_SPEAKS_S: i64 = 5400;

/// The period in so many pieces, of points and outages in order.
#[must_use]
pub fn pieces(points: &[Point], outages: &[Outage], period: Period, count: usize) -> Vec<Piece> {
    let (watched, checked) = (watched(points, outages), checked(points, outages));
    let whole = i128::from(period.seconds());
    let parts = i128::try_from(count.max(1)).unwrap_or(1);
    let edge = |index: usize| {
        let share = whole * i128::try_from(index).unwrap_or(0) / parts;
        period.from_s + i64::try_from(share).unwrap_or(0)
    };
    let piece = |index: usize| {
        let period = Period { from_s: edge(index), to_s: edge(index + 1) };
        let near = |stretch: &&Stretch| stretch.overlap(period) > 0;
        let of_checks: Vec<&Stretch> = checked.iter().filter(near).collect();
        let of_watch: Vec<&Stretch> = watched.iter().filter(near).collect();
        let share = |stretches: &[&Stretch]| {
            let sum =
                |pick: &dyn Fn(&Stretch) -> f64| stretches.iter().map(|s| pick(s)).sum::<f64>();
            let looked = sum(&|s| seconds(s.overlap(period)));
            let down = sum(&|s| seconds(s.overlap(period)) * s.down);
            (looked > 0.0).then(|| down / looked)
        };
        // An hour's share does not say when in it; an outage does.
        let exact = outages.iter().filter(|outage| outage.seen_by == Eye::Watch);
        let exact: i64 = exact.map(|o| overlap(o.from_s, o.to_s.max(o.from_s + 1), period)).sum();
        let down = if exact > 0 {
            Some((seconds(exact) / seconds(period.seconds())).min(1.0))
        } else {
            share(&of_watch).or_else(|| share(&of_checks))
        };
        let inside = |at_s: i64| (period.from_s..period.to_s).contains(&at_s);
        let begun = of_checks.iter().filter(|check| inside(check.from_s));
        let mut found: Vec<Verdict> = begun.filter_map(|check| check.verdict).collect();
        if found.is_empty() {
            found.extend(of_checks.iter().find_map(|check| check.verdict));
        }
        Piece { period, down, verdicts: shares(found) }
    };
    (0..count.max(1)).map(piece).collect()
}

fn shares(mut found: Vec<Verdict>) -> Vec<(Verdict, f64)> {
    found.sort_by_key(|verdict| std::cmp::Reverse(badness(*verdict)));
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^52 checks")]
    let share = |part: &[Verdict]| (part[0], part.len() as f64 / found.len() as f64);
    found.chunk_by(|one, next| one == next).map(share).collect()
}

/// How bad a verdict is; what could not be tested is no fault of the line.
fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Untested => 0,
        Verdict::Good => 1,
        Verdict::Marginal => 2,
        Verdict::HighLatency => 3,
        Verdict::Slow => 4,
        Verdict::WrongIsp => 5,
        Verdict::Down => 6,
    }
}

struct Stretch {
    from_s: i64,
    to_s: i64,
    /// Share of it.
    down: f64,
    verdict: Option<Verdict>,
}

impl Stretch {
    fn overlap(&self, period: Period) -> i64 {
        overlap(self.from_s, self.to_s, period)
    }
}

fn overlap(from_s: i64, to_s: i64, period: Period) -> i64 {
    (to_s.min(period.to_s) - from_s.max(period.from_s)).max(0)
}

/// Hours of the watch, each with the share that it was down without an outage that says when: what an
/// outage tells is drawn where it was.
fn watched(points: &[Point], outages: &[Outage]) -> Vec<Stretch> {
    let hours = points.iter().filter(|point| point.kind == Kind::Watch && point.took_s > 0.0);
    let stretch = |point: &Point| {
        let (from_s, to_s) = (point.at_s, point.end_s());
        let told = outages.iter().filter(|outage| outage.seen_by == Eye::Watch);
        let told = seconds(told.map(|outage| outage.within(from_s, to_s)).sum());
        let rest = point.took_s - point.up_s? - told;
        let is_all = told > 0.0 && rest < seconds(BESIDE_S);
        let down = if is_all { 0.0 } else { (rest / point.took_s).max(0.0) };
        Some(Stretch { from_s, to_s, down, verdict: None })
    };
    hours.filter_map(stretch).collect()
}

/// Checks, each until the next. One that found it down amid an outage of the watch says nothing of what
/// came after that.
fn checked(points: &[Point], outages: &[Outage]) -> Vec<Stretch> {
    let told = Told::of(points, outages);
    let checks: Vec<(&Point, Verdict)> = points
        .iter()
        .filter(|point| point.kind == Kind::Check)
        .filter_map(|point| Some((point, point.verdict?)))
        .collect();
    let next = checks.iter().skip(1).map(|(check, _)| check.at_s).chain([i64::MAX]);
    let stretch = |((check, verdict), next): (&(&Point, Verdict), i64)| {
        let down = *verdict == Verdict::Down && !told.is_of(check);
        Stretch {
            from_s: check.at_s,
            to_s: next.min(check.at_s + CHECK_SPEAKS_S),
            down: f64::from(u8::from(down)),
            verdict: Some(*verdict),
        }
    };
    checks.iter().zip(next).map(stretch).collect()
}

#[expect(clippy::cast_precision_loss, reason = "no more than 2^52 seconds")]
fn seconds(whole: i64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::report::outages::outages;

    fn point(kind: Kind, at_s: i64, change: impl FnOnce(&mut Record)) -> Point {
        let mut record = Record { kind, ..Record::default() };
        change(&mut record);
        Point::of(at_s * 1000, &record)
    }

    /// A letter an hour: `u`p, `d`own, `p`artly, `.` nobody looked; and the verdicts' first letters.
    fn drawn(points: &[Point], hours: usize) -> (String, String) {
        let period = Period { from_s: 0, to_s: i64::try_from(hours).unwrap() * 3600 };
        let pieces = pieces(points, &outages(points, period), period, hours);
        let up = |piece: &Piece| match piece.down {
            None => '.',
            Some(0.0) => 'u',
            Some(1.0) => 'd',
            Some(_) => 'p',
        };
        let verdict = |piece: &Piece| {
            piece.verdicts.first().map_or('.', |(v, _)| v.as_str().chars().next().unwrap())
        };
        (pieces.iter().map(up).collect(), pieces.iter().map(verdict).collect())
    }

    #[test]
    fn a_check_speaks_until_the_next_or_for_an_hour_and_a_half() {
        let check = |hour: i64, verdict| {
            point(Kind::Check, hour * 3600 + 60, |record| record.verdict = Some(verdict))
        };
        let points = [
            check(0, Verdict::Good),
            check(1, Verdict::Slow),
            check(2, Verdict::Down),
            check(6, Verdict::WrongIsp),
        ];
        assert_eq!(drawn(&points, 8), ("uupd..uu".into(), "gsdd..ww".into()));
    }

    #[test]
    fn verdicts_of_a_long_piece_have_their_shares_the_worst_first() {
        use Verdict::{Down, Good, Slow, Untested};
        let found = vec![Good, Untested, Good, Down, Slow, Good, Slow, Good];
        let want = [(Down, 0.125), (Slow, 0.25), (Good, 0.5), (Untested, 0.125)];
        assert_eq!(shares(found), want);
        assert_eq!(shares(Vec::new()), []);
    }

    #[test]
    fn what_the_watch_saw_goes_before_checks_and_an_outage_before_its_hour() {
        let watch = |hour: i64, up_s: f64| {
            point(Kind::Watch, hour * 3600, |record| {
                (record.took_s, record.up_s) = (Some(3600.0), Some(up_s));
            })
        };
        let points = [
            watch(0, 3600.0),
            point(Kind::Check, 10, |record| record.verdict = Some(Verdict::Down)),
            watch(1, 1800.0),
            point(Kind::Outage, 5400, |record| record.took_s = Some(5400.0)),
            watch(2, 0.0),
            watch(3, 900.0),
        ];
        assert_eq!(drawn(&points, 5).0, "updp.");
    }

    #[test]
    fn what_a_check_found_amid_an_outage_of_the_watch_ends_with_that() {
        let check =
            |at_s, verdict| point(Kind::Check, at_s, |record| record.verdict = Some(verdict));
        let outage = point(Kind::Outage, 3600, |record| record.took_s = Some(79.0));
        let points = [outage, check(3630, Verdict::Down), check(18_000, Verdict::Down)];
        assert_eq!(drawn(&points, 6), (".pu..d".into(), ".dd..d".into()));
    }

    #[test]
    fn an_outage_is_down_where_it_was_and_not_in_all_of_its_hour() {
        let points = [
            point(Kind::Watch, 0, |record| {
                (record.took_s, record.up_s) = (Some(4.0 * 3600.0), Some(3.0 * 3600.0 + 5.0));
            }),
            point(Kind::Outage, 3600, |record| record.took_s = Some(3600.0)),
        ];
        assert_eq!(drawn(&points, 5).0, "uduu.");
    }
}
