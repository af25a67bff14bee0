//! A transfer with several flows at once, watched from the kernel's side as it goes on.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::{HeaderMap, Response};

use crate::http::Client;
use crate::pace::Pace;
use crate::provider::Request;
use crate::steady::Sample;

/// How often is looked at what has arrived.
const EVERY: Duration = Duration::from_millis(5);

/// Longest time until the first byte of a body.
const FIRST: Duration = Duration::from_secs(8);

/// A flow gives up after so many bodies that broke off.
const MOST_BROKEN: usize = 3;

/// The least that a body has, in bytes, where more was asked for: below it there is no test.
const LEAST_BODY: u64 = 64 * 1024;

/// A thread that only reads needs no more.
const STACK: usize = 256 * 1024;

/// What one flow asks for, again and again.
pub struct Job<'a> {
    /// What; another one each time, so that nobody answers from a cache.
    pub request: &'a (dyn Fn() -> Request + Sync),
    /// Whether bytes are sent, and not received.
    pub is_upload: bool,
    /// Whether the head of an answer is that of a test; if not, why, in words.
    pub check: &'a (dyn Fn(&Request, u16, &HeaderMap) -> Result<(), String> + Sync),
}

/// How a transfer is to go.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// So many flows.
    pub flows: usize,
    /// Bytes a second that are taken at most.
    pub pace: Option<f64>,
    /// How long each flow begins after the one before: first windows that come together overrun a small queue, and
    /// it takes a second until TCP has got over it.
    pub apart: Duration,
    /// Bytes that may be on their way in one flow; `None` leaves it to the kernel.
    pub limit: Option<usize>,
}

/// How a transfer went.
#[derive(Debug)]
pub enum Went<T> {
    /// It was ended for this.
    Told(T),
    /// The provider gave nothing to be judged, for these reasons: each once.
    Refused(Vec<String>),
}

/// What the flows share.
struct Shared<'a> {
    client: &'a Client,
    job: &'a Job<'a>,
    pace: Option<Pace>,
    stop: AtomicBool,
    /// Whether the first body has begun.
    begun: AtomicBool,
    /// Flows that have not given up.
    left: AtomicUsize,
    why: Mutex<Vec<String>>,
}

/// Runs a transfer until `judge` says something, which is asked each 5 ms.
pub fn run<T>(
    client: &Client,
    job: &Job<'_>,
    plan: &Plan,
    mut judge: impl FnMut(Sample) -> Option<T>,
) -> Went<T> {
    let shared = Shared {
        client,
        job,
        pace: plan.pace.map(Pace::new),
        stop: AtomicBool::new(false),
        begun: AtomicBool::new(false),
        left: AtomicUsize::new(plan.flows),
        why: Mutex::default(),
    };
    client.wire().begin(plan.limit);
    let told = thread::scope(|scope| {
        let shared = &shared;
        let mut after = Duration::ZERO;
        for _ in 0..plan.flows {
            let flow = thread::Builder::new().stack_size(STACK);
            let begins = move || {
                thread::sleep(after);
                shared.flow();
            };
            after += plan.apart;
            if let Err(error) = flow.spawn_scoped(scope, begins) {
                shared.gives_up(format!("no thread for it: {error}"));
            }
        }
        let told = shared.look(&mut judge);
        shared.stop.store(true, Ordering::Relaxed);
        client.wire().end();
        told
    });
    client.wire().begin(None);
    match told {
        Some(told) => Went::Told(told),
        None => Went::Refused(shared.why.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

impl Shared<'_> {
    /// Looks at what arrives until that is enough, or nothing more will.
    fn look<T>(&self, judge: &mut impl FnMut(Sample) -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        while !self.begun.load(Ordering::Acquire) {
            if self.left.load(Ordering::Relaxed) == 0 || begun.elapsed() > FIRST {
                return None;
            }
            thread::sleep(EVERY);
        }
        let (begun, base) = (Instant::now(), self.client.wire().payload());
        let mut arrived = Arrived::default();
        loop {
            let payload = self.client.wire().payload();
            let bytes = if self.job.is_upload {
                payload.acked.saturating_sub(base.acked)
            } else {
                let segments = payload.segments.saturating_sub(base.segments);
                arrived.bytes(segments, payload.received.saturating_sub(base.received))
            };
            if let Some(told) = judge(Sample { at: begun.elapsed(), bytes }) {
                return Some(told);
            }
            if self.left.load(Ordering::Relaxed) == 0 {
                return None;
            }
            thread::sleep(EVERY);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One flow, until it is stopped or gives up.
    fn flow(&self) {
        let mut broken = 0;
        while !self.stopped() {
            match self.once() {
                Ok(bytes) if bytes >= LEAST_BODY => broken = 0,
                Ok(bytes) => {
                    return self.gives_up(format!("sent {bytes} bytes, too little for a test"));
                }
                Err(Broken::Off(why)) => {
                    broken += 1;
                    if broken >= MOST_BROKEN {
                        return self.gives_up(why);
                    }
                }
                Err(Broken::Refused(why)) => return self.gives_up(why),
            }
        }
    }

    fn gives_up(&self, reason: String) {
        if self.stopped() {
            return;
        }
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if !why.contains(&reason) {
            why.push(reason);
        }
        drop(why);
        self.left.fetch_sub(1, Ordering::Relaxed);
    }

    /// One body; answers its bytes.
    fn once(&self) -> Result<u64, Broken> {
        let request = (self.job.request)();
        let (url, headers) = (&request.url, &request.headers);
        if self.job.is_upload {
            let mut body = Sent { shared: self, left: request.bytes };
            let response = self.client.post(url, headers, &mut body, request.bytes);
            let sent = request.bytes - body.left;
            let why = |why| if sent > 0 { Broken::Off(why) } else { Broken::Refused(why) };
            self.checked(&request, response.map_err(why)?)?;
            return Ok(sent);
        }
        let response = self.client.open(url, headers).map_err(Broken::Refused)?;
        let response = self.checked(&request, response)?;
        self.begun.store(true, Ordering::Release);
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut chunk = vec![0; self.pace.as_ref().map_or(65_536, Pace::chunk)];
        let mut bytes = 0;
        while !self.stopped() {
            let read = reader.read(&mut chunk).map_err(|error| Broken::Off(error.to_string()))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            self.rest(read);
        }
        Ok(bytes)
    }

    fn checked(&self, asked: &Request, response: Response<Body>) -> Result<Response<Body>, Broken> {
        let status = response.status().as_u16();
        (self.job.check)(asked, status, response.headers()).map_err(Broken::Refused)?;
        Ok(response)
    }

    fn rest(&self, bytes: usize) {
        if let Some(pace) = &self.pace {
            thread::sleep(pace.wait_after(bytes));
        }
    }
}

/// How much has arrived, in whatever order. The kernel counts the bytes up to the first that is missing, and all
/// segments: the one stands still for a round trip after each loss and then leaps, the other does not.
#[derive(Debug, Default)]
struct Arrived {
    /// Bytes in a segment: as many as could be seen in any, as those that wait are segments without bytes.
    each: f64,
    most: u64,
}

impl Arrived {
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53 bytes")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
    fn bytes(&mut self, segments: u64, in_order: u64) -> u64 {
        if segments > FEW_SEGMENTS {
            self.each = self.each.max(in_order as f64 / segments as f64);
        }
        let bytes = (self.each * segments as f64) as u64;
        self.most = self.most.max(bytes).max(in_order);
        self.most
    }
}

/// So few say nothing of their size: heads of answers are among them.
const FEW_SEGMENTS: u64 = 30;

/// Why a body did not come to its end.
enum Broken {
    /// It had begun.
    Off(String),
    /// There was none.
    Refused(String),
}

/// What is uploaded: bytes that do not compress, as fast as the pace lets.
struct Sent<'a> {
    shared: &'a Shared<'a>,
    left: u64,
}

impl Read for Sent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.shared.stopped() {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        self.shared.begun.store(true, Ordering::Release);
        let most = self.shared.pace.as_ref().map_or(usize::MAX, Pace::chunk);
        let most = most.min(buffer.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(part) = buffer.get_mut(..most) else { return Ok(0) };
        // Knuth's MMIX congruence, by its high bits.
        let mut state = self.left;
        for byte in part.iter_mut() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56).to_le_bytes()[0];
        }
        self.left -= most as u64;
        self.shared.rest(most);
        Ok(most)
    }
}
