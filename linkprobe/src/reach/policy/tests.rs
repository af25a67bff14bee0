use super::*;

const RULES: Rules = Rules { check_every_ms: 10_000, alert_after_ms: 60_000 };
const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// What comes of a line for which `seen` says how it is at each moment, and how often it was looked at. A
/// look takes 30 ms, or 2.5 s when nobody answers.
fn story(
    policy: &mut Policy,
    from_ms: u64,
    until_ms: u64,
    seen: impl Fn(u64) -> Result<(), Cause>,
) -> (Vec<(u64, Action)>, usize) {
    let (mut now, mut story, mut looks) = (from_ms, Vec::new(), 0);
    loop {
        now = now.max(policy.due_ms());
        if now >= until_ms {
            return (story, looks);
        }
        if now >= policy.look_ms() {
            let (begun, seen) = (now, seen(now));
            now += if seen == Err(Cause::Silent) { 2_500 } else { 30 };
            looks += 1;
            story.extend(policy.looked(begun, now, seen).into_iter().map(|action| (now, action)));
        } else {
            let told = policy.tick(now);
            assert!(told.is_some(), "at {now} there was nothing to do");
            story.extend(told.map(|action| (now, action)));
        }
    }
}

/// A line that is silent in these times.
fn silent(times: &[(u64, u64)]) -> impl Fn(u64) -> Result<(), Cause> {
    move |now| match times.iter().any(|(from, to)| (*from..*to).contains(&now)) {
        true => Err(Cause::Silent),
        false => Ok(()),
    }
}

fn fresh() -> Policy {
    Policy::new(RULES, 0, 0)
}

fn told(story: &[(u64, Action)]) -> Vec<(u64, Action)> {
    let is_told = |(_, action): &&(u64, Action)| {
        matches!(action, Action::TellDown(_) | Action::TellUp { .. })
    };
    story.iter().filter(is_told).copied().collect()
}

#[test]
fn a_line_that_works_is_up_at_once_and_nobody_is_told() {
    let mut policy = fresh();
    assert_eq!((policy.is_up(), policy.since_ms()), (None, None));
    let (story, looks) = story(&mut policy, 0, HOUR, |_| Ok(()));
    assert_eq!(story, [(30, Action::Up { down_ms: None })]);
    assert!((359..=361).contains(&looks), "{looks}");
    assert_eq!((policy.is_up(), policy.since_ms()), (Some(true), Some(0)));
}

#[test]
fn a_look_or_two_that_fail_are_nothing() {
    for (from, to) in [(MINUTE, MINUTE + 1_000), (MINUTE, MINUTE + 4_000)] {
        let (story, _) = story(&mut fresh(), 0, HOUR, silent(&[(from, to)]));
        assert_eq!(story.len(), 1, "{story:?}");
    }
}

#[test]
fn an_outage_is_known_within_seconds_told_after_its_time_and_told_to_be_over() {
    let (story, _) = story(&mut fresh(), 0, HOUR, silent(&[(5 * MINUTE, 15 * MINUTE)]));
    let [
        _,
        (down, Action::Down(Cause::Silent)),
        (said, Action::TellDown(_)),
        (up, is_up),
        (over, is_over),
    ] = story[..]
    else {
        panic!("{story:?}")
    };
    assert!((5 * MINUTE..5 * MINUTE + 20_000).contains(&down), "{down}");
    // As long after it began as is configured, to the second.
    let began = said - MINUTE;
    assert!((5 * MINUTE..5 * MINUTE + 10_100).contains(&began), "{began}");
    assert!((15 * MINUTE..15 * MINUTE + 15_000).contains(&up), "{up}");
    assert!(over >= up && over < up + 6_000, "{over}");
    let Action::Up { down_ms: Some(one) } = is_up else { panic!("{is_up:?}") };
    assert_eq!(is_over, Action::TellUp { down_ms: one });
    assert!((590_000..=610_000).contains(&one), "{one}");
}

#[test]
fn what_this_machine_sees_without_a_packet_is_so_at_once() {
    let causes = [
        Cause::NoInterface,
        Cause::InterfaceDown,
        Cause::NoAddress,
        Cause::NotOurs,
        Cause::NoCarrier,
    ];
    for cause in causes {
        let mut policy = fresh();
        policy.looked(0, 30, Ok(()));
        assert_eq!(policy.looked(10_000, 10_000, Err(cause)), [Action::Down(cause)]);
        // And back: not by one look.
        assert_eq!(policy.looked(11_000, 11_030, Ok(())), []);
        let up = policy.looked(12_030, 12_060, Ok(()));
        assert_eq!(up, [Action::Up { down_ms: Some(1_000) }]);
    }
    let mut policy = fresh();
    policy.looked(0, 30, Ok(()));
    for guess in [Cause::NoRoute, Cause::StrictFilter] {
        assert_eq!(policy.looked(10_000, 12_500, Err(guess)), [], "a guess");
    }
}

#[test]
fn a_short_outage_is_known_and_nobody_is_told() {
    let (story, _) = story(&mut fresh(), 0, HOUR, silent(&[(5 * MINUTE, 5 * MINUTE + 40_000)]));
    assert_eq!(story.len(), 3, "{story:?}");
    assert_eq!(told(&story), []);
}

#[test]
fn a_line_that_flaps_each_minute_is_told_a_few_times_an_hour() {
    // Ten hours, in each minute as many seconds silent: six an hour at the most, where it is down for half
    // of the time.
    for (silent_s, most) in [(20, 0), (30, 60), (45, 6), (55, 6)] {
        let flaps = |now: u64| match now % MINUTE < silent_s * 1000 {
            true => Err(Cause::Silent),
            false => Ok(()),
        };
        let (story, _) = story(&mut fresh(), 0, 10 * HOUR, flaps);
        let told = told(&story);
        assert!(told.len() <= most, "{silent_s}: {told:?}");
        let changes = story.len() - told.len();
        assert!(changes > 500, "{changes}");
    }
}

#[test]
fn a_line_that_answers_each_second_look_only_is_down() {
    let mut policy = fresh();
    policy.looked(0, 30, Ok(()));
    let (mut now, mut down) = (0, false);
    for look in 0..40 {
        now = policy.due_ms().max(now);
        let seen = if look % 4 == 3 { Ok(()) } else { Err(Cause::Silent) };
        down |= policy.looked(now, now + 30, seen).iter().any(|a| matches!(a, Action::Down(_)));
        now += 30;
    }
    assert!(down && policy.is_up() == Some(false));
}

#[test]
fn one_in_three_lost_is_no_outage() {
    let mut policy = fresh();
    let (mut now, mut changes) = (0, 0);
    for look in 0..300 {
        now = policy.due_ms().max(now);
        let seen = if look % 3 == 1 { Err(Cause::Silent) } else { Ok(()) };
        changes += policy.looked(now, now + 30, seen).len();
        now += 30;
    }
    assert_eq!((changes, policy.is_up()), (1, Some(true)));
}

#[test]
fn who_was_told_before_a_restart_is_told_its_end_and_not_its_beginning() {
    let resume = || Policy::resumed(RULES, HOUR, HOUR - 600_000, Cause::Silent);
    let (silence, _) = story(&mut resume(), HOUR, 2 * HOUR, |_| Err(Cause::Silent));
    assert_eq!(silence, []);
    let (back, _) = story(&mut resume(), HOUR, 2 * HOUR, |_| Ok(()));
    assert_eq!(told(&back).len(), 1, "{back:?}");
    assert!(matches!(
        back[..],
        [(_, Action::Up { down_ms: Some(600_000) }), (_, Action::TellUp { down_ms: 600_000 })]
    ));
}

#[test]
fn who_has_just_begun_waits_for_the_other_lines_before_he_tells() {
    let rules = Rules { alert_after_ms: 0, ..RULES };
    let mut policy = Policy::new(rules, 0, 30_000);
    let (story, _) = story(&mut policy, 0, MINUTE, |_| Err(Cause::NoInterface));
    assert_eq!(story[0], (30, Action::Down(Cause::NoInterface)));
    assert_eq!(told(&story), [(30_000, Action::TellDown(Cause::NoInterface))]);
}

#[test]
fn a_sleep_of_the_machine_is_no_outage_and_a_look_is_due_after_it() {
    let mut policy = fresh();
    story(&mut policy, 0, HOUR, |_| Ok(()));
    assert!(policy.look_ms() < 9 * HOUR, "due when it wakes");
    let (after, _) = story(&mut policy, 9 * HOUR, 10 * HOUR, |_| Ok(()));
    assert_eq!(after, []);
    // One that was down when it fell asleep, and is up when it wakes.
    let mut policy = fresh();
    story(&mut policy, 0, HOUR, silent(&[(HOUR - 10 * MINUTE, DAY)]));
    let (after, _) = story(&mut policy, 9 * HOUR, 10 * HOUR, |_| Ok(()));
    let [(_, Action::Up { .. }), (_, Action::TellUp { down_ms })] = after[..] else {
        panic!("{after:?}")
    };
    assert!((8 * HOUR..9 * HOUR).contains(&down_ms), "{down_ms}");
}

#[test]
fn a_line_that_is_looked_at_seldom_is_known_as_quickly_once_it_is_in_doubt() {
    let rules = Rules { check_every_ms: HOUR, alert_after_ms: MINUTE };
    let mut policy = Policy::new(rules, 0, 0);
    let (story, looks) = story(&mut policy, 0, 3 * HOUR, silent(&[(30 * MINUTE, 75 * MINUTE)]));
    let at: Vec<u64> = story.iter().map(|(at, _)| *at / 1000).collect();
    assert_eq!(story.len(), 5, "{story:?}");
    assert!((3600..3615).contains(&at[1]) && (3660..3662).contains(&at[2]), "{at:?}");
    assert!((4500..4515).contains(&at[3]) && (4505..4520).contains(&at[4]), "{at:?}");
    assert!(looks < 100, "{looks}");
}

#[test]
fn a_line_that_is_down_for_a_day_costs_little() {
    let (_, looks) = story(&mut fresh(), 0, DAY, |_| Err(Cause::Silent));
    assert!(looks < 3_200, "{looks}");
}

#[test]
fn a_change_of_the_network_is_looked_at_now() {
    let mut policy = fresh();
    policy.looked(0, 30, Ok(()));
    policy.hurry(2_000);
    assert_eq!((policy.look_ms(), policy.due_ms()), (2_000, 2_000));
    policy.hurry(3_000);
    assert_eq!(policy.look_ms(), 2_000);
    assert!(!policy.is_doubtful());
    policy.looked(2_000, 4_500, Err(Cause::Silent));
    assert!(policy.is_doubtful());
    assert_eq!(policy.look_ms(), 5_500);
}
