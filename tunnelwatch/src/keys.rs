//! Host keys as ssh-keyscan(1) and ssh-keygen(1) tell them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::proof::run;
use crate::ssh;

/// How long both programs may take.
const MOST: Duration = Duration::from_secs(15);

/// What `host` shows on `port`, as lines of known_hosts; `None` when it shows nothing in time.
#[must_use]
pub fn scan(keyscan: &Path, host: &str, port: u16, deadline: Instant) -> Option<String> {
    let mut command = ssh::command(keyscan);
    command.args(["-T", "5", "-p", &port.to_string(), "--", host]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let output = run(&mut command, deadline)?;
    let keys: String = output
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    (!keys.is_empty()).then_some(keys)
}

/// Fingerprints of lines of known_hosts: `SHA256:` and 43 characters each.
#[must_use]
pub fn fingerprints_of(lines: &str, deadline: Instant) -> Vec<String> {
    let Ok(file) = notifier::ffi::memory_file(c"keys", lines.as_bytes()) else { return Vec::new() };
    let mut command = ssh::command(Path::new("/usr/bin/ssh-keygen"));
    command.args(["-l", "-f", "-"]).stdin(file).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = run(&mut command, deadline).unwrap_or_default();
    let words = output.lines().filter_map(|line| line.split(' ').nth(1));
    words.filter(|word| word.starts_with("SHA256:")).map(str::to_owned).collect()
}

/// Fingerprints of what answers at an address; `None` when nothing does in time.
#[must_use]
pub fn fingerprints(at: SocketAddr) -> Option<Vec<String>> {
    let deadline = Instant::now() + MOST;
    let host = at.ip().to_string();
    let lines = scan(Path::new("/usr/bin/ssh-keyscan"), &host, at.port(), deadline)?;
    let found = fingerprints_of(&lines, deadline);
    (!found.is_empty()).then_some(found)
}
