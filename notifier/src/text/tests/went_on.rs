//! Where somebody went on to is in every text, as far as there is room.

use super::*;

fn on(names: &[&str]) -> Facts {
    let names = names.iter().map(|name| Foreign::from(*name)).collect();
    Facts::from([(AlertId::parse("k7f3q2").unwrap(), Fact::WentOn(names))])
}

fn alice(facts: Facts) -> Message {
    let what = What::Login(login("alice", "203.0.113.9", vec![key(Some("laptop"), None)]));
    Message { facts, ..Message::new(event(what), stamp(DAY), "+1") }
}

#[test]
fn a_login_that_went_on_says_where_to_in_every_text() {
    let head = "jump: login alice from 203.0.113.9, key laptop";
    let table: [(&[&str], &str, &str); 4] = [
        (&["home"], ", went on to home", "went-on: home\n"),
        (&["home", "office"], ", went on to home +1 more", "went-on: home, office\n"),
        (&["ho,me\n"], ", went on to \"ho,me\\x0a\"", "went-on: ho,me\\x0a\n"),
        (&[], "", ""),
    ];
    for (names, words, line) in table {
        let told = alice(on(names));
        let (sms, subject, body) = (sms(&told, 1), subject(&told), body(&told));
        assert!(sms.starts_with(&format!("{head}{words}, ")), "{sms}");
        assert_eq!(subject, format!("{head}{words} #k7f3q2"));
        assert!(body.contains(&format!("{line}user: alice\n")), "{body}");
        assert_eq!(body.contains("went-on"), !line.is_empty(), "{body}");
    }
    // What was found out about another event is nothing about this one.
    let other = Facts::from([(AlertId::from_bits(7), Fact::WentOn(vec!["home".into()]))]);
    assert_eq!(subject(&alice(other)), format!("{head} #k7f3q2"));
}

#[test]
fn it_gives_way_before_who_and_when_and_only_where_there_is_no_room() {
    let long = "o".repeat(200);
    let text = |user: &str, name: &str, place: &str| {
        let told = alice(on(&[place]));
        let auth = vec![key(Some(name), None)];
        let what = What::Login(login(user, "203.0.113.9", auth));
        sms(&Message { event: event(what), ..told }, 1)
    };
    for (user, name, place, want) in [
        ("alice", "laptop", long.as_str(), "key laptop, went on to ooooooo"),
        // A name of a key gives way first, and all of it before who and when.
        ("alice", &long, "home", ".., went on to home, "),
        (&long, &long, &long, ", went on to oooooooooooooooooooooooooooooo.., "),
    ] {
        let text = text(user, name, place);
        assert!(text.contains(want), "{text}");
        assert_eq!(gsm7::septets(&text), Some(160), "all the room is used: {text}");
    }
}

#[test]
fn in_a_digest_it_stands_with_who_and_where_from() {
    let event = |bits, user: &str| {
        let what = What::Login(login(user, "203.0.113.9", vec![]));
        Event { id: AlertId::from_bits(bits), ..super::event(what) }
    };
    let events = [event(1, "alice"), event(2, "alice"), event(3, "bob"), event(4, "alice")];
    let fact = || Fact::WentOn(vec!["home".into()]);
    let facts = Facts::from([(events[0].id, fact()), (events[1].id, fact())]);
    let all: Vec<&Event> = events.iter().collect();
    let context = Context { now: &stamp(DAY), local: clock, new: NOTHING, facts: &facts };
    let text = digest::line(&all, None, &context, &Alphabet::UNICODE, |_| true);
    let want =
        ": alice from 203.0.113.9 (on to home) x2, alice from 203.0.113.9, bob from 203.0.113.9 #";
    assert!(text.contains(want), "{text}");
}
