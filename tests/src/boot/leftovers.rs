//! What an installation changes on a machine, and what is left of it in the end: all files, before and after.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::Machine;

/// Longest time to read all files of a machine.
const READ: Duration = Duration::from_secs(120);

/// All files of the root file system: by path, the type, mode, owner, target of a link, and a
/// hash of the content.
const LIST: &str = r#"
    find / -xdev -printf '%p\t%y %m %U:%G %l\n'
    find / -xdev -type f -print0 | xargs -0 sha256sum | sed -E 's/^\\?([0-9a-f]+)  (.*)/\2\t\1/'
"#;

/// What a machine has on its disk.
#[derive(Debug)]
pub struct Files(BTreeMap<String, String>);

impl Files {
    /// All files as they are now.
    ///
    /// # Panics
    ///
    /// When they cannot be read.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        // A file may go between the listing and the reading of it: that is one of the running system's.
        let listed = machine.run_with(READ, &["bash", "-c", LIST], b"").text();
        let mut files = BTreeMap::<String, String>::new();
        for (path, what) in listed.lines().filter_map(|line| line.split_once('\t')) {
            let all = files.entry(path.to_owned()).or_default();
            *all = format!("{all} {what}");
        }
        assert!(files.contains_key("/usr/bin/dpkg"), "these are not all files: {listed}");
        Self(files)
    }

    /// Paths that are there now and were not, that have changed, and that are missing, with how, but those
    /// for which `expected` has a reason.
    #[must_use]
    pub fn changes_since(&self, before: &Self, expected: impl Fn(&str) -> bool) -> Vec<String> {
        let none = String::new();
        let paths =
            before.0.keys().chain(self.0.keys().filter(|path| !before.0.contains_key(*path)));
        let mut changes = Vec::new();
        for path in paths {
            let (old, new) =
                (before.0.get(path).unwrap_or(&none), self.0.get(path).unwrap_or(&none));
            if old != new && !expected(path) {
                changes.push(format!("{path}: {old:?} -> {new:?}"));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_changed_or_missing_is_told_unless_it_is_expected() {
        let files = |list: &[(&str, &str)]| {
            Files(list.iter().map(|(path, what)| ((*path).into(), (*what).into())).collect())
        };
        let before = files(&[("/a", "f 644"), ("/b", "f 644"), ("/c", "f 644"), ("/log", "f 1")]);
        let after = files(&[("/a", "f 644"), ("/b", "f 600"), ("/d", "d 755"), ("/log", "f 2")]);
        assert_eq!(
            after.changes_since(&before, |path| path == "/log"),
            ["/b: \"f 644\" -> \"f 600\"", "/c: \"f 644\" -> \"\"", "/d: \"\" -> \"d 755\""]
        );
    }
}
