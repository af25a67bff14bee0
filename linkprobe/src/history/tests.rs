use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;
use crate::record::{Kind, Verdict};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("linkprobe-history-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn history(&self) -> History {
        History::new(&self.0, "backup")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(hour: u32) -> Record {
    Record {
        timestamp: format!("2026-11-{:02}T{:02}:00:00Z", hour / 24 + 1, hour % 24),
        kind: Kind::Check,
        link: "backup".into(),
        verdict: Some(Verdict::Good),
        download: Some(1e7 + f64::from(hour)),
        ..Record::default()
    }
}

fn read(history: &History) -> (Vec<Record>, Skipped) {
    history.read(None).unwrap()
}

/// The text of the newest file.
fn text(dir: &Dir) -> Vec<u8> {
    fs::read(dir.history().path(0)).unwrap()
}

#[test]
fn what_is_written_is_read_by_time_and_from_a_moment_on() {
    let dir = Dir::new("read");
    let history = dir.history();
    assert_eq!(read(&history), (Vec::new(), Skipped::default()), "none yet");
    // A clock that jumped.
    for hour in [5, 6, 2, 3, 9] {
        history.append(&record(hour)).unwrap();
    }
    let (records, skipped) = read(&history);
    assert_eq!(records, [2, 3, 5, 6, 9].map(record));
    assert!(skipped.is_empty());
    let since = crate::local::parse_ms("2026-11-01T05:00:00Z");
    assert_eq!(history.read(since).unwrap().0, [5, 6, 9].map(record));
    let mut outage = record(1);
    (outage.kind, outage.took_s) = (Kind::Outage, Some(5.0 * 3600.0));
    history.append(&outage).unwrap();
    assert_eq!(history.read(since).unwrap().0[0], outage, "it was not over");
}

#[test]
fn a_line_torn_at_any_byte_costs_itself_alone() {
    let dir = Dir::new("torn");
    let history = dir.history();
    history.append(&record(1)).unwrap();
    let first = text(&dir);
    history.append(&record(2)).unwrap();
    let both = text(&dir);
    for cut in first.len()..=both.len() {
        fs::write(history.path(0), &both[..cut]).unwrap();
        history.append(&record(3)).unwrap();
        let (records, skipped) = read(&history);
        // Without its end alone it is whole all the same.
        let whole = cut >= both.len() - 1;
        let want: Vec<Record> =
            if whole { vec![1, 2, 3] } else { vec![1, 3] }.into_iter().map(record).collect();
        assert_eq!(records, want, "{cut}");
        let torn = !whole && cut > first.len();
        assert_eq!(skipped.lines, usize::from(torn), "{cut}: {skipped}");
        if torn {
            assert_eq!(skipped.first.as_ref().unwrap().1, 2);
            assert!(skipped.to_string().contains("backup.jsonl:2: "), "{skipped}");
        }
    }
}

#[test]
fn a_byte_of_somebody_elses_at_any_place_costs_one_line_at_most() {
    let dir = Dir::new("foreign");
    let history = dir.history();
    history.append_all(&[1, 2, 3].map(record)).unwrap();
    let good = text(&dir);
    for place in 0..good.len() {
        for byte in [b'\n', 0, b'"', 0xff, b'{', b'}'] {
            let mut bytes = good.clone();
            bytes.insert(place, byte);
            fs::write(history.path(0), &bytes).unwrap();
            let (records, skipped) = read(&history);
            assert!(records.len() >= 2, "{place} {byte}");
            assert!(
                records.len() + skipped.lines >= 3,
                "{place} {byte}: nothing is lost in silence"
            );
        }
    }
}

#[test]
fn what_is_no_record_is_left_out_and_counted() {
    let dir = Dir::new("lines");
    let history = dir.history();
    let long = format!(
        "{{\"timestamp\":\"2026-11-01T00:00:00Z\",\"share\":\"{}\"}}",
        "x".repeat(MAX_LINE)
    );
    let good = serde_json::to_string(&record(1)).unwrap();
    let lines =
        ["hello", "{}", "[1]", "{\"timestamp\":\"noon\"}", &long, "", "  ", &good, "\0\0\0\0"];
    fs::write(history.path(0), lines.join("\n")).unwrap();
    let (records, skipped) = read(&history);
    assert_eq!((records, skipped.lines), (vec![record(1)], 6));
    assert!(!skipped.to_string().contains("hello"), "nothing of it is repeated: {skipped}");
    // A log of speedtest-cli that somebody put there is history.
    let log = "{\"download\":0,\"ping\":1800000.0,\"timestamp\":\"2026-11-01T00:00:00Z\",\"client\":{\"isp\":\"x\",\"lat\":\"1\"}}\n";
    fs::write(history.path(0), log).unwrap();
    let (records, _) = read(&history);
    assert_eq!(
        (records[0].kind, records[0].download, records[0].ping),
        (Kind::Measure, None, None)
    );
    assert_eq!(records[0].link, "backup");
}

#[test]
fn files_are_put_away_and_bounded_and_the_newest_are_kept() {
    let dir = Dir::new("rotate");
    let history = dir.history();
    let mut large = record(0);
    large.reasons = vec!["x".repeat(60_000)];
    let of = |number: usize| {
        let mut record = large.clone();
        record.bytes_sent = u64::try_from(number).unwrap();
        record
    };
    let per_file = usize::try_from(MAX_FILE).unwrap() / 60_000 + 1;
    let all: Vec<Record> = (0..per_file * (MAX_FILES + 2)).map(of).collect();
    history.append_all(&all).unwrap();
    assert!(history.path(MAX_FILES - 1).exists() && !history.path(MAX_FILES).exists());
    let most = (MAX_FILE + u64::try_from(MAX_LINE).unwrap()) * u64::try_from(MAX_FILES).unwrap();
    assert!(history.bytes() <= most);
    let mut numbers = Vec::new();
    history.each(None, |_, record| numbers.push(record.bytes_sent)).unwrap();
    let last = u64::try_from(all.len()).unwrap();
    let first = last - u64::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (first..last).collect::<Vec<_>>());
    assert!(numbers.len() > per_file * (MAX_FILES - 1));
}

#[test]
fn putting_away_that_was_cut_short_loses_nothing() {
    let dir = Dir::new("gap");
    let history = dir.history();
    for index in [0, 1, 2, 4] {
        fs::write(
            history.path(index),
            serde_json::to_vec(&record(u32::try_from(index).unwrap())).unwrap(),
        )
        .unwrap();
    }
    history.put_away().unwrap();
    let names: Vec<bool> = (0..6).map(|index| history.path(index).exists()).collect();
    assert_eq!(names, [false, true, true, true, true, false]);
    assert_eq!(read(&history).0.len(), 4);
}

#[test]
fn a_file_that_is_put_away_while_it_is_read_is_read_once() {
    let dir = Dir::new("meanwhile");
    let history = dir.history();
    history.append(&record(1)).unwrap();
    fs::hard_link(history.path(0), history.path(1)).unwrap();
    assert_eq!(read(&history).0, [record(1)]);
}

#[test]
fn many_at_once_lose_nothing_while_files_are_put_away() {
    let dir = Dir::new("many");
    let write = |thread: u32| {
        let history = dir.history();
        for hour in 0..50 {
            let mut record = record(thread * 50 + hour);
            record.reasons = vec!["x".repeat(60_000)];
            history.append(&record).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || write(thread));
        }
    });
    let (records, skipped) = read(&dir.history());
    let hours: Vec<f64> = records.iter().filter_map(|record| record.download).collect();
    let want: Vec<f64> = (0..200).map(|hour| 1e7 + f64::from(hour)).collect();
    assert_eq!((hours, skipped.lines), (want, 0));
    assert!(dir.history().path(2).exists());
}

#[test]
fn who_holds_the_file_is_waited_for_and_what_was_put_away_meanwhile_is_left() {
    let dir = Dir::new("held");
    let history = dir.history();
    history.append(&record(1)).unwrap();
    let held = File::open(history.path(0)).unwrap();
    assert!(try_lock(&held).unwrap());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| history.append(&record(2)));
        // That nothing happens takes time to see.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(read(&history).0, [record(1)]);
        fs::rename(history.path(0), history.path(1)).unwrap();
        drop(held);
        other.join().unwrap().unwrap();
    });
    assert_eq!(read(&history).0, [1, 2].map(record));
    let newest = fs::read_to_string(history.path(0)).unwrap();
    assert_eq!(newest.lines().count(), 1, "in the file that has the name now");
}

#[test]
fn what_is_no_plain_file_is_neither_read_nor_written() {
    let dir = Dir::new("plain");
    let history = dir.history();
    let target = dir.0.join("passwd");
    fs::write(&target, "root\n").unwrap();
    symlink(&target, history.path(0)).unwrap();
    for error in [history.append(&record(1)).unwrap_err(), history.read(None).unwrap_err()] {
        assert!(matches!(error, HistoryError::NotAFile { .. }), "{error}");
    }
    assert_eq!(fs::read(&target).unwrap(), b"root\n");
    fs::remove_file(history.path(0)).unwrap();
    fs::create_dir(history.path(0)).unwrap();
    for error in [history.append(&record(1)).unwrap_err(), history.read(None).unwrap_err()] {
        assert!(matches!(error, HistoryError::NotAFile { .. }), "{error}");
    }
}

#[test]
fn a_record_that_is_too_long_and_a_directory_that_is_missing_are_told() {
    let dir = Dir::new("told");
    let mut long = record(1);
    long.reasons = vec!["x".repeat(MAX_LINE)];
    let error = dir.history().append(&long).unwrap_err();
    assert!(matches!(error, HistoryError::TooLong { .. }), "{error}");
    let error = History::new(Path::new("/nonexistent"), "x").append(&record(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open /nonexistent/x.jsonl: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_was_written_to_long_before_is_not_read() {
    let dir = Dir::new("old");
    let history = dir.history();
    history.append(&record(1)).unwrap();
    let file = fs::File::options().append(true).open(history.path(0)).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    // A file that begins anew is younger than that.
    let since = crate::local::parse_ms("2020-01-01T00:00:00Z");
    assert_eq!(history.read(since).unwrap().0, []);
    assert_eq!(read(&history).0.len(), 1);
}
