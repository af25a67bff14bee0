//! The lines of the table: what was measured in words, beside its target and the peers.

use std::time::Duration;

use super::super::Effort;
use super::super::report::{Row, Table, mebibytes};
use super::super::stats::{Sample, short};
use super::fault::Ended;
use super::idle::Idle;
use super::keeper::Keeper;
use super::{Measured, OURS, SPECS, Spec, Target};

/// Adds all of them.
pub fn add(table: &mut Table, measured: &[Measured], effort: Effort, cap: Duration) {
    for (number, spec) in SPECS.iter().enumerate() {
        let of = |wanted: Keeper| -> Result<Vec<&Ended>, &str> {
            let all = measured.iter().filter_map(|one| match one {
                Measured::Fault { spec, keeper, ended } if (*spec, *keeper) == (number, wanted) => {
                    Some(ended.as_ref().map_err(String::as_str))
                }
                _ => None,
            });
            all.collect()
        };
        let ours = of(spec.ours).unwrap_or_default();
        let what = match spec.lasts(effort, spec.ours).as_secs() {
            0 => spec.what.to_owned(),
            seconds => format!("{}, {seconds} s", spec.what),
        };
        let peers = Keeper::PEERS.map(|peer| match of(peer) {
            Ok(ended) if ended.is_empty() => None,
            Ok(ended) => Some(format!("{} {}", peer.name(), of_peer(spec, &ended, cap))),
            Err(why) => Some(format!("{} absent: {why}", peer.name())),
        });
        let peers: Vec<String> = peers.into_iter().flatten().collect();
        table.add(of_ours(spec, &what, &ours).peer(&peers.join("; ")));
    }
    idle(table, measured);
}

/// A row of tunnelwatch's, without peers.
fn of_ours(spec: &Spec, what: &str, ended: &[&Ended]) -> Row {
    let median = |pick: fn(&Ended) -> Option<f64>| sample(ended, pick).median();
    let most = |pick: fn(&Ended) -> Option<f64>| sample(ended, pick).max();
    let (back, home) = (median(|e| e.back_s), median(|e| e.home_s));
    let (noticed, alert) = (most(|e| e.noticed_s), most(|e| e.alert_s));
    let tries = most(|e| Some(a_minute(e)));
    let alone = ended.iter().all(|e| e.tries == 0 && e.same_ssh);
    let (first, later) =
        (ended.iter().map(|e| e.tries), ended.iter().filter_map(|e| e.later_tries));
    let (first, later) = (first.max(), later.max());
    let times = |name: &str, pick: fn(&Ended) -> Option<f64>| {
        format!("{name} {}", listed(ended, pick, OURS))
    };
    let usable = times("usable", |e| e.back_s);
    let seen = times("noticed", |e| e.noticed_s);
    let told = times("alert", |e| e.alert_s);
    let a_minute = format!("{} tries a minute", short(tries));
    let (target, met, words) = match spec.target {
        Target::None => (None, true, vec![seen, usable]),
        Target::Back(s) => (Some(format!("<= {s} s")), back <= s, vec![usable, tried(ended)]),
        Target::BackAndTries(s, n) => (
            Some(format!("<= {s} s, <= {n} tries a minute")),
            back <= s && tries <= n,
            vec![usable, a_minute],
        ),
        Target::BackAndNoticed(s, n) => (
            Some(format!("noticed <= {n} s, usable <= {s} s")),
            back <= s && noticed <= n,
            vec![seen, usable],
        ),
        Target::All(s, n, m) => (
            Some(format!("refused <= {n} s, usable <= {s} s, <= {m} tries a minute")),
            back <= s && noticed <= n && tries <= m,
            vec![times("refused", |e| e.noticed_s), usable, a_minute],
        ),
        Target::Home(s) => (
            Some(format!("<= {s} s on the first port")),
            home <= s,
            vec![times("first port", |e| e.home_s), times("any port", |e| e.back_s), seen],
        ),
        Target::AlertAlone(s) => (
            Some(format!("alert <= {s} s, no reconnect")),
            alert <= s && alone,
            vec![told, tried(ended), usable],
        ),
        Target::AlertAndTries(s, n) => (
            Some(format!("alert <= {s} s, <= {n} tries a minute")),
            alert <= s && tries <= n,
            vec![told, a_minute],
        ),
        Target::Tries(n, m) => (
            Some(format!("<= {n} tries in the first minute, then 1 in 10 min")),
            first.is_some_and(|first| first <= n) && later.is_some_and(|later| later <= m),
            vec![
                tried(ended),
                format!("then {} in 2 min", later.unwrap_or(0)),
                times("with the key back and `retry`, usable", |e| e.back_s),
            ],
        ),
    };
    let mut row = Row::new(what, &words.join("; "), ended.len());
    for (name, value) in [("back_s", back), ("noticed_s", noticed), ("alert_s", alert)] {
        if value.is_finite() {
            row = row.figure(name, value);
        }
    }
    row = row.figure("tries_a_minute", tries);
    match target {
        Some(target) => row.target(&target, met && !ended.is_empty()),
        None => row,
    }
}

/// What a peer does at the same fault.
fn of_peer(spec: &Spec, ended: &[&Ended], cap: Duration) -> String {
    match spec.target {
        Target::AlertAlone(_) => format!(
            "silent, {}, usable {} after the end",
            tried(ended),
            listed(ended, |e| e.back_s, cap)
        ),
        Target::AlertAndTries(..) => {
            format!("silent, {} tries a minute", short(a_minute(ended[0])))
        }
        _ => format!("{}, {}", listed(ended, |e| e.back_s, cap), tried(ended)),
    }
}

/// Seconds of each run, or that it was not within what was waited.
fn listed(ended: &[&Ended], pick: fn(&Ended) -> Option<f64>, most: Duration) -> String {
    let sample = sample(ended, pick);
    let word = |seconds: f64| match seconds.is_finite() {
        true => format!("{} s", short(seconds)),
        false => format!("> {} s", most.as_secs()),
    };
    match sample.len() {
        0 => "?".to_owned(),
        1 => word(sample.median()),
        _ => format!(
            "{} ({} to {})",
            word(sample.median()),
            word(sample.percentile(0)),
            word(sample.max())
        ),
    }
}

fn sample(ended: &[&Ended], pick: fn(&Ended) -> Option<f64>) -> Sample {
    Sample::new(ended.iter().map(|ended| pick(ended).unwrap_or(f64::INFINITY)).collect())
}

fn a_minute(ended: &Ended) -> f64 {
    // A fault that was over within seconds says nothing about a minute.
    whole(ended.tries) * 60.0 / ended.tried_s.max(60.0)
}

/// `9 tries`, the median of several runs.
fn tried(ended: &[&Ended]) -> String {
    let tries = Sample::new(ended.iter().map(|ended| whole(ended.tries)).collect()).median();
    format!("{tries} {}", if tries == 1.0 { "try" } else { "tries" })
}

fn whole(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What it takes while nothing happens.
fn idle(table: &mut Table, measured: &[Measured]) {
    let of = |wanted: Keeper| {
        measured.iter().find_map(|one| match one {
            Measured::Idle { keeper, idle } if *keeper == wanted => Some(idle),
            _ => None,
        })
    };
    let peers = |words: fn(&Idle) -> String| {
        let word = |peer: Keeper| match of(peer)? {
            Ok(idle) => Some(format!("{} {}", peer.name(), words(idle))),
            Err(why) => Some(format!("{} absent: {why}", peer.name())),
        };
        Keeper::PEERS.into_iter().filter_map(word).collect::<Vec<_>>().join("; ")
    };
    let megabytes = |idle: &Idle| format!("{} MB", short(idle.bytes / 1e6));
    let watched = |idle: &Idle| format!("{} (in {:.0} s)", megabytes(idle), idle.watched_s);
    if let Some(Ok(ours)) = of(Keeper::Ours) {
        let words = format!("{}; its ssh {}", mebibytes(ours.kib), mebibytes(ours.ssh_kib));
        let row = Row::new("RSS when idle", &words, 1).figure("kib", ours.kib);
        table.add(row.target("<= 4 MiB", ours.kib <= 4096.0).peer(&peers(|i| mebibytes(i.kib))));
        let cpu = |idle: &Idle| format!("{} s", short(idle.cpu_s));
        let row = Row::new("CPU in an hour when idle, ssh's included", &cpu(ours), 1);
        let row = row.figure("s", ours.cpu_s).target("<= 1 s", ours.cpu_s <= 1.0);
        table.add(row.peer(&peers(|idle| format!("{} s", short(idle.cpu_s)))));
        let row = Row::new("bytes a day when idle", &watched(ours), 1).figure("bytes", ours.bytes);
        let row = row.target("<= 6 MB", ours.bytes <= 6e6);
        table.add(row.peer(&peers(|idle| format!("{} MB", short(idle.bytes / 1e6)))));
    }
    if let Some(Ok(ours)) = of(Keeper::Metered) {
        let row = Row::new("the same, metered", &watched(ours), 1).figure("bytes", ours.bytes);
        table.add(row.target("<= 1 MB", ours.bytes <= 1e6));
    }
}
