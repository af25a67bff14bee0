//! HTTP as every provider's channel needs it: bounded in time and size, no redirects, the
//! administrator's own CA store, and errors told apart by whether the request went out.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Agent, Body, Error, Timeout};

use super::connect::{Connect, Kick};
use super::lookup::Lookup;
use super::outcome::{Asked, Fault, Outcome};
pub use super::redact::Redactor;
use super::secret::Secret;
use super::tls;
use crate::config::Section;

/// Most time one request takes, all of it together.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Most time until the connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// Most of a provider's answer that is read, in bytes. An answer to a message has some 1 KiB.
pub const MAX_ANSWER: u64 = 64 * 1024;

/// Longest wait that a provider can ask for: ntfy.sh's daily quota is the longest known.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How long an idle connection is kept, on a channel that keeps any. It has to be less than a
/// server keeps it, or a request meets a connection that is being closed, and nobody knows
/// whether it was read: of the known ones gunicorn is the quickest, after 2 s.
const KEPT: Duration = Duration::from_secs(1);

/// Largest `ca-file`, in bytes. All of Debian's CAs are 200 KB.
const MAX_CA_FILE: u64 = 4 * 1024 * 1024;

/// The key that a provider's address stands under, where it is a public one.
pub const BASE_URL: &str = "base-url";

/// A client for one provider.
pub struct Client {
    /// `None` until the first request, and again after a fault of the settings: CA store and
    /// `ca-file` are read when it is made, and may be mended by then.
    agent: Option<Agent>,
    /// The key that a wrong address stands under.
    address: &'static str,
    ca_file: Option<PathBuf>,
    deadline: Duration,
    /// How many idle connections are kept, one a host.
    kept: usize,
    authorization: Option<Secret>,
    secrets: Vec<Secret>,
    display: Redactor,
    sent: Arc<AtomicBool>,
    kick: Kick,
    /// Host and port of the last request, for a person.
    peer: String,
}

/// A provider's answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// How long the provider asks us to wait (RFC 9110, 10.2.3), at most a day.
    pub retry_after: Option<Duration>,
    /// The body, or why it could not be read.
    pub body: Result<Vec<u8>, String>,
    /// Shows parts of the body to a person.
    pub display: Redactor,
}

impl Answer {
    /// The body as JSON of this shape; `None` when it is not.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(self.body.as_deref().ok()?).ok()
    }

    /// `HTTP 400: what was said`, fit to be shown.
    #[must_use]
    pub fn why(&self, said: &str) -> String {
        match said.trim() {
            "" => format!("HTTP {}", self.status),
            said => format!("HTTP {}: {}", self.status, self.display.shown(said)),
        }
    }

    /// What the answer says to a person: the text at the place where most programs put it, or all
    /// of it where it is a plain text. Of a page nobody could read anything.
    #[must_use]
    pub fn said(&self) -> String {
        let body = self.body.as_deref().unwrap_or_default();
        match serde_json::from_slice(body) {
            Ok(Value::String(text)) => text,
            Ok(Value::Object(fields)) => {
                let named = ["message", "error", "description", "detail"];
                let mut texts = named.iter().filter_map(|name| fields.get(*name)?.as_str());
                texts.next().unwrap_or_default().to_owned()
            }
            Ok(_) => String::new(),
            // Half a JSON may spell a secret with escapes.
            Err(_) if body.contains(&b'\\') || body.trim_ascii_start().starts_with(b"<") => {
                String::new()
            }
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        }
    }

    /// What the answer means where all providers agree: too fast, or a fault on their side.
    #[must_use]
    pub fn usual(&self, why: &str) -> Option<Outcome> {
        self.usual_after(why, self.retry_after)
    }

    /// The same where the provider says in its own way how long to wait.
    #[must_use]
    pub fn usual_after(&self, why: &str, retry_after: Option<Duration>) -> Option<Outcome> {
        let why = why.to_owned();
        match self.status {
            // A 429 was never processed.
            429 => Some(Outcome::Later { why, fault: Fault::RateLimit(retry_after) }),
            408 | 425 | 500.. => Some(match retry_after {
                Some(wait) => Outcome::doubtful(why, Fault::RateLimit(Some(wait))),
                None => Outcome::doubtful(why, Fault::Message),
            }),
            _ => None,
        }
    }

    /// What it means that the provider has said yes, but not in its own words. A broken line
    /// may have cut them off; somebody else's words are a wrong address.
    #[must_use]
    pub fn unreadable_yes(&self, key: &str) -> Outcome {
        let status = self.status;
        match &self.body {
            Err(_) => Outcome::Doubtful {
                why: format!("HTTP {status}, with an answer that cannot be read"),
                fault: Fault::Message,
                accepted: true,
            },
            Ok(_) => {
                let why = format!("HTTP {status}, with an answer that is not the provider's");
                wrong(&why, &format!("{key}, and what stands between here and there"))
            }
        }
    }
}

/// A fault of the settings: `why; check what`.
#[must_use]
pub fn wrong(why: &str, what: &str) -> Outcome {
    Outcome::Config { why: format!("{why}; check {what}") }
}

impl Client {
    /// A client that signs nothing and hides nothing. Reads `ca-file`; `address` is the key under
    /// which the provider's address stands.
    #[must_use]
    pub fn read(section: &mut Section<'_, '_>, address: &'static str) -> Self {
        let ca_file = section.parse("ca-file", |file| {
            let path = Path::new(file);
            if !path.is_absolute() {
                return Err(format!("{file:?} is no absolute path; it has to start with a /"));
            }
            read_ca_file(path).map(|_| path.to_owned())
        });
        Self::new(address, ca_file.map(|file| file.value))
    }

    fn new(address: &'static str, ca_file: Option<PathBuf>) -> Self {
        Self {
            agent: None,
            address,
            ca_file,
            deadline: DEADLINE,
            // A handful of alerts a day: a kept connection would be dead when it is needed.
            kept: 0,
            authorization: None,
            secrets: Vec::new(),
            display: Redactor::default(),
            sent: Arc::default(),
            kick: Kick::new(),
            peer: "the provider".to_owned(),
        }
    }

    /// With HTTP Basic authentication (RFC 7617).
    #[must_use]
    pub fn basic(self, user: &str, password: &Secret) -> Self {
        let credentials = BASE64.encode(format!("{user}:{}", password.expose()));
        let header = Secret::new(format!("Basic {credentials}"));
        let hidden = [password.clone(), Secret::new(credentials)];
        Self { authorization: Some(header), ..self }.hiding(&hidden)
    }

    /// With a bearer token (RFC 6750).
    #[must_use]
    pub fn bearer(self, token: &Secret) -> Self {
        let header = Secret::new(format!("Bearer {}", token.expose()));
        Self { authorization: Some(header), ..self }.hiding(std::slice::from_ref(token))
    }

    /// With these secrets taken out of all that is shown.
    #[must_use]
    pub fn hiding(mut self, secrets: &[Secret]) -> Self {
        self.secrets.extend_from_slice(secrets);
        self.display = Redactor::new(&self.secrets);
        self
    }

    /// With a connection kept to each of `hosts` hosts for a moment: for a channel whose reader
    /// is a program, which gets ten thousand events by themselves after an outage.
    #[must_use]
    pub fn keeping(self, hosts: usize) -> Self {
        Self { kept: hosts, ..self }
    }

    /// With `deadline` for one request, in the place of [`DEADLINE`].
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// What ends the wait of a connection attempt that is under way.
    #[must_use]
    pub fn kick(&self) -> Kick {
        self.kick.clone()
    }

    /// What takes the client's secrets out of a text.
    #[must_use]
    pub fn display(&self) -> &Redactor {
        &self.display
    }

    /// POSTs a form.
    ///
    /// # Errors
    ///
    /// An [`Outcome`] when there is no answer.
    pub fn post_form(&mut self, url: &str, form: &[(&str, &str)]) -> Result<Answer, Outcome> {
        let mut request = self.agent(url)?.post(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.expose());
        }
        let result = request.send_form(form.iter().copied());
        self.answer(result, MAX_ANSWER)
    }

    /// POSTs JSON, with these headers.
    ///
    /// # Errors
    ///
    /// An [`Outcome`] when there is no answer.
    pub fn post_json(
        &mut self,
        url: &str,
        headers: &[(&str, &str)],
        json: &[u8],
    ) -> Result<Answer, Outcome> {
        let mut request = self.agent(url)?.post(url).header("Content-Type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.expose());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let result = request.send(json);
        self.answer(result, MAX_ANSWER)
    }

    /// GETs a page of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// An [`Outcome`] when there is no answer.
    pub fn get(&mut self, url: &str, query: &[(&str, &str)], most: u64) -> Result<Answer, Outcome> {
        let mut request = self.agent(url)?.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.expose());
        }
        for (key, value) in query {
            request = request.query(key, value);
        }
        let result = request.call();
        self.answer(result, most)
    }

    /// GETs what a provider answers only to who may use it, and which sends nothing; `keys` are those to be
    /// checked when it does not know us.
    pub fn ask(&mut self, url: &str, keys: &str) -> Asked {
        self.ask_what_may_be_refused(url, keys, &[])
    }

    /// As [`Client::ask`], where who may send need not be let read: that it is refused with one of these codes says
    /// no more than that the provider is there.
    pub fn ask_what_may_be_refused(&mut self, url: &str, keys: &str, refusals: &[u16]) -> Asked {
        match self.get(url, &[], MAX_ANSWER) {
            Ok(answer) => judge_asked(&answer, &self.peer, keys, refusals),
            Err(outcome) => Asked::Bad(outcome),
        }
    }

    /// GETs what a provider tells everybody: so it is reached, and nobody knows whether it knows us.
    pub fn ask_as_anybody(&mut self, url: &str, keys: &str) -> Asked {
        match self.ask(url, keys) {
            Asked::Knows(_) => Asked::Reached(format!("{} answers", self.peer)),
            other => other,
        }
    }

    /// Whether a server answers where `url` is, whatever it says; asked of its root, with no credential.
    pub fn reach(&mut self, url: &str) -> Asked {
        match self.head(url) {
            Ok(()) => Asked::Reached(format!("{} answers", self.peer)),
            Err(outcome) => Asked::Bad(outcome),
        }
    }

    fn head(&mut self, url: &str) -> Result<(), Outcome> {
        let of_url = |uri: Uri| Some(format!("{}://{}/", uri.scheme_str()?, uri.authority()?));
        let root = url.parse().ok().and_then(of_url).unwrap_or_default();
        let result = self.agent(&root)?.head(&root).call();
        self.answer(result, MAX_ANSWER).map(|_| ())
    }

    /// The agent, made anew where there is none. Nothing has been sent when this returns.
    fn agent(&mut self, url: &str) -> Result<Agent, Outcome> {
        if let Some(peer) = peer(url) {
            self.peer = peer;
        }
        self.sent.store(false, Ordering::Relaxed);
        #[cfg(feature = "mail")]
        super::lasting::note_url(url, self.ca_file.as_deref());
        if let Some(agent) = &self.agent {
            return Ok(agent.clone());
        }
        let roots = match &self.ca_file {
            None => RootCerts::PlatformVerifier,
            Some(path) => {
                let read = read_ca_file(path);
                let certificates =
                    read.map_err(|why| Outcome::Config { why: format!("ca-file: {why}") })?;
                RootCerts::new_with_certs(&certificates)
            }
        };
        tls::prepare();
        let config = Agent::config_builder()
            .timeout_global(Some(self.deadline))
            .timeout_resolve(Some(CONNECT.min(self.deadline)))
            .timeout_connect(Some(CONNECT.min(self.deadline)))
            .http_status_as_error(false)
            // HTTP_PROXY in the environment would get the secret of an http:// address.
            .proxy(None)
            // A redirect is a wrong address, and would carry the credentials along.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(self.kept)
            .max_idle_connections_per_host(1)
            .max_idle_age(KEPT)
            .user_agent(concat!("bastion/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        let connector = Connect(self.kick.clone())
            .chain(RustlsConnector::default())
            .chain(Witness(Arc::clone(&self.sent)));
        let agent = Agent::with_parts(config, connector, <Lookup>::default());
        self.agent = Some(agent.clone());
        Ok(agent)
    }

    fn answer(
        &mut self,
        result: Result<Response<Body>, Error>,
        most: u64,
    ) -> Result<Answer, Outcome> {
        let sent = self.sent.load(Ordering::Relaxed);
        let mut response = result.map_err(|error| {
            let outcome = self.outcome_of(&error, sent);
            if matches!(outcome, Outcome::Config { .. }) {
                self.agent = None;
            }
            outcome
        })?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let body = response.body_mut().with_config().limit(most).read_to_vec();
        let body = body.map_err(|error| self.display.shown(&error.to_string()));
        Ok(Answer { status, retry_after, body, display: self.display.clone() })
    }

    /// What it means that a request has no answer. Before a byte of it was sent, it cannot
    /// have been read; after that, nobody knows.
    fn outcome_of(&self, error: &Error, sent: bool) -> Outcome {
        let (key, peer) = (self.address, &self.peer);
        // An error may quote the address, which may be a secret.
        let said = self.display.shown(&error.to_string());
        if sent {
            let why = match error {
                Error::Timeout(_) => format!(
                    "{peer} did not answer in time; check {key}, if that goes on, and what stands \
                     between here and there"
                ),
                Error::Protocol(_) => {
                    format!("what {peer} answered is no HTTP: {said}; check {key}: http or https?")
                }
                _ => {
                    format!("the connection to {peer} broke: {said}; check {key}, if that goes on")
                }
            };
            return Outcome::doubtful(why, Fault::Channel);
        }
        let store = if self.ca_file.is_some() { "ca-file" } else { "ca-certificates" };
        let why = match (error, tls_error(error)) {
            (_, Some(rustls::Error::InvalidCertificate(what))) => {
                let why = format!("the certificate of {peer}: {what}");
                return wrong(&why, &format!("the clock, {store} and {key}"));
            }
            // What the verifier says when it finds no CA at all.
            (_, Some(rustls::Error::General(wrong))) => {
                return Outcome::Config { why: format!("TLS: {wrong}; install ca-certificates") };
            }
            (Error::BadUri(_) | Error::Http(_), _) => {
                return Outcome::Config { why: format!("{key}: {said}") };
            }
            (_, Some(rustls::Error::InvalidMessage(_))) => {
                return wrong(&format!("{peer} speaks no TLS"), &format!("the port in {key}"));
            }
            (_, Some(tls)) => format!("TLS with {peer}: {tls}; check {key}"),
            (Error::HostNotFound | Error::Timeout(Timeout::Resolve), _) => {
                format!(
                    "{peer} cannot be resolved; has this machine a line and DNS? if so, check {key}"
                )
            }
            (Error::Io(error), _) if error.kind() == ErrorKind::UnexpectedEof => {
                format!("{peer} closed the connection at once; check the port in {key}")
            }
            (Error::Timeout(_), _) => {
                format!(
                    "no connection to {peer} in time; check {key}, and the firewalls on the way"
                )
            }
            _ => format!("no connection to {peer}: {said}; check {key}, if that goes on"),
        };
        Outcome::Later { why, fault: Fault::Channel }
    }
}

/// Host and port of an address, which are no secret.
fn peer(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    Some(authority?.as_str().to_owned())
}

/// The last link in the chain of connectors. What it hands on stands, TLS and all, and notes
/// when the first byte of a request is given to it: a request that failed before that cannot have
/// been read, which no kind of error tells for sure.
#[derive(Debug)]
struct Witness(Arc<AtomicBool>);

impl<In: Transport> Connector<In> for Witness {
    type Out = Watched<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Watched<In>>, Error> {
        Ok(chained.map(|inner| Watched { inner, sent: Arc::clone(&self.0) }))
    }
}

/// A connection under the eyes of a [`Witness`]. It may serve several requests.
#[derive(Debug)]
struct Watched<In> {
    inner: In,
    sent: Arc<AtomicBool>,
}

impl<In: Transport> Transport for Watched<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.sent.store(true, Ordering::Relaxed);
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// The certificates in a PEM file, one at least.
///
/// # Errors
///
/// What is wrong with the file, in words that name it.
pub fn read_ca_file(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let told = |what: String| format!("{}: {what}", path.display());
    let meta = std::fs::metadata(path).map_err(|error| told(error.to_string()))?;
    if !meta.is_file() || meta.len() > MAX_CA_FILE {
        return Err(told("not a file of certificates".into()));
    }
    let pem = std::fs::read(path).map_err(|error| told(error.to_string()))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(told("holds no certificate; it has to be PEM, -----BEGIN CERTIFICATE".into()));
    }
    Ok(certificates)
}

/// When a provider may be asked again, by its `Retry-After`; a day at most. A date there is one of the
/// provider's clock, as is that of its answer: ours may be wrong by a day.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok();
    let wait = value("retry-after")?;
    let wait = match wait.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let answered = value("date").and_then(date).unwrap_or(now);
            date(wait)?.duration_since(answered).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The TLS error inside an error, in either of the two places where ureq puts it.
fn tls_error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// What the answer to a question means that sends nothing.
fn judge_asked(answer: &Answer, peer: &str, keys: &str, refusals: &[u16]) -> Asked {
    let why = answer.why(&answer.said());
    match answer.status {
        200..=299 => Asked::Knows(format!("{peer} answers, and knows us")),
        refused if refusals.contains(&refused) => {
            Asked::Reached(format!("{peer} answers, and does not let this key read"))
        }
        _ => Asked::Bad(answer.usual(&why).unwrap_or_else(|| wrong(&why, keys))),
    }
}

#[cfg(test)]
pub(super) mod tests;
