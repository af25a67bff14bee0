//! The questions of one look, all in one loop: sockets that do not wait, and what comes to them.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use notifier::ffi;
use socket2::{SockAddr, Socket};

use super::query::{self, Answer};
use super::{By, Care, Found, Look, Probe, counting};
use crate::line::{Line, LineError, Trouble};

/// Questions that one name server is asked: the second and the third for those that were lost.
const QUESTIONS: usize = 3;

/// Least that the others get when one has answered: a name server may have to ask another first.
const REST: Duration = Duration::from_millis(500);

/// Headers of IP (RFC 791, RFC 8200) and of UDP (RFC 768).
const IP: [u64; 2] = [20, 40];
const UDP: u64 = 8;

/// Headers of TCP: of a SYN with the options of Linux, of a segment with its time stamps, of a reset.
const SYN: u64 = 40;
const ACK: u64 = 32;
const RESET: u64 = 20;

/// When the kernel repeats a SYN (RFC 6298: after 1 s, and then each time after twice as long).
const SYN_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// One who is being asked.
struct Try {
    /// His place among the probes.
    at: usize,
    socket: Socket,
    begun: Instant,
    /// The questions that were put by DNS: their ids, and when.
    asked: Vec<(u16, Instant)>,
    header: u64,
}

/// What belongs to a look while it lasts.
struct Work<'a> {
    line: &'a Line,
    probes: Vec<Probe>,
    tries: Vec<Try>,
    bytes: [u64; 2],
    trouble: Option<Trouble>,
}

/// Asks, and answers what came.
pub(super) fn look(line: &Line, probes: Vec<Probe>, care: &Care) -> Look {
    let mut work = Work { line, probes, tries: Vec::new(), bytes: [0; 2], trouble: None };
    let begun = Instant::now();
    let mut until = begun + care.most;
    let first = care.first.and_then(|first| nth_counting(&work.probes, first));
    match first {
        Some(first) => work.ask(first),
        None => work.ask_all(),
    }
    let mut all = first.is_none();
    let mut rest: Option<Instant> = None;
    loop {
        let now = Instant::now();
        work.hear();
        let up = counting(&work.probes).any(|probe| probe.found.took().is_some());
        if up && !all {
            break;
        }
        if up {
            // Twice as long as the first has taken, and not for ever for one who is dead.
            rest.get_or_insert(now + (now - begun).max(REST));
        }
        if !all && (now >= begun + care.patience || work.tries.is_empty()) {
            work.ask_all();
            all = true;
            continue;
        }
        until = rest.map_or(until, |rest| rest.min(until));
        if work.tries.is_empty() || work.trouble.is_some() || now >= until {
            break;
        }
        let again = work.ask_again(now, care.patience);
        let others = if all { None } else { Some(begun + care.patience) };
        let wake = [again, others].into_iter().flatten().fold(until, Instant::min);
        if work.wait(wake.saturating_duration_since(now)).is_err() {
            break;
        }
    }
    work.end()
}

/// The place of the `nth` of those who count.
fn nth_counting(probes: &[Probe], nth: usize) -> Option<usize> {
    let all_near = probes.iter().all(|probe| probe.near);
    let places = probes.iter().enumerate().filter(|(_, probe)| all_near || !probe.near);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    places.get(nth.checked_rem(places.len())?).copied()
}

impl Work<'_> {
    fn ask_all(&mut self) {
        for at in 0..self.probes.len() {
            if self.probes[at].found == Found::NotAsked {
                self.ask(at);
            }
        }
    }

    fn ask(&mut self, at: usize) {
        let (to, by) = (self.probes[at].to, self.probes[at].by);
        let opened = match by {
            By::Dns => self.line.udp(to),
            By::Tcp => self.line.tcp(to),
        };
        let opened = opened.and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        self.probes[at].found = Found::Silent;
        match opened {
            Ok(socket) => {
                let begun = Instant::now();
                let header = IP[usize::from(to.is_ipv6())];
                let mut one = Try { at, socket, begun, asked: Vec::new(), header };
                let begun = match by {
                    By::Dns => self.put(&mut one),
                    By::Tcp => self.connect(&one),
                };
                match begun {
                    Ok(()) => self.tries.push(one),
                    Err(error) => self.fail(at, self.line.explain(error, to.ip())),
                }
            }
            Err(error) => self.fail(at, error),
        }
    }

    fn connect(&mut self, one: &Try) -> io::Result<()> {
        // Ended by a reset, which is one packet where a good end is four.
        one.socket.set_linger(Some(Duration::ZERO))?;
        match one.socket.connect(&SockAddr::from(self.probes[one.at].to)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => {
                self.bytes[0] += one.header + SYN;
                Ok(())
            }
        }
    }

    /// Puts a question by DNS. Each has an id of its own: which of them is answered tells how long it
    /// took.
    fn put(&mut self, one: &mut Try) -> io::Result<()> {
        let random = ffi::random_u32().unwrap_or(std::process::id());
        let id = u16::try_from(random & 0xffff).unwrap_or_default();
        let question = query::build(id);
        one.socket.send(&question)?;
        one.asked.push((id, Instant::now()));
        self.bytes[0] += one.header + UDP + question.len() as u64;
        Ok(())
    }

    /// Asks those again whose answer is due, and answers when that has to be done next.
    fn ask_again(&mut self, now: Instant, patience: Duration) -> Option<Instant> {
        let mut tries = std::mem::take(&mut self.tries);
        let mut next: Option<Instant> = None;
        for one in tries.iter_mut().filter(|one| !one.asked.is_empty()) {
            let due = |one: &Try| one.asked.last().map(|(_, at)| *at + patience);
            if one.asked.len() < QUESTIONS && due(one).is_some_and(|due| now >= due) {
                // An error is there for the next look at the socket.
                let _ = self.put(one);
            }
            if one.asked.len() < QUESTIONS {
                next = [next, due(one)].into_iter().flatten().min();
            }
        }
        self.tries = tries;
        next
    }

    /// Takes in what has come.
    fn hear(&mut self) {
        for one in std::mem::take(&mut self.tries) {
            let heard = match self.probes[one.at].by {
                By::Dns => self.hear_dns(&one),
                By::Tcp => self.hear_tcp(&one),
            };
            match heard {
                Ok(None) => self.tries.push(one),
                Ok(Some(found)) => self.probes[one.at].found = found,
                Err(error) => {
                    let error = self.line.explain(error, self.probes[one.at].to.ip());
                    self.fail(one.at, error);
                }
            }
        }
    }

    fn hear_dns(&mut self, one: &Try) -> io::Result<Option<Found>> {
        loop {
            let mut bytes = [0; 2048];
            let length = match (&one.socket).read(&mut bytes) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // Who says so may be anybody on the way (icmp(7)): no answer, but a reason.
                Err(error) => return Err(error),
            };
            self.bytes[1] += one.header + UDP + length as u64;
            let Some((id, answer)) = bytes.get(..length).and_then(query::parse) else { continue };
            let Some((_, asked)) = one.asked.iter().find(|(asked, _)| *asked == id) else {
                continue;
            };
            let took = asked.elapsed();
            return Ok(Some(match answer {
                Answer::Well => Found::Answered(took),
                Answer::Unwell(word) => Found::Unwell(took, word),
            }));
        }
    }

    fn hear_tcp(&mut self, one: &Try) -> io::Result<Option<Found>> {
        let took = one.begun.elapsed();
        match one.socket.take_error()? {
            Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.bytes[1] += one.header + RESET;
                Ok(Some(Found::Refused(took)))
            }
            Some(error) => Err(error),
            None if one.socket.peer_addr().is_ok() => {
                self.bytes[0] += 2 * one.header + ACK + RESET;
                self.bytes[1] += one.header + SYN;
                Ok(Some(Found::Answered(took)))
            }
            None => Ok(None),
        }
    }

    fn fail(&mut self, at: usize, error: LineError) {
        self.probes[at].found = Found::Failed(error.to_string());
        // Of one address alone: others may have a route. All else is the line's.
        if let LineError::Line(trouble) = error {
            if !matches!(trouble, Trouble::NoRoute { .. }) {
                self.trouble = Some(trouble);
            }
        }
    }

    fn wait(&self, most: Duration) -> io::Result<()> {
        let of = |by_dns: bool| {
            let tries = self.tries.iter().filter(move |one| one.asked.is_empty() != by_dns);
            tries.map(|one| one.socket.as_fd()).collect::<Vec<_>>()
        };
        ffi::wait_for_any(&of(true), &of(false), most)
    }

    fn end(mut self) -> Look {
        let now = Instant::now();
        for one in &self.tries {
            if self.probes[one.at].by == By::Tcp {
                let age = now.saturating_duration_since(one.begun);
                let again = SYN_AGAIN.iter().filter(|after| age >= **after).count() as u64;
                self.bytes[0] += again * (one.header + SYN);
            }
        }
        Look { trouble: self.trouble, probes: self.probes, hint: None, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests;
