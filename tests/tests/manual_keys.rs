//! bastion.toml(5) in step with the readers of the file: each key that the example file has (which their own tests hold
//! in step with the readers) is described in its section, each key that is described is read there, its example is
//! valid, its default is the one that counts, and what is required is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bastion_tests::manual::page::{Definition, Page, definitions, marked};
use bastion_tests::manual::read;
use notifier::channel::Secrets;
use notifier::config::Finding;
use notifier::deliver::settings::Settings as Sender;

/// A key as the page describes it.
#[derive(Debug, Clone)]
struct Key {
    name: String,
    /// A literal, where there is one.
    default: Option<String>,
    required: bool,
    example: String,
}

/// `[notify.channel.NAME] type = "slack"`.
const CHANNEL: &str = "[notify.channel.NAME]";

/// `[tunnel.on-demand] provider = "ec2"`.
const ON_DEMAND: &str = "[tunnel.on-demand]";

fn key(section: &str, definition: &Definition) -> Key {
    let at = format!("{section} {}", definition.term);
    let (name, about) = definition.term.split_once(" (").expect(&at);
    let about = about.strip_suffix(')').expect(&at);
    let name = name.trim_matches('*').to_owned();
    let (_, default) = about.split_once("; ").expect(&at);
    let literal = default.strip_prefix("default `").and_then(|rest| rest.split('`').next());
    let required = default.starts_with("required");
    let known = literal.is_some()
        || required
        || default.starts_with("default: ")
        || default.starts_with("no default");
    assert!(known, "{at}: how is it with the default?");
    let (_, example) = definition.text.rsplit_once("Example: ").expect(&at);
    let example = marked(example, "`").join("`");
    assert!(example.starts_with(&format!("{name} = ")), "{at}: {example}");
    Key { name, default: literal.map(str::to_owned), required, example }
}

/// The keys of each section of the page.
fn described() -> BTreeMap<String, Vec<Key>> {
    let page = Page::read("bastion.toml.5");
    let sections = page.parts("SECTIONS AND KEYS").into_iter().map(|part| {
        let keys = definitions(&part.text).iter().map(|one| key(&part.name, one)).collect();
        (part.name, keys)
    });
    sections.collect()
}

/// Keys and their values in the example file, by the section as the page names it.
fn exemplified() -> BTreeMap<String, Vec<(String, String)>> {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut section = String::new();
    for line in read("etc/bastion.toml").lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') && line.ends_with(']') {
            section = line.to_owned();
            if section.starts_with("[notify.channel.") {
                section = CHANNEL.to_owned();
            }
        } else if let Some((name, value)) = line.split_once(" = ") {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                continue;
            }
            if name == "type" && section == CHANNEL {
                section = format!("{CHANNEL} type = {value}");
            } else if (name, value) == ("type", "\"external\"") {
                section.push_str(" type = \"external\"");
            } else if name == "provider" && section == ON_DEMAND {
                section = format!("{ON_DEMAND} provider = {value}");
            } else {
                found.entry(section.clone()).or_default().push((name.into(), value.into()));
            }
        }
    }
    found
}

#[test]
fn every_key_of_the_example_file_is_described() {
    let described = described();
    let names = |section: &str| -> BTreeSet<&str> {
        let keys = described.get(section).into_iter().flatten();
        keys.map(|key| key.name.as_str()).collect()
    };
    let exemplified = exemplified();
    assert!(exemplified.len() > 15, "{:?}", exemplified.keys());
    for (section, keys) in &exemplified {
        let mut known = names(section);
        for common in [CHANNEL, ON_DEMAND].iter().filter(|common| section.starts_with(**common)) {
            known.extend(names(common));
        }
        for (key, _) in keys {
            assert!(known.contains(key.as_str()), "bastion.toml(5), {section}: no {key}");
        }
    }
}

/// What has to stand in a section for it to be read, and, behind a |, what goes with a key of it.
fn least(section: &str) -> &'static [&'static str] {
    match section {
        "[[login.allow]]" => &["users = [\"x\"]"],
        "[[notify.rule]]" => &["kinds = [\"login\"]", "route = [\"sms\"]"],
        "[notify.heartbeat]" => &["url-file = \"url\""],
        "[notify.channel.NAME]" => &["type = \"slack\"", "url-file = \"slack-url\""],
        "[notify.channel.NAME] type = \"twilio\"" => &[
            "account-sid = \"AC00000000000000000000000000000000\"",
            "auth-token-file = \"token\"",
            "from = \"+15550100\"",
            "to = [\"+15550101\"]",
            "api-key-sid|api-key-secret-file = \"key\"",
            "api-key-secret-file|api-key-sid = \"SK00000000000000000000000000000000\"",
        ],
        "[notify.channel.NAME] type = \"telegram\"" => {
            &["token-file = \"telegram-token\"", "to = [\"123\"]"]
        }
        "[notify.channel.NAME] type = \"ntfy\"" => &["topic = \"x\""],
        "[notify.channel.NAME] type = \"slack\"" => &["url-file = \"slack-url\""],
        "[notify.channel.NAME] type = \"discord\"" => &["url-file = \"discord-url\""],
        "[notify.channel.NAME] type = \"webhook\"" => &["url = \"https://hooks.example.org/x\""],
        "[notify.channel.NAME] type = \"alertmanager\"" => &[
            "urls = [\"https://am.example.org\"]",
            "username|password-file = \"password\"",
            "password-file|username = \"x\"",
        ],
        "[notify.channel.NAME] type = \"smtp\"" => &[
            "host = \"smtp.example.org\"",
            "from = \"a@example.org\"",
            "to = [\"b@example.org\"]",
            "username|password-file = \"password\"",
            "password-file|username = \"x\"",
        ],
        "[notify.channel.NAME] type = \"exec\"" => &["command = [\"/bin/true\"]"],
        "[[tunnel]]" => &["name = \"x\"", "jump = \"t@h\"", "remote-ports = [2222]"],
        "[[tunnel]] type = \"external\"" => &[
            "name = \"x\"",
            "target = \"10.8.0.2:22\"",
            "start|stop = [\"/bin/true\"]",
            "stop|start = [\"/bin/true\"]",
        ],
        "[tunnel.on-demand]" => {
            &["link = \"main\"", "provider = \"exec\"", "command = [\"/bin/true\"]"]
        }
        "[tunnel.on-demand] provider = \"ec2\"" => &[
            "link = \"main\"",
            "instance = \"i-0123456789abcdef0\"",
            "region = \"eu-central-1\"",
            "access-key-id = \"AKIAIOSFODNN7EXAMPLE\"",
            "secret-key-file = \"key\"",
        ],
        "[tunnel.on-demand] provider = \"digitalocean\""
        | "[tunnel.on-demand] provider = \"hetzner\"" => {
            &["link = \"main\"", "instance = \"1\"", "token-file = \"token\""]
        }
        "[tunnel.on-demand] provider = \"exec\"" => {
            &["link = \"main\"", "command = [\"/bin/true\"]"]
        }
        "[[tunnel-watch]]" => &["name = \"x\"", "ports = [2222]"],
        "[[link]]" => &["name = \"x\""],
        _ => &[],
    }
}

/// A file with this section alone, and in it what has to be there, but for the keys `without`, and `with`.
fn file(section: &str, without: &str, with: &str) -> String {
    let (head, kind) = section.split_once("] ").map_or((section, ""), |(head, kind)| (head, kind));
    let mut lines = vec![head.replace("NAME", "probe")];
    if !kind.is_empty() {
        lines[0].push(']');
        lines.push(kind.to_owned());
    }
    if section.starts_with(ON_DEMAND) {
        let tunnel = ["[[tunnel]]"].iter().chain(least("[[tunnel]]"));
        lines.splice(0..0, tunnel.map(|line| (*line).to_owned()));
    }
    // An API key and a token, a number and a service: one or the other.
    let instead = match without {
        _ if with.is_empty() => "",
        "api-key-sid" | "api-key-secret-file" => "auth-token-file",
        "messaging-service-sid" => "from",
        _ => "",
    };
    for line in least(section) {
        let (key, line) = line.split_once('|').map_or(("", *line), |(key, line)| (key, line));
        let name = line.split(" = ").next().unwrap_or_default();
        let wanted = if key.is_empty() {
            name != without && name != instead
        } else {
            key == without && !with.is_empty()
        };
        if wanted {
            lines.push(line.to_owned());
        }
    }
    lines.push(with.to_owned());
    let mut text = lines.join("\n") + "\n";
    if matches!(section, "[notify]" | "[[notify.rule]]" | "[drill]") {
        // Channels that a route may name.
        for name in ["sms", "mail"] {
            let own =
                format!("[notify.channel.{name}]\ntype = \"slack\"\nurl-file = \"slack-url\"\n");
            text.push_str(&own);
        }
        if section != "[notify]" {
            text.push_str("[notify]\nroute = [\"sms\"]\n");
        } else if !text.contains("\nroute = ") {
            text = text.replacen("[notify]\n", "[notify]\nroute = [\"sms\"]\n", 1);
        }
    }
    text
}

/// A directory of secrets for everything that the page names.
struct Vault(PathBuf);

impl Vault {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("bastion-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let vault = Self(dir);
        vault.put("url", "https://hc.example.org/x");
        vault.put("slack-url", "https://hooks.slack.com/services/T0000/B0000/x");
        for keys in described().values() {
            for key in keys.iter().filter(|key| key.name.ends_with("-file")) {
                let name = marked(&key.example, "\"")[0];
                let secret = match name {
                    "telegram-token" => "123456:hunter2hunter2",
                    "discord-url" => "https://discord.com/api/webhooks/1234567890/x",
                    "slack-url" => "https://hooks.slack.com/services/T0000/B0000/x",
                    name if name.ends_with("url") => "https://hc.example.org/x",
                    _ => "0123456789abcdef0123456789abcdef",
                };
                if !name.starts_with('/') {
                    vault.put(name, secret);
                }
            }
        }
        for name in ["token", "key", "password"] {
            vault.put(name, "0123456789abcdef0123456789abcdef");
        }
        vault
    }

    fn put(&self, name: &str, secret: &str) {
        fs::write(self.0.join(name), secret).unwrap();
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// What its program makes of a file, as far as it can be seen, or what is wrong with it.
    fn read(&self, section: &str, text: &str) -> Result<String, Vec<Finding>> {
        if section.starts_with("[[tunnel") || section.starts_with(ON_DEMAND) {
            return tunnelwatch::config::Settings::parse(text).map(|read| format!("{read:?}"));
        }
        if section.starts_with("[[link") {
            return linkprobe::config::Settings::parse(text)
                .map(|read| format!("{:?}", read.links));
        }
        let read = Sender::parse(text, &Secrets::in_directory(&self.0))?;
        if !read.login_findings.is_empty() {
            return Err(read.login_findings);
        }
        let policy = &read.notify.policy;
        let expiry = ["login", "note", "condition", "report"].map(|kind| policy.expiry(kind));
        Ok(format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {expiry:?}",
            read.host, read.login, policy.route, policy.rules, policy.patience, policy.ways
        ))
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files that examples name, which a machine may have or not.
fn absent(finding: &Finding) -> bool {
    finding.message.contains("/etc/ssl/certs/ca-certificates.crt")
        && finding.message.contains("No such file")
}

#[test]
fn every_key_that_is_described_is_read_and_its_example_is_valid() {
    let vault = Vault::new("examples");
    for (section, keys) in described() {
        for key in keys {
            let text = file(&section, &key.name, &key.example);
            let wrong = vault.read(&section, &text).err().unwrap_or_default();
            let wrong: Vec<_> = wrong.iter().filter(|finding| !absent(finding)).collect();
            assert!(wrong.is_empty(), "{section}, {}: {wrong:?}\n{text}", key.name);
        }
    }
}

#[test]
fn what_is_required_is_and_nothing_else() {
    let vault = Vault::new("required");
    for (section, keys) in described() {
        for key in keys {
            let text = file(&section, &key.name, "");
            // One of several conditions, of which any will do.
            let any = ["[[login.allow]]", "[[notify.rule]]"].contains(&section.as_str());
            if any
                && !key.required
                && least(&section).iter().any(|line| line.starts_with(&key.name))
            {
                continue;
            }
            let missing = vault.read(&section, &text).is_err();
            assert_eq!(missing, key.required, "{section}, {}:\n{text}", key.name);
        }
    }
}

#[test]
fn every_default_is_the_one_that_counts() {
    let (vault, exemplified) = (Vault::new("defaults"), exemplified());
    let mut seen = 0;
    for (section, keys) in described() {
        for key in keys {
            let Some(default) = &key.default else { continue };
            let with = format!("{} = {default}", key.name);
            let text = file(&section, &key.name, &with);
            let [with, without] = [&text, &file(&section, &key.name, "")].map(|text| {
                vault.read(&section, text).unwrap_or_else(|wrong| panic!("{wrong:?}\n{text}"))
            });
            assert_eq!(with, without, "{section}, {}: the default is not {default}", key.name);
            // What a channel has read cannot be seen; the example file shows the default where it has one.
            let shown = exemplified.get(&section).into_iter().flatten();
            for (_, value) in shown.filter(|(name, _)| *name == key.name) {
                let said = value == default
                    || (section.starts_with(CHANNEL) && key.name.starts_with("max-"));
                assert!(
                    said || seen_by_parsing(&section),
                    "{section}, {}: {value}, {default}",
                    key.name
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 45, "{seen}");
}

/// Whether the settings that are read can be compared, so that an example may be of something else.
fn seen_by_parsing(section: &str) -> bool {
    !section.starts_with(CHANNEL)
}
