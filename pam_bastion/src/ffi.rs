//! What pam-bindings and std lack, or leave unsafe, each behind a safe function.

use std::ffi::{CStr, c_char, c_int, c_void};

use pam::module::PamHandle;

use crate::session::Opened;

unsafe extern "C" {
    fn pam_getenv(pamh: *const PamHandle, name: *const c_char) -> *const c_char;
}

/// Key of this module's data in the PAM handle. The address is that of this copy of the module:
/// another one, of another version perhaps, keeps its data under another key.
fn data_key() -> String {
    static HERE: u8 = 0;
    format!("pam_bastion_{:p}", &raw const HERE)
}

/// The value of `name` in the PAM environment, which is not the process environment
/// (pam_getenv(3)). At most `most` bytes of it: the value is as long as a peer made it.
pub fn getenv(pamh: &PamHandle, name: &CStr, most: usize) -> Option<Vec<u8>> {
    // SAFETY: the handle is the one libpam gave to the hook that calls this, and the name
    // ends with a NUL; both outlive the call.
    let value = unsafe { pam_getenv(pamh, name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: not null, so it points to a C string that libpam owns. It stays as it is until
    // the environment of this handle is changed, which nobody does before it is copied here.
    let value = unsafe { CStr::from_ptr(value) };
    Some(value.to_bytes().iter().copied().take(most).collect())
}

/// Leaves `opened` in the handle for [`opened`] to find when the session ends.
pub fn remember(pamh: &mut PamHandle, opened: Opened) {
    // Without it the session's end is not logged; there is nobody to tell about that.
    let _ = pamh.set_data(&data_key(), Box::new(opened));
}

/// What [`remember`] left in this handle.
pub fn opened(pamh: &PamHandle) -> Option<&Opened> {
    // SAFETY: under this key only `remember` stores, and it stores an `Opened`.
    unsafe { pamh.get_data::<Opened>(&data_key()) }.ok()
}

/// Gives the module's own code back to the system (madvise(2), `MADV_DONTNEED`).
///
/// A session lasts for hours and needs this code for a millisecond at its end. The pages that
/// ran are mapped 64 KiB at a time, half a megabyte together; unmapped, they stay in the page
/// cache, and the end of the session maps again the few that it runs. Only what the file
/// holds unchanged is given back: relocated data is in a writable segment and stays.
pub fn give_back_code() {
    let mut here: *const c_void = (give_back_code as fn()) as *const c_void;
    // SAFETY: the callback has the type that the call wants, keeps nothing, and gets a
    // pointer to `here`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(give_back_if_here), (&raw mut here).cast()) };
}

/// Called for each loaded object (dl_iterate_phdr(3)): gives back the read-only segments of
/// the one in which the address at `data` lies. Answers 1 to end the walk there.
extern "C" fn give_back_if_here(
    info: *mut libc::dl_phdr_info,
    _: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `data` is the pointer that `give_back_code` gave to the walk.
    let here = unsafe { *data.cast::<*const c_void>() } as usize;
    // SAFETY: the loader gives a description that stays as it is during this call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader says how many program headers stand at the pointer; not null.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let base = usize::try_from(info.dlpi_addr).unwrap_or_default();
    let range = |header: &Header| {
        let start = base.checked_add(usize::try_from(header.p_vaddr).ok()?)?;
        Some((start, start.checked_add(usize::try_from(header.p_memsz).ok()?)?))
    };
    let loads = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    if !loads().filter_map(range).any(|(start, end)| (start..end).contains(&here)) {
        return 0;
    }
    let page = page_size();
    for (start, end) in loads().filter(|header| header.p_flags & libc::PF_W == 0).filter_map(range)
    {
        // Inwards to whole pages: the kernel would round the length up, into what is not ours.
        let Some(start) = start.checked_next_multiple_of(page) else { continue };
        let length = (end & !page.wrapping_sub(1)).saturating_sub(start);
        if length > 0 {
            // SAFETY: the range lies inside a read-only segment of this module's file, so
            // every page of it can be read again from there. That a failure changes nothing is
            // why the answer is of no interest.
            unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(target_pointer_width = "64")]
type Header = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type Header = libc::Elf32_Phdr;

/// The size of a page, in bytes (sysconf(3)): 4 KiB, or 16 KiB on a Raspberry Pi 5.
fn page_size() -> usize {
    // SAFETY: takes a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(64 * 1024)
}
