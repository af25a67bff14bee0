//! The question that a name server is asked to see whether packets go both ways.

use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};

/// What has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// An answer, whatever it says.
    Well,
    /// It says that the server cannot or will not, in this word.
    Unwell(&'static str),
}

/// A question with this id: who is in charge of the root zone, which every name server knows that can
/// reach one, and whose answer has some 100 bytes.
pub(super) fn build(id: u16) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let root = Name::new_unchecked("");
    packet.questions.push(Question::new(root, TYPE::SOA.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap_or_default()
}

/// What an answer says, with the id that it has; nothing of what is none.
pub(super) fn parse(bytes: &[u8]) -> Option<(u16, Answer)> {
    let packet = Packet::parse(bytes).ok()?;
    if !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let answer = match packet.rcode() {
        RCODE::ServerFailure => Answer::Unwell("SERVFAIL"),
        RCODE::Refused => Answer::Unwell("REFUSED"),
        RCODE::NotImplemented => Answer::Unwell("NOTIMP"),
        RCODE::FormatError => Answer::Unwell("FORMERR"),
        _ => Answer::Well,
    };
    Some((packet.id(), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server of the root zone was seen to answer, shortened.
    fn answer(rcode: u8) -> Vec<u8> {
        let mut bytes = build(0x1234);
        bytes[2] |= 0x80;
        bytes[3] |= rcode;
        bytes
    }

    #[test]
    fn the_question_is_small_and_as_rfc_1035_has_it() {
        assert_eq!(build(0x1234), [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1]);
    }

    #[test]
    fn any_answer_is_one_and_what_is_none_is_not() {
        for (rcode, want) in [
            (0, Answer::Well),
            (3, Answer::Well),
            (2, Answer::Unwell("SERVFAIL")),
            (5, Answer::Unwell("REFUSED")),
            (1, Answer::Unwell("FORMERR")),
        ] {
            assert_eq!(parse(&answer(rcode)), Some((0x1234, want)), "{rcode}");
        }
        let whole = answer(0);
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        assert_eq!(parse(&build(0x1234)), None, "the question itself");
    }
}
