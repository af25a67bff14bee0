//! `linkprobe measure` where it cannot: it says why, and writes down no number.

use bastion_tests::link::checks::{Checks, EXPECT, PROVIDERS};
use bastion_tests::link::orders::{Act, Order};
use bastion_tests::link::{Net, Shape};
use bastion_tests::process::Output;
use serde_json::Value;

/// The record of a measurement that has come to nothing.
fn nothing(output: &Output, words: &str) -> Value {
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.errors().contains(words), "{words:?}: {output:?}");
    let record: Value = serde_json::from_slice(&output.stdout).expect("a record");
    for key in ["download", "upload"] {
        assert!(record[key].is_null(), "{record:#}");
    }
    record
}

#[test]
fn who_cannot_be_measured_has_no_number() {
    let mut checks = Checks::new(EXPECT);
    for (act, words) in [
        (Act::status(429), "refuses to test (HTTP 429)"),
        (Act::Portal, "a web page came in its place"),
        (Act::HangUp, "other.example.net: "),
    ] {
        checks.speed.iter_mut().for_each(|speed| speed.order(&Order::new(act.clone())));
        let _ = nothing(&checks.linkprobe(&["measure", "--json"]), words);
        checks.speed.iter_mut().for_each(bastion_tests::link::speed::Speed::heal);
    }
    checks.net.lines[0].cut(true);
    let record = nothing(&checks.linkprobe(&["measure", "--json"]), "nobody answers of");
    assert!(record["ping"].is_null(), "{record:#}");
    checks.net.lines[0].cut(false);
    // The first does not want us, and the second does.
    checks.speed[0].order(&Order::new(Act::status(403)));
    let said = checks.linkprobe(&["measure", "--json", "--no-upload"]).ok();
    let record: Value = serde_json::from_slice(&said.stdout).expect("a record");
    assert_eq!(record["server"]["name"], "other.example.net", "{record:#}");
    assert!(record["download"].as_f64().is_some_and(|rate| (17e6..21e6).contains(&rate)));
    let (history, torn) = checks.history();
    let with = history.iter().filter(|record| record["download"].is_f64()).count();
    assert_eq!((history.len(), with, torn), (5, 1, 0));
    assert!(checks.told().is_empty() && checks.notes().is_empty(), "it is for who asked for it");
}

#[test]
fn another_line_than_the_one_that_was_meant_is_not_measured() {
    let checks = Checks::on(Net::with(&[None, None]), "");
    checks.keys(&format!("interface = \"line1\"\n{PROVIDERS}\n{EXPECT}"));
    let before = checks.net.lines[1].count();
    let output = checks.linkprobe(&["measure", "--json"]);
    let _ = nothing(&output, "it would be another line that is measured");
    let bytes = checks.net.lines[1].count().since(before).all();
    assert!(bytes < 10_000, "{bytes}");
}

#[test]
fn a_measurement_stays_within_the_months_data() {
    let checks = Checks::new(&format!("{EXPECT}\nmonthly-data = \"20 MB\""));
    checks.net.lines[0].shape(Some(Shape::mbit(50.0)), Some(Shape::mbit(10.0)));
    let mut runs = 0;
    let last = loop {
        let before = checks.used();
        let output = checks.linkprobe(&["measure", "--json"]);
        assert!(checks.used() <= 20_000_000, "{} after {before}: {output:?}", checks.used());
        if output.code != Some(0) {
            break output;
        }
        runs += 1;
        assert!(runs < 30, "{output:?}");
    };
    let _ = nothing(&last, "the month's data is used up");
    assert!(runs > 0, "{last:?}");
    // Everything that went over the line was counted, and no more than a little was not spent.
    let lines = checks.history().0;
    let sum: u64 = lines
        .iter()
        .flat_map(|record| ["bytes_sent", "bytes_received"].map(|key| record[key].as_u64()))
        .flatten()
        .sum();
    assert_eq!(sum, checks.used());
}
