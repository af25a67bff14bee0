//! One daemon in a run directory: the lock that says so, and whose number is in it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::exit::Failure;
use crate::ffi::try_lock;

/// Takes the lock of the run directory for `program`, so that there is one of it. The lock goes with the
/// file that is answered.
///
/// # Errors
///
/// When another has it, or it cannot be had.
pub fn take(run_dir: &Path, program: &str) -> Result<File, Failure> {
    let path = run_dir.join("lock");
    let what = format!("lock {}", path.display());
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| Failure::io(&what, &error))?;
    match try_lock(&file) {
        Ok(true) => {}
        Ok(false) => {
            let dir = run_dir.display();
            return Err(Failure::later(format!("another {program} works in {dir}")));
        }
        Err(error) => return Err(Failure::io(&what, &error)),
    }
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}
