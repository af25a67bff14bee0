//! The record of an open session, as `pam_bastion` leaves it in `[host] sessions`.
//!
//! It is no log and no alert: it says who is behind a process of sshd while that process lives. Whoever reads it
//! believes only root's files, and only while the process that they name is the very one that they
//! were written for.

use std::fs::{self, OpenOptions};
#[cfg(feature = "daemon")]
use std::io::Read;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::clock::Stamp;
use crate::event::{Factor, Login};
use crate::ffi;
use crate::foreign::Foreign;

/// Version of the layout; a reader refuses any other.
pub const FORMAT: u8 = 1;

/// Largest record, in bytes: that of somebody with three certificates has some 2 KB.
pub const MAX: u64 = 16 * 1024;

/// Most records that are read. sshd lets ten in at once by default, and a jump host has no more people.
pub const MOST: usize = 4096;

/// An open session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// [`FORMAT`].
    pub version: u8,
    /// The process of sshd that serves the session, and that ends with it.
    pub pid: u32,
    /// When that process was started (field 22 of proc_pid_stat(5)): a number is used again, and
    /// not in the same moment.
    pub start_ticks: u64,
    /// Who logged in.
    pub user: Foreign,
    /// Where from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What stood in the place of an address, where that was no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_name: Option<Foreign>,
    /// How.
    #[serde(default)]
    pub auth: Vec<Factor>,
    /// When, and in which boot.
    pub at: Stamp,
}

impl Record {
    /// That of a login which this process serves; `None` where the system does not say when it was started.
    #[must_use]
    pub fn of(login: &Login, at: Stamp) -> Option<Self> {
        Some(Self {
            version: FORMAT,
            pid: login.pid,
            start_ticks: Process::read(login.pid)?.start_ticks,
            user: login.user.clone(),
            source: login.source,
            source_name: login.source_name.clone(),
            auth: login.auth.clone(),
            at,
        })
    }

    /// Where it stands.
    #[must_use]
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.pid.to_string())
    }

    /// Writes it, so that a reader sees all of it or nothing. Waits for nobody; a failure costs an internal host a name and
    /// nothing else.
    ///
    /// # Errors
    ///
    /// What the system said; nothing is left behind then.
    pub fn publish(&self, dir: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(dir)?;
        let is_ours = found.uid() == 0 || found.uid() == ffi::geteuid();
        if !found.is_dir() || !is_ours || found.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is no directory of root's alone"));
        }
        let json = serde_json::to_vec(self)?;
        let bytes = json.len() as u64;
        if bytes > MAX || ffi::file_size_limit().is_some_and(|most| bytes > most) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let hidden = dir.join(format!(".{}", self.pid));
        // What an earlier process of this number has left, if it was killed in this very place.
        let _ = fs::remove_file(&hidden);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .mode(0o644)
            .open(&hidden)?;
        let written = file
            .write_all(&json)
            // Not left to the umask.
            .and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o644)))
            .and_then(|()| fs::rename(&hidden, self.path(dir)));
        if written.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        written
    }
}

/// The records in a directory that can be believed so far: root's, in root's directory, of this layout, each under the
/// number of its process. Whether that process lives still is another question ([`Record::is_alive`]).
///
/// # Errors
///
/// Why there are none, when the directory cannot be read.
#[cfg(feature = "daemon")]
pub fn read_all(dir: &Path) -> io::Result<Vec<Record>> {
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || !is_roots(&found) {
        return Err(io::Error::other("it is no directory of root's alone"));
    }
    let names = fs::read_dir(dir)?.take(MOST).flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| read(dir, pid)).collect())
}

/// The record of a process, if there is one that can be believed.
#[cfg(feature = "daemon")]
#[must_use]
pub fn read(dir: &Path, pid: u32) -> Option<Record> {
    let path = dir.join(pid.to_string());
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok()?;
    if !found.is_file() || !is_roots(&found) || found.len() > MAX {
        return None;
    }
    let mut json = Vec::new();
    file.take(MAX).read_to_end(&mut json).ok()?;
    let record: Record = serde_json::from_slice(&json).ok()?;
    (record.version == FORMAT && record.pid == pid).then_some(record)
}

/// Whether nobody but root can have written it.
#[cfg(feature = "daemon")]
fn is_roots(found: &fs::Metadata) -> bool {
    found.uid() == 0 && found.mode() & 0o022 == 0
}

#[cfg(feature = "daemon")]
impl Record {
    /// Whether the process it was written for lives still: one of this number that was started in the same moment of the
    /// same boot.
    #[must_use]
    pub fn is_alive(&self, now: &Stamp) -> bool {
        self.at.is_same_boot(now)
            && Process::read(self.pid).is_some_and(|found| found.start_ticks == self.start_ticks)
    }

    /// Whether it says the same of a person as another one: as for two sessions of one client.
    #[must_use]
    pub fn is_of_same(&self, other: &Self) -> bool {
        self.user == other.user
            && self.source == other.source
            && self.source_name == other.source_name
            && self.auth == other.auth
    }
}

#[cfg(all(test, feature = "daemon"))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("records-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn login() -> Login {
        let source = Some("198.51.100.7".parse().unwrap());
        Login { user: "alice".into(), source, pid: std::process::id(), ..Login::default() }
    }

    fn own() -> Record {
        Record::of(&login(), Stamp::now()).unwrap()
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_root_writes_is_believed_while_its_process_lives() {
        let dir = Dir::new("alive");
        let (record, now) = (own(), Stamp::now());
        record.publish(&dir.0).unwrap();
        record.publish(&dir.0).unwrap();
        let mode = fs::metadata(record.path(&dir.0)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o644);
        if ffi::geteuid() == 0 {
            assert_eq!(read_all(&dir.0).unwrap(), std::slice::from_ref(&record));
        }
        assert!(record.is_alive(&now));
        let table = [
            ("another process of the number", Record { start_ticks: 1, ..record.clone() }),
            ("no process", Record { pid: u32::MAX, ..record.clone() }),
            ("another boot", {
                let mut other = record.clone();
                other.at.boot.as_mut().unwrap().id = "other".into();
                other
            }),
            ("no boot", Record { at: Stamp { boot: None, ..record.at.clone() }, ..record }),
        ];
        for (why, record) in table {
            assert!(!record.is_alive(&now), "{why}");
        }
    }

    #[test]
    fn nothing_else_in_the_directory_is_a_record() {
        if ffi::geteuid() != 0 {
            return;
        }
        let dir = Dir::new("hostile");
        let at = |name: &str| dir.0.join(name);
        let write = |name: &str, record: &Record| {
            fs::write(at(name), serde_json::to_vec(record).unwrap()).unwrap();
            chmod(&at(name), 0o644);
        };
        let record = own();
        let named = |pid| Record { pid, ..record.clone() };
        write("7", &named(8));
        write("9", &Record { version: 2, ..named(9) });
        write("10", &named(10));
        chmod(&at("10"), 0o666);
        write("11", &named(11));
        std::os::unix::fs::chown(at("11"), Some(65_534), None).unwrap();
        write(".12", &named(12));
        symlink(at(".12"), at("12")).unwrap();
        fs::create_dir(at("13")).unwrap();
        fs::write(at("14"), vec![b' '; 20_000]).unwrap();
        fs::write(at("15"), b"{").unwrap();
        assert_eq!(read_all(&dir.0).unwrap(), []);
        write("16", &named(16));
        assert_eq!(read_all(&dir.0).unwrap(), [named(16)]);
        chmod(&dir.0, 0o777);
        assert!(read_all(&dir.0).is_err());
        assert!(record.publish(&dir.0).is_err());
        chmod(&dir.0, 0o755);
        std::os::unix::fs::chown(&dir.0, Some(65_534), None).unwrap();
        assert!(read_all(&dir.0).is_err());
        assert!(record.publish(&dir.0).is_err());
    }

    #[test]
    fn a_directory_that_is_missing_is_made_by_nobody() {
        let dir = Dir::new("missing");
        let missing = dir.0.join("sessions");
        let error = own().publish(&missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(read_all(&missing).is_err());
        // A place that is taken by something else is left as it is.
        let record = own();
        fs::create_dir(record.path(&dir.0)).unwrap();
        assert!(record.publish(&dir.0).is_err());
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
    }
}
