//! Several channels and several recipients: who gets an alert when somebody cannot have it.

use std::time::{Duration, SystemTime};

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::process::Daemon;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, Rig, TO, route, sms};
use bastion_tests::wait::wait_until;

/// Longest time to the arrival of an alert, with the slowest fault: 15 s, and a wait.
const ARRIVAL: Duration = Duration::from_secs(60);

/// Two channels, each with a provider of its own, and a sender.
struct Two {
    sender: Daemon,
    a: Provider,
    b: Provider,
    host: Host,
}

impl Two {
    fn start(patience: &str) -> Self {
        let host = Host::new();
        let a = Provider::start_at(&host, "127.0.0.1:8001", false);
        let b = Provider::start_at(&host, "127.0.0.1:8002", false);
        host.write_token(AUTH_TOKEN);
        let channels = [("a", a.url(), [TO]), ("b", b.url(), ["+15550102"])];
        let channels = channels.each_ref().map(|(name, url, to)| (*name, url.as_str(), &to[..]));
        host.write_config(&format!("{LOGIN}{}", route(patience, &channels)));
        let sender = host.spawn_sender();
        host.wait_syslog("bastion", "sender-started", 1);
        Self { sender, a, b, host }
    }
}

#[test]
fn the_second_channel_is_left_alone_while_the_first_does() {
    let two = Two::start("1s");
    for number in 1..4 {
        let alert = Draft::login(number, "alice");
        two.host.publish(&alert);
        two.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!((two.a.copies(&alert.id), two.b.copies(&alert.id)), (1, 0));
    }
    assert_eq!(two.b.requests().len(), 0);
}

#[test]
fn what_the_first_channel_cannot_send_goes_to_the_second_at_once() {
    // With this patience, nothing but the refusal itself can be why.
    const PATIENCE: &str = "1h";
    let table = [
        ("a bad message", Fault::status(400).times(1)),
        ("a message too long", Fault::status(413).times(1)),
        ("a wrong token", Fault::status(401)),
        ("an account that may not", Fault::status(403)),
        ("a wrong address", Fault::status(404)),
        ("a page that wants a login", Fault::status(302)),
    ];
    each_row(&table, |(name, fault)| {
        let mut two = Two::start(PATIENCE);
        two.a.fault(fault);
        let alert = Draft::login(1, "alice");
        two.host.publish(&alert);
        two.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!((two.a.copies(&alert.id), two.b.copies(&alert.id)), (0, 1), "{name}");
        assert_eq!((two.a.requests().len(), two.b.requests().len()), (1, 1), "{name}");
    });
}

#[test]
fn a_first_channel_with_a_wrong_token_comes_back_when_it_is_mended() {
    let mut two = Two::start("1h");
    two.a.fault(&Fault::status(401));
    let alerts = [1, 2, 3, 4].map(|number| Draft::login(number, "alice"));
    for alert in &alerts[..2] {
        two.host.publish(alert);
        two.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!((two.a.copies(&alert.id), two.b.copies(&alert.id)), (0, 1));
    }
    assert_eq!(two.a.requests().len(), 1, "not tried again for each alert");
    two.a.heal();
    two.sender.signal(libc::SIGUSR1);
    two.host.wait_syslog("bastion", "try-now", 1);
    // The probe of a channel goes on beside, so the first alert may come by both.
    two.host.publish(&alerts[2]);
    two.host.wait_room(&alerts[2].id, "sent", ARRIVAL);
    two.a.wait_alert(&alerts[2].id, ARRIVAL);
    two.host.wait_syslog("bastion", "channel-well", 1);
    two.host.publish(&alerts[3]);
    two.host.wait_room(&alerts[3].id, "sent", ARRIVAL);
    assert_eq!((two.a.copies(&alerts[3].id), two.b.copies(&alerts[3].id)), (1, 0));
}

#[test]
fn the_second_channel_takes_over_when_patience_is_over_and_not_before() {
    // The last: how long it may take, in seconds. A try under way is waited for, 15 s at most.
    let table = [
        ("refuses", Fault::new(Act::Refuse), 12),
        ("closes", Fault::new(Act::Close), 12),
        ("hangs", Fault::new(Act::Hang), 27),
        ("resets", Fault::new(Act::Reset), 12),
        ("is overloaded", Fault::status(503), 12),
        ("asks for an hour", Fault::status(429).retry_after("3600"), 12),
    ];
    each_row(&table, |(name, fault, most_s)| {
        let mut two = Two::start("2s");
        two.a.fault(fault);
        let alert = Draft::login(1, "alice");
        let published = SystemTime::now();
        two.host.publish(&alert);
        let record = two.b.wait_alert(&alert.id, ARRIVAL);
        let arrived = SystemTime::UNIX_EPOCH + Duration::from_micros(record.at_us);
        let took = arrived.duration_since(published).unwrap_or_default();
        // The event's own clock, which patience counts by, started a moment before.
        assert!(took >= Duration::from_millis(1900), "{name}: {took:?}");
        assert!(took < Duration::from_secs(*most_s), "{name}: {took:?}");
        two.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!((two.a.copies(&alert.id), two.b.copies(&alert.id)), (0, 1), "{name}");
    });
}

#[test]
fn a_doubt_that_is_cleared_up_in_time_keeps_the_second_channel_out() {
    let mut two = Two::start("20s");
    two.a.fault(&Fault::reset_after_accept().times(1));
    let alert = Draft::login(1, "alice");
    two.host.publish(&alert);
    two.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!((two.a.copies(&alert.id), two.b.requests().len()), (1, 0));
}

#[test]
fn what_no_channel_takes_is_kept_as_failed_with_all_reasons() {
    let mut two = Two::start("1h");
    two.a.fault(&Fault::status(400).times(1));
    two.b.fault(&Fault::status(413).times(1));
    let (bad, good) = (Draft::note(1, "bad"), Draft::note(2, "good"));
    two.host.publish(&bad);
    two.host.wait_room(&bad.id, "failed", ARRIVAL);
    let lines = two.host.wait_syslog("bastion", "alert-failed", 1);
    let reason = lines[0].field("reason").unwrap_or_default();
    assert!(reason.contains("a to") && reason.contains("HTTP 400"), "{reason}");
    assert!(reason.contains("b to") && reason.contains("HTTP 413"), "{reason}");
    two.host.publish(&good);
    two.host.wait_room(&good.id, "sent", ARRIVAL);
    assert_eq!((two.a.copies(&good.id), two.b.copies(&good.id)), (1, 0));
}

#[test]
fn while_both_are_down_the_alert_waits_and_then_arrives() {
    let mut two = Two::start("1s");
    two.a.fault(&Fault::new(Act::Refuse));
    two.b.fault(&Fault::new(Act::Refuse));
    let alert = Draft::login(1, "alice");
    two.host.publish(&alert);
    for channel in ["channel=\"a\"", "channel=\"b\""] {
        two.host.wait_syslog("bastion", channel, 1);
    }
    two.b.heal();
    assert!(wait_until(DEADLINE, || two.host.listens(8002)));
    two.sender.signal(libc::SIGUSR1);
    two.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!((two.a.copies(&alert.id), two.b.copies(&alert.id)), (0, 1));
}

/// A sender with one channel and these recipients.
fn with_recipients(recipients: &[&str]) -> Rig {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.write_token(AUTH_TOKEN);
    let channels = route("60s", &[("sms", &provider.url(), recipients)]);
    host.write_config(&format!("{LOGIN}{channels}"));
    Rig::on(host, provider)
}

/// How many messages with this alert's id went to `recipient`.
fn copies_to(provider: &Provider, id: &str, recipient: &str) -> usize {
    let accepted = provider.accepted();
    let to = |record: &&bastion_tests::provider::Record| {
        record.form["To"] == recipient && record.body().contains(&format!("#{id}"))
    };
    accepted.iter().filter(to).count()
}

#[test]
fn each_recipient_gets_one_message_whatever_becomes_of_the_others() {
    // The provider answers 400 with code 21610 for this number: unsubscribed.
    const GONE: &str = "+15005550004";
    let people = ["+15550101", GONE, "+15550103", "+15550104"];
    let table = [
        ("well", vec![]),
        ("500 for one", vec![Fault::status(500).times(1)]),
        ("lost answers", vec![Fault::reset_after_accept().times(2)]),
        ("429", vec![Fault::new(Act::Ok).times(1), Fault::status(429).retry_after("1").times(1)]),
        (
            "down in between",
            vec![
                Fault::new(Act::Ok).times(1),
                Fault::new(Act::Close).times(2),
                Fault::new(Act::Hang).times(1).accepting(),
            ],
        ),
    ];
    each_row(&table, |(name, faults)| {
        let mut rig = with_recipients(&people);
        faults.iter().for_each(|fault| rig.provider.fault(fault));
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        let copies = people.map(|to| copies_to(&rig.provider, &alert.id, to));
        assert_eq!(copies, [1, 0, 1, 1], "{name}: {:#?}", rig.provider.requests());
        let refused = rig.host.wait_syslog("bastion", "alert-refused", 1);
        assert_eq!(refused[0].field("to").as_deref(), Some(GONE), "{name}");
    });
}

#[test]
fn who_has_the_alert_does_not_get_it_again_after_a_restart() {
    let people = ["+15550101", "+15550102"];
    let mut rig = with_recipients(&people);
    rig.provider.fault(&Fault::new(Act::Ok).times(1));
    rig.provider.fault(&Fault::status(503));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    rig.host.wait_syslog("bastion", "alert-deferred", 1);
    for end in [libc::SIGKILL, libc::SIGTERM] {
        rig.sender.signal(end);
        let _ = rig.sender.wait(DEADLINE);
        rig.start_again();
    }
    rig.provider.heal();
    rig.sender.signal(libc::SIGUSR1);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    let copies = people.map(|to| copies_to(&rig.provider, &alert.id, to));
    assert_eq!(copies, [1, 1], "{:#?}", rig.provider.requests());
}

#[test]
fn without_a_channel_an_alert_is_in_syslog_and_is_done() {
    let host = Host::new();
    host.write_config(LOGIN);
    let _sender = host.spawn_sender();
    let alert = Draft::login(1, "alice");
    host.publish(&alert);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    let lines = host.wait_syslog("bastion", "alert-queued", 1);
    assert!(lines[0].text.contains("alice") && lines[0].text.contains(&alert.id), "{lines:?}");
}

#[test]
fn a_channel_that_is_taken_off_the_route_is_used_no_more() {
    let mut two = Two::start("1h");
    two.a.fault(&Fault::status(401));
    two.b.fault(&Fault::new(Act::Refuse));
    let alert = Draft::login(1, "alice");
    two.host.publish(&alert);
    two.host.wait_syslog("bastion", "channel=\"b\"", 1);
    two.b.heal();
    let before = two.a.requests().len();
    let config = sms(&two.b.url()).replace("sms", "b");
    two.host.write_config(&format!("{LOGIN}{config}"));
    assert!(wait_until(DEADLINE, || two.host.listens(8002)));
    two.sender.signal(libc::SIGHUP);
    two.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!((two.a.requests().len(), two.b.copies(&alert.id)), (before, 1));
}
