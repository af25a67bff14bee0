//! How much a channel may send in an hour and in a day: an SMS is paid for, and whoever can make
//! alerts must not be able to empty the account. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::channel::Limits;
use crate::clock::{Stamp, millis};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How many times the limits a critical alert may use: they can be many and true, and still
/// there has to be an end.
const CRITICAL: u32 = 2;

/// What a channel has sent in the last 24 hours. Survives a restart, in `[host] state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    minutes: VecDeque<Minute>,
    /// When it was written down, so that it can be taken up on the boot clock.
    #[serde(default)]
    written: Stamp,
}

/// What was sent within a minute, which is as exact as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Minute {
    /// When the last of it was sent, in milliseconds since 1970, by the clock of `written`.
    unix_ms: u64,
    messages: u32,
    segments: u32,
    /// The same as `unix_ms` on the sender's own monotonic clock. Before the sender began it
    /// would be negative.
    #[serde(skip)]
    at_ms: i64,
}

impl Usage {
    /// Takes down a message that was sent.
    pub fn add(&mut self, segments: u32, now_ms: u64) {
        let now = signed(now_ms);
        while self.minutes.front().is_some_and(|old| now - old.at_ms >= signed(DAY_MS)) {
            self.minutes.pop_front();
        }
        match self.minutes.back_mut() {
            // Once a minute has begun it takes what comes in that minute, not for ever.
            Some(last) if last.at_ms / signed(MINUTE_MS) == now / signed(MINUTE_MS) => {
                last.messages = last.messages.saturating_add(1);
                last.segments = last.segments.saturating_add(segments);
                last.at_ms = now;
            }
            _ => self.minutes.push_back(Minute { unix_ms: 0, messages: 1, segments, at_ms: now }),
        }
    }

    /// When a message of at most `segments` may be sent, on the monotonic clock; 0 for now.
    #[must_use]
    pub fn free_at(&self, limits: &Limits, segments: u32, critical: bool, now_ms: u64) -> u64 {
        let messages = |minute: &Minute| minute.messages;
        let in_segments = |minute: &Minute| minute.segments;
        [
            self.window(limits.per_hour, HOUR_MS, 1, messages, critical, now_ms),
            self.window(limits.per_day, DAY_MS, 1, messages, critical, now_ms),
            self.window(limits.segments_per_hour, HOUR_MS, segments, in_segments, critical, now_ms),
            self.window(limits.segments_per_day, DAY_MS, segments, in_segments, critical, now_ms),
        ]
        .into_iter()
        .max()
        .unwrap_or(0)
    }

    fn window(
        &self,
        most: Option<u32>,
        length_ms: u64,
        cost: u32,
        of: impl Fn(&Minute) -> u32,
        critical: bool,
        now_ms: u64,
    ) -> u64 {
        let Some(most) = most else { return 0 };
        let most = if critical { most.saturating_mul(CRITICAL) } else { most };
        let since = signed(now_ms) - signed(length_ms);
        let mut used: u32 =
            self.minutes.iter().filter(|minute| minute.at_ms > since).map(&of).sum();
        let mut free_at = 0;
        for minute in self.minutes.iter().filter(|minute| minute.at_ms > since) {
            // Alone it may always go: a limit below the cost of one would stop everything.
            if used == 0 || used.saturating_add(cost) <= most {
                break;
            }
            used = used.saturating_sub(of(minute));
            free_at = u64::try_from(minute.at_ms + signed(length_ms)).unwrap_or(0);
        }
        free_at
    }

    /// Prepares it for being written.
    pub fn before_write(&mut self, now_ms: u64, now: &Stamp) {
        for minute in &mut self.minutes {
            let age = u64::try_from(signed(now_ms) - minute.at_ms).unwrap_or(0);
            minute.unix_ms = now.unix_ms.saturating_sub(age);
        }
        self.written = now.clone();
    }

    /// Takes it up after a restart. A wall clock that was set in this boot changes nothing; across
    /// boots there is no other, and where it went back no time has passed.
    pub fn after_read(&mut self, now_ms: u64, now: &Stamp) {
        let since_ms = millis(self.written.age(now));
        for minute in &mut self.minutes {
            let age_ms = self.written.unix_ms.saturating_sub(minute.unix_ms);
            minute.at_ms = signed(now_ms) - signed(age_ms.saturating_add(since_ms));
        }
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootStamp;

    const HOURLY: Limits = Limits {
        per_hour: Some(3),
        per_day: None,
        segments_per_hour: None,
        segments_per_day: Some(10),
    };

    fn used(times: &[(u64, u32)]) -> Usage {
        let mut usage = Usage::default();
        times.iter().for_each(|(at_ms, segments)| usage.add(*segments, *at_ms));
        usage
    }

    #[test]
    fn a_limit_frees_up_as_its_window_moves() {
        let usage = used(&[(0, 1), (600_000, 1), (1_200_000, 1)]);
        assert_eq!(used(&[(0, 1), (600_000, 1)]).free_at(&HOURLY, 1, false, 1_200_000), 0);
        assert_eq!(usage.free_at(&HOURLY, 1, false, 1_200_000), HOUR_MS);
        assert_eq!(usage.free_at(&HOURLY, 1, false, HOUR_MS), 0);
        assert_eq!(usage.free_at(&Limits::default(), 1, false, 1_200_000), 0);
    }

    #[test]
    fn segments_count_apart_from_messages() {
        let usage = used(&[(0, 6), (7_200_000, 3)]);
        assert_eq!(usage.free_at(&HOURLY, 1, false, 7_300_000), 0);
        assert_eq!(usage.free_at(&HOURLY, 2, false, 7_300_000), DAY_MS);
        // One message may go in any case, or a limit below its cost would stop everything.
        assert_eq!(Usage::default().free_at(&HOURLY, 11, false, 0), 0);
    }

    #[test]
    fn critical_alerts_have_twice_as_much_and_no_more() {
        let many = used(&[(0, 1); 5]);
        assert_eq!(many.free_at(&HOURLY, 1, false, 1), HOUR_MS);
        assert_eq!(many.free_at(&HOURLY, 1, true, 1), 0);
        assert_eq!(used(&[(0, 1); 6]).free_at(&HOURLY, 1, true, 1), HOUR_MS);
    }

    #[test]
    fn usage_survives_a_restart_and_a_clock_that_jumps() {
        let at =
            |unix_ms, id: &str, ms| Stamp { unix_ms, boot: Some(BootStamp { id: id.into(), ms }) };
        let mut usage = used(&[(0, 1), (60_000, 1), (120_000, 1)]);
        usage.before_write(180_000, &at(1_000_000_000, "a", 180_000));
        let json = serde_json::to_string(&usage).unwrap();
        for (now, want) in [
            // Ten minutes later; and the wall clock a day back, a day on.
            (at(1_000_600_000, "a", 780_000), 5000 + HOUR_MS - 780_000),
            (at(1_000_600_000 - DAY_MS, "a", 780_000), 5000 + HOUR_MS - 780_000),
            (at(1_000_600_000 + DAY_MS, "a", 780_000), 5000 + HOUR_MS - 780_000),
            // After a reboot.
            (at(1_000_600_000, "b", 1), 5000 + HOUR_MS - 780_000),
            (at(1_000_600_000 - DAY_MS, "b", 1), 5000 + HOUR_MS - 180_000),
            (at(1_000_600_000 + DAY_MS, "b", 1), 0),
        ] {
            let mut back: Usage = serde_json::from_str(&json).unwrap();
            back.after_read(5000, &now);
            assert_eq!(back.free_at(&HOURLY, 1, false, 5000), want, "{now:?}");
        }
    }

    #[test]
    fn it_stays_small() {
        let mut usage = Usage::default();
        (0..3_000_000).step_by(20).for_each(|second| usage.add(1, second * 1000));
        assert!(usage.minutes.len() <= 1441, "{}", usage.minutes.len());
    }
}
