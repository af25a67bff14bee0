//! Why a tunnel does not work, from what ssh says on standard error: it ends with 255 whatever
//! the reason was. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a tunnel does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// ssh itself cannot be run.
    NoSsh,
    /// ssh does not understand what it was told: an option in `ssh-options`, or a file.
    BadOption,
    /// ssh cannot make its sockets in our run directory: no room, or no right.
    RunDir,
    /// The jump host's name has no address.
    Dns,
    /// The jump host answers, and nothing listens there.
    Refused,
    /// No answer, or no route.
    Unreachable,
    /// The jump host does not take the key.
    KeyRejected,
    /// The jump host's key is not the one in known_hosts, or none is there.
    HostKey,
    /// The jump host does not give us the port: held by another, most often our own session of
    /// before, or not permitted (`permitlisten`).
    PortBusy,
    /// The jump host does not let us look through the forward (`permitopen`), so nothing is proved.
    ProbeDenied,
    /// What the forward leads to does not answer on this side: sshd here is down.
    TargetDown,
    /// What answers behind the port is not the target's sshd.
    WrongHost,
    /// The session lives and the forward does not work.
    ForwardBroken,
    /// The other side has stopped answering.
    Silent,
    /// The session has ended.
    Closed,
}

impl Cause {
    /// Its word in the log and in `status --json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NoSsh => "no-ssh",
            Self::BadOption => "bad-option",
            Self::RunDir => "run-dir",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::KeyRejected => "key-rejected",
            Self::HostKey => "host-key",
            Self::PortBusy => "port-busy",
            Self::ProbeDenied => "probe-denied",
            Self::TargetDown => "target-down",
            Self::WrongHost => "wrong-host",
            Self::ForwardBroken => "forward-broken",
            Self::Silent => "silent",
            Self::Closed => "closed",
        }
    }

    /// The cause with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        serde_json::from_value(word.into()).ok()
    }

    /// What it is, in words for a message of one line.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NoSsh => "ssh cannot be run here",
            Self::BadOption => "ssh does not understand its settings (ssh-options)",
            Self::RunDir => "ssh cannot make its sockets in the run directory here",
            Self::Dns => "the jump host's name has no address",
            Self::Refused => "the jump host refuses connections",
            Self::Unreachable => "no answer from the jump host",
            Self::KeyRejected => "the jump host rejects the key",
            Self::HostKey => "the jump host's key is not the one in known_hosts",
            Self::PortBusy => "the jump host does not give us the port",
            Self::ProbeDenied => "the jump host does not permit the probe (permitopen)",
            Self::TargetDown => "sshd on this side does not answer",
            Self::WrongHost => "another host answers behind the port",
            Self::ForwardBroken => "the session lives, its forward does not work",
            Self::Silent => "the jump host has stopped answering",
            Self::Closed => "the session has ended",
        }
    }

    /// Whether somebody has to mend something: then it is told at once, and not after `alert-after`.
    #[must_use]
    pub fn needs_somebody(self) -> bool {
        matches!(
            self,
            Self::NoSsh
                | Self::BadOption
                | Self::RunDir
                | Self::HostKey
                | Self::ProbeDenied
                | Self::TargetDown
                | Self::WrongHost
        )
    }
}

impl Cause {
    /// Whether a network that changes may mend it: all that is between us and the jump host.
    #[must_use]
    pub fn is_of_the_line(self) -> bool {
        matches!(
            self,
            Self::Dns
                | Self::Refused
                | Self::Unreachable
                | Self::PortBusy
                | Self::ForwardBroken
                | Self::Silent
                | Self::Closed
        )
    }

    /// Whether it is found by a look through a session that is well: a new one would mend nothing.
    #[must_use]
    pub fn is_of_a_look(self) -> bool {
        matches!(self, Self::TargetDown | Self::ProbeDenied)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Texts of OpenSSH 8.4 to 10.0 (client) and of our own connector, and what they mean. The first
/// that is found counts, so what is more telling stands further up: after `Permission denied` comes
/// `Connection closed`.
const TEXTS: &[(&str, Cause)] = &[
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Cause::HostKey),
    ("Host key verification failed", Cause::HostKey),
    ("No ED25519 host key is known", Cause::HostKey),
    ("host key is known for", Cause::HostKey),
    // It shows a key that it does not have (ssherr.c).
    ("incorrect signature", Cause::HostKey),
    ("Permission denied", Cause::KeyRejected),
    ("Too many authentication failures", Cause::KeyRejected),
    ("remote port forwarding failed for listen port", Cause::PortBusy),
    ("Could not resolve hostname", Cause::Dns),
    ("cannot resolve ", Cause::Dns),
    ("Connection refused", Cause::Refused),
    ("Connection timed out", Cause::Unreachable),
    ("Operation timed out", Cause::Unreachable),
    ("No route to host", Cause::Unreachable),
    ("Network is unreachable", Cause::Unreachable),
    ("Network is down", Cause::Unreachable),
    ("No such device", Cause::Unreachable),
    ("Cannot assign requested address", Cause::Unreachable),
    ("no answer within", Cause::Unreachable),
    ("unix_listener: ", Cause::RunDir),
    ("Bad configuration option", Cause::BadOption),
    ("command-line line 0", Cause::BadOption),
    ("Bad local forwarding specification", Cause::BadOption),
    ("Bad remote forwarding specification", Cause::BadOption),
    ("Could not request local forwarding", Cause::BadOption),
    ("Timeout, server", Cause::Silent),
    ("Broken pipe", Cause::Silent),
    ("Connection reset", Cause::Closed),
    ("closed by remote host", Cause::Closed),
    ("Connection closed", Cause::Closed),
    ("kex_exchange_identification", Cause::Closed),
];

/// What a line that ssh has said means by itself; of lines that mean nothing to us, nothing.
#[must_use]
pub fn of_line(line: &str) -> Option<Cause> {
    TEXTS.iter().find(|(text, _)| line.contains(text)).map(|(_, cause)| *cause)
}

/// What ssh had to say when it ended: of all lines the most telling.
#[must_use]
pub fn of_end<'a>(lines: impl IntoIterator<Item = &'a str>) -> Cause {
    let rank = |cause: &Cause| TEXTS.iter().position(|(_, known)| known == cause);
    lines.into_iter().filter_map(of_line).min_by_key(rank).unwrap_or(Cause::Closed)
}

/// What a line says of a probe that has just failed while the session lives.
#[must_use]
pub fn of_probe(line: &str) -> Option<Cause> {
    if line.contains("administratively prohibited") {
        // sshd says so too when it has no descriptors left; of that nothing can be told from here.
        Some(Cause::ProbeDenied)
    } else if line.contains("connect_to ") && line.contains("failed") {
        Some(Cause::TargetDown)
    } else if line.contains("open failed") {
        Some(Cause::ForwardBroken)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_ssh_has_its_cause() {
        let table: &[(&[&str], Cause)] = &[
            (&["ssh: Could not resolve hostname x: Name or service not known"], Cause::Dns),
            (&["ssh: connect to host 192.0.2.1 port 22: Connection refused"], Cause::Refused),
            (&["ssh: connect to host 192.0.2.1 port 22: No route to host"], Cause::Unreachable),
            (
                &[
                    "tunnelwatch: 192.0.2.1 port 22: no answer within 10 s",
                    "Connection closed by UNKNOWN port 65535",
                ],
                Cause::Unreachable,
            ),
            (
                &["tunnel@192.0.2.1: Permission denied (publickey).", "Connection closed"],
                Cause::KeyRejected,
            ),
            (
                &[
                    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
                    "Host key verification failed.",
                ],
                Cause::HostKey,
            ),
            (
                &[
                    "No ED25519 host key is known for 192.0.2.1 and you have requested strict checking.",
                ],
                Cause::HostKey,
            ),
            (&["Error: remote port forwarding failed for listen port 2222"], Cause::PortBusy),
            (&["Timeout, server 192.0.2.1 not responding."], Cause::Silent),
            (&["client_loop: send disconnect: Broken pipe"], Cause::Silent),
            (&["Connection to 192.0.2.1 closed by remote host."], Cause::Closed),
            (&["command-line: line 0: Bad configuration option: nonsense"], Cause::BadOption),
            (
                &[
                    "unix_listener: cannot bind to path /run/tunnelwatch/a.ctl.x: No space left on device",
                    "Could not request local forwarding.",
                ],
                Cause::RunDir,
            ),
            (&["something new"], Cause::Closed),
            (&[], Cause::Closed),
        ];
        for (lines, want) in table {
            assert_eq!(of_end(lines.iter().copied()), *want, "{lines:?}");
        }
    }

    #[test]
    fn a_probe_that_failed_has_its_cause() {
        let table = [
            ("connect_to 127.0.0.1 port 22: failed.", Some(Cause::TargetDown)),
            (
                "channel 3: open failed: connect failed: Connection refused",
                Some(Cause::ForwardBroken),
            ),
            (
                "channel 2: open failed: administratively prohibited: open failed",
                Some(Cause::ProbeDenied),
            ),
            ("Warning: something else", None),
        ];
        for (line, want) in table {
            assert_eq!(of_probe(line), want, "{line}");
        }
    }
}
