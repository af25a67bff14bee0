//! Who came through a tunnel, as the jump host says.

use super::*;
use crate::chain::{Person, Unmatched};
use crate::fact::Fact;

fn person(user: &str, source: &str, auth: Vec<Factor>) -> Answer {
    let source = source.parse().ok();
    Answer::Matched(Person { user: user.into(), source, source_name: None, auth })
}

fn inside(user: &str, auth: Vec<Factor>) -> Event {
    Event { host: "inside".into(), ..event(What::Login(login(user, "127.0.0.1", auth))) }
}

fn message(event: Event, answer: Answer) -> Message {
    let facts = Facts::from([(event.id, Fact::Via(answer))]);
    Message { facts, ..Message::new(event, stamp(DAY), "+1") }
}

fn sms_of(message: &Message, late_ms: u64, new: &Marks) -> String {
    let now = stamp(DAY + late_ms);
    let context = Context { now: &now, local: fixed, new, facts: &message.facts };
    compose(&message.event, None, &context, 1)
}

fn other_key(name: Option<&str>) -> Factor {
    let mut factor = key(name, None);
    if let Some(key) = &mut factor.key {
        key.fingerprint = format!("SHA256:{}", "b".repeat(43));
    }
    factor
}

#[test]
fn a_short_message_says_who_it_was_on_the_jump_host() {
    let laptop = || vec![key(Some("laptop"), None)];
    let unmatched = |why: &str| Answer::unmatched(why);
    let table = [
        (
            inside("alice", laptop()),
            person("alice", "198.51.100.7", laptop()),
            "alice via jump: alice, key laptop, from 198.51.100.7; same key here",
        ),
        (
            inside("root", vec![other_key(None)]),
            person("alice", "198.51.100.7", laptop()),
            "root via jump: alice, key laptop, from 198.51.100.7; here key SHA256:bbbbbbbb..",
        ),
        (
            inside("alice", vec![method("password")]),
            person("al", "2001:db8::7", vec![method("password"), key(None, None)]),
            "alice via jump: al, by password + key SHA256:Cn8jgNmT.., from 2001:db8::7; here by password",
        ),
        (
            inside("alice", laptop()),
            person("alice", "", vec![]),
            "alice via jump: alice, auth unknown, from unknown; here key laptop",
        ),
        (
            inside("alice", laptop()),
            unmatched("its session has ended"),
            "alice from 127.0.0.1 via tunnel (unmatched: its session has ended), key laptop",
        ),
        // A stranger's text passes for none of ours.
        (
            inside("alice", laptop()),
            person("a, key boss", "198.51.100.7", vec![key(Some("x, from 192.0.2.1"), None)]),
            "alice via jump: \"a, key boss\", key \"x, from 192.0.2.1\", from 198.51.100.7; same key here",
        ),
        (
            inside("alice", laptop()),
            unmatched("x), key boss\n\u{202e}y"),
            "alice from 127.0.0.1 via tunnel (unmatched: \"x), key boss\\x0a\\u{202e}y\"), key laptop",
        ),
    ];
    for (event, answer, want) in table {
        let message = message(event, answer);
        let line = sms_of(&message, 0, NOTHING);
        assert_eq!(line, format!("inside: login {want}, 22 Nov 02:14:07 UTC #k7f3q2"));
        assert!(gsm7::segments(&line) == 1, "{line}");
        assert_eq!(subject(&message), format!("inside: login {want} #k7f3q2"));
    }
}

#[test]
fn usual_names_fit_one_segment_in_full() {
    let auth = || vec![other_key(None)];
    let answer = person("christopher", "203.113.100.207", vec![key(Some("chris's laptop"), None)]);
    let event = Event { host: "bastion-home".into(), ..inside("christopher", auth()) };
    let new = is_new(&event);
    let message = message(event, answer);
    let line = sms_of(&message, 0, &new);
    assert_eq!(
        line,
        "bastion-home: NEW login christopher via jump: christopher, key chris's laptop, from \
         203.113.100.207; here key SHA256:bbbbbbbb.., 22 Nov 02:14:07 UTC #k7f3q2"
    );
    assert_eq!(gsm7::segments(&line), 1, "{}", line.len());
}

#[test]
fn the_longest_there_can_be_fits_and_keeps_who_and_where_from() {
    let awkward = "€ ".repeat(85);
    let factor = || Factor { method: "hostbased".into(), ..key(Some(&awkward), Some("x")) };
    let address = "2001:1db8:1111:2222:3333:4444:5555:6666";
    let answers = [
        person(&awkward, address, vec![factor(); 8]),
        Answer::Matched(Person {
            user: awkward.as_str().into(),
            source_name: Some(awkward.as_str().into()),
            ..Person::default()
        }),
        Answer::unmatched(&awkward),
    ];
    for answer in answers {
        for source in ["127.255.255.255", "::1"] {
            let what = login(&awkward, source, vec![factor(); 2000]);
            let event = Event {
                host: awkward.as_str().into(),
                severity: Severity::Critical,
                ..event(What::Login(what))
            };
            let new = is_new(&event);
            let message = message(event, answer.clone());
            let line = sms_of(&message, u64::MAX - DAY, &new);
            assert_eq!(gsm7::segments(&line), 1, "{line}");
            assert!(line.ends_with(", 22 Nov 02:14:07 UTC, told 999+ days late #k7f3q2"), "{line}");
            match &answer {
                Answer::Matched(person) => {
                    let from = person.source.map_or("unknown \"".to_owned(), |ip| ip.to_string());
                    assert!(line.contains(&format!(", from {from}")), "{line}");
                    assert!(line.contains(" via jump: \""), "{line}");
                }
                Answer::Unmatched(_) => assert!(line.contains("via tunnel (unmatched"), "{line}"),
            }
            assert!(subject(&message).len() <= 998);
        }
    }
}

#[test]
fn a_body_has_what_the_jump_host_says_as_its_word() {
    let laptop = key(Some("laptop"), Some("alice-2026"));
    let answer = person("alice", "198.51.100.7", vec![laptop, method("password")]);
    let text = body(&message(inside("root", vec![method("password")]), answer));
    let want = format!(
        "source: 127.0.0.1 via tunnel\nauth: password\nvia: jump host, which says\n  user: alice\n  \
         source: 198.51.100.7\n  auth: publickey\n    key: laptop\n    algorithm: ssh-ed25519\n    \
         fingerprint: {HASH}\n    certificate: alice-2026\n    serial: 7\n    ca: {HASH}\n  auth: password\nreason: "
    );
    assert!(text.contains(&want), "{text}");
    let answer = Answer::Unmatched(Unmatched::new("no\nrecord"));
    let text = body(&message(inside("root", vec![method("password")]), answer));
    assert!(text.contains("auth: password\nvia: unmatched: no\\x0arecord\nreason: "), "{text}");
}

#[test]
fn a_digest_has_people_and_where_they_really_came_from() {
    let all = [
        ("alice", Some(person("alice", "198.51.100.7", vec![]))),
        ("alice", Some(person("alice", "198.51.100.7", vec![]))),
        ("alice", Some(person("bob", "192.0.2.9", vec![]))),
        ("carol", Some(Answer::unmatched("x"))),
        ("dave", None),
    ];
    let mut facts = Facts::new();
    let mut events = Vec::new();
    for (at, (user, answer)) in all.into_iter().enumerate() {
        let id = AlertId::from_bits(u32::try_from(at).unwrap());
        facts.extend(answer.map(|answer| (id, Fact::Via(answer))));
        events.push(Event { id, ..inside(user, vec![]) });
    }
    let first = events.remove(0);
    let message = Message { facts, more: events, ..Message::new(first, stamp(DAY), "+1") };
    let text = subject(&message);
    for words in [
        "alice from 198.51.100.7 via jump x2",
        "alice from 192.0.2.9 via jump as bob",
        "carol from 127.0.0.1 via tunnel (unmatched)",
        "dave from 127.0.0.1 via tunnel",
    ] {
        assert!(text.contains(words), "{text}");
    }
}
