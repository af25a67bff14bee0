//! The one configuration file, strict, and read section by section.
//!
//! Three steps, three functions: [`read_file`] (owner, mode and size of the file),
//! [`Document::parse`] (syntax), and one reader a section ([`host::read`], [`login::read`]; the
//! sender adds `[notify]`), which checks types and ranges. A reader does not stop at the
//! first mistake: all findings come at once, each with its line.
//!
//! A program reads the sections it needs. What a section means is known to that section's
//! reader alone, so that a mistake in one cannot change what another says.

pub mod allowances;
pub mod check;
#[cfg(feature = "daemon")]
pub mod configured;
mod document;
pub mod drill;
pub mod duration;
pub mod host;
pub mod login;
pub mod moment;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use document::{Document, Section, Value};

use crate::ffi;

/// Where the file is unless `--config` or `config=` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/bastion/bastion.toml";

/// Where secrets are, each in a file of its own.
pub const SECRETS: &str = "/etc/bastion/secrets";

/// The same of those that `tunnelwatch` is given: who has the one need not have the other.
pub const TUNNEL_SECRETS: &str = "/etc/bastion/tunnel-secrets";

/// Largest file read, in bytes. 10,000 known-good entries are some 200 KB; a login must
/// not wait for more than that to be parsed.
pub const MAX_BYTES: u64 = 256 * 1024;

/// The sections of the file. Each program reads its own, and leaves the others to theirs.
pub const SECTIONS: &[&str] =
    &["host", "login", "notify", "check", "drill", "tunnel", "tunnel-watch", "link"];

/// Something in the file that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Line in the file, from 1; 0 when it concerns the file as a whole.
    pub line: usize,
    /// Dotted key, as `login.known-good`; empty for a syntax error.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why the file could not be used.
#[derive(Debug)]
pub enum ConfigError {
    /// It could not be opened or read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a file that may be trusted: who owns it, or who may write to it.
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// It has been read, and these things in it are wrong.
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them, in the order of the lines.
        findings: Vec<Finding>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => {
                let remedy = match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "; it holds no secret, and module and sender read it: chmod 0644"
                    }
                    io::ErrorKind::NotFound => "; put it there: etc/bastion.toml is an example",
                    _ => "",
                };
                write!(f, "{}: {source}{remedy}", path.display())
            }
            Self::Unsafe { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Invalid { path, findings } => {
                for (i, finding) in findings.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{}: {finding}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The text of a configuration file that may be trusted, and when it was last changed.
#[derive(Debug)]
pub struct Source {
    /// Its text.
    pub text: String,
    /// Its modification time: a wall clock that is behind it is wrong.
    pub modified: SystemTime,
}

/// Reads the file at `path`, if it is a regular file of at most [`MAX_BYTES`], owned by
/// root or by the caller, and writable by its owner alone: whoever can write to it can make
/// himself known good. Never waits (a fifo, a device) and never reads more than that.
///
/// # Errors
///
/// [`ConfigError::Io`] when it cannot be opened or read, [`ConfigError::Unsafe`] when it may
/// not be trusted, [`ConfigError::Invalid`] when it is not UTF-8.
pub fn read_file(path: &Path) -> Result<Source, ConfigError> {
    read_trusted(path, 0, MAX_BYTES)
}

/// What `parse` makes of the file at `path`, read as [`read_file`] does.
///
/// # Errors
///
/// As [`read_file`], and [`ConfigError::Invalid`] with everything that `parse` finds wrong.
pub fn load<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Vec<Finding>>,
) -> Result<T, ConfigError> {
    let source = read_file(path)?;
    parse(&source.text).map_err(|findings| ConfigError::Invalid { path: path.to_owned(), findings })
}

/// [`read_file`], of at most `most` bytes, with more flags of open(2).
fn read_trusted(path: &Path, flags: libc::c_int, most: u64) -> Result<Source, ConfigError> {
    let failed = |source| ConfigError::Io { path: path.to_owned(), source };
    let distrusted = |reason| ConfigError::Unsafe { path: path.to_owned(), reason };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) if flags & libc::O_NOFOLLOW != 0 => {
                distrusted("a symbolic link, not a regular file".into())
            }
            // What open(2) says of a socket.
            Some(libc::ENXIO) => distrusted("not a regular file".into()),
            _ => failed(error),
        })?;
    let meta = file.metadata().map_err(failed)?;
    if let Some(reason) = distrust(&meta, most) {
        return Err(distrusted(reason));
    }
    let bytes = read_capped(&file, meta.len(), most).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|e| ConfigError::Invalid {
        path: path.to_owned(),
        findings: vec![Finding {
            line: 1 + e
                .as_bytes()
                .iter()
                .take(e.utf8_error().valid_up_to())
                .filter(|b| **b == b'\n')
                .count(),
            key: String::new(),
            message: "not UTF-8 text; save the file as UTF-8".into(),
        }],
    })?;
    Ok(Source { text, modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH) })
}

fn read_capped(file: &File, expected: u64, most: u64) -> io::Result<Vec<u8>> {
    // One byte more than there should be, so that the end is seen in the first read.
    let size = usize::try_from(expected.min(most)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(size.saturating_add(1));
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn distrust(meta: &std::fs::Metadata, most: u64) -> Option<String> {
    if !meta.is_file() {
        return Some("not a regular file".into());
    }
    if meta.uid() != 0 && meta.uid() != ffi::geteuid() {
        return Some(format!("owned by uid {}, not by root; run: chown root", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        let mode = meta.mode() & 0o7777;
        return Some(format!("mode {mode:04o} lets others write to it; run: chmod go-w"));
    }
    if meta.len() > most {
        return Some(format!("{} bytes long, more than the {most} that are read", meta.len()));
    }
    None
}
