//! The line to a server: bounded in time and in what comes over it, whatever the server does.
//!
//! A limit on each read alone would be none: a server that says a byte every nine seconds would hold
//! a try for days, and one whose line never ends would fill the memory.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::channel::connect::{Connect, Kick};

/// Most time that a try takes. A server may let a stranger wait for its greeting, to see
/// whether he can: postfix's postscreen 6 s, others 15 s and more.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Longest silence in a try, and most time for the name and for the connection.
const SILENCE: Duration = Duration::from_secs(10);

/// Most that a server says in a try, TLS and its certificates among it: ten times what a talkative
/// one does.
const MOST: usize = 128 * 1024;

/// What a server has overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// [`DEADLINE`].
    Time,
    /// [`MOST`].
    Amount,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time => write!(f, "takes more than {DEADLINE:?}"),
            Self::Amount => write!(f, "says more than {} KiB", MOST / 1024),
        }
    }
}

impl std::error::Error for Limit {}

impl From<Limit> for io::Error {
    fn from(limit: Limit) -> Self {
        Self::other(limit)
    }
}

/// A TCP connection that lives for one try.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    until: Instant,
    /// How many bytes may still come.
    left: usize,
}

impl Line {
    /// Connects to `host`. A kick begins that anew.
    pub(super) fn open(host: &str, port: u16, kick: &Kick) -> io::Result<Self> {
        let until = Instant::now() + DEADLINE;
        let addresses = addresses(host, port)?;
        let stream = Connect(kick.clone()).to_one_of(&addresses, SILENCE)?;
        let stream = stream.ok_or(io::ErrorKind::TimedOut)?;
        Ok(Self { stream, until, left: MOST })
    }

    /// From now on it takes `most` at the longest.
    pub(super) fn hurry(&mut self, most: Duration) {
        self.until = self.until.min(Instant::now() + most);
    }

    /// How long the next step may take.
    fn patience(&self) -> io::Result<Duration> {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(Limit::Time.into());
        }
        Ok(rest.min(SILENCE))
    }

    /// What an operation that failed failed by.
    fn broken(&self, error: io::Error) -> io::Error {
        let waited = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if waited && Instant::now() >= self.until { Limit::Time.into() } else { error }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left);
        let Some(room) = buffer.get_mut(..most).filter(|room| !room.is_empty()) else {
            return Err(Limit::Amount.into());
        };
        self.stream.set_read_timeout(Some(self.patience()?))?;
        let got = self.stream.read(room).map_err(|error| self.broken(error))?;
        self.left -= got;
        Ok(got)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.patience()?))?;
        self.stream.write(bytes).map_err(|error| self.broken(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The addresses of `host`. A name is looked up in a thread of its own, as the system's resolver
/// cannot be told to hurry; it ends by itself, by the system's own limits.
fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (answer, answered) = mpsc::channel();
    let name = host.to_owned();
    thread::Builder::new().name("lookup".into()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // When nobody waits for it any more, it was too late.
        let _ = answer.send(found);
    })?;
    answered.recv_timeout(SILENCE).unwrap_or_else(|_| {
        Err(io::Error::other(format!("no answer about that name in {SILENCE:?}")))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Two ends of a connection.
    fn pair(most: Duration, left: usize) -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Line { stream, until: Instant::now() + most, left };
        (line, listener.accept().unwrap().0)
    }

    fn limit(error: &io::Error) -> Option<Limit> {
        error.get_ref()?.downcast_ref().copied()
    }

    #[test]
    fn more_than_so_much_is_not_read() {
        let (mut line, mut server) = pair(DEADLINE, 10);
        server.write_all(b"0123456789abc").unwrap();
        drop(server);
        let mut text = Vec::new();
        let error = line.read_to_end(&mut text).unwrap_err();
        assert_eq!((limit(&error), text.as_slice()), (Some(Limit::Amount), &b"0123456789"[..]));
    }

    #[test]
    fn time_runs_out_while_nothing_comes_while_bytes_come_and_while_nobody_reads() {
        let soon = Duration::from_millis(30);
        let (mut line, _server) = pair(soon, MOST);
        assert_eq!(limit(&line.read(&mut [0; 9]).unwrap_err()), Some(Limit::Time));

        let (mut line, mut server) = pair(soon, MOST);
        let dripping = thread::spawn(move || while server.write_all(b"x").is_ok() {});
        let error = loop {
            if let Err(error) = line.read(&mut [0]) {
                break error;
            }
        };
        assert_eq!(limit(&error), Some(Limit::Time));
        drop(line);
        dripping.join().unwrap();

        let (mut line, _server) = pair(soon, MOST);
        let error = line.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(limit(&error), Some(Limit::Time));
    }

    #[test]
    fn a_silence_within_the_time_is_no_overrun() {
        let (line, _server) = pair(DEADLINE, MOST);
        let error = line.broken(io::ErrorKind::WouldBlock.into());
        assert_eq!((limit(&error), error.kind()), (None, io::ErrorKind::WouldBlock));
    }

    #[test]
    fn an_address_is_not_looked_up() {
        assert_eq!(addresses("::1", 25).unwrap(), ["[::1]:25".parse().unwrap()]);
        assert!(addresses("localhost", 25).unwrap().iter().all(|at| at.ip().is_loopback()));
    }
}
