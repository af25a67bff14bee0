//! What is configured of delivery: which way each kind of message goes, and what each channel may do.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::route::Route;
use crate::channel::Limits;
use crate::event::Severity;

/// How long a message is of use, where nothing is configured for its kind. That a line was down
/// for a minute is of no use the next day; who has logged in is.
fn default_expiry(kind: &str) -> Duration {
    let hours = match kind {
        "condition" => 6,
        "report" => 7 * 24,
        _ => 24,
    };
    Duration::from_secs(hours * 3600)
}

/// Everything that the outbox has to know of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The first rule that matches a message says which way it goes.
    pub rules: Vec<Rule>,
    /// The way of all others.
    pub route: Route,
    /// How long a network fault may last before the next channel takes over.
    pub patience: Duration,
    /// The age at which a message is of no use any more, by kind.
    pub expiry: BTreeMap<&'static str, Duration>,
    /// The channels, by name.
    pub ways: BTreeMap<String, Way>,
}

/// Messages that go another way.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// Kinds of event; empty for all.
    pub kinds: Vec<&'static str>,
    /// Severities; empty for all.
    pub severities: Vec<Severity>,
    /// Which way.
    pub route: Route,
}

/// What the outbox has to know of a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Way {
    /// Whether what waits for a recipient is told in one message.
    pub together: bool,
    /// Whether messages are prepared many at a time, because a program reads them.
    pub in_runs: bool,
    /// Whether the changes of one thing go there in their order.
    pub in_order: bool,
    /// What it may send.
    pub limits: Limits,
    /// The most SMS segments of a message.
    pub segments: u32,
    /// Whether the provider can be asked what became of a message.
    pub follows: bool,
}

impl Policy {
    /// Which way a message goes.
    #[must_use]
    pub fn route(&self, kind: &str, severity: Severity) -> &Route {
        let matches = |rule: &&Rule| {
            (rule.kinds.is_empty() || rule.kinds.contains(&kind))
                && (rule.severities.is_empty() || rule.severities.contains(&severity))
        };
        self.rules.iter().find(matches).map_or(&self.route, |rule| &rule.route)
    }

    /// The channels that messages go over, each once, in the order in which they are used.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        let routes = std::iter::once(&self.route).chain(self.rules.iter().map(|rule| &rule.route));
        let mut channels: Vec<String> = Vec::new();
        for stop in routes.flat_map(|route| &route.stops) {
            if !channels.contains(&stop.channel) {
                channels.push(stop.channel.clone());
            }
        }
        channels
    }

    /// The age at which a message of this kind is of no use any more.
    #[must_use]
    pub fn expiry(&self, kind: &str) -> Duration {
        self.expiry.get(kind).copied().unwrap_or_else(|| default_expiry(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_says_the_way() {
        let all = |all| Route { stops: Vec::new(), all };
        let rule = |kinds: &[&'static str], severities: &[Severity], over_all| Rule {
            kinds: kinds.to_vec(),
            severities: severities.to_vec(),
            route: all(over_all),
        };
        let policy = Policy {
            rules: vec![
                rule(&["note"], &[Severity::Critical], false),
                rule(&["note", "condition"], &[], true),
                rule(&[], &[Severity::Critical], true),
            ],
            ..Policy::default()
        };
        let table = [
            ("note", Severity::Critical, false),
            ("note", Severity::Info, true),
            ("condition", Severity::Critical, true),
            ("login", Severity::Critical, true),
            ("login", Severity::Warning, false),
        ];
        for (kind, severity, want) in table {
            assert_eq!(policy.route(kind, severity).all, want, "{kind} {severity}");
        }
    }
}
