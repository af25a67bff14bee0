//! One tunnel at work: does what [`crate::policy`] says, and tells it what came of it. A thread each.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notifier::clock::millis;
use notifier::ffi::wait_readable;
use notifier::syslog::{Level, Line};

use crate::cause::{self, Cause};
use crate::chain::board::Board;
use crate::config::Tunnel;
use crate::on_demand::decide::Reach;
use crate::policy::{Action, Policy, Rules};
use crate::post::{Post, Word};
use crate::proof::{self, Found, Identity, Look};
use crate::sockets::Files;
use crate::ssh::{self, Session};
use crate::tell::{Down, State, Teller, Way};
use crate::tries::Tries;

mod reach;

/// Why a tunnel does not work whose jump host is to run, and does not.
pub(crate) const JUMP_HOST_OFF: &str = "jump-host-off";

/// How often the files of the key are looked at while they are the trouble.
const FILES_EVERY: Duration = Duration::from_secs(2);

/// The longest sleep: so often the state is written, whatever happens.
const LONGEST: Duration = Duration::from_secs(30);

/// How long ssh may keep to itself that the jump host has given the port, once the way for a look is
/// there: an ssh that says it in other words is to work as well.
const MOST_UNSAID: Duration = Duration::from_secs(10);

/// How often it is seen, while a look has no answer, whether others use the line.
const BYTES_EVERY: Duration = Duration::from_secs(1);

/// How long it is believed what sshd on this side was found to be: each question is a connection.
const HERE_FOR: Duration = Duration::from_secs(5);

/// How long our own session may take to do what it is asked for: one that hangs does nothing.
const MOST_ASKED: Duration = Duration::from_secs(10);

/// How long the jump host may take to release a port, the way there included.
const MOST_RELEASE: Duration = Duration::from_secs(40);

/// How long a connection has to be there before the jump host is asked whose it is, without anybody's asking: as long as a
/// look takes, within these. What only looks, as `tunnelwatch watch` does there, is gone by then, and
/// costs nothing; a login takes longer.
const SETTLE: [Duration; 2] = [Duration::from_millis(60), Duration::from_secs(1)];

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
    pub post: Post,
    /// Where it is put down who comes through, where the tunnel has that.
    pub board: Option<Arc<Board>>,
}

/// A tunnel's thread.
struct Work {
    keeper: Keeper,
    /// Zero of the policy's clock.
    begun: Instant,
    policy: Policy,
    session: Option<Session>,
    /// Its files.
    files: Files,
    /// Since when it has the way for a look, and has not said that it has the port.
    unsaid: Option<Instant>,
    look: Option<Look>,
    /// When it was last seen whether others use the line.
    bytes_at: Instant,
    /// Whether sshd on this side answered, and when it was asked.
    here: Option<(Instant, bool)>,
    /// How many lines ssh had said when the look began.
    said_before: usize,
    /// How many it had said when it was last well, of which none tells why it has ended.
    said_in_peace: usize,
    /// Which of them are put on record.
    tries: Tries,
    /// How many sessions were started: the number of the one that there is.
    sessions: u64,
    /// The session for which a helper is under way; there is one at a time.
    helping: Option<u64>,
    /// What waits for one.
    later: Vec<Action>,
    /// When the key's files had changed last, while the jump host rejects them.
    key_files: Option<Vec<Option<SystemTime>>>,
    /// Time of the last proof, and how long it took.
    proof: Option<(Instant, Duration)>,
    /// Where the jump host is that does not always run; nothing while nobody has said, or where it does.
    reach: Option<Reach>,
    /// Since when it is so.
    reach_ms: u64,
    rules: Rules,
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
            quiet_ms: millis(self.teller.quiet()),
        };
        let told = self.teller.told(&self.tunnel.name);
        // What was told by another version, or of a tunnel of another type, was told all the same.
        let cause = told.as_ref().map(|told| Cause::of_word(&told.cause).unwrap_or(Cause::Closed));
        let (begun, policy) = match told.zip(cause) {
            Some((told, cause)) => {
                (told.instant(), Policy::resumed(rules, millis(told.age()), 0, cause))
            }
            None => (Instant::now(), Policy::new(rules, 0)),
        };
        let mut work = Work {
            policy,
            begun,
            session: None,
            files: self.files.clone(),
            unsaid: None,
            look: None,
            bytes_at: begun,
            here: None,
            said_before: 0,
            said_in_peace: 0,
            tries: Tries::default(),
            sessions: 0,
            helping: None,
            later: Vec::new(),
            key_files: None,
            proof: None,
            reach: None,
            reach_ms: 0,
            rules,
            stopping: false,
            keeper: self,
        };
        work.keeper.files.remove_all();
        while !work.stopping {
            work.turn();
        }
        work.stop();
        work.keeper.files.remove_all();
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
        if self.rests() {
            self.show_rest();
            return self.sleep_until_word();
        }
        self.see_session();
        self.see_look();
        self.see_key_files();
        let now_ms = self.now_ms();
        let actions = self.policy.act(now_ms);
        self.obey(actions);
        if self.helping.is_none() {
            let later = std::mem::take(&mut self.later);
            self.obey(later);
        }
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
                Word::Released => {
                    self.helping = None;
                    // What became of it shows at the next try, which need not wait any longer.
                    self.policy.kick(self.now_ms());
                }
                Word::Home(found) => {
                    if self.is_of_now() {
                        self.went_home(found);
                    }
                }
                Word::Helped => drop(self.is_of_now()),
                Word::Reach(reach) => self.reaches(reach),
                Word::Identity(found) => {
                    if self.is_of_now() {
                        self.identified(found);
                    }
                }
            }
        }
    }

    /// Whether what a helper has brought is of the session that there is now.
    fn is_of_now(&mut self) -> bool {
        self.helping.take() == Some(self.sessions) && self.session.is_some()
    }

    fn see_session(&mut self) {
        let Some(session) = &mut self.session else { return };
        let is_given = session.is_given();
        let has_ended = session.listen();
        if let Some(board) = &self.keeper.board {
            let settle = (!self.keeper.tunnel.metered && self.look.is_none()).then(|| {
                self.proof.map_or(SETTLE[0], |(_, took)| took.clamp(SETTLE[0], SETTLE[1]))
            });
            board.heard(&self.keeper.tunnel.name, &session.news(), settle);
        }
        if !has_ended {
            if session.is_given() && !is_given {
                self.policy.given(self.now_ms());
            }
            return;
        }
        session.drain();
        let cause = cause::of_end(session.lines(self.said_in_peace));
        let said = session.lines(0).last().unwrap_or_default().to_owned();
        self.stop();
        if let Some(untold) = self.tries.ended(cause, Instant::now()) {
            let line = Line::new("ssh-ended").word("cause", cause.word()).text("said", &said);
            let more = (untold > 0).then(|| format!("{untold} tries before it ended alike"));
            let line = more.iter().fold(line, |line, more| line.text("message", more));
            self.log(Level::Info, line);
        }
        self.policy.ended(cause, self.now_ms());
        self.note_key_files(cause);
    }

    fn see_look(&mut self) {
        let Some(look) = &mut self.look else { return };
        let Some(found) = look.found() else {
            if self.bytes_at.elapsed() >= BYTES_EVERY {
                look.note_moved(self.session.as_ref().and_then(Session::moved));
                self.bytes_at = Instant::now();
            }
            return;
        };
        self.look = None;
        let now_ms = self.now_ms();
        let actions = match found {
            Found::Banner(took) => {
                self.proof = Some((Instant::now(), took));
                self.forget_said();
                self.tries.worked();
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
            _ if !self.answers_here() => Cause::TargetDown,
            (_, Found::Other) => Cause::WrongHost,
            (_, Found::Silence) => Cause::Silent,
            _ => Cause::ForwardBroken,
        }
    }

    /// Whether sshd on this side answers.
    fn answers_here(&mut self) -> bool {
        if let Some((_, answers)) = self.here.filter(|(at, _)| at.elapsed() < HERE_FOR) {
            return answers;
        }
        let answers = proof::answers(self.keeper.tunnel.target, proof::MOST_HERE);
        self.here = Some((Instant::now(), answers));
        answers
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
            if takes_a_helper && self.helping.is_some() {
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
                Action::TellDown(cause) => {
                    let since_ms = self.policy.down_since_ms().unwrap_or_else(|| self.now_ms());
                    let since = self.begun + Duration::from_millis(since_ms);
                    let name = &self.keeper.tunnel.name;
                    let down =
                        Down { cause: cause.word(), text: cause.text(), since, is_grave: false };
                    self.keeper.teller.down(name, &down);
                }
                Action::TellUp { down_ms, cause, port } => {
                    let down = Duration::from_millis(down_ms);
                    let place = match port {
                        0 => String::new(),
                        _ => format!(", now on port {}", self.port(port)),
                    };
                    let text = format!("{cause}{place}");
                    self.keeper.teller.up(&self.keeper.tunnel.name, down, &text);
                }
                Action::TellMoved { port } => {
                    let port = self.port(port);
                    self.keeper.teller.moved(&self.keeper.tunnel, port);
                }
                Action::TellTaken => {
                    self.keeper.teller.taken(&self.keeper.tunnel.name, self.port(0));
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
        self.sessions += 1;
        self.said_in_peace = 0;
        // What was to be done with the session before.
        self.later.retain(|action| *action == Action::Release);
        self.files = self.keeper.files.of_a_session();
        let Keeper { tunnel, own, .. } = &self.keeper;
        let port = self.port(port);
        let arguments = ssh::arguments(tunnel, port, &self.files, own);
        match Session::start(&tunnel.ssh, &arguments).map(Session::chatty) {
            Ok(session) => {
                let line = Line::new("ssh-started").word("pid", session.pid());
                self.session = Some(session);
                self.tell_board(Some(&self.files.control));
                if self.tries.begins(Instant::now()) {
                    self.log(Level::Info, line.word("port", port));
                }
            }
            Err(error) => {
                let why = format!("{}: {error}", tunnel.ssh.display());
                self.log(Level::Error, Line::new("ssh-not-started").text("message", &why));
                self.policy.ended(Cause::NoSsh, self.now_ms());
            }
        }
    }

    fn stop(&mut self) {
        (self.look, self.unsaid) = (None, None);
        if let Some(mut session) = self.session.take() {
            self.tell_board(None);
            session.stop();
            self.files.remove();
        }
    }

    /// Says which session who comes through comes through.
    fn tell_board(&self, control: Option<&Path>) {
        if let Some(board) = &self.keeper.board {
            board.session(&self.keeper.tunnel.name, control);
        }
    }

    fn begin_look(&mut self) {
        self.said_before = self.session.as_ref().map_or(0, Session::said);
        let look = if self.has_port() { Look::begin(&self.files.probe).ok() } else { None };
        let Some(mut look) = look else {
            let actions = self.policy.no_way(self.now_ms());
            return self.obey(actions);
        };
        look.note_moved(self.session.as_ref().and_then(Session::moved));
        self.bytes_at = Instant::now();
        self.look = Some(look);
    }

    /// Whether the port is the session's. Until it is, a stale session of ours may hold it, which sshd
    /// ends only if nobody touches the port: a look would.
    fn has_port(&mut self) -> bool {
        if self.session.as_ref().is_some_and(Session::is_given) {
            return true;
        }
        if self.unsaid.is_none() && self.files.probe.exists() {
            self.unsaid = Some(Instant::now());
        }
        self.unsaid.is_some_and(|since| since.elapsed() >= MOST_UNSAID)
    }

    /// Has a helper do what takes its time, and answer by a word.
    fn help(&mut self, work: impl FnOnce(&Tunnel, &Files) -> Word + Send + 'static) {
        if self.helping.is_some() {
            return;
        }
        let (tunnel, files) = (self.keeper.tunnel.clone(), self.files.clone());
        let helps = self.keeper.post.help(move || work(&tunnel, &files));
        self.helping = helps.then_some(self.sessions);
    }

    fn identify(&mut self) {
        let own = self.keeper.own.clone();
        self.help(move |tunnel, files| Word::Identity(proof::identify(tunnel, files, &own)));
    }

    fn identified(&mut self, found: Identity) {
        match found {
            Identity::Same => {
                self.policy.compared();
                self.log(Level::Info, Line::new("target-known"));
            }
            Identity::Unknown => self.log(Level::Warning, Line::new("target-not-compared")),
            Identity::Other => {
                self.log(Level::Error, Line::new("target-other"));
                let now_ms = self.now_ms();
                let actions = self.policy.wrong_host(now_ms);
                self.obey(actions);
            }
        }
    }

    /// Asks for the home port as well, and looks through it while people still come by the other.
    fn go_home(&mut self) {
        let (home, own) = (self.port(0), self.keeper.own.clone());
        self.help(move |tunnel, files| {
            let [forward, way] = ssh::more_arguments(tunnel, home, &files.home, files);
            if !asks(tunnel, &forward) {
                return Word::Home(None);
            }
            let looks =
                asks(tunnel, &way) && matches!(proof::once(&files.home), Some(Found::Banner(_)));
            let found = looks.then(|| {
                let mut files = files.clone();
                files.probe.clone_from(&files.home);
                proof::identify(tunnel, &files, &own)
            });
            if matches!(found, None | Some(Identity::Other)) {
                for words in ssh::less_arguments(tunnel, home, &files.home, files) {
                    asks(tunnel, &words);
                }
            }
            Word::Home(found)
        });
    }

    fn went_home(&mut self, found: Option<Identity>) {
        // What ssh says of a home port that is held ends no session.
        self.forget_said();
        let Some(found) = found else { return };
        if found == Identity::Other {
            let line = Line::new("target-other").word("port", self.port(0));
            return self.log(Level::Error, line);
        }
        let old = self.port(self.policy.port());
        self.policy.went_home(true, self.now_ms());
        self.log(Level::Info, Line::new("tunnel-home"));
        std::mem::swap(&mut self.files.probe, &mut self.files.home);
        self.identified(found);
        self.help(move |tunnel, files| {
            for words in ssh::less_arguments(tunnel, old, &files.home, files) {
                asks(tunnel, &words);
            }
            Word::Helped
        });
    }

    /// Asks the jump host to end the session of ours that holds the home port.
    fn release(&mut self) {
        let own = self.keeper.own.clone();
        let port = self.port(0);
        self.log(Level::Info, Line::new("tunnel-release").word("port", port));
        self.help(move |tunnel, _| {
            let arguments = ssh::release_arguments(tunnel, port, &own);
            let _ = proof::succeeds(ssh::command(&tunnel.ssh).args(arguments), MOST_RELEASE);
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
        let port = self.policy.port();
        let way = Way::Ssh {
            port: self.port(port),
            home: port == 0,
            jump: self.keeper.tunnel.jump.to_string(),
            ssh_pid: self.session.as_ref().map(Session::pid),
        };
        let since_ms = match self.policy.is_up() {
            true => self.policy.up_since_ms(),
            false => self.policy.down_since_ms(),
        };
        let since = Duration::from_millis(since_ms.unwrap_or(0));
        let age = self.begun.elapsed().saturating_sub(since);
        let cause = self.policy.cause();
        let state = State {
            cause: cause.map(|cause| cause.word().to_owned()),
            why: cause.map(|cause| cause.text().to_owned()),
            ..State::new(self.policy.is_up(), way, age, self.proof)
        };
        self.keeper.teller.show(&self.keeper.tunnel.name, state);
    }

    fn sleep(&self) {
        let due = self.policy.wake_ms().saturating_sub(self.now_ms());
        let mut most = Duration::from_millis(due).min(LONGEST);
        if self.key_files.is_some() {
            most = most.min(FILES_EVERY);
        }
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.keeper.post.wakes()];
        fds.extend(self.session.as_ref().and_then(Session::wakes));
        if self.session.as_ref().is_some_and(|session| session.wakes().is_none()) {
            // It has closed its mouth and not ended.
            most = most.min(Duration::from_millis(200));
        }
        if let Some(look) = &self.look {
            fds.push(look.wakes());
            most = most.min(look.deadline().saturating_duration_since(Instant::now()));
            most = most.min(BYTES_EVERY);
        }
        if wait_readable(&fds, most).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, level: Level, line: Line) {
        self.keeper.teller.log(level, &line.text("tunnel", &self.keeper.tunnel.name));
    }
}

/// Asks our own session for something, and answers whether it did that.
fn asks(tunnel: &Tunnel, words: &[OsString]) -> bool {
    proof::succeeds(ssh::command(&tunnel.ssh).args(words), MOST_ASKED)
}
