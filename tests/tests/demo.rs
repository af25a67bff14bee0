//! `./dev demo` tells its story to the end, and leaves nothing behind wherever it is stopped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bastion_tests::ffi;
use bastion_tests::host::{DEADLINE, require, rigs};
use bastion_tests::wait::wait_until;

fn start(words: &[&str]) -> Child {
    require("bastion");
    let program = rigs().join("demo");
    Command::new(&program)
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()))
}

/// The processes below `pid`.
fn descendants(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let children: Vec<u32> = lists
        .flatten()
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<u32>>())
        .collect();
    children.iter().flat_map(|child| [vec![*child], descendants(*child)].concat()).collect()
}

/// Gone, or a zombie that waits for an init that is slow to reap.
fn ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[test]
fn the_demo_shows_both_messages_and_ends_well() {
    let output = start(&[]).wait_with_output().expect("a child can be waited for");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(text.matches(".- SMS to ").count(), 2, "{text}");
    assert_eq!(text.matches("verdict=known-good").count(), 1, "{text}");
    assert!(text.contains("alert-deferred"), "{text}");
    assert!(!text.contains('\x1b'), "colour, though this is no terminal: {text}");
}

#[test]
fn the_demo_of_a_tunnel_breaks_it_in_three_ways_and_each_is_told_and_healed() {
    let output = start(&["tunnel"]).wait_with_output().expect("a child can be waited for");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    // A text of an SMS stands in a box, over lines of it.
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "|").collect();
    let text = words.join(" ");
    let mut rest = text.as_str();
    for said in [
        "OK: cloud up for",
        "tunnel cloud is DOWN (CRITICAL)",
        "DOWN: cloud for",
        "now on port 2223",
        "home again on port 2222",
        "sshd on this side does not answer",
        "tunnel cloud is up again",
        "on port 2223 (not its first)",
        "tunnel-home",
        "on port 2222 of",
    ] {
        let (_, after) = rest.split_once(said).unwrap_or_else(|| panic!("no {said}: {text}"));
        rest = after;
    }
}

#[test]
fn the_demo_of_a_line_shows_a_good_a_slow_and_a_wrong_one_and_what_each_costs() {
    let output = start(&["link"]).wait_with_output().expect("a child can be waited for");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "|").collect();
    let text = words.join(" ");
    let mut rest = text.as_str();
    for said in [
        "OK: backup is good download: at least",
        "of 2 GB since",
        "exit code 0",
        "CRITICAL: backup is slow",
        "exit code 2",
        "link backup speed is LOW: download: about",
        "OK: backup is good",
        "link backup speed is enough again",
        "CRITICAL: backup is the wrong ISP's it is AS3320",
        "link backup isp is WRONG (CRITICAL): it is AS3320",
        "By hour of the day",
        "linkprobe check, wrong line",
        "speedtest-cli",
        "The page of the report is yours to open:",
    ] {
        let (_, after) = rest.split_once(said).unwrap_or_else(|| panic!("no {said}: {text}"));
        rest = after;
    }
    // Less than the other takes: of the amounts the first and the last.
    let costs = text.split_once("What it costs").map_or("", |(_, after)| after);
    let megabytes: Vec<f64> = costs
        .split_whitespace()
        .zip(costs.split_whitespace().skip(1))
        .filter(|(_, unit)| *unit == "MB")
        .filter_map(|(amount, _)| amount.parse().ok())
        .collect();
    assert!(megabytes.len() == 3 && megabytes[2] > 20.0 * megabytes[0], "{costs}");
    let page = rest.split_whitespace().next().unwrap_or_default();
    let page = std::fs::read_to_string(page).expect("the page outlives the machines");
    assert!(page.contains("<svg") && page.contains("backup"), "{}", page.len());
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing_behind() {
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let mut demo = start(&[]);
        let pid = demo.id();
        // The machine's first process, sshd, syslog, the provider, the sender, and helpers.
        assert!(wait_until(DEADLINE, || descendants(pid).len() >= 10), "it does not start");
        let all = descendants(pid);
        ffi::kill(pid, signal).expect("it runs");
        let _ = demo.wait();
        let gone = wait_until(Duration::from_secs(10), || all.iter().all(|pid| ended(*pid)));
        assert!(gone, "signal {signal}: of {all:?} some still run");
        let mount_point = std::env::temp_dir().join(format!("bastion-{pid}-0"));
        assert!(!Path::new(&mount_point).exists(), "signal {signal}: {}", mount_point.display());
    }
}
