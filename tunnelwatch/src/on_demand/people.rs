//! Who is logged in through a tunnel: the connections that its ssh has to the target, which are people's and
//! our own looks. A look is over in a moment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;

use notifier::ffi::geteuid;

use crate::check::jump::parse_address;

/// How long a connection has to be there to be no look of ours: sshd has shown its banner by then, and the look has
/// ended.
const LOOK_MS: u64 = 5_000;

/// The connections of one tunnel.
#[derive(Debug, Default)]
pub struct People {
    /// When each was first seen, by its inode.
    seen: BTreeMap<u64, u64>,
}

impl People {
    /// How many there are: those that are people's, and those that are too fresh to say.
    pub fn count(&mut self, ssh: Option<u32>, target: SocketAddr, now_ms: u64) -> (usize, usize) {
        let now = ssh.map(|pid| connections(pid, target)).unwrap_or_default();
        self.see(&now, now_ms)
    }

    fn see(&mut self, now: &[u64], now_ms: u64) -> (usize, usize) {
        self.seen.retain(|inode, _| now.contains(inode));
        for inode in now {
            self.seen.entry(*inode).or_insert(now_ms);
        }
        let sure = self.seen.values().filter(|since| now_ms.saturating_sub(**since) >= LOOK_MS);
        let sure = sure.count();
        (sure, self.seen.len() - sure)
    }
}

/// Inodes of the sockets that a process has to `target`.
fn connections(pid: u32, target: SocketAddr) -> Vec<u64> {
    let table = if target.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let to_target = fs::read_to_string(table).map(|text| established(&text, target));
    let to_target = to_target.unwrap_or_default();
    if to_target.is_empty() {
        return Vec::new();
    }
    let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries.flatten(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        // Whose they are cannot be seen: all that this user has there, which are too many rather than too few.
        Err(_) => {
            return to_target
                .into_iter()
                .filter(|one| one.1 == geteuid())
                .map(|one| one.0)
                .collect();
        }
    };
    let sockets = entries.filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    });
    sockets.filter(|inode| to_target.iter().any(|one| one.0 == *inode)).collect()
}

/// Inodes of the connections to `target`, and whose they are, in a table as /proc/net/tcp has it (proc_net(5)).
fn established(table: &str, target: SocketAddr) -> Vec<(u64, u32)> {
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = words.get(2)?.split_once(':')?;
        let to = SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?);
        // Established, or closed by sshd alone, as long as the other side has something to say.
        let is_open = matches!(words.get(3), Some(&"01" | &"08"));
        let (inode, uid) = (words.get(9)?.parse().ok()?, words.get(7)?.parse().ok()?);
        (to.port() == target.port() && to.ip() == target.ip().to_canonical() && is_open)
            .then_some((inode, uid))
    };
    table.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_of_a_process_to_the_target_are_counted_and_looks_are_not_people() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let target = listener.local_addr().unwrap();
            let own = std::process::id();
            let mut people = People::default();
            assert_eq!(people.count(Some(own), target, 0), (0, 0));
            let first = TcpStream::connect(target).unwrap();
            assert_eq!(people.count(Some(own), target, 1_000), (0, 1), "{address}");
            let look = TcpStream::connect(target).unwrap();
            assert_eq!(people.count(Some(own), target, 5_900), (0, 2));
            assert_eq!(people.count(Some(own), target, 6_000), (1, 1));
            drop(look);
            assert_eq!(people.count(Some(own), target, 30_000), (1, 0));
            // Another process's are not the tunnel's.
            assert_eq!(people.count(Some(1), target, 30_000), (0, 0));
            drop(first);
            assert_eq!(people.count(Some(own), target, 60_000), (0, 0));
            assert_eq!(people.count(None, target, 60_000), (0, 0));
        }
    }
}
