//! `pamrun` as a test sees it: the PAM module called by libpam, without sshd.
//!
//! The program is `src/bin/pamrun.rs`; here are its arguments and its report.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::{CONFIG, Host, MODULE};
use crate::process::Output;

/// What `pamrun` prints, as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Each session that was opened.
    pub rounds: Vec<Round>,
    /// Before `pam_start`, so without the module.
    pub memory_bare: Memory,
    /// After the first `pam_start`: the module is loaded.
    pub memory_before: Memory,
    /// After the last session, before `pam_end`.
    pub memory_after: Memory,
    /// After `pam_end`.
    pub memory_ended: Memory,
    /// State of the process before the first session.
    pub before: State,
    /// State of the process after the last one.
    pub after: State,
}

impl Report {
    /// Whether every call answered `PAM_SUCCESS`.
    #[must_use]
    pub fn all_succeeded(&self) -> bool {
        self.rounds.iter().all(|r| r.start == 0 && r.open == 0 && r.close.is_none_or(|c| c == 0))
    }

    /// The longest `pam_open_session`.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        let longest = self.rounds.iter().map(|r| r.open_ns).max().unwrap_or(0);
        Duration::from_nanos(longest)
    }

    /// The median `pam_open_session`.
    #[must_use]
    pub fn median(&self) -> Duration {
        let mut times: Vec<u64> = self.rounds.iter().map(|r| r.open_ns).collect();
        times.sort_unstable();
        Duration::from_nanos(times.get(times.len() / 2).copied().unwrap_or(0))
    }
}

/// Memory of the process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident (`VmRSS`): with the pages of libraries, which processes share.
    pub resident_kib: u64,
    /// The part that is the process's own (`RssAnon`).
    pub own_kib: u64,
}

/// One session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// Return code of `pam_start_confdir`.
    pub start: i32,
    /// Return code of `pam_open_session`.
    pub open: i32,
    /// Return code of `pam_close_session`, when it was called.
    pub close: Option<i32>,
    /// Time in `pam_open_session` alone, in nanoseconds.
    pub open_ns: u64,
}

/// What a module must not change in the process that it is loaded into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Targets of the open descriptors, by number.
    pub descriptors: Vec<(u32, String)>,
    /// `umask`.
    pub umask: String,
    /// Working directory.
    pub cwd: String,
    /// The process environment, sorted.
    pub environment: Vec<(String, String)>,
    /// Masks of blocked, ignored and caught signals.
    pub signals: Vec<String>,
    /// Threads.
    pub threads: u32,
    /// Child processes, zombies included.
    pub children: Vec<u32>,
}

/// The arguments of one `pamrun`.
#[derive(Debug, Clone)]
pub struct PamRun {
    environment: Vec<String>,
    words: Vec<String>,
}

impl PamRun {
    /// Our module with the usual configuration, as sshd would call it for `user` from
    /// `source`: `PAM_RHOST`, `SSH_CONNECTION` and `SSH_AUTH_INFO_0` (password) are set.
    #[must_use]
    pub fn login(user: &str, source: &str) -> Self {
        Self::bare(user)
            .rhost(source)
            .env(&format!("SSH_CONNECTION={source} 41258 192.0.2.1 22"))
            .env("SSH_AUTH_INFO_0=password\n")
    }

    /// Our module without any fact but the user. `user` may be `hex:` and hex digits.
    #[must_use]
    pub fn bare(user: &str) -> Self {
        Self { environment: Vec::new(), words: Vec::new() }
            .with(&["--module", MODULE, "--config", CONFIG, "--service", "sshd"])
            .with(&["--user", user, "--close"])
    }

    /// With `PAM_RHOST`; `hex:` as for the user.
    #[must_use]
    pub fn rhost(self, host: &str) -> Self {
        self.with(&["--rhost", host])
    }

    /// With `NAME=VALUE` in the PAM environment; `hex:` as for the user.
    #[must_use]
    pub fn env(self, name_value: &str) -> Self {
        self.with(&["--env", name_value])
    }

    /// With further arguments of `pamrun`; a later one wins.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// With `NAME=VALUE` in the process environment, which is not PAM's.
    #[must_use]
    pub fn process_env(mut self, name_value: &str) -> Self {
        self.environment.push(name_value.to_owned());
        self
    }

    /// The same without our module: the control.
    #[must_use]
    pub fn without_module(self) -> Self {
        self.with(&["--module", ""])
    }

    /// Runs it, `deadline` at most.
    #[must_use]
    pub fn output(&self, host: &Host, deadline: Duration) -> Output {
        let mut words = vec!["env"];
        words.extend(self.environment.iter().map(String::as_str));
        words.push("/rigs/pamrun");
        words.extend(self.words.iter().map(String::as_str));
        host.run_with(deadline, &words, b"")
    }

    /// Runs it, `deadline` at most, and reads its report.
    ///
    /// # Panics
    ///
    /// When it failed, crashed or was cut off.
    #[must_use]
    pub fn report(&self, host: &Host, deadline: Duration) -> Report {
        let output = self.output(host, deadline).ok();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("no report of pamrun ({error}): {output:?}"))
    }
}

/// `bytes` as a `hex:` argument, for what is no UTF-8 or hurts in a shell.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hex:{digits}")
}
