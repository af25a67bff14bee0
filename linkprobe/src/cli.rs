//! The `linkprobe` command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use notifier::config::DEFAULT_PATH;
use notifier::exit::{self, Failure};

use crate::config::Settings;
use crate::import;
use crate::report::{self, ReportOptions, Since};

const HELP: &str = "\
linkprobe - whether an internet line is there, is the right one, and is good enough

usage: linkprobe [--config PATH] COMMAND [...]

commands:
  report [NAME] [--since 30d|all] [--json] [--svg FILE] [--html FILE] [--csv FILE]
                   what the history says: a table and a plot, or files of it (- is standard output)
  import NAME FILE...
                   takes measurements of speedtest-cli, librespeed-cli and Ookla's speedtest into
                   the history, from what they print as JSON (- is standard input)

options of every command:
  --config PATH    the configuration file (default /etc/bastion/bastion.toml)
  --state-dir PATH where the history is (default $STATE_DIRECTORY, else /var/lib/linkprobe)
  --help           this text
  --version        the version
";

/// Runs the command line and answers the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match dispatch(Parser::from_iter(args)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.tell("linkprobe"),
    }
}

fn dispatch(mut parser: Parser) -> Result<u8, Failure> {
    let (mut config, mut state) = (PathBuf::from(DEFAULT_PATH), default_state_dir());
    let (mut command, mut words) = (None, Vec::new());
    let mut options = ReportOptions::default();
    while let Some(arg) = parser.next().map_err(Failure::usage)? {
        let path = |parser: &mut Parser| -> Result<PathBuf, Failure> {
            parser.value().map(PathBuf::from).map_err(Failure::usage)
        };
        match arg {
            Arg::Long("config") => config = path(&mut parser)?,
            Arg::Long("state-dir") => state = path(&mut parser)?,
            Arg::Long("json") => options.json = true,
            Arg::Long("svg") => options.svg = Some(path(&mut parser)?),
            Arg::Long("html") => options.html = Some(path(&mut parser)?),
            Arg::Long("csv") => options.csv = Some(path(&mut parser)?),
            Arg::Long("since") => {
                let text = parser.value().and_then(|value| value.string());
                options.since =
                    Since::parse(&text.map_err(Failure::usage)?).map_err(Failure::usage)?;
            }
            Arg::Long("help") | Arg::Short('h') => return print(HELP),
            Arg::Long("version") | Arg::Short('V') => {
                return print(concat!("linkprobe ", env!("CARGO_PKG_VERSION"), "\n"));
            }
            Arg::Value(word) if command.is_none() => {
                command = Some(word.string().map_err(Failure::usage)?);
            }
            Arg::Value(word) => words.push(word),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let settings = || Settings::load(&config).map_err(Failure::config);
    let name = words.first().map(|word| word.to_string_lossy().into_owned());
    match (command.as_deref(), words.as_slice()) {
        (Some("report"), [] | [_]) => {
            options.link = name;
            report::report(&settings()?, &state, &options).map(|()| 0)
        }
        (Some("import"), [_, files @ ..]) => {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            import::import(&settings()?, &state, &name.unwrap_or_default(), &files).map(|()| 0)
        }
        (Some("import"), []) => Err(Failure::usage("of which line? linkprobe import NAME FILE...")),
        (Some("report"), _) => Err(Failure::usage("there are words too many")),
        (Some(other), _) => Err(Failure::usage(format!("there is no command {other:?}"))),
        (None, _) => Err(Failure::usage("a command is missing; --help lists them")),
    }
}

/// systemd names several directories with colons between (`StateDirectory=` in systemd.exec(5)).
fn default_state_dir() -> PathBuf {
    let named = std::env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
    let first = named.and_then(|dirs| std::env::split_paths(&dirs).next());
    first.unwrap_or_else(|| "/var/lib/linkprobe".into())
}

fn print(text: &str) -> Result<u8, Failure> {
    exit::print(text);
    Ok(0)
}
