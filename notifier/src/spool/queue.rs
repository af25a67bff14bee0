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
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Spool, files, id_of};
use crate::event::Event;
use crate::foreign::Foreign;

/// Most messages taken into the queue. More stay in `drop/` until there is room.
pub const MAX_QUEUED: usize = 10_000;

/// Most files taken from `drop/` at a time. Between rounds what is due is sent, so that an alert
/// does not wait for thousands of others to be taken in, and their content is not held at once.
const ROUND: usize = 128;

/// How long a writer may take between creating a hidden file and publishing it. After that
/// it was killed in between, and what it wrote is looked at all the same.
const ABANDONED: Duration = Duration::from_secs(60);

/// How many files are kept in `sent/` and in `failed/`, the newest ones.
const KEPT: usize = 1000;

/// How much of it, in bytes: what is refused may be of any size.
const KEPT_BYTES: u64 = 64 * 1024 * 1024;

const STATE: &str = ".state";
const REASON: &str = ".reason";

/// What became of a message, by channel and recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Channel name, then recipient.
    pub channels: BTreeMap<String, BTreeMap<String, Leg>>,
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
    /// Whether the provider once said that it had taken it, in an answer that nobody could read.
    #[serde(default)]
    pub accepted: bool,
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
            accepted: false,
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

/// Something that was in `drop/`.
#[derive(Debug)]
pub enum Claimed {
    /// An event, now durable in `queue/` under this name.
    Event(String, Box<Event>),
    /// No event: it is in `failed/` under this name, for this reason.
    Refused(String, String),
    /// It could not be taken and is still in `drop/`.
    Stuck(Foreign, io::Error),
    /// What this round took may be gone after a power cut; it is sent all the same.
    NotDurable(io::Error),
}

/// The sender's directories. There is one sender, so nobody else renames in here, but for
/// an administrator with `bastion queue`: every call has to bear that a file is gone.
#[derive(Debug)]
pub struct Queue {
    spool: Spool,
    stuck: HashSet<OsString>,
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

    /// Takes what is in `drop/`, oldest first: at most `room` events, a limited number of files at
    /// a time, and makes it durable. Answers also whether there is more to be had at once. What
    /// could not be taken is told once.
    ///
    /// # Errors
    ///
    /// When `drop/` cannot be listed.
    pub fn claim(&mut self, room: usize) -> io::Result<(Vec<Claimed>, bool)> {
        let drop = self.spool.drop();
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(&drop)? {
            let entry = entry?;
            if !entry.file_name().as_bytes().starts_with(b".") || abandoned(&entry.path()) {
                names.push(entry.file_name());
            }
        }
        // The names begin with the time, so the oldest is first.
        names.sort_unstable();
        self.stuck.retain(|name| names.binary_search(name).is_ok());
        let (mut claimed, mut moved, mut events, mut more) = (Vec::new(), 0, 0, false);
        for name in &names {
            // What is refused or stuck takes no room: or anybody who may write here could fill
            // it with garbage, or with directories, which stay where they are.
            if events == room {
                break;
            }
            if moved == ROUND {
                more = true;
                break;
            }
            match self.claim_one(name) {
                Ok(one) => {
                    moved += 1;
                    events += usize::from(matches!(one, Claimed::Event(..)));
                    claimed.push(one);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    if self.stuck.insert(name.clone()) {
                        claimed.push(Claimed::Stuck(Foreign::new(name.as_bytes()), error));
                    }
                }
            }
        }
        if moved > 0 {
            // The renames of the whole round are made durable at once, before any try.
            let synced = files::sync_dir(&self.spool.queue()).and_then(|()| files::sync_dir(&drop));
            if let Err(error) = synced {
                claimed.push(Claimed::NotDurable(error));
            }
        }
        Ok((claimed, more))
    }

    fn claim_one(&self, name: &OsStr) -> io::Result<Claimed> {
        let from = self.spool.drop().join(name);
        let good = name.to_str().unwrap_or_default().trim_start_matches('.');
        if id_of(good).is_none() {
            return self.refuse_from(&from, good, "a file name that no writer of ours makes");
        }
        let known = [self.spool.queue(), self.spool.failed(), self.spool.sent()];
        if known.iter().any(|dir| fs::symlink_metadata(dir.join(good)).is_ok()) {
            return self.refuse_from(&from, good, "a name that has been there before");
        }
        let to = self.spool.queue().join(good);
        fs::rename(&from, &to)?;
        match read_named(&to, good) {
            Ok(event) => {
                // fsync(2) needs no right to write, so the sender can do it for root's file.
                if let Err(error) = fs::File::open(&to).and_then(|file| file.sync_all()) {
                    let _ = fs::rename(&to, &from);
                    return Err(error);
                }
                Ok(Claimed::Event(good.to_owned(), Box::new(event)))
            }
            Err(reason) => self.refuse_from(&to, good, &reason),
        }
    }

    fn refuse_from(&self, path: &Path, name: &str, reason: &str) -> io::Result<Claimed> {
        let name = self.free_name(name);
        fs::rename(path, self.spool.failed().join(&name))?;
        self.write_reason(&name, reason);
        Ok(Claimed::Refused(name, reason.to_owned()))
    }

    /// A name in `failed/` that is not taken and that no terminal trips over.
    fn free_name(&self, wish: &str) -> String {
        let good = wish.trim_start_matches('.');
        let taken = |name: &str| fs::symlink_metadata(self.spool.failed().join(name)).is_ok();
        if id_of(good).is_some() && !taken(good) {
            return good.to_owned();
        }
        let now = crate::clock::unix_ms();
        (0_u32..)
            .map(|n| {
                let id = super::drop::new_id(now.wrapping_add(u64::from(n)));
                format!("{now:013}-foreign-{id}.json")
            })
            .find(|name| !taken(name))
            .unwrap_or_default()
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
    /// When it should go there and cannot.
    pub fn take_up(&self, name: &str) -> io::Result<(Claimed, State)> {
        let path = self.spool.queue().join(name);
        match read_named(&path, name) {
            Ok(event) => {
                Ok((Claimed::Event(name.to_owned(), Box::new(event)), self.read_state(name)))
            }
            Err(reason) => Ok((self.refuse_from(&path, name, &reason)?, State::default())),
        }
    }

    /// The event of a message; `None` when an administrator has taken it away.
    ///
    /// # Errors
    ///
    /// Why the file is no event any more.
    #[must_use]
    pub fn event(&self, name: &str) -> Option<Result<Event, String>> {
        self.has(name).then(|| files::read_event(&self.spool.queue().join(name)))
    }

    /// Whether the message is still in `queue/`: an administrator may have taken it away.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.spool.queue().join(name)).is_ok()
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

    fn write_reason(&self, name: &str, reason: &str) {
        // The reason is in the log as well; without it the file is still where it belongs.
        let _ =
            fs::write(self.spool.failed().join(format!("{name}{REASON}")), format!("{reason}\n"));
    }

    /// Removes the oldest of what is kept in `sent/` and `failed/` beyond a ceiling; answers
    /// how many messages of `failed/` are gone, because somebody should hear of those.
    #[must_use]
    pub fn prune(&self) -> usize {
        prune(&self.spool.sent());
        prune(&self.spool.failed())
    }
}

/// The event in a file, if its id is the one in the file's name.
fn read_named(path: &Path, name: &str) -> Result<Event, String> {
    let event = files::read_event(path)?;
    if id_of(name) == Some(event.id) { Ok(event) } else { Err("its name has another id".into()) }
}

fn prune(dir: &Path) -> usize {
    let Ok(mut names) = list(dir) else { return 0 };
    names.retain(|name| !name.ends_with(STATE) && !name.ends_with(REASON));
    // Newest first, as many as there is room for.
    let mut bytes = 0_u64;
    let fits = |name: &&String| {
        let size = fs::symlink_metadata(dir.join(name)).map_or(0, |meta| meta.len());
        bytes = bytes.saturating_add(size);
        bytes <= KEPT_BYTES
    };
    let kept = names.iter().rev().take(KEPT).take_while(fits).count();
    let surplus = names.len().saturating_sub(kept);
    for name in names.iter().take(surplus) {
        for suffix in ["", STATE, REASON] {
            let _ = fs::remove_file(dir.join(format!("{name}{suffix}")));
        }
    }
    surplus
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

fn abandoned(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .and_then(|meta| meta.modified())
        .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ABANDONED))
}
