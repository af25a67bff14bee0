//! A spool on a real disk. The throwaway machine's files are in memory, where `fsync` costs
//! nothing; what waits for a disk would look better than it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use bastion_tests::host::{Host, rigs};

/// Start of the names of our folders in the target directory, with the process id behind it.
const NAME: &str = "bench-disk-";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Which disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder beside the programs: `fsync` is what it is on this machine.
    Folder,
    /// A new ext4 in a file. ext4 takes no inode again that was freed in the last minute, and
    /// looks at each such one for every file it makes: by the thousands of alerts of a
    /// bench, a login would seem to take two to three times as long as it does.
    Fresh,
}

/// A folder on the disk that holds the target directory, removed when dropped.
pub struct Disk {
    path: PathBuf,
    /// Where it is in the machine.
    inside: String,
    /// What it is, for the report.
    pub words: String,
}

impl Disk {
    /// Makes one and puts it under the machine's spool and the sender's state.
    ///
    /// # Panics
    ///
    /// When it cannot: the numbers would be those of a disk in memory.
    pub fn under(host: &Host, kind: Kind) -> Self {
        remove_abandoned(&rigs());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}{}-{number}", std::process::id());
        let path = rigs().join(&name);
        fs::create_dir(&path)
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        let mut disk = Self { path, inside: format!("/rigs/{name}"), words: String::new() };
        host.sh("mount -o remount,bind,rw /rigs");
        let fresh = kind == Kind::Fresh && disk.mount_fresh(host);
        for dir in ["/var/spool/bastion", "/var/lib/bastion"] {
            disk.bind(host, dir);
        }
        let file_system = host.sh("findmnt -n -o FSTYPE -T /var/spool/bastion");
        let how = if fresh { "made for the run, in a file" } else { "the target directory's" };
        disk.words = format!("{}, {how}", file_system.trim());
        disk
    }

    /// Puts a new ext4 at `/mnt` of the machine; `false` where loop devices or mkfs.ext4 are
    /// not to be had.
    fn mount_fresh(&mut self, host: &Host) -> bool {
        let image = self.path.join("image");
        let sized = fs::File::create(&image).and_then(|file| file.set_len(256 << 20));
        let lazy = ["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        let made = sized.is_ok() && run(Command::new("mkfs.ext4").args(lazy).arg(&image)).is_some();
        let attach = || run(Command::new("losetup").args(["--find", "--show"]).arg(&image));
        let Some(device) = made.then(attach).flatten() else { return false };
        let number = device.trim().trim_start_matches("/dev/loop").to_owned();
        let node =
            format!("mknod /dev/bench-disk b 7 {number}; mount -t ext4 /dev/bench-disk /mnt");
        let mounted = host.run(&["sh", "-ec", &node]).code == Some(0);
        // From now on it goes with the last mount, and that with the machine.
        let _ = run(Command::new("losetup").args(["--detach", device.trim()]));
        if mounted {
            "/mnt/".clone_into(&mut self.inside);
        }
        mounted
    }

    /// Puts a copy of the machine's folder `dir`, owners and modes kept, on this disk in its place.
    pub fn bind(&self, host: &Host, dir: &str) {
        let copy = format!("{}/{}", self.inside, dir.replace('/', "_"));
        host.sh(&format!("cp -a {dir} {copy}; mount --bind {copy} {dir}"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What `command` printed, when it succeeded.
fn run(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes what a killed bench has left behind.
fn remove_abandoned(rigs: &Path) {
    for entry in fs::read_dir(rigs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(NAME).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
