//! `bastion` on the command line: what it says, and what it exits with.

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{CONFIG, DEADLINE, Host, SPOOL};
use bastion_tests::process::Output;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::rows::each_row;
use bastion_tests::sender::{AS_BASTION, LOGIN, Rig, TO, TOKEN_FILE, route};
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

const BASTION: &str = "/artefacts/bastion";

/// Runs `bastion WORDS` as root.
fn bastion(host: &Host, words: &[&str]) -> Output {
    host.run(&[&[BASTION], words].concat())
}

/// The same as `user`, with these groups.
fn bastion_as(host: &Host, user: &str, groups: &str, words: &[&str]) -> Output {
    let id = |what: &str| format!("--{what}={user}");
    let groups = format!("--groups={groups}");
    let (uid, gid) = (id("reuid"), id("regid"));
    host.run(&[&["setpriv", &uid, &gid, &groups, "--", BASTION], words].concat())
}

#[test]
fn every_command_has_help_and_all_say_their_version() {
    let host = Host::new();
    let overview = bastion(&host, &["--help"]).ok().text();
    let commands = ["run", "send", "test", "queue", "check", "allow", "why"];
    for command in commands {
        assert!(overview.contains(&format!("  {command}")), "{command}: {overview}");
        for flag in ["--help", "-h"] {
            let help = bastion(&host, &[command, flag]).ok();
            assert!(help.text().starts_with(&format!("usage: bastion {command}")), "{help:?}");
            assert!(help.text().contains("--config") && help.errors().is_empty(), "{help:?}");
        }
        let version = bastion(&host, &[command, "--version"]).ok().text();
        assert_eq!(version, format!("bastion {}\n", env!("CARGO_PKG_VERSION")));
    }
    assert_eq!(bastion(&host, &["-V"]).ok().text(), bastion(&host, &["--version"]).ok().text());
}

#[test]
fn a_wrong_command_line_exits_with_64_and_says_what_is_wrong() {
    let host = Host::new();
    let table: &[(&[&str], &str)] = &[
        (&[], "a command is missing"),
        (&["fly"], "fly"),
        (&["--fly"], "--fly"),
        (&["--config"], "--config"),
        (&["run", "x"], "x"),
        (&["run", "--fly"], "--fly"),
        (&["send", "--severity", "loud", "x"], "info, warning, critical"),
        (&["send", "--severity"], "--severity"),
        (&["send", "--fly", "x"], "--fly"),
        (&["test", "--fly"], "--fly"),
        (&["queue", "fly"], "show ID"),
        (&["queue", "show"], "show ID"),
        (&["queue", "show", "x"], "six characters"),
        (&["queue", "show", "../../"], "six characters"),
        (&["queue", "retry"], "retry ID"),
        (&["queue", "drop", "all"], "six characters"),
        (&["queue", "list", "--fly"], "--fly"),
        (&["check", "x"], "x"),
        (&["allow"], "address"),
        (&["allow", "192.0.2.1"], "--for"),
        (&["why"], "address"),
        (&["why", "192.0.2.1", "192.0.2.2"], "192.0.2.2"),
        (&["why", "192.0.2.1", "--user"], "--user"),
    ];
    host.configure("http://127.0.0.1:9");
    for (words, told) in table {
        let output = bastion(&host, words);
        assert_eq!(output.code, Some(64), "{words:?}: {output:?}");
        let said = output.errors();
        assert!(said.starts_with("bastion: ") && said.contains(told), "{words:?}: {said}");
        assert_eq!((output.text().as_str(), said.lines().count()), ("", 1), "{words:?}: {said}");
    }
}

/// The text of the only alert in `drop/`, and its severity; takes it away.
fn dropped(host: &Host) -> (String, String) {
    let files = host.spool_files("drop");
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::remove_file(host.path(format!("{SPOOL}/drop/{}", files[0].0))).expect("a file");
    let json: serde_json::Value = serde_json::from_str(&files[0].1).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&json["what"]["text"]), text(&json["severity"]))
}

#[test]
fn send_puts_a_text_into_the_spool() {
    let host = Host::new();
    host.configure("http://127.0.0.1:9");
    let table: &[(&[&str], &[u8], &str, &str)] = &[
        (&["one word"], b"", "one word", "warning"),
        (&["several", "words  in", "all"], b"", "several words  in all", "warning"),
        (&["--severity", "info", "x"], b"", "x", "info"),
        (&["x", "--severity=critical"], b"", "x", "critical"),
        (&["--", "--severity", "x"], b"", "--severity x", "warning"),
        (&[], b"from\na pipe\n", "from\na pipe", "warning"),
        (&["--severity", "info"], b"a pipe", "a pipe", "info"),
        (&["an argument"], b"and not the pipe", "an argument", "warning"),
        (&[], b"not \xff text", "not \u{fffd} text", "warning"),
        (&["a\nb\x1b[2J\"\\"], b"", "a\nb\x1b[2J\"\\", "warning"),
    ];
    for (words, input, text, severity) in table {
        let words = [&[BASTION, "send"], *words].concat();
        let output = host.run_with(DEADLINE, &words, input).ok();
        let id = output.text();
        assert_eq!((id.len(), id.ends_with('\n')), (7, true), "{words:?}: {id:?}");
        assert_eq!(dropped(&host), ((*text).to_owned(), (*severity).to_owned()), "{words:?}");
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_and_says_so_and_none_is_an_error() {
    let host = Host::new();
    host.configure("http://127.0.0.1:9");
    // The first million bytes of standard input are read, the rest is not.
    for (length, told) in [(5000, 5000), (100_000, 100_000), (3_000_000, 1 << 20)] {
        host.run_with(DEADLINE, &[BASTION, "send"], &vec![b'a'; length]).ok();
        let (text, _) = dropped(&host);
        assert!(text.len() <= 4096, "{length}: {}", text.len());
        assert!(text.ends_with(&format!("(cut, it had {told} bytes)")), "{length}: {text}");
    }
    for input in ["", " \n\t "] {
        let output = host.run_with(DEADLINE, &[BASTION, "send"], input.as_bytes());
        assert_eq!(output.code, Some(65), "{output:?}");
    }
    assert_eq!(host.spool_names("drop"), [""; 0]);
}

#[test]
fn what_is_sent_arrives_with_its_id_and_its_urgency() {
    let rig = Rig::start();
    for (severity, word) in [("info", "note"), ("warning", "warning"), ("critical", "CRITICAL")] {
        let words = [BASTION, "send", "--severity", severity, "the disk is full"];
        let id = rig.host.run(&words).ok().text();
        let sms = rig.provider.wait_alert(id.trim(), ARRIVAL);
        let text = format!("jump: {word}: the disk is full");
        assert!(sms.body().starts_with(&text), "{severity}: {}", sms.body());
    }
}

#[test]
fn what_cannot_be_spooled_is_in_syslog_at_the_highest_level() {
    let table: &[(&str, &str, i32, &str)] = &[
        ("not one of the group", "true", 77, "Permission denied"),
        ("no spool", "rm -r SPOOL", 73, "No such file"),
        ("no drop directory", "rmdir SPOOL/drop", 73, "No such file"),
        ("drop is a file", "rmdir SPOOL/drop; : >SPOOL/drop", 78, "not a directory"),
        ("drop is a link", "rmdir SPOOL/drop; ln -s /tmp SPOOL/drop", 78, "not a directory"),
        ("for all to write", "chmod 1777 SPOOL/drop", 78, "chmod o-w"),
        ("spool for all to write", "chmod 777 SPOOL", 78, "chmod go-w"),
        ("another's spool", "chown bob SPOOL", 78, "not by root"),
        ("another's drop", "chown bob SPOOL/drop", 78, "neither root nor"),
    ];
    each_row(table, |(why, script, code, told)| {
        let host = Host::new();
        host.sh(&script.replace("SPOOL", SPOOL));
        let output = bastion_as(&host, "alice", "alice", &["send", "help\nme"]);
        assert_eq!(output.code, Some(*code), "{why}: {output:?}");
        assert!(output.errors().contains(told), "{why}: {output:?}");
        assert!(output.errors().contains("in syslog and nowhere else"), "{why}: {output:?}");
        let lines = host.wait_syslog("bastion", "note ", 1);
        assert_eq!((lines.len(), lines[0].severity()), (1, Some(1)), "{why}: {lines:?}");
        assert_eq!(lines[0].field("text").as_deref(), Some("help\\x0ame"), "{why}");
        assert!(lines[0].field("not-spooled").is_some_and(|why| why.contains(told)), "{lines:?}");
    });
}

#[test]
fn send_needs_no_good_configuration_no_root_and_no_syslog() {
    let host = Host::new();
    for config in ["syntax = [", "[host]\nname = 7\n[notify]\nroute = [\"x\"]\n"] {
        host.write_config(config);
        bastion(&host, &["send", "x"]).ok();
        assert_eq!(dropped(&host).0, "x");
    }
    host.run(&["rm", CONFIG]).ok();
    bastion_as(&host, "_tunnelwatch", "_bastion-drop", &["send", "x"]).ok();
    let owner = host.run(&["bash", "-c", &format!("stat -c '%U %G %a' {SPOOL}/drop/*")]).text();
    assert_eq!(owner, "_tunnelwatch _bastion-drop 640\n");
    assert_eq!(dropped(&host).0, "x");
    host.wedge_syslog();
    assert_eq!(bastion_as(&host, "alice", "alice", &["send", "x"]).code, Some(77));
    host.unwedge_syslog();
}

#[test]
fn test_says_in_words_what_the_provider_answered() {
    let own = |code| Fault::status(400).code(code);
    let table = [
        ("well", None, 0, "sms to +15550101: queued as SM"),
        ("a bad token", Some(Fault::status(401)), 78, "auth-token-file"),
        ("no right", Some(Fault::status(403)), 78, "what this account may do"),
        ("a wrong address", Some(Fault::status(404)), 78, "base-url"),
        ("a login page", Some(Fault::status(302)), 78, "between here and Twilio"),
        ("a bad number", Some(own(21211)), 69, "HTTP 400, code 21211: told to"),
        ("unsubscribed", Some(own(21610)), 69, "HTTP 400, code 21610"),
        ("too fast", Some(Fault::status(429)), 75, "HTTP 429"),
        ("overloaded", Some(Fault::status(503)), 75, "HTTP 503"),
        ("not HTTP", Some(Fault::new(Act::Garbage)), 75, "is no HTTP"),
        ("closed", Some(Fault::new(Act::Close)), 75, "broke"),
        ("no readable answer", Some(Fault::new(Act::BadJson)), 75, "cannot be read"),
        ("no answer", Some(Fault::new(Act::Hang)), 75, "did not answer in time"),
        ("refused", Some(Fault::new(Act::Refuse)), 75, "Connection refused"),
    ];
    each_row(&table, |(why, fault, code, told)| {
        let host = Host::new();
        let mut provider = Provider::start(&host);
        host.configure(&provider.url());
        if let Some(fault) = fault {
            provider.fault(fault);
        }
        let output = bastion(&host, &["test"]);
        assert_eq!(output.code, Some(*code), "{why}: {output:?}");
        let said = if *code == 0 { output.text() } else { output.errors() };
        assert!(said.contains("sms to +15550101: ") && said.contains(told), "{why}: {said}");
        assert_eq!(provider.accepted().len(), usize::from(*code == 0), "{why}");
        let rooms = ["drop", "queue", "sent", "failed"];
        assert!(rooms.iter().all(|room| host.spool_names(room).is_empty()), "{why}");
    });
}

#[test]
fn test_tells_of_each_recipient_and_exits_with_the_worst() {
    let host = Host::new();
    let mut provider = Provider::start(&host);
    host.write_token(AUTH_TOKEN);
    // The provider answers 400 for the numbers in the middle.
    let people = [TO, "+15005550001", "+15005550004", "+15550104"];
    let channels = route("60s", &[("a", &provider.url(), &people), ("b", &provider.url(), &[TO])]);
    host.write_config(&format!("{LOGIN}{channels}"));
    let all = |words: &[&str]| {
        let output = bastion(&host, words);
        (output.code, format!("{}{}", output.text(), output.errors()))
    };
    let (code, said) = all(&["test"]);
    assert_eq!(code, Some(69), "{said}");
    for line in [
        "a to +15550101: queued",
        "a to +15005550001: HTTP 400, code 21211",
        "a to +15005550004: HTTP 400, code 21610",
        "a to +15550104: queued",
        "b to +15550101: queued",
    ] {
        assert_eq!(said.matches(line).count(), 1, "{line}: {said}");
    }
    // Settings that nobody mended are worse than a number that is wrong, whichever came first.
    provider.fault(&Fault::status(401).times(1));
    assert_eq!(all(&["test"]).0, Some(78));
    let (code, said) = all(&["test", "b"]);
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert_eq!(all(&["test", "c"]).0, Some(64));
    host.write_config(LOGIN);
    assert_eq!(all(&["test"]).0, Some(78));
}

#[test]
fn why_explains_a_verdict_and_changes_nothing() {
    let host = Host::new();
    let rule = "[[login.allow]]\nusers = [\"backup\"]\nfrom = [\"198.51.100.0/24\"]\n";
    host.write_config(&format!("{LOGIN}\n{rule}"));
    let table: &[(&[&str], i32, &str)] = &[
        (&["203.0.113.9"], 0, "known good"),
        (&["::ffff:203.0.113.9"], 0, "known good"),
        (&["198.51.100.7"], 0, "alert: "),
        (&["198.51.100.7", "--user", "backup"], 0, "known good"),
        (&["198.51.100.7", "--user=alice"], 0, "alert: "),
        (&["127.0.0.1"], 0, "alert: "),
        (&["jump"], 65, "names are never looked up"),
        (&["203.0.113.9", "--key", "MD5:xx"], 65, "MD5:xx"),
    ];
    for (words, code, told) in table {
        let output = bastion(&host, &[&["why"], *words].concat());
        assert_eq!(output.code, Some(*code), "{words:?}: {output:?}");
        let said = if *code == 0 { output.text() } else { output.errors() };
        assert!(said.contains(told), "{words:?}: {said}");
    }
    // As the PAM module: a mistake is left out and told.
    host.write_config(&LOGIN.replace("known-good = [", "known-good = [\"x\", "));
    let output = bastion(&host, &["why", "203.0.113.9"]).ok();
    assert!(output.text().starts_with("known good"), "{output:?}");
    assert!(output.text().contains("left out: ") && output.text().contains("line "), "{output:?}");
    assert_eq!(bastion_as(&host, "alice", "alice", &["why", "203.0.113.9"]).code, Some(0));
    host.run(&["rm", CONFIG]).ok();
    assert_eq!(bastion(&host, &["why", "203.0.113.9"]).code, Some(78));
}

#[test]
fn the_configuration_is_where_it_is_said_to_be() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    host.run(&["mv", CONFIG, "/etc/other.toml"]).ok();
    let table: &[&[&str]] = &[
        &["--config", "/etc/other.toml", "test"],
        &["--config=/etc/other.toml", "test"],
        &["test", "--config", "/etc/other.toml"],
        &["test", "sms", "--config=/etc/other.toml"],
    ];
    for words in table {
        bastion(&host, words).ok();
    }
    assert_eq!(provider.accepted().len(), table.len());
    assert_eq!(bastion(&host, &["test"]).code, Some(78));
}

#[test]
fn as_the_senders_user_the_commands_work_as_well() {
    let rig = Rig::start();
    for words in [&["test"][..], &["queue"], &["send", "x"], &["queue", "list", "--sent"]] {
        rig.host.run(&[AS_BASTION, &[BASTION], words].concat()).ok();
    }
    let alert = Draft::note(1, "x");
    rig.host.publish(&alert);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    rig.host.run(&[AS_BASTION, &[BASTION, "queue", "show", &alert.id]].concat()).ok();
    assert!(wait_until(DEADLINE, || rig.provider.accepted().len() == 3), "test, send and the note");
    assert!(!rig.host.read(TOKEN_FILE).is_empty());
}
