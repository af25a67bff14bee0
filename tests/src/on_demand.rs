//! A tunnel whose jump host runs only while the main line is down: the three machines of
//! [`crate::tunnel`], a main line of the internal host's that `linkprobe watch` sees, and a cloud that
//! starts and stops the jump host, at another address each time.
//!
//! The cloud is a program on the internal host (`provider = "exec"`), which answers and takes down what it was asked for,
//! and [`OnDemand::pump`], which does it: it is called while somebody waits.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cloud::{self, Like};
use crate::host::{CONFIG, DEADLINE, Host};
use crate::lines::AS_LINKPROBE;
use crate::process::{Daemon, Output};
use crate::provider::Provider;
use crate::tunnel::{Line, TUNNEL, wire};
use crate::wait::wait_until;

/// Where the cloud keeps its books.
const CLOUD: &str = "/var/lib/cloud";

/// What tunnelwatch calls. Files of these names make it misbehave: `away`, `refused`, `full`; `mute`, once: it does what it
/// is asked for, and never says so.
const PROGRAM: &str = r#"#!/bin/sh
cd /var/lib/cloud || exit 78
exec 9>lock
flock 9
echo "$1" >>calls
[ -e away ] && { echo "cannot connect to api.example.org: timed out" >&2; exit 69; }
[ -e refused ] && { echo "the key is not valid" >&2; exit 77; }
state=$(cat state)
case $1 in
start)
    [ -e full ] && { echo '{"retry-after-s":1,"kind":"capacity"}'; echo "no room in this zone" >&2; exit 75; }
    case $state in
    off) echo start >>starts; state=starting; echo starting >state ;;
    *) echo "start while $state" >>wrong ;;
    esac ;;
stop)
    [ "$state" = on ] && { echo stop >>stops; state=stopping; echo stopping >state; } ;;
esac
if [ -e mute ] && [ "$1" != describe ]; then
    rm mute
    exec 9>&-
    sleep 600
fi
address=
[ "$state" = on ] && address=,\"address\":\"$(cat address)\"
echo "{\"state\":\"$state\"$address}"
"#;

/// The machines, the line, and the cloud.
pub struct OnDemand {
    /// The tunnel's machines. Nothing is kept yet.
    pub line: Line,
    /// `linkprobe watch` on the internal host.
    pub watch: Option<Daemon>,
    /// At the other end of the main line.
    pub gate: Host,
    /// How long the jump host takes to come up.
    pub boot: Duration,
    /// What it does now, and since when.
    doing: (String, Instant),
    /// How often it has come up.
    ups: usize,
    /// A cloud in the place of the program.
    provider: Option<Provider>,
}

/// Where systemd hands over secrets.
const CREDENTIALS: &str = "/run/credentials-of-tunnelwatch";

fn owned((one, two): (&str, &str)) -> (String, String) {
    (one.to_owned(), two.to_owned())
}

/// `[[link]]` and `[tunnel.on-demand]`, with `more` keys of the latter.
#[must_use]
pub fn config(more: &str) -> String {
    let tunnel = TUNNEL.replace("tunnel@10.2.0.2", "tunnel@jump");
    format!(
        "{tunnel}check-every = \"5s\"\nssh-options = [\"BindInterface=a0\"]\n\
         [tunnel.on-demand]\nlink = \"main\"\nprovider = \"exec\"\n\
         command = [\"{CLOUD}/my-cloud\"]\n{more}\n\
         [[link]]\nname = \"main\"\ninterface = \"m0\"\nresolvers = [\"198.18.9.1\"]\n\
         targets = [\"198.18.9.1:443\"]\ncheck-every = \"2s\"\n"
    )
}

impl OnDemand {
    /// Makes it all, with the jump host off and the main line up, and `more` keys of `[tunnel.on-demand]`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new(more: &str) -> Self {
        let (line, gate) = (Line::new(), Host::new());
        wire(&line.inside, "198.18.9.2/24", &gate, "198.18.9.1/24", "m");
        line.inside.sh(&format!(
            "ip route add default via 198.18.9.1 dev m0 metric 900
             install -d -o _linkprobe -g _linkprobe /run/linkprobe /var/lib/linkprobe
             install -d -o _tunnelwatch -g _tunnelwatch {CLOUD}
             echo off >{CLOUD}/state; touch {CLOUD}/lock"
        ));
        line.inside.write(&format!("{CLOUD}/my-cloud"), PROGRAM, 0o755);
        let key = line.inside.read("/var/lib/tunnelwatch/known_hosts").replace("10.2.0.2", "jump");
        line.inside.write("/var/lib/tunnelwatch/known_hosts", key, 0o644);
        line.inside.sh(&format!("chown -R _tunnelwatch: /var/lib/tunnelwatch {CLOUD}"));
        line.inside.write_config(&config(more));
        let doing = ("off".to_owned(), Instant::now());
        let boot = Duration::from_secs(2);
        let mut all = Self { line, watch: None, gate, boot, doing, ups: 0, provider: None };
        all.turn_off();
        all.watch();
        all
    }

    /// The same at a cloud, whose machine takes `boot` to come up; it is asked by `tunnelwatch-cloud`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn at(like: Like, boot: Duration, more: &str) -> Self {
        let mut all = Self::new(more);
        let mut provider = Provider::start_cloud(&all.line.inside, like, "127.0.0.1:0", false);
        let addresses = (11..=19).map(|last| format!("10.2.0.{last}")).collect();
        provider.order(&cloud::Order {
            boot_ms: Some(u64::try_from(boot.as_millis()).expect("a short one")),
            stop_ms: Some(500),
            addresses: Some(addresses),
            ..cloud::Order::default()
        });
        let (before, rest) =
            config("").split_once("[tunnel.on-demand]").map(owned).expect("a section");
        let link = rest.split_once("[[link]]").expect("a link").1.to_owned();
        // The cloud is on this very machine, and no line leads there.
        let before = before.replace("ssh-options = [\"BindInterface=a0\"]\n", "");
        let section = like.section("main", &provider.url(), more);
        all.line.inside.write_config(&format!("{before}{section}[[link]]{link}"));
        let file = format!("{CREDENTIALS}/secrets_cloud");
        all.line.inside.sh(&format!("install -d -m 700 {CREDENTIALS}"));
        all.line.inside.write(&file, like.secret(), 0o400);
        all.line.inside.sh(&format!("chown -R _tunnelwatch: {CREDENTIALS}"));
        all.provider = Some(provider);
        all
    }

    /// Starts `tunnelwatch run` with the secrets that its unit hands over.
    pub fn start(&mut self) {
        self.line.start_on(&["env", &format!("CREDENTIALS_DIRECTORY={CREDENTIALS}")]);
    }

    /// How the cloud's machine is.
    ///
    /// # Panics
    ///
    /// When there is no cloud.
    #[must_use]
    pub fn machine(&mut self) -> cloud::Machine {
        self.provider.as_mut().expect("a cloud").machine()
    }

    /// Does what the cloud does.
    fn follow(&mut self) {
        if self.doing.1.elapsed() < Duration::from_millis(100) {
            return;
        }
        let machine = self.machine();
        self.doing.1 = Instant::now();
        let is_on = machine.state == "on";
        if is_on && self.doing.0 != "on" {
            self.come_up(&machine.address.expect("an address"));
        } else if !is_on && self.doing.0 == "on" {
            self.turn_off();
        }
        self.doing.0 = machine.state;
    }

    fn come_up(&mut self, address: &str) {
        let script = "ip route replace default via 10.2.0.1";
        self.line.jump.sh(&format!("ip address add {address}/24 dev b1; {script}"));
        self.line.jump.restart_sshd();
    }

    /// Starts `linkprobe watch` as its unit does.
    pub fn watch(&mut self) {
        let mut words = AS_LINKPROBE.to_vec();
        words.extend(["/artefacts/linkprobe", "--config", CONFIG, "--run-dir", "/run/linkprobe"]);
        words.push("watch");
        self.watch = Some(self.line.inside.spawn(&words));
        let file = self.line.inside.path("/run/linkprobe/status.json");
        let is_up = || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let book: Value = serde_json::from_str(&text).unwrap_or_default();
            book["links"]["main"]["up"] == true
        };
        assert!(wait_until(DEADLINE, is_up), "the main line is not up");
    }

    /// Cuts the cable of the main line.
    pub fn cut(&self) {
        self.gate.sh("ip link set m1 down");
    }

    /// Mends it.
    pub fn mend(&self) {
        self.gate.sh("ip link set m1 up");
        let route = "ip route replace default via 198.18.9.1 dev m0 metric 900";
        let _ = self.line.inside.run(&["sh", "-c", route]);
    }

    /// A file of the cloud's.
    #[must_use]
    pub fn cloud(&self, file: &str) -> String {
        let path = self.line.inside.path(format!("{CLOUD}/{file}"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// How many lines it has.
    #[must_use]
    pub fn count(&self, file: &str) -> usize {
        self.cloud(file).lines().count()
    }

    /// Makes the cloud misbehave, or no longer.
    pub fn misbehave(&self, how: &str, does: bool) {
        let verb = if does { "touch" } else { "rm -f" };
        self.line.inside.sh(&format!("{verb} {CLOUD}/{how}; chown -R _tunnelwatch: {CLOUD}"));
    }

    /// Starts it, as somebody else does.
    pub fn start_by_somebody(&self) {
        self.line.inside.sh(&format!("echo starting >{CLOUD}/state"));
    }

    /// Does what the cloud was asked for, when it is time.
    pub fn pump(&mut self) {
        if self.provider.is_some() {
            return self.follow();
        }
        let state = self.cloud("state").trim().to_owned();
        if state.is_empty() {
            return;
        }
        if state != self.doing.0 {
            self.doing = (state.clone(), Instant::now());
        }
        let took = self.doing.1.elapsed();
        if state == "starting" && took >= self.boot {
            self.ups += 1;
            let address = format!("10.2.0.{}", 10 + self.ups);
            self.come_up(&address);
            self.become_("on", &address);
        } else if state == "stopping" && took >= Duration::from_millis(300) {
            self.turn_off();
            self.become_("off", "");
        }
    }

    fn become_(&mut self, state: &str, address: &str) {
        let script =
            format!("cd {CLOUD}; flock lock sh -c 'echo {address} >address; echo {state} >state'");
        self.line.inside.sh(&script);
        self.doing = (state.to_owned(), Instant::now());
    }

    /// As a machine that is switched off: nothing is left of it.
    fn turn_off(&mut self) {
        self.line.jump.end_sshd();
        self.line
            .jump
            .sh("pkill -KILL -x 'sshd|sshd-session|sshd-auth' || true; ip address flush dev b1");
    }

    /// Waits until something is so, and has the cloud work meanwhile.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    pub fn wait(&mut self, what: &str, deadline: Duration, wanted: impl Fn(&Self) -> bool) {
        let until = Instant::now() + deadline;
        while !wanted(self) {
            assert!(Instant::now() < until, "{what}: {}", self.story());
            self.pump();
            let _ = wait_until(Duration::from_millis(20), || false);
        }
    }

    /// Waits for so long, in which something has to stay as it is.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn stays(&mut self, what: &str, time: Duration, wanted: impl Fn(&Self) -> bool) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            assert!(wanted(self), "{what}: {}", self.story());
            self.pump();
            let _ = wait_until(Duration::from_millis(20), || false);
        }
    }

    /// What `jump status --json` says.
    #[must_use]
    pub fn jump(&self) -> Value {
        let file = self.line.inside.read("/run/tunnelwatch/status.json");
        let book: Value = serde_json::from_str(&file).unwrap_or_default();
        book["jumps"]["cloud"].clone()
    }

    /// Whether the tunnel works.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.line.status()["up"] == true
    }

    /// Whether nothing runs, and that is by plan.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.line.status()["off-by-plan"] == true && self.jump()["machine"] == "off"
    }

    /// The alerts about it, as they are told.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let notes = self.line.alerts().into_iter().filter(|(kind, _)| kind == "note");
        notes.map(|(_, text)| text).collect()
    }

    /// `tunnelwatch jump WORDS`.
    #[must_use]
    pub fn by_hand(&self, words: &[&str]) -> Output {
        let mut all = vec!["jump"];
        all.extend(words);
        self.line.tunnelwatch(&all)
    }

    /// A connection through the tunnel, as somebody has who is logged in.
    #[must_use]
    pub fn log_in(&self) -> Daemon {
        let script = "exec 3<>/dev/tcp/127.0.0.1/2222; head -c 4 <&3; sleep 600";
        self.line.jump.spawn(&["bash", "-c", script])
    }

    /// All that helps to see why a test has failed.
    #[must_use]
    pub fn story(&self) -> String {
        let Self { line, .. } = self;
        let run = line.run.as_ref().map(Daemon::output).unwrap_or_default();
        format!(
            "{}\n{}\n{run}\n{}\n{:?}\ncalls {:?} starts {} state {:?} wrong {:?}\n{}",
            line.status(),
            self.jump(),
            line.log(),
            line.alerts(),
            self.cloud("calls").split_whitespace().collect::<Vec<_>>().join(" "),
            self.count("starts"),
            self.cloud("state").trim(),
            self.cloud("wrong"),
            line.inside.read("/run/linkprobe/status.json"),
        )
    }
}
