mod fact;
mod held;
mod order;

use std::fs;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::channel::{Fault, Followed, Limits, Outcome};
use crate::deliver::policy::Way;
use crate::deliver::route::{Route, Stop};
use crate::deliver::worker::{Job, Report};
use crate::event::{Back, Event, FORMAT, Login, Note, Severity, What};
use crate::spool::{Spool, drop as drop_dir};
use crate::syslog::Source;

/// A spool and a log of a test's own.
struct Rig {
    dir: PathBuf,
    log: UnixDatagram,
}

impl Rig {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("notifier-outbox-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for sub in ["drop", "queue", "failed", "sent", "state"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let log = UnixDatagram::bind(dir.join("log")).unwrap();
        log.set_nonblocking(true).unwrap();
        Self { dir, log }
    }

    /// A sender's outbox with two channels, `sms` (to two people) and `mail`.
    fn outbox(&self) -> Outbox {
        let queue = Queue::new(Spool::new(&self.dir));
        let log = Log::new(&self.dir.join("log"), "bastion", Source::Daemon);
        let mut outbox = Outbox::new(queue, log, Foreign::from("jump"), self.dir.join("state"));
        let stop = |channel: &str, to: &[&str]| Stop {
            channel: channel.into(),
            recipients: to.iter().map(|to| (*to).into()).collect(),
        };
        let stops = vec![stop("sms", &["1", "2"]), stop("mail", &["m"])];
        let ways = ["sms", "mail"].map(|name| (name.to_owned(), Way::default()));
        outbox.set_policy(Policy {
            route: Route { stops, all: false },
            patience: Duration::from_secs(60),
            ways: ways.into(),
            ..Policy::default()
        });
        outbox.load(&Stamp::now(), 0).unwrap();
        outbox
    }

    fn publish(&self, text: &str) -> String {
        self.publish_what(What::Note(Note { text: text.into() }))
    }

    fn publish_login(&self, source: &str) -> String {
        let source = source.parse().ok();
        self.publish_what(What::Login(Login { user: "alice".into(), source, ..Login::default() }))
    }

    fn publish_what(&self, what: What) -> String {
        let at = Stamp::now();
        let event = Event {
            version: FORMAT,
            id: drop_dir::new_id(at.unix_ms),
            at,
            host: Foreign::from("jump"),
            severity: Severity::Warning,
            what,
        };
        let path =
            drop_dir::publish(&Spool::new(&self.dir), &event, drop_dir::Sync::BySender).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn names(&self, sub: &str) -> Vec<String> {
        crate::spool::queue::list(&self.dir.join(sub)).unwrap()
    }

    fn lines(&self) -> String {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| self.log.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()))
            .map(|line| String::from_utf8(line).unwrap() + "\n")
            .collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered { id: Some("SM1".into()), answer: "queued as SM1".into() }
}

fn report(due: &Due, outcome: Outcome) -> Report {
    let Due { names, channel, recipient } = due.clone();
    let told_as = crate::spool::id_of(&names[0]).filter(|_| names.len() > 1);
    Report {
        names,
        channel,
        recipient,
        outcome,
        unresolved: false,
        segments: 1,
        sent: true,
        expired: 0,
        told_as,
    }
}

/// The only try that is due, begun.
fn begin_one(outbox: &mut Outbox, now_ms: u64) -> (Due, Job) {
    let (due, _) = outbox.due(now_ms, &["sms", "mail"]);
    assert_eq!(due.len(), 1, "{due:?}");
    let (_, job) = outbox.begin(&due, now_ms).remove(0);
    (due[0].clone(), job)
}

#[test]
fn a_message_goes_from_drop_to_sent_with_its_state_on_disk_before_each_step() {
    let rig = Rig::new("path");
    let mut outbox = rig.outbox();
    let name = rig.publish("hello");
    outbox.claim(0);
    assert_eq!((rig.names("drop").len(), rig.names("queue")), (0, vec![name.clone()]));
    for recipient in ["1", "2"] {
        let (due, job) = begin_one(&mut outbox, 0);
        assert_eq!((job.message.recipient.as_str(), job.doubtful), (recipient, false));
        let state = fs::read_to_string(rig.dir.join(format!("queue/{name}.state"))).unwrap();
        assert!(state.contains("sending"), "{state}");
        outbox.learn(&report(&due, delivered()), 0);
    }
    assert_eq!(outbox.due(0, &["sms", "mail"]), (vec![], u64::MAX));
    assert!(outbox.is_empty());
    assert_eq!(rig.names("sent"), [name.clone(), format!("{name}.state")]);
    assert!(rig.names("queue").is_empty());
    assert_eq!(rig.lines().matches("alert-sent").count(), 2);
}

#[test]
fn what_was_being_sent_when_the_sender_died_is_looked_for_first() {
    let rig = Rig::new("died");
    let mut outbox = rig.outbox();
    rig.publish("hello");
    outbox.claim(0);
    begin_one(&mut outbox, 0);
    std::mem::drop(outbox);

    let mut outbox = rig.outbox();
    // Only the other recipient is due: the first gets a moment to appear in the list.
    let (due, job) = begin_one(&mut outbox, 0);
    assert_eq!((due.recipient.as_str(), job.doubtful), ("2", false));
    let (due, job) = begin_one(&mut outbox, 2000);
    assert_eq!((due.recipient.as_str(), job.doubtful), ("1", true));
}

#[test]
fn a_message_that_fails_makes_room_for_the_next() {
    let rig = Rig::new("room");
    let mut outbox = rig.outbox();
    let bad = rig.publish("bad");
    outbox.claim(0);
    let (first, _) = begin_one(&mut outbox, 0);
    outbox.learn(
        &report(&first, Outcome::Later { why: "HTTP 500".into(), fault: Fault::Message }),
        0,
    );
    let good = rig.publish("good");
    outbox.claim(0);
    // At a time at which both are due, the one that has been tried less goes first.
    let (due, _) = outbox.due(10_000, &["sms", "mail"]);
    let due = due.iter().find(|due| due.channel == "sms").unwrap();
    assert!(due.names[0] == good || due.recipient == "2", "{due:?} {bad}");
}

#[test]
fn a_refused_message_falls_back_and_then_ends_in_failed_with_its_reasons() {
    let rig = Rig::new("refused");
    let mut outbox = rig.outbox();
    let name = rig.publish("hello");
    outbox.claim(0);
    for (channel, recipient) in [("sms", "1"), ("sms", "2"), ("mail", "m")] {
        let (due, _) = begin_one(&mut outbox, 0);
        assert_eq!((due.channel.as_str(), due.recipient.as_str()), (channel, recipient));
        outbox.learn(&report(&due, Outcome::Never { why: format!("no {recipient}") }), 0);
    }
    outbox.due(0, &["sms", "mail"]);
    assert!(outbox.is_empty());
    let reason = fs::read_to_string(rig.dir.join(format!("failed/{name}.reason"))).unwrap();
    assert_eq!(reason, "mail to m: no m; sms to 1: no 1; sms to 2: no 2\n");
    assert!(rig.lines().contains("alert-failed"));
}

#[test]
fn a_rate_limit_survives_a_kick_and_a_restart() {
    let rig = Rig::new("rate");
    let mut outbox = rig.outbox();
    rig.publish("hello");
    outbox.claim(0);
    let (due, _) = begin_one(&mut outbox, 0);
    let limit = Fault::RateLimit(Some(Duration::from_secs(100)));
    outbox.learn(&report(&due, Outcome::Later { why: "HTTP 429".into(), fault: limit }), 0);
    outbox.kick(10);
    assert_eq!(outbox.due(99_000, &["sms", "mail"]).0, []);
    let mut again = rig.outbox();
    assert_eq!(again.due(99_000, &["sms", "mail"]).0, []);
    assert_eq!(again.due(101_000, &["sms", "mail"]).0.len(), 1);
}

#[test]
fn a_disk_that_takes_no_state_does_not_stop_the_sending() {
    let rig = Rig::new("full");
    let mut outbox = rig.outbox();
    let name = rig.publish("hello");
    outbox.claim(0);
    // A directory in the place of the hidden file makes every write of the state fail.
    fs::create_dir(rig.dir.join(format!("queue/.{name}.state.new"))).unwrap();
    let (due, job) = begin_one(&mut outbox, 0);
    assert!(!job.doubtful);
    outbox.learn(&report(&due, delivered()), 0);
    let lines = rig.lines();
    assert_eq!(lines.matches("spool-trouble").count(), 1, "{lines}");
    assert!(lines.contains("alert-sent"), "{lines}");
}

#[test]
fn a_message_taken_away_by_hand_is_let_go() {
    let rig = Rig::new("hand");
    let mut outbox = rig.outbox();
    let name = rig.publish("hello");
    outbox.claim(0);
    fs::remove_file(rig.dir.join("queue").join(&name)).unwrap();
    let (due, _) = outbox.due(0, &["sms", "mail"]);
    assert!(outbox.begin(&due, 0).is_empty() && outbox.is_empty());
    assert!(rig.lines().contains("alert-dropped"));
}

#[test]
fn without_a_route_an_alert_is_logged_and_put_away() {
    let rig = Rig::new("route");
    let mut outbox = rig.outbox();
    outbox.set_policy(Policy::default());
    let name = rig.publish("the disk is full");
    outbox.claim(0);
    outbox.due(0, &["sms", "mail"]);
    assert!(rig.names("sent").contains(&name));
    assert!(rig.lines().contains("the disk is full"));
}

impl Rig {
    /// An outbox whose `sms` goes to one person and tells together what waits.
    fn digests(&self, limits: Limits) -> Outbox {
        let mut outbox = self.outbox();
        let mut policy = outbox.policy.clone();
        policy.route.stops[0].recipients.truncate(1);
        let way = Way {
            together: true,
            limits,
            segments: 1,
            follows: true,
            in_runs: false,
            in_order: false,
        };
        policy.ways.insert("sms".into(), way);
        outbox.set_policy(policy);
        outbox
    }

    fn burst(&self, outbox: &mut Outbox, count: usize, now_ms: u64) -> Vec<String> {
        let mut names: Vec<_> = (0..count).map(|n| self.publish(&format!("note {n}"))).collect();
        names.sort();
        outbox.claim(now_ms);
        names
    }
}

fn sms_due(outbox: &mut Outbox, now_ms: u64) -> Vec<Due> {
    outbox.due(now_ms, &["sms"]).0
}

#[test]
fn a_burst_makes_three_messages_that_account_for_all() {
    let rig = Rig::new("burst");
    let mut outbox = rig.digests(Limits::default());
    rig.burst(&mut outbox, 1, 0);
    let (first, job) = begin_one(&mut outbox, 0);
    assert!(job.message.more.is_empty());
    let others = rig.burst(&mut outbox, 39, 100);
    outbox.learn(&report(&first, delivered()), 200);
    assert_eq!(sms_due(&mut outbox, 5199), []);
    let (second, job) = begin_one(&mut outbox, 5200);
    assert_eq!((job.message.more.len(), second.names.len()), (38, 39));
    rig.burst(&mut outbox, 60, 5300);
    outbox.learn(&report(&second, delivered()), 5400);
    assert_eq!(sms_due(&mut outbox, 35_399), []);
    let (third, job) = begin_one(&mut outbox, 35_400);
    assert_eq!(job.message.more.len(), 59);
    outbox.learn(&report(&third, delivered()), 35_500);
    assert!(outbox.is_empty());
    assert_eq!(rig.names("sent").len(), 200);
    let state = fs::read_to_string(rig.dir.join(format!("sent/{}.state", others[1]))).unwrap();
    assert!(state.contains(&format!("\"told_as\":\"{}\"", job_id(&others[0]))), "{state}");
}

#[test]
fn the_login_that_a_drill_waits_for_goes_at_once_and_in_no_digest() {
    let rig = Rig::new("drill");
    let mut outbox = rig.digests(Limits::default());
    rig.publish_login("192.0.2.1");
    outbox.claim(0);
    let (first, _) = begin_one(&mut outbox, 0);
    outbox.learn(&report(&first, delivered()), 10);
    let others = [rig.publish_login("192.0.2.2"), rig.publish_login("192.0.2.3")];
    let of_drill = rig.publish_login("127.0.0.1");
    outbox.claim(20);
    assert_eq!(sms_due(&mut outbox, 20), [], "it is collected");
    outbox.entries.get_mut(&of_drill).unwrap().alone = true;
    let (due, job) = begin_one(&mut outbox, 20);
    assert_eq!((due.names.as_slice(), job.message.more.len()), (&[of_drill][..], 0));
    outbox.learn(&report(&due, delivered()), 30);
    let (due, _) = begin_one(&mut outbox, 5010);
    let told: std::collections::BTreeSet<String> = due.names.into_iter().collect();
    assert_eq!(told, others.into(), "the others are told together, and no later for it");
}

fn job_id(name: &str) -> AlertId {
    crate::spool::id_of(name).unwrap()
}

#[test]
fn a_digest_that_is_perhaps_out_is_looked_for_as_it_was() {
    let rig = Rig::new("doubt");
    let mut outbox = rig.digests(Limits::default());
    let names = rig.burst(&mut outbox, 5, 0);
    begin_one(&mut outbox, 0);
    std::mem::drop(outbox);

    let mut outbox = rig.digests(Limits::default());
    let late = rig.burst(&mut outbox, 3, 0);
    let due = sms_due(&mut outbox, 2000);
    let (_, job) = outbox.begin(&due, 2000).remove(0);
    assert!(job.doubtful);
    assert_eq!(job.names, names, "just what went out then, and its id first");
    assert_eq!(job.message.id(), job_id(&names[0]));
    let doubt = Outcome::doubtful("reset", Fault::Channel);
    outbox.learn(&Report { unresolved: true, ..report(&due[0], doubt) }, 2000);
    // It is looked for again before the others go.
    let due = sms_due(&mut outbox, 60_000);
    assert_eq!(due[0].names, names);
    let (_, job) = outbox.begin(&due, 60_000).remove(0);
    assert!(job.doubtful);
    outbox.learn(&report(&due[0], delivered()), 60_000);
    let due = sms_due(&mut outbox, 400_000);
    assert_eq!(due[0].names, late);
}

fn note_event(text: &str) -> Event {
    let at = Stamp::now();
    Event {
        version: FORMAT,
        id: drop_dir::new_id(at.unix_ms),
        at,
        host: Foreign::from("jump"),
        severity: Severity::Warning,
        what: What::Note(Note { text: text.into() }),
    }
}

#[test]
fn what_a_carrier_refuses_later_comes_back_and_takes_the_next_channel() {
    let rig = Rig::new("follow");
    let mut outbox = rig.digests(Limits::default());
    let names = rig.burst(&mut outbox, 2, 0);
    let (due, _) = begin_one(&mut outbox, 0);
    outbox.learn(&report(&due, delivered()), 0);
    assert!(outbox.is_empty());
    assert_eq!(outbox.follow_due(4999, &["sms"]), (None, 5000));
    // A sender that starts anew goes on asking.
    let mut outbox = rig.digests(Limits::default());
    let (Some(follow), _) = outbox.follow_due(5000, &["sms"]) else { panic!() };
    assert_eq!((follow.id.as_str(), follow.names.len()), ("SM1", 2));
    outbox.followed(follow, Followed::Underway("sent".into()), 5000);
    let (Some(follow), _) = outbox.follow_due(70_000, &["sms"]) else { panic!() };
    let why = || "30007: the carrier took it for spam".to_owned();
    outbox.followed(follow.clone(), Followed::Failed { why: why(), again: false }, 70_000);
    assert_eq!(outbox.len(), 2);
    let mut of_queue = rig.names("queue");
    of_queue.retain(|name| !name.ends_with(".state"));
    assert_eq!(of_queue, names);
    let (due, _) = begin_one(&mut outbox, 70_000);
    assert_eq!(due.channel, "mail");
    outbox.learn(&report(&due, delivered()), 70_000);
    let (due, _) = begin_one(&mut outbox, 70_000);
    outbox.learn(&report(&due, delivered()), 70_000);
    assert!(outbox.is_empty());
    assert!(rig.lines().contains("alert-undelivered"));
}

#[test]
fn once_more_is_not_for_ever() {
    let rig = Rig::new("again");
    let mut outbox = rig.digests(Limits::default());
    rig.burst(&mut outbox, 1, 0);
    for (round, channel) in [(0, "sms"), (1, "sms"), (2, "mail")] {
        let now_ms = 400_000 * round;
        let (due, _) = begin_one(&mut outbox, now_ms);
        assert_eq!(due.channel, channel, "{round}");
        outbox.learn(&report(&due, delivered()), now_ms);
        if let (Some(follow), _) = outbox.follow_due(now_ms + 5000, &["sms"]) {
            let failed = Followed::Failed { why: "30008".into(), again: true };
            outbox.followed(follow, failed, now_ms + 5000);
        }
    }
    assert!(outbox.is_empty());
}

#[test]
fn a_program_gets_each_event_alone_and_many_are_prepared_at_once() {
    let rig = Rig::new("run");
    let mut outbox = rig.digests(Limits::default());
    outbox.policy.ways.insert("sms".into(), Way { in_runs: true, ..Way::default() });
    rig.burst(&mut outbox, 40, 0);
    let due = sms_due(&mut outbox, 0);
    assert_eq!(due.len(), 32);
    let mut jobs = outbox.begin(&due, 0);
    assert!(jobs.iter().all(|(_, job)| job.names.len() == 1));
    let failed = Outcome::Later { why: "no".into(), fault: Fault::Channel };
    outbox.take_back("sms", jobs.drain(1..).map(|(_, job)| job), 0);
    outbox.learn(&report(&due[0], failed), 0);
    let states = rig.names("queue").iter().filter(|name| name.ends_with(".state")).count();
    assert_eq!(states, 32);
    let untried = due[1].names[0].clone();
    let state = fs::read_to_string(rig.dir.join(format!("queue/{untried}.state"))).unwrap();
    assert!(state.contains("waiting") && !state.contains("sending"), "{state}");
}

#[test]
fn no_run_goes_over_the_limit_of_a_program_s_channel() {
    let rig = Rig::new("run-limit");
    let limits = Limits { per_hour: Some(3), ..Limits::default() };
    let mut outbox = rig.digests(limits);
    outbox.policy.ways.insert("sms".into(), Way { in_runs: true, limits, ..Way::default() });
    rig.burst(&mut outbox, 40, 0);
    let mut sent = 0;
    loop {
        let due = sms_due(&mut outbox, 0);
        let jobs = outbox.begin(&due, 0).len();
        due.iter().for_each(|due| outbox.learn(&report(due, delivered()), 0));
        sent += jobs;
        if jobs == 0 {
            break;
        }
    }
    assert_eq!(sent, 3);
}

#[test]
fn the_mark_of_a_new_place_outlives_a_kill_at_any_moment_before_it_is_sent() {
    let network = New { network: true, key: false };
    let marks = |outbox: &Outbox| -> Vec<New> { outbox.entries.values().map(|e| e.new).collect() };
    // Killed after the claim and before what was seen was written, or after that.
    for seen_is_lost in [true, false] {
        let rig = Rig::new(&format!("new-{seen_is_lost}"));
        let mut outbox = rig.outbox();
        for source in ["203.0.113.9", "203.0.113.10", "127.0.0.1", "192.0.2.1"] {
            rig.publish_login(source);
            // Their order is that of their times.
            std::thread::sleep(Duration::from_millis(2));
        }
        outbox.claim(0);
        let want = vec![network, New::default(), New::default(), network];
        assert_eq!(marks(&outbox), want);
        assert_eq!(rig.lines().matches("new=\"network\"").count(), 2, "told in the log");
        let seen = rig.dir.join("state/seen.json");
        assert!(fs::read_to_string(&seen).unwrap().contains("203.0.113.0/24"));
        std::mem::drop(outbox);
        if seen_is_lost {
            fs::remove_file(&seen).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(marks(&rig.outbox()), want);
        }
        let mut outbox = rig.outbox();
        let (_, job) = begin_one(&mut outbox, 0);
        assert_eq!(job.message.new.get(&job.message.id()), Some(&network));
        std::mem::drop(outbox);
        assert_eq!(marks(&rig.outbox()), want, "killed in a try");
    }
}

#[test]
fn a_state_directory_that_takes_nothing_loses_no_mark_and_no_message() {
    let rig = Rig::new("new-full");
    let mut outbox = rig.outbox();
    fs::remove_dir(rig.dir.join("state")).unwrap();
    rig.publish_login("203.0.113.9");
    outbox.claim(0);
    assert_eq!(begin_one(&mut outbox, 0).1.message.new.len(), 1);
    assert_eq!(rig.lines().matches("state-trouble").count(), 1);
    // Written as soon as it can be.
    fs::create_dir(rig.dir.join("state")).unwrap();
    outbox.claim(0);
    assert!(rig.dir.join("state/seen.json").exists());
}
