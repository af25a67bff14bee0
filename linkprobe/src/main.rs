//! The `linkprobe` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    linkprobe::cli::main(std::env::args_os())
}
