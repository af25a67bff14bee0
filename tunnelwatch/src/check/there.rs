//! What the jump host makes of a tunnel, asked with its own key.
//!
//! A first connection asks for all the tunnel's ports and ends as soon as it is answered, so that it holds
//! none that the tunnel might want in that moment; those that the tunnel has are refused as
//! taken. A second looks, by the way that the proof takes, at what holds the others, and then says nothing:
//! sshd asks a silent client whether it is still there (`ClientAliveInterval`), and not the tunnel's own
//! session, which is never silent for so long.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use notifier::ffi::wait_readable;

use super::FIRST_WITHIN;
use crate::cause::{self, Cause};
use crate::config::Tunnel;
use crate::enroll::authorized_key;
use crate::proof::{self, Found, Identity};
use crate::sockets::Files;
use crate::ssh::{self, Session};
use crate::tell::{State, Way};

/// How long the jump host may take to answer.
const MOST: Duration = Duration::from_secs(30);

/// How late a question of the jump host's may come, which it asks in time.
const LATE: Duration = Duration::from_secs(2);

/// How long ssh may take to say why a look came to nothing.
const MOST_WORDS: Duration = Duration::from_millis(300);

/// Lines of ssh that are kept: with `-v` it says some 80.
const LINES: usize = 1000;

/// Asks the jump host. `run` is what `tunnelwatch run` says of the tunnel.
pub(super) fn check(
    tunnel: &Tunnel,
    public: &str,
    run: Option<&State>,
    scratch: &Path,
    own: &Path,
) -> Vec<String> {
    let words = Words { tunnel, key: authorized_key(tunnel, public) };
    let answers = match ask(tunnel, own) {
        Ok(answers) => answers,
        Err(cause) => return vec![words.of_cause(cause)],
    };
    let mut silent = match Silent::start(tunnel, scratch, own) {
        Ok(silent) => silent,
        Err(cause) => return vec![words.of_cause(cause)],
    };
    let held = run.and_then(|state| match state.way {
        Way::Ssh { ssh_pid: Some(_), port, .. } => Some(port),
        _ => None,
    });
    let mut findings = Vec::new();
    for port in &tunnel.remote_ports {
        let answer = answers.get(port).copied().unwrap_or(Answer::Taken);
        let seen = silent.look(tunnel, *port, answer == Answer::Taken && held != Some(*port), own);
        let wrong = judge(answer, held == Some(*port), seen);
        findings.extend(wrong.into_iter().map(|wrong| (wrong, *port)));
    }
    // Of what is wrong with all of them one line is enough.
    findings.dedup_by_key(|(wrong, port)| (*wrong, if wrong.is_of_one_port() { *port } else { 0 }));
    let mut findings: Vec<String> =
        findings.into_iter().map(|(wrong, port)| words.of_port(wrong, port)).collect();
    match silent.is_asked() {
        Ok(true) => {}
        Ok(false) => findings.push(words.of_silence()),
        Err(cause) => findings.push(words.of_cause(cause)),
    }
    findings
}

/// What became of the request for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It was given.
    Given,
    /// It is taken.
    Taken,
    /// It is none of those that the key may have (`permitlisten`).
    NotPermitted,
    /// The key, or its user, may have no forward at all.
    NoForwards,
}

/// What ssh says with `-v`, as OpenSSH 8.4 to 10.0 has it. sshd answers a request that is refused without
/// a reason, and tells the reason before it, for `-v` alone.
#[derive(Debug, Default)]
struct Heard {
    reason: Option<Answer>,
    answers: BTreeMap<u16, Answer>,
    lets_in: bool,
    asked: bool,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let port = |rest: &str| {
            let listen = rest.split(',').next().unwrap_or_default();
            listen.rsplit([':', ' ']).next().and_then(|port| port.parse::<u16>().ok())
        };
        if line.contains("Remote: port forwarding refused") {
            self.reason = Some(Answer::NotPermitted);
        } else if line.contains("Remote: Server has disabled port forwarding") {
            self.reason = Some(Answer::NoForwards);
        } else if let Some(port) =
            line.split_once("remote forward success for: listen ").and_then(|(_, rest)| port(rest))
        {
            self.answers.insert(port, Answer::Given);
            self.reason = None;
        } else if let Some(port) =
            line.split_once("remote forward failure for: listen ").and_then(|(_, rest)| port(rest))
        {
            self.answers.insert(port, self.reason.take().unwrap_or(Answer::Taken));
        } else if line.starts_with("Authenticated to ") {
            self.lets_in = true;
        } else if line.contains("rtype keepalive@openssh.com") {
            self.asked = true;
        }
    }
}

/// An ssh that is listened to.
struct Talk {
    session: Session,
    heard: Heard,
    /// How many lines have been heard.
    until: usize,
}

impl Talk {
    fn start(tunnel: &Tunnel, arguments: &[OsString]) -> Result<Self, Cause> {
        let session = Session::start(&tunnel.ssh, arguments).map_err(|_| Cause::NoSsh)?;
        Ok(Self { session: session.keeping(LINES), heard: Heard::default(), until: 0 })
    }

    /// Listens until `enough` has been heard: then true.
    fn listen(&mut self, most: Duration, enough: impl Fn(&Heard) -> bool) -> Result<bool, Cause> {
        let until = Instant::now() + most;
        loop {
            let ended = self.session.listen();
            if ended {
                self.session.drain();
            }
            for line in self.session.lines(self.until) {
                self.heard.hear(line);
            }
            self.until = self.session.said();
            let left = until.saturating_duration_since(Instant::now());
            if enough(&self.heard) {
                return Ok(true);
            } else if ended {
                let words = self.session.lines(0).filter(|line| !line.starts_with("debug"));
                return Err(cause::of_end(words));
            } else if left.is_zero() {
                return Ok(false);
            }
            match self.session.wakes() {
                Some(fd) if wait_readable(&[fd], left).is_ok() => {}
                // It has closed its mouth and not ended.
                _ => thread::sleep(left.min(Duration::from_millis(50))),
            }
        }
    }
}

/// `ssh -v -N` to the jump host, which says nothing by itself, with `more` behind its options.
fn arguments(tunnel: &Tunnel, more: Vec<OsString>, own: &Path) -> Vec<OsString> {
    // Of equal options the first counts, so these stand before yours.
    let first = ["-v", "-N", "-o", "ServerAliveInterval=0", "-o", "ExitOnForwardFailure=no"];
    let mut words: Vec<OsString> = first.map(OsString::from).into();
    words.extend(ssh::to_the_jump_host(tunnel, &["ControlPath=none".to_owned()], own));
    words.extend(more);
    words.extend(["--".into(), tunnel.destination().into()]);
    words
}

/// Asks for all ports, and gives them back at once.
fn ask(tunnel: &Tunnel, own: &Path) -> Result<BTreeMap<u16, Answer>, Cause> {
    let forwards = tunnel
        .remote_ports
        .iter()
        .flat_map(|port| ["-R".into(), ssh::remote(tunnel, *port).into()]);
    let mut talk = Talk::start(tunnel, &arguments(tunnel, forwards.collect(), own))?;
    let all = tunnel.remote_ports.len();
    if !talk.listen(MOST, |heard| heard.answers.len() >= all)? {
        return Err(Cause::Silent);
    }
    Ok(talk.heard.answers)
}

/// What a look at a port has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The jump host does not permit it (`permitopen`).
    Denied,
    /// The target on this side.
    Us,
    /// An sshd, of another host or one whose key could not be compared.
    AnotherSshd,
    /// Something that is no sshd.
    NoSshd,
    /// Nothing, or nothing in time.
    Nothing,
}

/// The second connection.
struct Silent {
    talk: Talk,
    files: BTreeMap<u16, Files>,
}

impl Silent {
    fn start(tunnel: &Tunnel, scratch: &Path, own: &Path) -> Result<Self, Cause> {
        let named = |port: &u16| (*port, Files::new(scratch, &format!("{}-{port}", tunnel.name)));
        let files: BTreeMap<u16, Files> = tunnel.remote_ports.iter().map(named).collect();
        let looks = files.iter().flat_map(|(port, files)| ["-L".into(), ssh::local(*port, files)]);
        let mut talk = Talk::start(tunnel, &arguments(tunnel, looks.collect(), own))?;
        let there = |heard: &Heard| heard.lets_in && files.values().all(|file| file.probe.exists());
        if !talk.listen(MOST, there)? {
            return Err(Cause::Silent);
        }
        Ok(Self { talk, files })
    }

    /// Looks at what is behind a port, and whose it is if `whose`.
    fn look(&mut self, tunnel: &Tunnel, port: u16, whose: bool, own: &Path) -> Seen {
        let Some(files) = self.files.get(&port) else { return Seen::Nothing };
        let before = self.talk.session.said();
        let found = proof::once(&files.probe);
        match found {
            Some(Found::Banner(_)) if !whose => Seen::Us,
            Some(Found::Banner(_)) => match proof::identify(tunnel, files, own) {
                Identity::Same => Seen::Us,
                Identity::Other | Identity::Unknown => Seen::AnotherSshd,
            },
            Some(Found::Other) => Seen::NoSshd,
            Some(Found::Nothing | Found::Silence) | None => self.why_nothing(before),
        }
    }

    fn why_nothing(&mut self, before: usize) -> Seen {
        let until = Instant::now() + MOST_WORDS;
        while Instant::now() < until {
            self.talk.session.listen();
            if let Some(cause) = self.talk.session.lines(before).find_map(cause::of_probe) {
                return if cause == Cause::ProbeDenied { Seen::Denied } else { Seen::Nothing };
            }
            let left = until.saturating_duration_since(Instant::now());
            let fds: Vec<_> = self.talk.session.wakes().into_iter().collect();
            let _ = wait_readable(&fds, left);
        }
        Seen::Nothing
    }

    /// Whether the jump host asks in time if somebody is still there.
    fn is_asked(&mut self) -> Result<bool, Cause> {
        self.talk.listen(FIRST_WITHIN + LATE, |heard| heard.asked)
    }
}

/// What is wrong with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// The key, or its user, may have no forward.
    NoForwards,
    /// `permitlisten` is missing.
    NotPermitted,
    /// `permitopen` is missing.
    NoLook,
    /// Another forward to this host has it.
    HeldByAnother,
    /// Another host has it.
    AnotherHost,
    /// A program that is no sshd has it.
    NoSshd,
    /// What has it does not answer.
    Stale,
}

impl Wrong {
    fn is_of_one_port(self) -> bool {
        self != Self::NoForwards
    }
}

/// What is wrong with a port, by the answer to a request for it, whether our own session has it, and what is
/// behind it.
fn judge(answer: Answer, ours: bool, seen: Seen) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    match (answer, seen) {
        (Answer::NoForwards, _) => return vec![Wrong::NoForwards],
        (Answer::NotPermitted, _) => wrong.push(Wrong::NotPermitted),
        // What our own session has is looked at by itself.
        (Answer::Taken, _) if ours => {}
        (Answer::Given, _) | (Answer::Taken, Seen::Denied) => {}
        (Answer::Taken, Seen::Us) => wrong.push(Wrong::HeldByAnother),
        (Answer::Taken, Seen::AnotherSshd) => wrong.push(Wrong::AnotherHost),
        (Answer::Taken, Seen::NoSshd) => wrong.push(Wrong::NoSshd),
        (Answer::Taken, Seen::Nothing) => wrong.push(Wrong::Stale),
    }
    if seen == Seen::Denied {
        wrong.push(Wrong::NoLook);
    }
    wrong
}

/// What it is in words, and what to do.
struct Words<'a> {
    tunnel: &'a Tunnel,
    /// The line that belongs beside the key.
    key: String,
}

impl Words<'_> {
    fn the_line(&self) -> String {
        let user = &self.tunnel.jump.user;
        format!("the line in ~{user}/.ssh/authorized_keys there has to be: {}", self.key)
    }

    fn of_cause(&self, cause: Cause) -> String {
        let Tunnel { jump, known_hosts, identity, .. } = self.tunnel;
        match cause {
            Cause::KeyRejected => format!(
                "{jump} rejects the key {}; {} (an option that its sshd does not know makes it useless, \
                 a file that others may write as well)",
                identity.display(),
                self.the_line()
            ),
            Cause::HostKey => format!(
                "{jump} shows another key than the one in {}: somebody else may answer there; find out why, \
                 before you remove the old line and run tunnelwatch enroll {}",
                known_hosts.display(),
                self.tunnel.name
            ),
            Cause::BadOption => format!("{cause}; mend it"),
            cause => format!("{jump} could not be asked: {cause}; only what is here was looked at"),
        }
    }

    fn of_port(&self, wrong: Wrong, port: u16) -> String {
        let Tunnel { jump, .. } = self.tunnel;
        let user = &jump.user;
        let who = format!("on the jump host, as root: ss -tlnp 'sport = :{port}'");
        match wrong {
            Wrong::NoForwards => format!(
                "{jump} permits no forward; its sshd_config has to say AllowTcpForwarding yes for {user}, \
                 and {}",
                self.the_line()
            ),
            Wrong::NotPermitted => {
                let option = format!("permitlisten=\"127.0.0.1:{port}\"");
                format!(
                    "{jump} does not permit port {port}: {option} is missing; {}",
                    self.the_line()
                )
            }
            Wrong::NoLook => {
                let option = format!("permitopen=\"127.0.0.1:{port}\"");
                format!(
                    "{jump} does not permit the look through port {port}, so nothing is proved: {option} is \
                     missing; {}",
                    self.the_line()
                )
            }
            Wrong::HeldByAnother => format!(
                "port {port} of {jump} is held by another forward to this host, autossh perhaps; end it here, \
                 or see whose it is {who}"
            ),
            Wrong::AnotherHost => {
                format!(
                    "port {port} of {jump} is held by another host's sshd; take another port, or see whose \
                     it is {who}"
                )
            }
            Wrong::NoSshd => format!(
                "port {port} of {jump} is held by a program that is no sshd; take another port, or see which \
                 it is {who}"
            ),
            Wrong::Stale => format!(
                "port {port} of {jump} is held by what does not answer: a session whose client is gone, or \
                 another program on 127.0.0.1; see {who}"
            ),
        }
    }

    fn of_silence(&self) -> String {
        let jump = &self.tunnel.jump;
        format!(
            "{jump} does not ask within {} s whether anybody is still there, so a port stays held when the \
             line is gone; in its sshd_config: Match User {}, ClientAliveInterval 15, ClientAliveCountMax 3",
            FIRST_WITHIN.as_secs(),
            jump.user
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_port_is_not_given_is_said_before_it() {
        let lines = [
            "debug1: Remote: /home/t/.ssh/authorized_keys:1: key options: command permitlisten port-forwarding",
            "debug1: remote forward success for: listen 127.0.0.1:2222, connect 127.0.0.1:22",
            "debug1: Remote: port forwarding refused",
            "debug1: remote forward failure for: listen 127.0.0.1:2223, connect 127.0.0.1:22",
            "Warning: remote port forwarding failed for listen port 2223",
            "debug1: remote forward failure for: listen 127.0.0.1:2224, connect [::1]:22",
            "debug1: Remote: Server has disabled port forwarding.",
            "debug1: remote forward failure for: listen 2225, connect 127.0.0.1:22",
            "debug1: remote forward failure for: listen 99999, connect 127.0.0.1:22",
        ];
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.hear(line));
        let want = [
            (2222, Answer::Given),
            (2223, Answer::NotPermitted),
            (2224, Answer::Taken),
            (2225, Answer::NoForwards),
        ];
        assert_eq!(heard.answers, BTreeMap::from(want));
        assert!(!heard.lets_in && !heard.asked);
        heard.hear("Authenticated to 127.0.0.1 ([127.0.0.1]:2200) using \"publickey\".");
        heard.hear(
            "debug1: client_input_global_request: rtype hostkeys-00@openssh.com want_reply 0",
        );
        assert!(heard.lets_in && !heard.asked);
        heard.hear("debug1: client_input_global_request: rtype keepalive@openssh.com want_reply 1");
        assert!(heard.asked);
    }

    #[test]
    fn a_port_is_judged_by_the_answer_and_by_what_is_behind_it() {
        use {Answer::*, Seen::*};
        let table = [
            (Given, false, Nothing, vec![]),
            (Given, false, Denied, vec![Wrong::NoLook]),
            (Taken, true, Us, vec![]),
            (Taken, true, Nothing, vec![]),
            (Taken, true, Denied, vec![Wrong::NoLook]),
            (Taken, false, Us, vec![Wrong::HeldByAnother]),
            (Taken, false, AnotherSshd, vec![Wrong::AnotherHost]),
            (Taken, false, NoSshd, vec![Wrong::NoSshd]),
            (Taken, false, Nothing, vec![Wrong::Stale]),
            (Taken, false, Denied, vec![Wrong::NoLook]),
            (NotPermitted, false, Nothing, vec![Wrong::NotPermitted]),
            (NotPermitted, false, Denied, vec![Wrong::NotPermitted, Wrong::NoLook]),
            (NoForwards, false, Denied, vec![Wrong::NoForwards]),
        ];
        for (answer, ours, seen, want) in table {
            assert_eq!(judge(answer, ours, seen), want, "{answer:?} {ours} {seen:?}");
        }
    }
}
