//! A wall clock that jumps, and a boot clock that has run on: for a sender, and for commands.
//!
//! Linux has one wall clock for all processes, so nobody can set it for a test. What a program
//! asks libc for can be answered otherwise: libfaketime, loaded before it, reads from a file
//! how far off the wall clock is to be, anew each time. Monotonic clock, boot clock and the
//! times of files stay the kernel's.

use std::fs;

use crate::host::{Host, require};
use crate::process::{Daemon, Output};
use crate::sender::AS_BASTION;

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// How far off the wall clock is, in the machine.
const FILE: &str = "/run/wall-clock";

impl Host {
    /// Sets the wall clock off by so many seconds, for programs that were started with
    /// [`Host::clock_words`], also those that run.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn set_clock(&self, off_s: i64) {
        let new = format!("{FILE}.new");
        self.write(&new, format!("{off_s:+}\n"), 0o644);
        fs::rename(self.path(new), self.path(FILE)).expect("a rename in /run");
    }

    /// What runs the rest of its arguments with the wall clock of [`Host::set_clock`], and as if
    /// the machine had run for `later_s` seconds longer since it was booted.
    ///
    /// # Panics
    ///
    /// When libfaketime is not there.
    #[must_use]
    pub fn clock_words(&self, later_s: u64) -> Vec<String> {
        if !self.path(FILE).exists() {
            self.set_clock(0);
        }
        let mut words: Vec<String> = Vec::new();
        if later_s > 0 {
            let later = later_s.to_string();
            let unshare =
                ["unshare", "--time", "--fork", "--kill-child", "--boottime", &later, "--"];
            words.extend(unshare.map(str::to_owned));
        }
        words.extend(["env".to_owned(), format!("LD_PRELOAD={}", library())]);
        words.push(format!("FAKETIME_TIMESTAMP_FILE={FILE}"));
        let settings = ["NO_CACHE", "DONT_FAKE_MONOTONIC", "DISABLE_SHM"];
        words.extend(settings.map(|setting| format!("FAKETIME_{setting}=1")));
        words.push("NO_FAKE_STAT=1".to_owned());
        words
    }

    /// Starts `bastion run` on these clocks.
    #[must_use]
    pub fn spawn_sender_at(&self, later_s: u64) -> Daemon {
        require("bastion");
        let own = self.clock_words(later_s);
        let mut words: Vec<&str> = Vec::new();
        // A time namespace is root's to make; the preloaded library belongs behind the change of
        // user, which would drop it.
        let (namespace, environment) = own.split_at(own.len().saturating_sub(PRELOAD_WORDS));
        words.extend(namespace.iter().map(String::as_str));
        words.extend(AS_BASTION);
        words.extend(environment.iter().map(String::as_str));
        words.extend(["/artefacts/bastion", "run"]);
        self.spawn(&words)
    }

    /// Runs `bastion WORDS` as root on these clocks.
    #[must_use]
    pub fn bastion_at(&self, later_s: u64, words: &[&str]) -> Output {
        let own = self.clock_words(later_s);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        self.run(&[&own[..], &["/artefacts/bastion"], words].concat())
    }
}

/// How many of the words are for the preloaded library: `env` and its settings.
const PRELOAD_WORDS: usize = 7;

fn library() -> String {
    let dirs = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut paths = dirs.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
    let path = paths.find(|path| path.exists());
    path.expect("libfaketime is missing: apt install libfaketime").display().to_string()
}
