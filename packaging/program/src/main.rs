//! `bastion` and `linkprobe` as one program, for the package: TLS, HTTP and all that they share is there once, which is
//! a fifth of what the package takes. Who is called says the name that it is called by.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if is_linkprobe(args.next().as_deref()) {
        // It skips its name by itself.
        return linkprobe::cli::main(std::iter::once(OsString::new()).chain(args));
    }
    notifier::cli::run(args)
}

fn is_linkprobe(called: Option<&OsStr>) -> bool {
    called.and_then(|path| Path::new(path).file_name()) == Some(OsStr::new("linkprobe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_its_name_says_who_is_called() {
        for (called, want) in [
            (Some("linkprobe"), true),
            (Some("/usr/bin/linkprobe"), true),
            (Some("./linkprobe"), true),
            (Some("bastion"), false),
            (Some("/linkprobe/bastion"), false),
            (Some("linkprobe2"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_linkprobe(called.map(OsStr::new)), want, "{called:?}");
        }
    }
}
