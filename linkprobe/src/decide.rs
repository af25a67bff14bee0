//! Does the line have what is asked for? Not how much it has. Pure.
//!
//! Nothing above the threshold is of interest, so no more than [`PACE`] times the threshold is taken:
//! a line of 300 Mbit/s costs no more than one of 20. And far from the threshold a few windows are
//! enough; the nearer it is, the longer it takes, up to a limit at which the answer is that it is
//! too near to tell.
//!
//! That a line has the threshold is proved when it was seen to carry it. That it has not is never
//! proved by one transfer: a flow can be slow of itself, for the loss on its way, for its server, for
//! a slow start that ended too early. So [`next`] asks for more flows from another server, and calls
//! the line slow only when more flows brought no more.

use std::time::Duration;

use crate::steady::{Sample, Steady, Windows};

/// How much faster than the threshold is read, so that what a line has above it shows soon. More would
/// cost more on a fast line for the same time; less would need longer on any line.
pub const PACE: f64 = 1.6;

/// How much of that counts in any moment. What was not read yet arrives in lumps, as windows are opened; this
/// takes the lumps away, as a reader of this pace would have seen none. It counts too little at times, and never more
/// than has arrived; but what a bucket gave at once counts for as long as it would have lasted at this pace.
const COUNTED: f64 = 1.5;

/// Shortest window: below it the ticks of schedulers show, and the steps in which windows are opened.
const SHORTEST: Duration = Duration::from_millis(50);

/// Longest time between two looks.
const GAP: Duration = Duration::from_millis(30);

/// Longest window.
const LONGEST: Duration = Duration::from_millis(200);

/// Packets that a window has at least at the threshold.
const PACKETS: f64 = 15.0;

/// Payload of a packet, in bytes: Ethernet's, without options (RFC 879).
const SEGMENT: f64 = 1448.0;

/// Shortest steady part by which a line passes: a token bucket or a queue that was empty gives its
/// first bytes to a slow line as well.
const SETTLED: Duration = Duration::from_millis(300);

/// The same where less data than this is enough, for thresholds at which the time above is costly.
const SETTLED_BYTES: f64 = 600_000.0;

/// And not shorter than this, whatever the threshold.
const SETTLED_LEAST: Duration = Duration::from_millis(150);

/// Of a transfer that goes on to see what is behind a token bucket, only its end counts: this much.
const OF_LATE: Duration = Duration::from_millis(1500);

/// Growth of the second half over the first from which the senders still seek the line's rate.
const GROWING: f64 = 1.1;

/// The same to which they have overshot it, and recover.
const FALLING: f64 = 0.75;

/// A first transfer that was never faster than this share of the threshold, and gets no faster, need not go on: it takes
/// another to confirm it, and that one knows better what it costs.
const FAR: f64 = 0.7;

/// But not before so long, and so many round trips of slow start.
const SOON: Duration = Duration::from_millis(300);
const SOON_ROUND_TRIPS: u32 = 6;

/// Time at the threshold's rate, in seconds, after which a transfer is too near to it to tell: of the first, and
/// of those after it. What they say is the line's verdict: one that ended in its slow start, at a server that is
/// well, would leave that to the slow one before it.
const ENOUGH: [f64; 2] = [1.0, 2.4];

/// Standard errors between the threshold and a rate that is on one side of it, at the last look: one in a hundred
/// is not.
const AT_LAST: f64 = 2.33;

/// Bytes that any transfer may take before that.
const ENOUGH_BYTES: f64 = 800_000.0;

/// The same in round trips, where those are long: two for slow start, which doubles, and [`PACE`] for each that is then
/// looked at.
const ENOUGH_ROUND_TRIPS: f64 = 6.0;

/// Longest time for a transfer, but for long round trips.
const LONGEST_TEST: Duration = Duration::from_millis(3000);

/// Round trips that a transfer may take, where those are long: slow start alone takes six or so.
const MOST_ROUND_TRIPS: u32 = 14;

/// Below this rate a server has stopped sending, in bytes a second: the slowest tariffs that providers
/// throttle to have 32 kbit/s.
pub const STALLED: f64 = 2_000.0;

/// Bytes with which a transfer has begun: what a server thinks about before is not the line's time.
const BEGUN: u64 = 4_096;

/// What is asked of a transfer, in bytes a second of TCP payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// The least rate.
    pub threshold: f64,
    /// Round trip of the idle line to the server.
    pub round_trip: Duration,
    /// Whether it is the first: that the line has less is then confirmed by another, which may take longer.
    pub is_first: bool,
    /// How long it is to go on though it has passed: to see what is behind a token bucket.
    pub at_least: Duration,
}

/// What a transfer has shown so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// Nothing yet.
    Open,
    /// The line carries the threshold.
    Has(Steady),
    /// It did not, this time.
    HasNot(Steady),
    /// It is too near to tell, or varies too much.
    Near(Option<Steady>),
    /// Nothing more came.
    Stalled,
}

/// One transfer, as it goes on.
#[derive(Debug, Clone)]
pub struct Decision {
    question: Question,
    windows: Windows,
    last: Option<Sample>,
    /// Bytes of those that have arrived that count.
    counted: f64,
    /// When something last arrived.
    moved: Duration,
    /// Of a longer transfer: whether a shorter one would have passed.
    would_pass: bool,
}

impl Decision {
    /// A transfer that has not begun.
    #[must_use]
    pub fn new(question: Question) -> Self {
        let packets = Duration::from_secs_f64((PACKETS * SEGMENT / question.threshold).min(1.0));
        let length = question.round_trip.max(packets).clamp(SHORTEST, LONGEST);
        let mut windows = Windows::new(length, GAP);
        if question.round_trip > length {
            windows = windows.shorter_than_a_round_trip();
        }
        Self {
            question,
            windows,
            last: None,
            counted: 0.0,
            moved: Duration::ZERO,
            would_pass: false,
        }
    }

    /// Takes what has arrived, and says what follows.
    pub fn learn(&mut self, sample: Sample) -> Answer {
        if self.last.is_none() && sample.bytes < BEGUN {
            return if sample.at < self.patience() { Answer::Open } else { Answer::Stalled };
        }
        if self.last.is_none_or(|last| sample.bytes > last.bytes) {
            self.moved = sample.at;
        }
        let counted = self.count(sample);
        let is_news = self.windows.add(counted);
        if sample.at.saturating_sub(self.moved) >= self.patience() {
            return Answer::Stalled;
        }
        if !is_news && !self.is_over(sample) {
            return Answer::Open;
        }
        let is_long = !self.question.at_least.is_zero();
        if is_long && !self.would_pass {
            let so_far = self.windows.steady().map(|steady| self.judge(&steady));
            self.would_pass = matches!(so_far, Some(Answer::Has(_)));
        }
        let steady = if is_long { self.windows.of_late(OF_LATE) } else { self.windows.steady() };
        // Who sends next to nothing has not begun yet, or never will: no line is as slow as that.
        if steady.is_some_and(|steady| steady.rate + steady.within < STALLED) {
            let is_over = sample.at >= self.patience();
            return if is_over { Answer::Stalled } else { Answer::Open };
        }
        let answer = steady.map_or(Answer::Open, |steady| self.judge(&steady));
        let answer = match self.far_below(sample) {
            Some(far) if answer == Answer::Open => far,
            _ => answer,
        };
        match answer {
            Answer::Has(_) if sample.at < self.question.at_least => {}
            Answer::Open => {}
            answer => return answer,
        }
        match (self.is_over(sample), steady) {
            (false, _) => Answer::Open,
            (true, Some(steady)) => self.judge_at_last(&steady),
            (true, None) => Answer::Near(None),
        }
    }

    /// Of a longer transfer: whether a shorter one would have passed. If this one has not, the line gives its
    /// best for a while only.
    #[must_use]
    pub fn would_pass(&self) -> bool {
        self.would_pass
    }

    /// Bytes of payload that it takes at most, but for what is on its way when it ends.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some MB")]
        let bytes = self.enough() as u64;
        bytes
    }

    /// Bytes after which it is too near to tell.
    fn enough(&self) -> f64 {
        let enough = ENOUGH[usize::from(!self.question.is_first)];
        let round_trips = ENOUGH_ROUND_TRIPS * self.question.round_trip.as_secs_f64();
        let seconds = enough.max(round_trips).max(PACE * self.question.at_least.as_secs_f64());
        (seconds * self.question.threshold).max(ENOUGH_BYTES)
    }

    /// That the line has far less, as it seems: for the first transfer, which need not be sure of that.
    fn far_below(&self, sample: Sample) -> Option<Answer> {
        let soon = SOON.max(self.question.round_trip * SOON_ROUND_TRIPS);
        if !self.question.is_first || sample.at < soon {
            return None;
        }
        let (peak, growth) = self.windows.peak()?;
        let is_far = peak < FAR * self.question.threshold && growth < GROWING;
        if is_far { self.windows.steady().map(Answer::HasNot) } else { None }
    }

    /// The last look is one look, and needs no interval that is true at all times.
    fn judge_at_last(&self, steady: &Steady) -> Answer {
        let (threshold, within) = (self.question.threshold, AT_LAST * steady.error);
        if steady.rate - within > threshold {
            Answer::Has(*steady)
        } else if steady.rate + within < threshold && is_settled(steady) {
            Answer::HasNot(*steady)
        } else {
            Answer::Near(Some(*steady))
        }
    }

    /// The sample with no more than [`COUNTED`] of what has arrived since the last.
    fn count(&mut self, sample: Sample) -> Sample {
        let last = self.last.replace(sample).unwrap_or(sample);
        let passed = sample.at.saturating_sub(last.at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a transfer has less than 2^53 bytes")]
        let arrived = sample.bytes as f64;
        self.counted = arrived.min(self.counted + COUNTED * self.question.threshold * passed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        Sample { at: sample.at, bytes: self.counted as u64 }
    }

    /// How long nothing may come before it has stalled.
    fn patience(&self) -> Duration {
        Duration::from_millis(1500) + 4 * self.question.round_trip
    }

    fn judge(&self, steady: &Steady) -> Answer {
        let threshold = self.question.threshold;
        if steady.rate - steady.within > threshold && steady.length >= settled(threshold) {
            return Answer::Has(*steady);
        }
        if steady.rate + steady.within < threshold && is_settled(steady) {
            return Answer::HasNot(*steady);
        }
        Answer::Open
    }

    fn is_over(&self, sample: Sample) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a transfer has less than 2^53 bytes")]
        let taken = sample.bytes as f64;
        let longest = LONGEST_TEST.max(self.question.round_trip * MOST_ROUND_TRIPS);
        taken >= self.enough() || sample.at >= longest.max(self.question.at_least)
    }
}

/// Whether the senders have found the line's rate.
fn is_settled(steady: &Steady) -> bool {
    (FALLING..GROWING).contains(&steady.growth)
}

/// How long the steady part has to be before a line passes.
fn settled(threshold: f64) -> Duration {
    Duration::from_secs_f64(SETTLED_BYTES / (PACE * threshold)).clamp(SETTLED_LEAST, SETTLED)
}

/// Flows of the first transfer: so many that one that is unlucky does not matter, and that their
/// first windows together (RFC 6928) are near to what a home's line holds.
const FIRST_FLOWS: usize = 4;

/// Times as many flows each time that more may bring more.
const MORE: usize = 2;

/// Most flows.
const MOST_FLOWS: usize = 32;

/// How much more rate more flows have to bring, so that still more of them may bring more.
const GAIN: f64 = 1.1;

/// How near to the threshold a rate may be for nobody to want to know it better: as much as headers
/// of one or the other kind make out.
const NEAR: f64 = 0.06;

/// A transfer that is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tried {
    /// With so many flows.
    pub flows: usize,
    /// From this provider, by its place in the list.
    pub provider: usize,
    /// What it has shown; nothing when the provider did not do its part.
    pub answer: Option<Answer>,
}

/// What to do after the transfers so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// One more.
    Try {
        /// With so many flows.
        flows: usize,
        /// From this provider.
        provider: usize,
    },
    /// It is decided. [`Answer::Open`]: nobody could be asked.
    Decided(Answer),
}

/// What to do after `tried`, where there are so many providers.
#[must_use]
pub fn next(tried: &[Tried], providers: usize, threshold: f64) -> Next {
    let useless =
        |provider: usize| tried.iter().any(|one| one.provider == provider && failed(one.answer));
    let usable = |after: usize| {
        let mut order = (0..providers).map(|step| (after + step) % providers.max(1));
        order.find(|provider| !useless(*provider))
    };
    let Some(last) = tried.last() else {
        return usable(0).map_or(Next::Decided(Answer::Open), |provider| Next::Try {
            flows: FIRST_FLOWS,
            provider,
        });
    };
    let told = tried.iter().filter_map(|one| Some((one, one.answer.and_then(steady)?)));
    let told: Vec<(&Tried, Steady)> = told.collect();
    let is_far = |now: Steady| now.rate * now.growth.max(1.0) < FAR * threshold;
    let give_up = || match told.last() {
        // Whoever else was asked sent next to nothing: together they are slow.
        Some((one, steady))
            if matches!(one.answer, Some(Answer::HasNot(_)))
                && is_far(*steady)
                && tried.iter().any(|other| {
                    other.provider != one.provider && other.answer == Some(Answer::Stalled)
                }) =>
        {
            Next::Decided(Answer::HasNot(*steady))
        }
        // It was slow with one, and nobody else could be asked: that is known no better.
        Some((_, steady)) => Next::Decided(Answer::Near(Some(*steady))),
        None if tried.iter().filter(|one| one.answer == Some(Answer::Stalled)).count() > 1 => {
            Next::Decided(Answer::Stalled)
        }
        None => Next::Decided(Answer::Open),
    };
    if failed(last.answer) {
        return match usable(last.provider + 1) {
            Some(provider) => Next::Try { flows: last.flows, provider },
            None => give_up(),
        };
    }
    let (answer, now) = match last.answer {
        Some(answer @ Answer::Has(_)) => return Next::Decided(answer),
        Some(answer) => (answer, steady(answer)),
        None => return give_up(),
    };
    let is_near = now.is_some_and(|now| {
        (now.rate / threshold - 1.0).abs() < NEAR && now.within < 2.0 * NEAR * threshold
    });
    if matches!(answer, Answer::Near(_)) && is_near {
        return Next::Decided(answer);
    }
    let more = Next::Try {
        flows: (last.flows * MORE).min(MOST_FLOWS),
        provider: usable(last.provider + 1).unwrap_or(last.provider),
    };
    // More than one may have told the same; what the most flows brought before is compared.
    let before =
        told.iter().filter(|(one, _)| one.flows < last.flows).map(|(_, steady)| steady.rate);
    let Some(before) = before.reduce(f64::max) else { return more };
    let gained = now.is_none_or(|now| now.rate > GAIN * before);
    if gained && last.flows < MOST_FLOWS {
        return more;
    }
    // What is slow with one, and another has brought more and could not tell, is so of itself: the other is asked again.
    let other = told.iter().filter(|(one, _)| one.provider != last.provider);
    let other = other.max_by(|(_, one), (_, other)| one.rate.total_cmp(&other.rate));
    let has_more = |(one, better): &&(&Tried, Steady)| match answer {
        Answer::HasNot(now) => {
            matches!(one.answer, Some(Answer::Near(_))) && better.rate > GAIN * now.rate
        }
        _ => false,
    };
    if let Some((one, better)) = other.filter(has_more) {
        let flows = (last.flows * MORE).min(MOST_FLOWS);
        let near = Next::Decided(Answer::Near(Some(*better)));
        let is_left = flows > last.flows && !useless(one.provider);
        return if is_left { Next::Try { flows, provider: one.provider } } else { near };
    }
    // It may be slow to us by itself, and the other, who could say so, does not answer today. Who answered and then sent
    // next to nothing has said the same.
    let says = |one: &Tried| one.answer.is_some_and(|answer| answer != Answer::Open);
    let is_alone =
        providers > 1 && tried.iter().all(|one| one.provider == last.provider || !says(one));
    // More flows have brought no more, and far too little: that the rate was restless, or seemed to grow, is no doubt
    // about that.
    let was_less = told.iter().any(|(one, _)| matches!(one.answer, Some(Answer::HasNot(_))));
    Next::Decided(match answer {
        _ if is_alone => Answer::Near(now),
        Answer::Near(Some(now)) if was_less && is_far(now) => Answer::HasNot(now),
        answer => answer,
    })
}

/// Whether the provider did not do its part.
fn failed(answer: Option<Answer>) -> bool {
    matches!(answer, None | Some(Answer::Open | Answer::Stalled))
}

fn steady(answer: Answer) -> Option<Steady> {
    match answer {
        Answer::Has(steady) | Answer::HasNot(steady) | Answer::Near(Some(steady)) => Some(steady),
        Answer::Open | Answer::Near(None) | Answer::Stalled => None,
    }
}

#[cfg(test)]
mod tests;
