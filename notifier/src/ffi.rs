//! What std lacks, each call behind a safe function at once. No raw pointer leaves this file.

use std::ffi::CStr;
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

/// A moment as this machine's local time shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTime {
    /// The year in full.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
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
        hour: part(parts.tm_hour)?,
        minute: part(parts.tm_min)?,
        second: part(parts.tm_sec)?,
        zone,
    })
}
