//! One line for several events of a kind: how many, when, who and from where.
//!
//! ```text
//! jump: 98 logins 22 Nov 02:14 to 02:16 UTC: alice from 203.0.113.9 x40, bob from ::1 via tunnel x7, +51 more #k7f3q2
//! jump: tunnel office was down 22 Nov 17:02 to 17:09 UTC #k7f3q2
//! jump: 3 notes 22 Nov 02:14 to 02:16 UTC: disk is full; backup failed, +1 more #k7f3q2
//! ```
//!
//! What does not fit is counted, never just left out.

use std::collections::BTreeMap;

use super::{
    Alphabet, Context, condition_words, day, headline_text, report, separator, source, space, via,
    went_on,
};
use crate::clock::Stamp;
use crate::event::{Condition, Event, Severity, Status, What};
use crate::ffi::LocalTime;

/// Most room that one name takes, in the alphabet's cost.
const NAME: usize = 20;

/// The same for a condition, whose end says what of a line it is.
const CONDITION: usize = 40;

/// Most room that a note's text takes.
const TEXT: usize = 60;

/// A part of the line that stands for a number of events.
struct Piece {
    text: String,
    events: usize,
}

/// `events`, none of which may be left out of the count, in one line that `fits`: as much as
/// that of it, but 120 characters of the alphabet at least. The id is the first event's. `extra`
/// goes before the names, as it is told nowhere else; it goes itself where there is no room for it.
pub(super) fn line(
    events: &[&Event],
    extra: Option<&str>,
    context: &Context<'_>,
    alphabet: &Alphabet,
    fits: impl Fn(&str) -> bool,
) -> String {
    let Some(first) = events.first() else { return String::new() };
    let host = alphabet.name(&first.host, NAME, space);
    let (head, pieces) = match &first.what {
        What::Condition(_) => (String::new(), conditions(events, context, alphabet)),
        What::Login(_) => (
            format!("{} logins {}: ", events.len(), span(events, context)),
            logins(events, context, alphabet),
        ),
        What::Note(_) => (
            format!("{} notes {}: ", events.len(), span(events, context)),
            notes(events, context, alphabet),
        ),
        What::Report(_) | What::Tally(_) | What::Back(_) => {
            (format!("{} reports: ", events.len()), reports(events, context, alphabet))
        }
    };
    let parted = match first.what {
        What::Login(_) | What::Condition(_) => ", ",
        What::Note(_) | What::Report(_) | What::Tally(_) | What::Back(_) => "; ",
    };
    let late = lateness(events, context);
    let whole = |told: &[Piece], extra: &str| {
        let words: Vec<&str> = told.iter().map(|piece| piece.text.as_str()).collect();
        let rest: usize = pieces.iter().skip(told.len()).map(|piece| piece.events).sum();
        let more = match (rest, told.is_empty()) {
            (0, _) => String::new(),
            (rest, true) => format!("{rest} in all"),
            (rest, false) => format!(", +{rest} more"),
        };
        format!("{host}: {head}{}{more}{late}{extra} #{}", words.join(parted), first.id)
    };
    let extra = extra.map(|words| format!(" ({})", alphabet.clean(words.as_bytes())));
    let extra = extra.filter(|extra| fits(&whole(&[], extra))).unwrap_or_default();
    // As many as there is room for, counted up: there are seldom more than a handful.
    let mut text = whole(&[], &extra);
    for told in 1..=pieces.len() {
        let longer = whole(pieces.get(..told).unwrap_or_default(), &extra);
        if !fits(&longer) {
            break;
        }
        text = longer;
    }
    text
}

/// `22 Nov 02:14 to 02:16 UTC`.
fn span(events: &[&Event], context: &Context<'_>) -> String {
    let at = |pick: fn(&u64, &u64) -> std::cmp::Ordering| {
        let when = |at: &Stamp| at.by_clock_of(context.now);
        events.iter().map(|event| &event.at).max_by(|a, b| pick(&when(a), &when(b)))
    };
    match (at(|a, b| b.cmp(a)), at(u64::cmp)) {
        (Some(from), Some(to)) => between(from, to, context),
        _ => String::new(),
    }
}

pub(super) fn between(from: &Stamp, to: &Stamp, context: &Context<'_>) -> String {
    let minute = |local: &LocalTime| format!("{:02}:{:02}", local.hour, local.minute);
    let with_day =
        |local: &LocalTime| format!("{} {:02}:{:02}", day(local), local.hour, local.minute);
    let whole_to = context.moment(to, with_day);
    let whole_from = context.moment(from, with_day);
    if whole_from == whole_to {
        return whole_to;
    }
    let start = whole_from.rsplit_once(' ').map_or(whole_from.as_str(), |(moment, _)| moment);
    let same_day = start.rsplit_once(' ').map(|(day, _)| day) == whole_to.rsplitn(3, ' ').nth(2);
    let end = if same_day { context.moment(to, minute) } else { whole_to };
    format!("{start} to {end}")
}

fn lateness(events: &[&Event], context: &Context<'_>) -> String {
    let newest = events.iter().map(|event| &event.at).max_by_key(|at| at.by_clock_of(context.now));
    newest
        .and_then(|at| context.lateness(at))
        .map(|late| format!(", told {late} late"))
        .unwrap_or_default()
}

/// `alice from 203.0.113.9 x40`: the urgent ones first, then what is new, then those that were
/// most often.
fn logins(events: &[&Event], context: &Context<'_>, alphabet: &Alphabet) -> Vec<Piece> {
    let mut groups: BTreeMap<String, (bool, bool, usize)> = BTreeMap::new();
    for event in events {
        let What::Login(login) = &event.what else { continue };
        let text = match context.via(event) {
            Some(answer) => via::short(login, answer, alphabet, NAME),
            None => {
                let who = alphabet.name(&login.user, NAME, space);
                let on = went_on::place(context.fact(event), alphabet, NAME);
                let on = on.map(|place| format!(" (on {place})")).unwrap_or_default();
                format!("{who} from {}{on}", source(login, alphabet, NAME))
            }
        };
        let (urgent, new, count) = groups.entry(text).or_default();
        *urgent |= event.severity == Severity::Critical;
        *new |= context.new_words(event).is_some();
        *count += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (urgent, new, count))| (!urgent, !new, std::cmp::Reverse(*count)));
    groups
        .into_iter()
        .map(|(text, (urgent, new, events))| {
            let urgent = if urgent { "CRITICAL " } else { "" };
            let new = if new { "NEW " } else { "" };
            let times = if events > 1 { format!(" x{events}") } else { String::new() };
            Piece { text: format!("{urgent}{new}{text}{times}"), events }
        })
        .collect()
}

/// The texts, the urgent ones first, and of equal ones the newest: it says how things are now.
fn notes(events: &[&Event], context: &Context<'_>, alphabet: &Alphabet) -> Vec<Piece> {
    let mut notes: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            What::Note(note) => Some(((event.severity, event.at.by_clock_of(context.now)), note)),
            _ => None,
        })
        .collect();
    notes.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    notes
        .into_iter()
        .map(|((severity, _), note)| {
            let urgent = if severity == Severity::Critical { "CRITICAL: " } else { "" };
            let text = headline_text(&note.text, alphabet, TEXT);
            Piece { text: format!("{urgent}{text}"), events: 1 }
        })
        .collect()
}

/// The newest first: of weeks without a line it is this one that says how things are.
fn reports(events: &[&Event], context: &Context<'_>, alphabet: &Alphabet) -> Vec<Piece> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| std::cmp::Reverse(event.at.unix_ms));
    let text = |event: &&Event| match &event.what {
        What::Report(told) => Some(report::line(told, context, alphabet, TEXT)),
        What::Tally(tally) => Some(report::words(tally, alphabet)),
        _ => None,
    };
    events.iter().filter_map(text).map(|text| Piece { text, events: 1 }).collect()
}

/// One piece for each condition, whatever became of it in the meantime.
fn conditions(events: &[&Event], context: &Context<'_>, alphabet: &Alphabet) -> Vec<Piece> {
    let mut by_name: BTreeMap<String, Vec<(&Event, &Condition)>> = BTreeMap::new();
    for event in events {
        if let What::Condition(condition) = &event.what {
            let name = alphabet.name(&condition.name, CONDITION, separator);
            by_name.entry(name).or_default().push((event, condition));
        }
    }
    let mut pieces: Vec<(bool, Piece)> = by_name
        .into_iter()
        .filter_map(|(name, mut changes)| {
            // Not by the wall clock alone: one that was set back would tell the end before the start.
            changes.sort_by_key(|(event, _)| event.at.by_clock_of(context.now));
            let down = changes.last().is_some_and(|(_, now)| now.status == Status::Down);
            let text = changed(&name, &changes, context)?;
            Some((!down, Piece { text, events: changes.len() }))
        })
        .collect();
    pieces.sort_by_key(|(up, _)| *up);
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

/// `tunnel office was down 22 Nov 17:02 to 17:09 UTC`, in the order of what happened.
fn changed(name: &str, changes: &[(&Event, &Condition)], context: &Context<'_>) -> Option<String> {
    let ((first, _), (last, now)) = (changes.first()?, changes.last()?);
    let downs = changes.iter().filter(|(_, condition)| condition.status == Status::Down).count();
    let first_down = changes.iter().find(|(_, condition)| condition.status == Status::Down);
    let with_day =
        |local: &LocalTime| format!("{} {:02}:{:02}", day(local), local.hour, local.minute);
    let [bad, well] = now.fault.words();
    Some(match (now.status, downs, first_down) {
        (Status::Down, 0 | 1, _) => {
            let words = condition_words(now, last.severity);
            format!("{name} {words} since {}", context.moment(&last.at, with_day))
        }
        (Status::Down, times, _) => {
            let words = condition_words(now, last.severity);
            let since = context.moment(&last.at, with_day);
            let all = context.moment(&first.at, with_day);
            format!("{name} {words} since {since}, {times} times since {all}")
        }
        (Status::Up, _, None) => {
            format!(
                "{name} {} {}",
                condition_words(now, last.severity),
                context.moment(&last.at, with_day)
            )
        }
        (Status::Up, 1, Some((down, _))) => {
            format!("{name} was {bad} {}", between(&down.at, &last.at, context))
        }
        (Status::Up, times, Some((down, _))) => {
            format!(
                "{name} was {bad} {times} times {}, {well} again",
                between(&down.at, &last.at, context)
            )
        }
    })
}
