//! How soon an alert that was held up by an outage arrives, once the line is back.

use std::time::{Duration, Instant};

use bastion_tests::fault::{Act, Fault};
use bastion_tests::wait::pause;

use super::Effort;
use super::faults::{Faults, OUTAGE};
use super::probe::Turns;
use super::report::{Row, Table};
use super::rig::{Rig, our_line, with};
use super::stats::{Sample, short};

/// Longest wait for an alert after that.
const MOST: Duration = Duration::from_secs(90);

/// What an outage is, its beginning, and its end.
type Outage = (&'static str, fn(&mut Rig), fn(&mut Rig));

const OUTAGES: [Outage; 2] = [
    ("refused", |rig| rig.provider.fault(&Fault::new(Act::Refuse)), |rig| rig.provider.heal()),
    ("SYNs dropped", |rig| rig.drop_packets(), |rig| rig.pass_packets()),
];

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort, faults: &Faults) {
    let tries = if effort == Effort::Full { 3 } else { 1 };
    // Nearly all of it is waiting, so all kinds are waited for at once.
    let series = |(_, begin, end): Outage, kick: bool| -> Vec<f64> {
        (0..tries).map(|_| once(begin, end, kick, effort)).collect()
    };
    let taken: Vec<(bool, &str, Vec<f64>)> = std::thread::scope(|scope| {
        let kinds = [true, false].into_iter().flat_map(|kick| OUTAGES.map(|outage| (kick, outage)));
        let threads: Vec<_> = kinds
            .map(|(kick, outage)| (kick, outage.0, scope.spawn(move || series(outage, kick))))
            .collect();
        let taken = threads
            .into_iter()
            .map(|(kick, what, thread)| (kick, what, thread.join().expect("the messages arrive")));
        taken.collect()
    });
    for (kick, most) in [(true, 1.0), (false, 30.0)] {
        let of_kind = taken.iter().filter(|(kicked, _, _)| *kicked == kick);
        let (mut words, mut all) = (Vec::new(), Vec::new());
        for (_, what, taken) in of_kind {
            let listed: Vec<String> = taken.iter().map(|seconds| short(*seconds)).collect();
            words.push(format!("{what} {} s", listed.join(", ")));
            all.extend(taken);
        }
        let all = Sample::new(all);
        let how = if kick { "with a kick (SIGUSR1)" } else { "without a kick" };
        let what = format!("arrival after an outage of {} s, {how}", outage(effort).as_secs());
        let row = Row::new(&what, &words.join("; "), all.len());
        let row = row.target(&format!("each <= {most} s"), all.max() <= most);
        let row = row.figure("max_s", all.max());
        // Nobody can tell the peers that the line is back: it is the same for both.
        table.add(if kick { row.peer(&faults.arrival_of_peers()) } else { row });
    }
}

fn outage(effort: Effort) -> Duration {
    if effort == Effort::Full { OUTAGE } else { OUTAGE / 5 }
}

/// One outage, one login in its first second; answers how many seconds after its end the
/// message was at the provider.
fn once(begin: fn(&mut Rig), end: fn(&mut Rig), kick: bool, effort: Effort) -> f64 {
    let mut rig = Rig::for_alerts(true);
    begin(&mut rig);
    rig.open(&[&with(&our_line())], &Turns::single(1, 0));
    pause(outage(effort));
    assert!(rig.provider.accepted().is_empty(), "this is no outage");
    end(&mut rig);
    let healed = Instant::now();
    if kick {
        rig.sender.as_ref().expect("it runs").signal(libc::SIGUSR1);
    }
    rig.provider.wait_accepted(1, MOST);
    healed.elapsed().as_secs_f64()
}
