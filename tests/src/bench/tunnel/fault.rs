//! What goes wrong with a tunnel: the faults of the table, how each is done, and what is measured of it.

use std::time::{Duration, Instant};

use bastion_tests::tunnel::{Line, PORTS};
use bastion_tests::wait::{pause, wait_until};

use super::super::case::{now_us, seconds};
use super::keeper::Keeper;
use super::port::{Prober, take};
use super::power;

/// Time between two looks at what tunnelwatch says.
const STEP: Duration = Duration::from_millis(50);

/// Gives this host the address that comes after its own.
const NEXT_ADDRESS: &str = "old=$(ip -4 -o address show dev a0 | awk '{print $4}')
    number=${old%/*} number=${number##*.}
    ip address delete $old dev a0
    ip address add 10.1.0.$((number + 1))/24 dev a0
    ip route add default via 10.1.0.1";

/// A fault, by the table's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// F1: ssh is killed.
    SshKilled,
    /// F2: the session on the jump host is killed.
    SessionKilled,
    /// F3: no packet passes, in silence.
    Hole,
    /// F4: another address, given by something on the way: this host sees nothing of it.
    AddressLost,
    /// F4: another address of this host itself.
    AddressChanged,
    /// F5: sshd on the jump host is off.
    JumpOff,
    /// F6: the forward is broken, and ssh lives.
    ForwardBroken,
    /// F6b: sshd on this side is down.
    TargetDown,
    /// F7: another holds the port.
    PortHeld,
    /// F7v: another holds 127.0.0.1 of it, and `::1` is free.
    HalfHeld,
    /// F8: the jump host rejects the key.
    KeyRejected,
    /// F9: the jump host loses its power.
    PowerCycled,
    /// F11: as F5, for long.
    Refused,
    /// The jump host's key is another.
    HostKey,
}

/// What became of it.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// Seconds from the end of the fault until a banner could be read again; none within the time that
    /// was waited.
    pub back_s: Option<f64>,
    /// The port that it was read at.
    pub port: Option<u16>,
    /// Connections begun, from the beginning of the fault on.
    pub tries: u64,
    /// In how many seconds.
    pub tried_s: f64,
    /// Those of them after the first minute, where that is told apart.
    pub later_tries: Option<u64>,
    /// Seconds from the beginning until tunnelwatch's status said so.
    pub noticed_s: Option<f64>,
    /// Seconds from the beginning until an alert was in the spool.
    pub alert_s: Option<f64>,
    /// Seconds from the beginning until the first port answered.
    pub home_s: Option<f64>,
    /// Whether one ssh has lived through it.
    pub same_ssh: bool,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long a fault lasts that ends by itself.
    pub fault: Duration,
    /// How long is waited after its end.
    pub most: Duration,
    /// How long tunnelwatch works before, so that its looks are at another moment each time.
    pub before: Duration,
}

impl Fault {
    /// Does it to a tunnel that is up.
    pub fn run(self, keeper: Keeper, line: &mut Line, times: Times) -> Ended {
        pause(times.before);
        let mut case = Case::new(keeper, line, times);
        match self {
            Self::SshKilled => {
                case.begins();
                case.line.inside.sh("pkill -KILL -o -x ssh");
                case.over();
            }
            Self::SessionKilled => {
                case.begins();
                case.line.kill_sessions();
                case.over();
            }
            Self::Hole => {
                case.begins();
                case.line.cut();
                case.lasts();
                case.line.mend();
                case.over();
            }
            Self::AddressLost => {
                case.begins();
                case.line.forget_connections();
                case.over();
            }
            Self::AddressChanged => {
                case.begins();
                // As a modem that was restarted hands it a new one.
                case.line.inside.sh(NEXT_ADDRESS);
                case.over();
            }
            Self::JumpOff | Self::Refused => {
                case.begins();
                case.line.jump.sh("pkill -KILL sshd");
                case.lasts();
                case.over();
                case.line.jump.restart_sshd();
            }
            Self::ForwardBroken => case.break_forward(),
            Self::TargetDown => {
                case.begins();
                case.line.inside.sh("pkill -KILL -x sshd");
                case.lasts();
                case.line.inside.restart_sshd();
                case.over();
            }
            Self::PortHeld => case.hold(&["127.0.0.1", "::1"]),
            Self::HalfHeld => case.hold(&["127.0.0.1"]),
            Self::KeyRejected => case.reject_key(),
            Self::PowerCycled => {
                case.begins();
                power::off(case.line);
                case.lasts();
                power::on(case.line);
                case.over();
            }
            Self::HostKey => case.change_host_key(),
        }
        case.end(self)
    }
}

/// A fault under way.
struct Case<'a> {
    keeper: Keeper,
    line: &'a mut Line,
    times: Times,
    prober: Prober,
    ssh: String,
    begun_us: u64,
    over_us: u64,
    ended: Ended,
}

impl<'a> Case<'a> {
    fn new(keeper: Keeper, line: &'a mut Line, times: Times) -> Self {
        let prober = Prober::new(&line.jump, keeper.ports());
        let ssh = oldest_ssh(line);
        line.router.sh("nft delete table ip count 2>&1 || true");
        line.count_connections();
        Self { keeper, line, times, prober, ssh, begun_us: 0, over_us: 0, ended: Ended::default() }
    }

    fn begins(&mut self) {
        self.begun_us = now_us();
    }

    /// The fault's time passes, and what tunnelwatch says meanwhile is taken down.
    fn lasts(&mut self) {
        let end = Instant::now() + self.times.fault;
        while Instant::now() < end {
            self.listen();
            pause(STEP);
        }
    }

    /// The fault is over, from now on the port is tried.
    fn over(&mut self) {
        self.over_us = now_us();
        self.prober.go();
    }

    /// What tunnelwatch says.
    fn listen(&mut self) {
        if !self.keeper.is_ours() {
            return;
        }
        let now = seconds(self.begun_us, now_us());
        if self.ended.noticed_s.is_none() {
            let status = self.line.status();
            let other_ssh =
                status["ssh-pid"].as_u64().is_some_and(|pid| pid.to_string() != self.ssh);
            let noticed = status["up"] == false || other_ssh;
            self.ended.noticed_s = noticed.then_some(now);
        }
        if self.ended.alert_s.is_none() && !self.line.alerts().is_empty() {
            self.ended.alert_s = Some(now);
        }
    }

    /// Another has the port, by these addresses, for the fault's time. With a second port it is the
    /// beginning that counts: that is where people find it meanwhile.
    fn hold(&mut self, addresses: &[&str]) {
        self.begins();
        let holder = take(&self.line.jump, PORTS[0], addresses, || self.line.kill_sessions());
        if self.keeper.ports().len() > 1 {
            self.over();
            self.wait_back();
            return;
        }
        self.begins();
        if self.keeper.is_ours() {
            let refused = || self.line.status()["cause"] == "port-busy";
            let refused = wait_until(self.times.fault, refused);
            self.ended.noticed_s = refused.then(|| seconds(self.begun_us, now_us()));
        }
        let all = self.times.fault;
        self.times.fault = all.saturating_sub(since(self.begun_us));
        self.lasts();
        self.over();
        drop(holder);
    }

    /// The forward answers nobody, until another session has the port.
    fn break_forward(&mut self) {
        let before = listener(self.line, PORTS[0]);
        assert!(before.is_some(), "nobody listens");
        self.begins();
        self.line.jump.sh(
            "nft add table ip broken; nft add chain ip broken i '{ type filter hook input priority 0; }'
             nft add rule ip broken i iif lo tcp dport 2222 reject with tcp reset",
        );
        self.over();
        let mut broken = true;
        let end = Instant::now() + self.times.most;
        while self.prober.found().is_none() && Instant::now() < end {
            self.listen();
            let now = listener(self.line, PORTS[0]);
            if broken && now.is_some() && now != before {
                self.line.jump.sh("nft delete table ip broken");
                broken = false;
            }
            pause(STEP);
        }
    }

    /// The key is not known for the fault's time; tries in the first minute, and after.
    fn reject_key(&mut self) {
        let minute = Duration::from_secs(60).min(self.times.fault);
        self.line.jump.sh("mv /home/tunnel/.ssh/authorized_keys /root/keys/authorized");
        self.begins();
        self.line.kill_sessions();
        let all = std::mem::replace(&mut self.times.fault, minute);
        self.lasts();
        (self.ended.tries, self.ended.tried_s) =
            (self.line.connections(), seconds(self.begun_us, now_us()));
        self.times.fault = all.saturating_sub(minute);
        self.lasts();
        self.ended.later_tries = Some(self.line.connections() - self.ended.tries);
        self.line.jump.sh("mv /root/keys/authorized /home/tunnel/.ssh/authorized_keys");
        if self.keeper.is_ours() {
            let _ = self.line.tunnelwatch(&["retry"]);
        }
        self.over();
    }

    fn change_host_key(&mut self) {
        self.line.jump.sh("cd /etc/ssh && rm ssh_host_ed25519_key*
             ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key");
        self.line.jump.restart_sshd();
        self.begins();
        self.line.kill_sessions();
        self.lasts();
        // Nothing mends it but a person.
        self.times.most = Duration::ZERO;
        self.over();
    }

    /// Waits for the tunnel.
    fn wait_back(&mut self) {
        let end = Instant::now() + self.times.most;
        while self.prober.found().is_none() && Instant::now() < end {
            self.listen();
            pause(STEP);
        }
    }

    fn end(mut self, fault: Fault) -> Ended {
        self.wait_back();
        if let Some((port, at_us)) = self.prober.found() {
            self.ended.port = Some(port);
            self.ended.back_s = Some(seconds(self.over_us, at_us));
        }
        if self.ended.later_tries.is_none() {
            self.ended.tries = self.line.connections();
            self.ended.tried_s = seconds(self.begun_us, now_us());
        }
        self.ended.same_ssh = !self.ssh.is_empty() && oldest_ssh(self.line) == self.ssh;
        if matches!(fault, Fault::AddressLost | Fault::AddressChanged)
            && self.keeper == Keeper::Release
        {
            let home = || self.line.answers(PORTS[0]);
            let came = wait_until(self.times.most, home);
            self.ended.home_s = came.then(|| seconds(self.begun_us, now_us()));
        }
        self.ended
    }
}

fn since(at_us: u64) -> Duration {
    Duration::from_micros(now_us().saturating_sub(at_us))
}

/// Process id of the ssh that runs for longest on this side.
fn oldest_ssh(line: &Line) -> String {
    line.inside.sh("pgrep -o -x ssh || true").trim().to_owned()
}

/// The socket that listens on a port of the jump host's IPv4 loopback, by its inode.
fn listener(line: &Line, port: u16) -> Option<String> {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", line.jump.pid())).ok()?;
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        // Local address, remote address, state 0A: LISTEN; the inode is the tenth word.
        let listens = words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&"0A");
        listens.then(|| words.get(9).map(|inode| (*inode).to_owned())).flatten()
    })
}
