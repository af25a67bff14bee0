//! One thread a channel: takes a message, looks for it first where that is needed, sends it,
//! and reports.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::channel::{Channel, Fault, Found, Message, Outcome};

/// A try to make.
#[derive(Debug)]
pub struct Job {
    /// The message's name in the queue.
    pub name: String,
    /// What to send, and to whom.
    pub message: Message,
    /// Whether an earlier try may have got through.
    pub doubtful: bool,
    /// Whether the provider said, then, that it had taken it.
    pub accepted: bool,
}

/// What became of a try.
#[derive(Debug)]
pub struct Report {
    /// The message's name in the queue.
    pub name: String,
    /// The channel.
    pub channel: String,
    /// The recipient.
    pub recipient: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it is still not known if an *earlier* try got through.
    pub unresolved: bool,
}

/// A channel's thread, seen from the loop.
pub struct Worker {
    /// The channel's name.
    pub name: String,
    /// Its recipients.
    pub recipients: Vec<String>,
    /// Whether it has a job.
    pub busy: bool,
    jobs: Sender<Job>,
}

impl Worker {
    /// Starts a thread for `channel`. It ends when the worker is dropped. For each report, a
    /// byte is written to `wake`.
    ///
    /// # Errors
    ///
    /// When there can be no more threads or descriptors.
    pub fn start(
        name: &str,
        channel: Box<dyn Channel>,
        reports: Sender<Report>,
        wake: &UnixStream,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let recipients = channel.recipients().to_vec();
        let wake = wake.try_clone()?;
        let own_name = name.to_owned();
        thread::Builder::new()
            .name(format!("channel {name}"))
            .spawn(move || run(&own_name, channel, &inbox, &reports, wake))?;
        Ok(Self { name: name.to_owned(), recipients, busy: false, jobs })
    }

    /// Hands over a job. When the thread is gone, the answer is the report that it cannot make.
    #[must_use]
    pub fn hand_over(&mut self, job: Job) -> Option<Report> {
        self.busy = true;
        let mpsc::SendError(job) = self.jobs.send(job).err()?;
        Some(Report {
            name: job.name,
            channel: self.name.clone(),
            recipient: job.message.recipient,
            outcome: Outcome::Later {
                why: "the channel's thread is gone".into(),
                fault: Fault::Channel,
            },
            unresolved: job.doubtful,
        })
    }
}

fn run(
    name: &str,
    mut channel: Box<dyn Channel>,
    jobs: &Receiver<Job>,
    reports: &Sender<Report>,
    mut wake: UnixStream,
) {
    for job in jobs {
        // A fault in one channel's code must not end that channel for good.
        let tried = panic::catch_unwind(AssertUnwindSafe(|| attempt(channel.as_mut(), &job)));
        let (outcome, unresolved) = tried.unwrap_or_else(|_| {
            let why = "a fault in the program itself; please report it".to_owned();
            (Outcome::doubtful(why, Fault::Message), true)
        });
        let report = Report {
            name: job.name,
            channel: name.to_owned(),
            recipient: job.message.recipient,
            outcome,
            unresolved,
        };
        if reports.send(report).is_err() {
            return;
        }
        // The other end is not blocking and full at worst: then there is a byte to read.
        let _ = wake.write(&[1]);
    }
}

fn attempt(channel: &mut dyn Channel, job: &Job) -> (Outcome, bool) {
    if !job.doubtful {
        return (channel.send(&job.message), false);
    }
    match channel.find(&job.message) {
        Found::Yes(id) => {
            let answer = format!("found at the provider as {id}");
            (Outcome::Delivered { id: Some(id), answer }, false)
        }
        Found::CannotLook if job.accepted => {
            let answer = "taken, by what the provider said at first; it cannot be asked".into();
            (Outcome::Delivered { id: None, answer }, false)
        }
        Found::No | Found::CannotLook => (channel.send(&job.message), false),
        Found::Failed(outcome) => (outcome, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::event::{AlertId, Event, FORMAT, Note, Severity, What};
    use crate::foreign::Foreign;

    struct Scripted {
        found: Found,
        sent: u32,
    }

    impl Channel for Scripted {
        fn recipients(&self) -> &[String] {
            &[]
        }
        fn send(&mut self, _: &Message) -> Outcome {
            self.sent += 1;
            Outcome::Delivered { id: None, answer: "sent".into() }
        }
        fn find(&mut self, _: &Message) -> Found {
            self.found.clone()
        }
    }

    #[test]
    fn a_doubtful_message_is_sent_only_when_the_provider_has_it_not() {
        let job = |doubtful, accepted| Job {
            name: "n".into(),
            doubtful,
            accepted,
            message: Message {
                event: Event {
                    version: FORMAT,
                    id: AlertId::from_bits(1),
                    at: Stamp::default(),
                    host: Foreign::from("h"),
                    severity: Severity::Info,
                    what: What::Note(Note::default()),
                },
                hint: None,
                now: Stamp::default(),
                recipient: "+1".into(),
            },
        };
        let down = Outcome::Later { why: "no".into(), fault: Fault::Channel };
        let table = [
            (false, false, Found::Yes("SM1".into()), 1, false),
            (true, false, Found::Yes("SM1".into()), 0, false),
            (true, false, Found::No, 1, false),
            (true, true, Found::No, 1, false),
            (true, false, Found::CannotLook, 1, false),
            (true, true, Found::CannotLook, 0, false),
            (true, false, Found::Failed(down), 0, true),
        ];
        for (doubtful, accepted, found, sent, unresolved) in table {
            let mut channel = Scripted { found: found.clone(), sent: 0 };
            let (_, still) = attempt(&mut channel, &job(doubtful, accepted));
            assert_eq!((channel.sent, still), (sent, unresolved), "{doubtful} {found:?}");
        }
    }
}
