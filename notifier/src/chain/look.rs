//! Looks at this machine and answers who has opened a connection. Any user may, and nothing is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::answer::Person;
use super::owner::{Session, Unknown, person, sessions_of};
use super::process::{all, group_of, line_of, users_of};
use super::record::{self, Record};
use super::socket::{Connection, connection};
use crate::clock::Stamp;

/// Longest look. Who asks waits over a mobile network as well, with an alert in his hand.
const LONGEST: Duration = Duration::from_millis(700);

/// How often it is looked again for what may be left over, and after how long.
const AGAIN: usize = 2;
const PAUSE: Duration = Duration::from_millis(50);

/// Where the unified hierarchy of control groups is: beside those of before, or alone.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Where logind writes down what it knows of sessions, for anybody to read (sd-login(3) reads it there).
const LOGIND: &str = "/run/systemd/sessions";

/// Most bytes of one of those files; they have some 400.
const MAX_LOGIND: u64 = 16 * 1024;

/// A connection 127.0.0.1:`from` -> 127.0.0.1:`to` on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The port of who has opened it.
    pub from: u16,
    /// The port that it leads to.
    pub to: u16,
}

/// Who has opened each of these connections; `dir` has the records of sessions. `tunnel` is a process of the tunnel with its
/// ancestors ([`line_of`]) when it is the tunnel that asks.
#[must_use]
pub fn people_behind(all: &[Ports], dir: &Path, tunnel: &[u32]) -> Vec<Result<Person, Unknown>> {
    let of = |found: Vec<Record>| person(&found.iter().collect::<Vec<_>>(), tunnel);
    records_behind(all, dir).into_iter().map(|found| found.and_then(of)).collect()
}

/// For each of these connections, the records of the sessions of which one has opened it.
#[must_use]
pub fn records_behind(all: &[Ports], dir: &Path) -> Vec<Result<Vec<Record>, Unknown>> {
    let until = Instant::now() + LONGEST;
    let mut found = look(all, dir, until);
    // A session that begins or ends in that moment has processes whose session was not seen with them.
    for _ in 0..AGAIN {
        if !found.contains(&Err(Unknown::Leftover)) || Instant::now() + PAUSE > until {
            break;
        }
        thread::sleep(PAUSE);
        found = look(all, dir, until);
    }
    found
}

fn look(all: &[Ports], dir: &Path, until: Instant) -> Vec<Result<Vec<Record>, Unknown>> {
    let ask = |ports: &Ports| {
        connection(ports.from, ports.to).map_err(|_| Unknown::NoGroups)?.ok_or(Unknown::Ended)
    };
    let asked: Vec<_> = all.iter().map(ask).collect();
    if asked.iter().all(Result::is_err) {
        return asked.into_iter().map(|why| why.map(|_| Vec::new())).collect();
    }
    let sessions = sessions(dir, until);
    let mut seen = Fellows { seen: Vec::new(), until };
    let mut find = |connection: &Connection| {
        let sessions = sessions.as_ref().map_err(Clone::clone)?;
        let found = sessions_of(connection, sessions, || seen.of(connection, sessions))?;
        Ok(found.into_iter().cloned().collect())
    };
    let found: Vec<_> = asked.iter().map(|one| find(one.as_ref().map_err(Clone::clone)?)).collect();
    // What was seen of processes was seen while it was open, or somebody who has gone could be missing there.
    let again =
        |((found, before), ports)| if ask(ports) == before { found } else { Err(Unknown::Ended) };
    found.into_iter().zip(asked).zip(all).map(again).collect()
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

/// Processes of a user in a control group, each with its ancestors.
struct Fellows {
    /// Those that were looked for already.
    seen: Vec<(u32, Option<u64>, Vec<Vec<u32>>)>,
    until: Instant,
}

impl Fellows {
    /// Those of the connection's user in its group.
    fn of(
        &mut self,
        connection: &Connection,
        sessions: &[Session],
    ) -> Result<Vec<Vec<u32>>, Unknown> {
        let (uid, group) = (connection.uid, connection.cgroup);
        if let Some((.., lines)) = self.seen.iter().find(|(u, g, _)| (*u, *g) == (uid, group)) {
            return Ok(lines.clone());
        }
        let here = sessions.iter().find(|one| one.group == group);
        let path = here.and_then(|one| group_of(one.record.pid));
        let mut lines = Vec::new();
        for pid in all() {
            if Instant::now() > self.until {
                return Err(Unknown::TooLong);
            }
            let is_his = users_of(pid).is_some_and(|users| users.contains(&uid));
            if is_his && group_of(pid) == path {
                lines.push(line_of(pid));
            }
        }
        self.seen.push((uid, group, lines.clone()));
        Ok(lines)
    }
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
        let closed = Ports { from: 1, to: 2 };
        assert_eq!(people_behind(&[closed], missing, &[]), [Err(Unknown::Ended)]);
        assert_eq!(people_behind(&[], missing, &[]), []);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
        let from = client.local_addr().unwrap().port();
        let open = Ports { from, to };
        let found = people_behind(&[open, closed], missing, &[]);
        assert_eq!(found, [Err(Unknown::NoRecords), Err(Unknown::Ended)]);
    }
}
