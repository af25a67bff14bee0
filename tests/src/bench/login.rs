//! What a login pays: time in `pam_open_session`, by our line, by none and by peers' lines.

use super::Effort;
use super::probe::{Opened, Turns};
use super::report::{Row, Table};
use super::rig::{PERMIT, Rig, our_line, with};
use super::script;
use super::stats::{Sample, short};

/// Most that the median may be over `pam_permit`'s, in milliseconds: of sessions in a row, as the
/// peers' numbers that the target was set by. A processor that has been doing something else takes
/// longer for all of them, which the other rows tell.
const MOST_MS: f64 = 0.25;

/// Milliseconds of these sessions.
pub fn times(opened: &[Opened]) -> Sample {
    Sample::new(opened.iter().map(Opened::ms).collect())
}

/// How much longer the median of `ours` is.
pub fn added(ours: &Sample, permit: &Sample) -> f64 {
    ours.median() - permit.median()
}

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    let mut rig = Rig::for_logins();
    table.note("spool on", &rig.disk.words);
    let ours = with(&our_line());
    let [command, script] =
        [script::TRUE, &script::install(&rig.host, &rig.provider.url())].map(with);
    let peers = |command: &Sample, script: &Sample, permit: &Sample| {
        let [command, script] = [command, script].map(|peer| short(added(peer, permit)));
        format!(
            "pam_exec /bin/true {command} ms; pam_exec script + curl {script} ms (medians over pam_permit)"
        )
    };
    // The first of each is thrown away: what is read from the disk for the first time.
    let all = [PERMIT, &ours, &command, &script];
    rig.open(&all, &Turns::single(3, 10));

    // As the peers' numbers in facts/login.md were taken: one right after the other.
    rig.sender.iter().for_each(|sender| sender.stop());
    let in_a_row =
        |rounds, block| Turns { rounds: effort.times(rounds), block, ..Turns::single(0, 0) };
    let taken = rig.open(&[PERMIT, &ours], &in_a_row(20, 50));
    let [permit, ours_in_a_row] = [0, 1].map(|stack| times(&taken[stack]));
    let taken = rig.open(&[PERMIT, &command, &script], &in_a_row(10, 5));
    let peer = peers(&times(&taken[1]), &times(&taken[2]), &times(&taken[0]));
    let what = "pam_open_session, alerting login, over pam_permit, sessions in a row";
    let met = added(&ours_in_a_row, &permit) <= MOST_MS;
    table.add(row(what, &ours_in_a_row, &permit).target("median <= 0.25 ms", met).peer(&peer));

    rig = Rig::for_logins();
    script::install(&rig.host, &rig.provider.url());
    rig.open(&all, &Turns::single(3, 10));
    let taken = rig.open(&all, &Turns::single(effort.times(200), 10));
    let [permit, ours_alone, command, script] = [0, 1, 2, 3].map(|stack| times(&taken[stack]));
    let what = "the same, each login by itself: the processor has been doing something else, and the sender delivers";
    table.add(row(what, &ours_alone, &permit).peer(&peers(&command, &script, &permit)));
    rig.settle();

    let anew = Turns { anew: true, ..Turns::single(effort.times(200), 10) };
    let taken = rig.open(&[PERMIT, &ours], &anew);
    let [permit, ours_anew] = [0, 1].map(|stack| times(&taken[stack]));
    let what = "the same, and each in a new process, as in sshd: all of the module's pages are touched for the first time";
    table.add(row(what, &ours_anew, &permit));
}

/// A row that tells `ours` over `permit`.
pub fn row(what: &str, ours: &Sample, permit: &Sample) -> Row {
    let over = added(ours, permit);
    let (low, high) = ours.median_interval();
    let measured = format!(
        "median {} ms over pam_permit's {} (itself {} [{}..{}], p95 {}, p99 {}, most {})",
        short(over),
        short(permit.median()),
        short(ours.median()),
        short(low),
        short(high),
        short(ours.percentile(95)),
        short(ours.percentile(99)),
        short(ours.max()),
    );
    Row::new(what, &measured, ours.len())
        .figure("median_over_permit_ms", over)
        .figure("median_ms", ours.median())
        .figure("p95_ms", ours.percentile(95))
        .figure("p99_ms", ours.percentile(99))
        .figure("max_ms", ours.max())
        .figure("permit_median_ms", permit.median())
}
