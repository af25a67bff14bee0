//! Text for a person, made from an event's typed fields, anew for each kind of channel.
//!
//! [`sms()`] is one line in the alphabet of a short message and keeps to a number of segments;
//! [`subject`] is one line of any characters; [`body`] is everything, a fact a line. Events that
//! are told together make a digest of each.
//!
//! Names come from strangers, so each is made visible, cut to a limit, and quoted where it
//! could pass for words of ours: no user name can say where its login came from, or when.

mod digest;
pub mod gsm7;
mod plain;
mod report;
mod sms;
mod via;
mod went_on;

pub use plain::{body, event_body, event_line, event_line_with, subject, via_words};
pub use sms::sms;

use std::time::Duration;

use crate::chain::Answer;
use crate::clock::{Stamp, millis};
use crate::event::{Condition, Event, Factor, Key, Login, Severity, Status, What};
use crate::fact::Fact;
use crate::ffi::{self, LocalTime};
use crate::foreign::{self, Foreign};
use crate::message::{Facts, Marks, Message};

/// Age from which a message says how late it is; before that, nobody would call it late.
const LATE_AFTER: Duration = Duration::from_secs(60);

/// By how much the wall clock has to have been set that a time is told by what it says now: less is
/// what keeping it right comes to.
const CLOCK_SET: Duration = Duration::from_secs(60);

/// Longest zone name shown. POSIX guarantees six characters, and tzdata has no longer one.
const MAX_ZONE: usize = 6;

/// Seconds since 1970 to local time; `None` where the zone cannot tell.
type Zone = fn(i64) -> Option<LocalTime>;

/// What a text is made with besides its events: the moment, the zone it tells the time in, and what
/// is new.
struct Context<'a> {
    now: &'a Stamp,
    local: Zone,
    /// What is new of the events.
    new: &'a Marks,
    /// What was found out about them.
    facts: &'a Facts,
}

/// Nothing is new.
const NOTHING: &Marks = &Marks::new();

/// Nothing was found out.
const NO_FACTS: &Facts = &Facts::new();

impl<'a> Context<'a> {
    /// `now`, in this machine's zone.
    fn here(now: &'a Stamp) -> Self {
        Self { now, local: ffi::local_time, new: NOTHING, facts: NO_FACTS }
    }

    /// Of a message, in this machine's zone.
    fn of(message: &'a Message) -> Self {
        Self { new: &message.new, facts: &message.facts, ..Self::here(&message.now) }
    }

    /// What is new of an event, as `network, key`.
    fn new_words(&self, event: &Event) -> Option<&'static str> {
        self.new.get(&event.id).and_then(|new| new.words())
    }

    /// Who came through a tunnel, as far as the jump host was asked.
    fn via(&self, event: &Event) -> Option<&'a Answer> {
        self.facts.get(&event.id).and_then(Fact::via)
    }

    /// What was found out about an event.
    fn fact(&self, event: &Event) -> Option<&Fact> {
        self.facts.get(&event.id)
    }

    /// `at`, by the clock as it stands now where it was set since, as `write` puts its parts, and the zone; or `@` and the seconds since 1970, as
    /// date(1) takes them.
    fn moment(&self, at: &Stamp, write: fn(&LocalTime) -> String) -> String {
        let by_clock_now = at.by_clock_of(self.now);
        let was_set = by_clock_now.abs_diff(at.unix_ms) > millis(CLOCK_SET);
        let unix_ms = if was_set && at.is_same_boot(self.now) { by_clock_now } else { at.unix_ms };
        let unix_s = unix_ms / 1000;
        let Some(local) = i64::try_from(unix_s).ok().and_then(self.local) else {
            return format!("@{unix_s}");
        };
        let named = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-');
        let zone: String = local.zone.chars().filter(named).take(MAX_ZONE).collect();
        format!("{} {zone}", write(&local)).trim_end().to_owned()
    }

    /// How late an event of `at` is told, as `41 min`; `None` when it is told in time.
    fn lateness(&self, at: &Stamp) -> Option<String> {
        let age = at.age(self.now);
        let minutes = age.as_secs() / 60;
        let late = match minutes {
            0..60 => format!("{minutes} min"),
            60..2880 => format!("{} h", minutes / 60),
            2880..1_440_000 => format!("{} days", minutes / 1440),
            // Some clock was wrong; a longer number would say no more.
            _ => "999+ days".to_owned(),
        };
        (age > LATE_AFTER).then_some(late)
    }
}

/// `22 Nov 02:14 to 02:16 UTC`, in this machine's zone.
#[must_use]
pub fn span(from: &Stamp, to: &Stamp) -> String {
    digest::between(from, to, &Context::here(to))
}

/// `22 Nov`: the day is always there, since a text may be read days later.
fn day(local: &LocalTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = usize::from(local.month).checked_sub(1).and_then(|index| MONTHS.get(index));
    format!("{} {}", local.day, month.unwrap_or(&"?"))
}

/// The characters that a channel has, and how much each of them costs.
struct Alphabet {
    clean: fn(&str) -> String,
    width: fn(char) -> usize,
}

impl Alphabet {
    /// Every character, each of cost 1.
    const UNICODE: Self = Self { clean: str::to_owned, width: |_| 1 };
    /// That of a short message; a cost is in septets.
    const GSM7: Self =
        Self { clean: gsm7::transliterate, width: |c| gsm7::width(c).unwrap_or(usize::MAX) };

    /// `bytes` visible and in this alphabet.
    fn clean(&self, bytes: &[u8]) -> String {
        (self.clean)(&foreign::visible(bytes))
    }

    /// `text`, or as much of its start as costs `limit` with `..` behind it.
    fn cut(&self, text: &str, limit: usize) -> String {
        let (mut used, mut keep) = (0_usize, 0);
        for (at, c) in text.char_indices() {
            if used.saturating_add(2) <= limit {
                keep = at;
            }
            used = used.saturating_add((self.width)(c));
        }
        if used <= limit { text.to_owned() } else { format!("{}..", &text[..keep]) }
    }

    /// A foreign name, at most `limit` wide; in quotes, which count, where one of its
    /// characters is `odd`.
    fn name(&self, name: &Foreign, limit: usize, odd: fn(char) -> bool) -> String {
        if name.is_empty() {
            return self.cut("(no name)", limit);
        }
        let text = self.clean(name.as_bytes());
        if text.contains(odd) {
            let text = self.cut(&text.replace('"', "'"), limit.saturating_sub(2));
            format!("\"{text}\"")
        } else {
            self.cut(&text, limit)
        }
    }
}

/// A space would let a name go on as a sentence.
fn space(c: char) -> bool {
    c.is_whitespace()
}

/// Names of keys have spaces by right; these are what parts a text's pieces from each other.
fn separator(c: char) -> bool {
    matches!(c, ',' | '+' | '"' | '(' | '#')
}

/// How much room each piece of a text may take, in the alphabet's cost.
#[derive(Clone)]
struct Limits {
    host: usize,
    user: usize,
    /// A condition's name: its end says what of a line it is.
    condition: usize,
    /// What stood in the place of an address.
    source: usize,
    /// A key's name, a certificate's id, a method.
    key: usize,
    /// Methods told; the others are counted.
    factors: usize,
    /// A note's text, and why the jump host does not know somebody.
    text: usize,
    /// Of a login through a tunnel: 0 where it is left out how he came to the jump host, and how here.
    there: usize,
    here: usize,
    /// The name of a host further on; with too little room nothing is said of it.
    went_on: usize,
}

/// `jump: login alice from 203.0.113.9, key alice laptop`, `jump: NEW login ..`, or `jump: note: the text`.
///
/// The word before a note is what keeps its author from writing one that reads as a login: a
/// login is told by root alone, a note by whoever may write into the spool.
fn headline(event: &Event, context: &Context, alphabet: &Alphabet, limits: &Limits) -> String {
    let host = alphabet.name(&event.host, limits.host, space);
    let what = match &event.what {
        What::Login(login) => format!(
            "{}{}login {}{}",
            if event.severity == Severity::Critical { "CRITICAL " } else { "" },
            if context.new_words(event).is_some() { "NEW " } else { "" },
            match context.via(event) {
                Some(answer) => via::login(login, answer, alphabet, limits),
                None => login_words(login, alphabet, limits),
            },
            went_on::words(context.fact(event), alphabet, limits.went_on),
        ),
        What::Note(note) => {
            let urgency = match event.severity {
                Severity::Info => "note",
                Severity::Warning => "warning",
                Severity::Critical => "CRITICAL",
            };
            format!("{urgency}: {}", headline_text(&note.text, alphabet, limits.text))
        }
        What::Condition(condition) => {
            let status = condition_words(condition, event.severity);
            let name = alphabet.name(&condition.name, limits.condition, separator);
            match headline_text(&condition.text, alphabet, limits.text).as_str() {
                "" => format!("{name} {status}"),
                text => format!("{name} {status}: {text}"),
            }
        }
        What::Tally(tally) => report::words(tally, alphabet),
        What::Back(back) => {
            format!("{} is back", alphabet.name(&back.name, limits.user, separator))
        }
        What::Report(report) => report::line(report, context, alphabet, limits.text),
    };
    format!("{host}: {what}")
}

/// `alice from 203.0.113.9, key alice laptop`
fn login_words(login: &Login, alphabet: &Alphabet, limits: &Limits) -> String {
    format!(
        "{} from {}, {}",
        alphabet.name(&login.user, limits.user, space),
        source(login, alphabet, limits.source),
        auth(&login.auth, alphabet, limits),
    )
}

/// Somebody's text on one line, at most `limit` wide.
fn headline_text(text: &str, alphabet: &Alphabet, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    alphabet.cut(&alphabet.clean(words.join(" ").as_bytes()), limit)
}

fn condition_words(condition: &Condition, severity: Severity) -> String {
    let [bad, well] = condition.fault.words();
    let bad = bad.to_ascii_uppercase();
    match (condition.status, severity) {
        (Status::Down, Severity::Critical) => format!("is {bad} (CRITICAL)"),
        (Status::Down, _) => format!("is {bad}"),
        (Status::Up, _) => format!("is {well} again"),
    }
}

/// `203.0.113.9`, `127.0.0.1 via tunnel`, `unknown`, `unknown "what stood there"`.
fn source(login: &Login, alphabet: &Alphabet, limit: usize) -> String {
    match (login.source, &login.source_name) {
        (Some(ip), _) if login.via_tunnel() => format!("{ip} via tunnel"),
        (Some(ip), _) => ip.to_string(),
        (None, Some(name)) if !name.is_empty() => {
            format!("unknown {}", alphabet.name(name, limit, |_| true))
        }
        (None, _) => "unknown".to_owned(),
    }
}

/// `key alice laptop + password`, `by password`, `auth unknown`.
fn auth(factors: &[Factor], alphabet: &Alphabet, limits: &Limits) -> String {
    let Some(first) = factors.first() else {
        return "auth unknown".to_owned();
    };
    let by = if proves_key(first) { "" } else { "by " };
    let told: Vec<String> = factors
        .iter()
        .take(limits.factors)
        .map(|factor| factor_words(factor, alphabet, limits.key))
        .collect();
    let more = match factors.len().saturating_sub(told.len()) {
        0 => String::new(),
        more => format!(" +{} more", more.min(999)),
    };
    format!("{by}{}{more}", told.join(" + "))
}

/// `key alice laptop`, `cert alice-2026`, `key SHA256:abcdefgh..`, `host key web1`, `password`.
fn factor_words(factor: &Factor, alphabet: &Alphabet, limit: usize) -> String {
    if !proves_key(factor) {
        // What stands behind the slash is sshd's way there: keyboard-interactive/pam.
        let method = factor.method.as_bytes().split(|&byte| byte == b'/').next();
        return alphabet.name(&Foreign::new(method.unwrap_or_default()), limit, space);
    }
    let host = if factor.method.as_bytes() == b"hostbased" { "host " } else { "" };
    match &factor.key {
        None => format!("{host}key unknown"),
        Some(key) => {
            let kind = if key.certificate.is_some() { "cert" } else { "key" };
            format!("{host}{kind} {}", key_words(key, alphabet, limit))
        }
    }
}

fn proves_key(factor: &Factor) -> bool {
    factor.key.is_some() || matches!(factor.method.as_bytes(), b"publickey" | b"hostbased")
}

/// The operator's own name for the key, else the id in its certificate, else the start of
/// its fingerprint: eight characters tell any two keys of a site apart.
fn key_words(key: &Key, alphabet: &Alphabet, limit: usize) -> String {
    let id = key.certificate.as_ref().map(|certificate| &certificate.key_id);
    match key.name.as_ref().or(id).filter(|name| !name.is_empty()) {
        Some(name) => alphabet.name(name, limit, separator),
        None => {
            let fingerprint = alphabet.clean(key.fingerprint.as_bytes());
            alphabet.cut(&fingerprint, limit.min("SHA256:abcdefgh..".len()))
        }
    }
}

#[cfg(test)]
mod tests;
