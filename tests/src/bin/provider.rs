//! Stand-in for Twilio's Messages API, or for one of [`Like`], which misbehaves when told to.
//!
//! `provider --listen 127.0.0.1:0 --log FILE [--like NAME | --cloud NAME] [--tls CERT KEY] [--sid AC..] [--token ..]`
//! prints `listening on ADDRESS` and appends one JSON line to FILE for each request
//! ([`bastion_tests::provider::Record`]). Rules of misbehaviour
//! ([`bastion_tests::fault::Fault`], JSON) are taken from standard input, one a line, each
//! answered `control: ok`, and from `PUT /control`. The end of standard input means nothing. With `--cloud` it is one of
//! [`bastion_tests::cloud`], and takes `{"cloud":{..}}` as well ([`bastion_tests::cloud::Order`]): it then prints
//! `machine: {..}` first.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bastion_tests::cloud::{self, Cloud};
use bastion_tests::fault::{Act, Fault, Script, Until};
use bastion_tests::ffi;
use bastion_tests::like::Like;
use bastion_tests::provider::{ACCOUNT_SID, AUTH_TOKEN, Record};
use bastion_tests::twilio::{Account, Answer, Request, decode_form, error, usual_code};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// Longest request taken: an SMS is 1,600 characters, nine bytes each when encoded; a webhook's
/// event is at most 16 KiB in the spool.
const MAX_REQUEST: usize = 64 * 1024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("provider: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Provider {
    like: Like,
    cloud: Option<Mutex<Cloud>>,
    account: Mutex<Account>,
    /// Requests and connections so far.
    requests: AtomicU64,
    connections: AtomicU64,
    script: Mutex<Script>,
    /// Told of each change of the script.
    changed: Condvar,
    log: Mutex<File>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let mut listen = "127.0.0.1:0".to_owned();
    let mut log = PathBuf::from("provider.log");
    let (mut sid, mut token) = (ACCOUNT_SID.to_owned(), AUTH_TOKEN.to_owned());
    let mut tls = None;
    let (mut like, mut cloud) = (Like::Twilio, None);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("listen") => listen = args.value()?.string()?,
            Long("log") => log = args.value()?.into(),
            Long("like") => {
                let name = args.value()?.string()?;
                like = Like::named(&name).ok_or_else(|| format!("like nobody: {name}"))?;
            }
            Long("cloud") => {
                let name = args.value()?.string()?;
                let named = cloud::Like::named(&name);
                let named = named.ok_or_else(|| format!("no cloud of that name: {name}"))?;
                (like, cloud) = (Like::Anybody, Some(Mutex::new(Cloud::new(named))));
            }
            Long("sid") => sid = args.value()?.string()?,
            Long("token") => token = args.value()?.string()?,
            Long("tls") => tls = Some((PathBuf::from(args.value()?), PathBuf::from(args.value()?))),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let tls = match tls {
        None => None,
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
            let key = PrivateKeyDer::from_pem_file(key)?;
            let config = rustls::ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(chain, key)?;
            Some(Arc::new(config))
        }
    };
    let provider = Arc::new(Provider {
        like,
        cloud,
        requests: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        account: Mutex::new(Account { sid, token, messages: Vec::new() }),
        script: Mutex::default(),
        changed: Condvar::new(),
        log: Mutex::new(OpenOptions::new().create(true).append(true).open(log)?),
        tls,
    });
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let for_input = Arc::clone(&provider);
    std::thread::spawn(move || for_input.read_control(address));
    provider.serve(listener, address)
}

impl Provider {
    fn read_control(&self, address: SocketAddr) {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match self.control(&line, address) {
                Ok(()) => println!("control: ok"),
                Err(error) => println!("control: {error}"),
            }
        }
    }

    fn control(&self, json: &str, address: SocketAddr) -> Result<(), serde_json::Error> {
        let json: Value = serde_json::from_str(json)?;
        if let (Some(cloud), Some(order)) = (&self.cloud, json.get("cloud")) {
            let order = serde_json::from_value(order.clone())?;
            let mut cloud = locked(cloud);
            cloud.order(order, unix_ms());
            println!("machine: {}", serde_json::to_string(&cloud.machine(unix_ms()))?);
            return Ok(());
        }
        let fault: Fault = serde_json::from_value(json)?;
        let refuse = fault.act == Act::Refuse;
        locked(&self.script).apply(fault, Instant::now());
        self.changed.notify_all();
        if refuse {
            // Wakes accept(), which then closes the listening socket.
            let _ = TcpStream::connect(address);
        }
        Ok(())
    }

    fn serve(
        self: &Arc<Self>,
        mut listener: TcpListener,
        address: SocketAddr,
    ) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            let (stream, _) = listener.accept()?;
            if locked(&self.script).refused_until(Instant::now()).is_some() {
                drop(listener);
                let _ = ffi::reset_on_close(stream.as_fd());
                drop(stream);
                self.wait_out_refusal();
                listener = TcpListener::bind(address)?;
                continue;
            }
            let provider = Arc::clone(self);
            std::thread::spawn(move || {
                // A peer that leaves early is part of the play.
                let _ = provider.connection(&stream, address);
            });
        }
    }

    fn wait_out_refusal(&self) {
        let mut script = locked(&self.script);
        while let Some(until) = script.refused_until(Instant::now()) {
            let time = match until {
                Until::Time(end) => end.saturating_duration_since(Instant::now()),
                Until::Cleared => Duration::from_secs(3600),
            };
            let woken = self.changed.wait_timeout(script, time);
            script = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn connection(&self, tcp: &TcpStream, address: SocketAddr) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => self.requests(&mut &*tcp, tcp, address),
            Some(config) => {
                let tls = rustls::ServerConnection::new(Arc::clone(config));
                let tls = tls.map_err(io::Error::other)?;
                let mut stream = rustls::StreamOwned::new(tls, tcp);
                self.requests(&mut stream, tcp, address)?;
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }

    /// Serves one connection; keeps it alive as HTTP/1.1 does.
    fn requests<S: Read + Write>(
        &self,
        stream: &mut S,
        tcp: &TcpStream,
        address: SocketAddr,
    ) -> io::Result<()> {
        let mut buffer = Vec::new();
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        loop {
            let read = read_request(stream, &mut buffer);
            let is_no_http = |error: &io::Error| {
                error.get_ref().is_some_and(|error| error.is::<httparse::Error>())
            };
            if read.as_ref().is_err_and(is_no_http) {
                // As nginx says it, to TLS as well.
                return stream.write_all(&http(400, &[("Connection", "close")], "no HTTP"));
            }
            let Some((request, at)) = read? else { break };
            if request.path == "/control" {
                let answer = match self.control(&request.body, address) {
                    Ok(()) => Answer { status: 200, body: Value::Null, accepted: None },
                    Err(problem) => error(400, 20001, &problem.to_string()),
                };
                stream.write_all(&http(answer.status, &[], &text_of(&answer.body)))?;
                continue;
            }
            let fault = locked(&self.script).next(&request.method, Instant::now());
            let fault = fault.unwrap_or_else(|| Fault::new(Act::Ok));
            let refuses = matches!(
                fault.act,
                Act::Hang
                    | Act::Status
                    | Act::Echo
                    | Act::Garbage
                    | Act::Huge
                    | Act::Reset
                    | Act::Close
            );
            let skip = (refuses || fault.act == Act::BadJson) && !fault.accept;
            let answer = if skip && request.method == "POST" {
                None
            } else {
                Some(self.right_answer(&request))
            };
            let name = name_of(&fault, answer.as_ref());
            self.record(&request, at, name, answer.as_ref(), connection)?;
            if !self.act(stream, tcp, &fault, answer.as_ref(), &request)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn right_answer(&self, request: &Request) -> Answer {
        if let Some(cloud) = &self.cloud {
            return locked(cloud).answer(request, unix_ms());
        }
        match self.like {
            Like::Twilio => locked(&self.account).answer(request, SystemTime::now()),
            like => like.answer(request, self.requests.fetch_add(1, Ordering::Relaxed) + 1),
        }
    }

    /// An error as the provider writes it, which says `text`.
    fn error(&self, status: u16, text: &str) -> String {
        if let Some(cloud) = &self.cloud {
            return text_of(&locked(cloud).error(status, "told_to", text).body);
        }
        text_of(&self.like.error(status, text).body)
    }

    /// The secrets that a request bears, for a text in JSON: with each character as an escape, the
    /// header and the path as they came, percent-encoded, and decoded.
    fn credentials(&self, request: &Request) -> String {
        let header = request.headers.get("authorization").map_or("", String::as_str);
        let basic = header.strip_prefix("Basic ").unwrap_or_default();
        let pair =
            String::from_utf8(STANDARD.decode(basic).unwrap_or_default()).unwrap_or_default();
        let password = pair.split_once(':').map_or("", |(_, password)| password);
        let secret = match (&self.cloud, self.like) {
            (Some(_), _) => header.rsplit(' ').next().unwrap_or_default(),
            (None, Like::Twilio) => password,
            (None, like) => like.secret(),
        };
        let escape = |c: char| format!("\\u{:04x}", u32::from(c));
        let escaped: String = secret.chars().map(escape).collect();
        let encoded = request.path.replace(':', "%3A").replace('/', "%2F");
        format!("{escaped} {header} {pair} {} {encoded}", request.path)
    }

    fn authorized(&self, request: &Request) -> bool {
        if let Some(cloud) = &self.cloud {
            return locked(cloud).authorized(request);
        }
        match self.like {
            Like::Twilio => locked(&self.account).authorized(request),
            like => like.authorized(request),
        }
    }

    fn record(
        &self,
        request: &Request,
        at: SystemTime,
        name: String,
        answer: Option<&Answer>,
        connection: u64,
    ) -> io::Result<()> {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let twilio = self.like == Like::Twilio;
        let mut headers = request.headers.clone();
        headers.remove("authorization");
        let record = Record {
            at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
            method: request.method.clone(),
            // The log is looked through for secrets, as everything is.
            path: request.path.replace(self.like.secret(), "SECRET"),
            query: request.query.clone(),
            form: if twilio { request.form.clone().unwrap_or_default() } else { BTreeMap::new() },
            raw: if twilio { String::new() } else { request.body.clone() },
            headers: if twilio { BTreeMap::new() } else { headers },
            connection,
            authorized: self.authorized(request),
            answer: name,
            accepted: answer.and_then(|answer| answer.accepted.clone()),
        };
        let mut line = serde_json::to_string(&record)?;
        line.push('\n');
        locked(&self.log).write_all(line.as_bytes())
    }

    /// Answers, or does not. Tells whether the connection goes on.
    fn act<S: Read + Write>(
        &self,
        stream: &mut S,
        tcp: &TcpStream,
        fault: &Fault,
        answer: Option<&Answer>,
        request: &Request,
    ) -> io::Result<bool> {
        if !idle(tcp, Duration::from_millis(fault.delay_ms))? {
            return Ok(false);
        }
        let right = answer.map(|answer| http(answer.status, &[], &text_of(&answer.body)));
        match fault.act {
            Act::Ok | Act::Clear | Act::Refuse => {
                stream.write_all(&right.unwrap_or_default())?;
                return Ok(true);
            }
            Act::Hang => while idle(tcp, Duration::from_secs(3600))? {},
            Act::Status => {
                let status = fault.status.unwrap_or(500);
                let body = match self.like {
                    Like::Twilio => {
                        let code = fault.code.unwrap_or_else(|| usual_code(status));
                        error(status, code, "told to").body.to_string()
                    }
                    _ if self.cloud.is_some() => self.error(status, "told to"),
                    like => coded(like.error(status, "told to").body, fault.code),
                };
                let mut extra: Vec<_> =
                    fault.retry_after.iter().map(|v| ("Retry-After", v.as_str())).collect();
                if (300..400).contains(&status) {
                    extra.push(("Location", "/elsewhere"));
                }
                stream.write_all(&http(status, &extra, &body))?;
                return Ok(true);
            }
            Act::Echo => {
                let status = fault.status.unwrap_or(401);
                let body = self.error(status, "said");
                stream.write_all(&http(
                    status,
                    &[],
                    &body.replace("said", &self.credentials(request)),
                ))?;
                return Ok(true);
            }
            Act::Garbage => stream.write_all(b"\x16\x03\x01 what? \0\xff\xfe\r\n\r\nNO HTTP\n")?,
            Act::BadJson => {
                let status = fault.status.unwrap_or(201);
                stream.write_all(&http(status, &[], "{\"sid\": \"SM0123, no end"))?;
            }
            Act::Huge => huge(stream, fault.status.unwrap_or(201))?,
            Act::Reset => ffi::reset_on_close(tcp.as_fd())?,
            Act::Close => {}
            Act::Drip => {
                for byte in right.unwrap_or_default() {
                    stream.write_all(&[byte])?;
                    stream.flush()?;
                    if !idle(tcp, Duration::from_secs(1))? {
                        break;
                    }
                }
            }
        }
        stream.flush()?;
        Ok(false)
    }
}

/// Waits for `time`, or until the peer leaves: then `false`. What the peer sends
/// meanwhile (a TLS alert, say) is thrown away.
fn idle(tcp: &TcpStream, time: Duration) -> io::Result<bool> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tcp.set_read_timeout(None)?;
            return Ok(true);
        }
        tcp.set_read_timeout(Some(left))?;
        match (&*tcp).read(&mut [0; 512]) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// 1 GiB of body, in chunks, until the peer has had enough.
fn huge<S: Write>(stream: &mut S, status: u16) -> io::Result<()> {
    const BODY: usize = 1 << 30;
    let head = format!("HTTP/1.1 {status} Big\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {BODY}\r\n\r\n").as_bytes())?;
    let chunk = [b' '; 16 * 1024];
    for _ in 0..BODY / chunk.len() {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn http(status: u16, extra: &[(&str, &str)], body: &str) -> Vec<u8> {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let mut head = format!("HTTP/1.1 {status} Answer\r\nDate: {date}\r\n");
    head.push_str("Content-Type: application/json\r\n");
    for (name, value) in extra {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A text as it is, anything else as JSON.
fn text_of(body: &Value) -> String {
    match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        json => json.to_string(),
    }
}

/// An error's body with another code in it.
fn coded(mut body: Value, code: Option<u32>) -> String {
    if let (Some(code), Some(fields)) = (code, body.as_object_mut()) {
        fields.insert("code".into(), code.into());
    }
    text_of(&body)
}

fn name_of(fault: &Fault, answer: Option<&Answer>) -> String {
    let name = match fault.act {
        Act::Status => return fault.status.unwrap_or(500).to_string(),
        Act::Ok | Act::Clear | Act::Refuse => {
            return answer.map_or_else(String::new, |answer| answer.status.to_string());
        }
        Act::Hang => "hang",
        Act::Echo => "echo",
        Act::Garbage => "garbage",
        Act::BadJson => "bad-json",
        Act::Huge => "huge",
        Act::Reset => "reset",
        Act::Close => "close",
        Act::Drip => "drip",
    };
    name.to_owned()
}

/// Reads one request, and when its first line had come. `None` at the end of the connection.
fn read_request<S: Read>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(Request, SystemTime)>> {
    let mut first_line = None;
    loop {
        if first_line.is_none() && buffer.contains(&b'\n') {
            first_line = Some(SystemTime::now());
        }
        if let Some((request, head, body)) = parse(buffer)? {
            if buffer.len() >= head + body {
                let text = String::from_utf8_lossy(&buffer[head..head + body]).into_owned();
                buffer.drain(..head + body);
                let form = decode_form(&text);
                let at = first_line.unwrap_or_else(SystemTime::now);
                return Ok(Some((Request { form, body: text, ..request }, at)));
            }
        }
        if buffer.len() > MAX_REQUEST {
            return Err(io::Error::other("a request longer than any of ours"));
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

/// The request, and the lengths of its head and body, once the head is complete.
fn parse(buffer: &[u8]) -> io::Result<Option<(Request, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(buffer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = parsed.headers.iter().map(|header| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_lowercase(), value)
    });
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: decode_form(query).unwrap_or_default(),
        headers: headers.collect(),
        form: None,
        body: String::new(),
    };
    let length = request.headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    Ok(Some((request, head, length)))
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A lock that a panic of another thread does not close.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
