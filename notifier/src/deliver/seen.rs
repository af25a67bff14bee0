//! Networks and keys that logins have come from: what has not been seen before is marked `NEW`.
//!
//! With each stands the alert that saw it first. So the mark is no state of a message's own, and
//! cannot be lost: an alert that is looked at again, after a restart, a kill before it was sent, or
//! `bastion queue retry`, gets the same mark. Nobody but root tells of logins, so nobody else can
//! make a place look familiar; what a drop file itself says of being new is not read.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::chain::Answer;
use crate::drill::mark;
use crate::event::{AlertId, Event, Key, Login, What};
use crate::known_good::canonical;
use crate::message::New;

/// The file in `[host] state`.
pub const FILE: &str = "seen.json";

/// Most networks remembered, and most keys. Those that were seen last the longest ago are
/// forgotten first. The file then has some 1.2 MB.
pub const MOST: usize = 10_000;

/// How old the file's "last seen" may be before that alone is worth a write: a day, so that the
/// tenth login of an hour does not cost an fsync(2) of all of it.
const STALE_S: u64 = 86_400;

/// Longest fingerprint kept: `SHA256:` and 43 characters. What is longer is none.
const MAX_KEY: usize = 64;

/// Networks and keys, with when they were seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// By network: `203.0.113.0/24`, `2001:db8:1::/48`.
    #[serde(default)]
    networks: BTreeMap<String, Sight>,
    /// By fingerprint.
    #[serde(default)]
    keys: BTreeMap<String, Sight>,
    /// Whether there is something to write.
    #[serde(skip)]
    changed: bool,
}

/// When something was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sight {
    /// By which alert first.
    first: AlertId,
    /// Last, in seconds since 1970.
    last_s: u64,
}

impl Seen {
    /// What the file in `dir` holds. Of one that is missing or broken, nothing: then too much is
    /// new, which is the right side to be wrong on.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let json = std::fs::read(dir.join(FILE)).unwrap_or_default();
        let mut seen: Self = serde_json::from_slice(&json).unwrap_or_default();
        forget_oldest(&mut seen.networks);
        forget_oldest(&mut seen.keys);
        seen
    }

    /// What of an event has not been seen before it. Always nothing for what is no login.
    #[must_use]
    pub fn mark(&self, event: &Event) -> New {
        let What::Login(login) = &event.what else { return New::default() };
        let is_new = |sight: Option<&Sight>| sight.is_none_or(|sight| sight.first == event.id);
        New {
            network: network(login).is_some_and(|network| is_new(self.networks.get(&network))),
            key: keys(login).any(|key| is_new(self.keys.get(key))),
        }
    }

    /// [`Seen::mark`], and remembers it.
    pub fn look(&mut self, event: &Event, now_s: u64) -> New {
        let new = self.mark(event);
        if let What::Login(login) = &event.what {
            if let Some(network) = network(login) {
                self.changed |= remember(&mut self.networks, &network, event.id, now_s);
            }
            for key in keys(login) {
                self.changed |= remember(&mut self.keys, key, event.id, now_s);
            }
        }
        new
    }

    /// [`Seen::look`] at what was found out about a login: the network from which somebody came to the jump
    /// host. By that host's word alone, so those networks are known apart: what it says makes no login familiar that
    /// comes without it.
    pub fn look_via(&mut self, id: AlertId, answer: &Answer, now_s: u64) -> New {
        let network = answer.person().and_then(|person| network_of(person.source?));
        let Some(network) = network.map(|network| format!("jump {network}")) else {
            return New::default();
        };
        let is_new = self.networks.get(&network).is_none_or(|sight| sight.first == id);
        self.changed |= remember(&mut self.networks, &network, id, now_s);
        New { network: is_new, key: false }
    }

    /// Whether it should be written.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// It has been written.
    pub fn was_written(&mut self) {
        self.changed = false;
    }
}

/// The network of a login, where it has one: the tunnel's end is none, whoever comes through.
fn network(login: &Login) -> Option<String> {
    network_of(login.source?)
}

fn network_of(source: IpAddr) -> Option<String> {
    match canonical(source) {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(format!("{}/24", Ipv4Addr::new(a, b, c, 0)))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Some(format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
        }
    }
}

fn keys(login: &Login) -> impl Iterator<Item = &str> {
    let keys = login.auth.iter().filter_map(|factor| factor.key.as_ref());
    // A drill's is new each time, and gone after it.
    let is_of_drill =
        |key: &&Key| key.name.as_ref().is_some_and(|name| name.as_bytes() == mark::NAME.as_bytes());
    keys.filter(move |key| !is_of_drill(key))
        .map(|key| key.fingerprint.as_str())
        .filter(|key| (1..=MAX_KEY).contains(&key.len()))
}

/// Answers whether that is worth a write.
fn remember(seen: &mut BTreeMap<String, Sight>, what: &str, by: AlertId, now_s: u64) -> bool {
    if let Some(sight) = seen.get_mut(what) {
        let stale = now_s.saturating_sub(sight.last_s) >= STALE_S;
        sight.last_s = sight.last_s.max(now_s);
        return stale;
    }
    seen.insert(what.to_owned(), Sight { first: by, last_s: now_s });
    forget_oldest(seen);
    true
}

fn forget_oldest(seen: &mut BTreeMap<String, Sight>) {
    let surplus = seen.len().saturating_sub(MOST);
    if surplus == 0 {
        return;
    }
    let mut by_age: Vec<_> =
        seen.iter().map(|(what, sight)| (sight.last_s, what.clone())).collect();
    by_age.sort_unstable();
    for (_, what) in by_age.into_iter().take(surplus) {
        seen.remove(&what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Person;
    use crate::clock::Stamp;
    use crate::event::{FORMAT, Factor, Key, Note, Severity};

    const BOTH: New = New { network: true, key: true };
    const NETWORK: New = New { network: true, key: false };
    const KEY: New = New { network: false, key: true };
    const NONE: New = New { network: false, key: false };

    fn event(id: u32, what: What) -> Event {
        let (at, host) = (Stamp::default(), "jump".into());
        let id = AlertId::from_bits(id);
        Event { version: FORMAT, id, at, host, severity: Severity::Warning, what }
    }

    fn login(id: u32, source: &str, keys: &[&str]) -> Event {
        let auth = keys.iter().map(|fingerprint| Factor {
            method: "publickey".into(),
            key: Some(Key { fingerprint: (*fingerprint).to_owned(), ..Key::default() }),
        });
        let source = source.parse().ok();
        event(id, What::Login(Login { source, auth: auth.collect(), ..Login::default() }))
    }

    #[test]
    fn what_was_not_seen_before_is_new_once() {
        let mut seen = Seen::default();
        let table: &[(&str, &[&str], New)] = &[
            ("203.0.113.9", &["a"], BOTH),
            ("203.0.113.9", &["a"], NONE),
            ("203.0.113.200", &["a"], NONE),
            ("203.0.114.9", &["a"], NETWORK),
            ("203.0.113.9", &["b"], KEY),
            ("203.0.113.9", &["a", "c"], KEY),
            ("203.0.113.9", &[], NONE),
            ("198.51.100.1", &[], NETWORK),
            ("::ffff:198.51.100.2", &[], NONE),
            ("2001:db8:1::1", &["a"], NETWORK),
            ("2001:db8:1:ffff::1", &["a"], NONE),
            ("2001:db8:2::1", &["a"], NETWORK),
            // Through the tunnel there is no network, and a key all the same.
            ("127.0.0.1", &["a"], NONE),
            ("::1", &[], NONE),
            ("::ffff:127.0.0.1", &["a"], NONE),
            ("127.0.0.1", &["d"], KEY),
            ("203.0.113.1", &["d"], NONE),
            ("", &["e"], KEY),
            ("", &[""], NONE),
        ];
        for (id, (source, keys, want)) in table.iter().enumerate() {
            let event = login(u32::try_from(id).unwrap(), source, keys);
            assert_eq!(seen.look(&event, 1000), *want, "{id}: {source} {keys:?}");
            assert_eq!(seen.look(&event, 1001), *want, "{id}: the same alert again");
            assert_eq!(seen.mark(&event), *want, "{id}: looked at");
        }
        assert_eq!(seen.look(&event(99, What::Note(Note::default())), 1000), NONE);
    }

    #[test]
    fn what_the_jump_host_says_is_familiar_through_it_alone() {
        let via = |source: &str| {
            let person =
                Person { user: "alice".into(), source: source.parse().ok(), ..Person::default() };
            Answer::Matched(person)
        };
        let mut seen = Seen::default();
        let id = AlertId::from_bits;
        assert_eq!(seen.look_via(id(1), &via("203.0.113.9"), 1000), NETWORK);
        assert_eq!(
            seen.look_via(id(1), &via("203.0.113.9"), 1000),
            NETWORK,
            "the same alert again"
        );
        assert_eq!(seen.look_via(id(2), &via("203.0.113.77"), 1000), NONE);
        assert_eq!(
            seen.look(&login(3, "203.0.113.9", &[]), 1000),
            NETWORK,
            "without the jump host"
        );
        assert_eq!(seen.look(&login(4, "192.0.2.1", &[]), 1000), NETWORK);
        assert_eq!(seen.look_via(id(5), &via("192.0.2.1"), 1000), NETWORK);
        for nobody in [via("127.0.0.1"), via(""), Answer::unmatched("x")] {
            assert_eq!(seen.look_via(id(6), &nobody, 1000), NONE);
        }
    }

    #[test]
    fn it_is_written_for_what_is_new_and_else_once_a_day() {
        let mut seen = Seen::default();
        let mut changed = |id, source, now_s| {
            seen.look(&login(id, source, &["a"]), now_s);
            let changed = seen.is_changed();
            seen.was_written();
            changed
        };
        assert!(changed(1, "203.0.113.9", 1000));
        assert!(!changed(2, "203.0.113.9", 2000));
        assert!(changed(3, "192.0.2.1", 3000));
        assert!(changed(4, "192.0.2.1", 3000 + STALE_S));
        assert!(!changed(5, "192.0.2.1", 0), "a clock that was set back");
        assert!(!changed(6, "127.0.0.1", 3000 + STALE_S));
    }

    #[test]
    fn the_longest_unseen_is_forgotten_first() {
        let mut seen = Seen::default();
        let of = |n: usize| format!("10.{}.{}.1", n / 256, n % 256);
        let mut id = 0;
        let mut look = |seen: &mut Seen, n: usize, now_s| {
            id += 1;
            seen.look(&login(id, &of(n), &[]), now_s)
        };
        for n in 0..MOST {
            look(&mut seen, n, 1000 + n as u64);
        }
        assert_eq!(look(&mut seen, 0, 900_000), NONE);
        assert_eq!(look(&mut seen, MOST, 900_001), NETWORK);
        assert_eq!(seen.networks.len(), MOST);
        // The second was the one that went.
        assert_eq!(look(&mut seen, 0, 900_002), NONE);
        assert_eq!(look(&mut seen, 2, 900_003), NONE);
        assert_eq!(look(&mut seen, 1, 900_004), NETWORK);
    }

    #[test]
    fn it_reads_back_and_a_broken_file_makes_everything_new() {
        let dir = std::env::temp_dir().join(format!("notifier-seen-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut seen = Seen::default();
        let (first, second) = (login(1, "203.0.113.9", &["a"]), login(2, "203.0.113.9", &["a"]));
        seen.look(&first, 1000);
        let json = serde_json::to_vec(&seen).unwrap();
        std::fs::write(dir.join(FILE), &json).unwrap();
        let read = Seen::read(&dir);
        assert_eq!((read.mark(&first), read.mark(&second), read.is_changed()), (BOTH, NONE, false));
        for bad in [&json[..json.len() / 2], b"", b"[]", b"{\"keys\": 7}", b"\xff"] {
            std::fs::write(dir.join(FILE), bad).unwrap();
            assert_eq!(Seen::read(&dir).mark(&second), BOTH);
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(Seen::read(&dir).mark(&second), BOTH);
    }
}
