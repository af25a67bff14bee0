//! The sender's side of files: reading what strangers wrote, writing what must last.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{MAX_FILE, owner};
use crate::event::{Event, FORMAT};
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
    match owner::objection(meta.uid(), ffi::geteuid(), &event.what).map_err(ReadError::Io)? {
        Some(why) => not(why),
        None => Ok(event),
    }
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

/// [`read_small`] of a file that may have so many bytes; one with more is an error.
///
/// # Errors
///
/// What the system said, or that it is longer, or no plain file.
pub fn read_plain(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_plainly(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > most {
        let why = format!("no plain file of at most {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    read_most(&file, most)
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
    Hidden::write(dir, name, bytes, 0o644)?.publish()
}

/// Most files that are open at once in [`write_all_durably`].
const TOGETHER: usize = 64;

/// [`write_durably`] of several files: names and contents. Many are written before the first of them
/// is made durable, so that the file system does it for all at once; none has its name before that.
/// One that cannot be written does not keep the others from it.
///
/// # Errors
///
/// What the system said first; of some files the old one may be as it was.
pub fn write_all_durably(dir: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut result = Ok(());
    for files in files.chunks(TOGETHER) {
        let written = files.iter().map(|(name, bytes)| Hidden::write(dir, name, bytes, OWN));
        let written: Vec<_> = written.collect();
        for hidden in written {
            result = result.and(hidden.and_then(Hidden::publish));
        }
    }
    result.and(sync_dir(dir))
}

/// [`write_durably`], but for the name, which is durable only after a [`sync_dir`].
///
/// # Errors
///
/// What the system said; the old file is as it was.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    Hidden::write(dir, name, bytes, OWN)?.publish()
}

/// Mode of what is the sender's own.
const OWN: u32 = 0o600;

/// The name of a file that is not whole yet. Prometheus' node exporter reads whatever ends in
/// `.prom`, also what is hidden, so it must not end as the file does.
fn hidden(name: &str) -> String {
    format!(".{name}.new")
}

/// A file that is written and does not have its name yet. Removed when it never gets it.
struct Hidden {
    file: File,
    path: PathBuf,
    name: PathBuf,
    published: bool,
}

impl Hidden {
    fn write(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<Self> {
        let path = dir.join(hidden(name));
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(OWN)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path);
        let file = opened.inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })?;
        let hidden = Self { file, path, name: dir.join(name), published: false };
        (&hidden.file).write_all(bytes)?;
        if mode != OWN {
            hidden.file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(hidden)
    }

    /// Makes it durable, then gives it its name, which is durable only after a [`sync_dir`].
    fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.name)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes `bytes` over those of a file that is there: needs no room that it has not, and leaves
/// half of each where it is interrupted.
///
/// # Errors
///
/// What the system said.
pub fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    file.write_all(bytes)?;
    file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
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
    fn of_several_files_one_that_cannot_be_written_does_not_keep_the_others_out() {
        let dir = std::env::temp_dir().join(format!("notifier-files-all-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        // In the place of its hidden file, and of its name.
        fs::create_dir(dir.join(hidden("b"))).unwrap();
        fs::create_dir_all(dir.join("c/x")).unwrap();
        let files = ["a", "b", "c", "d"].map(|name| (name.to_owned(), name.as_bytes().to_vec()));
        assert!(write_all_durably(&dir, &files).is_err());
        let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
        assert_eq!(["a", "b", "d"].map(read), [Some("a".into()), None, Some("d".into())]);
        assert!(!dir.join(hidden("c")).exists(), "nothing is left of what got no name");
        fs::remove_dir_all(&dir).unwrap();
    }

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
