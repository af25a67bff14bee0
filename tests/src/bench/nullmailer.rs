//! nullmailer, which would take the place of the machine's mail server: so its programs can also lie
//! in a folder, out of which a throwaway machine gets them.

use std::path::{Path, PathBuf};

use bastion_tests::host::Host;
use bastion_tests::process::Daemon;

use super::script::installed;

/// Its spool.
pub const SPOOL: &str = "/var/spool/nullmailer";

/// Puts its programs into the machine: those that are installed, or those under `BASTION_PEERS`.
pub fn install(host: &Host) -> Result<(), String> {
    if installed(host, "nullmailer-inject") {
        return Ok(());
    }
    let peers = std::env::var_os("BASTION_PEERS").map(PathBuf::from);
    let peers = peers.ok_or("not installed, and no BASTION_PEERS")?;
    if !peers.join("usr/sbin/nullmailer-send").exists() {
        return Err(format!("not in {}", peers.display()));
    }
    copy(&peers.join("usr"), host, "/peers/usr")?;
    let mounted =
        host.run(&["mount", "-t", "overlay", "-o", "lowerdir=/peers/usr:/usr", "overlay", "/usr"]);
    if mounted.code == Some(0) { Ok(()) } else { Err(mounted.errors()) }
}

/// Copies a folder of the real machine into the throwaway one.
fn copy(from: &Path, host: &Host, to: &str) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", from.display());
    host.sh(&format!("mkdir -p {to}"));
    for entry in std::fs::read_dir(from).map_err(failed)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let to = format!("{to}/{name}");
        match entry.file_type().map_err(failed)? {
            kind if kind.is_dir() && name != "share" => copy(&entry.path(), host, &to)?,
            kind if kind.is_file() => {
                host.write(&to, std::fs::read(entry.path()).map_err(failed)?, 0o755);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Its settings and folders: all mail goes to `port` of this machine.
pub fn configure(host: &Host, port: u16) {
    host.sh(&format!(
        "mkdir -p /etc/nullmailer {SPOOL}/{{queue,tmp,failed}}
        echo jump.example.net >/etc/mailname
        echo '127.0.0.1 smtp --port={port}' >/etc/nullmailer/remotes
        mkfifo {SPOOL}/trigger"
    ));
}

/// Starts its daemon.
pub fn start(host: &Host) -> Daemon {
    host.spawn(&["nullmailer-send"])
}

/// How many mails are in `queue` or `failed`.
pub fn count(host: &Host, room: &str) -> usize {
    std::fs::read_dir(host.path(format!("{SPOOL}/{room}"))).map_or(0, Iterator::count)
}
