//! `linkprobe import NAME FILE...`: what other tools measured, into the history, each as a measurement.
//!
//! The same file twice adds nothing: a measurement is known by its time and its numbers.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use notifier::exit::{self, Failure};
use notifier::foreign::visible;

use crate::config::{Link, Settings};
use crate::history::{History, HistoryError, MAX_FILE, MAX_FILES};
use crate::local::parse_ms;
use crate::record::{Kind, Record, Verdict};

mod formats;
mod scan;

pub use formats::{Tool, record};
pub use scan::{Found, Item, scan};

/// Largest file: a log of speedtest-cli grows by 9 MB in a year of hours.
const MAX_BYTES: u64 = 256 << 20;

/// Most places of a file that are named.
const NAMED: usize = 3;

/// Reads the files (`-` is standard input), adds what is new, and says what was taken and what not.
///
/// # Errors
///
/// When there is no such line, when a file cannot be read or has nothing that is a measurement, or the
/// history takes no more.
pub fn import(
    settings: &Settings,
    state: &Path,
    name: &str,
    files: &[PathBuf],
) -> Result<(), Failure> {
    let link = settings.links.iter().find(|link| link.name == name).ok_or_else(|| {
        let names: Vec<&str> = settings.links.iter().map(|link| link.name.as_str()).collect();
        Failure::usage(format!("there is no [[link]] {name:?}; there are: {}", names.join(", ")))
    })?;
    let history = History::new(state, name);
    let mut known = known(&history)?;
    let mut records = Vec::new();
    let mut text = String::new();
    for path in files {
        let bytes = read(path)?;
        let tally = take(&bytes, link, &mut known, &mut records);
        if tally.taken + tally.known == 0 {
            return Err(nothing(path, &tally));
        }
        let _ = writeln!(text, "{}", tally.words(path));
    }
    records.sort_by_key(|(at_ms, _)| *at_ms);
    let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
    has_room(&history, &records)?;
    history.append_all(&records).map_err(|error| part_of_it(error, records.len()))?;
    exit::print(&text);
    Ok(())
}

/// What came of a file.
#[derive(Debug, Default)]
struct Tally {
    taken: usize,
    /// Of those taken: tests that failed, and say so by numbers that are none.
    failed: usize,
    /// Of those taken: of another ISP's line.
    wrong: usize,
    known: usize,
    /// What was left out, by reason: how many, and in which lines.
    left_out: Vec<(String, usize, Vec<usize>)>,
}

impl Tally {
    fn leave_out(&mut self, line: usize, why: &str) {
        let place = self.left_out.iter().position(|(known, _, _)| known == why);
        let place = place.unwrap_or_else(|| {
            self.left_out.push((why.to_owned(), 0, Vec::new()));
            self.left_out.len() - 1
        });
        let (_, count, lines) = &mut self.left_out[place];
        *count += 1;
        if lines.len() < NAMED {
            lines.push(line);
        }
    }

    fn words(&self, path: &Path) -> String {
        let mut text = format!("{}: {} taken", shown(path), self.taken);
        let mut also = Vec::new();
        if self.failed > 0 {
            also.push(format!("{} are tests that failed, without numbers", self.failed));
        }
        if self.wrong > 0 {
            also.push(format!("{} are of another ISP's line, and count as such", self.wrong));
        }
        if !also.is_empty() {
            let _ = write!(text, " (of them {})", also.join("; "));
        }
        if self.known > 0 {
            let _ = write!(text, ", {} were there already", self.known);
        }
        for (why, count, lines) in &self.left_out {
            let _ = write!(text, "\n  {count} left out: {why} ({})", places(*count, lines));
        }
        text
    }
}

fn places(count: usize, lines: &[usize]) -> String {
    let named: Vec<String> = lines.iter().map(usize::to_string).collect();
    let word = if count == 1 { "line" } else { "lines" };
    let more = if count > lines.len() { ", ..." } else { "" };
    format!("{word} {}{more}", named.join(", "))
}

fn shown(path: &Path) -> String {
    visible(path.as_os_str().as_encoded_bytes())
}

/// What two records of the same measurement have in common.
type Key = (i64, Option<u64>, Option<u64>, Option<u64>);

fn key(at_ms: i64, record: &Record) -> Key {
    let bits = |value: Option<f64>| value.map(f64::to_bits);
    (at_ms, bits(record.download), bits(record.upload), bits(record.ping))
}

fn known(history: &History) -> Result<HashSet<Key>, Failure> {
    let mut known = HashSet::new();
    history.each(None, |at_ms, record| {
        if record.kind == Kind::Measure {
            known.insert(key(at_ms, &record));
        }
    })?;
    Ok(known)
}

fn take(
    bytes: &[u8],
    link: &Link,
    known: &mut HashSet<Key>,
    records: &mut Vec<(i64, Record)>,
) -> Tally {
    let mut tally = Tally::default();
    scan(bytes, |item| match item.found {
        Found::Json(value) => match record(&value) {
            Ok(mut record) => {
                record.link.clone_from(&link.name);
                if is_of_another(link, &record) {
                    record.verdict = Some(Verdict::WrongIsp);
                    tally.wrong += 1;
                }
                // It has been parsed before.
                let at_ms = parse_ms(&record.timestamp).unwrap_or(0);
                if !known.insert(key(at_ms, &record)) {
                    tally.wrong -= usize::from(record.verdict == Some(Verdict::WrongIsp));
                    tally.known += 1;
                    return;
                }
                let numbers = [record.download, record.upload, record.ping];
                tally.failed += usize::from(numbers.iter().all(Option::is_none));
                tally.taken += 1;
                records.push((at_ms, record));
            }
            Err(why) => tally.leave_out(item.line, why),
        },
        Found::Text => tally.leave_out(item.line, "no JSON, as messages of a tool are"),
        Found::Broken => tally.leave_out(item.line, "JSON that is torn or broken"),
    });
    tally
}

/// Whether the tool was told by whom the line is, and it is not whom the file names.
fn is_of_another(link: &Link, record: &Record) -> bool {
    let Some(client) = &record.client else { return false };
    if let (Some(asn), false) = (client.asn, link.expect_asn.is_empty()) {
        return !link.expect_asn.contains(&asn);
    }
    match (&client.isp, link.expect_isp.is_empty()) {
        (Some(isp), false) => {
            let isp = isp.to_lowercase();
            !link.expect_isp.iter().any(|part| isp.contains(&part.to_lowercase()))
        }
        _ => false,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::io(shown(path), &error))?;
    let large = u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES;
    if large {
        return Err(Failure::data(format!(
            "{}: more than {} MiB; split it at the end of a line (split -C 200M)",
            shown(path),
            MAX_BYTES >> 20
        )));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let path = shown(path);
        return Err(Failure::data(format!(
            "{path}: compressed; zcat {path} | linkprobe import NAME -"
        )));
    }
    Ok(bytes)
}

fn nothing(path: &Path, tally: &Tally) -> Failure {
    let path = shown(path);
    let Some((why, _, lines)) = tally.left_out.first() else {
        return Failure::data(format!("{path}: it is empty"));
    };
    let line = lines.first().copied().unwrap_or(1);
    Failure::data(format!(
        "{path}:{line}: {why}; nothing in it is a measurement. Files are what speedtest-cli --json, \
         librespeed-cli --json and Ookla's speedtest --format=json print"
    ))
}

/// What is old does not push out what is there.
fn has_room(history: &History, records: &[Record]) -> Result<(), Failure> {
    let all = MAX_FILE * u64::try_from(MAX_FILES - 1).unwrap_or(1);
    let size = |record: &Record| serde_json::to_vec(record).map_or(0, |json| json.len() + 1);
    let new: usize = records.iter().map(size).sum();
    let there = history.bytes();
    let whole = there.saturating_add(u64::try_from(new).unwrap_or(u64::MAX));
    if whole <= all {
        return Ok(());
    }
    Err(Failure::data(format!(
        "these are {} MiB, and the history, which keeps {} MiB, has {} already; its oldest records would \
         be lost. Take the newest files alone",
        new >> 20,
        all >> 20,
        there >> 20
    )))
}

fn part_of_it(error: HistoryError, all: usize) -> Failure {
    let written = match &error {
        HistoryError::Io { written, .. } => *written,
        _ => 0,
    };
    if written == 0 {
        return error.into();
    }
    Failure::later(format!(
        "{error}; {written} of {all} records are in. The same command again adds the others"
    ))
}

#[cfg(test)]
mod tests;
