//! Foreign calls that std and the shared crate lack.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// Hands a descriptor to who is at the other end of a Unix socket, with one byte, as OpenSSH's
/// `ProxyUseFdpass` wants it (`mm_send_fd` in monitor_fdpass.c; unix(7), `SCM_RIGHTS`).
///
/// # Errors
///
/// What the system said.
pub fn send_descriptor(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // Aligned as cmsghdr has to be, and larger than one descriptor needs (24 bytes).
    let mut control = [0_u64; 8];
    let mut byte = [0_u8; 1];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    let fd = descriptor.as_raw_fd();
    let size = u32::try_from(size_of_val(&fd)).unwrap_or(4);
    // SAFETY: all zero is an empty msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: computes a number from a number.
    let space = unsafe { libc::CMSG_SPACE(size) };
    message.msg_controllen = space as _;
    // SAFETY: the message points to a control buffer of ours that is large enough for one header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if header.is_null() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: computes a number from a number.
    let length = unsafe { libc::CMSG_LEN(size) };
    // SAFETY: the header lies in the control buffer, which is aligned for it.
    let header = unsafe { &mut *header };
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    header.cmsg_len = length as _;
    // SAFETY: the header is in the control buffer, with room for one descriptor behind it.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: as above; the data may not be aligned for an int.
    unsafe { ptr::write_unaligned(data.cast::<libc::c_int>(), fd) };
    // SAFETY: all that the message points to outlives the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the program ended by the kernel when the thread that starts it ends (`PR_SET_PDEATHSIG` in
/// prctl(2)): ssh without anybody to watch it would hold the port. By force, for an ssh that hangs
/// does not hear; the jump host sees the end of the connection all the same.
pub fn end_with_us(command: &mut Command) {
    let ask = || {
        let signal = libc::SIGKILL as libc::c_ulong;
        // SAFETY: this option takes one number.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one call, which is async-signal-safe.
    unsafe { command.pre_exec(ask) };
}

/// Sends a signal to a process (kill(2)).
///
/// # Errors
///
/// What the system said.
pub fn signal(process: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers.
    match unsafe { libc::kill(process, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The user at the other end of a Unix socket, as of when it connected (`SO_PEERCRED` in unix(7)).
///
/// # Errors
///
/// What the system said.
pub fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of_val(&found)).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of what it is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(found.uid) } else { Err(io::Error::last_os_error()) }
}
