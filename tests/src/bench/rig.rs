//! The machine that most measurements stand on: a sender, its provider, and a spool on a disk.

use std::time::Duration;

use bastion_tests::host::{CONFIG, DEADLINE, Host, MODULE, require};
use bastion_tests::process::Daemon;
use bastion_tests::provider::Provider;
use bastion_tests::wait::wait_until;

use super::disk::{Disk, Kind};
use super::probe::{Opened, Turns, run_open};

/// Longest time for what is measured to go on in the throwaway machine.
const MOST: Duration = Duration::from_secs(300);

/// A machine with all of it. What is dropped first is declared first.
pub struct Rig {
    /// `bastion run`, unless it was taken away.
    pub sender: Option<Daemon>,
    /// The stand-in for Twilio.
    pub provider: Provider,
    /// The machine.
    pub host: Host,
    /// Where its spool is.
    pub disk: Disk,
}

impl Rig {
    /// To measure the time of a login: the provider in clear, a fresh disk.
    pub fn for_logins() -> Self {
        Self::new(false, Kind::Fresh)
    }

    /// To measure the way of an alert: the machine's disk, and the provider behind TLS, as
    /// Twilio is, or in clear.
    pub fn for_alerts(tls: bool) -> Self {
        Self::new(tls, Kind::Folder)
    }

    fn new(tls: bool, kind: Kind) -> Self {
        require("bastion");
        require("libpam_bastion.so");
        let host = Host::new();
        let disk = Disk::under(&host, kind);
        let provider = if tls { Provider::start_tls(&host) } else { Provider::start(&host) };
        host.configure(&provider.url());
        let mut rig = Self { sender: None, provider, host, disk };
        rig.start_sender();
        rig
    }

    /// Starts the sender and waits until it has.
    pub fn start_sender(&mut self) {
        let before = self.host.syslog_of("bastion").len();
        self.sender = Some(self.host.spawn_sender_with(&["SSL_CERT_FILE=/run/provider/ca.pem"]));
        let started = || {
            let lines = self.host.syslog_of("bastion");
            lines.iter().skip(before).any(|line| line.event() == "sender-started")
        };
        assert!(wait_until(DEADLINE, started), "{:#?}", self.host.syslog_of("bastion"));
    }

    /// Waits until nothing is left to be sent.
    pub fn settle(&self) {
        let empty = |room: &str| self.host.spool_files(room).is_empty();
        assert!(wait_until(MOST, || empty("drop") && empty("queue")), "the spool is not empty");
    }

    /// Opens sessions by each of `stacks` in turn.
    pub fn open(&self, stacks: &[&str], turns: &Turns) -> Vec<Vec<Opened>> {
        run_open(&self.host, stacks, turns)
    }

    /// From now on packets to the provider vanish.
    pub fn drop_packets(&self) {
        packets(&self.host, port_of(self.provider.address()), "drop");
    }

    /// From now on they arrive.
    pub fn pass_packets(&self) {
        pass_packets(&self.host);
    }
}

/// The port of `127.0.0.1:4010`.
pub fn port_of(address: &str) -> u16 {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.expect("an address and a port")
}

/// From now on this becomes of packets to `port`: `drop`, or `reject with tcp reset`.
pub fn packets(host: &Host, port: u16, fate: &str) {
    let chain = "nft add chain inet t in '{ type filter hook input priority 0; }'";
    let rule = format!("nft add rule inet t in tcp dport {port} {fate}");
    host.sh(&format!("nft add table inet t; {chain}; {rule}"));
}

/// From now on they arrive.
pub fn pass_packets(host: &Host) {
    host.sh("nft delete table inet t");
}

/// The line of the documentation.
pub fn our_line() -> String {
    format!("-session optional {MODULE} config={CONFIG}")
}

/// `pam_permit` alone: what every session has.
pub const PERMIT: &str = "session required pam_permit.so";

/// `pam_permit` and `line`.
pub fn with(line: &str) -> String {
    format!("{PERMIT}\n{line}")
}
