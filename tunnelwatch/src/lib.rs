//! Keeps a reverse SSH forward alive, and proves end to end that it works.
#![deny(unsafe_code)]

pub mod cause;
pub mod config;
pub mod connect;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
pub mod ffi;
pub mod keep;
pub mod policy;
pub mod proof;
pub mod ssh;
pub mod tell;
