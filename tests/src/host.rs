//! A throwaway machine: name spaces of its own, a root file system in memory, syslog,
//! accounts, keys, the spool, and on request sshd.
//!
//! Nothing of it is on a disk of the real machine and nothing outlives the test
//! process, also when that is killed: see `machine.sh`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process::{Daemon, Output, finish};
use crate::syslog::Line;
use crate::wait::{wait_for, wait_until};

/// Longest time for a command that ought to take far less than a second: this machine
/// may have two cores and ten tests at once.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Address of the machine itself, to connect to.
pub const JUMP: &str = "192.0.2.1";
/// Its IPv6 address.
pub const JUMP6: &str = "2001:db8:1::1";
/// A client address (`ssh -b`) that [`crate::sender::LOGIN`] knows as good.
pub const KNOWN: &str = "203.0.113.9";
/// A client address that nobody knows.
pub const UNKNOWN: &str = "198.51.100.7";
/// An IPv6 client address that nobody knows.
pub const UNKNOWN6: &str = "2001:db8:1::7";

/// Path of the configuration file inside the machine.
pub const CONFIG: &str = "/etc/bastion/bastion.toml";
/// Path of the spool inside the machine.
pub const SPOOL: &str = "/var/spool/bastion";
/// Path of the PAM module inside the machine.
pub const MODULE: &str = "/artefacts/libpam_bastion.so";

/// A throwaway machine. Ends, with every process and file in it, when dropped.
pub struct Host {
    holder: Child,
    pid: u32,
    sshd: Option<Daemon>,
    collector: Option<Daemon>,
    jobs: AtomicU32,
}

impl Host {
    /// Makes one, with syslog running and sshd not. Takes about 0.2 s.
    ///
    /// # Panics
    ///
    /// When it cannot be made, with the reason: not root, or a tool is missing.
    #[must_use]
    pub fn new() -> Self {
        let mount_point = std::env::temp_dir().join(format!("bastion-{}", unique()));
        fs::create_dir(&mount_point)
            .unwrap_or_else(|e| panic!("cannot create {}: {e}", mount_point.display()));
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--"])
            .args(["bash", "-c", include_str!("machine.sh"), "machine.sh"])
            .args([&mount_point, &artefacts(), &rigs()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run unshare (package util-linux): {e}"));
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        // The machine moved to its own root, so nothing is mounted here any more.
        let _ = fs::remove_dir(&mount_point);
        let Some(pid) = line.strip_prefix("ready ").and_then(|pid| pid.trim().parse().ok()) else {
            let mut reason = String::new();
            if let Some(mut stderr) = holder.stderr.take() {
                let _ = stderr.read_to_string(&mut reason);
            }
            let _ = holder.wait();
            panic!(
                "cannot make a throwaway machine; it takes root (try sudo), Linux namespaces, \
                 iproute2 and openssh: {reason}"
            );
        };
        let mut host = Self { holder, pid, sshd: None, collector: None, jobs: AtomicU32::new(0) };
        host.start_syslog();
        host
    }

    /// Where `path` of the machine is seen from the test. Absolute symbolic links on the
    /// way would lead out of the machine; it has none in the places that tests look at.
    ///
    /// # Panics
    ///
    /// When `path` is not absolute.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let inside = path.as_ref().strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.pid)).join(inside)
    }

    /// Process 1 of the machine, by whose namespaces it can be wired to others.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A command that will run in the machine, as root, in `/`, with a bare environment.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--mount", "--net", "--pid", "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            // Each way to show a backtrace in a failing test costs the programs under test time.
            .env("RUST_BACKTRACE", "0");
        command
    }

    /// Runs a command to its end, [`DEADLINE`] at most.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Output {
        self.run_with(DEADLINE, words, b"")
    }

    /// Runs a command to its end, with `input` on its standard input, and `deadline` at
    /// most: then it and its process group are killed ([`Output::cut_off`]).
    #[must_use]
    pub fn run_with(&self, deadline: Duration, words: &[&str], input: &[u8]) -> Output {
        let seconds = deadline.as_secs_f64().to_string();
        let mut all = vec!["timeout", "--signal=KILL", seconds.as_str()];
        all.extend(words);
        finish(&mut self.command(&all), input)
    }

    /// Runs a shell script (`bash -euc`).
    ///
    /// # Panics
    ///
    /// When it fails: it is part of a test's preparation.
    pub fn sh(&self, script: &str) -> String {
        self.run(&["bash", "-euc", script]).ok().text()
    }

    /// Starts a process in the background; its output goes to a file of its own in `/var/log`.
    #[must_use]
    pub fn spawn(&self, words: &[&str]) -> Daemon {
        let job = self.jobs.fetch_add(1, Ordering::Relaxed);
        let log = self.path(format!("/var/log/job-{job}"));
        Daemon::start(&mut self.command(words), &log)
    }

    /// Writes a file of the machine, owned by root.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(path);
        let written = fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(mode)));
        written.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// Reads a file of the machine; empty when there is none.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let bytes = fs::read(self.path(path)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Installs the configuration, root 0644, by rename as an editor does it.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn write_config(&self, toml: &str) {
        let new = format!("{CONFIG}.new");
        self.write(&new, toml, 0o644);
        fs::rename(self.path(new), self.path(CONFIG)).expect("rename of the config");
    }

    /// Names and contents of the files in `drop`, `queue`, `failed` or `sent`, oldest
    /// name first. Files that are still being written (dot names) are left out.
    #[must_use]
    pub fn spool_files(&self, room: &str) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(self.path(format!("{SPOOL}/{room}"))) else {
            return Vec::new();
        };
        let mut files: Vec<(String, String)> = entries
            .flatten()
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
            .filter(|(name, _)| !name.starts_with('.'))
            .map(|(name, path)| (name, read_regular(&path)))
            .collect();
        files.sort();
        files
    }

    /// Whether something in the machine listens on this TCP port (IPv4).
    #[must_use]
    pub fn listens(&self, port: u16) -> bool {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.pid)).unwrap_or_default();
        let port = format!(":{port:04X}");
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            // Local address, remote address, state 0A: LISTEN.
            words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
        })
    }

    /// All that syslog received so far.
    #[must_use]
    pub fn syslog_lines(&self) -> Vec<Line> {
        self.read("/var/log/syslog").lines().filter_map(Line::parse).collect()
    }

    /// The lines of one program.
    #[must_use]
    pub fn syslog_of(&self, tag: &str) -> Vec<Line> {
        self.syslog_lines().into_iter().filter(|line| line.tag == tag).collect()
    }

    /// Waits until `tag` has logged at least `count` lines that contain `word`, and
    /// answers them.
    ///
    /// # Panics
    ///
    /// When it does not within [`DEADLINE`].
    pub fn wait_syslog(&self, tag: &str, word: &str, count: usize) -> Vec<Line> {
        self.wait_syslog_for(tag, word, count, DEADLINE)
    }

    /// The same, with a deadline of the caller's.
    ///
    /// # Panics
    ///
    /// When it does not within `deadline`.
    pub fn wait_syslog_for(
        &self,
        tag: &str,
        word: &str,
        count: usize,
        deadline: Duration,
    ) -> Vec<Line> {
        let find = || {
            let mut lines = self.syslog_of(tag);
            lines.retain(|line| line.text.contains(word));
            lines
        };
        if !wait_until(deadline, || find().len() >= count) {
            panic!("{tag} did not log {word:?} {count} times: {:#?}", self.syslog_lines());
        }
        find()
    }

    /// Waits until `tag` has logged this event `count` times, and asserts that it has not more.
    ///
    /// What a program does can be seen before its record of it is here.
    ///
    /// # Panics
    ///
    /// When they are fewer for [`DEADLINE`], or more.
    pub fn wait_events(&self, tag: &str, event: &str, count: usize) {
        let found = || self.syslog_of(tag).iter().filter(|line| line.event() == event).count();
        let _ = wait_until(DEADLINE, || found() >= count);
        assert_eq!(found(), count, "{event} of {tag}: {:#?}", self.syslog_lines());
    }

    /// Starts (again) the collector behind `/dev/log`.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    pub fn start_syslog(&mut self) {
        self.collector = None;
        let daemon = self.spawn(&["/rigs/collector", "/dev/log", "/var/log/syslog"]);
        wait_for("syslog to listen", DEADLINE, || {
            daemon.output().contains("listening").then_some(())
        });
        self.collector = Some(daemon);
    }

    /// Ends the collector and removes `/dev/log`.
    pub fn remove_syslog(&mut self) {
        self.collector = None;
        let _ = fs::remove_file(self.path("/dev/log"));
    }

    /// Stops the collector and fills the socket's queue, so that the next blocking write
    /// to `/dev/log` blocks. [`Host::unwedge_syslog`] lets go.
    ///
    /// # Panics
    ///
    /// When the queue takes no end.
    pub fn wedge_syslog(&self) {
        if let Some(collector) = &self.collector {
            collector.stop();
        }
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let log = self.path("/dev/log");
        let full = (0..100_000).any(|_| {
            let sent = socket.send_to(b"<15>Jan  1 00:00:00 filler: x", &log);
            matches!(sent, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        assert!(full, "the queue of /dev/log never filled");
    }

    /// Lets a wedged syslog read again.
    pub fn unwedge_syslog(&self) {
        if let Some(collector) = &self.collector {
            collector.signal(libc::SIGCONT);
        }
    }

    /// The running sshd, if [`Host::start_sshd`] was called.
    #[must_use]
    pub fn sshd(&self) -> Option<&Daemon> {
        self.sshd.as_ref()
    }

    /// Ends the sshd that [`Host::start_sshd`] has started.
    pub fn end_sshd(&mut self) {
        self.sshd = None;
    }

    pub(crate) fn keep_sshd(&mut self, daemon: Daemon) {
        self.sshd = Some(daemon);
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person asks for first when an end-to-end test has failed.
            let log = self.read("/var/log/syslog");
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!("-- end of the syslog of the test's machine\n{}", last.join("\n"));
            if let Some(sshd) = &self.sshd {
                eprintln!("-- its sshd\n{}", sshd.output());
            }
        }
        self.sshd = None;
        self.collector = None;
        drop(self.holder.stdin.take());
        if !wait_until(Duration::from_secs(5), || !matches!(self.holder.try_wait(), Ok(None))) {
            // --kill-child: process 1 goes with its parent.
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }
}

/// Content of a regular file; of anything else, its kind in words. A fifo or a huge file in
/// the spool is part of a test and must not stop it.
fn read_regular(path: &Path) -> String {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return String::new();
    };
    if !meta.is_file() {
        return format!("{:?}", meta.file_type());
    }
    let mut bytes = Vec::new();
    let file: std::io::Result<File> =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    if let Ok(file) = file {
        let _ = file.take(64 * 1024).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A name that no other machine of this or another test process has now.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Directory of the rigs' own programs: cargo's target directory of this test.
///
/// # Panics
///
/// When the running program's own path is unknown.
#[must_use]
pub fn rigs() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let mut dir = program.parent().expect("a program lies in a directory");
    if dir.ends_with("deps") || dir.ends_with("examples") {
        dir = dir.parent().expect("deps lies in the target directory");
    }
    dir.to_owned()
}

/// Directory of `bastion` and `libpam_bastion.so`: `BASTION_ARTEFACTS`, or the same as
/// [`rigs`].
#[must_use]
pub fn artefacts() -> PathBuf {
    std::env::var_os("BASTION_ARTEFACTS").map_or_else(rigs, PathBuf::from)
}

/// Makes sure that `name` (`bastion`, `libpam_bastion.so`) has been built.
///
/// # Panics
///
/// When it has not, with the command that builds it.
pub fn require(name: &str) {
    let path = artefacts().join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first, or set BASTION_ARTEFACTS",
        path.display()
    );
}
