//! What the commands of `bench` share, and the way to each of them.

mod artefact;
mod case;
mod crash;
mod delivery;
mod disk;
mod faults;
mod flood;
mod link;
mod login;
mod memory;
mod nullmailer;
mod ours;
mod outage;
mod peers;
mod probe;
mod receiver;
mod recovery;
mod report;
mod rig;
mod script;
mod send;
mod sender;
mod ssh;
mod stats;
mod tunnel;
mod wrong;

use std::error::Error;

use report::{Table, machine};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Enough to believe the numbers: some minutes.
    Full,
    /// Enough to see that it works.
    Quick,
}

impl Effort {
    /// `full`, or a tenth of it and at least 2.
    fn times(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => (full / 10).max(2),
        }
    }
}

/// Reads the command line and does what it says.
pub fn run() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut args = lexopt::Parser::from_env();
    let what = match args.next()? {
        Some(Value(what)) => what.string()?,
        _ => return Err("usage: bench login|notify|tunnel|link [--json] [--quick]".into()),
    };
    match what.as_str() {
        "open" => return probe::open(args),
        "spawn" => return probe::spawn(args),
        "banner" => return tunnel::port::banner(args),
        "hold" => return tunnel::port::hold(args),
        "once" => return link::once::once(args),
        "login" | "notify" | "tunnel" | "link" => {}
        other => {
            let there_are = "there are login, notify, tunnel and link";
            return Err(format!("there is no {other:?}; {there_are}").into());
        }
    }
    let (mut json, mut effort, mut cap) = (false, Effort::Full, None);
    let (mut only, mut seed) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => json = true,
            Long("quick") => effort = Effort::Quick,
            Long("cap") if what == "tunnel" => cap = Some(args.value()?.parse()?),
            Long("only") if what == "link" => only = Some(args.value()?.string()?),
            Long("seed") if what == "link" => seed = Some(args.value()?.parse()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let mut table = Table::new(&what, machine());
    if what == "login" {
        login::measure(&mut table, effort);
        outage::measure(&mut table, effort);
        ssh::measure(&mut table, effort);
        artefact::measure(&mut table);
        memory::measure(&mut table, effort);
    } else if what == "tunnel" {
        tunnel::measure(&mut table, effort, cap);
    } else if what == "link" {
        link::measure(&mut table, effort, only.as_deref(), seed);
    } else {
        delivery::measure(&mut table, effort);
        sender::measure(&mut table, effort);
        send::measure(&mut table, effort);
        flood::measure(&mut table, effort);
        let faults = faults::run(effort);
        faults.add(&mut table);
        crash::measure(&mut table, effort);
        recovery::measure(&mut table, effort, &faults);
    }
    table.note_load();
    if json {
        println!("{}", table.json());
    } else {
        print!("{table}");
    }
    Ok(())
}
