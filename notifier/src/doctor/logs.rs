//! Whether what is logged here is also somewhere else: who has broken in wipes the logs of the host first.

use super::Role;
use super::finding::{Finding, Severity};
use super::units::Units;

/// Units of programs that send logs away, by settings that are not looked into.
const SENDERS: [&str; 4] =
    ["systemd-journal-upload.service", "syslog-ng.service", "vector.service", "fluent-bit.service"];

/// What is there.
#[derive(Debug, Default)]
pub struct Facts<'t> {
    /// The texts of rsyslog's files, where it is installed.
    pub rsyslog: Option<String>,
    /// Whether the journal outlives a reboot, where there is one.
    pub keeps_journal: Option<bool>,
    /// systemd's units, where there is a systemd that answers.
    pub units: Option<&'t Units<'t>>,
}

/// What is wrong with where the logs go.
#[must_use]
pub fn judge(facts: &Facts<'_>, role: Role) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sends = facts.rsyslog.as_deref().is_some_and(forwards);
    let others = facts.units.is_some_and(|units| SENDERS.iter().any(|name| units.is_active(name)));
    // Where systemd answers, it is known whether rsyslog is at work.
    let stopped = sends && facts.units.is_some_and(|units| !units.is_active("rsyslog.service"));
    if stopped && !others {
        let text = "rsyslog is to send them away and does not run";
        let fix = "systemctl enable --now rsyslog; if it ends again: rsyslogd -N1";
        findings.push(Finding::new(Severity::Warning, "logs-not-forwarded", "logs", text, fix));
    } else if !sends && !others {
        // What the internet sees is what is broken into first.
        let severity = if role == Role::Jump { Severity::Warning } else { Severity::Note };
        let text = "are on this host alone, where who breaks in wipes them";
        let fix = "rsyslog.d/bastion.conf of /usr/share/doc/pam-bastion/examples, with your log server in it, goes to \
                   /etc/rsyslog.d, then: systemctl restart rsyslog";
        findings.push(Finding::new(severity, "logs-not-forwarded", "logs", text, fix));
    }
    if facts.keeps_journal == Some(false) && facts.rsyslog.is_none() {
        let text = "the journal is gone after a reboot, and with it who came in";
        let fix =
            "mkdir -p /var/log/journal && systemctl restart systemd-journald && journalctl --flush";
        findings.push(Finding::new(Severity::Note, "journal-volatile", "logs", text, fix));
    }
    findings
}

/// Whether rsyslog's settings have an action that sends to another host: the new form (`type="omfwd"`,
/// `type="omrelp"`), or one of the old ones (`@host`, `@@host`, `:omrelp:host`).
fn forwards(text: &str) -> bool {
    let text: String = text.lines().map(|line| without_comment(line).to_owned() + "\n").collect();
    // An action may stand on several lines.
    let lower = text.to_ascii_lowercase();
    let is_modern = lower.split("action").skip(1).any(|action| {
        let action: String = action.chars().filter(|c| !c.is_whitespace()).collect();
        let action = action.split(')').next().unwrap_or_default();
        let kind = ["type=\"omfwd\"", "type=\"omrelp\"", "type=\"omgssapi\""];
        let target = action.split_once("target=\"").and_then(|(_, rest)| rest.split('"').next());
        kind.iter().any(|kind| action.contains(kind)) && target.is_some_and(is_elsewhere)
    });
    let is_old = lower.lines().any(|line| {
        let mut words = line.split_whitespace();
        // A filter, then the action.
        let action = words.nth(1).unwrap_or_default();
        let target = action.strip_prefix(":omrelp:").or_else(|| action.strip_prefix('@'));
        let target = target.map(|target| target.trim_start_matches('@'));
        // Options stand in brackets before the host: @@(o)host.
        let target = target.map(|target| {
            target.strip_prefix('(').and_then(|t| t.split_once(')')).map_or(target, |(_, t)| t)
        });
        target.is_some_and(is_elsewhere)
    });
    is_modern || is_old
}

fn is_elsewhere(target: &str) -> bool {
    let target = target.trim_start_matches('[');
    let here = ["localhost", "127.", "::1"];
    !target.is_empty() && !here.iter().any(|name| target.starts_with(name))
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_is_known_in_each_of_its_forms() {
        let ours = include_str!("../../../etc/rsyslog.d/bastion.conf");
        let table = [
            ("", false),
            ("auth,authpriv.*\t/var/log/auth.log\n*.*;auth.none -/var/log/syslog\n", false),
            ("*.* @@logs.example.org:6514\n", true),
            ("*.* @192.0.2.9\n", true),
            ("*.* @@(o)logs.example.org\n", true),
            ("*.* :omrelp:logs.example.org:2514\n", true),
            ("#*.* @@logs.example.org\n", false),
            ("*.* @@127.0.0.1:514\n", false),
            (
                "action(type=\"omfwd\"\n  target = \"logs.example.org\" port=\"6514\" protocol=\"tcp\")\n",
                true,
            ),
            ("*.* Action(Type=\"omrelp\" Target=\"192.0.2.9\")\n", true),
            ("action(type=\"omfwd\" target=\"localhost\")\n", false),
            ("# action(type=\"omfwd\" target=\"x\")\naction(type=\"omfile\" file=\"/x\")\n", false),
            ("module(load=\"omrelp\")\n", false),
            ("mail.* root@example.org\n", false),
            (ours, true),
        ];
        for (text, want) in table {
            assert_eq!(forwards(text), want, "{text}");
        }
    }

    fn ids(facts: &Facts<'_>, role: Role) -> String {
        let findings = judge(facts, role);
        assert!(findings.iter().all(|one| !one.fix.is_empty()));
        let ids = findings.iter().map(|one| format!("{} {}", one.severity.as_str(), one.id));
        ids.collect::<Vec<_>>().join(",")
    }

    #[test]
    fn logs_that_stay_here_are_told_the_louder_on_the_jump_host() {
        let sends = || Some("*.* @@logs.example.org\n".to_owned());
        let with = |rsyslog| Facts { rsyslog, ..Facts::default() };
        assert_eq!(ids(&with(None), Role::Jump), "warning logs-not-forwarded");
        assert_eq!(ids(&with(Some(String::new())), Role::Internal), "note logs-not-forwarded");
        assert_eq!(ids(&with(sends()), Role::Jump), "");
        let upload = Units::parse("Id=systemd-journal-upload.service\nActiveState=active\n");
        let stopped = Units::parse("Id=rsyslog.service\nActiveState=failed\n");
        let uploads = Facts { units: Some(&upload), ..Facts::default() };
        assert_eq!(ids(&uploads, Role::Jump), "");
        let stopped = Facts { units: Some(&stopped), rsyslog: sends(), ..Facts::default() };
        assert_eq!(ids(&stopped, Role::Other), "warning logs-not-forwarded");
        let volatile =
            |rsyslog| Facts { keeps_journal: Some(false), units: Some(&upload), rsyslog };
        assert_eq!(ids(&volatile(None), Role::Jump), "note journal-volatile");
        assert_eq!(ids(&volatile(Some(String::new())), Role::Jump), "");
    }
}
