//! A server of speed tests that misbehaves when told to: LibreSpeed, Cloudflare, speedtest.net and a
//! file, each told by its path.
//!
//! `speedserver --listen ADDRESS:PORT... --certificates DIR --log FILE` prints `listening`, and
//! appends a JSON line to FILE for each request that has ended
//! ([`bastion_tests::link::speed::Served`]). Takes orders
//! ([`bastion_tests::link::orders::Order`], JSON) from standard input, one a line, each answered
//! `control: ok`. Each port takes HTTP and TLS: the first byte tells which.
#![forbid(unsafe_code)]

mod answers;
mod book;
mod http;
mod send;
mod stream;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bastion_tests::link::isp::network_of;
use bastion_tests::link::orders::{Act, Order};
use bastion_tests::link::speed::Served;

use answers::Client;
use book::Book;
use http::Request;
use stream::{Certificates, Stream};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("speedserver: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Server {
    book: Mutex<Book>,
    certificates: Certificates,
    log: Mutex<File>,
    connections: AtomicU64,
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let (mut listen, mut log, mut certificates) =
        (Vec::new(), PathBuf::from("speedserver.log"), PathBuf::from("."));
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("listen") => listen.push(args.value()?.string()?),
            Long("log") => log = args.value()?.into(),
            Long("certificates") => certificates = args.value()?.into(),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let server = Arc::new(Server {
        book: Mutex::default(),
        certificates: Certificates::load(&certificates)?,
        log: Mutex::new(OpenOptions::new().create(true).append(true).open(log)?),
        connections: AtomicU64::new(0),
    });
    for address in listen {
        let listener =
            TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.accept(&listener));
    }
    println!("listening");
    for line in io::stdin().lock().lines() {
        match serde_json::from_str::<Order>(&line?) {
            Ok(order) => {
                locked(&server.book).write(order);
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

impl Server {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(self);
            std::thread::spawn(move || {
                // A client that leaves early is part of the play.
                let _ = server.connection(stream);
            });
        }
    }

    fn connection(&self, tcp: TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let from = tcp.peer_addr()?.ip();
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        if locked(&self.book).find_for_connection(|act| matches!(act, Act::Mute)).is_some() {
            return stream::wait_for_the_end(&tcp);
        }
        let wrong = locked(&self.book).find_for_connection(|a| matches!(a, Act::Certificate(_)));
        let wrong = match wrong {
            Some(Act::Certificate(wrong)) => Some(wrong),
            _ => None,
        };
        let mut stream = Stream::open(tcp, &self.certificates, wrong)?;
        while let Some(request) = Request::read(&mut stream)? {
            let act = locked(&self.book).find(&request);
            let mut served = Served {
                at_us: now_us(),
                from: from.to_canonical().to_string(),
                tls: stream.is_tls(),
                connection: number,
                method: request.method.clone(),
                host: request.host.clone(),
                target: request.target.clone(),
                status: 0,
                sent: 0,
                received: 0,
            };
            let goes_on = self.serve(&mut stream, &request, act.as_ref(), from, &mut served);
            let line = serde_json::to_string(&served).map_err(io::Error::other)?;
            writeln!(locked(&self.log), "{line}")?;
            if !goes_on? {
                break;
            }
        }
        stream.end()
    }

    /// Answers a request; whether the connection goes on.
    fn serve(
        &self,
        stream: &mut Stream,
        request: &Request,
        act: Option<&Act>,
        from: IpAddr,
        served: &mut Served,
    ) -> io::Result<bool> {
        match act {
            Some(Act::Silent) => {
                stream.wait_for_the_end()?;
                return Ok(false);
            }
            Some(Act::HangUp) => return Ok(false),
            _ => {}
        }
        if request.expects_continue {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.read_body(stream, &mut served.received)?;
        let client = self.client(from);
        let answer = match act {
            Some(act) => answers::wrong(act).unwrap_or_else(|| answers::right(request, &client)),
            None => answers::right(request, &client),
        };
        served.status = answer.status;
        send::answer(stream, request, &answer, act, &mut served.sent)
    }

    /// Who asks, as far as the server says it knows.
    fn client(&self, from: IpAddr) -> Client {
        let book = locked(&self.book);
        let (mut address, mut isp) = (from.to_canonical(), None);
        for act in book.identities() {
            match act {
                Act::Address(other) => address = *other,
                Act::Isp(other) => isp = Some(other.clone()),
                _ => {}
            }
        }
        let isp = isp.or_else(|| network_of(address).map(|network| network.isp));
        Client { address, isp }
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
