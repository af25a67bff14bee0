//! Whether an internet line is there, is the right one, and is good enough, for a few megabytes a day.
//!
//! `linkprobe check` decides against what is asked for, and does not measure: a line that has more
//! is not asked for more. `measure` is the estimate, `watch` the eye on the line, `report` the picture.
#![deny(unsafe_code)]

pub mod account;
pub mod alarm;
pub mod books;
pub mod budget;
pub mod check;
pub mod check_config;
pub mod cli;
pub mod config;
pub mod decide;
pub mod dns;
pub mod endpoint;
pub mod estimate;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
pub mod ffi;
mod heads;
pub mod history;
pub mod http;
pub mod import;
pub mod isp;
pub mod latency;
pub mod line;
pub mod local;
pub mod lock;
pub mod measure;
pub mod metrics;
pub mod owner;
pub mod pace;
pub mod provider;
pub mod reach;
pub mod record;
pub mod report;
pub mod resolvers;
pub mod status;
pub mod steady;
pub mod tester;
pub mod throughput;
pub mod transfer;
pub mod units;
pub mod usage;
pub mod usual;
pub mod verdict;
pub mod watch;
pub mod wire;
