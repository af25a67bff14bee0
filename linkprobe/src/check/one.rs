//! One check of one line.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use notifier::clock::unix_ms;
use notifier::config::moment;
use notifier::exit::{self, Failure};
use notifier::ffi::local_time;
use notifier::syslog::{Level, Line, Log, Source};

use super::memory::{Bucket, Memory};
use super::{Options, Places, Turn, alone, print, tell};
use crate::account::{Account, Ends};
use crate::budget::{Budget, BudgetError};
use crate::config::{Floor, Link, Settings};
use crate::decide::Answer;
use crate::endpoint::Endpoints;
use crate::history::History;
use crate::isp::{self, Judgement};
use crate::latency::{self, Latency};
use crate::local;
use crate::record::{Kind, Record, Verdict};
use crate::tester::Tester;
use crate::throughput::{self, Found, Wanted, Way};
use crate::usage::Usage;
use crate::usual::Usual;
use crate::verdict::{self, End, Seen, Test};
use crate::{metrics, status};

/// Bytes that are read at once.
const BUFFER: usize = 16 * 1024;

/// What a check uses besides transfers, at most, in bytes: looks, DNS, who we are, round trips.
const SMALL: u64 = 64 * 1024;

/// After this time no further transfer is begun, whoever is still to be asked: several lines have to be done before the
/// unit's own time is up.
const MOST: Duration = Duration::from_secs(30);

/// How long a longer test takes.
const LONG: Duration = Duration::from_secs(6);

/// A longer test that can take no more than this shows nothing.
const LEAST_LONG: Duration = Duration::from_secs(2);

/// The share of a month's data that longer tests may take: one in four bytes of a day.
const LONG_SHARE: f64 = 0.25 / 30.0;

/// How long a bucket that was found counts, in seconds: until the next longer test, and some hours.
const BUCKET_S: i64 = 30 * 3600;

/// Round trips that are taken again of another server before latency counts as high.
const AGAIN: usize = 10;

/// A check that goes on.
struct Check<'a> {
    link: &'a Link,
    places: Places<'a>,
    host: &'a notifier::config::host::Host,
    log: Log,
    account: Account,
    /// Why nobody knows whether another tests the line, if that is so: then no data is spent.
    unlocked: Option<String>,
    memory: Memory,
    options: Options<'a>,
    now_s: i64,
    begun: Instant,
}

/// Checks a line: the record of it, which has also been told, logged, kept and printed.
pub fn check(
    settings: &Settings,
    link: &Link,
    places: Places<'_>,
    options: Options<'_>,
    ends: &Ends,
) -> Result<Record, Failure> {
    let begun = Instant::now();
    let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(0);
    let record = |verdict, reasons| Record {
        timestamp: moment::write(now_s),
        kind: Kind::Check,
        link: link.name.clone(),
        verdict: Some(verdict),
        reasons,
        ..Record::default()
    };
    let log = Log::new(&settings.host.syslog, "linkprobe", Source::Daemon).patient();
    // A line that is down is told whatever becomes of the disk; `reserve` lets no test begin there.
    let turn = alone(places, link)?;
    let unlocked = match &turn {
        Turn::Unknown(failure) => Some(failure.text().to_owned()),
        Turn::Ours(_) | Turn::Anothers => None,
    };
    if let Turn::Anothers = turn {
        let why = "another linkprobe tests this line, and does not come to an end".to_owned();
        let record = record(Verdict::Untested, vec![why]);
        print::show(&record, options);
        return Ok(record);
    }
    let tester = Tester::new(link, BUFFER).map_err(Failure::config)?;
    let budget = Budget::new(places.state, &link.name, link.monthly_data, link.month_begins);
    let account = Account::new(budget, tester.client.wire().clone(), now_s);
    ends.mind(&account);
    let mut check = Check {
        link,
        places,
        host: &settings.host,
        log,
        account,
        unlocked,
        memory: Memory::recall(places.state, &link.name),
        options,
        now_s,
        begun,
    };
    let mut record = record(Verdict::Untested, Vec::new());
    let seen = check.see(&tester, &mut record);
    let (verdict, reasons) = verdict::judge(&seen);
    (record.verdict, record.reasons) = (Some(verdict), reasons);
    let Usage { sent, received } = tester.usage();
    (record.bytes_sent, record.bytes_received) = (sent, received);
    record.took_s = Some((begun.elapsed().as_secs_f64() * 1e3).round() / 1e3);
    let is_right = match &seen.isp {
        Some(Judgement::Right { .. }) => Some(true),
        Some(Judgement::Wrong { .. }) => Some(false),
        Some(Judgement::Unknown { .. }) | None => None,
    };
    check.finish(settings, &record, is_right);
    Ok(record)
}

impl Check<'_> {
    /// Finds out what there is to find.
    fn see(&mut self, tester: &Tester<'_>, record: &mut Record) -> Seen {
        self.progress("is it there?");
        let look = tester.look();
        if !look.is_up() {
            return Seen { down: Some(look.why()), ..Seen::default() };
        }
        let mut seen = Seen::default();
        let history = History::new(self.places.state, &self.link.name);
        let usual = match self.is_relative() {
            true => Usual::of(&history, self.now_s * 1000),
            false => Usual::default(),
        };
        seen.max_loss = self.link.max_loss;
        match self.link.max_latency.map(|most| usual.ceiling(most)) {
            Some(Ok(most)) => seen.max_latency = Some(most),
            Some(Err(why)) => seen.unknown.push(why),
            None => {}
        }
        record.max_latency = seen.max_latency.map(milliseconds);
        let mut floors = Vec::new();
        for (way, floor, usual) in [
            (Way::Download, self.link.min_download, usual.download),
            (Way::Upload, self.link.min_upload, usual.upload),
        ] {
            match floor.map(|floor| Usual::floor(floor, usual, way.as_str())) {
                Some(Ok(floor)) => floors.push((way, floor)),
                Some(Err(why)) => seen.unknown.push(why),
                None => {}
            }
        }
        for (way, floor) in &floors {
            match way {
                Way::Download => record.min_download = Some(*floor),
                Way::Upload => record.min_upload = Some(*floor),
            }
        }
        let not = |why: &str| End::Not(why.to_owned());
        let skip = |floors: &[(Way, f64)], end: End| -> Vec<Test> {
            let test =
                |(way, floor): &(Way, f64)| Test { way: *way, floor: *floor, end: end.clone() };
            floors.iter().map(test).collect()
        };
        if let Err(why) = self.reserve(SMALL) {
            if floors.is_empty() && self.is_to_be_asked() {
                seen.unknown.push(why.clone());
            }
            seen.tests = skip(&floors, not(&why));
            return seen;
        }
        self.progress("whose is it?");
        let (identities, judgement) = tester.identify(self.places.state);
        record.client = isp::client(&identities, &self.link.expect_isp);
        let is_wrong = matches!(judgement, Judgement::Wrong { .. });
        seen.isp = Some(judgement);
        if is_wrong {
            // It would spend another line's data, and prove nothing.
            return seen;
        }
        let mut endpoints = tester.endpoints();
        let is_quiet = self.is_quiet();
        for (way, floor) in floors {
            let end = if is_quiet {
                End::Quiet
            } else {
                self.test(tester, &mut endpoints, way, floor, record)
            };
            seen.tests.push(Test { way, floor, end });
        }
        let is_bad = |test: &Test| match &test.end {
            End::Made(found) => !matches!(found.answer, Answer::Has(_)),
            End::Bucket(..) | End::Quiet | End::Not(_) => false,
        };
        if seen.tests.iter().any(is_bad) {
            // It may have gone down in the middle of it.
            let look = tester.look();
            if !look.is_up() {
                let why = format!("it went down while it was tested: {}", look.why());
                return Seen { down: Some(why), ..seen };
            }
        }
        self.progress("how far is it?");
        seen.latency = latency(tester, &mut endpoints, &seen);
        if let Some(latency) = &seen.latency {
            record.ping = latency.median().map(milliseconds);
            record.jitter = latency.jitter().map(milliseconds);
            record.loss = latency.loss().map(|share| (share * 1e4).round() / 1e4);
        }
        seen
    }

    /// Tests one way.
    fn test(
        &mut self,
        tester: &Tester<'_>,
        endpoints: &mut Endpoints<'_>,
        way: Way,
        floor: f64,
        record: &mut Record,
    ) -> End {
        self.progress(way.as_str());
        let is_download = way == Way::Download;
        let at_least = if is_download { self.long(floor) } else { Duration::ZERO };
        let until = self.begun + MOST;
        let wanted = Wanted { way, threshold: floor / 8.0, at_least, until };
        let found = throughput::decide(&tester.client, endpoints, &wanted, &mut |bytes| {
            self.reserve(bytes)
        });
        let (rate, bound) =
            found.rate.map_or((None, None), |(rate, bound)| (Some(rate), Some(bound)));
        match way {
            Way::Download => (record.download, record.download_is) = (rate, bound),
            Way::Upload => (record.upload, record.upload_is) = (rate, bound),
        }
        if found.server.is_some() {
            record.server.clone_from(&found.server);
        }
        if is_download { self.remember(found, !at_least.is_zero()) } else { End::Made(found) }
    }

    /// Sees what a bucket has to do with it.
    fn remember(&mut self, found: Found, was_long: bool) -> End {
        let (now_s, has) = (self.now_s, matches!(found.answer, Answer::Has(_)));
        // A longer one that could not be made is due in a day, and not each hour.
        if was_long || !matches!(found.answer, Answer::Open) {
            self.memory.tested(was_long, now_s);
        }
        if found.was_long && has {
            self.memory.bucket = None;
        }
        if let (true, Some((rate, _))) = (found.fell, found.rate) {
            self.memory.bucket = Some(Bucket { rate, at_s: now_s });
        }
        let bucket = self.memory.bucket.clone();
        let counts = |bucket: &Bucket| (0..BUCKET_S).contains(&now_s.saturating_sub(bucket.at_s));
        match bucket.filter(counts) {
            Some(bucket) if has => End::Bucket(found, bucket.rate, local::minute(bucket.at_s)),
            _ => End::Made(found),
        }
    }

    /// How long the test is to go on though the line has passed.
    fn long(&self, floor: f64) -> Duration {
        let is_due = self.link.long_check && self.memory.is_long_due(self.now_s);
        if !(is_due || self.options.long) {
            return Duration::ZERO;
        }
        #[expect(clippy::cast_precision_loss, reason = "1000 TB at most")]
        let bytes = self.link.monthly_data as f64 * LONG_SHARE;
        let seconds = bytes / (crate::decide::PACE * floor / 8.0);
        let most = if self.options.long {
            LONG
        } else {
            LONG.min(Duration::from_secs_f64(seconds.min(3600.0)))
        };
        if most < LEAST_LONG { Duration::ZERO } else { most }
    }

    fn is_relative(&self) -> bool {
        let of_usual = |floor: Option<Floor>| matches!(floor, Some(Floor::OfUsual(_)));
        let latency = matches!(self.link.max_latency, Some(crate::config::Ceiling::OfUsual(_)));
        of_usual(self.link.min_download) || of_usual(self.link.min_upload) || latency
    }

    /// Whether there is more to find out than whether it is there, besides throughput.
    fn is_to_be_asked(&self) -> bool {
        let Link { expect_asn, expect_isp, max_latency, max_loss, .. } = self.link;
        let is_any = expect_asn.is_empty() && expect_isp.is_empty();
        !is_any || max_latency.is_some() || max_loss.is_some()
    }

    fn is_quiet(&self) -> bool {
        let Some(now) = local_time(self.now_s) else { return false };
        let minute = u16::from(now.hour) * 60 + u16::from(now.minute);
        self.link.quiet_hours.iter().any(|hours| hours.contains(minute))
    }

    /// Writes so many bytes down as used.
    fn reserve(&mut self, bytes: u64) -> Result<(), String> {
        if let Some(why) = &self.unlocked {
            return Err(why.clone());
        }
        match self.account.reserve(bytes) {
            Ok(()) => Ok(()),
            Err(error) => {
                let why = error.to_string();
                // What found no room in the spool is told with the next check.
                if matches!(error, BudgetError::Exhausted { was_told: false, .. })
                    && tell::exhausted(self.host, self.link, &self.log, &why)
                {
                    let _ = self.account.budget().told(self.now_s);
                }
                Err(why)
            }
        }
    }

    /// Keeps and tells what was found. What cannot be kept is said, and the verdict stands.
    fn finish(&mut self, settings: &Settings, record: &Record, is_right: Option<bool>) {
        let used = record.bytes_sent + record.bytes_received;
        let mut trouble = Vec::new();
        trouble.extend(self.account.settle(used).err().map(|error| error.to_string()));
        let kept = History::new(self.places.state, &self.link.name).append(record);
        trouble.extend(kept.err().map(|error| error.to_string()));
        tell::log(&self.log, record);
        let is_watched = status::is_watched(self.places.run, &self.link.name);
        let found = (record, is_right);
        tell::tell(&mut self.memory, found, self.link, self.host, &self.log, is_watched);
        let state = self.places.state;
        if let Err(error) = self.memory.keep(state, &self.link.name) {
            trouble.push(format!("{}: {error}; something may be told twice", state.display()));
        }
        // Who runs it by hand has no right there, perhaps, and `status` then has the last hourly one.
        let _ = status::keep_check(self.places.run, record);
        let standing = self.account.budget().standing(self.now_s).ok();
        let month =
            |link: &str| standing.as_ref().filter(|_| link == self.link.name).map(|at| at.used);
        let _ = metrics::update(settings, self.places, month);
        for why in trouble {
            self.log.say(
                Level::Error,
                &Line::new("not-kept").text("link", &self.link.name).text("message", &why),
            );
            exit::complain("linkprobe", why);
        }
        self.progress("");
        print::show(record, self.options);
        if !self.options.quiet && !self.options.json {
            let _ = writeln!(std::io::stderr(), "  {}", print::used(record, standing.as_ref()));
        }
    }

    /// What is going on, on a terminal.
    fn progress(&self, what: &str) {
        let mut out = std::io::stderr();
        if self.options.quiet || self.options.json || !out.is_terminal() {
            return;
        }
        let dots = if what.is_empty() { "" } else { " ..." };
        let name = if what.is_empty() { "" } else { &self.link.name };
        let _ =
            write!(out, "\r\x1b[K{name}{}{what}{dots}", if what.is_empty() { "" } else { ": " });
        if what.is_empty() {
            let _ = write!(out, "\r");
        }
        let _ = out.flush();
    }
}

/// Round trips: to the first server of a provider, else to a target. What is high is taken again elsewhere.
fn latency(tester: &Tester<'_>, endpoints: &mut Endpoints<'_>, seen: &Seen) -> Option<Latency> {
    if endpoints.latency.is_none() {
        (0..endpoints.len()).any(|provider| endpoints.get(&tester.client, provider).is_ok());
    }
    let mut found = endpoints.latency.clone();
    if found.is_none() {
        let mut cost = Usage::default();
        let targets = tester.link.targets.iter();
        let mut tried = targets.map(|to| latency::sample(&tester.line, *to, AGAIN, &mut cost));
        found = tried.find(|latency| latency.median().is_some());
        tester.client.wire().spent(cost);
    }
    let is_high = |latency: &Latency| {
        let over = |most: Duration| latency.median().is_some_and(|median| median > most);
        let lossy = |most: f64| latency.loss().is_some_and(|loss| loss > most);
        seen.max_latency.is_some_and(over) || seen.max_loss.is_some_and(lossy)
    };
    if !found.as_ref().is_some_and(is_high) {
        return found;
    }
    let again =
        (1..endpoints.len()).find_map(|provider| endpoints.get(&tester.client, provider).ok());
    let again = again.or_else(|| endpoints.get(&tester.client, 0).ok()).map(|one| one.address);
    // Where no provider answers, another target, or the only one.
    let Some(address) = again.or(tester.link.targets.last().copied()) else { return found };
    let mut cost = Usage::default();
    let again = latency::sample(&tester.line, address, AGAIN, &mut cost);
    tester.client.wire().spent(cost);
    // Who does not answer does not say that it is low.
    if again.median().is_none() || is_high(&again) { found } else { Some(again) }
}

/// With three decimals.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
