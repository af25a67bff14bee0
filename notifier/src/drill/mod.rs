//! `bastion drill`: the whole way, proved. A test message over each channel, the tunnel from end to end, a login through
//! it whose alert arrives, the lines, what the doctor finds, and what ends soon.
//!
//! What other programs know is asked of them, as `bastion check` does. Judging is pure, a file a part; what does not
//! depend on each other runs at the same time, and each part has its deadline: all of it takes a minute at most.

#[cfg(feature = "deliver")]
mod channels;
#[cfg(feature = "deliver")]
mod expiry;
#[cfg(feature = "deliver")]
mod host;
#[cfg(feature = "deliver")]
mod line;
#[cfg(feature = "deliver")]
pub mod login;
pub mod mark;
#[cfg(feature = "deliver")]
pub mod plan;
#[cfg(feature = "deliver")]
pub mod report;
#[cfg(feature = "deliver")]
mod run;
#[cfg(feature = "deliver")]
mod tunnel;

#[cfg(feature = "deliver")]
pub use channels::judge_heartbeat;
#[cfg(feature = "deliver")]
pub use run::{HEARTBEAT, run};
