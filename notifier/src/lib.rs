//! The shared crate of the back door's guard: what an alert is, who is known good, how an
//! alert reaches the spool, and (feature `deliver`) how it gets from there to a phone.
//!
//! Data flows one way: a writer makes an [`event::Event`] and puts it into the drop
//! directory ([`spool::drop`]); the sender claims it, makes it durable and delivers it.
//! No writer touches the network, and the sender never runs as root.
#![deny(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod drill;
pub mod event;
#[cfg(feature = "daemon")]
pub mod exit;
#[cfg(feature = "daemon")]
pub mod fact;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
pub mod ffi;
pub mod foreign;
pub mod known_good;
pub mod spool;
pub mod syslog;
#[cfg(feature = "daemon")]
pub mod systemd;

#[cfg(feature = "deliver")]
pub mod channel;
#[cfg(feature = "deliver")]
pub mod cli;
#[cfg(feature = "deliver")]
pub mod deliver;
#[cfg(feature = "deliver")]
pub mod doctor;
#[cfg(feature = "deliver")]
pub mod fnv;
#[cfg(feature = "deliver")]
pub mod message;
#[cfg(feature = "deliver")]
pub mod pam_line;
#[cfg(feature = "deliver")]
pub mod text;
