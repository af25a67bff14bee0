//! A lock among the runs of linkprobe: a file beside what it guards, locked as long as it is open.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use notifier::ffi::try_lock;

/// Time from one try to the next.
const EVERY: Duration = Duration::from_millis(5);

/// Takes the lock; `None` when another has not given it back within `most`.
///
/// # Errors
///
/// When the file cannot be made, or not be locked.
pub fn take(path: &Path, most: Duration) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let begun = Instant::now();
    while !try_lock(&file)? {
        if begun.elapsed() > most {
            return Ok(None);
        }
        std::thread::sleep(EVERY);
    }
    Ok(Some(file))
}
