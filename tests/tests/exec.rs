//! A program of the administrator's as a channel: what it is given, what its end means, and that
//! nothing it does holds up the sender.

use std::time::{Duration, Instant};

use bastion_tests::alert::Draft;
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::process::Daemon;
use bastion_tests::rows::each_row;
use bastion_tests::sender::LOGIN;
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

/// Most memory the sender may ever have had, in KiB, as in the test of a provider's faults.
const MEMORY_KIB: u64 = 40 * 1024;

/// Where the program of most tests is, inside the machine.
const PROGRAM: &str = "/srv/alert";

/// A machine whose only channel runs `script`, and a sender at work.
fn start(script: &str, more: &str) -> (Host, Daemon) {
    let host = Host::new();
    host.write(PROGRAM, format!("#!/bin/bash\n{script}\n"), 0o755);
    configure(&host, &format!("command = [\"{PROGRAM}\"]\n{more}"));
    let sender = host.spawn_sender_with(&["CREDENTIALS_DIRECTORY=/run", "SECRET=hunter2"]);
    host.wait_syslog("bastion", "sender-started", 1);
    (host, sender)
}

fn configure(host: &Host, section: &str) {
    host.write_config(&format!(
        "{LOGIN}\n[notify.channel.program]\ntype = \"exec\"\ndigest = false\n{section}"
    ));
}

#[test]
fn a_program_is_given_the_alert_and_nothing_else_of_ours() {
    let user = "alice; touch /tmp/owned `id` $(id)\nBASTION_HOST=x";
    let (host, _sender) = start(
        "cat >/tmp/input; env -0 | sort -z >/tmp/env; echo; echo taken as 7",
        "to = [\"a b\"]",
    );
    let alert = Draft::login(1, user);
    host.publish(&alert);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    let visible = user.replace('\n', "\\x0a");
    let input = host.read("/tmp/input");
    assert!(input.contains(&format!("\nuser: {visible}\n")), "{input}");
    let environment = host.read("/tmp/env");
    let all: Vec<&str> = environment.split_terminator('\0').collect();
    let of = |name: &str| all.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let table = [
        ("BASTION_ALERT_ID", alert.id.as_str()),
        ("BASTION_USER", &visible),
        ("BASTION_SOURCE", "198.51.100.7"),
        ("BASTION_SEVERITY", "warning"),
        ("BASTION_KIND", "login"),
        ("BASTION_HOST", "jump"),
        ("BASTION_RECIPIENT", "a b"),
        ("BASTION_COUNT", "1"),
        ("HOME", "/var/lib/bastion"),
        ("LANG", "C.UTF-8"),
    ];
    for (name, want) in table {
        assert_eq!(of(name), Some(want), "{name}: {all:#?}");
    }
    assert!(of("BASTION_SMS").unwrap().ends_with(&format!("#{}", alert.id)), "{all:#?}");
    assert!(of("BASTION_SUBJECT").is_some() && of("PATH").is_some());
    // Beside them what bash sets by itself.
    let own = ["BASTION_SMS", "BASTION_SUBJECT", "PATH", "PWD", "SHLVL", "_", "OLDPWD"];
    let known = |name: &str| own.contains(&name) || table.iter().any(|(known, _)| *known == name);
    let names = all.iter().filter_map(|line| line.split('=').next());
    assert_eq!(names.filter(|name| !known(name)).collect::<Vec<_>>(), [""; 0], "{all:#?}");
    assert!(!host.path("/tmp/owned").exists());
    let sent = host.wait_syslog("bastion", "alert-sent", 1);
    assert_eq!(sent[0].field("answer").as_deref(), Some("taken as 7"), "{sent:?}");
}

#[test]
fn what_passes_is_tried_again_until_the_program_takes_it() {
    // A script that ends so the first time and well the second; what the log says of it.
    let table = [
        ("exit 75", "", "false", "ended with 75: no line"),
        ("exit 69", "", "false", "ended with 69: no line"),
        ("exit 1", "", "false", "ended with 1: no line"),
        ("kill -SEGV $$", "", "true", "signal 11"),
        ("sleep 1000", "timeout = \"1s\"", "true", "took more than 1s"),
    ];
    each_row(&table, |(first, more, doubtful, told)| {
        let script = format!(
            "echo x >>/tmp/runs; [ $(wc -l </tmp/runs) -gt 1 ] && exit 0; echo no line >&2; {first}"
        );
        let (host, _sender) = start(&script, more);
        let alert = Draft::login(1, "alice");
        host.publish(&alert);
        let lines = host.wait_syslog("bastion", "alert-deferred", 1);
        assert_eq!(lines[0].field("doubtful").as_deref(), Some(*doubtful), "{first}: {lines:?}");
        let reason = lines[0].field("reason").unwrap_or_default();
        assert!(reason.contains(told), "{first}: {reason}");
        host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(host.read("/tmp/runs").lines().count(), 2, "{first}");
    });
}

#[test]
fn a_message_that_the_program_refuses_is_kept_as_failed_and_does_not_block_the_next() {
    let (host, _sender) = start("grep -q bad && { echo bad alert >&2; exit 65; }; exit 0", "");
    let (bad, good) = (Draft::note(1, "bad"), Draft::note(2, "good"));
    host.publish(&bad);
    host.wait_room(&bad.id, "failed", ARRIVAL);
    host.publish(&good);
    host.wait_room(&good.id, "sent", ARRIVAL);
    let reason = host.read(&format!("/var/spool/bastion/failed/{}.reason", bad.name()));
    assert!(reason.contains("ended with 65: bad alert"), "{reason}");
}

#[test]
fn a_message_that_the_program_cannot_take_now_lets_the_others_go_first() {
    let (host, _sender) = start("grep -q bad && exit 1; exit 0", "");
    let (bad, good) = (Draft::note(1, "bad"), Draft::note(2, "good"));
    host.publish(&bad);
    host.wait_syslog("bastion", "alert-deferred", 1);
    host.publish(&good);
    host.wait_room(&good.id, "sent", ARRIVAL);
    assert_eq!(host.room_of(&bad.id), Some("queue"));
}

#[test]
fn a_program_that_cannot_work_is_told_as_wrong_settings_and_holds_the_alert() {
    let table = [
        ("missing", "rm PROGRAM", "No such file"),
        ("not executable", "chmod 644 PROGRAM", "ermission denied"),
        ("a directory", "rm PROGRAM; mkdir PROGRAM", "ermission denied"),
        ("no such interpreter", "echo '#!/nonexistent' >PROGRAM", "No such file"),
        // What is no program is a script for sh, as for a shell.
        ("a format of another machine", "printf 'MZ' >PROGRAM", "not found"),
        ("78", "printf '#!/bin/sh\\nexit 78' >PROGRAM", "ended with 78"),
        ("127", "printf '#!/bin/sh\\nabsent' >PROGRAM", "not found"),
    ];
    each_row(&table, |(why, script, told)| {
        let (host, sender) = start("exit 0", "");
        host.sh(&script.replace("PROGRAM", PROGRAM));
        let alert = Draft::login(1, "alice");
        host.publish(&alert);
        let lines = host.wait_syslog("bastion", "channel-trouble", 1);
        assert_eq!(lines[0].field("trouble").as_deref(), Some("config"), "{why}: {lines:?}");
        let reason = lines[0].field("reason").unwrap_or_default();
        assert!(reason.contains(told) && reason.contains("check command"), "{why}: {reason}");
        assert_eq!(host.room_of(&alert.id), Some("queue"), "{why}");
        let test = host.run(&["/artefacts/bastion", "test"]);
        assert_eq!(test.code, Some(78), "{why}: {test:?}");
        host.sh(&format!("rm -rf {PROGRAM}"));
        host.write(PROGRAM, "#!/bin/sh\nexit 0\n", 0o755);
        sender.signal(libc::SIGUSR1);
        host.wait_room(&alert.id, "sent", ARRIVAL);
    });
}

#[test]
fn of_a_program_that_hangs_and_forks_nothing_is_left_and_the_next_alert_is_not_held_up() {
    let script = "grep -q bad || exit 0\ntrap '' TERM\nfor n in 1 2 3; do\n  \
                  (trap '' TERM; sleep 98765) &\n  sleep 98765 &\ndone\nsleep 98765";
    let (host, sender) = start(script, "timeout = \"1s\"");
    let running = || host.run(&["pgrep", "-f", "^sleep 98765"]).text();
    host.publish(&Draft::note(1, "bad"));
    assert!(wait_until(DEADLINE, || running().lines().count() >= 6), "it forks");
    let lines = host.wait_syslog("bastion", "alert-deferred", 1);
    assert_eq!(lines[0].field("doubtful").as_deref(), Some("true"), "{lines:?}");
    assert!(wait_until(DEADLINE, || running().is_empty()), "{}", running());
    let good = Draft::note(2, "good");
    host.publish(&good);
    sender.signal(libc::SIGUSR1);
    host.wait_room(&good.id, "sent", ARRIVAL);
    let zombies = || host.run(&["pgrep", "--runstates", "Z", "-u", "_bastion"]).text();
    assert!(wait_until(DEADLINE, || zombies().is_empty()), "{}", zombies());
}

#[test]
fn a_program_that_takes_too_long_is_asked_to_end_before_it_is_killed() {
    // The sender has SIGTERM blocked for itself; what it starts must not.
    let script = "trap 'echo heard >/tmp/heard; exit 75' TERM; sleep 600 & wait";
    let (host, _sender) = start(script, "timeout = \"1s\"");
    host.publish(&Draft::login(1, "alice"));
    let heard = || host.path("/tmp/heard").exists();
    assert!(wait_until(ARRIVAL, heard), "it was killed without a word");
}

#[test]
fn what_a_program_does_with_its_pipes_costs_neither_time_nor_memory() {
    let flood = "head -c 10000000 /dev/zero | tr '\\0' '\\033'";
    let table = [
        ("never reads", "exit 0".to_owned()),
        ("closes its input", "exec <&-; exit 0".to_owned()),
        ("10 MB of output", format!("{flood}; exit 0")),
        ("10 MB of errors", format!("{flood} >&2; exit 0")),
        ("10 MB in lines", "yes | head -c 10000000; exit 0".to_owned()),
        ("a process of its own keeps the pipes", "setsid sleep 30 & exit 0".to_owned()),
    ];
    each_row(&table, |(why, script)| {
        let (host, sender) = start(script, "");
        // About the longest that fits a drop file, and longer in the body.
        let alert = Draft::note(1, &"\u{1}".repeat(2500));
        let begun = Instant::now();
        host.publish(&alert);
        host.wait_room(&alert.id, "sent", ARRIVAL);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "{why}: {took:?}");
        assert!(sender.peak_kib() < MEMORY_KIB, "{why}: {} KiB", sender.peak_kib());
        let sent = host.wait_syslog("bastion", "alert-sent", 1);
        assert!(sent[0].bytes().len() <= 2048, "{why}: {sent:?}");
        assert!(!sent[0].text.chars().any(char::is_control), "{why}: {sent:?}");
    });
}

#[test]
fn each_recipient_has_a_run_of_his_own() {
    let (host, _sender) = start("echo $BASTION_RECIPIENT >>/tmp/runs", "to = [\"alice\", \"bob\"]");
    let alert = Draft::login(1, "alice");
    host.publish(&alert);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    let runs = host.read("/tmp/runs");
    let mut runs: Vec<&str> = runs.lines().collect();
    runs.sort_unstable();
    assert_eq!(runs, ["alice", "bob"]);
}

#[test]
fn an_sms_leaves_by_a_modem_of_our_own_through_gammu() {
    if !std::path::Path::new("/usr/bin/gammu-smsd").exists() {
        assert!(std::env::var_os("CI").is_none(), "gammu-smsd is missing");
        eprintln!("SKIPPED: there is no gammu-smsd here (package gammu-smsd)");
        return;
    }
    let host = Host::new();
    let spool = "/var/spool/gammu";
    host.sh(&format!(
        "install -d -o _bastion {spool}/inbox {spool}/outbox {spool}/sent {spool}/error"
    ));
    host.sh("install -d -o _bastion /var/lib/dummy-modem");
    host.write(
        "/etc/gammu-smsdrc",
        format!(
            "[gammu]\nmodel = dummy\nconnection = none\nport = /var/lib/dummy-modem\n[smsd]\n\
             service = files\nlogfile = stderr\ncommtimeout = 1\ninboxpath = {spool}/inbox/\n\
             outboxpath = {spool}/outbox/\nsentsmspath = {spool}/sent/\nerrorsmspath = {spool}/error/\n"
        ),
        0o644,
    );
    let daemon = host.spawn(&["gammu-smsd", "-c", "/etc/gammu-smsdrc"]);
    let inject = "exec gammu-smsd-inject -c /etc/gammu-smsdrc TEXT \"$BASTION_RECIPIENT\" \
                  -text \"$BASTION_SMS\"";
    host.write(PROGRAM, format!("#!/bin/sh\n{inject}\n"), 0o755);
    configure(&host, &format!("command = [\"{PROGRAM}\"]\nto = [\"+15550101\"]\n"));
    let _sender = host.spawn_sender();
    let alert = Draft::login(1, "zo\u{eb} \u{7f51}");
    host.publish(&alert);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    let sent = || {
        let names = host.run(&["ls", &format!("{spool}/sent")]).text();
        names.lines().map(|name| host.read(&format!("{spool}/sent/{name}"))).collect::<Vec<_>>()
    };
    // Gammu writes a text in UTF-16, in hex.
    let mark: String = alert.id.chars().map(|c| format!("{:04X}", u32::from(c))).collect();
    let there = || sent().iter().any(|text| text.contains(&mark));
    assert!(wait_until(ARRIVAL, there), "{:?}\n{}", sent(), daemon.output());
    assert_eq!(sent().len(), 1);
}
