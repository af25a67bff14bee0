//! What happened, as typed fields. Text is made from it later, once for each channel.

mod report;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::clock::Stamp;
use crate::foreign::Foreign;
pub use report::{Report, Tally, Unit};

/// Version of the drop file's layout; a reader refuses any other.
pub const FORMAT: u8 = 1;

/// One thing that somebody should hear of: the content of a drop file.
///
/// Readers ignore fields they do not know, so that a newer writer can meet an older sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`FORMAT`].
    pub version: u8,
    /// Short id, printed in every message and every log line about this event.
    pub id: AlertId,
    /// When it happened.
    pub at: Stamp,
    /// `[host] name` of the machine it happened on.
    pub host: Foreign,
    /// How urgent it is.
    pub severity: Severity,
    /// What it was.
    pub what: What,
}

/// The kinds of event, each with its own fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// Somebody logged in.
    Login(Login),
    /// Text from a script or a person (`bastion send`).
    Note(Note),
    /// Something went down or came up again.
    Condition(Condition),
    /// How something went, for the weekly report.
    Tally(Tally),
    /// The weekly report.
    Report(Report),
    /// A line is back.
    Back(Back),
}

impl What {
    /// The kind's word, as in the file's name and the log: `login`, `note`, `condition`, `tally`,
    /// `report`, `back`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Login(_) => "login",
            Self::Note(_) => "note",
            Self::Condition(_) => "condition",
            Self::Tally(_) => "tally",
            Self::Report(_) => "report",
            Self::Back(_) => "back",
        }
    }
}

/// A login, as the PAM session module saw it. A missing fact is `None`, never a guess.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Login {
    /// `PAM_USER`.
    pub user: Foreign,
    /// `PAM_SERVICE`.
    pub service: Foreign,
    /// Address of the client, IPv4-mapped form folded and zone dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What stood in the place of an address, where that was no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_name: Option<Foreign>,
    /// The client's port. Where the login came through a tunnel, that of the tunnel's own connection to
    /// sshd, by which the other end of it is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// sshd's own address and port, as the client has reached it. Source and port alone may be of two connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SocketAddr>,
    /// The methods that authenticated, in the order sshd gives them; empty when unknown.
    #[serde(default)]
    pub auth: Vec<Factor>,
    /// Why this login is told: the verdict's reason, in words.
    #[serde(default)]
    pub reason: String,
    /// Process id of the sshd process that serves the session.
    #[serde(default)]
    pub pid: u32,
}

impl Login {
    /// Whether the login came from this machine itself, which is where every login
    /// through the reverse forward comes from.
    #[must_use]
    pub fn via_tunnel(&self) -> bool {
        self.source.is_some_and(|ip| ip.is_loopback())
    }

    /// The first key that authenticated, if one did.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.auth.iter().find_map(|factor| factor.key.as_ref())
    }
}

/// One authentication method that succeeded: a line of `SSH_AUTH_INFO_0`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Factor {
    /// The method's name (RFC 4252): `publickey`, `password`, `keyboard-interactive/pam`.
    pub method: Foreign,
    /// The key, for `publickey` and `hostbased`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// A public key that authenticated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Key {
    /// Its algorithm as sshd names it: `ssh-ed25519`, `ecdsa-sha2-nistp256-cert-v01@openssh.com`.
    pub algorithm: Foreign,
    /// OpenSSH's fingerprint: `SHA256:` and 43 characters of base64. Of a certificate,
    /// the fingerprint of the key that it certifies, as in sshd's own log.
    pub fingerprint: String,
    /// The operator's own name for the key, from `[login.keys]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Foreign>,
    /// What the certificate says, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// The part of an OpenSSH certificate that tells who it was given to (PROTOCOL.certkeys).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Certificate {
    /// The key id that the CA wrote into it.
    pub key_id: Foreign,
    /// The serial number that the CA gave it.
    pub serial: u64,
    /// Fingerprint of the CA's key.
    pub ca: String,
}

/// A text from a script or a person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Note {
    /// The text, at most [`Note::MAX`] bytes of UTF-8.
    pub text: String,
}

impl Note {
    /// Longest text taken, in bytes: the body limit of an SMS at Twilio is 1,600 characters,
    /// mail carries the rest, and the drop file's own ceiling is 16 KiB.
    pub const MAX: usize = 4096;
}

/// Something that is well or is not, and is told when that changes: a tunnel, a line, a disk.
///
/// All events of one condition bear the same name, which is what makes one message of a `down`
/// and an `up` that wait together, and what resolves an alert at an Alertmanager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Its name, as `tunnel office`; one on each host. At most [`Condition::MAX_NAME`] bytes.
    pub name: Foreign,
    /// How it is since the event.
    pub status: Status,
    /// What more there is to say, at most [`Note::MAX`] bytes of UTF-8.
    #[serde(default)]
    pub text: String,
    /// What it is when it is not well.
    #[serde(default, skip_serializing_if = "ConditionFault::is_down")]
    pub fault: ConditionFault,
}

impl Condition {
    /// Longest name, in bytes.
    pub const MAX_NAME: usize = 64;

    /// Of something that is up or down.
    #[must_use]
    pub fn new(name: Foreign, status: Status, text: String) -> Self {
        Self { name, status, text, fault: ConditionFault::Down }
    }
}

/// What a condition is when it is not well: by which words it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionFault {
    /// Low, as a rate, else enough.
    Low,
    /// High, as a latency, else low.
    High,
    /// Wrong, as an ISP, else right.
    Wrong,
    /// Down, else up; and whatever a later version may know.
    #[default]
    #[serde(other)]
    Down,
}

impl ConditionFault {
    /// Whether it is what most conditions are.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_down(&self) -> bool {
        *self == Self::Down
    }

    /// Its word, and that of a condition that is well.
    #[must_use]
    pub fn words(self) -> [&'static str; 2] {
        match self {
            Self::Down => ["down", "up"],
            Self::Low => ["low", "enough"],
            Self::High => ["high", "low"],
            Self::Wrong => ["wrong", "right"],
        }
    }
}

/// A line is back: never told, but what waits for a line is tried now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// Its name, as `link backup`. At most [`Condition::MAX_NAME`] bytes.
    pub name: Foreign,
}

/// How a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not well.
    Down,
    /// Well, after it was not.
    Up,
}

impl Status {
    /// Its word in messages and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

/// How urgent an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look: the severity of a login.
    Warning,
    /// Somebody has to act now.
    Critical,
}

impl Severity {
    /// All of them, least urgent first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// Its word on the command line, in the log and in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Short id of an alert: six characters of Crockford's base32, in lower case, of 30 random bits.
///
/// It stands in the SMS, in the log and in the file's name, and the provider's list of
/// messages is searched for it before a doubtful message is sent again. A person
/// can read it out over the phone (no i, l, o, u).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct AlertId([u8; AlertId::LEN]);

impl AlertId {
    /// Characters in an id.
    pub const LEN: usize = 6;
    const ALPHABET: &'static [u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// An id from the low 30 bits of `random`.
    #[must_use]
    pub fn from_bits(random: u32) -> Self {
        let mut bits = random;
        Self(std::array::from_fn(|_| {
            let digit = Self::ALPHABET[(bits & 31) as usize];
            bits >>= 5;
            digit
        }))
    }

    /// Reads an id; `None` for anything [`AlertId::from_bits`] does not make.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; Self::LEN] = text.as_bytes().try_into().ok()?;
        digits.iter().all(|c| Self::ALPHABET.contains(c)).then_some(Self(digits))
    }

    /// The six characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every byte is from ALPHABET, so this never takes the default.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<AlertId> for String {
    fn from(id: AlertId) -> Self {
        id.as_str().to_owned()
    }
}

impl<'de> Deserialize<'de> for AlertId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("an alert id is six characters of base32"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_written() {
        for bits in [0, 1, 31, 32, 0x3fff_ffff, u32::MAX, 123_456_789] {
            let id = AlertId::from_bits(bits);
            assert_eq!(AlertId::parse(id.as_str()), Some(id));
        }
    }

    #[test]
    fn foreign_ids_are_refused() {
        for text in ["", "abc", "abcdefg", "abcdeu", "ABCDEF", "abc/.."] {
            assert_eq!(AlertId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let json = r#"{"version":1,"id":"k7f3q2","at":{"unix_ms":5},"host":"h","severity":"warning",
            "colour":"red","what":{"kind":"note","text":"hi","font":"bold"}}"#;
        let event: Event = serde_json::from_str(json).unwrap();
        assert_eq!(event.what, What::Note(Note { text: "hi".into() }));
    }
}
