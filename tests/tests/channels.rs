//! The channels that are not Twilio's, each with a stand-in for its provider that misbehaves.

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::certificates;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::like::Like;
use bastion_tests::process::Daemon;
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::search;
use bastion_tests::wait::wait_until;

/// Longest time to the arrival of an alert: the slowest faults are cut off after 15 s.
const ARRIVAL: Duration = Duration::from_secs(90);

/// Most memory that the sender may ever have had, in KiB, in a build without optimization.
const MEMORY_KIB: u64 = 40 * 1024;

/// A machine with one channel, a stand-in for its provider, and a running sender.
struct Rig {
    sender: Daemon,
    provider: Provider,
    host: Host,
}

impl Rig {
    fn start(like: Like) -> Self {
        let host = Host::new();
        let provider = Provider::start_like(&host, like, "127.0.0.1:0", false);
        like.configure(&host, &provider.url(), "");
        Self::on(host, provider, &[])
    }

    fn on(host: Host, provider: Provider, environment: &[&str]) -> Self {
        let sender = host.spawn_sender_with(environment);
        host.wait_syslog("bastion", "sender-started", 1);
        Self { sender, provider, host }
    }

    fn publish(&self, draft: Draft) -> Draft {
        self.host.publish(&draft);
        draft
    }

    /// The reason in the first line with this event word.
    fn reason(&self, word: &str) -> String {
        self.host.wait_syslog("bastion", word, 1)[0].field("reason").unwrap_or_default()
    }
}

/// What a provider does, and how many copies of an alert may come of it.
struct Row {
    name: &'static str,
    faults: Vec<Fault>,
    copies: usize,
}

fn row(name: &'static str, copies: usize, faults: &[Fault]) -> Row {
    Row { name, faults: faults.to_vec(), copies }
}

/// Each row for each channel.
fn for_each_channel(rows: &[Row], check: impl Fn(Like, &Row) + Sync) {
    let table: Vec<(&str, Like)> =
        rows.iter().flat_map(|row| Like::OTHERS.map(|like| (row.name, like))).collect();
    each_row(&table, |(name, like)| {
        let row = rows.iter().find(|row| row.name == *name).expect("one of them");
        check(*like, row);
    });
}

#[test]
fn each_alert_arrives_whatever_the_provider_does() {
    let one = |act| Fault::new(act).times(1);
    let status = |status: u16| Fault::status(status).times(1);
    let table = [
        row("well", 1, &[]),
        row("slow", 1, &[one(Act::Ok).after(Duration::from_secs(2))]),
        row("refuses", 1, &[Fault::new(Act::Refuse).lasting(Duration::from_secs(2))]),
        row("500 three times", 1, &[Fault::status(500).times(3)]),
        row("503 with a date", 1, &[status(503).retry_after("1")]),
        row("408", 1, &[status(408)]),
        row("garbage", 1, &[one(Act::Garbage)]),
        row("closes", 1, &[one(Act::Close)]),
        row("resets", 1, &[one(Act::Reset)]),
        row("a byte a second", 2, &[one(Act::Drip)]),
        row("hangs", 1, &[one(Act::Hang)]),
        row("hangs with it", 2, &[one(Act::Hang).accepting()]),
        row("resets with it", 2, &[Fault::reset_after_accept().times(1)]),
        // It said yes, and nobody can be asked whether that was true: believed.
        row("1 GB of yes", 1, &[Fault { status: Some(200), ..one(Act::Huge).accepting() }]),
        row("1 GB of error", 1, &[Fault { status: Some(500), ..one(Act::Huge) }]),
    ];
    for_each_channel(&table, |like, row| {
        let mut rig = Rig::start(like);
        row.faults.iter().for_each(|fault| rig.provider.fault(fault));
        let alert = rig.publish(Draft::login(1, "alice"));
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        let copies = rig.provider.copies(&alert.id);
        let requests = rig.provider.requests();
        assert!((1..=row.copies).contains(&copies), "{}: {requests:#?}", row.name);
        assert!(requests.iter().all(|request| request.authorized), "{requests:#?}");
        let peak = rig.sender.peak_kib();
        assert!(peak < MEMORY_KIB, "{}: {peak} KiB", row.name);
    });
}

#[test]
fn nothing_is_tried_before_retry_after() {
    for_each_channel(&[row("429", 1, &[])], |like, _| {
        let mut rig = Rig::start(like);
        rig.provider.fault(&Fault::status(429).retry_after("3").times(1));
        let alert = rig.publish(Draft::login(1, "alice"));
        rig.host.wait_syslog("bastion", "alert-deferred", 1);
        rig.sender.signal(libc::SIGUSR1);
        rig.provider.wait_alert(&alert.id, ARRIVAL);
        let requests = rig.provider.requests();
        let waited = Duration::from_micros(requests[1].at_us - requests[0].at_us);
        assert!(waited >= Duration::from_secs(3), "{waited:?}");
        assert!(waited < Duration::from_secs(20), "{waited:?}");
    });
}

#[test]
fn what_the_provider_refuses_is_failed_after_one_try_and_does_not_block_the_next() {
    for_each_channel(&[row("400", 1, &[])], |like, _| {
        let mut rig = Rig::start(like);
        rig.provider.fault(&Fault::status(400).times(1));
        let bad = rig.publish(Draft::note(1, "bad"));
        rig.host.wait_room(&bad.id, "failed", ARRIVAL);
        let good = rig.publish(Draft::note(2, "good"));
        rig.host.wait_room(&good.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.posts().len(), 2, "one try each");
    });
}

#[test]
fn wrong_settings_hold_the_alert_and_say_where_to_look() {
    const STATUSES: [u16; 5] = [401, 404, 302, 307, 200];
    let table: Vec<(u16, Like)> =
        STATUSES.iter().flat_map(|status| Like::OTHERS.map(|like| (*status, like))).collect();
    each_row(&table, |(status, like)| {
        // To these two, a 200 is a yes whatever stands in it.
        if *status == 200 && matches!(like, Like::Webhook | Like::Alertmanager) {
            return;
        }
        let mut rig = Rig::start(*like);
        rig.provider.fault(&Fault::status(*status));
        let alert = rig.publish(Draft::login(1, "alice"));
        let trouble = rig.host.wait_syslog("bastion", "channel-trouble", 1);
        assert_eq!(trouble[0].field("trouble").as_deref(), Some("config"), "{trouble:?}");
        assert!(rig.reason("channel-trouble").contains("check "), "{trouble:?}");
        assert!(wait_until(DEADLINE, || rig.host.room_of(&alert.id) == Some("queue")));
        assert_eq!(rig.provider.requests().len(), 1, "one try, and no redirect is followed");
        rig.provider.heal();
        rig.sender.signal(libc::SIGUSR1);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&alert.id), 1);
    });
}

#[test]
fn a_certificate_is_checked_against_ca_file_and_nothing_is_said_to_the_wrong_side() {
    const CA: &str = "ca-file = \"/run/provider/ca.pem\"";
    // What is wrong, where the provider listens, the year its certificate ends, the key, whether
    // it works, and a word of the reason.
    let table = [
        ("the right one", "127.0.0.1:0", 2090, CA, true, ""),
        ("a CA that nobody knows", "127.0.0.1:0", 2090, "", false, "certificate"),
        ("another CA", "127.0.0.1:0", 2090, OTHER_CA, false, "ca-file"),
        ("the name of another", "192.0.2.1:0", 2090, CA, false, "certificate"),
        ("expired", "127.0.0.1:0", 2020, CA, false, "the clock"),
    ];
    const OTHER_CA: &str = "ca-file = \"/etc/ssl/certs/ca-certificates.crt\"";
    let rows: Vec<_> = table.iter().flat_map(|row| Like::OTHERS.map(|like| (*row, like))).collect();
    each_row(&rows, |((name, listen, year, more, works, word), like)| {
        let host = Host::new();
        host.sh("mkdir -p /run/provider");
        let _ = certificates::make_until(&host.path("/run/provider"), *year);
        let provider = Provider::start_with(&host, *like, listen, true);
        like.configure(&host, &provider.url(), more);
        let rig = Rig::on(host, provider, &[]);
        let alert = rig.publish(Draft::login(1, "alice"));
        if *works {
            rig.host.wait_room(&alert.id, "sent", ARRIVAL);
            assert_eq!(rig.provider.copies(&alert.id), 1, "{name}");
            return;
        }
        let reason = rig.reason("channel-trouble");
        assert!(reason.contains(word) && reason.contains("certificate"), "{name}: {reason}");
        assert_eq!(rig.host.room_of(&alert.id), Some("queue"), "{name}");
        assert_eq!(rig.provider.requests().len(), 0, "{name}");
    });
}

#[test]
fn a_server_without_tls_on_a_port_for_it_means_later_and_gets_nothing() {
    for_each_channel(&[row("plain", 1, &[])], |like, _| {
        let host = Host::new();
        let provider = Provider::start_like(&host, like, "127.0.0.1:0", false);
        like.configure(&host, &provider.url().replace("http://", "https://"), "");
        let rig = Rig::on(host, provider, &[]);
        let _ = rig.publish(Draft::login(1, "alice"));
        let lines = rig.host.wait_syslog("bastion", "alert-deferred", 1);
        assert_eq!(lines[0].field("doubtful").as_deref(), Some("false"), "{lines:?}");
        assert_eq!(rig.provider.requests().len(), 0);
    });
}

#[test]
fn a_mended_ca_file_sends_what_was_held_without_a_restart() {
    let host = Host::new();
    let provider = Provider::start_like(&host, Like::Ntfy, "127.0.0.1:0", true);
    host.sh("cp /etc/ssl/certs/ca-certificates.crt /etc/bastion/ca.pem");
    Like::Ntfy.configure(&host, &provider.url(), "ca-file = \"/etc/bastion/ca.pem\"");
    let rig = Rig::on(host, provider, &[]);
    let alert = rig.publish(Draft::login(1, "alice"));
    assert!(rig.reason("channel-trouble").contains("certificate"));
    rig.host.sh("cp /run/provider/ca.pem /etc/bastion/ca.pem");
    rig.sender.signal(libc::SIGUSR1);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
}

#[test]
fn the_secret_is_nowhere_whatever_the_provider_does() {
    let echo = |status| Fault { status: Some(status), ..Fault::new(Act::Echo) };
    let table = [
        row("well", 1, &[]),
        row("echoes with 200", 1, &[echo(200)]),
        row("echoes with 400", 1, &[echo(400)]),
        row("echoes with 401", 1, &[echo(401)]),
        row("echoes with 429", 1, &[echo(429)]),
        row("echoes with 500", 1, &[echo(500)]),
        row("garbage", 1, &[Fault::new(Act::Garbage)]),
        row("resets", 1, &[Fault::new(Act::Reset)]),
        row("refuses", 1, &[Fault::new(Act::Refuse)]),
        row("redirects", 1, &[Fault::status(302)]),
    ];
    for_each_channel(&table, |like, row| {
        let host = Host::new();
        let provider = Provider::start_like(&host, like, "127.0.0.1:0", false);
        like.configure(&host, &provider.url(), "");
        let mut rig = Rig::on(host, provider, &[]);
        row.faults.iter().for_each(|fault| rig.provider.fault(fault));
        // Of an address that is a secret, its last part is what nobody could guess.
        let secret = like.secret().rsplit('/').next().unwrap_or_default();
        let needles = search::needles(&[secret, &secret.replace(':', "%3A")]);
        let kept_in = like.secret_file();
        let places = || search::places(&rig.host, &needles, &[&kept_in]);
        assert_eq!(search::places(&rig.host, &needles, &[]), [kept_in.as_str()], "it is found");
        let alert = rig.publish(Draft::login(1, "alice"));
        let words = ["alert-sent", "alert-deferred", "alert-refused", "channel-trouble"];
        let answered = || words.iter().any(|word| rig.host.events(word) > 0);
        assert!(wait_until(ARRIVAL, answered), "{}", row.name);
        assert_eq!(places(), [""; 0], "{}", row.name);
        for command in [&["queue", "show", &alert.id][..], &["test"], &["check"], &["queue"]] {
            let output = rig.host.run(&[&["/artefacts/bastion"], command].concat());
            let said = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&said).into_owned();
            assert!(!search::shows(&said, &needles), "{}: {text}", row.name);
        }
        assert_eq!(places(), [""; 0], "{}", row.name);
    });
}

#[test]
fn a_used_up_day_at_ntfy_waits_for_the_next_day() {
    let mut rig = Rig::start(Like::Ntfy);
    rig.provider.fault(&Fault::status(429).code(42908));
    let _ = rig.publish(Draft::login(1, "alice"));
    let trouble = rig.host.wait_syslog("bastion", "channel-trouble", 1);
    assert_eq!(trouble[0].field("trouble").as_deref(), Some("ratelimit"), "{trouble:?}");
    let next: u64 = trouble[0].field("next-try-s").and_then(|s| s.parse().ok()).unwrap_or(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let midnight = 86_400 - now % 86_400;
    // The clock may have passed midnight between the two.
    assert!(next.abs_diff(midnight) < 60 || midnight > 86_300, "{next} {midnight}");
}

#[test]
fn a_webhook_gets_each_event_once_signed_and_in_its_own_request() {
    const BURST: u32 = 200;
    let rig = Rig::start(Like::Webhook);
    rig.sender.stop();
    (0..BURST).for_each(|number| rig.host.publish(&Draft::note(number, "burst")));
    rig.sender.signal(libc::SIGCONT);
    let got = rig.provider.wait_accepted(BURST as usize, ARRIVAL);
    let mut keys: Vec<&str> = got.iter().map(|r| r.headers["idempotency-key"].as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), BURST as usize);
    // Kept connections: the drain is one of them, or a handful where the disk was slow.
    let connections = got.iter().map(|r| r.connection).max().unwrap_or(0) + 1;
    assert!(connections <= 10, "{connections} connections for {BURST} events");
    let first = &got[0];
    assert_eq!(first.headers["x-env"], "prod");
    let file = "/tmp/body";
    rig.host.write(file, &first.raw, 0o600);
    let key = format!("openssl dgst -sha256 -hmac '{}' -r {file}", Like::Webhook.secret());
    let want = rig.host.sh(&key);
    let want = want.split_whitespace().next().unwrap_or_default();
    assert_eq!(first.headers["x-bastion-signature"], format!("sha256={want}"));
}

#[test]
fn nothing_that_a_stranger_chose_becomes_markup_or_a_header() {
    const HOSTILE: &str =
        "<b>@everyone</b> <!channel> ```x``` *y* \r\nX-Evil: 1\r\n\r\n\u{202e}gpj";
    for_each_channel(&[row("hostile", 1, &[])], |like, _| {
        let rig = Rig::start(like);
        let alerts = [
            rig.publish(Draft::login(1, HOSTILE)),
            rig.publish(Draft::note(2, HOSTILE)),
            rig.publish(Draft::note(3, &HOSTILE.repeat(80)[..4000])),
        ];
        for alert in &alerts {
            rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        }
        // The stand-in takes nothing that the provider would refuse or obey.
        for request in rig.provider.requests() {
            assert_eq!(request.headers.get("x-evil"), None);
            assert!(request.accepted.is_some() && !request.raw.contains('\u{202e}'), "{request:?}");
        }
    });
}
