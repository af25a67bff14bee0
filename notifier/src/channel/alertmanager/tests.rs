use super::*;
use crate::channel::chat::tests::{HOSTILE, condition, hostile, login, note};
use crate::channel::http::tests::{answer, class, client, server};
use crate::channel::outcome::Fault;
use crate::clock::{BootStamp, Stamp};
use crate::event::Severity;
use crate::message::New;

#[test]
fn each_answer_has_its_class() {
    let table = [
        (200, "", "delivered"),
        (302, "", "config"),
        (400, r#""bad label""#, "never"),
        (401, "Unauthorized", "config"),
        (403, "", "config"),
        (404, "404 page not found", "config"),
        (413, "", "never"),
        (422, r#"{"code":602,"message":"labels in body is required"}"#, "never"),
        (429, "", "rate"),
        (500, "", "doubtful"),
        (503, "", "doubtful"),
    ];
    for (status, body, want) in table {
        assert_eq!(class(&judge(&answer(status, body, None))), want, "{status} {body}");
    }
    let why = judge(&answer(422, r#"{"code":602,"message":"labels"}"#, None)).to_string();
    assert_eq!(why, "HTTP 422: labels");
}

#[test]
fn one_member_that_takes_it_is_enough() {
    let taken = || Outcome::Delivered { id: None, answer: "taken".into() };
    let later = || Outcome::Later { why: "no".into(), fault: Fault::Channel };
    let doubtful = || Outcome::doubtful("no", Fault::Message);
    let config = || Outcome::Config { why: "no".into() };
    let never = || Outcome::Never { why: "no".into() };
    let table = [
        (vec![taken(), taken()], "delivered"),
        (vec![later(), taken()], "delivered"),
        (vec![never(), taken()], "delivered"),
        (vec![later(), never()], "later"),
        (vec![config(), doubtful()], "doubtful"),
        (vec![never(), config()], "config"),
        (vec![never(), never()], "never"),
    ];
    for (outcomes, want) in table {
        let named: Vec<_> = ["a", "b"].map(str::to_owned).into_iter().zip(outcomes).collect();
        assert_eq!(class(&combine(&named)), want, "{named:?}");
    }
    let told = combine(&[("a".into(), later()), ("b".into(), taken())]).to_string();
    assert_eq!(told, "a: no; b: taken");
}

fn labels(message: &Message) -> Value {
    alert(message, KEEP, &[])[0]["labels"].clone()
}

#[test]
fn labels_tell_one_alert_from_another_and_stay_the_same() {
    let want = json!({
        "alertname": "BastionLogin", "host": "jump", "severity": "warning", "alert": "k7f3q2",
        "user": "alice", "service": "sshd", "source": "203.0.113.9",
    });
    let mut message = login("alice");
    assert_eq!(labels(&message), want);
    message.now.unix_ms += 5_000_000;
    message.hint = Some("also logged in: bob".into());
    assert_eq!(labels(&message), want, "at the next try");
    let want = json!({ "alertname": "BastionNote", "host": "jump", "severity": "warning", "alert": "k7f3q2" });
    assert_eq!(labels(&note("x")), want);
}

#[test]
fn an_up_resolves_its_down_however_urgent_either_is() {
    let down = condition(Status::Down, Severity::Critical);
    let mut up = condition(Status::Up, Severity::Info);
    up.event.id = crate::event::AlertId::from_bits(7);
    up.event.at.unix_ms += 60_000;
    up.now = up.event.at.clone();
    assert_eq!(labels(&down), labels(&up));
    assert_eq!(
        labels(&down),
        json!({ "alertname": "BastionCondition", "host": "jump", "name": "tunnel office" })
    );
    let up = alert(&up, KEEP, &[]);
    assert_eq!(up[0]["endsAt"], "2026-11-22T02:15:07.000Z");
    let down = alert(&down, KEEP, &[]);
    assert_eq!(down[0]["startsAt"], "2026-11-22T02:14:07.000Z");
    assert_eq!(down[0]["endsAt"], "2026-11-23T02:14:07.000Z");
}

#[test]
fn what_is_told_late_still_stands_when_it_is_told() {
    let mut message = login("alice");
    message.now.unix_ms += 3 * millis(KEEP);
    let alert = alert(&message, KEEP, &[]);
    assert_eq!(alert[0]["startsAt"], "2026-11-22T02:14:07.000Z");
    assert_eq!(alert[0]["endsAt"], "2026-11-26T02:14:07.000Z");
}

#[test]
fn an_up_of_a_clock_that_was_a_day_ahead_resolves_now() {
    let mut up = condition(Status::Up, Severity::Info);
    let at = |ms, boot_ms| {
        let boot = Some(BootStamp { id: "b".into(), ms: boot_ms });
        Stamp { unix_ms: up.event.at.unix_ms + ms, boot }
    };
    (up.event.at, up.now) = (at(86_400_000, 1000), at(5000, 6000));
    let alert = alert(&up, KEEP, &[]);
    assert_eq!(alert[0]["startsAt"], "2026-11-22T02:14:07.000Z");
    assert_eq!(alert[0]["endsAt"], "2026-11-22T02:14:07.000Z");
}

#[test]
fn what_is_new_of_a_login_stands_beside_the_labels() {
    let mut message = login("alice");
    let annotation = |message: &Message| alert(message, KEEP, &[])[0]["annotations"]["new"].clone();
    assert_eq!(annotation(&message), Value::Null);
    let labelled = labels(&message);
    message.new.insert(message.event.id, New { network: true, key: false });
    assert_eq!(annotation(&message), "network");
    assert_eq!(labels(&message), labelled);
}

#[test]
fn a_label_is_always_text_and_never_empty() {
    let own = [("team".to_owned(), "ops".to_owned())];
    let mut messages = hostile();
    messages.extend([login(""), login("12345"), condition(Status::Up, Severity::Info)]);
    for message in messages {
        let alerts = alert(&message, KEEP, &own);
        assert_eq!(alerts.as_array().unwrap().len(), 1);
        let labels = alerts[0]["labels"].as_object().unwrap();
        assert_eq!(labels["team"], "ops");
        for (name, value) in labels {
            let value = value.as_str().unwrap();
            assert!(!value.is_empty() && !value.contains(char::is_control), "{name} {value}");
        }
    }
    let hostile = labels(&login(HOSTILE));
    let names = |labels: &Value| labels.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&hostile), names(&labels(&login("a"))));
}

#[test]
fn labels_of_ones_own_are_labels_and_not_ours() {
    for name in ["team", "_a", "A9"] {
        assert_eq!(check_label(name, "ops"), Ok(()), "{name}");
    }
    for name in ["", "9a", "a-b", "a b", "__a", "ä", "severity", "host", "alertname"] {
        assert!(check_label(name, "ops").is_err(), "{name}");
    }
    for value in ["", "a\nb", &"a".repeat(257)] {
        assert!(check_label("team", value).is_err(), "{value}");
    }
}

#[test]
fn clear_text_leaves_this_machine_only_when_somebody_says_so_and_never_with_a_secret() {
    let table = [
        ("http://127.0.0.1:9093", false, true, true),
        ("https://am.example:9093/prefix/", false, true, true),
        ("http://10.0.0.1:9093", false, false, false),
        ("http://10.0.0.1:9093", true, false, true),
        ("http://10.0.0.1:9093", true, true, false),
    ];
    for (url, allow_http, signs, good) in table {
        assert_eq!(
            parse_member(url, allow_http, signs).is_ok(),
            good,
            "{url} {allow_http} {signs}"
        );
    }
    let member = parse_member("https://am.example:9093/prefix/", false, false).ok().unwrap();
    assert_eq!(member.url, "https://am.example:9093/prefix/api/v2/alerts");
    let error = parse_member("http://10.0.0.1:9093", false, false).err().unwrap();
    assert!(error.contains("allow-http = true"), "{error}");
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn every_member_gets_it_and_one_that_is_down_rests() {
    let (url, thread) = server(&[&[OK, OK]]);
    let member = |url: &str| Member { url: url.into(), host: url.into(), rests_until: None };
    let mut channel = Alertmanager {
        client: client().keeping(2),
        members: vec![member("http://127.0.0.1:9"), member(&url)],
        keep: KEEP,
        labels: Vec::new(),
        names: [String::new()],
    };
    let first = channel.send(&note("x"));
    assert_eq!(class(&first), "delivered");
    assert!(first.to_string().starts_with("http://127.0.0.1:9: no connection"), "{first}");
    let second = channel.send(&note("x")).to_string();
    assert!(!second.contains("127.0.0.1:9:"), "it rests: {second}");
    assert_eq!(thread.join().unwrap(), [2]);
    // Nobody takes it: then the one that rests is asked as well.
    channel.members[1].rests_until = None;
    let third = channel.send(&note("x"));
    assert_eq!(class(&third), "later");
    assert!(third.to_string().contains("127.0.0.1:9:"), "{third}");
}
