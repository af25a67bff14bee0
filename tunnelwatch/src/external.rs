//! A tunnel that another program makes, a VPN: proved by a look at an sshd at an address inside it,
//! started anew when nothing answers. Does what [`policy`] says, and tells it what came of it. A
//! thread each.

pub mod command;
pub mod config;
pub mod policy;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use notifier::clock::millis;
use notifier::ffi::wait_readable;
use notifier::syslog::{Level, Line};

use crate::post::{Post, Word};
use crate::proof::{self, Found, Identity, Look};
use crate::tell::{Down, State, Teller, Way};
use command::Running;
use config::{External, Means};
use policy::{Action, Cause, Policy, Rules, Seen};

/// The longest sleep: so often the state is written, whatever happens.
const LONGEST: Duration = Duration::from_secs(20);

/// What starts and stops units.
pub const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// What a tunnel's thread is given.
pub struct Keeper {
    /// The tunnel.
    pub external: External,
    /// Where the far end's keys may be written, as known_hosts.
    pub keys: PathBuf,
    /// Who is told.
    pub teller: Arc<Teller>,
    /// Words for it.
    pub post: Post,
}

/// A part of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Stop,
    Start,
}

/// A tunnel's thread.
struct Work {
    keeper: Keeper,
    begun: Instant,
    policy: Policy,
    look: Option<Look>,
    /// What is to be run, and what runs.
    steps: VecDeque<(Step, Vec<String>)>,
    running: Option<(Step, Running)>,
    /// The last start, whose VPN may have something to say.
    left: Option<Running>,
    /// Whether we have started it by a command, so that it is ours to stop.
    is_ours: bool,
    /// What went wrong with the last start.
    trouble: String,
    /// What was told.
    told: String,
    /// Time of the last proof, and how long it took; and the look before its comparison.
    proof: Option<(Instant, Duration)>,
    banner: Option<(Instant, Duration)>,
    stopping: bool,
}

impl Keeper {
    /// Keeps the tunnel until it is told to stop.
    pub fn keep(self) {
        let External { check_every, alert_after, .. } = self.external;
        let rules = Rules {
            check_every_ms: millis(check_every),
            alert_after_ms: millis(alert_after),
            can_start: self.external.means.can_start(),
            has_keys: !self.external.host_keys.is_empty(),
            quiet_ms: millis(self.teller.quiet()),
        };
        let told = self.teller.told(&self.external.name);
        let cause =
            told.as_ref().map(|told| Cause::of_word(&told.cause).unwrap_or(Cause::NoAnswer));
        let (begun, policy, told) = match told.zip(cause) {
            Some((told, cause)) => {
                let policy = Policy::resumed(rules, millis(told.age()), 0, cause);
                (told.instant(), policy, told.text)
            }
            None => (Instant::now(), Policy::new(rules, 0), String::new()),
        };
        let mut work = Work {
            policy,
            begun,
            look: None,
            steps: VecDeque::new(),
            running: None,
            left: None,
            is_ours: false,
            trouble: String::new(),
            told,
            proof: None,
            banner: None,
            stopping: false,
            keeper: self,
        };
        while !work.stopping {
            work.turn();
        }
        work.end();
    }
}

impl Work {
    fn now_ms(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    /// One turn of the loop: what has happened, what is due, and sleep.
    fn turn(&mut self) {
        self.hear();
        if self.stopping {
            return;
        }
        self.see_command();
        self.see_look();
        let actions = self.policy.act(self.now_ms());
        self.obey(actions);
        self.show();
        self.sleep();
    }

    fn hear(&mut self) {
        for word in self.keeper.post.hear() {
            match word {
                Word::Stop => self.stopping = true,
                Word::Kick => self.policy.kick(self.now_ms()),
                Word::Network => self.policy.network(self.now_ms()),
                Word::Doubt => self.policy.doubt(self.now_ms()),
                Word::Identity(found) => self.compared(found),
                // Of ssh alone.
                // A comparison that has come to no end.
                Word::Helped => self.compared(Identity::Unknown),
                Word::Home(_) | Word::Released | Word::Reach(_) => {}
            }
        }
    }

    fn obey(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Look => match Look::at(self.keeper.external.target) {
                    Ok(look) => self.look = Some(look),
                    // No way there: its interface is away.
                    Err(_) => self.seen(Seen::Nothing),
                },
                Action::Compare => self.compare(),
                Action::Start { anew } => self.start(anew),
                Action::TellDown(cause) => {
                    self.told = self.words(cause);
                    let name = &self.keeper.external.name;
                    let since_ms = self.policy.down_since_ms().unwrap_or_else(|| self.now_ms());
                    let down = Down {
                        cause: cause.word(),
                        text: &self.told,
                        since: self.begun + Duration::from_millis(since_ms),
                        is_grave: cause == Cause::WrongHost,
                    };
                    self.keeper.teller.down(name, &down);
                }
                Action::TellUp { down_ms } => {
                    let name = &self.keeper.external.name;
                    self.keeper.teller.up(name, Duration::from_millis(down_ms), &self.told);
                }
            }
        }
    }

    fn see_look(&mut self) {
        let Some(look) = &mut self.look else { return };
        let Some(found) = look.found() else { return };
        self.look = None;
        match found {
            Found::Banner(took) => {
                self.banner = Some((Instant::now(), took));
                self.seen(Seen::Sshd);
            }
            Found::Other => self.seen(Seen::Other),
            Found::Nothing | Found::Silence => self.seen(Seen::Nothing),
        }
    }

    fn seen(&mut self, seen: Seen) {
        let actions = self.policy.seen(seen, self.now_ms());
        self.obey(actions);
        self.note_proof();
    }

    fn compare(&mut self) {
        let External { target, host_keys, .. } = &self.keeper.external;
        let (target, host_keys) = (*target, host_keys.clone());
        let file = self.keeper.keys.clone();
        let work = move || Word::Identity(proof::identify_at(target, &host_keys, &file));
        if !self.keeper.post.help(work) {
            self.compared(Identity::Unknown);
        }
    }

    fn compared(&mut self, found: Identity) {
        match found {
            Identity::Same => self.log(Level::Info, Line::new("target-known")),
            Identity::Unknown => self.log(Level::Warning, Line::new("target-not-compared")),
            Identity::Other => self.log(Level::Error, Line::new("target-other")),
        }
        let actions = self.policy.compared(found, self.now_ms());
        self.obey(actions);
        self.note_proof();
    }

    /// A banner is a proof while its host is known.
    fn note_proof(&mut self) {
        if self.policy.is_up() {
            self.proof = self.banner;
        }
    }

    fn start(&mut self, anew: bool) {
        self.left = None;
        self.trouble.clear();
        match &self.keeper.external.means {
            Means::Watched => return,
            Means::Unit(unit) => {
                // A job that waits is systemd's to watch: whether it has helped, a look says.
                let verb = if anew { "restart" } else { "start" };
                let words = [SYSTEMCTL, "--no-ask-password", "--no-block", verb, unit];
                self.steps.push_back((Step::Start, words.map(str::to_owned).into()));
            }
            Means::Commands { start, stop } => {
                if anew {
                    self.steps.push_back((Step::Stop, stop.clone()));
                }
                self.steps.push_back((Step::Start, start.clone()));
                self.is_ours = true;
            }
        }
        self.log(Level::Info, Line::new("vpn-start").word("anew", anew));
        self.next_step();
    }

    fn next_step(&mut self) {
        let Some((step, words)) = self.steps.pop_front() else { return };
        match Running::start(&words, self.keeper.external.timeout) {
            Ok(running) => self.running = Some((step, running)),
            Err(why) => self.step_ended(step, Err(why), Cause::NoStart),
        }
    }

    fn see_command(&mut self) {
        if self.left.as_mut().is_some_and(|left| !left.hear_rest()) {
            self.left = None;
        }
        let Some((step, running)) = &mut self.running else { return };
        let Some(end) = running.ended() else { return };
        let step = *step;
        self.left = self.running.take().map(|(_, running)| running);
        // What systemctl is refused, it is refused next time too.
        let cause = match self.keeper.external.means {
            Means::Unit(_) => Cause::NoStart,
            _ => Cause::StartFailed,
        };
        self.step_ended(step, end, cause);
    }

    fn step_ended(&mut self, step: Step, end: Result<(), String>, cause: Cause) {
        match (step, end) {
            (Step::Stop, end) => {
                if let Err(why) = end {
                    // It may well not have run.
                    self.log(Level::Warning, Line::new("vpn-not-stopped").text("message", &why));
                }
                self.next_step();
            }
            (Step::Start, Ok(())) => self.policy.started(None, self.now_ms()),
            (Step::Start, Err(why)) => {
                self.log(Level::Error, Line::new("vpn-not-started").text("message", &why));
                self.trouble = why;
                self.policy.started(Some(cause), self.now_ms());
            }
        }
    }

    /// Ends what runs, and what we have started.
    fn end(&mut self) {
        // Dropped, it is ended.
        self.running = None;
        self.left = None;
        let External { means, timeout, .. } = &self.keeper.external;
        let Means::Commands { stop, .. } = means else { return };
        if !self.is_ours {
            return;
        }
        match command::run(stop, *timeout) {
            Ok(()) => self.log(Level::Info, Line::new("vpn-stopped")),
            Err(why) => {
                // Where systemd ends all of a unit at once, it has gone by itself.
                self.log(Level::Warning, Line::new("vpn-not-stopped").text("message", &why));
            }
        }
    }

    /// What is told of a cause.
    fn words(&self, cause: Cause) -> String {
        let target = self.keeper.external.target;
        let trouble = &self.trouble;
        match cause {
            Cause::NoAnswer => format!("nothing answers at {target}"),
            Cause::NoSshd => format!("what answers at {target} is no sshd"),
            Cause::WrongHost => {
                format!("another host answers at {target}: its key is not in host-keys")
            }
            Cause::KeyUnknown => {
                format!("sshd answers at {target}, and its host key cannot be compared")
            }
            Cause::NoStart => format!("the VPN cannot be started: {trouble}"),
            Cause::StartFailed => format!("the VPN's start command failed: {trouble}"),
        }
    }

    fn show(&mut self) {
        let way = Way::External { target: self.keeper.external.target };
        let since = Duration::from_millis(self.policy.since_ms());
        let age = self.begun.elapsed().saturating_sub(since);
        let cause = self.policy.cause();
        let state = State {
            cause: cause.map(|cause| cause.word().to_owned()),
            why: cause.map(|cause| self.words(cause)),
            ..State::new(self.policy.is_up(), way, age, self.proof)
        };
        self.keeper.teller.show(&self.keeper.external.name, state);
    }

    fn sleep(&self) {
        let due = self.policy.wake_ms().saturating_sub(self.now_ms());
        let mut most = Duration::from_millis(due).min(LONGEST);
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.keeper.post.wakes()];
        if let Some((_, running)) = &self.running {
            fds.extend(running.wakes());
            most = most.min(running.wait());
        }
        fds.extend(self.left.as_ref().and_then(Running::wakes));
        if let Some(look) = &self.look {
            fds.push(look.wakes());
            most = most.min(look.deadline().saturating_duration_since(Instant::now()));
        }
        if wait_readable(&fds, most).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, level: Level, line: Line) {
        self.keeper.teller.log(level, &line.text("tunnel", &self.keeper.external.name));
    }
}
