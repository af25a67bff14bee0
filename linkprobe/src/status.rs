//! `linkprobe status`: beside a `watch` that is at work, how the lines are, and what the last check has found.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notifier::clock::{Stamp, unix_ms};
use notifier::daemon::words;
use notifier::exit::{self, Failure};
use notifier::spool::files;
use serde_json::json;

use crate::record::{Record, Verdict};
use crate::watch::state::{Asked, Book, STATE, State};

/// Age from which the state says nothing any more: `watch` writes it each 20 s.
const STALE: Duration = Duration::from_secs(90);

/// Age from which a check says nothing any more: it is made each hour.
const OLD_CHECK: Duration = Duration::from_secs(26 * 3600);

/// What the names of the files end with in which `check` keeps its records.
const CHECK: &str = ".check.json";

/// Longest file that is read: eight lines with sixteen who are asked have 20 kB. Root may look, and whose files they
/// are is another.
const MAX_FILE: u64 = 256 * 1024;

/// Exit codes of the monitoring plugins.
const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// The file in the run directory with the record of a line's last check. It is gone after a reboot,
/// and the next check writes it again.
#[must_use]
pub fn check_file(link: &str) -> String {
    format!("{link}{CHECK}")
}

/// Keeps the record of a check for `status`.
///
/// # Errors
///
/// What the system said.
pub fn keep_check(run_dir: &Path, record: &Record) -> std::io::Result<()> {
    let json = serde_json::to_vec(record)?;
    files::replace_public(run_dir, &check_file(&record.link), &json)
}

/// The last check of a line.
#[derive(Debug, Clone, PartialEq)]
struct Checked {
    record: Record,
    age: Duration,
}

/// A line, as it is known.
struct One {
    name: String,
    state: State,
    checked: Option<Checked>,
}

/// Prints how the lines are, or the one of this name, and answers the exit code.
///
/// # Errors
///
/// Never; what is not known has a code of its own.
pub fn status(run_dir: &Path, name: Option<&str>, as_json: bool) -> Result<u8, Failure> {
    let path = run_dir.join(STATE);
    let (text, code) = match read(&path, name) {
        Ok((book, age)) => {
            let links =
                book.links.into_iter().filter(|(link, _)| name.is_none_or(|name| name == link));
            let all: Vec<One> = links
                .map(|(name, state)| One { checked: checked(run_dir, &name), name, state })
                .collect();
            // In the book's own time, for the clock may have been set since.
            let now_s = book.written_s.saturating_add(age.as_secs());
            let text = if as_json { in_json(&all) } else { lines(&all, now_s) };
            (text, code(&all))
        }
        Err(why) => {
            let text = match as_json {
                true => json!({ "unknown": why }).to_string() + "\n",
                false => unwatched(run_dir, name, &why),
            };
            (text, UNKNOWN)
        }
    };
    exit::print(&text);
    Ok(code)
}

/// Whether a `watch` is at work that tells of this line.
#[must_use]
pub fn is_watched(run_dir: &Path, link: &str) -> bool {
    read(&run_dir.join(STATE), Some(link)).is_ok()
}

/// The book, which has to be a fresh one and to know the line.
fn read(path: &Path, name: Option<&str>) -> Result<(Book, Duration), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = files::read_plain(path, MAX_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "linkprobe watch does not run (systemctl enable --now linkprobe-watch)".to_owned()
        }
        _ => failed(&error),
    })?;
    let book: Book = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    let written =
        Stamp { unix_ms: book.written_s.saturating_mul(1000), boot: book.written_boot.clone() };
    let age = written.age(&Stamp::now());
    if age > STALE {
        return Err(format!("linkprobe watch does not run: its state is {} old", words(age)));
    }
    match name.filter(|name| !book.links.contains_key(*name)) {
        Some(name) => Err(format!(
            "linkprobe watch knows no link {name:?} (systemctl reload linkprobe-watch reads the file anew)"
        )),
        None => Ok((book, age)),
    }
}

/// The last check, as old as its file is: the record's own time is the wall clock's.
fn checked(run_dir: &Path, name: &str) -> Option<Checked> {
    let path: PathBuf = run_dir.join(check_file(name));
    let age = fs::metadata(&path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
    let record = serde_json::from_slice(&files::read_plain(&path, MAX_FILE).ok()?).ok()?;
    Some(Checked { record, age })
}

/// What counts of the last check. That the line is there `watch` knows better: it has looked since.
fn verdict_of(one: &One) -> Option<Verdict> {
    let fresh = one.checked.as_ref().filter(|checked| checked.age < OLD_CHECK);
    let verdict = fresh.and_then(|checked| checked.record.verdict);
    verdict.filter(|verdict| *verdict != Verdict::Down || one.state.up.is_none())
}

/// The code of one line: the worse of the two, where what is not known is worse than what is well.
fn code_of(one: &One) -> u8 {
    let up = match one.state.up {
        Some(true) => OK,
        Some(false) => return CRITICAL,
        None => UNKNOWN,
    };
    let check = verdict_of(one).map_or(OK, Verdict::exit_code);
    let badness =
        |code: &u8| [OK, UNKNOWN, WARNING, CRITICAL].iter().position(|known| known == code);
    [up, check].into_iter().max_by_key(badness).unwrap_or(UNKNOWN)
}

/// The code of all of them: one that is bad is a warning while another is well.
fn code(all: &[One]) -> u8 {
    let codes: Vec<u8> = all.iter().map(code_of).collect();
    let has = |code| codes.contains(&code);
    if codes.is_empty() || codes.iter().all(|code| *code == UNKNOWN) {
        UNKNOWN
    } else if has(CRITICAL) && !has(OK) && !has(WARNING) {
        CRITICAL
    } else if has(CRITICAL) || has(WARNING) {
        WARNING
    } else if has(UNKNOWN) {
        UNKNOWN
    } else {
        OK
    }
}

/// The word of an exit code, as monitoring plugins have it.
#[must_use]
pub fn word(code: u8) -> &'static str {
    match code {
        OK => "OK",
        WARNING => "WARNING",
        CRITICAL => "CRITICAL",
        _ => "UNKNOWN",
    }
}

/// A line for each.
fn lines(all: &[One], now_s: u64) -> String {
    let mut text = String::new();
    let ago = |at: u64| words(Duration::from_secs(now_s.saturating_sub(at)));
    for one in all {
        let One { name, state, checked } = one;
        let since = state.since_s.map(&ago).unwrap_or_default();
        let by = match (&state.interface, state.source) {
            (Some(interface), _) => format!(" by {interface}"),
            (None, Some(source)) => format!(" from {source}"),
            (None, None) => String::new(),
        };
        let looked = state.looked_s.map(|at| format!(", looked at {} ago", ago(at)));
        let looked = looked.unwrap_or_default();
        let why = state.why.as_deref().unwrap_or("it was not looked at yet");
        let _ = match state.up {
            Some(true) => {
                let took = state.rtt_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
                let trouble = silent(&state.asked);
                let doubt = state.why.as_ref().map(|why| format!("; but now {why}"));
                let word = word(code_of(one));
                write!(text, "{word}: {name} up for {since}{by}{looked}{took}{trouble}")
                    .and_then(|()| write!(text, "{}", doubt.unwrap_or_default()))
            }
            Some(false) => write!(text, "DOWN: {name} for {since}{by}{looked}: {why}"),
            None => write!(text, "UNKNOWN: {name}{by}{looked}: {why}"),
        };
        if let Some(Checked { record, age }) = checked {
            let _ = write!(text, "; {}", said(record, *age, why));
        }
        text.push('\n');
    }
    text
}

/// `checked 2 s ago: slow: about 4 Mbit/s`, without what `why` says already.
fn said(record: &Record, age: Duration, why: &str) -> String {
    let verdict = record.verdict.map_or("nothing", Verdict::as_str);
    let reasons: Vec<&str> =
        record.reasons.iter().map(String::as_str).filter(|reason| *reason != why).collect();
    let reasons = match reasons.join("; ") {
        reasons if reasons.is_empty() => reasons,
        reasons => format!(": {reasons}"),
    };
    format!("checked {} ago: {verdict}{reasons}", words(age))
}

/// What is known where no `watch` tells anything: the last checks, of all lines or the one of this name.
fn unwatched(run_dir: &Path, name: Option<&str>, why: &str) -> String {
    let names = || -> Vec<String> {
        let files = fs::read_dir(run_dir).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let of_checks = names.filter_map(|file| Some(file.strip_suffix(CHECK)?.to_owned()));
        let mut names: Vec<String> = of_checks.collect();
        names.sort();
        names
    };
    let names = name.map_or_else(names, |name| vec![name.to_owned()]);
    let mut text = format!("UNKNOWN: {why}\n");
    for name in names {
        if let Some(Checked { record, age }) = checked(run_dir, &name) {
            let _ = writeln!(text, "{name}: {}", said(&record, age, ""));
        }
    }
    text
}

/// Who does not answer although the line is up, or is unwell.
fn silent(asked: &[Asked]) -> String {
    let of = |words: &[&str]| {
        let names = asked.iter().filter(|one| words.contains(&one.found.as_str()));
        names.map(|one| one.to.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut text = String::new();
    for (names, what) in [(of(&["silent", "failed"]), "silent"), (of(&["unwell"]), "unwell")] {
        if !names.is_empty() {
            let _ = write!(text, "; {what}: {names}");
        }
    }
    text
}

fn in_json(all: &[One]) -> String {
    let links: serde_json::Map<String, serde_json::Value> = all
        .iter()
        .map(|one| {
            let mut state = serde_json::to_value(&one.state).unwrap_or_default();
            state["check"] = match &one.checked {
                Some(checked) => json!({
                    "age-s": checked.age.as_secs(),
                    "record": checked.record,
                }),
                None => serde_json::Value::Null,
            };
            (one.name.clone(), state)
        })
        .collect();
    let all = json!({ "now-s": unix_ms() / 1000, "links": links });
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(up: Option<bool>, verdict: Option<Verdict>, age_h: u64) -> One {
        let state = State {
            up,
            why: (up == Some(false)).then(|| "nobody answers of 192.0.2.53".into()),
            since_s: up.map(|_| 40),
            looked_s: Some(95),
            rtt_ms: Some(31.25),
            interface: Some("wwan0".into()),
            ..State::default()
        };
        let reasons = vec!["3.1 Mbit/s of 10 Mbit/s".to_owned()];
        let record = Record { verdict, reasons, ..Record::default() };
        let age = Duration::from_secs(age_h * 3600);
        let checked = verdict.map(|_| Checked { record, age });
        One { name: "backup".into(), state, checked }
    }

    #[test]
    fn the_code_is_that_of_a_monitoring_plugin() {
        let up = |verdict| one(Some(true), verdict, 1);
        let (down, unknown) = (|| one(Some(false), Some(Verdict::Good), 1), || one(None, None, 0));
        let table = [
            (vec![up(None)], OK),
            (vec![up(Some(Verdict::Good))], OK),
            (vec![up(Some(Verdict::HighLatency))], WARNING),
            (vec![up(Some(Verdict::Slow))], CRITICAL),
            (vec![up(Some(Verdict::Untested))], UNKNOWN),
            // It was down in the hour's check, and is up by the last look.
            (vec![up(Some(Verdict::Down))], OK),
            (vec![one(Some(true), Some(Verdict::Slow), 30)], OK),
            (vec![down()], CRITICAL),
            (vec![unknown()], UNKNOWN),
            (vec![], UNKNOWN),
            (vec![up(None), down()], WARNING),
            (vec![down(), down()], CRITICAL),
            (vec![down(), unknown()], CRITICAL),
            (vec![up(None), unknown()], UNKNOWN),
            (vec![up(Some(Verdict::Slow)), down()], CRITICAL),
        ];
        for (at, (all, want)) in table.iter().enumerate() {
            assert_eq!(code(all), *want, "row {at}");
        }
    }

    #[test]
    fn a_line_is_a_line_of_text() {
        let mut shaky = one(Some(true), Some(Verdict::Slow), 1);
        shaky.state.why = Some("nobody answers of 192.0.2.53".into());
        shaky.state.asked = vec![
            Asked { to: "192.0.2.53".into(), found: "silent".into(), ..Asked::default() },
            Asked { to: "192.0.2.54".into(), found: "unwell".into(), ..Asked::default() },
            Asked { to: "192.0.2.55".into(), found: "answered".into(), ..Asked::default() },
        ];
        let all = [one(Some(true), None, 0), shaky, one(Some(false), None, 0), one(None, None, 0)];
        let want = "OK: backup up for 60 s by wwan0, looked at 5 s ago in 31.25 ms\n\
            CRITICAL: backup up for 60 s by wwan0, looked at 5 s ago in 31.25 ms; silent: 192.0.2.53; \
            unwell: 192.0.2.54; but now nobody answers of 192.0.2.53; checked 60 min ago: slow: 3.1 \
            Mbit/s of 10 Mbit/s\n\
            DOWN: backup for 60 s by wwan0, looked at 5 s ago: nobody answers of 192.0.2.53\n\
            UNKNOWN: backup by wwan0, looked at 5 s ago: it was not looked at yet\n";
        assert_eq!(lines(&all, 100), want);
    }

    #[test]
    fn what_is_old_or_missing_or_broken_is_unknown() {
        let dir = std::env::temp_dir().join(format!("link-status-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(STATE);
        assert!(read(&path, None).unwrap_err().contains("does not run (systemctl"));
        let write = |age_s: u64| {
            let now = Stamp::now().before(Duration::from_secs(age_s));
            let links = [("backup".to_owned(), State::default())].into();
            let book =
                Book { written_s: now.unix_ms / 1000, written_boot: now.boot, pid: 1, links };
            fs::write(&path, serde_json::to_vec(&book).unwrap()).unwrap();
        };
        write(0);
        assert!(read(&path, None).is_ok() && read(&path, Some("backup")).is_ok());
        assert!(read(&path, Some("main")).unwrap_err().contains("no link \"main\""));
        write(100);
        let old = read(&path, None).unwrap_err();
        assert!(old.ends_with("does not run: its state is 100 s old"), "{old}");
        fs::write(&path, "{").unwrap();
        assert!(read(&path, None).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(read(&path, None).unwrap_err().contains("symbolic link"));
        // And the last check, as `check` keeps it.
        assert_eq!(checked(&dir, "backup"), None);
        let record =
            Record { link: "backup".into(), verdict: Some(Verdict::Slow), ..Record::default() };
        keep_check(&dir, &record).unwrap();
        assert_eq!(checked(&dir, "backup").unwrap().record, record);
        // Which is told also when nobody watches.
        let text = unwatched(&dir, None, "nobody watches");
        assert_eq!(text, "UNKNOWN: nobody watches\nbackup: checked 0 s ago: slow\n");
        fs::remove_dir_all(dir).unwrap();
    }
}
