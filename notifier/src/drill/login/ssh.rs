//! The login itself: through the socket by which tunnelwatch looks through its tunnel, to the jump host and back.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::others;
use crate::doctor::programs::{self, Answer};
use crate::doctor::sshd::Effective;

/// Where tunnelwatch has its sockets.
const RUN: &str = "/run/tunnelwatch";

/// Longest time for one login: over a slow line to another continent and back it takes some seconds.
const MOST: Duration = Duration::from_secs(15);

/// Time between two tries: an sshd that has had enough of an address (PerSourcePenalties) lets it in after some seconds.
const PAUSE: Duration = Duration::from_secs(2);

/// The name under which this host's own keys are known.
const ALIAS: &str = "bastion-drill";

/// A key that is made for one drill.
pub struct Key {
    /// Its private half.
    pub file: PathBuf,
    /// Its public half, as one line.
    pub public: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// Makes a key in a directory of root's alone.
///
/// # Errors
///
/// Why there is none.
pub fn make_key(dir: &Path) -> Result<Key, String> {
    let file = dir.join("key");
    let path = file.to_string_lossy();
    let said = |answer: Answer, what: &str| match answer.good() {
        Some(text) => Ok(text.to_owned()),
        None => Err(match &answer {
            Answer::Missing => "there is no ssh-keygen; apt install openssh-client".to_owned(),
            Answer::Unheard(why) => format!("{what} {why}"),
            answer => format!("{what}: {}", answer.first_words()),
        }),
    };
    let words = ["-q", "-t", "ed25519", "-N", "", "-C", ALIAS, "-f", &path];
    said(programs::ask("ssh-keygen", &words), "ssh-keygen")?;
    let public =
        fs::read_to_string(dir.join("key.pub")).map_err(|error| format!("key.pub: {error}"))?;
    // 256 SHA256:.. comment (ED25519)
    let shown = said(programs::ask("ssh-keygen", &["-l", "-f", &path]), "ssh-keygen -l")?;
    let fingerprint = shown.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Key { file, public, fingerprint })
}

/// Writes this host's own keys, as sshd says where they are: who has another is not this host.
///
/// # Errors
///
/// Why they cannot be had.
pub fn write_own_keys(sshd: &Effective<'_>, known: &Path) -> Result<(), String> {
    let public = |file: &str| fs::read_to_string(format!("{file}.pub")).ok();
    let line = |text: String| {
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        format!("{ALIAS} {}\n", words.join(" "))
    };
    let lines: String = sshd.all("hostkey").filter_map(public).map(line).collect();
    if lines.is_empty() {
        return Err("the public halves of sshd's keys are not there; ssh-keygen -A".into());
    }
    fs::write(known, lines).map_err(|error| format!("{}: {error}", known.display()))
}

/// Who keeps the tunnels, by whom the directory of their sockets belongs to: ssh runs as him, as it is the jump host's
/// words that it hears.
#[must_use]
pub fn keeper() -> Option<(u32, u32)> {
    fs::metadata(RUN).ok().map(|meta| (meta.uid(), meta.gid()))
}

/// Gives the files of a directory, and the directory, to the keeper.
///
/// # Errors
///
/// What the system said.
pub fn hand_over(dir: &Path, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        chown(entry?.path(), Some(uid), Some(gid))?;
    }
    chown(dir, Some(uid), Some(gid))
}

/// Logs in through a tunnel with a key, as the keeper; the login has to say `word`.
///
/// # Errors
///
/// Why it did not come to that: text and remedy.
pub fn log_in(
    tunnel: &str,
    user: &str,
    key: &Key,
    known: &Path,
    word: &str,
    (uid, gid): (u32, u32),
) -> Result<(), (String, String)> {
    let Some(tunnelwatch) = others::find("tunnelwatch") else {
        return Err((
            "there is no tunnelwatch that keeps it".into(),
            "apt install --reinstall pam-bastion".into(),
        ));
    };
    let options = [
        "BatchMode=yes".to_owned(),
        "ControlPath=none".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=none".to_owned(),
        format!("IdentityFile={}", key.file.display()),
        "PreferredAuthentications=publickey".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        format!("UserKnownHostsFile={}", known.display()),
        format!("HostKeyAlias={ALIAS}"),
        "UpdateHostKeys=no".to_owned(),
        "ConnectTimeout=10".to_owned(),
        "ProxyUseFdpass=yes".to_owned(),
        format!("ProxyCommand={} --run-dir {RUN} through {tunnel}", tunnelwatch.display()),
    ];
    let until = Instant::now() + MOST;
    loop {
        let mut command = Command::new("/usr/bin/ssh");
        command.args(["-F", "none", "-T"]);
        for option in &options {
            command.args(["-o", option]);
        }
        command.args(["-l", user, "--", ALIAS, "true"]).uid(uid).gid(gid);
        let left = until.saturating_duration_since(Instant::now());
        let answer = programs::hear(command, left.max(Duration::from_secs(1)));
        match judge(&answer, word) {
            Went::Well => return Ok(()),
            Went::Perhaps(..) if Instant::now() + PAUSE < until => thread::sleep(PAUSE),
            Went::Perhaps(text, fix) | Went::Wrong(text, fix) => return Err((text, fix)),
        }
    }
}

/// How a try went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    Well,
    /// Not now: text and remedy.
    Perhaps(String, String),
    /// It will not go at another time either.
    Wrong(String, String),
}

fn judge(answer: &Answer, word: &str) -> Went {
    let Answer::Said { code, out, err } = answer else {
        let why = match answer {
            Answer::Unheard(why) => format!("ssh {why}"),
            _ => "there is no ssh; apt install openssh-client".to_owned(),
        };
        return Went::Wrong(why, "tunnelwatch status".into());
    };
    if *code == Some(0) && out.trim() == word {
        return Went::Well;
    }
    let has = |text: &str| err.contains(text);
    let mut lines = err.lines().map(str::trim).filter(|line| !line.is_empty());
    if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let text = "the sshd at the end of the tunnel is not this host's: somebody else has its port on the jump host, \
                    or target leads elsewhere";
        let fix = "on the jump host: ss -Htlnp; until that is known, log in through it with no password and no agent";
        return Went::Wrong(text.into(), fix.into());
    }
    if let Some(line) = err.lines().find(|line| line.starts_with("tunnelwatch: ")) {
        let line = line.trim_start_matches("tunnelwatch: ");
        let (text, fix) = line.rsplit_once("; ").unwrap_or((line, "tunnelwatch status"));
        return Went::Perhaps(text.to_owned(), fix.to_owned());
    }
    // ssh's own words, and not those that somebody else sends as the reason for his end.
    let denied = format!("@{ALIAS}: Permission denied (");
    let is_denied =
        |line: &str| line.split_once(&denied).is_some_and(|(user, _)| !user.contains(' '));
    if err.lines().any(is_denied) {
        let fix = "journalctl -t sshd -t sshd-session -n 20, which has sshd's reason";
        return Went::Wrong(
            "the way is open, and sshd did not take a key that is in the user's file".into(),
            fix.into(),
        );
    }
    if *code == Some(255) {
        let said = lines.next_back().unwrap_or("it ended and said nothing");
        return Went::Perhaps(
            format!("ssh: {said}"),
            "tunnelwatch status; tunnelwatch check".into(),
        );
    }
    let said = out.lines().map(str::trim).chain(lines).find(|line| !line.is_empty());
    let said = said.unwrap_or("nothing");
    Went::Wrong(
        format!("sshd let the key in and ran something else than its command, which said: {said}"),
        "look at ForceCommand, and at what the user's shell does".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_told_apart() {
        let said = |code, out: &str, err: &str| Answer::Said {
            code: Some(code),
            out: out.into(),
            err: err.into(),
        };
        let word = "bastion-drill-k7f3q2";
        assert_eq!(judge(&said(0, "bastion-drill-k7f3q2\n", "Warning: x\n"), word), Went::Well);
        for (answer, perhaps, want) in [
            (said(0, "bastion-drill-other\n", ""), false, "something else"),
            (said(1, "This account is currently not available.\n", ""), false, "not available"),
            (said(255, "", "Host key verification failed.\r\n"), false, "not this host's"),
            (
                said(
                    255,
                    "",
                    "No ED25519 host key is known for bastion-drill and you have requested strict checking.\n\
                            Host key verification failed.\n",
                ),
                false,
                "not this host's",
            ),
            (
                said(255, "", "alice@bastion-drill: Permission denied (publickey).\n"),
                false,
                "did not take a key",
            ),
            (
                said(
                    255,
                    "",
                    "Received disconnect from UNKNOWN port 65535:2: x@bastion-drill: Permission denied (publickey).\r\n\
                     Disconnected from UNKNOWN port 65535\r\n",
                ),
                true,
                "Disconnected from",
            ),
            (
                said(255, "", "kex_exchange_identification: Connection closed by remote host\n"),
                true,
                "closed by remote",
            ),
            (
                said(
                    255,
                    "",
                    "tunnelwatch: there is no way through home: it is down; tunnelwatch status\nssh: x\n",
                ),
                true,
                "no way through home: it is down",
            ),
            (said(255, "", ""), true, "said nothing"),
            (Answer::Unheard("did not end within 15 s".into()), false, "did not end"),
        ] {
            match judge(&answer, word) {
                Went::Perhaps(text, fix) if perhaps => {
                    assert!(text.contains(want) && !fix.is_empty(), "{text}")
                }
                Went::Wrong(text, fix) if !perhaps => {
                    assert!(text.contains(want) && !fix.is_empty(), "{text}")
                }
                other => panic!("{answer:?}: {other:?}"),
            }
        }
    }
}
