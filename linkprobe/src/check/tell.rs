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
use crate::record::{Record, Verdict};

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

/// Whether each aspect is bad, as far as a verdict says.
fn aspects(record: &Record, link: &Link) -> [(Aspect, Option<bool>); 4] {
    let verdict = record.verdict.unwrap_or(Verdict::Untested);
    let here = verdict != Verdict::Down;
    let right = here && verdict != Verdict::WrongIsp;
    let about_speed = link.min_download.is_some() || link.min_upload.is_some();
    let has_speed = right && about_speed && (record.download.is_some() || record.upload.is_some());
    let speed = match verdict {
        Verdict::Slow => Some(true),
        // High latency is told when it is not slow as well.
        Verdict::Good | Verdict::HighLatency if has_speed => Some(false),
        _ => None,
    };
    let about_latency = link.max_latency.is_some() || link.max_loss.is_some();
    let latency = match verdict {
        Verdict::HighLatency => Some(true),
        Verdict::Good | Verdict::Marginal if about_latency => Some(false),
        _ => None,
    };
    let expects = !link.expect_asn.is_empty() || !link.expect_isp.is_empty();
    let known =
        record.client.as_ref().is_some_and(|client| client.asn.is_some() || client.isp.is_some());
    let isp = match verdict {
        Verdict::WrongIsp => Some(true),
        _ if here && expects && known => Some(false),
        _ => None,
    };
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
    record: &Record,
    link: &Link,
    host: &Host,
    log: &Log,
    is_watched: bool,
) {
    for (aspect, is_bad) in aspects(record, link) {
        if aspect == Aspect::Up && is_watched {
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
    let what = What::Condition(Condition { name, status, text: why });
    let event = drop::new_event(Stamp::now(), &host.name, severity, what);
    match drop::publish(&Spool::new(&host.spool), &event, Sync::Now) {
        // It is there, if not for sure on the disk: a second one would be told twice.
        Err(SpoolError::Io { step: "sync", .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tells once in a month of the plan that its data is used up.
pub fn exhausted(host: &Host, link: &Link, log: &Log, why: &str) {
    let text =
        format!("link {}: {why}; until then it is only looked whether it is there", link.name);
    log.say(
        Level::Warning,
        &Line::new("data-used-up").text("link", &link.name).text("message", why),
    );
    let what = What::Note(notifier::event::Note { text });
    let event = drop::new_event(Stamp::now(), &host.name, Severity::Warning, what);
    if let Err(error) = drop::publish(&Spool::new(&host.spool), &event, Sync::Now) {
        let line = Line::new("not-spooled").text("link", &link.name);
        log.say(Level::Alert, &line.text("message", &error.to_string()));
    }
}
