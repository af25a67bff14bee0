//! Durations as the file writes them: a whole number and a unit.

use std::time::Duration;

/// Reads `500ms`, `60s`, `2m`, `24h`, `7d`. A bare number has no unit and is refused.
///
/// # Errors
///
/// A text for a person that says how to write one.
pub fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let ms: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(ms)
        .and_then(|(number, ms)| number.checked_mul(ms))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!(
                "{text:?} is no duration; write a whole number and ms, s, m, h or d, as \"60s\""
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_and_nothing_else() {
        let table =
            [("0s", 0), ("500ms", 500), ("60s", 60_000), ("2m", 120_000), ("1h", 3_600_000)];
        for (text, ms) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "60", "s", "-1s", "1.5s", "1 s", "99999999999999999999s", "9999999999999999d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
