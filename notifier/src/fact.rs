//! What a login's own record does not say, and is found out for it before it is told: through which
//! jump host it came, and for whom; or where it went on to.

use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize};

use crate::chain::Answer;
use crate::event::Event;
use crate::foreign::Foreign;

/// Something that was found out about a login.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// Who it was on the jump host, for a login through a tunnel.
    Via(Answer),
    /// Where the person went on to: names of `[[tunnel-watch]]`.
    WentOn(Vec<Foreign>),
}

impl Fact {
    /// Who it was on the jump host, as far as that was asked.
    #[must_use]
    pub fn via(&self) -> Option<&Answer> {
        match self {
            Self::Via(answer) => Some(answer),
            Self::WentOn(_) => None,
        }
    }
}

/// That it was looked for, and what was found. Kept beside the message: a sender that starts anew does
/// not ask again, when whoever was asked may know no more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// What was found; nothing where there was nothing, or not in time.
    #[serde(default, deserialize_with = "known")]
    pub fact: Option<Fact>,
}

/// A fact of a kind that only a later version knows is none: it must not cost the rest of the state.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Fact>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Somebody who can find out something about a login.
pub trait Finder: Send + Sync {
    /// How long an event may wait to be told for what this finds out; `None` when there is nothing to
    /// find. Called by the sender's loop: it looks at the event and asks nobody.
    fn patience(&self, event: &Event) -> Option<Duration>;

    /// Finds it out. Called in a thread of its own; what comes after `deadline` comes too late.
    fn find(&self, event: &Event, deadline: Instant) -> Option<Fact>;

    /// What is told when there was no answer in time.
    fn late(&self) -> Option<Fact> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_of_a_later_version_is_none_and_the_rest_is_read() {
        let table = [
            (r#"{"fact":{"went-on":["home"]}}"#, Some(Fact::WentOn(vec!["home".into()]))),
            (r#"{"fact":{"flew":["home"]}}"#, None),
            (r#"{"fact":null}"#, None),
            ("{}", None),
        ];
        for (json, want) in table {
            assert_eq!(serde_json::from_str::<Looked>(json).unwrap().fact, want, "{json}");
        }
        let looked = Looked { fact: Some(Fact::WentOn(vec!["home".into()])) };
        let json = serde_json::to_string(&looked).unwrap();
        assert_eq!(serde_json::from_str::<Looked>(&json).unwrap(), looked);
    }
}
