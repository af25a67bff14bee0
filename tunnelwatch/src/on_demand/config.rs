//! `[tunnel.on-demand]`: strict, inside the `[[tunnel]]` that it belongs to.

use std::net::IpAddr;
use std::time::Duration;

use notifier::config::Section;

use crate::config;
use crate::external::config::command;

/// How long the link has to be down, and then up again, where the file says nothing.
const START_AFTER: Duration = Duration::from_secs(60);
const STOP_AFTER: Duration = Duration::from_secs(30 * 60);

/// How many hours a month may have where the file says nothing: two days, of which a bill says little.
const MAX_HOURS: u32 = 50;

/// Hours of the longest month.
const MONTH_HOURS: u32 = 31 * 24;

/// Longest word that is sent to a provider: an id of EC2 has 19 characters, an access key's 128.
const MAX_WORD: usize = 128;

/// A jump host that is started only while the main line is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    /// Name of the `[[link]]` whose being down starts it.
    pub link: String,
    /// Who starts and stops it.
    pub provider: Provider,
    /// How long the link has to be down for it to be started.
    pub start_after: Duration,
    /// How long the link has to be up again for it to be stopped.
    pub stop_after: Duration,
    /// How long it may run in a month.
    pub most_a_month: Duration,
}

/// Who starts and stops the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// AWS.
    Ec2 {
        /// Id of the machine: `i-0123456789abcdef0`.
        instance: String,
        /// `eu-central-1`.
        region: String,
        /// Which key signs.
        access_key_id: String,
        /// The file with that key.
        secret_key_file: String,
        /// Another address of the API.
        endpoint: Option<String>,
    },
    /// A droplet.
    DigitalOcean(Bearer),
    /// A server of Hetzner's cloud.
    Hetzner(Bearer),
    /// A program: it is called with `start`, `stop` or `describe` behind these words.
    Exec(Vec<String>),
}

/// A machine at a provider that is asked with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Number of the machine.
    pub instance: String,
    /// The file with the token.
    pub token_file: String,
    /// Another address of the API.
    pub endpoint: Option<String>,
}

/// Keys that not every provider has, and the providers that have them.
const KEYS: &[(&str, &[&str])] = &[
    ("access-key-id", &["ec2"]),
    ("command", &["exec"]),
    ("endpoint", &["ec2", "digitalocean", "hetzner"]),
    ("instance", &["ec2", "digitalocean", "hetzner"]),
    ("region", &["ec2"]),
    ("secret-key-file", &["ec2"]),
    ("token-file", &["digitalocean", "hetzner"]),
];

impl Provider {
    /// As it is called in the file.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ec2 { .. } => "ec2",
            Self::DigitalOcean(_) => "digitalocean",
            Self::Hetzner(_) => "hetzner",
            Self::Exec(_) => "exec",
        }
    }

    /// Which machine it is, as far as the file says: whose program is moved has the same machine.
    #[must_use]
    pub fn machine(&self) -> String {
        match self {
            Self::Ec2 { instance, .. } => format!("ec2 {instance}"),
            Self::DigitalOcean(Bearer { instance, .. })
            | Self::Hetzner(Bearer { instance, .. }) => {
                format!("{} {instance}", self.word())
            }
            Self::Exec(_) => self.word().to_owned(),
        }
    }
}

/// Reads what stands in the section.
pub fn read(section: &mut Section<'_, '_>) -> Option<OnDemand> {
    let found = section.findings();
    let link = section.need("link").parse("link", config::parse_name).map(|link| link.value);
    let start_after = config::time(section, "start-after", START_AFTER);
    let stop_after = config::time(section, "stop-after", STOP_AFTER);
    let hours = section.get::<u32>("max-hours-per-month");
    if let Some(hours) = hours.as_ref().filter(|hours| !(1..=MONTH_HOURS).contains(&hours.value)) {
        let remedy = format!("1 to {MONTH_HOURS}, the hours of a month");
        section.reject("max-hours-per-month", hours, remedy);
    }
    let provider = provider(section);
    if section.findings() != found {
        return None;
    }
    let hours = hours.map_or(MAX_HOURS, |hours| hours.value);
    Some(OnDemand {
        link: link?,
        provider: provider?,
        start_after,
        stop_after,
        most_a_month: Duration::from_secs(u64::from(hours) * 3600),
    })
}

fn provider(section: &mut Section<'_, '_>) -> Option<Provider> {
    let known = |text: &str| match text {
        "ec2" | "digitalocean" | "hetzner" | "exec" => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?}: write \"ec2\", \"digitalocean\", \"hetzner\", or \"exec\" for a program of your own"
        )),
    };
    let Some(word) = section.need("provider").parse("provider", known) else {
        // Whose keys the others are is not known.
        section.leave_rest();
        return None;
    };
    let word = word.value;
    for (key, of) in KEYS.iter().filter(|(_, of)| !of.contains(&word.as_str())) {
        let of = of.join("\" or \"");
        section.refuse(key, format!("is of provider = \"{of}\"; leave it out, or write that"));
    }
    match word.as_str() {
        "exec" => {
            let words = command(section.need("command"), "command")?;
            Some(Provider::Exec(words))
        }
        "ec2" => {
            let instance = need(section, "instance", parse_ec2);
            let region = need(section, "region", |text| {
                parse_word(text, "the region's name, as \"eu-central-1\"")
            });
            let access_key_id = need(section, "access-key-id", |text| {
                parse_word(text, "the key's id, as \"AKIAIOSFODNN7EXAMPLE\"")
            });
            let secret_key_file = need(section, "secret-key-file", parse_file);
            let endpoint = endpoint(section);
            Some(Provider::Ec2 {
                instance: instance?,
                region: region?,
                access_key_id: access_key_id?,
                secret_key_file: secret_key_file?,
                endpoint,
            })
        }
        bearer => {
            let instance = need(section, "instance", parse_number);
            let token_file = need(section, "token-file", parse_file);
            let endpoint = endpoint(section);
            let machine = Bearer { instance: instance?, token_file: token_file?, endpoint };
            match bearer {
                "hetzner" => Some(Provider::Hetzner(machine)),
                _ => Some(Provider::DigitalOcean(machine)),
            }
        }
    }
}

fn need<T>(
    section: &mut Section<'_, '_>,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    section.need(key).parse(key, parse).map(|value| value.value)
}

fn endpoint(section: &mut Section<'_, '_>) -> Option<String> {
    section.parse("endpoint", parse_endpoint).map(|endpoint| endpoint.value)
}

/// A word that is a part of what is asked: nothing that ends a line, a word, or a part of an address.
fn parse_word(text: &str, what: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=MAX_WORD).contains(&text.len()) && text.chars().all(plain);
    fits.then(|| text.to_owned()).ok_or_else(|| format!("{text:?}: write {what}"))
}

fn parse_ec2(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("i-").unwrap_or_default();
    let fits = (8..=17).contains(&hex.len()) && hex.chars().all(|c| c.is_ascii_hexdigit());
    let wrong = || format!("{text:?}: write the instance's id, as \"i-0123456789abcdef0\"");
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

fn parse_number(text: &str) -> Result<String, String> {
    let fits = (1..=20).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
    let wrong = || format!("{text:?}: write the machine's number in quotes, as \"12345678\"");
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

/// What [`notifier::channel::Secrets`] reads: a name among the secrets, or a whole path.
fn parse_file(text: &str) -> Result<String, String> {
    let named = !text.is_empty() && (text.starts_with('/') || !text.contains('/'));
    let good =
        named && !text.split('/').any(|part| part == "..") && !text.contains(char::is_control);
    let wrong = || format!("{text:?}: write a file's name, or its whole path");
    good.then(|| text.to_owned()).ok_or_else(wrong)
}

/// Without TLS only to this machine: who reads along has the token.
fn parse_endpoint(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?}: write an address, as \"https://api.example.org\"");
    let (is_open, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        _ => return Err(wrong()),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') || !rest.chars().all(good) {
        return Err(wrong());
    }
    let name = match host.strip_prefix('[') {
        Some(six) => six.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    let address = name.parse::<IpAddr>();
    if is_open && name != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
        return Err(format!("{text:?}: the token would be sent in the clear; write https://"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Tunnel};

    const TUNNEL: &str = "[[tunnel]]\nname = \"home\"\njump = \"t@jump\"\nremote-ports = [2222]\n";
    const EC2: &str = r#"[tunnel.on-demand]
link = "main"
provider = "ec2"
instance = "i-0123456789abcdef0"
region = "eu-central-1"
access-key-id = "AKIAIOSFODNN7EXAMPLE"
secret-key-file = "aws-secret-key"
"#;
    const HETZNER: &str = "[tunnel.on-demand]\nlink = \"main\"\nprovider = \"hetzner\"\n\
                           instance = \"42\"\ntoken-file = \"hetzner-token\"\n";
    const EXEC: &str = "[tunnel.on-demand]\nlink = \"main\"\nprovider = \"exec\"\n\
                        command = [\"/usr/local/sbin/my-cloud\", \"a b\"]\n";

    fn read(text: &str) -> Result<Tunnel, Vec<String>> {
        let read = Settings::parse(&format!("{TUNNEL}{text}"));
        let read = read.map(|mut settings| settings.tunnels.remove(0));
        read.map_err(|findings| findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_provider_has_its_keys_and_the_times_their_defaults() {
        let of = |text: &str| read(text).unwrap().on_demand.unwrap();
        let ec2 = of(EC2);
        assert_eq!((ec2.link.as_str(), ec2.provider.word()), ("main", "ec2"));
        assert_eq!((ec2.start_after, ec2.stop_after), (START_AFTER, STOP_AFTER));
        assert_eq!(ec2.most_a_month, Duration::from_secs(50 * 3600));
        let times = "start-after = \"0s\"\nstop-after = \"2h\"\nmax-hours-per-month = 744\n";
        let own = of(&format!("{HETZNER}{times}endpoint = \"http://127.0.0.1:8080/v1/\"\n"));
        assert_eq!((own.start_after, own.stop_after.as_secs()), (Duration::ZERO, 7200));
        let bearer = Bearer {
            instance: "42".into(),
            token_file: "hetzner-token".into(),
            endpoint: Some("http://127.0.0.1:8080/v1".into()),
        };
        assert_eq!(own.provider, Provider::Hetzner(bearer.clone()));
        let droplet = of(&HETZNER.replace("hetzner\"", "digitalocean\""));
        let bearer = Bearer { endpoint: None, ..bearer };
        assert_eq!(droplet.provider, Provider::DigitalOcean(bearer));
        let words = ["/usr/local/sbin/my-cloud", "a b"].map(str::to_owned);
        assert_eq!(of(EXEC).provider, Provider::Exec(words.into()));
        assert_eq!(read("").unwrap().on_demand, None);
        // One tunnel's is not the other's.
        let other = TUNNEL.replace("home", "other");
        let settings = Settings::parse(&format!("{TUNNEL}{EC2}{other}")).unwrap();
        assert!(settings.tunnels[0].on_demand.is_some() && settings.tunnels[1].on_demand.is_none());
    }

    #[test]
    fn each_mistake_has_its_line_its_key_and_a_remedy() {
        for (text, old, new, want) in [
            (EC2, "link = \"main\"", "", "line 5: tunnel.1.on-demand.link: is missing"),
            (EC2, "\"main\"", "\"a b\"", "line 6: tunnel.1.on-demand.link: a name has"),
            (EC2, "provider = \"ec2\"", "", "tunnel.1.on-demand.provider: is missing"),
            (
                EC2,
                "\"ec2\"",
                "\"gcp\"",
                "line 7: tunnel.1.on-demand.provider: \"gcp\": write \"ec2\"",
            ),
            (EC2, "\"ec2\"", "\"exec\"", "line 8: tunnel.1.on-demand.instance: is of provider"),
            (EC2, "\"ec2\"", "\"exec\"", "on-demand.command: is missing"),
            (EC2, "\"ec2\"", "\"hetzner\"", "on-demand.token-file: is missing"),
            (EC2, "i-0123456789abcdef0", "42", "the instance's id, as \"i-"),
            (EC2, "i-0123456789abcdef0", "i-x123456789abcdef0", "the instance's id"),
            (EC2, "eu-central-1", "eu central", "the region's name"),
            (EC2, "eu-central-1", "eu.evil.org/", "the region's name"),
            (EC2, "AKIAIOSFODNN7EXAMPLE", "AKIA/x", "the key's id"),
            (EC2, "\"aws-secret-key\"", "\"../key\"", "a file's name"),
            (EC2, "\"aws-secret-key\"", "\"sub/key\"", "a file's name"),
            (
                EC2,
                "region",
                "token-file",
                "line 9: tunnel.1.on-demand.token-file: is of provider = \"digitalocean\" or \"hetzner\"",
            ),
            (EC2, "region", "regoin", "no such key"),
            (HETZNER, "\"42\"", "42", "a string in quotes"),
            (HETZNER, "\"42\"", "\"i-42\"", "the machine's number"),
            (HETZNER, "\"hetzner-token\"", "\"\"", "a file's name"),
            (EXEC, "/usr/local/sbin/my-cloud", "my-cloud", "write the program's whole path"),
            (EXEC, "[\"/usr/local/sbin/my-cloud\", \"a b\"]", "[]", "command is empty"),
            (EXEC, "[\"/usr/local/sbin/my-cloud\", \"a b\"]", "\"/x\"", "a list"),
        ] {
            let changed = text.replacen(old, new, 1);
            assert_ne!(changed, text, "{old}");
            let found = read(&changed).unwrap_err();
            assert!(found.iter().any(|line| line.contains(want)), "{new}: {found:?}");
        }
        for (more, want) in [
            (
                "start-after = \"60\"",
                "line 12: tunnel.1.on-demand.start-after: \"60\" is no duration",
            ),
            ("stop-after = \"25h\"", "on-demand.stop-after: more than 24h"),
            ("max-hours-per-month = 0", "on-demand.max-hours-per-month: 1 to 744"),
            ("max-hours-per-month = 745", "1 to 744"),
            ("max-hours-per-month = \"50\"", "a whole number"),
            (
                "endpoint = \"api.example.org\"",
                "on-demand.endpoint: \"api.example.org\": write an address",
            ),
            ("endpoint = \"https://\"", "write an address"),
            ("endpoint = \"https://a b\"", "write an address"),
            ("endpoint = \"https://user@a\"", "write an address"),
            ("endpoint = \"http://api.example.org\"", "in the clear; write https://"),
            ("endpoint = \"http://127.0.0.1.example.org\"", "in the clear; write https://"),
        ] {
            let found = read(&format!("{EC2}{more}\n")).unwrap_err();
            assert!(found.iter().any(|line| line.contains(want)), "{more}: {found:?}");
        }
        let external =
            "[[tunnel]]\ntype = \"external\"\nname = \"vpn\"\ntarget = \"10.8.0.2:22\"\n";
        let found = Settings::parse(&format!("{external}{EC2}")).unwrap_err();
        assert!(
            found[0].to_string().contains("line 5: tunnel.1.on-demand: is of tunnels"),
            "{found:?}"
        );
        let found = Settings::parse(&format!("{TUNNEL}on-demand = 7\n")).unwrap_err();
        assert!(found[0].message.contains("where a table belongs"), "{found:?}");
    }
}
