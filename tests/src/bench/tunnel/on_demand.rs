//! From the main line that dies to a tunnel that can be used, where the jump host has to be started first.

use std::time::{Duration, Instant};

use bastion_tests::host::{DEADLINE, require};
use bastion_tests::on_demand::OnDemand;
use bastion_tests::tunnel::PORTS;

use super::super::Effort;
use super::super::report::{Row, Table};
use super::super::stats::Sample;

/// How long the line has to be down, which is the administrator's to say.
const CONFIRM: Duration = Duration::from_secs(10);

/// What may come on top of that and of the boot.
const MORE_S: f64 = 10.0;

/// Measures and adds the row.
pub fn measure(table: &mut Table, effort: Effort) {
    require("linkprobe");
    let (boot, runs) = match effort {
        Effort::Full => (Duration::from_secs(20), 3),
        Effort::Quick => (Duration::from_secs(2), 1),
    };
    let times = Sample::new((0..runs).map(|_| once(boot).as_secs_f64()).collect());
    let worst = times.max();
    let most = boot.as_secs_f64() + CONFIRM.as_secs_f64() + MORE_S;
    let usual = times.median();
    let (boot_s, confirm_s) = (boot.as_secs(), CONFIRM.as_secs());
    let what = format!("jump host on demand: main line down to tunnel usable, {boot_s} s boot");
    let measured = format!("{usual:.1} s, at most {worst:.1} s (start-after {confirm_s} s)");
    let row = Row::new(&what, &measured, runs)
        .target(&format!("<= {most:.0} s"), worst <= most)
        .figure("usable_s", usual)
        .figure("worst_s", worst);
    table.add(row);
}

fn once(boot: Duration) -> Duration {
    let seconds = CONFIRM.as_secs();
    let mut all = OnDemand::new(&format!("start-after = \"{seconds}s\""));
    all.boot = boot;
    all.line.start();
    all.wait("off by plan", DEADLINE, OnDemand::rests);
    all.cut();
    let begun = Instant::now();
    all.wait("the tunnel", boot + CONFIRM + Duration::from_secs(60), |all| {
        all.line.inside.path("/var/lib/cloud/address").exists() && all.line.answers(PORTS[0])
    });
    begun.elapsed()
}
