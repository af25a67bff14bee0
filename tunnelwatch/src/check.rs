//! `tunnelwatch check`: what keeps a tunnel from working, or would when it counts, with what to do.
//! Changes nothing, and leaves a tunnel that works alone.

mod here;
pub(crate) mod jump;
mod there;
mod vpn;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notifier::clock::Stamp;
use notifier::exit::{Failure, print};
use notifier::ffi;
use notifier::spool::owner::{self, TUNNELWATCH};

use crate::chain::ask;
use crate::config::{Settings, Tunnel};
use crate::external::config::External;
use crate::keep::JUMP_HOST_OFF;
use crate::on_demand::decide::Link;
use crate::on_demand::link;
use crate::tell::{Book, STATE, State};

/// How soon sshd has to ask a client that says nothing whether it is there (`ClientAliveInterval`): less
/// often, and a port is held for many minutes after its client is gone. Our drop-in has 15 s.
const ASKS_WITHIN: Duration = Duration::from_secs(20);

/// How long the first question may take: sshd 9.2 was seen to ask after twice its interval.
const FIRST_WITHIN: Duration = Duration::from_secs(32);

/// Age from which the state file of a `run` says nothing any more: it is written each 20 s.
const STALE_S: u64 = 90;

/// Prints what is wrong, each with what to do.
///
/// # Errors
///
/// When anything is: that is the list.
pub fn check(config: &Path, run_dir: &Path) -> Result<(), Failure> {
    let settings = Settings::load(config).map_err(Failure::config)?;
    let file = config.display();
    let keeps = !settings.tunnels.is_empty() || !settings.externals.is_empty();
    if !keeps && settings.watches.is_empty() {
        let what = "there is no [[tunnel]] and no [[tunnel-watch]]";
        return Err(Failure::config(format!("{file}: {what}")));
    }
    // What takes root comes first.
    let mut findings = jump::check(&settings.watches);
    match become_keeper()? {
        Some(finding) => findings.push(finding),
        None if !keeps => {}
        None => {
            let (of_tunnels, notes) = check_tunnels(&settings, run_dir)?;
            findings.extend(of_tunnels);
            notes.iter().for_each(|note| print(&format!("note: {note}\n")));
        }
    }
    if findings.is_empty() {
        print(&format!("{file}: nothing is wrong with what tunnelwatch does\n"));
        return Ok(());
    }
    Failure::all(findings.into_iter().map(Failure::config).collect())
}

/// Goes on as the user who keeps tunnels, so that what he may not do is found, and nothing is done for
/// him that he then may not touch. Anybody but root asks for himself.
pub(crate) fn become_keeper() -> Result<Option<String>, Failure> {
    if ffi::geteuid() != 0 {
        return Ok(None);
    }
    let user = owner::user(TUNNELWATCH).map_err(|error| Failure::io("read /etc/passwd", &error))?;
    let Some(user) = user else {
        let fix = "create it: systemd-sysusers bastion.conf";
        return Ok(Some(format!("there is no user {TUNNELWATCH}; {fix}")));
    };
    ffi::become_user(user.uid, user.gid, &[])
        .map_err(|error| Failure::io(format!("become {TUNNELWATCH}"), &error))?;
    Ok(None)
}

/// What is wrong with tunnels, and what could be better.
fn check_tunnels(
    settings: &Settings,
    run_dir: &Path,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let failed = |what: &'static str| move |error: io::Error| Failure::io(what, &error);
    let own = std::env::current_exe().map_err(failed("find this program"))?;
    let scratch = Scratch::new().map_err(failed("create a directory in /tmp"))?;
    let mut findings: Vec<String> = if runs(&run_dir.join("lock")) {
        Vec::new()
    } else {
        let fix = "systemctl enable --now --no-block tunnelwatch, and if it ends again: journalctl -u tunnelwatch -n 20";
        vec![format!("tunnelwatch run does not work here; {fix}")]
    };
    let (states, jumps) =
        states(run_dir).map(|book| (book.tunnels, book.jumps)).unwrap_or_default();
    let named = |name: &str, findings: Vec<String>| {
        let named = |finding| format!("tunnel {name}: {finding}");
        findings.into_iter().map(named).collect::<Vec<String>>()
    };
    let each = |tunnel: &Tunnel| {
        let run = states.get(&tunnel.name);
        let jump = jumps.get(&tunnel.name);
        let mut tunnel = tunnel.clone();
        tunnel.address = jump.and_then(|jump| jump.address.clone());
        let (mut findings, public) = here::check(&tunnel);
        findings.extend(jump.and_then(|jump| jump.trouble.clone()));
        findings.extend(why_never_started(&tunnel, run_dir));
        // One that is off by plan is not to be asked, and one that is to run is where it says.
        let is_there = tunnel.on_demand.is_none() || run.is_some_and(|run| !is_off(run));
        if let (Some(public), true) = (public, is_there) {
            findings.extend(there::check(&tunnel, &public, run, &scratch.path, &own));
        }
        // Where the tunnel does not work, nobody comes through.
        let silent = (is_there && findings.is_empty())
            .then(|| ask::why_nobody_answers(&tunnel, &own))
            .flatten();
        let notes = silent.into_iter().collect();
        (named(&tunnel.name, findings), named(&tunnel.name, notes))
    };
    let mut notes = Vec::new();
    let vpn = |one: &External| (named(&one.name, vpn::check(one, &scratch.path)), Vec::new());
    // Each is asked for up to half a minute, so all are at once.
    thread::scope(|scope| {
        let threads: Vec<_> =
            settings.tunnels.iter().map(|tunnel| scope.spawn(move || each(tunnel))).collect();
        let vpns = settings.externals.iter().map(|one| scope.spawn(move || vpn(one)));
        let vpns: Vec<_> = vpns.collect();
        for thread in threads.into_iter().chain(vpns) {
            let (wrong, more) = thread.join().unwrap_or_default();
            findings.extend(wrong);
            notes.extend(more);
        }
    });
    Ok((findings, notes))
}

/// Whether somebody holds the lock of `tunnelwatch run`. What may not be looked at is not known to be
/// wrong.
fn runs(lock: &Path) -> bool {
    match File::open(lock) {
        Ok(file) => !matches!(ffi::try_lock(&file), Ok(true)),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Why a jump host on demand is not started, whatever happens to the line.
fn why_never_started(tunnel: &Tunnel, run_dir: &Path) -> Option<String> {
    let line = &tunnel.on_demand.as_ref()?.link;
    match link::read(&link::file(run_dir), line, &Stamp::now()) {
        Link::Unknown(why) => Some(format!(
            "its jump host is not started by itself, as nobody knows whether {line} is up: {why}"
        )),
        Link::Up(_) | Link::Down(_) => None,
    }
}

/// Whether there is no jump host to be asked.
fn is_off(run: &State) -> bool {
    run.off_by_plan || run.cause.as_deref() == Some(JUMP_HOST_OFF)
}

/// What `tunnelwatch run` says of its tunnels, where it says anything of now.
fn states(run_dir: &Path) -> Option<Book> {
    let book = fs::read(run_dir.join(STATE)).ok();
    let book: Option<Book> = book.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    book.filter(|book| now_s.saturating_sub(book.written_s) <= STALE_S)
}

/// A directory for sockets that nobody else may come to. Removed at the end.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> io::Result<Self> {
        let random = ffi::random_u32().unwrap_or_default();
        // In /tmp and not where TMPDIR says: that may be root's alone.
        let path = format!("/tmp/tunnelwatch-check-{}-{random:08x}", std::process::id());
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path: path.into() })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_somebody_holds_is_a_run_at_work() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path.join("lock");
        assert!(!runs(&path), "there is none");
        let file = File::create(&path).unwrap();
        assert!(!runs(&path), "nobody holds it");
        assert!(ffi::try_lock(&file).unwrap());
        assert!(runs(&path));
        let path = scratch.path.clone();
        drop(scratch);
        assert!(!path.exists());
    }
}
