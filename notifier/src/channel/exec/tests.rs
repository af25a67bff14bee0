use super::*;
use crate::clock::Stamp;
use crate::event::{AlertId, Event, FORMAT, Factor, Note, Severity};
use crate::foreign::Foreign;
use std::time::Instant;

fn event(id: u32, what: What) -> Event {
    Event {
        version: FORMAT,
        id: AlertId::from_bits(id),
        at: Stamp::default(),
        host: Foreign::from("jump"),
        severity: Severity::Warning,
        what,
    }
}

fn login(user: &str, source: &str, key: Option<&str>) -> What {
    let factor = |name: &str| Factor {
        method: "publickey".into(),
        key: Some(Key { fingerprint: name.into(), ..Key::default() }),
    };
    What::Login(Login {
        user: user.into(),
        source: source.parse().ok(),
        source_name: Some(source.into()),
        auth: key.into_iter().map(factor).collect(),
        ..Login::default()
    })
}

fn message(events: &[What]) -> Message {
    let mut events = (1..).zip(events).map(|(id, what)| event(id, what.clone()));
    let first = events.next().unwrap();
    Message { more: events.collect(), ..Message::new(first, Stamp::default(), "ops") }
}

fn fact(message: &Message, name: &str) -> Option<String> {
    facts(message).into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// A shell script as the program, and its run.
fn run(script: &str, timeout: Duration) -> Run {
    run_with(script, timeout, b"the alert\n")
}

fn run_with(script: &str, timeout: Duration, input: &[u8]) -> Run {
    shell(script, timeout).run(
        &[("BASTION_SUBJECT", "a 'b' $(c)".into())],
        input,
        &mut Left::default(),
    )
}

fn shell(script: &str, timeout: Duration) -> Program {
    let arguments = ["-c", script].map(str::to_owned).to_vec();
    Program { path: "/bin/sh".into(), arguments, timeout }
}

const LONG: Duration = Duration::from_secs(30);

fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::Later { fault: Fault::Channel, .. } => "later, channel",
        Outcome::Later { .. } => "later, message",
        Outcome::Doubtful { fault: Fault::Channel, .. } => "doubtful, channel",
        Outcome::Doubtful { .. } => "doubtful, message",
        Outcome::Config { .. } => "config",
        Outcome::Never { .. } => "never",
    }
}

#[test]
fn each_end_has_its_class() {
    let io = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let code = End::Code;
    let table = [
        (code(0), "delivered"),
        (code(1), "later, message"),
        (code(2), "later, message"),
        (code(64), "config"),
        (code(65), "never"),
        (code(66), "later, message"),
        (code(67), "never"),
        (code(69), "later, channel"),
        (code(75), "later, channel"),
        (code(77), "config"),
        (code(78), "config"),
        (code(126), "config"),
        (code(127), "config"),
        (code(255), "later, message"),
        (End::Signal(11), "doubtful, message"),
        (End::Deadline, "doubtful, channel"),
        (End::NotFound(io()), "config"),
        (End::NotStarted(io()), "later, channel"),
        (End::Stuck(4), "later, channel"),
    ];
    for (end, want) in table {
        let told = format!("{end:?}");
        let run = Run { end, output: b"out\n".to_vec(), errors: b"a\nb\x1b[2J\n\n".to_vec() };
        let got = judge(&run, &shell("", LONG));
        assert_eq!(class(&got), want, "{told}");
        match want {
            "delivered" => assert_eq!(got.to_string(), "out"),
            _ if told.contains("Code") => assert!(got.to_string().contains("b\\x1b[2J"), "{got}"),
            _ => {}
        }
    }
}

#[test]
fn a_fact_of_logins_is_told_where_all_of_them_agree() {
    let one = message(&[login("al\nice", "203.0.113.9", Some("SHA256:x"))]);
    let table = [
        ("BASTION_ALERT_ID", Some("100000")),
        ("BASTION_SEVERITY", Some("warning")),
        ("BASTION_KIND", Some("login")),
        ("BASTION_HOST", Some("jump")),
        ("BASTION_RECIPIENT", Some("ops")),
        ("BASTION_COUNT", Some("1")),
        ("BASTION_USER", Some("al\\x0aice")),
        ("BASTION_SOURCE", Some("203.0.113.9")),
        ("BASTION_KEY", Some("SHA256:x")),
    ];
    for (name, want) in table {
        assert_eq!(fact(&one, name).as_deref(), want, "{name}");
    }
    assert!(fact(&one, "BASTION_SUBJECT").unwrap().starts_with("jump: login"));
    assert!(fact(&one, "BASTION_SMS").unwrap().ends_with("#100000"));
    let two = [login("alice", "203.0.113.9", None), login("alice", "::1", None)];
    let two = message(&two);
    assert_eq!(fact(&two, "BASTION_USER").as_deref(), Some("alice"));
    assert_eq!(fact(&two, "BASTION_COUNT").as_deref(), Some("2"));
    assert_eq!(fact(&two, "BASTION_SOURCE"), None);
    assert_eq!(fact(&two, "BASTION_KEY"), None);
    let note = message(&[What::Note(Note { text: "x".into() })]);
    assert_eq!(fact(&note, "BASTION_USER"), None);
    let odd = message(&[login("a", "name\0with\nends", None)]);
    assert_eq!(fact(&odd, "BASTION_SOURCE").as_deref(), Some("name\\x00with\\x0aends"));
    assert!(facts(&odd).iter().all(|(_, value)| !value.chars().any(char::is_control)));
}

#[test]
fn a_program_has_the_alert_on_its_input_and_nothing_of_ours_in_its_environment() {
    let run = run("cat; env | sort; pwd", LONG);
    let said = String::from_utf8(run.output).unwrap();
    assert!(matches!(run.end, End::Code(0)), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("_=")).collect();
    let names = [
        "BASTION_SUBJECT=a 'b' $(c)",
        "HOME=/var/lib/bastion",
        "LANG=C.UTF-8",
        "PATH=",
        "PWD=/",
        "/",
    ];
    assert_eq!(lines[0], "the alert");
    assert_eq!(lines.len(), 1 + names.len(), "{said}");
    for (line, start) in lines.iter().skip(1).zip(names) {
        assert!(line.starts_with(start), "{said}");
    }
}

#[test]
fn a_program_that_hangs_is_ended_with_all_that_it_has_started() {
    let mark = std::env::temp_dir().join(format!("notifier-exec-{}", std::process::id()));
    let mark = mark.display();
    // One child that ignores SIGTERM; its number goes into the file.
    let script = format!(
        "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! >{mark}; sleep 1000"
    );
    let begun = Instant::now();
    // Nor does it read what is more than a pipe holds.
    let run = run_with(&script, Duration::from_millis(300), &[b'x'; 1024 * 1024]);
    assert!(matches!(run.end, End::Deadline), "{run:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let child = std::fs::read_to_string(mark.to_string()).unwrap();
    std::fs::remove_file(mark.to_string()).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
    let gone = || state().map_or(true, |stat| stat.contains(") Z "));
    let end = Instant::now() + Duration::from_secs(5);
    while !gone() && Instant::now() < end {
        std::thread::yield_now();
    }
    assert!(gone(), "{:?}", state());
}

#[test]
fn a_program_that_ends_in_peace_is_let_go_and_what_it_left_is_ended() {
    let begun = Instant::now();
    let run = run("(sleep 1000; echo late) & echo done", LONG);
    assert!(matches!(run.end, End::Code(0)) && run.output == b"done\n", "{run:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn nothing_that_a_program_does_with_its_pipes_makes_us_wait_or_fills_our_memory() {
    let large = vec![b'x'; 10 * 1024 * 1024];
    let table: [(&str, &[u8], &[u8]); 5] = [
        ("echo ok", &large, b"ok\n"),
        ("exec <&-; echo ok", &large, b"ok\n"),
        ("wc -c", &large, b"10485760\n"),
        ("head -c 10000000 /dev/zero | tr '\\0' y; echo; echo ok", b"", b"yy\nok\n"),
        ("head -c 10000000 /dev/zero >&2; echo ok; exec >&- 2>&-; sleep 0.1", b"", b"ok\n"),
    ];
    for (script, input, last) in table {
        let run = run_with(script, LONG, input);
        assert!(matches!(run.end, End::Code(0)), "{script}: {:?}", run.end);
        assert!(run.output.ends_with(last) && run.output.len() <= 4096, "{script}");
        assert!(run.errors.len() <= 4096, "{script}");
    }
}

#[test]
fn a_program_that_cannot_be_started_is_a_matter_of_settings() {
    for path in ["/nonexistent", "/etc/passwd", "/etc", "/etc/passwd/x"] {
        let program = Program { path: path.into(), arguments: Vec::new(), timeout: LONG };
        let run = program.run(&[], b"", &mut Left::default());
        assert!(matches!(run.end, End::NotFound(_)), "{path}: {run:?}");
    }
    let run = run("kill -9 $$", LONG);
    assert!(matches!(run.end, End::Signal(9)), "{run:?}");
}

#[test]
fn a_program_s_last_line_is_shown_visible_and_cut() {
    assert_eq!(last_line(b"a\nb\n\n  \n").as_deref(), Some("b"));
    assert_eq!(last_line(b"\n"), None);
    assert_eq!(last_line(b"a\x1b[2J\xff").as_deref(), Some("a\\x1b[2J\\xff"));
    let long = last_line(&[b'x'; 4096]).unwrap();
    assert!(long.len() == MAX_SHOWN + 2 && long.ends_with(".."), "{long}");
}
