//! The files of a tunnel in the run directory: the sockets of its sessions, and keys for ssh to compare with.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Most bytes of a control socket's path: a socket's has 108 (unix(7)), of which ssh takes 17 for a while.
const MAX_CONTROL: usize = 90;

/// The number of the last session.
static SESSIONS: AtomicU32 = AtomicU32::new(0);

/// Numbers of sessions that there are: no helper is so slow that it would meet its own again.
const NUMBERS: u32 = 1_000;

/// Files of a tunnel in the run directory.
#[derive(Debug, Clone)]
pub struct Files {
    /// What their names begin with.
    stem: PathBuf,
    /// ssh's control socket.
    pub control: PathBuf,
    /// What is looked through.
    pub probe: PathBuf,
    /// What the home port is looked through before the session moves there.
    pub home: PathBuf,
    /// The target's own keys, as known_hosts.
    pub target_keys: PathBuf,
}

impl Files {
    /// Those of the tunnel `name`.
    #[must_use]
    pub fn new(run_dir: &Path, name: &str) -> Self {
        Self::of(run_dir.join(name), "")
    }

    fn of(stem: PathBuf, number: &str) -> Self {
        let file = |what: &str| {
            let mut path = stem.clone().into_os_string();
            path.push(format!(".{number}{what}"));
            PathBuf::from(path)
        };
        let [control, probe, home, target_keys] = ["ctl", "probe", "home", "keys"].map(file);
        Self { stem, control, probe, home, target_keys }
    }

    /// Those of a new session of the same tunnel: what still asks for something in the name of the
    /// session before does not meet this one.
    #[must_use]
    pub fn of_a_session(&self) -> Self {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        Self::of(self.stem.clone(), &format!("{number}."))
    }

    /// Why the run directory will not do, if it will not: its path leaves no room for the sockets.
    #[must_use]
    pub fn too_long(&self) -> Option<String> {
        // The longest that a session has.
        let socket = Self::of(self.stem.clone(), &format!("{}.", NUMBERS - 1)).control;
        (socket.as_os_str().len() > MAX_CONTROL).then(|| {
            let socket = socket.display();
            format!("{socket}: more than {MAX_CONTROL} bytes, too long for a socket; take another --run-dir")
        })
    }

    /// Removes what an ssh that was killed has left behind.
    pub fn remove(&self) {
        for file in [&self.control, &self.probe, &self.home] {
            let _ = std::fs::remove_file(file);
        }
    }

    /// The same of all sessions of this tunnel.
    pub fn remove_all(&self) {
        self.remove();
        let Some((dir, name)) = self.stem.parent().zip(self.stem.file_name()) else { return };
        let name = name.to_string_lossy();
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if is_of_a_session(&entry.file_name().to_string_lossy(), &name) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether a file's name is one of those that sessions of the tunnel `name` have.
fn is_of_a_session(file: &str, name: &str) -> bool {
    let rest = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let Some((number, what)) = rest.and_then(|rest| rest.split_once('.')) else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // ssh makes its control socket under a name with more behind it.
    let is_ours = ["probe", "home", "keys", "ctl"].contains(&what) || what.starts_with("ctl.");
    is_number && is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_files_of_its_own_and_all_are_removed() {
        for (file, is_ours) in [
            ("cloud.0.ctl", true),
            ("cloud.17.probe", true),
            ("cloud.999.home", true),
            ("cloud.5.keys", true),
            ("cloud.5.ctl.Xy12", true),
            ("cloud.down", false),
            ("cloud.5.down", false),
            ("cloud.5", false),
            ("cloud..ctl", false),
            ("cloud.2.5.ctl", false),
            ("cloudy.5.ctl", false),
        ] {
            assert_eq!(is_of_a_session(file, "cloud"), is_ours, "{file}");
        }
        assert!(is_of_a_session("cloud.2.5.ctl", "cloud.2"));
        let tunnel = Files::new(Path::new("/run/tunnelwatch"), "cloud");
        let [one, other] = [tunnel.of_a_session(), tunnel.of_a_session()];
        let paths = |files: &Files| [&files.control, &files.probe, &files.home].map(Clone::clone);
        for (path, theirs) in paths(&one).iter().zip(paths(&other)) {
            assert_ne!(*path, theirs);
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(is_of_a_session(&name, "cloud"), "{name}");
        }
    }

    #[test]
    fn a_run_directory_leaves_room_for_the_sockets() {
        for (length, is_too_long) in [(76, false), (77, true)] {
            let dir = format!("/{}", "d".repeat(length - 1));
            let files = Files::new(Path::new(&dir), "cloud");
            assert_eq!(files.too_long().is_some(), is_too_long, "{length}");
        }
    }
}
