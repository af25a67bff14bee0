//! The main routing table, as far as it tells something of a line: who is on this side of it, and whether
//! a route leads out. Only hints: other tables and rules of policy routing are not seen here.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A route that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    interface: String,
    network: IpAddr,
    prefix: u32,
    metric: u32,
    by_gateway: bool,
}

/// The routes of the main table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes(Vec<Route>);

/// route.h
const RTF_UP: u32 = 0x0001;
const RTF_GATEWAY: u32 = 0x0002;
const RTF_REJECT: u32 = 0x0200;
/// ipv6_route.h: an address of this machine.
const RTF_LOCAL: u32 = 0x8000_0000;

impl Routes {
    /// As they are now; none where they cannot be read.
    #[must_use]
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text("/proc/net/route"), &text("/proc/net/ipv6_route"))
    }

    /// What proc_net(5) has of both families.
    #[must_use]
    pub fn parse(four: &str, six: &str) -> Self {
        let four = four.lines().skip(1).filter_map(parse_four);
        Self(four.chain(six.lines().filter_map(parse_six)).collect())
    }

    /// Whether an address is in a network that the line itself is in. Who has it answers although
    /// the line beyond is dead.
    #[must_use]
    pub fn is_near(&self, interface: Option<&str>, to: IpAddr) -> bool {
        let holds = |route: &&Route| route.is_by(interface) && route.holds(to);
        let best = self.0.iter().filter(holds).max_by_key(|route| route.prefix);
        // A route of no length leads everywhere, with a gateway or, on a line of two ends, without one.
        best.is_some_and(|route| !route.by_gateway && route.prefix > 0)
    }

    /// The interface by which the best route leads there: the longest, and of those the one with the least
    /// metric.
    #[must_use]
    pub fn best(&self, to: IpAddr) -> Option<&str> {
        let routes = self.0.iter().filter(|route| route.holds(to));
        let best = routes.min_by_key(|route| (std::cmp::Reverse(route.prefix), route.metric));
        best.map(|route| route.interface.as_str())
    }

    /// Whether a route leads there by the interface.
    #[must_use]
    pub fn lead_to(&self, interface: &str, to: IpAddr) -> bool {
        self.0.iter().any(|route| route.is_by(Some(interface)) && route.holds(to))
    }
}

impl Route {
    fn is_by(&self, interface: Option<&str>) -> bool {
        interface.is_none_or(|name| name == self.interface)
    }

    fn holds(&self, to: IpAddr) -> bool {
        match (self.network, to) {
            (IpAddr::V4(network), IpAddr::V4(to)) => {
                let differ = network.to_bits() ^ to.to_bits();
                differ.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(to)) => {
                let differ = network.to_bits() ^ to.to_bits();
                differ.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// `wwan0  0001A8C0  00000000  0001  0  0  0  00FFFFFF  0  0  0`: numbers in the order of this machine.
fn parse_four(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [interface, network, _, flags, _, _, metric, mask, ..] = words[..] else { return None };
    let number = |word| u32::from_str_radix(word, 16).ok();
    let flags = number(flags)?;
    let address = Ipv4Addr::from(number(network)?.to_ne_bytes());
    let prefix = number(mask)?.count_ones();
    let metric = metric.parse().ok()?;
    (flags & RTF_UP != 0 && flags & RTF_REJECT == 0).then(|| Route {
        interface: interface.to_owned(),
        network: address.into(),
        prefix,
        metric,
        by_gateway: flags & RTF_GATEWAY != 0,
    })
}

/// `<network> <prefix> <source> <prefix> <gateway> <metric> <references> <use> <flags> wwan0`.
fn parse_six(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [network, prefix, _, _, _, metric, _, _, flags, interface] = words[..] else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let address = Ipv6Addr::from(u128::from_str_radix(network, 16).ok()?);
    let prefix = u32::from_str_radix(prefix, 16).ok().filter(|prefix| *prefix <= 128)?;
    let metric = u32::from_str_radix(metric, 16).ok()?;
    let in_force = flags & RTF_UP != 0 && flags & (RTF_REJECT | RTF_LOCAL) == 0;
    (in_force && !address.is_multicast()).then(|| Route {
        interface: interface.to_owned(),
        network: address.into(),
        prefix,
        metric,
        by_gateway: flags & RTF_GATEWAY != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
wwan0\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0
wwan0\t0003400A\t00000000\t0001\t0\t0\t0\tF8FFFFFF\t0\t0\t0
wlan0\t0008A8C0\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
    const SIX: &str = "\
20010db8000000010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000003 00000000 00000003     eth0
20010db8000000010000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001     eth0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000003 00000000 00000001     wwan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn who_is_on_this_side_and_whether_a_route_leads_out() {
        // As a machine writes it whose numbers begin with the low byte.
        if cfg!(target_endian = "big") {
            return;
        }
        let routes = Routes::parse(FOUR, SIX);
        assert_eq!(routes.0.len(), 6, "{routes:?}");
        let table = [
            // Interface, address, near, a route leads there.
            ("eth0", "192.0.2.1", true, true),
            ("eth0", "192.0.3.1", false, true),
            ("wwan0", "192.0.2.1", false, true),
            ("wwan0", "10.64.3.7", true, true),
            ("wwan0", "10.64.3.8", false, true),
            ("wlan0", "192.168.8.1", false, false),
            ("eth0", "2001:db8:0:1::1", true, true),
            ("eth0", "2001:db8:2::1", false, true),
            ("wwan0", "2001:db8:0:1::1", false, false),
            ("lo", "2001:db8:0:1::1", false, false),
        ];
        for (interface, to, near, leads) in table {
            let to: IpAddr = to.parse().unwrap();
            assert_eq!(routes.is_near(Some(interface), to), near, "{interface} {to}");
            assert_eq!(routes.lead_to(interface, to), leads, "{interface} {to}");
        }
        assert!(routes.is_near(None, "192.0.2.9".parse().unwrap()));
        for (to, want) in [("10.64.3.7", "wwan0"), ("203.0.113.1", "eth0"), ("2001:db8::1", "eth0")]
        {
            assert_eq!(routes.best(to.parse().unwrap()), Some(want), "{to}");
        }
        assert_eq!(Routes::parse("", "x\ny z\n"), Routes::default());
    }
}
