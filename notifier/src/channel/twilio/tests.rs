use super::*;
use crate::channel::http::tests::{answer, client, server};

#[test]
fn each_answer_has_its_class() {
    let error = |code: u32, message: &str| format!(r#"{{"code":{code},"message":"{message}"}}"#);
    let table = [
        (201, r#"{"sid":"SM1","status":"queued","num_segments":"1"}"#.to_owned(), "delivered"),
        (201, "<html>".into(), "doubtful"),
        (200, "<html>log in to the hotel</html>".into(), "config"),
        (302, String::new(), "config"),
        (400, error(21211, "Invalid 'To'"), "never"),
        (400, error(21611, "queue full"), "rate"),
        (400, "garbage".into(), "config"),
        (407, String::new(), "config"),
        (410, String::new(), "config"),
        (422, String::new(), "never"),
        (401, error(20003, "Authenticate"), "config"),
        (403, String::new(), "config"),
        (404, error(20404, "not found"), "config"),
        (413, String::new(), "never"),
        (429, error(20429, "Too Many Requests"), "rate"),
        (201, r#"{"sid":"SM1","status":null,"to":null,"body":null}"#.into(), "delivered"),
        (201, r#"{"sid":null}"#.into(), "doubtful"),
        (500, error(20500, "oops"), "doubtful"),
        (503, String::new(), "doubtful"),
    ];
    for (status, body, want) in table {
        let got = match judge(&answer(status, &body, Some(3))) {
            Outcome::Delivered { id, .. } => {
                assert_eq!(id.as_deref(), Some("SM1"));
                "delivered"
            }
            Outcome::Later { fault: Fault::RateLimit(wait), .. } => {
                assert_eq!(wait, Some(Duration::from_secs(3)));
                "rate"
            }
            Outcome::Later { .. } => "later",
            Outcome::Doubtful { .. } => "doubtful",
            Outcome::Config { .. } => "config",
            Outcome::Never { .. } => "never",
        };
        assert_eq!(got, want, "{status} {body}");
    }
}

#[test]
fn a_providers_text_is_shown_on_one_line() {
    let hostile = answer(400, r#"{"code":21211,"message":"a\nb\u001b[2J"}"#, None);
    assert_eq!(
        judge(&hostile).to_string(),
        "HTTP 400, code 21211: a\\x0ab\\x1b[2J; check to, and twilio.com/docs/api/errors/21211"
    );
}

#[test]
fn numbers_are_international_and_nothing_else() {
    for good in ["+15550101", "+491701234567", "+447700900123"] {
        assert!(parse_e164(good).is_ok(), "{good}");
    }
    for bad in
        ["", "15550101", "+0170123456", "+1 555 0101", "+1555", "+1234567890123456", "+1555010a"]
    {
        assert!(parse_e164(bad).is_err(), "{bad}");
    }
    assert!(parse_sender("Bastion").is_ok() && parse_sender("TwelveLetters").is_err());
}

#[test]
fn a_failed_message_in_the_list_does_not_count() {
    let sms = |status: &str| Sms {
        sid: Some("SM1".into()),
        status: Some(status.into()),
        body: Some("login alice #k7f3q2".into()),
        to: Some("+15550101".into()),
        ..Sms::default()
    };
    assert!(sms("queued").is("#k7f3q2", "+15550101"));
    assert!(!sms("failed").is("#k7f3q2", "+15550101"));
    assert!(!sms("queued").is("#k7f3q2", "+15550102"));
    assert!(!sms("queued").is("#aaaaaa", "+15550101"));
    let quoting = Sms { body: Some("note: #k7f3q2 is late #aaaaaa".into()), ..sms("queued") };
    assert!(!quoting.is("#k7f3q2", "+15550101"));
}

#[test]
fn nulls_in_the_list_hide_nothing() {
    let page = r##"{"messages":[{"sid":null,"body":null,"to":null},7,
        {"sid":"SM2","status":"sent","to":"+15550101","body":"x #k7f3q2"}]}"##;
    let page = read_page(&answer(200, page, None)).unwrap();
    assert_eq!(page.find("#k7f3q2", "+15550101").as_deref(), Some("SM2"));
}

#[test]
fn each_fate_has_its_class() {
    let sms = |status: &str, code: &str| {
        format!(r#"{{"sid":"SM1","status":"{status}","error_code":{code},"body":"b"}}"#)
    };
    let table = [
        (200, sms("delivered", "null"), "arrived"),
        (200, sms("read", "null"), "arrived"),
        (200, sms("queued", "null"), "underway"),
        (200, sms("accepted", "null"), "underway"),
        (200, sms("sending", "null"), "underway"),
        (200, sms("sent", "null"), "underway"),
        (200, sms("scheduled", "null"), "underway"),
        (200, sms("failed", "30003"), "again"),
        (200, sms("undelivered", "30008"), "again"),
        (200, sms("undelivered", "30005"), "failed"),
        (200, sms("undelivered", "30006"), "failed"),
        (200, sms("undelivered", "30007"), "failed"),
        (200, sms("failed", "30034"), "failed"),
        (200, sms("canceled", "null"), "failed"),
        (200, sms("partying", "null"), "cannot"),
        (200, r#"{"status":null}"#.into(), "cannot"),
        (200, r#"{"status":7}"#.into(), "cannot"),
        (200, "<html>".into(), "cannot"),
        (302, String::new(), "cannot"),
        (401, String::new(), "cannot"),
        (403, String::new(), "cannot"),
        (404, String::new(), "cannot"),
        (429, String::new(), "not asked"),
        (500, String::new(), "not asked"),
    ];
    for (status, body, want) in table {
        let got = match judge_fate(&answer(status, &body, Some(3))) {
            Followed::Arrived(why) if why.starts_with("cannot be followed: ") => "cannot",
            Followed::Arrived(_) => "arrived",
            Followed::Underway(_) => "underway",
            Followed::Failed { again: true, .. } => "again",
            Followed::Failed { .. } => "failed",
            Followed::NotAsked(_) => "not asked",
        };
        assert_eq!(got, want, "{status} {body}");
    }
    let Followed::Failed { why, .. } = judge_fate(&answer(200, &sms("undelivered", "30007"), None))
    else {
        panic!("undelivered is a failure");
    };
    assert!(why.starts_with("undelivered, code 30007: the carrier took it for spam"), "{why}");
}

#[test]
fn a_message_is_followed_by_its_id_and_only_by_one() {
    let (url, thread) = server(&[&["HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n\
                                    {\"status\":\"delivered\"}"]]);
    let mut twilio = Twilio {
        client: client(),
        signs_with_key: false,
        base_url: url,
        account_sid: "AC1".into(),
        sender: Sender::From("+15550100".into()),
        to: Vec::new(),
        max_segments: 1,
    };
    for id in ["", "SM1", "../../x", &format!("AC{}", "0".repeat(32))] {
        let Followed::Arrived(why) = twilio.follow(id) else { panic!("{id}") };
        assert!(why.starts_with("cannot be followed"), "{why}");
    }
    let id = format!("SM{}", "0".repeat(32));
    assert_eq!(twilio.follow(&id), Followed::Arrived("delivered".into()));
    assert_eq!(thread.join().unwrap(), [1]);
    assert!(matches!(twilio.follow(&id), Followed::NotAsked(Outcome::Later { .. })));
}
