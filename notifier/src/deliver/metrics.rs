//! The ledger as metrics, in the text format of Prometheus, for its node exporter's textfile
//! collector. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::health::Health;
use super::ledger::{Ledger, Sent};

/// What there is to say besides what is counted.
pub struct Now<'a> {
    /// The counts.
    pub ledger: &'a Ledger,
    /// How many alerts are not yet out.
    pub waiting: usize,
    /// Age of the oldest of them, in seconds; 0 when there is none.
    pub oldest_s: u64,
    /// The names of all channels in use.
    pub channels: Vec<&'a str>,
    /// Their health; one that is not there is well.
    pub health: &'a BTreeMap<String, Health>,
    /// When the sender began, in seconds since 1970.
    pub started_s: u64,
}

/// A line's value by the value of its one label; with an empty label there is none.
type Samples = Vec<(String, u64)>;

/// All of it, a metric after the other.
#[must_use]
pub fn render(now: &Now<'_>) -> String {
    let total = &now.ledger.total;
    let well =
        |channel: &str| now.health.get(channel).is_none_or(|health| health.trouble.is_none());
    let alone = |value: u64| vec![(String::new(), value)];
    let by_channel = |pick: fn(&Sent) -> u64| -> Samples {
        let nothing = Sent::default();
        let sent = |name: &str| total.channels.get(name).unwrap_or(&nothing).clone();
        now.channels.iter().map(|name| ((*name).to_owned(), pick(&sent(name)))).collect()
    };
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, label: &str, help: &str, samples: Samples| {
        let _ = writeln!(text, "# HELP bastion_{name} {help}\n# TYPE bastion_{name} {kind}");
        for (of, value) in samples {
            let _ = match of.as_str() {
                "" => writeln!(text, "bastion_{name} {value}"),
                of => writeln!(text, "bastion_{name}{{{label}=\"{}\"}} {value}", escape(of)),
            };
        }
    };
    let kinds = ["login", "note", "condition", "report"];
    let of_kind = |kind: &&str| total.alerts.get(*kind).copied().unwrap_or(0);
    let alerts = kinds.iter().map(|kind| ((*kind).to_owned(), of_kind(kind))).collect();
    metric("alerts_total", "counter", "kind", "Alerts taken in.", alerts);
    let lost = "Alerts that no channel took, or that were too old before one did.";
    metric("alerts_lost_total", "counter", "", lost, alone(total.lost));
    let waiting = u64::try_from(now.waiting).unwrap_or(u64::MAX);
    metric("alerts_waiting", "gauge", "", "Alerts that are not yet out.", alone(waiting));
    let oldest = "Age of the oldest alert that is not yet out.";
    metric("alerts_waiting_oldest_seconds", "gauge", "", oldest, alone(now.oldest_s));
    let sent = "Messages that the provider has taken.";
    metric("messages_sent_total", "counter", "channel", sent, by_channel(|sent| sent.messages));
    let segments = "SMS segments of the messages sent.";
    metric("segments_sent_total", "counter", "channel", segments, by_channel(|sent| sent.segments));
    let failed = "Tries to send that failed.";
    metric("tries_failed_total", "counter", "channel", failed, by_channel(|sent| sent.failures));
    let last = "When the provider took the last message, 0 for never.";
    let last_s = by_channel(|sent| sent.last_s);
    metric("last_sent_timestamp_seconds", "gauge", "channel", last, last_s);
    let up = now.channels.iter().map(|name| ((*name).to_owned(), well(name).into())).collect();
    metric("channel_up", "gauge", "channel", "Whether nothing is known to be wrong with it.", up);
    let conditions = now.ledger.conditions().map(|(name, well)| (name.to_owned(), well.into()));
    let help = "Whether what was last told of it is up.";
    metric("condition_up", "gauge", "condition", help, conditions.collect());
    metric("start_time_seconds", "gauge", "", "When the sender began.", alone(now.started_s));
    text
}

/// A label's value as it stands in quotes. Names have been made visible before.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Fault, Outcome};
    use crate::clock::Stamp;
    use crate::event::{AlertId, Condition, Event, FORMAT, Severity, Status, What};

    #[test]
    fn every_sample_is_a_line_whatever_the_names_hold() {
        let mut ledger = Ledger::default();
        let at = Stamp { unix_ms: 5_000, boot: None };
        let name = "a\"b\\c\nd".into();
        ledger.came(&Event {
            version: FORMAT,
            id: AlertId::from_bits(1),
            at: at.clone(),
            host: "jump".into(),
            severity: Severity::Info,
            what: What::Condition(Condition::new(name, Status::Down, String::new())),
        });
        ledger.sent("sms", 2, &at);
        ledger.failed("mail");
        ledger.lost();
        let mut ill = Health::default();
        let fault = Fault::Channel;
        ill.learn(&Outcome::Later { why: "x".into(), fault }, 0, 0);
        let health = BTreeMap::from([("mail".to_owned(), ill)]);
        let text = render(&Now {
            ledger: &ledger,
            waiting: 3,
            oldest_s: 70,
            channels: vec!["sms", "mail"],
            health: &health,
            started_s: 1,
        });
        for line in [
            "bastion_alerts_total{kind=\"condition\"} 1",
            "bastion_alerts_total{kind=\"login\"} 0",
            "bastion_alerts_lost_total 1",
            "bastion_alerts_waiting 3",
            "bastion_alerts_waiting_oldest_seconds 70",
            "bastion_messages_sent_total{channel=\"sms\"} 1",
            "bastion_segments_sent_total{channel=\"sms\"} 2",
            "bastion_messages_sent_total{channel=\"mail\"} 0",
            "bastion_tries_failed_total{channel=\"mail\"} 1",
            "bastion_last_sent_timestamp_seconds{channel=\"sms\"} 5",
            "bastion_channel_up{channel=\"sms\"} 1",
            "bastion_channel_up{channel=\"mail\"} 0",
            r#"bastion_condition_up{condition="a\"b\\c\\x0ad"} 0"#,
            "bastion_start_time_seconds 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let named = |line: &str| line.starts_with("# ") || line.starts_with("bastion_");
        assert!(text.lines().all(named) && text.ends_with('\n'), "{text}");
    }
}
