//! What the targets share: events made from a fuzzer's bytes, and what must hold for every
//! text that is made from an event. The oracles are written anew from the standards, on
//! purpose: a mistake copied from the product would be found nowhere.
//!
//! A target is one file in `targets/`, one `[[bin]]` in `Cargo.toml`, and a folder of small
//! real examples in `seeds/`.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use notifier::clock::{BootStamp, Stamp};
use notifier::event::{
    AlertId, Certificate, Condition, ConditionFault, Event, FORMAT, Factor, Key, Login, Note, Report, Severity,
    Status, Tally, Unit, What,
};
use notifier::foreign::Foreign;
use notifier::message::{Marks, Message, New};
use notifier::text;

/// Any event that a drop file can hold.
///
/// # Errors
///
/// When the fuzzer's bytes are used up in a place where that matters.
pub fn event(u: &mut Unstructured<'_>) -> Result<Event> {
    let what = match u.int_in_range(0..=7)? {
        0 => What::Condition(Condition {
            name: foreign(u)?,
            status: *u.choose(&[Status::Down, Status::Up])?,
            text: u.arbitrary()?,
            fault: *u.choose(&[
                ConditionFault::Down,
                ConditionFault::Low,
                ConditionFault::High,
                ConditionFault::Wrong,
            ])?,
        }),
        1 => What::Tally(tally(u)?),
        2 => What::Report(Report {
            since: stamp(u)?,
            logins: u.arbitrary()?,
            others: u.arbitrary()?,
            lost: u.arbitrary()?,
            late_s: u.arbitrary()?,
            allowances: u.arbitrary()?,
            tallies: (0..u.int_in_range(0..=4)?).map(|_| tally(u)).collect::<Result<_>>()?,
        }),
        3 | 4 => What::Note(Note { text: u.arbitrary()? }),
        _ => What::Login(login(u)?),
    };
    Ok(Event {
        version: FORMAT,
        id: AlertId::from_bits(u.arbitrary()?),
        at: stamp(u)?,
        host: foreign(u)?,
        severity: *u.choose(&Severity::ALL)?,
        what,
    })
}

/// Any moment.
///
/// # Errors
///
/// As [`event`].
pub fn stamp(u: &mut Unstructured<'_>) -> Result<Stamp> {
    // Mostly near to now, where lateness is told in each of its units.
    let unix_ms = match u.arbitrary::<u8>()? {
        0 => u.arbitrary()?,
        _ => 1_790_000_000_000 + u64::from(u.arbitrary::<u32>()?),
    };
    let boot = match u.arbitrary()? {
        true => Some(BootStamp { id: u.choose(&["a", "b"])?.to_string(), ms: u.arbitrary()? }),
        false => None,
    };
    Ok(Stamp { unix_ms, boot })
}

fn tally(u: &mut Unstructured<'_>) -> Result<Tally> {
    let unit = *u.choose(&[Unit::Times, Unit::Seconds])?;
    Ok(Tally { name: foreign(u)?, good: u.arbitrary()?, all: u.arbitrary()?, unit })
}

fn login(u: &mut Unstructured<'_>) -> Result<Login> {
    let source = match u.int_in_range(0..=3)? {
        0 => None,
        1 => Some(IpAddr::from(u.arbitrary::<[u8; 4]>()?)),
        2 => Some(IpAddr::from(u.arbitrary::<[u8; 16]>()?)),
        _ => Some(IpAddr::from([127, 0, 0, 1])),
    };
    let mut auth = Vec::new();
    for _ in 0..u.int_in_range(0..=12)? {
        auth.push(factor(u)?);
    }
    Ok(Login {
        user: foreign(u)?,
        service: foreign(u)?,
        source,
        source_name: optional(u, foreign)?,
        port: u.arbitrary()?,
        server: u.arbitrary::<Option<([u8; 4], u16)>>()?.map(Into::into),
        auth,
        reason: u.arbitrary()?,
        pid: u.arbitrary()?,
    })
}

fn factor(u: &mut Unstructured<'_>) -> Result<Factor> {
    let method = match u.int_in_range(0..=3)? {
        0 => Foreign::from("publickey"),
        1 => Foreign::from("hostbased"),
        2 => Foreign::from("keyboard-interactive/pam"),
        _ => foreign(u)?,
    };
    let key = optional(u, |u| {
        let certificate = optional(u, |u| {
            Ok(Certificate { key_id: foreign(u)?, serial: u.arbitrary()?, ca: u.arbitrary()? })
        });
        Ok(Key {
            algorithm: foreign(u)?,
            fingerprint: u.arbitrary()?,
            name: optional(u, foreign)?,
            certificate: certificate?,
        })
    });
    Ok(Factor { method, key: key? })
}

fn foreign(u: &mut Unstructured<'_>) -> Result<Foreign> {
    Ok(Foreign::new(&u.arbitrary::<Vec<u8>>()?))
}

fn optional<'u, T>(
    u: &mut Unstructured<'u>,
    make: impl FnOnce(&mut Unstructured<'u>) -> Result<T>,
) -> Result<Option<T>> {
    if u.arbitrary()? { make(u).map(Some) } else { Ok(None) }
}

/// Makes every text there is from `event` and checks what each promises.
///
/// # Panics
///
/// When one does not hold: that is the finding.
pub fn check_texts(event: &Event, extra: Option<&str>, now: &Stamp) {
    let all = Marks::from([(event.id, New { network: true, key: true })]);
    for new in [Marks::new(), all] {
        let is_new = !new.is_empty() && matches!(event.what, What::Login(_));
        let message = Message {
            hint: extra.map(str::to_owned),
            new,
            ..Message::new(event.clone(), now.clone(), "+15550101")
        };
        check_message(&message, is_new);
    }
}

fn check_message(message: &Message, is_new: bool) {
    let event = &message.event;
    let end = format!("#{}", event.id);
    for most in [0, 1, 2, 10] {
        let sms = text::sms(message, most);
        let segments = gsm7_segments(&sms);
        let segments = segments.unwrap_or_else(|| panic!("not GSM-7: {sms:?}"));
        assert!(segments <= most.max(1), "{segments} segments, {most} allowed: {sms:?}");
        assert!(sms.ends_with(&end), "the id is not at the end: {sms:?}");
        assert!(!is_new || sms.contains("NEW login "), "the mark is cut: {sms:?}");
        assert!(!sms.contains(['\n', '\r', '\u{c}']), "more than one line: {sms:?}");
        if let What::Login(Login { source: Some(ip), .. }) = &event.what {
            assert!(sms.contains(&format!(" from {ip}")), "the address is cut: {sms:?}");
        }
    }
    let subject = text::subject(message);
    assert!(subject.ends_with(&end), "{subject:?}");
    assert!(!subject.contains(hides), "{subject:?}");
    assert!(subject.len() <= 989, "longer than a mail header's line: {}", subject.len());
    let body = text::body(message);
    assert!(body.starts_with(&format!("id: {}\n", event.id)), "{body:?}");
    assert!(body.ends_with('\n') && !body.contains(|c| c != '\n' && hides(c)), "{body:?}");
}

/// Whether `c` can hide, reorder or forge text: controls (Unicode category Cc), line and
/// paragraph separators, bidirectional marks and isolates, and characters without width.
#[must_use]
pub fn hides(c: char) -> bool {
    let code = u32::from(c);
    code < 0x20
        || (0x7f..=0x9f).contains(&code)
        || matches!(code, 0xad | 0x61c | 0x180e | 0xfeff)
        || matches!(code, 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f)
}

/// The default alphabet of 3GPP TS 23.038, 6.2.1, without the escape.
const GSM7: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// Its extension table, 6.2.1.1: an escape and a character.
const GSM7_EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Segments of a message in GSM-7; `None` when a character is not in it.
#[must_use]
pub fn gsm7_segments(text: &str) -> Option<usize> {
    let (mut all, mut segments, mut used) = (0, 1, 0);
    for c in text.chars() {
        let septets = match c {
            _ if GSM7.contains(c) => 1,
            _ if GSM7_EXTENSION.contains(c) => 2,
            _ => return None,
        };
        all += septets;
        // An escape and its character stay together.
        if used + septets > 153 {
            (segments, used) = (segments + 1, 0);
        }
        used += septets;
    }
    Some(if all <= 160 { 1 } else { segments })
}
