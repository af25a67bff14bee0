//! A jump host that runs only while the main line is down: no exposed machine while nobody needs one.
//!
//! A thread for each decides ([`decide`], pure) by what `linkprobe watch` has written of the line, and has
//! another program do what it takes to ask the provider, so that one that hangs holds up nothing.

pub mod config;
pub mod decide;
pub mod note;
