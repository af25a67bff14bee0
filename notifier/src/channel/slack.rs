//! Slack, by an incoming webhook. Its address is the secret: who knows it may write.

use serde_json::json;

use super::address::SecretUrl;
use super::http::{Answer, Client, wrong};
use super::outcome::{Asked, Outcome};
use super::{Channel, Kick, Message, Secrets, chat};
use crate::config::Section;

/// Longest text, in characters as they are sent: Slack's advice, above which it may cut.
const MAX_TEXT: usize = 4000;

/// `type = "slack"`.
pub struct Slack {
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
    Some(Box::new(Slack { client, host: [url.host.clone()], url }))
}

impl Channel for Slack {
    fn recipients(&self) -> &[String] {
        &self.host
    }

    fn ask(&mut self) -> Asked {
        self.client.reach(self.url.url.expose())
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn send(&mut self, message: &Message) -> Outcome {
        match self.client.post_json(self.url.url.expose(), &[], request(message).as_bytes()) {
            Ok(answer) => judge(&answer),
            Err(outcome) => outcome,
        }
    }
}

fn request(message: &Message) -> String {
    let text = chat::fit(&chat::whole_text(message), MAX_TEXT, |c| escaped(c).map_or(1, str::len));
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match escaped(c) {
            Some(escaped) => safe.push_str(escaped),
            None => safe.push(c),
        }
    }
    // Nothing in the text is markup, and no address in it is fetched.
    json!({ "text": safe, "mrkdwn": false, "unfurl_links": false, "unfurl_media": false })
        .to_string()
}

/// Slack's three control characters: mentions and links stand between `<` and `>`.
fn escaped(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    }
}

/// What Slack's answer means. Its words are a plain text: `ok`, `invalid_payload`.
#[must_use]
pub fn judge(answer: &Answer) -> Outcome {
    let body = answer.body.as_deref().unwrap_or_default();
    let said = String::from_utf8_lossy(body);
    let said = said.trim();
    if answer.status == 200 && said == "ok" {
        return Outcome::Delivered { id: None, answer: "taken".into() };
    }
    let word = said.bytes().all(|c| c.is_ascii_lowercase() || c == b'_') && !said.is_empty();
    let why = answer.why(if word { said } else { "" });
    if let Some(outcome) = answer.usual(&why) {
        return outcome;
    }
    match answer.status {
        200 => answer.unreadable_yes("url-file"),
        400 | 413 if word => Outcome::Never { why },
        // action_prohibited, no_service, no_team, channel_is_archived, channel_not_found.
        401 | 403 | 404 | 410 => {
            wrong(&why, "url-file, and the webhook in Slack, then restart the sender")
        }
        _ => wrong(&why, "url-file, and what stands between here and Slack"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::tests::{hostile, note};
    use crate::channel::http::tests::{answer, class};

    #[test]
    fn each_answer_has_its_class() {
        let table = [
            (200, "ok", "delivered"),
            (200, "ok\n", "delivered"),
            (200, "<html>log in</html>", "config"),
            (200, "", "config"),
            (302, "", "config"),
            (400, "invalid_payload", "never"),
            (400, "<html>bad</html>", "config"),
            (403, "action_prohibited", "config"),
            (404, "no_service", "config"),
            (410, "channel_is_archived", "config"),
            (413, "payload_too_large", "never"),
            (429, "rate_limited", "rate"),
            (500, "rollup_error", "doubtful"),
            (503, "<html>", "doubtful"),
        ];
        for (status, body, want) in table {
            assert_eq!(class(&judge(&answer(status, body, None))), want, "{status} {body}");
        }
        let broken = Answer { body: Err("cut off".into()), ..answer(200, "", None) };
        assert_eq!(class(&judge(&broken)), "accepted");
    }

    #[test]
    fn no_text_can_mention_anybody_or_format_anything() {
        for message in hostile() {
            let request: serde_json::Value = serde_json::from_str(&request(&message)).unwrap();
            let text = request["text"].as_str().unwrap();
            assert!(!text.contains(['<', '>']), "{text}");
            assert!(text.chars().count() <= MAX_TEXT);
            assert_eq!(request["mrkdwn"], false);
            let entities = text.matches('&').count();
            let known: usize =
                ["&amp;", "&lt;", "&gt;"].iter().map(|e| text.matches(e).count()).sum();
            assert_eq!(entities, known, "{text}");
        }
        assert!(request(&note("<!channel>")).contains("&lt;!channel&gt;"));
    }
}
