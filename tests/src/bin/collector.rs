//! `collector SOCKET FILE`: a syslog daemon that only writes down what it gets.
//!
//! Each datagram becomes one line of FILE: arrival in microseconds since 1970, a space, and
//! the bytes, escaped. It stops reading when it is stopped (SIGSTOP), which is how a test
//! wedges `/dev/log`.
#![forbid(unsafe_code)]

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::SystemTime;

use bastion_tests::syslog::escaped;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("collector: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(path), Some(file)) = (args.next(), args.next()) else {
        return Err(std::io::Error::other("usage: collector SOCKET FILE"));
    };
    let _ = std::fs::remove_file(&path);
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    let socket = UnixDatagram::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    println!("listening");
    let mut datagram = vec![0; 256 * 1024];
    loop {
        let length = socket.recv(&mut datagram)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = now.map_or(0, |since| since.as_micros());
        let line = format!("{at} {}\n", escaped(&datagram[..length]));
        file.write_all(line.as_bytes())?;
    }
}
