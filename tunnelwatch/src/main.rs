//! The `tunnelwatch` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tunnelwatch::cli::main(std::env::args_os())
}
