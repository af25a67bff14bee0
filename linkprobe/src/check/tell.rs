//! Who hears of what a check has found: the log each time, somebody's phone when it changes.

use notifier::clock::Stamp;
use notifier::config::host::Host;
use notifier::event::{Condition, Severity, Status, What};
use notifier::foreign::Foreign;
use notifier::spool::Spool;
use notifier::spool::drop::{self, SpoolError, Sync};
use notifier::syslog::{Level, Line, Log};

use super::memory::Memory;
use crate::alarm::{Aspect, News};
use crate::config::Link;
use crate::record::{Bound, Record, Verdict};

/// Writes the record of a check into the log.
pub fn log(log: &Log, record: &Record) {
    let verdict = record.verdict.unwrap_or(Verdict::Untested);
    let level = if verdict.exit_code() == 0 { Level::Info } else { Level::Warning };
    let mut line = Line::new("probe").word("verdict", verdict.as_str()).text("link", &record.link);
    for (key, rate) in [("download", record.download), ("upload", record.upload)] {
        if let Some(rate) = rate {
            line = line.word(key, format!("{rate:.0}"));
        }
    }
    if let Some(ping) = record.ping {
        line = line.word("ping-ms", format!("{ping:.1}"));
    }
    if let Some(asn) = record.client.as_ref().and_then(|client| client.asn) {
        line = line.word("asn", asn);
    }
    let line = line.word("bytes", record.bytes_sent + record.bytes_received);
    log.say(level, &line.text("message", &record.reasons.join("; ")));
}

/// Whether each aspect is bad, as far as a verdict says; `is_right`: whether it is the right ISP's, if that is known.
fn aspects(record: &Record, link: &Link, is_right: Option<bool>) -> [(Aspect, Option<bool>); 4] {
    let verdict = record.verdict.unwrap_or(Verdict::Untested);
    let here = verdict != Verdict::Down;
    let right = here && verdict != Verdict::WrongIsp;
    let about_speed = link.min_download.is_some() || link.min_upload.is_some();
    let has_speed = right && about_speed && (record.download.is_some() || record.upload.is_some());
    // High latency comes before what is marginal and what could not be tested.
    let has = |asked: bool, is| !asked || is == Some(Bound::AtLeast);
    let has_all = has(link.min_download.is_some(), record.download_is)
        && has(link.min_upload.is_some(), record.upload_is);
    let speed = match verdict {
        Verdict::Slow => Some(true),
        Verdict::Good if has_speed => Some(false),
        // High latency is told when it is not slow as well.
        Verdict::HighLatency if has_speed && has_all => Some(false),
        _ => None,
    };
    let about_latency = link.max_latency.is_some() || link.max_loss.is_some();
    let latency = match verdict {
        Verdict::HighLatency => Some(true),
        Verdict::Good | Verdict::Marginal if about_latency => Some(false),
        _ => None,
    };
    let expects = !link.expect_asn.is_empty() || !link.expect_isp.is_empty();
    // Another name that alone is no proof is no proof of the right one either.
    let isp = is_right.filter(|_| here && expects).map(|is_right| !is_right);
    [
        (Aspect::Up, Some(!here)),
        (Aspect::Isp, isp),
        (Aspect::Speed, speed),
        (Aspect::Latency, latency),
    ]
}

/// Tells what has changed, and keeps in `memory` what was told. `is_watched`: another tells whether the line is there.
pub fn tell(
    memory: &mut Memory,
    (record, is_right): (&Record, Option<bool>),
    link: &Link,
    host: &Host,
    log: &Log,
    is_watched: bool,
) {
    for (aspect, is_bad) in aspects(record, link, is_right) {
        // What was told here, before another watched it, has its end told here as well.
        let ends = || is_bad == Some(false) && memory.aspects.get(&aspect).is_some_and(|m| m.told);
        if aspect == Aspect::Up && is_watched && !ends() {
            continue;
        }
        let mut after = memory.aspects.get(&aspect).cloned().unwrap_or_default();
        let news = after.learn(is_bad, aspect.confirm(link.confirm));
        if let Some(news) = news {
            if let Err(error) = put(host, aspect, news, record) {
                let line = Line::new("not-spooled").text("link", &link.name);
                let line = line.text("message", &error.to_string());
                log.say(Level::Alert, &line.text("effect", "it is told with the next check"));
                continue;
            }
        }
        memory.aspects.insert(aspect, after);
    }
}

fn put(host: &Host, aspect: Aspect, news: News, record: &Record) -> Result<(), SpoolError> {
    let name = Foreign::from(aspect.condition(&record.link).as_str());
    let why = record.reasons.first().cloned().unwrap_or_default();
    let (severity, status) = match (news, aspect) {
        (News::Well, _) => (Severity::Info, Status::Up),
        (News::Bad, Aspect::Up | Aspect::Isp) => (Severity::Critical, Status::Down),
        (News::Bad, Aspect::Speed | Aspect::Latency) => (Severity::Warning, Status::Down),
    };
    let what = What::Condition(Condition { name, status, text: why, fault: aspect.fault() });
    let event = drop::new_event(Stamp::now(), &host.name, severity, what);
    match drop::publish(&Spool::new(&host.spool), &event, Sync::Now) {
        // It is there, if not for sure on the disk: a second one would be told twice.
        Err(SpoolError::Io { step: "sync", .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tells that the month's data is used up; whether it is in the spool.
#[must_use]
pub fn exhausted(host: &Host, link: &Link, log: &Log, why: &str) -> bool {
    let text = format!("link {}: {why}; only up or down is seen until the next month", link.name);
    log.say(
        Level::Warning,
        &Line::new("data-used-up").text("link", &link.name).text("message", why),
    );
    let what = What::Note(notifier::event::Note { text });
    let event = drop::new_event(Stamp::now(), &host.name, Severity::Warning, what);
    match drop::publish(&Spool::new(&host.spool), &event, Sync::Now) {
        Err(SpoolError::Io { step: "sync", .. }) | Ok(_) => true,
        Err(error) => {
            let line = Line::new("not-spooled").text("link", &link.name);
            let line = line.text("message", &error.to_string());
            log.say(Level::Alert, &line.text("effect", "it is told with the next check"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;
    use crate::record::Client;

    fn settings(spool: &Path) -> Settings {
        let text = format!(
            "[host]\nspool = {spool:?}\n[[link]]\nname = \"a\"\nexpect-asn = [14593]\n\
             min-download = \"10 Mbit/s\"\nmax-latency = \"100 ms\"\n"
        );
        Settings::parse(&text).unwrap()
    }

    fn of(record: &Record, is_right: Option<bool>, aspect: Aspect) -> Option<bool> {
        let settings = settings(Path::new("/nonexistent"));
        let all = aspects(record, &settings.links[0], is_right);
        all.into_iter().find(|(one, _)| *one == aspect).unwrap().1
    }

    #[test]
    fn a_name_that_is_no_proof_does_not_end_the_alert_of_a_wrong_isp() {
        let client = Some(Client { isp: Some("Telekom".into()), ..Client::default() });
        for (verdict, is_right, want) in [
            (Verdict::Untested, None, None),
            (Verdict::Slow, None, None),
            (Verdict::WrongIsp, Some(false), Some(true)),
            (Verdict::Slow, Some(true), Some(false)),
            (Verdict::Down, None, None),
        ] {
            let client = client.clone();
            let record = Record { verdict: Some(verdict), client, ..Record::default() };
            assert_eq!(of(&record, is_right, Aspect::Isp), want, "{verdict:?}");
        }
    }

    #[test]
    fn high_latency_says_of_speed_what_the_test_has_proved() {
        for (download_is, want) in
            [(Some(Bound::AtLeast), Some(false)), (Some(Bound::About), None), (None, None)]
        {
            let record = Record {
                verdict: Some(Verdict::HighLatency),
                download: download_is.map(|_| 9e6),
                download_is,
                ..Record::default()
            };
            assert_eq!(of(&record, Some(true), Aspect::Speed), want, "{download_is:?}");
        }
    }

    #[test]
    fn what_was_told_before_it_was_watched_has_its_end_told() {
        let spool = std::env::temp_dir().join(format!("tell-{}", std::process::id()));
        std::fs::create_dir_all(spool.join("drop")).unwrap();
        let settings = settings(&spool);
        let (link, log) = (
            &settings.links[0],
            Log::new(Path::new("/nonexistent"), "x", notifier::syslog::Source::Daemon),
        );
        let mut memory = Memory::default();
        let mut told = |verdict, is_watched| {
            let record = Record { verdict: Some(verdict), ..Record::default() };
            tell(&mut memory, (&record, None), link, &settings.host, &log, is_watched);
            std::fs::read_dir(spool.join("drop")).unwrap().count()
        };
        assert_eq!(told(Verdict::Down, true), 0);
        assert_eq!(told(Verdict::Down, false), 1);
        assert_eq!(told(Verdict::Down, true), 1);
        assert_eq!(told(Verdict::Good, true), 2);
        assert_eq!(told(Verdict::Good, true), 2);
        std::fs::remove_dir_all(&spool).unwrap();
    }
}
