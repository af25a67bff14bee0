//! Looks at this machine and answers who has opened a connection. Any user may, and nothing is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::answer::Person;
use super::owner::{Session, Unknown, person, sessions_of};
use super::process::{all, group_of, line_of, users_of};
use super::record::{self, Record};
use super::socket::{Connection, connection};
use crate::clock::Stamp;

/// Longest look. Who asks waits over a mobile network as well, with an alert in his hand.
const LONGEST: Duration = Duration::from_millis(700);

/// Where the unified hierarchy of control groups is: beside those of before, or alone.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Where logind writes down what it knows of sessions, for anybody to read (sd-login(3) reads it there).
const LOGIND: &str = "/run/systemd/sessions";

/// Most bytes of one of those files; they have some 400.
const MAX_LOGIND: u64 = 16 * 1024;

/// Who has opened the connection 127.0.0.1:`from` -> 127.0.0.1:`to` on this machine; `dir` has the records of sessions.
/// `tunnel` is a process of the tunnel with its ancestors ([`line_of`]) when it is the tunnel that asks.
///
/// # Errors
///
/// Why nobody can say.
pub fn person_behind(from: u16, to: u16, dir: &Path, tunnel: &[u32]) -> Result<Person, Unknown> {
    records_behind(from, to, dir)
        .and_then(|found| person(&found.iter().collect::<Vec<_>>(), tunnel))
}

/// The records of the sessions of which one has opened that connection.
///
/// # Errors
///
/// Why nobody can say.
pub fn records_behind(from: u16, to: u16, dir: &Path) -> Result<Vec<Record>, Unknown> {
    let until = Instant::now() + LONGEST;
    let ask = || connection(from, to).map_err(|_| Unknown::NoGroups)?.ok_or(Unknown::Ended);
    let asked = ask()?;
    let sessions = sessions(dir, until)?;
    let found = sessions_of(&asked, &sessions, || fellows(&asked, &sessions, until))?;
    // What was seen of processes was seen while it was open, or somebody who has gone could be missing there.
    if ask()? == asked { Ok(found.into_iter().cloned().collect()) } else { Err(Unknown::Ended) }
}

/// The sessions whose processes live.
fn sessions(dir: &Path, until: Instant) -> Result<Vec<Session>, Unknown> {
    let now = Stamp::now();
    let mut sessions = Vec::new();
    for record in record::read_all(dir).map_err(|_| Unknown::NoRecords)? {
        if Instant::now() > until {
            return Err(Unknown::TooLong);
        }
        if record.is_alive(&now) {
            let path = group_of(record.pid);
            let group = path.as_deref().and_then(number_of);
            let scope_of = path.as_deref().and_then(|path| scope_of(path, record.pid));
            sessions.push(Session { record, group, scope_of });
        }
    }
    Ok(sessions)
}

/// The processes of the connection's user in its group, each with its ancestors.
fn fellows(
    connection: &Connection,
    sessions: &[Session],
    until: Instant,
) -> Result<Vec<Vec<u32>>, Unknown> {
    let here = sessions.iter().find(|one| one.group == connection.cgroup);
    let group = here.and_then(|one| group_of(one.record.pid));
    let mut lines = Vec::new();
    for pid in all() {
        if Instant::now() > until {
            return Err(Unknown::TooLong);
        }
        let is_his = users_of(pid).is_some_and(|users| users.contains(&connection.uid));
        if is_his && group_of(pid) == group {
            lines.push(line_of(pid));
        }
    }
    Ok(lines)
}

/// The number by which the kernel knows a control group: that of its directory.
fn number_of(path: &str) -> Option<u64> {
    let is_unified = |root: &&&str| Path::new(root).join("cgroup.controllers").exists();
    let root = GROUPS.iter().find(is_unified)?;
    let path = PathBuf::from(format!("{root}{path}"));
    // One outside of what this process sees of the hierarchy begins with "/..".
    let is_inside = path.components().all(|part| part != std::path::Component::ParentDir);
    is_inside.then(|| fs::symlink_metadata(path).ok().map(|found| found.ino()))?
}

/// The user whose session this control group is, if logind says so and that the session's head is this process.
fn scope_of(path: &str, pid: u32) -> Option<u32> {
    let scope = path.rsplit('/').next()?;
    let id = scope.strip_prefix("session-")?.strip_suffix(".scope")?;
    let file = Path::new(LOGIND).join(id);
    let found = fs::symlink_metadata(&file).ok()?;
    if !found.is_file() || found.uid() != 0 || found.len() > MAX_LOGIND {
        return None;
    }
    head_of(&fs::read_to_string(file).ok()?, scope, pid)
}

/// The user, of what logind has written of a session.
fn head_of(text: &str, scope: &str, pid: u32) -> Option<u32> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let is_it = value("SCOPE=") == Some(scope) && value("LEADER=")?.parse() == Ok(pid);
    if is_it { value("UID=")?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_logind_s_word_and_its_head_s_alone() {
        let text = "# This is private data. Do not parse.\nUID=1000\nUSER=alice\nACTIVE=1\nSCOPE=session-4.scope\n\
                    LEADER=4711\nAUDIT=4\n";
        assert_eq!(head_of(text, "session-4.scope", 4711), Some(1000));
        assert_eq!(head_of(text, "session-5.scope", 4711), None);
        assert_eq!(head_of(text, "session-4.scope", 471), None);
        assert_eq!(head_of("", "session-4.scope", 4711), None);
        assert_eq!(head_of(&text.replace("UID=1000", "UID=x"), "session-4.scope", 4711), None);
        for path in ["/", "/init.scope", "/user.slice/session-.scope", "/session-../../x.scope"] {
            assert_eq!(scope_of(path, 1), None, "{path}");
        }
    }

    #[test]
    fn what_is_outside_of_the_hierarchy_has_no_number() {
        assert_eq!(number_of("/../../etc"), None);
        assert_eq!(number_of("/no such group"), None);
    }

    #[test]
    fn a_port_that_is_not_connected_and_a_machine_without_records_are_no_ones() {
        let missing = Path::new("/nonexistent/sessions");
        assert_eq!(person_behind(1, 2, missing, &[]), Err(Unknown::Ended));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
        let from = client.local_addr().unwrap().port();
        assert_eq!(person_behind(from, to, missing, &[]), Err(Unknown::NoRecords));
    }
}
