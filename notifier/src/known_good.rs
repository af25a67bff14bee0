//! The policy: which logins are known good. Pure: facts and rules in, verdict and reason out.
//!
//! Everything that is not clearly known good is told. An address that is missing, a clock
//! that cannot be right, a rule that is not fully understood: each of them means an alert.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::clock::BootStamp;

/// Most entries that all lists of rules may have together; a login walks them all.
pub const MAX_ENTRIES: usize = 10_000;

/// The rules of `[login]`: `known-good` as one rule of addresses, then each `[[login.allow]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownGood {
    /// In the order of the file; the first that matches is named in the log.
    pub rules: Vec<Rule>,
}

/// One rule. All of its conditions have to hold at once; an absent condition always holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in the log: `known-good`, `allow 2`, `allowance 1 (...)`.
    pub name: String,
    /// User names, compared byte by byte.
    pub users: Option<Vec<String>>,
    /// Addresses and networks of the client.
    pub from: Option<Vec<IpNet>>,
    /// Fingerprints of keys, one of which has to have authenticated.
    pub keys: Option<Vec<String>>,
    /// Seconds since 1970 at which the rule ends.
    pub until: Option<i64>,
    /// When it was granted, if it was granted for a time.
    pub granted: Option<Granted>,
}

/// When a rule was granted that holds for a time. It has two ends, and the earlier one counts: on
/// the wall clock (`until`), and on the clock of the boot it was granted in, which nobody can set
/// back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    /// Seconds since 1970; a wall clock that is behind this is wrong.
    pub at_s: i64,
    /// The end on the boot clock.
    pub boot_end: Option<BootStamp>,
}

/// What is known about a login.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The user's name.
    pub user: &'a [u8],
    /// The client's address in canonical form ([`canonical`]), where there is one.
    pub source: Option<IpAddr>,
    /// Fingerprints of the keys that authenticated.
    pub keys: &'a [&'a str],
    /// The time.
    pub now: Now,
    /// The same on the boot clock, where it can be read.
    pub boot: Option<&'a BootStamp>,
}

/// The wall clock, and the least it can be.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Seconds since 1970.
    pub unix_s: i64,
    /// Seconds since 1970 at which the rules were written. A machine without a battery-backed
    /// clock starts in the past; by such a clock no rule would ever have ended.
    pub not_before_s: i64,
}

/// What a login is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is only logged. Holds the rule's name.
    KnownGood(String),
    /// It is told. Holds why, in words.
    Alert(String),
}

/// Why a rule does not match a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// The user is not in its list.
    User,
    /// The address is unknown.
    NoSource,
    /// The address is not in its networks.
    Source,
    /// The login came from this machine itself, as each login through the reverse forward
    /// does, or from a link-local address, and the rule does not name that address.
    NotSpelledOut,
    /// None of its keys authenticated.
    Key,
    /// Its time is over.
    Expired,
    /// It has an end, and the clock is behind the rule's own beginning, so nobody knows whether it
    /// is over.
    ClockBehind,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "the user is not in its users",
            Self::NoSource => "the source address is unknown",
            Self::Source => "the address is not in its networks",
            Self::NotSpelledOut => {
                "the address is loopback (as every login through the tunnel) or link-local, \
                 and the rule does not spell it out"
            }
            Self::Key => "none of its keys authenticated",
            Self::Expired => "its time is over",
            Self::ClockBehind => {
                "it has an end, and the clock is behind the time at which it was written"
            }
        })
    }
}

impl KnownGood {
    /// What a login with these facts is.
    #[must_use]
    pub fn verdict(&self, facts: &Facts<'_>) -> Verdict {
        let mut nearest = None;
        for rule in &self.rules {
            match rule.check(facts) {
                Ok(()) => return Verdict::KnownGood(rule.name.clone()),
                // Of a rule that nearly matched, the reason is worth telling: an allowance
                // that ended is the usual surprise.
                Err(miss @ (Miss::Expired | Miss::ClockBehind)) if nearest.is_none() => {
                    nearest = Some((rule, miss));
                }
                Err(_) => {}
            }
        }
        Verdict::Alert(match (facts.source, nearest) {
            (_, Some((rule, miss))) => format!("rule {}: {miss}", rule.name),
            (None, _) => "no source address".into(),
            (Some(ip), _) if ip.is_loopback() => "from this machine or through the tunnel".into(),
            (Some(ip), _) if is_link_local(ip) => "from a link-local address".into(),
            _ if self.rules.is_empty() => "no known-good places are configured".into(),
            _ => "not from a known-good place".into(),
        })
    }
}

impl Rule {
    /// Whether the rule matches, and if not, the condition that fails.
    ///
    /// Time comes last, so that [`Miss::Expired`] means "this one would have matched".
    ///
    /// # Errors
    ///
    /// The first condition that does not hold.
    pub fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let source = facts.source.ok_or(Miss::NoSource)?;
        let special = source.is_loopback() || is_link_local(source);
        match &self.from {
            Some(nets) if !nets.iter().any(|net| covers(*net, source)) => {
                return Err(if special { Miss::NotSpelledOut } else { Miss::Source });
            }
            None if special => return Err(Miss::NotSpelledOut),
            _ => {}
        }
        if let Some(users) = &self.users {
            if !users.iter().any(|user| user.as_bytes() == facts.user) {
                return Err(Miss::User);
            }
        }
        if let Some(keys) = &self.keys {
            if !facts.keys.iter().any(|key| keys.iter().any(|known| known == key)) {
                return Err(Miss::Key);
            }
        }
        self.check_time(facts.now, facts.boot)
    }

    /// Whether the rule's time is not over, as far as clocks can tell.
    ///
    /// # Errors
    ///
    /// [`Miss::Expired`] or [`Miss::ClockBehind`].
    pub fn check_time(&self, now: Now, boot: Option<&BootStamp>) -> Result<(), Miss> {
        if let Some(granted) = &self.granted {
            let ended = |(end, now): (&BootStamp, &BootStamp)| end.id == now.id && now.ms >= end.ms;
            if granted.boot_end.as_ref().zip(boot).is_some_and(ended) {
                return Err(Miss::Expired);
            }
            if now.unix_s < granted.at_s {
                return Err(Miss::ClockBehind);
            }
        }
        match self.until {
            Some(_) if now.unix_s < now.not_before_s => Err(Miss::ClockBehind),
            Some(until) if now.unix_s >= until => Err(Miss::Expired),
            _ => Ok(()),
        }
    }
}

/// Reads an entry of a list: an address or a network, strictly (no host names, no `1.2.3`,
/// no leading zeros, no bits behind the prefix).
///
/// # Errors
///
/// A text for a person that says what would be right.
pub fn parse_net(text: &str) -> Result<IpNet, String> {
    let Some(net) = address_and_prefix(text) else {
        return Err(format!(
            "{text:?} is neither an address nor a network; write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48"
        ));
    };
    let net = fold(net);
    if net.prefix_len() == 0 {
        return Err(format!(
            "{text:?} is every address there is, so nothing would ever be told; name the networks you know"
        ));
    }
    if net.network() != net.addr() {
        return Err(format!("{text:?} has bits behind its prefix; did you mean {}?", net.trunc()));
    }
    Ok(net)
}

/// ipnet's own parser takes leading zeros, which other programs read as octal; std's does not.
fn address_and_prefix(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let plain =
        prefix.bytes().all(|c| c.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
    let prefix = prefix.parse().ok().filter(|_| plain)?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// The one form in which addresses are compared: IPv4-mapped IPv6 is IPv4 (RFC 4291, 2.5.5.2).
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Reads the client's address as sshd writes it: an address, perhaps with a zone
/// (`fe80::1%eth0`), which is dropped: it names an interface of this machine and says
/// nothing of the client. Anything else is no address; names are never looked up.
#[must_use]
pub fn parse_address(text: &str) -> Option<IpAddr> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let ip: IpAddr = address.parse().ok()?;
    match zone {
        Some(zone) if zone.is_empty() || !ip.is_ipv6() => None,
        _ => Some(canonical(ip)),
    }
}

/// Reads an OpenSSH fingerprint: `SHA256:` and 43 characters of base64 without padding.
///
/// # Errors
///
/// A text for a person that says where to find one.
pub fn parse_fingerprint(text: &str) -> Result<String, String> {
    let well_formed = text.strip_prefix("SHA256:").is_some_and(|hash| {
        hash.len() == 43
            && hash.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
    });
    if well_formed {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no key fingerprint; copy the SHA256:... that ssh-keygen -lf prints"
        ))
    }
}

/// Whether the address is link-local: 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291).
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether a rule's network covers an address. Loopback and link-local addresses are covered
/// only by a network that lies wholly inside their own range: one that was written for them.
fn covers(net: IpNet, ip: IpAddr) -> bool {
    let range = match ip {
        IpAddr::V4(ip) if ip.is_loopback() => Some(v4(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpAddr::V4(ip) if ip.is_link_local() => Some(v4(Ipv4Addr::new(169, 254, 0, 0), 16)),
        IpAddr::V6(ip) if ip.is_loopback() => Some(v6(Ipv6Addr::LOCALHOST, 128)),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            Some(v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10))
        }
        _ => None,
    };
    net.contains(&ip) && range.is_none_or(|range| range.contains(&net))
}

fn v4(address: Ipv4Addr, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(address, prefix))
}

fn v6(address: Ipv6Addr, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}

/// A network of IPv4-mapped addresses as the IPv4 network it is.
fn fold(net: IpNet) -> IpNet {
    let IpNet::V6(six) = net else { return net };
    match (six.addr().to_ipv4_mapped(), six.prefix_len().checked_sub(96)) {
        (Some(four), Some(prefix)) => Ipv4Net::new(four, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn facts<'a>(user: &'a str, source: Option<&str>, keys: &'a [&'a str]) -> Facts<'a> {
        Facts {
            user: user.as_bytes(),
            source: source.map(|s| parse_address(s).unwrap()),
            keys,
            now: Now { unix_s: 1000, not_before_s: 500 },
            boot: None,
        }
    }

    fn from(nets: &[&str]) -> Rule {
        let nets = nets.iter().map(|net| parse_net(net).unwrap()).collect();
        Rule { name: "known-good".into(), from: Some(nets), ..Rule::default() }
    }

    #[test]
    fn addresses_match_their_networks_and_nothing_else() {
        let table = [
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.70", false),
            ("1.2.3.4", "11.2.3.45", false),
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("2001:db8:1::/48", "2001:db8:1:ffff::1", true),
            ("2001:db8:1::/48", "2001:db8:2::1", false),
            // Mapped forms fold on both sides.
            ("203.0.113.7", "::ffff:203.0.113.7", true),
            ("::ffff:203.0.113.0/120", "203.0.113.9", true),
            // Loopback and link-local only where they are spelled out.
            ("127.0.0.0/8", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("64.0.0.0/2", "127.0.0.1", false),
            ("::1", "::1", true),
            ("::/8", "::1", false),
            ("fe80::/10", "fe80::1%eth0", true),
            ("fe80::1", "fe80::1", true),
            ("fc00::/6", "fe80::1", false),
            ("169.254.0.0/16", "169.254.3.4", true),
            ("128.0.0.0/1", "169.254.3.4", false),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
        ];
        for (net, source, want) in table {
            let got = from(&[net]).check(&facts("a", Some(source), &[])).is_ok();
            assert_eq!(got, want, "{net} {source}");
        }
    }

    #[test]
    fn only_strict_addresses_and_networks_are_entries() {
        for text in [
            "",
            "1.2.3",
            "010.0.0.1",
            "host.example",
            "203.0.113.0/33",
            "203.0.113.7/24",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0:0/96",
            "fe80::1%eth0",
            " 1.2.3.4",
            "1.2.3.4 ",
            "127.1",
            "010.0.0.0/8",
            "127.0.00.0/8",
            "203.0.113.0/024",
            "203.0.113.0/+24",
            "203.0.113.0/",
        ] {
            assert!(parse_net(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_unknown() {
        for text in ["", "UNKNOWN", "localhost", "1.2.3.4%eth0", "fe80::1%", "1.2.3.4.", "0x7f.1"] {
            assert_eq!(parse_address(text), None, "{text}");
        }
        assert_eq!(parse_address("fe80::1%eth0"), Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn all_conditions_of_a_rule_hold_at_once() {
        let rule = Rule {
            users: Some(vec!["backup".into()]),
            keys: Some(vec![KEY.into()]),
            until: Some(2000),
            ..from(&["198.51.100.0/24"])
        };
        let inside = Some("198.51.100.4");
        let table = [
            (facts("backup", inside, &[KEY]), Ok(())),
            (facts("backup", inside, &["SHA256:other", KEY]), Ok(())),
            (facts("alice", inside, &[KEY]), Err(Miss::User)),
            (facts("backup", Some("198.51.101.4"), &[KEY]), Err(Miss::Source)),
            (facts("backup", Some("127.0.0.1"), &[KEY]), Err(Miss::NotSpelledOut)),
            (facts("backup", inside, &[]), Err(Miss::Key)),
            (facts("backup", None, &[KEY]), Err(Miss::NoSource)),
        ];
        for (facts, want) in table {
            assert_eq!(rule.check(&facts), want, "{facts:?}");
        }
    }

    #[test]
    fn a_rule_ends_and_a_clock_in_the_past_does_not_revive_it() {
        let rule = Rule { until: Some(2000), ..from(&["198.51.100.4"]) };
        let table = [(1999, Ok(())), (2000, Err(Miss::Expired)), (499, Err(Miss::ClockBehind))];
        for (unix_s, want) in table {
            let mut facts = facts("a", Some("198.51.100.4"), &[]);
            facts.now.unix_s = unix_s;
            assert_eq!(rule.check(&facts), want, "{unix_s}");
        }
    }

    #[test]
    fn a_granted_rule_ends_on_the_clock_that_comes_first() {
        let stamp = |id: &str, ms| BootStamp { id: id.into(), ms };
        let granted = Granted { at_s: 1000, boot_end: Some(stamp("a", 60_000)) };
        let rule = Rule { until: Some(2000), granted: Some(granted), ..from(&["198.51.100.4"]) };
        // (wall clock, boot clock)
        let table = [
            (1000, Some(stamp("a", 0)), Ok(())),
            (1999, Some(stamp("a", 59_999)), Ok(())),
            (2000, Some(stamp("a", 59_999)), Err(Miss::Expired)),
            // Set back within the boot: the boot clock goes on.
            (1000, Some(stamp("a", 60_000)), Err(Miss::Expired)),
            (999, Some(stamp("a", 60_000)), Err(Miss::Expired)),
            (999, Some(stamp("a", 1)), Err(Miss::ClockBehind)),
            // After a reboot there is the wall clock alone.
            (1999, Some(stamp("b", 90_000)), Ok(())),
            (999, Some(stamp("b", 1)), Err(Miss::ClockBehind)),
            (2000, Some(stamp("b", 1)), Err(Miss::Expired)),
            (1999, None, Ok(())),
        ];
        for (unix_s, boot, want) in table {
            let mut facts = facts("a", Some("198.51.100.4"), &[]);
            (facts.now.unix_s, facts.boot) = (unix_s, boot.as_ref());
            assert_eq!(rule.check(&facts), want, "{unix_s} {boot:?}");
        }
    }

    #[test]
    fn a_rule_without_addresses_never_covers_the_tunnel() {
        let rule = Rule { keys: Some(vec![KEY.into()]), ..Rule::default() };
        assert_eq!(rule.check(&facts("a", Some("203.0.113.1"), &[KEY])), Ok(()));
        for source in ["127.0.0.1", "::1", "fe80::1"] {
            assert_eq!(rule.check(&facts("a", Some(source), &[KEY])), Err(Miss::NotSpelledOut));
        }
    }

    #[test]
    fn the_verdict_names_the_rule_or_the_reason() {
        let policy = KnownGood {
            rules: vec![
                from(&["203.0.113.7"]),
                Rule { name: "allow 1".into(), until: Some(900), ..from(&["192.0.2.1"]) },
            ],
        };
        let verdict = |source| policy.verdict(&facts("a", source, &[]));
        assert_eq!(verdict(Some("203.0.113.7")), Verdict::KnownGood("known-good".into()));
        let reason = |source| match verdict(source) {
            Verdict::Alert(reason) => reason,
            Verdict::KnownGood(rule) => panic!("{rule}"),
        };
        assert!(reason(None).contains("no source"));
        assert!(reason(Some("127.0.0.1")).contains("tunnel"));
        assert!(reason(Some("192.0.2.1")).contains("its time is over"));
        assert!(reason(Some("192.0.2.2")).contains("not from a known-good place"));
    }
}
