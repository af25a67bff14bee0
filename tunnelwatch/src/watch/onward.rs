//! Where somebody who has logged in to the jump host has gone on to: which of his session's connections lead to the port of a
//! tunnel. The sender of alerts asks, with a login in its hand that it holds for two seconds.
//!
//! One line asks, `went PID AT`: sshd's process of the session, and its moment in milliseconds since 1970, as in the session's
//! record. One line of JSON answers, `{"went-on":["home"]}`, as soon as there is something to say, and with no
//! names when the time is over or the session has ended.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notifier::chain::look::{Ports, records_behind};
use notifier::chain::owner::Unknown;
use notifier::chain::record::{self, Record};
use notifier::chain::socket::opened_to;
use notifier::clock::Stamp;
use notifier::fact::Fact;
use notifier::foreign::Foreign;

use crate::chain::door;
use crate::config::{LOOPBACK, Settings};
use crate::release::listener;

/// The socket in the run directory.
pub const SOCKET: &str = "went";

/// How long it is looked. The sender holds a login for so long.
const MOST: Duration = Duration::from_millis(1_900);

/// How often. A look reads a table of the kernel's, and the few files of /proc when there is a connection.
const STEP: Duration = Duration::from_millis(100);

/// Most connections that are looked at: of a flood, some will not be told of.
const TOGETHER: usize = 64;

/// Where one can go on to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The directory of the records of sessions.
    sessions: PathBuf,
    /// Ports of tunnels, and whose.
    ports: Vec<(u16, String)>,
}

impl Places {
    /// Those of the file. What answers inside a VPN has no port here.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let here = settings.watches.iter().filter(|watch| watch.address == LOOPBACK);
        let ports =
            here.flat_map(|watch| watch.ports.iter().map(|port| (*port, watch.name.clone())));
        Self { sessions: settings.host.sessions.clone(), ports: ports.collect() }
    }
}

/// Opens the door, for as long as this program runs. The places may change.
///
/// # Errors
///
/// What the system said.
pub fn open(run_dir: &Path, places: &Arc<Mutex<Places>>) -> io::Result<()> {
    let places = Arc::clone(places);
    let answer = move |question: &[u8], until: Instant| {
        let until = until.min(Instant::now() + MOST);
        let names = parse(question).map(|(pid, at_ms)| wait(&places, pid, at_ms, until));
        let names = names.unwrap_or_default().into_iter().map(|name| Foreign::from(name.as_str()));
        // Nothing in it can fail to be written as JSON.
        serde_json::to_string(&Fact::WentOn(names.collect())).unwrap_or_default()
    };
    door::open_at(&run_dir.join(SOCKET), Arc::new(answer))
}

fn parse(line: &[u8]) -> Option<(u32, u64)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (pid, at) = line.strip_prefix("went ")?.split_once(' ')?;
    Some((pid.parse().ok()?, at.parse().ok()?))
}

/// Looks until there is something, or the session has ended, or the time is over.
fn wait(places: &Mutex<Places>, pid: u32, at_ms: u64, until: Instant) -> Vec<String> {
    loop {
        let now = places.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(session) = session(&now.sessions, pid, at_ms) else { return Vec::new() };
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let open = connections(&table, &now.ports);
        let all: Vec<Ports> = open.iter().map(|(ports, _)| *ports).collect();
        let names = of_session(&session, &open, records_behind(&all, &now.sessions));
        if !names.is_empty() || Instant::now() + STEP > until {
            return names;
        }
        thread::sleep(STEP);
    }
}

/// The session that the alert is about, while its process lives.
fn session(dir: &Path, pid: u32, at_ms: u64) -> Option<Record> {
    let record = record::read(dir, pid)?;
    (record.at.unix_ms == at_ms && record.is_alive(&Stamp::now())).then_some(record)
}

/// The connections to ports of tunnels, and to which. Those of the user who holds a port are the tunnel's own looks, and no
/// person's; a user who is root may be anybody.
fn connections<'a>(table: &str, ports: &'a [(u16, String)]) -> Vec<(Ports, &'a str)> {
    let to = |(to, name): &'a (u16, String)| {
        let holder = listener(table, *to).map(|holder| holder.uid).filter(|uid| *uid != 0);
        let open = opened_to(table, *to).into_iter().filter(move |(_, uid)| Some(*uid) != holder);
        open.map(|(from, _)| (Ports { from, to: *to }, name.as_str()))
    };
    ports.iter().flat_map(to).take(TOGETHER).collect()
}

/// Where that session went, of what was found about each connection: it, and nobody else, has opened it.
fn of_session(
    session: &Record,
    open: &[(Ports, &str)],
    found: Vec<Result<Vec<Record>, Unknown>>,
) -> Vec<String> {
    let is_its =
        |records: Result<Vec<Record>, Unknown>| records.is_ok_and(|all| all == [session.clone()]);
    let its =
        open.iter().zip(found).filter_map(|((_, name), found)| is_its(found).then_some(*name));
    // Each once, in the order of their names.
    its.map(|name| (name, ())).collect::<BTreeMap<_, _>>().into_keys().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notifier::event::Login;

    fn record(pid: u32) -> Record {
        let login = Login { user: "alice".into(), pid: std::process::id(), ..Login::default() };
        let own = Record::of(&login, Stamp::now()).unwrap();
        Record { pid, ..own }
    }

    #[test]
    fn a_question_is_a_process_and_a_moment() {
        assert_eq!(parse(b"went 4711 1700000000000\n"), Some((4711, 1_700_000_000_000)));
        for line in ["", "\n", "went 1 2", "went 1\n", "went -1 2\n", "came 1 2\n", "went 1 2 3\n"]
        {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn a_session_went_where_its_connections_lead_and_nobody_elses_could() {
        let (alice, other) = (record(10), record(20));
        let ports = |from| Ports { from, to: 2222 };
        let open =
            [(ports(1), "home"), (ports(2), "office"), (ports(3), "home"), (ports(4), "shed")];
        let of = |one: &Record| Ok(vec![one.clone()]);
        let table = [
            (vec![of(&alice), of(&other), of(&alice), of(&alice)], vec!["home", "shed"]),
            (vec![of(&other), of(&other), of(&other), of(&other)], vec![]),
            // Which of two it was nobody knows, though of both the same is known.
            (
                vec![Ok(vec![alice.clone(), other.clone()]), of(&other), of(&other), of(&alice)],
                vec!["shed"],
            ),
            (
                vec![Err(Unknown::NoSession), Ok(vec![]), of(&alice), Err(Unknown::Ended)],
                vec!["home"],
            ),
        ];
        for (found, want) in table {
            assert_eq!(of_session(&alice, &open, found), want);
        }
    }

    #[test]
    fn of_the_ports_that_are_open_those_of_tunnels_count_and_not_the_tunnel_s_own() {
        let row = |local: u16, remote: Option<u16>, state: &str, uid: u32| {
            let local = format!("0100007F:{local:04X}");
            let remote =
                remote.map_or("00000000:0000".to_owned(), |port| format!("0100007F:{port:04X}"));
            format!(
                "0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid} 0 7 1 0\n"
            )
        };
        let (alice, tunnel) = (2001, 2003);
        let table = |holder: u32| {
            let rows = [
                row(2222, None, "0A", holder),
                row(1, Some(2222), "01", alice),
                row(2, Some(2223), "01", alice),
                row(3, Some(2222), "06", 0),
                row(4, Some(2222), "01", tunnel),
                row(5, Some(2222), "01", 0),
            ];
            "  sl  local_address rem_address   st\n".to_owned() + &rows.concat()
        };
        let ports = [(2222, "home".to_owned()), (2224, "shed".to_owned())];
        let from = |table: &str| -> Vec<u16> {
            connections(table, &ports).iter().map(|(ports, _)| ports.from).collect()
        };
        if cfg!(target_endian = "little") {
            assert_eq!(from(&table(tunnel)), [1, 5]);
            assert_eq!(from(&table(0)), [1, 4, 5]);
            let first = connections(&table(tunnel), &ports).remove(0);
            assert_eq!(first, (Ports { from: 1, to: 2222 }, "home"));
        }
    }

    #[test]
    fn a_session_is_the_one_of_that_moment_and_of_a_process_that_lives() {
        if notifier::ffi::geteuid() != 0 {
            return;
        }
        let dir = std::env::temp_dir().join(format!("onward-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let own = record(std::process::id());
        own.publish(&dir).unwrap();
        let at_ms = own.at.unix_ms;
        assert_eq!(session(&dir, own.pid, at_ms).as_ref(), Some(&own));
        assert_eq!(session(&dir, own.pid, at_ms + 1), None);
        assert_eq!(session(&dir, 1, at_ms), None);
        // Its end, or the time's, is the end of the wait.
        let places = Mutex::new(Places { sessions: dir.clone(), ports: Vec::new() });
        let begun = Instant::now();
        assert_eq!(wait(&places, own.pid, at_ms, begun + STEP * 3), [""; 0]);
        assert!(begun.elapsed() >= STEP * 2);
        fs::remove_file(own.path(&dir)).unwrap();
        assert_eq!(wait(&places, own.pid, at_ms, begun + Duration::from_secs(600)), [""; 0]);
        fs::remove_dir_all(dir).unwrap();
    }
}
