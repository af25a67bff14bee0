//! What is sent: a mail with the same Message-ID and Date at each try.

use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message as Mail};

use crate::channel::Message;
use crate::fnv::fnv1a;
use crate::text;

/// Latest moment that a mail's Date can tell, the end of the year 9999, in seconds since 1970.
/// The library would panic behind it, and a file in the spool may say anything.
const LAST_SECOND: u64 = 253_402_300_799;

/// A mail in its envelope.
#[derive(Debug)]
pub(super) struct Letter {
    pub envelope_from: Option<Address>,
    pub to: Address,
    /// Its Message-ID, with the angle brackets.
    pub id: String,
    pub bytes: Vec<u8>,
}

/// Writes `message` as a mail.
pub(super) fn write(
    from: &Mailbox,
    envelope_from: Option<&Address>,
    message: &Message,
) -> Result<Letter, String> {
    let to: Address = message.recipient.parse().map_err(|error| format!("to: {error}"))?;
    let id = message_id(message, from.email.domain());
    let seconds = (message.event.at.unix_ms / 1000).min(LAST_SECOND);
    let mail = Mail::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(subject(message))
        .message_id(Some(id.clone()))
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        // RFC 3834: nobody's holiday answers this.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(text::body(message))
        .map_err(|error| error.to_string())?;
    let mut bytes = mail.formatted();
    // The end of the last line belongs to the dot that ends the mail.
    while bytes.ends_with(b"\r\n") {
        bytes.truncate(bytes.len() - 2);
    }
    Ok(Letter { envelope_from: envelope_from.cloned(), to, id, bytes })
}

/// One line, in which nobody's name is an encoded word (RFC 2047): the library passes such a one
/// on as it is, and the reader would decode it, to line ends and to marks that reorder text.
fn subject(message: &Message) -> String {
    text::subject(message).replace("=?", "= ?")
}

/// `<k7f3q2.1795313647000.9c2f..@example.org>`: the same at each try of this message to this
/// recipient, and another for any other. A digest that has grown since is another message: under
/// the old id it would be taken for a copy, and what is new in it would be lost.
fn message_id(message: &Message, domain: &str) -> String {
    let ids: String = message.events().map(|event| event.id.to_string()).collect();
    let mark = fnv1a(&[message.recipient.as_bytes(), ids.as_bytes()]);
    format!("<{}.{}.{mark:016x}@{domain}>", message.id(), message.event.at.unix_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::event::{AlertId, Event, FORMAT, Login, Note, Severity, What};
    use crate::foreign::Foreign;

    fn event(id: u32, unix_ms: u64, what: What) -> Event {
        Event {
            version: FORMAT,
            id: AlertId::from_bits(id),
            at: Stamp { unix_ms, boot: None },
            host: Foreign::from("jump"),
            severity: Severity::Warning,
            what,
        }
    }

    fn login(user: &[u8]) -> What {
        What::Login(Login { user: Foreign::new(user), ..Login::default() })
    }

    fn note(text: &str) -> What {
        What::Note(Note { text: text.into() })
    }

    fn message(event: Event) -> Message {
        Message::new(event, Stamp { unix_ms: 1_795_313_700_000, boot: None }, "ops@example.org")
    }

    fn from() -> Mailbox {
        Mailbox::new(Some("Bastion".into()), "bastion@jump.example".parse().unwrap())
    }

    /// The mail's headers, unfolded, and its body.
    fn parts(letter: &Letter) -> (Vec<String>, String) {
        let text = String::from_utf8(letter.bytes.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        (unfolded.split("\r\n").map(str::to_owned).collect(), body.to_owned())
    }

    #[test]
    fn a_mail_has_the_headers_of_a_machine_s_and_the_time_of_the_event() {
        let letter =
            write(&from(), None, &message(event(1, 1_795_313_647_000, login(b"alice")))).unwrap();
        let (headers, body) = parts(&letter);
        for want in [
            "From: Bastion <bastion@jump.example>",
            "To: ops@example.org",
            "Date: Sun, 22 Nov 2026 02:14:07 +0000",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            &format!("Message-ID: {}", letter.id),
        ] {
            assert!(headers.iter().any(|header| header == want), "{want}: {headers:#?}");
        }
        let subject = headers.iter().find(|header| header.starts_with("Subject: ")).unwrap();
        assert!(subject.contains("jump: login alice from unknown"), "{subject}");
        assert!(body.contains("user: alice\r\n"), "{body}");
        assert!(letter.envelope_from.is_none());
    }

    #[test]
    fn no_name_and_no_text_makes_a_header_or_ends_the_mail() {
        let hostile: &[&[u8]] = &[
            b"a\r\nBcc: thief@example.net",
            b"a\nBcc: thief@example.net\n\nhello",
            b"a\rBcc: x",
            "zoë\u{202e}\r\n.\r\nMAIL FROM:<x@y>".as_bytes(),
            b"=?utf-8?q?x=0D=0ABcc:_thief?=",
            &[0xff; 256],
            &[b'\n'; 256],
            "\u{85}\u{2028}Bcc: x".as_bytes(),
        ];
        let lone = |bytes: &[u8]| {
            let ends = bytes.windows(2).filter(|pair| *pair == b"\r\n").count();
            let count = |byte| bytes.iter().filter(|b| **b == byte).count();
            count(b'\r') != ends || count(b'\n') != ends
        };
        for name in hostile {
            let as_text = String::from_utf8_lossy(name).into_owned();
            for what in [login(name), note(&as_text)] {
                let letter = write(&from(), None, &message(event(1, 0, what))).unwrap();
                let (headers, _) = parts(&letter);
                assert_eq!(headers.len(), 9, "{as_text:?}: {headers:#?}");
                assert!(
                    !headers.iter().any(|h| h.to_lowercase().starts_with("bcc")),
                    "{headers:#?}"
                );
                assert!(letter.bytes.is_ascii() && !lone(&letter.bytes), "{as_text:?}");
                let longest = letter.bytes.split(|b| *b == b'\n').map(<[u8]>::len).max();
                assert!(longest <= Some(999), "{as_text:?}: a line of {longest:?}");
            }
        }
    }

    #[test]
    fn no_name_is_decoded_by_the_reader() {
        let name = b"=?utf-8?q?=0D=0ABcc:_thief?= =?=?x?b?4oCu?=";
        let letter = write(&from(), None, &message(event(1, 0, login(name)))).unwrap();
        let (headers, _) = parts(&letter);
        assert!(!headers.iter().any(|header| header.contains("=?")), "{headers:#?}");
    }

    #[test]
    fn the_id_is_the_same_at_each_try_and_another_for_anybody_else() {
        let first = message(event(1, 5000, login(b"alice")));
        let id = |message: &Message| message_id(message, "jump.example");
        let again = Message { now: Stamp::default(), hint: Some("x".into()), ..first.clone() };
        assert_eq!(id(&first), id(&again));
        assert_eq!(id(&first), "<100000.5000.e233015a5c1e7bf0@jump.example>");
        let other = Message { recipient: "dev@example.org".into(), ..first.clone() };
        let later = message(event(1, 5001, login(b"alice")));
        let grown = Message { more: vec![event(2, 5000, login(b"bob"))], ..first.clone() };
        for differs in [&other, &later, &grown] {
            assert_ne!(id(&first), id(differs));
        }
    }

    #[test]
    fn a_date_past_all_calendars_is_no_panic() {
        for unix_ms in [0, u64::MAX, LAST_SECOND * 1000 + 1] {
            write(&from(), None, &message(event(1, unix_ms, note("x")))).unwrap();
        }
    }
}
