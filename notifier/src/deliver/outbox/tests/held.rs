//! What is held back: by limits, for company, and until it is too old.

use super::*;

#[test]
fn what_a_full_channel_hands_over_is_told_together_as_well() {
    let rig = Rig::new("limit-together");
    let mut outbox = rig.digests(Limits { per_hour: Some(1), ..Limits::default() });
    outbox.policy.ways.insert("mail".into(), Way { together: true, ..Way::default() });
    rig.burst(&mut outbox, 1, 0);
    let (due, _) = begin_one(&mut outbox, 0);
    outbox.learn(&report(&due, delivered()), 0);
    rig.burst(&mut outbox, 3, 400_000);
    let (due, job) = begin_one(&mut outbox, 400_000);
    assert_eq!((due.channel.as_str(), job.names.len()), ("mail", 3));
    let lines = rig.lines();
    assert_eq!(lines.matches("channel-full channel=\"sms\" next-s=").count(), 1, "{lines}");
}

#[test]
fn a_kick_ends_the_wait_for_company() {
    let rig = Rig::new("kick-digest");
    let mut outbox = rig.digests(Limits::default());
    rig.burst(&mut outbox, 1, 0);
    let (due, _) = begin_one(&mut outbox, 0);
    outbox.learn(&report(&due, delivered()), 0);
    rig.burst(&mut outbox, 2, 1000);
    assert_eq!(sms_due(&mut outbox, 1000), []);
    outbox.kick(1000);
    assert_eq!(begin_one(&mut outbox, 1000).1.names.len(), 2);
}

#[test]
fn a_line_that_is_back_ends_the_wait_for_the_network_and_no_other() {
    let later = |fault| Outcome::Later { why: "x".into(), fault };
    let hour = Duration::from_secs(3600);
    let table = [
        (later(Fault::Channel), true),
        (later(Fault::RateLimit(Some(hour))), false),
        (Outcome::Config { why: "x".into() }, false),
    ];
    for (outcome, want) in table {
        let rig = Rig::new("back");
        let mut outbox = rig.outbox();
        rig.publish("hello");
        outbox.claim(0);
        let (due, _) = begin_one(&mut outbox, 0);
        outbox.learn(&report(&due, outcome.clone()), 0);
        assert_eq!(sms_due(&mut outbox, 10), [], "{outcome:?}");
        outbox.line_is_back(10);
        assert_eq!(!sms_due(&mut outbox, 10).is_empty(), want, "{outcome:?}");
    }
    // And it tells nothing by itself, and is gone.
    let rig = Rig::new("back-alone");
    let mut outbox = rig.outbox();
    rig.publish_what(What::Back(Back { name: Foreign::from("link backup") }));
    let taken = outbox.claim(0);
    assert!(taken.back && outbox.is_empty());
    assert_eq!(fs::read_dir(rig.dir.join("queue")).unwrap().count(), 0);
    assert!(!outbox.claim(0).back);
}

#[test]
fn a_line_that_is_back_does_not_end_the_wait_for_company() {
    let rig = Rig::new("back-digest");
    let mut outbox = rig.digests(Limits::default());
    rig.burst(&mut outbox, 1, 0);
    let (due, _) = begin_one(&mut outbox, 0);
    outbox.learn(&report(&due, delivered()), 0);
    rig.burst(&mut outbox, 2, 1000);
    outbox.line_is_back(1000);
    assert_eq!(sms_due(&mut outbox, 1000), []);
}

#[test]
fn what_expires_is_told_in_the_log_and_in_the_next_message() {
    let rig = Rig::new("expiry");
    let mut outbox = rig.digests(Limits::default());
    outbox.policy.expiry.insert("note", Duration::from_secs(3600));
    let mut old = note_event("old");
    old.at = Stamp { unix_ms: old.at.unix_ms - 3_700_000, boot: None };
    drop_dir::publish(&Spool::new(&rig.dir), &old, drop_dir::Sync::BySender).unwrap();
    outbox.claim(0);
    assert_eq!(sms_due(&mut outbox, 0), []);
    assert!(outbox.is_empty());
    let lines = rig.lines();
    assert!(lines.contains("alert-failed") && lines.contains("expired after 1 h"), "{lines}");
    rig.burst(&mut outbox, 1, 0);
    let (due, job) = begin_one(&mut outbox, 0);
    assert!(crate::text::sms(&job.message, 1).contains("1 older alert expired"));
    // One that expires while it is under way is for the next message.
    outbox.books.ledger.one_expired();
    let expired = job.message.expired;
    outbox.learn(&Report { expired, ..report(&due, delivered()) }, 0);
    assert_eq!(outbox.books.ledger.expired, 1);
    outbox.books.ledger.told_of_expired(1);
    rig.burst(&mut outbox, 1, 900_000);
    let (_, job) = begin_one(&mut outbox, 900_000);
    assert_eq!(job.message.expired, 0);
}

#[test]
fn names_make_room_for_what_has_expired() {
    let rig = Rig::new("expiry-room");
    let mut outbox = rig.digests(Limits::default());
    outbox.books.ledger.expired = 12;
    rig.publish_what(What::Login(Login {
        user: "a-rather-long-user-name-of-32-by".into(),
        source: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().ok(),
        ..Login::default()
    }));
    outbox.claim(0);
    let text = crate::text::sms(&begin_one(&mut outbox, 0).1.message, 1);
    assert!(text.contains("12 older alerts expired") && text.contains("1234:5678"), "{text}");
    assert!(crate::text::gsm7::segments(&text) == 1, "{text}");
}

#[test]
fn what_has_expired_stands_in_a_digest_as_well() {
    let rig = Rig::new("expiry-digest");
    let mut outbox = rig.digests(Limits::default());
    outbox.books.ledger.expired = 12;
    rig.burst(&mut outbox, 3, 0);
    let (_, job) = begin_one(&mut outbox, 0);
    assert_eq!(job.names.len(), 3);
    let words = "12 older alerts expired";
    for text in [
        crate::text::sms(&job.message, 1),
        crate::text::subject(&job.message),
        crate::text::body(&job.message),
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_full_channel_hands_over_and_critical_alerts_go_on() {
    let rig = Rig::new("limit");
    let limits = Limits { per_hour: Some(2), ..Limits::default() };
    let mut outbox = rig.digests(limits);
    for now_ms in [0, 400_000] {
        rig.burst(&mut outbox, 1, now_ms);
        let (due, _) = begin_one(&mut outbox, now_ms);
        assert_eq!(due.channel, "sms");
        outbox.learn(&report(&due, delivered()), now_ms);
    }
    rig.burst(&mut outbox, 1, 800_000);
    let (due, _) = begin_one(&mut outbox, 800_000);
    assert_eq!(due.channel, "mail");
    outbox.learn(&report(&due, delivered()), 800_000);
    // What it has sent survives a restart.
    let mut outbox = rig.digests(limits);
    rig.burst(&mut outbox, 1, 800_000);
    let (due, _) = begin_one(&mut outbox, 800_000);
    assert_eq!(due.channel, "mail");
    outbox.learn(&report(&due, delivered()), 800_000);
    let mut event = note_event("the house is on fire");
    event.severity = Severity::Critical;
    drop_dir::publish(&Spool::new(&rig.dir), &event, drop_dir::Sync::BySender).unwrap();
    outbox.claim(800_000);
    let (due, _) = begin_one(&mut outbox, 800_000);
    assert_eq!(due.channel, "sms");
}
