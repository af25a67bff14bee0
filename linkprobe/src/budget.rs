//! The data of a month: kept on disk, reserved before it is spent, never exceeded.
//!
//! What a test may take at most is written down as used before its first packet, and put right after
//! it: a process that is killed, or a power cut, leaves too much written down and never too little.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lock;
use notifier::ffi::{LocalTime, local_time};
use notifier::spool::files;
use serde::{Deserialize, Serialize};

/// Longest wait for another run that has the book open: it writes a few hundred bytes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Seconds.
const DAY_S: i64 = 86_400;

/// Months that are remembered: a clock that jumps ahead and back finds the right one again.
const MONTHS: usize = 6;

/// A clock before this year has not been set since the machine was switched on.
const LEAST_YEAR: i32 = 2025;

/// The share of a month that tests leave alone: to look whether the line is there goes on when nothing is left
/// for them.
const KEPT: u64 = 20;

/// The book of one line.
#[derive(Debug, Clone)]
pub struct Budget {
    dir: PathBuf,
    name: String,
    /// Bytes of a month.
    limit: u64,
    /// The day on which it begins.
    begins: u8,
}

/// The day on which a month of the plan begins, as `2026-11-01`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Month(String);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    months: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    month: Month,
    used: u64,
    /// Whether it was told that nothing is left.
    #[serde(default)]
    told: bool,
    /// When its first bytes were used, in seconds since 1970: a line may be new in the middle of a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_s: Option<i64>,
}

/// How a month stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The first day of the month, as `2026-11-01`.
    pub since: String,
    /// Bytes used, reserved ones among them.
    pub used: u64,
    /// Bytes of the whole month.
    pub limit: u64,
    /// Bytes that the month will take, if it goes on like this; not told on its first day.
    pub projected: Option<u64>,
}

/// Why nothing was reserved.
#[derive(Debug)]
pub enum BudgetError {
    /// It would be more than is left; whether that is news.
    Exhausted {
        /// How the month stands.
        standing: Standing,
        /// Whether [`Budget::told`] says that somebody heard of it in this month.
        was_told: bool,
    },
    /// The book cannot be read or written: then nothing is spent.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl std::fmt::Display for BudgetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exhausted { standing, .. } => write!(
                f,
                "the month's data is used up: {} of {} since {}",
                crate::units::bytes(standing.used),
                crate::units::bytes(standing.limit),
                standing.since
            ),
            Self::Io { path, source } => {
                write!(f, "{}: {source}; no data is spent that cannot be counted", path.display())
            }
        }
    }
}

impl std::error::Error for BudgetError {}

impl Budget {
    /// The book of the line `name` in `dir`, for so many bytes a month that begins on a day.
    #[must_use]
    pub fn new(dir: &Path, name: &str, limit: u64, begins: u8) -> Self {
        Self { dir: dir.to_owned(), name: name.to_owned(), limit, begins }
    }

    /// Writes `bytes` of a test down as used, if so many are left.
    ///
    /// # Errors
    ///
    /// [`BudgetError`].
    pub fn reserve(&self, bytes: u64, now_s: i64) -> Result<(), BudgetError> {
        let limit = self.limit - self.limit / KEPT;
        let refused = self.change(now_s, |entry| {
            if entry.used.saturating_add(bytes) <= limit {
                entry.first_s.get_or_insert(now_s);
                entry.used += bytes;
                return None;
            }
            Some(entry.told)
        });
        match refused? {
            (None, _) => Ok(()),
            (Some(was_told), entry) => {
                let standing = self.standing_of(&entry, now_s);
                Err(BudgetError::Exhausted { standing, was_told })
            }
        }
    }

    /// Somebody was told that nothing is left of this month.
    ///
    /// # Errors
    ///
    /// [`BudgetError::Io`].
    pub fn told(&self, now_s: i64) -> Result<(), BudgetError> {
        self.change(now_s, |entry| entry.told = true).map(|_| ())
    }

    /// Puts right what was reserved: so much was used of it.
    ///
    /// # Errors
    ///
    /// [`BudgetError::Io`]; then all that was reserved counts as used.
    pub fn settle(&self, reserved: u64, used: u64, now_s: i64) -> Result<(), BudgetError> {
        let right = |entry: &mut Entry| {
            entry.used = entry.used.saturating_sub(reserved).saturating_add(used);
        };
        self.change(now_s, right).map(|_| ())
    }

    /// How the month stands.
    ///
    /// # Errors
    ///
    /// [`BudgetError::Io`].
    pub fn standing(&self, now_s: i64) -> Result<Standing, BudgetError> {
        let mut book = self.read()?;
        let entry = book.entry(&self.month(now_s)).clone();
        Ok(self.standing_of(&entry, now_s))
    }

    fn standing_of(&self, entry: &Entry, now_s: i64) -> Standing {
        let days = local_time(now_s).map_or(0, |now| days_into(&now, self.begins));
        let of_month = i64::from(days) * DAY_S;
        let passed = entry.first_s.map_or(of_month, |first| of_month.min(now_s - first));
        // The first day says little: an hour of tests, and a full day's long one.
        let passed = u64::try_from(passed).ok().filter(|_| passed >= DAY_S);
        let projected =
            passed.map(|passed| entry.used.saturating_mul(30 * DAY_S.unsigned_abs()) / passed);
        Standing {
            since: entry.month.0.clone(),
            used: entry.used,
            limit: self.limit,
            projected: projected.map(|projected| projected.max(entry.used)),
        }
    }

    fn month(&self, now_s: i64) -> Option<Month> {
        let now = local_time(now_s).filter(|now| now.year >= LEAST_YEAR)?;
        let (mut year, mut month) = (now.year, now.month);
        if now.day < self.begins {
            (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
        }
        Some(Month(format!("{year:04}-{month:02}-{:02}", self.begins)))
    }

    fn change<T>(
        &self,
        now_s: i64,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Result<(T, Entry), BudgetError> {
        let _locked = self.lock()?;
        let mut book = self.read()?;
        let entry = book.entry(&self.month(now_s));
        let told = change(entry);
        let entry = entry.clone();
        book.forget_old(&entry.month);
        let json = serde_json::to_vec(&book).map_err(|error| self.failed(error.into()))?;
        let written = files::write_durably(&self.dir, &self.file(), &json);
        written.map_err(|error| self.failed(error))?;
        Ok((told, entry))
    }

    fn read(&self) -> Result<Book, BudgetError> {
        let bytes = match files::read_small(&self.dir.join(self.file())) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
            Err(error) => return Err(self.failed(error)),
        };
        serde_json::from_slice(&bytes).map_err(|_| {
            let why = "no book of data any more; remove it, and the month is counted anew from now";
            self.failed(io::Error::new(io::ErrorKind::InvalidData, why))
        })
    }

    fn lock(&self) -> Result<File, BudgetError> {
        let path = self.dir.join(format!("{}.budget.lock", self.name));
        let taken = lock::take(&path, PATIENCE).map_err(|error| self.failed(error))?;
        taken.ok_or_else(|| self.failed(io::ErrorKind::WouldBlock.into()))
    }

    fn file(&self) -> String {
        format!("{}.budget.json", self.name)
    }

    fn failed(&self, source: io::Error) -> BudgetError {
        BudgetError::Io { path: self.dir.join(self.file()), source }
    }
}

impl Book {
    /// The month's entry; of a clock that was not set, the latest there is.
    fn entry(&mut self, month: &Option<Month>) -> &mut Entry {
        let latest = self.months.iter().map(|entry| entry.month.clone()).max();
        let month = month.clone().or(latest).unwrap_or(Month("1970-01-01".into()));
        let at = self.months.iter().position(|entry| entry.month == month);
        let at = at.unwrap_or_else(|| {
            self.months.push(Entry { month, used: 0, told: false, first_s: None });
            self.months.len() - 1
        });
        &mut self.months[at]
    }

    /// Not `this` one, which is the oldest after a clock that was ahead for months.
    fn forget_old(&mut self, this: &Month) {
        while self.months.len() > MONTHS {
            let others = self.months.iter().map(|entry| &entry.month);
            let oldest = others.filter(|month| *month != this).min().cloned();
            self.months.retain(|entry| Some(&entry.month) != oldest.as_ref());
        }
    }
}

/// Whole days since the month of the plan began.
fn days_into(now: &LocalTime, begins: u8) -> u8 {
    if now.day >= begins {
        return now.day - begins;
    }
    let before = match now.month {
        1 | 2 | 4 | 6 | 8 | 9 | 11 => 31,
        3 if now.year % 4 == 0 && (now.year % 100 != 0 || now.year % 400 == 0) => 29,
        3 => 28,
        _ => 30,
    };
    before - begins + now.day
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-11 12:00 UTC.
    const NOW: i64 = 1_794_398_400;
    const DAY: i64 = 86_400;

    fn budget(name: &str) -> Budget {
        let dir = std::env::temp_dir().join(format!("budget-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Budget::new(&dir, "backup", 1_000, 1)
    }

    #[test]
    fn what_is_reserved_is_used_until_it_is_put_right() {
        let budget = budget("reserve");
        budget.reserve(600, NOW).unwrap();
        let refused = |want| matches!(budget.reserve(600, NOW), Err(BudgetError::Exhausted { was_told, .. }) if was_told == want);
        assert!(refused(false) && refused(false), "nobody was told");
        budget.told(NOW).unwrap();
        assert!(refused(true));
        budget.settle(600, 100, NOW).unwrap();
        budget.reserve(850, NOW).unwrap();
        assert_eq!(budget.standing(NOW).unwrap().used, 950);
        assert!(budget.reserve(1, NOW).is_err(), "the rest is for looks");
        // The next month is another.
        budget.reserve(900, NOW + 30 * DAY).unwrap();
        std::fs::remove_dir_all(&budget.dir).unwrap();
    }

    #[test]
    fn a_clock_that_jumps_gives_no_data_away() {
        let budget = budget("clock");
        budget.reserve(900, NOW).unwrap();
        // Far ahead, and back.
        budget.reserve(900, NOW + 2000 * DAY).unwrap();
        assert_eq!(budget.standing(NOW).unwrap().used, 900);
        // Not set yet, after a reboot: the latest month that is known.
        assert!(budget.reserve(900, 60).is_err());
        // Ahead by many months, and back: what is the oldest is the one that counts.
        for month in 1..10 {
            budget.reserve(900, NOW + (2000 + 31 * month) * DAY).unwrap();
        }
        budget.reserve(900, NOW).unwrap();
        assert!(budget.reserve(900, NOW).is_err(), "its month is not forgotten at once");
        std::fs::remove_dir_all(&budget.dir).unwrap();
    }

    #[test]
    fn a_book_that_cannot_be_read_lets_nothing_through() {
        let budget = budget("damaged");
        std::fs::write(budget.dir.join(budget.file()), "{\"months\":[{").unwrap();
        let error = budget.reserve(1, NOW).unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
        std::fs::remove_dir_all(&budget.dir).unwrap();
        assert!(matches!(budget.reserve(1, NOW), Err(BudgetError::Io { .. })));
    }

    #[test]
    fn a_book_with_more_in_it_than_there_is_lets_nothing_through() {
        let budget = budget("more");
        let book = "{\"months\":[{\"month\":\"2026-11-01\",\"used\":18446744073709551615}]}";
        std::fs::write(budget.dir.join(budget.file()), book).unwrap();
        assert!(matches!(budget.reserve(1, NOW), Err(BudgetError::Exhausted { .. })));
        std::fs::remove_dir_all(&budget.dir).unwrap();
    }

    #[test]
    fn runs_at_the_same_time_do_not_forget_each_other() {
        let budget = budget("both");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10).for_each(|_| budget.reserve(10, NOW).unwrap()));
            }
        });
        assert_eq!(budget.standing(NOW).unwrap().used, 400);
        std::fs::remove_dir_all(&budget.dir).unwrap();
    }

    #[test]
    fn a_month_begins_when_the_plan_says_and_is_projected() {
        let budget = Budget { begins: 20, ..budget("begins") };
        assert_eq!(budget.month(NOW), Some(Month("2026-10-20".into())));
        assert_eq!(budget.month(NOW + 10 * DAY), Some(Month("2026-11-20".into())));
        budget.reserve(220, NOW).unwrap();
        // It is new today, and says nothing yet; and in two days as much as was used in them.
        assert_eq!(budget.standing(NOW).unwrap().projected, None);
        let standing = budget.standing(NOW + 2 * DAY).unwrap();
        assert_eq!(standing.projected, Some(220 * 15), "{standing:?}");
        // A book without the day of the first use: 22 days of the month have passed.
        let path = budget.dir.join(budget.file());
        let book = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, book.replace(&format!(",\"first_s\":{NOW}"), "")).unwrap();
        assert_eq!(budget.standing(NOW).unwrap().projected, Some(300));
        assert_eq!(budget.standing(NOW + 9 * DAY).unwrap().projected, None);
        std::fs::remove_dir_all(&budget.dir).unwrap();
    }
}
