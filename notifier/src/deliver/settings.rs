//! The sender's view of the configuration: strict, the whole file, all findings at once.

use std::path::Path;
use std::time::Duration;

use crate::channel::{self, Channel, Secrets};
use crate::config::{
    self, ConfigError, Document, Finding, Section, duration, host::Host, login::Login,
};

/// Sections of the file that any program of the project reads.
const SECTIONS: &[&str] = &["host", "login", "notify"];

/// Longest `patience`.
const MAX_PATIENCE: Duration = Duration::from_secs(3600);

/// The whole file.
pub struct Settings {
    /// `[host]`.
    pub host: Host,
    /// `[login]`, which the sender only checks.
    pub login: Login,
    /// `[notify]`.
    pub notify: Notify,
    /// What is wrong in `[login]`: the module leaves it out and tells more, so it does not keep
    /// the sender from starting.
    pub login_findings: Vec<Finding>,
}

/// `[notify]`.
pub struct Notify {
    /// Names of channels, first choice first. Empty: alerts are in syslog and nowhere else.
    pub route: Vec<String>,
    /// How long a network fault may last before the next channel takes over. Default 60 s.
    pub patience: Duration,
    /// All channels of the file, also those that are not on the route.
    pub channels: Vec<(String, Box<dyn Channel>)>,
}

impl Default for Notify {
    fn default() -> Self {
        Self { route: Vec::new(), patience: Duration::from_secs(60), channels: Vec::new() }
    }
}

impl Settings {
    /// Reads and checks the whole file, and the secrets that it names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with everything that is wrong.
    pub fn load(path: &Path, secrets: &Secrets) -> Result<Self, ConfigError> {
        let source = config::read_file(path)?;
        Self::parse(&source.text, secrets)
            .map_err(|findings| ConfigError::Invalid { path: path.to_owned(), findings })
    }

    /// Reads and checks a file's text.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str, secrets: &Secrets) -> Result<Self, Vec<Finding>> {
        let mut document = Document::parse(text);
        let host = config::host::read(&mut document);
        let login = config::login::read(&mut document);
        let notify =
            document.table("notify", |section| notify(section, secrets)).unwrap_or_default();
        let broken = document.is_broken();
        let findings = document.finish(SECTIONS);
        let of_login = |finding: &Finding| finding.key.split('.').next() == Some("login");
        if broken || !findings.iter().all(of_login) {
            return Err(findings);
        }
        Ok(Self { host, login, notify, login_findings: findings })
    }
}

fn notify(section: &mut Section<'_, '_>, secrets: &Secrets) -> Notify {
    let mut notify = Notify::default();
    let mut names = Vec::new();
    let channels = section.tables("channel", |name, section| {
        names.push(name.to_owned());
        read_channel(section, secrets).map(|channel| (name.to_owned(), channel))
    });
    notify.channels = channels.into_iter().flatten().collect();
    if let Some(patience) = section.parse("patience", duration::parse) {
        if patience.value > MAX_PATIENCE {
            section.reject("patience", &patience, "more than 1h");
        }
        notify.patience = patience.value;
    }
    let known = |name: &str| {
        if names.iter().any(|known| known == name) {
            Ok(name.to_owned())
        } else {
            Err(format!("there is no [notify.channel.{name}]"))
        }
    };
    match section.parse_list("route", known) {
        Some(route) => notify.route = route.into_iter().map(|name| name.value).collect(),
        None if names.len() == 1 => notify.route = names,
        None if names.len() > 1 => {
            section.reject_section(
                "route is missing: with several channels it says which comes first",
            );
        }
        None => {}
    }
    notify
}

fn read_channel(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let kind = section.need("type").parse("type", |name| {
        channel::KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names: Vec<_> = channel::KINDS.iter().map(|kind| kind.name).collect();
            format!("there is no type {name:?}; there are: {}", names.join(", "))
        })
    });
    if let Some(kind) = kind {
        return (kind.value.read)(section, secrets);
    }
    // Which keys belong here depends on the type.
    section.leave_rest();
    None
}

#[cfg(test)]
mod tests;
