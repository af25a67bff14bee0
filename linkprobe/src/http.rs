//! HTTP by the line: connections of [`Wire`], names looked up by the line's own resolvers, and errors in
//! words. No redirects: where a test is sent elsewhere, somebody stands in between.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notifier::channel::{http::read_ca_file, tls};
use rustls::CertificateError;
use ureq::config::Config;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout, RustlsConnector};
use ureq::{Agent, Body, Error, RequestBuilder, Timeout};

use crate::heads::Heads;
use crate::isp::harmless;
use crate::provider::Request;
use crate::wire::Wire;

/// Most time until a connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Most time for one of the small requests, all of it together.
pub const DEADLINE: Duration = Duration::from_secs(6);

/// Most time between a request and the head of its answer.
const HEAD: Duration = Duration::from_secs(4);

/// Looks a name up, within some time: its addresses, or why not, in words.
pub type Lookup = dyn Fn(&str, Duration) -> Result<Vec<IpAddr>, String> + Send + Sync;

/// A client whose connections leave by a line.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    wire: Wire,
}

/// An answer to a small request.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// A small request of somebody else's than a provider of tests.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// Where to.
    pub url: &'a str,
    /// What is said before the body.
    pub headers: &'a [(&'a str, String)],
    /// The body of a POST; without one it is a GET.
    pub body: Option<&'a [u8]>,
    /// Most of an answer's body, in bytes.
    pub most: u64,
    /// Most time, for all of it.
    pub deadline: Duration,
}

impl Client {
    /// A client of `wire`. `ca_file` is believed in the place of the system's CAs; `buffer` is how much
    /// is read at once, in bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with `ca_file`.
    pub fn new(
        wire: Wire,
        lookup: Arc<Lookup>,
        ca_file: Option<&Path>,
        buffer: usize,
    ) -> Result<Self, String> {
        let roots = match ca_file {
            None => RootCerts::PlatformVerifier,
            Some(path) => RootCerts::new_with_certs(&read_ca_file(path)?),
        };
        tls::prepare();
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(HEAD))
            .http_status_as_error(false)
            // A proxy would be tested in the place of the line.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .input_buffer_size(buffer)
            .output_buffer_size(buffer)
            .user_agent(concat!("linkprobe/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        let connector = wire.clone().chain(RustlsConnector::default()).chain(Heads);
        let agent = Agent::with_parts(config, connector, Names(lookup));
        Ok(Self { agent, wire })
    }

    /// Its connections.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// GETs something of at most `most` bytes, within `deadline`.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in words.
    pub fn get(
        &self,
        url: &str,
        headers: &[(&str, String)],
        most: u64,
        deadline: Duration,
    ) -> Result<Answer, String> {
        let request = self.agent.get(url).config().timeout_global(Some(deadline)).build();
        read(with(request, headers).call(), most)
    }

    /// Asks and is answered, however long the other end thinks within the deadline.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in words.
    pub fn exchange(&self, exchange: &Exchange<'_>) -> Result<Answer, String> {
        let most = Some(exchange.deadline);
        let response = match exchange.body {
            None => {
                let request = self.agent.get(exchange.url).config();
                let request = request.timeout_global(most).timeout_recv_response(most).build();
                with(request, exchange.headers).call()
            }
            Some(body) => {
                let request = self.agent.post(exchange.url).config();
                let request = request.timeout_global(most).timeout_recv_response(most).build();
                with(request, exchange.headers).send(body)
            }
        };
        read(response, exchange.most)
    }

    /// GETs what a small request of a provider asks for.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in words.
    pub fn ask(&self, request: &Request) -> Result<Answer, String> {
        self.get(&request.url, &request.headers, request.bytes, DEADLINE)
    }

    /// Begins to GET something, however long that takes.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in words.
    pub fn open(&self, url: &str, headers: &[(&str, String)]) -> Result<Response<Body>, String> {
        with(self.agent.get(url), headers).call().map_err(|error| words(&error))
    }

    /// POSTs `length` bytes of `body`, however long that takes.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in words.
    pub fn post(
        &self,
        url: &str,
        headers: &[(&str, String)],
        body: &mut dyn std::io::Read,
        length: u64,
    ) -> Result<Response<Body>, String> {
        let request = self
            .agent
            .post(url)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", length.to_string());
        let sent = with(request, headers).send(ureq::SendBody::from_reader(body));
        sent.map_err(|error| words(&error))
    }
}

/// The request with these headers.
fn with<B>(request: RequestBuilder<B>, headers: &[(&str, String)]) -> RequestBuilder<B> {
    headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
}

/// Reads an answer with at most `most` bytes of body.
fn read(response: Result<Response<Body>, Error>, most: u64) -> Result<Answer, String> {
    let mut response = response.map_err(|error| words(&error))?;
    let body = response.body_mut().with_config().limit(most).read_to_vec();
    let body = body.map_err(|error| words(&error))?;
    let (parts, _) = response.into_parts();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Names, as the client asks for them.
struct Names(Arc<Lookup>);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let port =
            uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = match bare.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.0)(bare, (*timeout.after).min(CONNECT))
                .map_err(|why| Error::Io(std::io::Error::other(why)))?,
        };
        let mut addresses = self.empty();
        // More do not fit, and nobody waits for so many.
        found.iter().take(8).for_each(|address| addresses.push(SocketAddr::new(*address, port)));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// Longest text of an error: a certificate's may list hundreds of names, and would be in each record, and in an
/// alert that no spool takes any more.
const MAX_WORDS: usize = 200;

/// What is wrong with a certificate.
fn certificate(what: &CertificateError) -> String {
    match what {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or this machine's clock is wrong".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or this machine's clock is wrong".into()
        }
        CertificateError::UnknownIssuer => "its certificate is of a CA that is not known".into(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name".into()
        }
        other => format!("its certificate: {other}"),
    }
}

/// What an error means, for a person, and harmless to print; addresses may hold queries and are not repeated.
fn words(error: &Error) -> String {
    let whole = match error {
        Error::Timeout(Timeout::Connect) => "no connection in time".into(),
        Error::Timeout(Timeout::Resolve) => "its name could not be looked up in time".into(),
        Error::Timeout(_) => "no answer in time".into(),
        Error::HostNotFound => "its name has no address".into(),
        Error::BodyExceedsLimit(_) => "the answer is longer than any of that kind".into(),
        Error::Protocol(_) => "what it answered is no HTTP".into(),
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(what)) => certificate(what),
            Some(tls) => format!("TLS: {tls}"),
            None => error.to_string(),
        },
        other => other.to_string(),
    };
    harmless(&whole, MAX_WORDS).unwrap_or_else(|| "an error without a word".into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::line::Line;

    #[test]
    fn an_answer_that_only_ever_begins_is_not_read_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let interim = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
            let mut sent = 0;
            while stream.write_all(&interim).is_ok() {
                sent += interim.len();
            }
            sent
        });
        let wire = Wire::new(Line::default());
        let none: Arc<Lookup> = Arc::new(|_: &str, _| Err("no names".into()));
        let client = Client::new(wire.clone(), none, None, 16 * 1024).unwrap();
        let error = client.get(&url, &[], 1000, Duration::from_secs(60)).unwrap_err();
        assert!(error.contains("does not end"), "{error}");
        wire.end();
        // What was on its way, in the buffers of both kernels, is beside it.
        let sent = server.join().unwrap();
        assert!(sent < 16_000_000, "{sent}");
    }

    #[test]
    fn a_transfer_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n");
            let _ = stream.write_all(&[7; 5_000_000]);
        });
        let none: Arc<Lookup> = Arc::new(|_: &str, _| Err("no names".into()));
        let client = Client::new(Wire::new(Line::default()), none, None, 16 * 1024).unwrap();
        let mut body = client.open(&url, &[]).unwrap().into_body();
        assert_eq!(body.read_to_vec().unwrap().len(), 5_000_000);
        server.join().unwrap();
    }

    #[test]
    fn what_another_says_at_length_is_told_in_few_words() {
        let told = |error| words(&Error::Io(std::io::Error::other(error)));
        let long = told(rustls::Error::General("host\u{1b}.example.net ".repeat(2000)));
        assert!(long.starts_with("TLS: ") && !long.contains('\u{1b}'), "{long}");
        assert!(long.chars().count() <= 200, "{long}");
        let other = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        assert_eq!(told(other), "its certificate is for another name");
    }
}
