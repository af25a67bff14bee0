//! Words for a login that came through a tunnel, of whom the jump host was asked. All that it says is a stranger's text.

use super::{Alphabet, Limits, auth, separator, source, space};
use crate::chain::{Answer, Person, Unmatched};
use crate::event::{Factor, Login};
use crate::foreign::Foreign;

/// Room for a reason below which it says nothing any more.
const LEAST_REASON: usize = 10;

/// Where somebody has come from and how, with what the jump host says of it:
///
/// ```text
/// alice via jump: alice, key laptop, from 198.51.100.7; same key here
/// alice from 127.0.0.1 via tunnel (unmatched: its session has ended), key laptop
/// ```
pub(super) fn login(
    login: &Login,
    answer: &Answer,
    alphabet: &Alphabet,
    limits: &Limits,
) -> String {
    let who = alphabet.name(&login.user, limits.user, space);
    let here = auth(&login.auth, alphabet, limits);
    let person = match answer {
        Answer::Unmatched(reason) => {
            let source = source(login, alphabet, limits.source);
            let why = match limits.text {
                0..LEAST_REASON => String::new(),
                limit => format!(": {}", reason_words(reason, alphabet, limit)),
            };
            return format!("{who} from {source} (unmatched{why}), {here}");
        }
        Answer::Matched(person) => person,
    };
    let there = match limits.there {
        0 => String::new(),
        _ => format!(", {}", auth(&person.auth, alphabet, limits)),
    };
    let here = match limits.here {
        0 => String::new(),
        _ if is_same_key(&login.auth, &person.auth) && !there.is_empty() => {
            "; same key here".to_owned()
        }
        _ => format!("; here {here}"),
    };
    let user = alphabet.name(&person.user, limits.user, space);
    let from = from(person, alphabet, limits.source);
    format!("{who} via jump: {user}{there}, from {from}{here}")
}

/// The same for a digest, where many are told: `alice from 198.51.100.7 via jump as bob`.
pub(super) fn short(login: &Login, answer: &Answer, alphabet: &Alphabet, limit: usize) -> String {
    let who = alphabet.name(&login.user, limit, space);
    match answer {
        Answer::Unmatched(_) => {
            format!("{who} from {} (unmatched)", source(login, alphabet, limit))
        }
        Answer::Matched(person) => {
            let from = from(person, alphabet, limit);
            match alphabet.name(&person.user, limit, space) {
                user if person.user == login.user && user == who => {
                    format!("{who} from {from} via jump")
                }
                user => format!("{who} from {from} via jump as {user}"),
            }
        }
    }
}

/// What the jump host says, alone: `alice, key laptop, from 198.51.100.7`, `unmatched: its session has ended`.
pub(super) fn words(answer: &Answer, alphabet: &Alphabet, limits: &Limits) -> String {
    match answer {
        Answer::Unmatched(reason) => {
            format!("unmatched: {}", reason_words(reason, alphabet, limits.text))
        }
        Answer::Matched(person) => format!(
            "{}, {}, from {}",
            alphabet.name(&person.user, limits.user, space),
            auth(&person.auth, alphabet, limits),
            from(person, alphabet, limits.source)
        ),
    }
}

/// Where he came from to the jump host. From there itself he came through another tunnel, or none.
pub(super) fn from(person: &Person, alphabet: &Alphabet, limit: usize) -> String {
    match (person.source, &person.source_name) {
        (Some(ip), _) => ip.to_string(),
        (None, Some(name)) if !name.is_empty() => {
            format!("unknown {}", alphabet.name(name, limit, |_| true))
        }
        (None, _) => "unknown".to_owned(),
    }
}

fn reason_words(reason: &Unmatched, alphabet: &Alphabet, limit: usize) -> String {
    let odd = |c: char| separator(c) || c == ')' || c == ':';
    alphabet.name(&Foreign::from(reason.visible().as_str()), limit, odd)
}

/// Whether one key was all that it took on both hosts, and the same.
fn is_same_key(here: &[Factor], there: &[Factor]) -> bool {
    let only = |factors: &[Factor]| match factors {
        [Factor { key: Some(key), .. }] if !key.fingerprint.is_empty() => {
            Some(key.fingerprint.clone())
        }
        _ => None,
    };
    only(here).is_some() && only(here) == only(there)
}
