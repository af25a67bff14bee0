//! What linkprobe learns by DNS, alone: in a machine of the tests, over one of its lines.
//!
//! `lookup [--interface NAME] [--source ADDRESS] [--at ADDRESS]... [--within SECONDS] WHAT`, where WHAT
//! is `addresses NAME`, `texts NAME` or `isp`, prints a line of JSON: what was found, or why not, and
//! what it cost ([`Told`]).
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bastion_tests::link::lookup::Told;
use linkprobe::dns;
use linkprobe::isp::{Asker, Servers};
use linkprobe::line::Line;
use linkprobe::usage::Usage;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let (mut line, mut servers, mut words) = (Line::default(), Vec::new(), Vec::new());
    let mut within = Duration::from_secs(8);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("interface") => line.interface = Some(args.value()?.string()?),
            Long("source") => line.source = Some(args.value()?.parse()?),
            Long("at") => servers.push(SocketAddr::new(args.value()?.parse()?, 53)),
            Long("within") => within = Duration::from_secs_f64(args.value()?.parse()?),
            Value(word) => words.push(word.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let mut usage = Usage::default();
    let begun = Instant::now();
    let until = begun + within;
    let mut told = Told::default();
    if let Some(trouble) = line.trouble() {
        told.fail(&trouble, false);
        words = vec!["nothing".into()];
    }
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["addresses", name] => {
            match dns::lookup_addresses(&line, &servers, name, until, &mut usage) {
                Ok(found) => told.found = found.iter().map(ToString::to_string).collect(),
                Err(error) => told.fail(&error, error.was_answered()),
            }
        }
        ["texts", name] => match dns::txt(&line, &servers, name, until, &mut usage) {
            Ok(found) => told.found = found,
            Err(error) => told.fail(&error, error.was_answered()),
        },
        ["isp"] => {
            let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
            let (state, real) = (PathBuf::from("/var/lib/linkprobe"), Servers::default());
            std::fs::create_dir_all(&state)?;
            let asker =
                Asker { line: &line, resolvers: &servers, servers: &real, state: &state, now_s };
            match asker.identity(until, &mut usage) {
                Ok(identity) => {
                    told.found.extend(identity.ip.map(|ip| ip.to_string()));
                    told.found.extend(identity.asns.iter().map(|asn| format!("AS{asn}")));
                    told.found.extend(identity.names);
                    told.found.extend(identity.country);
                }
                Err(error) => told.fail(&error, false),
            }
        }
        ["nothing"] => {}
        _ => return Err("addresses NAME, texts NAME or isp".into()),
    }
    (told.sent, told.received) = (usage.sent, usage.received);
    told.took_ms = u64::try_from(begun.elapsed().as_millis())?;
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}
