//! `[host]`: the machine's name and its directories.

use std::path::{Path, PathBuf};

use super::{Document, Section};
use crate::foreign::Foreign;

/// `[host]`, with its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The machine's name in messages. Default: its host name.
    pub name: Foreign,
    /// Directory of `drop/`, `queue/`, `failed/` and `sent/`. Default `/var/spool/bastion`.
    pub spool: PathBuf,
    /// Directory of the sender's lock. Default `/run/bastion`.
    pub run: PathBuf,
    /// Directory of what the sender remembers across restarts. Default `/var/lib/bastion`.
    pub state: PathBuf,
    /// Directory of the records of open sessions. Default `/run/bastion-sessions`.
    pub sessions: PathBuf,
    /// The local syslog socket. Default `/dev/log`.
    pub syslog: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            name: host_name(),
            spool: "/var/spool/bastion".into(),
            run: "/run/bastion".into(),
            state: "/var/lib/bastion".into(),
            sessions: "/run/bastion-sessions".into(),
            syslog: "/dev/log".into(),
        }
    }
}

/// Reads `[host]`; what it does not say is the default.
pub fn read(document: &mut Document<'_>) -> Host {
    let mut host = Host::default();
    document.table("host", |section| {
        if let Some(name) = section.get::<String>("name") {
            if name.value.trim().is_empty() || name.value.len() > 64 {
                section.reject("name", &name, "a name has 1 to 64 bytes");
            } else {
                host.name = Foreign::from(name.value.as_str());
            }
        }
        directory(section, "spool", &mut host.spool);
        directory(section, "run", &mut host.run);
        directory(section, "state", &mut host.state);
        directory(section, "sessions", &mut host.sessions);
        directory(section, "syslog", &mut host.syslog);
    });
    host
}

fn directory(section: &mut Section<'_, '_>, key: &str, into: &mut PathBuf) {
    let absolute = |text: &str| {
        let path = Path::new(text);
        if path.is_absolute() {
            Ok(path.to_owned())
        } else {
            Err(format!("{text:?} is no absolute path; it has to start with a /"))
        }
    };
    if let Some(path) = section.parse(key, absolute) {
        *into = path.value;
    }
}

/// The host name, from the kernel (proc_sys_kernel(5)); no resolver is asked.
fn host_name() -> Foreign {
    match std::fs::read("/proc/sys/kernel/hostname") {
        Ok(name) => Foreign::new(name.trim_ascii_end()),
        Err(_) => Foreign::from("?"),
    }
}
