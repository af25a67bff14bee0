//! `tunnelwatch run`: a thread for each tunnel, and one that hears what the system has to say.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notifier::daemon::haste::Haste;
use notifier::daemon::lock;
use notifier::daemon::network::Network;
use notifier::exit::Failure;
use notifier::ffi::{take_signals, wait_readable};
use notifier::syslog::{Level, Line, Log, Source};
use notifier::systemd::Systemd;

use crate::config::{Settings, Tunnel};
use crate::external::{self, config::External};
use crate::keep::Keeper;
use crate::on_demand::steward::Steward;
use crate::post::{self, Caller, Word};
use crate::sockets::Files;
use crate::tell::Teller;

/// Longest sleep.
const LONGEST: Duration = Duration::from_secs(20);

/// Silence of a tunnel's thread from which on systemd is not told any more that all is well: it turns
/// twice a minute at least, and takes some seconds to end an ssh.
const HUNG: Duration = Duration::from_secs(90);

/// How long the end of all tunnels may take: longer than that of an ssh that does not hear.
const END: Duration = Duration::from_secs(8);

/// A tunnel of either type.
#[derive(Clone, PartialEq, Eq)]
enum One {
    Ssh(Box<Tunnel>),
    External(External),
}

impl One {
    fn name(&self) -> &str {
        match self {
            Self::Ssh(tunnel) => &tunnel.name,
            Self::External(external) => &external.name,
        }
    }

    /// How long its end may take.
    fn end(&self) -> Duration {
        match self {
            Self::Ssh(_) => END,
            // A start that is cut off, and then its stop.
            Self::External(external) => END + external.timeout,
        }
    }
}

/// All tunnels of the file.
fn all(settings: Settings) -> Vec<One> {
    let tunnels = settings.tunnels.into_iter().map(|tunnel| One::Ssh(Box::new(tunnel)));
    tunnels.chain(settings.externals.into_iter().map(One::External)).collect()
}

/// The file, which has to have something to keep, in a directory where it can be kept.
fn load(config: &Path, run_dir: &Path) -> Result<Settings, String> {
    let settings = Settings::load(config).map_err(|error| error.to_string())?;
    if settings.tunnels.is_empty() && settings.externals.is_empty() {
        return Err(format!("{}: there is no [[tunnel]] to keep", config.display()));
    }
    for tunnel in &settings.tunnels {
        if let Some(why) = Files::new(run_dir, &tunnel.name).too_long() {
            return Err(why);
        }
    }
    Ok(settings)
}

/// A tunnel that is kept.
struct Kept {
    one: One,
    caller: Caller,
    thread: JoinHandle<()>,
    /// Who starts and stops its jump host, where that does not always run.
    steward: Option<(Caller, JoinHandle<()>)>,
}

impl Kept {
    fn say(&self, word: fn() -> Word) {
        self.caller.say(word());
        if let Some((steward, _)) = &self.steward {
            steward.say(word());
        }
    }

    /// Whether all its threads have ended.
    fn has_ended(&self) -> bool {
        self.thread.is_finished()
            && self.steward.as_ref().is_none_or(|(_, thread)| thread.is_finished())
    }

    /// Whether one of them has.
    fn is_dead(&self) -> bool {
        self.thread.is_finished()
            || self.steward.as_ref().is_some_and(|(_, thread)| thread.is_finished())
    }

    fn end(self) {
        self.say(|| Word::Stop);
        let _ = self.thread.join();
        if let Some((_, thread)) = self.steward {
            let _ = thread.join();
        }
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
    let settings = load(config, &run_dir).map_err(Failure::config)?;
    let failed = |what: String| move |error: io::Error| Failure::io(&what, &error);
    fs::create_dir_all(&run_dir).map_err(failed(format!("create {}", run_dir.display())))?;
    let lock = lock::take(&run_dir, "tunnelwatch run")?;
    let log = Log::new(&settings.host.syslog, "tunnelwatch", Source::Daemon);
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];
    let mut signals = take_signals(&signals).map_err(failed("take over the signals".into()))?;
    // Where the kernel does not say what changes, the next look does.
    let network = Network::watch().ok();
    let own = std::env::current_exe().map_err(failed("find this program".into()))?;
    let teller = Arc::new(Teller::new(settings.host.clone(), run_dir.clone(), log.clone()));
    let (bell, mut falls) = UnixStream::pair().map_err(failed("make a bell".into()))?;
    for end in [&bell, &falls] {
        end.set_nonblocking(true).map_err(failed("make a bell".into()))?;
    }
    teller.ring(bell);
    let mut run =
        Run { config: config.to_owned(), run_dir, own, teller, kept: BTreeMap::new(), _lock: lock };
    let tunnels = all(settings);
    let _ = log.write(Level::Info, &Line::new("started").word("tunnels", tunnels.len()));
    run.employ(tunnels);
    let mut systemd = Systemd::from_environment();
    let (mut ready, mut haste, begun) = (false, Haste::default(), Instant::now());
    let now_ms = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    loop {
        if !ready && run.teller.has_proved() {
            systemd.say_ready();
            ready = true;
        }
        run.replace_the_dead();
        let alive = if run.teller.silence() < HUNG { systemd.say_alive() } else { None };
        let most = alive.unwrap_or(LONGEST).min(LONGEST);
        let most = if ready { most } else { Duration::from_millis(200) };
        let due = haste.due_ms().map(|due| Duration::from_millis(due.saturating_sub(now_ms())));
        let most = due.map_or(most, |due| due.min(most));
        let mut fds = vec![signals.as_fd(), falls.as_fd()];
        fds.extend(network.as_ref().map(AsFd::as_fd));
        wait_readable(&fds, most).map_err(failed("wait for something to do".into()))?;
        let mut rings = [0; 64];
        if matches!(falls.read(&mut rings), Ok(read) if read > 0) {
            run.kept.values().for_each(|kept| kept.say(|| Word::Doubt));
        }
        if network.as_ref().is_some_and(Network::drain) {
            haste.changed(now_ms());
        }
        if haste.heeds(now_ms()) {
            run.try_now(|| Word::Network, "the network has changed");
        }
        let mut record = [0; 128];
        while matches!(signals.read(&mut record), Ok(read) if read == record.len()) {
            match libc::c_int::from(record[0]) {
                libc::SIGHUP => run.reload(),
                libc::SIGUSR1 => run.try_now(|| Word::Kick, "SIGUSR1"),
                _ => {
                    run.end();
                    return Ok(());
                }
            }
        }
    }
}

impl Run {
    /// Keeps just these tunnels from now on; one that is kept as it is goes on.
    fn employ(&mut self, tunnels: Vec<One>) {
        self.teller.employs(tunnels.len());
        let gone: Vec<String> = self
            .kept
            .values()
            .filter(|kept| !tunnels.contains(&kept.one))
            .map(|kept| kept.one.name().to_owned())
            .collect();
        for kept in gone.iter().filter_map(|name| self.kept.get(name)) {
            kept.say(|| Word::Stop);
        }
        for name in &gone {
            if let Some(kept) = self.kept.remove(name) {
                kept.end();
            }
            self.teller.forget(name);
        }
        let names: Vec<String> = tunnels.iter().map(|one| one.name().to_owned()).collect();
        for one in tunnels {
            if self.kept.contains_key(one.name()) {
                continue;
            }
            let name = one.name().to_owned();
            match self.keep(one) {
                Ok(kept) => {
                    self.kept.insert(name, kept);
                }
                Err(error) => {
                    let line = Line::new("not-kept").text("tunnel", &name);
                    self.teller.log(Level::Error, &line.text("message", &error.to_string()));
                }
            }
        }
        // What was told of tunnels that are kept no more has nobody else to tell its end.
        self.teller.end_all_but(&names);
        let served = self.kept.values().filter(|kept| kept.steward.is_some());
        let served: Vec<String> = served.map(|kept| kept.one.name().to_owned()).collect();
        self.teller.left_behind(&served);
    }

    fn keep(&self, one: One) -> io::Result<Kept> {
        let (caller, post) = post::pair()?;
        let files = Files::new(&self.run_dir, one.name());
        let teller = Arc::clone(&self.teller);
        let steward = match &one {
            One::Ssh(tunnel) => self.serve(tunnel, &caller)?,
            One::External(_) => None,
        };
        let work: Box<dyn FnOnce() + Send> = match one.clone() {
            One::Ssh(tunnel) => {
                let keeper = Keeper { tunnel: *tunnel, files, own: self.own.clone(), teller, post };
                Box::new(|| keeper.keep())
            }
            One::External(external) => {
                let keeper = external::Keeper { external, keys: files.target_keys, teller, post };
                Box::new(|| keeper.keep())
            }
        };
        let thread = thread::Builder::new().name(one.name().to_owned()).spawn(work)?;
        Ok(Kept { one, caller, thread, steward })
    }

    /// The thread that starts and stops the jump host of a tunnel, where that does not always run.
    fn serve(
        &self,
        tunnel: &Tunnel,
        keeper: &Caller,
    ) -> io::Result<Option<(Caller, JoinHandle<()>)>> {
        let Some(rules) = tunnel.on_demand.clone() else { return Ok(None) };
        let (caller, post) = post::pair()?;
        let steward = Steward {
            tunnel: tunnel.clone(),
            rules,
            config: self.config.clone(),
            run_dir: self.run_dir.clone(),
            own: self.own.clone(),
            teller: Arc::clone(&self.teller),
            keeper: keeper.try_clone()?,
            post,
        };
        let name = format!("{} jump", tunnel.name);
        let thread = thread::Builder::new().name(name).spawn(|| steward.serve())?;
        Ok(Some((caller, thread)))
    }

    /// Keeps a tunnel anew whose thread has ended without being told to: by a fault of ours.
    fn replace_the_dead(&mut self) {
        let dead = self.kept.values().filter(|kept| kept.is_dead());
        let dead: Vec<One> = dead.map(|kept| kept.one.clone()).collect();
        for one in dead {
            let line = Line::new("keeper-died").text("tunnel", one.name());
            self.teller.log(Level::Alert, &line.text("effect", "it is kept anew"));
            if let Some(kept) = self.kept.remove(one.name()) {
                kept.end();
            }
            if let Ok(kept) = self.keep(one) {
                self.kept.insert(kept.one.name().to_owned(), kept);
            }
        }
    }

    /// Has each tunnel tried by a word.
    fn try_now(&self, word: fn() -> Word, why: &str) {
        self.teller.log(Level::Info, &Line::new("try-now").text("reason", why));
        self.kept.values().for_each(|kept| kept.say(word));
    }

    /// Takes over the file as it is now; a broken one changes nothing.
    fn reload(&mut self) {
        let file = self.config.display().to_string();
        match load(&self.config, &self.run_dir) {
            Ok(settings) => {
                self.teller.log(Level::Info, &Line::new("config-reloaded").text("file", &file));
                self.employ(all(settings));
                self.try_now(|| Word::Kick, "the configuration was read again");
            }
            Err(error) => {
                let line = Line::new("config-kept").text("message", &error);
                let effect = "the old configuration stays in force";
                self.teller.log(Level::Error, &line.text("effect", effect));
            }
        }
    }

    fn end(&mut self) {
        self.kept.values().for_each(|kept| kept.say(|| Word::Stop));
        let most = self.kept.values().map(|kept| kept.one.end()).max().unwrap_or(END);
        let until = Instant::now() + most;
        while self.kept.values().any(|kept| !kept.has_ended()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        self.teller.log(Level::Info, &Line::new("stopped"));
        let _ = fs::remove_file(self.run_dir.join(crate::tell::STATE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_tunnel_and_a_directory_too_deep_are_refused() {
        let dir = std::env::temp_dir().join(format!("load-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let config = dir.join("bastion.toml");
        let tunnel = "[[tunnel]]\nname = \"cloud\"\njump = \"t@h\"\nremote-ports = [2222]\n";
        for (text, depth, want) in [
            ("", 10, Some("no [[tunnel]]")),
            (tunnel, 76, None),
            (tunnel, 77, Some("too long for a socket")),
        ] {
            fs::write(&config, text).unwrap();
            let found = load(&config, Path::new(&format!("/{}", "d".repeat(depth - 1)))).err();
            let same = match (&found, want) {
                (Some(found), Some(want)) => found.contains(want),
                (found, want) => found.is_none() && want.is_none(),
            };
            assert!(same, "{depth}: {found:?}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_tunnel_whose_thread_has_died_is_kept_anew() {
        let run_dir = std::env::temp_dir().join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&run_dir).unwrap();
        let text = "[[tunnel]]\nname = \"cloud\"\njump = \"t@127.0.0.1\"\nremote-ports = [2222]\n\
                    ssh = \"/bin/false\"\n";
        let settings = Settings::parse(text).unwrap();
        let one = One::Ssh(Box::new(settings.tunnels[0].clone()));
        let log = Log::new(Path::new("/nonexistent"), "tunnelwatch", Source::Daemon);
        let teller = Arc::new(Teller::new(settings.host, run_dir.clone(), log));
        let mut run = Run {
            config: "/nonexistent".into(),
            own: "/bin/false".into(),
            teller,
            kept: BTreeMap::new(),
            _lock: lock::take(&run_dir, "tunnelwatch run").unwrap(),
            run_dir,
        };
        let (caller, _) = post::pair().unwrap();
        let thread = thread::spawn(|| {});
        while !thread.is_finished() {
            thread::yield_now();
        }
        run.kept.insert("cloud".into(), Kept { one, caller, thread, steward: None });
        run.replace_the_dead();
        assert!(!run.kept["cloud"].thread.is_finished());
        assert!(run.teller.silence() < HUNG);
        run.end();
        fs::remove_dir_all(&run.run_dir).unwrap();
    }
}
