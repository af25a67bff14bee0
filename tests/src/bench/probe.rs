//! What runs inside the throwaway machine, as a process of its own:
//!
//! - `bench open`: opens sessions through libpam by several PAM stacks in turn, so that a busy
//!   moment of the machine hits all of them alike; prints when and how long, as JSON.
//! - `bench spawn`: runs commands in turn; prints how long each took and the largest of them.

use std::error::Error;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bastion_tests::ffi::{Item, PAM_SUCCESS, Pam, largest_child_kib};
use bastion_tests::host::{Host, UNKNOWN};
use bastion_tests::wait::pause;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn Error>;

/// A session that was opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    /// The user's name, another for each session.
    pub user: String,
    /// Just before `pam_open_session`, in microseconds since 1970.
    pub at_us: u64,
    /// Time in it, in nanoseconds.
    pub took_ns: u64,
}

impl Opened {
    /// Time in it, in milliseconds.
    pub fn ms(&self) -> f64 {
        Duration::from_nanos(self.took_ns).as_secs_f64() * 1e3
    }
}

/// Commands that were run, in the order in which they were given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spawned {
    /// For each command, the wall time of each run from start to end, in nanoseconds.
    pub took_ns: Vec<Vec<u64>>,
    /// The largest resident set of all that ran, in KiB; no less than [`Spawned::own_kib`].
    pub largest_kib: u64,
    /// That of the process that starts them.
    pub own_kib: u64,
}

/// In which order sessions are opened, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// How often it is each stack's turn.
    pub rounds: usize,
    /// Sessions in one turn, right after each other.
    pub block: usize,
    /// Time after each turn.
    pub pause: Duration,
    /// Whether each session is in a process of its own, as sshd's are.
    pub anew: bool,
}

impl Turns {
    /// Sessions one by one, with `pause_ms` milliseconds after each.
    pub fn single(rounds: usize, pause_ms: u64) -> Self {
        Self { rounds, block: 1, pause: Duration::from_millis(pause_ms), anew: false }
    }
}

/// `bench open` in `host`: sessions by each of `stacks`, in turn.
///
/// # Panics
///
/// When it fails, or takes longer than five minutes.
pub fn run_open(host: &Host, stacks: &[&str], turns: &Turns) -> Vec<Vec<Opened>> {
    let number = |number: usize| number.to_string();
    let (rounds, block) = (number(turns.rounds), number(turns.block));
    let pause_us = turns.pause.as_micros().to_string();
    let mut words = vec!["/rigs/bench", "open", "--rounds", &rounds, "--block", &block];
    words.extend(["--pause-us", &pause_us]);
    if turns.anew {
        words.push("--anew");
    }
    for stack in stacks {
        words.extend(["--stack", *stack]);
    }
    let output = host.run_with(Duration::from_secs(300), &words, b"").ok();
    serde_json::from_slice(&output.stdout).expect("the report of bench open")
}

/// `bench spawn` in `host`: each of `commands`, `rounds` times, in turn, with `input` on their
/// standard input.
///
/// # Panics
///
/// As [`run_open`].
pub fn run_spawn(host: &Host, commands: &[&[&str]], rounds: usize, input: &str) -> Spawned {
    let rounds = rounds.to_string();
    let commands: Vec<String> =
        commands.iter().map(|words| serde_json::to_string(words).expect("words")).collect();
    let mut words = vec!["/rigs/bench", "spawn", "--rounds", &rounds, "--input", input];
    for command in &commands {
        words.extend(["--command", command]);
    }
    let output = host.run_with(Duration::from_secs(300), &words, b"").ok();
    serde_json::from_slice(&output.stdout).expect("the report of bench spawn")
}

/// `bench open --rounds N [--block N] [--pause-us N] [--anew] [--first N] --stack LINES...`
pub fn open(mut args: lexopt::Parser) -> Result<(), Failure> {
    use lexopt::prelude::*;
    let (mut rounds, mut wait, mut anew) = (1_usize, Duration::ZERO, false);
    let (mut stacks, mut first, mut block) = (Vec::new(), 0_usize, 1_usize);
    while let Some(arg) = args.next()? {
        match arg {
            Long("rounds") => rounds = args.value()?.parse()?,
            Long("pause-us") => wait = Duration::from_micros(args.value()?.parse()?),
            Long("anew") => anew = true,
            Long("block") => block = args.value()?.parse()?,
            Long("first") => first = args.value()?.parse()?,
            Long("stack") => stacks.push(args.value()?.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let dirs: Vec<Confdir> =
        stacks.iter().map(|stack| Confdir::new(stack)).collect::<Result<_, _>>()?;
    let mut opened = vec![Vec::new(); stacks.len()];
    for round in first..first + rounds {
        for (number, stack) in stacks.iter().enumerate() {
            for at in round * block..(round + 1) * block {
                opened[number].push(match anew {
                    true => in_a_process_of_its_own(stack, at)?,
                    false => session(&dirs[number], &format!("u{number}x{at}"))?,
                });
            }
            pause(wait);
        }
    }
    println!("{}", serde_json::to_string(&opened)?);
    Ok(())
}

/// The same by a new process, which has loaded nothing yet.
fn in_a_process_of_its_own(stack: &str, round: usize) -> Result<Opened, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .args(["open", "--rounds", "1", "--first", &round.to_string(), "--stack", stack])
        .output()?;
    let opened: Vec<Vec<Opened>> = serde_json::from_slice(&output.stdout)?;
    opened.into_iter().flatten().next().ok_or_else(|| "a report without a session".into())
}

fn session(dir: &Confdir, user: &str) -> Result<Opened, Failure> {
    let path = CString::new(dir.0.clone().into_os_string().into_vec())?;
    let mut pam = Pam::start(c"sshd", &path).map_err(|code| format!("pam_start: {code}"))?;
    let key = fs::read_to_string("/root/.ssh/id_ed25519.pub")?;
    let key: Vec<&str> = key.split_whitespace().take(2).collect();
    pam.set(Item::User, &CString::new(user)?);
    pam.set(Item::Tty, &c"ssh".into());
    pam.set(Item::Rhost, &CString::new(UNKNOWN)?);
    pam.put_env(&CString::new(format!("SSH_CONNECTION={UNKNOWN} 41258 192.0.2.1 22"))?);
    pam.put_env(&CString::new(format!("SSH_AUTH_INFO_0=publickey {}\n", key.join(" ")))?);
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let begun = Instant::now();
    let code = pam.open_session();
    let took = begun.elapsed();
    if code != PAM_SUCCESS {
        return Err(format!("pam_open_session answered {code}").into());
    }
    pam.close_session();
    let (at_us, took_ns) = (u64::try_from(at.as_micros())?, u64::try_from(took.as_nanos())?);
    Ok(Opened { user: user.to_owned(), at_us, took_ns })
}

/// A PAM configuration with one service, removed when dropped.
struct Confdir(PathBuf);

impl Confdir {
    fn new(stack: &str) -> Result<Self, Failure> {
        let known = (0..).map(|number| {
            std::env::temp_dir().join(format!("bench-{}-{number}", std::process::id()))
        });
        let dir = known.into_iter().find(|dir| !dir.exists()).ok_or("no name is free")?;
        fs::create_dir(&dir)?;
        let dir = Self(dir);
        fs::write(dir.0.join("sshd"), format!("{stack}\n"))?;
        fs::write(dir.0.join("other"), "session required pam_deny.so\n")?;
        Ok(dir)
    }
}

impl Drop for Confdir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `bench spawn --rounds N --input TEXT --command JSON_LIST...`
pub fn spawn(mut args: lexopt::Parser) -> Result<(), Failure> {
    use lexopt::prelude::*;
    let (mut rounds, mut commands, mut input) = (1_usize, Vec::new(), String::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("rounds") => rounds = args.value()?.parse()?,
            Long("input") => input = args.value()?.string()?,
            Long("command") => {
                commands.push(serde_json::from_str::<Vec<String>>(&args.value()?.string()?)?);
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    // From a file: a pipe would have to be filled while the command's time runs.
    let file = Path::new("/tmp/bench-input");
    fs::write(file, &input)?;
    let mut took_ns = vec![Vec::new(); commands.len()];
    for _ in 0..rounds {
        for (words, took_ns) in commands.iter().zip(&mut took_ns) {
            let (program, rest) = words.split_first().ok_or("a command without a word")?;
            let mut command = Command::new(program);
            command.args(rest).stdin(fs::File::open(file)?).stdout(Stdio::null());
            let begun = Instant::now();
            let status = command.status()?;
            took_ns.push(u64::try_from(begun.elapsed().as_nanos())?);
            if !status.success() {
                return Err(format!("{words:?}: {status}").into());
            }
        }
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let own = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own_kib = own.and_then(|line| line.split_whitespace().next()).unwrap_or("0").parse()?;
    let spawned = Spawned { took_ns, largest_kib: largest_child_kib()?, own_kib };
    println!("{}", serde_json::to_string(&spawned)?);
    Ok(())
}
