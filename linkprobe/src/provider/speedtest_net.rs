//! speedtest.net: a list of servers near us, each of them somebody else's, and what the ISP is called.
//! Unofficial, and what speedtest-cli and the web page use.

use serde::Deserialize;
use serde_json::Value;
use ureq::http::HeaderMap;

use super::{Kind, MAX_BODY, MAX_LIST, Protocol, Request, Server, Told, asn_of, at_most, text};
use crate::isp::Identity;
use crate::record;

/// See the module.
pub struct SpeedtestNet;

/// Servers that are asked for, and taken from a list: two or three are tried.
const SERVERS: usize = 10;

/// What an old server calls its way in; a place that ends so is spoken to in the old way.
const OLD: &str = "/upload.php";

/// Pictures of an old server: their width, and bytes at least.
const PICTURES: [(u32, u64); 10] = [
    (350, 245_388),
    (500, 505_544),
    (750, 1_118_012),
    (1000, 1_986_284),
    (1500, 4_468_241),
    (2000, 7_907_740),
    (2500, 12_407_926),
    (3000, 17_816_816),
    (3500, 24_262_167),
    (4000, 31_625_365),
];

/// A download of one is not longer than this.
const MOST: u64 = 1_000_000_000;

impl Protocol for SpeedtestNet {
    fn name(&self) -> &'static str {
        "speedtest.net"
    }

    fn usual_base(&self) -> Option<&'static str> {
        Some("https://www.speedtest.net")
    }

    /// The list's own host answers no tests.
    fn places(&self, _base: &str) -> Vec<String> {
        Vec::new()
    }

    fn download(&self, place: &str, bytes: u64, nonce: u32) -> Request {
        let Some(folder) = place.strip_suffix(OLD) else {
            let bytes = bytes.min(MOST);
            return Request::new(format!("{place}/download?nocache={nonce}&size={bytes}"), bytes);
        };
        let largest = PICTURES[PICTURES.len() - 1];
        let (width, size) =
            PICTURES.into_iter().find(|(_, size)| *size >= bytes).unwrap_or(largest);
        Request::new(format!("{folder}/random{width}x{width}.jpg?x={nonce}"), size)
    }

    fn upload(&self, place: &str, bytes: u64, nonce: u32) -> Option<Request> {
        let bytes = bytes.min(MOST);
        Some(match place.strip_suffix(OLD) {
            None => Request::new(format!("{place}/upload?nocache={nonce}"), bytes),
            Some(_) => Request::new(format!("{place}?x={nonce}"), bytes),
        })
    }

    fn ping(&self, place: &str, nonce: u32) -> Request {
        let url = match place.strip_suffix(OLD) {
            None => format!("{place}/hello?nocache={nonce}"),
            Some(folder) => format!("{folder}/latency.txt?x={nonce}"),
        };
        Request::new(url, MAX_BODY as u64)
    }

    fn identity(&self, base: &str) -> Vec<Request> {
        vec![Request::new(format!("{base}/speedtest-config.php"), MAX_BODY as u64)]
    }

    fn read_identity(&self, _headers: &HeaderMap, body: &[u8]) -> Option<Identity> {
        let body = std::str::from_utf8(at_most(body, MAX_BODY)).ok()?;
        let document = roxmltree::Document::parse(body.trim_start()).ok()?;
        let root = document.root_element();
        let client = root.children().find(|node| node.has_tag_name("client"))?;
        let told = Told {
            ip: client.attribute("ip"),
            asn: None,
            names: client.attribute("isp").into_iter().collect(),
            country: client.attribute("country"),
        };
        told.identity(Kind::SpeedtestNet)
    }

    fn servers(&self, base: &str) -> Vec<Request> {
        let list = |path: String| Request::new(format!("{base}/{path}"), MAX_LIST as u64);
        vec![
            list(format!("api/js/servers?engine=js&https_functional=true&limit={SERVERS}")),
            list("speedtest-servers-static.php".into()),
        ]
    }

    fn read_servers(&self, body: &[u8]) -> Vec<Server> {
        let body = at_most(body, MAX_LIST);
        let mut servers = match serde_json::from_slice::<Vec<Value>>(body) {
            Ok(listed) => {
                listed.iter().filter_map(|one| Listed::deserialize(one).ok()?.server()).collect()
            }
            Err(_) => std::str::from_utf8(body).map(read_old_list).unwrap_or_default(),
        };
        let far = |server: &Server| server.distance.unwrap_or(f64::INFINITY);
        servers.sort_by(|one, other| far(one).total_cmp(&far(other)));
        let mut hosts: Vec<String> = Vec::new();
        servers.retain(|server| {
            let new = !hosts.contains(&server.record.host);
            hosts.push(server.record.host.clone());
            new
        });
        servers.truncate(SERVERS);
        servers
    }
}

/// One of a list, in JSON or as attributes in XML; numbers are numbers or texts.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Listed {
    url: String,
    host: String,
    name: String,
    sponsor: String,
    country: String,
    cc: String,
    id: Value,
    distance: Value,
    https_functional: Value,
}

impl Listed {
    fn server(self) -> Option<Server> {
        let old = is_old_place(&self.url).then(|| self.url.clone());
        let of_url = || self.url.split("://").nth(1)?.split('/').next();
        let host = if self.host.is_empty() { of_url()? } else { &self.host };
        if !is_host(host) {
            return None;
        }
        let plain = self.https_functional == 0 || self.https_functional == false;
        let new = format!("{}://{host}", if plain { "http" } else { "https" });
        let some = |value: &str| Some(text(value)).filter(|value| !value.is_empty());
        let id = asn_of(&self.id).map(|id| id.to_string());
        let distance = match &self.distance {
            Value::Number(number) => number.as_f64(),
            Value::String(number) => number.parse().ok(),
            _ => None,
        };
        Some(Server {
            places: [Some(new.clone()), old].into_iter().flatten().collect(),
            record: record::Server {
                url: new,
                host: host.to_owned(),
                name: text(&self.name),
                sponsor: text(&self.sponsor),
                id,
                country: some(&self.country),
                cc: some(&self.cc),
                latency: None,
            },
            distance: distance.filter(|distance| distance.is_finite() && *distance >= 0.0),
        })
    }
}

/// `<settings><servers><server url="http://h/speedtest/upload.php" host="h:8080" .../>`.
fn read_old_list(body: &str) -> Vec<Server> {
    let Ok(document) = roxmltree::Document::parse(body.trim_start()) else { return Vec::new() };
    let nodes = document.descendants().filter(|node| node.has_tag_name("server"));
    let listed = nodes.take(1000).filter_map(|node| {
        let get = |name: &str| node.attribute(name).unwrap_or_default().to_owned();
        let value = |name: &str| node.attribute(name).map_or(Value::Null, Value::from);
        Listed {
            url: get("url"),
            host: get("host"),
            name: get("name"),
            sponsor: get("sponsor"),
            country: get("country"),
            cc: get("cc"),
            id: value("id"),
            distance: Value::Null,
            https_functional: Value::Null,
        }
        .server()
    });
    listed.collect()
}

/// A name or an address, and perhaps a port: nothing by which a URL would lead elsewhere.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !host.ends_with(']') => (name, port),
        _ => (host, "443"),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_six = bare.is_some_and(|six| six.parse::<std::net::Ipv6Addr>().is_ok());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = (1..=253).contains(&name.len()) && name.chars().all(plain);
    let is_port = port.bytes().all(|digit| digit.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    (is_six || is_name) && is_port
}

/// The way in of an old server: `http://h:8080/speedtest/upload.php`.
fn is_old_place(url: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let Some((host, path)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~');
    is_host(host) && url.ends_with(OLD) && url.len() <= 300 && path.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = r#"[
        {"url":"http:\/\/speedtest.far.example:8080\/speedtest\/upload.php","lat":"46.2",
         "lon":"6.1","distance":224,"name":"Geneva","country":"Switzerland","cc":"CH",
         "sponsor":"Far AG","id":"3026","preferred":0,"https_functional":1,
         "host":"speedtest.far.example:8080","force_ping_select":1},
        {"url":"http:\/\/near.example:8080\/speedtest\/upload.php","distance":"3","name":"Zürich",
         "country":"Switzerland","cc":"CH","sponsor":"Near\u202eAG","id":4242,
         "host":"near.example:8080"}]"#;

    const OLD_LIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <settings><servers>
        <server url="http://a.example:8080/speedtest/upload.php" lat="1" lon="2" name="A"
         country="C" cc="CC" sponsor="S" id="7" host="a.example:8080"/>
        <server url="http://b.example/mini/upload.php" name="B" sponsor="S" id="8"/>
        </servers></settings>"#;

    #[test]
    fn servers_are_read_from_both_lists_nearest_first() {
        let servers = SpeedtestNet.read_servers(NEW.as_bytes());
        let [near, far] = &servers[..] else { panic!("{servers:?}") };
        assert_eq!(
            near.places,
            ["https://near.example:8080", "http://near.example:8080/speedtest/upload.php"]
        );
        let record = &near.record;
        assert_eq!((record.name.as_str(), record.id.as_deref()), ("Zürich", Some("4242")));
        assert_eq!((record.sponsor.as_str(), far.distance), ("Near\\u{202e}AG", Some(224.0)));
        let servers = SpeedtestNet.read_servers(OLD_LIST.as_bytes());
        assert_eq!(servers[0].places[0], "https://a.example:8080");
        assert_eq!(servers[1].places[1], "http://b.example/mini/upload.php");
        assert_eq!(servers[1].record.host, "b.example");
    }

    #[test]
    fn what_is_no_server_is_left_out() {
        let server = |host: &str| format!(r#"{{"host":"{host}"}}"#);
        for host in [
            "", "a b", "a/b", "a:0", "a:99999", "a:+80", "a:", ":80", "u@a:80", "a?b", "[::1",
            "[x]:80", "a#b", "ä:80", "::1",
        ] {
            let list = format!("[{}]", server(host));
            assert_eq!(SpeedtestNet.read_servers(list.as_bytes()), [], "{host}");
        }
        let mixed =
            format!("[1,null,{},{},{}]", server("a:80"), server("[::1]:80"), server("a:80"));
        assert_eq!(SpeedtestNet.read_servers(mixed.as_bytes()).len(), 2);
        let many: Vec<String> = (0..50).map(|n| server(&format!("h{n}:80"))).collect();
        let many = format!("[{}]", many.join(","));
        assert_eq!(SpeedtestNet.read_servers(many.as_bytes()).len(), SERVERS);
        for body in ["", "{}", "[]", "<html></html>", "<a", "null", "\u{0}"] {
            assert_eq!(SpeedtestNet.read_servers(body.as_bytes()), [], "{body}");
        }
        for url in [
            "ftp://h/upload.php",
            "http://u@h/upload.php",
            "http://h/a b/upload.php",
            "http://h/upload.php?x",
            "http:///upload.php",
        ] {
            assert!(!is_old_place(url), "{url}");
        }
    }

    #[test]
    fn new_servers_and_old_ones_are_asked_in_their_ways() {
        let (new, old) = ("https://h:8080", "http://h:8080/speedtest/upload.php");
        for (place, bytes, url, got) in [
            (new, 2_000_000, "https://h:8080/download?nocache=7&size=2000000", 2_000_000),
            (old, 2_000_000, "http://h:8080/speedtest/random1500x1500.jpg?x=7", 4_468_241),
            (old, 1, "http://h:8080/speedtest/random350x350.jpg?x=7", 245_388),
            (old, u64::MAX, "http://h:8080/speedtest/random4000x4000.jpg?x=7", 31_625_365),
        ] {
            let request = SpeedtestNet.download(place, bytes, 7);
            assert_eq!((request.url.as_str(), request.bytes), (url, got));
        }
        assert_eq!(SpeedtestNet.ping(new, 7).url, "https://h:8080/hello?nocache=7");
        assert_eq!(SpeedtestNet.ping(old, 7).url, "http://h:8080/speedtest/latency.txt?x=7");
        assert_eq!(SpeedtestNet.upload(old, 9, 7).unwrap().url, format!("{old}?x=7"));
        assert_eq!(SpeedtestNet.upload(new, 9, 7).unwrap().url, "https://h:8080/upload?nocache=7");
    }

    #[test]
    fn the_isp_is_read_from_the_configuration() {
        let read = |body: &str| SpeedtestNet.read_identity(&HeaderMap::new(), body.as_bytes());
        let body = r#"<?xml version="1.0" encoding="UTF-8"?>
            <settings><client ip="98.97.32.7" lat="47.3667" lon="8.55" isp="SpaceX Starlink"
            isprating="3.7" rating="0" ispdlavg="0" ispulavg="0" loggedin="0" country="CH"/>
            <server-config threadcount="4" ignoreids="" notonmap="" forcepingid=""/>
            <download testlength="10" threadsperurl="4"/></settings>"#;
        let identity = read(body).unwrap();
        assert_eq!(identity.names, ["SpaceX Starlink"]);
        assert_eq!(identity.ip.unwrap().to_string(), "98.97.32.7");
        for body in
            ["", "<settings/>", "<html><body>login</body></html>", "<settings><client/></settings>"]
        {
            assert_eq!(read(body), None, "{body}");
        }
        // Nested as deep as a body can be, and with entities that would grow.
        let deep = "<a>".repeat(MAX_BODY / 3);
        assert_eq!(read(&deep), None);
        let laughs = r#"<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><settings><client isp="&c;"/></settings>"#;
        assert_eq!(read(laughs), None);
    }
}
