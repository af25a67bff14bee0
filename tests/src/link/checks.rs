//! `linkprobe` at the home of the small internet, as its timer runs it, and what came of it.
//!
//! Nothing but the program's outside is looked at: what it prints, its exit code, its files, the
//! bytes at the line's device, and what is in the spool.

use std::time::Duration;

use serde_json::Value;

use super::names::Names;
use super::speed::Speed;
use super::{Net, Shape};
use crate::host::{CONFIG, require};
use crate::lines::AS_LINKPROBE;
use crate::process::{Daemon, Output};
use crate::tunnel::{Told, told};
use crate::wait::{pause, wait_until};

/// Where history, budget and memory are.
pub const STATE: &str = "/var/lib/linkprobe";

/// `providers`: a server of LibreSpeed at each of the two addresses.
pub const PROVIDERS: &str =
    r#"providers = ["librespeed http://speed.example.net", "librespeed http://other.example.net"]"#;

/// What is expected of `line0`, and is so.
pub const EXPECT: &str = "expect-asn = [14593]\nexpect-isp = [\"starlink\"]";

/// A home whose `line0` is the link `backup`, and the servers.
pub struct Checks {
    /// The name servers.
    pub names: Names,
    /// The servers of tests: at [`super::SPEED`], and at [`super::OTHER`].
    pub speed: [Speed; 2],
    /// The lines.
    pub net: Net,
}

/// A check that has ended.
#[derive(Debug)]
pub struct Checked {
    /// How it ended, and what it said.
    pub output: Output,
    /// Its record.
    pub record: Value,
    /// Bytes at the line's device meanwhile, Ethernet headers included.
    pub bytes: u64,
}

impl Checks {
    /// A cable of 20 Mbit/s down and 5 up, with these keys of the link besides [`PROVIDERS`].
    #[must_use]
    pub fn new(keys: &str) -> Self {
        let checks = Self::on(Net::new(), keys);
        checks.mbit(20.0);
        checks
    }

    /// The same on other lines, as wide as the machine can.
    #[must_use]
    pub fn on(net: Net, keys: &str) -> Self {
        require("linkprobe");
        net.home.sh(&format!("install -d -o _linkprobe -g _linkprobe {STATE} /run/linkprobe"));
        let (names, speed) = (Names::start(&net), Speed::start_both(&net));
        let checks = Self { names, speed, net };
        checks.keys(&format!("interface = \"line0\"\n{PROVIDERS}\n{keys}"));
        checks
    }

    /// Has these keys in the file, and no others beside the name.
    pub fn keys(&self, keys: &str) {
        let text = format!("[host]\nname = \"home\"\n\n[[link]]\nname = \"backup\"\n{keys}\n");
        self.net.home.write_config(&text);
    }

    /// Makes `line0` carry so many Mbit/s of frames towards home, and a quarter of that from it.
    pub fn mbit(&self, down: f64) {
        self.net.lines[0].shape(Some(Shape::mbit(down)), Some(Shape::mbit(down / 4.0)));
    }

    /// The words of a command as the unit of the timer runs it, behind `environment`: words that run the rest of
    /// theirs.
    fn words<'a>(environment: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        let mut all = AS_LINKPROBE.to_vec();
        all.extend(environment);
        all.extend(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
        all.extend(["/artefacts/linkprobe", "--config", CONFIG]);
        all.extend(words);
        all
    }

    /// `linkprobe WORDS`.
    #[must_use]
    pub fn linkprobe(&self, words: &[&str]) -> Output {
        self.net.home.run(&Self::words(&[], words))
    }

    /// The same in the background.
    #[must_use]
    pub fn spawn(&self, words: &[&str]) -> Daemon {
        self.net.home.spawn(&Self::words(&[], words))
    }

    /// `linkprobe check --json WORDS`.
    ///
    /// # Panics
    ///
    /// When it prints anything but a record, or a rate or a round trip of zero.
    #[must_use]
    pub fn check(&self, words: &[&str]) -> Checked {
        self.check_on(&[], words)
    }

    /// The same behind `environment`.
    ///
    /// # Panics
    ///
    /// As [`Self::check`].
    #[must_use]
    pub fn check_on(&self, environment: &[&str], words: &[&str]) -> Checked {
        // What an earlier check has left in the line's queue is not this one's.
        let count = || self.net.lines[0].count();
        let _ = wait_until(Duration::from_secs(2), || {
            let before = count();
            pause(Duration::from_millis(60));
            count() == before
        });
        let before = count();
        let words = [&["check", "--json"], words].concat();
        let output = self.net.home.run(&Self::words(environment, &words));
        let bytes = count().since(before).all();
        let Ok(record) = serde_json::from_slice::<Value>(&output.stdout) else {
            panic!("no record: {output:?}");
        };
        for key in ["download", "upload", "ping"] {
            let value = &record[key];
            assert!(value.is_null() || value.as_f64().is_some_and(|n| n > 0.0), "{key}: {record}");
        }
        Checked { output, record, bytes }
    }

    /// The conditions in the spool, in their order.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        told(&self.net.home)
    }

    /// The texts of notes in the spool.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let files = self.net.home.spool_files("drop");
        let json = files.iter().filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok());
        json.filter(|event| event["what"]["kind"] == "note")
            .map(|event| event["what"]["text"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The lines of the history that are JSON, and how many are not.
    #[must_use]
    pub fn history(&self) -> (Vec<Value>, usize) {
        let text = self.net.home.read(&format!("{STATE}/backup.jsonl"));
        let lines: Vec<Option<Value>> =
            text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        let torn = lines.iter().filter(|line| line.is_none()).count();
        (lines.into_iter().flatten().collect(), torn)
    }

    /// Bytes that stand in the budget as used, of all months.
    #[must_use]
    pub fn used(&self) -> u64 {
        let text = self.net.home.read(&format!("{STATE}/backup.budget.json"));
        let book: Value = serde_json::from_str(&text).unwrap_or_default();
        let months = book["months"].as_array().cloned().unwrap_or_default();
        months.iter().filter_map(|month| month["used"].as_u64()).sum()
    }
}

impl Checked {
    /// Itself, when it has this verdict, the exit code of that, and this among its reasons.
    ///
    /// # Panics
    ///
    /// With all there is, when it has not.
    #[expect(clippy::must_use_candidate, reason = "often called for the panic alone")]
    pub fn is(self, verdict: &str, reason: &str) -> Self {
        let code = match verdict {
            "good" => 0,
            "marginal" | "high-latency" => 1,
            "slow" | "wrong-isp" | "down" => 2,
            "untested" => 3,
            other => panic!("there is no verdict {other:?}"),
        };
        assert!(self.record["verdict"] == verdict, "{verdict}: {self:#?}");
        assert!(self.output.code == Some(code), "{verdict}: {self:#?}");
        assert!(self.reasons().contains(reason), "{reason:?}: {self:#?}");
        self
    }

    /// All reasons, a line each.
    #[must_use]
    pub fn reasons(&self) -> String {
        let reasons = self.record["reasons"].as_array().cloned().unwrap_or_default();
        let texts = reasons.iter().filter_map(Value::as_str);
        texts.collect::<Vec<_>>().join("\n")
    }

    /// A number of the record.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        self.record[key].as_f64()
    }
}
