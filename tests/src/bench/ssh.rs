//! `ssh host true`, all of it, with our line, without, and with a script: in turn, so that each
//! login is compared with those right before and after it.

use std::time::Duration;

use bastion_tests::host::{Host, UNKNOWN};
use bastion_tests::login::Stack;

use super::Effort;
use super::report::{Row, Table};
use super::rig::{PERMIT, Rig, with};
use super::script;
use super::stats::{Sample, short};

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    let mut rig = Rig::for_logins();
    rig.host.start_sshd();
    let script = with(&script::install(&rig.host, &rig.provider.url()));
    let stacks: [&dyn Fn(&Host); 4] = [
        &|host| host.set_stack(Stack::Bare),
        &|host| host.set_stack(Stack::Bastion),
        // Once more nothing: by how much equal logins differ is what can be seen at all.
        &|host| host.set_session(&format!("{PERMIT}\n")),
        &|host| host.set_session(&format!("{script}\n")),
    ];
    let rounds = effort.times(60);
    let mut taken: [Vec<f64>; 4] = Default::default();
    for round in 0..=rounds {
        for (set, taken) in stacks.iter().zip(&mut taken) {
            set(&rig.host);
            let output = rig.host.ssh(&["-b", UNKNOWN, "alice@jump", "true"]).ok();
            // The first of each reads programs from the disk.
            if round > 0 {
                taken.push(output.took.as_secs_f64() * 1e3);
            }
        }
    }
    let differences = |other: usize| {
        let pairs = taken[other].iter().zip(&taken[0]);
        Sample::new(pairs.map(|(with, without)| with - without).collect())
    };
    let words = |sample: &Sample| {
        let (low, high) = sample.median_interval();
        format!("{} [{}..{}] ms", short(sample.median()), short(low), short(high))
    };
    let [ours, nothing, script] = [1, 2, 3].map(differences);
    let measured = format!(
        "added, median of paired differences [95 %]: {}; noise (nothing against nothing): {}",
        words(&ours),
        words(&nothing)
    );
    let without = Sample::new(taken[0].clone());
    let plain = format!("{} ms", short(without.median()));
    table.add(
        Row::new(
            &format!("ssh host true, which takes {plain} without the line"),
            &measured,
            rounds,
        )
        .peer(&format!("pam_exec script + curl: {}", words(&script)))
        .figure("added_median_ms", ours.median())
        .figure("noise_median_ms", nothing.median())
        .figure("script_added_median_ms", script.median())
        .figure("plain_median_ms", without.median()),
    );
    let logins = rig.provider.wait_accepted(2 * (rounds + 1), Duration::from_secs(60)).len();
    assert_eq!(logins, 2 * (rounds + 1), "one message for each login of ours and the script's");
}
