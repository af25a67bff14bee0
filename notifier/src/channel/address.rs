//! Addresses of providers: where a secret may go, and what of an address is itself one.

use std::net::IpAddr;

use super::http;
use super::secret::{Secret, Secrets};
use crate::config::Section;

/// Longest part of a path that is no secret by its length: `services`, `api`, `webhooks`.
const SHORT: usize = 9;

/// How far a request may go without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clear {
    /// To this machine alone.
    Local,
    /// Anywhere: nothing secret is sent, and somebody has said so.
    Anywhere,
}

/// Checks a provider's address: https, or http as far as `clear` goes, no password, no fragment.
/// Answers the host and port of it, which may be shown.
///
/// # Errors
///
/// A text for a person, which does not show the address: it may be a secret.
pub fn check(text: &str, clear: Clear) -> Result<String, String> {
    let uri: ureq::http::Uri =
        text.parse().map_err(|_| "no URL; write https://host or https://host:port".to_owned())?;
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    match uri.scheme_str() {
        _ if host.is_empty() => Err("names no host; write https://host".into()),
        _ if authority.contains('@') => {
            Err("a password in a URL ends up in logs; leave it out".into())
        }
        _ if text.contains('#') => Err("has a fragment (#..); leave it out".into()),
        Some("https") => Ok(authority.to_owned()),
        Some("http") if local || clear == Clear::Anywhere => Ok(authority.to_owned()),
        Some("http") => Err("would send the secret in clear; write https://".into()),
        _ => Err("neither https nor http".into()),
    }
}

/// Reads the address of a provider's API: https, or http to this machine, no query, and no
/// slash at its end, so that paths can be put behind it.
///
/// # Errors
///
/// A text for a person.
pub fn parse_base(text: &str) -> Result<String, String> {
    parse_base_as(text, Clear::Local)
}

/// The same, with http as far as `clear` goes.
///
/// # Errors
///
/// A text for a person.
pub fn parse_base_as(text: &str, clear: Clear) -> Result<String, String> {
    check(text, clear).map_err(|wrong| format!("{text:?}: {wrong}"))?;
    if text.contains('?') {
        return Err(format!("{text:?} has a query; leave it out"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Reads `base-url`, or takes the provider's own.
pub fn read_base(section: &mut Section<'_, '_>, default: &str) -> String {
    let read = section.parse(http::BASE_URL, parse_base);
    read.map_or_else(|| default.to_owned(), |url| url.value)
}

/// An address that is itself the secret: who knows it may send.
#[derive(Debug, Clone)]
pub struct SecretUrl {
    /// All of it.
    pub url: Secret,
    /// Its host and port, which may be shown.
    pub host: String,
}

impl SecretUrl {
    /// Reads the file that `url-file` names.
    pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Self> {
        let url = section.need("url-file").parse("url-file", |file| {
            let url = secrets.read(file)?;
            let wrong = |wrong| format!("{file}: the address in that file: {wrong}");
            let host = check(url.expose(), Clear::Local).map_err(wrong)?;
            Ok::<_, String>(Self { url, host })
        })?;
        Some(url.value)
    }

    /// The address with one more thing in its query.
    #[must_use]
    pub fn with(&self, query: &str) -> String {
        let url = self.url.expose();
        let mark = if url.contains('?') { '&' } else { '?' };
        format!("{url}{mark}{query}")
    }

    /// All that must not be shown: the address, its path, and each long part of that.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let url = self.url.expose();
        let path = url.split_once(&self.host).map_or("", |(_, path)| path);
        let parts = path.split(['/', '?', '&', '=']).filter(|part| part.len() > SHORT);
        let all = [url, path, path.trim_start_matches('/')].into_iter().chain(parts);
        all.filter(|text| text.len() > 1).map(|text| Secret::new(text.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_leaves_in_clear_to_this_machine_alone() {
        for good in [
            "https://api.twilio.com",
            "https://a.example:8443/x/",
            "http://127.0.0.1:80",
            "http://[::1]:1",
        ] {
            assert_eq!(parse_base(good).as_deref(), Ok(good.trim_end_matches('/')));
        }
        for bad in [
            "",
            "api.twilio.com",
            "http://api.twilio.com",
            "ftp://h",
            "https://a:b@h",
            "https://h/?q=1",
            "https://h/#top",
        ] {
            assert!(parse_base(bad).is_err(), "{bad}");
        }
        assert!(parse_base_as("http://10.0.0.1:9093", Clear::Anywhere).is_ok());
    }

    #[test]
    fn what_is_said_of_a_secret_address_does_not_show_it() {
        for bad in ["http://h.example/T0/hunter2", "hunter2", "ftp://h/hunter2", "https:///hunter2"]
        {
            let error = check(bad, Clear::Local).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn all_parts_of_a_secret_address_are_hidden() {
        let url = Secret::new("https://hooks.example/services/T0000/B0000/abcdefghijkl".into());
        let url = SecretUrl { url, host: "hooks.example".into() };
        let shown: Vec<String> = url.secrets().iter().map(|s| s.expose().to_owned()).collect();
        let path = "services/T0000/B0000/abcdefghijkl";
        let (url, slash) = (format!("https://hooks.example/{path}"), format!("/{path}"));
        assert_eq!(shown, [url.as_str(), &slash, path, "abcdefghijkl"]);
        let thread = |text: &str| {
            SecretUrl { url: Secret::new(text.into()), host: "h".into() }.with("wait=true")
        };
        assert_eq!(thread("https://h/a"), "https://h/a?wait=true");
        assert_eq!(thread("https://h/a?thread_id=1"), "https://h/a?thread_id=1&wait=true");
    }
}
