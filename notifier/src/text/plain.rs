//! Text without a narrow limit: a subject of one line, and a body with every fact.

use super::{Alphabet, Context, Limits, headline, source};
use crate::clock::Stamp;
use crate::event::{Event, Factor, Login, What};
use crate::foreign;

/// Limits of a subject, in characters. Whatever the names hold, its bytes then keep to the 998
/// of a mail header's line (RFC 5322, 2.1.1).
const SUBJECT: Limits = Limits { host: 32, user: 32, source: 32, key: 32, factors: 3, text: 100 };

/// One line: what, where and who, how late, and the id.
///
/// `jump: login alice from 203.0.113.9, key alice laptop, told 41 min late #k7f3q2`
#[must_use]
pub fn subject(event: &Event, now: &Stamp) -> String {
    subject_in(event, &Context::here(now))
}

/// Every fact, one `word: value` a line, each line ended. Lines that belong to the one above
/// them are indented. The words are those of the event's fields and of the log.
///
/// `extra` is a hint such as `also logged in: bob`. The time is that of this machine's zone.
#[must_use]
pub fn body(event: &Event, extra: Option<&str>, now: &Stamp) -> String {
    body_in(event, extra, &Context::here(now))
}

/// [`subject`] in the zone of `context`.
pub(super) fn subject_in(event: &Event, context: &Context) -> String {
    let late =
        context.lateness(&event.at).map(|late| format!(", told {late} late")).unwrap_or_default();
    format!("{}{late} #{}", headline(event, &Alphabet::UNICODE, &SUBJECT), event.id)
}

/// [`body`] in the zone of `context`.
pub(super) fn body_in(event: &Event, extra: Option<&str>, context: &Context) -> String {
    let mut facts = Facts(String::new());
    facts.line("id", event.id.as_str());
    facts.line("event", event.what.kind());
    facts.line("severity", event.severity.as_str());
    facts.line("host", &event.host.visible());
    let time = context.moment(&event.at, |local| {
        let (year, month, day) = (local.year, local.month, local.day);
        let (hour, minute, second) = (local.hour, local.minute, local.second);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    });
    facts.line("at", &time);
    if let Some(late) = context.lateness(&event.at) {
        facts.line("late", &late);
    }
    match &event.what {
        What::Login(login) => facts.login(login),
        What::Note(note) => facts.text(&note.text),
    }
    if let Some(extra) = extra {
        facts.line("hint", extra);
    }
    facts.0
}

/// Lines of a body. Every value is made visible here, so that none can hold a second line.
struct Facts(String);

impl Facts {
    fn line(&mut self, word: &str, value: &str) {
        let line = format!("{word}: {}", foreign::visible(value.as_bytes()));
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn text(&mut self, text: &str) {
        self.line("text", "");
        for line in text.lines() {
            let line = format!("  {}", foreign::visible(line.replace('\t', " ").as_bytes()));
            self.0.push_str(line.trim_end());
            self.0.push('\n');
        }
    }

    fn login(&mut self, login: &Login) {
        self.line("user", &login.user.visible());
        self.line("service", &login.service.visible());
        self.line("source", &source(login, &Alphabet::UNICODE, usize::MAX));
        if login.auth.is_empty() {
            self.line("auth", "unknown");
        }
        for factor in &login.auth {
            self.factor(factor);
        }
        if !login.reason.is_empty() {
            self.line("reason", &login.reason);
        }
        if login.pid != 0 {
            self.line("pid", &login.pid.to_string());
        }
    }

    fn factor(&mut self, factor: &Factor) {
        self.line("auth", &factor.method.visible());
        let Some(key) = &factor.key else { return };
        if let Some(name) = &key.name {
            self.line("  key", &name.visible());
        }
        self.line("  algorithm", &key.algorithm.visible());
        self.line("  fingerprint", &key.fingerprint);
        if let Some(certificate) = &key.certificate {
            self.line("  certificate", &certificate.key_id.visible());
            self.line("  serial", &certificate.serial.to_string());
            self.line("  ca", &certificate.ca);
        }
    }
}
