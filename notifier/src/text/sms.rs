//! The short message: one line, in GSM-7, in as many segments as the channel pays for.
//!
//! ```text
//! jump: login alice from 203.0.113.9, key alice laptop, 22 Nov 02:14:07 UTC #k7f3q2
//! jump: NEW login alice from 198.51.100.7, key SHA256:Cn8jgNmT.., 22 Nov 02:14:07 UTC #k7f3q2
//! jump: login bob from ::1 via tunnel, by password, 22 Nov 02:14:07 UTC, told 41 min late #k7f3q2
//! home: login alice via jump: alice, key laptop, from 198.51.100.7; same key here, 22 Nov 02:14:07 UTC #k7f3q2
//! jump: CRITICAL: disk is full 22 Nov 02:14 UTC #k7f3q2
//! ```
//!
//! The address, the time, the lateness and the id are never cut. What is too long gives way
//! in the order of [`STEPS`].

use super::{Alphabet, Context, Limits, day, digest, gsm7, headline};
use crate::event::{Event, What};
use crate::message::Message;

/// What gives way, in this order, each down to its limit (in septets, quotes included) before
/// the next is touched: first the hint, which [`compose`] drops, then these.
///
/// No name keeps more than 32 at another's cost, the most that useradd(8) takes for a user;
/// after that the key's name goes before the user's, and the user's before the host's. At
/// the lowest limits the longest login there can be, from an IPv6 address in full, by a host's
/// certificate that is new and hundreds of methods more, told years late by some wrong clock, fits 160.
const STEPS: [(Limit, usize); 19] = [
    (|limits| &mut limits.user, 32),
    (|limits| &mut limits.source, 32),
    (|limits| &mut limits.host, 32),
    (|limits| &mut limits.went_on, 32),
    (|limits| &mut limits.text, 100),
    (|limits| &mut limits.key, 17),
    (|limits| &mut limits.factors, 1),
    (|limits| &mut limits.key, 10),
    (|limits| &mut limits.there, 0),
    (|limits| &mut limits.went_on, 10),
    (|limits| &mut limits.condition, 40),
    (|limits| &mut limits.user, 6),
    (|limits| &mut limits.source, 6),
    (|limits| &mut limits.host, 6),
    (|limits| &mut limits.text, 6),
    (|limits| &mut limits.key, 7),
    (|limits| &mut limits.condition, 6),
    (|limits| &mut limits.here, 0),
    (|limits| &mut limits.went_on, 0),
];

/// Points at one limit among them.
type Limit = fn(&mut Limits) -> &mut usize;

/// Most methods told by name; sshd's administrators ask for two, seldom for three.
const MAX_FACTORS: usize = 3;

/// `message` as a short message of at most `max_segments` segments (0 counts as 1).
///
/// Its hint is the first thing to go when room is short; for how many have expired, names make room,
/// as it is told once. The answer is GSM-7 throughout. The
/// time is that of this machine's zone.
#[must_use]
pub fn sms(message: &Message, max_segments: usize) -> String {
    let context = Context::of(message);
    if message.more.is_empty() {
        let extra = message.extra();
        let must = extra.as_deref().filter(|_| message.expired > 0);
        let told = must.map(|extra| Line { event: &message.event, context: &context, extra });
        told.map(|line| line.squeezed(max_segments))
            .filter(|text| gsm7::segments(text) <= max_segments.max(1))
            .unwrap_or_else(|| compose(&message.event, extra.as_deref(), &context, max_segments))
    } else {
        let events: Vec<&Event> = message.events().collect();
        let fits = |text: &str| gsm7::segments(text) <= max_segments.max(1);
        digest::line(&events, message.extra().as_deref(), &context, &Alphabet::GSM7, fits)
    }
}

/// A single event as [`sms`], in the zone of `context`, and `extra` where there is room for it.
pub(super) fn compose(
    event: &Event,
    extra: Option<&str>,
    context: &Context,
    max_segments: usize,
) -> String {
    let line = Line { event, context, extra: "" };
    if let Some(extra) = extra {
        let text = Line { extra, ..line }.within(&Limits::of(max_segments));
        if gsm7::segments(&text) <= max_segments.max(1) {
            return text;
        }
    }
    line.squeezed(max_segments)
}

/// What one line tells.
#[derive(Clone, Copy)]
struct Line<'a> {
    event: &'a Event,
    context: &'a Context<'a>,
    /// What stands in brackets before the id; empty for nothing.
    extra: &'a str,
}

impl Limits {
    /// As much room for each piece as there is for the whole.
    fn of(max_segments: usize) -> Self {
        let room = gsm7::capacity(max_segments.max(1));
        Self {
            host: room,
            user: room,
            condition: room,
            source: room,
            key: room,
            factors: MAX_FACTORS,
            text: room,
            there: 1,
            here: 1,
            went_on: room,
        }
    }
}

impl Line<'_> {
    fn within(&self, limits: &Limits) -> String {
        let Self { event, context, extra } = self;
        let head = headline(event, context, &Alphabet::GSM7, limits);
        let extra = match *extra {
            "" => String::new(),
            extra => format!(" ({})", Alphabet::GSM7.clean(extra.as_bytes())),
        };
        format!("{head}{}{extra} #{}", tail(event, context), event.id)
    }

    /// With what is too long made shorter, in the order of [`STEPS`].
    fn squeezed(&self, max_segments: usize) -> String {
        let fits = |limits: &Limits| gsm7::segments(&self.within(limits)) <= max_segments.max(1);
        let mut limits = Limits::of(max_segments);
        if fits(&limits) {
            return self.within(&limits);
        }
        for (limit, least) in STEPS {
            let most = std::mem::replace(limit(&mut limits), least);
            if !fits(&limits) {
                continue;
            }
            // The least fits and the most does not: halve the space between.
            let (mut least, mut most) = (least, most);
            while most.saturating_sub(least) > 1 {
                let middle = usize::midpoint(least, most);
                *limit(&mut limits) = middle;
                if fits(&limits) {
                    least = middle;
                } else {
                    most = middle;
                }
            }
            *limit(&mut limits) = least;
            break;
        }
        self.within(&limits)
    }
}

/// When it was, and how late it is told.
fn tail(event: &Event, context: &Context) -> String {
    let time = match event.what {
        What::Login(_) => context.moment(&event.at, |local| {
            format!("{} {:02}:{:02}:{:02}", day(local), local.hour, local.minute, local.second)
        }),
        _ => context.moment(&event.at, |local| {
            format!("{} {:02}:{:02}", day(local), local.hour, local.minute)
        }),
    };
    let comma = if matches!(event.what, What::Login(_)) { "," } else { "" };
    let late =
        context.lateness(&event.at).map(|late| format!(", told {late} late")).unwrap_or_default();
    format!("{comma} {time}{late}")
}
