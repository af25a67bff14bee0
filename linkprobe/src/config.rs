//! `[[link]]`: strict, all findings at once.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notifier::config::{self, ConfigError, Document, Finding, SECTIONS, Section, duration, host};

use crate::provider::{self, Provider};
use crate::units;

/// Most lines: each is looked at by a thread of its own.
const MAX_LINKS: usize = 8;

/// Longest name: it is part of file names and of a condition's name.
const MAX_NAME: usize = 32;

/// How often a line is looked at.
const CHECKS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(3600)];

/// The longest outage that nobody need be told of.
const MAX_ALERT_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The parts of the file that are ours.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `[host]`.
    pub host: host::Host,
    /// `[[link]]`, in the order of the file.
    pub links: Vec<Link>,
}

/// `[[link]]`: an internet line, and what is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its name in messages and files.
    pub name: String,
    /// Where its packets leave: neither is the way of the default route.
    pub interface: Option<String>,
    /// The address they have there.
    pub source: Option<IpAddr>,
    /// Autonomous systems (RFC 1930) that the line may be of; empty for any.
    pub expect_asn: Vec<u32>,
    /// Parts of names of the ISP, any of which has to be found, in whatever case; empty for any.
    pub expect_isp: Vec<String>,
    /// Least download.
    pub min_download: Option<Floor>,
    /// Least upload.
    pub min_upload: Option<Floor>,
    /// Most idle latency.
    pub max_latency: Option<Ceiling>,
    /// Most loss, as a share from 0 to 1.
    pub max_loss: Option<f64>,
    /// Bytes of a month; never exceeded.
    pub monthly_data: u64,
    /// Day on which the month of the line's plan begins, 1 to 28.
    pub month_begins: u8,
    /// Who answers tests, in this order.
    pub providers: Vec<Provider>,
    /// The line's own name servers; nothing is to find them out.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// Where TCP connections are tried.
    pub targets: Vec<SocketAddr>,
    /// How often `watch` looks.
    pub check_every: Duration,
    /// How long it may be down before somebody is told.
    pub alert_after: Duration,
    /// Of so many checks so many have to be bad, before somebody is told.
    pub confirm: MofN,
    /// Hours of the day, in local time, in which nothing is downloaded.
    pub quiet_hours: Vec<Hours>,
    /// Whether one check a day takes longer, to see through a token bucket.
    pub long_check: bool,
    /// A file of certificates that are believed in the place of the system's, for a server of one's own.
    pub ca_file: Option<PathBuf>,
}

/// The least of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Floor {
    /// Bits a second of TCP payload.
    BitsPerSecond(f64),
    /// A share of the usual, above 0 and below 1.
    OfUsual(f64),
}

/// The most of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ceiling {
    /// So long.
    Time(Duration),
    /// So many times the usual, above 1.
    OfUsual(f64),
}

/// `2 of 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MofN {
    /// How many have to be bad.
    pub bad: usize,
    /// Of the last so many.
    pub of: usize,
}

/// A part of the day, in minutes since midnight; one that ends before it begins goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// The first minute.
    pub from: u16,
    /// The first minute after it.
    pub to: u16,
}

impl Hours {
    /// Whether it has this minute of the day.
    #[must_use]
    pub fn contains(&self, minute: u16) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl Settings {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with everything that is wrong in what is ours.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        config::load(path, Self::parse)
    }

    /// Reads and checks a file's text. What is wrong in other programs' sections is theirs to tell.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let mut document = Document::parse(text);
        let host = host::read(&mut document);
        let mut names: Vec<String> = Vec::new();
        let links = document.tables("link", |_, section| {
            let link = link(section)?;
            if names.contains(&link.name) {
                let name = &link.name;
                section.reject_section(format!("{name:?} stands there twice; each has its own"));
            }
            names.push(link.name.clone());
            if names.len() == MAX_LINKS + 1 {
                section.reject_section(format!("more than {MAX_LINKS} lines"));
            }
            Some(link)
        });
        let findings = document.finish(SECTIONS);
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Self { host, links: links.into_iter().flatten().collect() })
    }
}

fn link(section: &mut Section<'_, '_>) -> Option<Link> {
    let found = section.findings();
    let name = value(section.need("name"), "name", parse_name);
    let interface = value(section, "interface", parse_interface);
    let source = value(section, "source", parse_source);
    let expect_asn = section.numbers("expect-asn").unwrap_or_default();
    let expect_isp = list(section, "expect-isp", parse_isp);
    let min_download = value(section, "min-download", parse_floor);
    let min_upload = value(section, "min-upload", parse_floor);
    let max_latency = value(section, "max-latency", parse_ceiling);
    let max_loss = value(section, "max-loss", parse_loss);
    let monthly_data = value(section, "monthly-data", parse_data);
    let month_begins = month_begins(section);
    let providers = list(section, "providers", provider::parse);
    let resolvers = resolvers(section);
    let targets = list(section, "targets", parse_target);
    let check_every = check_every(section);
    let alert_after = alert_after(section);
    let confirm = value(section, "confirm", parse_confirm);
    let quiet_hours = list(section, "quiet-hours", parse_hours);
    let long_check = section.get_or("long-check", true);
    let ca_file = value(section, "ca-file", parse_ca_file);
    if resolvers.as_ref().is_some_and(Vec::is_empty) && targets.as_ref().is_none_or(Vec::is_empty) {
        section.reject_section(
            "with no resolvers and no targets nobody can be asked, and the line would be down for ever; \
             leave resolvers out, or name targets"
                .to_owned(),
        );
    }
    if providers.as_ref().is_some_and(Vec::is_empty)
        && (min_download.is_some() || min_upload.is_some())
    {
        section.reject_section(
            "with no providers nobody can be asked for min-download or min-upload; leave providers out".to_owned(),
        );
    }
    if section.findings() != found {
        return None;
    }
    let or_default = |providers: Option<Vec<Provider>>| match providers {
        Some(providers) => providers,
        None => provider::defaults(),
    };
    Some(Link {
        name: name?,
        interface,
        source,
        expect_asn: expect_asn.into_iter().map(|asn| asn.value).collect(),
        expect_isp: expect_isp.unwrap_or_default(),
        min_download,
        min_upload,
        max_latency,
        max_loss,
        monthly_data: monthly_data.unwrap_or(2_000_000_000),
        month_begins,
        providers: or_default(providers),
        resolvers,
        targets: targets.unwrap_or_default(),
        check_every,
        alert_after: alert_after.unwrap_or(Duration::from_secs(60)),
        confirm: confirm.unwrap_or(MofN { bad: 2, of: 3 }),
        quiet_hours: quiet_hours.unwrap_or_default(),
        long_check,
        ca_file,
    })
}

fn value<T>(
    section: &mut Section<'_, '_>,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    section.parse(key, parse).map(|value| value.value)
}

fn list<T>(
    section: &mut Section<'_, '_>,
    key: &str,
    parse: impl FnMut(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let values = section.parse_list(key, parse)?;
    Some(values.into_iter().map(|value| value.value).collect())
}

fn parse_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=MAX_NAME).contains(&text.len()) && text.chars().all(plain);
    fits.then(|| text.to_owned()).ok_or_else(|| "a name has 1 to 32 letters, digits, - or _".into())
}

/// A device's name has 15 bytes at most, and neither spaces nor slashes (the kernel's `dev_valid_name`).
fn parse_interface(text: &str) -> Result<String, String> {
    let good = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':');
    let fits = (1..=15).contains(&text.len()) && text.chars().all(good);
    let named = fits && text != "." && text != "..";
    let wrong = || format!("{text:?} is no name of an interface; ip -br link lists them");
    named.then(|| text.to_owned()).ok_or_else(wrong)
}

fn parse_source(text: &str) -> Result<IpAddr, String> {
    let wrong = || format!("{text:?}: write this machine's address on the line, as \"192.0.2.10\"");
    let address = text.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
    if address.is_unspecified() || address.is_multicast() { Err(wrong()) } else { Ok(address) }
}

fn parse_isp(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("write a part of the ISP's name".into()) } else { Ok(text.to_owned()) }
}

/// Least rate that can be asked for, in bits a second: what is much slower cannot be told from a line that stands.
const LEAST_FLOOR: f64 = 64e3;

/// What stands behind a share of what a line usually has.
const USUAL: &str = "of usual";

fn parse_data(text: &str) -> Result<u64, String> {
    let bytes = units::parse_bytes(text)?;
    let wrong = || format!("{text:?}: nothing could be tested; write more, as \"2 GB\"");
    (bytes > 0).then_some(bytes).ok_or_else(wrong)
}

fn parse_floor(text: &str) -> Result<Floor, String> {
    if let Some(share) = text.trim().strip_suffix(USUAL) {
        let share = units::parse_percent(share)?;
        let fits = share > 0.0 && share < 1.0;
        let wrong = || format!("{text:?}: write a share below the usual, as \"50 % of usual\"");
        return fits.then_some(Floor::OfUsual(share)).ok_or_else(wrong);
    }
    let rate = units::parse_rate(text)?;
    let wrong = || format!("{text:?}: {} at least can be told", units::rate(LEAST_FLOOR));
    (rate >= LEAST_FLOOR).then_some(Floor::BitsPerSecond(rate)).ok_or_else(wrong)
}

fn parse_ceiling(text: &str) -> Result<Ceiling, String> {
    if let Some(share) = text.trim().strip_suffix(USUAL) {
        let share = units::parse_percent(share)?;
        let wrong = || format!("{text:?}: write more than the usual, as \"300 % of usual\"");
        return (share > 1.0).then_some(Ceiling::OfUsual(share)).ok_or_else(wrong);
    }
    let plain: String = text.split_whitespace().collect();
    let time = duration::parse(&plain)
        .map_err(|_| format!("{text:?} is no latency; write \"100 ms\", or \"300 % of usual\""))?;
    if time.is_zero() { Err("more than 0 ms".into()) } else { Ok(Ceiling::Time(time)) }
}

fn parse_loss(text: &str) -> Result<f64, String> {
    let share = units::parse_percent(text)?;
    let wrong = || format!("{text:?}: more than all is never lost; write a share, as \"2 %\"");
    if share < 1.0 { Ok(share) } else { Err(wrong()) }
}

fn month_begins(section: &mut Section<'_, '_>) -> u8 {
    let Some(day) = section.get::<u32>("month-begins") else { return 1 };
    match u8::try_from(day.value) {
        Ok(first @ 1..=28) => first,
        _ => {
            section.reject("month-begins", &day, "a day that each month has: 1 to 28");
            1
        }
    }
}

/// `"auto"`, or a list.
fn resolvers(section: &mut Section<'_, '_>) -> Option<Vec<SocketAddr>> {
    let parse = |text: &str| {
        let address = text.parse().map(|address: IpAddr| SocketAddr::new(address, 53));
        let address = address.or_else(|_| text.parse()).ok().filter(is_one_hosts);
        address.ok_or_else(|| {
            format!("{text:?}: write an address, or an address and a port, as \"192.0.2.53\"")
        })
    };
    if !section.is_string("resolvers") {
        return list(section, "resolvers", parse);
    }
    let auto = |text: &str| match text {
        "auto" => Ok(()),
        _ => Err("write \"auto\", or a list of addresses, as [\"192.0.2.53\"]".to_owned()),
    };
    section.parse("resolvers", auto);
    None
}

fn parse_target(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        format!(
            "{text:?}: write an address and a port, as \"203.0.113.50:22\" or \"[2001:db8::1]:443\""
        )
    };
    let target: SocketAddr = text.parse().map_err(|_| wrong())?;
    if is_one_hosts(&target) { Ok(target) } else { Err(wrong()) }
}

/// Whether somebody can be asked there. 0.0.0.0 would be this machine, which answers whatever becomes of the line.
fn is_one_hosts(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(four) if four.is_broadcast());
    address.port() > 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

fn check_every(section: &mut Section<'_, '_>) -> Duration {
    let Some(every) = section.parse("check-every", duration::parse) else {
        return Duration::from_secs(10);
    };
    let [least, most] = CHECKS;
    if !(least..=most).contains(&every.value) {
        section.reject("check-every", &every, "2s to 1h");
    }
    every.value
}

fn alert_after(section: &mut Section<'_, '_>) -> Option<Duration> {
    let after = section.parse("alert-after", duration::parse)?;
    if after.value > MAX_ALERT_AFTER {
        section.reject("alert-after", &after, "7d at most; else nobody would ever be told");
    }
    Some(after.value)
}

fn parse_confirm(text: &str) -> Result<MofN, String> {
    let wrong = || format!("{text:?}: write \"2 of 3\", of 24 checks at most");
    let (bad, of) = text.split_once(" of ").ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    let (bad, of) = (number(bad)?, number(of)?);
    if (1..=of).contains(&bad) && of <= 24 { Ok(MofN { bad, of }) } else { Err(wrong()) }
}

fn parse_hours(text: &str) -> Result<Hours, String> {
    let wrong = || format!("{text:?}: write a part of the day, as \"18:00-23:30\"");
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
    if from == to { Err(wrong()) } else { Ok(Hours { from, to }) }
}

fn parse_ca_file(text: &str) -> Result<PathBuf, String> {
    let absolute = text.starts_with('/');
    absolute.then(|| text.into()).ok_or_else(|| format!("{text:?}: write the whole path"))
}

#[cfg(test)]
mod tests;
