//! Prometheus' Alertmanager, by its API v2.
//!
//! The members of a cluster tell each other what they have notified of, and not which alerts they
//! have: so every alert goes to every member, as Prometheus does it, and has arrived when one has
//! taken it. A member that dies then takes none with it, and the cluster tells each once.
//!
//! Labels make an alert what it is: the same labels again are the same alert, so nothing is ever in
//! doubt here. Of a condition they are the same for `down` and `up`, which is why its severity is
//! no label: an `up` may be less urgent than its `down`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Answer, Client, DEADLINE, wrong};
use super::outcome::{Asked, Outcome};
use super::{Channel, Kick, Message, Reader, Secrets, address, rfc3339};
use crate::clock::millis;
use crate::config::{Section, duration};
use crate::event::{Event, Status, What};
use crate::fact::Fact;
use crate::text;

/// How long an alert stands when nobody resolves it, and its bounds. Alertmanager's own default
/// is five minutes, for senders that say it again each minute.
const KEEP: Duration = Duration::from_secs(24 * 3600);
const MIN_KEEP: Duration = Duration::from_secs(300);
const MAX_KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most members: they share the time that one request may take.
const MAX_MEMBERS: usize = 5;

/// How long a member that could not be reached is left out while another takes the alerts: it
/// must not hold up each of ten thousand.
const REST: Duration = Duration::from_secs(30);

/// Labels that the channel sets itself.
const OURS: [&str; 8] =
    ["alert", "alertname", "host", "name", "service", "severity", "source", "user"];

/// `type = "alertmanager"`.
pub struct Alertmanager {
    client: Client,
    members: Vec<Member>,
    keep: Duration,
    labels: Vec<(String, String)>,
    names: [String; 1],
}

struct Member {
    url: String,
    host: String,
    rests_until: Option<Instant>,
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let found = section.findings();
    let allow_http = section.get_or("allow-http", false);
    let username = section.get::<String>("username");
    let password = section.parse("password-file", |file| secrets.read(file));
    let token = section.parse("token-file", |file| secrets.read(file));
    match (&username, &password) {
        (Some(name), _) if name.value.contains(':') || name.value.contains(char::is_control) => {
            section.reject("username", name, "a name has no colon and no control character");
        }
        (Some(name), None) => section.reject("username", name, "password-file is missing"),
        (None, Some(file)) => section.reject("password-file", file, "username is missing"),
        _ => {}
    }
    if let (Some(token), Some(_)) = (&token, &username) {
        section.reject("token-file", token, "username and a token do not go together");
    }
    let signs = username.is_some() || token.is_some();
    let before = section.findings();
    let urls = section.need("urls").parse_list("urls", |url| parse_member(url, allow_http, signs));
    let odd = urls.as_ref().is_some_and(|urls| !(1..=MAX_MEMBERS).contains(&urls.len()));
    if odd && section.findings() == before {
        section.reject_section(format!("urls: write 1 to {MAX_MEMBERS} members of one cluster"));
    }
    let keep = section.parse("keep", duration::parse).map_or(KEEP, |keep| {
        if !(MIN_KEEP..=MAX_KEEP).contains(&keep.value) {
            section.reject("keep", &keep, "5m to 30d");
        }
        keep.value
    });
    let mut labels = Vec::new();
    for (name, value) in section.strings("labels") {
        match check_label(&name, &value.value) {
            Ok(()) => labels.push((name, value.value)),
            Err(wrong) => section.reject("labels", &value, format!("{name:?}: {wrong}")),
        }
    }
    let client = Client::read(section, "urls");
    if section.findings() > found {
        return None;
    }
    let members: Vec<Member> = urls?.into_iter().map(|url| url.value).collect();
    let names = members.iter().map(|member| member.host.as_str()).collect::<Vec<_>>().join(", ");
    let count = u32::try_from(members.len()).unwrap_or(1);
    let client = client.keeping(members.len()).within(DEADLINE / count.max(1));
    let client = match (username, password, token) {
        (Some(name), Some(password), _) => client.basic(&name.value, &password.value),
        (_, _, Some(token)) => client.bearer(&token.value),
        _ => client,
    };
    Some(Box::new(Alertmanager { client, members, keep, labels, names: [names] }))
}

/// A member's address. In a network of one's own it often has no TLS; then no secret goes there.
fn parse_member(text: &str, allow_http: bool, signs: bool) -> Result<Member, String> {
    use address::Clear;
    let clear = if allow_http && !signs { Clear::Anywhere } else { Clear::Local };
    let url = address::parse_base_as(text, clear).map_err(|wrong| {
        let plain = text.starts_with("http://") && clear == Clear::Local;
        match (plain, signs) {
            (true, false) => format!(
                "{text:?} would tell in clear who logs in; write https://, or allow-http = true \
                 if everybody on the way may read it"
            ),
            _ => wrong,
        }
    })?;
    let host = address::check(text, clear)?;
    Ok(Member { url: format!("{url}/api/v2/alerts"), host, rests_until: None })
}

/// Checks a label of the administrator's own (Prometheus' data model).
fn check_label(name: &str, value: &str) -> Result<(), String> {
    let good = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let starts = name.bytes().next().is_some_and(|c| !c.is_ascii_digit());
    if !starts || !name.bytes().all(good) || name.starts_with("__") {
        return Err("a label's name has letters, digits and _, and no digit first".into());
    }
    if OURS.contains(&name) {
        return Err("is set by the channel itself; take another name".into());
    }
    if value.is_empty() || value.len() > 256 || value.contains(char::is_control) {
        return Err("a label's value has 1 to 256 bytes and no control character".into());
    }
    Ok(())
}

impl Channel for Alertmanager {
    fn recipients(&self) -> &[String] {
        &self.names
    }

    fn ask(&mut self) -> Asked {
        let mut last = Asked::NotAsked("there is no member");
        for member in &self.members {
            let status = member.url.replace("/api/v2/alerts", "/api/v2/status");
            last = self.client.ask(&status, "urls, and what stands between here and there");
            // One that takes the alerts is enough.
            if matches!(last, Asked::Knows(_)) {
                break;
            }
        }
        last
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.client.kick())
    }

    fn send(&mut self, message: &Message) -> Outcome {
        let alert = alert(message, self.keep, &self.labels).to_string();
        let now = Instant::now();
        let rests = |member: &Member| member.rests_until.is_some_and(|until| now < until);
        let (last, first): (Vec<usize>, Vec<usize>) =
            (0..self.members.len()).partition(|at| self.members.get(*at).is_some_and(rests));
        let mut outcomes: Vec<(String, Outcome)> = Vec::new();
        for round in [first, last] {
            for at in round {
                let Some(member) = self.members.get_mut(at) else { continue };
                let posted = self.client.post_json(&member.url, &[], alert.as_bytes());
                member.rests_until = posted.is_err().then(|| Instant::now() + REST);
                let outcome = posted.map_or_else(|outcome| outcome, |answer| judge(&answer));
                outcomes.push((member.host.clone(), outcome));
            }
            if outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. })) {
                break;
            }
        }
        combine(&outcomes)
    }

    fn reader(&self) -> Reader {
        Reader::Program
    }

    fn keeps_state(&self) -> bool {
        true
    }
}

/// What it means for the alert that the members said this. One that took it is enough; where
/// none did, it is tried again as long as any of them may take it.
#[must_use]
pub fn combine(outcomes: &[(String, Outcome)]) -> Outcome {
    let told = |wanted: fn(&Outcome) -> bool| {
        let told = outcomes.iter().filter(|(_, outcome)| wanted(outcome));
        told.map(|(host, outcome)| format!("{host}: {outcome}")).collect::<Vec<_>>().join("; ")
    };
    let has = |wanted: fn(&Outcome) -> bool| {
        outcomes.iter().map(|(_, outcome)| outcome).find(|outcome| wanted(outcome))
    };
    let is_taken = |outcome: &Outcome| matches!(outcome, Outcome::Delivered { .. });
    if has(is_taken).is_some() {
        return Outcome::Delivered { id: None, answer: told(|_| true) };
    }
    let why = told(|_| true);
    let again = has(|outcome| matches!(outcome, Outcome::Later { .. } | Outcome::Doubtful { .. }));
    match again {
        Some(Outcome::Later { fault, .. }) => Outcome::Later { why, fault: *fault },
        Some(Outcome::Doubtful { fault, .. }) => Outcome::doubtful(why, *fault),
        _ if has(|outcome| matches!(outcome, Outcome::Config { .. })).is_some() => {
            Outcome::Config { why }
        }
        _ => Outcome::Never { why },
    }
}

/// The alerts to post: a list of one.
fn alert(message: &Message, keep: Duration, own: &[(String, String)]) -> Value {
    let event = &message.event;
    let mut labels: BTreeMap<&str, String> =
        own.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    labels.extend(labels_of(event));
    // An empty value means no label to Alertmanager; left out, it is the same everywhere.
    labels.retain(|_, value| !value.is_empty());
    // By the clock as it is now: an `up` of a clock that was a day ahead would end tomorrow.
    let at_ms = event.at.by_clock_of(&message.now);
    // Counted from now where it is told late: what ends in the past is over, and never told.
    let kept = message.now.unix_ms.saturating_add(millis(keep));
    let ends_ms = match &event.what {
        What::Condition(condition) if condition.status == Status::Up => at_ms,
        _ => kept,
    };
    let mut annotations = json!({
        "summary": text::subject(message),
        "description": text::body(message),
        "severity": event.severity.as_str(),
    });
    // No label: those are what the alert is known by.
    if let Some(new) = message.new.get(&event.id).and_then(|new| new.words()) {
        annotations["new"] = new.into();
    }
    if let Some(answer) = message.facts.get(&event.id).and_then(Fact::via) {
        annotations["via"] = text::via_words(answer).into();
    }
    json!([{
        "labels": labels,
        "annotations": annotations,
        "startsAt": rfc3339::format(at_ms),
        "endsAt": rfc3339::format(ends_ms),
    }])
}

fn labels_of(event: &Event) -> Vec<(&'static str, String)> {
    let host = ("host", event.host.visible());
    let severity = ("severity", event.severity.as_str().to_owned());
    let id = ("alert", event.id.to_string());
    match &event.what {
        What::Login(login) => {
            let source = login.source.map(|ip| ip.to_string());
            vec![
                ("alertname", "BastionLogin".into()),
                host,
                severity,
                id,
                ("user", login.user.visible()),
                ("service", login.service.visible()),
                ("source", source.unwrap_or_else(|| "unknown".into())),
            ]
        }
        What::Note(_) => vec![("alertname", "BastionNote".into()), host, severity, id],
        What::Condition(condition) => {
            vec![("alertname", "BastionCondition".into()), host, ("name", condition.name.visible())]
        }
        What::Report(_) | What::Tally(_) | What::Back(_) => {
            vec![("alertname", "BastionReport".into()), host, severity, id]
        }
    }
}

/// What a member's answer means.
#[must_use]
pub fn judge(answer: &Answer) -> Outcome {
    if answer.status == 200 {
        return Outcome::Delivered { id: None, answer: "taken".into() };
    }
    let why = answer.why(&answer.said());
    if let Some(outcome) = answer.usual(&why) {
        return outcome;
    }
    match answer.status {
        400 | 413 | 422 => Outcome::Never { why },
        401 | 403 => {
            wrong(&why, "username and password-file, or token-file, then restart the sender")
        }
        _ => wrong(&why, "urls, and what stands between here and there"),
    }
}

#[cfg(test)]
mod tests;
