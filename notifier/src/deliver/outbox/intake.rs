//! What comes in: from `drop/`, and from what a sender before this one has left.

use super::{Entry, Outbox, Thing};
use crate::clock::{Stamp, unix_ms};
use crate::drill::mark;
use crate::event::{Event, Severity, What};
use crate::fact::Fact;
use crate::spool::claim::{Claimed, Room};
use crate::spool::queue::{MAX_QUEUED, State};
use crate::syslog::{Level, Line};
use crate::text;

/// What a round has brought.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Whether there was anything.
    pub any: bool,
    /// Whether there is more to be had at once.
    pub more: bool,
    /// Whether a line was said to be back.
    pub back: bool,
}

impl Outbox {
    /// Takes in a round of what is in `drop/`, as far as there is room.
    pub fn claim(&mut self, now_ms: u64) -> Taken {
        let used = self.entries.len();
        let room = Room {
            root: MAX_QUEUED.saturating_sub(used),
            others: (MAX_QUEUED / 2).saturating_sub(used),
        };
        let claimed = self.queue.claim(room).map_err(|error| {
            format!("cannot list {}: {error}", self.queue.spool().drop().display())
        });
        self.tell_once(Thing::Drop, claimed.as_ref().map(|_| ()).map_err(Clone::clone));
        let (claimed, more) = claimed.unwrap_or_default();
        let any = !claimed.is_empty();
        let mut back = false;
        for one in claimed {
            if let Claimed::Event { event, .. } = &one {
                self.books.ledger.came(event);
                back |= matches!(event.what, What::Back(_));
            }
            self.take_in(one, State::default(), now_ms);
        }
        self.write_seen();
        if let Some(withheld) = self.refusals.ended(now_ms) {
            let line = Line::new("drop-file-refused").word("not-told", withheld);
            self.log.say(Level::Error, &line);
        }
        Taken { any, more, back }
    }

    pub(super) fn take_in(&mut self, claimed: Claimed, state: State, now_ms: u64) {
        let not_durable = |error| format!("alerts may not survive a power cut: {error}");
        match claimed {
            Claimed::Event { name, event, synced } => {
                self.tell_once(Thing::Claim, synced.map_err(not_durable));
                match event.what {
                    // It is in the ledger, or has been heard, and that is all that it was for.
                    What::Tally(_) | What::Back(_) => self.queue.discard(&name),
                    _ => self.add(&name, &event, state, now_ms),
                }
            }
            Claimed::NotDurable(error) => self.tell_once(Thing::Claim, Err(not_durable(error))),
            Claimed::Refused { file, kept_as, reason } if self.refusals.admits(now_ms) => {
                let line = Line::new("drop-file-refused").text("reason", &reason);
                let line = line.foreign("file", &file);
                self.log.say(Level::Error, &line.text("kept-as", &format!("failed/{kept_as}")));
            }
            Claimed::Stuck(file, error) if self.refusals.admits(now_ms) => {
                let line = Line::new("drop-file-stuck").foreign("file", &file);
                self.log.say(Level::Error, &line.text("message", &error.to_string()));
            }
            Claimed::Refused { .. } | Claimed::Stuck(..) => {}
        }
    }

    fn add(&mut self, name: &str, event: &Event, state: State, now_ms: u64) {
        let mut new = self.seen.look(event, unix_ms() / 1000);
        if let Some(answer) = state.fact().and_then(Fact::via) {
            new = new.and(self.seen.look_via(event.id, answer, unix_ms() / 1000));
        }
        let mut line = Line::new("alert-queued")
            .word("alert", event.id)
            .word("kind", event.what.kind())
            .word("severity", event.severity);
        if let Some(words) = new.words() {
            line = line.text("new", words);
        }
        let line = line.text("text", &text::event_line(event, &Stamp::now()));
        // Without a channel this line is all that anybody hears of it.
        let level = match event.severity {
            Severity::Info => Level::Info,
            Severity::Warning => Level::Notice,
            Severity::Critical => Level::Error,
        };
        self.log.say(level, &line);
        let is_login = matches!(event.what, What::Login(_));
        let kind = event.what.kind();
        // A doubtful alert is looked for by its id, so no note may have a login's.
        if let Some(other) = self.ids.get(&event.id).cloned() {
            let clash = "its id is that of another alert that waits";
            if !is_login {
                let moved = self.queue.give_up(name, clash);
                self.has_left("failed/", moved);
                self.books.ledger.lost();
                self.say_failed(event.id, name, clash);
                return;
            }
            if self.entries.get(&other).is_some_and(|other| !other.is_login()) {
                self.forget(&other, clash);
            }
        }
        self.ids.insert(event.id, name.to_owned());
        self.logins += usize::from(is_login);
        let (id, severity, at) = (event.id, event.severity, event.at.clone());
        let subject = match &event.what {
            What::Condition(condition) => Some((event.host.clone(), condition.name.clone())),
            _ => None,
        };
        if let Some(subject) = &subject {
            self.changes.entry(subject.clone()).or_default().push(name.to_owned());
        }
        self.hold(name, event, &state, now_ms);
        let alone = matches!(&event.what, What::Login(login) if mark::is_login_of_drill(login));
        let entry = Entry { id, kind, subject, severity, at, new, alone, state };
        self.entries.insert(name.to_owned(), entry);
        self.see_doubt(name);
    }
}
