//! The ISPs that were met: one of several names is one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::record::Client;

/// Most names that are kept: who answers chooses them.
const MAX_NAMES: usize = 16;

/// Longest name, in characters.
const MAX_LENGTH: usize = 60;

/// What an ISP gave as its network's number and its name, and how often.
#[derive(Debug, Clone, Default)]
pub struct Isps(BTreeMap<(Option<u32>, Option<String>), usize>);

/// Names that are of one ISP.
struct Group {
    asn: Option<u32>,
    names: Vec<(String, usize)>,
    count: usize,
}

impl Isps {
    /// Counts one more.
    pub fn count(&mut self, client: &Client) {
        let name = client.isp.as_ref().filter(|name| !name.trim().is_empty());
        let name = name.map(|name| notifier::foreign::visible(name.as_bytes()));
        let name = name.map(|name| name.chars().take(MAX_LENGTH).collect());
        let key = (client.asn, name);
        if key != (None, None) && (self.0.len() < MAX_NAMES || self.0.contains_key(&key)) {
            *self.0.entry(key).or_default() += 1;
        }
    }

    /// Each under the name that came most often, or the number where there is no name; the most frequent
    /// first.
    ///
    /// One number is one ISP. What came without one, as other tools write it, is of the ISP that has a
    /// name which contains its own, or is contained in it.
    #[must_use]
    pub fn named(&self) -> Vec<(String, usize)> {
        let mut groups: Vec<Group> = Vec::new();
        let mut without = Vec::new();
        for ((asn, name), count) in &self.0 {
            let group = match (asn, name) {
                (None, Some(name)) => {
                    without.push((name, *count));
                    continue;
                }
                _ => groups.iter_mut().find(|group| group.asn == *asn),
            };
            let named = name.iter().map(|name| (name.clone(), *count));
            match group {
                Some(group) => group.add(named, *count),
                None => groups.push(Group { asn: *asn, names: named.collect(), count: *count }),
            }
        }
        without.sort_by_key(|(_, count)| Reverse(*count));
        for (name, count) in without {
            let alike = groups.iter_mut().filter(|group| group.is_called(name));
            let named = [(name.clone(), count)];
            match alike.max_by_key(|group| group.count) {
                Some(group) => group.add(named, count),
                None => groups.push(Group { asn: None, names: named.into(), count }),
            }
        }
        groups.sort_by_key(|group| Reverse(group.count));
        groups.iter().map(|group| (group.name(), group.count)).collect()
    }
}

impl Group {
    fn add(&mut self, names: impl IntoIterator<Item = (String, usize)>, count: usize) {
        self.names.extend(names);
        self.count += count;
    }

    fn is_called(&self, name: &str) -> bool {
        let name = letters(name);
        let alike = |other: &str| {
            let other = letters(other);
            let is_any = !name.is_empty() && !other.is_empty();
            is_any && (name.contains(&other) || other.contains(&name))
        };
        self.names.iter().any(|(other, _)| alike(other))
    }

    fn name(&self) -> String {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, count) in &self.names {
            *names.entry(name).or_default() += count;
        }
        let most = names.into_iter().min_by_key(|(_, count)| Reverse(*count));
        most.map_or_else(|| format!("AS{}", self.asn.unwrap_or(0)), |(name, _)| name.to_owned())
    }
}

/// `SPACEX-STARLINK` and `SpaceX Starlink` are the same letters.
fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
