//! The TCP connections of a test: all bound to the line, and all counted by the kernel.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notifier::channel::connect::Tcp;
use ureq::unversioned::transport::{ConnectionDetails, Connector};
use ureq::{Error, Timeout};

use crate::ffi::{self, TcpInfo};
use crate::line::{Line, LineError};
use crate::usage::Usage;

/// Shortest time that one of several addresses gets.
const LEAST: Duration = Duration::from_secs(1);

/// The connections of a test.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

#[derive(Default)]
struct Open {
    /// What is connected or about to be, and since when.
    streams: Vec<(TcpStream, Instant)>,
    /// Whether all has been ended: who comes late with a connection must not go on by it.
    is_over: bool,
}

struct Inner {
    line: Line,
    /// Size of the kernel's receive and send buffers of what is connected from now on, in bytes; 0 for as much
    /// as it likes.
    buffer: AtomicUsize,
    open: Mutex<Open>,
    /// What was used by connections that are closed.
    past: Mutex<Usage>,
    /// Whether nobody answers by IPv4, and by IPv6, though somebody does by the other.
    silent: [AtomicBool; 2],
}

impl Wire {
    /// Without connections, by this line.
    #[must_use]
    pub fn new(line: Line) -> Self {
        Self(Arc::new(Inner {
            line,
            buffer: AtomicUsize::new(0),
            open: Mutex::default(),
            past: Mutex::default(),
            silent: Default::default(),
        }))
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.0.line
    }

    /// Connections may be made again after [`Self::end`], with so much that may be on its way in each, in bytes;
    /// `None` leaves that to the kernel.
    pub fn begin(&self, limit: Option<usize>) {
        self.0.buffer.store(limit.unwrap_or(0), Ordering::Relaxed);
        self.open().is_over = false;
    }

    /// Payload that has arrived on, and that was acknowledged of, the connections that are open.
    #[must_use]
    pub fn payload(&self) -> Payload {
        let mut payload = Payload::default();
        for info in self.open().streams.iter().filter_map(|(stream, _)| info(stream)) {
            payload.received += info.received;
            payload.segments += u64::from(info.arrived);
            payload.acked += info.acked;
        }
        payload
    }

    /// Data used so far, by all connections.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let open = self.open();
        let past = *self.0.past.lock().unwrap_or_else(PoisonError::into_inner);
        open.streams.iter().fold(past, |sum, (stream, _)| sum + used(stream))
    }

    /// Adds what something else of the same test has used.
    pub fn spent(&self, usage: Usage) {
        *self.0.past.lock().unwrap_or_else(PoisonError::into_inner) += usage;
    }

    /// Ends all connections, whoever reads, writes or waits for one; the other ends stop sending at once. None is
    /// made until [`Self::begin`].
    pub fn end(&self) {
        let mut open = self.open();
        open.is_over = true;
        let mut past = self.0.past.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, since) in open.streams.drain(..) {
            *past += used(&stream);
            past.received += on_its_way(&stream, since.elapsed());
            // A reset: what is still on its way is of no use to anybody.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Puts those last by whose family of addresses nobody was seen to answer.
    pub fn order(&self, addresses: &mut [SocketAddr]) {
        addresses.sort_by_key(|address| self.silent(address.ip()).load(Ordering::Relaxed));
    }

    /// Who was asked at `first` does not answer, and does at `then`. If that is by the other family of addresses, the
    /// first leads nowhere: many lines have such an IPv4 or IPv6.
    pub fn answers(&self, first: IpAddr, then: IpAddr) {
        if first.is_ipv4() != then.is_ipv4() {
            self.silent(first).store(true, Ordering::Relaxed);
            self.silent(then).store(false, Ordering::Relaxed);
        }
    }

    fn silent(&self, address: IpAddr) -> &AtomicBool {
        let [four, six] = &self.0.silent;
        if address.is_ipv4() { four } else { six }
    }

    /// Connects to the first of `addresses` that answers.
    ///
    /// # Errors
    ///
    /// Why the last did not.
    pub fn connect(
        &self,
        addresses: &[SocketAddr],
        most: Duration,
    ) -> Result<TcpStream, LineError> {
        let until = Instant::now() + most;
        let mut left = u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = LineError::Io(io::ErrorKind::NotFound.into());
        let mut addresses = addresses.to_vec();
        self.order(&mut addresses);
        let mut mute = None;
        for address in addresses {
            let rest = until.saturating_duration_since(Instant::now());
            let share = (rest / left).max(LEAST).min(rest);
            left = left.saturating_sub(1).max(1);
            if share.is_zero() {
                return Err(LineError::Io(io::ErrorKind::TimedOut.into()));
            }
            match self.to(address, share) {
                Ok(stream) => {
                    mute.inspect(|mute| self.answers(*mute, address.ip()));
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
            if matches!(&last, LineError::Io(error) if error.kind() == io::ErrorKind::TimedOut) {
                mute.get_or_insert(address.ip());
            }
        }
        Err(last)
    }

    fn to(&self, address: SocketAddr, most: Duration) -> Result<TcpStream, LineError> {
        let socket = self.0.line.tcp(address)?;
        let buffer = self.0.buffer.load(Ordering::Relaxed);
        if buffer > 0 {
            // Before it is connected, as the window's scale is told in the first segment.
            socket.set_recv_buffer_size(buffer)?;
            socket.set_send_buffer_size(buffer)?;
        }
        let stream = TcpStream::from(socket.try_clone()?);
        let mut open = self.open();
        if open.is_over {
            return Err(LineError::Io(io::ErrorKind::ConnectionAborted.into()));
        }
        // Before it is connected: one that is still on its way has to be ended as well.
        open.streams.push((stream, Instant::now()));
        drop(open);
        socket
            .connect_timeout(&address.into(), most)
            .map_err(|error| self.0.line.explain(error, address.ip()))?;
        socket.set_tcp_nodelay(true)?;
        // It may have been too early to be ended.
        if self.open().is_over {
            let _ = socket.set_linger(Some(Duration::ZERO));
            let _ = socket.shutdown(Shutdown::Both);
            return Err(LineError::Io(io::ErrorKind::ConnectionAborted.into()));
        }
        Ok(TcpStream::from(socket))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What TCP has carried, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Payload {
    /// Arrived here, read or not.
    pub received: u64,
    /// Segments in which more than that has arrived: while one is missing, those after it wait.
    pub segments: u64,
    /// Arrived there, as the other end has said.
    pub acked: u64,
}

fn info(stream: &TcpStream) -> Option<TcpInfo> {
    ffi::tcp_info(stream.as_fd()).ok()
}

fn used(stream: &TcpStream) -> Usage {
    let Some(info) = info(stream) else { return Usage::default() };
    let peer = stream.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let [came, went] = info.segments;
    let received = info.received + behind_a_hole(&info);
    Usage::of_tcp(peer, Usage { sent: info.sent, received }, came, went)
}

/// What has arrived and waits for a segment that is missing, in bytes: `received` counts it when that has come, and
/// in a test that ends before, never. No more than what came early, which may have had its turn since, and no more than
/// what all the segments hold.
fn behind_a_hole(info: &TcpInfo) -> u64 {
    let bytes = |segments| u64::from(segments) * u64::from(info.receive_mss);
    bytes(info.early).min(bytes(info.arrived).saturating_sub(info.received))
}

/// What the other end has sent already when a connection is reset: it goes over the line, and nobody counts it. As much
/// as came in a round trip, which the receiver measures with the queue in it (`tcpi_rcv_rtt`).
fn on_its_way(stream: &TcpStream, age: Duration) -> u64 {
    let Some(info) = info(stream).filter(|info| info.is_established) else { return 0 };
    let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX).max(1);
    info.received.saturating_mul(u64::from(info.receive_rtt_us).min(age)) / age
}

impl Connector for Wire {
    type Out = Tcp;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Tcp>, Error> {
        match Self::connect(self, &details.addrs, *details.timeout.after) {
            Ok(stream) => Ok(Some(Tcp::new(stream, details.config))),
            Err(LineError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Error::Timeout(Timeout::Connect))
            }
            Err(LineError::Io(error)) => Err(Error::Io(error)),
            Err(LineError::Line(trouble)) => Err(Error::Io(io::Error::other(trouble.to_string()))),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_connection_carries_is_counted_also_after_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire::new(Line::default());
        let addresses = [listener.local_addr().unwrap()];
        let mut stream = wire.connect(&addresses, Duration::from_secs(5)).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        other.write_all(&[7; 5000]).unwrap();
        stream.read_exact(&mut [0; 5000]).unwrap();
        assert_eq!(wire.payload().received, 5000);
        let used = wire.usage();
        assert!((5052..8000).contains(&used.received) && used.sent > 52, "{used:?}");
        wire.end();
        assert!(wire.usage().total() >= used.total());
        assert_eq!(wire.payload(), Payload::default());
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "it has ended");
        assert!(wire.connect(&addresses, Duration::from_secs(5)).is_err(), "all is over");
        wire.begin(None);
        assert!(wire.connect(&addresses, Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn what_waits_for_a_missing_segment_has_come_over_the_line() {
        let info = |received, arrived, early| TcpInfo {
            received,
            arrived,
            early,
            receive_mss: 1000,
            ..TcpInfo::default()
        };
        for (info, waits) in [
            (info(10_000, 10, 0), 0),
            // Short segments, none of them early.
            (info(4_000, 10, 0), 0),
            (info(4_000, 10, 6), 6_000),
            // Four of those that came early have had their turn.
            (info(8_000, 10, 6), 2_000),
            (info(10_000, 10, 6), 0),
            // As received says when two thirds of the segments were merged.
            (info(30_000, 10, 6), 0),
        ] {
            assert_eq!(behind_a_hole(&info), waits, "{info:?}");
        }
    }

    #[test]
    fn a_connection_that_does_not_stand_yet_is_ended_as_well() {
        // A listener whose queue is full answers no SYN.
        let listener = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )
        .unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let queued: Vec<TcpStream> = (0..8)
            .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok())
            .collect();
        assert!(queued.len() < 8, "the queue takes all");
        let wire = Wire::new(Line::default());
        std::thread::scope(|scope| {
            let begun = Instant::now();
            let late = scope.spawn(|| wire.connect(&[address], Duration::from_secs(60)));
            while wire.open().streams.is_empty() && begun.elapsed() < Duration::from_secs(30) {
                std::thread::yield_now();
            }
            wire.end();
            assert!(late.join().unwrap().is_err());
            assert!(begun.elapsed() < Duration::from_secs(50), "it waited for its time to be up");
        });
    }
}
