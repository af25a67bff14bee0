//! Ways out: each takes one event for one recipient, blocks for a bounded time, and says
//! what became of it. A new one is one file here and one line in [`KINDS`].

pub mod address;
pub mod alertmanager;
pub mod chat;
pub mod connect;
pub mod discord;
pub mod exec;
pub mod http;
#[cfg(feature = "mail")]
pub mod lasting;
mod lookup;
pub mod ntfy;
pub mod outcome;
pub mod redact;
pub mod rfc3339;
pub mod secret;
pub mod slack;
#[cfg(feature = "mail")]
pub mod smtp;
pub mod telegram;
pub mod tls;
pub mod twilio;
pub mod webhook;

use crate::config::Section;
use crate::event::AlertId;
pub use crate::message::Message;
pub use connect::Kick;
pub use outcome::{Asked, Fault, Followed, Found, Outcome};
pub use secret::Secrets;

/// A configured way out. It lives in a thread of its own, so that a slow provider holds up
/// nobody else.
pub trait Channel: Send {
    /// The recipients, each of whom gets a message of his own.
    fn recipients(&self) -> &[String];

    /// Sends the message, in bounded time: [`http::DEADLINE`], where a channel says nothing else.
    fn send(&mut self, message: &Message) -> Outcome;

    /// Looks whether the provider has a message with this id for this recipient already, when it
    /// is not known what became of an earlier try.
    fn find(&mut self, _id: AlertId, _recipient: &str) -> Found {
        Found::CannotLook
    }

    /// Asks the provider something that sends nothing, and is answered if a message would get out.
    fn ask(&mut self) -> Asked;

    /// What ends the wait of a connection attempt that is under way.
    fn kick(&self) -> Option<Kick> {
        None
    }

    /// Who reads what comes out at the other end.
    fn reader(&self) -> Reader {
        Reader::Person
    }

    /// Whether what it was told of a condition stands there until it is told otherwise: then `down`
    /// after `up` would be down for ever, and the changes of one thing go there in their order.
    fn keeps_state(&self) -> bool {
        false
    }

    /// How many SMS segments the message takes, where those are paid for.
    fn segments(&self, _: &Message) -> u32 {
        0
    }

    /// The most that [`Channel::segments`] answers.
    fn most_segments(&self) -> u32 {
        0
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

/// What a channel may send. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Messages in any hour.
    pub per_hour: Option<u32>,
    /// Messages in any 24 hours.
    pub per_day: Option<u32>,
    /// SMS segments in any hour.
    pub segments_per_hour: Option<u32>,
    /// SMS segments in any 24 hours.
    pub segments_per_day: Option<u32>,
}

impl Limits {
    /// Whether there is any.
    #[must_use]
    pub fn are_set(&self) -> bool {
        *self != Self::default()
    }

    /// Those that are set, each as `scale` makes it.
    #[must_use]
    pub fn scaled(&self, scale: impl Fn(u32) -> u32) -> Self {
        Self {
            per_hour: self.per_hour.map(&scale),
            per_day: self.per_day.map(&scale),
            segments_per_hour: self.segments_per_hour.map(&scale),
            segments_per_day: self.segments_per_day.map(&scale),
        }
    }
}

/// A type of channel: its word in the file, and the reader of its section.
pub struct Kind {
    /// `type = "..."`.
    pub name: &'static str,
    /// What it may send, where the file says nothing else.
    pub limits: Limits,
    /// Whether it has SMS segments to count.
    pub paid_by_segment: bool,
    /// Reads the section. What is wrong with it becomes findings, and the answer is `None`.
    pub read: Read,
}

/// All types of channel.
pub const KINDS: &[Kind] = &[
    Kind::free("alertmanager", alertmanager::read),
    Kind::free("discord", discord::read),
    Kind::free("exec", exec::read),
    Kind::free("ntfy", ntfy::read),
    Kind::free("slack", slack::read),
    #[cfg(feature = "mail")]
    Kind::free("smtp", smtp::read),
    Kind::free("telegram", telegram::read),
    Kind { name: "twilio", limits: twilio::LIMITS, paid_by_segment: true, read: twilio::read },
    Kind::free("webhook", webhook::read),
];

/// Reads the section of a channel.
type Read = fn(&mut Section<'_, '_>, &Secrets) -> Option<Box<dyn Channel>>;

impl Kind {
    /// A type of channel that costs nothing by the message.
    const fn free(name: &'static str, read: Read) -> Self {
        let limits = Limits {
            per_hour: None,
            per_day: None,
            segments_per_hour: None,
            segments_per_day: None,
        };
        Self { name, limits, paid_by_segment: false, read }
    }
}
