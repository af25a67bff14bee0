//! `linkprobe check-config`, and `bastion check` that runs it: a `[[link]]` that is wrong is found, and nothing
//! is sent to find it. And what a check by hand leaves behind.

use bastion_tests::host::{CONFIG, Host, require};
use bastion_tests::lines::{AS_LINKPROBE, Lines, backup};
use bastion_tests::process::Output;
use bastion_tests::rows::each_row;
use serde_json::Value;

/// A line that this machine has, as far as the file says.
const GOOD: &str =
    "[[link]]\nname = \"backup\"\ninterface = \"lo\"\nmin-download = \"10 Mbit/s\"\n";

/// What `check-config` says last of a file in which nothing is wrong: the lines are ready, or not all of them.
const RIGHT: [&str; 2] = [
    "nothing is wrong with what linkprobe does",
    "nothing is wrong in the file; see above what is not ready now",
];

fn check_config(host: &Host) -> Output {
    host.run(&["/artefacts/linkprobe", "--config", CONFIG, "check-config"])
}

/// `bastion check`, for a program.
fn bastion(host: &Host, program: &str) -> Value {
    let output = host.run(&[program, "check", "--json"]);
    serde_json::from_str(&output.text()).unwrap_or_else(|_| panic!("{output:?}"))
}

/// What `bastion check` finds wrong with the lines, and where else it speaks of them.
fn findings(host: &Host, program: &str) -> Vec<String> {
    let said = bastion(host, program);
    let all = said["findings"].as_array().cloned().unwrap_or_default();
    let line = |one: &Value| {
        let part = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let parts = [part("subject"), part("text"), part("fix")];
        let of_line = one["id"] == "linkprobe-check" || parts[1].contains("link.1");
        let (subject, rest) = parts.split_first()?;
        let rest: Vec<&str> =
            rest.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let start = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
        of_line.then(|| start + &rest.join("; "))
    };
    all.iter().filter_map(line).collect()
}

/// What `bastion check` says of each line as it is now.
fn now(host: &Host) -> Vec<String> {
    let said = bastion(host, "/artefacts/bastion");
    let lines = said["told"].as_array().cloned().unwrap_or_default();
    lines.iter().filter_map(|line| line.as_str()).map(str::to_owned).collect()
}

#[test]
fn how_a_line_is_now_is_told_and_is_no_mistake_in_the_file_and_costs_no_packet() {
    let (ready, not_ready) = (RIGHT[0], RIGHT[1]);
    let table = [
        ("true", "by b0, 10.2.0.2, asks the name server 198.18.2.53", ready),
        ("ip link set b0 down", "not ready now: the interface b0 is down", not_ready),
        ("ip address flush dev b0", "not ready now: the interface b0 has no address", not_ready),
        ("CUT", "not ready now: the interface b0 has no carrier", not_ready),
        (
            "ip route del default dev b0",
            "not ready now: it seems that no route leads to 198.18.2.53 by b0: give it one, as \
             \"ip route add default dev b0 metric 700\", or with \"via\" and the line's gateway",
            not_ready,
        ),
        (
            "ip route del default dev b0
             ip route add default via 10.2.0.1 dev b0 table 200; ip rule add from 10.2.0.2 table 200",
            "not ready now: it seems that no route leads to 198.18.2.53 by b0: give it one, as \
             \"ip route add default dev b0 metric 700\", or with \"via\" and the line's gateway \
             (routes of other tables, which \"ip rule\" lists, are not seen here)",
            not_ready,
        ),
        (
            "echo 1 >/proc/sys/net/ipv4/conf/b0/rp_filter",
            "not ready now: the reverse path filter of b0 is strict, and the best route is another's: \
             sysctl net.ipv4.conf.b0.rp_filter=2",
            not_ready,
        ),
    ];
    each_row(&table, |(script, says, last)| {
        let lines = Lines::new();
        let host = &lines.inside;
        // What the kernel sends of itself is not to be counted.
        host.sh("echo 1 >/proc/sys/net/ipv6/conf/b0/disable_ipv6");
        match *script {
            "CUT" => lines.gates[1].sh("ip link set b1 down"),
            script => host.sh(script),
        };
        host.write_config(&backup(""));
        let sent = || host.sh("cat /proc/net/dev | tr -s ' ' | grep b0: | cut -d ' ' -f 12");
        let before = sent();
        assert!(before.trim().parse::<u64>().is_ok(), "{before}");
        let said = format!("link backup: {says}");
        let output = check_config(host);
        let all = format!("{said}\n{CONFIG}: {last}\n");
        assert_eq!((output.code, output.text()), (Some(0), all), "{output:?}");
        assert_eq!(output.errors(), "");
        assert_eq!(now(host), [said]);
        assert_eq!(findings(host, "/artefacts/bastion"), Vec::<String>::new());
        assert_eq!(sent(), before);
    });
}

#[test]
fn a_line_of_which_nothing_but_its_interface_is_said_is_read_and_costs_no_packet() {
    let host = Host::new();
    require("linkprobe");
    host.write_config(GOOD);
    host.sh("ip route add default dev lo");
    let count = || host.sh("ip -s -j link show lo");
    let before = count();
    let output = check_config(&host);
    let said = "link backup: by lo, 192.0.2.1, asks the name servers 1.1.1.1, 9.9.9.9 (nobody knows of any: \
                public ones)";
    let good = format!("{said}\n{CONFIG}: {}\n", RIGHT[0]);
    assert_eq!((output.code, output.text()), (Some(0), good), "{output:?}");
    assert_eq!(now(&host), [said]);
    assert_eq!(findings(&host, "/artefacts/bastion"), Vec::<String>::new());
    assert_eq!(count(), before);
}

#[test]
fn each_mistake_in_a_link_is_told_by_both_commands_at_once() {
    let host = Host::new();
    require("linkprobe");
    let wrong = GOOD.replace("10 Mbit/s", "fast").replace("\"lo\"", "\"a b\"");
    host.write_config(&format!("{wrong}nosuch = 1\n"));
    let output = check_config(&host);
    assert_eq!(output.code, Some(78), "{output:?}");
    let said = output.errors();
    for part in ["line 3: link.1.interface", "line 4: link.1.min-download", "line 5: link.1.nosuch"]
    {
        assert!(said.contains(part), "no {part}: {said}");
    }
    let ours: Vec<String> = said.lines().map(|line| line.replacen("linkprobe: ", "", 1)).collect();
    assert_eq!(findings(&host, "/artefacts/bastion"), ours);
    // What the file alone does not show.
    host.write_config(&GOOD.replace("\"lo\"", "\"wwan0\""));
    let lines = findings(&host, "/artefacts/bastion");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("link backup: interface: there is no interface wwan0"),
        "{lines:?}"
    );
    assert_eq!(now(&host), Vec::<String>::new(), "it is not there, so there is no more to say");
    // Nobody minds the lines.
    host.sh("cp /artefacts/bastion /srv/bastion");
    let lines = findings(&host, "/srv/bastion");
    assert!(
        lines.iter().any(|line| line.contains("there is a [[link]], and no linkprobe that minds")),
        "{lines:?}"
    );
}

#[test]
fn without_a_link_linkprobe_says_so_and_bastion_does_not_ask_it() {
    let host = Host::new();
    require("linkprobe");
    host.write_config("[host]\nname = \"home\"\n");
    let output = check_config(&host);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.errors().contains("there is no [[link]]"), "{output:?}");
    assert_eq!(findings(&host, "/artefacts/bastion"), Vec::<String>::new());
}

#[test]
fn what_root_checks_by_hand_is_the_hourly_checks_to_go_on_with() {
    let host = Host::new();
    require("linkprobe");
    host.sh("install -d -o _linkprobe -g _linkprobe /var/lib/linkprobe /run/linkprobe");
    // Nobody answers there, and that is told.
    host.write_config(&format!("{GOOD}resolvers = [\"127.0.0.1\"]\n"));
    let check = ["/artefacts/linkprobe", "--config", CONFIG, "check"];
    let by_root = host.run(&check);
    assert_eq!(by_root.code, Some(2), "{by_root:?}");
    let old = r#"{"download": 19e6, "upload": 0, "ping": 50.1, "timestamp": "2026-01-02T03:04:05Z",
        "bytes_sent": 0, "bytes_received": 25000000, "client": {"isp": "Starlink"}, "server": {"id": "1"}}"#;
    host.write("/root/old.json", old, 0o600);
    let words = ["/artefacts/linkprobe", "--config", CONFIG, "import", "backup", "/root/old.json"];
    let _ = host.run(&words).ok();
    let dirs = "/var/lib/linkprobe /run/linkprobe /var/spool/bastion/drop";
    assert_eq!(host.sh(&format!("find {dirs} -type f ! -user _linkprobe")), "");
    assert_eq!(host.spool_files("drop").len(), 1);
    let hourly = host.run(&[AS_LINKPROBE, &check].concat());
    assert_eq!((hourly.code, hourly.text()), (Some(2), by_root.text()), "{hourly:?}");
    assert_eq!(host.read("/var/lib/linkprobe/backup.jsonl").lines().count(), 3);
}
