//! A line: sockets whose packets leave by it, and why they cannot.
//!
//! Bound to its interface (socket(7), `SO_BINDTODEVICE`; any user may since Linux 5.7) or to its
//! address. Routes are never touched: the line needs one of its own, which may have a high metric.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::Link;
use crate::ffi;

/// Where packets leave. The default is wherever the default route leads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// By this interface.
    pub interface: Option<String>,
    /// From this address.
    pub source: Option<IpAddr>,
}

/// Why nothing can leave by the line: found on this machine, not beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such interface.
    NoInterface(String),
    /// It is down (`ip link`).
    InterfaceDown(String),
    /// It has no address but those of the link itself.
    NoAddress(String),
    /// No interface of this machine has that address.
    NotOurs(IpAddr),
    /// No route leads to that address by the line.
    NoRoute {
        /// The interface, if the line has one.
        interface: Option<String>,
        /// Where to.
        to: IpAddr,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface(name) => {
                write!(f, "there is no interface {name} (ip -br link lists them)")
            }
            Self::InterfaceDown(name) => write!(f, "the interface {name} is down"),
            Self::NoAddress(name) => write!(f, "the interface {name} has no address"),
            Self::NotOurs(address) => write!(f, "no interface has the address {address}"),
            Self::NoRoute { interface: Some(name), to } => {
                write!(
                    f,
                    "no route leads to {to} by {name}: give it one, as \"ip route add default \
                     dev {name} metric 700\", or with \"via\" and the line's gateway"
                )
            }
            Self::NoRoute { interface: None, to } => write!(f, "no route leads to {to}"),
        }
    }
}

/// Why a socket could not be made, or could not connect.
#[derive(Debug)]
pub enum LineError {
    /// The line is not there.
    Line(Trouble),
    /// What the system or the other end said.
    Io(io::Error),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(trouble) => trouble.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LineError {}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Line {
    /// The line of a `[[link]]`.
    #[must_use]
    pub fn of(link: &Link) -> Self {
        Self { interface: link.interface.clone(), source: link.source }
    }

    /// What is wrong with the line on this machine, as far as can be seen without a packet.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        if let Some(name) = &self.interface {
            let Some(flags) = flags(name) else { return Some(Trouble::NoInterface(name.clone())) };
            if flags & IFF_UP == 0 {
                return Some(Trouble::InterfaceDown(name.clone()));
            }
            let is_global = |address: &IpAddr| !is_link_local(*address);
            if !ffi::addresses_of(name).is_ok_and(|found| found.iter().any(is_global)) {
                return Some(Trouble::NoAddress(name.clone()));
            }
        }
        let source = self.source?;
        let missing = self.socket(SocketAddr::new(source, 9), Type::DGRAM).err()?;
        match missing {
            LineError::Line(trouble) => Some(trouble),
            LineError::Io(_) => None,
        }
    }

    /// A blocking TCP socket that will leave by the line towards `to`; not connected.
    ///
    /// # Errors
    ///
    /// [`LineError`].
    pub fn tcp(&self, to: SocketAddr) -> Result<Socket, LineError> {
        self.socket(to, Type::STREAM)
    }

    /// A blocking UDP socket, connected to `to` by the line: it takes answers from there alone.
    ///
    /// # Errors
    ///
    /// [`LineError`].
    pub fn udp(&self, to: SocketAddr) -> Result<Socket, LineError> {
        let socket = self.socket(to, Type::DGRAM)?;
        socket.connect(&SockAddr::from(to)).map_err(|error| self.explain(error, to.ip()))?;
        Ok(socket)
    }

    /// Connects by TCP within `most`.
    ///
    /// # Errors
    ///
    /// [`LineError`]; `TimedOut` when it took longer.
    pub fn connect(&self, to: SocketAddr, most: Duration) -> Result<Socket, LineError> {
        let socket = self.tcp(to)?;
        socket
            .connect_timeout(&SockAddr::from(to), most)
            .map_err(|error| self.explain(error, to.ip()))?;
        Ok(socket)
    }

    /// An error of connect(2) or sendto(2) towards `to`: the line's, or another's.
    #[must_use]
    pub fn explain(&self, error: io::Error, to: IpAddr) -> LineError {
        let Some(code) = error.raw_os_error() else { return LineError::Io(error) };
        if code == libc::ENETUNREACH {
            let interface = self.interface.clone();
            return LineError::Line(Trouble::NoRoute { interface, to });
        }
        match (code, &self.interface) {
            (libc::ENODEV, Some(name)) => LineError::Line(Trouble::NoInterface(name.clone())),
            (libc::ENETDOWN, Some(name)) => LineError::Line(Trouble::InterfaceDown(name.clone())),
            _ => LineError::Io(error),
        }
    }

    fn socket(&self, to: SocketAddr, kind: Type) -> Result<Socket, LineError> {
        // Of an address alone, packets of the other family would leave by whatever line the default route leads to.
        let is_other = |source: IpAddr| source.is_ipv4() != to.is_ipv4();
        if self.interface.is_none() && self.source.is_some_and(is_other) {
            return Err(LineError::Line(Trouble::NoRoute { interface: None, to: to.ip() }));
        }
        let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
        let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
        if let Some(name) = &self.interface {
            socket
                .bind_device(Some(name.as_bytes()))
                .map_err(|error| self.explain(error, to.ip()))?;
        }
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
            let bound = socket.bind(&SockAddr::from(SocketAddr::new(source, 0)));
            bound.map_err(|error| match error.raw_os_error() {
                Some(libc::EADDRNOTAVAIL) => LineError::Line(Trouble::NotOurs(source)),
                _ => LineError::Io(error),
            })?;
        }
        Ok(socket)
    }

    /// Where packets to `to` would come from. Nothing is sent by this: the kernel looks for a route and an
    /// address of ours.
    ///
    /// # Errors
    ///
    /// [`LineError`]; where there is an interface, a route of IPv4 that is missing is none.
    pub fn address_towards(&self, to: IpAddr) -> Result<IpAddr, LineError> {
        let from = self.udp(SocketAddr::new(to, 9))?.local_addr()?.as_socket();
        from.map(|from| from.ip())
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable).into())
    }

    /// Whether the line has a way to addresses of this family at all: of IPv6 many have none.
    #[must_use]
    pub fn reaches(&self, to: IpAddr) -> bool {
        if self.source.is_some_and(|source| source.is_ipv4() != to.is_ipv4()) {
            return false;
        }
        let Ok(from) = self.address_towards(to) else { return false };
        // Of an interface without an address of the family the kernel takes everybody for a neighbour, and
        // lends it one of another interface, or none.
        let is_its_own =
            |name: &String| ffi::addresses_of(name).is_ok_and(|all| all.contains(&from));
        let lent = from.is_unspecified() || self.interface.as_ref().is_some_and(|n| !is_its_own(n));
        !lent && (to.is_ipv4() || !is_link_local(from) || is_link_local(to))
    }
}

/// if.h
const IFF_UP: u32 = 1;

/// The flags of an interface, if there is one of this name.
fn flags(name: &str) -> Option<u32> {
    let text =
        std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("flags")).ok()?;
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// RFC 3927, RFC 4291 2.5.6.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn line(interface: Option<&str>, source: Option<&str>) -> Line {
        let source = source.map(|source| source.parse().unwrap());
        Line { interface: interface.map(str::to_owned), source }
    }

    #[test]
    fn a_line_that_is_not_there_says_so() {
        let text = |line: Line| line.trouble().map(|trouble| trouble.to_string());
        assert!(text(line(Some("nosuch0"), None)).unwrap().contains("no interface nosuch0"));
        assert!(text(line(None, Some("192.0.2.99"))).unwrap().contains("192.0.2.99"));
        assert_eq!(text(line(Some("lo"), Some("127.0.0.1"))), None);
        assert_eq!(text(Line::default()), None);
    }

    #[test]
    fn it_connects_by_the_interface_and_from_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let line = line(Some("lo"), Some("127.0.0.9"));
        let socket = line.connect(to, Duration::from_secs(5)).unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.9");
        assert_eq!(socket.device().unwrap().as_deref(), Some(&b"lo"[..]));
    }

    #[test]
    fn of_an_address_alone_nothing_of_the_other_family_leaves() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let to = listener.local_addr().unwrap();
        let most = Duration::from_secs(5);
        let error = line(None, Some("127.0.0.9")).connect(to, most).unwrap_err();
        assert!(matches!(error, LineError::Line(Trouble::NoRoute { .. })), "{error}");
        assert!(line(None, Some("::1")).connect(to, most).is_ok());
    }

    #[test]
    fn a_way_that_is_missing_is_the_lines_fault_and_a_refusal_is_not() {
        let no_route = line(Some("lo"), None)
            .connect("192.0.2.1:9".parse().unwrap(), Duration::from_millis(100));
        let text = no_route.unwrap_err().to_string();
        assert!(
            text.contains("by lo") || text.contains("timed out") || text.contains("invalid"),
            "{text}"
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        drop(listener);
        let refused = Line::default().connect(to, Duration::from_secs(5));
        assert!(matches!(refused, Err(LineError::Io(_))));
    }
}
