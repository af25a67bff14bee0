//! The spool: who may do what there, as DESIGN.md has it, what waits in it, and whether there is room.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{Finding, Severity};
use crate::daemon::words;
use crate::deliver::limits::{self, IsFull};
use crate::ffi::{self, Room};
use crate::spool::queue::list;
use crate::spool::{Spool, id_of};
use Severity::{Critical, Note, Warning};

/// How old an alert that waits is when it is told: all lines and providers have outages of some minutes.
const OLD: Duration = Duration::from_secs(3600);
const VERY_OLD: Duration = Duration::from_secs(24 * 3600);

/// For how long a file may lie in drop/ before the sender must have taken it.
const UNTAKEN: Duration = Duration::from_secs(120);

/// For how long a failed alert is more than a note.
const FAILED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Room below which it is told: a thousand alerts of 16 KiB each, the largest there are; and next to none.
const LOW_BYTES: u64 = 16 * 1024 * 1024;
const NO_BYTES: u64 = 1024 * 1024;
const LOW_FILES: u64 = 1000;
const NO_FILES: u64 = 10;

/// Ages of the files in one of its rooms, the oldest first.
#[derive(Debug, Default)]
pub struct Ages(Vec<Duration>);

impl Ages {
    fn of(dir: &Path, now_ms: u64) -> Self {
        // The name begins with the time; what has no name of ours is no alert.
        let age = |name: &String| {
            id_of(name)?;
            let at_ms: u64 = name.split('-').next()?.parse().ok()?;
            Some(Duration::from_millis(now_ms.saturating_sub(at_ms)))
        };
        let mut ages: Vec<Duration> =
            list(dir).unwrap_or_default().iter().filter_map(age).collect();
        ages.sort_unstable_by(|a, b| b.cmp(a));
        Self(ages)
    }

    fn older_than(&self, age: Duration) -> usize {
        self.0.iter().filter(|one| **one > age).count()
    }

    fn oldest(&self) -> Duration {
        self.0.first().copied().unwrap_or_default()
    }
}

/// Looks at all of it, and at what the sender has written into `state`. `root` sees into all of its rooms.
#[must_use]
pub fn look(spool: &Spool, state: &Path, now_ms: u64, root: bool) -> Vec<Finding> {
    let mut findings = owners(spool);
    if let Ok(room) = ffi::room_on_disk(spool.root()) {
        findings.extend(judge_room(spool.root(), room));
    }
    if root {
        let ages = |dir: PathBuf| Ages::of(&dir, now_ms);
        let (queue, drop, failed) = (ages(spool.queue()), ages(spool.drop()), ages(spool.failed()));
        findings.extend(judge_rooms(&queue, &drop, &failed));
        findings.extend(judge_full(&queue, &limits::full_in(state, now_ms)));
    }
    findings
}

/// What waits since a channel has sent as much as it may: a limit that is too low, or somebody who makes alerts.
fn judge_full(queue: &Ages, full: &[IsFull]) -> Option<Finding> {
    let one = full.first()?;
    let count = queue.0.len();
    let text = format!(
        "{} not out yet, and {} has sent as much as it may: the next in {}",
        waits(&alerts(count), count),
        one.channel,
        words(one.left)
    );
    let fix = "bastion queue says what waits; max-per-hour and max-per-day of the channel, in bastion.toml, are the limits";
    (count > 0).then(|| Finding::new(Warning, "channel-full", "alerts", text, fix))
}

fn alerts(count: usize) -> String {
    if count == 1 { "1 alert".into() } else { format!("{count} alerts") }
}

/// What is wrong with how much room there is.
#[must_use]
pub fn judge_room(path: &Path, room: Room) -> Option<Finding> {
    let path = path.display().to_string();
    let found = |severity, text| {
        let fix = format!("df -h {path}; df -i {path}; journalctl --vacuum-size=100M; apt clean");
        Some(Finding::new(severity, "spool-room", &path, text, fix))
    };
    let mib = room.bytes / 1024 / 1024;
    // Some file systems do not count files.
    let files = if room.all_files == 0 { u64::MAX } else { room.files };
    match (room.bytes, files) {
        (..=NO_BYTES, _) => {
            found(Critical, format!("{mib} MiB are left on its disk: no room for alerts"))
        }
        (_, ..=NO_FILES) => {
            found(Critical, format!("{files} inodes are left on its disk: no room for alerts"))
        }
        (..=LOW_BYTES, _) => found(Warning, format!("{mib} MiB are left on its disk")),
        (_, ..=LOW_FILES) => found(Warning, format!("{files} inodes are left on its disk")),
        _ => None,
    }
}

/// What is wrong with what lies in the rooms.
fn judge_rooms(queue: &Ages, drop: &Ages, failed: &Ages) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |severity, id, text: String, fix: &str| {
        findings.push(Finding::new(severity, id, "alerts", text, fix));
    };
    let late = queue.older_than(OLD);
    if late > 0 {
        let oldest = queue.oldest();
        let severity = if oldest > VERY_OLD { Critical } else { Warning };
        let text =
            format!("{} not out yet, the oldest for {}", waits(&alerts(late), late), words(oldest));
        let fix = "bastion queue, and bastion queue show ID says why; when that is mended: systemctl kill -s USR1 bastion";
        found(severity, "alerts-wait", text, fix);
    }
    let untaken = drop.older_than(UNTAKEN);
    if untaken > 0 {
        let text = format!(
            "{} not taken from drop/, the oldest for {}",
            waits(&alerts(untaken), untaken),
            words(drop.oldest())
        );
        found(
            Critical,
            "alerts-not-taken",
            text,
            "systemctl restart bastion; if that does not help: journalctl -u bastion -n 20",
        );
    }
    let all = failed.0.len();
    if all > 0 {
        let new = all - failed.older_than(FAILED);
        let severity = if new > 0 { Warning } else { Note };
        let text = format!("{} reached nobody", alerts(all));
        found(
            severity,
            "alerts-failed",
            text,
            "bastion queue --failed says why; when that is mended: bastion queue retry all",
        );
    }
    findings
}

fn waits(alerts: &str, count: usize) -> String {
    format!("{alerts} {}", if count == 1 { "is" } else { "are" })
}

/// Who owns what, and who may do what there.
fn owners(spool: &Spool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |path: &Path, text: String, fix: String| {
        findings.push(Finding::new(Critical, "spool-modes", path.display().to_string(), text, fix));
    };
    let mut look = |path: PathBuf| {
        let create = || "systemd-tmpfiles --create bastion.conf".to_owned();
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => return Some((path, meta)),
            Ok(_) => {
                found(&path, "is no directory".into(), format!("move it away, then: {}", create()))
            }
            Err(error) => found(&path, error.to_string(), create()),
        }
        None
    };
    let [root, queue] = [spool.root().to_owned(), spool.queue()].map(&mut look);
    let sender = queue.as_ref().map(|(_, meta)| meta.uid());
    let own = [queue.clone(), look(spool.failed()), look(spool.sent())];
    let drop = look(spool.drop());
    if let Some((path, meta)) = root {
        if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            let fix = format!("chown root {0} && chmod 0755 {0}", path.display());
            found(&path, "belongs to root alone".into(), fix);
        }
    }
    if let Some((path, _)) = queue.filter(|(_, meta)| meta.uid() == 0) {
        let fix = format!("chown _bastion {}", path.display());
        found(&path, "belongs to root, so the sender runs as root".into(), fix);
    }
    for (path, meta) in own.into_iter().flatten() {
        if meta.mode() & 0o077 != 0 || Some(meta.uid()) != sender {
            let fix = format!("chown _bastion {0} && chmod 0700 {0}", path.display());
            found(&path, "is the sender's alone".into(), fix);
        }
    }
    if let Some((path, meta)) = drop {
        let mode = meta.mode() & 0o7777;
        if mode != 0o3730 || Some(meta.uid()) != sender {
            let fix = format!("chown _bastion:_bastion-drop {0} && chmod 3730 {0}", path.display());
            found(&path, format!("mode {mode:04o}, uid {}", meta.uid()), fix);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(found: impl IntoIterator<Item = Finding>) -> String {
        let one = |one: Finding| {
            assert!(!one.fix.is_empty(), "{one:?}");
            format!("{} {}: {}", one.severity.as_str(), one.id, one.text)
        };
        found.into_iter().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn room_is_told_when_it_gets_scarce() {
        const MIB: u64 = 1024 * 1024;
        let table = [
            (100 * MIB, 100_000, 200_000, ""),
            (100 * MIB, 0, 0, ""),
            (10 * MIB, 100_000, 200_000, "warning spool-room: 10 MiB are left on its disk"),
            (0, 5, 200_000, "critical spool-room: 0 MiB are left on its disk: no room for alerts"),
            (100 * MIB, 500, 200_000, "warning spool-room: 500 inodes are left on its disk"),
            (
                10 * MIB,
                3,
                9,
                "critical spool-room: 3 inodes are left on its disk: no room for alerts",
            ),
        ];
        for (bytes, files, all_files, want) in table {
            let room = Room { bytes, files, all_files };
            assert_eq!(said(judge_room(Path::new("/x"), room)), want);
        }
    }

    #[test]
    fn what_lies_too_long_is_told() {
        let ages =
            |minutes: &[u64]| Ages(minutes.iter().map(|m| Duration::from_secs(m * 60)).collect());
        let none = || ages(&[]);
        let table = [
            (none(), none(), none(), ""),
            (ages(&[59, 1]), ages(&[1]), none(), ""),
            (
                ages(&[61, 59]),
                none(),
                none(),
                "warning alerts-wait: 1 alert is not out yet, the oldest for 61 min",
            ),
            (
                ages(&[3000, 61]),
                none(),
                none(),
                "critical alerts-wait: 2 alerts are not out yet, the oldest for 50 h",
            ),
            (
                none(),
                ages(&[5]),
                none(),
                "critical alerts-not-taken: 1 alert is not taken from drop/, the oldest for 5 min",
            ),
            (none(), none(), ages(&[20_000, 5]), "warning alerts-failed: 2 alerts reached nobody"),
            (none(), none(), ages(&[20_000]), "note alerts-failed: 1 alert reached nobody"),
        ];
        for (queue, drop, failed, want) in table {
            let got = said(judge_rooms(&queue, &drop, &failed));
            assert_eq!(got, want);
        }
    }

    #[test]
    fn a_channel_that_is_full_is_told_where_something_waits_for_it() {
        let waiting = |count: usize| Ages(vec![Duration::from_secs(60); count]);
        let left = Duration::from_secs(3000);
        let full = [IsFull { channel: "sms".into(), left, left_for_logins: left }];
        assert_eq!(said(judge_full(&waiting(0), &full)), "");
        assert_eq!(said(judge_full(&waiting(2), &[])), "");
        assert_eq!(
            said(judge_full(&waiting(1), &full)),
            "warning channel-full: 1 alert is not out yet, and sms has sent as much as it may: the next in 50 min"
        );
    }

    #[test]
    fn an_alerts_age_is_in_its_name_and_what_is_none_of_ours_has_none() {
        let dir = std::env::temp_dir().join(format!("notifier-ages-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for name in
            ["1795313647000-login-k7f3q2.json", "1795313640000-note-k7f3q3.json", "x.json", ".1"]
        {
            fs::write(dir.join(name), "").unwrap();
        }
        let ages = Ages::of(&dir, 1_795_313_657_000);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(ages.0, [Duration::from_secs(17), Duration::from_secs(10)]);
    }
}
