//! What happens to the jump host: its power goes, it refuses for long, its disk is full.

use std::time::Duration;

use bastion_tests::disk::{fill, make_room, small};
use bastion_tests::host::{CONFIG, DEADLINE, Host, SPOOL};
use bastion_tests::process::Daemon;
use bastion_tests::tunnel::{Line, PORTS, told, wire};
use bastion_tests::wait::{pause, wait_until};

/// Longest time to be back: 5 s on an idle machine.
const SOON: Duration = Duration::from_secs(15);

const HOME: &[u16] = &[PORTS[0]];

#[test]
fn a_jump_host_whose_power_went_is_used_as_soon_as_its_sshd_is_there() {
    let mut line = Line::up("check-every = \"5s\"\n");
    let files =
        ["/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub"].map(|path| {
            let content = line.jump.read(path);
            (path, content)
        });
    // Nobody hears of its end, and what comes back knows of no connection.
    line.cut();
    line.router.sh("ip link delete b0");
    line.jump = Host::new();
    line.wait_status("noticed", Duration::from_secs(60), |status| status["up"] == false);
    pause(Duration::from_secs(10));
    wire(&line.router, "10.2.0.1/24", &line.jump, "10.2.0.2/24", "c");
    line.jump.sh("ip route add default via 10.2.0.1");
    line.mend();
    for (path, content) in files {
        line.jump.write(path, content, 0o600);
    }
    line.jump.configure("http://127.0.0.1:9");
    line.authorize("");
    pause(Duration::from_secs(2));
    line.jump.start_sshd();
    let took = line.wait_answer(HOME, SOON);
    line.wait_up(PORTS[0]);
    assert_eq!(line.alerts(), [], "less than two minutes");
    println!("back {took:?} after its sshd");
}

#[test]
fn a_jump_host_that_refuses_for_long_is_asked_twelve_times_a_minute_at_most() {
    let line = Line::up("");
    line.jump.sh(
        "nft add table ip refuse; nft add chain ip refuse i '{ type filter hook input priority 0; }'
         nft add rule ip refuse i tcp dport 22 reject with tcp reset",
    );
    line.kill_sessions();
    line.count_connections();
    pause(Duration::from_secs(60));
    let tries = line.connections();
    assert!((6..=12).contains(&tries), "{tries} tries in a minute");
    line.jump.sh("nft delete table ip refuse");
    let took = line.wait_answer(HOME, SOON);
    println!("{tries} tries in a minute, back after {took:?}");
}

#[test]
fn a_jump_host_whose_disk_is_full_has_the_tunnel_all_the_same() {
    let mut line = Line::new();
    // /home, /tmp and /var/log are on it, as all else is.
    line.jump.sh("mount -o remount,size=$(($(df -k --output=used / | tail -1) + 64))k /");
    fill(&line.jump, "");
    let full = line.jump.run(&["sh", "-c", "echo x >/tmp/x; echo x >/var/log/x; echo x >/home/x"]);
    assert_ne!(full.code, Some(0), "it is full");
    line.start();
    line.wait_up(PORTS[0]);
    let _ = line.wait_answer(HOME, SOON);
    line.kill_sessions();
    line.wait_status("noticed", DEADLINE, |status| status["up"] == false);
    let _ = line.wait_answer(HOME, SOON);
    line.wait_up(PORTS[0]);
}

/// `tunnelwatch watch` on the jump host.
fn watch(jump: &Host) -> Daemon {
    jump.write_config(
        "[host]\nname = \"jump\"\n\n[[tunnel-watch]]\nname = \"home\"\nports = [2222, 2223]\n\
         check-every = \"5s\"\nalert-after = \"2s\"\n",
    );
    let mut words = vec!["setpriv", "--reuid=_tunnelwatch", "--regid=_tunnelwatch"];
    words.extend(["--groups=_bastion-drop", "--inh-caps=-all", "--no-new-privs", "--"]);
    words.extend(["/artefacts/tunnelwatch", "--config", CONFIG, "watch"]);
    jump.spawn(&words)
}

#[test]
fn who_watches_on_a_jump_host_whose_disk_is_full_tells_when_there_is_room() {
    let mut line = Line::up("");
    let drop = format!("{SPOOL}/drop");
    small(&line.jump, &drop, "size=16k");
    small(&line.jump, "/tmp", "size=16k");
    let mut watch = watch(&line.jump);
    line.jump.wait_syslog("tunnelwatch", "watching", 1);
    fill(&line.jump, &drop);
    fill(&line.jump, "/tmp");
    line.stop();
    let said = line.jump.wait_syslog("tunnelwatch", "not-spooled", 1);
    assert!(said[0].text.contains("No space left on device"), "{said:?}");
    // And back, before anybody could be told of the first.
    line.start();
    line.wait_up(PORTS[0]);
    line.jump.wait_syslog("tunnelwatch", "tunnel-up", 1);
    pause(Duration::from_secs(8));
    assert_eq!(
        line.jump.syslog_of("tunnelwatch").iter().filter(|l| l.event() == "not-spooled").count(),
        2,
        "once each"
    );
    assert!(watch.running(), "{}", watch.output());
    make_room(&line.jump, &drop);
    let come = || told(&line.jump).len() == 2;
    assert!(wait_until(DEADLINE, come), "{:?}", line.jump.syslog_of("tunnelwatch"));
    let told: Vec<_> = told(&line.jump).into_iter().map(|told| told.status).collect();
    assert_eq!(told, ["down", "up"], "both, as they happened");
}
