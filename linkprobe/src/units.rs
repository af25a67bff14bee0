//! Rates and amounts of data as the file and people write them.

/// Bits a second of `10 Mbit/s`, `512 kbit/s`, `1.5 Gbit/s`.
///
/// # Errors
///
/// A text for a person that says how to write one.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let units = [("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];
    let wrong = || {
        format!(
            "{text:?} is no rate; write a number and bit/s, kbit/s, Mbit/s or Gbit/s, as \"10 Mbit/s\""
        )
    };
    let rate = number_and_unit(text, &units).ok_or_else(wrong)?;
    let fits = (1e3..=1e11).contains(&rate);
    fits.then_some(rate).ok_or_else(|| format!("{text:?}: 1 kbit/s to 100 Gbit/s"))
}

/// Bytes of `2 GB`, `500 MB`, `1.5 GiB`.
///
/// # Errors
///
/// A text for a person that says how to write one.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("B", 1.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    let wrong = || {
        format!("{text:?} is no amount of data; write a number and kB, MB, GB or GiB, as \"2 GB\"")
    };
    let bytes = number_and_unit(text, &units).ok_or_else(wrong)?;
    let fits = (0.0..=1e15).contains(&bytes);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e15")]
    let whole = bytes as u64;
    fits.then_some(whole).ok_or_else(|| format!("{text:?}: 1000 TB at most"))
}

/// The share of `50 %`: 0.5.
///
/// # Errors
///
/// A text for a person that says how to write one.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("{:?} is no share; write a number and %, as \"50 %\"", text.trim());
    let share = number_and_unit(text, &[("%", 0.01)]).ok_or_else(wrong)?;
    (0.0..=100.0).contains(&share).then_some(share).ok_or_else(wrong)
}

fn number_and_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// `14.2 Mbit/s`: three figures.
#[must_use]
pub fn rate(bits_per_second: f64) -> String {
    scaled(bits_per_second, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s"])
}

/// `1.24 MB`: three figures.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three figures are shown")]
    let bytes = bytes as f64;
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().unwrap_or(&"");
    // What would be rounded up to four figures has the next unit.
    for next in units {
        if number < step - 0.5 {
            break;
        }
        (number, unit) = (number / step, next);
    }
    let places = match number {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{number:.places$}");
    let short =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_amounts_and_shares_have_units() {
        for (text, want) in
            [("10 Mbit/s", 1e7), ("512kbit/s", 512e3), ("1.5 Gbit/s", 1.5e9), ("9000 bit/s", 9e3)]
        {
            assert_eq!(parse_rate(text), Ok(want), "{text}");
        }
        for text in
            ["", "10", "10 Mb", "-1 Mbit/s", "0 Mbit/s", "1e3 Mbit/s", "1.2.3 Mbit/s", "Mbit/s"]
        {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        for (text, want) in [("2 GB", 2_000_000_000), ("1.5GiB", 1_610_612_736), ("0 MB", 0)] {
            assert_eq!(parse_bytes(text), Ok(want), "{text}");
        }
        assert!(parse_bytes("2").is_err() && parse_bytes("2 gb").is_err());
        assert_eq!((parse_percent("50 %"), parse_percent(" 2.5%")), (Ok(0.5), Ok(0.025)));
        assert!(parse_percent("0.5").is_err());
    }

    #[test]
    fn three_figures_are_shown() {
        for (number, want) in [
            (14_234_567.0, "14.2 Mbit/s"),
            (999_600.0, "1 Mbit/s"),
            (999_400.0, "999 kbit/s"),
            (9_990_000.0, "9.99 Mbit/s"),
            (100_000_000.0, "100 Mbit/s"),
            (0.0, "0 bit/s"),
        ] {
            assert_eq!(rate(number), want, "{number}");
        }
        assert_eq!((bytes(1_240_000), bytes(999)), ("1.24 MB".into(), "999 B".into()));
    }
}
