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
        (None, 22) => host,
        (None, port) => format!("[{host}]:{port}"),
    }
}

/// The name that ssh is told to look for, where the jump host has another address each time: [`known_as`], or what is
/// in known_hosts without its port, which ssh does not look for by itself when it is told a name.
#[must_use]
pub fn alias(tunnel: &Tunnel, deadline: Instant) -> String {
    let known_as = known_as(tunnel);
    let other = without_port(&known_as)
        .filter(|name| !is_there(&known_as, tunnel, deadline) && is_there(name, tunnel, deadline));
    other.map(str::to_owned).unwrap_or(known_as)
}

/// Whether there is a key of the jump host in known_hosts, right or wrong. Where there is none with its port, ssh takes
/// one without (`check_host_key` in sshconnect.c).
#[must_use]
pub fn is_known(tunnel: &Tunnel, deadline: Instant) -> bool {
    let known_as = known_as(tunnel);
    let names = [Some(known_as.as_str()), without_port(&known_as)];
    names.into_iter().flatten().any(|name| is_there(name, tunnel, deadline))
}

fn without_port(name: &str) -> Option<&str> {
    Some(name.strip_prefix('[')?.split_once("]:")?.0)
}

fn is_there(name: &str, tunnel: &Tunnel, deadline: Instant) -> bool {
    let mut command = ssh::command(Path::new(KEYGEN));
    command.args(["-F", name, "-f"]).arg(&tunnel.known_hosts);
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

    #[test]
    fn a_key_without_the_port_is_one_of_the_jump_host_on_another_port() {
        const KEY: &str =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIsVZ0ynM1A5O4EfiJ4qv2Ap0jtSFeDYIiV+2cDq8mYQ";
        for (line, is_known_there) in [
            ("[203.0.113.50]:22022", true),
            ("203.0.113.50", true),
            ("[203.0.113.50]:22", false),
            ("203.0.113.5", false),
        ] {
            let want = if line == "203.0.113.50" { line } else { "[203.0.113.50]:22022" };
            let file = tempfile(&format!("{line} {KEY}\n"));
            let text = format!(
                "[[tunnel]]\nname = \"a\"\njump = \"t@203.0.113.50\"\nport = 22022\nremote-ports = [2222]\n\
                 known-hosts = {file:?}\n"
            );
            let tunnel = &Settings::parse(&text).unwrap().tunnels[0];
            let deadline = Instant::now() + std::time::Duration::from_secs(20);
            assert_eq!(is_known(tunnel, deadline), is_known_there, "{line}");
            // Under whatever name it is there.
            assert_eq!(alias(tunnel, deadline), want, "{line}");
            std::fs::remove_file(file).unwrap();
        }
    }

    fn tempfile(text: &str) -> std::path::PathBuf {
        let random = notifier::ffi::random_u32().unwrap();
        let path = std::env::temp_dir().join(format!("known-hosts-{random:08x}"));
        std::fs::write(&path, text).unwrap();
        path
    }
}
