//! How often a change is a reason to hurry. Pure. Router advertisements, scans of a Wi-Fi, containers and
//! VPNs change something about the network all the time, and nearly none of it helps.

/// A change that comes in a burst: the first of them is seldom the one that helps.
const SETTLE_MS: u64 = 300;

/// So many changes are heeded at once, and then one in this time.
const AT_ONCE: u64 = 3;
const EVERY_MS: u64 = 10_000;

/// What has changed and was not yet heeded, and how many may be. The default is for the network's changes.
#[derive(Debug)]
pub struct Haste {
    settle_ms: u64,
    every_ms: u64,
    /// Since when there is a change that was not heeded.
    changed_ms: Option<u64>,
    /// When all that may be heeded at once may be again.
    full_ms: u64,
}

impl Default for Haste {
    fn default() -> Self {
        Self::new(SETTLE_MS, EVERY_MS)
    }
}

impl Haste {
    /// One that waits so long for others to come with a change, and heeds one in `every_ms` after three
    /// at once.
    #[must_use]
    pub fn new(settle_ms: u64, every_ms: u64) -> Self {
        Self { settle_ms, every_ms, changed_ms: None, full_ms: 0 }
    }

    /// Something has changed.
    pub fn changed(&mut self, now_ms: u64) {
        self.changed_ms.get_or_insert(now_ms);
    }

    /// When there is a change to heed. None is forgotten: the last of many may be the one that counts.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let allowed = self.full_ms.saturating_sub((AT_ONCE - 1) * self.every_ms);
        self.changed_ms.map(|at| (at + self.settle_ms).max(allowed))
    }

    /// Whether a change is to be heeded now.
    pub fn heeds(&mut self, now_ms: u64) -> bool {
        let heeds = self.due_ms().is_some_and(|due| now_ms >= due);
        if heeds {
            self.changed_ms = None;
            self.full_ms = self.full_ms.max(now_ms) + self.every_ms;
        }
        heeds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When changes that come at some times are heeded, in a minute.
    fn heeded(changes: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut haste = Haste::default();
        let one = |now: u64| {
            if changes(now) {
                haste.changed(now);
            }
            haste.heeds(now).then_some(now)
        };
        (0..60_000).step_by(50).filter_map(one).collect()
    }

    #[test]
    fn a_storm_is_heeded_three_times_and_then_each_ten_seconds() {
        assert_eq!(heeded(|now| now == 0), [300]);
        assert_eq!(heeded(|now| now < 200), [300], "a burst is one");
        assert_eq!(heeded(|now| now % 20_000 == 0), [300, 20_300, 40_300]);
        let storm = heeded(|now| now % 250 == 0);
        assert_eq!(storm[..3], [300, 800, 1_300]);
        assert!(storm.len() <= 9, "{storm:?}");
        assert!(storm[2..].windows(2).all(|two| two[1] - two[0] >= 8_000), "{storm:?}");
        // The last change of a storm is heeded, too, and the first after a rest at once.
        let storm = heeded(|now| now < 5_000 || now == 50_000);
        assert_eq!((storm.len(), storm.last()), (5, Some(&50_300)), "{storm:?}");
        assert!((5_000..=15_000).contains(&storm[3]), "{storm:?}");
    }
}
