//! What a channel is given: one or more events on their way to one recipient.

use std::collections::BTreeMap;

use crate::clock::Stamp;
use crate::event::{AlertId, Event, Severity};
use crate::fact::Fact;

/// One or more events on their way to one recipient.
#[derive(Debug, Clone)]
pub struct Message {
    /// What happened; the channel makes its text from it. Of several events, the first: its id is
    /// the message's.
    pub event: Event,
    /// The others that are told with it, all of the same kind. None on a channel whose reader
    /// is a program.
    pub more: Vec<Event>,
    /// What the sender has not seen before of its events, by their ids; of one that is not in here,
    /// nothing. Never what a writer said.
    pub new: Marks,
    /// What was found out about its events, by their ids.
    pub facts: Facts,
    /// Something worth adding where there is room: who else is logged in.
    pub hint: Option<String>,
    /// How many alerts have expired since somebody was told of it. Names make room for that.
    pub expired: usize,
    /// When it is sent.
    pub now: Stamp,
    /// To whom: one of the channel's recipients.
    pub recipient: String,
}

/// What is new of some events, by their ids.
pub type Marks = BTreeMap<AlertId, New>;

/// What was found out about some events, by their ids.
pub type Facts = BTreeMap<AlertId, Fact>;

/// What of a login was never seen before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct New {
    /// Its network: the /24 of an IPv4 address, the /48 of an IPv6 address.
    pub network: bool,
    /// A key that authenticated.
    pub key: bool,
}

impl New {
    /// What is new by one or the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { network: self.network || other.network, key: self.key || other.key }
    }

    /// What is new, a word each.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let network = self.network.then_some("network");
        network.into_iter().chain(self.key.then_some("key"))
    }

    /// What is new, as `network, key`; `None` when nothing is.
    #[must_use]
    pub fn words(self) -> Option<&'static str> {
        match (self.network, self.key) {
            (true, true) => Some("network, key"),
            (true, false) => Some("network"),
            (false, true) => Some("key"),
            (false, false) => None,
        }
    }
}

impl Message {
    /// A message of one event.
    #[must_use]
    pub fn new(event: Event, now: Stamp, recipient: &str) -> Self {
        Self {
            event,
            more: Vec::new(),
            new: Marks::new(),
            facts: Facts::new(),
            hint: None,
            expired: 0,
            now,
            recipient: recipient.to_owned(),
        }
    }

    /// What is added to the text in brackets: how many have expired, else the hint.
    #[must_use]
    pub fn extra(&self) -> Option<String> {
        match self.expired {
            0 => self.hint.clone(),
            1 => Some("1 older alert expired, see the log".to_owned()),
            count => Some(format!("{count} older alerts expired, see the log")),
        }
    }

    /// The id that stands in the message's text, and under which a provider can be asked for it.
    #[must_use]
    pub fn id(&self) -> AlertId {
        self.event.id
    }

    /// All events, first the one that gives the message its id.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        std::iter::once(&self.event).chain(&self.more)
    }

    /// How urgent the most urgent of its events is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.events().map(|event| event.severity).max().unwrap_or(self.event.severity)
    }
}
