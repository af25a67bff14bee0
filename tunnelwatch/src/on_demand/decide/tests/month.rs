//! Weeks in a world that flaps, crashes, loses answers and sets its clocks.

use super::*;

/// How long a machine takes to come up, and to go down.
const BOOT_MS: u64 = 20_000;
const HALT_MS: u64 = 30_000;

/// Numbers that look random and are the same each time (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most.max(1)
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// A provider that has one machine.
struct Cloud {
    machine: Machine,
    since_ms: u64,
    starts: usize,
    on_ms: u64,
}

impl Cloud {
    fn pass(&mut self, now_ms: u64, passed_ms: u64) {
        let age_ms = now_ms - self.since_ms;
        match self.machine {
            Machine::Starting if age_ms >= BOOT_MS => self.become_(Machine::On, now_ms),
            Machine::Stopping if age_ms >= HALT_MS => self.become_(Machine::Off, now_ms),
            _ => {}
        }
        if matches!(self.machine, Machine::On | Machine::Starting) {
            self.on_ms += passed_ms;
        }
    }

    fn become_(&mut self, machine: Machine, now_ms: u64) {
        (self.machine, self.since_ms) = (machine, now_ms);
    }

    /// Does what it is asked for, and answers.
    fn hear(&mut self, verb: Verb, now_ms: u64) -> Result<Seen, Trouble> {
        match (verb, self.machine) {
            (Verb::Start, Machine::Off) => {
                self.starts += 1;
                self.become_(Machine::Starting, now_ms);
            }
            (Verb::Start, other) => panic!("a second start while it is {other:?}"),
            (Verb::Stop, Machine::On) => self.become_(Machine::Stopping, now_ms),
            (Verb::Stop, Machine::Off) | (Verb::Describe, _) => {}
            (Verb::Stop, _) => return Err(trouble(Kind::Busy)),
        }
        Ok(seen(self.machine))
    }
}

/// How the world is.
#[derive(Clone, Copy)]
struct Climate {
    /// How long the line holds, and how long it is away, at most, in seconds.
    line_s: [u64; 2],
    /// One step in so many ends this program.
    crash: u64,
    /// One call in so many loses its answer, or does not arrive.
    lost: u64,
    /// One step in so many makes the provider unreachable for up to four hours.
    away: u64,
    /// One step in so many sets the wall clock by up to ten days.
    set: u64,
    /// How many seconds it lasts, in days.
    days: u64,
}

struct World {
    dice: Dice,
    cloud: Cloud,
    climate: Climate,
    now_ms: u64,
    /// By how much the wall clock is wrong.
    wrong_ms: i64,
    link: Link,
    link_until_ms: u64,
    away_until_ms: u64,
    people_until_ms: u64,
    starts_told: usize,
    worst_idle_ms: u64,
    worst_wait_ms: u64,
    excused_ms: u64,
}

impl World {
    fn now(&self) -> Now {
        let unix_ms = BEGIN.saturating_add(self.now_ms).saturating_add_signed(self.wrong_ms);
        let boot = Some(BootStamp { id: "boot".into(), ms: self.now_ms });
        Now { ms: self.now_ms, stamp: Stamp { unix_ms, boot } }
    }

    fn pass(&mut self, passed_ms: u64) {
        self.now_ms += passed_ms;
        self.cloud.pass(self.now_ms, passed_ms);
        let (Climate { line_s: [up_s, down_s], set, away, .. }, now_ms) =
            (self.climate, self.now_ms);
        self.link = match self.link.clone() {
            Link::Up(ms) => Link::Up(ms + passed_ms),
            Link::Down(ms) => Link::Down(ms + passed_ms),
            other => other,
        };
        if now_ms >= self.link_until_ms {
            let goes_down = matches!(self.link, Link::Up(_));
            self.link = if goes_down { Link::Down(0) } else { Link::Up(0) };
            // Long and short ones.
            let most_s = if goes_down { down_s } else { up_s } >> self.dice.below(8);
            self.link_until_ms = now_ms + 1_000 + self.dice.below(most_s * 1000);
        }
        if self.dice.one_in(away) {
            self.away_until_ms = now_ms + self.dice.below(4 * HOUR);
        }
        if self.dice.one_in(set) {
            self.wrong_ms = i64::try_from(self.dice.below(240 * HOUR)).unwrap() - 120 * 3_600_000;
        }
        if self.cloud.machine == Machine::On && self.dice.one_in(600) {
            self.people_until_ms = now_ms + self.dice.below(HOUR);
        }
        if self.cloud.machine != Machine::On {
            self.people_until_ms = 0;
        }
    }

    fn people(&self) -> (usize, usize) {
        (usize::from(self.now_ms < self.people_until_ms), 0)
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            link: self.link.clone(),
            wish: None,
            people: self.people(),
            tunnel_up: self.cloud.machine == Machine::On,
        }
    }

    /// What is told of all this at the end of a step of a program that is alive.
    fn judge(&mut self, passed_ms: u64, excused: bool) {
        if excused || self.now_ms < self.away_until_ms {
            self.excused_ms = self.now_ms;
        }
        let calm_ms = self.now_ms.saturating_sub(self.excused_ms);
        let idle = match &self.link {
            Link::Up(ms) => ms.saturating_sub(1_800_000),
            _ => 0,
        };
        if self.cloud.machine == Machine::On && self.people() == (0, 0) {
            let people_ms = self.now_ms.saturating_sub(self.people_until_ms);
            self.worst_idle_ms = self.worst_idle_ms.max(idle.min(calm_ms).min(people_ms));
        }
        if let (Link::Down(ms), Machine::Off) = (&self.link, self.cloud.machine) {
            self.worst_wait_ms = self.worst_wait_ms.max(ms.saturating_sub(60_000).min(calm_ms));
        }
        let _ = passed_ms;
    }
}

/// Lets a policy live in a world. Each action may be the last one before a crash.
fn live(seed: u64, climate: Climate, rules: &OnDemand) -> World {
    let mut world = World {
        dice: Dice(seed),
        cloud: Cloud { machine: Machine::Off, since_ms: 0, starts: 0, on_ms: 0 },
        climate,
        now_ms: 0,
        wrong_ms: 0,
        link: Link::Up(0),
        link_until_ms: 60_000,
        away_until_ms: 0,
        people_until_ms: 0,
        starts_told: 0,
        worst_idle_ms: 0,
        worst_wait_ms: 0,
        excused_ms: 0,
    };
    let mut kept = Note::default();
    let mut policy = Policy::new(rules.clone(), "home", false, kept.clone(), &world.now());
    // An answer that is under way.
    let mut answer: Option<(u64, Result<Seen, Trouble>)> = None;
    while world.now_ms < climate.days * 24 * HOUR {
        let mut actions = Vec::new();
        if let Some((at_ms, end)) = answer.take() {
            match world.now_ms >= at_ms {
                true => actions.extend(policy.answered(end, &world.now())),
                false => answer = Some((at_ms, end)),
            }
        }
        actions.extend(policy.act(&world.inputs(), &world.now()));
        let mut crashed = world.dice.one_in(climate.crash * 20);
        for action in actions {
            // Before each step, and after it.
            crashed = crashed || world.dice.one_in(climate.crash);
            if crashed {
                break;
            }
            match action {
                Action::Keep => {
                    policy.written(&world.now());
                    kept = policy.note().clone();
                }
                Action::Tell(tale) => {
                    world.starts_told += usize::from(tale.word() == "jump-starting")
                }
                Action::Call(verb) => {
                    assert!(verb == Verb::Describe || kept.asked.is_some(), "not noted: {kept:?}");
                    assert!(
                        verb != Verb::Stop || world.people() == (0, 0),
                        "stopped under somebody"
                    );
                    answer = Some(call(&mut world, verb));
                }
            }
        }
        let mut passed_ms = if policy.is_busy() { 1_000 } else { 10_000 };
        if crashed {
            // Its call is ended with it, and what has arrived has arrived.
            answer = None;
            passed_ms = 1_000 + world.dice.below(300_000);
            for _ in 0..passed_ms / 1_000 {
                world.pass(1_000);
            }
            policy = Policy::new(rules.clone(), "home", false, kept.clone(), &world.now());
        } else {
            world.pass(passed_ms);
        }
        world.judge(passed_ms, crashed);
    }
    world
}

/// A call, and when its end is known.
fn call(world: &mut World, verb: Verb) -> (u64, Result<Seen, Trouble>) {
    let now_ms = world.now_ms;
    if now_ms < world.away_until_ms {
        return (now_ms + 10_000, Err(trouble(Kind::Away)));
    }
    match world.dice.below(world.climate.lost) {
        0 => (now_ms + 30_000, Err(trouble(Kind::Away))),
        1 => {
            let _ = world.cloud.hear(verb, now_ms);
            (now_ms + 30_000, Err(trouble(Kind::Away)))
        }
        2 => (now_ms + 1_000, Err(trouble(Kind::Busy))),
        _ => (now_ms + 1_000, world.cloud.hear(verb, now_ms)),
    }
}

const CLIMATE: Climate =
    Climate { line_s: [86_400, 14_400], crash: 40, lost: 8, away: 20_000, set: 5_000, days: 8 };

fn endless() -> OnDemand {
    OnDemand { most_a_month: Duration::from_secs(744 * 3600), ..rules() }
}

#[test]
fn weeks_of_crashes_and_lost_answers_bring_no_second_start_and_leave_nothing_running() {
    let mut starts = 0;
    for seed in 0..6 {
        let world = live(seed, CLIMATE, &endless());
        let minutes = |ms: u64| ms / 60_000;
        assert!(minutes(world.worst_idle_ms) < 12, "{seed}: idle {}", world.worst_idle_ms);
        assert!(minutes(world.worst_wait_ms) < 5, "{seed}: waited {}", world.worst_wait_ms);
        starts += world.cloud.starts;
    }
    assert!(starts > 40, "{starts}");
}

#[test]
fn in_fair_weather_each_outage_is_one_start_that_is_told() {
    let climate = Climate { crash: u64::MAX / 40, lost: u64::MAX, away: u64::MAX, ..CLIMATE };
    for seed in 0..3 {
        let world = live(seed, climate, &endless());
        assert!(world.cloud.starts > 3, "{seed}");
        assert_eq!(world.starts_told, world.cloud.starts, "{seed}");
        assert!(world.worst_wait_ms < 15_000, "{seed}: {}", world.worst_wait_ms);
        assert!(world.worst_idle_ms < 70_000, "{seed}: {}", world.worst_idle_ms);
    }
}

#[test]
fn a_month_has_its_hours_and_the_next_one_its_own() {
    // Six days of November, and four of December, with the line down nearly always.
    let rules = OnDemand { most_a_month: Duration::from_secs(20 * 3600), ..rules() };
    let climate = Climate { line_s: [600, 86_400], set: u64::MAX, days: 10, ..CLIMATE };
    for seed in 0..3 {
        let world = live(seed, climate, &rules);
        let hours = world.cloud.on_ms / HOUR;
        // Who is logged in has an hour at most, and a provider may be away for four.
        assert!((36..=52).contains(&hours), "{seed}: {hours}");
    }
}
