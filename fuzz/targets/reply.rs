//! A provider's answer, once HTTP has been taken off: the status in two bytes, then the body.
//! The way through HTTP is the target `exchange`.
#![no_main]

use std::time::Duration;

use bastion_fuzz::hides;
use libfuzzer_sys::fuzz_target;
use notifier::channel::http::{Answer, Redactor};
use notifier::channel::twilio::judge;
use notifier::channel::{Fault, Outcome};

fuzz_target!(|bytes: &[u8]| {
    let Some((status, body)) = bytes.split_first_chunk::<2>() else { return };
    let status = u16::from_be_bytes(*status);
    if status < 200 {
        // Interim answers end in the HTTP client.
        return;
    }
    let retry_after = (status % 2 == 0).then_some(Duration::from_secs(3));
    let outcome = judge(&Answer {
        status,
        retry_after,
        body: Ok(body.to_vec()),
        display: Redactor::default(),
    });
    // It goes to the log, the terminal and the state file.
    let words = outcome.to_string();
    assert!(!words.contains(hides) && words.chars().count() < 1000, "{words:?}");
    match &outcome {
        Outcome::Delivered { id, .. } => {
            // Only what Twilio itself said it has taken may end the alert's way.
            assert_eq!(status, 201);
            let id = id.as_deref().expect("Twilio gives an id");
            assert!(!id.contains(hides) && id.chars().count() <= 202, "{id:?}");
        }
        Outcome::Later { fault: Fault::RateLimit(wait), .. } => {
            assert!(matches!(status, 400 | 429));
            assert_eq!(*wait, retry_after);
        }
        Outcome::Doubtful { .. } => assert!(matches!(status, 201 | 408 | 425 | 500..)),
        Outcome::Never { .. } => assert!((400..500).contains(&status) && status != 429, "{status}"),
        Outcome::Config { .. } => assert!(!matches!(status, 201 | 429 | 500..)),
        Outcome::Later { .. } => panic!("{status}: {outcome:?}"),
    }
    // A body that could not be read is no proof of anything.
    let unread = judge(&Answer {
        status,
        retry_after,
        body: Err("cut".to_owned()),
        display: Redactor::default(),
    });
    assert!(!matches!(unread, Outcome::Delivered { .. }));
});
