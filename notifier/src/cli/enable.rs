//! `bastion enable` and `bastion disable`: the line in /etc/pam.d/sshd, which the package does not touch.
//!
//! Who has become root would take it out first of all. So that this is not silent, `disable` is an alert as well: it
//! is in the spool before the line is gone, and without it nothing is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Options;
use super::allow::caller;
use super::pam_file::PamFile;
use crate::channel::Secrets;
use crate::clock::Stamp;
use crate::config::host::Host;
use crate::config::login::Login;
use crate::config::{self, Document};
use crate::deliver::lock::Lock;
use crate::deliver::settings::Settings;
use crate::doctor::Role;
use crate::doctor::programs::{self, Answer};
use crate::doctor::sshd;
use crate::event::{AlertId, Note, Severity, What};
use crate::exit::{Failure, complain, print};
use crate::ffi;
use crate::pam_line::edit::{self, Edit, Refusal};
use crate::pam_line::{judge, module_file, session_stack};
use crate::spool::Spool;
use crate::spool::drop::{self, SpoolError, Sync};
use crate::syslog::{Level, Line, Log, Source};

pub(super) const HELP: &str = " [--dry-run]

Puts -session optional pam_bastion.so into /etc/pam.d/sshd, as its first session line: from then on each
login over SSH is told. Mends a line that stands too late, or that would keep people out without the module.
Looks first whether the module can be loaded and sshd uses PAM. Changes nothing else in the file; refuses what it does
not understand, or where no other session line decides who may come in. Done once more it changes nothing. The file as it
was is kept in pam.d-sshd.orig beside the configuration. With --config the line names that file for the module. To be
run by root.

  --dry-run      show the change, and do not make it
";

pub(super) const HELP_DISABLE: &str = " [--dry-run]

Takes each pam_bastion line out of /etc/pam.d/sshd, also one by hand: logins over SSH are not told any more.
This is an alert itself, of severity critical, and is not done when that cannot be raised. Refused where no other
session line decides who may come in. To be run by root.

  --dry-run      show the change, and do not make it
";

/// Where libpam finds the service files.
const PAM_D: &str = "/etc/pam.d";

/// The service whose logins are told.
const SERVICE: &str = "sshd";

/// The file as it was, beside the configuration: in /etc/pam.d it would be a service of that name.
const BACKUP: &str = "pam.d-sshd.orig";

/// How sshd is asked what it does: of a connection that is nobody's, or it refuses to answer where a `Match` asks for
/// more of it (192.0.2.0/24 is no one's, RFC 5737).
const SSHD_ASKED: [&str; 3] =
    ["-T", "-C", "user=nobody,host=localhost,addr=192.0.2.1,laddr=192.0.2.2,lport=22"];

/// What a command works on.
struct Desk {
    config: PathBuf,
    host: Host,
    login: Login,
    log: Log,
    file: PamFile,
    dry_run: bool,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    Desk::new(options)?.enable()
}

pub(super) fn run_disable(options: Options) -> Result<(), Failure> {
    Desk::new(options)?.disable()
}

impl Desk {
    fn new(mut options: Options) -> Result<Self, Failure> {
        let mut dry_run = false;
        while let Some(arg) = options.next()? {
            match arg {
                lexopt::Arg::Long("dry-run") => dry_run = true,
                arg => return Err(Failure::usage(arg.unexpected())),
            }
        }
        if ffi::geteuid() != 0 {
            return Err(Failure::permission("only root may change /etc/pam.d; run: sudo bastion"));
        }
        let file = PamFile::open(Path::new(PAM_D), SERVICE)?;
        // What is beside it is found from anywhere, and so is what a line names.
        let config = std::path::absolute(&options.config)
            .map_err(|error| Failure::io(options.config.display(), &error))?;
        let (host, login) = match config::read_file(&config) {
            Ok(source) => {
                let mut document = Document::parse(&source.text);
                (config::host::read(&mut document), config::login::read(&mut document))
            }
            Err(_) => (Host::default(), Login::unreadable()),
        };
        let log = Log::new(&host.syslog, "bastion", Source::Daemon);
        Ok(Self { config, host, login, log, file, dry_run })
    }

    fn enable(&self) -> Result<(), Failure> {
        let new = edit::line_for(&self.config).map_err(Failure::config)?;
        let edit = edit::add(SERVICE, &self.file.text, &new, &load).map_err(refused)?;
        let mut obstacles = obstacles(&edit.module);
        obstacles.extend(self.unwatched());
        let nothing = |text| Failure::config(format!("{text}; nothing is changed"));
        Failure::all(obstacles.into_iter().map(nothing).collect())?;
        let path = self.file.path().display();
        self.warnings().iter().for_each(|text| complain("bastion", text));
        let done = if self.dry_run { "would be mended" } else { "mended" };
        edit.mended.iter().for_each(|text| complain("bastion", format!("{path}: {text}; {done}")));
        if edit.is_empty() {
            print(&format!("{path}: the line is there, as the first of the session\n"));
            return Ok(());
        }
        if self.dry_run {
            return self.show(&edit);
        }
        let new = self.file.prepare(&edit.apply(&self.file.text))?;
        let backup = self.backup();
        // A copy from before the first of these changes is worth more than one that has our line.
        let keep = edit.line.is_some() && fs::read(&backup).is_ok_and(|old| !edit::has_ours(&old));
        if !keep {
            self.file.back_up(&backup)?;
        }
        self.file.replace(&new)?;
        self.log.say(Level::Notice, &Line::new("guard-on").text("by", &caller()));
        let line = session_stack(Path::new(PAM_D), SERVICE).first().map_or(0, |line| line.number);
        print(&format!(
            "{path}:{line}: logins are told from now on; as it was{}: {}\n\
             keep this session open, and log in with a second one, from a place that is not known good\n",
            if keep { " without the line" } else { "" },
            backup.display()
        ));
        Ok(())
    }

    fn disable(&self) -> Result<(), Failure> {
        let edit = edit::remove(SERVICE, &self.file.text, &load).map_err(refused)?;
        let path = self.file.path().display();
        let Some(line) = edit.line else {
            print(&format!("{path}: there is no pam_bastion line\n"));
            return Ok(());
        };
        if self.dry_run {
            return self.show(&edit);
        }
        let by = caller();
        let text = edit.apply(&self.file.text);
        // What can go wrong goes wrong before the alert.
        let new = self.file.prepare(&text)?;
        // First the alert: a kill in between makes one too many, never one too few.
        let said = format!("guard off: logins are not told any more, bastion disable by {by}");
        let alert = self.raise(said).map_err(|error| {
            let what = format!(
                "the alert of it cannot be raised, so nothing is changed; mend that, or remove line {line} of {path} by hand"
            );
            Failure::spool(&what, error)
        })?;
        if let Err(failure) = self.file.replace(&new) {
            let said = format!("the guard is still on: bastion disable by {by} was not done");
            if let Err(error) = self.raise(said) {
                complain("bastion", format!("that the guard is still on cannot be told: {error}"));
            }
            return Err(failure);
        }
        let line = Line::new("guard-off").text("by", &by).word("alert", alert);
        self.log.say(Level::Warning, &line);
        let backup = self.backup();
        // It has nothing that is not in the file.
        if fs::read(&backup).is_ok_and(|old| old == text) {
            let _ = fs::remove_file(&backup);
        }
        print(&format!("{path}: the line is gone, logins are not told any more\n"));
        Ok(())
    }

    /// An alert, of which the answer is the id.
    fn raise(&self, text: String) -> Result<AlertId, SpoolError> {
        let note = What::Note(Note { text });
        let event = drop::new_event(Stamp::now(), &self.host.name, Severity::Critical, note);
        drop::publish(&Spool::new(&self.host.spool), &event, Sync::Now)?;
        Ok(event.id)
    }

    /// What keeps the module from telling a login, by the file.
    fn unwatched(&self) -> Option<String> {
        (!self.login.watches(SERVICE.as_bytes())).then(|| {
            format!(
                "{}: services in [login] is without {SERVICE}, so that no login would be told; add \"{SERVICE}\" to it",
                self.config.display()
            )
        })
    }

    fn backup(&self) -> PathBuf {
        self.config.with_file_name(BACKUP)
    }

    fn show(&self, edit: &Edit) -> Result<(), Failure> {
        print(&edit.diff(&self.file.text, self.file.path()));
        Ok(())
    }

    /// What keeps an alert from getting further than the log: said, and no reason not to begin.
    fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let _ = ffi::forbid_core_dumps();
        match Settings::load(&self.config, &Secrets::from_environment()) {
            Err(error) => found.push(error.to_string()),
            Ok(settings) if settings.notify.policy.channels().is_empty() => found.push(
                "no channel is configured: logins are told in syslog and nowhere else; fill in [notify.channel.sms]".into(),
            ),
            Ok(_) => {}
        }
        let spool = Spool::new(&self.host.spool);
        let drop = spool.drop();
        if !drop.is_dir() {
            let fix = "create it: systemd-tmpfiles --create bastion.conf";
            found.push(format!(
                "{}: is missing, so that alerts are in syslog alone; {fix}",
                drop.display()
            ));
        } else if Lock::is_held(&spool.queue()).is_ok_and(|held| !held) {
            found.push(
                "the sender does not run, so that alerts wait: systemctl enable --now bastion"
                    .into(),
            );
        }
        found.extend(self.elsewhere());
        found
    }

    /// What our line would say of itself where it stands now, but for what is mended here.
    fn elsewhere(&self) -> Vec<String> {
        let stack = session_stack(Path::new(PAM_D), SERVICE);
        let first: Vec<_> = stack.into_iter().take(1).collect();
        match first.iter().any(|line| line.module.ends_with("pam_bastion.so")) {
            true => judge(SERVICE, &first, &self.config),
            false => Vec::new(),
        }
    }
}

fn load(name: &str) -> Option<Vec<u8>> {
    [PAM_D, "/usr/lib/pam.d"].iter().find_map(|dir| fs::read(Path::new(dir).join(name)).ok())
}

fn refused(Refusal { file, line, text }: Refusal) -> Failure {
    let path = Path::new(PAM_D).join(file);
    let at = if line == 0 { String::new() } else { format!("{line}:") };
    Failure::config(format!("{}:{at} {text}; nothing is changed", path.display()))
}

/// Why the line would do nothing, or worse.
fn obstacles(module: &str) -> Vec<String> {
    let module = match module_file(module) {
        None => Some(format!("there is no {module} where libpam looks for it: install the package pam-bastion")),
        Some(path) => match fs::metadata(&path) {
            Ok(meta) if meta.uid() != 0 || meta.mode() & 0o022 != 0 => Some(format!(
                "{0}: others than root may change it; run: chown root {0} && chmod 0644 {0}",
                path.display()
            )),
            _ => ffi::load_pam_module(&path).err().map(|error| {
                format!("the module cannot be loaded: {error}; install the package pam-bastion of this machine's architecture")
            }),
        },
    };
    module.into_iter().chain(sshd_says(&programs::ask("sshd", &SSHD_ASKED))).collect()
}

/// What is wrong with sshd's answer.
fn sshd_says(answer: &Answer) -> Option<String> {
    if let Some(settings) = answer.good() {
        return sshd_objects(settings);
    }
    // In the doctor's words.
    let found = sshd::judge(answer, answer, Role::Other, false).into_iter().next()?;
    Some(format!("{} {}; {}", found.subject, found.text, found.fix))
}

/// Why sshd would not call the module, by what `sshd -T` prints.
fn sshd_objects(settings: &str) -> Option<String> {
    let uses = |line: &str| line.eq_ignore_ascii_case("usepam yes");
    (!settings.lines().any(uses)).then(|| {
        "sshd does not use PAM, so that no login would be told; write UsePAM yes into /etc/ssh/sshd_config, then: \
         systemctl reload ssh"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sshd_answers_in_the_place_of_settings_is_told_with_its_remedy() {
        let fails =
            |err: &str| Answer::Said { code: Some(255), out: String::new(), err: err.into() };
        for (answer, told, remedy) in [
            (
                fails("Missing privilege separation directory: /run/sshd"),
                "/run/sshd",
                "systemctl start ssh",
            ),
            (fails("/etc/ssh/sshd_config: Bad configuration option: X"), "option: X", "sshd -t"),
            (Answer::Missing, "there is no sshd", "install openssh-server"),
            (Answer::Unheard("did not end within 10 s".into()), "did not end", "sshd -T"),
        ] {
            let said = sshd_says(&answer).unwrap();
            assert!(said.contains(told) && said.contains(remedy), "{said}");
        }
    }

    #[test]
    fn sshd_has_to_use_pam() {
        for (settings, fine) in [
            ("port 22\nusepam yes\n", true),
            ("port 22\nusePAM Yes\n", true),
            ("port 22\nusepam no\n", false),
            ("port 22\n", false),
            ("", false),
        ] {
            assert_eq!(sshd_objects(settings).is_none(), fine, "{settings}");
        }
    }
}
