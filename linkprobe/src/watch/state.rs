//! What others may read of the lines: the state file, and the metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use notifier::clock::BootStamp;
use serde::{Deserialize, Serialize};

use crate::reach::{By, Found, Probe};

/// The state file, and the metrics, in the run directory.
pub const STATE: &str = "status.json";
/// See above.
pub const METRICS: &str = "linkprobe-watch.prom";

/// What is in the state file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Book {
    /// When it was written, in seconds since 1970.
    pub written_s: u64,
    /// The same moment on the clock that nobody can set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_boot: Option<BootStamp>,
    /// Process id of `linkprobe watch`.
    pub pid: u32,
    /// The lines, by name.
    pub links: BTreeMap<String, State>,
}

/// The state of one line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct State {
    /// Whether it is up; nothing while that is not known.
    pub up: Option<bool>,
    /// Why it is down: a word.
    pub cause: Option<String>,
    /// Why it is down, or why the last look has failed, for a person.
    pub why: Option<String>,
    /// Seconds since when it is as it is, 1970-based.
    pub since_s: Option<u64>,
    /// When it was last looked at, in seconds since 1970.
    pub looked_s: Option<u64>,
    /// Round trip of the last look that was answered, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Its interface.
    pub interface: Option<String>,
    /// Its address on this machine.
    pub source: Option<IpAddr>,
    /// Who says which name servers it has.
    pub resolvers_from: Option<String>,
    /// Who is asked, and what came of it when he was last.
    pub asked: Vec<Asked>,
    /// Bytes sent and received for this since the program was started.
    pub bytes_sent: u64,
    /// See above.
    pub bytes_received: u64,
}

impl State {
    /// Whether it is up, and the last look says so, too.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.up == Some(true) && self.why.is_none()
    }

    /// All of it that is news when it changes: words, and no measures.
    #[must_use]
    pub fn facts(&self) -> impl PartialEq + '_ {
        let asked = self.asked.iter().map(|one| (one.to.as_str(), one.found.as_str()));
        (self.up, &self.cause, &self.why, &self.interface, self.source, asked.collect::<Vec<_>>())
    }
}

/// One who is asked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Asked {
    /// Who.
    pub to: String,
    /// `dns` or `tcp`.
    pub by: String,
    /// Whether he is on this side of the line.
    pub near: bool,
    /// `answered`, `unwell`, `refused`, `silent`, `failed`, or `not-asked`.
    pub found: String,
    /// After how many milliseconds he has answered.
    pub ms: Option<f64>,
    /// What he, or the system, says.
    pub said: Option<String>,
}

impl From<&Probe> for Asked {
    fn from(probe: &Probe) -> Self {
        let said = match &probe.found {
            Found::Unwell(_, word) => Some((*word).to_owned()),
            Found::Failed(text) => Some(text.clone()),
            _ => None,
        };
        Self {
            to: probe.to.to_string(),
            by: match probe.by {
                By::Dns => "dns",
                By::Tcp => "tcp",
            }
            .to_owned(),
            near: probe.near,
            found: probe.found.word().to_owned(),
            ms: probe.found.took().map(rounded_ms),
            said,
        }
    }
}

/// Milliseconds with two places, as more is noise.
#[must_use]
pub fn rounded_ms(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

/// The state in the text format of Prometheus.
#[must_use]
pub fn metrics(book: &Book) -> String {
    type Pick = fn(&State) -> Option<f64>;
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    let all: [(&str, &str, &str, Pick); 6] = [
        ("up", "gauge", "Whether packets go both ways by the line.", |state| {
            state.up.map(|up| f64::from(u8::from(up)))
        }),
        (
            "round_trip_seconds",
            "gauge",
            "Round trip of the last look that was answered.",
            |state| state.rtt_ms.map(|ms| ms / 1000.0),
        ),
        ("looked_timestamp_seconds", "gauge", "When it was last looked at.", |state| {
            state.looked_s.map(|at| at as f64)
        }),
        ("changed_timestamp_seconds", "gauge", "Since when it is as it is.", |state| {
            state.since_s.map(|at| at as f64)
        }),
        ("watch_sent_bytes_total", "counter", "Bytes sent for that.", |state| {
            Some(state.bytes_sent as f64)
        }),
        ("watch_received_bytes_total", "counter", "Bytes received for that.", |state| {
            Some(state.bytes_received as f64)
        }),
    ];
    let mut text = String::new();
    for (name, kind, help, pick) in all {
        let _ = writeln!(text, "# HELP linkprobe_{name} {help}\n# TYPE linkprobe_{name} {kind}");
        for (link, state) in &book.links {
            if let Some(value) = pick(state) {
                let _ = writeln!(text, "linkprobe_{name}{{link=\"{link}\"}} {value}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_metric_and_never_zero() {
        let known = State {
            up: Some(true),
            rtt_ms: Some(31.25),
            looked_s: Some(1_700_000_000),
            ..State::default()
        };
        let links = [("backup".to_owned(), known), ("main".to_owned(), State::default())].into();
        let text = metrics(&Book { links, ..Book::default() });
        for want in [
            "linkprobe_up{link=\"backup\"} 1\n",
            "linkprobe_round_trip_seconds{link=\"backup\"} 0.03125\n",
            "linkprobe_looked_timestamp_seconds{link=\"backup\"} 1700000000\n",
            "linkprobe_watch_sent_bytes_total{link=\"main\"} 0\n",
        ] {
            assert!(text.contains(want), "{want}{text}");
        }
        assert!(!text.contains("linkprobe_up{link=\"main\"}"), "{text}");
    }
}
