//! `tunnelwatch watch`: on the jump host, sees whether the tunnel's port answers as the right host.
//! The internal host cannot tell that its only line is down; who waits for it can.
//!
//! A port whose session has lost its client must not be touched: sshd looks after such a session only
//! when nothing happens on it for a while (serverloop.c, `client_alive_check`), and each connection is
//! something. So a port that has not answered is left alone until its listener is another one, or
//! for longer and longer; what the kernel says of listeners costs nothing.

pub mod onward;
pub(crate) mod ports;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notifier::clock::Stamp;
use notifier::daemon::outbox::Outbox;
use notifier::daemon::told::{Memory, Told};
use notifier::event::{Condition, Severity, Status, What};
use notifier::exit::Failure;
use notifier::ffi::{take_signals, wait_readable};
use notifier::foreign::Foreign;
use notifier::syslog::{Level, Line, Log, Source};
use notifier::systemd::Systemd;

use crate::config::{LOOPBACK, Settings, Watch};
use crate::proof;
use crate::release::listener;
use onward::Places;
use ports::{Compared, Grade, Quiet, Seen, Tale};

/// How long a port that accepts may take to say who is behind it.
const MOST: Duration = Duration::from_secs(5);

/// How often it is looked for other listeners.
const STEP: Duration = Duration::from_secs(2);

/// What is remembered of a tunnel.
struct Watched {
    watch: Watch,
    quiet: BTreeMap<u16, Quiet>,
    compared: BTreeMap<u16, Compared>,
    /// Where keys may be written for ssh.
    keys: PathBuf,
    looked: Option<Instant>,
    /// The listeners that were there then.
    listeners: Vec<Option<u64>>,
    tale: Tale,
}

/// Watches the tunnels of the file until it is told to stop.
///
/// # Errors
///
/// What keeps it from starting, in words.
pub fn watch(config: &Path, run_dir: &Path) -> Result<(), Failure> {
    let settings = load(config).map_err(Failure::config)?;
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];
    let failed = |what: &'static str| move |error: io::Error| Failure::io(what, &error);
    let mut signals = take_signals(&signals).map_err(failed("take over the signals"))?;
    let mut desk = Desk::new(&settings, config);
    if let Err(error) = onward::open(run_dir, &desk.places) {
        let line = Line::new("nobody-asks").text("message", &error.to_string());
        let line = line.text("directory", &run_dir.to_string_lossy());
        let effect = "alerts do not say that somebody went on to a host behind this one";
        let _ = desk.log.write(Level::Warning, &line.text("effect", effect));
    }
    let mut systemd = Systemd::from_environment();
    systemd.say_ready();
    loop {
        desk.turn(&mut systemd);
        let most = systemd.say_alive().unwrap_or(STEP).min(STEP);
        let fd = std::os::fd::AsFd::as_fd(&signals);
        wait_readable(&[fd], most).map_err(failed("wait for something to do"))?;
        let mut record = [0; 128];
        while matches!(signals.read(&mut record), Ok(read) if read == record.len()) {
            match libc::c_int::from(record[0]) {
                libc::SIGHUP => desk.reload(),
                libc::SIGUSR1 => desk.watched.iter_mut().for_each(Watched::look_anew),
                _ => return Ok(()),
            }
        }
    }
}

/// The file, which has to have something to watch.
fn load(config: &Path) -> Result<Settings, String> {
    let settings = Settings::load(config).map_err(|error| error.to_string())?;
    match settings.watches.is_empty() {
        true => Err(format!("{}: there is no [[tunnel-watch]]", config.display())),
        false => Ok(settings),
    }
}

struct Desk {
    outbox: Outbox,
    config: PathBuf,
    log: Log,
    memory: Memory,
    watched: Vec<Watched>,
    /// Where people can go on to, for who asks.
    places: Arc<Mutex<Places>>,
}

impl Desk {
    fn new(settings: &Settings, config: &Path) -> Self {
        let log = Log::new(&settings.host.syslog, "tunnelwatch", Source::Daemon);
        let line = Line::new("watching").word("tunnels", settings.watches.len());
        let _ = log.write(Level::Info, &line);
        let memory = crate::tell::seen_down();
        let watched = settings.watches.iter().cloned();
        let watched = watched.map(|watch| Watched::recalled(watch, &memory)).collect();
        let outbox = Outbox::new(settings.host.clone(), log.clone());
        let places = Arc::new(Mutex::new(Places::of(settings)));
        let desk = Self { outbox, config: config.to_owned(), log, memory, watched, places };
        desk.forget_the_others();
        desk
    }

    /// What was told of tunnels that are watched no more has nobody else to tell its end.
    fn forget_the_others(&self) {
        for name in self.memory.names() {
            let gone = !self.watched.iter().any(|one| one.watch.name == name);
            if gone && tell(&self.outbox, &self.log, &name, Status::Up, "it is no longer watched") {
                self.memory.forget(&name);
            }
        }
    }

    fn turn(&mut self, systemd: &mut Systemd) {
        self.outbox.again();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        for one in &mut self.watched {
            // One that does not answer takes its time, and there may be some of them.
            systemd.say_alive();
            if !one.is_due(&table) {
                continue;
            }
            let seen = one.look(&table, &mut || {
                let _ = systemd.say_alive();
            });
            if let Some((status, text)) = one.learn(seen) {
                // What may be lost with this process is told once more by the next.
                if tell(&self.outbox, &self.log, &one.watch.name, status, &text) {
                    remember(&self.memory, &self.log, one);
                }
            }
        }
    }

    fn reload(&mut self) {
        match load(&self.config) {
            Ok(settings) => {
                *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Places::of(&settings);
                let old = std::mem::take(&mut self.watched);
                let mut old: BTreeMap<String, Watched> =
                    old.into_iter().map(|one| (one.watch.name.clone(), one)).collect();
                let keep = |watch: Watch| match old.remove(&watch.name) {
                    Some(one) => {
                        let mut one = Watched { watch, ..one };
                        one.look_anew();
                        one
                    }
                    None => Watched::recalled(watch, &self.memory),
                };
                self.watched = settings.watches.into_iter().map(keep).collect();
                self.forget_the_others();
                let _ = self.log.write(Level::Info, &Line::new("config-reloaded"));
            }
            Err(error) => {
                let line = Line::new("config-kept").text("message", &error);
                let _ = self.log.write(Level::Error, &line);
            }
        }
    }
}

impl Watched {
    fn new(watch: Watch, keys: PathBuf) -> Self {
        Self {
            watch,
            quiet: BTreeMap::new(),
            compared: BTreeMap::new(),
            keys,
            looked: None,
            listeners: Vec::new(),
            tale: Tale::default(),
        }
    }

    /// One of which somebody before us may have told that it is down.
    fn recalled(watch: Watch, memory: &Memory) -> Self {
        let told = memory.recall(&watch.name);
        let tale = Tale {
            down_since: told.as_ref().map(Told::instant),
            told: told.map(|told| Grade::of_word(&told.cause)),
        };
        let keys = memory.beside(&watch.name, "seen-keys");
        Self { tale, ..Self::new(watch, keys) }
    }

    /// Has it looked at soon, and compared as if it were new.
    fn look_anew(&mut self) {
        self.looked = None;
        self.compared.clear();
    }

    fn listeners(&self, table: &str) -> Vec<Option<u64>> {
        // Those of another host are its own.
        let ports = if self.watch.address == LOOPBACK { &self.watch.ports[..] } else { &[] };
        ports.iter().map(|port| Some(listener(table, *port)?.inode)).collect()
    }

    /// Whether it is time for a look, or something has changed that is worth one.
    fn is_due(&self, table: &str) -> bool {
        self.looked.is_none_or(|at| at.elapsed() >= self.watch.check_every)
            || self.listeners(table) != self.listeners
    }

    /// Looks at the ports, home first. Touches none that is best left alone.
    fn look(&mut self, table: &str, alive: &mut dyn FnMut()) -> Seen {
        self.looked = Some(Instant::now());
        if self.watch.address != LOOPBACK {
            return self.look_into_vpn();
        }
        self.listeners = self.listeners(table);
        let mut all = Seen::NoListener;
        for (port, inode) in self.watch.ports.clone().into_iter().zip(self.listeners.clone()) {
            // Who holds it may take his time on purpose.
            alive();
            let Some(inode) = inode else {
                self.quiet.remove(&port);
                self.compared.entry(port).or_default().gone();
                continue;
            };
            let quiet = self.quiet.get(&port).copied();
            if quiet.is_some_and(|was| was.rests(inode, Instant::now())) {
                all = all.and(Seen::Silent);
                continue;
            }
            let seen = if proof::answers(self.at(port), MOST) {
                self.quiet.remove(&port);
                self.who(port, Some(inode))
            } else {
                self.quiet.insert(port, Quiet::new(inode, quiet, Instant::now()));
                Seen::Silent
            };
            all = all.and(seen);
            if matches!(seen, Seen::Up(_)) {
                break;
            }
        }
        all
    }

    /// Looks at the other host's own sshd. No session of sshd's is in between that one could keep alive.
    fn look_into_vpn(&mut self) -> Seen {
        let Some(port) = self.watch.ports.first().copied() else { return Seen::NoAnswer };
        if proof::answers(self.at(port), MOST) {
            return self.who(port, None);
        }
        self.compared.entry(port).or_default().gone();
        Seen::NoAnswer
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.watch.address, port)
    }

    /// Who answers on a port: compared when it may be another than before, for that costs.
    fn who(&mut self, port: u16, inode: Option<u64>) -> Seen {
        if self.watch.host_keys.is_empty() {
            return Seen::Up(port);
        }
        let at = self.at(port);
        let compared = self.compared.entry(port).or_default();
        if compared.is_due(inode, Instant::now()) {
            let found = proof::identify_at(at, &self.watch.host_keys, &self.keys);
            compared.learn(inode, found, Instant::now());
        }
        compared.seen(port)
    }

    fn learn(&mut self, seen: Seen) -> Option<(Status, String)> {
        let home = self.watch.ports.first().copied();
        self.tale.learn(seen, home, self.watch.alert_after, Instant::now())
    }
}

/// Whether it is in the spool.
fn tell(outbox: &Outbox, log: &Log, name: &str, status: Status, text: &str) -> bool {
    let down = status == Status::Down;
    let tunnel = name;
    let name = Foreign::from(format!("tunnel {name}").as_str());
    let severity = if down { Severity::Critical } else { Severity::Info };
    let what = What::Condition(Condition::new(name, status, text.to_owned()));
    let word = if down { "tunnel-down" } else { "tunnel-up" };
    let line = Line::new(word).text("tunnel", tunnel).text("message", text);
    let _ = log.write(if down { Level::Error } else { Level::Info }, &line);
    outbox.put(severity, what)
}

/// Keeps what was told over a restart.
fn remember(memory: &Memory, log: &Log, one: &Watched) {
    let name = &one.watch.name;
    let (Some(since), Some(grade)) = (one.tale.down_since, one.tale.told) else {
        return memory.forget(name);
    };
    let told = Told {
        since: Stamp::now().before(since.elapsed()),
        cause: grade.word().to_owned(),
        text: String::new(),
    };
    if let Err(error) = memory.keep(name, &told) {
        let line = Line::new("told-not-kept").text("message", &error.to_string());
        let _ =
            log.write(Level::Warning, &line.text("effect", "after a restart it is told once more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        let watch = Watch {
            name: "home".into(),
            address: LOOPBACK,
            ports: vec![2222, 2223],
            host_keys: Vec::new(),
            check_every: Duration::from_secs(30),
            alert_after: Duration::from_secs(300),
        };
        Watched::new(watch, "/nonexistent/keys".into())
    }

    #[test]
    fn a_port_that_has_not_answered_is_left_alone_until_its_listener_is_another() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut one = watched();
        one.watch.ports = vec![port];
        let table = |inode: u64| {
            format!("head\n 0: 0100007F:{port:04X} 00000000:0000 0A 0:0 00:0 0 2003 0 {inode} 1\n")
        };
        one.quiet.insert(port, Quiet::new(7, None, Instant::now()));
        assert_eq!(one.look(&table(7), &mut || {}), Seen::Silent);
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "it was touched");
        assert!(!one.is_due(&table(7)) && one.is_due(&table(8)));
        // Another listener: it is asked, and answers.
        let answers = std::thread::spawn(move || {
            listener.set_nonblocking(false).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"SSH-2.0-x\r\n").unwrap();
        });
        assert_eq!(one.look(&table(8), &mut || {}), Seen::Up(port));
        answers.join().unwrap();
        assert_eq!(one.look("head\n", &mut || {}), Seen::NoListener);
    }
}
