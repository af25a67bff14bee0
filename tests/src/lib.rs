//! The rigs that the end-to-end tests and the benches stand on.
//!
//! [`host::Host`] is a throwaway machine in namespaces of its own, with a real sshd, a
//! real libpam, a syslog that can be wedged and a spool; [`provider::Provider`] is a
//! stand-in for Twilio that misbehaves on request; `pamrun` (a binary of this package)
//! calls the PAM module without sshd. No rig touches a file of the machine it
//! runs on, and no packet leaves it.
//!
//! A rig that cannot work (no root, no sshd) panics and says what is missing: a test
//! that was skipped in silence proves nothing.
#![deny(unsafe_code)]

pub mod certificates;
pub mod fault;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
pub mod ffi;
pub mod host;
pub mod login;
pub mod pam;
pub mod process;
pub mod provider;
pub mod sender;
pub mod spool;
pub mod syslog;
pub mod twilio;
pub mod wait;
