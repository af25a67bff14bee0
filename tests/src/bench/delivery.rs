//! From the login to the provider: time from just before `pam_open_session` until the request
//! for its message has arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Effort;
use super::probe::Turns;
use super::report::{Row, Table};
use super::rig::{Rig, our_line, with};
use super::stats::{Sample, short};

/// Most of it, median and 99th percentile, in milliseconds.
const MOST_MS: (f64, f64) = (50.0, 200.0);

/// Milliseconds between two logins: some times what an alert takes, so the sender is idle again.
const PAUSE_MS: u64 = 100;

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    for tls in [true, false] {
        let rig = Rig::for_alerts(tls);
        let ours = with(&our_line());
        rig.open(&[&ours], &Turns::single(3, PAUSE_MS));
        rig.settle();
        let before = rig.provider.accepted().len();
        let rounds = effort.times(250);
        let opened = rig.open(&[&ours], &Turns::single(rounds, PAUSE_MS)).remove(0);
        let messages = rig.provider.wait_accepted(before + rounds, Duration::from_secs(60));
        let arrived: BTreeMap<String, u64> = messages
            .iter()
            .skip(before)
            .filter_map(|message| {
                let (_, rest) = message.body().split_once("login ")?;
                Some((rest.split(' ').next()?.to_owned(), message.at_us))
            })
            .collect();
        let taken: Vec<f64> = opened
            .iter()
            .map(|login| {
                let at = arrived.get(&login.user).expect("each login is told, and names its user");
                Duration::from_micros(at.saturating_sub(login.at_us)).as_secs_f64() * 1e3
            })
            .collect();
        let taken = Sample::new(taken);
        let (p50, p99) = (taken.median(), taken.percentile(99));
        let how = if tls { "TLS" } else { "in clear" };
        let measured = format!(
            "p50 {}, p95 {}, p99 {}, most {} ms",
            short(p50),
            short(taken.percentile(95)),
            short(p99),
            short(taken.max())
        );
        let row = Row::new(
            &format!("session open to request at the provider, sender idle, {how}"),
            &measured,
            taken.len(),
        )
        .figure("p50_ms", p50)
        .figure("p99_ms", p99)
        .figure("max_ms", taken.max());
        let met = p50 <= MOST_MS.0 && p99 <= MOST_MS.1;
        table.add(if tls { row.target("p50 <= 50, p99 <= 200 ms", met) } else { row });
        if tls {
            table.note("spool on", &rig.disk.words);
        }
    }
}
