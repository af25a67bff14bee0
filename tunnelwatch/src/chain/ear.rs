//! What ssh says with `-v` of a connection that arrives on the jump host. Pure.
//!
//! ```text
//! debug1: client_request_forwarded_tcpip: listen 127.0.0.1 port 2222, originator 127.0.0.1 port 47132
//! debug1: connect_next: connect host 127.0.0.1 ([127.0.0.1]:22) in progress, fd=5
//! ```
//!
//! The words are those of 8.4 to 10.0. One ssh opens one connection after the other, and says both lines before it does
//! anything else. One that says it in other words makes nobody's name wrong: nothing is known then.

/// How the first line begins.
const ARRIVED: &str = "debug1: client_request_forwarded_tcpip: listen ";

/// How the second line begins, and what stands before the descriptor.
const CONNECTS: &str = "debug1: connect_next: connect host ";
const DESCRIPTOR: &str = " in progress, fd=";

/// A connection as it is on the jump host, where both its ends are 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The port from which somebody came.
    pub from: u16,
    /// The port of the tunnel that he came to.
    pub to: u16,
}

/// A connection that arrived, and the descriptor by which ssh hands it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// What it is there.
    pub origin: Origin,
    /// ssh's descriptor of its connection to our sshd.
    pub fd: u32,
}

/// Hears a session of ssh, line by line.
#[derive(Debug, Default)]
pub struct Ear {
    arrived: Option<Origin>,
}

impl Ear {
    /// What a line says, with those before it.
    pub fn hear(&mut self, line: &str) -> Option<Arrival> {
        if let Some(rest) = line.strip_prefix(ARRIVED) {
            self.arrived = ports(rest);
            return None;
        }
        let rest = line.strip_prefix(CONNECTS)?;
        let fd = rest.rsplit_once(DESCRIPTOR)?.1.parse().ok()?;
        // A host with two addresses is tried twice, and the last try counts.
        self.arrived.map(|origin| Arrival { origin, fd })
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

    fn heard(lines: &str) -> Vec<(u16, u16, u32)> {
        let mut ear = Ear::default();
        let heard = lines.lines().filter_map(|line| ear.hear(line));
        heard.map(|one| (one.origin.to, one.origin.from, one.fd)).collect()
    }

    #[test]
    fn what_openssh_says_of_a_connection_is_understood() {
        // As 9.2p1 of Debian 12 and 10.0p2 of Debian 13 say it.
        for (originator, begin) in [(47132, "debug1: pledge: id\n"), (57900, "")] {
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
            assert_eq!(heard(&said), [(22230, originator, 5)]);
        }
    }

    #[test]
    fn each_connection_has_the_descriptor_that_follows_it() {
        let arrived =
            |port: u32| format!("{ARRIVED}127.0.0.1 port 2222, originator 127.0.0.1 port {port}\n");
        let connects = |fd: u32| format!("{CONNECTS}::1 ([::1]:22) in progress, fd={fd}\n");
        /// Lines, and what is heard in them: port, originator, descriptor.
        type Row = (String, &'static [(u16, u16, u32)]);
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
}
