//! Records for the system's log: one event, one line, whatever the fields hold.
//!
//! The `syslog` crate frames them; its own connect is not used, because that gives a blocking
//! socket, and a log daemon that has stopped reading would then stop the login.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

use crate::foreign::{Foreign, quoted};

/// Longest record, in bytes. rsyslog cuts at 8 KiB by default, RFC 5424 lets a receiver
/// cut at 2 KiB.
pub const MAX_LINE: usize = 2000;

/// How bad it is, by who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// An alert could not be kept: this line is all that is left of it.
    Alert,
    /// An alert was lost or given up.
    Error,
    /// An alert is late, or something has to be mended.
    Warning,
    /// A login that is told.
    Notice,
    /// A fact.
    Info,
}

/// A record in the making: an event word, then `key=value` pairs.
#[derive(Debug, Clone)]
pub struct Line(String);

impl Line {
    /// A record of the event `event`, a stable word such as `login` or `alert-sent`.
    #[must_use]
    pub fn new(event: &'static str) -> Self {
        Self(event.to_owned())
    }

    /// Adds `key=value` for a value of ours that needs no quotes: a word, a number.
    #[must_use]
    pub fn word(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        let _ = write!(self.0, " {key}={value}");
        self
    }

    /// Adds `key="value"` for text, made visible and with `"` and `\` escaped.
    #[must_use]
    pub fn text(mut self, key: &str, value: &str) -> Self {
        let _ = write!(self.0, " {key}={}", quoted(value.as_bytes()));
        self
    }

    /// Adds `key="value"` for foreign bytes.
    #[must_use]
    pub fn foreign(mut self, key: &str, value: &Foreign) -> Self {
        let _ = write!(self.0, " {key}={}", quoted(value.as_bytes()));
        self
    }

    /// The record as one line of at most [`MAX_LINE`] bytes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let mut end = self.0.len().min(MAX_LINE);
        while !self.0.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.0.get(..end).unwrap_or_default()
    }
}

/// Which part of the system speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Logins: facility `authpriv`.
    Login,
    /// Everything else: facility `daemon`.
    Daemon,
}

/// How long a patient log waits for a daemon that does not keep up with a burst.
const PATIENCE: Duration = Duration::from_millis(200);

/// The local syslog socket, never waited for by a login.
#[derive(Debug, Clone)]
pub struct Log {
    socket: PathBuf,
    tag: &'static str,
    source: Source,
    to_stderr: bool,
    /// Of a patient log: whether the daemon has taken nothing for as long as that.
    wedged: Option<Arc<AtomicBool>>,
}

impl Log {
    /// A log that writes to the socket at `socket` under the name `tag`.
    #[must_use]
    pub fn new(socket: &Path, tag: &'static str, source: Source) -> Self {
        Self { socket: socket.to_owned(), tag, source, to_stderr: false, wedged: None }
    }

    /// Waits a moment for a daemon that does not keep up, so that of a burst each record is there;
    /// but once it has waited in vain, not again before a record has been taken. For the sender: a
    /// login has no such moment.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.wedged = Some(Arc::default());
        self
    }

    /// Repeats every record on standard error, for a program somebody looks at.
    #[must_use]
    pub fn and_stderr(mut self) -> Self {
        self.to_stderr = true;
        self
    }

    /// Sends one record. Unless it is [patient](Self::patient) it never waits: a daemon that has stopped reading, or none at all, is
    /// an error at once (`EAGAIN`, `ENOENT`, `ECONNREFUSED`).
    ///
    /// # Errors
    ///
    /// What the system said. The caller decides whether there is anything left to try.
    pub fn write(&self, level: Level, line: &Line) -> io::Result<()> {
        if self.to_stderr {
            let _ = writeln!(io::stderr(), "{}: {}", self.tag, line.as_str());
        }
        let socket = UnixDatagram::unbound()?;
        let waits = self.wedged.as_ref().is_some_and(|wedged| !wedged.load(Ordering::Relaxed));
        if waits {
            socket.set_write_timeout(Some(PATIENCE))?;
        } else {
            socket.set_nonblocking(true)?;
        }
        socket.connect(&self.socket)?;
        let format = Frame {
            facility: match self.source {
                Source::Login => Facility::LOG_AUTHPRIV,
                Source::Daemon => Facility::LOG_DAEMON,
            },
            tag: self.tag,
        };
        let mut logger = Logger::new(LoggerBackend::Unix(socket), format);
        let text = line.as_str();
        let sent = match level {
            Level::Alert => logger.alert(text),
            Level::Error => logger.err(text),
            Level::Warning => logger.warning(text),
            Level::Notice => logger.notice(text),
            Level::Info => logger.info(text),
        };
        if let Some(wedged) = &self.wedged {
            wedged.store(sent.is_err(), Ordering::Relaxed);
        }
        sent.map_err(|error| match error {
            syslog::Error::Write(e) | syslog::Error::Io(e) => e,
            other => io::Error::other(other.to_string()),
        })
    }

    /// Sends one record and lets it go if the log does not take it.
    pub fn say(&self, level: Level, line: &Line) {
        let _ = self.write(level, line);
    }
}

/// `<PRI>tag[pid]: text`, the local form of RFC 3164 without the time.
///
/// journald, rsyslog and busybox stamp such a record themselves. The crate's own
/// `Formatter3164` writes the time in UTC, which they would take for local time, and it
/// unwraps on the way.
struct Frame {
    facility: Facility,
    tag: &'static str,
}

impl LogFormat<&str> for Frame {
    fn format<W: io::Write>(
        &self,
        w: &mut W,
        severity: Severity,
        message: &str,
    ) -> syslog::Result<()> {
        let priority = self.facility as u8 | severity as u8;
        let record = format!("<{priority}>{}[{}]: {message}", self.tag, std::process::id());
        // One write, so one datagram.
        w.write(record.as_bytes()).map(|_| ()).map_err(syslog::Error::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_the_fields_hold() {
        let line = Line::new("login")
            .foreign("user", &Foreign::new(b"a\nlogin user=\"root\"\x1b[2J\xff\\"))
            .text("reason", "two\r\nlines")
            .word("port", 22);
        assert_eq!(
            line.as_str(),
            r#"login user="a\x0alogin user=\"root\"\x1b[2J\xff\\" reason="two\x0d\x0alines" port=22"#
        );
    }

    #[test]
    fn a_long_record_is_cut_at_a_character() {
        let line = Line::new("note").text("text", &"é".repeat(3000));
        assert!(line.as_str().len() <= MAX_LINE && line.as_str().len() > MAX_LINE - 4);
    }

    #[test]
    fn a_record_arrives_with_its_priority_and_a_wedged_log_is_an_error_at_once() {
        let dir = std::env::temp_dir().join(format!("notifier-syslog-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let log = Log::new(&path, "bastion", Source::Daemon);
        log.write(Level::Warning, &Line::new("alert-deferred")).unwrap();
        let mut buffer = [0; 256];
        let got = socket.recv(&mut buffer).unwrap();
        let want = format!("<28>bastion[{}]: alert-deferred", std::process::id());
        assert_eq!(std::str::from_utf8(&buffer[..got]).unwrap(), want);

        let full = (0..10_000).find_map(|_| log.write(Level::Info, &Line::new("x")).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);

        // A patient one loses nothing while the daemon is only slow.
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        let slow = UnixDatagram::bind(&path).unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 256];
            (0..2000).for_each(|_| assert!(slow.recv(&mut buffer).unwrap() > 0));
        });
        let patient = log.patient();
        (0..2000).for_each(|_| patient.write(Level::Info, &Line::new("x")).unwrap());
        reader.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
