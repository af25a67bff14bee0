//! What is told of one that misbehaves: once, when it matters, and right.

use super::*;

/// What was told and asked, each with its second.
type Lived = (Vec<(u64, Tale)>, Vec<(u64, Verb)>);

/// Lets a policy live from `from_s` to `until_s` with what `inputs` and `cloud` say in each second.
fn live(
    policy: &mut Policy,
    from_s: u64,
    until_s: u64,
    mut inputs: impl FnMut(u64) -> Inputs,
    mut cloud: impl FnMut(u64, Verb) -> Result<Seen, Trouble>,
) -> Lived {
    let (mut told, mut asked) = (Vec::new(), Vec::new());
    for second in from_s..until_s {
        let now = at(second * 1000);
        let mut actions = policy.act(&inputs(second), &now);
        while !actions.is_empty() {
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Tell(tale) => told.push((second, tale)),
                    Action::Call(verb) => {
                        asked.push((second, verb));
                        let end = cloud(second, verb);
                        actions.extend(policy.answered(end, &now));
                    }
                    Action::Keep => {}
                }
            }
        }
    }
    (told, asked)
}

fn words(told: &[(u64, Tale)]) -> Vec<&'static str> {
    told.iter().map(|(_, tale)| tale.word()).collect()
}

fn down(second: u64) -> Inputs {
    inputs(Link::Down(60_000 + second * 1000))
}

fn up(_: u64) -> Inputs {
    inputs(Link::Up(7_200_000))
}

#[test]
fn one_that_there_is_no_more_is_told_once() {
    for world in [up as fn(u64) -> Inputs, down] {
        let mut policy = policy(Note::default());
        let (told, asked) = live(&mut policy, 0, 7_200, world, |_, _| Ok(seen(Machine::Gone)));
        assert_eq!((words(&told), asked.len() > 10), (vec!["jump-trouble"], true), "{told:?}");
        assert_eq!(told[0].1, Tale::Gone);
    }
}

#[test]
fn a_provider_that_fails_now_so_now_so_is_told_once() {
    let mut policy = policy(Note::default());
    let cloud =
        |second: u64, _| Err(trouble(if (second / 40) % 2 == 0 { Kind::Busy } else { Kind::Away }));
    let (told, asked) = live(&mut policy, 0, 7_200, down, cloud);
    assert!(asked.len() > 200, "{}", asked.len());
    assert_eq!(words(&told), ["jump-trouble"], "{told:?}");
}

#[test]
fn what_was_told_while_nobody_needed_it_is_told_anew_in_each_outage() {
    let mut policy = policy(Note::default());
    let refused = |_, _| Err(trouble(Kind::Refused));
    let (mut all, mut from_s) = (Vec::new(), 0);
    for world in [up as fn(u64) -> Inputs, down, up, down] {
        let (told, _) = live(&mut policy, from_s, from_s + 7_200, world, refused);
        all.push(told.iter().map(|(_, tale)| tale.severity().0).collect::<Vec<_>>());
        from_s += 7_200;
    }
    let (warning, critical) =
        (notifier::event::Severity::Warning, notifier::event::Severity::Critical);
    assert_eq!(all, [vec![warning], vec![critical], vec![], vec![critical]]);
}

#[test]
fn a_failure_of_before_is_none_when_it_is_needed_until_it_is_seen_again() {
    let mut policy = policy(Note::default());
    let away = |_, _| Err(trouble(Kind::Away));
    live(&mut policy, 0, 1_000, up, away);
    let mut machine = Machine::Off;
    let cloud = |_, verb| {
        machine = if verb == Verb::Start { Machine::On } else { machine };
        Ok(seen(machine))
    };
    let (told, _) = live(&mut policy, 1_000, 2_000, down, cloud);
    assert_eq!(words(&told), ["jump-starting"], "{told:?}");
}

#[test]
fn a_provider_that_is_busy_for_days_is_not_asked_each_half_minute() {
    let mut policy = policy(Note::default());
    let (_, asked) = live(&mut policy, 0, 86_400, up, |_, _| Err(trouble(Kind::Busy)));
    assert!((100..=150).contains(&asked.len()), "{}", asked.len());
}

#[test]
fn one_that_goes_down_again_each_time_is_told_once_and_tried_ever_less() {
    let mut policy = policy(Note::default());
    // As EC2 has it with a disk that it may not decrypt: pending, and stopped.
    let cloud =
        |_, verb| Ok(seen(if verb == Verb::Start { Machine::Starting } else { Machine::Off }));
    let (told, asked) = live(&mut policy, 0, 14_400, down, cloud);
    assert_eq!(words(&told), ["jump-starting", "jump-ended"], "{told:?}");
    let starts = asked.iter().filter(|(_, verb)| *verb == Verb::Start).count();
    assert!((8..=20).contains(&starts), "{starts}");
    // The next outage is another.
    live(&mut policy, 14_400, 18_000, up, cloud);
    let (told, _) = live(&mut policy, 18_000, 18_300, down, cloud);
    assert_eq!(words(&told), ["jump-starting", "jump-ended"], "{told:?}");
}

#[test]
fn a_stop_that_takes_its_time_is_still_ours() {
    let mut policy = with(Machine::On, running());
    let mut stopped = None;
    let cloud = |second: u64, verb| {
        if verb == Verb::Stop {
            assert!(stopped.is_none(), "asked for twice");
            stopped = Some(second);
        }
        // It says nothing of the stop until it is through with it.
        let is_off = stopped.is_some_and(|at| second > at + 100);
        Ok(seen(if is_off { Machine::Off } else { Machine::On }))
    };
    let (told, _) = live(&mut policy, 1, 400, up, cloud);
    assert_eq!(words(&told), ["jump-stopped"], "{told:?}");
}

#[test]
fn one_that_runs_on_because_nothing_is_known_of_the_line_says_so() {
    let unknown = |_| inputs(Link::Unknown("linkprobe watch does not run".into()));
    for (note, machine, want) in [
        (Note::default(), Machine::Off, "it is not started while nobody knows"),
        (running(), Machine::On, "it runs on while nobody knows"),
    ] {
        let mut policy = with(machine, note);
        let (told, _) = live(&mut policy, 1, 3_600, unknown, |_, _| Ok(seen(machine)));
        assert_eq!(words(&told), ["jump-link-unknown"]);
        let text = told[0].1.text("home");
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn a_tunnel_that_falls_has_the_machine_described_at_once() {
    let mut policy = with(Machine::On, running());
    let works = |_| Inputs { tunnel_up: true, ..down(0) };
    let cloud = |_, _| Ok(seen(Machine::On));
    live(&mut policy, 1, 1_000, works, cloud);
    let (_, asked) = live(&mut policy, 1_000, 1_010, down, cloud);
    assert_eq!(asked.len(), 1, "{asked:?}");
    // And again while it does not come back, but not all the time.
    let (_, asked) = live(&mut policy, 1_010, 1_610, down, cloud);
    assert!((5..=11).contains(&asked.len()), "{asked:?}");
}

#[test]
fn a_start_that_comes_about_late_is_still_ours() {
    let mut policy = with(Machine::Off, Note::default());
    let mut starts = Vec::new();
    let mut cloud = |second: u64, verb| match verb {
        Verb::Start => {
            starts.push(second);
            Err(trouble(Kind::Away))
        }
        // It says nothing of it for a while.
        _ if starts.first().is_some_and(|at| second > at + 20) => Ok(seen(Machine::On)),
        _ => Ok(seen(Machine::Off)),
    };
    let (told, _) = live(&mut policy, 1, 3, down, &mut cloud);
    assert_eq!(words(&told), ["jump-starting"]);
    // The line is back before anything is known.
    let (told, asked) = live(&mut policy, 3, 300, up, &mut cloud);
    assert_eq!(words(&told), [] as [&str; 0], "{told:?}");
    assert!(asked.iter().any(|(_, verb)| *verb == Verb::Stop), "{asked:?}");
    assert_eq!(starts.len(), 1);
}
