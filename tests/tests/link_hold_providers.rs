//! Providers that do not do their part: that is theirs, never the line's. The next one is asked, and
//! where there is none the line is untested, not bad.

use bastion_tests::link::checks::{Checked, Checks, EXPECT};
use bastion_tests::link::orders::{Act, NameAct, NameOrder, Order, Wrong};
use bastion_tests::link::speed::{CA, Speed};
use bastion_tests::link::{GOOGLE, OPENDNS};

const TEN: &str = "min-download = \"10 Mbit/s\"";

/// A fault, and what is to be read of it.
type Fault = (Act, &'static str);

fn checks() -> Checks {
    Checks::new(&format!("{EXPECT}\n{TEN}"))
}

/// With each fault at the first provider alone the line is good by the other; with it at both it is
/// untested, and both are named.
fn neither_is_the_lines_fault(faults: &[Fault]) {
    let mut checks = checks();
    for (act, words) in faults {
        checks.speed[0].order(&Order::new(act.clone()));
        let good = checks.check(&[]).is("good", words);
        assert!(good.reasons().contains("speed.example.net: "), "{act:?}: {good:#?}");
        assert_eq!(good.record["server"]["name"], "other.example.net", "{act:?}");
        assert!(good.output.took.as_secs() < 15, "{act:?}: {good:#?}");
        checks.speed[1].order(&Order::new(act.clone()));
        let untested = checks.check(&[]).is("untested", words);
        for name in ["speed.example.net: ", "other.example.net: "] {
            assert!(untested.reasons().contains(name), "{act:?}: {untested:#?}");
        }
        assert!(untested.record["download"].is_null(), "{act:?}: {untested:#?}");
        assert!(untested.output.took.as_secs() < 25, "{act:?}: {untested:#?}");
        checks.speed.iter_mut().for_each(Speed::heal);
    }
    assert!(checks.told().is_empty() && checks.notes().is_empty(), "{:#?}", checks.told());
}

#[test]
fn who_refuses_is_not_asked_for_long() {
    neither_is_the_lines_fault(&[
        (Act::status(403), "refuses to test (HTTP 403)"),
        (
            Act::Status { code: 429, retry_after: Some("3600".into()) },
            "refuses to test (HTTP 429), again in 3600 s",
        ),
        (Act::status(500), "is out of order (HTTP 500)"),
        (Act::status(503), "is out of order (HTTP 503)"),
        (Act::status(404), "has no such test (HTTP 404)"),
    ]);
}

#[test]
fn a_page_in_the_place_of_a_test_is_none() {
    neither_is_the_lines_fault(&[
        (Act::Portal, "a web page came in its place"),
        (
            Act::Redirect("http://login.hotel.example/start?mac=00:11".into()),
            "somebody leads to http://login.hotel.example/start, as to log in",
        ),
        (Act::Redirect("/elsewhere".into()), "has moved to /elsewhere"),
        (Act::Say("{\"error\":\"no more tests for you\"}".into()), "has 33 B where "),
    ]);
}

#[test]
fn a_page_that_takes_all_that_is_sent_is_no_upload() {
    let mut checks = Checks::new("min-upload = \"1 Mbit/s\"");
    checks.speed.iter_mut().for_each(|speed| speed.order(&Order::new(Act::Portal)));
    let untested = checks.check(&[]).is("untested", "a web page came in its place");
    assert!(untested.record["upload"].is_null(), "{untested:#?}");
}

#[test]
fn what_ends_too_early_is_no_test() {
    neither_is_the_lines_fault(&[
        (Act::Truncate(1000), ""),
        (Act::Truncate(0), ""),
        (Act::Reset(50_000), ""),
        (Act::HangUp, ""),
    ]);
}

#[test]
fn who_says_nothing_at_all_is_left() {
    neither_is_the_lines_fault(&[(Act::Silent, "no answer in time")]);
}

#[test]
fn who_takes_the_connection_and_is_mute_is_left() {
    neither_is_the_lines_fault(&[(Act::Mute, "no answer in time")]);
}

#[test]
fn who_gives_a_byte_a_second_is_left() {
    neither_is_the_lines_fault(&[(Act::Pace(1), "no answer in time")]);
}

#[test]
fn who_gives_the_head_and_then_next_to_nothing_is_not_the_line() {
    let mut checks = checks();
    // The small requests are answered as ever: it is the download that is throttled.
    checks.speed[0].order(&Order::new(Act::Pace(300)).path("garbage.php"));
    let good = checks.check(&[]).is("good", "");
    assert_eq!(good.record["server"]["name"], "other.example.net");
    // Slow enough for an alarm, and it is one server: the other says that it is not the line.
    checks.speed[0].order(&Order::new(Act::Pace(100_000)).path("garbage.php"));
    let good = checks.check(&[]).is("good", "");
    assert_eq!(good.record["server"]["name"], "other.example.net");
    assert!(checks.told().is_empty());
}

#[test]
fn a_body_that_does_not_end_is_ended_by_us() {
    let mut checks = checks();
    checks.speed.iter_mut().for_each(|speed| speed.order(&Order::new(Act::Endless)));
    let seen: Checked = checks.check(&[]);
    // The same is the answer to every small request: none of them is read for ever.
    assert!(seen.bytes < 3_000_000 && seen.output.took.as_secs() < 20, "{seen:#?}");
    assert!(["good", "untested"].contains(&seen.record["verdict"].as_str().unwrap()), "{seen:#?}");
    checks.speed.iter_mut().for_each(|speed| {
        speed.heal();
        speed.order(&Order::new(Act::Endless).path("garbage.php"));
    });
    let good = checks.check(&[]).is("good", "download: at least");
    assert!(good.bytes < 2_000_000, "{good:#?}");
    assert!(checks.told().is_empty());
}

#[test]
fn a_certificate_that_nobody_should_believe_is_not_believed() {
    let mut checks = checks();
    let providers = "providers = [\"librespeed https://speed.example.net\", \
                     \"librespeed https://other.example.net\"]";
    checks
        .keys(&format!("interface = \"line0\"\n{EXPECT}\n{TEN}\n{providers}\nca-file = \"{CA}\""));
    checks.check(&[]).is("good", "");
    for wrong in [Wrong::Stranger, Wrong::Expired, Wrong::Name] {
        checks.speed[0].order(&Order::new(Act::Certificate(wrong)));
        let good = checks.check(&[]).is("good", "speed.example.net: its certificate");
        assert_eq!(good.record["server"]["name"], "other.example.net", "{wrong:?}");
        checks.speed[1].order(&Order::new(Act::Certificate(wrong)));
        let untested = checks.check(&[]).is("untested", "other.example.net: its certificate");
        assert!(untested.bytes < 60_000, "{wrong:?}: {untested:#?}");
        checks.speed.iter_mut().for_each(Speed::heal);
    }
    // Without the file the system's are believed, none of which is the rig's.
    checks.keys(&format!("interface = \"line0\"\n{EXPECT}\n{TEN}\n{providers}"));
    checks.check(&[]).is("untested", "its certificate");
    assert!(checks.told().is_empty());
}

#[test]
fn a_provider_that_is_not_there_is_passed_over() {
    let mut checks = checks();
    checks.speed[0].daemon().kill();
    let good = checks.check(&[]).is("good", "speed.example.net: ");
    assert!(good.output.took.as_secs() < 10, "{good:#?}");
    // Packets to it are lost without a word.
    checks
        .net
        .internet
        .sh("nft add table ip cut; nft add chain ip cut i '{ type filter hook input priority 0; }'
         nft add rule ip cut i ip daddr 203.0.113.80 drop");
    let good = checks.check(&[]).is("good", "speed.example.net: ");
    assert!(good.output.took.as_secs() < 20, "{good:#?}");
    checks.speed[1].daemon().kill();
    let untested = checks.check(&[]).is("untested", "other.example.net: ");
    assert!(untested.record["download"].is_null(), "{untested:#?}");
    assert!(checks.told().is_empty());
}

#[test]
fn a_provider_that_takes_the_line_for_anothers_does_not_decide() {
    let mut checks = checks();
    // Nobody says by DNS who we are.
    for at in [GOOGLE[0], GOOGLE[1], OPENDNS[0], OPENDNS[1]] {
        checks.names.order(&NameOrder::new(NameAct::Silent).at(at));
    }
    let telekom = bastion_tests::link::isp::Isp::telekom();
    checks.speed[0].order(&Order::new(Act::Isp(telekom.clone())));
    checks.check(&[]).is("good", "AS3320");
    assert!(checks.told().is_empty(), "{:#?}", checks.told());
}
