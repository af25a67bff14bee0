//! Three machines in a row: an internal host that keeps a tunnel, a router between, and a jump
//! host. What goes wrong between them is done on the router.
//!
//! ```text
//! internal 10.1.0.2 -- 10.1.0.1 router 10.2.0.1 -- 10.2.0.2 jump
//! ```

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::{CONFIG, DEADLINE, Host, require};
use crate::process::Daemon;
use crate::wait::{wait_for, wait_until};

/// The jump host's address.
pub const JUMP: &str = "10.2.0.2";

/// The ports that the tunnel may have on the jump host.
pub const PORTS: [u16; 2] = [2222, 2223];

/// Where the internal host's tunnelwatch has its state.
const RUN: &str = "/run/tunnelwatch";

/// `[[tunnel]]` as most tests have it.
pub const TUNNEL: &str = "[host]\nname = \"inside\"\n\n[[tunnel]]\nname = \"cloud\"\n\
    jump = \"tunnel@10.2.0.2\"\nidentity = \"/var/lib/tunnelwatch/id\"\n\
    known-hosts = \"/var/lib/tunnelwatch/known_hosts\"\nremote-ports = [2222, 2223]\n";

/// What runs the rest of its arguments as tunnelwatch's user.
pub const AS_TUNNELWATCH: &[&str] = &[
    "setpriv",
    "--reuid=_tunnelwatch",
    "--regid=_tunnelwatch",
    "--groups=_bastion-drop",
    "--inh-caps=-all",
    "--no-new-privs",
    "--",
];

/// The three machines.
pub struct Line {
    /// `tunnelwatch run`, when it runs.
    pub run: Option<Daemon>,
    /// Keeps the tunnel.
    pub inside: Host,
    /// Between the two.
    pub router: Host,
    /// What the tunnel leads to.
    pub jump: Host,
}

impl Line {
    /// Makes them, each with sshd, and nothing kept yet.
    ///
    /// # Panics
    ///
    /// When they cannot be made.
    #[must_use]
    pub fn new() -> Self {
        require("tunnelwatch");
        let (mut inside, router, mut jump) = (Host::new(), Host::new(), Host::new());
        wire(&inside, "10.1.0.2/24", &router, "10.1.0.1/24", "a");
        wire(&router, "10.2.0.1/24", &jump, "10.2.0.2/24", "b");
        inside.sh("ip route add default via 10.1.0.1");
        jump.sh("ip route add default via 10.2.0.1");
        router.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
        inside.write_config(TUNNEL);
        inside.start_sshd();
        jump.configure("http://127.0.0.1:9");
        jump.start_sshd();
        inside.sh(&format!(
            "install -d -o _tunnelwatch -g _tunnelwatch {RUN} /var/lib/tunnelwatch
             ssh-keygen -q -t ed25519 -N '' -C tunnelwatch -f /var/lib/tunnelwatch/id"
        ));
        let line = Self { run: None, inside, router, jump };
        line.authorize("");
        line.pin();
        line
    }

    /// The same, with the tunnel up. `more` are keys of the tunnel.
    #[must_use]
    pub fn up(more: &str) -> Self {
        let mut line = Self::new();
        line.inside.write_config(&format!("{TUNNEL}{more}"));
        line.start();
        line.wait_up(PORTS[0]);
        line
    }

    /// Lets the tunnel's key in on the jump host, with the options that the manual names and
    /// `command`.
    pub fn authorize(&self, command: &str) {
        let key = self.inside.read("/var/lib/tunnelwatch/id.pub");
        let ports: String = PORTS
            .map(|port| {
                format!(",permitlisten=\"127.0.0.1:{port}\",permitopen=\"127.0.0.1:{port}\"")
            })
            .concat();
        let command = if command.is_empty() { "/bin/false" } else { command };
        let line = format!("restrict,port-forwarding{ports},command=\"{command}\" {key}");
        self.jump.write("/home/tunnel/.ssh/authorized_keys", line, 0o644);
    }

    /// Puts the jump host's key, as it is now, into the tunnel's known_hosts.
    pub fn pin(&self) {
        let key = self.jump.read("/etc/ssh/ssh_host_ed25519_key.pub");
        let words: Vec<&str> = key.split(' ').take(2).collect();
        let line = format!("{JUMP} {}\n", words.join(" "));
        self.inside.write("/var/lib/tunnelwatch/known_hosts", line, 0o644);
        self.inside.sh("chown -R _tunnelwatch: /var/lib/tunnelwatch");
    }

    /// Starts `tunnelwatch run` as its unit does.
    pub fn start(&mut self) {
        let mut words = AS_TUNNELWATCH.to_vec();
        words.extend(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
        words.extend(["/artefacts/tunnelwatch", "--config", CONFIG, "--run-dir", RUN, "run"]);
        self.run = Some(self.inside.spawn(&words));
    }

    /// `tunnelwatch WORDS` on the internal host.
    #[must_use]
    pub fn tunnelwatch(&self, words: &[&str]) -> crate::process::Output {
        let mut all = AS_TUNNELWATCH.to_vec();
        all.extend(["/artefacts/tunnelwatch", "--config", CONFIG, "--run-dir", RUN]);
        all.extend(words);
        self.inside.run(&all)
    }

    /// What `status --json` says of the tunnel.
    #[must_use]
    pub fn status(&self) -> Value {
        let file = self.inside.read(&format!("{RUN}/status.json"));
        let book: Value = serde_json::from_str(&file).unwrap_or_default();
        book["tunnels"]["cloud"].clone()
    }

    /// Waits until tunnelwatch says that the tunnel is up on `port`.
    pub fn wait_up(&self, port: u16) {
        self.wait_status("the tunnel", DEADLINE, |status| {
            status["up"] == true && status["port"] == port
        });
    }

    /// Waits until the status is as wanted.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    pub fn wait_status(&self, what: &str, deadline: Duration, wanted: impl Fn(&Value) -> bool) {
        let came = wait_until(deadline, || wanted(&self.status()));
        let output = self.run.as_ref().map(Daemon::output).unwrap_or_default();
        assert!(came, "{what}: {}\n{output}\n{}", self.status(), self.log());
    }

    /// Whether an sshd answers on a port of the jump host's loopback, as people will use it.
    #[must_use]
    pub fn answers(&self, port: u16) -> bool {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; head -c 4 <&3");
        let seconds = Duration::from_secs(1);
        self.jump.run_with(seconds, &["bash", "-c", &script], b"").text() == "SSH-"
    }

    /// Waits until one of `ports` answers; how long that took.
    ///
    /// # Panics
    ///
    /// When none does within `most`.
    #[must_use]
    pub fn wait_answer(&self, ports: &[u16], most: Duration) -> Duration {
        let begun = Instant::now();
        let came = wait_until(most, || ports.iter().any(|port| self.answers(*port)));
        assert!(came, "no port answers after {most:?}: {}\n{}", self.status(), self.log());
        begun.elapsed()
    }

    /// tunnelwatch's records.
    #[must_use]
    pub fn log(&self) -> String {
        let lines = self.inside.syslog_of("tunnelwatch");
        lines.iter().map(|line| format!("{} {}\n", line.at_us, line.text)).collect()
    }

    /// How many records with this event word there are.
    #[must_use]
    pub fn events(&self, word: &str) -> usize {
        self.inside.syslog_of("tunnelwatch").iter().filter(|line| line.event() == word).count()
    }

    /// The alerts that are in the internal host's spool: kind, and status or text.
    #[must_use]
    pub fn alerts(&self) -> Vec<(String, String)> {
        let files = self.inside.spool_files("drop");
        let json = files.iter().filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok());
        let word = |what: &Value, key: &str| what[key].as_str().unwrap_or_default().to_owned();
        json.map(|event| {
            let what = &event["what"];
            let said = format!("{} {}", word(what, "status"), word(what, "text"));
            (word(what, "kind"), said.trim().to_owned())
        })
        .collect()
    }

    /// Lets no packet through the router, in silence.
    pub fn cut(&self) {
        self.router.sh("nft add table ip cut; nft add chain ip cut f '{ type filter hook forward priority 0; policy drop; }'");
    }

    /// Lets packets through again.
    pub fn mend(&self) {
        self.router.sh("nft delete table ip cut");
    }

    /// Forgets the connections that there are, as a router does that was given another address: their
    /// packets go nowhere, and new ones are as ever.
    pub fn forget_connections(&self) {
        let list = self.inside.sh("ss -Htn state established dst 10.2.0.2 | awk '{print $3}'");
        let ports = list.lines().filter_map(|address| address.rsplit(':').next());
        self.router.sh("nft add table ip lost; nft add chain ip lost f '{ type filter hook forward priority 0; }'");
        for port in ports {
            let rule = |side: &str| format!("nft add rule ip lost f tcp {side} {port} drop;");
            self.router.sh(&(rule("sport") + &rule("dport")));
        }
    }

    /// Begins to count the connections that are begun to the jump host: a SYN that the kernel repeats is
    /// none.
    pub fn count_connections(&self) {
        self.router.sh(
            "nft add table ip count; nft add chain ip count f '{ type filter hook forward priority -1; }'
             nft add set ip count begun '{ type inet_service; flags dynamic; size 65535; }'
             syn=\"ip daddr 10.2.0.2 tcp flags & (syn|ack) == syn\"
             nft add rule ip count f $syn tcp sport @begun return
             nft add rule ip count f $syn add @begun '{ tcp sport }' counter",
        );
    }

    /// How many connections were begun since [`Self::count_connections`].
    #[must_use]
    pub fn connections(&self) -> u64 {
        let list = self.router.sh("nft list table ip count");
        let number = list.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Kills the sessions of the tunnel's user on the jump host, with their kernel's side of the
    /// connection.
    pub fn kill_sessions(&self) {
        self.jump.sh("pkill -KILL -u tunnel || true");
    }

    /// Process id of the ssh that holds the tunnel, as the internal host sees it.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn ssh_pid(&self) -> u64 {
        wait_for("ssh to run", DEADLINE, || self.status()["ssh-pid"].as_u64())
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

/// Joins two machines by a cable.
fn wire(one: &Host, address: &str, two: &Host, other: &str, name: &str) {
    let ends = [format!("{name}0"), format!("{name}1")];
    let pids = [one.pid(), two.pid()].map(|pid| pid.to_string());
    let made = Command::new("ip")
        .args(["link", "add", &ends[0], "netns", &pids[0], "type", "veth"])
        .args(["peer", "name", &ends[1], "netns", &pids[1]])
        .output()
        .expect("ip(8) can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (host, end, address) in [(one, &ends[0], address), (two, &ends[1], other)] {
        host.sh(&format!("ip address add {address} dev {end}; ip link set {end} up"));
    }
}
