//! Logins that are held for what is to be found out about them.

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::deliver::lookup::Found;
use crate::fact::{Fact, Finder};

/// Knows something of logins from 192.0.2.1; the tests give the answers.
struct Oracle;

impl Finder for Oracle {
    fn patience(&self, event: &Event) -> Option<Duration> {
        let What::Login(login) = &event.what else { return None };
        (login.source == "192.0.2.1".parse().ok()).then_some(Duration::from_secs(2))
    }

    fn find(&self, _: &Event, _: Instant) -> Option<Fact> {
        None
    }

    fn late(&self) -> Option<Fact> {
        Some(late())
    }
}

fn late() -> Fact {
    Fact::WentOn(vec!["late".into()])
}

fn home() -> Fact {
    Fact::WentOn(vec!["home".into()])
}

impl Rig {
    fn oracle(&self) -> Outbox {
        let mut outbox = self.outbox();
        outbox.set_finders(vec![Arc::new(Oracle)]);
        outbox
    }

    /// A sender that starts anew, and knows whom to ask before it takes up what is left.
    fn restart(&self) -> Outbox {
        let mut outbox = self.outbox();
        outbox.set_finders(vec![Arc::new(Oracle)]);
        let names: Vec<String> = outbox.entries.keys().cloned().collect();
        names.iter().for_each(|name| drop(outbox.remove(name)));
        outbox.load(&Stamp::now(), 0).unwrap();
        outbox
    }
}

/// An answer to each question that was asked.
fn answers(outbox: &mut Outbox, fact: Option<&Fact>) -> Vec<Found> {
    let asks = outbox.asks().into_iter();
    asks.map(|ask| Found { name: ask.name, event: ask.event, fact: fact.cloned() }).collect()
}

fn due_names(outbox: &mut Outbox, now_ms: u64) -> (Vec<String>, u64) {
    let (due, wake_ms) = outbox.due(now_ms, &["sms", "mail"]);
    (due.into_iter().flat_map(|due| due.names).collect(), wake_ms)
}

/// What the first message that is due would tell beside the event.
fn told(outbox: &mut Outbox, now_ms: u64) -> Option<Fact> {
    let (due, _) = outbox.due(now_ms, &["sms", "mail"]);
    let (_, job) = outbox.begin(&due, now_ms).remove(0);
    job.message.facts.get(&job.message.id()).cloned()
}

#[test]
fn a_login_is_held_until_the_answer_or_its_time_and_nothing_else_is() {
    // When the answer comes, and what; until when it is held, and what is told.
    let table = [
        (Some((300, Some(home()))), 300, Some(home())),
        (Some((300, None)), 300, None),
        (None, 2050, Some(late())),
    ];
    for (answer, until, want) in table {
        let rig = Rig::new("hold");
        let mut outbox = rig.oracle();
        rig.publish_login("203.0.113.9");
        let note = rig.publish("a note");
        outbox.claim(0);
        let (due, _) = due_names(&mut outbox, 0);
        assert_eq!(due.len(), 1, "of others nobody is asked");
        std::mem::drop(outbox);
        fs::remove_dir_all(rig.dir.join("queue")).unwrap();
        fs::create_dir(rig.dir.join("queue")).unwrap();

        let mut outbox = rig.oracle();
        let login = rig.publish_login("192.0.2.1");
        let other = rig.publish("another note");
        outbox.claim(50);
        assert_eq!(due_names(&mut outbox, 50).0, [other.as_str()], "{note}");
        assert_eq!(due_names(&mut outbox, 299).0, [other.as_str()]);
        let found = answers(&mut outbox, answer.as_ref().and_then(|(_, fact)| fact.as_ref()));
        if let Some((at, _)) = answer {
            outbox.found(found, at);
        } else {
            assert_eq!(due_names(&mut outbox, until - 1).0, [other.as_str()]);
        }
        assert_eq!(due_names(&mut outbox, until).0, [login.as_str()], "a login goes first");
        assert_eq!(told(&mut outbox, until), want);
    }
}

#[test]
fn the_loop_wakes_up_when_the_time_is_over() {
    let rig = Rig::new("hold-wake");
    let mut outbox = rig.oracle();
    rig.publish_login("192.0.2.1");
    outbox.claim(1000);
    assert_eq!(due_names(&mut outbox, 1000), (vec![], 3000));
    outbox.kick(1000);
    assert_eq!(due_names(&mut outbox, 1500), (vec![], 3000), "a kick brings no answer");
}

#[test]
fn an_answer_or_none_outlives_a_kill_and_is_not_asked_for_again() {
    for fact in [Some(home()), None] {
        let rig = Rig::new("hold-kill");
        let mut outbox = rig.oracle();
        rig.publish_login("192.0.2.1");
        outbox.claim(0);
        let found = answers(&mut outbox, fact.as_ref());
        outbox.found(found, 10);
        std::mem::drop(outbox);
        let mut outbox = rig.restart();
        assert_eq!(outbox.asks().len(), 0);
        assert_eq!(told(&mut outbox, 0), fact);
    }
}

#[test]
fn killed_while_it_is_held_it_is_held_anew_and_told() {
    let rig = Rig::new("hold-anew");
    let mut outbox = rig.oracle();
    let name = rig.publish_login("192.0.2.1");
    outbox.claim(0);
    std::mem::drop(outbox);
    let mut outbox = rig.restart();
    assert_eq!(due_names(&mut outbox, 1999), (vec![], 2000));
    let found = answers(&mut outbox, Some(&home()));
    assert_eq!(found.len(), 1);
    outbox.found(found, 1999);
    assert_eq!(due_names(&mut outbox, 1999).0, [name]);
    assert_eq!(told(&mut outbox, 1999), Some(home()));
    std::mem::drop(outbox);
    // It was being told: no second question, and the same text to look for.
    let mut outbox = rig.restart();
    assert_eq!(outbox.asks().len(), 0);
    assert_eq!(told(&mut outbox, 5000), Some(home()));
}

#[test]
fn what_comes_when_it_has_been_told_comes_too_late() {
    let rig = Rig::new("hold-late");
    let mut outbox = rig.oracle();
    rig.publish_login("192.0.2.1");
    outbox.claim(0);
    let found = answers(&mut outbox, Some(&home()));
    let (due, job) = begin_one(&mut outbox, 2000);
    assert_eq!(job.message.facts.get(&job.message.id()), Some(&late()));
    outbox.found(found, 2001);
    outbox.learn(&report(&due, delivered()), 2002);
    // The other recipient is told the same.
    let (_, job) = begin_one(&mut outbox, 2002);
    assert_eq!(job.message.facts.get(&job.message.id()), Some(&late()));
    std::mem::drop(outbox);
    assert_eq!(rig.restart().asks().len(), 0);
}

#[test]
fn of_a_flood_the_others_are_told_at_once_and_none_is_lost() {
    let rig = Rig::new("hold-flood");
    let mut outbox = rig.oracle();
    for _ in 0..300 {
        rig.publish_login("192.0.2.1");
    }
    while outbox.claim(0).more {}
    assert_eq!((outbox.len(), outbox.asks().len()), (300, 128));
    let way = Way { together: true, ..Way::default() };
    outbox.policy.ways.insert("sms".into(), way);
    outbox.policy.route.stops[0].recipients.truncate(1);
    let (due, job) = begin_one(&mut outbox, 0);
    assert_eq!(job.names.len(), 172);
    outbox.learn(&report(&due, delivered()), 0);
    assert_eq!(begin_one(&mut outbox, 400_000).1.names.len(), 128);
}
