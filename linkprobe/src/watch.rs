//! `linkprobe watch`: a thread for each line, and one that hears what the system has to say.

mod eye;
mod hour;
pub mod state;
mod tell;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notifier::clock::millis;
use notifier::daemon::haste::Haste;
use notifier::daemon::lock;
use notifier::daemon::network::Network;
use notifier::exit::Failure;
use notifier::ffi::{take_signals, wait_readable};
use notifier::syslog::{Level, Line, Log, Source};
use notifier::systemd::Systemd;

use crate::check::Places;
use crate::config::{Link, Settings};
use eye::Eye;
pub use tell::Books;
use tell::Teller;

/// Longest sleep.
const LONGEST: Duration = Duration::from_secs(20);

/// Silence of a line's thread from which on systemd is not told any more that all is well: it turns three
/// times a minute, and a look and two programs that are asked take seven seconds.
const HUNG: Duration = Duration::from_secs(90);

/// How long the end of all threads may take: a look that is under way ends in three seconds.
const END: Duration = Duration::from_secs(8);

/// What others tell a line's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Look now.
    Look,
    /// Look now at everybody: somebody says so.
    All,
    /// Look now, and find out anew which name servers it has: the network has changed.
    Network,
    /// End.
    Stop,
}

/// A line that is watched.
struct Watched {
    link: Link,
    caller: Sender<Word>,
    thread: JoinHandle<()>,
}

/// `linkprobe watch` at work.
struct Watch {
    config: PathBuf,
    run_dir: PathBuf,
    teller: Arc<Teller>,
    watched: BTreeMap<String, Watched>,
    _lock: File,
}

/// Watches the lines of the file until it is told to stop.
///
/// # Errors
///
/// What keeps it from starting, in words.
pub fn watch(config: &Path, places: Places<'_>, books: Arc<dyn Books>) -> Result<(), Failure> {
    let run_dir = places.run;
    let settings = load(config).map_err(Failure::config)?;
    let failed = |what: String| move |error: io::Error| Failure::io(&what, &error);
    fs::create_dir_all(run_dir).map_err(failed(format!("create {}", run_dir.display())))?;
    let lock = lock::take(run_dir, "linkprobe watch")?;
    let log = Log::new(&settings.host.syslog, "linkprobe", Source::Daemon);
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];
    let mut signals = take_signals(&signals).map_err(failed("take over the signals".into()))?;
    // Where the kernel does not say what changes, the next look does.
    let network = Network::watch().ok();
    let teller = Teller::new(settings.host, places, log, books);
    let mut watch = Watch {
        config: config.to_owned(),
        run_dir: run_dir.to_owned(),
        teller: Arc::new(teller),
        watched: BTreeMap::new(),
        _lock: lock,
    };
    watch.teller.log(Level::Info, &Line::new("watching").word("links", settings.links.len()));
    watch.employ(settings.links);
    let mut systemd = Systemd::from_environment();
    // That a line is away is what it is there to tell.
    systemd.say_ready();
    let (mut haste, begun) = (Haste::default(), Instant::now());
    let now_ms = || millis(begun.elapsed());
    loop {
        watch.replace_the_dead();
        let alive = if watch.teller.silence() < HUNG { systemd.say_alive() } else { None };
        let most = alive.unwrap_or(LONGEST).min(LONGEST);
        let due = haste.due_ms().map(|due| Duration::from_millis(due.saturating_sub(now_ms())));
        let most = due.map_or(most, |due| due.min(most));
        let mut fds = vec![signals.as_fd()];
        fds.extend(network.as_ref().map(AsFd::as_fd));
        wait_readable(&fds, most).map_err(failed("wait for something to do".into()))?;
        if network.as_ref().is_some_and(Network::drain) {
            haste.changed(now_ms());
        }
        if haste.heeds(now_ms()) {
            watch.say(Word::Network);
        }
        let mut record = [0; 128];
        while matches!(signals.read(&mut record), Ok(read) if read == record.len()) {
            match libc::c_int::from(record[0]) {
                libc::SIGHUP => watch.reload(),
                libc::SIGUSR1 => {
                    let line = Line::new("look-now").text("reason", "SIGUSR1");
                    watch.teller.log(Level::Info, &line);
                    watch.say(Word::All);
                }
                _ => {
                    watch.end();
                    return Ok(());
                }
            }
        }
    }
}

/// The file, which has to have something to watch.
fn load(config: &Path) -> Result<Settings, String> {
    let settings = Settings::load(config).map_err(|error| error.to_string())?;
    match settings.links.is_empty() {
        true => Err(format!("{}: there is no [[link]]", config.display())),
        false => Ok(settings),
    }
}

impl Watch {
    /// Watches just these lines from now on; one that is watched as it is goes on.
    fn employ(&mut self, links: Vec<Link>) {
        let gone = self.watched.values().filter(|watched| !links.contains(&watched.link));
        let gone: Vec<String> = gone.map(|watched| watched.link.name.clone()).collect();
        for watched in gone.iter().filter_map(|name| self.watched.get(name)) {
            let _ = watched.caller.send(Word::Stop);
        }
        for name in &gone {
            if let Some(watched) = self.watched.remove(name) {
                let _ = watched.thread.join();
            }
            self.teller.forget(name);
        }
        let names: Vec<String> = links.iter().map(|link| link.name.clone()).collect();
        let lines = links.len();
        for link in links {
            if !self.watched.contains_key(&link.name) {
                self.begin(link, lines);
            }
        }
        // What was told of lines that are watched no more has nobody else to tell its end.
        self.teller.end_all_but(&names);
    }

    fn begin(&mut self, link: Link, lines: usize) {
        let (caller, words) = mpsc::channel();
        self.teller.employs(&link.name, caller.clone());
        let eye = Eye { link: link.clone(), lines, teller: Arc::clone(&self.teller), words };
        let name = link.name.clone();
        match thread::Builder::new().name(name.clone()).spawn(|| eye.watch()) {
            Ok(thread) => {
                self.watched.insert(name, Watched { link, caller, thread });
            }
            Err(error) => {
                let line = Line::new("not-watched").text("link", &name);
                self.teller.log(Level::Error, &line.text("message", &error.to_string()));
            }
        }
    }

    /// Watches a line anew whose thread has ended without being told to: by a fault of ours.
    fn replace_the_dead(&mut self) {
        let dead = self.watched.values().filter(|watched| watched.thread.is_finished());
        let dead: Vec<Link> = dead.map(|watched| watched.link.clone()).collect();
        for link in dead {
            let line = Line::new("watcher-died").text("link", &link.name);
            self.teller.log(Level::Alert, &line.text("effect", "it is watched anew"));
            self.watched.remove(&link.name);
            self.begin(link, self.watched.len() + 1);
        }
    }

    fn say(&self, word: Word) {
        for watched in self.watched.values() {
            let _ = watched.caller.send(word);
        }
    }

    /// Takes over the file as it is now; a broken one changes nothing.
    fn reload(&mut self) {
        match load(&self.config) {
            Ok(settings) => {
                let file = self.config.display().to_string();
                self.teller.log(Level::Info, &Line::new("config-reloaded").text("file", &file));
                self.employ(settings.links);
                self.say(Word::Network);
            }
            Err(error) => {
                let line = Line::new("config-kept").text("message", &error);
                let effect = "the old configuration stays in force";
                self.teller.log(Level::Error, &line.text("effect", effect));
            }
        }
    }

    fn end(&mut self) {
        self.say(Word::Stop);
        let until = Instant::now() + END;
        while self.watched.values().any(|watched| !watched.thread.is_finished())
            && Instant::now() < until
        {
            thread::sleep(Duration::from_millis(20));
        }
        self.teller.log(Level::Info, &Line::new("stopped"));
        let _ = fs::remove_file(self.run_dir.join(state::STATE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    struct Nowhere;

    impl Books for Nowhere {
        fn record(&self, _: &Record) {}
        fn spent(&self, _: &str, _: u64, _: u64) {}
    }

    #[test]
    fn a_line_whose_thread_has_died_is_watched_anew() {
        let run_dir = std::env::temp_dir().join(format!("watch-{}", std::process::id()));
        fs::create_dir_all(&run_dir).unwrap();
        let text = "[[link]]\nname = \"backup\"\ninterface = \"nosuch0\"\n";
        let settings = Settings::parse(text).unwrap();
        let log = Log::new(Path::new("/nonexistent"), "linkprobe", Source::Daemon);
        let teller = Teller::new(
            settings.host,
            Places { state: &run_dir, run: &run_dir },
            log,
            Arc::new(Nowhere),
        );
        let mut watch = Watch {
            config: "/nonexistent".into(),
            teller: Arc::new(teller),
            watched: BTreeMap::new(),
            _lock: lock::take(&run_dir, "linkprobe watch").unwrap(),
            run_dir,
        };
        let (caller, _) = mpsc::channel();
        let thread = thread::spawn(|| {});
        while !thread.is_finished() {
            thread::yield_now();
        }
        let link = settings.links[0].clone();
        watch.watched.insert("backup".into(), Watched { link, caller, thread });
        watch.replace_the_dead();
        assert!(!watch.watched["backup"].thread.is_finished());
        assert!(watch.teller.silence() < HUNG);
        assert!(lock::take(&watch.run_dir, "linkprobe watch").is_err(), "there is one already");
        watch.end();
        fs::remove_dir_all(&watch.run_dir).unwrap();
    }
}
