//! Answers on their way: whole, or wrong in how they come.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bastion_tests::link::orders::Act;
use bastion_tests::random::Random;
use bastion_tests::wait::pause;

use crate::answers::{Answer, Body};
use crate::http::Request;
use crate::stream::Stream;

/// Bytes handed to the system at once.
const AT_ONCE: usize = 256 * 1024;

/// Sends an answer as the order has it; whether the connection goes on. `sent` is counted up while
/// it goes.
pub fn answer(
    stream: &mut Stream,
    request: &Request,
    answer: &Answer,
    act: Option<&Act>,
    sent: &mut u64,
) -> io::Result<bool> {
    let endless = act == Some(&Act::Endless);
    let cut = match act {
        Some(Act::Truncate(after) | Act::Reset(after)) => Some(*after),
        _ => None,
    };
    let pace = match act {
        Some(Act::Pace(bytes)) => Some(*bytes),
        _ => None,
    };
    // What has no length ends with the connection, to a client that knows no chunks.
    let chunked = matches!(answer.body, Body::Chunks(_)) && request.is_http11 && !endless;
    let has_end = chunked || !matches!(answer.body, Body::Chunks(_)) && !endless;
    let goes_on = has_end && request.keeps_alive && cut.is_none();
    let mut out = Paced { stream, pace, begun: Instant::now(), sent: 0 };
    out.write(head(answer, chunked, has_end, goes_on).as_bytes())?;
    if request.method == "HEAD" {
        return Ok(goes_on);
    }
    let length = match answer.body {
        _ if endless => u64::MAX,
        Body::Text(ref text) => text.len() as u64,
        Body::Noise(length) | Body::Chunks(length) => length,
    };
    let length = cut.map_or(length, |cut| cut.min(length));
    if let (Body::Text(text), false) = (&answer.body, endless) {
        let part = &text.as_bytes()[..usize::try_from(length).unwrap_or(text.len())];
        out.write(part)?;
        *sent += part.len() as u64;
    } else {
        noise_of(&mut out, length, chunked, sent)?;
    }
    if chunked && cut.is_none() {
        out.write(b"0\r\n\r\n")?;
    }
    stream.flush()?;
    if matches!(act, Some(Act::Reset(_))) {
        stream.reset()?;
        // Without another word: TLS would say that this is the end.
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(goes_on)
}

fn head(answer: &Answer, chunked: bool, has_end: bool, goes_on: bool) -> String {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, answer.phrase());
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    match answer.body {
        _ if chunked => head += "Transfer-Encoding: chunked\r\n",
        Body::Text(ref text) if has_end => head += &format!("Content-Length: {}\r\n", text.len()),
        Body::Noise(length) if has_end => head += &format!("Content-Length: {length}\r\n"),
        _ => {}
    }
    head += if goes_on { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" };
    head
}

/// Writes bytes that nothing on the way can make fewer.
fn noise_of(out: &mut Paced<'_>, length: u64, chunked: bool, sent: &mut u64) -> io::Result<()> {
    let noise = noise();
    let mut left = length;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(noise.len());
        if chunked {
            out.write(format!("{size:x}\r\n").as_bytes())?;
        }
        for part in noise[..size].chunks(AT_ONCE) {
            out.write(part)?;
            *sent += part.len() as u64;
        }
        if chunked {
            out.write(b"\r\n")?;
        }
        left -= size as u64;
    }
    Ok(())
}

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut random = Random::seeded(80);
        (0..1 << 17).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect()
    })
}

/// A stream that is written no faster than is wanted.
struct Paced<'a> {
    stream: &'a mut Stream,
    /// Bytes a second.
    pace: Option<u32>,
    begun: Instant,
    sent: u32,
}

impl Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(pace) = self.pace else { return self.stream.write_all(bytes) };
        // Fifty steps a second, of one byte at least.
        let step = usize::try_from(pace / 50).unwrap_or(1).max(1);
        for part in bytes.chunks(step) {
            let due = self.begun + Duration::from_secs_f64(f64::from(self.sent) / f64::from(pace));
            pause(due.saturating_duration_since(Instant::now()));
            self.stream.write_all(part)?;
            self.stream.flush()?;
            self.sent = self.sent.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }
}
