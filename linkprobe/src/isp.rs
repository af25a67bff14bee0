//! Who the line's ISP is, for less than a kilobyte: our address by DNS, and whose that is.
//!
//! Whoever asks for our address has to be asked directly: a resolver in between would be told its
//! own. What answers in such a server's place (a portal, a filter, a router that takes all of port
//! 53 for itself) may say anything, so an answer that cannot be right is none.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::dns::{self, DnsError, Kind};
use crate::line::Line;
use crate::provider;
use crate::record;
use crate::usage::Usage;

pub mod cache;
pub mod cymru;
pub mod judge;

pub use judge::{Judgement, judge};

use cache::Cache;
use cymru::Network;

/// Time for one of the servers that tell our address.
const EACH: Duration = Duration::from_secs(2);

/// Longest name of an ISP that is kept.
pub const MAX_NAME: usize = 100;

/// Whose the line is, as somebody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who says so.
    pub source: Source,
    /// Our address to the world.
    pub ip: Option<IpAddr>,
    /// Autonomous systems that the address is of; more than one where several announce it.
    pub asns: Vec<u32>,
    /// Names of them, or of the ISP; harmless to print.
    pub names: Vec<String>,
    /// Two letters.
    pub country: Option<String>,
}

impl Identity {
    /// Of `source`, and as yet nothing.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source, ip: None, asns: Vec::new(), names: Vec::new(), country: None }
    }

    /// Adds a name, without what could harm whoever prints it; what says nothing is left out.
    pub fn add_name(&mut self, name: &str) {
        if let Some(name) = harmless(name, MAX_NAME).filter(|name| !says_nothing(name)) {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }
}

/// Words of a provider that does not know: no name of anybody.
fn says_nothing(name: &str) -> bool {
    let name = name.to_lowercase();
    let unknown = ["unknown", "unknown isp", "n/a", "na", "none", "null", "-", "as0"];
    unknown.contains(&name.trim())
}

/// Whole and on one line, without characters that hide or reorder text; `None` when nothing is left.
#[must_use]
pub fn harmless(text: &str, most: usize) -> Option<String> {
    let text = notifier::foreign::visible(text.trim().as_bytes());
    let cut: String = text.chars().take(most).collect();
    (!cut.is_empty()).then_some(cut)
}

/// Who says whose the line is. Two of the same kind look into the same register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Our address by DNS, and whose it is in the routing table.
    Dns,
    /// A provider's own word.
    Provider(provider::Kind),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("DNS"),
            Self::Provider(kind) => f.write_str(kind.as_str()),
        }
    }
}

/// Why our address is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAddress {
    /// Nobody said it.
    Dns(DnsError),
    /// What was said cannot be: somebody answers in that server's place.
    Intercepted {
        /// Who was asked.
        server: SocketAddr,
        /// What was said.
        said: String,
    },
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => error.fmt(f),
            Self::Intercepted { server, said } => write!(
                f,
                "{} did not answer itself ({said}): something on the line takes DNS for itself",
                server.ip()
            ),
        }
    }
}

/// Whom to ask. The defaults are the real ones; tests have others.
#[derive(Debug, Clone)]
pub struct Servers {
    /// ns1.google.com, which knows `o-o.myaddr.l.google.com`.
    pub google: Vec<SocketAddr>,
    /// resolver1.opendns.com, which knows `myip.opendns.com`.
    pub opendns: Vec<SocketAddr>,
    /// Resolvers for everybody, for when the line's own do not help.
    pub public: Vec<SocketAddr>,
}

impl Default for Servers {
    fn default() -> Self {
        let at_53 = |addresses: &[&str]| {
            let parsed = addresses.iter().filter_map(|address| address.parse().ok());
            parsed.map(|address: IpAddr| SocketAddr::new(address, 53)).collect()
        };
        Self {
            google: at_53(&["216.239.32.10", "2001:4860:4802:32::a"]),
            opendns: at_53(&["208.67.222.222", "2620:119:35::35"]),
            public: at_53(&["1.1.1.1", "9.9.9.9", "2606:4700:4700::1111", "2620:fe::fe"]),
        }
    }
}

/// Asks whose a line is.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The line.
    pub line: &'a Line,
    /// Its own name servers.
    pub resolvers: &'a [SocketAddr],
    /// The others.
    pub servers: &'a Servers,
    /// Where is remembered what was said.
    pub state: &'a Path,
    /// Now, in seconds since 1970.
    pub now_s: u64,
}

impl Asker<'_> {
    /// Our address and whose it is. Where only the address could be had, there is no more in it.
    ///
    /// # Errors
    ///
    /// [`NoAddress`].
    pub fn identity(&self, deadline: Instant, usage: &mut Usage) -> Result<Identity, NoAddress> {
        let mut identity = Identity::new(Source::Dns);
        identity.ip = Some(self.own_address(deadline, usage)?);
        self.complete(&mut identity, deadline, usage);
        Ok(identity)
    }

    /// Adds to an identity that has an address, and no number, whose the address is. A provider's
    /// word for our address is as good as a name server's.
    pub fn complete(&self, identity: &mut Identity, deadline: Instant, usage: &mut Usage) {
        let Some(ip) = identity.ip.filter(|ip| identity.asns.is_empty() && is_public(*ip)) else {
            return;
        };
        if let Some(network) = self.network_of(ip, deadline, usage) {
            identity.asns = network.asns;
            network.names.iter().for_each(|name| identity.add_name(name));
            identity.country = identity.country.take().or(network.country);
        }
    }

    /// Our address on this line, as far as the line reaches first of IPv4.
    fn own_address(&self, deadline: Instant, usage: &mut Usage) -> Result<IpAddr, NoAddress> {
        let mut reason = None;
        for is_ipv4 in [true, false] {
            for (servers, is_google) in
                [(&self.servers.google, true), (&self.servers.opendns, false)]
            {
                let mut of_family = servers.iter().filter(|server| server.is_ipv4() == is_ipv4);
                let Some(server) = of_family.find(|server| self.line.reaches(server.ip())) else {
                    continue;
                };
                let until = deadline.min(Instant::now() + EACH);
                let told = if is_google {
                    self.ask_google(*server, until, usage)
                } else {
                    self.ask_opendns(*server, until, usage)
                };
                match told {
                    Ok(address) => return Ok(address),
                    // That somebody is in between says more than that nobody is there.
                    Err(new @ NoAddress::Intercepted { .. }) => reason = Some(new),
                    Err(new) => reason = reason.or(Some(new)),
                }
            }
        }
        Err(reason.unwrap_or(NoAddress::Dns(DnsError::NoServers)))
    }

    fn ask_google(
        &self,
        server: SocketAddr,
        until: Instant,
        usage: &mut Usage,
    ) -> Result<IpAddr, NoAddress> {
        let name = "o-o.myaddr.l.google.com";
        let answer = dns::ask(self.line, &[server], name, Kind::Txt, until, usage);
        let answer = answer.map_err(NoAddress::Dns)?;
        let told = |said: String| NoAddress::Intercepted { server, said };
        // A resolver that stands in between was told its own address, and knows no better.
        if !answer.found.authoritative {
            return Err(told("a resolver's answer".into()));
        }
        let mut texts = answer.found.texts.iter();
        let address = texts.clone().find_map(|text| own(text.trim().parse().ok()?, server));
        address.ok_or_else(|| {
            let said = texts.next().and_then(|text| harmless(text, MAX_NAME));
            told(said.unwrap_or_else(|| "nothing".into()))
        })
    }

    fn ask_opendns(
        &self,
        server: SocketAddr,
        until: Instant,
        usage: &mut Usage,
    ) -> Result<IpAddr, NoAddress> {
        let kind = if server.is_ipv4() { Kind::A } else { Kind::Aaaa };
        // For others than these servers' own users there is no such name.
        let answer = dns::ask(self.line, &[server], "myip.opendns.com", kind, until, usage);
        let addresses = answer.map_err(NoAddress::Dns)?.found.addresses;
        let address = addresses.iter().find_map(|address| own(*address, server));
        address.ok_or_else(|| {
            let said = addresses.first().map_or("nothing".into(), ToString::to_string);
            NoAddress::Intercepted { server, said }
        })
    }

    /// Whose an address is: as remembered, as the line's resolvers know, or the public ones.
    fn network_of(&self, ip: IpAddr, deadline: Instant, usage: &mut Usage) -> Option<Network> {
        let ip = ip.to_canonical();
        let mut cache = Cache::load(self.state);
        if let Some(network) = cache.find(ip, self.now_s) {
            return Some(network.clone());
        }
        let name = cymru::origin_name(ip);
        let read = |texts: &[String]| cymru::origin(ip, texts);
        let until = deadline.min(Instant::now() + EACH);
        let public = self.public();
        let own = self.read_texts(self.resolvers, &name, until, usage, read);
        let (mut network, servers) = match own {
            Some(network) => (network, self.resolvers),
            None => (self.read_texts(&public, &name, deadline, usage, read)?, &public[..]),
        };
        for asn in network.asns.iter().take(cymru::MAX_NAMES) {
            let (name, read) =
                (cymru::name_of(*asn), |texts: &[String]| cymru::as_name(*asn, texts));
            network.names.extend(self.read_texts(servers, &name, deadline, usage, read));
        }
        // One that is not whole is asked for again.
        if !network.names.is_empty() {
            cache.put(ip, network.clone(), self.now_s);
            // What cannot be remembered is asked again, for half a kilobyte.
            let _ = cache.save(self.state);
        }
        Some(network)
    }

    fn public(&self) -> Vec<SocketAddr> {
        let reached = |server: &&SocketAddr| self.line.reaches(server.ip());
        self.servers.public.iter().filter(reached).copied().collect()
    }

    fn read_texts<T>(
        &self,
        servers: &[SocketAddr],
        name: &str,
        until: Instant,
        usage: &mut Usage,
        read: impl Fn(&[String]) -> Option<T>,
    ) -> Option<T> {
        read(&dns::txt(self.line, servers, name, until, usage).ok()?)
    }
}

/// What a server may have seen of us: an address of its own family that is somebody's.
fn own(address: IpAddr, server: SocketAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    (address.is_ipv4() == server.is_ipv4() && is_public(address)).then_some(address)
}

/// Whether an address can be one host's on the internet (IANA's registers of special addresses;
/// those for documentation count as others: nobody's box hands them out).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            let special = matches!(
                (a, b, c),
                (0 | 10 | 127 | 224..=255, ..)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 0, 0)
                    | (192, 168, _)
                    | (198, 18..=19, _)
            );
            !special
        }
        // Global unicast, 2000::/3.
        IpAddr::V6(six) => six.segments()[0] >> 13 == 1,
    }
}

/// What the record of a run says of us: names as providers write them before those of the routing
/// table, because scripts look for those.
#[must_use]
pub fn client(identities: &[Identity], expected: &[String]) -> Option<record::Client> {
    if identities.is_empty() {
        return None;
    }
    let isp = |of_provider: bool| {
        let mut of_kind = identities
            .iter()
            .filter(|identity| matches!(identity.source, Source::Provider(_)) == of_provider);
        of_kind.find_map(|identity| identity.names.first().cloned())
    };
    // By the name that the operator gives it, where it has that: scripts compare with it, and who says it writes
    // it in his own way.
    let has = |wanted: &&String| {
        let mut names = identities.iter().flat_map(|identity| &identity.names);
        names.any(|name| name.to_lowercase().contains(&wanted.to_lowercase()))
    };
    let known = expected.iter().find(has).cloned();
    Some(record::Client {
        ip: identities.iter().find_map(|identity| identity.ip).map(|ip| ip.to_string()),
        isp: known.or_else(|| isp(true)).or_else(|| isp(false)),
        asn: identities.iter().find_map(|identity| identity.asns.first().copied()),
        country: identities.iter().find_map(|identity| identity.country.clone()),
    })
}

#[cfg(test)]
mod tests;
