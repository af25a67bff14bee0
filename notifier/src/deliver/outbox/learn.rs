//! What became of a try: what it means for the message, for its channel, and for those behind it.

use super::{Entry, Outbox, SETTLE};
use crate::channel::{Fault, Outcome};
use crate::clock::{Stamp, millis};
use crate::deliver::backoff;
use crate::deliver::route::{self, Gates};
use crate::deliver::worker::{Job, Report, was_asked};
use crate::ffi;
use crate::spool::queue::{Leg, Phase};
use crate::syslog::{Level, Line};

impl Outbox {
    /// Takes in what became of a try.
    pub fn learn(&mut self, report: &Report, now_ms: u64) {
        let random = ffi::random_u32().unwrap_or_default();
        self.learn_health(&report.channel, &report.outcome, now_ms, random);
        match &report.outcome {
            Outcome::Delivered { .. } => {
                self.books.ledger.sent(&report.channel, report.segments, &Stamp::now());
            }
            _ => self.books.ledger.failed(&report.channel),
        }
        self.count(report, now_ms);
        let follow = self.follow_up(report, now_ms);
        let (mut open, mut steps) = (Vec::new(), Vec::new());
        for name in &report.names {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            let leg = entry.leg_mut(&report.channel, &report.recipient);
            settle(leg, report, now_ms, random);
            leg.followed = follow && leg.phase == Phase::Done;
            if leg.phase == Phase::Done {
                let late = entry.at.age(&Stamp::now());
                self.books.ledger.told(late);
            }
            self.say_outcome(name, report);
            if !self.queue.has(name) {
                self.let_go(name, "during a try");
                continue;
            }
            self.see_doubt(name);
            let Some(entry) = self.entries.get(name) else { continue };
            let gates = Gates::default();
            let step = route::next(&self.view(entry, &gates, &Stamp::now(), now_ms));
            if matches!(step, route::Step::Try(_) | route::Step::Wait(_)) {
                open.push(name.clone());
            } else {
                steps.push((name.clone(), step));
            }
        }
        for (name, step) in steps {
            self.put_away(&name, &step);
            // It is still here: it could not be moved, or waits for its channels to come back.
            if self.entries.contains_key(&name) {
                open.push(name);
            }
        }
        if !open.is_empty() {
            self.write(&open, now_ms);
        }
    }

    /// Takes back jobs that were prepared and not begun, because something came before them.
    pub fn take_back(&mut self, channel: &str, jobs: impl Iterator<Item = Job>, now_ms: u64) {
        let mut names = Vec::new();
        for job in jobs {
            for name in job.names {
                let Some(entry) = self.entries.get_mut(&name) else { continue };
                let leg = entry.leg_mut(channel, &job.message.recipient);
                leg.phase = if job.doubtful { Phase::Doubtful } else { Phase::Waiting };
                leg.tries = leg.tries.saturating_sub(1);
                self.see_doubt(&name);
                names.push(name);
            }
        }
        if !names.is_empty() {
            self.write(&names, now_ms);
        }
    }

    fn say_outcome(&self, name: &str, report: &Report) {
        let Some(entry) = self.entries.get(name) else { return };
        let Some(leg) = entry.state.leg(&report.channel, &report.recipient) else { return };
        let said = report.outcome.to_string();
        let line = |event| {
            let line = Line::new(event)
                .word("alert", entry.id)
                .text("channel", &report.channel)
                .text("to", &report.recipient)
                .word("try", leg.tries);
            match leg.told_as {
                Some(id) => line.word("told-as", id),
                None => line,
            }
        };
        match leg.phase {
            Phase::Done => {
                let late = entry.at.age(&Stamp::now()).as_secs();
                let line = line("alert-sent").word("late-s", late).text("answer", &said);
                self.log.say(Level::Info, &line);
            }
            Phase::Failed => {
                self.log.say(Level::Error, &line("alert-refused").text("reason", &said));
            }
            // Of what goes on for hours, each doubling is told.
            _ if leg.tries.is_power_of_two() => {
                let doubt = leg.phase == Phase::Doubtful;
                let line = line("alert-deferred").word("doubtful", doubt).text("reason", &said);
                self.log.say(Level::Warning, &line);
            }
            _ => {}
        }
    }

    /// Takes down what a channel has used up of what it may send.
    fn count(&mut self, report: &Report, now_ms: u64) {
        let perhaps_out = matches!(report.outcome, Outcome::Doubtful { .. });
        let first = report.names.iter().find_map(|name| self.entries.get(name));
        let login = first.is_some_and(Entry::is_login);
        let alone = first.is_some_and(|first| first.alone);
        if !perhaps_out && !matches!(report.outcome, Outcome::Delivered { .. }) {
            return;
        }
        let Some(way) = self.policy.ways.get(&report.channel) else { return };
        if !perhaps_out && !way.in_runs {
            // What has expired since it was prepared is for the next one to tell.
            self.books.ledger.told_of_expired(report.expired);
        }
        // Nobody else waits because of a drill.
        if way.together && !alone {
            let to = (report.channel.clone(), report.recipient.clone());
            self.paces.entry(to).or_default().sent(now_ms);
        }
        // What is perhaps out is perhaps paid for. What was only found has been counted before.
        if report.sent && way.limits.are_set() {
            let usage = self.usage.entry(report.channel.clone()).or_default();
            usage.add(report.segments, login, now_ms);
            self.write_usage(now_ms);
        }
    }

    fn learn_health(&mut self, channel: &str, outcome: &Outcome, now_ms: u64, random: u32) {
        let health = self.health.entry(channel.to_owned()).or_default();
        let before = health.clone();
        health.learn(outcome, now_ms, random);
        let after = health.clone();
        if before == after {
            return;
        }
        // Written before it is told: what a provider asked for must survive a kill here.
        self.write_health(now_ms);
        let (level, line) = match (before.trouble, after.trouble) {
            (Some(_), None) => {
                let line = Line::new("channel-well").text("channel", channel);
                (Level::Info, line.word("failures", before.failures))
            }
            (_, Some(trouble))
                if before.trouble != after.trouble || after.failures.is_power_of_two() =>
            {
                let wait_s = after.until_ms.saturating_sub(now_ms).div_ceil(1000);
                let line = Line::new("channel-trouble")
                    .text("channel", channel)
                    .word("trouble", format!("{trouble:?}").to_lowercase())
                    .word("failures", after.failures)
                    .word("next-try-s", wait_s)
                    .text("reason", &after.last);
                (Level::Warning, line)
            }
            _ => return,
        };
        self.log.say(level, &line);
    }
}

/// What a try's outcome makes of its leg.
fn settle(leg: &mut Leg, report: &Report, now_ms: u64, random: u32) {
    let open = if report.unresolved { Phase::Doubtful } else { Phase::Waiting };
    let wait_ms = millis(backoff::after(leg.tries, random));
    leg.due_ms = 0;
    leg.looks = match report.unresolved {
        true if was_asked(&report.outcome) => leg.looks.saturating_add(1),
        true => leg.looks,
        false => 0,
    };
    leg.last = report.outcome.to_string();
    leg.told_as = report.told_as;
    leg.phase = match &report.outcome {
        Outcome::Delivered { id, .. } => {
            leg.provider_id.clone_from(id);
            Phase::Done
        }
        Outcome::Never { .. } if !report.unresolved => Phase::Failed,
        Outcome::Doubtful { accepted, .. } => {
            leg.accepted = leg.accepted.saturating_add(u32::from(*accepted));
            leg.due_ms = now_ms.saturating_add(wait_ms.max(millis(SETTLE)));
            Phase::Doubtful
        }
        Outcome::Later { fault: Fault::Message, .. } | Outcome::Never { .. } => {
            leg.due_ms = now_ms.saturating_add(wait_ms);
            open
        }
        // The channel waits, and with it the message.
        Outcome::Later { .. } | Outcome::Config { .. } => open,
    };
}
