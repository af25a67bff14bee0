//! Threads that find out what a login's own record does not say. The loop never waits for them.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use crate::event::Event;
use crate::fact::{Fact, Finder};

/// Most threads at the same time. One that is asked in vain holds its thread for its whole time.
const MOST: usize = 16;

/// Stack of a thread: it reads a few small files or asks one socket.
const STACK: usize = 256 * 1024;

/// A question about a message that is held for the answer.
pub struct Ask {
    /// The message's name in the queue.
    pub name: String,
    /// What it tells.
    pub event: Box<Event>,
    /// Who knows more.
    pub finder: Arc<dyn Finder>,
    /// Until when the message is held.
    pub deadline: Instant,
}

/// An answer.
pub struct Found {
    /// The message's name in the queue.
    pub name: String,
    /// What it tells.
    pub event: Box<Event>,
    /// What was found out.
    pub fact: Option<Fact>,
}

/// The threads, seen from the loop.
pub struct Lookups {
    running: usize,
    waiting: VecDeque<Ask>,
    answers: Receiver<Found>,
    answer_to: Sender<Found>,
    bell: UnixStream,
}

impl Lookups {
    /// None yet. For each answer, a byte is written to `bell`.
    ///
    /// # Errors
    ///
    /// When there are no more descriptors.
    pub fn new(bell: &UnixStream) -> io::Result<Self> {
        let (answer_to, answers) = mpsc::channel();
        let bell = bell.try_clone()?;
        Ok(Self { running: 0, waiting: VecDeque::new(), answers, answer_to, bell })
    }

    /// Asks, as far as there is room; the rest in its turn, unless its time is over by then.
    pub fn ask(&mut self, asks: Vec<Ask>) {
        self.waiting.extend(asks);
        while self.running < MOST {
            let Some(ask) = self.waiting.pop_front() else { break };
            if ask.deadline > Instant::now() {
                self.start(ask);
            }
        }
    }

    fn start(&mut self, ask: Ask) {
        let answer_to = self.answer_to.clone();
        let Ok(mut bell) = self.bell.try_clone() else { return };
        let find = move || {
            let Ask { name, event, finder, deadline } = ask;
            let found = panic::catch_unwind(AssertUnwindSafe(|| finder.find(&event, deadline)));
            let fact = found.unwrap_or_default();
            let _ = answer_to.send(Found { name, event, fact });
            // Full means that the loop has not yet woken up, and will.
            let _ = bell.write(&[1]);
        };
        let thread = thread::Builder::new().name("lookup".into()).stack_size(STACK);
        // Without a thread there is no answer, and the message goes without it when its time is over.
        self.running += usize::from(thread.spawn(find).is_ok());
    }

    /// The answers that have come, which make room for the next questions.
    pub fn answers(&mut self) -> Vec<Found> {
        let found: Vec<Found> = self.answers.try_iter().collect();
        self.running = self.running.saturating_sub(found.len());
        if !found.is_empty() {
            self.ask(Vec::new());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::Stamp;
    use crate::event::{Note, Severity, What};
    use crate::spool::drop::new_event;

    /// Answers when the gate opens; a panic where the host is `bad`.
    struct Slow {
        gate: Mutex<()>,
        at_once: AtomicUsize,
    }

    impl Finder for Slow {
        fn patience(&self, _: &Event) -> Option<Duration> {
            None
        }

        fn find(&self, event: &Event, _: Instant) -> Option<Fact> {
            self.at_once.fetch_add(1, Ordering::SeqCst);
            drop(self.gate.lock());
            assert_ne!(event.host, "bad".into());
            Some(Fact::WentOn(vec![event.host.clone()]))
        }
    }

    #[test]
    fn threads_are_bounded_and_the_others_come_in_their_turn_or_too_late() {
        let (mut woken, bell) = UnixStream::pair().unwrap();
        woken.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut lookups = Lookups::new(&bell).unwrap();
        let slow = Arc::new(Slow { gate: Mutex::new(()), at_once: AtomicUsize::new(0) });
        let gate = slow.gate.lock().unwrap();
        let ask = |host: &str, deadline: Instant| {
            let note = What::Note(Note::default());
            let event = new_event(Stamp::default(), &host.into(), Severity::Info, note);
            let finder: Arc<dyn Finder> = slow.clone();
            Ask { name: host.to_owned(), event: Box::new(event), finder, deadline }
        };
        let later = Instant::now() + Duration::from_secs(60);
        let mut asks = vec![ask("bad", later)];
        asks.extend((0..MOST + 4).map(|n| ask(&format!("h{n}"), later)));
        asks.push(ask("late", Instant::now()));
        lookups.ask(asks);
        assert_eq!((lookups.running, lookups.waiting.len()), (MOST, 6));
        drop(gate);
        let mut found = Vec::new();
        while found.len() < MOST + 5 {
            let _ = std::io::Read::read(&mut woken, &mut [0; 64]).unwrap();
            found.extend(lookups.answers());
            assert!(lookups.running <= MOST);
        }
        assert_eq!(slow.at_once.load(Ordering::SeqCst), MOST + 5);
        assert!(found.iter().all(|one| one.fact.is_some() == (one.name != "bad")));
        assert!(found.iter().all(|one| one.name != "late"));
        assert_eq!((lookups.running, lookups.waiting.len()), (0, 0));
    }
}
