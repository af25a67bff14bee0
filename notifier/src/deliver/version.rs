//! Which file the sender works by, so that `bastion check` can say that there is a newer one.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::fnv::fnv1a;

/// Where it is kept, in the sender's own directory in /run.
const FILE: &str = "sender.config";

/// What the sender has read of a file. What is read by others, and comments, are no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// `[host]`, which counts from a start on.
    host: u64,
    /// `[notify]`, and whom to ask about logins, which a reload reads.
    rest: u64,
}

impl Version {
    /// Of the file `text`, which has it ask whom `asked` names.
    #[must_use]
    pub fn of(text: &str, asked: &str) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        let words = |name: &str| {
            let mut words = String::new();
            if let Some(value) = root.get_ref().get(name) {
                spell(value.get_ref(), &mut words);
            }
            words
        };
        Self {
            host: fnv1a(&[words("host").as_bytes()]),
            rest: fnv1a(&[words("notify").as_bytes(), asked.as_bytes()]),
        }
    }

    /// The one that the sender has after a reload of `newer`.
    #[must_use]
    pub fn reloaded(self, newer: Self) -> Self {
        Self { host: self.host, rest: newer.rest }
    }

    /// What has to be done that a sender that works by `running` works by this one.
    #[must_use]
    pub fn remedy(self, running: Self) -> Option<&'static str> {
        match (self.host == running.host, self.rest == running.rest) {
            (true, true) => None,
            (true, false) => Some("systemctl reload bastion"),
            (false, _) => Some("systemctl restart bastion"),
        }
    }

    /// Leaves it in `run`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn leave(self, run: &Path) -> io::Result<()> {
        fs::write(run.join(FILE), format!("{:016x} {:016x}\n", self.host, self.rest))
    }

    /// What a sender has left in `run`; `None` where there is nothing, or nothing that may be read.
    #[must_use]
    pub fn left(run: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(run.join(FILE)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, rest) = text.trim_end().split_once(' ')?;
        let number = |word| u64::from_str_radix(word, 16).ok();
        Some(Self { host: number(host)?, rest: number(rest)? })
    }
}

/// A value without its place in the file; tables are in the order of their keys.
fn spell(value: &DeValue<'_>, out: &mut String) {
    match value {
        DeValue::Table(table) => {
            out.push('{');
            for (key, value) in table {
                let _ = write!(out, "{:?}=", key.get_ref());
                spell(value.get_ref(), out);
            }
            out.push('}');
        }
        DeValue::Array(array) => {
            out.push('[');
            for value in array {
                spell(value.get_ref(), out);
                out.push(',');
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[host]\nname = \"a\"\n[notify]\nall = true\n[notify.expiry]\nlogin = \"1h\"\nnote = \"2h\"\n";

    #[test]
    fn what_the_sender_reads_counts_and_nothing_else() {
        let reload = Some("systemctl reload bastion");
        let restart = Some("systemctl restart bastion");
        let same = [
            TEXT.to_owned(),
            format!("# a comment\n\n{TEXT}\n[[link]]\nname = \"main\"\n"),
            TEXT.replace("all = true", "all   =   true"),
            TEXT.replace("login = \"1h\"\nnote = \"2h\"", "note = \"2h\"\nlogin = \"1h\""),
        ];
        let running = Version::of(TEXT, "tunnelwatch run");
        for text in same {
            assert_eq!(Version::of(&text, "tunnelwatch run").remedy(running), None, "{text}");
        }
        let table = [
            (TEXT.replace("1h", "3h"), "tunnelwatch run", reload),
            (TEXT.to_owned(), "", reload),
            (TEXT.replace("\"a\"", "\"b\""), "tunnelwatch run", restart),
            (String::new(), "", restart),
        ];
        for (text, asked, want) in table {
            let file = Version::of(&text, asked);
            assert_eq!(file.remedy(running), want, "{text}");
            let after = file.remedy(running.reloaded(file));
            assert_eq!(after, want.filter(|remedy| restart == Some(*remedy)), "{text}");
        }
    }

    #[test]
    fn what_a_sender_leaves_is_found_and_anything_else_is_nothing() {
        let dir = std::env::temp_dir().join(format!("version-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(Version::left(&dir), None);
        let version = Version::of(TEXT, "");
        version.leave(&dir).unwrap();
        assert_eq!(Version::left(&dir), Some(version));
        fs::remove_dir_all(&dir).unwrap();
        for text in ["", "\n", "12", "x y\n", "1 2 3", "11112222333344445 1"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }
}
