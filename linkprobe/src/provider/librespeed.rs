//! LibreSpeed: a server of one's own, or one of many public ones (backends in PHP, Go, Rust and
//! .NET, <https://github.com/librespeed/speedtest>).

use serde::Deserialize;
use serde_json::{Map, Value};
use ureq::http::HeaderMap;

use super::{Kind, MAX_BODY, Protocol, Request, Told, asn_of, at_most, split_asn};
use crate::isp::Identity;

/// See the module.
pub struct LibreSpeed;

/// `ckSize` counts these, 1024 at most (`garbage.php`).
const CHUNK: u64 = 1 << 20;

impl Protocol for LibreSpeed {
    fn name(&self) -> &'static str {
        "librespeed"
    }

    /// The backend in PHP has its files in a folder of that name, others answer there and at the root.
    fn places(&self, base: &str) -> Vec<String> {
        if base.ends_with("/backend") {
            return vec![base.to_owned()];
        }
        vec![format!("{base}/backend"), base.to_owned()]
    }

    fn download(&self, place: &str, bytes: u64, nonce: u32) -> Request {
        let chunks = bytes.div_ceil(CHUNK).clamp(1, 1024);
        Request::new(format!("{place}/garbage.php?ckSize={chunks}&r={nonce}"), chunks * CHUNK)
    }

    fn upload(&self, place: &str, bytes: u64, nonce: u32) -> Option<Request> {
        Some(Request::new(format!("{place}/empty.php?r={nonce}"), bytes))
    }

    fn ping(&self, place: &str, nonce: u32) -> Request {
        Request::new(format!("{place}/empty.php?r={nonce}"), MAX_BODY as u64)
    }

    fn identity(&self, base: &str) -> Vec<Request> {
        let places = self.places(base).into_iter();
        places
            .map(|place| Request::new(format!("{place}/getIP.php?isp=true"), MAX_BODY as u64))
            .collect()
    }

    fn read_identity(&self, _headers: &HeaderMap, body: &[u8]) -> Option<Identity> {
        let body = at_most(body, MAX_BODY);
        match serde_json::from_slice::<Answer>(body) {
            Ok(answer) => answer.told().identity(Kind::LibreSpeed),
            // Old ones answer in plain text.
            Err(_) => processed(std::str::from_utf8(body).ok()?.trim()).identity(Kind::LibreSpeed),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    processed_string: Option<String>,
    /// An object of ipinfo.io's or of its database's, or `""`, null or `[]`.
    #[serde(default)]
    raw_isp_info: Value,
}

impl Answer {
    fn told(&self) -> Told<'_> {
        let mut told = self.processed_string.as_deref().map(processed).unwrap_or_default();
        let Value::Object(raw) = &self.raw_isp_info else { return told };
        let (asn, name) = split_asn(get(raw, &["org"]).unwrap_or_default());
        let numbers = ["asn", "as", "ASN"].iter().filter_map(|key| raw.get(*key));
        told.asn = told.asn.or(asn).or_else(|| numbers.filter_map(asn_of).next());
        // Of ipinfo.io's paid plans `asn` is an object of its own.
        let nested = raw.get("asn").and_then(Value::as_object);
        told.asn = told.asn.or_else(|| asn_of(nested?.get("asn")?));
        let more = get(raw, &["as_name", "isp", "organization"]);
        let names = [Some(name), more, nested.and_then(|nested| get(nested, &["name"]))];
        told.names.extend(names.into_iter().flatten());
        told.ip = told.ip.or_else(|| get(raw, &["ip"]));
        let code = get(raw, &["country_code", "country"]).filter(|code| code.trim().len() == 2);
        told.country = code.or(told.country);
        told
    }
}

fn get<'a>(object: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| object.get(*key)?.as_str())
}

/// `1.2.3.4 - ISP, CC (120 km)`, or the address alone. What stands behind an address that is not the
/// internet's ("private IPv4 access") is no ISP.
fn processed(line: &str) -> Told<'_> {
    let (ip, rest) = line.split_once(" - ").unwrap_or((line, ""));
    let mut told = Told { ip: Some(ip), ..Told::default() };
    let is_public = ip.trim().parse().is_ok_and(crate::isp::is_public);
    if !is_public || rest.is_empty() {
        return told;
    }
    let distance = |rest: &str| rest.ends_with(" km)") || rest.ends_with(" mi)");
    let rest = match rest.rsplit_once(" (") {
        Some((before, _)) if distance(rest) => before,
        _ => rest,
    };
    let (name, country) = match rest.rsplit_once(", ") {
        Some((name, country)) if country.trim().len() == 2 => (name, Some(country)),
        _ => (rest, None),
    };
    let (asn, name) = split_asn(name);
    told.asn = asn;
    told.names.push(name);
    told.country = country;
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Address, number, names joined by `|`, country.
    fn short(body: &str) -> Option<(String, Option<u32>, String, String)> {
        let identity = LibreSpeed.read_identity(&HeaderMap::new(), body.as_bytes())?;
        let ip = identity.ip.map(|ip| ip.to_string()).unwrap_or_default();
        let country = identity.country.unwrap_or_default();
        Some((ip, identity.asns.first().copied(), identity.names.join("|"), country))
    }

    #[test]
    fn all_shapes_of_an_answer_are_read() {
        let ours = "98.97.32.7";
        for (body, asn, names, country) in [
            // PHP with ipinfo.io.
            (
                r#"{"processedString":"98.97.32.7 - SpaceX Services, Inc., US","rawIspInfo":{
                "ip":"98.97.32.7","hostname":"customer.zrh1.pop.starlinkisp.net","city":"Zürich",
                "region":"Zurich","country":"CH","loc":"47.3,8.5",
                "org":"AS14593 Space Exploration Technologies Corporation","postal":"8000",
                "timezone":"Europe/Zurich","readme":"https://ipinfo.io/missingauth"}}"#,
                Some(14593),
                "SpaceX Services, Inc.|Space Exploration Technologies Corporation",
                "CH",
            ),
            // PHP with a database of its own.
            (
                r#"{"processedString":"98.97.32.7 - SpaceX, US","rawIspInfo":{"asn":"AS14593",
                "as_name":"Space Exploration Technologies Corporation","as_domain":"starlink.com",
                "country_code":"US","country":"United States","continent":"North America"}}"#,
                Some(14593),
                "SpaceX|Space Exploration Technologies Corporation",
                "US",
            ),
            (
                r#"{"rawIspInfo":{"ip":"98.97.32.7","asn":{"asn":"AS14593","name":"Starlink"}}}"#,
                Some(14593),
                "Starlink",
                "",
            ),
            (
                r#"{"processedString":"98.97.32.7 - AS14593 Starlink, US (<20 km)","rawIspInfo":""}"#,
                Some(14593),
                "Starlink",
                "US",
            ),
            (
                r#"{"processedString":"98.97.32.7 - Starlink, US","rawIspInfo":null}"#,
                None,
                "Starlink",
                "US",
            ),
            (r#"{"processedString":"98.97.32.7 - Unknown ISP","rawIspInfo":[]}"#, None, "", ""),
            (
                r#"{"processedString":"98.97.32.7 - Unknown ISP, US","rawIspInfo":{}}"#,
                None,
                "",
                "US",
            ),
            (r#"{"processedString":"98.97.32.7","rawIspInfo":""}"#, None, "", ""),
            (r#"{"processedString":"::ffff:98.97.32.7 - Starlink"}"#, None, "Starlink", ""),
            ("98.97.32.7 - Starlink, US\n", None, "Starlink", "US"),
            ("98.97.32.7", None, "", ""),
        ] {
            let want = (ours.to_owned(), asn, names.to_owned(), country.to_owned());
            assert_eq!(short(body), Some(want), "{body}");
        }
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        for body in [
            "",
            "{}",
            "[]",
            "<html>login</html>",
            r#"{"processedString":"192.168.1.7 - private IPv4 access","rawIspInfo":""}"#,
            r#"{"processedString":"100.64.0.7 - CGNAT IPv4 access","rawIspInfo":""}"#,
            r#"{"processedString":7}"#,
        ] {
            assert_eq!(short(body), None, "{body}");
        }
    }

    #[test]
    fn sizes_are_whole_mebibytes() {
        let place = "https://s.example/backend";
        for (bytes, chunks) in [(1, 1), (1 << 20, 1), ((1 << 20) + 1, 2), (u64::MAX, 1024)] {
            let request = LibreSpeed.download(place, bytes, 7);
            assert_eq!(request.url, format!("{place}/garbage.php?ckSize={chunks}&r=7"));
            assert_eq!(request.bytes, chunks << 20);
        }
        assert_eq!(LibreSpeed.places("https://s.example")[0], place);
        assert_eq!(LibreSpeed.places(place), [place]);
    }
}
