//! Memory that the module adds to the process it is loaded into: in `pamrun`, where it can be
//! seen to leave again, and in a real sshd.
//!
//! Both are told: resident memory (`VmRSS`, `Rss`) counts the pages of the module's file, which
//! the page cache has anyway and all sshd processes share; own memory (`RssAnon`, `Anonymous`)
//! is what each login really costs. The target is held against the larger.

use std::collections::BTreeMap;
use std::fs;

use bastion_tests::host::{DEADLINE, Host, UNKNOWN};
use bastion_tests::login::Stack;
use bastion_tests::pam::{Memory, PamRun, Report};
use bastion_tests::process::Daemon;
use bastion_tests::wait::wait_for;

use super::Effort;
use super::report::{Row, Table, mebibytes};
use super::rig::Rig;
use super::stats::Sample;

/// Most that may be added, in KiB.
const MOST_KIB: f64 = 512.0;

/// Own memory after `pam_end`, in KiB, that counts as none: what malloc keeps for the next who
/// asks. What is really left grows with each session; the heap's own ups and downs here are some
/// 40 KiB, so that less than 64 bytes a session cannot be told from none. `fuzz/memcheck` can.
const NONE_KIB: (f64, f64) = (32.0, 64.0);

/// Sessions in one process, for that.
const MANY: &str = "1000";

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    let mut rig = Rig::for_logins();
    in_pamrun(table, &rig.host, effort);
    rig.host.start_sshd();
    in_sshd(table, &rig.host, effort);
}

fn in_pamrun(table: &mut Table, host: &Host, effort: Effort) {
    let rounds = effort.times(20);
    let run = |login: &PamRun, rounds: usize| -> Vec<Report> {
        (0..rounds).map(|_| login.report(host, DEADLINE)).collect()
    };
    let login = PamRun::login("alice", UNKNOWN);
    let many = login.clone().with(&["--rounds", MANY]);
    let [ours, permit] = [login.clone(), login.without_module()].map(|login| run(&login, rounds));
    let [ours_many, permit_many] =
        [many.clone(), many.without_module()].map(|login| run(&login, effort.times(50) / 10 + 1));
    let (loaded, open): (Moment, Moment) =
        (|report| report.memory_before, |report| report.memory_after);
    for (moment, pick) in [("loaded", loaded), ("after open and close", open)] {
        let (own, resident) = added(&ours, &permit, pick);
        let measured = format!("own {}, resident {}", mebibytes(own), mebibytes(resident));
        let row = Row::new(&format!("memory added, pamrun, {moment}"), &measured, rounds)
            .figure("own_kib", own)
            .figure("resident_kib", resident);
        let met = own.max(resident) <= MOST_KIB;
        table.add(if moment == "loaded" { row } else { row.target("<= 0.5 MiB", met) });
    }
    let ended: Moment = |report| report.memory_ended;
    let (once, resident) = added(&ours, &permit, ended);
    let (many, _) = added(&ours_many, &permit_many, ended);
    let measured = format!(
        "own {once:.0} KiB after 1 session, {many:.0} KiB after {MANY}; resident {resident:.0} KiB",
    );
    let met = once <= NONE_KIB.0 && many - once <= NONE_KIB.1;
    table.add(
        Row::new("memory left, pamrun, after pam_end", &measured, rounds)
            .target("none (32 KiB that malloc keeps, no growth)", met)
            .figure("own_kib", once)
            .figure("own_kib_after_many", many),
    );
}

/// When in the life of `pamrun`.
type Moment = fn(&Report) -> Memory;

/// Own and resident memory that `ours` has more than `permit`: difference of the medians, in KiB.
fn added(ours: &[Report], permit: &[Report], moment: Moment) -> (f64, f64) {
    let median = |reports: &[Report], part: fn(Memory) -> u64| {
        let kib = |report| f64::from(u32::try_from(part(moment(report))).unwrap_or(u32::MAX));
        Sample::new(reports.iter().map(kib).collect()).median()
    };
    let difference = |part| median(ours, part) - median(permit, part);
    (difference(|memory| memory.own_kib), difference(|memory| memory.resident_kib))
}

fn in_sshd(table: &mut Table, host: &Host, effort: Effort) {
    let rounds = effort.times(15);
    let mut taken: [Vec<BTreeMap<String, f64>>; 2] = Default::default();
    for _ in 0..rounds {
        for (stack, taken) in [Stack::Bare, Stack::Bastion].into_iter().zip(&mut taken) {
            host.set_stack(stack);
            taken.push(of_a_login(host));
        }
    }
    let added = |field: &str| {
        let median = |all: &[BTreeMap<String, f64>]| {
            Sample::new(all.iter().map(|one| one.get(field).copied().unwrap_or(0.0)).collect())
                .median()
        };
        median(&taken[1]) - median(&taken[0])
    };
    let fields = ["Rss", "Pss", "Private_Dirty", "Anonymous"];
    let measured: Vec<String> =
        fields.iter().map(|field| format!("{field} {}", mebibytes(added(field)))).collect();
    let met = fields.iter().all(|field| added(field) <= MOST_KIB);
    let what = "memory added, real sshd's monitor process, session open (the process ends with it)";
    let row = Row::new(what, &measured.join(", "), rounds).target("<= 0.5 MiB", met);
    table.add(fields.iter().fold(row, |row, field| row.figure(field, added(field))));
}

/// `smaps_rollup` of the sshd process that holds the PAM session of a login, in KiB.
fn of_a_login(host: &Host) -> BTreeMap<String, f64> {
    let client = host.spawn(&[
        "ssh",
        "-F",
        "/root/ssh_config",
        "-b",
        UNKNOWN,
        "alice@jump",
        "echo in; exec sleep 1000",
    ]);
    wait_for("the login", DEADLINE, || client.output().contains("in\n").then_some(()));
    let sshd = host.sshd().map(Daemon::pid).expect("sshd runs");
    // "sshd: alice [priv]", or "sshd-session: ..." since OpenSSH 9.8.
    let monitor = children(sshd)
        .into_iter()
        .find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("[priv]"))
        })
        .expect("sshd has a monitor process for the login");
    let rollup = fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap_or_default();
    rollup
        .lines()
        .filter_map(|line| {
            let (field, rest) = line.split_once(':')?;
            let kib = rest.split_whitespace().next()?.parse().ok()?;
            Some((field.to_owned(), kib))
        })
        .collect()
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
