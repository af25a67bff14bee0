//! `bench once WORDS...`, at home: runs a command, and prints what it left and what it took, as JSON.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Instant;

use bastion_tests::ffi::{cpu_of_children, largest_child_kib};
use serde::{Deserialize, Serialize};

/// A command that has ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Once {
    /// Exit status; nothing when a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to standard output.
    pub stdout: String,
    /// All that it wrote to standard error.
    pub stderr: String,
    /// From its start to its end, in seconds.
    pub wall_s: f64,
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// The most memory that it had resident, in KiB; at least that of this program.
    pub kib: u64,
}

/// `bench once WORDS...`
pub fn once(mut args: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = args.raw_args()?.collect();
    let (program, rest) = words.split_first().ok_or("a command without a word")?;
    let begun = Instant::now();
    let output = Command::new(program).args(rest).stdin(Stdio::null()).output()?;
    let once = Once {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        wall_s: begun.elapsed().as_secs_f64(),
        cpu_s: cpu_of_children()?.as_secs_f64(),
        kib: largest_child_kib()?,
    };
    println!("{}", serde_json::to_string(&once)?);
    Ok(())
}
