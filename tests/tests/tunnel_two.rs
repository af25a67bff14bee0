//! Two tunnels to two jump hosts: one that is down while the other is up is a warning, both are
//! critical.

use std::time::Duration;

use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::tunnel::{Line, PORTS, TUNNEL, Told, told, wire};
use bastion_tests::wait::{pause, wait_until};

/// The second tunnel, with what differs; the first is `cloud`.
fn second(more: &str) -> String {
    let whole = TUNNEL.split_once("[[tunnel]]").expect("a tunnel").1;
    let whole = whole.replace("\"cloud\"", "\"spare\"").replace("10.2.0.2", "10.3.0.2");
    format!("\n[[tunnel]]{whole}{more}")
}

/// A line with two jump hosts, both tunnels up.
fn two(first: &str, other: &str) -> (Line, Host) {
    let mut line = Line::new();
    let mut spare = Host::new();
    wire(&line.router, "10.3.0.1/24", &spare, "10.3.0.2/24", "c");
    spare.sh("ip route add default via 10.3.0.1");
    spare.configure("http://127.0.0.1:9");
    spare.start_sshd();
    let keys = line.jump.read("/home/tunnel/.ssh/authorized_keys");
    spare.write("/home/tunnel/.ssh/authorized_keys", keys, 0o644);
    let key = spare.read("/etc/ssh/ssh_host_ed25519_key.pub");
    let known = line.inside.read("/var/lib/tunnelwatch/known_hosts");
    line.inside.write("/var/lib/tunnelwatch/known_hosts", format!("{known}10.3.0.2 {key}"), 0o644);
    line.inside.write_config(&format!("{TUNNEL}{first}{}", second(other)));
    line.start();
    line.wait_up(PORTS[0]);
    wait_spare(&line, true);
    (line, spare)
}

fn wait_spare(line: &Line, up: bool) {
    let is = || line.status_of("spare")["up"] == up;
    assert!(wait_until(DEADLINE, is), "{}\n{}", line.status_of("spare"), line.log());
}

/// Waits until `count` alerts are told, and answers the last.
fn wait_told(line: &Line, count: usize) -> Told {
    let come = || told(&line.inside).len() >= count;
    assert!(wait_until(DEADLINE, come), "{:#?}\n{}", told(&line.inside), line.log());
    told(&line.inside).swap_remove(count - 1)
}

/// Name, status, severity.
fn gist(told: &Told) -> (&str, &str, &str) {
    (&told.name, &told.status, &told.severity)
}

#[test]
fn one_of_two_is_a_warning_both_are_critical_and_each_end_is_told() {
    // Long enough for a busy machine's tunnels to be up before.
    const QUICK: &str = "check-every = \"5s\"\nalert-after = \"10s\"\n";
    let (mut line, mut spare) = two(QUICK, QUICK);
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(0));
    spare.sh("pkill -KILL sshd");
    let first = wait_told(&line, 1);
    assert_eq!(gist(&first), ("tunnel spare", "down", "warning"));
    assert_eq!(first.text, "the jump host refuses connections; another tunnel is up");
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(1), "a warning");
    line.jump.sh("pkill -KILL sshd");
    let second = wait_told(&line, 2);
    assert_eq!(gist(&second), ("tunnel cloud", "down", "critical"));
    assert!(!second.text.contains("another"), "{second:?}");
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(2), "critical");
    // One way in is open again; the other is still to be mended.
    spare.restart_sshd();
    let third = wait_told(&line, 3);
    assert_eq!(gist(&third), ("tunnel spare", "up", "info"));
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(1));
    line.jump.restart_sshd();
    let fourth = wait_told(&line, 4);
    assert_eq!(gist(&fourth), ("tunnel cloud", "up", "info"));
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(0));
    // The one that was told as critical can be a warning the next time.
    line.jump.sh("pkill -KILL sshd");
    let fifth = wait_told(&line, 5);
    assert_eq!(gist(&fifth), ("tunnel cloud", "down", "warning"));
}

#[test]
fn two_that_go_down_at_once_are_critical_though_one_is_looked_at_seldom() {
    let seldom = "check-every = \"10m\"\nalert-after = \"20s\"\nmetered = true\n";
    let (line, _spare) = two("check-every = \"5s\"\nalert-after = \"20s\"\n", seldom);
    // Nothing is under way that the kernel could miss an answer to.
    line.inside.wait_syslog("tunnelwatch", "target-known", 2);
    pause(Duration::from_secs(2));
    line.cut();
    let first = {
        let come = || !told(&line.inside).is_empty();
        assert!(wait_until(Duration::from_secs(60), come), "{}", line.log());
        told(&line.inside).swap_remove(0)
    };
    assert_eq!(first.severity, "critical", "nobody knew of the other: {first:?}\n{}", line.log());
    let second = wait_told(&line, 2);
    assert_eq!(second.severity, "critical", "{second:?}");
    line.mend();
    line.wait_status("up", DEADLINE, |status| status["up"] == true);
    wait_spare(&line, true);
}
