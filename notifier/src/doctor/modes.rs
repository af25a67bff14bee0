//! Who owns what the guard stands on, and who may write there: whoever may change one of these can let himself in
//! unseen, and whoever may read a secret can send in our name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity};
use Severity::{Critical, Warning};

/// What a file is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Root's alone to write to: programs, the module, directories of settings, PAM's files.
    Trusted,
    /// The directory of the secrets.
    Secrets,
    /// A secret, which the sender's user may have.
    Secret,
}

/// Who owns a file, and what others may do.
#[derive(Debug, Clone, Copy)]
pub struct Owned {
    uid: u32,
    mode: u32,
    is_dir: bool,
}

/// What is wrong with the owner or the mode of `path`. `sender` is the uid that the sender runs as.
#[must_use]
pub fn judge(path: &Path, kind: Kind, found: Owned, sender: Option<u32>) -> Option<Finding> {
    let Owned { uid, mode, is_dir } = found;
    let name = path.display().to_string();
    let mode = mode & 0o7777;
    let told = |severity, id, text: String, fix: String| {
        Some(Finding::new(severity, id, &name, text, fix))
    };
    if uid != 0 && !(kind == Kind::Secret && Some(uid) == sender) {
        let text = format!("belongs to uid {uid}, and not to root");
        return told(Critical, "wrong-owner", text, format!("chown root {name}"));
    }
    match kind {
        Kind::Trusted if mode & 0o022 != 0 => {
            let text = format!("mode {mode:04o} lets others write to it, and so let themselves in");
            told(Critical, "writable-by-others", text, format!("chmod go-w {name}"))
        }
        Kind::Secrets if mode & 0o077 != 0 => {
            let text = format!("mode {mode:04o}: it is root's alone");
            told(Warning, "secrets-mode", text, format!("chmod 0700 {name}"))
        }
        // A group may read it: that of the sender, who is started by hand.
        Kind::Secret if !is_dir && mode & 0o027 != 0 => {
            let text = format!("mode {mode:04o} shows the secret to others");
            told(Critical, "secret-mode", text, format!("chmod 0600 {name}"))
        }
        _ => None,
    }
}

/// Looks at a path, and through a link at what it leads to. What is not there is others' to tell.
#[must_use]
pub fn look(path: &Path) -> Option<Owned> {
    let meta = fs::metadata(path).ok()?;
    Some(Owned { uid: meta.uid(), mode: meta.mode(), is_dir: meta.is_dir() })
}

/// Everything in the directory of the secrets, itself with it.
#[must_use]
pub fn secrets(dir: &Path) -> Vec<(PathBuf, Kind)> {
    let inside = fs::read_dir(dir).into_iter().flatten().flatten();
    let inside = inside.map(|entry| (entry.path(), Kind::Secret));
    std::iter::once((dir.to_owned(), Kind::Secrets)).chain(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_owner_and_mode() {
        use Kind::{Secret, Secrets, Trusted};
        let sender = Some(2901);
        let table = [
            (Trusted, 0, 0o100_644, ""),
            (Trusted, 0, 0o40_755, ""),
            (Trusted, 0, 0o100_664, "critical writable-by-others chmod go-w /x"),
            (Trusted, 0, 0o100_646, "critical writable-by-others chmod go-w /x"),
            (Trusted, 1000, 0o100_644, "critical wrong-owner chown root /x"),
            (Trusted, 2901, 0o100_644, "critical wrong-owner chown root /x"),
            (Secrets, 0, 0o40_700, ""),
            (Secrets, 0, 0o40_750, "warning secrets-mode chmod 0700 /x"),
            (Secret, 0, 0o100_600, ""),
            (Secret, 0, 0o100_400, ""),
            (Secret, 2901, 0o100_600, ""),
            (Secret, 2902, 0o100_600, "critical wrong-owner chown root /x"),
            (Secret, 0, 0o100_640, ""),
            (Secret, 0, 0o100_660, "critical secret-mode chmod 0600 /x"),
            (Secret, 0, 0o100_604, "critical secret-mode chmod 0600 /x"),
        ];
        for (kind, uid, mode, want) in table {
            let owned = Owned { uid, mode, is_dir: mode & 0o170_000 == 0o40_000 };
            let found = judge(Path::new("/x"), kind, owned, sender);
            let said = found.map(|one| format!("{} {} {}", one.severity.as_str(), one.id, one.fix));
            assert_eq!(said.unwrap_or_default(), want, "{kind:?} {uid} {mode:o}");
        }
    }
}
