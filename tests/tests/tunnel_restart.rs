//! What was told outlives who told it: a tunnelwatch that is started anew, while the tunnel is down,
//! tells neither the beginning again nor leaves out the end.

use std::time::Duration;

use bastion_tests::host::DEADLINE;
use bastion_tests::tunnel::{Line, PORTS, TUNNEL};
use bastion_tests::wait::wait_until;

/// How many alerts of the tunnel there are: that it is down, and that it is up.
fn told(line: &Line) -> (usize, usize) {
    let alerts = line.alerts();
    let count = |word: &str| {
        let of_word =
            |(kind, text): &&(String, String)| kind == "condition" && text.starts_with(word);
        alerts.iter().filter(of_word).count()
    };
    (count("down "), count("up "))
}

#[test]
fn a_restart_while_the_tunnel_is_down_is_told_nobody_twice_and_its_end_once() {
    let mut line = Line::new();
    line.inside.write_config(&format!("{TUNNEL}alert-after = \"1s\"\n"));
    line.jump.sh("pkill -KILL -x sshd || true");
    line.start();
    assert!(wait_until(DEADLINE, || told(&line) == (1, 0)), "{:?}\n{}", line.alerts(), line.log());
    for _ in 0..2 {
        line.run.as_mut().expect("it runs").kill();
        let tried = line.events("ssh-ended");
        line.start();
        assert!(wait_until(DEADLINE, || line.events("ssh-ended") > tried), "{}", line.log());
        assert_eq!(told(&line), (1, 0), "told again: {:?}", line.alerts());
    }
    line.jump.restart_sshd();
    line.wait_up(PORTS[0]);
    assert!(wait_until(DEADLINE, || told(&line) == (1, 1)), "{:?}\n{}", line.alerts(), line.log());
    let kept = || !line.inside.path("/var/lib/tunnelwatch/cloud.down").exists();
    assert!(wait_until(Duration::from_secs(5), kept), "a restart would tell its end again");
}
