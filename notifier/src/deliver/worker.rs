//! One thread a channel: takes a message, looks for it first where that is needed, sends it,
//! and reports.

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use super::outbox::Follow;
use crate::channel::{Channel, Fault, Followed, Found, Kick, Message, Outcome};
use crate::event::AlertId;

/// How many looks may reach the provider and fail, in a row, before a doubtful message is sent again all the same.
const MAX_LOOKS: u32 = 3;

/// A try to make.
#[derive(Debug)]
pub struct Job {
    /// The names in the queue of what is told in this message.
    pub names: Vec<String>,
    /// What to send, and to whom.
    pub message: Message,
    /// Whether an earlier try may have got through.
    pub doubtful: bool,
    /// The id of that try, where it is not the message's: who gave it may have been taken out of
    /// the queue since, or have expired.
    pub told_as: Option<AlertId>,
    /// How often the provider has said, then, that it had taken it.
    pub accepted: u32,
    /// How many looks for it have failed in a row.
    pub looks: u32,
    /// Whether the channel has room for it. One that is perhaps out is looked for in any case, and
    /// sent again only then.
    pub may_send: bool,
}

/// What became of a try.
#[derive(Debug)]
pub struct Report {
    /// The names in the queue of what was told in the message.
    pub names: Vec<String>,
    /// The channel.
    pub channel: String,
    /// The recipient.
    pub recipient: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it is still not known if an *earlier* try got through.
    pub unresolved: bool,
    /// How many SMS segments it took.
    pub segments: u32,
    /// Whether it was sent, and not only looked for.
    pub sent: bool,
    /// How many expired alerts it told of.
    pub expired: usize,
    /// The id under which the provider has it, or may have it: that of the last try that went out.
    pub told_as: Option<AlertId>,
}

/// What a channel's thread is asked to do.
#[derive(Debug)]
enum Task {
    Send(Box<Job>),
    Follow(Follow),
}

/// What a channel's thread answers.
#[derive(Debug)]
pub enum Answer {
    /// What became of a try.
    Sent(Report),
    /// What became of a message that was followed.
    Followed(Follow, Followed),
}

impl Answer {
    /// The channel that answers.
    #[must_use]
    pub fn channel(&self) -> &str {
        match self {
            Self::Sent(report) => &report.channel,
            Self::Followed(follow, _) => &follow.channel,
        }
    }
}

/// A channel's thread, seen from the loop.
pub struct Worker {
    /// The channel's name.
    pub name: String,
    /// Its recipients.
    pub recipients: Vec<String>,
    /// Whether it has something to do.
    pub busy: bool,
    /// Jobs that are prepared for it, and since when.
    pub ready: VecDeque<Job>,
    /// When the first of them was handed over.
    pub run_since: Instant,
    tasks: Sender<Task>,
    kick: Option<Kick>,
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
        reports: Sender<Answer>,
        wake: &UnixStream,
    ) -> std::io::Result<Self> {
        let (tasks, inbox) = mpsc::channel();
        let recipients = channel.recipients().to_vec();
        let kick = channel.kick();
        let wake = wake.try_clone()?;
        let own_name = name.to_owned();
        thread::Builder::new()
            .name(format!("channel {name}"))
            .spawn(move || run(&own_name, channel, &inbox, &reports, wake))?;
        Ok(Self {
            name: name.to_owned(),
            recipients,
            busy: false,
            ready: VecDeque::new(),
            run_since: Instant::now(),
            tasks,
            kick,
        })
    }

    /// Says that the line may be back: a connection attempt begins anew.
    pub fn kick(&self) {
        if let Some(kick) = self.kick.as_ref().filter(|_| self.busy) {
            kick.give();
        }
    }

    /// Hands over a job. When the thread is gone, the answer is the report that it cannot make.
    #[must_use]
    pub fn send(&mut self, job: Job) -> Option<Answer> {
        self.busy = true;
        let mpsc::SendError(Task::Send(job)) = self.tasks.send(Task::Send(Box::new(job))).err()?
        else {
            return None;
        };
        Some(Answer::Sent(Report {
            names: job.names,
            channel: self.name.clone(),
            recipient: job.message.recipient,
            outcome: gone(),
            unresolved: job.doubtful,
            segments: 0,
            sent: false,
            expired: 0,
            told_as: job.told_as,
        }))
    }

    /// Asks what became of a message. When the thread is gone, the answer says so.
    #[must_use]
    pub fn follow(&mut self, follow: Follow) -> Option<Answer> {
        self.busy = true;
        match self.tasks.send(Task::Follow(follow)).err()? {
            mpsc::SendError(Task::Follow(follow)) => {
                Some(Answer::Followed(follow, Followed::NotAsked(gone())))
            }
            mpsc::SendError(Task::Send(_)) => None,
        }
    }
}

fn gone() -> Outcome {
    Outcome::Later { why: "the channel's thread is gone".into(), fault: Fault::Channel }
}

fn run(
    name: &str,
    mut channel: Box<dyn Channel>,
    tasks: &Receiver<Task>,
    answers: &Sender<Answer>,
    mut wake: UnixStream,
) {
    for task in tasks {
        let answer = match task {
            Task::Send(job) => Answer::Sent(send(name, channel.as_mut(), *job)),
            Task::Follow(follow) => {
                // A fault in one channel's code must not end that channel for good.
                let asked = panic::catch_unwind(AssertUnwindSafe(|| channel.follow(&follow.id)));
                let found = asked.unwrap_or_else(|_| Followed::NotAsked(own_fault()));
                Answer::Followed(follow, found)
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
        // The other end is not blocking and full at worst: then there is a byte to read.
        let _ = wake.write(&[1]);
    }
}

fn send(name: &str, channel: &mut dyn Channel, job: Job) -> Report {
    let tried = panic::catch_unwind(AssertUnwindSafe(|| {
        let tried = attempt(channel, &job);
        (tried, channel.segments(&job.message))
    }));
    let unknown = || (Tried { outcome: own_fault(), unresolved: true, sent: false }, 0);
    let (Tried { outcome, unresolved, sent }, segments) = tried.unwrap_or_else(|_| unknown());
    let own_id = || (job.names.len() > 1).then(|| job.message.id());
    Report {
        told_as: if sent { own_id() } else { job.told_as },
        names: job.names,
        channel: name.to_owned(),
        expired: job.message.expired,
        recipient: job.message.recipient,
        outcome,
        unresolved,
        segments,
        sent,
    }
}

fn full() -> Outcome {
    let why = "perhaps out; the channel has sent as much as it may";
    Outcome::Later { why: why.into(), fault: Fault::Message }
}

fn own_fault() -> Outcome {
    let why = "a fault in the program itself; please report it";
    Outcome::doubtful(why, Fault::Message)
}

/// What became of an attempt.
struct Tried {
    outcome: Outcome,
    /// As in [`Report`].
    unresolved: bool,
    /// Whether it was sent, and not only looked for.
    sent: bool,
}

fn attempt(channel: &mut dyn Channel, job: &Job) -> Tried {
    let (recipient, id) = (&job.message.recipient, job.told_as.unwrap_or(job.message.id()));
    let looked = |outcome, unresolved| Tried { outcome, unresolved, sent: false };
    let sent = |outcome, unresolved| Tried { outcome, unresolved, sent: true };
    if !job.doubtful {
        return sent(channel.send(&job.message), false);
    }
    let found = channel.find(id, recipient);
    // Said twice and never listed: the list leaves it out, and a third SMS would, too.
    let believed = match found {
        Found::CannotLook => job.accepted > 0,
        Found::No => job.accepted > 1,
        Found::Yes(_) | Found::Failed(_) => false,
    };
    match found {
        Found::Yes(id) => {
            let answer = format!("found at the provider as {id}");
            looked(Outcome::Delivered { id: Some(id), answer }, false)
        }
        _ if believed => {
            let answer = "taken, by what the provider said; its list does not show it".into();
            looked(Outcome::Delivered { id: None, answer }, false)
        }
        Found::No | Found::CannotLook if job.may_send => sent(channel.send(&job.message), false),
        Found::Failed(outcome) if job.looks < MAX_LOOKS || !was_asked(&outcome) => {
            looked(of_a_look(outcome), true)
        }
        _ if !job.may_send => looked(full(), true),
        // Twice is better than never. If this does not go out either, the doubt remains.
        _ => match channel.send(&job.message) {
            over @ (Outcome::Delivered { .. } | Outcome::Never { .. }) => sent(over, false),
            failed => sent(failed, true),
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
    use crate::event::{Event, FORMAT, Note, Severity, What};
    use crate::foreign::Foreign;

    struct Scripted {
        found: Found,
        sent: u32,
        asked: Option<AlertId>,
    }

    impl Channel for Scripted {
        fn recipients(&self) -> &[String] {
            &[]
        }
        fn send(&mut self, _: &Message) -> Outcome {
            self.sent += 1;
            Outcome::Delivered { id: None, answer: "sent".into() }
        }
        fn ask(&mut self) -> crate::channel::Asked {
            crate::channel::Asked::NotAsked("it is nobody")
        }
        fn find(&mut self, id: AlertId, _: &str) -> Found {
            self.asked = Some(id);
            self.found.clone()
        }
    }

    #[test]
    fn a_doubtful_message_is_sent_only_when_the_provider_has_it_not() {
        let job = |doubtful, accepted, looks| Job {
            names: vec!["n".into()],
            doubtful,
            told_as: doubtful.then_some(AlertId::from_bits(7)),
            accepted,
            looks,
            may_send: true,
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
                new: crate::message::Marks::new(),
                facts: crate::message::Facts::new(),
                hint: None,
                expired: 0,
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
            let mut channel = Scripted { found: found.clone(), sent: 0, asked: None };
            let tried = attempt(&mut channel, &job(doubtful, accepted, looks));
            let got = (channel.sent, tried.unresolved);
            assert_eq!(got, (sent, unresolved), "{doubtful} {found:?}");
            assert_eq!(tried.sent, sent > 0, "{doubtful} {found:?}");
            let asked = doubtful.then_some(AlertId::from_bits(7));
            assert_eq!(channel.asked, asked, "under the id of the try that is in doubt");
        }
        // A channel that is full looks, and sends nothing more.
        for found in [Found::No, Found::CannotLook, failed()] {
            let mut channel = Scripted { found: found.clone(), sent: 0, asked: None };
            let tried = attempt(&mut channel, &Job { may_send: false, ..job(true, 0, 3) });
            assert_eq!((channel.sent, tried.unresolved), (0, true), "{found:?}");
        }
    }
}
