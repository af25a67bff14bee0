//! One sender: a lock on the directory that it alone may use. It goes with the process however
//! that ends, nobody else can take it, and nobody can remove what it is on.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::ffi;

/// The sender's lock, held for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _queue: File,
}

impl Lock {
    /// Takes the lock of the sender whose queue is at `queue`; `None` when another has it.
    ///
    /// # Errors
    ///
    /// What the system said of the directory.
    pub fn take(queue: &Path) -> io::Result<Option<Self>> {
        let queue = File::open(queue)?;
        Ok(ffi::try_lock(&queue)?.then_some(Self { _queue: queue }))
    }

    /// Whether a sender runs.
    ///
    /// # Errors
    ///
    /// What the system said of the directory.
    pub fn is_held(queue: &Path) -> io::Result<bool> {
        Self::take(queue).map(|lock| lock.is_none())
    }
}
