//! Who writes the files: whoever owns the state directory, also when root runs a command by hand. Files of
//! root's would keep the hourly check, which is not root, from what is its own.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use notifier::exit::Failure;
use notifier::ffi::{become_user, geteuid};
use notifier::spool::Spool;

/// Sees to it that there is a state directory, and that its owner is who goes on from here.
///
/// # Errors
///
/// When there is none and it cannot be made, or the system does not let us.
pub fn become_owner(state: &Path, spool: &Path) -> Result<(), Failure> {
    let failed = |error: &io::Error| Failure::io(state.display(), error);
    fs::create_dir_all(state).map_err(|error| failed(&error))?;
    let meta = fs::metadata(state).map_err(|error| failed(&error))?;
    if geteuid() != 0 || meta.uid() == 0 {
        return Ok(());
    }
    // Alerts are handed in by members of the group that owns the drop directory.
    let drop = fs::metadata(Spool::new(spool).drop()).map(|drop| drop.gid());
    // Never root's, where the directory is wrong.
    let groups: Vec<u32> = drop.into_iter().filter(|gid| *gid != 0).collect();
    become_user(meta.uid(), meta.gid(), &groups).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_made_where_there_is_none() {
        let dir = std::env::temp_dir().join(format!("owner-{}", std::process::id()));
        become_owner(&dir.join("a/b"), Path::new("/nonexistent")).unwrap();
        assert!(dir.join("a/b").is_dir());
        fs::write(dir.join("file"), "").unwrap();
        assert!(become_owner(&dir.join("file/b"), Path::new("/nonexistent")).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
