use std::fs;

use super::table::Looks;
use super::*;
use crate::record::{Bound, Client, Kind, Record, Verdict};

/// The story that the tests of the whole program tell, too.
#[path = "../../../tests/src/line_history.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod line_history;
use line_history::Story;

const NOW_S: i64 = 1_795_420_800;

const LOOKS: Looks = Looks { width: 100, unicode: true, colour: false };

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("linkprobe-report-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A report of these lines' histories, which are texts.
fn report_of(name: &str, lines: &[(&str, &str)], days: Option<i64>) -> Report {
    let dir = Dir::new(name);
    for (link, text) in lines {
        fs::write(dir.0.join(format!("{link}.jsonl")), text).unwrap();
    }
    let links: Vec<(String, Option<&Link>)> =
        lines.iter().map(|(link, _)| ((*link).to_owned(), None)).collect();
    let since_ms = days.map(|days| (NOW_S - days * local::DAY_S) * 1000);
    gather("jump".into(), &dir.0, &links, since_ms, NOW_S)
        .unwrap_or_else(|failure| panic!("{failure:?}"))
}

/// All that a report can be; page and picture are XML.
fn all_of(report: &Report) -> [String; 3] {
    let (page, svg) = (page::page(report), picture::whole(report));
    let without_type = page.split_once('\n').unwrap().1;
    for text in [without_type, &svg] {
        roxmltree::Document::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
    [page, svg, table::text(report, LOOKS)]
}

#[test]
fn a_month_a_year_one_record_and_none_are_reports() {
    let month = Story::backup(NOW_S, 30).lines();
    let one = month.lines().rfind(|line| line.contains("\"good\"")).unwrap().to_owned();
    for (name, text, days) in [
        ("month", month.clone(), Some(30)),
        ("year", Story::backup(NOW_S, 365).lines(), None),
        ("one", one.clone(), None),
        ("one-of-month", one, Some(30)),
        ("none", String::new(), None),
        ("long-ago", Story::backup(NOW_S - 900 * local::DAY_S, 10).lines(), None),
        ("hours", month, Some(1)),
    ] {
        let report = report_of(name, &[("backup", &text)], days);
        let [page, svg, table] = all_of(&report);
        for text in [&page, &svg, &table] {
            assert!(text.contains("backup") && text.contains("jump"), "{name}");
            assert!(!text.contains("NaN") && !text.contains("inf "), "{name}: {text}");
        }
        // It is a page that is sent by mail.
        assert!(page.len() < 400_000 && svg.len() < 400_000, "{name}: {}", page.len());
    }
}

#[test]
fn several_lines_have_a_section_each_and_no_id_twice() {
    let text = Story::backup(NOW_S, 7).lines();
    let report = report_of("several", &[("backup", &text), ("main", &text), ("new", "")], Some(7));
    let [page, svg, table] = all_of(&report);
    assert_eq!(page.matches("<section").count(), 3);
    let ids: Vec<&str> =
        page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len());
    assert!(svg.contains("backup, main, new") && table.matches(" p5 ").count() >= 2);
}

#[test]
fn names_that_others_chose_are_words_and_nothing_else() {
    let record = Record {
        timestamp: "2026-11-23T08:00:00Z".into(),
        kind: Kind::Check,
        verdict: Some(Verdict::Good),
        download: Some(1e7),
        client: Some(Client {
            isp: Some("<script>alert(1)</script>&\"'\u{1b}[31m\u{202e}\u{0}".into()),
            ..Client::default()
        }),
        ..Record::default()
    };
    let line = serde_json::to_string(&record).unwrap();
    let [page, svg, table] = all_of(&report_of("names", &[("backup", &line)], None));
    assert!(!page.contains("<script") && !svg.contains("<script"));
    assert!(page.contains("&lt;script&gt;"));
    assert!(!table.contains('\x1b') && !table.contains('\u{202e}'), "{table}");
}

#[test]
fn what_took_no_more_is_drawn_as_a_bound_and_not_as_a_speed() {
    let of = |is: Bound| {
        let lines = (0..200).map(|hour| {
            let record = Record {
                timestamp: line_history::time(NOW_S - hour * 3600),
                kind: Kind::Check,
                verdict: Some(Verdict::Good),
                download: Some(1.05e7),
                download_is: Some(is),
                min_download: Some(1e7),
                ..Record::default()
            };
            serde_json::to_string(&record).unwrap() + "\n"
        });
        all_of(&report_of("bounds", &[("backup", &lines.collect::<String>())], Some(9)))
    };
    let ([bounds, ..], [speeds, ..]) = (of(Bound::AtLeast), of(Bound::About));
    let dots = |page: &str| page.matches("<circle").count();
    assert!(dots(&speeds) >= 200 && dots(&bounds) < 10, "{} {}", dots(&speeds), dots(&bounds));
    assert!(bounds.contains("≥ 10.5 Mbit/s") && !speeds.contains('≥'));
    assert!(bounds.contains("at least that: the check took no more"));
}

/// A generator of numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(u64::try_from(of.len()).unwrap())).unwrap()]
    }
}

#[test]
fn whatever_the_numbers_are_there_is_a_report() {
    let mut dice = Dice(7);
    let rates = [None, Some(1e-9), Some(1.0), Some(9.9e6), Some(1e7), Some(9e12), Some(1e-300)];
    let pings = [None, Some(1e-9), Some(0.1), Some(40.0), Some(59_999.0)];
    for round in 0..150 {
        let count = dice.one(&[0, 1, 2, 5, 60, 250]);
        let lines = (0..count).map(|_| {
            let back_s = i64::try_from(dice.below(40 * 86_400)).unwrap();
            let record = Record {
                timestamp: line_history::time(NOW_S - back_s),
                kind: dice.one(&[Kind::Check, Kind::Measure, Kind::Outage, Kind::Watch]),
                verdict: dice.one(&[
                    None,
                    Some(Verdict::Good),
                    Some(Verdict::Down),
                    Some(Verdict::WrongIsp),
                ]),
                download: dice.one(&rates),
                download_is: dice.one(&[None, Some(Bound::AtLeast), Some(Bound::About)]),
                upload: dice.one(&rates),
                ping: dice.one(&pings),
                ping_loaded: dice.one(&pings),
                loss: dice.one(&[None, Some(0.0), Some(1.0)]),
                took_s: dice.one(&[None, Some(0.0), Some(3600.0), Some(9e9)]),
                up_s: dice.one(&[None, Some(0.0), Some(3600.0)]),
                bytes_received: dice.one(&[0, 1, u64::MAX]),
                min_download: dice.one(&rates),
                max_latency: dice.one(&pings),
                ..Record::default()
            };
            serde_json::to_string(&record).unwrap() + "\n"
        });
        let lines: String = lines.collect();
        let days = dice.one(&[None, Some(1), Some(30), Some(4000)]);
        let report = report_of(&format!("any-{round}"), &[("backup", &lines)], days);
        all_of(&report);
        for width in [0, 1, 20, 39, 80, 1000] {
            for unicode in [true, false] {
                let text = table::text(&report, Looks { width, unicode, colour: unicode });
                assert!(text.starts_with(if unicode { "\x1b[1mbackup" } else { "backup" }));
            }
        }
    }
}

#[test]
fn records_of_a_clock_that_was_not_set_are_counted_and_left_out() {
    let good = "{\"timestamp\":\"2026-11-23T07:00:00Z\",\"ping\":5}";
    let text = [good, &good.replace("2026", "1970"), &good.replace("2026", "2031")].join("\n");
    let report = report_of("clock", &[("backup", &text)], None);
    let summary = &report.parts[0].summary;
    assert_eq!((summary.records, summary.without_time), (1, 2));
    assert!(report.period.seconds() < 2 * local::DAY_S);
}

#[test]
fn how_far_back_is_a_duration_or_all() {
    assert_eq!(Since::parse("30d"), Ok(Since::default()));
    assert_eq!(Since::parse("all"), Ok(Since::Ever));
    for text in ["", "0d", "1s", "30", "month", "-1d"] {
        assert!(Since::parse(text).is_err(), "{text}");
    }
}

/// A good check so many minutes ago, as a line.
fn good_check(minutes: i64, change: impl FnOnce(&mut Record)) -> String {
    let mut record = Record {
        timestamp: line_history::time(NOW_S - minutes * 60),
        kind: Kind::Check,
        verdict: Some(Verdict::Good),
        download: Some(2e7),
        ping: Some(20.0),
        bytes_received: 1_000_000,
        ..Record::default()
    };
    change(&mut record);
    serde_json::to_string(&record).unwrap() + "\n"
}

#[test]
fn names_of_one_isp_are_one() {
    let met = |name: &str, asn: Option<u32>, count: usize| {
        let isp = (!name.is_empty()).then(|| name.to_owned());
        let client = Client { isp, asn, ..Client::default() };
        let line = good_check(60, |record| record.client = Some(client));
        line.repeat(count)
    };
    let (starlink, telekom) = (Some(14593), Some(3320));
    type Row = (&'static str, String, &'static [(&'static str, usize)]);
    let table: [Row; 7] = [
        (
            "asn",
            met("SPACEX-STARLINK", starlink, 25)
                + &met("SpaceX Starlink", starlink, 2)
                + &met("Starlink", None, 1)
                + &met("DTAG", telekom, 1),
            &[("SPACEX-STARLINK", 28), ("DTAG", 1)],
        ),
        (
            "without",
            met("Starlink", None, 3) + &met("SpaceX Starlink", None, 2),
            &[("Starlink", 5)],
        ),
        ("no-name", met("", starlink, 9) + &met("Starlink", starlink, 1), &[("Starlink", 10)]),
        ("number", met("", starlink, 2), &[("AS14593", 2)]),
        // One that has two networks has two numbers.
        ("two", met("Acme", Some(1), 2) + &met("Acme", Some(2), 1), &[("Acme", 2), ("Acme", 1)]),
        // Of two the one that was met more often.
        (
            "either",
            met("Acme One", Some(1), 2) + &met("Acme Two", Some(2), 3) + &met("acme", None, 1),
            &[("Acme Two", 4), ("Acme One", 2)],
        ),
        ("signs", met("-", None, 2) + &met("Acme", None, 1), &[("-", 2), ("Acme", 1)]),
    ];
    for (name, text, want) in table {
        let report = report_of(&format!("isp-{name}"), &[("backup", &text)], None);
        let isps = &report.parts[0].summary.isps;
        let found: Vec<(&str, usize)> = isps.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(found, want, "{name}");
    }
}

#[test]
fn a_report_begins_with_its_first_record_and_says_so() {
    for (minutes, days, want_s, said) in [
        (20, Some(30), 3600, true),
        (90, Some(30), 5400, true),
        (90, None, 5400, false),
        // Checks come hourly.
        (1430, Some(1), 86_400, false),
        (2000, Some(1), 3600, true),
    ] {
        let text = good_check(minutes, |_| ()) + &good_check(10, |_| ());
        let report = report_of(&format!("begin-{minutes}"), &[("backup", &text)], days);
        assert_eq!(report.period.seconds(), want_s, "{minutes} {days:?}");
        for text in all_of(&report) {
            let says = text.contains("; no records from") || text.contains("\n  no records from");
            assert_eq!(says, said, "{minutes} {days:?} {text}");
        }
    }
    // Of nothing it is as long as was asked for.
    let report = report_of("begin-none", &[("backup", "")], Some(30));
    assert_eq!(report.period.seconds(), 30 * local::DAY_S);
    let from_s = local::midnight(NOW_S) + 100;
    let hour = scale::moments(Period { from_s, to_s: from_s + local::HOUR_S }, 6);
    assert!(hour.len() > 2, "{hour:?}");
}

#[test]
fn what_the_budget_has_counted_is_what_is_said_of_the_month() {
    let dir = Dir::new("budget");
    let write = |name: &str, text: &str| fs::write(dir.0.join(name), text).unwrap();
    let text = "[[link]]\nname = \"backup\"\ninterface = \"wwan0\"\nmonthly-data = \"2 GB\"\n";
    let settings = Settings::parse(text).unwrap();
    let links = vec![("backup".to_owned(), settings.links.first())];
    let data = || {
        let report = gather("jump".into(), &dir.0, &links, None, NOW_S).unwrap();
        table::data(&report.parts[0].summary)
    };
    // What was imported is in the history, and not in the book.
    write("backup.jsonl", &(good_check(60, |_| ()) + &good_check(50, |_| ())));
    assert!(data().contains("2 MB in 2 tests; 0 B of 2 GB since 1 Nov"), "{}", data());
    write("backup.budget.json", r#"{"months":[{"month":"2026-11-01","used":861000000}]}"#);
    assert!(data().contains("2 MB in 2 tests; 861 MB of 2 GB since 1 Nov"), "{}", data());
    write("backup.budget.json", r#"{"months":[{"month":"2026-10-01","used":861000000}]}"#);
    assert!(data().contains("; 0 B of 2 GB since 1 Nov"), "{}", data());
    write("backup.budget.json", "{");
    assert!(data().contains("; 2 MB of 2 GB since 1 Nov"), "{}", data());
}

#[test]
fn round_trips_of_a_fast_line_have_two_figures() {
    for (ms, want) in [
        (0.0, "0 ms"),
        (0.04, "0.04 ms"),
        (0.0423, "0.042 ms"),
        (0.1 + 0.2, "0.3 ms"),
        (0.994, "0.99 ms"),
        (0.999, "1.0 ms"),
        (1.0, "1.0 ms"),
        (38.24, "38.2 ms"),
        (100.2, "100 ms"),
    ] {
        assert_eq!(table::milliseconds(ms), want);
    }
    let lines: String =
        (1..9).map(|n| good_check(n * 60, |record| record.ping = Some(0.04))).collect();
    let report = report_of("fast", &[("backup", &lines)], None);
    for text in all_of(&report) {
        assert!(text.contains("0.04 ms") && text.contains("0.02 ms"), "{text}");
        assert!(!text.contains("0.0 ms"), "{text}");
    }
}

#[test]
fn hours_of_which_nothing_is_known_are_left_out_where_they_are_most() {
    for hours in [3, 11, 12, 20] {
        let lines: String = (0..hours).map(|hour| good_check(hour * 60 + 30, |_| ())).collect();
        let [page, _, table] = all_of(&report_of("hours", &[("backup", &lines)], None));
        let want = if hours < 12 { usize::try_from(hours).unwrap() } else { 24 };
        let (_, rows) = table.split_once("By hour of the day").unwrap();
        let is_row = |line: &&str| line.trim_start().get(2..5) == Some(":00");
        assert_eq!(rows.lines().filter(is_row).count(), want, "{table}");
        assert_eq!(page.matches(":00</th>").count(), want, "{hours}");
    }
}

#[test]
fn where_no_line_is_named_it_is_said_how_to_name_one() {
    let settings = Settings::parse("").unwrap();
    let failure = links(&settings, Path::new("/nowhere"), None).unwrap_err();
    let said = format!("{failure:?}");
    for want in [
        "add a [[link]]",
        "/etc/bastion/bastion.toml",
        "/usr/share/doc/pam-bastion/examples/bastion.toml",
    ] {
        assert!(said.contains(want), "{said}");
    }
}
