//! Whose an address is, remembered: an hourly check asks Team Cymru once a month.
//!
//! By network and not by address, because an ISP gives out another address when it likes.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use notifier::spool::files;
use serde::{Deserialize, Serialize};

use super::cymru::Network;
use super::{MAX_NAME, harmless};

/// Its name in the state directory.
pub const FILE: &str = "networks.json";

/// How long it counts: networks are sold, and announced by others then.
const MOST_AGE_S: u64 = 30 * 24 * 3600;

/// Most networks: a line has a few, and there may be eight lines.
const MAX_ENTRIES: usize = 64;

/// Longest file: twice what [`MAX_ENTRIES`] of the longest names take.
const MAX_FILE: u64 = 64 * 1024;

/// No route that others take is narrower, so what is announced of one address is of all of these.
fn narrowest(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 24 } else { 48 }
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cache {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    network: Network,
    /// When it was said, in seconds since 1970.
    at_s: u64,
}

impl Cache {
    /// What is in the state directory; nothing where that is damaged, foreign or not there.
    #[must_use]
    pub fn load(state: &Path) -> Self {
        let mut bytes = Vec::new();
        let file = File::open(state.join(FILE));
        let read = file.and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        if read.is_err() || bytes.len() as u64 > MAX_FILE {
            return Self::default();
        }
        Self::parse(&bytes)
    }

    /// What these bytes hold.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut cache: Self = serde_json::from_slice(bytes).unwrap_or_default();
        cache.entries.truncate(MAX_ENTRIES);
        for entry in &mut cache.entries {
            let names = entry.network.names.iter().take(super::cymru::MAX_NAMES);
            entry.network.names = names.filter_map(|name| harmless(name, MAX_NAME)).collect();
        }
        cache.entries.retain(|entry| {
            let net = entry.network.net;
            net.prefix_len() >= narrowest(net.addr()) && !entry.network.asns.is_empty()
        });
        cache
    }

    /// Whose `ip` is, if that was said less than a month ago. What was said in the future was said
    /// before the clock was set.
    #[must_use]
    pub fn find(&self, ip: IpAddr, now_s: u64) -> Option<&Network> {
        let fresh = |entry: &&Entry| entry.is_fresh(now_s) && entry.network.net.contains(&ip);
        self.entries.iter().rev().find(fresh).map(|entry| &entry.network)
    }

    /// Remembers whose `ip` is, and forgets what is too old or too much.
    pub fn put(&mut self, ip: IpAddr, mut network: Network, now_s: u64) {
        let narrowest = narrowest(ip);
        if network.net.prefix_len() < narrowest {
            // A part of it may be announced by others.
            let Ok(around) = IpNet::new(ip, narrowest) else { return };
            network.net = around.trunc();
        }
        self.entries.retain(|old| old.is_fresh(now_s) && old.network.net != network.net);
        self.entries.push(Entry { network, at_s: now_s });
        let over = self.entries.len().saturating_sub(MAX_ENTRIES);
        self.entries.drain(..over);
    }

    /// Writes it down; there is the old file or the new one, whole.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn save(&self, state: &Path) -> io::Result<()> {
        files::replace_public(state, FILE, &serde_json::to_vec(self)?)
    }
}

impl Entry {
    fn is_fresh(&self, now_s: u64) -> bool {
        now_s.checked_sub(self.at_s).is_some_and(|age| age < MOST_AGE_S)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tempdir;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn network(net: &str) -> Network {
        let net = net.parse().unwrap();
        Network { net, asns: vec![14593], names: vec!["STARLINK".into()], country: None }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_remembered_for_a_month_and_survives_the_disk() {
        let dir = tempdir();
        let mut cache = Cache::default();
        cache.put(ip("98.97.32.7"), network("98.97.0.0/16"), NOW);
        cache.save(&dir).unwrap();
        let cache = Cache::load(&dir);
        for (address, now, known) in [
            ("98.97.32.7", NOW, true),
            ("98.97.32.200", NOW, true),
            // Its neighbour may be announced by others, though the /16 holds both.
            ("98.97.33.7", NOW, false),
            ("98.97.32.7", NOW + MOST_AGE_S - 1, true),
            ("98.97.32.7", NOW + MOST_AGE_S, false),
            ("98.97.32.7", NOW - 1, false),
        ] {
            assert_eq!(cache.find(ip(address), now).is_some(), known, "{address} {now}");
        }
    }

    #[test]
    fn the_later_word_counts_and_there_are_not_too_many() {
        let mut cache = Cache::default();
        cache.put(ip("2605:59c8::1"), network("2605:59c8::/32"), NOW);
        let other = Network { asns: vec![64500], ..network("2605:59c8::/32") };
        cache.put(ip("2605:59c8::2"), other, NOW + 1);
        assert_eq!(cache.entries.len(), 1);
        assert_eq!(cache.find(ip("2605:59c8::1"), NOW + 1).unwrap().asns, [64500]);
        for n in 0..200_u8 {
            cache.put(ip(&format!("10.0.{n}.1")), network(&format!("10.0.{n}.0/24")), NOW + 2);
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        assert!(cache.find(ip("10.0.199.9"), NOW + 2).is_some());
        assert!(u64::try_from(serde_json::to_vec(&cache).unwrap().len()).unwrap() < MAX_FILE);
    }

    #[test]
    fn a_damaged_file_is_no_file() {
        let dir = tempdir();
        let whole = br#"[{"net":"98.97.32.0/24","asns":[14593],"names":["A\u0007"],"at_s":5}]"#;
        assert_eq!(Cache::parse(whole).entries[0].network.names, ["A\\x07"]);
        let all = br#"[{"net":"0.0.0.0/0","asns":[1],"names":["A"],"at_s":5}]"#;
        for bytes in [&whole[..whole.len() - 1], b"", b"{}", b"[1]", b"\xff\xff", b"null", all] {
            std::fs::write(dir.join(FILE), bytes).unwrap();
            assert_eq!(Cache::load(&dir), Cache::default(), "{bytes:?}");
        }
        std::fs::write(dir.join(FILE), vec![b' '; 100_000]).unwrap();
        assert_eq!(Cache::load(&dir), Cache::default());
        assert_eq!(Cache::load(&dir.join("nosuch")), Cache::default());
    }
}
