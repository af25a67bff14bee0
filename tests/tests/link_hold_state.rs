//! What a check keeps on the disk, and what becomes of it: two at once, a kill, a full disk, a clock
//! that jumps, files that somebody has touched.

use std::time::Duration;

use bastion_tests::clock::DAY;
use bastion_tests::disk;
use bastion_tests::link::checks::{Checks, EXPECT, STATE};
use bastion_tests::wait::wait_until;
use serde_json::Value;

const TEN: &str = "min-download = \"10 Mbit/s\"";

fn checks(keys: &str) -> Checks {
    Checks::new(&format!("{EXPECT}\n{TEN}\n{keys}"))
}

#[test]
fn two_at_once_take_turns_and_both_are_right() {
    let checks = checks("");
    // Each of them alone is good; both at once would have half of it.
    checks.mbit(14.0);
    let mut both = [(); 3].map(|()| checks.spawn(&["check", "--json"]));
    for check in &mut both {
        assert_eq!(check.wait(Duration::from_secs(30)), Some(0), "{}", check.output());
        let record: Value = serde_json::from_str(check.output().trim()).unwrap();
        assert_eq!(record["verdict"], "good", "{record:#}");
    }
    let (history, torn) = checks.history();
    assert_eq!((history.len(), torn), (3, 0));
    let sum = |record: &Value| {
        record["bytes_sent"].as_u64().unwrap() + record["bytes_received"].as_u64().unwrap()
    };
    assert_eq!(checks.used(), history.iter().map(sum).sum::<u64>(), "nothing is forgotten");
}

#[test]
fn a_check_that_is_killed_has_used_all_that_it_might_have() {
    let checks = checks("");
    checks.mbit(11.0);
    let before = checks.net.lines[0].count();
    let mut check = checks.spawn(&["check", "--json"]);
    let begun = || checks.net.lines[0].count().since(before).received > 400_000;
    assert!(wait_until(Duration::from_secs(10), begun), "{}", check.output());
    check.kill();
    let spent = checks.net.lines[0].count().since(before).all();
    assert!(check.output().is_empty(), "it was killed before it was done: {}", check.output());
    let used = checks.used();
    assert!(used >= spent && used > 800_000, "{used} of {spent}");
    assert!(checks.history().0.is_empty());
    // And the next one neither waits for it nor forgets that.
    let next = checks.check(&[]);
    assert!(next.output.code != Some(3) && next.output.took < Duration::from_secs(10), "{next:#?}");
    assert!(checks.used() > used);
}

#[test]
fn who_ends_a_measurement_by_a_signal_has_used_what_it_took_until_then() {
    let checks = checks("");
    checks.mbit(11.0);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let (before, used) = (checks.net.lines[0].count(), checks.used());
        let mut measure = checks.spawn(&["measure", "--json"]);
        let begun = || checks.net.lines[0].count().since(before).received > 400_000;
        assert!(wait_until(Duration::from_secs(10), begun), "{}", measure.output());
        assert!(checks.used() - used > 100_000_000, "a tenth of the month is put aside");
        measure.signal(signal);
        assert_ne!(measure.wait(Duration::from_secs(10)), Some(0), "{}", measure.output());
        let spent = checks.net.lines[0].count().since(before).all();
        let used = checks.used() - used;
        assert!(used < spent * 3 / 2 && used > spent * 3 / 4, "{used} of {spent}");
    }
}

#[test]
fn a_month_whose_data_is_used_up_says_so_once_and_still_sees_an_outage() {
    let checks = checks("monthly-data = \"4 MB\"");
    let mut verdicts = Vec::new();
    while verdicts.last() != Some(&"untested".to_owned()) {
        let check = checks.check(&[]);
        assert!(checks.used() <= 4_000_000, "{}: {check:#?}", checks.used());
        assert!(verdicts.len() < 8, "{verdicts:?} {check:#?}");
        verdicts.push(check.record["verdict"].as_str().unwrap().to_owned());
    }
    assert!(verdicts.len() > 2 && verdicts[0] == "good", "{verdicts:?}");
    let last = checks.check(&[]).is("untested", "the month's data is used up: ");
    assert!(last.bytes < 70_000, "{last:#?}");
    let notes = checks.notes();
    assert!(notes.len() == 1 && notes[0].starts_with("link backup: the month's data"), "{notes:?}");
    checks.net.lines[0].cut(true);
    checks.check(&[]).is("down", "nobody answers");
    assert_eq!(checks.told().len(), 1);
    checks.net.lines[0].cut(false);
    // In the next month it goes on.
    let clock = checks.net.home.clock_words(0);
    let clock: Vec<&str> = clock.iter().map(String::as_str).collect();
    checks.net.home.set_clock(32 * DAY);
    checks.check_on(&clock, &[]).is("good", "download");
}

#[test]
fn nothing_left_at_all_is_untested_where_something_was_asked_and_nothing_else() {
    let checks = checks("");
    let keys = |more: &str| {
        let providers = bastion_tests::link::checks::PROVIDERS;
        checks
            .keys(&format!("interface = \"line0\"\n{providers}\nmonthly-data = \"50 kB\"\n{more}"));
    };
    keys("");
    checks.check(&[]).is("good", "");
    // Whose it is was asked for, and nobody could be asked.
    keys(EXPECT);
    checks.check(&[]).is("untested", "the month's data is used up");
    keys("max-latency = \"100 ms\"");
    checks.check(&[]).is("untested", "the month's data is used up");
    assert_eq!(checks.notes().len(), 1, "{:?}", checks.notes());
}

#[test]
fn a_clock_that_jumps_gives_no_data_away_and_nothing_is_lost() {
    let checks = checks("monthly-data = \"3 MB\"");
    let clock = checks.net.home.clock_words(0);
    let clock: Vec<&str> = clock.iter().map(String::as_str).collect();
    let at = |off_s: i64| {
        checks.net.home.set_clock(off_s);
        checks.check_on(&clock, &[])
    };
    let use_up = |off_s: i64| {
        let good = (0..8).take_while(|_| at(off_s).record["verdict"] == "good").count();
        assert!((1..8).contains(&good), "{good} checks with 3 MB");
    };
    use_up(0);
    use_up(40 * DAY);
    at(0).is("untested", "the month's data is used up");
    // Nobody has set it since the machine was switched on: the latest month that is known.
    let long_ago = at(-56 * 365 * DAY).is("untested", "the month's data is used up");
    assert!(long_ago.record["timestamp"].as_str().unwrap().starts_with("19"), "{long_ago:#?}");
    assert_eq!(checks.history().1, 0);
}

#[test]
fn a_full_disk_costs_the_test_and_neither_the_verdict_nor_the_alarm() {
    let checks = checks("");
    let home = &checks.net.home;
    checks.check(&[]).is("good", "");
    let before = checks.history().0;
    disk::small(home, STATE, "size=64k");
    disk::fill(home, STATE);
    let full = checks.check(&[]).is("untested", "No space left on device");
    assert!(full.bytes < 70_000 && full.record["download"].is_null(), "{full:#?}");
    let errors = full.output.errors();
    assert!(errors.contains("linkprobe: ") && errors.contains("No space left"), "{errors}");
    checks.net.lines[0].cut(true);
    checks.check(&[]).is("down", "nobody answers");
    checks.net.lines[0].cut(false);
    assert_eq!(checks.told().first().map(|one| one.status.as_str()), Some("down"));
    disk::make_room(home, STATE);
    checks.check(&[]).is("good", "");
    let (after, torn) = checks.history();
    assert_eq!((&after[..1], torn), (&before[..], 0));
    assert_eq!(after.last().map(|last| &last["verdict"]), Some(&"good".into()));
}

#[test]
fn a_disk_that_takes_nothing_more_costs_the_test_alone() {
    let checks = checks("");
    disk::small(&checks.net.home, STATE, "size=64k");
    checks.net.home.sh(&format!("mount -o remount,ro {STATE}"));
    let untested = checks.check(&[]).is("untested", "Read-only file system");
    assert!(untested.output.errors().contains("linkprobe: "), "{untested:#?}");
    checks.net.lines[0].cut(true);
    checks.check(&[]).is("down", "nobody answers");
    assert_eq!(checks.told().len(), 1);
    let none = checks.linkprobe(&["--state-dir", "/nosuch", "check"]);
    assert!(none.code != Some(0) && none.errors().contains("/nosuch"), "{none:?}");
}

#[test]
fn a_full_spool_keeps_an_alert_for_the_next_check() {
    let checks = checks("");
    let drop = "/var/spool/bastion/drop";
    disk::small(&checks.net.home, drop, "size=16k");
    disk::fill(&checks.net.home, drop);
    checks.net.lines[0].cut(true);
    checks.check(&[]).is("down", "nobody answers");
    assert!(checks.told().is_empty());
    assert!(!checks.net.home.wait_syslog("linkprobe", "not-spooled", 1).is_empty());
    disk::make_room(&checks.net.home, drop);
    checks.check(&[]).is("down", "nobody answers");
    assert_eq!(checks.told().len(), 1);
}

#[test]
fn files_that_somebody_has_touched_cost_themselves_alone() {
    let checks = checks("");
    checks.check(&[]).is("good", "");
    let home = &checks.net.home;
    // A power cut in the middle of a line, a foreign line, a line of speedtest-cli.
    let history = format!("{STATE}/backup.jsonl");
    let text = home.read(&history);
    let foreign = "hello, world\n{\"download\": 25000000.5, \"ping\": 31.5, \"timestamp\": \
                   \"2026-11-20T10:00:00.123456Z\", \"client\": {\"isp\": \"Starlink\"}}\n";
    home.sh(&format!("printf %s {} >{history}", "''"));
    let torn = format!("{foreign}{text}{}", &text[..text.len() / 2]);
    std::fs::write(home.path(&history), torn).unwrap();
    checks.check(&[]).is("good", "");
    let (lines, not_json) = checks.history();
    assert_eq!((lines.len(), not_json), (3, 2), "{lines:#?}");
    let report = checks.linkprobe(&["report", "--since", "all"]).ok();
    let row = |word: &str| {
        let text = report.text();
        text.lines().find(|line| line.trim_start().starts_with(word)).map(str::to_owned)
    };
    // Half a line and a foreign one are none, and the one of speedtest-cli is.
    assert!(row("checks").is_some_and(|row| row.contains("2: good 2")), "{report:?}");
    assert!(row("measured").is_some_and(|row| row.contains("25 Mbit/s")), "{report:?}");
    assert!(report.errors().contains("2 lines"), "{report:?}");
    // What was told before is forgotten with this one; nothing else.
    home.sh(&format!("echo '{{\"aspects\":[' >{STATE}/backup.checks.json"));
    checks.check(&[]).is("good", "");
    home.sh(&format!("echo '{{\"months\":[{{' >{STATE}/backup.budget.json"));
    let untested = checks.check(&[]).is("untested", "remove it, and the month is counted anew");
    assert!(untested.bytes < 70_000, "{untested:#?}");
    home.sh(&format!("rm {STATE}/backup.budget.json"));
    checks.check(&[]).is("good", "");
    assert!(checks.told().is_empty());
}
