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

use super::ear::{News, Origin};
use super::net::{self, Socket};
use super::table::{Entry, Step, Table};

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
    /// Our end of each connection, and what it is there.
    pub connections: Vec<(Socket, Origin)>,
}

/// A login that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// Where it came from.
    pub source: SocketAddr,
    /// What it came to.
    pub server: SocketAddr,
    /// When, on the boot clock.
    pub at_ms: u64,
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
            room.table.end(now_ms());
        }
        self.news.notify_all();
    }

    /// A tunnel has a new session, or none.
    pub fn session(&self, tunnel: &str, control: Option<&Path>) {
        if let Some(room) = self.rooms().get_mut(tunnel) {
            room.control = control.map(Path::to_owned);
            room.table.end(now_ms());
        }
        self.news.notify_all();
    }

    /// Connections have come and gone, in this order. The jump host is asked
    /// about those that are there after `settle`, or, without it, about those that somebody asks for.
    pub fn heard(&self, tunnel: &str, news: &[News], settle: Option<Duration>) {
        let target = self.rooms().get(tunnel).and_then(|room| room.target);
        let Some(target) = target.filter(|_| !news.is_empty()) else { return };
        let there = net::connections(target);
        let mut rooms = self.rooms();
        let Some(room) = rooms.get_mut(tunnel) else { return };
        let now_ms = now_ms();
        room.table.sweep(now_ms, |socket| there.iter().any(|one| one.socket == socket));
        let due_ms = settle.map_or(u64::MAX, |settle| now_ms.saturating_add(millis(settle)));
        for one in news {
            match one {
                News::Ended(inode) => room.table.ended(*inode, now_ms),
                News::Came(inode, origin) => {
                    if let Some(one) = there.iter().find(|one| one.socket.inode == *inode) {
                        room.table.add(one.socket, *origin, now_ms, due_ms);
                    }
                }
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
                    room.table.take_due(now_ms(), TOGETHER, |socket| is_open(&there, socket));
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

    /// Who logged in; waits for the jump host's answer,
    /// if need be until `deadline`.
    #[must_use]
    pub fn who(&self, login: &Login, deadline: Instant) -> Answer {
        let unheard = deadline.min(Instant::now() + UNHEARD);
        let mut rooms = self.rooms();
        loop {
            let (until, why) = match find(&mut rooms, login) {
                None => (unheard, "it came through no tunnel that tunnelwatch keeps"),
                // Nobody's, whoever it was.
                Some(Entry { step: Step::Known(answer @ Answer::Unmatched(_)), .. }) => {
                    return answer.clone();
                }
                // It has ended, which is heard when its thread has a moment.
                Some(entry)
                    if entry.ended_ms.is_none() && !is_there(login.server, entry.socket) =>
                {
                    (deadline, "its connection had ended")
                }
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
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::unmatched(why);
            }
            rooms = self.news.wait_timeout(rooms, left).map_or_else(|e| e.into_inner().0, |r| r.0);
        }
    }
}

/// The connection by which somebody may have logged in. Two tunnels may lead to one sshd, and the last that had
/// the port counts.
fn find<'a>(rooms: &'a mut BTreeMap<String, Room>, login: &Login) -> Option<&'a mut Entry> {
    let there = rooms.values_mut().filter(|room| room.target == Some(login.server));
    let found = there.filter_map(|room| room.table.find(login.source, login.at_ms));
    found.max_by_key(|entry| entry.opened_ms)
}

fn is_there(target: SocketAddr, socket: Socket) -> bool {
    net::connections(target).iter().any(|one| one.socket == socket)
}

fn is_open(there: &[net::Connection], socket: Socket) -> bool {
    there.iter().any(|one| one.socket == socket && one.is_open)
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

    fn socket(stream: &TcpStream) -> Socket {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
        let link = link.to_string_lossy().into_owned();
        let inode = link.trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap();
        Socket { local: stream.local_addr().unwrap(), inode }
    }

    fn came(stream: &TcpStream, port: u16) -> News {
        News::Came(socket(stream).inode, from(port))
    }

    fn login(source: SocketAddr, server: SocketAddr) -> Login {
        Login { source, server, at_ms: now_ms() }
    }

    fn alice() -> Answer {
        Answer::Matched(Person { user: "alice".into(), ..Person::default() })
    }

    /// The jump host has said that it is she.
    fn is_alices(board: &Board, tunnel: &str, asker: u64) {
        let batch = board.next(tunnel, asker).unwrap();
        board.told(tunnel, &batch, vec![alice(); batch.connections.len()]);
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn who_asks_waits_for_the_jump_host_and_then_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let stream = TcpStream::connect(target).unwrap();
        let who = login(stream.local_addr().unwrap(), target);
        let board = Board::new();
        let asker = board.open("home", target);
        board.session("home", Some(Path::new("/ctl")));
        board.heard("home", &[came(&stream, 4711), News::Came(1, from(1))], None);
        let who = Login { at_ms: now_ms(), ..who };
        let jump_host = {
            let board = board.clone();
            thread::spawn(move || {
                let batch = board.next("home", asker).unwrap();
                board.told("home", &batch, vec![alice()]);
                (batch, board.next("home", asker))
            })
        };
        for _ in 0..2 {
            assert_eq!(board.who(&who, soon()), alice());
        }
        let other = |ip: [u8; 4], port| SocketAddr::from((ip, port));
        for (why, stranger) in [
            ("another port", Login { source: other([127, 0, 0, 1], 1), ..who }),
            ("too early", Login { at_ms: 0, ..who }),
            ("another address", Login { source: other([127, 0, 0, 2], who.source.port()), ..who }),
            ("another sshd", Login { server: other([127, 0, 0, 2], target.port()), ..who }),
            ("IPv6", Login { source: ([0, 0, 0, 0, 0, 0, 0, 1], who.source.port()).into(), ..who }),
        ] {
            assert!(matches!(board.who(&stranger, soon()), Answer::Unmatched(_)), "{why}");
        }
        assert_ne!(board.open("home", target), asker, "another has its place");
        let want =
            Batch { control: "/ctl".into(), connections: vec![(socket(&stream), from(4711))] };
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
        let news = [came(&stays, 1), came(&goes, 2)];
        board.heard("home", &news, Some(Duration::from_millis(50)));
        let gone = login(goes.local_addr().unwrap(), target);
        drop(goes);
        let batch = board.next("home", asker).unwrap();
        assert_eq!(batch.connections, [(socket(&stays), from(1))]);
        assert!(matches!(board.who(&gone, soon()), Answer::Unmatched(_)));
    }

    #[test]
    fn a_jump_host_that_says_nothing_costs_no_more_than_the_time_that_there_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let stream = TcpStream::connect(target).unwrap();
        let board = Board::new();
        let _ = board.open("home", target);
        board.heard("home", &[came(&stream, 1)], None);
        let who = login(stream.local_addr().unwrap(), target);
        let begun = Instant::now();
        let answer = board.who(&who, begun + Duration::from_millis(300));
        let why = Answer::unmatched("the jump host did not answer in time");
        assert_eq!((answer, begun.elapsed() < Duration::from_secs(10)), (why, true));
        // When its session ends, nobody waits any longer.
        board.session("home", None);
        assert_eq!(board.who(&who, soon()), Answer::unmatched("the tunnel has ended since"));
    }

    #[test]
    fn who_takes_a_port_that_has_become_free_does_not_get_a_name_with_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let board = Board::new();
        let asker = board.open("home", target);
        board.session("home", Some(Path::new("/ctl")));
        let stream = TcpStream::connect(target).unwrap();
        let inode = socket(&stream).inode;
        board.heard("home", &[came(&stream, 1)], Some(Duration::ZERO));
        let hers = login(stream.local_addr().unwrap(), target);
        is_alices(&board, "home", asker);
        assert_eq!(board.who(&hers, soon()), alice());
        drop(stream);
        // Nothing is heard of the end yet, and the port may be anybody's.
        let ended = Answer::unmatched("its connection had ended");
        let waits = Instant::now() + Duration::from_millis(100);
        assert_eq!(board.who(&login(hers.source, target), waits), ended);
        board.heard("home", &[News::Ended(inode)], None);
        assert_eq!(board.who(&hers, soon()), alice(), "a short one, told of afterwards");
        let later = Login { at_ms: now_ms() + 1, ..hers };
        assert!(matches!(board.who(&later, soon()), Answer::Unmatched(_)));
    }

    #[test]
    fn of_two_tunnels_to_one_sshd_that_one_counts_which_had_the_port_last() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let board = Board::new();
        let (first, _second) = (board.open("a", target), board.open("b", target));
        board.session("a", Some(Path::new("/ctl")));
        board.session("b", Some(Path::new("/ctl")));
        let stream = TcpStream::connect(target).unwrap();
        board.heard("a", &[came(&stream, 1)], Some(Duration::ZERO));
        is_alices(&board, "a", first);
        let who = login(stream.local_addr().unwrap(), target);
        let begun = now_ms();
        let until = Instant::now() + Duration::from_secs(20);
        while now_ms() == begun && Instant::now() < until {
            thread::yield_now();
        }
        board.heard("b", &[came(&stream, 2)], None);
        assert_eq!(board.who(&who, soon()), alice());
        let of_b = Login { at_ms: now_ms(), ..who };
        let answer = board.who(&of_b, Instant::now() + Duration::from_millis(100));
        assert_eq!(answer, Answer::unmatched("the jump host did not answer in time"));
    }
}
