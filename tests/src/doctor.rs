//! A machine that is well kept, for `bastion check` to find nothing on, and what it finds.

use std::time::Duration;

use serde_json::Value;

use crate::host::{Host, MODULE, require};
use crate::process::{Daemon, Output};

/// The program, at a place that root alone may write to, whoever has built it.
pub const BASTION: &str = "/srv/bastion";

/// An sshd that takes keys alone.
pub const SSHD: &str = "HostKey /etc/ssh/ssh_host_ed25519_key\nPort 22\nUsePAM yes\nPermitRootLogin no\n\
                    PasswordAuthentication no\nKbdInteractiveAuthentication no\nGatewayPorts no\nPermitTunnel no\n\
                    LogLevel VERBOSE\nAllowTcpForwarding yes\nClientAliveInterval 15\nClientAliveCountMax 3\n";

/// What is told of each of these machines: they have no systemd, no log server and no journal.
pub const NOTES: [&str; 3] = ["no-systemd", "logs-not-forwarded", "sessions-no-log"];

/// A machine on which there is nothing to complain of, and its sender.
#[must_use]
pub fn in_order() -> (Host, Daemon) {
    let host = prepared();
    let sender = host.spawn_sender();
    host.wait_syslog("bastion", "sender-started", 1);
    (host, sender)
}

/// The same without its sender.
#[must_use]
pub fn prepared() -> Host {
    require("libpam_bastion.so");
    let host = Host::new();
    host.configure("http://127.0.0.1:9");
    dress(&host);
    host
}

/// Puts in place what every host has that is well kept.
pub fn dress(host: &Host) {
    host.sh(&format!(
        "install -m 0644 {MODULE} /srv/pam_bastion.so; install -m 0755 /artefacts/bastion {BASTION}
         mkdir -p /etc/apt/apt.conf.d"
    ));
    let line = "-session optional /srv/pam_bastion.so config=/etc/bastion/bastion.toml\n";
    host.write("/etc/pam.d/sshd", format!("{line}session required pam_permit.so\n"), 0o644);
    host.write("/etc/ssh/sshd_config", SSHD, 0o644);
    let on =
        "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n";
    host.write("/etc/apt/apt.conf.d/20auto-upgrades", on, 0o644);
    // Programs of the machine can be put in place of others: /usr is the real machine's, and read only.
    host.sh(
        "for dir in bin sbin; do
           mkdir -p /mnt/$dir /mnt/$dir.work
           mount -t overlay -o lowerdir=/usr/$dir,upperdir=/mnt/$dir,workdir=/mnt/$dir.work own /usr/$dir
         done",
    );
    program(host, "unattended-upgrade", "true");
}

/// A program of the machine, in the place of the real one.
pub fn program(host: &Host, name: &str, script: &str) {
    let path = match name {
        "sshd" => "/usr/sbin/sshd".to_owned(),
        name => format!("/usr/bin/{name}"),
    };
    host.sh(&format!("rm -f {path}"));
    host.write(&path, format!("#!/bin/sh\n{script}\n"), 0o755);
}

/// Runs `bastion check`.
#[must_use]
pub fn check(host: &Host, words: &[&str]) -> Output {
    host.run_with(Duration::from_secs(60), &[&[BASTION, "check"], words].concat(), b"")
}

/// What is found, but for the notes of every such machine; the exit code fits, and the text says the same.
///
/// # Panics
///
/// When it does not.
#[must_use]
pub fn findings(host: &Host, words: &[&str]) -> Vec<Value> {
    let output = check(host, &[words, &["--json"]].concat());
    let json: Value = serde_json::from_str(&output.text()).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.errors(), "");
    let status = json["status"].as_str();
    let code =
        ["ok", "warning", "critical", "unknown"].iter().position(|word| Some(*word) == status);
    assert_eq!(output.code, code.and_then(|code| i32::try_from(code).ok()), "{json:#}");
    let all = json["findings"].as_array().cloned().unwrap_or_default();
    assert!(all.iter().all(|one| one["text"] != ""), "{json:#}");
    all.into_iter().filter(|one| !NOTES.iter().any(|id| one["id"] == *id)).collect()
}

/// Of each finding its severity and id.
#[must_use]
pub fn ids(findings: &[Value]) -> Vec<String> {
    let word = |one: &Value| {
        format!("{} {}", one["severity"].as_str().unwrap_or("?"), one["id"].as_str().unwrap_or("?"))
    };
    findings.iter().map(word).collect()
}
