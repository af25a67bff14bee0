//! `linkprobe measure` on shaped lines: how far off, and for how many bytes, beside speedtest-cli on the
//! same line right after.

use super::super::Effort;
use super::super::report::{Row, Table};
use super::super::stats::Sample;
use super::peers::{iperf3, speedtest_cli};
use super::scene::{Scene, Server};
use super::verdicts::PLAIN;
use super::{Rigs, megabytes, number, off};

/// How far off it may be, and for what share of speedtest-cli's bytes.
const ERROR: f64 = 0.03;
const BYTES: f64 = 0.4;

/// Adds a row for each distance, and one for the upload.
pub fn measure(table: &mut Table, rigs: &mut Rigs, effort: Effort) {
    for rtt_ms in [0.0, 50.0] {
        let rates: &[f64] = match effort {
            Effort::Full => &[5.0, 20.0, 50.0, 100.0, 300.0],
            Effort::Quick => &[20.0],
        };
        row(table, rigs, rtt_ms, rates, if effort == Effort::Full { 3 } else { 1 });
    }
    upload(table, rigs);
}

/// A line of so many Mbit/s of frames, as lines are sold. What is asked of it does not matter here.
fn line(mbit: f64, rtt_ms: f64) -> Scene {
    let payload = mbit * bastion_tests::link::PAYLOAD;
    Scene::new(payload, 1.0, Server::Defaults).rtt_ms(rtt_ms)
}

fn row(table: &mut Table, rigs: &mut Rigs, rtt_ms: f64, rates: &[f64], times: usize) {
    let (mut errors, mut shares, mut words, mut peer) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut walls = Vec::new();
    for mbit in rates {
        let scene = line(*mbit, rtt_ms);
        let state = rigs.state();
        let rig = rigs.of(&scene);
        rig.set(&scene, PLAIN);
        let truth = scene.truth();
        let (theirs, read) = speedtest_cli(rig);
        let (_, by_iperf) = iperf3(rig, "5");
        let say = |read: Option<f64>| read.map_or("no reading".to_owned(), |read| off(read, truth));
        peer.push(format!(
            "{mbit}: speedtest-cli {}, {}; iperf3 {}",
            say(read),
            megabytes(number(theirs.bytes)),
            say(by_iperf)
        ));
        let mut found = Vec::new();
        for _ in 0..times {
            let run = rig.linkprobe(&state, &["measure", "backup", "--json", "--no-upload"]);
            let error = run.number("download").map(|read| read / truth - 1.0);
            errors.push(error.map_or(f64::INFINITY, f64::abs));
            let share = number(run.bytes) / number(theirs.bytes).max(1.0);
            shares.push(share);
            walls.push(run.once.wall_s);
            found.push(format!(
                "{}, {} ({:.0} %)",
                run.number("download").map_or_else(|| run.why(), |read| off(read, truth)),
                megabytes(number(run.bytes)),
                share * 100.0
            ));
            eprintln!("bench: measure {}: {}", scene.words(), found.last().map_or("", |f| f));
        }
        words.push(format!("{mbit}: {}", found.join(", ")));
    }
    let (errors, shares) = (Sample::new(errors), Sample::new(shares));
    let met = errors.max() <= ERROR && shares.max() <= BYTES;
    let what = format!("measure, Mbit/s, RTT {}", if rtt_ms > 0.0 { "50 ms" } else { "~0" });
    let wall = Sample::new(walls).median();
    let row = Row::new(&what, &format!("{}; median {wall:.1} s", words.join("; ")), errors.len());
    let row = row.target("error <= 3 %, bytes <= 40 % of speedtest-cli's", met);
    table.add(
        row.figure("error", errors.max()).figure("share", shares.max()).peer(&peer.join("; ")),
    );
}

/// The other way, on a line that is narrower that way.
fn upload(table: &mut Table, rigs: &mut Rigs) {
    let mut words = Vec::new();
    let mut errors = Vec::new();
    for rtt_ms in [0.0, 50.0] {
        let (down, up) = (line(50.0, rtt_ms), line(10.0, rtt_ms));
        let state = rigs.state();
        let rig = rigs.of(&down);
        rig.set(&down, PLAIN);
        rig.net.lines[0].shape(Some(down.shape()), Some(up.shape()));
        let run = rig.linkprobe(&state, &["measure", "backup", "--json", "--no-download"]);
        let read = run.number("upload");
        errors.push(read.map_or(f64::INFINITY, |read| (read / up.truth() - 1.0).abs()));
        words.push(format!(
            "RTT {rtt_ms}: {}, {}",
            read.map_or_else(|| run.why(), |read| off(read, up.truth())),
            megabytes(number(run.bytes))
        ));
    }
    let most = Sample::new(errors).max();
    let row = Row::new("measure, upload of 10 of 50/10 Mbit/s", &words.join("; "), words.len());
    table.add(row.target("error <= 3 %", most <= 0.03).figure("error", most));
}
