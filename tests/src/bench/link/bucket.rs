//! A line that is faster than it is for as long as a bucket lasts: the longer check of each day has to
//! see through it, and the checks after it have to know.

use std::time::Duration;

use bastion_tests::wait::pause;

use super::super::Effort;
use super::super::report::{Row, Table};
use super::super::stats::Sample;
use super::peers::speedtest_cli;
use super::scene::{Scene, Server};
use super::verdicts::check_with;
use super::{Rigs, megabytes, number, off};

/// Options of three checks in a row: the first may be taken in.
const CHECKS: [&[&str]; 3] = [&[], &["--long"], &[]];

/// Lines that are too slow, and some that are not, each checked some times in a row.
pub fn measure(table: &mut Table, rigs: &mut Rigs, effort: Effort) {
    let full = effort == Effort::Full;
    let bursts: &[f64] = if full { &[0.5e6, 1e6, 2e6] } else { &[1e6] };
    let shares: &[f64] = if full { &[0.5, 0.8, 1.5] } else { &[0.8] };
    let (mut found, mut slow, mut false_ones, mut good) = (0, 0, 0, 0);
    let (mut bytes, mut missed, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for rtt_ms in [0.0, 50.0] {
        for (burst, share) in bursts.iter().flat_map(|burst| shares.iter().map(|s| (*burst, *s))) {
            let scene = Scene::new(10.0, share, Server::Defaults).rtt_ms(rtt_ms);
            let scene = Scene { burst: Some(burst), ..scene };
            let state = rigs.state();
            let rig = rigs.of(&scene);
            rig.set(&scene, "monthly-data = \"2 GB\"\n");
            let full_again = Duration::from_secs_f64(burst * 8.0 / scene.truth());
            let mut verdicts = Vec::new();
            for more in CHECKS {
                let checked = check_with(rig, &scene, &state, more);
                let json = checked.run.json();
                verdicts.push(json["verdict"].as_str().unwrap_or_default().to_owned());
                bytes.push(number(checked.run.bytes));
                pause(full_again);
            }
            let is_slow = verdicts.iter().any(|verdict| verdict == "slow");
            if share < 1.0 {
                slow += 1;
                let is_found = verdicts[1..].iter().all(|verdict| verdict == "slow");
                found += usize::from(is_found);
                if !is_found {
                    missed.push(format!("{}: {}", scene.words(), verdicts.join(", ")));
                }
            } else {
                good += 1;
                false_ones += usize::from(is_slow);
            }
            if share == 0.8 && rtt_ms == 0.0 && burst == 1e6 {
                let (_, read) = speedtest_cli(rig);
                let read = read.map_or("no reading".to_owned(), |read| off(read, scene.truth()));
                peer.push(format!("speedtest-cli {read} at 0.8x with 1 MB"));
            }
        }
    }
    let sample = Sample::new(bytes);
    let mut words = format!(
        "{found} of {slow} found by the longer check and known to the next; {false_ones} of {good} wide \
         ones called slow; the longer check at most {}",
        megabytes(sample.max())
    );
    if !missed.is_empty() {
        words += &format!("; missed: {}", missed.join("; "));
    }
    let row = Row::new("token buckets of 0.5 to 2 MB, 0.5x and 0.8x", &words, slow);
    let row = row.target("found by one longer check a day", found == slow && false_ones == 0);
    table.add(row.peer(&peer.join("; ")));
}
