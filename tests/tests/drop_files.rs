//! What a stranger, or an accident, can leave in `drop/`: it ends in `failed/`, is logged once on
//! one line, and the next honest alert is delivered.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use bastion_tests::alert::{Draft, id};
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{Host, SPOOL};
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::Rig;
use bastion_tests::syslog::Line;
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

/// Longest time to an honest alert: less than the 30 s after which `drop/` is looked at anyway.
const NOTICED: Duration = Duration::from_secs(25);

/// A name that a writer of ours could have made.
const NAME: &str = "1700000000000-note-abcdef.json";

/// A note that is right in all.
const NOTE: &str = r#"{"version":1,"id":"abcdef","at":{"unix_ms":1700000000000},"host":"x",
"severity":"info","what":{"kind":"note","text":"hello"}}"#;

/// A login that is right in all.
const LOGIN: &str = r#"{"version":1,"id":"abcdef","at":{"unix_ms":1700000000000},"host":"x",
"severity":"warning","what":{"kind":"login","user":"alice","service":"sshd"}}"#;

/// A file about a tunnel, but for what it says.
const TUNNEL: &str = r#"{"version":1,"id":"abcdef","at":{"unix_ms":1700000000000},"host":"x",
"severity":"info","what":WHAT}"#;

/// What anybody might want to say of a tunnel: in the place of tunnelwatch's alert, and in the report.
const IS_UP: &str = r#"{"kind":"condition","name":"tunnel home","status":"up","text":""}"#;
const WAS_UP: &str =
    r#"{"kind":"tally","name":"tunnel home","good":3600,"all":3600,"unit":"seconds"}"#;

/// Ids of honest alerts begin here, far from all others.
const HONEST: u32 = 900_000_000;

/// Two honest alerts, one after the other, arrive once each: so `drop/` has been looked
/// through more than once.
fn honest_alerts_arrive(rig: &Rig, why: &str) {
    for number in [1, 2] {
        let alert = Draft::login(HONEST + number, "alice");
        rig.host.publish(&alert);
        rig.provider.wait_alert(&alert.id, NOTICED);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&alert.id), 1, "{why}");
    }
}

/// The one line with this event word; it is one line in truth.
fn only(host: &Host, event: &str, why: &str) -> Line {
    let mut lines = host.wait_syslog("bastion", event, 1);
    assert_eq!(lines.len(), 1, "{why}: {lines:#?}");
    let line = lines.remove(0);
    let visible = |byte: &u8| (b' '..=b'~').contains(byte) || *byte >= 0x80;
    assert!(line.bytes().iter().all(visible), "{why}: {line:?}");
    line
}

/// Does `plant` with a sender at work, and checks that the one thing planted is refused for
/// `reason`.
fn refused(why: &str, reason: &str, plant: impl FnOnce(&Host)) {
    let rig = Rig::start();
    plant(&rig.host);
    honest_alerts_arrive(&rig, why);
    let line = only(&rig.host, "drop-file-refused", why);
    let told = line.field("reason").unwrap_or_default();
    assert!(told.contains(reason), "{why}: {told}");
    assert!(!told.contains("hunter2"), "{why}: the content is not repeated: {told}");
    assert_eq!(rig.host.spool_names("drop"), [""; 0], "{why}");
    rig.host.wait_empty_queue();

    // It is where the line says, under a name that hurts no terminal, with the reason.
    let kept_as = line.field("kept-as").unwrap_or_default();
    let kept = kept_as.strip_prefix("failed/").unwrap_or_default();
    assert_eq!(rig.host.spool_names("failed"), [kept.to_owned(), format!("{kept}.reason")]);
    assert!(kept.bytes().all(|c| c.is_ascii_alphanumeric() || b".-".contains(&c)), "{kept}");
    assert!(kept.contains("-refused-"), "no name that an honest alert could need: {kept}");
    let file = rig.host.read(&format!("{SPOOL}/failed/{kept}.reason"));
    let name = line.field("file").unwrap_or_default();
    assert_eq!(file, format!("{told}; it was {name}\n"), "{why}");

    // An administrator can look at it.
    let list = rig.host.run(&["/artefacts/bastion", "queue", "list", "--failed"]).ok();
    assert_eq!(list.text().lines().count(), 1, "{why}: {list:?}");
}

/// `script` runs in `drop/`, where NAME is [`NAME`] and /tmp/note a good note.
fn refused_by_script(table: &[(&str, &str, &str)]) {
    each_row(table, |(why, script, reason)| {
        refused(why, reason, |host| {
            host.write("/tmp/note", NOTE, 0o644);
            host.write("/tmp/login", LOGIN, 0o644);
            host.sh(&format!("cd {SPOOL}/drop; {}", script.replace("NAME", NAME)));
        });
    });
}

#[test]
fn what_is_no_plain_file_is_refused() {
    refused_by_script(&[
        ("a symbolic link", "ln -s /etc/shadow NAME", "a symbolic link"),
        ("a link to a good note", "cp /tmp/note /srv/n; ln -s /srv/n NAME", "a symbolic link"),
        ("a link to nothing", "ln -s /nonexistent NAME", "a symbolic link"),
        ("a link to itself", "ln -s NAME NAME", "a symbolic link"),
        ("a hard link", "ln /tmp/note NAME", "a hard link"),
        ("a fifo", "mkfifo -m 644 NAME", "not a regular file"),
        ("a device without end", "mknod -m 644 NAME c 1 5", "not a regular file"),
    ]);
}

#[test]
fn a_socket_is_refused() {
    refused("a socket", "a socket", |host| {
        drop(UnixListener::bind(host.in_drop(OsStr::new(NAME))).expect("a socket in drop/"));
    });
}

#[test]
fn content_that_is_no_event_is_refused() {
    refused_by_script(&[
        ("empty", ": >NAME", "line 1"),
        ("text", "echo 'the password is hunter2' >NAME", "line 1"),
        ("random bytes", "head -c 9000 /dev/urandom >NAME", "line "),
        ("zeros", "head -c 9000 /dev/zero >NAME", "line 1"),
        ("an array", "echo '[]' >NAME", "line 1"),
        ("half of it", "head -c 100 /tmp/note >NAME", "line "),
        ("a deep nest", "printf '[%.0s' {1..15000} >NAME", "line 1"),
        ("another layout", "sed 's/\"version\":1/\"version\":2/' /tmp/note >NAME", "layout 2"),
        ("an unknown kind", "sed 's/\"note\"/\"nuke\"/' /tmp/note >NAME", "line "),
        ("an id that is a path", "sed 's#abcdef#../../#' /tmp/note >NAME", "line "),
        ("a number as a name", "sed 's/\"x\"/7/' /tmp/note >NAME", "line "),
        ("one byte too long", "head -c 16385 /dev/zero | tr '\\0' ' ' >NAME", "16385 bytes"),
        ("10 MB", "head -c 10000000 /dev/zero >NAME", "10000000 bytes"),
        ("10 MB without blocks", "cp /tmp/note NAME; truncate -s 10M NAME", "10485760 bytes"),
    ]);
}

#[test]
fn only_root_tells_of_logins() {
    refused_by_script(&[
        ("by tunnelwatch", "cp /tmp/login NAME; chown 2903:2902 NAME", "from uid 2903"),
        ("by alice", "cp /tmp/login NAME; chown alice NAME", "from uid 2001"),
        (
            "tunnelwatch's own hand",
            "chmod 777 /tmp; setpriv --reuid=2903 --regid=2903 \
          --groups=2902 cp /tmp/login NAME; chmod g+r NAME",
            "from uid 2903",
        ),
    ]);
}

#[test]
fn only_tunnelwatch_and_root_tell_of_tunnels() {
    let say = |what: &str| {
        let text = TUNNEL.replace("WHAT", what);
        format!("echo '{text}' >/tmp/said; chown 2001:2902 /tmp/said; mv /tmp/said NAME")
    };
    let (condition, tally) = (say(IS_UP), say(WAS_UP));
    let gone = "sed -i /_tunnelwatch/d /etc/passwd; ";
    let orphan = format!("{gone}{}", condition.replace("2001:", "2903:"));
    refused_by_script(&[
        (
            "alice says that it is up",
            &condition,
            "from _tunnelwatch or root, this is from uid 2001",
        ),
        ("alice says how long it was", &tally, "from _tunnelwatch or root, this is from uid 2001"),
        (
            "a uid that was tunnelwatch's",
            &orphan,
            "from _tunnelwatch or root, this is from uid 2903",
        ),
    ]);
    // Who sends it hears of it.
    let host = Host::new();
    for words in ["--up 'tunnel home'", "--tally 'Tunnel home' 1/1"] {
        let as_linkprobe = "setpriv --reuid=2904 --regid=2904 --groups=2902 --";
        let output =
            host.run(&["sh", "-c", &format!("{as_linkprobe} /artefacts/bastion send {words}")]);
        assert_eq!(output.code, Some(77), "{output:?}");
        assert!(output.errors().contains("has to come from _tunnelwatch or root"), "{output:?}");
    }
    assert!(host.spool_files("drop").is_empty());
}

#[test]
fn what_tunnelwatch_and_root_say_of_a_tunnel_arrives() {
    let rig = Rig::start();
    let as_tunnelwatch = "cd /; setpriv --reuid=2903 --regid=2903 --groups=2902 --no-new-privs --";
    for who in [as_tunnelwatch, ""] {
        rig.host.sh(&format!("{who} /artefacts/bastion send --down 'tunnel home' 'no reply'"));
    }
    let arrived = || rig.host.events("alert-sent") == 2;
    assert!(wait_until(ARRIVAL, arrived), "{:#?}", rig.host.syslog_lines());
    assert_eq!(rig.host.events("drop-file-refused"), 0);
}

#[test]
fn a_note_may_come_from_any_member_of_the_group() {
    let rig = Rig::start();
    rig.host.write("/tmp/note", NOTE, 0o644);
    rig.host.sh(&format!(
        "cd /; setpriv --reuid=2903 --regid=2903 --groups=2902 --no-new-privs -- bash -c \
         'umask 027; cp /tmp/note {SPOOL}/drop/.n && mv {SPOOL}/drop/.n {SPOOL}/drop/{NAME}'"
    ));
    rig.host.wait_room("abcdef", "sent", ARRIVAL);
    assert_eq!(rig.provider.copies("abcdef"), 1);
    assert_eq!(rig.host.events("drop-file-refused"), 0);
}

#[test]
fn a_name_that_no_writer_makes_is_refused_whatever_stands_in_it() {
    let long = [&[b'a'; 250][..], b".json"].concat();
    let table: [&[u8]; 15] = [
        b"x",
        b"note.json",
        b"1700000000000-note-abcdef",
        b"1700000000000-note-abcdef.json.state",
        b"1700000000000-note-abcdef.json.reason",
        b"1700000000000-NOTE-abcdef.json",
        b"1700000000000-note-ABCDEF.json",
        b"1700000000000-note-abcdef\n.json",
        b"1700000000000-note-abcdef.json\nbastion: login user=\"root\"",
        b"\x1b[2J\x1b]0;title\x07",
        b"\xff\xfe\x80.json",
        b"1700000000000-note-abcd\xff\xff.json",
        b"-rf",
        b"*",
        &long,
    ];
    each_row(&table, |name| {
        let why = String::from_utf8_lossy(name).into_owned();
        refused(&why, "a file name that no writer of ours makes", |host| {
            host.plant(OsStr::from_bytes(name), NOTE.as_bytes());
        });
    });
}

fn touch(host: &Host, name: &[u8], when: &str) {
    let path = format!("{SPOOL}/drop/{}", String::from_utf8_lossy(name));
    host.run(&["touch", "-h", "-d", when, &path]).ok();
}

#[test]
fn a_name_that_is_taken_in_another_room_is_refused_and_changes_nothing_there() {
    each_row(&["queue", "sent", "failed"], |room| {
        let mut rig = Rig::start();
        rig.provider.fault(&Fault::status(if *room == "failed" { 400 } else { 401 }));
        if *room == "sent" {
            rig.provider.heal();
        }
        let alert = Draft::login(77, "alice");
        rig.host.publish(&alert);
        rig.host.wait_room(&alert.id, room, ARRIVAL);
        rig.host.wait_syslog("bastion", "alert=", 2);
        let path = format!("{SPOOL}/{room}/{}", alert.name());
        let before = rig.host.read(&path);
        let forged = alert.text().replace("alice", "nobody");
        rig.host.plant(OsStr::new(&alert.name()), forged.as_bytes());
        rig.host.publish(&Draft::note(78, "wakes it up"));
        let line = only(&rig.host, "drop-file-refused", room);
        assert!(line.text.contains("a name that has been there before"), "{line:?}");
        assert_eq!(rig.host.read(&path), before, "{room}");
        rig.provider.heal();
        rig.sender.signal(libc::SIGUSR1);
        honest_alerts_arrive(&rig, room);
        if *room != "failed" {
            // It has been tried before, so the honest ones may go first.
            rig.provider.wait_alert(&alert.id, ARRIVAL);
        }
        assert_eq!(rig.provider.copies(&alert.id), usize::from(*room != "failed"));
        assert!(rig.provider.posts().iter().all(|post| !post.body().contains("nobody")));
    });
}

#[test]
fn a_hidden_file_is_left_alone_until_its_writer_must_be_dead() {
    let half = &NOTE[..100];
    let hidden = format!(".{NAME}");
    let odd = "..1700000000000-note-abcdef.json~";
    let table = [
        ("being written", &hidden[..], "now", NOTE, "drop", 1),
        // It, two honest alerts, and the state of each.
        ("abandoned when whole", &hidden, "-2 minutes", NOTE, "sent", 6),
        ("abandoned half written", &hidden, "-2 minutes", half, "failed", 2),
        ("abandoned, of no writer of ours", odd, "-2 minutes", NOTE, "failed", 2),
        ("from the future", &hidden, "2 hours", NOTE, "drop", 1),
    ];
    each_row(&table, |(why, name, when, content, room, files)| {
        let rig = Rig::start();
        rig.host.plant(OsStr::new(name), content.as_bytes());
        touch(&rig.host, name.as_bytes(), when);
        honest_alerts_arrive(&rig, why);
        // What looks abandoned is watched for some seconds: the clock may just have been set.
        let there = || {
            rig.sender.signal(libc::SIGUSR1);
            rig.host.spool_names(room).len() == *files
        };
        assert!(wait_until(ARRIVAL, there), "{why}: {:?}", rig.host.spool_names(room));
        assert_eq!(rig.host.spool_names("drop").is_empty(), *room != "drop", "{why}");
        assert_eq!(rig.provider.copies("abcdef"), usize::from(*room == "sent"), "{why}");
    });
}

#[test]
fn what_cannot_be_moved_or_read_stays_and_is_told_once() {
    let table = [
        "mkdir NAME",
        "mkdir NAME; : >NAME/x",
        "mkdir $'a\\nb'",
        "mkdir $'\\xff'",
        "cp /tmp/note NAME; chown alice NAME; chmod 600 NAME",
        "cp /tmp/note NAME; chgrp alice NAME; chmod 640 NAME",
        "cp /tmp/note NAME; chmod 0 NAME",
    ];
    each_row(&table, |script| {
        let rig = Rig::start();
        rig.host.write("/tmp/note", NOTE, 0o644);
        rig.host.sh(&format!("cd {SPOOL}/drop; {}", script.replace("NAME", NAME)));
        honest_alerts_arrive(&rig, script);
        only(&rig.host, "drop-file-stuck", script);
        assert_eq!(rig.host.spool_names("drop").len(), 1, "{script}");
        assert_eq!(rig.host.spool_names("failed"), [""; 0], "{script}");
    });
}

/// Most memory that a flood may cost, in KiB: half of what its files hold.
const MEMORY_KIB: u64 = 24 * 1024;

/// More than the queue takes.
const FLOOD: u32 = 12_000;

/// Most messages in the queue.
const CEILING: usize = 10_000;

/// Plants [`FLOOD`] files with names of ours, root's.
fn flood(host: &Host, content: impl Fn(u32) -> String) {
    for number in 0..FLOOD {
        let name = format!("{}-note-{}.json", 1_700_000_000_000_u64, id(number));
        host.plant(OsStr::new(&name), content(number).as_bytes());
    }
}

fn files(host: &Host, room: &str) -> usize {
    fs::read_dir(host.path(format!("{SPOOL}/{room}"))).map_or(0, Iterator::count)
}

#[test]
fn a_flood_of_garbage_does_not_drown_an_honest_alert() {
    let rig = Rig::start();
    flood(&rig.host, |_| "x".repeat(4000));
    honest_alerts_arrive(&rig, "garbage");
    assert!(wait_until(ARRIVAL, || files(&rig.host, "drop") == 0));
    assert_eq!(files(&rig.host, "failed"), 2 * FLOOD as usize, "each, and its reason");
    let peak = rig.sender.peak_kib();
    assert!(peak < MEMORY_KIB, "{peak} KiB");
}

#[test]
fn a_flood_of_directories_does_not_drown_an_honest_alert() {
    let rig = Rig::start();
    rig.host.sh(&format!("cd {SPOOL}/drop; mkdir 0{{00001..{FLOOD}}}"));
    honest_alerts_arrive(&rig, "directories");
}

/// Messages in `queue/` and in `drop/`.
fn waiting(host: &Host) -> (usize, usize) {
    let messages = |room: &str| {
        let names = host.spool_names(room);
        names.iter().filter(|name| name.ends_with(".json")).count()
    };
    (messages("queue"), messages("drop"))
}

#[test]
fn a_flood_of_good_notes_fills_the_queue_and_no_more() {
    let host = Host::new();
    let mut provider = Provider::start(&host);
    provider.fault(&Fault::new(Act::Refuse));
    host.configure(&provider.url());
    let text = "t".repeat(4000);
    flood(&host, |number| NOTE.replace("abcdef", &id(number)).replace("hello", &text));
    let mut rig = Rig::on(host, provider);
    let full = (CEILING, FLOOD as usize - CEILING);
    assert!(wait_until(ARRIVAL, || files(&rig.host, "drop") == full.1));
    // A second sender finds the queue full, and leaves the rest where it is.
    for starts in 1..=2 {
        if starts == 2 {
            rig.start_again();
        }
        let peak = rig.sender.peak_kib();
        assert!(peak < MEMORY_KIB, "start {starts}: {peak} KiB");
        rig.sender.signal(libc::SIGTERM);
        assert_eq!(rig.sender.wait(ARRIVAL), Some(0));
        let stopped = rig.host.wait_syslog("bastion", "sender-stopped", starts);
        let stopped = stopped.last();
        let count = stopped.and_then(|line| line.field("waiting"));
        assert_eq!(count, Some(CEILING.to_string()), "start {starts}");
        assert_eq!(waiting(&rig.host), full, "start {starts}");
    }
}

#[test]
fn a_flood_of_notes_by_others_leaves_room_for_logins() {
    let host = Host::new();
    let mut provider = Provider::start(&host);
    provider.fault(&Fault::new(Act::Refuse));
    host.configure(&provider.url());
    flood(&host, |number| NOTE.replace("abcdef", &id(number)));
    host.sh(&format!("find {SPOOL}/drop -name '*.json' -exec chown 2903:2902 {{}} +"));
    let mut rig = Rig::on(host, provider);
    let full = (CEILING / 2, FLOOD as usize - CEILING / 2);
    assert!(wait_until(ARRIVAL, || files(&rig.host, "drop") == full.1));
    let login = Draft::login(HONEST, "alice");
    rig.host.publish(&login);
    rig.host.wait_room(&login.id, "queue", NOTICED);
    rig.provider.heal();
    assert!(wait_until(NOTICED, || {
        rig.sender.signal(libc::SIGUSR1);
        rig.provider.copies(&login.id) == 1
    }));
    let before = rig.provider.accepted().iter().position(|sms| sms.body().contains("alice"));
    assert!(before.is_some_and(|others| others < 10), "others went first: {before:?}");
}
