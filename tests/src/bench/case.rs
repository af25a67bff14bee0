//! What became of the alerts that somebody, ours or a peer, was given while something was wrong.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bastion_tests::alert::id;

use super::receiver::Taken;
use super::wrong::Wrong;

/// What became of them.
#[derive(Debug, Clone)]
pub struct Ended {
    /// A channel, or a peer.
    pub who: &'static str,
    /// What went wrong.
    pub wrong: Wrong,
    /// How many alerts there were.
    pub alerts: usize,
    /// How many of them never came.
    pub lost: usize,
    /// How many had not come when nobody waited any longer, and may still come.
    pub late: usize,
    /// How many messages came too many.
    pub duplicates: usize,
    /// Whether each copy has the Message-ID of the first, by which a reader knows it.
    pub known_copies: bool,
    /// When each try came to the receiver, in microseconds since 1970.
    pub tries: Vec<u64>,
    /// Seconds from the end of an outage until all had come.
    pub back_s: Option<f64>,
    /// Seconds from the first try until an alert had come to the channel that is fallen back to.
    pub fallback_s: Option<f64>,
    /// Most memory that the sender had, in KiB.
    pub peak_kib: u64,
}

impl Ended {
    /// Counts what came of the case's alerts. `mended_us` is the end of the outage.
    pub fn new(
        who: &'static str,
        wrong: Wrong,
        taken: &[Taken],
        tries: Vec<u64>,
        mended_us: Option<u64>,
    ) -> Self {
        let copies_of = |number: &u32| {
            let id = id(*number);
            taken.iter().filter(|one| one.text.contains(&id)).collect::<Vec<_>>()
        };
        let copies: Vec<Vec<&Taken>> = wrong.numbers().iter().map(copies_of).collect();
        let known = |copies: &Vec<&Taken>| {
            copies
                .windows(2)
                .all(|two| two[0].message_id.is_some() && two[0].message_id == two[1].message_id)
        };
        let last = copies.iter().filter_map(|copies| copies.first()).map(|one| one.at_us).max();
        let lost = copies.iter().filter(|copies| copies.is_empty()).count();
        Self {
            who,
            wrong,
            alerts: copies.len(),
            lost,
            late: 0,
            duplicates: copies.iter().map(|copies| copies.len().saturating_sub(1)).sum(),
            known_copies: copies.iter().all(known),
            tries,
            back_s: mended_us.zip(last).filter(|_| lost == 0).map(|(from, to)| seconds(from, to)),
            fallback_s: None,
            peak_kib: 0,
        }
    }

    /// Seconds between the first try and the next.
    pub fn second_try_s(&self) -> Option<f64> {
        let [first, second, ..] = self.tries[..] else { return None };
        Some(seconds(first, second))
    }
}

/// Now, in microseconds since 1970, as the receivers' logs have it.
pub fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// From one such moment to another; 0 when that is before.
pub fn seconds(from_us: u64, to_us: u64) -> f64 {
    Duration::from_micros(to_us.saturating_sub(from_us)).as_secs_f64()
}

/// Runs `jobs`, most of which wait most of the time, `at_once` at a time; answers in their order.
pub fn at_once<T: Sync, R: Send>(
    jobs: &[T],
    at_once: usize,
    run: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = Mutex::new(jobs.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let job = next.lock().expect("nobody panics with it").next();
                    let Some((number, job)) = job else { break };
                    let result = run(job);
                    done.lock().expect("nobody panics with it").push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panics with it");
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
