//! When the machine is described, started and stopped, and what is told. Pure: what is known and the time
//! in, what to do out.
//!
//! Nothing is asked for that was not noted before, nothing is started that was not described as off just
//! before, and after a call whose end is not known it is described first. So there are never two starts, and
//! never a machine that runs unnoticed, wherever this process ends.

use std::time::Duration;

use notifier::clock::millis;

use self::fail::Failing;
use super::config::OnDemand;
use super::note::{Asked, Note, Runs, Wish};

mod fail;
mod known;
mod say;
mod tell;

pub use known::{Action, Inputs, Kind, Link, Machine, Now, Reach, Seen, Trouble, Verb};
pub use say::{Tale, long};

/// How old a description may be for a start to stand on it.
const FRESH_MS: u64 = 30_000;

/// How long the provider may take to act on a call of which we do not know whether it has arrived: so long it
/// is not described after one, as it would say what was before.
const SETTLE_MS: u64 = 5_000;

/// How long a machine may be described as it was although its start or stop was accepted: EC2 says so itself
/// ("eventual consistency").
const ACCEPTED_MS: u64 = 60_000;

/// A stop that has not stopped it by then is asked for again, and a machine that is starting for so long may be
/// stopped.
const STOP_AGAIN_MS: u64 = 180_000;
const STARTS_MOST_MS: u64 = 600_000;

/// How often the rest after it has ended by itself is doubled: to a quarter of an hour.
const MOST_ENDS: u32 = 4;

/// How often it is described: while it comes up, which somebody waits for; and while all is as it should be.
const COMING_MS: [(u64, u64); 3] = [(90_000, 2_000), (600_000, 5_000), (u64::MAX, 30_000)];
const GOING_MS: [(u64, u64); 2] = [(120_000, 5_000), (u64::MAX, 30_000)];
const UNUSED_MS: [(u64, u64); 2] = [(120_000, 10_000), (u64::MAX, 60_000)];
const DOUBT_MS: u64 = 10_000;
const ON_MS: u64 = 300_000;
const OFF_MS: u64 = 3_600_000;
const METERED_OFF_MS: u64 = 6 * 3_600_000;

/// How long nobody must have been logged in through it for it to be stopped, at most: whose session has just
/// broken may come again.
const NOBODY_MS: u64 = 60_000;

/// Whether it is to run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Want {
    on: bool,
    why: String,
    /// Whether it is off because the month is used up, and the line is down.
    cap: bool,
    /// Whether a person wants it off.
    by_hand: bool,
}

/// The mind of one jump host on demand.
#[derive(Debug)]
pub struct Policy {
    rules: OnDemand,
    metered: bool,
    tunnel: String,
    note: Note,
    /// What it was described as, and when.
    seen: Option<(Seen, u64)>,
    calling: Option<Verb>,
    /// Before this nothing is asked: a call is under way of which nothing is known; and because others have failed.
    settle_ms: u64,
    rest_ms: u64,
    /// When it is described next.
    look_ms: u64,
    /// When a start or a stop was accepted.
    accepted: Option<(Verb, u64)>,
    failing: Option<Failing>,
    /// For how long the link counts as down: a moment in which it is up takes as much back, and no more.
    down_ms: u64,
    last_ms: u64,
    unknown_ms: Option<u64>,
    told_unknown: bool,
    nobody_ms: Option<u64>,
    tunnel_up: bool,
    /// Until when a start may still come about that was asked for, and of which nothing was seen.
    doubt_ms: u64,
    /// How often it has ended by itself and the tunnel was not up in between.
    ends: u32,
    want: Want,
    people: (usize, usize),
}

impl Policy {
    /// One that goes on where `note` was left.
    #[must_use]
    pub fn new(rules: OnDemand, tunnel: &str, metered: bool, note: Note, now: &Now) -> Self {
        // What was asked for just before a crash may still be on its way.
        let asked = note.asked.as_ref().map(|asked| millis(asked.at.age(&now.stamp)));
        let settle_ms = match asked {
            Some(age_ms) if age_ms < ACCEPTED_MS => now.ms + SETTLE_MS,
            _ => now.ms,
        };
        let why = "it is not known yet whether it runs".to_owned();
        Self {
            rules,
            metered,
            tunnel: tunnel.to_owned(),
            note,
            seen: None,
            calling: None,
            settle_ms,
            rest_ms: now.ms,
            look_ms: now.ms,
            accepted: None,
            failing: None,
            down_ms: 0,
            last_ms: now.ms,
            unknown_ms: None,
            told_unknown: false,
            nobody_ms: None,
            tunnel_up: false,
            doubt_ms: 0,
            ends: 0,
            want: Want { on: false, why, cap: false, by_hand: false },
            people: (0, 0),
        }
    }

    /// The note, as it is to be kept.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The note, that it was written now.
    pub fn written(&mut self, now: &Now) {
        self.note.stamp(&now.stamp);
    }

    /// What is due.
    pub fn act(&mut self, inputs: &Inputs, now: &Now) -> Vec<Action> {
        self.observe(inputs, now);
        let mut actions = Vec::new();
        let used_up = self.note.used(&now.stamp) >= self.rules.most_a_month;
        if used_up {
            self.tell_cap(now, &mut actions);
        }
        let want = self.wants(inputs, used_up, now);
        let was_on = std::mem::replace(&mut self.want, want).on;
        if self.want.on != was_on {
            self.need_changes(now);
        }
        self.forget_start(&mut actions);
        self.tell(inputs, now, &mut actions);
        self.end_wish(inputs, &mut actions);
        if self.calling.is_none() {
            if let Some(verb) = self.verb(now) {
                self.ask(verb, now, &mut actions);
            }
        }
        actions
    }

    /// How a call has ended.
    pub fn answered(&mut self, end: Result<Seen, Trouble>, now: &Now) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(verb) = self.calling.take() else { return actions };
        match end {
            Ok(seen) => {
                self.clear_failing(verb, &mut actions);
                if verb != Verb::Describe {
                    self.accepted = Some((verb, now.ms));
                    if let (Verb::Start, Some(runs)) = (verb, &mut self.note.runs) {
                        runs.confirmed = true;
                    }
                }
                self.described(seen, now, &mut actions);
                self.look_ms = now.ms + self.pace(now);
                if verb != Verb::Describe {
                    actions.insert(0, Action::Keep);
                }
            }
            Err(trouble) => self.failed(verb, trouble, now),
        }
        actions
    }

    /// Somebody says that things have changed: what failed is tried now.
    pub fn kick(&mut self, now: &Now) {
        self.rest_ms = now.ms;
        self.look_ms = now.ms;
    }

    /// The network has changed, by which a call that failed may go through.
    pub fn network(&mut self, now: &Now) {
        let is_of_the_line = |failing: &Failing| failing.trouble.kind == Kind::Away;
        if self.failing.as_ref().is_some_and(is_of_the_line) {
            self.rest_ms = now.ms;
        }
    }

    /// Where the tunnel's thread finds it.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let nowhere =
            || Reach::Nowhere { by_plan: !self.want.on && !self.want.cap, why: self.why() };
        let noted = self.note.runs.as_ref().filter(|runs| runs.confirmed);
        match (&self.seen, noted) {
            // It runs by the note: who waits for it need not wait for the provider.
            (None, Some(runs)) if runs.address.is_some() && !self.is_stopping() => {
                Reach::At(runs.address.clone())
            }
            (Some((seen, _)), _) => match seen.machine {
                Machine::On if !self.is_stopping() => Reach::At(seen.address.clone()),
                Machine::Starting if seen.address.is_some() => Reach::At(seen.address.clone()),
                _ => nowhere(),
            },
            (None, _) => nowhere(),
        }
    }

    /// What it is, why, and what keeps it so, for a person.
    #[must_use]
    pub fn why(&self) -> String {
        let waits = match (&self.note.runs, self.people.0) {
            (Some(_), people @ 1..) if !self.want.on => {
                format!("; it is stopped when the {people} who are logged in through it have gone")
            }
            _ => String::new(),
        };
        let trouble = self.trouble().map(|why| format!("; {why}")).unwrap_or_default();
        format!("{}{waits}{trouble}", self.want.why)
    }

    /// What is wrong at the provider.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let Failing { verb, trouble, .. } = self.failing.as_ref()?;
        Some(format!("the provider does not {}: {}", verb.word(), trouble.why))
    }

    /// Whether it is to run.
    #[must_use]
    pub fn wants_it(&self) -> bool {
        self.want.on
    }

    /// What it was described as last.
    #[must_use]
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref().map(|(seen, _)| seen)
    }

    /// Whether something happens, so that it is worth while to look often.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let at_rest = matches!(self.seen(), Some(Seen { machine: Machine::Off, .. }));
        self.calling.is_some() || self.down_ms > 0 || !at_rest || self.want.on
    }

    fn is_stopping(&self) -> bool {
        self.note.asked.as_ref().is_some_and(|asked| !asked.start)
    }

    fn observe(&mut self, inputs: &Inputs, now: &Now) {
        let passed_ms = now.ms.saturating_sub(std::mem::replace(&mut self.last_ms, now.ms));
        let most_ms = millis(self.rules.start_after);
        match &inputs.link {
            Link::Down(for_ms) => {
                let sum_ms = self.down_ms.saturating_add(passed_ms).max(*for_ms);
                // One more, so that a moment of it is not forgotten where nothing is waited for.
                self.down_ms = sum_ms.min(most_ms).max(1);
            }
            Link::Up(_) => self.down_ms = self.down_ms.saturating_sub(passed_ms),
            Link::Unknown(_) => {}
        }
        self.unknown_ms = match &inputs.link {
            Link::Unknown(_) => self.unknown_ms.or(Some(now.ms)),
            _ => None,
        };
        let fell = std::mem::replace(&mut self.tunnel_up, inputs.tunnel_up) && !inputs.tunnel_up;
        if fell && self.want.on {
            // It may have ended, or be elsewhere.
            self.look_ms = self.look_ms.min(now.ms + SETTLE_MS);
        }
        self.people = inputs.people;
        self.nobody_ms = if inputs.people.0 > 0 { None } else { self.nobody_ms.or(Some(now.ms)) };
        self.note.count(&now.stamp);
    }

    fn wish<'a>(&self, inputs: &'a Inputs) -> Option<&'a Wish> {
        inputs.wish.as_ref().filter(|wish| self.note.done.as_ref() != Some(&wish.at))
    }

    fn wants(&self, inputs: &Inputs, used_up: bool, now: &Now) -> Want {
        let link = &self.rules.link;
        let words = |ms: u64| notifier::daemon::words(Duration::from_millis(ms));
        let on = |why: String| Want { on: true, why, cap: false, by_hand: false };
        let off = |why: String| Want { on: false, why, cap: false, by_hand: false };
        let state = match &inputs.link {
            Link::Up(ms) => format!("{link} is up for {}", words(*ms)),
            Link::Down(ms) => format!("{link} is down for {}", words(*ms)),
            Link::Unknown(why) => format!("it is not known whether {link} is up: {why}"),
        };
        let hours = self.rules.most_a_month.as_secs() / 3600;
        let spent = || Want {
            on: false,
            why: format!("the {hours} h of this month are used up, and {state}"),
            // While nobody needs it, it is off by plan all the same.
            cap: !matches!(inputs.link, Link::Up(_)),
            by_hand: false,
        };
        match self.wish(inputs) {
            Some(wish) if !wish.start => {
                let why = format!("it was stopped by hand, and {state}");
                return Want { by_hand: true, ..off(why) };
            }

            Some(wish) if !used_up || self.is_beyond(wish, now) => {
                return on(format!(
                    "it was started by hand {} ago",
                    words(millis(wish.at.age(&now.stamp)))
                ));
            }
            _ => {}
        }
        if used_up {
            return spent();
        }
        let is_there = match &self.seen {
            Some((seen, _)) => matches!(seen.machine, Machine::On | Machine::Starting),
            None => false,
        };
        let runs = is_there || self.note.runs.is_some();
        let stop_ms = millis(self.rules.stop_after);
        match &inputs.link {
            Link::Up(for_ms) if runs && *for_ms < stop_ms => {
                on(format!("{link} is back for {} of {}", words(*for_ms), words(stop_ms)))
            }
            Link::Up(_) => off(state),
            Link::Down(_) if runs || self.down_ms >= millis(self.rules.start_after) => on(state),
            Link::Unknown(_) if runs => on(state),
            Link::Down(_) | Link::Unknown(_) => off(state),
        }
    }

    /// Whether a wish was made in spite of a month that is used up.
    fn is_beyond(&self, wish: &Wish, now: &Now) -> bool {
        self.note.told.cap.as_ref().is_some_and(|(month, at)| {
            *month == self.note.month(&now.stamp)
                && wish.at.by_clock_of(&now.stamp) > at.by_clock_of(&now.stamp)
        })
    }

    /// What is to be asked now, if anything.
    fn verb(&self, now: &Now) -> Option<Verb> {
        if now.ms < self.settle_ms || now.ms < self.rest_ms {
            return None;
        }
        let due = (now.ms >= self.look_ms).then_some(Verb::Describe);
        let Some((seen, at_ms)) = &self.seen else { return Some(Verb::Describe) };
        let age_ms = now.ms.saturating_sub(*at_ms);
        match (self.want.on, seen.machine) {
            (true, Machine::Off) if age_ms <= FRESH_MS => Some(Verb::Start),
            (true, Machine::Off) => Some(Verb::Describe),
            (false, Machine::On) if self.may_stop(now) => Some(Verb::Stop),
            (false, Machine::Starting)
                if self.may_stop(now) && self.runs_ms(now) >= STARTS_MOST_MS =>
            {
                Some(Verb::Stop)
            }
            _ => due,
        }
    }

    fn runs_ms(&self, now: &Now) -> u64 {
        self.note.runs.as_ref().map_or(0, |runs| millis(runs.since.age(&now.stamp)))
    }

    fn may_stop(&self, now: &Now) -> bool {
        let ours = self.note.runs.as_ref().is_some_and(|runs| runs.ours);
        let patience_ms = millis(self.rules.stop_after).min(NOBODY_MS);
        let nobody =
            self.nobody_ms.is_some_and(|since| now.ms.saturating_sub(since) >= patience_ms);
        let just_asked =
            matches!(self.accepted, Some((Verb::Stop, at)) if now.ms < at + STOP_AGAIN_MS);
        (ours || self.want.by_hand) && self.people == (0, 0) && nobody && !just_asked
    }

    fn ask(&mut self, verb: Verb, now: &Now, actions: &mut Vec<Action>) {
        self.calling = Some(verb);
        if verb != Verb::Describe {
            let at = now.stamp.clone();
            self.note.asked = Some(Asked { start: verb == Verb::Start, at: at.clone() });
            if verb == Verb::Start {
                let runs = Runs { since: at.clone(), counted: at, ours: true, ..Runs::default() };
                self.note.runs = Some(runs);
            }
            let tells = verb == Verb::Start && !self.note.told.starting;
            self.note.told.starting |= tells;
            actions.push(Action::Keep);
            if tells {
                let because = self.want.why.clone();
                actions.push(Action::Tell(Tale::Starting { because }));
            }
        }
        actions.push(Action::Call(verb));
    }

    fn described(&mut self, seen: Seen, now: &Now, actions: &mut Vec<Action>) {
        let mut seen = seen;
        // What was accepted a moment ago counts more than what is said of it meanwhile.
        let just = self.accepted.filter(|(_, at_ms)| now.ms < at_ms + ACCEPTED_MS);
        match (just, seen.machine) {
            (Some((Verb::Start, _)), Machine::Off) => seen.machine = Machine::Starting,
            (Some((Verb::Stop, _)), Machine::On) => seen.machine = Machine::Stopping,
            _ => {}
        }
        let before = self.note.clone();
        self.note.told.gone &= seen.machine == Machine::Gone;
        match seen.machine {
            Machine::Starting | Machine::On | Machine::Stopping => {
                let at = &now.stamp;
                let ours = now.ms < self.doubt_ms;
                let fresh =
                    || Runs { since: at.clone(), counted: at.clone(), ours, ..Runs::default() };
                let runs = self.note.runs.get_or_insert_with(fresh);
                runs.confirmed = true;
                if seen.address.is_some() {
                    runs.address.clone_from(&seen.address);
                }
                // A stop that has not come through is asked for again, if it is still wanted then. Some
                // providers say nothing of it until it has.
                if seen.machine == Machine::On && (self.want.on || !self.was_stopped(now)) {
                    self.note.asked = None;
                }
            }
            Machine::Off | Machine::Gone => self.has_ended(now, actions),
        }
        if before != self.note {
            actions.insert(0, Action::Keep);
        }
        self.seen = Some((seen, now.ms));
    }

    /// Whether it was asked to stop a moment ago.
    fn was_stopped(&self, now: &Now) -> bool {
        let stop = self.note.asked.as_ref().filter(|asked| !asked.start);
        stop.is_some_and(|asked| millis(asked.at.age(&now.stamp)) < STOP_AGAIN_MS)
    }

    /// It does not run, by the provider's word.
    fn has_ended(&mut self, now: &Now, actions: &mut Vec<Action>) {
        let asked = self.note.asked.take();
        self.accepted = None;
        let Some(runs) = self.note.runs.take() else { return };
        if !runs.confirmed {
            // A start that has not come to anything, as far as is said of it now.
            self.doubt_ms = now.ms + ACCEPTED_MS;
            return;
        }
        self.note.told.foreign = false;
        let ran = runs.since.age(&now.stamp);
        let used = self.note.used(&now.stamp);
        match asked {
            Some(Asked { start: false, .. }) => {
                let most = self.rules.most_a_month;
                actions.push(Action::Tell(Tale::Stopped { ran, used, most }));
                self.note.told.starting = false;
            }
            _ if runs.ours => {
                let again = self.want.on;
                if !(again && self.note.told.ended) {
                    actions.push(Action::Tell(Tale::Ended { ran, again }));
                }
                // Whoever did that is not to be fought with, and what goes down each time is told once.
                (self.note.told.ended, self.note.told.starting) = (again, again);
                self.rest_ms = now.ms + (ACCEPTED_MS << self.ends);
                self.ends = (self.ends + 1).min(MOST_ENDS);
            }
            _ => {}
        }
    }

    fn pace(&self, now: &Now) -> u64 {
        let Some((seen, _)) = &self.seen else { return 0 };
        let step = |steps: &[(u64, u64)], age_ms: u64| {
            steps.iter().find(|(until, _)| age_ms < *until).map_or(OFF_MS, |(_, every)| *every)
        };
        let age_ms = self.runs_ms(now);
        match seen.machine {
            Machine::Starting => step(&COMING_MS, age_ms),
            Machine::On if self.was_stopped(now) => GOING_MS[1].1,
            Machine::Stopping => {
                let since = self.accepted.map_or(0, |(_, at_ms)| now.ms.saturating_sub(at_ms));
                step(&GOING_MS, since)
            }
            // It may have been given another address.
            Machine::On if self.want.on && !self.tunnel_up => step(&UNUSED_MS, age_ms),
            Machine::On => ON_MS,
            Machine::Gone => ON_MS,
            Machine::Off if now.ms < self.doubt_ms => DOUBT_MS,
            Machine::Off if self.metered => METERED_OFF_MS,
            Machine::Off => OFF_MS,
        }
    }

    /// A start that has not come about, and is not needed any more.
    fn forget_start(&mut self, actions: &mut Vec<Action>) {
        if self.want.on || self.note.runs.is_some() {
            return;
        }
        let told = &mut self.note.told;
        if self.failing.as_ref().is_some_and(|failing| failing.verb == Verb::Start) {
            self.failing = None;
            told.trouble = 0;
        }
        self.ends = 0;
        if std::mem::take(&mut told.starting) | std::mem::take(&mut told.ended) {
            actions.push(Action::Keep);
        }
    }

    /// A wish that is fulfilled, and holds no longer.
    fn end_wish(&mut self, inputs: &Inputs, actions: &mut Vec<Action>) {
        let is_off =
            matches!(self.seen(), Some(Seen { machine: Machine::Off | Machine::Gone, .. }));
        if !is_off || self.calling.is_some() {
            return;
        }
        let Some(wish) = self.wish(inputs) else { return };
        let is_over = match wish.start {
            // It was ended with its month.
            true => !self.want.on,
            // This outage is over, and the next one is another.
            false => matches!(inputs.link, Link::Up(_)),
        };
        if is_over {
            self.note.done = Some(wish.at.clone());
            actions.push(Action::Keep);
        }
    }

    /// The name of the tunnel.
    #[must_use]
    pub fn tunnel(&self) -> &str {
        &self.tunnel
    }
}

#[cfg(test)]
mod tests;
