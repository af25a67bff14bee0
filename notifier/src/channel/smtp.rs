//! Mail over SMTP (RFC 5321, 6409): lettre writes the mail and the commands and reads the answers,
//! on a line of ours.
//!
//! The connection is encrypted and the server's certificate is right before anything of ours is
//! said: STARTTLS is required, never taken where it happens to be offered. In clear it speaks to
//! a relay on this machine alone, and then without a password.
//!
//! A mail server cannot be asked what became of a mail. So a mail of which nobody knows whether
//! it was taken is sent again under the same Message-ID, by which servers and readers know a copy.

mod connection;
mod dialog;
mod letter;

mod line;
mod settings;
mod trust;
mod verdict;

use lettre::Address;
use lettre::message::Mailbox;

use super::outcome::{Asked, Fault, Outcome};
use super::{Channel, Kick, Message};
use dialog::Server;
pub use settings::read;

/// `type = "smtp"`.
pub struct Smtp {
    server: Server,
    from: Mailbox,
    /// Who gets the bounces (RFC 5321's reverse-path); `None` is `<>`, nobody.
    envelope_from: Option<Address>,
    to: Vec<String>,
    kick: Kick,
}

impl Channel for Smtp {
    fn recipients(&self) -> &[String] {
        &self.to
    }

    /// Takes 30 s at most.
    fn send(&mut self, message: &Message) -> Outcome {
        match letter::write(&self.from, self.envelope_from.as_ref(), message) {
            Ok(letter) => dialog::run(&self.server, &letter, &self.kick),
            // Every part of it was checked, so this is a fault of ours, and perhaps of this
            // message alone.
            Err(why) => Outcome::Later {
                why: format!("the mail cannot be written: {why}"),
                fault: Fault::Message,
            },
        }
    }

    fn ask(&mut self) -> Asked {
        match dialog::ask(&self.server, &self.kick) {
            Ok(()) => Asked::Knows(format!("{} answers, and lets us in", self.server.names.host)),
            Err(outcome) => Asked::Bad(outcome),
        }
    }

    fn kick(&self) -> Option<Kick> {
        Some(self.kick.clone())
    }
}
