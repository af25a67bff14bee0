//! What a day of checks takes, a month of them, and a check that ends with the ISP.

use super::super::Effort;
use super::super::report::{Row, Table};
use super::super::stats::Sample;
use super::peers::{Peer, words_of};
use super::scene::{Scene, Server};
use super::verdicts::{Checked, check, check_with};
use super::{Rigs, megabytes, number};

/// Checks of a month, hourly, and its days.
const CHECKS: f64 = 729.6;
const DAYS: f64 = 30.4;

/// Adds the rows.
pub fn measure(table: &mut Table, rigs: &mut Rigs, effort: Effort, peers: &[Peer]) {
    wrong_line(table, rigs);
    let shares: &[f64] = if effort == Effort::Full { &[1.1, 2.0, 5.0, 30.0] } else { &[2.0] };
    let (mut words, mut months) = (Vec::new(), Vec::new());
    for share in shares {
        let scene = Scene::new(10.0, *share, Server::Defaults).rtt_ms(50.0);
        let state = rigs.state();
        let rig = rigs.of(&scene);
        // As it is by default: one of a day's checks is a longer one.
        rig.set(&scene, "monthly-data = \"2 GB\"\n");
        // A whole day of one line, as the checks come by themselves after the first; of the others
        // the longer one by order.
        let is_whole = effort == Effort::Full && *share == 2.0;
        let times = if is_whole { 26 } else { effort.times(40) };
        let mut runs: Vec<f64> = (0..times)
            .map(|_| check(rig, &scene, &state))
            .filter(Checked::has_verdict)
            .map(|one| number(one.run.bytes))
            .collect();
        if !is_whole {
            let long = check_with(rig, &scene, &state, &["--long"]);
            runs.extend(Some(number(long.run.bytes)).filter(|_| long.has_verdict()));
        }
        let last = runs.last().copied().unwrap_or(f64::NAN);
        let sample = Sample::new(runs);
        let usual = sample.median();
        let month = if is_whole {
            // Without the first two, as there were 24 between the longer one and the one before.
            (sample.sum() - 2.0 * usual) * DAYS
        } else {
            usual * (CHECKS - DAYS) + last * DAYS
        };
        months.push(month);
        words.push(format!(
            "x {share}: {:.2} GB ({} a check, the longer one {}{})",
            month / 1e9,
            megabytes(usual),
            megabytes(last),
            if is_whole { ", a whole day" } else { "" }
        ));
    }
    // What is no number sorts last, and is not met.
    let most = Sample::new(months).max();
    let row = Row::new("a month, hourly, RTT 50 ms", &words.join("; "), shares.len());
    let row = row.target("<= 1.5 GB", most <= 1.5e9).figure("bytes", most);
    let peer =
        words_of(peers, |_| true, |run| format!("{:.1} GB", number(run.bytes) * CHECKS / 1e9));
    table.add(row.peer(&peer));
}

/// A line of another ISP is known as such, and nothing is downloaded.
fn wrong_line(table: &mut Table, rigs: &mut Rigs) {
    let mut bytes = Vec::new();
    let mut wrong = Vec::new();
    for rtt_ms in [0.0, 50.0] {
        let scene = Scene::new(10.0, 2.0, Server::Defaults).rtt_ms(rtt_ms);
        let state = rigs.state();
        let rig = rigs.of(&scene);
        rig.set(&scene, "expect-asn = [3320]\nmonthly-data = \"2 GB\"\n");
        // The first knows nothing yet, the second may remember.
        for _ in 0..2 {
            let checked = check(rig, &scene, &state);
            let verdict = checked.run.json()["verdict"].as_str().unwrap_or_default().to_owned();
            if verdict != "wrong-isp" {
                wrong.push(format!("{verdict} {}", checked.run.why()));
            }
            bytes.push(number(checked.run.bytes));
        }
    }
    let sample = Sample::new(bytes);
    let mut words = format!(
        "median {:.1} kB, most {:.1} kB, reachability included",
        sample.median() / 1e3,
        sample.max() / 1e3
    );
    if !wrong.is_empty() {
        words += &format!("; not known as wrong: {}", wrong.join("; "));
    }
    let row = Row::new("bytes of a check that ends with the ISP", &words, sample.len());
    let met = sample.max() <= 1e4 && wrong.is_empty();
    table.add(row.target("<= 10 kB", met).figure("bytes", sample.max()));
}
