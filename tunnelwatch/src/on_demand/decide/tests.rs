use notifier::clock::{BootStamp, Stamp};

use super::*;
use crate::on_demand::config::Provider;

mod month;
mod told;

const HOUR: u64 = 3_600_000;
/// 2026-11-25.
const BEGIN: u64 = 1_795_564_800_000;

fn rules() -> OnDemand {
    OnDemand {
        link: "main".into(),
        provider: Provider::Exec(vec!["/bin/true".into()]),
        start_after: Duration::from_secs(60),
        stop_after: Duration::from_secs(1800),
        most_a_month: Duration::from_secs(50 * 3600),
    }
}

/// By the wall clock and the boot's, which began with the test.
fn at(ms: u64) -> Now {
    let boot = Some(BootStamp { id: "boot".into(), ms });
    Now { ms, stamp: Stamp { unix_ms: BEGIN + ms, boot } }
}

fn inputs(link: Link) -> Inputs {
    Inputs { link, wish: None, people: (0, 0), tunnel_up: false }
}

fn policy(note: Note) -> Policy {
    Policy::new(rules(), "home", false, note, &at(0))
}

fn seen(machine: Machine) -> Seen {
    let address = matches!(machine, Machine::On).then(|| "198.51.100.7".to_owned());
    Seen { machine, address }
}

fn trouble(kind: Kind) -> Trouble {
    Trouble { kind, why: "it says no".into(), retry_after: None }
}

fn calls(actions: &[Action]) -> Vec<Verb> {
    let of = |action: &Action| match action {
        Action::Call(verb) => Some(*verb),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

fn tales(actions: &[Action]) -> Vec<&'static str> {
    let of = |action: &Action| match action {
        Action::Tell(tale) => Some(tale.word()),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

/// A policy that has seen the machine so, a moment ago.
fn with(machine: Machine, note: Note) -> Policy {
    let mut policy = policy(note);
    assert_eq!(calls(&policy.act(&inputs(Link::Up(u64::MAX)), &at(0))), [Verb::Describe]);
    policy.answered(Ok(seen(machine)), &at(0));
    policy
}

/// The note of a machine of ours that runs for an hour.
fn running() -> Note {
    let since = at(0).stamp;
    let since = Stamp { unix_ms: since.unix_ms - HOUR, boot: None };
    let address = Some("198.51.100.7".to_owned());
    let runs = Runs {
        counted: at(0).stamp,
        since,
        ours: true,
        confirmed: true,
        address,
        told_up: true,
        ..Runs::default()
    };
    Note { runs: Some(runs), ..Note::default() }
}

fn wish(start: bool) -> Option<Wish> {
    Some(Wish { start, at: at(0).stamp })
}

#[test]
fn what_is_asked_for_by_what_is_known() {
    use Machine::{Gone, Off, On, Starting, Stopping};
    let (down, up) = (Link::Down(60_000), Link::Up(1_800_000));
    let unknown = || Link::Unknown("linkprobe watch does not run".into());
    // The machine, whether it is ours, the link, the wish, people, and what is asked for half a minute later.
    type Row = (Machine, bool, Link, Option<Wish>, (usize, usize), &'static [Verb]);
    let table: [Row; 24] = [
        (Off, false, up.clone(), None, (0, 0), &[]),
        (Off, false, down.clone(), None, (0, 0), &[Verb::Start]),
        (Off, false, unknown(), None, (0, 0), &[]),
        (Off, false, up.clone(), wish(true), (0, 0), &[Verb::Start]),
        (Off, false, unknown(), wish(true), (0, 0), &[Verb::Start]),
        (Off, false, down.clone(), wish(false), (0, 0), &[]),
        (Starting, true, down.clone(), None, (0, 0), &[Verb::Describe]),
        // For an hour.
        (Starting, true, up.clone(), None, (0, 0), &[Verb::Stop]),
        (On, true, down.clone(), None, (0, 0), &[]),
        (On, true, Link::Up(1_799_000), None, (0, 0), &[]),
        (On, true, up.clone(), None, (0, 0), &[Verb::Stop]),
        (On, true, up.clone(), None, (1, 0), &[]),
        (On, true, up.clone(), None, (0, 1), &[]),
        (On, true, up.clone(), wish(true), (0, 0), &[]),
        (On, true, down.clone(), wish(false), (0, 0), &[Verb::Stop]),
        (On, true, down.clone(), wish(false), (1, 0), &[]),
        (On, true, unknown(), None, (0, 0), &[]),
        // Somebody else's is left alone, but for who says so.
        (On, false, up.clone(), None, (0, 0), &[]),
        (On, false, up.clone(), wish(false), (0, 0), &[Verb::Stop]),
        (On, false, down.clone(), None, (0, 0), &[]),
        (Stopping, true, down.clone(), None, (0, 0), &[Verb::Describe]),
        (Stopping, true, up.clone(), None, (0, 0), &[Verb::Describe]),
        (Gone, false, down.clone(), None, (0, 0), &[]),
        (Gone, false, up.clone(), None, (0, 0), &[]),
    ];
    for (row, (machine, ours, link, wish, people, want)) in table.into_iter().enumerate() {
        let note = if ours { running() } else { Note::default() };
        let mut policy = with(machine, note);
        let inputs = Inputs { wish, people, ..inputs(link) };
        let mut asked = Vec::new();
        // Nobody is logged in for a minute.
        for second in [1, 61, 62] {
            // What was seen stays fresh.
            if let Some((_, at_ms)) = &mut policy.seen {
                *at_ms = second * 1000;
            }
            asked = calls(&policy.act(&inputs, &at(second * 1000)));
            if !asked.is_empty() {
                break;
            }
        }
        assert_eq!(asked, want, "row {row}: {}", policy.why());
    }
}

#[test]
fn a_start_is_noted_before_it_is_asked_for_and_told_once() {
    let mut policy = with(Machine::Off, Note::default());
    let down = |ms| inputs(Link::Down(ms));
    assert_eq!(policy.act(&down(10_000), &at(10_000)), []);
    assert_eq!(
        policy.reach(),
        Reach::Nowhere { by_plan: true, why: "main is down for 10 s".into() }
    );
    let actions = policy.act(&down(61_000), &at(20_000));
    let because = "main is down for 61 s".to_owned();
    let starting = Action::Tell(Tale::Starting { because: because.clone() });
    assert_eq!(actions, [Action::Keep, starting, Action::Call(Verb::Start)]);
    assert!(policy.note().asked.as_ref().unwrap().start && policy.note().runs.is_some());
    assert_eq!(policy.reach(), Reach::Nowhere { by_plan: false, why: because });
    // Nothing else is asked until that has ended.
    assert_eq!(policy.act(&down(62_000), &at(90_000)), []);
    // It says that it is off for some time yet.
    let actions = policy.answered(Ok(seen(Machine::Off)), &at(91_000));
    assert_eq!(actions[0], Action::Keep);
    let mut asked = 0;
    for ms in (92_000..110_000).step_by(1000) {
        if calls(&policy.act(&down(ms), &at(ms))) == [Verb::Describe] {
            asked += 1;
            let now = if ms < 100_000 { Machine::Off } else { Machine::On };
            policy.answered(Ok(seen(now)), &at(ms));
        }
    }
    assert!((3..=9).contains(&asked), "{asked}");
    assert_eq!(policy.reach(), Reach::At(Some("198.51.100.7".into())));
    let inputs = Inputs { tunnel_up: true, ..down(200_000) };
    assert_eq!(tales(&policy.act(&inputs, &at(111_000))), ["jump-reachable"]);
    assert!(tales(&policy.act(&inputs, &at(112_000))).is_empty());
}

#[test]
fn a_call_whose_end_is_not_known_is_followed_by_a_description() {
    for kind in [Kind::Away, Kind::Busy] {
        let mut policy = with(Machine::Off, Note::default());
        let down = inputs(Link::Down(100_000));
        assert_eq!(calls(&policy.act(&down, &at(1_000))), [Verb::Start]);
        policy.answered(Err(trouble(kind)), &at(2_000));
        for ms in (2_000..6_900).step_by(100) {
            assert!(calls(&policy.act(&down, &at(ms))).is_empty(), "{ms}");
        }
        assert_eq!(calls(&policy.act(&down, &at(7_000))), [Verb::Describe]);
        // It has come through.
        policy.answered(Ok(seen(Machine::Starting)), &at(7_100));
        for ms in (7_100..60_000).step_by(500) {
            let calls = calls(&policy.act(&down, &at(ms)));
            assert!(!calls.contains(&Verb::Start));
            if !calls.is_empty() {
                policy.answered(Ok(seen(Machine::Starting)), &at(ms));
            }
        }
        assert!(policy.note().runs.as_ref().unwrap().confirmed);
    }
}

#[test]
fn after_a_crash_it_is_described_first_and_what_runs_is_ours_by_the_note() {
    let mut before = with(Machine::Off, Note::default());
    before.act(&inputs(Link::Down(60_000)), &at(1_000));
    let note = before.note().clone();
    // At once again: the call may be on its way.
    let mut policy = Policy::new(rules(), "home", false, note.clone(), &at(1_500));
    let up = inputs(Link::Up(7_200_000));
    assert!(calls(&policy.act(&up, &at(2_000))).is_empty());
    assert_eq!(calls(&policy.act(&up, &at(6_500))), [Verb::Describe]);
    policy.answered(Ok(seen(Machine::On)), &at(6_600));
    assert!(policy.note().runs.as_ref().unwrap().ours);
    let mut asked = Vec::new();
    for ms in (6_600..80_000).step_by(100) {
        asked.extend(calls(&policy.act(&up, &at(ms))));
    }
    assert_eq!(asked, [Verb::Stop]);
    // Or it had not come so far: nothing runs, nothing is counted, and it may be started.
    let mut policy = Policy::new(rules(), "home", false, note, &at(1_500));
    policy.act(&up, &at(7_000));
    policy.answered(Ok(seen(Machine::Off)), &at(7_100));
    assert_eq!((policy.note().runs.as_ref(), policy.note().used_ms.len()), (None, 0));
}

#[test]
fn one_that_somebody_else_has_started_is_told_once_and_left_alone() {
    let mut policy = with(Machine::On, Note::default());
    let up = inputs(Link::Up(7_200_000));
    let mut told = Vec::new();
    for minute in 0..600 {
        let actions = policy.act(&up, &at(minute * 60_000));
        told.extend(tales(&actions));
        for verb in calls(&actions) {
            assert_eq!(verb, Verb::Describe);
            told.extend(tales(&policy.answered(Ok(seen(Machine::On)), &at(minute * 60_000))));
        }
    }
    assert_eq!(told, ["jump-foreign"]);
    assert!(policy.note().used_ms.is_empty());
}

#[test]
fn a_month_that_is_used_up_is_told_once_and_a_person_may_go_on() {
    let used_ms = [("2026-11".to_owned(), 50 * HOUR)].into();
    let mut policy = with(Machine::Off, Note { used_ms, ..Note::default() });
    let mut told = 0;
    for ms in (0..600_000).step_by(1000) {
        let actions = policy.act(&inputs(Link::Down(600_000)), &at(ms));
        told += tales(&actions).len();
        assert!(!calls(&actions).contains(&Verb::Start));
    }
    // Told when it was first seen, in the beginning.
    assert_eq!((told, policy.note().told.cap.as_ref().unwrap().0.as_str()), (0, "2026-11"));
    assert!(matches!(policy.reach(), Reach::Nowhere { by_plan: false, .. }));
    // By hand, afterwards.
    let now = at(601_000);
    let wish = Some(Wish { start: true, at: now.stamp.clone() });
    let inputs = Inputs { wish, ..inputs(Link::Down(600_000)) };
    assert_eq!(calls(&policy.act(&inputs, &now)), [Verb::Describe]);
    policy.answered(Ok(seen(Machine::Off)), &now);
    assert_eq!(calls(&policy.act(&inputs, &now)), [Verb::Start]);
    // A wish of before is ended with its month.
    let mut note = running();
    note.used_ms = [("2026-11".to_owned(), 50 * HOUR - 1000)].into();
    let mut policy = with(Machine::On, note);
    let early = Inputs { wish: self::wish(true), ..inputs.clone() };
    let mut asked = Vec::new();
    for second in 1..120 {
        asked.extend(calls(&policy.act(&early, &at(second * 1000))));
    }
    assert_eq!(asked, [Verb::Stop]);
    // But not while somebody is logged in.
    let mut note = running();
    note.used_ms = [("2026-11".to_owned(), 50 * HOUR)].into();
    let mut policy = with(Machine::On, note);
    let busy = Inputs { people: (1, 0), wish: None, ..inputs };
    for second in 1..300 {
        let calls = calls(&policy.act(&busy, &at(second * 1000)));
        assert!(!calls.contains(&Verb::Stop), "{second}");
    }
}

#[test]
fn what_goes_wrong_at_the_provider_is_told_as_soon_as_it_matters() {
    // The verb that fails, why, whether it is needed; and after how many seconds it is told.
    for (kind, needed, want_s) in [
        (Kind::Refused, true, 0..=2),
        (Kind::Wrong, false, 0..=2),
        (Kind::Busy, true, 60..=120),
        (Kind::Away, true, 60..=120),
        (Kind::Away, false, 86_400..=87_100),
    ] {
        let mut policy = policy(Note::default());
        let link = if needed { Link::Down(600_000) } else { Link::Up(600_000) };
        let (mut told, mut tries) = (None, 0_u64);
        for second in 0..88_000 {
            let actions = policy.act(&inputs(link.clone()), &at(second * 1000));
            if tales(&actions).contains(&"jump-trouble") {
                assert!(told.is_none(), "twice");
                told = Some(second);
            }
            if !calls(&actions).is_empty() {
                tries += 1;
                policy.answered(Err(trouble(kind)), &at(second * 1000));
            }
        }
        assert!(told.is_some_and(|at| want_s.contains(&at)), "{kind:?} {needed}: {told:?}");
        let most = match (kind, needed) {
            (Kind::Refused | Kind::Wrong, _) => 300,
            (_, true) => 3_000,
            _ => 150,
        };
        assert!((10..=most).contains(&tries), "{kind:?} {needed}: {tries}");
        // And once it does: that.
        policy.kick(&at(88_000_000));
        policy.act(&inputs(Link::Up(600_000)), &at(88_000_000));
        let actions = policy.answered(Ok(seen(Machine::Off)), &at(88_000_000));
        assert_eq!(tales(&actions), ["jump-trouble-over"], "{kind:?} {needed}");
    }
}

#[test]
fn a_provider_that_says_when_is_asked_then() {
    let mut policy = with(Machine::Off, Note::default());
    let down = inputs(Link::Down(600_000));
    policy.act(&down, &at(1_000));
    let retry_after = Some(Duration::from_secs(40));
    policy.answered(Err(Trouble { retry_after, ..trouble(Kind::Busy) }), &at(2_000));
    let first =
        (2_000..100_000).step_by(100).find(|ms| !calls(&policy.act(&down, &at(*ms))).is_empty());
    assert_eq!(first, Some(42_000));
}

#[test]
fn a_short_outage_does_nothing_and_a_line_that_flaps_is_down() {
    for (up_s, down_s, want) in [(600, 50, false), (5, 50, true), (100, 90, true)] {
        let mut policy = with(Machine::Off, Note::default());
        let mut started = false;
        for second in 0..3_600_u64 {
            let of = second % (up_s + down_s);
            let link = match of.checked_sub(up_s) {
                Some(down) => Link::Down(down * 1000),
                None => Link::Up(of * 1000),
            };
            let calls = calls(&policy.act(&inputs(link), &at(second * 1000)));
            started |= calls.contains(&Verb::Start);
            if !started && !calls.is_empty() {
                policy.answered(Ok(seen(Machine::Off)), &at(second * 1000));
            }
        }
        assert_eq!(started, want, "{up_s} s up, {down_s} s down");
    }
}

#[test]
fn a_link_of_which_nothing_is_known_is_told_after_some_time() {
    let mut policy = with(Machine::Off, Note::default());
    let unknown = inputs(Link::Unknown("linkprobe watch does not run".into()));
    let told: Vec<u64> = (0..3_600)
        .filter(|second| !tales(&policy.act(&unknown, &at(second * 1000))).is_empty())
        .collect();
    assert_eq!(told, [600]);
}

#[test]
fn who_stops_it_by_hand_has_it_off_until_the_line_was_back() {
    let mut policy = with(Machine::On, running());
    let held = |link| Inputs { wish: wish(false), ..inputs(link) };
    let now = at(61_000);
    policy.act(&held(Link::Down(600_000)), &at(1_000));
    assert_eq!(calls(&policy.act(&held(Link::Down(600_000)), &now)), [Verb::Stop]);
    assert_eq!(tales(&policy.answered(Ok(seen(Machine::Off)), &now)), ["jump-stopped"]);
    assert!(calls(&policy.act(&held(Link::Down(900_000)), &at(62_000))).is_empty());
    assert_eq!(policy.note().done, None);
    policy.act(&held(Link::Up(1_000)), &at(63_000));
    assert_eq!(policy.note().done, Some(at(0).stamp));
    // The next outage is another.
    policy.answered(Ok(seen(Machine::Off)), &at(63_000));
    let mut asked = Vec::new();
    for ms in (64_000..200_000).step_by(1000) {
        for verb in calls(&policy.act(&held(Link::Down(ms)), &at(ms))) {
            asked.push(verb);
            if verb == Verb::Describe {
                policy.answered(Ok(seen(Machine::Off)), &at(ms));
            }
        }
    }
    assert!(asked.ends_with(&[Verb::Start]), "{asked:?}");
}
