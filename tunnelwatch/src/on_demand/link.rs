//! What `linkprobe watch` has written of a line.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notifier::clock::{BootStamp, Stamp, millis};
use notifier::daemon::words;
use notifier::spool::files;
use serde::Deserialize;

use super::decide::Link;

/// Its run directory, which is beside ours, and the file in it.
const DIRECTORY: &str = "linkprobe";
const STATE: &str = "status.json";

/// Age from which it says nothing any more: it is written each 20 s.
const STALE: Duration = Duration::from_secs(90);

/// Longest file that is read, as `linkprobe status` reads it.
const MAX_FILE: u64 = 256 * 1024;

/// The file beside our own run directory.
#[must_use]
pub fn file(run_dir: &Path) -> PathBuf {
    run_dir.with_file_name(DIRECTORY).join(STATE)
}

/// As much of it as counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Book {
    written_s: u64,
    #[serde(default)]
    written_boot: Option<BootStamp>,
    #[serde(default)]
    links: BTreeMap<String, Line>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    #[serde(default)]
    up: Option<bool>,
    #[serde(default)]
    since_s: Option<u64>,
}

/// What the file says of the line `name`.
#[must_use]
pub fn read(file: &Path, name: &str, now: &Stamp) -> Link {
    let unknown = |why: &str| Link::Unknown(why.to_owned());
    let bytes = match files::read_plain(file, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return unknown(
                "linkprobe watch does not run (systemctl enable --now linkprobe-watch)",
            );
        }
        Err(error) => return Link::Unknown(format!("{}: {error}", file.display())),
    };
    match serde_json::from_slice(&bytes) {
        Ok(book) => judge(&book, name, now),
        Err(error) => Link::Unknown(format!("{}: {error}", file.display())),
    }
}

fn judge(book: &Book, name: &str, now: &Stamp) -> Link {
    let written_ms = book.written_s.saturating_mul(1000);
    let age = Stamp { unix_ms: written_ms, boot: book.written_boot.clone() }.age(now);
    if age > STALE {
        return Link::Unknown(format!(
            "linkprobe watch does not run: its state is {} old",
            words(age)
        ));
    }
    let Some(line) = book.links.get(name) else {
        let fix = "write the [[link]], then: systemctl reload linkprobe-watch";
        return Link::Unknown(format!("linkprobe watch knows no link {name:?}; {fix}"));
    };
    // In the book's own time, for the clock may have been set since.
    let since_s = book.written_s.saturating_sub(line.since_s.unwrap_or(book.written_s));
    let for_ms = since_s.saturating_mul(1000).saturating_add(millis(age));
    match line.up {
        Some(true) => Link::Up(for_ms),
        Some(false) => Link::Down(for_ms),
        None => Link::Unknown(format!("linkprobe watch has not looked at {name} yet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_it_was_written_while_that_is_fresh_whoever_sets_the_clock() {
        let stamp = |unix_s: u64, boot_s: u64| Stamp {
            unix_ms: unix_s * 1000,
            boot: Some(BootStamp { id: "this".into(), ms: boot_s * 1000 }),
        };
        let text = r#"{"written-s":1000,"written-boot":{"id":"this","ms":70000},"pid":7,"links":{
            "main":{"up":false,"since-s":940,"cause":"silent","asked":[]},
            "backup":{"up":true,"since-s":0,"rtt-ms":31.25},"new":{"up":null}}}"#;
        let book: Book = serde_json::from_str(text).unwrap();
        for (name, now, want) in [
            ("main", stamp(1005, 75), Link::Down(65_000)),
            ("main", stamp(9_000_000, 75), Link::Down(65_000)),
            ("main", stamp(0, 75), Link::Down(65_000)),
            ("backup", stamp(1000, 70), Link::Up(1_000_000)),
        ] {
            assert_eq!(judge(&book, name, &now), want, "{name} {now:?}");
        }
        for (name, now, want) in [
            ("main", stamp(1100, 170), "does not run: its state is 100 s old"),
            ("new", stamp(1000, 70), "has not looked at new yet"),
            ("other", stamp(1000, 70), "knows no link \"other\""),
        ] {
            let Link::Unknown(why) = judge(&book, name, &now) else { panic!("{name}") };
            assert!(why.contains(want), "{why}");
        }
        let file = file(Path::new("/run/tunnelwatch"));
        assert_eq!(file, Path::new("/run/linkprobe/status.json"));
        let Link::Unknown(why) = read(Path::new("/nonexistent"), "main", &stamp(0, 0)) else {
            panic!("known")
        };
        assert!(why.contains("linkprobe watch does not run"), "{why}");
    }
}
