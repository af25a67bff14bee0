//! Whether systemd starts, and keeps, what is configured: by `systemctl show` (systemctl(1)).

use std::path::Path;

use super::finding::{Finding, Severity};
use super::programs::Answer;
use crate::config::host::Host;
use crate::spool::Spool;
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
const WANTED: [Wanted; 7] = [
    Wanted {
        name: "bastion.service",
        is_wanted: |sections| sections.notify,
        severity: Critical,
        lost: "no alert gets out",
        seen_elsewhere: true,
    },
    Wanted {
        name: "bastion-drill.timer",
        is_wanted: |sections| sections.notify,
        severity: Warning,
        lost: "nobody proves each month that the way works",
        seen_elsewhere: false,
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

/// A unit that a timer starts, whether it is wanted, and what is not when it fails.
type ByTimer = (&'static str, fn(Sections) -> bool, &'static str);

/// All of them: one that fails is seen by nobody, as its timer goes on.
const BY_TIMERS: [ByTimer; 3] = [
    ("bastion-drill.service", |sections| sections.notify, "the way was not proved"),
    ("linkprobe.service", |sections| sections.link, "the lines were not tested"),
    ("linkprobe-measure.service", |sections| sections.link, "the lines were not measured"),
];

/// What systemd itself says by the exit code of a program that it could not start (systemd.exec(5)); those that a
/// host comes to by what was changed on it.
const NOT_STARTED: [(&str, &str); 9] = [
    ("200", "CHDIR"),
    ("203", "EXEC"),
    ("216", "GROUP"),
    ("217", "USER"),
    ("226", "NAMESPACE"),
    ("228", "SECCOMP"),
    ("233", "RUNTIME_DIRECTORY"),
    ("238", "STATE_DIRECTORY"),
    ("243", "CREDENTIALS"),
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
    let mut words = vec![
        "show",
        "--no-pager",
        "-p",
        "Id,LoadState,UnitFileState,ActiveState,SubState,Result,ExecMainStatus,ProtectSystem,ReadWritePaths,StateDirectory,RuntimeDirectory",
        "--",
    ];
    words.extend(WANTED.iter().map(|unit| unit.name));
    words.extend(BY_TIMERS.iter().map(|(name, ..)| *name));
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
    sub: &'t str,
    result: &'t str,
    status: &'t str,
    protect: &'t str,
    writes: &'t str,
    state: &'t str,
    run: &'t str,
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
                sub: get("SubState"),
                result: get("Result"),
                status: get("ExecMainStatus"),
                protect: get("ProtectSystem"),
                writes: get("ReadWritePaths"),
                state: get("StateDirectory"),
                run: get("RuntimeDirectory"),
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
        // enabled-runtime is gone after a reboot; static and linked are started by somebody else, or nobody.
        matches!(self.file, "enabled" | "alias" | "generated")
    }

    /// How it ended: `exit-code, 217/USER`.
    fn end(&self) -> String {
        match (self.result, self.status) {
            ("exit-code", status) if !matches!(status, "" | "0") => {
                let name = NOT_STARTED.iter().find(|(code, _)| *code == status);
                let name = name.map(|(_, name)| format!("/{name}")).unwrap_or_default();
                format!("exit-code, {status}{name}")
            }
            (result, _) => result.to_owned(),
        }
    }

    /// Whether what is under a path can be written by it; where that is not restricted, as far as modes say.
    fn may_write(&self, path: &Path) -> bool {
        let under = |root: &str, names: &str| {
            names.split_whitespace().any(|name| path.starts_with(Path::new(root).join(name)))
        };
        let named = |word: &str| path.starts_with(word.trim_start_matches(['-', '+']));
        self.protect != "strict"
            || self.writes.split_whitespace().any(named)
            || under("/var/lib", self.state)
            || under("/run", self.run)
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
    let of_timers = BY_TIMERS.iter().filter(|(_, is_wanted, _)| is_wanted(sections));
    findings.extend(of_timers.filter_map(|(name, _, lost)| {
        let unit = units.get(name).filter(|unit| unit.active == "failed")?;
        let text = format!("has failed ({}), so {lost}", unit.end());
        let fix =
            format!("journalctl -u {name} -n 20, and when that is mended: systemctl start {name}");
        Some(Finding::new(Warning, "unit-failed", *name, text, fix))
    }));
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

/// A unit that raises alerts, those that have the same settings, and whether it is wanted.
type Raiser = (&'static str, &'static str, fn(Sections) -> bool);

/// All of them.
const RAISERS: [Raiser; 3] = [
    ("tunnelwatch.service", "tunnelwatch", |sections| sections.tunnel),
    ("tunnelwatch-watch.service", "tunnelwatch-watch", |sections| sections.tunnel_watch),
    ("linkprobe-watch.service", "linkprobe linkprobe-measure linkprobe-watch", |sections| {
        sections.link
    }),
];

/// What `[host]` names and units may not write to, as they are confined.
#[must_use]
pub fn judge_places(units: &Units<'_>, sections: Sections, host: &Host) -> Vec<Finding> {
    let drop = Spool::new(&host.spool).drop();
    let own = [("spool", &host.spool), ("state", &host.state), ("run", &host.run)];
    let own = own.map(|(key, path)| (key, path.as_path(), "bastion.service", "bastion"));
    let raisers = RAISERS.iter().filter(|(_, _, is_wanted)| is_wanted(sections));
    let raisers = raisers.map(|(unit, names, _)| ("spool", drop.as_path(), *unit, *names));
    let all = own.into_iter().filter(|_| sections.notify).chain(raisers);
    let shut = all.filter(|(_, path, unit, _)| units.get(unit).is_some_and(|u| !u.may_write(path)));
    shut.map(|(key, path, unit, names)| {
        let path = path.display();
        let text = format!("may not write to {path}, which [host] {key} says, so no alert gets there");
        let fix = format!(
            "systemctl edit {names}, and write: [Service] and under it ReadWritePaths={path}; then: systemctl restart {names}"
        );
        Finding::new(Critical, "unit-may-not-write", unit, text, fix)
    })
    .collect()
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
            let text = format!("has failed ({}), so {lost}", unit.end());
            let fix = format!(
                "journalctl -u {name} -n 20, and when that is mended: systemctl restart {name}"
            );
            return found(Critical, "unit-failed", text, &fix);
        }
        // It is started again for ever, and so never has failed.
        if unit.sub.starts_with("auto-restart") {
            let text = format!("ends again and again ({}), so {lost}", unit.end());
            return found(Critical, "unit-failing", text, &format!("journalctl -u {name} -n 20"));
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
            ("linkprobe.service", "loaded", "static", "failed", "warning unit-failed"),
            ("linkprobe-measure.service", "loaded", "static", "failed", "warning unit-failed"),
            ("bastion-drill.service", "loaded", "static", "failed", "warning unit-failed"),
            ("bastion-drill.service", "loaded", "static", "activating", ""),
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
    fn one_that_ends_again_and_again_is_not_well() {
        for name in ["bastion.service", "linkprobe-watch.service"] {
            let mut text: String = WANTED
                .iter()
                .map(|unit| block(unit.name, "loaded", "enabled", "active") + "\n")
                .collect();
            let well = block(name, "loaded", "enabled", "active");
            let loops = block(name, "loaded", "enabled", "activating")
                .replace("=success", "=exit-code")
                + "SubState=auto-restart\n";
            text = text.replace(&well, &loops);
            let findings = judge(&said(&[text]), ALL);
            assert_eq!(findings.len(), 1, "{findings:#?}");
            assert_eq!((findings[0].severity, findings[0].id), (Critical, "unit-failing"));
            assert!(findings[0].text.contains("again and again (exit-code)"), "{findings:?}");
        }
    }

    #[test]
    fn what_systemd_could_not_start_is_told_with_its_reason() {
        let failed = |name: &str, status: &str| {
            let text = block(name, "loaded", "enabled", "failed").replace("=success", "=exit-code")
                + &format!("ExecMainStatus={status}\n");
            let sections = Sections { notify: true, link: true, ..Sections::default() };
            let found = judge(&said(&[text]), sections);
            let one = found.into_iter().find(|one| one.subject == name).expect("a finding");
            one.text.split(", so ").next().map(str::to_owned).unwrap()
        };
        for (status, want) in [
            ("217", "has failed (exit-code, 217/USER)"),
            ("226", "has failed (exit-code, 226/NAMESPACE)"),
            ("243", "has failed (exit-code, 243/CREDENTIALS)"),
            ("78", "has failed (exit-code, 78)"),
            ("", "has failed (exit-code)"),
        ] {
            for name in ["bastion.service", "linkprobe.service"] {
                assert_eq!(failed(name, status), want);
            }
        }
    }

    #[test]
    fn what_begins_with_the_machine_is_enabled_for_good() {
        for (file, want) in [
            ("enabled", true),
            ("alias", true),
            ("generated", true),
            ("enabled-runtime", false),
            ("linked", false),
            ("static", false),
            ("disabled", false),
            ("", false),
        ] {
            let text = block("ssh.service", "loaded", file, "active");
            assert_eq!(Units::parse(&text).is_enabled("ssh.service"), want, "{file}");
        }
    }

    #[test]
    fn a_place_that_a_unit_may_not_write_to_is_told() {
        let confined = |name: &str, more: &str| {
            format!(
                "Id={name}\nLoadState=loaded\nProtectSystem=strict\nStateDirectory=bastion\nRuntimeDirectory=bastion\n\
                 ReadWritePaths={more}\n"
            )
        };
        let host = |spool: &str, state: &str| Host {
            spool: spool.into(),
            state: state.into(),
            ..Host::default()
        };
        let found = |units: &[String], host: &Host, sections| {
            let text = units.join("\n");
            let found = judge_places(&Units::parse(&text), sections, host);
            let word =
                |one: &Finding| format!("{} {}", one.subject, one.text.split(' ').nth(4).unwrap());
            found.iter().map(word).collect::<Vec<_>>()
        };
        let sender = Sections { notify: true, ..Sections::default() };
        let ours = || [confined("bastion.service", "/var/spool/bastion -/x")];
        let usual = Host::default();
        assert_eq!(found(&ours(), &usual, sender), [""; 0]);
        assert_eq!(found(&ours(), &host("/x/spool", "/x"), sender), [""; 0]);
        assert_eq!(
            found(&ours(), &host("/data/spool", "/data/state"), sender),
            ["bastion.service /data/spool,", "bastion.service /data/state,"]
        );
        assert_eq!(
            found(&ours(), &host("/var/spool/bastion2", "/var/lib/bastion"), sender).len(),
            1
        );
        let open = ours().map(|text| text.replace("strict", "no"));
        assert_eq!(found(&open, &host("/data/spool", "/data/state"), sender), [""; 0]);
        let both = [ours()[0].clone(), confined("tunnelwatch.service", "-/var/spool/bastion/drop")];
        assert_eq!(found(&both, &usual, ALL), [""; 0]);
        let far = Host { spool: "/data/spool".into(), ..Host::default() };
        assert_eq!(
            found(&both, &far, ALL),
            ["bastion.service /data/spool,", "tunnelwatch.service /data/spool/drop,"]
        );
    }

    #[test]
    fn a_unit_whose_section_is_not_there_is_nobodys_business() {
        let none = said(&[]);
        assert_eq!(judge(&none, Sections::default()), []);
        let count = |sections| judge(&none, sections).len();
        assert_eq!(count(Sections { notify: true, ..Sections::default() }), 2);
        assert_eq!(count(Sections { link: true, ..Sections::default() }), 3);
        assert_eq!(count(ALL), 7);
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
