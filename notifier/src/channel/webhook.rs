//! Any program that takes JSON over HTTP.
//!
//! ```json
//! {"version":1, "id":"k7f3q2", "at":"2026-11-22T02:14:07.000Z", "host":"jump",
//!  "severity":"warning", "kind":"login", "text":"jump: login alice from .. #k7f3q2",
//!  "login":{"user":"alice", "service":"sshd", "source":"203.0.113.9", "source-name":null,
//!    "via-tunnel":false, "via":null, "new":["network", "key"], "reason":"..", "pid":4711, "auth":[{"method":"publickey", "key":
//!      {"algorithm":"ssh-ed25519", "fingerprint":"SHA256:..", "name":"alice laptop",
//!       "certificate":{"key-id":"..", "serial":"7", "ca":"SHA256:.."}}}]}}
//! ```
//!
//! `via` is who the jump host says it was, of a login through a tunnel: `{"user", "source", "source-name", "auth"}`,
//! with the meaning that they have outside, or `{"unmatched":"why"}`.
//! `kind` names the object with the fields of its own: `login`, `"note":{"text"}`, or
//! `"condition":{"name", "status":"down" or "up", "text"}`. Fields may be added, none will
//! change its meaning while `version` is 1. What is not known is null. `new` names what no login
//! before this one came from or with: `network`, `key`, both or nothing. Names are visible text: a
//! byte that is none stands there as `\xNN`, a character that hides or reorders others as
//! `\u{N}`. `severity` is `info`, `warning` or `critical`; a serial number is a string, because it
//! has 64 bits.
//!
//! The same event has the same body and the same `Idempotency-Key` (its id) at each try: who has
//! seen the key need not act again. `X-Bastion-Signature: sha256=` and 64 hex digits is the
//! HMAC-SHA256 of the body under the secret of `secret-file`.

use std::fmt::Write as _;

use hmac_sha256::HMAC;
use serde_json::{Value, json};

use super::http::{Answer, Client, wrong};
use super::outcome::{Asked, Outcome};
use super::secret::Secret;
use super::{Channel, Kick, Message, Reader, Secrets, address, rfc3339};
use crate::chain;
use crate::config::Section;
use crate::event::{Condition, Factor, Key, Login, Note, Tally, What};
use crate::fact::Fact;
use crate::foreign::visible;
use crate::message::New;
use crate::text;

/// Version of the body.
const VERSION: u8 = 1;

/// Headers that are ours, or the connection's.
const OURS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "user-agent",
    "x-bastion-signature",
];

/// Words in the name of a header whose value nobody should see.
const SECRET_WORDS: [&str; 8] =
    ["auth", "cookie", "credential", "key", "passw", "secret", "signature", "token"];

/// Most headers of the administrator's own, and longest value, in bytes: servers take 8 KiB.
const MAX_HEADERS: usize = 16;
const MAX_HEADER: usize = 256;

/// `type = "webhook"`.
pub struct Webhook {
    client: Client,
    url: String,
    secret: Option<Secret>,
    headers: Vec<(String, String)>,
    host: [String; 1],
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let url = section.need("url").parse("url", |text| {
        address::check(text, address::Clear::Local).map(|host| (text.to_owned(), host))
    });
    let found = section.findings();
    let secret = section.parse("secret-file", |file| secrets.read(file));
    let token = section.parse("token-file", |file| secrets.read(file));
    let mut headers = Vec::new();
    for (name, value) in section.strings("headers") {
        match check_header(&name, &value.value) {
            Ok(()) if headers.len() < MAX_HEADERS => headers.push((name, value.value)),
            Ok(()) => section.reject("headers", &value, format!("more than {MAX_HEADERS}")),
            Err(wrong) => section.reject("headers", &value, format!("{name:?}: {wrong}")),
        }
    }
    let client = Client::read(section, "url").keeping(1);
    let ((url, host), good) = (url?.value, section.findings() == found);
    if !good {
        return None;
    }
    let client = match token {
        Some(token) => client.bearer(&token.value),
        None => client,
    };
    let secret = secret.map(|secret| secret.value);
    // Who writes a token into the query finds it in no log for that.
    let query = url.split_once('?').map(|(_, query)| Secret::new(query.to_owned()));
    let client = client.hiding(secret.as_slice()).hiding(query.as_slice());
    Some(Box::new(Webhook { client, url, secret, headers, host: [host] }))
}

/// Checks a header of the administrator's own (RFC 9110, 5.1 and 5.5).
fn check_header(name: &str, value: &str) -> Result<(), String> {
    let of_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || name.len() > MAX_HEADER || !name.bytes().all(of_token) {
        return Err("no name of a header; write letters, digits and -".into());
    }
    let lower = name.to_ascii_lowercase();
    if SECRET_WORDS.iter().any(|word| lower.contains(word)) && !OURS.contains(&lower.as_str()) {
        return Err("everybody reads this file; put a secret into token-file, which is sent as \
                    Authorization: Bearer, or sign with secret-file"
            .into());
    }
    if OURS.contains(&lower.as_str()) {
        return Err("is set by the channel itself; leave it out".into());
    }
    if value.len() > MAX_HEADER || !value.bytes().all(|c| (0x20..0x7f).contains(&c)) {
        return Err(format!("the value has to be visible ASCII, at most {MAX_HEADER} bytes"));
    }
    Ok(())
}

impl Channel for Webhook {
    fn recipients(&self) -> &[String] {
        &self.host
    }

    fn ask(&mut self) -> Asked {
        self.client.reach(&self.url)
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn send(&mut self, message: &Message) -> Outcome {
        let body = body(message);
        let signature = self.secret.as_ref().map(|secret| sign(&body, secret));
        let id = message.id();
        let mut headers = vec![("Idempotency-Key", id.as_str())];
        headers.extend(signature.as_deref().map(|signature| ("X-Bastion-Signature", signature)));
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        match self.client.post_json(&self.url, &headers, body.as_bytes()) {
            Ok(answer) => judge(&answer),
            Err(outcome) => outcome,
        }
    }

    fn reader(&self) -> Reader {
        Reader::Program
    }
}

fn sign(body: &str, secret: &Secret) -> String {
    let mut text = "sha256=".to_owned();
    for byte in HMAC::mac(body, secret.expose()) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn body(message: &Message) -> String {
    let event = &message.event;
    let kind = event.what.kind();
    let mut body = json!({
        "version": VERSION,
        "id": event.id.as_str(),
        "at": rfc3339::format(event.at.unix_ms),
        "host": event.host.visible(),
        "severity": event.severity.as_str(),
        "kind": kind,
        // As of the event's own time: a later try has the same words.
        "text": text::event_line_with(event, &message.facts, &event.at),
    });
    body[kind] = match &event.what {
        What::Login(login) => login_json(
            login,
            message.new.get(&event.id).copied(),
            message.facts.get(&event.id).and_then(Fact::via),
        ),
        What::Note(Note { text }) => json!({ "text": text_lines(text) }),
        What::Condition(Condition { name, status, text, fault }) => json!({
            "name": name.visible(),
            "status": status.as_str(),
            "fault": fault.words()[0],
            "text": text_lines(text),
        }),
        What::Tally(tally) => tally_json(tally),
        What::Back(back) => json!({ "name": back.name.visible() }),
        What::Report(report) => json!({
            "since": rfc3339::format(report.since.unix_ms),
            "logins": report.logins,
            "others": report.others,
            "lost": report.lost,
            "late-s": report.late_s,
            "allowances": report.allowances,
            "tallies": report.tallies.iter().map(tally_json).collect::<Vec<_>>(),
        }),
    };
    body.to_string()
}

/// A text of several lines, each made visible.
fn text_lines(text: &str) -> String {
    let lines: Vec<String> =
        text.lines().map(|line| visible(line.replace('\t', " ").as_bytes())).collect();
    lines.join("\n")
}

fn tally_json(tally: &Tally) -> Value {
    let Tally { name, good, all, unit } = tally;
    json!({ "name": name.visible(), "good": good, "all": all, "unit": unit })
}

fn login_json(login: &Login, new: Option<New>, via: Option<&chain::Answer>) -> Value {
    json!({
        "user": login.user.visible(),
        "service": login.service.visible(),
        "source": login.source.map(|ip| ip.to_string()),
        "source-name": login.source_name.as_ref().map(|name| name.visible()),
        "via-tunnel": login.via_tunnel(),
        "via": via.map(via_json),
        "auth": login.auth.iter().map(factor_json).collect::<Vec<_>>(),
        "new": new.into_iter().flat_map(New::names).collect::<Vec<_>>(),
        "reason": visible(login.reason.as_bytes()),
        "pid": if login.pid == 0 { Value::Null } else { login.pid.into() },
    })
}

/// What the jump host says.
fn via_json(answer: &chain::Answer) -> Value {
    match answer {
        chain::Answer::Unmatched(reason) => json!({ "unmatched": reason.visible() }),
        chain::Answer::Matched(person) => json!({
            "user": person.user.visible(),
            "source": person.source.map(|ip| ip.to_string()),
            "source-name": person.source_name.as_ref().map(|name| name.visible()),
            "auth": person.auth.iter().map(factor_json).collect::<Vec<_>>(),
        }),
    }
}

fn factor_json(factor: &Factor) -> Value {
    json!({ "method": factor.method.visible(), "key": factor.key.as_ref().map(key_json) })
}

fn key_json(key: &Key) -> Value {
    let certificate = key.certificate.as_ref().map(|certificate| {
        json!({
            "key-id": certificate.key_id.visible(),
            "serial": certificate.serial.to_string(),
            "ca": visible(certificate.ca.as_bytes()),
        })
    });
    json!({
        "algorithm": key.algorithm.visible(),
        "fingerprint": visible(key.fingerprint.as_bytes()),
        "name": key.name.as_ref().map(|name| name.visible()),
        "certificate": certificate,
    })
}

/// What the program's answer means. Of its words only the status counts.
#[must_use]
pub fn judge(answer: &Answer) -> Outcome {
    let why = answer.why(&answer.said());
    if (200..300).contains(&answer.status) {
        return Outcome::Delivered { id: None, answer: format!("HTTP {}", answer.status) };
    }
    if let Some(outcome) = answer.usual(&why) {
        return outcome;
    }
    match answer.status {
        400 | 413 | 415 | 422 => Outcome::Never { why },
        401 | 403 => wrong(&why, "token-file and secret-file, then restart the sender"),
        300..400 => wrong(&why, "url: it points somewhere else, and nothing is sent there"),
        _ => wrong(&why, "url"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::tests::{HOSTILE, condition, hostile, login, note};
    use crate::channel::http::tests::{answer, class};
    use crate::event::{Certificate, Severity, Status};

    #[test]
    fn each_answer_has_its_class() {
        let table = [
            (200, "delivered"),
            (201, "delivered"),
            (202, "delivered"),
            (204, "delivered"),
            (301, "config"),
            (304, "config"),
            (400, "never"),
            (401, "config"),
            (403, "config"),
            (404, "config"),
            (405, "config"),
            (408, "doubtful"),
            (410, "config"),
            (413, "never"),
            (415, "never"),
            (422, "never"),
            (425, "doubtful"),
            (429, "rate"),
            (500, "doubtful"),
            (503, "doubtful"),
        ];
        for (status, want) in table {
            for body in ["", "<html>", r#"{"error":"no"}"#] {
                assert_eq!(class(&judge(&answer(status, body, None))), want, "{status} {body}");
            }
        }
        let broken = Answer { body: Err("cut off".into()), ..answer(200, "", None) };
        assert_eq!(class(&judge(&broken)), "delivered", "only the status counts");
        let why = judge(&answer(400, r#"{"error":"no such field"}"#, None)).to_string();
        assert_eq!(why, "HTTP 400: no such field");
    }

    #[test]
    fn a_body_has_every_fact_in_its_place() {
        let mut message = login("alice");
        if let What::Login(login) = &mut message.event.what {
            let certificate =
                Certificate { key_id: "id 7".into(), serial: u64::MAX, ca: "SHA256:ca".into() };
            login.auth[0].key.as_mut().unwrap().certificate = Some(certificate);
        }
        message.new.insert(message.event.id, New { network: true, key: true });
        let body: Value = serde_json::from_str(&body(&message)).unwrap();
        let want = json!({
            "version": 1, "id": "k7f3q2", "at": "2026-11-22T02:14:07.000Z", "host": "jump",
            "severity": "warning", "kind": "login",
            "text": "jump: login alice from 203.0.113.9, cert alice #k7f3q2",
            "login": {
                "user": "alice", "service": "sshd", "source": "203.0.113.9", "source-name": null,
                "via-tunnel": false, "via": null, "new": ["network", "key"], "reason": "in no rule", "pid": 42,
                "auth": [{ "method": "publickey", "key": {
                    "algorithm": "ssh-ed25519", "fingerprint": "SHA256:abc", "name": "alice",
                    "certificate":
                        { "key-id": "id 7", "serial": "18446744073709551615", "ca": "SHA256:ca" },
                } }],
            },
        });
        assert_eq!(body, want);
    }

    #[test]
    fn each_kind_has_an_object_of_its_own() {
        let json = |message: &Message| serde_json::from_str::<Value>(&body(message)).unwrap();
        let down = json(&condition(Status::Down, Severity::Critical));
        let want = json!({ "name": "tunnel office", "status": "down", "fault": "down", "text": "no reply" });
        assert_eq!((&down["kind"], &down["condition"]), (&json!("condition"), &want));
        assert_eq!(down["severity"], "critical");
        assert_eq!(json(&note("a\nb"))["note"], json!({ "text": "a\nb" }));
    }

    /// All strings in a JSON.
    fn strings(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) => vec![text],
            Value::Array(values) => values.iter().flat_map(strings).collect(),
            Value::Object(fields) => fields.values().flat_map(strings).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn nothing_hostile_leaves_its_string() {
        let json = |message: &Message| serde_json::from_str::<Value>(&body(message)).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for message in hostile() {
            let body = json(&message);
            assert_eq!(keys(&body).len(), 8, "{body}");
            let hidden = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}".contains(c);
            for text in strings(&body) {
                assert!(!text.contains(hidden), "{text}");
            }
        }
        assert_eq!(keys(&json(&login(HOSTILE))["login"]), keys(&json(&login("a"))["login"]));
    }

    #[test]
    fn a_signature_is_the_hmac_of_the_body() {
        // RFC 4231, test case 2.
        let signature = sign("what do ya want for nothing?", &Secret::new("Jefe".into()));
        let want = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature, format!("sha256={want}"));
    }

    #[test]
    fn headers_hold_no_secret_and_no_second_header() {
        for (name, value) in [("X-Env", "prod"), ("X-Team", ""), ("X-A", "a \"b\" \\ c")] {
            assert_eq!(check_header(name, value), Ok(()), "{name}");
        }
        for (name, value) in [
            ("", "x"),
            ("X Env", "x"),
            ("X-Env:", "x"),
            ("X-Env\r\nX", "x"),
            ("X-Env", "a\r\nX-Evil: b"),
            ("X-Env", "a\0"),
            ("X-Env", "ä"),
            ("X-Env", &"a".repeat(257)),
            ("Content-Type", "x"),
            ("HOST", "x"),
            ("Idempotency-Key", "x"),
        ] {
            assert!(check_header(name, value).is_err(), "{name} {value}");
        }
        for name in ["Authorization", "Proxy-Authorization", "Cookie", "X-API-Key", "X-Auth-Token"]
        {
            assert!(check_header(name, "x").unwrap_err().contains("token-file"), "{name}");
        }
    }
}
