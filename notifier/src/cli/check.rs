//! `bastion check`: everything that would keep an alert from getting out, with what to do.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Options, others};
use crate::channel::Secrets;
use crate::config::{self, allowances};
use crate::deliver::lock::Lock;
use crate::deliver::outbox::books;
use crate::deliver::settings::Settings;
use crate::exit::{Failure, print};
use crate::spool::Spool;
use crate::{ffi, pam_line};

pub(super) const HELP: &str = "

Checks the configuration file, allowances.toml beside it, the secrets it names, the spool's owners and modes, the PAM line,
and whether the sender runs. Where there is a [[tunnel]] or a [[tunnel-watch]] also what tunnelwatch check
finds, which asks the jump host for up to half a minute; where there is a [[link]] what linkprobe check-config
finds, which asks nobody.
Changes nothing and sends nothing (for that: bastion test).
Prints each finding with what to do; exits with 78 if there is any.
";

/// Where libpam finds the service files.
const PAM_D: &str = "/etc/pam.d";

/// Where libpam looks for a module that is named without a path, by distribution.
const MODULE_DIRS: [&str; 6] = [
    "/lib/x86_64-linux-gnu/security",
    "/lib/aarch64-linux-gnu/security",
    "/lib/arm-linux-gnueabihf/security",
    "/lib/security",
    "/lib64/security",
    "/usr/lib/security",
];

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    options.end()?;
    let mut findings = Vec::new();
    let _ = ffi::forbid_core_dumps();
    let secrets = Secrets::from_environment();
    let settings = Settings::load(&options.config, &secrets);
    // Where things are is known even of a file with mistakes in it.
    let (host, services) = match &settings {
        Ok(settings) => (settings.host.clone(), services(&settings.login)),
        Err(error) => {
            findings.push(error.to_string());
            lenient(&options.config)
        }
    };
    if let Ok(settings) = &settings {
        let file = options.config.display();
        // Root reads everything, the sender does not.
        if fs::metadata(&options.config).is_ok_and(|meta| meta.mode() & 0o004 == 0) {
            findings.push(format!("{file}: the sender may not read it; run: chmod 0644 {file}"));
        }
        findings.extend(check_metrics(&settings.notify.books, &settings.host));
        findings.extend(settings.login_findings.iter().map(|wrong| format!("{file}: {wrong}")));
        if settings.notify.policy.channels().is_empty() {
            findings.push(
                "no channel is configured: alerts are in syslog and nowhere else; \
                           fill in [notify.channel.sms]"
                    .into(),
            );
        }
    }
    findings.extend(check_allowances(&options.config));
    let spool = Spool::new(&host.spool);
    findings.extend(check_spool(&spool));
    if !host.state.is_dir() {
        let fix = "create it: systemd-tmpfiles --create bastion.conf";
        findings.push(format!("{}: is missing; {fix}", host.state.display()));
    }
    for service in &services {
        let stack = pam_line::session_stack(Path::new(PAM_D), service);
        findings.extend(pam_line::judge(service, &stack, &options.config));
        findings.extend(missing_module(&stack));
    }
    findings.extend(match Lock::is_held(&spool.queue()) {
        Ok(true) => None,
        Ok(false) => Some(
            "the sender does not run: systemctl enable --now bastion; if it ends again: \
             journalctl -u bastion -n 20"
                .into(),
        ),
        // Said above, with what to do.
        Err(_) => None,
    });
    // A file that nobody understands is told once.
    let known: Vec<String> =
        findings.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    findings
        .extend(others::check(&options.config).into_iter().filter(|line| !known.contains(line)));
    if findings.is_empty() {
        print(&format!("{}: nothing is wrong\n", options.config.display()));
        return Ok(());
    }
    Failure::all(findings.into_iter().map(Failure::config).collect())
}

/// The services whose PAM files are looked at.
fn services(login: &config::login::Login) -> Vec<String> {
    login.services.clone().unwrap_or_else(|| vec!["sshd".into()])
}

fn lenient(path: &Path) -> (config::host::Host, Vec<String>) {
    let Ok(source) = config::read_file(path) else {
        return (config::host::Host::default(), services(&config::login::Login::default()));
    };
    let mut document = config::Document::parse(&source.text);
    (config::host::read(&mut document), services(&config::login::read(&mut document)))
}

/// What is wrong with the places that are allowed for a time.
fn check_allowances(config: &Path) -> Vec<String> {
    let file = allowances::path(config);
    let again = "mend it, or remove it and grant anew with: bastion allow";
    match allowances::load(config) {
        Ok(read) => {
            let line = |wrong| format!("{}: {wrong}; {again}", file.display());
            read.findings.iter().map(line).collect()
        }
        Err(error) => vec![format!("{error}; until then no allowance counts: {again}")],
    }
}

/// Whether the sender may write its metrics where the file says: in its unit it may not write in
/// many places.
fn check_metrics(books: &books::Settings, host: &config::host::Host) -> Option<String> {
    let path = books.metrics.as_ref()?;
    let own = [&host.run, &host.state].into_iter().any(|dir| path.parent() == Some(dir));
    if own {
        return None;
    }
    let (path, run) = (path.display(), host.run.display());
    Some(format!(
        "metrics-file {path}: the sender's unit may not write there; write it to {run}/bastion.prom, and \
         give the exporter a link: ln -s"
    ))
}

/// The spool as DESIGN.md has it: who owns what, and who may do what there.
fn check_spool(spool: &Spool) -> Vec<String> {
    let mut findings = Vec::new();
    let look = |path: PathBuf, findings: &mut Vec<String>| {
        let meta = fs::symlink_metadata(&path);
        match meta {
            Ok(meta) if meta.is_dir() => Some((path, meta)),
            Ok(_) => {
                findings.push(format!("{}: is no directory", path.display()));
                None
            }
            Err(error) => {
                let fix = "create it: systemd-tmpfiles --create bastion.conf";
                findings.push(format!("{}: {error}; {fix}", path.display()));
                None
            }
        }
    };
    if let Some((path, meta)) = look(spool.root().to_owned(), &mut findings) {
        if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            findings.push(format!(
                "{0}: belongs to root alone; run: chown root {0} && chmod 0755 {0}",
                path.display()
            ));
        }
    }
    let queue = look(spool.queue(), &mut findings);
    if let Some((path, meta)) = &queue {
        if meta.uid() == 0 {
            findings.push(format!(
                "{0}: belongs to root, so the sender runs as root; run: chown _bastion {0}",
                path.display()
            ));
        }
    }
    let sender = queue.as_ref().map(|(_, meta)| meta.uid());
    let own = [queue, look(spool.failed(), &mut findings), look(spool.sent(), &mut findings)];
    for (path, meta) in own.into_iter().flatten() {
        if meta.mode() & 0o077 != 0 || Some(meta.uid()) != sender {
            findings.push(format!(
                "{0}: is the sender's alone; run: chown _bastion {0} && chmod 0700 {0}",
                path.display()
            ));
        }
    }
    if let Some((path, meta)) = look(spool.drop(), &mut findings) {
        if meta.mode() & 0o7777 != 0o3730 || Some(meta.uid()) != sender {
            let mode = meta.mode() & 0o7777;
            findings.push(format!(
                "{0}: mode {mode:04o}, uid {1}; run: chown _bastion:_bastion-drop {0} && chmod 3730 {0}",
                path.display(),
                meta.uid()
            ));
        }
    }
    findings
}

fn missing_module(stack: &[pam_line::StackLine]) -> Option<String> {
    let line = stack.iter().find(|line| line.module.ends_with("pam_bastion.so"))?;
    let found = if line.module.starts_with('/') {
        Path::new(&line.module).is_file()
    } else {
        MODULE_DIRS.iter().any(|dir| Path::new(dir).join(&line.module).is_file())
    };
    let at = format!("{}:{}", line.file.display(), line.number);
    (!found).then(|| format!("{at}: there is no {}, so no login is told; install it", line.module))
}
