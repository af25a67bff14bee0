//! Keeps a reverse SSH forward alive, and proves end to end that it works.
#![deny(unsafe_code)]

pub mod cause;
pub mod config;
pub mod policy;
