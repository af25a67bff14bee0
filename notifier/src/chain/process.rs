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

#[cfg(test)]
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
        assert_eq!(Process::read(u32::MAX), None);
    }
}
