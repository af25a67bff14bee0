//! The writers' side of the spool: put one event into `drop/`, and nothing else.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{MAX_FILE, Spool, file_name};
use crate::clock::Stamp;
use crate::event::{AlertId, Event, FORMAT, Severity, What};
use crate::ffi;
use crate::foreign::Foreign;

/// Whether a writer waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It does: the event survives a power cut from the moment the call returns.
    Now,
    /// It does not: for a login, which an `fsync` can hold up by 30 ms or more. The sender
    /// makes the file durable when it claims it, some milliseconds later.
    BySender,
}

/// Why an event could not be put into the spool.
#[derive(Debug)]
pub enum SpoolError {
    /// A directory is missing, or is not one that an alert may be trusted to.
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Creating, writing, syncing or renaming failed; nothing was published.
    Io {
        /// What was tried.
        step: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The event is larger than [`MAX_FILE`], or than this process may write.
    TooLarge {
        /// Its size, in bytes.
        bytes: usize,
    },
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsafe { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Io { step, path, source } => write!(f, "{step} {}: {source}", path.display()),
            Self::TooLarge { bytes } => {
                write!(
                    f,
                    "the event has {bytes} bytes, more than {MAX_FILE} or than ulimit -f lets"
                )
            }
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A new id, or one from the clock and the process id while the kernel has no random
/// numbers yet: ids have to differ, nobody has to be unable to guess them.
#[must_use]
pub fn new_id(unix_ms: u64) -> AlertId {
    let bits = ffi::random_u32().unwrap_or_else(|| {
        let low = u32::try_from(unix_ms & 0xffff_ffff).unwrap_or_default();
        low.rotate_left(11) ^ std::process::id().wrapping_mul(0x9e37_79b9)
    });
    AlertId::from_bits(bits)
}

/// A new event of `at`, ready to be published.
#[must_use]
pub fn new_event(at: Stamp, host: &Foreign, severity: Severity, what: What) -> Event {
    let id = new_id(at.unix_ms);
    Event { version: FORMAT, id, at, host: host.clone(), severity, what }
}

/// Publishes `event` in `drop/`: writes a file that only the sender's group may read, under
/// a hidden name, and renames it. Answers the published path.
///
/// # Errors
///
/// [`SpoolError`]; nothing is left behind.
pub fn publish(spool: &Spool, event: &Event, sync: Sync) -> Result<PathBuf, SpoolError> {
    let drop = spool.drop();
    trusted(spool, &drop)?;
    let json = serde_json::to_vec(event).map_err(|source| SpoolError::Io {
        step: "write",
        path: drop.clone(),
        source: source.into(),
    })?;
    let bytes = json.len() as u64;
    if bytes > MAX_FILE || ffi::file_size_limit().is_some_and(|most| bytes > most) {
        return Err(SpoolError::TooLarge { bytes: json.len() });
    }
    let name = file_name(event);
    let (hidden, public) = (drop.join(format!(".{name}")), drop.join(&name));
    let step = |step, path: &Path| {
        let path = path.to_owned();
        move |source| SpoolError::Io { step, path, source }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .mode(0o640)
        .open(&hidden)
        .map_err(step("create", &hidden))?;
    let written = fill(&mut file, &json, sync)
        .map_err(step("write", &hidden))
        .and_then(|()| fs::rename(&hidden, &public).map_err(step("rename", &hidden)));
    if written.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    written?;
    if sync == Sync::Now {
        File::open(&drop)
            .or_else(|error| match error.kind() {
                // A writer that is not root may create in drop/ and may not open it. To sync
                // the file after the rename does it where the journal keeps the order.
                io::ErrorKind::PermissionDenied => Ok(file),
                _ => Err(error),
            })
            .and_then(|dir| dir.sync_all())
            .map_err(step("sync", &drop))?;
    }
    Ok(public)
}

fn fill(file: &mut File, json: &[u8], sync: Sync) -> io::Result<()> {
    file.write_all(json)?;
    // Not left to the umask: pam_umask may have set 077 a line earlier, and the
    // sender, which reads by its group, could then not read the alert.
    file.set_permissions(Permissions::from_mode(0o640))?;
    if sync == Sync::Now { file.sync_all() } else { Ok(()) }
}

/// Whether alerts may be put into `drop`: nobody but root decides what stands in the spool,
/// and drop/ belongs to root or to the sender, which is whoever owns queue/. No name
/// service is asked for the sender's uid: a login must not wait for one.
fn trusted(spool: &Spool, drop: &Path) -> Result<(), SpoolError> {
    let me = ffi::geteuid();
    let distrust =
        |path: &Path, reason: String| Err(SpoolError::Unsafe { path: path.to_owned(), reason });
    let look = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(meta),
        Ok(_) => {
            Err(SpoolError::Unsafe { path: path.to_owned(), reason: "not a directory".into() })
        }
        Err(source) => Err(SpoolError::Io { step: "look at", path: path.to_owned(), source }),
    };
    let root = look(spool.root())?;
    if root.uid() != 0 && root.uid() != me {
        return distrust(spool.root(), format!("owned by uid {}, not by root", root.uid()));
    }
    if root.mode() & 0o022 != 0 {
        return distrust(spool.root(), "others may write to it; run: chmod go-w".into());
    }
    let found = look(drop)?;
    let sender = fs::symlink_metadata(spool.queue()).ok().map(|queue| queue.uid());
    if found.uid() != 0 && found.uid() != me && Some(found.uid()) != sender {
        return distrust(
            drop,
            format!("owned by uid {}, neither root nor the owner of queue/", found.uid()),
        );
    }
    if found.mode() & 0o002 != 0 {
        return distrust(drop, "everybody may write to it; run: chmod o-w".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::event::{FORMAT, Note, Severity, What};
    use crate::foreign::Foreign;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("notifier-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("drop")).unwrap();
            fs::create_dir_all(path.join("queue")).unwrap();
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn event(text: &str) -> Event {
        let at = Stamp::now();
        Event {
            version: FORMAT,
            id: new_id(at.unix_ms),
            at,
            host: Foreign::from("h"),
            severity: Severity::Info,
            what: What::Note(Note { text: text.into() }),
        }
    }

    #[test]
    fn a_published_event_reads_back_and_is_private() {
        let dir = Dir::new("publish");
        for sync in [Sync::Now, Sync::BySender] {
            let event = event("hello");
            let path = publish(&Spool::new(&dir.0), &event, sync).unwrap();
            let back: Event = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(back, event);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        }
        assert_eq!(fs::read_dir(dir.0.join("drop")).unwrap().count(), 2);
    }

    #[test]
    fn no_event_goes_where_others_may_write() {
        let dir = Dir::new("unsafe");
        let spool = Spool::new(&dir.0);
        let chmod =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        chmod(&dir.0, 0o777);
        assert!(matches!(publish(&spool, &event("x"), Sync::Now), Err(SpoolError::Unsafe { .. })));
        chmod(&dir.0, 0o755);
        chmod(&spool.drop(), 0o1777);
        assert!(matches!(publish(&spool, &event("x"), Sync::Now), Err(SpoolError::Unsafe { .. })));
        fs::remove_dir(spool.drop()).unwrap();
        std::os::unix::fs::symlink("/tmp", spool.drop()).unwrap();
        assert!(matches!(publish(&spool, &event("x"), Sync::Now), Err(SpoolError::Unsafe { .. })));
        fs::remove_file(spool.drop()).unwrap();
        assert!(matches!(publish(&spool, &event("x"), Sync::Now), Err(SpoolError::Io { .. })));
    }

    #[test]
    fn an_oversized_event_is_refused_and_leaves_nothing() {
        let dir = Dir::new("oversized");
        let result = publish(&Spool::new(&dir.0), &event(&"x".repeat(20_000)), Sync::Now);
        assert!(matches!(result, Err(SpoolError::TooLarge { .. })));
        assert_eq!(fs::read_dir(dir.0.join("drop")).unwrap().count(), 0);
    }
}
