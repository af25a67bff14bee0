//! Looks through the tunnel: they do not get in the way of people, of the jump host or of sshd here,
//! and find out whose sshd it is.

use std::time::Duration;

use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::tunnel::{Line, PORTS, TUNNEL};
use bastion_tests::wait::{pause, wait_until};

/// What lies between the moment at which ssh could be looked through and the answer to its `-R` is
/// one way there and back: here the answers of the jump host are 0.4 s late.
const SLOW: &str = "
import os, select, socket, sys, time
jump = socket.create_connection((sys.argv[1], int(sys.argv[2])))
late, ends = [], False
while not ends or late:
    now = time.monotonic()
    while late and late[0][0] <= now:
        os.write(1, late.pop(0)[1])
    most = max(0, late[0][0] - now) if late else 5
    for ready in select.select([] if ends else [0, jump], [], [], most)[0]:
        if ready == 0:
            words = os.read(0, 65536)
            jump.sendall(words) if words else sys.exit()
        else:
            words = jump.recv(65536)
            late.append((time.monotonic() + 0.4, words))
            ends = not words
";

/// Begins to count the connections that come to a port of a machine's loopback.
fn count(host: &Host, port: u16) {
    host.sh(&format!(
        "nft add table ip touched; nft add chain ip touched i '{{ type filter hook input priority -10; }}'
         nft add rule ip touched i iif lo tcp dport {port} 'tcp flags & (syn|ack) == syn' counter"
    ));
}

/// How many have come.
fn counted(host: &Host) -> u64 {
    let list = host.sh("nft list table ip touched");
    let number = list.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).expect("a counter")
}

/// Has whoever comes to a port of the jump host turned away.
fn turn_away(line: &Line, port: u16) {
    line.jump.sh(&format!(
        "nft add table ip broken; nft add chain ip broken i '{{ type filter hook input priority 0; }}'
         nft add rule ip broken i iif lo tcp dport {port} reject with tcp reset"
    ));
}

#[test]
fn a_port_that_another_holds_is_not_touched_by_who_waits_for_it() {
    const STARTS: usize = 4;
    let mut line = Line::new();
    let holder = line.jump.spawn(&["python3", "-m", "http.server", "--bind", "127.0.0.1", "2222"]);
    assert!(wait_until(DEADLINE, || line.jump.listens(PORTS[0])));
    count(&line.jump, PORTS[0]);
    line.inside.write("/srv/slow.py", SLOW, 0o644);
    let config = TUNNEL.replace("[2222, 2223]", "[2222]");
    let proxy = "ssh-options = [\"ProxyCommand=python3 /srv/slow.py %h %p\"]\n";
    line.inside.write_config(&format!("{config}{proxy}"));
    line.start();
    line.inside.wait_syslog_for("tunnelwatch", "ssh-ended cause=port-busy", STARTS, 2 * DEADLINE);
    assert_eq!(counted(&line.jump), 0, "{}", line.log());
    drop(holder);
    line.wait_up(PORTS[0]);
    assert!(counted(&line.jump) > 0, "it counts");
}

#[test]
fn a_forward_that_fails_costs_sshd_on_this_side_few_connections() {
    let mut line = Line::new();
    turn_away(&line, PORTS[0]);
    count(&line.inside, 22);
    line.start();
    line.inside.wait_syslog("tunnelwatch", "ssh-started", 1);
    pause(Duration::from_secs(15));
    let found = counted(&line.inside);
    assert!((1..=5).contains(&found), "{found} connections in 15 s");
    assert_eq!(line.events("ssh-started"), 1, "{}", line.log());
}

#[test]
fn who_uses_a_slow_line_to_the_full_is_not_cut_off() {
    let mut line = Line::new();
    line.inside.write_config(&format!("{TUNNEL}check-every = \"5s\"\n"));
    line.start();
    line.wait_up(PORTS[0]);
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    let key = line.jump.read("/root/.ssh/id_ed25519.pub");
    line.inside.write("/home/alice/.ssh/authorized_keys", key, 0o644);
    line.inside.sh("tc qdisc add dev a0 root tbf rate 1mbit burst 10kb limit 250kb");
    let before = line.ssh_pid();
    let guest = line.jump.spawn(&[
        "sh",
        "-c",
        "exec ssh -o StrictHostKeyChecking=no -p 2222 alice@127.0.0.1 cat /dev/urandom >/tmp/got",
    ]);
    pause(Duration::from_secs(45));
    let got = std::fs::metadata(line.jump.path("/tmp/got")).map_or(0, |meta| meta.len());
    assert!(got > 3_000_000, "{got} bytes\n{}\n{}", guest.output(), line.log());
    assert_eq!(line.ssh_pid(), before, "{}", line.log());
    assert_eq!(line.status()["up"], true, "{}", line.log());
    println!("{got} bytes");
}

#[test]
fn a_tunnel_leaves_its_second_port_for_a_first_that_works_and_is_ours() {
    let mut line = Line::new();
    let holder = line.jump.spawn(&["python3", "-m", "http.server", "--bind", "127.0.0.1", "2222"]);
    assert!(wait_until(DEADLINE, || line.jump.listens(PORTS[0])));
    line.start();
    line.wait_up(PORTS[1]);
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    let before = line.ssh_pid();
    let stays = |why: &str| {
        assert!(wait_until(DEADLINE, || !line.jump.listens(PORTS[0])), "given back: {why}");
        assert_eq!(line.status()["port"], PORTS[1], "{why}");
        assert!(line.answers(PORTS[1]), "{why}");
        assert_eq!((line.ssh_pid(), line.events("tunnel-home")), (before, 0), "{why}");
    };
    // It can be had, and nobody gets through.
    turn_away(&line, PORTS[0]);
    count(&line.jump, PORTS[0]);
    drop(holder);
    assert!(wait_until(DEADLINE, || !line.jump.listens(PORTS[0])));
    assert_eq!(line.tunnelwatch(&["retry"]).code, Some(0));
    assert!(wait_until(DEADLINE, || counted(&line.jump) > 0), "it never looks through home");
    stays("nobody gets through");
    // Whoever comes there gets another host.
    line.jump.sh("nft delete table ip broken
         nft add table ip other; nft add chain ip other o '{ type nat hook output priority -100; }'
         nft add rule ip other o ip daddr 127.0.0.1 tcp dport 2222 redirect to :22");
    assert_eq!(line.tunnelwatch(&["retry"]).code, Some(0));
    line.inside.wait_syslog("tunnelwatch", "target-other", 1);
    stays("another host");
    line.jump.sh("nft delete table ip other");
    assert_eq!(line.tunnelwatch(&["retry"]).code, Some(0));
    line.wait_up(PORTS[0]);
    assert!(line.answers(PORTS[0]));
    assert!(wait_until(DEADLINE, || !line.jump.listens(PORTS[1])), "the fallback is given back");
    assert_eq!(line.ssh_pid(), before, "without a break");
    line.inside.wait_syslog("tunnelwatch", "target-known", 2);
    // What is looked through is of the first port from now on.
    turn_away(&line, PORTS[0]);
    line.wait_status("noticed", 2 * DEADLINE, |status| status["ssh-pid"] != before);
}

#[test]
fn a_target_that_was_down_when_the_session_began_is_compared_when_it_is_back() {
    let mut line = Line::new();
    line.inside.sh("pkill -KILL -x sshd || true");
    line.start();
    line.wait_status("noticed", DEADLINE, |status| status["cause"] == "target-down");
    let before = line.ssh_pid();
    line.inside.restart_sshd();
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    assert_eq!(line.ssh_pid(), before);
}
