//! Messages of DNS (RFC 1035), as far as a server needs them.

/// The one question of a message.
#[derive(Clone)]
pub struct Question {
    /// In lower case, without a dot at the end.
    pub name: String,
    /// 1 A, 16 TXT, 28 AAAA.
    pub kind: u16,
    /// The first twelve bytes of the message.
    head: [u8; 12],
    /// The question as it came, in the asker's mix of cases.
    bytes: Vec<u8>,
}

impl Question {
    /// Reads a message with one question; nothing else is answered.
    pub fn read(message: &[u8]) -> Option<Self> {
        let head: [u8; 12] = message.get(..12)?.try_into().ok()?;
        let is_answer = head[2] & 0x80 != 0;
        if is_answer || head[4..6] != [0, 1] {
            return None;
        }
        let (mut at, mut labels) = (12, Vec::new());
        loop {
            let length = usize::from(*message.get(at)?);
            if length == 0 {
                break;
            }
            if length > 63 {
                return None;
            }
            labels.push(String::from_utf8_lossy(message.get(at + 1..=at + length)?).into_owned());
            at += 1 + length;
        }
        let rest = message.get(at + 1..at + 5)?;
        Some(Self {
            name: labels.join(".").to_ascii_lowercase(),
            kind: u16::from_be_bytes([rest[0], rest[1]]),
            head,
            bytes: message.get(12..at + 5)?.to_vec(),
        })
    }

    /// The id of the message.
    pub fn id(&self) -> &[u8] {
        &self.head[..2]
    }

    /// Whether it is for this name or one below it.
    pub fn is_below(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.name == name || self.name.ends_with(&format!(".{name}"))
    }

    /// One for another name, of the same id.
    pub fn of_another_name(&self) -> Self {
        let bytes = [&b"\x05other\x07example\x03net\0"[..], &self.kind.to_be_bytes(), &[0, 1]];
        Self { name: "other.example.net".into(), bytes: bytes.concat(), ..self.clone() }
    }
}

/// What is answered.
#[derive(Default)]
pub struct Answer {
    code: u8,
    truncated: bool,
    /// Said by the zone's own server, who knows no more than that.
    authoritative: bool,
    /// Type and data of each record.
    records: Vec<(u16, Vec<u8>)>,
}

impl Answer {
    /// These records: type and data of each.
    pub fn of(records: Vec<(u16, Vec<u8>)>) -> Self {
        Self { records, ..Self::default() }
    }

    /// An error.
    pub fn code(code: u8) -> Self {
        Self { code, ..Self::default() }
    }

    /// Nothing but that there would be more.
    pub fn truncated() -> Self {
        Self { truncated: true, ..Self::default() }
    }

    /// As the zone's own server says it.
    pub fn with_authority(self) -> Self {
        Self { authoritative: true, ..self }
    }

    /// Whether it says that there is no such name.
    pub fn is_no_name(&self) -> bool {
        self.code == 3
    }

    /// The message that answers `question`.
    pub fn write(&self, question: &Question) -> Vec<u8> {
        let count = u16::try_from(self.records.len()).unwrap_or(u16::MAX);
        let recursion_desired = question.head[2] & 1;
        let mut message = question.head[..2].to_vec();
        let (authority, recursion) = if self.authoritative { (4, 0) } else { (0, 0x80) };
        let truncation = if self.truncated { 2 } else { 0 };
        message.push(0x80 | authority | truncation | recursion_desired);
        message.push(recursion | self.code);
        message.extend([0, 1]);
        message.extend(count.to_be_bytes());
        message.extend([0, 0, 0, 0]);
        message.extend(&question.bytes);
        for (kind, data) in &self.records {
            // The name is where the question has it: byte 12.
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
            message.extend(data);
        }
        message
    }
}
