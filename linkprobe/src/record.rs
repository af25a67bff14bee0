//! One run, one line: what is printed by `--json`, and what stands in the history.
//!
//! The keys of speedtest-cli keep their names, shapes and units (`download` in bit/s, `ping` in ms,
//! `client.isp`), so scripts on its JSON go on working, on the history as well, and its own logs
//! are read as history. What is not known is null or absent, never zero.

use serde::{Deserialize, Serialize};

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it began, RFC 3339 in UTC.
    pub timestamp: String,
    /// What it is a record of. A line of speedtest-cli names nothing: that was a measurement.
    pub kind: Kind,
    /// `name` of the line.
    pub link: String,
    /// What a check found; nothing in other records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why, in words for a person: each a sentence without a stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Bits a second of TCP payload.
    pub download: Option<f64>,
    /// How near `download` is to what the line has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_is: Option<Bound>,
    /// Bits a second of TCP payload.
    pub upload: Option<f64>,
    /// How near `upload` is to what the line has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_is: Option<Bound>,
    /// Median of the idle round trips, in milliseconds.
    pub ping: Option<f64>,
    /// Mean difference of one idle round trip to the next, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// Share of the idle samples that were not answered, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Median of the round trips while the line was filled, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_loaded: Option<f64>,
    /// Bytes sent, headers included.
    pub bytes_sent: u64,
    /// Bytes received, headers included.
    pub bytes_received: u64,
    /// Who answered the test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// Who we are to the world, on this line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// Of speedtest-cli: always null.
    pub share: Option<String>,
    /// How long it took, in seconds; of an outage, how long that was; of `watch`, how long was looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_s: Option<f64>,
    /// Of `watch`: for how much of that the line was up, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_s: Option<f64>,
    /// The least download that was asked for, in bit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_download: Option<f64>,
    /// The least upload that was asked for, in bit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_upload: Option<f64>,
    /// The most latency that was asked for, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<f64>,
}

/// Longest round trip that is one. speedtest-cli writes 600,000 ms for each sample that failed.
const MOST_PING_MS: f64 = 60_000.0;

/// Bytes of a run that are a mistake, as what an importer takes: nobody transfers so many.
const MOST_BYTES: u64 = 1_000_000_000_000_000;

/// Most bits a second that are believed.
const MOST_RATE: f64 = 1e13;

impl Record {
    /// The same without numbers that are none: what a tool writes where it knows nothing, as 0 bit/s
    /// and half an hour of `ping`.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        let keep = |value: &mut Option<f64>, good: fn(f64) -> bool| {
            *value = value.filter(|value| good(*value));
        };
        let rate = |rate: f64| rate > 0.0 && rate < MOST_RATE;
        let ping = |ms: f64| ms > 0.0 && ms < MOST_PING_MS;
        for value in [&mut self.download, &mut self.upload] {
            keep(value, rate);
        }
        for value in [&mut self.min_download, &mut self.min_upload] {
            keep(value, rate);
        }
        for value in [&mut self.ping, &mut self.ping_loaded, &mut self.max_latency] {
            keep(value, ping);
        }
        for bytes in [&mut self.bytes_sent, &mut self.bytes_received] {
            *bytes = Some(*bytes).filter(|bytes| *bytes < MOST_BYTES).unwrap_or(0);
        }
        keep(&mut self.jitter, |ms| (0.0..MOST_PING_MS).contains(&ms));
        keep(&mut self.loss, |share| (0.0..=1.0).contains(&share));
        keep(&mut self.took_s, |seconds| (0.0..1e10).contains(&seconds));
        let most = self.took_s.unwrap_or(0.0);
        self.up_s = self.up_s.filter(|seconds| *seconds >= 0.0).map(|up_s| up_s.min(most));
        self
    }
}

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `linkprobe check`.
    Check,
    /// `linkprobe measure`, or a line of speedtest-cli.
    #[default]
    Measure,
    /// A time in which the line was down, written when it ended.
    Outage,
    /// An hour of `linkprobe watch`.
    Watch,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that was asked for.
    Good,
    /// The throughput could not be told from what was asked for.
    Marginal,
    /// Less throughput than was asked for.
    Slow,
    /// More latency, or loss, than was asked for.
    HighLatency,
    /// It is another ISP's line.
    WrongIsp,
    /// Nobody answers.
    Down,
    /// It is there, and could not be tested.
    Untested,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Marginal => "marginal",
            Self::Slow => "slow",
            Self::HighLatency => "high-latency",
            Self::WrongIsp => "wrong-isp",
            Self::Down => "down",
            Self::Untested => "untested",
        }
    }

    /// Exit code of the monitoring plugins: 0 OK, 1 warning, 2 critical, 3 unknown.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Marginal | Self::HighLatency => 1,
            Self::Slow | Self::WrongIsp | Self::Down => 2,
            Self::Untested => 3,
        }
    }
}

/// What a rate says about the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// It has at least that: the test did not take more.
    AtLeast,
    /// It has about that.
    About,
}

/// Who answered, as speedtest-cli names it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Its address, without a query.
    pub url: String,
    /// Host and port.
    pub host: String,
    /// Where it is.
    pub name: String,
    /// Whose it is: the provider.
    pub sponsor: String,
    /// Number at speedtest.net.
    pub id: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// Two letters of it.
    pub cc: Option<String>,
    /// Round trip, in milliseconds.
    pub latency: Option<f64>,
}

/// The line's end as others see it, as speedtest-cli names it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Client {
    /// Its address.
    pub ip: Option<String>,
    /// Name of the ISP.
    pub isp: Option<String>,
    /// Number of its autonomous system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Two letters of its country.
    pub country: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_left_out() {
        let written = Record {
            download: Some(0.0),
            upload: Some(-1.0),
            ping: Some(1_800_000.0),
            jitter: Some(0.0),
            loss: Some(1.5),
            took_s: Some(3600.0),
            up_s: Some(3700.0),
            ..Record::default()
        };
        let want = Record {
            jitter: Some(0.0),
            took_s: Some(3600.0),
            up_s: Some(3600.0),
            ..Record::default()
        };
        assert_eq!(written.cleaned(), want);
        let good = Record { download: Some(1e7), ping: Some(50.9), ..Record::default() };
        assert_eq!(good.clone().cleaned(), good);
    }

    #[test]
    fn the_keys_of_speedtest_cli_are_there_in_its_shapes_and_units() {
        let record = Record { download: Some(1.5e7), ping: Some(31.5), ..Record::default() };
        let json = serde_json::to_value(record).unwrap();
        for key in
            ["timestamp", "download", "upload", "ping", "bytes_sent", "bytes_received", "share"]
        {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["download"], 1.5e7);
        assert!(json["upload"].is_null() && json["share"].is_null());
    }
}
