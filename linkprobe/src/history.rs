//! The history of a line: JSON lines of [`Record`] in the state directory, `NAME.jsonl` the newest
//! file and `NAME.1.jsonl` to `NAME.15.jsonl` older ones.
//!
//! A record is there whole and durably, or not at all: one write under a lock, then fsync(2); what
//! did not get in to the end is cut off again. What somebody else left there, half a line after a
//! power cut or a foreign one, costs that line alone.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use notifier::ffi::{file_size_limit, geteuid, try_lock};
use notifier::spool::files::sync_dir;

use crate::record::Record;

mod read;

pub use read::{Skipped, parse_line};

/// Longest line, in bytes. A record has 200 to 900.
pub const MAX_LINE: usize = 64 * 1024;

/// Size from which a file is put away. A check each hour with the hour of `watch` is 19 kB a day, 27 kB
/// with long names and reasons: 150 days at the least.
pub const MAX_FILE: u64 = 4 << 20;

/// How many files there are at most: 64 MiB, which is more than six years.
pub const MAX_FILES: usize = 16;

/// Longest wait for another run to be done. An append takes milliseconds, on a bad card a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The history of one line.
#[derive(Debug, Clone)]
pub struct History {
    dir: PathBuf,
    link: String,
}

/// Why a record is not in the history, or why the history could not be read.
#[derive(Debug)]
pub enum HistoryError {
    /// Something that is no plain file has the name of ours.
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// Another run holds it.
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The record is longer than a line may be.
    TooLong {
        /// So many bytes.
        bytes: usize,
    },
    /// The system did not let us; of the records nothing was written, or as many as `written`.
    Io {
        /// What was done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// How many records were written before, and stay.
        written: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFile { path } => {
                write!(f, "{} is no plain file; move it away", path.display())
            }
            Self::Busy { path } => {
                write!(f, "{} has been in use for {} s", path.display(), PATIENCE.as_secs())
            }
            Self::TooLong { bytes } => {
                write!(f, "a record of {bytes} bytes; {MAX_LINE} is the most")
            }
            Self::Io { doing, path, source, .. } => {
                let remedy =
                    if is_full(source) { "; the history is as it was: make room" } else { "" };
                write!(f, "cannot {doing} {}: {source}{remedy}", path.display())
            }
        }
    }
}

impl std::error::Error for HistoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<HistoryError> for notifier::exit::Failure {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Io { ref source, .. } if is_full(source) => Self::later(&error),
            HistoryError::Io { doing, path, source, .. } => {
                Self::io(format!("cannot {doing} {}", path.display()), &source)
            }
            HistoryError::NotAFile { .. } | HistoryError::TooLong { .. } => Self::data(error),
            HistoryError::Busy { .. } => Self::later(error),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl History {
    /// The history of the line `link` in `dir`. Touches nothing.
    #[must_use]
    pub fn new(dir: &Path, link: &str) -> Self {
        Self { dir: dir.to_owned(), link: link.to_owned() }
    }

    /// Adds a record. It is durable once this has returned.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; the history is then as it was.
    pub fn append(&self, record: &Record) -> Result<(), HistoryError> {
        self.append_all(std::slice::from_ref(record))
    }

    /// Adds records, with one write and one fsync for as many as fit a file.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; of several records those before may have been written.
    pub fn append_all(&self, records: &[Record]) -> Result<(), HistoryError> {
        let lines: Result<Vec<Vec<u8>>, _> = records.iter().map(line).collect();
        let lines = lines?;
        let mut written = 0;
        while written < lines.len() {
            let file = self.locked().map_err(|error| error.after(written))?;
            if file.length >= MAX_FILE {
                self.put_away().map_err(|error| error.after(written))?;
                continue;
            }
            // All that fit, and one at the least.
            let mut length = file.length;
            let fit = lines[written..].iter().take_while(|line| {
                let had_room = length < MAX_FILE;
                length += u64::try_from(line.len()).unwrap_or(u64::MAX);
                had_room
            });
            let end = written + fit.count();
            file.write(&lines[written..end].concat()).map_err(|error| error.after(written))?;
            written = end;
        }
        Ok(())
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let size = |index| fs::symlink_metadata(self.path(index)).map_or(0, |meta| meta.len());
        (0..MAX_FILES).map(size).sum()
    }

    /// The file with this number; 0 is the newest.
    #[must_use]
    pub fn path(&self, index: usize) -> PathBuf {
        let link = &self.link;
        match index {
            0 => self.dir.join(format!("{link}.jsonl")),
            index => self.dir.join(format!("{link}.{index}.jsonl")),
        }
    }

    /// Opens the newest file and locks it. Another run may have put it away meanwhile; then the one
    /// that has its name now is taken.
    fn locked(&self) -> Result<Locked, HistoryError> {
        let path = self.path(0);
        let begun = Instant::now();
        loop {
            let file = self.open_or_create(&path)?;
            while !try_lock(&file).map_err(io_error("lock", &path))? {
                if begun.elapsed() > PATIENCE {
                    return Err(HistoryError::Busy { path });
                }
                thread::sleep(Duration::from_millis(5));
            }
            let meta = file.metadata().map_err(io_error("look at", &path))?;
            let named = fs::symlink_metadata(&path);
            let same = |named: fs::Metadata| (named.dev(), named.ino()) == (meta.dev(), meta.ino());
            if named.is_ok_and(same) {
                return Ok(Locked { file, length: meta.len(), path });
            }
            if begun.elapsed() > PATIENCE {
                return Err(HistoryError::Busy { path });
            }
        }
    }

    fn open_or_create(&self, path: &Path) -> Result<File, HistoryError> {
        let mut options = OpenOptions::new();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        options.read(true).append(true).mode(0o640).custom_flags(flags);
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match options.create_new(true).open(path) {
                    Ok(file) => {
                        self.give_to_the_owner(&file);
                        sync_dir(&self.dir).map_err(io_error("create", path))?;
                        file
                    }
                    // Another run was as fast.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        options.create_new(false).open(path).map_err(opening(path))?
                    }
                    Err(error) => return Err(opening(path)(error)),
                }
            }
            opened => opened.map_err(opening(path))?,
        };
        let meta = file.metadata().map_err(io_error("look at", path))?;
        if meta.is_file() { Ok(file) } else { Err(HistoryError::NotAFile { path: path.into() }) }
    }

    /// What root begins is the daemon's all the same, or the daemon could not go on with it.
    fn give_to_the_owner(&self, file: &File) {
        if geteuid() != 0 {
            return;
        }
        if let Ok(dir) = fs::metadata(&self.dir) {
            let _ = fchown(file, Some(dir.uid()), Some(dir.gid()));
        }
    }

    /// Gives the newest file, which is locked, the number 1, and the others theirs. Cut short between
    /// two renames it leaves a number that nobody has, and the next time fills that first.
    fn put_away(&self) -> Result<(), HistoryError> {
        let free = (1..MAX_FILES - 1).find(|index| !self.path(*index).exists());
        let last = free.unwrap_or(MAX_FILES - 1);
        for index in (0..last).rev() {
            let path = self.path(index);
            fs::rename(&path, self.path(index + 1)).map_err(io_error("put away", &path))?;
        }
        sync_dir(&self.dir).map_err(io_error("put away", &self.path(0)))
    }
}

/// The newest file, which is ours alone for as long as this lives.
struct Locked {
    file: File,
    length: u64,
    path: PathBuf,
}

impl Locked {
    /// Adds lines durably, or leaves the file as it was.
    fn write(&self, lines: &[u8]) -> Result<(), HistoryError> {
        let mut bytes = Vec::with_capacity(lines.len() + 1);
        if self.is_torn().map_err(io_error("read", &self.path))? {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(lines);
        let new_length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if file_size_limit().is_some_and(|limit| new_length > limit) {
            let source = io::Error::from(io::ErrorKind::FileTooLarge);
            return Err(io_error("write to", &self.path)(source));
        }
        let written = match (&self.file).write(&bytes) {
            Ok(count) if count == bytes.len() => self.file.sync_data(),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Err(error) => Err(error),
        };
        written.map_err(|source| {
            // If that does not succeed either, the next record begins on a line of its own.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
            io_error("write to", &self.path)(source)
        })
    }

    /// Whether the last line has no end.
    fn is_torn(&self) -> io::Result<bool> {
        let Some(last) = self.length.checked_sub(1) else { return Ok(false) };
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, last)?;
        Ok(byte != *b"\n")
    }
}

impl HistoryError {
    /// Of several records, so many had been written before.
    fn after(mut self, count: usize) -> Self {
        if let Self::Io { written, .. } = &mut self {
            *written = count;
        }
        self
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> HistoryError + use<> {
    let path = path.to_owned();
    move |source| HistoryError::Io { doing, path: path.clone(), written: 0, source }
}

/// `O_NOFOLLOW` answers `ELOOP` for a symbolic link; sockets and pipes nobody reads answer `ENXIO`.
fn opening(path: &Path) -> impl Fn(io::Error) -> HistoryError + use<> {
    let other = io_error("open", path);
    let path = path.to_owned();
    move |error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO | libc::EISDIR) => {
            HistoryError::NotAFile { path: path.clone() }
        }
        _ => other(error),
    }
}

/// A record as it stands in the file, its end included.
fn line(record: &Record) -> Result<Vec<u8>, HistoryError> {
    let json = serde_json::to_vec(record);
    let mut line = json.unwrap_or_default();
    line.push(b'\n');
    if line.len() > MAX_LINE { Err(HistoryError::TooLong { bytes: line.len() }) } else { Ok(line) }
}

#[cfg(test)]
mod tests;
