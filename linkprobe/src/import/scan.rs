//! The JSON in a log, whatever else stands there: a value a line, over several lines, one after the
//! other without an end of the line, or in an array; between messages of the tool.

use serde_json::Value;

/// Something in a log.
#[derive(Debug)]
pub struct Item {
    /// Number of the line on which it begins, from 1 on.
    pub line: usize,
    /// What it is.
    pub found: Found,
}

/// What stands in a log.
#[derive(Debug)]
pub enum Found {
    /// An object; those of an array come one by one.
    Json(Value),
    /// A line of something else.
    Text,
    /// What begins as JSON and is none.
    Broken,
}

/// Hands out what stands in a log, in its order.
pub fn scan(bytes: &[u8], mut take: impl FnMut(Item)) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = LineCount { bytes, counted: 0, line: 1 };
    let mut at = 0;
    while let Some(begin) = bytes[at..].iter().position(|byte| !is_between(*byte)) {
        at += begin;
        let line = lines.of(at);
        let rest = &bytes[at..];
        if !matches!(rest[0], b'{' | b'[') {
            take(Item { line, found: Found::Text });
            at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            continue;
        }
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                at += values.byte_offset().max(1);
                hand_out(value, line, &mut take);
            }
            _ => {
                take(Item { line, found: Found::Broken });
                at += next_beginning(rest);
            }
        }
    }
}

/// What may stand between two values.
fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b',' || byte == 0
}

fn hand_out(value: Value, line: usize, take: &mut impl FnMut(Item)) {
    match value {
        Value::Array(values) => {
            for value in values {
                let found = if value.is_object() { Found::Json(value) } else { Found::Broken };
                take(Item { line, found });
            }
        }
        value => take(Item { line, found: Found::Json(value) }),
    }
}

/// Where, behind something broken, the next value may begin: at the next line that begins as one. That of
/// a value over several lines begins with nothing before its bracket.
fn next_beginning(rest: &[u8]) -> usize {
    let begins = |pair: &[u8]| matches!(pair, [b'\n', b'{' | b'[']);
    rest.windows(2).position(begins).map_or(rest.len(), |end| end + 1)
}

/// Counts lines as they go by.
struct LineCount<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: usize,
}

impl LineCount<'_> {
    fn of(&mut self, at: usize) -> usize {
        let passed = &self.bytes[self.counted..at];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted = at;
        self.line
    }
}
