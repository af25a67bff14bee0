//! What the servers of [`super`] are told to do wrong, as JSON in a line of their standard input.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::isp::Isp;

/// What a speed server does with some requests, or with all. One for the same requests takes the
/// place of the one before; of several that fit, the newest counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Only to requests whose path contains this.
    #[serde(default)]
    pub path: Option<String>,
    /// Only to requests to this host (without the port).
    #[serde(default)]
    pub host: Option<String>,
    /// Only so often.
    #[serde(default)]
    pub times: Option<u32>,
    /// What.
    pub act: Act,
}

/// What is done wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Nothing, any longer: all orders are forgotten.
    Heal,
    /// Nothing, for the requests that this fits.
    Behave,
    /// An answer with this status and a page for people.
    Status {
        /// The status.
        code: u16,
        /// `Retry-After`, if any.
        retry_after: Option<String>,
    },
    /// 200 and the page of a captive portal.
    Portal,
    /// This as the body, 200.
    Say(String),
    /// The right head, and the body ends after so many bytes, by the end of the connection.
    Truncate(u64),
    /// The right head, and a reset after so many bytes of the body.
    Reset(u64),
    /// A body that does not end.
    Endless,
    /// The right answer, head included, at so many bytes a second.
    Pace(u32),
    /// Elsewhere, by 302.
    Redirect(String),
    /// Takes the request, and answers nothing.
    Silent,
    /// Takes the connection, and says nothing: no TLS either.
    Mute,
    /// Ends the connection when the request is there.
    HangUp,
    /// Shows a certificate that nobody should believe. The path does not matter: by a request's path
    /// nobody can tell before there is one.
    Certificate(Wrong),
    /// Says this of each client.
    Isp(Isp),
    /// Says that each client has this address.
    Address(IpAddr),
}

impl Act {
    /// A status without more.
    #[must_use]
    pub fn status(code: u16) -> Self {
        Self::Status { code, retry_after: None }
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// From a CA that nobody knows.
    Stranger,
    /// It was good once.
    Expired,
    /// Of somebody else.
    Name,
}

impl Order {
    /// To all requests, until another order.
    #[must_use]
    pub fn new(act: Act) -> Self {
        Self { path: None, host: None, times: None, act }
    }

    /// Only to requests whose path contains this.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Only to requests to this host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Only so often.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// What a name server does with some questions, or with all; as [`Order`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NameOrder {
    /// Only to questions for this name and those below it.
    #[serde(default)]
    pub name: Option<String>,
    /// Only to those asked at this address of the server.
    #[serde(default)]
    pub at: Option<IpAddr>,
    /// What.
    pub act: NameAct,
}

/// What is done wrong with a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameAct {
    /// Nothing, any longer: all orders are forgotten.
    Heal,
    /// Nothing, for the questions that this fits.
    Behave,
    /// No answer.
    Silent,
    /// Two, `SERVFAIL`.
    ServFail,
    /// Five, `REFUSED`.
    Refused,
    /// Three, `NXDOMAIN`.
    NoName,
    /// The right answer, so many milliseconds late.
    Slow(u64),
    /// The answer of a resolver in between, which asked in our place from this address.
    Between(IpAddr),
    /// This address for each name, there or not; no other record.
    Lie(IpAddr),
    /// This address for each name that is not there: a search page of the ISP.
    Redirect(IpAddr),
    /// TC by UDP, the answer by TCP.
    Truncated,
    /// The same, and no answer by TCP.
    TruncatedForGood,
    /// Bytes that are no message, but for the first two.
    Garbage,
    /// The right answer under another id, and then nothing.
    WrongId,
    /// The right answer to another question.
    WrongQuestion,
    /// The right answer, with these addresses for each name that has some.
    Addresses(Vec<IpAddr>),
    /// Says to who asks who he is that he is this.
    You(IpAddr),
    /// This text as the answer to each question for a text.
    Text(String),
}

impl NameOrder {
    /// To all questions.
    #[must_use]
    pub fn new(act: NameAct) -> Self {
        Self { name: None, at: None, act }
    }

    /// Only for this name and those below it.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only to those asked at this address.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        self.at = Some(address.parse().expect("an address"));
        self
    }
}
