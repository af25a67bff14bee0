//! `linkprobe watch`: whatever a line dies of is known within seconds, with its reason, and what is no
//! outage is none.

use std::time::Duration;

use bastion_tests::host::{CONFIG, DEADLINE, Host};
use bastion_tests::lines::{AS_LINKPROBE, Lines, backup, both, link};
use bastion_tests::rows::each_row;
use bastion_tests::tunnel::told;
use bastion_tests::wait::{pause, wait_until};

/// Looks often, so that a test does not take long.
const OFTEN: &str = "check-every = \"2s\"\n";

/// How long it may take until an outage is known: two seconds until the next look, three looks of two
/// and a half, and two pauses.
const KNOWN: Duration = Duration::from_secs(14);

/// One thing that goes wrong with a line, and what puts it right.
#[derive(Debug)]
struct Row {
    name: &'static str,
    breaks: fn(&Lines),
    /// The word for it, and a part of what is said of it.
    cause: &'static str,
    says: &'static str,
    /// How soon it has to be known.
    within: Duration,
    mends: fn(&Lines),
}

const SOON: Duration = Duration::from_secs(4);

const ROWS: [Row; 8] = [
    Row {
        name: "a black hole",
        breaks: |lines| lines.drop_at(1, ""),
        cause: "silent",
        says: "nobody answers of 198.18.2.53, 198.18.2.80:443, 198.18.2.81:443",
        within: KNOWN,
        mends: |lines| lines.mend(1),
    },
    Row {
        name: "the cable is cut",
        breaks: |lines| drop(lines.gates[1].sh("ip link set b1 down")),
        cause: "no-carrier",
        says: "the interface b0 has no carrier",
        within: Duration::from_secs(6),
        mends: |lines| drop(lines.gates[1].sh("ip link set b1 up")),
    },
    Row {
        name: "the interface is down",
        breaks: |lines| drop(lines.inside.sh("ip link set b0 down")),
        cause: "interface-down",
        says: "the interface b0 is down",
        within: SOON,
        mends: |lines| lines.address(1),
    },
    Row {
        name: "the address is gone",
        breaks: |lines| drop(lines.inside.sh("ip address flush dev b0")),
        cause: "no-address",
        says: "the interface b0 has no address",
        within: SOON,
        mends: |lines| lines.address(1),
    },
    Row {
        name: "the interface has another name",
        breaks: |lines| drop(lines.inside.sh("ip link set b0 down; ip link set b0 name b7")),
        cause: "no-interface",
        says: "there is no interface b0",
        within: SOON,
        mends: |lines| {
            lines.inside.sh("ip link set b7 name b0");
            lines.address(1);
        },
    },
    Row {
        name: "the route is gone",
        breaks: |lines| drop(lines.inside.sh("ip route del default dev b0")),
        cause: "no-route",
        says: "it seems that no route leads to 198.18.2.53 by b0",
        within: KNOWN,
        mends: |lines| lines.address(1),
    },
    Row {
        name: "its packets are dropped on this machine",
        breaks: |lines| {
            lines
                .inside
                .sh("ip route add default via 10.1.0.1 dev a0 metric 50 2>/dev/null || true");
            lines.inside.sh("echo 1 >/proc/sys/net/ipv4/conf/b0/rp_filter");
        },
        cause: "strict-filter",
        says: "sysctl net.ipv4.conf.b0.rp_filter=2",
        within: KNOWN,
        mends: |lines| drop(lines.inside.sh("echo 2 >/proc/sys/net/ipv4/conf/b0/rp_filter")),
    },
    Row {
        name: "the router answers what it remembers",
        breaks: |lines| lines.drop_at(1, "ip daddr 198.18.0.0/15"),
        cause: "silent",
        says: "10.2.0.1 on this side answers, and nobody beyond it of 198.18.2.53",
        within: KNOWN,
        mends: |lines| lines.mend(1),
    },
];

#[test]
fn each_way_in_which_a_line_dies_is_known_with_its_reason_and_so_is_its_end() {
    each_row(&ROWS, |row| {
        let config = backup(OFTEN).replace("\"198.18.2.53\"", "\"198.18.2.53\", \"10.2.0.1\"");
        let lines = Lines::up(&config);
        assert_eq!(lines.linkprobe(&["status", "backup"]).code, Some(0));
        (row.breaks)(&lines);
        let took = lines.wait_up("backup", false);
        assert!(took < row.within, "{}: {took:?}\n{}", row.name, lines.log());
        let status = lines.status("backup");
        assert_eq!(status["cause"], row.cause, "{}: {status}", row.name);
        let why = status["why"].as_str().unwrap_or_default();
        assert!(why.contains(row.says), "{}: {why}", row.name);
        let shown = lines.linkprobe(&["status", "backup"]);
        assert_eq!(shown.code, Some(2), "{shown:?}");
        assert!(shown.text().contains(row.says), "{shown:?}");
        assert_eq!(lines.spooled("back"), 0);
        (row.mends)(&lines);
        let took = lines.wait_up("backup", true);
        assert!(took < KNOWN, "{}: {took:?}\n{}", row.name, lines.log());
        // It was too short to be told, and the sender may try again.
        assert!(wait_until(DEADLINE, || lines.spooled("back") == 1), "{}", lines.log());
        assert_eq!(told(&lines.inside), [], "{}", row.name);
        lines.inside.wait_events("linkprobe", "link-down", 1);
        lines.inside.wait_events("linkprobe", "link-up", 2);
    });
}

#[test]
fn what_is_no_outage_is_none_and_can_be_seen() {
    type Change = fn(&Lines);
    let table: [(&str, Change, &str, &str); 4] = [
        (
            "a silent name server",
            |lines| lines.drop_at(1, "udp dport 53"),
            "198.18.2.53:53",
            "silent",
        ),
        (
            "a name server that cannot",
            |lines| lines.gates[1].write("/run/rcode", "2", 0o644),
            "198.18.2.53:53",
            "unwell",
        ),
        (
            "a dead target",
            |lines| lines.drop_at(1, "ip daddr 198.18.2.80"),
            "198.18.2.80:443",
            "silent",
        ),
        (
            "a target that refuses, and nobody else",
            |lines| {
                lines.drop_at(1, "ip daddr != 198.18.2.80");
                lines.gates[1].sh("nft insert rule ip cut i tcp dport 443 reject with tcp reset");
            },
            "198.18.2.80:443",
            "refused",
        ),
    ];
    each_row(&table, |(name, change, who, want)| {
        let lines = Lines::up(&backup(OFTEN));
        change(&lines);
        // Without being asked it looks at everybody once in five minutes.
        lines.watch.as_ref().expect("it runs").signal(libc::SIGUSR1);
        let seen = || {
            let status = lines.status("backup");
            let asked = status["asked"].as_array().cloned().unwrap_or_default();
            asked.iter().any(|one| one["to"] == *who && one["found"] == *want)
        };
        assert!(wait_until(DEADLINE, seen), "{name}: {:#}", lines.status("backup"));
        pause(Duration::from_secs(6));
        assert_eq!(lines.status("backup")["up"], true, "{name}: {}", lines.log());
        assert_eq!(lines.events("link-down"), 0, "{name}");
        assert_eq!(lines.linkprobe(&["status"]).code, Some(0));
    });
}

#[test]
fn an_outage_is_told_once_with_how_bad_it_is_and_so_is_its_end() {
    let lines = Lines::up(&both(&format!("{OFTEN}alert-after = \"1s\"\n")));
    lines.drop_at(1, "");
    let first = lines.wait_told(1);
    assert_eq!((first.name.as_str(), first.status.as_str()), ("link backup", "down"));
    assert_eq!(first.severity, "warning", "{first:?}");
    assert!(first.text.ends_with("198.18.2.81:443; link main is up"), "{first:?}");
    let shown = lines.linkprobe(&["status"]);
    assert_eq!(shown.code, Some(1), "{shown:?}");
    lines.drop_at(0, "");
    let second = lines.wait_told(2);
    assert_eq!((second.name.as_str(), second.severity.as_str()), ("link main", "critical"));
    assert!(!second.text.contains("is up"), "{second:?}");
    assert_eq!(lines.linkprobe(&["status"]).code, Some(2));
    lines.mend(1);
    let third = lines.wait_told(3);
    assert_eq!((third.name.as_str(), third.status.as_str()), ("link backup", "up"));
    assert_eq!(third.severity, "info");
    assert!(
        third.text.starts_with("down for ") && third.text.contains("nobody answers"),
        "{third:?}"
    );
    lines.mend(0);
    let fourth = lines.wait_told(4);
    assert_eq!((fourth.name.as_str(), fourth.status.as_str()), ("link main", "up"));
    assert_eq!(lines.linkprobe(&["status"]).code, Some(0));
    let json = lines.linkprobe(&["status", "backup", "--json"]).ok().text();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["links"]["backup"]["up"], true, "{json}");
    assert_eq!(told(&lines.inside).len(), 4);
}

#[test]
fn two_lines_that_die_at_once_are_critical_though_one_is_looked_at_seldom() {
    let seldom = both("check-every = \"1h\"\nalert-after = \"12s\"\n");
    let lines = Lines::up(&seldom.replacen("\"1h\"", "\"2s\"", 1));
    lines.drop_at(0, "");
    lines.drop_at(1, "");
    let all = [lines.wait_told(1), lines.wait_told(2)];
    assert!(all.iter().all(|one| one.severity == "critical"), "{all:#?}\n{}", lines.log());
    lines.mend(1);
    lines.wait_up("backup", true);
}

#[test]
fn a_line_that_flaps_makes_no_storm() {
    let lines = Lines::up(&backup(&format!("{OFTEN}alert-after = \"0s\"\n")));
    for _ in 0..8 {
        lines.inside.sh("ip link set b0 down");
        lines.wait_up("backup", false);
        lines.address(1);
        lines.wait_up("backup", true);
    }
    let said = told(&lines.inside);
    assert!(said.len() <= 2, "{said:#?}");
    assert!(lines.spooled("back") <= 4, "{}", lines.spooled("back"));
    assert!(lines.events("link-down") + lines.events("link-up") <= 6, "{}", lines.log());
}

#[test]
fn a_restart_while_it_is_down_tells_nothing_twice_and_its_end_once() {
    let mut lines = Lines::up(&backup(&format!("{OFTEN}alert-after = \"1s\"\n")));
    lines.drop_at(1, "");
    assert_eq!(lines.wait_told(1).status, "down");
    lines.watch.as_mut().expect("it runs").kill();
    lines.start();
    lines.wait_status("backup", |status| status["up"] == false && status["why"].is_string());
    let unknown = lines.linkprobe(&["status", "main"]);
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
    lines.stop();
    let stopped = lines.linkprobe(&["status"]);
    assert_eq!(stopped.code, Some(3), "{stopped:?}");
    lines.start();
    lines.wait_status("backup", |status| status["up"] == false);
    let asked = || lines.status("backup")["asked"][0]["found"] == "silent";
    assert!(wait_until(DEADLINE, asked), "{}", lines.status("backup"));
    assert_eq!(told(&lines.inside).len(), 1, "{:#?}", told(&lines.inside));
    lines.mend(1);
    let end = lines.wait_told(2);
    assert_eq!(end.status, "up");
    assert!(end.text.contains("nobody answers"), "as it was told before: {end:?}");
    let kept = || lines.inside.path("/var/lib/linkprobe/backup.down").exists();
    assert!(wait_until(DEADLINE, || !kept()), "a restart would tell its end again");
}

#[test]
fn signals_a_new_file_and_a_second_watch() {
    let mut lines = Lines::up(&backup("check-every = \"1h\"\nalert-after = \"1s\"\n"));
    let watch = || lines.watch.as_ref().expect("it runs");
    let looked = |name: &str| lines.status(name)["bytes-sent"].as_u64().unwrap_or(0);
    let before = looked("backup");
    watch().signal(libc::SIGUSR1);
    assert!(wait_until(DEADLINE, || looked("backup") > before), "{}", lines.log());
    // A broken file changes nothing.
    lines.inside.write_config("[[link]]\nname = \"a b\"\n");
    watch().signal(libc::SIGHUP);
    lines.inside.wait_syslog("linkprobe", "config-kept", 1);
    assert_eq!(lines.status("backup")["up"], true);
    // One more line, and then another in the place of one that is down.
    lines.inside.write_config(&both("check-every = \"2s\"\nalert-after = \"1s\"\n"));
    watch().signal(libc::SIGHUP);
    lines.wait_up("main", true);
    lines.wait_up("backup", true);
    lines.drop_at(1, "");
    assert_eq!(lines.wait_told(1).name, "link backup");
    lines.inside.write_config(&format!("[host]\nname = \"inside\"\n\n{}", link(0, OFTEN)));
    watch().signal(libc::SIGHUP);
    let end = lines.wait_told(2);
    assert_eq!((end.name.as_str(), end.text.as_str()), ("link backup", "it is no longer watched"));
    assert!(lines.status("backup").is_null());
    let words = ["/artefacts/linkprobe", "--run-dir", "/run/linkprobe", "watch"];
    let second = lines.inside.run(&[AS_LINKPROBE, &words].concat());
    assert_eq!(second.code, Some(75), "{second:?}");
    lines.stop();
}

#[test]
fn a_file_without_a_line_is_a_mistake() {
    let host = Host::new();
    host.write_config("[host]\nname = \"inside\"\n");
    let words = ["/artefacts/linkprobe", "--config", CONFIG, "--run-dir", "/run", "watch"];
    let ended = host.run(&words);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.errors().contains("there is no [[link]]"), "{ended:?}");
}
