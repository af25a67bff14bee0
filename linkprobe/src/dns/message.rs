//! What is asked and what an answer says; no sockets.

use std::fmt;
use std::net::IpAddr;

use simple_dns::rdata::RData;
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question as Asked, RCODE, TYPE,
    header_buffer,
};

/// Longest answer that is read. Over UDP none is longer than 512 bytes (RFC 1035 2.3.4; no EDNS is
/// offered); over TCP this is room for hundreds of addresses.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// Longest chain of aliases; resolvers give up earlier.
const MAX_ALIASES: usize = 16;

/// Most addresses or texts that are taken from an answer.
const MAX_RECORDS: usize = 64;

/// What is wanted of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Texts.
    Txt,
}

impl Kind {
    fn code(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
            Self::Txt => TYPE::TXT,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "IPv4 address",
            Self::Aaaa => "IPv6 address",
            Self::Txt => "text",
        })
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Of [`Kind::A`] and [`Kind::Aaaa`], in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// Of [`Kind::Txt`]: each record's strings in one.
    pub texts: Vec<String>,
    /// It was said by a server of the name's own zone, and not by one that asked around (RFC 1035
    /// 4.1.1, AA). Who is asked directly and has not set it was not the one who answered.
    pub authoritative: bool,
}

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What was asked for.
    Found(Found),
    /// It did not fit; over TCP it does.
    Truncated,
    /// There is no such name (NXDOMAIN).
    NoSuchName,
    /// There is such a name, and nothing of that kind.
    NoData,
    /// The server could not, or would not.
    Failed(Code),
    /// An answer to this question that makes no sense.
    Malformed,
    /// It is no answer to this question: another's, or somebody's who guesses.
    Foreign,
}

/// Why a server did not answer the question (RFC 1035 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// SERVFAIL: it tried.
    ServerFailure,
    /// REFUSED: not for us.
    Refused,
    /// FORMERR, NOTIMP and what else there is.
    Other(u8),
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerFailure => f.write_str("SERVFAIL"),
            Self::Refused => f.write_str("REFUSED"),
            Self::Other(code) => write!(f, "error {code}"),
        }
    }
}

/// A question, as a packet; `None` for what is no name.
#[must_use]
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    if name.is_empty() {
        return None;
    }
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (qtype, qclass) = (QTYPE::TYPE(kind.code()), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Asked::new(Name::new(name).ok()?, qtype, qclass, false));
    packet.build_bytes_vec().ok()
}

/// Reads `bytes` as an answer to [`question`] with the same `id`, `name` and `kind`.
#[must_use]
pub fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Reply {
    let is_answer = header_buffer::id(bytes) == Ok(id)
        && header_buffer::has_flags(bytes, PacketFlag::RESPONSE) == Ok(true)
        && header_buffer::opcode(bytes) == Ok(OPCODE::StandardQuery);
    let (true, Ok(name)) = (is_answer, Name::new(name)) else { return Reply::Foreign };
    // The flags count, whatever became of the rest: of a truncated answer there may be half a record.
    let truncated = header_buffer::has_flags(bytes, PacketFlag::TRUNCATION) == Ok(true);
    let code = match header_buffer::rcode(bytes) {
        Ok(RCODE::NoError) => None,
        Ok(RCODE::NameError) => Some(Reply::NoSuchName),
        Ok(RCODE::ServerFailure) => Some(Reply::Failed(Code::ServerFailure)),
        Ok(RCODE::Refused) => Some(Reply::Failed(Code::Refused)),
        _ => Some(Reply::Failed(Code::Other(bytes.get(3).map_or(0, |byte| byte & 15)))),
    };
    // A server that could not read the question may leave it out.
    if let (Some(failed @ Reply::Failed(_)), Ok(0)) = (&code, header_buffer::questions(bytes)) {
        return failed.clone();
    }
    let Ok(packet) = Packet::parse(bytes) else {
        return if truncated { Reply::Truncated } else { Reply::Malformed };
    };
    let same = |asked: &Asked<'_>| {
        asked.qname == name
            && asked.qtype == QTYPE::TYPE(kind.code())
            && asked.qclass == QCLASS::CLASS(CLASS::IN)
    };
    if packet.questions.len() != 1 || !packet.questions.iter().all(same) {
        return Reply::Foreign;
    }
    match code {
        Some(reply) => reply,
        None if truncated => Reply::Truncated,
        None => records(&packet, name, kind),
    }
}

/// Follows aliases from `name` to what is wanted; in whatever order they stand.
fn records<'a>(packet: &'a Packet<'a>, mut name: Name<'a>, kind: Kind) -> Reply {
    let records = || packet.answers.iter().filter(|record| record.class == CLASS::IN);
    for _ in 0..MAX_ALIASES {
        let alias = records().find_map(|record| match &record.rdata {
            RData::CNAME(to) if record.name == name => Some(to.0.clone()),
            _ => None,
        });
        let Some(alias) = alias else { break };
        name = alias;
    }
    let authoritative = packet.has_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let mut found = Found { authoritative, ..Found::default() };
    let mut unreadable = false;
    for record in records().filter(|record| record.name == name).take(MAX_RECORDS) {
        match (&record.rdata, kind) {
            (RData::A(a), Kind::A) => found.addresses.push(IpAddr::V4(a.address.into())),
            (RData::AAAA(aaaa), Kind::Aaaa) => {
                found.addresses.push(IpAddr::V6(aaaa.address.into()));
            }
            (RData::TXT(text), Kind::Txt) => match String::try_from(text.clone()) {
                Ok(text) => found.texts.push(text),
                Err(_) => unreadable = true,
            },
            _ => {}
        }
    }
    if !found.addresses.is_empty() || !found.texts.is_empty() {
        Reply::Found(found)
    } else if unreadable {
        Reply::Malformed
    } else {
        Reply::NoData
    }
}

#[cfg(test)]
mod tests;
