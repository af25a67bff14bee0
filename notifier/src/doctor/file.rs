//! The configuration file, and what it says of the sender and of who is known good.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Finding, Severity};
use crate::channel::Secrets;
use crate::config::host::Host;
use crate::config::login::Login;
use crate::config::{self, ConfigError, Document, allowances};
use crate::deliver::outbox::books;
use crate::deliver::settings::Settings;
use crate::ffi;
use Severity::{Critical, Warning};

/// What could be read of the file.
pub struct Read {
    /// All of it, where nothing is wrong with it.
    pub settings: Option<Settings>,
    /// Where things are: known even of a file with mistakes in it.
    pub host: Host,
    /// The PAM services that are watched.
    pub services: Vec<String>,
    /// The mistakes, as other programs of the project would tell them too.
    pub mistakes: Vec<String>,
}

/// Reads the file and the secrets that it names, and says what is wrong with them.
#[must_use]
pub fn look(config: &Path) -> (Read, Vec<Finding>) {
    let mut findings = Vec::new();
    let file = config.display().to_string();
    let loaded = Settings::load(config, &Secrets::from_environment());
    let mistakes: Vec<String> = match &loaded {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    };
    let (settings, host, services) = match loaded {
        Ok(settings) => {
            let (host, services) = (settings.host.clone(), services(&settings.login));
            (Some(settings), host, services)
        }
        Err(error) => {
            findings.extend(judge(&file, &error, ffi::geteuid() == 0));
            let (host, login) = lenient(config);
            (None, host, services(&login))
        }
    };
    if let Some(settings) = &settings {
        // Root reads everything, the sender does not.
        if fs::metadata(config).is_ok_and(|meta| meta.mode() & 0o004 == 0) {
            let fix = format!("chmod 0644 {file}");
            findings.push(Finding::new(
                Critical,
                "config-mode",
                &file,
                "the sender may not read it",
                fix,
            ));
        }
        findings.extend(judge_metrics(&settings.notify.books, &host));
        for wrong in &settings.login_findings {
            findings.push(Finding::told(Warning, "config", &file, &wrong.to_string()));
        }
        if settings.notify.policy.channels().is_empty() {
            let text = "no channel is configured: alerts are in syslog and nowhere else";
            let fix = "fill in [notify.channel.sms], then: bastion test";
            findings.push(Finding::new(Critical, "no-channel", &file, text, fix));
        }
    }
    findings.extend(look_at_allowances(config));
    (Read { settings, host, services, mistakes }, findings)
}

/// The mistakes in a file. Who is not root cannot read the secrets, and that is none.
fn judge(file: &str, error: &ConfigError, root: bool) -> Vec<Finding> {
    let ConfigError::Invalid { findings, .. } = error else {
        let said = error.to_string();
        let said = said.strip_prefix(file).unwrap_or(&said).trim_start_matches(": ");
        return vec![Finding::told(Critical, "config", file, said)];
    };
    let is_secret = |finding: &config::Finding| finding.key.ends_with("-file");
    let cannot_see = |finding: &config::Finding| {
        !root && is_secret(finding) && finding.message.contains("Permission denied")
    };
    let told = |finding: &config::Finding| {
        let id = if is_secret(finding) { "secret" } else { "config" };
        Finding::told(Critical, id, file, &finding.to_string())
    };
    findings.iter().filter(|finding| !cannot_see(finding)).map(told).collect()
}

/// The services whose PAM files are looked at.
fn services(login: &Login) -> Vec<String> {
    login.services.clone().unwrap_or_else(|| vec!["sshd".into()])
}

fn lenient(path: &Path) -> (Host, Login) {
    let text = config::read_file(path).map(|source| source.text).unwrap_or_default();
    let mut document = Document::parse(&text);
    (config::host::read(&mut document), config::login::read(&mut document))
}

/// What is wrong with the places that are allowed for a time.
fn look_at_allowances(config: &Path) -> Vec<Finding> {
    let file = allowances::path(config).display().to_string();
    let again = "mend it, or remove it and grant anew with: bastion allow";
    let found = |text: String| Finding::new(Warning, "allowances", &file, text, again);
    match allowances::load(config) {
        Ok(read) => read.findings.iter().map(|wrong| found(wrong.to_string())).collect(),
        Err(error) => {
            let said = error.to_string();
            let said =
                said.strip_prefix(&file).unwrap_or(&said).trim_start_matches(": ").to_owned();
            vec![found(format!("{said}; until then no allowance counts"))]
        }
    }
}

/// Whether the sender may write its metrics where the file says: in its unit it may not write in
/// many places.
fn judge_metrics(books: &books::Settings, host: &Host) -> Option<Finding> {
    let path = books.metrics.as_ref()?;
    let own = [&host.run, &host.state].into_iter().any(|dir| path.parent() == Some(dir));
    let fix = format!(
        "write it to {}/bastion.prom, and give the exporter a link: ln -s",
        host.run.display()
    );
    let subject = format!("metrics-file {}", path.display());
    let text = "the sender's unit may not write there";
    (!own).then(|| Finding::new(Warning, "metrics-file", subject, text, fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_only_root_may_read_is_no_mistake_of_who_is_not() {
        let one = |key: &str, message: &str| config::Finding {
            line: 3,
            key: key.into(),
            message: message.into(),
        };
        let error = ConfigError::Invalid {
            path: "/x".into(),
            findings: vec![
                one(
                    "notify.channel.sms.auth-token-file",
                    "/s/t: Permission denied (os error 13); run it as root",
                ),
                one("notify.channel.sms.from", "is missing"),
            ],
        };
        let ids = |root| judge("/x", &error, root).iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(true), ["secret", "config"]);
        assert_eq!(ids(false), ["config"]);
    }

    #[test]
    fn the_file_is_named_once() {
        let source = std::io::ErrorKind::NotFound.into();
        let error = ConfigError::Io { path: "/x".into(), source };
        let found = &judge("/x", &error, true)[0];
        assert_eq!((found.subject.as_str(), found.text.as_str()), ("/x", "entity not found"));
        assert!(found.fix.starts_with("put it there"), "{found:?}");
    }
}
