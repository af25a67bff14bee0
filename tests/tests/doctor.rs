//! `bastion check`, the doctor of the whole host: nothing where nothing is wrong, each fault with its id and
//! what to do, and that this mends it; beside programs of the system that hang, flood or are not there.

use std::time::{Duration, Instant};

use bastion_tests::disk;
use bastion_tests::doctor::{BASTION, NOTES, check, findings, ids, in_order, prepared, program};
use bastion_tests::host::{CONFIG, DEADLINE, Host, SPOOL};
use bastion_tests::rows::each_row;
use bastion_tests::sender::TOKEN_FILE;
use bastion_tests::wait::wait_until;

#[test]
fn check_finds_nothing_where_nothing_is_wrong() {
    let (host, _sender) = in_order();
    let _sshd = host.spawn(&["/usr/sbin/sshd", "-D"]);
    assert!(wait_until(DEADLINE, || host.listens(22)));
    let before = host.sh("find /etc /var/spool /srv -newer /etc/ssh/sshd_config -type f | sort");
    let output = check(&host, &[]).ok();
    let text = output.text();
    assert!(text.starts_with("OK: nothing is wrong, 3 notes\n"), "{text}");
    assert!(NOTES.iter().all(|id| text.contains(&format!("[{id}]"))), "{text}");
    assert_eq!(output.errors(), "");
    assert_eq!(ids(&findings(&host, &[])), [""; 0]);
    assert!(output.took < Duration::from_secs(10), "{output:?}");
    let after = host.sh("find /etc /var/spool /srv -newer /etc/ssh/sshd_config -type f | sort");
    assert_eq!(before, after, "it changes nothing");
}

/// A fault: what makes it, what is found, a part of what is told, a part of the remedy, and whether the remedy is
/// a command that mends it.
type Row = (&'static str, &'static str, &'static str, &'static str, bool);

#[test]
fn check_tells_each_fault_and_what_to_do() {
    let table: &[Row] = &[
        (
            "sed -i 's/^from = .*/from = \"0\"/' CONFIG",
            "critical config",
            "line ",
            "+15550101",
            false,
        ),
        ("echo 'x = 1' >>CONFIG", "critical config", "line ", "there are:", false),
        ("echo '[nosuch]' >>CONFIG", "critical config", "nosuch", "there are: ", false),
        (
            "echo '[check]\nopen-ports = [1]' >>CONFIG",
            "warning config",
            "check.open-ports",
            "",
            false,
        ),
        ("rm CONFIG", "critical config", "No such file", "put it there", false),
        ("chmod 666 CONFIG", "critical config", "0666", "chmod go-w", false),
        ("chown alice CONFIG", "critical config", "uid 2001", "chown root", false),
        ("chmod 640 CONFIG", "critical config-mode", "may not read it", "chmod 0644", true),
        (
            "sed -i '/notify/,$d' CONFIG",
            "critical no-channel",
            "nowhere else",
            "bastion test",
            false,
        ),
        (
            "echo 'x = ' >/etc/bastion/allowances.toml",
            "warning allowances",
            "",
            "bastion allow",
            false,
        ),
        ("chmod 644 TOKEN", "critical secret", "mode 0644", "chmod 0600", false),
        ("rm TOKEN", "critical secret", "TOKEN", "put the secret into that file", false),
        (": >TOKEN", "critical secret", "has to hold the secret", "", false),
        ("chmod 755 SECRETS", "warning secrets-mode", "mode 0755", "chmod 0700 SECRETS", true),
        (
            "install -m 644 TOKEN SECRETS/x",
            "critical secret-mode",
            "0644",
            "chmod 0600 SECRETS/x",
            true,
        ),
        (
            "install -m 600 -o alice TOKEN SECRETS/x",
            "critical wrong-owner",
            "2001",
            "chown root SECRETS/x",
            true,
        ),
        (
            "chmod 777 /etc/bastion",
            "critical writable-by-others",
            "mode 0777",
            "chmod go-w /etc/bastion",
            true,
        ),
        ("chmod 646 STACK", "critical writable-by-others", "mode 0646", "chmod go-w STACK", true),
        (
            "chmod 775 /srv/pam_bastion.so",
            "critical writable-by-others",
            "0775",
            "chmod go-w",
            true,
        ),
        (
            "chown alice /srv/bastion",
            "critical wrong-owner",
            "uid 2001",
            "chown root /srv/bastion",
            true,
        ),
        ("chown alice SPOOL", "critical spool-modes", "root alone", "chown root SPOOL", true),
        ("chmod 777 SPOOL", "critical spool-modes", "root alone", "chmod 0755 SPOOL", true),
        (
            "chmod 755 SPOOL/queue",
            "critical spool-modes",
            "sender's alone",
            "chmod 0700 SPOOL/queue",
            true,
        ),
        (
            "chown alice SPOOL/failed",
            "critical spool-modes",
            "sender's alone",
            "chown _bastion",
            true,
        ),
        ("chmod 1777 SPOOL/drop", "critical spool-modes", "mode 3777", "chmod 3730", true),
        ("chmod 00730 SPOOL/drop", "critical spool-modes", "mode 0730", "chmod 3730", true),
        ("chown alice SPOOL/drop", "critical spool-modes", "uid 2001", "chown _bastion", true),
        (
            "rm -r SPOOL/sent",
            "critical spool-modes",
            "No such file",
            "systemd-tmpfiles --create",
            false,
        ),
        (
            "rm -r SPOOL/sent; : >SPOOL/sent",
            "critical spool-modes",
            "directory",
            "systemd-tmpfiles",
            false,
        ),
        (
            "rm -r /var/lib/bastion",
            "critical state-missing",
            "is missing",
            "systemd-tmpfiles --create",
            false,
        ),
        ("rm STACK", "critical pam-line-missing", "no login is told", "bastion enable", false),
        (
            "sed -i /bastion/d STACK",
            "critical pam-line-missing",
            "no login is told",
            "bastion enable",
            false,
        ),
        (
            "sed -i s/optional/required/ STACK",
            "critical pam-line",
            "nobody could log in",
            "-session optional",
            false,
        ),
        ("sed -i s/^-// STACK", "note pam-line", "fills the log", "-session optional", false),
        ("sed -i p STACK", "warning pam-line", "twice", "bastion enable", false),
        (
            "sed -i '1i session sufficient pam_permit.so' STACK",
            "critical pam-line",
            "logins are not told",
            "bastion enable",
            false,
        ),
        (
            "echo '@include nosuch' >>STACK",
            "critical pam-file",
            "libpam lets nobody in",
            "mend the name",
            false,
        ),
        (
            "printf 'Match User bob\\n PasswordAuthentication yes\\n' >>SSHD",
            "warning sshd-user-passwords",
            "lets bob in by a password",
            "take PasswordAuthentication yes out there",
            false,
        ),
        (
            "echo 'Apt::Periodic::Unattended-Upgrade \"0\";' >/etc/apt/apt.conf.d/99z",
            "warning updates-off",
            "Unattended-Upgrade",
            "in /etc/apt/apt.conf.d/99z, which counts",
            false,
        ),
        ("sed -i s/config=.*/config=x/ STACK", "critical pam-line", "reads x", "--config", false),
        (
            "rm /srv/pam_bastion.so",
            "critical module-missing",
            "/srv/pam_bastion.so",
            "apt install",
            false,
        ),
        (
            "echo garbage >/srv/pam_bastion.so",
            "critical module-broken",
            "no login is told",
            "apt install --reinstall",
            false,
        ),
        (
            // All of its headers are there, and not what they point at.
            "truncate -s 60K /srv/pam_bastion.so",
            "critical module-broken",
            "no login is told",
            "apt install --reinstall",
            false,
        ),
        (
            "cp -L /lib/x86_64-linux-gnu/libm.so.6 /srv/pam_bastion.so",
            "critical module-broken",
            "pam_sm_open_session",
            "apt install --reinstall",
            false,
        ),
        (
            "sed -i 's/LOGIN/LOGIN\\nservices = [\"login\"]/' CONFIG; cp STACK /etc/pam.d/login",
            "critical sshd-not-watched",
            "not in services",
            "services = [\"sshd\", ..]",
            false,
        ),
        (
            "printf 'Match LocalPort 99\\n X11Forwarding no\\nMatch LocalAddress 192.0.2.77\\n X11Forwarding no\\n\
             Match RDomain x\\n X11Forwarding no\\n' >>SSHD; chmod 755 SECRETS",
            "warning secrets-mode",
            "mode 0755",
            "chmod 0700 SECRETS",
            true,
        ),
        (
            "sed -i 's/LOGIN/LOGIN\\nservices = [\"sshd\", \"login\"]/' CONFIG",
            "critical pam-line",
            "pam.d/login",
            "-session",
            false,
        ),
        (
            "sed -i 's/UsePAM yes/UsePAM no/' SSHD",
            "critical sshd-use-pam",
            "no login is told",
            "UsePAM yes",
            false,
        ),
        (
            "sed -i 's/PasswordAuth.* no/PasswordAuthentication yes/' SSHD",
            "warning sshd-passwords",
            "robots",
            "PasswordAuthentication no",
            false,
        ),
        (
            "sed -i 's/KbdInt.* no/KbdInteractiveAuthentication yes/' SSHD",
            "warning sshd-passwords",
            "robots",
            "KbdInteractiveAuthentication no",
            false,
        ),
        (
            "printf 'Match User root\\n PermitRootLogin yes\\n PasswordAuthentication yes\\n' >>SSHD",
            "critical sshd-root-login",
            "root in by a password",
            "PermitRootLogin no",
            false,
        ),
        (
            "sed -i 's/GatewayPorts no/GatewayPorts yes/' SSHD",
            "warning sshd-gateway-ports",
            "network",
            "GatewayPorts no",
            false,
        ),
        (
            "sed -i 's/PermitTunnel no/PermitTunnel yes/' SSHD",
            "warning sshd-permit-tunnel",
            "network",
            "PermitTunnel no",
            false,
        ),
        (
            "sed -i 's/VERBOSE/QUIET/' SSHD",
            "warning sshd-log-level",
            "logs no logins",
            "LogLevel VERBOSE",
            false,
        ),
        (
            "echo 'Nosuch yes' >>SSHD",
            "critical sshd-settings",
            "Bad configuration option: Nosuch",
            "sshd -t",
            false,
        ),
        (
            "rmdir /run/sshd",
            "critical sshd-settings",
            "privilege separation directory",
            "systemctl start ssh",
            false,
        ),
        ("rm /usr/sbin/sshd", "note sshd-missing", "no sshd", "apt install openssh-server", false),
        (
            "rm /usr/bin/unattended-upgrade",
            "warning updates-missing",
            "nobody mends",
            "apt install unattended-upgrades",
            false,
        ),
        ("rm APT", "warning updates-off", "Update-Package-Lists", "APT", true),
        (
            "sed -i 's/Upgrade \"1\"/Upgrade \"0\"/' APT",
            "warning updates-off",
            "Unattended-Upgrade",
            "APT",
            true,
        ),
        (
            "echo garbage: >APT",
            "warning updates-settings",
            "Syntax error",
            "apt-config dump",
            false,
        ),
        (
            "touch /run/reboot-required",
            "note reboot-required",
            "waits for a reboot",
            "systemctl reboot",
            false,
        ),
        (
            "touch -d '9 days ago' /run/reboot-required",
            "warning reboot-required",
            "for 216 h",
            "systemctl reboot",
            false,
        ),
        ("rm /usr/bin/ss", "unknown ports-unheard", "not there", "apt install iproute2", false),
        (
            "ALERT failed",
            "note alerts-failed",
            "1 alert reached nobody",
            "bastion queue --failed",
            false,
        ),
        ("ALERT queue", "critical alerts-wait", "1 alert is not out yet", "bastion queue", false),
    ];
    each_row(table, |(script, id, told, remedy, mends)| {
        let (host, _sender) = in_order();
        let alert = |room: &str| {
            let file = format!("{SPOOL}/{room}/1700000000000-note-abcdef.json");
            format!("install -m 600 -o _bastion /dev/null {file}")
        };
        let place = |text: &str| {
            let text = text.strip_prefix("ALERT ").map_or_else(|| text.to_owned(), alert);
            let text = text.replace("CONFIG", CONFIG).replace("SPOOL", SPOOL);
            let text = text.replace("TOKEN", TOKEN_FILE).replace("SECRETS", "/etc/bastion/secrets");
            let text = text.replace("STACK", "/etc/pam.d/sshd").replace("LOGIN", "\\[login\\]");
            let text = text.replace("SSHD", "/etc/ssh/sshd_config");
            text.replace("APT", "/etc/apt/apt.conf.d/20auto-upgrades")
        };
        host.sh(&place(script));
        let found = findings(&host, &[]);
        assert_eq!(ids(&found), [*id], "{script}: {found:#?}");
        let (text, fix) = (found[0]["text"].as_str().unwrap(), found[0]["fix"].as_str().unwrap());
        assert!(
            text.contains(&place(told)) && fix.contains(&place(remedy)),
            "{script}: {found:#?}"
        );
        let said = check(&host, &[]).text();
        let (_, word) = id.split_once(' ').unwrap();
        let lines: Vec<&str> =
            said.lines().filter(|line| line.ends_with(&format!(" [{word}]"))).collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(said.contains(&place(told)), "{said}");
        if *mends {
            host.sh(fix);
            assert_eq!(ids(&findings(&host, &[])), [""; 0], "{script}, then {fix}");
        }
    });
}

#[test]
fn check_tells_that_the_sender_works_by_an_older_file() {
    let (host, sender) = in_order();
    let outdated = || {
        let found = findings(&host, &[]);
        let found = found.iter().find(|one| one["id"] == "sender-outdated");
        found.map(|one| one["fix"].as_str().unwrap().to_owned())
    };
    host.sh(&format!("printf '# a comment\\n[check]\\n' >>{CONFIG}"));
    assert_eq!(outdated(), None, "what others read");
    let table = [
        "[notify.expiry]\nnote = \"2h\"",
        "[[tunnel]]\nname = \"home\"\njump = \"tunnel@203.0.113.50\"\nremote-ports = [2222]",
    ];
    for (times, text) in (1..).zip(table) {
        host.sh(&format!("printf '%b\\n' '{text}' >>{CONFIG}"));
        assert_eq!(outdated().as_deref(), Some("systemctl reload bastion"), "{text}");
        sender.signal(libc::SIGHUP);
        host.wait_syslog("bastion", "config-reloaded", times);
        assert_eq!(outdated(), None, "{text}");
    }
}

#[test]
fn check_tells_that_the_sender_does_not_run_and_all_faults_at_once() {
    let (host, sender) = in_order();
    drop(sender);
    let found = findings(&host, &[]);
    assert_eq!(ids(&found), ["critical sender-not-running"]);
    assert!(found[0]["fix"].as_str().unwrap().contains("systemctl enable --now bastion"));
    host.sh(&format!(
        "chmod 755 {SPOOL}/sent; rm /etc/pam.d/sshd; rm /etc/apt/apt.conf.d/*
         install -m 660 -o alice -g _bastion-drop /dev/null {SPOOL}/drop/1700000000000-note-abcdef.json"
    ));
    let all = [
        "critical pam-line-missing",
        "critical spool-modes",
        "critical alerts-not-taken",
        "critical sender-not-running",
        "warning updates-off",
    ];
    assert_eq!(ids(&findings(&host, &[])), all);
    let output = check(&host, &[]);
    assert_eq!(output.code, Some(2));
    assert!(
        output.text().starts_with("CRITICAL: 4 critical, 1 warning, 2 notes: /etc/pam.d/sshd: "),
        "{output:?}"
    );
}

#[test]
fn check_tells_when_the_disk_of_the_spool_is_full() {
    each_row(&[("4m", "warning spool-room"), ("300k", "critical spool-room")], |(size, id)| {
        let host = prepared();
        disk::small(&host, SPOOL, &format!("size={size}"));
        let _sender = host.spawn_sender();
        host.wait_syslog("bastion", "sender-started", 1);
        assert_eq!(ids(&findings(&host, &[])), [*id]);
    });
}

#[test]
fn check_tells_of_open_ports_and_accepts_those_that_are_wanted() {
    let (host, _sender) = in_order();
    let script = "import socket,sys
held = []
for kind, address, port in ((1, '0.0.0.0', 8080), (1, '127.0.0.1', 8081), (2, '192.0.2.1', 5353), (2, '0.0.0.0', 68)):
    s = socket.socket(socket.AF_INET, kind); s.bind((address, port)); held.append(s)
    if kind == 1: s.listen()
print('ready', flush=True); sys.stdin.read(); import time; time.sleep(1000)";
    let daemon = host.spawn(&["python3", "-c", script]);
    assert!(wait_until(DEADLINE, || daemon.output().contains("ready")), "{}", daemon.output());
    let found = findings(&host, &[]);
    assert_eq!(ids(&found), ["warning open-port"; 2], "{found:#?}");
    let one = |subject: &str| found.iter().find(|one| one["subject"] == subject).unwrap().clone();
    assert!(
        one("port 8080/tcp")["text"].as_str().unwrap().starts_with("python3 listens on 0.0.0.0")
    );
    let fix = one("port 5353/udp")["fix"].as_str().unwrap().to_owned();
    let (_, key) = fix.split_once("[check] ").unwrap();
    let config = host.read(CONFIG);
    host.write_config(&format!("{config}\n[check]\n{key}\n"));
    assert_eq!(ids(&findings(&host, &[])), ["warning open-port"]);
    host.write_config(&format!("{config}\n[check]\nopen-ports = [\"8080/tcp\", \"5353\"]\n"));
    assert_eq!(ids(&findings(&host, &[])), [""; 0]);
}

#[test]
fn on_the_jump_host_the_settings_that_count_there_are_looked_at() {
    let (host, sender) = in_order();
    host.sh("sed -i /^tunnel:/d /etc/passwd; cp /artefacts/tunnelwatch /srv");
    let config = host.read(CONFIG);
    host.write_config(&format!("{config}\n[[tunnel-watch]]\nname = \"home\"\nports = [2222]\n"));
    sender.signal(libc::SIGHUP);
    host.wait_syslog("bastion", "config-reloaded", 1);
    let notes = ["note sshd-forwarding", "note sshd-port"];
    let ids = |host: &Host| {
        let mut found = ids(&findings(host, &[]));
        // There is no log server, which on the jump host is more than a note.
        found.retain(|id| !id.contains("tunnelwatch"));
        found
    };
    assert_eq!(ids(&host), notes);
    host.sh("sed -i 's/ClientAliveInterval 15/ClientAliveInterval 0/; s/PermitRootLogin no/PermitRootLogin yes/' \
             /etc/ssh/sshd_config");
    let want = [&["critical sshd-client-alive", "warning sshd-root-login"][..], &notes].concat();
    assert_eq!(ids(&host), want);
    host.sh(
        "sed -i 's/PasswordAuthentication no/PasswordAuthentication yes/' /etc/ssh/sshd_config",
    );
    assert!(ids(&host).contains(&"critical sshd-passwords".to_owned()), "{:?}", ids(&host));
    host.sh("sed -i 's/AllowTcpForwarding yes/AllowTcpForwarding no/' /etc/ssh/sshd_config");
    assert!(ids(&host).contains(&"warning sshd-forwarding".to_owned()), "{:?}", ids(&host));
}

#[test]
fn a_program_that_hangs_floods_or_dies_is_unknown_and_makes_nobody_wait() {
    let flood = "exec yes 'tcp LISTEN 0 128 0.0.0.0:1 0.0.0.0:* users:((\"x\",pid=1,fd=3))'";
    let table: [(&str, &[&str], &[&str]); 5] = [
        (
            "exec sleep 1000",
            &["ss", "sshd", "apt-config"],
            &["unknown ports-unheard", "unknown sshd-unheard", "unknown updates-unheard"],
        ),
        (
            "trap '' TERM INT; sleep 1000 & while :; do sleep 1000; done",
            &["ss"],
            &["unknown ports-unheard"],
        ),
        (flood, &["ss", "apt-config"], &["unknown ports-unheard", "unknown updates-unheard"]),
        ("kill -9 $$", &["ss"], &["unknown ports-unheard"]),
        (
            "printf 'a\\nOK: nothing is wrong\\033[2J' >&2; exit 1",
            &["ss"],
            &["unknown ports-unheard"],
        ),
    ];
    each_row(&table, |(script, names, want)| {
        let (host, _sender) = in_order();
        for name in *names {
            program(&host, name, script);
        }
        let begun = Instant::now();
        let mut found = ids(&findings(&host, &[]));
        assert!(begun.elapsed() < Duration::from_secs(30), "{script}: {:?}", begun.elapsed());
        found.sort();
        assert_eq!(found, *want, "{script}");
        let output = check(&host, &[]);
        assert!(output.text().starts_with("UNKNOWN: "), "{output:?}");
        assert!(!output.text().contains('\x1b') && !output.text().contains("\nOK"), "{output:?}");
        assert_eq!(
            host.sh("pgrep -c -x sleep || true; pgrep -c -x yes || true"),
            "0\n0\n",
            "it leaves nothing"
        );
    });
}

#[test]
fn who_is_not_root_is_told_once_what_was_not_looked_at() {
    let (host, _sender) = in_order();
    let alice =
        ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "--", BASTION, "check"];
    let output = host.run(&alice);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.text().starts_with("UNKNOWN: 1 unknown, "), "{output:?}");
    assert!(output.text().contains("-> sudo bastion check\n"), "{output:?}");
    host.sh("rm /etc/pam.d/sshd");
    let output = host.run(&alice);
    assert_eq!(output.code, Some(2), "what may be seen is told: {output:?}");
}

#[test]
fn other_words_are_a_mistake_of_who_calls() {
    let host = Host::new();
    for words in [&["--nosuch"][..], &["x"]] {
        assert_eq!(
            host.run(&[&["/artefacts/bastion", "check"], words].concat()).code,
            Some(64),
            "{words:?}"
        );
    }
    let help = host.run(&["/artefacts/bastion", "check", "--help"]).ok().text();
    assert!(help.contains("2 CRITICAL") && help.contains("--online"), "{help}");
}
