//! `linkprobe measure`: how much has the line? Download, upload, and latency, idle and while it is full.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use notifier::clock::unix_ms;
use notifier::config::moment;
use notifier::exit::{self, Failure};
use notifier::syslog::{Level, Line, Log, Source};
use ureq::http::HeaderMap;

use crate::account::{Account, Ends};
use crate::budget::Budget;
use crate::check::{Places, Turn, alone, chosen};
use crate::config::{Link, Settings};
use crate::endpoint::{Endpoint, Endpoints};
use crate::estimate::{Estimate, Meter};
use crate::history::History;
use crate::isp::{self, Judgement};
use crate::latency::{self, Latency};
use crate::metrics;
use crate::provider::Request;
use crate::record::{Bound, Kind, Record};
use crate::tester::Tester;
use crate::throughput::Way;
use crate::transfer::{self, Job, Plan, Went};
use crate::units;
use crate::usage::Usage;

/// Flows of a measurement, as browsers have (and LibreSpeed).
const FLOWS: usize = 6;

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// The share of a month's data that one direction may take.
const MOST_SHARE: u64 = 10;

/// And no more than this, in bytes: a second of the fastest lines that homes have.
const MOST: u64 = 500_000_000;

/// What is used besides transfers, at most, in bytes.
const SMALL: u64 = 128 * 1024;

/// Time from one round trip to the next while the line is full.
const LOADED_EVERY: Duration = Duration::from_millis(120);

/// A body that is asked for, at most, in bytes: for the next, the connection is kept.
const BODY: u64 = 64 << 20;

/// What is asked of the command.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The line; all where it is none.
    pub name: Option<&'a str>,
    /// JSON, a line for each.
    pub json: bool,
    /// Nothing but the exit code.
    pub quiet: bool,
    /// Whether the download is measured.
    pub download: bool,
    /// Whether the upload is.
    pub upload: bool,
}

/// Measures the lines, and answers the exit code.
///
/// # Errors
///
/// When there is no such line, the settings are wrong, or one could not be measured: why.
pub fn measure(
    settings: &Settings,
    places: Places<'_>,
    options: Options<'_>,
) -> Result<u8, Failure> {
    let ends = Ends::wait(|| ());
    let mut failures = Vec::new();
    for link in chosen(settings, options.name)? {
        // What is wrong with one line keeps no other from being measured.
        let record = match one(settings, link, places, options, &ends) {
            Ok(record) => record,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        if options.quiet {
            // It is in the history, and in the log.
        } else if options.json {
            exit::print(&(serde_json::to_string(&record).unwrap_or_default() + "\n"));
        } else {
            exit::print(&text(&record));
        }
        if record.download.is_none() && record.upload.is_none() {
            let why = format!("link {}: {}", link.name, record.reasons.join("; "));
            failures.push(Failure::unavailable(why));
        }
    }
    Failure::all(failures).map(|()| 0)
}

fn one(
    settings: &Settings,
    link: &Link,
    places: Places<'_>,
    options: Options<'_>,
    ends: &Ends,
) -> Result<Record, Failure> {
    let begun = Instant::now();
    let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(0);
    let _turn = match alone(places, link)? {
        Turn::Ours(file) => file,
        Turn::Unknown(failure) => return Err(failure),
        Turn::Anothers => {
            return Err(Failure::later(format!("link {}: another linkprobe tests it", link.name)));
        }
    };
    let tester = Tester::new(link, BUFFER).map_err(Failure::config)?;
    let budget = Budget::new(places.state, &link.name, link.monthly_data, link.month_begins);
    let account = Account::new(budget, tester.client.wire().clone(), now_s);
    ends.mind(&account);
    let mut record = Record {
        timestamp: moment::write(now_s),
        kind: Kind::Measure,
        link: link.name.clone(),
        ..Record::default()
    };
    let mut reserve = |bytes: u64| account.reserve(bytes).map_err(|error| error.to_string());
    if let Err(why) = see(&tester, places, options, &mut record, &mut reserve) {
        record.reasons.push(why);
    }
    let Usage { sent, received } = tester.usage();
    (record.bytes_sent, record.bytes_received) = (sent, received);
    record.took_s = Some((begun.elapsed().as_secs_f64() * 1e3).round() / 1e3);

    let log = Log::new(&settings.host.syslog, "linkprobe", Source::Daemon).patient();
    let mut trouble = Vec::new();
    trouble.extend(account.settle(sent + received).err().map(|error| error.to_string()));
    let kept = History::new(places.state, &link.name).append(&record);
    trouble.extend(kept.err().map(|error| error.to_string()));
    log.say(Level::Info, &line(&record));
    let used = account.budget().standing(now_s).ok().map(|standing| standing.used);
    let _ = metrics::update(settings, places, |name| used.filter(|_| name == link.name));
    for why in trouble {
        log.say(
            Level::Error,
            &Line::new("not-kept").text("link", &link.name).text("message", &why),
        );
        exit::complain("linkprobe", why);
    }
    Ok(record)
}

/// Measures what was asked for, into `record`.
fn see(
    tester: &Tester<'_>,
    places: Places<'_>,
    options: Options<'_>,
    record: &mut Record,
    reserve: &mut dyn FnMut(u64) -> Result<(), String>,
) -> Result<(), String> {
    let look = tester.look();
    if !look.is_up() {
        return Err(look.why());
    }
    reserve(SMALL)?;
    let (identities, judgement) = tester.identify(places.state);
    record.client = isp::client(&identities, &tester.link.expect_isp);
    if let Judgement::Wrong { reason, .. } = judgement {
        return Err(format!("{reason}; it would be another line that is measured"));
    }
    let mut endpoints = tester.endpoints();
    let most = (tester.link.monthly_data / MOST_SHARE).min(MOST);
    let mut loaded = Latency::default();
    for (way, wanted) in [(Way::Download, options.download), (Way::Upload, options.upload)] {
        if !wanted {
            continue;
        }
        reserve(most)?;
        match transfer(tester, &mut endpoints, way, most, &mut loaded, record) {
            Ok(estimate) => {
                let rate = estimate.steady.map(|steady| (steady.rate * 8.0).round());
                let bound = rate.map(|_| Bound::About);
                match way {
                    Way::Download => (record.download, record.download_is) = (rate, bound),
                    Way::Upload => (record.upload, record.upload_is) = (rate, bound),
                }
                if !estimate.is_sure {
                    record.reasons.push(format!("{}: it varies too much to be sure", way.as_str()));
                }
            }
            Err(why) => record.reasons.push(format!("{}: {why}", way.as_str())),
        }
    }
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    if let Some(idle) = &endpoints.latency {
        record.ping = idle.median().map(ms);
        record.jitter = idle.jitter().map(ms);
        record.loss = idle.loss();
    }
    record.ping_loaded = loaded.median().map(ms);
    Ok(())
}

/// One direction, of the first provider that does its part.
fn transfer(
    tester: &Tester<'_>,
    endpoints: &mut Endpoints<'_>,
    way: Way,
    most: u64,
    loaded: &mut Latency,
    record: &mut Record,
) -> Result<Estimate, String> {
    let mut why = Vec::new();
    for provider in 0..endpoints.len() {
        let name = endpoints.name(provider);
        let endpoint = match endpoints.get(&tester.client, provider) {
            Ok(endpoint) if endpoint.has(way) => endpoint,
            Ok(_) => continue,
            Err(error) => {
                why.push(format!("{name}: {error}"));
                continue;
            }
        };
        match full(tester, &endpoint, way, most, loaded) {
            Went::Told(estimate) if estimate.steady.is_some() => {
                record.server = Some(endpoint.server.clone());
                return Ok(estimate);
            }
            Went::Told(_) => why.push(format!("{name}: too little came")),
            Went::Refused(reasons) => {
                why.extend(reasons.into_iter().map(|reason| format!("{name}: {reason}")));
            }
        }
    }
    Err(if why.is_empty() { "nobody could be asked".into() } else { why.join("; ") })
}

/// Fills the line, and takes round trips meanwhile.
fn full(
    tester: &Tester<'_>,
    endpoint: &Endpoint,
    way: Way,
    most: u64,
    loaded: &mut Latency,
) -> Went<Estimate> {
    let request = || endpoint.request(way, BODY.min(most));
    let check =
        |asked: &Request, status, headers: &HeaderMap| endpoint.check(way, asked, status, headers);
    let job = Job { request: &request, is_upload: way == Way::Upload, check: &check };
    let plan = Plan { flows: FLOWS, pace: None, apart: Duration::ZERO, limit: None };
    let mut meter = Meter::new(endpoint.round_trip, most);
    let (full, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let (mut found, mut cost) = (Latency::default(), Usage::default());
            while !over.load(Ordering::Relaxed) {
                if full.load(Ordering::Relaxed) {
                    let one = latency::sample(&tester.line, endpoint.address, 1, &mut cost);
                    found.asked += one.asked;
                    found.round_trips.extend(one.round_trips);
                }
                thread::sleep(LOADED_EVERY);
            }
            tester.client.wire().spent(cost);
            found
        });
        let went = transfer::run(&tester.client, &job, &plan, |sample| {
            // Before that the queue is not what it will be.
            full.store(sample.at > 4 * LOADED_EVERY, Ordering::Relaxed);
            meter.learn(sample)
        });
        over.store(true, Ordering::Relaxed);
        if let Ok(found) = sampler.join() {
            loaded.asked += found.asked;
            loaded.round_trips.extend(found.round_trips);
        }
        went
    })
}

fn line(record: &Record) -> Line {
    let mut line = Line::new("measure").text("link", &record.link);
    for (key, rate) in [("download", record.download), ("upload", record.upload)] {
        if let Some(rate) = rate {
            line = line.word(key, format!("{rate:.0}"));
        }
    }
    for (key, ms) in [("ping-ms", record.ping), ("ping-loaded-ms", record.ping_loaded)] {
        if let Some(ms) = ms {
            line = line.word(key, format!("{ms:.1}"));
        }
    }
    let line = line.word("bytes", record.bytes_sent + record.bytes_received);
    if record.reasons.is_empty() { line } else { line.text("message", &record.reasons.join("; ")) }
}

/// For a person.
fn text(record: &Record) -> String {
    let mut text = format!("{}:\n", record.link);
    for (way, rate) in [("download", record.download), ("upload", record.upload)] {
        if let Some(rate) = rate {
            let _ = writeln!(text, "  {way:<9}{}", units::rate(rate));
        }
    }
    if let Some(ping) = record.ping {
        let loaded = record.ping_loaded.map(|ms| format!(", {ms:.1} ms when full"));
        let _ = writeln!(text, "  ping     {ping:.1} ms{}", loaded.unwrap_or_default());
    }
    if let Some(isp) = record.client.as_ref().and_then(|client| client.isp.as_ref()) {
        let _ = writeln!(text, "  isp      {isp}");
    }
    for reason in &record.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    let bytes = units::bytes(record.bytes_sent + record.bytes_received);
    let _ = writeln!(text, "  used     {bytes} in {:.1} s", record.took_s.unwrap_or(0.0));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_one_line_keeps_no_other_from_being_measured() {
        let dir = std::env::temp_dir().join(format!("measure-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let text = "[[link]]\nname = \"one\"\nca-file = \"/nonexistent/ca.pem\"\n\
                    [[link]]\nname = \"other\"\ninterface = \"nosuch0\"\n";
        let settings = Settings::parse(text).unwrap();
        let places = Places { state: &dir, run: &dir };
        let options =
            Options { name: None, json: false, quiet: true, download: true, upload: true };
        let failure = format!("{:?}", measure(&settings, places, options).unwrap_err());
        assert!(failure.contains("ca.pem") && failure.contains("nosuch0"), "{failure}");
        assert!(History::new(&dir, "other").exists(), "it was measured");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
