//! The `linkprobe` command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::{Arg, Parser, ValueExt};
use notifier::config::DEFAULT_PATH;
use notifier::exit::{self, Failure};

use crate::record::Record;
use crate::{status, watch};

const HELP: &str = "\
linkprobe - whether an internet line is there, is the right one and is good enough

usage: linkprobe [--config PATH] COMMAND [...]

commands:
  watch            sees whether each [[link]] is up, and tells when that changes
  status [NAME] [--json]
                   how they are; exit code 0 well, 1 one of several bad, 2 bad, 3 unknown

options of every command:
  --config PATH    the configuration file (default /etc/bastion/bastion.toml)
  --run-dir PATH   where the state is (default $RUNTIME_DIRECTORY, else /run/linkprobe)
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
    let (mut config, mut run_dir) = (PathBuf::from(DEFAULT_PATH), default_run_dir());
    let (mut json, mut words) = (false, Vec::new());
    while let Some(arg) = parser.next().map_err(Failure::usage)? {
        match arg {
            Arg::Long("config") => config = parser.value().map_err(Failure::usage)?.into(),
            Arg::Long("run-dir") => run_dir = parser.value().map_err(Failure::usage)?.into(),
            Arg::Long("json") => json = true,
            Arg::Long("help") | Arg::Short('h') => return print(HELP),
            Arg::Long("version") | Arg::Short('V') => {
                return print(concat!("linkprobe ", env!("CARGO_PKG_VERSION"), "\n"));
            }
            Arg::Value(word) => words.push(word.string().map_err(Failure::usage)?),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["watch"] => watch::watch(&config, &run_dir, Arc::new(NoBooks)).map(|()| 0),
        ["status"] => status::status(&run_dir, None, json),
        ["status", name] => status::status(&run_dir, Some(name), json),
        [] => Err(Failure::usage("a command is missing; --help lists them")),
        [other, ..] => Err(Failure::usage(format!("there is no command {other:?} like that"))),
    }
}

/// Keeps nothing, until there are a history and a budget.
struct NoBooks;

impl watch::Books for NoBooks {
    fn record(&self, _: &Record) {}

    fn spent(&self, _: &str, _: u64, _: u64) {}
}

fn default_run_dir() -> PathBuf {
    std::env::var_os("RUNTIME_DIRECTORY").map_or_else(|| "/run/linkprobe".into(), PathBuf::from)
}

fn print(text: &str) -> Result<u8, Failure> {
    exit::print(text);
    Ok(0)
}
