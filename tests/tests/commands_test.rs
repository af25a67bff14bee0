//! `bastion test` with the mistakes that people make in their settings: one line that names the
//! channel, what was answered, and where to look; and the exit code that belongs to it.

use bastion_tests::certificates;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::like::Like;
use bastion_tests::mail::{self, MailServer, Options};
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::rows::each_row;
use bastion_tests::sender::{FROM, LOGIN, ONE_BY_ONE, TO, TOKEN_FILE, sms};
use serde_json::json;

/// Nothing listens there.
const CLOSED: &str = "127.0.0.1:9";

/// Longest line that anybody reads to its end.
const LONGEST: usize = 360;

/// All secrets that these tests write down, and forms of them.
const SECRETS: [&str; 4] = ["5ecre7", "5ecre770", "p455w0rd", "0f-7he-7e57"];

/// What `bastion test` has to say of a mistake.
#[derive(Debug, Clone, Copy)]
struct Want<'a> {
    code: i32,
    /// Words that stand in the line, separated by `|`.
    words: &'a str,
}

fn want(code: i32, words: &str) -> Want<'_> {
    Want { code, words }
}

/// Runs it, and holds what it says against what is wanted.
fn check(host: &Host, why: &str, want: Want<'_>) {
    let output = host.run_with(DEADLINE * 2, &["/artefacts/bastion", "test"], b"");
    let said = output.errors();
    eprintln!("{why}: {said}");
    assert_eq!(output.code, Some(want.code), "{why}: {output:?}");
    assert_eq!((output.text().as_str(), said.lines().count()), ("", 1), "{why}: {said}");
    assert!(said.starts_with("bastion: "), "{why}: {said}");
    for word in want.words.split('|') {
        assert!(said.contains(word), "{why}: no {word:?} in: {said}");
    }
    assert!(said.len() <= LONGEST, "{why}: {} bytes: {said}", said.len());
    for secret in SECRETS {
        assert!(!said.contains(secret), "{why}: {said}");
    }
    assert!(said.is_ascii() && !said.contains("\\x"), "{why}: {said}");
}

/// The types of channel that speak HTTP, and the key of their address.
fn over_http() -> Vec<(Like, &'static str)> {
    let key = |like| match like {
        Like::Slack | Like::Discord => "url-file",
        Like::Webhook => "url",
        Like::Alertmanager => "urls",
        _ => "base-url",
    };
    [Like::Twilio].into_iter().chain(Like::OTHERS).map(|like| (like, key(like))).collect()
}

/// A machine with this channel alone, which talks to `url`.
fn configure(host: &Host, like: Like, url: &str, more: &str) {
    if like == Like::Twilio {
        host.configure(url);
        host.write_config(&format!("{LOGIN}{}{more}\n", sms(url)));
    } else {
        like.configure(host, url, more);
    }
}

/// How its line begins.
fn channel(like: Like) -> String {
    format!("bastion: {} to ", if like == Like::Twilio { "sms" } else { like.name() })
}

#[test]
fn a_wrong_address_is_told_by_host_and_key() {
    let mut rows = Vec::new();
    for (like, key) in over_http() {
        for (why, address, words) in [
            (
                "a wrong name",
                "https://no-such-host.invalid",
                "no-such-host.invalid|cannot be resolved|DNS",
            ),
            ("a wrong port", "http://127.0.0.1:9", "127.0.0.1:9|Connection refused"),
        ] {
            rows.push((like, key, why, address, words));
        }
    }
    each_row(&rows, |(like, key, why, address, words)| {
        let host = Host::new();
        configure(&host, *like, address, "");
        let words = format!("{}|{words}|check {key}|would try again", channel(*like));
        check(&host, why, want(75, &words));
    });
}

#[test]
fn tls_where_there_is_none_and_none_where_it_is_are_told_apart() {
    each_row(&over_http(), |(like, key)| {
        let host = Host::new();
        let plain = Provider::start_like(&host, *like, "127.0.0.1:0", false);
        configure(&host, *like, &format!("https://{}", plain.address()), "");
        let words = format!("{}|speaks no TLS|check the port in {key}", channel(*like));
        check(&host, "https to a plain port", want(78, &words));
        let tls = Provider::start_like(&host, *like, "127.0.0.1:0", true);
        configure(&host, *like, &format!("http://{}", tls.address()), "");
        let words = format!("{}|127.0.0.1|check {key}", channel(*like));
        check(&host, "http to a TLS port", want(75, &words));
    });
}

#[test]
fn a_certificate_that_is_not_right_is_told_with_where_to_look() {
    each_row(&over_http(), |(like, key)| {
        let host = Host::new();
        let server = Provider::start_like(&host, *like, "127.0.0.1:0", true);
        configure(&host, *like, &server.url(), "");
        let words =
            format!("{}|certificate|UnknownIssuer|clock|ca-certificates|{key}", channel(*like));
        check(&host, "a CA of one's own", want(78, &words));
        let ca = "ca-file = \"/run/provider/ca.pem\"";
        configure(&host, *like, &server.url().replace("127.0.0.1", "127.0.0.2"), ca);
        drop(server);
        let server = Provider::start_with(&host, *like, "0.0.0.0:0", true);
        let port = server.address().rsplit_once(':').expect("a port").1;
        configure(&host, *like, &format!("https://127.0.0.2:{port}"), ca);
        let words = format!("{}|certificate|not valid for name|ca-file|{key}", channel(*like));
        check(&host, "another's name", want(78, &words));
        let _ = certificates::make_expired(&host.path("/run/provider"));
        let server = Provider::start_with(&host, *like, "127.0.0.1:0", true);
        configure(&host, *like, &server.url(), ca);
        let words = format!("{}|certificate|expired|clock|{key}", channel(*like));
        check(&host, "an old certificate", want(78, &words));
        configure(&host, *like, &server.url(), "ca-file = \"/run/provider/key.pem\"");
        check(&host, "a key for a CA", want(78, "ca-file|holds no certificate|line"));
    });
}

/// The key under which the secret of a channel stands.
fn secret_key(like: Like) -> &'static str {
    match like {
        Like::Twilio => "auth-token-file",
        Like::Slack | Like::Discord => "url-file",
        _ => "token-file",
    }
}

#[test]
fn a_wrong_secret_and_what_a_provider_says_are_told_with_the_key() {
    each_row(&over_http(), |(like, key)| {
        let host = Host::new();
        let mut server = Provider::start_like(&host, *like, "127.0.0.1:0", false);
        configure(&host, *like, &server.url(), "");
        let file = if *like == Like::Twilio { TOKEN_FILE.to_owned() } else { like.secret_file() };
        let right = host.read(&file);
        let wrong = right.replace("5ecre7", "5ecre8").replace("5ecre770", "5ecre880");
        host.write(&file, &wrong, 0o600);
        let name = channel(*like);
        let words = format!("{name}|HTTP 40|check |{}|restart", secret_key(*like));
        check(&host, "a wrong token, or no such webhook", want(78, &words));

        host.write(&file, &right, 0o600);
        server.fault(&Fault::status(302));
        check(&host, "moved", want(78, &format!("{name}|HTTP 302|check {key}")));
        server.heal();
        server.fault(&Fault::status(429).retry_after("3"));
        check(&host, "too fast", want(75, &format!("{name}|HTTP 429|would try again")));
        server.heal();
        server.fault(&Fault::status(503));
        check(&host, "its own trouble", want(75, &format!("{name}|HTTP 503|would try again")));
        server.heal();
        server.fault(&Fault::new(Act::Echo));
        check(&host, "the request said back", want(78, &format!("{name}|HTTP 401|check ")));
        server.heal();
        server.fault(&Fault::new(Act::Hang));
        check(&host, "silence", want(75, &format!("{name}|did not answer in time|check {key}")));
        // Where there is no secret at all. Of a webhook two keys name the file, and so two lines do.
        if *like == Like::Webhook {
            return;
        }
        host.sh(&format!("rm {file}"));
        check(
            &host,
            "no file",
            want(78, &format!("line |{}|put the secret into", secret_key(*like))),
        );
    });
}

#[test]
fn who_cannot_be_reached_is_told_as_such() {
    type Row = (Like, &'static str, &'static str, &'static str, i32, &'static str);
    let rows: [Row; 6] = [
        (
            Like::Telegram,
            "no such chat",
            "\"1001\"",
            "\"404\"",
            69,
            "to 404|chat not found|check to|/start",
        ),
        (
            Like::Telegram,
            "blocked",
            "\"1001\"",
            "\"403\"",
            69,
            "to 403|HTTP 403|blocked|unblock the bot",
        ),
        (Like::Twilio, "no such number", TO, "+15005550001", 69, "code 21211|check to"),
        (Like::Twilio, "unsubscribed", TO, "+15005550004", 69, "code 21610|check to"),
        (Like::Twilio, "not one's own number", FROM, "+15005550007", 69, "code 21606|check from"),
        (Like::Ntfy, "a path too many", "http://127", "http://127", 78, "HTTP 40|check base-url"),
    ];
    each_row(&rows, |(like, why, right, wrong, code, words)| {
        let host = Host::new();
        let mut server = Provider::start_like(&host, *like, "127.0.0.1:0", false);
        configure(&host, *like, &server.url(), "");
        let mut config = host.read("/etc/bastion/bastion.toml").replace(right, wrong);
        if *like == Like::Ntfy {
            config = config.replace(server.address(), &format!("{}/api", server.address()));
            server.fault(&Fault::status(404));
        }
        host.write_config(&config);
        check(&host, why, want(*code, &format!("{}|{words}", channel(*like))));
    });
}

#[test]
fn a_mail_server_that_is_not_what_was_written_down_is_told() {
    type Row = (&'static str, &'static str, &'static str, i32, &'static str);
    let rows: [Row; 12] = [
        (
            "a wrong name",
            "starttls",
            "host = \"no-such-host.invalid\"",
            75,
            "no-such-host.invalid|check host",
        ),
        ("a wrong port", "starttls", "port = 9", 75, "refused|check host and port"),
        (
            "TLS from the start, to a plain port",
            "starttls",
            "tls = \"implicit\"",
            78,
            "speaks no TLS|tls = \"starttls\"",
        ),
        ("STARTTLS, to a TLS port", "implicit", "", 75, "did not answer|tls = \"implicit\""),
        ("no STARTTLS there", "none", "", 78, "offers no STARTTLS|check host and port"),
        ("a CA of one's own", "starttls", "ca-file = ", 78, "certificate|UnknownIssuer|ca-file"),
        (
            "another's name",
            "starttls",
            "host = \"127.0.0.2\"",
            78,
            "certificate|not valid for name|check the clock, host",
        ),
        ("a wrong password", "password", "", 78, "AUTH|535|check username and password-file"),
        (
            "no password",
            "starttls",
            "username = \npassword-file = ",
            78,
            "530|this server wants both",
        ),
        ("another's sender", "mail", "", 78, "MAIL FROM|553|check from"),
        ("no such recipient", "rcpt", "", 69, "RCPT TO|550|no such user|check to"),
        ("a full mailbox", "full", "", 75, "RCPT TO|452|would try again"),
    ];
    each_row(&rows, |(why, server, more, code, words)| {
        let host = Host::new();
        let tls = if matches!(*server, "implicit" | "none") { server } else { "starttls" };
        let mut options = Options::tls(tls).signed_in();
        if *why == "another's name" {
            options = options.with("address", json!("0.0.0.0"));
        }
        let mut mx = MailServer::start(&host, &options);
        match *server {
            "mail" => {
                mx.wrong(&json!({ "at": "mail", "do": "answer", "answer": "553 5.7.1 not yours" }))
            }
            "rcpt" => mx.wrong(
                &json!({ "at": "rcpt", "do": "answer", "answer": "550 5.1.1 no such user" }),
            ),
            "full" => {
                mx.wrong(&json!({ "at": "rcpt", "do": "answer", "answer": "452 4.2.2 full" }))
            }
            _ => {}
        }
        host.configure_mail(mx.port(), more);
        if *server == "password" {
            host.write(mail::PASSWORD_FILE, mail::PASSWORD.replace("5ecre7", "5ecre8"), 0o600);
        }
        check(&host, why, want(*code, &format!("bastion: mail to {}|{words}", mail::TO)));
    });
}

#[test]
fn an_old_certificate_and_a_silent_server_are_told_of_mail_too() {
    let host = Host::new();
    host.sh("mkdir -p /run/mail");
    let _ = certificates::make_expired(&host.path("/run/mail"));
    let server = MailServer::start(&host, &Options::tls("starttls").signed_in());
    host.configure_mail(server.port(), "");
    check(&host, "an old certificate", want(78, "mail to |certificate|expired|check the clock"));
    let server = MailServer::start(&host, &Options::tls("drip"));
    host.configure_mail(server.port(), "");
    check(&host, "a byte a second", want(75, "mail to |takes more than 30s|check host and port"));
}

#[test]
fn a_program_that_cannot_run_or_does_not_do_is_told() {
    type Row = (&'static str, &'static str, &'static str, i32, &'static str);
    let rows: [Row; 10] = [
        ("not there", "rm /tmp/tell", "", 78, "cannot be started: No such file|check command"),
        ("not executable", "chmod 644 /tmp/tell", "", 78, "Permission denied|check command"),
        ("a directory", "rm /tmp/tell; mkdir /tmp/tell", "", 78, "Permission denied|check command"),
        (
            "no interpreter",
            "printf '#!/no/such\\nx' >/tmp/tell",
            "",
            78,
            "No such file|check command",
        ),
        // Without a first line that names another, it is a script for sh.
        ("nothing of use in it", "echo x >/tmp/tell", "", 78, "x: not found|check command"),
        ("its own settings", "say 78 'no token'", "", 78, "ended with 78: no token|check command"),
        ("what it needs", "say 127 'curl: not found'", "", 78, "curl: not found|check command"),
        (
            "a wrong recipient",
            "say 67 'no such user'",
            "",
            69,
            "ended with 67: no such user|check to",
        ),
        ("any trouble", "say 1 'oh no'", "", 75, "ended with 1: oh no|would try again"),
        (
            "for ever",
            "echo 'sleep 60' >>/tmp/tell",
            "timeout = \"1s\"",
            75,
            "took more than 1s|timeout",
        ),
    ];
    each_row(&rows, |(why, script, more, code, words)| {
        let host = Host::new();
        host.sh(&format!(
            "echo '#!/bin/sh' >/tmp/tell; chmod 755 /tmp/tell
             say() {{ echo \"echo '$2' >&2; exit $1\" >>/tmp/tell; }}
             {script}"
        ));
        host.write_config(&format!(
            "{LOGIN}\n[notify.channel.pager]\ntype = \"exec\"\ncommand = [\"/tmp/tell\"]\n{more}\n"
        ));
        check(&host, why, want(*code, &format!("bastion: pager to tell: |/tmp/tell|{words}")));
    });
}

#[test]
fn of_several_channels_each_mistake_has_its_line() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.write_token(AUTH_TOKEN);
    let good = sms(&provider.url()).replace("route = [\"sms\"]", "route = [\"sms\", \"b\", \"c\"]");
    let b = sms(&format!("http://{CLOSED}")).replace(".sms]", ".b]");
    let c = "[notify.channel.c]\ntype = \"exec\"\ncommand = [\"/no/such\"]\n";
    let b = &b[b.find("[notify.channel").expect("its section")..];
    host.write_config(&format!("{LOGIN}{good}\n{}\n{c}", b.replace(ONE_BY_ONE, "")));
    let output = host.run(&["/artefacts/bastion", "test"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.text().starts_with("sms to "), "{output:?}");
    let said = output.errors();
    let names: Vec<&str> = said.lines().map(|line| &line[..12]).collect();
    assert_eq!(names, ["bastion: b t", "bastion: c t"], "{output:?}");
}
