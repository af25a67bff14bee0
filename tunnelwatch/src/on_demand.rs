//! A jump host that runs only while the main line is down: no exposed machine while nobody needs one.

pub mod config;
