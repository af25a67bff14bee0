//! One machine: booted, used, rebooted, and gone with its test.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::host::{DEADLINE, rigs};
use crate::process::{Daemon, Output, finish};
use crate::wait::{wait_for, wait_until};

/// Longest time for a boot, which takes one or two seconds, or for the way down before it.
const BOOT: Duration = Duration::from_secs(90);

/// Longest time until another test has made the Debian that all machines share.
const BASE: Duration = Duration::from_secs(900);

/// Address of each machine, to connect to.
pub const ADDRESS: &str = "192.0.2.1";
/// A client address that nobody knows (`ssh -b`).
pub const STRANGER: &str = "198.51.100.7";
/// A client address that [`super::package::login`] knows as good.
pub const OFFICE: &str = "203.0.113.9";

/// What a machine has beside the essential packages: what the package depends on and recommends, as far as
/// it is there on any server (no unattended-upgrades, whose python is larger than the rest), a way to log in, a
/// syslog, and sudo, as the manual writes its commands.
const PACKAGES: &str = "ca-certificates,dbus,iproute2,libpam-runtime,libpam-systemd,openssh-client,\
                        openssh-server,rsyslog,sudo,systemd,systemd-sysv";

/// What a client does not ask a person about.
const SSH_CONFIG: &str = "    IdentitiesOnly yes
    BatchMode yes
    ConnectTimeout 20
    StrictHostKeyChecking accept-new
    LogLevel ERROR
";

/// What a session runs that stays: it says back each line.
pub(super) const ECHO: &str = "echo in; while read -r line; do echo \"heard $line\"; done";

/// Which Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// 12
    Bookworm,
    /// 13
    Trixie,
}

impl Release {
    fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The directory of its files, made when it is missing.
    fn base(self) -> PathBuf {
        let dir = shared();
        let packages = PACKAGES.replace(' ', "");
        let words = ["--signal=KILL", &BASE.as_secs().to_string()].map(str::to_owned);
        // In a mount namespace: what debootstrap mounts and a kill leaves is gone with it.
        let made = finish(
            Command::new("timeout")
                .args(words)
                .args(["unshare", "--mount", "bash", "-c", include_str!("base.sh"), "base.sh"])
                .arg(self.name())
                .arg(&dir)
                .arg(packages),
            b"",
        );
        assert!(
            made.code == Some(0),
            "cannot make a bare Debian; it takes root, debootstrap and Debian's archive: {made:?}"
        );
        dir.join(self.name())
    }
}

/// Where the Debians are that machines share: beside the directory of this test's programs.
fn shared() -> PathBuf {
    rigs().parent().expect("a profile's directory lies in the target directory").join("boot")
}

/// A machine that has booted. Ends, with every process and file in it, when dropped.
pub struct Machine {
    name: String,
    /// Which Debian it is.
    pub release: Release,
    holder: Child,
    /// Process 1 of the namespaces around it, which stay over its reboots.
    around: u32,
    /// Its systemd; another after each boot.
    leader: Cell<u32>,
    jobs: Cell<u32>,
}

impl Machine {
    /// Boots one. Takes two seconds, for the first of its release a minute.
    ///
    /// # Panics
    ///
    /// When it does not boot, with the reason: not root, or a tool is missing.
    #[must_use]
    pub fn boot(release: Release, name: &str) -> Self {
        let base = release.base();
        // Each machine mounts its disk there in a mount namespace of its own.
        let at = shared().join("at");
        fs::create_dir_all(&at).unwrap_or_else(|e| panic!("cannot create {}: {e}", at.display()));
        let mut holder = Command::new("setsid")
            // A session of its own, so that what ends the test's process group lets it clean up.
            .args(["unshare", "--mount", "bash", "-c", include_str!("machine.sh"), "machine.sh"])
            .arg("outer")
            .args([&base, &at])
            .arg(name)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run setsid (package util-linux): {e}"));
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let Some(around) = line.strip_prefix("ready ").and_then(|pid| pid.trim().parse().ok())
        else {
            let mut reason = String::new();
            drop(holder.stdin.take());
            if let Some(mut stderr) = holder.stderr.take() {
                let _ = stderr.read_to_string(&mut reason);
            }
            let _ = holder.wait();
            panic!(
                "cannot make a machine to boot; it takes root (try sudo), Linux namespaces, \
                 systemd-container, iproute2 and openssh-client: {reason}"
            );
        };
        let machine = Self {
            name: name.to_owned(),
            release,
            holder,
            around,
            leader: Cell::new(0),
            jobs: Cell::new(0),
        };
        machine.wait_booted(0);
        machine
    }

    /// Process 1 of the namespaces around it, by which it can be wired to others.
    #[must_use]
    pub fn around(&self) -> u32 {
        self.around
    }

    /// The process that ends it with the test, whose number its cgroup bears.
    #[must_use]
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// Its systemd.
    #[must_use]
    pub fn leader(&self) -> u32 {
        self.leader.get()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A directory of the test's own, which the machine does not see.
    #[must_use]
    pub fn client_dir(&self) -> PathBuf {
        self.seen_around(&shared().join("at/client"))
    }

    /// A file in [`Self::client_dir`].
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn read_client(&self, name: &str) -> String {
        fs::read_to_string(self.client_dir().join(name)).expect("a file of the client's")
    }

    /// The path of a file in [`Self::client_dir`] as a command in [`Self::outside`] sees it.
    #[must_use]
    pub fn seen_by_client(&self, name: &str) -> String {
        shared().join("at/client").join(name).to_string_lossy().into_owned()
    }

    /// `path` of the real machine as the processes around this machine see it.
    fn seen_around(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.around)).join(path)
    }

    /// Waits until another systemd than `old` is there, and has come to rest.
    fn wait_booted(&self, old: u32) {
        let leader = wait_for("the machine to boot", BOOT, || {
            let nspawn =
                children(self.around).into_iter().find(|pid| is(*pid, "systemd-nspawn"))?;
            children(nspawn).into_iter().find(|pid| *pid != old && is(*pid, "systemd"))
        });
        self.leader.set(leader);
        let mut said = Output { code: None, stdout: vec![], stderr: vec![], took: Duration::ZERO };
        let rests = wait_until(BOOT, || {
            said = self.run(&["systemctl", "is-system-running"]);
            matches!(said.text().trim(), "running" | "degraded")
        });
        assert!(rests, "{} does not come to rest: {said:?}\n{}", self.name, self.console());
    }

    fn console(&self) -> String {
        let console = self.seen_around(&shared().join("at/console"));
        String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned()
    }

    /// Reboots it as an administrator does. Its disk and its network stay.
    ///
    /// # Panics
    ///
    /// When it does not come back.
    pub fn reboot(&self) {
        let old = self.leader.get();
        // The command may be ended by what it asked for.
        let _ = self.run(&["systemctl", "reboot"]);
        let gone = || !Path::new(&format!("/proc/{old}")).exists();
        assert!(wait_until(BOOT, gone), "{} does not go down: {}", self.name, self.console());
        self.wait_booted(old);
    }

    /// Where `path` of the machine is seen from the test. Absolute symbolic links on the way lead
    /// out of the machine.
    ///
    /// # Panics
    ///
    /// When `path` is not absolute.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        let inside = Path::new(path).strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.leader.get())).join(inside)
    }

    /// A command that will run in the machine, as root, in `/`, with a bare environment.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let leader = self.leader.get().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid"]);
        command.args(["--cgroup", "--root", "--wd", "--"]).args(words);
        bare(&mut command);
        command
    }

    /// A command of the real machine that will run in the network of this one: a client, a provider.
    #[must_use]
    pub fn outside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.around.to_string(), "--mount", "--net", "--pid", "--"])
            .args(words);
        bare(&mut command);
        command
    }

    /// Runs a command to its end, [`DEADLINE`] at most.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Output {
        self.run_with(DEADLINE, words, b"")
    }

    /// Runs a command to its end, with `input`, and `deadline` at most: then it is killed
    /// ([`Output::cut_off`]).
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
    /// When it fails.
    pub fn sh(&self, script: &str) -> String {
        self.run_with(DEADLINE * 2, &["bash", "-euo", "pipefail", "-c", script], b"").ok().text()
    }

    /// Starts a command of the real machine in this one's network.
    #[must_use]
    pub fn spawn_outside(&self, words: &[&str]) -> Daemon {
        self.jobs.set(self.jobs.get() + 1);
        let log = self.client_dir().join(format!("job-{}", self.jobs.get()));
        Daemon::start(&mut self.outside(words), &log)
    }

    /// Writes a file of the machine, owned by root.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(path);
        let written = fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        written.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// Reads a file of the machine; empty when there is none.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(path)).unwrap_or_default()).into_owned()
    }

    /// Runs `ssh ARGS` in the network of the machine, with alice's key:
    /// `["-b", STRANGER, "alice@192.0.2.1", "true"]`.
    #[must_use]
    pub fn ssh(&self, args: &[&str]) -> Output {
        let seconds = DEADLINE.as_secs().to_string();
        let config = self.ssh_config();
        let mut words = vec!["timeout", "--signal=KILL", &seconds, "ssh", "-F", &config];
        words.extend(args);
        finish(&mut self.outside(&words), b"")
    }

    /// What a client's configuration has for all hosts: alice's key.
    #[must_use]
    pub fn ssh_defaults(&self) -> String {
        let (id, known) = (self.seen_by_client("id"), self.seen_by_client("known"));
        format!("Host *\n    IdentityFile {id}\n    UserKnownHostsFile {known}\n{SSH_CONFIG}")
    }

    /// The client's configuration, as a command in [`Self::outside`] sees it.
    fn ssh_config(&self) -> String {
        fs::write(self.client_dir().join("config"), self.ssh_defaults()).expect("a file in memory");
        self.seen_by_client("config")
    }

    /// Logs in and stays: see [`Session`].
    ///
    /// # Panics
    ///
    /// When nobody is let in.
    #[must_use]
    pub fn session(&self) -> Session {
        let (config, target) = (self.ssh_config(), format!("alice@{ADDRESS}"));
        let words = ["ssh", "-F", &config, "-b", STRANGER, &target, ECHO];
        Session::of(self.spawn_outside(&words))
    }

    /// What the journal has of a program, the oldest first, without times.
    #[must_use]
    pub fn journal(&self, ident: &str) -> Vec<String> {
        let lines = self.run(&["journalctl", "--no-pager", "-o", "cat", "-t", ident]).text();
        lines.lines().filter(|line| !line.starts_with("-- ")).map(str::to_owned).collect()
    }

    /// Waits until the journal has `count` lines of `ident` that begin with `start`, and answers them.
    ///
    /// # Panics
    ///
    /// When it has not within [`DEADLINE`].
    pub fn wait_journal(&self, ident: &str, start: &str, count: usize) -> Vec<String> {
        let find = || {
            let mut lines = self.journal(ident);
            lines.retain(|line| line.starts_with(start));
            lines
        };
        let mut found = Vec::new();
        let logged = wait_until(DEADLINE, || {
            found = find();
            found.len() >= count
        });
        assert!(logged, "{ident} did not log {start:?} {count} times: {:#?}", self.journal(ident));
        found
    }

    /// A property of a unit, as `systemctl show` has it.
    #[must_use]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.run(&["systemctl", "show", "--value", "-p", name, unit]).ok();
        shown.text().trim().to_owned()
    }

    /// The main process of a unit as the machine counts; 0 when it does not run.
    ///
    /// # Panics
    ///
    /// When systemd does not know.
    #[must_use]
    pub fn main_pid(&self, unit: &str) -> u32 {
        self.property(unit, "MainPID").parse().expect("a process id")
    }
}

/// A login that stays: it says back each line that it is told, until it is told that there are no more.
pub struct Session(Daemon);

impl Session {
    /// The one of a client that runs [`ECHO`].
    pub(super) fn of(client: Daemon) -> Self {
        let inside = wait_until(DEADLINE, || client.output().starts_with("in\n"));
        assert!(inside, "no way in: {}", client.output());
        Self(client)
    }

    /// Whether it lives still, from end to end.
    pub fn answers(&mut self, line: &str) -> bool {
        self.0.say(line);
        wait_until(DEADLINE, || self.0.output().contains(&format!("heard {line}\n")))
    }

    /// Logs out.
    ///
    /// # Panics
    ///
    /// When that takes no end, or it had been ended before.
    pub fn ends(mut self) {
        self.0.hush();
        assert_eq!(self.0.wait(DEADLINE), Some(0), "{}", self.0.output());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person asks for first when a test has failed.
            let words = ["journalctl", "--no-pager", "-b", "-n", "60", "-o", "short-precise"];
            let journal = self.run_with(Duration::from_secs(10), &words, b"");
            eprintln!("-- end of the journal of {}\n{}", self.name, journal.text());
            eprintln!("-- its console\n{}", self.console());
        }
        drop(self.holder.stdin.take());
        if !wait_until(BOOT, || !matches!(self.holder.try_wait(), Ok(None))) {
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }
}

fn bare(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8");
}

/// The processes that this one has started and that still are (proc(5)).
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether a process is of this program.
fn is(pid: u32, name: &str) -> bool {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The kernel keeps 15 bytes of a name.
    comm.trim() == &name[..name.len().min(15)]
}
