//! `tunnelwatch run`: a thread for each tunnel, and one that hears what the system has to say.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notifier::exit::Failure;
use notifier::ffi::{take_signals, try_lock, wait_readable};
use notifier::syslog::{Level, Line, Log, Source};
use notifier::systemd::Systemd;

use crate::config::{Settings, Tunnel};
use crate::ffi::watch_network;
use crate::keep::{Keeper, Word};
use crate::ssh::Files;
use crate::tell::Teller;

/// Changes of the network come in bursts, and the first of them is seldom the one that helps.
const SETTLE: Duration = Duration::from_millis(300);

/// Longest sleep.
const LONGEST: Duration = Duration::from_secs(20);

/// How long the end of all tunnels may take: longer than that of an ssh that does not hear.
const END: Duration = Duration::from_secs(8);

/// A tunnel that is kept.
struct Kept {
    tunnel: Tunnel,
    words: Sender<Word>,
    bell: UnixStream,
    thread: JoinHandle<()>,
}

impl Kept {
    fn say(&self, word: Word) {
        let _ = self.words.send(word);
        let _ = (&self.bell).write(&[1]);
    }
}

/// `tunnelwatch run` at work.
struct Run {
    config: PathBuf,
    run_dir: PathBuf,
    own: PathBuf,
    teller: Arc<Teller>,
    kept: BTreeMap<String, Kept>,
    _lock: File,
}

/// Keeps the tunnels of the file until it is told to stop.
///
/// # Errors
///
/// What keeps it from starting, in words.
pub fn run(config: &Path, run_dir: PathBuf) -> Result<(), Failure> {
    let settings = Settings::load(config).map_err(Failure::config)?;
    if settings.tunnels.is_empty() {
        let file = config.display();
        return Err(Failure::config(format!("{file}: there is no [[tunnel]] to keep")));
    }
    let failed = |what: String| move |error: io::Error| Failure::io(&what, &error);
    fs::create_dir_all(&run_dir).map_err(failed(format!("create {}", run_dir.display())))?;
    let lock = lock(&run_dir)?;
    let log = Log::new(&settings.host.syslog, "tunnelwatch", Source::Daemon);
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];
    let mut signals = take_signals(&signals).map_err(failed("take over the signals".into()))?;
    // Where the kernel does not say what changes, the next look does.
    let network = watch_network().map(File::from).ok();
    let own = std::env::current_exe().map_err(failed("find this program".into()))?;
    let teller = Arc::new(Teller::new(settings.host.clone(), run_dir.clone(), log.clone()));
    let mut run =
        Run { config: config.to_owned(), run_dir, own, teller, kept: BTreeMap::new(), _lock: lock };
    let started = Line::new("started").word("tunnels", settings.tunnels.len());
    let _ = log.write(Level::Info, &started);
    run.employ(settings.tunnels);
    let mut systemd = Systemd::from_environment();
    let (mut ready, mut changed): (bool, Option<Instant>) = (false, None);
    loop {
        if !ready && run.teller.has_proved() {
            systemd.say_ready();
            ready = true;
        }
        let most = systemd.say_alive().unwrap_or(LONGEST).min(LONGEST);
        let settling = changed.map(|at| SETTLE.saturating_sub(at.elapsed()));
        let most =
            settling.unwrap_or(most).min(if ready { most } else { Duration::from_millis(200) });
        let mut fds = vec![signals.as_fd()];
        fds.extend(network.as_ref().map(AsFd::as_fd));
        wait_readable(&fds, most).map_err(failed("wait for something to do".into()))?;
        if network.as_ref().is_some_and(drain) {
            changed.get_or_insert_with(Instant::now);
        }
        if changed.is_some_and(|at| at.elapsed() >= SETTLE) {
            changed = None;
            run.kick("the network has changed");
        }
        let mut record = [0; 128];
        while matches!(signals.read(&mut record), Ok(read) if read == record.len()) {
            match libc::c_int::from(record[0]) {
                libc::SIGHUP => run.reload(),
                libc::SIGUSR1 => run.kick("SIGUSR1"),
                _ => {
                    run.end();
                    return Ok(());
                }
            }
        }
    }
}

/// Takes the lock of the run directory, so that there is one of us.
fn lock(run_dir: &Path) -> Result<File, Failure> {
    let path = run_dir.join("lock");
    let what = format!("lock {}", path.display());
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| Failure::io(&what, &error))?;
    match try_lock(&file) {
        Ok(true) => {}
        Ok(false) => {
            let dir = run_dir.display();
            return Err(Failure::later(format!("another tunnelwatch run works in {dir}")));
        }
        Err(error) => return Err(Failure::io(&what, &error)),
    }
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Reads what there is and answers whether there was something.
fn drain(mut network: &File) -> bool {
    let mut bytes = [0; 4096];
    let mut some = false;
    loop {
        match network.read(&mut bytes) {
            Ok(read) if read > 0 => some = true,
            // More has changed than the kernel could keep (netlink(7), ENOBUFS).
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => some = true,
            _ => return some,
        }
    }
}

impl Run {
    /// Keeps just these tunnels from now on; one that is kept as it is goes on.
    fn employ(&mut self, tunnels: Vec<Tunnel>) {
        let gone: Vec<String> = self
            .kept
            .values()
            .filter(|kept| !tunnels.contains(&kept.tunnel))
            .map(|kept| kept.tunnel.name.clone())
            .collect();
        for kept in gone.iter().filter_map(|name| self.kept.get(name)) {
            kept.say(Word::Stop);
        }
        for name in &gone {
            if let Some(kept) = self.kept.remove(name) {
                let _ = kept.thread.join();
            }
            self.teller.forget(name);
        }
        for tunnel in tunnels {
            if self.kept.contains_key(&tunnel.name) {
                continue;
            }
            let name = tunnel.name.clone();
            match self.keep(tunnel) {
                Ok(kept) => {
                    self.kept.insert(name, kept);
                }
                Err(error) => {
                    let line = Line::new("not-kept").text("tunnel", &name);
                    self.teller.log(Level::Error, &line.text("message", &error.to_string()));
                }
            }
        }
    }

    fn keep(&self, tunnel: Tunnel) -> io::Result<Kept> {
        let (sender, words) = mpsc::channel();
        let (bell, hears) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let keeper = Keeper {
            files: Files::new(&self.run_dir, &tunnel.name),
            own: self.own.clone(),
            teller: Arc::clone(&self.teller),
            words,
            to_self: (sender.clone(), bell.try_clone()?),
            bell: hears,
            tunnel: tunnel.clone(),
        };
        let thread = thread::Builder::new().name(tunnel.name.clone()).spawn(|| keeper.keep())?;
        Ok(Kept { tunnel, words: sender, bell, thread })
    }

    fn kick(&self, why: &str) {
        self.teller.log(Level::Info, &Line::new("try-now").text("reason", why));
        self.kept.values().for_each(|kept| kept.say(Word::Kick));
    }

    /// Takes over the file as it is now; a broken one changes nothing.
    fn reload(&mut self) {
        let file = self.config.display().to_string();
        match Settings::load(&self.config) {
            Ok(settings) => {
                self.teller.log(Level::Info, &Line::new("config-reloaded").text("file", &file));
                self.employ(settings.tunnels);
                self.kick("the configuration was read again");
            }
            Err(error) => {
                let line = Line::new("config-kept").text("message", &error.to_string());
                let effect = "the old configuration stays in force";
                self.teller.log(Level::Error, &line.text("effect", effect));
            }
        }
    }

    fn end(&mut self) {
        self.kept.values().for_each(|kept| kept.say(Word::Stop));
        let until = Instant::now() + END;
        while self.kept.values().any(|kept| !kept.thread.is_finished()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        self.teller.log(Level::Info, &Line::new("stopped"));
        let _ = fs::remove_file(self.run_dir.join(crate::tell::STATE));
    }
}
