//! The proof: through the very forward that people will use, to the jump host and back, and the banner
//! of the sshd behind it read (RFC 4253, 4.2).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use notifier::ffi::{set_nonblocking, signal_group, wait_readable};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::cause::{self, Cause};
use crate::config::Tunnel;
use crate::keys;
use crate::sockets::Files;
use crate::ssh;

/// How long a look may take while nothing moves.
const MOST: Duration = Duration::from_secs(5);

/// How long it may take while ssh moves other bytes: ours stand in one queue with those of the people
/// who use the tunnel, and a slow line may have seconds of them. That a path is dead on which bytes
/// are still put, the kernel tells (`TCP_USER_TIMEOUT`), and ssh.
const MOST_BUSY: Duration = Duration::from_secs(30);

/// How many bytes mean that others use the line: more than a look and ssh's own signs of life are, less
/// than the slowest line has in [`MOST`].
const BUSY: u64 = 2_048;

/// How long the target on this side may take.
pub const MOST_HERE: Duration = Duration::from_secs(2);

/// How long the comparison of keys may take.
const MOST_KEYS: Duration = Duration::from_secs(20);

/// Longest banner, in bytes, with lines that may stand before it.
const MAX_BANNER: usize = 1024;

/// Most that is kept of what a short program says, in bytes.
const MAX_SAID: usize = 64 * 1024;

/// How often it is looked whether a program has ended.
const STEP: Duration = Duration::from_millis(20);

/// How a banner begins.
const BANNER: &[u8] = b"SSH-";

/// A look that is under way.
#[derive(Debug)]
pub struct Look {
    stream: File,
    begun: Instant,
    /// When bytes of others were last seen to move, and how many had in all.
    moved: (Instant, Option<u64>),
    heard: Vec<u8>,
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The banner, after so long.
    Banner(Duration),
    /// The way ended before it.
    Nothing,
    /// No answer in time.
    Silence,
    /// Something that is no sshd.
    Other,
}

impl Look {
    /// Begins one.
    ///
    /// # Errors
    ///
    /// What the system said: there is no such socket before ssh has opened the session.
    pub fn begin(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Ok(Self::of(stream.into()))
    }

    /// Begins one at an address.
    ///
    /// # Errors
    ///
    /// What the system said: there is no way there.
    pub fn at(target: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Self::of(socket.into())),
        }
    }

    fn of(socket: OwnedFd) -> Self {
        let begun = Instant::now();
        Self { stream: socket.into(), begun, moved: (begun, None), heard: Vec::new() }
    }

    /// What becomes readable when there is news.
    #[must_use]
    pub fn wakes(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// When it is over in any case.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        (self.moved.0 + MOST).min(self.begun + MOST_BUSY)
    }

    /// Takes note of how many bytes have moved in all where the look goes.
    pub fn note_moved(&mut self, bytes: Option<u64>) {
        let moves = |before: u64| bytes.is_some_and(|now| now.saturating_sub(before) >= BUSY);
        match self.moved.1 {
            None => self.moved.1 = bytes,
            Some(before) if moves(before) => self.moved = (Instant::now(), bytes),
            Some(_) => {}
        }
    }

    /// What it has found, once it has.
    pub fn found(&mut self) -> Option<Found> {
        let mut chunk = [0; 256];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Some(if self.heard.is_empty() { Found::Nothing } else { Found::Other });
                }
                Ok(read) => {
                    self.heard.extend(chunk.get(..read).unwrap_or_default());
                    if has_banner(&self.heard) {
                        return Some(Found::Banner(self.begun.elapsed()));
                    }
                    if self.heard.len() > MAX_BANNER {
                        return Some(Found::Other);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // That a router knows no way is an error that reading does not tell (ip(7), tcp(7)):
                    // the kernel would go on trying, and poll(2) for ever say that there is one.
                    match SockRef::from(&self.stream).take_error() {
                        Ok(None) => break,
                        _ => return Some(Found::Nothing),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Some(Found::Nothing),
            }
        }
        (Instant::now() >= self.deadline()).then_some(Found::Silence)
    }
}

/// Looks once and waits for what is found; `None` when there is no such socket yet.
#[must_use]
pub fn once(socket: &Path) -> Option<Found> {
    let mut look = Look::begin(socket).ok()?;
    loop {
        if let Some(found) = look.found() {
            return Some(found);
        }
        let left = look.deadline().saturating_duration_since(Instant::now());
        let _ = wait_readable(&[look.wakes()], left);
    }
}

/// What an sshd says in the place of its banner when it has too many guests (`MaxStartups`), or has had
/// enough of one (`PerSourcePenalties`): the way to it is open.
const FULL: [&[u8]; 2] = [b"Exceeded MaxStartups", b"Not allowed at this time"];

/// Whether a line begins as a banner does; others may stand before it.
fn has_banner(heard: &[u8]) -> bool {
    heard.starts_with(BANNER)
        || FULL.iter().any(|busy| heard.starts_with(busy))
        || heard.windows(5).any(|five| five.starts_with(b"\n") && five.ends_with(BANNER))
}

/// Whether what listens there answers as an sshd does, asked without the tunnel; each step may take
/// `most`.
#[must_use]
pub fn answers(target: SocketAddr, most: Duration) -> bool {
    let heard = || -> io::Result<[u8; 4]> {
        let mut stream = TcpStream::connect_timeout(&target, most)?;
        let until = Instant::now() + most;
        let mut heard = [0; 4];
        for byte in &mut heard {
            // Who says a byte each second has no more time for it.
            let left = until.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            stream.read_exact(std::slice::from_mut(byte))?;
        }
        Ok(heard)
    };
    heard().is_ok_and(|heard| heard == BANNER)
}

/// What a comparison of host keys has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The key behind the forward is one of the target's.
    Same,
    /// It is another's.
    Other,
    /// It could not be compared.
    Unknown,
}

/// Compares the host key behind the forward with those that the target shows on this side. Takes two
/// short programs and some tenths of a second; to be called in a thread of its own.
#[must_use]
pub fn identify(tunnel: &Tunnel, files: &Files, own: &Path) -> Identity {
    let deadline = Instant::now() + MOST_KEYS;
    let Some(keys) = target_keys(tunnel, deadline) else { return Identity::Unknown };
    if write_keys(&files.target_keys, &keys).is_err() {
        return Identity::Unknown;
    }
    let through = [
        "ProxyUseFdpass=yes".to_owned(),
        format!("ProxyCommand={} connect --unix {}", own.display(), files.probe.display()),
    ];
    shows_one_of(&tunnel.ssh, &files.target_keys, &through, "target", deadline)
}

/// Compares the host key of an sshd with those whose fingerprints are given. `file` is where its keys
/// may be written; to be called in a thread of its own.
#[must_use]
pub fn identify_at(target: SocketAddr, fingerprints: &[String], file: &Path) -> Identity {
    let deadline = Instant::now() + MOST_KEYS;
    let host = target.ip().to_string();
    let scan = Path::new("/usr/bin/ssh-keyscan");
    let Some(shown) = keys::scan(scan, &host, target.port(), deadline) else {
        return Identity::Unknown;
    };
    // That somebody shows a key does not mean that he has it: ssh sees to that.
    let mut known = String::new();
    for line in shown.lines() {
        let found = keys::fingerprints_of(line, deadline);
        if found.is_empty() {
            return Identity::Unknown;
        }
        if let (true, Some((_, key))) =
            (found.iter().any(|one| fingerprints.contains(one)), line.split_once(' '))
        {
            known.push_str(&format!("target {key}\n"));
        }
    }
    if known.is_empty() {
        return Identity::Other;
    }
    if write_keys(file, &known).is_err() {
        return Identity::Unknown;
    }
    let at = [format!("Port={}", target.port()), "ConnectTimeout=10".to_owned()];
    shows_one_of(Path::new("/usr/bin/ssh"), file, &at, &host, deadline)
}

/// Whether the sshd at `host` proves to have one of the keys in `file`, which are under the name
/// `target`.
fn shows_one_of(
    program: &Path,
    file: &Path,
    more: &[String],
    host: &str,
    deadline: Instant,
) -> Identity {
    let mut command = ssh::command(program);
    command.args(["-F", "none", "-T"]);
    let options = [
        "BatchMode=yes".to_owned(),
        "ControlPath=none".to_owned(),
        "PreferredAuthentications=none".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "HostKeyAlias=target".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        format!("UserKnownHostsFile={}", file.display()),
    ];
    for option in options.iter().chain(more) {
        command.args(["-o", option]);
    }
    let output = run(command.args(["--", host, "true"]), deadline);
    // Who asked may be gone, and nobody else would.
    let _ = std::fs::remove_file(file);
    output.map_or(Identity::Unknown, |output| judge(&output))
}

/// How lines of ssh begin that quote the other side, before it has proved anything: it may say what it
/// likes there, line ends included.
const THEIRS: [&str; 3] =
    ["Received disconnect from", "Unable to negotiate", "Bad remote protocol version"];

/// What ssh says of who answered.
fn judge(output: &str) -> Identity {
    if THEIRS.iter().any(|theirs| output.contains(theirs)) {
        return Identity::Unknown;
    }
    match cause::of_end(output.lines()) {
        // It has got as far as asking who we are, and for that the key had to be right.
        Cause::KeyRejected => Identity::Same,
        Cause::HostKey => Identity::Other,
        _ => Identity::Unknown,
    }
}

/// The target's own keys as lines of known_hosts, under the name `target`.
fn target_keys(tunnel: &Tunnel, deadline: Instant) -> Option<String> {
    let scan = keyscan(&tunnel.ssh);
    let host = tunnel.target.ip().to_string();
    let lines = keys::scan(&scan, &host, tunnel.target.port(), deadline)?;
    let keys = lines.lines().filter_map(|line| line.split_once(' '));
    Some(keys.map(|(_, key)| format!("target {key}\n")).collect())
}

/// The ssh-keyscan beside an ssh, or the system's for an ssh that stands alone.
fn keyscan(ssh: &Path) -> PathBuf {
    let beside = ssh.with_file_name("ssh-keyscan");
    if beside.exists() { beside } else { "/usr/bin/ssh-keyscan".into() }
}

fn write_keys(path: &Path, keys: &str) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(keys.as_bytes())
}

/// Runs a short program and answers the end of what it has said, on standard output where that is a
/// pipe; nothing when it took too long.
pub fn run(command: &mut Command, deadline: Instant) -> Option<String> {
    let mut child = command.spawn().ok()?;
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let mut pipe = stdout.or(stderr).map(File::from);
    if let Some(pipe) = &pipe {
        let _ = set_nonblocking(pipe.as_fd());
    }
    let mut said = Vec::new();
    loop {
        let ended = !matches!(child.try_wait(), Ok(None));
        if pipe.as_mut().is_some_and(|pipe| hear(pipe, &mut said)) {
            pipe = None;
        }
        if ended {
            return Some(String::from_utf8_lossy(&said).into_owned());
        }
        if Instant::now() >= deadline {
            kill(&mut child);
            return None;
        }
        match &pipe {
            Some(pipe) => drop(wait_readable(&[pipe.as_fd()], STEP)),
            None => thread::sleep(STEP),
        }
    }
}

/// Takes in what there is to read, and keeps the end of it; answers whether nothing more will come.
fn hear(pipe: &mut File, said: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    // Who never stops does not hold us up.
    for _ in 0..64 {
        match pipe.read(&mut chunk) {
            Ok(0) => return true,
            Ok(read) => said.extend(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
        if said.len() > 2 * MAX_SAID {
            said.drain(..said.len() - MAX_SAID);
        }
    }
    false
}

/// Runs a short program whose words are nobody's business, and answers whether it has done what it
/// was told; not when it took longer than `most`.
pub fn succeeds(command: &mut Command, most: Duration) -> bool {
    let deadline = Instant::now() + most;
    let Ok(mut child) = command.stderr(Stdio::null()).spawn() else { return false };
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => thread::sleep(STEP),
            Ok(Some(status)) => return status.success(),
            _ => {
                kill(&mut child);
                return false;
            }
        }
    }
}

/// Ends a program and what it has started.
fn kill(child: &mut Child) {
    let _ = signal_group(child.id(), libc::SIGKILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_proves_to_be_the_host_by_what_he_says() {
        let end = "root@target: Permission denied (publickey).\n";
        for (said, want) in [
            (end.to_owned(), Identity::Same),
            ("Host key verification failed.\n".to_owned(), Identity::Other),
            (String::new(), Identity::Unknown),
            ("Connection closed by UNKNOWN port 65535\n".to_owned(), Identity::Unknown),
            (
                format!("Bad remote protocol version identification: 'SSH-{end}'\n"),
                Identity::Unknown,
            ),
            (format!("Received disconnect from UNKNOWN port 65535:2: x\n{end}"), Identity::Unknown),
            (
                format!("Unable to negotiate with UNKNOWN: no match. Their offer: {end}"),
                Identity::Unknown,
            ),
        ] {
            assert_eq!(judge(&said), want, "{said}");
        }
    }

    #[test]
    fn a_banner_may_have_lines_before_it() {
        for (heard, want) in [
            (&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], true),
            (b"hello\r\nSSH-2.0-x\r\n", true),
            (b"SSH", false),
            (b"HTTP/1.1 400 SSH-\r\n", false),
            (b"Exceeded MaxStartups\r\n", true),
            (b"hello\r\nExceeded MaxStartups\r\n", false),
            (b"", false),
        ] {
            assert_eq!(has_banner(heard), want, "{}", String::from_utf8_lossy(heard));
        }
    }

    #[test]
    fn what_is_found_is_the_banner_its_absence_or_something_else() {
        let find = |said: &[u8]| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said).unwrap();
            drop(theirs);
            ours.set_nonblocking(true).unwrap();
            Look::of(ours.into()).found()
        };
        assert!(matches!(find(b"SSH-2.0-x\r\n"), Some(Found::Banner(_))));
        assert_eq!(find(b""), Some(Found::Nothing));
        assert_eq!(find(b"HTTP/1.1 200 OK\r\n"), Some(Found::Other));
        assert_eq!(find(&[b'x'; 2000]), Some(Found::Other));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut look = Look::of(ours.into());
        assert_eq!(look.found(), None);
        look.begun -= MOST;
        look.moved.0 -= MOST;
        assert_eq!(look.found(), Some(Found::Silence));
    }

    #[test]
    fn who_waits_in_a_queue_is_waited_for() {
        // (age of the look, bytes moved at its begin, and now, is it over)
        for (age_s, before, now, is_over) in [
            (4, Some(1_000), Some(1_000), false),
            (5, Some(1_000), Some(1_000), true),
            (5, Some(1_000), Some(1_600), true),
            (5, None, None, true),
            (5, Some(1_000), None, true),
            (5, Some(1_000), Some(90_000), false),
            (29, Some(1_000), Some(90_000), false),
            (30, Some(1_000), Some(90_000), true),
        ] {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let mut look = Look::of(ours.into());
            look.begun -= Duration::from_secs(age_s);
            look.moved.0 = look.begun;
            look.note_moved(before);
            look.note_moved(now);
            let found = is_over.then_some(Found::Silence);
            assert_eq!(look.found(), found, "{age_s} {before:?} {now:?}");
        }
    }

    #[test]
    fn a_short_program_may_say_much_and_may_hang() {
        let sh = |script: &str| {
            let mut command = ssh::command(Path::new("/bin/sh"));
            command.args(["-c", script]);
            command
        };
        let soon = Instant::now() + Duration::from_secs(20);
        let said = run(&mut sh("yes noise | head -c 4200000 >&2; echo the end >&2"), soon);
        let said = said.expect("it ends");
        assert!(said.ends_with("noise\nthe end\n") && said.len() <= 3 * MAX_SAID, "{}", said.len());
        assert_eq!(run(&mut sh("exec >&- 2>&-; sleep 60"), Instant::now() + 5 * STEP), None);
        assert!(succeeds(&mut sh("yes noise | head -c 400000 >&2"), Duration::from_secs(20)));
        assert!(!succeeds(&mut sh("exit 3"), Duration::from_secs(20)));
        assert!(!succeeds(&mut sh("sleep 60"), 5 * STEP));
    }

    #[test]
    fn an_ssh_that_stands_alone_has_the_systems_keyscan() {
        assert_eq!(keyscan(Path::new("/srv/nothing/ssh")), Path::new("/usr/bin/ssh-keyscan"));
        assert_eq!(keyscan(Path::new("/bin/ssh")), Path::new("/bin/ssh-keyscan"));
    }
}
