//! Alerts on their way into the spool. One that finds no room there waits here, and comes later with
//! the time at which it happened.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::clock::Stamp;
use crate::config::host::Host;
use crate::event::{Event, Severity, What};
use crate::spool::Spool;
use crate::spool::drop::{self, SpoolError, Sync};
use crate::syslog::{Level, Line, Log};

/// Most that wait, some KiB: what is told is damped, so this is days.
const MOST: usize = 64;

/// How often it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Where alerts are handed in.
pub struct Outbox {
    host: Host,
    log: Log,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    tried: Option<Instant>,
}

impl Outbox {
    /// One for the spool of `host`.
    #[must_use]
    pub fn new(host: Host, log: Log) -> Self {
        Self { host, log, waiting: Mutex::default() }
    }

    /// Hands an alert in; whether it is in the spool, and not only here.
    pub fn put(&self, severity: Severity, what: What) -> bool {
        let event = drop::new_event(Stamp::now(), &self.host.name, severity, what);
        let Ok(mut waiting) = self.waiting.lock() else { return false };
        // What waits happened before, and is told before.
        self.deliver(&mut waiting);
        let why = if waiting.events.is_empty() {
            let Some(error) = self.publish(&event).err() else { return true };
            error.to_string()
        } else {
            "others wait before it".to_owned()
        };
        let line = Line::new("not-spooled").word("kind", event.what.kind());
        let line = line.text("message", &why);
        let _ = self.log.write(Level::Alert, &line.text("effect", "it is tried again"));
        if waiting.events.len() >= MOST {
            waiting.events.pop_front();
            let _ = self.log.write(Level::Alert, &Line::new("alert-lost").word("waiting", MOST));
        }
        waiting.events.push_back(event);
        waiting.tried = Some(Instant::now());
        false
    }

    /// Tries again what waits, when it is time. To be called often.
    pub fn again(&self) {
        let Ok(mut waiting) = self.waiting.lock() else { return };
        if waiting.tried.is_some_and(|at| at.elapsed() >= AGAIN) {
            self.deliver(&mut waiting);
        }
    }

    fn deliver(&self, waiting: &mut Waiting) {
        while let Some(event) = waiting.events.front() {
            if self.publish(event).is_err() {
                waiting.tried = Some(Instant::now());
                return;
            }
            let line = Line::new("spooled-late").word("kind", event.what.kind());
            let _ = self.log.write(Level::Warning, &line);
            waiting.events.pop_front();
        }
        waiting.tried = None;
    }

    fn publish(&self, event: &Event) -> Result<(), SpoolError> {
        match drop::publish(&Spool::new(&self.host.spool), event, Sync::Now) {
            // It is there, if not for sure on the disk: a second one would be told twice.
            Err(SpoolError::Io { step: "sync", .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use crate::event::Note;
    use crate::syslog::Source;

    use super::*;

    fn outbox(name: &str) -> (Outbox, PathBuf) {
        let spool = std::env::temp_dir().join(format!("outbox-{name}-{}", std::process::id()));
        let host = Host { spool: spool.clone(), ..Host::default() };
        let log = Log::new(Path::new("/nonexistent"), "tunnelwatch", Source::Daemon);
        (Outbox::new(host, log), spool)
    }

    fn note(text: usize) -> What {
        What::Note(Note { text: text.to_string() })
    }

    #[test]
    fn what_finds_no_room_comes_later_in_its_order_and_is_limited() {
        let (outbox, spool) = outbox("later");
        for text in 0..MOST + 3 {
            outbox.put(Severity::Info, note(text));
        }
        outbox.again();
        {
            let mut waiting = outbox.waiting.lock().unwrap();
            assert_eq!(waiting.events.len(), MOST);
            assert_eq!(waiting.events[0].what, note(3), "the oldest is lost");
            waiting.tried = Some(Instant::now() - AGAIN);
        }
        fs::create_dir_all(spool.join("drop")).unwrap();
        outbox.again();
        assert!(outbox.waiting.lock().unwrap().events.is_empty());
        assert_eq!(fs::read_dir(spool.join("drop")).unwrap().count(), MOST);
        outbox.put(Severity::Info, note(0));
        assert_eq!(fs::read_dir(spool.join("drop")).unwrap().count(), MOST + 1);
        fs::remove_dir_all(spool).unwrap();
    }
}
