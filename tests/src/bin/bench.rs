//! `bench login`, `bench notify`, `bench tunnel` and `bench link`: the project's numbers, each beside
//! what its peers take, measured in the same run.
//!
//! ```text
//! bench login|notify|tunnel|link [--json] [--quick]
//! bench tunnel --cap SECONDS     waits so long for peers, 120 s else
//! bench link --only PART         verdicts, hard, random, bucket, day, measure or wide
//! bench link --seed NUMBER       draws the same settings again
//! ```
//!
//! Prints a table, and in its last line how many targets are met; exit code 0 when all of it
//! could be measured, met or not. `--quick` takes few samples: it shows that the bench
//! works, and its numbers are worth little. Wants a quiet machine: the load is printed.
//!
//! A peer that is not installed is said to be absent. nullmailer would take the place of
//! the machine's mail server, so it can also lie in a folder that `BASTION_PEERS` names, where
//! `./dev bench` puts it: `apt-get download nullmailer && dpkg -x nullmailer_*.deb DIR`.
//!
//! Further commands are run by the bench itself, inside the throwaway machine: `open` and `spawn`
//! (`bench/probe.rs`), `banner` and `hold` (`bench/tunnel/port.rs`), `once` (`bench/link/once.rs`).
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[path = "../bench/mod.rs"]
mod bench;

fn main() -> ExitCode {
    // A rig that cannot work panics with a text for a person; unwinding ends the machine.
    match std::panic::catch_unwind(bench::run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}
