//! What became of a try. Decided where the cause is known, never read out of a text later.

use std::fmt;
use std::time::Duration;

/// What became of one try to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider has it.
    Delivered {
        /// The provider's own id of the message.
        id: Option<String>,
        /// What the provider answered, in words.
        answer: String,
    },
    /// It was surely not sent, and another time may do.
    Later {
        /// What happened, in words.
        why: String,
        /// Whose fault it is, and so who has to wait.
        fault: Fault,
    },
    /// The request went out, and nobody knows what became of it: look before sending again.
    Doubtful {
        /// What happened, in words.
        why: String,
        /// Whose fault it is, and so who has to wait.
        fault: Fault,
        /// The provider said that it has taken it, and not so that it can be read. Where it
        /// cannot be asked, that is believed: or the same SMS would be sent for ever.
        accepted: bool,
    },
    /// The settings are wrong: no message will get out until somebody mends them.
    Config {
        /// What is wrong and where to look.
        why: String,
    },
    /// This message will never get out this way.
    Never {
        /// Why not.
        why: String,
    },
}

/// Whose fault it is when a try fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The line's or the provider's as a whole: the channel waits.
    Channel,
    /// Perhaps this message's (a 5xx can be): the message waits, the others go on.
    Message,
    /// Nobody's: we were too fast, and the channel waits as long as the provider said.
    /// Nothing shortens that.
    RateLimit(Option<Duration>),
}

/// Whether the provider has a doubtful message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has, under this id.
    Yes(String),
    /// It has not.
    No,
    /// It cannot be asked. Sending again is the lesser evil.
    CannotLook,
    /// The look itself failed.
    Failed(Outcome),
}

/// What became of a message that the provider had taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// It has arrived, or nobody can say more than that; what the provider said, in words.
    Arrived(String),
    /// It is on its way; what the provider said, in words.
    Underway(String),
    /// It has not arrived and will not.
    Failed {
        /// What the provider said, in words.
        why: String,
        /// Whether sending it once more may do.
        again: bool,
    },
    /// The provider could not be asked.
    NotAsked(Outcome),
}

/// What came of a question that sends nothing: whether the provider can be reached, and knows us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It answers and knows us; what it said, in words.
    Knows(String),
    /// It can be reached, and nothing more could be asked without sending a message.
    Reached(String),
    /// There is nothing to ask; why not.
    NotAsked(&'static str),
    /// It did not answer; why not.
    Unanswered(String),
    /// A message would not get out either, for this reason.
    Bad(Outcome),
}

impl Outcome {
    /// A doubtful outcome of which the provider has said nothing.
    #[must_use]
    pub fn doubtful(why: impl Into<String>, fault: Fault) -> Self {
        Self::Doubtful { why: why.into(), fault, accepted: false }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { answer, .. } => f.write_str(answer),
            Self::Later { why, .. }
            | Self::Doubtful { why, .. }
            | Self::Config { why }
            | Self::Never { why } => f.write_str(why),
        }
    }
}
