//! `[[tunnel]]` with `type = "external"`.

use std::net::SocketAddr;
use std::time::Duration;

use notifier::config::{Section, duration};
use notifier::known_good::parse_fingerprint;

use crate::config;

/// How long a command may take where the file says nothing, and the shortest and longest.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Longest command, in words.
const MAX_WORDS: usize = 64;

/// Keys of a tunnel of the other type.
const OF_SSH: &[&str] = &[
    "chain",
    "identity",
    "jump",
    "known-hosts",
    "metered",
    "on-demand",
    "port",
    "release",
    "remote-ports",
    "ssh",
    "ssh-options",
];
const OF_EXTERNAL: &[&str] = &["host-keys", "start", "stop", "timeout", "unit"];

/// A tunnel that another program makes: a VPN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Its name in messages and files.
    pub name: String,
    /// An sshd at an address inside the VPN.
    pub target: SocketAddr,
    /// Fingerprints of its host keys, any of which has to be shown; empty for any host.
    pub host_keys: Vec<String>,
    /// How it is started.
    pub means: Means,
    /// How long a command may take.
    pub timeout: Duration,
    /// How often it is looked at.
    pub check_every: Duration,
    /// How long it may be down before somebody is told.
    pub alert_after: Duration,
}

/// How a tunnel is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// Not by us: it is only watched.
    Watched,
    /// It is a unit of systemd's.
    Unit(String),
    /// By commands: programs with their arguments.
    Commands {
        /// Starts it, and ends when that is done.
        start: Vec<String>,
        /// Stops it.
        stop: Vec<String>,
    },
}

impl Means {
    /// Whether there is a way to start it.
    #[must_use]
    pub fn can_start(&self) -> bool {
        *self != Self::Watched
    }
}

/// Whether a tunnel is of this type, by its key `type`; a type that is none is a finding.
pub fn is_external(section: &mut Section<'_, '_>) -> bool {
    let parse = |text: &str| match text {
        "ssh" => Ok(false),
        "external" => Ok(true),
        _ => Err(format!("{text:?}: write \"ssh\", or \"external\" for a VPN")),
    };
    section.parse("type", parse).is_some_and(|found| found.value)
}

/// Refuses the keys that only the other type has.
pub fn refuse_others(section: &mut Section<'_, '_>, external: bool) {
    let (keys, remedy) = match external {
        true => (OF_SSH, "is of tunnels that tunnelwatch makes by ssh; leave it out, or the type"),
        false => (OF_EXTERNAL, "is of type = \"external\"; leave it out, or write that type"),
    };
    for key in keys {
        section.refuse(key, remedy);
    }
}

/// Reads what stands in the section.
pub fn read(section: &mut Section<'_, '_>) -> Option<External> {
    let found = section.findings();
    let name = config::name(section);
    let target = section.need("target").parse("target", parse_target).map(|target| target.value);
    let host_keys = section.parse_list("host-keys", parse_fingerprint);
    let means = means(section);
    let timeout = section.parse("timeout", duration::parse).map_or(TIMEOUT, |timeout| {
        let [least, most] = TIMEOUTS;
        if !(least..=most).contains(&timeout.value) {
            section.reject("timeout", &timeout, "1s to 60s");
        }
        timeout.value
    });
    let check_every = config::every(section).unwrap_or(config::CHECK_EVERY);
    let alert_after = config::time(section, "alert-after", config::ALERT_AFTER);
    refuse_others(section, true);
    if section.findings() != found {
        return None;
    }
    Some(External {
        name: name?,
        target: target?,
        host_keys: host_keys.into_iter().flatten().map(|key| key.value).collect(),
        means: means?,
        timeout,
        check_every,
        alert_after,
    })
}

fn means(section: &mut Section<'_, '_>) -> Option<Means> {
    let has_command = section.has("start") || section.has("stop");
    if section.has("unit") && has_command {
        section.reject_section("unit and start are two ways for one thing; leave one of them out");
    } else if has_command && !(section.has("start") && section.has("stop")) {
        section.reject_section("start and stop belong together: a restart is one after the other");
    }
    let unit = section.parse("unit", parse_unit).map(|unit| unit.value);
    let start = command(section, "start");
    let stop = command(section, "stop");
    match (unit, start, stop) {
        (Some(unit), _, _) => Some(Means::Unit(unit)),
        (None, Some(start), Some(stop)) => Some(Means::Commands { start, stop }),
        (None, None, None) => Some(Means::Watched),
        _ => None,
    }
}

/// A program's whole path, and its arguments.
pub(crate) fn command(section: &mut Section<'_, '_>, key: &str) -> Option<Vec<String>> {
    let word = |text: &str| match text.contains('\0') {
        true => Err("a NUL cannot be handed to a program"),
        false => Ok(text.to_owned()),
    };
    let words = section.parse_list(key, word)?;
    let words: Vec<String> = words.into_iter().map(|word| word.value).collect();
    match words.first() {
        None => section.reject_section(format!("{key} is empty; write [\"/path/of/a/program\"]")),
        Some(_) if words.len() > MAX_WORDS => {
            section.reject_section(format!("{key} has more than {MAX_WORDS} words"));
        }
        Some(program) if !program.starts_with('/') => section.reject_section(format!(
            "{key}: {program:?}: write the program's whole path; there is no shell that would look \
             for it"
        )),
        Some(_) => {}
    }
    Some(words)
}

fn parse_target(text: &str) -> Result<SocketAddr, String> {
    let target: SocketAddr = text.parse().map_err(|_| {
        format!("{text:?}: write an address inside the VPN and a port, as \"10.8.0.2:22\"")
    })?;
    let ip = target.ip().to_canonical();
    if ip.is_loopback() || ip.is_unspecified() || target.port() == 0 {
        return Err(format!("{text:?}: write the address that the far end has inside the VPN"));
    }
    Ok(target)
}

/// A name as systemd.unit(5) has it, of a service: what polkit is asked about is this very word.
fn parse_unit(text: &str) -> Result<String, String> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let plain = text.chars().all(of_name) && !text.starts_with(['-', '.', '@']);
    match text.strip_suffix(".service") {
        Some(name) if plain && !name.is_empty() && text.len() < 256 => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?}: write the whole name of a service, as \"openvpn-client@home.service\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    use super::*;

    const VPN: &str = "[[tunnel]]\ntype = \"external\"\nname = \"vpn\"\ntarget = \"10.8.0.2:22\"\n";

    fn findings(more: &str) -> Vec<String> {
        let findings = Settings::parse(&format!("{VPN}{more}")).err().unwrap_or_default();
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_vpn_is_kept_by_its_unit_or_by_commands_or_only_watched() {
        let read = |more: &str| {
            let settings = Settings::parse(&format!("{VPN}{more}"));
            let settings = settings.unwrap_or_else(|findings| panic!("{findings:?}"));
            assert!(settings.tunnels.is_empty());
            settings.externals.into_iter().next().unwrap()
        };
        let least = read("");
        assert_eq!((&least.means, least.timeout), (&Means::Watched, TIMEOUT));
        assert_eq!(least.check_every, config::CHECK_EVERY);
        let unit = "openvpn-client@home.service".to_owned();
        assert_eq!(read(&format!("unit = \"{unit}\"\n")).means, Means::Unit(unit));
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let commands =
            read("start = [\"/bin/a\", \"b c\"]\nstop = [\"/bin/d\"]\ntimeout = \"5s\"\n");
        let means = Means::Commands { start: words(&["/bin/a", "b c"]), stop: words(&["/bin/d"]) };
        assert_eq!((commands.means, commands.timeout), (means, Duration::from_secs(5)));
        // Beside a forward of ssh, in one file.
        let both = "[[tunnel]]\nname = \"a\"\ntype = \"ssh\"\njump = \"t@h\"\nremote-ports = [1]\n";
        let settings = Settings::parse(&format!("{VPN}{both}")).unwrap();
        assert_eq!((settings.tunnels.len(), settings.externals.len()), (1, 1));
    }

    #[test]
    fn each_mistake_has_its_line_its_key_and_a_remedy() {
        let table = [
            ("jump = \"t@h\"\n", "line 5: tunnel.1.jump: is of tunnels that tunnelwatch makes"),
            ("identity = 7\n", "line 5: tunnel.1.identity: is of tunnels"),
            ("remote-ports = [1]\n", "tunnel.1.remote-ports: is of tunnels"),
            ("metered = true\n", "tunnel.1.metered: is of tunnels"),
            ("unit = \"openvpn\"\n", "tunnel.1.unit: \"openvpn\": write the whole name"),
            ("unit = \"-a.service\"\n", "write the whole name"),
            ("unit = \"a b.service\"\n", "write the whole name"),
            ("unit = \".service\"\n", "write the whole name"),
            ("start = [\"/bin/a\"]\n", "start and stop belong together"),
            ("stop = [\"/bin/a\"]\n", "start and stop belong together"),
            ("unit = \"a.service\"\nstart = [\"/bin/a\"]\n", "two ways for one thing"),
            ("start = []\nstop = [\"/b\"]\n", "start is empty"),
            ("start = [\"a\"]\nstop = [\"/b\"]\n", "write the program's whole path"),
            ("start = \"/bin/a\"\nstop = [\"/b\"]\n", "a list"),
            ("start = [\"/a\\u0000\"]\nstop = [\"/b\"]\n", "a NUL cannot"),
            ("host-keys = [\"MD5:x\"]\n", "line 5: tunnel.1.host-keys: "),
            ("timeout = \"2m\"\n", "line 5: tunnel.1.timeout: 1s to 60s"),
            ("check-every = \"1s\"\n", "5s to 1h"),
            ("start-every = \"1s\"\n", "no such key"),
        ];
        for (more, want) in table {
            let found = findings(more);
            assert!(found.iter().any(|line| line.contains(want)), "{more}: {found:?}");
        }
        for (target, want) in [
            ("10.8.0.2", "an address inside the VPN and a port"),
            ("vpn.example.org:22", "an address inside the VPN and a port"),
            ("127.0.0.1:22", "the far end has inside the VPN"),
            ("[::1]:22", "the far end has inside the VPN"),
            ("[::ffff:127.0.0.1]:22", "the far end has inside the VPN"),
            ("0.0.0.0:22", "the far end has inside the VPN"),
        ] {
            let text = VPN.replace("10.8.0.2:22", target);
            let found = Settings::parse(&text).unwrap_err();
            assert!(found[0].message.contains(want), "{target}: {found:?}");
        }
        let ssh = "[[tunnel]]\nname = \"a\"\njump = \"t@h\"\nremote-ports = [1]\n";
        for (more, want) in [
            ("unit = \"a.service\"\n", "line 5: tunnel.1.unit: is of type = \"external\""),
            ("start = [\"/bin/a\"]\n", "line 5: tunnel.1.start: is of type = \"external\""),
            ("type = \"vpn\"\n", "line 5: tunnel.1.type: \"vpn\": write \"ssh\", or \"external\""),
        ] {
            let found = Settings::parse(&format!("{ssh}{more}")).unwrap_err();
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|line| line.contains(want)), "{more}: {found:?}");
        }
        let twice = format!("{VPN}{ssh}").replace("name = \"a\"", "name = \"vpn\"");
        assert!(Settings::parse(&twice).unwrap_err()[0].message.contains("stands there twice"));
    }
}
