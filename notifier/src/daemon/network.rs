//! That something about the network has changed: a hint to look at once.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use crate::ffi;

/// The kernel's news of links, addresses and routes.
#[derive(Debug)]
pub struct Network(File);

impl Network {
    /// Begins to hear them.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn watch() -> io::Result<Self> {
        ffi::watch_network().map(|socket| Self(socket.into()))
    }

    /// Reads what there is and answers whether there was something.
    #[must_use]
    pub fn drain(&self) -> bool {
        let mut bytes = [0; 4096];
        let mut some = false;
        loop {
            match (&self.0).read(&mut bytes) {
                Ok(read) if read > 0 => some = true,
                // More has changed than the kernel could keep (netlink(7), ENOBUFS).
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => some = true,
                _ => return some,
            }
        }
    }
}

impl AsFd for Network {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
