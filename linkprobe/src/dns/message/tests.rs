use simple_dns::rdata::{A, CNAME, RData, TXT};
use simple_dns::{CharacterString, ResourceRecord};

use super::*;

const NAME: &str = "speed.example.net";

/// An answer with these records to the question for `NAME`.
fn answer<'a>(id: u16, kind: Kind, records: Vec<ResourceRecord<'a>>) -> Packet<'a> {
    let mut packet = Packet::new_reply(id);
    let (qtype, qclass) = (QTYPE::TYPE(kind.code()), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Asked::new(Name::new(NAME).unwrap(), qtype, qclass, false));
    packet.answers = records;
    packet
}

fn a(name: &str, last: u8) -> ResourceRecord<'_> {
    let a = RData::A(A { address: u32::from_be_bytes([192, 0, 2, last]) });
    ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, 60, a)
}

fn alias<'a>(name: &'a str, to: &'a str) -> ResourceRecord<'a> {
    let cname = RData::CNAME(CNAME(Name::new(to).unwrap()));
    ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, 60, cname)
}

fn read_packet(packet: &Packet<'_>) -> Reply {
    read(&packet.build_bytes_vec_compressed().unwrap(), 7, NAME, Kind::A)
}

fn addresses(last: &[u8]) -> Reply {
    let addresses = last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
    Reply::Found(Found { addresses, ..Found::default() })
}

#[test]
fn a_question_is_as_the_standard_draws_it() {
    let bytes = question(0x1234, "a.example", Kind::Txt).unwrap();
    assert_eq!(bytes, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x10\0\x01");
    let long = format!("{}.example", "a".repeat(64));
    for name in ["", &long, &"a.".repeat(140)] {
        assert_eq!(question(1, name, Kind::A), None, "{name}");
    }
}

#[test]
fn what_is_wanted_is_found_behind_aliases_in_any_order() {
    let other = "b.example.net";
    for (records, want) in [
        (vec![a(NAME, 1), a(NAME, 2)], addresses(&[1, 2])),
        (vec![a("SPEED.Example.net", 1)], addresses(&[1])),
        (vec![alias(NAME, other), a(other, 3)], addresses(&[3])),
        (
            vec![a(other, 3), alias("c.example.net", other), alias(NAME, "c.example.net")],
            addresses(&[3]),
        ),
        (vec![a(other, 3)], Reply::NoData),
        (vec![alias(NAME, other)], Reply::NoData),
        (vec![alias(NAME, other), alias(other, NAME), a("x.example", 1)], Reply::NoData),
        (vec![], Reply::NoData),
    ] {
        assert_eq!(read_packet(&answer(7, Kind::A, records.clone())), want, "{records:?}");
    }
}

#[test]
fn texts_in_pieces_are_one_and_what_is_no_text_is_refused() {
    let text = |pieces: &[&'static [u8]]| {
        let mut txt = TXT::new();
        for piece in pieces {
            txt.add_char_string(CharacterString::new(piece).unwrap());
        }
        let record = ResourceRecord::new(Name::new(NAME).unwrap(), CLASS::IN, 1, RData::TXT(txt));
        let packet = answer(7, Kind::Txt, vec![record]);
        read(&packet.build_bytes_vec().unwrap(), 7, NAME, Kind::Txt)
    };
    let found =
        |text: &str| Reply::Found(Found { texts: vec![text.to_owned()], ..Found::default() });
    assert_eq!(text(&[b"14593 | ", b"98.97.32.0/24"]), found("14593 | 98.97.32.0/24"));
    assert_eq!(text(&[b"=a"]), found("=a"));
    assert_eq!(text(&[b"\xff\xfe"]), Reply::Malformed);
}

#[test]
fn the_authority_is_told_from_who_asked_around() {
    let mut packet = answer(7, Kind::A, vec![a(NAME, 1)]);
    assert!(matches!(read_packet(&packet), Reply::Found(found) if !found.authoritative));
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    assert!(matches!(read_packet(&packet), Reply::Found(found) if found.authoritative));
}

#[test]
fn refusals_are_told_apart_with_and_without_the_question() {
    for (code, want) in [
        (RCODE::NameError, Reply::NoSuchName),
        (RCODE::ServerFailure, Reply::Failed(Code::ServerFailure)),
        (RCODE::Refused, Reply::Failed(Code::Refused)),
        (RCODE::NotImplemented, Reply::Failed(Code::Other(4))),
        (RCODE::FormatError, Reply::Failed(Code::Other(1))),
    ] {
        let mut packet = answer(7, Kind::A, vec![]);
        *packet.rcode_mut() = code;
        assert_eq!(read_packet(&packet), want);
        packet.questions.clear();
        let bare = read_packet(&packet);
        // That there is no such name has to be said of this name.
        assert_eq!(bare, if code == RCODE::NameError { Reply::Foreign } else { want });
    }
}

#[test]
fn what_answers_another_question_is_ignored() {
    let good = answer(7, Kind::A, vec![a(NAME, 1)]).build_bytes_vec().unwrap();
    assert_eq!(read(&good, 7, NAME, Kind::A), addresses(&[1]));
    for (id, name, kind) in
        [(8, NAME, Kind::A), (7, "speed.example.org", Kind::A), (7, NAME, Kind::Aaaa)]
    {
        assert_eq!(read(&good, id, name, kind), Reply::Foreign, "{id} {name} {kind}");
    }
    // Our own question, sent back.
    assert_eq!(read(&question(7, NAME, Kind::A).unwrap(), 7, NAME, Kind::A), Reply::Foreign);
    let mut two = answer(7, Kind::A, vec![a(NAME, 1)]);
    two.questions.push(two.questions[0].clone());
    assert_eq!(read_packet(&two), Reply::Foreign);
}

#[test]
fn half_an_answer_is_truncated_if_it_says_so_and_nonsense_else() {
    let mut packet = answer(7, Kind::A, vec![a(NAME, 1), a(NAME, 2)]);
    let whole = packet.build_bytes_vec().unwrap();
    packet.set_flags(PacketFlag::TRUNCATION);
    let cut = packet.build_bytes_vec().unwrap();
    assert_eq!(read(&cut, 7, NAME, Kind::A), Reply::Truncated);
    for length in 12..whole.len() {
        assert_eq!(read(&whole[..length], 7, NAME, Kind::A), Reply::Malformed, "{length}");
        assert_eq!(read(&cut[..length], 7, NAME, Kind::A), Reply::Truncated, "{length}");
    }
    for length in 0..12 {
        assert_eq!(read(&whole[..length], 7, NAME, Kind::A), Reply::Foreign, "{length}");
    }
}

#[test]
fn more_records_than_fit_are_not_believed() {
    let mut bytes = answer(7, Kind::A, vec![a(NAME, 1)]).build_bytes_vec().unwrap();
    bytes[6..12].fill(0xff);
    assert_eq!(read(&bytes, 7, NAME, Kind::A), Reply::Malformed);
}

#[test]
fn a_name_that_points_at_itself_ends() {
    // The question's name is a pointer to its own place (RFC 1035 4.1.4).
    let mut bytes = b"\0\x07\x81\x80\0\x01\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(b"\xc0\x0c\0\x01\0\x01");
    assert_eq!(read(&bytes, 7, NAME, Kind::A), Reply::Malformed);
}
