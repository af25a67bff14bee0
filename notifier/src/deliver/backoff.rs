//! How long to wait before trying again. Pure.

use std::time::Duration;

/// The first waits, in seconds. A short outage ends within them.
const FIRST: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// Then this, for an hour.
const THEN: u64 = 60;
const THEN_TRIES: u32 = 60;

/// Then this, for ever: doubling without a ceiling would leave an alert waiting for hours
/// after the line is back.
const AT_LAST: u64 = 300;

/// The wait after the `failures`th failure in a row, which counts from 1. `random` moves it by
/// up to 20 % either way, so that many machines do not come back at the same moment.
#[must_use]
pub fn after(failures: u32, random: u32) -> Duration {
    let index = failures.saturating_sub(1);
    let seconds = match FIRST.get(index as usize) {
        Some(seconds) => *seconds,
        None if index < 6 + THEN_TRIES => THEN,
        None => AT_LAST,
    };
    let per_mille = 800 + u64::from(random % 401);
    Duration::from_millis(seconds * per_mille)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_no_further() {
        let table = [
            (0, 1),
            (1, 1),
            (2, 2),
            (5, 15),
            (6, 30),
            (7, 60),
            (66, 60),
            (67, 300),
            (u32::MAX, 300),
        ];
        for (failures, seconds) in table {
            assert_eq!(after(failures, 200), Duration::from_secs(seconds), "{failures}");
        }
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        assert_eq!(after(7, 0), Duration::from_secs(48));
        assert_eq!(after(7, 400), Duration::from_secs(72));
    }
}
