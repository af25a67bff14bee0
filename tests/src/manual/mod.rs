//! The manual as the tests read it: the programs' own help, the man pages as Markdown, what shells complete, and
//! commands in texts. Everything is taken from the built programs and the files as they are now, so a new option or
//! key is missed by nobody.

pub mod commands;
pub mod help;
pub mod page;
pub mod shell;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that have a man page in section 8 and completions.
pub const PROGRAMS: [&str; 3] = ["bastion", "tunnelwatch", "linkprobe"];

/// The top of the sources.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Reads a file of the sources.
///
/// # Panics
///
/// When it cannot.
#[must_use]
pub fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether all of these programs are there. Where one is not, the test is left out, and says so; in CI, where all are
/// installed, it fails.
///
/// # Panics
///
/// In CI, when one is missing.
#[must_use]
pub fn has(tools: &[&str], what: &str) -> bool {
    let there = |tool: &&&str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).output();
        !found.is_ok_and(|found| found.status.success())
    };
    let missing: Vec<_> = tools.iter().filter(there).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{missing:?} missing: {what}");
    eprintln!("SKIPPED: {what}: {missing:?} missing; ./dev test installs what has them");
    false
}

/// All files below a directory of the sources whose names end so.
///
/// # Panics
///
/// When it cannot be read.
#[must_use]
pub fn files(dir: &str, end: &str) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![root().join(dir)]);
    while let Some(dir) = todo.pop() {
        let list = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for entry in list {
            let path = entry.expect("a directory can be read").path();
            if path.is_dir() {
                todo.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
