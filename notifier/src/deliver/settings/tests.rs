use std::fs;
use std::path::PathBuf;

use super::*;

const EXAMPLE: &str = include_str!("../../../../etc/bastion.toml");

/// The files that the example names.
const SECRETS: &[(&str, &str)] = &[
    ("alertmanager-password", "hunter2hunter2"),
    ("discord-url", "https://discord.com/api/webhooks/1234567890/hunter2hunter2"),
    ("healthchecks-url", "https://hc-ping.com/hunter2hunter2"),
    ("ntfy-token", "tk_hunter2hunter2"),
    ("smtp-password", "hunter2hunter2"),
    ("slack-url", "https://hooks.slack.com/services/T0000/B0000/hunter2hunter2"),
    ("telegram-token", "123456:hunter2hunter2"),
    ("twilio-key", "hunter2hunter2hunter2hunter2"),
    ("twilio-token", "0123456789abcdef0123456789abcdef"),
    ("webhook-secret", "hunter2hunter2"),
    ("webhook-token", "hunter2hunter2"),
];

/// A directory with secrets in it, and the `Secrets` that find it.
fn secrets() -> (PathBuf, Secrets) {
    use std::os::unix::fs::PermissionsExt;
    let name =
        format!("notifier-settings-{:?}-{}", std::thread::current().id(), std::process::id());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    for (name, secret) in SECRETS {
        fs::write(dir.join(name), format!("{secret}\n")).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    (dir.clone(), Secrets::in_directory(&dir))
}

fn parse(text: &str) -> Result<Settings, Vec<config::Finding>> {
    let (dir, secrets) = secrets();
    let parsed = Settings::parse(text, &secrets);
    fs::remove_dir_all(dir).unwrap();
    parsed
}

/// The findings of a file, as `line key`.
fn findings(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(settings) => {
            settings.login_findings.iter().map(|f| format!("{} {}", f.line, f.key)).collect()
        }
        Err(findings) => findings.iter().map(|f| format!("{} {}", f.line, f.key)).collect(),
    }
}

/// The example with its examples taken at their word.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '[') => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(|l| line(l) + "\n").collect()
}

#[test]
fn the_example_file_as_shipped_is_the_defaults() {
    let settings = parse(EXAMPLE).unwrap_or_else(|findings| panic!("{findings:?}"));
    assert_eq!(settings.host, Host::default());
    assert_eq!(settings.login, Login::default());
    assert!(settings.notify.channels.is_empty() && settings.notify.policy.channels().is_empty());
    assert_eq!(settings.notify.policy.patience, Notify::default().policy.patience);
}

#[test]
fn every_example_in_the_file_is_valid_and_every_default_in_it_is_true() {
    let settings = parse(&uncommented()).unwrap_or_else(|findings| panic!("{findings:?}"));
    let name = settings.host.name.clone();
    assert_eq!(settings.host, Host { name, ..Host::default() });
    assert_eq!(settings.login.services, Login::default().services);
    assert_eq!(settings.login.hold, Login::default().hold);
    assert_eq!(settings.notify.policy.patience, Notify::default().policy.patience);
    assert_eq!(settings.notify.policy.channels(), ["sms"]);
    let to = |name: &str| {
        let mut channels = settings.notify.channels.iter();
        let found = channels.find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("{name} is missing")).1.recipients().to_vec()
    };
    assert_eq!(to("sms"), ["+15550101"]);
    assert_eq!(to("telegram"), ["123456789", "-1001234567890"]);
    assert_eq!(to("slack"), ["hooks.slack.com"], "the host is no secret");
    assert_eq!(to("alertmanager"), ["127.0.0.1:9093, am2.example.org:9093"]);
    assert_eq!(to("mail"), ["you@example.org"]);
    assert_eq!(to("program"), ["apprise"]);
}

#[test]
fn every_key_that_is_read_stands_in_the_example_and_no_other() {
    let text = uncommented();
    let (dir, secrets) = secrets();
    let mut document = Document::parse(&text);
    config::host::read(&mut document);
    config::login::read(&mut document);
    config::check::read(&mut document);
    document.table("notify", |section| notify(section, &secrets));
    fs::remove_dir_all(dir).unwrap();
    for known in document.known_keys() {
        let key = known.rsplit('.').next().unwrap();
        let stands = EXAMPLE.lines().any(|line| {
            line.starts_with(&format!("#{key} = "))
                || line.contains(&format!(".{key}]"))
                || line.contains(&format!(".{key}."))
        });
        assert!(stands, "{known} is read and not in etc/bastion.toml");
    }
    assert_eq!(document.finish(SECTIONS), []);
}

#[test]
fn all_mistakes_of_all_sections_come_at_once() {
    let text = r#"
[host]
spool = "relative"
[login]
known-good = ["300.1.1.1"]
hold = "1 hour"
[notify]
route = ["sms", "mail"]
patience = "9h"
[notify.channel.sms]
type = "twilio"
account-sid = "AC123"
auth-token-file = "absent"
to = ["0170 1234567", "+15550101"]
base-url = "http://api.twilio.com"
max-segments = 11
colour = "red"
[notify.channel.fax]
type = "fax"
number = 1
[tunnels]
"#;
    let want = [
        "3 host.spool",
        "5 login.known-good",
        "6 login.hold",
        "8 notify.route",
        "9 notify.patience",
        "10 notify.channel.sms.from",
        "12 notify.channel.sms.account-sid",
        "13 notify.channel.sms.auth-token-file",
        "14 notify.channel.sms.to",
        "15 notify.channel.sms.base-url",
        "16 notify.channel.sms.max-segments",
        "17 notify.channel.sms.colour",
        "19 notify.channel.fax.type",
        "21 tunnels",
    ];
    assert_eq!(findings(text), want);
}

#[test]
fn mistakes_in_the_sections_of_channels_are_told_and_no_secret_with_them() {
    let sid = "0".repeat(32);
    let twilio = |more: &str| {
        format!("type = \"twilio\"\naccount-sid = \"AC{sid}\"\nto = [\"+15550101\"]\n{more}\n")
    };
    let key = format!("api-key-sid = \"SK{sid}\"\n");
    let service = format!("messaging-service-sid = \"MG{sid}\"\n");
    let token = "auth-token-file = \"twilio-token\"\n";
    let ntfy = "type = \"ntfy\"\ntopic = \"t\"\n";
    let webhook = "type = \"webhook\"\nurl = \"https://h.example/x?y=1\"\n";
    let am = |url: &str, more: &str| format!("type = \"alertmanager\"\nurls = [{url}]\n{more}");
    let here = "\"http://127.0.0.1:9093\"";
    let far = "\"http://10.0.0.1:9093\"";
    let all = "username = \"a\"\npassword-file = \"twilio-key\"\n";
    let table: Vec<(String, &[&str])> = vec![
        (twilio(&format!("{token}from = \"+15550100\"")), &[]),
        (twilio(&format!("{token}{service}")), &[]),
        (twilio(&format!("{key}api-key-secret-file = \"twilio-key\"\n{service}")), &[]),
        (twilio(token), &["from"]),
        (twilio(&service), &["auth-token-file"]),
        (twilio(&format!("{key}{service}")), &["api-key-secret-file"]),
        (twilio(&format!("api-key-secret-file = \"twilio-key\"\n{service}")), &["api-key-sid"]),
        (
            twilio(&format!("{key}api-key-secret-file = \"twilio-key\"\n{token}{service}")),
            &["auth-token-file"],
        ),
        (twilio(&format!("{token}{service}from = \"+15550100\"")), &["from"]),
        (twilio(&format!("{token}messaging-service-sid = \"MG1\"")), &["messaging-service-sid"]),
        ("type = \"telegram\"\nto = []\n".into(), &["", "token-file"]),
        ("type = \"telegram\"\nto = [\"1\"]\ntoken-file = \"slack-url\"".into(), &["token-file"]),
        (
            "type = \"telegram\"\nto = [\"x\"]\ntoken-file = \"telegram-token\"\nsilent-info = 1"
                .into(),
            &["to", "silent-info"],
        ),
        (ntfy.into(), &[]),
        (format!("{ntfy}base-url = \"http://ntfy.example\""), &["base-url"]),
        (format!("{ntfy}token-file = \"absent\""), &["token-file"]),
        (format!("{ntfy}ca-file = \"ca.pem\""), &["ca-file"]),
        (format!("{ntfy}ca-file = \"/nonexistent/ca.pem\""), &["ca-file"]),
        (format!("{ntfy}ca-file = \"/etc/passwd\""), &["ca-file"]),
        ("type = \"slack\"\n".into(), &["url-file"]),
        ("type = \"slack\"\nurl-file = \"twilio-key\"".into(), &["url-file"]),
        ("type = \"discord\"\nurl-file = \"twilio-key\"".into(), &["url-file"]),
        (webhook.into(), &[]),
        (format!("{webhook}headers = {{ Authorization = \"hunter2\" }}"), &["headers"]),
        (format!("{webhook}headers = {{ \"X-A\" = 1 }}"), &["headers"]),
        ("type = \"webhook\"\nurl = \"http://h.example\"".into(), &["url"]),
        (am(here, ""), &[]),
        (am("", ""), &[""]),
        (am(far, ""), &["urls"]),
        (am(far, "allow-http = true"), &[]),
        (am(far, &format!("allow-http = true\n{all}")), &["urls"]),
        (am(here, all), &[]),
        (am(here, "username = \"a\""), &["username"]),
        (am(here, "password-file = \"twilio-key\""), &["password-file"]),
        (am(here, &format!("{all}token-file = \"twilio-key\"")), &["token-file"]),
        (am(here, "keep = \"1m\""), &["keep"]),
        (am(here, "labels = { host = \"x\" }"), &["labels"]),
    ];
    for (text, want) in table {
        let text = format!("[notify.channel.a]\n{text}\n");
        let found = parse(&text).err().unwrap_or_default();
        let keys: Vec<&str> = found
            .iter()
            .map(|f| f.key.strip_prefix("notify.channel.a").unwrap().trim_start_matches('.'))
            .collect();
        assert_eq!(keys, want, "{text}\n{found:?}");
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}

#[test]
#[cfg(feature = "mail")]
fn a_password_goes_over_no_line_in_clear_and_mail_over_none_to_another_machine() {
    let mail = |host: &str, more: &str| {
        format!(
            "[notify.channel.mail]\ntype = \"smtp\"\nhost = \"{host}\"\nfrom = \"a@b.example\"\n\
             to = [\"c@d.example\"]\n{more}"
        )
    };
    let sign_in = "username = \"a\"\npassword-file = \"smtp-password\"\n";
    let clear = "tls = \"none\"\n";
    let tls = ["6 notify.channel.mail.tls"];
    let whole = ["1 notify.channel.mail"];
    let table: [(&str, String, &[&str]); 9] = [
        ("mx.example", sign_in.into(), &[]),
        ("mx.example", "tls = \"implicit\"\n".into(), &[]),
        ("127.0.0.1", clear.into(), &[]),
        ("::1", clear.into(), &[]),
        ("localhost", format!("{clear}{sign_in}"), &tls),
        ("mx.example", clear.into(), &tls),
        ("192.0.2.1", clear.into(), &tls),
        ("mx.example", "username = \"a\"\n".into(), &whole),
        ("mx.example", "password-file = \"smtp-password\"\n".into(), &whole),
    ];
    for (host, more, want) in table {
        assert_eq!(findings(&mail(host, &more)), want, "{host} {more}");
    }
    let wrong = "port = 0\ntls = \"ssl\"\nca-file = \"/dev/null\"\nhello = \"a b\"\n";
    let two_lines =
        mail("mx.example", "").replace("c@d.example", "c@d.example\\r\\nBcc: e@f.example");
    assert_eq!(findings(&two_lines), ["5 notify.channel.mail.to"]);
    let found = findings(&mail("mx example", wrong));
    let keys = ["host", "port", "tls", "ca-file", "hello"];
    let lines = [3, 6, 7, 8, 9];
    let want: Vec<String> =
        lines.iter().zip(keys).map(|(n, key)| format!("{n} notify.channel.mail.{key}")).collect();
    assert_eq!(found, want);
}

#[test]
fn a_program_is_an_absolute_path_and_words_that_no_shell_reads() {
    let section = "[notify.channel.p]\ntype = \"exec\"\n";
    let parsed = parse(&format!("{section}command = [\"/opt/x/alert\", \"a b\", \"$(c)\"]\n"));
    assert_eq!(parsed.ok().unwrap().notify.channels[0].1.recipients(), ["alert"]);
    let whole = "1 notify.channel.p";
    let table = [
        ("", "1 notify.channel.p.command"),
        ("command = []\n", whole),
        ("command = [\"apprise\"]\n", whole),
        ("command = [\"./apprise\"]\n", whole),
        ("command = \"/usr/bin/apprise\"\n", "3 notify.channel.p.command"),
        ("command = [\"/x\", \"a\\u0000b\"]\n", "3 notify.channel.p.command"),
        ("command = [\"/x\"]\nto = []\n", whole),
        ("command = [\"/x\"]\nto = [\"a\\nb\"]\n", "4 notify.channel.p.to"),
        ("command = [\"/x\"]\ntimeout = \"500ms\"\n", "4 notify.channel.p.timeout"),
        ("command = [\"/x\"]\ntimeout = \"1h\"\n", "4 notify.channel.p.timeout"),
    ];
    for (text, want) in table {
        assert_eq!(findings(&format!("{section}{text}")), [want], "{text}");
    }
}

#[test]
fn the_only_channel_needs_no_route_and_of_several_one_has_to_be_first() {
    let channel = |name: &str| {
        format!(
            "[notify.channel.{name}]\ntype = \"twilio\"\naccount-sid = \"AC{}\"\n\
             auth-token-file = \"twilio-token\"\nfrom = \"+15550100\"\nto = [\"+15550101\"]\n",
            "0".repeat(32)
        )
    };
    assert_eq!(parse(&channel("a")).ok().unwrap().notify.policy.channels(), ["a"]);
    assert_eq!(findings(&(channel("a") + &channel("b"))), ["1 notify"]);
    let routed = "[notify]\nroute = [\"b\"]\n".to_owned() + &channel("a") + &channel("b");
    assert_eq!(parse(&routed).ok().unwrap().notify.policy.channels(), ["b"]);
}

#[test]
fn a_mistake_in_login_is_told_and_does_not_stop_the_sender() {
    let settings = parse("[login]\nknown-good = [\"300.1.1.1\"]\n").ok().unwrap();
    assert_eq!(settings.login_findings.len(), 1);
    assert!(parse("[login]\nknown-good = [\n").is_err(), "a syntax error may hide anything");
    assert!(parse("[host]\nspool = \"x\"\n").is_err());
}
