//! The name server of the small internet: a resolver, the servers that say who asks, and Team Cymru's
//! zone, in one. Misbehaves when told to.
//!
//! `nameserver --listen ADDRESS... --log FILE` takes questions by UDP and TCP at port 53 of each
//! address, prints `listening`, and appends a JSON line to FILE for each question
//! ([`bastion_tests::link::names::Asked`]). Takes orders
//! ([`bastion_tests::link::orders::NameOrder`], JSON) from standard input, one a line, each answered
//! `control: ok`.
#![forbid(unsafe_code)]

mod message;
mod zone;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bastion_tests::link::GOOGLE;
use bastion_tests::link::names::Asked;
use bastion_tests::link::orders::{NameAct, NameOrder};
use bastion_tests::random::Random;
use bastion_tests::wait::pause;

use message::{Answer, Question};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nameserver: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Server {
    orders: Mutex<Vec<NameOrder>>,
    log: Mutex<File>,
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let (mut listen, mut log) = (Vec::new(), PathBuf::from("nameserver.log"));
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("listen") => listen.push(args.value()?.parse::<IpAddr>()?),
            Long("log") => log = args.value()?.into(),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let server = Arc::new(Server {
        orders: Mutex::default(),
        log: Mutex::new(OpenOptions::new().create(true).append(true).open(log)?),
    });
    for address in listen {
        let at = SocketAddr::new(address, 53);
        let (udp, tcp) = (UdpSocket::bind(at)?, TcpListener::bind(at)?);
        let by_udp = Arc::clone(&server);
        std::thread::spawn(move || by_udp.datagrams(&Arc::new(udp), address));
        let by_tcp = Arc::clone(&server);
        std::thread::spawn(move || by_tcp.connections(&tcp, address));
    }
    println!("listening");
    for line in io::stdin().lock().lines() {
        match serde_json::from_str::<NameOrder>(&line?) {
            Ok(order) => {
                server.order(order);
                println!("control: ok");
            }
            Err(error) => println!("control: {error}"),
        }
    }
    // Who started it may have no orders; it goes on until it is ended.
    loop {
        std::thread::park();
    }
}

/// What goes back, and when.
struct Reply {
    bytes: Vec<u8>,
    late: Duration,
}

impl Server {
    fn order(&self, order: NameOrder) {
        let mut orders = locked(&self.orders);
        if order.act == NameAct::Heal {
            orders.clear();
            return;
        }
        // Who somebody is holds beside what is done with questions.
        let is_you = |act: &NameAct| matches!(act, NameAct::You(_));
        orders.retain(|old| {
            old.name != order.name || old.at != order.at || is_you(&old.act) != is_you(&order.act)
        });
        orders.push(order);
    }

    fn datagrams(self: &Arc<Self>, socket: &Arc<UdpSocket>, at: IpAddr) {
        let mut buffer = [0; 4096];
        while let Ok((size, from)) = socket.recv_from(&mut buffer) {
            let Some(reply) = self.reply(&buffer[..size], from.ip(), at, true) else { continue };
            let send = {
                let socket = Arc::clone(socket);
                move || {
                    pause(reply.late);
                    // Who asked may have gone.
                    let _ = socket.send_to(&reply.bytes, from);
                }
            };
            if reply.late.is_zero() {
                send();
            } else {
                std::thread::spawn(send);
            }
        }
    }

    fn connections(self: &Arc<Self>, listener: &TcpListener, at: IpAddr) {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(self);
            std::thread::spawn(move || {
                // A client that leaves early is part of the play.
                let _ = server.connection(stream, at);
            });
        }
    }

    /// Messages with their length before them (RFC 1035 4.2.2).
    fn connection(&self, mut stream: TcpStream, at: IpAddr) -> io::Result<()> {
        let from = stream.peer_addr()?.ip();
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message)?;
            let Some(reply) = self.reply(&message, from, at, false) else { continue };
            pause(reply.late);
            let length = u16::try_from(reply.bytes.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &reply.bytes].concat())?;
        }
        Ok(())
    }

    /// What a message is answered, if anything.
    fn reply(&self, message: &[u8], from: IpAddr, at: IpAddr, is_udp: bool) -> Option<Reply> {
        let question = Question::read(message)?;
        let from = from.to_canonical();
        self.note(&question, from, at, is_udp);
        let (act, you) = self.find(&question, at);
        let right = || {
            let answer = zone::answer(&question, you.unwrap_or(from));
            // Google's name servers are nobody's resolvers.
            let is_google = GOOGLE.iter().any(|google| google.parse() == Ok(at));
            if is_google { answer.with_authority() } else { answer }
        };
        let mut late = Duration::ZERO;
        let answer = match act.unwrap_or(NameAct::Behave) {
            NameAct::Heal | NameAct::Behave | NameAct::You(_) => right(),
            NameAct::Silent => return None,
            NameAct::ServFail => Answer::code(2),
            NameAct::NoName => Answer::code(3),
            NameAct::Refused => Answer::code(5),
            NameAct::Slow(ms) => {
                late = Duration::from_millis(ms);
                right()
            }
            NameAct::Between(address) => zone::answer(&question, address),
            NameAct::Lie(address) => zone::addresses(&question, &[address]),
            NameAct::Redirect(address) => match right() {
                answer if answer.is_no_name() => zone::addresses(&question, &[address]),
                answer => answer,
            },
            NameAct::Truncated if is_udp => Answer::truncated(),
            NameAct::Truncated => right(),
            NameAct::TruncatedForGood if is_udp => Answer::truncated(),
            NameAct::TruncatedForGood => return None,
            NameAct::Garbage => {
                let mut random = Random::seeded(53);
                let noise =
                    (0..100).map(|_| random.below(256)).filter_map(|n| u8::try_from(n).ok());
                let bytes = question.id().iter().copied().chain(noise).collect();
                return Some(Reply { bytes, late });
            }
            NameAct::WrongId => {
                let mut bytes = right().write(&question);
                bytes[0] ^= 0xff;
                return Some(Reply { bytes, late });
            }
            NameAct::WrongQuestion => {
                let other = question.of_another_name();
                return Some(Reply { bytes: right().write(&other), late });
            }
            NameAct::Addresses(addresses) => match right() {
                answer if answer.is_no_name() => answer,
                _ => zone::addresses(&question, &addresses),
            },
            NameAct::Text(text) => zone::text(&question, &text),
        };
        Some(Reply { bytes: answer.write(&question), late })
    }

    /// What is to be done with a question, and who its asker is by order.
    fn find(&self, question: &Question, at: IpAddr) -> (Option<NameAct>, Option<IpAddr>) {
        let orders = locked(&self.orders);
        let mut fitting: Vec<&NameAct> = orders
            .iter()
            .filter(|order| order.name.as_ref().is_none_or(|name| question.is_below(name)))
            .filter(|order| order.at.is_none_or(|wanted| wanted == at))
            .map(|order| &order.act)
            .collect();
        fitting.reverse();
        let you = fitting.iter().find_map(|act| match act {
            NameAct::You(address) => Some(*address),
            _ => None,
        });
        let act = fitting.into_iter().find(|act| !matches!(act, NameAct::You(_)));
        (act.cloned(), you)
    }

    fn note(&self, question: &Question, from: IpAddr, at: IpAddr, is_udp: bool) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let asked = Asked {
            at_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
            from: from.to_string(),
            at: at.to_string(),
            by: if is_udp { "udp" } else { "tcp" }.to_owned(),
            name: question.name.clone(),
            kind: question.kind,
        };
        let line = serde_json::to_string(&asked).unwrap_or_default();
        // The log is for tests, which notice.
        let _ = writeln!(locked(&self.log), "{line}");
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
