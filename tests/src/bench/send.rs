//! `bastion send`, what a script waits for, beside other ways to get a text out of its hands.

use std::time::Duration;

use bastion_tests::host::CONFIG;

use super::Effort;
use super::nullmailer;
use super::probe::run_spawn;
use super::report::{Row, Table, mebibytes};
use super::rig::Rig;
use super::script;
use super::stats::{Sample, short};

/// Most time, in milliseconds, and memory, in KiB.
const MOST: (f64, f64) = (5.0, 4096.0);

/// What is sent: to nullmailer it is a mail, to the others a text.
const TEXT: &str = "To: admin@example.net\nSubject: disk\n\nthe disk is full\n";

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    let rig = Rig::for_alerts(false);
    let curl = script::curl(&rig.provider.url(), "the disk is full");
    let mut commands: Vec<(&str, Vec<&str>)> = vec![
        ("bastion send", vec!["/artefacts/bastion", "send", "--config", CONFIG]),
        ("/bin/true", vec!["/bin/true"]),
        ("sh -c curl, in clear", vec!["/bin/sh", "-c", &curl]),
    ];
    let absent = match nullmailer(&rig) {
        Ok(()) => {
            commands.push(("nullmailer-inject", vec!["/usr/bin/env", "nullmailer-inject"]));
            String::new()
        }
        Err(why) => format!("; nullmailer-inject absent: {why}"),
    };
    let words: Vec<&[&str]> = commands.iter().map(|(_, words)| words.as_slice()).collect();
    run_spawn(&rig.host, &words, 3, TEXT);
    let spawned = run_spawn(&rig.host, &words, effort.times(200), TEXT);
    let taken: Vec<Sample> = spawned
        .took_ns
        .iter()
        .map(|all| {
            Sample::new(
                all.iter().map(|ns| Duration::from_nanos(*ns).as_secs_f64() * 1e3).collect(),
            )
        })
        .collect();
    // Memory by itself: of several commands only the largest is known.
    let largest: Vec<f64> = words
        .iter()
        .map(|words| {
            let spawned = run_spawn(&rig.host, &[words], 5, TEXT);
            f64::from(u32::try_from(spawned.largest_kib).unwrap_or(u32::MAX))
        })
        .collect();
    let own = f64::from(u32::try_from(spawned.own_kib).unwrap_or(u32::MAX));

    let peers = |value: &dyn Fn(usize) -> String| {
        let all: Vec<String> =
            (1..commands.len()).map(|at| format!("{} {}", commands[at].0, value(at))).collect();
        format!("{}{absent}", all.join("; "))
    };
    let wall = taken[0].median();
    let row =
        Row::new("bastion send, wall, fsync included", &taken[0].in_words("ms"), taken[0].len());
    table.add(
        row.target("<= 5 ms", wall <= MOST.0)
            .peer(&peers(&|at| format!("{} ms", short(taken[at].median()))))
            .figure("median_ms", wall)
            .figure("p99_ms", taken[0].percentile(99)),
    );
    // What is no larger than its parent cannot be told from it.
    let told =
        |kib: f64| if kib <= own { format!("<= {}", mebibytes(own)) } else { mebibytes(kib) };
    let row = Row::new("bastion send, RSS, largest of 5", &told(largest[0]), 5);
    table.add(
        row.target("<= 4 MiB", largest[0] <= MOST.1)
            .peer(&peers(&|at| told(largest[at])))
            .figure("kib", largest[0]),
    );
    rig.settle();
}

/// nullmailer in the machine, its queue on the same disk as ours.
pub fn nullmailer(rig: &Rig) -> Result<(), String> {
    nullmailer::install(&rig.host)?;
    nullmailer::configure(&rig.host, 25);
    rig.disk.bind(&rig.host, nullmailer::SPOOL);
    let inject =
        rig.host.run_with(Duration::from_secs(10), &["nullmailer-inject"], TEXT.as_bytes());
    if nullmailer::count(&rig.host, "queue") == 0 {
        return Err(format!("it queues nothing: {}", inject.errors()));
    }
    Ok(())
}
