//! A line's length: a process between two TUN devices that hands each packet on later, in order,
//! and loses some. The process itself is `src/bin/relay.rs`.

use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::{DEADLINE, Host, rigs};
use crate::process::Daemon;
use crate::wait::wait_for;

/// What becomes of packets on the way, alike in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// How long each takes at least, one way, in milliseconds.
    pub delay_ms: f64,
    /// How much longer at most; never so that one passes another.
    pub jitter_ms: f64,
    /// The share that never comes, 0 to 1.
    pub loss: f64,
    /// Which of them: the same seed loses the same.
    pub seed: u64,
}

impl Way {
    /// There and back in so many milliseconds.
    #[must_use]
    pub fn of_rtt_ms(rtt_ms: f64) -> Self {
        Self { delay_ms: rtt_ms / 2.0, jitter_ms: 0.0, loss: 0.0, seed: 1 }
    }

    /// With so much more at most, one way.
    #[must_use]
    pub fn jitter_ms(mut self, jitter_ms: f64) -> Self {
        self.jitter_ms = jitter_ms;
        self
    }

    /// With such a share lost, each way.
    #[must_use]
    pub fn loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    /// With another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// How well the relay kept time: what was late was the machine's fault.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Lag {
    /// Packets that it had, both ways.
    pub packets: u64,
    /// Those that it lost on purpose.
    pub lost: u64,
    /// Those that it lost because too many waited.
    pub dropped: u64,
    /// How much later than they ought to they left: half of them so much at most, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

/// A running relay.
pub(super) struct Relay {
    daemon: Daemon,
    said: usize,
}

impl Relay {
    /// Starts one, which makes a device in each of two machines.
    pub(super) fn start(near: (&Host, &str), far: (&Host, &str), way: Way) -> Self {
        // In a pid namespace that ends with the test, and with the real machine's /dev/net/tun.
        let pid = near.0.pid().to_string();
        let ends = [near, far].map(|(host, device)| format!("{}:{device}", host.pid()));
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--pid", "--"]).arg(rigs().join("relay")).args(ends);
        let daemon = Daemon::start(&mut command, &near.0.path("/var/log/relay"));
        let mut relay = Self { daemon, said: 0 };
        wait_for("the relay to begin", DEADLINE, || {
            relay.daemon.output().contains("ready\n").then_some(())
        });
        relay.set(way);
        relay
    }

    pub(super) fn set(&mut self, way: Way) {
        let _ = self.ask(&serde_json::to_string(&way).expect("numbers are JSON"));
    }

    pub(super) fn lag(&mut self) -> Lag {
        serde_json::from_str(&self.ask("lag")).expect("what the relay says")
    }

    /// Says a line, and answers what it is answered.
    fn ask(&mut self, line: &str) -> String {
        self.daemon.say(line);
        self.said += 1;
        wait_for("the relay to answer", Duration::from_secs(10), || {
            let output = self.daemon.output();
            let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole.lines().nth(self.said).map(str::to_owned)
        })
    }
}
