//! Programs that know an interface's name servers, where no file says them: bounded, and with nothing of
//! our environment.

use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use notifier::ffi;

use super::{Found, usable};
use crate::resolvers::parse;

/// How long one may take: it asks a daemon on this machine.
const MOST: Duration = Duration::from_secs(2);

/// Most of what it says that is read, in bytes.
const MAX_SAID: u64 = 16 * 1024;

/// Asks systemd-resolved, then NetworkManager.
pub(super) fn ask(interface: &str) -> Option<Found> {
    let resolvectl = ["dns", interface];
    let nmcli = ["-t", "-e", "no", "-f", "IP4.DNS,IP6.DNS", "device", "show", interface];
    type Parse = fn(&str) -> Vec<IpAddr>;
    let programs: [(&str, &[&str], Parse); 2] = [
        ("/usr/bin/resolvectl", &resolvectl, parse::resolvectl),
        ("/usr/bin/nmcli", &nmcli, parse::nmcli),
    ];
    programs.into_iter().find_map(|(program, words, parse)| {
        let path = Path::new("/sys/class/net").join(interface).join("ifindex");
        let index = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
        let servers = usable(&parse(&say(program, words, MOST)?), index);
        let name = program.rsplit('/').next().unwrap_or(program);
        (!servers.is_empty()).then(|| Found { servers, from: name.to_owned() })
    })
}

/// What a program says within `most`; nothing when it cannot be run. It is ended with all that it has
/// started.
fn say(program: &str, words: &[&str], most: Duration) -> Option<String> {
    let mut command = Command::new(program);
    command.args(words).env_clear().env("LC_ALL", "C").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    ffi::unblock_signals(&mut command);
    let mut child = command.spawn().ok()?;
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        let until = Instant::now() + most;
        let mut out = out.take(MAX_SAID);
        let _ = ffi::set_nonblocking(out.get_ref().as_fd());
        loop {
            match out.read_to_end(&mut said) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => break,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || ffi::wait_readable(&[out.get_ref().as_fd()], left).is_err() {
                break;
            }
        }
    }
    // It has not been reaped, so its number is still its own.
    let _ = ffi::signal_group(child.id(), libc::SIGKILL);
    let _ = child.wait();
    Some(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_heard_and_one_that_hangs_is_ended() {
        let sh = |script: &str, most| say("/bin/sh", &["-c", script], most);
        let long = Duration::from_secs(20);
        assert_eq!(sh("echo a; sleep 0.1; echo ${HOME:-b}", long), Some("a\nb\n".into()));
        assert_eq!(say("/nonexistent/program", &[], long), None);
        let begun = Instant::now();
        assert_eq!(
            sh("echo a; sleep 60 & sleep 60", Duration::from_millis(300)),
            Some("a\n".into())
        );
        assert_eq!(sh("cat /dev/zero", long).map(|said| said.len()), Some(16 * 1024));
        assert!(begun.elapsed() < long);
    }
}
