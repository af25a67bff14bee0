//! The jump host's half of the chain where sessions have control groups of their own, by pam_systemd: one person who is
//! logged in twice is told apart. `./dev test --package`.

use std::collections::BTreeSet;
use std::fs;

use bastion_tests::boot::machine::{ADDRESS, Machine, OFFICE, Release, STRANGER};
use bastion_tests::boot::package::{ALERT, Server, debs};
use bastion_tests::host::DEADLINE;
use bastion_tests::process::Daemon;
use bastion_tests::wait::{wait_for, wait_until};
use serde_json::Value;

/// The port that the tunnel has.
const PORT: u16 = 2222;

/// What its file has beside logins and a channel.
const WATCH: &str = "\n[[tunnel-watch]]\nname = \"home\"\nports = [2222]\n";

/// Opens a connection to it, and keeps it.
const OPENS: &str = "exec 3<>/dev/tcp/127.0.0.1/2222; read -r banner <&3; sleep 1000";

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn two_sessions_of_one_user_are_told_apart_on_debian_12() {
    two_sessions_of_one_user_are_told_apart(Release::Bookworm);
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn two_sessions_of_one_user_are_told_apart_on_debian_13() {
    two_sessions_of_one_user_are_told_apart(Release::Trixie);
}

/// A jump host of the package, with a tunnel that leads to itself.
struct Jump {
    server: Server,
    _tunnel: Daemon,
}

impl Jump {
    fn new(release: Release) -> Self {
        let server = Server::set_up(Machine::boot(release, "jump"), &debs().0, WATCH);
        let machine = &server.machine;
        let key = machine.read_client("id.pub");
        machine.sh(&format!(
            r#"useradd --create-home --shell /bin/sh tunnel
            for user in tunnel root; do
                install -d -m 700 -o $user ~root/.ssh ~tunnel/.ssh
            done
            chown tunnel: ~tunnel/.ssh
            echo '{key}' >>~root/.ssh/authorized_keys
            echo 'restrict,port-forwarding,permitlisten="127.0.0.1:{PORT}",permitopen="127.0.0.1:{PORT}",command="/usr/bin/tunnelwatch answer --release {PORT}" {key}' >~tunnel/.ssh/authorized_keys"#
        ));
        // The client's configuration is there once it was used.
        server.logs_in();
        let forward = format!("127.0.0.1:{PORT}:127.0.0.1:22");
        let tunnel =
            Self::client(machine, &["-M", "-S", &control(machine), "-N", "-R", &forward], "tunnel");
        let listens =
            || machine.sh("cat /proc/net/tcp").contains(&format!(":{PORT:04X} 00000000:0000 0A"));
        assert!(wait_until(DEADLINE, listens), "no tunnel: {}", tunnel.output());
        machine.sh("systemctl restart tunnelwatch-watch");
        server.wait_active("tunnelwatch-watch");
        Self { server, _tunnel: tunnel }
    }

    fn client(machine: &Machine, words: &[&str], user: &str) -> Daemon {
        let (config, target) = (machine.seen_by_client("config"), format!("{user}@{ADDRESS}"));
        machine.spawn_outside(&[&["ssh", "-F", &config][..], words, &[&target]].concat())
    }

    /// Somebody logs in, and on through the tunnel's port: the connection's port, and what keeps it open.
    fn goes_on(&self, user: &str, from: &str) -> (u16, Daemon) {
        let before = self.ports();
        let to = format!("127.0.0.1:{PORT}");
        let client = Self::client(&self.server.machine, &["-b", from, "-W", &to], user);
        let through = wait_until(DEADLINE, || client.output().starts_with("SSH-2.0"));
        assert!(through, "{user} does not get through: {}", client.output());
        (self.new_port(&before), client)
    }

    fn new_port(&self, before: &BTreeSet<u16>) -> u16 {
        wait_for("a connection", DEADLINE, || self.ports().difference(before).next().copied())
    }

    /// The ports from which there are connections to the tunnel's.
    fn ports(&self) -> BTreeSet<u16> {
        let path = format!("/proc/{}/net/tcp", self.server.machine.leader());
        let table = fs::read_to_string(path).expect("a table");
        let wanted = format!("0100007F:{PORT:04X}");
        let of = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (_, port) = words[1].split_once(':').expect("an address");
            let is_open = words[2] == wanted && words[3] == "01";
            is_open.then(|| u16::from_str_radix(port, 16).expect("a port"))
        };
        table.lines().skip(1).filter_map(of).collect()
    }

    /// What the other end of the tunnel hears about the connection from this port.
    fn came(&self, port: u16) -> Value {
        let machine = &self.server.machine;
        let (target, words) = (format!("tunnel@{ADDRESS}"), format!("came {port}/{PORT}"));
        let output = machine.ssh(&["-S", &control(machine), &target, &words]);
        assert_eq!(output.code, Some(0), "{output:?}");
        serde_json::from_str(&output.text()).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    /// What is left running of somebody's session opens a connection: its port.
    fn leaves(&self, from: &str, script: &str) -> u16 {
        let before = self.ports();
        let target = format!("alice@{ADDRESS}");
        let _ = self.server.machine.ssh(&["-b", from, &target, script]).ok();
        self.new_port(&before)
    }
}

fn control(machine: &Machine) -> String {
    machine.seen_by_client("ctl")
}

fn two_sessions_of_one_user_are_told_apart(release: Release) {
    let jump = Jump::new(release);
    let machine = &jump.server.machine;
    let (one, first) = jump.goes_on("alice", STRANGER);
    let (two, second) = jump.goes_on("alice", OFFICE);
    let key = machine.sh("ssh-keygen -lf ~alice/.ssh/authorized_keys");
    let key = key.split(' ').nth(1).expect("bits fingerprint comment (type)");
    for (port, from) in [(one, STRANGER), (two, OFFICE), (one, STRANGER)] {
        let answer = jump.came(port);
        let who = &answer["matched"];
        assert_eq!((&who["user"], &who["source"]), (&"alice".into(), &from.into()), "{answer}");
        assert_eq!(who["auth"][0]["key"]["fingerprint"], key, "{answer}");
    }
    // The jump host's own alert says where she went; the office is known good and raises none.
    let told = || -> Vec<String> {
        let all = jump.server.provider.accepted();
        let bodies = all.iter().map(|record| record.body().to_owned());
        bodies.filter(|body| body.contains("went on")).collect()
    };
    assert!(wait_until(ALERT, || !told().is_empty()), "{:#?}", jump.server.provider.accepted());
    let want = format!("jump: login alice from {STRANGER}, key ");
    assert!(told().len() == 1 && told()[0].starts_with(&want), "{:#?}", told());
    assert!(told()[0].contains(", went on to home, "), "{:#?}", told());
    // root's session is root's, though sshd itself is as well.
    let (port, _root) = jump.goes_on("root", STRANGER);
    assert_eq!(jump.came(port)["matched"]["user"], "root");
    // What a session has left, and what systemd runs for a user, is of no session; both of her sessions go on.
    let outside = Value::from("opened outside of a recorded session");
    let left =
        jump.leaves(OFFICE, &format!("setsid bash -c '{OPENS}' </dev/null >/dev/null 2>&1 &"));
    assert_eq!(jump.came(left)["unmatched"], outside);
    let unit = jump.leaves(OFFICE, &format!("systemd-run --user --quiet bash -c '{OPENS}'"));
    assert_eq!(jump.came(unit)["unmatched"], outside);
    assert_eq!(jump.came(two)["matched"]["source"], OFFICE);
    drop((first, second));
    // The tunnel looks through itself.
    let before = jump.ports();
    let forward = format!("127.0.0.1:7777:127.0.0.1:{PORT}");
    let target = format!("tunnel@{ADDRESS}");
    let _ = machine.ssh(&["-S", &control(machine), "-O", "forward", "-L", &forward, &target]).ok();
    let _look = machine.spawn_outside(&["bash", "-c", &OPENS.replace("2222", "7777")]);
    let look = jump.new_port(&before);
    assert_eq!(jump.came(look)["unmatched"], "opened by the tunnel itself");
    // Records go with their sessions; root's and the tunnel's are left.
    let records = || machine.sh("ls /run/bastion-sessions").lines().count();
    assert!(
        wait_until(DEADLINE, || records() == 2),
        "{}",
        machine.sh("head /run/bastion-sessions/*")
    );
    // After a reboot the directory is there anew.
    machine.reboot();
    assert_eq!(machine.sh("stat -c '%U:%G %a' /run/bastion-sessions").trim(), "root:root 755");
}
