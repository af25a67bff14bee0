//! `bastion queue`: what waits, what has failed, what has been sent, for an administrator.
//!
//! It works on the files, beside a running sender: the sender bears that a file is gone, and
//! what is to be sent again is published anew through `drop/`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use lexopt::ValueExt;

use super::Options;
use crate::clock::{Stamp, unix_ms};
use crate::daemon::words;
use crate::deliver::limits::{self, IsFull};
use crate::deliver::lock::Lock;
use crate::deliver::seen::Seen;
use crate::event::{AlertId, Event};
use crate::exit::{Failure, print};
use crate::ffi;
use crate::foreign::visible;
use crate::spool::queue::{Phase, State, list};
use crate::spool::{Spool, files, id_of};
use crate::syslog::{Level, Line, Log, Source};
use crate::text;

pub(super) const HELP: &str = " [list] [--failed|--sent]
       bastion queue show ID
       bastion queue retry ID|all
       bastion queue drop ID

list   what waits (or what has failed, or has been sent), oldest first: id, age, kind, state
show   everything about one alert
retry  a failed alert is sent again from the beginning; of one that waits, nothing changes:
       to end the waits now, send the sender SIGUSR1
drop   an alert that waits is moved to failed/ and not sent; a failed one stays

To be run by root or the sender's user.
";

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let (mut words, mut room): (Vec<String>, Room) = (Vec::new(), Room::Queue);
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("failed") => room = Room::Failed,
            lexopt::Arg::Long("sent") => room = Room::Sent,
            lexopt::Arg::Value(word) => words.push(word.string().map_err(Failure::usage)?),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let host = super::lenient_host(&options.config);
    let caller = ffi::geteuid();
    // The files are the sender's, and so are the links that it could put in their place if
    // it had been taken over: root must not work in there.
    super::run::step_down(&host)?;
    let desk = Desk {
        caller,
        spool: Spool::new(&host.spool),
        state: host.state.clone(),
        log: Log::new(&host.syslog, "bastion", Source::Daemon),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["list"] => desk.list(room),
        ["show", id] => desk.show(parse_id(id)?),
        ["retry", "all"] => desk.retry_all(),
        ["retry", id] => desk.retry(parse_id(id)?),
        ["drop", id] => desk.drop(parse_id(id)?),
        _ => Err(Failure::usage("list, show ID, retry ID or drop ID is missing")),
    }
}

/// Why things wait that nobody has tried: a line for each channel that has sent as much as it may.
fn full_lines(full: &[IsFull]) -> String {
    let line = |one: &IsFull| {
        let logins = match one.left_for_logins.is_zero() {
            true => "a login goes at once".to_owned(),
            false => format!("the next login in {}", words(one.left_for_logins)),
        };
        let (channel, left) = (&one.channel, words(one.left));
        format!(
            "{channel} has sent as much as it may (max-per-hour and so on): {logins}, anything else in {left}\n"
        )
    };
    full.iter().map(line).collect()
}

fn parse_id(text: &str) -> Result<AlertId, Failure> {
    AlertId::parse(text.trim_start_matches('#')).ok_or_else(|| {
        Failure::usage(format!("{text:?} is no alert id; it has six characters, as k7f3q2"))
    })
}

/// One of the sender's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Queue,
    Failed,
    Sent,
}

impl Room {
    const ALL: [Self; 3] = [Self::Queue, Self::Failed, Self::Sent];

    fn path(self, spool: &Spool) -> PathBuf {
        match self {
            Self::Queue => spool.queue(),
            Self::Failed => spool.failed(),
            Self::Sent => spool.sent(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Queue => "waits",
            Self::Failed => "failed",
            Self::Sent => "sent",
        }
    }
}

struct Desk {
    spool: Spool,
    /// `[host] state`.
    state: PathBuf,
    /// Who asked, in the log and in failed/.
    caller: u32,
    log: Log,
}

impl Desk {
    fn list(&self, room: Room) -> Result<(), Failure> {
        let dir = room.path(&self.spool);
        let now = Stamp::now();
        let mut text = String::new();
        for name in names(&dir)? {
            let event = files::read_event(&dir.join(&name));
            let _ = writeln!(text, "{}", row(room, &dir, &name, event.as_ref().ok(), &now));
        }
        let not_running = matches!(Lock::is_held(&self.spool.queue()), Ok(false));
        if room == Room::Queue {
            // Seconds at most, while the sender runs.
            let drop = self.spool.drop();
            for name in names(&drop)? {
                let event = files::read_event(&drop.join(&name));
                let row = row(room, &drop, &name, event.as_ref().ok(), &now);
                let _ = writeln!(text, "{row} (in drop/)");
            }
            if !text.is_empty() {
                text += &full_lines(&limits::full_in(&self.state, unix_ms()));
            }
            if not_running && !text.is_empty() {
                text += "the sender does not run: systemctl start bastion\n";
            }
        }
        if text.is_empty() {
            text = match room {
                Room::Queue => "nothing waits\n".into(),
                room => format!("nothing in {}\n", room.path(&self.spool).display()),
            };
        }
        print(&text);
        Ok(())
    }

    fn show(&self, id: AlertId) -> Result<(), Failure> {
        let (room, name) = self.find(id)?;
        let dir = room.path(&self.spool);
        let mut text = format!("{} ({})\n\n", name, room.word());
        match files::read_event(&dir.join(&name)) {
            Ok(event) => {
                let _ = writeln!(text, "{}", text::event_body(&event, &Stamp::now()).trim_end());
                if let Some(new) = Seen::read(&self.state).mark(&event).words() {
                    let _ = writeln!(text, "new: {new}");
                }
            }
            Err(reason) => {
                let _ = writeln!(text, "no event: {reason}");
            }
        }
        for (channel, legs) in &state(&dir, &name).channels {
            for (recipient, leg) in legs {
                let _ = write!(
                    text,
                    "\n{channel} to {recipient}: {}, {} {}",
                    word(room, leg.phase),
                    leg.tries,
                    if leg.tries == 1 { "try" } else { "tries" }
                );
                let last = visible(leg.last.as_bytes());
                let _ = if last.is_empty() { writeln!(text) } else { writeln!(text, "\n  {last}") };
            }
        }
        if let Ok(reason) = files::read_small(&dir.join(format!("{name}.reason"))) {
            let _ = writeln!(text, "\nreason: {}", visible(reason.trim_ascii_end()));
        }
        print(&text);
        Ok(())
    }

    fn retry(&self, id: AlertId) -> Result<(), Failure> {
        match self.find(id)? {
            (Room::Failed, name) => self.again(&name),
            (Room::Queue, _) => {
                print("it waits already; to try it now: systemctl kill -s USR1 bastion\n");
                Ok(())
            }
            (Room::Sent, _) => Err(Failure::data("it has been sent; nothing is sent twice")),
        }
    }

    fn retry_all(&self) -> Result<(), Failure> {
        let failed = self.spool.failed();
        for name in names(&failed)? {
            // What was no event in the first place is none the second time.
            if files::read_event(&failed.join(&name)).is_ok() {
                self.again(&name)?;
            }
        }
        Ok(())
    }

    /// Publishes a failed alert anew. The file keeps its owner, who vouches for it.
    fn again(&self, name: &str) -> Result<(), Failure> {
        let failed = self.spool.failed();
        let io = |error| Failure::io(format!("publish {name} again"), &error);
        files::move_durably(&failed, name, &self.spool.drop(), name).map_err(io)?;
        for suffix in [".state", ".reason"] {
            let _ = fs::remove_file(failed.join(format!("{name}{suffix}")));
        }
        print(&format!("{name} is on its way again\n"));
        Ok(())
    }

    fn drop(&self, id: AlertId) -> Result<(), Failure> {
        let (Room::Queue, name) = self.find(id)? else {
            return Err(Failure::data("it does not wait, so there is nothing to drop"));
        };
        let (queue, failed) = (self.spool.queue(), self.spool.failed());
        let reason = format!("dropped by uid {}", self.caller);
        let io = |error| Failure::io(format!("move {name} to failed/"), &error);
        files::move_durably(&queue, &name, &failed, &name).map_err(io)?;
        let _ =
            fs::rename(queue.join(format!("{name}.state")), failed.join(format!("{name}.state")));
        let _ = fs::write(failed.join(format!("{name}.reason")), format!("{reason}\n"));
        self.log.say(
            Level::Warning,
            &Line::new("alert-dropped").word("alert", id).text("reason", &reason),
        );
        print(&format!("{name} is in failed/ and will not be sent\n"));
        Ok(())
    }

    fn find(&self, id: AlertId) -> Result<(Room, String), Failure> {
        for room in Room::ALL {
            let found =
                names(&room.path(&self.spool))?.into_iter().find(|name| id_of(name) == Some(id));
            if let Some(name) = found {
                return Ok((room, name));
            }
        }
        Err(Failure::data(format!("there is no alert {id} in queue/, failed/ or sent/")))
    }
}

/// The names of messages in a directory, oldest first.
fn names(dir: &Path) -> Result<Vec<String>, Failure> {
    let mut names =
        list(dir).map_err(|error| Failure::io(format!("list {}", dir.display()), &error))?;
    names.retain(|name| id_of(name).is_some());
    Ok(names)
}

fn state(dir: &Path, name: &str) -> State {
    files::read_small(&dir.join(format!("{name}.state")))
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default()
}

fn row(room: Room, dir: &Path, name: &str, event: Option<&Event>, now: &Stamp) -> String {
    let Some(event) = event else { return format!("{name}  no event; see: bastion queue show") };
    let minutes = event.at.age(now).as_secs() / 60;
    let legs = state(dir, name).channels.into_iter().flat_map(|(channel, legs)| {
        legs.into_values()
            .map(move |leg| format!("{channel} {} after {}", word(room, leg.phase), leg.tries))
    });
    let legs: Vec<_> = legs.collect();
    let legs = match (legs.is_empty(), room) {
        (true, Room::Sent) => "no channel".to_owned(),
        (true, _) => "not tried".to_owned(),
        (false, _) => legs.join(", "),
    };
    format!(
        "{}  {minutes:>5} min  {:<6} {legs:<24} {}",
        event.id,
        event.what.kind(),
        text::event_line(event, now)
    )
}

fn word(room: Room, phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting | Phase::Sending | Phase::Doubtful if room == Room::Failed => "given up",
        Phase::Waiting => "waiting",
        Phase::Sending => "being sent",
        Phase::Doubtful => "doubtful",
        Phase::Done => "sent",
        Phase::Failed => "refused",
    }
}
