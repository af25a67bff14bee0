//! What ends the loop's sleep: a file in `drop/`, a signal, a worker's report.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::ffi;

/// What an administrator or systemd asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT: end what is under way, then stop.
    Stop,
    /// SIGUSR1: the line is back, try now.
    TryNow,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The descriptors that the loop sleeps on.
pub struct Wakeup {
    renames: File,
    signals: File,
    reports: UnixStream,
}

impl Wakeup {
    /// Watches `drop`, takes over the signals, and answers the end into which workers write.
    /// To be called before any thread is started: threads inherit the blocked signals.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn new(drop: &Path) -> io::Result<(Self, UnixStream)> {
        let signals =
            ffi::take_signals(&[libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGHUP])?;
        let renames = ffi::watch_renames_into(drop)?;
        let (reports, bell) = UnixStream::pair()?;
        reports.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        Ok((Self { renames, signals, reports }, bell))
    }

    /// Sleeps until something happens, `most` at the longest, and answers the requests.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn sleep(&mut self, most: Duration) -> io::Result<Vec<Request>> {
        let fds = [self.renames.as_fd(), self.signals.as_fd(), self.reports.as_fd()];
        ffi::wait_readable(&fds, most)?;
        drain(&mut self.renames);
        drain(&mut self.reports);
        let mut requests = Vec::new();
        // signalfd_siginfo has 128 bytes and begins with the signal's number (signalfd(2)).
        let mut info = [0_u8; 128];
        while self.signals.read_exact(&mut info).is_ok() {
            let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            requests.push(match i32::try_from(number) {
                Ok(libc::SIGUSR1) => Request::TryNow,
                Ok(libc::SIGHUP) => Request::Reload,
                _ => Request::Stop,
            });
        }
        Ok(requests)
    }
}

/// Reads what is there; what it says is found out by looking.
fn drain(source: &mut impl Read) {
    let mut buffer = [0; 4096];
    while source.read(&mut buffer).is_ok_and(|n| n > 0) {}
}
