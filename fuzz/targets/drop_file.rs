//! A drop file, as the sender reads it from whoever may write there; and every text that is
//! then made from it.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use notifier::clock::Stamp;
use notifier::spool::files::parse_event;
use notifier::spool::{file_name, id_of};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let event = match parse_event(bytes) {
        Ok(event) => event,
        Err(why) => {
            // The reason goes to the log and must repeat nothing of the content.
            assert!(why.len() < 80 && why.is_ascii(), "{why:?}");
            return Corpus::Keep;
        }
    };
    let json = serde_json::to_vec(&event).expect("an event is JSON");
    assert_eq!(parse_event(&json).expect("our own event"), event);
    // A name that the sender itself would give; other years than ours it may refuse.
    if (1_000_000_000_000..9_999_999_999_999_999).contains(&event.at.unix_ms) {
        assert_eq!(id_of(&file_name(&event)), Some(event.id));
    }
    let now = Stamp { unix_ms: 1_795_000_000_000, boot: None };
    bastion_fuzz::check_texts(&event, Some("also logged in: bob"), &now);
    Corpus::Keep
});
