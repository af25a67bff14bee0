//! The `tunnelwatch-cloud` command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lexopt::{Arg, Parser, ValueExt};
use notifier::channel::Secrets;
use notifier::channel::secret::Secret;
use notifier::config::DEFAULT_PATH;
use notifier::exit::{self, Failure};
use tunnelwatch::config::{Settings, Tunnel};
use tunnelwatch::on_demand::config::{Bearer, Provider};

use crate::api::Api;
use crate::bearer::Numbered;
use crate::call::{Fault, Machine, Report, Trouble, Verb};
use crate::digitalocean::{self, Droplet};
use crate::ec2::{self, Instance};
use crate::hetzner::{self, Server};

/// Most time that a call takes; who has started us waits somewhat longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Time for what is at its own deadline to say so before we do.
const LAST_WORDS: Duration = Duration::from_millis(500);

const HELP: &str = "\
tunnelwatch-cloud - starts and stops the jump host of a tunnel at its provider

usage: tunnelwatch-cloud [--config PATH] TUNNEL start|stop|describe

Called by `tunnelwatch`, which decides when; by hand, `tunnelwatch jump` is what to use. A [[tunnel]] of that name with
[tunnel.on-demand] says who the provider is: ec2, digitalocean or hetzner.

commands:
  start            starts the machine; well if it runs already
  stop             asks its system to shut down. Where that was asked two minutes ago and it still runs, DigitalOcean
                   and Hetzner are told to take its power away; AWS does that by itself
  describe         how it is

prints one line, {\"state\":\"off|starting|on|stopping|gone\",\"address\":\"198.51.100.7\"}, with an address where there is one

options:
  --config PATH    the configuration file (default /etc/bastion/bastion.toml)
  --help           this text
  --version        the version

exit codes: 0 done, 64 usage, 69 the API cannot be reached, 75 try again later (then the line is
{\"kind\":\"capacity|busy|rate|server\",\"retry-after-s\":30}, the time where the provider gave one), 77 the credentials or
what they permit, 78 configuration, or no such machine
";

/// Runs the command line and answers the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let (config, tunnel, verb) = match read(Parser::from_iter(args)) {
        Ok(line) => line,
        Err(failure) => return failure.tell("tunnelwatch-cloud"),
    };
    let outcome = match prepare(&config, &tunnel) {
        Ok(tunnel) => in_time(&config, tunnel, verb),
        Err(failure) => return failure.tell("tunnelwatch-cloud"),
    };
    let (code, line) = match &outcome {
        Ok(report) => (0, serde_json::to_string(report).ok()),
        Err(trouble) => {
            exit::complain("tunnelwatch-cloud", &trouble.why);
            (trouble.code(), trouble.line())
        }
    };
    if let Some(line) = line {
        exit::print(&format!("{line}\n"));
    }
    ExitCode::from(code)
}

fn read(mut parser: Parser) -> Result<(PathBuf, String, Verb), Failure> {
    let mut config = PathBuf::from(DEFAULT_PATH);
    let mut words = Vec::new();
    while let Some(arg) = parser.next().map_err(Failure::usage)? {
        match arg {
            Arg::Long("config") => config = parser.value().map_err(Failure::usage)?.into(),
            Arg::Long("help") | Arg::Short('h') => return Err(Failure::printed(HELP)),
            Arg::Long("version") => {
                let version = concat!("tunnelwatch-cloud ", env!("CARGO_PKG_VERSION"), "\n");
                return Err(Failure::printed(version));
            }
            Arg::Value(word) => words.push(word.string().map_err(Failure::usage)?),
            other => return Err(Failure::usage(other.unexpected())),
        }
    }
    let [tunnel, verb] = words.as_slice() else {
        return Err(Failure::usage("of which tunnel, and what? tunnelwatch-cloud TUNNEL describe"));
    };
    let verb = Verb::named(verb)
        .ok_or_else(|| Failure::usage(format!("{verb:?}: write start, stop or describe")))?;
    Ok((config, tunnel.clone(), verb))
}

/// The tunnel of that name.
fn prepare(config: &Path, name: &str) -> Result<Tunnel, Failure> {
    let settings = Settings::load(config).map_err(Failure::config)?;
    let mut tunnels = settings.tunnels.into_iter();
    tunnels.find(|tunnel| tunnel.name == name).ok_or_else(|| {
        Failure::config(format!("{}: there is no [[tunnel]] named {name}", config.display()))
    })
}

/// Does it, or leaves it when it takes too long: of what runs behind it, not all can be told to hurry.
fn in_time(config: &Path, tunnel: Tunnel, verb: Verb) -> Result<Report, Trouble> {
    let until = Instant::now() + DEADLINE;
    let (told, hears) = mpsc::channel();
    let config = config.to_owned();
    std::thread::spawn(move || {
        let outcome = machine(&config, &tunnel, until).and_then(|machine| machine.call(verb));
        let _ = told.send(outcome);
    });
    hears.recv_timeout(DEADLINE + LAST_WORDS).unwrap_or_else(|_| {
        let why = format!("nothing came of it within {} s", DEADLINE.as_secs());
        Err(Trouble::new(Fault::Unreachable, why))
    })
}

/// The machine that the tunnel's section names.
fn machine(config: &Path, tunnel: &Tunnel, until: Instant) -> Result<Box<dyn Machine>, Trouble> {
    let wrong = |why: String| {
        let place = format!("{}: tunnel {}", config.display(), tunnel.name);
        Trouble::new(Fault::Config, format!("{place}: {why}"))
    };
    let Some(on_demand) = &tunnel.on_demand else {
        return Err(wrong("has no [tunnel.on-demand]".into()));
    };
    let read = |key: &str, file: &str| {
        let secret = Secrets::of_tunnels().read(file);
        secret.map_err(|why| wrong(format!("on-demand.{key}: {why}")))
    };
    let api = |base: &str, secret: &Secret| {
        Api::new(tunnel, config, base, std::slice::from_ref(secret), until)
    };
    let numbered = |bearer: &Bearer, default: &str| {
        let token = read("token-file", &bearer.token_file)?;
        let api = api(bearer.endpoint.as_deref().unwrap_or(default), &token)?;
        Ok((api, bearer.instance.clone(), token))
    };
    Ok(match &on_demand.provider {
        Provider::Ec2 { instance, region, access_key_id, secret_key_file, endpoint } => {
            let secret = read("secret-key-file", secret_key_file)?;
            let default = || ec2::endpoint(region);
            let api = api(&endpoint.clone().unwrap_or_else(default), &secret)?;
            let (id, region, key_id) = (instance.clone(), region.clone(), access_key_id.clone());
            Box::new(Instance { api, id, region, key_id, secret })
        }
        Provider::DigitalOcean(bearer) => {
            let (api, id, token) = numbered(bearer, digitalocean::ENDPOINT)?;
            Box::new(Numbered::<Droplet>::new(api, id, token))
        }
        Provider::Hetzner(bearer) => {
            let (api, id, token) = numbered(bearer, hetzner::ENDPOINT)?;
            Box::new(Numbered::<Server>::new(api, id, token))
        }
        Provider::Exec(_) => {
            return Err(wrong("provider = \"exec\" is a program of yours; call that".into()));
        }
    })
}
