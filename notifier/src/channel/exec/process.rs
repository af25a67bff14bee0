//! One run of a program: bounded in time and in what is kept of its output, and with nothing of
//! it left behind.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ffi;

/// Time to end in peace after SIGTERM, and to be gone after SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Time between two looks whether it has ended. Its output wakes us before.
const STEP: Duration = Duration::from_millis(20);

/// How much is kept of each of its outputs, in bytes: the last of it. A last line is shown.
const KEPT: usize = 4096;

/// Most that is read of an output in one go, in bytes: a pipe's content (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// Most runs that even SIGKILL has not ended: processes that hang in the kernel, on a file server.
const MOST_LEFT: usize = 4;

/// Where programs find programs: what a unit of systemd has by default.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A place that exists and that the sender's unit may write to (`StateDirectory`). The sender's own
/// is another when it is started by hand.
const HOME: &str = "/var/lib/bastion";

/// A program to run.
#[derive(Debug)]
pub(super) struct Program {
    pub path: String,
    pub arguments: Vec<String>,
    pub timeout: Duration,
}

/// How a run ended, and the last of what it said.
#[derive(Debug)]
pub(super) struct Run {
    pub end: End,
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// By us, at the deadline.
    Deadline,
    /// It did not begin: there is no such program, or we may not run it.
    NotFound(io::Error),
    /// It did not begin: the machine has no room.
    NotStarted(io::Error),
    /// It did not begin, as so many before it have not ended.
    Stuck(usize),
}

/// Runs that have not ended, whatever was done to end them. They are reaped when they do.
#[derive(Debug, Default)]
pub(super) struct Left(Vec<Child>);

/// One of a program's outputs.
struct Pipe<R> {
    from: Option<R>,
    kept: Vec<u8>,
}

impl Program {
    /// Runs it with `input` on its standard input and `facts` in its environment.
    pub(super) fn run(
        &self,
        facts: &[(&'static str, String)],
        input: &[u8],
        left: &mut Left,
    ) -> Run {
        let said_nothing = |end| Run { end, output: Vec::new(), errors: Vec::new() };
        left.0.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        if left.0.len() >= MOST_LEFT {
            return said_nothing(End::Stuck(left.0.len()));
        }
        // A file and no pipe: who does not read it cannot make us wait.
        let child = ffi::memory_file(c"alert", input).and_then(|input| self.spawn(facts, input));
        match child {
            Ok(child) => self.watch(child, left),
            Err(error) => said_nothing(match error.kind() {
                ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::InvalidInput => End::NotFound(error),
                _ if error.raw_os_error() == Some(libc::ENOEXEC) => End::NotFound(error),
                _ => End::NotStarted(error),
            }),
        }
    }

    fn spawn(&self, facts: &[(&'static str, String)], input: std::fs::File) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        ffi::unblock_signals(&mut command);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", HOME)
            .envs(facts.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Waits for its end, and sees to it.
    fn watch(&self, mut child: Child, left: &mut Left) -> Run {
        let mut output = Pipe::new(child.stdout.take());
        let mut errors = Pipe::new(child.stderr.take());
        let leader = child.id();
        let mut listen = |most| listen(leader, most, &mut output, &mut errors);
        let by_itself = listen(self.timeout);
        if !by_itself {
            let _ = ffi::signal_group(leader, libc::SIGTERM);
            listen(GRACE);
        }
        // What it has left in its group, in any case: nobody would ever end that.
        let _ = ffi::signal_group(leader, libc::SIGKILL);
        let ended = listen(GRACE);
        let status = if ended { child.wait().ok() } else { None };
        let end = match status {
            _ if !by_itself => End::Deadline,
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => End::Code(code),
                (None, signal) => End::Signal(signal.unwrap_or_default()),
            },
            None => End::Signal(0),
        };
        if !ended {
            left.0.push(child);
        }
        Run { end, output: output.kept, errors: errors.kept }
    }
}

/// Takes up what the program says until it has ended or `most` has passed; whether it has ended.
fn listen<A: Read + AsFd, B: Read + AsFd>(
    leader: u32,
    most: Duration,
    output: &mut Pipe<A>,
    errors: &mut Pipe<B>,
) -> bool {
    let end = Instant::now() + most;
    loop {
        // First whether it has ended: what it has said until then is in the pipes.
        let ended = ffi::has_ended(leader).unwrap_or(true);
        output.take();
        errors.take();
        let rest = end.saturating_duration_since(Instant::now());
        if ended || rest.is_zero() {
            return ended;
        }
        let open: Vec<BorrowedFd<'_>> = [output.fd(), errors.fd()].into_iter().flatten().collect();
        let _ = ffi::wait_readable(&open, rest.min(STEP));
    }
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(from: Option<R>) -> Self {
        // One that could block is not read at all.
        let from = from.filter(|from| ffi::set_nonblocking(from.as_fd()).is_ok());
        Self { from, kept: Vec::new() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(R::as_fd)
    }

    /// Takes what is there, and keeps the last of it.
    fn take(&mut self) {
        let Some(from) = &mut self.from else { return };
        let mut chunk = vec![0; CHUNK];
        match from.read(&mut chunk) {
            Ok(0) => self.from = None,
            Ok(count) => {
                self.kept.extend(chunk.iter().take(count));
                let surplus = self.kept.len().saturating_sub(KEPT);
                self.kept.drain(..surplus);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.from = None,
        }
    }
}
