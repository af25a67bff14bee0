//! Questions and answers on sockets of the line, until each question has its answer or the time is up.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use notifier::ffi::{random_u32, wait_readable};
use socket2::Socket;

use super::message::{self, Kind, MAX_MESSAGE, Reply};
use super::{Answer, DnsError, heavier};
use crate::ffi::tcp_info;
use crate::line::Line;
use crate::usage::Usage;

/// After so long another question is sent; the answer to an earlier one is still taken. A resolver
/// of some ms is not asked twice, and a lost packet costs less than a second.
const PACE: Duration = Duration::from_millis(800);

/// Most questions of a kind, to all servers together: some 600 bytes on a line that swallows them.
const MAX_SENDS: usize = 8;

/// Servers that are asked at all.
const MAX_SERVERS: usize = 6;

/// Once one family has addresses, the other one has as long again, and this at least (RFC 8305, 3).
const GRACE: Duration = Duration::from_millis(50);

/// For the same over TCP: a geostationary line has four round trips of 0.6 s.
const TCP_MOST: Duration = Duration::from_millis(2500);

/// Packets that are read from a socket before the others have their turn.
const TURN: usize = 16;

/// Asks for each of `kinds`, all at once; the answers are in their order.
pub fn ask(
    line: &Line,
    servers: &[SocketAddr],
    name: &str,
    kinds: &[Kind],
    deadline: Instant,
    usage: &mut Usage,
) -> Vec<Result<Answer, DnsError>> {
    let servers = servers.get(..MAX_SERVERS).unwrap_or(servers);
    let begun = Instant::now();
    let mut deadline = deadline;
    let asker = Asker { line, servers, name, no_tcp: RefCell::default() };
    let mut questions: Vec<Question> =
        kinds.iter().map(|kind| Question::new(*kind, servers.len(), begun)).collect();
    loop {
        let now = Instant::now();
        for question in &mut questions {
            question.send_when_due(&asker, now, usage);
        }
        let open = || questions.iter().filter(|question| question.outcome.is_none());
        if open().next().is_none() || now >= deadline {
            break;
        }
        let next = open().filter_map(|question| question.next_send()).min();
        let until = next.map_or(deadline, |next| next.min(deadline));
        let sockets: Vec<_> = open()
            .flat_map(|question| &question.flights)
            .map(|flight| flight.socket.as_fd())
            .collect();
        // Interrupted or not: what came is read, and what is due is seen.
        let _ = wait_readable(&sockets, until.saturating_duration_since(now));
        for question in questions.iter_mut().filter(|question| question.outcome.is_none()) {
            question.receive(&asker, deadline, usage);
            if matches!(question.outcome, Some(Ok(_))) {
                deadline = deadline.min(Instant::now() + begun.elapsed().max(GRACE));
            }
        }
    }
    questions.into_iter().map(|question| question.conclude(servers)).collect()
}

/// What is the same for all questions.
struct Asker<'a> {
    line: &'a Line,
    servers: &'a [SocketAddr],
    name: &'a str,
    /// Servers that failed over TCP, how: the other question need not wait for that as well.
    no_tcp: RefCell<Vec<(usize, DnsError)>>,
}

/// A question on its way to its answer.
struct Question {
    kind: Kind,
    /// Of each server how often it was asked, and how it failed: then it is not asked again.
    asked: Vec<(usize, Option<DnsError>)>,
    due: Instant,
    flights: Vec<Flight>,
    outcome: Option<Result<Answer, DnsError>>,
}

/// One packet of ours. Each has a socket of its own, so that the kernel draws a port for each
/// (RFC 5452, 9.2); connected, so that it takes answers from that server alone.
struct Flight {
    server: usize,
    socket: Socket,
    id: u16,
    sent: Instant,
    /// Something came that is no answer to it.
    strange: bool,
}

impl Question {
    fn new(kind: Kind, servers: usize, now: Instant) -> Self {
        let outcome = (servers == 0).then_some(Err(DnsError::NoServers));
        Self { kind, asked: vec![(0, None); servers], due: now, flights: Vec::new(), outcome }
    }

    fn sends(&self) -> usize {
        self.asked.iter().map(|(asked, _)| asked).sum()
    }

    fn next_send(&self) -> Option<Instant> {
        (self.sends() < MAX_SENDS).then_some(self.due)
    }

    /// Sends to the first of the servers that were asked least, if it is time for that.
    fn send_when_due(&mut self, asker: &Asker<'_>, now: Instant, usage: &mut Usage) {
        while self.outcome.is_none() && self.next_send().is_some_and(|due| due <= now) {
            let alive = self.asked.iter().enumerate().filter(|(_, (_, failed))| failed.is_none());
            let Some((server, _)) = alive.min_by_key(|(_, (asked, _))| *asked) else { return };
            self.asked[server].0 += 1;
            match self.send(asker, server, usage) {
                Ok(flight) => {
                    self.flights.push(flight);
                    self.due = now + PACE;
                }
                Err(error @ DnsError::BadName(_)) => self.outcome = Some(Err(error)),
                Err(error) => self.fail(server, error, now),
            }
        }
    }

    fn send(
        &self,
        asker: &Asker<'_>,
        server: usize,
        usage: &mut Usage,
    ) -> Result<Flight, DnsError> {
        let to = asker.servers[server];
        // The kernel has no random bits in the first moments after boot alone.
        let [_, _, high, low] = random_u32().unwrap_or_else(std::process::id).to_be_bytes();
        let id = u16::from_be_bytes([high, low]);
        let bytes = message::question(id, asker.name, self.kind)
            .ok_or_else(|| DnsError::BadName(asker.name.to_owned()))?;
        let socket = asker.line.udp(to).map_err(|error| DnsError::from_line(error, to))?;
        let sent = socket.set_nonblocking(true).and_then(|()| socket.send(&bytes));
        let explain = |error| DnsError::from_line(asker.line.explain(error, to.ip()), to);
        usage.sent_datagram(to.ip(), sent.map_err(explain)?);
        Ok(Flight { server, socket, id, sent: Instant::now(), strange: false })
    }

    /// A server has failed, and is not asked again. One that was not asked yet is, at once.
    fn fail(&mut self, server: usize, error: DnsError, now: Instant) {
        self.asked[server].1 = Some(error);
        if self.asked.iter().all(|(_, failed)| failed.is_some()) {
            let errors = self.asked.iter().filter_map(|(_, failed)| failed.clone());
            self.outcome = errors.fold(None, |worst, error| Some(heavier(worst, error))).map(Err);
        } else if self.asked.contains(&(0, None)) {
            self.due = now;
        }
    }

    fn receive(&mut self, asker: &Asker<'_>, deadline: Instant, usage: &mut Usage) {
        let mut at = 0;
        while let Some(flight) = self.flights.get_mut(at).filter(|_| self.outcome.is_none()) {
            let server = flight.server;
            match read_flight(flight, asker, self.kind, usage) {
                Came::Nothing => at += 1,
                Came::Error(kind) => {
                    let error = DnsError::Unreachable(asker.servers[server], kind);
                    self.fail(server, error, Instant::now());
                }
                Came::Reply(Reply::Truncated, _) => {
                    let reply = asker.over_tcp(server, self.kind, deadline, usage);
                    self.settle(asker, server, reply);
                }
                Came::Reply(reply, took) => self.settle(asker, server, Ok((reply, took))),
            }
        }
    }

    /// What a server said is the answer, or the end of that server.
    fn settle(
        &mut self,
        asker: &Asker<'_>,
        server: usize,
        reply: Result<(Reply, Duration), DnsError>,
    ) {
        let from = asker.servers[server];
        let name = || asker.name.to_owned();
        let failed = match reply {
            Ok((Reply::Found(found), took)) => {
                self.outcome = Some(Ok(Answer { found, server: from, took }));
                return;
            }
            Ok((Reply::NoSuchName, _)) => {
                self.outcome = Some(Err(DnsError::NoSuchName(name())));
                return;
            }
            Ok((Reply::NoData, _)) => {
                self.outcome = Some(Err(DnsError::NoData(name())));
                return;
            }
            Ok((Reply::Failed(code), _)) => DnsError::Failed(from, code),
            Ok((Reply::Malformed | Reply::Foreign | Reply::Truncated, _)) => {
                DnsError::Malformed(from)
            }
            Err(error) => error,
        };
        self.fail(server, failed, Instant::now());
    }

    fn conclude(mut self, servers: &[SocketAddr]) -> Result<Answer, DnsError> {
        if let Some(outcome) = self.outcome {
            return outcome;
        }
        // The time is up. Who has said something else all the time was there.
        for flight in self.flights.iter().filter(|flight| flight.strange) {
            let nonsense = || DnsError::Malformed(servers[flight.server]);
            self.asked[flight.server].1.get_or_insert_with(nonsense);
        }
        let silent = self.asked.iter().zip(servers).filter(|((_, failed), _)| failed.is_none());
        let silent = DnsError::Silent(silent.map(|(_, server)| *server).collect());
        let errors = self.asked.iter().filter_map(|(_, failed)| failed.clone());
        Err(errors.fold(silent, |worst, error| heavier(Some(worst), error)))
    }
}

/// What came on a socket.
enum Came {
    Nothing,
    Reply(Reply, Duration),
    Error(io::ErrorKind),
}

fn read_flight(flight: &mut Flight, asker: &Asker<'_>, kind: Kind, usage: &mut Usage) -> Came {
    let mut buffer = [0; 4096];
    let server = asker.servers[flight.server];
    for _ in 0..TURN {
        let length = match (&flight.socket).read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Came::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Came::Error(error.kind()),
        };
        usage.received_datagram(server.ip(), length);
        let bytes = buffer.get(..length).unwrap_or_default();
        match message::read(bytes, flight.id, asker.name, kind) {
            Reply::Foreign => flight.strange = true,
            reply => return Came::Reply(reply, flight.sent.elapsed()),
        }
    }
    Came::Nothing
}

impl Asker<'_> {
    fn over_tcp(
        &self,
        server: usize,
        kind: Kind,
        deadline: Instant,
        usage: &mut Usage,
    ) -> Result<(Reply, Duration), DnsError> {
        let known = self.no_tcp.borrow().iter().find(|(failed, _)| *failed == server).cloned();
        if let Some((_, error)) = known {
            return Err(error);
        }
        over_tcp(self, server, kind, deadline, usage)
            .inspect_err(|error| self.no_tcp.borrow_mut().push((server, error.clone())))
    }
}

/// The same question over TCP (RFC 7766): each message has its length before it.
fn over_tcp(
    asker: &Asker<'_>,
    server: usize,
    kind: Kind,
    deadline: Instant,
    usage: &mut Usage,
) -> Result<(Reply, Duration), DnsError> {
    let to = asker.servers[server];
    let begun = Instant::now();
    let deadline = deadline.min(begun + TCP_MOST);
    let unreachable = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => DnsError::Silent(vec![to]),
        kind => DnsError::Unreachable(to, kind),
    };
    let left = left_until(deadline).map_err(unreachable)?;
    let connected = asker.line.connect(to, left);
    let mut stream = TcpStream::from(connected.map_err(|error| {
        *usage += Usage::of_tcp(to.ip(), Usage::default(), 0, 1);
        match DnsError::from_line(error, to) {
            DnsError::Unreachable(_, kind) => unreachable(kind.into()),
            error => error,
        }
    })?);
    let mut payload = Usage::default();
    let asked = Instant::now();
    let reply = exchange(&mut stream, asker.name, kind, deadline, &mut payload);
    let reply = reply.map(|reply| (reply, asked.elapsed())).map_err(unreachable);
    // Two ends of the connection and their acknowledgements are still to come.
    let [segments_in, segments_out] = tcp_info(stream.as_fd()).map_or([4; 2], |info| info.segments);
    *usage += Usage::of_tcp(to.ip(), payload, segments_in + 2, segments_out + 2);
    reply
}

fn exchange(
    stream: &mut TcpStream,
    name: &str,
    kind: Kind,
    deadline: Instant,
    payload: &mut Usage,
) -> io::Result<Reply> {
    let [_, _, high, low] = random_u32().unwrap_or_else(std::process::id).to_be_bytes();
    let id = u16::from_be_bytes([high, low]);
    let Some(question) = message::question(id, name, kind) else { return Ok(Reply::Malformed) };
    let length = u16::try_from(question.len()).unwrap_or(0);
    let bytes = [&length.to_be_bytes()[..], &question].concat();
    stream.set_write_timeout(Some(left_until(deadline)?))?;
    stream.write_all(&bytes)?;
    payload.sent += bytes.len() as u64;
    let mut length = [0; 2];
    read_exactly(stream, &mut length, deadline, payload)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_MESSAGE {
        return Ok(Reply::Malformed);
    }
    let mut answer = vec![0; length];
    read_exactly(stream, &mut answer, deadline, payload)?;
    // Here nobody but the server can have said it: an answer to something else is nonsense.
    Ok(message::read(&answer, id, name, kind))
}

fn read_exactly(
    stream: &mut TcpStream,
    mut buffer: &mut [u8],
    deadline: Instant,
    payload: &mut Usage,
) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left_until(deadline)?))?;
        let length = match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        payload.received += length as u64;
        buffer = buffer.get_mut(length..).unwrap_or_default();
    }
    Ok(())
}

/// Some time, or the error of none: a timeout of zero would mean for ever.
fn left_until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < Duration::from_millis(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
