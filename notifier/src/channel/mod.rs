//! Ways out: each takes one event for one recipient, blocks for a bounded time, and says
//! what became of it. A new one is one file here and one line in [`KINDS`].

pub mod exec;
pub mod http;
pub mod outcome;
pub mod secret;
#[cfg(feature = "mail")]
pub mod smtp;
pub mod twilio;

use crate::config::Section;
pub use crate::message::Message;
pub use outcome::{Fault, Followed, Found, Outcome};
pub use secret::Secrets;

/// A configured way out. It lives in a thread of its own, so that a slow provider holds up
/// nobody else.
pub trait Channel: Send {
    /// The recipients, each of whom gets a message of his own.
    fn recipients(&self) -> &[String];

    /// Sends the message, in bounded time: [`http::DEADLINE`], where a channel says nothing else.
    fn send(&mut self, message: &Message) -> Outcome;

    /// Looks whether the provider has the message already, when it is not known what became
    /// of an earlier try.
    fn find(&mut self, _: &Message) -> Found {
        Found::CannotLook
    }

    /// Who reads what comes out at the other end.
    fn reader(&self) -> Reader {
        Reader::Person
    }

    /// Whether the provider can be asked what became of a message that it has taken.
    fn follows(&self) -> bool {
        false
    }

    /// Asks the provider what became of the message that it has taken under this id.
    fn follow(&mut self, _id: &str) -> Followed {
        Followed::Arrived("the provider has taken it".to_owned())
    }
}

/// Who reads what comes out at the other end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person, who gets what waits together in one message.
    Person,
    /// A program, which gets each event by itself.
    Program,
}

/// A type of channel: its word in the file, and the reader of its section.
pub struct Kind {
    /// `type = "..."`.
    pub name: &'static str,
    /// Reads the section. What is wrong with it becomes findings, and the answer is `None`.
    pub read: fn(&mut Section<'_, '_>, &Secrets) -> Option<Box<dyn Channel>>,
}

/// All types of channel.
pub const KINDS: &[Kind] = &[
    Kind { name: "exec", read: exec::read },
    #[cfg(feature = "mail")]
    Kind { name: "smtp", read: smtp::read },
    Kind { name: "twilio", read: twilio::read },
];
