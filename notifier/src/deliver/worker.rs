//! One thread a channel: takes a message, looks for it first where that is needed, sends it,
//! and reports.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::channel::{Channel, Fault, Found, Message, Outcome};

/// How many looks may reach the provider and fail, in a row, before a doubtful message is sent again all the same.
const MAX_LOOKS: u32 = 3;

/// A try to make.
#[derive(Debug)]
pub struct Job {
    /// The message's name in the queue.
    pub name: String,
    /// What to send, and to whom.
    pub message: Message,
    /// Whether an earlier try may have got through.
    pub doubtful: bool,
    /// How often the provider has said, then, that it had taken it.
    pub accepted: u32,
    /// How many looks for it have failed in a row.
    pub looks: u32,
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
    let found = channel.find(&job.message);
    // Said twice and never listed: the list leaves it out, and a third SMS would, too.
    let believed = match found {
        Found::CannotLook => job.accepted > 0,
        Found::No => job.accepted > 1,
        Found::Yes(_) | Found::Failed(_) => false,
    };
    match found {
        Found::Yes(id) => {
            let answer = format!("found at the provider as {id}");
            (Outcome::Delivered { id: Some(id), answer }, false)
        }
        _ if believed => {
            let answer = "taken, by what the provider said; its list does not show it".into();
            (Outcome::Delivered { id: None, answer }, false)
        }
        Found::No | Found::CannotLook => (channel.send(&job.message), false),
        Found::Failed(outcome) if job.looks < MAX_LOOKS || !was_asked(&outcome) => {
            (of_a_look(outcome), true)
        }
        // Twice is better than never. If this does not go out either, the doubt remains.
        Found::Failed(_) => match channel.send(&job.message) {
            sent @ (Outcome::Delivered { .. } | Outcome::Never { .. }) => (sent, false),
            failed => (failed, true),
        },
    }
}

/// Whether a look that failed has reached the provider. One that has not says nothing of the
/// list: the next may find the line back, and the message in it.
#[must_use]
pub fn was_asked(look: &Outcome) -> bool {
    match look {
        Outcome::Later { fault, .. } => *fault == Fault::Message,
        Outcome::Doubtful { fault, .. } => !matches!(fault, Fault::RateLimit(_)),
        _ => false,
    }
}

/// What a look that failed means: it was not a try, so nothing new is doubtful, and a list that
/// hangs says nothing of whether messages can be sent.
fn of_a_look(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Doubtful { why, fault, .. } => {
            let fault = if fault == Fault::Channel { Fault::Message } else { fault };
            Outcome::Later { why: format!("asked what became of it: {why}"), fault }
        }
        other => other,
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
        let job = |doubtful, accepted, looks| Job {
            name: "n".into(),
            doubtful,
            accepted,
            looks,
            message: Message {
                event: Event {
                    version: FORMAT,
                    id: AlertId::from_bits(1),
                    at: Stamp::default(),
                    host: Foreign::from("h"),
                    severity: Severity::Info,
                    what: What::Note(Note::default()),
                },
                more: Vec::new(),
                hint: None,
                now: Stamp::default(),
                recipient: "+1".into(),
            },
        };
        let down = Outcome::Later { why: "no".into(), fault: Fault::Channel };
        let failed = || Found::Failed(Outcome::Later { why: "500".into(), fault: Fault::Message });
        let unreached = || Found::Failed(down.clone());
        let yes = || Found::Yes("SM1".into());
        // (doubtful, accepted, looks, found, sent, unresolved)
        let table = [
            (false, 0, 0, yes(), 1, false),
            (true, 0, 0, yes(), 0, false),
            (true, 0, 0, Found::No, 1, false),
            (true, 1, 0, Found::No, 1, false),
            (true, 2, 0, Found::No, 0, false),
            (true, 0, 0, Found::CannotLook, 1, false),
            (true, 1, 0, Found::CannotLook, 0, false),
            (true, 0, 0, failed(), 0, true),
            (true, 0, 2, failed(), 0, true),
            (true, 0, 3, failed(), 1, false),
            (true, 0, 3, unreached(), 0, true),
        ];
        for (doubtful, accepted, looks, found, sent, unresolved) in table {
            let mut channel = Scripted { found: found.clone(), sent: 0 };
            let (_, still) = attempt(&mut channel, &job(doubtful, accepted, looks));
            assert_eq!((channel.sent, still), (sent, unresolved), "{doubtful} {found:?}");
        }
    }
}
