//! `bastion run`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Options;
use crate::channel::Secrets;
use crate::config::host::Host;
use crate::deliver::engine::{Engine, EngineError};
use crate::deliver::settings::Settings;
use crate::exit::Failure;
use crate::ffi;
use crate::spool::Spool;
use crate::syslog::{Level, Line, Log, Source};

pub(super) const HELP: &str = " [--stderr]

Takes alerts from the spool and delivers them, until it gets SIGTERM or SIGINT; then it ends
the try that is under way. It runs as the owner of the spool's queue/: started by root, it
reads the secrets and then becomes that user.

  --stderr  repeat every log line on standard error

signals:
  SIGUSR1   try everything now, the line is back
  SIGHUP    read the configuration again; a broken one is told and the old one stays
";

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let mut to_stderr = false;
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("stderr") => to_stderr = true,
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let core_dumps = ffi::forbid_core_dumps();
    let secrets = Secrets::from_environment();
    let loaded = Settings::load(&options.config, &secrets);
    let syslog = match &loaded {
        Ok(settings) => settings.host.syslog.clone(),
        Err(_) => super::lenient_host(&options.config).syslog,
    };
    let log = Log::new(&syslog, "bastion", Source::Daemon).patient();
    let log = if to_stderr { log.and_stderr() } else { log };
    let settings = loaded.map_err(|error| {
        for problem in error.to_string().lines() {
            let line = Line::new("config-problem").text("message", problem);
            log.say(Level::Error, &line.text("effect", "the sender does not start"));
        }
        Failure::config(error).logged()
    })?;
    if let Err(error) = core_dumps {
        let message = format!("a core file of the sender would hold the secrets: {error}");
        log.say(Level::Warning, &Line::new("core-dumps").text("message", &message));
    }
    step_down(&settings.host)?;
    if ffi::geteuid() == 0 {
        let why =
            "queue/ belongs to root, and the sender is not to run as root; chown it to _bastion";
        log.say(Level::Error, &Line::new("sender-failed").text("message", why));
        return Err(Failure::config(why));
    }
    // Changing the user may have reset it, see PR_SET_DUMPABLE in prctl(2).
    let _ = ffi::forbid_core_dumps();
    let mut engine =
        Engine::start(&options.config, settings, secrets, log.clone()).map_err(|error| {
            log.say(Level::Error, &Line::new("sender-failed").text("message", &error.to_string()));
            let failure = match &error {
                EngineError::Io { what, source }
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    Failure::io(what, source)
                }
                _ => Failure::later(&error),
            };
            failure.logged()
        })?;
    engine.run().map_err(Failure::later)
}

/// Stops being root, where there is somebody else to be: what talks to the network, and what
/// works in directories that are not root's, does not need it. The owner of queue/ is who it is
/// meant to be, and the group of drop/ is how it reads what root wrote.
pub(super) fn step_down(host: &Host) -> Result<(), Failure> {
    if ffi::geteuid() != 0 {
        return Ok(());
    }
    let spool = Spool::new(&host.spool);
    let look = |dir: std::path::PathBuf| {
        fs::metadata(&dir)
            .map_err(|error| Failure::io(format!("look at {}", dir.display()), &error))
    };
    let (queue, drop) = (look(spool.queue())?, look(spool.drop())?);
    if queue.uid() == 0 {
        return Ok(());
    }
    ffi::become_user(queue.uid(), queue.gid(), &[drop.gid()])
        .map_err(|error| Failure::io(format!("become uid {}", queue.uid()), &error))
}
