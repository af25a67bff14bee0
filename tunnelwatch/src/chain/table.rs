//! The connections that have come through a tunnel, and what is known of them. Pure: times in, answers
//! out.

use std::collections::VecDeque;
use std::net::SocketAddr;

use notifier::chain::Answer;

use super::ear::Origin;
use super::net::Socket;

/// Most connections that are kept; of more, the oldest are forgotten. sshd lets in a hundred at a time.
pub const MOST: usize = 512;

/// How long a connection that has ended is kept, in milliseconds, from its begin: sshd gives somebody two
/// minutes to log in (`LoginGraceTime`), and the sender may be busy.
const KEPT_MS: u64 = 180_000;

/// A connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Our end of the connection to the local sshd: a login there is told with its address and port.
    pub socket: Socket,
    /// What it is on the jump host.
    pub origin: Origin,
    /// When it came, on the boot clock.
    pub opened_ms: u64,
    /// When it was heard that it has ended.
    pub ended_ms: Option<u64>,
    /// When the jump host is to be asked, if nobody asks before.
    pub due_ms: u64,
    /// How far that is.
    pub step: Step,
}

/// How far the jump host has been asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Not yet.
    Waits,
    /// Not yet, and somebody waits for it.
    Wanted,
    /// Just now.
    Asked,
    /// It has answered, or will not.
    Known(Answer),
}

/// Why nothing is known of a connection that is gone.
const TOO_LATE: &str = "its connection had ended before the jump host was asked";

impl Entry {
    /// Nothing will be known of it, if nothing is.
    fn gives_up(&mut self, why: &str) {
        if !matches!(self.step, Step::Known(_)) {
            self.step = Step::Known(Answer::unmatched(why));
        }
    }
}

/// The connections of one tunnel, oldest first.
#[derive(Debug, Default)]
pub struct Table {
    entries: VecDeque<Entry>,
}

impl Table {
    /// Takes a connection in.
    pub fn add(&mut self, socket: Socket, origin: Origin, now_ms: u64, due_ms: u64) {
        // Who had this port before has it no more, and since when was not heard: what comes from it now may be of either.
        self.entries.retain(|one| one.ended_ms.is_some() || one.socket.local != socket.local);
        if self.entries.len() >= MOST {
            self.entries.pop_front();
        }
        let (opened_ms, ended_ms, step) = (now_ms, None, Step::Waits);
        self.entries.push_back(Entry { socket, origin, opened_ms, ended_ms, due_ms, step });
    }

    /// A connection has ended: whoever comes from its port from now on is another.
    pub fn ended(&mut self, inode: u64, now_ms: u64) {
        let is_it = |one: &&mut Entry| one.socket.inode == inode && one.ended_ms.is_none();
        self.entries.iter_mut().filter(is_it).for_each(|one| one.ended_ms = Some(now_ms));
    }

    /// Forgets what has ended and is of no use any more. `is_there` says whether a socket is in use.
    pub fn sweep(&mut self, now_ms: u64, is_there: impl Fn(Socket) -> bool) {
        let old = |entry: &Entry| now_ms.saturating_sub(entry.opened_ms) > KEPT_MS;
        self.entries.retain(|entry| !old(entry) || is_there(entry.socket));
    }

    /// The connection by which somebody may have logged in at `at_ms` from `local`: the last that was there before the login,
    /// and had not ended. Where it is not known to have ended, it is his only while the kernel has it: its port
    /// is used again by others, of whom nothing is heard here.
    pub fn find(&mut self, local: SocketAddr, at_ms: u64) -> Option<&mut Entry> {
        let is_it = |entry: &&mut Entry| entry.socket.local == local && entry.opened_ms <= at_ms;
        let last = self.entries.iter_mut().rev().find(is_it)?;
        last.ended_ms.is_none_or(|ended_ms| at_ms <= ended_ms).then_some(last)
    }

    /// When the jump host is to be asked next; 0 for now.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let due = self.entries.iter().filter_map(|entry| match entry.step {
            Step::Waits => Some(entry.due_ms),
            Step::Wanted => Some(0),
            Step::Asked | Step::Known(_) => None,
        });
        due.min().unwrap_or(u64::MAX)
    }

    /// Takes out what the jump host is to be asked now, `most` at a time, those first for whom somebody
    /// waits: our end, and what it is there. What is not there any more is not asked about: its port there
    /// may be another's.
    pub fn take_due(
        &mut self,
        now_ms: u64,
        most: usize,
        is_open: impl Fn(Socket) -> bool,
    ) -> Vec<(Socket, Origin)> {
        let mut due = Vec::new();
        for wanted in [true, false] {
            for entry in &mut self.entries {
                let is_due = match entry.step {
                    Step::Wanted => wanted,
                    Step::Waits => !wanted && entry.due_ms <= now_ms,
                    Step::Asked | Step::Known(_) => false,
                };
                if !is_due || due.len() >= most {
                    continue;
                }
                if is_open(entry.socket) {
                    entry.step = Step::Asked;
                    due.push((entry.socket, entry.origin));
                } else {
                    entry.gives_up(TOO_LATE);
                }
            }
        }
        due
    }

    /// Takes in what the jump host has said of a connection that it was asked about, and whether that is
    /// there still: a port that was free for a moment may have been another's when the jump host looked.
    pub fn told(&mut self, asked: (Socket, Origin), answer: Answer, is_open: bool) {
        let is_it = |e: &&mut Entry| (e.socket, e.origin) == asked;
        let mut asked = self.entries.iter_mut().filter(is_it);
        let Some(entry) = asked.find(|entry| entry.step == Step::Asked) else { return };
        let answer = match answer {
            Answer::Matched(_) if !is_open => {
                Answer::unmatched("its connection had ended when the jump host answered")
            }
            answer => answer,
        };
        entry.step = Step::Known(answer);
    }

    /// The tunnel's session has ended, and its connections with it; the jump host can be asked about none of them any
    /// more.
    pub fn end(&mut self, now_ms: u64) {
        for entry in &mut self.entries {
            entry.gives_up("the tunnel has ended since");
            entry.ended_ms.get_or_insert(now_ms);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use notifier::chain::Person;

    use super::*;

    fn local(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// The socket of this port, of those that it has had one after the other.
    fn nth(port: u16, nth: u64) -> Socket {
        Socket { local: local(port), inode: u64::from(port) * 10 + nth }
    }

    fn socket(port: u16) -> Socket {
        nth(port, 0)
    }

    fn from(from: u16) -> Origin {
        Origin { from, to: 2222 }
    }

    fn person(name: &str) -> Answer {
        Answer::Matched(Person { user: name.into(), ..Person::default() })
    }

    fn known(table: &mut Table, port: u16, at_ms: u64) -> Option<Answer> {
        match &table.find(local(port), at_ms)?.step {
            Step::Known(answer) => Some(answer.clone()),
            _ => None,
        }
    }

    fn is_matched(answer: &Option<Answer>) -> bool {
        matches!(answer, Some(Answer::Matched(_)))
    }

    #[test]
    fn a_port_that_is_used_again_is_two_connections_and_between_them_another_s() {
        let (mut table, one, two) = (Table::default(), nth(40_000, 1), nth(40_000, 2));
        table.add(one, from(1), 1_000, 1_100);
        assert_eq!(table.take_due(1_100, 9, |_| true), [(one, from(1))]);
        table.told((one, from(1)), person("alice"), true);
        table.ended(one.inode, 4_000);
        table.add(two, from(2), 5_000, 5_100);
        assert_eq!(table.take_due(5_100, 9, |_| true), [(two, from(2))]);
        table.told((two, from(2)), person("bob"), true);
        table.ended(two.inode, 9_000);
        table.ended(two.inode, 9_999);
        for (at_ms, want) in [
            (999, None),
            (1_000, Some("alice")),
            (4_000, Some("alice")),
            // Somebody of this host, by no tunnel.
            (4_001, None),
            (4_999, None),
            (5_000, Some("bob")),
            (9_000, Some("bob")),
            (9_001, None),
        ] {
            assert_eq!(known(&mut table, 40_000, at_ms), want.map(person), "{at_ms}");
        }
        assert_eq!(known(&mut table, 40_001, 9_000), None);
        let other = ([127, 0, 0, 2], 40_000).into();
        assert!(table.find(other, 9_000).is_none());
    }

    #[test]
    fn of_two_of_one_port_the_first_of_which_was_not_heard_to_end_it_is_the_second_or_nobody() {
        let mut table = Table::default();
        table.add(nth(7, 1), from(1), 1_000, 0);
        table.take_due(1_000, 9, |_| true);
        table.told((nth(7, 1), from(1)), person("alice"), true);
        table.add(nth(7, 2), from(2), 5_000, 0);
        assert!(table.find(local(7), 4_000).is_none());
        assert!(table.find(local(7), 5_000).is_some_and(|one| one.origin == from(2)));
    }

    #[test]
    fn a_descriptor_that_has_another_connection_by_now_is_not_answered_for_the_first() {
        let mut table = Table::default();
        table.add(socket(7), from(1), 0, 0);
        table.take_due(0, 9, |_| true);
        // ssh had closed the first when its line was read, and had given its descriptor to the second.
        table.ended(socket(7).inode, 0);
        table.add(socket(7), from(2), 0, 0);
        table.told((socket(7), from(1)), person("alice"), true);
        assert_eq!(table.take_due(0, 9, |_| true), [(socket(7), from(2))]);
        table.told((socket(7), from(2)), person("bob"), true);
        assert_eq!(known(&mut table, 7, 0), Some(person("bob")));
        assert_eq!(known(&mut table, 7, 9), Some(person("bob")));
    }

    #[test]
    fn what_is_wanted_goes_first_and_what_has_ended_is_not_asked_about() {
        let mut table = Table::default();
        for (port, due_ms) in [(1, 500), (2, 100), (3, 100), (4, 900), (5, u64::MAX)] {
            table.add(socket(port), from(port + 100), 0, due_ms);
        }
        assert_eq!(table.due_ms(), 100);
        table.find(local(5), 0).unwrap().step = Step::Wanted;
        assert_eq!(table.due_ms(), 0);
        let open = |one| one != socket(2);
        let first = [(socket(5), from(105)), (socket(1), from(101))];
        assert_eq!(table.take_due(500, 2, open), first);
        assert!(table.find(local(3), 0).unwrap().step == Step::Waits);
        assert_eq!(table.take_due(500, 2, open), [(socket(3), from(103))]);
        assert!(matches!(known(&mut table, 2, 0), Some(Answer::Unmatched(_))));
        assert_eq!(table.due_ms(), 900);
    }

    #[test]
    fn an_answer_counts_for_a_connection_that_is_there_still() {
        let mut table = Table::default();
        for port in [1, 2, 3] {
            table.add(socket(port), from(100), 0, 0);
        }
        table.take_due(0, 9, |_| true);
        table.told((socket(1), from(100)), person("alice"), true);
        table.told((socket(2), from(100)), person("alice"), false);
        table.told((socket(3), from(100)), Answer::unmatched("no record"), false);
        // Nobody asked.
        table.told((socket(9), from(100)), person("alice"), true);
        table.told((socket(1), from(100)), person("mallory"), true);
        assert_eq!(known(&mut table, 1, 0), Some(person("alice")));
        assert!(!is_matched(&known(&mut table, 2, 0)));
        assert_eq!(known(&mut table, 3, 0), Some(Answer::unmatched("no record")));
        table.end(0);
        assert_eq!(known(&mut table, 1, 0), Some(person("alice")), "what is known stays");
    }

    #[test]
    fn the_end_of_the_session_is_that_of_what_was_not_asked() {
        let mut table = Table::default();
        for port in [1, 2, 3] {
            table.add(socket(port), from(100), 0, u64::MAX);
        }
        table.find(local(2), 0).unwrap().step = Step::Wanted;
        table.find(local(3), 0).unwrap().step = Step::Asked;
        table.end(0);
        for port in [1, 2, 3] {
            assert!(matches!(known(&mut table, port, 0), Some(Answer::Unmatched(_))), "{port}");
            assert!(table.find(local(port), 1).is_none(), "from then on another's");
        }
        table.told((socket(3), from(100)), person("alice"), true);
        assert!(!is_matched(&known(&mut table, 3, 0)));
    }

    #[test]
    fn it_is_bounded_and_forgets_what_has_ended_long_ago() {
        let mut table = Table::default();
        for n in 0..MOST + 10 {
            table.add(socket(u16::try_from(n).unwrap()), from(1), 1, 0);
        }
        assert_eq!(table.len(), MOST);
        assert!(table.find(local(9), 1).is_none() && table.find(local(10), 1).is_some());
        table.sweep(1 + KEPT_MS, |_| false);
        assert_eq!(table.len(), MOST);
        table.sweep(2 + KEPT_MS, |one| one == socket(100));
        assert_eq!((table.len(), table.find(local(100), 1).is_some()), (1, true));
    }
}
