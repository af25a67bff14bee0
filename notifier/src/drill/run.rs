//! The course of a drill.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::login::{self, Cleanup, Login, Room};
use super::plan::{Plan, plan};
use super::report::{Part, Report, State};
use super::{channels, expiry, host, line, tunnel};
use crate::clock::unix_ms;
use crate::config;
use crate::doctor::file;
use crate::doctor::{self, programs};
use crate::event::Severity;
use crate::ffi;

/// Longest time for who watches the sender.
const HEARTBEAT_MOST: Duration = Duration::from_secs(20);

/// The word by which this program is asked to reach him, in a process that is not root.
pub const HEARTBEAT: &str = "heartbeat";

/// Says that systemd is at work (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// Runs all parts. `cleanup` takes away what the login needs, for who is told to end in the middle.
#[must_use]
pub fn run(config: &Path, cleanup: &Cleanup) -> Report {
    let begun = Instant::now();
    let (read, wrong) = file::look(config);
    let text = config::read_file(config).map(|source| source.text).unwrap_or_default();
    let plan = plan(&text, read.settings.as_ref());
    let Ok(own) = std::env::current_exe() else {
        let part =
            Part::new("drill", State::Failed, "this program cannot be found", "is /proc mounted?");
        return Report::new(vec![part], begun.elapsed());
    };
    let room = match ffi::geteuid() {
        0 => Room::enter(cleanup),
        _ => Err("only root can put a key in place: sudo bastion drill".to_owned()),
    };
    let rules = login::rules(config);
    let mut parts = plan.skipped.clone();
    thread::scope(|scope| {
        let (own, plan, mistakes) = (&own, &plan, read.mistakes.clone());
        let mut threads = Vec::new();
        for name in &plan.channels {
            threads.push(scope.spawn(move || timed(|| channels::send(own, config, name))));
        }
        if read.settings.as_ref().is_some_and(|settings| settings.notify.heartbeat.is_some()) {
            threads.push(scope.spawn(move || timed(|| vec![heartbeat(own, config)])));
        }
        if !plan.tunnels.is_empty() || plan.watches {
            let look = move || tunnel::look(config, &plan.tunnels, &mistakes);
            threads.push(scope.spawn(move || timed(look)));
        }
        for name in &plan.links {
            threads.push(scope.spawn(move || timed(|| vec![line::check(config, name)])));
        }
        // Before the login: its own traces are none of the doctor's.
        let of_host = timed(|| {
            let mut findings = wrong;
            findings.extend(doctor::examine(config, &read));
            let places = [read.host.spool.as_path(), read.host.state.as_path()];
            host::parts(findings, Path::new(SYSTEMD).is_dir(), &host::rooms(&places))
        });
        let has_channel = read.settings.as_ref().is_none_or(|settings| {
            !settings.notify.policy.route("login", Severity::Warning).stops.is_empty()
        });
        let login = Login {
            own,
            spool: &read.host.spool,
            state: &read.host.state,
            has_channel,
            rules: &rules,
            written_s: written_s(config),
            cleanup,
        };
        let of_login = login.through(
            &plan.tunnels,
            plan.user.as_deref(),
            room.as_ref().map_err(String::as_str),
        );
        let died = || vec![Part::new("drill", State::Failed, "the look at a part of it died", "")];
        for thread in threads {
            parts.extend(thread.join().unwrap_or_else(|_| died()));
        }
        let of_login: Vec<Part> =
            of_login.into_iter().map(|part| tunnel::excuse(&parts, part)).collect();
        parts.extend(of_login);
        parts.extend(host::beside(of_host, &parts));
        parts.extend(ends(plan, &rules));
    });
    Report::new(parts, begun.elapsed())
}

/// The parts that `work` makes, with how long that took.
fn timed(work: impl FnOnce() -> Vec<Part>) -> Vec<Part> {
    let begun = Instant::now();
    let parts = work();
    parts.into_iter().map(|part| part.taking(begun.elapsed())).collect()
}

fn heartbeat(own: &Path, config: &Path) -> Part {
    let mut command = Command::new(own);
    command.arg("--config").arg(config).args(["drill", HEARTBEAT]);
    channels::heard_heartbeat(&programs::hear(command, HEARTBEAT_MOST))
}

fn ends(plan: &Plan, rules: &login::Rules) -> Vec<Part> {
    let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
    let mut parts = vec![expiry::rules(&rules.of_file.rules, &rules.allowances.rules, now_s)];
    parts.extend(expiry::certificates(&plan.tunnels, now_s));
    parts
}

/// When the rules of who is known good were written.
fn written_s(config: &Path) -> i64 {
    let modified = config::read_file(config).ok().map(|source| source.modified);
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
