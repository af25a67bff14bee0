//! Starts, stops and describes the jump host of a `[tunnel.on-demand]` at its provider, one call a process.
//!
//! `tunnelwatch run` starts it for each call: TLS stays out of a program that runs all the time, and an API that
//! hangs cannot hang the tunnel. What it prints and how it ends is in [`call`]; `provider = "exec"` calls a program of
//! the administrator's in the same way.
#![forbid(unsafe_code)]

pub mod api;
pub mod bearer;
pub mod call;
pub mod cli;
pub mod digitalocean;
pub mod ec2;
pub mod hetzner;
pub mod sign;
