//! What the channels to a chat have in common: all of a message's text, cut to what fits.

use super::Message;
use crate::text;

/// What stands where a text was cut.
const CUT: &str = "\n..";

/// Subject and body. Names in it are made visible already, each line is one fact.
#[must_use]
pub fn whole_text(message: &Message) -> String {
    format!("{}\n\n{}", text::subject(message), text::body(message).trim_end())
}

/// `text`, or as much of its start as costs `limit` with a mark behind it. Cuts between two
/// characters.
#[must_use]
pub fn fit(text: &str, limit: usize, cost: fn(char) -> usize) -> String {
    let room = limit.saturating_sub(CUT.chars().map(cost).sum());
    let (mut used, mut keep) = (0_usize, 0);
    for (at, c) in text.char_indices() {
        if used <= room {
            keep = at;
        }
        used = used.saturating_add(cost(c));
    }
    if used <= limit { text.to_owned() } else { format!("{}{CUT}", &text[..keep]) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::event::{
        AlertId, Condition, Event, FORMAT, Factor, Key, Login, Note, Severity, Status, What,
    };
    use crate::foreign::Foreign;

    /// What a stranger may put into every field he can reach.
    pub const HOSTILE: &str = "<b>x</b>&amp; *bold* _it_ `code` ```fence``` @everyone @here <!channel> <@U1> \
         [link](http://evil.example) \r\nX-Evil: 1\r\n\r\n{\"a\":\"b\"} \u{202e}gnp.exe\u{2066} \\ ~~s~~ ||spoiler||";

    pub fn event(what: What) -> Event {
        let at = Stamp { unix_ms: 1_795_313_647_000, boot: None };
        let host = Foreign::from("jump");
        let id = AlertId::parse("k7f3q2").unwrap();
        Event { version: FORMAT, id, at, host, severity: Severity::Warning, what }
    }

    pub fn message(what: What) -> Message {
        let event = event(what);
        let now = event.at.clone();
        Message::new(event, now, "someone")
    }

    pub fn note(text: &str) -> Message {
        message(What::Note(Note { text: text.into() }))
    }

    pub fn login(user: &str) -> Message {
        let key = Key {
            algorithm: "ssh-ed25519".into(),
            fingerprint: "SHA256:abc".into(),
            name: Some(user.into()),
            certificate: None,
        };
        message(What::Login(Login {
            user: user.into(),
            service: "sshd".into(),
            source: "203.0.113.9".parse().ok(),
            auth: vec![Factor { method: "publickey".into(), key: Some(key) }],
            reason: "in no rule".into(),
            pid: 42,
            ..Login::default()
        }))
    }

    pub fn condition(status: Status, severity: Severity) -> Message {
        let name = Foreign::from("tunnel office");
        let mut message = message(What::Condition(Condition::new(name, status, "no reply".into())));
        message.event.severity = severity;
        message
    }

    /// A message with hostile text in each field, and one of each kind that is very long.
    pub fn hostile() -> Vec<Message> {
        let long = HOSTILE.repeat(10_000 / HOSTILE.len() + 1);
        let mut all = vec![note(HOSTILE), login(HOSTILE), note(&long), login(&long)];
        let what = Condition::new(HOSTILE.into(), Status::Down, long.clone());
        all.push(message(What::Condition(what)));
        let mut digest = login(HOSTILE);
        digest.event.host = Foreign::from(HOSTILE);
        digest.more = (0..40).map(|_| digest.event.clone()).collect();
        digest.hint = Some(HOSTILE.into());
        all.push(digest);
        all
    }

    #[test]
    fn a_text_is_cut_between_characters_at_what_fits() {
        let table = [
            ("abc", 3, "abc"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc\n.."),
            ("", 0, ""),
            ("äöüäöü", 12, "äöüäöü"),
            ("äöüäöüä", 12, "äöüä\n.."),
            ("€€€€", 11, "€€\n.."),
        ];
        for (text, limit, want) in table {
            let cut = fit(text, limit, char::len_utf8);
            assert_eq!(cut, want, "{text} {limit}");
            assert!(cut.len() <= limit);
        }
        let emoji = fit(&"🐈".repeat(3000), 4096, char::len_utf16);
        assert!((4095..=4096).contains(&emoji.encode_utf16().count()));
    }

    #[test]
    fn no_text_hides_or_reorders_anything() {
        for message in hostile() {
            let text = whole_text(&message);
            let hidden = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}".contains(c);
            assert!(!text.contains(hidden), "{text:?}");
            assert!(text.contains("#k7f3q2"), "{text}");
        }
    }
}
