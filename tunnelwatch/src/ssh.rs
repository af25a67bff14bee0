//! One ssh with its forwards: how it is called, what it says, and how it is ended. Never a zombie,
//! never an orphan.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use notifier::ffi;

use crate::chain::ear::{Ear, News};
use crate::config::Tunnel;
use crate::ffi::end_with_us;
use crate::keys;
use crate::sockets::Files;

/// Where ssh finds what it runs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Time to end in peace after SIGTERM; then SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Longest wait for ssh-keygen to look into known_hosts.
const MOST_KEYS: Duration = Duration::from_secs(5);

/// Most that is read of what it says in one go, and most of a line that is kept, in bytes.
const CHUNK: usize = 16 * 1024;
const MAX_LINE: usize = 400;

/// How often that is read in one go: a pipe holds no more, and a hundred connections that arrive at once are
/// some 70 KB of lines.
const CHUNKS: usize = 4;

/// Most of what is heard of connections and not yet asked for: the begin and the end of 512.
const NEWS: usize = 1024;

/// Lines that are kept.
const LINES: usize = 20;

/// What ssh says when the jump host has given the port (`ssh_confirm_remote_forward` in ssh.c, 8.4 to
/// 10.0), with `-v` alone.
const GIVEN: &str = "remote forward success for";

/// How lines begin that ssh says with `-v` alone, and that are of no interest.
const CHATTER: &[&str] =
    &["debug1: ", "OpenSSH_", "Authenticated to ", "Transferred: ", "Bytes per second: "];

/// Arguments with which ssh opens the forward on `port`. `own` is this program.
#[must_use]
pub fn arguments(tunnel: &Tunnel, port: u16, files: &Files, own: &Path) -> Vec<OsString> {
    let alive = alive_s(tunnel);
    let options = [
        "ControlMaster=yes".to_owned(),
        "ControlPersist=no".to_owned(),
        "ExitOnForwardFailure=yes".to_owned(),
        format!("ServerAliveInterval={alive}"),
        "ServerAliveCountMax=2".to_owned(),
        "StreamLocalBindUnlink=yes".to_owned(),
        format!("ControlPath={}", files.control.display()),
    ];
    // That it says much is for a few lines: see `GIVEN` and `chain::ear`.
    let mut words = vec!["-N".into(), "-v".into()];
    words.extend(to_the_jump_host(tunnel, &options, own));
    words.extend(["-R".into(), remote(tunnel, port).into()]);
    words.extend(["-L".into(), local(port, files)]);
    words.extend(["--".into(), tunnel.destination().into()]);
    words
}

/// After how many seconds of silence ssh asks by itself whether the jump host is there. A look that is
/// answered says so as well, and says more: where looks are frequent, ssh asks nothing, for the sake of
/// lines that are paid by the byte. Routers forget a connection that is silent for long.
fn alive_s(tunnel: &Tunnel) -> u64 {
    let after_a_look = tunnel.check_every.as_secs().saturating_add(5);
    after_a_look.min(if tunnel.metered { 300 } else { 30 })
}

/// Arguments with which the jump host is asked to end what holds `port`, by the command that stands
/// beside the key there.
#[must_use]
pub fn release_arguments(tunnel: &Tunnel, port: u16, own: &Path) -> Vec<OsString> {
    let mut words = to_the_jump_host(tunnel, &["ControlPath=none".to_owned()], own);
    words.extend(["--".into(), tunnel.destination().into()]);
    words.push(format!("release {port}").into());
    words
}

/// How the jump host is reached, whatever for: whom to believe, who to be, and by which socket.
pub(crate) fn to_the_jump_host(tunnel: &Tunnel, more: &[String], own: &Path) -> Vec<OsString> {
    let mut options = vec![
        "BatchMode=yes".to_owned(),
        "CheckHostIP=no".to_owned(),
        "ConnectTimeout=10".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "LogLevel=INFO".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        format!("IdentityFile={}", tunnel.identity.display()),
        format!("UserKnownHostsFile={}", tunnel.known_hosts.display()),
    ];
    options.extend_from_slice(more);
    if tunnel.on_demand.is_some() {
        // Its address is another each time, and its key is not.
        options.push(format!("HostKeyAlias={}", keys::alias(tunnel, Instant::now() + MOST_KEYS)));
    }
    let mut words: Vec<OsString> = ["-F", "none", "-T"].map(OsString::from).into();
    // The first of two equal options counts, so the administrator's go before ours where both
    // may stand.
    if !tunnel.has_option(&["proxycommand", "proxyjump"]) {
        options.push("ProxyUseFdpass=yes".to_owned());
        options.push(format!("ProxyCommand={}", connector(tunnel, own)));
    }
    for option in tunnel.ssh_options.iter().chain(&options) {
        words.push("-o".into());
        words.push(option.into());
    }
    words.extend(["-p".into(), tunnel.jump.port.to_string().into()]);
    words.extend(["-l".into(), tunnel.jump.user.clone().into()]);
    words
}

/// `-R`: with an explicit address, as ssh takes a port that is bound by half for a success
/// otherwise, and sshd a plain port for `localhost`.
pub(crate) fn remote(tunnel: &Tunnel, port: u16) -> String {
    let target = tunnel.target;
    format!("127.0.0.1:{port}:{target}")
}

/// `-L`: the way back through the jump host to the port that people use.
pub(crate) fn local(port: u16, files: &Files) -> OsString {
    local_by(port, &files.probe)
}

fn local_by(port: u16, socket: &Path) -> OsString {
    let mut word = socket.as_os_str().to_owned();
    word.push(format!(":127.0.0.1:{port}"));
    word
}

/// The command that connects, for a shell: no word of it has a space or a quote, as
/// [`crate::config`] has seen to that.
fn connector(tunnel: &Tunnel, own: &Path) -> String {
    let mut command = format!("{} connect", own.display());
    for (option, flag) in
        [("bindinterface", "--interface"), ("bindaddress", "--bind"), ("addressfamily", "--family")]
    {
        if let Some(value) = tunnel.option(option) {
            command.push_str(&format!(" {flag} {value}"));
        }
    }
    command + " %h %p"
}

/// Arguments with which the session is asked for a forward on `port` as well, and for a way to look
/// through it at `socket`.
#[must_use]
pub fn more_arguments(
    tunnel: &Tunnel,
    port: u16,
    socket: &Path,
    files: &Files,
) -> [Vec<OsString>; 2] {
    [
        ask(tunnel, files, "forward", ["-R".into(), remote(tunnel, port).into()]),
        ask(tunnel, files, "forward", ["-L".into(), local_by(port, socket)]),
    ]
}

/// Arguments with which it is asked to be rid of them.
#[must_use]
pub fn less_arguments(
    tunnel: &Tunnel,
    port: u16,
    socket: &Path,
    files: &Files,
) -> [Vec<OsString>; 2] {
    [
        ask(tunnel, files, "cancel", ["-L".into(), local_by(port, socket)]),
        ask(tunnel, files, "cancel", ["-R".into(), remote(tunnel, port).into()]),
    ]
}

/// Arguments with which a session is asked for something by its control socket.
fn ask(tunnel: &Tunnel, files: &Files, what: &str, forward: [OsString; 2]) -> Vec<OsString> {
    let mut control = OsString::from("ControlPath=");
    control.push(&files.control);
    let mut words: Vec<OsString> =
        ["-F", "none", "-o", "BatchMode=yes", "-o"].map(Into::into).into();
    words.extend([control, "-O".into(), what.into()]);
    words.extend(forward);
    words.extend(["--".into(), tunnel.destination().into()]);
    words
}

/// A command that is run without anything of ours in its environment.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    ffi::unblock_signals(&mut command);
    end_with_us(&mut command);
    command
}

/// A running ssh.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stderr: Option<ChildStderr>,
    partial: Vec<u8>,
    lines: VecDeque<String>,
    /// Most lines that are kept.
    most: usize,
    /// Lines that were kept in all, so that news can be told from what was there.
    said: usize,
    /// Whether what `-v` adds is heard and not kept.
    is_chatty: bool,
    /// Whether it has said that the jump host has given the port.
    is_given: bool,
    ear: Ear,
    /// Connections that have arrived, and ended.
    news: Vec<News>,
}

impl Session {
    /// Starts `program`.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn start(program: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let mut program = command(program);
        program.args(arguments);
        Self::of(program)
    }

    /// Starts what [`command`] has made, and somebody else has added to.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn of(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let stderr = child.stderr.take();
        if let Some(pipe) = &stderr {
            ffi::set_nonblocking(pipe.as_fd())?;
        }
        let (partial, lines) = (Vec::new(), VecDeque::new());
        Ok(Self {
            child,
            stderr,
            partial,
            lines,
            most: LINES,
            said: 0,
            is_chatty: false,
            is_given: false,
            ear: Ear::default(),
            news: Vec::new(),
        })
    }

    /// The same, of which more lines are kept: of one that is asked to say much.
    #[must_use]
    pub fn keeping(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// The same, of which what `-v` adds is heard and not kept: of one with [`arguments`].
    #[must_use]
    pub fn chatty(mut self) -> Self {
        self.is_chatty = true;
        self
    }

    /// What it prints, where that is not thrown away.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Whether the jump host has given it the port, as far as it has said so.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.is_given
    }

    /// How many bytes it has read and written in all (proc_pid_io(5)), on whatever side.
    #[must_use]
    pub fn moved(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.pid())).ok()?;
        let number = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key))?.trim().parse::<u64>().ok()
        };
        Some(number("rchar:")? + number("wchar:")?)
    }

    /// What becomes readable when it says something or ends.
    #[must_use]
    pub fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.stderr.as_ref().map(AsFd::as_fd)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes in what it has said, a limited amount at a time, and answers whether it has ended.
    pub fn listen(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        for _ in 0..CHUNKS {
            let Some(pipe) = &mut self.stderr else { break };
            match pipe.read(&mut chunk) {
                Ok(0) => self.stderr = None,
                Ok(read) => self.take(chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.stderr = None,
            }
        }
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.partial.len() >= MAX_LINE && !bytes.contains(&b'\n') {
            return;
        }
        // Of many lines the last are kept, so the others need not be looked at.
        // Not so where most are not.
        let (mut from, mut lines) = (if self.is_chatty { 0 } else { bytes.len() }, 0);
        while let Some(at) =
            bytes.get(..from).unwrap_or_default().iter().rposition(|byte| *byte == b'\n')
        {
            (from, lines) = (at, lines + 1);
            if lines > self.most {
                bytes = bytes.get(from..).unwrap_or_default();
                break;
            }
        }
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                _ if self.partial.len() < MAX_LINE => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.partial);
        // What hides nothing, as nearly all, is taken as it is: an ssh that is told to be verbose
        // says much.
        let line = match bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            true => String::from_utf8(bytes).unwrap_or_default(),
            false => notifier::foreign::visible(&bytes),
        };
        if self.is_chatty && CHATTER.iter().any(|begin| line.starts_with(begin)) {
            self.is_given |= line.contains(GIVEN);
            self.note_news(&line);
            return;
        }
        if self.lines.len() >= self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        self.said = self.said.saturating_add(1);
    }

    /// Takes note of a connection that has arrived. At once: its descriptor is another's when it has ended.
    fn note_news(&mut self, line: &str) {
        let pid = self.pid();
        let inode_of = |fd: u32| {
            let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        };
        let news = self.ear.hear(line, inode_of).filter(|_| self.news.len() < NEWS);
        self.news.extend(news);
    }

    /// The connections that have arrived and ended since the last call.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// How many lines were kept of what it has said.
    #[must_use]
    pub fn said(&self) -> usize {
        self.said
    }

    /// The last lines, of those after the first `after`.
    pub fn lines(&self, after: usize) -> impl Iterator<Item = &str> {
        let news = self.said.saturating_sub(after).min(self.lines.len());
        self.lines.iter().skip(self.lines.len() - news).map(String::as_str)
    }

    /// Reads what is left after its end.
    pub fn drain(&mut self) {
        let until = Instant::now() + Duration::from_millis(200);
        while self.stderr.is_some() && Instant::now() < until {
            let before = (self.said, self.partial.len());
            self.listen();
            if before == (self.said, self.partial.len()) {
                break;
            }
        }
        self.end_line();
    }

    /// How it has ended, once it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it and what it has started: SIGTERM, and SIGKILL for what does not hear.
    pub fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let until = Instant::now() + GRACE;
        let mut signal = libc::SIGTERM;
        while ffi::has_ended(self.child.id()).is_ok_and(|ended| !ended) {
            let _ = ffi::signal_group(self.child.id(), signal);
            if Instant::now() >= until {
                signal = libc::SIGKILL;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // What has outlived it in its group, whose number is its own until it is reaped.
        let _ = ffi::signal_group(self.child.id(), libc::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn tunnel(more: &str) -> Tunnel {
        let text = format!(
            "[[tunnel]]\nname = \"cloud\"\njump = \"t@2001:db8::1\"\nremote-ports = [2222, 2223]\n{more}"
        );
        Settings::parse(&text).unwrap().tunnels.remove(0)
    }

    fn said(tunnel: &Tunnel) -> String {
        let files = Files::new(Path::new("/run/tunnelwatch"), "cloud");
        let words = arguments(tunnel, 2222, &files, Path::new("/usr/bin/tunnelwatch"));
        let words = words.iter().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ssh_is_called_with_a_bound_forward_and_a_way_to_look_through_it() {
        let line = said(&tunnel(""));
        for words in [
            "-N -v -F none -T",
            "-R 127.0.0.1:2222:127.0.0.1:22",
            "-L /run/tunnelwatch/cloud.probe:127.0.0.1:2222",
            "ExitOnForwardFailure=yes",
            "ProxyCommand=/usr/bin/tunnelwatch connect %h %p",
            "-l t",
            "-- 2001:db8::1",
        ] {
            assert!(line.contains(words), "{words}: {line}");
        }
    }

    #[test]
    fn of_an_ssh_that_says_all_it_does_the_port_is_heard_and_the_rest_not_kept() {
        let script =
            "i=0; while [ $i -lt 200 ]; do echo debug1: of no interest; i=$((i+1)); done >&2
            echo 'OpenSSH_9.2p1' >&2; echo 'channel 2: open failed' >&2
            echo 'debug1: remote forward success for: listen 127.0.0.1:2222, connect x' >&2
            i=0; while [ $i -lt 200 ]; do echo debug1: of no interest; i=$((i+1)); done >&2";
        let run = |script: &str| {
            let arguments = ["-c".into(), script.into()];
            let mut session = Session::start(Path::new("/bin/sh"), &arguments).unwrap().chatty();
            while session.stderr.is_some() {
                session.listen();
            }
            session
        };
        let session = run(script);
        assert!(session.is_given());
        assert_eq!(session.lines(0).collect::<Vec<_>>(), ["channel 2: open failed"]);
        let failure = "echo debug1: remote forward failure for: listen 127.0.0.1:2222 >&2";
        assert!(!run(failure).is_given());
    }

    #[test]
    fn how_much_a_program_has_moved_is_known() {
        let mut session = Session::start(Path::new("/bin/cat"), &["/dev/zero".into()]).unwrap();
        let before = session.moved().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while session.moved().unwrap() < before + 1_000_000 && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(session.moved().unwrap() >= before + 1_000_000);
        session.stop();
    }

    #[test]
    fn ssh_asks_for_a_sign_of_life_only_where_looks_are_seldom() {
        for (more, alive_s) in [
            ("", 28),
            ("check-every = \"5s\"", 10),
            ("check-every = \"10m\"", 30),
            ("metered = true", 155),
            ("metered = true\ncheck-every = \"1h\"", 300),
        ] {
            let line = said(&tunnel(more));
            assert!(line.contains(&format!("ServerAliveInterval={alive_s} ")), "{more}: {line}");
        }
    }

    #[test]
    fn the_socket_s_options_are_the_connector_s_and_a_proxy_of_yours_is_left_alone() {
        let line = said(&tunnel("ssh-options = [\"BindInterface=wwan0\", \"AddressFamily=inet\"]"));
        assert!(line.contains("connect --interface wwan0 --family inet %h %p"), "{line}");
        let line = said(&tunnel("ssh-options = [\"ProxyCommand=nc %h %p\"]"));
        assert!(!line.contains("tunnelwatch connect") && !line.contains("Fdpass"), "{line}");
    }

    #[test]
    fn a_gigabyte_of_words_is_a_few_lines() {
        let arguments = [
            "-c".into(),
            "yes this is a line >&2 & sleep 0.3; kill $!; wait; echo >&2; echo last >&2".into(),
        ];
        let mut session = Session::start(Path::new("/bin/sh"), &arguments).unwrap();
        while !session.listen() {}
        while session.stderr.is_some() {
            session.listen();
        }
        assert!(session.lines.len() <= LINES && session.said > 1000, "{}", session.said);
        assert_eq!(session.lines(0).last(), Some("last"));
        assert_eq!(session.lines(session.said()).count(), 0);
    }

    #[test]
    fn who_does_not_hear_is_ended_with_all_that_it_started() {
        let arguments =
            ["-c".into(), "trap '' TERM; echo ready >&2; sleep 60 & wait; sleep 60".into()];
        let mut session = Session::start(Path::new("/bin/sh"), &arguments).unwrap();
        while session.said() == 0 {
            session.listen();
        }
        let pid = session.pid();
        session.stop();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        session.drain();
        assert!(session.stderr.is_none(), "nobody has its end of the pipe");
    }
}
