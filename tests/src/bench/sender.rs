//! What the sender takes while nothing happens, and for each alert.

use std::fs;
use std::time::{Duration, Instant};

use bastion_tests::process::Daemon;
use bastion_tests::wait::pause;

use super::Effort;
use super::probe::Turns;
use super::report::{Row, Table, mebibytes};
use super::rig::{Rig, our_line, with};
use super::send;
use super::stats::short;

/// Most memory, in KiB.
const MOST_KIB: f64 = 8.0 * 1024.0;

/// Most CPU time for an alert over TLS, in milliseconds.
const MOST_MS: f64 = 10.0;

/// Share of a core that counts as none: 1 ms in 20 s. It looks at its directory twice a minute.
const NO_SHARE: f64 = 0.00005;

/// How long it is watched doing nothing: longer than its own 30 s.
const IDLE: Duration = Duration::from_secs(65);

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    let rig = Rig::for_alerts(true);
    let sender = rig.sender.as_ref().expect("it has just been started");
    let idle = if effort == Effort::Full { IDLE } else { Duration::from_secs(3) };
    pause(Duration::from_secs(1));
    let (begun, before) = (Instant::now(), cpu(sender.pid()));
    pause(idle);
    let (used, time) = (cpu(sender.pid()).saturating_sub(before), begun.elapsed());
    let share = used.as_secs_f64() / time.as_secs_f64();
    let measured = format!(
        "{} ms in {} s ({} %)",
        short(used.as_secs_f64() * 1e3),
        time.as_secs(),
        short(share * 100.0)
    );
    let row = Row::new("sender, CPU when idle", &measured, 1).figure("share", share);
    table.add(row.target("0 (no more than 1 ms in 20 s)", share <= NO_SHARE));
    let fresh = memory(sender);

    let rounds = effort.times(100);
    let (before, ticks) = (cpu(sender.pid()), cpu_by_ticks(sender));
    rig.open(&[&with(&our_line())], &Turns::single(rounds, 50));
    rig.provider.wait_accepted(rounds, Duration::from_secs(60));
    rig.settle();
    let count = f64::from(u32::try_from(rounds).unwrap_or(u32::MAX));
    let each = (cpu(sender.pid()) - before).as_secs_f64() * 1e3 / count;
    let by_ticks = (cpu_by_ticks(sender) - ticks).as_secs_f64() * 1e3 / count;
    let used = memory(sender);

    let told = |(rss, own): (f64, f64)| format!("{} (own {})", mebibytes(rss), mebibytes(own));
    let row = Row::new("sender, RSS when idle, before its first alert", &told(fresh), 1);
    table.add(
        row.target("<= 8 MiB", fresh.0 <= MOST_KIB).figure("kib", fresh.0).peer(&nullmailer(&rig)),
    );
    let row = Row::new(&format!("sender, RSS after {rounds} alerts over TLS"), &told(used), 1);
    let row = row.figure("kib", used.0).figure("peak_kib", field(sender.pid(), "VmHWM"));
    table.add(row.target("<= 8 MiB", used.0 <= MOST_KIB));
    let measured = format!("{} ms (by clock ticks {} ms)", short(each), short(by_ticks));
    let row =
        Row::new("sender, CPU per alert over TLS, fsyncs and log included", &measured, rounds);
    table.add(
        row.target("<= 10 ms", each <= MOST_MS).figure("ms", each).figure("ticks_ms", by_ticks),
    );
}

/// Resident and own memory, in KiB.
fn memory(sender: &Daemon) -> (f64, f64) {
    (field(sender.pid(), "VmRSS"), field(sender.pid(), "RssAnon"))
}

/// A number of proc(5)'s `status` of a process, as `VmRSS`, in KiB.
pub fn field(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.expect("the process runs")
}

/// CPU time of all threads of a process, to the nanosecond (`schedstat`).
pub fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let of_task = |entry: fs::DirEntry| -> Option<Duration> {
        let stat = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    tasks.flatten().filter_map(of_task).sum()
}

/// The same in clock ticks of 10 ms, ended threads included (`utime` and `stime`).
fn cpu_by_ticks(sender: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", sender.pid())).expect("the sender runs");
    // The name in brackets may hold spaces; behind it, state is field 3, utime 14.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}

/// The peer's daemon, waiting for mail.
fn nullmailer(rig: &Rig) -> String {
    if let Err(why) = send::nullmailer(rig) {
        return format!("nullmailer-send absent: {why}");
    }
    let daemon = rig.host.spawn(&["nullmailer-send"]);
    pause(Duration::from_millis(500));
    format!("nullmailer-send {}, mail only", mebibytes(field(daemon.pid(), "VmRSS")))
}
