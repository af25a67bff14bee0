//! Ways out: each takes one event for one recipient, blocks for a bounded time, and says
//! what became of it. A new one is one file here and one line in [`KINDS`].

pub mod http;
pub mod outcome;
pub mod secret;
pub mod twilio;

use crate::clock::Stamp;
use crate::config::Section;
use crate::event::Event;
pub use outcome::{Fault, Found, Outcome};
pub use secret::Secrets;

/// One event on its way to one recipient.
#[derive(Debug, Clone)]
pub struct Message {
    /// What happened; the channel makes its text from it.
    pub event: Event,
    /// Something worth adding where there is room: who else is logged in.
    pub hint: Option<String>,
    /// When it is sent.
    pub now: Stamp,
    /// To whom: one of [`Channel::recipients`].
    pub recipient: String,
}

/// A configured way out. It lives in a thread of its own, so that a slow provider holds up
/// nobody else.
pub trait Channel: Send {
    /// The recipients, each of whom gets a message of his own.
    fn recipients(&self) -> &[String];

    /// Sends the message; takes [`http::DEADLINE`] at most.
    fn send(&mut self, message: &Message) -> Outcome;

    /// Looks whether the provider has the message already, when it is not known what became
    /// of an earlier try.
    fn find(&mut self, message: &Message) -> Found;
}

/// A type of channel: its word in the file, and the reader of its section.
pub struct Kind {
    /// `type = "..."`.
    pub name: &'static str,
    /// Reads the section. What is wrong with it becomes findings, and the answer is `None`.
    pub read: fn(&mut Section<'_, '_>, &Secrets) -> Option<Box<dyn Channel>>,
}

/// All types of channel.
pub const KINDS: &[Kind] = &[Kind { name: "twilio", read: twilio::read }];
