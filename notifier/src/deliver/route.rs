//! Which way a message goes next. Pure: its state, the channels' health and the time in; a step out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::health::{Health, Trouble};
use super::limits::Claim;
use crate::clock::millis;
use crate::spool::queue::{Leg, Phase, State};

/// A way for a message: channels in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The channels, first choice first.
    pub stops: Vec<Stop>,
    /// Whether a message goes over all of them, and not only as far as one that works.
    pub all: bool,
}

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
    /// It is too old to be of use.
    Expire,
    /// These tries are due: channel and recipient.
    Try(Vec<(String, String)>),
    /// Nothing before this moment of the monotonic clock, in milliseconds.
    Wait(u64),
}

/// Everything a step depends on.
pub struct View<'a> {
    /// The way it goes.
    pub route: &'a Route,
    /// How long a network fault may last before the next channel takes over.
    pub patience: Duration,
    /// The age at which it is of no use any more.
    pub expiry: Duration,
    /// How much it may use of its channels. A critical one never waits for company.
    pub claim: Claim,
    /// Whether it goes at once and in a message of its own.
    pub alone: bool,
    /// How old the event is.
    pub age: Duration,
    /// What has been tried.
    pub state: &'a State,
    /// The channels' health, by name; one that is not there is well.
    pub health: &'a BTreeMap<String, Health>,
    /// What holds a message back that was never tried.
    pub gates: &'a Gates,
    /// The monotonic clock, in milliseconds.
    pub now_ms: u64,
}

/// What holds back messages that were never tried, all in milliseconds of the monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    /// Channels that have sent as much as they may, and until when.
    pub full: BTreeMap<String, Full>,
    /// Until when what waits for a recipient is collected, by channel.
    pub collecting: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Until when a channel is full, by what is to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Full {
    /// For anything but what follows.
    pub other: u64,
    /// For what is critical.
    pub critical: u64,
    /// For logins.
    pub login: u64,
    /// For critical ones.
    pub critical_login: u64,
}

impl Full {
    /// Until when it is full for `claim`.
    #[must_use]
    pub fn until(&self, claim: Claim) -> u64 {
        match (claim.login, claim.critical) {
            (false, false) => self.other,
            (false, true) => self.critical,
            (true, false) => self.login,
            (true, true) => self.critical_login,
        }
    }
}

impl Gates {
    /// Until when the channel is full.
    fn full_until(&self, channel: &str, claim: Claim) -> u64 {
        self.full.get(channel).map_or(0, |full| full.until(claim))
    }

    fn collecting_until(&self, channel: &str, recipient: &str) -> u64 {
        let recipients = self.collecting.get(channel);
        recipients.and_then(|known| known.get(recipient)).copied().unwrap_or(0)
    }
}

/// The next step of a message.
///
/// One recipient reached on one channel is enough to end the route; the other recipients of
/// that channel are still tried. The next channel takes over at once when a channel's
/// settings are wrong, when it has sent as much as it may, or when it refuses the message for
/// good; and after `patience` when the network is at fault. A route over all channels
/// ends when each of them has it or never will.
#[must_use]
pub fn next(view: &View<'_>) -> Step {
    let stops = &view.route.stops;
    let legs: Vec<Vec<Leg>> = stops.iter().map(|stop| legs(stop, view.state)).collect();
    let reached = |legs: &Vec<Leg>| legs.iter().any(|leg| leg.phase == Phase::Done);
    let over = |legs: &Vec<Leg>| legs.iter().all(|leg| leg.phase.is_final());
    let all_over = legs.iter().all(over);
    if legs.iter().any(|legs| reached(legs) && over(legs)) && (all_over || !view.route.all) {
        return Step::Done;
    }
    if all_over {
        return Step::GiveUp;
    }
    if view.age >= view.expiry && legs.iter().flatten().all(|leg| leg.phase != Phase::Sending) {
        return if legs.iter().any(reached) { Step::Done } else { Step::Expire };
    }
    let well = Health::default();
    let expires_in = millis(view.expiry.saturating_sub(view.age));
    let (mut due, mut wake_ms) = (Vec::new(), view.now_ms.saturating_add(expires_in));
    for (stop, legs) in stops.iter().zip(&legs) {
        if over(legs) {
            continue;
        }
        let health = view.health.get(&stop.channel).unwrap_or(&well);
        let full_until = view.gates.full_until(&stop.channel, view.claim);
        let mut full = false;
        for (recipient, leg) in stop.recipients.iter().zip(legs) {
            if leg.phase.is_final() || leg.phase == Phase::Sending {
                continue;
            }
            let mut at_ms = leg.due_ms.max(health.until_ms);
            // What is perhaps out is looked for first: that is no new message.
            if leg.phase == Phase::Waiting {
                full |= full_until > view.now_ms;
                at_ms = at_ms.max(full_until);
                if leg.tries == 0 && !view.claim.critical && !view.alone {
                    let until = view.gates.collecting_until(&stop.channel, recipient);
                    at_ms = at_ms.max(until);
                }
            }
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
            _ => full || (troubled && view.age >= view.patience),
        };
        if view.route.all {
            continue;
        }
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
    const DAY: Duration = Duration::from_secs(86_400);

    /// When a message of this age expires.
    fn expires(age_s: u64) -> u64 {
        NOW + 86_400_000 - age_s * 1000
    }

    /// A message with two channels, `sms` (to 1) and `mail` (to m).
    #[derive(Default)]
    struct Case {
        state: State,
        health: BTreeMap<String, Health>,
        gates: Gates,
        all: bool,
        critical: bool,
        age_s: u64,
    }

    fn case() -> Case {
        Case { age_s: 1, ..Case::default() }
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
                route: &Route { stops: route.iter().map(stop).collect(), all: self.all },
                patience: Duration::from_secs(60),
                expiry: DAY,
                claim: Claim { critical: self.critical, login: false },
                alone: false,
                gates: &self.gates,
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
        assert_eq!(sending.next(), Step::Wait(expires(999)));
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

    #[test]
    fn over_all_channels_none_waits_for_another_and_none_is_left_out() {
        let all = || Case { all: true, ..case() };
        assert_eq!(all().next(), tries(&[("sms", "1"), ("mail", "m")]));
        let one = all().leg("sms", "1", Phase::Done, 1, 0);
        assert_eq!(one.next(), tries(&[("mail", "m")]));
        let held = one.ill("mail", Trouble::Network, NOW + 9);
        assert_eq!(held.next(), Step::Wait(NOW + 9));
        assert_eq!(held.leg("mail", "m", Phase::Failed, 1, 0).next(), Step::Done);
        let refused = all().leg("sms", "1", Phase::Failed, 1, 0);
        assert_eq!(refused.leg("mail", "m", Phase::Failed, 1, 0).next(), Step::GiveUp);
    }

    #[test]
    fn a_channel_that_has_sent_enough_hands_over_at_once() {
        let full = |mut case: Case| {
            let full = Full { other: NOW + 500, login: NOW + 500, ..Full::default() };
            case.gates.full.insert("sms".into(), full);
            case
        };
        assert_eq!(full(case()).next(), tries(&[("mail", "m")]));
        assert_eq!(full(case()).next_on(&[("sms", &["1"])]), Step::Wait(NOW + 500));
        let critical = full(Case { critical: true, ..case() });
        assert_eq!(critical.next(), tries(&[("sms", "1")]));
        // What is perhaps out is looked for all the same.
        let doubtful = full(case()).leg("sms", "1", Phase::Doubtful, 1, 0);
        assert_eq!(doubtful.next(), tries(&[("sms", "1")]));
    }

    #[test]
    fn while_others_are_collected_only_a_new_and_uncritical_one_waits() {
        let collecting = |mut case: Case| {
            let until = BTreeMap::from([("1".to_owned(), NOW + 500)]);
            case.gates.collecting.insert("sms".into(), until);
            case
        };
        assert_eq!(collecting(case()).aged(999).next(), Step::Wait(NOW + 500));
        let critical = collecting(Case { critical: true, ..case() });
        assert_eq!(critical.next(), tries(&[("sms", "1")]));
        let again = collecting(case()).leg("sms", "1", Phase::Waiting, 1, 0);
        assert_eq!(again.next(), tries(&[("sms", "1")]));
    }

    #[test]
    fn what_is_too_old_expires_unless_it_is_just_going_out() {
        let old = || case().aged(86_400);
        assert_eq!(old().next(), Step::Expire);
        assert_eq!(old().leg("sms", "1", Phase::Doubtful, 3, NOW + 9).next(), Step::Expire);
        let sending = old().leg("sms", "1", Phase::Sending, 1, 0);
        assert!(matches!(sending.next(), Step::Wait(_) | Step::Try(_)));
        let reached = Case { all: true, ..old() }.leg("sms", "1", Phase::Done, 1, 0);
        assert_eq!(reached.next(), Step::Done);
    }
}
