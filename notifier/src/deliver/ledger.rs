//! What is counted: for the weekly report, and for whoever collects metrics. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::event::{Condition, Event, Report, Status, Tally, Unit, What};
use crate::foreign::Foreign;

/// Most names of tallies, and of conditions: whoever may write into the spool makes them up. What
/// has a name too many is counted under [`OTHERS`], or not looked after.
const MOST: usize = 32;

/// The name under which the tallies beyond [`MOST`] are added up.
const OTHERS: &str = "others";

/// Most room that tallies take in a report, in bytes of JSON: with all names as long and as odd as
/// can be it would be larger than the spool takes, and never come.
const TALLIES: usize = 12 * 1024;

/// A week that begins further in the past than this, or in the future by more than a day, was begun
/// by a clock that was wrong.
const BELIEVED: Duration = Duration::from_secs(370 * 86_400);
const AHEAD: Duration = Duration::from_secs(86_400);

/// Everything that is counted. Survives a restart, in `[host] state`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// When the week began.
    pub since: Stamp,
    #[serde(default)]
    week: Week,
    /// By name: which are down, and for how long they were.
    #[serde(default)]
    conditions: BTreeMap<String, Downtime>,
    /// Alerts that have expired since somebody was told of it.
    #[serde(default)]
    pub expired: usize,
    /// Since ever.
    #[serde(default)]
    pub total: Total,
    #[serde(skip)]
    changed: bool,
    /// Whether it should be written at once.
    #[serde(skip)]
    urgent: bool,
}

/// What has been counted since the last report.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Week {
    logins: u64,
    others: u64,
    lost: u64,
    late_s: u64,
    tallies: BTreeMap<String, Tally>,
}

/// For how long a condition was down.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Downtime {
    /// Since when it is, if it is.
    down_since: Option<Stamp>,
    /// How long it was before that, in this week.
    down_s: u64,
}

impl Downtime {
    fn seconds(&self, since: &Stamp, now: &Stamp) -> u64 {
        let going_on =
            self.down_since.as_ref().map_or(0, |down| down.age(now).min(since.age(now)).as_secs());
        self.down_s.saturating_add(going_on)
    }
}

/// What has been counted since ever.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Total {
    /// Alerts taken in, by kind.
    pub alerts: BTreeMap<String, u64>,
    /// Alerts that went to `failed/`.
    pub lost: u64,
    /// By channel.
    pub channels: BTreeMap<String, Sent>,
}

/// What a channel has done.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Messages that the provider has taken.
    pub messages: u64,
    /// SMS segments of them.
    pub segments: u64,
    /// Tries that were none.
    pub failures: u64,
    /// When the last one was taken, in seconds since 1970.
    pub last_s: u64,
}

impl Ledger {
    /// Takes it up after a restart; of one that was never written, the week begins now.
    #[must_use]
    pub fn after_read(mut self, now: &Stamp) -> Self {
        let ahead = self.since.unix_ms.saturating_sub(now.unix_ms);
        let wrong = self.since.age(now) > BELIEVED || u128::from(ahead) > AHEAD.as_millis();
        if wrong {
            self.since = now.clone();
            self.conditions.values_mut().for_each(|known| known.down_s = 0);
        }
        self.changed |= wrong;
        self
    }

    /// Takes down an event that has come in.
    pub fn came(&mut self, event: &Event) {
        if matches!(event.what, What::Back(_)) {
            return;
        }
        self.changed = true;
        let count = self.total.alerts.entry(event.what.kind().to_owned()).or_default();
        *count = count.saturating_add(1);
        match &event.what {
            What::Login(_) => self.week.logins = self.week.logins.saturating_add(1),
            What::Note(_) => self.week.others = self.week.others.saturating_add(1),
            What::Condition(condition) => {
                self.urgent = true;
                self.week.others = self.week.others.saturating_add(1);
                self.changed_to(condition, &event.at);
            }
            What::Tally(tally) => self.add(tally),
            What::Report(_) | What::Back(_) => {}
        }
    }

    fn changed_to(&mut self, condition: &Condition, at: &Stamp) {
        let name = condition.name.visible();
        if !self.conditions.contains_key(&name) && self.conditions.len() >= MOST {
            self.forget_a_condition();
        }
        let since = self.since.clone();
        let known = self.conditions.entry(name).or_default();
        match condition.status {
            Status::Down => {
                known.down_since.get_or_insert_with(|| at.clone());
            }
            Status::Up => {
                known.down_s = known.seconds(&since, at);
                known.down_since = None;
            }
        }
    }

    /// Makes room for a condition: one that is well goes first, then the one that was told of the longest
    /// ago. Else whoever makes up names could keep the true ones out for good.
    fn forget_a_condition(&mut self) {
        let age = |known: &Downtime| known.down_since.as_ref().map(|down| down.unix_ms);
        let oldest = self.conditions.iter().min_by_key(|(_, known)| age(known));
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.conditions.remove(&name);
        }
    }

    fn add(&mut self, tally: &Tally) {
        let tallies = &mut self.week.tallies;
        let mut name = tally.name.clone();
        if !tallies.contains_key(&name.visible()) && tallies.len() >= MOST {
            name = Foreign::new(OTHERS.as_bytes());
        }
        let sum = tallies.entry(name.visible()).or_insert(Tally {
            name,
            good: 0,
            all: 0,
            unit: tally.unit,
        });
        if sum.unit != tally.unit {
            (sum.good, sum.all, sum.unit) = (0, 0, tally.unit);
        }
        sum.all = sum.all.saturating_add(tally.all);
        sum.good = sum.good.saturating_add(tally.good.min(tally.all)).min(sum.all);
    }

    /// Takes down that a channel has got a message out.
    pub fn sent(&mut self, channel: &str, segments: u32, now: &Stamp) {
        self.changed = true;
        let sent = self.total.channels.entry(channel.to_owned()).or_default();
        sent.messages = sent.messages.saturating_add(1);
        sent.segments = sent.segments.saturating_add(u64::from(segments));
        sent.last_s = now.unix_ms / 1000;
    }

    /// Takes down that a channel has not.
    pub fn failed(&mut self, channel: &str) {
        self.changed = true;
        let sent = self.total.channels.entry(channel.to_owned()).or_default();
        sent.failures = sent.failures.saturating_add(1);
    }

    /// Takes down how late an alert was told. One that is years late has its time from a clock that
    /// was wrong.
    pub fn told(&mut self, late: Duration) {
        if late > BELIEVED {
            return;
        }
        self.changed |= late.as_secs() > self.week.late_s;
        self.week.late_s = self.week.late_s.max(late.as_secs());
    }

    /// Takes down that an alert has reached nobody.
    pub fn lost(&mut self) {
        (self.changed, self.urgent) = (true, true);
        self.week.lost = self.week.lost.saturating_add(1);
        self.total.lost = self.total.lost.saturating_add(1);
    }

    /// Takes down that one has expired.
    pub fn one_expired(&mut self) {
        self.changed = true;
        self.expired = self.expired.saturating_add(1);
    }

    /// Takes down that somebody was told of so many.
    pub fn told_of_expired(&mut self, count: usize) {
        self.changed |= count > 0;
        self.expired = self.expired.saturating_sub(count);
    }

    /// The week up to `now`.
    #[must_use]
    pub fn report(&self, allowances: u64, now: &Stamp) -> Report {
        let Week { logins, others, lost, late_s, tallies } = &self.week;
        let week_s = self.since.age(now).as_secs();
        let down = self.conditions.iter().filter_map(|(name, downtime)| {
            let down_s = downtime.seconds(&self.since, now);
            let good = week_s.saturating_sub(down_s);
            let name = Foreign::new(name.as_bytes());
            // What a writer tallies by the same name it knows better.
            let told = down_s > 0 && !tallies.contains_key(&name.visible());
            told.then_some(Tally { name, good, all: week_s, unit: Unit::Seconds })
        });
        let mut room = TALLIES;
        let fits = |tally: &Tally| {
            let bytes = serde_json::to_vec(tally).map_or(usize::MAX, |json| json.len() + 1);
            let left = room.checked_sub(bytes);
            room = left.unwrap_or(room);
            left.is_some()
        };
        Report {
            since: self.since.clone(),
            logins: *logins,
            others: *others,
            lost: *lost,
            late_s: *late_s,
            allowances,
            tallies: down.chain(tallies.values().cloned()).filter(fits).collect(),
        }
    }

    /// Begins a new week. What is down stays so.
    pub fn begin_week(&mut self, now: &Stamp) {
        self.changed = true;
        self.since = now.clone();
        self.week = Week::default();
        self.conditions.retain(|_, downtime| {
            downtime.down_s = 0;
            downtime.down_since.is_some()
        });
    }

    /// Which conditions are known, and whether they are well.
    pub fn conditions(&self) -> impl Iterator<Item = (&str, bool)> {
        self.conditions.iter().map(|(name, known)| (name.as_str(), known.down_since.is_none()))
    }

    /// Whether there is something to write.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether that has to be at once: what a later event is held against, and what somebody will
    /// ask about. Counts may wait.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// It has been written.
    pub fn was_written(&mut self) {
        (self.changed, self.urgent) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AlertId, FORMAT, Login, Note, Severity};
    use crate::spool::MAX_FILE;

    const DAY_S: u64 = 86_400;

    fn at(seconds: u64) -> Stamp {
        Stamp { unix_ms: 1_800_000_000_000 + seconds * 1000, boot: None }
    }

    fn came(ledger: &mut Ledger, seconds: u64, what: What) {
        let (id, host) = (AlertId::from_bits(1), "jump".into());
        let severity = Severity::Info;
        ledger.came(&Event { version: FORMAT, id, at: at(seconds), host, severity, what });
    }

    fn condition(name: &str, status: Status) -> What {
        What::Condition(Condition::new(name.into(), status, String::new()))
    }

    fn tally(name: &str, good: u64, all: u64, unit: Unit) -> What {
        What::Tally(Tally { name: name.into(), good, all, unit })
    }

    /// The tallies of the report at a time, as `name good/all`.
    fn tallied(ledger: &Ledger, seconds: u64) -> String {
        let report = ledger.report(0, &at(seconds));
        let words = report.tallies.iter().map(|tally| {
            let unit = if tally.unit == Unit::Seconds { " s" } else { "" };
            format!("{} {}/{}{unit}", tally.name.visible(), tally.good, tally.all)
        });
        words.collect::<Vec<_>>().join(", ")
    }

    fn begun() -> Ledger {
        Ledger::default().after_read(&at(0))
    }

    #[test]
    fn a_week_counts_what_came_and_what_became_of_it() {
        let mut ledger = begun();
        came(&mut ledger, 5, What::Login(Login::default()));
        came(&mut ledger, 6, What::Note(Note::default()));
        came(&mut ledger, 7, What::Report(Report::default()));
        ledger.lost();
        ledger.told(Duration::from_secs(90));
        ledger.told(Duration::from_secs(3));
        ledger.sent("sms", 2, &at(10));
        ledger.failed("sms");
        let report = ledger.report(2, &at(20));
        let want = Report {
            since: at(0),
            logins: 1,
            others: 1,
            lost: 1,
            late_s: 90,
            allowances: 2,
            tallies: Vec::new(),
        };
        assert_eq!(report, want);
        ledger.begin_week(&at(30));
        assert_eq!(ledger.report(0, &at(40)), Report { since: at(30), ..Report::default() });
        let sms = Sent { messages: 1, segments: 2, failures: 1, last_s: 1_800_000_010 };
        assert_eq!((ledger.total.lost, ledger.total.channels.get("sms")), (1, Some(&sms)));
        assert_eq!(ledger.total.alerts.get("login"), Some(&1));
    }

    #[test]
    fn tallies_of_a_name_are_added_up_and_names_have_an_end() {
        let mut ledger = begun();
        for _ in 0..3 {
            came(&mut ledger, 1, tally("checks", 1, 2, Unit::Times));
        }
        came(&mut ledger, 1, tally("liar", 7, 5, Unit::Times));
        assert_eq!(tallied(&ledger, 9), "checks 3/6, liar 5/5");
        came(&mut ledger, 1, tally("liar", 60, 60, Unit::Seconds));
        assert_eq!(tallied(&ledger, 9), "checks 3/6, liar 60/60 s");
        came(&mut ledger, 1, tally("liar", u64::MAX, u64::MAX, Unit::Seconds));
        for number in 0..100 {
            came(&mut ledger, 1, tally(&format!("n{number:02}"), 1, 1, Unit::Times));
        }
        let tallies = ledger.report(0, &at(9)).tallies;
        assert_eq!(tallies.len(), MOST + 1);
        let others = tallies.iter().find(|tally| tally.name.visible() == OTHERS);
        assert_eq!(others.map(|others| others.all), Some(70));
    }

    #[test]
    fn a_condition_that_was_down_says_for_how_much_of_the_week_it_was_up() {
        let mut ledger = begun();
        came(&mut ledger, 100, condition("tunnel", Status::Down));
        came(&mut ledger, 150, condition("tunnel", Status::Down));
        came(&mut ledger, 200, condition("tunnel", Status::Up));
        came(&mut ledger, 300, condition("tunnel", Status::Down));
        came(&mut ledger, 300, condition("never down", Status::Up));
        assert_eq!(tallied(&ledger, 400), "tunnel 200/400 s");
        assert_eq!(
            ledger.conditions().collect::<Vec<_>>(),
            [("never down", true), ("tunnel", false)]
        );
        // It goes on into the next week, where only what is of that week counts.
        ledger.begin_week(&at(400));
        assert_eq!(tallied(&ledger, 500), "tunnel 0/100 s");
        came(&mut ledger, 450, condition("tunnel", Status::Up));
        assert_eq!(tallied(&ledger, 500), "tunnel 50/100 s");
        came(&mut ledger, 450, tally("tunnel", 99, 100, Unit::Seconds));
        assert_eq!(tallied(&ledger, 500), "tunnel 99/100 s");
        ledger.begin_week(&at(500));
        assert_eq!(tallied(&ledger, 600), "");
        for number in 0..100 {
            came(&mut ledger, 500, condition(&format!("c{number}"), Status::Down));
        }
        assert_eq!(ledger.conditions().count(), MOST);
        came(&mut ledger, 700, condition("a true one", Status::Down));
        assert!(ledger.conditions().any(|(name, _)| name == "a true one"));
        assert_eq!(ledger.conditions().count(), MOST);
    }

    #[test]
    fn no_names_make_a_report_too_large_for_the_spool() {
        for byte in [b'\\', 0xff, b'"', 0x07] {
            let mut ledger = begun();
            for number in 0..40 {
                let mut name = format!("{number:02}").into_bytes();
                name.resize(Foreign::MAX, byte);
                let name = Foreign::new(&name);
                let (status, text) = (Status::Down, String::new());
                let down = Condition::new(name.clone(), status, text);
                came(&mut ledger, 1, What::Condition(down));
                let tally = Tally { name, good: u64::MAX - 1, all: u64::MAX, unit: Unit::Seconds };
                came(&mut ledger, 1, What::Tally(tally));
            }
            came(&mut ledger, 1, tally("backups", 1, 1, Unit::Times));
            let json = serde_json::to_vec(&ledger.report(u64::MAX, &at(9))).unwrap();
            assert!(json.len() as u64 <= MAX_FILE - 1024, "{byte}: {}", json.len());
        }
    }

    #[test]
    fn a_week_that_a_wrong_clock_began_begins_anew() {
        let ledger = |seconds| Ledger { since: at(seconds), ..Ledger::default() };
        let now = at(500 * DAY_S);
        for (since_day, kept) in [(493, true), (131, true), (129, false), (501, true), (502, false)]
        {
            let since = ledger(since_day * DAY_S).after_read(&now).since;
            assert_eq!(since == at(since_day * DAY_S), kept, "{since_day}");
        }
    }
}
