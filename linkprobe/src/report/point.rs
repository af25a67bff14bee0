//! What a report needs of a record: little, for there are years of them.

use super::spread::Sample;
use crate::record::{Bound, Kind, Record, Verdict};

/// A record, without its words.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When it began, in seconds since 1970.
    pub at_s: i64,
    /// What it is of.
    pub kind: Kind,
    /// What a check found.
    pub verdict: Option<Verdict>,
    /// Bits a second.
    pub download: Option<Sample>,
    /// Bits a second.
    pub upload: Option<Sample>,
    /// Idle round trip, in milliseconds.
    pub ping: Option<f64>,
    /// Its jitter, in milliseconds.
    pub jitter: Option<f64>,
    /// Share of samples that nobody answered.
    pub loss: Option<f64>,
    /// Round trip while the line was filled, in milliseconds.
    pub ping_loaded: Option<f64>,
    /// Bytes sent and received.
    pub bytes: u64,
    /// How long it took, or was, or was looked at, in seconds.
    pub took_s: f64,
    /// For how much of that the line was up.
    pub up_s: Option<f64>,
    /// The least download that was asked for.
    pub min_download: Option<f64>,
    /// The most latency that was asked for.
    pub max_latency: Option<f64>,
}

impl Point {
    /// Of a record, and its time in milliseconds since 1970.
    ///
    /// What was measured on another ISP's line is not this line's: of such a record the time, the
    /// verdict and the bytes alone are kept.
    #[must_use]
    pub fn of(at_ms: i64, record: &Record) -> Self {
        let ours = record.verdict != Some(Verdict::WrongIsp);
        let rate = |value: Option<f64>, is: Option<Bound>| {
            let is = is.unwrap_or(Bound::About);
            value.filter(|_| ours).map(|value| Sample { value, is })
        };
        let of_ours = |value: Option<f64>| value.filter(|_| ours);
        Self {
            at_s: at_ms.div_euclid(1000),
            kind: record.kind,
            verdict: record.verdict,
            download: rate(record.download, record.download_is),
            upload: rate(record.upload, record.upload_is),
            ping: of_ours(record.ping),
            jitter: of_ours(record.jitter),
            loss: of_ours(record.loss),
            ping_loaded: of_ours(record.ping_loaded),
            bytes: record.bytes_sent.saturating_add(record.bytes_received),
            took_s: record.took_s.unwrap_or(0.0),
            up_s: record.up_s,
            min_download: record.min_download,
            max_latency: record.max_latency,
        }
    }

    /// When it was over.
    #[must_use]
    pub fn end_s(&self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        let took = self.took_s.round() as i64;
        self.at_s.saturating_add(took)
    }

    /// Whether it is one look at the line, and no stretch of time.
    #[must_use]
    pub fn is_test(&self) -> bool {
        matches!(self.kind, Kind::Check | Kind::Measure)
    }
}
