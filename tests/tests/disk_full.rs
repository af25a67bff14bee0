//! Disks that take no more, under the files that the sender keeps of itself and under the
//! allowances: sends go on, what was known stays known, and syslog or the command tells.

use std::time::{Duration, SystemTime};

use bastion_tests::alert::Draft;
use bastion_tests::disk::{fill, make_room, small};
use bastion_tests::host::{CONFIG, DEADLINE, Host, SPOOL, UNKNOWN};
use bastion_tests::process::Daemon;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, ONE_BY_ONE, Rig, TO, route, sms};
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

const STATE: &str = "/var/lib/bastion";
const ALIVE: &str = "/var/lib/bastion/alive.json";
const ALLOWANCES: &str = "/etc/bastion/allowances.toml";

fn start_sender(host: &Host) -> Daemon {
    let before = host.events("sender-started");
    let sender = host.spawn_sender();
    host.wait_syslog("bastion", "sender-started", before + 1);
    sender
}

/// Waits until the sender has left its first mark.
fn wait_mark(host: &Host) {
    let there = || host.read(ALIVE).contains("unix_ms");
    assert!(wait_until(DEADLINE, there), "no {ALIVE}");
}

#[test]
fn on_a_full_state_directory_sends_go_on_and_limits_hold_and_are_kept_when_there_is_room() {
    let host = Host::new();
    let a = Provider::start_at(&host, "127.0.0.1:8001", false);
    let b = Provider::start_at(&host, "127.0.0.1:8002", false);
    host.write_token(AUTH_TOKEN);
    let channels = [("a", a.url(), [TO]), ("b", b.url(), ["+15550102"])];
    let channels = channels.each_ref().map(|(name, url, to)| (*name, url.as_str(), &to[..]));
    host.write_config(&format!("{LOGIN}{}", route("1h", &channels)).replacen("1000000", "3", 1));
    small(&host, STATE, "size=64k");
    let mut sender = start_sender(&host);
    fill(&host, STATE);
    let tell = |numbers: std::ops::Range<u32>| -> Vec<String> {
        let tell_one = |number| {
            let login = Draft::login(number, "alice").stamped();
            host.publish(&login);
            host.wait_room(&login.id, "sent", ARRIVAL);
            let accepted = a.accepted().into_iter().chain(b.accepted());
            let mut bodies = accepted.map(|sms| sms.body().to_owned());
            bodies.find(|body| body.contains(&login.id)).expect("it has been sent")
        };
        numbers.map(tell_one).collect()
    };
    let told = tell(1..6);
    assert_eq!((a.accepted().len(), b.accepted().len()), (3, 2));
    host.wait_syslog("bastion", "state-trouble", 1);
    assert_eq!(host.events("state-trouble"), 1);
    // What was seen is known without a disk, too.
    let new = |body: &String| body.contains("NEW");
    assert_eq!(told.iter().filter(|body| new(body)).count(), 1, "{told:#?}");
    assert_eq!(host.read(&format!("{STATE}/usage.json")), "");

    make_room(&host, STATE);
    tell(6..7);
    sender.kill();
    sender = start_sender(&host);
    let told = tell(7..8);
    assert_eq!((a.accepted().len(), b.accepted().len()), (3, 4), "the limits were kept");
    assert!(!told.iter().any(new), "what was seen was kept: {told:?}");
    // Trouble that comes again is told again.
    fill(&host, STATE);
    tell(8..9);
    host.wait_syslog("bastion", "state-trouble", 2);
    drop(sender);
}

#[test]
fn a_sender_that_could_not_leave_its_mark_on_a_full_disk_was_there_all_the_same() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    small(&host, STATE, "size=64k");
    let mut rig = Rig::on(host, provider);
    // Its mark of two hours ago, and since then there was no room.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    wait_mark(&rig.host);
    rig.host.sh(&format!("echo '{{\"unix_ms\":{}}}' >{ALIVE}", now - 7_200_000));
    fill(&rig.host, STATE);
    rig.sender.signal(libc::SIGTERM);
    assert_eq!(rig.sender.wait(DEADLINE), Some(0));
    make_room(&rig.host, STATE);
    rig.start_again();
    let id = rig.host.send("there was somebody");
    rig.host.wait_room(&id, "sent", ARRIVAL);
    let accepted = rig.provider.accepted();
    assert_eq!(accepted.len(), 1, "{accepted:#?}");
}

#[test]
fn with_spool_and_state_full_a_burst_gets_out_as_one_and_the_next_sender_starts() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    host.write_config(&format!("{LOGIN}{}", sms(&provider.url()).replace(ONE_BY_ONE, "")));
    small(&host, SPOOL, "size=400k");
    small(&host, STATE, "size=64k");
    let early: Vec<Draft> = (1..6).map(|n| Draft::login(n, "alice").stamped()).collect();
    early.iter().for_each(|draft| host.publish(draft));
    fill(&host, SPOOL);
    fill(&host, STATE);
    let mut rig = Rig::on(host, provider);
    for draft in &early {
        rig.host.wait_room(&draft.id, "sent", ARRIVAL);
    }
    let accepted = rig.provider.accepted();
    assert_eq!(accepted.len(), 1, "{accepted:#?}");
    assert!(accepted[0].body().contains("5 logins"), "{}", accepted[0].body());
    for event in ["spool-trouble", "state-trouble"] {
        rig.host.wait_syslog("bastion", event, 1);
    }
    rig.sender.kill();
    rig.start_again();
    make_room(&rig.host, SPOOL);
    make_room(&rig.host, STATE);
    let id = rig.host.send("there is room again");
    rig.host.wait_room(&id, "sent", ARRIVAL);
    assert_eq!(rig.provider.accepted().len(), 2);
}

#[test]
fn an_allowance_that_cannot_be_written_or_told_is_not_granted_and_the_others_stay() {
    let table = [
        // (what is full, and what the command says)
        ("/etc/bastion", "No space left"),
        (SPOOL, "No space left"),
    ];
    each_row(&table, |(full, told)| {
        let host = Host::new();
        host.write_config(LOGIN);
        let bastion = |words: &[&str]| host.run(&[&["/artefacts/bastion"], words].concat());
        bastion(&["allow", UNKNOWN, "--for", "1h"]).ok();
        small(&host, full, "size=256k");
        let before = host.read(ALLOWANCES);
        fill(&host, full);
        let refused = bastion(&["allow", "192.0.2.77", "--for", "1h"]);
        assert!(matches!(refused.code, Some(73 | 75)), "{full}: {refused:?}");
        assert!(refused.errors().contains(told), "{full}: {refused:?}");
        assert_eq!(refused.errors().lines().count(), 1, "{full}: {refused:?}");
        assert_eq!(host.read(ALLOWANCES), before, "{full}");
        let verdict = |place| bastion(&["why", place]).ok().text();
        assert!(verdict(UNKNOWN).starts_with("known good"), "{full}");
        assert!(verdict("192.0.2.77").starts_with("alert"), "{full}");
        make_room(&host, full);
        bastion(&["allow", "192.0.2.77", "--for", "1h"]).ok();
        assert!(verdict("192.0.2.77").starts_with("known good"), "{full}");
        assert!(host.path(CONFIG).exists());
    });
}
