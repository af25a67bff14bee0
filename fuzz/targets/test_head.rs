//! The head of an answer to a download: the status in two bytes, then headers, a line each.
#![no_main]

use bastion_fuzz::hides;
use libfuzzer_sys::fuzz_target;
use linkprobe::provider::{Kind, Refusal, check_download_reply, check_reply};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

const ASKED: u64 = 1_000_000;

fuzz_target!(|bytes: &[u8]| {
    let Some((status, rest)) = bytes.split_first_chunk::<2>() else { return };
    let status = u16::from_be_bytes(*status) % 1000;
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n').take(20) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let pair = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = pair {
            headers.append(name, value);
        }
    }
    let asked = Kind::Cloudflare.protocol().download("https://speed.example.net", ASKED, 7);
    let get = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_ascii_lowercase());
    match check_download_reply(&asked, status, &headers) {
        Ok(()) => {
            assert!((200..300).contains(&status));
            assert!(
                !get("content-type").is_some_and(|kind| kind
                    .split(';')
                    .next()
                    .unwrap()
                    .contains("html"))
            );
            let length = get("content-length").and_then(|length| length.trim().parse::<u64>().ok());
            assert!(length.is_none_or(|length| length >= ASKED));
            assert!(length.is_some() || get("content-type").is_some());
        }
        Err(refusal) => {
            let words = refusal.to_string();
            assert!(!words.contains(hides) && words.chars().count() < 300, "{words:?}");
            match refusal {
                Refusal::Refused { status: said, retry_after }
                | Refusal::Broken { status: said, retry_after } => {
                    assert_eq!(said, status);
                    assert!(retry_after.is_none_or(|wait| wait.as_secs() <= 24 * 3600));
                }
                Refusal::NotThere { status: said } => assert_eq!(said, status),
                Refusal::Moved { to } => {
                    assert!((300..400).contains(&status));
                    assert!(
                        to.starts_with('/')
                            || to.to_ascii_lowercase().contains("://speed.example.net"),
                        "{to:?}"
                    );
                }
                Refusal::TooSmall { has, asked } => assert!(has < asked && asked == ASKED),
                Refusal::Portal { .. } | Refusal::Strange { .. } => {}
            }
        }
    }
    // What is no answer to an upload is none to a download.
    if let Err(refusal) = check_reply(&asked, status, &headers) {
        assert_eq!(check_download_reply(&asked, status, &headers), Err(refusal));
    }
});
