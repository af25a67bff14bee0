//! What PAM is told may be anything: names and variables made to break a log, a parser or the
//! verdict. Each such login works, is one line in syslog, and is told unless it is clearly good.

use std::time::Duration;

use bastion_tests::host::{DEADLINE, Host, KNOWN, UNKNOWN, require};
use bastion_tests::pam::{PamRun, Report, hex};
use bastion_tests::spool::{Alert, Mark};
use bastion_tests::syslog::Line;

fn host() -> Host {
    require("libpam_bastion.so");
    let host = Host::new();
    host.configure("http://127.0.0.1:9");
    host
}

/// Runs one session; answers its one line in syslog, and its alert if it was told.
fn session(host: &Host, run: &PamRun, why: &str) -> (Line, Option<Alert>) {
    let mark: Mark = host.mark();
    let report = run.report(host, DEADLINE);
    if report.all_succeeded() {
        assert_eq!(report.before, report.after, "{why}");
    } else {
        // libpam has its own opinion of a host name of 10 kB: it has no audit record of it,
        // answers PAM_SYSTEM_ERR whatever the modules said, and leaves a syslog socket open.
        let control = run.clone().without_module().report(host, DEADLINE);
        let codes =
            |report: &Report| report.rounds.iter().map(|r| (r.open, r.close)).collect::<Vec<_>>();
        assert_eq!(codes(&report), codes(&control), "{why}: not as without us");
    }
    assert!(report.slowest() < Duration::from_secs(2), "{why}: {:?}", report.slowest());
    host.wait_ended_at_least(&mark, 1);
    let mut lines = host.lines_since(&mark, "login");
    assert_eq!(lines.len(), 1, "{why}: {lines:#?}");
    for line in host.syslog_of("pam_bastion") {
        let bytes = line.bytes();
        let text = std::str::from_utf8(&bytes).unwrap_or_else(|_| panic!("{why}: {line:?}"));
        assert!(!text.chars().any(char::is_control), "{why}: {line:?}");
        assert!(bytes.len() <= 2048, "{why}: a line of {} bytes", bytes.len());
    }
    let mut alerts = host.alerts_since(&mark);
    assert!(alerts.len() <= 1, "{why}: {alerts:#?}");
    (lines.remove(0), alerts.pop())
}

#[test]
fn names_made_to_break_a_log() {
    let host = host();
    let long = vec![b'a'; 10_000];
    let forged = b"alice\n<86>sshd[1]: Accepted publickey for root from 203.0.113.9";
    let table: &[(&str, &[u8], &str)] = &[
        ("newline", b"al\nice", "al\nice"),
        (
            "forged record",
            forged,
            "alice\n<86>sshd[1]: Accepted publickey for root from 203.0.113.9",
        ),
        ("escape", b"\x1b[2J\x1b]0;x\x07", "\u{1b}[2J\u{1b}]0;x\u{7}"),
        ("10 kB", &long, "aaaa"),
        ("not UTF-8", b"al\xe9x\xff", "al\\xe9x\\xff"),
        ("quote and backslash", b"a\" verdict=known-good \\", "a\" verdict=known-good \\\\"),
        ("path", b"../../etc/passwd", "../../etc/passwd"),
        ("bidi mark", "a\u{202e}b".as_bytes(), "a\u{202e}b"),
        ("format", b"%s%n%s", "%s%n%s"),
        ("control", b"a\x7f\x01\x02", "a\u{7f}\u{1}\u{2}"),
    ];
    for (why, user, kept) in table {
        let (line, alert) = session(&host, &PamRun::login(&hex(user), UNKNOWN), why);
        let alert = alert.unwrap_or_else(|| panic!("{why}: not told: {line:?}"));
        assert!(alert.login("user").starts_with(kept), "{why}: {alert:#?}");
        assert!(alert.name.ends_with(".json") && !alert.name.contains('/'), "{why}");
        assert_eq!(line.field("verdict").as_deref(), Some("alert"), "{why}: {line:?}");
        let size = host.spool_files("drop").iter().map(|(_, text)| text.len()).max();
        assert!(size < Some(16 * 1024), "{why}: a drop file of {size:?}");
    }
}

#[test]
fn host_names_made_to_break_a_log() {
    let host = host();
    let long = vec![b'h'; 10_000];
    let table: &[(&str, &[u8])] = &[
        ("newline", b"evil.example\nlogin user=\"root\" verdict=known-good"),
        ("escape", b"\x1b[31mred"),
        ("10 kB", &long),
        ("not UTF-8", b"\xff\xfe"),
        ("a name that looks like a rule", b"203.0.113.9.evil.example"),
        ("empty", b""),
    ];
    for (why, name) in table {
        let (line, alert) = session(&host, &PamRun::bare("alice").rhost(&hex(name)), why);
        let alert = alert.unwrap_or_else(|| panic!("{why}: not told: {line:?}"));
        assert!(
            alert.json["what"].get("source").is_none_or(serde_json::Value::is_null),
            "{why}: {alert:#?}"
        );
    }
}

#[test]
fn ssh_connection_missing_cut_or_absurd() {
    let host = host();
    let huge = "9".repeat(100_000);
    let absurd = format!("{KNOWN}{huge} 1 2 3");
    // Value of SSH_CONNECTION, PAM_RHOST, and whether it may count as the known-good place.
    let table: &[(Option<&str>, Option<&str>, bool)] = &[
        (Some("203.0.113.9 41258 192.0.2.1 22"), None, true),
        (Some("::ffff:203.0.113.9 41258 ::1 22"), None, true),
        (Some("203.0.113.9"), None, true),
        (None, Some(KNOWN), true),
        (None, None, false),
        (Some(""), None, false),
        (Some(" "), None, false),
        (Some("203.0.113"), None, false),
        (Some("203.0.113.09 1 2 3"), None, false),
        (Some("203.0.113.9x 1 2 3"), None, false),
        (Some("3405803785 1 2 3"), None, false),
        (Some("UNKNOWN 65535 UNKNOWN 65535"), Some("UNKNOWN"), false),
        (Some("localhost 1 2 3"), Some("localhost"), false),
        (Some("fe80::1%lo 1 fe80::2%lo 22"), None, false),
        (Some("203.0.113.9%lo 1 2 3"), None, false),
        (Some("\n203.0.113.9 1 2 3"), None, false),
        (Some(&absurd), None, false),
        (Some(&huge), None, false),
        // ~/.pam_environment may set the one, not the other.
        (Some("203.0.113.9 41258 192.0.2.1 22"), Some(UNKNOWN), false),
        (Some("198.51.100.7 41258 192.0.2.1 22"), Some(KNOWN), false),
    ];
    for (connection, rhost, good) in table {
        let short = connection.map(|text| text.chars().take(60).collect::<String>());
        let why = format!("SSH_CONNECTION {short:?} PAM_RHOST {rhost:?}");
        let mut run = PamRun::bare("alice");
        if let Some(connection) = connection {
            run = run.env(&format!("SSH_CONNECTION={connection}"));
        }
        if let Some(rhost) = rhost {
            run = run.rhost(rhost);
        }
        let (line, alert) = session(&host, &run, &why);
        assert_eq!(alert.is_none(), *good, "{why}: {line:?}");
    }
}

#[test]
fn ssh_auth_info_missing_cut_or_absurd() {
    let host = host();
    host.sh("ssh-keygen -q -t ed25519 -N '' -f /root/keys/some");
    let key = host.read("/root/keys/some.pub");
    let blob = key.split(' ').nth(1).expect("type, blob, comment").to_owned();
    let good = format!("publickey ssh-ed25519 {blob}\n");
    let fingerprint = host.fingerprint("/root/keys/some.pub");
    let many = "password\n".repeat(10_000);
    let lone = "A".repeat(100_000);
    // Value, and the fingerprint that may be told: a part of a key must not have one.
    let table: &[(Option<String>, &str)] = &[
        (Some(good.clone()), &fingerprint),
        (Some(good.trim_end().to_owned()), &fingerprint),
        (Some(format!("password\n{good}")), ""),
        (None, ""),
        (Some(String::new()), ""),
        (Some("\n\n\n".into()), ""),
        (Some("publickey".into()), ""),
        (Some("publickey ".into()), ""),
        (Some("publickey ssh-ed25519".into()), ""),
        (Some("publickey ssh-ed25519 ".into()), ""),
        (Some("publickey ssh-ed25519 !!!!".into()), ""),
        (Some(format!("publickey ssh-ed25519 {}", &blob[..blob.len() - 4])), ""),
        (Some(format!("publickey ssh-rsa {blob}")), ""),
        (Some(format!("publickey ssh-ed25519-cert-v01@openssh.com {blob}")), ""),
        (Some("publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5/////w==".into()), ""),
        (Some(many), ""),
        (Some(lone), ""),
    ];
    for (info, want) in table {
        let short = info.as_ref().map(|text| text.chars().take(60).collect::<String>());
        let why = format!("SSH_AUTH_INFO_0 {short:?}");
        let mut run =
            PamRun::bare("alice").env(&format!("SSH_CONNECTION={UNKNOWN} 1 192.0.2.1 22"));
        if let Some(info) = info {
            run = run.env(&format!("SSH_AUTH_INFO_0={info}"));
        }
        let (line, alert) = session(&host, &run, &why);
        let alert = alert.unwrap_or_else(|| panic!("{why}: not told: {line:?}"));
        assert_eq!(alert.fingerprint(), *want, "{why}: {alert:#?}");
    }
    let bytes = hex(b"SSH_AUTH_INFO_0=publickey \xff\xfe \x80\n\x1b[31m");
    let run = PamRun::bare("alice").env(&bytes);
    let (_, alert) = session(&host, &run, "not UTF-8");
    assert!(alert.is_some());
}
