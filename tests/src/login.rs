//! Logging in: sshd of the throwaway machine, its PAM stack, and clients.

use std::time::Duration;

use crate::host::{CONFIG, DEADLINE, Host, MODULE, require};
use crate::process::Output;
use crate::wait::wait_for;

/// Password of alice, bob and root.
pub const PASSWORD: &str = "correct horse";

/// Which session line stands in `/etc/pam.d/sshd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// None of ours: the control, "as without us".
    Bare,
    /// The line of the documentation.
    Bastion,
}

const SSHD_CONFIG: &str = "
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM yes
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication yes
TrustedUserCAKeys /etc/ssh/user_ca.pub
Subsystem sftp internal-sftp
MaxStartups 200
MaxSessions 20
UseDNS no
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
Match User forced
    ForceCommand echo forced to this
Match User dropbox
    ChrootDirectory /srv/sftp
    ForceCommand internal-sftp
";

const SSH_CONFIG: &str = "
Host *
    IdentitiesOnly yes
    BatchMode yes
    ConnectTimeout 20
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
";

/// Of two values, ssh takes the first; arguments come before both files.
const PASSWORD_CONFIG: &str = "
Host *
    BatchMode no
    PubkeyAuthentication no
    NumberOfPasswordPrompts 1
";

impl Host {
    /// Starts sshd on port 22 with the PAM stack of the documentation.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start_sshd(&mut self) {
        self.set_stack(Stack::Bastion);
        self.write("/etc/ssh/sshd_config", self.sshd_config(), 0o644);
        self.write("/root/ssh_config", SSH_CONFIG, 0o644);
        self.restart_sshd();
    }

    /// Ends a running sshd and starts one with the `/etc/ssh/sshd_config` as it is now.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn restart_sshd(&mut self) {
        self.end_sshd();
        let daemon = self.spawn(&["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config"]);
        wait_for("sshd to listen", DEADLINE, || {
            daemon.output().contains("listening on").then_some(())
        });
        self.keep_sshd(daemon);
    }

    /// OpenSSH 9.8 counts failures against a source address and then refuses it for a
    /// while; older ones do not know the word.
    fn sshd_config(&self) -> String {
        let penalties = "PerSourcePenalties=no";
        let known = self.run(&["/usr/sbin/sshd", "-G", "-f", "/dev/null", "-o", penalties]);
        let extra = if known.code == Some(0) { "PerSourcePenalties no\n" } else { "" };
        format!("{extra}{SSHD_CONFIG}")
    }

    /// A machine with the documentation's PAM line, [`Host::configure`]d (with no provider
    /// there), and a running sshd.
    ///
    /// # Panics
    ///
    /// When the module has not been built, or sshd does not come up.
    #[must_use]
    pub fn with_sshd() -> Self {
        require("libpam_bastion.so");
        let mut host = Self::new();
        host.configure("http://127.0.0.1:9");
        host.start_sshd();
        host
    }

    /// Writes `/etc/pam.d/sshd`; sshd reads it for each connection.
    pub fn set_stack(&self, stack: Stack) {
        let ours = format!("-session optional {MODULE} config={CONFIG}\n");
        let ours = if stack == Stack::Bastion { &ours } else { "" };
        self.set_session(&format!("session required pam_permit.so\n{ours}"));
    }

    /// Writes `/etc/pam.d/sshd` with `session` as the lines of the session stack.
    pub fn set_session(&self, session: &str) {
        // pam_unix is there for the password logins only; as an account or session module
        // it would write to syslog and wait for it.
        let stack = format!("auth required pam_unix.so\naccount required pam_permit.so\n{session}");
        self.write("/etc/pam.d/sshd", stack, 0o644);
    }

    /// `ssh ARGS` in the machine: `host.ssh(&["-b", UNKNOWN, "alice@jump", "true"])`.
    #[must_use]
    pub fn ssh(&self, args: &[&str]) -> Output {
        self.ssh_with(DEADLINE, args, b"")
    }

    /// The same with a deadline and standard input of its own.
    #[must_use]
    pub fn ssh_with(&self, deadline: Duration, args: &[&str], input: &[u8]) -> Output {
        let mut words = vec!["ssh", "-F", "/root/ssh_config"];
        words.extend(args);
        self.run_with(deadline, &words, input)
    }

    /// `ssh` with the password instead of a key, by an askpass program.
    #[must_use]
    pub fn ssh_password(&self, password: &str, args: &[&str]) -> Output {
        self.write("/root/askpass", format!("#!/bin/sh\necho '{password}'\n"), 0o755);
        self.write("/root/password_config", format!("{PASSWORD_CONFIG}{SSH_CONFIG}"), 0o644);
        let mut words = vec!["env", "SSH_ASKPASS=/root/askpass", "SSH_ASKPASS_REQUIRE=force"];
        words.extend(["ssh", "-F", "/root/password_config"]);
        words.extend(args);
        self.run(&words)
    }

    /// OpenSSH's SHA256 fingerprint of a public key file of the machine.
    ///
    /// # Panics
    ///
    /// When ssh-keygen does not understand the file.
    #[must_use]
    pub fn fingerprint(&self, public_key: &str) -> String {
        let line = self.run(&["ssh-keygen", "-l", "-f", public_key]).ok().text();
        line.split_whitespace().nth(1).expect("bits fingerprint comment (type)").to_owned()
    }
}
