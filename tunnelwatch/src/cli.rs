//! The `tunnelwatch` command line.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use notifier::config::DEFAULT_PATH;
use notifier::config::configured::{Need, is_configured};
use notifier::exit::{self, Failure};

use crate::connect::{self, Binding};
use crate::ffi::send_descriptor;
use crate::on_demand::hand;
use crate::{answer, check, enroll, release, run, status, through, watch};

const HELP: &str = "\
tunnelwatch - a reverse SSH forward that is proved to work

usage: tunnelwatch [--config PATH] COMMAND [...]

commands:
  run              on the internal host: keeps the tunnels of [[tunnel]]
  enroll [NAME] [--host-key SHA256:...]
                   on the internal host: makes the key, pins the jump host's, prints what to
                   write there and into your ~/.ssh/config, and tests it all
  check            finds what is wrong with all this, here and, of [[tunnel]], on the jump host; does
                   not disturb a tunnel that works, and takes up to half a minute. As root
  watch            on the jump host: sees whether the ports of [[tunnel-watch]] answer
  answer [--release] PORT...
                   on the jump host, as the command beside the tunnel's key: says who has opened a
                   connection to one of these ports, and with --release does what release does
  release PORT...  on the jump host, as the command beside the tunnel's key: ends a session
                   of the same user that holds one of these ports and whose client is gone
  status [--json]  on the internal host: how they are; exit code 0 up, 1 one of several down, 2 down, 3 unknown
  retry            try now: after a repair, or when the line is back
  jump start|stop|status [--json] [NAME]
                   on the internal host, of a tunnel with [tunnel.on-demand]: has its jump host run until stop; has it off
                   until the main line was back; says whether it runs and why. As root or _tunnelwatch, but for status
  is-configured run|watch
                   for the units: exit code 0 if the file has a [[tunnel]] (run) or a [[tunnel-watch]] (watch), or
                   cannot be understood; 1 if not

options of every command:
  --config PATH    the configuration file (default /etc/bastion/bastion.toml)
  --run-dir PATH   where the state is (default $RUNTIME_DIRECTORY, else /run/tunnelwatch; of watch
                   /run/tunnelwatch-watch)
  --help           this text
  --version        the version

exit codes but those of status: 0 done, 64 usage, 69 unavailable, 73 cannot create, 75 try again later,
77 permission, 78 configuration
";

/// What `run` has to have in the file.
const TUNNEL: Need = Need { section: "tunnel", key: None };

/// What `watch` has to have in the file.
const WATCH: Need = Need { section: "tunnel-watch", key: None };

/// Runs the command line and answers the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match dispatch(Parser::from_iter(args)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.tell("tunnelwatch"),
    }
}

fn dispatch(mut parser: Parser) -> Result<u8, Failure> {
    let (mut config, mut run_dir) = (PathBuf::from(DEFAULT_PATH), None::<PathBuf>);
    let (mut command, mut json, mut may_release, mut words) = (None, false, false, Vec::new());
    let mut binding = Binding::default();
    let (mut unix, mut host_key) = (None, None);
    while let Some(arg) = parser.next().map_err(Failure::usage)? {
        let text = |parser: &mut Parser| -> Result<String, Failure> {
            parser.value().and_then(|value| value.string()).map_err(Failure::usage)
        };
        match arg {
            Arg::Long("config") => config = text(&mut parser)?.into(),
            Arg::Long("run-dir") => run_dir = Some(text(&mut parser)?.into()),
            Arg::Long("json") => json = true,
            Arg::Long("release") => may_release = true,
            Arg::Long("interface") => binding.interface = Some(text(&mut parser)?),
            Arg::Long("bind") => {
                binding.address = Some(text(&mut parser)?.parse().map_err(Failure::usage)?);
            }
            Arg::Long("family") => binding.six = family(&text(&mut parser)?),
            Arg::Long("host-key") => host_key = Some(text(&mut parser)?),
            Arg::Long("unix") => unix = Some(PathBuf::from(text(&mut parser)?)),
            Arg::Long("help") | Arg::Short('h') => return print(HELP),
            Arg::Long("version") | Arg::Short('V') => {
                return print(concat!("tunnelwatch ", env!("CARGO_PKG_VERSION"), "\n"));
            }
            Arg::Value(word) if command.is_none() => {
                command = Some(word.string().map_err(Failure::usage)?);
            }
            Arg::Value(word) => words.push(word.string().map_err(Failure::usage)?),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    // Programs that are told of it run in other directories.
    let run_dir = run_dir.unwrap_or_else(|| default_run_dir(command.as_deref()));
    let run_dir = std::path::absolute(&run_dir).map_err(Failure::usage)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (command.as_deref(), words.as_slice()) {
        (Some("run"), []) => run::run(&config, run_dir).map(|()| 0),
        (Some("enroll"), names @ ([] | [_])) => {
            let name = names.first().copied();
            let request = enroll::Request { name, host_key: host_key.as_deref() };
            enroll::enroll(&config, &run_dir, &request)
        }
        (Some("check"), []) => check::check(&config, &run_dir).map(|()| 0),
        (Some("watch"), []) => watch::watch(&config, &run_dir).map(|()| 0),
        (Some("answer"), ports @ [_, ..]) => {
            answer::answer(&config, &numbers(ports)?, may_release).map(|()| 0)
        }
        (Some("answer"), []) => Err(Failure::usage("of which ports? answer [--release] PORT...")),
        (Some("release"), ports) => release::release(&numbers(ports)?).map(|()| 0),
        (Some("status"), []) => status::status(&config, &run_dir, json),
        (Some("jump"), [word, names @ ..]) if names.len() < 2 => {
            hand::jump(&config, &run_dir, word, names.first().copied(), json)
        }
        (Some("jump"), _) => {
            Err(Failure::usage("jump start|stop|status, and the name of a tunnel"))
        }
        (Some("retry"), []) => status::retry(&run_dir).map(|()| 0),
        (Some("is-configured"), ["run"]) => is_configured(&config, TUNNEL).map(|()| 0),
        (Some("is-configured"), ["watch"]) => is_configured(&config, WATCH).map(|()| 0),
        (Some("is-configured"), _) => Err(Failure::usage("of which unit? is-configured run|watch")),
        (Some("through"), [name]) => through::through(&run_dir, name).map(|()| 0),
        (Some("connect"), words) => hand_over(words, unix.as_deref(), &binding).map(|()| 0),
        (Some(other), []) => Err(Failure::usage(format!("there is no command {other:?}"))),
        (Some(_), _) => Err(Failure::usage("there are words too many")),
        (None, _) => Err(Failure::usage("a command is missing; --help lists them")),
    }
}

fn numbers(ports: &[&str]) -> Result<Vec<u16>, Failure> {
    ports.iter().map(|port| port.parse()).collect::<Result<_, _>>().map_err(Failure::usage)
}

/// `watch` has one of its own: on a host with both, neither unit takes the other's away.
fn default_run_dir(command: Option<&str>) -> PathBuf {
    let own = if command == Some("watch") { "/run/tunnelwatch-watch" } else { "/run/tunnelwatch" };
    std::env::var_os("RUNTIME_DIRECTORY").map_or_else(|| own.into(), PathBuf::from)
}

/// `AddressFamily` of ssh_config(5).
fn family(word: &str) -> Option<bool> {
    match word {
        "inet6" => Some(true),
        "inet" => Some(false),
        _ => None,
    }
}

/// `connect HOST PORT`, for ssh: hands the connection to who is at the other end of standard output.
fn hand_over(words: &[&str], unix: Option<&Path>, binding: &Binding) -> Result<(), Failure> {
    let sent = match (unix, words) {
        (Some(path), []) => {
            let socket = std::os::unix::net::UnixStream::connect(path)
                .map_err(|error| Failure::io(path.display(), &error))?;
            send_descriptor(io::stdout().as_fd(), socket.as_fd())
        }
        (None, [host, port]) => {
            let port = port.parse().map_err(Failure::usage)?;
            let socket = connect::connect(host, port, binding).map_err(Failure::unavailable)?;
            send_descriptor(io::stdout().as_fd(), socket.as_fd())
        }
        _ => return Err(Failure::usage("connect has HOST and PORT, and is for ssh alone")),
    };
    sent.map_err(|error| Failure::io("hand the connection to ssh", &error))
}

/// Prints to standard output; that nobody reads it is no failure.
pub fn print(text: &str) -> Result<u8, Failure> {
    exit::print(text);
    Ok(0)
}
