//! A tunnel and what happens to it: faults of the line, of the jump host, and of this side. Each
//! with the real sshd and ssh, in namespaces, and each is over as soon as its cause is.

use std::time::Duration;

use bastion_tests::host::DEADLINE;
use bastion_tests::tunnel::{Line, PORTS};
use bastion_tests::wait::{pause, wait_until};

/// Longest time to be back, where it is to be at once: a busy machine takes its time.
const SOON: Duration = Duration::from_secs(15);

const HOME: &[u16] = &[PORTS[0]];

/// Alerts at once, so that a test need not wait for two minutes.
const AT_ONCE: &str = "alert-after = \"1s\"\n";

#[test]
fn a_tunnel_comes_up_is_proved_and_says_so() {
    let mut line = Line::up("");
    assert!(line.answers(PORTS[0]));
    let output = line.tunnelwatch(&["status"]);
    assert_eq!((output.code, output.text().starts_with("OK: cloud up")), (Some(0), true));
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    assert_eq!(line.alerts(), [], "all is well");
    // As its unit sets it, its umask is 077; who asks is anybody.
    let modes = line.inside.sh("cd /run/tunnelwatch && stat -c %a status.json tunnelwatch.prom");
    assert_eq!(modes, "644\n644\n");
    let metrics = line.inside.read("/run/tunnelwatch/tunnelwatch.prom");
    assert!(metrics.contains("tunnelwatch_up{tunnel=\"cloud\"} 1"), "{metrics}");
    // Two at once: the second says so and ends.
    let second = line.tunnelwatch(&["run"]);
    assert_eq!(second.code, Some(75));
    assert!(second.errors().contains("another tunnelwatch run works in"), "{}", second.errors());
    // It ends in peace, with its ssh, and leaves no port behind.
    let pid = line.ssh_pid();
    let run = line.run.as_mut().expect("it runs");
    run.signal(libc::SIGTERM);
    assert_eq!(run.wait(DEADLINE), Some(0));
    let left = line.inside.sh(&format!("ps -o pid,ppid,stat,args -p {pid} || true"));
    assert!(!line.inside.path(format!("/proc/{pid}")).exists(), "ssh is left: {left}");
    assert!(wait_until(DEADLINE, || !line.answers(PORTS[0])));
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(3));
}

#[test]
fn a_killed_ssh_and_a_killed_session_are_replaced_at_once() {
    let line = Line::up("");
    line.inside.sh(&format!("kill -KILL {}", line.ssh_pid()));
    line.wait_status("down", DEADLINE, |status| status["up"] == false);
    let took = line.wait_answer(HOME, SOON);
    line.wait_up(PORTS[0]);
    line.kill_sessions();
    let again = line.wait_answer(HOME, SOON);
    line.wait_up(PORTS[0]);
    assert_eq!(line.alerts(), [], "back after {took:?} and {again:?}, which is nothing to tell");
}

#[test]
fn a_path_that_was_cut_is_found_again() {
    let line = Line::up("");
    line.cut();
    line.wait_status("the cut is noticed", Duration::from_secs(60), |status| status["up"] == false);
    pause(Duration::from_secs(5));
    line.mend();
    let _ = line.wait_answer(&PORTS, SOON);
    line.wait_status("up", SOON, |status| status["up"] == true);
}

#[test]
fn an_address_that_changes_moves_the_tunnel_to_the_second_port_and_home_again() {
    let line = Line::up(AT_ONCE);
    line.forget_connections();
    // The jump host still holds the first port, for a session that has lost its client.
    let _ = line.wait_answer(&PORTS[1..], Duration::from_secs(60));
    line.wait_up(PORTS[1]);
    assert!(line.jump.sh("ss -Htln sport = :2222").contains(":2222"), "it is held still");
    let moved = |home: &str| {
        let alerts = line.alerts();
        alerts.iter().any(|(kind, text)| kind == "note" && text.contains(home))
            || alerts.iter().any(|(_, text)| text.starts_with("up") && text.contains(home))
    };
    assert!(wait_until(DEADLINE, || moved("port 2223")), "{:?}", line.alerts());
    // sshd gives the stale session up; the tunnel moves home without a break.
    line.jump.sh("pkill -KILL -o -u tunnel");
    line.wait_status("home", Duration::from_secs(90), |status| status["port"] == PORTS[0]);
    let _ = line.wait_answer(HOME, SOON);
    assert!(wait_until(DEADLINE, || moved("home again")), "{:?}", line.alerts());
    assert!(wait_until(DEADLINE, || !line.answers(PORTS[1])), "the fallback is given back");
}

#[test]
fn a_jump_host_with_release_gives_the_first_port_back_at_once() {
    let line = Line::new();
    line.authorize("/artefacts/tunnelwatch release 2222 2223");
    let mut line = line;
    let config = bastion_tests::tunnel::TUNNEL.to_owned() + "release = true\n";
    line.inside.write_config(&config);
    // The command of the key is run by the user's shell.
    line.jump.sh("usermod -s /bin/sh tunnel 2>/dev/null || sed -i 's|^\\(tunnel:.*\\):/usr/sbin/nologin|\\1:/bin/sh|' /etc/passwd");
    line.start();
    line.wait_up(PORTS[0]);
    let stale = line.jump.sh("pgrep -o -u tunnel").trim().to_owned();
    line.forget_connections();
    let gone = || !line.jump.path(format!("/proc/{stale}")).exists();
    assert!(wait_until(Duration::from_secs(60), gone), "{}", line.log());
    line.wait_status("home", Duration::from_secs(90), |status| {
        status["port"] == PORTS[0] && status["up"] == true
    });
    let _ = line.wait_answer(HOME, SOON);
}

#[test]
fn a_jump_host_without_sshd_is_asked_again_and_never_hammered() {
    let mut line = Line::up("");
    line.jump.sh("pkill -KILL sshd || true");
    line.count_connections();
    pause(Duration::from_secs(30));
    let tries = line.connections();
    assert!((2..=12).contains(&tries), "{tries} tries in 30 s");
    line.jump.restart_sshd();
    let _ = line.wait_answer(HOME, SOON);
}

#[test]
fn a_forward_that_is_broken_while_ssh_lives_is_made_anew() {
    let line = Line::up("check-every = \"5s\"\n");
    let before = line.ssh_pid();
    // Until another session has the port: then its user id is another number of a socket.
    line.jump.sh(
        "nft add table ip broken; nft add chain ip broken i '{ type filter hook input priority 0; }'
         nft add rule ip broken i iif lo tcp dport 2222 reject with tcp reset",
    );
    line.wait_status("a new ssh", DEADLINE, |status| {
        status["ssh-pid"].as_u64().is_some_and(|pid| pid != before)
    });
    line.jump.sh("nft delete table ip broken");
    let _ = line.wait_answer(&PORTS, SOON);
}

#[test]
fn a_local_sshd_that_is_down_is_told_and_the_session_is_left_alone() {
    let mut line = Line::up("check-every = \"5s\"\n");
    let before = line.ssh_pid();
    line.inside.sh("pkill -KILL -x sshd || true");
    line.wait_status("noticed", DEADLINE, |status| status["cause"] == "target-down");
    let told = || line.alerts().iter().any(|(_, text)| text.contains("sshd on this side"));
    assert!(wait_until(DEADLINE, told), "{:?}", line.alerts());
    pause(Duration::from_secs(5));
    assert_eq!(line.ssh_pid(), before, "nothing that a new session could mend");
    line.inside.restart_sshd();
    line.wait_status("up", DEADLINE, |status| status["up"] == true);
    let told = || line.alerts().iter().any(|(_, text)| text.starts_with("up down for"));
    assert!(wait_until(DEADLINE, told), "{:?}", line.alerts());
}

#[test]
fn a_port_that_another_holds_is_left_for_the_second() {
    let mut line = Line::new();
    // By half: 127.0.0.1 alone, where sshd would take ::1 for a success.
    let holder = line.jump.spawn(&["python3", "-m", "http.server", "--bind", "127.0.0.1", "2222"]);
    assert!(wait_until(DEADLINE, || line.jump.listens(2222)));
    line.start();
    line.wait_up(PORTS[1]);
    assert!(line.answers(PORTS[1]));
    drop(holder);
    line.wait_status("home", Duration::from_secs(90), |status| status["port"] == PORTS[0]);
}

#[test]
fn a_rejected_key_is_tried_four_times_a_minute_and_at_once_when_the_key_is_another() {
    let mut line = Line::new();
    line.jump.sh("mv /home/tunnel/.ssh/authorized_keys /root/keys/authorized");
    line.count_connections();
    line.start();
    line.wait_status("noticed", DEADLINE, |status| status["cause"] == "key-rejected");
    pause(Duration::from_secs(40));
    let tries = line.connections();
    assert!((2..=4).contains(&tries), "{tries} tries");
    line.jump.sh("mv /root/keys/authorized /home/tunnel/.ssh/authorized_keys");
    line.inside.sh("touch /var/lib/tunnelwatch/id");
    line.wait_status("up", SOON, |status| status["up"] == true);
}

#[test]
fn a_host_key_that_changed_is_told_at_once_and_not_believed() {
    let mut line = Line::up("");
    line.jump.sh("cd /etc/ssh && rm ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key");
    line.jump.restart_sshd();
    line.kill_sessions();
    let told = || line.alerts().iter().any(|(_, text)| text.contains("not the one in known_hosts"));
    assert!(wait_until(DEADLINE, told), "{:?}\n{}", line.alerts(), line.log());
    line.count_connections();
    pause(Duration::from_secs(30));
    assert!(line.connections() <= 1, "{} tries in 30 s", line.connections());
    line.pin();
    line.wait_status("up", SOON, |status| status["up"] == true);
}

#[test]
fn another_host_behind_the_port_is_told_and_not_kept() {
    let mut line = Line::new();
    // Whoever comes to the port on the jump host gets the jump host's own sshd.
    line.jump.sh(
        "nft add table ip other; nft add chain ip other o '{ type nat hook output priority -100; }'
         nft add rule ip other o ip daddr 127.0.0.1 tcp dport 2222 redirect to :22",
    );
    line.start();
    let told = || line.alerts().iter().any(|(_, text)| text.contains("another host answers"));
    assert!(wait_until(DEADLINE, told), "{}", line.log());
    line.wait_status("not kept", DEADLINE, |status| {
        status["up"] == false && status["cause"] == "wrong-host" && status["ssh-pid"].is_null()
    });
    assert_eq!(line.events("target-known"), 0);
}

#[test]
fn ssh_that_is_missing_is_told_at_once() {
    let mut line = Line::new();
    let config = bastion_tests::tunnel::TUNNEL.to_owned() + "ssh = \"/usr/bin/no-such-ssh\"\n";
    line.inside.write_config(&config);
    line.start();
    let told = || line.alerts().iter().any(|(_, text)| text.contains("ssh cannot be run here"));
    assert!(wait_until(DEADLINE, told), "{}", line.log());
    // The file is mended, and read again.
    line.inside.write_config(bastion_tests::tunnel::TUNNEL);
    line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    line.wait_up(PORTS[0]);
}

#[test]
fn a_broken_file_changes_nothing_and_retry_and_the_network_mean_now() {
    let line = Line::up("");
    let before = line.ssh_pid();
    line.inside.write_config("[[tunnel]]\nname = \"\n");
    line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    line.inside.wait_syslog("tunnelwatch", "config-kept", 1);
    assert_eq!(line.ssh_pid(), before);
    assert_eq!(line.tunnelwatch(&["retry"]).code, Some(0));
    line.inside.wait_syslog("tunnelwatch", "try-now reason=\"SIGUSR1\"", 1);
    line.inside.sh("ip address add 10.1.0.9/24 dev a0");
    line.inside.wait_syslog("tunnelwatch", "try-now reason=\"the network has changed\"", 1);
}

#[test]
fn a_killed_tunnelwatch_leaves_no_ssh_behind() {
    let mut line = Line::up("");
    let pid = line.ssh_pid();
    line.run.as_mut().expect("it runs").kill();
    // Process 1 of this machine does not reap.
    let stat = format!("/proc/{pid}/stat");
    let gone = || !line.inside.path(&stat).exists() || line.inside.read(&stat).contains(") Z ");
    let came = wait_until(DEADLINE, gone);
    let left = line.inside.sh(&format!("ps -o pid,ppid,stat,args -p {pid} || true"));
    assert!(came, "ssh would hold the port: {left}");
    line.start();
    line.wait_status("up", DEADLINE, |status| status["up"] == true);
}
