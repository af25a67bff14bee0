//! Time as the project needs it: a wall clock that a person understands and a boot clock
//! that nobody can set, kept together so that one can vouch for the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ffi;

/// Where the kernel says which boot this is (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A moment, on the wall clock and on the boot clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since 1970 in UTC, as this machine believed.
    pub unix_ms: u64,
    /// The boot clock, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootStamp>,
}

/// A moment on `CLOCK_BOOTTIME`, which counts suspended time and cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootStamp {
    /// The kernel's id of this boot; moments of different boots cannot be compared.
    pub id: String,
    /// Milliseconds since that boot.
    pub ms: u64,
}

impl Stamp {
    /// Now. Costs one small read of `/proc`; touches nothing else.
    #[must_use]
    pub fn now() -> Self {
        let boot = std::fs::read_to_string(BOOT_ID)
            .ok()
            .zip(ffi::boottime())
            .map(|(id, since)| BootStamp { id: id.trim_end().to_owned(), ms: millis(since) });
        Self { unix_ms: unix_ms(), boot }
    }

    /// Whether both moments are of the same boot, so that no clock that was set lies between them.
    #[must_use]
    pub fn is_same_boot(&self, other: &Self) -> bool {
        matches!((&self.boot, &other.boot), (Some(one), Some(two)) if one.id == two.id)
    }

    /// How long before `now` this was. Within one boot the boot clock answers, so that a
    /// wall clock set a day forwards or backwards changes nothing; across boots the wall
    /// clock has to do, and a moment in its future counts as just now.
    #[must_use]
    pub fn age(&self, now: &Self) -> Duration {
        let ms = match (&self.boot, &now.boot) {
            (Some(then), Some(now)) if then.id == now.id => now.ms.saturating_sub(then.ms),
            _ => now.unix_ms.saturating_sub(self.unix_ms),
        };
        Duration::from_millis(ms)
    }

    /// The moment so long before this one.
    #[must_use]
    pub fn before(&self, time: Duration) -> Self {
        let ms = millis(time);
        // A boot clock knows nothing of the time before the boot.
        let boot = self.boot.as_ref().and_then(|boot| {
            let ms = boot.ms.checked_sub(ms)?;
            Some(BootStamp { id: boot.id.clone(), ms })
        });
        Self { unix_ms: self.unix_ms.saturating_sub(ms), boot }
    }

    /// How much is left at `now` of a wait that was to end at `not_before_ms` by the wall clock of
    /// this moment, in milliseconds. A wall clock that was set since, in this boot, makes it
    /// neither shorter nor longer; no clock makes it longer than it was.
    #[must_use]
    pub fn left_ms(&self, not_before_ms: u64, now: &Self) -> u64 {
        let wait_ms = not_before_ms.saturating_sub(self.unix_ms);
        wait_ms.saturating_sub(millis(self.age(now)))
    }

    /// When this was by the wall clock as it stands at `now`, in milliseconds since 1970: in what
    /// order things happened, whoever has set the clock between them in this boot.
    #[must_use]
    pub fn by_clock_of(&self, now: &Self) -> u64 {
        now.unix_ms.saturating_sub(millis(self.age(now)))
    }
}

/// Milliseconds since 1970 by the wall clock; 0 for a clock before that.
#[must_use]
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// `d` in whole milliseconds.
#[must_use]
pub fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_ms: u64, boot: Option<(&str, u64)>) -> Stamp {
        Stamp { unix_ms, boot: boot.map(|(id, ms)| BootStamp { id: id.into(), ms }) }
    }

    #[test]
    fn a_moment_before_has_that_age_and_no_boot_clock_from_before_the_boot() {
        let now = at(10_000, Some(("a", 5_000)));
        for (ms, want) in [
            (0, at(10_000, Some(("a", 5_000)))),
            (5_000, at(5_000, Some(("a", 0)))),
            (5_001, at(4_999, None)),
            (20_000, at(0, None)),
        ] {
            let then = now.before(Duration::from_millis(ms));
            assert_eq!(then, want, "{ms}");
            assert_eq!(then.age(&now), Duration::from_millis(ms.min(10_000)));
        }
    }

    #[test]
    fn age_takes_the_boot_clock_within_a_boot_and_the_wall_clock_across() {
        const DAY: u64 = 86_400_000;
        let table = [
            // (then, now, age in ms)
            (at(1000, Some(("a", 10))), at(1000 + DAY, Some(("a", 15))), 5),
            (at(DAY, Some(("a", 10))), at(0, Some(("a", 15))), 5),
            (at(1000, Some(("a", 10))), at(3000, Some(("b", 1))), 2000),
            (at(3000, None), at(1000, Some(("b", 1))), 0),
        ];
        for (then, now, want) in table {
            assert_eq!(then.age(&now), Duration::from_millis(want), "{then:?} {now:?}");
        }
    }

    #[test]
    fn a_wait_is_as_long_as_it_was_whatever_the_wall_clock_does() {
        const DAY: u64 = 86_400_000;
        let written = at(DAY, Some(("a", 1000)));
        let table = [
            // (now, left of 50 s)
            (at(DAY + 20_000, Some(("a", 21_000))), 30_000),
            (at(2 * DAY, Some(("a", 21_000))), 30_000),
            (at(0, Some(("a", 21_000))), 30_000),
            (at(0, Some(("a", 60_000))), 0),
            (at(DAY + 20_000, Some(("b", 5))), 30_000),
            // A machine without a battery for its clock, after a reboot.
            (at(0, Some(("b", 5))), 50_000),
        ];
        for (now, want) in table {
            assert_eq!(written.left_ms(DAY + 50_000, &now), want, "{now:?}");
        }
        assert_eq!(written.left_ms(0, &written), 0);
    }

    #[test]
    fn what_happened_first_is_told_by_the_boot_clock() {
        let now = at(5000, Some(("a", 60_000)));
        let down = at(90_000_000, Some(("a", 10_000)));
        let up = at(4000, Some(("a", 59_000)));
        assert!(down.by_clock_of(&now) < up.by_clock_of(&now));
        assert_eq!(at(3000, Some(("b", 7))).by_clock_of(&now), 3000, "of another boot");
        assert_eq!(at(9000, None).by_clock_of(&now), 5000, "not in the future");
    }

    #[test]
    fn now_has_both_clocks_on_linux() {
        let stamp = Stamp::now();
        assert!(stamp.unix_ms > 1_700_000_000_000);
        assert!(stamp.boot.is_some());
    }
}
