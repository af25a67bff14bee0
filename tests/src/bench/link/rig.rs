//! The line at work: made as a scene has it, with the servers behind it, and one command at a time.

use std::time::{Duration, Instant};

use bastion_tests::host::CONFIG;
use bastion_tests::link::names::Names;
use bastion_tests::link::orders::{NameAct, NameOrder};
use bastion_tests::link::relay::Lag;
use bastion_tests::link::speed::{CA, Speed};
use bastion_tests::link::{Net, OTHER, RESOLVER, SPEED, Way};
use bastion_tests::process::Daemon;
use bastion_tests::wait::{pause, wait_until};
use serde_json::Value;

use super::once::Once;
use super::scene::Scene;

/// Longest time for a command: the longest, speedtest-cli, takes 12 s.
const MOST: Duration = Duration::from_secs(60);

/// When the line counts as still: nothing for so long. A queue of 400 ms is the longest that is drawn.
const STILL: Duration = Duration::from_millis(450);

/// A line and servers.
pub struct Rig {
    /// The machines. Their line is `line0`.
    pub net: Net,
    is_cable: bool,
    cross: Option<Daemon>,
    runs: u64,
    _names: Names,
    _servers: Vec<Daemon>,
    _speed: [Speed; 2],
}

/// A command that was run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// What it left and took.
    pub once: Once,
    /// Bytes that went over the line, both ways.
    pub bytes: u64,
    /// How well the relay kept time, if there is one.
    pub lag: Option<Lag>,
}

impl Run {
    /// Its last line of JSON; null when there is none.
    pub fn json(&self) -> Value {
        let last = self.once.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_default()
    }

    /// A number of its JSON.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.json()[key].as_f64()
    }

    /// Why it said nothing, for a person.
    pub fn why(&self) -> String {
        let last = self.once.stderr.lines().last().unwrap_or_default();
        format!("exit {:?} {last}", self.once.code).trim().to_owned()
    }

    /// Whether the machine was so busy that the relay was late by more than a line would be.
    pub fn machine_was_late(&self) -> bool {
        self.lag.is_some_and(|lag| lag.p99_ms > 5.0)
    }
}

impl Rig {
    /// A cable, or a line with a relay.
    pub fn new(is_cable: bool) -> Self {
        let net = Net::with(&[(!is_cable).then(|| Way::of_rtt_ms(0.0))]);
        let mut names = Names::start(&net);
        // In IPv6 less of the same line is payload: one truth is enough.
        for (name, address) in [
            ("speed.example.net", SPEED),
            ("speed.cloudflare.com", SPEED),
            ("www.speedtest.net", SPEED),
            ("other.example.net", OTHER),
        ] {
            let four = NameAct::Addresses(vec![address.parse().expect("an address")]);
            names.order(&NameOrder::new(four).name(name));
        }
        let speed = Speed::start_both(&net);
        net.internet.write("/etc/nginx.conf", NGINX, 0o644);
        net.internet.sh("mkdir -p /srv/www; truncate -s 2G /srv/www/file.bin");
        let servers = [&["nginx", "-c", "/etc/nginx.conf"][..], &["iperf3", "-s"]];
        let servers = servers.map(|words| net.internet.spawn(words)).into();
        let listens = |port: u16| {
            let table = format!("ss -Hltn sport = :{port} | grep -c .");
            net.internet.run(&["sh", "-c", &table]).code == Some(0)
        };
        for port in [8090, 5201] {
            assert!(wait_until(MOST, || listens(port)), "nobody listens at {port}");
        }
        Self {
            net,
            is_cable,
            cross: None,
            runs: 0,
            _names: names,
            _servers: servers,
            _speed: speed,
        }
    }

    /// Whether the scene is one for this rig.
    pub fn suits(&self, scene: &Scene) -> bool {
        self.is_cable == scene.rtt_ms.is_none()
    }

    /// Makes the line as the scene has it, and what is asked of it. `more` are further keys.
    pub fn set(&mut self, scene: &Scene, more: &str) {
        let line = &mut self.net.lines[0];
        if let Some(way) = scene.way(self.runs + 1) {
            line.way(way);
        }
        // As wide the other way, and no bucket there: what is tried is the download.
        let up = Scene { burst: None, cross: 0.0, ..scene.clone() };
        line.shape(Some(scene.shape()), Some(up.shape()));
        self.cross = None;
        if scene.cross > 0.0 {
            self.cross = Some(line.cross(&self.net.internet, scene.cross));
        }
        self.net.congestion(scene.congestion);
        self.config(scene, more);
    }

    /// Makes the line as wide as the machine can.
    pub fn widen(&mut self) {
        self.cross = None;
        self.net.lines[0].shape(None, None);
        self.net.congestion("cubic");
    }

    /// Writes what is asked of the line.
    pub fn config(&self, scene: &Scene, more: &str) {
        let (mbit, providers) = (scene.threshold / 1e6, scene.server.providers());
        self.net.home.write_config(&format!(
            "[host]\nname = \"home\"\n\n[[link]]\nname = \"backup\"\ninterface = \"line0\"\n\
             min-download = \"{mbit:.6} Mbit/s\"\nproviders = [{providers}]\n\
             resolvers = [\"{RESOLVER}\"]\nca-file = \"{CA}\"\n{more}"
        ));
    }

    /// Runs a command at home, and waits until the line is still.
    pub fn run(&mut self, words: &[&str]) -> Run {
        self.runs += 1;
        let line = &mut self.net.lines[0];
        let _ = line.lag();
        let before = line.count();
        let mut all = vec!["/rigs/bench", "once"];
        all.extend(words);
        let output = self.net.home.run_with(MOST, &all, b"");
        let once = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Once {
            stderr: format!("cut off after {MOST:?}: {}", output.errors()),
            ..Once::default()
        });
        self.still();
        let line = &mut self.net.lines[0];
        Run { once, bytes: line.count().since(before).all(), lag: line.lag() }
    }

    /// `linkprobe --config .. --state-dir .. WORDS`.
    pub fn linkprobe(&mut self, state: &str, words: &[&str]) -> Run {
        // As the unit has it made.
        std::fs::create_dir_all(self.net.home.path(state)).expect("a directory at home");
        let mut all = vec!["/artefacts/linkprobe", "--config", CONFIG, "--state-dir", state];
        all.extend(words);
        self.run(&all)
    }

    /// Waits until what was under way when a command ended has come: it is paid for.
    fn still(&self) {
        let line = &self.net.lines[0];
        let (mut last, mut since) = (line.count(), Instant::now());
        let end = Instant::now() + Duration::from_secs(5);
        while since.elapsed() < STILL && Instant::now() < end {
            pause(Duration::from_millis(50));
            let now = line.count();
            // A stray neighbour discovery is no transfer.
            if now.since(last).all() > 200 {
                (last, since) = (now, Instant::now());
            }
        }
    }
}

const NGINX: &str = "daemon off; user root; worker_processes 2; error_log /var/log/nginx.log; \
    pid /run/nginx.pid;\nevents { worker_connections 256; }\nhttp { access_log off; sendfile on; \
    client_body_temp_path /tmp; proxy_temp_path /tmp; fastcgi_temp_path /tmp; uwsgi_temp_path /tmp; \
    scgi_temp_path /tmp;\nserver { listen 8090; root /srv/www; } }\n";
