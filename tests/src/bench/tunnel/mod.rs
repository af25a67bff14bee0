//! `bench tunnel`: what goes wrong with a tunnel, and how soon it can be used again, kept by tunnelwatch
//! and by what people use today; each between three machines of its own, with a real sshd.
//!
//! Nearly all of it is waiting, so most of it is waited for at once. What is back by work and not by
//! waiting is measured alone.

mod fault;
mod idle;
mod keeper;
mod on_demand;
pub mod port;
mod power;
mod rows;

use std::time::Duration;

use bastion_tests::host::require;

use super::Effort;
use super::case::at_once;
use super::report::Table;
use fault::{Ended, Fault, Times};
use idle::Idle;
use keeper::Keeper;

/// How many rigs work at once: they hardly use a processor, but for their first second.
const AT_ONCE: usize = 16;

/// How long tunnelwatch may take at most.
const OURS: Duration = Duration::from_secs(60);

/// How long it works before the fault, where it does not matter when it looks.
const SETTLED: Duration = Duration::from_secs(1);

/// How long else, and how much longer from run to run: another moment between two
/// of its looks each time.
const BEFORE: Duration = Duration::from_secs(4);
const MORE: Duration = Duration::from_secs(7);

/// How long peers are waited for, in seconds, unless `--cap` says otherwise.
const CAP_S: u64 = 120;

/// A line of the table.
#[derive(Clone, Copy)]
struct Spec {
    what: &'static str,
    fault: Fault,
    ours: Keeper,
    /// How long the fault lasts, in seconds.
    lasts_s: u64,
    /// How often it is done to ours, and to each peer.
    runs: [usize; 2],
    target: Target,
}

/// What is wanted: of times the median, of counts and alerts each.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// Nothing: for information.
    None,
    /// Usable again, in seconds.
    Back(f64),
    /// The same, and tries a minute.
    BackAndTries(f64, f64),
    /// The same, and noticed, in seconds.
    BackAndNoticed(f64, f64),
    /// All three: usable, noticed, tries.
    All(f64, f64, f64),
    /// The first port usable again, in seconds.
    Home(f64),
    /// An alert, in seconds, and the session left alone.
    AlertAlone(f64),
    /// An alert, in seconds, and tries a minute.
    AlertAndTries(f64, f64),
    /// Tries in the first minute, and later.
    Tries(u64, u64),
}

const SPECS: [Spec; 16] = [
    spec("F1 ssh killed", Fault::SshKilled, 0, [5, 3], Target::Back(2.0)),
    spec("F2 session killed on the jump host", Fault::SessionKilled, 0, [5, 3], Target::Back(2.0)),
    spec("F3 path black-holed", Fault::Hole, 60, [3, 1], Target::Back(3.0)),
    spec(
        "F4 address changes beyond this host, jump host without ClientAlive",
        Fault::AddressLost,
        0,
        [3, 1],
        Target::Back(45.0),
    ),
    by(
        Keeper::Release,
        spec(
            "F4 this host's own address changes, with `release`",
            Fault::AddressChanged,
            0,
            [3, 0],
            Target::Home(10.0),
        ),
    ),
    by(
        Keeper::Release,
        spec("F4 beyond this host, with `release`", Fault::AddressLost, 0, [3, 0], Target::None),
    ),
    spec("F5 jump host's sshd off", Fault::JumpOff, 30, [3, 3], Target::Back(5.0)),
    spec(
        "F6 forward broken, ssh alive",
        Fault::ForwardBroken,
        0,
        [3, 1],
        Target::BackAndNoticed(30.0, 25.0),
    ),
    spec("F6b sshd on this side down", Fault::TargetDown, 60, [1, 1], Target::AlertAlone(25.0)),
    by(
        Keeper::OnePort,
        spec(
            "F7 port held, no fallback",
            Fault::PortHeld,
            40,
            [3, 3],
            Target::BackAndTries(5.0, 12.0),
        ),
    ),
    spec(
        "F7 port held, from its beginning, on the fallback",
        Fault::PortHeld,
        40,
        [3, 0],
        Target::Back(5.0),
    ),
    by(
        Keeper::OnePort,
        spec(
            "F7v 127.0.0.1 alone held, no fallback",
            Fault::HalfHeld,
            40,
            [3, 1],
            Target::All(5.0, 5.0, 12.0),
        ),
    ),
    spec("F8 key rejected", Fault::KeyRejected, 180, [1, 1], Target::Tries(4, 1)),
    spec("F9 jump host power-cycled", Fault::PowerCycled, 60, [3, 1], Target::Back(5.0)),
    spec("F11 refused", Fault::Refused, 300, [1, 1], Target::BackAndTries(15.0, 12.0)),
    spec("host key changed", Fault::HostKey, 60, [1, 1], Target::AlertAndTries(5.0, 2.0)),
];

const fn spec(
    what: &'static str,
    fault: Fault,
    lasts_s: u64,
    runs: [usize; 2],
    target: Target,
) -> Spec {
    Spec { what, fault, ours: Keeper::Ours, lasts_s, runs, target }
}

const fn by(ours: Keeper, spec: Spec) -> Spec {
    Spec { ours, ..spec }
}

impl Spec {
    fn lasts(&self, effort: Effort, keeper: Keeper) -> Duration {
        let all = Duration::from_secs(self.lasts_s);
        match (effort, self.fault) {
            // Of a peer's tries the first minute says it all.
            (Effort::Full, Fault::KeyRejected) if !keeper.is_ours() => all.min(MINUTE),
            (Effort::Full, _) => all,
            // Noticed by the next look but one.
            (Effort::Quick, Fault::TargetDown) => all.min(Duration::from_secs(30)),
            (Effort::Quick, _) => all.min(Duration::from_secs(8)),
        }
    }

    /// Whether it is measured alone.
    fn is_short(&self, keeper: Keeper) -> bool {
        let short = [Fault::SshKilled, Fault::SessionKilled, Fault::AddressChanged];
        short.contains(&self.fault) && keeper != Keeper::Loop
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Something to be measured.
#[derive(Debug, Clone, Copy)]
enum Job {
    /// A line of the table, once.
    Fault { spec: usize, keeper: Keeper, times: Times },
    /// Doing nothing.
    Idle { keeper: Keeper, time: Duration },
}

impl Job {
    /// How long it takes, by and large: the longest begin first.
    fn length(&self) -> Duration {
        match self {
            Self::Fault { keeper, times, .. } if keeper.is_ours() => times.before + times.fault,
            Self::Fault { times, .. } => times.before + times.fault + times.most,
            Self::Idle { time, .. } => *time,
        }
    }

    fn run(&self) -> Measured {
        match *self {
            Self::Fault { spec, keeper, times } => {
                let ended =
                    keeper.line().map(|mut line| SPECS[spec].fault.run(keeper, &mut line, times));
                Measured::Fault { spec, keeper, ended }
            }
            Self::Idle { keeper, time } => {
                Measured::Idle { keeper, idle: idle::watch(keeper, time) }
            }
        }
    }
}

/// What was measured, or why it was not.
enum Measured {
    Fault { spec: usize, keeper: Keeper, ended: Result<Ended, String> },
    Idle { keeper: Keeper, idle: Result<Idle, String> },
}

/// Measures and adds the rows. `cap` is how long peers are waited for.
pub fn measure(table: &mut Table, effort: Effort, cap: Option<u64>) {
    require("tunnelwatch");
    let cap = match effort {
        Effort::Full => Duration::from_secs(cap.unwrap_or(CAP_S)),
        Effort::Quick => Duration::from_secs(cap.unwrap_or(CAP_S).min(8)),
    };
    let mut measured = alone(effort, cap);
    let mut jobs = together(effort, cap);
    jobs.sort_by_key(|job| std::cmp::Reverse(job.length()));
    measured.extend(at_once(&jobs, AT_ONCE, Job::run));
    rows::add(table, &measured, effort, cap);
    on_demand::measure(table, effort);
}

/// What is done to whom, and how often.
fn plan(effort: Effort, cap: Duration) -> Vec<(usize, Keeper, Times)> {
    let mut all = Vec::new();
    for (number, spec) in SPECS.iter().enumerate() {
        let peers = peers(effort).iter().map(|peer| (*peer, spec.runs[1]));
        for (keeper, runs) in std::iter::once((spec.ours, spec.runs[0])).chain(peers) {
            let runs =
                if effort == Effort::Quick || keeper == Keeper::Loop { runs.min(1) } else { runs };
            let most = if keeper.is_ours() { OURS } else { cap };
            for run in 0..u32::try_from(runs).unwrap_or(1) {
                let before = if spec.is_short(keeper) { SETTLED } else { BEFORE + MORE * run };
                let times = Times { fault: spec.lasts(effort, keeper), most, before };
                all.push((number, keeper, times));
            }
        }
    }
    all
}

/// Those that are measured.
fn peers(effort: Effort) -> &'static [Keeper] {
    if effort == Effort::Full { &Keeper::PEERS } else { &Keeper::PEERS[..1] }
}

/// What is back at once, with nothing else at work.
fn alone(effort: Effort, cap: Duration) -> Vec<Measured> {
    let mut plan = plan(effort, cap);
    plan.retain(|(spec, keeper, _)| SPECS[*spec].is_short(*keeper));
    let mut measured = Vec::new();
    for of in [Keeper::Ours, Keeper::Release].into_iter().chain(Keeper::PEERS) {
        let mut jobs = plan.iter().filter(|(_, keeper, _)| *keeper == of).peekable();
        if jobs.peek().is_none() {
            continue;
        }
        let mut line = of.line();
        for (spec, keeper, times) in jobs {
            let ended = line.as_mut().map_err(|why| why.clone()).map(|line| {
                // Who has had to begin again a moment before may take his time.
                keeper.start(line);
                SPECS[*spec].fault.run(*keeper, line, *times)
            });
            measured.push(Measured::Fault { spec: *spec, keeper: *keeper, ended });
        }
    }
    measured
}

/// All the rest.
fn together(effort: Effort, cap: Duration) -> Vec<Job> {
    let mut plan = plan(effort, cap);
    plan.retain(|(spec, keeper, _)| !SPECS[*spec].is_short(*keeper));
    let faults = plan.into_iter().map(|(spec, keeper, times)| Job::Fault { spec, keeper, times });
    let seconds = |full: u64| match effort {
        Effort::Full => Duration::from_secs(full),
        Effort::Quick => Duration::from_secs(full / 10),
    };
    // Seven looks, and two: a day has no other share of them.
    let ours = [(Keeper::Ours, 7 * 23), (Keeper::Metered, 2 * 150)].into_iter();
    let idle = ours.chain(peers(effort).iter().map(|peer| (*peer, 130)));
    let idle = idle.map(|(keeper, full)| Job::Idle { keeper, time: seconds(full) });
    faults.chain(idle).collect()
}
