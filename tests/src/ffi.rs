//! Foreign calls: signals, limits, a socket option that std lacks, and libpam.
//!
//! The only module of this crate with unsafe code. Raw pointers do not leave it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Turns the `-1` of a system call into the error in `errno`.
fn checked(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// kill(2).
///
/// # Errors
///
/// As kill(2): the process is gone, or the number is no signal.
pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    if pid <= 1 {
        return Err(io::Error::other("0, 1 and -1 mean others than one process of ours"));
    }
    // SAFETY: kill takes two integers and touches no memory of this process.
    checked(unsafe { libc::kill(pid, signal) })
}

/// Makes the next close of this TCP socket send RST (`SO_LINGER` with 0 seconds).
///
/// # Errors
///
/// As setsockopt(2).
pub fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = libc::socklen_t::try_from(size_of_val(&linger)).map_err(io::Error::other)?;
    let value = ptr::from_ref(&linger).cast::<c_void>();
    // SAFETY: `value` points to a live `linger` of `size` bytes, and the descriptor is open
    // for as long as it is borrowed.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
    })
}

/// Sets the soft limit of open files, and answers what it was.
///
/// # Errors
///
/// As setrlimit(2): above the hard limit.
pub fn set_open_files(soft: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live `rlimit` that the call fills.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let before = limit.rlim_cur;
    limit.rlim_cur = soft;
    // SAFETY: `limit` is a live `rlimit` that the call only reads.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(before)
}

/// The largest resident set of any child that was waited for so far, in KiB. It counts from the fork
/// on, so it is never less than the parent's own.
///
/// # Errors
///
/// As getrusage(2): never, with these arguments.
pub fn largest_child_kib() -> io::Result<u64> {
    u64::try_from(usage_of_children()?.ru_maxrss).map_err(io::Error::other)
}

/// Processor time of all children that were waited for so far.
///
/// # Errors
///
/// As [`largest_child_kib`].
pub fn cpu_of_children() -> io::Result<std::time::Duration> {
    let usage = usage_of_children()?;
    let time = |part: libc::timeval| -> io::Result<std::time::Duration> {
        let seconds = u64::try_from(part.tv_sec).map_err(io::Error::other)?;
        let micros = u64::try_from(part.tv_usec).map_err(io::Error::other)?;
        Ok(std::time::Duration::from_secs(seconds) + std::time::Duration::from_micros(micros))
    };
    Ok(time(usage.ru_utime)? + time(usage.ru_stime)?)
}

/// getrusage(2) of `RUSAGE_CHILDREN`.
fn usage_of_children() -> io::Result<libc::rusage> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a `rusage` of ours, which the call fills.
    checked(unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) })?;
    // SAFETY: it is filled, and was zeros before, which are a valid `rusage` as well.
    Ok(unsafe { usage.assume_init() })
}

/// Goes into the network namespace of the process `pid`; of the calling thread alone.
///
/// # Errors
///
/// As setns(2): no such process, or not root.
pub fn join_network(pid: u32) -> io::Result<()> {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
    // SAFETY: the descriptor is open, and setns touches no memory of this process.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// `struct ifreq` of if.h, as `TUNSETIFF` takes it.
#[repr(C)]
struct TunRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes the TUN device `name` in the network namespace of this thread: each read and write is an
/// IP packet. It goes when the file is closed. Reads of an empty one answer `WouldBlock`.
///
/// # Errors
///
/// As open(2) of `/dev/net/tun` and ioctl(2): there is one of that name, or not root.
pub fn open_tun(name: &str) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let flags =
        libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).map_err(io::Error::other)?;
    let mut request = TunRequest { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    if name.len() >= request.name.len() {
        return Err(io::Error::other("the name of a device has 15 bytes at most"));
    }
    for (to, from) in request.name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF takes a pointer to an `ifreq`, which `request` has the size and shape of;
    // the name ends in NUL, as it is shorter than its room.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
}

/// Waits until one of two descriptors can be read, `most` at most; which of them can.
///
/// # Errors
///
/// As ppoll(2).
pub fn wait_readable(
    two: [BorrowedFd<'_>; 2],
    most: Option<std::time::Duration>,
) -> io::Result<[bool; 2]> {
    let mut list =
        two.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let time = most.map(|most| libc::timespec {
        tv_sec: libc::time_t::try_from(most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: most.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `list` has two live `pollfd`, `time` is null or a live `timespec`, and no mask is given.
    checked(unsafe { libc::ppoll(list.as_mut_ptr(), 2, time, ptr::null()) })?;
    Ok(list.map(|one| one.revents != 0))
}

/// Lets the calling thread run before all ordinary ones (`SCHED_RR`, sched(7)).
///
/// # Errors
///
/// As sched_setscheduler(2): not root.
pub fn run_first() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: the pointer is to a live `sched_param`; 0 is the calling thread.
    checked(unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const priority) })
}

/// The opaque handle of libpam.
#[repr(C)]
struct PamHandle {
    _private: [u8; 0],
}

#[repr(C)]
struct PamConv {
    conv: extern "C" fn(c_int, *const c_void, *mut c_void, *mut c_void) -> c_int,
    data: *mut c_void,
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start_confdir(
        service: *const c_char,
        user: *const c_char,
        conv: *const PamConv,
        confdir: *const c_char,
        handle: *mut *mut PamHandle,
    ) -> c_int;
    fn pam_end(handle: *mut PamHandle, status: c_int) -> c_int;
    fn pam_set_item(handle: *mut PamHandle, item: c_int, value: *const c_void) -> c_int;
    fn pam_putenv(handle: *mut PamHandle, name_value: *const c_char) -> c_int;
    fn pam_open_session(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_close_session(handle: *mut PamHandle, flags: c_int) -> c_int;
}

/// `PAM_SUCCESS`.
pub const PAM_SUCCESS: c_int = 0;

/// Takes what a module says (libpam's `pam_conv`), as a sign to lift the limit of open files.
///
/// With no descriptor left, libpam itself fails after the last module: it cannot open
/// its audit socket, and answers `PAM_SYSTEM_ERR` whatever the modules said. So `pam_echo.so`
/// is last in the stack of such a test, and speaks when our module is done.
extern "C" fn lift_limit(_: c_int, _: *const c_void, _: *mut c_void, _: *mut c_void) -> c_int {
    // Asking for more than the hard limit is refused, and the test then fails by that.
    let _ = set_open_files(1024);
    PAM_SUCCESS
}

/// Which fact [`Pam::set`] sets (Linux-PAM `_pam_types.h`).
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub enum Item {
    /// `PAM_USER`.
    User = 2,
    /// `PAM_TTY`.
    Tty = 3,
    /// `PAM_RHOST`.
    Rhost = 4,
}

/// An open PAM transaction.
pub struct Pam {
    handle: *mut PamHandle,
    /// libpam keeps only a pointer to it.
    _conv: Box<PamConv>,
    last: c_int,
}

impl Pam {
    /// `pam_start_confdir`: `service` as configured in the directory `confdir`.
    ///
    /// # Errors
    ///
    /// libpam's return code.
    pub fn start(service: &CStr, confdir: &CStr) -> Result<Self, c_int> {
        let conv = Box::new(PamConv { conv: lift_limit, data: ptr::null_mut() });
        let mut handle = ptr::null_mut();
        // SAFETY: all strings end in NUL and live through the call (libpam copies them);
        // no user is a documented value; `conv` lives in a box that is dropped after
        // pam_end; `handle` is a live pointer that the call fills.
        let code = unsafe {
            pam_start_confdir(
                service.as_ptr(),
                ptr::null(),
                &raw const *conv,
                confdir.as_ptr(),
                &raw mut handle,
            )
        };
        if code == PAM_SUCCESS { Ok(Self { handle, _conv: conv, last: code }) } else { Err(code) }
    }

    /// `pam_set_item` of a text item.
    pub fn set(&mut self, item: Item, value: &CString) -> c_int {
        // SAFETY: the handle is live until drop; text items are NUL-terminated and copied.
        self.last = unsafe { pam_set_item(self.handle, item as c_int, value.as_ptr().cast()) };
        self.last
    }

    /// `pam_putenv`: `NAME=VALUE`.
    pub fn put_env(&mut self, name_value: &CString) -> c_int {
        // SAFETY: the handle is live until drop; the text is NUL-terminated and copied.
        self.last = unsafe { pam_putenv(self.handle, name_value.as_ptr()) };
        self.last
    }

    /// `pam_open_session` without flags.
    pub fn open_session(&mut self) -> c_int {
        // SAFETY: the handle is live until drop.
        self.last = unsafe { pam_open_session(self.handle, 0) };
        self.last
    }

    /// `pam_close_session` without flags.
    pub fn close_session(&mut self) -> c_int {
        // SAFETY: the handle is live until drop.
        self.last = unsafe { pam_close_session(self.handle, 0) };
        self.last
    }
}

impl Drop for Pam {
    fn drop(&mut self) {
        // SAFETY: the handle came from pam_start_confdir and is ended here, once.
        unsafe { pam_end(self.handle, self.last) };
    }
}
