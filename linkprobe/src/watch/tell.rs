//! What others hear of the lines: alerts by the spool, records in the log and in the history, the state
//! file, metrics, what is added up for the weekly report, and that the sender may try again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use notifier::clock::{Stamp, millis};
use notifier::config::host::Host;
use notifier::daemon::haste::Haste;
use notifier::daemon::outbox::Outbox;
use notifier::daemon::told::{Memory, Told};
use notifier::daemon::words;
use notifier::event::{Back, Condition, Severity, Status, Tally, Unit, What};
use notifier::foreign::Foreign;
use notifier::spool::files;
use notifier::syslog::{Level, Line, Log};

use super::Word;
use super::state::{Book, METRICS, STATE, State, metrics};
use crate::check::Places;
use crate::reach::Cause;
use crate::record::Record;

/// How often the state is written though nothing has changed: an old one is no state.
const EVERY: Duration = Duration::from_secs(20);

/// How long nothing is told after the start where there are several lines: so long it takes until it is
/// known how they are, and whether another is up makes the difference between a warning and what is
/// critical.
const QUIET: Duration = Duration::from_secs(15);

/// How often the changes of one line are a record in the log, after three at once; and how often the sender
/// hears that one is back.
const CHANGES_EVERY_MS: u64 = 60_000;

/// Where it is kept what a line did, and what it has cost to look at it.
pub trait Books: Send + Sync {
    /// Puts a record into the history.
    fn record(&self, record: &Record);

    /// So many bytes were sent and received by a line.
    fn spent(&self, link: &str, sent: u64, received: u64);
}

/// Who tells.
pub struct Teller {
    outbox: Outbox,
    run_dir: PathBuf,
    log: Log,
    memory: Memory,
    books: Arc<dyn Books>,
    begun: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    book: Book,
    /// The lines there are, and who speaks to their threads.
    callers: BTreeMap<String, Sender<Word>>,
    written: Option<Instant>,
    /// Whether the state could not be written the last time.
    trouble: bool,
    /// When each line's thread was last heard of.
    heard: BTreeMap<String, Instant>,
    /// By line: how often its changes are logged, and those that were not.
    changes: BTreeMap<String, (Haste, u64)>,
    /// How often the sender hears of lines that are back, and of which.
    back: (Haste, String),
}

/// Why a line is down.
#[derive(Debug, Clone, Copy)]
pub struct Down<'a> {
    /// In a word.
    pub cause: Cause,
    /// For a person.
    pub why: &'a str,
    /// For how long.
    pub age: Duration,
}

impl Teller {
    /// One for the host, with its files in `run_dir`.
    #[must_use]
    pub fn new(host: Host, places: Places<'_>, log: Log, books: Arc<dyn Books>) -> Self {
        let run_dir = places.run.to_owned();
        let inner = Inner {
            book: Book { pid: std::process::id(), ..Book::default() },
            callers: BTreeMap::new(),
            written: None,
            trouble: false,
            heard: BTreeMap::new(),
            changes: BTreeMap::new(),
            back: (Haste::new(0, CHANGES_EVERY_MS), String::new()),
        };
        let outbox = Outbox::new(host, log.clone());
        let memory = Memory::within(places.state, "down");
        Self {
            outbox,
            run_dir,
            log,
            memory,
            books,
            begun: Instant::now(),
            inner: Mutex::new(inner),
        }
    }

    /// There is a line of this name, and this is who speaks to its thread.
    pub fn employs(&self, name: &str, caller: Sender<Word>) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.callers.insert(name.to_owned(), caller);
            inner.heard.insert(name.to_owned(), Instant::now());
        }
    }

    /// How long a line that is new tells nothing.
    #[must_use]
    pub fn quiet(&self, lines: usize) -> Duration {
        if lines > 1 { QUIET.saturating_sub(self.begun.elapsed()) } else { Duration::ZERO }
    }

    /// Writes a record into the log.
    pub fn log(&self, level: Level, line: &Line) {
        self.log.say(level, line);
    }

    /// What was told of a line that is down, before this program was started.
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

    /// A line is down.
    pub fn fell(&self, name: &str, down: &Down<'_>) {
        let line = Line::new("link-down").text("link", name).word("cause", down.cause.word());
        self.log_change(name, Level::Warning, line.text("message", down.why));
    }

    /// A line that worked is in doubt: the others are looked at. What it suffers from may be their trouble,
    /// too, and whether they are up is asked for soon.
    pub fn doubts(&self, name: &str) {
        if let Ok(inner) = self.inner.lock() {
            for (_, caller) in inner.callers.iter().filter(|(other, _)| *other != name) {
                let _ = caller.send(Word::Look);
            }
        }
    }

    /// A line is up. If it was down, the sender hears of it, and the history.
    pub fn rose(&self, name: &str, was_down: Option<(Duration, &str)>) {
        let line = Line::new("link-up").text("link", name);
        let Some((down, why)) = was_down else {
            return self.log_change(name, Level::Info, line);
        };
        self.log_change(name, Level::Info, line.word("down-s", down.as_secs()));
        if let Ok(mut inner) = self.inner.lock() {
            inner.back.0.changed(millis(self.begun.elapsed()));
            name.clone_into(&mut inner.back.1);
        }
        self.say_back();
        let began = Stamp::now().before(down);
        self.books.record(&Record {
            timestamp: notifier::channel::rfc3339::format(began.unix_ms),
            kind: crate::record::Kind::Outage,
            link: name.to_owned(),
            reasons: vec![why.to_owned()],
            took_s: Some(millis(down) as f64 / 1000.0),
            ..Record::default()
        });
    }

    /// Lets the sender know that a line is back, not too often.
    fn say_back(&self) {
        let Ok(mut inner) = self.inner.lock() else { return };
        let now_ms = millis(self.begun.elapsed());
        let is_up = inner.book.links.values().any(|state| state.up == Some(true));
        let name = Foreign::from(format!("link {}", inner.back.1).as_str());
        if inner.back.0.heeds(now_ms) && is_up {
            std::mem::drop(inner);
            self.outbox.put(Severity::Info, What::Back(Back { name }));
        }
    }

    /// Logs a change, and of a line that comes and goes the number of those that were not.
    fn log_change(&self, name: &str, level: Level, line: Line) {
        let Ok(mut inner) = self.inner.lock() else { return };
        let entry = inner.changes.entry(name.to_owned());
        let (haste, withheld) = entry.or_insert_with(|| (Haste::new(0, CHANGES_EVERY_MS), 0));
        let now_ms = millis(self.begun.elapsed());
        haste.changed(now_ms);
        if !haste.heeds(now_ms) {
            *withheld += 1;
            return;
        }
        let line = match std::mem::take(withheld) {
            0 => line,
            some => line.word("changes-not-told", some),
        };
        std::mem::drop(inner);
        self.log(level, &line);
    }

    /// Tells that a line is down: critical when no other is up.
    pub fn tell_down(&self, name: &str, down: &Down<'_>) {
        let another = self.inner.lock().ok().and_then(|inner| {
            let mut others = inner.book.links.iter().filter(|(other, _)| *other != name);
            others.find(|(_, state)| state.is_well()).map(|(other, _)| other.clone())
        });
        let severity = if another.is_some() { Severity::Warning } else { Severity::Critical };
        let rest = another.map(|other| format!("; link {other} is up")).unwrap_or_default();
        let text = format!("{}{rest}", down.why);
        let line = Line::new("told-down").text("link", name).word("severity", severity);
        self.log(Level::Error, &line.text("message", &text));
        if !self.outbox.put(severity, condition(name, Status::Down, text)) {
            // Lost with this process: better told twice than never.
            return;
        }
        let told = Told {
            since: Stamp::now().before(down.age),
            cause: down.cause.word().to_owned(),
            text: down.why.to_owned(),
        };
        if let Err(error) = self.memory.keep(name, &told) {
            let line = Line::new("told-not-kept").text("message", &error.to_string());
            self.log(Level::Warning, &line.text("effect", "after a restart it is told once more"));
        }
    }

    /// Tells that a line is up again, which was down because of what `why` says.
    pub fn tell_up(&self, name: &str, down: Duration, why: &str) {
        let text = format!("down for {}: {why}", words(down));
        let line = Line::new("told-up").text("link", name).word("down-s", down.as_secs());
        self.log(Level::Info, &line.text("message", &text));
        if self.outbox.put(Severity::Info, condition(name, Status::Up, text)) {
            self.memory.forget(name);
        }
    }

    /// Tells of lines that were told to be down and are watched no more that this is over, and forgets
    /// them: else they would be down for ever.
    pub fn end_all_but(&self, kept: &[String]) {
        for name in self.memory.names().into_iter().filter(|name| !kept.contains(name)) {
            self.log(Level::Info, &Line::new("link-no-longer-watched").text("link", &name));
            let text = "it is no longer watched".to_owned();
            if self.outbox.put(Severity::Info, condition(&name, Status::Up, text)) {
                self.memory.forget(&name);
            }
        }
    }

    /// Takes down how a line is, for `status` and the metrics. To be called at least each twenty seconds.
    pub fn show(&self, name: &str, state: State) {
        self.outbox.again();
        if let Ok(mut inner) = self.inner.lock() {
            inner.heard.insert(name.to_owned(), Instant::now());
            let before = inner.book.links.get(name);
            let news = before.is_none_or(|before| before.facts() != state.facts());
            inner.book.links.insert(name.to_owned(), state);
            if news || inner.written.is_none_or(|at| at.elapsed() >= EVERY) {
                self.write(&mut inner);
            }
        }
        self.say_back();
    }

    /// Forgets a line that is watched no more.
    pub fn forget(&self, name: &str) {
        let Ok(mut inner) = self.inner.lock() else { return };
        inner.book.links.remove(name);
        inner.callers.remove(name);
        inner.heard.remove(name);
        inner.changes.remove(name);
        self.write(&mut inner);
    }

    /// Hands over what an hour was like, or a part of one.
    pub fn hour(&self, record: &Record) {
        let whole =
            |seconds: Option<f64>| Duration::from_secs_f64(seconds.unwrap_or(0.0)).as_secs();
        let (good, all) = (whole(record.up_s), whole(record.took_s));
        let name = Foreign::from(format!("link {}", record.link).as_str());
        let tally = Tally { name, good: good.min(all), all, unit: Unit::Seconds };
        self.outbox.put(Severity::Info, What::Tally(tally));
        self.books.record(record);
    }

    /// So much was sent and received by a line.
    pub fn spent(&self, link: &str, [sent, received]: [u64; 2]) {
        self.books.spent(link, sent, received);
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
        if let (Err(error), false) = (result, had_trouble) {
            let line = Line::new("state-trouble").text("message", &error.to_string());
            self.log(Level::Error, &line.text("directory", &self.run_dir.to_string_lossy()));
        }
    }
}

fn condition(name: &str, status: Status, text: String) -> What {
    let name = Foreign::from(format!("link {name}").as_str());
    What::Condition(Condition::new(name, status, text))
}
