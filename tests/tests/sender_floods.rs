//! Many alerts at once, many over a day, and old ones: few messages, and every alert accounted for.

use std::collections::BTreeSet;
use std::time::Duration;

use bastion_tests::alert::{Draft, id as alert_id};
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::Host;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::sender::{LOGIN, ONE_BY_ONE, Rig, TO, route, sms};
use bastion_tests::told;
use bastion_tests::twilio::FILTERED;
use bastion_tests::wait::{pause, wait_until};

/// Longest time to the third message of a burst, which waits for others: 5 s, then 30 s.
const ARRIVAL: Duration = Duration::from_secs(90);

/// The usual configuration, but for what `keys` say of the channel.
fn with(provider: &Provider, keys: &str) -> String {
    format!("{LOGIN}{}", sms(&provider.url()).replace(ONE_BY_ONE, keys))
}

fn start(keys: &str) -> Rig {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    host.write_config(&with(&provider, keys));
    Rig::on(host, provider)
}

#[test]
fn a_hundred_logins_make_three_messages_and_each_is_accounted_for() {
    let rig = start("");
    let drafts: Vec<Draft> = (0..100)
        .map(|number| Draft::login(number, ["alice", "bob", "carol"][number as usize % 3]))
        .collect();
    // The first goes at once, and by itself: a sender that is slow to wake up would take others along.
    rig.host.publish(&drafts[0]);
    rig.provider.wait_accepted(1, ARRIVAL);
    for draft in &drafts[1..50] {
        rig.host.publish(draft);
    }
    // One at once; on a busy machine all fifty may be there by then.
    rig.provider.wait_accepted(1, ARRIVAL);
    for draft in &drafts[50..] {
        rig.host.publish(draft);
    }
    for draft in &drafts {
        rig.host.wait_room(&draft.id, "sent", ARRIVAL);
    }
    let accepted = rig.provider.accepted();
    assert!(accepted.len() <= 3, "{} messages", accepted.len());
    let told: usize = accepted.iter().map(|sms| told::logins(sms.body()).0).sum();
    assert_eq!(told, 100, "{:?}", accepted.iter().map(|sms| sms.body()).collect::<Vec<_>>());
    for sms in &accepted {
        assert!(sms.body().len() <= 160, "{}", sms.body());
    }
    // Each of them stands in syslog with its end, by its own id.
    for draft in &drafts {
        rig.host.wait_syslog("bastion", &format!("alert-sent alert={}", draft.id), 1);
    }
}

#[test]
fn what_went_down_and_came_up_while_the_line_was_away_is_one_message() {
    let mut rig = start("");
    rig.provider.fault(&Fault::new(Act::Refuse));
    let send = |words: &[&str]| {
        let mut all = vec!["/artefacts/bastion", "send"];
        all.extend(words);
        rig.host.run(&all).ok().text().trim().to_owned()
    };
    let down = send(&["--down", "tunnel office", "no banner"]);
    rig.host.wait_room(&down, "queue", ARRIVAL);
    let up = send(&["--up", "tunnel office"]);
    rig.host.wait_room(&up, "queue", ARRIVAL);
    rig.provider.heal();
    for id in [&down, &up] {
        rig.host.wait_room(id, "sent", ARRIVAL);
    }
    let bodies: Vec<String> =
        rig.provider.accepted().iter().map(|sms| sms.body().to_owned()).collect();
    // The first may have been accepted by itself, had it gone out before the fault.
    assert!(bodies.iter().any(|body| body.contains("tunnel office was down")), "{bodies:?}");
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[test]
fn over_its_limit_a_channel_hands_over_and_remembers_it_over_a_restart() {
    let host = Host::new();
    let a = Provider::start_at(&host, "127.0.0.1:8001", false);
    let b = Provider::start_at(&host, "127.0.0.1:8002", false);
    host.write_token(AUTH_TOKEN);
    let channels = [("a", a.url(), [TO]), ("b", b.url(), ["+15550102"])];
    let channels = channels.each_ref().map(|(name, url, to)| (*name, url.as_str(), &to[..]));
    let config = format!("{LOGIN}{}", route("1h", &channels));
    host.write_config(&config.replacen("1000000", "3", 1));
    let mut sender = host.spawn_sender();
    host.wait_syslog("bastion", "sender-started", 1);
    let publish = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let draft = Draft::note(number, "x");
            host.publish(&draft);
            host.wait_room(&draft.id, "sent", ARRIVAL);
        }
    };
    publish(0..5);
    assert_eq!((a.accepted().len(), b.accepted().len()), (3, 2));
    sender.kill();
    let _sender = host.spawn_sender();
    publish(5..7);
    assert_eq!((a.accepted().len(), b.accepted().len()), (3, 4));
    let mut critical = Draft::note(7, "the house is on fire");
    critical.json["severity"] = "critical".into();
    host.publish(&critical);
    host.wait_room(&critical.id, "sent", ARRIVAL);
    assert_eq!(a.copies(&critical.id), 1);
}

#[test]
fn what_is_too_old_is_kept_told_and_counted_in_the_next_message() {
    let rig = start("");
    let old = Draft::login(1, "alice").aged(Duration::from_secs(25 * 3600));
    rig.host.publish(&old);
    rig.host.wait_room(&old.id, "failed", ARRIVAL);
    rig.host.wait_syslog("bastion", "expired after 24 h", 1);
    let new = Draft::login(2, "bob");
    rig.host.publish(&new);
    let sms = rig.provider.wait_alert(&new.id, ARRIVAL);
    assert!(sms.body().contains("1 older alert expired"), "{}", sms.body());
    assert_eq!(rig.provider.copies(&old.id), 0);
}

#[test]
fn what_a_carrier_refuses_later_takes_the_next_channel_and_what_it_delivers_is_told() {
    let host = Host::new();
    let a = Provider::start_at(&host, "127.0.0.1:8001", false);
    let b = Provider::start_at(&host, "127.0.0.1:8002", false);
    host.write_token(AUTH_TOKEN);
    let channels = [("a", a.url(), [FILTERED]), ("b", b.url(), [TO])];
    let channels = channels.each_ref().map(|(name, url, to)| (*name, url.as_str(), &to[..]));
    host.write_config(&format!("{LOGIN}{}", route("1h", &channels)));
    let mut sender = host.spawn_sender();
    let alert = Draft::login(1, "alice");
    host.publish(&alert);
    a.wait_alert(&alert.id, ARRIVAL);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    // Who takes over goes on asking.
    sender.kill();
    let _sender = host.spawn_sender();
    b.wait_alert(&alert.id, ARRIVAL);
    let lines = host.wait_syslog("bastion", "alert-undelivered", 1);
    assert!(lines[0].text.contains("30007"), "{lines:?}");
    host.wait_syslog("bastion", "alert-arrived", 1);
    host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!((a.copies(&alert.id), b.copies(&alert.id)), (1, 1));
}

#[test]
fn alerts_go_the_way_that_the_rules_say() {
    let host = Host::new();
    let a = Provider::start_at(&host, "127.0.0.1:8001", false);
    let b = Provider::start_at(&host, "127.0.0.1:8002", false);
    host.write_token(AUTH_TOKEN);
    let channels = [("a", a.url(), [TO]), ("b", b.url(), ["+15550102"])];
    let channels = channels.each_ref().map(|(name, url, to)| (*name, url.as_str(), &to[..]));
    let rules = "[[notify.rule]]\nkinds = [\"note\"]\nseverities = [\"critical\"]\n\
                 route = [\"a\", \"b\"]\nall = true\n\
                 [[notify.rule]]\nkinds = [\"note\"]\nroute = [\"b\"]\n";
    host.write_config(&format!("{LOGIN}{}{rules}", route("1h", &channels)));
    let _sender = host.spawn_sender();
    let mut all = Draft::note(1, "both");
    all.json["severity"] = "critical".into();
    let (note, login) = (Draft::note(2, "b alone"), Draft::login(3, "alice"));
    for draft in [&all, &note, &login] {
        host.publish(draft);
        host.wait_room(&draft.id, "sent", ARRIVAL);
    }
    let told = |provider: &Provider| -> BTreeSet<String> {
        let ids = [&all, &note, &login].map(|draft| draft.id.clone());
        ids.into_iter().filter(|id| provider.copies(id) == 1).collect()
    };
    assert_eq!(told(&a), BTreeSet::from([all.id.clone(), login.id.clone()]));
    assert_eq!(told(&b), BTreeSet::from([all.id.clone(), note.id.clone()]));
}

#[test]
fn a_digest_that_was_on_its_way_at_a_kill_is_told_once() {
    let mut rig = start("");
    rig.provider.fault(&Fault::new(Act::Refuse));
    let drafts: Vec<Draft> = (0..20).map(|number| Draft::login(number, "alice")).collect();
    drafts.iter().for_each(|draft| rig.host.publish(draft));
    for draft in &drafts {
        rig.host.wait_room(&draft.id, "queue", ARRIVAL);
    }
    // Accepted, and then the connection breaks: nobody here knows that it was.
    rig.sender.stop();
    rig.provider.heal();
    rig.provider.fault(&Fault::reset_after_accept().times(1));
    rig.sender.signal(libc::SIGCONT);
    assert!(wait_until(ARRIVAL, || !rig.provider.accepted().is_empty()));
    rig.sender.kill();
    rig.provider.heal();
    rig.start_again();
    for draft in &drafts {
        rig.host.wait_room(&draft.id, "sent", ARRIVAL);
    }
    let accepted = rig.provider.accepted();
    let told: usize = accepted.iter().map(|sms| told::logins(sms.body()).0).sum();
    assert_eq!(told, 20, "{:?}", accepted.iter().map(|sms| sms.body()).collect::<Vec<_>>());
}

#[test]
fn no_flood_of_notes_keeps_a_login_from_being_told() {
    let rig = start("max-per-hour = 4\ndigest = false\n");
    // Whoever is in the writers' group may call them critical, and critical ones may use twice as much.
    for number in 1..=12 {
        let mut note = Draft::note(number, "noise");
        note.json["severity"] = "critical".into();
        rig.host.publish(&note);
    }
    rig.provider.wait_accepted(8, ARRIVAL);
    let login = Draft::login(100, "intruder");
    rig.host.publish(&login);
    rig.host.wait_room(&login.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.accepted().len(), 9, "and no more of the noise");
    // The part that is kept for logins has an end as well.
    for number in 101..=104 {
        rig.host.publish(&Draft::login(number, "intruder"));
    }
    rig.provider.wait_accepted(10, ARRIVAL);
    pause(Duration::from_secs(2));
    assert_eq!(rig.provider.accepted().len(), 10);
}

#[test]
fn where_the_jump_host_is_is_told_whatever_is_told_with_it() {
    let mut rig = start("");
    rig.provider.fault(&Fault::new(Act::Refuse));
    let reachable = "jump host of home: reachable at 203.0.113.50, and the tunnel is up";
    let ids = [
        ("info", "jump host of home: starting, because main is down for 20 s"),
        ("warning", reachable),
        ("info", "the backup of last night has ended, and all of it is well"),
    ]
    .map(|(severity, text)| {
        let words = ["/artefacts/bastion", "send", "--severity", severity, text];
        let id = rig.host.run(&words).ok().text().trim().to_owned();
        rig.host.wait_room(&id, "queue", ARRIVAL);
        id
    });
    rig.provider.heal();
    for id in &ids {
        rig.host.wait_room(id, "sent", ARRIVAL);
    }
    let bodies: Vec<String> =
        rig.provider.accepted().iter().map(|sms| sms.body().to_owned()).collect();
    let told = |body: &String| body.contains("reachable at 203.0.113.50") && body.len() <= 160;
    assert!(bodies.iter().any(told), "{bodies:?}");
}

#[test]
fn what_is_perhaps_out_is_perhaps_paid_for_and_counts() {
    let mut rig = start("max-per-hour = 3\ndigest = false\n");
    // A key that may not list, and a line that breaks after each message was taken.
    rig.provider.fault(&Fault::status(403).on("GET"));
    rig.provider.fault(&Fault::reset_after_accept());
    rig.host.publish(&Draft::note(1, "on a bad line"));
    rig.provider.wait_accepted(1, ARRIVAL);
    let kicked = || {
        rig.sender.signal(libc::SIGUSR1);
        pause(Duration::from_secs(1));
        rig.host.events("try-now") >= 12
    };
    assert!(wait_until(ARRIVAL, kicked));
    let sent = rig.provider.accepted().len();
    assert!((2..=3).contains(&sent), "{sent} messages of one alert, where 3 an hour may be sent");
    assert_eq!(rig.host.room_of(&alert_id(1)), Some("queue"), "it is kept");
}
