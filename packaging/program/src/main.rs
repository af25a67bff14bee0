//! `bastion`, `linkprobe` and `tunnelwatch-cloud` as one program, for the package: TLS, HTTP and all that they share is
//! there once, which is a fifth of what the package takes. Who is called says the name that it is called by.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called = who(args.next().as_deref());
    // These two skip their name by themselves.
    let nameless = std::iter::once(OsString::new());
    match called {
        Program::Linkprobe => linkprobe::cli::main(nameless.chain(args)),
        Program::Cloud => tunnelwatch_cloud::cli::main(nameless.chain(args)),
        Program::Bastion => notifier::cli::run(args),
    }
}

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Bastion,
    Cloud,
    Linkprobe,
}

fn who(called: Option<&OsStr>) -> Program {
    match called.and_then(|path| Path::new(path).file_name()).and_then(OsStr::to_str) {
        Some("linkprobe") => Program::Linkprobe,
        Some("tunnelwatch-cloud") => Program::Cloud,
        _ => Program::Bastion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_its_name_says_who_is_called() {
        for (called, want) in [
            (Some("linkprobe"), Program::Linkprobe),
            (Some("/usr/bin/linkprobe"), Program::Linkprobe),
            (Some("./linkprobe"), Program::Linkprobe),
            (Some("/usr/lib/pam-bastion/tunnelwatch-cloud"), Program::Cloud),
            (Some("bastion"), Program::Bastion),
            (Some("/linkprobe/bastion"), Program::Bastion),
            (Some("linkprobe2"), Program::Bastion),
            (Some("tunnelwatch"), Program::Bastion),
            (Some(""), Program::Bastion),
            (None, Program::Bastion),
        ] {
            assert_eq!(who(called.map(OsStr::new)), want, "{called:?}");
        }
    }
}
