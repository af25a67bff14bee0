//! What is known of a machine, and what is done about it.

use std::time::Duration;

use notifier::clock::Stamp;

use super::Tale;
use crate::on_demand::note::Wish;

/// What the machine is, as the provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// It does not run.
    Off,
    /// It comes up.
    Starting,
    /// It runs.
    On,
    /// It goes down.
    Stopping,
    /// There is none of this id any more.
    Gone,
}

/// A description.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Seen {
    /// What it is.
    #[serde(rename = "state")]
    pub machine: Machine,
    /// Where.
    #[serde(default)]
    pub address: Option<String>,
}

/// What is asked of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// What it is.
    Describe,
    /// To start it.
    Start,
    /// To stop it.
    Stop,
}

impl Verb {
    /// The word for the program.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// Why a call has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In a word.
    pub kind: Kind,
    /// For a person.
    pub why: String,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// The same in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not now: it is busy, or has no room.
    Busy,
    /// It does not answer.
    Away,
    /// It does not let us.
    Refused,
    /// The settings are wrong.
    Wrong,
}

impl Kind {
    /// The word for the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Away => "unreachable",
            Self::Refused => "refused",
            Self::Wrong => "settings",
        }
    }

    /// Whether somebody has to mend it.
    pub(super) fn is_for_somebody(self) -> bool {
        matches!(self, Self::Refused | Self::Wrong)
    }
}

/// What the link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Up for so many milliseconds.
    Up(u64),
    /// Down for so many.
    Down(u64),
    /// Not known, and why.
    Unknown(String),
}

/// What is known from outside.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The line.
    pub link: Link,
    /// What a person wishes.
    pub wish: Option<Wish>,
    /// Connections through the tunnel: those that people have, and those that are so fresh that they may be looks
    /// of ours.
    pub people: (usize, usize),
    /// Whether the tunnel works.
    pub tunnel_up: bool,
}

/// The time, on the clock that counts and on those that are written down.
#[derive(Debug, Clone)]
pub struct Now {
    /// Milliseconds, sleep included.
    pub ms: u64,
    /// The same moment for the note.
    pub stamp: Stamp,
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Keep the note, before the rest is done.
    Keep,
    /// Ask the provider.
    Call(Verb),
    /// Tell.
    Tell(Tale),
}

/// Where the tunnel's own thread finds the jump host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// At this address; by its name, where the provider has told none.
    At(Option<String>),
    /// Nowhere, and whether that is as it should be.
    Nowhere {
        /// Whether it is off by plan.
        by_plan: bool,
        /// Why, for a person.
        why: String,
    },
}
