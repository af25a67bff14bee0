//! Many alerts: a queue of ten thousand that drains to a webhook, and a burst of logins by SMS.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bastion_tests::alert::{Draft, id};
use bastion_tests::host::{Host, SPOOL};
use bastion_tests::like::Like;
use bastion_tests::provider::Provider;
use bastion_tests::sender::{LOGIN, ONE_BY_ONE, sms};
use bastion_tests::told;
use bastion_tests::wait::wait_until;

use super::Effort;
use super::case::at_once;
use super::disk::{Disk, Kind};
use super::peers::{PATIENCE, Peer, PeerRig};
use super::report::{Row, Table};
use super::rig::Rig;

/// Longest time for all of it.
const MOST: Duration = Duration::from_secs(300);

/// Most memory that the sender may have had.
const MOST_KIB: u64 = 16 * 1024;

/// Logins in a burst.
const BURST: usize = 100;

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    table.add(drain(if effort == Effort::Full { 10_000 } else { 1000 }));
    table.add(burst(effort));
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
    let what = format!("{count} queued, drained to a webhook, each by itself");
    Row::new(&what, &measured, count as usize)
        .target(">= 500/s, RSS <= 16 MiB", rate >= 500.0 && kib <= MOST_KIB)
        .figure("per_s", rate)
        .figure("peak_kib", kib as f64)
}

/// A hundred logins at once, with the limits and the digest as they are without a word about them;
/// and by the peers meanwhile, most of the time being spent in waiting.
fn burst(effort: Effort) -> Row {
    let (ours, peers) = std::thread::scope(|scope| {
        let peers = scope.spawn(|| {
            let brief = |peer: &Peer| effort == Effort::Full || *peer == Peer::Curl;
            let peers: Vec<Peer> = Peer::ALL.into_iter().filter(brief).collect();
            at_once(&peers, peers.len(), |peer| burst_of(*peer)).join("; ")
        });
        (burst_of_ours(), peers.join().expect("the peers' thread ends well"))
    });
    let (messages, sent, told, names) = ours;
    let all: usize = names.values().sum();
    let listed: Vec<String> = names.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let measured = format!(
        "{messages} SMS that tell of {told} ({}); {sent} in sent/ with their states",
        listed.join(", ")
    );
    let accounted = [sent, told, all].iter().all(|count| *count == BURST);
    Row::new("burst of 100 logins", &measured, BURST)
        .target("<= 3 SMS, all 100 accounted for", messages <= 3 && accounted)
        .figure("messages", messages as f64)
        .peer(&peers)
}

/// How many SMS came, how many alerts are in `sent/` with their states, how many logins the texts
/// count, and how often they name whom.
fn burst_of_ours() -> (usize, usize, usize, BTreeMap<String, usize>) {
    let rig = Rig::for_alerts(false);
    let usual = sms(&rig.provider.url()).replace(ONE_BY_ONE, "");
    rig.host.write_config(&format!("{LOGIN}{usual}"));
    rig.sender.as_ref().expect("it runs").signal(libc::SIGHUP);
    rig.host.wait_syslog("bastion", "config-reloaded", 1);
    let names = ["alice", "bob"];
    let drafts: Vec<Draft> = (0..BURST)
        .map(|number| Draft::login(u32::try_from(number).unwrap_or(0), names[number % names.len()]))
        .collect();
    drafts.iter().for_each(|draft| rig.host.publish(draft));
    rig.settle();
    let sent = drafts.iter().filter(|draft| {
        let file = format!("{SPOOL}/sent/{}", draft.name());
        let state = rig.host.read(&format!("{file}.state"));
        rig.host.read(&file).contains(&draft.id) && state.contains("\"phase\":\"done\"")
    });
    let sent = sent.count();
    let (mut count, mut names) = (0, BTreeMap::new());
    let accepted = rig.provider.accepted();
    for sms in &accepted {
        let (told, named) = told::logins(sms.body());
        count += told;
        for (name, times) in named {
            *names.entry(name).or_default() += times;
        }
    }
    (accepted.len(), sent, count, names)
}

/// How many messages a peer makes of a burst.
fn burst_of(peer: Peer) -> String {
    let rig = match PeerRig::start(peer) {
        Ok(rig) => rig,
        Err(why) => return format!("{} absent: {why}", peer.name()),
    };
    let numbers = (0..u32::try_from(BURST).unwrap_or(0)).map(|number| 0x2f5a_1c00 + number);
    let tokens: Vec<String> = numbers.map(id).collect();
    for token in &tokens {
        let _ = rig.send(token, Duration::from_secs(30));
    }
    let _ = wait_until(PATIENCE, || rig.arrived(&tokens) == tokens.len());
    format!("{} {}", peer.name(), rig.receiver.taken(&rig.host).len())
}
