//! Mail to a real postfix, which hands it to nobody but a folder of its own.
//!
//! Without postfix (package postfix, which removes any other mail server of the machine) the test
//! says so and proves nothing; where `CI` is set it fails instead.

use std::path::Path;
use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::certificates;
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::mail::TO;
use bastion_tests::process::Daemon;
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

const MASTER: &str = "/usr/lib/postfix/sbin/master";

const MAIN_CF: &str = "
compatibility_level = 3.6
myhostname = mx.example.org
mydestination =
alias_maps =
mynetworks = 192.0.2.99/32
inet_interfaces = loopback-only
inet_protocols = ipv4
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = /run/mail/cert.pem
smtpd_tls_key_file = /run/mail/key.pem
smtpd_relay_restrictions = reject_unauth_destination
smtpd_helo_required = yes
virtual_mailbox_domains = example.org
virtual_mailbox_maps = inline:{ops@example.org=ops/}
virtual_mailbox_base = /var/vmail
virtual_uid_maps = static:2910
virtual_gid_maps = static:2910
virtual_minimum_uid = 100
maillog_file = /var/log/mail.log
";

const MASTER_CF: &str = "
127.0.0.1:2525 inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

/// A postfix at work in `host`; `None` where there is none to be had.
fn postfix(host: &Host) -> Option<Daemon> {
    if !Path::new(MASTER).exists() {
        assert!(std::env::var_os("CI").is_none(), "postfix is missing");
        eprintln!("SKIPPED: our mail is not judged by a postfix, there is none (package postfix)");
        return None;
    }
    host.sh("mkdir -p /run/mail /etc/postfix /var/lib/postfix /var/vmail /var/spool/postfix");
    let _ = certificates::make(&host.path("/run/mail"));
    host.write("/etc/postfix/main.cf", MAIN_CF, 0o644);
    host.write("/etc/postfix/master.cf", MASTER_CF, 0o644);
    host.sh("echo 'postfix:x:2910:2910::/var/spool/postfix:/usr/sbin/nologin' >>/etc/passwd
        printf '%s\\n' postfix:x:2910: postdrop:x:2911: >>/etc/group
        chown postfix /var/lib/postfix /var/vmail
        cd /var/spool/postfix && mkdir -p pid active bounce corrupt defer deferred flush hold \
            incoming private public saved trace maildrop
        chown postfix active bounce corrupt defer deferred flush hold incoming private saved trace
        chown postfix:postdrop public maildrop");
    let master = host.spawn(&[MASTER, "-c", "/etc/postfix", "-d"]);
    assert!(wait_until(DEADLINE, || host.listens(2525)), "{}\n{}", master.output(), log(host));
    Some(master)
}

fn log(host: &Host) -> String {
    host.read("/var/log/mail.log")
}

/// The sender, for mail to these recipients.
fn sender(host: &Host, to: &[&str], more: &str) -> Daemon {
    host.write_config(&format!(
        "[host]\nname = \"jump\"\n[notify.channel.mail]\ntype = \"smtp\"\nhost = \"127.0.0.1\"\n\
         port = 2525\nfrom = \"Bastion <bastion@jump.example>\"\nto = {to:?}\n\
         ca-file = \"/run/mail/ca.pem\"\n{more}"
    ));
    let sender = host.spawn_sender();
    host.wait_syslog("bastion", "sender-started", 1);
    sender
}

/// The mails in the recipient's folder.
fn arrived(host: &Host) -> Vec<String> {
    let names = host.run(&["ls", "/var/vmail/ops/new"]).text();
    names.lines().map(|name| host.read(&format!("/var/vmail/ops/new/{name}"))).collect()
}

#[test]
fn a_postfix_takes_our_mail_as_it_is() {
    let host = Host::new();
    let Some(_postfix) = postfix(&host) else { return };
    let _sender = sender(&host, &[TO], "hello = \"jump.example\"\n");
    let alerts = [
        Draft::login(1, "alice"),
        Draft::login(2, "zo\u{eb}\r\nBcc: thief@example.net\r\n\r\n.\r\n"),
        // Longer than a line of mail may be, and lines that begin with a dot.
        Draft::note(3, &format!(".\n..\n{}\n.", "x".repeat(3000))),
    ];
    for alert in &alerts {
        host.publish(alert);
        host.wait_room(&alert.id, "sent", ARRIVAL);
    }
    assert!(wait_until(ARRIVAL, || arrived(&host).len() == 3), "{}", log(&host));
    let mails = arrived(&host);
    let of = |id: &str| {
        let mark = format!("#{id}");
        mails.iter().find(|mail| mail.contains(&mark)).unwrap_or_else(|| panic!("{mails:#?}"))
    };
    let first = of(&alerts[0].id);
    assert!(first.contains("Return-Path: <bastion@jump.example>\n"), "{first}");
    assert!(first.contains("\nuser: alice\n") && first.contains(" with ESMTPS "), "{first}");
    assert!(!mails.concat().contains("\nBcc"), "{mails:#?}");
    assert!(of(&alerts[2].id).contains("\n  ..\n"), "{mails:#?}");
    let sent = host.wait_syslog("bastion", "alert-sent", 3);
    assert!(sent[0].text.contains("queued as"), "{sent:?}");
    let warnings: Vec<String> =
        log(&host).lines().filter(|line| line.contains("warning: ")).map(str::to_owned).collect();
    assert_eq!(warnings, [""; 0]);
    assert!(!log(&host).contains("lost connection"), "{}", log(&host));
}

#[test]
fn a_postfix_s_refusals_mean_what_they_say() {
    let host = Host::new();
    let Some(_postfix) = postfix(&host) else { return };
    let _sender = sender(&host, &["nobody@example.org", "ops@example.com", TO], "");
    let alert = Draft::login(1, "alice");
    host.publish(&alert);
    assert!(wait_until(ARRIVAL, || arrived(&host).len() == 1), "{}", log(&host));
    let refused = host.wait_syslog("bastion", "alert-refused", 2);
    let reasons: Vec<String> = refused.iter().filter_map(|line| line.field("reason")).collect();
    for told in
        ["RCPT TO with 550 5.1.1 <nobody@example.org>", "RCPT TO with 554 5.7.1 <ops@example.com>"]
    {
        assert!(reasons.iter().any(|reason| reason.contains(told)), "{told}: {reasons:?}");
    }
}
