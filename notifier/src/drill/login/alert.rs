//! Whether the login of a drill was told, as `bastion queue` sees it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::unix_ms;
use crate::config::{self, Document, allowances};
use crate::daemon::words;
use crate::deliver::limits::{self, IsFull};
use crate::deliver::lock::Lock;
use crate::event::What;
use crate::known_good::{Facts, KnownGood, Verdict};
use crate::spool::queue::{Phase, State, list};
use crate::spool::{Spool, files, id_of};

/// How long a login may take to be in the spool: the module writes it before the login's command runs.
const WRITTEN: Duration = Duration::from_secs(5);

/// Time between two looks.
const STEP: Duration = Duration::from_millis(100);

/// What became of the alert of a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// It has been sent, over these channels; none where none is configured.
    Sent(Vec<String>),
    /// Nobody has taken it, for this reason.
    Failed(String),
    /// It still waits, for this reason.
    Waits(String),
    /// The sender has it, and its channel has sent as much as it may.
    ItsTurn(String),
    /// There is none.
    Missing,
}

/// Logins with a drill's key in the spool, and those that are known already.
pub struct Alerts {
    spool: Spool,
    /// `[host] state`.
    state: PathBuf,
    fingerprint: String,
    known: BTreeSet<String>,
}

impl Alerts {
    /// Of a key that nobody has used yet.
    #[must_use]
    pub fn new(spool: Spool, state: &Path, fingerprint: &str) -> Self {
        let (state, fingerprint) = (state.to_owned(), fingerprint.to_owned());
        Self { spool, state, fingerprint, known: BTreeSet::new() }
    }

    /// Waits for what becomes of the next one, at most until then.
    pub fn next(&mut self, until: Instant) -> Told {
        let written = Instant::now() + WRITTEN;
        let name = loop {
            if let Some(name) = self.find() {
                break name;
            }
            if Instant::now() >= written.min(until) {
                return Told::Missing;
            }
            thread::sleep(STEP);
        };
        self.known.insert(name.clone());
        loop {
            let told = self.look(&name);
            if !matches!(told, Told::Waits(_) | Told::ItsTurn(_)) || Instant::now() >= until {
                return told;
            }
            thread::sleep(STEP);
        }
    }

    /// The name of a login that is not known yet.
    fn find(&self) -> Option<String> {
        let rooms = [self.spool.drop(), self.spool.queue(), self.spool.sent(), self.spool.failed()];
        let of_key = |dir: &Path, name: &str| {
            let event = files::read_event(&dir.join(name)).ok()?;
            let What::Login(login) = event.what else { return None };
            let mut keys = login.auth.iter().filter_map(|factor| factor.key.as_ref());
            keys.any(|key| key.fingerprint == self.fingerprint).then_some(())
        };
        rooms.iter().find_map(|dir| {
            let names = list(dir).unwrap_or_default();
            // The newest are at the end, and sent/ may have thousands.
            let mut names = names
                .into_iter()
                .rev()
                .filter(|name| id_of(name).is_some() && name.contains("-login-"))
                .take(200);
            names.find(|name| !self.known.contains(name) && of_key(dir, name).is_some())
        })
    }

    fn look(&self, name: &str) -> Told {
        let state = |dir: PathBuf| -> State {
            let json = files::read_small(&dir.join(format!("{name}.state"))).unwrap_or_default();
            serde_json::from_slice(&json).unwrap_or_default()
        };
        if self.spool.sent().join(name).exists() {
            return Told::Sent(done(&state(self.spool.sent())));
        }
        if self.spool.failed().join(name).exists() {
            let reason = files::read_small(&self.spool.failed().join(format!("{name}.reason")));
            let reason = String::from_utf8_lossy(&reason.unwrap_or_default()).trim().to_owned();
            return Told::Failed(reason);
        }
        let runs = !matches!(Lock::is_held(&self.spool.queue()), Ok(false));
        if !runs {
            return Told::Waits("the sender does not run".into());
        }
        let state = state(self.spool.queue());
        let taken = self.spool.queue().join(name).exists();
        match full(&limits::full_in(&self.state, unix_ms())) {
            Some(why) if taken && !state.is_begun() => Told::ItsTurn(why),
            _ => Told::Waits(waits(&state)),
        }
    }
}

/// The channels that have taken it.
fn done(state: &State) -> Vec<String> {
    let has = |legs: &std::collections::BTreeMap<_, crate::spool::queue::Leg>| {
        legs.values().any(|leg| leg.phase == Phase::Done)
    };
    state.channels.iter().filter(|(_, legs)| has(legs)).map(|(name, _)| name.clone()).collect()
}

/// Which channels take no login now, and until when.
fn full(full: &[IsFull]) -> Option<String> {
    let full = full.iter().filter(|one| !one.left_for_logins.is_zero());
    let one = |one: &IsFull| {
        let left = words(one.left_for_logins);
        format!("{} has sent as much as it may, and takes the next login in {left}", one.channel)
    };
    let all: Vec<String> = full.map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Why it waits, by what was tried last.
fn waits(state: &State) -> String {
    let legs = state.channels.iter().flat_map(|(channel, legs)| {
        legs.values()
            .filter(|leg| !leg.last.is_empty())
            .map(move |leg| format!("{channel}: {}", leg.last))
    });
    let legs: Vec<String> = legs.collect();
    if legs.is_empty() { "it was not tried yet".into() } else { legs.join(", ") }
}

/// The rules of who is known good: those of the file, and allowances.
#[derive(Debug, Default)]
pub struct Rules {
    /// `known-good` and `[[login.allow]]`.
    pub of_file: KnownGood,
    /// What `bastion allow` has granted.
    pub allowances: KnownGood,
}

/// The rules as the module reads them: of a file that is broken, none.
#[must_use]
pub fn rules(config: &Path) -> Rules {
    let Ok(source) = config::read_file(config) else { return Rules::default() };
    let mut document = Document::parse(&source.text);
    let of_file = config::login::read(&mut document).known_good;
    if document.is_broken() {
        return Rules { of_file, ..Rules::default() };
    }
    let list = allowances::load(config).map(|read| read.list).unwrap_or_default();
    let rules = list.into_iter().map(|allowance| allowance.rule).collect();
    Rules { of_file, allowances: KnownGood { rules } }
}

impl Rules {
    /// The rule by which a login would be known good, and so told to nobody.
    #[must_use]
    pub fn known_good(&self, facts: &Facts<'_>) -> Option<String> {
        [&self.of_file, &self.allowances].into_iter().find_map(|rules| match rules.verdict(facts) {
            Verdict::KnownGood(rule) => Some(rule),
            Verdict::Alert(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::Stamp;
    use crate::event::{AlertId, Event, FORMAT, Factor, Key, Login, Severity};
    use crate::foreign::Foreign;
    use crate::spool::file_name;

    fn login(fingerprint: &str, id: u32) -> Event {
        let key = Key { fingerprint: fingerprint.into(), ..Key::default() };
        let auth = vec![Factor { method: Foreign::from("publickey"), key: Some(key) }];
        Event {
            version: FORMAT,
            id: AlertId::from_bits(id),
            at: Stamp::now(),
            host: Foreign::from("h"),
            severity: Severity::Warning,
            what: What::Login(Login { auth, ..Login::default() }),
        }
    }

    #[test]
    fn the_alert_is_followed_from_the_spool_to_its_end() {
        let dir = std::env::temp_dir().join(format!("notifier-told-{}", std::process::id()));
        let spool = Spool::new(&dir);
        for room in [spool.drop(), spool.queue(), spool.sent(), spool.failed()] {
            fs::create_dir_all(room).unwrap();
        }
        let now = Instant::now;
        let mut alerts = Alerts::new(spool.clone(), &dir, "SHA256:ours");
        let put = |room: &Path, event: &Event| {
            let name = file_name(event);
            fs::write(room.join(&name), serde_json::to_vec(event).unwrap()).unwrap();
            name
        };
        put(&spool.sent(), &login("SHA256:another's", 1));
        assert_eq!(alerts.next(now()), Told::Missing, "another's login is none of ours");
        put(&spool.drop(), &login("SHA256:ours", 2));
        assert_eq!(alerts.next(now()), Told::Waits("the sender does not run".into()));
        assert_eq!(alerts.next(now()), Told::Missing, "each is looked at once");

        let name = put(&spool.sent(), &login("SHA256:ours", 3));
        let state = "{\"channels\":{\"sms\":{\"+1\":{\"phase\":\"done\"}},\"mail\":{\"a\":{\"phase\":\"waiting\"}}}}";
        fs::write(spool.sent().join(format!("{name}.state")), state).unwrap();
        assert_eq!(alerts.next(now()), Told::Sent(vec!["sms".into()]));

        let name = put(&spool.failed(), &login("SHA256:ours", 4));
        fs::write(spool.failed().join(format!("{name}.reason")), "refused\n").unwrap();
        assert_eq!(alerts.next(now()), Told::Failed("refused".into()));

        // The sender has taken it in, and its channel has sent as much as it may.
        let _sender = Lock::take(&spool.queue()).unwrap();
        let until_ms = unix_ms() + 1_830_000;
        let usage = format!(
            "{{\"sms\":{{\"minutes\":[],\"full_until_ms\":{until_ms},\"full_for_logins_until_ms\":{until_ms}}}}}"
        );
        fs::write(dir.join(limits::FILE), usage).unwrap();
        put(&spool.drop(), &login("SHA256:ours", 5));
        assert_eq!(alerts.next(now()), Told::Waits("it was not tried yet".into()));
        put(&spool.queue(), &login("SHA256:ours", 6));
        let turn = "sms has sent as much as it may, and takes the next login in 30 min";
        assert_eq!(alerts.next(now()), Told::ItsTurn(turn.into()));
        fs::remove_dir_all(&dir).unwrap();
    }
}
