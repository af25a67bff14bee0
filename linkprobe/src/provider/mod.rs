//! Who answers tests: what to ask each provider for, and what its answers say. Nothing here touches
//! the network.
//!
//! A new one is a file with a [`Protocol`], a word in [`Kind`] and a line in [`Kind::protocol`].

use std::net::IpAddr;

use ureq::http::{HeaderMap, Uri};

use crate::isp::{Identity, Source, harmless, is_public};
use crate::record;

mod cloudflare;
mod librespeed;
pub mod reply;
pub mod speedtest_net;
mod url;

pub use reply::{Refusal, check_download_reply, check_ping_reply, check_reply};

/// Longest answer that is read: the parsers below look at no more.
pub const MAX_BODY: usize = 64 * 1024;

/// Longest list of servers that is read. A hundred of them have 35 kB.
pub const MAX_LIST: usize = 256 * 1024;

/// Longest text of a provider that is kept.
const MAX_TEXT: usize = 100;

/// A provider of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// How it is spoken to.
    pub kind: Kind,
    /// Its address, without a slash at the end: `https://speed.example.net`. Of [`Kind::Url`] the
    /// whole URL of a file.
    pub base: String,
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A server of LibreSpeed.
    LibreSpeed,
    /// speed.cloudflare.com.
    Cloudflare,
    /// speedtest.net, and its list of servers.
    SpeedtestNet,
    /// A large file at any HTTP server.
    Url,
}

impl Kind {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 4] = [Self::LibreSpeed, Self::Cloudflare, Self::SpeedtestNet, Self::Url];

    /// How it is spoken to.
    #[must_use]
    pub fn protocol(self) -> &'static dyn Protocol {
        match self {
            Self::LibreSpeed => &librespeed::LibreSpeed,
            Self::Cloudflare => &cloudflare::Cloudflare,
            Self::SpeedtestNet => &speedtest_net::SpeedtestNet,
            Self::Url => &url::Url,
        }
    }

    /// Its word in the file and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.protocol().name()
    }
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The whole URL.
    pub url: String,
    /// Headers beside those that every request has.
    pub headers: Vec<(&'static str, String)>,
    /// Bytes of the body that matters: of a download the answer's, as far as it is known before, of
    /// an upload ours, of others the most that is read.
    pub bytes: u64,
}

impl Request {
    fn new(url: String, bytes: u64) -> Self {
        Self { url, headers: Vec::new(), bytes }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How a provider is spoken to. `place` is one of [`Protocol::places`], or of a server's; `nonce` keeps
/// caches on the way from answering.
pub trait Protocol: Sync {
    /// Its word in the file and in messages.
    fn name(&self) -> &'static str;

    /// Its usual address, where it has one.
    fn usual_base(&self) -> Option<&'static str> {
        None
    }

    /// Where its requests may go, to be tried in this order as long as there is no such thing.
    fn places(&self, base: &str) -> Vec<String> {
        vec![base.to_owned()]
    }

    /// Asks for so many bytes; for the next more than that, if it has no such size.
    fn download(&self, place: &str, bytes: u64, nonce: u32) -> Request;

    /// Says where so many bytes are to be POSTed; nothing, if it takes none.
    fn upload(&self, place: &str, bytes: u64, nonce: u32) -> Option<Request>;

    /// Asks for next to nothing.
    fn ping(&self, place: &str, nonce: u32) -> Request;

    /// Asks who we are; nothing, if it does not know. At `base`.
    fn identity(&self, base: &str) -> Vec<Request>;

    /// Who we are by an answer to any of [`Protocol::identity`], or by the headers of a download.
    fn read_identity(&self, headers: &HeaderMap, body: &[u8]) -> Option<Identity>;

    /// Asks for servers near us, if it has others than `base`.
    fn servers(&self, _base: &str) -> Vec<Request> {
        Vec::new()
    }

    /// The servers in an answer to [`Protocol::servers`], nearest first.
    fn read_servers(&self, _body: &[u8]) -> Vec<Server> {
        Vec::new()
    }
}

/// One of a provider's servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where its requests may go, to be tried in this order.
    pub places: Vec<String>,
    /// What the record of a run says of it.
    pub record: record::Server,
    /// How far it is, by the provider's estimate and in its unit.
    pub distance: Option<f64>,
}

/// The parts of an identity as providers have them; nothing where they hold nothing.
#[derive(Default)]
struct Told<'a> {
    ip: Option<&'a str>,
    asn: Option<u32>,
    names: Vec<&'a str>,
    country: Option<&'a str>,
}

impl Told<'_> {
    fn identity(self, kind: Kind) -> Option<Identity> {
        let mut identity = Identity::new(Source::Provider(kind));
        let address = self.ip.and_then(|ip| ip.trim().parse::<IpAddr>().ok());
        identity.ip = address.map(|ip| ip.to_canonical()).filter(|ip| is_public(*ip));
        identity.asns.extend(self.asn.filter(|asn| *asn > 0));
        self.names.iter().for_each(|name| identity.add_name(name));
        let code = self.country.map(str::trim).filter(|code| {
            code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_alphabetic())
        });
        identity.country = code.map(str::to_ascii_uppercase);
        let nothing = Identity::new(Source::Provider(kind));
        (identity != nothing).then_some(identity)
    }
}

/// `AS14593 Space Exploration` as its two parts, of which either may be missing.
fn split_asn(text: &str) -> (Option<u32>, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match read_asn(word) {
        Some(asn) => (Some(asn), rest),
        None => (None, text),
    }
}

/// `AS14593`, in whatever case.
fn read_asn(word: &str) -> Option<u32> {
    let (prefix, number) = word.split_at_checked(2)?;
    if prefix.eq_ignore_ascii_case("as") { number.parse().ok() } else { None }
}

/// A number in JSON: 14593, "14593" or "AS14593".
fn asn_of(value: &serde_json::Value) -> Option<u32> {
    match value {
        serde_json::Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
        serde_json::Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| split_asn(text).0)
        }
        _ => None,
    }
}

/// The first bytes of a body.
fn at_most(body: &[u8], most: usize) -> &[u8] {
    body.get(..most).unwrap_or(body)
}

fn text(value: &str) -> String {
    harmless(value, MAX_TEXT).unwrap_or_default()
}

/// Who is asked where the file names nobody.
#[must_use]
pub fn defaults() -> Vec<Provider> {
    ["cloudflare", "speedtest.net"].iter().filter_map(|text| parse(text).ok()).collect()
}

/// Reads `librespeed https://speed.example.net`, `cloudflare`, `speedtest.net` (the two with an
/// address of another server in its place, if wanted) or `url https://example.net/file.bin`.
///
/// # Errors
///
/// A text for a person that says how to write one.
pub fn parse(text: &str) -> Result<Provider, String> {
    let mut words = text.split_whitespace();
    let (name, base, more) = (words.next().unwrap_or_default(), words.next(), words.next());
    let wrong = || {
        let words = Kind::ALL.iter().map(|kind| match kind.protocol().usual_base() {
            Some(_) => format!("\"{}\"", kind.as_str()),
            None => format!("\"{} URL\"", kind.as_str()),
        });
        let words: Vec<String> = words.collect();
        format!("{text:?} is no provider; there are {}", words.join(", "))
    };
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(wrong)?;
    let base = base.or(kind.protocol().usual_base()).ok_or_else(wrong)?;
    let scheme = ["https://", "http://"].iter().find_map(|scheme| base.strip_prefix(scheme));
    let good =
        |rest: &str| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['#', '@']);
    let is_uri = base.parse::<Uri>().is_ok_and(|uri| {
        let behind = uri.authority().and_then(|all| all.as_str().rsplit_once(':'));
        let is_port =
            behind.is_none_or(|(_, port)| port.ends_with(']') || uri.port_u16().is_some());
        uri.host().is_some_and(|host| !host.is_empty()) && is_port
    });
    if more.is_some() || !scheme.is_some_and(good) || !is_uri {
        return Err(wrong());
    }
    let base = if kind == Kind::Url { base } else { base.trim_end_matches('/') };
    Ok(Provider { kind, base: base.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_a_word_and_perhaps_an_address() {
        for (text, kind, base) in [
            ("cloudflare", Kind::Cloudflare, "https://speed.cloudflare.com"),
            ("speedtest.net", Kind::SpeedtestNet, "https://www.speedtest.net"),
            ("librespeed http://192.0.2.1:8080/", Kind::LibreSpeed, "http://192.0.2.1:8080"),
            ("url https://e.example/f/?a=1", Kind::Url, "https://e.example/f/?a=1"),
        ] {
            assert_eq!(parse(text), Ok(Provider { kind, base: base.into() }), "{text}");
        }
        for text in [
            "",
            "librespeed",
            "url",
            "ookla",
            "url ftp://x",
            "cloudflare https://",
            "url http://a b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(defaults().len(), 2);
    }
}
