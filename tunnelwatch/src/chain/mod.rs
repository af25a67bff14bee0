//! Who came through the tunnel: which connection of ours to the local sshd belongs to which connection
//! on the jump host, and what the jump host says of that.
//!
//! [`ear`] hears from ssh which connections arrive, [`table`] keeps them, [`ask`] asks the jump host over
//! the tunnel's own connection, and [`door`] is where the sender of alerts asks. Nothing of it is done by a
//! tunnel's thread but the hearing.

pub mod ask;
pub mod board;
pub mod door;
pub mod ear;
pub mod net;
pub mod table;
