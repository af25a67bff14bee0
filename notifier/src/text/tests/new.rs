//! What is new is named in every text.

use super::*;

#[test]
fn a_login_from_a_new_place_says_so_in_every_text() {
    let of = |severity| {
        let login = login("alice", "203.0.113.9", vec![key(Some("laptop"), None)]);
        Event { severity, ..event(What::Login(login)) }
    };
    for (severity, word) in [(Severity::Warning, "NEW"), (Severity::Critical, "CRITICAL NEW")] {
        let event = of(severity);
        let message = |new| Message { new, ..Message::new(event.clone(), stamp(DAY), "+1") };
        let head = format!("jump: {word} login alice from 203.0.113.9, key laptop");
        let told = message(is_new(&event));
        assert!(sms(&told, 1).starts_with(&head), "{}", sms(&told, 1));
        assert!(subject(&told).starts_with(&head), "{}", subject(&told));
        assert!(body(&told).contains("\nnew: network, key\nuser: alice\n"));
        // Another's mark, or an empty one, is none.
        let other = Marks::from([(AlertId::from_bits(7), New { network: true, key: true })]);
        for new in [Marks::new(), Marks::from([(event.id, New::default())]), other] {
            let told = message(new);
            let texts = sms(&told, 1) + &subject(&told) + &body(&told);
            assert!(!texts.contains("NEW") && !texts.contains("new:"), "{texts}");
        }
    }
    let key = Marks::from([(of(Severity::Info).id, New { network: false, key: true })]);
    let told = Message { new: key, ..Message::new(of(Severity::Info), stamp(DAY), "+1") };
    assert!(body(&told).contains("\nnew: key\n"));
}

#[test]
fn in_a_digest_what_is_new_comes_after_what_is_critical_and_before_the_rest() {
    let mut id = 0;
    let mut of = |user: &str, severity, times: usize| -> Vec<Event> {
        let mut next = |_| {
            id += 1;
            let what = What::Login(login(user, "203.0.113.9", vec![]));
            Event { id: AlertId::from_bits(id), severity, ..event(what) }
        };
        (0..times).map(&mut next).collect()
    };
    let (often, known) = (of("often", Severity::Warning, 9), of("known", Severity::Warning, 2));
    let (new, urgent) = (of("new", Severity::Warning, 3), of("urgent", Severity::Critical, 1));
    let both = of("both", Severity::Critical, 1);
    // One of three is new: so is the place.
    let news =
        Marks::from([is_new(&new[1]), is_new(&both[0])].map(|mut one| one.pop_first().unwrap()));
    let all = [often, known, new, urgent, both].concat();
    let context = Context { now: &stamp(DAY), local: clock, new: &news, facts: NO_FACTS };
    let events: Vec<&Event> = all.iter().collect();
    let text = digest::line(&events, None, &context, &Alphabet::UNICODE, |_| true);
    let from = "from 203.0.113.9";
    let want = format!(
        ": CRITICAL NEW both {from}, CRITICAL urgent {from}, NEW new {from} x3, often {from} x9, \
         known {from} x2 #"
    );
    assert!(text.contains(&want), "{text}");
}
