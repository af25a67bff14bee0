//! `pam_bastion.so`: a PAM session module that raises an alert for each SSH login.
//!
//! This file is the exported hooks and the wall around them. Whatever happens inside, the
//! hooks of a session answer `PAM_SUCCESS`: a module that fails must not keep anybody out,
//! least of all on the way in that is left when the other line is down.
#![deny(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod auth_info;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
mod ffi;
pub mod session;

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use pam::constants::{PamFlag, PamResultCode};
use pam::items::{RHost, Service, User};
use pam::module::{PamHandle, PamHooks};

use session::{Arguments, Pam};

/// The module, for `pam_hooks!`.
struct Bastion;

#[allow(unsafe_code, reason = "the macro makes the extern functions that libpam looks for")]
mod hooks {
    use super::Bastion;
    pam::pam_hooks!(Bastion);
}

impl PamHooks for Bastion {
    fn sm_open_session(pamh: &mut PamHandle, args: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        wall(&args, |arguments| {
            // Some application opens twice in one handle: one session, one alert.
            if ffi::opened(pamh).is_some_and(session::Opened::is_open) {
                return;
            }
            if let Some(opened) = session::open(&Handle(pamh), arguments) {
                ffi::remember(pamh, opened);
            }
        })
    }

    fn sm_close_session(pamh: &mut PamHandle, args: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        wall(&args, |_| {
            if let Some(opened) = ffi::opened(pamh) {
                session::close(opened);
            }
        })
    }
}

/// Runs `hook`, ends a panic inside it, and answers `PAM_SUCCESS` in any case: an ignored
/// module that is alone in its stack would refuse the login.
fn wall(args: &[&CStr], hook: impl FnOnce(&Arguments)) -> PamResultCode {
    static SILENT: Once = Once::new();
    // The default hook takes a backtrace where RUST_BACKTRACE is set: 70 ms and 38 MB inside
    // sshd. This std is the module's own copy, so sshd's process is not changed by it.
    SILENT.call_once(|| panic::set_hook(Box::new(|_| {})));
    let run = AssertUnwindSafe(|| {
        let arguments = Arguments::parse(args.iter().map(|arg| OsStr::from_bytes(arg.to_bytes())));
        hook(&arguments);
    });
    if let Err(payload) = panic::catch_unwind(run) {
        let text = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        // Dropping a payload may panic again; one leaked message is the smaller harm.
        std::mem::forget(payload);
        let _ = panic::catch_unwind(|| session::report_panic(&text)).map_err(std::mem::forget);
    }
    PamResultCode::PAM_SUCCESS
}

/// libpam's handle as the flow sees it.
struct Handle<'a>(&'a PamHandle);

impl Pam for Handle<'_> {
    fn user(&self) -> Option<Vec<u8>> {
        Some(self.0.get_item::<User<'_>>().ok()??.0.to_bytes().to_vec())
    }

    fn service(&self) -> Option<Vec<u8>> {
        Some(self.0.get_item::<Service<'_>>().ok()??.0.to_bytes().to_vec())
    }

    fn rhost(&self) -> Option<Vec<u8>> {
        Some(self.0.get_item::<RHost<'_>>().ok()??.0.to_bytes().to_vec())
    }

    fn env(&self, name: &CStr, most: usize) -> Option<Vec<u8>> {
        ffi::getenv(self.0, name, most)
    }
}
