//! `[[tunnel]]` and `[[tunnel-watch]]`: strict, all findings at once.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notifier::config::{self, ConfigError, Document, Finding, SECTIONS, Section, duration, host};
use notifier::known_good::parse_fingerprint;

use crate::external::config::{self as external, External};
use crate::on_demand::config::{self as on_demand, OnDemand};

/// Most tunnels: each has a thread and an ssh.
const MAX_TUNNELS: usize = 16;

/// Longest name: it is part of a socket's path, which has 108 bytes (unix(7)).
const MAX_NAME: usize = 32;

/// Shortest and longest time between two looks: less is logged by sshd as an attack, and punished
/// from 9.8 on.
const CHECKS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(3600)];

/// How often a tunnel is looked through, and on a line where each byte costs. A look is 1.5 KB, so this is
/// 5.8 MB a day, or 0.9; and what is broken is known within 25 s.
pub(crate) const CHECK_EVERY: Duration = Duration::from_secs(23);
const METERED_CHECK_EVERY: Duration = Duration::from_secs(150);

/// How long a tunnel may be down before somebody is told.
pub(crate) const ALERT_AFTER: Duration = Duration::from_secs(120);

/// The parts of the file that are ours.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[host]`.
    pub host: host::Host,
    /// `[[tunnel]]`, for `run`.
    pub tunnels: Vec<Tunnel>,
    /// `[[tunnel]]` of `type = "external"`, for `run`.
    pub externals: Vec<External>,
    /// `[[tunnel-watch]]`, for `watch`.
    pub watches: Vec<Watch>,
}

/// `[[tunnel]]`: a reverse forward that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name in messages and files.
    pub name: String,
    /// Where it leads to: `tunnel@203.0.113.50`.
    pub jump: Jump,
    /// The private key.
    pub identity: PathBuf,
    /// The jump host's key, and nothing else.
    pub known_hosts: PathBuf,
    /// Ports on the jump host, home first, then fallbacks. At least one.
    pub remote_ports: Vec<u16>,
    /// What the forward leads to on this side.
    pub target: SocketAddr,
    /// How often the forward is looked through.
    pub check_every: Duration,
    /// How long it may be down before somebody is told.
    pub alert_after: Duration,
    /// Whether each byte costs.
    pub metered: bool,
    /// Whether the jump host has `tunnelwatch release` as this key's command.
    pub release: bool,
    /// Whether it is found out who comes through.
    pub chain: bool,
    /// More options for ssh(1), as `-o` takes them.
    pub ssh_options: Vec<String>,
    /// The ssh program.
    pub ssh: PathBuf,
    /// How the jump host is started and stopped, where it does not always run.
    pub on_demand: Option<OnDemand>,
    /// Where it is now, as its provider says.
    pub address: Option<String>,
}

/// Where a tunnel leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// The user there.
    pub user: String,
    /// Its name or address.
    pub host: String,
    /// The port of its sshd.
    pub port: u16,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} port {}", self.user, self.host, self.port)
    }
}

impl Tunnel {
    /// The value of an option in `ssh-options`, by its name in lower case. The first counts, as with
    /// ssh.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.ssh_options.iter().filter_map(|option| option.split_once('='));
        let found = options.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// What ssh is to connect to: the jump host, or where its provider has put it.
    #[must_use]
    pub fn destination(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.jump.host)
    }

    /// Whether one of these stands in `ssh-options`.
    #[must_use]
    pub fn has_option(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.option(name).is_some())
    }
}

/// `[[tunnel-watch]]`: a tunnel as it is seen from the jump host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Its name in messages.
    pub name: String,
    /// Where it answers: loopback for a forward of ssh, else the other host's address inside a VPN.
    pub address: IpAddr,
    /// Ports on which it may be, home first. At least one, and just one inside a VPN.
    pub ports: Vec<u16>,
    /// Fingerprints of the keys of the host behind it; empty for any host.
    pub host_keys: Vec<String>,
    /// How often it is looked at.
    pub check_every: Duration,
    /// How long it may be down before somebody is told.
    pub alert_after: Duration,
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
        let (tunnels, externals) = tunnels(&mut document);
        let watches = document.tables("tunnel-watch", |_, section| watch(section));
        let findings = document.finish(SECTIONS);
        if !findings.is_empty() {
            return Err(findings);
        }
        let settings =
            Self { host, tunnels, externals, watches: watches.into_iter().flatten().collect() };
        let mut findings = Vec::new();
        let whole = |key: &str, message: String| Finding { line: 0, key: key.to_owned(), message };
        let externals = settings.externals.iter().map(|external| external.name.as_str());
        let tunnels = settings.tunnels.iter().map(|tunnel| tunnel.name.as_str()).chain(externals);
        let watches = settings.watches.iter().map(|watch| watch.name.as_str());
        findings.extend(twice(tunnels).map(|name| whole("tunnel.name", name)));
        findings.extend(twice(watches).map(|name| whole("tunnel-watch.name", name)));
        let tunnels = settings.tunnels.len() + settings.externals.len();
        if tunnels.max(settings.watches.len()) > MAX_TUNNELS {
            findings.push(whole("tunnel", format!("more than {MAX_TUNNELS}")));
        }
        if findings.is_empty() { Ok(settings) } else { Err(findings) }
    }
}

/// Names that stand there twice.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = String> {
    let names: Vec<&str> = names.collect();
    let again = names.iter().enumerate().filter(|(at, name)| names[..*at].contains(name));
    let messages: Vec<String> =
        again.map(|(_, name)| format!("{name:?} stands there twice; each has its own")).collect();
    messages.into_iter()
}

/// `[[tunnel]]` of both types.
fn tunnels(document: &mut Document<'_>) -> (Vec<Tunnel>, Vec<External>) {
    let (mut tunnels, mut externals) = (Vec::new(), Vec::new());
    document.tables("tunnel", |_, section| match external::is_external(section) {
        true => externals.extend(external::read(section)),
        false => tunnels.extend(tunnel(section)),
    });
    (tunnels, externals)
}

fn tunnel(section: &mut Section<'_, '_>) -> Option<Tunnel> {
    let found = section.findings();
    let name = name(section);
    let jump = section.need("jump").parse("jump", parse_jump);
    let port = port(section, "port").unwrap_or(22);
    let identity = path(section, "identity");
    let known_hosts = path(section, "known-hosts");
    let remote_ports = ports(section, "remote-ports");
    let target = section.parse("target", parse_target).map(|target| target.value);
    let metered = section.get_or("metered", false);
    let usual = if metered { METERED_CHECK_EVERY } else { CHECK_EVERY };
    let check_every = every(section).unwrap_or(usual);
    let alert_after = time(section, "alert-after", ALERT_AFTER);
    let release = section.get_or("release", false);
    let chain = section.get_or("chain", true);
    let ssh_options = section.parse_list("ssh-options", parse_option);
    let ssh = section.parse("ssh", parse_path).map(|ssh| ssh.value);
    let on_demand = section.table("on-demand", on_demand::read).flatten();
    external::refuse_others(section, false);
    if section.findings() != found {
        return None;
    }
    let (user, host) = jump?.value;
    Some(Tunnel {
        name: name?,
        jump: Jump { user, host, port },
        identity: identity.unwrap_or_else(|| "/var/lib/tunnelwatch/id_ed25519".into()),
        known_hosts: known_hosts.unwrap_or_else(|| "/var/lib/tunnelwatch/known_hosts".into()),
        remote_ports: remote_ports?,
        target: target.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 22))),
        check_every,
        alert_after,
        metered,
        release,
        chain,
        ssh_options: ssh_options.into_iter().flatten().map(|option| option.value).collect(),
        ssh: ssh.unwrap_or_else(|| "/usr/bin/ssh".into()),
        on_demand,
        address: None,
    })
}

fn watch(section: &mut Section<'_, '_>) -> Option<Watch> {
    let found = section.findings();
    let name = name(section);
    let address = section.parse("address", parse_address).map(|address| address.value);
    let address = address.unwrap_or(LOOPBACK);
    let ports = ports(section, "ports");
    if address != LOOPBACK && ports.as_ref().is_some_and(|ports| ports.len() > 1) {
        section.reject_section("with an address, ports is the one port of the sshd there: [22]");
    }
    let host_keys = section.parse_list("host-keys", parse_fingerprint);
    let check_every = every(section).unwrap_or(Duration::from_secs(30));
    let alert_after = time(section, "alert-after", Duration::from_secs(300));
    if section.findings() != found {
        return None;
    }
    Some(Watch {
        name: name?,
        address,
        ports: ports?,
        host_keys: host_keys.into_iter().flatten().map(|key| key.value).collect(),
        check_every,
        alert_after,
    })
}

pub(crate) fn name(section: &mut Section<'_, '_>) -> Option<String> {
    section.need("name").parse("name", parse_name).map(|name| name.value)
}

/// The name of a tunnel, or of a link.
pub(crate) fn parse_name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=MAX_NAME).contains(&text.len()) && text.chars().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("a name has 1 to 32 letters, digits, - or _") }
}

fn port(section: &mut Section<'_, '_>, key: &str) -> Option<u16> {
    let number = section.get::<u32>(key)?;
    let port = u16::try_from(number.value).ok().filter(|port| *port > 0);
    if port.is_none() {
        section.reject(key, &number, "a port is a number from 1 to 65535");
    }
    port
}

/// Ports: a list of numbers, which [`Section::parse_list`] does not read, as TOML has them.
fn ports(section: &mut Section<'_, '_>, key: &str) -> Option<Vec<u16>> {
    section.need(key);
    let numbers = section.numbers(key)?;
    let mut ports = Vec::new();
    for number in &numbers {
        match u16::try_from(number.value).ok().filter(|port| *port > 0) {
            Some(port) if ports.contains(&port) => {
                section.reject(key, number, "stands there twice")
            }
            Some(port) => ports.push(port),
            None => section.reject(key, number, "a port is a number from 1 to 65535"),
        }
    }
    if numbers.is_empty() || ports.len() > 8 {
        section.reject_section(format!("{key} has 1 to 8 ports, home first"));
    }
    Some(ports)
}

pub(crate) fn every(section: &mut Section<'_, '_>) -> Option<Duration> {
    let every = section.parse("check-every", duration::parse)?;
    let [least, most] = CHECKS;
    if !(least..=most).contains(&every.value) {
        section.reject("check-every", &every, "5s to 1h");
    }
    Some(every.value)
}

pub(crate) fn time(section: &mut Section<'_, '_>, key: &str, usual: Duration) -> Duration {
    let Some(time) = section.parse(key, duration::parse) else { return usual };
    if time.value > Duration::from_secs(24 * 3600) {
        section.reject(key, &time, "more than 24h: nobody would be told in time");
    }
    time.value
}

fn path(section: &mut Section<'_, '_>, key: &str) -> Option<PathBuf> {
    section.parse(key, parse_path).map(|path| path.value)
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    // ssh(1) takes these words apart in its options, so a path must not have them.
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '%' | '$' | '~' | '\\');
    if text.starts_with('/') && text.chars().all(plain) {
        Ok(text.into())
    } else {
        Err(format!("{text:?}: write a whole path, without spaces, quotes, %, $, ~ and \\"))
    }
}

/// `tunnel@203.0.113.50`, `tunnel@jump.example.org`, `tunnel@2001:db8::1`.
fn parse_jump(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("{text:?}: write user@host, as \"tunnel@203.0.113.50\"");
    let (user, host) = text.rsplit_once('@').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let of_user = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
    // One that begins with - would be an option to ssh.
    let good = |name: &str, of: fn(char) -> bool| {
        !name.is_empty() && !name.starts_with('-') && name.len() <= 253 && name.chars().all(of)
    };
    let named = host.parse::<IpAddr>().is_ok() || !host.contains(':');
    if good(user, of_user) && good(host, of_host) && named {
        Ok((user.to_owned(), host.to_owned()))
    } else {
        Err(wrong())
    }
}

/// Where forwards of ssh are: they are bound there and nowhere else.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let wrong = || format!("{text:?}: write an address inside the VPN, as \"10.8.0.6\"");
    let address: IpAddr = text.parse().map_err(|_| wrong())?;
    // On other addresses of this machine's there is no forward of ours.
    let ours = address.to_canonical().is_loopback() && address != LOOPBACK;
    if ours || address.is_unspecified() { Err(wrong()) } else { Ok(address) }
}

fn parse_target(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?}: write an address and a port, as \"127.0.0.1:22\" or \"[::1]:22\"")
    })
}

/// Options that this program sets itself, because the proof stands on them.
const OURS: &[&str] = &[
    "batchmode",
    "clearallforwardings",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "exitonforwardfailure",
    "forkafterauthentication",
    "globalknownhostsfile",
    "host",
    "include",
    "knownhostscommand",
    "localforward",
    "loglevel",
    "match",
    "nohostauthenticationforlocalhost",
    "remoteforward",
    "sessiontype",
    "stricthostkeychecking",
    "streamlocalbindunlink",
    "userknownhostsfile",
    "verifyhostkeydns",
];

fn parse_option(text: &str) -> Result<String, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?}: write Option=value, as ssh_config(5) names it"))?;
    let key = key.trim().to_ascii_lowercase();
    // Where a word ends is ssh's to say: it would read "StrictHostKeyChecking no #=x" as another option.
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("{text:?}: write Option=value, as ssh_config(5) names it"));
    }
    if OURS.contains(&key.as_str()) {
        return Err(format!("{key} is set by tunnelwatch itself; leave it out"));
    }
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_');
    let ours_to_pass = ["bindinterface", "bindaddress", "addressfamily"].contains(&key.as_str());
    if ours_to_pass && !value.trim().chars().all(of_name) {
        return Err(format!("{text:?}: the value is a name or an address"));
    }
    if key == "bindaddress" && value.trim().parse::<IpAddr>().is_err() {
        return Err(format!("{text:?}: write an address, as \"BindAddress=192.0.2.7\""));
    }
    if value.trim().is_empty() || text.contains(|c: char| c.is_control()) {
        return Err(format!("{text:?}: write Option=value, as ssh_config(5) names it"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[[tunnel]]
name = "cloud"
jump = "tunnel@203.0.113.50"
port = 22022
identity = "/etc/tunnelwatch/id"
known-hosts = "/etc/tunnelwatch/known_hosts"
remote-ports = [2222, 2223]
target = "127.0.0.1:22"
check-every = "15s"
alert-after = "2m"
metered = true
release = true
ssh-options = ["BindInterface=wwan0"]
[[tunnel-watch]]
name = "home"
ports = [2222, 2223]
alert-after = "5m"
"#;

    fn findings(text: &str) -> Vec<String> {
        let findings = Settings::parse(text).err().unwrap_or_default();
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_file_is_read() {
        let settings = Settings::parse(WHOLE).unwrap();
        let tunnel = &settings.tunnels[0];
        assert_eq!(tunnel.jump.to_string(), "tunnel@203.0.113.50 port 22022");
        assert_eq!((tunnel.remote_ports.as_slice(), tunnel.metered), (&[2222, 2223][..], true));
        assert_eq!(tunnel.check_every, Duration::from_secs(15));
        assert_eq!(settings.watches[0].ports, [2222, 2223]);
        assert_eq!(settings.watches[0].address, LOOPBACK);
        let least = "[[tunnel]]\nname = \"a\"\njump = \"t@h\"\nremote-ports = [1]\n";
        let tunnel = &Settings::parse(least).unwrap().tunnels[0];
        assert_eq!((tunnel.check_every, tunnel.jump.port), (CHECK_EVERY, 22));
        assert_eq!(tunnel.target, "127.0.0.1:22".parse().unwrap());
    }

    #[test]
    fn each_mistake_has_its_line_its_key_and_a_remedy() {
        let table = [
            ("name = \"cloud\"", "name = \"a b\"", "tunnel.1.name: a name has"),
            ("jump = \"tunnel@203.0.113.50\"", "", "tunnel.1.jump: is missing"),
            ("tunnel@203.0.113.50", "203.0.113.50", "write user@host"),
            ("tunnel@203.0.113.50", "t@-oProxyCommand", "write user@host"),
            ("tunnel@203.0.113.50", "t@a b", "write user@host"),
            ("port = 22022", "port = 70000", "a port is a number"),
            ("[2222, 2223]\ntarget", "[2222, 0]\ntarget", "a port is a number"),
            ("[2222, 2223]\ntarget", "[2222, 2222]\ntarget", "stands there twice"),
            ("[2222, 2223]\ntarget", "[]\ntarget", "1 to 8 ports"),
            ("[2222, 2223]\ntarget", "[\"2222\"]\ntarget", "a whole number"),
            ("127.0.0.1:22\"", "localhost:22\"", "write an address and a port"),
            ("\"15s\"", "\"1s\"", "5s to 1h"),
            ("/etc/tunnelwatch/id", "id", "write a whole path"),
            ("/etc/tunnelwatch/id", "/etc/tunnel watch", "write a whole path"),
            ("BindInterface=wwan0", "BindInterface", "write Option=value"),
            ("BindInterface=wwan0", "LogLevel=QUIET", "set by tunnelwatch itself"),
            ("BindInterface=wwan0", "KnownHostsCommand=/bin/x", "set by tunnelwatch itself"),
            ("BindInterface=wwan0", "VerifyHostKeyDNS=yes", "set by tunnelwatch itself"),
            ("BindInterface=wwan0", " Include = /x", "set by tunnelwatch itself"),
            ("BindInterface=wwan0", "StrictHostKeyChecking no #=x", "write Option=value"),
            ("BindInterface=wwan0", "LogLevel\\tQUIET=x", "write Option=value"),
            ("BindInterface=wwan0", "=x", "write Option=value"),
            ("BindInterface=wwan0", "Compression= ", "write Option=value"),
            ("BindInterface=wwan0", "BindInterface=a;id", "a name or an address"),
            ("BindInterface=wwan0", "BindAddress=wwan0", "write an address"),
            (
                "\nports = [2222, 2223]",
                "\nports = [22, 23]\naddress = \"10.8.0.6\"",
                "the one port",
            ),
            (
                "\nports = [2222, 2223]",
                "\nports = [22]\naddress = \"vpn\"",
                "an address inside the VPN",
            ),
            (
                "\nports = [2222, 2223]",
                "\nports = [22]\naddress = \"::1\"",
                "an address inside the VPN",
            ),
            ("metered", "meterd", "no such key"),
            ("[[tunnel-watch]]", "[[tunnel-wach]]", "no such section"),
        ];
        for (old, new, want) in table {
            let text = WHOLE.replacen(old, new, 1);
            assert_ne!(text, WHOLE, "{old}");
            let found = findings(&text);
            assert!(found.iter().any(|line| line.contains(want)), "{new}: {found:?}");
        }
        let twice =
            WHOLE.to_owned() + "[[tunnel]]\nname = \"cloud\"\njump = \"t@h\"\nremote-ports = [1]\n";
        assert!(findings(&twice)[0].contains("stands there twice"));
    }

    #[test]
    fn the_example_file_has_every_key_and_each_example_in_it_is_valid() {
        const EXAMPLE: &str = include_str!("../../etc/bastion.toml");
        let ours = EXAMPLE.split_once("#[[tunnel]]").unwrap().1;
        let text: String = ("#[[tunnel]]".to_owned() + ours)
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => rest.to_owned() + "\n",
                _ => "\n".to_owned(),
            })
            .collect();
        let settings = Settings::parse(&text).unwrap_or_else(|findings| panic!("{findings:?}"));
        let least = "[[tunnel]]\nname = \"cloud\"\njump = \"tunnel@203.0.113.50\"\n\
                     remote-ports = [2222, 2223]\n[[tunnel-watch]]\nname = \"home\"\nports = [2222]\n";
        let defaults = Settings::parse(least).unwrap();
        let Tunnel { ssh_options, on_demand, .. } = settings.tunnels[0].clone();
        let [ec2, hetzner, own] = [0, 1, 2].map(|at| settings.tunnels[at].on_demand.clone());
        let tunnel = Tunnel { ssh_options, on_demand, ..defaults.tunnels[0].clone() };
        assert_eq!(settings.tunnels[0], tunnel);
        let of_times = |of: Option<OnDemand>| {
            let OnDemand { link, start_after, stop_after, most_a_month, .. } = of.unwrap();
            (link, start_after, stop_after, most_a_month)
        };
        assert_eq!(of_times(ec2), of_times(own), "what stands there is the default");
        assert_eq!(hetzner.unwrap().provider.word(), "hetzner");
        let Watch { check_every, alert_after, .. } = settings.watches[0];
        assert_eq!(check_every, defaults.watches[0].check_every);
        assert_eq!(alert_after, defaults.watches[0].alert_after);
        assert_eq!((settings.watches[1].ports.as_slice(), settings.watches.len()), (&[22][..], 2));
        let least = "[[tunnel]]\nname = \"vpn\"\ntype = \"external\"\ntarget = \"10.8.0.2:22\"\n";
        let default = &Settings::parse(least).unwrap().externals[0];
        let [vpn, other] = &settings.externals[..] else { panic!("two") };
        assert_eq!((vpn.check_every, vpn.alert_after), (default.check_every, default.alert_after));
        assert_eq!(other.timeout, default.timeout);
        let mut document = Document::parse(&text);
        tunnels(&mut document);
        document.tables("tunnel-watch", |_, section| watch(section));
        for known in document.known_keys() {
            let key = known.rsplit('.').next().unwrap();
            let begins = [format!("#{key} = "), format!("#[tunnel.{key}]")];
            let stands =
                ours.lines().any(|line| begins.iter().any(|begin| line.starts_with(begin)));
            assert!(stands, "{known} is read and not in etc/bastion.toml");
        }
    }

    #[test]
    fn other_programs_sections_are_theirs() {
        assert!(Settings::parse("[notify]\nroute = 7\n[login]\nx = 1\n[[link]]\ny = 2\n").is_ok());
    }
}
