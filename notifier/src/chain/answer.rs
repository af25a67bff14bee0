//! What the jump host answers when it is asked who has opened a connection.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::event::{Factor, Key};
use crate::foreign::Foreign;

/// Most bytes of an answer that are read: a person with eight certificates has some 8 KB.
pub const MAX_ANSWER: usize = 16 * 1024;

/// Most methods of a login that are kept. sshd lets somebody try six times (`MaxAuthTries`).
const MAX_FACTORS: usize = 8;

/// Longest reason why somebody could not be found, in bytes of visible text.
const MAX_REASON: usize = 120;

/// Who has opened a connection, or why nobody can say. Never a guess.
///
/// As JSON: `{"matched":{"user":"alice","source":"198.51.100.7","auth":[..]}}` or `{"unmatched":"reason"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was he.
    Matched(Person),
    /// Nobody can say, for this reason.
    Unmatched(Unmatched),
}

/// Somebody as the other host knows him. All of it is that host's word.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Person {
    /// His name there.
    pub user: Foreign,
    /// Where he came from to that host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What stood in the place of an address, where that was no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_name: Option<Foreign>,
    /// How he has shown who he is, with the names that keys have there.
    #[serde(default)]
    pub auth: Vec<Factor>,
}

impl Person {
    /// The first key that authenticated, if one did.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.auth.iter().find_map(|factor| factor.key.as_ref())
    }
}

impl From<&Record> for Person {
    fn from(record: &Record) -> Self {
        Self {
            user: record.user.clone(),
            source: record.source,
            source_name: record.source_name.clone(),
            auth: record.auth.iter().take(MAX_FACTORS).cloned().collect(),
        }
    }
}

/// Why nobody can say: words for a person, lower case, no full stop.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unmatched(Foreign);

impl Unmatched {
    /// For this reason.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        let fits = |end: &usize| *end <= MAX_REASON;
        let ends = reason.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = ends.take_while(fits).last().unwrap_or(0);
        Self(Foreign::from(&reason[..end]))
    }

    /// The reason, as one line of visible text.
    #[must_use]
    pub fn visible(&self) -> String {
        self.0.visible()
    }
}

impl fmt::Debug for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Answer {
    /// Nobody can say, for this reason.
    #[must_use]
    pub fn unmatched(reason: &str) -> Self {
        Self::Unmatched(Unmatched::new(reason))
    }

    /// Who it was.
    #[must_use]
    pub fn person(&self) -> Option<&Person> {
        match self {
            Self::Matched(person) => Some(person),
            Self::Unmatched(_) => None,
        }
    }

    /// Reads what another host has answered. What is no answer is one that says so: it is a stranger's text.
    #[must_use]
    pub fn parse(line: &[u8]) -> Self {
        if line.len() > MAX_ANSWER {
            return Self::unmatched("the jump host's answer is too long");
        }
        match serde_json::from_slice(line) {
            Ok(answer) if Self::is_sound(&answer) => answer,
            _ => Self::unmatched("the jump host's answer cannot be understood"),
        }
    }

    /// Whether it is one that the other side's program could have made.
    fn is_sound(&self) -> bool {
        match self {
            Self::Unmatched(reason) => reason.0.as_bytes().len() <= MAX_REASON,
            Self::Matched(person) => {
                let keys = || person.auth.iter().filter_map(|factor| factor.key.as_ref());
                let cas = || keys().filter_map(|key| key.certificate.as_ref()).map(|c| &c.ca);
                !person.user.is_empty()
                    && person.auth.len() <= MAX_FACTORS
                    && keys().map(|key| &key.fingerprint).chain(cas()).all(|f| is_fingerprint(f))
            }
        }
    }

    /// The answer on one line, without the end of the line.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Nothing in it can fail to be written as JSON; what could would be no answer.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether a text is a fingerprint as OpenSSH prints it; of a key that it could not read it is empty.
fn is_fingerprint(text: &str) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.is_empty()
        || text
            .strip_prefix("SHA256:")
            .is_some_and(|hash| hash.len() == 43 && hash.bytes().all(base64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Certificate;

    fn fingerprint(c: char) -> String {
        format!("SHA256:{}", c.to_string().repeat(43))
    }

    fn alice() -> Person {
        let key = Key {
            algorithm: "ssh-ed25519-cert-v01@openssh.com".into(),
            fingerprint: fingerprint('a'),
            name: Some("laptop".into()),
            certificate: Some(Certificate {
                key_id: "alice".into(),
                serial: 7,
                ca: fingerprint('c'),
            }),
        };
        Person {
            user: "alice".into(),
            source: Some("198.51.100.7".parse().unwrap()),
            source_name: None,
            auth: vec![Factor { method: "publickey".into(), key: Some(key) }],
        }
    }

    #[test]
    fn an_answer_reads_back_as_it_was_written() {
        for answer in [Answer::Matched(alice()), Answer::unmatched("its session has ended")] {
            let line = answer.to_line();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Answer::parse(line.as_bytes()), answer);
        }
        let line = Answer::unmatched("why").to_line();
        assert_eq!(line, r#"{"unmatched":"why"}"#);
        let person = Person { user: "bob".into(), ..Person::default() };
        assert_eq!(Answer::Matched(person).to_line(), r#"{"matched":{"user":"bob","auth":[]}}"#);
    }

    #[test]
    fn what_no_program_of_ours_says_matches_nobody() {
        let many = Person { auth: vec![Factor::default(); MAX_FACTORS + 1], ..alice() };
        let mut forged = alice();
        forged.auth[0].key.as_mut().unwrap().fingerprint = "from 203.0.113.9".into();
        let mut ca = alice();
        let key = ca.auth[0].key.as_mut().unwrap();
        key.certificate.as_mut().unwrap().ca = "x".repeat(10_000);
        let nobody = Person { user: "".into(), ..alice() };
        let mut lines = [many, forged, ca, nobody].map(|p| Answer::Matched(p).to_line()).to_vec();
        lines.extend([
            String::new(),
            "null".into(),
            "{}".into(),
            r#"{"matched":{}}"#.into(),
            r#"{"unmatched":7}"#.into(),
            format!(r#"{{"unmatched":"{}"}}"#, "x".repeat(MAX_REASON + 1)),
            format!(r#"{{"matched":{{"user":"{}"}}}}"#, "x".repeat(300)),
            "[".repeat(MAX_ANSWER),
            format!("{}{}", Answer::Matched(alice()).to_line(), " ".repeat(MAX_ANSWER)),
        ]);
        for line in lines {
            let answer = Answer::parse(line.as_bytes());
            assert!(matches!(answer, Answer::Unmatched(_)), "{line}");
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let line = br#"{"matched":{"user":"alice","auth":[],"shoe-size":44}}"#;
        assert!(matches!(Answer::parse(line), Answer::Matched(_)));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let Answer::Unmatched(reason) = Answer::unmatched(&"ä".repeat(MAX_REASON)) else {
            panic!()
        };
        assert_eq!(reason.visible(), "ä".repeat(MAX_REASON / 2));
    }
}
