//! Foreign bytes on their ways out: JSON and back, visible text, a syslog record.
#![no_main]

use bastion_fuzz::hides;
use libfuzzer_sys::fuzz_target;
use notifier::foreign::{Foreign, quoted, visible};
use notifier::syslog::{Line, MAX_LINE};

fuzz_target!(|bytes: &[u8]| {
    let foreign = Foreign::new(bytes);
    assert_eq!(foreign.as_bytes(), &bytes[..bytes.len().min(Foreign::MAX)]);
    let json = serde_json::to_string(&foreign).expect("a string");
    assert_eq!(serde_json::from_str::<Foreign>(&json).expect("our own JSON"), foreign);
    // JSON of somebody else's: what is taken means the same when it is written again.
    if let Ok(taken) = serde_json::from_slice::<Foreign>(bytes) {
        let json = serde_json::to_string(&taken).expect("a string");
        assert_eq!(serde_json::from_str::<Foreign>(&json).expect("our own JSON"), taken);
    }
    assert!(!visible(bytes).contains(hides));
    assert_eq!(unquoted(&quoted(bytes)), Some(""), "the value's end is in doubt");

    // The fields around a hostile value cannot be mistaken.
    let line = Line::new("login").foreign("user", &foreign).word("verdict", "alert");
    let text = line.as_str();
    assert!(text.len() <= MAX_LINE && !text.contains(hides));
    if text.len() < MAX_LINE {
        let rest = text.strip_prefix("login user=").and_then(unquoted);
        assert_eq!(rest, Some(" verdict=alert"), "{text}");
    }
});

/// What follows the quoted value that `text` begins with; `None` when it has no end.
fn unquoted(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inside.find(|c| match c {
        _ if std::mem::take(&mut escaped) => false,
        '\\' => {
            escaped = true;
            false
        }
        c => c == '"',
    })?;
    inside.get(end + 1..)
}
