//! The flow of a session: facts, verdict, record, and nothing that can wait.
//!
//! It sees PAM through a trait and changes nothing in the host process: no signal,
//! umask, directory, environment, thread or child; every descriptor is close-on-exec and
//! closed again on return.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use notifier::chain::record::Record;
use notifier::clock::Stamp;
use notifier::config::{self, Document, Finding, allowances, host::Host, login::Login as Policy};
use notifier::drill::mark;
use notifier::event::{Event, FORMAT, Login, Severity, What};
use notifier::foreign::Foreign;
use notifier::known_good::{self, Facts, Now, Verdict};
use notifier::spool::{Spool, drop as drop_dir};
use notifier::syslog::{Level, Line, Log, Source};

use crate::auth_info;

/// The tag in syslog.
const TAG: &str = "pam_bastion";

/// Most of a PAM variable that is read, in bytes. A certificate for a 16,384-bit RSA key
/// is some 6 KB of base64; a list of several factors fits as well.
const MAX_ENV: usize = 64 * 1024;

/// How often `hold` looks whether the alert has been sent. A `stat` costs 2 µs.
const HOLD_STEP: Duration = Duration::from_millis(5);

/// What PAM knows, each as bytes or not at all.
pub trait Pam {
    /// `PAM_USER`.
    fn user(&self) -> Option<Vec<u8>>;
    /// `PAM_SERVICE`.
    fn service(&self) -> Option<Vec<u8>>;
    /// `PAM_RHOST`.
    fn rhost(&self) -> Option<Vec<u8>>;
    /// A variable of the PAM environment, at most `most` bytes of it.
    fn env(&self, name: &CStr, most: usize) -> Option<Vec<u8>>;
}

/// The arguments in the PAM line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// `config=PATH`.
    pub config: PathBuf,
    /// Arguments that mean nothing.
    pub unknown: Vec<Foreign>,
}

impl Arguments {
    /// Reads the arguments; one that is not known is kept for the log.
    pub fn parse<'a>(args: impl Iterator<Item = &'a OsStr>) -> Self {
        let mut parsed = Self { config: config::DEFAULT_PATH.into(), unknown: Vec::new() };
        for arg in args {
            match arg.as_bytes().strip_prefix(b"config=") {
                Some(path) => parsed.config = Path::new(OsStr::from_bytes(path)).to_owned(),
                None => parsed.unknown.push(Foreign::new(arg.as_bytes())),
            }
        }
        parsed
    }
}

/// An open session, kept in the PAM handle until it ends.
#[derive(Debug)]
pub struct Opened {
    log: Log,
    spool: Spool,
    login: Login,
    since: Instant,
    /// Its record, for who asks whose process this is; and nothing where the machine keeps none.
    record: Option<PathBuf>,
    /// The configuration file: what could not be read at the beginning may be there at the end.
    config: PathBuf,
    /// An alert that could not be put into the spool: the session's end is another chance.
    unsent: RefCell<Option<Event>>,
    /// The record of a known-good login that the log did not take: another chance as well.
    unlogged: RefCell<Option<Line>>,
    /// sshd ends the session of a user with a nologin shell twice.
    closed: Cell<bool>,
}

/// `pam_sm_open_session`: `None` when the service is not one of `[login] services`.
pub fn open(pam: &impl Pam, arguments: &Arguments) -> Option<Opened> {
    let since = Instant::now();
    let mut settings = Settings::load(&arguments.config);
    let service = pam.service().unwrap_or_default();
    if !settings.policy.watches(&service) {
        return None;
    }
    test_hook(pam);
    let log = Log::new(&settings.host.syslog, TAG, Source::Login);
    settings.remark(&log, arguments);
    settings.add_allowances(&log, &arguments.config);

    let (login, doubt) = facts(pam, &service, &settings.policy.keys);
    let spool = Spool::new(&settings.host.spool);
    let mut opened = Opened {
        log,
        spool,
        login,
        since,
        record: None,
        config: arguments.config.clone(),
        unsent: RefCell::new(None),
        unlogged: RefCell::new(None),
        closed: Cell::new(false),
    };
    let at = Stamp::now();
    // Before the alert: whoever hears of the login can look who it is.
    opened.record = opened.publish_record(&settings.host.sessions, &at);
    match doubt.map_or_else(|| verdict(&settings, &opened.login, &at), Verdict::Alert) {
        Verdict::KnownGood(rule) => {
            let line = Line::new("login").word("verdict", "known-good").text("rule", &rule);
            let line = describe(line, &opened.login);
            if opened.log.write(Level::Info, &line).is_err() {
                opened.unlogged = RefCell::new(Some(line));
            }
        }
        Verdict::Alert(reason) => {
            opened.login.reason = reason;
            let event = Event {
                version: FORMAT,
                id: drop_dir::new_id(at.unix_ms),
                at,
                host: settings.host.name,
                severity: Severity::Warning,
                what: What::Login(opened.login.clone()),
            };
            if opened.raise(&opened.spool, &event) {
                opened.hold(&event, settings.policy.hold);
            } else {
                opened.unsent = RefCell::new(Some(event));
            }
        }
    }
    Some(opened)
}

/// `pam_sm_close_session`: logs the end, once, and how long the session was.
pub fn close(opened: &Opened) {
    if opened.closed.replace(true) {
        return;
    }
    // A process that PAM's handle was copied into is not the one that the record names.
    if let Some(path) = opened.record.as_ref().filter(|_| opened.login.pid == std::process::id()) {
        let _ = std::fs::remove_file(path);
    }
    if let Some(event) = opened.unsent.take() {
        let host = Settings::load(&opened.config).host;
        opened.raise(&Spool::new(&host.spool), &event);
    }
    if let Some(line) = opened.unlogged.take() {
        opened.log.say(Level::Info, &line);
    }
    let line = Line::new("logout").word("seconds", opened.since.elapsed().as_secs());
    let line = describe(line, &opened.login);
    opened.log.say(Level::Info, &line);
}

/// Tells the log that the module has panicked. Reads no configuration: that may be what did it.
pub fn report_panic(text: &str) {
    let log = Log::new(&Host::default().syslog, TAG, Source::Login);
    log.say(
        Level::Alert,
        &Line::new("panic").text("message", text).text("effect", "no alert was made for a login"),
    );
}

impl Opened {
    /// Whether the session has not ended.
    pub fn is_open(&self) -> bool {
        !self.closed.get()
    }

    /// Leaves the record of this session, and answers where. Where there is no directory for it, nobody asks.
    fn publish_record(&self, dir: &Path, at: &Stamp) -> Option<PathBuf> {
        let record = Record::of(&self.login, at.clone())?;
        match record.publish(dir) {
            Ok(()) => return Some(record.path(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let line = Line::new("no-record").text("directory", &dir.to_string_lossy());
                let line = line.text("message", &error.to_string());
                self.log.say(
                    Level::Warning,
                    &line.text("effect", "hosts behind this one cannot say whose login it is"),
                );
            }
        }
        None
    }

    /// Puts the alert into the spool and its record into the log, and answers whether the
    /// spool took it. Where it did not, the record is all there is, at the highest level.
    fn raise(&self, spool: &Spool, event: &Event) -> bool {
        let line = Line::new("login").word("verdict", "alert").word("alert", event.id);
        let published = drop_dir::publish(spool, event, drop_dir::Sync::BySender);
        let (level, line) = match &published {
            Ok(_) => (Level::Notice, line),
            Err(error) => (Level::Alert, line.text("not-spooled", &error.to_string())),
        };
        let line = describe(line, &self.login).text("reason", &self.login.reason);
        self.log.say(level, &line);
        published.is_ok()
    }

    /// Waits until the sender has an answer for this alert, at most `hold`.
    fn hold(&self, event: &Event, hold: Duration) {
        if hold.is_zero() {
            return;
        }
        let name = notifier::spool::file_name(event);
        let ends = [self.spool.sent().join(&name), self.spool.failed().join(&name)];
        let begun = Instant::now();
        // Of the file itself: a link that a sender taken over had put there is not followed.
        let ended = || ends.iter().any(|end| std::fs::symlink_metadata(end).is_ok());
        while begun.elapsed() < hold && !ended() {
            std::thread::sleep(HOLD_STEP.min(hold));
        }
    }
}

/// The parts of the configuration that a login needs, and what was wrong with them.
struct Settings {
    host: Host,
    policy: Policy,
    /// When the rules were written, in seconds since 1970.
    written_s: i64,
    /// Whether the file could be read and understood. Else nobody is known good, by an allowance
    /// either.
    sound: bool,
    problem: Option<String>,
}

impl Settings {
    /// Reads the file; whatever is wrong with it, the defaults stand in, by which every
    /// login over sshd is told.
    fn load(path: &Path) -> Self {
        let source = match config::read_file(path) {
            Ok(source) => source,
            Err(error) => {
                let (host, policy) = (Host::default(), Policy::unreadable());
                let problem = Some(error.to_string());
                return Self { host, policy, written_s: 0, sound: false, problem };
            }
        };
        let mut document = Document::parse(&source.text);
        let host = config::host::read(&mut document);
        let policy = config::login::read(&mut document);
        // The sections of other programs are for `bastion check` to judge, not for a login.
        let problem = in_short(&document.findings_so_far());
        let (written_s, sound) = (unix_seconds(source.modified), !document.is_broken());
        Self { host, policy, written_s, sound, problem }
    }

    /// Adds what `bastion allow` has granted, behind the rules of the configuration. Costs one file
    /// that is opened and read.
    fn add_allowances(&mut self, log: &Log, config: &Path) {
        if !self.sound {
            return;
        }
        let problem = match allowances::load(config) {
            Ok(read) => {
                let rules = read.list.into_iter().map(|allowance| allowance.rule);
                self.policy.known_good.rules.extend(rules);
                in_short(&read.findings)
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            tell_problem(log, &allowances::path(config), &problem);
        }
    }

    fn remark(&self, log: &Log, arguments: &Arguments) {
        if let Some(problem) = &self.problem {
            tell_problem(log, &arguments.config, problem);
        }
        for unknown in &arguments.unknown {
            let line = Line::new("config-problem").foreign("argument", unknown);
            log.say(
                Level::Warning,
                &line.text("message", "the PAM line takes config=PATH and nothing else"),
            );
        }
    }
}

/// The first of the findings, and how many more there are.
fn in_short(findings: &[Finding]) -> Option<String> {
    findings.first().map(|first| match findings.len() {
        1 => first.to_string(),
        n => format!("{first} (and {} more; see: bastion check)", n.saturating_sub(1)),
    })
}

fn tell_problem(log: &Log, file: &Path, problem: &str) {
    let line = Line::new("config-problem").text("file", &file.to_string_lossy());
    let line = line.text("message", problem);
    log.say(
        Level::Warning,
        &line.text("effect", "what was not understood is left out, so more is told"),
    );
}

fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or(0)
}

fn verdict(settings: &Settings, login: &Login, at: &Stamp) -> Verdict {
    let keys: Vec<&str> =
        login.auth.iter().filter_map(|f| f.key.as_ref()).map(|k| k.fingerprint.as_str()).collect();
    let unix_s = i64::try_from(at.unix_ms / 1000).unwrap_or(i64::MAX);
    settings.policy.known_good.verdict(&Facts {
        user: login.user.as_bytes(),
        source: login.source,
        keys: &keys,
        now: Now { unix_s, not_before_s: settings.written_s },
        boot: at.boot.as_ref(),
    })
}

/// The facts of the login, and why they cannot be trusted, if they cannot.
///
/// The source is the first word of `SSH_CONNECTION`, which sshd puts into the PAM
/// environment, and `PAM_RHOST` where that is missing. `PAM_RHOST` may be a host name that the
/// client's own name server gave (UseDNS), so only an address counts. The PAM environment,
/// in turn, may have been changed by the user: `pam_env.so user_readenv=1`, which
/// Debian 12 has in /etc/pam.d/sshd, reads `~/.pam_environment`. `PAM_RHOST` cannot be changed
/// that way; where the two are different addresses, nothing about this login is known good.
fn facts(
    pam: &impl Pam,
    service: &[u8],
    names: &BTreeMap<String, Foreign>,
) -> (Login, Option<String>) {
    let user = Foreign::new(&pam.user().unwrap_or_default());
    let connection = pam.env(c"SSH_CONNECTION", MAX_ENV);
    let client = connection.as_deref().map(first_word);
    let rhost = pam.rhost();
    let by_connection = client.and_then(address);
    let by_rhost = rhost.as_deref().and_then(address);
    let doubt = match (by_connection, by_rhost) {
        (Some(a), Some(b)) if a != b => Some(format!(
            "SSH_CONNECTION says {a}, sshd says {b}: has ~/.pam_environment changed it?"
        )),
        _ => None,
    };
    let source = if doubt.is_some() { by_rhost } else { by_connection.or(by_rhost) };
    // The other words go with the first, and are believed as far.
    let whole =
        connection.as_deref().filter(|_| by_connection.is_some() && by_connection == source);
    let port = whole.and_then(|words| port(words, 1));
    let server = whole.and_then(server);
    let no_address =
        || rhost.as_deref().or(client).filter(|name| !name.is_empty()).map(Foreign::new);
    let mut auth = pam
        .env(c"SSH_AUTH_INFO_0", MAX_ENV)
        .map(|info| auth_info::parse(&info))
        .unwrap_or_default();
    for key in auth.iter_mut().filter_map(|factor| factor.key.as_mut()) {
        key.name = names.get(&key.fingerprint).cloned();
        if mark::is_of_drill(&key.fingerprint) {
            key.name = Some(Foreign::from(mark::NAME));
        }
    }
    let login = Login {
        user,
        service: Foreign::new(service),
        source,
        source_name: if source.is_none() { no_address() } else { None },
        port,
        server,
        auth,
        reason: String::new(),
        pid: std::process::id(),
    };
    (login, doubt)
}

fn first_word(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b' ').next().unwrap_or_default()
}

/// The word of `SSH_CONNECTION` at this place, as a port.
fn port(connection: &[u8], at: usize) -> Option<u16> {
    let word = connection.split(|byte| *byte == b' ').nth(at)?;
    std::str::from_utf8(word).ok()?.parse().ok().filter(|port| *port != 0)
}

/// Its third and fourth word, which are sshd's own.
fn server(connection: &[u8]) -> Option<SocketAddr> {
    let ip = address(connection.split(|byte| *byte == b' ').nth(2)?)?;
    Some(SocketAddr::new(ip, port(connection, 3)?))
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    known_good::parse_address(std::str::from_utf8(bytes).ok()?)
}

/// Adds a login's facts to its record, behind what is ours: a long name is cut off at the end of
/// the line and takes nothing else along.
fn describe(line: Line, login: &Login) -> Line {
    let mut line = line.foreign("user", &login.user).foreign("service", &login.service);
    line = match (&login.source, &login.source_name) {
        (Some(ip), _) => line.word("from", ip),
        (None, Some(name)) => line.word("from", "unknown").foreign("rhost", name),
        (None, None) => line.word("from", "unknown"),
    };
    if login.via_tunnel() {
        line = line.word("via", "tunnel");
    }
    for factor in &login.auth {
        line = line.foreign("auth", &factor.method);
        let Some(key) = &factor.key else { continue };
        line = line.word("key", &key.fingerprint);
        if let Some(name) = &key.name {
            line = line.foreign("key-name", name);
        }
        if let Some(certificate) = &key.certificate {
            line = line
                .foreign("cert", &certificate.key_id)
                .word("serial", certificate.serial)
                .word("ca", &certificate.ca);
        }
    }
    if login.auth.is_empty() { line.word("auth", "unknown") } else { line }
}

/// Lets a test see what a panic in the middle of the flow does; not in a release build.
fn test_hook(pam: &impl Pam) {
    #[cfg(debug_assertions)]
    #[expect(clippy::panic, reason = "it is there to panic")]
    if pam.env(c"BASTION_TEST_PANIC", 1).is_some() {
        panic!("asked to by BASTION_TEST_PANIC");
    }
    let _ = pam;
}

#[cfg(test)]
mod tests;
