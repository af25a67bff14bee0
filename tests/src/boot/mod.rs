//! Machines that boot: a bare Debian with its own systemd, in a container, on which the package is
//! tried as its users have it.
//!
//! [`machine::Machine`] is one of them, [`package`] what is installed on it, [`tunnel`] two of them
//! with a wire between. They take root, debootstrap, systemd-container, and for the first of each
//! release Debian's archive.

pub mod leftovers;
pub mod machine;
pub mod package;
pub mod tunnel;
