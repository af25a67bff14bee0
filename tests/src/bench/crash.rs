//! `kill -9` at random moments: how many alerts are lost, and how many come twice.

use std::time::Duration;

use bastion_tests::alert::id;
use bastion_tests::host::Host;
use bastion_tests::like::Like;
use bastion_tests::provider::Provider;
use bastion_tests::random::Random;
use bastion_tests::sender::Rig;
use bastion_tests::storm::{kill_again_and_again, slow_answers};
use bastion_tests::wait::{pause, wait_until};

use super::Effort;
use super::case::{at_once, now_us};
use super::peers::{PATIENCE, Peer, PeerRig};
use super::receiver::Receiver;
use super::report::{Row, Table};

/// How long all is waited for after the last kill.
const MOST: Duration = Duration::from_secs(90);

/// A daemon is killed so soon after it was given a message.
const SOON: Duration = Duration::from_millis(100);

/// Longest time for a command that nobody kills.
const UNDISTURBED: Duration = Duration::from_secs(30);

/// What became of all alerts.
struct Ended {
    alerts: usize,
    lost: usize,
    duplicates: usize,
}

impl Ended {
    fn of(copies: &[usize]) -> Self {
        Self {
            alerts: copies.len(),
            lost: copies.iter().filter(|copies| **copies == 0).count(),
            duplicates: copies.iter().map(|copies| copies.saturating_sub(1)).sum(),
        }
    }

    fn words(&self) -> String {
        let Self { alerts, lost, duplicates } = self;
        format!("lost {lost} of {alerts}, {duplicates} twice")
    }
}

/// Measures and adds the row.
pub fn measure(table: &mut Table, effort: Effort) {
    let kills = if effort == Effort::Full { 50 } else { 4 };
    let (ours, peers) = std::thread::scope(|scope| {
        let peers = scope.spawn(|| {
            let peers = Peer::ALL.into_iter().filter(|peer| *peer != Peer::CurlRetry);
            let peers: Vec<Peer> =
                peers.filter(|peer| effort == Effort::Full || !peer.keeps()).collect();
            let of = |peer: &Peer| match of_peer(*peer, kills) {
                Ok(ended) => format!("{} {}", peer.name(), ended.words()),
                Err(why) => format!("{} absent: {why}", peer.name()),
            };
            at_once(&peers, peers.len(), of).join("; ")
        });
        let ours = at_once(&[Like::Twilio, Like::Webhook], 2, |like| of_ours(*like, kills));
        (ours, peers.join().expect("the peers' thread ends well"))
    });
    let [twilio, webhook] = &ours[..] else { return };
    let met =
        twilio.lost + webhook.lost == 0 && twilio.duplicates == 0 && webhook.duplicates <= kills;
    let measured = format!("Twilio {}; webhook {}", twilio.words(), webhook.words());
    let row = Row::new(&format!("kill -9 at {kills} random moments"), &measured, kills);
    table.add(row.target("lost 0; twice: Twilio 0, else <= 1 a kill", met).peer(&peers));
}

/// The sender, killed while alerts come in and answers come late.
fn of_ours(like: Like, kills: usize) -> Ended {
    let host = Host::new();
    let provider = Provider::start_like(&host, like, "127.0.0.1:0", false);
    match like {
        Like::Twilio => host.configure(&provider.url()),
        like => like.configure(&host, &provider.url(), ""),
    }
    let mut rig = Rig::on(host, provider);
    rig.provider.fault(&slow_answers());
    let ids = kill_again_and_again(&mut rig, kills);
    rig.provider.heal();
    let through = || ids.iter().all(|id| rig.host.room_of(id) == Some("sent"));
    if !wait_until(MOST, through) {
        eprintln!("{}: {:#?}", like.name(), rig.host.syslog_of("bastion"));
    }
    let accepted = rig.provider.accepted();
    let copies = |id: &String| accepted.iter().filter(|one| one.body().contains(id)).count();
    Ended::of(&ids.iter().map(copies).collect::<Vec<_>>())
}

/// A peer's daemon killed soon after it was given a message, or its command before it has ended.
fn of_peer(peer: Peer, kills: usize) -> Result<Ended, String> {
    let mut rig = PeerRig::start(peer)?;
    if let Receiver::Web(provider) = &mut rig.receiver {
        provider.fault(&slow_answers());
    }
    let life = rig.send("undisturbed", UNDISTURBED).took;
    let mut random = Random::seeded(now_us());
    let numbers = (0..u32::try_from(kills).unwrap_or(0)).map(|number| 0x2f5a_1c00 + number);
    let tokens: Vec<String> = numbers.map(id).collect();
    for token in &tokens {
        if peer.keeps() {
            let _ = rig.send(token, UNDISTURBED);
            pause(random.time_below(SOON));
            rig.kill_daemon();
            rig.start_daemon();
        } else {
            let _ = rig.send(token, random.time_below(life));
        }
    }
    let all_came = || rig.is_through() || rig.arrived(&tokens) == tokens.len();
    // What Alertmanager has forgotten does not come: that shows soon.
    let most = if peer == Peer::Alertmanager { PATIENCE / 5 } else { PATIENCE };
    let _ = wait_until(most, all_came);
    let taken = rig.receiver.taken(&rig.host);
    let copies = |token: &String| taken.iter().filter(|one| one.text.contains(token)).count();
    Ok(Ended::of(&tokens.iter().map(copies).collect::<Vec<_>>()))
}
