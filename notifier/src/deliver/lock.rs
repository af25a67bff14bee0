//! One sender: a lock on a file, which goes with the process however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::ffi;

/// The sender's lock, held for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Path of the lock, which also holds the sender's process id.
#[must_use]
pub fn path(run: &Path) -> PathBuf {
    run.join("sender.lock")
}

impl Lock {
    /// Whether a sender runs.
    ///
    /// # Errors
    ///
    /// What the system said; that there is no such file means that none runs.
    pub fn is_held(run: &Path) -> io::Result<bool> {
        match File::open(path(run)) {
            Ok(file) => ffi::try_lock(&file).map(|got| !got),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock; `None` when another sender has it.
    ///
    /// # Errors
    ///
    /// What the system said, of the lock's file or directory.
    pub fn take(run: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path(run))?;
        if !ffi::try_lock(&file)? {
            return Ok(None);
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Some(Self { _file: file }))
    }
}
