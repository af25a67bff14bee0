//! The directory in which writers and the sender meet.
//!
//! ```text
//! drop/    writers publish here by rename; they can create, and cannot list
//! queue/   the sender's own: one file a message, and its state beside it
//! failed/  what could not be sent or was no alert, with the reason
//! sent/    what arrived, for a while
//! ```

#[cfg(feature = "deliver")]
pub mod claim;
pub mod drop;
#[cfg(feature = "daemon")]
pub mod files;
#[cfg(feature = "daemon")]
pub mod owner;
#[cfg(feature = "deliver")]
pub mod prune;
#[cfg(feature = "deliver")]
pub mod queue;

use std::path::{Path, PathBuf};

use crate::event::{AlertId, Event};

/// Largest drop file, in bytes. The largest that a writer of ours makes is some 8 KiB: a
/// note of 4 KiB in which every character needs an escape.
pub const MAX_FILE: u64 = 16 * 1024;

/// The four directories below `[host] spool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    root: PathBuf,
}

impl Spool {
    /// The spool at `root`. Touches nothing.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The spool itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where writers publish.
    #[must_use]
    pub fn drop(&self) -> PathBuf {
        self.root.join("drop")
    }

    /// Where the sender keeps what it has claimed.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.root.join("queue")
    }

    /// What could not be sent, or was no alert.
    #[must_use]
    pub fn failed(&self) -> PathBuf {
        self.root.join("failed")
    }

    /// What arrived.
    #[must_use]
    pub fn sent(&self) -> PathBuf {
        self.root.join("sent")
    }
}

/// The name of an event's file: `<unix ms>-<kind>-<id>.json`.
#[must_use]
pub fn file_name(event: &Event) -> String {
    format!("{:013}-{}-{}.json", event.at.unix_ms, event.what.kind(), event.id)
}

/// The id in a file's name; `None` for a name that [`file_name`] does not make. A name is
/// what a stranger chose until this has answered.
#[must_use]
pub fn id_of(name: &str) -> Option<AlertId> {
    let mut parts = name.strip_suffix(".json")?.splitn(3, '-');
    let (time, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = (13..=16).contains(&time.len()) && time.bytes().all(|c| c.is_ascii_digit());
    let word = (1..=16).contains(&kind.len()) && kind.bytes().all(|c| c.is_ascii_lowercase());
    if digits && word { AlertId::parse(id) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_an_id() {
        assert!(id_of("1700000000000-login-k7f3q2.json").is_some());
        for name in [
            "",
            ".json",
            ".1700000000000-login-k7f3q2.json",
            "1700000000000-login-k7f3q2",
            "1700000000000-login-k7f3q2.json.state",
            "17000-login-k7f3q2.json",
            "1700000000000-LOGIN-k7f3q2.json",
            "1700000000000-login-k7f3q2-x.json",
            "1700000000000-login-../../x.json",
            "1700000000000--k7f3q2.json",
            "a\nb",
        ] {
            assert_eq!(id_of(name), None, "{name:?}");
        }
    }
}
