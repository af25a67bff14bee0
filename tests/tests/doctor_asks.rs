//! `bastion check` asks systemd, the log and, with `--online`, the providers: what they say is judged.

use std::time::{Duration, Instant};

use bastion_tests::doctor::{check, dress, findings, ids, in_order, prepared, program};
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{CONFIG, DEADLINE, Host, JUMP, UNKNOWN};
use bastion_tests::like::Like;
use bastion_tests::mail::MailRig;
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, Rig};
use bastion_tests::wait::wait_until;
use serde_json::Value;

/// systemctl as it is where all is well, but for what `but` (sed's words) makes of it.
fn systemd(host: &Host, but: &str) {
    let script = format!(
        "for unit in \"$@\"; do case $unit in *.*) ;; *) continue ;; esac
           printf 'Id=%s\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\nResult=success\\n\\n' $unit
         done | sed '{but}'"
    );
    program(host, "systemctl", &script);
    program(host, "timedatectl", "echo NTPSynchronized=yes");
}

#[test]
fn units_are_judged_by_what_systemd_says_of_them() {
    let table = [
        ("", vec![]),
        ("/Id=bastion.s/,/^$/s/=enabled/=disabled/", vec!["critical unit-not-enabled"]),
        ("/Id=bastion.s/,/^$/s/State=active/State=failed/", vec!["critical unit-failed"]),
        (
            "/Id=bastion.s/,/^$/{s/State=active/State=activating/; s/^Result=/SubState=auto-restart\\n&/}",
            vec!["critical unit-failing"],
        ),
        (
            "/Id=bastion.s/,/^$/s#^Result=#ProtectSystem=strict\\nStateDirectory=bastion\\nRuntimeDirectory=bastion\\n\
             ReadWritePaths=/var/spool/other\\n&#",
            vec!["critical unit-may-not-write"],
        ),
        ("/Id=ssh/,/^$/s/=enabled/=disabled/", vec!["critical sshd-unit"]),
        ("/Id=apt-daily-up/,/^$/s/=active/=inactive/", vec!["warning updates-timers"]),
        ("/Id=tunnelwatch/,/^$/s/=enabled/=disabled/", vec![]),
        (
            "/Id=systemd-journal-up/,/^$/s/=active/=inactive/; /Id=vec/,/^$/s/=active/=inactive/; \
          /Id=flu/,/^$/s/=active/=inactive/; /Id=syslog-ng/,/^$/s/=active/=inactive/",
            vec!["note logs-not-forwarded"],
        ),
    ];
    each_row(&table, |(but, want)| {
        let (host, _sender) = in_order();
        host.sh("mkdir -p /run/systemd/system /var/log/journal");
        systemd(&host, but);
        program(&host, "journalctl", "exit 1");
        let output = check(&host, &["--json"]);
        let json: Value = serde_json::from_str(&output.text()).unwrap();
        let found = ids(json["findings"].as_array().unwrap());
        assert_eq!(found, *want, "{but}: {json:#}");
    });
    let (host, _sender) = in_order();
    host.sh("mkdir -p /run/systemd/system");
    // The real one, of a systemd that is not there to answer.
    let found = ids(&findings(&host, &[]));
    assert!(found.contains(&"unknown units-unheard".to_owned()), "{found:?}");
}

#[test]
fn a_login_without_a_record_is_found_in_a_real_journal_and_one_with_it_is_not() {
    let mut host = prepared();
    let journald = host.start_journald();
    let _sender = host.spawn_sender();
    systemd(&host, "");
    host.start_sshd();
    host.write("/etc/pam.d/sshd", "auth required pam_unix.so\naccount required pam_permit.so\n\
        -session optional /srv/pam_bastion.so config=/etc/bastion/bastion.toml\nsession required pam_permit.so\n", 0o644);
    host.sh("touch -d '1 hour ago' /etc/pam.d/sshd");
    untold(&mut host, "journalctl -t pam_bastion -t sshd -t sshd-session");
    drop(journald);
}

#[test]
fn a_login_without_a_record_is_found_in_a_file_of_rsyslogs() {
    let mut host = prepared();
    host.remove_syslog();
    host.write(
        "/etc/rsyslog.conf",
        "module(load=\"imuxsock\")\nauth,authpriv.* /var/log/auth.log\n",
        0o644,
    );
    let _rsyslog = host.spawn(&["/usr/sbin/rsyslogd", "-n", "-i", "/run/rsyslogd.pid"]);
    assert!(wait_until(DEADLINE, || host.path("/dev/log").exists()));
    let _sender = host.spawn_sender();
    host.start_sshd();
    host.write("/etc/pam.d/sshd", "auth required pam_unix.so\naccount required pam_permit.so\n\
        -session optional /srv/pam_bastion.so config=/etc/bastion/bastion.toml\nsession required pam_permit.so\n", 0o644);
    host.sh("touch -d '1 hour ago' /etc/pam.d/sshd");
    untold(&mut host, "cat /var/log/auth.log");
}

/// Logs in with a record and without; `shows` shows the log. A login is looked at when it is some seconds old.
fn untold(host: &mut Host, shows: &str) {
    host.end_sshd();
    let sshd = host.spawn(&["/usr/sbin/sshd", "-D"]);
    assert!(wait_until(DEADLINE, || host.listens(22)));
    let login = |host: &Host, user: &str| {
        host.ssh(&["-b", UNKNOWN, &format!("{user}@{JUMP}"), "true"]).ok()
    };
    login(host, "alice");
    assert!(
        wait_until(DEADLINE, || host.sh(shows).contains("login verdict=alert")),
        "{}",
        host.sh(shows)
    );
    // An sshd that asks nobody.
    drop(sshd);
    let _sshd = host.spawn(&["/usr/sbin/sshd", "-D", "-o", "UsePAM=no"]);
    assert!(wait_until(DEADLINE, || host.listens(22)));
    login(host, "bob");
    assert!(wait_until(DEADLINE, || host.sh(shows).contains("for bob from")), "{}", host.sh(shows));
    let untold = || findings(host, &[]).into_iter().find(|one| one["id"] == "untold-login");
    assert!(wait_until(Duration::from_secs(90), || untold().is_some()), "{}", host.sh(shows));
    let found = untold().unwrap();
    let text = found["text"].as_str().unwrap();
    assert_eq!(found["severity"], "critical");
    assert!(
        text.starts_with("1 login of the last day without a record")
            && text.contains(&format!("bob from {UNKNOWN} at 20")),
        "{text}"
    );
    assert!(!text.contains("alice"), "{text}");
}

#[test]
fn each_provider_is_asked_and_gets_no_message() {
    each_row(&[&[Like::Twilio][..], &Like::OTHERS].concat(), |like| {
        let host = Host::new();
        let mut provider = Provider::start_like(&host, *like, "127.0.0.1:0", false);
        match like {
            Like::Twilio => host.configure(&provider.url()),
            like => like.configure(&host, &provider.url(), ""),
        }
        dress(&host);
        let _sender = host.spawn_sender();
        host.wait_syslog("bastion", "sender-started", 1);
        let output = check(&host, &["--online"]);
        let asks_more = !matches!(like, Like::Slack | Like::Webhook);
        let word = if asks_more { "answers, and knows us" } else { "it was not asked more" };
        assert!(output.text().contains(word), "{output:?}");
        assert_eq!(output.code, Some(0), "{output:?}");
        let requests = provider.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        assert!(
            requests.iter().all(|one| one.accepted.is_none() && one.method != "POST"),
            "{requests:#?}"
        );
        assert_eq!(requests[0].authorized, asks_more, "{requests:#?}");
        assert!(!output.text().contains(like.secret()), "{output:?}");
        if asks_more {
            provider.fault(&Fault::status(401).on("GET").times(1));
            assert_eq!(ids(&findings(&host, &["--online"])), ["critical channel-settings"]);
        }
        provider.fault(&Fault::new(Act::Hang).on("any"));
        let begun = Instant::now();
        assert_eq!(ids(&findings(&host, &["--online"])), ["critical channel-unreachable"]);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(provider.accepted().len(), 0);
    });
}

#[test]
fn a_mail_server_is_asked_to_let_us_in_and_gets_no_mail() {
    use bastion_tests::mail::Options;
    let rig = MailRig::start(&Options::tls("starttls").signed_in(), "");
    dress(&rig.host);
    let output = check(&rig.host, &["--online"]);
    assert!(output.text().contains("answers, and lets us in"), "{output:?}");
    let records = rig.server.records();
    assert!(
        !records.is_empty() && records.iter().all(|one| one.mail_from.is_none()),
        "{records:?}"
    );
    assert_eq!(rig.server.mails().len(), 0, "{records:?}");
}

#[test]
fn of_several_channels_one_that_is_away_is_a_warning() {
    let rig = Rig::start();
    dress(&rig.host);
    let config = rig.host.read(CONFIG).replace("route = [\"sms\"]", "route = [\"sms\", \"other\"]");
    let other = bastion_tests::sender::section("other", "http://127.0.0.1:9", &["+15550102"]);
    rig.host.write_config(&(config + &other));
    rig.sender.signal(libc::SIGHUP);
    rig.host.wait_syslog("bastion", "config-reloaded", 1);
    let found = findings(&rig.host, &["--online"]);
    assert_eq!(ids(&found), ["warning channel-unreachable"], "{found:#?}");
    assert_eq!(found[0]["subject"], "channel other");
    // A file that nobody understands.
    rig.host.write_config(&format!("{LOGIN}x"));
    let found = ids(&findings(&rig.host, &["--online"]));
    assert_eq!(found, ["critical config", "unknown channels-not-asked"]);
}
