//! `tunnelwatch through NAME`, for the ssh of somebody on this host who wants to come in by the tunnel: hands over a
//! connection to the socket by which `run` looks through it, so to the jump host's end of the forward and back.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notifier::exit::Failure;

use crate::ffi::send_descriptor;
use crate::status;

/// Connects, and hands the connection to who is at the other end of standard output.
///
/// # Errors
///
/// When there is no way through it now.
pub fn through(run_dir: &Path, name: &str) -> Result<(), Failure> {
    let socket = probes(run_dir, name).into_iter().find_map(|path| UnixStream::connect(path).ok());
    let Some(socket) = socket else {
        let why = match status::of_one(run_dir, name) {
            None => "tunnelwatch run does not keep it".to_owned(),
            Some(state) => match state.why {
                Some(why) => format!("it is down: {why}"),
                None => "it has no session now".to_owned(),
            },
        };
        return Err(Failure::unavailable(format!(
            "no way through {name}: {why}; tunnelwatch status"
        )));
    };
    send_descriptor(std::io::stdout().as_fd(), socket.as_fd())
        .map_err(|error| Failure::io("hand the connection to ssh", &error))
}

/// The sockets of a tunnel's sessions, the newest first: of the session before there may be one left.
fn probes(run_dir: &Path, name: &str) -> Vec<PathBuf> {
    let made = |path: PathBuf| {
        let at = fs::symlink_metadata(&path).and_then(|meta| meta.modified());
        (at.unwrap_or(SystemTime::UNIX_EPOCH), path)
    };
    let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| is_probe(&entry.file_name().to_string_lossy(), name));
    let mut probes: Vec<_> = ours.map(|entry| made(entry.path())).collect();
    probes.sort_by(|one, other| other.cmp(one));
    probes.into_iter().map(|(_, path)| path).collect()
}

/// Whether a file is `NAME.NUMBER.probe`.
fn is_probe(file: &str, name: &str) -> bool {
    let rest = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let number = rest.and_then(|rest| rest.strip_suffix(".probe")).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_newest_socket_of_the_tunnel_comes_first() {
        let dir = std::env::temp_dir().join(format!("through-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for file in ["home.0.probe", "home.x.probe", "home..probe", "home2.1.probe", "home.1.home"]
        {
            drop(UnixListener::bind(dir.join(file)).unwrap());
        }
        // A file's time has the grain of the kernel's tick.
        let old = fs::symlink_metadata(dir.join("home.0.probe")).unwrap().modified().unwrap();
        let newer = loop {
            let path = dir.join("home.12.probe");
            let _ = fs::remove_file(&path);
            drop(UnixListener::bind(&path).unwrap());
            if fs::symlink_metadata(&path).unwrap().modified().unwrap() > old {
                break path;
            }
        };
        assert_eq!(probes(&dir, "home"), [newer, dir.join("home.0.probe")]);
        let Err(failure) = through(&dir, "home") else { panic!("nobody listens") };
        assert!(failure.text().contains("tunnelwatch run does not keep it"), "{failure:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
