//! Who is told of what checks find, and when; and when nothing is tested at all.

use std::time::{SystemTime, UNIX_EPOCH};

use bastion_tests::clock::DAY;
use bastion_tests::link::checks::{Checks, EXPECT};
use bastion_tests::link::orders::{Act, Order};
use bastion_tests::link::speed::Speed;
use bastion_tests::link::{Shape, Way};

const TEN: &str = "min-download = \"10 Mbit/s\"";

fn checks(keys: &str) -> Checks {
    Checks::new(&format!("{EXPECT}\n{TEN}\n{keys}"))
}

#[test]
fn slow_twice_is_told_once_and_so_is_its_end() {
    let mut checks = checks("");
    let told = |checks: &Checks| {
        let all = checks.told();
        all.iter().map(|one| format!("{} {}", one.name, one.status)).collect::<Vec<_>>()
    };
    let refuse = |checks: &mut Checks| {
        checks.speed.iter_mut().for_each(|speed| speed.order(&Order::new(Act::status(429))));
    };
    checks.mbit(3.0);
    checks.check(&[]).is("slow", "");
    assert!(checks.told().is_empty());
    // What could not be tested says nothing either way.
    refuse(&mut checks);
    checks.check(&[]).is("untested", "");
    checks.speed.iter_mut().for_each(Speed::heal);
    assert!(checks.told().is_empty());
    checks.check(&[]).is("slow", "");
    assert_eq!(told(&checks), ["link backup speed down"]);
    let first = checks.told().remove(0);
    assert!(first.severity == "warning" && first.text.contains("10 Mbit/s asked for"), "{first:?}");
    checks.check(&[]).is("slow", "");
    assert_eq!(told(&checks).len(), 1, "nobody hears it twice");
    checks.mbit(20.0);
    checks.check(&[]).is("good", "");
    assert_eq!(told(&checks).len(), 1, "one good check is not its end");
    checks.check(&[]).is("good", "");
    assert_eq!(told(&checks), ["link backup speed down", "link backup speed up"]);
    checks.check(&[]).is("good", "");
    assert_eq!(told(&checks).len(), 2);
}

#[test]
fn how_often_it_has_to_be_slow_is_said_in_the_file() {
    let checks = checks("confirm = \"1 of 1\"");
    checks.mbit(3.0);
    checks.check(&[]).is("slow", "");
    assert_eq!(checks.told().len(), 1);
    checks.mbit(20.0);
    checks.check(&[]).is("good", "");
    assert_eq!(checks.told().len(), 2);
}

#[test]
fn high_latency_has_an_alert_of_its_own() {
    let net = bastion_tests::link::Net::with(&[Some(Way::of_rtt_ms(80.0))]);
    let mut checks =
        Checks::on(net, &format!("{EXPECT}\nmax-latency = \"50 ms\"\nconfirm = \"2 of 2\""));
    checks.check(&[]).is("high-latency", "50 ms at most");
    assert!(checks.told().is_empty(), "{:#?}", checks.told());
    checks.check(&[]).is("high-latency", "50 ms at most");
    checks.net.lines[0].way(Way::of_rtt_ms(10.0));
    checks.check(&[]).is("good", "latency: 1");
    checks.check(&[]).is("good", "latency: 1");
    let told = checks.told();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().all(|one| one.name == "link backup latency"), "{told:#?}");
}

#[test]
fn in_quiet_hours_nothing_is_downloaded_and_the_rest_is_seen() {
    let checks = checks("");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let hour = |shift: u64| {
        let minute = (now / 60 + 1440 + shift) % 1440;
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    let providers = bastion_tests::link::checks::PROVIDERS;
    checks.keys(&format!(
        "interface = \"line0\"\n{providers}\n{EXPECT}\n{TEN}\nquiet-hours = [\"{}-{}\"]",
        hour(1380),
        hour(60)
    ));
    let quiet = checks.check(&[]).is("good", "download: not tested in these hours");
    assert!(quiet.bytes < 10_000 && quiet.record["download"].is_null(), "{quiet:#?}");
    assert!(quiet.number("ping").is_some(), "{quiet:#?}");
    let clock = checks.net.home.clock_words(0);
    let clock: Vec<&str> = clock.iter().map(String::as_str).collect();
    checks.net.home.set_clock(2 * 3600);
    checks.check_on(&clock, &[]).is("good", "download: at least");
    checks.net.home.set_clock(0);
    checks.net.lines[0].cut(true);
    checks.check(&[]).is("down", "");
}

#[test]
fn a_token_bucket_is_seen_through_by_a_longer_check_and_stays_seen() {
    let checks = checks("");
    let bucket = || Shape::mbit(5.0).burst(4e6);
    let narrow = |shape: Shape| checks.net.lines[0].shape(Some(shape), None);
    narrow(bucket());
    checks.check(&[]).is("good", "download: at least");
    narrow(Shape::mbit(20.0));
    narrow(bucket());
    let long = checks.check(&["--long"]).is("slow", "10 Mbit/s asked for");
    assert!(long.number("download").is_some_and(|rate| (4e6..6e6).contains(&rate)), "{long:#?}");
    assert!(long.bytes < 9_000_000, "{long:#?}");
    // What an hourly check sees is the bucket, full again.
    narrow(Shape::mbit(20.0));
    checks.check(&[]).is("slow", "in the longer test of ");
    // A longer one that passes is its end.
    checks.check(&["--long"]).is("good", "download: at least");
    checks.check(&[]).is("good", "download: at least");
}

#[test]
fn one_check_a_day_is_a_longer_one() {
    let checks = checks("");
    let narrow = |shape: Shape| checks.net.lines[0].shape(Some(shape), None);
    let clock = checks.net.home.clock_words(0);
    let clock: Vec<&str> = clock.iter().map(String::as_str).collect();
    narrow(Shape::mbit(5.0).burst(4e6));
    checks.check_on(&clock, &[]).is("good", "download: at least");
    narrow(Shape::mbit(20.0));
    narrow(Shape::mbit(5.0).burst(4e6));
    checks.net.home.set_clock(DAY + 60);
    checks.check_on(&clock, &[]).is("slow", "download: about");
}
