//! `SSH_AUTH_INFO_0`, whose keys are bytes of the peer's.
//!
//! The first byte says how to read the others: as the variable's value, or as the blob of one
//! key, which is put into base64 here (a fuzzer does not find its way through base64).
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use notifier::clock::{BootStamp, Stamp};
use notifier::event::{AlertId, Event, FORMAT, Factor, Login, Severity, What};
use notifier::foreign::Foreign;
use notifier::known_good::parse_fingerprint;
use notifier::spool::MAX_FILE;
use notifier::spool::files::parse_event;

// By path: the module is a cdylib alone, which nothing can depend on.
#[path = "../../pam_bastion/src/auth_info.rs"]
mod auth_info;
use auth_info::{MAX_FACTORS, parse};

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let info = match mode {
        b'k' => key_line(rest),
        _ => rest.to_vec(),
    };
    let factors = parse(&info);
    assert!(factors.len() <= MAX_FACTORS);
    let lines = info.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b' ');
    assert_eq!(factors.len(), lines.clone().count().min(MAX_FACTORS));
    for (factor, line) in factors.iter().zip(lines) {
        check(factor, line);
    }
    fits_the_drop_file(factors);
});

/// `publickey TYPE BASE64`, the type being the one in the blob.
fn key_line(blob: &[u8]) -> Vec<u8> {
    let name = string(blob).map_or(&b"ssh-ed25519"[..], |(name, _)| name);
    [b"publickey ", name, b" ", STANDARD.encode(blob).as_bytes()].concat()
}

/// A string of RFC 4251, and what follows it.
fn string(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

fn check(factor: &Factor, line: &[u8]) {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    assert_eq!(factor.method, Foreign::new(words[0]));
    let Some(key) = &factor.key else { return };
    assert!(matches!(words[0], b"publickey" | b"hostbased"));
    assert_eq!(key.algorithm, Foreign::new(words[1]));
    assert!(parse_fingerprint(&key.fingerprint).is_ok(), "{key:?}");
    assert_eq!(key.name, None);
    // The blob says its own type, and is strings to the end: else it is no key.
    let blob = STANDARD.decode(words[2]).expect("a key whose base64 does not decode");
    assert_eq!(string(&blob).expect("a key without a type").0, words[1]);
    let certified = words[1].ends_with(b"-cert-v01@openssh.com");
    assert_eq!(key.certificate.is_some(), certified);
    if let Some(certificate) = &key.certificate {
        assert!(parse_fingerprint(&certificate.ca).is_ok());
    } else {
        let mut rest = &blob[..];
        while !rest.is_empty() {
            rest = string(rest).expect("a key that is cut").1;
        }
    }
}

/// Whatever the peer sends, the alert about it can be told: it fits a drop file, with the
/// longest of everything else beside it, and reads back as it was.
fn fits_the_drop_file(auth: Vec<Factor>) {
    let worst = || Foreign::new(&[1; Foreign::MAX]);
    let what = What::Login(Login {
        user: worst(),
        service: Foreign::from("sshd"),
        source: None,
        source_name: Some(worst()),
        port: Some(u16::MAX),
        server: Some(([u16::MAX; 8], u16::MAX).into()),
        auth,
        reason: "not from a known-good place".to_owned(),
        pid: u32::MAX,
    });
    let boot = BootStamp { id: "5f0c4a3e-8d5b-4c1a-9f0e-3d2b1a0c9f8e".to_owned(), ms: u64::MAX };
    let event = Event {
        version: FORMAT,
        id: AlertId::from_bits(0),
        at: Stamp { unix_ms: u64::MAX, boot: Some(boot) },
        host: Foreign::from("jump"),
        severity: Severity::Warning,
        what,
    };
    let json = serde_json::to_vec(&event).expect("an event is JSON");
    assert!(json.len() as u64 <= MAX_FILE, "an alert of {} bytes is never told", json.len());
    assert_eq!(parse_event(&json).expect("our own event"), event);
}
