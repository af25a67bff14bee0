//! `tunnelwatch release`: on the jump host, as the command beside the tunnel's key, ends a session of
//! the same user that still holds a port after its client is gone.
//!
//! sshd's session processes may not be looked into, not even by their own user, so nobody can say which of
//! them has the port. They are ended one by one, the oldest first, until the port is free; one that
//! was well and had to go comes back within a second.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use notifier::chain::process::{self, Process, line_of, users_of};
use notifier::config::host::Host;
use notifier::exit::Failure;
use notifier::syslog::{Level, Line, Log, Source};

use crate::cli::print;
use crate::ffi;

/// How long a port may take to become free after its session was ended.
const FREE: Duration = Duration::from_secs(2);

/// A session of sshd.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    pid: u32,
    /// When it was started, in ticks since the boot (proc_pid_stat(5)).
    started: u64,
}

/// Does what `SSH_ORIGINAL_COMMAND` asks for, of the ports that may be released here.
///
/// # Errors
///
/// When it asks for something else, or the port stays held.
pub fn release(ports: &[u16]) -> Result<(), Failure> {
    let asked = std::env::var("SSH_ORIGINAL_COMMAND").unwrap_or_default();
    release_port(parse(&asked, ports).map_err(Failure::usage)?)
}

/// Ends sessions until the port is free.
///
/// # Errors
///
/// When it stays held.
pub fn release_port(port: u16) -> Result<(), Failure> {
    let log = Log::new(&Host::default().syslog, "tunnelwatch", Source::Daemon);
    let Some(holder) = holder(port) else {
        print(&format!("port {port} is free\n"))?;
        return Ok(());
    };
    let uid = notifier::ffi::geteuid();
    let stranger = || {
        Failure::unavailable(format!("port {port} is held by something that is no session of ours"))
    };
    if holder.uid != uid {
        // No session of ours has it, and to end one that is well frees nothing.
        return Err(stranger());
    }
    // The session that asks is among them.
    let own = line_of(std::process::id());
    let others = sessions(uid).into_iter().filter(|session| !own.contains(&session.pid));
    for session in others {
        let line = Line::new("released").word("port", port).word("uid", uid);
        let _ = log.write(Level::Warning, &line.word("pid", session.pid));
        let pid = libc::pid_t::try_from(session.pid).unwrap_or_default();
        let _ = ffi::signal(pid, libc::SIGTERM);
        let until = Instant::now() + FREE;
        let mut now = self::holder(port);
        while now == Some(holder) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
            now = self::holder(port);
        }
        match now {
            None => {
                print(&format!("port {port} is free now\n"))?;
                return Ok(());
            }
            // Somebody was quicker than who has asked, and is no session of before.
            Some(other) if other != holder => return Err(stranger()),
            Some(_) => {}
        }
    }
    Err(stranger())
}

/// The port of `release 2222`, if it is one of these.
pub(crate) fn parse(asked: &str, ports: &[u16]) -> Result<u16, String> {
    let port = asked.strip_prefix("release ").and_then(|port| port.trim().parse().ok());
    let port = port.ok_or("only \"release PORT\" can be asked for here")?;
    if ports.contains(&port) {
        Ok(port)
    } else {
        Err(format!("port {port} is not ours to release"))
    }
}

/// Who listens on the port on loopback.
fn holder(port: u16) -> Option<Listener> {
    listener(&fs::read_to_string("/proc/net/tcp").ok()?, port)
}

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The number of the socket: another one has another.
    pub inode: u64,
    /// Whose it is. sshd binds the port of a session as the session's user.
    pub uid: u32,
}

/// Who listens on a port where 127.0.0.1 leads to, in a table as /proc/net/tcp has it (proc_net(5)):
/// at that address, or at all of them, which is what sshd makes of it with `GatewayPorts yes`.
#[must_use]
pub fn listener(table: &str, port: u16) -> Option<Listener> {
    let at = |address: Ipv4Addr| {
        // The address is in the machine's byte order, the port is not.
        let local = u32::from_ne_bytes(address.octets());
        let wanted = format!("{local:08X}:{port:04X}");
        table.lines().skip(1).find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let listens = words.get(1) == Some(&wanted.as_str()) && words.get(3) == Some(&"0A");
            let (uid, inode) = (words.get(7)?.parse().ok()?, words.get(9)?.parse().ok()?);
            listens.then_some(Listener { inode, uid })
        })
    };
    at(Ipv4Addr::LOCALHOST).or_else(|| at(Ipv4Addr::UNSPECIFIED))
}

/// The sessions of a user, the oldest first.
fn sessions(uid: u32) -> Vec<Session> {
    let started = |pid| Process::read(pid).map_or(0, |process| process.start_ticks);
    let mut sessions: Vec<Session> = process::all()
        .filter(|pid| is_session_of(*pid, uid))
        .map(|pid| Session { pid, started: started(pid) })
        .collect();
    sessions.sort_by_key(|session| session.started);
    sessions
}

/// Whether a process is an sshd that serves a user: it says so in its title, and runs as him.
fn is_session_of(pid: u32, uid: u32) -> bool {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let named = title.starts_with(b"sshd: ") || title.starts_with(b"sshd-session: ");
    named && users_of(pid).is_some_and(|[_, effective, ..]| effective == uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_release_of_a_named_port_can_be_asked_for() {
        let ports = [2222, 2223];
        assert_eq!(parse("release 2222", &ports), Ok(2222));
        for asked in ["", "release", "release 22", "release 2222; id", "id", "release -1"] {
            assert!(parse(asked, &ports).is_err(), "{asked}");
        }
    }

    #[test]
    fn a_listener_is_found_by_its_port_and_address() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  2003        0 4711 1 0 100 0 0 10 0\n   \
             1: 0100007F:08AF 0100007F:1234 01 00000000:00000000 00:00000000 00000000  2003        0 4712 1 0 100 0 0 10 0\n   \
             2: 00000000:08B0 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0        0 4713 1 0 100 0 0 10 0\n   \
             3: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0        0 4714 1 0 100 0 0 10 0\n   \
             4: 0200007F:08B1 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0        0 4715 1 0 100 0 0 10 0\n";
        let here = cfg!(target_endian = "little");
        for (port, want) in [
            (2222, here.then_some((4711, 2003))),
            (2223, None),
            (2224, Some((4713, 0))),
            (2225, None),
        ] {
            let want = want.map(|(inode, uid)| Listener { inode, uid });
            assert_eq!(listener(table, port), want, "{port}");
        }
    }

    #[test]
    fn nobody_has_sessions_who_is_nobody() {
        assert!(sessions(u32::MAX).is_empty());
    }
}
