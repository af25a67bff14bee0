//! Connections of this machine to one address, as /proc/net/tcp and tcp6 tell anybody (proc_net(5)).

use std::fs;
use std::net::SocketAddr;

use crate::check::jump::parse_address;

/// The end of a connection that has opened it. A port is used again, and an inode is not until long after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Address and port on our side.
    pub local: SocketAddr,
    /// The socket's inode; 0 when no process has it any more.
    pub inode: u64,
}

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its end on our side.
    pub socket: Socket,
    /// Whether both sides may still speak.
    pub is_open: bool,
}

/// The state of a connection that is open, or about to be.
const OPEN: [&str; 2] = ["01", "02"];

/// All connections to `target`.
#[must_use]
pub fn connections(target: SocketAddr) -> Vec<Connection> {
    let file = if target.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    parse(&fs::read_to_string(file).unwrap_or_default(), target)
}

fn parse(table: &str, target: SocketAddr) -> Vec<Connection> {
    let read = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, state, _, _, _, _, _, inode, ..] = words.as_slice() else {
            return None;
        };
        let socket = Socket { local: address(local)?, inode: inode.parse().ok()? };
        (address(remote)? == target).then_some(Connection { socket, is_open: OPEN.contains(state) })
    };
    table.lines().skip(1).filter_map(read).collect()
}

/// An address as it stands there: `0100007F:0016`.
fn address(word: &str) -> Option<SocketAddr> {
    let (ip, port) = word.split_once(':')?;
    Some(SocketAddr::new(parse_address(ip)?, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_to_the_target_are_found_and_no_others() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:B818 0100007F:0016 01 00000000:00000000 02:0009FAF7 00000000   990        0 4711 2 0 20 4 30 10 -1\n   \
             1: 0100007F:0016 0100007F:B818 01 00000000:00000000 02:0009FAF7 00000000     0        0 4712 2 0 20 4 30 10 -1\n   \
             2: 0100007F:B819 0100007F:0016 05 00000000:00000000 00:00000000 00000000   990        0 4713 1 0 20 4 30 10 -1\n   \
             3: 0100007F:B81A 0100007F:0016 06 00000000:00000000 03:00000FAF 00000000     0        0 0 3 0\n   \
             4: 0100007F:B81B 0100007F:0017 01 00000000:00000000 02:0009FAF7 00000000   990        0 4714 2 0 20 4 30 10 -1\n   \
             5: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4715 1 0 100 0 0 10 0\n";
        let want = [(0xB818, 4711, true), (0xB819, 4713, false), (0xB81A, 0, false)];
        if cfg!(target_endian = "little") {
            let found = parse(table, "127.0.0.1:22".parse().unwrap());
            let of = |c: &Connection| (c.socket.local.port(), c.socket.inode, c.is_open);
            assert_eq!(found.iter().map(of).collect::<Vec<_>>(), want);
            assert!(found.iter().all(|c| c.socket.local.ip().is_loopback()));
            let v6 = address("00000000000000000000000001000000:0016");
            assert_eq!(v6, "[::1]:22".parse().ok());
        }
    }

    #[test]
    fn the_system_says_it_of_our_own() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(host) else { continue };
            let target = listener.local_addr().unwrap();
            assert_eq!(connections(target), []);
            let stream = std::net::TcpStream::connect(target).unwrap();
            let found = connections(target);
            let [one] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((one.socket.local, one.is_open), (stream.local_addr().unwrap(), true));
            assert!(one.socket.inode > 0);
        }
    }
}
