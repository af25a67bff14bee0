//! Discord, by a webhook of a channel. Its address is the secret: who knows it may write.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::address::SecretUrl;
use super::http::{self, Answer, Client, wrong};
use super::outcome::{Asked, Outcome};
use super::{Channel, Kick, Message, Secrets, chat};
use crate::config::Section;

/// Longest content. Whether Discord counts characters or UTF-16 code units, this fits.
const MAX_CONTENT: usize = 2000;

/// What the text stands between. In a code block nothing is markup but its end.
const OPEN: &str = "```\n";
const CLOSE: &str = "\n```";

/// `SUPPRESS_EMBEDS`: no address in the text is fetched and shown.
const NO_PREVIEW: u32 = 1 << 2;

/// `type = "discord"`.
pub struct Discord {
    client: Client,
    url: SecretUrl,
    host: [String; 1],
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let url = SecretUrl::read(section, secrets);
    let client = Client::read(section, "url-file");
    let url = url?;
    let client = client.hiding(&url.secrets());
    Some(Box::new(Discord { client, host: [url.host.clone()], url }))
}

impl Channel for Discord {
    fn recipients(&self) -> &[String] {
        &self.host
    }

    fn ask(&mut self) -> Asked {
        // "Get Webhook with Token".
        self.client.ask(
            self.url.url.expose(),
            "url-file, and the webhook in Discord, then restart the sender",
        )
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn send(&mut self, message: &Message) -> Outcome {
        // Without `wait`, Discord says yes before it has kept the message.
        let url = self.url.with("wait=true");
        match self.client.post_json(&url, &[], request(message).as_bytes()) {
            Ok(answer) => judge(&answer),
            Err(outcome) => outcome,
        }
    }
}

fn request(message: &Message) -> String {
    let text = chat::whole_text(message).replace('`', "'");
    let room = MAX_CONTENT - OPEN.len() - CLOSE.len();
    let content = format!("{OPEN}{}{CLOSE}", chat::fit(&text, room, char::len_utf16));
    json!({ "content": content, "allowed_mentions": { "parse": [] }, "flags": NO_PREVIEW })
        .to_string()
}

/// Discord's answer: the message it has made, or what is wrong.
#[derive(Debug, Default, Deserialize)]
struct Reply {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    code: Option<u32>,
    #[serde(default)]
    message: Option<String>,
    /// In seconds, with a fraction.
    #[serde(default)]
    retry_after: Option<f64>,
}

/// What Discord's answer means.
#[must_use]
pub fn judge(answer: &Answer) -> Outcome {
    let reply: Reply = answer.json().unwrap_or_default();
    let id = reply.id.as_deref().map(|id| answer.display.shown(id));
    match (answer.status, id) {
        (204, _) => return Outcome::Delivered { id: None, answer: "taken".into() },
        (200, Some(id)) => {
            return Outcome::Delivered { answer: format!("taken as {id}"), id: Some(id) };
        }
        _ => {}
    }
    let code = reply.code.map_or(String::new(), |code| format!("code {code}, "));
    let why = match reply.message.as_deref() {
        Some(message) => answer.why(&format!("{code}{message}")),
        None => answer.why(""),
    };
    let asked = reply.retry_after.and_then(seconds).or(answer.retry_after);
    if let Some(outcome) = answer.usual_after(&why, asked) {
        return outcome;
    }
    match answer.status {
        200 => answer.unreadable_yes("url-file"),
        400 | 413 if reply.code.is_some() || answer.status == 413 => Outcome::Never { why },
        401 | 403 | 404 => {
            wrong(&why, "url-file, and the webhook in Discord, then restart the sender")
        }
        _ => wrong(&why, "url-file, and what stands between here and Discord"),
    }
}

/// Seconds with a fraction as a wait of at most a day; `None` for what is none.
fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(http::MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::tests::{hostile, note};
    use crate::channel::http::tests::{answer, class};
    use crate::channel::outcome::Fault;

    #[test]
    fn each_answer_has_its_class() {
        let error = |code: u32| format!(r#"{{"message":"m","code":{code}}}"#);
        let table = [
            (204, String::new(), "delivered"),
            (200, r#"{"id":"123","content":"x"}"#.into(), "delivered"),
            (200, "<html>".into(), "config"),
            (302, String::new(), "config"),
            (400, error(50035), "never"),
            (400, "garbage".into(), "config"),
            (401, error(50027), "config"),
            (403, "<html>".into(), "config"),
            (404, error(10015), "config"),
            (413, String::new(), "never"),
            (429, r#"{"message":"m","retry_after":0.5,"global":false}"#.into(), "rate"),
            (500, String::new(), "doubtful"),
            (502, error(0), "doubtful"),
        ];
        for (status, body, want) in table {
            assert_eq!(class(&judge(&answer(status, &body, None))), want, "{status} {body}");
        }
        let broken = Answer { body: Err("cut off".into()), ..answer(200, "", None) };
        assert_eq!(class(&judge(&broken)), "accepted");
    }

    #[test]
    fn a_wait_has_a_fraction_and_a_ceiling() {
        let wait = |text: &str| match judge(&answer(429, text, Some(9))) {
            Outcome::Later { fault: Fault::RateLimit(wait), .. } => wait.map(|w| w.as_millis()),
            _ => None,
        };
        let table = [
            (r#"{"retry_after":1.5}"#, Some(1500)),
            (r#"{"retry_after":2}"#, Some(2000)),
            (r#"{"retry_after":1e300}"#, Some(9000)),
            (r#"{"retry_after":99999999}"#, Some(86_400_000)),
            (r#"{"retry_after":-1}"#, Some(9000)),
            ("{}", Some(9000)),
        ];
        for (text, want) in table {
            assert_eq!(wait(text), want, "{text}");
        }
    }

    #[test]
    fn nothing_breaks_out_of_the_code_block() {
        for message in hostile() {
            let request: serde_json::Value = serde_json::from_str(&request(&message)).unwrap();
            let content = request["content"].as_str().unwrap();
            assert!(content.encode_utf16().count() <= MAX_CONTENT);
            let inner = content.strip_prefix(OPEN).and_then(|c| c.strip_suffix(CLOSE)).unwrap();
            assert!(!inner.contains('`'), "{inner}");
            assert_eq!(request["allowed_mentions"], json!({ "parse": [] }));
            assert_eq!(request["flags"], 4);
        }
        assert!(request(&note("a ``` b")).contains("a ''' b"));
    }
}
