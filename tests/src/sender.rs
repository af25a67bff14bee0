//! The sender, `bastion run`, and the configuration that tests give it.

use std::time::Duration;

use crate::host::{CONFIG, Host, require};
use crate::process::Daemon;
use crate::provider::{ACCOUNT_SID, AUTH_TOKEN, Provider};

/// How long a start may take, all told.
const TAKEN_UP: Duration = Duration::from_secs(60);

/// `[login]` with two known-good places; [`crate::host::KNOWN`] is one of them.
pub const LOGIN: &str = "[host]\nname = \"jump\"\n\n[login]\nknown-good = [\"203.0.113.0/29\", \
                         \"203.0.113.9\", \"2001:db8:ffff::/48\"]\n";

/// Number that messages come from.
pub const FROM: &str = "+15550100";
/// Number that messages go to.
pub const TO: &str = "+15550101";

/// Path of the auth token's file inside the machine.
pub const TOKEN_FILE: &str = "/etc/bastion/twilio-token";

/// Keys of a channel that has no limits and tells each alert by itself, as most tests count them.
pub const ONE_BY_ONE: &str =
    "digest = false\nmax-per-hour = 1000000\nmax-segments-per-day = 1000000\n";

/// `[notify.channel.NAME]`: a Twilio channel at `base_url`.
#[must_use]
pub fn section(name: &str, base_url: &str, to: &[&str]) -> String {
    format!(
        "\n[notify.channel.{name}]\ntype = \"twilio\"\naccount-sid = \"{ACCOUNT_SID}\"\n\
         auth-token-file = \"{TOKEN_FILE}\"\nfrom = \"{FROM}\"\nto = {to:?}\n\
         base-url = \"{base_url}\"\n{ONE_BY_ONE}"
    )
}

/// `[notify]` with one channel, `sms`, at `base_url`.
#[must_use]
pub fn sms(base_url: &str) -> String {
    format!("\n[notify]\nroute = [\"sms\"]\n{}", section("sms", base_url, &[TO]))
}

/// `[notify]` with several channels in the order of the route: name, `base_url`, recipients.
#[must_use]
pub fn route(patience: &str, channels: &[(&str, &str, &[&str])]) -> String {
    let names: Vec<&str> = channels.iter().map(|(name, _, _)| *name).collect();
    let mut text = format!("\n[notify]\nroute = {names:?}\npatience = \"{patience}\"\n");
    for (name, base_url, to) in channels {
        text += &section(name, base_url, to);
    }
    text
}

impl Host {
    /// The configuration of most tests: [`LOGIN`], and [`sms`] at `base_url`; the token's file
    /// with it.
    pub fn configure(&self, base_url: &str) {
        self.write_token(AUTH_TOKEN);
        self.write_config(&format!("{LOGIN}{}", sms(base_url)));
    }

    /// Writes the auth token's file: `_bastion` alone can read it.
    pub fn write_token(&self, token: &str) {
        self.write(TOKEN_FILE, token, 0o600);
        self.sh(&format!("chown _bastion {TOKEN_FILE}"));
    }

    /// Starts `bastion run` as its unit does: own user, and the group that can read what
    /// writers drop.
    ///
    /// # Panics
    ///
    /// When it has not been built.
    #[must_use]
    pub fn spawn_sender(&self) -> Daemon {
        self.spawn_sender_with(&[])
    }

    /// How many lines with this event word the sender, or a command of it, has logged.
    #[must_use]
    pub fn events(&self, word: &str) -> usize {
        self.syslog_of("bastion").iter().filter(|line| line.event() == word).count()
    }

    /// The same with more environment: `NAME=VALUE`.
    ///
    /// # Panics
    ///
    /// When it has not been built.
    #[must_use]
    pub fn spawn_sender_with(&self, environment: &[&str]) -> Daemon {
        require("bastion");
        let mut words = AS_BASTION.to_vec();
        words.push("env");
        words.extend(environment);
        words.extend(["/artefacts/bastion", "run", "--config", CONFIG]);
        self.spawn(&words)
    }
}

/// A machine with a provider, the usual configuration and a running sender.
pub struct Rig {
    /// `bastion run`.
    pub sender: Daemon,
    /// The provider that its one channel, `sms`, talks to.
    pub provider: Provider,
    /// The machine.
    pub host: Host,
}

impl Rig {
    /// Makes one; the sender is at work when this returns.
    #[must_use]
    pub fn start() -> Self {
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        Self::on(host, provider)
    }

    /// The same on a machine that has been configured.
    #[must_use]
    pub fn on(host: Host, provider: Provider) -> Self {
        let sender = host.spawn_sender();
        host.wait_syslog("bastion", "sender-started", 1);
        Self { sender, provider, host }
    }

    /// Starts a new sender in the place of one that has ended, and waits until it is at work.
    pub fn start_again(&mut self) {
        let before = self.host.events("sender-started");
        self.sender = self.host.spawn_sender();
        // With a full queue it has ten thousand files to take up before.
        self.host.wait_syslog_for("bastion", "sender-started", before + 1, TAKEN_UP);
    }
}

/// What runs the rest of its arguments as the sender's user.
pub const AS_BASTION: &[&str] = &[
    "setpriv",
    "--reuid=_bastion",
    "--regid=_bastion",
    "--groups=_bastion-drop",
    "--inh-caps=-all",
    "--no-new-privs",
    "--",
];
