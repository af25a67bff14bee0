//! The mark of a drill: by it the module knows the key of a drill's login, and calls it by [`NAME`].
//!
//! The directory is root's and nobody else may write there, so nobody but root can have a login called a drill.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::event::Login;

/// What a drill's key is called in messages and in the log.
pub const NAME: &str = "bastion drill";

/// The directory of a drill that is under way.
pub const DIR: &str = "/run/bastion-drill";

/// The file in it that holds the fingerprint of its key.
pub const FILE: &str = "mark";

/// Longest fingerprint, in bytes: OpenSSH's SHA256 has 50.
const MAX: u64 = 128;

/// Whether a drill is under way with the key of this fingerprint. Costs one file that is usually not there.
#[must_use]
pub fn is_of_drill(fingerprint: &str) -> bool {
    read(&Path::new(DIR).join(FILE)).is_some_and(|marked| marked == fingerprint)
}

/// Whether a login is that of a drill that is under way: the name alone anybody may give his key.
#[must_use]
pub fn is_login_of_drill(login: &Login) -> bool {
    let mut keys = login.auth.iter().filter_map(|factor| factor.key.as_ref());
    keys.any(|key| {
        let named = key.name.as_ref().is_some_and(|name| name.as_bytes() == NAME.as_bytes());
        named && is_of_drill(&key.fingerprint)
    })
}

/// The fingerprint in a file that is root's alone.
fn read(path: &Path) -> Option<String> {
    // Never waits, and follows nobody elsewhere.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return None;
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_plain_file_of_root_s_is_a_mark() {
        let dir = std::env::temp_dir().join(format!("notifier-mark-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("mark");
        assert_eq!(read(&path), None);
        fs::write(&path, "SHA256:x\n").unwrap();
        let own = fs::metadata(&path).unwrap().uid();
        let of_root = |text: &str| Some(text.to_owned()).filter(|_| own == 0);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&path), of_root("SHA256:x"));
        fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert_eq!(read(&path), None, "others may write it");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        if own == 0 {
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            assert_eq!(read(&path), None, "another's");
        }
        let link = dir.join("link");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "SHA256:x\n").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link), None, "a link");
        fs::write(&path, "").unwrap();
        assert_eq!(read(&path), None, "nothing");
        fs::remove_dir_all(&dir).unwrap();
    }
}
