//! Names and texts by DNS, asked over the line itself.
//!
//! A stub resolver: the system's own would ask whatever servers it has by whatever line, so that a
//! dead line would look well, and a dead main line would make the backup look dead.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::line::{Line, LineError, Trouble};
use crate::usage::Usage;

mod exchange;
pub mod message;

pub use message::{Code, Found, Kind};

/// Why a name could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsError {
    /// There is no name server to ask.
    NoServers,
    /// That cannot be a name.
    BadName(String),
    /// The line is not there, or no way leads to the servers or to what they named.
    Line(Trouble),
    /// None of these servers answered in time.
    Silent(Vec<SocketAddr>),
    /// It is no name server, or no socket could be had: what the system said.
    Unreachable(SocketAddr, io::ErrorKind),
    /// It could not, or would not, answer.
    Failed(SocketAddr, Code),
    /// What it said makes no sense.
    Malformed(SocketAddr),
    /// There is no such name.
    NoSuchName(String),
    /// The name has nothing of what was asked for.
    NoData(String),
    /// All that was found is an address that nobody can have, as 0.0.0.0: a filter's answer.
    Useless(String, IpAddr),
}

impl DnsError {
    /// Whether somebody answered, so that the line passes packets both ways. A port that is closed
    /// is said by its host, too.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        match self {
            Self::NoServers | Self::BadName(_) | Self::Line(_) | Self::Silent(_) => false,
            Self::Unreachable(_, kind) => *kind == io::ErrorKind::ConnectionRefused,
            Self::Failed(..)
            | Self::Malformed(_)
            | Self::NoSuchName(_)
            | Self::NoData(_)
            | Self::Useless(..) => true,
        }
    }

    /// Of several, the one that says most.
    fn weight(&self) -> u8 {
        match self {
            Self::NoServers | Self::BadName(_) => 0,
            Self::Line(_) => 1,
            Self::Silent(_) => 2,
            Self::Unreachable(..) => 3,
            Self::Malformed(_) => 4,
            Self::Failed(..) => 5,
            Self::NoData(_) => 6,
            Self::Useless(..) => 7,
            Self::NoSuchName(_) => 8,
        }
    }

    fn from_line(error: LineError, server: SocketAddr) -> Self {
        match error {
            LineError::Line(trouble) => Self::Line(trouble),
            LineError::Io(error) => Self::Unreachable(server, error.kind()),
        }
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServers => {
                f.write_str("no name server is known for the line: set `resolvers` in its [[link]]")
            }
            Self::BadName(name) => write!(f, "{name:?} is no name"),
            Self::Line(trouble) => trouble.fmt(f),
            Self::Silent(servers) => {
                f.write_str("no answer from the name server")?;
                f.write_str(if servers.len() == 1 { " " } else { "s " })?;
                for (n, server) in servers.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { ", " })?;
                    write_server(f, *server)?;
                }
                Ok(())
            }
            Self::Unreachable(server, kind) => {
                f.write_str("the name server ")?;
                write_server(f, *server)?;
                write!(f, " cannot be asked: {kind}")
            }
            Self::Failed(server, code) => {
                f.write_str("the name server ")?;
                write_server(f, *server)?;
                write!(f, " answers {code}")
            }
            Self::Malformed(server) => {
                f.write_str("the name server ")?;
                write_server(f, *server)?;
                f.write_str(" answers what makes no sense")
            }
            Self::NoSuchName(name) => write!(f, "the name server says that there is no {name}"),
            Self::NoData(name) => {
                write!(f, "the name server knows nothing of that kind about {name}")
            }
            Self::Useless(name, address) => {
                write!(f, "the name server gives {address} for {name}: a filter's answer")
            }
        }
    }
}

impl std::error::Error for DnsError {}

/// The port is told where it is not the usual one.
fn write_server(f: &mut fmt::Formatter<'_>, server: SocketAddr) -> fmt::Result {
    if server.port() == 53 { write!(f, "{}", server.ip()) } else { write!(f, "{server}") }
}

/// An answer, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was found.
    pub found: Found,
    /// Who said so.
    pub server: SocketAddr,
    /// From the question that it answers to the answer: a round trip, and the server's work.
    pub took: Duration,
}

/// The addresses of `name`, those of IPv4 first: they tell more often whose the line is.
///
/// Asks `servers` in their order, each again when it stays silent, over the line; both families at
/// once, as far as the line has a way for them. An address in `name` is its own answer.
///
/// # Errors
///
/// [`DnsError`]: what the server that said most said.
pub fn lookup_addresses(
    line: &Line,
    servers: &[SocketAddr],
    name: &str,
    deadline: Instant,
    usage: &mut Usage,
) -> Result<Vec<IpAddr>, DnsError> {
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let kinds = families(line, servers);
    let mut found = Vec::new();
    let mut worst: Option<DnsError> = None;
    for answer in exchange::ask(line, servers, name, kinds, deadline, usage) {
        match answer {
            Ok(answer) => found.extend(answer.found.addresses),
            Err(error) => worst = Some(heavier(worst, error)),
        }
    }
    let Some(&first) = found.first() else { return Err(worst.unwrap_or(DnsError::NoServers)) };
    found.retain(|address| is_usable(name, *address));
    let Some(&usable) = found.first() else {
        return Err(DnsError::Useless(name.to_owned(), first));
    };
    found.retain(|address| line.reaches(*address));
    if found.is_empty() {
        let interface = line.interface.clone();
        return Err(DnsError::Line(Trouble::NoRoute { interface, to: usable }));
    }
    Ok(found)
}

/// The texts of `name`, each record's in one.
///
/// # Errors
///
/// [`DnsError`]: what the server that said most said.
pub fn txt(
    line: &Line,
    servers: &[SocketAddr],
    name: &str,
    deadline: Instant,
    usage: &mut Usage,
) -> Result<Vec<String>, DnsError> {
    Ok(ask(line, servers, name, Kind::Txt, deadline, usage)?.found.texts)
}

/// One question, and who answered it, when and how.
///
/// # Errors
///
/// [`DnsError`]: what the server that said most said.
pub fn ask(
    line: &Line,
    servers: &[SocketAddr],
    name: &str,
    kind: Kind,
    deadline: Instant,
    usage: &mut Usage,
) -> Result<Answer, DnsError> {
    let mut answers = exchange::ask(line, servers, name, &[kind], deadline, usage);
    answers.pop().unwrap_or(Err(DnsError::NoServers))
}

fn heavier(one: Option<DnsError>, other: DnsError) -> DnsError {
    match one {
        Some(one) if one.weight() >= other.weight() => one,
        _ => other,
    }
}

/// Addresses far away (of ns1.google.com), by which a line's default routes are seen. Nothing is
/// sent to them.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(216, 239, 32, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4802, 0x32, 0, 0, 0, 0xa)),
];

/// What is worth asking for on this line. Where it has a way to servers alone, addresses near them
/// may do as well.
fn families(line: &Line, servers: &[SocketAddr]) -> &'static [Kind] {
    let near = servers.iter().map(SocketAddr::ip);
    let [four, six] = FAR.map(|far| {
        let mut of_family = near.clone().filter(|near| near.is_ipv4() == far.is_ipv4());
        line.reaches(far) || of_family.any(|near| line.reaches(near))
    });
    match (four, six) {
        (true, false) => &[Kind::A],
        (false, true) => &[Kind::Aaaa],
        _ => &[Kind::A, Kind::Aaaa],
    }
}

/// Filters answer 0.0.0.0, :: or 127.0.0.1, which would lead to this machine itself.
fn is_usable(name: &str, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    let local = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let here = local.contains(&address) && name != "localhost";
    !address.is_unspecified() && !address.is_multicast() && !broadcast && !here
}

#[cfg(test)]
pub(crate) mod tests;
