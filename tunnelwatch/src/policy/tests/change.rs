//! What changes all the time: the network, a line that hardly ever works, and who has the port.

use notifier::daemon::haste::Haste;

use super::*;

/// Starts within each whole minute from `from_ms` on, where an address comes and goes four times a second.
fn starts_in_a_storm(cause: Cause, after_ms: u64, minutes: u64) -> Vec<usize> {
    let rules = Rules { ports: 1, ..RULES };
    let (mut policy, mut haste) = (Policy::new(rules, 0), Haste::default());
    let (mut story, mut ends): (Story, Option<u64>) = (Vec::new(), None);
    for now in (0..minutes * 60_000).step_by(50) {
        if now % 250 == 0 {
            haste.changed(now);
        }
        if haste.heeds(now) {
            policy.network(now);
        }
        if ends.take_if(|at| now >= *at).is_some() {
            policy.ended(cause, now);
        }
        for action in policy.act(now) {
            match action {
                Action::Start { .. } => ends = Some(now + after_ms),
                Action::Look => drop(policy.no_way(now)),
                _ => {}
            }
            story.push((now, action));
        }
    }
    // Any minute, and not those alone that begin with the storm.
    let begins = (0..(minutes - 1) * 60_000).step_by(5_000);
    begins.map(|from| starts(&story, from, from + 60_000)).collect()
}

#[test]
fn a_storm_of_changes_leaves_each_cause_its_pace() {
    for (cause, after_ms, least, most) in [
        (Cause::Refused, 50, 4, 12),
        (Cause::PortBusy, 300, 4, 12),
        (Cause::KeyRejected, 400, 0, 4),
        (Cause::HostKey, 400, 1, 2),
        (Cause::NoSsh, 10, 1, 2),
        (Cause::BadOption, 10, 1, 2),
        // Its own pace and the changes: nobody is reached who could mind.
        (Cause::Unreachable, 50, 4, 20 + 8),
    ] {
        let found = starts_in_a_storm(cause, after_ms, 15);
        let fits = found.iter().all(|starts| (least..=most).contains(starts));
        assert!(fits, "{cause:?}: {found:?} in a minute");
    }
}

#[test]
fn a_change_of_the_network_is_tried_at_once_where_it_may_be_the_remedy() {
    for (cause, tries_now) in [
        (Cause::Refused, true),
        (Cause::Unreachable, true),
        (Cause::Dns, true),
        (Cause::Silent, true),
        (Cause::PortBusy, true),
        (Cause::KeyRejected, false),
        (Cause::HostKey, false),
        (Cause::WrongHost, false),
        (Cause::NoSsh, false),
        (Cause::BadOption, false),
        (Cause::RunDir, false),
    ] {
        let mut policy = Policy::new(Rules { ports: 1, ..RULES }, 0);
        policy.act(0);
        policy.ended(cause, 100);
        policy.act(150);
        policy.act(policy.wake_ms());
        let now = policy.wake_ms() - 100;
        policy.ended(cause, now);
        policy.network(now + 10);
        let starts = policy.act(now + 10).iter().any(|one| matches!(one, Action::Start { .. }));
        assert_eq!(starts, tries_now, "{cause:?}");
    }
}

#[test]
fn the_reason_stays_when_somebody_has_it_tried_again() {
    let mut policy = Policy::new(RULES, 0);
    policy.act(0);
    policy.ended(Cause::Refused, 100);
    policy.kick(119_000);
    assert_eq!(policy.act(119_000), [Action::Start { port: 0 }]);
    assert_eq!(policy.cause(), Some(Cause::Refused));
    assert_eq!(policy.act(120_000), [Action::Look, Action::TellDown(Cause::Refused)]);
    // It is counted anew: four tries of a rejected key for each time that somebody asks.
    let mut policy = Policy::new(RULES, 0);
    let mut gaps = Vec::new();
    for _ in 0..6 {
        let at = policy.wake_ms();
        policy.act(at);
        policy.ended(Cause::KeyRejected, at + 10);
        if gaps.len() == 3 {
            policy.kick(at + 20);
        }
        gaps.push(policy.phase);
        policy.act(at + 11);
    }
    let waits: Vec<u64> = gaps
        .iter()
        .map(|phase| match phase {
            Phase::Waiting { until_ms } => *until_ms,
            _ => 0,
        })
        .collect();
    assert_eq!(waits[4] - waits[3], 5_000, "{waits:?}");
}

#[test]
fn a_tunnel_that_hardly_ever_works_is_told_and_not_taken_back() {
    const DAY_MS: u64 = 24 * 3_600_000;
    for (up_ms, down_ms) in [(5_000, 110_000), (3_000, 20_000), (20_000, 100_000)] {
        let (_, story) = live(RULES, &mut Flaps { up_ms, down_ms }, DAY_MS);
        let told = told(&story);
        let [(at, Action::TellDown(_)), rest @ ..] = &told[..] else { panic!("{told:?}") };
        assert!(*at <= 400_000, "{up_ms}/{down_ms}: told at {at}");
        assert!(rest.is_empty(), "{up_ms}/{down_ms}: {told:?}");
    }
    // What works more than half of the time is no trouble of theirs.
    for (up_ms, down_ms) in [(20_000, 10_000), (100_000, 90_000)] {
        let (_, story) = live(RULES, &mut Flaps { up_ms, down_ms }, DAY_MS);
        assert_eq!(told(&story), [], "{up_ms}/{down_ms}");
    }
}

#[test]
fn an_outage_after_one_that_was_nearly_told_is_told_with_both_and_without_what_is_long_ago() {
    for (calm_ms, told_ms) in [(20_000, 20_000), (100_000, 100_000), (600_000, 120_000)] {
        let mut news = News::new(120_000, 0);
        assert_eq!(news.up(100_000, 100_000), None);
        let again = 100_000 + calm_ms;
        assert_eq!(news.up(100_000, again - 1), None);
        news.fails(again);
        let due = again + told_ms.max(120_000 - 100_000_u64.saturating_sub(calm_ms));
        assert_eq!(news.due_ms(None, false), due, "{calm_ms}");
        assert!(!news.down(Cause::Closed, false, due - 1) && news.down(Cause::Closed, false, due));
    }
}

#[test]
fn an_outage_that_begins_soon_after_a_short_one_is_over_as_soon_as_any() {
    // How long it was down before, then up, and how long it has to work until its end is told.
    for (before_ms, up_ms, settled_ms) in
        [(1_500, 1_000, 5_000), (40_000, 5_000, 5_000), (110_000, 5_000, 30_000)]
    {
        let mut news = News::new(120_000, 0);
        assert_eq!(news.up(before_ms, before_ms), None);
        news.fails(before_ms + up_ms);
        assert!(news.down(Cause::Refused, false, 900_000));
        assert_eq!(news.due_ms(Some(1_000_000), false), 1_000_000 + settled_ms, "{before_ms}");
        assert!(news.up(1_000_000, 1_000_000 + settled_ms - 1).is_none());
        assert!(news.up(1_000_000, 1_000_000 + settled_ms).is_some());
    }
}

#[test]
fn with_other_tunnels_beside_it_nothing_is_told_in_the_first_seconds() {
    for (quiet_ms, at_ms) in [(0, 400), (10_000, 10_000)] {
        let rules = Rules { quiet_ms, ..RULES };
        let mut world = Outage { from_ms: 0, to_ms: 900_000, after_ms: 400, cause: Cause::HostKey };
        let (_, story) = live(rules, &mut world, 60_000);
        assert_eq!(told(&story), [(at_ms, &Action::TellDown(Cause::HostKey))]);
        // And a tunnel whose trouble is over by then has nothing to tell.
        let mut policy = Policy::new(rules, 0);
        policy.act(0);
        policy.ended(Cause::HostKey, 100);
        assert_eq!(policy.act(200).is_empty(), quiet_ms > 0);
        assert!(policy.wake_ms() > 200);
    }
}

/// Home's forward never works; the others do.
struct BadHome {
    port: usize,
    on_home: usize,
    to_ms: u64,
}

impl World for BadHome {
    fn start(&mut self, port: usize, _: u64) -> Option<(u64, Cause)> {
        self.port = port;
        self.on_home += usize::from(port == 0);
        None
    }
    fn look(&mut self, at_ms: u64) -> Result<(), Cause> {
        if self.port == 0 && at_ms < self.to_ms { Err(Cause::ForwardBroken) } else { Ok(()) }
    }
    fn home(&mut self, _: u64) -> bool {
        self.port = 0;
        true
    }
}

#[test]
fn a_home_port_whose_forward_never_works_is_left_for_the_next_and_tried_seldom() {
    const HOUR_MS: u64 = 3_600_000;
    let mut world = BadHome { port: 0, on_home: 0, to_ms: HOUR_MS };
    let (policy, story) = live(RULES, &mut world, HOUR_MS + 700_000);
    let fallback = story.iter().find(|(_, action)| *action == Action::Start { port: 1 });
    assert!(fallback.is_some_and(|(at, _)| *at <= 65_000), "{fallback:?}");
    let mut up_ms = 0;
    for two in story
        .iter()
        .filter(|(_, a)| matches!(a, Action::Identify | Action::Stop))
        .collect::<Vec<_>>()
        .windows(2)
    {
        up_ms += if two[0].1 == Action::Identify { two[1].0 - two[0].0 } else { 0 };
    }
    assert!(up_ms > HOUR_MS / 5 * 4, "{up_ms} ms on the fallback");
    assert!(world.on_home <= 20, "{} starts at home", world.on_home);
    // Once it works, it is home that it stays at.
    assert_eq!((policy.port(), policy.is_up()), (0, true));
    // With one port there is nowhere to go.
    let mut world = BadHome { port: 0, on_home: 0, to_ms: 600_000 };
    let (policy, _) = live(Rules { ports: 1, ..RULES }, &mut world, 700_000);
    assert_eq!((policy.port(), policy.is_up()), (0, true));
}

#[test]
fn when_all_ports_are_busy_each_is_tried_at_once_and_then_at_most_twelve_in_a_minute() {
    struct Busy(Vec<usize>);
    impl World for Busy {
        fn start(&mut self, port: usize, _: u64) -> Option<(u64, Cause)> {
            self.0.push(port);
            Some((300, Cause::PortBusy))
        }
        fn look(&mut self, _: u64) -> Result<(), Cause> {
            Err(Cause::ForwardBroken)
        }
    }
    for ports in [1, 2, 3, 8] {
        let mut world = Busy(Vec::new());
        let (_, story) = live(Rules { ports, ..RULES }, &mut world, 600_000);
        assert!(starts(&story, 0, 5_000) >= ports, "{ports} ports are tried at once");
        assert!((0..ports).all(|port| world.0[port] == port), "{:?}", world.0);
        let all =
            story.iter().filter(|(_, a)| matches!(a, Action::Start { .. })).map(|(at, _)| *at);
        let all: Vec<u64> = all.collect();
        let gaps: Vec<u64> = all.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps[ports - 1..].iter().all(|gap| *gap >= 3_000), "{ports} ports: {gaps:?}");
        for from in (0..540_000).step_by(1_000) {
            let found = starts(&story, from, from + 60_000);
            assert!(found <= 12, "{ports} ports: {found} in the minute from {from}");
        }
        assert!(starts(&story, 540_000, 600_000) >= 5, "{ports} ports: none gives up");
    }
}

/// Two machines with one key, by tenths of a second, and what each of them tells.
fn fight(rules: Rules, until_ms: u64) -> [Story; 2] {
    let mut sides = [Policy::new(rules, 0), Policy::new(rules, 3_000)];
    let mut stories = [Vec::new(), Vec::new()];
    let mut holders: [Option<usize>; 2] = [None, None];
    let (mut busy, mut asked) = ([None::<u64>; 2], [None::<u64>; 2]);
    for now in (0..until_ms).step_by(100) {
        for me in [0, 1] {
            let other = 1 - me;
            if busy[me].take_if(|at| now >= *at).is_some() {
                sides[me].ended(Cause::PortBusy, now);
            }
            if asked[me].take_if(|at| now >= *at).is_some() {
                if holders[0] == Some(other) {
                    holders[0] = None;
                    sides[other].ended(Cause::Closed, now);
                }
                sides[me].kick(now);
            }
            for action in sides[me].act(now) {
                match action {
                    Action::Start { port } => match holders[port] {
                        None => {
                            holders = holders.map(|holder| holder.filter(|held| *held != me));
                            holders[port] = Some(me);
                        }
                        Some(_) => busy[me] = Some(now + 300),
                    },
                    Action::Stop => {
                        holders = holders.map(|holder| holder.filter(|held| *held != me));
                    }
                    Action::Look => drop(sides[me].proved(now)),
                    Action::Release => asked[me] = Some(now + 500),
                    Action::GoHome => {
                        let free = holders[0].is_none();
                        if free {
                            holders = [Some(me), holders[1].filter(|held| *held != me)];
                        }
                        sides[me].went_home(free, now);
                    }
                    _ => {}
                }
                stories[me].push((now, action));
            }
        }
    }
    stories
}

#[test]
fn two_machines_with_one_key_do_not_fight_for_ever_and_it_is_told() {
    for ports in [1, 2] {
        let stories = fight(Rules { ports, release: true, ..RULES }, 3_600_000);
        for story in &stories {
            let count =
                |wanted: fn(&Action) -> bool| story.iter().filter(|(_, a)| wanted(a)).count();
            let releases = count(|action| *action == Action::Release);
            assert!(releases <= 18, "{ports} ports: {releases} releases in an hour");
            let moved = count(|action| matches!(action, Action::TellMoved { .. }));
            assert!(moved <= 12, "{ports} ports: {moved} times told that it moved");
            assert!(starts(story, 0, 3_600_000) <= 12 * 60, "{ports} ports");
        }
        let taken = |story: &Story| story.iter().filter(|(_, a)| *a == Action::TellTaken).count();
        let taken = stories.each_ref().map(taken);
        assert!(taken.iter().sum::<usize>() >= 1, "{ports} ports: nobody is told");
        assert!(taken.iter().all(|told| *told <= 1), "{ports} ports: {taken:?}");
    }
}

#[test]
fn a_line_whose_address_changes_has_its_old_session_asked_away_each_time() {
    let mut rival = Rival::default();
    assert!(rival.asks(0) && !rival.asks(5_000), "once for each time");
    rival.proved();
    assert!(rival.asks(200_000));
    rival.proved();
    assert!(rival.asks(400_000));
    rival.proved();
    assert!(!rival.asks(500_000), "three times in ten minutes");
    assert!(rival.asks(601_000));
    // One that never works asks again some time.
    assert!(!rival.asks(900_000));
    let mut rival = Rival::default();
    assert!(rival.asks(0) && !rival.asks(599_000) && rival.asks(600_000));
    // What ends for another reason is no loss to anybody.
    for (at_home, tells) in [(true, [false, false, true]), (false, [false; 3])] {
        let mut rival = Rival::default();
        let found = [0, 100_000, 200_000].map(|now| {
            rival.ends(at_home);
            rival.holds(now)
        });
        assert_eq!(found, tells);
    }
}
