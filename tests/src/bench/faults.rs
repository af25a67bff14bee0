//! Eleven faults at each channel, and at each peer: what is lost, what comes twice, how long after a
//! 429 it is tried again, how soon a refused alert takes the next channel.

use std::time::Duration;

use super::Effort;
use super::case::{Ended, at_once};
use super::ours::{self, Channel};
use super::peers::{self, Peer};
use super::report::{Row, Table, mebibytes};
use super::stats::{Sample, short};
use super::wrong::{RETRY_AFTER_S, Wrong};

/// How long the line is down: the outage of `facts/notify.md`.
pub const OUTAGE: Duration = Duration::from_secs(20);

/// Cases at a time, each a machine with a handful of processes that mostly wait; and where the time
/// of something is taken.
const MANY: usize = 14;
const FEW: usize = 3;

/// Latest after `Retry-After`, and latest for the next channel, in seconds.
const MOST_S: f64 = 2.0;

/// Latest after an outage, where nobody says that it is over, in seconds.
const MOST_BACK_S: f64 = 30.0;

/// What became of all of it.
pub struct Faults {
    ours: Vec<Ended>,
    peers: Vec<(Peer, Result<Vec<Ended>, String>)>,
    outage: Duration,
}

/// One case.
#[derive(Debug, Clone, Copy)]
enum Job {
    Ours(Channel, Wrong),
    Peer(Peer, Wrong),
}

impl Job {
    fn wrong(self) -> Wrong {
        match self {
            Self::Ours(_, wrong) | Self::Peer(_, wrong) => wrong,
        }
    }

    /// Whether the time of something is taken.
    fn is_timed(self) -> bool {
        self.wrong().is_refusal() || self.wrong() == Wrong::TooFast
    }

    /// Whether to begin with it, as it takes longest.
    fn is_long(self) -> bool {
        matches!(self, Self::Peer(peer, _) if peer.keeps()) || self.wrong().is_slow()
    }
}

fn jobs(effort: Effort) -> Vec<Job> {
    let quick = effort == Effort::Quick;
    let ours = Channel::all().into_iter().filter(|channel| !quick || channel.is_typical());
    let ours =
        ours.flat_map(|channel| channel.wrongs().iter().map(move |w| Job::Ours(channel, *w)));
    // Whoever keeps what he was given, or tries again by himself, takes his time.
    let brief = |peer: &Peer| !quick || !(peer.keeps() || *peer == Peer::CurlRetry);
    let peers = Peer::ALL.into_iter().filter(brief);
    let peers = peers.flat_map(|peer| Wrong::ALL.map(|wrong| Job::Peer(peer, wrong)));
    ours.chain(peers).filter(|job| !quick || !job.wrong().is_slow()).collect()
}

/// Runs all of it.
pub fn run(effort: Effort) -> Faults {
    let outage = if effort == Effort::Full { OUTAGE } else { OUTAGE / 10 };
    let jobs = jobs(effort);
    let (timed, mut others): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.is_timed());
    others.sort_by_key(|job| !job.is_long());
    let case = |job: &Job| match *job {
        Job::Ours(channel, wrong) => (None, Ok(ours::run(channel, wrong, outage))),
        Job::Peer(peer, wrong) => (Some(peer), peers::run(peer, wrong, outage)),
    };
    let mut ended = at_once(&others, MANY, case);
    // A peer that is refused for ever is watched for half a minute, which holds up nobody's time.
    ended.extend(at_once(&timed, FEW, case));
    let mut faults = Faults { ours: Vec::new(), peers: Vec::new(), outage };
    for (peer, result) in ended {
        match (peer, result) {
            (None, Ok(ended)) => faults.ours.push(ended),
            (None, Err(_)) => {}
            (Some(peer), result) => faults.of_peer(peer, result),
        }
    }
    faults.ours.sort_by_key(|ended| Channel::all().iter().position(|c| c.name() == ended.who));
    faults.peers.sort_by_key(|(peer, _)| Peer::ALL.iter().position(|known| known == peer));
    faults
}

impl Faults {
    fn of_peer(&mut self, peer: Peer, result: Result<Ended, String>) {
        let known = self.peers.iter_mut().find(|(known, _)| *known == peer);
        match (known, result) {
            (Some((_, Ok(all))), Ok(ended)) => all.push(ended),
            (Some(_), _) => {}
            (None, result) => self.peers.push((peer, result.map(|ended| vec![ended]))),
        }
    }

    /// Words about each peer; those that have nothing to say about it are left out.
    fn peers(&self, words: impl Fn(&[Ended]) -> Option<String>) -> String {
        let of = |(peer, ended): &(Peer, Result<Vec<Ended>, String>)| match ended {
            Ok(ended) => Some(format!("{} {}", peer.name(), words(ended)?)),
            Err(why) => Some(format!("{} absent: {why}", peer.name())),
        };
        self.peers.iter().filter_map(of).collect::<Vec<_>>().join("; ")
    }

    fn ours_at(&self, wrong: Wrong) -> impl Iterator<Item = &Ended> {
        self.ours.iter().filter(move |ended| ended.wrong == wrong)
    }

    /// When the peers' messages came after an outage.
    pub fn arrival_of_peers(&self) -> String {
        let words = self.peers(|ended| {
            let outages = ended.iter().filter(|ended| ended.wrong.is_outage());
            Some(
                outages
                    .map(|ended| format!("{} {}", ended.wrong.name(), arrival(ended)))
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        });
        format!("after {} s: {words}", self.outage.as_secs())
    }

    /// Adds the rows.
    pub fn add(&self, table: &mut Table) {
        table.add(self.lost());
        table.add(self.duplicates());
        table.add(self.too_fast());
        table.add(self.refused());
        table.add(self.arrival());
    }

    fn arrival(&self) -> Row {
        let outages = self.ours.iter().filter(|ended| ended.wrong.is_outage());
        let taken: Vec<(&Ended, f64)> =
            outages.map(|ended| (ended, ended.back_s.unwrap_or(f64::NAN))).collect();
        let met = !taken.is_empty() && taken.iter().all(|(_, seconds)| *seconds <= MOST_BACK_S);
        let latest = taken.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let measured = latest.map_or(String::new(), |(ended, seconds)| {
            format!("latest {} s ({}, {})", short(*seconds), ended.who, ended.wrong.name())
        });
        let what = format!(
            "arrival after an outage of {} s, no kick, each channel",
            self.outage.as_secs()
        );
        Row::new(&what, &measured, taken.len())
            .target("each <= 30 s", met)
            .figure("max_s", latest.map_or(f64::NAN, |(_, seconds)| *seconds))
    }

    fn lost(&self) -> Row {
        let alerts: usize = self.ours.iter().map(|ended| ended.alerts).sum();
        let lost: usize = self.ours.iter().map(|ended| ended.lost).sum();
        let peak = self.ours.iter().max_by_key(|ended| ended.peak_kib);
        let peak = peak.map_or(String::new(), |ended| {
            let kib = f64::from(u32::try_from(ended.peak_kib).unwrap_or(u32::MAX));
            format!("; most RSS {} ({} at {})", mebibytes(kib), ended.wrong.name(), ended.who)
        });
        let mut words = format!("{lost} of {alerts}{peak}");
        for ended in self.ours.iter().filter(|ended| ended.lost > 0) {
            words += &format!("; {} lost {} at {}", ended.who, ended.lost, ended.wrong.name());
        }
        let peers = self.peers(|ended| {
            let sum = |count: fn(&Ended) -> usize| ended.iter().map(count).sum::<usize>();
            let (alerts, lost, late) = (sum(|e| e.alerts), sum(|e| e.lost), sum(|e| e.late));
            let late = match late {
                0 => String::new(),
                late => format!(" and {late} still not there"),
            };
            Some(format!("{lost} of {alerts}{late}"))
        });
        let mut channels: Vec<&str> = self.ours.iter().map(|ended| ended.who).collect();
        channels.dedup();
        let what = format!("lost, 11 faults (exec: 7) at {} channels", channels.len());
        Row::new(&what, &words, self.ours.len())
            .target("0", lost == 0)
            .figure("lost", count(lost))
            .peer(&peers)
    }

    fn duplicates(&self) -> Row {
        let (mut words, mut met) = (Vec::new(), true);
        for ended in self.ours_at(Wrong::TakenThenReset) {
            let known = ended.duplicates > 0 && ended.known_copies;
            met &= match ended.who {
                "twilio" => ended.duplicates == 0,
                "smtp" => ended.duplicates <= 1 && (known || ended.duplicates == 0),
                _ => ended.duplicates <= 1,
            };
            let same = if known { " with the same Message-ID" } else { "" };
            words.push(format!("{} {}{same}", ended.who, ended.duplicates));
        }
        let others = self.ours.iter().filter(|ended| ended.wrong != Wrong::TakenThenReset);
        let others = others.filter(|ended| ended.duplicates > 0);
        let others: Vec<String> = others
            .map(|ended| format!("{} {} at {}", ended.who, ended.duplicates, ended.wrong.name()))
            .collect();
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        let measured = format!("{}; by the other faults: {others}", words.join(", "));
        let peers = self.peers(|ended| {
            let reset = ended.iter().find(|ended| ended.wrong == Wrong::TakenThenReset)?;
            Some(reset.duplicates.to_string())
        });
        Row::new("duplicates after \"taken, then reset\"", &measured, words.len())
            .target("Twilio 0; mail the same Message-ID; else <= 1", met && !words.is_empty())
            .peer(&peers)
    }

    fn too_fast(&self) -> Row {
        let asked = Duration::from_secs(RETRY_AFTER_S).as_secs_f64();
        // Mail and programs have no such word.
        let with_http = |ended: &&Ended| !matches!(ended.who, "smtp" | "exec");
        let after = self.ours_at(Wrong::TooFast).filter(with_http);
        let after: Vec<f64> =
            after.map(|ended| ended.second_try_s().map_or(f64::NAN, |s| s - asked)).collect();
        // What is no number is neither.
        let met = !after.is_empty() && after.iter().all(|s| (0.0..=MOST_S).contains(s));
        let earliest = after.iter().copied().fold(f64::INFINITY, f64::min);
        let after = Sample::new(after);
        let measured = format!("{} to {} s after it", short(earliest), short(after.max()));
        let peers = self.peers(|ended| {
            let ended = ended.iter().find(|ended| ended.wrong == Wrong::TooFast)?;
            Some(match ended.second_try_s() {
                Some(second) => format!("{} s", short(second - asked)),
                None => "no second try".to_owned(),
            })
        });
        Row::new("429: next try after Retry-After", &measured, after.len())
            .target("never before, <= 2 s after", met)
            .figure("least_s", earliest)
            .figure("max_s", after.max())
            .peer(&peers)
    }

    fn refused(&self) -> Row {
        let refused: Vec<&Ended> =
            self.ours.iter().filter(|ended| ended.wrong.is_refusal()).collect();
        let tries = refused.iter().map(|ended| ended.tries.len());
        let met = !refused.is_empty() && tries.clone().all(|tries| tries == 1);
        let after = refused.iter().map(|ended| ended.fallback_s.unwrap_or(f64::NAN));
        let met = met && after.clone().all(|seconds| seconds <= MOST_S);
        let after = Sample::new(after.collect());
        let measured = format!(
            "{} try at most; at the next channel after {} s, most {} s",
            tries.max().unwrap_or(0),
            short(after.median()),
            short(after.max())
        );
        let peers = self.peers(|ended| {
            let refused = ended.iter().filter(|ended| ended.wrong.is_refusal());
            let (tries, lost) = refused.fold((Vec::new(), 0), |(mut tries, lost), ended| {
                tries.push(format!("{} {}", ended.wrong.name(), ended.tries.len()));
                (tries, lost + ended.lost + ended.late)
            });
            Some(format!("tries: {}; never came: {lost} of 2", tries.join(", ")))
        });
        Row::new("400 and 401: tries, and the next channel", &measured, after.len())
            .target("1 try, next channel <= 2 s", met)
            .figure("max_s", after.max())
            .peer(&peers)
    }
}

/// What became of a peer's messages after an outage.
fn arrival(ended: &Ended) -> String {
    match ended.back_s {
        Some(seconds) => format!("+{} s", short(seconds)),
        None if ended.late > 0 => "not yet".to_owned(),
        None => "lost".to_owned(),
    }
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
