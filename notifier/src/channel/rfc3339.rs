//! Moments as programs read them (RFC 3339), in UTC.

/// The last moment that has a year of four digits: the end of 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// `2026-11-22T02:14:07.000Z` of milliseconds since 1970.
///
/// By the calendar of days since 0000-03-01, in which the leap day is a year's last (Howard
/// Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
#[must_use]
pub fn format(unix_ms: u64) -> String {
    let unix_ms = unix_ms.min(LAST_MS);
    let (unix_s, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second_of_day) = (unix_s / 86_400, unix_s % 86_400);
    // 719,468 days lie between 0000-03-01 and 1970; an era is the 146,097 days of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) =
        (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_are_easily_wrong() {
        // The seconds are what `date -u -d ... +%s` prints.
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (1_740_787_200_000, "2025-03-01T00:00:00.000Z"),
            (1_795_313_647_000, "2026-11-22T02:14:07.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (unix_ms, want) in table {
            assert_eq!(format(unix_ms), want);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut last = format(0);
        for day in 1..146_097_u64 {
            let next = format(day * 86_400_000);
            assert!(next > last, "{last} {next}");
            last = next;
        }
        assert_eq!(last, "2369-12-31T00:00:00.000Z");
    }
}
