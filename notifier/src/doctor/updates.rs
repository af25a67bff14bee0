//! Whether this host gets its security fixes by itself: `apt-config dump` (apt.conf(5)), and what is there of
//! unattended-upgrades; elsewhere dnf-automatic is enough.

use std::time::Duration;

use super::finding::{Finding, Severity};
use super::programs::Answer;
use super::units::Units;
use crate::daemon::words;
use Severity::{Note, Warning};

/// How long a reboot that a fix waits for may wait before it is more than a note.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the switch is.
const SWITCH: &str = "/etc/apt/apt.conf.d/20auto-upgrades";

/// What is there, beside apt's words.
#[derive(Debug, Default)]
pub struct Facts<'t> {
    /// Whether unattended-upgrades is installed.
    pub has_program: bool,
    /// apt's files of settings with their texts, in the order in which it reads them.
    pub files: Vec<(String, String)>,
    /// For how long a reboot has been required.
    pub reboot_for: Option<Duration>,
    /// systemd's units, where there is a systemd that answers.
    pub units: Option<&'t Units<'t>>,
}

/// What keeps fixes from coming in.
#[must_use]
pub fn judge(apt: &Answer, facts: &Facts<'_>) -> Vec<Finding> {
    let found =
        |severity, id, text: &str, fix: &str| Finding::new(severity, id, "updates", text, fix);
    let mut findings = Vec::new();
    match apt {
        Answer::Missing => findings.extend(judge_others(facts)),
        Answer::Unheard(_) => findings.extend(apt.unheard("updates-unheard", "apt-config dump")),
        Answer::Said { .. } => match apt.good() {
            Some(said) => findings.extend(judge_apt(said, facts)),
            None => {
                let text = format!("apt cannot say how it is set up: {}", apt.first_words());
                findings.push(found(Warning, "updates-settings", &text, "apt-config dump"));
            }
        },
    }
    if let Some(waits) = facts.reboot_for {
        let severity = if waits > PATIENCE { Warning } else { Note };
        let text = format!("a fix waits for a reboot, for {}", words(waits));
        let fix = "see that you get back in (bastion check), then: systemctl reboot";
        findings.push(found(severity, "reboot-required", &text, fix));
    }
    findings
}

fn judge_apt(said: &str, facts: &Facts<'_>) -> Option<Finding> {
    let found = |id, text: &str, fix: &str| Some(Finding::new(Warning, id, "updates", text, fix));
    if !facts.has_program {
        let text = "unattended-upgrades is not installed, so nobody mends this host";
        return found("updates-missing", text, "apt install unattended-upgrades");
    }
    // The last line counts: apt prints the value that holds.
    let is_on = |key: &str| {
        let mut values =
            said.lines().filter_map(|line| line.strip_prefix(key)?.trim().strip_suffix(';'));
        let value = values.next_back().map(|value| value.trim_matches('"'));
        value.is_some_and(|value| !value.is_empty() && value != "0")
    };
    let is_off = said.lines().any(|line| line == "APT::Periodic::Enable \"0\";");
    let keys = ["APT::Periodic::Update-Package-Lists ", "APT::Periodic::Unattended-Upgrade "];
    if is_off {
        let text = "APT::Periodic::Enable is 0, so no fix comes by itself";
        return found(
            "updates-off",
            text,
            "grep -rl Periodic::Enable /etc/apt/apt.conf.d, and take it out",
        );
    }
    if let Some(off) = keys.iter().find(|key| !is_on(key)) {
        let text = format!("{}is off, so no fix comes by itself", off);
        let lines = keys.map(|key| format!("{key}\"1\";")).join("\\n");
        let fix = match facts.files.iter().rev().find(|(_, text)| sets(text, off)) {
            // What stands in a file that is read later would count all the same.
            Some((file, _)) if file != SWITCH => format!("in {file}, which counts: {off}\"1\";"),
            _ => format!("printf '{lines}\\n' >{SWITCH}"),
        };
        return found("updates-off", &text, &fix);
    }
    let timers = ["apt-daily.timer", "apt-daily-upgrade.timer"];
    let stopped = |units: &&Units<'_>| timers.iter().any(|timer| !units.is_active(timer));
    if facts.units.as_ref().is_some_and(stopped) {
        let text = "apt's timers do not run, so no fix comes by itself";
        return found(
            "updates-timers",
            text,
            "systemctl enable --now apt-daily.timer apt-daily-upgrade.timer",
        );
    }
    None
}

/// Whether a file sets a key of APT::Periodic, in one of the two ways to write it; case is all one (apt.conf(5)).
fn sets(text: &str, key: &str) -> bool {
    let (text, key) = (text.to_ascii_lowercase(), key.trim().to_ascii_lowercase());
    let name = key.rsplit("::").next().unwrap_or_default();
    let is_comment = |line: &&str| line.starts_with("//") || line.starts_with('#');
    let lines = || text.lines().map(str::trim).filter(|line| !is_comment(line));
    let has_block = lines().any(|line| line.contains("periodic") && !line.contains("periodic::"));
    let is_set = |rest: &str| rest.starts_with([' ', '\t']);
    let in_block = |line: &str| has_block && line.strip_prefix(name).is_some_and(is_set);
    lines().any(|line| line.contains(&key) || in_block(line))
}

fn judge_others(facts: &Facts<'_>) -> Option<Finding> {
    let timers = ["dnf-automatic.timer", "dnf-automatic-install.timer"];
    let runs = facts.units.is_some_and(|units| timers.iter().any(|timer| units.is_active(timer)));
    let text = "it is not known whether fixes come by themselves: there is no apt, and no dnf-automatic timer runs";
    let fix =
        "with dnf: dnf install dnf-automatic && systemctl enable --now dnf-automatic-install.timer";
    (!runs).then(|| Finding::new(Note, "updates-unknown", "updates", text, fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of apt 2.6, what matters here and some beside it.
    const DUMP: &str = "APT \"\";\nAPT::Architecture \"amd64\";\nAPT::Periodic \"\";\n\
        APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n\
        Unattended-Upgrade::Origins-Pattern:: \"origin=Debian,codename=${distro_codename},label=Debian-Security\";\n";

    fn said(text: &str) -> Answer {
        Answer::Said { code: Some(0), out: text.into(), err: String::new() }
    }

    fn ids(apt: &Answer, facts: &Facts<'_>) -> String {
        let findings = judge(apt, facts);
        assert!(findings.iter().all(|one| !one.fix.is_empty()));
        let ids = findings.iter().map(|one| format!("{} {}", one.severity.as_str(), one.id));
        ids.collect::<Vec<_>>().join(",")
    }

    #[test]
    fn updates_are_on_or_it_is_told_what_is_off() {
        let here = || Facts { has_program: true, ..Facts::default() };
        assert_eq!(ids(&said(DUMP), &here()), "");
        assert_eq!(ids(&said(DUMP), &Facts::default()), "warning updates-missing");
        let table = [
            ("Unattended-Upgrade \"1\"", "Unattended-Upgrade \"0\"", "warning updates-off"),
            ("Unattended-Upgrade \"1\"", "Unattended-Upgrade \"\"", "warning updates-off"),
            ("Unattended-Upgrade \"1\"", "Unattended-Upgrade \"always\"", ""),
            ("Package-Lists \"1\"", "Package-Lists \"7\"", ""),
            ("Package-Lists \"1\"", "Package-Lists \"0\"", "warning updates-off"),
            ("APT::Periodic::Unattended-Upgrade \"1\";\n", "", "warning updates-off"),
            ("APT \"\";", "APT::Periodic::Enable \"0\";", "warning updates-off"),
        ];
        for (from, to, want) in table {
            assert_eq!(ids(&said(&DUMP.replace(from, to)), &here()), want, "{to}");
        }
        assert_eq!(ids(&said(""), &here()), "warning updates-off");
        let broken =
            Answer::Said { code: Some(100), out: String::new(), err: "E: Syntax error\n".into() };
        assert_eq!(ids(&broken, &here()), "warning updates-settings");
        assert_eq!(ids(&Answer::Unheard("hangs".into()), &here()), "unknown updates-unheard");
    }

    #[test]
    fn the_file_that_counts_is_named() {
        let off = said(&DUMP.replace("Upgrade \"1\"", "Upgrade \"0\""));
        let (ours, late) = ("/etc/apt/apt.conf.d/20auto-upgrades", "/etc/apt/apt.conf.d/99z");
        let fix = |files: &[(&str, &str)]| {
            let files = files.iter().map(|(file, text)| ((*file).into(), (*text).into())).collect();
            let facts = Facts { has_program: true, files, ..Facts::default() };
            judge(&off, &facts)[0].fix.clone()
        };
        let key = "APT::Periodic::Unattended-Upgrade \"0\";\n";
        let block = "APT::Periodic {\n  Unattended-Upgrade \"0\";\n};\n";
        let others =
            "Unattended-Upgrade::Mail \"root\";\n// APT::Periodic::Unattended-Upgrade \"0\";\n";
        for files in [&[][..], &[(ours, key)], &[(ours, key), (late, others)]] {
            assert!(fix(files).starts_with("printf "), "{files:?}: {}", fix(files));
        }
        for text in [key, block] {
            let fix = fix(&[(ours, key), (late, text)]);
            let want = format!("in {late}, which counts: APT::Periodic::Unattended-Upgrade \"1\";");
            assert_eq!(fix, want, "{text}");
        }
    }

    #[test]
    fn timers_and_reboots_count() {
        let timers = |state: &str| {
            let one = |name| format!("Id={name}\nActiveState={state}\n");
            format!("{}\n{}", one("apt-daily.timer"), one("apt-daily-upgrade.timer"))
        };
        for (state, want) in [("active", ""), ("inactive", "warning updates-timers")] {
            let text = timers(state);
            let units = Units::parse(&text);
            let facts = Facts { has_program: true, units: Some(&units), ..Facts::default() };
            assert_eq!(ids(&said(DUMP), &facts), want);
        }
        for (days, want) in [(1, "note reboot-required"), (8, "warning reboot-required")] {
            let reboot_for = Some(Duration::from_secs(days * 86_400));
            let facts = Facts { has_program: true, reboot_for, ..Facts::default() };
            assert_eq!(ids(&said(DUMP), &facts), want);
        }
    }

    #[test]
    fn elsewhere_dnf_automatic_is_enough() {
        assert_eq!(ids(&Answer::Missing, &Facts::default()), "note updates-unknown");
        let units = Units::parse("Id=dnf-automatic-install.timer\nActiveState=active\n");
        let facts = Facts { units: Some(&units), ..Facts::default() };
        assert_eq!(ids(&Answer::Missing, &facts), "");
    }
}
