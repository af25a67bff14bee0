//! The token reaches the provider and nobody else.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{CONFIG, DEADLINE, Host, SPOOL};
use bastion_tests::process::Daemon;
use bastion_tests::provider::{ACCOUNT_SID, AUTH_TOKEN, Provider};
use bastion_tests::rows::each_row;
use bastion_tests::search;
use bastion_tests::sender::{AS_BASTION, Rig, TOKEN_FILE};
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

/// What must not be found: the token, and the credentials as they are sent.
fn needles() -> Vec<Vec<u8>> {
    let basic = STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}"));
    search::needles(&[AUTH_TOKEN, &basic])
}

fn shows_secret(bytes: &[u8]) -> bool {
    search::shows(bytes, &needles())
}

/// Everything in the machine that shows the secret, but for the file it is kept in.
fn places(host: &Host) -> Vec<String> {
    search::places(host, &needles(), &[TOKEN_FILE])
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let host = Host::new();
    let file = format!("{SPOOL}/queue/x");
    let basic = STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}"));
    for text in [AUTH_TOKEN, &AUTH_TOKEN[8..], &basic, &basic[20..]] {
        host.write(&file, "", 0o600);
        assert_eq!(places(&host), [""; 0]);
        host.write(&file, format!("a {text}\n"), 0o600);
        assert_eq!(places(&host), [file.as_str()], "{text}");
    }
    host.write(&file, "", 0o600);
    let _process = host.spawn(&["env", &format!("T={AUTH_TOKEN}"), "sleep", "1000"]);
    assert!(wait_until(DEADLINE, || places(&host).len() == 1));
}

#[test]
fn the_token_is_nowhere_whatever_the_provider_does() {
    let echo = |status| Fault { status: Some(status), ..Fault::new(Act::Echo) };
    let table = [
        ("well", vec![]),
        ("echoes with 401", vec![echo(401)]),
        ("echoes with 400", vec![echo(400).times(1)]),
        ("echoes with 500", vec![echo(500).times(2)]),
        ("echoes with 201", vec![echo(201).times(1)]),
        ("echoes with 302", vec![echo(302)]),
        (
            "echoes in the list",
            vec![
                Fault::reset_after_accept().times(1),
                echo(500).on("GET").times(1),
                echo(200).on("GET").times(1),
            ],
        ),
        ("refuses the token", vec![Fault::status(401)]),
        ("garbage", vec![Fault::new(Act::Garbage).times(1)]),
        ("resets", vec![Fault::reset_after_accept().times(1)]),
        ("1 GB", vec![Fault::new(Act::Huge).times(1)]),
        ("429", vec![Fault::status(429).retry_after("2").times(1)]),
        ("refuses connections", vec![Fault::new(Act::Refuse).lasting(Duration::from_secs(1))]),
    ];
    each_row(&table, |(why, faults)| {
        let host = Host::new();
        let mut provider = Provider::start(&host);
        host.configure(&provider.url());
        faults.iter().for_each(|fault| provider.fault(fault));
        let words = [AS_BASTION, &["/artefacts/bastion", "run", "--stderr"]].concat();
        let sender = host.spawn(&words);
        let alert = Draft::login(1, "alice");
        host.publish(&alert);
        // The first answer is in, and stands in the state, when one of these is logged.
        let words = ["alert-sent", "alert-deferred", "alert-refused", "channel-trouble"];
        let answered = || words.iter().any(|word| host.events(word) > 0);
        assert!(wait_until(ARRIVAL, answered), "{why}");
        assert_eq!(places(&host), [""; 0], "{why}");
        // A person looks: at the alert, at the channel, at the settings.
        for command in [&["queue", "show", &alert.id][..], &["test"], &["check"], &["queue"]] {
            let output = host.run(&[&["/artefacts/bastion"], command].concat());
            let said = [output.stdout, output.stderr].concat();
            assert!(!shows_secret(&said), "{why}: {}", String::from_utf8_lossy(&said));
        }
        provider.heal();
        sender.signal(libc::SIGUSR1);
        let over = || matches!(host.room_of(&alert.id), Some("sent" | "failed"));
        assert!(wait_until(ARRIVAL, over), "{why}");
        assert!(!sender.output().is_empty() && !shows_secret(sender.output().as_bytes()));
        assert_eq!(places(&host), [""; 0], "{why}");
    });
}

#[test]
fn the_token_is_nowhere_while_it_is_used() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::new(Act::Hang));
    rig.host.publish(&Draft::login(1, "alice"));
    let test = rig.host.spawn(&["/artefacts/bastion", "test"]);
    rig.provider.wait_requests(2, DEADLINE);
    assert_eq!(places(&rig.host), [""; 0]);
    drop(test);
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_what_to_do() {
    let table = [
        (0o600, true),
        (0o400, true),
        (0o640, true),
        (0o440, true),
        (0o644, false),
        (0o604, false),
        (0o601, false),
        (0o602, false),
        (0o620, false),
        (0o660, false),
        (0o777, false),
    ];
    each_row(&table, |(mode, good)| {
        let host = Host::new();
        host.configure("http://127.0.0.1:9");
        host.sh(&format!("chmod {mode:o} {TOKEN_FILE}"));
        if *good {
            let _sender = host.spawn_sender();
            host.wait_syslog("bastion", "sender-started", 1);
            return;
        }
        for words in [&["run"][..], &["test"], &["check"]] {
            let output = host.run(&[AS_BASTION, &["/artefacts/bastion"], words].concat());
            let (code, said) = match words {
                ["check"] => (2, output.text()),
                _ => (78, output.errors()),
            };
            assert_eq!(output.code, Some(code), "{mode:o} {words:?}: {output:?}");
            assert!(said.contains(TOKEN_FILE) && said.contains("chmod 0600"), "{said}");
            assert!(!shows_secret(said.as_bytes()), "{said}");
        }
    });
}

#[test]
fn a_file_that_holds_no_secret_is_refused_and_its_content_not_shown() {
    let table = [
        ("missing", "rm FILE", "put the secret into that file"),
        ("a directory", "rm FILE; mkdir -m 700 FILE", "not a regular file"),
        ("a fifo", "rm FILE; mkfifo -m 600 FILE", "not a regular file"),
        ("a device", "rm FILE; ln -s /dev/urandom FILE", ""),
        ("empty", ": >FILE", "the secret alone"),
        ("two lines", "echo hunter2 >>FILE; echo hunter2 >>FILE", "the secret alone"),
        ("not text", "printf 'hunter2\\xff' >FILE", ""),
        ("a control character", "printf 'hunter2\\x1b[0m' >FILE", "the secret alone"),
        ("10 MB", "yes hunter2 | tr -d '\\n' | head -c 10000000 >FILE", "longer than"),
    ];
    each_row(&table, |(why, script, told)| {
        let host = Host::new();
        host.configure("http://127.0.0.1:9");
        host.sh(&script.replace("FILE", TOKEN_FILE));
        let output = host.run(&["/artefacts/bastion", "run"]);
        assert_eq!(output.code, Some(78), "{why}: {output:?}");
        let said = output.errors();
        assert!(said.contains(TOKEN_FILE) && said.contains(told), "{why}: {said}");
        assert!(!said.contains("hunter2") && !shows_secret(said.as_bytes()), "{why}: {said}");
    });
}

#[test]
fn what_systemd_hands_over_is_taken_from_its_directory() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    host.write_config(&host.read(CONFIG).replace(TOKEN_FILE, "twilio-token"));
    host.sh("mkdir -m 755 /run/credentials");
    // systemd's copies are readable by the unit alone, whatever the mode says.
    host.write("/run/credentials/twilio-token", AUTH_TOKEN, 0o444);
    host.write("/etc/bastion/secrets/twilio-token", "another", 0o600);
    let _sender = host.spawn_sender_with(&["CREDENTIALS_DIRECTORY=/run/credentials"]);
    let alert = Draft::login(1, "alice");
    host.publish(&alert);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(provider.copies(&alert.id), 1);
}

/// The value of a field in `/proc/PID/FILE`.
fn proc_field(daemon: &Daemon, file: &str, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_program_that_holds_the_secret_leaves_no_core_and_nobody_of_its_user_reads_its_memory() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::new(Act::Hang));
    let test = rig.host.spawn(&["/artefacts/bastion", "test"]);
    rig.provider.wait_requests(1, DEADLINE);
    let control = rig.host.spawn(&[AS_BASTION, &["sleep", "1000"]].concat());
    assert!(wait_until(DEADLINE, || proc_field(&control, "status", "Uid:").starts_with("2901")));
    for (why, daemon, hidden) in
        [("run", &rig.sender, true), ("test", &test, true), ("any other", &control, false)]
    {
        assert_eq!(proc_field(daemon, "status", "Uid:"), "2901 2901 2901 2901", "{why}");
        // proc(5): the files of a process that may not be dumped belong to root.
        let environ = format!("/proc/{}/environ", daemon.pid());
        let owner = fs::metadata(&environ).map(|meta| meta.uid()).unwrap_or_default();
        assert_eq!(owner == 0, hidden, "{why}: owner {owner}");
        let inner = proc_field(daemon, "status", "NSpid:");
        let inner = inner.rsplit(' ').next().unwrap_or_default();
        let read = format!("head -c 1 /proc/{inner}/environ >/dev/null");
        let output = rig.host.run(&[AS_BASTION, &["bash", "-c", &read]].concat());
        assert_eq!(output.code == Some(0), !hidden, "{why}: {output:?}");
        if hidden {
            let core = proc_field(daemon, "limits", "Max core file size");
            assert_eq!(core, "0 0 bytes", "{why}");
        }
    }
}
