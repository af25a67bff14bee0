//! What linkprobe learns by DNS, alone, as a test sees it. The program is `src/bin/lookup.rs`.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::Net;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// What was found: addresses, texts; or address, numbers, names and country.
    pub found: Vec<String>,
    /// Why nothing was.
    pub error: Option<String>,
    /// Whether a server answered all the same.
    pub answered: bool,
    /// Bytes of IP packets, as linkprobe counts them.
    pub sent: u64,
    /// The other way.
    pub received: u64,
    /// How long it took.
    pub took_ms: u64,
}

impl Told {
    /// It did not come to anything.
    pub fn fail(&mut self, error: &impl Display, answered: bool) {
        (self.error, self.answered) = (Some(error.to_string()), answered);
    }
}

impl Net {
    /// Looks something up at home.
    ///
    /// # Panics
    ///
    /// When that ends without a word.
    #[must_use]
    pub fn lookup(&self, words: &[&str]) -> Told {
        let output = self.home.run(&[&["/rigs/lookup"], words].concat()).ok();
        serde_json::from_slice(&output.stdout).expect("a line of JSON")
    }
}
