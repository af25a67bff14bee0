//! How much a channel may send in an hour and in a day: an SMS is paid for, and whoever can make
//! alerts must not be able to empty the account. Pure, but for [`full_in`].

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::Way;
use crate::channel::Limits;
use crate::clock::{Stamp, millis};
use crate::spool::files;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How many times the limits a critical alert may use: they can be many and true, and still
/// there has to be an end.
const CRITICAL: u32 = 2;

/// Which part of a limit is kept for logins: one of so many. Notes and conditions may come from anybody in
/// the writers' group, and must not be able to keep a login from being told.
const LOGINS: u32 = 2;

/// What is to be sent, as far as its limits depend on that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim {
    /// Whether it is critical.
    pub critical: bool,
    /// Whether it is a login, which nobody but root can tell of.
    pub login: bool,
}

/// What a channel has sent in the last 24 hours. Survives a restart, in `[host] state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    minutes: VecDeque<Minute>,
    /// When it was written down, so that it can be taken up on the boot clock.
    #[serde(default)]
    written: Stamp,
    /// For who reads it beside the sender: until when it is full, in milliseconds since 1970; 0 where it is not.
    #[serde(default)]
    full_until_ms: u64,
    /// The same for logins.
    #[serde(default)]
    full_for_logins_until_ms: u64,
}

/// The file in `[host] state`: what each channel has used.
pub const FILE: &str = "usage.json";

/// A channel that has sent as much as it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsFull {
    /// Its name.
    pub channel: String,
    /// How long it will be so.
    pub left: Duration,
    /// The same for logins, for which a part is kept; nothing where they may be sent now.
    pub left_for_logins: Duration,
}

/// Largest such file that is read, in bytes: each minute of a day of some channels.
const MAX_FILE: u64 = 1024 * 1024;

/// The channels that are full, by the file in this directory. That is the sender's, and who asks may be root: whatever lies there
/// makes nobody wait.
#[must_use]
pub fn full_in(state: &Path, now_ms: u64) -> Vec<IsFull> {
    full_channels(&files::read_plain(&state.join(FILE), MAX_FILE).unwrap_or_default(), now_ms)
}

/// The channels that are full, by what the sender has last written, at a moment of the wall clock in milliseconds
/// since 1970.
fn full_channels(json: &[u8], now_ms: u64) -> Vec<IsFull> {
    let usage: BTreeMap<String, Usage> = serde_json::from_slice(json).unwrap_or_default();
    // No window is longer; more is a clock that was set back.
    let left = |until_ms: u64| Duration::from_millis(until_ms.saturating_sub(now_ms).min(DAY_MS));
    let full = usage.into_iter().map(|(channel, usage)| IsFull {
        channel,
        left: left(usage.full_until_ms),
        left_for_logins: left(usage.full_for_logins_until_ms),
    });
    full.filter(|full| !full.left.is_zero()).collect()
}

/// What was sent within a minute, which is as exact as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Minute {
    /// When the last of it was sent, in milliseconds since 1970, by the clock of `written`.
    unix_ms: u64,
    messages: u32,
    segments: u32,
    /// Those of them that were logins.
    #[serde(default)]
    logins: u32,
    #[serde(default)]
    login_segments: u32,
    /// The same as `unix_ms` on the sender's own monotonic clock. Before the sender began it
    /// would be negative.
    #[serde(skip)]
    at_ms: i64,
}

impl Usage {
    /// Takes down a message that was sent, or may have been.
    pub fn add(&mut self, segments: u32, login: bool, now_ms: u64) {
        let logins = if login { (1, segments) } else { (0, 0) };
        let now = signed(now_ms);
        while self.minutes.front().is_some_and(|old| now - old.at_ms >= signed(DAY_MS)) {
            self.minutes.pop_front();
        }
        match self.minutes.back_mut() {
            // Once a minute has begun it takes what comes in that minute, not for ever.
            Some(last) if last.at_ms / signed(MINUTE_MS) == now / signed(MINUTE_MS) => {
                last.messages = last.messages.saturating_add(1);
                last.segments = last.segments.saturating_add(segments);
                last.logins = last.logins.saturating_add(logins.0);
                last.login_segments = last.login_segments.saturating_add(logins.1);
                last.at_ms = now;
            }
            _ => self.minutes.push_back(Minute {
                unix_ms: 0,
                messages: 1,
                segments,
                logins: logins.0,
                login_segments: logins.1,
                at_ms: now,
            }),
        }
    }

    /// When a message of at most `segments` may be sent, on the monotonic clock; 0 for now. A login may as
    /// soon as there is room for it, or in the part that is kept for logins.
    #[must_use]
    pub fn free_at(&self, limits: &Limits, segments: u32, claim: Claim, now_ms: u64) -> u64 {
        let times = if claim.critical { CRITICAL } else { 1 };
        let all = limits.scaled(|most| most.saturating_mul(times));
        let of_all = [|minute: &Minute| minute.messages, |minute: &Minute| minute.segments];
        let free = self.free_in(&all, segments, of_all, now_ms);
        if !claim.login {
            return free;
        }
        let kept = all.scaled(|most| most.div_ceil(LOGINS));
        let of_logins = [|minute: &Minute| minute.logins, |minute: &Minute| minute.login_segments];
        free.min(self.free_in(&kept, segments, of_logins, now_ms))
    }

    /// The same within `limits`, of what `of` counts: messages, and segments.
    fn free_in(
        &self,
        limits: &Limits,
        segments: u32,
        of: [fn(&Minute) -> u32; 2],
        now_ms: u64,
    ) -> u64 {
        let [messages, in_segments] = of;
        [
            self.window(limits.per_hour, HOUR_MS, 1, messages, now_ms),
            self.window(limits.per_day, DAY_MS, 1, messages, now_ms),
            self.window(limits.segments_per_hour, HOUR_MS, segments, in_segments, now_ms),
            self.window(limits.segments_per_day, DAY_MS, segments, in_segments, now_ms),
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
        now_ms: u64,
    ) -> u64 {
        let Some(most) = most else { return 0 };
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

    /// Prepares it for being written. `way` is what is known of its channel, if that is still in the configuration.
    pub fn before_write(&mut self, way: Option<&Way>, now_ms: u64, now: &Stamp) {
        let until = |login: bool| {
            let claim = Claim { critical: false, login };
            let free_at =
                way.map_or(0, |way| self.free_at(&way.limits, way.segments, claim, now_ms));
            if free_at > now_ms { now.unix_ms.saturating_add(free_at - now_ms) } else { 0 }
        };
        (self.full_until_ms, self.full_for_logins_until_ms) = (until(false), until(true));
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

    const CRITICAL_NOTE: Claim = Claim { critical: true, login: false };

    #[test]
    fn who_asks_beside_the_sender_is_told_what_is_full_and_for_how_long() {
        let way = Way { limits: HOURLY, segments: 1, ..Way::default() };
        let now = Stamp { unix_ms: 5_000_000, boot: None };
        let full = |usage: &mut Usage, since_ms: u64| {
            usage.before_write(Some(&way), 1000, &now);
            let json = serde_json::to_vec(&BTreeMap::from([("sms", &*usage)])).unwrap();
            let full = full_channels(&json, now.unix_ms + since_ms);
            full.into_iter()
                .map(|one| (one.left.as_secs(), one.left_for_logins.as_secs()))
                .collect::<Vec<_>>()
        };
        let mut usage = used(&[(0, 1); 2]);
        assert_eq!(full(&mut usage, 0), []);
        usage.add(1, false, 0);
        assert_eq!(full(&mut usage, 0), [(3599, 0)]);
        assert_eq!(full(&mut usage, 3_000_000), [(599, 0)]);
        assert_eq!(full(&mut usage, 3_600_000), []);
        usage.add(1, true, 0);
        usage.add(1, true, 0);
        assert_eq!(full(&mut usage, 0), [(3599, 3599)]);
        assert_eq!(full_channels(b"", 0), [], "nothing was sent yet");
        usage.full_until_ms = u64::MAX;
        let json = serde_json::to_vec(&BTreeMap::from([("sms", &usage)])).unwrap();
        assert_eq!(
            full_channels(&json, 0)[0].left,
            Duration::from_secs(86_400),
            "no window is longer"
        );

        let dir = std::env::temp_dir().join(format!("notifier-full-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(FILE), &json).unwrap();
        assert_eq!(full_in(&dir, 0).len(), 1);
        std::fs::rename(dir.join(FILE), dir.join("other")).unwrap();
        std::os::unix::fs::symlink(dir.join("other"), dir.join(FILE)).unwrap();
        assert_eq!(full_in(&dir, 0), [], "root follows nobody elsewhere");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn whatever_others_have_used_a_part_is_left_for_logins() {
        const LOGIN: Claim = Claim { critical: false, login: true };
        let mut usage = used(&[(0, 1); 6]);
        assert_eq!(usage.free_at(&HOURLY, 1, CRITICAL_NOTE, 1), HOUR_MS, "all is used, and more");
        for sent in 0..2 {
            assert_eq!(usage.free_at(&HOURLY, 1, LOGIN, 1), 0, "after {sent} logins");
            usage.add(1, true, 1);
        }
        assert_eq!(usage.free_at(&HOURLY, 1, LOGIN, 2), HOUR_MS + 1);
        // Where there is room, logins may use all of it.
        let mut usage = Usage::default();
        (0..3).for_each(|_| usage.add(1, true, 0));
        assert_eq!(usage.free_at(&HOURLY, 1, LOGIN, 1), HOUR_MS);
        let back: Usage = serde_json::from_str(&serde_json::to_string(&usage).unwrap()).unwrap();
        assert_eq!(back.minutes[0].logins, 3);
    }

    fn used(times: &[(u64, u32)]) -> Usage {
        let mut usage = Usage::default();
        times.iter().for_each(|(at_ms, segments)| usage.add(*segments, false, *at_ms));
        usage
    }

    #[test]
    fn a_limit_frees_up_as_its_window_moves() {
        let usage = used(&[(0, 1), (600_000, 1), (1_200_000, 1)]);
        assert_eq!(
            used(&[(0, 1), (600_000, 1)]).free_at(&HOURLY, 1, Claim::default(), 1_200_000),
            0
        );
        assert_eq!(usage.free_at(&HOURLY, 1, Claim::default(), 1_200_000), HOUR_MS);
        assert_eq!(usage.free_at(&HOURLY, 1, Claim::default(), HOUR_MS), 0);
        assert_eq!(usage.free_at(&Limits::default(), 1, Claim::default(), 1_200_000), 0);
    }

    #[test]
    fn segments_count_apart_from_messages() {
        let usage = used(&[(0, 6), (7_200_000, 3)]);
        assert_eq!(usage.free_at(&HOURLY, 1, Claim::default(), 7_300_000), 0);
        assert_eq!(usage.free_at(&HOURLY, 2, Claim::default(), 7_300_000), DAY_MS);
        // One message may go in any case, or a limit below its cost would stop everything.
        assert_eq!(Usage::default().free_at(&HOURLY, 11, Claim::default(), 0), 0);
    }

    #[test]
    fn critical_alerts_have_twice_as_much_and_no_more() {
        let many = used(&[(0, 1); 5]);
        assert_eq!(many.free_at(&HOURLY, 1, Claim::default(), 1), HOUR_MS);
        assert_eq!(many.free_at(&HOURLY, 1, CRITICAL_NOTE, 1), 0);
        assert_eq!(used(&[(0, 1); 6]).free_at(&HOURLY, 1, CRITICAL_NOTE, 1), HOUR_MS);
    }

    #[test]
    fn usage_survives_a_restart_and_a_clock_that_jumps() {
        let at =
            |unix_ms, id: &str, ms| Stamp { unix_ms, boot: Some(BootStamp { id: id.into(), ms }) };
        let mut usage = used(&[(0, 1), (60_000, 1), (120_000, 1)]);
        usage.before_write(None, 180_000, &at(1_000_000_000, "a", 180_000));
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
            assert_eq!(back.free_at(&HOURLY, 1, Claim::default(), 5000), want, "{now:?}");
        }
    }

    #[test]
    fn it_stays_small() {
        let mut usage = Usage::default();
        (0..3_000_000).step_by(20).for_each(|second| usage.add(1, false, second * 1000));
        assert!(usage.minutes.len() <= 1441, "{}", usage.minutes.len());
    }
}
