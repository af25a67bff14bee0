//! HTTP as every provider's channel needs it: bounded in time and size, no redirects, the
//! administrator's own CA store, and errors told apart by whether the request went out.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{RootCerts, TlsConfig};
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
}

impl Client {
    /// A client that signs its requests with HTTP Basic authentication (RFC 7617).
    #[must_use]
    pub fn basic(user: &str, password: &Secret) -> Self {
        let credentials = BASE64.encode(format!("{user}:{}", password.expose()));
        let agent = Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .http_status_as_error(false)
            // A redirect is a wrong address, and would carry the credentials along.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A handful of alerts a day: a kept connection would be dead when it is needed.
            .max_idle_connections(0)
            .user_agent(concat!("bastion/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        Self { agent: agent.into(), authorization: format!("Basic {credentials}") }
    }

    /// POSTs a form.
    ///
    /// # Errors
    ///
    /// An [`Outcome`] when there is no answer.
    pub fn post_form(&self, url: &str, form: &[(&str, &str)]) -> Result<Answer, Outcome> {
        let request = self.agent.post(url).header("Authorization", &self.authorization);
        answer(request.send_form(form.iter().copied()), MAX_ANSWER)
    }

    /// GETs a page of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// An [`Outcome`] when there is no answer.
    pub fn get(&self, url: &str, query: &[(&str, &str)], most: u64) -> Result<Answer, Outcome> {
        let mut request = self.agent.get(url).header("Authorization", &self.authorization);
        for (key, value) in query {
            request = request.query(key, value);
        }
        answer(request.call(), most)
    }
}

fn answer(result: Result<Response<Body>, Error>, most: u64) -> Result<Answer, Outcome> {
    let mut response = result.map_err(|error| outcome_of(&error))?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let body = response.body_mut().with_config().limit(most).read_to_vec();
    Ok(Answer { status, retry_after, body: body.map_err(|error| error.to_string()) })
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// What it means that a request has no answer. Only what surely happened before the first
/// byte of the request is `Later`; everything else is doubtful.
fn outcome_of(error: &Error) -> Outcome {
    let later = |why: String| Outcome::Later { why, fault: Fault::Channel };
    let doubtful = |why: String| Outcome::doubtful(why, Fault::Channel);
    match error {
        Error::HostNotFound => later("the provider's name cannot be resolved".into()),
        Error::ConnectionFailed => later("no connection to the provider".into()),
        Error::Timeout(Timeout::Resolve) => later("the name server does not answer".into()),
        Error::Timeout(Timeout::Connect) => later("no connection to the provider in time".into()),
        Error::Timeout(_) => doubtful("the provider did not answer in time".into()),
        Error::BadUri(_) | Error::Http(_) => Outcome::Config { why: format!("base-url: {error}") },
        Error::Rustls(error) => of_tls(error),
        Error::Io(error) => of_io(error),
        error => doubtful(error.to_string()),
    }
}

fn of_io(error: &io::Error) -> Outcome {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return of_tls(tls);
    }
    match error.kind() {
        // connect(2) alone gives these.
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => {
            Outcome::Later { why: format!("no connection: {error}"), fault: Fault::Channel }
        }
        _ => Outcome::doubtful(format!("the connection broke: {error}"), Fault::Channel),
    }
}

fn of_tls(error: &rustls::Error) -> Outcome {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            let why = format!(
                "the provider's certificate: {error}; check the clock, ca-certificates and base-url"
            );
            Outcome::Config { why }
        }
        rustls::Error::InvalidMessage(_) => {
            Outcome::doubtful("the other side does not speak TLS as it should", Fault::Channel)
        }
        error => Outcome::doubtful(format!("TLS: {error}"), Fault::Channel),
    }
}

/// A provider's text, fit to be shown: one line, visible, not too long.
#[must_use]
pub fn shown(text: &str) -> String {
    let text = visible(text.as_bytes());
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text,
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
    fn only_what_surely_came_before_the_request_is_later() {
        let io = |kind| Error::Io(io::Error::from(kind));
        let tls =
            |error: rustls::Error| Error::Io(io::Error::new(io::ErrorKind::InvalidData, error));
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let table = [
            (Error::HostNotFound, "later"),
            (Error::Timeout(Timeout::Connect), "later"),
            (Error::Timeout(Timeout::Resolve), "later"),
            (io(io::ErrorKind::ConnectionRefused), "later"),
            (Error::Timeout(Timeout::Global), "doubtful"),
            (Error::Timeout(Timeout::RecvResponse), "doubtful"),
            (io(io::ErrorKind::ConnectionReset), "doubtful"),
            (io(io::ErrorKind::UnexpectedEof), "doubtful"),
            (io(io::ErrorKind::BrokenPipe), "doubtful"),
            (tls(expired), "config"),
            (Error::BadUri("x".into()), "config"),
        ];
        for (error, want) in table {
            let got = match outcome_of(&error) {
                Outcome::Later { .. } => "later",
                Outcome::Doubtful { .. } => "doubtful",
                Outcome::Config { .. } => "config",
                other => panic!("{other:?}"),
            };
            assert_eq!(got, want, "{error:?}");
        }
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
