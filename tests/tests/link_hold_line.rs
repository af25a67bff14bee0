//! Lines and resolvers that are not as they should be: what is the line's fault is said to be, and
//! what is the resolver's as well.

use std::time::Duration;

use bastion_tests::link::checks::{Checks, EXPECT, PROVIDERS};
use bastion_tests::link::orders::{NameAct, NameOrder};
use bastion_tests::link::speed::CA;
use bastion_tests::link::{RESOLVER, SPEED, Shape};
use bastion_tests::wait::wait_until;

const TEN: &str = "min-download = \"10 Mbit/s\"";

/// A line whose reachability is tried by TCP as well.
fn with_targets() -> Checks {
    Checks::new(&format!("{EXPECT}\n{TEN}\ntargets = [\"{SPEED}:80\", \"203.0.113.81:443\"]"))
}

fn resolver_does(checks: &mut Checks, act: NameAct) {
    checks.names.heal();
    checks.names.order(&NameOrder::new(act).at(RESOLVER));
}

/// Where the line's resolver does this, it is untested, for this reason, and nothing is told.
fn untested_where_the_resolver_does(act: NameAct, words: &str) {
    let mut checks = with_targets();
    resolver_does(&mut checks, act);
    let untested = checks.check(&[]).is("untested", words);
    assert!(untested.output.took < Duration::from_secs(18), "{untested:#?}");
    assert!(untested.number("ping").is_some(), "by a target: {untested:#?}");
    assert!(untested.record["download"].is_null(), "{untested:#?}");
    assert!(untested.bytes < 60_000, "{untested:#?}");
    assert!(checks.told().is_empty(), "{:#?}", checks.told());
}

#[test]
fn a_resolver_that_is_silent_is_not_a_line_that_is_down() {
    untested_where_the_resolver_does(NameAct::Silent, "no answer from the name server");
}

#[test]
fn a_resolver_that_answers_nonsense_is_not_a_line_that_is_down() {
    untested_where_the_resolver_does(NameAct::Garbage, "makes no sense");
}

#[test]
fn a_resolver_that_cannot_is_not_a_line_that_is_down() {
    untested_where_the_resolver_does(NameAct::ServFail, "SERVFAIL");
    untested_where_the_resolver_does(NameAct::Refused, "REFUSED");
    untested_where_the_resolver_does(NameAct::NoName, "there is no speed.example.net");
}

#[test]
fn a_resolver_that_leads_to_nobody_is_not_a_line_that_is_slow() {
    let nobody = NameAct::Lie("203.0.113.99".parse().unwrap());
    untested_where_the_resolver_does(nobody, "no connection in time");
}

#[test]
fn a_resolver_that_filters_is_not_a_line_that_is_slow() {
    for here in ["0.0.0.0", "127.0.0.1"] {
        untested_where_the_resolver_does(NameAct::Lie(here.parse().unwrap()), "a filter's answer");
    }
}

#[test]
fn a_resolver_that_redirects_what_is_not_there_redirects_no_test() {
    let mut checks = with_targets();
    resolver_does(&mut checks, NameAct::Redirect("203.0.113.99".parse().unwrap()));
    checks.check(&[]).is("good", "download: at least");
}

#[test]
fn where_providers_are_known_by_address_no_resolver_is_needed() {
    for act in [NameAct::ServFail, NameAct::Silent] {
        let mut checks = with_targets();
        resolver_does(&mut checks, act);
        checks.keys(&format!(
            "interface = \"line0\"\n{EXPECT}\n{TEN}\ntargets = [\"{SPEED}:80\"]\n\
             providers = [\"librespeed http://{SPEED}\"]"
        ));
        let good = checks.check(&[]).is("good", "download");
        assert!(good.output.took < Duration::from_secs(10), "{good:#?}");
    }
}

#[test]
fn a_resolver_that_is_slow_is_waited_for() {
    let mut checks = with_targets();
    resolver_does(&mut checks, NameAct::Slow(700));
    let good = checks.check(&[]).is("good", "download: at least");
    assert!(good.output.took < Duration::from_secs(15), "{good:#?}");
}

#[test]
fn a_line_that_is_not_there_is_down_and_says_what_is_missing() {
    let checks = with_targets();
    let home = &checks.net.home;
    for (fault, repair, words) in [
        ("ip link set line0 down", "", "line0 is down"),
        (
            "ip link set line0 down; ip link set line0 name wan7; ip link set wan7 up",
            "ip link set wan7 down; ip link set wan7 name line0",
            "there is no interface line0",
        ),
        (
            "ip -4 address flush dev line0; ip -6 address flush dev line0",
            "",
            "line0 has no address",
        ),
    ] {
        home.sh(fault);
        let down = checks.check(&[]).is("down", words);
        assert!(down.output.took < Duration::from_secs(8), "{down:#?}");
        home.sh(repair);
        home.sh("ip link set line0 up; ip address replace 98.97.32.2/24 dev line0
             ip address replace 2605:59c8:0:1::2/64 dev line0 nodad
             ip route replace default via 98.97.32.1 dev line0 metric 700
             ip -6 route replace default via 2605:59c8:0:1::1 dev line0 metric 700");
        checks.check(&[]).is("good", "download");
    }
    let told = checks.told();
    let statuses: Vec<&str> = told.iter().map(|one| one.status.as_str()).collect();
    assert_eq!(statuses, ["down", "up", "down", "up", "down", "up"], "{told:#?}");
    assert!(told.iter().all(|one| one.name == "link backup"), "{told:#?}");
    assert!(told[2].text.contains("no interface line0") && told[2].severity == "critical");
}

#[test]
fn a_line_without_a_carrier_or_in_silence_is_down() {
    let checks = with_targets();
    checks.net.lines[0].plug(false);
    checks.check(&[]).is("down", "");
    checks.net.lines[0].plug(true);
    checks.net.lines[0].cut(true);
    let down = checks.check(&[]).is("down", "nobody answers of 203.0.113.53, 203.0.113.80:80");
    assert!(down.output.took < Duration::from_secs(8) && down.bytes < 10_000, "{down:#?}");
    assert!(down.record["download"].is_null() && down.record["ping"].is_null(), "{down:#?}");
    // Told once, though it was found twice.
    assert_eq!(checks.told().len(), 1, "{:#?}", checks.told());
}

/// A check of a line that dies when some of the test has come is `down`, and so it is told.
fn dies_in_the_middle(dies: impl Fn(&bastion_tests::link::Line)) {
    let checks = Checks::new(&format!("{EXPECT}\nmin-download = \"4 Mbit/s\""));
    checks.mbit(4.2);
    let line = &checks.net.lines[0];
    let before = line.count().received;
    let mut check = checks.spawn(&["check", "--json", "--long"]);
    let begun = || line.count().received > before + 300_000;
    assert!(wait_until(Duration::from_secs(10), begun), "{}", check.output());
    dies(line);
    assert_eq!(check.wait(Duration::from_secs(40)), Some(2), "{}", check.output());
    let record: serde_json::Value = serde_json::from_str(check.output().trim()).unwrap();
    assert_eq!(record["verdict"], "down", "{record:#}");
    let why = record["reasons"][0].as_str().unwrap();
    assert!(why.starts_with("it went down while it was tested: "), "{why}");
    let told = checks.told();
    assert!(told.len() == 1 && told[0].name == "link backup", "{told:#?}");
}

#[test]
fn a_line_whose_plug_is_pulled_in_the_middle_of_a_test_is_down_and_not_slow() {
    dies_in_the_middle(|line| line.plug(false));
}

#[test]
fn a_line_that_falls_silent_in_the_middle_of_a_test_is_down_and_not_slow() {
    dies_in_the_middle(|line| line.cut(true));
}

#[test]
fn two_links_are_checked_and_the_worse_is_the_code() {
    let checks = Checks::on(bastion_tests::link::Net::with(&[None, None]), "");
    let link = |name: &str, device: &str, asn: u32| {
        format!(
            "[[link]]\nname = \"{name}\"\ninterface = \"{device}\"\nexpect-asn = [{asn}]\n{PROVIDERS}\n{TEN}\n"
        )
    };
    let text = format!("{}{}", link("main", "line1", 3320), link("backup", "line0", 14593));
    checks.net.home.write_config(&format!("[host]\nname = \"home\"\n{text}"));
    let both = checks.linkprobe(&["check"]);
    assert_eq!(both.code, Some(0), "{both:?}");
    assert!(both.text().contains("OK: main is good") && both.text().contains("OK: backup is good"));
    checks.net.lines[0].cut(true);
    let both = checks.linkprobe(&["check"]);
    assert_eq!(both.code, Some(2), "{both:?}");
    assert!(both.text().contains("OK: main is good"), "{both:?}");
    assert!(both.text().contains("CRITICAL: backup is down"), "{both:?}");
    assert_eq!(checks.linkprobe(&["check", "main"]).code, Some(0));
}

#[test]
fn a_line_that_its_tariff_throttles_is_slow_by_tls_as_well() {
    let checks = Checks::new("");
    let by_tls = PROVIDERS.replace("http:", "https:") + &format!("\nca-file = \"{CA}\"");
    // Both ways, as tariffs do, and without the first second that a bucket would give.
    for kbit in [256.0, 128.0, 64.0, 32.0] {
        let shape = Shape::rate(kbit * 1e3).burst(3028.0);
        checks.net.lines[0].shape(Some(shape), Some(shape));
        for providers in [PROVIDERS, by_tls.as_str()] {
            checks.keys(&format!("interface = \"line0\"\n{providers}\n{EXPECT}\n{TEN}"));
            let slow = checks.check(&[]).is("slow", "10 Mbit/s asked for");
            // What was ended has ended: nobody goes on sending beside the next transfer.
            assert!(slow.bytes < 150_000, "{kbit} {providers} {slow:#?}");
        }
    }
}
