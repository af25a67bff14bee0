//! A line of a link's history, which may be half of one, or anybody's; and a report of it.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use linkprobe::history::{History, MAX_LINE, parse_line};
use linkprobe::report::{Period, Point, Spread, Summary};

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("fuzz-link-history-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory of our own");
    dir
});

fuzz_target!(|bytes: &[u8]| {
    let (at_ms, record) = match parse_line(bytes) {
        Ok(parsed) => parsed,
        Err(why) => {
            // The reason goes to the terminal and must repeat nothing of the content.
            assert!(why.len() < 60 && why.is_ascii(), "{why:?}");
            return;
        }
    };
    assert!(bytes.len() <= MAX_LINE);
    assert_eq!(record.clone().cleaned(), record, "it has been cleaned");
    for value in [record.download, record.upload, record.ping].into_iter().flatten() {
        assert!(value > 0.0 && value.is_finite(), "never zero: {value}");
    }
    let json = serde_json::to_vec(&record).expect("a record is JSON");
    assert_eq!(parse_line(&json).expect("our own record"), (at_ms, record.clone()));
    // Through the file, with what is left of another line before it.
    let history = History::new(&DIR, "x");
    let path = history.path(0);
    std::fs::write(&path, bytes.split(|byte| *byte == b'\n').next().unwrap_or_default())
        .expect("a file of our own");
    history.append(&record).expect("it has been a line");
    let (read, skipped) = history.read(None).expect("a file of our own");
    assert!(
        read.len() + skipped.lines >= 1
            && read.iter().any(|read| read.timestamp == record.timestamp)
    );
    // And what a report makes of it.
    let point = Point::of(at_ms, &record);
    let period = Period { from_s: point.at_s - 3600, to_s: point.at_s + 3600 };
    let summary = Summary::of(&[point], period, &Default::default());
    let is_spread = |spread: Option<Spread>| spread.is_none_or(|spread| spread.count == 1);
    assert!(is_spread(summary.download) && is_spread(summary.ping));
    assert!(summary.uptime.is_none_or(|up| (0.0..=1.0).contains(&up.share)));
    serde_json::to_string(&summary).expect("a summary is JSON");
});
