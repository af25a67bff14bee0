//! The `linkprobe` command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::{Arg, Parser, ValueExt};
use notifier::config::DEFAULT_PATH;
use notifier::config::configured::{Need, is_configured};
use notifier::exit::{self, Failure};
use notifier::ffi::geteuid;

use crate::books::Books;
use crate::check::{self, Places};
use crate::check_config::check_config;
use crate::config::Settings;
use crate::import;
use crate::measure;
use crate::owner::become_owner;
use crate::report::{self, ReportOptions, Since};
use crate::{status, watch};

const HELP: &str = "\
linkprobe - whether an internet line is there, is the right one, and is good enough

usage: linkprobe [--config PATH] COMMAND [...]

commands:
  check [NAME] [--json] [--quiet] [--long]
                   is it there, is it the right one, has it what is asked for? exit code 0 good,
                   1 marginal or high latency, 2 slow, wrong or down, 3 could not be tested.
                   --long looks longer, as one check a day does: some lines are fast for some megabytes alone
  check-config     is each [[link]] of the file right? Asks nobody and uses no data; exit code 0 or 78,
                   and each finding with what to do. `bastion check` runs it
  measure [NAME] [--json] [--quiet] [--no-download] [--no-upload]
                   how much has it? Download, upload, latency idle and under load
  watch            sees whether each [[link]] is up, and tells when that changes
  status [NAME] [--json]
                   how they are; exit code 0 well, 1 one of several bad, 2 bad, 3 unknown
  report [NAME] [--since 30d|all] [--json] [--svg FILE] [--html FILE] [--csv FILE]
                   what the history says: a table and a plot, or files of it (- is standard output)
  import NAME FILE...
                   takes measurements of speedtest-cli, librespeed-cli and Ookla's speedtest into
                   the history, from what they print as JSON (- is standard input)
  is-configured    for the units: exit code 0 if the file has a [[link]], or cannot be understood; 1 if not

options of every command:
  --config PATH    the configuration file (default /etc/bastion/bastion.toml)
  --state-dir PATH where history and budget are (default $STATE_DIRECTORY, else /var/lib/linkprobe)
  --run-dir PATH   where the state of now is (default $RUNTIME_DIRECTORY, else /run/linkprobe)
  --help           this text
  --version        the version

exit codes but those of check and status: 0 done, 64 usage, 65 data, 69 unavailable, 73 cannot create,
75 try again later, 77 permission, 78 configuration
";

/// What each unit has to have in the file.
const LINK: Need = Need { section: "link", key: None };

/// Runs the command line and answers the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match dispatch(Parser::from_iter(args)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.tell("linkprobe"),
    }
}

/// What stands on the command line.
struct Line {
    config: PathBuf,
    state: PathBuf,
    run: PathBuf,
    words: Vec<OsString>,
    json: bool,
    quiet: bool,
    long: bool,
    /// Whether the download is measured, and the upload.
    ways: [bool; 2],
    report: ReportOptions,
}

fn dispatch(parser: Parser) -> Result<u8, Failure> {
    let Some(line) = read(parser)? else { return Ok(0) };
    let settings = || Settings::load(&line.config).map_err(Failure::config);
    // To write what is kept is its owner's.
    let writing = || {
        let settings = settings()?;
        become_owner(&line.state, &settings.host.spool)?;
        Ok::<Settings, Failure>(settings)
    };
    let words: Vec<String> =
        line.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let places = Places { state: &line.state, run: &line.run };
    let (json, quiet, long) = (line.json, line.quiet, line.long);
    match words.as_slice() {
        ["check", name @ ..] if name.len() < 2 => {
            let options = check::Options { name: name.first().copied(), json, quiet, long };
            check::check(&writing()?, places, options)
        }
        ["is-configured"] => is_configured(&line.config, LINK).map(|()| 0),
        ["check-config"] => check_config(&line.config),
        ["measure", name @ ..] if name.len() < 2 => {
            let name = name.first().copied();
            let [download, upload] = line.ways;
            if !download && !upload {
                return Err(Failure::usage("nothing is left to measure"));
            }
            let options = measure::Options { name, json, quiet, download, upload };
            measure::measure(&writing()?, places, options)
        }
        ["watch"] => {
            // Whoever else it runs as is the owner, or is told what it may not.
            if geteuid() == 0 {
                writing()?;
            }
            let books = Books::new(&line.config, &line.state);
            watch::watch(&line.config, places, Arc::new(books)).map(|()| 0)
        }
        ["status", name @ ..] if name.len() < 2 => {
            status::status(&line.run, name.first().copied(), json)
        }
        ["report", name @ ..] if name.len() < 2 => {
            let link = name.first().map(|name| (*name).to_owned());
            let options = ReportOptions { link, json, ..line.report };
            report::report(&settings()?, &line.state, &options).map(|()| 0)
        }
        ["import", name, _, ..] => {
            let files: Vec<PathBuf> = line.words.iter().skip(2).map(PathBuf::from).collect();
            // What is imported may be readable to root alone.
            import::import(&settings()?, &line.state, name, &files).map(|()| 0)
        }
        ["import", ..] => {
            Err(Failure::usage("of which line, and what? linkprobe import NAME FILE..."))
        }
        [
            "check" | "check-config" | "measure" | "watch" | "status" | "report" | "is-configured",
            ..,
        ] => Err(Failure::usage("there are words too many")),
        [other, ..] => Err(Failure::usage(format!("there is no command {other:?}"))),
        [] => Err(Failure::usage("a command is missing")),
    }
}

/// Reads the command line; nothing where it only asked for a text.
fn read(mut parser: Parser) -> Result<Option<Line>, Failure> {
    let mut line = Line {
        config: DEFAULT_PATH.into(),
        state: directory("STATE_DIRECTORY", "/var/lib/linkprobe"),
        run: directory("RUNTIME_DIRECTORY", "/run/linkprobe"),
        words: Vec::new(),
        json: false,
        quiet: false,
        long: false,
        ways: [true, true],
        report: ReportOptions::default(),
    };
    while let Some(arg) = parser.next().map_err(Failure::usage)? {
        let path = |parser: &mut Parser| -> Result<PathBuf, Failure> {
            parser.value().map(PathBuf::from).map_err(Failure::usage)
        };
        match arg {
            Arg::Long("config") => line.config = path(&mut parser)?,
            Arg::Long("state-dir") => line.state = path(&mut parser)?,
            Arg::Long("run-dir") => line.run = path(&mut parser)?,
            Arg::Long("json") => line.json = true,
            Arg::Long("quiet") => line.quiet = true,
            Arg::Long("long") => line.long = true,
            Arg::Long("no-download") => line.ways[0] = false,
            Arg::Long("no-upload") => line.ways[1] = false,
            Arg::Long("svg") => line.report.svg = Some(path(&mut parser)?),
            Arg::Long("html") => line.report.html = Some(path(&mut parser)?),
            Arg::Long("csv") => line.report.csv = Some(path(&mut parser)?),
            Arg::Long("since") => {
                let text = parser.value().and_then(|value| value.string());
                let since = Since::parse(&text.map_err(Failure::usage)?);
                line.report.since = since.map_err(Failure::usage)?;
            }
            Arg::Long("help") | Arg::Short('h') => {
                exit::print(HELP);
                return Ok(None);
            }
            Arg::Long("version") | Arg::Short('V') => {
                exit::print(concat!("linkprobe ", env!("CARGO_PKG_VERSION"), "\n"));
                return Ok(None);
            }
            Arg::Value(word) => line.words.push(word),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    Ok(Some(line))
}

/// What systemd says, who names several with colons between (systemd.exec(5)), or the usual.
fn directory(variable: &str, usual: &str) -> PathBuf {
    let named = std::env::var_os(variable).filter(|value| !value.is_empty());
    let first = named.and_then(|dirs| std::env::split_paths(&dirs).next());
    first.unwrap_or_else(|| usual.into())
}
