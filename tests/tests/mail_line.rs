//! The line under a mail: what a server may do to the sender over it, and how it is begun anew.

use std::time::{Duration, Instant};

use bastion_tests::alert::Draft;
use bastion_tests::mail::{MailRig, Options};
use bastion_tests::rows::each_row;
use bastion_tests::wait::wait_until;
use serde_json::{Value, json};

/// Longest time to the arrival of a mail: a try is cut off after 30 s.
const ARRIVAL: Duration = Duration::from_secs(90);

/// What the sender may take at most: the server says 1 GiB.
const MEMORY_KIB: u64 = 40 * 1024;

fn usual() -> Options {
    Options::tls("starttls").signed_in()
}

#[test]
fn an_answer_that_never_ends_fills_no_memory() {
    let flood = |at: &str| json!({ "at": at, "do": "flood" });
    let table = [
        ("connection", Options::tls("endless"), Value::Null, "false"),
        ("RCPT TO", usual(), flood("rcpt"), "false"),
        ("the mail", usual(), flood("data"), "true"),
    ];
    each_row(&table, |(step, options, rule, doubtful)| {
        let mut rig = MailRig::start(options, "");
        if !rule.is_null() {
            rig.server.wrong(rule);
        }
        let alert = Draft::login(1, "alice");
        rig.host.publish(&alert);
        let lines = rig.host.wait_syslog_for("bastion", "alert-deferred", 1, ARRIVAL);
        let peak = rig.sender.peak_kib();
        assert!(peak < MEMORY_KIB, "{step}: {peak} KiB");
        eprintln!("{step}: at most {peak} KiB resident");
        assert_eq!(lines[0].field("doubtful").as_deref(), Some(*doubtful), "{step}: {lines:?}");
        let reason = lines[0].field("reason").unwrap_or_default();
        assert!(reason.starts_with(step), "{step}: {reason}");
        assert!(reason.contains("says more than 128 KiB"), "{step}: {reason}");
        if !rule.is_null() {
            rig.server.heal();
            rig.sender.signal(libc::SIGUSR1);
            rig.host.wait_room(&alert.id, "sent", ARRIVAL);
        }
    });
}

#[test]
fn a_kick_begins_a_connection_into_a_dead_line_anew() {
    let rig = MailRig::start(&usual(), "");
    let port = rig.server.port();
    // SYNs go out at 0, 1, 3 and 7 s, also where the kernel would begin with one each second.
    let linear = "/proc/sys/net/ipv4/tcp_syn_linear_timeouts";
    rig.host.sh(&format!("[ ! -e {linear} ] || echo 0 >{linear}"));
    let rule = format!("nft add rule inet t in tcp dport {port} counter drop");
    let chain = "nft add chain inet t in '{ type filter hook input priority 0; }'";
    rig.host.sh(&format!("nft add table inet t; {chain}; {rule}"));
    let alert = Draft::login(1, "alice");
    rig.host.publish(&alert);
    // After the third SYN there is time until the fourth.
    let dropped = || rig.host.sh("nft list table inet t").contains("counter packets 3 ");
    assert!(wait_until(Duration::from_secs(20), dropped), "no SYN of the sender's was dropped");
    assert_eq!(rig.host.events("alert-deferred"), 0, "the attempt is still under way");
    rig.host.sh("nft delete table inet t");
    let healed = Instant::now();
    rig.sender.signal(libc::SIGUSR1);
    rig.server.wait_mails(1, ARRIVAL);
    let took = healed.elapsed();
    eprintln!("the mail came {took:?} after the kick");
    // The kernel's next SYN would have gone out after four.
    assert!(took < Duration::from_secs(3), "{took:?}");
    rig.host.wait_room(&alert.id, "sent", ARRIVAL);
    assert_eq!(rig.server.mails().len(), 1);
}
