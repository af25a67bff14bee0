//! The peers: programs that people send alerts with today, each against the same stand-ins as our
//! channels. Whatever is not installed is said to be absent.

use std::time::Duration;

use bastion_tests::alert::id;
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::like::Like;
use bastion_tests::process::{Daemon, Output};
use bastion_tests::wait::{pause, wait_until};

use super::case::{Ended, now_us};
use super::nullmailer;
use super::receiver::Receiver;
use super::script::installed;
use super::wrong::Wrong;

/// Longest time that a command may hold its caller.
const HELD: Duration = Duration::from_secs(60);

/// How long a peer that keeps messages by itself is waited for: nullmailer's first wait is 60 s.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// The same where it is refused for ever.
const REFUSED: Duration = Duration::from_secs(30);

/// How long a second copy is waited for, where it cannot be seen that there is nothing to come.
const LINGER: Duration = Duration::from_secs(10);

/// Port of the peer's Alertmanager.
const ALERTMANAGER: u16 = 9093;

/// The peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// As in the well-known blog posts.
    Curl,
    /// With all that it has to offer.
    CurlRetry,
    /// Debian's, on the command line.
    Apprise,
    /// A `sendmail` without a queue.
    Msmtp,
    /// One with a queue and a daemon.
    Nullmailer,
    /// With a webhook receiver.
    Alertmanager,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Curl,
        Self::CurlRetry,
        Self::Apprise,
        Self::Msmtp,
        Self::Nullmailer,
        Self::Alertmanager,
    ];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::CurlRetry => "curl --retry 6",
            Self::Apprise => "apprise",
            Self::Msmtp => "msmtp",
            Self::Nullmailer => "nullmailer",
            Self::Alertmanager => "Alertmanager",
        }
    }

    /// Whether a daemon keeps what it was given.
    pub fn keeps(self) -> bool {
        matches!(self, Self::Nullmailer | Self::Alertmanager)
    }
}

/// A peer at work, and who gets its messages.
pub struct PeerRig {
    /// Its daemon, where it has one.
    pub daemon: Option<Daemon>,
    /// Who gets them.
    pub receiver: Receiver,
    /// The machine.
    pub host: Host,
    peer: Peer,
}

impl PeerRig {
    /// Starts one; or says why there is none.
    pub fn start(peer: Peer) -> Result<Self, String> {
        let host = Host::new();
        let program = match peer {
            Peer::Curl | Peer::CurlRetry => "curl",
            Peer::Apprise => "apprise",
            Peer::Msmtp => "msmtp",
            Peer::Nullmailer => {
                nullmailer::install(&host)?;
                "nullmailer-inject"
            }
            Peer::Alertmanager => "prometheus-alertmanager",
        };
        if !installed(&host, program) {
            return Err("not installed".to_owned());
        }
        let receiver = match peer {
            Peer::Msmtp | Peer::Nullmailer => Receiver::mail(&host),
            _ => Receiver::web(&host, Like::Anybody),
        };
        let mut rig = Self { daemon: None, receiver, host, peer };
        rig.prepare();
        rig.start_daemon();
        Ok(rig)
    }

    fn prepare(&self) {
        let port = self.receiver.port();
        match self.peer {
            Peer::Nullmailer => nullmailer::configure(&self.host, port),
            Peer::Alertmanager => {
                // As soon as it can, each alert by itself.
                let config = format!(
                    "route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: \
                     10s, repeat_interval: 1h}}\nreceivers: [{{name: hook, webhook_configs: \
                     [{{url: 'http://127.0.0.1:{port}/hook', send_resolved: false}}]}}]\n"
                );
                self.host.write("/etc/alertmanager.yml", config, 0o644);
            }
            _ => {}
        }
    }

    /// Starts its daemon, again after it was killed, and waits until it takes messages.
    pub fn start_daemon(&mut self) {
        match self.peer {
            Peer::Nullmailer => self.daemon = Some(nullmailer::start(&self.host)),
            Peer::Alertmanager => {
                let listen = format!("--web.listen-address=127.0.0.1:{ALERTMANAGER}");
                self.daemon = Some(self.host.spawn(&[
                    "prometheus-alertmanager",
                    "--config.file=/etc/alertmanager.yml",
                    "--storage.path=/var/lib/alertmanager",
                    "--cluster.listen-address=",
                    &listen,
                ]));
                let ready = format!("http://127.0.0.1:{ALERTMANAGER}/-/ready");
                let up = || self.host.run(&["curl", "-sf", "-m", "5", &ready]).code == Some(0);
                assert!(wait_until(DEADLINE, up), "Alertmanager does not start");
            }
            _ => {}
        }
    }

    /// `kill -9`.
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// The command that hands over a message, and what it reads.
    pub fn command(&self, token: &str) -> (Vec<String>, String) {
        let url = format!("http://127.0.0.1:{}/hook", self.receiver.port());
        let text = format!("login alice from 198.51.100.7 {token}");
        let json = format!("{{\"text\":\"{text}\"}}");
        let mail = format!("To: ops@example.org\nSubject: login\n\n{text}\n");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let kind = "Content-Type: application/json";
        match self.peer {
            Peer::Curl => (words(&["curl", "-s", "-H", kind, "-d", &json, &url]), String::new()),
            Peer::CurlRetry => {
                let retry = ["curl", "-sf", "-m", "10", "--retry", "6", "--retry-all-errors"];
                (words(&[&retry[..], &["-H", kind, "-d", &json, &url]].concat()), String::new())
            }
            Peer::Apprise => {
                let url = url.replacen("http", "json", 1);
                (words(&["apprise", "-b", &text, &url]), String::new())
            }
            Peer::Msmtp => {
                let port = format!("--port={}", self.receiver.port());
                let own = ["msmtp", "-C", "/dev/null", "--host=127.0.0.1", &port];
                let rest = ["--from=bastion@example.org", "ops@example.org"];
                (words(&[&own[..], &rest].concat()), mail)
            }
            Peer::Nullmailer => (words(&["nullmailer-inject"]), mail),
            Peer::Alertmanager => {
                let labels = format!(
                    "[{{\"labels\":{{\"alertname\":\"login\",\"token\":\"{token}\"}},\
                     \"endsAt\":\"2099-01-01T00:00:00Z\"}}]"
                );
                let url = format!("http://127.0.0.1:{ALERTMANAGER}/api/v2/alerts");
                (words(&["curl", "-sf", "-H", kind, "-d", &labels, &url]), String::new())
            }
        }
    }

    /// Hands over a message, in `most` time.
    pub fn send(&self, token: &str, most: Duration) -> Output {
        run_command(&self.host, &self.command(token), most)
    }

    /// How many of `tokens` have come, at least once each.
    pub fn arrived(&self, tokens: &[String]) -> usize {
        let taken = self.receiver.taken(&self.host);
        tokens.iter().filter(|token| taken.iter().any(|one| one.text.contains(*token))).count()
    }

    /// Whether its queue can be looked into.
    fn shows_its_queue(&self) -> bool {
        self.peer == Peer::Nullmailer
    }

    /// Whether it is known to hold nothing any more.
    pub fn is_through(&self) -> bool {
        match self.peer {
            Peer::Nullmailer => nullmailer::count(&self.host, "queue") == 0,
            Peer::Alertmanager => false,
            _ => true,
        }
    }

    /// Whether its daemon has put a message aside for good.
    fn has_given_up(&self) -> bool {
        self.peer == Peer::Nullmailer && nullmailer::count(&self.host, "failed") > 0
    }
}

/// Messages by `peer` while its receiver does `wrong`, as [`super::ours::run`]; or why there is no
/// such peer here.
pub fn run(peer: Peer, wrong: Wrong, outage: Duration) -> Result<Ended, String> {
    let mut rig = PeerRig::start(peer)?;
    rig.receiver.misbehave(&rig.host, wrong);
    let tokens: Vec<String> = wrong.numbers().iter().map(|number| id(*number)).collect();
    let commands: Vec<_> = tokens.iter().map(|token| rig.command(token)).collect();
    let (host, receiver) = (&rig.host, &mut rig.receiver);
    let mended_us = std::thread::scope(|scope| {
        for command in &commands {
            scope.spawn(|| run_command(host, command, HELD));
        }
        receiver.has_to_be_mended(wrong).then(|| {
            pause(outage);
            receiver.mend(host, wrong);
            now_us()
        })
    });
    let most = if wrong.is_refusal() { REFUSED } else { PATIENCE };
    let all_came = || rig.arrived(&tokens) == tokens.len();
    let kept = peer.keeps();
    if kept && wait_until(most, || all_came() || rig.has_given_up()) && wrong.is_taken() {
        let _ = wait_until(if rig.shows_its_queue() { most } else { LINGER }, || rig.is_through());
    }
    let taken = rig.receiver.taken(&rig.host);
    let mut ended =
        Ended::new(peer.name(), wrong, &taken, rig.receiver.tries(&rig.host), mended_us);
    if kept && !rig.has_given_up() {
        (ended.late, ended.lost) = (ended.lost, 0);
    }
    Ok(ended)
}

/// Runs a command of [`PeerRig::command`].
fn run_command(host: &Host, (words, input): &(Vec<String>, String), most: Duration) -> Output {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    host.run_with(most, &words, input.as_bytes())
}
