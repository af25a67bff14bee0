//! TCP connections that can be begun anew at once. A connection attempt into a dead line waits for
//! the kernel's next SYN, seconds after the line is back; whoever knows that it is back (a kick)
//! ends that wait.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use ureq::config::Config;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use crate::ffi;

/// Shortest time that one of several addresses gets.
const LEAST: Duration = Duration::from_secs(2);

/// Longest time for all of them: no caller asks for more.
const MOST: Duration = Duration::from_secs(3600);

/// Ends the waits of a channel's connection attempts.
#[derive(Debug, Clone, Default)]
pub struct Kick(Option<Arc<(UnixStream, UnixStream)>>);

impl Kick {
    /// A kick that nobody has given yet; the default is one that does nothing. Where there are no more descriptors it does nothing.
    #[must_use]
    pub fn new() -> Self {
        let pair = UnixStream::pair().and_then(|(given, taken)| {
            given.set_nonblocking(true)?;
            taken.set_nonblocking(true)?;
            Ok(Arc::new((given, taken)))
        });
        Self(pair.ok())
    }

    fn taker(&self) -> Option<&UnixStream> {
        self.0.as_ref().map(|pair| &pair.1)
    }

    /// A connection attempt that is under way begins anew.
    pub fn give(&self) {
        // Full at worst: then there is one to be taken.
        if let Some(pair) = &self.0 {
            let _ = (&pair.0).write(&[1]);
        }
    }

    /// Forgets what was given so far.
    fn take(&self) {
        let mut bytes = [0; 64];
        while self.taker().is_some_and(|mut taker| matches!(taker.read(&mut bytes), Ok(1..))) {}
    }
}

/// Makes TCP connections, one address after the other.
pub(super) struct Connect(pub(super) Kick);

impl Connector for Connect {
    type Out = Tcp;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Tcp>, Error> {
        if details.addrs.is_empty() {
            return Err(Error::HostNotFound);
        }
        match self.to_one_of(&details.addrs, *details.timeout.after) {
            Ok(Some(stream)) => Ok(Some(Tcp::new(stream, details.config))),
            Ok(None) => Err(Error::Timeout(Timeout::Connect)),
            Err(error) => Err(Error::Io(error)),
        }
    }
}

impl Connect {
    /// Connects to one of `addresses`; `None` when that takes too long.
    pub(super) fn to_one_of(
        &self,
        addresses: &[SocketAddr],
        most: Duration,
    ) -> io::Result<Option<TcpStream>> {
        let until = Instant::now() + most.min(MOST);
        let mut left = u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = Ok(None);
        self.0.take();
        for address in addresses {
            let rest = until.saturating_duration_since(Instant::now());
            let share = (rest / left).max(LEAST).min(rest);
            left = left.saturating_sub(1).max(1);
            match self.one(*address, share) {
                Ok(Some(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(Some(stream));
                }
                other => last = other,
            }
        }
        last
    }

    /// Connects to `address`; `None` when that takes too long.
    fn one(&self, address: SocketAddr, most: Duration) -> io::Result<Option<TcpStream>> {
        let until = Instant::now() + most;
        loop {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            match socket.connect(&address.into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
                _ => {}
            }
            let rest = until.saturating_duration_since(Instant::now());
            match ffi::wait_for_either(socket.as_fd(), self.0.taker().map(AsFd::as_fd), rest)? {
                ffi::Either::Writable => {
                    if let Some(error) = socket.take_error()? {
                        return Err(error);
                    }
                    socket.set_nonblocking(false)?;
                    return Ok(Some(socket.into()));
                }
                ffi::Either::Readable => self.0.take(),
                ffi::Either::Neither if Instant::now() >= until => return Ok(None),
                ffi::Either::Neither => {}
            }
        }
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}

/// A TCP connection, as the HTTP client uses it.
pub struct Tcp {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Tcp {
    /// One that stands, with buffers of the sizes that the client's settings name.
    #[must_use]
    pub fn new(stream: TcpStream, config: &Config) -> Self {
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Self { stream, buffers }
    }
}

/// What an operation that broke off means: the time was up, or the line.
fn broken(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

/// The time left for an operation, as a socket takes it; `None` is for ever.
fn time_left(timeout: NextTimeout) -> Result<Option<Duration>, Error> {
    if timeout.after.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().map(|left| *left))
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(time_left(timeout.for_write())?)?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        (&self.stream).write_all(output).map_err(|error| broken(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let most = time_left(timeout.for_read())?;
        self.stream.set_read_timeout(most)?;
        let begun = Instant::now();
        let amount = loop {
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if most.is_some_and(|most| begun.elapsed() >= most) {
                        return Err(Error::Timeout(timeout.reason));
                    }
                }
                result => break result.map_err(|error| broken(error, timeout))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Anything to read now is the other end's goodbye, or nothing that was asked for.
        let quiet = |mut stream: &TcpStream| {
            let read = stream.read(&mut [0]);
            matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        };
        self.stream.set_nonblocking(true).is_ok()
            && quiet(&self.stream)
            && self.stream.set_nonblocking(false).is_ok()
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tcp")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn connect() -> Connect {
        Connect(Kick::new())
    }

    #[test]
    fn it_connects_and_says_when_it_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(connect().one(address, Duration::from_secs(5)).unwrap().is_some());
        drop(listener);
        let refused = connect().one(address, Duration::from_secs(5)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// A listener whose queue is full: its kernel drops further SYNs, as a dead line does.
    fn full() -> (Socket, SocketAddr, Vec<TcpStream>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let taken = (0..4)
            .filter_map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok())
            .collect();
        (listener, address, taken)
    }

    #[test]
    fn an_attempt_ends_in_time_and_after_a_kick_it_still_connects() {
        let (listener, address, taken) = full();
        let connect = connect();
        assert!(connect.one(address, Duration::from_millis(50)).unwrap().is_none());
        let kick = connect.0.clone();
        let waiting = thread::spawn(move || connect.one(address, Duration::from_secs(60)));
        kick.give();
        // Now there is room for one more.
        listener.accept().unwrap();
        while !waiting.is_finished() {
            kick.give();
            thread::yield_now();
        }
        assert!(waiting.join().unwrap().unwrap().is_some());
        drop(taken);
    }
}
