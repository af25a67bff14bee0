//! What is to be seen of a tunnel that another program makes, from this side.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::external::SYSTEMCTL;
use crate::external::config::{External, Means};
use crate::proof::{self, Identity, run};
use crate::ssh;

/// How long systemd may take to say what it knows of a unit.
const MOST: Duration = Duration::from_secs(10);

/// Checks how it is started, and what answers at its far end. `scratch` is for a file of keys.
pub(super) fn check(external: &External, scratch: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    match &external.means {
        Means::Watched => {}
        Means::Unit(unit) => findings.extend(check_unit(unit)),
        Means::Commands { start, stop } => {
            for (key, words) in [("start", start), ("stop", stop)] {
                let program = words.first().map(Path::new);
                let fix = format!("mend {key}");
                findings
                    .extend(program.and_then(|program| super::here::check_program(program, &fix)));
            }
        }
    }
    let target = external.target;
    if !proof::answers(target, proof::MOST_HERE) {
        findings.push(format!(
            "nothing answers at {target} as sshd does: is the VPN up, does sshd listen there, and does a \
             firewall let us through? or mend target"
        ));
    } else if !external.host_keys.is_empty() {
        let file = scratch.join(format!("{}.keys", external.name));
        if proof::identify_at(target, &external.host_keys, &file) == Identity::Other {
            findings.push(format!(
                "at {target} answers a host whose key is not in host-keys; see which: ssh-keyscan {} | \
                 ssh-keygen -lf -",
                target.ip()
            ));
        }
    }
    findings
}

fn check_unit(unit: &str) -> Option<String> {
    let mut command = ssh::command(Path::new(SYSTEMCTL));
    command.args(["show", "--property=LoadState", "--value", "--", unit]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let state = run(&mut command, Instant::now() + MOST)?;
    judge_unit(unit, state.trim())
}

/// What is wrong with a unit that systemd says this of (`LoadState`). Where there is no systemd nothing is
/// known.
fn judge_unit(unit: &str, state: &str) -> Option<String> {
    match state {
        "" | "loaded" => None,
        "not-found" => {
            Some(format!("there is no unit {unit}: systemctl list-unit-files, and mend unit"))
        }
        "masked" => {
            Some(format!("{unit} is masked and cannot be started: systemctl unmask {unit}"))
        }
        state => Some(format!("{unit} is {state}: systemctl status {unit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_there_and_may_be_started() {
        for (state, want) in [
            ("loaded", None),
            ("", None),
            ("not-found", Some("there is no unit vpn.service")),
            ("masked", Some("systemctl unmask vpn.service")),
            ("bad-setting", Some("vpn.service is bad-setting")),
        ] {
            let found = judge_unit("vpn.service", state);
            assert_eq!(found.is_some(), want.is_some(), "{state}: {found:?}");
            assert!(found.unwrap_or_default().contains(want.unwrap_or_default()), "{state}");
        }
    }
}
