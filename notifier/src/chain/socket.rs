//! One TCP connection on loopback, as the kernel tells of it to anybody (sock_diag(7)).
//!
//! /proc/net/tcp has whose a socket is, and not in which session it was opened; who has it open is told by /proc to root alone. The
//! kernel's own word has both in one question: the owner, and the control group of the process that made the
//! socket. `ss --cgroup` shows the same, and finds the group's name for root alone.

use std::io;
use std::net::Ipv4Addr;

/// Most bytes of an answer: that about one socket has some 120.
const MAX_REPLY: usize = 4096;

/// `AF_INET` and `IPPROTO_TCP`, in the width that they have in the question (libc has them as int).
const INET: u8 = 2;
const TCP: u8 = 6;
/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_CGROUP_ID`, since Linux 5.9.
const CGROUP_ID: u16 = 21;
/// `TCP_LISTEN`, which is no connection.
const LISTEN: u8 = 10;
/// Length of struct nlmsghdr, which stands before each message.
const HEADER: usize = 16;
/// Length of struct inet_diag_msg; attributes follow.
const MESSAGE: usize = 72;

/// A connection, seen from the end that has opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The number of the socket: another one has another.
    pub inode: u64,
    /// Whose it is.
    pub uid: u32,
    /// The control group of the process that made it; the number of a directory of the unified hierarchy. `None` with a
    /// kernel that does not say.
    pub cgroup: Option<u64>,
}

/// The end of the connection 127.0.0.1:`from` -> 127.0.0.1:`to` that has opened it; `None` when there is no such connection,
/// or it is being closed.
///
/// # Errors
///
/// What the system said, as when it was built without `CONFIG_INET_DIAG`.
pub fn connection(from: u16, to: u16) -> io::Result<Option<Connection>> {
    let reply = crate::ffi::ask_sock_diag(&question(from, to), MAX_REPLY)?;
    parse(&reply, from, to)
}

/// struct nlmsghdr, then struct inet_diag_req_v2: of exactly one socket.
fn question(from: u16, to: u16) -> Vec<u8> {
    let loopback: Vec<u8> =
        Ipv4Addr::LOCALHOST.octets().into_iter().chain(std::iter::repeat_n(0, 12)).collect();
    let any_state = u32::MAX;
    let no_cookie = [u8::MAX; 8];
    let body = [
        &[INET, TCP, 0, 0][..],
        &any_state.to_ne_bytes(),
        &from.to_be_bytes(),
        &to.to_be_bytes(),
        &loopback,
        &loopback,
        &0_u32.to_ne_bytes(),
        &no_cookie,
    ]
    .concat();
    let length = u32::try_from(HEADER + body.len()).unwrap_or_default();
    let header = [
        &length.to_ne_bytes()[..],
        &BY_FAMILY.to_ne_bytes(),
        &REQUEST.to_ne_bytes(),
        &[0; 8], // Neither a number nor a sender is needed for one question.
    ]
    .concat();
    [header, body].concat()
}

/// What the kernel answers: a socket, or an error.
fn parse(reply: &[u8], from: u16, to: u16) -> io::Result<Option<Connection>> {
    let odd = || io::Error::other("the kernel's answer about a socket cannot be understood");
    let kind = number(reply, 4).map(u16::from_ne_bytes).ok_or_else(odd)?;
    if kind == ERROR {
        let code = number(reply, HEADER).map(i32::from_ne_bytes).ok_or_else(odd)?;
        // It knows of no such socket; with "address family" it would be the kind of question that it does not know.
        return match code.checked_neg() {
            Some(libc::ENOENT) => Ok(None),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Err(odd()),
        };
    }
    if kind != BY_FAMILY {
        return Err(odd());
    }
    let at = |offset| HEADER + offset;
    let state = number(reply, at(1)).map(|[state]: [u8; 1]| state).ok_or_else(odd)?;
    let ports = [4, 6].map(|offset| number(reply, at(offset)).map(u16::from_be_bytes));
    let uid = number(reply, at(64)).map(u32::from_ne_bytes).ok_or_else(odd)?;
    let inode = number(reply, at(68)).map(u32::from_ne_bytes).ok_or_else(odd)?;
    // Without such a connection it tells of the listener. A socket that its process has closed is nobody's.
    if state == LISTEN || ports != [Some(from), Some(to)] || inode == 0 {
        return Ok(None);
    }
    let mut attributes = reply.get(at(MESSAGE)..).unwrap_or_default();
    let mut cgroup = None;
    while let Some(length) = number(attributes, 0).map(u16::from_ne_bytes).map(usize::from) {
        if number(attributes, 2).map(u16::from_ne_bytes) == Some(CGROUP_ID) {
            cgroup = number(attributes, 4).map(u64::from_ne_bytes);
        }
        // Each begins at a multiple of four; one without a length would be the same for ever.
        attributes = attributes.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Some(Connection { inode: inode.into(), uid, cgroup }))
}

/// So many bytes from this place, if they are there.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The ports from which connections to 127.0.0.1:`to` have been opened on this machine, and by which user, in a table as
/// /proc/net/tcp has it (proc_net(5)).
#[must_use]
pub fn opened_to(table: &str, to: u16) -> Vec<(u16, u32)> {
    // The address is in the machine's byte order, the port is not.
    let loopback = format!("{:08X}:", u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets()));
    let wanted = format!("{loopback}{to:04X}");
    let from = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        let port = local.strip_prefix(&loopback)?;
        let is_open = remote == wanted && state == "01";
        let port = u16::from_str_radix(port, 16).ok().filter(|_| is_open)?;
        // Between them are its queues, its timer and how often it has sent again.
        Some((port, words.nth(3)?.parse().ok()?))
    };
    table.lines().skip(1).filter_map(from).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_tells_of_a_connection_that_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", to)).unwrap();
        let from = client.local_addr().unwrap().port();
        let found = connection(from, to).unwrap().unwrap();
        assert_eq!(found.uid, crate::ffi::geteuid());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(table.contains(&format!(" {} ", found.inode)), "{found:?}");
        assert_eq!(opened_to(&table, to), [(from, found.uid)]);
        assert_eq!(opened_to(&table, 0), []);
        let (server, _) = listener.accept().unwrap();
        let other = connection(to, from).unwrap().unwrap();
        assert_ne!(other.inode, found.inode);
        assert_eq!(other.cgroup, found.cgroup);
        // The listener is no connection, and what is closed is none.
        assert_eq!(connection(to, 0).unwrap(), None);
        assert_eq!(connection(to, 1).unwrap(), None);
        assert_eq!(connection(from, 1).unwrap(), None);
        drop(client);
        assert_eq!(connection(from, to).unwrap(), None, "half closed");
        drop(server);
        assert_eq!(connection(from, to).unwrap(), None);
    }

    /// What the kernel said of the connection 55726 -> 59155, in state 1 (established), of user 65534.
    fn reply(state: u8, inode: u32, attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER + MESSAGE];
        message[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        message[HEADER] = 2;
        message[HEADER + 1] = state;
        message[HEADER + 4..HEADER + 6].copy_from_slice(&55_726_u16.to_be_bytes());
        message[HEADER + 6..HEADER + 8].copy_from_slice(&59_155_u16.to_be_bytes());
        message[HEADER + 64..HEADER + 68].copy_from_slice(&65_534_u32.to_ne_bytes());
        message[HEADER + 68..HEADER + 72].copy_from_slice(&inode.to_ne_bytes());
        message.extend(attributes);
        message
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut all = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        all.resize(all.len().next_multiple_of(4), 0);
        all
    }

    #[test]
    fn an_answer_has_the_group_or_not_and_a_broken_one_is_an_error() {
        let group = attribute(CGROUP_ID, &6021_u64.to_ne_bytes());
        let with =
            |attributes: &[u8]| parse(&reply(1, 7, attributes), 55_726, 59_155).unwrap().unwrap();
        assert_eq!(with(&[]), Connection { inode: 7, uid: 65_534, cgroup: None });
        assert_eq!(with(&group).cgroup, Some(6021));
        assert_eq!(with(&[attribute(8, &[0]), group.clone()].concat()).cgroup, Some(6021));
        // Cut off, of no length, of a length that leads out of it: what cannot be read is not there.
        assert_eq!(with(&group[..9]).cgroup, None);
        assert_eq!(with(&[0; 64]).cgroup, None);
        assert_eq!(with(&[0xff; 3]).cgroup, None);
        assert_eq!(with(&[&[0xff, 0xff, 8, 0][..], &group].concat()).cgroup, None);
        let none = |reply: &[u8], from, to| parse(reply, from, to).unwrap();
        assert_eq!(none(&reply(LISTEN, 7, &group), 55_726, 59_155), None);
        assert_eq!(none(&reply(4, 0, &group), 55_726, 59_155), None, "closed by its process");
        assert_eq!(none(&reply(1, 7, &group), 55_726, 1), None, "another one");
        let mut error = reply(1, 7, &[]);
        error[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        error[HEADER..HEADER + 4].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(parse(&error, 1, 2).unwrap(), None);
        error[HEADER..HEADER + 4].copy_from_slice(&(-libc::EOPNOTSUPP).to_ne_bytes());
        assert!(parse(&error, 1, 2).is_err());
        let whole = reply(1, 7, &[]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length], 55_726, 59_155).is_err(), "{length}");
        }
    }
}
