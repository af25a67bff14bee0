//! Drop files as writers make them, written by the test itself: honest ones, and what a
//! stranger might leave there.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::host::{DEADLINE, Host, SPOOL, UNKNOWN};
use crate::wait::wait_until;

/// Digits of an alert's id (Crockford's base32).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// An alert that has not been published yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its id.
    pub id: String,
    /// Its content.
    pub json: Value,
}

impl Draft {
    /// A text, as `bastion send` makes it. `number` becomes the id.
    #[must_use]
    pub fn note(number: u32, text: &str) -> Self {
        Self::new(number, &json!({ "kind": "note", "text": text }))
    }

    /// A login from an unknown place by password, as the PAM module tells it.
    #[must_use]
    pub fn login(number: u32, user: &str) -> Self {
        let login = json!({
            "kind": "login", "user": user, "service": "sshd", "source": UNKNOWN,
            "auth": [{ "method": "password" }], "reason": "in no rule", "pid": 4711,
        });
        Self::new(number, &login)
    }

    /// That a thing is down or up, as `bastion send` tells it.
    #[must_use]
    pub fn condition(number: u32, name: &str, is_down: bool) -> Self {
        let status = if is_down { "down" } else { "up" };
        let what = json!({ "kind": "condition", "name": name, "status": status, "text": "" });
        Self::new(number, &what)
    }

    fn new(number: u32, what: &Value) -> Self {
        let id = id(number);
        let severity = "warning";
        let json = json!({
            "version": 1, "id": id, "at": { "unix_ms": unix_ms() }, "host": "jump",
            "severity": severity, "what": what,
        });
        Self { id, json }
    }

    /// The same with the boot clock, as a writer of ours has it.
    ///
    /// # Panics
    ///
    /// When `/proc` cannot be read.
    #[must_use]
    pub fn stamped(mut self) -> Self {
        let read = |path: &str| fs::read_to_string(path).expect("a file of proc(5)");
        let id = read("/proc/sys/kernel/random/boot_id");
        let uptime = read("/proc/uptime");
        let (seconds, hundredths) =
            uptime.split(' ').next().and_then(|up| up.split_once('.')).expect("proc(5): uptime");
        let ms: u64 = format!("{seconds}{hundredths}0").parse().expect("digits");
        self.json["at"]["boot"] = json!({ "id": id.trim_end(), "ms": ms });
        self
    }

    /// The same, `age` earlier, in a boot before this one.
    #[must_use]
    pub fn aged(mut self, age: Duration) -> Self {
        let at = unix_ms() - u64::try_from(age.as_millis()).expect("an age in this century");
        let boot = json!({ "id": "00000000-0000-0000-0000-000000000000", "ms": 1000 });
        self.json["at"] = json!({ "unix_ms": at, "boot": boot });
        self
    }

    /// The name that a writer gives it.
    #[must_use]
    pub fn name(&self) -> String {
        let kind = self.json["what"]["kind"].as_str().unwrap_or_default();
        format!("{:013}-{kind}-{}.json", self.json["at"]["unix_ms"].as_u64().unwrap_or(0), self.id)
    }

    /// Its content, as it is written.
    #[must_use]
    pub fn text(&self) -> String {
        self.json.to_string()
    }
}

impl Host {
    /// Publishes an alert as root, the way all writers do: hidden, then renamed.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn publish(&self, draft: &Draft) {
        let name = draft.name();
        let hidden = format!(".{name}");
        self.plant(OsStr::new(&hidden), draft.text().as_bytes());
        fs::rename(self.in_drop(OsStr::new(&hidden)), self.in_drop(OsStr::new(&name)))
            .expect("a rename in drop/");
    }

    /// Writes a file of any name and content into `drop/`, root's, mode 0640.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn plant(&self, name: &OsStr, content: &[u8]) {
        let path = self.in_drop(name);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .and_then(|mut file| file.write_all(content))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// Where a name in `drop/` is seen from the test.
    #[must_use]
    pub fn in_drop(&self, name: &OsStr) -> PathBuf {
        self.path(format!("{SPOOL}/drop")).join(name)
    }

    /// Names in a directory of the spool, hidden ones and states included, sorted; what is
    /// not UTF-8 in them is replaced.
    #[must_use]
    pub fn spool_names(&self, room: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(format!("{SPOOL}/{room}"))).into_iter().flatten();
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.flatten().map(name).collect();
        names.sort();
        names
    }

    /// The room of the spool (`drop`, `queue`, `failed`, `sent`) that has the alert.
    #[must_use]
    pub fn room_of(&self, id: &str) -> Option<&'static str> {
        let end = format!("-{id}.json");
        let has = |room: &str| self.spool_names(room).iter().any(|name| name.ends_with(&end));
        ["drop", "queue", "failed", "sent"].into_iter().find(|room| has(room))
    }

    /// Waits until the alert is in this room of the spool.
    ///
    /// # Panics
    ///
    /// When it is not within `deadline`.
    pub fn wait_room(&self, id: &str, room: &str, deadline: Duration) {
        let there = || self.room_of(id) == Some(room);
        assert!(wait_until(deadline, there), "alert {id} is in {:?}, not {room}", self.room_of(id));
    }

    /// Waits until nothing is left in `queue/`: an alert's state goes a moment after the alert.
    ///
    /// # Panics
    ///
    /// When something stays there.
    pub fn wait_empty_queue(&self) {
        let empty = || self.spool_names("queue").is_empty();
        assert!(wait_until(DEADLINE, empty), "left in queue/: {:?}", self.spool_names("queue"));
    }

    /// `bastion send TEXT` as root; answers the alert's id.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[must_use]
    pub fn send(&self, text: &str) -> String {
        self.run(&["/artefacts/bastion", "send", text]).ok().text().trim().to_owned()
    }
}

/// The id made of a number's low 30 bits.
#[must_use]
pub fn id(number: u32) -> String {
    let digit = |place: u32| char::from(DIGITS[(number >> (5 * place) & 31) as usize]);
    (0..6).rev().map(digit).collect()
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
