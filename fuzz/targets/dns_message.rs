//! Answers of name servers: any bytes, and answers made of records, held against a reading of their
//! own.
//!
//! First byte `m`: what is wanted in a byte, then a message. Else records are made of the bytes.
#![no_main]

use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use bastion_fuzz::hides;
use libfuzzer_sys::fuzz_target;
use linkprobe::dns::message::{Found, Kind, MAX_MESSAGE, Reply, question, read};

const NAMES: [&str; 4] = ["speed.example.net", "a.example", "b.example", "SPEED.Example.NET"];
const KINDS: [Kind; 3] = [Kind::A, Kind::Aaaa, Kind::Txt];

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else { return };
    if *mode == b'm' {
        let Some((kind, message)) = rest.split_first() else { return };
        any(message, KINDS[usize::from(*kind) % 3]);
    } else {
        let _ = made(&mut Unstructured::new(rest));
    }
});

fn any(message: &[u8], kind: Kind) {
    let Some(id) = message.first_chunk::<2>().map(|id| u16::from_be_bytes(*id)) else { return };
    let message = &message[..message.len().min(MAX_MESSAGE)];
    let reply = read(message, id, NAMES[0], kind);
    match &reply {
        Reply::Found(found) => check(found, kind),
        Reply::Failed(code) => assert!(!code.to_string().contains(hides)),
        _ => {}
    }
    // The same is no answer to anything else.
    assert_eq!(read(message, id ^ 1, NAMES[0], kind), Reply::Foreign);
    let of_another = read(message, id, "other.example", kind);
    assert!(
        !matches!(of_another, Reply::Found(_) | Reply::NoSuchName | Reply::NoData)
            || reply == Reply::Foreign
    );
}

fn check(found: &Found, kind: Kind) {
    assert!(found.addresses.len() <= 64 && found.texts.len() <= 64);
    assert_ne!(found.addresses.is_empty(), found.texts.is_empty());
    assert!(found.addresses.iter().all(|address| match kind {
        Kind::A => address.is_ipv4(),
        Kind::Aaaa => address.is_ipv6(),
        Kind::Txt => false,
    }));
}

enum Data {
    Address(IpAddr),
    Text(Vec<u8>),
    Alias(usize),
    Other(u16, Vec<u8>),
}

/// An answer of records, and what is in it by a plain reading of RFC 1034, 3.6.2.
fn made(u: &mut Unstructured<'_>) -> Result<()> {
    let kind = *u.choose(&KINDS)?;
    let mut records = Vec::new();
    for _ in 0..u.int_in_range(0..=8)? {
        let data = match u.int_in_range(0..=6)? {
            0 | 1 => Data::Address(IpAddr::from(u.arbitrary::<[u8; 4]>()?)),
            2 => Data::Address(IpAddr::from(u.arbitrary::<[u8; 16]>()?)),
            3 => Data::Text(u.arbitrary::<Vec<u8>>()?.into_iter().take(600).collect()),
            4 | 5 => Data::Alias(u.int_in_range(0..=3)?),
            // Of types that nobody has given a meaning (RFC 6895, 3.1).
            _ => Data::Other(65_280 + u16::from(u.arbitrary::<u8>()?), u.arbitrary()?),
        };
        records.push((u.int_in_range(0..=3)?, data));
    }
    let message = write(kind, &records);
    let reply = read(&message, 7, NAMES[0], kind);
    assert_eq!(reply, expected(kind, &records), "{message:?}");
    // Cut anywhere, it is never a part of an answer.
    let length = u.int_in_range(0..=message.len() - 1)?;
    let cut = read(&message[..length], 7, NAMES[0], kind);
    assert!(matches!(cut, Reply::Foreign | Reply::Malformed), "{cut:?}");
    Ok(())
}

fn expected(kind: Kind, records: &[(usize, Data)]) -> Reply {
    // Of four names the first and the last are one.
    let same = |one: usize, other: usize| one % 3 == other % 3;
    let mut name = 0;
    for _ in 0..16 {
        let alias = records.iter().find_map(|(owner, data)| match data {
            Data::Alias(to) if same(*owner, name) => Some(*to),
            _ => None,
        });
        let Some(to) = alias else { break };
        name = to;
    }
    let (mut found, mut unreadable) = (Found::default(), false);
    for (_, data) in records.iter().filter(|(owner, _)| same(*owner, name)) {
        match (data, kind) {
            (Data::Address(four @ IpAddr::V4(_)), Kind::A) => found.addresses.push(*four),
            (Data::Address(six @ IpAddr::V6(_)), Kind::Aaaa) => found.addresses.push(*six),
            (Data::Text(text), Kind::Txt) => match String::from_utf8(text.clone()) {
                Ok(text) => found.texts.push(text),
                Err(_) => unreadable = true,
            },
            _ => {}
        }
    }
    match found {
        found if !found.addresses.is_empty() || !found.texts.is_empty() => Reply::Found(found),
        _ if unreadable => Reply::Malformed,
        _ => Reply::NoData,
    }
}

/// RFC 1035, 4: our question with the bits of an answer, and the records, without compression.
fn write(kind: Kind, records: &[(usize, Data)]) -> Vec<u8> {
    let mut message = question(7, NAMES[0], kind).expect("a name");
    message[2] |= 0x80;
    message[7] = u8::try_from(records.len()).expect("a few");
    for (owner, data) in records {
        let (code, bytes): (u16, Vec<u8>) = match data {
            Data::Address(IpAddr::V4(four)) => (1, four.octets().to_vec()),
            Data::Address(IpAddr::V6(six)) => (28, six.octets().to_vec()),
            Data::Text(text) => (16, strings(text)),
            Data::Alias(to) => (5, name(NAMES[*to])),
            Data::Other(code, bytes) => (*code, bytes.clone()),
        };
        message.extend(name(NAMES[*owner]));
        message.extend(code.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend(u16::try_from(bytes.len()).expect("short").to_be_bytes());
        message.extend(bytes);
    }
    message
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').flat_map(|label| {
        [u8::try_from(label.len()).expect("short")].into_iter().chain(label.bytes())
    });
    labels.chain([0]).collect()
}

/// Pieces of at most 255 bytes, each with its length before it; one at least.
fn strings(text: &[u8]) -> Vec<u8> {
    let piece = |piece: &[u8]| [&[u8::try_from(piece.len()).expect("short")], piece].concat();
    if text.is_empty() { vec![0] } else { text.chunks(255).flat_map(piece).collect() }
}
