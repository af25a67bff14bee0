//! What is known of a channel as a whole: whether it may be used now. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff;
use crate::channel::{Fault, Outcome};
use crate::clock::{Stamp, millis};

/// How often a channel with wrong settings is tried: somebody has to mend them first, and
/// may have done so at the provider's, where nobody tells us.
const CONFIG_PROBE: Duration = Duration::from_secs(15 * 60);

/// Longest wait that a provider asked for and that is believed after a restart.
const MAX_ASKED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Shortest wait that a provider can ask for; of a shorter one [`backoff`] makes one that grows.
/// `Retry-After: 0`, and a date that is over by its own clock, are seen in the wild.
const LEAST_ASKED_FOR: Duration = Duration::from_secs(1);

/// Longest wait of our own: the longest of [`backoff`], and its fifth. A machine without a
/// battery-backed clock comes up in the past, where every moment written down is far ahead.
const MAX_OWN: Duration = Duration::from_secs(360);

/// Why a channel waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The line or the provider.
    Network,
    /// The provider said when to come back.
    RateLimit,
    /// The settings.
    Config,
}

/// A channel's health. Survives a restart, in `[host] state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is wrong, if anything.
    pub trouble: Option<Trouble>,
    /// Failures in a row.
    pub failures: u32,
    /// Not to be used before this moment of the wall clock, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// When that was written down, so that it can be taken up on the boot clock.
    #[serde(default)]
    pub written: Stamp,
    /// What happened last, in words.
    pub last: String,
    /// The same as `not_before_ms` on the sender's own monotonic clock.
    #[serde(skip)]
    pub until_ms: u64,
}

impl Health {
    /// Takes in what became of a try. `now_ms` is the monotonic clock.
    pub fn learn(&mut self, outcome: &Outcome, now_ms: u64, random: u32) {
        let (trouble, wait) = match outcome {
            // An answer about this message is an answer: the channel works.
            Outcome::Delivered { .. } | Outcome::Never { .. } => {
                *self = Self::default();
                return;
            }
            Outcome::Later { fault: Fault::Message, .. }
            | Outcome::Doubtful { fault: Fault::Message, .. } => {
                return;
            }
            Outcome::Later { fault: Fault::Channel, .. }
            | Outcome::Doubtful { fault: Fault::Channel, .. } => {
                (Trouble::Network, backoff::after(self.failures.saturating_add(1), random))
            }
            Outcome::Later { fault: Fault::RateLimit(wait), .. }
            | Outcome::Doubtful { fault: Fault::RateLimit(wait), .. } => {
                // "At once" would be asked for again and again. And never a moment early, whatever
                // the clocks' grains.
                let wait = wait.filter(|wait| *wait >= LEAST_ASKED_FOR);
                let wait = wait.map(|wait| wait + Duration::from_millis(50));
                (
                    Trouble::RateLimit,
                    wait.unwrap_or_else(|| backoff::after(self.failures.saturating_add(1), random)),
                )
            }
            Outcome::Config { .. } => (Trouble::Config, CONFIG_PROBE),
        };
        self.trouble = Some(trouble);
        self.failures = self.failures.saturating_add(1);
        self.until_ms = now_ms.saturating_add(millis(wait));
        self.last = outcome.to_string();
    }

    /// Forgets the wait, because somebody says that things have changed. What a provider
    /// asked for stands.
    pub fn kick(&mut self) {
        if self.trouble != Some(Trouble::RateLimit) {
            self.until_ms = 0;
        }
    }

    /// Prepares it for being written: the wall clock's form of the wait.
    pub fn before_write(&mut self, now_ms: u64, now: &Stamp) {
        self.not_before_ms = match self.until_ms.saturating_sub(now_ms) {
            0 => 0,
            wait => now.unix_ms.saturating_add(wait),
        };
        self.written = now.clone();
    }

    /// Takes up the wait after a restart. Wrong settings are tried at once: a restart is
    /// what somebody does who has mended them.
    pub fn after_read(&mut self, now_ms: u64, now: &Stamp) {
        let left_ms = self.written.left_ms(self.not_before_ms, now);
        self.until_ms = match self.trouble {
            Some(Trouble::Config) => now_ms,
            Some(Trouble::RateLimit) => ahead(left_ms, now_ms, MAX_ASKED_FOR),
            _ => resume(left_ms, now_ms),
        };
    }
}

/// The end of a wait of our own of which so much is left, on the monotonic clock.
#[must_use]
pub fn resume(left_ms: u64, now_ms: u64) -> u64 {
    ahead(left_ms, now_ms, MAX_OWN)
}

fn ahead(left_ms: u64, now_ms: u64, most: Duration) -> u64 {
    now_ms.saturating_add(left_ms.min(millis(most)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootStamp;

    impl Health {
        fn is_usable(&self, now_ms: u64) -> bool {
            self.until_ms <= now_ms
        }
    }

    fn later(fault: Fault) -> Outcome {
        Outcome::Later { why: "x".into(), fault }
    }

    #[test]
    fn failures_add_up_and_one_success_ends_them() {
        let mut health = Health::default();
        for seconds in [1, 2, 4] {
            health.learn(&later(Fault::Channel), 1000, 200);
            assert_eq!(health.until_ms, 1000 + seconds * 1000);
        }
        assert!(!health.is_usable(4999) && health.is_usable(5000));
        health.learn(&Outcome::Delivered { id: None, answer: String::new() }, 5000, 0);
        assert_eq!(health, Health::default());
    }

    #[test]
    fn a_kick_ends_every_wait_but_the_providers_own() {
        let mut health = Health::default();
        health.learn(&later(Fault::RateLimit(Some(Duration::from_secs(3)))), 0, 0);
        health.kick();
        assert!(!health.is_usable(3000) && health.is_usable(3050));
        for outcome in [later(Fault::Channel), Outcome::Config { why: "x".into() }] {
            let mut health = Health::default();
            health.learn(&outcome, 0, 0);
            assert!(!health.is_usable(500));
            health.kick();
            assert!(health.is_usable(0));
        }
    }

    #[test]
    fn a_fault_of_one_message_leaves_the_channel_usable() {
        let mut health = Health::default();
        health.learn(&Outcome::doubtful("HTTP 500", Fault::Message), 0, 0);
        assert!(health.is_usable(0));
    }

    #[test]
    fn a_provider_that_says_at_once_again_and_again_is_not_believed() {
        let mut health = Health::default();
        for seconds in [1, 2, 4] {
            health.learn(&later(Fault::RateLimit(Some(Duration::ZERO))), 1000, 200);
            assert_eq!(health.until_ms, 1000 + seconds * 1000);
        }
    }

    #[test]
    fn a_wait_survives_a_restart_and_no_clock_makes_it_shorter_or_longer() {
        const DAY: u64 = 86_400_000;
        let at =
            |unix_ms, id: &str, ms| Stamp { unix_ms, boot: Some(BootStamp { id: id.into(), ms }) };
        let mut health = Health::default();
        health.learn(&later(Fault::RateLimit(Some(Duration::from_secs(100)))), 0, 0);
        health.before_write(0, &at(2 * DAY, "a", 0));
        let json = serde_json::to_string(&health).unwrap();
        let mut back: Health = serde_json::from_str(&json).unwrap();
        for (now, left_ms) in [
            (at(2 * DAY + 60_000, "a", 60_000), 40_050),
            (at(3 * DAY, "a", 60_000), 40_050),
            (at(DAY, "a", 60_000), 40_050),
            (at(2 * DAY + 60_000, "b", 1), 40_050),
            (at(DAY, "b", 1), 100_050),
        ] {
            back.after_read(7, &now);
            assert_eq!(back.until_ms, 7 + left_ms, "{now:?}");
        }
        // A file that holds anything at all.
        back.not_before_ms = u64::MAX;
        back.after_read(7, &at(0, "b", 1));
        assert_eq!(back.until_ms, 7 + DAY);
        back.trouble = Some(Trouble::Network);
        back.after_read(7, &at(0, "b", 1));
        assert_eq!(back.until_ms, 7 + 360_000);
    }
}
