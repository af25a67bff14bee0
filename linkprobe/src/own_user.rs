//! Root's command becomes the user whose files these are, before it writes any: what root leaves there that user
//! may not touch, and every hourly check after it would end with that.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use notifier::exit::Failure;
use notifier::ffi::{become_user, geteuid};
use notifier::spool::Spool;

/// Becomes the owner of `state`, where root runs this and another owns that; with the group that may write into
/// the spool.
///
/// # Errors
///
/// When the system does not let us.
pub fn become_owner(state: &Path, spool: &Path) -> Result<(), Failure> {
    let Ok(dir) = fs::metadata(state) else { return Ok(()) };
    if geteuid() != 0 || dir.uid() == 0 {
        return Ok(());
    }
    let drop = fs::metadata(Spool::new(spool).drop()).map(|drop| drop.gid());
    let groups: Vec<u32> = drop.into_iter().filter(|gid| *gid != 0).collect();
    let owner = || format!("become the owner of {}", state.display());
    become_user(dir.uid(), dir.gid(), &groups).map_err(|error| Failure::io(owner(), &error))
}
