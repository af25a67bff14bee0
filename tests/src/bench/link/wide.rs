//! `linkprobe measure` on a cable that nothing narrows: as fast as curl, or it measures itself.

use bastion_tests::host::CONFIG;
use bastion_tests::link::RESOLVER;

use super::super::Effort;
use super::super::report::{Row, Table};
use super::super::stats::{Sample, short};
use super::peers::{curl, iperf3, speedtest_cli};
use super::scene::{Scene, Server};
use super::{Rigs, megabytes, number};

/// A file of nginx, of which curl takes half a gigabyte each time.
const FILE: &str = "http://other.example.net:8090/file.bin";
const BYTES: u64 = 500_000_000;

/// Adds the row: ours and curl in turn.
pub fn measure(table: &mut Table, rigs: &mut Rigs, effort: Effort) {
    let state = rigs.state();
    let rig = rigs.of(&Scene::new(10.0, 1.0, Server::Nginx));
    rig.widen();
    rig.net.home.write_config(&format!(
        "[host]\nname = \"home\"\n\n[[link]]\nname = \"backup\"\ninterface = \"line0\"\n\
         min-download = \"10 Mbit/s\"\nproviders = [\"url {FILE}\"]\n\
         resolvers = [\"{RESOLVER}\"]\nmonthly-data = \"900 GB\"\n"
    ));
    assert!(rig.net.home.path(CONFIG).exists());
    let (mut ours, mut theirs, mut bytes, mut why) =
        (Vec::new(), Vec::new(), Vec::new(), String::new());
    for _ in 0..if effort == Effort::Full { 5 } else { 2 } {
        let (_, read) = curl(rig, FILE, BYTES);
        theirs.push(read.unwrap_or(f64::NAN));
        let run = rig.linkprobe(&state, &["measure", "backup", "--json", "--no-upload"]);
        match run.number("download") {
            Some(read) => ours.push(read),
            None => why = run.why(),
        }
        bytes.push(number(run.bytes));
    }
    let (_, by_iperf) = iperf3(rig, "5");
    let (_, by_speedtest) = speedtest_cli(rig);
    let n = ours.len();
    let (ours, theirs) = (Sample::new(ours).median(), Sample::new(theirs).median());
    let gbit = |rate: f64| format!("{} Gbit/s", short(rate / 1e9));
    let share = ours / theirs;
    let words = if n > 0 {
        let bytes = megabytes(Sample::new(bytes).median());
        format!("median {}, {:.0} % of curl's; {bytes}", gbit(ours), share * 100.0)
    } else {
        why
    };
    let peer = format!(
        "curl {}, iperf3 {}, speedtest-cli {}",
        gbit(theirs),
        by_iperf.map_or("no reading".to_owned(), gbit),
        by_speedtest.map_or("no reading".to_owned(), gbit)
    );
    let row = Row::new("measure, a cable that nothing narrows", &words, n);
    // Several flows can have more of the cores than curl's one, and no more than there is.
    let most = by_iperf.unwrap_or(theirs).max(theirs) * 1.1;
    let row =
        row.target(">= 90 % of curl's rate, <= what iperf3 has", share >= 0.9 && ours <= most);
    table.add(row.figure("share", share).peer(&peer));
}
