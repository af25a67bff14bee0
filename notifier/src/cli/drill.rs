//! `bastion drill`: proves the whole way, see [`crate::drill`].

use std::path::Path;
use std::thread;
use std::time::Duration;

use lexopt::ValueExt;

use super::Options;
use crate::channel::{Asked, Secrets};
use crate::clock::Stamp;
use crate::config::host::Host;
use crate::deliver::settings::Settings;
use crate::drill::login::{Cleanup, keys};
use crate::drill::report::{Report, State};
use crate::drill::{self, HEARTBEAT};
use crate::event::{Note, Severity, Tally, Unit, What};
use crate::exit::{Failure, print};
use crate::ffi;
use crate::foreign::Foreign;
use crate::spool::Spool;
use crate::spool::drop::{self, SpoolError, Sync};
use crate::syslog::{Level, Line, Log, Source};

pub(super) const HELP: &str = " [--monthly] [--json]

Proves the whole way, in a minute at most, and says how each part of it went: a test message over each channel, whether
who watches the sender can be reached, what tunnelwatch check finds, a login through the tunnel with a key that is made
for it and taken out again, whether the alert of that login arrives, linkprobe check of each line, what bastion check
finds, and what ends soon: rules and certificates. Where a part has nothing to try it says so. To be run by root.

The login is that of [drill] user, whose file of keys gets a line that lets in from this host alone, for two minutes,
and does nothing. Of a drill that was killed the next one takes it out.

  --monthly  for the timer: how many parts went well is added up for the weekly report, and what failed is told at once
  --json     for a program: status, summary, took_s, and parts with name, state, text, fix and took_s

exit codes, as monitoring plugins have them, with the summary in the first line:
  0 OK        all that was tried went well
  1 WARNING   something works, and not for long, or could not be looked at
  2 CRITICAL  something does not work
  3 UNKNOWN   nothing could be tried
";

/// How often it is looked whether the drill has ended.
const STEP: Duration = Duration::from_millis(50);

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let (mut monthly, mut json) = (false, false);
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("monthly") => monthly = true,
            lexopt::Arg::Long("json") => json = true,
            // What this program asks of itself.
            lexopt::Arg::Value(word) if !monthly && !json => {
                let word = word.string().map_err(Failure::usage)?;
                return serve(&word, options);
            }
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let _ = ffi::forbid_core_dumps();
    // Programs that are asked are started elsewhere.
    let config = std::path::absolute(&options.config).unwrap_or_else(|_| options.config.clone());
    let report = drill(&config)?;
    print(&if json { report.json() } else { report.text() });
    if monthly {
        tell(&super::lenient_host(&config), &report)?;
    }
    match report.exit_code() {
        0 => Ok(()),
        code => Err(Failure::said(code)),
    }
}

/// Runs it, and when it is told to end takes away what it has put somewhere.
fn drill(config: &Path) -> Result<Report, Failure> {
    let failed = |error| Failure::io("wait for signals", &error);
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
    let told_to_end = ffi::take_signals(&signals).map_err(failed)?;
    // It outlives this function where the drill is ended in the middle.
    let cleanup = std::sync::Arc::new(Cleanup::default());
    let (config, its) = (config.to_owned(), std::sync::Arc::clone(&cleanup));
    let drill =
        thread::Builder::new().name("drill".into()).spawn(move || drill::run(&config, &its));
    let drill = drill.map_err(|error| Failure::io("start a thread", &error))?;
    while !drill.is_finished() {
        let mut signal = [0; 128];
        let _ = ffi::wait_readable(&[std::os::fd::AsFd::as_fd(&told_to_end)], STEP);
        if std::io::Read::read(&mut &told_to_end, &mut signal).is_ok() {
            return Err(Failure::later(match cleanup.end() {
                Ok(()) => "the drill was ended by a signal; its key is taken out".to_owned(),
                Err(why) => format!(
                    "the drill was ended by a signal, and its key could not be taken out: {why}; it lets nobody in \
                     after two minutes, and the next drill takes it out"
                ),
            }));
        }
    }
    drill.join().map_err(|_| Failure::later("the drill died; run it again, and report that"))
}

/// What another process of this program does for a drill.
fn serve(word: &str, mut options: Options) -> Result<(), Failure> {
    let mut words = Vec::new();
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Value(word) => words.push(word.string().map_err(Failure::usage)?),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    match (word, words.split_first()) {
        (keys::ADD | keys::REMOVE | keys::FIND, Some((file, rest))) => {
            keys::serve(word, Path::new(file), rest)
        }
        (HEARTBEAT, None) => reach_heartbeat(&options.config),
        _ => Err(Failure::usage(format!("unexpected argument {word:?}"))),
    }
}

fn reach_heartbeat(config: &Path) -> Result<(), Failure> {
    let settings = Settings::load(config, &Secrets::from_environment()).map_err(Failure::config)?;
    // The secrets are read; what talks to the network need not be root.
    super::run::step_down(&settings.host)?;
    let asked = settings.notify.heartbeat.map(|mut heartbeat| heartbeat.reach());
    let asked = asked.unwrap_or(Asked::NotAsked("there is none"));
    let part = drill::judge_heartbeat(&asked);
    match part.state {
        State::Failed if part.fix.is_empty() => Err(Failure::unavailable(part.text)),
        State::Failed => Err(Failure::unavailable(format!("{}; {}", part.text, part.fix))),
        _ => {
            print(&part.text);
            Ok(())
        }
    }
}

/// Has it added up for the weekly report, and what failed told now.
fn tell(host: &Host, report: &Report) -> Result<(), Failure> {
    let [tried, failed, warnings] = report.counts();
    let log = Log::new(&host.syslog, "bastion", Source::Daemon);
    let level = if failed > 0 { Level::Warning } else { Level::Info };
    let line = Line::new("drill").word("parts", tried).word("failed", failed);
    log.say(level, &line.word("warnings", warnings).text("message", &report.summary()));
    let count = |name: &str, good: usize, all: usize| {
        let (good, all) = (good as u64, all as u64);
        What::Tally(Tally { name: Foreign::from(name), good, all, unit: Unit::Times })
    };
    // What is told now comes first: where there is no room for all, it is what counts.
    let mut events = Vec::new();
    if let Some(news) = report.news() {
        let mut text = news;
        if text.len() > Note::MAX {
            let end = (0..=Note::MAX - 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text += "..";
        }
        events.push((Severity::Warning, What::Note(Note { text })));
    }
    events.push((Severity::Info, count("drill parts", tried - failed, tried)));
    if warnings > 0 {
        events.push((Severity::Info, count("drill warnings", warnings, warnings)));
    }
    let spool = Spool::new(&host.spool);
    for (severity, what) in events {
        let event = drop::new_event(Stamp::now(), &host.name, severity, what);
        match drop::publish(&spool, &event, Sync::Now) {
            // It is there, if not for sure on the disk.
            Err(SpoolError::Io { step: "sync", .. }) | Ok(_) => {}
            Err(error) => return Err(Failure::spool("the drill's result is not told", error)),
        }
    }
    Ok(())
}
