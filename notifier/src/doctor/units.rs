//! Whether systemd starts, and keeps, what is configured: by `systemctl show` (systemctl(1)).

use super::finding::{Finding, Severity};
use super::programs::Answer;
use Severity::{Critical, Warning};

/// Which sections of the file ask for units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sections {
    /// A channel.
    pub notify: bool,
    /// `[[tunnel]]`.
    pub tunnel: bool,
    /// `[[tunnel-watch]]`.
    pub tunnel_watch: bool,
    /// `[[link]]`.
    pub link: bool,
}

/// A unit of ours.
struct Wanted {
    name: &'static str,
    is_wanted: fn(Sections) -> bool,
    severity: Severity,
    /// What is not when it does not run.
    lost: &'static str,
    /// Whether it is looked at elsewhere if it is at work: by its lock, or by tunnelwatch check.
    seen_elsewhere: bool,
}

/// All of them.
const WANTED: [Wanted; 6] = [
    Wanted {
        name: "bastion.service",
        is_wanted: |sections| sections.notify,
        severity: Critical,
        lost: "no alert gets out",
        seen_elsewhere: true,
    },
    Wanted {
        name: "tunnelwatch.service",
        is_wanted: |sections| sections.tunnel,
        severity: Critical,
        lost: "there is no tunnel",
        seen_elsewhere: true,
    },
    Wanted {
        name: "tunnelwatch-watch.service",
        is_wanted: |sections| sections.tunnel_watch,
        severity: Critical,
        lost: "nobody watches the tunnels",
        seen_elsewhere: true,
    },
    Wanted {
        name: "linkprobe.timer",
        is_wanted: |sections| sections.link,
        severity: Warning,
        lost: "nobody tests the lines",
        seen_elsewhere: false,
    },
    Wanted {
        name: "linkprobe-measure.timer",
        is_wanted: |sections| sections.link,
        severity: Warning,
        lost: "nobody measures the lines",
        seen_elsewhere: false,
    },
    Wanted {
        name: "linkprobe-watch.service",
        is_wanted: |sections| sections.link,
        severity: Warning,
        lost: "nobody is told when a line goes down",
        seen_elsewhere: false,
    },
];

/// sshd's: Debian's two, and that of the others. One of them is to be enabled.
const SSHD: [&str; 3] = ["ssh.service", "ssh.socket", "sshd.service"];

/// Units of others, which other judges ask for.
const OTHERS: [&str; 9] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dnf-automatic.timer",
    "dnf-automatic-install.timer",
    "systemd-journal-upload.service",
    "rsyslog.service",
    "syslog-ng.service",
    "vector.service",
    "fluent-bit.service",
];

/// How all of them are asked for at once.
#[must_use]
pub fn arguments() -> Vec<&'static str> {
    let mut words =
        vec!["show", "--no-pager", "-p", "Id,LoadState,UnitFileState,ActiveState,Result", "--"];
    words.extend(WANTED.iter().map(|unit| unit.name));
    words.extend(SSHD);
    words.extend(OTHERS);
    words
}

/// What systemd says of its units.
#[derive(Debug, Default)]
pub struct Units<'t>(Vec<Unit<'t>>);

/// A unit, as systemd has it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Unit<'t> {
    name: &'t str,
    load: &'t str,
    file: &'t str,
    active: &'t str,
    result: &'t str,
}

impl<'t> Units<'t> {
    /// Reads `systemctl show` of several units: blocks of `Key=value`, with an empty line between them.
    #[must_use]
    pub fn parse(text: &'t str) -> Self {
        let read = |block: &'t str| {
            let get = |key: &str| {
                let mut lines = block.lines().filter_map(|line| line.split_once('='));
                lines.find(|(found, _)| *found == key).map_or("", |(_, value)| value)
            };
            Unit {
                name: get("Id"),
                load: get("LoadState"),
                file: get("UnitFileState"),
                active: get("ActiveState"),
                result: get("Result"),
            }
        };
        Self(text.split("\n\n").map(read).filter(|unit| !unit.name.is_empty()).collect())
    }

    fn get(&self, name: &str) -> Option<&Unit<'t>> {
        self.0.iter().find(|unit| unit.name == name)
    }

    /// Whether a unit is at work.
    #[must_use]
    pub fn is_active(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|unit| matches!(unit.active, "active" | "activating" | "reloading"))
    }

    /// Whether a unit begins with the machine.
    #[must_use]
    pub fn is_enabled(&self, name: &str) -> bool {
        self.get(name).is_some_and(Unit::is_enabled)
    }
}

impl Unit<'_> {
    fn is_enabled(&self) -> bool {
        matches!(
            self.file,
            "enabled" | "enabled-runtime" | "static" | "alias" | "linked" | "generated"
        )
    }
}

/// What is wrong with the units of what is configured.
#[must_use]
pub fn judge(answer: &Answer, sections: Sections) -> Vec<Finding> {
    if let Some(unheard) = answer.unheard("units-unheard", "systemctl show") {
        return vec![unheard];
    }
    let Some(text) = answer.good() else {
        let said = match answer {
            Answer::Missing => "is not there",
            answer => answer.first_words(),
        };
        let fix = "run it by hand: systemctl status bastion";
        return vec![Finding::unknown("units-unheard", "systemctl", said, fix)];
    };
    let units = Units::parse(text);
    let wanted = WANTED.iter().filter(|wanted| (wanted.is_wanted)(sections));
    let mut findings: Vec<Finding> = wanted.filter_map(|wanted| wanted.judge(&units)).collect();
    let has_sshd =
        SSHD.iter().any(|name| units.get(name).is_some_and(|unit| unit.load == "loaded"));
    if has_sshd && !SSHD.iter().any(|name| units.is_enabled(name)) {
        let text = "does not begin with the machine: after a reboot nobody comes in";
        findings.push(Finding::new(
            Critical,
            "sshd-unit",
            "ssh.service",
            text,
            "systemctl enable ssh",
        ));
    }
    findings
}

impl Wanted {
    fn judge(&self, units: &Units<'_>) -> Option<Finding> {
        let (name, lost) = (self.name, self.lost);
        let found = |severity, id, text: String, fix: &str| {
            Some(Finding::new(severity, id, name, text, fix))
        };
        // systemd starts a thing that waits for the network in its own time.
        let wait = if name == "tunnelwatch.service" { " --no-block" } else { "" };
        let enable = format!("systemctl enable --now{wait} {name}");
        let unit = units.get(name).copied().unwrap_or_default();
        if unit.load != "loaded" {
            let text = match unit.load {
                "masked" => format!("is masked, so {lost}"),
                _ => format!("is not installed, so {lost}"),
            };
            let fix = match unit.load {
                "masked" => format!("systemctl unmask {name}, then: {enable}"),
                _ => "apt install --reinstall pam-bastion".to_owned(),
            };
            return found(self.severity, "unit-missing", text, &fix);
        }
        if unit.active == "failed" {
            let text = format!("has failed ({}), so {lost}", unit.result);
            let fix = format!(
                "journalctl -u {name} -n 20, and when that is mended: systemctl restart {name}"
            );
            return found(Critical, "unit-failed", text, &fix);
        }
        if !unit.is_enabled() {
            let text = format!("does not begin with the machine, so after a reboot {lost}");
            return found(self.severity, "unit-not-enabled", text, &enable);
        }
        if !self.seen_elsewhere && !units.is_active(name) {
            let text = format!("does not run, so {lost}");
            let fix =
                format!("systemctl start {name}; if it ends again: journalctl -u {name} -n 20");
            return found(self.severity, "unit-not-active", text, &fix);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, load: &str, file: &str, active: &str) -> String {
        format!(
            "Result=success\nId={name}\nLoadState={load}\nActiveState={active}\nUnitFileState={file}\n"
        )
    }

    fn said(blocks: &[String]) -> Answer {
        Answer::Said { code: Some(0), out: blocks.join("\n"), err: String::new() }
    }

    const ALL: Sections = Sections { notify: true, tunnel: true, tunnel_watch: true, link: true };

    /// All is well, but for this unit, of which systemd says so.
    fn with(name: &str, load: &str, file: &str, active: &str) -> Vec<Finding> {
        let mut blocks: Vec<String> = WANTED
            .iter()
            .filter(|unit| unit.name != name)
            .map(|unit| block(unit.name, "loaded", "enabled", "active"))
            .collect();
        if !name.starts_with("ssh") {
            blocks.push(block("ssh.service", "loaded", "enabled", "active"));
        }
        blocks.push(block(name, load, file, active));
        judge(&said(&blocks), ALL)
    }

    #[test]
    fn each_state_of_a_unit_is_judged() {
        let table = [
            ("bastion.service", "loaded", "enabled", "active", ""),
            // Its lock tells that.
            ("bastion.service", "loaded", "enabled", "inactive", ""),
            ("bastion.service", "loaded", "disabled", "active", "critical unit-not-enabled"),
            ("bastion.service", "loaded", "enabled", "failed", "critical unit-failed"),
            ("bastion.service", "not-found", "", "inactive", "critical unit-missing"),
            ("bastion.service", "masked", "masked", "inactive", "critical unit-missing"),
            ("tunnelwatch.service", "loaded", "disabled", "inactive", "critical unit-not-enabled"),
            ("linkprobe.timer", "loaded", "enabled", "inactive", "warning unit-not-active"),
            ("linkprobe.timer", "loaded", "disabled", "active", "warning unit-not-enabled"),
            ("linkprobe-watch.service", "loaded", "enabled", "activating", ""),
            ("linkprobe-watch.service", "loaded", "enabled", "failed", "critical unit-failed"),
            ("ssh.service", "loaded", "disabled", "active", "critical sshd-unit"),
            ("ssh.socket", "loaded", "enabled", "active", ""),
            ("ssh.service", "not-found", "", "inactive", ""),
        ];
        for (name, load, file, active, want) in table {
            let findings = with(name, load, file, active);
            let said: Vec<String> = findings
                .iter()
                .map(|one| format!("{} {}", one.severity.as_str(), one.id))
                .collect();
            assert_eq!(said.join(","), want, "{name} {load} {file} {active}");
            assert!(
                findings.iter().all(|one| one.fix.contains("systemctl") || one.fix.contains("apt"))
            );
        }
    }

    #[test]
    fn a_unit_whose_section_is_not_there_is_nobodys_business() {
        let none = said(&[]);
        assert_eq!(judge(&none, Sections::default()), []);
        let count = |sections| judge(&none, sections).len();
        assert_eq!(count(Sections { notify: true, ..Sections::default() }), 1);
        assert_eq!(count(Sections { link: true, ..Sections::default() }), 3);
        assert_eq!(count(ALL), 6);
    }

    #[test]
    fn a_systemd_that_does_not_answer_is_unknown() {
        let refused = Answer::Said {
            code: Some(1),
            out: String::new(),
            err: "Failed to connect to bus: No such file or directory\n".into(),
        };
        for answer in [Answer::Missing, Answer::Unheard("did not end".into()), refused] {
            let findings = judge(&answer, ALL);
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].severity, Severity::Unknown);
        }
    }
}
