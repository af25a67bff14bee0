//! What an hour was like: for how much of it a line was up, its round trip, and what looking has cost. Pure.

use std::time::Duration;

use notifier::channel::rfc3339;
use notifier::clock::unix_ms;

use crate::reach::Look;
use crate::record::{Kind, Record};

const HOUR_MS: u64 = 3_600_000;

/// How often it is told what looking has cost.
const SPENT_EVERY_MS: u64 = 300_000;

/// The shortest part of an hour that is told when the program ends.
const LEAST_MS: u64 = 60_000;

/// How much longer than it is looked at a line may have been unseen and still count as it was: after
/// that the machine slept.
const SLACK_MS: u64 = 60_000;

/// The hour that is counted.
#[derive(Debug)]
pub struct Hour {
    name: String,
    every_ms: u64,
    began_unix_ms: u64,
    last_ms: Option<u64>,
    looked_ms: u64,
    up_ms: u64,
    round_trips: Vec<Duration>,
    bytes: [u64; 2],
    not_told: [u64; 2],
    told_ms: Option<u64>,
}

impl Hour {
    /// One that begins now, of a line that is looked at so often.
    #[must_use]
    pub fn new(name: &str, every_ms: u64) -> Self {
        Self {
            name: name.to_owned(),
            every_ms,
            began_unix_ms: unix_ms(),
            last_ms: None,
            looked_ms: 0,
            up_ms: 0,
            round_trips: Vec::new(),
            bytes: [0; 2],
            not_told: [0; 2],
            told_ms: None,
        }
    }

    /// Takes in a look.
    pub fn looked(&mut self, look: &Look) {
        self.round_trips.extend(look.rtt());
        for (sum, more) in
            self.bytes.iter_mut().chain(&mut self.not_told).zip(look.bytes.iter().cycle())
        {
            *sum = sum.saturating_add(*more);
        }
    }

    /// Counts the time until now, in which the line was up or not.
    pub fn passes(&mut self, now_ms: u64, up: bool) {
        let passed = now_ms.saturating_sub(self.last_ms.replace(now_ms).unwrap_or(now_ms));
        if passed > self.every_ms + SLACK_MS {
            return;
        }
        self.looked_ms += passed;
        if up {
            self.up_ms += passed;
        }
    }

    /// The bytes that were not yet told of, when it is time to; at `u64::MAX` in any case.
    pub fn spent(&mut self, now_ms: u64) -> Option<[u64; 2]> {
        let since = *self.told_ms.get_or_insert(now_ms);
        let is_due = now_ms == u64::MAX || now_ms.saturating_sub(since) >= SPENT_EVERY_MS;
        if !is_due || self.not_told == [0; 2] {
            return None;
        }
        self.told_ms = Some(now_ms);
        Some(std::mem::take(&mut self.not_told))
    }

    /// The record of the hour, when it is over; at `u64::MAX` of what there is, if that is worth it.
    pub fn is_over(&mut self, now_ms: u64) -> Option<Record> {
        let least = if now_ms == u64::MAX { LEAST_MS } else { HOUR_MS };
        if self.looked_ms < least {
            return None;
        }
        let mut round_trips = std::mem::take(&mut self.round_trips);
        round_trips.sort_unstable();
        let median = round_trips.get(round_trips.len() / 2);
        #[expect(clippy::cast_precision_loss, reason = "an hour")]
        let seconds = |ms: u64| Some(ms as f64 / 1000.0);
        let record = Record {
            timestamp: rfc3339::format(self.began_unix_ms),
            kind: Kind::Watch,
            link: self.name.clone(),
            ping: median.map(|median| super::state::rounded_ms(*median)),
            bytes_sent: self.bytes[0],
            bytes_received: self.bytes[1],
            took_s: seconds(self.looked_ms),
            up_s: seconds(self.up_ms),
            ..Record::default()
        };
        (self.looked_ms, self.up_ms, self.bytes) = (0, 0, [0; 2]);
        self.began_unix_ms = unix_ms();
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::{By, Found, Probe};

    fn look(ms: u64) -> Look {
        let found = Found::Answered(Duration::from_millis(ms));
        let to = "192.0.2.1:53".parse().unwrap();
        let probes = vec![Probe { to, by: By::Dns, near: false, found }];
        Look { probes, bytes: [45, 131], ..Look::default() }
    }

    #[test]
    fn an_hour_is_counted_and_told_once() {
        let mut hour = Hour::new("backup", 10_000);
        let mut told = Vec::new();
        for now_ms in (0..=7_200_000).step_by(10_000) {
            hour.looked(&look(20 + now_ms / 1_000_000));
            hour.passes(now_ms, now_ms % 100_000 != 0);
            told.extend(hour.is_over(now_ms));
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((told[0].took_s, told[0].up_s), (Some(3600.0), Some(3240.0)));
        assert_eq!((told[0].ping, told[0].kind), (Some(21.0), Kind::Watch));
        assert_eq!((told[0].bytes_sent, told[0].bytes_received), (361 * 45, 361 * 131));
        assert_eq!(told[1].bytes_sent, 360 * 45);
        assert_eq!(hour.is_over(u64::MAX), None, "nothing worth it");
        hour.passes(7_270_000, true);
        assert_eq!(hour.is_over(u64::MAX).unwrap().took_s, Some(70.0));
    }

    #[test]
    fn a_sleep_of_the_machine_is_neither_up_nor_down() {
        let mut hour = Hour::new("backup", 10_000);
        for now_ms in [0, 10_000, 8_000_000, 8_070_000] {
            hour.passes(now_ms, true);
        }
        let record = hour.is_over(u64::MAX).unwrap();
        assert_eq!((record.took_s, record.up_s, record.ping), (Some(80.0), Some(80.0), None));
    }

    #[test]
    fn what_it_costs_is_told_each_five_minutes_and_at_the_end() {
        let mut hour = Hour::new("backup", 10_000);
        let mut told = Vec::new();
        for now_ms in (0..=900_000).step_by(10_000) {
            hour.looked(&look(20));
            told.extend(hour.spent(now_ms));
        }
        assert_eq!(told, [[31 * 45, 31 * 131], [30 * 45, 30 * 131], [30 * 45, 30 * 131]]);
        assert_eq!(hour.spent(900_001), None);
        hour.looked(&look(20));
        assert_eq!((hour.spent(u64::MAX), hour.spent(u64::MAX)), (Some([45, 131]), None));
    }
}
