//! The name server of the small internet as a test sees it: the ISP's resolver, Google's and OpenDNS'
//! that say who asks, and Team Cymru's zone. The process itself is `src/bin/nameserver`.
//!
//! It knows `speed.cloudflare.com`, `www.speedtest.net`, `c.speedtest.net`, `speed.example.net` and
//! `slow.example.net` ([`super::SPEED`]), `other.example.net` ([`super::OTHER`]), and the name servers.

use serde::{Deserialize, Serialize};

use super::orders::{NameAct, NameOrder};
use super::{GOOGLE, Net, OPENDNS, RESOLVER, RESOLVER6};
use crate::host::DEADLINE;
use crate::process::Daemon;
use crate::wait::{wait_for, wait_until};

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// Who.
    pub from: String,
    /// At which address of the server.
    pub at: String,
    /// `udp` or `tcp`.
    pub by: String,
    /// The name, in lower case, without a dot at the end.
    pub name: String,
    /// Number of the type: 1 A, 16 TXT, 28 AAAA.
    pub kind: u16,
}

/// A running name server, at all of its addresses. Ends when dropped.
pub struct Names {
    daemon: Daemon,
    log: std::path::PathBuf,
    said: usize,
}

impl Names {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start(net: &Net) -> Self {
        let log = "/var/log/nameserver";
        let mut words = vec!["/rigs/nameserver", "--log", log];
        for address in [RESOLVER, RESOLVER6, GOOGLE[0], GOOGLE[1], OPENDNS[0], OPENDNS[1]] {
            words.extend(["--listen", address]);
        }
        let daemon = net.internet.spawn(&words);
        wait_for("the name server to listen", DEADLINE, || {
            daemon.output().contains("listening\n").then_some(())
        });
        Self { daemon, log: net.internet.path(log), said: 0 }
    }

    /// Has it do something wrong, and waits until it does.
    ///
    /// # Panics
    ///
    /// When it does not understand that.
    pub fn order(&mut self, order: &NameOrder) {
        self.daemon.say(&serde_json::to_string(order).expect("an order is JSON"));
        self.said += 1;
        let done = || self.daemon.output().matches("control: ok\n").count() >= self.said;
        assert!(wait_until(DEADLINE, done), "{}", self.daemon.output());
    }

    /// Has it do nothing wrong any longer.
    pub fn heal(&mut self) {
        self.order(&NameOrder::new(NameAct::Heal));
    }

    /// All that it was asked so far, in that order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
