use super::*;

const RULES: Rules = Rules {
    check_every_ms: 20_000,
    alert_after_ms: 120_000,
    can_start: true,
    has_keys: true,
    quiet_ms: 0,
};

const HOUR_MS: u64 = 3_600_000;

/// What the world has to show, by the time in milliseconds.
struct World {
    /// What a look finds, given when the tunnel was started last.
    look: fn(u64, Option<u64>) -> Seen,
    /// What a comparison finds.
    compare: fn(u64) -> Identity,
    /// What goes wrong with a start.
    start: fn(u64) -> Option<Cause>,
    /// When somebody kicks.
    kick: fn(u64) -> bool,
}

/// All is well.
const WELL: World = World {
    look: |_, _| Seen::Sshd,
    compare: |_| Identity::Same,
    start: |_| None,
    kick: |_| false,
};

/// How long a look that finds nothing, a comparison and a start take.
const LOOK_MS: u64 = 5_000;
const COMPARE_MS: u64 = 400;
const START_MS: u64 = 1_000;

type Story = Vec<(u64, Action)>;

/// Lets a policy live in a world, a tenth of a second at a time.
fn live(rules: Rules, world: &World, until_ms: u64) -> (Policy, Story) {
    let mut policy = Policy::new(rules, 0);
    let (mut story, mut begun): (Story, Option<u64>) = (Vec::new(), None);
    let (mut look, mut compare, mut start) = (None::<(u64, Seen)>, None::<u64>, None::<u64>);
    for now in (0..until_ms).step_by(100) {
        let mut actions = Vec::new();
        if (world.kick)(now) {
            policy.kick(now);
        }
        if let Some((_, seen)) = look.take_if(|(at, _)| now >= *at) {
            actions.extend(policy.seen(seen, now));
        }
        if compare.take_if(|at| now >= *at).is_some() {
            actions.extend(policy.compared((world.compare)(now), now));
        }
        if start.take_if(|at| now >= *at).is_some() {
            policy.started((world.start)(now), now);
        }
        let due = policy.wake_ms() <= now;
        let acts = policy.act(now);
        assert_eq!(due, !acts.is_empty(), "{now}: {acts:?}: it wakes for something, and in time");
        actions.extend(acts);
        for action in &actions {
            match action {
                Action::Look => {
                    assert!(look.is_none(), "two at once");
                    let seen = (world.look)(now, begun);
                    let took = if seen == Seen::Nothing { LOOK_MS } else { 100 };
                    look = Some((now + took, seen));
                }
                Action::Compare => {
                    assert!(compare.replace(now + COMPARE_MS).is_none(), "two at once");
                }
                Action::Start { .. } => {
                    assert!(start.replace(now + START_MS).is_none(), "two at once");
                    begun = Some(now);
                }
                Action::TellDown(_) | Action::TellUp { .. } => {}
            }
        }
        story.extend(actions.into_iter().map(|action| (now, action)));
    }
    (policy, story)
}

fn times(story: &Story, is: impl Fn(&Action) -> bool) -> Vec<u64> {
    story.iter().filter(|(_, action)| is(action)).map(|(at, _)| *at).collect()
}

fn starts(story: &Story) -> Vec<u64> {
    times(story, |action| matches!(action, Action::Start { .. }))
}

fn told(story: &Story) -> Vec<(u64, Action)> {
    let tells = |action: &Action| matches!(action, Action::TellDown(_) | Action::TellUp { .. });
    story.iter().filter(|(_, action)| tells(action)).copied().collect()
}

#[test]
fn what_works_is_looked_at_seldom_compared_more_seldom_and_never_started() {
    let (policy, story) = live(RULES, &WELL, HOUR_MS);
    assert!(policy.is_up() && policy.cause().is_none() && policy.since_ms() < 1_000);
    assert!(starts(&story).is_empty(), "it works already");
    let looks = times(&story, |action| *action == Action::Look).len();
    let compares = times(&story, |action| *action == Action::Compare).len();
    assert!((175..=181).contains(&looks) && (6..=7).contains(&compares), "{looks} {compares}");
    assert_eq!(told(&story), []);
    // Without keys a banner is the proof.
    let (policy, story) = live(Rules { has_keys: false, ..RULES }, &WELL, 60_000);
    assert!(policy.is_up() && times(&story, |action| *action == Action::Compare).is_empty());
}

#[test]
fn what_is_not_there_is_started_at_once_and_what_has_gone_after_three_looks() {
    // There once it was started; gone for good at 10 min, until it is started again.
    let look = |now: u64, begun: Option<u64>| match begun {
        Some(begun) if now < 600_000 || begun > 600_000 => {
            if now > begun + 3_000 {
                Seen::Sshd
            } else {
                Seen::Nothing
            }
        }
        _ => Seen::Nothing,
    };
    let (policy, story) = live(RULES, &World { look, ..WELL }, 900_000);
    let [first, second] = starts(&story)[..] else { panic!("{:?}", starts(&story)) };
    assert!(first <= LOOK_MS + 100, "{first}");
    // The next look, three of them, and what is between them.
    assert!((610_000..640_000).contains(&second), "{second}");
    let anew = |at: u64| story.iter().find(|(then, _)| *then == at).unwrap().1;
    assert!(story.contains(&(first, Action::Start { anew: false })), "{:?}", anew(first));
    assert!(story.contains(&(second, Action::Start { anew: true })), "{:?}", anew(second));
    assert_eq!((policy.is_up(), told(&story)), (true, vec![]), "back before somebody was told");
}

#[test]
fn one_look_that_fails_is_nothing_and_a_short_cut_starts_nothing() {
    for (again, is_up) in [(Seen::Sshd, true), (Seen::Nothing, false)] {
        let mut policy = Policy::new(RULES, 0);
        policy.act(0);
        policy.seen(Seen::Sshd, 0);
        policy.compared(Identity::Same, 100);
        policy.act(20_000);
        policy.seen(Seen::Nothing, 25_000);
        assert!(policy.is_up(), "once is nothing");
        assert_eq!(policy.act(27_000), [Action::Look]);
        policy.seen(again, 27_100);
        assert_eq!(policy.is_up(), is_up, "{again:?}");
        assert_eq!(policy.act(27_200), [], "and two are no reason to start it anew");
    }
}

#[test]
fn a_long_outage_is_told_once_and_starts_become_seldom() {
    let look = |now: u64, _: Option<u64>| {
        if (600_000..600_000 + 6 * HOUR_MS).contains(&now) { Seen::Nothing } else { Seen::Sshd }
    };
    let (policy, story) = live(RULES, &World { look, ..WELL }, 7 * HOUR_MS);
    assert!(policy.is_up());
    let starts = starts(&story);
    let gaps: Vec<u64> = starts.windows(2).map(|two| (two[1] - two[0]) / 1_000).collect();
    assert!(gaps[..4].iter().zip([30, 60, 120, 300]).all(|(gap, least)| *gap >= least), "{gaps:?}");
    assert!(gaps[4..].iter().all(|gap| (600..620).contains(gap)), "{gaps:?}");
    let [(down, Action::TellDown(cause)), (up, Action::TellUp { down_ms })] = told(&story)[..]
    else {
        panic!("{:?}", told(&story))
    };
    assert_eq!(cause, Cause::NoAnswer);
    assert!((720_000..760_000).contains(&down), "{down}");
    let back = 600_000 + 6 * HOUR_MS;
    assert!(up - back <= 20_000 && down_ms.abs_diff(6 * HOUR_MS) < 60_000, "{up} {down_ms}");
}

#[test]
fn another_host_is_told_at_once_and_nothing_is_started_for_it() {
    let compare = |now: u64| match now {
        0..300_000 => Identity::Same,
        300_000..2_000_000 => Identity::Other,
        _ => Identity::Same,
    };
    let kick = |now: u64| now == 310_000;
    let (policy, story) = live(RULES, &World { compare, kick, ..WELL }, HOUR_MS);
    let [(down, Action::TellDown(Cause::WrongHost)), (up, Action::TellUp { .. })] =
        told(&story)[..]
    else {
        panic!("{:?}", told(&story))
    };
    // The kick has it compared; without one the next comparison would.
    assert!((310_000..311_500).contains(&down), "{down}");
    assert!((2_000_000..2_090_000).contains(&up), "{up}");
    assert_eq!((starts(&story), policy.is_up()), (vec![], true));
    let compares = times(&story, |action| *action == Action::Compare);
    let busy = compares.iter().filter(|at| (311_000..2_000_000).contains(*at)).count();
    assert!(busy <= 29, "{busy} in 28 min");
    // From the beginning, with nobody to kick.
    let world = World { compare: |_| Identity::Other, ..WELL };
    let (policy, story) = live(RULES, &world, 60_000);
    assert_eq!(told(&story).len(), 1);
    assert!(told(&story)[0].0 < 1_000 && starts(&story).is_empty());
    assert_eq!((policy.is_up(), policy.cause()), (false, Some(Cause::WrongHost)));
}

#[test]
fn who_cannot_be_compared_is_not_believed_but_who_was_known_is_for_a_while() {
    let (policy, story) = live(RULES, &World { compare: |_| Identity::Unknown, ..WELL }, 300_000);
    assert_eq!((policy.is_up(), policy.cause()), (false, Some(Cause::KeyUnknown)));
    let [(down, Action::TellDown(Cause::KeyUnknown))] = told(&story)[..] else {
        panic!("{:?}", told(&story))
    };
    assert!((120_000..122_000).contains(&down), "after alert-after: {down}");
    assert!(starts(&story).is_empty(), "it is there");
    let compare = |now: u64| if now < 300_000 { Identity::Same } else { Identity::Unknown };
    let world = World { compare, ..WELL };
    let (_, story) = live(RULES, &world, 2 * HOUR_MS);
    let [(down, _)] = told(&story)[..] else { panic!("{:?}", told(&story)) };
    assert!((600_000 + 120_000..800_000).contains(&down), "{down}");
}

#[test]
fn a_start_that_cannot_be_is_told_at_once_and_one_that_fails_when_it_is_late() {
    let nothing = |_: u64, _: Option<u64>| Seen::Nothing;
    for (start, cause, least, most) in [
        ((|_| Some(Cause::NoStart)) as fn(u64) -> _, Cause::NoStart, 0, 7_000),
        (|_| Some(Cause::StartFailed), Cause::StartFailed, 120_000, 121_000),
    ] {
        let (policy, story) = live(RULES, &World { look: nothing, start, ..WELL }, HOUR_MS);
        let [(down, Action::TellDown(found))] = told(&story)[..] else {
            panic!("{:?}", told(&story))
        };
        assert_eq!((found, policy.cause()), (cause, Some(cause)));
        assert!((least..most).contains(&down), "{down}");
        let starts = starts(&story).len();
        assert!((8..=10).contains(&starts), "{starts}");
    }
    // A later trouble that somebody has to mend is told beside one that nobody could.
    let start = |now: u64| (now > 200_000).then_some(Cause::NoStart);
    let (_, story) = live(RULES, &World { look: nothing, start, ..WELL }, HOUR_MS);
    let causes: Vec<Action> = told(&story).into_iter().map(|(_, action)| action).collect();
    assert_eq!(causes, [Action::TellDown(Cause::NoAnswer), Action::TellDown(Cause::NoStart)]);
    // One that is only watched is told, and no more.
    let rules = Rules { can_start: false, ..RULES };
    let (_, story) = live(rules, &World { look: nothing, ..WELL }, HOUR_MS);
    assert_eq!((starts(&story), told(&story).len()), (vec![], 1));
}

#[test]
fn something_that_is_no_sshd_is_no_reason_to_start_the_vpn() {
    let (policy, story) = live(RULES, &World { look: |_, _| Seen::Other, ..WELL }, HOUR_MS);
    assert_eq!((starts(&story), policy.cause()), (vec![], Some(Cause::NoSshd)));
    assert_eq!(told(&story).len(), 1);
    let looks = times(&story, |action| *action == Action::Look).len();
    assert!(looks <= 361, "it is an sshd perhaps that has too many guests: {looks}");
}

#[test]
fn nothing_is_told_before_something_is_known() {
    let rules = Rules { alert_after_ms: 0, ..RULES };
    let mut policy = Policy::new(rules, 0);
    assert_eq!(policy.act(0), [Action::Look]);
    assert_eq!(policy.wake_ms(), u64::MAX, "it waits for the look");
    assert_eq!(policy.seen(Seen::Nothing, 100), [Action::TellDown(Cause::NoAnswer)]);
}

#[test]
fn a_day_of_flapping_and_kicks_has_few_starts_and_few_alerts() {
    // Works for a while after each start, and whatever that does to the network is a kick.
    let look = |now: u64, begun: Option<u64>| match begun {
        Some(begun) if (2_000..22_000).contains(&(now - begun)) => Seen::Sshd,
        _ => Seen::Nothing,
    };
    let kick = |now: u64| now % 700 == 0;
    let (_, story) = live(RULES, &World { look, kick, ..WELL }, 24 * HOUR_MS);
    let starts = starts(&story);
    let most = starts.windows(2).map(|two| two[1] - two[0]).min().unwrap();
    assert!(most >= 30_000, "{most} ms between two");
    let compares = times(&story, |action| *action == Action::Compare);
    let least = compares.windows(2).map(|two| two[1] - two[0]).min().unwrap();
    assert!(least >= 15_000, "{least} ms between two comparisons");
    assert!(told(&story).len() <= 60, "{}", told(&story).len());
    // Without anybody who kicks, starts become seldom.
    let (_, story) = live(RULES, &World { look, ..WELL }, 24 * HOUR_MS);
    let starts = self::starts(&story).len();
    assert!(starts <= 150, "{starts}");
}

#[test]
fn changes_of_the_network_make_starts_no_more_frequent_than_one_in_two_minutes() {
    let mut policy = Policy::new(Rules { has_keys: false, ..RULES }, 0);
    let (mut starts, mut looks) = (Vec::new(), 0);
    for now in (0..6 * HOUR_MS).step_by(500) {
        if now % 10_000 == 0 {
            policy.network(now);
        }
        for action in policy.act(now) {
            match action {
                Action::Look => {
                    looks += 1;
                    policy.seen(Seen::Nothing, now);
                }
                Action::Start { .. } => {
                    starts.push(now);
                    policy.started(None, now);
                }
                _ => {}
            }
        }
    }
    // The first have their own pace, which is quicker.
    let gaps: Vec<u64> = starts.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps[2..].iter().all(|gap| (120_000..=135_000).contains(gap)), "{gaps:?}");
    assert!(looks <= 6 * 3_600 / 2, "{looks}");
}
