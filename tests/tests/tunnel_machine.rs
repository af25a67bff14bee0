//! The internal host itself: a disk or a run directory that takes no more, and a clock that is set.

use std::time::Duration;

use bastion_tests::clock::DAY;
use bastion_tests::disk::{fill, make_room, small};
use bastion_tests::host::{DEADLINE, SPOOL};
use bastion_tests::tunnel::{Line, PORTS, TUNNEL, told};
use bastion_tests::wait::{pause, wait_until};

/// Looks and alerts that a test can wait for, and a busy machine's tunnel can be up before.
const QUICK: &str = "check-every = \"5s\"\nalert-after = \"10s\"\n";

const RUN: &str = "/run/tunnelwatch";

#[test]
fn a_full_spool_holds_alerts_up_and_loses_none() {
    let drop = format!("{SPOOL}/drop");
    let mut line = Line::up(QUICK);
    small(&line.inside, &drop, "size=16k");
    fill(&line.inside, &drop);
    line.jump.sh("pkill -KILL sshd");
    let said = line.inside.wait_syslog("tunnelwatch", "not-spooled", 1);
    assert!(said[0].text.contains("No space left on device"), "{said:?}");
    line.jump.restart_sshd();
    line.wait_up(PORTS[0]);
    line.inside.wait_syslog("tunnelwatch", "tunnel-up", 1);
    pause(Duration::from_secs(6));
    assert_eq!(line.events("not-spooled"), 2, "once each: {}", line.log());
    assert_eq!(line.alerts(), []);
    make_room(&line.inside, &drop);
    assert!(wait_until(DEADLINE, || told(&line.inside).len() == 2), "{}", line.log());
    let status: Vec<_> = told(&line.inside).into_iter().map(|told| told.status).collect();
    assert_eq!(status, ["down", "up"], "as they happened");
    line.inside.wait_events("tunnelwatch", "spooled-late", 2);
}

#[test]
fn a_full_run_directory_is_logged_once_and_the_tunnel_is_kept() {
    let mut line = Line::new();
    small(&line.inside, RUN, "size=64k");
    line.inside.write_config(&format!("{TUNNEL}{QUICK}"));
    line.start();
    line.wait_up(PORTS[0]);
    let pid = line.ssh_pid();
    fill(&line.inside, RUN);
    line.inside.wait_syslog("tunnelwatch", "state-trouble", 1);
    pause(Duration::from_secs(11));
    assert_eq!(line.events("state-trouble"), 1, "{}", line.log());
    assert!(line.answers(PORTS[0]));
    assert!(line.inside.path(format!("/proc/{pid}")).exists(), "{}", line.log());
    assert!(line.run.as_mut().expect("it runs").running());
    // A session that ends is replaced without a byte of room.
    line.inside.sh(&format!("kill -KILL {pid}"));
    line.inside.wait_syslog("tunnelwatch", "ssh-started", 2);
    let _ = line.wait_answer(&PORTS[..1], Duration::from_secs(15));
    make_room(&line.inside, RUN);
    line.wait_status("the state of now", DEADLINE, |status| {
        status["up"] == true && status["ssh-pid"].as_u64().is_some_and(|new| new != pid)
    });
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(0));
    assert_eq!(line.alerts(), []);
}

#[test]
fn a_run_directory_without_room_for_a_socket_is_told_as_such() {
    let mut line = Line::new();
    small(&line.inside, RUN, "nr_inodes=8");
    line.inside.sh(&format!(
        "install -o _tunnelwatch -m 600 /dev/null {RUN}/lock
         for n in 1 2 3 4 5 6 7 8 9; do touch {RUN}/fill-$n || break; done 2>/dev/null"
    ));
    line.start();
    let down =
        || told(&line.inside).first().is_some_and(|told| told.text.contains("run directory"));
    assert!(wait_until(DEADLINE, down), "{:?}\n{}", told(&line.inside), line.log());
    line.inside.sh(&format!("rm {RUN}/fill-*"));
    line.wait_up(PORTS[0]);
}

#[test]
fn a_clock_that_is_set_tells_nothing_false() {
    let mut line = Line::new();
    line.inside.write_config(&format!("{TUNNEL}{QUICK}"));
    let clock = line.inside.clock_words(0);
    let clock: Vec<&str> = clock.iter().map(String::as_str).collect();
    line.start_on(&clock);
    line.wait_up(PORTS[0]);
    let proved = |line: &Line| line.status()["proved-s"].as_u64().expect("it was proved");
    let is_well = |line: &Line, when: &str| {
        let output = line.tunnelwatch_on(&clock, &["status"]);
        let said = output.text();
        assert_eq!(output.code, Some(0), "{when}: {said}");
        // "OK: cloud up for 12 s on port 2222 of .., proved 3 s ago in 15 ms"
        let seconds = |after: &str| -> u64 {
            let number = said.split(after).nth(1).and_then(|rest| rest.split(' ').next());
            number.and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
        };
        assert!(said.contains(" s on port"), "{when}: {said}");
        assert!(seconds("up for ") <= 60 && seconds("proved ") <= 30, "{when}: {said}");
    };
    is_well(&line, "before");
    for off_s in [DAY, -DAY] {
        let before = proved(&line);
        line.inside.set_clock(off_s);
        is_well(&line, "at once");
        // Looked at again, and written again.
        assert!(wait_until(DEADLINE, || proved(&line).abs_diff(before) > 3600), "{off_s}");
        is_well(&line, "after a look");
    }
    assert_eq!(line.alerts(), [], "nothing has happened");
    // An outage in the middle of which the clock is set has its own length.
    line.jump.sh("pkill -KILL sshd");
    assert!(wait_until(DEADLINE, || told(&line.inside).len() == 1), "{}", line.log());
    line.inside.set_clock(DAY);
    line.jump.restart_sshd();
    let up = || told(&line.inside).iter().find(|told| told.status == "up").cloned();
    assert!(wait_until(DEADLINE, || up().is_some()), "{:?}\n{}", told(&line.inside), line.log());
    let text = up().expect("it is there").text;
    let seconds = text.strip_prefix("down for ").and_then(|rest| rest.split_once(" s: "));
    let seconds: u64 = seconds.and_then(|(number, _)| number.parse().ok()).unwrap_or(u64::MAX);
    assert!(seconds <= 60, "{text}");
}
