//! A service file of libpam as one who changes it has it: read once, and replaced whole or not at all. At any moment, and after a
//! crash, there is the old file or the new one, since half of one would keep everybody out.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::ffi;
use crate::pam_line::edit::MAX_BYTES;

/// One that nobody else of us changes meanwhile.
pub(super) struct PamFile {
    path: PathBuf,
    /// What it holds.
    pub text: Vec<u8>,
    file: File,
    /// Held as long as this is.
    _lock: File,
}

/// Who has this file locked changes the service files. It is root's alone: what others may open, they may lock for ever.
const LOCK: &str = "/run/bastion-pam.lock";

/// The file as it will be, beside the one that is in force.
#[derive(Debug)]
pub(super) struct Prepared {
    path: PathBuf,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // There is none where it has come to its place.
        let _ = fs::remove_file(&self.path);
    }
}

impl PamFile {
    /// Reads `dir/name`.
    ///
    /// # Errors
    ///
    /// When another is at work, and of a file that is no plain one.
    pub fn open(dir: &Path, name: &str) -> Result<Self, Failure> {
        let path = dir.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let lock = options
            .open(LOCK)
            .and_then(|lock| Ok((ffi::try_lock(&lock)?, lock)))
            .map_err(|error| Failure::io(LOCK, &error));
        let (is_ours, lock) = lock?;
        if !is_ours {
            return Err(Failure::later("another bastion enable or disable is at work; try again"));
        }
        let (file, text) = match read(&path) {
            Ok(read) => read,
            Err(error) => return Err(explain(&path, &error)),
        };
        Ok(Self { path, text, file, _lock: lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a copy of it at `copy`, with the same owner and rights.
    pub fn back_up(&self, copy: &Path) -> Result<(), Failure> {
        let io = |error| {
            Failure::io(format!("keep a copy at {}, so nothing is changed", copy.display()), &error)
        };
        let new = self.beside(copy, &self.text).map_err(io)?;
        publish(&new, copy).map_err(io)
    }

    /// Writes `text` beside it, with its owner, rights and attributes: a full disk, or one that cannot be written,
    /// is found while nothing is changed.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn prepare(&self, text: &[u8]) -> Result<Prepared, Failure> {
        let path = self.beside(&self.path, text).map_err(|error| self.cannot_write(&error))?;
        Ok(Prepared { path })
    }

    /// Puts what was prepared in its place.
    ///
    /// # Errors
    ///
    /// When somebody else has changed it meanwhile, and what the system said; it is as it was.
    pub fn replace(&self, new: &Prepared) -> Result<(), Failure> {
        let same = read(&self.path).is_ok_and(|(file, now)| now == self.text && self.is(&file));
        if !same {
            return Err(Failure::later(format!(
                "{} was changed by somebody else meanwhile, and is as they left it; try again",
                self.path.display()
            )));
        }
        publish(&new.path, &self.path).map_err(|error| self.cannot_write(&error))
    }

    fn cannot_write(&self, error: &io::Error) -> Failure {
        Failure::io(format!("write {}", self.path.display()), error)
    }

    /// Whether this is the file that was read, with the same rights.
    fn is(&self, other: &File) -> bool {
        let key = |meta: Metadata| (meta.dev(), meta.ino(), meta.mode(), meta.uid(), meta.gid());
        match (self.file.metadata(), other.metadata()) {
            (Ok(one), Ok(other)) => key(one) == key(other),
            _ => false,
        }
    }

    /// A durable file beside `path`, which does not have its name yet. libpam reads a file by the name of a service: what a crash
    /// leaves here is none, and the next try replaces it.
    fn beside(&self, path: &Path, text: &[u8]) -> io::Result<PathBuf> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let new = path.with_file_name(format!(".{name}.bastion-new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self.write(&new, text);
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.map(|()| new)
    }

    fn write(&self, new: &Path, text: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(new)?;
        file.write_all(text)?;
        let meta = self.file.metadata()?;
        std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
        file.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
        ffi::copy_attributes(&self.file, &file)?;
        file.sync_all()
    }
}

fn read(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no plain file"));
    }
    let mut text = Vec::new();
    // One more than is taken, so that a larger one is seen to be.
    (&file).take(MAX_BYTES + 1).read_to_end(&mut text)?;
    Ok((file, text))
}

fn explain(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    match error.raw_os_error() {
        Some(libc::ELOOP) => {
            let target = fs::read_link(path).unwrap_or_default();
            Failure::config(format!(
                "{shown} is a link to {}, which whoever made it may make anew; put the line there by hand",
                target.display()
            ))
        }
        Some(libc::ENOENT) => {
            let name = path.file_name().unwrap_or_default();
            let vendor = Path::new("/usr/lib/pam.d").join(name);
            let fix = match vendor.is_file() {
                true => format!("copy the distribution's: cp {} {shown}", vendor.display()),
                false => "it comes with openssh-server: apt install --reinstall -o Dpkg::Options::=--force-confmiss openssh-server".into(),
            };
            Failure::config(format!("there is no {shown}; {fix}"))
        }
        _ => Failure::io(shown, error),
    }
}

fn publish(new: &Path, path: &Path) -> io::Result<()> {
    let renamed = fs::rename(new, path);
    if renamed.is_err() {
        let _ = fs::remove_file(new);
    }
    renamed?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
