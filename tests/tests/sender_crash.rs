//! The sender killed at any moment, and a disk that takes no more: nothing is lost.

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host, SPOOL};
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::Rig;
use bastion_tests::storm::{kill_again_and_again, slow_answers};
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

/// How often the sender is killed.
const KILLS: usize = 50;

/// Kills the sender [`KILLS`] times while alerts come in, and answers how many messages too
/// many were accepted when all is out.
fn duplicates_after_kills(rig: &mut Rig) -> usize {
    let ids = kill_again_and_again(rig, KILLS);
    rig.provider.heal();
    for id in &ids {
        rig.host.wait_room(id, "sent", ARRIVAL);
    }
    let copies: Vec<usize> = ids.iter().map(|id| rig.provider.copies(id)).collect();
    assert!(copies.iter().all(|copies| *copies >= 1), "lost: {copies:?}");
    assert_eq!(rig.host.spool_names("failed"), [""; 0]);
    rig.host.wait_empty_queue();
    assert_eq!(rig.host.spool_names("drop"), [""; 0]);
    copies.iter().sum::<usize>() - ids.len()
}

#[test]
fn killed_at_random_moments_the_sender_loses_nothing_and_sends_nothing_twice() {
    let mut rig = Rig::start();
    rig.provider.fault(&slow_answers());
    let duplicates = duplicates_after_kills(&mut rig);
    assert_eq!(duplicates, 0, "the list could be read");
    // The kills did hit: some messages were looked for.
    let looks = rig.provider.requests().iter().filter(|r| r.method == "GET").count();
    assert!(looks >= 5, "{looks} looks, so the kills came at harmless moments");
}

#[test]
fn where_the_list_cannot_be_read_a_kill_costs_one_message_too_many_at_most() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::status(403).on("GET"));
    rig.provider.fault(&slow_answers());
    let duplicates = duplicates_after_kills(&mut rig);
    assert!(duplicates <= KILLS, "{duplicates} for {KILLS} kills");
}

#[test]
fn killed_while_the_provider_is_down_the_sender_keeps_all() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::new(Act::Refuse));
    let alerts: Vec<Draft> = (1..10).map(|number| Draft::login(number, "alice")).collect();
    for alert in &alerts {
        rig.host.publish(alert);
        rig.sender.kill();
        rig.sender = rig.host.spawn_sender();
    }
    rig.provider.heal();
    for alert in &alerts {
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&alert.id), 1);
    }
}

/// What a sender can find that one before it left half done: by a script, and whether the alert
/// is sent then.
#[test]
fn what_a_dead_sender_left_half_done_is_taken_up() {
    let sending = r#"{"channels":{"sms":{"+15550101":{"phase":"sending","tries":1}}}}"#;
    let done = sending.replace("sending", "done");
    let table = [
        ("claimed, nothing more", "true", 1),
        ("a state that was being written", "echo '{' >.NAME.state", 1),
        ("being sent", &format!("echo '{sending}' >NAME.state"), 1),
        ("sent, not put away", &format!("echo '{done}' >NAME.state"), 0),
        ("a state of nothing", ": >NAME.state", 1),
        ("a state of garbage", "head -c 9999 /dev/urandom >NAME.state", 1),
        ("a state that is a directory", "mkdir NAME.state", 1),
        ("the state of another", "echo '{}' >1700000000000-note-abcdef.json.state", 1),
    ];
    each_row(&table.map(|(name, script, copies)| (name, script.to_owned(), copies)), |row| {
        let (name, script, copies) = row;
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        let alert = Draft::login(1, "alice");
        host.publish(&alert);
        host.sh(&format!("cd {SPOOL}/queue; mv ../drop/*.json .; chown _bastion ."));
        let script = script.replace("NAME", &alert.name());
        host.sh(&format!("cd {SPOOL}/queue; {script}; chown -R _bastion .; chown root *.json"));
        let rig = Rig::on(host, provider);
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&alert.id), *copies, "{name}");
        let next = Draft::login(2, "bob");
        rig.host.publish(&next);
        rig.host.wait_room(&next.id, "sent", ARRIVAL);
    });
}

/// Puts the spool on a file system of its own, with this mount option.
fn small_spool(host: &Host, option: &str) {
    host.sh(&format!(
        "cp -a {SPOOL} /tmp/spool; mount -t tmpfs -o mode=755,{option} spool {SPOOL}; \
         cp -a /tmp/spool/. {SPOOL}"
    ));
}

/// Fills the spool's file system to the last byte.
const FILL_BYTES: &str = "mkdir fill; dd if=/dev/zero of=fill/0 bs=4k 2>/dev/null || true";

/// Fills it with so many files that no further one can be made.
const FILL_NAMES: &str =
    "mkdir fill; for n in $(seq 200); do : >fill/$n || break; done 2>/dev/null";

#[test]
fn with_the_disk_full_what_was_dropped_gets_out_and_what_comes_later_is_told() {
    let unspooled = Some(1);
    let table = [("size=400k", FILL_BYTES), ("size=400k,nr_inodes=60", FILL_NAMES)];
    each_row(&table, |(option, fill)| {
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        small_spool(&host, option);
        let early: Vec<Draft> = (1..6).map(|number| Draft::login(number, "alice")).collect();
        early.iter().for_each(|draft| host.publish(draft));
        host.sh(&format!("cd {SPOOL}; {fill}"));
        let refused = host.run(&["/artefacts/bastion", "send", "the disk is full"]);
        assert_eq!(refused.code, Some(75), "{option}: {refused:?}");
        let lines = host.wait_syslog("bastion", "the disk is full", 1);
        assert_eq!(lines[0].severity(), unspooled, "{option}: {lines:?}");

        let mut rig = Rig::on(host, provider);
        // Refused once, so that the reason cannot be written either.
        rig.provider.fault(&Fault::new(Act::Reset).times(1).accepting());
        for draft in &early {
            rig.host.wait_room(&draft.id, "sent", ARRIVAL);
            assert_eq!(rig.provider.copies(&draft.id), 1, "{option}");
        }
        rig.host.wait_syslog("bastion", "spool-trouble", 1);

        rig.host.sh(&format!("rm -r {SPOOL}/fill"));
        let id = rig.host.send("there is room again");
        rig.host.wait_room(&id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&id), 1, "{option}");
    });
}

#[test]
fn with_the_disk_full_and_the_line_down_all_is_kept_over_a_crash() {
    let host = Host::new();
    let mut provider = Provider::start(&host);
    host.configure(&provider.url());
    small_spool(&host, "size=400k");
    provider.fault(&Fault::new(Act::Refuse));
    let mut rig = Rig::on(host, provider);
    let drafts: Vec<Draft> = (1..6).map(|number| Draft::login(number, "alice")).collect();
    drafts.iter().for_each(|draft| rig.host.publish(draft));
    assert!(wait_until(DEADLINE, || rig.host.room_of(&drafts[4].id) == Some("queue")));
    rig.host.sh(&format!("cd {SPOOL}; {FILL_BYTES}"));
    for _ in 0..3 {
        rig.sender.signal(libc::SIGUSR1);
        rig.sender.kill();
        rig.start_again();
    }
    rig.host.sh(&format!("rm -r {SPOOL}/fill"));
    rig.provider.heal();
    for draft in &drafts {
        rig.host.wait_room(&draft.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&draft.id), 1);
    }
}

#[test]
fn a_spool_that_turns_read_only_does_not_hold_what_was_claimed() {
    let mut rig = {
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        small_spool(&host, "size=1m");
        Rig::on(host, provider)
    };
    rig.provider.fault(&Fault::status(401));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    rig.host.wait_syslog("bastion", "channel-trouble", 1);
    rig.host.sh(&format!("mount -o remount,ro {SPOOL}"));
    rig.provider.heal();
    rig.sender.signal(libc::SIGUSR1);
    rig.provider.wait_alert(&alert.id, ARRIVAL);
    rig.host.wait_syslog("bastion", "spool-trouble", 1);
    rig.host.sh(&format!("mount -o remount,rw {SPOOL}"));
    rig.sender.signal(libc::SIGUSR1);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
}

#[test]
fn a_sender_that_may_only_read_its_spool_ends_as_the_next_one_may_write() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    small_spool(&host, "size=1m");
    host.sh(&format!("mount -o remount,ro {SPOOL}"));
    let output = host.run(&["timeout", "20", "/artefacts/bastion", "run"]);
    let why = "write in /var/spool/bastion/drop: Read-only file system";
    assert!(output.code == Some(75) && output.errors().contains(why), "{output:?}");
    host.sh(&format!("mount -o remount,rw {SPOOL}"));
    let rig = Rig::on(host, provider);
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    rig.provider.wait_alert(&alert.id, ARRIVAL);
}

#[test]
fn a_state_directory_that_takes_nothing_is_told_once_and_costs_no_alert() {
    let table = [
        "mount -o bind D D; mount -o remount,bind,ro D",
        "mount -t tmpfs -o size=4k,mode=777 full D; head -c 4096 /dev/zero >D/fill || true",
        "rmdir D",
        "rmdir D; : >D",
        "mkdir D/channels.json",
    ];
    each_row(&table, |script| {
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        host.sh(&script.replace('D', "/var/lib/bastion"));
        let mut rig = Rig::on(host, provider);
        rig.provider.fault(&Fault::new(Act::Close).times(3));
        let alerts = [Draft::login(1, "alice"), Draft::login(2, "bob")];
        alerts.iter().for_each(|alert| rig.host.publish(alert));
        for alert in &alerts {
            rig.host.wait_room(&alert.id, "sent", ARRIVAL);
            assert_eq!(rig.provider.copies(&alert.id), 1, "{script}");
        }
        rig.host.wait_events("bastion", "state-trouble", 1);
    });
}
