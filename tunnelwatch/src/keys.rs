//! Host keys as ssh-keyscan(1) and ssh-keygen(1) tell them.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::config::Tunnel;
use crate::proof::run;
use crate::ssh;

/// The program that knows about keys.
pub const KEYGEN: &str = "/usr/bin/ssh-keygen";

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

/// The name under which ssh looks for the jump host's key.
#[must_use]
pub fn known_as(tunnel: &Tunnel) -> String {
    let host = tunnel.jump.host.to_ascii_lowercase();
    match (tunnel.option("hostkeyalias"), tunnel.jump.port) {
        (Some(alias), _) => alias.to_ascii_lowercase(),
        // Of an alias ssh takes no port.
        (None, _) if tunnel.on_demand.is_some() => host,
        (None, 22) => host,
        (None, port) => format!("[{host}]:{port}"),
    }
}

/// Whether there is a key of the jump host in known_hosts, right or wrong.
#[must_use]
pub fn is_known(tunnel: &Tunnel, deadline: Instant) -> bool {
    let mut command = ssh::command(Path::new(KEYGEN));
    command.args(["-F", &known_as(tunnel), "-f"]).arg(&tunnel.known_hosts);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    run(&mut command, deadline).is_some_and(|found| !found.trim().is_empty())
}

/// Fingerprints of lines of known_hosts: `SHA256:` and 43 characters each.
#[must_use]
pub fn fingerprints_of(lines: &str, deadline: Instant) -> Vec<String> {
    let Ok(file) = notifier::ffi::memory_file(c"keys", lines.as_bytes()) else { return Vec::new() };
    let mut command = ssh::command(Path::new(KEYGEN));
    command.args(["-l", "-f", "-"]).stdin(file).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = run(&mut command, deadline).unwrap_or_default();
    let words = output.lines().filter_map(|line| line.split(' ').nth(1));
    words.filter(|word| word.starts_with("SHA256:")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_key_is_looked_for_under_the_name_that_ssh_uses() {
        for (jump, more, want) in [
            ("t@203.0.113.50", "", "203.0.113.50"),
            ("t@Jump.example.org", "port = 22022", "[jump.example.org]:22022"),
            ("t@2001:db8::1", "", "2001:db8::1"),
            ("t@203.0.113.50", "port = 22022\nssh-options = [\"HostKeyAlias=Jump\"]", "jump"),
        ] {
            let text = format!(
                "[[tunnel]]\nname = \"a\"\njump = \"{jump}\"\nremote-ports = [2222]\n{more}\n"
            );
            assert_eq!(known_as(&Settings::parse(&text).unwrap().tunnels[0]), want);
        }
    }
}
