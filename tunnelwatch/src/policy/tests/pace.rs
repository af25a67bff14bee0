//! Pauses: none that is forgotten, and none that is no pause.

use super::*;

#[test]
fn on_a_fallback_with_its_target_down_it_sleeps() {
    let mut policy = Policy::new(RULES, 0);
    let mut now = 0;
    for action in [Action::Start { port: 0 }, Action::Start { port: 1 }] {
        while !policy.act(now).contains(&action) {
            now += 100;
        }
        if action == (Action::Start { port: 0 }) {
            policy.ended(Cause::PortBusy, now);
        }
    }
    let _ = policy.proved(now);
    // For longer than the time in which it tries to go home.
    for _ in 0..60 {
        now += 2_000;
        let _ = policy.act(now);
        let _ = policy.not_proved(Cause::TargetDown, now);
        let _ = policy.act(now);
        assert!(policy.wake_ms() > now, "it would never sleep at {now}");
    }
}

#[test]
fn a_rejected_key_is_not_forgotten_for_another_end_between() {
    let mut policy = Policy::new(RULES, 0);
    let (mut starts, mut now) = (0, 0);
    while now < 60_000 {
        if policy.act(now).iter().any(|action| matches!(action, Action::Start { .. })) {
            starts += 1;
            let cause = if starts % 2 == 0 { Cause::Closed } else { Cause::KeyRejected };
            policy.ended(cause, now + 100);
        }
        now += 100;
    }
    assert!(starts <= 8, "{starts} tries, every other one rejected");
}
