//! Connections of this machine to one address, as /proc/net/tcp and tcp6 tell anybody (proc_net(5)).

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its port on our side.
    pub local: u16,
    /// The socket's inode; 0 when no process has it any more.
    pub inode: u64,
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
    let wanted = address(target);
    let read = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, state, _, _, _, _, _, inode, ..] = words.as_slice() else {
            return None;
        };
        let port = local.rsplit_once(':')?.1;
        (*remote == wanted).then_some(Connection {
            local: u16::from_str_radix(port, 16).ok()?,
            inode: inode.parse().ok()?,
            is_open: OPEN.contains(state),
        })
    };
    table.lines().skip(1).filter_map(read).collect()
}

/// An address as it stands there: in hexadecimal, words of four bytes as the machine has them.
fn address(target: SocketAddr) -> String {
    let word = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(bytes))
    };
    let ip: String = match target.ip() {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks(4).map(word).collect(),
    };
    format!("{ip}:{:04X}", target.port())
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
            let found: Vec<_> = found.iter().map(|c| (c.local, c.inode, c.is_open)).collect();
            assert_eq!(found, want);
            assert_eq!(
                address("[::1]:22".parse().unwrap()),
                "00000000000000000000000001000000:0016"
            );
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
            let local = stream.local_addr().unwrap().port();
            assert!(found.len() == 1 && found[0].local == local && found[0].is_open, "{found:?}");
            assert!(found[0].inode > 0);
        }
    }
}
