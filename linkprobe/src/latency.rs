//! Round trips of a line, by the kernel's own clock: from a SYN to its answer (RFC 9293).
//!
//! Not by ICMP, which some carriers throttle, and not by a request, in which the server's own time would be.
//! The segment is 60 bytes, and the connection is ended at once.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{SockAddr, Socket};

use crate::ffi;
use crate::line::Line;
use crate::usage::Usage;

/// Time from one sample to the next.
const SPACING: Duration = Duration::from_millis(25);

/// Longest wait for answers when none has come: a geostationary satellite takes 0.6 s.
const PATIENCE: Duration = Duration::from_millis(2500);

/// When the kernel sends a SYN again (RFC 6298, 2).
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// What a sample costs in each direction, in bytes: SYN, ACK and RST, with options and headers.
const COST: Usage = Usage { sent: 60 + 52 + 40, received: 60 };

/// Round trips, and what became of those that have none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latency {
    /// Those that were answered, in their order.
    pub round_trips: Vec<Duration>,
    /// How many were asked for.
    pub asked: usize,
}

impl Latency {
    /// The median; nothing where nothing was answered.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.round_trips.clone();
        sorted.sort();
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        if sorted.len() % 2 == 1 {
            return Some(upper);
        }
        Some((*sorted.get(middle.checked_sub(1)?)? + upper) / 2)
    }

    /// Mean difference of one round trip to the next (as RFC 3550 has it, without its smoothing).
    #[must_use]
    pub fn jitter(&self) -> Option<Duration> {
        let differences = self.round_trips.windows(2).map(|two| two[0].abs_diff(two[1]));
        let sum: Duration = differences.clone().sum();
        u32::try_from(differences.count()).ok().filter(|n| *n > 0).map(|n| sum / n)
    }

    /// Share of samples that were not answered, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        let lost = self.asked.checked_sub(self.round_trips.len())?;
        #[expect(clippy::cast_precision_loss, reason = "some dozens")]
        (self.asked > 0).then(|| lost as f64 / self.asked as f64)
    }
}

/// One connection that is being tried.
struct Attempt {
    socket: Socket,
    begun: Instant,
    /// What became of it: nothing yet, or a round trip, or none.
    end: Option<Option<Duration>>,
}

/// Takes `samples` round trips to `to`, 25 ms apart, and adds to `usage` what that cost.
///
/// Where no connection can be tried at all, all are lost.
pub fn sample(line: &Line, to: SocketAddr, samples: usize, usage: &mut Usage) -> Latency {
    let mut attempts: Vec<Attempt> = Vec::with_capacity(samples);
    for number in 0..samples {
        if number > 0 {
            thread::sleep(SPACING);
        }
        attempts.extend(attempt(line, to));
        attempts.iter_mut().for_each(Attempt::look);
    }
    let begun = Instant::now();
    while attempts.iter().any(|attempt| attempt.end.is_none()) && begun.elapsed() < PATIENCE {
        let answered: Vec<Duration> = attempts.iter().filter_map(|one| one.end.flatten()).collect();
        // Once it is known how long they take, one that takes several times as long is lost.
        let longest = answered.iter().max();
        if longest
            .is_some_and(|longest| begun.elapsed() > *longest * 3 + Duration::from_millis(200))
        {
            break;
        }
        thread::sleep(Duration::from_millis(2));
        attempts.iter_mut().for_each(Attempt::look);
    }
    for attempt in &attempts {
        *usage += COST;
        let _ = attempt.socket.set_linger(Some(Duration::ZERO));
    }
    let round_trips = attempts.iter().filter_map(|attempt| attempt.end.flatten()).collect();
    Latency { round_trips, asked: samples }
}

fn attempt(line: &Line, to: SocketAddr) -> Option<Attempt> {
    let socket = line.tcp(to).ok()?;
    socket.set_nonblocking(true).ok()?;
    let begun = Instant::now();
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(_) => return None,
    }
    Some(Attempt { socket, begun, end: None })
}

impl Attempt {
    fn look(&mut self) {
        if self.end.is_some() {
            return;
        }
        let age = self.begun.elapsed();
        if let Ok(Some(error)) = self.socket.take_error() {
            // Somebody is there and says no: that is an answer as well.
            let refused = error.raw_os_error() == Some(libc::ECONNREFUSED);
            self.end = Some(refused.then_some(age));
            return;
        }
        let Ok(info) = ffi::tcp_info(self.socket.as_fd()) else { return };
        if info.is_established {
            let took = Duration::from_micros(info.rtt_us.into());
            // Of a SYN that was sent twice the time stamps tell which was answered (RFC 7323, 4): by a line that is
            // slower than the kernel is patient the first; else that was lost.
            self.end = Some((info.retransmitted == 0 || took >= SYN_AGAIN).then_some(took));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn latency(ms: &[u64], asked: usize) -> Latency {
        let round_trips = ms.iter().copied().map(Duration::from_millis).collect();
        Latency { round_trips, asked }
    }

    #[test]
    fn median_jitter_and_loss_of_what_was_answered() {
        let ms = |ms: u64| Some(Duration::from_millis(ms));
        for (latency, median, jitter, loss) in [
            (latency(&[10, 30, 20], 3), ms(20), ms(15), Some(0.0)),
            (latency(&[10, 20], 4), ms(15), ms(10), Some(0.5)),
            (latency(&[10], 1), ms(10), None, Some(0.0)),
            (latency(&[], 4), None, None, Some(1.0)),
            (latency(&[], 0), None, None, None),
        ] {
            assert_eq!(
                (latency.median(), latency.jitter(), latency.loss()),
                (median, jitter, loss)
            );
        }
    }

    #[test]
    fn who_answers_has_a_round_trip_and_who_refuses_as_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let mut usage = Usage::default();
        let found = sample(&Line::default(), to, 4, &mut usage);
        assert_eq!((found.round_trips.len(), found.asked), (4, 4));
        assert!(found.median().unwrap() < Duration::from_millis(50));
        assert_eq!(usage.received, 4 * 60);
        drop(listener);
        assert_eq!(sample(&Line::default(), to, 2, &mut usage).round_trips.len(), 2);
    }
}
