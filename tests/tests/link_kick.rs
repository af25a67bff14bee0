//! A line that comes back has the sender try at once; nobody else can say that it has, and one that comes and
//! goes does not make it try without an end.

use std::time::{Duration, Instant};

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::lines::{AS_LINKPROBE, Lines, link};
use bastion_tests::provider::Provider;
use bastion_tests::sender::{LOGIN, Rig, sms};
use bastion_tests::wait::{pause, wait_until};

/// That a line is back, as linkprobe says it. `number` becomes the id.
fn back(number: u32) -> Draft {
    let mut draft = Draft::note(number, "");
    draft.json["what"] = serde_json::json!({ "kind": "back", "name": "link backup" });
    draft
}

/// Says it as the user with this number.
fn say_as(host: &Host, uid: u32, draft: &Draft) {
    let name = draft.name();
    host.write("/tmp/said", draft.text(), 0o640);
    host.sh(&format!(
        "chown {uid}:2902 /tmp/said; mv /tmp/said /var/spool/bastion/drop/.{name}
         mv /var/spool/bastion/drop/.{name} /var/spool/bastion/drop/{name}"
    ));
}

/// Waits until the channel has failed four times: the next tries are 8 and 15 s away.
fn wait_failures(host: &Host) {
    let lines = || host.syslog_of("bastion");
    let fourth = || {
        let of_channel =
            |text: &str| text.starts_with("channel-trouble") && text.contains("failures=4 ");
        lines().iter().any(|line| of_channel(&line.text))
    };
    assert!(wait_until(Duration::from_secs(40), fourth), "{:#?}", lines());
}

#[test]
fn what_waits_is_sent_when_the_line_comes_back() {
    let mut lines = Lines::new();
    let mut provider = Provider::start(&lines.inside);
    lines.inside.configure(&provider.url());
    let links = link(1, "check-every = \"2s\"\n");
    lines.inside.write_config(&format!("{LOGIN}{}\n{links}", sms(&provider.url())));
    let _sender = lines.inside.spawn_sender();
    lines.inside.wait_syslog("bastion", "sender-started", 1);
    lines.start();
    lines.wait_up("backup", true);
    lines.inside.sh("ip link set b0 down");
    provider.fault(&Fault::new(Act::Refuse));
    let alert = Draft::login(1, "alice");
    lines.inside.publish(&alert);
    lines.wait_up("backup", false);
    wait_failures(&lines.inside);
    provider.heal();
    let begun = Instant::now();
    lines.address(1);
    lines.inside.wait_room(&alert.id, "sent", DEADLINE);
    // By itself it would be tried after 6.4 s at the earliest.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}\n{}", lines.log());
    let said = lines.inside.wait_syslog("bastion", "try-now", 1);
    assert_eq!(said[0].field("reason").as_deref(), Some("a line is back"));
    assert_eq!(provider.copies(&alert.id), 1);
}

#[test]
fn linkprobe_and_root_are_believed_and_nobody_else() {
    let rig = Rig::start();
    for (number, uid) in [(1, 2001), (2, 2903), (3, 2901)] {
        say_as(&rig.host, uid, &back(number));
    }
    // The sender's own word is believed, whatever it says.
    rig.host.wait_syslog("bastion", "try-now", 1);
    rig.host.wait_syslog("bastion", "drop-file-refused", 2);
    for (number, uid) in [(4, 2904), (5, 0)] {
        let before = rig.host.events("try-now");
        say_as(&rig.host, uid, &back(number));
        rig.host.wait_syslog("bastion", "try-now", before + 1);
    }
    let refused = rig.host.syslog_of("bastion");
    let refused = refused.iter().filter(|line| line.event() == "drop-file-refused");
    for line in refused {
        let reason = line.field("reason").unwrap_or_default();
        assert!(reason.contains("from _linkprobe or root"), "{reason}");
    }
    // It is told nobody, and nothing of it stays.
    rig.host.wait_empty_queue();
    assert_eq!((rig.provider.posts().len(), rig.host.spool_names("sent").len()), (0, 0));
    // And of links the same as of tunnels.
    for words in ["--up 'link backup'", "--tally 'Link backup' 1/1"] {
        let as_alice = "setpriv --reuid=2001 --regid=2001 --groups=2902 --";
        let words = format!("{as_alice} /artefacts/bastion send {words}");
        let output = rig.host.run(&["sh", "-c", &words]);
        assert_eq!(output.code, Some(77), "{output:?}");
    }
    let words = [AS_LINKPROBE, &["/artefacts/bastion", "send", "--up", "link backup"]].concat();
    let said = rig.host.run(&words).ok();
    rig.host.wait_room(said.text().trim(), "sent", DEADLINE);
}

#[test]
fn a_line_that_comes_and_goes_does_not_defeat_the_back_off() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::new(Act::Refuse));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    wait_failures(&rig.host);
    let port = rig.provider.address().rsplit(':').next().expect("a port").to_owned();
    rig.host.sh(&format!(
        "nft add table ip count; nft add chain ip count o '{{ type filter hook output priority 0; }}'
         nft add rule ip count o 'tcp dport {port} tcp flags & (syn|ack) == syn' counter"
    ));
    for number in 10..50 {
        rig.host.publish(&back(number));
        pause(Duration::from_millis(100));
    }
    let list = rig.host.sh("nft list table ip count");
    let tries = list.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    let tries: u32 = tries.and_then(|tries| tries.parse().ok()).expect("a counter");
    // Three at once, and what the back-off brings in these seconds.
    assert!((3..=5).contains(&tries), "{tries} tries");
    rig.host.wait_events("bastion", "try-now", 3);
    rig.provider.heal();
    // The last of them counts, a minute later.
    rig.host.wait_syslog_for("bastion", "try-now", 4, Duration::from_secs(75));
    rig.host.wait_room(&alert.id, "sent", DEADLINE);
    assert_eq!(rig.provider.copies(&alert.id), 1);
}
