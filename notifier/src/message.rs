//! What a channel is given: one or more events on their way to one recipient.

use crate::clock::Stamp;
use crate::event::{AlertId, Event, Severity};

/// One or more events on their way to one recipient.
#[derive(Debug, Clone)]
pub struct Message {
    /// What happened; the channel makes its text from it. Of several events, the first: its id is
    /// the message's.
    pub event: Event,
    /// The others that are told with it, all of the same kind. None on a channel whose reader
    /// is a program.
    pub more: Vec<Event>,
    /// Something worth adding where there is room: who else is logged in.
    pub hint: Option<String>,
    /// When it is sent.
    pub now: Stamp,
    /// To whom: one of the channel's recipients.
    pub recipient: String,
}

impl Message {
    /// A message of one event.
    #[must_use]
    pub fn new(event: Event, now: Stamp, recipient: &str) -> Self {
        Self { event, more: Vec::new(), hint: None, now, recipient: recipient.to_owned() }
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
