//! The thread of one jump host on demand: does what [`super::decide`] says, and tells the tunnel's own thread
//! where the jump host is.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notifier::clock::{Stamp, millis};
use notifier::daemon::told::state_dir;
use notifier::ffi::{boottime, wait_readable};
use notifier::syslog::{Level, Line};

use super::call::{Call, Caller as Provider};
use super::config::OnDemand;
use super::decide::{Action, Inputs, Now, Policy, Reach, Seen, Tale, Trouble, Verb};
use super::note::{Store, Wish};
use super::people::People;
use super::{Jump, link};
use crate::config::Tunnel;
use crate::post::{Caller, Post, Word};
use crate::tell::{STATE_DIR, Teller, Way};

/// The longest sleep: while something happens, or somebody may have to be let in soon, and else. What linkprobe has
/// written is seen as soon.
const BUSY: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);

/// How often a call is seen to that has closed its mouth.
const STEP: Duration = Duration::from_millis(200);

/// What the thread is given.
pub struct Steward {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// How its jump host is started and stopped.
    pub rules: OnDemand,
    /// The configuration, for the program that asks the provider.
    pub config: PathBuf,
    /// Where the state is.
    pub run_dir: PathBuf,
    /// This program.
    pub own: PathBuf,
    /// Who is told.
    pub teller: Arc<Teller>,
    /// The tunnel's own thread.
    pub keeper: Caller,
    /// Words for this one.
    pub post: Post,
}

/// The thread.
struct Work {
    steward: Steward,
    begun: Instant,
    policy: Policy,
    store: Store,
    provider: Provider,
    call: Option<(Verb, Call)>,
    people: People,
    wish: (Option<SystemTime>, Option<Wish>),
    link: PathBuf,
    /// What the tunnel's thread was told last.
    reach: Option<Reach>,
    /// Whether the note could not be written the last time.
    trouble: bool,
    /// The failure that was put on record last.
    failed: Option<(Verb, String)>,
    stopping: bool,
}

impl Steward {
    /// Sees to it until it is told to stop.
    pub fn serve(self) {
        let begun = Instant::now();
        let store = Store::new(&state_dir(STATE_DIR), &self.tunnel.name);
        let mut note = store.note().unwrap_or_else(|error| {
            let line = Line::new("jump-note-unread").text("tunnel", &self.tunnel.name);
            let line = line.text("message", &error.to_string());
            self.teller
                .log(Level::Error, &line.text("effect", "what runs counts as somebody else's"));
            super::note::Note::default()
        });
        let Tunnel { name, metered, .. } = &self.tunnel;
        if let Some((machine, runs)) = note.adopt(&self.rules.provider.machine()) {
            let why = format!("[tunnel.on-demand] has another machine than {machine} now");
            self.teller.left(name, &runs, &why);
        }
        let policy = Policy::new(self.rules.clone(), name, *metered, note, &now(begun));
        let mut work = Work {
            policy,
            begun,
            provider: Provider::new(&self.rules.provider, name, &self.config, &self.own),
            store,
            call: None,
            people: People::default(),
            wish: (None, None),
            link: link::file(&self.run_dir),
            reach: None,
            trouble: false,
            failed: None,
            stopping: false,
            steward: self,
        };
        work.keep();
        while !work.stopping {
            work.turn();
        }
        // A call that is under way is ended with it, and described first by who comes after.
        work.keep();
    }
}

/// The time. The boot clock counts while the machine sleeps.
fn now(begun: Instant) -> Now {
    let ms = millis(boottime().unwrap_or_else(|| begun.elapsed()));
    Now { ms, stamp: Stamp::now() }
}

impl Work {
    fn now(&self) -> Now {
        now(self.begun)
    }

    /// One turn of the loop: what has happened, what is due, and sleep.
    fn turn(&mut self) {
        let now = self.now();
        for word in self.steward.post.hear() {
            match word {
                Word::Stop => self.stopping = true,
                Word::Kick => self.policy.kick(&now),
                Word::Network => self.policy.network(&now),
                _ => {}
            }
        }
        if self.stopping {
            return;
        }
        let mut actions = self.see_call(&now);
        let inputs = self.inputs(&now);
        actions.extend(self.policy.act(&inputs, &now));
        self.obey(actions);
        self.show(&inputs);
        self.sleep();
    }

    fn see_call(&mut self, now: &Now) -> Vec<Action> {
        let Some((verb, call)) = &mut self.call else { return Vec::new() };
        let verb = *verb;
        let Some(end) = call.ended() else { return Vec::new() };
        self.call = None;
        self.ended(verb, &end);
        self.policy.answered(end, now)
    }

    /// Puts the end of a call on record: all but what says again what was said before.
    fn ended(&mut self, verb: Verb, end: &Result<Seen, Trouble>) {
        match end {
            Ok(seen) => {
                let is_news = self.failed.take().is_some()
                    || verb != Verb::Describe
                    || self.policy.seen().is_none_or(|before| before != seen);
                if is_news {
                    let state = serde_json::to_string(&seen.machine).unwrap_or_default();
                    let line = Line::new("jump-described").word("asked", verb.word());
                    let line = line.word("state", state.trim_matches('"'));
                    let address = seen.address.iter();
                    let line = address.fold(line, |line, address| line.text("address", address));
                    self.log(Level::Info, line);
                }
            }
            Err(trouble) => {
                let said = (verb, trouble.why.clone());
                if self.failed.as_ref() != Some(&said) {
                    let line = Line::new("jump-call-failed").word("asked", verb.word());
                    let line = line.word("kind", trouble.kind.word());
                    self.log(Level::Warning, line.text("message", &trouble.why));
                    self.failed = Some(said);
                }
            }
        }
    }

    fn inputs(&mut self, now: &Now) -> Inputs {
        let changed = self.store.wished();
        if self.wish.0 != changed {
            self.wish = (changed, self.store.wish());
        }
        let state = self.steward.teller.state(&self.steward.tunnel.name);
        let ssh = state.as_ref().and_then(|state| match state.way {
            Way::Ssh { ssh_pid, .. } => ssh_pid,
            Way::External { .. } => None,
        });
        Inputs {
            link: link::read(&self.link, &self.steward.rules.link, &now.stamp),
            wish: self.wish.1.clone(),
            people: self.people.count(ssh, self.steward.tunnel.target, now.ms),
            tunnel_up: state.is_some_and(|state| state.up),
        }
    }

    fn obey(&mut self, actions: Vec<Action>) {
        let mut kept = false;
        for action in actions {
            match action {
                Action::Keep if kept => {}
                Action::Keep => {
                    self.keep();
                    kept = true;
                }
                Action::Tell(tale) => self.tell(&tale),
                Action::Call(verb) => self.begin(verb),
            }
        }
    }

    /// Keeps the note. A disk that is full is no reason to leave somebody outside: it is started all the same.
    fn keep(&mut self) {
        let now = self.now();
        self.policy.written(&now);
        let kept = self.store.keep(self.policy.note());
        let had_trouble = std::mem::replace(&mut self.trouble, kept.is_err());
        if let (Err(error), false) = (kept, had_trouble) {
            let line = Line::new("jump-note-unkept").text("message", &error.to_string());
            let effect = "after a restart a machine that runs counts as somebody else's";
            self.log(Level::Error, line.text("effect", effect));
        }
    }

    fn begin(&mut self, verb: Verb) {
        if verb != Verb::Describe {
            self.log(Level::Info, Line::new("jump-asked").word("asked", verb.word()));
        }
        match self.provider.call(verb) {
            Ok(call) => self.call = Some((verb, call)),
            Err(trouble) => {
                let end = Err(trouble);
                self.ended(verb, &end);
                let now = self.now();
                let actions = self.policy.answered(end, &now);
                self.obey(actions);
            }
        }
    }

    fn tell(&mut self, tale: &Tale) {
        let (severity, level) = tale.severity();
        let text = tale.text(&self.steward.tunnel.name);
        self.log(level, Line::new(tale.word()).text("message", &text));
        self.steward.teller.note(severity, text);
    }

    /// Says how it is, to the tunnel's thread and for `status`.
    fn show(&mut self, inputs: &Inputs) {
        let reach = self.policy.reach();
        if self.reach.as_ref() != Some(&reach) {
            self.steward.keeper.say(Word::Reach(reach.clone()));
            self.reach = Some(reach);
        }
        let now = self.now();
        let note = self.policy.note();
        let runs = note.runs.as_ref().filter(|runs| runs.confirmed);
        let ago = |stamp: &Stamp| stamp.by_clock_of(&now.stamp) / 1000;
        let wish = inputs.wish.as_ref().filter(|wish| note.done.as_ref() != Some(&wish.at));
        let jump = Jump {
            machine: self.policy.seen().map(|seen| seen.machine),
            wanted: self.policy.wants_it(),
            why: self.policy.why(),
            address: runs.and_then(|runs| runs.address.clone()),
            since_s: runs.map(|runs| ago(&runs.since)),
            ours: runs.is_some_and(|runs| runs.ours),
            used_s: note.used(&now.stamp).as_secs(),
            most_s: self.steward.rules.most_a_month.as_secs(),
            logged_in: inputs.people.0,
            wish: wish.map(|wish| if wish.start { "start" } else { "stop" }.to_owned()),
            trouble: self.policy.trouble(),
        };
        self.steward.teller.show_jump(&self.steward.tunnel.name, &jump);
    }

    fn sleep(&self) {
        let busy = self.policy.is_busy();
        let mut most = if busy { BUSY } else { LONGEST };
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.steward.post.wakes()];
        if let Some((_, call)) = &self.call {
            match call.wakes() {
                Some(fd) => fds.push(fd),
                None => most = STEP,
            }
        }
        if wait_readable(&fds, most).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, level: Level, line: Line) {
        self.steward.teller.log(level, &line.text("tunnel", &self.steward.tunnel.name));
    }
}
