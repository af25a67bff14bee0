//! `linkprobe check-config`, and `bastion check` that runs it: a `[[link]]` that is wrong is found, and nothing
//! is sent to find it. And what a check by hand leaves behind.

use bastion_tests::host::{CONFIG, Host, require};
use bastion_tests::lines::AS_LINKPROBE;
use bastion_tests::process::Output;

/// A line that this machine has, as far as the file says.
const GOOD: &str =
    "[[link]]\nname = \"backup\"\ninterface = \"lo\"\nmin-download = \"10 Mbit/s\"\n";

fn check_config(host: &Host) -> Output {
    host.run(&["/artefacts/linkprobe", "--config", CONFIG, "check-config"])
}

/// What `bastion check` says of the lines.
fn findings(host: &Host, program: &str) -> Vec<String> {
    let said = host.run(&[program, "check"]).errors();
    said.lines().filter(|line| line.contains("link")).map(str::to_owned).collect()
}

#[test]
fn a_link_that_is_right_has_no_findings_and_costs_no_packet() {
    let host = Host::new();
    require("linkprobe");
    host.write_config(GOOD);
    let count = || host.sh("ip -s -j link show lo");
    let before = count();
    let output = check_config(&host);
    let good = format!("{CONFIG}: nothing is wrong with what linkprobe does\n");
    assert_eq!((output.code, output.text()), (Some(0), good), "{output:?}");
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
    let ours: Vec<String> =
        said.lines().map(|line| line.replacen("linkprobe", "bastion", 1)).collect();
    assert_eq!(findings(&host, "/artefacts/bastion"), ours);
    // What the file alone does not show.
    host.write_config(&GOOD.replace("\"lo\"", "\"wwan0\""));
    let lines = findings(&host, "/artefacts/bastion");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("bastion: link backup: interface: there is no interface wwan0"),
        "{lines:?}"
    );
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
