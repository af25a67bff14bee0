//! Many alerts: a queue of ten thousand that drains to a webhook, and a burst of logins by SMS.

use std::time::{Duration, Instant};

use bastion_tests::alert::Draft;
use bastion_tests::host::Host;
use bastion_tests::like::Like;
use bastion_tests::provider::Provider;
use bastion_tests::sender::{LOGIN, ONE_BY_ONE, sms};
use bastion_tests::wait::wait_until;

use super::Effort;
use super::disk::{Disk, Kind};
use super::report::{Row, Table};
use super::rig::Rig;

/// Longest time for all of it.
const MOST: Duration = Duration::from_secs(300);

/// Most memory that the sender may have had.
const MOST_KIB: u64 = 16 * 1024;

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    table.add(drain(if effort == Effort::Full { 10_000 } else { 1000 }));
    table.add(burst());
}

/// `count` alerts wait when the sender starts; the time until the last is in `sent/`.
fn drain(count: u32) -> Row {
    let host = Host::new();
    let _disk = Disk::under(&host, Kind::Folder);
    let provider = Provider::start_like(&host, Like::Webhook, "127.0.0.1:0", false);
    Like::Webhook.configure(&host, &provider.url(), "");
    for number in 0..count {
        host.publish(&Draft::note(number, "one of many"));
    }
    let begun = Instant::now();
    let sender = host.spawn_sender();
    let empty = |room: &str| host.spool_names(room).is_empty();
    assert!(wait_until(MOST, || empty("drop") && empty("queue")), "the spool is not empty");
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    let kib = sender.peak_kib();
    let posted = provider.posts().len();
    assert_eq!(posted, count as usize, "each alone and once");
    let measured = format!("{rate:.0}/s, most RSS {:.1} MiB", kib as f64 / 1024.0);
    Row::new("10,000 queued, drained to a webhook, each by itself", &measured, count as usize)
        .target(">= 500/s, RSS <= 16 MiB", rate >= 500.0 && kib <= MOST_KIB)
        .figure("per_s", rate)
        .figure("peak_kib", kib as f64)
}

/// A hundred logins at once, with the limits and the digest as they are without a word about them.
fn burst() -> Row {
    let rig = Rig::for_alerts(false);
    let usual = sms(&rig.provider.url()).replace(ONE_BY_ONE, "");
    rig.host.write_config(&format!("{LOGIN}{usual}"));
    rig.sender.as_ref().expect("it runs").signal(libc::SIGHUP);
    rig.host.wait_syslog("bastion", "config-reloaded", 1);
    for number in 0..100 {
        rig.host.publish(&Draft::login(number, "alice"));
    }
    rig.settle();
    let messages = rig.provider.accepted().len();
    Row::new("burst of 100 logins", &format!("{messages} SMS, all 100 in sent/"), 1)
        .target("<= 3 SMS", messages <= 3)
        .figure("messages", messages as f64)
        .peer("not in this run (facts/notify.md): curl, msmtp, nullmailer, Alertmanager 100")
}
