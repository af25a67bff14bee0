//! The sender's view of the configuration: strict, the whole file, all findings at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::heartbeat;
use super::onward::Onward;
use super::outbox::books;
use super::policy::{Policy, Rule, Way};
use super::route::{Route, Stop};
use super::through::Through;
use super::version::Version;
use super::weekly::Weekly;
use crate::channel::{self, Channel, Reader, Secrets};
use crate::config::{
    self, ConfigError, Document, Finding, SECTIONS, Section, check::Check, drill::Drill, duration,
    host::Host, login::Login,
};
use crate::event::Severity;
use crate::fact::Finder;

/// Kinds of event, as in rules and under `expiry`.
const KINDS: [&str; 4] = ["login", "note", "condition", "report"];

/// Shortest expiry.
const MIN_EXPIRY: Duration = Duration::from_secs(60);

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
    /// `[check]`, which `bastion check` minds.
    pub check: Check,
    /// `[drill]`, which `bastion drill` minds.
    pub drill: Drill,
    /// What is wrong in `[login]`, `[check]` or `[drill]`: the module leaves it out and tells more, as
    /// do check and drill, so it does not keep the sender from starting.
    pub login_findings: Vec<Finding>,
    /// What of all that the sender works by.
    pub version: Version,
}

/// `[notify]`.
pub struct Notify {
    /// Which way messages go, and what each channel may do. Without a channel on any route,
    /// alerts are in syslog and nowhere else.
    pub policy: Policy,
    /// All channels of the file, also those that are not on a route.
    pub channels: Vec<(String, Box<dyn Channel>)>,
    /// Who is told that the sender lives.
    pub heartbeat: Option<heartbeat::Settings>,
    /// What is to be done with what is counted.
    pub books: books::Settings,
    /// Who finds out more about logins.
    pub finders: Vec<Arc<dyn Finder>>,
}

impl Default for Notify {
    fn default() -> Self {
        let policy = Policy { patience: Duration::from_secs(60), ..Policy::default() };
        let books = books::Settings::default();
        let (channels, finders) = (Vec::new(), Vec::new());
        Self { policy, channels, heartbeat: None, books, finders }
    }
}

impl Settings {
    /// Reads and checks the whole file, and the secrets that it names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with everything that is wrong.
    pub fn load(path: &Path, secrets: &Secrets) -> Result<Self, ConfigError> {
        config::load(path, |text| Self::parse(text, secrets))
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
        let mut notify =
            document.table("notify", |section| notify(section, secrets)).unwrap_or_default();
        let mut asked = format!("{:?}", login.hold);
        if let Some(through) = Through::wanted(text, &host.name, &host.run, login.hold) {
            asked.push_str(" run");
            notify.finders.push(Arc::new(through));
        }
        if let Some(onward) = Onward::wanted(text, &host.name, &host.run, login.hold) {
            asked.push_str(" watch");
            notify.finders.push(Arc::new(onward));
        }
        let check = config::check::read(&mut document);
        let channels: Vec<&str> = notify.channels.iter().map(|(name, _)| name.as_str()).collect();
        let drill = config::drill::read(&mut document, &channels);
        let broken = document.is_broken();
        let findings = document.finish(SECTIONS);
        let of_login = |finding: &Finding| {
            matches!(finding.key.split('.').next(), Some("login" | "check" | "drill"))
        };
        if broken || !findings.iter().all(of_login) {
            return Err(findings);
        }
        let version = Version::of(text, &asked);
        Ok(Self { host, login, notify, check, drill, login_findings: findings, version })
    }
}

fn notify(section: &mut Section<'_, '_>, secrets: &Secrets) -> Notify {
    let mut notify = Notify::default();
    let mut names = Vec::new();
    let channels = section.tables("channel", |name, section| {
        names.push(name.to_owned());
        read_channel(section, secrets).map(|(channel, way)| (name.to_owned(), channel, way))
    });
    for (name, channel, way) in channels.into_iter().flatten() {
        notify.policy.ways.insert(name.clone(), way);
        notify.channels.push((name, channel));
    }
    if let Some(patience) = section.parse("patience", duration::parse) {
        if patience.value > MAX_PATIENCE {
            section.reject("patience", &patience, "more than 1h");
        }
        notify.policy.patience = patience.value;
    }
    notify.books.weekly = section.parse("weekly", Weekly::parse).map(|weekly| weekly.value);
    notify.books.metrics =
        section.parse("metrics-file", books::metrics_path).map(|path| path.value);
    notify.heartbeat =
        section.table("heartbeat", |section| heartbeat::read(section, secrets)).flatten();
    section.table("expiry", |section| {
        for kind in KINDS {
            if let Some(expiry) = section.parse(kind, duration::parse) {
                if expiry.value < MIN_EXPIRY {
                    section.reject(kind, &expiry, "less than 1m: nothing would ever be sent twice");
                }
                notify.policy.expiry.insert(kind, expiry.value);
            }
        }
    });
    let rules = section.tables("rule", |_, section| read_rule(section, &names));
    let recipients = |name: &str| {
        let (_, channel) = notify.channels.iter().find(|(known, _)| known == name)?;
        Some(Stop { channel: name.to_owned(), recipients: channel.recipients().to_vec() })
    };
    let stops = |names: &[String]| names.iter().filter_map(|name| recipients(name)).collect();
    let route = match read_route(section, &names) {
        Some(route) => route,
        None if names.len() > 1 => {
            section.reject_section(
                "route is missing: with several channels it says which comes first",
            );
            Vec::new()
        }
        None => names.clone(),
    };
    notify.policy.route = Route { stops: stops(&route), all: section.get_or("all", false) };
    notify.policy.rules = rules
        .into_iter()
        .map(|NamedRule { kinds, severities, route, all }| Rule {
            kinds,
            severities,
            route: Route { stops: stops(&route), all },
        })
        .collect();
    notify
}

/// A rule as it stands in the file, where a route is names.
struct NamedRule {
    kinds: Vec<&'static str>,
    severities: Vec<Severity>,
    route: Vec<String>,
    all: bool,
}

fn read_rule(section: &mut Section<'_, '_>, channels: &[String]) -> NamedRule {
    let kinds = section.parse_list("kinds", |word| {
        KINDS
            .into_iter()
            .find(|kind| *kind == word)
            .ok_or_else(|| format!("there is no kind {word:?}; there are: {}", KINDS.join(", ")))
    });
    let severities = section.parse_list("severities", |word| {
        Severity::ALL.into_iter().find(|severity| severity.as_str() == word).ok_or_else(|| {
            let words = Severity::ALL.map(Severity::as_str).join(", ");
            format!("there is no severity {word:?}; there are: {words}")
        })
    });
    if kinds.is_none() && severities.is_none() {
        section.reject_section("neither kinds nor severities: write the route above instead");
    }
    section.need("route");
    let values = |list: Option<Vec<config::Value<&'static str>>>| {
        list.into_iter().flatten().map(|value| value.value).collect()
    };
    NamedRule {
        kinds: values(kinds),
        severities: severities.into_iter().flatten().map(|value| value.value).collect(),
        route: read_route(section, channels).unwrap_or_default(),
        all: section.get_or("all", false),
    }
}

fn read_route(section: &mut Section<'_, '_>, channels: &[String]) -> Option<Vec<String>> {
    let known = |name: &str| {
        if channels.iter().any(|known| known == name) {
            Ok(name.to_owned())
        } else {
            Err(format!("there is no [notify.channel.{name}]"))
        }
    };
    let route = section.parse_list("route", known)?;
    Some(route.into_iter().map(|name| name.value).collect())
}

fn read_channel(
    section: &mut Section<'_, '_>,
    secrets: &Secrets,
) -> Option<(Box<dyn Channel>, Way)> {
    let kind = section.need("type").parse("type", |name| {
        channel::KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names: Vec<_> = channel::KINDS.iter().map(|kind| kind.name).collect();
            format!("there is no type {name:?}; there are: {}", names.join(", "))
        })
    });
    let Some(kind) = kind else {
        // Which keys belong here depends on the type.
        section.leave_rest();
        return None;
    };
    let mut way = Way { limits: kind.value.limits, ..Way::default() };
    let digest = section.get_or("digest", true);
    let mut limit = |key, limit: &mut Option<u32>| {
        let Some(most) = section.get::<u32>(key) else { return };
        if most.value == 0 {
            section.reject(key, &most, "0 would send nothing; take the channel off the route");
        }
        *limit = Some(most.value);
    };
    limit("max-per-hour", &mut way.limits.per_hour);
    limit("max-per-day", &mut way.limits.per_day);
    if kind.value.paid_by_segment {
        limit("max-segments-per-hour", &mut way.limits.segments_per_hour);
        limit("max-segments-per-day", &mut way.limits.segments_per_day);
    }
    let channel = (kind.value.read)(section, secrets)?;
    way.in_runs = channel.reader() == Reader::Program;
    way.together = digest && !way.in_runs;
    way.segments = channel.most_segments();
    way.in_order = channel.keeps_state();
    way.follows = channel.follows();
    Some((channel, way))
}

#[cfg(test)]
mod tests;
