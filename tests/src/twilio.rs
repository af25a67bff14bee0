//! Twilio's Messages API as its documentation and OpenAPI file describe it: a request in, an
//! answer out. Pure: no socket, no clock.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Who may send, and what was accepted so far.
#[derive(Debug)]
pub struct Account {
    /// `AC` and 32 hex digits.
    pub sid: String,
    /// The auth token, or an API key's secret.
    pub token: String,
    /// All accepted messages, oldest first.
    pub messages: Vec<Value>,
}

/// A request, taken apart.
#[derive(Debug, Default, Clone)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Decoded query.
    pub query: BTreeMap<String, String>,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Decoded form of the body; `None` when the body is no form.
    pub form: Option<BTreeMap<String, String>>,
    /// The body as text.
    pub body: String,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Value,
    /// The id given to a message that was accepted by this request.
    pub accepted: Option<String>,
}

impl Account {
    /// Whether the Basic credentials are this account's: `AC..:token`, or an API key
    /// `SK..:secret`.
    #[must_use]
    pub fn authorized(&self, request: &Request) -> bool {
        let Some(basic) =
            request.headers.get("authorization").and_then(|h| h.strip_prefix("Basic "))
        else {
            return false;
        };
        let Some(pair) = STANDARD.decode(basic).ok().and_then(|b| String::from_utf8(b).ok()) else {
            return false;
        };
        let Some((user, secret)) = pair.split_once(':') else { return false };
        secret == self.token && (user == self.sid || is_sid(user, "SK"))
    }

    /// Answers a request; an accepted message enters the list.
    pub fn answer(&mut self, request: &Request, now: SystemTime) -> Answer {
        if !self.authorized(request) {
            return error(401, 20003, "Authenticate");
        }
        let own = format!("/2010-04-01/Accounts/{}", self.sid);
        if request.method == "GET" && request.path == format!("{own}.json") {
            let body = json!({ "sid": self.sid, "status": "active", "type": "Full" });
            return Answer { status: 200, body, accepted: None };
        }
        let account = format!("{own}/Messages");
        let rest = request.path.strip_prefix(&account).and_then(|rest| rest.strip_suffix(".json"));
        match rest.map(|rest| rest.strip_prefix('/')) {
            Some(Some(sid)) if request.method == "GET" => return self.fetch(sid),
            Some(None) if request.path == format!("{account}.json") => {}
            _ => return error(404, 20404, "The requested resource was not found"),
        }
        match request.method.as_str() {
            "POST" => self.create(request, now),
            "GET" => self.list(request),
            _ => error(405, 20004, "Method not allowed"),
        }
    }

    fn create(&mut self, request: &Request, now: SystemTime) -> Answer {
        let kind = request.headers.get("content-type").map_or("", String::as_str);
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return error(415, 20006, "Unsupported media type");
        }
        let Some(form) = &request.form else {
            return error(400, 20001, "The body is no form");
        };
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        if let Some(name) = form.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return error(400, 20001, &format!("Unknown field {name}"));
        }
        let (to, body) = (field("To"), field("Body"));
        let (from, service) = (field("From"), field("MessagingServiceSid"));
        let refusal = if to.is_empty() {
            Some((21604, "A 'To' phone number is required"))
        } else if !is_e164(to) {
            Some((21211, "The 'To' number is not a valid phone number"))
        } else if from.is_empty() && service.is_empty() {
            Some((21603, "A 'From' phone number is required"))
        } else if !from.is_empty() && !is_sender(from) {
            Some((21212, "The 'From' number is not a valid phone number"))
        } else if !service.is_empty() && !is_sid(service, "MG") {
            Some((21701, "The Messaging Service does not exist"))
        } else if body.is_empty() {
            Some((21602, "Message body is required"))
        } else if body.chars().count() > 1600 {
            Some((21617, "The message body exceeds the 1600 character limit"))
        } else if !validity_is_good(field("ValidityPeriod")) {
            Some((21621, "The 'ValidityPeriod' is not valid"))
        } else {
            magic_number(from, to)
        };
        if let Some((code, text)) = refusal {
            return error(400, code, text);
        }
        let message = self.message(form, now);
        let sid = message["sid"].as_str().unwrap_or_default().to_owned();
        self.messages.push(message.clone());
        Answer { status: 201, body: message, accepted: Some(sid) }
    }

    fn message(&self, form: &BTreeMap<String, String>, now: SystemTime) -> Value {
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let or_null = |name: &str| form.get(name).map_or(Value::Null, |v| json!(v));
        let number = self.messages.len() + 1;
        let sid = format!("SM{number:032x}");
        let service = !field("MessagingServiceSid").is_empty();
        let segments = if service { 0 } else { segments(field("Body")) };
        json!({
            "account_sid": self.sid,
            "api_version": "2010-04-01",
            "body": field("Body"),
            "date_created": rfc2822(now),
            "date_sent": null,
            "date_updated": rfc2822(now),
            "direction": "outbound-api",
            "error_code": null,
            "error_message": null,
            "from": or_null("From"),
            "messaging_service_sid": or_null("MessagingServiceSid"),
            "num_media": "0",
            "num_segments": segments.to_string(),
            "price": null,
            "price_unit": "USD",
            "sid": sid,
            "status": if service { "accepted" } else { "queued" },
            "subresource_uris": {
                "media": format!("/2010-04-01/Accounts/{}/Messages/{sid}/Media.json", self.sid)
            },
            "to": field("To"),
            "uri": format!("/2010-04-01/Accounts/{}/Messages/{sid}.json", self.sid),
        })
    }

    /// What became of a message by now: it is on the phone, unless that is [`FILTERED`].
    fn fetch(&self, sid: &str) -> Answer {
        let Some(message) = self.messages.iter().find(|message| message["sid"] == sid) else {
            return error(404, 20404, "The requested resource was not found");
        };
        let mut body = message.clone();
        if body["to"] == FILTERED {
            body["status"] = "undelivered".into();
            body["error_code"] = 30_007.into();
        } else {
            body["status"] = "delivered".into();
        }
        Answer { status: 200, body, accepted: None }
    }

    fn list(&self, request: &Request) -> Answer {
        let number = |name: &str, default: usize| {
            request.query.get(name).and_then(|n| n.parse().ok()).unwrap_or(default)
        };
        let size = number("PageSize", 50).clamp(1, 1000);
        let page = number("Page", 0);
        let wanted = |message: &&Value| {
            ["To", "From"].iter().all(|name| {
                let asked = request.query.get(*name);
                asked.is_none_or(|asked| message[name.to_lowercase()] == **asked)
            })
        };
        let found: Vec<&Value> = self.messages.iter().rev().filter(wanted).collect();
        let messages: Vec<&Value> = found.iter().copied().skip(page * size).take(size).collect();
        let uri = |page: usize| format!("{}?PageSize={size}&Page={page}", request.path);
        let more = found.len() > (page + 1) * size;
        let body = json!({
            "first_page_uri": uri(0),
            "end": (page * size + messages.len()).saturating_sub(1),
            "messages": messages,
            "next_page_uri": if more { json!(uri(page + 1)) } else { Value::Null },
            "page": page,
            "page_size": size,
            "previous_page_uri": if page > 0 { json!(uri(page - 1)) } else { Value::Null },
            "start": page * size,
            "uri": uri(page),
        });
        Answer { status: 200, body, accepted: None }
    }
}

/// A number whose carrier takes every message for spam, minutes after Twilio has taken it.
pub const FILTERED: &str = "+15550666";

/// Fields of a POST that Twilio's OpenAPI file names and a text message may carry.
const FIELDS: &[&str] = &[
    "To",
    "From",
    "MessagingServiceSid",
    "Body",
    "StatusCallback",
    "ApplicationSid",
    "ProvideFeedback",
    "Attempt",
    "ValidityPeriod",
    "SmartEncoded",
    "ShortenUrls",
    "SendAt",
    "ScheduleType",
    "RiskCheck",
];

/// An error as Twilio words it.
#[must_use]
pub fn error(status: u16, code: u32, message: &str) -> Answer {
    let body = json!({
        "code": code,
        "message": message,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        "status": status,
    });
    Answer { status, body, accepted: None }
}

/// The error code that goes with a status.
#[must_use]
pub fn usual_code(status: u16) -> u32 {
    match status {
        400 => 21211,
        401 => 20003,
        403 => 20403,
        404 => 20404,
        429 => 20429,
        503 => 20503,
        _ => 20500,
    }
}

/// The numbers that Twilio keeps for tests, and what it answers for them.
fn magic_number(from: &str, to: &str) -> Option<(u32, &'static str)> {
    match (from, to) {
        ("+15005550001", _) => Some((21212, "The 'From' number is not a valid phone number")),
        ("+15005550007", _) => Some((21606, "The 'From' number cannot send messages")),
        ("+15005550008", _) => Some((21611, "This 'From' number has exceeded the queue")),
        (_, "+15005550001") => Some((21211, "The 'To' number is not a valid phone number")),
        (_, "+15005550002") => Some((21612, "The 'To' number is not reachable")),
        (_, "+15005550003") => Some((21408, "Permission to send to this region is not enabled")),
        (_, "+15005550004") => Some((21610, "The recipient is unsubscribed")),
        (_, "+15005550009") => Some((21614, "The 'To' number is not a mobile number")),
        _ => None,
    }
}

fn is_e164(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or_default();
    (2..=15).contains(&digits.len())
        && digits.bytes().all(|c| c.is_ascii_digit())
        && !digits.starts_with('0')
}

/// A number, a short code, or an alphanumeric sender of at most 11 characters.
fn is_sender(from: &str) -> bool {
    let word = from.bytes().all(|c| c.is_ascii_alphanumeric() || c == b' ');
    is_e164(from) || (word && from.len() <= 11)
}

fn is_sid(text: &str, kind: &str) -> bool {
    let hex = text.strip_prefix(kind).unwrap_or_default();
    hex.len() == 32 && hex.bytes().all(|c| c.is_ascii_hexdigit())
}

fn validity_is_good(seconds: &str) -> bool {
    seconds.is_empty() || seconds.parse().is_ok_and(|s: u32| (1..=36_000).contains(&s))
}

/// RFC 2822, as Twilio writes it: `Thu, 24 Aug 2023 05:01:45 +0000`.
fn rfc2822(time: SystemTime) -> String {
    httpdate::fmt_http_date(time).replace("GMT", "+0000")
}

/// How many SMS `body` is: GSM-7 160 then 153, UCS-2 70 then 67 (3GPP TS 23.038).
#[must_use]
pub fn segments(body: &str) -> usize {
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
        ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    const EXTENDED: &str = "\u{c}^{}\\[~]|€";
    let septets = body.chars().try_fold(0, |sum, c| match c {
        c if BASIC.contains(c) => Some(sum + 1),
        c if EXTENDED.contains(c) => Some(sum + 2),
        _ => None,
    });
    let (units, one, many) = match septets {
        Some(septets) => (septets, 160, 153),
        None => (body.encode_utf16().count(), 70, 67),
    };
    if units <= one { 1 } else { units.div_ceil(many) }
}

/// Decodes `application/x-www-form-urlencoded`; `None` when it is not that.
#[must_use]
pub fn decode_form(text: &str) -> Option<BTreeMap<String, String>> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
                out.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &rest[2..];
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { sid: format!("AC{:032x}", 1), token: "secret".into(), messages: Vec::new() }
    }

    fn request(method: &str, form: &str) -> Request {
        let account = account();
        let basic = STANDARD.encode(format!("{}:{}", account.sid, account.token));
        let (query, form) = if method == "GET" { (form, "") } else { ("", form) };
        Request {
            method: method.into(),
            path: format!("/2010-04-01/Accounts/{}/Messages.json", account.sid),
            query: decode_form(query).unwrap(),
            headers: BTreeMap::from([
                ("authorization".into(), format!("Basic {basic}")),
                ("content-type".into(), "application/x-www-form-urlencoded".into()),
            ]),
            body: form.to_owned(),
            form: decode_form(form),
        }
    }

    #[test]
    fn a_post_is_judged() {
        let long = format!("To=%2B15550101&From=%2B15550100&Body={}", "a".repeat(1601));
        let table: &[(&str, u16, Option<u32>)] = &[
            ("To=%2B15550101&From=%2B15550100&Body=hi", 201, None),
            (
                "To=%2B15550101&MessagingServiceSid=MG00000000000000000000000000000000&Body=hi",
                201,
                None,
            ),
            ("To=+15550101&From=%2B15550100&Body=hi", 400, Some(21211)),
            ("From=%2B15550100&Body=hi", 400, Some(21604)),
            ("To=%2B15550101&Body=hi", 400, Some(21603)),
            ("To=%2B15550101&From=%2B15550100&Body=", 400, Some(21602)),
            ("to=%2B15550101&From=%2B15550100&Body=hi", 400, Some(20001)),
            ("To=%2B15005550004&From=%2B15550100&Body=hi", 400, Some(21610)),
            (&long, 400, Some(21617)),
        ];
        for (form, status, code) in table {
            let answer = account().answer(&request("POST", form), SystemTime::UNIX_EPOCH);
            assert_eq!(answer.status, *status, "{form}");
            assert_eq!(answer.body["code"].as_u64(), code.map(u64::from), "{form}");
        }
    }

    #[test]
    fn a_wrong_token_is_refused() {
        let mut account = account();
        account.token = "other".into();
        let answer = account.answer(&request("POST", ""), SystemTime::UNIX_EPOCH);
        assert_eq!((answer.status, answer.body["code"].as_u64()), (401, Some(20003)));
    }

    #[test]
    fn the_list_is_newest_first_and_paged() {
        let mut account = account();
        for body in ["one", "two", "three"] {
            let form = format!("To=%2B15550101&From=%2B15550100&Body={body}");
            account.answer(&request("POST", &form), SystemTime::UNIX_EPOCH);
        }
        let answer =
            account.answer(&request("GET", "To=%2B15550101&PageSize=2"), SystemTime::UNIX_EPOCH);
        assert_eq!(answer.body["messages"][0]["body"], "three");
        assert_eq!(answer.body["messages"].as_array().unwrap().len(), 2);
        assert!(answer.body["next_page_uri"].is_string());
        let other = account.answer(&request("GET", "To=%2B15550199"), SystemTime::UNIX_EPOCH);
        assert_eq!(other.body["messages"].as_array().unwrap().len(), 0);
    }

    #[test]
    fn segments_are_counted_as_the_network_does() {
        let cases =
            [("a".repeat(160), 1), ("a".repeat(161), 2), ("€".repeat(81), 2), ("–".repeat(71), 2)];
        for (body, want) in cases {
            assert_eq!(segments(&body), want, "{body}");
        }
    }
}
