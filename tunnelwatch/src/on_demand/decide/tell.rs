//! What is told, and when.

use std::time::Duration;

use super::{Action, Inputs, Link, Machine, Now, Policy, Seen, Tale};

/// After how long somebody is told.
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
                (self.ends, self.note.told.ended) = (0, false);
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
        tales.extend(self.tell_failing(now));
        let is_gone = matches!(self.seen(), Some(Seen { machine: Machine::Gone, .. }));
        if is_gone && !self.note.told.gone {
            self.note.told.gone = true;
            tales.push(Tale::Gone);
        }
        let unknown =
            self.unknown_ms.filter(|since| now.ms.saturating_sub(*since) >= TELL_UNKNOWN_MS);
        match (&inputs.link, unknown) {
            (Link::Unknown(why), Some(_)) if !self.told_unknown => {
                self.told_unknown = true;
                let (link, why) = (self.rules.link.clone(), why.clone());
                tales.push(Tale::LinkUnknown { link, why, runs: self.note.runs.is_some() });
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
