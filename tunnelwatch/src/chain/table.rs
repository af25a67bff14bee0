//! The connections that have come through a tunnel, and what is known of them. Pure: times in, answers
//! out.

use std::collections::VecDeque;

use notifier::chain::Answer;

use super::ear::Origin;

/// Most connections that are kept; of more, the oldest are forgotten. sshd lets in a hundred at a time.
pub const MOST: usize = 512;

/// How long a connection that has ended is kept, in milliseconds, from its begin: sshd gives somebody two
/// minutes to log in (`LoginGraceTime`), and the sender may be busy.
const KEPT_MS: u64 = 180_000;

/// A connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Our port to the local sshd: that which a login there is told with.
    pub local: u16,
    /// What it is on the jump host.
    pub origin: Origin,
    /// When it came, on the boot clock.
    pub opened_ms: u64,
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
    pub fn add(&mut self, local: u16, origin: Origin, now_ms: u64, due_ms: u64) {
        if self.entries.len() >= MOST {
            self.entries.pop_front();
        }
        // Who had this port before has it no more, whatever the jump host may be about to say of him.
        for entry in self.entries.iter_mut().filter(|entry| entry.local == local) {
            entry.gives_up(TOO_LATE);
        }
        let step = Step::Waits;
        self.entries.push_back(Entry { local, origin, opened_ms: now_ms, due_ms, step });
    }

    /// Forgets what has ended and is of no use any more. `is_there` says whether a local port is in use.
    pub fn sweep(&mut self, now_ms: u64, is_there: impl Fn(u16) -> bool) {
        let old = |entry: &Entry| now_ms.saturating_sub(entry.opened_ms) > KEPT_MS;
        self.entries.retain(|entry| !old(entry) || is_there(entry.local));
    }

    /// The connection by which somebody logged in at `at_ms` from `local`. A port is used again: it is the
    /// last that was there before the login, and of none that came later.
    pub fn find(&mut self, local: u16, at_ms: u64) -> Option<&mut Entry> {
        let is_it = |entry: &&mut Entry| entry.local == local && entry.opened_ms <= at_ms;
        self.entries.iter_mut().rev().find(is_it)
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
    /// waits: our port, and what it is there. What is not there any more is not asked about: its port there
    /// may be another's.
    pub fn take_due(
        &mut self,
        now_ms: u64,
        most: usize,
        is_open: impl Fn(u16) -> bool,
    ) -> Vec<(u16, Origin)> {
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
                if is_open(entry.local) {
                    entry.step = Step::Asked;
                    due.push((entry.local, entry.origin));
                } else {
                    entry.gives_up(TOO_LATE);
                }
            }
        }
        due
    }

    /// Takes in what the jump host has said of a connection that it was asked about, and whether that is
    /// there still: a port that was free for a moment may have been another's when the jump host looked.
    pub fn told(&mut self, (local, origin): (u16, Origin), answer: Answer, is_open: bool) {
        let is_it = |e: &&mut Entry| (e.local, e.origin) == (local, origin);
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

    /// The tunnel's session has ended, and the jump host can be asked about none of its connections any
    /// more.
    pub fn end(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.gives_up("the tunnel has ended since"));
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

    fn from(from: u16) -> Origin {
        Origin { from, to: 2222 }
    }

    fn person(name: &str) -> Answer {
        Answer::Matched(Person { user: name.into(), ..Person::default() })
    }

    fn known(table: &mut Table, local: u16, at_ms: u64) -> Option<Answer> {
        match &table.find(local, at_ms)?.step {
            Step::Known(answer) => Some(answer.clone()),
            _ => None,
        }
    }

    fn is_matched(answer: &Option<Answer>) -> bool {
        matches!(answer, Some(Answer::Matched(_)))
    }

    #[test]
    fn a_port_that_is_used_again_is_two_connections() {
        let mut table = Table::default();
        table.add(40_000, from(1), 1_000, 1_100);
        assert_eq!(table.take_due(1_100, 9, |_| true), [(40_000, from(1))]);
        table.told((40_000, from(1)), person("alice"), true);
        table.add(40_000, from(2), 5_000, 5_100);
        assert_eq!(table.take_due(5_100, 9, |_| true), [(40_000, from(2))]);
        table.told((40_000, from(2)), person("bob"), true);
        for (at_ms, want) in [
            (999, None),
            (1_000, Some("alice")),
            (4_999, Some("alice")),
            (5_000, Some("bob")),
            (9_000, Some("bob")),
        ] {
            assert_eq!(known(&mut table, 40_000, at_ms), want.map(person), "{at_ms}");
        }
        assert_eq!(known(&mut table, 40_001, 9_000), None);
    }

    #[test]
    fn a_port_that_has_another_connection_by_now_is_not_answered_for_the_first() {
        let mut table = Table::default();
        table.add(7, from(1), 0, 0);
        table.take_due(0, 9, |_| true);
        // ssh had closed the first when its line was read, and had given its descriptor to the second.
        table.add(7, from(2), 0, 0);
        table.told((7, from(1)), person("alice"), true);
        assert_eq!(table.take_due(0, 9, |_| true), [(7, from(2))]);
        table.told((7, from(2)), person("bob"), true);
        assert_eq!(known(&mut table, 7, 0), Some(person("bob")));
    }

    #[test]
    fn what_is_wanted_goes_first_and_what_has_ended_is_not_asked_about() {
        let mut table = Table::default();
        for (local, due_ms) in [(1, 500), (2, 100), (3, 100), (4, 900), (5, u64::MAX)] {
            table.add(local, from(local + 100), 0, due_ms);
        }
        assert_eq!(table.due_ms(), 100);
        table.find(5, 0).unwrap().step = Step::Wanted;
        assert_eq!(table.due_ms(), 0);
        assert_eq!(table.take_due(500, 2, |local| local != 2), [(5, from(105)), (1, from(101))]);
        assert!(table.find(3, 0).unwrap().step == Step::Waits);
        assert_eq!(table.take_due(500, 2, |local| local != 2), [(3, from(103))]);
        assert!(matches!(known(&mut table, 2, 0), Some(Answer::Unmatched(_))));
        assert_eq!(table.due_ms(), 900);
    }

    #[test]
    fn an_answer_counts_for_a_connection_that_is_there_still() {
        let mut table = Table::default();
        for local in [1, 2, 3] {
            table.add(local, from(100), 0, 0);
        }
        table.take_due(0, 9, |_| true);
        table.told((1, from(100)), person("alice"), true);
        table.told((2, from(100)), person("alice"), false);
        table.told((3, from(100)), Answer::unmatched("no record"), false);
        // Nobody asked.
        table.told((9, from(100)), person("alice"), true);
        table.told((1, from(100)), person("mallory"), true);
        assert_eq!(known(&mut table, 1, 0), Some(person("alice")));
        assert!(!is_matched(&known(&mut table, 2, 0)));
        assert_eq!(known(&mut table, 3, 0), Some(Answer::unmatched("no record")));
        table.end();
        assert_eq!(known(&mut table, 1, 0), Some(person("alice")), "what is known stays");
    }

    #[test]
    fn the_end_of_the_session_is_that_of_what_was_not_asked() {
        let mut table = Table::default();
        for local in [1, 2, 3] {
            table.add(local, from(100), 0, u64::MAX);
        }
        table.find(2, 0).unwrap().step = Step::Wanted;
        table.find(3, 0).unwrap().step = Step::Asked;
        table.end();
        for local in [1, 2, 3] {
            assert!(matches!(known(&mut table, local, 0), Some(Answer::Unmatched(_))), "{local}");
        }
        table.told((3, from(100)), person("alice"), true);
        assert!(!is_matched(&known(&mut table, 3, 0)));
    }

    #[test]
    fn it_is_bounded_and_forgets_what_has_ended_long_ago() {
        let mut table = Table::default();
        for n in 0..MOST + 10 {
            table.add(u16::try_from(n).unwrap(), from(1), 1, 0);
        }
        assert_eq!(table.len(), MOST);
        assert!(table.find(9, 1).is_none() && table.find(10, 1).is_some());
        table.sweep(1 + KEPT_MS, |_| false);
        assert_eq!(table.len(), MOST);
        table.sweep(2 + KEPT_MS, |local| local == 100);
        assert_eq!((table.len(), table.find(100, 1).is_some()), (1, true));
    }
}
