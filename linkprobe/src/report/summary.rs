//! What a period says about a line. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Period;
use super::isps::Isps;
use super::outages::{Eye, Outage, down_of, outages};
use super::point::Point;
use super::spread::{Sample, Spread};
use crate::local;
use crate::record::{Kind, Verdict};

/// A line's period in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// `name` of the line.
    pub link: String,
    /// The period, in seconds since 1970.
    #[serde(flatten)]
    pub period: Period,
    /// The ISPs that were met, and how often; the most frequent first.
    pub isps: Vec<(String, usize)>,
    /// Records of the period.
    pub records: usize,
    /// Those of the history whose time cannot be: the clock was not set.
    pub without_time: usize,
    /// Lines of the history that are no records.
    pub unreadable_lines: usize,
    /// How much of the time it was up; nothing where nobody looked.
    pub uptime: Option<Uptime>,
    /// Checks, and how often each verdict came.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// The last check.
    pub last_check: Option<LastCheck>,
    /// Of all tests on this line.
    pub download: Option<Spread>,
    /// Of all tests on this line.
    pub upload: Option<Spread>,
    /// Of those that measured it alone.
    pub measured_download: Option<Spread>,
    /// Of those that measured it alone.
    pub measured_upload: Option<Spread>,
    /// Idle round trip, in milliseconds.
    pub ping: Option<Spread>,
    /// Its jitter, in milliseconds.
    pub jitter: Option<Spread>,
    /// Share of the samples that nobody answered.
    pub loss: Option<Spread>,
    /// Round trip while the line was filled, in milliseconds.
    pub ping_loaded: Option<Spread>,
    /// The least download that was asked for, last.
    pub min_download: Option<f64>,
    /// The least upload that is asked for.
    pub min_upload: Option<f64>,
    /// The most latency that was asked for, last, in milliseconds.
    pub max_latency: Option<f64>,
    /// What it cost.
    pub data: Data,
    /// When it was down.
    pub outages: Vec<Outage>,
    /// By the hour of the day, in local time: 24. Of checks alone, or of measurements alone, of whatever
    /// there is more: a weekly measurement at noon does not make the noon fast.
    pub hours: Vec<Hour>,
}

/// How much of the time a line was up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uptime {
    /// 0 to 1.
    pub share: f64,
    /// Whose word that is.
    pub seen_by: Eye,
    /// For so long was looked, in seconds; of checks, their number.
    pub looked: f64,
    /// For so much of that it was down.
    pub down: f64,
    /// Until when `watch` has counted, in seconds since 1970: it writes once an hour.
    pub counted_to_s: Option<i64>,
    /// Outages that are in `down`; of checks, none.
    pub outages: usize,
}

/// The newest check.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LastCheck {
    /// When, in seconds since 1970.
    pub at_s: i64,
    /// What it found.
    pub verdict: Verdict,
}

/// Bytes, both ways, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Data {
    /// Of the period.
    pub bytes: u64,
    /// Of the tests in it.
    pub tests: usize,
    /// Since the plan's month began.
    pub month_bytes: u64,
    /// When that was, in seconds since 1970.
    pub month_began_s: i64,
    /// What a month may take.
    pub month_budget: Option<u64>,
}

/// An hour of the day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hour {
    /// 0 to 23.
    pub hour: usize,
    /// Checks.
    pub checks: usize,
    /// Of them those without fault.
    pub good: usize,
    /// Of tests on this line.
    pub download: Option<Spread>,
    /// Of tests on this line.
    pub upload: Option<Spread>,
    /// In milliseconds.
    pub ping: Option<Spread>,
    /// Share of the time in which it was up, of the time in which `watch` looked.
    pub up: Option<f64>,
}

/// What is known beside the history.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// `name` of the line.
    pub link: String,
    /// `min-download`, where it is a number.
    pub min_download: Option<f64>,
    /// `min-upload`, where it is a number.
    pub min_upload: Option<f64>,
    /// `max-latency` in milliseconds, where it is one.
    pub max_latency: Option<f64>,
    /// `monthly-data`.
    pub month_budget: Option<u64>,
    /// When the month of its plan began.
    pub month_began_s: i64,
    /// Bytes since then, by the budget's book; of a line that has none, by the history.
    pub month_bytes: u64,
    /// The ISPs that were met.
    pub isps: Isps,
    /// Records whose time cannot be.
    pub without_time: usize,
    /// Lines that are no records.
    pub unreadable_lines: usize,
}

/// From so many hours of which anything is known all 24 are shown: a day is seen at a glance.
const ALL_HOURS_FROM: usize = 12;

impl Summary {
    /// Of points in order, all of which touch the period.
    #[must_use]
    pub fn of(points: &[Point], period: Period, beside: &Beside) -> Self {
        let tests = || points.iter().filter(|point| point.is_test());
        let checks = || points.iter().filter(|point| point.kind == Kind::Check);
        let mut verdicts = BTreeMap::new();
        for verdict in checks().filter_map(|check| check.verdict) {
            *verdicts.entry(verdict.as_str()).or_default() += 1;
        }
        let measured = |pick: fn(&Point) -> Option<Sample>| {
            spread(tests().filter(|point| point.kind == Kind::Measure), pick)
        };
        let exact = |pick: fn(&Point) -> Option<f64>| Spread::of_exact(tests().filter_map(pick));
        let outages = outages(points, period);
        let asked = |pick: fn(&Point) -> Option<f64>| points.iter().rev().find_map(pick);
        Self {
            link: beside.link.clone(),
            period,
            isps: beside.isps.named(),
            records: points.len(),
            without_time: beside.without_time,
            unreadable_lines: beside.unreadable_lines,
            uptime: uptime(points, &outages),
            verdicts,
            last_check: checks().rev().find_map(|check| {
                check.verdict.map(|verdict| LastCheck { at_s: check.at_s, verdict })
            }),
            download: spread(tests(), |point| point.download),
            upload: spread(tests(), |point| point.upload),
            measured_download: measured(|point| point.download),
            measured_upload: measured(|point| point.upload),
            ping: exact(|point| point.ping),
            jitter: exact(|point| point.jitter),
            loss: exact(|point| point.loss),
            ping_loaded: exact(|point| point.ping_loaded),
            min_download: asked(|point| point.min_download).or(beside.min_download),
            min_upload: beside.min_upload,
            max_latency: asked(|point| point.max_latency).or(beside.max_latency),
            data: Data {
                bytes: points.iter().fold(0, |sum, point| sum.saturating_add(point.bytes)),
                tests: tests().count(),
                month_bytes: beside.month_bytes,
                month_began_s: beside.month_began_s,
                month_budget: beside.month_budget,
            },
            hours: hours(points, &outages),
            outages,
        }
    }

    /// All checks.
    #[must_use]
    pub fn checks(&self) -> usize {
        self.verdicts.values().sum()
    }

    /// The hours of the day that a table shows: where there is little, those of which anything is known.
    pub fn shown_hours(&self) -> impl Iterator<Item = &Hour> {
        let all = self.hours.iter().filter(|hour| hour.is_known()).count() >= ALL_HOURS_FROM;
        self.hours.iter().filter(move |hour| all || hour.is_known())
    }

    /// How often this verdict came.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.get(verdict.as_str()).copied().unwrap_or(0)
    }
}

impl Hour {
    fn is_known(&self) -> bool {
        let Self { checks, download, upload, ping, up, .. } = self;
        let spreads = [download, upload, ping];
        *checks > 0 || up.is_some() || spreads.iter().any(|spread| spread.is_some())
    }
}

fn spread<'a>(
    points: impl Iterator<Item = &'a Point>,
    pick: fn(&Point) -> Option<Sample>,
) -> Option<Spread> {
    Spread::of(&mut points.filter_map(pick).collect::<Vec<_>>())
}

/// What `watch` saw of its time; else how many checks found it there. A line that is another ISP's, or
/// could not be tested, is there.
fn uptime(points: &[Point], outages: &[Outage]) -> Option<Uptime> {
    let (mut looked, mut down) = (0.0, 0.0);
    let mut counted_to_s = None;
    for (hour, hour_down) in points.iter().filter_map(|p| Some((p, down_of(p, outages)?))) {
        looked += hour.took_s;
        down += hour_down;
        counted_to_s = counted_to_s.max(Some(hour.end_s()));
    }
    if looked > 0.0 {
        let hours = || points.iter().filter(|point| point.kind == Kind::Watch);
        let counted = |outage: &&Outage| {
            hours().any(|hour| hour.at_s <= outage.to_s && outage.from_s < hour.end_s())
        };
        return Some(Uptime {
            share: 1.0 - down / looked,
            seen_by: Eye::Watch,
            looked,
            down,
            counted_to_s,
            outages: outages.iter().filter(counted).count(),
        });
    }
    let checks = || points.iter().filter(|point| point.kind == Kind::Check);
    let verdicts = || checks().filter_map(|check| check.verdict);
    let (all, down) = (verdicts().count(), verdicts().filter(|v| *v == Verdict::Down).count());
    if all == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^52 checks")]
    let (looked, down) = (all as f64, down as f64);
    let share = 1.0 - down / looked;
    let (seen_by, counted_to_s, outages) = (Eye::Checks, None, 0);
    Some(Uptime { share, seen_by, looked, down, counted_to_s, outages })
}

fn hours(points: &[Point], outages: &[Outage]) -> Vec<Hour> {
    let count = |kind| points.iter().filter(|point| point.kind == kind).count();
    let kind = if count(Kind::Measure) > count(Kind::Check) { Kind::Measure } else { Kind::Check };
    let mut by_hour: Vec<Vec<&Point>> = vec![Vec::new(); 24];
    for point in points {
        by_hour[local::hour(point.at_s)].push(point);
    }
    let of_hour = |(hour, points): (usize, Vec<&Point>)| {
        let tests = || points.iter().copied().filter(|point| point.kind == kind);
        let checks = || points.iter().filter(|point| point.kind == Kind::Check);
        let (mut looked, mut down) = (0.0, 0.0);
        for (point, point_down) in points.iter().filter_map(|p| Some((p, down_of(p, outages)?))) {
            looked += point.took_s;
            down += point_down;
        }
        Hour {
            hour,
            checks: checks().filter(|check| check.verdict.is_some()).count(),
            good: checks().filter(|check| check.verdict == Some(Verdict::Good)).count(),
            download: spread(tests(), |point| point.download),
            upload: spread(tests(), |point| point.upload),
            ping: Spread::of_exact(tests().filter_map(|point| point.ping)),
            up: (looked > 0.0).then(|| 1.0 - down / looked),
        }
    };
    by_hour.into_iter().enumerate().map(of_hour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Bound, Record};

    const DAY: Period = Period { from_s: 1_790_000_000, to_s: 1_790_086_400 };

    fn point(kind: Kind, hour: i64, change: impl FnOnce(&mut Record)) -> Point {
        let mut record = Record { kind, ..Record::default() };
        change(&mut record);
        Point::of((DAY.from_s + hour * 3600) * 1000, &record)
    }

    fn check(hour: i64, verdict: Verdict, download: Option<f64>) -> Point {
        point(Kind::Check, hour, |record| {
            record.verdict = Some(verdict);
            record.download = download;
            record.download_is =
                Some(if verdict == Verdict::Slow { Bound::About } else { Bound::AtLeast });
            record.bytes_received = 1_000_000;
        })
    }

    fn watch(hour: i64, up_s: f64) -> Point {
        point(Kind::Watch, hour, |record| {
            (record.took_s, record.up_s) = (Some(3600.0), Some(up_s));
        })
    }

    #[test]
    fn uptime_is_what_was_watched_and_else_what_checks_found() {
        let checks = [
            check(1, Verdict::Good, Some(1e7)),
            check(2, Verdict::Down, None),
            check(3, Verdict::WrongIsp, None),
            check(4, Verdict::Untested, None),
        ];
        let by_checks = Summary::of(&checks, DAY, &Beside::default()).uptime.unwrap();
        assert_eq!((by_checks.share, by_checks.seen_by), (0.75, Eye::Checks));
        let mut all = checks.to_vec();
        all.extend([watch(5, 3600.0), watch(6, 1800.0)]);
        let watched = Summary::of(&all, DAY, &Beside::default()).uptime.unwrap();
        assert_eq!(
            (watched.share, watched.seen_by, watched.looked, watched.down),
            (0.75, Eye::Watch, 7200.0, 1800.0)
        );
        assert_eq!(Summary::of(&[], DAY, &Beside::default()).uptime, None);
        let wrong = |record: &mut Record| record.verdict = Some(Verdict::WrongIsp);
        let measured = [point(Kind::Measure, 1, wrong)];
        assert_eq!(Summary::of(&measured, DAY, &Beside::default()).uptime, None, "it is no check");
    }

    #[test]
    fn what_the_watch_counted_and_what_it_did_not_yet_are_told_apart() {
        let outage = |minute: i64, took_s| {
            let record = Record { kind: Kind::Outage, took_s: Some(took_s), ..Record::default() };
            Point::of((DAY.from_s + minute * 60) * 1000, &record)
        };
        let of = |points: &[Point]| {
            let summary = Summary::of(points, DAY, &Beside::default());
            (summary.uptime.unwrap(), crate::report::table::uptime(&summary))
        };
        // It is down a little longer than the watch is sure of that, and that is one number.
        let (up, words) = of(&[watch(0, 3556.0), outage(10, 49.0), outage(70, 60.0)]);
        let points = [watch(0, 3556.0), outage(10, 49.0), outage(70, 60.0)];
        let hours = Summary::of(&points, DAY, &Beside::default()).hours;
        assert_eq!(hours.iter().find_map(|hour| hour.up), Some(up.share));
        assert_eq!((up.down, up.counted_to_s), (49.0, Some(DAY.from_s + 3600)));
        let until = local::minute(DAY.from_s + 3600);
        let want = format!(
            "98.64 %, watched for 1 h until {until}, down for 49 s in 1 outage; \
             not counted: 1 outage outside that time"
        );
        assert_eq!(words, want);
        let (_, words) = of(&[watch(0, 3600.0)]);
        assert!(words.ends_with(", never down"), "{words}");
        // Nothing that the watch counted.
        let (_, words) = of(&[outage(10, 60.0), check(0, Verdict::Good, None)]);
        assert!(words.starts_with("100.00 %, by 1 check; watch has been at work"), "{words}");
        let (_, words) = of(&[check(0, Verdict::Good, None)]);
        assert!(words.ends_with("no record of watch, which writes one an hour"), "{words}");
    }

    #[test]
    fn a_check_that_took_no_more_is_no_speed_and_the_wrong_line_is_not_ours() {
        let mut points = vec![check(0, Verdict::Slow, Some(4e6))];
        points.extend((1..20).map(|hour| check(hour, Verdict::Good, Some(1e7))));
        points.push(point(Kind::Measure, 20, |record| {
            (record.download, record.verdict) = (Some(9e7), Some(Verdict::WrongIsp));
        }));
        points.push(point(Kind::Measure, 21, |record| record.download = Some(8e7)));
        let summary = Summary::of(&points, DAY, &Beside::default());
        let download = summary.download.unwrap();
        assert_eq!((download.count, download.bounds), (21, 19));
        assert_eq!((download.p50.value, download.p50.is), (1e7, Bound::AtLeast));
        assert_eq!(summary.measured_download.unwrap().p50.value, 8e7);
        assert_eq!(summary.count(Verdict::Good), 19);
        assert_eq!((summary.checks(), summary.data.bytes), (20, 20_000_000));
        assert_eq!(summary.hours.iter().map(|hour| hour.checks).sum::<usize>(), 20);
    }

    #[test]
    fn nothing_at_all_is_nothing_and_no_zero() {
        let summary = Summary::of(&[], DAY, &Beside { link: "x".into(), ..Beside::default() });
        let json = serde_json::to_value(&summary).unwrap();
        for key in ["download", "ping", "uptime", "last_check", "min_download"] {
            assert!(json[key].is_null(), "{key}");
        }
        assert_eq!(summary.hours.len(), 24);
    }
}
