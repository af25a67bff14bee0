//! What there is to know: names of servers, who asks, and whose an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bastion_tests::link::isp::{isp_of_asn, network_of};
use bastion_tests::link::{GOOGLE, OPENDNS, OTHER, OTHER6, RESOLVER, RESOLVER6, SPEED, SPEED6};

use crate::message::{Answer, Question};

const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// Names and their addresses.
const HOSTS: [(&str, [&str; 2]); 9] = [
    ("speed.cloudflare.com", [SPEED, SPEED6]),
    ("www.speedtest.net", [SPEED, SPEED6]),
    ("c.speedtest.net", [SPEED, SPEED6]),
    ("speed.example.net", [SPEED, SPEED6]),
    ("slow.example.net", [SPEED, SPEED6]),
    ("other.example.net", [OTHER, OTHER6]),
    ("resolver.example.net", [RESOLVER, RESOLVER6]),
    ("ns1.google.com", GOOGLE),
    ("resolver1.opendns.com", OPENDNS),
];

/// The right answer to who asks from this address.
pub fn answer(question: &Question, from: IpAddr) -> Answer {
    let name = question.name.as_str();
    if let Some((_, known)) = HOSTS.iter().find(|(host, _)| *host == name) {
        let known: Vec<IpAddr> = known.iter().filter_map(|text| text.parse().ok()).collect();
        return addresses(question, &known);
    }
    match name {
        "o-o.myaddr.l.google.com" => return text(question, &from.to_string()),
        "myip.opendns.com" => return addresses(question, &[from]),
        "example.net" | "google.com" | "opendns.com" => return Answer::default(),
        _ => {}
    }
    let said = name
        .strip_suffix(".origin.asn.cymru.com")
        .and_then(|labels| origin(v4_of(labels)?.into()))
        .or_else(|| origin(v6_of(name.strip_suffix(".origin6.asn.cymru.com")?)?.into()))
        .or_else(|| {
            let number = name.strip_suffix(".asn.cymru.com")?.strip_prefix("as")?;
            isp_of_asn(number.parse().ok()?).map(|isp| isp.line())
        });
    match said {
        Some(said) => text(question, &said),
        None => Answer::code(3),
    }
}

/// Those of the addresses that are asked for.
pub fn addresses(question: &Question, addresses: &[IpAddr]) -> Answer {
    let records = addresses.iter().filter_map(|address| match (address, question.kind) {
        (IpAddr::V4(four), A) => Some((A, four.octets().to_vec())),
        (IpAddr::V6(six), AAAA) => Some((AAAA, six.octets().to_vec())),
        _ => None,
    });
    Answer::of(records.collect())
}

/// A text, if one is asked for.
pub fn text(question: &Question, text: &str) -> Answer {
    if question.kind != TXT {
        return Answer::default();
    }
    let parts = text.as_bytes().chunks(255);
    let data = parts.flat_map(|part| {
        let length = u8::try_from(part.len()).unwrap_or(u8::MAX);
        std::iter::once(length).chain(part.iter().copied())
    });
    Answer::of(vec![(TXT, data.collect())])
}

/// What Team Cymru says of an address.
fn origin(address: IpAddr) -> Option<String> {
    let network = network_of(address)?;
    let (isp, prefix) = (network.isp, network.prefix);
    Some(format!("{} | {prefix} | {} | ripencc | 2012-05-11", isp.asn, isp.country))
}

/// The address of `2.32.97.98`.
fn v4_of(labels: &str) -> Option<Ipv4Addr> {
    let mut octets: Vec<u8> = labels.split('.').map(|l| l.parse().ok()).collect::<Option<_>>()?;
    octets.reverse();
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

/// The address of its nibbles, the last first; the last ones may be left out.
fn v6_of(labels: &str) -> Option<Ipv6Addr> {
    let mut nibbles: Vec<u128> =
        labels.split('.').map(|l| u128::from_str_radix(l, 16).ok()).collect::<Option<_>>()?;
    nibbles.reverse();
    if nibbles.len() > 32 || nibbles.iter().any(|nibble| *nibble > 15) {
        return None;
    }
    nibbles.resize(32, 0);
    Some(Ipv6Addr::from_bits(nibbles.iter().fold(0, |sum, nibble| sum << 4 | nibble)))
}
