//! SMS by Twilio's Messages API, version 2010-04-01.
//!
//! There is no idempotency key. So the alert's id stands in the text, and a message of which
//! nobody knows whether it went out is looked for in the account's list before it is sent again.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::http::{self, Answer, Client, Redactor, wrong};
use super::outcome::{Asked, Fault, Followed, Found, Outcome};
use super::secret::Secret;
use super::{Channel, Kick, Limits, Message, Secrets, address};
use crate::config::Section;
use crate::event::AlertId;
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
    /// With an API key, and not with the account's own token.
    signs_with_key: bool,
    base_url: String,
    account_sid: String,
    sender: Sender,
    to: Vec<String>,
    max_segments: usize,
}

/// Who an SMS is from.
enum Sender {
    /// A number, or a name where that is allowed.
    From(String),
    /// A messaging service, which chooses one of its numbers.
    Service(String),
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let sid = |text: &str| parse_sid(text, "AC", "an account SID", "the console's front page");
    let account_sid = section.need("account-sid").parse("account-sid", sid);
    let key = read_key(section, secrets);
    let sender = read_sender(section);
    let mistakes = section.findings();
    let to = section.need("to").parse_list("to", parse_e164);
    if to.as_ref().is_some_and(Vec::is_empty) && section.findings() == mistakes {
        section.reject_section("to is empty; write at least one number");
    }
    let base_url = address::read_base(section, "https://api.twilio.com");
    let max_segments = section.get::<u32>("max-segments").map_or(1, |most| {
        if !(1..=10).contains(&most.value) {
            section.reject("max-segments", &most, "1 to 10; each is paid for");
        }
        usize::try_from(most.value).unwrap_or(1)
    });
    let client = Client::read(section, http::BASE_URL);
    let (account_sid, (user, secret)) = (account_sid?.value, key?);
    Some(Box::new(Twilio {
        signs_with_key: user.is_some(),
        client: client.basic(user.as_deref().unwrap_or(&account_sid), &secret),
        base_url,
        account_sid,
        sender: sender?,
        to: to?.into_iter().map(|to| to.value).collect(),
        max_segments,
    }))
}

/// What requests are signed with: the account's own token, or an API key's SID and secret.
fn read_key(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<(Option<String>, Secret)> {
    let sid = |text: &str| parse_sid(text, "SK", "an API key's SID", "the console, API keys");
    if !section.has("api-key-sid") && !section.has("api-key-secret-file") {
        // Asked for, so that whoever mistypes one of them is told its name.
        let _ = section.parse("api-key-sid", sid);
        let _ = section.get::<String>("api-key-secret-file");
        let token = section.need("auth-token-file").parse("auth-token-file", |f| secrets.read(f));
        return Some((None, token?.value));
    }
    let user = section.need("api-key-sid").parse("api-key-sid", sid);
    let secret =
        section.need("api-key-secret-file").parse("api-key-secret-file", |f| secrets.read(f));
    if let Some(token) = section.get::<String>("auth-token-file") {
        let both = "stands beside an API key; leave one of them out";
        section.reject("auth-token-file", &token, both);
    }
    Some((Some(user?.value), secret?.value))
}

fn read_sender(section: &mut Section<'_, '_>) -> Option<Sender> {
    let sid = |text: &str| parse_sid(text, "MG", "a messaging service's SID", "the console");
    if !section.has("messaging-service-sid") {
        let _ = section.parse("messaging-service-sid", sid);
        let from = section.need("from").parse("from", parse_sender);
        return Some(Sender::From(from?.value));
    }
    let service = section.parse("messaging-service-sid", sid);
    if let Some(from) = section.get::<String>("from") {
        section.reject("from", &from, "stands beside messaging-service-sid; leave one of them out");
    }
    Some(Sender::Service(service?.value))
}

/// A SID: two letters that say of what, and 32 hex digits.
fn parse_sid(text: &str, letters: &str, what: &str, place: &str) -> Result<String, String> {
    if is_sid(text, letters) {
        Ok(text.to_owned())
    } else {
        Err(format!("{what} is {letters} and 32 hex digits; copy it from {place}"))
    }
}

fn is_sid(text: &str, letters: &str) -> bool {
    let hex = text.strip_prefix(letters).unwrap_or_default();
    hex.len() == 32 && hex.bytes().all(|c| c.is_ascii_hexdigit())
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
        let sender = match &self.sender {
            Sender::From(from) => ("From", from.as_str()),
            Sender::Service(sid) => ("MessagingServiceSid", sid.as_str()),
        };
        let form = [("To", message.recipient.as_str()), sender, ("Body", &body)];
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

    fn ask(&mut self) -> Asked {
        let account = format!("{}/2010-04-01/Accounts/{}", self.base_url, self.account_sid);
        // An API key may not read the account, and may read the list of messages; a restricted one not even that.
        match self.signs_with_key {
            true => self.client.ask_what_may_be_refused(
                &format!("{account}/Messages.json?PageSize=1"),
                SIGNED_WITH,
                &[403, 404, 405],
            ),
            false => self.client.ask(&format!("{account}.json"), SIGNED_WITH),
        }
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn find(&mut self, id: AlertId, recipient: &str) -> Found {
        let token = format!("#{id}");
        let path = format!("/2010-04-01/Accounts/{}/Messages.json", self.account_sid);
        let mut url = format!("{}{path}", self.base_url);
        // No DateSent: a queued message has no such date yet.
        let mut query = vec![("To", recipient), ("PageSize", PAGE_SIZE)];
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
            if let Some(sid) = page.find(&token, recipient) {
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

    fn follows(&self) -> bool {
        true
    }

    fn follow(&mut self, id: &str) -> Followed {
        // An id comes from an answer, and goes into a path.
        if !is_sid(id, "SM") && !is_sid(id, "MM") {
            return Followed::Arrived("cannot be followed: its id is no message SID".into());
        }
        let (base, account) = (&self.base_url, &self.account_sid);
        let url = format!("{base}/2010-04-01/Accounts/{account}/Messages/{id}.json");
        match self.client.get(&url, &[], http::MAX_ANSWER) {
            Ok(answer) => judge_fate(&answer),
            Err(outcome) => Followed::NotAsked(outcome),
        }
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
    #[serde(default)]
    error_code: Option<u32>,
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
    if let Some(outcome) = answer.usual(&why) {
        return outcome;
    }
    match (answer.status, refusal.code) {
        (401, _) => wrong(&why, SIGNED_WITH),
        (403, _) => wrong(&why, "what this account may do"),
        (404, _) => wrong(&why, "account-sid and base-url"),
        // The sender's own queue at Twilio is full, and nothing was added to it.
        (400, Some(21611)) => Outcome::Later { why, fault: Fault::RateLimit(answer.retry_after) },
        // With a code of Twilio's it is this message that is wrong.
        (400, Some(code)) => Outcome::Never { why: format!("{why}; {}", remedy(code)) },
        (413 | 422, _) => Outcome::Never { why },
        _ => wrong(&why, "base-url, and what stands between here and Twilio"),
    }
}

/// What may be wrong with a request that Twilio does not believe.
const SIGNED_WITH: &str =
    "account-sid and auth-token-file (or the API key), then restart the sender";

/// What to do about a refusal with this code (twilio.com/docs/api/errors).
fn remedy(code: u32) -> String {
    let words = match code {
        // Bad, of a country that is switched off, not reachable, unsubscribed, not mobile,
        // and on a trial account one that is not verified.
        21211 | 21214 | 21217 | 21408 | 21604 | 21608 | 21610 | 21612 | 21614 => "check to",
        21212 | 21603 | 21606 | 21607 | 21659 | 21660 => "check from",
        21703..=21705 => "check messaging-service-sid",
        _ => return format!("see twilio.com/docs/api/errors/{code}"),
    };
    format!("{words}, and twilio.com/docs/api/errors/{code}")
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

/// What Twilio says has become of a message that it had taken.
#[must_use]
pub fn judge_fate(answer: &Answer) -> Followed {
    let cannot = |why: &str| Followed::Arrived(format!("cannot be followed: {why}"));
    match answer.status {
        200 => {}
        // The key may send and not read, or the record is gone: no later look would say more.
        401 | 403 | 404 => return cannot(&answer.why("")),
        _ => {
            let why = answer.why("");
            return match answer.usual(&why) {
                Some(outcome) => Followed::NotAsked(outcome),
                None => cannot(&why),
            };
        }
    }
    if let Err(error) = &answer.body {
        let why = format!("the answer broke off: {error}");
        return Followed::NotAsked(Outcome::Later { why, fault: Fault::Message });
    }
    let sms: Sms = answer.json().unwrap_or_default();
    let Some(status) = sms.status.as_deref() else {
        return cannot("the answer is none of Twilio's");
    };
    match status {
        "delivered" | "read" => Followed::Arrived(status.to_owned()),
        "queued" | "accepted" | "sending" | "sent" | "scheduled" => {
            Followed::Underway(status.to_owned())
        }
        "failed" | "undelivered" | "canceled" => Followed::Failed {
            why: format!("{status}{}", sms.error_code.map_or(String::new(), in_words)),
            // Twilio's advice on both: the phone or its network may be back in a moment.
            again: matches!(sms.error_code, Some(30003 | 30008)),
        },
        other => cannot(&format!("its status is {:?}", answer.display.shown(other))),
    }
}

/// Twilio's error code of a message (twilio.com/docs/api/errors), with what to do.
fn in_words(code: u32) -> String {
    let words = match code {
        30003 => "the phone is off or has no network",
        30004 => "the number blocks messages",
        30005 => "there is no such number; check to",
        30006 => "a landline, or a network that takes no SMS; check to",
        30007 => "the carrier took it for spam; ask Twilio, or send from another number",
        30008 => "the carrier did not say why",
        30034 => {
            "the number it is from is not registered with US carriers (A2P 10DLC); \
                  register it in Twilio's console"
        }
        _ => return format!(", code {code}"),
    };
    format!(", code {code}: {words}")
}

#[cfg(test)]
mod tests;
