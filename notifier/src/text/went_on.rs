//! Where somebody has gone on to from the host that he has logged in to.

use super::{Alphabet, separator};
use crate::fact::Fact;
use crate::foreign::Foreign;

/// Least room for a name: with less the words are left out.
const LEAST: usize = 4;

/// `, went on to home`, `, went on to home +1 more`; nothing where that is not known. A name has as much room as
/// `limit`, and with none there are no words.
pub(super) fn words(fact: Option<&Fact>, alphabet: &Alphabet, limit: usize) -> String {
    place(fact, alphabet, limit).map(|place| format!(", went on {place}")).unwrap_or_default()
}

/// `to home`, `to home +1 more`.
pub(super) fn place(fact: Option<&Fact>, alphabet: &Alphabet, limit: usize) -> Option<String> {
    let (first, others) = names(fact).split_first()?;
    if limit < LEAST {
        return None;
    }
    let more = match others.len() {
        0 => String::new(),
        more => format!(" +{} more", more.min(99)),
    };
    Some(format!("to {}{more}", alphabet.name(first, limit, separator)))
}

/// All of them, for a body.
pub(super) fn all(fact: Option<&Fact>) -> Option<String> {
    let names: Vec<String> = names(fact).iter().map(Foreign::visible).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn names(fact: Option<&Fact>) -> &[Foreign] {
    match fact {
        Some(Fact::WentOn(names)) => names,
        #[allow(unreachable_patterns, reason = "there are other facts")]
        _ => &[],
    }
}
