//! Whether what is logged here is also somewhere else: who has broken in wipes the logs of the host first.

use super::Role;
use super::finding::{Finding, Severity};
use super::units::Units;

/// Units of programs that send logs away, by settings that are not looked into.
const SENDERS: [&str; 3] = ["syslog-ng.service", "vector.service", "fluent-bit.service"];

/// The journal's own, of whose settings only [`PLACEHOLDER`] is known.
const UPLOAD: &str = "systemd-journal-upload.service";

/// What our examples have in the place of a log server.
const PLACEHOLDER: &str = "logserver.example.net";

/// A file of settings: its path, and what is in it.
pub type File = (String, String);

/// What is there.
#[derive(Debug, Default)]
pub struct Facts<'t> {
    /// rsyslog's files, where it is installed.
    pub rsyslog: Option<Vec<File>>,
    /// Those of systemd-journal-upload.
    pub upload: Vec<File>,
    /// Whether the journal outlives a reboot, where there is one.
    pub keeps_journal: Option<bool>,
    /// systemd's units, where there is a systemd that answers.
    pub units: Option<&'t Units<'t>>,
}

/// What is wrong with where the logs go.
#[must_use]
pub fn judge(facts: &Facts<'_>, role: Role) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rsyslog = facts.rsyslog.as_deref().unwrap_or_default();
    let all: String = rsyslog.iter().map(|(_, text)| text.as_str()).collect();
    let sends = forwards(&all);
    let filtered = sends == Sends::Some;
    let sends = sends != Sends::Nothing;
    let files = [("rsyslog", rsyslog), ("systemd-journal-upload", &facts.upload)];
    let unnamed: Vec<(&str, &File)> = files
        .into_iter()
        .flat_map(|(unit, files)| files.iter().map(move |file| (unit, file)))
        .filter(|(_, file)| is_unnamed(file))
        .collect();
    for (unit, (path, _)) in &unnamed {
        let text = format!(
            "sends logs to {PLACEHOLDER}, which is the example's and no server of yours: they stay here"
        );
        let fix = format!("write your log server's name there, then: systemctl restart {unit}");
        findings.push(Finding::new(Severity::Warning, "logs-placeholder", path, text, fix));
    }
    let uploads = !facts.upload.iter().any(is_unnamed);
    let others = facts.units.is_some_and(|units| {
        SENDERS.iter().any(|name| units.is_active(name)) || (uploads && units.is_active(UPLOAD))
    });
    // Where systemd answers, it is known whether rsyslog is at work.
    let stopped = sends && facts.units.is_some_and(|units| !units.is_active("rsyslog.service"));
    if stopped && !others {
        let text = "rsyslog is to send them away and does not run";
        let fix = "systemctl enable --now rsyslog; if it ends again: rsyslogd -N1";
        findings.push(Finding::new(Severity::Warning, "logs-not-forwarded", "logs", text, fix));
    } else if !sends && !others && unnamed.is_empty() {
        // What the internet sees is what is broken into first.
        let severity = if role == Role::Jump { Severity::Warning } else { Severity::Note };
        let text = "are on this host alone, where who breaks in wipes them";
        let fix = "apt install rsyslog rsyslog-relp; /usr/share/doc/pam-bastion/examples/rsyslog.d/bastion.conf, with your \
                   log server in it, goes to /etc/rsyslog.d/, then: systemctl restart rsyslog";
        findings.push(Finding::new(severity, "logs-not-forwarded", "logs", text, fix));
    }
    if filtered && !stopped && !others {
        let text = "rsyslog sends away what a filter lets through, and it is not known whether logins are among it";
        let fix = "see: grep -rn -B3 -e omfwd -e omrelp -e @ /etc/rsyslog.conf /etc/rsyslog.d";
        findings.push(Finding::new(Severity::Note, "logs-filtered", "logs", text, fix));
    }
    if facts.keeps_journal == Some(false) && facts.rsyslog.is_none() {
        let text = "the journal is gone after a reboot, and with it who came in";
        let fix =
            "mkdir -p /var/log/journal && systemctl restart systemd-journald && journalctl --flush";
        findings.push(Finding::new(Severity::Note, "journal-volatile", "logs", text, fix));
    }
    findings
}

/// Whether nobody has put a server's name into a copy of our example.
fn is_unnamed((_, text): &File) -> bool {
    text.lines().any(|line| without_comment(line).contains(PLACEHOLDER))
}

/// What rsyslog sends to another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sends {
    /// Nothing, or nothing of logins.
    Nothing,
    /// What passes a filter that is not understood here.
    Some,
    /// Logins.
    Logins,
}

/// What rsyslog's settings send to another host: by an action of the new form (`type="omfwd"`, `type="omrelp"`), or
/// of one of the old ones (`@host`, `@@host`, `:omrelp:host`).
fn forwards(text: &str) -> Sends {
    let text: String = text.lines().map(|line| without_comment(line).to_owned() + "\n").collect();
    let lower = text.to_ascii_lowercase();
    let old = lower.lines().filter_map(of_old_form);
    of_new_form(&lower).into_iter().chain(old).max().unwrap_or(Sends::Nothing)
}

/// An action may stand on several lines.
fn of_new_form(text: &str) -> Vec<Sends> {
    let away = |action: &str| {
        let action: String = action.chars().filter(|c| !c.is_whitespace()).collect();
        let kind = ["type=\"omfwd\"", "type=\"omrelp\"", "type=\"omgssapi\""];
        let target = action.split_once("target=\"").and_then(|(_, rest)| rest.split('"').next());
        kind.iter().any(|kind| action.contains(kind)) && target.is_some_and(is_elsewhere)
    };
    let (mut found, mut from) = (Vec::new(), 0);
    for (at, word) in text.match_indices("action") {
        let rest = text.get(at + word.len()..).unwrap_or_default();
        let Some(rest) = rest.trim_start().strip_prefix('(') else { continue };
        let action = rest.split(')').next().unwrap_or_default();
        let before = text.get(from..at).unwrap_or_default();
        if away(action) {
            found.push(by_filter(before));
        }
        // What was before it counts for the next one while a block is open.
        if before.matches('{').count() <= before.matches('}').count() {
            from = at + word.len();
        }
    }
    found
}

/// What an action gets, by the settings before it: those behind the last filter's end.
fn by_filter(before: &str) -> Sends {
    let last = before.rsplit('}').next().unwrap_or_default();
    let line = last.lines().next_back().unwrap_or_default().trim();
    if let Some((condition, _)) = last.rsplit_once("then") {
        let whole = condition.rsplit("if ").next().unwrap_or_default();
        let of_logins = ["pam_bastion", "auth", "sshd"].iter().any(|word| whole.contains(word));
        return if of_logins { Sends::Logins } else { Sends::Some };
    }
    match line {
        "" => Sends::Logins,
        property if property.starts_with(':') => Sends::Some,
        selector => by_selector(selector),
    }
}

fn of_old_form(line: &str) -> Option<Sends> {
    let mut words = line.split_whitespace();
    // A filter, then the action.
    let (filter, action) = (words.next()?, words.next_back()?);
    let target = action.strip_prefix(":omrelp:").or_else(|| action.strip_prefix('@'));
    let target = target?.trim_start_matches('@');
    // Options stand in brackets before the host: @@(o)host.
    let target =
        target.strip_prefix('(').and_then(|t| t.split_once(')')).map_or(target, |(_, t)| t);
    let known = !filter.starts_with(':') && filter != "if";
    is_elsewhere(target).then(|| if known { by_selector(filter) } else { Sends::Some })
}

/// Whether logins are among what a selector takes (rsyslog.conf(5)): `facility[,facility].priority[;..]`, of which
/// the last that speaks of a facility counts.
fn by_selector(selector: &str) -> Sends {
    let mut taken = false;
    for part in selector.split(';') {
        let Some((facilities, priority)) = part.trim().rsplit_once('.') else { continue };
        if facilities.split(',').any(|name| matches!(name.trim(), "*" | "auth" | "authpriv")) {
            // sshd says a login with info, the module with notice.
            taken = matches!(priority, "*" | "debug" | "info" | "notice");
        }
    }
    if taken { Sends::Logins } else { Sends::Nothing }
}

fn is_elsewhere(target: &str) -> bool {
    let target = target.trim_start_matches('[');
    let here = ["localhost", "127.", "::1", PLACEHOLDER];
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
            ("", Sends::Nothing),
            (
                "auth,authpriv.*\t/var/log/auth.log\n*.*;auth.none -/var/log/syslog\n",
                Sends::Nothing,
            ),
            ("*.* @@logs.example.org:6514\n", Sends::Logins),
            ("*.* @192.0.2.9\n", Sends::Logins),
            ("*.* @@(o)logs.example.org\n", Sends::Logins),
            ("*.* :omrelp:logs.example.org:2514\n", Sends::Logins),
            ("auth,authpriv.*\t@192.0.2.9\n", Sends::Logins),
            ("*.info;mail.none @192.0.2.9\n", Sends::Logins),
            ("kern.* @192.0.2.9\n", Sends::Nothing),
            ("*.*;auth,authpriv.none @192.0.2.9\n", Sends::Nothing),
            ("*.emerg @192.0.2.9\n", Sends::Nothing),
            (":programname, isequal, \"x\" @192.0.2.9\n", Sends::Some),
            ("if $programname == 'x' then @192.0.2.9\n", Sends::Some),
            ("kern.* @192.0.2.9\n*.* @192.0.2.9\n", Sends::Logins),
            ("#*.* @@logs.example.org\n", Sends::Nothing),
            ("*.* @@127.0.0.1:514\n", Sends::Nothing),
            (
                "action(type=\"omfwd\"\n  target = \"logs.example.org\" port=\"6514\" protocol=\"tcp\")\n",
                Sends::Logins,
            ),
            ("*.* Action(Type=\"omrelp\" Target=\"192.0.2.9\")\n", Sends::Logins),
            ("kern.* action(type=\"omrelp\" target=\"192.0.2.9\")\n", Sends::Nothing),
            (
                "if $msg contains 'x' then {\n action(type=\"omfile\" file=\"/x\")\n \
              action(type=\"omrelp\" target=\"192.0.2.9\")\n}\n",
                Sends::Some,
            ),
            (
                "if $msg contains 'x' then {\n action(type=\"omfile\" file=\"/x\")\n}\n\
              action(type=\"omrelp\" target=\"192.0.2.9\")\n",
                Sends::Logins,
            ),
            ("action(type=\"omfwd\" target=\"localhost\")\n", Sends::Nothing),
            (
                "# action(type=\"omfwd\" target=\"x\")\naction(type=\"omfile\" file=\"/x\")\n",
                Sends::Nothing,
            ),
            ("module(load=\"omrelp\")\n", Sends::Nothing),
            ("mail.* root@example.org\n", Sends::Nothing),
            (ours, Sends::Nothing),
            (&ours.replace(PLACEHOLDER, "logs.example.org"), Sends::Logins),
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
        let files = |rsyslog: Option<String>| {
            rsyslog.map(|text| vec![("/etc/rsyslog.conf".to_owned(), text)])
        };
        let with = |rsyslog| Facts { rsyslog: files(rsyslog), ..Facts::default() };
        assert_eq!(ids(&with(None), Role::Jump), "warning logs-not-forwarded");
        assert_eq!(ids(&with(Some(String::new())), Role::Internal), "note logs-not-forwarded");
        assert_eq!(ids(&with(sends()), Role::Jump), "");
        let kernel = || Some("kern.* @192.0.2.9\n".to_owned());
        assert_eq!(ids(&with(kernel()), Role::Jump), "warning logs-not-forwarded");
        let filter = || Some(":msg, contains, \"x\" @192.0.2.9\n".to_owned());
        assert_eq!(ids(&with(filter()), Role::Jump), "note logs-filtered");
        let upload = Units::parse("Id=systemd-journal-upload.service\nActiveState=active\n");
        let stopped = Units::parse("Id=rsyslog.service\nActiveState=failed\n");
        let uploads = Facts { units: Some(&upload), ..Facts::default() };
        assert_eq!(ids(&uploads, Role::Jump), "");
        let stopped = Facts { units: Some(&stopped), ..with(sends()) };
        assert_eq!(ids(&stopped, Role::Other), "warning logs-not-forwarded");
        let volatile =
            |rsyslog| Facts { keeps_journal: Some(false), units: Some(&upload), ..with(rsyslog) };
        assert_eq!(ids(&volatile(None), Role::Jump), "note journal-volatile");
        assert_eq!(ids(&volatile(Some(String::new())), Role::Jump), "");
    }

    #[test]
    fn what_goes_to_the_example_s_server_goes_nowhere() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let relp = include_str!("../../../etc/rsyslog.d/bastion.conf");
        let tcp = include_str!("../../../etc/rsyslog.d/bastion-tcp.conf");
        let of_journal = include_str!("../../../etc/systemd/journal-upload.conf.d/bastion.conf");
        let ours = "/etc/rsyslog.d/bastion.conf";
        for text in [relp, tcp] {
            let files = vec![file("/etc/rsyslog.conf", ""), file(ours, text)];
            let facts = Facts { rsyslog: Some(files), ..Facts::default() };
            let found = judge(&facts, Role::Internal);
            assert_eq!(found.len(), 1, "{found:?}");
            let one = &found[0];
            assert_eq!(
                (one.severity, one.id, one.subject.as_str()),
                (Severity::Warning, "logs-placeholder", ours)
            );
            assert!(one.fix.ends_with("systemctl restart rsyslog"), "{one:?}");
            let real = vec![file(ours, &text.replace(PLACEHOLDER, "logs.example.org"))];
            let facts = Facts { rsyslog: Some(real), ..Facts::default() };
            assert_eq!(ids(&facts, Role::Jump), "");
        }
        let units = Units::parse("Id=systemd-journal-upload.service\nActiveState=activating\n");
        let of = |text: &str| Facts {
            upload: vec![file("/etc/systemd/journal-upload.conf.d/bastion.conf", text)],
            units: Some(&units),
            ..Facts::default()
        };
        assert_eq!(ids(&of(of_journal), Role::Jump), "warning logs-placeholder");
        let real = of_journal.replace(PLACEHOLDER, "logs.example.org");
        assert_eq!(ids(&of(&real), Role::Jump), "");
    }
}
