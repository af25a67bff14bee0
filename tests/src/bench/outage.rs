//! What a login pays when something around it is broken: the same as ever, that is the point.

use std::time::Duration;

use super::Effort;
use super::login::{added, row, times};
use super::probe::Turns;
use super::report::Table;
use super::rig::{PERMIT, Rig, our_line, with};
use super::script;

/// Most that the median may be over `pam_permit`'s, in milliseconds.
const MOST_MS: f64 = 1.0;

/// When a peer that hangs is cut off.
const CUT: Duration = Duration::from_secs(10);

/// What is broken, and how.
type Breakage = (&'static str, fn(&mut Rig));

const BREAKAGES: [Breakage; 6] = [
    ("provider black-holed (SYNs dropped)", |rig| rig.drop_packets()),
    ("sender stopped (SIGSTOP)", |rig| rig.sender.iter().for_each(|sender| sender.stop())),
    ("sender absent", |rig| rig.sender = None),
    ("/dev/log wedged", |rig| rig.host.wedge_syslog()),
    ("/dev/log absent", |rig| rig.host.remove_syslog()),
    ("provider black-holed, sender stopped, /dev/log wedged, all at once", |rig| {
        rig.drop_packets();
        rig.sender.iter().for_each(|sender| sender.stop());
        rig.host.wedge_syslog();
    }),
];

/// Measures and adds the rows.
pub fn measure(table: &mut Table, effort: Effort) {
    let ours = with(&our_line());
    let peer = curl_in_a_black_hole(effort);
    for (number, (what, breaks)) in BREAKAGES.into_iter().enumerate() {
        let mut rig = Rig::for_logins();
        rig.open(&[PERMIT, &ours], &Turns::single(3, 5));
        breaks(&mut rig);
        let taken = rig.open(&[PERMIT, &ours], &Turns::single(effort.times(200), 10));
        let [permit, ours] = [0, 1].map(|stack| times(&taken[stack]));
        let met = added(&ours, &permit) <= MOST_MS;
        let row = row(&format!("pam_open_session, {what}"), &ours, &permit);
        let row = row.target("median <= 1 ms", met);
        table.add(if number == 0 { row.peer(&peer) } else { row });
        kept(&rig);
    }
}

/// However it was broken, no alert is lost: each is in the spool or with the provider.
fn kept(rig: &Rig) {
    let spooled = ["drop", "queue", "sent"].map(|room| {
        let files = rig.host.spool_files(room);
        files
            .iter()
            .filter(|(name, _)| name.contains("-login-") && !name.ends_with(".state"))
            .count()
    });
    assert!(spooled.iter().sum::<usize>() > 0, "no alert is in the spool");
}

/// Opens sessions by the script with curl while the provider is black-holed; answers what
/// became of them.
fn curl_in_a_black_hole(effort: Effort) -> String {
    let rig = Rig::for_logins();
    let line = with(&script::install(&rig.host, &rig.provider.url()));
    rig.drop_packets();
    let tries = if effort == Effort::Full { 2 } else { 1 };
    let words = ["/rigs/bench", "open", "--rounds", "1", "--stack", &line];
    let cut = (0..tries).filter(|_| rig.host.run_with(CUT, &words, b"").cut_off()).count();
    let seconds = CUT.as_secs();
    format!("pam_exec script + curl: {cut} of {tries} still hung when cut off after {seconds} s")
}
