//! `bastion allow`: known-good places for a time, which end by themselves.
//!
//! Who is root may grant. So that an intruder who has become root does not do it in silence, each
//! grant is an alert as well: it is in the spool before the place is known good, and without it
//! nothing is granted.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use lexopt::ValueExt;

use super::Options;
use crate::clock::{BootStamp, Stamp, millis};
use crate::config::allowances::{self, Allowance, MAX_ENTRIES, MAX_FOR};
use crate::config::{self, Document, duration, host::Host, moment};
use crate::event::{Note, Severity, What};
use crate::exit::{Failure, print};
use crate::ffi;
use crate::foreign::visible;
use crate::known_good::{Granted, Miss, Rule, parse_fingerprint, parse_net};
use crate::spool::drop::{self, Sync};
use crate::spool::{Spool, files};
use crate::syslog::{Level, Line, Log, Source};

pub(super) const HELP: &str = " ADDRESS --for TIME [--user NAME]... [--key SHA256:...]...
       bastion allow --list
       bastion allow --remove N|ADDRESS

Makes an address or a network known good for a time: logins from there are only logged. It ends by
itself. The same place, users and keys once more: the new end counts. Each grant is an alert too.

  --for TIME        how long: 2h, 2d; at least 1s, at most 90d
  --user NAME       for this user alone; may be repeated
  --key SHA256:...  with this key alone, as ssh-keygen -lf prints it; may be repeated
  --list            what is allowed, with its number and its end
  --remove N        ends what has this number in the list; or all that is for this address

Written to allowances.toml beside the configuration. To be run by root, but for --list.
";

/// Shortest time: the file keeps whole seconds.
const MIN_FOR: Duration = Duration::from_secs(1);

/// What is asked for.
enum Task {
    Grant { rule: Rule, time: Duration, words: String },
    List,
    Remove(Which),
}

/// Which allowances.
enum Which {
    Number(usize),
    Place(IpNet),
}

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let task = parse(&mut options)?;
    let desk = Desk::new(options.config)?;
    match task {
        Task::List => desk.list(),
        Task::Grant { rule, time, words } => desk.grant(rule, time, &words),
        Task::Remove(which) => desk.remove(&which),
    }
}

fn parse(options: &mut Options) -> Result<Task, Failure> {
    let (mut place, mut time, mut remove, mut list) = (None, None, None, false);
    let (mut users, mut keys) = (Vec::new(), Vec::new());
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("for") => time = Some(value(options)?),
            lexopt::Arg::Long("user") => users.push(parse_user(&value(options)?)?),
            lexopt::Arg::Long("key") => {
                keys.push(parse_fingerprint(&value(options)?).map_err(Failure::data)?);
            }
            lexopt::Arg::Long("list") => list = true,
            lexopt::Arg::Long("remove") => remove = Some(parse_which(&value(options)?)?),
            lexopt::Arg::Value(text) if place.is_none() => {
                let text = text.string().map_err(Failure::usage)?;
                place = Some(parse_net(&text).map_err(Failure::data)?);
            }
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let alone = time.is_none() && users.is_empty() && keys.is_empty();
    match (place, remove, list) {
        (None, None, true) if alone => Ok(Task::List),
        (None, Some(which), false) if alone => Ok(Task::Remove(which)),
        (Some(place), None, false) => {
            let words = time.ok_or_else(|| Failure::usage("--for is missing, as --for 2d"))?;
            let time = parse_time(&words)?;
            let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
            let rule = Rule {
                from: Some(vec![place]),
                users: some(users),
                keys: some(keys),
                ..Rule::default()
            };
            Ok(Task::Grant { rule, time, words })
        }
        (None, None, false) => Err(Failure::usage("an address is missing, or --list, or --remove")),
        _ => Err(Failure::usage("an address with --for, or --list, or --remove: one of them")),
    }
}

fn value(options: &mut Options) -> Result<String, Failure> {
    options.rest.value().and_then(|value| value.string()).map_err(Failure::usage)
}

fn parse_user(name: &str) -> Result<String, Failure> {
    match name {
        "" => Err(Failure::data("the user's name is empty")),
        name if name.len() > 256 => Err(Failure::data("the user's name is longer than 256 bytes")),
        name => Ok(name.to_owned()),
    }
}

fn parse_which(text: &str) -> Result<Which, Failure> {
    match text.parse() {
        Ok(number) => Ok(Which::Number(number)),
        Err(_) => parse_net(text).map(Which::Place).map_err(Failure::data),
    }
}

fn parse_time(text: &str) -> Result<Duration, Failure> {
    let time = duration::parse(text).map_err(Failure::data)?;
    if (MIN_FOR..=MAX_FOR).contains(&time) {
        return Ok(time);
    }
    let days = MAX_FOR.as_secs() / 86_400;
    Err(Failure::data(format!(
        "{text:?} is not between 1s and {days}d; what is for long belongs into known-good or \
         [[login.allow]], in the configuration"
    )))
}

/// What the command works on.
struct Desk {
    config: PathBuf,
    host: Host,
    log: Log,
}

impl Desk {
    fn new(config: PathBuf) -> Result<Self, Failure> {
        let source = config::read_file(&config).map_err(Failure::config)?;
        let mut document = Document::parse(&source.text);
        let host = config::host::read(&mut document);
        if let Some(first) = document.findings_so_far().first().filter(|_| document.is_broken()) {
            // The module believes no allowance beside such a file.
            return Err(Failure::config(format!("{}: {first}", config.display())));
        }
        let log = Log::new(&host.syslog, "bastion", Source::Daemon);
        Ok(Self { config, host, log })
    }

    fn list(&self) -> Result<(), Failure> {
        let list = self.load()?;
        let now = Stamp::now();
        let mut text = String::new();
        for (i, allowance) in list.iter().enumerate() {
            let _ = writeln!(text, "{:>3}  {}", i + 1, row(allowance, &now));
        }
        if text.is_empty() {
            text = "nothing is allowed for a time\n".into();
        }
        print(&text);
        Ok(())
    }

    fn grant(&self, mut rule: Rule, time: Duration, words: &str) -> Result<(), Failure> {
        let _lock = self.begin()?;
        let at = Stamp::now();
        let list = self.load()?;
        set_times(&mut rule, &at, time);
        let what = in_words(&rule);
        let by = caller();
        let list = with(list, Allowance { rule: rule.clone(), by: by.clone() }, &at)
            .map_err(Failure::data)?;
        // First the alert: a kill in between makes one too many, never one too few.
        let note = What::Note(Note { text: format!("allowance: {what} for {words} by {by}") });
        let event = drop::new_event(at, &self.host.name, Severity::Info, note);
        drop::publish(&Spool::new(&self.host.spool), &event, Sync::Now).map_err(|error| {
            Failure::spool("the alert of it cannot be raised, so nothing is allowed", error)
        })?;
        self.save(&list)?;
        let until = rule.until.map(moment::write).unwrap_or_default();
        let line = describe(Line::new("allowance-granted"), &rule).word("until", &until);
        self.log.say(Level::Notice, &line.text("by", &by).word("alert", event.id));
        print(&format!("{what}: known good until {until}\n"));
        if rule.from.iter().flatten().any(|net| net.addr().is_loopback()) {
            print("every login through the reverse tunnel comes from there\n");
        }
        Ok(())
    }

    fn remove(&self, which: &Which) -> Result<(), Failure> {
        let _lock = self.begin()?;
        let (at, by) = (Stamp::now(), caller());
        let (gone, left) = without(self.load()?, which);
        if gone.is_empty() {
            return Err(Failure::data("there is no such allowance; see: bastion allow --list"));
        }
        self.save(&current(left, &at))?;
        for allowance in &gone {
            let line = describe(Line::new("allowance-removed"), &allowance.rule);
            self.log.say(Level::Notice, &line.text("by", &by));
            print(&format!("{}: not allowed any more\n", in_words(&allowance.rule)));
        }
        Ok(())
    }

    /// Makes sure that this is root, and alone.
    fn begin(&self) -> Result<File, Failure> {
        if ffi::geteuid() != 0 {
            return Err(Failure::permission(
                "only root may say who is known good; run: sudo bastion",
            ));
        }
        let dir = self.dir();
        let io = |error| Failure::io(format!("lock {}", dir.display()), &error);
        let lock = File::open(&dir).map_err(io)?;
        match ffi::try_lock(&lock).map_err(io)? {
            true => Ok(lock),
            false => Err(Failure::later("another bastion allow is at work; try again")),
        }
    }

    fn dir(&self) -> PathBuf {
        match self.config.parent() {
            Some(dir) if dir != Path::new("") => dir.to_owned(),
            _ => ".".into(),
        }
    }

    /// What the file holds. One with mistakes in it is for a person to mend: written anew, what
    /// was left out would be gone.
    fn load(&self) -> Result<Vec<Allowance>, Failure> {
        let file = allowances::path(&self.config);
        let mend = format!("mend it, or remove it: rm {}", file.display());
        let read = allowances::load(&self.config)
            .map_err(|error| Failure::config(format!("{error}; {mend}")))?;
        match read.findings.first() {
            None => Ok(read.list),
            Some(first) => Err(Failure::config(format!("{}: {first}; {mend}", file.display()))),
        }
    }

    fn save(&self, list: &[Allowance]) -> Result<(), Failure> {
        let text = allowances::write(list);
        if text.len() as u64 > allowances::MAX_BYTES {
            return Err(Failure::data(
                "the file would be too large; remove some: bastion allow --list",
            ));
        }
        files::write_public_durably(&self.dir(), allowances::FILE, text.as_bytes()).map_err(
            |error| {
                Failure::io(format!("write {}", allowances::path(&self.config).display()), &error)
            },
        )
    }
}

/// Gives a rule its two ends: on the wall clock, and on that of this boot.
fn set_times(rule: &mut Rule, at: &Stamp, time: Duration) {
    let at_s = unix_s(at);
    let time_s = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    rule.until = Some(at_s.saturating_add(time_s));
    let end = |boot: &BootStamp| BootStamp {
        id: boot.id.clone(),
        ms: boot.ms.saturating_add(millis(time)),
    };
    rule.granted = Some(Granted { at_s, boot_end: at.boot.as_ref().map(end) });
}

/// `list` with one more, in the place of one for the same, and without what is over.
fn with(list: Vec<Allowance>, new: Allowance, at: &Stamp) -> Result<Vec<Allowance>, String> {
    let same = |old: &Rule| {
        (&old.from, &old.users, &old.keys) == (&new.rule.from, &new.rule.users, &new.rule.keys)
    };
    let mut list = current(list, at);
    list.retain(|old| !same(&old.rule));
    if list.len() >= MAX_ENTRIES {
        return Err(format!(
            "there are {MAX_ENTRIES} allowances; remove one: bastion allow --list"
        ));
    }
    list.push(new);
    Ok(list)
}

/// Those of `list` that are not over.
fn current(mut list: Vec<Allowance>, at: &Stamp) -> Vec<Allowance> {
    list.retain(|allowance| allowances::time_left(&allowance.rule, at) != Err(Miss::Expired));
    list
}

/// Those that are meant, and the others.
fn without(list: Vec<Allowance>, which: &Which) -> (Vec<Allowance>, Vec<Allowance>) {
    let numbered = list.into_iter().enumerate();
    let (gone, left): (Vec<_>, Vec<_>) = numbered.partition(|(i, allowance)| match which {
        Which::Number(number) => i + 1 == *number,
        Which::Place(net) => allowance.rule.from.as_ref().is_some_and(|from| from == &[*net]),
    });
    let plain = |list: Vec<(usize, Allowance)>| list.into_iter().map(|(_, one)| one).collect();
    (plain(gone), plain(left))
}

fn unix_s(at: &Stamp) -> i64 {
    i64::try_from(at.unix_ms / 1000).unwrap_or(i64::MAX)
}

/// `203.0.113.0/24, user alice, key SHA256:...`.
fn in_words(rule: &Rule) -> String {
    let users =
        rule.users.iter().flatten().map(|user| format!(", user {}", visible(user.as_bytes())));
    let keys = rule.keys.iter().flatten().map(|key| format!(", key {key}"));
    allowances::places(rule) + &users.chain(keys).collect::<String>()
}

fn row(allowance: &Allowance, now: &Stamp) -> String {
    let rule = &allowance.rule;
    let until = rule.until.map(moment::write).unwrap_or_default();
    let left = match allowances::time_left(rule, now) {
        Err(Miss::Expired) => "over".to_owned(),
        Err(miss) => miss.to_string(),
        Ok(()) => left(rule.until.unwrap_or_default().saturating_sub(unix_s(now))),
    };
    let by = match allowance.by.as_str() {
        "" => String::new(),
        by => format!(", by {}", visible(by.as_bytes())),
    };
    format!("{}  until {until} ({left}){by}", in_words(rule))
}

fn left(seconds: i64) -> String {
    match seconds / 60 {
        0 => format!("{seconds} s left"),
        minutes @ 1..120 => format!("{minutes} min left"),
        minutes @ 120..2880 => format!("{} h left", minutes / 60),
        minutes => format!("{} days left", minutes / 1440),
    }
}

fn describe(line: Line, rule: &Rule) -> Line {
    let mut line = line.word("network", allowances::places(rule));
    for user in rule.users.iter().flatten() {
        line = line.text("user", user);
    }
    for key in rule.keys.iter().flatten() {
        line = line.word("key", key);
    }
    line
}

/// Who asks: whom sudo names, or the uid. What sudo names is believed, since only root gets here;
/// it is cut to what a log line has room for.
pub(super) fn caller() -> String {
    let sudo = std::env::var_os("SUDO_USER");
    match sudo.as_deref().and_then(OsStr::to_str).filter(|name| !name.is_empty()) {
        Some(name) => visible(name.as_bytes()).chars().take(64).collect(),
        None => format!("uid {}", ffi::geteuid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_s: u64, boot_s: u64) -> Stamp {
        let boot = Some(BootStamp { id: "a".into(), ms: boot_s * 1000 });
        Stamp { unix_ms: unix_s * 1000, boot }
    }

    fn allowance(net: &str, at: &Stamp, time_s: u64) -> Allowance {
        let from = Some(vec![parse_net(net).unwrap()]);
        let mut rule = Rule { from, ..Rule::default() };
        set_times(&mut rule, at, Duration::from_secs(time_s));
        Allowance { rule, by: "alice".into() }
    }

    fn places(list: &[Allowance]) -> Vec<String> {
        list.iter().map(|one| allowances::places(&one.rule)).collect()
    }

    #[test]
    fn a_grant_replaces_one_for_the_same_and_drops_what_is_over() {
        let (then, now) = (at(1000, 10), at(1100, 110));
        let list = vec![
            allowance("203.0.113.7", &then, 99),
            allowance("203.0.113.8", &then, 200),
            allowance("203.0.113.9", &then, 200),
        ];
        let list = with(list, allowance("203.0.113.8", &now, 5), &now).unwrap();
        assert_eq!(places(&list), ["203.0.113.9", "203.0.113.8"]);
        assert_eq!(list[1].rule.until, Some(1105));
        let mut other = allowance("203.0.113.8", &now, 5);
        other.rule.users = Some(vec!["bob".into()]);
        assert_eq!(with(list, other, &now).unwrap().len(), 3);
    }

    #[test]
    fn there_is_a_most_and_what_is_over_does_not_count() {
        let (then, now) = (at(1000, 10), at(1100, 110));
        let many = |time_s| {
            let net = |i: usize| format!("203.0.113.{i}");
            (0..MAX_ENTRIES).map(|i| allowance(&net(i), &then, time_s)).collect::<Vec<_>>()
        };
        assert!(with(many(200), allowance("192.0.2.1", &now, 5), &now).is_err());
        assert!(with(many(200), allowance("203.0.113.5", &now, 5), &now).is_ok());
        assert_eq!(with(many(50), allowance("192.0.2.1", &now, 5), &now).unwrap().len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_longer() {
        let granted = allowance("203.0.113.7", &at(10_000, 10), 100);
        assert_eq!(allowances::time_left(&granted.rule, &at(10_001, 109)), Ok(()));
        assert_eq!(allowances::time_left(&granted.rule, &at(10_001, 110)), Err(Miss::Expired));
        assert_eq!(allowances::time_left(&granted.rule, &at(10_100, 11)), Err(Miss::Expired));
        // Nobody knows whether it is over, so it does not count, and is kept until somebody does.
        assert_eq!(allowances::time_left(&granted.rule, &at(9999, 11)), Err(Miss::ClockBehind));
        assert_eq!(current(vec![granted], &at(9999, 11)).len(), 1);
    }

    #[test]
    fn what_is_removed_has_the_number_or_the_place() {
        let now = at(1000, 10);
        let list = || {
            ["203.0.113.7", "203.0.113.0/24", "203.0.113.7"]
                .map(|net| allowance(net, &now, 9))
                .to_vec()
        };
        let left = |which: &str| {
            let (gone, left) = without(list(), &parse_which(which).unwrap());
            (gone.len(), places(&left))
        };
        assert_eq!(left("2"), (1, vec!["203.0.113.7".into(), "203.0.113.7".into()]));
        assert_eq!(left("203.0.113.7"), (2, vec!["203.0.113.0/24".into()]));
        assert_eq!(left("::ffff:203.0.113.7").0, 2);
        for none in ["0", "4", "203.0.113.8", "203.0.0.0/16"] {
            assert_eq!(left(none).0, 0, "{none}");
        }
        for bad in ["x", "-1", "203.0.113.7/24"] {
            assert!(parse_which(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_has_a_least_and_a_most() {
        for (text, ok) in [
            ("1s", true),
            ("90d", true),
            ("2160h", true),
            ("0s", false),
            ("999ms", false),
            ("91d", false),
            ("2161h", false),
            ("2", false),
            ("99999999999999999d", false),
        ] {
            assert_eq!(parse_time(text).is_ok(), ok, "{text}");
        }
    }
}
