//! Asking the programs of the system: none of them may make the doctor wait or fill his memory,
//! for he is run by monitoring each few minutes on a machine that may be ill.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::finding::Finding;
use crate::ffi;

/// Longest time for a program.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Most that a program may say, in bytes. A day's logins of a busy host are some 100 KB.
const MOST: usize = 4 * 1024 * 1024;

/// Time between two looks whether it has ended. Its output wakes us before.
const STEP: Duration = Duration::from_millis(20);

/// Where programs are. Not `PATH`: the doctor is run by root, from wherever.
const DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It ended, with this exit code (`None`: by a signal), and said this.
    Said {
        /// The exit code.
        code: Option<i32>,
        /// Its standard output.
        out: String,
        /// Its standard error.
        err: String,
    },
    /// There is no such program here.
    Missing,
    /// It was not heard to its end, for this reason.
    Unheard(String),
}

impl Answer {
    /// What it said, if it ended well.
    #[must_use]
    pub fn good(&self) -> Option<&str> {
        match self {
            Self::Said { code: Some(0), out, .. } => Some(out),
            _ => None,
        }
    }

    /// Why `program` could not be heard: told as a finding with this id. `None` where it is missing
    /// or has said something.
    #[must_use]
    pub fn unheard(&self, id: &'static str, program: &str) -> Option<Finding> {
        let Self::Unheard(why) = self else { return None };
        Some(Finding::unknown(id, program, why, &format!("run it by hand: {program}")))
    }

    /// The first line of its errors, or of what it said.
    #[must_use]
    pub fn first_words(&self) -> &str {
        let Self::Said { out, err, .. } = self else { return "" };
        let lines = || err.lines().chain(out.lines()).map(str::trim);
        lines().find(|line| !line.is_empty()).unwrap_or("it said nothing")
    }
}

/// Where `program` is; an absolute path is taken as it is.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    DIRS.iter().map(|dir| Path::new(dir).join(program)).find(is_program)
}

/// Runs a program of the system, with nothing of ours in its environment, and at most [`DEADLINE`] long.
#[must_use]
pub fn ask(program: &str, arguments: &[&str]) -> Answer {
    let Some(path) = find(program) else { return Answer::Missing };
    let mut command = Command::new(path);
    command.args(arguments);
    hear(command, DEADLINE)
}

/// Runs a command to its end, and at most for `most`: then it is ended, with all it has started.
#[must_use]
pub fn hear(mut command: Command, most: Duration) -> Answer {
    ffi::unblock_signals(&mut command);
    command
        .env_clear()
        .env("PATH", DIRS.join(":"))
        // What is read here is the words of no language.
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => listen(child, most),
        Err(error) if error.kind() == ErrorKind::NotFound => Answer::Missing,
        Err(error) => Answer::Unheard(format!("cannot be started: {error}")),
    }
}

fn listen(mut child: Child, most: Duration) -> Answer {
    let (mut out, mut err) = (Pipe::new(child.stdout.take()), Pipe::new(child.stderr.take()));
    let (leader, until) = (child.id(), Instant::now() + most);
    let why = loop {
        // First whether it has ended: what it has said until then is in the pipes.
        let ended = ffi::has_ended(leader).unwrap_or(true);
        out.take();
        err.take();
        if out.kept.len() > MOST || err.kept.len() > MOST {
            break Some(format!("says more than {} MiB", MOST / 1024 / 1024));
        }
        if ended {
            break None;
        }
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break Some(format!("did not end within {} s", most.as_secs()));
        }
        let open = [out.fd(), err.fd()];
        let open: Vec<_> = open.into_iter().flatten().collect();
        let _ = ffi::wait_readable(&open, rest.min(STEP));
    };
    // What it has left in its group as well.
    let _ = ffi::signal_group(leader, libc::SIGKILL);
    if let Some(why) = why {
        // One that hangs in the kernel is not waited for: it ends when it ends.
        let _ = child.try_wait();
        return Answer::Unheard(why);
    }
    let code = child.wait().ok().and_then(|status| status.code());
    Answer::Said { code, out: out.text(), err: err.text() }
}

struct Pipe<R> {
    from: Option<R>,
    kept: Vec<u8>,
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(from: Option<R>) -> Self {
        // One that could block is not read at all.
        let from = from.filter(|from| ffi::set_nonblocking(from.as_fd()).is_ok());
        Self { from, kept: Vec::new() }
    }

    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.from.as_ref().map(R::as_fd)
    }

    /// Takes all that is there, and not much more than may be kept.
    fn take(&mut self) {
        let mut chunk = vec![0; 64 * 1024];
        while let Some(from) = &mut self.from {
            match from.read(&mut chunk) {
                Ok(0) => self.from = None,
                Ok(count) => {
                    self.kept.extend(chunk.iter().take(count));
                    if self.kept.len() > MOST {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.from = None,
            }
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, most: Duration) -> Answer {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        hear(command, most)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_a_program_says_is_heard_with_its_end() {
        let answer = sh("echo out; echo err >&2; exit 3", LONG);
        let want = Answer::Said { code: Some(3), out: "out\n".into(), err: "err\n".into() };
        assert_eq!(answer, want);
        assert_eq!((answer.good(), answer.first_words()), (None, "err"));
        assert_eq!(sh("echo $LC_ALL $HOME", LONG).good(), Some("C.UTF-8\n"));
        assert!(matches!(sh("kill -9 $$", LONG), Answer::Said { code: None, .. }));
        // More than a pipe holds, and all of it.
        let many = sh("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done", LONG);
        assert_eq!(many.good().map(str::len), Some(220_000));
    }

    #[test]
    fn a_program_that_hangs_floods_or_is_missing_makes_nobody_wait() {
        let begun = Instant::now();
        let hangs = sh("trap '' TERM; sleep 1000 & wait", Duration::from_millis(300));
        assert_eq!(hangs, Answer::Unheard("did not end within 0 s".into()));
        let floods = sh("while :; do echo 0123456789012345678901234567890123456789; done", LONG);
        assert_eq!(floods, Answer::Unheard("says more than 4 MiB".into()));
        // Its child has the pipe, and goes on.
        assert_eq!(sh("sleep 1000 & echo done", LONG).good(), Some("done\n"));
        assert_eq!(ask("no-such-program", &[]), Answer::Missing);
        assert_eq!(hear(Command::new("/no/such/program"), LONG), Answer::Missing);
        assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
        assert!(hangs.unheard("x", "sh").is_some_and(|one| one.text.contains("did not end")));
    }
}
