//! Whatever the provider does, nothing is lost, and nothing comes twice where its list of
//! messages can be read.

use std::time::{Duration, SystemTime};

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, Rig, sms};
use bastion_tests::wait::wait_until;

/// Longest time to the arrival of an alert: the slowest faults are cut off by the sender after
/// 15 s, each, and then there is the wait before the next try.
const ARRIVAL: Duration = Duration::from_secs(90);

/// Most memory the sender may ever have had, in KiB. A build without optimization takes
/// some 15 MiB; the bench holds a release build to the real limit.
const MEMORY_KIB: u64 = 40 * 1024;

/// Something that a provider does, and what it may cost.
#[derive(Debug)]
struct Row {
    name: &'static str,
    faults: Vec<Fault>,
    /// Requests to send that come to nothing.
    wasted: usize,
}

fn row(name: &'static str, wasted: usize, faults: &[Fault]) -> Row {
    Row { name, faults: faults.to_vec(), wasted }
}

/// Publishes two alerts into the fault and waits until both are away.
fn send_two(row: &Row) -> (Rig, [Draft; 2]) {
    let mut rig = Rig::start();
    for fault in &row.faults {
        rig.provider.fault(fault);
    }
    let alerts = [Draft::note(1, "first"), Draft::login(2, "alice")];
    alerts.iter().for_each(|alert| rig.host.publish(alert));
    for alert in &alerts {
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    }
    assert_eq!(rig.host.spool_names("failed"), [""; 0], "{row:?}");
    (rig, alerts)
}

#[test]
fn each_alert_arrives_exactly_once() {
    const SECOND: Duration = Duration::from_secs(1);
    let one = |act| Fault::new(act).times(1);
    let got = |act| one(act).accepting();
    let list = |fault: Fault| fault.on("GET").times(2);
    let table = [
        row("well", 0, &[]),
        row("slow", 0, &[one(Act::Ok).after(2 * SECOND)]),
        row("refuses", 0, &[Fault::new(Act::Refuse).lasting(2 * SECOND)]),
        row("hangs", 1, &[one(Act::Hang)]),
        row("hangs with it", 0, &[got(Act::Hang)]),
        row("500 three times for each", 6, &[Fault::status(500).times(6)]),
        row("500 with it", 0, &[Fault::status(500).times(1).accepting()]),
        row("503", 1, &[Fault::status(503).times(1)]),
        row("408", 1, &[Fault::status(408).times(1)]),
        row("garbage", 1, &[one(Act::Garbage)]),
        row("garbage with it", 0, &[got(Act::Garbage)]),
        row("unreadable body", 1, &[one(Act::BadJson)]),
        row("unreadable body with it", 0, &[got(Act::BadJson)]),
        row("1 GB of body", 1, &[one(Act::Huge)]),
        row("1 GB of body with it", 0, &[got(Act::Huge)]),
        row("1 GB of error", 1, &[Fault { status: Some(500), ..one(Act::Huge) }]),
        row("resets", 1, &[one(Act::Reset)]),
        row("resets with it", 0, &[Fault::reset_after_accept().times(2)]),
        row("closes", 1, &[one(Act::Close)]),
        row("closes with it", 0, &[got(Act::Close)]),
        row("a byte a second", 0, &[one(Act::Drip)]),
        row("resets with it, list 500", 0, &[got(Act::Reset), list(Fault::status(500))]),
        row(
            "resets with it, list 429",
            0,
            &[got(Act::Reset), list(Fault::status(429).retry_after("1"))],
        ),
        row(
            "resets with it, list of garbage",
            0,
            &[got(Act::Reset), list(Fault::new(Act::Garbage))],
        ),
        row(
            "resets with it, list of 1 GB",
            0,
            &[got(Act::Reset), list(Fault { status: Some(200), ..one(Act::Huge) })],
        ),
        row(
            "one thing after the other",
            4,
            &[one(Act::Close), Fault::status(500).times(1), one(Act::Reset), one(Act::Garbage)],
        ),
    ];
    each_row(&table, |row| {
        let (rig, alerts) = send_two(row);
        let requests = rig.provider.requests();
        for alert in &alerts {
            assert_eq!(rig.provider.copies(&alert.id), 1, "{}: {requests:#?}", row.name);
        }
        let posts = rig.provider.posts().len();
        assert_eq!(posts, 2 + row.wasted, "{}: {requests:#?}", row.name);
        let peak = rig.sender.peak_kib();
        assert!(peak < MEMORY_KIB, "{}: {peak} KiB", row.name);
    });
}

#[test]
fn a_doubtful_alert_is_looked_for_before_others_push_it_off_the_list() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::reset_after_accept().times(1));
    let doubtful = Draft::login(1, "alice");
    rig.host.publish(&doubtful);
    rig.host.wait_syslog("bastion", "alert-deferred", 1);
    // More than Twilio puts on a page, fewer than the thousand that are looked through.
    let burst: Vec<Draft> = (2..302).map(|number| Draft::note(number, "burst")).collect();
    burst.iter().for_each(|draft| rig.host.publish(draft));
    rig.provider.wait_accepted(1 + burst.len(), ARRIVAL);
    rig.host.wait_room(&doubtful.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&doubtful.id), 1);
}

#[test]
fn a_doubtful_alert_that_cannot_be_looked_for_in_an_outage_is_not_sent_blindly_after_it() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::reset_after_accept().times(1));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    rig.host.wait_syslog("bastion", "alert-deferred", 1);
    rig.provider.fault(&Fault::new(Act::Refuse));
    assert!(wait_until(ARRIVAL, || {
        rig.sender.signal(libc::SIGUSR1);
        let lines = rig.host.syslog_of("bastion");
        let failures = lines.iter().filter_map(|line| line.field("failures")?.parse().ok());
        failures.max().unwrap_or(0) >= 4
    }));
    rig.provider.heal();
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1, "{:#?}", rig.provider.requests());
}

#[test]
fn where_the_list_cannot_be_read_there_is_at_most_one_message_too_many() {
    let got = |act| Fault::new(act).times(1).accepting();
    // The last number: how many messages come twice.
    let table = [
        row("resets", 1, &[got(Act::Reset)]),
        row("closes", 1, &[got(Act::Close)]),
        row("hangs", 1, &[got(Act::Hang)]),
        row("garbage", 1, &[got(Act::Garbage)]),
        row("500", 1, &[Fault::status(500).times(1).accepting()]),
        row("resets, list of garbage", 1, &[got(Act::Reset), Fault::new(Act::Garbage).on("GET")]),
        row("resets, list 500", 1, &[got(Act::Reset), Fault::status(500).on("GET")]),
        // It said 201, and there is nobody to ask whether that was true: believed.
        row("1 GB of body", 0, &[got(Act::Huge)]),
        row("unreadable body", 0, &[got(Act::BadJson)]),
    ];
    each_row(&table, |row| {
        let mut faults = row.faults.clone();
        faults.push(Fault::status(403).on("GET"));
        let (rig, alerts) = send_two(&Row { faults, ..*row });
        let mut copies = alerts.each_ref().map(|alert| rig.provider.copies(&alert.id));
        copies.sort_unstable();
        assert_eq!(copies, [1, 1 + row.wasted], "{}", row.name);
    });
}

#[test]
fn nothing_is_tried_before_retry_after_whoever_asks() {
    type Ask = fn(&mut Rig);
    const DATE: &str = "the date in 4 seconds";
    let table: [(&str, &str, Ask); 7] = [
        ("nobody", "3", |_| {}),
        ("a date", DATE, |_| {}),
        ("SIGUSR1", "3", |rig| rig.sender.signal(libc::SIGUSR1)),
        ("SIGHUP", "3", |rig| rig.sender.signal(libc::SIGHUP)),
        ("another alert", "3", |rig| rig.host.publish(&Draft::note(2, "second"))),
        ("a restart", "3", |rig| {
            rig.sender.signal(libc::SIGTERM);
            assert_eq!(rig.sender.wait(DEADLINE), Some(0));
            rig.start_again();
            rig.sender.signal(libc::SIGUSR1);
        }),
        ("a crash", "3", |rig| {
            rig.sender.kill();
            rig.start_again();
            rig.sender.signal(libc::SIGUSR1);
        }),
    ];
    each_row(&table, |(name, after, ask)| {
        let mut rig = Rig::start();
        let alert = Draft::note(1, "first");
        let in_4_s = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));
        let after = if *after == DATE { &in_4_s } else { *after };
        rig.provider.fault(&Fault::status(429).retry_after(after).times(1));
        rig.host.publish(&alert);
        rig.host.wait_syslog("bastion", "alert-deferred", 1);
        ask(&mut rig);
        rig.provider.wait_alert(&alert.id, ARRIVAL);
        let requests = rig.provider.requests();
        let waited = Duration::from_micros(requests[1].at_us - requests[0].at_us);
        if after == in_4_s {
            let second = SystemTime::UNIX_EPOCH + Duration::from_micros(requests[1].at_us);
            assert!(second >= httpdate::parse_http_date(after).expect("a date"), "{name}");
        } else {
            assert!(waited >= Duration::from_secs(3), "{name}: {waited:?}");
        }
        assert!(waited < Duration::from_secs(20), "{name}: {waited:?}");
        assert_eq!(rig.provider.copies(&alert.id), 1, "{name}");
    });
}

#[test]
fn a_message_that_the_provider_refuses_is_kept_as_failed_and_does_not_block_the_next() {
    let table = [(400, 21211), (400, 21610), (400, 21617), (413, 20413), (422, 20422)];
    each_row(&table, |(status, code)| {
        let mut rig = Rig::start();
        rig.provider.fault(&Fault::status(*status).code(*code).times(1));
        let (bad, good) = (Draft::note(1, "bad"), Draft::note(2, "good"));
        rig.host.publish(&bad);
        rig.host.wait_room(&bad.id, "failed", ARRIVAL);
        rig.host.publish(&good);
        rig.host.wait_room(&good.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.posts().len(), 2, "one try each");
        let reason = rig.host.read(&format!("/var/spool/bastion/failed/{}.reason", bad.name()));
        assert!(reason.contains(&format!("HTTP {status}, code {code}")), "{reason}");
        let lines = rig.host.wait_syslog("bastion", "alert-failed", 1);
        assert_eq!(lines[0].field("alert"), Some(bad.id.clone()));
        assert_eq!(lines[0].severity(), Some(3), "{lines:?}");
    });
}

#[test]
fn wrong_settings_hold_the_alert_until_somebody_says_that_they_are_mended() {
    let signals = [libc::SIGUSR1, libc::SIGHUP];
    let table = [401, 403, 404, 302, 200].iter().flat_map(|status| signals.map(|s| (*status, s)));
    each_row(&table.collect::<Vec<_>>(), |(status, signal)| {
        let mut rig = Rig::start();
        rig.provider.fault(&Fault::status(*status));
        let alerts = [Draft::note(1, "first"), Draft::note(2, "second")];
        rig.host.publish(&alerts[0]);
        let trouble = rig.host.wait_syslog("bastion", "channel-trouble", 1);
        assert_eq!(trouble[0].field("trouble").as_deref(), Some("config"), "{trouble:?}");
        rig.host.publish(&alerts[1]);
        let queued = || alerts.iter().all(|a| rig.host.room_of(&a.id) == Some("queue"));
        assert!(wait_until(DEADLINE, queued));
        assert_eq!(rig.provider.requests().len(), 1, "no more than one try");
        rig.provider.heal();
        rig.sender.signal(*signal);
        for alert in &alerts {
            rig.host.wait_room(&alert.id, "sent", ARRIVAL);
            assert_eq!(rig.provider.copies(&alert.id), 1);
        }
    });
}

#[test]
fn a_new_token_is_taken_over_by_sighup() {
    let rig = Rig::start();
    rig.host.write_token("not-the-right-one");
    rig.sender.signal(libc::SIGHUP);
    rig.host.wait_syslog("bastion", "config-reloaded", 1);
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    let trouble = rig.host.wait_syslog("bastion", "channel-trouble", 1);
    let reason = trouble[0].field("reason").unwrap_or_default();
    assert!(reason.contains("401") && reason.contains("auth-token-file"), "{reason}");
    rig.host.write_token(bastion_tests::provider::AUTH_TOKEN);
    rig.sender.signal(libc::SIGHUP);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
}

#[test]
fn a_name_that_cannot_be_resolved_means_later() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url().replace("127.0.0.1", "localhost"));
    host.write("/etc/hosts", "192.0.2.1 jump\n", 0o644);
    let rig = Rig::on(host, provider);
    let alert = Draft::note(1, "first");
    rig.host.publish(&alert);
    let lines = rig.host.wait_syslog("bastion", "alert-deferred", 1);
    assert_eq!(lines[0].field("doubtful").as_deref(), Some("false"), "{lines:?}");
    let reason = lines[0].field("reason").unwrap_or_default();
    assert!(reason.contains("resol"), "{reason}");
    rig.host.write("/etc/hosts", "127.0.0.1 localhost\n", 0o644);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.requests().len(), 1, "it was never in doubt");
}

#[test]
fn packets_that_vanish_mean_later() {
    let rig = Rig::start();
    let (_, port) = rig.provider.address().rsplit_once(':').expect("an address and a port");
    let rule = format!("nft add rule inet t in tcp dport {port} drop");
    let chain = "nft add chain inet t in '{ type filter hook input priority 0; }'";
    rig.host.sh(&format!("nft add table inet t; {chain}; {rule}"));
    let alert = Draft::note(1, "first");
    rig.host.publish(&alert);
    let lines = rig.host.wait_syslog("bastion", "alert-deferred", 1);
    assert_eq!(lines[0].field("doubtful").as_deref(), Some("false"), "{lines:?}");
    rig.host.sh("nft delete table inet t");
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.requests().len(), 1, "it was never in doubt");
}

#[test]
fn a_kick_sends_at_once_what_the_backoff_would_hold() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::new(Act::Refuse));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    // Each kick is a try, and with each failure the wait grows: after six it is 24 s or more.
    let waits = || {
        let lines = rig.host.syslog_of("bastion");
        let last = lines.iter().rfind(|line| line.event() == "channel-trouble");
        last.and_then(|line| line.field("next-try-s")?.parse().ok()).unwrap_or(0)
    };
    assert!(wait_until(DEADLINE, || {
        rig.sender.signal(libc::SIGUSR1);
        waits() >= 20
    }));
    rig.provider.heal();
    assert!(wait_until(DEADLINE, || rig.host.listens(port(&rig.provider))));
    let kicked = SystemTime::now();
    rig.sender.signal(libc::SIGUSR1);
    rig.provider.wait_alert(&alert.id, Duration::from_secs(10));
    // A second on a quiet machine; the backoff alone would have taken twenty.
    let took = kicked.elapsed().unwrap_or_default();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(rig.provider.copies(&alert.id), 1);
}

fn port(provider: &Provider) -> u16 {
    let (_, port) = provider.address().rsplit_once(':').expect("an address and a port");
    port.parse().expect("a port")
}

/// A sender that talks TLS to `url`, and one alert.
fn over_tls(
    host: &Host,
    url: &str,
    environment: &[&str],
) -> (bastion_tests::process::Daemon, Draft) {
    host.configure("http://127.0.0.1:9");
    host.write_config(&format!("{LOGIN}{}", sms(url)));
    let sender = host.spawn_sender_with(environment);
    host.wait_syslog("bastion", "sender-started", 1);
    let alert = Draft::login(1, "alice");
    host.publish(&alert);
    (sender, alert)
}

#[test]
fn a_certificate_of_the_administrators_own_ca_is_believed() {
    let host = Host::new();
    let provider = Provider::start_tls(&host);
    let ca = ["SSL_CERT_FILE=/run/provider/ca.pem"];
    let (sender, alert) = over_tls(&host, &provider.url(), &ca);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(provider.copies(&alert.id), 1);
    assert!(sender.peak_kib() < MEMORY_KIB);
}

#[test]
fn a_wrong_certificate_is_a_matter_of_settings_and_nothing_is_said_to_the_other_side() {
    const CA: &str = "SSL_CERT_FILE=/run/provider/ca.pem";
    let table: [(&str, &str, &[&str]); 3] = [
        ("a CA that nobody knows", "127.0.0.1:0", &[]),
        ("the name of another", "192.0.2.1:0", &[CA]),
        ("no CA at all", "127.0.0.1:0", &["SSL_CERT_FILE=/dev/null"]),
    ];
    each_row(&table, |(name, listen, environment)| {
        let host = Host::new();
        let provider = Provider::start_at(&host, listen, true);
        let (sender, alert) = over_tls(&host, &provider.url(), environment);
        let lines = host.wait_syslog("bastion", "channel-trouble", 1);
        assert_eq!(lines[0].field("trouble").as_deref(), Some("config"), "{name}: {lines:?}");
        let reason = lines[0].field("reason").unwrap_or_default();
        assert!(reason.contains("certificate"), "{name}: {reason}");
        assert_eq!(host.room_of(&alert.id), Some("queue"), "{name}");
        assert_eq!(provider.requests().len(), 0, "{name}");
        drop(sender);
    });
}

#[test]
fn a_mended_certificate_store_and_a_restart_send_what_was_held() {
    let host = Host::new();
    let provider = Provider::start_tls(&host);
    let (sender, alert) = over_tls(&host, &provider.url(), &[]);
    host.wait_syslog("bastion", "channel-trouble", 1);
    drop(sender);
    let _sender = host.spawn_sender_with(&["SSL_CERT_FILE=/run/provider/ca.pem"]);
    host.wait_room(&alert.id, "sent", DEADLINE);
    assert_eq!(provider.copies(&alert.id), 1);
}
