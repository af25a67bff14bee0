//! The `tunnelwatch-cloud` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tunnelwatch_cloud::cli::main(std::env::args_os())
}
