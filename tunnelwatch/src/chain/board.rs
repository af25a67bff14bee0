//! What all tunnels know of their connections, in one place: tunnels' threads put connections in, a thread for each tunnel
//! asks the jump host, and who asks about a login waits here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notifier::chain::Answer;
use notifier::clock::millis;

use super::ear::Origin;
use super::net;
use super::table::{Step, Table};

/// Most connections that the jump host is asked about at once.
pub const TOGETHER: usize = 16;

/// How long a connection may take to be heard of: it came before the login that it brought.
const UNHEARD: Duration = Duration::from_millis(500);

/// A tunnel's part.
#[derive(Debug, Default)]
struct Room {
    table: Table,
    /// The control socket of the session that there is.
    control: Option<PathBuf>,
    target: Option<SocketAddr>,
    /// By whom it is asked for; nobody when it is kept no more.
    asker: Option<u64>,
}

/// What is to be asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// The session's control socket.
    pub control: PathBuf,
    /// Our port of each connection, and what it is there.
    pub connections: Vec<(u16, Origin)>,
}

/// What all tunnels know.
#[derive(Debug, Default)]
pub struct Board {
    rooms: Mutex<BTreeMap<String, Room>>,
    news: Condvar,
}

impl Board {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn rooms(&self) -> MutexGuard<'_, BTreeMap<String, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tunnel is kept from now on; it leads to `target`. Who asks for it shows what this answers.
    #[must_use]
    pub fn open(&self, tunnel: &str, target: SocketAddr) -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let asker = LAST.fetch_add(1, Ordering::Relaxed);
        let room = Room { target: Some(target), asker: Some(asker), ..Room::default() };
        self.rooms().insert(tunnel.to_owned(), room);
        // Who asked for one of this name before ends.
        self.news.notify_all();
        asker
    }

    /// It is kept no more: who asks for it ends.
    pub fn close(&self, tunnel: &str) {
        if let Some(room) = self.rooms().get_mut(tunnel) {
            room.asker = None;
            room.table.end();
        }
        self.news.notify_all();
    }

    /// A tunnel has a new session, or none.
    pub fn session(&self, tunnel: &str, control: Option<&Path>) {
        if let Some(room) = self.rooms().get_mut(tunnel) {
            room.control = control.map(Path::to_owned);
            room.table.end();
        }
        self.news.notify_all();
    }

    /// Connections have come: the inode of our side's socket, and what they are on the jump host. That is asked
    /// about those that are there after `settle`, or, without it, about those that somebody asks for.
    pub fn arrived(&self, tunnel: &str, sockets: &[(u64, Origin)], settle: Option<Duration>) {
        let target = self.rooms().get(tunnel).and_then(|room| room.target);
        let Some(target) = target.filter(|_| !sockets.is_empty()) else { return };
        let there = net::connections(target);
        let mut rooms = self.rooms();
        let Some(room) = rooms.get_mut(tunnel) else { return };
        let now_ms = now_ms();
        room.table.sweep(now_ms, |local| there.iter().any(|one| one.local == local));
        let due_ms = settle.map_or(u64::MAX, |settle| now_ms.saturating_add(millis(settle)));
        for (inode, origin) in sockets {
            if let Some(one) = there.iter().find(|one| one.inode == *inode) {
                room.table.add(one.local, *origin, now_ms, due_ms);
            }
        }
        drop(rooms);
        self.news.notify_all();
    }

    /// Waits for something to ask the jump host; `None` when the tunnel is kept no more.
    pub fn next(&self, tunnel: &str, asker: u64) -> Option<Batch> {
        let mut rooms = self.rooms();
        loop {
            let room = rooms.get_mut(tunnel).filter(|room| room.asker == Some(asker))?;
            let wait = Duration::from_millis(room.table.due_ms().saturating_sub(now_ms()));
            if let (true, Some(control), Some(target)) =
                (wait.is_zero(), room.control.clone(), room.target)
            {
                let there = net::connections(target);
                let connections =
                    room.table.take_due(now_ms(), TOGETHER, |local| is_open(&there, local));
                self.news.notify_all();
                if !connections.is_empty() {
                    return Some(Batch { control, connections });
                }
                continue;
            }
            // Without a session there is nothing to ask, and news when there is one.
            let most = Duration::from_secs(3600);
            let wait = if room.control.is_none() { most } else { wait.min(most) };
            rooms = self.news.wait_timeout(rooms, wait).map_or_else(|e| e.into_inner().0, |r| r.0);
        }
    }

    /// Takes in what the jump host has answered, one for each connection that was asked about.
    pub fn told(&self, tunnel: &str, asked: &Batch, answers: Vec<Answer>) {
        let mut rooms = self.rooms();
        if let Some(room) = rooms.get_mut(tunnel) {
            let there = room.target.map(net::connections).unwrap_or_default();
            for (connection, answer) in asked.connections.iter().zip(answers) {
                room.table.told(*connection, answer, is_open(&there, connection.0));
            }
        }
        drop(rooms);
        self.news.notify_all();
    }

    /// Who came from the port `local` and logged in at `at_ms` of the boot clock; waits for the jump host's answer,
    /// if need be until `deadline`.
    #[must_use]
    pub fn who(&self, local: u16, at_ms: u64, deadline: Instant) -> Answer {
        let unheard = deadline.min(Instant::now() + UNHEARD);
        let mut rooms = self.rooms();
        loop {
            let found = rooms.values_mut().find_map(|room| room.table.find(local, at_ms));
            let (until, why) = match found {
                Some(entry) => {
                    match &entry.step {
                        Step::Known(answer) => return answer.clone(),
                        Step::Waits => {
                            entry.step = Step::Wanted;
                            self.news.notify_all();
                        }
                        Step::Wanted | Step::Asked => {}
                    }
                    (deadline, "the jump host did not answer in time")
                }
                None => (unheard, "it came through no tunnel that tunnelwatch keeps"),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::unmatched(why);
            }
            rooms = self.news.wait_timeout(rooms, left).map_or_else(|e| e.into_inner().0, |r| r.0);
        }
    }
}

fn is_open(there: &[net::Connection], local: u16) -> bool {
    there.iter().any(|one| one.local == local && one.is_open)
}

/// The boot clock, by which logins are told.
fn now_ms() -> u64 {
    notifier::ffi::boottime().map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::thread;

    use notifier::chain::Person;

    use super::*;

    fn from(from: u16) -> Origin {
        Origin { from, to: 2222 }
    }

    fn inode(stream: &TcpStream) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
        let link = link.to_string_lossy().into_owned();
        link.trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn who_asks_waits_for_the_jump_host_and_then_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let stream = TcpStream::connect(target).unwrap();
        let local = stream.local_addr().unwrap().port();
        let board = Board::new();
        let asker = board.open("home", target);
        board.session("home", Some(Path::new("/ctl")));
        board.arrived("home", &[(inode(&stream), from(4711)), (1, from(1))], None);
        let jump_host = {
            let board = board.clone();
            thread::spawn(move || {
                let batch = board.next("home", asker).unwrap();
                let alice = Person { user: "alice".into(), ..Person::default() };
                board.told("home", &batch, vec![Answer::Matched(alice)]);
                (batch, board.next("home", asker))
            })
        };
        for _ in 0..2 {
            assert!(matches!(board.who(local, now_ms(), soon()), Answer::Matched(_)));
        }
        let Answer::Unmatched(_) = board.who(1, now_ms(), soon()) else { panic!() };
        let Answer::Unmatched(_) = board.who(local, 0, soon()) else { panic!("too early") };
        assert_ne!(board.open("home", target), asker, "another has its place");
        let want = Batch { control: "/ctl".into(), connections: vec![(local, from(4711))] };
        assert_eq!(jump_host.join().unwrap(), (want, None));
    }

    #[test]
    fn a_connection_that_stays_is_asked_about_and_one_that_goes_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let [stays, goes] = [(); 2].map(|()| TcpStream::connect(target).unwrap());
        let board = Board::new();
        let asker = board.open("home", target);
        board.session("home", Some(Path::new("/ctl")));
        let sockets = [(inode(&stays), from(1)), (inode(&goes), from(2))];
        board.arrived("home", &sockets, Some(Duration::from_millis(50)));
        let gone = goes.local_addr().unwrap().port();
        drop(goes);
        let batch = board.next("home", asker).unwrap();
        assert_eq!(batch.connections, [(stays.local_addr().unwrap().port(), from(1))]);
        assert!(matches!(board.who(gone, now_ms(), soon()), Answer::Unmatched(_)));
    }

    #[test]
    fn a_jump_host_that_says_nothing_costs_no_more_than_the_time_that_there_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let stream = TcpStream::connect(target).unwrap();
        let board = Board::new();
        let _ = board.open("home", target);
        board.arrived("home", &[(inode(&stream), from(1))], None);
        let local = stream.local_addr().unwrap().port();
        let begun = Instant::now();
        let answer = board.who(local, now_ms(), begun + Duration::from_millis(300));
        let why = Answer::unmatched("the jump host did not answer in time");
        assert_eq!((answer, begun.elapsed() < Duration::from_secs(10)), (why, true));
        // When its session ends, nobody waits any longer.
        board.session("home", None);
        assert_eq!(
            board.who(local, now_ms(), soon()),
            Answer::unmatched("the tunnel has ended since")
        );
    }
}
