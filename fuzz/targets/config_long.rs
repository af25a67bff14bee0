//! A configuration file of the largest size that is read, made of one piece again and again:
//! what takes the parser long is found with few bytes. The PAM module reads the file in each
//! login, so "long" is a bound of its own.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::{Corpus, fuzz_target};
use notifier::config::{Document, MAX_BYTES, host, login};

/// Most time for the module's part, with the fuzzer's instrumentation (a factor of two to four)
/// and another process on the same core.
const MOST: Duration = Duration::from_secs(1);

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    // The first line stands once, the rest is repeated.
    let (head, piece) = text.split_once('\n').unwrap_or(("", text));
    if piece.is_empty() {
        return Corpus::Reject;
    }
    let room = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    let room = room.saturating_sub(head.len() + 1);
    let text = format!("{head}\n{}", piece.repeat(room / piece.len()));
    let begun = Instant::now();
    let mut document = Document::parse(&text);
    let _ = host::read(&mut document);
    let _ = login::read(&mut document);
    let findings = document.findings_so_far().len();
    let took = begun.elapsed();
    assert!(took < MOST, "{took:?} for {} bytes with {findings} findings", text.len());
    Corpus::Keep
});
