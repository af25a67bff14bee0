//! `bastion drill`: all well where all is well, and each part that does not work is named, with what to do; its key is
//! gone after it, whatever happens.

use bastion_tests::doctor::{BASTION, check, findings, ids};
use bastion_tests::drill::{DRILL, KEYS, MOST, Rig, part};
use bastion_tests::host::DEADLINE;
use bastion_tests::wait::wait_until;

#[test]
fn a_host_on_which_all_is_well_passes_and_says_so_part_by_part() {
    let rig = Rig::new(DRILL);
    let before = rig.line.inside.read(KEYS);
    let output = rig.drill(&[]);
    let text = output.text();
    println!("{text}took {:?}", output.took);
    assert_eq!(output.code, Some(0), "{text}\n{}", output.errors());
    assert!(text.starts_with("OK: "), "{text}");
    assert!(output.took < MOST, "{:?}", output.took);
    for part in [
        "ok       channel sms",
        "ok       tunnel cloud",
        "ok       login cloud",
        "ok       host",
        "ok       disk",
    ] {
        assert_eq!(text.lines().filter(|line| line.starts_with(part)).count(), 1, "{part}: {text}");
    }
    assert_eq!(rig.line.inside.read(KEYS), before, "the file of keys is as it was");
    rig.nothing_is_left();
    // One message for the channel, and one for the login, which says what it was, and nothing is new.
    let told = rig.told();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().any(|text| text.contains("drill: alerts get out this way")), "{told:#?}");
    let login = told.iter().find(|text| text.contains("login alice")).expect("the login's alert");
    assert!(login.contains("via tunnel, key bastion drill") && !login.contains("NEW"), "{login}");
    // The tunnel was left alone.
    assert_eq!(rig.line.events("ssh-ended"), 0, "{}", rig.line.log());
}
