//! Looking for a secret in everything that a machine holds.

use std::fs;

use crate::host::Host;

/// What must not be found of a secret: itself, and the greater part of it, in case something is
/// cut.
#[must_use]
pub fn needles(secrets: &[&str]) -> Vec<Vec<u8>> {
    secrets
        .iter()
        .flat_map(|text| [text.as_bytes(), &text.as_bytes()[text.len() / 3..]])
        .map(<[u8]>::to_vec)
        .collect()
}

/// Whether `bytes` hold one of the needles.
#[must_use]
pub fn shows(bytes: &[u8], needles: &[Vec<u8>]) -> bool {
    needles.iter().any(|needle| bytes.windows(needle.len()).any(|part| part == needle))
}

/// Everything in the machine that shows a needle, but for the files it is kept in: paths, and
/// command lines and environments of processes.
///
/// # Panics
///
/// When no process is seen: then the search would find nothing whatever there is.
#[must_use]
pub fn places(host: &Host, needles: &[Vec<u8>], kept_in: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["/var", "/run", "/tmp", "/etc", "/home", "/root", "/srv"] {
        files(host, dir, needles, &mut found);
    }
    found.retain(|path| !kept_in.contains(&path.as_str()));
    processes(host, needles, &mut found);
    found
}

/// Every regular file below `dir` that shows a needle. Directories are few here.
fn files(host: &Host, dir: &str, needles: &[Vec<u8>], found: &mut Vec<String>) {
    for entry in fs::read_dir(host.path(dir)).into_iter().flatten().flatten() {
        let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files(host, &path, needles, found);
        } else if kind.is_file() && shows(&fs::read(entry.path()).unwrap_or_default(), needles) {
            found.push(path);
        }
    }
}

/// Every process of the machine whose command line or environment shows a needle.
fn processes(host: &Host, needles: &[Vec<u8>], found: &mut Vec<String>) {
    let mut looked = 0;
    for entry in fs::read_dir(host.path("/proc")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        looked += 1;
        for file in ["cmdline", "environ", "comm"] {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            if shows(&bytes, needles) {
                found.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    assert!(looked >= 2, "process 1 and syslog at least");
}
