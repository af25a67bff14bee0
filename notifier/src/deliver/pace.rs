//! How fast alerts follow each other to one person: the first at once, and the more there are, the
//! longer it is waited for others to be told with them. A hundred logins in a minute make three
//! messages, and the first of them is not late. Pure.

/// How long after the first, the second, .. message the next may go.
const GAPS_MS: [u64; 3] = [5_000, 30_000, 60_000];

/// After this long without a message the next is a first one again.
const QUIET_MS: u64 = 300_000;

/// The messages to one recipient over one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    in_a_row: usize,
    last_ms: u64,
}

impl Pace {
    /// Takes down a message that was sent.
    pub fn sent(&mut self, now_ms: u64) {
        let quiet = now_ms.saturating_sub(self.last_ms) >= QUIET_MS;
        self.in_a_row = if quiet { 1 } else { self.in_a_row.saturating_add(1) };
        self.last_ms = now_ms;
    }

    /// When the next may go; 0 for now.
    #[must_use]
    pub fn free_at(&self) -> u64 {
        match self.in_a_row.checked_sub(1) {
            None => 0,
            Some(index) => {
                let last = GAPS_MS.len() - 1;
                self.last_ms.saturating_add(GAPS_MS.get(index.min(last)).copied().unwrap_or(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_at_once_and_the_others_wait_for_company() {
        let mut pace = Pace::default();
        assert_eq!(pace.free_at(), 0);
        for (at_ms, next_ms) in [(1000, 6000), (6000, 36_000), (36_000, 96_000), (100_000, 160_000)]
        {
            pace.sent(at_ms);
            assert_eq!(pace.free_at(), next_ms);
        }
        pace.sent(100_000 + QUIET_MS);
        assert_eq!(pace.free_at(), 105_000 + QUIET_MS);
    }
}
