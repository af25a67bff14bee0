//! A VPN over the three machines of [`crate::tunnel`], for tunnels of `type = "external"`: a real
//! OpenVPN or WireGuard between the internal host and the jump host.
//!
//! ```text
//! internal 10.8.0.6 == VPN == 10.8.0.2 jump
//! ```

use std::path::Path;
use std::time::Duration;

use crate::host::{CONFIG, DEADLINE, Host};
use crate::process::Daemon;
use crate::tunnel::{JUMP, Line};
use crate::wait::wait_until;

/// The jump host's address inside the VPN.
pub const FAR: &str = "10.8.0.2";

/// The internal host's.
pub const NEAR: &str = "10.8.0.6";

/// Of `[[tunnel]]` what all of these tests have.
pub const EXTERNAL: &str = "[host]\nname = \"inside\"\n\n[[tunnel]]\nname = \"cloud\"\n\
    type = \"external\"\ntarget = \"10.8.0.2:22\"\ncheck-every = \"5s\"\n";

/// Whether the machine that runs the tests has these programs, which are packages of their own; says
/// so when it has not.
#[must_use]
pub fn has(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| !Path::new(program).exists()).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {missing:?} missing; ./dev test installs what has them");
    }
    missing.is_empty()
}

/// The machines, with the jump host's side of the VPN at work.
pub struct Vpn {
    /// The machines and `tunnelwatch run`.
    pub line: Line,
    /// The jump host's side of it, where that is a process.
    pub far: Option<Daemon>,
}

impl Vpn {
    /// With OpenVPN, which on the internal host is `/etc/vpn/start` and `/etc/vpn/stop`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn openvpn() -> Self {
        let line = Line::new();
        let (inside, jump) = (&line.inside, &line.jump);
        for host in [inside, jump] {
            // Each has a certificate of its own, and knows the other's.
            host.sh("install -d /etc/vpn /dev/net; mknod -m 666 /dev/net/tun c 10 200
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 \
                    -subj /CN=vpn -keyout /etc/vpn/key -out /etc/vpn/cert 2>/dev/null
                openssl x509 -in /etc/vpn/cert -noout -fingerprint -sha256 | cut -d= -f2 >/etc/vpn/print");
        }
        for (host, other, more) in [
            (
                inside,
                jump,
                // From one port: a far side of two takes a new process for the old one, which left without a word, only if
                // it comes from there, and else asks the old one for ten seconds.
                format!("tls-client\nremote {JUMP} 1194\nlport 1195\nifconfig {NEAR} {FAR}"),
            ),
            (jump, inside, format!("tls-server\ndh none\nfloat\nifconfig {FAR} {NEAR}")),
        ] {
            let print = other.read("/etc/vpn/print");
            let config = format!(
                "dev tun\nproto udp4\ncert /etc/vpn/cert\nkey /etc/vpn/key\nverb 3\n\
                 peer-fingerprint {print}keepalive 1 10\nconnect-retry 1 2\n{more}\n"
            );
            host.write("/etc/vpn/conf", config, 0o644);
        }
        // Read by tunnelwatch's user, who starts it.
        inside.sh("chmod 644 /etc/vpn/key");
        inside.write(
            "/etc/vpn/start",
            "#!/bin/sh\necho started >>/tmp/vpn-starts\n\
             exec openvpn --cd /tmp --config /etc/vpn/conf --daemon --log-append /tmp/vpn.log \
             --writepid /tmp/vpn.pid\n",
            0o755,
        );
        // It waits for the end: an OpenVPN that ends removes the file, which is the next one's by then.
        inside.write(
            "/etc/vpn/stop",
            "#!/bin/sh\necho stopped >>/tmp/vpn-starts\n[ -e /tmp/vpn.pid ] || exit 0\n\
             read -r pid </tmp/vpn.pid; kill \"$pid\"\n\
             while kill -0 \"$pid\" 2>/dev/null; do sleep 0.1; done\n",
            0o755,
        );
        let far = jump.spawn(&["openvpn", "--config", "/etc/vpn/conf"]);
        Self { far: Some(far), line }
    }

    /// With WireGuard, of the kernel where it has it, else of wireguard-go; on the internal host `ip
    /// link set wg0 up` starts it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn wireguard() -> Self {
        let line = Line::new();
        let (inside, jump) = (&line.inside, &line.jump);
        for host in [inside, jump] {
            host.sh("install -d /etc/vpn /dev/net; mknod -m 666 /dev/net/tun c 10 200
                umask 077; wg genkey >/etc/vpn/key; wg pubkey </etc/vpn/key >/etc/vpn/public");
        }
        let make = |host: &Host, own: &str, other: &Host, others: &str, more: &str| {
            let public = other.read("/etc/vpn/public");
            // What wireguard-go prints when the kernel has it is to be read by people.
            host.sh(&format!(
                "ip link add wg0 type wireguard 2>/dev/null || wireguard-go wg0 >/dev/null 2>&1
                 ip address add {own} peer {others} dev wg0
                 wg set wg0 listen-port 51820 private-key /etc/vpn/key peer {} \
                     allowed-ips {others}/32 persistent-keepalive 1 {more}",
                public.trim()
            ));
        };
        make(inside, NEAR, jump, FAR, &format!("endpoint {JUMP}:51820"));
        make(jump, FAR, inside, NEAR, "");
        jump.sh("ip link set wg0 up");
        Self { far: None, line }
    }

    /// Writes the configuration with `more` keys of the tunnel.
    pub fn configure(&self, more: &str) {
        // Soon, so that a test need not wait, and later than a VPN comes up.
        let usual = if more.contains("alert-after") { "" } else { "alert-after = \"10s\"\n" };
        self.line.inside.write_config(&format!("{EXTERNAL}{usual}{more}"));
    }

    /// The key that names the jump host's key, as it is now.
    #[must_use]
    pub fn host_keys(&self) -> String {
        let print = self.line.jump.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
        format!("host-keys = [\"{print}\"]\n")
    }

    /// Starts `tunnelwatch run` with `more` keys, as its unit does that may change the network.
    pub fn start(&mut self, more: &str) {
        self.configure(more);
        let mut words = vec!["setpriv", "--reuid=_tunnelwatch", "--regid=_tunnelwatch"];
        words.extend(["--groups=_bastion-drop", "--inh-caps=-all,+net_admin"]);
        words.extend(["--ambient-caps=-all,+net_admin", "--no-new-privs", "--"]);
        words.extend(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
        words.extend(["/artefacts/tunnelwatch", "--config", CONFIG]);
        words.extend(["--run-dir", "/run/tunnelwatch", "run"]);
        self.line.run = Some(self.line.inside.spawn(&words));
    }

    /// The same, until the VPN is proved.
    pub fn up(&mut self, more: &str) {
        self.start(more);
        self.wait_up();
    }

    /// Waits until tunnelwatch says that the VPN is up.
    pub fn wait_up(&self) {
        self.line.wait_status("the VPN", DEADLINE, |status| status["up"] == true);
    }

    /// Waits until tunnelwatch says that it is down for this reason.
    pub fn wait_down(&self, cause: &str) {
        let is = |status: &serde_json::Value| status["up"] == false && status["cause"] == cause;
        self.line.wait_status(cause, Duration::from_secs(60), is);
    }

    /// Waits until an alert has been raised with these words in it.
    ///
    /// # Panics
    ///
    /// When none is.
    pub fn wait_alert(&self, words: &str) {
        let told = || self.line.alerts().iter().any(|(_, text)| text.contains(words));
        assert!(
            wait_until(DEADLINE, told),
            "{words}: {:?}\n{}",
            self.line.alerts(),
            self.line.log()
        );
    }

    /// What `/etc/vpn/start` and `/etc/vpn/stop` were run for, in their order.
    #[must_use]
    pub fn runs(&self) -> Vec<String> {
        self.line.inside.read("/tmp/vpn-starts").lines().map(str::to_owned).collect()
    }

    /// Waits until the jump host's sshd answers through the VPN, whoever has started it.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn wait_answer(&self) {
        let script = format!("exec 3<>/dev/tcp/{FAR}/22; head -c 4 <&3");
        let seconds = Duration::from_secs(1);
        let answer = || self.line.inside.run_with(seconds, &["bash", "-c", &script], b"").text();
        let log = || self.line.inside.read("/tmp/vpn.log");
        assert!(wait_until(DEADLINE, || answer() == "SSH-"), "{}", log());
    }

    /// Process ids of the programs of this name on the internal host.
    #[must_use]
    pub fn processes(&self, name: &str) -> String {
        self.line.inside.sh(&format!("pgrep -x {name} || true"))
    }
}
