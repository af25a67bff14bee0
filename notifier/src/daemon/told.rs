//! What was told of a thing that is down, kept over a restart: who was told that it is down has to be
//! told that it is up again, and not a second time that it is down.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clock::Stamp;
use crate::spool::files;
use serde::{Deserialize, Serialize};

/// What was told, as it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// Since when it is down.
    pub since: Stamp,
    /// Why, in a word; nothing where that is not told.
    pub cause: String,
    /// The same for a person, as it was told.
    pub text: String,
}

impl Told {
    /// For how long it has been down.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.age(&Stamp::now())
    }

    /// Since when, on the clock of [`Instant`]; now where that does not reach back so far.
    #[must_use]
    pub fn instant(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.age()).unwrap_or(now)
    }
}

/// The files, one for each thing that is down and was told to be.
#[derive(Debug, Clone)]
pub struct Memory {
    dir: PathBuf,
    ending: &'static str,
}

impl Memory {
    /// Files of this ending in the state directory, which is `dir` unless systemd says otherwise. Programs
    /// that may know things by the same names have endings of their own.
    #[must_use]
    pub fn new(dir: &str, ending: &'static str) -> Self {
        Self { dir: state_dir(dir), ending }
    }

    /// The same in this directory, whatever systemd says.
    #[must_use]
    pub fn within(dir: &Path, ending: &'static str) -> Self {
        Self { dir: dir.to_owned(), ending }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(self.file(name))
    }

    fn file(&self, name: &str) -> String {
        format!("{name}.{}", self.ending)
    }

    /// A file beside those, for what is written for a moment.
    #[must_use]
    pub fn beside(&self, name: &str, ending: &str) -> PathBuf {
        self.dir.join(format!("{name}.{ending}"))
    }

    /// The things of which something was told.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let ending = format!(".{}", self.ending);
        let name =
            |file: std::ffi::OsString| Some(file.to_str()?.strip_suffix(&ending)?.to_owned());
        entries.filter_map(|entry| name(entry.file_name())).collect()
    }

    /// What was told of one. A file that makes no sense is none: then it is told again.
    #[must_use]
    pub fn recall(&self, name: &str) -> Option<Told> {
        let bytes = files::read_small(&self.path(name)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps what was told.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn keep(&self, name: &str, told: &Told) -> io::Result<()> {
        let json = serde_json::to_vec(told).map_err(io::Error::other)?;
        files::replace(&self.dir, &self.file(name), &json)
    }

    /// Forgets it: it is up, and that was told.
    pub fn forget(&self, name: &str) {
        let _ = std::fs::remove_file(self.path(name));
    }
}

/// `$STATE_DIRECTORY` of systemd.exec(5), the first where there are several; else `usual`.
#[must_use]
pub fn state_dir(usual: &str) -> PathBuf {
    let set = std::env::var_os("STATE_DIRECTORY").unwrap_or_default();
    let first = set.to_str().and_then(|dirs| dirs.split(':').find(|dir| !dir.is_empty()));
    first.map_or_else(|| Path::new(usual).to_owned(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_again_until_it_is_forgotten() {
        let dir = std::env::temp_dir().join(format!("told-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let run = Memory { dir: dir.clone(), ending: "down" };
        let watch = Memory { ending: "seen-down", ..run.clone() };
        assert_eq!(run.recall("cloud"), None);
        let told = Told { since: Stamp::now(), cause: "refused".into(), text: String::new() };
        run.keep("cloud", &told).unwrap();
        assert_eq!(run.recall("cloud"), Some(told.clone()));
        assert_eq!((watch.recall("cloud"), run.recall("other")), (None, None));
        watch.keep("home", &told).unwrap();
        assert_eq!(
            (run.names(), watch.names()),
            (vec!["cloud".to_owned()], vec!["home".to_owned()])
        );
        assert!(told.age() < Duration::from_secs(60));
        std::fs::write(dir.join("odd.down"), "{").unwrap();
        assert_eq!(run.recall("odd"), None);
        run.forget("cloud");
        assert_eq!(run.recall("cloud"), None);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
