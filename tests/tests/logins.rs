//! The kinds of login that sshd knows: each is told or logged, and works as without us.
//!
//! The table is that of the measured facts: open_session fires once for each
//! authenticated connection, so for 16 of the 18 kinds; the two that are missed, later
//! sessions on a ControlMaster connection, are missed here too, and documented.

use std::time::Duration;

use bastion_tests::host::{DEADLINE, Host, JUMP6, KNOWN, UNKNOWN, UNKNOWN6};
use bastion_tests::login::{PASSWORD, Stack};
use bastion_tests::process::Output;
use bastion_tests::spool::Alert;
use bastion_tests::wait::wait_until;

/// What a client saw of its session: all that must not differ because of us.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Seen {
    fn from(output: Output) -> Self {
        Self { code: output.code, stdout: output.text(), stderr: output.errors() }
    }
}

/// A kind of login.
struct Kind {
    name: &'static str,
    user: &'static str,
    method: &'static str,
    /// How many sessions PAM opens for it.
    sessions: usize,
    /// Logs in from the given address.
    run: fn(&Host, &str) -> Seen,
    /// What the client must have seen: exit status, and a part of its output.
    sign: (i32, &'static str),
}

const KIND: Kind = Kind {
    name: "",
    user: "alice",
    method: "publickey",
    sessions: 1,
    run: |_, _| unreachable!("each kind has its own"),
    sign: (0, ""),
};

/// Runs each kind three times: without us, from an unknown address, from a known one.
fn check(kinds: &[Kind]) {
    let host = Host::with_sshd();
    let key = host.fingerprint("/root/.ssh/id_ed25519.pub");
    for kind in kinds {
        let name = kind.name;
        host.set_stack(Stack::Bare);
        let mark = host.mark();
        let without = (kind.run)(&host, UNKNOWN);
        let (code, text) = kind.sign;
        assert_eq!(without.code, Some(code), "{name}: the control run fails: {without:?}");
        assert!(without.stdout.contains(text), "{name}: the control run fails: {without:?}");
        assert_eq!(host.alerts_since(&mark).len(), 0, "{name}: the control run is no control");

        host.set_stack(Stack::Bastion);
        let mark = host.mark();
        assert_eq!((kind.run)(&host, UNKNOWN), without, "{name}: not as without us");
        host.wait_ended_at_least(&mark, kind.sessions);
        assert_eq!(host.wait_ended(&mark), kind.sessions, "{name}: ends logged");
        let alerts = host.alerts_since(&mark);
        assert_eq!(alerts.len(), kind.sessions, "{name}: {alerts:#?}");
        assert_eq!(host.lines_since(&mark, "login").len(), kind.sessions, "{name}: lines");
        for alert in &alerts {
            check_alert(alert, kind, &key);
        }

        let mark = host.mark();
        assert_eq!((kind.run)(&host, KNOWN), without, "{name}: not as without us, known");
        host.wait_ended_at_least(&mark, kind.sessions);
        assert_eq!(host.wait_ended(&mark), kind.sessions, "{name}: ends logged, known");
        assert_eq!(host.alerts_since(&mark).len(), 0, "{name}: told, though known good");
        let lines = host.lines_since(&mark, "login");
        assert_eq!(lines.len(), kind.sessions, "{name}: {lines:#?}");
        for line in lines {
            assert_eq!(line.field("verdict").as_deref(), Some("known-good"), "{name}: {line:?}");
            assert_eq!(line.field("from").as_deref(), Some(KNOWN), "{name}: {line:?}");
        }
    }
}

fn check_alert(alert: &Alert, kind: &Kind, key: &str) {
    let name = kind.name;
    assert_eq!(alert.json["version"], 1, "{name}: {alert:#?}");
    assert_eq!(alert.json["host"], "jump", "{name}: {alert:#?}");
    assert_eq!(alert.json["severity"], "warning", "{name}: {alert:#?}");
    assert_eq!(alert.login("kind"), "login", "{name}");
    assert_eq!(alert.login("user"), kind.user, "{name}");
    assert_eq!(alert.login("service"), "sshd", "{name}");
    assert_eq!(alert.login("source"), UNKNOWN, "{name}");
    assert_eq!(alert.method(), kind.method, "{name}");
    if kind.method == "publickey" {
        assert_eq!(alert.fingerprint(), key, "{name}");
    }
    let id = alert.json["id"].as_str().unwrap_or_default();
    assert!(alert.name.ends_with(&format!("-login-{id}.json")), "{name}: {}", alert.name);
    // root wrote it, the sender's group may read it, nobody else.
    assert_eq!(alert.owner, (0, 2902, 0o640), "{name}");
}

fn ssh(host: &Host, from: &str, args: &[&str], input: &str) -> Seen {
    host.ssh_with(DEADLINE, &[&["-b", from], args].concat(), input.as_bytes()).into()
}

/// `ssh -tt`: the order of echo and prompt is the kernel's, so only the sign is kept.
fn terminal(host: &Host, from: &str, args: &[&str]) -> Seen {
    let input = "echo mark$((40 + 2)); exit 3\n";
    let mut seen = ssh(host, from, args, input);
    if seen.stdout.contains("mark42") {
        seen.stdout = "mark42".into();
    }
    seen
}

fn transfer(host: &Host, from: &str, words: &[&str], input: &str) -> Seen {
    let bind = format!("BindAddress={from}");
    let mut all = vec![words[0], "-F", "/root/ssh_config", "-o", &bind];
    all.extend(&words[1..]);
    host.run_with(DEADLINE, &all, input.as_bytes()).into()
}

/// A client that stays connected (`-N`) until `done` holds, then is ended.
fn stay(host: &Host, from: &str, args: &[&str], mut done: impl FnMut() -> bool) -> Seen {
    let mut client = vec!["ssh", "-F", "/root/ssh_config", "-b", from, "-N"];
    client.extend(args);
    let mut client = host.spawn(&client);
    let worked = wait_until(DEADLINE, || done() || !client.running());
    let alive = client.running();
    client.kill();
    let stdout = format!("worked {worked}, alive {alive}");
    Seen { code: Some(0), stdout, stderr: String::new() }
}

/// `ssh -N`: works when sshd has accepted it and the client still runs.
fn only_connect(host: &Host, from: &str) -> Seen {
    let accepted = || {
        let log = host.sshd().map(|sshd| sshd.output()).unwrap_or_default();
        log.matches("User child is on pid").count()
    };
    let before = accepted();
    stay(host, from, &["alice@jump"], || accepted() > before)
}

/// `ssh -N -R`: works when the forward leads to an SSH banner.
fn reverse(host: &Host, from: &str, user: &str) -> Seen {
    let forward = ["-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:9022:192.0.2.1:22", user];
    let seen =
        stay(host, from, &forward, || host.listens(9022) && banner(host).starts_with("SSH-2.0"));
    assert!(wait_until(DEADLINE, || !host.listens(9022)), "the forward outlives its client");
    seen
}

fn banner(host: &Host) -> String {
    host.run(&["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9022; head -c 7 <&3"]).text()
}

/// A master connection, and with it open, a second session that runs `args`.
fn master(host: &Host, from: &str, second: Option<&[&str]>) -> Seen {
    let control = host.path("/root/control");
    let mut seen = None;
    let seen_first = stay(host, from, &["-M", "-S", "/root/control", "alice@jump"], || {
        if !control.exists() {
            return false;
        }
        if let Some(args) = second {
            seen.get_or_insert_with(|| terminal(host, from, args));
        }
        true
    });
    assert!(seen_first.stdout.contains("alive true"), "{seen_first:?}");
    let _ = std::fs::remove_file(control);
    seen.unwrap_or(seen_first)
}

#[test]
fn shells() {
    check(&[
        Kind {
            name: "interactive shell",
            run: |host, from| terminal(host, from, &["-tt", "alice@jump"]),
            sign: (3, "mark42"),
            ..KIND
        },
        Kind {
            name: "shell without a terminal",
            run: |host, from| ssh(host, from, &["-T", "alice@jump"], "id -un; exit 4\n"),
            sign: (4, "alice\n"),
            ..KIND
        },
        Kind {
            name: "bash --norc on a terminal",
            run: |host, from| terminal(host, from, &["-tt", "alice@jump", "bash", "--norc"]),
            sign: (3, "mark42"),
            ..KIND
        },
    ]);
}

#[test]
fn commands() {
    check(&[
        Kind {
            name: "command",
            run: |host, from| {
                ssh(
                    host,
                    from,
                    &["alice@jump", "cat; id; env | grep -c SSH_AUTH_INFO; exit 5"],
                    "in",
                )
            },
            sign: (5, "inuid=2001(alice)"),
            ..KIND
        },
        Kind {
            name: "forced command",
            user: "forced",
            run: |host, from| ssh(host, from, &["forced@jump", "id"], ""),
            sign: (0, "forced to this\n"),
            ..KIND
        },
        Kind {
            name: "root",
            user: "root",
            run: |host, from| ssh(host, from, &["root@jump", "id -u; umask; pwd; trap"], ""),
            sign: (0, "0\n0022\n/root\n"),
            ..KIND
        },
    ]);
}

#[test]
fn file_transfers() {
    check(&[
        Kind {
            name: "scp",
            run: |host, from| {
                let seen = transfer(host, from, &["scp", "/etc/passwd", "alice@jump:copy"], "");
                assert_eq!(host.read("/home/alice/copy"), host.read("/etc/passwd"));
                seen
            },
            ..KIND
        },
        Kind {
            name: "scp -O",
            run: |host, from| {
                let seen =
                    transfer(host, from, &["scp", "-O", "/etc/group", "alice@jump:copy"], "");
                assert_eq!(host.read("/home/alice/copy"), host.read("/etc/group"));
                seen
            },
            ..KIND
        },
        Kind {
            name: "sftp",
            run: |host, from| {
                transfer(host, from, &["sftp", "-b", "-", "alice@jump"], "put /etc/hosts h\nls\n")
            },
            sign: (0, "h"),
            ..KIND
        },
        Kind {
            name: "internal-sftp in a chroot",
            user: "dropbox",
            run: |host, from| {
                let batch = "put /etc/hosts upload/h\nls\n";
                transfer(host, from, &["sftp", "-b", "-", "dropbox@jump"], batch)
            },
            sign: (0, "upload"),
            ..KIND
        },
    ]);
}

#[test]
fn forwards() {
    check(&[
        Kind { name: "-N", run: only_connect, sign: (0, "worked true, alive true"), ..KIND },
        Kind {
            name: "-N -R",
            run: |host, from| reverse(host, from, "alice@jump"),
            sign: (0, "worked true, alive true"),
            ..KIND
        },
        Kind {
            name: "-W, as ProxyJump does",
            run: |host, from| ssh(host, from, &["-W", "192.0.2.1:22", "alice@jump"], ""),
            sign: (0, "SSH-2.0"),
            ..KIND
        },
    ]);
}

#[test]
fn control_master() {
    check(&[
        Kind {
            name: "first session of a ControlMaster connection",
            run: |host, from| master(host, from, None),
            sign: (0, "worked true, alive true"),
            ..KIND
        },
        // PAM opens one session a connection: these two runs have a master and a second
        // session each, and one alert each.
        Kind {
            name: "second session on it, a command",
            run: |host, from| {
                master(
                    host,
                    from,
                    Some(&["-S", "/root/control", "alice@jump", "echo mark42; exit 3"]),
                )
            },
            sign: (3, "mark42"),
            ..KIND
        },
        Kind {
            name: "second session on it, interactive",
            run: |host, from| {
                master(host, from, Some(&["-tt", "-S", "/root/control", "alice@jump"]))
            },
            sign: (3, "mark42"),
            ..KIND
        },
    ]);
}

#[test]
fn accounts_without_a_shell() {
    check(&[
        Kind {
            name: "nologin shell",
            user: "tunnel",
            run: |host, from| ssh(host, from, &["tunnel@jump"], ""),
            sign: (1, "not available"),
            ..KIND
        },
        Kind {
            name: "nologin shell, -N -R",
            user: "tunnel",
            run: |host, from| reverse(host, from, "tunnel@jump"),
            sign: (0, "worked true, alive true"),
            ..KIND
        },
    ]);
}

#[test]
fn passwords() {
    check(&[
        Kind {
            name: "password",
            user: "bob",
            method: "password",
            run: |host, from| {
                let way = "PreferredAuthentications=password";
                host.ssh_password(PASSWORD, &["-b", from, "-o", way, "bob@jump", "id -un"]).into()
            },
            sign: (0, "bob\n"),
            ..KIND
        },
        Kind {
            name: "keyboard-interactive",
            user: "bob",
            method: "keyboard-interactive/pam",
            run: |host, from| {
                let way = "PreferredAuthentications=keyboard-interactive";
                host.ssh_password(PASSWORD, &["-b", from, "-o", way, "bob@jump", "id -un"]).into()
            },
            sign: (0, "bob\n"),
            ..KIND
        },
    ]);
}

#[test]
fn a_certificate_says_who_it_was_given_to() {
    let host = Host::with_sshd();
    let mark = host.mark();
    let _ = host.ssh(&["-b", UNKNOWN, "-i", "/root/keys/certy", "certy@jump", "true"]).ok();
    host.wait_ended_at_least(&mark, 1);
    let alerts = host.alerts_since(&mark);
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    // sshd's own log gives the fingerprint of the certified key.
    assert_eq!(alerts[0].fingerprint(), host.fingerprint("/root/keys/certy.pub"));
    let certificate = &alerts[0].json["what"]["auth"][0]["key"]["certificate"];
    assert_eq!(certificate["key_id"], "certy id 7", "{alerts:#?}");
    assert_eq!(certificate["serial"], 4711, "{alerts:#?}");
    assert_eq!(certificate["ca"], host.fingerprint("/etc/ssh/user_ca.pub"), "{alerts:#?}");
}

#[test]
fn every_type_of_key_has_openssh_s_own_fingerprint() {
    let host = Host::with_sshd();
    for kind in ["rsa", "ecdsa"] {
        let file = format!("/root/keys/{kind}");
        host.sh(&format!(
            "ssh-keygen -q -t {kind} -N '' -f {file}; cat {file}.pub >>/home/bob/.ssh/authorized_keys"
        ));
        let mark = host.mark();
        let _ = host.ssh(&["-b", UNKNOWN, "-i", &file, "bob@jump", "true"]).ok();
        host.wait_ended_at_least(&mark, 1);
        let alerts = host.alerts_since(&mark);
        assert_eq!(alerts.len(), 1, "{kind}");
        assert_eq!(alerts[0].fingerprint(), host.fingerprint(&format!("{file}.pub")), "{kind}");
    }
}

#[test]
fn two_factors_are_both_told() {
    let mut host = Host::with_sshd();
    let config =
        format!("AuthenticationMethods publickey,password\n{}", host.read("/etc/ssh/sshd_config"));
    host.write("/etc/ssh/sshd_config", config, 0o644);
    host.restart_sshd();
    let mark = host.mark();
    let args = ["-b", UNKNOWN, "-o", "PubkeyAuthentication=yes", "bob@jump", "true"];
    host.ssh_password(PASSWORD, &args).ok();
    host.wait_ended_at_least(&mark, 1);
    let alerts = host.alerts_since(&mark);
    assert_eq!(alerts.len(), 1);
    let methods: Vec<_> = alerts[0].json["what"]["auth"]
        .as_array()
        .expect("a list of methods")
        .iter()
        .map(|factor| factor["method"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(methods, ["publickey", "password"]);
}

#[test]
fn a_refused_key_is_no_login() {
    let host = Host::with_sshd();
    let mark = host.mark();
    let refused = host.ssh(&["-b", UNKNOWN, "-i", "/root/keys/stranger", "alice@jump", "true"]);
    assert_eq!(refused.code, Some(255), "{refused:?}");
    assert_eq!(host.alerts_since(&mark).len(), 0);
    assert_eq!(host.lines_since(&mark, "login").len(), 0);
}

#[test]
fn an_ipv6_client_is_told_by_its_address() {
    let host = Host::with_sshd();
    let mark = host.mark();
    let args = ["-b", UNKNOWN6, "-l", "alice", JUMP6, "true"];
    host.ssh(&args).ok();
    host.wait_ended_at_least(&mark, 1);
    let alerts = host.alerts_since(&mark);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].login("source"), UNKNOWN6);
}

#[test]
fn loopback_is_told_as_the_tunnel_even_with_a_wide_rule() {
    let host = Host::with_sshd();
    host.write_config("[login]\n[[login.allow]]\nusers = [\"alice\"]\n");
    for address in ["127.0.0.1", "::1"] {
        let mark = host.mark();
        host.ssh(&["-l", "alice", address, "true"]).ok();
        host.wait_ended_at_least(&mark, 1);
        let alerts = host.alerts_since(&mark);
        assert_eq!(alerts.len(), 1, "{address}");
        assert_eq!(alerts[0].login("source"), address);
        let lines = host.lines_since(&mark, "login");
        assert_eq!(lines[0].field("via").as_deref(), Some("tunnel"), "{lines:?}");
    }
}

#[test]
fn the_end_is_logged_with_its_length() {
    let host = Host::with_sshd();
    let mark = host.mark();
    host.ssh(&["-b", UNKNOWN, "alice@jump", "sleep 2"]).ok();
    host.wait_ended_at_least(&mark, 1);
    let ends = host.lines_since(&mark, "logout");
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!(ends[0].field("user").as_deref(), Some("alice"));
    let seconds: u64 = ends[0].field("seconds").and_then(|s| s.parse().ok()).expect("seconds");
    assert!((2..20).contains(&seconds), "{ends:?}");
    assert!(Duration::from_secs(seconds) < DEADLINE);
}
