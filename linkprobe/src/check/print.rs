//! What a check has found, for a person or for a script.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use notifier::exit;

use super::Options;
use crate::record::{Bound, Record, Verdict};
use crate::{status, units};

/// Prints a record as it was asked for.
pub fn show(record: &Record, options: Options<'_>) {
    if options.quiet {
        return;
    }
    if options.json {
        let json = serde_json::to_string(record).unwrap_or_default();
        exit::print(&(json + "\n"));
    } else {
        exit::print(&text(record));
    }
}

/// Wipes the line that says what is going on, where there is one.
pub fn wipe() {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _ = io::Write::write_all(&mut out, b"\r\x1b[K");
    }
}

/// `OK: backup is good`, and what was found, a line each.
#[must_use]
pub fn text(record: &Record) -> String {
    let verdict = record.verdict.unwrap_or(Verdict::Untested);
    let word = status::word(verdict.exit_code());
    let mut text = format!("{word}: {} {}\n", record.link, words(verdict));
    for reason in &record.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    let known = |what: &str| record.reasons.iter().any(|reason| reason.starts_with(what));
    for (way, rate, bound) in [
        ("download", record.download, record.download_is),
        ("upload", record.upload, record.upload_is),
    ] {
        if let Some(rate) = rate.filter(|_| !known(way)) {
            let bound = if bound == Some(Bound::AtLeast) { "at least" } else { "about" };
            let _ = writeln!(text, "  {way}: {bound} {}", units::rate(rate));
        }
    }
    if let Some(ping) = record.ping {
        let jitter = record.jitter.map(|ms| format!(", jitter {ms:.1} ms")).unwrap_or_default();
        let loss = record.loss.filter(|share| *share > 0.0);
        let loss = loss.map(|share| format!(", loss {:.0} %", share * 100.0)).unwrap_or_default();
        let _ = writeln!(text, "  ping {ping:.1} ms{jitter}{loss}");
    }
    if let Some(client) = &record.client {
        let parts =
            [client.isp.clone(), client.asn.map(|asn| format!("AS{asn}")), client.ip.clone()];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            let _ = writeln!(text, "  {}", parts.join(", "));
        }
    }
    text
}

/// What is so of a line of this verdict.
fn words(verdict: Verdict) -> String {
    match verdict {
        Verdict::WrongIsp => "is the wrong ISP's".to_owned(),
        Verdict::HighLatency => "has a high latency".to_owned(),
        other => format!("is {}", other.as_str()),
    }
}

/// `used 0.9 MB in 0.8 s; 312 MB of 2 GB since 2026-11-01, 890 MB a month at this pace`.
#[must_use]
pub fn used(record: &Record, standing: Option<&crate::budget::Standing>) -> String {
    let bytes = record.bytes_sent + record.bytes_received;
    let took = record.took_s.unwrap_or(0.0);
    let mut text = format!("used {} in {took:.1} s", units::bytes(bytes));
    if let Some(standing) = standing {
        let (used, limit) = (units::bytes(standing.used), units::bytes(standing.limit));
        let _ = write!(text, "; {used} of {limit} since {}", standing.since);
        if let Some(projected) = standing.projected {
            let _ = write!(text, ", {} a month at this pace", units::bytes(projected));
        }
    }
    text
}
