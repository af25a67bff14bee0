//! `tunnelwatch status` and `retry`: beside a `run` that is at work.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use notifier::clock::Stamp;
use notifier::daemon::words;
use notifier::exit::Failure;
use notifier::ffi::try_lock;

use crate::cli::print;
use crate::config::Settings;
use crate::tell::{Book, STATE, State, Way};

/// Age from which a state file says nothing any more: `run` writes it each 20 s.
const STALE: Duration = Duration::from_secs(90);

/// Exit codes of the monitoring plugins.
const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// Prints how the tunnels are and answers the exit code.
///
/// # Errors
///
/// Never; what is not known has a code of its own.
pub fn status(config: &Path, run_dir: &Path, json: bool) -> Result<u8, Failure> {
    match book(run_dir) {
        Ok((book, now_s)) => {
            if json {
                let text = serde_json::to_string_pretty(&book).unwrap_or_default();
                print(&(text + "\n"))?;
            } else {
                print(&lines(&book, now_s))?;
            }
            Ok(code(&book))
        }
        Err(why) => {
            let settings = Settings::load(config).ok();
            let text =
                format!("UNKNOWN: {}", settings.and_then(|all| elsewhere(&all)).unwrap_or(why));
            if json {
                print(&format!("{}\n", serde_json::json!({ "unknown": text })))?;
            } else {
                print(&format!("{text}\n"))?;
            }
            Ok(UNKNOWN)
        }
    }
}

/// What to ask where no tunnel is kept, as on the jump host.
fn elsewhere(settings: &Settings) -> Option<String> {
    let keeps = !settings.tunnels.is_empty() || !settings.externals.is_empty();
    (!settings.watches.is_empty() && !keeps).then(|| {
        "no tunnel is kept on this host, which has [[tunnel-watch]] alone: ask the internal host; here: sudo tunnelwatch \
         check, and journalctl -u tunnelwatch-watch"
            .to_owned()
    })
}

/// What `run` has written, if that is fresh, and now in seconds since 1970: in the book's own time, for the clock may
/// have been set since.
///
/// # Errors
///
/// Why nothing is known, in words.
pub(crate) fn book(run_dir: &Path) -> Result<(Book, u64), String> {
    let path = run_dir.join(STATE);
    let read = fs::read(&path).map_err(|error| error.to_string());
    let book = read.and_then(|bytes| {
        serde_json::from_slice::<Book>(&bytes).map_err(|error| error.to_string())
    });
    let book = book.and_then(|book| {
        let age = age(&book, &Stamp::now());
        let now_s = book.written_s.saturating_add(age.as_secs());
        if age > STALE { Err(format!("it is {} old", words(age))) } else { Ok((book, now_s)) }
    });
    let fix = "does tunnelwatch run?";
    book.map_err(|why| format!("{}: {why}; {fix}", path.display()))
}

/// How old a book is.
fn age(book: &Book, now: &Stamp) -> Duration {
    let written = book.written_s.saturating_mul(1000);
    Stamp { unix_ms: written, boot: book.written_boot.clone() }.age(now)
}

fn code(book: &Book) -> u8 {
    let up = book.tunnels.values().filter(|state| state.up || state.off_by_plan).count();
    match (up, book.tunnels.len()) {
        (_, 0) => UNKNOWN,
        (up, all) if up == all => OK,
        (0, _) => CRITICAL,
        _ => WARNING,
    }
}

/// A line for each tunnel.
fn lines(book: &Book, now_s: u64) -> String {
    let mut text = String::new();
    for (name, state) in &book.tunnels {
        let since = words(Duration::from_secs(now_s.saturating_sub(state.since_s)));
        let (on, at) = match &state.way {
            Way::Ssh { port, home, jump, .. } => {
                let place = if *home { "" } else { " (not its first)" };
                (" on", format!("port {port}{place} of {jump}"))
            }
            Way::External { target } => (" with", target.to_string()),
        };
        let _ = if state.off_by_plan {
            let why = state.why.as_deref().unwrap_or_default();
            writeln!(text, "OK: {name} off by plan for {since}: {why}")
        } else if state.up {
            let took = state.proof_ms.unwrap_or(0);
            let ago = now_s.saturating_sub(state.proved_s.unwrap_or(now_s));
            writeln!(text, "OK: {name} up for {since}{on} {at}, proved {ago} s ago in {took} ms")
        } else {
            let why = state.why.as_deref().unwrap_or("it has not worked yet");
            writeln!(text, "DOWN: {name} for {since}, {at}: {why}")
        };
    }
    text
}

/// Tells `run` to try now.
///
/// # Errors
///
/// When there is none.
pub fn retry(run_dir: &Path) -> Result<(), Failure> {
    let none = || Failure::unavailable(format!("no tunnelwatch runs in {}", run_dir.display()));
    let pid = runs(run_dir).ok_or_else(none)?;
    crate::ffi::signal(pid, libc::SIGUSR1)
        .map_err(|error| Failure::io(format!("signal process {pid}"), &error))
}

/// The process of `run` in this directory. The lock says that there is one: a file alone may be
/// left over, and its number another's by now. Whoever owns the file may write any number, so it has to
/// be a process of his.
pub(crate) fn runs(run_dir: &Path) -> Option<libc::pid_t> {
    // The directory is his as well, so what is there may be no file of ours.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file =
        fs::File::options().read(true).custom_flags(flags).open(run_dir.join("lock")).ok()?;
    if !matches!(try_lock(&file), Ok(false)) {
        return None;
    }
    let mut text = String::new();
    file.by_ref().take(16).read_to_string(&mut text).ok()?;
    let pid: libc::pid_t = text.trim().parse().ok().filter(|pid| *pid > 1)?;
    let process = fs::metadata(format!("/proc/{pid}")).ok()?;
    (process.uid() == file.metadata().ok()?.uid()).then_some(pid)
}

/// What `run` says of a tunnel, if it runs and has it.
pub(crate) fn of_one(run_dir: &Path, name: &str) -> Option<State> {
    runs(run_dir)?;
    let bytes = fs::read(run_dir.join(STATE)).ok()?;
    serde_json::from_slice::<Book>(&bytes).ok()?.tunnels.remove(name)
}

#[cfg(test)]
mod tests {
    use notifier::clock::BootStamp;

    use super::*;

    fn state(up: bool) -> State {
        State {
            up,
            off_by_plan: false,
            cause: (!up).then(|| "refused".into()),
            why: (!up).then(|| "the jump host refuses connections".into()),
            way: Way::Ssh { port: 2222, home: true, jump: "t@h port 22".into(), ssh_pid: None },
            since_s: 40,
            proved_s: Some(95),
            proof_ms: Some(15),
        }
    }

    #[test]
    fn the_code_is_that_of_a_monitoring_plugin() {
        for (ups, want) in [
            (&[true][..], OK),
            (&[true, false], WARNING),
            (&[false, false], CRITICAL),
            (&[false], CRITICAL),
            (&[], UNKNOWN),
        ] {
            let tunnels = ups.iter().enumerate().map(|(at, up)| (at.to_string(), state(*up)));
            let book = Book { tunnels: tunnels.collect(), ..Book::default() };
            assert_eq!(code(&book), want, "{ups:?}");
        }
    }

    #[test]
    fn a_lock_that_nobody_holds_or_that_names_another_is_no_run() {
        let dir = std::env::temp_dir().join(format!("status-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(runs(&dir), None);
        let own = libc::pid_t::try_from(std::process::id()).unwrap();
        fs::write(dir.join("lock"), format!("{own}\n")).unwrap();
        assert_eq!(runs(&dir), None, "left over");
        let held = fs::File::open(dir.join("lock")).unwrap();
        assert!(try_lock(&held).unwrap());
        assert_eq!(runs(&dir), Some(own));
        for other in ["1", "0", "-5", "x", ""] {
            fs::write(dir.join("lock"), other).unwrap();
            assert_eq!(runs(&dir), None, "{other:?}");
        }
        // The lock of somebody else's daemon.
        fs::rename(dir.join("lock"), dir.join("other")).unwrap();
        fs::write(dir.join("other"), format!("{own}\n")).unwrap();
        std::os::unix::fs::symlink(dir.join("other"), dir.join("lock")).unwrap();
        assert_eq!(runs(&dir), None, "a link");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn where_no_tunnel_is_kept_it_is_said_what_to_ask() {
        const WATCH: &str = "[[tunnel-watch]]\nname = \"home\"\nports = [2222]\n";
        const TUNNEL: &str =
            "[[tunnel]]\nname = \"a\"\njump = \"t@192.0.2.1\"\nremote-ports = [2222]\n";
        let said = |text: &str| elsewhere(&Settings::parse(text).unwrap());
        assert!(said(WATCH).unwrap().contains("no tunnel is kept on this host"));
        assert_eq!((said(TUNNEL), said(&format!("{TUNNEL}{WATCH}"))), (None, None));
    }

    #[test]
    fn a_clock_that_is_set_makes_no_book_old() {
        let stamp = |unix_s: u64, boot_s: u64| Stamp {
            unix_ms: unix_s * 1000,
            boot: Some(BootStamp { id: "this".into(), ms: boot_s * 1000 }),
        };
        let written_boot = stamp(0, 70).boot;
        let book = Book { written_s: 100_000, written_boot, ..Book::default() };
        for now_s in [100_005, 5, 900_000] {
            assert_eq!(age(&book, &stamp(now_s, 75)), Duration::from_secs(5), "{now_s}");
        }
        // One of a program that told nothing of the boot.
        let old = Book { written_boot: None, ..book };
        assert_eq!(age(&old, &stamp(100_200, 75)), Duration::from_secs(200));
    }

    #[test]
    fn a_tunnel_is_a_line() {
        let tunnels = [("a".to_owned(), state(true)), ("b".to_owned(), state(false))].into();
        let book = Book { tunnels, ..Book::default() };
        let want = "OK: a up for 60 s on port 2222 of t@h port 22, proved 5 s ago in 15 ms\n\
                    DOWN: b for 60 s, port 2222 of t@h port 22: the jump host refuses connections\n";
        assert_eq!(lines(&book, 100), want);
    }
}
