//! PAM's side: whether our line is in place and in order, and whether the module is there to be loaded.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity};
use crate::cli::pam_line::{self, StackLine};
use Severity::{Critical, Note, Warning};

/// Where libpam finds the service files.
pub const PAM_D: &str = "/etc/pam.d";

/// Where libpam looks for a module that is named without a path, by distribution.
const MODULE_DIRS: [&str; 6] = [
    "/lib/x86_64-linux-gnu/security",
    "/lib/aarch64-linux-gnu/security",
    "/lib/arm-linux-gnueabihf/security",
    "/lib/security",
    "/lib64/security",
    "/usr/lib/security",
];

/// A service's line: what is wrong with it, and the module that it loads, where there is one.
#[must_use]
pub fn look(service: &str, config: &Path) -> (Vec<Finding>, Option<PathBuf>) {
    let stack = pam_line::session_stack(Path::new(PAM_D), service);
    let wrong = pam_line::judge(service, &stack, config);
    let mut findings: Vec<Finding> = wrong.iter().map(|said| judge(service, said)).collect();
    let Some(line) = stack.iter().find(|line| line.module.ends_with("pam_bastion.so")) else {
        return (findings, None);
    };
    let module = module(line);
    if module.is_none() {
        let at = format!("{}:{}", line.file.display(), line.number);
        let text = format!("there is no {}, so no login is told", line.module);
        let fix = "apt install --reinstall pam-bastion";
        findings.push(Finding::new(Critical, "module-missing", at, text, fix));
    }
    (findings, module)
}

/// How bad that is which `pam_line::judge` has found, and what mends it.
fn judge(service: &str, said: &str) -> Finding {
    let grave = ["no login is told", "nobody could log in", "the module reads"];
    let severity = match said {
        said if grave.iter().any(|words| said.contains(words)) => Critical,
        said if said.contains("fills the log") => Note,
        _ => Warning,
    };
    let mut finding = Finding::told(severity, "pam-line", "", said);
    if said.contains("has no pam_bastion line") && service == "sshd" {
        finding.id = "pam-line-missing";
        finding.text = "has no pam_bastion line, so no login is told".into();
        finding.subject = format!("{PAM_D}/{service}");
        finding.fix = "bastion enable".into();
    }
    if said.contains("the module reads") {
        finding.fix = "bastion --config PATH check, with the file that it reads; or take config= from the line".into();
    }
    finding
}

fn module(line: &StackLine) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = vec![line.module.clone().into()];
    if !line.module.starts_with('/') {
        places = MODULE_DIRS.iter().map(|dir| Path::new(dir).join(&line.module)).collect();
    }
    places.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_can_be_wrong_with_the_line_has_its_weight() {
        let line = |control: &str, quiet, arguments: &[&str]| StackLine {
            file: "/etc/pam.d/sshd".into(),
            number: 3,
            quiet,
            control: control.into(),
            module: "pam_bastion.so".into(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        };
        let good = line("optional", true, &[]);
        let elsewhere = StackLine { file: "/etc/pam.d/common-session".into(), ..good.clone() };
        let env = StackLine {
            module: "pam_env.so".into(),
            ..line("required", false, &["user_readenv=1"])
        };
        let table: [(Vec<StackLine>, &str); 8] = [
            (vec![good.clone()], ""),
            (vec![], "critical pam-line-missing"),
            (vec![line("required", true, &[])], "critical pam-line"),
            (vec![line("optional", false, &[])], "note pam-line"),
            (vec![good.clone(), good.clone()], "warning pam-line"),
            (vec![env, good.clone()], "warning pam-line"),
            (vec![elsewhere], "warning pam-line"),
            (vec![line("optional", true, &["config=/x"])], "critical pam-line"),
        ];
        for (stack, want) in table {
            let wrong = pam_line::judge("sshd", &stack, Path::new(crate::config::DEFAULT_PATH));
            let findings = wrong.iter().map(|said| judge("sshd", said));
            let said: Vec<String> = findings
                .map(|one| {
                    assert!(!one.fix.is_empty(), "{one:?}");
                    format!("{} {}", one.severity.as_str(), one.id)
                })
                .collect();
            assert_eq!(said.join(","), want, "{stack:?}");
        }
        // bastion enable is for sshd.
        let said = pam_line::judge("login", &[], Path::new("/x"));
        assert!(judge("login", &said[0]).fix.contains("-session optional"), "{said:?}");
        assert_eq!(
            judge("sshd", &pam_line::judge("sshd", &[], Path::new("/x"))[0]).fix,
            "bastion enable"
        );
    }
}
