//! The `linkprobe` command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line and answers the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|a| a.into_string().unwrap()).collect();
    let settings = crate::config::Settings::load(args[1].as_ref()).unwrap();
    crate::check::try_out(&settings.links[0], args[2].parse().unwrap()).unwrap();
    ExitCode::from(0)
}
