//! Providers other than Twilio, as their documentation describes them: a request in, an answer
//! out, and nothing taken that the real one would refuse. Pure: no socket, no clock.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::host::Host;
use crate::sender::LOGIN;
use crate::twilio::{self, Answer, Request};

/// Whom the stand-in stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Like {
    /// Twilio's Messages API, in [`crate::twilio`].
    Twilio,
    /// Telegram's `sendMessage`.
    Telegram,
    /// ntfy's JSON API, of a topic that takes a token.
    Ntfy,
    /// A program that takes [`Like::secret`] as a bearer token.
    Webhook,
    /// An incoming webhook of Slack's.
    Slack,
    /// A webhook of Discord's.
    Discord,
    /// Alertmanager's API v2.
    Alertmanager,
    /// Somebody who says yes to everything: the receiver behind a real Alertmanager.
    Anybody,
}

impl Like {
    /// All that a channel of their own talks to, but Twilio.
    pub const OTHERS: [Self; 6] =
        [Self::Telegram, Self::Ntfy, Self::Webhook, Self::Slack, Self::Discord, Self::Alertmanager];

    /// Its word on the command line, which is the `type` of its channel.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Telegram => "telegram",
            Self::Ntfy => "ntfy",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Alertmanager => "alertmanager",
            Self::Anybody => "anybody",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Twilio, Self::Anybody]
            .into_iter()
            .chain(Self::OTHERS)
            .find(|like| like.name() == name)
    }

    /// The secret that it takes: a token, or the path of an address that is one itself.
    #[must_use]
    pub fn secret(self) -> &'static str {
        match self {
            Self::Twilio => crate::provider::AUTH_TOKEN,
            Self::Telegram => "987654:5ecre7-70ken-0f-7he-7e57_AbCdEfGhI",
            Self::Ntfy => "tk_5ecre770ken0f7he7e57AbCdEfGhI",
            Self::Webhook | Self::Alertmanager | Self::Anybody => {
                "5ecre7-70ken-0f-7he-7e57-AbCdEfGhI"
            }
            Self::Slack => "/services/T0123/B0123/5ecre770ken0f7he7e57AbCd",
            Self::Discord => "/api/webhooks/1234567890/5ecre7-70ken_0f-7he-7e57-AbCdEfGhI",
        }
    }

    /// Whether the request bears the secret.
    #[must_use]
    pub fn authorized(self, request: &Request) -> bool {
        let bearer = request.headers.get("authorization").and_then(|h| h.strip_prefix("Bearer "));
        match self {
            Self::Twilio => false,
            Self::Anybody => true,
            Self::Telegram => request.path.starts_with(&format!("/bot{}/", self.secret())),
            Self::Slack | Self::Discord => request.path == self.secret(),
            Self::Ntfy | Self::Webhook | Self::Alertmanager => bearer == Some(self.secret()),
        }
    }

    /// Answers what sends nothing: who asks, and whether all is well.
    fn question(self, request: &Request) -> Option<Answer> {
        let body = match self {
            Self::Telegram if request.path.ends_with("/getMe") => {
                json!({ "ok": true, "result": { "id": 987_654, "is_bot": true } })
            }
            Self::Ntfy if request.path == "/v1/account" => json!({ "username": "jump" }),
            Self::Discord if request.path == self.secret() => json!({ "id": "1234567890" }),
            Self::Alertmanager if request.path == "/api/v2/status" => json!({ "uptime": "x" }),
            _ => return None,
        };
        let good = Answer { status: 200, body, accepted: None };
        let known = self.authorized(request);
        (request.method == "GET")
            .then(|| if known { good } else { self.error(401, "who are you?") })
    }

    /// Answers a request. `number` is that of the request.
    #[must_use]
    pub fn answer(self, request: &Request, number: u64) -> Answer {
        if let Some(answer) = self.question(request) {
            return answer;
        }
        if request.method != "POST" {
            return self.error(405, "method not allowed");
        }
        if !self.authorized(request) {
            let status = if matches!(self, Self::Telegram | Self::Discord | Self::Slack) {
                404
            } else {
                401
            };
            return self.error(status, "who are you?");
        }
        let kind = request.headers.get("content-type").map_or("", String::as_str);
        let json: Value = serde_json::from_str(&request.body).unwrap_or_default();
        if !kind.starts_with("application/json") || json.is_null() {
            return self.error(400, "no JSON");
        }
        let taken = |status: u16, body: Value| Answer {
            status,
            body,
            accepted: Some(format!("message-{number}")),
        };
        let problem = match self {
            Self::Twilio => Some("never here".to_owned()),
            Self::Anybody => None,
            Self::Telegram => telegram_problem(request, &json),
            Self::Ntfy => ntfy_problem(request, &json),
            Self::Webhook => webhook_problem(request, &json),
            Self::Slack => slack_problem(&json),
            Self::Discord => discord_problem(request, &json),
            Self::Alertmanager => alertmanager_problem(request, &json),
        };
        if let Some(problem) = problem {
            let status = if problem.starts_with("Forbidden") { 403 } else { 400 };
            return self.error(status, &problem);
        }
        match self {
            Self::Telegram => {
                taken(200, json!({ "ok": true, "result": { "message_id": number, "date": 1 } }))
            }
            Self::Ntfy => {
                taken(200, json!({ "id": format!("n{number}"), "event": "message", "time": 1 }))
            }
            Self::Slack => taken(200, "ok".into()),
            Self::Discord => taken(200, json!({ "id": format!("9{number}"), "type": 0 })),
            Self::Twilio | Self::Webhook => taken(202, Value::Null),
            Self::Alertmanager | Self::Anybody => taken(200, Value::Null),
        }
    }

    /// An error as this provider writes it.
    #[must_use]
    pub fn error(self, status: u16, text: &str) -> Answer {
        let body = match self {
            Self::Twilio => return twilio::error(status, twilio::usual_code(status), text),
            Self::Telegram => json!({ "ok": false, "error_code": status, "description": text }),
            Self::Ntfy => {
                json!({ "code": u32::from(status) * 100 + 24, "http": status, "error": text })
            }
            Self::Webhook | Self::Anybody => json!({ "error": text }),
            Self::Slack => text.replace([' ', '?'], "_").to_lowercase().into(),
            Self::Discord => json!({ "message": text, "code": 50035 }),
            Self::Alertmanager => json!({ "code": 602, "message": text }),
        };
        Answer { status, body, accepted: None }
    }
}

fn text_at<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_default()
}

/// A field that is not one of `known`.
fn unknown(json: &Value, known: &[&str]) -> Option<String> {
    let fields = json.as_object()?;
    let odd = fields.keys().find(|name| !known.contains(&name.as_str()))?;
    Some(format!("unknown field {odd}"))
}

fn telegram_problem(request: &Request, json: &Value) -> Option<String> {
    let length = text_at(json, "text").encode_utf16().count();
    match text_at(json, "chat_id") {
        _ if !request.path.ends_with("/sendMessage") => Some("Not Found".into()),
        "404" => Some("Bad Request: chat not found".into()),
        "403" => Some("Forbidden: bot was blocked by the user".into()),
        "" => Some("Bad Request: chat_id is empty".into()),
        _ if length == 0 => Some("Bad Request: message text is empty".into()),
        _ if length > 4096 => Some("Bad Request: message is too long".into()),
        _ => unknown(json, &["chat_id", "text", "link_preview_options", "disable_notification"]),
    }
}

fn ntfy_problem(request: &Request, json: &Value) -> Option<String> {
    let problem = if request.path != "/" {
        "page not found"
    } else if text_at(json, "topic").is_empty() {
        "invalid topic"
    } else if text_at(json, "message").len() > 4096 {
        "would become an attachment"
    } else if !json["priority"].as_u64().is_some_and(|p| (1..=5).contains(&p)) {
        "invalid priority"
    } else {
        return unknown(json, &["topic", "title", "message", "priority", "tags"]);
    };
    Some(problem.to_owned())
}

fn webhook_problem(request: &Request, json: &Value) -> Option<String> {
    let key = request.headers.get("idempotency-key").map_or("", String::as_str);
    let kind = text_at(json, "kind");
    let good = json["version"] == 1 && key == text_at(json, "id") && json[kind].is_object();
    (!good).then(|| "no event, or not the one of the Idempotency-Key".to_owned())
}

fn slack_problem(json: &Value) -> Option<String> {
    let text = text_at(json, "text");
    if text.is_empty() {
        return Some("no_text".into());
    }
    if text.contains(['<', '>']) {
        return Some("invalid_payload".into());
    }
    unknown(json, &["text", "mrkdwn", "unfurl_links", "unfurl_media"])
}

fn discord_problem(request: &Request, json: &Value) -> Option<String> {
    let content = text_at(json, "content");
    let waits = request.query.get("wait").is_some_and(|wait| wait == "true");
    let nobody = json["allowed_mentions"]["parse"].as_array().is_some_and(Vec::is_empty);
    if content.is_empty() || content.chars().count() > 2000 || !waits || !nobody {
        return Some("Invalid Form Body".into());
    }
    unknown(json, &["content", "allowed_mentions", "flags"])
}

fn alertmanager_problem(request: &Request, json: &Value) -> Option<String> {
    if request.path != "/api/v2/alerts" {
        return Some("path was not found".into());
    }
    let good = |alert: &Value| {
        let labels = alert["labels"].as_object();
        let texts = labels.is_some_and(|l| !l.is_empty() && l.values().all(Value::is_string));
        texts && text_at(alert, "startsAt") <= text_at(alert, "endsAt")
    };
    let alerts = json.as_array();
    let fine = alerts.is_some_and(|alerts| !alerts.is_empty() && alerts.iter().all(good));
    (!fine).then(|| "labels in body is required".to_owned())
}

/// Where a test puts the file with the secret.
fn secret_file(like: Like) -> String {
    format!("/etc/bastion/secret-{}", like.name())
}

impl Like {
    /// `[notify.channel.NAME]` of a channel of this type at `url`, with `more` keys.
    #[must_use]
    pub fn section(self, name: &str, url: &str, more: &str) -> String {
        let file = secret_file(self);
        let keys = match self {
            Self::Twilio | Self::Anybody => {
                return crate::sender::section(name, url, &[crate::sender::TO]);
            }
            Self::Telegram => {
                format!("token-file = \"{file}\"\nto = [\"1001\"]\nbase-url = \"{url}\"")
            }
            Self::Ntfy => {
                format!("token-file = \"{file}\"\ntopic = \"logins\"\nbase-url = \"{url}\"")
            }
            Self::Webhook => format!(
                "token-file = \"{file}\"\nsecret-file = \"{file}\"\nurl = \"{url}/hook\"\n\
                 headers = {{ \"X-Env\" = \"prod\" }}"
            ),
            Self::Slack | Self::Discord => format!("url-file = \"{file}\""),
            Self::Alertmanager => format!("token-file = \"{file}\"\nurls = [\"{url}\"]"),
        };
        let kind = self.name();
        format!("\n[notify.channel.{name}]\ntype = \"{kind}\"\n{keys}\n{more}\n")
    }

    /// Writes the file with the secret: `_bastion` alone can read it.
    pub fn write_secret(self, host: &Host, url: &str) {
        let secret = match self {
            Self::Slack | Self::Discord => format!("{url}{}", self.secret()),
            _ => self.secret().to_owned(),
        };
        host.write(&secret_file(self), secret, 0o600);
        host.sh(&format!("chown _bastion {}", secret_file(self)));
    }

    /// The configuration of a machine with this channel alone, and its secret.
    pub fn configure(self, host: &Host, url: &str, more: &str) {
        self.write_secret(host, url);
        host.write_config(&format!("{LOGIN}{}", self.section(self.name(), url, more)));
    }

    /// Path of the file with the secret inside the machine.
    #[must_use]
    pub fn secret_file(self) -> String {
        secret_file(self)
    }
}
