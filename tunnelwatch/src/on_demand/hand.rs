//! `tunnelwatch jump start|stop|status`: a person's wish, and how it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use notifier::daemon::told::state_dir;
use notifier::exit::Failure;

use super::Jump;
use super::decide::{Machine, long};
use super::note::Store;
use crate::check::become_keeper;
use crate::cli::print;
use crate::config::{Settings, Tunnel};
use crate::status;
use crate::tell::STATE_DIR;

/// Exit codes of the monitoring plugins.
const OK: u8 = 0;
const WARNING: u8 = 1;
const UNKNOWN: u8 = 3;

/// Does what `word` says for the tunnel `name`.
///
/// # Errors
///
/// What is wrong, with what to do.
pub fn jump(
    config: &Path,
    run_dir: &Path,
    word: &str,
    name: Option<&str>,
    json: bool,
) -> Result<u8, Failure> {
    let start = match word {
        "start" => true,
        "stop" => false,
        "status" => {
            let names = names(&Settings::load(config).map_err(Failure::config)?, name)?;
            return show(run_dir, &names, json);
        }
        _ => return Err(Failure::usage(format!("jump {word:?}: write jump start|stop|status"))),
    };
    let settings = Settings::load(config).map_err(Failure::config)?;
    let name = match names(&settings, name)?.as_slice() {
        [one] => one.clone(),
        all => return Err(Failure::usage(format!("which one? there are: {}", all.join(", ")))),
    };
    if let Some(why) = become_keeper()? {
        return Err(Failure::config(why));
    }
    let store = Store::new(&state_dir(STATE_DIR), &name);
    store.make_wish(start).map_err(|error| {
        Failure::io(format!("write the wish into {} (as root, or _tunnelwatch)", STATE_DIR), &error)
    })?;
    let then = if status::retry(run_dir).is_ok() {
        "tunnelwatch jump status shows what becomes of it"
    } else {
        "it is done as soon as tunnelwatch runs: systemctl start --no-block tunnelwatch"
    };
    let what = match start {
        true => "is to run until: tunnelwatch jump stop",
        false => {
            "is stopped as soon as nobody is logged in through it, and started by itself only for an outage \
             that begins after this"
        }
    };
    print(&format!("the jump host of {name} {what}; {then}\n"))
}

/// The tunnel, with the address that its jump host has now.
///
/// # Errors
///
/// When there is none, as it does not run.
pub fn located(tunnel: &Tunnel, run_dir: &Path) -> Result<Tunnel, Failure> {
    let mut tunnel = tunnel.clone();
    if tunnel.on_demand.is_none() {
        return Ok(tunnel);
    }
    let name = &tunnel.name;
    let jump = status::book(run_dir).ok().and_then(|(mut book, _)| book.jumps.remove(name));
    let off = || {
        Failure::unavailable(format!(
            "the jump host of {name} does not run; as root: systemctl start --no-block tunnelwatch; tunnelwatch jump start \
             {name}; and when tunnelwatch jump status says that it is on, this again"
        ))
    };
    tunnel.address = match jump {
        Some(Jump { machine: Some(Machine::On), address, .. }) => address,
        Some(_) => return Err(off()),
        // Without a `run` it may run all the same, from before.
        None => Some(noted_address(&state_dir(STATE_DIR), name).ok_or_else(off)?),
    };
    Ok(tunnel)
}

/// Where it is by its note.
fn noted_address(dir: &Path, name: &str) -> Option<String> {
    Store::new(dir, name).note().ok()?.runs?.address
}

/// Names of the tunnels that are meant.
fn names(settings: &Settings, name: Option<&str>) -> Result<Vec<String>, Failure> {
    let has = |tunnel: &&Tunnel| tunnel.on_demand.is_some();
    let all: Vec<String> =
        settings.tunnels.iter().filter(has).map(|tunnel| tunnel.name.clone()).collect();
    match name {
        _ if all.is_empty() => {
            Err(Failure::config("there is no [tunnel.on-demand] in the configuration"))
        }
        None => Ok(all),
        Some(name) if all.iter().any(|one| one == name) => Ok(vec![name.to_owned()]),
        Some(name) => Err(Failure::usage(format!(
            "tunnel {name:?} has no [tunnel.on-demand]; there are: {}",
            all.join(", ")
        ))),
    }
}

fn show(run_dir: &Path, names: &[String], json: bool) -> Result<u8, Failure> {
    let (book, now_s) = match status::book(run_dir) {
        Ok(found) => found,
        Err(why) if json => {
            print(&format!("{}\n", serde_json::json!({ "unknown": why })))?;
            return Ok(UNKNOWN);
        }
        Err(why) => {
            print(&format!("UNKNOWN: {why}\n"))?;
            return Ok(UNKNOWN);
        }
    };
    let jumps: BTreeMap<&String, &Jump> =
        book.jumps.iter().filter(|(name, _)| names.contains(name)).collect();
    let text = match json {
        true => serde_json::to_string_pretty(&jumps).unwrap_or_default() + "\n",
        false => jumps.iter().map(|(name, jump)| line(name, jump, now_s)).collect(),
    };
    print(&text)?;
    Ok(jumps.values().map(|jump| code(jump)).max().unwrap_or(UNKNOWN))
}

/// Whether it is as it is to be.
fn code(jump: &Jump) -> u8 {
    let is_on = jump.machine == Some(Machine::On);
    match jump.machine {
        _ if jump.trouble.is_some() => WARNING,
        None => UNKNOWN,
        Some(_) if jump.wanted == is_on => OK,
        Some(_) => WARNING,
    }
}

fn line(name: &str, jump: &Jump, now_s: u64) -> String {
    let since = |since_s: u64| long(Duration::from_secs(now_s.saturating_sub(since_s)));
    let at = jump.address.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
    let ran = jump.since_s.map(|since_s| format!(" for {}", since(since_s))).unwrap_or_default();
    let state = match jump.machine {
        None => "not known".to_owned(),
        Some(Machine::Off) => "off".to_owned(),
        Some(Machine::Starting) => format!("starting{at}"),
        Some(Machine::On) => format!("on{at}{ran}"),
        Some(Machine::Stopping) => "stopping".to_owned(),
        Some(Machine::Gone) => "gone".to_owned(),
    };
    let people = match jump.logged_in {
        0 => String::new(),
        // It waits for them, and says so itself.
        _ if jump.why.contains("logged in") => String::new(),
        people => format!("; {people} logged in through it"),
    };
    let month = |s: u64| long(Duration::from_secs(s));
    let used = format!("{} of {} this month", month(jump.used_s), month(jump.most_s));
    let whose =
        if jump.since_s.is_some() && !jump.ours { " (started by somebody else)" } else { "" };
    format!("{name}: {state}{whose}: {}{people}; {used}\n", jump.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_is_is_a_line_and_a_code() {
        let off = Jump {
            machine: Some(Machine::Off),
            wanted: false,
            why: "main is up for 3 h".into(),
            address: None,
            since_s: None,
            ours: false,
            used_s: 3 * 3600,
            most_s: 50 * 3600,
            logged_in: 0,
            wish: None,
            trouble: None,
        };
        let want = "home: off: main is up for 3 h; 3 h of 50 h this month\n";
        assert_eq!((line("home", &off, 100), code(&off)), (want.to_owned(), OK));
        let on = Jump {
            machine: Some(Machine::On),
            wanted: true,
            why: "main is down for 6 min".into(),
            address: Some("198.51.100.7".into()),
            since_s: Some(0),
            ours: true,
            logged_in: 1,
            ..off.clone()
        };
        let want = "home: on at 198.51.100.7 for 5 min: main is down for 6 min; 1 logged in through it; 3 h of \
                    50 h this month\n";
        assert_eq!((line("home", &on, 300), code(&on)), (want.to_owned(), OK));
        let foreign = Jump { ours: false, wanted: false, ..on.clone() };
        assert!(line("home", &foreign, 300).contains("for 5 min (started by somebody else): "));
        assert_eq!(code(&foreign), WARNING);
        let trouble = Some("the provider does not start: no room".into());
        assert_eq!(code(&Jump { trouble, ..off.clone() }), WARNING);
        assert_eq!(code(&Jump { machine: None, ..off.clone() }), UNKNOWN);
        assert_eq!(code(&Jump { wanted: true, ..off }), WARNING);
    }
}
