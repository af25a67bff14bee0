//! A try in a thread of its own, which is left behind when it takes too long.
//!
//! The library's limit is one on each read: a server that says a byte every nine seconds holds a
//! try for days. So the channel waits for it so long and no longer. How many such threads there
//! can be is bounded, and each ends by itself at its next step, or when its server falls silent.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::dialog::{self, Server};
use super::letter::Letter;
use super::verdict::{Step, unfinished};
use crate::channel::outcome::{Fault, Outcome};

/// Most time that a try takes. A server may let a stranger wait for its greeting, to see
/// whether he can: postfix's postscreen 6 s, others 15 s and more.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Most threads at once, the one at work among them.
const MOST: usize = 8;

/// The try was given up while it was at work: it must go no further.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenUp;

/// How far a try has come, between who makes it and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<(Step, bool)>);

impl Progress {
    /// Goes on to `step`; what has been given up goes nowhere, so that no mail leaves after its
    /// try was called off.
    pub(super) fn enter(&self, step: Step) -> Result<(), GivenUp> {
        let mut state = locked(&self.0);
        if state.1 {
            return Err(GivenUp);
        }
        state.0 = step;
        Ok(())
    }

    /// Calls it off, and answers how far it had come.
    fn give_up(&self) -> Step {
        let mut state = locked(&self.0);
        state.1 = true;
        state.0
    }
}

/// Room for so many threads.
#[derive(Debug)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One of them, free again when this is dropped.
struct Slot(Arc<Slots>);

impl Slots {
    /// A slot, for which it waits until `most` has passed.
    fn take(slots: &Arc<Self>, most: Duration) -> Option<Slot> {
        let taken = locked(&slots.taken);
        let full = |taken: &mut usize| *taken >= MOST;
        let waited = slots.freed.wait_timeout_while(taken, most, full);
        let (mut taken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && *taken >= MOST {
            return None;
        }
        *taken += 1;
        Some(Slot(Arc::clone(slots)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *locked(&self.0.taken) -= 1;
        self.0.freed.notify_one();
    }
}

/// The tries of one channel.
pub(super) struct Attempts {
    slots: Arc<Slots>,
    deadline: Duration,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            slots: Arc::new(Slots { taken: Mutex::new(0), freed: Condvar::new() }),
            deadline: DEADLINE,
        }
    }
}

impl Attempts {
    /// Makes one.
    pub(super) fn make(&self, server: &Arc<Server>, letter: Letter) -> Outcome {
        let host = server.names.host.clone();
        let server = Arc::clone(server);
        self.run(&host, move |progress, report| {
            dialog::run(&server, &letter, progress, |outcome| {
                // When nobody waits for it any more, it has been told as given up.
                let _ = report.send(outcome);
            });
        })
    }

    fn run<F>(&self, host: &str, work: F) -> Outcome
    where
        F: FnOnce(&Progress, mpsc::Sender<Outcome>) + Send + 'static,
    {
        let later = |why| Outcome::Later { why, fault: Fault::Channel };
        let Some(slot) = Slots::take(&self.slots, self.deadline) else {
            return later(format!("{MOST} earlier tries still hang at {host}"));
        };
        let progress = Arc::new(Progress::default());
        let (report, outcome) = mpsc::channel();
        let seen = Arc::clone(&progress);
        let started = thread::Builder::new().name("smtp".into()).spawn(move || {
            let _slot = slot;
            work(&progress, report);
        });
        if let Err(error) = started {
            return later(format!("no thread for the try: {error}"));
        }
        match outcome.recv_timeout(self.deadline) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let step = seen.give_up();
                // It may have ended in this moment.
                outcome.try_recv().unwrap_or_else(|_| {
                    let most = self.deadline;
                    let why = format!(
                        "{step}: {host} takes more than {most:?}; check host and port, if that goes on"
                    );
                    unfinished(step, why)
                })
            }
            // It panicked, and whatever it was about may have been done.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Outcome::doubtful("a fault in the program itself; please report it", Fault::Message)
            }
        }
    }
}

/// The content, also when another thread has panicked with it: each of them is plain numbers.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(deadline: Duration) -> Attempts {
        Attempts { deadline, ..Attempts::default() }
    }

    #[test]
    fn a_try_that_overruns_is_doubtful_only_once_the_mail_is_on_its_way() {
        let table = [(Step::Connect, false), (Step::Data, false), (Step::Content, true)];
        for (step, doubtful) in table {
            let (end, ended) = mpsc::channel::<()>();
            let (told, after) = mpsc::channel();
            let outcome =
                attempts(Duration::from_millis(20)).run("mx", move |progress, _report| {
                    progress.enter(step).unwrap();
                    let _ = ended.recv();
                    told.send(progress.enter(Step::Content)).unwrap();
                });
            assert_eq!(matches!(outcome, Outcome::Doubtful { .. }), doubtful, "{step:?} {outcome}");
            assert!(matches!(
                outcome,
                Outcome::Doubtful { fault: Fault::Channel, .. }
                    | Outcome::Later { fault: Fault::Channel, .. }
            ));
            drop(end);
            assert_eq!(after.recv(), Ok(Err(GivenUp)), "it went on after it was given up");
        }
    }

    #[test]
    fn threads_left_behind_are_bounded_and_room_comes_back() {
        let attempts = attempts(Duration::from_millis(5));
        let mut ends = Vec::new();
        for _ in 0..MOST {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let outcome = attempts.run("mx", move |_, _report| {
                let _ = ended.recv();
            });
            assert!(outcome.to_string().contains("more than"), "{outcome}");
        }
        let outcome = attempts.run("mx", |_, _| panic!("there is no room for this"));
        assert!(outcome.to_string().contains("still hang"), "{outcome}");
        ends.pop();
        let attempts = Attempts { deadline: Duration::from_secs(10), ..attempts };
        let never = || Outcome::Never { why: "made".into() };
        let outcome = attempts.run("mx", move |_, report| report.send(never()).unwrap());
        assert_eq!(outcome, never());
    }

    #[test]
    fn a_panic_in_the_library_is_told_and_frees_its_room() {
        let attempts = attempts(Duration::from_secs(10));
        for _ in 0..=MOST {
            let outcome = attempts.run("mx", |_, _| panic!("of this test"));
            assert!(matches!(outcome, Outcome::Doubtful { .. }), "{outcome:?}");
        }
    }
}
