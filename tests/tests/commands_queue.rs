//! `bastion queue`: what an administrator sees and does, beside a running sender.

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::process::Output;
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, Rig};
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

/// Runs `bastion queue WORDS` as root.
fn queue(host: &Host, words: &[&str]) -> Output {
    host.run(&[&["/artefacts/bastion", "queue"], words].concat())
}

/// A sender that cannot send for its settings, and an alert that it holds.
fn held() -> (Rig, Draft) {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::status(401));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    rig.host.wait_syslog("bastion", "channel-trouble", 1);
    let told = || queue(&rig.host, &["show", &alert.id]).text().contains("1 try");
    assert!(wait_until(DEADLINE, told), "the state is written after the line");
    (rig, alert)
}

/// A sender, and an alert that the provider has refused.
fn failed() -> (Rig, Draft) {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::status(400).code(21211).times(1));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    rig.host.wait_room(&alert.id, "failed", ARRIVAL);
    (rig, alert)
}

/// The provider is well again, and the sender told so.
fn mend(rig: &mut Rig) {
    rig.provider.heal();
    rig.sender.signal(libc::SIGUSR1);
}

/// A further alert is delivered: the sender is alive and well.
fn goes_on(rig: &Rig) {
    let alert = Draft::note(99, "goes on");
    rig.host.publish(&alert);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
}

#[test]
fn an_empty_queue_says_so() {
    let host = Host::new();
    host.write_config(LOGIN);
    for (words, text) in [
        (&[][..], "nothing waits\n"),
        (&["list"], "nothing waits\n"),
        (&["--failed"], "nothing in /var/spool/bastion/failed\n"),
        (&["list", "--sent"], "nothing in /var/spool/bastion/sent\n"),
    ] {
        assert_eq!(queue(&host, words).ok().text(), text, "{words:?}");
    }
}

#[test]
fn list_and_show_tell_where_an_alert_stands() {
    let (mut rig, alert) = held();
    let row = |words: &[&str]| queue(&rig.host, words).ok().text();
    let waiting = row(&[]);
    assert!(waiting.starts_with(&format!("{}      0 min  login", alert.id)), "{waiting}");
    assert!(waiting.contains("sms waiting after 1") && waiting.contains("login alice"));
    assert_eq!(waiting.lines().count(), 1, "{waiting}");
    for id in [alert.id.clone(), format!("#{}", alert.id)] {
        let shown = row(&["show", &id]);
        for part in ["(waits)", "user: alice", "sms to +15550101: waiting, 1 try", "HTTP 401"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    mend(&mut rig);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    let row = |words: &[&str]| queue(&rig.host, words).ok().text();
    assert_eq!(row(&["list"]), "nothing waits\n");
    assert!(row(&["list", "--sent"]).contains("sms sent after 2"), "{}", row(&["--sent"]));
    let shown = || row(&["show", &alert.id]);
    assert!(shown().contains("(sent)") && shown().contains("sent, 2 tries"), "{}", shown());
}

#[test]
fn a_failed_alert_shows_why_and_is_sent_again_on_request() {
    let (rig, alert) = failed();
    let shown = queue(&rig.host, &["show", &alert.id]).ok().text();
    assert!(shown.contains("(failed)") && shown.contains("reason: sms to"), "{shown}");
    assert!(shown.contains("HTTP 400, code 21211"), "{shown}");
    let again = queue(&rig.host, &["retry", &alert.id]).ok().text();
    assert!(again.contains("on its way again"), "{again}");
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
    assert_eq!(rig.host.spool_names("failed"), [""; 0], "nothing of it is left behind");
    goes_on(&rig);
}

#[test]
fn all_failed_alerts_are_sent_again_but_not_what_is_none() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::status(400).times(3));
    let alerts: Vec<Draft> = (1..4).map(|number| Draft::login(number, "alice")).collect();
    for alert in &alerts {
        rig.host.publish(alert);
        rig.host.wait_room(&alert.id, "failed", ARRIVAL);
    }
    rig.host.plant("1700000000000-note-abcdef.json".as_ref(), b"no event");
    goes_on(&rig);
    rig.host.wait_events("bastion", "drop-file-refused", 1);
    queue(&rig.host, &["retry", "all"]).ok();
    for alert in &alerts {
        rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        assert_eq!(rig.provider.copies(&alert.id), 1);
    }
    let left = rig.host.spool_files("failed");
    assert_eq!((left.len(), left[0].1.as_str()), (2, "no event"), "{left:?}");
}

#[test]
fn retry_changes_nothing_of_what_waits_or_has_been_sent() {
    let (mut rig, alert) = held();
    let output = queue(&rig.host, &["retry", &alert.id]).ok();
    assert!(output.text().contains("waits already"), "{output:?}");
    mend(&mut rig);
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    let output = queue(&rig.host, &["retry", &alert.id]);
    assert_eq!(output.code, Some(65), "{output:?}");
    assert!(output.errors().contains("nothing is sent twice"), "{output:?}");
    goes_on(&rig);
    assert_eq!(rig.provider.copies(&alert.id), 1);
}

#[test]
fn an_alert_that_waits_can_be_dropped_and_is_not_sent() {
    let (mut rig, alert) = held();
    let output = queue(&rig.host, &["drop", &alert.id]).ok();
    assert!(output.text().contains("will not be sent"), "{output:?}");
    let lines = rig.host.wait_syslog("bastion", "alert-dropped", 1);
    assert_eq!(lines[0].field("reason").as_deref(), Some("dropped by uid 0"), "{lines:?}");
    mend(&mut rig);
    goes_on(&rig);
    assert_eq!(rig.provider.copies(&alert.id), 0);
    assert_eq!(rig.host.room_of(&alert.id), Some("failed"));
    rig.host.wait_empty_queue();
    // Dropped by mistake: it is there to be sent again.
    queue(&rig.host, &["retry", &alert.id]).ok();
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.provider.copies(&alert.id), 1);
    assert_eq!(queue(&rig.host, &["drop", &alert.id]).code, Some(65), "it does not wait");
}

#[test]
fn an_alert_dropped_while_it_is_being_sent_leaves_nothing_behind() {
    let table = [Fault::new(Act::Ok), Fault::status(503), Fault::status(400), Fault::status(401)];
    each_row(&table, |fault| {
        let mut rig = Rig::start();
        rig.provider.fault(&fault.clone().after(Duration::from_secs(2)).times(1));
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        rig.provider.wait_requests(1, DEADLINE);
        queue(&rig.host, &["drop", &alert.id]).ok();
        // The try is over, whatever became of it.
        rig.host.wait_syslog("bastion", "try=1", 1);
        mend(&mut rig);
        goes_on(&rig);
        assert_eq!(rig.host.room_of(&alert.id), Some("failed"), "{fault:?}");
        rig.host.wait_empty_queue();
        assert!(rig.provider.copies(&alert.id) <= 1, "{fault:?}");
    });
}

#[test]
fn commands_on_what_is_not_there_or_not_ours_say_so() {
    let (rig, alert) = held();
    for words in [["show", "zzzzzz"], ["retry", "zzzzzz"], ["drop", "zzzzzz"]] {
        let output = queue(&rig.host, &words);
        assert_eq!(output.code, Some(65), "{output:?}");
        assert!(output.errors().contains("there is no alert zzzzzz"), "{output:?}");
    }
    let alice = ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "--"];
    for words in [&["list"][..], &["show", &alert.id], &["drop", &alert.id], &["retry", "all"]] {
        let output = rig.host.run(&[&alice[..], &["/artefacts/bastion", "queue"], words].concat());
        assert_eq!(output.code, Some(77), "{words:?}: {output:?}");
    }
    let cut = rig.host.run(&["bash", "-c", "/artefacts/bastion queue | true"]).ok();
    assert_eq!(cut.errors(), "", "a reader that leaves is no fault");
    assert_eq!(rig.host.room_of(&alert.id), Some("queue"));
}

#[test]
fn hostile_names_in_an_alert_are_shown_on_one_line() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::status(401));
    let alert = Draft::login(1, "a\nroot from 127.0.0.1\x1b[2J");
    rig.host.publish(&alert);
    rig.host.wait_syslog("bastion", "channel-trouble", 1);
    for words in [&["list"][..], &["show", &alert.id]] {
        let output = queue(&rig.host, words).ok();
        let line = output.text().lines().filter(|line| line.contains("127.0.0.1")).count();
        assert!(line == 1 && !output.stdout.contains(&0x1b), "{output:?}");
        assert!(output.text().contains("a\\x0aroot"), "{output:?}");
    }
}
