//! The sender's own directories: claim from `drop/`, keep the state of each message beside
//! it, and put it away when it is done.
//!
//! ```text
//! queue/<name>.json         the event, as its writer published it (and still its writer's)
//! queue/<name>.json.state   what became of it on each channel, written before and after a try
//! failed/<name>.json        given up, with failed/<name>.json.reason
//! sent/<name>.json          delivered, with its last state
//! ```

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::claim::{Claimed, read_named};
use super::files::{self, ReadError};
use super::{Spool, id_of};
use crate::event::Event;

/// Most messages taken into the queue. More stay in `drop/` until there is room.
pub const MAX_QUEUED: usize = 10_000;

pub(super) const STATE: &str = ".state";
pub(super) const REASON: &str = ".reason";

/// What became of a message, by channel and recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Channel name, then recipient.
    pub channels: BTreeMap<String, BTreeMap<String, Leg>>,
}

impl State {
    /// All legs.
    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.channels.values().flat_map(BTreeMap::values)
    }
}

/// One message's way to one recipient over one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// Where it stands.
    pub phase: Phase,
    /// Tries begun.
    #[serde(default)]
    pub tries: u32,
    /// Not to be tried before this moment of the wall clock, in milliseconds since 1970.
    #[serde(default)]
    pub not_before_ms: u64,
    /// How often the provider said that it had taken it, in an answer that nobody could read.
    #[serde(default)]
    pub accepted: u32,
    /// How often in a row the provider could not be asked what became of it.
    #[serde(default)]
    pub looks: u32,
    /// The provider's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// What happened last, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last: String,
    /// The same as `not_before_ms` on the sender's own monotonic clock, which nobody can set.
    #[serde(skip)]
    pub due_ms: u64,
}

/// Where a leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not sent.
    Waiting,
    /// Being sent. Found at start: doubtful, because nobody knows how far it came.
    Sending,
    /// Perhaps sent: the provider has to be asked first.
    Doubtful,
    /// The provider has it.
    Done,
    /// It will never get out this way.
    Failed,
}

impl Phase {
    /// Whether nothing more will be tried.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl Leg {
    /// A leg on which nothing has been tried.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Phase::Waiting,
            tries: 0,
            not_before_ms: 0,
            accepted: 0,
            looks: 0,
            provider_id: None,
            last: String::new(),
            due_ms: 0,
        }
    }
}

impl Default for Leg {
    fn default() -> Self {
        Self::new()
    }
}

/// The sender's directories. There is one sender, so nobody else renames in here, but for
/// an administrator with `bastion queue`: every call has to bear that a file is gone.
#[derive(Debug)]
pub struct Queue {
    pub(super) spool: Spool,
    /// Files in `drop/` that could not be taken, and of which that has been told.
    pub(super) stuck: HashSet<OsString>,
}

impl Queue {
    /// The queue of a spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        Self { spool, stuck: HashSet::new() }
    }

    /// The directories.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The names of the messages in `queue/`, oldest first: what a sender before this one had
    /// claimed. Removes what such a sender has left over when it was killed.
    ///
    /// # Errors
    ///
    /// When `queue/` cannot be listed.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let queue = self.spool.queue();
        let (names, rest): (Vec<_>, Vec<_>) =
            list(&queue)?.into_iter().partition(|name| id_of(name).is_some());
        for state in rest {
            let of = state.strip_suffix(STATE).map(str::to_owned);
            if of.is_some_and(|name| names.binary_search(&name).is_err()) {
                let _ = fs::remove_file(queue.join(state));
            }
        }
        Ok(names)
    }

    /// Takes up one message of `queue/`, with its state. A file that is no event any more goes
    /// to `failed/`.
    ///
    /// # Errors
    ///
    /// When it cannot be looked at, or should go there and cannot. It is still in the queue.
    pub fn take_up(&self, name: &str) -> io::Result<(Claimed, State)> {
        let path = self.spool.queue().join(name);
        match self.event(name) {
            Ok(Some(event)) => {
                // The sender before this one may have been killed before it came to that.
                let synced = fs::File::open(&path).and_then(|file| file.sync_all());
                let event = Box::new(event);
                let claimed = Claimed::Event { name: name.to_owned(), event, synced };
                Ok((claimed, self.read_state(name)))
            }
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(ReadError::NotAnEvent(why)) => {
                Ok((self.refuse(&path, name.as_ref(), &why)?, State::default()))
            }
            Err(ReadError::Io(error)) => Err(error),
        }
    }

    /// The event of a message; `None` when an administrator has taken it away.
    ///
    /// # Errors
    ///
    /// Why there is none, or none now.
    pub fn event(&self, name: &str) -> Result<Option<Event>, ReadError> {
        match read_named(&self.spool.queue().join(name), name) {
            Ok(event) => Ok(Some(event)),
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the message is still in `queue/`: an administrator may have taken it away.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        // Of anything but "there is none" nothing follows: a disk may be failing.
        match fs::symlink_metadata(self.spool.queue().join(name)) {
            Err(error) => error.kind() != io::ErrorKind::NotFound,
            Ok(_) => true,
        }
    }

    fn read_state(&self, name: &str) -> State {
        let path = self.spool.queue().join(format!("{name}{STATE}"));
        // A state that cannot be read says nothing of what was sent. Then everything is
        // doubtful in truth, but without it there is no channel to ask: it is sent anew.
        fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Writes the state of a message beside it, durably.
    ///
    /// # Errors
    ///
    /// What the system said; the state before is as it was.
    pub fn write_state(&self, name: &str, state: &State) -> io::Result<()> {
        let json = serde_json::to_vec(state)?;
        files::write_durably(&self.spool.queue(), &format!("{name}{STATE}"), &json)
    }

    /// Puts a delivered message away.
    ///
    /// # Errors
    ///
    /// What the system said; it is still in the queue.
    pub fn delivered(&self, name: &str) -> io::Result<()> {
        self.put_away(name, &self.spool.sent())
    }

    /// Gives a message up, with the reason.
    ///
    /// # Errors
    ///
    /// What the system said; it is still in the queue.
    pub fn give_up(&self, name: &str, reason: &str) -> io::Result<()> {
        self.write_reason(name, reason);
        self.put_away(name, &self.spool.failed())
    }

    fn put_away(&self, name: &str, to: &Path) -> io::Result<()> {
        let state = format!("{name}{STATE}");
        // The state goes last: until the message has left the queue, it must not look unsent.
        files::move_durably(&self.spool.queue(), name, to, name)?;
        let _ = fs::rename(self.spool.queue().join(&state), to.join(&state));
        Ok(())
    }

    pub(super) fn write_reason(&self, name: &str, reason: &str) {
        // The reason is in the log as well; without it the file is still where it belongs.
        let file = self.spool.failed().join(format!("{name}{REASON}"));
        let _ = fs::write(file, format!("{reason}\n"));
    }
}

/// The names in a directory that are text and not hidden, sorted, which is oldest first.
///
/// # Errors
///
/// What the system said.
pub fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    Ok(names)
}
