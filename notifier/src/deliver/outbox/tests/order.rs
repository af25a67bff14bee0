//! Which id a digest is looked for under, and in what order the changes of one thing go.

use super::*;
use crate::event::{Condition, Status};

#[test]
fn a_digest_whose_first_alert_is_gone_is_looked_for_under_the_id_it_went_out_with() {
    let rig = Rig::new("lead");
    let mut outbox = rig.digests(Limits::default());
    let names = rig.burst(&mut outbox, 2, 0);
    begin_one(&mut outbox, 0);
    std::mem::drop(outbox);

    // Dropped by hand while no sender ran; and of the two, one is left.
    fs::rename(rig.dir.join("queue").join(&names[0]), rig.dir.join("failed").join(&names[0]))
        .unwrap();
    let mut outbox = rig.digests(Limits::default());
    for now_ms in [2000, 60_000] {
        let due = sms_due(&mut outbox, now_ms);
        let (_, job) = outbox.begin(&due, now_ms).remove(0);
        assert_eq!((&job.names, job.doubtful), (&names[1..].to_vec(), true));
        assert_eq!(job.told_as, Some(job_id(&names[0])));
        // Nobody could be asked: so it is asked again, for the same.
        let later = Outcome::Later { why: "503".into(), fault: Fault::Message };
        let told_as = job.told_as;
        outbox.learn(&Report { unresolved: true, told_as, ..report(&due[0], later) }, now_ms);
    }
}

/// A condition of this moment.
fn change(rig: &Rig, status: Status) -> String {
    // Names are by the millisecond, and stand for the order here.
    std::thread::sleep(Duration::from_millis(2));
    let name = Foreign::from("tunnel office");
    rig.publish_what(What::Condition(Condition::new(name, status, String::new())))
}

#[test]
fn where_state_is_kept_the_changes_of_one_thing_go_in_their_order() {
    let rig = Rig::new("order");
    for in_order in [true, false] {
        let mut outbox = rig.outbox();
        let stop = Stop { channel: "am".into(), recipients: vec!["a".into()] };
        let way = Way { in_runs: true, in_order, ..Way::default() };
        outbox.set_policy(Policy {
            route: Route { stops: vec![stop], all: false },
            patience: Duration::from_secs(60),
            ways: [("am".to_owned(), way)].into(),
            ..Policy::default()
        });
        let down = change(&rig, Status::Down);
        let up = change(&rig, Status::Up);
        let other = rig.publish("of something else");
        outbox.claim(0);
        let due_names = |outbox: &mut Outbox, now_ms| -> Vec<String> {
            let (due, _) = outbox.due(now_ms, &["am"]);
            outbox.begin(&due, now_ms);
            due.into_iter().flat_map(|due| due.names).collect()
        };
        let settle = |outbox: &mut Outbox, names: &[&String], outcome: &Outcome, now_ms| {
            for name in names {
                let (names, channel, recipient) =
                    (vec![(*name).clone()], "am".to_owned(), "a".to_owned());
                let due = Due { channel, recipient, names };
                outbox.learn(&report(&due, outcome.clone()), now_ms);
            }
        };
        if !in_order {
            assert_eq!(due_names(&mut outbox, 0), [down, up, other]);
            continue;
        }
        assert_eq!(due_names(&mut outbox, 0), [down.clone(), other.clone()]);
        settle(&mut outbox, &[&other], &delivered(), 0);
        settle(&mut outbox, &[&down], &Outcome::doubtful("503", Fault::Message), 0);
        // Not while nobody knows whether it is there, nor after a restart.
        assert_eq!(due_names(&mut outbox, 10), [""; 0]);
        assert_eq!(due_names(&mut outbox, 5000), [down.as_str()]);
        settle(&mut outbox, &[&down], &delivered(), 5000);
        assert_eq!(due_names(&mut outbox, 5000), [up.as_str()]);
        settle(&mut outbox, &[&up], &delivered(), 5000);
        assert!(outbox.is_empty() && outbox.changes.is_empty());
    }
}
