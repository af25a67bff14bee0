//! What a look costs, whom it asks, and that no clock makes an outage.

use std::time::Duration;

use bastion_tests::clock::DAY;
use bastion_tests::lines::{Lines, backup, link};
use bastion_tests::tunnel::told;
use bastion_tests::wait::{pause, wait_until};

/// Looks at the usual pace in a day.
const LOOKS_A_DAY: u64 = 8_640;

/// Most data of a day and a line at the usual pace.
const DAY_AT_MOST: u64 = 2_000_000;

/// Counts what goes over the backup's cable, in bytes of IP.
fn count(lines: &Lines) {
    lines.gates[1].sh("nft add table ip count
         nft add chain ip count in '{ type filter hook prerouting priority -300; }'
         nft add chain ip count out '{ type filter hook postrouting priority 300; }'
         nft add rule ip count in iifname b1 counter
         nft add rule ip count out oifname b1 counter");
}

/// Bytes over the cable since then: sent by us, and received.
fn counted(lines: &Lines) -> [u64; 2] {
    ["in", "out"].map(|chain| {
        let list = lines.gates[1].sh(&format!("nft list chain ip count {chain}"));
        let number = list.split("bytes ").nth(1).and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("a counter")
    })
}

fn claimed(lines: &Lines) -> [u64; 2] {
    let status = lines.status("backup");
    ["bytes-sent", "bytes-received"].map(|key| status[key].as_u64().unwrap_or(0))
}

#[test]
fn a_look_costs_what_is_said_and_a_day_of_them_less_than_two_megabytes() {
    let mut lines = Lines::new();
    count(&lines);
    lines.inside.write_config(&backup("check-every = \"2s\"\n"));
    lines.start();
    lines.wait_up("backup", true);
    // The first asks everybody.
    let [all_sent, all_received] = counted(&lines);
    pause(Duration::from_secs(31));
    // The file is written each twenty seconds; what it says is compared when it is.
    let before = claimed(&lines);
    assert!(wait_until(Duration::from_secs(25), || claimed(&lines) != before));
    let (said, seen) = (claimed(&lines), counted(&lines));
    let looks =
        lines.status("backup")["bytes-sent"].as_u64().unwrap_or(0).saturating_sub(all_sent) / 45;
    assert!((10..40).contains(&looks), "{looks}");
    for (said, seen) in said.into_iter().zip(seen) {
        // A look may have come between the two.
        assert!(said.abs_diff(seen) <= seen / 10 + 130, "said {said}, counted {seen}");
    }
    let [sent, received] = seen;
    let a_look = (sent + received - all_sent - all_received) / looks;
    let all = all_sent + all_received;
    let a_day = a_look * (LOOKS_A_DAY - 288) + all * 288;
    println!("a look {a_look} bytes, at everybody {all}, a day {a_day}");
    assert!(a_day <= DAY_AT_MOST, "{a_look} bytes a look, {all} of all: {a_day}");
}

#[test]
fn the_line_s_own_name_servers_are_found_and_found_anew() {
    let mut lines = Lines::new();
    let auto = link(1, "check-every = \"2s\"\n").replace("[\"198.18.2.53\"]", "\"auto\"");
    let without = auto.lines().filter(|line| !line.starts_with("targets"));
    let config: String = without.map(|line| format!("{line}\n")).collect();
    lines.inside.write_config(&format!("[host]\nname = \"inside\"\n\n{config}"));
    let dir = "/run/systemd/netif/links";
    let index = lines.inside.sh("cat /sys/class/net/b0/ifindex");
    let lease = format!("{dir}/{}", index.trim());
    lines.inside.sh(&format!("mkdir -p {dir}; echo 'DNS=127.0.0.53 198.18.2.53' >{lease}"));
    lines.start();
    lines.wait_up("backup", true);
    lines.wait_status("backup", |status| status["resolvers-from"] == lease.as_str());
    // A router on this side alone says nothing of the line, so others are asked beside it.
    lines.inside.sh(&format!("echo 'DNS=10.2.0.1' >{lease}; ip route add 192.0.2.99/32 dev b0"));
    lines.wait_status("backup", |status| {
        let said = status["resolvers-from"].as_str().unwrap_or_default();
        said.contains("public ones") && status["up"] == false
    });
    let why = lines.status("backup")["why"].as_str().unwrap_or_default().to_owned();
    assert!(
        why.starts_with("10.2.0.1 on this side answers, and nobody beyond it of 1.1.1.1"),
        "{why}"
    );
    let shown = lines.log();
    assert!(shown.contains("servers=\"198.18.2.53:53\""), "{shown}");
    assert!(shown.contains("servers=\"10.2.0.1:53 1.1.1.1:53 9.9.9.9:53\""), "{shown}");
}

#[test]
fn a_clock_that_is_set_makes_no_outage_and_no_state_old() {
    for by_s in [DAY, -DAY] {
        let mut lines = Lines::new();
        lines.inside.write_config(&backup("check-every = \"2s\"\nalert-after = \"1s\"\n"));
        let words = lines.inside.clock_words(0);
        lines.start_on(&words.iter().map(String::as_str).collect::<Vec<_>>());
        lines.wait_up("backup", true);
        lines.inside.set_clock(by_s);
        let written = || lines.status("backup")["looked-s"].as_i64().unwrap_or(0);
        let before = written();
        let moved = || (written() - before).abs() > DAY / 2;
        assert!(wait_until(Duration::from_secs(30), moved), "{by_s}: {}", lines.status("backup"));
        let shown = lines.linkprobe(&["status"]);
        assert_eq!(shown.code, Some(0), "{by_s}: {shown:?}");
        assert_eq!((lines.events("link-down"), told(&lines.inside).len()), (0, 0), "{by_s}");
        // And an outage after it is known as soon, and as long as it was.
        lines.drop_at(1, "");
        assert_eq!(lines.wait_told(1).status, "down", "{by_s}");
        lines.mend(1);
        let end = lines.wait_told(2);
        let seconds = end.text.split(' ').nth(2).and_then(|number| number.parse::<u64>().ok());
        assert!(seconds.is_some_and(|s| s < 60) && end.text.contains(" s: "), "{by_s}: {end:?}");
    }
}

#[test]
fn metrics_are_there_for_others_to_read() {
    let lines = Lines::up(&backup("check-every = \"2s\"\n"));
    let read = |file: &str| {
        let words = ["setpriv", "--reuid=alice", "--clear-groups", "--", "cat", file];
        lines.inside.run(&words).ok().text()
    };
    let up = || {
        read("/run/linkprobe/linkprobe-watch.prom").contains("linkprobe_up{link=\"backup\"} 1\n")
    };
    assert!(wait_until(Duration::from_secs(10), up));
    assert!(read("/run/linkprobe/status.json").contains("\"up\":true"));
}
