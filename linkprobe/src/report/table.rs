//! The report in a terminal.

use std::fmt::Write;

use super::outages::{Eye, Outage};
use super::spread::{Quantile, Spread};
use super::summary::{Hour, Summary};
use super::{Part, Report, plot};
use crate::local;
use crate::record::{Bound, Verdict};
use crate::units;

/// How a terminal is.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    /// Characters of a line.
    pub width: usize,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
    /// Whether it shows colours, and somebody looks.
    pub colour: bool,
}

impl Looks {
    /// The sign before a bound.
    fn at_least(self) -> &'static str {
        if self.unicode { "≥" } else { ">=" }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }
}

/// Whether the locale is one of UTF-8, by the variables of locale(7) in their order.
#[must_use]
pub fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| variable(name));
    let first = set.into_iter().find(|value| !value.is_empty());
    first.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

/// Most outages that are listed; the others are counted.
const MOST_OUTAGES: usize = 10;

/// All of it.
#[must_use]
pub fn text(report: &Report, looks: Looks) -> String {
    let parts: Vec<String> = report.parts.iter().map(|part| one(report, part, looks)).collect();
    parts.join("\n")
}

fn one(report: &Report, part: &Part, looks: Looks) -> String {
    let summary = &part.summary;
    let period = report.period;
    let mut text = format!(
        "{}  {} to {}, {}\n",
        looks.bold(&summary.link),
        local::minute(period.from_s),
        local::minute(period.to_s),
        report.host
    );
    if let Some(words) = report.nothing_before() {
        let _ = writeln!(text, "  {words}");
    }
    if summary.records == 0 {
        text.push_str(&empty(summary));
        return text;
    }
    text.push('\n');
    text.push_str(&facts(summary, looks));
    text.push_str(&spreads(summary, looks));
    let drawn = plot::plots(part, period, looks);
    if !drawn.is_empty() {
        let _ = write!(text, "\n{drawn}");
    }
    text.push_str(&hours(summary, looks));
    text.push_str(&outages(&summary.outages, looks));
    text
}

fn empty(summary: &Summary) -> String {
    let mut text =
        "  there is nothing of this time in the history; linkprobe check writes it\n".to_owned();
    if summary.without_time > 0 {
        let _ = writeln!(text, "  {}", without_time(summary.without_time));
    }
    text
}

/// What is said of records that were written before a clock was set.
#[must_use]
pub fn without_time(count: usize) -> String {
    let records = counted(count, "record");
    format!("{records} of a time that cannot be (the clock was not set), left out")
}

/// Words in lines of at most so many characters, if no word is longer. What paints a word has no width.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut room = 0;
    for word in text.split(' ') {
        let painted = 9 * word.matches("\x1b[31m").count();
        let length = word.chars().count().saturating_sub(painted);
        match lines.last_mut() {
            Some(line) if length < room => {
                line.push(' ');
                line.push_str(word);
                room -= length + 1;
            }
            _ => {
                lines.push(word.to_owned());
                room = width.saturating_sub(length);
            }
        }
    }
    lines
}

fn facts(summary: &Summary, looks: Looks) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: String| {
        let lines = wrapped(&value, looks.width.saturating_sub(13));
        let value = lines.join(&format!("\n{:13}", ""));
        let _ = writeln!(text, "  {} {value}", looks.faint(&format!("{name:<10}")));
    };
    if let Some(last) = summary.last_check {
        let word = match last.verdict {
            Verdict::Good => last.verdict.as_str().to_owned(),
            _ => looks.red(last.verdict.as_str()),
        };
        fact("last check", format!("{word}, {}", local::minute(last.at_s)));
    }
    if !summary.isps.is_empty() {
        let names = summary.isps.iter().map(|(name, count)| format!("{name} ({count})"));
        fact("isp", names.collect::<Vec<_>>().join(", "));
    }
    fact("up", uptime(summary));
    if summary.checks() > 0 {
        fact("checks", checks(summary));
    }
    fact("data", data(summary));
    if summary.without_time > 0 {
        fact("left out", without_time(summary.without_time));
    }
    text
}

/// How much of the time it was up, in words.
#[must_use]
pub fn uptime(summary: &Summary) -> String {
    let Some(up) = summary.uptime else { return "nobody looked".to_owned() };
    let share = percent(up.share);
    let Some(counted_to_s) = up.counted_to_s else {
        let checks = counted(summary.checks(), "check");
        let by_watch = summary.outages.iter().any(|outage| outage.seen_by == Eye::Watch);
        let between = if by_watch {
            "watch has been at work, and its time is not counted yet: it writes once an hour"
        } else {
            "of the time in between there is no record of watch, which writes one an hour"
        };
        return format!("{share}, by {checks}; {between}");
    };
    let (looked, until) = (local::length(up.looked), local::minute(counted_to_s));
    let down = match (local::length(up.down), up.outages) {
        (_, 0) if up.down <= 0.0 => "never down".to_owned(),
        // It is not over, or the machine went off in it.
        (down, 0) => format!("down for {down}"),
        (down, outages) => format!("down for {down} in {}", counted(outages, "outage")),
    };
    let others = match summary.outages.len().saturating_sub(up.outages) {
        0 => String::new(),
        some => format!("; not counted: {} outside that time", counted(some, "outage")),
    };
    format!("{share}, watched for {looked} until {until}, {down}{others}")
}

/// `1 test`, `2 tests`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `99.62 %`; what is not all is never 100.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let shown = if percent < 100.0 { percent.min(99.99) } else { percent };
    format!("{shown:.2} %")
}

fn checks(summary: &Summary) -> String {
    let all = summary.checks();
    let good = percent_of(summary.count(Verdict::Good), all);
    let others = [
        Verdict::Marginal,
        Verdict::HighLatency,
        Verdict::Slow,
        Verdict::WrongIsp,
        Verdict::Down,
        Verdict::Untested,
    ];
    let others = others.iter().map(|verdict| (verdict.as_str(), summary.count(*verdict)));
    let others = others.filter(|(_, count)| *count > 0);
    let others: Vec<String> = others.map(|(name, count)| format!(", {name} {count}")).collect();
    format!("{all}: good {} ({good}){}", summary.count(Verdict::Good), others.concat())
}

/// A share of a count.
#[must_use]
pub fn percent_of(part: usize, all: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^52")]
    let share = part as f64 / all.max(1) as f64;
    format!("{:.0} %", (share * 100.0).floor())
}

/// What it cost, in words.
#[must_use]
pub fn data(summary: &Summary) -> String {
    let data = &summary.data;
    let month = units::bytes(data.month_bytes);
    let budget = data
        .month_budget
        .map_or_else(String::new, |budget| format!(" of {}", units::bytes(budget)));
    format!(
        "{} in {}; {month}{budget} since {}",
        units::bytes(data.bytes),
        counted(data.tests, "test"),
        local::day(data.month_began_s)
    )
}

/// A row of the percentiles: name, the three, how many, what is asked for.
pub struct Row {
    /// Of what.
    pub name: &'static str,
    /// In words.
    pub quantiles: [String; 3],
    /// How many samples.
    pub count: usize,
    /// What is asked for, in words.
    pub asked: String,
    /// Whether there is a bound among the three.
    pub bounded: bool,
}

/// All rows of the percentiles that there are; `sign` stands before a bound.
#[must_use]
pub fn rows(summary: &Summary, sign: &str) -> Vec<Row> {
    let row = |name, spread: Option<Spread>, number: fn(f64) -> String, asked: String| {
        let spread = spread?;
        let all = [spread.p5, spread.p50, spread.p95];
        let bounded = all.iter().any(|quantile| quantile.is == Bound::AtLeast);
        let quantiles = all.map(|quantile| signed(quantile, sign, number));
        Some(Row { name, quantiles, count: spread.count, asked, bounded })
    };
    let least = |rate: Option<f64>| {
        rate.map_or_else(String::new, |r| format!("{} or more", units::rate(r)))
    };
    let most =
        |ms: Option<f64>| ms.map_or_else(String::new, |ms| format!("{} or less", milliseconds(ms)));
    let none = String::new;
    [
        row("download", summary.download, units::rate, least(summary.min_download)),
        row(
            "  measured",
            summary.measured_download.filter(|_| some_bounds(summary.download)),
            units::rate,
            none(),
        ),
        row("upload", summary.upload, units::rate, least(summary.min_upload)),
        row(
            "  measured",
            summary.measured_upload.filter(|_| some_bounds(summary.upload)),
            units::rate,
            none(),
        ),
        row("ping", summary.ping, milliseconds, most(summary.max_latency)),
        row("  under load", summary.ping_loaded, milliseconds, none()),
        row("jitter", summary.jitter, milliseconds, none()),
        row("loss", summary.loss, share, none()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Where no bound is among the samples, what was measured is the same again.
fn some_bounds(spread: Option<Spread>) -> bool {
    spread.is_some_and(|spread| spread.bounds > 0)
}

/// `38.2 ms`; below one, two figures: `0.042 ms`.
#[must_use]
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 99.95 => format!("{ms:.0} ms"),
        ms if ms >= 0.995 => format!("{ms:.1} ms"),
        _ => mark_ms(ms),
    }
}

/// The same at the mark of an axis, without zeros at its end: `20 ms`, `0.04 ms`.
#[must_use]
pub fn mark_ms(ms: f64) -> String {
    let places = match ms {
        ms if ms >= 0.0995 => 2,
        ms if ms >= 0.00995 => 3,
        _ => 4,
    };
    let text = format!("{ms:.places$}");
    format!("{} ms", text.trim_end_matches('0').trim_end_matches('.'))
}

fn share(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn signed(quantile: Quantile, sign: &str, number: fn(f64) -> String) -> String {
    let sign = if quantile.is == Bound::AtLeast { sign } else { "" };
    format!("{sign}{}", number(quantile.value))
}

/// What a bound is, for a person.
pub const BOUND: &str = "the line has at least that: a check takes no more than it needs to know";

fn spreads(summary: &Summary, looks: Looks) -> String {
    let rows = rows(summary, looks.at_least());
    if rows.is_empty() {
        return String::new();
    }
    let head = ["", "p5", "median", "p95", "tests", "asked for"].map(str::to_owned);
    let mut lines = vec![head.to_vec()];
    for row in &rows {
        let [p5, p50, p95] = row.quantiles.clone();
        lines.push(vec![row.name.into(), p5, p50, p95, row.count.to_string(), row.asked.clone()]);
    }
    let mut text = format!("\n{}", columns(&lines, looks));
    if rows.iter().any(|row| row.bounded) {
        for line in wrapped(&format!("{} {BOUND}", looks.at_least()), looks.width.saturating_sub(2))
        {
            let _ = writeln!(text, "  {}", looks.faint(&line));
        }
    }
    text
}

/// Rows of cells as lines: the first column to the left, the others to the right, as many of them as fit.
fn columns(rows: &[Vec<String>], looks: Looks) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let length = |text: &String| text.chars().count();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(length).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = Vec::new();
    let mut used = 0;
    for column in 0..count {
        used += width(column) + 2;
        if used > looks.width.max(24) {
            break;
        }
        widths.push(width(column));
    }
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let room = " ".repeat(width.saturating_sub(length(cell)));
            let _ = if column == 0 {
                write!(line, "  {cell}{room}")
            } else {
                write!(line, "  {room}{cell}")
            };
        }
        let line = line.trim_end();
        let line = if number == 0 { looks.faint(line) } else { line.to_owned() };
        let _ = writeln!(text, "{line}");
    }
    text
}

fn hours(summary: &Summary, looks: Looks) -> String {
    let any = summary.hours.iter().any(|hour| hour.checks > 0 || hour.download.is_some());
    if !any {
        return String::new();
    }
    let mega = |quantile: Option<Quantile>| {
        quantile.map_or_else(String::new, |q| signed(q, looks.at_least(), |rate| plain(rate / 1e6)))
    };
    let ms = |quantile: Option<Quantile>| {
        quantile.map_or_else(String::new, |q| signed(q, looks.at_least(), plain))
    };
    let head = [
        "hour",
        "download p5",
        "median",
        "p95",
        "ping p5",
        "median",
        "p95",
        "good",
        "up",
        "upload p5",
        "median",
        "p95",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for hour in summary.shown_hours() {
        let Hour { download, upload, ping, .. } = hour;
        let good = if hour.checks > 0 { percent_of(hour.good, hour.checks) } else { String::new() };
        let up = hour.up.map_or_else(String::new, percent);
        let mut row = vec![format!("{:02}:00", hour.hour)];
        row.extend([
            mega(download.map(|d| d.p5)),
            mega(download.map(|d| d.p50)),
            mega(download.map(|d| d.p95)),
        ]);
        row.extend([ms(ping.map(|p| p.p5)), ms(ping.map(|p| p.p50)), ms(ping.map(|p| p.p95))]);
        row.extend([good, up]);
        row.extend([
            mega(upload.map(|u| u.p5)),
            mega(upload.map(|u| u.p50)),
            mega(upload.map(|u| u.p95)),
        ]);
        rows.push(row);
    }
    // A column of nothing says nothing.
    let empty = |column: usize| rows.iter().skip(1).all(|row| row[column].is_empty());
    let empty: Vec<bool> = (0..head.len()).map(empty).collect();
    for row in &mut rows {
        let mut column = 0;
        row.retain(|_| {
            column += 1;
            !empty[column - 1]
        });
    }
    format!("\n  By hour of the day, Mbit/s and ms\n{}", columns(&rows, looks))
}

/// Three figures, without a unit.
fn plain(number: f64) -> String {
    match number {
        n if n >= 99.95 => format!("{n:.0}"),
        n if n >= 9.995 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

fn outages(outages: &[Outage], looks: Looks) -> String {
    if outages.is_empty() {
        return String::new();
    }
    let newest = outages.iter().rev().take(MOST_OUTAGES);
    let mut rows = vec![["down from", "for", "seen by"].map(str::to_owned).to_vec()];
    rows.extend(newest.map(|outage| {
        vec![
            local::minute(outage.from_s),
            outage_length(outage),
            outage.seen_by.as_str().to_owned(),
        ]
    }));
    let mut text = format!("\n{}", columns(&rows, looks));
    if outages.len() > MOST_OUTAGES {
        let _ =
            writeln!(text, "  and {} before them; --html has more", outages.len() - MOST_OUTAGES);
    }
    text
}

/// How long an outage was, as exactly as it is known.
#[must_use]
pub fn outage_length(outage: &Outage) -> String {
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^52 seconds")]
    let length = local::length(outage.seconds() as f64);
    match (outage.seen_by, outage.over) {
        (Eye::Watch, _) => length,
        (Eye::Checks, true) => format!("about {length}"),
        (Eye::Checks, false) if outage.seconds() == 0 => "one check, end not seen".to_owned(),
        (Eye::Checks, false) => format!("{length} or more, end not seen"),
    }
}
