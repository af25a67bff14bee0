//! What std lacks, each call behind a safe function at once. No raw pointer leaves this file.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::time::Duration;
#[cfg(feature = "daemon")]
use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
};

/// `-1` from a system call as the error that `errno` holds.
#[cfg(feature = "daemon")]
fn cerr(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Time since boot, suspended time included (clock_gettime(2), `CLOCK_BOOTTIME`).
#[must_use]
pub fn boottime() -> Option<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a timespec of ours, which the call fills when it answers 0.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, time.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: the call answered 0, so it has filled the timespec.
    let time = unsafe { time.assume_init() };
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

/// 32 random bits from the kernel, or `None` while it has none yet; never waits
/// (getrandom(2), `GRND_NONBLOCK`).
#[must_use]
pub fn random_u32() -> Option<u32> {
    let mut bytes = [0_u8; 4];
    // SAFETY: the pointer and the length are those of one array of ours.
    let got =
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    (got == 4).then(|| u32::from_ne_bytes(bytes))
}

/// The largest file that this process may write, in bytes, where there is a limit (getrlimit(2),
/// `RLIMIT_FSIZE`). To write more would end the process by a signal.
#[must_use]
#[allow(clippy::useless_conversion, reason = "rlim_t has 32 bits on some machines")]
pub fn file_size_limit() -> Option<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to a value of ours, which the call fills when it answers 0.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call answered 0, so it has filled the value.
    let limit = unsafe { limit.assume_init() };
    (limit.rlim_cur != libc::RLIM_INFINITY).then(|| limit.rlim_cur.into())
}

/// Effective user id of this process (geteuid(2)).
#[must_use]
pub fn geteuid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether this process may write at `path` now (access(2)): its mode, and how that is mounted.
///
/// # Errors
///
/// `EROFS`, `EACCES` and what else the system says of it.
#[cfg(feature = "daemon")]
pub fn may_write(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a string that ends with NUL and outlives the call, which keeps nothing of it.
    match unsafe { libc::access(path.as_ptr(), libc::W_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A moment as this machine's local time shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTime {
    /// The year in full.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Day of the week, 0 to 6: 0 is Sunday.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60: a leap second is shown as such.
    pub second: u8,
    /// Short name of the zone at that moment, `CET` or `+03`; empty when it has none.
    pub zone: String,
}

// SAFETY: the declaration is POSIX's, and libc (the crate) has it for Windows only.
unsafe extern "C" {
    safe fn tzset();
}

/// `unix_s`, seconds since 1970, in the zone of this machine; `None` for a year past
/// what libc counts (localtime_r(3)).
#[must_use]
pub fn local_time(unix_s: i64) -> Option<LocalTime> {
    // POSIX frees localtime_r from looking at TZ itself, so it has to be made to.
    tzset();
    #[allow(clippy::useless_conversion, reason = "time_t has 32 bits on some machines")]
    let time: libc::time_t = unix_s.try_into().ok()?;
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to values of ours, and the second is written to only.
    let filled = unsafe { libc::localtime_r(&time, parts.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: the call answered its second argument, so it has filled it.
    let parts = unsafe { parts.assume_init() };
    let zone = if parts.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: tm_zone is NUL-ended and belongs to libc. glibc never frees a zone's name;
        // musl keeps it until TZ changes, which nothing in these programs does.
        let zone = unsafe { CStr::from_ptr(parts.tm_zone) };
        zone.to_string_lossy().into_owned()
    };
    let part = |value: libc::c_int| u8::try_from(value).ok();
    Some(LocalTime {
        year: parts.tm_year.checked_add(1900)?,
        month: part(parts.tm_mon.checked_add(1)?)?,
        day: part(parts.tm_mday)?,
        weekday: part(parts.tm_wday)?,
        hour: part(parts.tm_hour)?,
        minute: part(parts.tm_min)?,
        second: part(parts.tm_sec)?,
        zone,
    })
}

/// A descriptor that becomes readable when something is renamed into `dir` (inotify(7)).
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn watch_renames_into(dir: &Path) -> io::Result<File> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    // SAFETY: takes flags alone.
    let fd = cerr(unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) })?;
    // SAFETY: the call has just given this descriptor to us, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is open, and the path ends with a NUL and outlives the call.
    cerr(unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), libc::IN_MOVED_TO) })?;
    Ok(File::from(fd))
}

/// A socket that becomes readable when a link, an address or a route changes (rtnetlink(7)).
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn watch_network() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just given this descriptor to us, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero is a sockaddr_nl for no group.
    let mut address: libc::sockaddr_nl = unsafe { MaybeUninit::zeroed().assume_init() };
    address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).unwrap_or_default();
    let groups = libc::RTMGRP_LINK
        | libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_ROUTE;
    address.nl_groups = u32::try_from(groups).unwrap_or_default();
    let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default();
    // SAFETY: the pointer and the size are those of one value of ours.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks the kernel about a socket, and answers its reply, `most` bytes of it (sock_diag(7)). It has answered before the question
/// is sent, so that nothing is waited for.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn ask_sock_diag(question: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers.
    let fd = cerr(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) })?;
    // SAFETY: the call has just given this descriptor to us, and nobody else has it.
    let mut socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    socket.write_all(question)?;
    let mut reply = vec![0; most];
    let got = socket.read(&mut reply)?;
    reply.truncate(got);
    Ok(reply)
}

/// Blocks these signals in this thread, and so in all it starts, and answers a descriptor
/// from which they are read instead, 128 bytes each, the number first (signalfd(2)).
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn take_signals(signals: &[libc::c_int]) -> io::Result<File> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to a set of ours, which the call fills.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: sigemptyset has filled the set.
        cerr(unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) })?;
    }
    // SAFETY: the set is filled; the old mask is not asked for.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    // SAFETY: the set is filled; -1 asks for a new descriptor.
    let fd =
        cerr(unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) })?;
    // SAFETY: the call has just given this descriptor to us, and nobody else has it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Has a program begin with no signal blocked. A daemon reads its signals from a descriptor, for which they are
/// blocked; what it starts inherits that, and would not hear SIGTERM.
#[cfg(feature = "daemon")]
pub fn unblock_signals(command: &mut std::process::Command) {
    let unblock = || {
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the pointer is to a set of ours, which the call fills.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        // SAFETY: the set is filled; the old mask is not asked for.
        match unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: both calls between fork and exec are async-signal-safe (signal-safety(7)).
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, unblock) };
}

/// Waits until one of the descriptors is readable, or until the time is up (poll(2)). A signal
/// that is not blocked ends the wait as well.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn wait_readable(fds: &[BorrowedFd<'_>], most: Duration) -> io::Result<()> {
    wait(fds, libc::POLLIN, most)
}

/// Waits until one of the descriptors can be written to, or has failed, or until the time is up: how
/// a connect(2) that does not wait is waited for. A signal that is not blocked ends the wait as well.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn wait_writable(fds: &[BorrowedFd<'_>], most: Duration) -> io::Result<()> {
    wait(fds, libc::POLLOUT, most)
}

#[cfg(feature = "daemon")]
fn wait(fds: &[BorrowedFd<'_>], events: libc::c_short, most: Duration) -> io::Result<()> {
    poll(fds.iter().map(|fd| (*fd, events)), most)
}

/// Waits until one of the first can be read from or one of the others be written to, or one has failed,
/// or until the time is up. A signal that is not blocked ends the wait as well.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn wait_for_any(
    readable: &[BorrowedFd<'_>],
    writable: &[BorrowedFd<'_>],
    most: Duration,
) -> io::Result<()> {
    let readable = readable.iter().map(|fd| (*fd, libc::POLLIN));
    poll(readable.chain(writable.iter().map(|fd| (*fd, libc::POLLOUT))), most)
}

#[cfg(feature = "daemon")]
fn poll<'a>(
    fds: impl Iterator<Item = (BorrowedFd<'a>, libc::c_short)>,
    most: Duration,
) -> io::Result<()> {
    let entry =
        |(fd, events): (BorrowedFd<'_>, _)| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let mut polled: Vec<libc::pollfd> = fds.map(entry).collect();
    // Rounded up: a wait of 0.4 ms that became 0 would be a busy loop.
    let ms = most.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX);
    let count = polled.len().try_into().unwrap_or(libc::nfds_t::MAX);
    // SAFETY: the pointer and the count are those of one vector of ours.
    match cerr(unsafe { libc::poll(polled.as_mut_ptr(), count, ms) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Which of two descriptors is ready.
#[cfg(feature = "daemon")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either {
    /// The first can be written to, or has failed.
    Writable,
    /// The second can be read from.
    Readable,
    /// Neither, in that time.
    Neither,
}

/// Waits until `writable` can be written to or `readable` can be read from, `most` at the longest
/// (poll(2)). A signal may end it earlier.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn wait_for_either(
    writable: BorrowedFd<'_>,
    readable: Option<BorrowedFd<'_>>,
    most: Duration,
) -> io::Result<Either> {
    let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
    // poll(2) leaves out a negative descriptor.
    let second = readable.map_or(-1, |fd| fd.as_raw_fd());
    let mut polled = [entry(writable.as_raw_fd(), libc::POLLOUT), entry(second, libc::POLLIN)];
    let ms = most.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the count are those of one array of ours.
    match cerr(unsafe { libc::poll(polled.as_mut_ptr(), 2, ms) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        _ => {}
    }
    let [writable, readable] = polled.map(|entry| entry.revents != 0);
    Ok(match (writable, readable) {
        (true, _) => Either::Writable,
        (_, true) => Either::Readable,
        _ => Either::Neither,
    })
}

/// What is left on a disk, for who is not root (statvfs(3)).
#[cfg(feature = "daemon")]
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Files that there can be in all; 0 where they are not counted.
    pub all_files: u64,
}

/// What is left on the disk that `path` is on.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
#[allow(clippy::useless_conversion, reason = "the numbers have 32 bits on some machines")]
pub fn room_on_disk(path: &Path) -> io::Result<Room> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut all = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is NUL-ended, and the other pointer is to a value of ours, which the call fills.
    cerr(unsafe { libc::statvfs(path.as_ptr(), all.as_mut_ptr()) })?;
    // SAFETY: the call did not fail, so it has filled it.
    let all = unsafe { all.assume_init() };
    Ok(Room {
        bytes: u64::from(all.f_bavail).saturating_mul(u64::from(all.f_frsize)),
        files: all.f_favail.into(),
        all_files: all.f_files.into(),
    })
}

/// Locks a file for this process alone, without waiting (flock(2)); `false` when another
/// process has it. The lock goes with the descriptor.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open for as long as the borrow lasts.
    match cerr(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Becomes the user and group `uid` and `gid` for good, with no other groups (setgroups(2),
/// setgid(2), setuid(2), in the order that cannot leave a right behind).
///
/// # Errors
///
/// What the system said; the process must not go on then.
#[cfg(feature = "daemon")]
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the count are those of one slice.
    cerr(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: takes a number.
    cerr(unsafe { libc::setgid(gid) })?;
    // SAFETY: takes a number.
    cerr(unsafe { libc::setuid(uid) })?;
    Ok(())
}

/// Makes sure that this process leaves no core file and that no other process of the same
/// user reads its memory (setrlimit(2), `PR_SET_DUMPABLE` in prctl(2)).
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: this option takes one number.
    cerr(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong) })?;
    // SAFETY: the pointer is to a value of ours.
    cerr(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })?;
    Ok(())
}

/// A file without a name, in memory, from whose start `content` is read (memfd_create(2)).
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn memory_file(name: &CStr, content: &[u8]) -> io::Result<File> {
    // SAFETY: the name ends with a NUL and outlives the call.
    let fd = cerr(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the call has just given this descriptor to us, and nobody else has it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// Makes reads and writes of this descriptor answer at once (`O_NONBLOCK`, fcntl(2)).
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the borrow lasts.
    let flags = cerr(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: the same, and this command takes a number.
    cerr(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Whether this child of ours has ended. It is not reaped: its number, and that of its group,
/// remain its own until somebody waits for it (waitid(2), `WNOWAIT`).
///
/// # Errors
///
/// What the system said, as when there is no such child.
#[cfg(feature = "daemon")]
pub fn has_ended(child: u32) -> io::Result<bool> {
    // All zero is a siginfo_t, and what stays so when no child has ended (waitid(2), "NOTES").
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a value of ours, which the call may fill.
    cerr(unsafe { libc::waitid(libc::P_PID, child, info.as_mut_ptr(), options) })?;
    // SAFETY: it is zero throughout, or filled by the call.
    let info = unsafe { info.assume_init() };
    Ok(info.si_signo == libc::SIGCHLD)
}

/// Sends a signal to each process of a group (kill(2)). To be called while the group's leader is
/// a child of ours that has not been reaped: later the number may be another's.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "daemon")]
pub fn signal_group(leader: u32, signal: libc::c_int) -> io::Result<()> {
    let leader = libc::pid_t::try_from(leader).map_err(io::Error::other)?;
    if leader < 2 {
        // 0 and -1 are this program's own group, and everybody.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: takes numbers.
    cerr(unsafe { libc::kill(-leader, signal) })?;
    Ok(())
}

/// Loads a PAM module as libpam does and looks for the hook of a session (dlopen(3), dlsym(3)). It stays loaded:
/// to be called by a program that ends soon, with a file of root's, as it may run what is in it.
///
/// # Errors
///
/// What the loader said.
#[cfg(feature = "deliver")]
pub fn load_pam_module(path: &Path) -> Result<(), String> {
    let said = |what: &str| {
        // SAFETY: takes nothing; answers null, or a text that stays until the next call of its kind.
        let text = unsafe { libc::dlerror() };
        if text.is_null() {
            return what.to_owned();
        }
        // SAFETY: it is not null, so it is a text that ends with a NUL.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the path ends with a NUL and outlives the call.
    let module = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    if module.is_null() {
        return Err(said("it cannot be loaded"));
    }
    // SAFETY: the module is open, and the name ends with a NUL.
    let hook = unsafe { libc::dlsym(module, c"pam_sm_open_session".as_ptr()) };
    if hook.is_null() { Err(said("it is no PAM module for sessions")) } else { Ok(()) }
}

/// Most bytes that the names of a file's attributes have, and one of them (xattr(7)).
#[cfg(feature = "deliver")]
const MAX_ATTRIBUTES: usize = 65_536;

/// Gives a file the extended attributes of another: SELinux's label, ACLs (xattr(7)). Those that vouch for the content
/// are left out.
///
/// # Errors
///
/// What the system said.
#[cfg(feature = "deliver")]
pub fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let size =
        |result: libc::ssize_t| usize::try_from(result).map_err(|_| io::Error::last_os_error());
    let mut names = vec![0_u8; MAX_ATTRIBUTES];
    // SAFETY: the descriptor is open, and the pointer and the length are those of one vector of ours.
    let listed =
        unsafe { libc::flistxattr(from.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    match size(listed) {
        Ok(length) => names.truncate(length),
        Err(error) if error.raw_os_error() == Some(libc::ENOTSUP) => return Ok(()),
        Err(error) => return Err(error),
    }
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if [c"security.ima", c"security.evm"].contains(&name) {
            continue;
        }
        let mut value = vec![0_u8; MAX_ATTRIBUTES];
        // SAFETY: as above, and the name ends with a NUL.
        let got = size(unsafe {
            libc::fgetxattr(from.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
        })?;
        // SAFETY: as above; `got` bytes of the vector are filled.
        cerr(unsafe {
            libc::fsetxattr(to.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), got, 0)
        })?;
    }
    Ok(())
}
