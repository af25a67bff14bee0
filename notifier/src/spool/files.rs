//! The sender's side of files: reading what strangers wrote, writing what must last.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::MAX_FILE;
use crate::event::{Event, FORMAT, What};
use crate::ffi;

/// Why a file gave no event.
#[derive(Debug)]
pub enum ReadError {
    /// It is none, and never will be. Says why, in words for the log.
    NotAnEvent(String),
    /// The system did not let us look (no descriptors, a bad disk, no right): it may be one.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnEvent(why) => f.write_str(why),
            Self::Io(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::NotAnEvent(_) => None,
        }
    }
}

/// Reads a published event, if the file is one that may be believed: a regular file with one
/// name, of at most [`MAX_FILE`] bytes, that holds an event of a kind its owner may tell.
/// Never waits and never follows a link.
///
/// # Errors
///
/// [`ReadError`]; it keeps apart what is no event from what could not be looked at.
pub fn read_event(path: &Path) -> Result<Event, ReadError> {
    let not = |why: String| Err(ReadError::NotAnEvent(why));
    let file = match open_plainly(path) {
        Ok(file) => file,
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::ELOOP) => not("a symbolic link".into()),
                Some(libc::ENXIO) => not("a socket".into()),
                _ => Err(ReadError::Io(error)),
            };
        }
    };
    let meta = file.metadata().map_err(ReadError::Io)?;
    if !meta.is_file() {
        return not("not a regular file".into());
    }
    if meta.nlink() != 1 {
        return not(format!("has {} names: a hard link", meta.nlink()));
    }
    if meta.len() > MAX_FILE {
        return not(format!("{} bytes, more than {MAX_FILE}", meta.len()));
    }
    let bytes = read_most(&file, MAX_FILE).map_err(ReadError::Io)?;
    let event = parse_event(&bytes).map_err(ReadError::NotAnEvent)?;
    if !may_tell(meta.uid(), &event.what) {
        let (kind, uid) = (event.what.kind(), meta.uid());
        return not(format!("a {kind} has to come from root, this is from uid {uid}"));
    }
    Ok(event)
}

/// Reads a small file of the sender's own, at most [`MAX_FILE`] bytes of it. Never waits and
/// never follows a link, for the command that an administrator runs beside the sender.
///
/// # Errors
///
/// What the system said.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    read_most(&open_plainly(path)?, MAX_FILE)
}

fn open_plainly(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read_most(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the content of a drop file.
///
/// # Errors
///
/// What is wrong with it, in words for the log; nothing of the content is repeated.
pub fn parse_event(bytes: &[u8]) -> Result<Event, String> {
    let event: Event = serde_json::from_slice(bytes)
        .map_err(|error| format!("no event: line {}, column {}", error.line(), error.column()))?;
    if event.version != FORMAT {
        return Err(format!("layout {}, this sender reads layout {FORMAT}", event.version));
    }
    Ok(event)
}

/// Whether a file's owner may tell an event of this kind. The kernel vouches for the owner;
/// nothing in the file does. What the sender itself wrote is believed.
fn may_tell(uid: u32, what: &What) -> bool {
    match what {
        What::Login(_) | What::Report(_) => uid == 0 || uid == ffi::geteuid(),
        What::Note(_) | What::Condition(_) | What::Tally(_) => true,
    }
}

/// Writes `bytes` to `dir/name` so that after a crash there is the old file or the new one,
/// whole, and the new one once this has returned.
///
/// # Errors
///
/// What the system said; the old file is as it was.
pub fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace(dir, name, bytes)?;
    sync_dir(dir)
}

/// [`write_durably`], of a file that everybody may read, whatever the umask.
///
/// # Errors
///
/// What the system said; the old file is as it was.
pub fn write_public_durably(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_public(dir, name, bytes)?;
    sync_dir(dir)
}

/// [`replace`], of a file that everybody may read, whatever the umask.
///
/// # Errors
///
/// What the system said; the old file is as it was.
pub fn replace_public(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_with(dir, name, bytes, 0o644)
}

/// [`write_durably`], but for the name, which is durable only after a [`sync_dir`]: one does for
/// many files.
///
/// # Errors
///
/// What the system said; the old file is as it was.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_with(dir, name, bytes, 0o600)
}

/// The name of a file that is not whole yet. Prometheus' node exporter reads whatever ends in
/// `.prom`, also what is hidden, so it must not end as the file does.
fn hidden(name: &str) -> String {
    format!(".{name}.new")
}

fn replace_with(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let hidden = dir.join(hidden(name));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&hidden)?;
        file.write_all(bytes)?;
        if mode != 0o600 {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.sync_all()?;
        fs::rename(&hidden, dir.join(name))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    written
}

/// Makes the names in a directory durable (fsync(2) of the directory).
///
/// # Errors
///
/// What the system said.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Moves `from/name` to `to/new_name`, durably in this order: it is at the new place before
/// it is gone from the old one.
///
/// # Errors
///
/// What the system said.
pub fn move_durably(from: &Path, name: &str, to: &Path, new_name: &str) -> io::Result<()> {
    fs::rename(from.join(name), to.join(new_name))?;
    sync_dir(to)?;
    sync_dir(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = r#"{"version":1,"id":"k7f3q2","at":{"unix_ms":5},"host":"h",
        "severity":"info","what":{"kind":"note","text":"hi"}}"#;

    #[test]
    fn what_is_no_event_is_told_apart_without_repeating_it() {
        assert!(parse_event(NOTE.as_bytes()).is_ok());
        for text in
            ["", "{}", "secret", "[1]", &NOTE.replace(":1,", ":2,"), &NOTE.replace("note", "nuke")]
        {
            let why = parse_event(text.as_bytes()).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn only_a_plain_file_with_one_name_is_believed() {
        let dir = std::env::temp_dir().join(format!("notifier-files-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("directory")).unwrap();
        let path = dir.join("event");
        fs::write(&path, NOTE).unwrap();
        assert!(read_event(&path).is_ok());
        std::os::unix::fs::symlink(&path, dir.join("link")).unwrap();
        for name in ["link", "directory"] {
            let error = read_event(&dir.join(name));
            assert!(matches!(error, Err(ReadError::NotAnEvent(_))), "{name}: {error:?}");
        }
        assert!(matches!(read_event(&dir.join("absent")), Err(ReadError::Io(_))));
        fs::hard_link(&path, dir.join("second")).unwrap();
        assert!(read_event(&path).unwrap_err().to_string().contains("hard link"));
        fs::remove_file(dir.join("second")).unwrap();
        fs::write(&path, vec![b' '; 20_000]).unwrap();
        assert!(read_event(&path).unwrap_err().to_string().contains("20000 bytes"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn half_a_file_has_neither_the_name_nor_the_ending_of_a_whole_one() {
        assert_eq!(hidden("bastion.prom"), ".bastion.prom.new");
    }

    #[test]
    fn a_durable_write_replaces_the_file_whole() {
        let dir = std::env::temp_dir().join(format!("notifier-durable-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for text in ["one", "two"] {
            write_durably(&dir, "state", text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(dir.join("state")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
