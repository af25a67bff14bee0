//! What systemd is told (sd_notify(3)): that a daemon is at work, and that its loop still turns.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub struct Systemd {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear of us, halved, as it asks for.
    every: Option<Duration>,
    told: Option<Instant>,
}

impl Systemd {
    /// The one that started this process.
    #[must_use]
    pub fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // The variables are inherited; they may be meant for the process that started this one.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let every = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|socket| {
            // A name that begins with @ is in the abstract namespace (unix(7)).
            let address = match socket.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&socket),
            };
            let own = UnixDatagram::unbound().ok()?;
            own.set_nonblocking(true).ok()?;
            Some((own, address.ok()?))
        });
        Self { socket, every: every.map(|usec| Duration::from_micros(usec / 2)), told: None }
    }

    /// Says that the daemon is at work.
    pub fn say_ready(&self) {
        self.say(b"READY=1");
    }

    /// Says that the loop turns, where that is asked for and has not just been said. Answers how
    /// long the loop may sleep.
    pub fn say_alive(&mut self) -> Option<Duration> {
        let every = self.every?;
        if self.told.is_none_or(|at| at.elapsed() >= every / 2) {
            self.say(b"WATCHDOG=1");
            self.told = Some(Instant::now());
        }
        Some(every / 2)
    }

    fn say(&self, text: &[u8]) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(text, address);
        }
    }
}
