//! `pamrun`: opens sessions through libpam and reports what the module did to the process.
//!
//! ```text
//! pamrun [--module PATH] [--config PATH] [--service NAME] [--user NAME] [--rhost HOST]
//!        [--env NAME=VALUE]... [--rounds N] [--keep] [--close] [--nofile-zero]
//! ```
//!
//! Values may be `hex:6162`. The PAM stack is `pam_permit.so` and, with `--module`, our
//! line, in a private directory (`pam_start_confdir`): no root, no `/etc`. Each round is a
//! transaction of its own, as each connection is in sshd; `--keep` uses one for all.
//! `--nofile-zero` leaves no descriptor free while our module opens its session (and has
//! `pam_echo.so` after it, see `ffi`). The report is [`bastion_tests::pam::Report`], one line
//! of JSON.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bastion_tests::ffi::{Item, PAM_SUCCESS, Pam, set_open_files};
use bastion_tests::pam::{Memory, Report, Round, State};

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match Arguments::read().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pamrun: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    module: Option<PathBuf>,
    config: Option<PathBuf>,
    service: CString,
    user: CString,
    rhost: Option<CString>,
    env: Vec<CString>,
    rounds: usize,
    keep: bool,
    close: bool,
    nofile_zero: bool,
}

impl Arguments {
    fn read() -> Result<Self, Error> {
        use lexopt::prelude::*;
        let mut all = Self {
            module: None,
            config: None,
            service: c"sshd".into(),
            user: c"alice".into(),
            rhost: None,
            env: Vec::new(),
            rounds: 1,
            keep: false,
            close: false,
            nofile_zero: false,
        };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("module") => {
                    all.module = Some(args.value()?.into()).filter(|path| path != Path::new(""))
                }
                Long("config") => all.config = Some(args.value()?.into()),
                Long("service") => all.service = bytes(args.value()?)?,
                Long("user") => all.user = bytes(args.value()?)?,
                Long("rhost") => all.rhost = Some(bytes(args.value()?)?),
                Long("env") => all.env.push(bytes(args.value()?)?),
                Long("rounds") => all.rounds = args.value()?.parse()?,
                Long("keep") => all.keep = true,
                Long("close") => all.close = true,
                Long("nofile-zero") => all.nofile_zero = true,
                _ => return Err(arg.unexpected().into()),
            }
        }
        Ok(all)
    }

    /// Writes the stack into a new directory, which is removed when the answer is dropped.
    fn stack(&self) -> Result<Confdir, Error> {
        let dir = std::env::temp_dir().join(format!("pamrun-{}", std::process::id()));
        fs::create_dir(&dir)?;
        let dir = Confdir(dir);
        let mut stack = "session required pam_permit.so\n".to_owned();
        if let Some(module) = &self.module {
            let config = self.config.as_ref().map(|path| format!(" config={}", path.display()));
            let config = config.unwrap_or_default();
            stack.push_str(&format!("-session optional {}{config}\n", module.display()));
        }
        if self.nofile_zero {
            stack.push_str("session optional pam_echo.so done\n");
        }
        fs::write(dir.0.join(self.service.to_str()?), &stack)?;
        fs::write(dir.0.join("other"), "session required pam_deny.so\n")?;
        Ok(dir)
    }

    fn start(&self, confdir: &Confdir) -> Result<Result<Pam, i32>, Error> {
        let path = CString::new(confdir.0.clone().into_os_string().into_vec())?;
        let mut pam = match Pam::start(&self.service, &path) {
            Ok(pam) => pam,
            Err(code) => return Ok(Err(code)),
        };
        pam.set(Item::User, &self.user);
        pam.set(Item::Tty, &c"ssh".into());
        if let Some(rhost) = &self.rhost {
            pam.set(Item::Rhost, rhost);
        }
        for variable in &self.env {
            let code = pam.put_env(variable);
            if code != PAM_SUCCESS {
                return Err(format!("pam_putenv answered {code}").into());
            }
        }
        Ok(Ok(pam))
    }
}

struct Confdir(PathBuf);

impl Drop for Confdir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bytes(value: OsString) -> Result<CString, Error> {
    let value = value.into_vec();
    let Some(digits) = value.strip_prefix(b"hex:") else {
        return Ok(CString::new(value)?);
    };
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).map_err(|_| "not hex")?;
        u8::from_str_radix(pair, 16).map_err(|_| "not hex")
    });
    Ok(CString::new(pairs.collect::<Result<Vec<u8>, _>>()?)?)
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let confdir = arguments.stack()?;
    // Twice, so that what the look itself takes is not counted.
    let (_, memory_bare) = (memory()?, memory()?);
    let mut pam = arguments.start(&confdir)?;
    let before = State::of_this_process()?;
    let memory_before = memory()?;
    let mut rounds = Vec::with_capacity(arguments.rounds);
    for number in 0..arguments.rounds {
        if number > 0 && !arguments.keep {
            // The old one ends first: two at once would keep the module loaded.
            drop(pam);
            pam = arguments.start(&confdir)?;
        }
        rounds.push(match &mut pam {
            Err(code) => Round { start: *code, open: -1, close: None, open_ns: 0 },
            Ok(pam) => session(pam, arguments)?,
        });
    }
    let after = State::of_this_process()?;
    let memory_after = memory()?;
    drop(pam);
    let memory_ended = memory()?;
    drop(confdir);
    let report =
        Report { rounds, memory_bare, memory_before, memory_after, memory_ended, before, after };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn session(pam: &mut Pam, arguments: &Arguments) -> Result<Round, Error> {
    let limit = match arguments.nofile_zero {
        true => Some(set_open_files(lowest_free_descriptor()?)?),
        false => None,
    };
    let start = Instant::now();
    let open = pam.open_session();
    let open_ns = u64::try_from(start.elapsed().as_nanos())?;
    if let Some(limit) = limit {
        set_open_files(limit)?;
    }
    let close = arguments.close.then(|| pam.close_session());
    Ok(Round { start: PAM_SUCCESS, open, close, open_ns })
}

/// The number that the next open(2) would answer. With this as the limit, it fails.
fn lowest_free_descriptor() -> Result<u64, Error> {
    let file = File::open("/dev/null")?;
    Ok(u64::try_from(file.as_raw_fd())?)
}

fn memory() -> Result<Memory, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = |name| -> Result<u64, Error> {
        let value = field(&status, name).ok_or("a line is missing in /proc/self/status")?;
        Ok(value.trim_end_matches("kB").trim().parse()?)
    };
    Ok(Memory { resident_kib: kib("VmRSS")?, own_kib: kib("RssAnon")? })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let found = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    status.lines().find_map(found).map(str::trim)
}

/// Looks at this process through /proc.
trait Look: Sized {
    fn of_this_process() -> Result<Self, Error>;
}

impl Look for State {
    fn of_this_process() -> Result<Self, Error> {
        let status = fs::read_to_string("/proc/self/status")?;
        let get = |name| field(&status, name).unwrap_or_default().to_owned();
        let mut environment: Vec<(String, String)> = std::env::vars_os()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect();
        environment.sort();
        Ok(Self {
            descriptors: descriptors()?,
            umask: get("Umask"),
            cwd: std::env::current_dir()?.to_string_lossy().into_owned(),
            environment,
            signals: ["SigBlk", "SigIgn", "SigCgt"].map(get).to_vec(),
            threads: get("Threads").parse()?,
            children: children()?,
        })
    }
}

fn descriptors() -> Result<Vec<(u32, String)>, Error> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let number: u32 = entry.file_name().to_string_lossy().parse()?;
        let target = fs::read_link(entry.path()).unwrap_or_default();
        // The descriptor that lists the directory is gone when anyone reads this.
        if !is_own_listing(&target) {
            all.push((number, target.to_string_lossy().into_owned()));
        }
    }
    all.sort();
    Ok(all)
}

fn is_own_listing(target: &Path) -> bool {
    target == Path::new(&format!("/proc/{}/fd", std::process::id()))
}

fn children() -> Result<Vec<u32>, Error> {
    let mut all = Vec::new();
    for task in fs::read_dir("/proc/self/task")?.flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(all)
}
