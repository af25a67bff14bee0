//! A machine with two lines, and what is at the other end of each. What goes wrong with a line is done at
//! its gate.
//!
//! ```text
//!        a0 10.1.0.2 -- 10.1.0.1 gate of main     198.18.1.53  198.18.1.80:443  198.18.1.81:443
//! inside
//!        b0 10.2.0.2 -- 10.2.0.1 gate of backup   198.18.2.53  198.18.2.80:443  198.18.2.81:443
//! ```

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::{CONFIG, DEADLINE, Host, require};
use crate::process::{Daemon, Output};
use crate::tunnel::{Told, told, wire};
use crate::wait::wait_until;

/// Where linkprobe has what others may read.
const RUN: &str = "/run/linkprobe";

/// The names of the two, in the file.
pub const NAMES: [&str; 2] = ["main", "backup"];

/// What runs the rest of its arguments as linkprobe's user.
pub const AS_LINKPROBE: &[&str] = &[
    "setpriv",
    "--reuid=_linkprobe",
    "--regid=_linkprobe",
    "--groups=_bastion-drop",
    "--inh-caps=-all",
    "--no-new-privs",
    "--",
];

/// The machine, and its two gates.
pub struct Lines {
    /// `linkprobe watch`, when it runs.
    pub watch: Option<Daemon>,
    /// Who answers beyond the lines.
    _far: Vec<Daemon>,
    /// Has the lines.
    pub inside: Host,
    /// At the other end of each.
    pub gates: [Host; 2],
}

/// `[[link]]` of one of the two, with `more` keys.
#[must_use]
pub fn link(which: usize, more: &str) -> String {
    let (name, device, number) = (NAMES[which], ["a0", "b0"][which], which + 1);
    format!(
        "[[link]]\nname = \"{name}\"\ninterface = \"{device}\"\n\
         resolvers = [\"198.18.{number}.53\"]\n\
         targets = [\"198.18.{number}.80:443\", \"198.18.{number}.81:443\"]\n{more}\n"
    )
}

/// A whole file with both, each with `more` keys.
#[must_use]
pub fn both(more: &str) -> String {
    format!("[host]\nname = \"inside\"\n\n{}{}", link(0, more), link(1, more))
}

/// A whole file with the backup alone.
#[must_use]
pub fn backup(more: &str) -> String {
    format!("[host]\nname = \"inside\"\n\n{}", link(1, more))
}

impl Lines {
    /// Makes them; nothing is watched yet.
    #[must_use]
    pub fn new() -> Self {
        require("linkprobe");
        let (inside, gates) = (Host::new(), [Host::new(), Host::new()]);
        let mut far = Vec::new();
        for (which, gate) in gates.iter().enumerate() {
            let (number, cable) = (which + 1, ["a", "b"][which]);
            let (here, there) = (format!("10.{number}.0.2/24"), format!("10.{number}.0.1/24"));
            wire(&inside, &here, gate, &there, cable);
            route(&inside, which);
            // Or it would say for far addresses that they are on the cable.
            gate.sh("echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore");
            for host in [53, 80, 81] {
                gate.sh(&format!("ip address add 198.18.{number}.{host}/32 dev lo"));
            }
            gate.write("/run/far.py", include_str!("far.py"), 0o644);
            let far_of = |host: u8| format!("198.18.{number}.{host}");
            let targets = [80, 81].map(|host| format!("{}:443", far_of(host)));
            let gate_address = format!("10.{number}.0.1");
            far.push(gate.spawn(&[
                "python3",
                "/run/far.py",
                &far_of(53),
                &gate_address,
                "--",
                &targets[0],
                &targets[1],
            ]));
            assert!(wait_until(DEADLINE, || gate.listens(443)), "{}", far[which].output());
        }
        inside.sh(&format!(
            "install -d -o _linkprobe -g _linkprobe {RUN} /var/lib/linkprobe
             for of in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$of; done"
        ));
        Self { watch: None, _far: far, inside, gates }
    }

    /// The same with this file, and watched, each line up.
    #[must_use]
    pub fn up(config: &str) -> Self {
        let mut lines = Self::new();
        lines.inside.write_config(config);
        lines.start();
        for name in NAMES.iter().filter(|name| config.contains(&format!("name = \"{name}\""))) {
            lines.wait_up(name, true);
        }
        lines
    }

    /// Starts `linkprobe watch` as its unit does.
    pub fn start(&mut self) {
        self.start_on(&[]);
    }

    /// The same behind `environment`: words that run the rest of theirs.
    pub fn start_on(&mut self, environment: &[&str]) {
        let mut words = AS_LINKPROBE.to_vec();
        words.extend(environment);
        words.extend(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
        words.extend(["/artefacts/linkprobe", "--config", CONFIG, "--run-dir", RUN, "watch"]);
        self.watch = Some(self.inside.spawn(&words));
    }

    /// `linkprobe WORDS`, as anybody.
    #[must_use]
    pub fn linkprobe(&self, words: &[&str]) -> Output {
        let mut all = vec!["setpriv", "--reuid=alice", "--clear-groups", "--inh-caps=-all", "--"];
        all.extend(["/artefacts/linkprobe", "--config", CONFIG, "--run-dir", RUN]);
        all.extend(words);
        self.inside.run(&all)
    }

    /// What the state file says of a line.
    #[must_use]
    pub fn status(&self, name: &str) -> Value {
        let file = self.inside.read(&format!("{RUN}/status.json"));
        let book: Value = serde_json::from_str(&file).unwrap_or_default();
        book["links"][name].clone()
    }

    /// Waits until a line is up, or down; how long that took.
    pub fn wait_up(&self, name: &str, up: bool) -> Duration {
        let begun = Instant::now();
        self.wait_status(name, |status| status["up"] == up);
        begun.elapsed()
    }

    /// Waits until the state of a line is as wanted.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    pub fn wait_status(&self, name: &str, wanted: impl Fn(&Value) -> bool) {
        let came = wait_until(DEADLINE, || wanted(&self.status(name)));
        let output = self.watch.as_ref().map(Daemon::output).unwrap_or_default();
        assert!(came, "{name}: {:#}\n{output}\n{}", self.status(name), self.log());
    }

    /// Waits until `count` alerts are told, and answers the last.
    ///
    /// # Panics
    ///
    /// When they are not.
    #[must_use]
    pub fn wait_told(&self, count: usize) -> Told {
        let come = || told(&self.inside).len() >= count;
        assert!(wait_until(DEADLINE, come), "{:#?}\n{}", told(&self.inside), self.log());
        told(&self.inside).swap_remove(count - 1)
    }

    /// linkprobe's records.
    #[must_use]
    pub fn log(&self) -> String {
        let lines = self.inside.syslog_of("linkprobe");
        lines.iter().map(|line| format!("{} {}\n", line.at_us, line.text)).collect()
    }

    /// How many records with this event word there are.
    #[must_use]
    pub fn events(&self, word: &str) -> usize {
        self.inside.syslog_of("linkprobe").iter().filter(|line| line.event() == word).count()
    }

    /// How many events of a kind are in the spool: `back`, `tally`.
    #[must_use]
    pub fn spooled(&self, kind: &str) -> usize {
        let kind = format!("-{kind}-");
        self.inside.spool_files("drop").iter().filter(|(name, _)| name.contains(&kind)).count()
    }

    /// Ends `linkprobe watch` in peace.
    ///
    /// # Panics
    ///
    /// When it does not end so.
    pub fn stop(&mut self) {
        let mut watch = self.watch.take().expect("it runs");
        watch.signal(libc::SIGTERM);
        assert_eq!(watch.wait(DEADLINE), Some(0), "{}", self.log());
    }

    /// Lets nothing in at a gate that `rule` matches, in silence; an empty one is everything.
    pub fn drop_at(&self, which: usize, rule: &str) {
        self.gates[which].sh(&format!(
            "nft add table ip cut; nft add chain ip cut i '{{ type filter hook input priority 0; }}'
             nft add rule ip cut i {rule} drop"
        ));
    }

    /// Takes back what [`Self::drop_at`] did.
    pub fn mend(&self, which: usize) {
        self.gates[which].sh("nft delete table ip cut");
    }

    /// Gives a line its address and its route again, as DHCP does.
    pub fn address(&self, which: usize) {
        let (device, number) = (["a0", "b0"][which], which + 1);
        self.inside.sh(&format!(
            "ip address replace 10.{number}.0.2/24 dev {device}; ip link set {device} up"
        ));
        route(&self.inside, which);
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

/// The line's own way to everybody, behind that of the first.
fn route(inside: &Host, which: usize) {
    let (device, number, metric) = (["a0", "b0"][which], which + 1, [100, 700][which]);
    inside
        .sh(&format!("ip route replace default via 10.{number}.0.1 dev {device} metric {metric}"));
}
