//! What a line usually has, by its history: what thresholds of `50 % of usual` are taken of.

use std::time::Duration;

use crate::config::{Ceiling, Floor};
use crate::history::History;
use crate::record::{Bound, Kind, Record};

/// So far back the usual goes, in milliseconds.
const SINCE_MS: i64 = 45 * 86_400_000;

/// Fewest measurements that say what is usual.
const FEWEST: usize = 3;

/// Fewest round trips that do: a day's.
const FEWEST_PINGS: usize = 24;

/// What a line usually has.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usual {
    /// Median of what was measured, in bits a second; checks say only what it has at least.
    pub download: Option<f64>,
    /// The same.
    pub upload: Option<f64>,
    /// Median of the idle round trips, in milliseconds.
    pub ping: Option<f64>,
}

impl Usual {
    /// By the history of a line.
    #[must_use]
    pub fn of(history: &History, now_ms: i64) -> Self {
        let (records, _) = history.read(Some(now_ms - SINCE_MS)).unwrap_or_default();
        Self::of_records(&records)
    }

    fn of_records(records: &[Record]) -> Self {
        let measured = || records.iter().filter(|record| record.kind == Kind::Measure);
        let about = |bound: Option<Bound>| bound != Some(Bound::AtLeast);
        let download = measured().filter(|record| about(record.download_is));
        let upload = measured().filter(|record| about(record.upload_is));
        Self {
            download: median(download.filter_map(|record| record.download), FEWEST),
            upload: median(upload.filter_map(|record| record.upload), FEWEST),
            ping: median(records.iter().filter_map(|record| record.ping), FEWEST_PINGS),
        }
    }

    /// A floor in bits a second.
    ///
    /// # Errors
    ///
    /// That the usual is not known, and what to do about it.
    pub fn floor(floor: Floor, usual: Option<f64>, way: &str) -> Result<f64, String> {
        match (floor, usual) {
            (Floor::BitsPerSecond(rate), _) => Ok(rate),
            (Floor::OfUsual(share), Some(usual)) => Ok(share * usual),
            (Floor::OfUsual(_), None) => Err(format!(
                "{way}: what is usual is not known before {FEWEST} measurements (linkprobe measure)"
            )),
        }
    }

    /// A ceiling of latency.
    ///
    /// # Errors
    ///
    /// That the usual is not known yet.
    pub fn ceiling(self, ceiling: Ceiling) -> Result<Duration, String> {
        match (ceiling, self.ping) {
            (Ceiling::Time(time), _) => Ok(time),
            (Ceiling::OfUsual(times), Some(ping)) => {
                Ok(Duration::from_secs_f64((times * ping / 1e3).clamp(0.0, 3600.0)))
            }
            (Ceiling::OfUsual(_), None) => {
                Err(format!("latency: what is usual is not known before {FEWEST_PINGS} checks"))
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>, fewest: usize) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    if values.len() < fewest {
        return None;
    }
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_what_was_measured() {
        let measure = |download: f64| Record { download: Some(download), ..Record::default() };
        let bound = Record { download_is: Some(Bound::AtLeast), ..measure(1e6) };
        let mut records = vec![measure(20e6), bound.clone(), measure(30e6)];
        assert_eq!(Usual::of_records(&records).download, None);
        records.push(measure(90e6));
        let usual = Usual::of_records(&records);
        assert_eq!((usual.download, usual.ping), (Some(30e6), None));
        assert_eq!(Usual::floor(Floor::OfUsual(0.5), usual.download, "download"), Ok(15e6));
        assert!(Usual::floor(Floor::OfUsual(0.5), None, "download").is_err());
        records.extend((0..24).map(|_| Record { ping: Some(20.0), ..bound.clone() }));
        let usual = Usual::of_records(&records);
        assert_eq!(usual.ceiling(Ceiling::OfUsual(3.0)), Ok(Duration::from_millis(60)));
    }
}
