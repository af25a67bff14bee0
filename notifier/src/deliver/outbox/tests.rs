use std::fs;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::event::{Event, FORMAT, Note, Severity};
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
        outbox.set_route(
            vec![stop("sms", &["1", "2"]), stop("mail", &["m"])],
            Duration::from_secs(60),
        );
        outbox.load(0).unwrap();
        outbox
    }

    fn publish(&self, text: &str) -> String {
        let at = Stamp::now();
        let event = Event {
            version: FORMAT,
            id: drop_dir::new_id(at.unix_ms),
            at,
            host: Foreign::from("jump"),
            severity: Severity::Warning,
            what: What::Note(Note { text: text.into() }),
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
    let Due { name, channel, recipient } = due.clone();
    Report { name, channel, recipient, outcome, unresolved: false }
}

/// The only try that is due, begun.
fn begin_one(outbox: &mut Outbox, now_ms: u64) -> (Due, Job) {
    let (due, _) = outbox.due(now_ms, &["sms", "mail"]);
    assert_eq!(due.len(), 1, "{due:?}");
    let job = outbox.begin(&due[0], now_ms).unwrap();
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
    assert!(due.name == good || due.recipient == "2", "{due:?} {bad}");
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
    fs::create_dir(rig.dir.join(format!("queue/.{name}.state"))).unwrap();
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
    assert!(outbox.begin(&due[0], 0).is_none() && outbox.is_empty());
    assert!(rig.lines().contains("alert-dropped"));
}

#[test]
fn without_a_route_an_alert_is_logged_and_put_away() {
    let rig = Rig::new("route");
    let mut outbox = rig.outbox();
    outbox.set_route(Vec::new(), Duration::ZERO);
    let name = rig.publish("the disk is full");
    outbox.claim(0);
    outbox.due(0, &["sms", "mail"]);
    assert!(rig.names("sent").contains(&name));
    assert!(rig.lines().contains("the disk is full"));
}
