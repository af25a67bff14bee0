//! `[check]`: what `bastion check` takes for right that it would tell else.

use super::Document;

/// `[check]`, with its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Ports that others are to reach, beside sshd's.
    pub open_ports: Vec<OpenPort>,
}

/// How a port is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its word, as in services(5).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port that is to be open: of one protocol, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenPort {
    port: u16,
    protocol: Option<Protocol>,
}

impl OpenPort {
    /// Reads `443/tcp`, `51820/udp`, or `53` for both.
    ///
    /// # Errors
    ///
    /// A text for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no port; write \"443/tcp\", \"51820/udp\", or \"53\" for both");
        let (port, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((port, "tcp")) => (port, Some(Protocol::Tcp)),
            Some((port, "udp")) => (port, Some(Protocol::Udp)),
            Some(_) => return Err(wrong()),
        };
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        Ok(Self { port, protocol })
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, protocol: Protocol, port: u16) -> bool {
        self.port == port && self.protocol.is_none_or(|own| own == protocol)
    }
}

/// Reads `[check]`; what it does not say is the default.
pub fn read(document: &mut Document<'_>) -> Check {
    let read = document.table("check", |section| {
        let ports = section.parse_list("open-ports", OpenPort::parse).unwrap_or_default();
        Check { open_ports: ports.into_iter().map(|port| port.value).collect() }
    });
    read.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_with_its_protocol_or_without() {
        let all = |text: &str| {
            let port = OpenPort::parse(text)?;
            Ok::<_, String>([Protocol::Tcp, Protocol::Udp].map(|protocol| port.is(protocol, 53)))
        };
        assert_eq!(all("53"), Ok([true, true]));
        assert_eq!(all("53/tcp"), Ok([true, false]));
        assert_eq!(all("53/udp"), Ok([false, true]));
        assert_eq!(all("54"), Ok([false, false]));
        for text in ["", "0", "65536", "tcp/53", "53/sctp", "53/", "-1", "ssh"] {
            assert!(OpenPort::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_mistake_in_the_section_is_told() {
        let mut document =
            Document::parse("[check]\nopen-ports = [\"80/tcp\", 443, \"x\"]\nnosuch = 1\n");
        assert_eq!(read(&mut document).open_ports, [OpenPort::parse("80/tcp").unwrap()]);
        let findings = document.finish(&[]);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings.iter().all(|one| one.key.starts_with("check.")), "{findings:?}");
    }
}
