//! What ssh says with `-v` of a connection that arrives on the jump host. Pure.
//!
//! ```text
//! debug1: client_request_forwarded_tcpip: listen 127.0.0.1 port 2222, originator 127.0.0.1 port 47132
//! debug1: connect_next: connect host 127.0.0.1 ([127.0.0.1]:22) in progress, fd=5
//! debug1: channel 1: new forwarded-tcpip [127.0.0.1] (inactive timeout: 0)
//! debug1: channel 1: free: 127.0.0.1, nchannels 2
//! ```
//!
//! The words are those of 8.4 to 10.0. One ssh opens one connection after the other, and says the first three lines before it does
//! anything else; the last one it says before it closes the connection. One that says it in other words makes nobody's name
//! wrong: nothing is known then.

use std::collections::BTreeMap;

/// How the first line begins.
const ARRIVED: &str = "debug1: client_request_forwarded_tcpip: listen ";

/// How the second line begins, and what stands before the descriptor.
const CONNECTS: &str = "debug1: connect_next: connect host ";
const DESCRIPTOR: &str = " in progress, fd=";

/// How lines of channels begin, and what some say of theirs.
const CHANNEL: &str = "debug1: channel ";
const NEW: &str = "new ";
const FREE: &str = "free: ";

/// Most channels of which it is known whose they are. sshd lets in a hundred at a time.
const MOST: usize = 512;

/// A connection as it is on the jump host, where both its ends are 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The port from which somebody came.
    pub from: u16,
    /// The port of the tunnel that he came to.
    pub to: u16,
}

/// What there is to know of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It has arrived, and is handed on by the socket with this inode.
    Came(u64, Origin),
    /// The one with this inode has ended.
    Ended(u64),
}

/// Hears a session of ssh, line by line.
#[derive(Debug, Default)]
pub struct Ear {
    arrived: Option<Origin>,
    /// The socket that the next new channel is for.
    connects: Option<u64>,
    /// The sockets of channels.
    channels: BTreeMap<u32, u64>,
}

impl Ear {
    /// What a line says, with those before it. `inode_of` tells whose socket a descriptor of ssh's is, now.
    pub fn hear(&mut self, line: &str, inode_of: impl FnOnce(u32) -> Option<u64>) -> Option<News> {
        if let Some(rest) = line.strip_prefix(ARRIVED) {
            (self.arrived, self.connects) = (ports(rest), None);
            return None;
        }
        if let Some(rest) = line.strip_prefix(CHANNEL) {
            return self.channel(rest).map(News::Ended);
        }
        let rest = line.strip_prefix(CONNECTS)?;
        // A host with two addresses is tried twice, and the last try counts.
        let origin = self.arrived?;
        self.connects = inode_of(rest.rsplit_once(DESCRIPTOR)?.1.parse().ok()?);
        self.connects.map(|inode| News::Came(inode, origin))
    }

    /// What is said of a channel; answers the socket of one that has ended.
    fn channel(&mut self, rest: &str) -> Option<u64> {
        let (number, rest) = rest.split_once(": ")?;
        let number = number.parse().ok()?;
        if rest.starts_with(FREE) {
            return self.channels.remove(&number);
        }
        if rest.starts_with(NEW) {
            self.channels.remove(&number);
            let inode = self.connects.take().filter(|_| self.channels.len() < MOST);
            inode.map(|inode| self.channels.insert(number, inode));
        }
        None
    }
}

/// `127.0.0.1 port 2222, originator 127.0.0.1 port 47132`: both have to be loopback, as nobody else's
/// sockets can be found.
fn ports(rest: &str) -> Option<Origin> {
    let (listen, originator) = rest.split_once(", originator ")?;
    let port = |text: &str| text.strip_prefix("127.0.0.1 port ")?.parse().ok();
    Some(Origin { from: port(originator)?, to: port(listen)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard; a descriptor's inode is its number and a thousand.
    fn news(lines: &str) -> Vec<News> {
        let mut ear = Ear::default();
        lines.lines().filter_map(|line| ear.hear(line, |fd| Some(u64::from(fd) + 1000))).collect()
    }

    fn heard(lines: &str) -> Vec<(u16, u16, u64)> {
        let of = |one| match one {
            News::Came(inode, origin) => Some((origin.to, origin.from, inode - 1000)),
            News::Ended(_) => None,
        };
        news(lines).into_iter().filter_map(of).collect()
    }

    #[test]
    fn what_openssh_says_of_a_connection_is_understood() {
        // As 9.2p1 of Debian 12 and 10.0p2 of Debian 13 say it.
        for (originator, begin) in [(47132_u16, "debug1: pledge: id\n"), (57900, "")] {
            let said = format!(
                "{begin}debug1: remote forward success for: listen 127.0.0.1:22230, connect 127.0.0.1:22229\n\
                 debug1: client_input_channel_open: ctype forwarded-tcpip rchan 1 win 2097152 max 32768\n\
                 debug1: client_request_forwarded_tcpip: listen 127.0.0.1 port 22230, originator 127.0.0.1 port {originator}\n\
                 debug1: connect_next: start for host 127.0.0.1 ([127.0.0.1]:22229)\n\
                 debug1: connect_next: connect host 127.0.0.1 ([127.0.0.1]:22229) in progress, fd=5\n\
                 debug1: channel 1: new forwarded-tcpip [127.0.0.1] (inactive timeout: 0)\n\
                 debug1: confirm forwarded-tcpip\n\
                 debug1: channel 1: connected to 127.0.0.1 port 22229\n\
                 debug1: channel 1: free: 127.0.0.1, nchannels 2\n"
            );
            let origin = Origin { from: originator, to: 22230 };
            assert_eq!(news(&said), [News::Came(1005, origin), News::Ended(1005)]);
        }
    }

    #[test]
    fn each_connection_has_the_descriptor_that_follows_it() {
        let arrived =
            |port: u32| format!("{ARRIVED}127.0.0.1 port 2222, originator 127.0.0.1 port {port}\n");
        let connects = |fd: u32| format!("{CONNECTS}::1 ([::1]:22) in progress, fd={fd}\n");
        /// Lines, and what is heard in them: port, originator, descriptor.
        type Row = (String, &'static [(u16, u16, u64)]);
        let table: &[Row] = &[
            (arrived(1) + &connects(7) + &arrived(2) + &connects(8), &[(2222, 1, 7), (2222, 2, 8)]),
            // The first had no way to us.
            (arrived(1) + &arrived(2) + &connects(8), &[(2222, 2, 8)]),
            // A target with two addresses.
            (arrived(1) + &connects(7) + &connects(8), &[(2222, 1, 7), (2222, 1, 8)]),
            (connects(7), &[]),
            // One that cannot be understood is not the one before it.
            (arrived(1) + &arrived(70_000) + &connects(7), &[]),
            (format!("{ARRIVED}::1 port 2222, originator ::1 port 5\n") + &connects(7), &[]),
            (
                format!("{ARRIVED}127.0.0.1 port 2222, originator 203.0.113.9 port 5\n")
                    + &connects(7),
                &[],
            ),
            (
                format!(
                    "{ARRIVED}127.0.0.1 port 2222, originator x, originator 127.0.0.1 port 5\n"
                ) + &connects(7),
                &[],
            ),
            (arrived(1) + "debug1: Remote: " + &connects(7), &[]),
            (arrived(1) + &format!("{CONNECTS}h in progress, fd=-1\n"), &[]),
        ];
        for (lines, want) in table {
            assert_eq!(heard(lines), *want, "{lines}");
        }
    }

    #[test]
    fn the_end_of_a_channel_is_that_of_its_own_connection() {
        let came = |port: u32, fd: u32, channel: u32| {
            format!(
                "{ARRIVED}127.0.0.1 port 2222, originator 127.0.0.1 port {port}\n\
                 {CONNECTS}127.0.0.1 ([127.0.0.1]:22) in progress, fd={fd}\n\
                 {CHANNEL}{channel}: new [127.0.0.1]\n"
            )
        };
        let free = |channel: &str| format!("{CHANNEL}{channel}: free: 127.0.0.1, nchannels 3\n");
        let ends = |lines: &str| -> Vec<u64> {
            let of = |one| match one {
                News::Ended(inode) => Some(inode),
                News::Came(..) => None,
            };
            news(lines).into_iter().filter_map(of).collect()
        };
        let two = came(1, 7, 1) + &came(2, 8, 3);
        assert_eq!(ends(&(two.clone() + &free("3") + &free("1") + &free("1"))), [1008, 1007]);
        // Of the session's own channels, and what is none.
        assert_eq!(ends(&(two.clone() + &free("2") + &free("x") + &free("-1"))), [0; 0]);
        assert_eq!(ends(&(two + &format!("{CHANNEL}1: new mux-control\n") + &free("1"))), [0; 0]);
    }
}
