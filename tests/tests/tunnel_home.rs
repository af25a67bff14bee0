//! The way home: a tunnel on its second port goes back to the first as soon as that is to be had.

use std::time::Duration;

use bastion_tests::host::DEADLINE;
use bastion_tests::tunnel::{Line, PORTS, TUNNEL};
use bastion_tests::wait::wait_until;
use serde_json::Value;

/// Longest time to be home: ten seconds, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn an_address_of_ours_that_changes_is_noticed_and_a_released_port_is_gone_back_to_at_once() {
    let mut line = Line::new();
    line.authorize("/artefacts/tunnelwatch release 2222 2223");
    line.inside.write_config(&format!("{TUNNEL}release = true\n"));
    // The command of the key is run by the user's shell.
    line.jump.sh("sed -i '/^tunnel:/s|[^:]*$|/bin/sh|' /etc/passwd");
    line.start();
    line.wait_up(PORTS[0]);
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    let before = line.ssh_pid();
    line.inside.sh("ip address delete 10.1.0.2/24 dev a0; ip address add 10.1.0.3/24 dev a0
         ip route add default via 10.1.0.1");
    line.wait_status("home", SOON, |status| {
        status["up"] == true && status["port"] == PORTS[0] && status["ssh-pid"] != before
    });
    assert!(line.answers(PORTS[0]));
    // And it was made sure once more that it is the right host.
    line.inside.wait_syslog("tunnelwatch", "target-known", 2);
}

#[test]
fn a_session_that_ends_is_not_blamed_on_a_home_port_that_was_held_before() {
    let mut line = Line::new();
    line.inside.write_config(&format!("{TUNNEL}check-every = \"5s\"\n"));
    let holder = line.jump.spawn(&["python3", "-m", "http.server", "--bind", "127.0.0.1", "2222"]);
    assert!(wait_until(DEADLINE, || line.jump.listens(2222)));
    line.start();
    line.wait_up(PORTS[1]);
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    let refused = || line.jump.sshd().map_or(0, |sshd| sshd.output().matches("bind [").count());
    let before = refused();
    assert!(before > 0, "sshd says so when a port is held");
    assert_eq!(line.tunnelwatch(&["retry"]).code, Some(0));
    assert!(wait_until(DEADLINE, || refused() > before), "it never tries to go home");
    // All is well, as two looks say that have begun since.
    let proved = |status: &Value| status["proved-s"].as_u64().unwrap_or(0);
    let then = proved(&line.status());
    line.wait_status("two looks", DEADLINE, |status| proved(status) > then + 5);
    drop(holder);
    line.inside.sh(&format!("kill -KILL {}", line.ssh_pid()));
    line.inside.wait_syslog("tunnelwatch", "ssh-ended cause=closed", 1);
    let _ = line.wait_answer(&PORTS, SOON);
}
