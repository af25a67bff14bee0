//! Moments as the files write them: a TOML date, perhaps with a time, as seconds since 1970.

use toml::value::{Date, Datetime, Offset, Time};

use super::Section;

/// The last moment that has a year of four digits.
const LAST: i64 = 253_402_300_799;

/// Reads the moment at `key`; one without a date is a finding. One that its offset puts before 1970
/// or behind the year 9999 is the first or the last there is.
pub(super) fn read(section: &mut Section<'_, '_>, key: &str) -> Option<i64> {
    let value = section.get::<Datetime>(key)?;
    let seconds = unix_seconds(&value.value).map(|seconds| seconds.clamp(0, LAST));
    if seconds.is_none() {
        section.reject(
            key,
            &value,
            "a time without a date; write 2027-01-31 or 2027-01-31T18:00:00Z",
        );
    }
    seconds
}

/// Seconds since 1970 as the files write them, in UTC: `2027-01-31T18:00:00Z`.
#[must_use]
pub fn write(unix_s: i64) -> String {
    let (days, of_day) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970 of a moment as [`write()`] writes it; fractions of a second are left out.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    unix_seconds(&text.parse().ok()?).filter(|seconds| (0..=LAST).contains(seconds))
}

/// Seconds since 1970. A bare date is the moment at which that day begins, and what names no
/// offset is UTC: a rule then ends a little early for some, and never late.
fn unix_seconds(datetime: &Datetime) -> Option<i64> {
    let Date { year, month, day } = datetime.date?;
    let midnight = days_from_civil(i64::from(year), i64::from(month), i64::from(day)) * 86_400;
    let Some(Time { hour, minute, second, .. }) = datetime.time else { return Some(midnight) };
    let of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.unwrap_or(0));
    let offset = match datetime.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes) * 60,
        _ => 0,
    };
    Some(midnight + of_day - offset)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, for years from 0 on: a year
/// that begins in March puts the leap day last, and months then follow a line of 153/5 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The other way, for days from the year 0 on: by cycles of 400 years, which are all alike.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (year * 365 + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + cycle * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_utc_and_a_date_is_its_beginning() {
        let table = [
            ("1970-01-01", 0),
            ("2000-03-01", 951_868_800),
            ("2024-02-29", 1_709_164_800),
            ("2027-01-01", 1_798_761_600),
            ("2027-01-01T00:00:01Z", 1_798_761_601),
            ("2027-01-01T02:00:00+02:00", 1_798_761_600),
            ("2027-01-01T00:00:00", 1_798_761_600),
        ];
        for (text, want) in table {
            assert_eq!(unix_seconds(&text.parse().unwrap()), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(write(1_798_761_661), "2027-01-01T00:01:01Z");
        assert_eq!(write(0), "1970-01-01T00:00:00Z");
        assert_eq!(write(LAST), "9999-12-31T23:59:59Z");
        // Each day of 400 years, so each leap year's rule once; and a second of each.
        for day in 0..146_100 {
            let second = day * 86_400 + day % 86_400;
            let text = write(second);
            assert_eq!(unix_seconds(&text.parse().unwrap()), Some(second), "{text}");
        }
    }
}
