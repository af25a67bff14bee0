//! What std lacks, each call behind a safe function at once. No raw pointer leaves this file.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// `-1` from a system call as the error that `errno` holds.
#[allow(dead_code, reason = "used by the sender's half only")]
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
    let got = unsafe {
        libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK)
    };
    (got == 4).then(|| u32::from_ne_bytes(bytes))
}

/// Effective user id of this process (geteuid(2)).
#[must_use]
pub fn geteuid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}
