//! The stand-in provider as a test sees it: started in a [`Host`], told what to do
//! wrong, asked what arrived. The process itself is `src/bin/provider.rs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::certificates;
use crate::cloud::{self, Machine, Order};
use crate::fault::{Act, Fault};
use crate::host::{DEADLINE, Host};
use crate::like::Like;
use crate::process::Daemon;
use crate::wait::{wait_for, wait_until};

/// Account SID that the provider accepts by default.
pub const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
/// Auth token that the provider accepts by default. Looked for in every log by a test.
pub const AUTH_TOKEN: &str = "5ecre7-70ken-0f-7he-7e57";

/// One line of the provider's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// When the request line had arrived, in microseconds since 1970.
    pub at_us: u64,
    /// `GET`, `POST`.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Decoded query.
    pub query: BTreeMap<String, String>,
    /// Decoded form; empty when the body was none.
    pub form: BTreeMap<String, String>,
    /// The body as it came, where it was no form.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub raw: String,
    /// Headers, names in lower case, without those that bear a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Number of the connection that it came on.
    #[serde(default)]
    pub connection: u64,
    /// Whether the credentials were right.
    pub authorized: bool,
    /// What it was answered: a status, or the name of the misbehaviour.
    pub answer: String,
    /// Id of the message, when this request had one accepted.
    pub accepted: Option<String>,
}

impl Record {
    /// The text of the message: of a form the body's, of JSON all of it.
    #[must_use]
    pub fn body(&self) -> &str {
        self.form.get("Body").unwrap_or(&self.raw)
    }

    /// The request's JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.raw).unwrap_or_default()
    }
}

/// A running provider. Ends when dropped.
pub struct Provider {
    daemon: Daemon,
    address: String,
    log: String,
    tls: bool,
    said: usize,
}

impl Provider {
    /// Starts one in `host`, on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start(host: &Host) -> Self {
        Self::start_at(host, "127.0.0.1:0", false)
    }

    /// The same with TLS, by a new CA whose certificate is at `/run/provider/ca.pem`: the
    /// client is told by `SSL_CERT_FILE`.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start_tls(host: &Host) -> Self {
        Self::start_at(host, "127.0.0.1:0", true)
    }

    /// Starts one at `listen`.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start_at(host: &Host, listen: &str, tls: bool) -> Self {
        Self::start_like(host, Like::Twilio, listen, tls)
    }

    /// Starts a stand-in for somebody else than Twilio. The logs of two at a free port of the
    /// same address are kept apart by whom they are like.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start_like(host: &Host, like: Like, listen: &str, tls: bool) -> Self {
        if tls {
            host.sh("mkdir -p /run/provider");
            let _ = certificates::make(&host.path("/run/provider"));
        }
        Self::start_with(host, like, listen, tls)
    }

    /// The same, with the certificate that is at `/run/provider/cert.pem` already.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start_with(host: &Host, like: Like, listen: &str, tls: bool) -> Self {
        host.sh("mkdir -p /run/provider");
        let log = match like {
            Like::Twilio => format!("/run/provider/log-{listen}"),
            like => format!("/run/provider/log-{}-{listen}", like.name()),
        };
        let mut words = vec!["/rigs/provider", "--listen", listen, "--log", &log];
        words.extend(["--like", like.name()]);
        if tls {
            words.extend(["--tls", "/run/provider/cert.pem", "/run/provider/key.pem"]);
        }
        Self::of(host.spawn(&words), &host.path(log), tls)
    }

    /// Starts a cloud with one machine, which is off: `[tunnel.on-demand]` of it is [`cloud::Like::section`]. `listen` is an
    /// address and port, 0 for a free one.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start_cloud(host: &Host, like: cloud::Like, listen: &str, tls: bool) -> Self {
        host.sh("mkdir -p /run/provider");
        if tls {
            let _ = certificates::make(&host.path("/run/provider"));
        }
        let log = format!("/run/provider/log-{}-{listen}", like.name());
        let mut words = vec!["/rigs/provider", "--listen", listen, "--log", &log];
        words.extend(["--cloud", like.name()]);
        if tls {
            words.extend(["--tls", "/run/provider/cert.pem", "/run/provider/key.pem"]);
        }
        Self::of(host.spawn(&words), &host.path(log), tls)
    }

    /// The one that `daemon` has just started, on whatever machine; `log` is its log.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn of(daemon: Daemon, log: &Path, tls: bool) -> Self {
        let address = wait_for("the provider to listen", DEADLINE, || {
            let output = daemon.output();
            let (_, rest) = output.split_once("listening on ")?;
            rest.split_once('\n').map(|(address, _)| address.to_owned())
        });
        Self { daemon, address, log: log.to_string_lossy().into_owned(), tls, said: 0 }
    }

    /// Its address and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What goes into `base-url`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Adds a rule of misbehaviour, and waits until it is in force.
    ///
    /// # Panics
    ///
    /// When the provider does not understand it.
    pub fn fault(&mut self, fault: &Fault) {
        self.daemon.say(&serde_json::to_string(fault).expect("a fault is JSON"));
        self.said += 1;
        let done = || self.daemon.output().matches("control: ok\n").count() >= self.said;
        assert!(wait_until(DEADLINE, done), "{}", self.daemon.output());
    }

    /// Makes something of a cloud's machine, and answers how that is then.
    ///
    /// # Panics
    ///
    /// When the provider is no cloud, or does not understand it.
    pub fn order(&mut self, order: &Order) -> Machine {
        self.daemon.say(&serde_json::json!({ "cloud": order }).to_string());
        self.said += 1;
        let done = || self.daemon.output().matches("control: ok\n").count() >= self.said;
        assert!(wait_until(DEADLINE, done), "{}", self.daemon.output());
        let output = self.daemon.output();
        let (_, last) = output.rsplit_once("machine: ").expect("a cloud says how its machine is");
        serde_json::from_str(last.lines().next().unwrap_or_default()).expect("a machine as JSON")
    }

    /// How a cloud's machine is.
    #[must_use]
    pub fn machine(&mut self) -> Machine {
        self.order(&Order::default())
    }

    /// Forgets all rules: it behaves again.
    pub fn heal(&mut self) {
        self.fault(&Fault::new(Act::Clear));
    }

    /// All requests so far, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Record> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut records: Vec<Record> =
            log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        records.sort_by_key(|record| record.at_us);
        records
    }

    /// The requests that tried to send something.
    #[must_use]
    pub fn posts(&self) -> Vec<Record> {
        self.requests().into_iter().filter(|r| r.method == "POST").collect()
    }

    /// The messages that were accepted: what would be on the phone.
    #[must_use]
    pub fn accepted(&self) -> Vec<Record> {
        self.requests().into_iter().filter(|r| r.accepted.is_some()).collect()
    }

    /// Waits until `count` messages have been accepted, and answers all.
    ///
    /// # Panics
    ///
    /// When they are not within `deadline`.
    #[expect(clippy::must_use_candidate, reason = "often called for the waiting alone")]
    pub fn wait_accepted(&self, count: usize, deadline: Duration) -> Vec<Record> {
        if !wait_until(deadline, || self.accepted().len() >= count) {
            panic!("{count} messages did not come: {:#?}", self.requests());
        }
        self.accepted()
    }

    /// How many messages with this alert's id were accepted.
    #[must_use]
    pub fn copies(&self, id: &str) -> usize {
        let token = format!("#{id}");
        self.accepted().iter().filter(|record| record.body().contains(&token)).count()
    }

    /// Waits until the alert has been accepted, and answers the first message of it.
    ///
    /// # Panics
    ///
    /// When it is not within `deadline`.
    #[expect(clippy::must_use_candidate, reason = "often called for the waiting alone")]
    pub fn wait_alert(&self, id: &str, deadline: Duration) -> Record {
        let token = format!("#{id}");
        if !wait_until(deadline, || self.copies(id) > 0) {
            panic!("alert {id} did not come within {deadline:?}: {:#?}", self.requests());
        }
        let mut accepted = self.accepted().into_iter();
        accepted.find(|record| record.body().contains(&token)).expect("it has just been seen")
    }

    /// Waits until `count` requests have come, and answers all.
    ///
    /// # Panics
    ///
    /// When they do not within `deadline`.
    #[expect(clippy::must_use_candidate, reason = "often called for the waiting alone")]
    pub fn wait_requests(&self, count: usize, deadline: Duration) -> Vec<Record> {
        if !wait_until(deadline, || self.requests().len() >= count) {
            panic!("{count} requests did not come: {:#?}", self.requests());
        }
        self.requests()
    }

    /// The process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
