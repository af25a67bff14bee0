//! Reading the history: a line at a time, whatever lies there.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notifier::foreign::visible;

use super::{History, HistoryError, MAX_FILES, MAX_LINE, io_error, opening};
use crate::local::parse_ms;
use crate::record::{Kind, Record};

/// What was no record, and was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skipped {
    /// So many lines.
    pub lines: usize,
    /// File, number and reason of the first.
    pub first: Option<(PathBuf, usize, String)>,
}

impl Skipped {
    fn add(&mut self, path: &Path, number: usize, why: &str) {
        self.lines += 1;
        self.first.get_or_insert_with(|| (path.to_owned(), number, why.to_owned()));
    }

    /// Whether there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((path, number, why)) = &self.first else { return f.write_str("nothing") };
        let path = visible(path.as_os_str().as_encoded_bytes());
        match self.lines {
            1 => write!(f, "1 line is no record and was left out: {path}:{number}: {why}"),
            n => write!(
                f,
                "{n} lines are no records and were left out, the first of them {path}:{number}: {why}"
            ),
        }
    }
}

impl History {
    /// All records that are of `since` (milliseconds since 1970) or later, or are of an outage that
    /// was not over then; by their time, whatever the clock did between them. Takes about 1 kB for
    /// each; see [`History::each`].
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; that there is no history is none.
    pub fn read(&self, since_ms: Option<i64>) -> Result<(Vec<Record>, Skipped), HistoryError> {
        let mut records = Vec::new();
        let skipped = self.each(since_ms, |at_ms, record| records.push((at_ms, record)))?;
        records.sort_by_key(|(at_ms, _)| *at_ms);
        Ok((records.into_iter().map(|(_, record)| record).collect(), skipped))
    }

    /// Hands the same records out one by one, with their time in milliseconds since 1970, in the order in
    /// which they were written: so that years of them take no memory.
    ///
    /// # Errors
    ///
    /// As [`History::read`].
    pub fn each(
        &self,
        since_ms: Option<i64>,
        mut take: impl FnMut(i64, Record),
    ) -> Result<Skipped, HistoryError> {
        let mut skipped = Skipped::default();
        for (path, file) in self.open_all()?.into_iter().rev() {
            if since_ms.is_some_and(|since_ms| ended_before(&file, since_ms)) {
                continue;
            }
            let mut lines = Lines::new(file);
            while let Some(line) = lines.next().map_err(io_error("read", &path))? {
                if since_ms.is_some_and(|since_ms| is_plainly_before(line.bytes, since_ms)) {
                    continue;
                }
                let parsed = if line.is_whole { parse_line(line.bytes) } else { Err(TOO_LONG) };
                match parsed {
                    Ok((at_ms, mut record))
                        if since_ms.is_none_or(|s| end_ms(at_ms, &record) >= s) =>
                    {
                        if record.link.is_empty() {
                            record.link.clone_from(&self.link);
                        }
                        take(at_ms, record);
                    }
                    Ok(_) => {}
                    Err(why) => skipped.add(&path, line.number, why),
                }
            }
        }
        Ok(skipped)
    }

    /// Whether there is any.
    #[must_use]
    pub fn exists(&self) -> bool {
        (0..MAX_FILES).any(|index| self.path(index).exists())
    }

    /// All files, the newest first: one that is put away meanwhile is met again under its next name
    /// and is then left out, where in the other order one would be missed.
    fn open_all(&self) -> Result<Vec<(PathBuf, File)>, HistoryError> {
        let mut files = Vec::new();
        let mut met = Vec::new();
        for path in (0..MAX_FILES).map(|index| self.path(index)) {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
            let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(opening(&path))?,
            };
            let meta = file.metadata().map_err(io_error("look at", &path))?;
            if !meta.is_file() {
                return Err(HistoryError::NotAFile { path });
            }
            let id = (meta.dev(), meta.ino());
            if !met.contains(&id) {
                met.push(id);
                files.push((path, file));
            }
        }
        Ok(files)
    }
}

const TOO_LONG: &str = "longer than a record may be";

/// The record of a line, and its time in milliseconds since 1970.
///
/// # Errors
///
/// What is wrong, in words; nothing of the line is repeated.
pub fn parse_line(line: &[u8]) -> Result<(i64, Record), &'static str> {
    if line.len() > MAX_LINE {
        return Err(TOO_LONG);
    }
    let record: Record = serde_json::from_slice(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => "torn: it ends before its end",
        serde_json::error::Category::Data => "JSON of something else",
        _ => "no JSON",
    })?;
    let at_ms = parse_ms(&record.timestamp).ok_or("it has no timestamp")?;
    Ok((at_ms, record.cleaned()))
}

/// When what it tells of was over; later than its time for an outage alone.
fn end_ms(at_ms: i64, record: &Record) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let took_ms = match record.kind {
        Kind::Outage => (record.took_s.unwrap_or(0.0) * 1000.0) as i64,
        _ => 0,
    };
    at_ms.saturating_add(took_ms)
}

/// Whether a file was last written to so long before that nothing in it can be of this time: two days
/// for clocks that were set.
fn ended_before(file: &File, since_ms: i64) -> bool {
    const SLACK: Duration = Duration::from_secs(2 * 86_400);
    let Ok(since) = u64::try_from(since_ms) else { return false };
    let since: SystemTime = UNIX_EPOCH + Duration::from_millis(since);
    let modified = file.metadata().and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| modified + SLACK < since)
}

/// Whether a line is one of ours, of a time before; without reading it to its end. That is what makes
/// an hourly look at the last month cheap when there are years of it.
fn is_plainly_before(line: &[u8], since_ms: i64) -> bool {
    const BEGINNING: &[u8] = b"{\"timestamp\":\"";
    let Some(rest) = line.strip_prefix(BEGINNING) else { return false };
    let Some(end) = rest.iter().take(40).position(|byte| *byte == b'"') else { return false };
    let (time, rest) = rest.split_at(end);
    let short =
        [&b"\",\"kind\":\"check\""[..], b"\",\"kind\":\"watch\"", b"\",\"kind\":\"measure\""];
    // Half a line that begins so is no record; it is counted as such.
    let whole = line.ends_with(b"}") && short.iter().any(|kind| rest.starts_with(kind));
    let time = std::str::from_utf8(time).ok().and_then(parse_ms);
    whole && time.is_some_and(|at_ms| at_ms < since_ms)
}

/// The lines of a file, of any length, in little memory.
struct Lines {
    file: BufReader<File>,
    buffer: Vec<u8>,
    number: usize,
}

struct Line<'a> {
    /// Without its end; of one that is too long, its beginning.
    bytes: &'a [u8],
    is_whole: bool,
    /// From 1 on.
    number: usize,
}

impl Lines {
    fn new(file: File) -> Self {
        Self { file: BufReader::with_capacity(64 * 1024, file), buffer: Vec::new(), number: 0 }
    }

    /// The next that is not empty.
    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.buffer.clear();
            let mut length = 0;
            let mut ended = false;
            while !ended {
                let chunk = self.file.fill_buf()?;
                if chunk.is_empty() {
                    break;
                }
                let end = chunk.iter().position(|byte| *byte == b'\n');
                let (piece, used) = match end {
                    Some(end) => (&chunk[..end], end + 1),
                    None => (chunk, chunk.len()),
                };
                let room = (MAX_LINE + 1).saturating_sub(self.buffer.len()).min(piece.len());
                self.buffer.extend_from_slice(&piece[..room]);
                length += used;
                ended = end.is_some();
                self.file.consume(used);
            }
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let is_whole = self.buffer.len() <= MAX_LINE;
        Ok(Some(Line { bytes: self.buffer.trim_ascii(), is_whole, number: self.number }))
    }
}
