//! What is counted and told once a week: how things went, and how the alerts did.

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::foreign::Foreign;

/// How something went since its writer last said so: never told by itself, but added up for the
/// next [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Its name, as `tunnel cloud` or `checks`. At most [`super::Condition::MAX_NAME`] bytes.
    pub name: Foreign,
    /// How many of `all` went well.
    pub good: u64,
    /// How many there were.
    pub all: u64,
    /// Of what.
    pub unit: Unit,
}

/// What a [`Tally`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Occasions: checks, backups.
    Times,
    /// Seconds, in which something was up.
    Seconds,
}

/// The weekly report. That it comes says that alerts get out; what it says, how often they had to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// When the time that it tells of began; it ended with the event.
    pub since: Stamp,
    /// Logins that were told.
    pub logins: u64,
    /// Notes and changes of conditions that were told.
    pub others: u64,
    /// Alerts that no channel has taken, or that were too old before one did.
    pub lost: u64,
    /// The most seconds that one was late.
    pub late_s: u64,
    /// Allowances that are in force (`bastion allow --list`).
    pub allowances: u64,
    /// How other things went: what was tallied, and conditions that were down for some of the time.
    pub tallies: Vec<Tally>,
}
