//! Carries IP packets between two network namespaces, later and with loss: `relay PID:DEVICE
//! PID:DEVICE` makes a TUN device in the namespaces of two processes and prints `ready`.
//!
//! Takes orders from standard input, one a line, each answered in a line:
//! [`bastion_tests::link::Way`] as JSON, which holds from then on, by `ok`; `lag` by
//! [`bastion_tests::link::relay::Lag`] since the last time.
//!
//! One thread with two queues: the deadlines of a queue only grow, so nobody has to look further than
//! at its head. It runs before all ordinary processes, or a busy machine would look like a bad line.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bastion_tests::ffi;
use bastion_tests::link::Way;
use bastion_tests::link::relay::Lag;
use bastion_tests::random::Random;

/// Largest packet: the devices have an MTU of 1500.
const PACKET: usize = 2048;

/// Bytes that may be under way in a direction: a second at 2 Gbit/s.
const ROOM: usize = 256 << 20;

/// Packets that are taken from a device before it is looked for what has to leave.
const AT_ONCE: usize = 32;

/// A step of the histogram of lags, and how many there are; later is all the same.
const STEP: Duration = Duration::from_micros(10);
const STEPS: usize = 20_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [near, far] = words.as_slice() else {
        return Err("usage: relay PID:DEVICE PID:DEVICE".into());
    };
    let ends = [open(near)?, open(far)?];
    let shared = Arc::new(Mutex::new(Shared {
        way: Way::of_rtt_ms(0.0),
        anew: true,
        lags: Lags::default(),
    }));
    let orders = Arc::clone(&shared);
    std::thread::spawn(move || take_orders(&orders));
    if let Err(error) = ffi::run_first() {
        eprintln!("relay: does not run before others: {error}");
    }
    println!("ready");
    Ok(carry(&ends, &shared)?)
}

/// Makes the device of `PID:DEVICE`.
fn open(end: &str) -> Result<File, Box<dyn std::error::Error>> {
    let (pid, device) = end.split_once(':').ok_or("PID:DEVICE")?;
    ffi::join_network(pid.parse()?)?;
    Ok(ffi::open_tun(device)?)
}

/// What the two threads have in common.
struct Shared {
    way: Way,
    /// Whether `way` is a new one.
    anew: bool,
    lags: Lags,
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_orders(shared: &Mutex<Shared>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if line == "lag" {
            let lag = std::mem::take(&mut locked(shared).lags).summary();
            println!("{}", serde_json::to_string(&lag).unwrap_or_default());
        } else {
            match serde_json::from_str(&line) {
                Ok(way) => {
                    let mut shared = locked(shared);
                    (shared.way, shared.anew) = (way, true);
                    println!("ok");
                }
                Err(error) => println!("{error}"),
            }
        }
    }
}

/// How late packets were, and what became of them.
struct Lags {
    steps: Vec<u64>,
    most: Duration,
    lag: Lag,
}

impl Default for Lags {
    fn default() -> Self {
        Self { steps: vec![0; STEPS + 1], most: Duration::ZERO, lag: Lag::default() }
    }
}

impl Lags {
    fn add(&mut self, late: Duration) {
        let step = usize::try_from(late.as_micros() / STEP.as_micros()).unwrap_or(STEPS);
        self.steps[step.min(STEPS)] += 1;
        self.most = self.most.max(late);
    }

    fn summary(&self) -> Lag {
        let all: u64 = self.steps.iter().sum();
        let below = |of_100: u64| {
            let mut seen = 0;
            let step = self.steps.iter().position(|count| {
                seen += count;
                seen * 100 >= all * of_100
            });
            let step = u32::try_from(step.unwrap_or(0)).unwrap_or(u32::MAX);
            (STEP * step).as_secs_f64() * 1e3
        };
        let max_ms = self.most.as_secs_f64() * 1e3;
        Lag { p50_ms: below(50).min(max_ms), p99_ms: below(99).min(max_ms), max_ms, ..self.lag }
    }
}

/// One direction.
struct Queue {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the last that came in will leave: none passes it.
    last: Instant,
    random: Random,
}

impl Queue {
    /// Takes a packet that came just now.
    fn take(&mut self, packet: Vec<u8>, now: Instant, way: &Way, lags: &mut Lags) {
        lags.lag.packets += 1;
        if self.share() < way.loss {
            lags.lag.lost += 1;
            return;
        }
        if self.bytes + packet.len() > ROOM {
            lags.lag.dropped += 1;
            return;
        }
        let delay_ms = way.delay_ms + way.jitter_ms * self.share();
        self.last = self.last.max(now + Duration::from_secs_f64(delay_ms / 1e3));
        self.bytes += packet.len();
        self.waiting.push_back((self.last, packet));
    }

    /// A number from 0 to 1.
    fn share(&mut self) -> f64 {
        let number = u32::try_from(self.random.below(1 << 32)).unwrap_or(0);
        f64::from(number) / f64::from(u32::MAX)
    }

    /// Sends what is due. A packet that the device does not take is lost, as on any line.
    fn send(&mut self, to: &File, lags: &mut Lags, spare: &mut Vec<Vec<u8>>) {
        let now = Instant::now();
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            let Some((due, packet)) = self.waiting.pop_front() else { return };
            self.bytes -= packet.len();
            lags.add(now - due);
            let _ = (&mut &*to).write(&packet);
            spare.push(packet);
        }
    }
}

/// Carries packets until a device is gone.
fn carry(ends: &[File; 2], shared: &Mutex<Shared>) -> io::Result<()> {
    let begun = Instant::now();
    let queue =
        || Queue { waiting: VecDeque::new(), bytes: 0, last: begun, random: Random::seeded(0) };
    // queues[0] is what came from ends[0].
    let mut queues = [queue(), queue()];
    let mut spare: Vec<Vec<u8>> = Vec::new();
    loop {
        let next =
            queues.iter().filter_map(|queue| queue.waiting.front()).map(|(due, _)| *due).min();
        let most = next.map(|due| due.saturating_duration_since(Instant::now()));
        let can = ffi::wait_readable([ends[0].as_fd(), ends[1].as_fd()], most)?;
        let mut shared = locked(shared);
        let way = shared.way;
        if std::mem::take(&mut shared.anew) {
            for (number, queue) in (0..).zip(&mut queues) {
                queue.random = Random::seeded(way.seed.wrapping_mul(2).wrapping_add(number));
            }
        }
        let lags = &mut shared.lags;
        for (number, queue) in queues.iter_mut().enumerate() {
            queue.send(&ends[1 - number], lags, &mut spare);
            let now = Instant::now();
            for _ in 0..if can[number] { AT_ONCE } else { 0 } {
                let mut packet = spare.pop().unwrap_or_default();
                packet.resize(PACKET, 0);
                match (&mut &ends[number]).read(&mut packet) {
                    Ok(size) => packet.truncate(size),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        spare.push(packet);
                        break;
                    }
                    // A device that is still down.
                    Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                    Err(error) => return Err(error),
                }
                queue.take(packet, now, &way, lags);
            }
        }
    }
}
