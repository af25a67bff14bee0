//! Whether what came is a test, or somebody's page.

use std::fmt;
use std::time::{Duration, SystemTime};

use notifier::channel::http::retry_after;
use ureq::http::{HeaderMap, Uri};

use super::Request;
use crate::isp::harmless;
use crate::units;

/// Longest address that is told.
const MAX_TOLD: usize = 100;

/// Why an answer is no test. It says nothing about the line, but for [`Refusal::Portal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It does not want us, or not now: 401, 403, 429 and their like.
    Refused {
        /// The status code.
        status: u16,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// It is out of order: 5xx.
    Broken {
        /// The status code.
        status: u16,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// It has no such thing: it is no such server, or of another kind.
    NotThere {
        /// The status code.
        status: u16,
    },
    /// It has it at another place of its own.
    Moved {
        /// Where, as it says.
        to: String,
    },
    /// Somebody else answers: a page to log in at, as networks of guests have.
    Portal {
        /// Where that page is, if it says.
        to: Option<String>,
    },
    /// There is less of it than was asked for.
    TooSmall {
        /// Bytes that it has.
        has: u64,
        /// Bytes that were asked for.
        asked: u64,
    },
    /// It is something else.
    Strange {
        /// What, in words.
        what: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = |f: &mut fmt::Formatter<'_>, after: &Option<Duration>| match after {
            Some(after) => write!(f, ", again in {} s", after.as_secs()),
            None => Ok(()),
        };
        match self {
            Self::Refused { status, retry_after } => {
                write!(f, "refuses to test (HTTP {status})")?;
                again(f, retry_after)
            }
            Self::Broken { status, retry_after } => {
                write!(f, "is out of order (HTTP {status})")?;
                again(f, retry_after)
            }
            Self::NotThere { status } => {
                write!(f, "has no such test (HTTP {status}): is it a server of that kind?")
            }
            Self::Moved { to } => write!(f, "has moved to {to}"),
            Self::Portal { to: None } => f.write_str(
                "was not reached: a web page came in its place, as to log in to a network",
            ),
            Self::Portal { to: Some(to) } => {
                write!(f, "was not reached: somebody leads to {to}, as to log in to a network")
            }
            Self::TooSmall { has, asked } => write!(
                f,
                "has {} where {} were asked for",
                units::bytes(*has),
                units::bytes(*asked)
            ),
            Self::Strange { what } => write!(f, "answers {what}"),
        }
    }
}

/// Whether the head of an answer to a download promises a test: its status, its kind, its length. A
/// portal's page can have any status, 200 as well.
///
/// # Errors
///
/// [`Refusal`].
pub fn check_download_reply(
    asked: &Request,
    status: u16,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    check_reply(asked, status, headers)?;
    let kind = header(headers, "content-type").unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let length = header(headers, "content-length").and_then(|length| length.trim().parse().ok());
    if kind.contains("html") {
        return Err(Refusal::Portal { to: None });
    }
    let packed = header(headers, "content-encoding").is_some_and(|coding| coding != "identity");
    if packed {
        return Err(Refusal::Strange {
            what: "with a packed body, which was not asked for".into(),
        });
    }
    // Of a text it has to be said that it is as long as what was asked for: messages are short.
    let binary = !kind.is_empty()
        && !kind.starts_with("text/")
        && !kind.ends_with("json")
        && !kind.ends_with("xml");
    match length {
        Some(has) if has < asked.bytes => Err(Refusal::TooSmall { has, asked: asked.bytes }),
        None if !binary => {
            let kind = harmless(kind, MAX_TOLD).unwrap_or_else(|| "something".into());
            Err(Refusal::Strange { what: format!("{kind} of unknown length, and no test") })
        }
        _ => Ok(()),
    }
}

/// Whether the head of an answer to something else is one that the provider gave: its status alone, as
/// what a server says to an upload may be of any kind.
///
/// # Errors
///
/// [`Refusal`].
pub fn check_reply(asked: &Request, status: u16, headers: &HeaderMap) -> Result<(), Refusal> {
    let after = || retry_after(headers, SystemTime::now());
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(redirected(&asked.url, header(headers, "location"))),
        // RFC 6585, 6.
        511 => Err(Refusal::Portal { to: None }),
        500..=599 => Err(Refusal::Broken { status, retry_after: after() }),
        400 | 404 | 405 | 410 | 413 | 414 | 416 => Err(Refusal::NotThere { status }),
        401..=499 => Err(Refusal::Refused { status, retry_after: after() }),
        _ => Err(Refusal::Strange { what: format!("HTTP {status}") }),
    }
}

/// Whether an answer to a question for next to nothing is the provider's: it may call itself a page, as that of
/// a server in PHP does by default, and is none.
///
/// # Errors
///
/// [`Refusal`].
pub fn check_ping_reply(
    asked: &Request,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), Refusal> {
    check_reply(asked, status, headers)?;
    let kind = header(headers, "content-type").unwrap_or_default().to_ascii_lowercase();
    let is_page = kind.contains("html") && body.contains(&b'<');
    if is_page { Err(Refusal::Portal { to: None }) } else { Ok(()) }
}

/// A way to the same host, or to another: the host is what a certificate vouched for.
fn redirected(from: &str, to: Option<&str>) -> Refusal {
    let Some(to) = to else { return Refusal::Portal { to: None } };
    let host = |url: &str| url.parse::<Uri>().ok()?.host().map(str::to_ascii_lowercase);
    // A query may hold who was led away.
    let bare = to.split(['?', '#']).next().unwrap_or_default();
    let told = harmless(bare, MAX_TOLD);
    let relative = to.starts_with('/') && !to.starts_with("//");
    match told {
        Some(to_) if relative || host(from).is_some_and(|from| host(bare) == Some(from)) => {
            Refusal::Moved { to: to_ }
        }
        told => Refusal::Portal { to: told },
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn check(status: u16, text: &str) -> Result<(), Refusal> {
        let asked = Request::new("https://s.example/file".into(), 1000);
        check_download_reply(&asked, status, &headers(text))
    }

    #[test]
    fn a_test_is_a_test() {
        for text in [
            "content-type: application/octet-stream",
            "content-type: application/octet-stream\ncontent-length: 1000",
            "content-type: image/jpeg\ncontent-length: 245388",
            "content-type: text/plain\ncontent-length: 1000",
            "content-length: 5000",
            "content-encoding: identity\ncontent-type: application/zip",
        ] {
            assert_eq!(check(200, text), Ok(()), "{text}");
        }
        assert_eq!(check(206, "content-type: application/x-iso\ncontent-length: 1000"), Ok(()));
    }

    #[test]
    fn a_page_is_no_test_whatever_its_status() {
        for text in [
            "content-type: text/html; charset=utf-8",
            "content-type: Text/HTML\ncontent-length: 5000",
            "content-type: application/xhtml+xml\ncontent-length: 5000",
        ] {
            assert_eq!(check(200, text), Err(Refusal::Portal { to: None }), "{text}");
        }
        assert_eq!(check(511, ""), Err(Refusal::Portal { to: None }));
        let told = |to: &str| check(302, &format!("location: {to}"));
        let portal = |to: &str| Err(Refusal::Portal { to: Some(to.into()) });
        let login = "http://login.hotel.example/start";
        assert_eq!(told(&format!("{login}?mac=00:11:22:33:44:55")), portal(login));
        assert_eq!(told("//login.hotel.example/"), portal("//login.hotel.example/"));
        assert_eq!(check(302, ""), Err(Refusal::Portal { to: None }));
        let moved = |to: &str| Err(Refusal::Moved { to: to.into() });
        assert_eq!(told("/other"), moved("/other"));
        assert_eq!(told("https://S.example:8443/file"), moved("https://S.example:8443/file"));
    }

    #[test]
    fn a_page_in_the_place_of_next_to_nothing_is_no_answer() {
        let asked = Request::new("https://s.example/empty.php".into(), 1000);
        let ping = |status, kind: &str, body: &[u8]| {
            let kind = headers(&format!("content-type: {kind}"));
            check_ping_reply(&asked, status, &kind, body)
        };
        assert_eq!(ping(200, "text/html; charset=UTF-8", b""), Ok(()));
        assert_eq!(ping(200, "text/html", b"\n"), Ok(()));
        assert_eq!(ping(200, "text/plain", b"<3"), Ok(()));
        let portal = Err(Refusal::Portal { to: None });
        assert_eq!(ping(200, "Text/HTML", b"<!DOCTYPE html><html>log in"), portal);
        assert!(ping(404, "text/html", b"").is_err());
    }

    #[test]
    fn each_refusal_is_of_its_kind() {
        for (status, text, want) in [
            (403, "", "refuses to test (HTTP 403)"),
            (429, "retry-after: 120", "refuses to test (HTTP 429), again in 120 s"),
            (407, "", "refuses to test (HTTP 407)"),
            (503, "retry-after: 5", "is out of order (HTTP 503), again in 5 s"),
            (500, "", "is out of order (HTTP 500)"),
            (404, "content-type: text/html", "has no such test (HTTP 404)"),
            (416, "", "has no such test (HTTP 416)"),
            (999, "", "answers HTTP 999"),
            (
                200,
                "content-type: application/octet-stream\ncontent-length: 999",
                "has 999 B where 1 kB",
            ),
            (200, "content-type: text/plain", "answers text/plain of unknown length"),
            (200, "content-type: application/json", "answers application/json of unknown length"),
            (200, "", "answers something of unknown length"),
            (200, "content-encoding: gzip\ncontent-length: 2000", "a packed body"),
            (302, "location: http://h.example/?a=b", "leads to http://h.example/, as to log in"),
        ] {
            let refusal = check(status, text).unwrap_err().to_string();
            assert!(refusal.contains(want), "{status} {text}: {refusal}");
        }
    }
}
