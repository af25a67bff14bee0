//! A network that changes all the time, for nothing: what the jump host refuses is tried no more often
//! for that; and a change that may help is tried at once.

use std::time::{Duration, Instant};

use bastion_tests::host::DEADLINE;
use bastion_tests::process::Daemon;
use bastion_tests::tunnel::{Line, TUNNEL};
use bastion_tests::wait::{pause, wait_until};

/// An address that comes and goes four times a second.
fn storm(line: &Line) -> Daemon {
    let script = "while :; do
        ip address add 192.0.2.77/32 dev lo; sleep 0.125
        ip address delete 192.0.2.77/32 dev lo; sleep 0.125
    done";
    line.inside.spawn(&["sh", "-c", script])
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_storm_of_changes_has_a_rejected_key_tried_no_more_often() {
    let mut line = Line::new();
    line.jump.sh("mv /home/tunnel/.ssh/authorized_keys /root/keys/authorized");
    line.count_connections();
    let storm = storm(&line);
    line.start();
    line.wait_status("noticed", DEADLINE, |status| status["cause"] == "key-rejected");
    pause(MINUTE);
    let tries = line.connections();
    assert!((2..=4).contains(&tries), "{tries} tries in a minute");
    let heeded = line.log().matches("the network has changed").count();
    assert!((3..=11).contains(&heeded), "{heeded} changes heeded");
    // The key itself is another thing.
    line.jump.sh("mv /root/keys/authorized /home/tunnel/.ssh/authorized_keys");
    line.inside.sh("touch /var/lib/tunnelwatch/id");
    line.wait_status("up", DEADLINE, |status| status["up"] == true);
    drop(storm);
    println!("{tries} tries, {heeded} changes heeded");
}

#[test]
fn a_jump_host_that_refuses_is_tried_at_once_after_a_change_and_not_hammered_in_a_storm() {
    let mut line = Line::new();
    line.jump.sh("pkill -KILL sshd || true");
    line.count_connections();
    line.start();
    line.wait_status("noticed", DEADLINE, |status| status["cause"] == "refused");
    // After the second one the next try would be some four seconds later.
    let tried = |more: u64, most: Duration| wait_until(most, || line.connections() >= more);
    assert!(tried(3, DEADLINE), "{}", line.log());
    let begun = Instant::now();
    line.inside.sh("ip address add 10.1.0.9/24 dev a0");
    assert!(tried(4, Duration::from_secs(3)), "{}", line.log());
    let took = begun.elapsed();
    let before = line.connections();
    let storm = storm(&line);
    pause(MINUTE);
    let tries = line.connections() - before;
    drop(storm);
    assert!((4..=12).contains(&tries), "{tries} tries in a minute");
    line.jump.restart_sshd();
    let _ = line.wait_answer(&[2222], Duration::from_secs(20));
    println!("tried {took:?} after a change, {tries} tries in a storm of a minute");
}

#[test]
fn a_tunnel_that_is_open_is_looked_at_seldom_in_a_storm() {
    let mut line = Line::new();
    line.inside.write_config(&format!("{TUNNEL}check-every = \"1h\"\n"));
    line.start();
    line.wait_status("up", DEADLINE, |status| status["up"] == true);
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    // Each look is a guest of the sshd here, who says no word.
    let guests =
        || line.inside.sshd().map_or(0, |sshd| sshd.output().matches("Connection from").count());
    let before = guests();
    let storm = storm(&line);
    pause(Duration::from_secs(20));
    drop(storm);
    let looks = guests() - before;
    assert!((1..=6).contains(&looks), "{looks} looks in 20 s");
}
