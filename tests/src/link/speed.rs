//! A server of speed tests as a test sees it: LibreSpeed, Cloudflare and speedtest.net in one, told
//! what to do wrong, asked what it was asked. The process itself is `src/bin/speedserver`.
//!
//! It listens on the ports 80, 443 and 8080, to HTTP and to TLS on each. It has a certificate of a CA
//! of its own, which home has at [`CA`], for all names that [`super::names`] knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::orders::{Act, Order};
use super::{Net, OTHER, OTHER6, SPEED, SPEED6};
use crate::certificates;
use crate::host::{DEADLINE, Host};
use crate::process::Daemon;
use crate::wait::{wait_for, wait_until};

/// Where home has the certificate of the CA: what `ca-file` of `[[link]]` says.
pub const CA: &str = "/etc/bastion/ca.pem";

/// The ports.
pub const PORTS: [u16; 3] = [80, 443, 8080];

/// The names that a server may be asked for.
const NAMES: [&str; 7] = [
    "speed.cloudflare.com",
    "www.speedtest.net",
    "c.speedtest.net",
    "speed.example.net",
    "other.example.net",
    "slow.example.net",
    "localhost",
];

/// A request that was served, or that the client ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// When it was there, in microseconds since 1970.
    pub at_us: u64,
    /// Who.
    pub from: String,
    /// Whether by TLS.
    pub tls: bool,
    /// Number of the connection.
    pub connection: u64,
    /// `GET`, `POST`.
    pub method: String,
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Status, or 0 when there was none.
    pub status: u16,
    /// Bytes of the body that were handed to the system.
    pub sent: u64,
    /// Bytes of the request's body.
    pub received: u64,
}

/// A running server. Ends when dropped.
pub struct Speed {
    daemon: Daemon,
    log: std::path::PathBuf,
    said: usize,
}

impl Speed {
    /// Starts one at some addresses of the internet: [`SPEED`], [`OTHER`] and their IPv6 ones.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start(net: &Net, addresses: &[&str]) -> Self {
        let dir = "/run/speed";
        make_certificates(&net.internet, &net.home, dir);
        let log = format!("/var/log/speedserver-{}", addresses.join("-"));
        let mut words = vec!["/rigs/speedserver", "--log", &log, "--certificates", dir];
        let listen: Vec<String> = addresses
            .iter()
            .flat_map(|address| PORTS.map(|port| (address, port)))
            .map(|(address, port)| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            })
            .collect();
        for listen in &listen {
            words.extend(["--listen", listen]);
        }
        let daemon = net.internet.spawn(&words);
        wait_for("the speed server to listen", DEADLINE, || {
            daemon.output().contains("listening\n").then_some(())
        });
        Self { daemon, log: net.internet.path(log), said: 0 }
    }

    /// One at [`SPEED`] and one at [`OTHER`], in both families.
    #[must_use]
    pub fn start_both(net: &Net) -> [Self; 2] {
        [Self::start(net, &[SPEED, SPEED6]), Self::start(net, &[OTHER, OTHER6])]
    }

    /// Has it do something wrong, and waits until it does.
    ///
    /// # Panics
    ///
    /// When it does not understand that.
    pub fn order(&mut self, order: &Order) {
        self.daemon.say(&serde_json::to_string(order).expect("an order is JSON"));
        self.said += 1;
        let done = || self.daemon.output().matches("control: ok\n").count() >= self.said;
        assert!(wait_until(DEADLINE, done), "{}", self.daemon.output());
    }

    /// Has it do nothing wrong any longer.
    pub fn heal(&mut self) {
        self.order(&Order::new(Act::Heal));
    }

    /// All requests so far whose answer has ended, in the order in which they ended.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until so many have ended, and answers all.
    ///
    /// # Panics
    ///
    /// When they do not.
    #[must_use]
    pub fn wait_served(&self, count: usize, deadline: Duration) -> Vec<Served> {
        if !wait_until(deadline, || self.served().len() >= count) {
            panic!("{count} requests did not end: {:#?}", self.served());
        }
        self.served()
    }

    /// The process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// Makes the right certificate and the wrong ones, once for all servers.
fn make_certificates(internet: &Host, home: &Host, dir: &str) {
    if internet.path(format!("{dir}/good/ca.pem")).exists() {
        return;
    }
    let folder = |kind: &str| {
        internet.sh(&format!("mkdir -p {dir}/{kind}"));
        internet.path(format!("{dir}/{kind}"))
    };
    let mut names = NAMES.to_vec();
    names.extend([SPEED, SPEED6, OTHER, OTHER6]);
    let (good, ca) = (folder("good"), "bastion test CA");
    let made = certificates::make_for(&good, ca, &names, 2090);
    let _ = certificates::make_for(&folder("stranger"), "nobody's CA", &names, 2090);
    // Of the same CA as the good one, or the CA would be what is wrong.
    certificates::make_by((&good, ca), &folder("expired"), &names, 2021);
    certificates::make_by((&good, ca), &folder("name"), &["mail.example.org"], 2090);
    home.write(CA, std::fs::read(made.ca).expect("the CA that was made"), 0o644);
}
