//! The loop of `bastion run`: sleep, take in, send, learn. One thread decides and writes; the
//! channels' threads only talk to their providers.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::heartbeat::Heartbeat;
use super::lock::Lock;
use super::lookup::Lookups;
use super::outbox::Outbox;
use super::settings::{Notify, Settings};
use super::silence::{self, Mark};
use super::version::Version;
use super::wakeup::{Request, Wakeup};
use super::worker::{Answer, Worker};
use crate::channel::{Outcome, Secrets};
use crate::clock::{Stamp, millis};
use crate::config::{Finding, host::Host};
use crate::daemon::haste::Haste;
use crate::ffi;
use crate::spool::Spool;
use crate::spool::queue::Queue;
use crate::syslog::{Level, Line, Log};
use crate::systemd::Systemd;

/// How often `drop/` is looked at when nothing says that there is something. A notification
/// is a hint and can be lost; the directory is the truth.
const RESCAN: Duration = Duration::from_secs(30);

/// How long a channel goes through what was prepared for it at once before it is looked again
/// what comes first: a login may have come.
const RUN: Duration = Duration::from_secs(1);

/// How often a line that is back is a reason to try at once, in milliseconds, after three times: as often
/// as [`super::backoff`] lets it be tried for an hour, so a line that comes and goes makes no storm of tries.
const BACK_EVERY_MS: u64 = 60_000;

/// How often `sent/` and `failed/` are pruned.
const PRUNE: Duration = Duration::from_secs(3600);

/// Why the sender could not start or go on.
#[derive(Debug)]
pub enum EngineError {
    /// Another sender runs.
    Locked(PathBuf),
    /// A directory or a descriptor that it cannot do without.
    Io {
        /// What was tried, and on what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => write!(f, "another sender works on {}", path.display()),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Locked(_) => None,
        }
    }
}

/// The sender at work.
pub struct Engine {
    config: PathBuf,
    secrets: Secrets,
    host: Host,
    version: Version,
    log: Log,
    outbox: Outbox,
    workers: Vec<Worker>,
    answers: Receiver<Answer>,
    answer_to: Sender<Answer>,
    lookups: Lookups,
    wakeup: Wakeup,
    /// Lines that have come back.
    back: Haste,
    bell: UnixStream,
    begun: Instant,
    systemd: Systemd,
    heartbeat: Option<Heartbeat>,
    mark: Mark,
    /// Whether something has changed since it was last looked what is due, and when that has to be
    /// looked at in any case.
    changed: bool,
    look_ms: u64,
    stopping: bool,
    reloading: bool,
    /// Channels with a try under way that was begun before the last reload.
    leaving: Vec<String>,
    _lock: Lock,
}

impl Engine {
    /// Takes the lock, takes over the signals, and takes up the queue. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub fn start(
        config: &Path,
        settings: Settings,
        secrets: Secrets,
        log: Log,
    ) -> Result<Self, EngineError> {
        let Settings { host, notify, login_findings, version, .. } = settings;
        warn(&log, config, &login_findings);
        let failed = |what: String| move |source| EngineError::Io { what, source };
        let spool = Spool::new(&host.spool);
        let lock = Lock::take(&spool.queue())
            .map_err(failed(format!("lock {}", spool.queue().display())))?
            .ok_or_else(|| EngineError::Locked(spool.queue()))?;
        // For who wants to send it a signal without systemd; it runs without it as well.
        let _ = std::fs::write(host.run.join("sender.pid"), format!("{}\n", std::process::id()));
        // For who asks whether it has read the file as it is.
        let _ = version.leave(&host.run);
        for dir in [spool.drop(), spool.queue(), spool.failed(), spool.sent()] {
            look_into(&dir)?;
        }
        let (wakeup, bell) = Wakeup::new(&spool.drop())
            .map_err(failed(format!("watch {}", spool.drop().display())))?;
        let (answer_to, answers) = mpsc::channel();
        let lookups = Lookups::new(&bell).map_err(failed("have threads that ask".into()))?;
        let mut mark = Mark::new(&host.state);
        if let Err(error) = silence::tell(&mut mark, &spool, &host.name) {
            let line = Line::new("spool-trouble").text("message", &error.to_string());
            log.say(Level::Error, &line);
        }
        let outbox =
            Outbox::new(Queue::new(spool), log.clone(), host.name.clone(), host.state.clone());
        let mut engine = Self {
            config: config.to_owned(),
            secrets,
            host,
            version,
            log,
            outbox,
            workers: Vec::new(),
            answers,
            answer_to,
            lookups,
            wakeup,
            back: Haste::new(0, BACK_EVERY_MS),
            bell,
            begun: Instant::now(),
            systemd: Systemd::from_environment(),
            heartbeat: None,
            mark,
            changed: true,
            look_ms: 0,
            stopping: false,
            reloading: false,
            leaving: Vec::new(),
            _lock: lock,
        };
        engine.employ(notify).map_err(failed("start a thread for each channel".into()))?;
        // In this order: a wait that is taken up may end late by what lies between, never early.
        let now = Stamp::now();
        let now_ms = engine.now_ms();
        engine.outbox.load(&now, now_ms).map_err(failed("read the queue".into()))?;
        Ok(engine)
    }

    /// Sends until it is told to stop; then ends what is under way, which takes no longer
    /// than a request may take.
    ///
    /// # Errors
    ///
    /// [`EngineError::Io`] when it cannot even sleep.
    pub fn run(&mut self) -> Result<(), EngineError> {
        let started = Line::new("sender-started").word("waiting", self.outbox.len());
        let started = started.word("channels", self.workers.len());
        self.say_channels(started);
        self.systemd.say_ready();
        let mut pruned: Option<Instant> = None;
        loop {
            while let Ok(answer) = self.answers.try_recv() {
                self.learn(answer);
            }
            self.learn_facts();
            let taken = self.outbox.claim(self.now_ms());
            self.lookups.ask(self.outbox.asks());
            self.changed |= taken.any;
            self.heed_lines(taken.back);
            if self.reloading || self.stopping {
                self.take_back_all();
            }
            if self.reloading {
                self.reload();
            }
            let idle = self.leaving.is_empty() && self.workers.iter().all(|worker| !worker.busy);
            if self.stopping && idle {
                break;
            }
            let wake_ms = if self.stopping { u64::MAX } else { self.send_due() };
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
                self.outbox.prune();
                pruned = Some(Instant::now());
            }
            if self.workers.iter().all(|worker| worker.ready.is_empty()) {
                self.outbox.sync();
            }
            let wait = Duration::from_millis(wake_ms.saturating_sub(self.now_ms()));
            // Also while there is more to take in: a loop that has its hands full turns.
            let wait = wait.min(self.show_life());
            let back = self.back.due_ms().map(|due| due.saturating_sub(self.now_ms()));
            let wait = back.map_or(wait, |due| wait.min(Duration::from_millis(due)));
            let wait = if taken.more { Duration::ZERO } else { wait };
            let requests = self.wakeup.sleep(wait).map_err(|source| EngineError::Io {
                what: "wait for something to do".into(),
                source,
            })?;
            requests.into_iter().for_each(|request| self.obey(request));
        }
        self.outbox.sync();
        self.mark.keep(true);
        self.outbox.keep_books(&self.config, true);
        let stopped = Line::new("sender-stopped").word("waiting", self.outbox.len());
        self.log.say(Level::Info, &stopped);
        Ok(())
    }

    /// Tells whoever watches that the loop turns, and answers how long it may sleep now.
    fn show_life(&mut self) -> Duration {
        self.mark.keep(false);
        let books = self.outbox.keep_books(&self.config, false);
        let watchdog = self.systemd.say_alive().unwrap_or(RESCAN);
        let beat = self.heartbeat.as_mut().map_or(RESCAN, Heartbeat::beat);
        RESCAN.min(watchdog).min(beat).min(books)
    }

    /// Says `line`, and what it means where there is no channel.
    fn say_channels(&self, line: Line) {
        if self.workers.is_empty() {
            let effect = "no channel is configured: alerts are in syslog and nowhere else";
            self.log.say(Level::Warning, &line.text("effect", effect));
        } else {
            self.log.say(Level::Info, &line);
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    fn send_due(&mut self) -> u64 {
        loop {
            let now_ms = self.now_ms();
            self.go_on();
            // All that waits is gone through, and in the middle of a run nothing else can be due.
            if !self.changed && now_ms < self.look_ms {
                return self.look_ms.min(self.follow_due());
            }
            self.changed = false;
            let idle = self.workers.iter().filter(|worker| !worker.busy);
            let idle: Vec<&str> = idle.map(|worker| worker.name.as_str()).collect();
            let (due, wake_ms) = self.outbox.due(now_ms, &idle);
            self.look_ms = wake_ms.min(now_ms.saturating_add(millis(RESCAN)));
            if due.is_empty() {
                return wake_ms.min(self.follow_due());
            }
            self.changed = true;
            for (channel, job) in self.outbox.begin(&due, now_ms) {
                let worker = self.workers.iter_mut().find(|worker| worker.name == channel);
                if let Some(worker) = worker {
                    worker.run_since = Instant::now();
                    worker.ready.push_back(job);
                }
            }
        }
    }

    /// Hands over what is prepared.
    fn go_on(&mut self) {
        let mut answers = Vec::new();
        for worker in self.workers.iter_mut().filter(|worker| !worker.busy) {
            if let Some(job) = worker.ready.pop_front() {
                answers.extend(worker.send(job));
            }
        }
        answers.into_iter().for_each(|answer| self.learn(answer));
    }

    /// Asks what became of earlier messages, on channels that have nothing better to do.
    fn follow_due(&mut self) -> u64 {
        loop {
            let idle = self.workers.iter().filter(|worker| !worker.busy);
            let idle: Vec<&str> = idle.map(|worker| worker.name.as_str()).collect();
            let (due, wake_ms) = self.outbox.follow_due(self.now_ms(), &idle);
            let Some(follow) = due else { return wake_ms };
            let worker = self.workers.iter_mut().find(|worker| worker.name == follow.channel);
            if let Some(answer) = worker.and_then(|worker| worker.follow(follow)) {
                self.learn(answer);
            }
        }
    }

    fn learn(&mut self, answer: Answer) {
        let now_ms = self.now_ms();
        let worker = self.workers.iter_mut().find(|worker| worker.name == answer.channel());
        let run_is_over = match &answer {
            Answer::Sent(report) => {
                let worked =
                    matches!(report.outcome, Outcome::Delivered { .. } | Outcome::Never { .. });
                !worked || worker.as_ref().is_some_and(|worker| worker.run_since.elapsed() > RUN)
            }
            Answer::Followed(..) => false,
        };
        let mut back = VecDeque::new();
        let mut goes_on = false;
        if let Some(worker) = worker {
            worker.busy = false;
            if run_is_over {
                back = std::mem::take(&mut worker.ready);
            }
            goes_on = !worker.ready.is_empty();
        }
        self.changed |= !goes_on;
        let left = self.leaving.iter().position(|name| name == answer.channel());
        match answer {
            Answer::Sent(report) => {
                self.outbox.take_back(&report.channel, back.into_iter(), now_ms);
                self.outbox.learn(&report, now_ms);
            }
            Answer::Followed(follow, found) => self.outbox.followed(follow, found, now_ms),
        }
        if let Some(at) = left {
            // What it says of the settings, it says of those before.
            self.leaving.remove(at);
            self.outbox.kick(now_ms);
            self.changed = true;
        }
    }

    fn learn_facts(&mut self) {
        let found = self.lookups.answers();
        self.changed |= !found.is_empty();
        self.outbox.found(found, self.now_ms());
    }

    fn take_back_all(&mut self) {
        self.changed = true;
        let now_ms = self.now_ms();
        for worker in &mut self.workers {
            let jobs = std::mem::take(&mut worker.ready);
            self.outbox.take_back(&worker.name, jobs.into_iter(), now_ms);
        }
    }

    fn obey(&mut self, request: Request) {
        self.changed = true;
        match request {
            Request::Stop => self.stopping = true,
            Request::Reload => self.reloading = true,
            Request::TryNow => {
                self.workers.iter().for_each(Worker::kick);
                self.outbox.kick(self.now_ms());
                self.log.say(Level::Info, &Line::new("try-now").word("waiting", self.outbox.len()));
            }
        }
    }

    /// Tries now what waits for the network, when a line has come back, and not too often.
    fn heed_lines(&mut self, came: bool) {
        let now_ms = self.now_ms();
        if came {
            self.back.changed(now_ms);
        }
        if self.back.heeds(now_ms) {
            self.changed = true;
            self.workers.iter().for_each(Worker::kick);
            self.outbox.line_is_back(now_ms);
            let line = Line::new("try-now").word("waiting", self.outbox.len());
            self.log.say(Level::Info, &line.text("reason", "a line is back"));
        }
    }

    fn reload(&mut self) {
        self.reloading = false;
        self.changed = true;
        let file = self.config.display().to_string();
        let loaded = Settings::load(&self.config, &self.secrets).map_err(|error| error.to_string());
        let result = loaded.and_then(|settings| {
            let Host { spool, run, state, .. } = &settings.host;
            if (spool, run, state) != (&self.host.spool, &self.host.run, &self.host.state) {
                return Err(
                    "spool, run and state cannot change while the sender runs; restart it".into()
                );
            }
            warn(&self.log, &self.config, &settings.login_findings);
            self.employ(settings.notify).map_err(|error| error.to_string())?;
            self.version = self.version.reloaded(settings.version);
            let _ = self.version.leave(&self.host.run);
            Ok(())
        });
        match result {
            Ok(()) => {
                self.outbox.kick(self.now_ms());
                self.say_channels(Line::new("config-reloaded").text("file", &file));
            }
            Err(error) => {
                let line = Line::new("config-kept").text("file", &file).text("message", &error);
                self.log.say(
                    Level::Error,
                    &line.text("effect", "the old configuration stays in force"),
                );
            }
        }
    }

    /// Starts the threads of a configuration's channels; those before it end by themselves. One that
    /// is at work is waited for, but by the channel of its name alone.
    fn employ(&mut self, notify: Notify) -> io::Result<()> {
        let Notify { policy, channels, heartbeat, books, finders } = notify;
        let used = policy.channels();
        let mut workers = Vec::with_capacity(used.len());
        let at_work = self.workers.iter().filter(|worker| worker.busy);
        let mut leaving = self.leaving.clone();
        leaving.extend(at_work.map(|worker| worker.name.clone()));
        leaving.sort_unstable();
        leaving.dedup();
        for (name, channel) in channels.into_iter().filter(|(name, _)| used.contains(name)) {
            let mut worker = Worker::start(&name, channel, self.answer_to.clone(), &self.bell)?;
            worker.busy = leaving.contains(&name);
            workers.push(worker);
        }
        (self.workers, self.leaving) = (workers, leaving);
        let heartbeat = heartbeat.map(|settings| Heartbeat::start(settings, self.log.clone()));
        self.heartbeat = heartbeat.transpose()?;
        self.outbox.set_policy(policy);
        self.outbox.set_finders(finders);
        self.outbox.set_books(books);
        Ok(())
    }
}

/// That a directory is there, and not mounted for reading alone. systemd has it so when it made the sandbox while the
/// directory was away: this process would never write there, and the next one may.
fn look_into(dir: &Path) -> Result<(), EngineError> {
    let failed = |what: &str, source| {
        Err(EngineError::Io { what: format!("{what} {}", dir.display()), source })
    };
    if let Err(error) = std::fs::read_dir(dir) {
        return failed("open", error);
    }
    match ffi::may_write(dir) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            failed("write in", error)
        }
        _ => Ok(()),
    }
}

/// Tells what is wrong in a part of the file that is not the sender's own.
fn warn(log: &Log, file: &Path, findings: &[Finding]) {
    for finding in findings {
        let line =
            Line::new("config-problem").text("message", &format!("{}: {finding}", file.display()));
        let effect = "what was not understood is left out, so more is told";
        log.say(Level::Warning, &line.text("effect", effect));
    }
}
