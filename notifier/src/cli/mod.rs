//! The `bastion` command: one file a subcommand.

mod allow;
mod check;
mod drill;
mod enable;
mod is_configured;
pub(crate) mod others;
mod pam_file;
mod queue;
mod report;
mod run;
mod send;
pub(crate) mod test;
mod why;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};

use crate::config::{self, Document, host::Host};
use crate::exit::Failure;

/// A subcommand.
pub struct Command {
    /// Its word.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// `bastion NAME --help`, after the first line.
    pub help: &'static str,
    run: fn(Options) -> Result<(), Failure>,
}

/// All subcommands, in the order of the help.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        summary: "the sender: takes alerts from the spool and gets them out",
        help: run::HELP,
        run: run::run,
    },
    Command {
        name: "send",
        summary: "put a text into the spool, for scripts",
        help: send::HELP,
        run: send::run,
    },
    Command {
        name: "test",
        summary: "send a message now and say what the provider answered",
        help: test::HELP,
        run: test::run,
    },
    Command {
        name: "queue",
        summary: "list, show, retry and drop alerts",
        help: queue::HELP,
        run: queue::run,
    },
    Command {
        name: "report",
        summary: "what the weekly report would say now",
        help: report::HELP,
        run: report::run,
    },
    Command {
        name: "enable",
        summary: "put the line into /etc/pam.d/sshd, so that logins are told",
        help: enable::HELP,
        run: enable::run,
    },
    Command {
        name: "disable",
        summary: "take the line out again, which is an alert itself",
        help: enable::HELP_DISABLE,
        run: enable::run_disable,
    },
    Command {
        name: "check",
        summary: "find what is wrong on this host, with what to do",
        help: check::HELP,
        run: check::run,
    },
    Command {
        name: "drill",
        summary: "prove the whole way: channels, tunnel, a login through it, lines, and what ends soon",
        help: drill::HELP,
        run: drill::run,
    },
    Command {
        name: "allow",
        summary: "make a place known good for a time, list such places, and end them",
        help: allow::HELP,
        run: allow::run,
    },
    Command {
        name: "why",
        summary: "say whether a login would be told, and why",
        help: why::HELP,
        run: why::run,
    },
    Command {
        name: "is-configured",
        summary: "for the unit: whether the sender has a channel; exit code 0 or 1",
        help: is_configured::HELP,
        run: is_configured::run,
    },
];

const ABOUT: &str = "\
bastion - alerts that arrive

usage: bastion [--config PATH] COMMAND [...]

";

const COMMON: &str = "
options of every command:
  --config PATH  the configuration file (default /etc/bastion/bastion.toml)
  --help         this text, or that of a command
  --version      the version

exit codes: 0 done, 64 usage, 65 data, 69 the provider refused, 70 a fault in the program,
73 cannot create, 75 try again later, 77 permission, 78 configuration; check and drill have their own, of monitoring plugins
";

/// What a subcommand gets: the common options, and the parser with the rest.
pub struct Options {
    config: PathBuf,
    rest: Parser,
    help: &'static str,
    name: &'static str,
}

impl Options {
    /// The next option or value; the common options are dealt with here.
    fn next(&mut self) -> Result<Option<Arg<'_>>, Failure> {
        // lexopt lends the argument from the parser, so what is dealt with here is looked
        // at by a first parser and only what is left is lent out.
        loop {
            match peek(&mut self.rest)? {
                Some(Common::Config(path)) => self.config = path,
                Some(Common::Help) => return Err(Failure::printed(&self.usage())),
                Some(Common::Version) => return Err(Failure::printed(&version())),
                None => return self.rest.next().map_err(Failure::usage),
            }
        }
    }

    /// The command line has to end here.
    fn end(&mut self) -> Result<(), Failure> {
        match self.next()? {
            None => Ok(()),
            Some(arg) => Err(Failure::usage(arg.unexpected())),
        }
    }

    fn usage(&self) -> String {
        format!("usage: bastion {}{}{COMMON}", self.name, self.help)
    }
}

enum Common {
    Config(PathBuf),
    Help,
    Version,
}

/// Takes one common option off the front, if there is one.
fn peek(parser: &mut Parser) -> Result<Option<Common>, Failure> {
    let Some(mut raw) = parser.try_raw_args() else { return Ok(None) };
    let Some(first) = raw.peek().map(ToOwned::to_owned) else { return Ok(None) };
    let first = first.to_string_lossy().into_owned();
    let common = match first.as_str() {
        "--help" | "-h" => Some(Common::Help),
        "--version" | "-V" => Some(Common::Version),
        "--config" => {
            raw.next();
            let path = raw.next().ok_or_else(|| Failure::usage("--config needs a path"))?;
            return Ok(Some(Common::Config(path.into())));
        }
        _ => first.strip_prefix("--config=").map(|path| Common::Config(path.into())),
    };
    if common.is_some() {
        raw.next();
    }
    Ok(common)
}

fn version() -> String {
    format!("bastion {}\n", env!("CARGO_PKG_VERSION"))
}

fn overview() -> String {
    let width = COMMANDS.iter().map(|command| command.name.len()).max().unwrap_or_default();
    let lines = COMMANDS.iter().map(|c| format!("  {:width$}  {}\n", c.name, c.summary));
    format!("{ABOUT}commands:\n{}{COMMON}", lines.collect::<String>())
}

/// `[host]` of a file that may have mistakes in it, or not be there: then the defaults stand in,
/// as in the PAM module.
fn lenient_host(path: &Path) -> Host {
    match config::read_file(path) {
        Ok(source) => config::host::read(&mut Document::parse(&source.text)),
        Err(_) => Host::default(),
    }
}

/// Runs the command line and answers the exit code.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    match dispatch(Parser::from_args(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell("bastion"),
    }
}

fn dispatch(mut parser: Parser) -> Result<(), Failure> {
    let mut config = PathBuf::from(config::DEFAULT_PATH);
    let name = loop {
        match peek(&mut parser)? {
            Some(Common::Config(path)) => config = path,
            Some(Common::Help) => return Err(Failure::printed(&overview())),
            Some(Common::Version) => return Err(Failure::printed(&version())),
            None => match parser.next().map_err(Failure::usage)? {
                Some(Arg::Value(name)) => break name.string().map_err(Failure::usage)?,
                Some(arg) => return Err(Failure::usage(arg.unexpected())),
                None => return Err(Failure::usage("a command is missing")),
            },
        }
    };
    let command = COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| Failure::usage(format!("there is no command {name:?}")))?;
    (command.run)(Options { config, rest: parser, help: command.help, name: command.name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_help() {
        for command in COMMANDS {
            assert!(command.help.contains('\n'), "{}", command.name);
            assert!(overview().contains(command.name));
        }
    }
}
