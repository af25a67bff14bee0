//! The sender as a process: signals, a second one, a new configuration, and what it adds to
//! a message by itself.

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{CONFIG, DEADLINE, Host};
use bastion_tests::process::Output;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::rows::each_row;
use bastion_tests::sender::{AS_BASTION, LOGIN, Rig, TOKEN_FILE, sms};
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

#[test]
fn sigterm_lets_the_try_under_way_end_and_begins_no_other() {
    let slow = Duration::from_secs(2);
    let table = [
        (libc::SIGTERM, Fault::new(Act::Ok).after(slow), "sent"),
        (libc::SIGINT, Fault::new(Act::Ok).after(slow), "sent"),
        (libc::SIGTERM, Fault::status(503).after(slow), "queue"),
        (libc::SIGTERM, Fault::status(400).after(slow), "failed"),
    ];
    each_row(&table, |(signal, fault, room)| {
        let mut rig = Rig::start();
        rig.provider.fault(fault);
        let alerts = [Draft::note(1, "first"), Draft::note(2, "second")];
        alerts.iter().for_each(|alert| rig.host.publish(alert));
        rig.provider.wait_requests(1, DEADLINE);
        rig.sender.signal(*signal);
        assert_eq!(rig.sender.wait(DEADLINE), Some(0));
        assert_eq!(rig.provider.requests().len(), 1);
        let first = rig.provider.requests()[0].body().contains(&alerts[0].id);
        let (under_way, other) = if first { (0, 1) } else { (1, 0) };
        // What is done is put away by this sender or by the next one; it is not sent again.
        rig.provider.heal();
        rig.start_again();
        rig.host.wait_room(&alerts[other].id, "sent", ARRIVAL);
        let room = if *room == "queue" { "sent" } else { room };
        rig.host.wait_room(&alerts[under_way].id, room, ARRIVAL);
        let copies = alerts.each_ref().map(|alert| rig.provider.copies(&alert.id));
        assert_eq!(copies[other], 1);
        assert_eq!(copies[under_way], usize::from(room == "sent"));
        rig.host.wait_events("bastion", "sender-stopped", 1);
    });
}

#[test]
fn sigterm_ends_an_idle_sender_at_once_and_one_that_waits_too() {
    let mut rig = Rig::start();
    rig.sender.signal(libc::SIGTERM);
    assert_eq!(rig.sender.wait(DEADLINE), Some(0));
    rig.start_again();
    rig.provider.fault(&Fault::status(401));
    rig.host.publish(&Draft::note(1, "held"));
    rig.host.wait_syslog("bastion", "channel-trouble", 1);
    rig.sender.signal(libc::SIGTERM);
    assert_eq!(rig.sender.wait(DEADLINE), Some(0));
    let stopped = rig.host.wait_syslog("bastion", "sender-stopped", 2);
    assert_eq!(stopped[1].field("waiting").as_deref(), Some("1"));
}

#[test]
fn signals_that_mean_nothing_to_it_and_many_of_those_that_do_leave_it_at_work() {
    let rig = Rig::start();
    for _ in 0..50 {
        for signal in [libc::SIGUSR1, libc::SIGHUP, libc::SIGCHLD, libc::SIGWINCH] {
            rig.sender.signal(signal);
        }
    }
    let alert = Draft::note(1, "still there");
    rig.host.publish(&alert);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
}

#[test]
fn a_broken_configuration_leaves_the_old_one_in_force_and_syslog_tells() {
    let table = [
        ("syntax", "echo 'route = [' >>CONFIG", "line "),
        ("an unknown key", "sed -i 's/^from =/form =/' CONFIG", "form"),
        ("an unknown type", "sed -i 's/twilio/pigeon/' CONFIG", "pigeon"),
        ("no channel of that name", "sed -i 's/^route.*/route = [\"x\"]/' CONFIG", "channel.x"),
        ("gone", "rm CONFIG", "No such file"),
        ("a directory", "rm CONFIG; mkdir CONFIG", "not a regular file"),
        ("writable by all", "chmod 666 CONFIG", "chmod go-w"),
        ("the secret is gone", "rm TOKEN", "TOKEN"),
        ("the secret is empty", ": >TOKEN", "TOKEN"),
        ("the secret is for all to see", "chmod 644 TOKEN", "chmod 0600"),
        ("in clear", "sed -i 's#http://127.0.0.1#http://192.0.2.1#' CONFIG", "https"),
        ("another spool", "sed -i '1 a spool = \"/var/spool/other\"' CONFIG", "restart"),
        ("random", "head -c 4000 /dev/urandom >CONFIG", "UTF-8"),
    ];
    each_row(&table, |(name, script, told)| {
        let rig = Rig::start();
        rig.host.sh(&script.replace("CONFIG", CONFIG).replace("TOKEN", TOKEN_FILE));
        rig.sender.signal(libc::SIGHUP);
        let kept = rig.host.wait_syslog("bastion", "config-kept", 1);
        let message = kept[0].field("message").unwrap_or_default();
        assert!(message.contains(&told.replace("TOKEN", TOKEN_FILE)), "{name}: {message}");
        assert_eq!(kept[0].severity(), Some(3), "{name}");
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&alert.id), 1, "{name}");
        assert_eq!(rig.host.events("config-reloaded"), 0, "{name}");
    });
}

#[test]
fn a_good_configuration_takes_over() {
    let rig = Rig::start();
    let other = Provider::start_at(&rig.host, "127.0.0.1:8002", false);
    rig.host.write_config(&format!("{LOGIN}{}", sms(&other.url())));
    let alerts = [1, 2].map(|number| Draft::login(number, "alice"));
    rig.host.publish(&alerts[0]);
    rig.host.wait_room(&alerts[0].id, "sent", ARRIVAL);
    rig.sender.signal(libc::SIGHUP);
    rig.host.wait_syslog("bastion", "config-reloaded", 1);
    rig.host.publish(&alerts[1]);
    rig.host.wait_room(&alerts[1].id, "sent", ARRIVAL);
    let copies = alerts.each_ref().map(|a| (rig.provider.copies(&a.id), other.copies(&a.id)));
    assert_eq!(copies, [(1, 0), (0, 1)]);
}

#[test]
fn a_new_configuration_waits_for_the_try_under_way() {
    let mut rig = Rig::start();
    let other = Provider::start_at(&rig.host, "127.0.0.1:8002", false);
    rig.provider.fault(&Fault::new(Act::Ok).after(Duration::from_secs(2)).times(1));
    let alerts = [1, 2].map(|number| Draft::login(number, "alice"));
    rig.host.publish(&alerts[0]);
    rig.provider.wait_requests(1, DEADLINE);
    rig.host.write_config(&format!("{LOGIN}{}", sms(&other.url())));
    rig.sender.signal(libc::SIGHUP);
    rig.host.publish(&alerts[1]);
    for alert in &alerts {
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    }
    let copies = alerts.each_ref().map(|a| (rig.provider.copies(&a.id), other.copies(&a.id)));
    assert_eq!(copies, [(1, 0), (0, 1)]);
}

/// `bastion run` as its unit starts it, for a sender that is to end by itself.
fn run_sender(host: &Host) -> Output {
    host.run(&[AS_BASTION, &["/artefacts/bastion", "run"]].concat())
}

#[test]
fn a_second_sender_leaves_the_first_alone() {
    let mut rig = Rig::start();
    let second = run_sender(&rig.host);
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.errors().contains("another sender"), "{second:?}");
    assert!(rig.sender.running());
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
    // The lock goes with the process, however it ends.
    rig.sender.kill();
    rig.start_again();
}

#[test]
fn a_sender_that_cannot_begin_says_why() {
    let table = [
        ("rm -r /var/spool/bastion/queue", 75, "/var/spool/bastion/queue"),
        ("rm -r /var/spool/bastion/drop", 75, "/var/spool/bastion/drop"),
        ("rm CONFIG", 78, CONFIG),
        ("echo x >>CONFIG", 78, "line "),
        ("rm TOKEN", 78, TOKEN_FILE),
    ];
    each_row(&table, |(script, code, told)| {
        let host = Host::new();
        host.configure("http://127.0.0.1:9");
        host.sh(&script.replace("CONFIG", CONFIG).replace("TOKEN", TOKEN_FILE));
        let sender = run_sender(&host);
        assert_eq!(sender.code, Some(*code), "{script}: {sender:?}");
        assert!(sender.errors().contains(told), "{script}: {sender:?}");
    });
}

#[test]
fn a_sender_does_without_a_directory_of_state() {
    let table = ["rm -r /run/bastion", "chown root /run/bastion", "rm -r /var/lib/bastion"];
    each_row(&table, |script| {
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        host.sh(script);
        let rig = Rig::on(host, provider);
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&alert.id), 1, "{script}");
    });
}

#[test]
fn a_sender_does_not_stay_root() {
    let host = Host::new();
    host.configure("http://127.0.0.1:9");
    host.sh("chown root /var/spool/bastion/queue");
    let sender = host.run(&["/artefacts/bastion", "run"]);
    assert_eq!(sender.code, Some(78), "{sender:?}");
    assert!(sender.errors().contains("root"), "{sender:?}");
}

#[test]
fn a_sender_started_by_root_reads_the_secret_and_becomes_the_owner_of_the_queue() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    host.write("/etc/bastion/secrets/twilio-token", AUTH_TOKEN, 0o600);
    host.write_config(&host.read(CONFIG).replace(TOKEN_FILE, "twilio-token"));
    let sender = host.spawn(&["/artefacts/bastion", "run"]);
    host.wait_syslog("bastion", "sender-started", 1);
    let status = std::fs::read_to_string(format!("/proc/{}/status", sender.pid())).unwrap();
    let line = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Uid:"), ["2901"; 4]);
    assert_eq!(line("Gid:"), ["2901"; 4]);
    assert_eq!(line("Groups:"), ["2902"]);
    assert_eq!(line("CapEff:"), ["0000000000000000"]);
    assert_eq!(line("CapPrm:"), ["0000000000000000"]);
    let alert = Draft::login(1, "alice");
    host.publish(&alert);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(provider.copies(&alert.id), 1);
}

#[test]
fn a_late_alert_says_how_late_it_is() {
    const MINUTE: u64 = 60;
    let table = [
        (0, None),
        (30, None),
        (41 * MINUTE, Some(", told 41 min late")),
        (5 * 60 * MINUTE, Some(", told 5 h late")),
        (3 * 24 * 60 * MINUTE, Some(", told 3 days late")),
    ];
    each_row(&table, |(seconds, told)| {
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        let expiry = "[notify.expiry]\nlogin = \"30d\"\n";
        host.write_config(&format!("{LOGIN}{}{expiry}", sms(&provider.url())));
        let rig = Rig::on(host, provider);
        // Some seconds more, so that the time until it is sent does not turn 41 to 42.
        let alert = Draft::login(1, "alice").aged(Duration::from_secs(*seconds));
        rig.host.publish(&alert);
        let sms = rig.provider.wait_alert(&alert.id, ARRIVAL);
        assert_eq!(sms.body().contains(" late"), told.is_some(), "{}", sms.body());
        assert!(sms.body().contains(told.unwrap_or("alice")), "{}", sms.body());
    });
}

/// A record of utmp(5) as glibc has it on x86_64: 384 bytes.
fn utmp_record(kind: u8, user: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 384];
    record[0] = kind;
    record[4..8].copy_from_slice(&4711_u32.to_ne_bytes());
    record[8..13].copy_from_slice(b"pts/0");
    record[40..44].copy_from_slice(b"ts/0");
    record[44..44 + user.len()].copy_from_slice(user);
    record[340..344].copy_from_slice(&1_700_000_000_u32.to_ne_bytes());
    record
}

const USER_PROCESS: u8 = 7;
const DEAD_PROCESS: u8 = 8;

/// The message about a login, with `/run/utmp` as `prepare` left it.
fn login_with_utmp(prepare: impl Fn(&Host), draft: &Draft) -> String {
    let rig = Rig::start();
    prepare(&rig.host);
    rig.host.publish(draft);
    rig.provider.wait_alert(&draft.id, ARRIVAL).body().to_owned()
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "it writes utmp as x86_64 has it")]
fn who_else_is_logged_in_is_added_as_a_hint() {
    let file = |users: &[(u8, &[u8])]| -> Vec<u8> {
        users.iter().flat_map(|(kind, user)| utmp_record(*kind, user)).collect()
    };
    let carol = (USER_PROCESS, &b"carol"[..]);
    let bob = (USER_PROCESS, &b"bob"[..]);
    let hostile = (USER_PROCESS, &b"e\nve\x1b[2J"[..]);
    let not_text = (USER_PROCESS, &b"\xff\xfe"[..]);
    let many: Vec<_> = [&b"u1"[..], b"u2", b"u3", b"u4", b"u5", b"u6"].map(|u| (7, u)).to_vec();
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(500);
        bytes
    };
    let table = [
        ("two", file(&[carol, bob]), Some("(also logged in: bob, carol)")),
        ("one twice", file(&[bob, bob]), Some("(also logged in: bob)")),
        ("logged out", file(&[(DEAD_PROCESS, b"dave")]), None),
        ("many", file(&many), Some("(also logged in: u1, u2, u3, u4 and 2 more)")),
        ("not text, and one good", file(&[not_text, bob]), Some("bob")),
        ("a name that plays tricks", file(&[hostile]), Some("e\\x0ave\\x1b[2J")),
        ("an unknown kind, and one good", file(&[(99, b"x"), bob]), Some("bob")),
        ("cut off", cut(file(&[bob, carol])), Some("(also logged in: bob)")),
        ("garbage", vec![0xa5; 10_000], None),
        ("empty", vec![], None),
    ];
    let rows: Vec<_> = table.into_iter().collect();
    each_row(&rows, |(name, bytes, told)| {
        let body = login_with_utmp(
            |host| host.write("/run/utmp", bytes, 0o664),
            &Draft::login(1, "alice"),
        );
        assert!(body.contains("login alice from"), "{name}: {body}");
        assert_eq!(body.contains("also logged in"), told.is_some(), "{name}: {body}");
        assert!(body.contains(told.unwrap_or("alice")), "{name}: {body}");
        assert!(!body.contains(['\n', '\x1b']), "{name}: {body:?}");
    });
}

#[test]
fn a_utmp_that_is_no_file_costs_the_hint_and_nothing_else() {
    let table = ["mkdir /run/utmp", "mkfifo /run/utmp", "ln -s /dev/zero /run/utmp", "true"];
    each_row(&table, |prepare| {
        let body = login_with_utmp(|host| drop(host.sh(prepare)), &Draft::login(1, "alice"));
        assert!(body.contains("login alice from"), "{prepare}: {body}");
        assert!(!body.contains("also logged in"), "{prepare}: {body}");
    });
}

#[test]
fn the_hint_is_for_logins_on_this_machine_only_and_gives_way_to_the_facts() {
    let mut elsewhere = Draft::login(1, "alice");
    elsewhere.json["host"] = "other".into();
    let long = Draft::login(1, &"a".repeat(120));
    for draft in [Draft::note(1, "a note"), elsewhere, long] {
        let bytes = utmp_record(USER_PROCESS, b"bob");
        let body = login_with_utmp(|host| host.write("/run/utmp", &bytes, 0o664), &draft);
        assert!(!body.contains("also logged in"), "{body}");
    }
}

#[test]
fn an_alert_is_found_within_the_rescan_when_no_notification_came() {
    let rig = Rig::start();
    // Written in place and not renamed: the sender is not told of it by inotify.
    let alert = Draft::login(1, "alice");
    rig.host.plant(alert.name().as_ref(), alert.text().as_bytes());
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
    assert!(wait_until(DEADLINE, || rig.host.events("alert-sent") == 1));
}

#[test]
fn a_new_configuration_waits_for_no_channel_that_hangs() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    let rule = "[[notify.rule]]\nkinds = [\"note\"]\nroute = [\"slow\"]\n\n\
                [notify.channel.slow]\ntype = \"exec\"\ncommand = [\"/bin/sleep\", \"600\"]\n\
                timeout = \"10m\"\n";
    host.write_config(&format!("{LOGIN}{}{rule}", sms(&provider.url())));
    let rig = Rig::on(host, provider);
    rig.host.publish(&Draft::note(1, "x"));
    let hangs = || rig.host.run(&["pgrep", "-x", "sleep"]).text().lines().count() == 1;
    assert!(wait_until(DEADLINE, hangs));
    rig.sender.signal(libc::SIGHUP);
    rig.host.wait_syslog("bastion", "config-reloaded", 1);
    let login = Draft::login(2, "alice");
    rig.host.publish(&login);
    rig.provider.wait_alert(&login.id, DEADLINE);
    // Nor is what hangs begun a second time beside itself.
    assert!(hangs());
}
