//! Holds back log lines that somebody else can cause, and counts them. Pure.

/// Lines in a window, and its length.
const LINES: u64 = 20;
const WINDOW_MS: u64 = 60_000;

/// Lets the first lines of each minute through.
#[derive(Debug, Default)]
pub struct Throttle {
    since_ms: u64,
    lines: u64,
}

impl Throttle {
    /// Whether the next line may be written.
    pub fn admits(&mut self, now_ms: u64) -> bool {
        if self.lines == 0 {
            self.since_ms = now_ms;
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= LINES
    }

    /// When a window has ended in which lines were held back: how many.
    pub fn ended(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms.saturating_sub(self.since_ms) < WINDOW_MS {
            return None;
        }
        let withheld = self.lines.saturating_sub(LINES);
        self.lines = 0;
        (withheld > 0).then_some(withheld)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_a_minute_pass_and_the_others_are_counted() {
        let mut throttle = Throttle::default();
        let admitted = (0..50).filter(|n| throttle.admits(1000 + n)).count();
        assert_eq!(admitted, 20);
        assert_eq!(throttle.ended(2000), None);
        assert_eq!(throttle.ended(61_000), Some(30));
        assert_eq!(throttle.ended(61_000), None);
        assert!(throttle.admits(62_000));
    }
}
