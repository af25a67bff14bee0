//! Bytes that somebody else chose: user names, host names, key comments.
//!
//! They stay bytes until the point of printing, and every way to print them gives one
//! line of visible characters, so that no name can forge a second log record.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes from outside, at most [`Foreign::MAX`] of them.
///
/// In JSON they are a string in which a backslash is `\\` and a byte that is not
/// part of valid UTF-8 is `\xNN`, so that every name survives the way through the spool.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Foreign(Vec<u8>);

impl Foreign {
    /// Longest value kept, in bytes. A Linux user name has 32; a DNS name 255.
    pub const MAX: usize = 256;

    /// Keeps the first [`Foreign::MAX`] bytes of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().take(Self::MAX).collect())
    }

    /// The bytes as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True when there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Visible text for a message to a person: no control character, no mark that
    /// reorders or hides text, and `\xNN` for what is not UTF-8.
    #[must_use]
    pub fn visible(&self) -> String {
        visible(&self.0)
    }

    /// The JSON form described at [`Foreign`], without the quotes.
    fn escaped(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c == '\\' {
                    out.push('\\');
                }
                out.push(c);
            }
            push_hex(&mut out, chunk.invalid());
        }
        out
    }

    /// Reads what [`Foreign::escaped`] wrote.
    fn unescape(text: &str) -> Result<Self, &'static str> {
        let mut out = Vec::with_capacity(text.len().min(Self::MAX));
        let mut rest = text.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            match rest {
                [b'\\', tail @ ..] => {
                    out.push(b'\\');
                    rest = tail;
                }
                [b'x', high, low, tail @ ..] => {
                    let (high, low) = (hex_digit(*high), hex_digit(*low));
                    let (Some(high), Some(low)) = (high, low) else {
                        return Err("\\x without two hex digits");
                    };
                    out.push(high << 4 | low);
                    rest = tail;
                }
                _ => return Err("a lone backslash"),
            }
        }
        if out.len() > Self::MAX {
            return Err("a value longer than 256 bytes");
        }
        Ok(Self(out))
    }
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.visible())
    }
}

impl Serialize for Foreign {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.escaped())
    }
}

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::unescape(&text).map_err(de::Error::custom)
    }
}

/// `bytes` as visible text on one line; see [`Foreign::visible`].
#[must_use]
pub fn visible(bytes: &[u8]) -> String {
    print(bytes, &[])
}

/// `bytes` as visible text between quotes, with `"` and `\` escaped, so that where the value
/// ends is never in doubt.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", print(bytes, &['"', '\\']))
}

fn print(bytes: &[u8], escape: &[char]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                _ if escape.contains(&c) => out.extend(['\\', c]),
                _ if !hides(c) => out.push(c),
                '\0'..='\u{ff}' => push_hex(&mut out, &[u8::try_from(c).unwrap_or(b'?')]),
                _ => {
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                }
            }
        }
        push_hex(&mut out, chunk.invalid());
    }
    out
}

/// Whether a character is a control, a line or paragraph separator, a bidirectional
/// mark, or has no width: all of them let a name look like something it is not
/// (Unicode TR 36, "Unicode Security Considerations").
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_json() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], b"", b"\\", b"\\x41", b"al\xe9x", "zoë".as_bytes()] {
            let before = Foreign::new(bytes);
            let json = serde_json::to_string(&before).unwrap();
            let after: Foreign = serde_json::from_str(&json).unwrap();
            assert_eq!(before, after, "{json}");
        }
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for text in [r#""\\""#, r#""\\x4""#, r#""\\xzz""#, r#""\\n""#] {
            assert!(serde_json::from_str::<Foreign>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_hostile_stays_in_visible_text() {
        let table: &[(&[u8], &str)] = &[
            (b"alice", "alice"),
            (b"a\nb", "a\\x0ab"),
            (b"\x1b[2J", "\\x1b[2J"),
            (b"al\xe9x", "al\\xe9x"),
            ("zoë".as_bytes(), "zoë"),
            ("a\u{202e}b".as_bytes(), "a\\u{202e}b"),
            ("a\u{85}b".as_bytes(), "a\\x85b"),
        ];
        for (bytes, want) in table {
            assert_eq!(Foreign::new(bytes).visible(), *want);
        }
    }

    #[test]
    fn a_value_is_cut_at_its_ceiling() {
        assert_eq!(Foreign::new(&[b'a'; 10_000]).as_bytes().len(), Foreign::MAX);
    }
}
