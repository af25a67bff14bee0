//! What each kind of server says: LibreSpeed's PHP backend, speed.cloudflare.com, speedtest.net and
//! its servers, and somebody who has a file.

use std::net::IpAddr;

use bastion_tests::link::isp::Isp;
use bastion_tests::link::orders::Act;
use serde_json::{Value, json};

use crate::http::Request;

/// Who asks.
pub struct Client {
    /// His address, as it is seen or said.
    pub address: IpAddr,
    /// Whose customer he is, if that is known.
    pub isp: Option<Isp>,
}

/// An answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, but for those about the body's length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

/// What is in an answer.
pub enum Body {
    /// This.
    Text(String),
    /// So many bytes of noise, told before.
    Noise(u64),
    /// So many, not told before.
    Chunks(u64),
}

impl Answer {
    fn new(status: u16, kind: &str, body: Body) -> Self {
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        Self { status, headers, body }
    }

    fn text(kind: &str, text: impl Into<String>) -> Self {
        Self::new(200, kind, Body::Text(text.into()))
    }

    fn json(value: &Value) -> Self {
        Self::text("application/json", value.to_string())
    }

    fn noise(length: u64) -> Self {
        Self::new(200, "application/octet-stream", Body::Noise(length))
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// What stands behind the status.
    pub fn phrase(&self) -> &'static str {
        match self.status {
            200 => "OK",
            302 => "Found",
            403 => "Forbidden",
            404 => "Not Found",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => "Status",
        }
    }
}

/// The page with which a network of guests answers everything.
const PORTAL: &str = "<!DOCTYPE html><html><head><title>Welcome to Hotel Wi-Fi</title></head>\
    <body><form action=\"/login\" method=\"post\"><h1>Please log in</h1><p>Room number: \
    <input name=\"room\"></p><button>Connect</button></form></body></html>";

/// An answer that is another by order, as far as it is one.
pub fn wrong(act: &Act) -> Option<Answer> {
    Some(match act {
        Act::Status { code, retry_after } => {
            let page = format!("<html><body><h1>{code}</h1><p>Go away.</p></body></html>");
            let answer = Answer::new(*code, "text/html", Body::Text(page));
            match retry_after {
                Some(when) => answer.header("Retry-After", when),
                None => answer,
            }
        }
        Act::Portal => Answer::text("text/html; charset=utf-8", PORTAL),
        Act::Say(text) => Answer::text("application/json", text),
        Act::Redirect(to) => {
            Answer::new(302, "text/html", Body::Text(String::new())).header("Location", to)
        }
        _ => return None,
    })
}

/// The right answer.
pub fn right(request: &Request, client: &Client) -> Answer {
    let path = request.path();
    let last = path.rsplit('/').next().unwrap_or_default();
    let number = |name: &str| request.query(name).and_then(|number| number.parse::<u64>().ok());
    match (path, last) {
        ("/__down", _) => cloudflare_down(number("bytes").unwrap_or(0), client),
        ("/__up", _) => meta_headers(Answer::text("text/plain", ""), client),
        ("/meta", _) => cloudflare_meta(request, client),
        ("/cdn-cgi/trace", _) => cloudflare_trace(request, client),
        (_, "garbage.php") => {
            // ckSize is in MiB: 4 if it is absent or no number, 1024 at most.
            let size = number("ckSize").filter(|size| *size > 0).unwrap_or(4).min(1024);
            Answer::new(200, "application/octet-stream", Body::Chunks(size << 20)).header(
                "Cache-Control",
                "no-store, no-cache, must-revalidate, max-age=0, s-maxage=0",
            )
        }
        (_, "empty.php") => Answer::text("text/html; charset=UTF-8", ""),
        (_, "getIP.php") => librespeed_ip(request, client),
        (_, "speedtest-config.php") => Answer::text("text/xml", ookla_config(client)),
        (_, "speedtest-servers-static.php" | "speedtest-servers.php") => {
            Answer::text("text/xml", ookla_list())
        }
        ("/api/js/servers", _) => Answer::json(&ookla_servers(number("limit").unwrap_or(10))),
        (_, "latency.txt") => Answer::text("text/plain", "test=test\n"),
        (_, "hello") => Answer::text("text/plain", "hello 2.11 (2.11.0) 2024-01-01.0000.0000000\n"),
        (_, "download") => Answer::noise(number("size").unwrap_or(25_000_000)),
        (_, "upload" | "upload.php") => {
            Answer::text("text/plain", format!("size={}\n", request.length()))
        }
        ("/file.bin", _) => Answer::noise(1_000_000_000),
        (_, picture) if picture.starts_with("random") => match picture_size(picture) {
            Some(size) => Answer::new(200, "image/jpeg", Body::Noise(size)),
            None => not_found(),
        },
        _ => not_found(),
    }
}

fn not_found() -> Answer {
    Answer::new(404, "text/html", Body::Text("<html><body><h1>404</h1></body></html>".into()))
}

/// speed.cloudflare.com serves less than 100 MB at once.
fn cloudflare_down(bytes: u64, client: &Client) -> Answer {
    if bytes >= 100_000_000 {
        return Answer::new(403, "text/html", Body::Text("<html>Forbidden</html>".into()));
    }
    let answer = Answer::noise(bytes).header("server-timing", "cfRequestDuration;dur=0.5");
    meta_headers(answer, client)
}

fn meta_headers(answer: Answer, client: &Client) -> Answer {
    let answer = answer
        .header("cf-meta-ip", client.address.to_string())
        .header("cf-meta-colo", "ZRH")
        .header("cf-meta-city", "Zurich");
    match &client.isp {
        Some(isp) => answer
            .header("cf-meta-asn", isp.asn.to_string())
            .header("cf-meta-country", isp.country.clone()),
        None => answer,
    }
}

/// Since 2025-12 only to those who come from the page.
fn cloudflare_meta(request: &Request, client: &Client) -> Answer {
    if !request.referer.starts_with("https://speed.cloudflare.com/") {
        return Answer::new(403, "text/html", Body::Text("<html>Forbidden</html>".into()));
    }
    let isp = client.isp.as_ref();
    Answer::json(&json!({
        "hostname": request.host_name(), "clientIp": client.address.to_string(),
        "httpProtocol": "HTTP/1.1", "asn": isp.map(|isp| isp.asn),
        "asOrganization": isp.map(|isp| &isp.name), "country": isp.map(|isp| &isp.country),
        "city": "Zurich", "region": "Zurich", "postalCode": "8000", "latitude": "47.37",
        "longitude": "8.54", "colo": {"iata": "ZRH", "lat": 47.46, "lon": 8.55, "city": "Zurich"},
    }))
}

fn cloudflare_trace(request: &Request, client: &Client) -> Answer {
    let (host, address) = (request.host_name(), client.address);
    let country = client.isp.as_ref().map_or("XX", |isp| &isp.country);
    let text = format!(
        "fl=1f1\nh={host}\nip={address}\nts=1763884800.000\nvisit_scheme=https\nuag=\ncolo=ZRH\n\
         sliver=none\nhttp=http/1.1\nloc={country}\ntls=TLSv1.3\nsni=plaintext\nwarp=off\n\
         gateway=off\nrbi=off\nkex=X25519\n"
    );
    Answer::text("text/plain", text)
}

fn librespeed_ip(request: &Request, client: &Client) -> Answer {
    let address = client.address;
    let (said, raw) = match (&client.isp, request.query("isp")) {
        (Some(isp), Some("true")) => (
            format!("{address} - {}, {}", isp.name, isp.country),
            json!({
                "ip": address.to_string(), "hostname": format!("customer.{address}.example.net"),
                "city": "Zurich", "region": "Zurich", "country": isp.country, "loc": "47.3667,8.5500",
                "org": format!("AS{} {}", isp.asn, isp.name), "postal": "8000",
                "timezone": "Europe/Zurich",
            }),
        ),
        (None, Some("true")) => (format!("{address} - Unknown ISP"), json!("")),
        _ => (address.to_string(), json!("")),
    };
    Answer::json(&json!({"processedString": said, "rawIspInfo": raw}))
}

/// As speedtest-cli reads it, and with more around that, as the real one has.
fn ookla_config(client: &Client) -> String {
    let (name, country) = match &client.isp {
        Some(isp) => (isp.name.replace('&', "&amp;"), isp.country.as_str()),
        None => (String::new(), ""),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<settings>\n<client ip=\"{}\" lat=\"47.3667\" \
         lon=\"8.5500\" isp=\"{name}\" isprating=\"3.7\" rating=\"0\" ispdlavg=\"0\" ispulavg=\"0\" \
         loggedin=\"0\" country=\"{country}\"/>\n<server-config threadcount=\"4\" ignoreids=\"\" \
         notonmap=\"\" forcepingid=\"\" preferredserverid=\"\"/>\n<licensekey>f7a45ced624d3a70</licensekey>\n\
         <customer>speedtest</customer>\n<times dl1=\"5000000\" dl2=\"35000000\" dl3=\"800000000\" \
         ul1=\"1000000\" ul2=\"8000000\" ul3=\"35000000\"/>\n<download testlength=\"10\" \
         initialtest=\"250K\" mintestsize=\"250K\" threadsperurl=\"4\"/>\n<upload testlength=\"10\" \
         ratio=\"5\" initialtest=\"0\" mintestsize=\"32K\" threads=\"2\" maxchunksize=\"512K\" \
         maxchunkcount=\"50\" threadsperurl=\"4\"/>\n<latency testlength=\"10\" waittime=\"50\" \
         timeout=\"20\"/>\n</settings>\n",
        client.address
    )
}

/// The servers, nearest first: where, name, id, host.
const SERVERS: [(&str, &str, &str, &str); 2] = [
    ("47.37", "Zurich", "1001", "speed.example.net:8080"),
    ("46.95", "Bern", "1002", "other.example.net:8080"),
];

fn ookla_list() -> String {
    let row = |(lat, name, id, host): (&str, &str, &str, &str)| {
        format!(
            "<server url=\"http://{host}/speedtest/upload.php\" lat=\"{lat}\" lon=\"8.55\" \
             name=\"{name}\" country=\"Switzerland\" cc=\"CH\" sponsor=\"Example Networks\" \
             id=\"{id}\" host=\"{host}\"/>\n"
        )
    };
    let rows: String = SERVERS.into_iter().map(row).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<settings>\n<servers>\n{rows}</servers>\n</settings>\n"
    )
}

fn ookla_servers(limit: u64) -> Value {
    let row = |(lat, name, id, host): (&str, &str, &str, &str)| {
        json!({
            "url": format!("http://{host}/speedtest/upload.php"), "lat": lat, "lon": "8.55",
            "distance": 3, "name": name, "country": "Switzerland", "cc": "CH",
            "sponsor": "Example Networks", "id": id, "preferred": 0, "https_functional": 1,
            "host": host,
        })
    };
    SERVERS.into_iter().take(usize::try_from(limit).unwrap_or(10)).map(row).collect()
}

/// Bytes of `random350x350.jpg` and its like, as they are on real servers.
fn picture_size(name: &str) -> Option<u64> {
    let side = name.strip_prefix("random")?.split_once('x')?.0;
    Some(match side {
        "350" => 245_388,
        "500" => 505_544,
        "750" => 1_118_012,
        "1000" => 1_986_284,
        "1500" => 4_468_241,
        "2000" => 7_907_740,
        "2500" => 12_407_926,
        "3000" => 17_816_816,
        "3500" => 24_262_167,
        "4000" => 31_625_365,
        _ => return None,
    })
}
