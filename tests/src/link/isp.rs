//! Whose addresses are whose in the small internet: what name servers and speed servers say of a
//! client.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A network and who announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isp {
    /// Number of the autonomous system.
    pub asn: u32,
    /// Its name in the registry, as Team Cymru's service says it.
    pub handle: String,
    /// Its name for people, as speed tests say it.
    pub name: String,
    /// Two letters.
    pub country: String,
}

impl Isp {
    fn of(asn: u32, handle: &str, name: &str, country: &str) -> Self {
        let [handle, name, country] = [handle, name, country].map(str::to_owned);
        Self { asn, handle, name, country }
    }

    /// The one that is hoped for: of `line0`.
    #[must_use]
    pub fn starlink() -> Self {
        Self::of(14593, "SPACEX-STARLINK, US", "SpaceX Starlink", "US")
    }

    /// The other: of `line1`.
    #[must_use]
    pub fn telekom() -> Self {
        Self::of(3320, "DTAG Internet service provider operations, DE", "Deutsche Telekom AG", "DE")
    }

    /// That of the servers.
    #[must_use]
    pub fn servers() -> Self {
        Self::of(64500, "EXAMPLE-NET, CH", "Example Networks", "CH")
    }

    /// What Team Cymru says of the number.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} | {} | ripencc | 2012-05-11 | {}", self.asn, self.country, self.handle)
    }
}

/// A network that is announced.
#[derive(Debug, Clone)]
pub struct Network {
    /// As it is written: `98.97.32.0/24`.
    pub prefix: &'static str,
    /// By whom.
    pub isp: Isp,
}

/// All that are announced.
#[must_use]
pub fn networks() -> Vec<Network> {
    [
        ("98.97.32.0/24", Isp::starlink()),
        ("2605:59c8::/32", Isp::starlink()),
        ("93.192.0.0/10", Isp::telekom()),
        ("2003::/19", Isp::telekom()),
        ("203.0.113.0/24", Isp::servers()),
        ("2001:db8::/32", Isp::servers()),
    ]
    .map(|(prefix, isp)| Network { prefix, isp })
    .to_vec()
}

/// The network of an address.
#[must_use]
pub fn network_of(address: IpAddr) -> Option<Network> {
    networks().into_iter().find(|network| contains(network.prefix, address))
}

/// The ISP of this number.
#[must_use]
pub fn isp_of_asn(asn: u32) -> Option<Isp> {
    networks().into_iter().map(|network| network.isp).find(|isp| isp.asn == asn)
}

fn contains(prefix: &str, address: IpAddr) -> bool {
    let Some((network, length)) = prefix.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= length
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= length
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_network_that_has_it() {
        for (address, asn) in [
            ("98.97.32.2", Some(14593)),
            ("98.97.33.2", None),
            ("93.255.1.1", Some(3320)),
            ("2605:59c8:0:1::2", Some(14593)),
            ("2003:e0:0:1::2", Some(3320)),
            ("2a00::1", None),
        ] {
            let network = network_of(address.parse().unwrap());
            assert_eq!(network.map(|network| network.isp.asn), asn, "{address}");
        }
    }
}
