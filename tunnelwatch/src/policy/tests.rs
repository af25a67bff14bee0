use super::*;

mod change;
mod pace;

const RULES: Rules = Rules {
    ports: 2,
    check_every_ms: 15_000,
    alert_after_ms: 120_000,
    release: false,
    quiet_ms: 0,
};

/// What the world does to a tunnel, by the time.
trait World {
    /// How a try on a port, begun at a time, ends: after how long, and why; `None` when it works.
    fn start(&mut self, port: usize, at_ms: u64) -> Option<(u64, Cause)>;
    /// What a look finds.
    fn look(&mut self, at_ms: u64) -> Result<(), Cause>;
    /// When a session that works ends by itself, if it does.
    fn ends(&mut self, _at_ms: u64) -> Option<Cause> {
        None
    }
    fn home(&mut self, _at_ms: u64) -> bool {
        false
    }
}

/// What a policy did, with the time.
type Story = Vec<(u64, Action)>;

/// Lets a policy live in a world, a tenth of a second at a time.
fn live(rules: Rules, world: &mut impl World, until_ms: u64) -> (Policy, Story) {
    live_on(Policy::new(rules, 0), world, 0, until_ms)
}

/// As [`live`], with a policy that begins at a time.
fn live_on(
    mut policy: Policy,
    world: &mut impl World,
    from_ms: u64,
    until_ms: u64,
) -> (Policy, Story) {
    let (mut story, mut open, mut ends): (Story, bool, Option<(u64, Cause)>) =
        (Vec::new(), false, None);
    for now in (from_ms..until_ms).step_by(100) {
        if let Some((_, cause)) = ends.filter(|(at, _)| now >= *at) {
            (open, ends) = (false, None);
            policy.ended(cause, now);
        } else if open && ends.is_none() {
            if let Some(cause) = world.ends(now) {
                open = false;
                policy.ended(cause, now);
            }
        }
        let mut actions = policy.act(now);
        while !actions.is_empty() {
            let action = actions.remove(0);
            match &action {
                Action::Start { port } => {
                    assert!(!open, "two at once");
                    (open, ends) = (true, world.start(*port, now).map(|(ms, why)| (now + ms, why)));
                }
                Action::Stop => (open, ends) = (false, None),
                Action::Look => {
                    let more = match world.look(now) {
                        Ok(()) if ends.is_none() => policy.proved(now),
                        Ok(()) => policy.not_proved(Cause::ForwardBroken, now),
                        Err(cause) => policy.not_proved(cause, now),
                    };
                    actions.extend(more);
                }
                Action::GoHome => {
                    let home = world.home(now);
                    policy.went_home(home, now);
                }
                Action::Identify => policy.compared(),
                _ => {}
            }
            story.push((now, action));
        }
    }
    (policy, story)
}

fn starts(story: &Story, from_ms: u64, to_ms: u64) -> usize {
    let is = |(at, action): &&(u64, Action)| {
        matches!(action, Action::Start { .. }) && (from_ms..to_ms).contains(at)
    };
    story.iter().filter(is).count()
}

fn told(story: &Story) -> Vec<(u64, &Action)> {
    let tells = |action: &Action| {
        !matches!(
            action,
            Action::Start { .. }
                | Action::Stop
                | Action::Look
                | Action::Identify
                | Action::Release
                | Action::GoHome
        )
    };
    story.iter().filter(|(_, action)| tells(action)).map(|(at, action)| (*at, action)).collect()
}

/// Works but for a time, in which each try ends after `after_ms` for `cause`.
struct Outage {
    from_ms: u64,
    to_ms: u64,
    after_ms: u64,
    cause: Cause,
}

impl World for Outage {
    fn start(&mut self, _: usize, at_ms: u64) -> Option<(u64, Cause)> {
        (self.from_ms..self.to_ms).contains(&at_ms).then_some((self.after_ms, self.cause))
    }
    fn look(&mut self, at_ms: u64) -> Result<(), Cause> {
        if (self.from_ms..self.to_ms).contains(&at_ms) { Err(Cause::ForwardBroken) } else { Ok(()) }
    }
    fn ends(&mut self, at_ms: u64) -> Option<Cause> {
        (self.from_ms..self.from_ms + 100).contains(&at_ms).then_some(Cause::Closed)
    }
}

/// When it worked again after the outage's end.
fn back(story: &Story, to_ms: u64) -> u64 {
    let identified =
        story.iter().filter(|(at, action)| *at >= to_ms && *action == Action::Identify);
    identified.map(|(at, _)| at - to_ms).next().expect("it came back")
}

#[test]
fn each_cause_has_its_pace_and_none_gives_up() {
    let table = [
        // (cause, how long a try takes, most tries in the first minute, later, back within)
        (Cause::Refused, 100, 12, 8, 8_500),
        (Cause::Dns, 100, 21, 8, 8_500),
        (Cause::Unreachable, 10_000, 6, 6, 10_500),
        (Cause::KeyRejected, 400, 4, 1, 600_500),
        (Cause::HostKey, 400, 2, 1, 60_500),
        (Cause::NoSsh, 10, 2, 1, 60_500),
        (Cause::Closed, 100, 16, 12, 5_500),
    ];
    for (cause, after_ms, first, later, within) in table {
        let (from_ms, to_ms) = (60_000, 60_000 + 1_200_000);
        let mut world = Outage { from_ms, to_ms, after_ms, cause };
        let (_, story) = live(Rules { ports: 1, ..RULES }, &mut world, to_ms + 700_000);
        let found = starts(&story, from_ms, from_ms + 60_000);
        assert!(found <= first && found >= 1, "{cause:?}: {found} in the first minute");
        for minute in 1..20 {
            let begin = from_ms + minute * 60_000;
            let found = starts(&story, begin, begin + 60_000);
            assert!(found <= later, "{cause:?}: {found} in minute {minute}");
        }
        let back = back(&story, to_ms);
        assert!(back <= within, "{cause:?}: back after {back} ms");
    }
}

#[test]
fn an_outage_of_half_a_minute_is_over_in_five_seconds_and_told_to_nobody() {
    for from_ms in [60_000, 61_300, 64_900] {
        let mut world =
            Outage { from_ms, to_ms: from_ms + 30_000, after_ms: 0, cause: Cause::Refused };
        let (_, story) = live(RULES, &mut world, 300_000);
        assert!(back(&story, from_ms + 30_000) <= 5_000);
        assert_eq!(told(&story), []);
    }
}

#[test]
fn an_outage_is_told_once_with_its_cause_and_its_end_with_its_length() {
    let mut world =
        Outage { from_ms: 60_000, to_ms: 600_000, after_ms: 100, cause: Cause::Refused };
    let (policy, story) = live(RULES, &mut world, 900_000);
    let told = told(&story);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].1, &Action::TellDown(Cause::Refused));
    assert!((180_000..=181_000).contains(&told[0].0), "{told:?}");
    let (_, Action::TellUp { down_ms, cause: Cause::Refused, port: 0 }) = told[1] else {
        panic!("{told:?}");
    };
    assert!((540_000..550_000).contains(down_ms), "{down_ms}");
    assert!(policy.is_up() && policy.cause().is_none());
}

#[test]
fn what_somebody_has_to_mend_is_told_at_once() {
    for cause in [Cause::HostKey, Cause::NoSsh, Cause::BadOption] {
        let mut world = Outage { from_ms: 60_000, to_ms: 900_000, after_ms: 300, cause };
        let (_, story) = live(RULES, &mut world, 900_000);
        let told = told(&story);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].1, &Action::TellDown(cause));
        assert!(told[0].0 <= 65_000, "{told:?}");
    }
}

/// The home port is held by another until `free_ms`.
struct Held {
    free_ms: u64,
}

impl World for Held {
    fn start(&mut self, port: usize, at_ms: u64) -> Option<(u64, Cause)> {
        (port == 0 && at_ms < self.free_ms).then_some((300, Cause::PortBusy))
    }
    fn look(&mut self, _: u64) -> Result<(), Cause> {
        Ok(())
    }
    fn home(&mut self, at_ms: u64) -> bool {
        at_ms >= self.free_ms
    }
}

#[test]
fn a_port_that_is_held_is_left_at_once_and_home_is_where_it_goes_back_to() {
    let (policy, story) = live(RULES, &mut Held { free_ms: 400_000 }, 600_000);
    let first: Vec<_> = story.iter().filter(|(_, a)| matches!(a, Action::Start { .. })).collect();
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first[1].0 <= 1_000 && first[1].1 == Action::Start { port: 1 }, "{first:?}");
    let told: Vec<_> = told(&story).into_iter().map(|(_, action)| action.clone()).collect();
    assert_eq!(told, [Action::TellMoved { port: 1 }, Action::TellMoved { port: 0 }]);
    assert_eq!(policy.port(), 0);
    assert!(!story.iter().any(|(_, action)| *action == Action::Stop), "it moves without a break");
}

#[test]
fn with_one_port_and_a_jump_host_that_can_release_it_is_asked_once() {
    let rules = Rules { ports: 1, release: true, ..RULES };
    let (policy, story) = live(rules, &mut Held { free_ms: 40_000 }, 60_000);
    let asked = story.iter().filter(|(_, action)| *action == Action::Release).count();
    assert_eq!(asked, 1);
    assert!(policy.is_up());
    assert!(back(&story, 40_000) <= 5_000);
    assert!(starts(&story, 0, 60_000) <= 12);
}

/// Sessions live; what a look finds changes.
struct Looks {
    from_ms: u64,
    to_ms: u64,
    cause: Cause,
    mended_by_a_start: bool,
}

impl World for Looks {
    fn start(&mut self, _: usize, at_ms: u64) -> Option<(u64, Cause)> {
        if self.mended_by_a_start && at_ms > self.from_ms {
            self.to_ms = at_ms;
        }
        None
    }
    fn look(&mut self, at_ms: u64) -> Result<(), Cause> {
        if (self.from_ms..self.to_ms).contains(&at_ms) { Err(self.cause) } else { Ok(()) }
    }
}

#[test]
fn a_forward_that_is_broken_is_made_anew_after_two_looks() {
    let cause = Cause::ForwardBroken;
    for from_ms in [100_000, 107_000, 114_900] {
        let mut world = Looks { from_ms, to_ms: u64::MAX, cause, mended_by_a_start: true };
        let (_, story) = live(RULES, &mut world, 300_000);
        let stopped =
            story.iter().find(|(_, action)| *action == Action::Stop).expect("it was ended");
        assert!(stopped.0 - from_ms <= 18_000, "{stopped:?}");
        assert!(back(&story, from_ms) <= 20_000);
        assert_eq!(told(&story), []);
    }
}

#[test]
fn a_target_that_is_down_is_told_and_the_session_is_left_alone() {
    let cause = Cause::TargetDown;
    let (from_ms, to_ms) = (100_000, 400_000);
    let mut world = Looks { from_ms, to_ms, cause, mended_by_a_start: false };
    let (policy, story) = live(RULES, &mut world, 500_000);
    assert_eq!(starts(&story, 0, 500_000), 1);
    let told = told(&story);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].1, &Action::TellDown(cause));
    assert!(told[0].0 - from_ms <= 25_000, "{told:?}");
    assert!(matches!(told[1].1, Action::TellUp { .. }) && told[1].0 - to_ms <= 20_000, "{told:?}");
    assert!(policy.is_up());
    // The same when it was down before the tunnel was there.
    let mut world = Looks { from_ms: 0, to_ms, cause, mended_by_a_start: false };
    let (_, story) = live(RULES, &mut world, 500_000);
    assert_eq!(starts(&story, 0, 500_000), 1);
    assert_eq!(self::told(&story).len(), 2, "{story:?}");
}

/// Up for some seconds, down for some, for ever.
struct Flaps {
    up_ms: u64,
    down_ms: u64,
}

impl Flaps {
    fn is_down(&self, at_ms: u64) -> bool {
        at_ms % (self.up_ms + self.down_ms) >= self.up_ms
    }
}

impl World for Flaps {
    fn start(&mut self, _: usize, at_ms: u64) -> Option<(u64, Cause)> {
        self.is_down(at_ms).then_some((200, Cause::Unreachable))
    }
    fn look(&mut self, at_ms: u64) -> Result<(), Cause> {
        if self.is_down(at_ms) { Err(Cause::ForwardBroken) } else { Ok(()) }
    }
    fn ends(&mut self, at_ms: u64) -> Option<Cause> {
        self.is_down(at_ms).then_some(Cause::Silent)
    }
}

#[test]
fn a_day_of_flapping_is_told_in_few_words_and_leaves_nothing_behind() {
    const DAY_MS: u64 = 24 * 3_600_000;
    for (up_ms, down_ms, most) in
        [(20_000, 10_000, 0), (60_000, 180_000, 400), (7_000, 150_000, 300)]
    {
        let (policy, story) = live(RULES, &mut Flaps { up_ms, down_ms }, DAY_MS);
        let told = told(&story);
        assert!(told.len() <= most, "{up_ms}/{down_ms}: told {} times", told.len());
        let pairs = told.windows(2).all(|two| {
            matches!(
                (two[0].1, two[1].1),
                (Action::TellDown(_), Action::TellUp { .. })
                    | (Action::TellUp { .. }, Action::TellDown(_))
            )
        });
        assert!(pairs, "{up_ms}/{down_ms}: down and up in turn");
        assert!(policy.news.ups() <= 60 && policy.pending.is_empty());
    }
}

#[test]
fn a_kick_ends_the_wait_and_looks_at_once() {
    let mut policy = Policy::new(RULES, 0);
    assert_eq!(policy.act(0), [Action::Start { port: 0 }]);
    policy.ended(Cause::KeyRejected, 100);
    assert!(policy.act(101).is_empty());
    assert!(policy.wake_ms() > 1_000);
    policy.kick(200);
    assert_eq!(policy.act(200), [Action::Start { port: 0 }]);
    assert_eq!(policy.act(450), [Action::Look]);
    assert!(policy.proved(500).contains(&Action::Identify));
    assert_eq!(policy.act(501), []);
    policy.kick(600);
    assert_eq!(policy.act(600), [Action::Look]);
}

/// A policy whose tunnel works since 500, on the first port.
fn open() -> Policy {
    let mut policy = Policy::new(RULES, 0);
    assert_eq!(policy.act(0), [Action::Start { port: 0 }]);
    assert_eq!(policy.act(250), [Action::Look]);
    assert_eq!(policy.proved(500), [Action::Identify]);
    policy
}

#[test]
fn when_something_has_changed_one_silent_look_is_enough() {
    for (cause, kicked, ends) in [
        (Cause::Silent, true, true),
        (Cause::Silent, false, false),
        (Cause::ForwardBroken, true, true),
        // sshd on this side may be starting anew.
        (Cause::TargetDown, true, false),
    ] {
        let mut policy = open();
        if kicked {
            policy.kick(60_000);
        }
        assert_eq!(policy.act(60_000), [Action::Look], "{cause:?}");
        let ended = policy.not_proved(cause, 65_000).contains(&Action::Stop);
        assert_eq!(ended, ends, "{cause:?} {kicked}");
        assert_eq!(policy.is_up(), !ends, "{cause:?} {kicked}");
    }
    // One that works takes it back.
    let mut policy = open();
    policy.kick(60_000);
    assert_eq!(policy.act(60_000), [Action::Look]);
    policy.proved(60_100);
    assert_eq!(policy.act(80_000), [Action::Look]);
    assert_eq!(policy.not_proved(Cause::Silent, 85_000), []);
}

#[test]
fn a_home_port_that_is_given_back_while_a_session_opens_is_gone_to_at_once() {
    for (kicked, wanted) in [(true, vec![Action::GoHome]), (false, vec![])] {
        let mut policy = Policy::new(RULES, 0);
        assert_eq!(policy.act(0), [Action::Start { port: 0 }]);
        policy.ended(Cause::PortBusy, 300);
        assert_eq!(policy.act(400), [Action::Start { port: 1 }]);
        if kicked {
            policy.kick(500);
        }
        assert_eq!(policy.act(650), [Action::Look]);
        policy.proved(700);
        assert_eq!(policy.act(701), wanted);
    }
}

#[test]
fn a_doubt_looks_at_what_is_open_and_lets_what_waits_wait() {
    let mut policy = Policy::new(RULES, 0);
    policy.act(0);
    policy.ended(Cause::KeyRejected, 100);
    policy.doubt(200);
    assert_eq!(policy.act(200), [], "the pace of a rejected key");
    policy.act(6_000);
    policy.act(6_300);
    policy.proved(6_400);
    assert_eq!(policy.act(7_000), []);
    policy.doubt(7_000);
    assert_eq!(policy.act(7_000), [Action::Look]);
    policy.doubt(7_100);
    assert_eq!(policy.act(7_100), [], "one look at a time");
}

#[test]
fn a_session_that_ends_before_it_works_is_not_said_to_live() {
    let mut policy = Policy::new(RULES, 0);
    policy.act(0);
    policy.ended(Cause::Closed, 100);
    assert_eq!(policy.cause(), Some(Cause::Closed));
    // One that lives on without ever working is.
    for (has_sockets, cause) in [(true, Cause::ForwardBroken), (false, Cause::Unreachable)] {
        let mut policy = Policy::new(RULES, 0);
        policy.act(0);
        assert_eq!(policy.act(250), [Action::Look]);
        policy.no_way(250);
        assert_eq!(policy.act(500), [Action::Look]);
        match has_sockets {
            true => policy.not_proved(Cause::ForwardBroken, 600),
            false => policy.no_way(600),
        };
        assert!(policy.act(FIRST_PROOF_MS).contains(&Action::Stop));
        // One that has not got as far as to make its sockets has no forward that could be broken.
        assert_eq!(policy.cause(), Some(cause));
    }
}

#[test]
fn thousands_of_flaps_leave_a_policy_as_small_as_it_was() {
    // A session that ends each half a second after it worked, for a day.
    let mut policy = Policy::new(RULES, 0);
    let (mut now, mut told, mut starts) = (0, 0, 0_u32);
    while now < 24 * 3_600_000 {
        for action in policy.act(now) {
            match action {
                Action::Start { .. } => starts += 1,
                Action::Look => drop(policy.proved(now)),
                Action::TellDown(_) | Action::TellUp { .. } => told += 1,
                _ => {}
            }
        }
        if policy.is_up() {
            now += 500;
            policy.ended(Cause::Closed, now);
        }
        now = policy.wake_ms().max(now + 1);
    }
    assert!(starts > 10_000, "{starts}");
    assert!(told <= 1, "it never works for five seconds: told {told} times");
    assert!(policy.pending.is_empty() && policy.news.ups() <= 1);
}

#[test]
fn another_host_behind_the_port_is_told_at_once_and_not_kept() {
    let mut policy = Policy::new(RULES, 0);
    policy.act(0);
    policy.act(300);
    policy.proved(400);
    let actions = policy.wrong_host(900);
    assert_eq!(actions, [Action::Stop, Action::TellDown(Cause::WrongHost)]);
    assert!(!policy.is_up());
    assert_eq!(policy.act(50_000), []);
    assert_eq!(policy.act(60_000), [Action::Start { port: 0 }]);
}

#[test]
fn what_is_due_has_its_moment() {
    // Whoever sleeps until wake_ms must not find nothing to do for ever, nor wait for ever.
    let mut policy = Policy::new(RULES, 0);
    let mut now = 0;
    for _ in 0..200 {
        let actions = policy.act(now);
        for action in actions {
            match action {
                Action::Start { .. } => policy.ended(Cause::Refused, now + 50),
                Action::Look => drop(policy.not_proved(Cause::ForwardBroken, now)),
                _ => {}
            }
        }
        let wake = policy.wake_ms();
        assert!(wake > now && wake < now + 200_000, "{wake} after {now}");
        now = wake;
    }
}

#[test]
fn who_was_told_before_a_restart_is_told_the_end_and_not_the_beginning_again() {
    let (began_ms, to_ms) = (600_000, 700_000);
    let mut world = Outage { from_ms: 0, to_ms, after_ms: 100, cause: Cause::Refused };
    let policy = Policy::resumed(RULES, began_ms, 0, Cause::Unreachable);
    let (_, story) = live_on(policy, &mut world, began_ms, 900_000);
    let told = told(&story);
    assert_eq!(told.len(), 1, "{told:?}");
    let (_, Action::TellUp { down_ms, cause: Cause::Unreachable, port: 0 }) = told[0] else {
        panic!("{told:?}");
    };
    assert!((700_000..715_000).contains(down_ms), "{down_ms}");
}

#[test]
fn nobody_looks_before_the_way_is_there_and_a_look_that_fails_is_repeated_more_and_more_seldom() {
    let mut policy = Policy::new(RULES, 0);
    policy.act(0);
    // No way yet: that costs nothing and is asked often.
    for now in [250, 500, 750, 1_000] {
        assert_eq!(policy.act(now), [Action::Look], "{now}");
        policy.no_way(now);
        assert_eq!(policy.wake_ms(), now + 250);
    }
    // The port is given: at once.
    policy.given(1_100);
    let mut looks = Vec::new();
    while policy.wake_ms() < FIRST_PROOF_MS {
        let now = policy.wake_ms();
        assert_eq!(policy.act(now), [Action::Look], "{now}");
        looks.push(now - 1_100);
        policy.not_proved(Cause::ForwardBroken, now);
        // Said once more, it is no news.
        policy.given(now);
    }
    assert_eq!(looks[..5], [0, 1_000, 3_000, 7_000, 11_000], "{looks:?}");
    assert!(looks.len() <= 10, "{looks:?}");
    // In a session that works, no way is a failure.
    let mut policy = open();
    policy.act(60_000);
    policy.no_way(60_000);
    assert_eq!(policy.act(61_500), [Action::Look]);
    assert!(policy.no_way(61_500).contains(&Action::Stop));
}

#[test]
fn keys_that_could_not_be_compared_are_compared_again_and_again_more_seldom() {
    let mut policy = Policy::new(RULES, 0);
    policy.act(0);
    let mut compared = Vec::new();
    for now in (1_000..12 * 3_600_000).step_by(1_000) {
        for action in policy.act(now) {
            if action == Action::Look && policy.proved(now).contains(&Action::Identify) {
                compared.push(now);
            }
        }
    }
    let after: Vec<u64> = compared.windows(2).map(|two| (two[1] - two[0]) / 60_000).collect();
    assert_eq!(after[..8], [1, 2, 4, 8, 16, 32, 60, 60], "{after:?}");
    // One that has succeeded is enough, until there is another session.
    policy.compared();
    for now in (12 * 3_600_000..24 * 3_600_000).step_by(1_000) {
        if policy.act(now).contains(&Action::Look) {
            assert_eq!(policy.proved(now), []);
        }
    }
}

#[test]
fn whose_key_it_is_is_asked_in_each_session_and_for_each_port() {
    // sshd on this side was down when the session began.
    let mut policy = Policy::new(RULES, 0);
    policy.act(0);
    policy.act(250);
    policy.not_proved(Cause::TargetDown, 300);
    assert_eq!(policy.act(1_800), [Action::Look]);
    assert!(policy.proved(1_850).contains(&Action::Identify));
    // It went home: looked through at once, and compared.
    let mut policy = open();
    policy.compared();
    policy.went_home(false, 5_000);
    assert_eq!(policy.act(5_000), []);
    policy.went_home(true, 6_000);
    assert_eq!(policy.act(6_000), [Action::Look]);
    assert_eq!(policy.proved(6_010), [Action::Identify]);
    // Another session.
    let mut policy = open();
    policy.compared();
    policy.ended(Cause::Closed, 50_000);
    policy.act(50_100);
    policy.act(50_350);
    assert_eq!(policy.proved(50_400), [Action::Identify]);
}
