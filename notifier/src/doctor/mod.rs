//! The doctor of the whole host, `bastion check`: what would keep an alert from getting out, or leaves the door
//! open, each with what to do.
//!
//! A subject is a file, and in it a pure judge of what programs and files say. Looking is here, and thin: all
//! programs are asked at once, none for long, and nothing on the host is changed and nothing sent.

pub mod channels;
pub mod clock;
pub mod file;
pub mod finding;
pub mod logs;
pub mod modes;
pub mod pam;
pub mod ports;
pub mod programs;
pub mod sessions;
pub mod spool;
pub mod sshd;
pub mod units;
pub mod updates;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::clock::unix_ms;
use crate::config::{self, Document, host::Host};
use crate::deliver::lock::Lock;
use crate::deliver::version::Version;
use crate::drill::login;
use crate::ffi;
use crate::spool::Spool;
use crate::spool::owner;
use file::Read as ConfigRead;
use finding::{Finding, Severity};
use modes::Kind;
use programs::{Answer, ask};
use sessions::Source;
use units::{Sections, Units};

/// What a host is, by what is configured on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The whole internet sees it, and tunnels end on it (`[[tunnel-watch]]`).
    Jump,
    /// It keeps a tunnel (`[[tunnel]]`).
    Internal,
    /// Neither is configured.
    Other,
}

/// Says that systemd is at work (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// Where journals are, that which outlives a reboot first.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// Where sshd's own records go.
const SYSLOG: &str = "/dev/log";

/// Where syslog daemons write who came in: Debian's, and that of the others.
const AUTH_LOGS: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];

/// Who there is.
const PASSWD: &str = "/etc/passwd";

/// Most that is read of such a file, from its end, in bytes.
const MAX_LOG: u64 = 8 * 1024 * 1024;

/// Most that is read of a file of rsyslog's or apt's, in bytes.
const MAX_SETTINGS: u64 = 256 * 1024;

/// How far back logins are looked at.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// The service that the door is.
const SSHD: &str = "sshd";

/// Whose the tunnels are by the manual. Of him tunnelwatch asks sshd.
const TUNNEL_USER: &str = "tunnel";

/// What the programs of the system say.
struct Answers {
    sshd: Answer,
    sshd_of_root: Answer,
    /// Of each user who may log in, and how many more there are.
    sshd_of_users: (Vec<(String, Answer)>, usize),
    ss: Answer,
    /// A moment later, when the others have answered.
    ss_again: Answer,
    apt: Answer,
    /// `None`: no systemd is at work here.
    units: Option<Answer>,
    clock: Option<Answer>,
    journal: Option<Answer>,
}

/// What is to be known before anybody is asked.
struct Patient<'a> {
    config: &'a Path,
    read: &'a ConfigRead,
    root: bool,
    systemd: bool,
    sections: Sections,
    now_ms: u64,
}

/// Looks at everything on this host.
#[must_use]
pub fn examine(config: &Path, read: &ConfigRead) -> Vec<Finding> {
    let patient = Patient {
        config,
        read,
        root: ffi::geteuid() == 0,
        systemd: Path::new(SYSTEMD).is_dir(),
        sections: sections(config, read),
        now_ms: unix_ms(),
    };
    let (mut findings, module) = patient.look_at_pam();
    let since_ms = patient.guarded_since_ms(module.as_deref());
    let answers = patient.ask(since_ms);
    findings.extend(patient.look_at_sender());
    findings.extend(patient.look_at_modes(module.as_deref()));
    findings.extend(patient.judge(&answers, since_ms));
    findings
}

/// What is configured, whatever is wrong in the file.
fn sections(config: &Path, read: &ConfigRead) -> Sections {
    let source = config::read_file(config).map(|source| source.text).unwrap_or_default();
    let mut document = Document::parse(&source);
    let mut has = |name: &str| !document.tables(name, |_, section| section.leave_rest()).is_empty();
    Sections {
        notify: read.settings.as_ref().is_none_or(|settings| !settings.notify.channels.is_empty()),
        tunnel: has("tunnel"),
        tunnel_watch: has("tunnel-watch"),
        link: has("link"),
    }
}

impl Patient<'_> {
    fn role(&self) -> Role {
        match self.sections {
            Sections { tunnel_watch: true, .. } => Role::Jump,
            Sections { tunnel: true, .. } => Role::Internal,
            _ => Role::Other,
        }
    }

    fn host(&self) -> &Host {
        &self.read.host
    }

    /// Asks all programs at once.
    fn ask(&self, since_ms: Option<u64>) -> Answers {
        let journal = sessions::arguments(since_ms.unwrap_or(self.now_ms));
        let journal: Vec<&str> = journal.iter().map(String::as_str).collect();
        let has_journal = JOURNALS.iter().any(|dir| Path::new(dir).is_dir());
        let asks_journal = self.root && since_ms.is_some() && has_journal;
        let (root, systemd) = (self.root, self.systemd);
        let units = units::arguments();
        // sshd's keys are root's, and who listens is said to root alone.
        let questions: [(bool, &str, &[&str]); 7] = [
            (root, "sshd", &sshd::FOR_ANYBODY),
            (root, "sshd", &sshd::FOR_ROOT),
            (root, "ss", &ports::ARGUMENTS),
            (true, "apt-config", &["dump"]),
            (systemd, "systemctl", &units),
            (systemd, "timedatectl", &clock::ARGUMENTS),
            (asks_journal, "journalctl", &journal),
        ];
        let (users, more) = match root && programs::find("sshd").is_some() {
            true => sshd::users(&fs::read_to_string(PASSWD).unwrap_or_default()),
            false => (Vec::new(), 0),
        };
        let (answers, of_users) = thread::scope(|scope| {
            let of_users: Vec<_> = users
                .into_iter()
                .map(|name| {
                    let words = sshd::for_user(&name);
                    let question = move || ask("sshd", &words.each_ref().map(String::as_str));
                    (name, scope.spawn(question))
                })
                .collect();
            let answers = questions
                .map(|(is_asked, program, arguments)| {
                    scope.spawn(
                        move || if is_asked { ask(program, arguments) } else { Answer::Missing },
                    )
                })
                .map(|thread| {
                    thread.join().unwrap_or_else(|_| Answer::Unheard("the look at it died".into()))
                });
            let of_users: Vec<(String, Answer)> = of_users
                .into_iter()
                .map(|(name, thread)| (name, thread.join().unwrap_or(Answer::Missing)))
                .collect();
            (answers, of_users)
        });
        let [sshd, sshd_of_root, ss, apt, units, clock, journal] = answers;
        let has_answered = ss.good().is_some();
        let ss_again = if has_answered { ask("ss", &ports::ARGUMENTS) } else { Answer::Missing };
        Answers {
            sshd,
            sshd_of_root,
            sshd_of_users: (of_users, more),
            ss,
            ss_again,
            apt,
            units: systemd.then_some(units),
            clock: systemd.then_some(clock),
            journal: asks_journal.then_some(journal),
        }
    }

    fn judge(&self, answers: &Answers, since_ms: Option<u64>) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.root {
            let tunnel_user = matches!(owner::user(TUNNEL_USER), Ok(Some(_)));
            let (anybody, root) = (&answers.sshd, &answers.sshd_of_root);
            findings.extend(sshd::judge(anybody, root, self.role(), tunnel_user));
            findings.extend(sshd::judge_penalties(anybody, self.sections));
            let (users, more) = &answers.sshd_of_users;
            findings.extend(sshd::judge_users(anybody, users, *more, self.role()));
            let ports = match anybody.good() {
                Some(text) => sshd::Effective::new(text).ports(),
                None => vec![22],
            };
            let accepted =
                self.read.settings.as_ref().map(|settings| &settings.check.open_ports[..]);
            let judge = |ss: &Answer| ports::judge(ss, &ports, accepted.unwrap_or_default());
            findings.extend(ports::lasting(judge(&answers.ss), &judge(&answers.ss_again)));
            let settings = self.read.settings.as_ref();
            let user = settings.and_then(|settings| settings.drill.user.as_deref());
            findings.extend(user.and_then(login::find_leftover));
        } else {
            let text = "not run by root, so sshd's settings, who listens, secrets, what waits in the spool and the \
                        logins of the last day are not looked at";
            findings.push(Finding::unknown(
                "not-root",
                "bastion check",
                text,
                "sudo bastion check",
            ));
        }
        match &answers.units {
            Some(answer) => findings.extend(units::judge(answer, self.sections)),
            None => {
                let text = "is not at work here, so it is not known who starts what after a reboot";
                let fix =
                    "see that bastion run is started with the machine, and again when it ends";
                findings.push(Finding::new(Severity::Note, "no-systemd", "systemd", text, fix));
            }
        }
        let units = answers.units.as_ref().and_then(Answer::good).map(Units::parse);
        if let Some(units) = &units {
            findings.extend(units::judge_places(units, self.sections, self.host()));
        }
        findings.extend(updates::judge(
            &answers.apt,
            &updates::Facts {
                has_program: programs::find("unattended-upgrade").is_some(),
                files: apt_settings(),
                reboot_for: age(Path::new("/run/reboot-required")),
                units: units.as_ref(),
            },
        ));
        let facts = logs::Facts {
            rsyslog: programs::find("rsyslogd")
                .map(|_| settings_of("/etc/rsyslog.conf", "/etc/rsyslog.d")),
            upload: settings_of(
                "/etc/systemd/journal-upload.conf",
                "/etc/systemd/journal-upload.conf.d",
            ),
            keeps_journal: self.systemd.then(|| Path::new(JOURNALS[0]).is_dir()),
            units: units.as_ref(),
        };
        findings.extend(logs::judge(&facts, self.role()));
        findings.extend(answers.clock.as_ref().and_then(clock::judge));
        if let (true, Some(since_ms)) = (self.root, since_ms) {
            findings.extend(self.judge_sessions(answers.journal.as_ref(), since_ms));
        }
        findings
    }

    /// PAM's files for each service, and the module that sshd's loads.
    fn look_at_pam(&self) -> (Vec<Finding>, Option<PathBuf>) {
        let (mut findings, mut of_sshd) = (Vec::new(), None);
        let mut services = self.read.services.clone();
        // Whatever the file says: the door is sshd's, and who has the line wants it guarded.
        if !services.iter().any(|service| service == SSHD) && pam::has_line(SSHD) {
            let text = "sshd is not in services, so of the logins over SSH none is told";
            let fix =
                "in [login]: services = [\"sshd\", ..], or leave services out; or: bastion disable";
            let file = self.config.display().to_string();
            findings.push(Finding::new(Severity::Critical, "sshd-not-watched", file, text, fix));
            services.push(SSHD.to_owned());
        }
        for service in &services {
            let (wrong, module) = pam::look(service, self.config, self.root);
            findings.extend(wrong);
            if service == SSHD {
                of_sshd = module;
            }
        }
        (findings, of_sshd)
    }

    /// Since when each login over ssh has to have a record: a day at most. Before the line or the module was put
    /// in place there was nobody to make one.
    fn guarded_since_ms(&self, module: Option<&Path>) -> Option<u64> {
        let ms = |seconds: i64| u64::try_from(seconds).unwrap_or_default().saturating_add(1) * 1000;
        let line = fs::metadata(Path::new(pam::PAM_D).join(SSHD)).ok()?;
        // A package brings the times of its build along, so of the module it is that of its inode that counts.
        let module = fs::metadata(module?).ok()?;
        let day_ago = self.now_ms.saturating_sub(u64::try_from(A_DAY.as_millis()).ok()?);
        let put_there = [line.mtime(), module.ctime()].map(ms);
        Some(guarded_since(put_there, day_ago, self.now_ms))
    }

    fn judge_sessions(&self, journal: Option<&Answer>, since_ms: u64) -> Option<Finding> {
        let (own, syslog) = (&self.host().syslog, Path::new(SYSLOG));
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if real(own) != real(syslog) {
            let text = format!(
                "[host] syslog is {}, so logins are not compared with their records, which are elsewhere",
                own.display()
            );
            let fix = "leave syslog out of [host], or compare them there";
            return Some(Finding::new(Severity::Note, "sessions-elsewhere", "sessions", text, fix));
        }
        if let Some(unheard) =
            journal.and_then(|answer| answer.unheard("sessions-unheard", "journalctl"))
        {
            return Some(unheard);
        }
        let of_journal = match journal {
            // It ends with 1 when nothing is to be found.
            Some(Answer::Said { out, err, .. }) if err.trim().is_empty() => {
                Some(sessions::of_journal(out))
            }
            _ => None,
        };
        let files: Vec<String> =
            AUTH_LOGS.iter().filter_map(|path| tail(Path::new(path)).ok()).collect();
        match (&of_journal, journal) {
            _ if !files.is_empty() => {}
            (None, None) => {
                let text = "there is neither a journal nor /var/log/auth.log, so whether each login was told \
                            cannot be seen";
                let fix = "apt install rsyslog";
                return Some(Finding::new(
                    Severity::Note,
                    "sessions-no-log",
                    "sessions",
                    text,
                    fix,
                ));
            }
            (None, Some(answer)) => {
                let text = format!("the journal cannot be read: {}", answer.first_words());
                let fix = "run it by hand: journalctl -t sshd";
                return Some(Finding::unknown("sessions-unheard", "journalctl", &text, fix));
            }
            _ => {}
        }
        // With rsyslog beside it a journal may be short, as it is where it is kept in memory.
        let of_files = || -> Vec<sessions::Line> {
            files.iter().flat_map(|text| sessions::of_file(text, self.now_ms)).collect()
        };
        match of_journal.filter(|lines| !lines.is_empty()) {
            Some(lines) => sessions::judge(&lines, Source::Journal, since_ms, self.now_ms),
            None => sessions::judge(&of_files(), Source::File, since_ms, self.now_ms),
        }
    }

    fn look_at_sender(&self) -> Vec<Finding> {
        let spool = Spool::new(&self.host().spool);
        let state = &self.host().state;
        let mut findings = spool::look(&spool, state, self.now_ms, self.root);
        if !state.is_dir() {
            let fix = "systemd-tmpfiles --create bastion.conf";
            let subject = state.display().to_string();
            findings.push(Finding::new(
                Severity::Critical,
                "state-missing",
                subject,
                "is missing",
                fix,
            ));
        }
        // What may not be looked at is told where it is.
        let is_held = Lock::is_held(&spool.queue());
        if let (Ok(true), Some(settings)) = (&is_held, &self.read.settings) {
            let running = Version::left(&self.host().run);
            let remedy = running.and_then(|running| settings.version.remedy(running));
            // Without a channel there is worse to tell.
            if let Some(fix) = remedy.filter(|_| self.sections.notify) {
                let text = "runs with an older bastion.toml: what was changed since then in [host], in [notify], or by a \
                            first tunnel, does not count yet";
                let warning = Severity::Warning;
                findings.push(Finding::new(warning, "sender-outdated", "bastion", text, fix));
            }
        }
        if let Ok(false) = is_held {
            let text = "the sender does not run, so no alert gets out";
            let fix =
                "systemctl enable --now bastion; if it ends again: journalctl -u bastion -n 20";
            findings.push(Finding::new(
                Severity::Critical,
                "sender-not-running",
                "bastion",
                text,
                fix,
            ));
        }
        findings
    }

    fn look_at_modes(&self, module: Option<&Path>) -> Vec<Finding> {
        let mut paths: Vec<(PathBuf, Kind)> = Vec::new();
        let mut trusted = |path: &Path| paths.push((path.to_owned(), Kind::Trusted));
        if let Some(dir) = self.config.parent() {
            trusted(dir);
        }
        for path in module.into_iter().flat_map(|module| [Some(module), module.parent()]).flatten()
        {
            trusted(path);
        }
        trusted(Path::new(pam::PAM_D));
        for service in &self.read.services {
            trusted(&Path::new(pam::PAM_D).join(service));
        }
        if let Ok(own) = std::env::current_exe() {
            trusted(&own);
        }
        if self.root {
            // What keeps the file from being understood has been told of.
            let is_told = |path: &Path| {
                let name = format!("{}: ", path.display());
                self.read.mistakes.iter().any(|mistake| mistake.contains(&name))
            };
            let secrets = [config::SECRETS, config::TUNNEL_SECRETS];
            let secrets = secrets.iter().flat_map(|dir| modes::secrets(Path::new(dir)));
            paths.extend(secrets.into_iter().filter(|(path, _)| !is_told(path)));
        }
        let sender =
            fs::metadata(Spool::new(&self.host().spool).queue()).ok().map(|meta| meta.uid());
        let judge =
            |(path, kind): &(PathBuf, Kind)| modes::judge(path, *kind, modes::look(path)?, sender);
        paths.iter().filter_map(judge).collect()
    }
}

/// The latest of these times; one that is to come says nothing, as of a file that a wrong clock has touched.
fn guarded_since(put_there: [u64; 2], day_ago: u64, now_ms: u64) -> u64 {
    let past = put_there.into_iter().filter(|at| *at <= now_ms);
    past.fold(day_ago, u64::max)
}

/// For how long a file has been there.
fn age(path: &Path) -> Option<Duration> {
    let since = fs::metadata(path).ok()?.modified().ok()?;
    Some(SystemTime::now().duration_since(since).unwrap_or_default())
}

/// A file of settings, as far as it can be read.
fn settings(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    let _ = File::open(path).ok()?.take(MAX_SETTINGS).read_to_end(&mut text);
    Some(String::from_utf8_lossy(&text).into_owned() + "\n")
}

/// apt's settings, by file, in its order.
fn apt_settings() -> Vec<(String, String)> {
    let parts = fs::read_dir("/etc/apt/apt.conf.d").into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        parts.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.push("/etc/apt/apt.conf".into());
    let read = |path: PathBuf| Some((path.display().to_string(), settings(&path)?));
    files.into_iter().filter_map(read).collect()
}

/// The files that a program of the system reads: its own, and those of its directory.
fn settings_of(own: &str, dir: &str) -> Vec<logs::File> {
    let more = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let more =
        more.filter(|path| path.extension().is_some_and(|end| end == "conf") && path.is_file());
    let read = |path: PathBuf| Some((path.display().to_string(), settings(&path)?));
    std::iter::once(own.into()).chain(more).filter_map(read).collect()
}

/// The end of a file.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let begin = file.metadata()?.len().saturating_sub(MAX_LOG);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_to_come_hides_no_login() {
        let (now, day_ago) = (100, 50);
        for (put_there, want) in
            [([10, 20], 50), ([60, 20], 60), ([60, 70], 70), ([200, 60], 60), ([200, 101], 50)]
        {
            assert_eq!(guarded_since(put_there, day_ago, now), want, "{put_there:?}");
        }
    }
}
