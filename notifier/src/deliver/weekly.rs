//! When the weekly report is due. Pure.

use std::time::Duration;

use crate::clock::Stamp;
use crate::ffi::LocalTime;

/// Days as they stand in the file, in the order of [`LocalTime::weekday`].
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const MINUTES_A_DAY: u32 = 24 * 60;

/// Shortest time that is worth a report. More than an hour, which is what a clock is put forward or
/// back by in spring and autumn: or there would be two of them then.
const LEAST: Duration = Duration::from_secs(2 * 3600);

/// A moment of the week, in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weekly {
    /// Minutes since Sunday began.
    minute: u32,
}

impl Weekly {
    /// Reads `mon 09:00`.
    ///
    /// # Errors
    ///
    /// A text for a person that says how to write one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (day, time) = text.split_once(' ')?;
            let day = DAYS.iter().position(|known| known.eq_ignore_ascii_case(day))?;
            let (hour, minute) = time.split_once(':')?;
            let number = |text: &str, below: u32| {
                let plain = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
                text.parse::<u32>().ok().filter(|number| plain && *number < below)
            };
            let of_day = number(hour, 24)? * 60 + number(minute, 60)?;
            Some(Self { minute: u32::try_from(day).ok()? * MINUTES_A_DAY + of_day })
        };
        parsed().ok_or_else(|| {
            format!("{text:?} is no moment of a week; write a day and a time, as \"mon 09:00\"")
        })
    }

    /// Whether such a moment has come since `since`. One that was missed, because the machine was
    /// off, is made up for.
    #[must_use]
    pub fn is_due(self, since: &Stamp, now: &Stamp, local: &LocalTime) -> bool {
        let of_day = u32::from(local.hour) * 60 + u32::from(local.minute);
        let of_week = u32::from(local.weekday) * MINUTES_A_DAY + of_day;
        let ago = (of_week + 7 * MINUTES_A_DAY - self.minute) % (7 * MINUTES_A_DAY);
        let passed = Duration::from_secs(u64::from(ago) * 60 + u64::from(local.second));
        since.age(now) >= passed + LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_day_and_a_time() {
        for (text, minute) in [("sun 00:00", 0), ("mon 09:00", 1980), ("SAT 23:59", 10_079)] {
            assert_eq!(Weekly::parse(text), Ok(Weekly { minute }), "{text}");
        }
        for text in ["", "mon", "monday 09:00", "mon 9:00", "mon 24:00", "mon 09:60", "mon +9:00"] {
            assert!(Weekly::parse(text).unwrap_err().contains("mon 09:00"), "{text}");
        }
    }

    #[test]
    fn it_is_due_once_a_week_and_made_up_for_when_missed() {
        const HOUR: u64 = 3600;
        let weekly = Weekly::parse("mon 09:00").unwrap();
        let local = |weekday, hour, minute| LocalTime {
            year: 2026,
            month: 11,
            day: 22,
            weekday,
            hour,
            minute,
            second: 30,
            zone: String::new(),
        };
        let day = 24 * HOUR;
        let table = [
            // (now, seconds since the last one, due)
            (local(1, 8, 59), 7 * day - 60, false),
            (local(1, 8, 59), 7 * day + 3 * HOUR, true),
            (local(1, 9, 0), 7 * day, true),
            (local(1, 9, 0), 3 * HOUR, true),
            (local(1, 9, 0), HOUR, false),
            (local(1, 9, 1), 60, false),
            (local(0, 9, 0), 5 * day, false),
            // Off on Monday; on again on Wednesday.
            (local(3, 10, 0), 9 * day, true),
            (local(3, 10, 0), day, false),
            // Told at nine, and an hour later it is nine again.
            (local(1, 9, 0), HOUR, false),
            (local(1, 10, 30), HOUR, false),
        ];
        for (local, since_s, due) in table {
            let since = Stamp { unix_ms: 1_800_000_000_000, boot: None };
            let now = Stamp { unix_ms: since.unix_ms + since_s * 1000, boot: None };
            assert_eq!(weekly.is_due(&since, &now, &local), due, "{local:?} after {since_s} s");
        }
    }
}
