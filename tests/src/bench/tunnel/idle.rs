//! What a tunnel takes while nothing happens: memory, time of a processor, and bytes on the line.

use std::fs;
use std::time::{Duration, Instant};

use bastion_tests::process::Daemon;
use bastion_tests::tunnel::Line;
use bastion_tests::wait::pause;

use super::super::sender::{cpu, field};
use super::keeper::Keeper;

/// What was taken.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Resident memory of who keeps the tunnel, in KiB. Its ssh comes on top, with all of them.
    pub kib: f64,
    /// Its ssh's.
    pub ssh_kib: f64,
    /// Seconds of a processor in an hour, its ssh's with them.
    pub cpu_s: f64,
    /// Bytes in a day, both ways, IP headers included.
    pub bytes: f64,
    /// How long it was watched, in seconds.
    pub watched_s: f64,
}

/// Watches a tunnel that is up.
pub fn watch(keeper: Keeper, time: Duration) -> Result<Idle, String> {
    let line = keeper.line()?;
    let run = line.run.as_ref().expect("it runs");
    line.router.sh(
        "nft add table ip bytes; nft add chain ip bytes f '{ type filter hook forward priority -2; }'
         nft add rule ip bytes f counter",
    );
    let ssh = outer_pid(run);
    let used = || cpu(run.pid()) + ssh.map_or(Duration::ZERO, cpu);
    let (begun, before, bytes_before) = (Instant::now(), used(), bytes(&line));
    pause(time);
    let (watched_s, used) = (begun.elapsed().as_secs_f64(), used().saturating_sub(before));
    let bytes = bytes(&line) - bytes_before;
    Ok(Idle {
        kib: field(run.pid(), "VmRSS"),
        ssh_kib: ssh.map_or(f64::NAN, |pid| field(pid, "VmRSS")),
        cpu_s: used.as_secs_f64() * 3600.0 / watched_s,
        bytes: bytes * 86_400.0 / watched_s,
        watched_s,
    })
}

/// Its ssh, by the process id that we see: its only child.
fn outer_pid(run: &Daemon) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", run.pid())).ok()?;
    let lists = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")));
    lists.flatten().find_map(|list| list.split_whitespace().next()?.parse().ok())
}

fn bytes(line: &Line) -> f64 {
    let list = line.router.sh("nft list table ip bytes");
    let number = list.split("bytes ").last().and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("nft counts bytes")
}
