//! `bastion enable` and `bastion disable`: the line in /etc/pam.d/sshd, which the package does not touch.
//!
//! Who has become root would take it out first of all. So that this is not silent, `disable` is an alert as well: it
//! is in the spool before the line is gone, and without it nothing is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::allow::caller;
use super::pam_file::PamFile;
use super::{Options, lenient_host};
use crate::channel::Secrets;
use crate::clock::Stamp;
use crate::config::host::Host;
use crate::deliver::lock::Lock;
use crate::deliver::settings::Settings;
use crate::event::{Note, Severity, What};
use crate::exit::{Failure, complain, print};
use crate::ffi;
use crate::pam_line::edit::{self, Edit, Refusal};
use crate::pam_line::{judge, module_file, session_stack};
use crate::spool::Spool;
use crate::spool::drop::{self, Sync};
use crate::syslog::{Level, Line, Log, Source};

pub(super) const HELP: &str = " [--dry-run]

Puts -session optional pam_bastion.so into /etc/pam.d/sshd, as its first session line: from then on each
login over SSH is told. Mends a line that stands too late, or that would keep people out without the module.
Looks first whether the module can be loaded and sshd uses PAM. Changes nothing else in the file; refuses what it does
not understand. Done once more it changes nothing. The file as it was is kept in pam.d-sshd.orig beside the
configuration. To be run by root.

  --dry-run      show the change, and do not make it
";

pub(super) const HELP_DISABLE: &str = " [--dry-run]

Takes each pam_bastion line out of /etc/pam.d/sshd, also one by hand: logins over SSH are not told any more.
This is an alert itself, of severity critical, and is not done when that cannot be raised. To be run by root.

  --dry-run      show the change, and do not make it
";

/// Where libpam finds the service files.
const PAM_D: &str = "/etc/pam.d";

/// The service whose logins are told.
const SERVICE: &str = "sshd";

/// The file as it was, beside the configuration: in /etc/pam.d it would be a service of that name.
const BACKUP: &str = "pam.d-sshd.orig";

/// Where it is asked what it does.
const SSHD: &str = "/usr/sbin/sshd";

/// What a command works on.
struct Desk {
    config: PathBuf,
    host: Host,
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
        let host = lenient_host(&options.config);
        let log = Log::new(&host.syslog, "bastion", Source::Daemon);
        Ok(Self { config: options.config, host, log, file, dry_run })
    }

    fn enable(&self) -> Result<(), Failure> {
        let edit = edit::add(SERVICE, &self.file.text, &load).map_err(refused)?;
        Failure::all(obstacles(&edit.module).into_iter().map(Failure::config).collect())?;
        let path = self.file.path().display();
        self.warnings().iter().for_each(|text| complain("bastion", text));
        edit.mended.iter().for_each(|text| complain("bastion", format!("{path}: {text}; mended")));
        if edit.is_empty() {
            print(&format!("{path}: the line is there, as the first of the session\n"));
            return Ok(());
        }
        if self.dry_run {
            return self.show(&edit);
        }
        let backup = self.backup();
        self.file.back_up(&backup)?;
        self.file.replace(&edit.apply(&self.file.text))?;
        self.log.say(Level::Notice, &Line::new("guard-on").text("by", &caller()));
        let line = session_stack(Path::new(PAM_D), SERVICE).first().map_or(0, |line| line.number);
        print(&format!(
            "{path}:{line}: logins are told from now on; as it was: {}\n\
             keep this session open, and log in with a second one, from a place that is not known good\n",
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
        // First the alert: a kill in between makes one too many, never one too few.
        let text = format!("guard off: logins are not told any more, bastion disable by {by}");
        let note = What::Note(Note { text });
        let event = drop::new_event(Stamp::now(), &self.host.name, Severity::Critical, note);
        drop::publish(&Spool::new(&self.host.spool), &event, Sync::Now).map_err(|error| {
            let what = format!(
                "the alert of it cannot be raised, so nothing is changed; mend that, or remove line {line} of {path} by hand"
            );
            Failure::spool(&what, error)
        })?;
        let text = edit.apply(&self.file.text);
        self.file.replace(&text)?;
        let line = Line::new("guard-off").text("by", &by).word("alert", event.id);
        self.log.say(Level::Warning, &line);
        let backup = self.backup();
        // It has nothing that is not in the file.
        if fs::read(&backup).is_ok_and(|old| old == text) {
            let _ = fs::remove_file(&backup);
        }
        print(&format!("{path}: the line is gone, logins are not told any more\n"));
        Ok(())
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
    let nothing = "nothing is changed";
    let module = match module_file(module) {
        None => Some(format!("there is no {module} where libpam looks for it: install the package pam-bastion; {nothing}")),
        Some(path) => match fs::metadata(&path) {
            Ok(meta) if meta.uid() != 0 || meta.mode() & 0o022 != 0 => Some(format!(
                "{0}: others than root may change it; run: chown root {0} && chmod 0644 {0}; {nothing}",
                path.display()
            )),
            _ => ffi::load_pam_module(&path).err().map(|error| {
                format!("the module cannot be loaded: {error}; install the package pam-bastion of this machine's architecture; {nothing}")
            }),
        },
    };
    let mut command = Command::new(SSHD);
    command.arg("-T").env_clear().stdin(Stdio::null());
    let sshd = match command.output() {
        Ok(output) if output.status.success() => {
            sshd_objects(&String::from_utf8_lossy(&output.stdout))
                .map(|text| format!("{text}; {nothing}"))
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("nothing");
            Some(format!(
                "sshd does not understand its own settings, and says {said:?}; mend that: sshd -t; {nothing}"
            ))
        }
        Err(error) => {
            Some(format!("{SSHD} cannot be asked: {error}; install openssh-server; {nothing}"))
        }
    };
    module.into_iter().chain(sshd).collect()
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
