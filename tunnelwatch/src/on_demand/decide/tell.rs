//! What is told, and when.

use std::time::Duration;

use super::{Action, GONE, Inputs, Link, Machine, Now, Policy, Seen, Tale, Verb};

/// For how long it may not go before somebody is told.
const TELL_START_MS: u64 = 60_000;
const TELL_STOP_MS: u64 = 900_000;
const TELL_IDLE_MS: u64 = 24 * 3_600_000;
const TELL_SLOW_MS: u64 = 300_000;
const TELL_UNKNOWN_MS: u64 = 600_000;

impl Policy {
    pub(super) fn tell_cap(&mut self, now: &Now, actions: &mut Vec<Action>) {
        let month = self.note.month(&now.stamp);
        if self.note.told.cap.as_ref().is_some_and(|(told, _)| *told == month) {
            return;
        }
        self.note.told.cap = Some((month, now.stamp.clone()));
        let (most, runs) = (self.rules.most_a_month, self.note.runs.is_some());
        actions.push(Action::Keep);
        actions.push(Action::Tell(Tale::Cap { most, runs, people: self.people.0 }));
    }

    pub(super) fn tell(&mut self, inputs: &Inputs, now: &Now, actions: &mut Vec<Action>) {
        let mut tales = Vec::new();
        let on = self.seen.as_ref().filter(|(seen, _)| seen.machine == Machine::On);
        let is_on = on.is_some();
        let runs_ms = self.runs_ms(now);
        if let Some(runs) = &mut self.note.runs {
            if inputs.tunnel_up && is_on && runs.ours && !runs.told_up {
                runs.told_up = true;
                tales.push(Tale::Reachable { address: runs.address.clone() });
            }
            let slow = !is_on && runs.ours && runs.confirmed && runs_ms >= TELL_SLOW_MS;
            if slow && self.want.on && !runs.told_slow {
                runs.told_slow = true;
                tales.push(Tale::Slow { after: Duration::from_millis(runs_ms) });
            }
            if is_on && !runs.ours && !self.want.on && !self.note.told.foreign {
                self.note.told.foreign = true;
                tales.push(Tale::Foreign { because: self.want.why.clone() });
            }
        }
        if let Some(failing) = &self.failing {
            let patience_ms = match failing.verb {
                _ if failing.trouble.kind.is_for_somebody() => 0,
                _ if self.want.on => TELL_START_MS,
                Verb::Stop => TELL_STOP_MS,
                _ if self.note.runs.is_some() => TELL_STOP_MS,
                _ => TELL_IDLE_MS,
            };
            let word = failing.trouble.kind.word();
            let is_due = now.ms.saturating_sub(failing.since_ms) >= patience_ms;
            if is_due && self.note.told.trouble.as_deref() != Some(word) {
                self.note.told.trouble = Some(word.to_owned());
                let (why, needed) = (failing.trouble.why.clone(), self.want.on);
                tales.push(Tale::Trouble { verb: failing.verb, why, needed });
            }
        }
        if matches!(self.seen(), Some(Seen { machine: Machine::Gone, .. }))
            && self.note.told.trouble.as_deref() != Some(GONE)
        {
            self.note.told.trouble = Some(GONE.to_owned());
            tales.push(Tale::Gone);
        }
        let unknown =
            self.unknown_ms.filter(|since| now.ms.saturating_sub(*since) >= TELL_UNKNOWN_MS);
        match (&inputs.link, unknown) {
            (Link::Unknown(why), Some(_)) if !self.told_unknown => {
                self.told_unknown = true;
                tales.push(Tale::LinkUnknown { link: self.rules.link.clone(), why: why.clone() });
            }
            (Link::Up(_) | Link::Down(_), _) => self.told_unknown = false,
            _ => {}
        }
        if !tales.is_empty() {
            actions.push(Action::Keep);
            actions.extend(tales.into_iter().map(Action::Tell));
        }
    }
}
