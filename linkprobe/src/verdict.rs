//! What all that was found comes to: one verdict, and the reasons. Pure.

use std::time::Duration;

use crate::decide::Answer;
use crate::isp::judge::Judgement;
use crate::latency::Latency;
use crate::record::{Bound, Verdict};
use crate::throughput::{Found, Way};
use crate::units;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Why nobody answers, if nobody does.
    pub down: Option<String>,
    /// Whether it is the right line.
    pub isp: Option<Judgement>,
    /// Throughput.
    pub tests: Vec<Test>,
    /// Idle round trips.
    pub latency: Option<Latency>,
    /// The most that was asked for.
    pub max_latency: Option<Duration>,
    /// The most loss that was asked for, 0 to 1.
    pub max_loss: Option<f64>,
    /// What could not be asked for, as what is usual is not known yet.
    pub unknown: Vec<String>,
}

/// A test of throughput that is asked for.
#[derive(Debug, Clone)]
pub struct Test {
    /// Which way.
    pub way: Way,
    /// The least, in bits a second.
    pub floor: f64,
    /// What became of it.
    pub end: End,
}

/// What became of a test.
#[derive(Debug, Clone)]
pub enum End {
    /// It was made.
    Made(Found),
    /// It was passed, and what was found behind a token bucket before counts all the same: so many
    /// bits a second, in words for a person when.
    Bucket(Found, f64, String),
    /// Nobody is to test now.
    Quiet,
    /// It could not be made, for this reason.
    Not(String),
}

/// The verdict, and why: first what made it so.
#[must_use]
pub fn judge(seen: &Seen) -> (Verdict, Vec<String>) {
    if let Some(why) = &seen.down {
        return (Verdict::Down, vec![why.clone()]);
    }
    let mut found: Vec<(Verdict, String)> = Vec::new();
    match &seen.isp {
        Some(Judgement::Wrong { reason, .. }) => {
            return (Verdict::WrongIsp, vec![reason.clone()]);
        }
        Some(Judgement::Unknown { reason }) => found.push((Verdict::Untested, reason.clone())),
        Some(Judgement::Right { note: Some(note) }) => found.push((Verdict::Good, note.clone())),
        Some(Judgement::Right { note: None }) | None => {}
    }
    found.extend(seen.tests.iter().flat_map(of_test));
    found.extend(of_latency(seen));
    found.extend(seen.unknown.iter().map(|why| (Verdict::Untested, why.clone())));
    found.sort_by_key(|(verdict, _)| rank(*verdict));
    let verdict = found.first().map_or(Verdict::Good, |(verdict, _)| *verdict);
    (verdict, found.into_iter().map(|(_, reason)| reason).collect())
}

/// Which of several verdicts is the line's: what is known to be bad before what is not known.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Down => 0,
        Verdict::WrongIsp => 1,
        Verdict::Slow => 2,
        Verdict::HighLatency => 3,
        Verdict::Marginal => 4,
        Verdict::Untested => 5,
        Verdict::Good => 6,
    }
}

fn of_test(test: &Test) -> Vec<(Verdict, String)> {
    let (way, floor) = (test.way.as_str(), units::rate(test.floor));
    let found = match &test.end {
        End::Made(found) => found,
        End::Bucket(_, rate, when) => {
            let rate = units::rate(*rate);
            return vec![(
                Verdict::Slow,
                format!(
                    "{way}: {rate} in the longer test of {when}, after a fast beginning; {floor} asked for"
                ),
            )];
        }
        End::Quiet => {
            return vec![(Verdict::Good, format!("{way}: not tested in these hours"))];
        }
        End::Not(why) => return vec![(Verdict::Untested, format!("{way}: not tested: {why}"))],
    };
    let rate = match found.rate {
        Some((rate, Bound::AtLeast)) => format!("{way}: at least {}", units::rate(rate)),
        Some((rate, Bound::About)) => format!("{way}: about {}", units::rate(rate)),
        None => format!("{way}: not told"),
    };
    let notes = found.notes.join("; ");
    let why = if notes.is_empty() { String::new() } else { format!(" ({notes})") };
    let verdict = match found.answer {
        Answer::Has(_) => Verdict::Good,
        Answer::HasNot(_) => Verdict::Slow,
        Answer::Near(_) => Verdict::Marginal,
        Answer::Stalled => {
            let text = format!("{way}: next to nothing came; {floor} asked for{why}");
            return vec![(Verdict::Slow, text)];
        }
        Answer::Open => {
            let why = if notes.is_empty() { "nobody could be asked".to_owned() } else { notes };
            return vec![(Verdict::Untested, format!("{way}: not tested: {why}"))];
        }
    };
    let near = if verdict == Verdict::Marginal { ", too near to tell" } else { "" };
    vec![(verdict, format!("{rate}{near}; {floor} asked for{why}"))]
}

fn of_latency(seen: &Seen) -> Vec<(Verdict, String)> {
    let mut found = Vec::new();
    let latency = seen.latency.as_ref();
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
    if let Some(most) = seen.max_latency {
        found.push(match latency.and_then(Latency::median) {
            Some(median) if median > most => (
                Verdict::HighLatency,
                format!("latency: {}; {} at most asked for", ms(median), ms(most)),
            ),
            Some(median) => (Verdict::Good, format!("latency: {}", ms(median))),
            None => (Verdict::Untested, "latency: not told, as nobody could be asked".into()),
        });
    }
    if let Some(most) = seen.max_loss {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        found.push(match latency.and_then(Latency::loss) {
            Some(loss) if loss > most => (
                Verdict::HighLatency,
                format!("loss: {}; {} at most asked for", percent(loss), percent(most)),
            ),
            Some(loss) => (Verdict::Good, format!("loss: {}", percent(loss))),
            None => (Verdict::Untested, "loss: not told, as nobody could be asked".into()),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steady::Steady;

    fn test(answer: Answer) -> Test {
        let rate = Some((14e6, Bound::AtLeast));
        let found =
            Found { answer, rate, server: None, was_long: false, fell: false, notes: Vec::new() };
        Test { way: Way::Download, floor: 10e6, end: End::Made(found) }
    }

    fn steady() -> Steady {
        let length = Duration::from_millis(300);
        Steady { rate: 1e6, within: 1e5, error: 1e4, windows: 6, length, growth: 1.0 }
    }

    #[test]
    fn what_is_known_to_be_bad_comes_before_what_is_not_known() {
        let wrong = Judgement::Wrong { reason: "AS1".into(), sources: 2 };
        let unknown = Judgement::Unknown { reason: "nobody says".into() };
        let latency =
            |ms: u64| Some(Latency { round_trips: vec![Duration::from_millis(ms)], asked: 2 });
        let seen = Seen { max_latency: Some(Duration::from_millis(100)), ..Seen::default() };
        let has = || vec![test(Answer::Has(steady()))];
        let has_not = || vec![test(Answer::HasNot(steady()))];
        let near = || vec![test(Answer::Near(None))];
        let open = || vec![test(Answer::Open)];
        for (seen, want, part) in [
            (
                Seen { latency: latency(20), tests: has(), ..seen.clone() },
                Verdict::Good,
                "at least 14 Mbit/s",
            ),
            (
                Seen { latency: latency(20), tests: near(), ..seen.clone() },
                Verdict::Marginal,
                "too near",
            ),
            (
                Seen { latency: latency(200), tests: has_not(), ..seen.clone() },
                Verdict::Slow,
                "10 Mbit/s asked",
            ),
            (
                Seen { latency: latency(200), tests: open(), ..seen.clone() },
                Verdict::HighLatency,
                "200 ms; 100 ms",
            ),
            (
                Seen { latency: latency(20), tests: open(), ..seen.clone() },
                Verdict::Untested,
                "nobody could be asked",
            ),
            (Seen { tests: has(), ..seen.clone() }, Verdict::Untested, "latency: not told"),
            (
                Seen { latency: latency(20), max_loss: Some(0.1), ..seen.clone() },
                Verdict::HighLatency,
                "loss: 50.0 %",
            ),
            (Seen { isp: Some(wrong), tests: has_not(), ..seen.clone() }, Verdict::WrongIsp, "AS1"),
            (
                Seen { isp: Some(unknown), latency: latency(20), tests: has(), ..seen.clone() },
                Verdict::Untested,
                "nobody says",
            ),
            (
                Seen { down: Some("gone".into()), tests: has(), ..seen.clone() },
                Verdict::Down,
                "gone",
            ),
            (Seen::default(), Verdict::Good, ""),
        ] {
            let (verdict, reasons) = judge(&seen);
            let first = reasons.first().map_or("", String::as_str);
            assert!(verdict == want && first.contains(part), "{verdict:?} {reasons:?}");
        }
    }

    #[test]
    fn a_bucket_that_was_seen_through_counts_until_it_is_seen_otherwise() {
        let Test { end: End::Made(found), .. } = test(Answer::Has(steady())) else { panic!() };
        let end = End::Bucket(found, 5e6, "03:10".into());
        let tests = vec![Test { way: Way::Download, floor: 1e7, end }];
        let (verdict, reasons) = judge(&Seen { tests, ..Seen::default() });
        assert_eq!(verdict, Verdict::Slow);
        assert!(reasons[0].contains("5 Mbit/s in the longer test of 03:10"), "{reasons:?}");
    }
}
