//! The sender's own directories: claim from `drop/`, keep the state of each message beside
//! it, and put it away when it is done.
//!
//! ```text
//! queue/<name>.json         the event, as its writer published it (and still its writer's)
//! queue/<name>.json.state   what became of it on each channel, written before and after a try
//! failed/<name>.json        given up, with failed/<name>.json.reason
//! sent/<name>.json          delivered, with its last state
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::claim::{Claimed, read_named};
use super::files::{self, ReadError};
use super::{Spool, id_of};
use crate::clock::Stamp;
use crate::event::{AlertId, Event};
use crate::fact::{Fact, Looked};

/// Most messages taken into the queue. More stay in `drop/` until there is room.
pub const MAX_QUEUED: usize = 10_000;

pub(super) const STATE: &str = ".state";
pub(super) const REASON: &str = ".reason";

/// What became of a message, by channel and recipient.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Channel name, then recipient.
    pub channels: BTreeMap<String, BTreeMap<String, Leg>>,
    /// When it was written down, so that its waits can be taken up on the boot clock.
    #[serde(default)]
    pub written: Stamp,
    /// What was found out about it, where something was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Looked>,
}

impl State {
    /// All legs.
    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.channels.values().flat_map(BTreeMap::values)
    }

    /// What was found out about it.
    #[must_use]
    pub fn fact(&self) -> Option<&Fact> {
        self.looked.as_ref()?.fact.as_ref()
    }

    /// Whether anything has been tried.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.legs().any(|leg| leg.tries > 0)
    }

    /// The leg over `channel` to `recipient`, if anything has been tried there.
    #[must_use]
    pub fn leg(&self, channel: &str, recipient: &str) -> Option<&Leg> {
        self.channels.get(channel)?.get(recipient)
    }

    /// The same, to be changed.
    pub fn leg_mut(&mut self, channel: &str, recipient: &str) -> Option<&mut Leg> {
        self.channels.get_mut(channel)?.get_mut(recipient)
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
    /// Of a message that was told together with others: the id that the provider was given for
    /// all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_as: Option<AlertId>,
    /// Whether the provider, which has taken it, is still asked what became of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub followed: bool,
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
            told_as: None,
            followed: false,
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
    /// Hidden files in `drop/`, which are being written or were left there, and when each was
    /// seen first.
    pub(super) hidden: HashMap<OsString, Instant>,
    /// Whether names have changed that may be the old ones after a power cut.
    unsynced: bool,
}

impl Queue {
    /// The queue of a spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        Self { spool, stuck: HashSet::new(), hidden: HashMap::new(), unsynced: false }
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

    /// Writes the states of messages beside them, durably.
    ///
    /// # Errors
    ///
    /// What the system said first; of some messages the state before may be as it was.
    pub fn write_states(&self, states: &[(&str, &State)]) -> io::Result<()> {
        let mut result = Ok(());
        let mut files = Vec::with_capacity(states.len());
        for (name, state) in states {
            match serde_json::to_vec(state) {
                Ok(json) => files.push((format!("{name}{STATE}"), json)),
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        files::write_all_durably(&self.spool.queue(), &files).and(result)
    }

    /// Puts a delivered message away, with its last state. Survives a kill at once, and a power
    /// cut after [`Queue::sync`].
    ///
    /// # Errors
    ///
    /// What the system said; it is still in the queue.
    pub fn delivered(&mut self, name: &str, state: &State) -> io::Result<()> {
        let (queue, sent) = (self.spool.queue(), self.spool.sent());
        // The state goes last: until the message has left the queue, it must not look unsent.
        fs::rename(queue.join(name), sent.join(name))?;
        self.unsynced = true;
        let file = format!("{name}{STATE}");
        if !state.channels.is_empty() {
            if let Ok(json) = serde_json::to_vec(state) {
                let _ = fs::write(sent.join(&file), json);
            }
            let _ = fs::remove_file(queue.join(file));
        }
        Ok(())
    }

    /// Makes durable what [`Queue::delivered`] has moved since the last call.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.unsynced) {
            return Ok(());
        }
        files::sync_dir(&self.spool.sent())?;
        files::sync_dir(&self.spool.queue())
    }

    /// Gives a message up, with the reason.
    ///
    /// # Errors
    ///
    /// What the system said; it is still in the queue.
    pub fn give_up(&self, name: &str, reason: &str) -> io::Result<()> {
        self.write_reason(name, reason);
        let (queue, failed) = (self.spool.queue(), self.spool.failed());
        files::move_durably(&queue, name, &failed, name)?;
        let state = format!("{name}{STATE}");
        let _ = fs::rename(queue.join(&state), failed.join(&state));
        Ok(())
    }

    /// Removes what is no message and has served its purpose. One that cannot be removed is found
    /// again by the next sender.
    pub fn discard(&self, name: &str) {
        let _ = fs::remove_file(self.spool.queue().join(name));
    }

    /// Messages in `sent/` of which the provider is still asked what became of them.
    #[must_use]
    pub fn followed(&self) -> Vec<(String, State)> {
        let sent = self.spool.sent();
        let names = list(&sent).unwrap_or_default();
        let states = names.iter().filter_map(|file| file.strip_suffix(STATE));
        let read = |name: &str| {
            let bytes = files::read_small(&sent.join(format!("{name}{STATE}"))).ok()?;
            let state: State = serde_json::from_slice(&bytes).ok()?;
            let followed = state.legs().any(|leg| leg.followed);
            (followed && id_of(name).is_some()).then(|| (name.to_owned(), state))
        };
        states.filter_map(read).collect()
    }

    /// The event of a message in `sent/`.
    ///
    /// # Errors
    ///
    /// Why there is none, or none now.
    pub fn sent_event(&self, name: &str) -> Result<Event, ReadError> {
        read_named(&self.spool.sent().join(name), name)
    }

    /// The state of a message in `sent/`.
    #[must_use]
    pub fn sent_state(&self, name: &str) -> Option<State> {
        let bytes = files::read_small(&self.spool.sent().join(format!("{name}{STATE}"))).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes the state of a message in `sent/`.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn write_sent_state(&self, name: &str, state: &State) -> io::Result<()> {
        let json = serde_json::to_vec(state)?;
        files::write_durably(&self.spool.sent(), &format!("{name}{STATE}"), &json)
    }

    /// Takes a message back from `sent/`, because it has not arrived after all.
    ///
    /// # Errors
    ///
    /// What the system said; it is still in `sent/`.
    pub fn recall(&self, name: &str, state: &State) -> io::Result<()> {
        self.write_states(&[(name, state)])?;
        files::move_durably(&self.spool.sent(), name, &self.spool.queue(), name)?;
        let _ = fs::remove_file(self.spool.sent().join(format!("{name}{STATE}")));
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
