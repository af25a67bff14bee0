//! speed.cloudflare.com. Undocumented; a default, and never the only one.

use serde::Deserialize;
use serde_json::Value;
use ureq::http::HeaderMap;

use super::{Kind, MAX_BODY, Protocol, Request, Told, asn_of, at_most};
use crate::isp::Identity;

/// See the module.
pub struct Cloudflare;

/// From 1e8 on it answers 403.
const MOST: u64 = 99_999_999;

impl Protocol for Cloudflare {
    fn name(&self) -> &'static str {
        "cloudflare"
    }

    fn usual_base(&self) -> Option<&'static str> {
        Some("https://speed.cloudflare.com")
    }

    fn download(&self, place: &str, bytes: u64, nonce: u32) -> Request {
        let bytes = bytes.min(MOST);
        Request::new(format!("{place}/__down?bytes={bytes}&r={nonce}"), bytes)
    }

    fn upload(&self, place: &str, bytes: u64, nonce: u32) -> Option<Request> {
        Some(Request::new(format!("{place}/__up?r={nonce}"), bytes.min(MOST)))
    }

    fn ping(&self, place: &str, nonce: u32) -> Request {
        self.download(place, 0, nonce)
    }

    /// Since 2025-12 `/meta` wants to be asked from the page. Where it does not answer, the other one
    /// knows our address at least.
    fn identity(&self, base: &str) -> Vec<Request> {
        let page = "https://speed.cloudflare.com/";
        let get = |path: &str| Request::new(format!("{base}{path}"), MAX_BODY as u64);
        vec![get("/meta").header("Referer", page), get("/cdn-cgi/trace")]
    }

    /// The headers of downloads had it all until 2026-01, and have the address since then.
    fn read_identity(&self, headers: &HeaderMap, body: &[u8]) -> Option<Identity> {
        let body = at_most(body, MAX_BODY);
        let meta = serde_json::from_slice::<Meta>(body).unwrap_or_default();
        let plain = std::str::from_utf8(body).unwrap_or_default();
        let line = |key: &str| {
            let mut lines = plain.lines().take(100);
            lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
        };
        let header = |name: &str| headers.get(name)?.to_str().ok();
        let is_trace = line("colo").is_some();
        let trace = |key| line(key).filter(|_| is_trace);
        let told = Told {
            ip: meta.client_ip.as_deref().or(trace("ip")).or(header("cf-meta-ip")),
            asn: asn_of(&meta.asn).or(header("cf-meta-asn").and_then(|asn| asn.parse().ok())),
            names: meta.as_organization.as_deref().into_iter().collect(),
            country: meta.country.as_deref().or(trace("loc")).or(header("cf-meta-country")),
        };
        told.identity(Kind::Cloudflare)
    }
}

/// `/meta`; `colo`, which is a text or an object, and more are not looked at.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    client_ip: Option<String>,
    asn: Value,
    as_organization: Option<String>,
    country: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn it_is_read_from_each_place_where_it_stands() {
        let old = r#"{"hostname":"speed.cloudflare.com","clientIp":"98.97.32.7",
            "httpProtocol":"HTTP/1.1","asn":14593,"asOrganization":"SpaceX Starlink","colo":"ZRH",
            "country":"CH","city":"Zurich","region":"Zurich","postalCode":"8000",
            "latitude":"47.37","longitude":"8.54"}"#;
        let new = r#"{"clientIp":"98.97.32.7","asn":"14593","asOrganization":"SpaceX Starlink",
            "colo":{"iata":"ZRH","lat":47.4,"lon":8.5,"cca2":"CH"},"country":"CH"}"#;
        let trace = "fl=158f13\nh=speed.cloudflare.com\nip=98.97.32.7\nts=1768209480.696\n\
            visit_scheme=https\nuag=curl/7.81.0\ncolo=ZRH\nsliver=none\nhttp=http/1.1\nloc=CH\n";
        let all = headers(&[
            ("cf-meta-ip", "98.97.32.7"),
            ("cf-meta-asn", "14593"),
            ("cf-meta-country", "CH"),
            ("cf-meta-city", "Z\u{fc}rich"),
        ]);
        let few = headers(&[("cf-meta-ip", "98.97.32.7"), ("cf-meta-request-time", "1")]);
        let none = HeaderMap::new();
        for (headers, body, asn, name, country) in [
            (&none, old, Some(14593), Some("SpaceX Starlink"), Some("CH")),
            (&none, new, Some(14593), Some("SpaceX Starlink"), Some("CH")),
            (&none, trace, None, None, Some("CH")),
            (&all, "", Some(14593), None, Some("CH")),
            (&few, "\0\0", None, None, None),
        ] {
            let identity = Cloudflare.read_identity(headers, body.as_bytes()).unwrap();
            assert_eq!(identity.ip.unwrap().to_string(), "98.97.32.7", "{body}");
            assert_eq!(identity.asns.first().copied(), asn, "{body}");
            assert_eq!(identity.names.first().map(String::as_str), name, "{body}");
            assert_eq!(identity.country.as_deref(), country, "{body}");
        }
        let page = "<html>\nip=98.97.32.7\n</html>";
        for body in ["", "{}", "null", page, r#"{"clientIp":"10.0.0.1","asn":-1}"#] {
            assert_eq!(Cloudflare.read_identity(&none, body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn it_is_never_asked_for_more_than_it_gives() {
        let request = Cloudflare.download("https://c.example", 2_000_000_000, 7);
        assert_eq!(request.url, "https://c.example/__down?bytes=99999999&r=7");
        assert_eq!(request.bytes, 99_999_999);
        assert_eq!(Cloudflare.identity("https://c.example")[0].headers[0].0, "Referer");
    }
}
