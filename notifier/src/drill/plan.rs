//! What a drill has to try on this host, by its configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::report::Part;
use crate::config::{Document, Section};
use crate::deliver::settings::Settings;

/// What there is to try.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Channels that get a test message.
    pub channels: Vec<String>,
    /// `[[tunnel]]`.
    pub tunnels: Vec<Tunnel>,
    /// Whether there is a `[[tunnel-watch]]`.
    pub watches: bool,
    /// Names of `[[link]]`.
    pub links: Vec<String>,
    /// Who logs in through the tunnels.
    pub user: Option<String>,
    /// What is not tried, and why.
    pub skipped: Vec<Part>,
}

/// A `[[tunnel]]`, as far as a drill has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name.
    pub name: String,
    /// Whether another program makes it.
    pub external: bool,
    /// What it leads to on this side.
    pub target: SocketAddr,
    /// Files that may hold a certificate of who we are to the jump host.
    pub certificates: Vec<PathBuf>,
}

/// The key of a tunnel, where the file names none.
const IDENTITY: &str = "/var/lib/tunnelwatch/id_ed25519";

/// What a tunnel leads to, where the file says nothing else.
const TARGET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 22);

/// The plan for a file with this text, whatever is wrong in it; `settings` are those of the sender, if it understands
/// it.
#[must_use]
pub fn plan(text: &str, settings: Option<&Settings>) -> Plan {
    let mut document = Document::parse(text);
    let mut plan = Plan {
        tunnels: document
            .tables("tunnel", |_, section| tunnel(section))
            .into_iter()
            .flatten()
            .collect(),
        watches: !document.tables("tunnel-watch", |_, section| section.leave_rest()).is_empty(),
        links: document.tables("link", |_, section| name(section)).into_iter().flatten().collect(),
        ..Plan::default()
    };
    match settings {
        None => {
            let fix = "bastion check says what is wrong in it";
            plan.skipped.push(Part::skipped("channels", "the file is not understood", fix));
        }
        Some(settings) => {
            plan.user.clone_from(&settings.drill.user);
            let skip = &settings.drill.skip_channels;
            for channel in settings.notify.policy.channels() {
                if skip.contains(&channel) {
                    let part = format!("channel {channel}");
                    plan.skipped.push(Part::skipped(part, "[drill] skip-channels has it", ""));
                } else {
                    plan.channels.push(channel);
                }
            }
        }
    }
    if plan.tunnels.is_empty() && !plan.watches {
        plan.skipped.push(Part::skipped("tunnel", "there is no [[tunnel]] here", ""));
    }
    if plan.links.is_empty() {
        plan.skipped.push(Part::skipped("line", "there is no [[link]] here", ""));
    }
    plan
}

fn name(section: &mut Section<'_, '_>) -> Option<String> {
    let name = section.get::<String>("name").map(|name| name.value);
    section.leave_rest();
    // It becomes a word of another program's.
    name.filter(|name| !name.is_empty() && !name.starts_with('-'))
}

fn tunnel(section: &mut Section<'_, '_>) -> Option<Tunnel> {
    let external = section.get::<String>("type").is_some_and(|kind| kind.value == "external");
    let target = section.get::<String>("target").and_then(|target| target.value.parse().ok());
    let identity = section.get::<String>("identity").map_or(IDENTITY.into(), |path| path.value);
    let options = section.parse_list("ssh-options", |option| Ok::<_, String>(option.to_owned()));
    let options = options.into_iter().flatten().filter_map(|option| {
        let (key, value) = option.value.split_once('=')?;
        key.trim().eq_ignore_ascii_case("CertificateFile").then(|| value.trim().into())
    });
    let certificates = [PathBuf::from(format!("{identity}-cert.pub"))].into_iter().chain(options);
    let certificates = certificates.collect();
    let name = name(section)?;
    Some(Tunnel { name, external, target: target.unwrap_or(TARGET), certificates })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Secrets;

    const CHANNELS: &str = "[notify]\nroute = [\"a\", \"b\"]\n\
        [notify.channel.a]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n\
        [notify.channel.b]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n\
        [notify.channel.c]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n";

    fn of(text: &str) -> Plan {
        let secrets = Secrets::from_environment();
        plan(text, Settings::parse(text, &secrets).ok().as_ref())
    }

    fn skipped(plan: &Plan) -> Vec<String> {
        plan.skipped.iter().map(|part| format!("{}: {}", part.name, part.text)).collect()
    }

    #[test]
    fn what_is_configured_is_tried_and_what_is_not_is_said() {
        let none = ["tunnel: there is no [[tunnel]] here", "line: there is no [[link]] here"];
        let plan = of(CHANNELS);
        assert_eq!(plan.channels, ["a", "b"], "those of the route");
        assert_eq!(skipped(&plan), none);

        let plan = of(&format!("{CHANNELS}[drill]\nuser = \"alice\"\nskip-channels = [\"a\"]\n"));
        assert_eq!((&*plan.channels, plan.user.as_deref()), (&["b".to_owned()][..], Some("alice")));
        assert_eq!(skipped(&plan)[0], "channel a: [drill] skip-channels has it");

        let plan =
            of("[notify]\nnosuch = 1\n[[link]]\nname = \"x\"\n[[tunnel-watch]]\nname = \"y\"\n");
        assert_eq!(skipped(&plan), ["channels: the file is not understood"]);
        assert_eq!((plan.links, plan.watches), (vec!["x".to_owned()], true));
    }

    #[test]
    fn a_tunnel_is_read_whatever_else_is_wrong_with_it() {
        let text = "[[tunnel]]\nname = \"home\"\nnosuch = 7\n\
            [[tunnel]]\nname = \"two\"\nidentity = \"/k/id\"\ntarget = \"127.0.0.1:2022\"\n\
            ssh-options = [\"BindInterface=wwan0\", \"CertificateFile = /k/c\"]\n\
            [[tunnel]]\nname = \"vpn\"\ntype = \"external\"\ntarget = \"10.8.0.2:22\"\n\
            [[tunnel]]\nname = \"--run-dir\"\n";
        let tunnel = |name: &str, external, target: &str, certificates: &[&str]| Tunnel {
            name: name.into(),
            external,
            target: target.parse().unwrap(),
            certificates: certificates.iter().map(PathBuf::from).collect(),
        };
        let usual = format!("{IDENTITY}-cert.pub");
        let want = [
            tunnel("home", false, "127.0.0.1:22", &[&usual]),
            tunnel("two", false, "127.0.0.1:2022", &["/k/id-cert.pub", "/k/c"]),
            tunnel("vpn", true, "10.8.0.2:22", &[&usual]),
        ];
        assert_eq!(of(text).tunnels, want);
    }
}
