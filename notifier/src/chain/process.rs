//! What /proc says of a process to anybody (proc(5)).

use std::fs;

/// A process, of what its `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its parent.
    pub parent: u32,
    /// When it was started, in ticks since the boot.
    pub start_ticks: u64,
}

impl Process {
    /// `None` when there is no such process, or it is hidden from this user (`hidepid` in proc(5)).
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields 4 and 22 of proc_pid_stat(5). The second is the program's name, which may hold anything.
    #[must_use]
    pub fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(end..)?).ok()?;
        let mut words = rest.split_ascii_whitespace();
        // The first word is the parenthesis, the second the state, field 3.
        let parent = words.nth(2)?.parse().ok()?;
        Some(Self { parent, start_ticks: words.nth(17)?.parse().ok()? })
    }
}

/// Longest line of ancestors that is followed. A shell in a shell in a session has five.
#[cfg(feature = "daemon")]
const DEEPEST: usize = 64;

/// A process and those that it descends from, itself first; process 1, of which all do, is left out.
#[cfg(feature = "daemon")]
#[must_use]
pub fn line_of(pid: u32) -> Vec<u32> {
    let mut line = Vec::new();
    let mut next = pid;
    while next > 1 && line.len() < DEEPEST && !line.contains(&next) {
        line.push(next);
        next = Process::read(next).map_or(0, |process| process.parent);
    }
    line
}

/// The users that a process runs as (proc_pid_status(5)): real, effective, saved, and that of its files.
#[cfg(feature = "daemon")]
#[must_use]
pub fn users_of(pid: u32) -> Option<[u32; 4]> {
    parse_users(&fs::read(format!("/proc/{pid}/status")).ok()?)
}

#[cfg(feature = "daemon")]
fn parse_users(status: &[u8]) -> Option<[u32; 4]> {
    let status = String::from_utf8_lossy(status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut words = line.split_ascii_whitespace().map(|word| word.parse().ok());
    let mut next = || words.next().flatten();
    Some([next()?, next()?, next()?, next()?])
}

/// All processes that this user may see.
#[cfg(feature = "daemon")]
pub fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Where a process stands in the unified hierarchy of control groups (cgroups(7)).
#[cfg(feature = "daemon")]
#[must_use]
pub fn group_of(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

#[cfg(all(test, feature = "daemon"))]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_what_it_likes() {
        let rest = b" S 3 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 990 1000 10";
        for name in [&b"sshd"[..], b"a ) b", b") S 1 1", b"\xff"] {
            let stat = [b"17 (", name, b")", rest].concat();
            let want = Some(Process { parent: 3, start_ticks: 990 });
            assert_eq!(Process::parse(&stat), want, "{}", String::from_utf8_lossy(name));
        }
        for broken in [&b""[..], b"17 (a", b"17 (a) S 3", b"17 (a) S x 17"] {
            assert_eq!(Process::parse(broken), None);
        }
    }

    #[test]
    fn the_system_says_it_of_this_process() {
        let own = Process::read(std::process::id()).unwrap();
        assert_eq!(Process::read(own.parent).is_some(), own.parent != 0);
        assert!(own.start_ticks > 0);
        let line = line_of(std::process::id());
        assert!(
            line.starts_with(&[std::process::id(), own.parent]) && !line.contains(&1),
            "{line:?}"
        );
        assert_eq!(users_of(std::process::id()).unwrap()[1], crate::ffi::geteuid());
        assert!(all().any(|pid| pid == std::process::id()));
        assert_eq!(Process::read(u32::MAX), None);
    }

    #[test]
    fn users_are_four() {
        let status = b"Name:\tUid: 1\nUid:\t0\t2003\t1\t2\nGid:\t5\t5\t5\t5\n";
        assert_eq!(parse_users(status), Some([0, 2003, 1, 2]));
        for broken in [&b""[..], b"Uid:\t0\t1\t2\n", b"Uid:\t0\t-1\t2\t3\n"] {
            assert_eq!(parse_users(broken), None);
        }
    }
}
