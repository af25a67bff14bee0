//! An internal host that is well kept, with its tunnel up, for `bastion drill`.

use std::time::Duration;

use serde_json::Value;

use crate::doctor::{BASTION, SSHD, dress};
use crate::host::DEADLINE;
use crate::process::{Daemon, Output};
use crate::provider::Provider;
use crate::sender::sms;
use crate::tunnel::{Line, PORTS, TUNNEL};

/// The longest that a drill may take.
pub const MOST: Duration = Duration::from_secs(60);

/// The file of keys that a drill's key comes to and goes from.
pub const KEYS: &str = "/home/alice/.ssh/authorized_keys";

/// `[drill]` as most tests have it.
pub const DRILL: &str = "\n[drill]\nuser = \"alice\"\n";

/// The hosts, and what runs on the internal one.
pub struct Rig {
    /// `bastion run`.
    pub sender: Daemon,
    /// What its one channel, `sms`, talks to.
    pub provider: Provider,
    /// The hosts and the tunnel between them.
    pub line: Line,
}

impl Rig {
    /// Makes them, with the tunnel up; `more` is in the internal host's configuration.
    ///
    /// # Panics
    ///
    /// When they cannot be made.
    #[must_use]
    pub fn new(more: &str) -> Self {
        let mut line = Line::new();
        // The jump host asks soon, so that a test need not wait for 15 s.
        line.jump.sh(
            "printf 'Match User tunnel\\n ClientAliveInterval 2\\n ClientAliveCountMax 3\\n' >>/etc/ssh/sshd_config",
        );
        line.jump.restart_sshd();
        let provider = Provider::start(&line.inside);
        line.inside.configure(&provider.url());
        line.inside.write_config(&format!("{TUNNEL}{}{more}", sms(&provider.url())));
        dress(&line.inside);
        line.inside.sh("install -m 0755 /artefacts/tunnelwatch /artefacts/linkprobe /srv/");
        line.inside.write(
            "/etc/pam.d/sshd",
            "auth required pam_unix.so\naccount required pam_permit.so\n\
             -session optional /srv/pam_bastion.so config=/etc/bastion/bastion.toml\n\
             session required pam_permit.so\n",
            0o644,
        );
        line.inside.write("/etc/ssh/sshd_config", SSHD, 0o644);
        line.inside.restart_sshd();
        line.inside.sh(&format!("chown alice: {KEYS}"));
        let sender = line.inside.spawn_sender();
        line.inside.wait_syslog("bastion", "sender-started", 1);
        line.start();
        line.wait_up(PORTS[0]);
        Self { sender, provider, line }
    }

    /// Runs `bastion drill`.
    #[must_use]
    pub fn drill(&self, words: &[&str]) -> Output {
        self.line.inside.run_with(MOST + DEADLINE, &[&[BASTION, "drill"], words].concat(), b"")
    }

    /// Runs it, and answers what it says as JSON; the exit code fits.
    ///
    /// # Panics
    ///
    /// When it does not say any.
    #[must_use]
    pub fn report(&self) -> Value {
        let output = self.drill(&["--json"]);
        let json: Value =
            serde_json::from_str(&output.text()).unwrap_or_else(|_| panic!("{output:?}"));
        let status = json["status"].as_str();
        let code =
            ["ok", "warning", "critical", "unknown"].iter().position(|word| Some(*word) == status);
        assert_eq!(output.code, code.and_then(|code| i32::try_from(code).ok()), "{json:#}");
        assert_eq!(output.errors(), "", "{json:#}");
        json
    }

    /// The texts of the messages that were sent.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.provider.accepted().iter().map(|record| record.body().to_owned()).collect()
    }

    /// Nothing of a drill is left on the internal host.
    ///
    /// # Panics
    ///
    /// When something is.
    pub fn nothing_is_left(&self) {
        let left = self.line.inside.sh(&format!(
            "grep -c bastion-drill {KEYS} || true; ls -A /run/bastion-drill | grep -vx lock || true
             find /home/alice -name '*bastion-drill*'; stat -c '%U %a' {KEYS}"
        ));
        assert_eq!(left, "0\nalice 644\n");
    }
}

/// A part of a report: its state, and its text with what to do.
///
/// # Panics
///
/// When there is none of that name.
#[must_use]
pub fn part(report: &Value, name: &str) -> (String, String) {
    let parts = report["parts"].as_array().expect("parts");
    let part = parts.iter().find(|part| part["name"] == name);
    let part = part.unwrap_or_else(|| panic!("no {name}: {report:#}"));
    let word = |key: &str| part[key].as_str().expect("a text").to_owned();
    (word("state"), format!("{} -> {}", word("text"), word("fix")))
}
