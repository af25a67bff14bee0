//! Asks providers, one after the other, until it is decided whether the line has what is asked for.

use std::time::{Duration, Instant};

use ureq::http::HeaderMap;

use crate::decide::{self, Answer, Decision, Next, Question, Tried};
use crate::endpoint::{Endpoint, Endpoints};
use crate::http::Client;
use crate::provider::Request;
use crate::record::{self, Bound};
use crate::steady::Steady;
use crate::transfer::{self, Job, Plan, Went};

/// Which way is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the provider to us.
    Download,
    /// From us to the provider.
    Upload,
}

impl Way {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }
}

/// What is asked of the line.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Which way.
    pub way: Way,
    /// Bytes a second of TCP payload, at least.
    pub threshold: f64,
    /// How long the first transfer is to go on though it has passed.
    pub at_least: Duration,
    /// When no further transfer is begun.
    pub until: Instant,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The answer.
    pub answer: Answer,
    /// Bits a second, and what that says of the line; nothing where nothing was transferred.
    pub rate: Option<(f64, Bound)>,
    /// Who said so.
    pub server: Option<record::Server>,
    /// Whether what decided was a longer transfer.
    pub was_long: bool,
    /// Whether the line was fast enough at first, and then was not.
    pub fell: bool,
    /// What there is to tell besides: who could not be asked, and why.
    pub notes: Vec<String>,
}

/// Time in which what is on its way may vary, besides the round trip: queues and jitter.
const SLACK: Duration = Duration::from_millis(50);

/// How long a transfer goes on that confirms what is behind a token bucket: between the two the bucket has been
/// filled for some tenths of a second.
const AGAIN: Duration = Duration::from_secs(3);

/// What may be on its way is so much more than what has to be: flows do not share evenly.
const ROOM: f64 = 1.5;

/// Bytes that may be on their way in a flow at least: ten segments, with which it begins (RFC 6928).
const LEAST_ROOM: f64 = 16_384.0;

/// Bytes with which a flow begins (RFC 6928); the next begins when the threshold's rate would have carried them.
const FIRST_WINDOW: f64 = 14_480.0;

/// But not later than that.
const MOST_APART: Duration = Duration::from_millis(40);

/// Bytes besides the payload of a transfer, at most: TLS, heads of requests and answers.
const OVERHEAD: u64 = 16_384;

/// Decides, and asks `spend` before each transfer whether so many bytes may be used.
pub fn decide(
    client: &Client,
    endpoints: &mut Endpoints<'_>,
    wanted: &Wanted,
    spend: &mut dyn FnMut(u64) -> Result<(), String>,
) -> Found {
    let mut tried: Vec<Tried> = Vec::new();
    let mut notes = Vec::new();
    let mut server = None;
    let (mut would_pass, mut was_long) = (false, false);
    let answer = loop {
        if Instant::now() >= wanted.until {
            notes.push("it took too long".to_owned());
            break Answer::Open;
        }
        let (flows, provider) = match decide::next(&tried, endpoints.len(), wanted.threshold) {
            Next::Decided(answer) => break answer,
            Next::Try { flows, provider } => (flows, provider),
        };
        let went = match endpoints.get(client, provider) {
            Err(why) => Went::Refused(vec![why]),
            Ok(endpoint) if !endpoint.has(wanted.way) => {
                Went::Refused(vec!["it takes no uploads".into()])
            }
            Ok(endpoint) => {
                let (question, plan) = plan(wanted, &endpoint, flows, &tried, would_pass);
                let mut decision = Decision::new(question);
                if let Err(why) = spend(decision.most_bytes() + OVERHEAD * flows as u64) {
                    notes.push(why);
                    break Answer::Open;
                }
                server = Some(endpoint.server.clone());
                let went = one(client, &endpoint, wanted.way, &plan, &mut decision);
                would_pass |= decision.would_pass();
                was_long = !question.at_least.is_zero();
                went
            }
        };
        let answer = match went {
            Went::Told(answer) => Some(answer),
            Went::Refused(reasons) => {
                let name = endpoints.name(provider);
                notes.extend(reasons.into_iter().map(|why| format!("{name}: {why}")));
                None
            }
        };
        if answer == Some(Answer::Stalled) {
            notes.push(format!("{}: it stopped sending", endpoints.name(provider)));
        }
        tried.push(Tried { flows, provider, answer });
    };
    let fell = would_pass && matches!(answer, Answer::HasNot(_));
    let rate = if fell { last(&tried) } else { best(&tried) };
    Found { answer, rate, server, was_long, fell, notes }
}

/// The rate to tell: what the line was seen to have at least, else the surest of what it has about.
fn best(tried: &[Tried]) -> Option<(f64, Bound)> {
    let unsure = |(steady, bound): &(Steady, Bound)| match bound {
        Bound::AtLeast => 0.0,
        Bound::About => steady.within / steady.rate,
    };
    shown(tried).min_by(|one, other| unsure(one).total_cmp(&unsure(other))).map(rate)
}

/// The rate of the last transfer that has shown any.
fn last(tried: &[Tried]) -> Option<(f64, Bound)> {
    shown(tried).last().map(rate)
}

/// In bits a second.
fn rate((steady, bound): (Steady, Bound)) -> (f64, Bound) {
    ((steady.rate * 8.0).round(), bound)
}

fn shown(tried: &[Tried]) -> impl Iterator<Item = (Steady, Bound)> {
    tried.iter().filter_map(|one| match one.answer? {
        Answer::Has(steady) => Some((steady, Bound::AtLeast)),
        Answer::HasNot(steady) | Answer::Near(Some(steady)) => Some((steady, Bound::About)),
        Answer::Open | Answer::Near(None) | Answer::Stalled => None,
    })
}

fn plan(
    wanted: &Wanted,
    endpoint: &Endpoint,
    flows: usize,
    tried: &[Tried],
    fell: bool,
) -> (Question, Plan) {
    let round_trip = endpoint.round_trip;
    let is_first = tried.iter().all(|one| one.answer.is_none());
    let at_least = match (is_first, fell) {
        (true, _) => wanted.at_least,
        (false, true) => AGAIN,
        (false, false) => Duration::ZERO,
    };
    let question = Question { threshold: wanted.threshold, round_trip, is_first, at_least };
    let pace = decide::PACE * wanted.threshold;
    #[expect(clippy::cast_precision_loss, reason = "some dozens")]
    let each = pace * (round_trip + SLACK).as_secs_f64() * ROOM / flows as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 16 KiB")]
    let limit = each.max(LEAST_ROOM) as usize;
    let limit = Some(limit).filter(|limit| *limit <= most_buffer(wanted.way));
    let apart = FIRST_WINDOW / wanted.threshold;
    let apart = Duration::from_secs_f64(apart).min(MOST_APART);
    (question, Plan { flows, pace: Some(pace), apart, limit })
}

/// The largest buffer that a program may ask for, in bytes (socket(7)); beyond it the kernel's own
/// choice is larger.
fn most_buffer(way: Way) -> usize {
    let name = match way {
        Way::Download => "rmem_max",
        Way::Upload => "wmem_max",
    };
    let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn one(
    client: &Client,
    endpoint: &Endpoint,
    way: Way,
    plan: &Plan,
    decision: &mut Decision,
) -> Went<Answer> {
    let bytes = decision.most_bytes();
    let request = || endpoint.request(way, bytes);
    let check =
        |asked: &Request, status, headers: &HeaderMap| endpoint.check(way, asked, status, headers);
    let job = Job { request: &request, is_upload: way == Way::Upload, check: &check };
    transfer::run(client, &job, plan, |sample| match decision.learn(sample) {
        Answer::Open => None,
        answer => Some(answer),
    })
}
