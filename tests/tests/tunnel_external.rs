//! Tunnels that another program makes (`type = "external"`): a real OpenVPN and WireGuard between two
//! machines, and what happens to them.

use std::time::{Duration, Instant};

use bastion_tests::host::{CONFIG, DEADLINE, Host};
use bastion_tests::process::Daemon;
use bastion_tests::tunnel::Line;
use bastion_tests::vpn::{EXTERNAL, NEAR, Vpn, has};
use bastion_tests::wait::{pause, wait_until};

/// The commands of [`Vpn::openvpn`].
const COMMANDS: &str = "start = [\"/etc/vpn/start\"]\nstop = [\"/etc/vpn/stop\"]\n";

/// Ends `tunnelwatch run` as its unit does; how it ended.
fn end(vpn: &mut Vpn) -> Option<i32> {
    let run = vpn.line.run.as_mut().expect("it runs");
    run.signal(libc::SIGTERM);
    run.wait(DEADLINE)
}

#[test]
fn a_vpn_is_started_proved_and_ended_with_us() {
    let mut vpn = Vpn::openvpn();
    let keys = vpn.host_keys();
    vpn.up(&format!("{COMMANDS}{keys}"));
    assert_eq!(vpn.runs(), ["started"]);
    let output = vpn.line.tunnelwatch(&["status"]);
    let want = "OK: cloud up for";
    assert_eq!((output.code, output.text().starts_with(want)), (Some(0), true), "{output:?}");
    assert!(output.text().contains("with 10.8.0.2:22, proved"), "{output:?}");
    assert_eq!(vpn.line.status()["type"], "external");
    let metrics = vpn.line.inside.read("/run/tunnelwatch/tunnelwatch.prom");
    assert!(metrics.contains("tunnelwatch_up{tunnel=\"cloud\"} 1"), "{metrics}");
    assert!(!metrics.contains("tunnelwatch_home{"), "it has no ports: {metrics}");
    vpn.line.inside.wait_events("tunnelwatch", "target-known", 1);
    // A change of anything is a tunnel of its own: the old one goes, with its VPN.
    vpn.configure(&format!("{COMMANDS}{keys}timeout = \"20s\"\n"));
    vpn.line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    assert!(wait_until(DEADLINE, || vpn.runs() == ["started", "stopped", "started"]));
    vpn.wait_up();
    // So it does with us: no process, and no zombie.
    assert_eq!(end(&mut vpn), Some(0));
    assert_eq!(vpn.runs().len(), 4);
    let gone = wait_until(DEADLINE, || vpn.processes("openvpn").is_empty());
    assert!(gone, "{}", vpn.line.inside.sh("ps -ef"));
    assert_eq!(vpn.line.alerts(), [], "nothing of that is news");
}

#[test]
fn a_vpn_that_was_there_before_is_proved_and_left_there() {
    let mut vpn = Vpn::openvpn();
    vpn.line.inside.sh("/etc/vpn/start; rm /tmp/vpn-starts");
    vpn.wait_answer();
    vpn.up(COMMANDS);
    assert_eq!(end(&mut vpn), Some(0));
    assert_eq!(vpn.runs(), [""; 0], "neither started nor stopped");
    assert!(!vpn.processes("openvpn").is_empty());
}

#[test]
fn a_vpn_that_was_killed_is_started_anew() {
    let mut vpn = Vpn::openvpn();
    let keys = vpn.host_keys();
    vpn.up(&format!("{COMMANDS}{keys}"));
    let before = vpn.processes("openvpn");
    vpn.line.inside.sh("pkill -KILL -x openvpn");
    let begun = Instant::now();
    vpn.wait_down("no-answer");
    vpn.wait_alert("down nothing answers at 10.8.0.2:22");
    // 30 s after the start before, at the earliest.
    vpn.line.wait_status("back", Duration::from_secs(60), |status| status["up"] == true);
    println!("back after {:?}", begun.elapsed());
    let after = vpn.processes("openvpn");
    assert!(after != before && after.lines().count() == 1, "{before} {after}");
    assert_eq!(vpn.runs(), ["started", "stopped", "started"]);
    vpn.wait_alert("nothing answers at 10.8.0.2:22");
    let up = || vpn.line.alerts().iter().any(|(_, text)| text.starts_with("up down for"));
    assert!(wait_until(DEADLINE, up), "{:?}", vpn.line.alerts());
    assert_eq!(
        vpn.line.events("target-known"),
        2,
        "who comes back is compared: {}",
        vpn.line.log()
    );
}

#[test]
fn a_path_that_is_cut_is_told_once_and_its_return_too() {
    let mut vpn = Vpn::openvpn();
    vpn.up(COMMANDS);
    vpn.line.cut();
    vpn.wait_alert("down nothing answers at 10.8.0.2:22");
    pause(Duration::from_secs(20));
    let starts = vpn.runs().len();
    assert!(starts <= 3, "it is the line: {:?}", vpn.runs());
    vpn.line.mend();
    vpn.wait_up();
    let up = || vpn.line.alerts().iter().any(|(_, text)| text.starts_with("up down for"));
    assert!(wait_until(DEADLINE, up), "{:?}", vpn.line.alerts());
    assert_eq!(vpn.line.alerts().len(), 2, "{:?}", vpn.line.alerts());
}

#[test]
fn another_host_is_told_as_critical_at_once_and_nothing_is_started_for_it() {
    let mut vpn = Vpn::openvpn();
    let keys = vpn.host_keys();
    // The key is another one while the VPN is up; a kick has it compared.
    vpn.up(&format!("alert-after = \"1h\"\n{COMMANDS}{keys}"));
    // One comparison is no sooner than this after another.
    pause(Duration::from_secs(15));
    vpn.line
        .jump
        .sh("mv /etc/ssh/ssh_host_ed25519_key /root; mv /etc/ssh/ssh_host_ed25519_key.pub /root
         ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key");
    vpn.line.jump.restart_sshd();
    let output = vpn.line.tunnelwatch(&["retry"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    vpn.wait_down("wrong-host");
    vpn.wait_alert("down another host answers at 10.8.0.2:22");
    let files = vpn.line.inside.spool_files("drop");
    assert!(files.iter().all(|(_, text)| text.contains("\"critical\"")), "{files:?}");
    assert_eq!(vpn.line.tunnelwatch(&["status"]).code, Some(2));
    pause(Duration::from_secs(10));
    assert_eq!(vpn.runs(), ["started"], "a VPN that is there is left alone");
    assert_eq!(vpn.line.alerts().len(), 1, "{:?}", vpn.line.alerts());
    // The right one again: it is found a minute after at the latest, and sooner with a kick.
    vpn.line.jump.sh("mv -f /root/ssh_host_ed25519_key /root/ssh_host_ed25519_key.pub /etc/ssh");
    vpn.line.jump.restart_sshd();
    pause(Duration::from_secs(5));
    assert_eq!(vpn.line.tunnelwatch(&["retry"]).code, Some(0));
    vpn.wait_up();
}

#[test]
fn a_key_that_is_shown_by_who_does_not_have_it_is_another_host() {
    let mut vpn = Vpn::openvpn();
    let keys = vpn.host_keys();
    // sshd shows the public key that is in the file, and signs with a private one that is another's.
    vpn.line.jump.sh(r#"python3 - /etc/ssh/ssh_host_ed25519_key <<'END'
import base64, sys
first, *lines, last, _ = open(sys.argv[1]).read().split("\n")
key = bytearray(base64.b64decode("".join(lines)))
key[key.rindex(b"\0\0\0\x40") + 4] ^= 1
text = base64.encodebytes(key).decode()
open(sys.argv[1], "w").write(f"{first}\n{text}{last}\n")
END"#);
    vpn.line.jump.restart_sshd();
    vpn.start(&format!("{COMMANDS}{keys}"));
    vpn.wait_alert("down another host answers at 10.8.0.2:22");
    assert_eq!(vpn.line.status()["cause"], "wrong-host");
}

#[test]
fn a_start_that_cannot_be_is_told_at_once_and_is_not_hammered() {
    let mut vpn = Vpn::openvpn();
    for (command, why) in
        [("/etc/vpn/missing", "No such file or directory"), ("/etc/vpn/conf", "Permission denied")]
    {
        vpn.line.inside.sh("rm -f /var/spool/bastion/drop/* /var/lib/tunnelwatch/*.down");
        let commands = COMMANDS.replace("/etc/vpn/start", command);
        vpn.start(&format!("{commands}alert-after = \"1h\"\n"));
        vpn.wait_alert(&format!("down the VPN cannot be started: {command}: {why}"));
        assert_eq!(vpn.line.status()["cause"], "no-start");
        pause(Duration::from_secs(5));
        assert_eq!(end(&mut vpn), Some(0), "{}", vpn.line.log());
        assert_eq!(vpn.line.alerts().len(), 1, "{:?}", vpn.line.alerts());
    }
    vpn.line.inside.wait_events("tunnelwatch", "vpn-not-started", 2);
    // One that fails says what it said, when it is time.
    vpn.line.inside.sh("rm -f /var/lib/tunnelwatch/*.down");
    vpn.line.inside.write("/etc/vpn/bad", "#!/bin/sh\necho no such peer >&2\nexit 3\n", 0o755);
    vpn.start(&COMMANDS.replace("/etc/vpn/start", "/etc/vpn/bad"));
    vpn.wait_alert("the VPN's start command failed: /etc/vpn/bad ended with 3: no such peer");
}

#[test]
fn a_start_that_hangs_is_ended_with_all_that_it_started() {
    let mut vpn = Vpn::openvpn();
    // Neither hears SIGTERM.
    vpn.line.inside.write(
        "/etc/vpn/hang",
        "#!/bin/sh\ntrap '' TERM\nsh -c 'while :; do sleep 1001; done' &\n\
         while :; do sleep 1002; done\n",
        0o755,
    );
    vpn.start(&format!(
        "{}timeout = \"2s\"\n",
        COMMANDS.replace("/etc/vpn/start", "/etc/vpn/hang")
    ));
    vpn.wait_alert("the VPN's start command failed: /etc/vpn/hang took more than 2s and was ended");
    let left = |vpn: &Vpn| vpn.line.inside.sh("pgrep -f '[s]leep 100|vpn/[h]ang' || true");
    assert!(wait_until(DEADLINE, || left(&vpn).is_empty()), "{}", vpn.line.inside.sh("ps -ef"));
    let zombies = vpn.line.inside.sh("ps -eo stat,ppid,args | grep '^Z' || true");
    assert_eq!(zombies, "");
    // Also one that hangs when we are told to end.
    vpn.line.inside.sh("rm -f /tmp/vpn-starts");
    assert_eq!(end(&mut vpn), Some(0));
    assert!(left(&vpn).is_empty(), "{}", vpn.line.inside.sh("ps -ef"));
    assert_eq!(vpn.runs(), ["stopped"], "what may have been half started");
}

#[test]
fn a_vpn_that_is_only_watched_is_told_and_nothing_is_run() {
    let mut vpn = Vpn::openvpn();
    vpn.start(&vpn.host_keys());
    vpn.wait_alert("down nothing answers at 10.8.0.2:22");
    assert_eq!(vpn.line.status()["cause"], "no-answer");
    let busy = vpn.line.run.as_ref().expect("it runs").cpu();
    assert!(busy < Duration::from_millis(500), "{busy:?} in ten seconds of nothing");
    vpn.line.inside.sh("/etc/vpn/start");
    vpn.wait_up();
    vpn.wait_alert("up down for");
    assert_eq!(end(&mut vpn), Some(0));
    assert_eq!(vpn.runs(), ["started"], "by the test");
    assert!(!vpn.processes("openvpn").is_empty(), "nor is it ended");
}

/// The part of systemd that tunnelwatch speaks to: units that are started by root, for who asks for
/// them by systemctl and may.
fn with_units(vpn: &Vpn) -> Daemon {
    let inside = &vpn.line.inside;
    // systemctl hands its words to root, and hears what became of them.
    inside.write(
        "/etc/vpn/systemctl",
        "#!/bin/bash\nexec 9>/run/units/lock; flock 9\necho \"$*\" >/run/units/ask\n\
         read -r code words </run/units/answer\n[ -z \"$words\" ] || echo \"$words\" >&2\nexit \"$code\"\n",
        0o755,
    );
    inside.write(
        "/etc/vpn/systemd",
        "#!/bin/bash\nwhile read -r words </run/units/ask; do\n\
         echo \"$words\" >>/run/units/asked\n\
         case $words in\n\
         *' start home.service') /etc/vpn/start; code=0 ;;\n\
         *' restart home.service') /etc/vpn/stop; /etc/vpn/start; code=0 ;;\n\
         *) code='1 Failed to restart other.service: Access denied' ;;\n\
         esac\n\
         echo \"$code\" >/run/units/answer\ndone\n",
        0o755,
    );
    inside.sh("install -d -m 777 /run/units; mkfifo -m 666 /run/units/ask /run/units/answer
         touch /run/units/lock; chmod 666 /run/units/lock
         mount --bind /etc/vpn/systemctl /usr/bin/systemctl");
    inside.spawn(&["/etc/vpn/systemd"])
}

#[test]
fn a_unit_is_started_started_anew_and_left_as_it_is_when_we_end() {
    let mut vpn = Vpn::openvpn();
    let _systemd = with_units(&vpn);
    vpn.up("unit = \"home.service\"\n");
    vpn.line.inside.sh("pkill -KILL -x openvpn");
    vpn.wait_down("no-answer");
    vpn.line.wait_status("back", Duration::from_secs(60), |status| status["up"] == true);
    assert_eq!(
        vpn.line.inside.read("/run/units/asked"),
        "--no-ask-password --no-block start home.service\n\
         --no-ask-password --no-block restart home.service\n"
    );
    assert_eq!(end(&mut vpn), Some(0));
    assert!(!vpn.processes("openvpn").is_empty(), "it is systemd's");
    // One that may not be started: what systemctl says is told, at once.
    vpn.line
        .inside
        .sh("/etc/vpn/stop; rm -f /var/spool/bastion/drop/* /var/lib/tunnelwatch/*.down");
    vpn.start("unit = \"other.service\"\n");
    vpn.wait_alert(
        "down the VPN cannot be started: /usr/bin/systemctl ended with 1: \
         Failed to restart other.service: Access denied",
    );
}

#[test]
fn wireguard_is_started_anew_when_its_interface_has_gone_down() {
    if !has(&["/usr/bin/wg", "/usr/bin/wireguard-go"]) {
        return;
    }
    let mut vpn = Vpn::wireguard();
    let keys = vpn.host_keys();
    let commands = "start = [\"/usr/sbin/ip\", \"link\", \"set\", \"wg0\", \"up\"]\n\
         stop = [\"/usr/sbin/ip\", \"link\", \"set\", \"wg0\", \"down\"]\n";
    vpn.up(&format!("{commands}{keys}"));
    vpn.line.inside.sh("ip link set wg0 down");
    vpn.wait_down("no-answer");
    vpn.line.wait_status("back", Duration::from_secs(60), |status| status["up"] == true);
    assert_eq!(end(&mut vpn), Some(0));
    let link = vpn.line.inside.sh("ip -br link show wg0");
    assert!(!link.contains(",UP"), "ended as it was begun: {link}");
}

#[test]
fn the_jump_host_sees_the_internal_host_through_the_vpn() {
    let vpn = Vpn::openvpn();
    vpn.line.inside.sh("/etc/vpn/start");
    vpn.wait_answer();
    let print = vpn.line.inside.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    let other = vpn.line.jump.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    let jump = &vpn.line.jump;
    let configure = |keys: &str| {
        jump.write_config(&format!(
            "[host]\nname = \"jump\"\n\n[[tunnel-watch]]\nname = \"home\"\naddress = \"{NEAR}\"\n\
             ports = [22]\nhost-keys = [\"{keys}\"]\ncheck-every = \"5s\"\nalert-after = \"2s\"\n"
        ));
    };
    let told = |words: &str| {
        let files = jump.spool_files("drop");
        files.iter().any(|(_, text)| text.contains(words))
    };
    configure(&print);
    jump.sh("install -d -o _tunnelwatch -g _tunnelwatch /var/lib/tunnelwatch");
    let mut words = vec!["setpriv", "--reuid=_tunnelwatch", "--regid=_tunnelwatch"];
    words.extend(["--groups=_bastion-drop", "--inh-caps=-all", "--no-new-privs", "--"]);
    words.extend(["/artefacts/tunnelwatch", "--config", CONFIG, "watch"]);
    let watch = jump.spawn(&words);
    jump.wait_syslog("tunnelwatch", "watching", 1);
    pause(Duration::from_secs(8));
    assert_eq!(jump.spool_files("drop"), [], "it is there, and it is the right one");
    vpn.line.inside.sh("pkill -KILL -x openvpn");
    assert!(wait_until(Duration::from_secs(60), || told("nobody answers at its address")));
    vpn.line.inside.sh("/etc/vpn/start");
    let back = wait_until(Duration::from_secs(60), || told("down for"));
    assert!(back, "{:?}", jump.syslog_of("tunnelwatch"));
    // Another host's key: at once.
    configure(&other);
    watch.signal(libc::SIGHUP);
    assert!(wait_until(DEADLINE, || told("another host answers in its place")));
}

#[test]
fn the_example_rule_for_polkit_allows_one_unit_to_one_user() {
    if !has(&["/usr/lib/polkit-1/polkitd", "/usr/bin/pkcheck", "/usr/bin/dbus-daemon"]) {
        return;
    }
    let host = Host::new();
    let rule = include_str!("../../etc/polkit-1/rules.d/50-tunnelwatch.rules");
    host.sh("echo 'polkitd:x:990:990::/nonexistent:/usr/sbin/nologin' >>/etc/passwd
         echo 'messagebus:x:991:991::/nonexistent:/usr/sbin/nologin' >>/etc/passwd
         printf '%s\n' polkitd:x:990: messagebus:x:991: >>/etc/group
         install -d /etc/polkit-1/rules.d /run/dbus
         ln -s /run /var/run; dbus-uuidgen >/etc/machine-id");
    host.write("/etc/polkit-1/rules.d/50-tunnelwatch.rules", rule, 0o644);
    let bus = host.spawn(&["dbus-daemon", "--system", "--nofork", "--nopidfile"]);
    let listens = || host.path("/run/dbus/system_bus_socket").exists();
    assert!(wait_until(DEADLINE, listens), "{}", bus.output());
    let polkitd = host.spawn(&["/usr/lib/polkit-1/polkitd"]);
    let sleeper = |user: &str| {
        host.spawn(&["setpriv", &format!("--reuid={user}"), "--clear-groups", "sleep", "300"])
    };
    let (ours, other) = (sleeper("_tunnelwatch"), sleeper("alice"));
    // As systemd asks it, of the process that is at the other end.
    let may = |who: &Daemon, unit: &str, verb: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{}/status", who.pid()));
        let line = stat.expect("it lives");
        let line = line.lines().find(|line| line.starts_with("NSpid:")).expect("a line").to_owned();
        let pid = line.split_whitespace().last().expect("a number").to_owned();
        let action = "org.freedesktop.systemd1.manage-units";
        let words = ["pkcheck", "-a", action, "-p", &pid, "-d", "unit", unit, "-d", "verb", verb];
        host.run(&words)
    };
    let unit = "openvpn-client@home.service";
    let allowed = || may(&ours, unit, "restart").code == Some(0);
    assert!(
        wait_until(DEADLINE, allowed),
        "{:?}\n{}",
        may(&ours, unit, "restart"),
        polkitd.output()
    );
    assert_eq!(may(&ours, unit, "start").code, Some(0));
    for (who, unit, verb) in [
        (&ours, unit, "stop"),
        (&ours, "ssh.service", "restart"),
        (&ours, "openvpn-client@home.service.d", "restart"),
        (&other, unit, "restart"),
    ] {
        let output = may(who, unit, verb);
        // pkcheck(1): not authorized, or not without a password.
        assert!(matches!(output.code, Some(1 | 2)), "{unit} {verb}: {output:?}");
    }
}

#[test]
fn mistakes_are_refused_with_line_key_and_remedy() {
    let line = Line::new();
    line.inside.write_config(&format!("{EXTERNAL}jump = \"t@h\"\nunit = \"home\"\n"));
    let output = line.tunnelwatch(&["run"]);
    assert_eq!(output.code, Some(78));
    for want in ["line 9: tunnel.1.jump: is of tunnels", "line 10: tunnel.1.unit: \"home\": write"]
    {
        assert!(output.errors().contains(want), "{want}: {}", output.errors());
    }
}
