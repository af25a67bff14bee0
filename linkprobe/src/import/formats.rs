//! What the tools write, each in its own words and units.

use notifier::channel::rfc3339;
use serde_json::Value;

use crate::isp::harmless;
use crate::local::parse_ms;
use crate::record::{Client, Kind, Record, Server};

/// Who wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// speedtest-cli, and those that write as it does: bit/s.
    SpeedtestCli,
    /// librespeed-cli: Mbit/s.
    LibreSpeed,
    /// Ookla's `speedtest`: byte/s.
    Ookla,
    /// `linkprobe --json`.
    Ours,
}

/// Longest text of somebody else's that is kept.
const MAX_TEXT: usize = 200;

/// Whose value that is.
///
/// # Errors
///
/// Why it is nobody's, or no result.
pub fn tool(value: &Value) -> Result<Tool, &'static str> {
    let has = |key: &str| value.get(key).is_some();
    if let Some(kind) = value.get("type").and_then(Value::as_str) {
        return match kind {
            "result" => Ok(Tool::Ookla),
            _ => Err("a message of speedtest, and no result"),
        };
    }
    if has("kind") && has("link") {
        return Ok(Tool::Ours);
    }
    if !has("download") || !has("ping") {
        return Err("JSON that is no result of a speed test");
    }
    let in_object = |key: &str, inner: &str| value.get(key).is_some_and(|v| v.get(inner).is_some());
    // speedtest-cli has no jitter, and its servers a number each.
    let libre = has("jitter")
        || (in_object("server", "url")
            && !in_object("server", "id")
            && has("share")
            && in_object("client", "org"));
    Ok(if libre { Tool::LibreSpeed } else { Tool::SpeedtestCli })
}

/// The record of a value.
///
/// # Errors
///
/// Why it is none.
pub fn record(value: &Value) -> Result<Record, &'static str> {
    let mut record = match tool(value)? {
        Tool::SpeedtestCli => speedtest_cli(value),
        Tool::LibreSpeed => libre_speed(value),
        Tool::Ookla => ookla(value),
        Tool::Ours => ours(value)?,
    };
    let at_ms = parse_ms(&record.timestamp).ok_or("a result without a timestamp")?;
    if !record.timestamp.ends_with('Z') {
        record.timestamp = rfc3339::format(u64::try_from(at_ms).unwrap_or(0));
    }
    Ok(record.cleaned())
}

fn speedtest_cli(value: &Value) -> Record {
    Record {
        timestamp: text(value, "/timestamp").unwrap_or_default(),
        download: number(value, "/download"),
        upload: number(value, "/upload"),
        ping: number(value, "/ping"),
        server: server(value, ["/server/url", "/server/host", "/server/name", "/server/sponsor"]),
        client: client(value, ["/client/ip", "/client/isp", "/client/country"]),
        ..bytes(value)
    }
}

fn libre_speed(value: &Value) -> Record {
    let mega = |pointer| number(value, pointer).map(|rate| rate * 1e6);
    let client = client(value, ["/client/ip", "/client/org", "/client/country"]);
    Record {
        timestamp: text(value, "/timestamp").unwrap_or_default(),
        download: mega("/download"),
        upload: mega("/upload"),
        ping: number(value, "/ping"),
        jitter: number(value, "/jitter"),
        server: server(value, ["/server/url", "", "/server/name", ""]),
        client: client.map(asn_of_name),
        ..bytes(value)
    }
}

/// ipinfo writes `AS14593 Space Exploration Technologies Corporation`.
fn asn_of_name(mut client: Client) -> Client {
    let parts = client.isp.as_deref().and_then(|org| org.strip_prefix("AS")?.split_once(' '));
    let parts = parts.and_then(|(asn, name)| Some((asn.parse().ok()?, name.to_owned())));
    if let Some((asn, name)) = parts {
        (client.asn, client.isp) = (Some(asn), Some(name));
    }
    client
}

fn ookla(value: &Value) -> Record {
    let rate = |pointer| number(value, pointer).map(|bytes| bytes * 8.0);
    Record {
        timestamp: text(value, "/timestamp").unwrap_or_default(),
        kind: Kind::Measure,
        download: rate("/download/bandwidth"),
        upload: rate("/upload/bandwidth"),
        ping: number(value, "/ping/latency"),
        jitter: number(value, "/ping/jitter"),
        loss: number(value, "/packetLoss").map(|percent| percent / 100.0),
        ping_loaded: number(value, "/download/latency/iqm"),
        bytes_sent: whole(value, "/upload/bytes"),
        bytes_received: whole(value, "/download/bytes"),
        server: server(value, ["", "/server/host", "/server/location", "/server/name"]),
        client: client(value, ["/interface/externalIp", "/isp", ""]),
        ..Record::default()
    }
}

fn ours(value: &Value) -> Result<Record, &'static str> {
    let record: Record = serde_json::from_value(value.clone())
        .map_err(|_| "JSON that is no result of a speed test")?;
    if record.kind == Kind::Measure {
        Ok(record)
    } else {
        Err("a check of linkprobe: it is no measurement")
    }
}

fn bytes(value: &Value) -> Record {
    Record {
        kind: Kind::Measure,
        bytes_sent: whole(value, "/bytes_sent"),
        bytes_received: whole(value, "/bytes_received"),
        ..Record::default()
    }
}

fn server(value: &Value, [url, host, name, sponsor]: [&str; 4]) -> Option<Server> {
    value.get("server")?;
    let get = |pointer: &str| text(value, pointer).unwrap_or_default();
    Some(Server {
        // What follows a question mark may be somebody's key.
        url: get(url).split('?').next().unwrap_or_default().to_owned(),
        host: get(host),
        name: get(name),
        sponsor: get(sponsor),
        id: text(value, "/server/id"),
        country: text(value, "/server/country"),
        cc: text(value, "/server/cc"),
        latency: number(value, "/server/latency").filter(|ms| *ms < 60_000.0),
    })
}

fn client(value: &Value, [ip, isp, country]: [&str; 3]) -> Option<Client> {
    let client = Client {
        ip: text(value, ip),
        isp: text(value, isp),
        asn: None,
        country: text(value, country),
    };
    (client != Client::default()).then_some(client)
}

fn number(value: &Value, pointer: &str) -> Option<f64> {
    at(value, pointer)?.as_f64()
}

fn whole(value: &Value, pointer: &str) -> u64 {
    let Some(value) = at(value, pointer) else { return 0 };
    let float = || value.as_f64().filter(|bytes| (0.0..1e15).contains(bytes));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e15")]
    let whole = float().map(|bytes| bytes as u64);
    value.as_u64().or(whole).unwrap_or(0)
}

/// A text that is not empty, or a number as text.
fn text(value: &Value, pointer: &str) -> Option<String> {
    let text = match at(value, pointer)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    // It is shown and told as what we were told ourselves is.
    harmless(&text, MAX_TEXT)
}

/// An empty pointer is the whole value for serde, and nothing here.
fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.is_empty() { None } else { value.pointer(pointer) }
}
