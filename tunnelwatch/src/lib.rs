//! Keeps a reverse SSH forward alive, and proves end to end that it works: `tunnelwatch run` on the
//! internal host starts the system's ssh, looks through the very forward that people will use, and
//! decides ([`policy`], pure) by what it finds and by what ssh says ([`cause`], pure). Of a VPN that another
//! program makes it sees to the same ([`external`]).
#![deny(unsafe_code)]

pub mod answer;
pub mod cause;
pub mod chain;
pub mod check;
pub mod cli;
pub mod config;
pub mod connect;
pub mod enroll;
pub mod external;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
pub mod ffi;
pub mod keep;
pub mod keys;
pub mod on_demand;
pub mod policy;
pub mod post;
pub mod proof;
pub mod release;
pub mod run;
pub mod sockets;
pub mod ssh;
pub mod status;
pub mod tell;
pub mod through;
pub mod tries;
pub mod watch;
