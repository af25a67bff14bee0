//! What pam-bindings and std lack, or leave unsafe, each behind a safe function.

use std::ffi::{CStr, c_char};

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
