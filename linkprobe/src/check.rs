//! `linkprobe check`: is the line there, is it the right one, has it what is asked for?

mod memory;
mod one;
mod print;
mod tell;

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use notifier::exit::Failure;

use crate::account::Ends;
use crate::config::{Link, Settings};
use crate::lock;
use crate::record::Verdict;

/// Longest wait for another run that tests the same line: two at once would each see half of it.
const PATIENCE: Duration = Duration::from_secs(45);

/// What is asked of the command.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The line; all where it is none.
    pub name: Option<&'a str>,
    /// JSON, a line for each.
    pub json: bool,
    /// Nothing but the exit code.
    pub quiet: bool,
    /// A longer test, as it is made once a day.
    pub long: bool,
}

/// Where files are.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// History, budget and what was told.
    pub state: &'a Path,
    /// For others to read.
    pub run: &'a Path,
}

/// Checks the lines and answers the exit code: that of the worst.
///
/// # Errors
///
/// When there is no such line, or the settings are wrong.
pub fn check(settings: &Settings, places: Places<'_>, options: Options<'_>) -> Result<u8, Failure> {
    let ends = Ends::wait(print::wipe);
    let mut worst = Verdict::Good;
    let mut failures = Vec::new();
    for link in chosen(settings, options.name)? {
        // What is wrong with one line keeps no other from being looked at.
        let record = match one::check(settings, link, places, options, &ends) {
            Ok(record) => record,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let verdict = record.verdict.unwrap_or(Verdict::Untested);
        if rank(verdict.exit_code()) > rank(worst.exit_code()) {
            worst = verdict;
        }
    }
    Failure::all(failures).map(|()| worst.exit_code())
}

/// The lines that are meant.
///
/// # Errors
///
/// When there is none.
pub fn chosen<'a>(settings: &'a Settings, name: Option<&str>) -> Result<Vec<&'a Link>, Failure> {
    let all = settings.links.iter();
    let links: Vec<&Link> = all.filter(|link| name.is_none_or(|name| name == link.name)).collect();
    match (links.is_empty(), name) {
        (false, _) => Ok(links),
        (true, None) => Err(Failure::config(
            "there is no [[link]] in the configuration file; add one, as /usr/share/doc/pam-bastion/examples/bastion.toml has it",
        )),
        (true, Some(name)) => {
            let names: Vec<&str> = settings.links.iter().map(|link| link.name.as_str()).collect();
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            Err(Failure::usage(format!(
                "there is no [[link]] of the name {name:?}; there are: {there}"
            )))
        }
    }
}

/// How bad an exit code is: critical, warning, unknown, OK.
fn rank(code: u8) -> u8 {
    match code {
        2 => 3,
        1 => 2,
        3 => 1,
        _ => 0,
    }
}

/// Who may test a line now.
pub enum Turn {
    /// We, as long as this is open.
    Ours(File),
    /// Another run, for too long.
    Anothers,
    /// Nobody knows: the disk takes nothing. Then the data of a test could not be written down either, and there is
    /// none.
    Unknown(Failure),
}

/// Keeps other runs from testing the same line.
///
/// # Errors
///
/// When there is no such place, or we have no right there.
pub fn alone(places: Places<'_>, link: &Link) -> Result<Turn, Failure> {
    let path = places.state.join(format!("{}.lock", link.name));
    match lock::take(&path, PATIENCE) {
        Ok(Some(file)) => Ok(Turn::Ours(file)),
        Ok(None) => Ok(Turn::Anothers),
        Err(error) => {
            let is_ours_to_mend =
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied);
            let failure = Failure::io(path.display(), &error);
            if is_ours_to_mend { Err(failure) } else { Ok(Turn::Unknown(failure)) }
        }
    }
}
