//! What is counted, on disk: the ledger, the weekly report that is made of it, and the metrics.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Outbox, Thing};
use crate::clock::{Stamp, unix_ms};
use crate::config::allowances::{self, Allowance};
use crate::deliver::ledger::Ledger;
use crate::deliver::metrics::{self, Now};
use crate::deliver::weekly::Weekly;
use crate::event::{Report, Severity, What};
use crate::ffi;
use crate::spool::drop::{self, Sync};
use crate::spool::files;

/// The file in `[host] state`.
const FILE: &str = "ledger.json";

/// How often it is written at most: counting must not cost an fsync(2) for each alert. What a kill
/// then loses is a few counts, never an alert.
const EVERY: Duration = Duration::from_secs(10);

/// How often the metrics are written when something was counted, which is as often as anybody
/// collects them; and in any case, so that the file's age says that the sender works.
const NEWS: Duration = Duration::from_secs(5);
const ANYWAY: Duration = Duration::from_secs(30);

/// How often all this is looked at, at most: the loop turns hundreds of times a second in a flood.
const LEAST: Duration = Duration::from_secs(1);

/// What is to be done with what is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// When the weekly report is due, if there is to be one.
    pub weekly: Option<Weekly>,
    /// Where the metrics go, if anywhere.
    pub metrics: Option<PathBuf>,
}

/// The ledger, and what is remembered of writing it.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub ledger: Ledger,
    settings: Settings,
    started_s: u64,
    kept: Option<Instant>,
    written: Option<Instant>,
    metered: Option<Instant>,
    /// Whether something was counted since the metrics were written.
    news: bool,
}

impl Outbox {
    /// Takes over a configuration.
    pub fn set_books(&mut self, settings: Settings) {
        self.books.settings = settings;
        (self.books.metered, self.books.kept) = (None, None);
    }

    pub(super) fn load_books(&mut self) {
        let ledger: Ledger = self.read_state_file(FILE);
        self.books.ledger = ledger.after_read(&Stamp::now());
        self.books.started_s = unix_ms() / 1000;
    }

    /// Writes what has been counted, makes the report when it is due, and writes the metrics.
    /// `config` is where the allowances are looked for. `last` before the sender ends. Answers
    /// when to be called again.
    pub fn keep_books(&mut self, config: &Path, last: bool) -> Duration {
        if !last && self.books.kept.is_some_and(|at| at.elapsed() < LEAST) {
            return LEAST;
        }
        self.books.kept = Some(Instant::now());
        self.books.news |= self.books.ledger.is_changed();
        if let Some(weekly) = self.books.settings.weekly {
            let now = Stamp::now();
            let local = i64::try_from(now.unix_ms / 1000).ok().and_then(ffi::local_time);
            let since = &self.books.ledger.since;
            if local.is_some_and(|local| weekly.is_due(since, &now, &local)) {
                self.close_week(config, &now);
            }
        }
        let left = |at: Option<Instant>, rest: Duration| {
            at.map_or(Duration::ZERO, |at| rest.saturating_sub(at.elapsed()))
        };
        if self.books.ledger.is_changed() {
            let urgent = last || self.books.ledger.is_urgent();
            if urgent || left(self.books.written, EVERY).is_zero() {
                self.write_ledger();
            }
        }
        let rest = if self.books.news { NEWS } else { ANYWAY };
        if last || left(self.books.metered, rest).is_zero() {
            self.write_metrics();
        }
        let unwritten = self.books.ledger.is_changed().then(|| left(self.books.written, EVERY));
        let unmetered = self.books.news.then(|| left(self.books.metered, NEWS));
        [unwritten, unmetered].into_iter().flatten().fold(ANYWAY, Duration::min)
    }

    /// Puts the report into the spool and begins a new week. A kill in between makes two reports
    /// of one week, and none is lost.
    fn close_week(&mut self, config: &Path, now: &Stamp) {
        let report = self.books.ledger.report(allowances_in_force(config, now), now);
        let severity = if report.lost > 0 { Severity::Warning } else { Severity::Info };
        let event = drop::new_event(now.clone(), &self.host, severity, What::Report(report));
        let published = drop::publish(self.queue.spool(), &event, Sync::Now);
        let is_there = published.is_ok();
        self.tell_once(Thing::Report, published.map(|_| ()).map_err(|error| error.to_string()));
        if is_there {
            self.books.ledger.begin_week(now);
            self.write_ledger();
        }
    }

    fn write_ledger(&mut self) {
        self.books.written = Some(Instant::now());
        let json = serde_json::to_vec(&self.books.ledger);
        if self.write_state_file(FILE, json) {
            self.books.ledger.was_written();
        }
    }

    fn write_metrics(&mut self) {
        (self.books.metered, self.books.news) = (Some(Instant::now()), false);
        let Some(path) = self.books.settings.metrics.clone() else { return };
        let now = Stamp::now();
        let oldest = self.entries.values().map(|entry| entry.at.age(&now).as_secs()).max();
        let channels = self.policy.channels();
        let text = metrics::render(&Now {
            ledger: &self.books.ledger,
            waiting: self.entries.len(),
            oldest_s: oldest.unwrap_or(0),
            channels: channels.iter().map(String::as_str).collect(),
            health: &self.health,
            started_s: self.books.started_s,
        });
        let (dir, name) = (path.parent(), path.file_name().and_then(|name| name.to_str()));
        let Some((dir, name)) = dir.zip(name) else { return };
        // Not durable: after a power cut the sender writes it anew.
        let written = files::replace_public(dir, name, text.as_bytes());
        let failed = |error| format!("cannot write the metrics to {}: {error}", path.display());
        self.tell_once(Thing::Metrics, written.map_err(failed));
    }
}

/// How many allowances are in force. A file that cannot be read has none, as for a login.
fn allowances_in_force(config: &Path, now: &Stamp) -> u64 {
    let list = allowances::load(config).unwrap_or_default().list;
    let open = |one: &&Allowance| allowances::time_left(&one.rule, now).is_ok();
    u64::try_from(list.iter().filter(open).count()).unwrap_or(u64::MAX)
}

/// What the report of this week would say now, by what is in `state_dir`.
///
/// # Errors
///
/// When there is no ledger, or none that can be read.
pub fn report_so_far(state_dir: &Path, config: &Path) -> io::Result<Report> {
    let now = Stamp::now();
    let json = std::fs::read(state_dir.join(FILE))?;
    let ledger: Ledger = serde_json::from_slice(&json)?;
    Ok(ledger.report(allowances_in_force(config, &now), &now))
}

/// Where metrics may go: the textfile collector reads files of this name alone.
///
/// # Errors
///
/// A text for a person.
pub fn metrics_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.is_absolute() || path.extension().is_none_or(|ending| ending != "prom") {
        return Err(
            "write a whole path that ends in .prom, as \"/run/bastion/bastion.prom\"".into()
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_go_where_the_collector_looks() {
        assert!(metrics_path("/run/bastion/bastion.prom").is_ok());
        for text in ["bastion.prom", "/run/bastion/metrics", "/run/bastion/", ""] {
            assert!(metrics_path(text).is_err(), "{text}");
        }
    }
}
