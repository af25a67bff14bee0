//! SMS by Twilio's Messages API, version 2010-04-01.
//!
//! There is no idempotency key. So the alert's id stands in the text, and a message of which
//! nobody knows whether it went out is looked for in the account's list before it is sent again.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::http::{self, Answer, Client, Redactor};
use super::outcome::{Fault, Found, Outcome};
use super::{Channel, Kick, Limits, Message, Secrets};
use crate::config::Section;
use crate::text;

/// Messages on a page of the list, and pages looked through. A doubtful message is seconds old
/// when it is looked for; in that time not even a burst of alerts is longer than this.
const PAGE_SIZE: &str = "100";
const MAX_PAGES: usize = 10;

/// Most of a page that is read, in bytes: a hundred messages at 1.2 KiB, with room.
const MAX_PAGE: u64 = 512 * 1024;

/// Most time that all pages together take, beside the last one.
const LOOK: Duration = Duration::from_secs(20);

/// What may be sent, where the file says nothing else: about the price of a coffee in a day, in
/// which nobody will have read more of them.
pub const LIMITS: Limits = Limits {
    per_hour: Some(12),
    per_day: None,
    segments_per_hour: None,
    segments_per_day: Some(40),
};

/// `type = "twilio"`.
pub struct Twilio {
    client: Client,
    base_url: String,
    account_sid: String,
    from: String,
    to: Vec<String>,
    max_segments: usize,
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let account_sid = section.need("account-sid").parse("account-sid", parse_account_sid);
    let token = section.need("auth-token-file").parse("auth-token-file", |file| secrets.read(file));
    let from = section.need("from").parse("from", parse_sender);
    let mistakes = section.findings();
    let to = section.need("to").parse_list("to", parse_e164);
    if to.as_ref().is_some_and(Vec::is_empty) && section.findings() == mistakes {
        section.reject_section("to is empty; write at least one number");
    }
    let base_url = section
        .parse("base-url", http::parse_base_url)
        .map_or_else(|| "https://api.twilio.com".to_owned(), |url| url.value);
    let max_segments = section.get::<u32>("max-segments").map_or(1, |most| {
        if !(1..=10).contains(&most.value) {
            section.reject("max-segments", &most, "1 to 10; each is paid for");
        }
        usize::try_from(most.value).unwrap_or(1)
    });
    let (account_sid, token) = (account_sid?.value, token?.value);
    Some(Box::new(Twilio {
        client: Client::basic(&account_sid, &token),
        base_url,
        account_sid,
        from: from?.value,
        to: to?.into_iter().map(|to| to.value).collect(),
        max_segments,
    }))
}

fn parse_account_sid(text: &str) -> Result<String, &'static str> {
    let hex = text.strip_prefix("AC").unwrap_or_default();
    if hex.len() == 32 && hex.bytes().all(|c| c.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        Err("an account SID is AC and 32 hex digits; copy it from the console's front page")
    }
}

/// A sender: a number, or an alphanumeric sender id of 1 to 11 characters.
fn parse_sender(text: &str) -> Result<String, String> {
    let name = (1..=11).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b' ')
        && text.bytes().any(|c| c.is_ascii_alphabetic());
    if name { Ok(text.to_owned()) } else { parse_e164(text) }
}

/// A number in the international form of ITU-T E.164: a plus and up to fifteen digits.
fn parse_e164(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    let good = (7..=15).contains(&digits.len())
        && digits.bytes().all(|c| c.is_ascii_digit())
        && !digits.starts_with('0');
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no number in international form; write +15550101, without blanks"))
    }
}

impl Channel for Twilio {
    fn recipients(&self) -> &[String] {
        &self.to
    }

    fn send(&mut self, message: &Message) -> Outcome {
        let body = text::sms(message, self.max_segments);
        let url =
            format!("{}/2010-04-01/Accounts/{}/Messages.json", self.base_url, self.account_sid);
        let form = [("To", message.recipient.as_str()), ("From", &self.from), ("Body", &body)];
        match self.client.post_form(&url, &form) {
            Ok(answer) => judge(&answer),
            Err(outcome) => outcome,
        }
    }

    fn segments(&self, message: &Message) -> u32 {
        let body = text::sms(message, self.max_segments);
        u32::try_from(text::gsm7::segments(&body)).unwrap_or(u32::MAX)
    }

    fn most_segments(&self) -> u32 {
        u32::try_from(self.max_segments).unwrap_or(u32::MAX)
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn find(&mut self, message: &Message) -> Found {
        let token = format!("#{}", message.id());
        let path = format!("/2010-04-01/Accounts/{}/Messages.json", self.account_sid);
        let mut url = format!("{}{path}", self.base_url);
        // No DateSent: a queued message has no such date yet.
        let mut query = vec![("To", message.recipient.as_str()), ("PageSize", PAGE_SIZE)];
        let begun = Instant::now();
        for _ in 0..MAX_PAGES {
            if begun.elapsed() > LOOK {
                let why = "the list of messages takes too long".to_owned();
                return Found::Failed(Outcome::Later { why, fault: Fault::Message });
            }
            let answer = match self.client.get(&url, &query, MAX_PAGE) {
                Ok(answer) => answer,
                Err(outcome) => return Found::Failed(outcome),
            };
            let page = match read_page(&answer) {
                Ok(page) => page,
                Err(found) => return found,
            };
            if let Some(sid) = page.find(&token, &message.recipient) {
                return Found::Yes(answer.display.shown(&sid));
            }
            match page.next_page_uri {
                Some(next) if next.starts_with(&path) => url = format!("{}{next}", self.base_url),
                _ => return Found::No,
            }
            query.clear();
        }
        Found::No
    }
}

/// A message in Twilio's answers, as far as it is needed. Every field may be null: so says
/// Twilio's own description of its API.
#[derive(Debug, Default, Deserialize)]
struct Sms {
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    num_segments: Option<String>,
}

impl Sms {
    /// Whether it is the one with this token, and has not failed to reach its recipient. The
    /// token has to stand at the end, where we put it: a text may quote another's.
    fn is(&self, token: &str, recipient: &str) -> bool {
        let failed = matches!(self.status.as_deref(), Some("failed" | "undelivered" | "canceled"));
        let body = self.body.as_deref().unwrap_or_default();
        self.to.as_deref() == Some(recipient) && !failed && body.trim_end().ends_with(token)
    }
}

/// A page of the list. The messages are read one by one: one that cannot be is not ours.
#[derive(Debug, Deserialize)]
struct Page {
    messages: Vec<serde_json::Value>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

impl Page {
    fn find(&self, token: &str, recipient: &str) -> Option<String> {
        let read = |message: &serde_json::Value| Sms::deserialize(message).ok();
        let found = self.messages.iter().filter_map(read).find(|sms| sms.is(token, recipient))?;
        Some(found.sid.unwrap_or_default())
    }
}

/// Twilio's error body.
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    code: Option<u32>,
    #[serde(default)]
    message: String,
}

fn read_page(answer: &Answer) -> Result<Page, Found> {
    match (answer.status, &answer.body) {
        // A whole answer that is no list: there is none here.
        (200, Ok(body)) => serde_json::from_slice(body).map_err(|_| Found::CannotLook),
        (200, Err(error)) => {
            let why = format!("the list of messages broke off: {error}");
            Err(Found::Failed(Outcome::Later { why, fault: Fault::Message }))
        }
        (429 | 500.., _) => Err(Found::Failed(judge(answer))),
        // The key may send and not read, or there is no list at all. If it may not send
        // either, the next try says so.
        _ => Err(Found::CannotLook),
    }
}

/// What Twilio's answer to a request means. By the HTTP status, as Twilio advises; of the
/// error codes only those that say something else than their status.
#[must_use]
pub fn judge(answer: &Answer) -> Outcome {
    let body = answer.body.as_deref().unwrap_or_default();
    if answer.status == 201 {
        return accepted(body, &answer.display);
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let code = refusal.code.map_or(String::new(), |code| format!(", code {code}"));
    let said = match refusal.message.as_str() {
        "" => String::new(),
        message => format!(": {}", answer.display.shown(message)),
    };
    let why = format!("HTTP {}{code}{said}", answer.status);
    let check = |what: &str| Outcome::Config { why: format!("{why}; check {what}") };
    match (answer.status, refusal.code) {
        (401, _) => check("account-sid and auth-token-file, then restart the sender"),
        (403, _) => check("what this account may do"),
        (404, _) => check("account-sid and base-url"),
        // A 429 was never processed. 21611: the sender's own queue at Twilio is full.
        (429, _) | (400, Some(21611)) => {
            Outcome::Later { why, fault: Fault::RateLimit(answer.retry_after) }
        }
        (408 | 425 | 500.., _) => match answer.retry_after {
            Some(wait) => Outcome::doubtful(why, Fault::RateLimit(Some(wait))),
            None => Outcome::doubtful(why, Fault::Message),
        },
        // With a code of Twilio's it is this message that is wrong.
        (400, Some(_)) | (413 | 422, _) => Outcome::Never { why },
        _ => check("base-url, and what stands between here and Twilio"),
    }
}

fn accepted(body: &[u8], display: &Redactor) -> Outcome {
    let sms: Sms = serde_json::from_slice(body).unwrap_or_default();
    let Some(sid) = sms.sid.as_deref().map(|sid| display.shown(sid)) else {
        return Outcome::Doubtful {
            why: "HTTP 201, with an answer that cannot be read".into(),
            fault: Fault::Message,
            accepted: true,
        };
    };
    let status = display.shown(sms.status.as_deref().unwrap_or("accepted"));
    let segments = sms.num_segments.as_deref().filter(|n| *n != "0");
    let segments = segments.map_or(String::new(), |n| format!(", {} segment(s)", display.shown(n)));
    Outcome::Delivered { answer: format!("{status} as {sid}{segments}"), id: Some(sid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str, retry_after: Option<u64>) -> Answer {
        let retry_after = retry_after.map(Duration::from_secs);
        Answer { status, retry_after, body: Ok(body.into()), display: Redactor::default() }
    }

    #[test]
    fn each_answer_has_its_class() {
        let error =
            |code: u32, message: &str| format!(r#"{{"code":{code},"message":"{message}"}}"#);
        let table = [
            (201, r#"{"sid":"SM1","status":"queued","num_segments":"1"}"#.to_owned(), "delivered"),
            (201, "<html>".into(), "doubtful"),
            (200, "<html>log in to the hotel</html>".into(), "config"),
            (302, String::new(), "config"),
            (400, error(21211, "Invalid 'To'"), "never"),
            (400, error(21611, "queue full"), "rate"),
            (400, "garbage".into(), "config"),
            (407, String::new(), "config"),
            (410, String::new(), "config"),
            (422, String::new(), "never"),
            (401, error(20003, "Authenticate"), "config"),
            (403, String::new(), "config"),
            (404, error(20404, "not found"), "config"),
            (413, String::new(), "never"),
            (429, error(20429, "Too Many Requests"), "rate"),
            (201, r#"{"sid":"SM1","status":null,"to":null,"body":null}"#.into(), "delivered"),
            (201, r#"{"sid":null}"#.into(), "doubtful"),
            (500, error(20500, "oops"), "doubtful"),
            (503, String::new(), "doubtful"),
        ];
        for (status, body, want) in table {
            let got = match judge(&answer(status, &body, Some(3))) {
                Outcome::Delivered { id, .. } => {
                    assert_eq!(id.as_deref(), Some("SM1"));
                    "delivered"
                }
                Outcome::Later { fault: Fault::RateLimit(wait), .. } => {
                    assert_eq!(wait, Some(Duration::from_secs(3)));
                    "rate"
                }
                Outcome::Later { .. } => "later",
                Outcome::Doubtful { .. } => "doubtful",
                Outcome::Config { .. } => "config",
                Outcome::Never { .. } => "never",
            };
            assert_eq!(got, want, "{status} {body}");
        }
    }

    #[test]
    fn a_providers_text_is_shown_on_one_line() {
        let hostile = answer(400, r#"{"code":21211,"message":"a\nb\u001b[2J"}"#, None);
        assert_eq!(judge(&hostile).to_string(), "HTTP 400, code 21211: a\\x0ab\\x1b[2J");
    }

    #[test]
    fn numbers_are_international_and_nothing_else() {
        for good in ["+15550101", "+491701234567", "+447700900123"] {
            assert!(parse_e164(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "15550101",
            "+0170123456",
            "+1 555 0101",
            "+1555",
            "+1234567890123456",
            "+1555010a",
        ] {
            assert!(parse_e164(bad).is_err(), "{bad}");
        }
        assert!(parse_sender("Bastion").is_ok() && parse_sender("TwelveLetters").is_err());
    }

    #[test]
    fn a_failed_message_in_the_list_does_not_count() {
        let sms = |status: &str| Sms {
            sid: Some("SM1".into()),
            status: Some(status.into()),
            body: Some("login alice #k7f3q2".into()),
            to: Some("+15550101".into()),
            num_segments: None,
        };
        assert!(sms("queued").is("#k7f3q2", "+15550101"));
        assert!(!sms("failed").is("#k7f3q2", "+15550101"));
        assert!(!sms("queued").is("#k7f3q2", "+15550102"));
        assert!(!sms("queued").is("#aaaaaa", "+15550101"));
        let quoting = Sms { body: Some("note: #k7f3q2 is late #aaaaaa".into()), ..sms("queued") };
        assert!(!quoting.is("#k7f3q2", "+15550101"));
    }

    #[test]
    fn nulls_in_the_list_hide_nothing() {
        let page = r##"{"messages":[{"sid":null,"body":null,"to":null},7,
            {"sid":"SM2","status":"sent","to":"+15550101","body":"x #k7f3q2"}]}"##;
        let page = read_page(&answer(200, page, None)).unwrap();
        assert_eq!(page.find("#k7f3q2", "+15550101").as_deref(), Some("SM2"));
    }
}
