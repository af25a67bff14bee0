//! The package on a booted machine: what was built, what an administrator types to have it work,
//! and the stand-in for Twilio that the alerts go to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::machine::{ADDRESS, Machine, STRANGER};
use crate::certificates;
use crate::host::{CONFIG, DEADLINE, rigs};
use crate::process::{Output, finish};
use crate::provider::{ACCOUNT_SID, AUTH_TOKEN, Provider, Record};
use crate::sender::{FROM, ONE_BY_ONE, TO};

/// Longest time for apt.
const APT: Duration = Duration::from_secs(120);

/// Longest time from a login to its alert: a second, on a machine that has other things to do.
pub const ALERT: Duration = Duration::from_secs(30);

/// Where the provider's certificate authority is on a machine. It is no file of the package.
const CA: &str = "/usr/local/share/provider-ca.pem";

/// Where the provider listens. Each machine has a network of its own.
const LISTEN: &str = "127.0.0.1:8443";

/// What runs all the time, when it is configured.
pub const DAEMONS: [&str; 4] = ["bastion", "tunnelwatch", "tunnelwatch-watch", "linkprobe-watch"];

/// All units of the package.
pub const UNITS: [&str; 10] = [
    "bastion.service",
    "bastion-drill.service",
    "bastion-drill.timer",
    "tunnelwatch.service",
    "tunnelwatch-watch.service",
    "linkprobe.service",
    "linkprobe.timer",
    "linkprobe-measure.service",
    "linkprobe-measure.timer",
    "linkprobe-watch.service",
];

/// `[host]` and `[login]` of a machine; [`super::machine::OFFICE`] is a known-good place.
#[must_use]
pub fn login(name: &str) -> String {
    format!("[host]\nname = \"{name}\"\n\n[login]\nknown-good = [\"203.0.113.9\"]\n")
}

/// A package that has been built.
#[derive(Debug, Clone)]
pub struct Deb {
    /// The file.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
}

/// The two packages of this machine's architecture in the directory `BASTION_DEBS`: the lower version
/// and the higher one.
///
/// # Panics
///
/// When they are not there, with the commands that build them.
#[must_use]
pub fn debs() -> (Deb, Deb) {
    let how = "build two, the second with packaging/build-deb --version 999.0 --no-build, and name their \
               directory in BASTION_DEBS; ./dev test --package does";
    let dir = std::env::var("BASTION_DEBS").unwrap_or_else(|_| panic!("no packages: {how}"));
    let field = |path: &Path, name: &str| {
        finish(Command::new("dpkg-deb").arg("--field").arg(path).arg(name), b"").ok().text()
    };
    let arch = finish(Command::new("dpkg").arg("--print-architecture"), b"").ok().text();
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{dir}: {e}"));
    let mut found: Vec<Deb> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .filter(|path| {
            field(path, "Architecture") == arch && field(path, "Package") == "pam-bastion\n"
        })
        .map(|path| Deb { version: field(&path, "Version").trim().to_owned(), path })
        .collect();
    let lower = |a: &Deb, b: &Deb| {
        let words = ["--compare-versions", &a.version, "lt", &b.version];
        finish(Command::new("dpkg").args(words), b"").code == Some(0)
    };
    found.sort_by(
        |a, b| if lower(a, b) { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater },
    );
    match <[Deb; 2]>::try_from(found) {
        Ok([old, new]) if lower(&old, &new) => (old, new),
        found => panic!("{found:?} in {dir}: {how}"),
    }
}

/// A machine with the stand-in for Twilio beside it, and nothing of ours installed yet.
pub struct Server {
    /// The provider, in the network of the machine, over TLS.
    pub provider: Provider,
    /// The machine.
    pub machine: Machine,
    /// All that the administrator has typed ([`Server::types`]).
    pub typed: Vec<String>,
}

impl Server {
    /// Starts the provider beside a machine.
    #[must_use]
    pub fn on(machine: Machine) -> Self {
        let dir = machine.client_dir();
        let made = certificates::make(&dir);
        let ca = fs::read(made.ca).expect("the CA's certificate");
        machine.write(CA, ca, 0o644);
        let seen = |name: &str| machine.seen_by_client(name);
        let program = rigs().join("provider").to_string_lossy().into_owned();
        let (log, cert, key) = (seen("provider.log"), seen("cert.pem"), seen("key.pem"));
        let words = [&program, "--listen", LISTEN, "--log", &log, "--tls", &cert, &key];
        let daemon = machine.spawn_outside(&words);
        let provider = Provider::of(daemon, &dir.join("provider.log"), true);
        Self { provider, machine, typed: Vec::new() }
    }

    /// What the administrator types, as the manual has it, with what he gives on standard input.
    pub fn types(&mut self, line: &str, input: &str) -> Output {
        self.typed.push(line.to_owned());
        self.machine.run_with(APT, &["bash", "-c", line], input.as_bytes())
    }

    /// Lays a package on the machine, in the directory in which it is installed.
    pub fn fetch(&self, deb: &Deb) {
        let name = deb.path.file_name().expect("a file has a name").to_string_lossy();
        let content = fs::read(&deb.path).expect("a package that was just found");
        let _ = self.machine.sh("rm -f /root/pam-bastion_*.deb");
        self.machine.write(&format!("/root/{name}"), content, 0o644);
    }

    /// Installs a package, or upgrades to it, as the manual says.
    ///
    /// # Panics
    ///
    /// When apt does.
    pub fn install(&mut self, deb: &Deb) -> Output {
        self.fetch(deb);
        self.types("cd && sudo apt install --yes ./pam-bastion_*.deb", "").ok()
    }

    /// The one file that is edited: the configuration with `[login]`, a channel, and `more`.
    pub fn edits(&self, more: &str) {
        let text = format!("{}{}\n{more}", login(self.machine.name()), self.channel());
        self.machine.write(CONFIG, text, 0o644);
    }

    /// `[notify.channel.sms]` at the provider.
    #[must_use]
    pub fn channel(&self) -> String {
        format!(
            "\n[notify.channel.sms]\ntype = \"twilio\"\naccount-sid = \"{ACCOUNT_SID}\"\n\
             auth-token-file = \"twilio-token\"\nfrom = \"{FROM}\"\nto = [\"{TO}\"]\n\
             base-url = \"https://{LISTEN}\"\nca-file = \"{CA}\"\n{ONE_BY_ONE}"
        )
    }

    /// From a package that is installed to the first alert, as the manual says.
    ///
    /// # Panics
    ///
    /// When a step fails.
    pub fn sets_up(&mut self, more: &str) {
        let token = format!("{AUTH_TOKEN}\n");
        self.types("sudo install -m 0600 /dev/stdin /etc/bastion/secrets/twilio-token", &token)
            .ok();
        self.edits(more);
        let said = self.types("sudo bastion test", "").ok();
        assert!(said.text().contains("sms"), "{said:?}");
        self.types("sudo systemctl restart bastion", "").ok();
        self.types("sudo bastion enable", "").ok();
    }

    /// A machine on which everything is as the manual leaves it, and one login was told.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    #[must_use]
    pub fn set_up(machine: Machine, deb: &Deb, more: &str) -> Self {
        let mut server = Self::on(machine);
        let _ = server.install(deb);
        server.sets_up(more);
        server.told_login();
        server
    }

    /// Logs in as alice from [`STRANGER`].
    ///
    /// # Panics
    ///
    /// When she is not let in.
    pub fn logs_in(&self) {
        let said =
            self.machine.ssh(&["-b", STRANGER, &format!("alice@{ADDRESS}"), "echo hello"]).ok();
        assert_eq!(said.text(), "hello\n", "{said:?}");
    }

    /// The messages about logins of alice that the provider has taken, by the alert's id.
    #[must_use]
    pub fn logins(&self) -> BTreeMap<String, Vec<Record>> {
        let host = format!("{}: ", self.machine.name());
        let who = format!("login alice from {STRANGER}, key ");
        let mut by_id = BTreeMap::<String, Vec<Record>>::new();
        for record in self.provider.accepted() {
            let body = record.body();
            if !body.starts_with(&host) || !body.contains(&who) {
                continue;
            }
            let (_, rest) = body.rsplit_once('#').expect("each message bears its alert's id");
            let id = rest.split_whitespace().next().unwrap_or_default().to_owned();
            by_id.entry(id).or_default().push(record);
        }
        by_id
    }

    /// Logs in, and waits until somebody is told of that.
    ///
    /// # Panics
    ///
    /// When nobody is.
    pub fn told_login(&self) {
        let before = self.logins().len();
        self.logs_in();
        self.wait_logins(before + 1);
    }

    /// Waits until `count` logins have been told.
    ///
    /// # Panics
    ///
    /// When they are not within [`ALERT`].
    pub fn wait_logins(&self, count: usize) {
        let told = crate::wait::wait_until(ALERT, || self.logins().len() >= count);
        assert!(told, "{count} logins were not told: {:#?}", self.provider.requests());
    }

    /// Logs in while nothing of ours is installed: she is let in, and nobody is told.
    ///
    /// # Panics
    ///
    /// When it is otherwise.
    pub fn logs_in_untold(&self) {
        let before = self.provider.requests().len();
        self.logs_in();
        assert_eq!(self.provider.requests().len(), before, "who could have told?");
    }

    /// Waits until a unit runs and its process has said that it is ready.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn wait_active(&self, unit: &str) {
        let mut state = String::new();
        let active = crate::wait::wait_until(DEADLINE * 2, || {
            state = self.machine.property(unit, "ActiveState");
            state == "active"
        });
        assert!(
            active,
            "{unit} is {state}: {:?}",
            self.machine.run(&["systemctl", "status", unit])
        );
    }
}
