//! Processes: one that is waited for, and one that goes on in the background.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ffi;
use crate::wait::{wait_for, wait_until};

/// What a finished process left.
#[derive(Clone)]
pub struct Output {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All that it wrote to standard error.
    pub stderr: Vec<u8>,
    /// Wall time from start to end, starting the namespace helper included.
    pub took: Duration,
}

impl Output {
    /// Status of a process that was cut off at its deadline: `timeout --signal=KILL`
    /// is itself hit by the signal it sends.
    const CUT_OFF: i32 = 137;

    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Whether it was ended at its deadline.
    #[must_use]
    pub fn cut_off(&self) -> bool {
        self.code.is_none() || self.code == Some(Self::CUT_OFF)
    }

    /// Itself, when the exit status is 0.
    ///
    /// # Panics
    ///
    /// With all that the process said, when it is not.
    #[expect(clippy::must_use_candidate, reason = "often called for the panic alone")]
    pub fn ok(self) -> Self {
        assert!(self.code == Some(0), "{self:?}");
        self
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, took, .. } = self;
        write!(f, "exit {code:?} after {took:?}\n-- stdout\n{}", self.text())?;
        write!(f, "\n-- stderr\n{}\n--", self.errors())
    }
}

/// Runs `command` to its end. The deadline is the caller's: see [`crate::host::Host::run`].
///
/// # Panics
///
/// When the program cannot be started.
pub fn finish(command: &mut Command, input: &[u8]) -> Output {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let output = std::thread::scope(|scope| {
        // Its own thread, or a process that writes before it reads would block us both.
        // A process that ends without reading is no error here.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("a child can be waited for")
    });
    Output {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
        took: start.elapsed(),
    }
}

/// A process in the background, ended by force when this is dropped.
pub struct Daemon {
    /// The namespace helper, which lives as long as the process does.
    helper: Child,
    stdin: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, a namespace helper that forks the real process. Both streams
    /// of its output go to the file `log`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let out = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", log.display()));
        let err = out.try_clone().expect("a file can be cloned");
        let mut helper = command
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = helper.stdin.take();
        let pid = helper.id();
        let list = format!("/proc/{pid}/task/{pid}/children");
        let pid = wait_for("the helper to start its process", Duration::from_secs(10), || {
            std::fs::read_to_string(&list).ok()?.split_whitespace().next()?.parse().ok()
        });
        Self { helper, stdin, pid, log: log.to_owned() }
    }

    /// The process's id, as the test sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written so far, both streams.
    #[must_use]
    pub fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    ///
    /// When it no longer reads.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("the process reads its input");
    }

    /// Ends its standard input.
    pub fn hush(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal (`libc::SIGTERM`, ...).
    pub fn signal(&self, signal: i32) {
        // An error means that it has ended already, which the caller sees by other means.
        let _ = ffi::kill(self.pid, signal);
        if matches!(signal, libc::SIGCONT | libc::SIGKILL) {
            // nsenter stops itself when its child stops, and would not see the end.
            let _ = ffi::kill(self.helper.id(), libc::SIGCONT);
        }
    }

    /// SIGSTOP, and waits until it has stopped: the signal alone lets it go on for a moment.
    ///
    /// # Panics
    ///
    /// When it does not stop.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid);
        let stopped = || std::fs::read_to_string(&stat).is_ok_and(|line| line.contains(") T "));
        assert!(wait_until(Duration::from_secs(5), stopped), "the process does not stop");
    }

    /// Most memory that it has had resident since its start, in KiB (`VmHWM` of proc(5)).
    ///
    /// # Panics
    ///
    /// When it has ended.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("proc(5) has VmHWM")
    }

    /// Processor time that it has taken since its start (proc_pid_stat(5), at 100 ticks a second).
    ///
    /// # Panics
    ///
    /// When it has ended.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let stat = stat.expect("the process lives");
        let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks = rest.split(' ').skip(11).take(2).map(|word| word.parse::<u64>());
        Duration::from_millis(ticks.map(|ticks| ticks.expect("a number")).sum::<u64>() * 10)
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.helper.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself. Answers the exit status, `None` when the
    /// deadline passed or a signal ended it.
    pub fn wait(&mut self, deadline: Duration) -> Option<i32> {
        let _ = wait_until(deadline, || !self.running());
        self.helper.try_wait().ok().flatten().and_then(|status| status.code())
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.wait(Duration::from_secs(5));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.running() {
            self.kill();
        }
        // The helper mirrors its child's end; where it does not, it goes by itself.
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}
