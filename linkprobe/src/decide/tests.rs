#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a test")]

use super::*;
use crate::steady::tests::Chance;

/// A line and a server as a fluid: slow start, a bottleneck with a token bucket, losses that halve a flow.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Bytes a second.
    rate: f64,
    round_trip: f64,
    /// Chance that a packet is lost on its way.
    loss: f64,
    /// Bytes that pass at once after a rest.
    bucket: f64,
    /// By how much the rate of 50 ms differs from the mean, as a share.
    noise: f64,
}

const TICK: f64 = 0.005;

/// Runs one transfer; answers it, and its bytes.
fn transfer(line: &Line, question: Question, flows: usize, chance: &mut Chance) -> (Answer, u64) {
    let mut decision = Decision::new(question);
    let mut windows = vec![10.0 * SEGMENT; flows];
    let mut slow_start = vec![true; flows];
    let mut cut_at = vec![f64::NEG_INFINITY; flows];
    let (mut at, mut bytes, mut bucket, mut queue) = (0.0, 0.0, line.bucket, 0.0);
    let mut drift = 0.0;
    loop {
        drift = 0.8 * drift + 0.6 * chance.normal();
        let rate = line.rate * (1.0 + line.noise * drift).max(0.1);
        let round_trip = line.round_trip + queue / line.rate;
        let offered: f64 = windows.iter().map(|window| window / round_trip.max(TICK)).sum();
        let offered = offered.min(PACE * question.threshold);
        bucket = (bucket + (rate - offered) * TICK).clamp(0.0, line.bucket);
        let arriving = if bucket > 0.0 { offered } else { offered.min(rate) };
        queue = (queue + (offered - arriving) * TICK).clamp(0.0, 0.1 * line.rate);
        let is_full = queue >= 0.1 * line.rate;
        for ((window, slow_start), cut_at) in
            windows.iter_mut().zip(&mut slow_start).zip(&mut cut_at)
        {
            let packets = *window / round_trip.max(TICK) * TICK / SEGMENT;
            let is_lost = chance.unit() < 1.0 - (1.0 - line.loss).powf(packets)
                || is_full && chance.unit() < 0.3;
            // At most once in a round trip (RFC 6675).
            if is_lost && at - *cut_at > round_trip {
                *cut_at = at;
                (*window, *slow_start) = ((*window * 0.7).max(2.0 * SEGMENT), false);
            } else if *slow_start {
                *window *= 2f64.powf(TICK / round_trip.max(TICK));
            } else {
                *window += SEGMENT * TICK / round_trip.max(TICK);
            }
            *window = window.min(4e6);
        }
        at += TICK;
        bytes += arriving * TICK;
        let sample = Sample { at: Duration::from_secs_f64(at), bytes: bytes as u64 };
        match decision.learn(sample) {
            Answer::Open => {}
            answer => return (answer, bytes as u64),
        }
    }
}

fn check(line: &Line, threshold: f64, at_least: Duration, chance: &mut Chance) -> (Answer, u64) {
    let round_trip = Duration::from_secs_f64(line.round_trip);
    let (mut tried, mut bytes) = (Vec::new(), 0);
    loop {
        let (flows, provider) = match next(&tried, 2, threshold) {
            Next::Try { flows, provider } => (flows, provider),
            Next::Decided(answer) => return (answer, bytes),
        };
        let at_least = if tried.is_empty() { at_least } else { Duration::ZERO };
        let is_first = tried.is_empty();
        let question = Question { is_first, threshold, round_trip, at_least };
        let (answer, more) = transfer(line, question, flows, chance);
        bytes += more;
        tried.push(Tried { flows, provider, answer: Some(answer) });
    }
}

/// Of so many random lines with a rate of `ratio` thresholds, how many are judged rightly, and the
/// median of seconds at the threshold's rate that this took.
fn judged(ratio: f64, loss: f64, noise: f64) -> (f64, f64) {
    let mut chance = Chance(7);
    let runs = 60;
    let mut costs = Vec::new();
    let right = (0..runs).filter(|_| {
        let threshold = 10f64.powf(5.3 + 1.2 * chance.unit());
        let round_trip = 10f64.powf(-3.0 + 2.2 * chance.unit());
        let line = Line { rate: ratio * threshold, round_trip, loss, bucket: 20_000.0, noise };
        let (answer, bytes) = check(&line, threshold, Duration::ZERO, &mut chance);
        costs.push(bytes as f64 / threshold);
        match answer {
            Answer::Has(_) => ratio > 1.0,
            Answer::HasNot(_) => ratio < 1.0,
            Answer::Near(_) => (ratio - 1.0).abs() < 0.11,
            Answer::Open | Answer::Stalled => false,
        }
    });
    let right = right.count() as f64 / f64::from(runs);
    costs.sort_by(f64::total_cmp);
    (right, costs[costs.len() / 2])
}

#[test]
fn lines_of_all_kinds_are_judged_rightly() {
    for loss in [0.0, 0.005] {
        for noise in [0.03, 0.15] {
            for ratio in [0.1, 0.5, 0.85, 0.9, 0.95, 1.05, 1.1, 1.25, 2.0, 5.0, 30.0] {
                let (right, cost) = judged(ratio, loss, noise);
                // Of a line that loses, varies and has hardly more than that, TCP itself makes less.
                let is_hardest = ratio == 1.05 && loss > 0.0 && noise > 0.1;
                let least = if is_hardest {
                    0.6
                } else if loss > 0.0 || noise > 0.1 {
                    0.8
                } else {
                    0.92
                };
                let most = if (0.6..2.0).contains(&ratio) { 6.0 } else { 0.8 };
                assert!(cost < most, "{ratio} {loss} {noise}: {cost} s");
                assert!(right >= least, "{ratio} {loss} {noise}: {right}");
            }
        }
    }
}

/// What follows when so many bytes a second come, from so many milliseconds on.
fn decide(threshold: f64, rate: impl Fn(u64) -> f64) -> (Answer, u64) {
    let round_trip = Duration::from_millis(20);
    let at_least = Duration::ZERO;
    let mut decision = Decision::new(Question { threshold, round_trip, is_first: true, at_least });
    let mut bytes = 0.0;
    (0..20_000)
        .step_by(5)
        .find_map(|ms| {
            bytes += rate(ms) * 0.005;
            let sample = Sample { at: Duration::from_millis(ms), bytes: bytes as u64 };
            let answer = decision.learn(sample);
            (answer != Answer::Open).then_some((answer, ms))
        })
        .unwrap()
}

#[test]
fn who_begins_late_is_waited_for_and_who_sends_next_to_nothing_has_stalled() {
    let late = |ms| if ms < 900 { 0.0 } else { 2e6 };
    assert!(matches!(decide(1e6, late), (Answer::Has(_), 1100..2000)));
    assert!(matches!(decide(1e6, |_| 1.0), (Answer::Stalled, 1500..2500)));
    assert!(matches!(decide(1e6, |_| 0.0), (Answer::Stalled, 1500..2500)));
    let ends = |ms| if ms < 150 { 2e6 } else { 0.0 };
    assert!(matches!(decide(1e6, ends), (Answer::Stalled, 1500..2500)), "{:?}", decide(1e6, ends));
    // The slowest that a tariff throttles to, and far below what was asked for.
    assert!(matches!(decide(1e6, |_| 8e3), (Answer::HasNot(_), 0..1500)));
}

#[test]
fn a_slow_start_over_a_satellite_is_no_slow_line() {
    // Four flows of ten segments, which double each 600 ms, on a line that is wide enough.
    let round_trip = Duration::from_millis(600);
    let question =
        Question { threshold: 1.25e6, round_trip, is_first: true, at_least: Duration::ZERO };
    let ramp =
        |ms: u64| 4.0 * 14_480.0 / 0.6 * f64::from(2_u32.pow(u32::try_from(ms / 600).unwrap()));
    let mut decision = Decision::new(question);
    let mut bytes = 0.0;
    let told = (0..9000).step_by(5).find_map(|ms: u64| {
        bytes += ramp(ms.min(6000)).min(1.6 * 1.25e6) * 0.005;
        let answer = decision.learn(Sample { at: Duration::from_millis(ms), bytes: bytes as u64 });
        (answer != Answer::Open).then_some((answer, ms))
    });
    assert!(matches!(told, Some((Answer::Has(_), 3000..6000))), "{told:?}");
}

#[test]
fn more_flows_are_tried_as_long_as_they_bring_more() {
    let length = Duration::from_millis(300);
    let steady = |rate| Steady { rate, within: 1e4, error: 1e3, windows: 6, length, growth: 1.0 };
    let tried = |flows, provider, answer| Tried { flows, provider, answer };
    let has_not = |rate| Some(Answer::HasNot(steady(rate)));
    let near = |rate| Some(Answer::Near(Some(steady(rate))));
    let try_one = |flows, provider| Next::Try { flows, provider };
    let decided = |answer: Option<Answer>| Next::Decided(answer.unwrap());
    let stalled = Some(Answer::Stalled);
    for (tries, providers, want) in [
        (vec![], 2, try_one(4, 0)),
        (vec![], 0, Next::Decided(Answer::Open)),
        (vec![tried(4, 0, has_not(5e5))], 2, try_one(8, 1)),
        (vec![tried(4, 0, has_not(5e5))], 1, try_one(8, 0)),
        (vec![tried(4, 0, has_not(5e5)), tried(8, 1, has_not(5.2e5))], 2, decided(has_not(5.2e5))),
        (vec![tried(4, 0, has_not(4e5)), tried(8, 1, has_not(8e5))], 2, try_one(16, 0)),
        (vec![tried(4, 0, None)], 2, try_one(4, 1)),
        (vec![tried(4, 0, None)], 1, Next::Decided(Answer::Open)),
        (vec![tried(4, 0, stalled)], 1, Next::Decided(Answer::Open)),
        (vec![tried(4, 0, stalled), tried(4, 1, stalled)], 2, Next::Decided(Answer::Stalled)),
        (vec![tried(4, 0, has_not(5e5)), tried(8, 1, None)], 2, try_one(8, 0)),
        // Slow with one, and of two nobody else to confirm it; and with the only one there is.
        (
            vec![tried(4, 0, has_not(5e5)), tried(8, 1, None), tried(8, 0, has_not(5e5))],
            2,
            Next::Decided(Answer::Near(Some(steady(5e5)))),
        ),
        // Restless as it was, far too little: on a line that a tariff throttles eight handshakes take all of it.
        (
            vec![tried(4, 0, has_not(7e3)), tried(8, 1, stalled), tried(8, 0, near(6e3))],
            2,
            decided(has_not(6e3)),
        ),
        (
            vec![tried(4, 0, has_not(7e3)), tried(8, 1, stalled), tried(8, 0, stalled)],
            2,
            decided(has_not(7e3)),
        ),
        (vec![tried(4, 0, has_not(7e5)), tried(8, 1, near(75e4))], 2, decided(near(75e4))),
        (vec![tried(4, 0, near(5e5)), tried(8, 1, near(5e5))], 2, decided(near(5e5))),
        // It has answered, and sent next to nothing: as slow.
        (
            vec![tried(4, 0, stalled), tried(4, 1, has_not(5e4)), tried(8, 1, has_not(5e4))],
            2,
            decided(has_not(5e4)),
        ),
        (vec![tried(4, 0, has_not(5e5)), tried(8, 0, has_not(5e5))], 1, decided(has_not(5e5))),
        // Slow with one of itself: another has brought more, and is asked until it can tell.
        (
            vec![tried(4, 0, has_not(2e5)), tried(8, 1, near(13e5)), tried(16, 0, has_not(2e5))],
            2,
            try_one(32, 1),
        ),
        (
            vec![tried(4, 0, has_not(2e5)), tried(16, 1, near(13e5)), tried(32, 0, has_not(2e5))],
            2,
            decided(near(13e5)),
        ),
        (
            vec![tried(4, 0, has_not(2e5)), tried(8, 1, has_not(5e5)), tried(16, 0, has_not(2e5))],
            2,
            decided(has_not(2e5)),
        ),
    ] {
        assert_eq!(next(&tries, providers, 1e6), want, "{tries:?}");
    }
}
