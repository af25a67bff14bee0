//! Text without a narrow limit: a subject of one line, and a body with every fact.

use super::{Alphabet, Context, Limits, digest, headline, report, source, via, went_on};
use crate::chain::{Answer, Person};
use crate::clock::Stamp;
use crate::event::{Condition, Event, Factor, Login, Report, Tally, Unit, What};
use crate::ffi::LocalTime;
use crate::foreign;
use crate::message::{self, Message};

/// Limits of a subject, in characters. Whatever the names hold, its bytes then keep to the 998
/// of a mail header's line (RFC 5322, 2.1.1).
const SUBJECT: Limits = Limits {
    host: 32,
    user: 32,
    condition: 64,
    source: 32,
    key: 32,
    factors: 3,
    text: 140,
    there: 1,
    here: 1,
    went_on: 32,
};

/// Longest digest in one line, in characters. With four bytes each and the folding of a header
/// it keeps to the same 998.
const MAX_DIGEST: usize = 200;

/// Of how many events of a digest every fact is told. All are in the log, and in `sent/`.
const MAX_WHOLE: usize = 10;

/// `2026-11-22 02:14:07`.
fn full(local: &LocalTime) -> String {
    let (year, month, day) = (local.year, local.month, local.day);
    let (hour, minute, second) = (local.hour, local.minute, local.second);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// One line: what, where and who, how late, and the id.
///
/// `jump: login alice from 203.0.113.9, key alice laptop, told 41 min late #k7f3q2`
#[must_use]
pub fn subject(message: &Message) -> String {
    let context = Context::of(message);
    if message.more.is_empty() {
        return subject_in(&message.event, &context);
    }
    let events: Vec<&Event> = message.events().collect();
    let fits = |text: &str| text.chars().count() <= MAX_DIGEST;
    digest::line(&events, message.extra().as_deref(), &context, &Alphabet::UNICODE, fits)
}

/// [`subject`] of an event by itself.
#[must_use]
pub fn event_line(event: &Event, now: &Stamp) -> String {
    subject_in(event, &Context::here(now))
}

/// The same with what was found out about it.
#[must_use]
pub fn event_line_with(event: &Event, facts: &message::Facts, now: &Stamp) -> String {
    subject_in(event, &Context { facts, ..Context::here(now) })
}

/// What the jump host says of a login through a tunnel: `alice, key laptop, from 198.51.100.7`, or
/// `unmatched: its session has ended`.
#[must_use]
pub fn via_words(answer: &Answer) -> String {
    via::words(answer, &Alphabet::UNICODE, &SUBJECT)
}

/// Every fact, one `word: value` a line, each line ended. Lines that belong to the one above
/// them are indented. The words are those of the event's fields and of the log.
///
/// The time is that of this machine's zone. Of several events it is first a line each, and then
/// every fact of the first ten.
#[must_use]
pub fn body(message: &Message) -> String {
    let context = Context::of(message);
    let extra = message.extra();
    let hint = extra.as_deref();
    if message.more.is_empty() {
        return body_in(&message.event, hint, &context);
    }
    let mut text = String::new();
    for event in message.events() {
        let time = context.moment(&event.at, full);
        text.push_str(&format!("{time} {}\n", subject_in(event, &context)));
    }
    if let Some(hint) = hint {
        text.push_str(&format!("hint: {}\n", foreign::visible(hint.as_bytes())));
    }
    for event in message.events().take(MAX_WHOLE) {
        text.push('\n');
        text.push_str(&body_in(event, None, &context));
    }
    text
}

/// [`body`] of an event by itself.
#[must_use]
pub fn event_body(event: &Event, now: &Stamp) -> String {
    body_in(event, None, &Context::here(now))
}

/// [`subject`] in the zone of `context`.
pub(super) fn subject_in(event: &Event, context: &Context) -> String {
    let late =
        context.lateness(&event.at).map(|late| format!(", told {late} late")).unwrap_or_default();
    format!("{}{late} #{}", headline(event, context, &Alphabet::UNICODE, &SUBJECT), event.id)
}

/// [`body`] in the zone of `context`.
pub(super) fn body_in(event: &Event, extra: Option<&str>, context: &Context) -> String {
    let mut facts = Facts(String::new());
    facts.line("id", event.id.as_str());
    facts.line("event", event.what.kind());
    facts.line("severity", event.severity.as_str());
    facts.line("host", &event.host.visible());
    facts.line("at", &context.moment(&event.at, full));
    if let Some(late) = context.lateness(&event.at) {
        facts.line("late", &late);
    }
    if let Some(new) = context.new_words(event) {
        facts.line("new", new);
    }
    if let Some(names) = went_on::all(context.fact(event)) {
        facts.line("went-on", &names);
    }
    match &event.what {
        What::Login(login) => facts.login(login, context.via(event)),
        What::Note(note) => facts.text(&note.text),
        What::Condition(condition) => facts.condition(condition),
        What::Tally(tally) => facts.tally(tally),
        What::Back(back) => facts.line("back", &back.name.visible()),
        What::Report(report) => facts.report(report, context),
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

    fn condition(&mut self, condition: &Condition) {
        self.line("condition", &condition.name.visible());
        self.line("status", condition.status.as_str());
        if !condition.text.is_empty() {
            self.text(&condition.text);
        }
    }

    fn report(&mut self, report: &Report, context: &Context) {
        self.line("since", &context.moment(&report.since, full));
        self.line("logins", &report.logins.to_string());
        self.line("others", &report.others.to_string());
        self.line("lost", &report.lost.to_string());
        self.line("late", &format!("{} min at most", report.late_s / 60));
        self.line("allowances", &report.allowances.to_string());
        report.tallies.iter().for_each(|tally| self.tally(tally));
    }

    fn tally(&mut self, tally: &Tally) {
        let name = tally.name.visible();
        let of = match tally.unit {
            Unit::Seconds => format!("up {}, ", report::share(tally)),
            Unit::Times => String::new(),
        };
        let unit = if tally.unit == Unit::Seconds { " s" } else { "" };
        self.line("tally", &format!("{name}: {of}{} of {}{unit}", tally.good, tally.all));
    }

    fn login(&mut self, login: &Login, via: Option<&Answer>) {
        self.line("user", &login.user.visible());
        self.line("service", &login.service.visible());
        self.line("source", &source(login, &Alphabet::UNICODE, usize::MAX));
        if login.auth.is_empty() {
            self.line("auth", "unknown");
        }
        for factor in &login.auth {
            self.factor(factor, "");
        }
        match via {
            None => {}
            Some(Answer::Unmatched(reason)) => {
                self.line("via", &format!("unmatched: {}", reason.visible()))
            }
            Some(Answer::Matched(person)) => self.via(person),
        }
        if !login.reason.is_empty() {
            self.line("reason", &login.reason);
        }
        if login.pid != 0 {
            self.line("pid", &login.pid.to_string());
        }
    }

    /// Who it was on the jump host.
    fn via(&mut self, person: &Person) {
        self.line("via", "jump host, which says");
        self.line("  user", &person.user.visible());
        self.line("  source", &via::from(person, &Alphabet::UNICODE, usize::MAX));
        if person.auth.is_empty() {
            self.line("  auth", "unknown");
        }
        for factor in &person.auth {
            self.factor(factor, "  ");
        }
    }

    /// A method, further in by `indent`.
    fn factor(&mut self, factor: &Factor, indent: &str) {
        let mut line = |word: &str, value: &str| self.line(&format!("{indent}{word}"), value);
        line("auth", &factor.method.visible());
        let Some(key) = &factor.key else { return };
        if let Some(name) = &key.name {
            line("  key", &name.visible());
        }
        line("  algorithm", &key.algorithm.visible());
        line("  fingerprint", &key.fingerprint);
        if let Some(certificate) = &key.certificate {
            line("  certificate", &certificate.key_id.visible());
            line("  serial", &certificate.serial.to_string());
            line("  ca", &certificate.ca);
        }
    }
}
