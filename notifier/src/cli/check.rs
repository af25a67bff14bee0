//! `bastion check`: the doctor of the whole host, see [`crate::doctor`].

use std::path::Path;

use super::{Options, others};
use crate::doctor::channels::{self, Question};
use crate::doctor::examine;
use crate::doctor::file::{self, Read};
use crate::doctor::finding::{Finding, Report};
use crate::doctor::pam::LOADS;
use crate::exit::{Failure, print};
use crate::ffi;

pub(super) const HELP: &str = " [--online] [--json]

Says what would keep an alert from getting out, or leaves the door open, each with what to do: the configuration
file with allowances.toml and the secrets, the spool and what waits in it, the PAM line, the module, owners and
modes, what sshd is set up to do, whether systemd starts what is configured, automatic updates, where the logs go,
the clock, who listens for others, and logins of the last day of which there is no record. Where there is a
[[tunnel]] or a [[tunnel-watch]] also what tunnelwatch check finds, which asks the jump host for up to half a
minute; where there is a [[link]] what linkprobe check-config finds, which asks nobody.
Changes nothing and sends nothing (for that: bastion test). To be run by root, or much cannot be looked at.

  --online  ask also each provider, within 10 s, whether it can be reached and knows us; no message is sent
  --json    for a program: status, summary, and findings with id, severity, subject, text and fix

exit codes, as monitoring plugins have them, with the summary in the first line:
  0 OK        nothing is wrong; there may be notes
  1 WARNING   it will hurt one day
  2 CRITICAL  an alert might not get out, or the door stands open
  3 UNKNOWN   something could not be looked at, and nothing is critical
";

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let (mut online, mut json) = (false, false);
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("online") => online = true,
            lexopt::Arg::Long("json") => json = true,
            // What this program asks of itself.
            lexopt::Arg::Value(word) if word == LOADS && !online && !json => {
                return load_module(&mut options);
            }
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let _ = ffi::forbid_core_dumps();
    // Programs that are asked are started elsewhere.
    let config = std::path::absolute(&options.config).unwrap_or_else(|_| options.config.clone());
    let (read, mut findings) = file::look(&config);
    let (more, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| others::check(&config, &read.mistakes));
        (examine(&config, &read), other.join().unwrap_or_default())
    });
    findings.extend(more);
    findings.extend(other.findings);
    let mut told = other.told;
    if online {
        let (more, well) = ask_providers(&config, read);
        findings.extend(more);
        told.extend(well);
    }
    let report = Report::new(findings, told);
    print(&if json { report.json() } else { report.text() });
    match report.exit_code() {
        0 => Ok(()),
        code => Err(Failure::said(code)),
    }
}

fn load_module(options: &mut Options) -> Result<(), Failure> {
    let path = options.rest.value().map_err(Failure::usage)?;
    let _ = ffi::forbid_core_dumps();
    ffi::load_pam_module(Path::new(&path)).map_err(|error| {
        print(&format!("{error}\n"));
        Failure::said(1)
    })
}

fn ask_providers(config: &Path, read: Read) -> (Vec<Finding>, Vec<String>) {
    let Some(settings) = read.settings else {
        let text = "the providers are not asked: the file is not understood";
        let fix = "mend it, then: bastion check --online";
        let file = config.display().to_string();
        return (vec![Finding::unknown("channels-not-asked", &file, text, fix)], Vec::new());
    };
    // The secrets are read; what talks to the network need not be root.
    if let Err(failure) = super::run::step_down(&settings.host) {
        let text = format!("the providers are not asked: {}", failure.text());
        let finding = Finding::unknown(
            "channels-not-asked",
            "bastion check",
            &text,
            "sudo bastion check --online",
        );
        return (vec![finding], Vec::new());
    }
    let mut questions: Vec<Question> =
        settings.notify.channels.into_iter().map(channels::question).collect();
    if let Some(mut heartbeat) = settings.notify.heartbeat {
        questions.push(("heartbeat".into(), Box::new(move || heartbeat.reach())));
    }
    channels::judge(&channels::ask(questions))
}
