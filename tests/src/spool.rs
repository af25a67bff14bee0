//! What the module left: alerts in the spool, and lines in syslog, since a moment.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::host::{DEADLINE, Host, SPOOL};
use crate::syslog::Line;
use crate::wait::wait_until;

/// An alert, as it lies in `drop/`.
#[derive(Debug, Clone)]
pub struct Alert {
    /// The file's name.
    pub name: String,
    /// Its content; null when it is not JSON.
    pub json: Value,
    /// Owner, group and permissions of the file.
    pub owner: (u32, u32, u32),
}

impl Alert {
    /// A text of the login: `user`, `service`, `source`.
    #[must_use]
    pub fn login(&self, field: &str) -> &str {
        self.json["what"][field].as_str().unwrap_or_default()
    }

    /// The first authentication method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.json["what"]["auth"][0]["method"].as_str().unwrap_or_default()
    }

    /// Fingerprint of the first key.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.json["what"]["auth"][0]["key"]["fingerprint"].as_str().unwrap_or_default()
    }
}

/// A moment in the life of a [`Host`]; answers what came after it.
#[derive(Debug, Clone)]
pub struct Mark {
    files: BTreeSet<String>,
    lines: usize,
}

impl Host {
    /// Remembers what is there.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            files: self.spool_files("drop").into_iter().map(|(name, _)| name).collect(),
            lines: self.syslog_of("pam_bastion").len(),
        }
    }

    /// Alerts in `drop/` that came after `mark`.
    #[must_use]
    pub fn alerts_since(&self, mark: &Mark) -> Vec<Alert> {
        self.spool_files("drop")
            .into_iter()
            .filter(|(name, _)| !mark.files.contains(name))
            .map(|(name, text)| {
                let meta = std::fs::symlink_metadata(self.path(format!("{SPOOL}/drop/{name}")));
                let owner = meta.map(|m| (m.uid(), m.gid(), m.mode() & 0o7777));
                Alert {
                    name,
                    json: serde_json::from_str(&text).unwrap_or_default(),
                    owner: owner.unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Lines of the module that came after `mark` and have this event word.
    #[must_use]
    pub fn lines_since(&self, mark: &Mark, event: &str) -> Vec<Line> {
        let lines = self.syslog_of("pam_bastion").into_iter().skip(mark.lines);
        lines.filter(|line| line.event() == event).collect()
    }

    /// Waits until as many sessions have ended as have begun since `mark`, so that nothing
    /// more is to come from them. Answers how many.
    ///
    /// # Panics
    ///
    /// When an end is missing for [`DEADLINE`].
    pub fn wait_ended(&self, mark: &Mark) -> usize {
        let begun = || self.lines_since(mark, "login").len();
        let ended = || self.lines_since(mark, "logout").len();
        if !wait_until(DEADLINE, || begun() == ended()) {
            panic!("{} sessions began, {} ended: {:#?}", begun(), ended(), self.syslog_lines());
        }
        ended()
    }

    /// Waits until at least `count` sessions have ended since `mark`.
    ///
    /// # Panics
    ///
    /// When they do not within [`DEADLINE`].
    pub fn wait_ended_at_least(&self, mark: &Mark, count: usize) {
        self.wait_lines(mark, "logout", count);
    }

    /// Waits for `count` lines with this event word since `mark`, and answers all of them.
    ///
    /// # Panics
    ///
    /// When they do not come within [`DEADLINE`].
    pub fn wait_lines(&self, mark: &Mark, event: &str, count: usize) -> Vec<Line> {
        if !wait_until(DEADLINE, || self.lines_since(mark, event).len() >= count) {
            panic!("{count} lines {event:?} did not come: {:#?}", self.syslog_lines());
        }
        self.lines_since(mark, event)
    }
}
