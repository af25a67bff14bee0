//! A tunnel whose jump host does not always run: where that is, and what is done while it is nowhere.

use std::thread;
use std::time::Duration;

use notifier::clock::millis;
use notifier::ffi::wait_readable;

use super::{JUMP_HOST_OFF, LONGEST, Work};
use crate::cause::Cause;
use crate::on_demand::decide::Reach;
use crate::policy::Policy;
use crate::tell::{State, Way};

impl Work {
    /// The jump host is there, or elsewhere, or not.
    pub(super) fn reaches(&mut self, reach: Reach) {
        let before = self.reach.replace(reach.clone());
        let now_ms = self.now_ms();
        let address = match reach {
            Reach::Nowhere { by_plan, why } => {
                let was =
                    matches!(before, Some(Reach::Nowhere { by_plan: was, .. }) if was == by_plan);
                if !was {
                    self.reach_ms = now_ms;
                    self.stop();
                    self.later.clear();
                    if by_plan {
                        self.keeper.teller.rests(&self.keeper.tunnel.name, &why);
                    }
                }
                return;
            }
            Reach::At(address) => address,
        };
        let is_new = !matches!(&before, Some(Reach::At(old)) if *old == address);
        if !is_new {
            return;
        }
        self.stop();
        self.keeper.tunnel.address = address;
        self.policy = self.fresh_policy(now_ms);
    }

    /// A policy that begins now, and ends what was told before.
    fn fresh_policy(&self, now_ms: u64) -> Policy {
        match self.keeper.teller.told(&self.keeper.tunnel.name) {
            Some(told) => {
                let cause = Cause::of_word(&told.cause).unwrap_or(Cause::Closed);
                let down_ms = now_ms.saturating_sub(millis(told.age()));
                Policy::resumed(self.rules, now_ms, down_ms, cause)
            }
            None => Policy::new(self.rules, now_ms),
        }
    }

    /// Whether there is nothing to keep: the jump host does not run, or nobody has said yet.
    pub(super) fn rests(&self) -> bool {
        let is_there = matches!(self.reach, Some(Reach::At(_)));
        self.keeper.tunnel.on_demand.is_some() && !is_there
    }

    pub(super) fn show_rest(&mut self) {
        let Some(Reach::Nowhere { by_plan, why }) = &self.reach else { return };
        let jump = self.keeper.tunnel.jump.to_string();
        let way = Way::Ssh { port: self.port(0), home: true, jump, ssh_pid: None };
        let age = Duration::from_millis(self.now_ms().saturating_sub(self.reach_ms));
        let (cause, why) = match by_plan {
            true => ("off-by-plan", why.clone()),
            false => (JUMP_HOST_OFF, format!("its jump host does not run: {why}")),
        };
        let state = State {
            off_by_plan: *by_plan,
            cause: Some(cause.to_owned()),
            why: Some(why),
            ..State::new(false, way, age, self.proof)
        };
        self.keeper.teller.show(&self.keeper.tunnel.name, state);
    }

    pub(super) fn sleep_until_word(&self) {
        if wait_readable(&[self.keeper.post.wakes()], LONGEST).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}
