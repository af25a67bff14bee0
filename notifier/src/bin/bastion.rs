//! `bastion`: see `bastion --help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    notifier::cli::run(std::env::args_os().skip(1))
}
