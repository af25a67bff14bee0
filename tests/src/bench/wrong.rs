//! What goes wrong at who gets the alerts: the eleven faults of the tables, and how each is done.

use bastion_tests::fault::{Act, Fault};
use serde_json::{Value, json};

/// A fault. Outages last until they are mended, and refusals for ever; the others are over after one
/// try or three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// Connections are refused for a while.
    Refused,
    /// Packets vanish for a while.
    Dropped,
    /// A fault on the other side, three times.
    Failing,
    /// Too fast: come back later.
    TooFast,
    /// The message is refused.
    BadMessage,
    /// The credentials are refused.
    BadSecret,
    /// No answer.
    Hang,
    /// Taken, and the line broken before the answer.
    TakenThenReset,
    /// An answer that is none.
    Garbage,
    /// The right answer, a byte a second.
    Drip,
    /// An answer of 1 GB.
    Huge,
}

/// A count of the mail server's that never ends.
const FOR_EVER: i32 = -1;

/// How long a provider asks to wait, in seconds.
pub const RETRY_AFTER_S: u64 = 3;

impl Wrong {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::Dropped,
        Self::Failing,
        Self::TooFast,
        Self::BadMessage,
        Self::BadSecret,
        Self::Hang,
        Self::TakenThenReset,
        Self::Garbage,
        Self::Drip,
        Self::Huge,
    ];

    /// What a program can do wrong: it has no line that can break.
    pub const OF_A_PROGRAM: [Self; 7] = [
        Self::Failing,
        Self::BadMessage,
        Self::BadSecret,
        Self::Hang,
        Self::TakenThenReset,
        Self::Garbage,
        Self::Huge,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Dropped => "SYNs dropped",
            Self::Failing => "500 three times",
            Self::TooFast => "429",
            Self::BadMessage => "400",
            Self::BadSecret => "401",
            Self::Hang => "hang",
            Self::TakenThenReset => "taken, then reset",
            Self::Garbage => "garbage",
            Self::Drip => "a byte a second",
            Self::Huge => "1 GB",
        }
    }

    /// Whether it lasts until somebody mends it.
    pub fn is_outage(self) -> bool {
        matches!(self, Self::Refused | Self::Dropped)
    }

    /// Whether the message, or the sender, is refused.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::BadMessage | Self::BadSecret)
    }

    /// The numbers of a case's alerts, whose ids nothing else looks like. One where its tries are
    /// counted, else two, as one must not hold up the other.
    pub fn numbers(self) -> &'static [u32] {
        let both = &[0x2f5a_1c3d, 0x1b7c_9e2f];
        if self.is_refusal() || self == Self::TooFast { &both[..1] } else { both }
    }

    /// Whether it takes long by itself, however long the outages are.
    pub fn is_slow(self) -> bool {
        matches!(self, Self::Hang | Self::Drip)
    }

    /// Whether the message has been taken all the same.
    pub fn is_taken(self) -> bool {
        matches!(self, Self::TakenThenReset | Self::Drip)
    }

    /// What becomes of packets.
    pub fn packets(self) -> Option<&'static str> {
        match self {
            Self::Refused => Some("reject with tcp reset"),
            Self::Dropped => Some("drop"),
            _ => None,
        }
    }

    /// At a provider with HTTP.
    pub fn web(self) -> Option<Fault> {
        let once = |act| Fault::new(act).times(1);
        Some(match self {
            Self::Refused | Self::Dropped => return None,
            Self::Failing => Fault::status(500).times(3),
            Self::TooFast => Fault::status(429).retry_after(&RETRY_AFTER_S.to_string()).times(1),
            Self::BadMessage => Fault::status(400),
            Self::BadSecret => Fault::status(401),
            Self::Hang => once(Act::Hang),
            Self::TakenThenReset => Fault::reset_after_accept().times(1),
            Self::Garbage => once(Act::Garbage),
            Self::Drip => once(Act::Drip),
            // An error: a yes without a message would be a lie, whoever believes it.
            Self::Huge => Fault { status: Some(500), ..once(Act::Huge) },
        })
    }

    /// At a mail server, which has no word for 429 but greylisting. A server that drips is another
    /// kind of server.
    pub fn mail(self) -> Option<Value> {
        let answer = |at: &str, answer: &str, times: i32| json!({ "at": at, "do": "answer", "answer": answer, "times": times });
        Some(match self {
            Self::Refused | Self::Dropped | Self::Drip => return None,
            Self::Failing => answer("mail", "451 4.3.0 local error", 3),
            Self::TooFast => answer("rcpt", "450 4.2.0 greylisted, come back", 1),
            Self::BadMessage => answer("rcpt", "550 5.1.1 no such user", FOR_EVER),
            Self::BadSecret => answer("mail", "530 5.7.0 authentication required", FOR_EVER),
            Self::Hang => json!({ "at": "mail", "do": "hang", "times": 1 }),
            Self::TakenThenReset => json!({ "at": "data", "do": "lose", "times": 1 }),
            Self::Garbage => answer("mail", "what? no SMTP", 1),
            Self::Huge => json!({ "at": "mail", "do": "flood", "times": 1 }),
        })
    }

    /// In a program: lines of shell, run once, or three times in a row.
    pub fn program(self) -> Option<(&'static str, u32)> {
        Some(match self {
            Self::Failing => ("exit 75", 3),
            Self::BadMessage => ("exit 65", 9),
            Self::BadSecret => ("exit 78", 9),
            Self::Hang => ("sleep 1000", 1),
            Self::TakenThenReset => ("take; kill -KILL $$", 1),
            Self::Garbage => ("exit 1", 1),
            Self::Huge => ("head -c 1000000000 /dev/zero; kill -KILL $$", 1),
            Self::Refused | Self::Dropped | Self::TooFast | Self::Drip => return None,
        })
    }
}
