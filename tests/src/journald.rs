//! systemd-journald in a throwaway machine, without systemd: it opens its sockets itself.

use std::os::unix::net::UnixDatagram;

use crate::host::{DEADLINE, Host};
use crate::process::Daemon;
use crate::wait::wait_until;

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// Persistent, as Debian's is, and forwarding to a syslog daemon that listens. `_bastion` has a
/// number here that is a person's, who would get a file of his own: without `SplitMode=` the
/// journal is in one, as it is where `_bastion` is a system user.
const CONFIG: &str = "[Journal]\nStorage=persistent\nForwardToSyslog=yes\nSplitMode=none\n\
                      ReadKMsg=no\nAudit=no\n";

impl Host {
    /// Puts a journald in the place of the collector behind `/dev/log`.
    ///
    /// # Panics
    ///
    /// When there is none (package systemd), or it does not listen.
    #[must_use]
    pub fn start_journald(&mut self) -> Daemon {
        assert!(self.path(JOURNALD).exists(), "{JOURNALD} is missing: apt install systemd");
        self.remove_syslog();
        // The directory says that systemd is at work (sd_booted(3)), the file that the disk is
        // there to write on.
        self.sh("mkdir -p /run/systemd/system /run/systemd/journal /var/log/journal /etc/systemd
            echo 0123456789abcdef0123456789abcdef >/etc/machine-id
            touch /run/systemd/journal/flushed
            mountpoint -q /sys/fs/cgroup || mount -t cgroup2 -o ro cgroup2 /sys/fs/cgroup
            ln -s /run/systemd/journal/dev-log /dev/log");
        self.write("/etc/systemd/journald.conf", CONFIG, 0o644);
        let journald = self.spawn(&[JOURNALD]);
        let socket = self.path("/run/systemd/journal/dev-log");
        let listens = || UnixDatagram::unbound().is_ok_and(|ours| ours.connect(&socket).is_ok());
        assert!(wait_until(DEADLINE, listens), "{}", journald.output());
        journald
    }
}
