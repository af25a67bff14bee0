//! What is known of a channel as a whole: whether it may be used now. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff;
use crate::channel::{Fault, Outcome};
use crate::clock::millis;

/// How often a channel with wrong settings is tried: somebody has to mend them first, and
/// may have done so at the provider's, where nobody tells us.
const CONFIG_PROBE: Duration = Duration::from_secs(15 * 60);

/// Longest wait that a provider asked for and that is believed after a restart.
const MAX_ASKED_FOR: Duration = Duration::from_secs(24 * 3600);

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
                // Never a moment early, whatever the clocks' grains.
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
    pub fn before_write(&mut self, now_ms: u64, unix_ms: u64) {
        self.not_before_ms = match self.until_ms.saturating_sub(now_ms) {
            0 => 0,
            wait => unix_ms.saturating_add(wait),
        };
    }

    /// Takes up the wait after a restart. Wrong settings are tried at once: a restart is
    /// what somebody does who has mended them.
    pub fn after_read(&mut self, now_ms: u64, unix_ms: u64) {
        self.until_ms = match self.trouble {
            Some(Trouble::Config) => now_ms,
            Some(Trouble::RateLimit) => ahead(self.not_before_ms, now_ms, unix_ms, MAX_ASKED_FOR),
            _ => resume(self.not_before_ms, now_ms, unix_ms),
        };
    }
}

/// A moment of the wall clock, to which we wanted to wait, on the monotonic clock.
#[must_use]
pub fn resume(not_before_ms: u64, now_ms: u64, unix_ms: u64) -> u64 {
    ahead(not_before_ms, now_ms, unix_ms, MAX_OWN)
}

fn ahead(not_before_ms: u64, now_ms: u64, unix_ms: u64, most: Duration) -> u64 {
    now_ms.saturating_add(not_before_ms.saturating_sub(unix_ms).min(millis(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_wait_survives_a_restart_but_no_clock_makes_it_longer_than_a_day() {
        let mut health = Health::default();
        health.learn(&later(Fault::RateLimit(Some(Duration::from_secs(100)))), 0, 0);
        health.before_write(0, 1_000_000);
        let mut back: Health =
            serde_json::from_str(&serde_json::to_string(&health).unwrap()).unwrap();
        back.after_read(7, 1_000_000 + 60_000);
        assert_eq!(back.until_ms, 7 + 40_050);
        back.after_read(7, 0);
        assert_eq!(back.until_ms, 7 + 1_100_050);
        back.not_before_ms = u64::MAX;
        back.after_read(7, 0);
        assert_eq!(back.until_ms, 7 + 86_400_000);
        back.trouble = Some(Trouble::Network);
        back.after_read(7, 0);
        assert_eq!(back.until_ms, 7 + 360_000, "a clock that starts in the past");
    }
}
