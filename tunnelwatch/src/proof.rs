//! The proof: through the very forward that people will use, to the jump host and back, and the banner
//! of the sshd behind it read (RFC 4253, 4.2).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::cause::{self, Cause};
use crate::config::Tunnel;
use crate::keys;
use crate::ssh::{self, Files};

/// How long a look may take.
const MOST: Duration = Duration::from_secs(5);

/// How long the target on this side may take.
pub const MOST_HERE: Duration = Duration::from_secs(2);

/// How long the comparison of keys may take.
const MOST_KEYS: Duration = Duration::from_secs(20);

/// Longest banner, in bytes, with lines that may stand before it.
const MAX_BANNER: usize = 1024;

/// How a banner begins.
const BANNER: &[u8] = b"SSH-";

/// A look that is under way.
#[derive(Debug)]
pub struct Look {
    stream: File,
    begun: Instant,
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
        Self { stream: socket.into(), begun: Instant::now(), heard: Vec::new() }
    }

    /// What becomes readable when there is news.
    #[must_use]
    pub fn wakes(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// When it is over in any case.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.begun + MOST
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
        (self.begun.elapsed() >= MOST).then_some(Found::Silence)
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
        let _ = notifier::ffi::wait_readable(&[look.wakes()], left);
    }
}

/// Whether a line begins as a banner does; others may stand before it.
fn has_banner(heard: &[u8]) -> bool {
    heard.starts_with(BANNER)
        || heard.windows(5).any(|five| five.starts_with(b"\n") && five.ends_with(BANNER))
}

/// Whether what listens there answers as an sshd does, asked without the tunnel; each step may take
/// `most`.
#[must_use]
pub fn answers(target: SocketAddr, most: Duration) -> bool {
    let heard = || -> io::Result<[u8; 4]> {
        let mut stream = TcpStream::connect_timeout(&target, most)?;
        stream.set_read_timeout(Some(most))?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard)?;
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
    let Some(output) = run(command.args(["--", host, "true"]), deadline) else {
        return Identity::Unknown;
    };
    match cause::of_end(output.lines()) {
        // It has got as far as asking who we are, and for that the key had to be right.
        Cause::KeyRejected => Identity::Same,
        Cause::HostKey => Identity::Other,
        _ => Identity::Unknown,
    }
}

/// The target's own keys as lines of known_hosts, under the name `target`.
fn target_keys(tunnel: &Tunnel, deadline: Instant) -> Option<String> {
    let scan = tunnel.ssh.with_file_name("ssh-keyscan");
    let host = tunnel.target.ip().to_string();
    let lines = keys::scan(&scan, &host, tunnel.target.port(), deadline)?;
    let keys = lines.lines().filter_map(|line| line.split_once(' '));
    Some(keys.map(|(_, key)| format!("target {key}\n")).collect())
}

fn write_keys(path: &Path, keys: &str) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(keys.as_bytes())
}

/// Runs a short program and answers what it has said, on standard output where that is a pipe;
/// nothing when it took too long.
pub fn run(command: &mut Command, deadline: Instant) -> Option<String> {
    let mut child = command.spawn().ok()?;
    let ended = wait(&mut child, deadline);
    if !ended {
        let _ = notifier::ffi::signal_group(child.id(), libc::SIGKILL);
        let _ = child.wait();
        return None;
    }
    let mut said = Vec::new();
    let most = 64 * 1024;
    if let Some(pipe) = child.stdout.take() {
        pipe.take(most).read_to_end(&mut said).ok()?;
    } else if let Some(pipe) = child.stderr.take() {
        pipe.take(most).read_to_end(&mut said).ok()?;
    }
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// Waits for the end of a program whose words fit into a pipe.
fn wait(child: &mut Child, deadline: Instant) -> bool {
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_may_have_lines_before_it() {
        for (heard, want) in [
            (&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], true),
            (b"hello\r\nSSH-2.0-x\r\n", true),
            (b"SSH", false),
            (b"HTTP/1.1 400 SSH-\r\n", false),
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
        assert_eq!(look.found(), Some(Found::Silence));
    }
}
