//! PAM's side: whether our line is in place and in order, and whether the module is there to be loaded.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::finding::{Finding, Severity};
use super::programs::{Answer, DEADLINE, hear};
use crate::pam_line;
use Severity::{Critical, Note, Warning};

/// Where libpam finds the service files.
pub const PAM_D: &str = "/etc/pam.d";

/// The word by which this program loads a module for itself, and ends: a file that is cut off kills who loads it.
pub const LOADS: &str = "loads-module";

/// Whether a service's stack has our line.
#[must_use]
pub fn has_line(service: &str) -> bool {
    let stack = pam_line::session_stack(Path::new(PAM_D), service);
    stack.iter().any(|line| line.module.ends_with("pam_bastion.so"))
}

/// A service's line: what is wrong with it, and the module that it loads, where there is one. `root` loads it too.
#[must_use]
pub fn look(service: &str, config: &Path, root: bool) -> (Vec<Finding>, Option<PathBuf>) {
    let stack = pam_line::session_stack(Path::new(PAM_D), service);
    let wrong = pam_line::judge(service, &stack, config);
    let mut findings: Vec<Finding> = wrong.iter().map(|said| judge(service, said)).collect();
    let refused = pam_line::faults(Path::new(PAM_D), service);
    findings.extend(refused.iter().map(|said| Finding::told(Critical, "pam-file", "", said)));
    let Some(line) = stack.iter().find(|line| line.module.ends_with("pam_bastion.so")) else {
        return (findings, None);
    };
    let module = pam_line::module_file(&line.module);
    match &module {
        None => {
            let at = format!("{}:{}", line.file.display(), line.number);
            let text = format!("there is no {}, so no login is told", line.module);
            findings.push(Finding::new(Critical, "module-missing", at, text, REINSTALL));
        }
        // What others may write to is not run by root; that is told of by its mode.
        Some(path) if root && is_roots(path) => {
            findings.extend(judge_load(path, &load(path)));
        }
        Some(_) => {}
    }
    (findings, module)
}

/// What puts the module back.
const REINSTALL: &str = "apt install --reinstall pam-bastion";

fn is_roots(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0)
}

/// Has a process of its own load it.
fn load(module: &Path) -> Answer {
    // This very program, also where its file has been replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.args(["check", LOADS]).arg(module);
    hear(command, DEADLINE)
}

/// What is wrong by what came of loading it.
fn judge_load(module: &Path, answer: &Answer) -> Option<Finding> {
    let subject = module.display().to_string();
    let said = match answer {
        Answer::Said { code: Some(0), .. } => return None,
        Answer::Said { code: Some(_), .. } => answer.first_words(),
        Answer::Said { code: None, .. } => "it kills who loads it; the file is cut off",
        Answer::Missing => "this program is not there to try it",
        Answer::Unheard(why) => why,
    };
    if matches!(answer, Answer::Missing | Answer::Unheard(_)) {
        return Some(Finding::unknown(
            "module-unheard",
            &subject,
            said,
            "bastion enable --dry-run",
        ));
    }
    // The loader begins with the path.
    let said = said.strip_prefix(&subject).unwrap_or(said).trim_start_matches(": ");
    let text = format!("cannot be loaded, so no login is told: {said}");
    Some(Finding::new(Critical, "module-broken", subject, text, REINSTALL))
}

/// How bad that is which `pam_line::judge` has found, and what mends it.
fn judge(service: &str, said: &str) -> Finding {
    let grave =
        ["no login is told", "nobody could log in", "the module reads", "logins are not told"];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pam_line::StackLine;

    #[test]
    fn what_came_of_loading_the_module_is_judged() {
        let said = |code, out: &str| Answer::Said { code, out: out.into(), err: String::new() };
        let table = [
            (said(Some(0), ""), "", ""),
            (
                said(Some(1), "/x.so: invalid ELF header\n"),
                "critical module-broken",
                "told: invalid ELF header",
            ),
            (said(None, ""), "critical module-broken", "cut off"),
            (
                Answer::Unheard("did not end within 10 s".into()),
                "unknown module-unheard",
                "did not end",
            ),
        ];
        for (answer, id, text) in table {
            let found = judge_load(Path::new("/x.so"), &answer);
            let said = found.as_ref().map(|one| format!("{} {}", one.severity.as_str(), one.id));
            assert_eq!(said.unwrap_or_default(), id, "{answer:?}");
            assert!(found.is_none_or(|one| one.text.contains(text)), "{answer:?}");
        }
    }

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
