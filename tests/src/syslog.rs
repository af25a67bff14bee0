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

    /// Reads a line that a log server wrote as RFC 5424 has it, without a prefix:
    /// `<PRI>1 TIME HOST TAG PID - - TEXT`, of a record without structured data.
    #[must_use]
    pub fn parse_rfc5424(line: &str) -> Option<Self> {
        let (priority, rest) = line.strip_prefix('<')?.split_once(">1 ")?;
        let words: Vec<&str> = rest.splitn(7, ' ').collect();
        let [_, _, tag, _, "-", "-", text] = words[..] else { return None };
        let (tag, text) = (tag.to_owned(), escaped(text.trim_start_matches(' ').as_bytes()));
        Some(Self { at_us: 0, priority: Some(priority.parse().ok()?), tag, text })
    }

    /// The severity's number: 0 emergency to 7 debug.
    #[must_use]
    pub fn severity(&self) -> Option<u8> {
        self.priority.map(|p| p & 7)
    }

    /// The value of `key=value` or `key="value"`, quotes and escapes taken off; of several,
    /// the first. A value cannot be mistaken for a key: this reads from the left.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes()).into_owned();
        let mut rest = text.split_once(' ')?.1;
        loop {
            let (name, value) = rest.split_once('=')?;
            let (value, tail) = take_value(value);
            if name == key {
                return Some(value);
            }
            rest = tail.strip_prefix(' ')?;
        }
    }

    /// The bytes of the text, as the program sent them.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        let mut rest = self.text.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            let Some((&kind, tail)) = rest.split_first() else { break };
            rest = tail;
            out.push(match kind {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digits = std::str::from_utf8(rest.get(..2).unwrap_or_default());
                    rest = rest.get(2..).unwrap_or_default();
                    u8::from_str_radix(digits.unwrap_or_default(), 16).unwrap_or(b'?')
                }
                other => other,
            });
        }
        out
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

/// `bytes` on one line: backslash and all that is not visible ASCII escaped as in Rust,
/// quotes left alone, since log lines are full of them.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'"' | b'\'' => out.push(char::from(byte)),
            _ => out.extend(std::ascii::escape_default(byte).map(char::from)),
        }
    }
    out
}

/// The value at the start of `text`, and what follows it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            _ => {
                if escaped && !matches!(c, '"' | '\\') {
                    value.push('\\');
                }
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
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
    fn a_line_of_a_log_server_is_taken_apart() {
        let line =
            "<86>1 2026-11-22T18:00:01.5+00:00 jump pam_bastion 7 - -  login user=\"a\\x0ab\"";
        let line = Line::parse_rfc5424(line).unwrap();
        assert_eq!((line.facility(), line.severity()), (Some(10), Some(6)));
        assert_eq!((line.tag.as_str(), line.event()), ("pam_bastion", "login"));
        assert_eq!(line.bytes(), br#"login user="a\x0ab""#);
        assert_eq!(Line::parse_rfc5424("rsyslogd: x"), None);
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        let line = Line::parse("17 <85>t: a\\nb\\x1b[\\\\x0a \\xc3\\xa9").unwrap();
        assert_eq!(line.bytes(), b"a\nb\x1b[\\x0a \xc3\xa9");
    }

    #[test]
    fn a_value_cannot_play_a_key() {
        let user = r#"login user="a\\" verdict=good \\\\ \\x0a" verdict=alert from=::1"#;
        let line = Line::parse(&format!("17 <85>t[1]: {user}")).unwrap();
        assert_eq!(line.field("user").unwrap(), r#"a" verdict=good \ \x0a"#);
        assert_eq!(line.field("verdict").unwrap(), "alert");
        assert_eq!(line.field("from").unwrap(), "::1");
        assert_eq!(line.field("good"), None);
    }

    #[test]
    fn a_host_name_before_the_tag_is_skipped() {
        let line = Line::parse("17 <14>Nov 22 18:00:01 jump pam_bastion[1]: x: y").unwrap();
        assert_eq!((line.tag.as_str(), line.text.as_str()), ("pam_bastion", "x: y"));
    }
}
