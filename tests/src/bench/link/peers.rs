//! What people use today, on the same lines: speedtest-cli as the hourly script called it, iperf3 and
//! curl. What is asked of them is a verdict by what they read.

use super::super::Effort;
use super::super::report::{Row, Table};
use super::rig::{Rig, Run};
use super::scene::{Judged, Scene, Server, judge};
use super::{Rigs, megabytes, off};
use bastion_tests::link::SPEED;

/// The threshold of their rows, in Mbit/s.
const THRESHOLD: f64 = 10.0;

/// What speedtest-cli did on one line.
pub struct Peer {
    /// How many times the threshold the line has.
    pub share: f64,
    /// Of the run.
    pub run: Run,
}

/// Runs speedtest-cli, and answers what it read, in bit/s.
pub fn speedtest_cli(rig: &mut Rig) -> (Run, Option<f64>) {
    let run = rig.run(&["speedtest-cli", "--no-upload", "--json"]);
    let read = run.number("download");
    (run, read)
}

/// The same with iperf3, towards home.
pub fn iperf3(rig: &mut Rig, seconds: &str) -> (Run, Option<f64>) {
    let run = rig.run(&["iperf3", "--json", "--reverse", "-c", SPEED, "-t", seconds, "-O", "1"]);
    let json: serde_json::Value = serde_json::from_str(&run.once.stdout).unwrap_or_default();
    let read = json["end"]["sum_received"]["bits_per_second"].as_f64();
    (run, read)
}

/// The same with curl, of so many bytes.
pub fn curl(rig: &mut Rig, url: &str, bytes: u64) -> (Run, Option<f64>) {
    let range = format!("0-{}", bytes - 1);
    let run =
        rig.run(&["curl", "-sS", "-r", &range, "-o", "/dev/null", "-w", "%{speed_download}", url]);
    let read = run.once.stdout.parse::<f64>().ok().map(|bytes| bytes * 8.0);
    (run, read)
}

/// Asks iperf3 whether the lines are what they are said to be, and adds rows of what the peers do;
/// answers what speedtest-cli did, for the rows of ours.
pub fn measure(table: &mut Table, rigs: &mut Rigs, effort: Effort) -> Vec<Peer> {
    let shares: &[f64] = if effort == Effort::Full { &[0.5, 1.05, 2.0, 30.0] } else { &[2.0] };
    let scenes: Vec<Scene> = [0.0, 50.0]
        .iter()
        .flat_map(|rtt_ms| shares.iter().map(|share| (*rtt_ms, *share)))
        .map(|(rtt_ms, share)| Scene::new(THRESHOLD, share, Server::Defaults).rtt_ms(rtt_ms))
        .collect();
    let (mut peers, mut errors) = (Vec::new(), Vec::new());
    let (mut words, mut judged, mut most) = (Vec::new(), Vec::new(), 0.0_f64);
    for scene in &scenes {
        let rig = rigs.of(scene);
        rig.set(scene, "");
        let (_, read) = iperf3(rig, "5");
        errors.push(format!("{}: {}", scene.words(), reading(read, scene)));
        let error = read.map_or(f64::INFINITY, |read| (read / scene.truth() - 1.0).abs());
        most = most.max(error);
        if scene.rtt_ms.is_some() {
            continue;
        }
        let (run, read) = speedtest_cli(rig);
        let good = read.map(|read| if read >= scene.threshold { "good" } else { "slow" });
        judged.push(judge(good, scene.share) == Judged::Right);
        let bytes = megabytes(super::number(run.bytes));
        words.push(format!("x {}: {}, {bytes}", scene.share, reading(read, scene)));
        peers.push(Peer { share: scene.share, run });
    }
    let row = Row::new("iperf3 against the truth", &errors.join("; "), errors.len());
    table.add(row.figure("off", most));
    let right = judged.iter().filter(|right| **right).count();
    let measured = format!("{right} of {} right; {}", judged.len(), words.join("; "));
    table.add(Row::new("speedtest-cli at 10 Mbit/s x", &measured, judged.len()));
    peers
}

/// How far a reading is off, in words.
fn reading(read: Option<f64>, scene: &Scene) -> String {
    read.map_or_else(|| "no reading".to_owned(), |read| off(read, scene.truth()))
}

/// What speedtest-cli took, in words, on lines with such a share of the threshold.
pub fn words_of(
    peers: &[Peer],
    share: impl Fn(f64) -> bool,
    say: impl Fn(&Run) -> String,
) -> String {
    let words = peers.iter().filter(|peer| share(peer.share));
    let words: Vec<String> =
        words.map(|peer| format!("{} at x {}", say(&peer.run), peer.share)).collect();
    if words.is_empty() { String::new() } else { format!("speedtest-cli {}", words.join(", ")) }
}
