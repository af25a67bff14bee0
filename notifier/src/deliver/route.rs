//! Which way a message goes next. Pure: its state, the channels' health and the time in; a step out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::health::{Health, Trouble};
use crate::clock::millis;
use crate::spool::queue::{Leg, Phase, State};

/// A channel on the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Its name in `[notify.channel]`.
    pub channel: String,
    /// Its recipients.
    pub recipients: Vec<String>,
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It has arrived: put it away.
    Done,
    /// No channel will ever take it.
    GiveUp,
    /// These tries are due: channel and recipient.
    Try(Vec<(String, String)>),
    /// Nothing before this moment of the monotonic clock, in milliseconds.
    Wait(u64),
}

/// Everything a step depends on.
pub struct View<'a> {
    /// The channels, first choice first.
    pub route: &'a [Stop],
    /// How long a network fault may last before the next channel takes over.
    pub patience: Duration,
    /// How old the event is.
    pub age: Duration,
    /// What has been tried.
    pub state: &'a State,
    /// The channels' health, by name; one that is not there is well.
    pub health: &'a BTreeMap<String, Health>,
    /// The monotonic clock, in milliseconds.
    pub now_ms: u64,
}

/// The next step of a message.
///
/// One recipient reached on one channel is enough to end the route; the other recipients of
/// that channel are still tried. The next channel takes over at once when a channel's
/// settings are wrong or it refuses the message for good, and after `patience` when the
/// network is at fault.
#[must_use]
pub fn next(view: &View<'_>) -> Step {
    let legs: Vec<Vec<Leg>> = view.route.iter().map(|stop| legs(stop, view.state)).collect();
    let reached = |legs: &Vec<Leg>| legs.iter().any(|leg| leg.phase == Phase::Done);
    let over = |legs: &Vec<Leg>| legs.iter().all(|leg| leg.phase.is_final());
    if legs.iter().any(|legs| reached(legs) && over(legs)) {
        return Step::Done;
    }
    if legs.iter().all(over) {
        return Step::GiveUp;
    }
    let well = Health::default();
    let (mut due, mut wake_ms) = (Vec::new(), u64::MAX);
    for (stop, legs) in view.route.iter().zip(&legs) {
        if over(legs) {
            continue;
        }
        let health = view.health.get(&stop.channel).unwrap_or(&well);
        for (recipient, leg) in stop.recipients.iter().zip(legs) {
            if leg.phase.is_final() || leg.phase == Phase::Sending {
                continue;
            }
            let at_ms = leg.due_ms.max(health.until_ms);
            if at_ms <= view.now_ms {
                due.push((stop.channel.clone(), recipient.clone()));
            } else {
                wake_ms = wake_ms.min(at_ms);
            }
        }
        // A try that has not ended yet is no trouble.
        let ended = |leg: &Leg| leg.tries > u32::from(leg.phase == Phase::Sending);
        let troubled = health.trouble.is_some() || legs.iter().any(ended);
        let take_over = match health.trouble {
            Some(Trouble::Config) => true,
            _ => troubled && view.age >= view.patience,
        };
        if reached(legs) || !take_over {
            if troubled && !reached(legs) {
                // Wake up when patience ends, even if this channel has to wait longer.
                let left = view.patience.saturating_sub(view.age);
                wake_ms = wake_ms.min(view.now_ms.saturating_add(millis(left)));
            }
            break;
        }
    }
    if due.is_empty() { Step::Wait(wake_ms) } else { Step::Try(due) }
}

fn legs(stop: &Stop, state: &State) -> Vec<Leg> {
    let known = state.channels.get(&stop.channel);
    stop.recipients
        .iter()
        .map(|recipient| known.and_then(|legs| legs.get(recipient)).cloned().unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    /// A message with two channels, `sms` (to 1) and `mail` (to m).
    struct Case {
        state: State,
        health: BTreeMap<String, Health>,
        age_s: u64,
    }

    fn case() -> Case {
        Case { state: State::default(), health: BTreeMap::new(), age_s: 1 }
    }

    impl Case {
        fn leg(
            mut self,
            channel: &str,
            recipient: &str,
            phase: Phase,
            tries: u32,
            due_ms: u64,
        ) -> Self {
            let leg = Leg { phase, tries, due_ms, ..Leg::new() };
            self.state.channels.entry(channel.into()).or_default().insert(recipient.into(), leg);
            self
        }

        fn ill(mut self, channel: &str, trouble: Trouble, until_ms: u64) -> Self {
            let health =
                Health { trouble: Some(trouble), failures: 1, until_ms, ..Health::default() };
            self.health.insert(channel.into(), health);
            self
        }

        fn aged(mut self, age_s: u64) -> Self {
            self.age_s = age_s;
            self
        }

        fn next(&self) -> Step {
            self.next_on(&[("sms", &["1"]), ("mail", &["m"])])
        }

        fn next_on(&self, route: &[(&str, &[&str])]) -> Step {
            let stop = |(channel, to): &(&str, &[&str])| Stop {
                channel: (*channel).into(),
                recipients: to.iter().map(|to| (*to).into()).collect(),
            };
            next(&View {
                route: &route.iter().map(stop).collect::<Vec<_>>(),
                patience: Duration::from_secs(60),
                age: Duration::from_secs(self.age_s),
                state: &self.state,
                health: &self.health,
                now_ms: NOW,
            })
        }
    }

    fn tries(pairs: &[(&str, &str)]) -> Step {
        Step::Try(pairs.iter().map(|(c, r)| ((*c).into(), (*r).into())).collect())
    }

    #[test]
    fn the_first_channel_is_tried_alone() {
        assert_eq!(case().next(), tries(&[("sms", "1")]));
        assert_eq!(case().aged(9999).next(), tries(&[("sms", "1")]));
    }

    #[test]
    fn what_is_being_sent_is_waited_for() {
        let sending = case().leg("sms", "1", Phase::Sending, 1, 0).aged(999);
        assert_eq!(sending.next(), Step::Wait(u64::MAX));
        let again = case().leg("sms", "1", Phase::Sending, 2, 0);
        assert_eq!(again.next(), Step::Wait(NOW + 59_000));
    }

    #[test]
    fn one_success_ends_the_route() {
        assert_eq!(case().leg("sms", "1", Phase::Done, 1, 0).next(), Step::Done);
        let by_mail =
            case().leg("sms", "1", Phase::Doubtful, 9, 0).leg("mail", "m", Phase::Done, 1, 0);
        assert_eq!(by_mail.next(), Step::Done);
    }

    #[test]
    fn a_refused_message_goes_to_the_next_channel_at_once_and_then_is_given_up() {
        let refused = case().leg("sms", "1", Phase::Failed, 1, 0);
        assert_eq!(refused.next(), tries(&[("mail", "m")]));
        assert_eq!(refused.leg("mail", "m", Phase::Failed, 1, 0).next(), Step::GiveUp);
    }

    #[test]
    fn wrong_settings_mean_the_next_channel_at_once() {
        let ill = case().ill("sms", Trouble::Config, NOW + 5);
        assert_eq!(ill.next(), tries(&[("mail", "m")]));
        // The probe of the channel, when its time has come, goes on beside.
        let probe = case().ill("sms", Trouble::Config, NOW);
        assert_eq!(probe.next(), tries(&[("sms", "1"), ("mail", "m")]));
    }

    #[test]
    fn a_network_fault_is_borne_for_as_long_as_patience_lasts() {
        let young = case().ill("sms", Trouble::Network, NOW + 90_000).aged(20);
        assert_eq!(young.next(), Step::Wait(NOW + 40_000));
        let old = case().ill("sms", Trouble::Network, NOW + 90_000).aged(60);
        assert_eq!(old.next(), tries(&[("mail", "m")]));
        let doubtful = case().leg("sms", "1", Phase::Doubtful, 1, NOW + 500);
        assert_eq!(doubtful.next(), Step::Wait(NOW + 500));
    }

    #[test]
    fn each_recipient_has_his_own_state_and_one_reached_keeps_the_next_channel_out() {
        let route: &[(&str, &[&str])] = &[("sms", &["1", "2"]), ("mail", &["m"])];
        let half = case()
            .leg("sms", "1", Phase::Done, 1, 0)
            .leg("sms", "2", Phase::Waiting, 3, NOW + 7)
            .aged(999);
        assert_eq!(half.next_on(route), Step::Wait(NOW + 7));
        let over = half.leg("sms", "2", Phase::Failed, 4, 0);
        assert_eq!(over.next_on(route), Step::Done);
    }

    #[test]
    fn on_the_last_channel_the_wait_is_its_own() {
        let ill = case().ill("sms", Trouble::Network, NOW + 90_000).aged(600);
        assert_eq!(ill.next_on(&[("sms", &["1"])]), Step::Wait(NOW + 90_000));
    }
}
