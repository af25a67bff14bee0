//! What has to outlive this process of a jump host on demand: what was asked for, what runs, and what it
//! has used of the month. It is written before anything is asked for, so that whoever comes after a crash
//! looks first. And the wish of a person, which another process writes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notifier::clock::{Stamp, millis};
use notifier::spool::files;
use serde::{Deserialize, Serialize};

/// Months of which it is kept what they have used.
const MONTHS: usize = 3;

/// 2026, in which this was written: a wall clock that says less was lost with the power, and nobody has set it since.
const SET_MS: u64 = 1_767_225_600_000;

/// The note, as it stands in its file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Note {
    /// When it was written.
    pub written: Stamp,
    /// Which machine it is of.
    pub machine: Option<String>,
    /// What was asked for last, and has not come to its end yet.
    pub asked: Option<Asked>,
    /// The machine that runs, or was asked to.
    pub runs: Option<Runs>,
    /// Milliseconds that it ran, by month: `2026-11`.
    pub used_ms: BTreeMap<String, u64>,
    /// What was told and is not to be told again.
    pub told: Told,
    /// When the wish was made that is done with.
    pub done: Option<Stamp>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asked {
    /// Whether it is a start, and not a stop.
    pub start: bool,
    /// When.
    pub at: Stamp,
}

/// A machine that runs, or was asked to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Runs {
    /// Since when.
    pub since: Stamp,
    /// Until when it is in `used_ms`.
    pub counted: Stamp,
    /// Whether we have started it.
    pub ours: bool,
    /// Whether the provider has said that it does.
    pub confirmed: bool,
    /// Where it is.
    pub address: Option<String>,
    /// Whether it was told where it is reached, and that it does not come up.
    pub told_up: bool,
    /// See above.
    pub told_slow: bool,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Told {
    /// That it is started.
    pub starting: bool,
    /// That it has ended by itself, and is started again.
    pub ended: bool,
    /// That somebody else has started it.
    pub foreign: bool,
    /// That something is wrong at the provider: how bad, as `decide` counts it; 0 is nothing.
    pub trouble: u8,
    /// That there is no such machine any more.
    pub gone: bool,
    /// That the month is used up: which, and when that was told.
    pub cap: Option<(String, Stamp)>,
}

/// What a person wishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wish {
    /// That it runs, and not that it does not.
    pub start: bool,
    /// When that was said.
    pub at: Stamp,
}

impl Note {
    /// That it is of this machine from now on. Answers what runs of the one before, which nobody sees to any more; what
    /// the month has used stays.
    pub fn adopt(&mut self, machine: &str) -> Option<(String, Runs)> {
        let before = self.machine.replace(machine.to_owned());
        let before = before.filter(|before| before != machine)?;
        let cap = self.told.cap.take();
        (self.asked, self.told) = (None, Told { cap, ..Told::default() });
        Some((before, self.runs.take()?))
    }

    /// That it is written now.
    pub fn stamp(&mut self, now: &Stamp) {
        self.written = Stamp { unix_ms: self.wall_ms(now), ..now.clone() };
    }

    /// The wall clock, or what it was the last time where it is not set, as that of a machine without a battery is not.
    fn wall_ms(&self, now: &Stamp) -> u64 {
        match now.unix_ms {
            unset @ ..SET_MS => unset.max(self.written.unix_ms),
            set => set,
        }
    }

    /// The month that it is.
    #[must_use]
    pub fn month(&self, now: &Stamp) -> String {
        month_of(self.wall_ms(now))
    }

    /// What the month has used.
    #[must_use]
    pub fn used(&self, now: &Stamp) -> Duration {
        Duration::from_millis(self.used_ms.get(&self.month(now)).copied().unwrap_or(0))
    }

    /// Counts the machine that runs, until now.
    pub fn count(&mut self, now: &Stamp) {
        let month = self.month(now);
        let Some(runs) = self.runs.as_mut().filter(|runs| runs.ours && runs.confirmed) else {
            return;
        };
        // Since a clock that was not set, and is now, some decades have passed that have not.
        let is_known = runs.counted.unix_ms >= SET_MS || runs.counted.is_same_boot(now);
        let ms = if is_known { millis(runs.counted.age(now)) } else { 0 };
        runs.counted = now.clone();
        let used = self.used_ms.entry(month.clone()).or_default();
        *used = used.saturating_add(ms);
        // The oldest, but not this one: a clock that was in the future has left months there.
        while self.used_ms.len() > MONTHS {
            let Some(oldest) = self.used_ms.keys().find(|one| **one != month).cloned() else {
                break;
            };
            self.used_ms.remove(&oldest);
        }
    }
}

/// `2026-11`, of milliseconds since 1970: days and months as the calendar of the civil year has them
/// (Hinnant, "chrono-compatible low-level date algorithms").
fn month_of(unix_ms: u64) -> String {
    let days = unix_ms / 86_400_000 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (month, more) = if shifted < 10 { (shifted + 3, 0) } else { (shifted - 9, 1) };
    format!("{:04}-{month:02}", year + era * 400 + more)
}

/// What runs of jump hosts that nobody sees to any more, as the file has no such tunnel. `kept` are those that somebody
/// sees to.
#[must_use]
pub fn left_behind(dir: &Path, kept: &[String]) -> Vec<(String, Runs)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".jump")?.to_owned()));
    let left = names.filter(|name| !kept.contains(name));
    left.filter_map(|name| Store::new(dir, &name).note().ok()?.runs.map(|runs| (name, runs)))
        .collect()
}

/// That it is for a person from now on, who was told. What it has used of the month stays on record.
///
/// # Errors
///
/// What the system said.
pub fn leave(dir: &Path, name: &str) -> io::Result<()> {
    let store = Store::new(dir, name);
    let note = Note { runs: None, ..store.note()? };
    store.keep(&note)
}

/// The files of one tunnel in the state directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    name: String,
}

impl Store {
    /// Those of a tunnel.
    #[must_use]
    pub fn new(dir: &Path, name: &str) -> Self {
        Self { dir: dir.to_owned(), name: name.to_owned() }
    }

    fn file(&self, ending: &str) -> String {
        format!("{}.{ending}", self.name)
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, ending: &str) -> io::Result<Option<T>> {
        match files::read_small(&self.dir.join(self.file(ending))) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The note; an empty one where there is none.
    ///
    /// # Errors
    ///
    /// Why one that is there cannot be read.
    pub fn note(&self) -> io::Result<Note> {
        Ok(self.read("jump")?.unwrap_or_default())
    }

    /// Keeps the note, for sure.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn keep(&self, note: &Note) -> io::Result<()> {
        let json = serde_json::to_vec(note).map_err(io::Error::other)?;
        files::write_durably(&self.dir, &self.file("jump"), &json)
    }

    /// The wish, and when its file was changed: for who looks often.
    #[must_use]
    pub fn wish(&self) -> Option<Wish> {
        self.read("wish").ok().flatten()
    }

    /// When the file of the wish was changed.
    #[must_use]
    pub fn wished(&self) -> Option<SystemTime> {
        std::fs::metadata(self.dir.join(self.file("wish"))).and_then(|meta| meta.modified()).ok()
    }

    /// Makes a wish.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn make_wish(&self, start: bool) -> io::Result<()> {
        let json =
            serde_json::to_vec(&Wish { start, at: Stamp::now() }).map_err(io::Error::other)?;
        files::write_durably(&self.dir, &self.file("wish"), &json)
    }
}

#[cfg(test)]
mod tests {
    use notifier::clock::BootStamp;

    use super::*;

    fn at(unix_ms: u64, boot: &str, ms: u64) -> Stamp {
        Stamp { unix_ms, boot: Some(BootStamp { id: boot.into(), ms }) }
    }

    const HOUR: u64 = 3_600_000;
    const NOV_1: u64 = 1_793_491_200_000;

    #[test]
    fn months_are_those_of_the_calendar() {
        for (unix_s, want) in [
            (0, "1970-01"),
            (951_782_399, "2000-02"),
            (951_868_800, "2000-03"),
            (1_798_761_599, "2026-12"),
            (1_798_761_600, "2027-01"),
            (4_107_542_400, "2100-03"),
            (NOV_1 / 1000, "2026-11"),
            (NOV_1 / 1000 - 1, "2026-10"),
        ] {
            assert_eq!(month_of(unix_s * 1000), want, "{unix_s}");
        }
    }

    #[test]
    fn what_runs_is_counted_once_whatever_the_clock_does() {
        let mut note = Note { written: at(NOV_1, "a", 0), ..Note::default() };
        let start = at(NOV_1, "a", 0);
        note.runs = Some(Runs {
            since: start.clone(),
            counted: start,
            ours: true,
            confirmed: true,
            ..Runs::default()
        });
        for (now, hours) in [
            (at(NOV_1 + HOUR, "a", HOUR), 1),
            // Set a year forward, and back: an hour is an hour.
            (at(NOV_1 + 9_000 * HOUR, "a", 2 * HOUR), 1),
            (at(NOV_1 + 3 * HOUR, "a", 3 * HOUR), 2),
            (at(NOV_1 + 3 * HOUR, "a", 3 * HOUR), 2),
            // Over a reboot.
            (at(NOV_1 + 5 * HOUR, "b", 0), 4),
            // Which comes up in 1970 for want of a battery: no time has passed, and it is November still.
            (at(0, "c", 0), 4),
            (at(HOUR, "c", HOUR), 5),
            // And then in November, without the decades between.
            (at(NOV_1 + 7 * HOUR, "d", 0), 5),
            (at(NOV_1 + 8 * HOUR, "d", HOUR), 6),
        ] {
            note.count(&now);
            let used = note.used(&now).as_secs() / 3600;
            assert_eq!(used, hours, "{now:?}: {:?}", note.used_ms);
            note.stamp(&now);
        }
        // Somebody else's hours, and those of a start that came to nothing, are not ours.
        for (ours, confirmed) in [(false, true), (true, false)] {
            let runs = Runs { counted: at(NOV_1, "a", 0), ours, confirmed, ..Runs::default() };
            let mut note = Note { runs: Some(runs), ..Note::default() };
            note.count(&at(NOV_1 + HOUR, "a", HOUR));
            assert!(note.used_ms.is_empty());
        }
    }

    #[test]
    fn a_clock_that_was_in_the_future_takes_no_month_from_this_one() {
        let runs =
            Runs { counted: at(NOV_1, "a", 0), ours: true, confirmed: true, ..Runs::default() };
        let used_ms = ["2099-01", "2099-02", "2099-03"].map(|month| (month.to_owned(), 1)).into();
        let mut note = Note { runs: Some(runs), used_ms, ..Note::default() };
        for hours in 1..=3 {
            note.count(&at(NOV_1 + hours * HOUR, "a", hours * HOUR));
        }
        let used = note.used(&at(NOV_1, "a", 3 * HOUR));
        assert_eq!((used.as_secs(), note.used_ms.len()), (3 * 3600, MONTHS));
    }

    #[test]
    fn a_note_of_another_machine_keeps_the_month_and_gives_up_what_runs() {
        let runs = Runs { ours: true, address: Some("198.51.100.7".into()), ..Runs::default() };
        let told = Told { starting: true, ..Told::default() };
        let used_ms = BTreeMap::from([("2026-11".to_owned(), HOUR)]);
        let mut note = Note { runs: Some(runs.clone()), told, used_ms, ..Note::default() };
        let before = note.clone();
        assert_eq!(note.adopt("ec2 i-1"), None);
        assert_eq!((&note.runs, &note.told), (&before.runs, &before.told));
        assert_eq!(note.adopt("ec2 i-1"), None);
        assert_eq!(note.adopt("ec2 i-2"), Some(("ec2 i-1".into(), runs)));
        assert_eq!((note.runs.clone(), note.told.starting), (None, false));
        assert_eq!(note.used_ms, before.used_ms);
        assert_eq!(note.adopt("ec2 i-1"), None, "nothing ran");
    }

    #[test]
    fn a_note_and_a_wish_are_read_as_they_were_written_and_an_odd_one_is_no_empty_one() {
        let dir = std::env::temp_dir().join(format!("jump-note-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let store = Store::new(&dir, "home");
        assert_eq!((store.note().unwrap(), store.wish()), (Note::default(), None));
        let asked = Some(Asked { start: true, at: Stamp::now() });
        let note = Note { asked, ..Note::default() };
        store.keep(&note).unwrap();
        assert_eq!(store.note().unwrap(), note);
        store.make_wish(true).unwrap();
        assert!(store.wish().unwrap().start && store.wished().is_some());
        let runs = Some(Runs { ours: true, ..Runs::default() });
        store.keep(&Note { runs, ..note.clone() }).unwrap();
        assert!(left_behind(&dir, &["home".to_owned()]).is_empty());
        for _ in 0..2 {
            assert_eq!(left_behind(&dir, &[])[0].0, "home", "until somebody was told");
        }
        leave(&dir, "home").unwrap();
        assert!(left_behind(&dir, &[]).is_empty(), "it is told once");
        assert_eq!(store.note().unwrap(), note);
        std::fs::write(dir.join("home.jump"), "{").unwrap();
        assert!(store.note().is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
