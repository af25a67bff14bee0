//! The weekly report and what is tallied, in words.
//!
//! ```text
//! jump: since 16 Nov 09:00 UTC: tunnel cloud up 99.9 %, checks 168, 3 logins, 0 alerts lost 23 Nov 09:00 UTC #k7f3q2
//! ```

use super::{Alphabet, Context, day, separator};
use crate::event::{Report, Tally, Unit};
use crate::ffi::LocalTime;

/// Most room that a tally's name takes, in the alphabet's cost.
const NAME: usize = 24;

/// The report in one line of at most `limit`, but for what is never left out: the tallies for which
/// there is no room are counted, and what became of the alerts is always told.
pub(super) fn line(
    report: &Report,
    context: &Context<'_>,
    alphabet: &Alphabet,
    limit: usize,
) -> String {
    let minute =
        |local: &LocalTime| format!("{} {:02}:{:02}", day(local), local.hour, local.minute);
    let since = context.moment(&report.since, minute);
    let alerts = alerts(report);
    let whole = |told: usize| {
        let mut pieces: Vec<String> =
            report.tallies.iter().take(told).map(|tally| words(tally, alphabet)).collect();
        let rest = report.tallies.len().saturating_sub(told);
        if rest > 0 {
            pieces.push(format!("+{} more", rest.min(999)));
        }
        pieces.push(alerts.clone());
        format!("since {since}: {}", pieces.join(", "))
    };
    let width = |text: &str| text.chars().map(alphabet.width).fold(0, usize::saturating_add);
    let fits = |told: &usize| width(&whole(*told)) <= limit;
    let most = (1..=report.tallies.len()).take_while(fits).last().unwrap_or(0);
    whole(most)
}

/// `1 allowance, 3 logins, 2 others, 0 alerts lost`.
fn alerts(report: &Report) -> String {
    let mut words = Vec::new();
    if report.allowances > 0 {
        words.push(count(report.allowances, "allowance", "allowances"));
    }
    words.push(count(report.logins, "login", "logins"));
    if report.others > 0 {
        words.push(count(report.others, "other", "others"));
    }
    let lost = if report.lost == 0 { "alerts lost" } else { "alerts LOST" };
    words.push(count(report.lost, "alert LOST", lost));
    words.join(", ")
}

/// `3 logins`; five characters at most for the number, so that with all of them there is still room for
/// the rest in one segment.
fn count(number: u64, one: &str, many: &str) -> String {
    let number = match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}k", number / 1000),
        _ => "999k+".to_owned(),
    };
    format!("{number} {}", if number == "1" { one } else { many })
}

/// `tunnel cloud up 99.9 %`, `checks 168`, `checks 168 (2 failed)`.
pub(super) fn words(tally: &Tally, alphabet: &Alphabet) -> String {
    let name = alphabet.name(&tally.name, NAME, separator);
    match tally.unit {
        Unit::Seconds => format!("{name} up {}", share(tally)),
        Unit::Times => match tally.all.saturating_sub(tally.good) {
            0 => format!("{name} {}", tally.all),
            failed => format!("{name} {} ({failed} failed)", tally.all),
        },
    }
}

/// `99.9 %`: cut and not rounded, as what was down for a second was not up all the time.
pub(super) fn share(tally: &Tally) -> String {
    if tally.good >= tally.all {
        return "100 %".to_owned();
    }
    let of_thousand = u128::from(tally.good) * 1000 / u128::from(tally.all);
    format!("{}.{} %", of_thousand / 10, of_thousand % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;

    fn tally(name: &str, good: u64, all: u64, unit: Unit) -> Tally {
        Tally { name: name.into(), good, all, unit }
    }

    #[test]
    fn a_tally_is_a_count_or_a_share() {
        let table = [
            (tally("checks", 168, 168, Unit::Times), "checks 168"),
            (tally("checks", 166, 168, Unit::Times), "checks 168 (2 failed)"),
            (tally("checks", 0, 0, Unit::Times), "checks 0"),
            (tally("tunnel cloud", 604_799, 604_800, Unit::Seconds), "tunnel cloud up 99.9 %"),
            (tally("tunnel cloud", 10, 10, Unit::Seconds), "tunnel cloud up 100 %"),
            (tally("a", 0, 5, Unit::Seconds), "a up 0.0 %"),
            (tally("a", u64::MAX - 1, u64::MAX, Unit::Seconds), "a up 99.9 %"),
            (tally("a, 0 alerts lost", 1, 2, Unit::Times), "\"a, 0 alerts lost\" 2 (1 failed)"),
            (tally("a\nb", 1, 1, Unit::Times), "a\\x0ab 1"),
        ];
        for (tally, want) in table {
            assert_eq!(words(&tally, &Alphabet::UNICODE), want);
        }
    }

    #[test]
    fn what_became_of_the_alerts_is_told_however_little_room_there_is() {
        let report = Report {
            logins: 1,
            others: 2,
            lost: 0,
            tallies: vec![
                tally("tunnel cloud", 999, 1000, Unit::Seconds),
                tally("checks", 168, 168, Unit::Times),
            ],
            ..Report::default()
        };
        let now = Stamp::default();
        let context = Context { local: |_| None, ..Context::here(&now) };
        let at = |limit| line(&report, &context, &Alphabet::GSM7, limit);
        let alerts = "1 login, 2 others, 0 alerts lost";
        assert_eq!(at(200), format!("since @0: tunnel cloud up 99.9 %, checks 168, {alerts}"));
        assert_eq!(at(76), format!("since @0: tunnel cloud up 99.9 %, +1 more, {alerts}"));
        assert_eq!(at(0), format!("since @0: +2 more, {alerts}"));
        let lost = Report { lost: 1, ..Report::default() };
        let text = line(&lost, &context, &Alphabet::GSM7, 0);
        assert_eq!(text, "since @0: 0 logins, 1 alert LOST");
        let allowed = Report { allowances: 2, ..Report::default() };
        let text = line(&allowed, &context, &Alphabet::GSM7, 0);
        assert_eq!(text, "since @0: 2 allowances, 0 logins, 0 alerts lost");
        let many = Report { logins: 12_345, others: 999_999, lost: u64::MAX, ..Report::default() };
        let text = line(&many, &context, &Alphabet::GSM7, 0);
        assert_eq!(text, "since @0: 12k logins, 999k others, 999k+ alerts LOST");
    }
}
