//! From `drop/` into the sender's own hands: what is an event is claimed and made durable, and
//! what is none goes to `failed/` under a name of ours.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::files::{self, ReadError};
use super::queue::{Queue, STATE};
use super::{drop, id_of};
use crate::clock::unix_ms;
use crate::event::Event;
use crate::foreign::Foreign;

/// Most files taken at a time. Between rounds what is due is sent, so that an alert does not
/// wait for thousands of others to be taken in, and their content is not held at once.
const ROUND: usize = 128;

/// How long a writer may take between creating a hidden file and publishing it. After that
/// it was killed in between, and what it wrote is looked at all the same.
const ABANDONED: Duration = Duration::from_secs(60);

/// How long a file that looks abandoned by its date is watched first: the clock may just have been
/// set, and a writer takes some microseconds.
const WATCHED: Duration = Duration::from_secs(5);

/// The kind in the name of a file that was refused.
pub(super) const REFUSED: &str = "refused";

/// Something that was in `drop/`.
#[derive(Debug)]
pub enum Claimed {
    /// An event, now in `queue/`.
    Event {
        /// Its name there.
        name: String,
        /// What happened.
        event: Box<Event>,
        /// Whether it survives a power cut. It is sent in any case.
        synced: io::Result<()>,
    },
    /// No event.
    Refused {
        /// Its name in `drop/`.
        file: Foreign,
        /// Its name in `failed/`.
        kept_as: String,
        /// Why.
        reason: String,
    },
    /// It could not be taken and is still in `drop/`.
    Stuck(Foreign, io::Error),
    /// The names that this round took may be the old ones after a power cut.
    NotDurable(io::Error),
}

/// How many events there is room for.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Of root's, which are the logins.
    pub root: usize,
    /// Of anybody else's: less, so that nobody can fill the queue and keep logins out.
    pub others: usize,
}

impl Queue {
    /// Takes what is in `drop/`, root's files first, then oldest first, as far as there is room
    /// and a limited number at a time. Answers also whether there is more to be had at
    /// once. What could not be taken is told once.
    ///
    /// # Errors
    ///
    /// When `drop/` cannot be listed.
    pub fn claim(&mut self, room: Room) -> io::Result<(Vec<Claimed>, bool)> {
        let dir = self.spool.drop();
        let files = self.waiting(&dir)?;
        let there = |name: &OsString| {
            [false, true].iter().any(|kind| files.binary_search(&(*kind, name.clone())).is_ok())
        };
        self.stuck.retain(there);
        let (mut claimed, mut moved, mut root, mut others) = (Vec::new(), 0, 0, 0);
        let mut more = false;
        for (foreign, name) in &files {
            // What is refused or stuck takes no room: or anybody who may write here could fill
            // it with garbage, or with directories, which stay where they are.
            if root == room.root || (*foreign && others == room.others) {
                break;
            }
            if moved == ROUND {
                more = true;
                break;
            }
            match self.claim_one(name) {
                Ok(one) => {
                    moved += 1;
                    if matches!(one, Claimed::Event { .. }) {
                        root += 1;
                        others += usize::from(*foreign);
                    }
                    claimed.push(one);
                }
                Err(error) if is_gone(&error, &dir.join(name)) => {}
                Err(error) => {
                    if self.stuck.insert(name.clone()) {
                        claimed.push(Claimed::Stuck(Foreign::new(name.as_bytes()), error));
                    }
                }
            }
        }
        if moved > 0 {
            // The renames of the whole round are made durable at once, before any try.
            let synced = files::sync_dir(&self.spool.queue()).and_then(|()| files::sync_dir(&dir));
            if let Err(error) = synced {
                claimed.push(Claimed::NotDurable(error));
            }
        }
        Ok((claimed, more))
    }

    /// What waits in `drop/`: root's first, then by name, which begins with the time.
    fn waiting(&mut self, dir: &Path) -> io::Result<Vec<(bool, OsString)>> {
        let (mut files, mut hidden) = (Vec::new(), HashMap::new());
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(b".") {
                let since = *self.hidden.get(&name).unwrap_or(&Instant::now());
                hidden.insert(name.clone(), since);
                if !is_abandoned(&entry.path(), since.elapsed()) {
                    continue;
                }
            }
            let foreign = entry.metadata().is_ok_and(|meta| meta.uid() != 0);
            files.push((foreign, name));
        }
        self.hidden = hidden;
        files.sort_unstable();
        Ok(files)
    }

    fn claim_one(&self, name: &OsStr) -> io::Result<Claimed> {
        let from = self.spool.drop().join(name);
        let good = name.to_str().unwrap_or_default().trim_start_matches('.');
        if id_of(good).is_none() {
            return self.refuse(&from, name, "a file name that no writer of ours makes");
        }
        let known = [self.spool.queue(), self.spool.failed(), self.spool.sent()];
        if known.iter().any(|dir| fs::symlink_metadata(dir.join(good)).is_ok()) {
            return self.refuse(&from, name, "a name that has been there before");
        }
        // Looked at where it lies: what cannot be read now stays there and is tried again.
        let first = match read_named(&from, good) {
            Ok(event) => event,
            Err(ReadError::NotAnEvent(why)) => return self.refuse(&from, name, &why),
            Err(ReadError::Io(error)) => return Err(error),
        };
        let to = self.spool.queue().join(good);
        // Of a message of that name long ago, killed before its state was put away.
        let _ = fs::remove_file(self.spool.queue().join(format!("{good}{STATE}")));
        fs::rename(&from, &to)?;
        // Read again: here only the sender can have put another file in its place.
        let event = match read_named(&to, good) {
            Ok(event) => event,
            Err(ReadError::NotAnEvent(why)) => return self.refuse(&to, name, &why),
            Err(ReadError::Io(_)) => first,
        };
        // fsync(2) needs no right to write, so the sender can do it for root's file.
        let synced = fs::File::open(&to).and_then(|file| file.sync_all());
        Ok(Claimed::Event { name: good.to_owned(), event: Box::new(event), synced })
    }

    /// Moves what is no event to `failed/`, under a name that its author has not chosen: no name
    /// of his can push out what failed honestly.
    pub(super) fn refuse(&self, path: &Path, name: &OsStr, reason: &str) -> io::Result<Claimed> {
        let now = unix_ms();
        let kept_as = format!("{now:013}-{REFUSED}-{}.json", drop::new_id(now));
        fs::rename(path, self.spool.failed().join(&kept_as))?;
        let file = Foreign::new(name.as_bytes());
        self.write_reason(&kept_as, &format!("{reason}; it was {}", file.visible()));
        Ok(Claimed::Refused { file, kept_as, reason: reason.to_owned() })
    }
}

/// The event in a file, if its id is the one in the file's name.
pub(super) fn read_named(path: &Path, name: &str) -> Result<Event, ReadError> {
    let event = files::read_event(path)?;
    if id_of(name) == Some(event.id) {
        Ok(event)
    } else {
        Err(ReadError::NotAnEvent("its name has another id".into()))
    }
}

/// Whether an error only says that the file is not there any more, as opposed to a directory
/// of ours that is not there.
fn is_gone(error: &io::Error, path: &Path) -> bool {
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    absent(error) && fs::symlink_metadata(path).is_err_and(|error| absent(&error))
}

/// Whether the writer of a hidden file, which has been there for `seen`, must be dead.
fn is_abandoned(path: &Path, seen: Duration) -> bool {
    let is_old = || {
        fs::symlink_metadata(path)
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ABANDONED))
    };
    seen > ABANDONED || (seen > WATCHED && is_old())
}
