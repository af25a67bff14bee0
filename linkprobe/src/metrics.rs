//! The last records as metrics, in the text format of Prometheus, for its node exporter's textfile
//! collector: in base units, with no sample for what is not known. So no scrape starts a test.

use std::fmt::Write;

use notifier::clock;
use notifier::exit::Failure;
use notifier::spool::files::replace_public;

use crate::check::Places;
use crate::config::{Floor, Link, Settings};
use crate::history::History;
use crate::local::{self, parse_ms};
use crate::record::{Bound, Kind, Record, Verdict};

/// The file, in the run directory, where others may read it.
pub const FILE: &str = "linkprobe.prom";

/// Records from so long ago on are looked at for the last of their kind: `measure` is weekly.
const LOOK_BACK_S: i64 = 15 * local::DAY_S;

/// All verdicts: each has a sample, of which one is 1.
const VERDICTS: [Verdict; 7] = [
    Verdict::Good,
    Verdict::Marginal,
    Verdict::Slow,
    Verdict::HighLatency,
    Verdict::WrongIsp,
    Verdict::Down,
    Verdict::Untested,
];

/// What there is to say of a line.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// `name` of the line.
    pub name: String,
    /// The newest check.
    pub check: Option<Record>,
    /// The newest measurement.
    pub measure: Option<Record>,
    /// The newest hour of `watch`.
    pub watch: Option<Record>,
    /// The least download that is asked for, in bit/s, where the checks do not say.
    pub min_download: Option<f64>,
    /// Bytes since the month of the plan began.
    pub month_bytes: u64,
    /// What a month may take.
    pub month_budget: Option<u64>,
}

/// Writes the file anew, of all lines. `month_bytes` says what a line has used in its month, if that is
/// counted elsewhere than in the history.
///
/// # Errors
///
/// When a history cannot be read, or the file cannot be written.
pub fn update(
    settings: &Settings,
    places: Places<'_>,
    month_bytes: impl Fn(&str) -> Option<u64>,
) -> Result<(), Failure> {
    let now_s = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    let mut lines = Vec::new();
    for link in &settings.links {
        let mut line = gather(link, &History::new(places.state, &link.name), now_s)?;
        if let Some(bytes) = month_bytes(&link.name) {
            line.month_bytes = bytes;
        }
        lines.push(line);
    }
    replace_public(places.run, FILE, render(&lines).as_bytes())
        .map_err(|error| Failure::io(places.run.join(FILE).display(), &error))
}

fn gather(link: &Link, history: &History, now_s: i64) -> Result<Line, Failure> {
    let month_began_s = local::month_began(now_s, link.month_begins);
    let min_download = match link.min_download {
        Some(Floor::BitsPerSecond(rate)) => Some(rate),
        _ => None,
    };
    let mut line = Line {
        name: link.name.clone(),
        min_download,
        month_budget: Some(link.monthly_data),
        ..Line::default()
    };
    let since_s = month_began_s.min(now_s.saturating_sub(LOOK_BACK_S));
    let mut newest = [i64::MIN; 3];
    history.each(Some(since_s.saturating_mul(1000)), |at_ms, record| {
        if at_ms >= month_began_s.saturating_mul(1000) {
            let bytes = record.bytes_sent.saturating_add(record.bytes_received);
            line.month_bytes = line.month_bytes.saturating_add(bytes);
        }
        let (index, place) = match record.kind {
            Kind::Check => (0, &mut line.check),
            Kind::Measure => (1, &mut line.measure),
            Kind::Watch => (2, &mut line.watch),
            Kind::Outage => return,
        };
        if at_ms >= newest[index] {
            newest[index] = at_ms;
            *place = Some(record);
        }
    })?;
    Ok(line)
}

/// All of it, a metric after the other.
#[must_use]
pub fn render(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, value: &dyn Fn(&Line) -> Option<f64>| {
        let samples: Vec<(&Line, f64)> =
            lines.iter().filter_map(|line| Some((line, value(line)?))).collect();
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(text, "# HELP linkprobe_{name} {help}\n# TYPE linkprobe_{name} gauge");
        for (line, value) in samples {
            let _ = writeln!(text, "linkprobe_{name}{{link=\"{}\"}} {value}", escape(&line.name));
        }
    };
    let of_check = |pick: fn(&Record) -> Option<f64>| move |line: &Line| pick(line.check.as_ref()?);
    let of_measure =
        |pick: fn(&Record) -> Option<f64>| move |line: &Line| pick(line.measure.as_ref()?);
    metric(
        "up",
        "Whether the last check found the line there.",
        &of_check(|check| {
            check.verdict.map(|verdict| f64::from(u8::from(verdict != Verdict::Down)))
        }),
    );
    metric("last_check_timestamp_seconds", "When the last check began.", &of_check(at));
    metric("last_measure_timestamp_seconds", "When the last measurement began.", &of_measure(at));
    metric(
        "download_floor_bytes_per_second",
        "Download that the last check found at the least; it takes no more than it has to.",
        &of_check(|check| bytes(check.download)),
    );
    metric(
        "download_bytes_per_second",
        "Download of the line as the last measurement found it.",
        &of_measure(|measure| bytes(measure.download.filter(|_| about(measure.download_is)))),
    );
    metric("download_required_bytes_per_second", "Download that is asked for.", &|line| {
        let of_check = line.check.as_ref().and_then(|check| check.min_download);
        bytes(of_check.or(line.min_download))
    });
    metric(
        "upload_floor_bytes_per_second",
        "Upload that the last check found at the least.",
        &of_check(|check| bytes(check.upload)),
    );
    metric(
        "upload_bytes_per_second",
        "Upload of the line as the last measurement found it.",
        &of_measure(|measure| bytes(measure.upload.filter(|_| about(measure.upload_is)))),
    );
    metric(
        "latency_seconds",
        "Idle round trip, median of the last check.",
        &of_check(|check| seconds(check.ping)),
    );
    metric("jitter_seconds", "Jitter of the idle round trip.", &of_check(|c| seconds(c.jitter)));
    metric("loss_ratio", "Share of idle samples without an answer.", &of_check(|check| check.loss));
    metric(
        "latency_loaded_seconds",
        "Round trip while the line was filled, as the last measurement found it.",
        &of_measure(|measure| seconds(measure.ping_loaded)),
    );
    metric("watched_up_ratio", "Share of the last hour of watch in which it was up.", &|line| {
        let watch = line.watch.as_ref()?;
        let (up_s, took_s) = (watch.up_s?, watch.took_s?);
        (took_s > 0.0).then(|| up_s / took_s)
    });
    metric("month_bytes", "Bytes that tests took since the month of the plan began.", &|line| {
        Some(whole(line.month_bytes))
    });
    metric("month_budget_bytes", "Bytes that tests may take in a month of the plan.", &|line| {
        line.month_budget.map(whole)
    });
    text + &verdicts(lines)
}

/// A sample for each verdict, as a state is shown.
fn verdicts(lines: &[Line]) -> String {
    let found = lines.iter().filter_map(|line| Some((line, line.check.as_ref()?.verdict?)));
    let found: Vec<(&Line, Verdict)> = found.collect();
    if found.is_empty() {
        return String::new();
    }
    let mut text = "# HELP linkprobe_verdict Verdict of the last check: 1 for the one it found.\n\
                    # TYPE linkprobe_verdict gauge\n"
        .to_owned();
    for (line, found) in found {
        for verdict in VERDICTS {
            let _ = writeln!(
                text,
                "linkprobe_verdict{{link=\"{}\",verdict=\"{}\"}} {}",
                escape(&line.name),
                verdict.as_str(),
                u8::from(verdict == found)
            );
        }
    }
    text
}

/// Whether a rate is that of the line, and no bound.
fn about(is: Option<Bound>) -> bool {
    is != Some(Bound::AtLeast)
}

fn at(record: &Record) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^52 ms")]
    let seconds = parse_ms(&record.timestamp)? as f64 / 1000.0;
    Some(seconds)
}

fn bytes(bits: Option<f64>) -> Option<f64> {
    bits.map(|bits| (bits / 8.0).round())
}

fn seconds(ms: Option<f64>) -> Option<f64> {
    ms.map(|ms| ms / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has doubles alone")]
fn whole(bytes: u64) -> f64 {
    bytes as f64
}

/// A label's value as it stands in quotes. A name of a line has letters, digits, `-` and `_`; one of a
/// file by hand may have more.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let check = Record {
            timestamp: "2026-11-23T08:02:00.500Z".into(),
            kind: Kind::Check,
            verdict: Some(Verdict::Slow),
            download: Some(8e6),
            download_is: Some(Bound::About),
            ping: Some(38.5),
            min_download: Some(1e7),
            ..Record::default()
        };
        let measure = Record {
            timestamp: "2026-11-20T08:02:00Z".into(),
            download: Some(8e7),
            ping_loaded: Some(120.0),
            ..Record::default()
        };
        Line {
            name: "backup".into(),
            check: Some(check),
            measure: Some(measure),
            month_bytes: 1_000_000,
            month_budget: Some(2_000_000_000),
            ..Line::default()
        }
    }

    #[test]
    fn units_are_seconds_and_bytes_and_the_unknown_has_no_sample() {
        let text = render(&[line()]);
        for want in [
            "linkprobe_up{link=\"backup\"} 1",
            "linkprobe_last_check_timestamp_seconds{link=\"backup\"} 1795420920.5",
            "linkprobe_download_floor_bytes_per_second{link=\"backup\"} 1000000",
            "linkprobe_download_bytes_per_second{link=\"backup\"} 10000000",
            "linkprobe_download_required_bytes_per_second{link=\"backup\"} 1250000",
            "linkprobe_latency_seconds{link=\"backup\"} 0.0385",
            "linkprobe_latency_loaded_seconds{link=\"backup\"} 0.12",
            "linkprobe_month_bytes{link=\"backup\"} 1000000",
            "linkprobe_month_budget_bytes{link=\"backup\"} 2000000000",
            "linkprobe_verdict{link=\"backup\",verdict=\"slow\"} 1",
            "linkprobe_verdict{link=\"backup\",verdict=\"good\"} 0",
        ] {
            assert!(text.lines().any(|found| found == want), "{want} is not in\n{text}");
        }
        assert!(!text.contains("upload") && !text.contains("loss"), "{text}");
    }

    #[test]
    fn each_metric_is_explained_once_and_before_its_samples() {
        let mut bad = line();
        bad.name = "a\"b\\c\nd".into();
        let text = render(&[line(), bad, Line { name: "new".into(), ..Line::default() }]);
        let mut explained = Vec::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let name = help.split(' ').next().unwrap().to_owned();
                assert!(!explained.contains(&name), "{name} twice");
                explained.push(name);
            } else if !line.starts_with("# TYPE ") {
                let name = line.split('{').next().unwrap();
                assert_eq!(explained.last().map(String::as_str), Some(name), "{text}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("link=\"a\\\"b\\\\c\\nd\"") && text.ends_with('\n'), "{text}");
        assert_eq!(render(&[]), "");
    }

    #[test]
    fn a_bound_is_no_speed_of_the_line() {
        let mut line = line();
        if let Some(measure) = &mut line.measure {
            measure.download_is = Some(Bound::AtLeast);
        }
        assert!(!render(&[line]).contains("linkprobe_download_bytes_per_second"));
    }
}
