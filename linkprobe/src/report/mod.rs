//! `linkprobe report`: what the history says, as a table, a plot, a page, a picture or a list.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notifier::clock;
use notifier::config::{DEFAULT_PATH, duration};
use notifier::exit::{self, Failure};
use serde::Serialize;

use crate::budget::Budget;
use crate::config::{Ceiling, Floor, Link, Settings};
use crate::history::{History, Skipped};
use crate::local;

mod csv;
mod isps;
mod out;
mod outages;
mod page;
mod picture;
mod plot;
mod point;
mod scale;
mod spread;
mod strip;
mod summary;
mod table;

pub use isps::Isps;
pub use outages::{Eye, Outage};
pub use point::Point;
pub use spread::{Quantile, Sample, Spread};
pub use summary::{Beside, Summary};

/// What is asked for on the command line.
#[derive(Debug, Clone, Default)]
pub struct ReportOptions {
    /// The one line that is asked for; else all of the file.
    pub link: Option<String>,
    /// How far back.
    pub since: Since,
    /// The summary as JSON in place of the table.
    pub json: bool,
    /// Where the picture goes; `-` is standard output.
    pub svg: Option<PathBuf>,
    /// Where the page goes.
    pub html: Option<PathBuf>,
    /// Where the records go.
    pub csv: Option<PathBuf>,
}

/// How far back a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long.
    Ago(Duration),
    /// As far as there is any.
    Ever,
}

impl Default for Since {
    fn default() -> Self {
        Self::Ago(Duration::from_secs(30 * 86_400))
    }
}

impl Since {
    /// Reads `30d`, `12h` or `all`.
    ///
    /// # Errors
    ///
    /// A text for a person that says how to write one.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::Ever);
        }
        let wrong = || format!("--since {text:?}: write \"30d\", \"12h\" or \"all\"");
        let ago = duration::parse(text).map_err(|_| wrong())?;
        if ago < Duration::from_secs(60) { Err(wrong()) } else { Ok(Self::Ago(ago)) }
    }
}

/// From when to when, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// The first second.
    pub from_s: i64,
    /// The last.
    pub to_s: i64,
}

impl Period {
    /// How long.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.to_s.saturating_sub(self.from_s).max(1)
    }
}

/// A line's part of a report.
#[derive(Debug, Clone)]
pub struct Part {
    /// In numbers.
    pub summary: Summary,
    /// All records of the period, in order.
    pub points: Vec<Point>,
}

/// A report of some lines.
#[derive(Debug, Clone)]
pub struct Report {
    /// Name of the machine.
    pub host: String,
    /// The period.
    pub period: Period,
    /// When the time began that was asked for, where there is no record until the period begins.
    pub nothing_from_s: Option<i64>,
    /// A line each.
    pub parts: Vec<Part>,
}

impl Report {
    /// Of what time nothing is known that was asked for, in words.
    #[must_use]
    pub fn nothing_before(&self) -> Option<String> {
        let from_s = self.nothing_from_s?;
        Some(format!("no records from {} until then", local::minute(from_s)))
    }
}

/// Where packages put the example of the file.
const EXAMPLE: &str = "/usr/share/doc/pam-bastion/examples/bastion.toml";

/// Before this no machine has written a record: its clock was not set.
const FIRST_S: i64 = 1_420_070_400;

/// Prints or writes what is asked for.
///
/// # Errors
///
/// When there is no such line, when the history cannot be read, or a file cannot be written.
pub fn report(settings: &Settings, state: &Path, options: &ReportOptions) -> Result<(), Failure> {
    let now_s = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    let links = links(settings, state, options.link.as_deref())?;
    let since_ms = match options.since {
        Since::Ever => None,
        Since::Ago(ago) => {
            let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
            Some(now_s.saturating_sub(ago).max(FIRST_S).saturating_mul(1000))
        }
    };
    if let Some(file) = &options.csv {
        let histories: Vec<History> =
            links.iter().map(|(name, _)| History::new(state, name)).collect();
        out::to(file, &csv::of(&histories, since_ms)?)?;
    }
    let host = settings.host.name.visible();
    let report = gather(host, state, &links, since_ms, now_s)?;
    if let Some(file) = &options.svg {
        out::to(file, &picture::whole(&report))?;
    }
    if let Some(file) = &options.html {
        out::to(file, &page::page(&report))?;
    }
    if options.json {
        exit::print(&json(&report));
    } else if options.csv.is_none() && options.svg.is_none() && options.html.is_none() {
        let looks = table::Looks {
            width: crate::ffi::terminal_width(io::stdout().as_fd()).map_or(80, usize::from),
            unicode: table::is_utf8(|name| std::env::var(name).ok()),
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        exit::print(&table::text(&report, looks));
    }
    Ok(())
}

/// The lines that are asked for, with what is expected of them. One that the file does not name any
/// more has a history all the same.
fn links<'a>(
    settings: &'a Settings,
    state: &Path,
    wanted: Option<&str>,
) -> Result<Vec<(String, Option<&'a Link>)>, Failure> {
    let all = settings.links.iter().map(|link| (link.name.clone(), Some(link)));
    let Some(wanted) = wanted else {
        let all: Vec<_> = all.collect();
        if all.is_empty() {
            return Err(Failure::config(format!(
                "there is no [[link]] in the configuration file; add a [[link]] to it \
                 ({DEFAULT_PATH}, unless --config names another); {EXAMPLE} has an example"
            )));
        }
        return Ok(all);
    };
    if let Some(link) = settings.links.iter().find(|link| link.name == wanted) {
        return Ok(vec![(link.name.clone(), Some(link))]);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !wanted.is_empty() && wanted.chars().all(plain) && History::new(state, wanted).exists() {
        return Ok(vec![(wanted.to_owned(), None)]);
    }
    let names: Vec<&str> = settings.links.iter().map(|link| link.name.as_str()).collect();
    Err(Failure::usage(format!(
        "there is no [[link]] {wanted:?} and no history of it; there are: {}",
        names.join(", ")
    )))
}

fn gather(
    host: String,
    state: &Path,
    links: &[(String, Option<&Link>)],
    since_ms: Option<i64>,
    now_s: i64,
) -> Result<Report, Failure> {
    let mut read = Vec::new();
    for (name, link) in links {
        let mut one = gather_one(&History::new(state, name), name, *link, since_ms, now_s)?;
        if let Some(used) = link.and_then(|link| used(state, link, now_s)) {
            one.beside.month_bytes = used;
        }
        if !one.skipped.is_empty() {
            exit::complain("linkprobe", &one.skipped);
        }
        read.push(one);
    }
    let first = read.iter().filter_map(|one| one.points.first()).map(|point| point.at_s).min();
    let last = read.iter().filter_map(|one| one.points.last()).map(|point| point.at_s).max();
    // A history that ends long ago, when all of it is asked for, has no empty half.
    let to_s = match (since_ms, last) {
        (None, Some(last)) if now_s - last > local::DAY_S => last + local::HOUR_S,
        _ => now_s,
    };
    let since_s = since_ms.map(|since_ms| since_ms / 1000);
    // An axis of minutes says nothing.
    let first = first.map(|first| first.min(to_s - local::HOUR_S));
    // Checks come hourly: less than that is no time of which nothing is known.
    let begin = first.filter(|first| since_s.is_none_or(|since_s| first - since_s > local::HOUR_S));
    let period = Period { from_s: begin.or(since_s).unwrap_or(now_s), to_s };
    let nothing_from_s = begin.and(since_s);
    let part = |one: Read| {
        let summary = Summary::of(&one.points, period, &one.beside);
        Part { summary, points: one.points }
    };
    Ok(Report { host, period, nothing_from_s, parts: read.into_iter().map(part).collect() })
}

/// Bytes of the month by the book that checks keep to: in the history there is what was imported, too.
fn used(state: &Path, link: &Link, now_s: i64) -> Option<u64> {
    let budget = Budget::new(state, &link.name, link.monthly_data, link.month_begins);
    let standing = budget.standing(now_s).inspect_err(|error| exit::complain("linkprobe", error));
    standing.ok().map(|standing| standing.used)
}

struct Read {
    points: Vec<Point>,
    beside: Beside,
    skipped: Skipped,
}

fn gather_one(
    history: &History,
    name: &str,
    link: Option<&Link>,
    since_ms: Option<i64>,
    now_s: i64,
) -> Result<Read, Failure> {
    let month_began_s = local::month_began(now_s, link.map_or(1, |link| link.month_begins));
    let mut beside = Beside {
        link: name.to_owned(),
        min_download: link.and_then(|link| floor(link.min_download)),
        min_upload: link.and_then(|link| floor(link.min_upload)),
        max_latency: link.and_then(|link| match link.max_latency {
            Some(Ceiling::Time(most)) => Some(most.as_secs_f64() * 1000.0),
            _ => None,
        }),
        month_budget: link.map(|link| link.monthly_data),
        month_began_s,
        ..Beside::default()
    };
    let mut points = Vec::new();
    let read_from = since_ms.map(|since_ms| since_ms.min(month_began_s * 1000));
    let skipped = history.each(read_from, |at_ms, record| {
        let point = Point::of(at_ms, &record);
        if point.at_s < FIRST_S || point.at_s > now_s + local::DAY_S {
            beside.without_time += 1;
            return;
        }
        if point.at_s >= month_began_s {
            beside.month_bytes = beside.month_bytes.saturating_add(point.bytes);
        }
        if since_ms.is_none_or(|since_ms| point.end_s().max(point.at_s) >= since_ms / 1000) {
            if let Some(client) = &record.client {
                beside.isps.count(client);
            }
            points.push(point);
        }
    })?;
    beside.unreadable_lines = skipped.lines;
    points.sort_by_key(|point| point.at_s);
    Ok(Read { points, beside, skipped })
}

fn floor(floor: Option<Floor>) -> Option<f64> {
    match floor {
        Some(Floor::BitsPerSecond(rate)) => Some(rate),
        _ => None,
    }
}

fn json(report: &Report) -> String {
    let links: Vec<&Summary> = report.parts.iter().map(|part| &part.summary).collect();
    let whole = serde_json::json!({ "host": report.host, "links": links });
    format!("{}\n", serde_json::to_string_pretty(&whole).unwrap_or_default())
}

#[cfg(test)]
mod tests;
