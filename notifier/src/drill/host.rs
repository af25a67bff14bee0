//! What the doctor of the whole host finds, as parts of a drill: units, clock, disk, and all the rest.

use std::path::Path;

use super::report::{Part, State};
use super::tunnel::NOT_RUNNING;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::spool::judge_room;
use crate::ffi::{self, Room};

/// What is said of a host of which `bastion check` finds nothing that is of no other part.
const WELL: &str = "bastion check finds nothing wrong";

/// The part that a finding belongs to, by its id.
fn part_of(id: &str) -> &'static str {
    match id {
        id if id.starts_with("unit") => "units",
        "sshd-unit" | "no-systemd" | "sender-not-running" => "units",
        id if id.starts_with("clock") => "clock",
        "spool-room" => "disk",
        _ => "host",
    }
}

/// The doctor's findings as parts; `rooms` is how much room there is, by place.
#[must_use]
pub fn parts(
    mut findings: Vec<Finding>,
    systemd: bool,
    rooms: &[(&Path, Option<Room>)],
) -> Vec<Part> {
    // The doctor looks at the spool's alone.
    findings.retain(|finding| finding.id != "spool-room");
    findings.extend(rooms.iter().filter_map(|(path, room)| judge_room(path, (*room)?)));
    let of = |part: &'static str| {
        let findings = findings.iter();
        findings.filter(move |finding| part_of(finding.id) == part).collect::<Vec<_>>()
    };
    let note = |part| of(part).into_iter().find(|finding| finding.severity == Severity::Note);
    let mut parts = Vec::new();
    for (name, well) in [
        ("host", WELL),
        ("units", "all that is configured runs, and begins with the machine"),
        ("clock", "it is set from the network"),
    ] {
        parts.push(match (name, note(name)) {
            ("units" | "clock", _)
                if !systemd && of(name).iter().all(|one| one.severity == Severity::Note) =>
            {
                Part::skipped(name, "systemd is not at work here", "")
            }
            ("clock", Some(note)) => Part::new(name, State::Ok, &note.text, &note.fix),
            _ => Part::of_findings(name, of(name), well),
        });
    }
    let free: Vec<String> = rooms.iter().filter_map(|(path, room)| free(path, (*room)?)).collect();
    parts.push(Part::of_findings("disk", of("disk"), &free.join(", ")));
    parts
}

/// The same parts, with no more claimed than was looked at: what the parts of others tell is wrong with this host too.
#[must_use]
pub fn beside(of_host: Vec<Part>, others: &[Part]) -> Vec<Part> {
    let stands = others.iter().any(|part| part.text.starts_with(NOT_RUNNING));
    let wrong = others.iter().chain(&of_host).any(|part| part.state >= State::Warning);
    let one = |part: Part| match part.name.as_str() {
        "host" if part.text == WELL && wrong => {
            Part { text: "bastion check finds nothing else".into(), ..part }
        }
        "units" if part.state == State::Ok && stands => Part {
            state: State::Failed,
            text: "tunnelwatch does not run".into(),
            fix: "systemctl status tunnelwatch".into(),
            ..part
        },
        _ => part,
    };
    of_host.into_iter().map(one).collect()
}

/// How much room there is in these places.
#[must_use]
pub fn rooms<'a>(places: &[&'a Path]) -> Vec<(&'a Path, Option<Room>)> {
    places.iter().map(|path| (*path, ffi::room_on_disk(path).ok())).collect()
}

/// `/var/spool/bastion has 12.3 GB and 120000 inodes left`.
fn free(path: &Path, room: Room) -> Option<String> {
    let bytes = match room.bytes / 1_000_000 {
        megabytes @ 0..10_000 => format!("{megabytes} MB"),
        megabytes => format!("{} GB", megabytes / 1000),
    };
    let inodes = (room.all_files > 0).then(|| format!(" and {} inodes", room.files));
    Some(format!("{} has {bytes}{} left", path.display(), inodes.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Severity::{Critical, Note, Warning};

    fn found(severity: Severity, id: &'static str) -> Finding {
        Finding::new(severity, id, "it", "is odd", "mend it")
    }

    #[test]
    fn nothing_is_claimed_of_what_other_parts_tell() {
        let part = |name: &str, state, text: &str| Part::new(name, state, text, "");
        let stands = part("tunnelwatch", State::Failed, "tunnelwatch run does not work here");
        let down = part("tunnel home", State::Failed, "down");
        let table = [
            (vec![], "ok bastion check finds nothing wrong", "ok all runs"),
            (vec![down], "ok bastion check finds nothing else", "ok all runs"),
            (
                vec![stands],
                "ok bastion check finds nothing else",
                "failed tunnelwatch does not run",
            ),
        ];
        for (others, host, units) in table {
            let of_host = vec![part("host", State::Ok, WELL), part("units", State::Ok, "all runs")];
            let said: Vec<String> = beside(of_host, &others)
                .iter()
                .map(|part| format!("{} {}", part.state.as_str(), part.text))
                .collect();
            assert_eq!(said, [host, units]);
        }
        let of_host = vec![part("host", State::Ok, WELL), part("disk", State::Failed, "is full")];
        assert!(beside(of_host, &[])[0].text.ends_with("nothing else"), "the disk is not all");
    }

    #[test]
    fn each_finding_is_in_its_part() {
        const GB: u64 = 1_000_000_000;
        let room = |bytes, files| Some(Room { bytes, files, all_files: 9_999_999 });
        let (spool, var) = (Path::new("/spool"), Path::new("/var"));
        let good = [(spool, room(20 * GB, 1_000_000)), (var, room(5 * GB, 1_000_000))];
        let states = |findings, systemd, rooms: &[_]| {
            let parts = parts(findings, systemd, rooms);
            parts
                .iter()
                .map(|part| format!("{} {}", part.name, part.state.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(states(vec![], true, &good), ["host ok", "units ok", "clock ok", "disk ok"]);
        let some = vec![
            found(Critical, "unit-failed"),
            found(Warning, "alerts-wait"),
            found(Note, "clock-not-synchronised"),
            // Seen anew, beside all other places.
            found(Critical, "spool-room"),
        ];
        assert_eq!(
            states(some, true, &good),
            ["host warning", "units failed", "clock ok", "disk ok"]
        );
        let none = vec![found(Note, "no-systemd")];
        assert_eq!(
            states(none, false, &good),
            ["host ok", "units skipped", "clock skipped", "disk ok"]
        );
        let dead = vec![found(Critical, "sender-not-running"), found(Note, "no-systemd")];
        assert_eq!(states(dead, false, &good)[1], "units failed");
        for bad in [room(2_000_000, 1_000_000), room(20 * GB, 500)] {
            assert_eq!(
                states(vec![], true, &[(spool, room(20 * GB, 9_999)), (var, bad)])[3],
                "disk warning"
            );
        }
        let text = &parts(vec![], true, &good)[3].text;
        assert_eq!(
            text,
            "/spool has 20 GB and 1000000 inodes left, /var has 5000 MB and 1000000 inodes left"
        );
    }
}
