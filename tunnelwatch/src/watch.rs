//! `tunnelwatch watch`: on the jump host, sees whether the tunnel's port answers as the right host.
//! The internal host cannot tell that its only line is down; who waits for it can.
//!
//! A port whose session has lost its client must not be touched: sshd looks after such a session only
//! when nothing happens on it for a while (serverloop.c, `client_alive_check`), and each connection is
//! something. So a port that has not answered is left alone until its listener is another one, or
//! for longer and longer; what the kernel says of listeners costs nothing.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notifier::clock::Stamp;
use notifier::event::{Condition, Severity, Status, What};
use notifier::exit::Failure;
use notifier::ffi::{take_signals, wait_readable};
use notifier::foreign::Foreign;
use notifier::syslog::{Level, Line, Log, Source};
use notifier::systemd::Systemd;

use crate::config::{LOOPBACK, Settings, Watch};
use crate::outbox::Outbox;
use crate::proof;
use crate::release::listener;
use crate::tell::words;
use crate::told::{Memory, Told};

/// How long a port that accepts may take to say who is behind it.
const MOST: Duration = Duration::from_secs(5);

/// How long a port that has not answered is left alone: twice as long each time, as it may have been a
/// moment's silence; and in the end longer than the two minutes that sshd of Debian 12 takes to end a
/// session by `ClientAliveInterval 15` and `ClientAliveCountMax 3`.
const LEFT_ALONE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(240)];

/// How often it is looked for other listeners.
const STEP: Duration = Duration::from_secs(2);

/// What a look at a tunnel's ports has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It answers on this port.
    Up(u16),
    /// Nobody listens.
    NoListener,
    /// Somebody listens, and nothing comes back: most often a session whose client is gone.
    Silent,
    /// Nobody answers at its address inside the VPN.
    NoAnswer,
    /// Another host than the one in `host-keys`.
    WrongHost,
}

impl Seen {
    /// What it is, in words for a message of one line.
    fn text(self) -> &'static str {
        match self {
            Self::Up(_) => "it answers",
            Self::NoListener => "no session holds its port on the jump host",
            Self::Silent => "its port is held by a session that does not answer",
            Self::NoAnswer => "nobody answers at its address inside the VPN",
            Self::WrongHost => "another host answers in its place",
        }
    }
}

/// What is remembered of a port that has not answered.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    inode: u64,
    since: Instant,
    /// How often it was asked in vain.
    asked: u32,
}

impl Quiet {
    /// Whether this listener is best left alone for now.
    fn rests(&self, inode: u64) -> bool {
        let [least, most] = LEFT_ALONE;
        let rest = least.saturating_mul(1 << self.asked.min(10)).min(most);
        self.inode == inode && self.since.elapsed() < rest
    }
}

/// What is remembered of a tunnel.
struct Watched {
    watch: Watch,
    quiet: BTreeMap<u16, Quiet>,
    looked: Option<Instant>,
    /// The listeners that were there then.
    listeners: Vec<Option<u64>>,
    down_since: Option<Instant>,
    told: bool,
}

/// Watches the tunnels of the file until it is told to stop.
///
/// # Errors
///
/// What keeps it from starting, in words.
pub fn watch(config: &Path) -> Result<(), Failure> {
    let settings = Settings::load(config).map_err(Failure::config)?;
    if settings.watches.is_empty() {
        let file = config.display();
        return Err(Failure::config(format!("{file}: there is no [[tunnel-watch]]")));
    }
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];
    let failed = |what: &'static str| move |error: io::Error| Failure::io(what, &error);
    let mut signals = take_signals(&signals).map_err(failed("take over the signals"))?;
    let mut desk = Desk::new(&settings, config);
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
                libc::SIGUSR1 => desk.watched.iter_mut().for_each(|one| one.looked = None),
                _ => return Ok(()),
            }
        }
    }
}

struct Desk {
    outbox: Outbox,
    config: PathBuf,
    log: Log,
    memory: Memory,
    watched: Vec<Watched>,
}

impl Desk {
    fn new(settings: &Settings, config: &Path) -> Self {
        let log = Log::new(&settings.host.syslog, "tunnelwatch", Source::Daemon);
        let line = Line::new("watching").word("tunnels", settings.watches.len());
        let _ = log.write(Level::Info, &line);
        let memory = Memory::of_watch();
        let watched = settings.watches.iter().cloned();
        let watched = watched.map(|watch| Watched::recalled(watch, &memory)).collect();
        let outbox = Outbox::new(settings.host.clone(), log.clone());
        Self { outbox, config: config.to_owned(), log, memory, watched }
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
            let seen = one.look(&table);
            if let Some((status, text)) = one.learn(seen, Instant::now()) {
                tell(&self.outbox, &self.log, &one.watch, status, &text);
                remember(&self.memory, &self.log, one);
            }
        }
    }

    fn reload(&mut self) {
        match Settings::load(&self.config) {
            Ok(settings) => {
                let old = std::mem::take(&mut self.watched);
                let mut old: BTreeMap<String, Watched> =
                    old.into_iter().map(|one| (one.watch.name.clone(), one)).collect();
                let keep = |watch: Watch| match old.remove(&watch.name) {
                    Some(one) => Watched { watch, looked: None, ..one },
                    None => Watched::recalled(watch, &self.memory),
                };
                self.watched = settings.watches.into_iter().map(keep).collect();
                let _ = self.log.write(Level::Info, &Line::new("config-reloaded"));
            }
            Err(error) => {
                let line = Line::new("config-kept").text("message", &error.to_string());
                let _ = self.log.write(Level::Error, &line);
            }
        }
    }
}

impl Watched {
    fn new(watch: Watch) -> Self {
        Self {
            watch,
            quiet: BTreeMap::new(),
            looked: None,
            listeners: Vec::new(),
            down_since: None,
            told: false,
        }
    }

    /// One of which somebody before us may have told that it is down.
    fn recalled(watch: Watch, memory: &Memory) -> Self {
        let down_since = memory.recall(&watch.name).map(|told| told.instant());
        Self { told: down_since.is_some(), down_since, ..Self::new(watch) }
    }

    fn listeners(&self, table: &str) -> Vec<Option<u64>> {
        // Those of another host are its own.
        let ports = if self.watch.address == LOOPBACK { &self.watch.ports[..] } else { &[] };
        ports.iter().map(|port| listener(table, *port)).collect()
    }

    /// Whether it is time for a look, or something has changed that is worth one.
    fn is_due(&self, table: &str) -> bool {
        self.looked.is_none_or(|at| at.elapsed() >= self.watch.check_every)
            || self.listeners(table) != self.listeners
    }

    /// Looks at the ports, home first. Touches none that is best left alone.
    fn look(&mut self, table: &str) -> Seen {
        self.looked = Some(Instant::now());
        if self.watch.address != LOOPBACK {
            return self.look_into_vpn();
        }
        self.listeners = self.listeners(table);
        let mut worst = Seen::NoListener;
        for (port, inode) in self.watch.ports.clone().into_iter().zip(self.listeners.clone()) {
            let Some(inode) = inode else {
                self.quiet.remove(&port);
                continue;
            };
            let quiet = self.quiet.get(&port);
            if quiet.is_some_and(|was| was.rests(inode)) {
                worst = Seen::Silent;
                continue;
            }
            let quiet = quiet.copied();
            match proof::answers(self.at(port), MOST) {
                true if self.is_wrong_host(port) => worst = Seen::WrongHost,
                true => {
                    self.quiet.remove(&port);
                    return Seen::Up(port);
                }
                false => {
                    let asked =
                        quiet.filter(|was| was.inode == inode).map_or(0, |was| was.asked + 1);
                    self.quiet.insert(port, Quiet { inode, since: Instant::now(), asked });
                    worst = Seen::Silent;
                }
            }
        }
        worst
    }

    /// Looks at the other host's own sshd. No session of sshd's is in between that one could keep alive.
    fn look_into_vpn(&self) -> Seen {
        let Some(port) = self.watch.ports.first().copied() else { return Seen::NoAnswer };
        match proof::answers(self.at(port), MOST) {
            true if self.is_wrong_host(port) => Seen::WrongHost,
            true => Seen::Up(port),
            false => Seen::NoAnswer,
        }
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.watch.address, port)
    }

    fn is_wrong_host(&self, port: u16) -> bool {
        let keys = &self.watch.host_keys;
        !keys.is_empty()
            && crate::keys::fingerprints(self.at(port))
                .is_some_and(|found| !found.iter().any(|key| keys.contains(key)))
    }

    /// What is to be told of what was seen: of a change that lasts, once.
    fn learn(&mut self, seen: Seen, now: Instant) -> Option<(Status, String)> {
        if let Seen::Up(port) = seen {
            let since = self.down_since.take();
            let told = std::mem::take(&mut self.told);
            let down = since.map(|at| now.saturating_duration_since(at)).filter(|_| told)?;
            let home = self.watch.ports.first() == Some(&port);
            let place = if home { String::new() } else { format!(", on port {port}") };
            return Some((Status::Up, format!("down for {}{place}", words(down))));
        }
        let since = *self.down_since.get_or_insert(now);
        let late = now.saturating_duration_since(since) >= self.watch.alert_after;
        if self.told || !(late || seen == Seen::WrongHost) {
            return None;
        }
        self.told = true;
        Some((Status::Down, format!("{}, as seen from the jump host", seen.text())))
    }
}

fn tell(outbox: &Outbox, log: &Log, watch: &Watch, status: Status, text: &str) {
    let down = status == Status::Down;
    let name = Foreign::from(format!("tunnel {}", watch.name).as_str());
    let severity = if down { Severity::Critical } else { Severity::Info };
    let what = What::Condition(Condition { name, status, text: text.to_owned() });
    let word = if down { "tunnel-down" } else { "tunnel-up" };
    let line = Line::new(word).text("tunnel", &watch.name).text("message", text);
    let _ = log.write(if down { Level::Error } else { Level::Info }, &line);
    outbox.put(severity, what);
}

/// Keeps what was told over a restart.
fn remember(memory: &Memory, log: &Log, one: &Watched) {
    let name = &one.watch.name;
    let Some(since) = one.down_since.filter(|_| one.told) else { return memory.forget(name) };
    let told = Told {
        since: Stamp::now().before(since.elapsed()),
        cause: String::new(),
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
        Watched::new(Watch {
            name: "home".into(),
            address: LOOPBACK,
            ports: vec![2222, 2223],
            host_keys: Vec::new(),
            check_every: Duration::from_secs(30),
            alert_after: Duration::from_secs(300),
        })
    }

    #[test]
    fn what_lasts_is_told_once_and_its_end_with_its_length() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut one = watched();
        assert_eq!(one.learn(Seen::Up(2222), at(0)), None);
        assert_eq!(one.learn(Seen::Silent, at(30)), None);
        assert_eq!(one.learn(Seen::Up(2222), at(60)), None, "too short to tell");
        assert_eq!(one.learn(Seen::Silent, at(100)), None);
        assert_eq!(one.learn(Seen::NoListener, at(399)), None);
        let (status, text) = one.learn(Seen::NoListener, at(400)).unwrap();
        assert_eq!((status, text.contains("no session")), (Status::Down, true), "{text}");
        assert_eq!(one.learn(Seen::Silent, at(500)), None);
        let (status, text) = one.learn(Seen::Up(2223), at(700)).unwrap();
        assert_eq!((status, text.as_str()), (Status::Up, "down for 10 min, on port 2223"));
        let (status, _) = one.learn(Seen::WrongHost, at(800)).unwrap();
        assert_eq!(status, Status::Down, "at once");
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
        one.quiet.insert(port, Quiet { inode: 7, since: Instant::now(), asked: 0 });
        assert_eq!(one.look(&table(7)), Seen::Silent);
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "it was touched");
        assert!(!one.is_due(&table(7)) && one.is_due(&table(8)));
        // Another listener: it is asked, and answers.
        let answers = std::thread::spawn(move || {
            listener.set_nonblocking(false).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"SSH-2.0-x\r\n").unwrap();
        });
        assert_eq!(one.look(&table(8)), Seen::Up(port));
        answers.join().unwrap();
        assert_eq!(one.look("head\n"), Seen::NoListener);
    }
}
