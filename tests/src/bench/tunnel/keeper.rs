//! Who keeps the tunnel: tunnelwatch, or what people keep one with today, each between three machines of
//! its own.

use std::time::Duration;

use bastion_tests::tunnel::{AS_TUNNELWATCH, JUMP, Line, PORTS, TUNNEL};
use bastion_tests::wait::{pause, wait_until};

use super::super::script::installed;

/// Longest time for a tunnel to come up.
const UP: Duration = Duration::from_secs(30);

/// Who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// tunnelwatch with two ports.
    Ours,
    /// tunnelwatch with one.
    OnePort,
    /// tunnelwatch with two, and `tunnelwatch release` on the jump host.
    Release,
    /// tunnelwatch on a line where each byte costs.
    Metered,
    /// autossh that trusts ssh's keep-alive, as most are set up.
    Autossh,
    /// autossh with a loop of two ports of its own, looked at each 30 s.
    Monitor,
    /// What a unit with `Restart=always` and `RestartSec=10` does.
    Loop,
}

impl Keeper {
    /// The peers.
    pub const PEERS: [Self; 3] = [Self::Autossh, Self::Monitor, Self::Loop];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "tunnelwatch",
            Self::OnePort => "tunnelwatch, one port",
            Self::Release => "tunnelwatch, release",
            Self::Metered => "tunnelwatch, metered",
            Self::Autossh => "autossh -M 0",
            Self::Monitor => "autossh -M 20000",
            Self::Loop => "unit",
        }
    }

    /// Whether it is tunnelwatch.
    pub fn is_ours(self) -> bool {
        !Self::PEERS.contains(&self)
    }

    /// On which ports of the jump host people find the tunnel.
    pub fn ports(self) -> &'static [u16] {
        match self {
            Self::Ours | Self::Release | Self::Metered => &PORTS,
            Self::OnePort | Self::Autossh | Self::Monitor | Self::Loop => &PORTS[..1],
        }
    }

    /// The command that keeps it. `-M 20000` looks each 30 s, as with its own 600 s nobody would wait
    /// for it; with its own GATETIME autossh ends for good when the first ssh lives for less than 30 s.
    fn command(self) -> Option<String> {
        let ssh = |alive: &str| {
            format!(
                "-N -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes \
                 -o UserKnownHostsFile=/var/lib/tunnelwatch/known_hosts -o ExitOnForwardFailure=yes \
                 {alive} -i /var/lib/tunnelwatch/id -R 2222:localhost:22 tunnel@{JUMP}"
            )
        };
        let alive =
            |interval: u32| format!("-o ServerAliveInterval={interval} -o ServerAliveCountMax=3");
        Some(match self {
            Self::Autossh => {
                format!("AUTOSSH_GATETIME=0 exec autossh -M 0 {}", ssh(&alive(30)))
            }
            Self::Monitor => {
                format!("AUTOSSH_POLL=30 AUTOSSH_GATETIME=0 exec autossh -M 20000 {}", ssh(""))
            }
            Self::Loop => format!("while :; do ssh {}; sleep 10; done", ssh(&alive(15))),
            Self::Ours | Self::OnePort | Self::Release | Self::Metered => return None,
        })
    }

    /// The three machines, and it at work there, the tunnel up. Says why, where it cannot be.
    pub fn line(self) -> Result<Line, String> {
        let mut line = Line::new();
        match self {
            Self::Ours => {}
            Self::OnePort => {
                line.inside.write_config(&TUNNEL.replace("[2222, 2223]", "[2222]"));
            }
            Self::Metered => line.inside.write_config(&format!("{TUNNEL}metered = true\n")),
            Self::Release => {
                line.inside.write_config(&format!("{TUNNEL}release = true\n"));
                line.authorize("/artefacts/tunnelwatch release 2222 2223");
                // The command of a key is run by its user's shell.
                line.jump.sh("sed -i '/^tunnel:/s|[^:]*$|/bin/sh|' /etc/passwd");
            }
            Self::Autossh | Self::Monitor if !installed(&line.inside, "autossh") => {
                return Err("not installed".to_owned());
            }
            Self::Autossh | Self::Monitor | Self::Loop => {
                // As with most: all that a forward can be, and so the ports of `-M` as well.
                let key = line.inside.read("/var/lib/tunnelwatch/id.pub");
                let words = format!("restrict,port-forwarding {key}");
                line.jump.write("/home/tunnel/.ssh/authorized_keys", words, 0o644);
            }
        }
        self.start(&mut line);
        Ok(line)
    }

    /// Starts it, in the place of the one that runs, and waits until the tunnel is up.
    pub fn start(self, line: &mut Line) {
        line.run = None;
        line.inside.sh("pkill -KILL -x ssh || true");
        line.kill_sessions();
        let closed = || PORTS.iter().all(|port| !line.jump.listens(*port));
        assert!(wait_until(UP, closed), "the port is never free");
        match self.command() {
            None => {
                let before = line.events("target-known");
                line.start();
                line.wait_up(PORTS[0]);
                // It has compared the host's key by now, and nothing but waiting is left.
                let known = || line.events("target-known") > before;
                assert!(wait_until(UP, known), "{}", line.log());
            }
            Some(command) => {
                let words = [AS_TUNNELWATCH, &["env", "HOME=/", "sh", "-c", &command]].concat();
                line.run = Some(line.inside.spawn(&words));
                let _ = line.wait_answer(&PORTS[..1], UP);
            }
        }
        pause(Duration::from_secs(1));
    }
}
