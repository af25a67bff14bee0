//! All foreign calls of this crate.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the kernel knows of a TCP connection (tcp(7), `TCP_INFO`; linux/tcp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// Whether it stands: no more, and not yet, while it is being made.
    pub is_established: bool,
    /// Smoothed round trip, in microseconds.
    pub rtt_us: u32,
    /// Round trip as the receiving side sees it, in microseconds; 0 where it has seen none (`tcpi_rcv_rtt`).
    pub receive_rtt_us: u32,
    /// Segments sent again so far (`tcpi_total_retrans`).
    pub retransmitted: u32,
    /// Payload bytes of ours that were sent, some of them again (`tcpi_bytes_sent`).
    pub sent: u64,
    /// Payload bytes of ours that were acknowledged (`tcpi_bytes_acked`).
    pub acked: u64,
    /// Payload bytes that have arrived in their order (`tcpi_bytes_received`), read or not.
    pub received: u64,
    /// Segments with payload that have arrived, in whatever order (`tcpi_data_segs_in`).
    pub arrived: u32,
    /// Those of them that came before their turn (`tcpi_rcv_ooopack`); 0 from a kernel before 5.4.
    pub early: u32,
    /// Payload of the segments that come, in bytes (`tcpi_rcv_mss`).
    pub receive_mss: u32,
    /// Segments received and sent, acknowledgements among them (`tcpi_segs_in`, `tcpi_segs_out`).
    pub segments: [u32; 2],
}

/// Asks the kernel about a TCP connection.
///
/// # Errors
///
/// What the system said; a kernel before 4.19, which does not count all that, is `Unsupported`.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = length_of::<libc::tcp_info>();
    // SAFETY: the buffer is ours, has `length` bytes, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is made of integers alone, which were zero before the kernel wrote some of them.
    let info = unsafe { info.assume_init() };
    let counted = mem::offset_of!(libc::tcp_info, tcpi_bytes_sent) + mem::size_of::<u64>();
    if (length as usize) < counted {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    Ok(TcpInfo {
        is_established: info.tcpi_state == ESTABLISHED,
        rtt_us: info.tcpi_rtt,
        receive_rtt_us: info.tcpi_rcv_rtt,
        retransmitted: info.tcpi_total_retrans,
        sent: info.tcpi_bytes_sent,
        acked: info.tcpi_bytes_acked,
        received: info.tcpi_bytes_received,
        arrived: info.tcpi_data_segs_in,
        early: info.tcpi_rcv_ooopack,
        receive_mss: info.tcpi_rcv_mss,
        segments: [info.tcpi_segs_in, info.tcpi_segs_out],
    })
}

/// `TCP_ESTABLISHED` (the kernel's tcp_states.h).
const ESTABLISHED: u8 = 1;

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(0)
}

/// Ends this process as `signal` would have, had it not been read from a descriptor: who waits for us sees by which.
pub fn die_of(signal: libc::c_int) -> ! {
    // SAFETY: takes numbers; the default is a function of the kernel's.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to a set of ours, which the call fills.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set is filled; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
    std::process::exit(128 + signal)
}

/// How many characters a line of this terminal has (`TIOCGWINSZ`, ioctl_tty(2)); `None` when it is none.
#[must_use]
pub fn terminal_width(terminal: BorrowedFd<'_>) -> Option<u16> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: this request writes one winsize, which is ours.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) };
    if result < 0 {
        return None;
    }
    // SAFETY: it is made of integers alone, which were zero before the kernel wrote them.
    let size = unsafe { size.assume_init() };
    (size.ws_col > 0).then_some(size.ws_col)
}

/// The addresses of an interface (getifaddrs(3)).
///
/// # Errors
///
/// What the system said.
pub fn addresses_of(interface: &str) -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is ours to be written; what it then leads to is freed below.
    if unsafe { libc::getifaddrs(&raw mut first) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: not null, and an entry of the list, which is freed after the loop.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_name.is_null() || entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: NUL-ended, and lives as long as the list.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
        // IPv4 addresses have a label in its place, as `eth0:1`, of those that were given one.
        let name = name.to_bytes().split(|byte| *byte == b':').next();
        if name == Some(interface.as_bytes()) {
            found.extend(address(entry.ifa_addr));
        }
    }
    // SAFETY: it came from getifaddrs, and nothing of it is used any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// The address in a `sockaddr`, if it is of IPv4 or IPv6. The pointer has to lead to a whole one of
/// its family.
fn address(sockaddr: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: getifaddrs(3): it leads to a structure of its family, which begins with these fields.
    let family = libc::c_int::from(unsafe { (*sockaddr).sa_family });
    match family {
        libc::AF_INET => {
            // SAFETY: by its family a whole sockaddr_in; read without regard to its alignment.
            let four = unsafe { sockaddr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(four.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: by its family a whole sockaddr_in6; read without regard to its alignment.
            let six = unsafe { sockaddr.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(six.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_kernel_counts_payload_that_nobody_has_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        one.write_all(&[7; 1000]).unwrap();
        // It has arrived when a byte of it can be read.
        other.read_exact(&mut [0]).unwrap();
        assert_eq!(tcp_info(other.as_fd()).unwrap().received, 1000);
        // The acknowledgement of the SYN counts as a byte (RFC 4898, tcpEStatsAppHCThruOctetsAcked).
        other.write_all(&[7]).unwrap();
        one.read_exact(&mut [0]).unwrap();
        assert!((1000..=1001).contains(&tcp_info(one.as_fd()).unwrap().acked));
    }

    #[test]
    fn loopback_has_its_address() {
        assert!(addresses_of("lo").unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
        assert_eq!(addresses_of("nosuch").unwrap(), Vec::<IpAddr>::new());
    }
}
