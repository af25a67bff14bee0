//! What a test orders, and sees.

use serde::{Deserialize, Serialize};

/// What a test makes of the machine; what is left out stays as it is. On the provider's standard input and in
/// `PUT /control` it is `{"cloud":{..}}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Order {
    /// How long a start takes, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_ms: Option<u64>,
    /// How long a stop takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_ms: Option<u64>,
    /// Whether it hears no request to shut down, as a system does that hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deaf: Option<bool>,
    /// Its addresses, a new one for each start, and then from the first on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// It is on or off now, by another's hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// There is no such machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
    /// All that was done with it so far was done so much earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ago_ms: Option<u64>,
    /// How requests are refused, one after the other; taken in the place of what was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<Vec<Refusal>>,
}

/// How a request is refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Refusal {
    /// Of what: `start`, `stop`, `describe`.
    pub on: String,
    /// The HTTP status.
    pub status: u16,
    /// The provider's own word for it.
    pub code: String,
    /// How often; for ever where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

impl Refusal {
    /// For ever, with this status and the provider's own word.
    #[must_use]
    pub fn new(on: &str, status: u16, code: &str) -> Self {
        Self { on: on.to_owned(), status, code: code.to_owned(), count: None }
    }

    /// Only so often.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }
}

/// The machine as somebody sees it who stands beside it. The provider prints it, as JSON behind `machine: `, after
/// each order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// `off`, `starting`, `on`, `stopping`.
    pub state: String,
    /// Its address while it is on.
    pub address: Option<String>,
    /// How often it was started by the API, and stopped.
    pub starts: u32,
    /// See `starts`.
    pub stops: u32,
    /// Requests for a start and for a stop that came, refused ones and such of nothing to do among them.
    pub start_requests: u32,
    /// See `start_requests`.
    pub stop_requests: u32,
    /// How long it was on or starting, in all, in milliseconds: what is paid.
    pub paid_ms: u64,
}
