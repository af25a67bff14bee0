//! What others hear of the tunnels: alerts by the spool, records in the log, a state file for
//! `status`, metrics, and what is added up for the weekly report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use notifier::clock::millis;
use notifier::clock::{BootStamp, Stamp, unix_ms};
use notifier::config::host::Host;
use notifier::daemon::outbox::Outbox;
use notifier::daemon::told::{Memory, Told, state_dir};
use notifier::daemon::words;
use notifier::event::{Condition, Note, Severity, Status, Tally, Unit, What};
use notifier::foreign::Foreign;
use notifier::spool::files;
use notifier::syslog::{Level, Line, Log};
use serde::{Deserialize, Serialize};

use crate::config::Tunnel;
use crate::on_demand::Jump;
use crate::on_demand::note::{Runs, leave, left_behind};

/// The state file, and the metrics, in the run directory.
pub const STATE: &str = "status.json";
const METRICS: &str = "tunnelwatch.prom";

/// Where it is kept what was told.
pub(crate) const STATE_DIR: &str = "/var/lib/tunnelwatch";

/// What `tunnelwatch watch` has told, which may be on the same host as `run` and know tunnels by the same
/// names.
#[must_use]
pub fn seen_down() -> Memory {
    Memory::new(STATE_DIR, "seen-down")
}

/// How often the state is written though nothing has changed: an old one is no state.
const EVERY: Duration = Duration::from_secs(20);

/// How long nothing is told after the start where there are several tunnels: so long it takes them to
/// come up, and whether another is up makes the difference between a warning and what is critical.
const QUIET: Duration = Duration::from_secs(10);

/// How often what was up is handed over for the weekly report.
const TALLY_EVERY: Duration = Duration::from_secs(3600);

/// The state of one tunnel, as `status --json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Whether it works.
    pub up: bool,
    /// Whether it does not because its jump host is off by plan.
    #[serde(default)]
    pub off_by_plan: bool,
    /// Why not: a word, and in words.
    pub cause: Option<String>,
    /// The same for a person.
    pub why: Option<String>,
    /// What kind of tunnel it is, and what there is to say of that.
    #[serde(flatten)]
    pub way: Way,
    /// Seconds since when it is as it is, 1970-based.
    pub since_s: u64,
    /// When it was last proved to work, in seconds since 1970.
    pub proved_s: Option<u64>,
    /// How long the proof took, in milliseconds.
    pub proof_ms: Option<u64>,
}

/// What is told of one kind of tunnel alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Way {
    /// A reverse forward of ssh.
    Ssh {
        /// The port on the jump host that it is on, or is tried on.
        port: u16,
        /// Whether that is the first of `remote-ports`.
        home: bool,
        /// Where it leads to.
        jump: String,
        /// Process id of ssh.
        ssh_pid: Option<u32>,
    },
    /// A tunnel that another program makes.
    External {
        /// What is looked at through it.
        target: SocketAddr,
    },
}

impl State {
    /// Of a tunnel that is as it is for so long; `proof` is when it was last proved, and how long that
    /// took.
    #[must_use]
    pub fn new(up: bool, way: Way, age: Duration, proof: Option<(Instant, Duration)>) -> Self {
        // By the wall clock as it stands now, whoever has set it since.
        let ago = |age: Duration| unix_ms().saturating_sub(millis(age)) / 1000;
        Self {
            up,
            off_by_plan: false,
            cause: None,
            why: None,
            way,
            since_s: ago(age),
            proved_s: proof.map(|(at, _)| ago(at.elapsed())),
            proof_ms: proof.map(|(_, took)| millis(took)),
        }
    }

    /// Whether it is on its first port, if it has ports.
    fn home(&self) -> Option<bool> {
        match self.way {
            Way::Ssh { home, .. } => Some(home),
            Way::External { .. } => None,
        }
    }
}

/// Why a tunnel is down.
#[derive(Debug, Clone, Copy)]
pub struct Down<'a> {
    /// A word for the log.
    pub cause: &'a str,
    /// The same for a person.
    pub text: &'a str,
    /// Since when.
    pub since: Instant,
    /// Whether it is critical though another tunnel is up.
    pub is_grave: bool,
}

/// What is in the state file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Book {
    /// When it was written, in seconds since 1970.
    pub written_s: u64,
    /// The same moment on the clock that nobody can set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_boot: Option<BootStamp>,
    /// Process id of `tunnelwatch run`.
    pub pid: u32,
    /// The tunnels, by name.
    pub tunnels: BTreeMap<String, State>,
    /// Their jump hosts, where they run on demand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jumps: BTreeMap<String, Jump>,
}

/// Who tells.
pub struct Teller {
    outbox: Outbox,
    run_dir: PathBuf,
    log: Log,
    /// Rung when a tunnel falls.
    bell: OnceLock<UnixStream>,
    memory: Memory,
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    book: Book,
    /// How many tunnels there are to be.
    tunnels: usize,
    written: Option<Instant>,
    /// Whether the state could not be written the last time.
    trouble: bool,
    /// When each tunnel's thread was last heard of.
    heard: BTreeMap<String, Instant>,
    /// By tunnel: since when the seconds are counted, and those that it was up.
    counted: BTreeMap<String, Counted>,
    proved_once: bool,
}

struct Counted {
    begun: Instant,
    last: Instant,
    up: Duration,
}

impl Teller {
    /// One for the host, with its files in `run_dir`.
    #[must_use]
    pub fn new(host: Host, run_dir: PathBuf, log: Log) -> Self {
        let book = Book { pid: std::process::id(), ..Book::default() };
        let inner = Mutex::new(Inner { book, ..Inner::default() });
        let outbox = Outbox::new(host, log.clone());
        let (bell, memory, begun) =
            (OnceLock::new(), Memory::new(STATE_DIR, "down"), Instant::now());
        Self { outbox, run_dir, log, bell, memory, begun, inner }
    }

    /// So many tunnels there are to be from now on.
    pub fn employs(&self, tunnels: usize) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.tunnels = tunnels;
        }
    }

    /// How long a tunnel that begins now tells nothing.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        match self.inner.lock().is_ok_and(|inner| inner.tunnels > 1) {
            true => QUIET.saturating_sub(self.begun.elapsed()),
            false => Duration::ZERO,
        }
    }

    /// Has `bell` rung each time that a tunnel falls which was up.
    pub fn ring(&self, bell: UnixStream) {
        let _ = self.bell.set(bell);
    }

    /// Writes a record.
    pub fn log(&self, level: Level, line: &Line) {
        let _ = self.log.write(level, line);
    }

    /// Whether a tunnel has been proved since this began.
    #[must_use]
    pub fn has_proved(&self) -> bool {
        self.inner.lock().is_ok_and(|inner| inner.proved_once)
    }

    /// What was told of a tunnel that is down, before this program was started.
    #[must_use]
    pub fn told(&self, name: &str) -> Option<Told> {
        self.memory.recall(name)
    }

    /// For how long the thread was not heard of that was not for longest.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let Ok(inner) = self.inner.lock() else { return Duration::MAX };
        inner.heard.values().map(Instant::elapsed).max().unwrap_or_default()
    }

    /// Tells that a tunnel is down: critical when no other is up, or when it is grave by itself.
    pub fn down(&self, name: &str, down: &Down<'_>) {
        let another = self.inner.lock().is_ok_and(|inner| {
            let mut others = inner.book.tunnels.iter().filter(|(other, _)| *other != name);
            others.any(|(_, state)| state.up)
        });
        let severity =
            if another && !down.is_grave { Severity::Warning } else { Severity::Critical };
        let rest = if another { "; another tunnel is up" } else { "" };
        let text = format!("{}{rest}", down.text);
        let line = Line::new("tunnel-down").word("cause", down.cause).word("severity", severity);
        self.log(Level::Error, &line.text("tunnel", name).text("message", &text));
        if !self.tell(severity, condition(name, Status::Down, text)) {
            // Lost with this process: better told twice than never.
            return;
        }
        let told = Told {
            since: Stamp::now().before(down.since.elapsed()),
            cause: down.cause.to_owned(),
            text: down.text.to_owned(),
        };
        if let Err(error) = self.memory.keep(name, &told) {
            let line = Line::new("told-not-kept").text("message", &error.to_string());
            self.log(Level::Warning, &line.text("effect", "after a restart it is told once more"));
        }
    }

    /// Tells that a tunnel is up again, which was down because of what `text` says.
    pub fn up(&self, name: &str, down: Duration, text: &str) {
        let text = format!("down for {}: {text}", words(down));
        let line = Line::new("tunnel-up").word("down-s", down.as_secs());
        self.log(Level::Info, &line.text("tunnel", name).text("message", &text));
        if self.tell(Severity::Info, condition(name, Status::Up, text)) {
            self.memory.forget(name);
        }
    }

    /// Tells of a tunnel that was told to be down that it is off by plan.
    pub fn rests(&self, name: &str, why: &str) {
        let Some(told) = self.told(name) else { return };
        self.up(
            name,
            told.age(),
            &format!("{}; now its jump host is off by plan: {why}", told.text),
        );
    }

    /// Tells of jump hosts that run, and that nobody stops any more, as the file says nothing of them; `served` are those
    /// of which it does.
    pub fn left_behind(&self, served: &[String]) {
        let dir = state_dir(STATE_DIR);
        for (name, runs) in left_behind(&dir, served) {
            self.left(&name, &runs, "[tunnel.on-demand] is gone");
            if let Err(error) = leave(&dir, &name) {
                let line = Line::new("jump-note-unkept").text("tunnel", &name);
                self.log(Level::Error, &line.text("message", &error.to_string()));
            }
        }
    }

    /// Tells of a machine that runs, and that nobody stops any more.
    pub fn left(&self, name: &str, runs: &Runs, why: &str) {
        let at = runs.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
        let text = format!(
            "jump host of {name}: it runs{at}, and nobody stops it any more, as {why}: stop it at the provider, if it is \
             not to run"
        );
        self.log(Level::Warning, &Line::new("jump-left").text("message", &text));
        self.note(Severity::Warning, text);
    }

    /// Tells something that is no condition.
    pub fn note(&self, severity: Severity, text: String) {
        self.tell(severity, What::Note(Note { text }));
    }

    /// How a tunnel was last.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<State> {
        self.inner.lock().ok()?.book.tunnels.get(name).cloned()
    }

    /// Takes down how a jump host is that runs on demand.
    pub fn show_jump(&self, name: &str, jump: &Jump) {
        self.outbox.again();
        let Ok(mut inner) = self.inner.lock() else { return };
        inner.heard.insert(of_jump(name), Instant::now());
        let words = |jump: &Jump| {
            let Jump { machine, wanted, address, logged_in, wish, trouble, .. } = jump.clone();
            (machine, wanted, address, logged_in, wish, trouble, timeless(Some(&jump.why)))
        };
        let before = inner.book.jumps.insert(name.to_owned(), jump.clone());
        let news = before.is_none_or(|before| words(&before) != words(jump));
        if news || inner.written.is_none_or(|at| at.elapsed() >= EVERY) {
            self.write(&mut inner);
        }
    }

    /// Tells of tunnels that were told to be down and are kept no more that this is over, and forgets
    /// them: else it would be down for ever, or for years when its name comes back.
    pub fn end_all_but(&self, kept: &[String]) {
        for name in self.memory.names().into_iter().filter(|name| !kept.contains(name)) {
            let text = "it is no longer kept";
            let line = Line::new("tunnel-no-longer-kept").text("tunnel", &name);
            self.log(Level::Info, &line);
            if self.tell(Severity::Info, condition(&name, Status::Up, text.to_owned())) {
                self.memory.forget(&name);
            }
        }
    }

    /// Tells that a tunnel is on another port than was told last.
    pub fn moved(&self, tunnel: &Tunnel, port: u16) {
        let home = tunnel.remote_ports.first() == Some(&port);
        let (severity, text) = match home {
            true => {
                (Severity::Info, format!("tunnel {} is home again on port {port}", tunnel.name))
            }
            false => (
                Severity::Warning,
                format!("tunnel {} has moved to port {port}: the first port is held", tunnel.name),
            ),
        };
        self.tell(severity, What::Note(Note { text }));
        let line = Line::new("tunnel-moved").word("port", port).word("home", home);
        self.log(Level::Warning, &line.text("tunnel", &tunnel.name));
    }

    /// Tells that the first port is taken from a tunnel again and again.
    pub fn taken(&self, name: &str, port: u16) {
        let text = format!(
            "tunnel {name}: somebody else takes port {port} again and again; \
             does another machine have this key?"
        );
        let line = Line::new("tunnel-taken").word("port", port).text("tunnel", name);
        self.log(Level::Warning, &line.text("message", &text));
        self.tell(Severity::Warning, What::Note(Note { text }));
    }

    /// Whether it is in the spool.
    fn tell(&self, severity: Severity, what: What) -> bool {
        self.outbox.put(severity, what)
    }

    /// Takes down how a tunnel is, for `status`, the metrics and the weekly report.
    pub fn show(&self, name: &str, state: State) {
        self.outbox.again();
        let Ok(mut inner) = self.inner.lock() else { return };
        let tally = match state.off_by_plan {
            // That is neither up nor down.
            true => inner.tally(name),
            false => inner.count(name, state.up),
        };
        inner.heard.insert(name.to_owned(), Instant::now());
        // Off by plan, all is as it should be.
        inner.proved_once |= state.up || state.off_by_plan;
        let is_news = |before: &State| {
            (before.up, before.off_by_plan, &before.cause, &before.way)
                != (state.up, state.off_by_plan, &state.cause, &state.way)
                || timeless(before.why.as_deref()) != timeless(state.why.as_deref())
                || is_another(before.proved_s, state.proved_s)
        };
        let before = inner.book.tunnels.get(name);
        let news = before.is_none_or(is_news);
        let falls = before.is_some_and(|before| before.up && !state.up && !state.off_by_plan);
        inner.book.tunnels.insert(name.to_owned(), state);
        if news || inner.written.is_none_or(|at| at.elapsed() >= EVERY) {
            self.write(&mut inner);
        }
        std::mem::drop(inner);
        if let (true, Some(mut bell)) = (falls, self.bell.get()) {
            let _ = bell.write(&[1]);
        }
        if let Some(tally) = tally {
            self.tell(Severity::Info, What::Tally(tally));
        }
    }

    /// Forgets a tunnel that is kept no more.
    pub fn forget(&self, name: &str) {
        let Ok(mut inner) = self.inner.lock() else { return };
        inner.book.tunnels.remove(name);
        inner.counted.remove(name);
        inner.heard.remove(name);
        inner.heard.remove(&of_jump(name));
        inner.book.jumps.remove(name);
        self.write(&mut inner);
    }

    fn write(&self, inner: &mut Inner) {
        let now = Stamp::now();
        inner.written = Some(Instant::now());
        inner.book.written_s = now.unix_ms / 1000;
        inner.book.written_boot = now.boot;
        let json = serde_json::to_vec(&inner.book).unwrap_or_default();
        let written = [(STATE, json), (METRICS, metrics(&inner.book).into_bytes())];
        let mut result = Ok(());
        for (name, content) in written {
            result = result.and(files::replace_public(&self.run_dir, name, &content));
        }
        // `status` tells it, too, as its file grows old.
        let had_trouble = std::mem::replace(&mut inner.trouble, result.is_err());
        if let Err(error) = result.as_ref().map_err(ToString::to_string) {
            if !had_trouble {
                let line = Line::new("state-trouble").text("message", &error);
                self.log(Level::Error, &line.text("directory", &self.run_dir.to_string_lossy()));
            }
        }
    }
}

impl Inner {
    /// Counts the seconds of a tunnel, and answers them once an hour.
    fn count(&mut self, name: &str, up: bool) -> Option<Tally> {
        let now = Instant::now();
        let counted = self.counted.entry(name.to_owned()).or_insert(Counted {
            begun: now,
            last: now,
            up: Duration::ZERO,
        });
        if up {
            counted.up += now - counted.last;
        }
        counted.last = now;
        let all = now - counted.begun;
        if all < TALLY_EVERY { None } else { self.tally(name) }
    }

    /// Ends the counting of a tunnel, and answers what there is.
    fn tally(&mut self, name: &str) -> Option<Tally> {
        let counted = self.counted.remove(name)?;
        let (good, all) = (counted.up.as_secs(), (counted.last - counted.begun).as_secs());
        if all == 0 {
            return None;
        }
        let name = Foreign::from(format!("tunnel {name}").as_str());
        Some(Tally { name, good, all, unit: Unit::Seconds })
    }
}

/// What is said, without the numbers in it: that a time has passed is no news.
fn timeless(why: Option<&str>) -> String {
    why.unwrap_or_default().chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The thread of a tunnel's jump host, which has no name of a tunnel.
fn of_jump(name: &str) -> String {
    format!("{name} jump")
}

/// Whether these are the times of two proofs: that of one may be a second off, as it is told by the clock
/// of now.
fn is_another(before: Option<u64>, now: Option<u64>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.abs_diff(now) > 1,
        (before, now) => before != now,
    }
}

fn condition(name: &str, status: Status, text: String) -> What {
    let name = Foreign::from(format!("tunnel {name}").as_str());
    What::Condition(Condition::new(name, status, text))
}

/// The state in the text format of Prometheus.
fn metrics(book: &Book) -> String {
    type Pick = fn(&State) -> Option<u64>;
    let all: [(&str, &str, Pick); 5] = [
        ("up", "Whether it was proved to work.", |state| Some(state.up.into())),
        ("off_by_plan", "Whether it is not up because its jump host is off by plan.", |state| {
            Some(state.off_by_plan.into())
        }),
        ("home", "Whether it is on its first port.", |state| state.home().map(u64::from)),
        ("proof_milliseconds", "How long the last proof took.", |state| state.proof_ms),
        ("proved_timestamp_seconds", "When it was last proved.", |state| state.proved_s),
    ];
    let mut text = String::new();
    for (name, help, pick) in all {
        let _ = writeln!(text, "# HELP tunnelwatch_{name} {help}\n# TYPE tunnelwatch_{name} gauge");
        for (tunnel, state) in &book.tunnels {
            if let Some(value) = pick(state) {
                let _ = writeln!(text, "tunnelwatch_{name}{{tunnel=\"{tunnel}\"}} {value}");
            }
        }
    }
    text
}
