//! HTTP as every provider's channel needs it: bounded in time and size, no redirects, the
//! administrator's own CA store, and errors told apart by whether the request went out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};
use ureq::{Agent, Body, Error, Timeout};

use super::outcome::{Fault, Outcome};
use super::secret::Secret;
use crate::foreign::visible;

/// Most time one request takes, all of it together.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Most time until the connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// Most of a provider's answer that is read, in bytes. An answer to a message has some 1 KiB.
pub const MAX_ANSWER: u64 = 64 * 1024;

/// Longest part of a provider's text that is shown to a person, in characters.
const MAX_SHOWN: usize = 200;

/// Longest wait that a provider can ask for: ntfy.sh's daily quota is the longest known.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A client for one provider.
pub struct Client {
    agent: Agent,
    authorization: String,
    display: Redactor,
    connected: Arc<AtomicBool>,
}

/// The last link in the chain of connectors: it is asked when the connection stands, TLS and
/// all, and before the first byte of the request. So it knows whether a request that failed can
/// have gone out, which no kind of error tells for sure.
#[derive(Debug)]
struct Witness(Arc<AtomicBool>);

impl<In: Transport> Connector<In> for Witness {
    type Out = In;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<In>, Error> {
        self.0.store(chained.is_some(), Ordering::Relaxed);
        Ok(chained)
    }
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

/// Makes a provider's text fit to be shown: one line, visible, not too long, and without the
/// secrets that it was sent. A provider, or a proxy before it, may answer with the request.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Arc<[Secret]>);

impl Redactor {
    /// One that takes out `secrets`, in each form in which they are sent.
    #[must_use]
    pub(super) fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets.into())
    }

    /// `text` as it may be logged. To be given decoded text: in JSON a secret may be spelled
    /// with escapes.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        let taken_out = |text: String, secret: &Secret| text.replace(secret.expose(), "<redacted>");
        let text = visible(self.0.iter().fold(text.to_owned(), taken_out).as_bytes());
        match text.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
            None => text,
        }
    }
}

impl Client {
    /// A client that signs its requests with HTTP Basic authentication (RFC 7617).
    #[must_use]
    pub fn basic(user: &str, password: &Secret) -> Self {
        let credentials = BASE64.encode(format!("{user}:{}", password.expose()));
        let authorization = format!("Basic {credentials}");
        let display = Redactor::new(vec![password.clone(), Secret::new(credentials)]);
        let connected = Arc::new(AtomicBool::new(false));
        Self { agent: agent(&connected), authorization, display, connected }
    }

    /// POSTs a form.
    ///
    /// # Errors
    ///
    /// An [`Outcome`] when there is no answer.
    pub fn post_form(&mut self, url: &str, form: &[(&str, &str)]) -> Result<Answer, Outcome> {
        self.connected.store(false, Ordering::Relaxed);
        let request = self.agent.post(url).header("Authorization", &self.authorization);
        let result = request.send_form(form.iter().copied());
        self.answer(result, MAX_ANSWER)
    }

    /// GETs a page of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// An [`Outcome`] when there is no answer.
    pub fn get(&mut self, url: &str, query: &[(&str, &str)], most: u64) -> Result<Answer, Outcome> {
        self.connected.store(false, Ordering::Relaxed);
        let mut request = self.agent.get(url).header("Authorization", &self.authorization);
        for (key, value) in query {
            request = request.query(key, value);
        }
        let result = request.call();
        self.answer(result, most)
    }

    fn answer(
        &mut self,
        result: Result<Response<Body>, Error>,
        most: u64,
    ) -> Result<Answer, Outcome> {
        let connected = self.connected.load(Ordering::Relaxed);
        let mut response = result.map_err(|error| {
            let outcome = outcome_of(&error, connected);
            if matches!(outcome, Outcome::Config { .. }) {
                // The CA store is read once for an agent, and may have been mended since.
                self.agent = agent(&self.connected);
            }
            outcome
        })?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let body = response.body_mut().with_config().limit(most).read_to_vec();
        let body = body.map_err(|error| error.to_string());
        Ok(Answer { status, retry_after, body, display: self.display.clone() })
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

fn agent(connected: &Arc<AtomicBool>) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .http_status_as_error(false)
        // HTTP_PROXY in the environment would get the secret of an http:// address.
        .proxy(None)
        // A redirect is a wrong address, and would carry the credentials along.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A handful of alerts a day: a kept connection would be dead when it is needed.
        .max_idle_connections(0)
        .user_agent(concat!("bastion/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build();
    let connector = DefaultConnector::new().chain(Witness(Arc::clone(connected)));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// What it means that a request has no answer. Before the connection stands, nothing has been
/// sent; after that, nobody knows.
fn outcome_of(error: &Error, connected: bool) -> Outcome {
    if connected {
        let why = match error {
            Error::Timeout(_) => "the provider did not answer in time".into(),
            error => format!("the connection broke: {error}"),
        };
        return Outcome::doubtful(why, Fault::Channel);
    }
    let why = match (error, tls_error(error)) {
        (_, Some(rustls::Error::InvalidCertificate(wrong))) => {
            let why = format!(
                "the provider's certificate: {wrong}; check the clock, ca-certificates and base-url"
            );
            return Outcome::Config { why };
        }
        // What the verifier says when it finds no CA at all.
        (_, Some(rustls::Error::General(wrong))) => {
            return Outcome::Config { why: format!("TLS: {wrong}; install ca-certificates") };
        }
        (Error::BadUri(_) | Error::Http(_), _) => {
            return Outcome::Config { why: format!("base-url: {error}") };
        }
        (_, Some(tls)) => format!("TLS: {tls}"),
        (Error::HostNotFound | Error::Timeout(Timeout::Resolve), _) => {
            "the provider's name cannot be resolved".into()
        }
        (Error::Timeout(_), _) => "no connection to the provider in time".into(),
        (Error::Io(error), _) => format!("no connection: {error}"),
        (error, _) => format!("no connection: {error}"),
    };
    Outcome::Later { why, fault: Fault::Channel }
}

/// The TLS error inside an error, in either of the two places where ureq puts it.
fn tls_error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Checks the `base-url` of a provider: https, or http to this machine, no query, and no
/// slash at its end, so that paths can be put behind it.
///
/// # Errors
///
/// A text for a person.
pub fn parse_base_url(text: &str) -> Result<String, String> {
    let uri: ureq::http::Uri = text
        .parse()
        .map_err(|_| format!("{text:?} is no URL; write https://host or https://host:port"))?;
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    match uri.scheme_str() {
        _ if host.is_empty() => Err(format!("{text:?} names no host; write https://host")),
        _ if authority.contains('@') => {
            Err("a password in a URL ends up in logs; leave it out".into())
        }
        _ if uri.query().is_some() => Err(format!("{text:?} has a query; leave it out")),
        Some("https") => Ok(text.trim_end_matches('/').to_owned()),
        Some("http") if local => Ok(text.trim_end_matches('/').to_owned()),
        Some("http") => Err(format!("{text:?} would send the secret in clear; write https://")),
        _ => Err(format!("{text:?} is neither https nor http")),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_a_ceiling() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap();
        let table = [
            ("3", Some(3)),
            ("0", Some(0)),
            ("Sun, 22 Nov 2026 10:01:00 GMT", Some(60)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("99999999999", Some(86_400)),
            ("-1", None),
            ("soon", None),
        ];
        for (value, want) in table {
            let headers =
                HeaderMap::from_iter([("retry-after".parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), want.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn before_the_connection_stands_nothing_is_doubtful_and_after_it_everything_is() {
        let io = |kind| Error::Io(io::Error::from(kind));
        let tls =
            |error: rustls::Error| Error::Io(io::Error::new(io::ErrorKind::InvalidData, error));
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let table = [
            (Error::HostNotFound, "later"),
            (Error::Timeout(Timeout::Connect), "later"),
            (Error::Timeout(Timeout::Resolve), "later"),
            (Error::Timeout(Timeout::Global), "later"),
            (io(io::ErrorKind::ConnectionRefused), "later"),
            (io(io::ErrorKind::ConnectionReset), "later"),
            (tls(rustls::Error::DecryptError), "later"),
            (tls(rustls::Error::General("no CA certificates".into())), "config"),
            (tls(expired), "config"),
            (Error::BadUri("x".into()), "config"),
        ];
        let class = |outcome| match outcome {
            Outcome::Later { .. } => "later",
            Outcome::Doubtful { .. } => "doubtful",
            Outcome::Config { .. } => "config",
            other => panic!("{other:?}"),
        };
        for (error, want) in table {
            assert_eq!(class(outcome_of(&error, false)), want, "{error:?}");
            assert_eq!(class(outcome_of(&error, true)), "doubtful", "{error:?}");
        }
    }

    #[test]
    fn an_echoed_secret_is_taken_out() {
        let secrets = ["hunter2", "QUM6aHVudGVyMg=="].map(|s| Secret::new(s.into()));
        let shown = Redactor(secrets.into()).shown("you sent Basic QUM6aHVudGVyMg==,\nhunter2");
        assert_eq!(shown, "you sent Basic <redacted>,\\x0a<redacted>");
    }

    #[test]
    fn a_secret_leaves_in_clear_to_this_machine_alone() {
        for good in [
            "https://api.twilio.com",
            "https://a.example:8443/x/",
            "http://127.0.0.1:80",
            "http://[::1]:1",
        ] {
            assert_eq!(parse_base_url(good).as_deref(), Ok(good.trim_end_matches('/')));
        }
        for bad in [
            "",
            "api.twilio.com",
            "http://api.twilio.com",
            "ftp://h",
            "https://a:b@h",
            "https://h/?q=1",
        ] {
            assert!(parse_base_url(bad).is_err(), "{bad}");
        }
    }
}
