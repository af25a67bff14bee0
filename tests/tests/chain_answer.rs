//! The jump host's half of the chain: `tunnelwatch answer`, asked over the tunnel's own connection, names who has opened a
//! connection to the tunnel's port; with a real sshd, and without logind, so that all sessions share a control group.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use bastion_tests::host::{DEADLINE, Host, KNOWN, UNKNOWN};
use bastion_tests::process::Daemon;
use bastion_tests::wait::{wait_for, wait_until};
use serde_json::Value;

/// Five people: name, number, and where they come from.
const PEOPLE: [(&str, u32, &str); 5] = [
    ("alice", 2001, UNKNOWN),
    ("bob", 2002, KNOWN),
    ("carol", 2011, "192.0.2.1"),
    ("dave", 2012, UNKNOWN),
    ("erin", 2013, KNOWN),
];

/// The port that the tunnel has.
const PORT: u16 = 2222;

/// Where the records of sessions are.
const SESSIONS: &str = "/run/bastion-sessions";

/// A jump host with a tunnel, by whose connection it can be asked. What the tunnel leads to is its own sshd.
struct Jump {
    host: Host,
    _tunnel: Daemon,
}

impl Jump {
    fn new() -> Self {
        let host = Host::with_sshd();
        for (name, uid, _) in &PEOPLE[2..] {
            host.sh(&format!(
                "echo '{name}:x:{uid}:{uid}::/home/{name}:/bin/bash' >>/etc/passwd
                 echo '{name}:x:{uid}:' >>/etc/group
                 echo '{name}:*:19700:0:99999:7:::' >>/etc/shadow
                 install -d -o {name} -g {name} /home/{name} /home/{name}/.ssh"
            ));
        }
        for (name, ..) in PEOPLE {
            host.sh(&format!(
                "ssh-keygen -q -t ed25519 -N '' -f /root/keys/{name}
                 cat /root/keys/{name}.pub >/home/{name}/.ssh/authorized_keys"
            ));
        }
        host.sh(&format!(
            r#"sed -i '/^tunnel:/s,[^:]*$,/bin/sh,' /etc/passwd
            printf 'restrict,port-forwarding,permitlisten="127.0.0.1:{PORT}",permitopen="127.0.0.1:{PORT}",command="/artefacts/tunnelwatch answer {PORT} 2223" %s' \
                "$(cat /root/.ssh/id_ed25519.pub)" >/home/tunnel/.ssh/authorized_keys"#
        ));
        let forward = format!("127.0.0.1:{PORT}:127.0.0.1:22");
        let words =
            ["ssh", "-F", "/root/ssh_config", "-M", "-S", "/root/ctl", "-N", "-R", &forward];
        let tunnel = host.spawn(&[&words[..], &["tunnel@jump"]].concat());
        assert!(wait_until(DEADLINE, || host.listens(PORT)), "no tunnel: {}", tunnel.output());
        Self { host, _tunnel: tunnel }
    }

    /// What the other end of the tunnel asks for.
    fn ask(&self, words: &str) -> Value {
        let output = self.host.ssh(&["-S", "/root/ctl", "tunnel@jump", words]);
        assert_eq!(output.code, Some(0), "{words}: {output:?}");
        serde_json::from_str(&output.text()).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    fn unmatched(&self, port: u16) -> String {
        let answer = self.ask(&format!("came {port}"));
        answer["unmatched"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Somebody logs in, and on through the tunnel's port; it is open as long as the answer lives.
    fn goes_on(&self, name: &str, from: &str) -> Daemon {
        let (key, user, to) =
            (format!("/root/keys/{name}"), format!("{name}@jump"), format!("127.0.0.1:{PORT}"));
        let words = ["ssh", "-F", "/root/ssh_config", "-S", "none", "-i", &key, "-b", from];
        let client = self.host.spawn(&[&words[..], &["-W", &to, &user]].concat());
        let through = wait_until(DEADLINE, || client.output().starts_with("SSH-2.0"));
        assert!(through, "{name} does not get through: {}", client.output());
        client
    }

    /// The ports from which a user has opened connections to the tunnel's, as the kernel has it.
    fn ports_of(&self, uid: u32) -> BTreeSet<u16> {
        let table =
            fs::read_to_string(format!("/proc/{}/net/tcp", self.host.pid())).expect("a table");
        let wanted = format!("0100007F:{PORT:04X}");
        let of = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_his = words[2] == wanted && words[3] == "01" && words[7] == uid.to_string();
            let (_, port) = words[1].split_once(':').expect("an address");
            is_his.then(|| u16::from_str_radix(port, 16).expect("a port"))
        };
        table.lines().skip(1).filter_map(of).collect()
    }

    /// The one port of a user who has one.
    fn port_of(&self, uid: u32) -> u16 {
        wait_for("the one connection", DEADLINE, || {
            let ports = self.ports_of(uid);
            ports.first().copied().filter(|_| ports.len() == 1)
        })
    }

    fn records(&self) -> usize {
        fs::read_dir(self.host.path(SESSIONS)).expect("the directory").count()
    }
}

#[test]
fn a_hundred_of_a_hundred_are_named_while_five_people_come_and_go() {
    let jump = Jump::new();
    let right = thread::scope(|scope| {
        let threads = PEOPLE.map(|(name, uid, from)| {
            let jump = &jump;
            scope.spawn(move || {
                let key = jump.host.fingerprint(&format!("/root/keys/{name}.pub"));
                let mut right = 0;
                for _ in 0..20 {
                    let client = jump.goes_on(name, from);
                    let port = jump.port_of(uid);
                    let began = Instant::now();
                    let answer = jump.ask(&format!("came {port}"));
                    let took = began.elapsed();
                    let who = &answer["matched"];
                    let is_he = who["user"] == name
                        && who["source"] == from
                        && who["auth"][0]["key"]["fingerprint"] == *key;
                    assert!(is_he, "{name} from {from}: {answer}");
                    assert!(took < Duration::from_secs(10), "{took:?}");
                    right += 1;
                    drop(client);
                    assert!(wait_until(DEADLINE, || jump.ports_of(uid).is_empty()));
                }
                right
            })
        });
        threads.map(|thread| thread.join().expect("a person")).into_iter().sum::<usize>()
    });
    assert_eq!(right, 100);
    // The tunnel's own is left, when all have gone.
    assert!(wait_until(DEADLINE, || jump.records() == 1), "{}", jump.records());
    let logged = jump.host.wait_syslog("tunnelwatch", "came ", 100);
    assert!(logged.iter().all(|line| line.text.contains("user=")), "{logged:#?}");
}

#[test]
fn what_may_be_somebody_elses_is_nobodys() {
    let jump = Jump::new();
    assert_eq!(jump.unmatched(1), "the connection had ended");
    // Two sessions from two places: with one control group for both nobody can say which.
    let one = jump.goes_on("alice", UNKNOWN);
    let port = jump.port_of(2001);
    assert_eq!(jump.ask(&format!("came {port}/{PORT}"))["matched"]["user"], "alice");
    let two = jump.goes_on("alice", KNOWN);
    for port in jump.ports_of(2001) {
        assert_eq!(jump.unmatched(port), "several sessions may have opened it");
    }
    drop(two);
    assert_eq!(jump.ask(&format!("came {}", jump.port_of(2001)))["matched"]["source"], UNKNOWN);
    // Two sessions of which the same is known.
    let same = jump.goes_on("alice", UNKNOWN);
    assert_eq!(jump.ports_of(2001).len(), 2);
    for port in jump.ports_of(2001) {
        assert_eq!(jump.ask(&format!("came {port}"))["matched"]["source"], UNKNOWN);
    }
    drop((one, same));
    // Of somebody who has left something running.
    let key = ["-S", "none", "-i", "/root/keys/bob"];
    let left = "setsid sleep 1000 </dev/null >/dev/null 2>&1 &";
    let _ = jump.host.ssh(&[&key[..], &["bob@jump", left]].concat()).ok();
    let bob = jump.goes_on("bob", KNOWN);
    assert_eq!(jump.unmatched(jump.port_of(2002)), "maybe left over from an earlier session");
    jump.host.sh("pkill -u bob sleep");
    assert_eq!(jump.ask(&format!("came {}", jump.port_of(2002)))["matched"]["user"], "bob");
    drop(bob);
    // The tunnel looks through itself.
    let forward = format!("127.0.0.1:7777:127.0.0.1:{PORT}");
    let words = ["-S", "/root/ctl", "-O", "forward", "-L", &forward, "tunnel@jump"];
    let _ = jump.host.ssh(&words).ok();
    let look = jump.host.spawn(&[
        "bash",
        "-c",
        "exec 3<>/dev/tcp/127.0.0.1/7777; read -r x <&3; echo $x; sleep 1000",
    ]);
    assert!(wait_until(DEADLINE, || look.output().starts_with("SSH-2.0")), "{}", look.output());
    assert_eq!(jump.unmatched(jump.port_of(2003)), "opened by the tunnel itself");
}

#[test]
fn a_record_goes_with_its_session_and_what_a_kill_leaves_is_believed_by_nobody() {
    let jump = Jump::new();
    let before = jump.records();
    let client = jump.goes_on("carol", UNKNOWN);
    let port = jump.port_of(2011);
    assert_eq!(jump.records(), before + 1);
    let list = jump.host.sh(&format!("stat -c '%U:%G %a' {SESSIONS}/*"));
    assert!(list.lines().all(|line| line == "root:root 644"), "{list}");
    // sshd's process with root's rights is killed; the one that has the connection ends by itself, or is held.
    let record = jump.host.sh(&format!("grep -l carol {SESSIONS}/*"));
    let pid = record.trim().rsplit('/').next().expect("a number").to_owned();
    let child = jump.host.sh(&format!("cat /proc/{pid}/task/{pid}/children"));
    jump.host.sh(&format!("kill -STOP {child}; kill -KILL {pid}"));
    assert_eq!(jump.unmatched(port), "maybe left over from an earlier session");
    assert_eq!(jump.host.sh(&format!("grep -l carol {SESSIONS}/*")), record, "it is left");
    jump.host.sh(&format!("kill -KILL {child}"));
    drop(client);
    // Nor is what another process of that number would be: here one that was not there then.
    let text = jump.host.read(record.trim());
    let mut forged: Value = serde_json::from_str(&text).expect("a record");
    let shell = jump.host.spawn(&["sleep", "1000"]);
    forged["pid"] = jump.host.sh("pgrep -x sleep").trim().parse::<u32>().expect("a number").into();
    jump.host.write(&format!("{SESSIONS}/{}", forged["pid"]), forged.to_string(), 0o644);
    let client = jump.goes_on("carol", KNOWN);
    assert_eq!(jump.ask(&format!("came {}", jump.port_of(2011)))["matched"]["source"], KNOWN);
    drop((client, shell));
    // Without the directory, logins are as they were, and nobody is named.
    jump.host.sh(&format!("rm -r {SESSIONS}"));
    let _client = jump.goes_on("dave", UNKNOWN);
    assert_eq!(jump.unmatched(jump.port_of(2012)), "no records of sessions there");
    let complaints = jump.host.syslog_of("pam_bastion");
    assert!(!complaints.iter().any(|line| line.text.contains("no-record")), "{complaints:#?}");
}

#[test]
fn nothing_else_can_be_asked_for() {
    let jump = Jump::new();
    let client = jump.goes_on("alice", UNKNOWN);
    let port = jump.port_of(2001);
    for words in ["id", "came", "came x", "came 1/22", "release 2222", "came 1; id", ""] {
        let output = jump.host.ssh(&["-T", "-S", "/root/ctl", "tunnel@jump", words]);
        assert_eq!((output.code, output.text().as_str()), (Some(64), ""), "{words}: {output:?}");
        assert!(output.errors().contains("can be asked for here"), "{words}: {output:?}");
    }
    // Of a connection to another port nothing is told, whoever asks.
    let other = jump.host.sh(
        "sed -n 's/^ *[0-9]*: [0-9A-F]*:\\([0-9A-F]*\\) [0-9A-F]*:0016 01 .*/\\1/p' /proc/net/tcp",
    );
    for port in other.lines().map(|port| u16::from_str_radix(port, 16).expect("a port")) {
        assert_eq!(jump.unmatched(port), "the connection had ended", "{port}");
    }
    assert_eq!(jump.ask(&format!("came {port}"))["matched"]["user"], "alice");
    // Of several, each has its line, in their order.
    let words = format!("came 1 {port}/{PORT} 2/{PORT} {port}");
    let lines = jump.host.ssh(&["-S", "/root/ctl", "tunnel@jump", &words]).ok().text();
    let named: Vec<bool> = lines.lines().map(|line| line.contains("\"alice\"")).collect();
    assert_eq!(named, [false, true, false, true], "{lines}");
    drop(client);
}
