//! What the machine's syslog received: the lines that `collector` wrote.

use std::fmt;

/// One datagram that came to `/dev/log`.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Arrival, in microseconds since 1970.
    pub at_us: u64,
    /// Priority: facility * 8 + severity (RFC 3164).
    pub priority: Option<u8>,
    /// Name of the program, without the process id.
    pub tag: String,
    /// All that follows the tag. A byte that is not visible ASCII is escaped as in Rust
    /// (`\n`, `\x1b`), and so is a backslash.
    pub text: String,
}

impl Line {
    /// Reads one line of the collector's file.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (at, datagram) = line.split_once(' ')?;
        let at_us = at.parse().ok()?;
        let (priority, rest) = match datagram.strip_prefix('<').and_then(|r| r.split_once('>')) {
            Some((number, rest)) => (number.parse().ok(), rest),
            None => (None, datagram),
        };
        // "Mmm dd hh:mm:ss tag[pid]: text" by syslog(3); the time may be left to the daemon.
        let timed =
            rest.get(..16).filter(|time| time.ends_with(' ') && time.matches(':').count() == 2);
        let rest = timed.map_or(rest, |_| &rest[16..]);
        let (head, text) = rest.split_once(": ").unwrap_or(("", rest));
        let tag = head.rsplit(' ').next().unwrap_or(head);
        let tag = tag.split('[').next().unwrap_or(tag);
        Some(Self { at_us, priority, tag: tag.to_owned(), text: text.to_owned() })
    }

    /// The severity's number: 0 emergency to 7 debug.
    #[must_use]
    pub fn severity(&self) -> Option<u8> {
        self.priority.map(|p| p & 7)
    }

    /// The value of `key=value` or `key="value"` in the text; of several, the first. Escapes
    /// are left as they are.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&str> {
        let (_, rest) = self.text.split_once(&format!(" {key}="))?;
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').map(|(value, _)| value),
            None => Some(rest.split(' ').next().unwrap_or(rest)),
        }
    }

    /// The first word of the text: `login`, `logout`, `config-problem`.
    #[must_use]
    pub fn event(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    /// The facility's number: 3 daemon, 10 authpriv.
    #[must_use]
    pub fn facility(&self) -> Option<u8> {
        self.priority.map(|p| p >> 3)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{:?}> {}: {}", self.priority, self.tag, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = Line::parse("17 <85>Nov 22 18:00:01 sshd[12]: login user=a\\nb").unwrap();
        assert_eq!(line.at_us, 17);
        assert_eq!((line.facility(), line.severity()), (Some(10), Some(5)));
        assert_eq!(line.tag, "sshd");
        assert_eq!(line.text, "login user=a\\nb");
    }

    #[test]
    fn a_line_without_a_time_is_taken_apart() {
        let line = Line::parse("17 <85>pam_bastion[12]: login user=\"a\"").unwrap();
        assert_eq!((line.tag.as_str(), line.text.as_str()), ("pam_bastion", "login user=\"a\""));
    }

    #[test]
    fn a_host_name_before_the_tag_is_skipped() {
        let line = Line::parse("17 <14>Nov 22 18:00:01 jump pam_bastion[1]: x: y").unwrap();
        assert_eq!((line.tag.as_str(), line.text.as_str()), ("pam_bastion", "x: y"));
    }
}
