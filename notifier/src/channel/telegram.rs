//! Telegram, by the Bot API's `sendMessage`.
//!
//! The text is sent without a parse mode, so that nothing in it is markup. The bot's token stands
//! in the URL, which is therefore never shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::http::{self, Answer, Client, wrong};
use super::outcome::{Asked, Fault, Outcome};
use super::secret::Secret;
use super::{Channel, Kick, Message, Secrets, address, chat};
use crate::config::Section;
use crate::event::Severity;

/// Longest text, in UTF-16 code units: that is how Telegram counts.
const MAX_TEXT: usize = 4096;

/// `type = "telegram"`.
pub struct Telegram {
    client: Client,
    base_url: String,
    token: Secret,
    to: Vec<String>,
    silent_info: bool,
    /// Groups that have become supergroups, with their new ids, since the start.
    moved: BTreeMap<String, String>,
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let token =
        section.need("token-file").parse("token-file", |file| parse_token(secrets.read(file)?));
    let found = section.findings();
    let to = section.need("to").parse_list("to", parse_chat);
    if to.as_ref().is_some_and(Vec::is_empty) && section.findings() == found {
        section.reject_section("to is empty; write at least one chat");
    }
    let base_url = address::read_base(section, "https://api.telegram.org");
    let silent_info = section.get_or("silent-info", false);
    let client = Client::read(section, http::BASE_URL);
    let token = token?.value;
    // The number before the colon is the bot's id, which anybody may know.
    let own = token.expose().split_once(':').map_or("", |(_, own)| own).to_owned();
    Some(Box::new(Telegram {
        client: client.hiding(&[token.clone(), Secret::new(own)]),
        base_url,
        token,
        to: to?.into_iter().map(|to| to.value).collect(),
        silent_info,
        moved: BTreeMap::new(),
    }))
}

/// A token as the BotFather gives it: the bot's number, a colon, and letters that need no
/// encoding in a URL.
fn parse_token(token: Secret) -> Result<Secret, String> {
    let (id, own) = token.expose().split_once(':').unwrap_or_default();
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    if !id.is_empty()
        && id.bytes().all(|c| c.is_ascii_digit())
        && own.len() > 1
        && own.bytes().all(good)
    {
        return Ok(token);
    }
    Err("that file holds no bot token; it is 123456:ABC-.., as the BotFather gives it".into())
}

/// A chat: its number, which is negative for a group, or a channel's @name.
fn parse_chat(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = (1..=16).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit());
    let name = text.strip_prefix('@').is_some_and(|name| {
        name.len() > 3 && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    });
    if number || name {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no chat; write its number, as \"123456\" or \"-100123\", or \"@channel\""
    ))
}

impl Channel for Telegram {
    fn recipients(&self) -> &[String] {
        &self.to
    }

    fn ask(&mut self) -> Asked {
        let url = format!("{}/bot{}/getMe", self.base_url, self.token.expose());
        self.client.ask(&url, "token-file, then restart the sender")
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn send(&mut self, message: &Message) -> Outcome {
        let url = format!("{}/bot{}/sendMessage", self.base_url, self.token.expose());
        let chat = self.moved.get(&message.recipient).unwrap_or(&message.recipient);
        let silent = self.silent_info && message.severity() == Severity::Info;
        let request = request(message, chat, silent);
        let answer = match self.client.post_json(&url, &[], request.as_bytes()) {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        if let Some(new) = moved_to(&answer) {
            self.moved.insert(message.recipient.clone(), new);
        }
        judge(&answer)
    }
}

fn request(message: &Message, chat: &str, silent: bool) -> String {
    let text = chat::fit(&chat::whole_text(message), MAX_TEXT, char::len_utf16);
    let mut request = json!({
        "chat_id": chat,
        "text": text,
        // Telegram would fetch an address in the text, which may be a stranger's.
        "link_preview_options": { "is_disabled": true },
    });
    if silent {
        request["disable_notification"] = true.into();
    }
    request.to_string()
}

/// Telegram's answer, good or bad.
#[derive(Debug, Default, Deserialize)]
struct Reply {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    result: Option<Sent>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
struct Sent {
    #[serde(default)]
    message_id: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    retry_after: Option<u64>,
    #[serde(default)]
    migrate_to_chat_id: Option<i64>,
}

fn moved_to(answer: &Answer) -> Option<String> {
    let reply: Reply = answer.json()?;
    Some(reply.parameters?.migrate_to_chat_id?.to_string())
}

/// What Telegram's answer means.
#[must_use]
pub fn judge(answer: &Answer) -> Outcome {
    let reply: Option<Reply> = answer.json();
    let is_telegram = reply.as_ref().is_some_and(|reply| reply.ok || reply.description.is_some());
    let reply = reply.unwrap_or_default();
    if answer.status == 200 && reply.ok {
        let id = reply.result.and_then(|sent| sent.message_id).map(|id| id.to_string());
        let answer = format!("taken as message {}", id.as_deref().unwrap_or("?"));
        return Outcome::Delivered { id, answer };
    }
    let description = reply.description.unwrap_or_default();
    let why = answer.why(&description);
    let parameters = reply.parameters.unwrap_or_default();
    let asked = parameters.retry_after.map(Duration::from_secs).or(answer.retry_after);
    if let Some(outcome) = answer.usual_after(&why, asked.map(|t| t.min(http::MAX_RETRY_AFTER))) {
        return outcome;
    }
    match (answer.status, parameters.migrate_to_chat_id) {
        (200, _) => answer.unreadable_yes(http::BASE_URL),
        (400, Some(new)) => Outcome::Later {
            why: format!("{why}; the group is now {new}: write that into to"),
            fault: Fault::Message,
        },
        // Of the recipients one may be wrong: the others still get theirs.
        (400, None) if description.contains("chat not found") => Outcome::Never {
            why: format!("{why}; check to, and write to the bot once from that chat: /start"),
        },
        (400, None) if is_telegram => Outcome::Never { why },
        // Telegram says 404 to a token that is none.
        (401 | 404, _) => wrong(&why, "token-file and base-url, then restart the sender"),
        (403, _) if is_telegram => Outcome::Never {
            why: format!("{why}; let that chat unblock the bot, or take it back in"),
        },
        (413, _) => Outcome::Never { why },
        _ => wrong(&why, "base-url, and what stands between here and Telegram"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::tests::{hostile, login, note};
    use crate::channel::http::tests::{answer, class};

    #[test]
    fn each_answer_has_its_class() {
        let error = |text: &str| format!(r#"{{"ok":false,"error_code":1,"description":"{text}"}}"#);
        let with = |parameters: &str| {
            format!(r#"{{"ok":false,"description":"d","parameters":{{{parameters}}}}}"#)
        };
        let table = [
            (200, r#"{"ok":true,"result":{"message_id":7}}"#.to_owned(), "delivered"),
            (200, r#"{"ok":true}"#.into(), "delivered"),
            (200, "<html>log in to the hotel</html>".into(), "config"),
            (302, String::new(), "config"),
            (400, error("Bad Request: chat not found"), "never"),
            (400, error("Bad Request: message is too long"), "never"),
            (400, with(r#""migrate_to_chat_id":-1001"#), "later"),
            (400, "garbage".into(), "config"),
            (401, error("Unauthorized"), "config"),
            (404, error("Not Found"), "config"),
            (403, error("Forbidden: bot was blocked by the user"), "never"),
            (403, "<html>proxy</html>".into(), "config"),
            (413, String::new(), "never"),
            (429, with(r#""retry_after":7"#), "rate"),
            (500, error("Internal"), "doubtful"),
            (502, "<html>".into(), "doubtful"),
        ];
        for (status, body, want) in table {
            assert_eq!(class(&judge(&answer(status, &body, None))), want, "{status} {body}");
        }
    }

    #[test]
    fn what_to_do_is_said() {
        let said = |status, body: &str| judge(&answer(status, body, None)).to_string();
        let moved = r#"{"ok":false,"description":"d","parameters":{"migrate_to_chat_id":-1001}}"#;
        assert!(said(400, moved).contains("-1001: write that into to"));
        let lost = r#"{"ok":false,"description":"Bad Request: chat not found"}"#;
        assert!(said(400, lost).contains("/start"));
        assert!(said(401, "").contains("token-file"));
        let wait = |body: &str| match judge(&answer(429, body, Some(1))) {
            Outcome::Later { fault: Fault::RateLimit(wait), .. } => wait.map(|w| w.as_secs()),
            _ => None,
        };
        let asked =
            |s: &str| format!(r#"{{"description":"d","parameters":{{"retry_after":{s}}}}}"#);
        assert_eq!([&asked("7"), "{}"].map(wait), [Some(7), Some(1)]);
        assert_eq!(wait(&asked("999999999")), Some(86_400));
    }

    #[test]
    fn a_broken_yes_is_believed_by_the_sender() {
        let broken = Answer { body: Err("cut off".into()), ..answer(200, "", None) };
        assert_eq!(class(&judge(&broken)), "accepted");
    }

    #[test]
    fn a_request_is_plain_text_that_fits_whatever_it_holds() {
        for message in hostile() {
            let request: serde_json::Value =
                serde_json::from_str(&request(&message, "-5", true)).unwrap();
            let text = request["text"].as_str().unwrap();
            assert!(text.encode_utf16().count() <= MAX_TEXT && text.contains("#k7f3q2"));
            assert_eq!(request.get("parse_mode"), None);
            assert_eq!(request["chat_id"], "-5");
        }
        let loud: serde_json::Value =
            serde_json::from_str(&request(&login("alice"), "1", false)).unwrap();
        assert_eq!(loud.get("disable_notification"), None);
        assert!(loud["text"].as_str().unwrap().starts_with("jump: login alice from 203.0.113.9"));
    }

    #[test]
    fn tokens_and_chats_are_what_telegram_gives() {
        for good in ["123456:AAF-x_1", "1:aa"] {
            assert!(parse_token(Secret::new(good.into())).is_ok(), "{good}");
        }
        for bad in ["", "123456", "a:AAA", "123:A/../B", "123:A B", "https://t.me/hunter2", "123:"]
        {
            let error = parse_token(Secret::new(bad.into())).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for good in ["123", "-1001234567890", "@alerts"] {
            assert!(parse_chat(good).is_ok(), "{good}");
        }
        for bad in ["", "-", "12a", "alerts", "@", "@a b", "--1"] {
            assert!(parse_chat(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_token_in_the_url_is_in_no_outcome() {
        let token = Secret::new("123:hunter2hunter2".into());
        let own = Secret::new("hunter2hunter2".into());
        let closed = "http://127.0.0.1:9".to_owned();
        for base_url in [closed, "http://no such host".into(), "http://[::1".into(), String::new()]
        {
            let mut telegram = Telegram {
                client: crate::channel::http::tests::client().hiding(&[token.clone(), own.clone()]),
                base_url: base_url.clone(),
                token: token.clone(),
                to: vec!["1".into()],
                silent_info: false,
                moved: BTreeMap::new(),
            };
            let outcome = telegram.send(&note("x"));
            let told = format!("{outcome} {outcome:?}");
            assert!(!told.contains("hunter2"), "{base_url}: {told}");
        }
    }
}
