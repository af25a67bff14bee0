//! `bastion allow`, from the command line through the file to a login over sshd: quiet while it
//! lasts, told again when it is over, and never in anybody's way.

use std::time::Duration;

use bastion_tests::host::{DEADLINE, Host, JUMP, KNOWN, UNKNOWN};
use bastion_tests::process::Output;
use bastion_tests::rows::each_row;
use bastion_tests::sender::LOGIN;
use bastion_tests::spool::Mark;
use bastion_tests::syslog::Line;
use bastion_tests::wait::wait_until;

const FILE: &str = "/etc/bastion/allowances.toml";

/// A fingerprint that is nobody's.
const NO_KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn allow(host: &Host, words: &[&str]) -> Output {
    host.run(&[&["/artefacts/bastion", "allow"], words].concat())
}

/// Logs in as `user` from `from` to `to`; the login works, and this is its one line.
fn login_to(host: &Host, mark: &Mark, user: &str, from: &[&str], to: &str, why: &str) -> Line {
    let output = host.ssh(&[from, &["-l", user, to, "echo in"]].concat());
    assert_eq!((output.code, output.text().as_str()), (Some(0), "in\n"), "{why}: {output:?}");
    host.wait_ended_at_least(mark, 1);
    let mut lines = host.lines_since(mark, "login");
    assert_eq!(lines.len(), 1, "{why}: {lines:#?}");
    lines.remove(0)
}

/// Whether a login of `user` from the unknown place is told; the line and the spool agree.
fn told(host: &Host, user: &str, why: &str) -> (bool, Line) {
    let mark = host.mark();
    let line = login_to(host, &mark, user, &["-b", UNKNOWN], JUMP, why);
    let told = line.field("verdict").as_deref() == Some("alert");
    assert_eq!(host.alerts_since(&mark).len(), usize::from(told), "{why}");
    (told, line)
}

/// The notes in `drop/`, as (severity, text); takes them away.
fn notes(host: &Host) -> Vec<(String, String)> {
    let files = host.spool_files("drop");
    let notes = files.iter().filter(|(name, _)| name.contains("-note-")).map(|(name, text)| {
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        std::fs::remove_file(host.path(format!("/var/spool/bastion/drop/{name}"))).expect("a note");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (text(&json["severity"]), text(&json["what"]["text"]))
    });
    notes.collect()
}

#[test]
fn a_granted_place_is_quiet_until_it_ends_and_everything_is_told() {
    let host = Host::with_sshd();
    assert!(told(&host, "alice", "before").0);
    let sudo = ["env", "SUDO_USER=alice", "/artefacts/bastion", "allow", UNKNOWN, "--for", "8s"];
    host.run(&sudo).ok();
    let stat = host.run(&["stat", "-c", "%U:%G %a", FILE]).ok().text();
    assert_eq!(stat, "root:root 644\n");
    let note = format!("allowance: {UNKNOWN} for 8s by alice");
    assert_eq!(notes(&host), [("info".to_owned(), note)]);
    let granted = host.wait_syslog("bastion", "allowance-granted", 1).remove(0);
    assert_eq!(granted.field("network").as_deref(), Some(UNKNOWN), "{granted:?}");
    assert_eq!(granted.field("by").as_deref(), Some("alice"), "{granted:?}");
    let until = granted.field("until").expect("an end");

    let (is_told, line) = told(&host, "alice", "allowed");
    assert!(!is_told, "{line:?}");
    let rule = line.field("rule").unwrap_or_default();
    assert_eq!(rule, format!("allowance 1 ({UNKNOWN} until {until})"));
    let why = || host.run(&["/artefacts/bastion", "why", UNKNOWN]).ok().text();
    assert!(why().starts_with(&format!("known good, by rule {rule}")), "{}", why());

    assert!(wait_until(DEADLINE, || why().starts_with("alert: ")), "it does not end: {}", why());
    let (is_told, line) = told(&host, "alice", "ended");
    let reason = line.field("reason").unwrap_or_default();
    assert!(is_told && reason == format!("rule {rule}: its time is over"), "{line:?}");
    assert!(allow(&host, &["--list"]).ok().text().contains("(over)"));
    // Dropped when the file is written next.
    allow(&host, &["192.0.2.77", "--for", "1d"]).ok();
    assert!(!host.read(FILE).contains(UNKNOWN), "{}", host.read(FILE));
    // The configuration's own rules are as they were.
    let mark = host.mark();
    let line = login_to(&host, &mark, "alice", &["-b", KNOWN], JUMP, "known");
    assert_eq!(line.field("rule").as_deref(), Some("known-good"));
}

#[test]
fn an_allowance_is_for_its_user_and_its_key_alone_and_can_be_removed() {
    let host = Host::with_sshd();
    let key = host.fingerprint("/root/.ssh/id_ed25519.pub");
    let network = "198.51.100.0/24";
    let table: &[(&[&str], &str, bool)] = &[
        (&["--user", "alice"], "alice", false),
        (&["--user", "alice"], "root", true),
        (&["--user", "alice", "--user", "root"], "root", false),
        (&["--key", &key], "alice", false),
        (&["--key", NO_KEY], "alice", true),
        (&["--key", NO_KEY, "--key", &key], "alice", false),
        (&["--user", "root", "--key", &key], "alice", true),
        (&["--user", "alice", "--key", &key], "alice", false),
    ];
    for (words, user, want) in table {
        allow(&host, &[&[network, "--for=1h"], *words].concat()).ok();
        let (is_told, line) = told(&host, user, &format!("{words:?}"));
        assert_eq!(is_told, *want, "{words:?} {user}: {line:?}");
        allow(&host, &["--remove", "1"]).ok();
    }
    allow(&host, &[network, "--for", "1h"]).ok();
    allow(&host, &[UNKNOWN, "--for", "1h"]).ok();
    assert!(!told(&host, "alice", "both").0);
    allow(&host, &["--remove", UNKNOWN]).ok();
    assert!(!told(&host, "alice", "the network").0);
    allow(&host, &["--remove", network]).ok();
    assert!(told(&host, "alice", "neither").0);
    host.wait_syslog("bastion", "allowance-removed", table.len() + 2);
}

#[test]
fn the_tunnel_is_allowed_only_where_it_is_written_out() {
    let host = Host::with_sshd();
    for (place, want) in [("64.0.0.0/2", "alert"), ("127.0.0.1", "known-good")] {
        let output = allow(&host, &[place, "--for", "1h"]).ok();
        assert_eq!(output.text().contains("reverse tunnel"), want == "known-good", "{output:?}");
        let mark = host.mark();
        let line = login_to(&host, &mark, "alice", &[], "127.0.0.1", place);
        assert_eq!(line.field("verdict").as_deref(), Some(want), "{place}: {line:?}");
    }
}

#[test]
fn what_is_wrong_with_the_file_keeps_nobody_out_and_is_told() {
    // (why, what is done to the file, what the log says, whether the good entry counts)
    let table: &[(&str, &str, &str, bool)] = &[
        ("syntax", "echo 'allow = [' >>FILE", "line ", false),
        ("random", "head -c 5000 /dev/urandom >FILE", "UTF-8", false),
        ("sparse", "truncate -s 100M FILE", "more than", false),
        ("huge", "head -c 10000000 /dev/zero | tr '\\0' '#' >>FILE", "more than", false),
        ("directory", "rm FILE; mkdir FILE", "not a regular file", false),
        ("fifo", "rm FILE; mkfifo FILE", "not a regular file", false),
        ("device", "rm FILE; ln -s /dev/zero FILE", "not a regular file", false),
        ("link", "mv FILE /etc/bastion/a; ln -s a FILE", "a symbolic link", false),
        ("dangling", "rm FILE; ln -s nowhere FILE", "a symbolic link", false),
        ("world-writable", "chmod 666 FILE", "chmod go-w", false),
        ("stranger's", "chown alice FILE", "chown root", false),
        (
            "no end",
            "printf '[[allow]]\\nfrom=[\"192.0.2.9\"]\\n' >>FILE",
            "line 9: allow.2.until",
            true,
        ),
        ("unknown key", "sed -i '$auser = \"bob\"' FILE", "no such key", false),
        ("too long", "sed -i 's/^until = 20/until = 21/' FILE", "more than 90 days", false),
        ("config broken", "echo 'x = [' >>/etc/bastion/bastion.toml", "line ", false),
        ("config missing", "rm /etc/bastion/bastion.toml", "No such file", false),
    ];
    each_row(table, |(why, prepare, reason, counts)| {
        let host = Host::with_sshd();
        allow(&host, &[UNKNOWN, "--for", "1h"]).ok();
        assert!(!told(&host, "alice", why).0, "{why}: the control");
        // Without the boot's own end, the line numbers do not hang on the kernel.
        host.sh(&format!("sed -i '/^boot/d' {FILE}"));
        host.sh(&prepare.replace("FILE", FILE));
        let mark = host.mark();
        let (is_told, line) = told(&host, "alice", why);
        assert_eq!(is_told, !counts, "{why}: {line:?}");
        let problems = host.lines_since(&mark, "config-problem");
        assert_eq!(problems.len(), 1, "{why}: {problems:#?}");
        let file = if why.starts_with("config") { "bastion.toml" } else { FILE };
        assert!(problems[0].text.contains(reason), "{why}: {problems:?}");
        assert!(problems[0].text.contains(file), "{why}: {problems:?}");
        if why.starts_with("config") {
            return;
        }
        let check = host.run(&["/artefacts/bastion", "check"]);
        assert_eq!(check.code, Some(2), "sshd is not told either: {why}: {check:?}");
        let said = check.text();
        let said: Vec<&str> = said.lines().filter(|line| line.contains("[allowances]")).collect();
        assert!(said.len() == 1 && said[0].contains(reason), "{why}: {said:?}");
        assert!(said[0].contains(FILE) && check.text().contains("remove it"), "{why}: {said:?}");
        // Nothing is written over what somebody may want to mend.
        let grant = allow(&host, &["192.0.2.7", "--for", "1h"]);
        assert_eq!(grant.code, Some(78), "{why}: {grant:?}");
        assert!(grant.errors().contains("mend it, or remove it"), "{why}: {grant:?}");
        let explained = host.run(&["/artefacts/bastion", "why", UNKNOWN]).ok().text();
        assert!(explained.contains("left out: ") && explained.contains(reason), "{explained}");
    });
}

#[test]
fn a_file_written_by_hand_counts_until_it_ends_and_none_is_no_mistake() {
    let host = Host::with_sshd();
    let table: &[(&str, bool)] = &[
        ("date -u -d '1 hour' +%FT%TZ", false),
        ("date -u -d '1 hour ago' +%FT%TZ", true),
        ("date -u -d '2 days' +%F", false),
    ];
    for (until, want) in table {
        host.sh(&format!(
            "printf '[[allow]]\\nfrom = [\"{UNKNOWN}\"]\\nuntil = %s\\n' $({until}) >{FILE}"
        ));
        assert_eq!(told(&host, "alice", until).0, *want, "{until}");
    }
    // In the same boot the boot's clock counts as well, whatever the wall clock says.
    for (boot_end, want) in [("99999999", false), ("1", true)] {
        host.sh(&format!(
            "echo \"boot = '$(cat /proc/sys/kernel/random/boot_id)'\" >>{FILE}
             echo boot-end-s = {boot_end} >>{FILE}"
        ));
        assert_eq!(told(&host, "alice", boot_end).0, want, "{boot_end}");
        host.sh(&format!("sed -i '/^boot/d' {FILE}"));
    }
    host.sh(&format!("rm {FILE}"));
    let mark = host.mark();
    assert!(told(&host, "alice", "no file").0);
    assert_eq!(host.lines_since(&mark, "config-problem").len(), 0);
}

#[test]
fn the_command_says_what_is_wrong() {
    let host = Host::new();
    host.configure("http://127.0.0.1:9");
    let table: &[(&[&str], i32, &str)] = &[
        (&[], 64, "an address is missing"),
        (&["192.0.2.1"], 64, "--for"),
        (&["192.0.2.1", "--for"], 64, "--for"),
        (&["192.0.2.1", "192.0.2.2", "--for", "1h"], 64, "192.0.2.2"),
        (&["192.0.2.1", "--for", "1h", "--list"], 64, "one of them"),
        (&["--list", "--remove", "1"], 64, "one of them"),
        (&["--list", "--user", "a"], 64, "one of them"),
        (&["--remove"], 64, "--remove"),
        (&["--fly"], 64, "--fly"),
        (&["jump", "--for", "1h"], 65, "neither an address nor a network"),
        (&["0.0.0.0/0", "--for", "1h"], 65, "every address"),
        (&["192.0.2.1/24", "--for", "1h"], 65, "192.0.2.0/24"),
        (&["192.0.2.1", "--for", "2"], 65, "a whole number and"),
        (&["192.0.2.1", "--for", "91d"], 65, "90d"),
        (&["192.0.2.1", "--for", "0s"], 65, "1s"),
        (&["192.0.2.1", "--for", "1h", "--key", "MD5:x"], 65, "fingerprint"),
        (&["192.0.2.1", "--for", "1h", "--user", ""], 65, "user"),
        (&["--remove", "7"], 65, "no such allowance"),
        (&["--remove", "192.0.2.1"], 65, "no such allowance"),
    ];
    for (words, code, reason) in table {
        let output = allow(&host, words);
        assert_eq!(output.code, Some(*code), "{words:?}: {output:?}");
        assert!(output.errors().contains(reason), "{words:?}: {output:?}");
    }
    assert_eq!((notes(&host), host.read(FILE)), (vec![], String::new()));

    assert!(allow(&host, &["--list"]).ok().text().starts_with("nothing is allowed"));
    allow(&host, &["192.0.2.0/24", "--for", "30h", "--user", "al\nice"]).ok();
    let list = allow(&host, &["--list"]).ok().text();
    assert!(list.starts_with("  1  192.0.2.0/24, user al\\x0aice  until "), "{list}");
    assert!(list.ends_with(" h left), by uid 0\n") && list.lines().count() == 1, "{list}");
    // The same once more: the new end.
    allow(&host, &["192.0.2.0/24", "--for", "5d", "--user", "al\nice"]).ok();
    let list = allow(&host, &["--list"]).ok().text();
    assert!(list.lines().count() == 1 && list.contains("days left"), "{list}");
}

#[test]
fn only_root_grants_and_nothing_is_granted_without_an_alert() {
    let host = Host::new();
    host.configure("http://127.0.0.1:9");
    let alice = |words: &[&str]| {
        let who = ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "--"];
        host.run(&[&who[..], &["/artefacts/bastion", "allow"], words].concat())
    };
    for words in [&["192.0.2.1", "--for", "1h"][..], &["--remove", "1"]] {
        let output = alice(words);
        assert_eq!(output.code, Some(77), "{output:?}");
        assert!(output.errors().contains("only root"), "{output:?}");
    }
    alice(&["--list"]).ok();
    host.sh("mv /var/spool/bastion/drop /var/spool/bastion/away");
    let output = allow(&host, &["192.0.2.1", "--for", "1h"]);
    assert_eq!(output.code, Some(73), "{output:?}");
    assert!(output.errors().contains("nothing is allowed"), "{output:?}");
    host.sh("mv /var/spool/bastion/away /var/spool/bastion/drop");
    assert_eq!(host.read(FILE), "");
    host.write_config(&format!("{LOGIN}\nx = ["));
    let output = allow(&host, &["192.0.2.1", "--for", "1h"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    host.configure("http://127.0.0.1:9");
    // Two at once: the second is told so, and neither loses the other's.
    let lock = ["flock", "/etc/bastion", "/artefacts/bastion", "allow", "192.0.2.1", "--for=1h"];
    let output = host.run_with(Duration::from_secs(10), &lock, b"");
    assert_eq!(output.code, Some(75), "{output:?}");
    assert_eq!(notes(&host), []);
}
