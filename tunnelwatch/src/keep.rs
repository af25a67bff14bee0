//! One tunnel at work: does what [`crate::policy`] says, and tells it what came of it. A thread each.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notifier::ffi::{set_nonblocking, wait_readable};
use notifier::syslog::{Level, Line};

use crate::cause::{self, Cause};
use crate::config::Tunnel;
use crate::policy::{Action, Policy, Rules};
use crate::proof::{self, Found, Identity, Look};
use crate::ssh::{self, Files, Session};
use crate::tell::Teller;

/// How often the files of the key are looked at while they are the trouble.
const FILES_EVERY: Duration = Duration::from_secs(2);

/// The longest sleep: so often the state is written, whatever happens.
const LONGEST: Duration = Duration::from_secs(30);

/// What others tell a tunnel's thread.
#[derive(Debug)]
pub enum Word {
    /// Try now: the network has changed, or somebody says so.
    Kick,
    /// End.
    Stop,
    /// What a comparison of host keys has found.
    Identity(Identity),
    /// Whether the session went home.
    Home(bool),
    /// The jump host was asked to end what holds the port.
    Released,
}

/// What a tunnel's thread is given.
pub struct Keeper {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Its files.
    pub files: Files,
    /// This program, as ssh calls it.
    pub own: PathBuf,
    /// Who is told.
    pub teller: Arc<Teller>,
    /// Words for it.
    pub words: Receiver<Word>,
    /// Where its helpers put their words, and the bell that says so.
    pub to_self: (Sender<Word>, UnixStream),
    /// What is readable when there are words.
    pub bell: UnixStream,
}

/// A tunnel's thread.
struct Work {
    keeper: Keeper,
    begun: Instant,
    policy: Policy,
    session: Option<Session>,
    look: Option<Look>,
    /// How many lines ssh had said when the look began.
    said_before: usize,
    /// How many it had said when it was last well, of which none tells why it has ended.
    said_in_peace: usize,
    /// Whether a helper is under way, so that there is one at a time.
    helping: bool,
    /// What waits for one.
    later: Vec<Action>,
    /// When the key's files had changed last, while the jump host rejects them.
    key_files: Option<Vec<Option<SystemTime>>>,
    /// Time of the last proof, and how long it took.
    proof: Option<(SystemTime, Duration)>,
    stopping: bool,
}

impl Keeper {
    /// Keeps the tunnel until it is told to stop.
    pub fn keep(self) {
        let rules = Rules {
            ports: self.tunnel.remote_ports.len(),
            check_every_ms: millis(self.tunnel.check_every),
            alert_after_ms: millis(self.tunnel.alert_after),
            release: self.tunnel.release,
        };
        let _ = set_nonblocking(self.bell.as_fd());
        let mut work = Work {
            policy: Policy::new(rules, 0),
            begun: Instant::now(),
            session: None,
            look: None,
            said_before: 0,
            said_in_peace: 0,
            helping: false,
            later: Vec::new(),
            key_files: None,
            proof: None,
            stopping: false,
            keeper: self,
        };
        while !work.stopping {
            work.turn();
        }
        work.look = None;
        if let Some(mut session) = work.session.take() {
            session.stop();
        }
        work.keeper.files.remove();
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
        self.see_session();
        self.see_look();
        self.see_key_files();
        let now_ms = self.now_ms();
        let actions = self.policy.act(now_ms);
        self.obey(actions);
        if !self.helping {
            let later = std::mem::take(&mut self.later);
            self.obey(later);
        }
        self.show();
        self.sleep();
    }

    fn hear(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.keeper.bell.read(&mut bytes), Ok(read) if read > 0) {}
        while let Ok(word) = self.keeper.words.try_recv() {
            match word {
                Word::Stop => self.stopping = true,
                Word::Kick => self.policy.kick(self.now_ms()),
                Word::Released => {
                    self.helping = false;
                    // What became of it shows at the next try, which need not wait any longer.
                    self.policy.kick(self.now_ms());
                }
                Word::Home(home) => {
                    self.helping = false;
                    // What ssh says of a home port that is held ends no session.
                    self.forget_said();
                    self.policy.went_home(home);
                    if home {
                        self.log(Level::Info, Line::new("tunnel-home"));
                    }
                }
                Word::Identity(found) => {
                    self.helping = false;
                    self.identified(found);
                }
            }
        }
    }

    fn see_session(&mut self) {
        let Some(session) = &mut self.session else { return };
        if !session.listen() {
            return;
        }
        session.drain();
        let cause = cause::of_end(session.lines(self.said_in_peace));
        let said = session.lines(0).last().unwrap_or_default().to_owned();
        self.session = None;
        self.look = None;
        self.log(
            Level::Info,
            Line::new("ssh-ended").word("cause", cause.word()).text("said", &said),
        );
        self.policy.ended(cause, self.now_ms());
        self.note_key_files(cause);
    }

    fn see_look(&mut self) {
        let Some(look) = &mut self.look else { return };
        let Some(found) = look.found() else { return };
        self.look = None;
        let now_ms = self.now_ms();
        let actions = match found {
            Found::Banner(took) => {
                self.proof = Some((SystemTime::now(), took));
                self.forget_said();
                self.policy.proved(now_ms)
            }
            Found::Nothing | Found::Other | Found::Silence => {
                let cause = self.why(found);
                self.policy.not_proved(cause, now_ms)
            }
        };
        self.obey(actions);
    }

    /// Why a look has found no banner: ssh says it, or what is here does.
    fn why(&mut self, found: Found) -> Cause {
        let said = self.session.as_mut().and_then(|session| {
            session.listen();
            session.lines(self.said_before).filter_map(cause::of_probe).last()
        });
        match (said, found) {
            (Some(cause @ Cause::ProbeDenied), _) => cause,
            _ if !proof::answers(self.keeper.tunnel.target, proof::MOST_HERE) => Cause::TargetDown,
            (_, Found::Other) => Cause::WrongHost,
            (_, Found::Silence) => Cause::Silent,
            _ => Cause::ForwardBroken,
        }
    }

    /// What ssh has said so far is of no account when it ends.
    fn forget_said(&mut self) {
        if let Some(session) = &mut self.session {
            session.listen();
            self.said_in_peace = session.said();
        }
    }

    fn obey(&mut self, actions: Vec<Action>) {
        for action in actions {
            let takes_a_helper =
                matches!(action, Action::Identify | Action::Release | Action::GoHome);
            if takes_a_helper && self.helping {
                self.later.push(action);
                continue;
            }
            match action {
                Action::Start { port } => self.start(port),
                Action::Stop => self.stop(),
                Action::Look => self.begin_look(),
                Action::Identify => self.identify(),
                Action::Release => self.release(),
                Action::GoHome => self.go_home(),
                Action::TellDown(cause) => self.keeper.teller.down(&self.keeper.tunnel, cause),
                Action::TellUp { down_ms, cause, port } => {
                    let down = Duration::from_millis(down_ms);
                    let port = self.port(port);
                    self.keeper.teller.up(&self.keeper.tunnel, down, cause, port);
                }
                Action::TellMoved { port } => {
                    let port = self.port(port);
                    self.keeper.teller.moved(&self.keeper.tunnel, port);
                }
            }
        }
    }

    fn port(&self, index: usize) -> u16 {
        let ports = &self.keeper.tunnel.remote_ports;
        ports.get(index).or(ports.first()).copied().unwrap_or_default()
    }

    fn start(&mut self, port: usize) {
        self.stop();
        self.said_in_peace = 0;
        // What was to be done with the session before.
        self.later.retain(|action| *action == Action::Release);
        let Keeper { tunnel, files, own, .. } = &self.keeper;
        files.remove();
        let port = self.port(port);
        let arguments = ssh::arguments(tunnel, port, files, own);
        match Session::start(&tunnel.ssh, &arguments) {
            Ok(session) => {
                let line = Line::new("ssh-started").word("pid", session.pid());
                self.session = Some(session);
                self.log(Level::Info, line.word("port", port));
            }
            Err(error) => {
                let why = format!("{}: {error}", tunnel.ssh.display());
                self.log(Level::Error, Line::new("ssh-not-started").text("message", &why));
                self.policy.ended(Cause::NoSsh, self.now_ms());
            }
        }
    }

    fn stop(&mut self) {
        self.look = None;
        if let Some(mut session) = self.session.take() {
            session.stop();
        }
    }

    fn begin_look(&mut self) {
        self.said_before = self.session.as_ref().map_or(0, Session::said);
        match Look::begin(&self.keeper.files.probe) {
            Ok(look) => self.look = Some(look),
            Err(_) => {
                let now_ms = self.now_ms();
                let actions = self.policy.not_proved(Cause::ForwardBroken, now_ms);
                self.obey(actions);
            }
        }
    }

    /// Has a helper do what takes its time, and answer by a word.
    fn help(&mut self, work: impl FnOnce(&Tunnel, &Files) -> Word + Send + 'static) {
        if self.helping {
            return;
        }
        let (tunnel, files) = (self.keeper.tunnel.clone(), self.keeper.files.clone());
        let (sender, bell) = &self.keeper.to_self;
        let Ok(bell) = bell.try_clone() else { return };
        let sender = sender.clone();
        let run = move || {
            let word = work(&tunnel, &files);
            let _ = sender.send(word);
            let _ = std::io::Write::write(&mut &bell, &[1]);
        };
        self.helping = thread::Builder::new().name("helper".into()).spawn(run).is_ok();
    }

    fn identify(&mut self) {
        let own = self.keeper.own.clone();
        self.help(move |tunnel, files| Word::Identity(proof::identify(tunnel, files, &own)));
    }

    fn identified(&mut self, found: Identity) {
        match found {
            Identity::Same => self.log(Level::Info, Line::new("target-known")),
            Identity::Unknown => self.log(Level::Warning, Line::new("target-not-compared")),
            Identity::Other => {
                self.log(Level::Error, Line::new("target-other"));
                let now_ms = self.now_ms();
                let actions = self.policy.wrong_host(now_ms);
                self.obey(actions);
            }
        }
    }

    fn go_home(&mut self) {
        let (home, now) = (self.port(0), self.port(self.policy.port()));
        self.help(move |tunnel, files| {
            let [forward, forget, look, cancel] = ssh::move_arguments(tunnel, home, now, files);
            let run = |words: &[std::ffi::OsString]| {
                let mut command = ssh::command(&tunnel.ssh);
                let status = command.args(words).stderr(std::process::Stdio::null()).status();
                status.is_ok_and(|status| status.success())
            };
            if !run(&forward) {
                return Word::Home(false);
            }
            // From here on people may come by the home port; what cannot be undone is looked at.
            run(&forget);
            let _ = std::fs::remove_file(&files.probe);
            let looks = run(&look);
            run(&cancel);
            Word::Home(looks)
        });
    }

    /// Asks the jump host to end the session of ours that holds the home port.
    fn release(&mut self) {
        let own = self.keeper.own.clone();
        let port = self.port(0);
        self.log(Level::Info, Line::new("tunnel-release").word("port", port));
        self.help(move |tunnel, _| {
            let arguments = ssh::release_arguments(tunnel, port, &own);
            let mut command = ssh::command(&tunnel.ssh);
            let _ = command.args(arguments).stderr(std::process::Stdio::null()).status();
            Word::Released
        });
    }

    /// While the key is the trouble, a file that changes is a remedy.
    fn note_key_files(&mut self, cause: Cause) {
        let is_trouble = matches!(cause, Cause::KeyRejected | Cause::HostKey | Cause::BadOption);
        self.key_files = is_trouble.then(|| self.read_key_files());
    }

    fn read_key_files(&self) -> Vec<Option<SystemTime>> {
        let files = [&self.keeper.tunnel.identity, &self.keeper.tunnel.known_hosts];
        files.map(|file| file.metadata().and_then(|meta| meta.modified()).ok()).into()
    }

    fn see_key_files(&mut self) {
        if self.key_files.is_some() && self.key_files.as_ref() != Some(&self.read_key_files()) {
            self.key_files = None;
            self.policy.kick(self.now_ms());
        }
    }

    fn show(&mut self) {
        let port = self.port(self.policy.port());
        let pid = self.session.as_ref().map(Session::pid);
        self.keeper.teller.show(
            &self.keeper.tunnel,
            &self.policy,
            port,
            pid,
            self.proof,
            self.begun,
        );
    }

    fn sleep(&self) {
        let due = self.policy.wake_ms().saturating_sub(self.now_ms());
        let mut most = Duration::from_millis(due).min(LONGEST);
        if self.key_files.is_some() {
            most = most.min(FILES_EVERY);
        }
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.keeper.bell.as_fd()];
        fds.extend(self.session.as_ref().and_then(Session::wakes));
        if self.session.as_ref().is_some_and(|session| session.wakes().is_none()) {
            // It has closed its mouth and not ended.
            most = most.min(Duration::from_millis(200));
        }
        if let Some(look) = &self.look {
            fds.push(look.wakes());
            most = most.min(look.deadline().saturating_duration_since(Instant::now()));
        }
        if wait_readable(&fds, most).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, level: Level, line: Line) {
        self.keeper.teller.log(level, &line.text("tunnel", &self.keeper.tunnel.name));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
