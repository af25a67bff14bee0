//! A login through the tunnel, with a key that is made for it and gone again after it.
//!
//! What the key may do is nothing (`restrict`, a command that says a word), from here alone, for two minutes. It is taken
//! out whatever happens: by the drill, on a signal by [`Cleanup`], and after a power cut by the next drill; `bastion
//! check` names one that is left.

mod alert;
pub mod keys;
mod place;
mod ssh;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alert::{Alerts, Told};
pub use alert::{Rules, rules};
pub use place::{Account, Place};

use super::mark;
use super::plan::Tunnel;
use super::report::{Part, State};
use crate::clock::{Stamp, unix_ms};
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::programs;
use crate::doctor::sshd::{self, Effective};
use crate::ffi;
use crate::known_good::{Facts, Now};
use crate::spool::Spool;
use crate::spool::drop::new_id;

/// Longest time for all logins and what becomes of their alerts.
const MOST: Duration = Duration::from_secs(35);

/// How long the alert of one may take.
const ALERT: Duration = Duration::from_secs(20);

/// What has to be taken away again, also by who is told to end.
#[derive(Debug, Default)]
pub struct Cleanup {
    placed: Mutex<Placed>,
    /// Whether what is in the drill's directory is ours, and not another's who is at work.
    has_room: AtomicBool,
}

#[derive(Debug, Default)]
enum Placed {
    /// There is nothing.
    #[default]
    Nothing,
    /// A key is in a file.
    Key(Box<Line>),
    /// There is nothing, and nothing comes any more.
    Over,
}

/// The line of a key in a file.
#[derive(Debug)]
struct Line {
    own: PathBuf,
    account: Account,
    place: Place,
    /// What was made for it.
    made: Vec<String>,
}

impl Line {
    fn remove(&self) -> Result<String, String> {
        keys::ask(&self.own, &self.account, &self.place, keys::REMOVE, &self.made)
    }
}

impl Cleanup {
    fn placed(&self) -> std::sync::MutexGuard<'_, Placed> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the line into the file, unless it is over.
    fn put(&self, mut line: Line, entry: String) -> Result<(), String> {
        let mut placed = self.placed();
        if matches!(*placed, Placed::Over) {
            return Err("the drill was ended".into());
        }
        let made = keys::ask(&line.own, &line.account, &line.place, keys::ADD, &[entry]);
        // Whatever was said of it, it may be there.
        line.made =
            made.iter().flat_map(|made| made.split_whitespace()).map(str::to_owned).collect();
        *placed = Placed::Key(Box::new(line));
        made.map(|_| ())
    }

    /// Takes it out.
    fn take_out(&self) -> Result<(), String> {
        let mut placed = self.placed();
        let Placed::Key(line) = &*placed else { return Ok(()) };
        line.remove()?;
        *placed = Placed::Nothing;
        Ok(())
    }

    /// Takes it out, for good: the program ends.
    ///
    /// # Errors
    ///
    /// Why it is still there.
    pub fn end(&self) -> Result<(), String> {
        let taken_out = self.take_out();
        *self.placed() = Placed::Over;
        if self.has_room.load(Ordering::Relaxed) {
            clear(Path::new(mark::DIR));
        }
        taken_out
    }
}

/// The place of a drill that is under way: there is one at a time.
#[derive(Debug)]
pub struct Room {
    /// What is of one drill alone.
    dir: PathBuf,
    _lock: File,
}

impl Room {
    /// Enters it. Only root does.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as while another drill is at work.
    pub fn enter(cleanup: &Cleanup) -> Result<Self, String> {
        let root = Path::new(mark::DIR);
        let failed = |error: io::Error| format!("{}: {error}", root.display());
        match DirBuilder::new().mode(0o711).create(root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let meta = fs::symlink_metadata(root).map_err(failed)?;
        if !meta.is_dir() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            return Err(format!("{}: is not root's alone; move it away", root.display()));
        }
        fs::set_permissions(root, Permissions::from_mode(0o711)).map_err(failed)?;
        let lock = lock(root).map_err(failed)?;
        if !ffi::try_lock(&lock).map_err(failed)? {
            return Err("another drill is at work; try again in a minute".into());
        }
        cleanup.has_room.store(true, Ordering::Relaxed);
        // What one that was killed has left.
        clear(root);
        let dir = root.join(format!("key-{}", new_id(unix_ms())));
        DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        Ok(Self { dir, _lock: lock })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_file(Path::new(mark::DIR).join(mark::FILE));
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes the mark, and what drills have of their own.
fn clear(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("key-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let _ = fs::remove_file(root.join(mark::FILE));
}

fn lock(root: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(root.join("lock"))
}

/// Whether a drill is at work.
fn is_under_way() -> bool {
    let lock = File::open(Path::new(mark::DIR).join("lock"));
    lock.is_ok_and(|lock| matches!(ffi::try_lock(&lock), Ok(false)))
}

/// Who the drill logs in as, where his key goes, and what sshd says; or how bad it is that there is none, and why.
fn target(user: &str) -> Result<(Account, Place, String), (State, String, String)> {
    let account = place::account(user, &programs::ask("getent", &["passwd", "--", user]))
        // Somebody wanted a login, and does not get one.
        .map_err(|(why, fix)| (State::Warning, why, fix))?;
    let words = sshd::for_user_from_here(user);
    let answer = programs::ask("sshd", &words.each_ref().map(String::as_str));
    let Some(text) = answer.good() else {
        let why = format!("sshd does not say how it is set up: {}", answer.first_words());
        return Err((State::Failed, why, "sshd -t says what is wrong".into()));
    };
    let place = place::place(&account, &Effective::new(text))
        .map_err(|(why, fix)| (State::Skipped, why, fix))?;
    Ok((account, place, text.to_owned()))
}

/// What `bastion check` says of a key that a drill has left in a user's file.
#[must_use]
pub fn find_leftover(user: &str) -> Option<Finding> {
    if is_under_way() {
        return None;
    }
    let own = std::env::current_exe().ok()?;
    // That nothing can be looked at is the drill's to tell.
    let (account, place, _) = target(user).ok()?;
    let found = keys::ask(&own, &account, &place, keys::FIND, &[]).ok()?;
    let (count, ends) = found.split_once(' ').unwrap_or((&found, "three minutes after that"));
    let count: usize = count.parse().ok()?;
    let text = format!(
        "has a key of a drill that was ended in the middle; it lets nobody in from {ends} on"
    );
    let fix = "bastion drill takes it out; or remove the line with bastion-drill- by hand";
    let file = place.file.display().to_string();
    (count > 0).then(|| Finding::new(Severity::Warning, "drill-key-left", file, text, fix))
}

/// What all logins of a drill have in common.
pub struct Login<'a> {
    /// This program.
    pub own: &'a Path,
    /// Where the alerts go.
    pub spool: &'a Path,
    /// `[host] state`.
    pub state: &'a Path,
    /// Whether a channel is to tell of logins.
    pub has_channel: bool,
    /// Who is known good.
    pub rules: &'a Rules,
    /// When those were written, in seconds since 1970.
    pub written_s: i64,
    /// What takes the key out when the drill is ended.
    pub cleanup: &'a Cleanup,
}

impl Login<'_> {
    /// Logs in through each of the tunnels, and takes the key out again.
    #[must_use]
    pub fn through(
        &self,
        tunnels: &[Tunnel],
        user: Option<&str>,
        room: Result<&Room, &str>,
    ) -> Vec<Part> {
        let (ssh, external): (Vec<&Tunnel>, Vec<&Tunnel>) =
            tunnels.iter().partition(|tunnel| !tunnel.external);
        let name = |tunnel: &Tunnel| format!("login {}", tunnel.name);
        let mut parts: Vec<Part> = external
            .into_iter()
            .map(|tunnel| {
                Part::skipped(
                    name(tunnel),
                    "another program's VPN: from here there is no way back in",
                    "",
                )
            })
            .collect();
        let all = |state, text: &str, fix: &str| {
            ssh.iter().map(|tunnel| Part::new(name(tunnel), state, text, fix)).collect::<Vec<_>>()
        };
        if ssh.is_empty() {
            return parts;
        }
        parts.extend(match (user, room) {
            (_, Err(why)) => all(State::Skipped, why, ""),
            (None, Ok(_)) => all(
                State::Skipped,
                "nobody is named to log in as",
                "in bastion.toml: [drill] user = a user who logs in here by a key",
            ),
            (Some(user), Ok(room)) => match self.prepare(user, room) {
                Err((state, text, fix)) => all(state, &text, &fix),
                Ok(ready) => self.all(&ssh, &ready),
            },
        });
        parts
    }

    /// What a login needs beside its line in the file.
    ///
    /// # Errors
    ///
    /// Why there is none: how bad that is, text and remedy.
    fn prepare(&self, user: &str, room: &Room) -> Result<Ready, (State, String, String)> {
        let begun = Instant::now();
        let skipped = |(why, fix)| (State::Skipped, why, fix);
        let failed = |why: String| match why.rsplit_once("; ") {
            Some((text, fix)) => (State::Failed, text.to_owned(), fix.to_owned()),
            None => (State::Failed, why, "df -h /run; bastion check".to_owned()),
        };
        let (account, place, sshd) = target(user)?;
        let ask = |word| keys::ask(self.own, &account, &place, word, &[]);
        let no_place =
            |why| skipped((why, "in [drill]: a user whose file of keys is his own".into()));
        let left = ask(keys::FIND).map_err(no_place)? != "0";
        if left {
            ask(keys::REMOVE).map_err(failed)?;
        }
        let key = ssh::make_key(&room.dir).map_err(failed)?;
        let known = room.dir.join("known_hosts");
        ssh::write_own_keys(&Effective::new(&sshd), &known).map_err(failed)?;
        let keeper = ssh::keeper().ok_or_else(|| {
            failed("tunnelwatch does not run; systemctl status tunnelwatch".into())
        })?;
        let io = |error| failed(format!("{}: {error}", room.dir.display()));
        ssh::hand_over(&room.dir, keeper).map_err(io)?;
        write_mark(&key.fingerprint).map_err(io)?;
        Ok(Ready { begun, account, place, key, known, keeper, left })
    }

    fn all(&self, tunnels: &[&Tunnel], ready: &Ready) -> Vec<Part> {
        let until = ready.begun + MOST;
        let mut alerts = Alerts::new(Spool::new(self.spool), self.state, &ready.key.fingerprint);
        let one = |tunnel: &&Tunnel| {
            let begun = Instant::now();
            let name = format!("login {}", tunnel.name);
            let part = if begun >= until {
                Part::new(
                    &name,
                    State::Warning,
                    "there was no time left for it",
                    "bastion drill once more",
                )
            } else {
                self.one(&name, tunnel, ready, &mut alerts, until)
            };
            part.taking(begun.elapsed())
        };
        let mut parts: Vec<Part> = tunnels.iter().map(one).collect();
        if let Some(part) = parts.first_mut().filter(|_| ready.left) {
            part.text += "; a key that an earlier drill had left was taken out";
        }
        parts
    }

    fn one(
        &self,
        name: &str,
        tunnel: &Tunnel,
        ready: &Ready,
        alerts: &mut Alerts,
        until: Instant,
    ) -> Part {
        // Only this host has an address of this host.
        if UdpSocket::bind((tunnel.target.ip(), 0)).is_err() {
            let text = format!(
                "the tunnel ends at {}, on another host: nobody there knows the key",
                tunnel.target
            );
            return Part::skipped(name, text, "");
        }
        let failed = |text: &str, fix: &str| Part::new(name, State::Failed, text, fix);
        let word = format!("{}{}", keys::WORD, new_id(unix_ms()));
        let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
        let utc = place::knows_utc(programs::ask("ssh", &["-V"]).first_words());
        let Some(expiry) = place::expiry_time(place::end(now_s), utc) else {
            return failed("the time cannot be told", "date; timedatectl");
        };
        let entry = place::entry(&word, &ready.key.public, &expiry, tunnel.target.ip());
        let line = Line {
            own: self.own.to_owned(),
            account: ready.account.clone(),
            place: ready.place.clone(),
            made: Vec::new(),
        };
        let file = ready.place.file.display();
        if let Err(why) = self.cleanup.put(line, entry) {
            let _ = self.cleanup.take_out();
            let fix = place::mend(&ready.place.file, &why);
            return failed(&format!("{file} cannot be changed: {why}"), &fix);
        }
        let user = &ready.account.name;
        let begun = Instant::now();
        let went = ssh::log_in(&tunnel.name, user, &ready.key, &ready.known, &word, ready.keeper);
        let removed = self.cleanup.take_out();
        if let Err((text, fix)) = went {
            return failed(&text, &fix);
        }
        if let Err(why) = removed {
            let text = format!(
                "the key could not be taken out of {file} again: {why}; it lets nobody in from {expiry} on"
            );
            return failed(&text, &format!("remove the line with {word} from {file}"));
        }
        let good = format!("as {user}, and the sshd at its end is this host's");
        if let Some(rule) = self.known_good(user, tunnel, &ready.key.fingerprint) {
            return Part::ok(
                name,
                format!("{good}; it is known good by rule {rule}, so nobody was told"),
            );
        }
        match alerts.next(until.min(Instant::now() + ALERT)) {
            Told::Sent(channels) if channels.is_empty() && !self.has_channel => Part::new(
                name,
                State::Warning,
                format!("{good}; there is no channel to tell it"),
                "bastion check",
            ),
            Told::Sent(channels) => {
                let took = begun.elapsed().as_secs_f64();
                // A disk that is full keeps no account of it.
                let by = match channels.as_slice() {
                    [] => "by which channel is not known, as that could not be written".to_owned(),
                    channels => format!("by {}", channels.join(", ")),
                };
                Part::ok(name, format!("{good}; told {took:.1} s after it began, {by}"))
            }
            Told::Missing => failed(
                &format!("{good}; but nobody is told of it: there is no alert"),
                "bastion enable; bastion check",
            ),
            Told::Failed(why) => failed(
                &format!("{good}; its alert reached nobody: {why}"),
                "bastion queue --failed",
            ),
            Told::ItsTurn(why) => Part::new(
                name,
                State::Warning,
                format!("{good}; its alert waits for its turn: {why}"),
                "bastion queue",
            ),
            Told::Waits(why) => failed(
                &format!("{good}; its alert still waits: {why}"),
                "bastion queue; bastion check",
            ),
        }
    }

    fn known_good(&self, user: &str, tunnel: &Tunnel, fingerprint: &str) -> Option<String> {
        let at = Stamp::now();
        self.rules.known_good(&Facts {
            user: user.as_bytes(),
            source: Some(tunnel.target.ip()),
            keys: &[fingerprint],
            now: Now {
                unix_s: i64::try_from(at.unix_ms / 1000).unwrap_or(i64::MAX),
                not_before_s: self.written_s,
            },
            boot: at.boot.as_ref(),
        })
    }
}

/// What a drill has when it logs in.
struct Ready {
    begun: Instant,
    account: Account,
    place: Place,
    key: ssh::Key,
    known: PathBuf,
    keeper: (u32, u32),
    /// Whether an earlier drill had left a key.
    left: bool,
}

/// Tells the module which key is the drill's.
fn write_mark(fingerprint: &str) -> io::Result<()> {
    let path = Path::new(mark::DIR).join(mark::FILE);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    writeln!(file, "{fingerprint}")
}
