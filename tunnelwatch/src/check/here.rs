//! What is to be seen of a tunnel on this side, without asking anybody.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use notifier::ffi;
use notifier::spool::owner;

use crate::config::Tunnel;
use crate::keys;
use crate::proof::{self, run};
use crate::ssh;

/// How long a program may take.
const MOST: Duration = Duration::from_secs(10);

/// Checks this side; answers the public key as well, where all that is needed to ask the jump host is
/// there.
pub(super) fn check(tunnel: &Tunnel) -> (Vec<String>, Option<String>) {
    let mut findings = Vec::new();
    findings.extend(check_program(&tunnel.ssh, "install openssh-client, or mend ssh"));
    let public = match check_identity(tunnel) {
        Ok(public) => Some(public),
        Err(finding) => {
            findings.push(finding);
            None
        }
    };
    findings.extend(check_known_hosts(tunnel));
    let can_ask = findings.is_empty();
    if !proof::answers(tunnel.target, proof::MOST_HERE) {
        let target = tunnel.target;
        findings.push(format!(
            "nothing answers at {target} as sshd does, so the tunnel leads nowhere: systemctl status ssh, or \
             mend target"
        ));
    }
    (findings, public.filter(|_| can_ask))
}

/// Whether `program` is one; `fix` is what to do where it is not.
pub(super) fn check_program(program: &Path, fix: &str) -> Option<String> {
    let file = program.display();
    match fs::metadata(program) {
        Ok(meta) if !meta.is_file() => Some(format!("{file}: is no program; {fix}")),
        Ok(meta) if meta.mode() & 0o111 == 0 => {
            Some(format!("{file}: may not be executed; run: chmod 0755 {file}"))
        }
        Ok(_) => None,
        Err(error) => Some(format!("{file}: {error}; {fix}")),
    }
}

/// The public key, or what is wrong with the private one.
fn check_identity(tunnel: &Tunnel) -> Result<String, String> {
    let path = &tunnel.identity;
    let file = path.display();
    let enroll = format!("run: sudo -u {} tunnelwatch enroll {}", owner::TUNNELWATCH, tunnel.name);
    let meta = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{file}: is missing; {enroll}"),
        _ => not_readable(path, &error),
    })?;
    let readable = File::open(path).is_ok();
    if let Some(wrong) = judge_identity(meta.mode(), readable) {
        return Err(format!("{file}: {}", wrong.text(path)));
    }
    let mut command = ssh::command(Path::new(keys::KEYGEN));
    command.args(["-y", "-P", "", "-f"]).arg(path);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let said = run(&mut command, Instant::now() + MOST).unwrap_or_default();
    let key = said.lines().find(|line| line.contains(" AAAA"));
    key.map(|key| key.trim().to_owned()).ok_or_else(|| {
        format!(
            "{file}: is no private key, or has a passphrase, which nobody is there to type; move it away \
             and {enroll}"
        )
    })
}

/// What is wrong with the file of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// Who keeps the tunnel may not read it.
    NotReadable,
    /// Others may do something with it, given its mode: ssh does not take such a key.
    Open(u32),
}

impl Wrong {
    fn text(self, path: &Path) -> String {
        let file = path.display();
        match self {
            Self::NotReadable => {
                let user = keeper();
                format!("{user} may not read it; run: chown {user} {file} && chmod 600 {file}")
            }
            Self::Open(mode) => {
                format!(
                    "mode {mode:04o}: others may read it, so ssh does not take it; run: chmod 600 {file}"
                )
            }
        }
    }
}

fn judge_identity(mode: u32, readable: bool) -> Option<Wrong> {
    let mode = mode & 0o7777;
    match (readable, mode & 0o077) {
        (false, _) => Some(Wrong::NotReadable),
        (true, 0) => None,
        (true, _) => Some(Wrong::Open(mode)),
    }
}

/// What the system does not let the keeper of the tunnel see, most often as the directory is not his; or who asks is
/// somebody else, whom it is none of his business.
fn not_readable(path: &Path, error: &io::Error) -> String {
    let (file, dir) = (path.display(), path.parent().unwrap_or(path).display());
    match keeper() {
        keeper if keeper == owner::TUNNELWATCH => {
            format!("{file}: {error}; run: chown -R {keeper} {dir}")
        }
        other => format!("{file}: {error}, as {other}; run: sudo tunnelwatch check"),
    }
}

/// The name of who asks, which is the keeper of the tunnel where root has asked.
fn keeper() -> String {
    let uid = ffi::geteuid();
    owner::name_of(uid).unwrap_or_else(|| uid.to_string())
}

fn check_known_hosts(tunnel: &Tunnel) -> Option<String> {
    // Then somebody else says whom to believe.
    if tunnel.has_option(&["knownhostscommand", "globalknownhostsfile"]) {
        return None;
    }
    let path = &tunnel.known_hosts;
    let file = path.display();
    let enroll = format!("run: sudo -u {} tunnelwatch enroll {}", owner::TUNNELWATCH, tunnel.name);
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("{file}: is missing, so no jump host is believed; {enroll}"))
        }
        Err(error) => Some(not_readable(path, &error)),
        Ok(_) if keys::is_known(tunnel, Instant::now() + MOST) => None,
        Ok(_) => {
            let name = keys::known_as(tunnel);
            Some(format!("{file}: has no key of {name}, so it is not believed; {enroll}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_its_user_alone_and_for_him() {
        let table = [
            (0o100_600, true, None),
            (0o100_400, true, None),
            (0o100_640, true, Some(Wrong::Open(0o640))),
            (0o100_604, true, Some(Wrong::Open(0o604))),
            (0o100_660, true, Some(Wrong::Open(0o660))),
            (0o100_600, false, Some(Wrong::NotReadable)),
            (0o100_644, false, Some(Wrong::NotReadable)),
        ];
        for (mode, readable, want) in table {
            assert_eq!(judge_identity(mode, readable), want, "{mode:o} {readable}");
        }
        let text = Wrong::Open(0o644).text(Path::new("/x/id"));
        assert!(text.contains("mode 0644") && text.ends_with("run: chmod 600 /x/id"), "{text}");
    }

    #[test]
    fn a_program_is_there_and_may_be_executed() {
        assert_eq!(check_program(Path::new("/bin/sh"), ""), None);
        for (path, want) in [
            ("/no/such/ssh", "No such file or directory (os error 2); mend it"),
            ("/etc/passwd", "chmod 0755 /etc/passwd"),
            ("/tmp", "is no program"),
        ] {
            let found = check_program(Path::new(path), "mend it").unwrap_or_default();
            assert!(found.contains(want), "{path}: {found}");
        }
    }
}
