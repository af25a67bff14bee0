//! A command that starts or stops a VPN: with a deadline, and ended with all that it has started when
//! it does not end. What it leaves behind when it ends in time is the VPN.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use notifier::ffi::wait_readable;

use crate::ssh::Session;

/// How often it is seen whether one has ended that has closed its mouth.
const STEP: Duration = Duration::from_millis(200);

/// A command that runs, or has left something behind that may still say something.
#[derive(Debug)]
pub struct Running {
    program: String,
    session: Session,
    most: Duration,
    until: Instant,
}

impl Running {
    /// Starts it. It may take `most`.
    ///
    /// # Errors
    ///
    /// Why it cannot be run, in words.
    pub fn start(words: &[String], most: Duration) -> Result<Self, String> {
        let (program, arguments) = words.split_first().ok_or("there is no command")?;
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let session = Session::start(Path::new(program), &arguments)
            .map_err(|error| format!("{program}: {error}"))?;
        Ok(Self { program: program.clone(), session, most, until: Instant::now() + most })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.session.pid()
    }

    /// What becomes readable when it says something or ends; nothing when it has closed its mouth.
    #[must_use]
    pub fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.session.wakes()
    }

    /// How long to wait for it at most.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        if self.wakes().is_some() { left } else { left.min(STEP) }
    }

    /// How it has ended, once it has; in words, if not well. One that takes too long is ended.
    pub fn ended(&mut self) -> Option<Result<(), String>> {
        if !self.session.listen() {
            if Instant::now() < self.until {
                return None;
            }
            self.session.stop();
            let Self { program, most, .. } = self;
            return Some(Err(format!("{program} took more than {most:?} and was ended")));
        }
        self.session.drain();
        let status = self.session.status()?;
        if status.success() {
            return Some(Ok(()));
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with {code}"),
            (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
        };
        let said = self.session.lines(0).last().map(|line| format!(": {line}"));
        Some(Err(format!("{} {how}{}", self.program, said.unwrap_or_default())))
    }

    /// Takes in what the VPN says that it has left behind, which would be ended by a pipe that nobody
    /// reads; whether there may be more.
    pub fn hear_rest(&mut self) -> bool {
        self.session.listen();
        self.session.wakes().is_some()
    }
}

/// Runs one to its end.
///
/// # Errors
///
/// Why not, in words.
pub fn run(words: &[String], most: Duration) -> Result<(), String> {
    let mut running = Running::start(words, most)?;
    loop {
        if let Some(end) = running.ended() {
            return end;
        }
        let fds: Vec<BorrowedFd<'_>> = running.wakes().into_iter().collect();
        if fds.is_empty() || wait_readable(&fds, running.wait()).is_err() {
            std::thread::sleep(STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, most: Duration) -> Result<(), String> {
        run(&["/bin/sh", "-c", script].map(str::to_owned), most)
    }

    #[test]
    fn what_does_not_end_well_says_how() {
        let most = Duration::from_secs(20);
        assert_eq!(sh("exit 0", most), Ok(()));
        assert_eq!(sh("exec 2>&-; sleep 0.3", most), Ok(()));
        for (script, want) in [
            ("echo one >&2; echo Options error >&2; exit 3", "/bin/sh ended with 3: Options error"),
            ("kill -9 $$", "/bin/sh was ended by signal 9"),
        ] {
            assert_eq!(sh(script, most), Err(want.to_owned()));
        }
        let missing = run(&["/nonexistent/vpn".to_owned()], most).unwrap_err();
        assert_eq!(missing, "/nonexistent/vpn: No such file or directory (os error 2)");
        let no_program = run(&["/etc/passwd".to_owned()], most).unwrap_err();
        assert_eq!(no_program, "/etc/passwd: Permission denied (os error 13)");
    }

    #[test]
    fn what_hangs_is_ended_with_all_that_it_has_started() {
        let marker = std::env::temp_dir().join(format!("tunnelwatch-hang-{}", std::process::id()));
        // Its child hears no SIGTERM and is still there when it has gone itself.
        let script = format!(
            "sh -c 'trap \"\" TERM; echo $$ >{0}; while :; do sleep 1; done' & wait",
            marker.display()
        );
        let begun = Instant::now();
        let end = sh(&script, Duration::from_secs(1));
        assert_eq!(end, Err("/bin/sh took more than 1s and was ended".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let child = std::fs::read_to_string(&marker).unwrap();
        let _ = std::fs::remove_file(&marker);
        let stat = format!("/proc/{}/stat", child.trim());
        let gone = || !std::fs::read_to_string(&stat).is_ok_and(|line| !line.contains(") Z "));
        let until = Instant::now() + Duration::from_secs(5);
        while !gone() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(gone(), "{stat} is left");
    }

    #[test]
    fn what_it_leaves_behind_lives_and_may_talk() {
        let words = ["/bin/sh", "-c", "(while sleep 0.05; do echo word >&2; done) & echo $! >&2"];
        let mut running =
            Running::start(&words.map(str::to_owned), Duration::from_secs(20)).unwrap();
        while running.ended().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let before = running.session.said();
        let pid: libc::pid_t = running.session.lines(0).next().unwrap().parse().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while running.session.said() < before + 3 && Instant::now() < until {
            assert!(running.hear_rest());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(running.session.said() >= before + 3);
        drop(running);
        let _ = crate::ffi::signal(pid, libc::SIGKILL);
    }
}
