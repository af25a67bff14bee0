//! `bench link`: what linkprobe says of lines that are known, and what it takes for that; beside
//! speedtest-cli, iperf3 and curl on the same lines.
//!
//! A line's truth is what it carries of TCP payload: the rate of its token bucket filter, 1448 of 1514
//! bytes of it. iperf3 is asked first whether that is so. Bytes are those of the line's device at
//! home, both ways, until it is still again. A verdict is right if it is "good" on a line with as
//! much as was asked for and "slow" on another, and if it is "marginal" within a tenth of that.

mod bucket;
mod day;
mod estimate;
pub mod once;
mod peers;
mod rig;
mod scene;
mod verdicts;
mod wide;

use bastion_tests::host::require;

use super::Effort;
use super::report::Table;
use rig::Rig;
use scene::Scene;

/// The rigs, each made when it is needed.
#[derive(Default)]
struct Rigs {
    made: Vec<Rig>,
    states: u32,
}

impl Rigs {
    /// The one for a scene.
    fn of(&mut self, scene: &Scene) -> &mut Rig {
        let at = self.made.iter().position(|rig| rig.suits(scene)).unwrap_or_else(|| {
            self.made.push(Rig::new(scene.rtt_ms.is_none()));
            self.made.len() - 1
        });
        &mut self.made[at]
    }

    /// A state directory that nobody has used.
    fn state(&mut self) -> String {
        self.states += 1;
        format!("/var/lib/linkprobe/{}", self.states)
    }
}

/// Measures and adds the rows; of all parts, or of one.
pub fn measure(table: &mut Table, effort: Effort, only: Option<&str>, seed: Option<u64>) {
    require("linkprobe");
    let mut rigs = Rigs::default();
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    let peers = peers::measure(table, &mut rigs, effort);
    if wanted("verdicts") {
        verdicts::plain(table, &mut rigs, effort, &peers);
    }
    if wanted("hard") {
        verdicts::hard(table, &mut rigs, effort);
    }
    if wanted("random") {
        verdicts::random(table, &mut rigs, effort, seed);
    }
    if wanted("bucket") {
        bucket::measure(table, &mut rigs, effort);
    }
    if wanted("day") {
        day::measure(table, &mut rigs, effort, &peers);
    }
    if wanted("measure") {
        estimate::measure(table, &mut rigs, effort);
    }
    if wanted("wide") {
        wide::measure(table, &mut rigs, effort);
    }
}

/// `1.23 MB`.
fn megabytes(bytes: f64) -> String {
    format!("{:.2} MB", bytes / 1e6)
}

/// `+3.1 %`: how far a rate is from the truth.
fn off(found: f64, truth: f64) -> String {
    format!("{:+.1} %", (found / truth - 1.0) * 100.0)
}

/// A count as a number to reckon with.
fn number(count: u64) -> f64 {
    count as f64
}
