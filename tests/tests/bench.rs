//! The benches with few samples: each row is there, and what does not hang on the machine is as it
//! has to be.

use std::path::Path;
use std::process::Command;

use bastion_tests::host::{require, rigs};
use serde_json::Value;

fn quick(what: &str) -> Vec<Value> {
    require("bastion");
    let program = rigs().join("bench");
    assert!(Path::new(&program).exists(), "cargo build --workspace makes it");
    let output = Command::new(program)
        .args([what, "--quick", "--json"])
        .output()
        .expect("the bench can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report in JSON");
    report["rows"].as_array().expect("rows").clone()
}

#[test]
fn the_bench_of_the_sender_has_all_rows_and_loses_nothing() {
    let rows = quick("notify");
    let row = |start: &str| {
        let found = rows.iter().find(|row| row["what"].as_str().unwrap_or("").starts_with(start));
        found.unwrap_or_else(|| panic!("no row {start}: {rows:#?}"))
    };
    for start in [
        "session open to request",
        "sender, CPU",
        "bastion send",
        "1000 queued",
        "429",
        "arrival after an outage of 2 s, no kick",
        "arrival after an outage of 4 s, with a kick",
        "arrival after an outage of 4 s, without a kick",
    ] {
        assert_ne!(row(start)["measured"], "", "{start}");
    }
    // Times are the machine's; these are not.
    for start in ["lost, 11 faults", "duplicates", "burst of 100", "kill -9"] {
        assert_eq!(row(start)["met"], true, "{:#?}", row(start));
    }
}

#[test]
fn the_bench_of_a_tunnel_has_all_faults_and_what_is_to_be_told_is_told() {
    let rows = quick("tunnel");
    let row = |start: &str| {
        let found = rows.iter().find(|row| row["what"].as_str().unwrap_or("").starts_with(start));
        found.unwrap_or_else(|| panic!("no row {start}: {rows:#?}"))
    };
    for fault in ["F1 ", "F2 ", "F3 ", "F4 ", "F5 ", "F6 ", "F7 ", "F9 ", "F11 "] {
        assert!(row(fault)["figures"]["back_s"].is_number(), "{:#?}", row(fault));
        assert_ne!(row(fault)["peer"], "", "{fault}");
    }
    assert!(row("F4 beyond this host, with `release`")["figures"]["back_s"].is_number());
    assert!(row("jump host on demand")["figures"]["usable_s"].is_number());
    for start in ["CPU", "bytes a day", "the same, metered"] {
        assert_ne!(row(start)["measured"], "", "{start}");
    }
    // Times are the machine's; these are not.
    for start in ["F6b ", "F8 ", "host key changed"] {
        assert_eq!(row(start)["met"], true, "{:#?}", row(start));
    }
}

#[test]
fn the_bench_of_a_line_has_all_rows_and_its_lines_are_what_they_should_be() {
    let rows = quick("link");
    let row = |start: &str| {
        let found = rows.iter().find(|row| row["what"].as_str().unwrap_or("").starts_with(start));
        found.unwrap_or_else(|| panic!("no row {start}: {rows:#?}"))
    };
    for start in [
        "right verdicts, 0.5x to 30x, RTT ~0",
        "right verdicts, 0.5x to 30x, RTT 50 ms",
        "0.5 % loss",
        "others' traffic",
        "bbr servers",
        "lines drawn at random",
        "token buckets",
        "CPU of a check",
        "a month",
        "measure, Mbit/s, RTT ~0",
        "measure, upload",
        "measure, a cable",
    ] {
        assert_ne!(row(start)["measured"], "", "{start}");
    }
    let off = row("iperf3 against the truth")["figures"]["off"].as_f64().unwrap();
    assert!(off < 0.02, "{:#?}", row("iperf3 against the truth"));
    // Bytes are not the machine's.
    for start in ["bytes of a check, line >= 2x", "bytes of a check that ends with the ISP"] {
        assert_eq!(row(start)["met"], true, "{:#?}", row(start));
    }
}
