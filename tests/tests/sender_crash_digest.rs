//! The sender killed at any moment while it tells many alerts in one message, and while it tells a
//! program what is down and up: nothing is lost, and a kill costs one message too many at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::like::Like;
use bastion_tests::provider::Provider;
use bastion_tests::random::Random;
use bastion_tests::sender::{LOGIN, ONE_BY_ONE, Rig, sms};
use bastion_tests::wait::pause;

/// A digest waits for company up to a minute, and then again for what came meanwhile.
const ARRIVAL: Duration = Duration::from_secs(180);

/// How often the sender is killed.
const KILLS: usize = 50;

/// Most alerts published between two kills.
const BURST: u64 = 8;

/// Things that go down and come up.
const THINGS: [&str; 2] = ["tunnel a", "link b"];

/// What is published: in turn of a random kind, and of a condition the opposite of the last.
#[derive(Default)]
struct Story {
    ids: Vec<String>,
    down: BTreeSet<&'static str>,
    /// The changes of each thing, in their order.
    changes: BTreeMap<&'static str, Vec<String>>,
}

impl Story {
    fn go_on(&mut self, host: &Host, random: &mut Random) {
        let number = u32::try_from(self.ids.len()).expect("few") + 1;
        let user = ["alice", "bob", "carol"][number as usize % 3];
        let draft = match random.below(4) {
            0 | 1 => Draft::login(number, user),
            2 => Draft::note(number, "in the storm"),
            _ => {
                let thing = THINGS[usize::from(random.below(2) == 1)];
                let is_down = self.down.insert(thing);
                if !is_down {
                    self.down.remove(thing);
                }
                let draft = Draft::condition(number, thing, is_down);
                self.changes.entry(thing).or_default().push(draft.id.clone());
                draft
            }
        };
        let draft = draft.stamped();
        host.publish(&draft);
        self.ids.push(draft.id);
    }
}

/// Kills the sender [`KILLS`] times while alerts come in, and waits until all are out.
fn storm(rig: &mut Rig, mut before_each: impl FnMut(&mut Provider, &mut Random)) -> Story {
    let (mut random, mut story) = (Random::new(), Story::default());
    for kill in 0..KILLS {
        before_each(&mut rig.provider, &mut random);
        // Some lives are long enough for a digest, which waits 5 s.
        let life_us = random.below(if kill % 10 == 9 { 7_000_000 } else { 250_000 });
        let alerts = random.below(BURST + 1);
        let mut moments: Vec<u64> = (0..alerts).map(|_| random.below(life_us.max(1))).collect();
        moments.sort_unstable();
        let mut now_us = 0;
        for at_us in moments {
            pause(Duration::from_micros(at_us - now_us));
            now_us = at_us;
            story.go_on(&rig.host, &mut random);
        }
        pause(Duration::from_micros(life_us - now_us));
        rig.sender.kill();
        rig.sender = rig.host.spawn_sender();
    }
    rig.provider.heal();
    for id in &story.ids {
        rig.host.wait_room(id, "sent", ARRIVAL);
    }
    assert_eq!(rig.host.spool_names("failed"), [""; 0]);
    assert_eq!(rig.host.spool_names("drop"), [""; 0]);
    rig.host.wait_empty_queue();
    story
}

/// A machine whose channel tells together what waits, and is not held up by its limits.
fn start() -> Rig {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    let keys = ONE_BY_ONE.replace("digest = false\n", "");
    host.write_config(&format!("{LOGIN}{}", sms(&provider.url()).replace(ONE_BY_ONE, &keys)));
    Rig::on(host, provider)
}

/// Under which id each alert was told, by the log: its own, or that of the digest.
fn told_as(host: &Host) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for line in host.syslog_of("bastion").iter().filter(|line| line.event() == "alert-sent") {
        let id = line.field("alert").expect("an alert has an id");
        told.insert(id.clone(), line.field("told-as").unwrap_or(id));
    }
    told
}

/// How many logins or notes a message tells of; of conditions nobody knows.
fn count_in(body: &str) -> Option<usize> {
    let words: Vec<&str> = body.split(' ').collect();
    let many = words.windows(2).find(|pair| matches!(pair[1], "logins" | "notes"));
    match many {
        Some(pair) => pair[0].parse().ok(),
        None if THINGS.iter().any(|thing| body.contains(thing)) => None,
        None => Some(1),
    }
}

/// Checks that each alert was told, and answers how many messages were accepted too many.
fn messages_too_many(rig: &Rig, story: &Story) -> usize {
    let told = told_as(&rig.host);
    let mut alerts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &story.ids {
        let as_id = told.get(id).unwrap_or_else(|| panic!("the log does not say that {id} is out"));
        *alerts.entry(as_id).or_default() += 1;
    }
    let accepted = rig.provider.accepted();
    for (id, count) in &alerts {
        let token = format!("#{id}");
        let messages: Vec<&str> =
            accepted.iter().map(|sms| sms.body()).filter(|body| body.ends_with(&token)).collect();
        assert!(!messages.is_empty(), "lost: the {count} told as {id}");
        let whole = messages.iter().any(|body| count_in(body).is_none_or(|told| told == *count));
        assert!(whole, "{count} were told as {id}, and the messages say: {messages:?}");
    }
    accepted.len() - alerts.len()
}

fn slow_answers() -> Fault {
    Fault::new(Act::Ok).after(Duration::from_millis(30))
}

#[test]
fn killed_while_it_tells_many_at_once_the_sender_loses_none_and_tells_none_twice() {
    let mut rig = start();
    rig.provider.fault(&slow_answers());
    let story = storm(&mut rig, |_, _| {});
    assert_eq!(messages_too_many(&rig, &story), 0, "the list could be read");
    let digests =
        rig.provider.accepted().iter().filter(|sms| sms.body().contains(" logins ")).count();
    assert!(digests >= 5, "{digests} digests: the kills came at harmless moments");
    let looks = rig.provider.requests().iter().filter(|r| r.method == "GET").count();
    assert!(looks >= 5, "{looks} looks: the kills came at harmless moments");
}

#[test]
fn where_the_list_cannot_be_read_a_kill_costs_one_digest_too_many_at_most() {
    let mut rig = start();
    rig.provider.fault(&Fault::status(403).on("GET"));
    rig.provider.fault(&slow_answers());
    let story = storm(&mut rig, |_, _| {});
    let too_many = messages_too_many(&rig, &story);
    assert!(too_many <= KILLS, "{too_many} for {KILLS} kills");
}

#[test]
fn killed_and_refused_the_sender_tells_an_alertmanager_each_change_in_its_order() {
    let host = Host::new();
    let provider = Provider::start_like(&host, Like::Alertmanager, "127.0.0.1:0", false);
    Like::Alertmanager.configure(&host, &provider.url(), "");
    let mut rig = Rig::on(host, provider);
    let story = storm(&mut rig, |provider, random| {
        provider.heal();
        if random.below(3) == 0 {
            provider.fault(&Fault::status(503).times(2).accepting());
        }
        provider.fault(&slow_answers());
    });
    let accepted = rig.provider.accepted();
    for id in &story.ids {
        assert!(rig.provider.copies(id) >= 1, "lost: {id}");
    }
    for (thing, changes) in &story.changes {
        let place = |body: &str| changes.iter().position(|id| body.contains(&format!("#{id}")));
        let told: Vec<usize> = accepted.iter().filter_map(|post| place(post.body())).collect();
        let sorted = told.windows(2).all(|pair| pair[0] <= pair[1]);
        assert!(sorted, "{thing}: told in this order: {told:?}");
    }
    // Each try that was doubtful may be one too many, and those before a kill.
    let doubtful = rig.provider.posts().iter().filter(|post| post.answer == "503").count();
    let too_many = accepted.len() - story.ids.len();
    assert!(too_many <= KILLS + doubtful, "{too_many}, {doubtful} in doubt");
}

#[test]
fn a_digest_in_doubt_whose_first_alert_is_dropped_by_hand_is_not_told_twice() {
    let mut rig = start();
    let all: Vec<Draft> = (1..5).map(|number| Draft::login(number, "alice").stamped()).collect();
    rig.provider.fault(&Fault::new(Act::Refuse));
    all.iter().for_each(|draft| rig.host.publish(draft));
    for draft in &all {
        rig.host.wait_room(&draft.id, "queue", DEADLINE);
    }
    // Accepted, and nobody here knows.
    rig.sender.stop();
    rig.provider.heal();
    rig.provider.fault(&Fault::new(Act::Hang).accepting());
    rig.sender.signal(libc::SIGCONT);
    rig.sender.signal(libc::SIGUSR1);
    let first = rig.provider.wait_accepted(1, ARRIVAL).remove(0);
    rig.sender.kill();
    let lead = all.iter().find(|draft| first.body().ends_with(&format!("#{}", draft.id)));
    let lead = lead.expect("the message has an id of theirs");
    assert!(first.body().contains("4 logins"), "{}", first.body());
    rig.host.run(&["/artefacts/bastion", "queue", "drop", &lead.id]).ok();
    rig.provider.heal();
    rig.start_again();
    for draft in all.iter().filter(|draft| draft.id != lead.id) {
        rig.host.wait_room(&draft.id, "sent", ARRIVAL);
    }
    assert_eq!(rig.provider.accepted().len(), 1, "{:#?}", rig.provider.accepted());
}
