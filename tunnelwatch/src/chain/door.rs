//! Where the sender of alerts asks about a login: a socket in the run directory.
//!
//! One line asks, one line of JSON answers. `run` is asked `came SOURCE SERVER AT`, who came through the tunnel: both ends of the
//! login's connection, as `127.0.0.1:45192 127.0.0.1:22`, and its moment on the boot clock in milliseconds
//! ([`notifier::chain::Answer`]). What `watch` is asked
//! stands in [`crate::watch::onward`]. Anybody may connect, and whoever is neither
//! root, nor the sender, nor of our own user is shown the door at once: names and addresses of people are
//! nobody else's business, and none of it is done by a tunnel's thread.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use notifier::chain::Answer;
use notifier::ffi::geteuid;
use notifier::spool::owner;

use super::board::{Board, Login};
use crate::ffi::peer_uid;

/// The socket in the run directory.
pub const SOCKET: &str = "chain";

/// The sender's user.
const SENDER: &str = "_bastion";

/// Most that ask at the same time. The sender has sixteen threads for this.
const MOST: usize = 24;

/// How long a question may take to come, and how long it takes to answer it at most: the sender waits three
/// seconds in all.
const MOST_ASKED: Duration = Duration::from_millis(500);
const MOST_ANSWER: Duration = Duration::from_millis(2_700);

/// Longest question, in bytes.
const MAX_QUESTION: usize = 160;

/// Stack of a thread that answers.
const STACK: usize = 128 * 1024;

/// Opens the door, for as long as this program runs.
///
/// # Errors
///
/// What the system said.
pub fn open(run_dir: &Path, board: &Arc<Board>) -> io::Result<()> {
    let board = Arc::clone(board);
    let answer = move |question: &[u8], until| match parse(question) {
        Some(login) => board.who(&login, until).to_line(),
        None => Answer::unmatched("the question cannot be understood").to_line(),
    };
    open_at(&run_dir.join(SOCKET), Arc::new(answer))
}

/// Answers a question, given with the end of its line, until this moment at the latest.
pub type Host = Arc<dyn Fn(&[u8], Instant) -> String + Send + Sync>;

/// The same at a place of the caller's.
///
/// # Errors
///
/// What the system said.
pub fn open_at(path: &Path, host: Host) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // The sender is another user, and the mask of our unit keeps others out.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    thread::Builder::new().name("door".into()).stack_size(STACK).spawn(move || {
        let guests = Arc::new(AtomicUsize::new(0));
        for guest in listener.incoming() {
            match guest {
                Ok(guest) => let_in(guest, &guests, &host),
                // No descriptors, as long as others have them all.
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    })?;
    Ok(())
}

fn let_in(guest: UnixStream, guests: &Arc<AtomicUsize>, host: &Host) {
    let is_known = peer_uid(guest.as_fd()).is_ok_and(may_ask);
    if !is_known || guests.load(Ordering::SeqCst) >= MOST {
        return;
    }
    guests.fetch_add(1, Ordering::SeqCst);
    let (place, host) = (Place(Arc::clone(guests)), Arc::clone(host));
    let thread = thread::Builder::new().name("guest".into()).stack_size(STACK);
    // Without a thread nobody answers, and the sender tells it so.
    let _ = thread.spawn(move || {
        let _place = place;
        let _ = serve(guest, &host);
    });
}

/// A guest's place, which is free again however he leaves.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn may_ask(uid: u32) -> bool {
    let sender = || owner::user(SENDER).ok().flatten().map(|user| user.uid);
    uid == 0 || uid == geteuid() || Some(uid) == sender()
}

fn serve(mut guest: UnixStream, host: &Host) -> io::Result<()> {
    let begun = Instant::now();
    let question = hear(&mut guest, begun + MOST_ASKED)?;
    let answer = host(&question, begun + MOST_ANSWER);
    guest.set_write_timeout(Some(MOST_ASKED))?;
    guest.write_all((answer + "\n").as_bytes())
}

fn hear(guest: &mut UnixStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < MAX_QUESTION {
        let left = until.saturating_duration_since(Instant::now());
        guest.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut chunk = [0; MAX_QUESTION];
        let read = guest.read(&mut chunk)?;
        if read == 0 || left.is_zero() {
            break;
        }
        line.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    Ok(line)
}

fn parse(line: &[u8]) -> Option<Login> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (source, rest) = line.strip_prefix("came ")?.split_once(' ')?;
    let (server, at) = rest.split_once(' ')?;
    let (source, server) = (source.parse().ok()?, server.parse().ok()?);
    Some(Login { source, server, at_ms: at.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use super::*;

    #[test]
    fn a_question_is_a_connection_and_a_moment() {
        let v4 = |ip, port| SocketAddr::from((Ipv4Addr::from(ip), port));
        let login =
            Login { source: v4([127, 0, 0, 1], 45192), server: v4([127, 0, 0, 1], 22), at_ms: 5 };
        assert_eq!(parse(b"came 127.0.0.1:45192 127.0.0.1:22 5\n"), Some(login));
        let v6 = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let login = Login { source: v6(45192), server: v6(22), at_ms: u64::MAX };
        let longest = format!("came [::1]:45192 [::1]:22 {}\n", u64::MAX);
        assert_eq!(parse(longest.as_bytes()), Some(login));
        for line in [
            "",
            "\n",
            "came 127.0.0.1:1 127.0.0.1:2 3",
            "came 127.0.0.1:1 127.0.0.1:2\n",
            "came 127.0.0.1:1 3\n",
            "came 127.0.0.1 127.0.0.1 3\n",
            "came 127.0.0.1:70000 127.0.0.1:2 3\n",
            "came 127.0.0.1:1 127.0.0.1:2 -3\n",
            "came 127.0.0.1:1 127.0.0.1:2 3 4\n",
            "gone 127.0.0.1:1 127.0.0.1:2 3\n",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn strangers_are_shown_the_door() {
        assert!(may_ask(0) && may_ask(geteuid()));
        assert!(!may_ask(u32::MAX - 7));
    }

    #[test]
    fn guests_that_say_nothing_keep_no_other_out_for_long() {
        let dir = std::env::temp_dir().join(format!("door-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        open(&dir, &Board::new()).unwrap();
        // What a killed one has left is no hindrance.
        let again = std::env::temp_dir().join(format!("door-again-{}", std::process::id()));
        fs::create_dir_all(&again).unwrap();
        drop(UnixListener::bind(again.join(SOCKET)).unwrap());
        open(&again, &Board::new()).unwrap();
        let path = dir.join(SOCKET);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        let silent: Vec<_> = (0..MOST).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let until = Instant::now() + Duration::from_secs(20);
        let answer = loop {
            let mut guest = UnixStream::connect(&path).unwrap();
            let _ = guest.write_all(b"came 127.0.0.1:1 127.0.0.1:2 1\n");
            let mut answer = String::new();
            let _ = guest.read_to_string(&mut answer);
            if !answer.is_empty() || Instant::now() > until {
                break answer;
            }
        };
        let want = Answer::unmatched("it came through no tunnel that tunnelwatch keeps");
        assert_eq!(answer, want.to_line() + "\n");
        drop(silent);
        fs::remove_dir_all(dir).unwrap();
        fs::remove_dir_all(again).unwrap();
    }
}
