//! After a start: for how long nobody was told anything. A sender that does not run cannot say so,
//! but the next one can.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clock::Stamp;
use crate::event::{Note, Severity, What};
use crate::foreign::Foreign;
use crate::spool::{Spool, drop, files};
use crate::text;

/// File in `[host] state` that says when a sender was last at work.
const FILE: &str = "alive.json";

/// How often it is written.
const EVERY: Duration = Duration::from_secs(300);

/// A gap that is worth a message: longer than a reboot, or an upgrade.
const GAP: Duration = Duration::from_secs(15 * 60);

/// The mark that a sender leaves while it works.
#[derive(Debug)]
pub struct Mark {
    state_dir: PathBuf,
    written: Option<Instant>,
}

impl Mark {
    /// The mark in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), written: None }
    }

    /// When the sender before this one was last at work, if there was one.
    #[must_use]
    pub fn read(&self) -> Option<Stamp> {
        serde_json::from_slice(&files::read_small(&self.state_dir.join(FILE)).ok()?).ok()
    }

    /// Writes it, if that was not done of late, or if this is the `last` time.
    pub fn keep(&mut self, last: bool) {
        if !last && self.written.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        // A directory that takes nothing is told by those for whom it matters more. On a full disk
        // the file's own bytes are still there to be used: or the next sender would tell of hours in
        // which this one was at work.
        if let Ok(json) = serde_json::to_vec(&Stamp::now()) {
            let replaced = files::replace(&self.state_dir, FILE, &json);
            let _ = replaced.or_else(|_| files::overwrite(&self.state_dir.join(FILE), &json));
        }
        self.written = Some(Instant::now());
    }
}

/// Puts an alert into the spool when no sender was at work for long, and renews the mark: one that
/// cannot start is started again each few seconds, and is not to tell it each time.
///
/// # Errors
///
/// When the spool does not take it.
pub fn tell(mark: &mut Mark, spool: &Spool, host: &Foreign) -> Result<(), drop::SpoolError> {
    let now = Stamp::now();
    let Some(words) = mark.read().and_then(|last| words(&last, &now)) else { return Ok(()) };
    let what = What::Note(Note { text: words });
    let event = drop::new_event(now, host, Severity::Warning, what);
    drop::publish(spool, &event, drop::Sync::Now)?;
    mark.keep(true);
    Ok(())
}

/// What to say of a gap from `last` to `now`; nothing of a short one.
fn words(last: &Stamp, now: &Stamp) -> Option<String> {
    let gap = last.age(now);
    if gap < GAP {
        return None;
    }
    // The wall clock may have been set in the gap; then the boot clock knows how long it was.
    let from = Stamp { unix_ms: last.by_clock_of(now), boot: None };
    // EVERY: it may have been at work for that much longer.
    Some(format!(
        "alerts were off from {} (the sender did not run); what happened then is told now",
        text::span(&from, now)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootStamp;

    #[test]
    fn only_a_long_gap_is_told() {
        let at = |minutes: u64| Stamp { unix_ms: minutes * 60_000, boot: None };
        assert_eq!(words(&at(1000), &at(1014)), None);
        assert_eq!(words(&at(1000), &at(900)), None, "a clock that was set back");
        let told = words(&at(1000), &at(1100)).unwrap();
        assert!(told.starts_with("alerts were off from ") && told.contains(" to "), "{told}");
        // A wall clock that was set by a day in the gap makes it no longer, and none of a restart.
        let day = |unix_ms, minutes: u64| Stamp {
            unix_ms,
            boot: Some(BootStamp { id: "a".into(), ms: minutes * 60_000 }),
        };
        let (before, noon) = (day(86_400_000, 0), 86_400_000 + 43_200_000);
        for unix_ms in [0, 2 * 86_400_000] {
            assert_eq!(words(&before, &day(unix_ms, 5)), None, "{unix_ms}");
        }
        let told = words(&before, &day(noon, 30)).unwrap();
        let span = text::span(&Stamp { unix_ms: noon - 1_800_000, boot: None }, &day(noon, 30));
        assert!(told.contains(&span), "{told}");
    }

    #[test]
    fn a_gap_is_told_once_also_by_a_sender_that_ends_in_its_start() {
        let dir = std::env::temp_dir().join(format!("notifier-silence-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        for sub in ["drop", "queue"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        std::fs::write(dir.join(FILE), r#"{"unix_ms":1}"#).unwrap();
        for _ in 0..3 {
            tell(&mut Mark::new(&dir), &Spool::new(&dir), &"jump".into()).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.join("drop")).unwrap().count(), 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
