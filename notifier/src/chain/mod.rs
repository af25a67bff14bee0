//! Who was it, two hosts away: the jump host's own record of a session, found again by the connection
//! that the session has opened to the tunnel's port.
//!
//! `pam_bastion` leaves a [`record::Record`] of each session that is open. On the jump host [`Answer`] is made of
//! them; it travels over the tunnel's own SSH connection, and the internal host reads it with [`Answer::parse`].

pub mod process;
pub mod record;

#[cfg(feature = "daemon")]
mod answer;
#[cfg(feature = "daemon")]
pub mod look;
#[cfg(feature = "daemon")]
pub mod owner;
#[cfg(feature = "daemon")]
pub mod socket;

#[cfg(feature = "daemon")]
pub use answer::{Answer, MAX_ANSWER, Person, Unmatched};
