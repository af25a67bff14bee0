//! A jump host that runs only while the main line is down: no exposed machine while nobody needs one.
//!
//! A thread for each ([`steward`]) decides ([`decide`], pure) by what `linkprobe watch` has written of the line,
//! and has another program do what it takes to ask the provider, so that one that hangs holds up nothing.

use serde::{Deserialize, Serialize};

pub mod call;
pub mod config;
pub mod decide;
pub mod hand;
pub mod link;
pub mod note;
pub mod people;
pub mod steward;

/// What `status --json` says of a jump host on demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Jump {
    /// What it is, as the provider said last; nothing while that is not known.
    pub machine: Option<decide::Machine>,
    /// Whether it is to run.
    pub wanted: bool,
    /// Why, or why not, for a person.
    pub why: String,
    /// Where it is.
    pub address: Option<String>,
    /// Seconds since when it runs, 1970-based.
    pub since_s: Option<u64>,
    /// Whether we have started it.
    pub ours: bool,
    /// Seconds of this month that it ran, and may run.
    pub used_s: u64,
    /// See above.
    pub most_s: u64,
    /// How many are logged in through it.
    pub logged_in: usize,
    /// What a person wishes: `start` or `stop`.
    pub wish: Option<String>,
    /// What is wrong at the provider.
    pub trouble: Option<String>,
}
