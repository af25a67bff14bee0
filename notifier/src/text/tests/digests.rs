//! Several alerts in one message.

use super::*;

#[test]
fn a_burst_of_logins_is_told_by_number_and_by_who_and_from_where() {
    let logins = |user: &str, from: &str, times: u64| {
        (0..times)
            .map(|n| at_minute(n % 3, event(What::Login(login(user, from, vec![])))))
            .collect::<Vec<_>>()
    };
    let mut events = logins("alice", "203.0.113.9", 40);
    events.extend(logins("bob", "::1", 7));
    events.extend(logins("carol", "198.51.100.1", 1));
    assert_eq!(
        digest_of(&events, 0),
        "jump: 48 logins 22 Nov 17:00 to 17:02 UTC: alice from 203.0.113.9 x40, bob from ::1 \
         via tunnel x7, carol from 198.51.100.1, told 23 h late #k7f3q2"
    );
    for n in 0..50 {
        events.extend(logins(&format!("user{n}"), "198.51.100.2", 1));
    }
    events.push(Event {
        severity: Severity::Critical,
        ..logins("mallory", "192.0.2.66", 1).remove(0)
    });
    let text = digest_of(&events, 0);
    assert!(
        text.contains(": CRITICAL mallory from 192.0.2.66, alice from 203.0.113.9 x40"),
        "{text}"
    );
    assert!(text.contains(", +58 more"), "{text}");
    assert_eq!(gsm7::segments(&text), 1, "{text}");
}

#[test]
fn what_is_not_down_but_low_high_or_wrong_is_told_so() {
    let of = |aspect: &str, fault, status, severity| {
        let name = format!("link starlink-of-the-office {aspect}");
        let text =
            "it is AS3320 DTAG Internet service provider operations, DE, and not AS14593, by \
                    two sources of which each says so for itself"
                .to_owned();
        let what = What::Condition(Condition {
            fault,
            ..Condition::new(name.as_str().into(), status, text)
        });
        Event { severity, ..at_minute(2, event(what)) }
    };
    let wrong = of("isp", ConditionFault::Wrong, Status::Down, Severity::Critical);
    let text = short(&wrong, None, 0, 1);
    // What aspect it is of is never cut for the reason's sake.
    assert!(
        text.starts_with("jump: link starlink-of-the-office isp is WRONG (CRITICAL): it is AS3320"),
        "{text}"
    );
    for (aspect, fault, want) in [
        ("speed", ConditionFault::Low, ["is LOW: ", "is enough again", "was low 22 Nov"]),
        ("latency", ConditionFault::High, ["is HIGH: ", "is low again", "was high 22 Nov"]),
        ("isp", ConditionFault::Wrong, ["is WRONG: ", "is right again", "was wrong 22 Nov"]),
    ] {
        let [down, up] =
            [Status::Down, Status::Up].map(|status| of(aspect, fault, status, Severity::Warning));
        let up = at_minute(9, up);
        assert!(short(&down, None, 0, 1).contains(want[0]), "{}", short(&down, None, 0, 1));
        assert!(short(&up, None, 0, 1).contains(want[1]), "{}", short(&up, None, 0, 1));
        let both = digest_of(&[down, up], 0);
        assert!(both.contains(&format!("{aspect} {}", want[2])), "{both}");
    }
    // What a later version may know is down.
    let later = r#"{"name":"a","status":"down","fault":"purple"}"#;
    assert_eq!(serde_json::from_str::<Condition>(later).unwrap().fault, ConditionFault::Down);
}

#[test]
fn what_went_down_and_came_up_is_one_sentence() {
    use Status::{Down, Up};
    let one = |status, minute| condition("tunnel office", status, minute);
    let table = [
        (vec![one(Down, 2), one(Up, 9)], "tunnel office was down 22 Nov 17:02 to 17:09 UTC"),
        (
            vec![one(Down, 2), one(Up, 3), one(Down, 5), one(Up, 70)],
            "tunnel office was down 2 times 22 Nov 17:02 to 18:10 UTC, up again",
        ),
        (vec![one(Up, 2), one(Down, 9)], "tunnel office is DOWN since 22 Nov 17:09 UTC"),
        (
            vec![one(Down, 2), one(Up, 3), one(Down, 5)],
            "tunnel office is DOWN since 22 Nov 17:05 UTC, 2 times since 22 Nov 17:02 UTC",
        ),
        (vec![one(Up, 9), one(Up, 9)], "tunnel office is up again 22 Nov 17:09 UTC"),
        (
            vec![
                one(Down, 0),
                condition("link 5g", Up, 1),
                condition("link 5g", Down, 0),
                one(Up, 420),
            ],
            "link 5g was down 22 Nov 17:00 to 17:01 UTC, \
             tunnel office was down 22 Nov 17:00 to 23 Nov 00:00 UTC",
        ),
    ];
    for (events, want) in table {
        let late = if events.len() == 4 && want.starts_with("link") { "17 h" } else { "23 h" };
        let text = digest_of(&events, 0);
        let (before, late_is) = (format!("jump: {want}, told "), format!("{late} late #k7f3q2"));
        let late_ok = text.ends_with(&late_is) || text.ends_with("22 h late #k7f3q2");
        assert!(text.starts_with(&before) && late_ok, "{text}\n{want}");
    }
}

#[test]
fn a_note_in_a_digest_cannot_pass_for_two() {
    let text = digest_of(&[note("disk is full; jump: login root"), note("b")], 0);
    assert_eq!(
        text,
        "jump: 2 notes 22 Nov 17:00 UTC: disk is full; jump: login root; b, told 24 h late #k7f3q2"
    );
}

#[test]
fn of_notes_the_worst_comes_first_and_of_equal_ones_the_newest() {
    let at = |minute, severity, text: &str| Event { severity, ..at_minute(minute, note(text)) };
    let reachable = "jump host of home: reachable at 203.0.113.50, and the tunnel is up";
    let events = [
        at(0, Severity::Info, "jump host of home: starting, because main is down for 20 s"),
        at(
            0,
            Severity::Warning,
            "jump host of home: not up 5 min after it was started; look there",
        ),
        at(1, Severity::Warning, reachable),
        at(2, Severity::Info, "backup of nas is done"),
    ];
    let text = digest_of(&events, 0);
    assert!(text.contains(" UTC: jump host of home: reachable at 203.0.113.50"), "{text}");
    assert!(text.contains(", +"), "{text}");
}

#[test]
fn whatever_the_events_a_digest_fits_and_keeps_the_count_and_the_id() {
    let mut random = Random(77);
    for round in 0..60 {
        let first = random.event();
        let mut events = vec![first.clone()];
        while events.len() < 60 {
            let next = random.event();
            if next.what.kind() == first.what.kind() {
                events.push(next);
            }
        }
        let now = stamp(random.one(&[0, DAY, 9_000_000_000_000]));
        let more = events.split_off(1);
        let message = Message { more, ..Message::new(first.clone(), now.clone(), "+15550101") };
        let text = sms(&message, random.one(&[0, 1, 3]));
        let why = format!("round {round}: {text:?}");
        assert!(gsm7::segments(&text) <= 3 && !text.contains(char::is_control), "{why}");
        assert!(text.ends_with(&format!(" #{}", first.id)), "{why}");
        if first.what.kind() != "condition" {
            assert!(text.contains(": 60 "), "{why}");
        }
        let subject = subject(&message);
        assert!(subject.len() <= 998 && !subject.contains('\n'), "{subject}");
        let body = body(&message);
        assert!(!body.contains(|c: char| c.is_control() && c != '\n'), "{body}");
        for event in message.events() {
            assert!(body.contains(&format!(" #{}\n", event.id)), "{body}");
        }
    }
}
