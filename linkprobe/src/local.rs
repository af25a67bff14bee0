//! Moments as people of this machine's time zone see them, and back. Pure but for the zone.

use notifier::config::moment;
use notifier::ffi::{LocalTime, local_time};

/// An hour, in seconds.
pub const HOUR_S: i64 = 3600;

/// A day without a change of the clock, in seconds.
pub const DAY_S: i64 = 86_400;

/// Milliseconds since 1970 of a moment of RFC 3339; one without an offset is UTC, as older logs of
/// speedtest-cli have it.
#[must_use]
pub fn parse_ms(text: &str) -> Option<i64> {
    let seconds = moment::parse(text)?;
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.bytes().take(3).take_while(u8::is_ascii_digit);
    let ms = digits.zip([100, 10, 1]).map(|(digit, worth)| i64::from(digit - b'0') * worth);
    Some(seconds * 1000 + ms.sum::<i64>())
}

/// `2026-11-23 09:58`.
#[must_use]
pub fn minute(unix_s: i64) -> String {
    local_time(unix_s).map_or_else(
        || "?".into(),
        |t| format!("{:04}-{:02}-{:02} {:02}:{:02}", t.year, t.month, t.day, t.hour, t.minute),
    )
}

/// `23 Nov`.
#[must_use]
pub fn day(unix_s: i64) -> String {
    local_time(unix_s).map_or_else(|| "?".into(), |t| format!("{} {}", t.day, month(&t)))
}

/// `Nov 2026`.
#[must_use]
pub fn month_and_year(unix_s: i64) -> String {
    local_time(unix_s).map_or_else(|| "?".into(), |t| format!("{} {}", month(&t), t.year))
}

fn month(time: &LocalTime) -> &'static str {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    NAMES.get(usize::from(time.month).wrapping_sub(1)).unwrap_or(&"?")
}

/// The hour of the day, 0 to 23.
#[must_use]
pub fn hour(unix_s: i64) -> usize {
    local_time(unix_s).map_or(0, |time| usize::from(time.hour) % 24)
}

/// The midnight with which the day of this moment begins.
#[must_use]
pub fn midnight(unix_s: i64) -> i64 {
    let Some(time) = local_time(unix_s) else { return unix_s };
    of_wall(unix_s, wall_midnight(&time))
}

/// The first of the month of this moment, at midnight.
#[must_use]
pub fn first_of_month(unix_s: i64) -> i64 {
    let Some(time) = local_time(unix_s) else { return unix_s };
    of_wall(unix_s, wall_midnight(&time) - (i64::from(time.day) - 1) * DAY_S)
}

/// When the month that begins on this day (1 to 28) began last.
#[must_use]
pub fn month_began(unix_s: i64, day: u8) -> i64 {
    let first = first_of_month(unix_s);
    let begins = |first: i64| {
        let Some(time) = local_time(first) else { return first };
        of_wall(first, wall_midnight(&time) + (i64::from(day) - 1) * DAY_S)
    };
    let this = begins(first);
    if this <= unix_s { this } else { begins(first_of_month(first - DAY_S)) }
}

/// The clock on the wall as if it were of UTC, in seconds since 1970.
fn wall(time: &LocalTime) -> i64 {
    let text = format!("{:04}-{:02}-{:02}", time.year, time.month, time.day);
    let days = moment::parse(&text).unwrap_or(0);
    days + i64::from(time.hour) * HOUR_S + i64::from(time.minute) * 60 + i64::from(time.second)
}

fn wall_midnight(time: &LocalTime) -> i64 {
    let text = format!("{:04}-{:02}-{:02}", time.year, time.month, time.day);
    moment::parse(&text).unwrap_or(0)
}

/// The moment at which the clock on the wall shows this; near `guess`. An hour that is left out
/// when the clocks change gives the moment of the change, or one beside it.
fn of_wall(guess: i64, wanted: i64) -> i64 {
    let offset = |at: i64| local_time(at).map_or(0, |time| wall(&time) - at);
    let first = wanted - offset(guess);
    wanted - offset(first)
}

/// `2 h 43 min`: two units at most.
#[must_use]
pub fn length(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "no outage is past what i64 counts")]
    let whole = seconds.max(0.0).round() as i64;
    let (days, hours, minutes) = (whole / DAY_S, whole % DAY_S / HOUR_S, whole % HOUR_S / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, minutes) if whole % 60 == 0 || minutes >= 10 => format!("{minutes} min"),
        (0, 0, minutes) => format!("{minutes} min {} s", whole % 60),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_the_tools_are_read_to_the_millisecond() {
        for (text, want) in [
            ("2026-11-22T02:14:07.250Z", Some(1_795_313_647_250)),
            ("2026-11-22T02:14:07Z", Some(1_795_313_647_000)),
            ("2026-11-22T02:14:07.123456", Some(1_795_313_647_123)),
            ("2026-11-22T03:14:07.5+01:00", Some(1_795_313_647_500)),
            ("2026-11-22T03:14:07.123456789+01:00", Some(1_795_313_647_123)),
            ("", None),
            ("yesterday", None),
            ("2026-13-22T02:14:07Z", None),
        ] {
            assert_eq!(parse_ms(text), want, "{text}");
        }
    }

    #[test]
    fn days_and_months_begin_at_midnight_of_this_zone() {
        // Whatever the zone of the machine is: from each hour of four years.
        for step in 0..4 * 366 * 24 {
            let at = 1_700_000_000 + step * HOUR_S;
            let (day, month) = (midnight(at), first_of_month(at));
            let begins = local_time(day).unwrap();
            assert!(day <= at && at - day < DAY_S + HOUR_S, "{at}");
            // In Cairo there are days without a midnight: the clock is put forward then.
            assert!(begins.hour <= 1 && (begins.minute, begins.second) == (0, 0), "{at}");
            let first = local_time(month).unwrap();
            assert_eq!((first.day, first.hour / 2), (1, 0), "{at}");
            assert!(month <= day);
        }
    }

    #[test]
    fn a_month_begins_on_the_day_of_the_plan() {
        let noon = |text: &str| {
            let time = moment::parse(text).unwrap();
            of_wall(time, time)
        };
        for (now, day, want) in [
            ("2026-11-23T12:00:00Z", 1, "2026-11-01"),
            ("2026-11-23T12:00:00Z", 23, "2026-11-23"),
            ("2026-11-23T12:00:00Z", 24, "2026-10-24"),
            ("2026-01-05T00:00:00Z", 28, "2025-12-28"),
            ("2026-03-01T00:00:00Z", 2, "2026-02-02"),
        ] {
            assert_eq!(&minute(month_began(noon(now), day))[..10], want, "{now} {day}");
        }
    }

    #[test]
    fn a_length_has_two_units() {
        for (seconds, want) in [
            (0.4, "0 s"),
            (59.0, "59 s"),
            (61.0, "1 min 1 s"),
            (660.0, "11 min"),
            (9780.0, "2 h 43 min"),
            (3600.0, "1 h"),
            (86_400.0 * 3.0, "3 d"),
            (86_400.0 * 3.5, "3 d 12 h"),
        ] {
            assert_eq!(length(seconds), want);
        }
    }
}
