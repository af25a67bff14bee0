//! Whether an internet line is there, is the right one, and is good enough, for a few megabytes a day.
//!
//! `linkprobe check` decides against what is asked for, and does not measure: a line that has more
//! is not asked for more. `measure` is the estimate, `watch` the eye on the line, `report` the picture.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
pub mod ffi;
pub mod line;
pub mod provider;
pub mod reach;
pub mod record;
pub mod resolvers;
pub mod status;
pub mod units;
pub mod watch;
