//! Addresses and networks of the policy, held against an oracle that compares bit by bit.
//!
//! First byte `t`: the rest is an entry of the list and a client's address, a line each, as
//! text. Else it is their bits, so that any pair is reached.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use notifier::known_good::{Facts, Now, Rule, parse_address, parse_fingerprint, parse_net};

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else { return };
    if *mode == b't' {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        let (entry, address) = text.split_once('\n').unwrap_or((text, ""));
        let _ = parse_fingerprint(entry);
        texts(entry, address);
    } else if let Ok((entry, address)) = pair(&mut Unstructured::new(rest)) {
        texts(&entry, &address);
    }
});

/// An entry and an address that have something to do with each other, more often than not.
fn pair(u: &mut Unstructured<'_>) -> Result<(String, String)> {
    let base = ip(u)?;
    let entry = if u.arbitrary()? {
        format!("{base}/{}", u.arbitrary::<u8>()? % 140)
    } else {
        base.to_string()
    };
    let address = match (base, u.arbitrary()?) {
        (IpAddr::V4(ip), true) => {
            let flipped = Ipv4Addr::from_bits(ip.to_bits() ^ 1 << u.int_in_range(0..=31)?);
            if u.arbitrary()? { flipped.to_string() } else { format!("::ffff:{flipped}") }
        }
        (IpAddr::V6(ip), true) => {
            let flipped = Ipv6Addr::from_bits(ip.to_bits() ^ 1 << u.int_in_range(0..=127)?);
            if u.arbitrary()? { flipped.to_string() } else { format!("{flipped}%eth0") }
        }
        (_, false) => ip(u)?.to_string(),
    };
    Ok((entry, address))
}

fn ip(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(match u.int_in_range(0..=6)? {
        0 => IpAddr::V4(u.arbitrary::<u32>()?.into()),
        1 => IpAddr::V6(u.arbitrary::<u128>()?.into()),
        2 => IpAddr::V6(Ipv6Addr::from_bits(0xffff_0000_0000 | u128::from(u.arbitrary::<u32>()?))),
        3 => IpAddr::V6(Ipv6Addr::from_bits(0xfe80 << 112 | u.arbitrary::<u128>()? >> 10)),
        4 => IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0000 | u.arbitrary::<u32>()? >> 8)),
        5 => IpAddr::V4(Ipv4Addr::from_bits(0xa9fe_0000 | u.arbitrary::<u32>()? >> 16)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(u128::from(u.arbitrary::<u8>()?))),
    })
}

fn texts(entry: &str, address: &str) {
    let client = parse_address(address);
    assert_eq!(client, naive_client(address), "{address:?}");
    let net = parse_net(entry);
    let naive = naive_net(entry);
    assert_eq!(net.is_ok(), naive.is_some(), "{entry:?}: {net:?}");
    let (Ok(net), Some(naive)) = (net, naive) else { return };
    // What is read can be written down and read again.
    assert_eq!(parse_net(&net.to_string()), Ok(net));
    let rule = Rule { from: Some(vec![net]), ..Rule::default() };
    let now = Now { unix_s: 1000, not_before_s: 500 };
    let facts = Facts { user: b"a", source: client, keys: &[], now, boot: None };
    let known = rule.check(&facts).is_ok();
    assert_eq!(known, client.is_some_and(|ip| naive_covers(naive, ip)), "{entry:?} {address:?}");
}

/// An address as bits in one space of 128, where IPv4 has its mapped place, and how many of
/// the bits from the left are the network's.
type Naive = (u128, u32);

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => 0xffff_0000_0000 | u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn is_v4(bits: u128) -> bool {
    bits >> 32 == 0xffff
}

fn same(a: u128, b: u128, first: u32) -> bool {
    (0..first).all(|bit| a >> (127 - bit) & 1 == b >> (127 - bit) & 1)
}

/// An entry of the list: address, or address and prefix, no bit behind the prefix, and
/// not everything.
fn naive_net(text: &str) -> Option<Naive> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (naive_ip(address)?, Some(prefix)),
        None => (naive_ip(text)?, None),
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u32 = match prefix {
        None => width,
        Some(digits) => {
            let number =
                (1..=3).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit());
            let zeros = digits.len() > 1 && digits.starts_with('0');
            let prefix = if number && !zeros { digits.parse().ok()? } else { return None };
            if prefix > width { return None } else { prefix }
        }
    };
    let start = 128 - width;
    let (address, prefix) = (bits(address), prefix + start);
    // A network of mapped addresses is an IPv4 network; all of IPv4, or of IPv6, is refused.
    let all = if is_v4(address) && prefix >= 96 { 96 } else { 0 };
    let behind = (prefix..128).any(|bit| address >> (127 - bit) & 1 == 1);
    (prefix > all && !behind).then_some((address, prefix))
}

fn naive_covers((net, prefix): Naive, client: IpAddr) -> bool {
    let client = bits(client);
    // An IPv6 network is no network of IPv4 addresses, although those have a place in it.
    let net_is_v4 = is_v4(net) && prefix >= 96;
    if net_is_v4 != is_v4(client) || !same(net, client, prefix) {
        return false;
    }
    // Loopback and link-local: the network has to lie inside the special range.
    let special: [Naive; 4] =
        [(0xffff_7f00_0000, 104), (0xffff_a9fe_0000, 112), (1, 128), (0xfe80 << 112, 10)];
    let range = special.iter().find(|(range, width)| same(client, *range, *width));
    range.is_none_or(|(_, width)| prefix >= *width)
}

/// The client's address as sshd writes it: with a zone behind IPv6, perhaps.
fn naive_client(text: &str) -> Option<IpAddr> {
    let ip = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, _)) => naive_ip(address).filter(IpAddr::is_ipv6)?,
        None => naive_ip(text)?,
    };
    let bits = bits(ip);
    Some(match u32::try_from(bits & 0xffff_ffff) {
        Ok(low) if is_v4(bits) => IpAddr::V4(Ipv4Addr::from_bits(low)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    })
}

fn naive_ip(text: &str) -> Option<IpAddr> {
    naive_v4(text).map(IpAddr::from).or_else(|| naive_v6(text).map(IpAddr::from))
}

/// Four numbers to 255 without leading zeros (RFC 6943, 3.1.1, "strict").
fn naive_v4(text: &str) -> Option<[u8; 4]> {
    let parts: Vec<u8> = text
        .split('.')
        .map(|part| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit());
            let zeros = part.len() > 1 && part.starts_with('0');
            if digits && !zeros { part.parse().ok() } else { None }
        })
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// RFC 4291, 2.2: eight groups of one to four hex digits, once `::` for one group of zeros or
/// more, the last two perhaps as IPv4.
fn naive_v6(text: &str) -> Option<[u16; 8]> {
    let groups = |side: &str, last: bool| -> Option<Vec<u16>> {
        if side.is_empty() {
            return Some(Vec::new());
        }
        let parts: Vec<&str> = side.split(':').collect();
        let mut groups = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            if last && at + 1 == parts.len() && part.contains('.') {
                let [a, b, c, d] = naive_v4(part)?;
                groups.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
            } else if (1..=4).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_hexdigit()) {
                groups.push(u16::from_str_radix(part, 16).ok()?);
            } else {
                return None;
            }
        }
        Some(groups)
    };
    match text.split_once("::") {
        None => groups(text, true)?.try_into().ok(),
        Some((left, right)) => {
            let (left, right) = (groups(left, false)?, groups(right, true)?);
            let zeros = 8usize.checked_sub(left.len() + right.len()).filter(|zeros| *zeros > 0)?;
            [left, vec![0; zeros], right].concat().try_into().ok()
        }
    }
}
