//! Whose an address is in the routing table, by Team Cymru's DNS: what to ask and what the answers
//! say (<https://www.team-cymru.com/ip-asn-mapping>). They ask for DNS rather than whois, and not
//! to be asked in bulk; what they say is remembered.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{MAX_NAME, harmless};

/// Most systems that are taken from an answer; an address has rarely more than two.
const MAX_ASNS: usize = 8;

/// Most systems whose names are asked for.
pub const MAX_NAMES: usize = 2;

/// A part of the routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The addresses.
    #[serde(with = "as_text")]
    pub net: IpNet,
    /// Who announces them.
    pub asns: Vec<u32>,
    /// Names of those, as far as they are known.
    #[serde(default)]
    pub names: Vec<String>,
    /// Two letters of the country to which they were given.
    #[serde(default)]
    pub country: Option<String>,
}

/// The name to ask about an address. Of IPv6 the upper half is enough: routes are no longer than
/// 48 bits, and the other half would tell every resolver on the way which machine we are.
#[must_use]
pub fn origin_name(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, c, d] = four.octets();
            format!("{d}.{c}.{b}.{a}.origin.asn.cymru.com")
        }
        IpAddr::V6(six) => {
            let upper = six.to_bits() >> 64;
            let nibbles = (0..16).map(|at| format!("{:x}.", upper >> (4 * at) & 15));
            format!("{}origin6.asn.cymru.com", nibbles.collect::<String>())
        }
    }
}

/// The name to ask about a system.
#[must_use]
pub fn name_of(asn: u32) -> String {
    format!("AS{asn}.asn.cymru.com")
}

/// Whose `ip` is by these texts: `14593 | 98.97.32.0/24 | US | arin | 2020-10-27`. Of several the
/// narrowest network counts, as in routing; of the same, all that announce it.
#[must_use]
pub fn origin(ip: IpAddr, texts: &[String]) -> Option<Network> {
    let mut best: Option<Network> = None;
    for network in texts.iter().filter_map(|text| read_origin(text)) {
        if !network.net.contains(&ip.to_canonical()) {
            continue;
        }
        match &mut best {
            Some(best) if best.net.prefix_len() > network.net.prefix_len() => {}
            Some(best) if best.net == network.net => {
                let more = network.asns.into_iter().filter(|asn| !best.asns.contains(asn));
                best.asns = best.asns.iter().copied().chain(more).take(MAX_ASNS).collect();
            }
            _ => best = Some(network),
        }
    }
    best
}

fn read_origin(text: &str) -> Option<Network> {
    let mut fields = text.split('|').map(str::trim);
    let numbers = fields.next()?.split_whitespace().filter_map(|asn| asn.parse().ok());
    let asns: Vec<u32> = numbers.filter(|asn| *asn > 0).take(MAX_ASNS).collect();
    let net: IpNet = fields.next()?.parse().ok()?;
    // Half of the internet is nobody's.
    let good = !asns.is_empty() && net.prefix_len() >= 3;
    let country = fields.next().and_then(country);
    good.then_some(Network { net: net.trunc(), asns, names: Vec::new(), country })
}

/// The name of `asn` by these texts: `14593 | US | arin | 2002-02-05 | SPACEX-STARLINK, US`.
#[must_use]
pub fn as_name(asn: u32, texts: &[String]) -> Option<String> {
    texts.iter().find_map(|text| {
        let mut fields = text.splitn(5, '|').map(str::trim);
        let is_it = fields.next()?.parse() == Ok(asn);
        let name = fields.nth(3).filter(|_| is_it)?;
        let without_country = match name.rsplit_once(", ") {
            Some((name, cc)) if country(cc).is_some() => name,
            _ => name,
        };
        harmless(without_country, MAX_NAME)
    })
}

/// Two letters, or none.
fn country(text: &str) -> Option<String> {
    let is_code = text.len() == 2 && text.bytes().all(|letter| letter.is_ascii_uppercase());
    is_code.then(|| text.to_owned())
}

/// A network in JSON: `"98.97.32.0/24"`.
mod as_text {
    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(net: &IpNet, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(net)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn names_are_written_backwards() {
        for (ip, want) in [
            ("98.97.32.7", "7.32.97.98.origin.asn.cymru.com"),
            ("::ffff:98.97.32.7", "7.32.97.98.origin.asn.cymru.com"),
            ("2605:59c8:12:3456::99", "6.5.4.3.2.1.0.0.8.c.9.5.5.0.6.2.origin6.asn.cymru.com"),
        ] {
            assert_eq!(origin_name(ip.parse().unwrap()), want);
        }
        assert_eq!(name_of(14593), "AS14593.asn.cymru.com");
    }

    #[test]
    fn the_narrowest_network_with_the_address_counts() {
        let ip = "98.97.32.7".parse().unwrap();
        for (said, want) in [
            (&["14593 | 98.97.32.0/24 | US | arin | 2020-10-27"][..], Some((&[14593][..], 24))),
            (
                &["14593 | 98.97.0.0/16 | US | arin | x", "64500 | 98.97.32.0/24 | US | arin | x"],
                Some((&[64500], 24)),
            ),
            (
                &["64500 | 98.97.32.0/24 | US | arin | x", "14593 | 98.97.0.0/16 | US | arin | x"],
                Some((&[64500], 24)),
            ),
            (
                &["1 | 98.97.32.0/24 | US | arin |", "2 1 | 98.97.32.0/24 | US | arin |"],
                Some((&[1, 2], 24)),
            ),
            (&["701 1239 3549 | 98.97.32.0/24 | US | arin |"], Some((&[701, 1239, 3549], 24))),
            (&["14593|98.97.32.0/24"], Some((&[14593], 24))),
            // Of another address; of everybody; of nobody.
            (&["14593 | 98.97.33.0/24 | US | arin | 2020-10-27"], None),
            (&["14593 | 0.0.0.0/0 | US | arin | 2020-10-27"], None),
            (&["NA | 98.97.32.0/24 | US | arin | 2020-10-27"], None),
            (&["0 | 98.97.32.0/24 | US | arin | 2020-10-27"], None),
            (&["4294967296 | 98.97.32.0/24 | US | arin |"], None),
            (&["", "|", "14593", "14593 | 98.97.32.0", "v=spf1 -all"], None),
        ] {
            let found = origin(ip, &texts(said));
            let found = found.as_ref().map(|found| (&found.asns[..], found.net.prefix_len()));
            assert_eq!(found, want, "{said:?}");
        }
        let six = texts(&["14593 | 2605:59c8::/32 | US | arin | 2018-05-24"]);
        let found = origin("2605:59c8:12:3456::99".parse().unwrap(), &six).unwrap();
        assert_eq!((found.asns, found.country.as_deref()), (vec![14593], Some("US")));
    }

    #[test]
    fn a_name_is_that_of_the_system_without_its_country() {
        for (text, want) in [
            ("14593 | US | arin | 2002-02-05 | SPACEX-STARLINK, US", Some("SPACEX-STARLINK")),
            ("14593 | US | arin | 2002-02-05 | A | B, Inc., US", Some("A | B, Inc.")),
            ("14593 | US | arin | 2002-02-05 | Space, Inc.", Some("Space, Inc.")),
            ("14593 | US | arin | 2002-02-05 | A\u{202e}B\x1b[31m", Some("A\\u{202e}B\\x1b[31m")),
            ("3320 | DE | ripencc | 1993-09-01 | DTAG, DE", None),
            ("14593 | US | arin | 2002-02-05 |", None),
            ("14593 | US", None),
        ] {
            assert_eq!(as_name(14593, &texts(&[text])).as_deref(), want, "{text}");
        }
    }
}
