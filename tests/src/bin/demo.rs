//! `./dev demo`: logins reach a phone; `./dev demo tunnel`: a tunnel is broken and heals;
//! `./dev demo link`: a line is checked. On throwaway machines, told in the terminal.
//!
//! Everything is real but the phone company: sshd, libpam, the module, the sender, ssh. All of it
//! lives in the namespaces of [`bastion_tests::host::Host`], which end with this process however that
//! ends, so nothing has to be removed by hand, also after Ctrl-C or `kill -9`.
#![forbid(unsafe_code)]

use std::panic::PanicHookInfo;
use std::process::ExitCode;

#[path = "../demo/mod.rs"]
mod demo;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let tell = match words[..] {
        [] | ["login"] => demo::login::tell,
        ["tunnel"] => demo::tunnel::tell,
        ["link"] => demo::link::tell,
        _ => {
            eprintln!("usage: demo [login|tunnel|link]");
            return ExitCode::from(64);
        }
    };
    // A rig that cannot work panics with a text for a person; unwinding ends the machines.
    std::panic::set_hook(Box::new(|info| eprintln!("\ndemo: {}", reason(info))));
    match std::panic::catch_unwind(tell) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn reason(info: &PanicHookInfo) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}
