//! A log of another tool: whatever stands there, what is taken from it is a measurement, with numbers
//! that are some.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use linkprobe::history::{MAX_LINE, parse_line};
use linkprobe::import::{Found, record, scan};
use linkprobe::record::Kind;

/// Most time for 4 kB, with the fuzzer's instrumentation.
const MOST: Duration = Duration::from_secs(1);

fuzz_target!(|bytes: &[u8]| {
    let begun = Instant::now();
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut last = 1;
    scan(bytes, |item| {
        assert!((last..=lines).contains(&item.line), "{} after {last} of {lines}", item.line);
        last = item.line;
        let Found::Json(value) = item.found else { return };
        match record(&value) {
            Err(why) => assert!(why.len() < 60 && why.is_ascii(), "{why:?}"),
            Ok(record) => {
                assert_eq!(record.kind, Kind::Measure);
                for value in [record.download, record.upload, record.ping].into_iter().flatten() {
                    assert!(value > 0.0 && value.is_finite(), "never zero: {value}");
                }
                let json = serde_json::to_vec(&record).expect("a record is JSON");
                assert!(json.len() < MAX_LINE);
                let (_, read) = parse_line(&json).expect("our own record");
                assert_eq!(read, record);
            }
        }
    });
    let took = begun.elapsed();
    assert!(took < MOST, "{took:?}");
});
