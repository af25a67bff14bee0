//! Mail, to a real server and to ones that misbehave.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bastion_tests::alert::{Draft, id};
use bastion_tests::certificates;
use bastion_tests::host::Host;
use bastion_tests::mail::{MailRig, MailServer, Options, PASSWORD, PASSWORD_FILE, TO, USER};
use bastion_tests::rows::each_row;
use bastion_tests::wait::wait_until;
use serde_json::{Value, json};

/// Longest time to the arrival of a mail: a try is cut off after 30 s.
const ARRIVAL: Duration = Duration::from_secs(90);

fn usual() -> Options {
    Options::tls("starttls").signed_in()
}

/// No password: neither asked for nor sent.
const NO_PASSWORD: &str = "username = \npassword-file = ";

#[test]
fn a_mail_arrives_over_an_encrypted_line_and_from_who_is_signed_in() {
    let login_alone = usual().with("without", json!(["PLAIN"]));
    let clear = format!("{NO_PASSWORD}\ntls = \"none\"\nca-file = ");
    let table = [
        ("starttls", usual(), ""),
        ("AUTH LOGIN alone", login_alone, ""),
        ("implicit", Options::tls("implicit").signed_in(), "tls = \"implicit\""),
        ("no password", Options::tls("starttls"), NO_PASSWORD),
        ("a relay on this machine", Options::tls("none"), &clear),
        ("by name", usual(), "host = \"localhost\""),
        ("nobody's bounce", usual(), "envelope-from = \"<>\""),
    ];
    each_row(&table, |(why, options, more)| {
        let rig = MailRig::start(options, more);
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        let mails = rig.server.mails();
        assert_eq!(mails.len(), 1, "{why}: {mails:#?}");
        let mail = &mails[0];
        assert_eq!(mail.tls, *why != "a relay on this machine", "{why}");
        let signed_in = !more.contains("username = ");
        assert_eq!(mail.user.as_deref(), signed_in.then_some(USER), "{why}");
        assert_eq!(mail.to, [TO], "{why}");
        let sender = if more.contains("<>") { "" } else { USER };
        assert_eq!(mail.mail_from.as_deref(), Some(sender), "{why}");
        assert!(mail.subject.starts_with("jump: NEW login alice from"), "{mail:#?}");
        assert!(mail.body.contains("\nuser: alice\n"), "{mail:#?}");
        assert_eq!(mail.header("Auto-Submitted").as_deref(), Some("auto-generated"));
        let sent = rig.host.wait_syslog("bastion", "alert-sent", 1);
        assert!(sent[0].text.contains("taken as 4XyZ"), "{why}: {sent:?}");
        assert_eq!(places(&rig), [""; 0], "{why}");
    });
}

/// Every place where the password can be seen, but for its file and what the server keeps.
fn places(rig: &MailRig) -> Vec<String> {
    let plain = BASE64.encode(format!("\0{USER}\0{PASSWORD}"));
    let login = BASE64.encode(PASSWORD);
    // The greater part of each, in case something is cut.
    let needles = [PASSWORD, &login, &plain].map(|text| text[text.len() / 3..].to_owned());
    let patterns = needles.join("\n");
    let words = ["grep", "-rlaF", &patterns, "/var", "/run/bastion", "/tmp", "/etc", "/home"];
    let mut found: Vec<String> = rig.host.run(&words).text().lines().map(str::to_owned).collect();
    found.retain(|path| path != PASSWORD_FILE);
    for file in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{file}", rig.sender.pid());
        let bytes = std::fs::read(&path).unwrap_or_default();
        if needles.iter().any(|needle| String::from_utf8_lossy(&bytes).contains(needle)) {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_search_finds_the_password_it_looks_for() {
    let rig = MailRig::start(&usual(), "");
    assert_eq!(places(&rig), [""; 0]);
    for text in
        [PASSWORD, &BASE64.encode(PASSWORD), &BASE64.encode(format!("\0{USER}\0{PASSWORD}"))]
    {
        rig.host.write("/var/log/x", format!("a {text}"), 0o600);
        assert_eq!(places(&rig), ["/var/log/x"], "{text}");
    }
}

/// A row of what somebody has to mend.
#[derive(Debug)]
struct Trouble {
    why: &'static str,
    options: Options,
    more: String,
    rule: Value,
    /// What the reason says.
    told: &'static str,
}

fn trouble(why: &'static str, options: Options, more: &str, told: &'static str) -> Trouble {
    Trouble { why, options, more: more.into(), rule: Value::Null, told }
}

fn refusal(why: &'static str, at: &str, answer: &str, told: &'static str) -> Trouble {
    let rule = json!({ "at": at, "do": "answer", "answer": answer });
    Trouble { rule, ..trouble(why, usual(), "", told) }
}

#[test]
fn what_somebody_has_to_mend_holds_the_mail_and_says_nothing_to_a_stranger() {
    let echo = json!({ "at": "auth", "do": "echo" });
    let table = [
        trouble("another CA", usual(), "ca-file = \"/run/other/ca.pem\"", "certificate"),
        trouble("not in the system's CAs", usual(), "ca-file = ", "certificate"),
        trouble(
            "another's name",
            usual().with("address", json!("192.0.2.1")),
            "host = \"192.0.2.1\"",
            "certificate",
        ),
        trouble(
            "expired",
            usual()
                .with("certificate", json!("/run/expired/cert.pem"))
                .with("key", json!("/run/expired/key.pem")),
            "ca-file = \"/run/expired/ca.pem\"",
            "xpired",
        ),
        trouble(
            "expired, implicit",
            Options::tls("implicit")
                .with("certificate", json!("/run/expired/cert.pem"))
                .with("key", json!("/run/expired/key.pem")),
            "ca-file = \"/run/expired/ca.pem\"\ntls = \"implicit\"",
            "xpired",
        ),
        trouble("no TLS where it comes first", Options::tls("none"), "tls = \"implicit\"", "port"),
        trouble("no STARTTLS", Options::tls("none").signed_in(), "", "STARTTLS"),
        trouble("no STARTTLS and no password", Options::tls("none"), NO_PASSWORD, "STARTTLS"),
        trouble("the password is missing", usual(), NO_PASSWORD, "username"),
        refusal("535", "auth", "535 5.7.8 no", "password-file"),
        refusal("534", "auth", "534 5.7.9 use a token", "password-file"),
        refusal("the sender is not ours", "mail", "553 5.7.1 not owned by user", "envelope-from"),
        Trouble { rule: echo, ..trouble("repeats the password", usual(), "", "<redacted>") },
    ];
    each_row(&table, |Trouble { why, options, more, rule, told }| {
        let mut rig = MailRig::prepared(|host| {
            host.sh("mkdir -p /run/other /run/expired");
            let _ = certificates::make(&host.path("/run/other"));
            let _ = certificates::make_expired(&host.path("/run/expired"));
            (MailServer::start(host, options), (*more).clone())
        });
        if !rule.is_null() {
            rig.server.wrong(rule);
        }
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        let lines = rig.host.wait_syslog("bastion", "channel-trouble", 1);
        assert_eq!(lines[0].field("trouble").as_deref(), Some("config"), "{why}: {lines:?}");
        let reason = lines[0].field("reason").unwrap_or_default();
        assert!(reason.contains(told), "{why}: {reason}");
        assert_eq!(rig.host.room_of(&alert.id), Some("queue"), "{why}");
        assert_eq!(rig.server.mails().len(), 0, "{why}");
        assert_eq!(places(&rig), [""; 0], "{why}");
        let test = rig.host.run(&["/artefacts/bastion", "test"]);
        assert_eq!(test.code, Some(78), "{why}: {test:?}");
        assert!(!test.errors().contains(&PASSWORD[9..]), "{why}: {test:?}");
        if !rule.is_null() {
            rig.server.heal();
            rig.sender.signal(libc::SIGUSR1);
            rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        }
    });
}

#[test]
fn answers_that_were_put_into_the_line_before_it_was_encrypted_are_not_believed() {
    let all = ["250 AUTH PLAIN", "235 ok", "250 ok", "250 ok", "354 go", "250 queued", "221 bye"];
    let without = ["250 ok", "250 ok", "250 ok", "354 go", "250 queued", "221 bye"];
    let mut table = Vec::new();
    for count in 1..=all.len() {
        table.push((all[..count].to_vec(), "", false));
        table.push((all[..count].to_vec(), "", true));
    }
    for count in 1..=without.len() {
        table.push((without[..count].to_vec(), NO_PASSWORD, true));
    }
    table.push((without.to_vec(), NO_PASSWORD, false));
    each_row(&table, |(early, more, answers)| {
        let early: String = early.iter().fold(String::new(), |mut text, line| {
            let _ = write!(text, "{line}\r\n");
            text
        });
        let options =
            Options::tls("early").with("early", json!(early)).with("answers", json!(answers));
        let rig = MailRig::start(&options, more);
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        rig.host.wait_syslog("bastion", "channel-trouble", 1);
        assert_eq!(rig.host.events("alert-sent"), 0, "{early:?}");
        assert_eq!(rig.host.room_of(&alert.id), Some("queue"), "{early:?}");
    });
}

#[test]
fn what_passes_is_waited_for_and_the_mail_comes_once() {
    let answer = |at: &str, answer: &str, times: u32| json!({ "at": at, "do": "answer", "answer": answer, "times": times });
    let lose = |at: &str| json!({ "at": at, "do": "lose", "times": 1 });
    let table = [
        ("greylisted", vec![answer("rcpt", "450 4.2.0 greylisted, come back", 2)], "greylisted"),
        ("too many", vec![answer("mail", "421 4.7.0 too many connections", 1)], "421"),
        ("no room", vec![answer("refuse-data", "452 4.3.1 no room", 1)], "452"),
        ("no directory", vec![answer("auth", "454 4.7.0 try again", 1)], "454"),
        ("lost before the mail", vec![lose("rcpt")], "RCPT TO"),
        ("hangs before the mail", vec![json!({ "at": "rcpt", "do": "hang", "times": 1 })], "time"),
        ("one after the other", vec![lose("mail"), answer("rcpt", "451 4.3.0 x", 1)], "MAIL"),
    ];
    each_row(&table, |(why, rules, told)| {
        let mut rig = MailRig::start(&usual(), "");
        rules.iter().for_each(|rule| rig.server.wrong(rule));
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        let lines = rig.host.wait_syslog("bastion", "alert-deferred", 1);
        assert_eq!(lines[0].field("doubtful").as_deref(), Some("false"), "{why}: {lines:?}");
        let reason = lines[0].field("reason").unwrap_or_default();
        assert!(reason.contains(told), "{why}: {reason}");
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.server.mails().len(), 1, "{why}");
    });
}

#[test]
fn a_mail_whose_answer_was_lost_comes_again_with_the_same_id() {
    let rules = [
        ("lost", json!({ "at": "data", "do": "lose", "times": 1 })),
        ("hangs", json!({ "at": "data", "do": "hang", "times": 1 })),
    ];
    each_row(&rules, |(why, rule)| {
        let mut rig = MailRig::start(&usual(), "");
        rig.server.wrong(rule);
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        let lines = rig.host.wait_syslog("bastion", "alert-deferred", 1);
        assert_eq!(lines[0].field("doubtful").as_deref(), Some("true"), "{why}: {lines:?}");
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        let mails = rig.server.mails();
        assert_eq!(mails.len(), 2, "{why}");
        let of = |name: &str| mails.iter().map(|mail| mail.header(name)).collect::<Vec<_>>();
        for name in ["Message-ID", "Date", "Subject"] {
            assert!(of(name)[0].is_some() && of(name)[0] == of(name)[1], "{why}: {:?}", of(name));
        }
    });
}

#[test]
fn a_mail_that_the_server_refuses_is_kept_as_failed_and_does_not_block_the_next() {
    let table = [("rcpt", "550 5.1.1 no such user"), ("refuse-data", "554 5.7.1 spam")];
    each_row(&table, |(at, answer)| {
        let mut rig = MailRig::start(&usual(), "");
        rig.server.wrong(&json!({ "at": at, "do": "answer", "answer": answer, "times": 1 }));
        let (bad, good) = (Draft::note(1, "bad"), Draft::note(2, "good"));
        rig.host.publish(&bad);
        rig.host.wait_room(&bad.id, "failed", ARRIVAL);
        rig.host.publish(&good);
        rig.host.wait_room(&good.id, "sent", ARRIVAL);
        let reason = rig.host.read(&format!("/var/spool/bastion/failed/{}.reason", bad.name()));
        assert!(reason.contains(answer), "{reason}");
        assert_eq!(rig.server.mails().len(), 1, "{at}");
    });
}

#[test]
fn a_server_that_says_a_byte_now_and_then_is_left_and_holds_up_nothing_for_ever() {
    let mut rig = MailRig::start(&Options::tls("drip"), "");
    let alert = Draft::login(1, "alice");
    let begun = SystemTime::now();
    rig.host.publish(&alert);
    let lines = rig.host.wait_syslog_for("bastion", "alert-deferred", 1, ARRIVAL);
    let took = begun.elapsed().unwrap_or_default();
    assert!((Duration::from_secs(25)..Duration::from_secs(60)).contains(&took), "{took:?}");
    let reason = lines[0].field("reason").unwrap_or_default();
    assert!(reason.contains("takes more than 30s"), "{reason}");
    assert_eq!(lines[0].field("doubtful").as_deref(), Some("false"), "{lines:?}");
    // The server still says its bytes, to nobody.
    let threads = || std::fs::read_dir(format!("/proc/{}/task", rig.sender.pid())).unwrap().count();
    assert!(wait_until(Duration::from_secs(1), || threads() == 2), "{} threads", threads());
    let port = rig.server.port();
    let healthy = usual().with("port", json!(port));
    drop(std::mem::replace(&mut rig.server, MailServer::start(&rig.host, &Options::tls("none"))));
    rig.server = MailServer::start(&rig.host, &healthy);
    rig.sender.signal(libc::SIGUSR1);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
}

#[test]
fn silence_where_tls_comes_first_says_so() {
    let rig = MailRig::start(&Options::tls("implicit"), "");
    rig.host.publish(&Draft::login(1, "alice"));
    let lines = rig.host.wait_syslog("bastion", "alert-deferred", 1);
    let reason = lines[0].field("reason").unwrap_or_default();
    assert!(
        reason.contains("tls = \\\"implicit\\\"") || reason.contains("tls = \"implicit\""),
        "{reason}"
    );
}

#[test]
fn no_name_of_a_login_makes_a_header_a_recipient_or_a_second_mail() {
    let names = [
        "alice\r\nBcc: thief@example.net",
        "alice\nBcc: thief@example.net\n\nhello",
        "a\r\n.\r\nMAIL FROM:<x@example.net>\r\nRCPT TO:<thief@example.net>\r\nDATA\r\n",
        "zo\u{eb} \u{202e}gpj.exe \u{2066}",
        "=?utf-8?q?=0D=0ABcc:_thief=40example.net?=",
        "\u{7f51}\u{7edc}\u{7ba1}\u{7406}\u{5458}",
        ".",
        "a\u{0}b",
    ];
    each_row(&names, |name| {
        let rig = MailRig::start(&usual(), "");
        let alert = Draft::login(1, name);
        rig.host.publish(&alert);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        let mails = rig.server.mails();
        assert_eq!(mails.len(), 1, "{mails:#?}");
        let mail = &mails[0];
        assert_eq!(mail.to, [TO]);
        assert_eq!(mail.mail_from.as_deref(), Some(USER));
        let mut fields = mail.fields.clone();
        fields.sort();
        assert_eq!(
            fields,
            [
                "Auto-Submitted",
                "Content-Transfer-Encoding",
                "Content-Type",
                "Date",
                "From",
                "MIME-Version",
                "Message-ID",
                "Subject",
                "To",
            ],
            "{mail:#?}"
        );
        assert!(!mail.subject.chars().any(char::is_control), "{:?}", mail.subject);
        let marks = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!mail.subject.contains(marks) && !mail.body.contains(marks), "{mail:#?}");
        let visible = name.replace('\r', "\\x0d").replace('\n', "\\x0a").replace('\0', "\\x00");
        let visible = visible.replace('\u{202e}', "\\u{202e}").replace('\u{2066}', "\\u{2066}");
        assert!(mail.body.contains(&format!("\nuser: {visible}\n")), "{mail:#?}");
        // Cut to its limit, the name's start stands in the subject.
        let start: String = visible.replace("=?", "= ?").chars().take(8).collect();
        assert!(mail.subject.contains(&start), "{:?}", mail.subject);
    });
}

#[test]
fn a_burst_arrives_and_each_of_it_once() {
    let rig = MailRig::start(&usual(), "digest = false");
    let alerts: Vec<Draft> = (1..=30).map(|number| Draft::note(number, "burst")).collect();
    alerts.iter().for_each(|alert| rig.host.publish(alert));
    for alert in &alerts {
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    }
    for number in 1..=30 {
        let mark = format!("#{}", id(number));
        let copies = rig.server.mails().iter().filter(|m| m.subject.contains(&mark)).count();
        assert_eq!(copies, 1, "{mark}");
    }
    let lost = |host: &Host| host.events("alert-deferred") + host.events("channel-trouble");
    assert_eq!(lost(&rig.host), 0);
}

#[test]
fn a_server_that_is_not_there_is_waited_for() {
    let table = [
        ("nothing listens", "port = 1", "refused"),
        ("no such name", "host = \"mx.absent.example\"", "lookup"),
    ];
    each_row(&table, |(why, more, told)| {
        let rig = MailRig::start(&usual(), more);
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        let lines = rig.host.wait_syslog("bastion", "alert-deferred", 1);
        assert_eq!(lines[0].field("doubtful").as_deref(), Some("false"), "{why}: {lines:?}");
        let reason = lines[0].field("reason").unwrap_or_default();
        assert!(reason.contains(told), "{why}: {reason}");
        let mended = format!("port = {}\nhost = \"127.0.0.1\"", rig.server.port());
        rig.host.configure_mail(rig.server.port(), &mended);
        rig.sender.signal(libc::SIGHUP);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.server.mails().len(), 1, "{why}");
    });
}
