//! ntfy (ntfy.sh, or a server of one's own), by its JSON API: headers would not take all characters.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use super::http::{self, Answer, Client, wrong};
use super::outcome::{Asked, Outcome};
use super::{Channel, Kick, Message, Secrets, address, chat};
use crate::config::Section;
use crate::event::Severity;
use crate::text;

/// Longest text, in bytes: a longer one becomes a file that is attached.
const MAX_MESSAGE: usize = 4096;

/// Longest title, in bytes. ntfy names no limit of its own; a phone shows less.
const MAX_TITLE: usize = 512;

/// ntfy's code for a used up quota of messages, which is a day's.
const DAILY_QUOTA: u32 = 42908;

/// ntfy's codes for a topic that no message will ever get to.
const BAD_TOPIC: [u32; 2] = [40009, 40010];

/// `type = "ntfy"`.
pub struct Ntfy {
    client: Client,
    /// With a token.
    signs: bool,
    base_url: String,
    topic: [String; 1],
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let topic = section.need("topic").parse("topic", parse_topic);
    let found = section.findings();
    let token = section.parse("token-file", |file| secrets.read(file));
    let base_url = address::read_base(section, "https://ntfy.sh");
    let client = Client::read(section, http::BASE_URL);
    if section.findings() > found {
        return None;
    }
    let signs = token.is_some();
    let client = match token {
        Some(token) => client.bearer(&token.value),
        None => client,
    };
    Some(Box::new(Ntfy { client, signs, base_url, topic: [topic?.value] }))
}

/// A topic as ntfy takes it: 1 to 64 letters, digits, `_` and `-`.
fn parse_topic(text: &str) -> Result<String, &'static str> {
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err("a topic is 1 to 64 letters, digits, _ and -; the server goes into base-url")
    }
}

impl Channel for Ntfy {
    fn recipients(&self) -> &[String] {
        &self.topic
    }

    fn ask(&mut self) -> Asked {
        // Who shows a token is told whether it is known; anybody else, whether the server is well.
        let keys = "token-file and base-url, then restart the sender";
        match self.signs {
            true => self.client.ask(&format!("{}/v1/account", self.base_url), keys),
            false => self.client.ask_as_anybody(&format!("{}/v1/health", self.base_url), keys),
        }
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn send(&mut self, message: &Message) -> Outcome {
        let url = format!("{}/", self.base_url);
        let request = request(message, &self.topic[0]);
        match self.client.post_json(&url, &[], request.as_bytes()) {
            Ok(answer) => judge(&answer, SystemTime::now()),
            Err(outcome) => outcome,
        }
    }
}

fn request(message: &Message, topic: &str) -> String {
    // 3 is the priority of who asks for none; the tags become symbols before the title.
    let (priority, tag) = match message.severity() {
        Severity::Critical => (5, "rotating_light"),
        Severity::Warning => (4, "warning"),
        Severity::Info => (3, "information_source"),
    };
    let title = chat::fit(&text::subject(message), MAX_TITLE, char::len_utf8);
    let body = chat::fit(text::body(message).trim_end(), MAX_MESSAGE, char::len_utf8);
    json!({
        "topic": topic, "title": title, "message": body, "priority": priority, "tags": [tag],
    })
    .to_string()
}

/// ntfy's answer: the message it has made, or what is wrong.
#[derive(Debug, Default, Deserialize)]
struct Reply {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    code: Option<u32>,
    #[serde(default)]
    error: Option<String>,
}

/// What ntfy's answer means, `now` being the time of day.
#[must_use]
pub fn judge(answer: &Answer, now: SystemTime) -> Outcome {
    let reply: Reply = answer.json().unwrap_or_default();
    if let (200, Some(id)) = (answer.status, &reply.id) {
        let id = answer.display.shown(id);
        return Outcome::Delivered { answer: format!("taken as {id}"), id: Some(id) };
    }
    let code = reply.code.map_or(String::new(), |code| format!("code {code}, "));
    let why = match reply.error.as_deref() {
        Some(error) => answer.why(&format!("{code}{error}")),
        None => answer.why(""),
    };
    let asked = if reply.code == Some(DAILY_QUOTA) {
        Some(until_tomorrow(now))
    } else {
        answer.retry_after
    };
    if let Some(outcome) = answer.usual_after(&why, asked) {
        return outcome;
    }
    match (answer.status, reply.code) {
        (200, _) => answer.unreadable_yes(http::BASE_URL),
        (400, Some(code)) if BAD_TOPIC.contains(&code) => wrong(&why, "topic"),
        (400, Some(_)) | (413, _) => Outcome::Never { why },
        (401 | 403, _) => {
            wrong(&why, "token-file and who may write to the topic, then restart the sender")
        }
        _ => wrong(&why, "base-url, and what stands between here and ntfy"),
    }
}

/// To the next midnight in UTC, which is when ntfy counts from zero again.
fn until_tomorrow(now: SystemTime) -> Duration {
    const DAY: u64 = 86_400;
    let unix_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Duration::from_secs(DAY - unix_s % DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::tests::{hostile, login, note};
    use crate::channel::http::tests::{answer, class};
    use crate::channel::outcome::Fault;

    #[test]
    fn each_answer_has_its_class() {
        let error = |code: u32| format!(r#"{{"code":{code},"http":1,"error":"e","link":"l"}}"#);
        let table = [
            (200, r#"{"id":"a1","time":1,"event":"message","topic":"t"}"#.to_owned(), "delivered"),
            (200, "<html>".into(), "config"),
            (200, "{}".into(), "config"),
            (302, String::new(), "config"),
            (400, error(40024), "never"),
            (400, error(40009), "config"),
            (400, "garbage".into(), "config"),
            (401, error(40101), "config"),
            (403, error(40301), "config"),
            (404, error(40401), "config"),
            (413, error(41301), "never"),
            (429, error(42901), "rate"),
            (429, error(42908), "rate"),
            (500, error(50001), "doubtful"),
            (507, error(50701), "doubtful"),
        ];
        for (status, body, want) in table {
            let outcome = judge(&answer(status, &body, None), UNIX_EPOCH);
            assert_eq!(class(&outcome), want, "{status} {body}");
        }
    }

    #[test]
    fn a_used_up_day_waits_for_the_next_and_a_burst_does_not() {
        let at = |s| UNIX_EPOCH + Duration::from_secs(s);
        let wait = |code: u32, now| match judge(
            &answer(429, &format!(r#"{{"code":{code},"error":"e"}}"#), Some(5)),
            now,
        ) {
            Outcome::Later { fault: Fault::RateLimit(wait), .. } => wait.map(|w| w.as_secs()),
            _ => None,
        };
        let noon = 1_795_305_600 + 43_200;
        let table = [(42908, noon, 43_200), (42908, noon + 43_199, 1), (42901, noon, 5)];
        for (code, now, want) in table {
            assert_eq!(wait(code, at(now)), Some(want), "{code} {now}");
        }
    }

    #[test]
    fn a_request_never_becomes_an_attachment() {
        for message in hostile() {
            let request: serde_json::Value =
                serde_json::from_str(&request(&message, "alerts")).unwrap();
            assert!(request["message"].as_str().unwrap().len() <= MAX_MESSAGE);
            assert!(request["title"].as_str().unwrap().len() <= MAX_TITLE);
            assert!(!request["title"].as_str().unwrap().contains(char::is_control));
            assert_eq!(request["topic"], "alerts");
            assert_eq!(request.as_object().unwrap().len(), 5, "no actions, no click, no attach");
        }
    }

    #[test]
    fn how_urgent_it_is_becomes_a_priority() {
        for (severity, want) in
            [(Severity::Info, 3), (Severity::Warning, 4), (Severity::Critical, 5)]
        {
            let mut message = note("x");
            message.event.severity = severity;
            let request: serde_json::Value = serde_json::from_str(&request(&message, "t")).unwrap();
            assert_eq!(request["priority"], want);
        }
        let request: serde_json::Value = serde_json::from_str(&request(&login("a"), "t")).unwrap();
        assert_eq!(request["tags"], json!(["warning"]));
    }

    #[test]
    fn a_topic_is_no_address() {
        for good in ["alerts", "a", "A_b-9"] {
            assert!(parse_topic(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "https://ntfy.sh/a", "a b", &"a".repeat(65)] {
            assert!(parse_topic(bad).is_err(), "{bad}");
        }
    }
}
