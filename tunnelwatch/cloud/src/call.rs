//! What a call is, what comes of it, and how that is told: a line of JSON, a line for a person, an exit code.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start the machine.
    Start,
    /// Stop it.
    Stop,
    /// How is it?
    Describe,
}

impl Verb {
    /// The verb of this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "start" => Some(Self::Start),
            "stop" => Some(Self::Stop),
            "describe" => Some(Self::Describe),
            _ => None,
        }
    }
}

/// How a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does not run.
    Off,
    /// It is about to run.
    Starting,
    /// It runs, as far as the provider sees.
    On,
    /// It is about to stop.
    Stopping,
    /// There is no such machine, or not any more.
    Gone,
}

/// How the machine is, and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How it is.
    pub state: State,
    /// Its public address, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl Report {
    /// A state without an address, or with one that is of use: of a machine that is off it is nobody's.
    #[must_use]
    pub fn new(state: State, address: Option<IpAddr>) -> Self {
        let is_there = matches!(state, State::Starting | State::On);
        Self { state, address: address.filter(|_| is_there) }
    }
}

impl From<State> for Report {
    fn from(state: State) -> Self {
        Self::new(state, None)
    }
}

/// Why another time may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Later {
    /// The provider has no room for the machine now.
    Capacity,
    /// Something else is under way with it.
    Busy,
    /// Too many requests.
    Rate,
    /// The provider's own fault.
    Server,
}

/// Whose fault it is that a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another time may do.
    Later(Later, Option<Duration>),
    /// The API cannot be reached, or somebody else answers in its place.
    Unreachable,
    /// The credentials, or what they permit.
    Refused,
    /// What stands in the file.
    Config,
    /// There is no such machine.
    Gone,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened, for a person, on one line.
    pub why: String,
}

impl Trouble {
    /// One with these words.
    pub fn new(fault: Fault, why: impl Into<String>) -> Self {
        Self { fault, why: why.into() }
    }

    /// The exit code: sysexits(3).
    #[must_use]
    pub fn code(&self) -> u8 {
        match self.fault {
            Fault::Later(..) => 75,
            Fault::Unreachable => 69,
            Fault::Refused => 77,
            Fault::Config | Fault::Gone => 78,
        }
    }

    /// What a program may want to know of it; nothing where the exit code says all.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Line {
            kind: Later,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_s: Option<u64>,
        }
        let Fault::Later(kind, wait) = self.fault else { return None };
        let line = Line { kind, retry_after_s: wait.map(|wait| wait.as_secs()) };
        serde_json::to_string(&line).ok()
    }
}

/// A machine at a provider.
pub trait Machine {
    /// How it is.
    ///
    /// # Errors
    ///
    /// Why nobody knows.
    fn describe(&self) -> Result<Report, Trouble>;

    /// Starts it; well where it runs already.
    ///
    /// # Errors
    ///
    /// Why it will not start.
    fn start(&self) -> Result<Report, Trouble>;

    /// Stops it as its own system would be stopped; well where it is off already.
    ///
    /// # Errors
    ///
    /// Why it will not stop.
    fn stop(&self) -> Result<Report, Trouble>;

    /// Does what is asked for. That a machine is not there is what describes it.
    ///
    /// # Errors
    ///
    /// Why not.
    fn call(&self, verb: Verb) -> Result<Report, Trouble> {
        match verb {
            Verb::Start => self.start(),
            Verb::Stop => self.stop(),
            Verb::Describe => match self.describe() {
                Err(Trouble { fault: Fault::Gone, .. }) => Ok(State::Gone.into()),
                other => other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_and_a_trouble_are_a_line_each() {
        let line = |report: Report| serde_json::to_string(&report).unwrap();
        let address: Option<IpAddr> = Some("198.51.100.7".parse().unwrap());
        assert_eq!(
            line(Report::new(State::On, address)),
            r#"{"state":"on","address":"198.51.100.7"}"#
        );
        assert_eq!(line(Report::new(State::Off, address)), r#"{"state":"off"}"#);
        assert_eq!(line(State::Gone.into()), r#"{"state":"gone"}"#);
        let wait = Some(Duration::from_secs(30));
        for (fault, code, said) in [
            (Fault::Later(Later::Rate, wait), 75, Some(r#"{"kind":"rate","retry-after-s":30}"#)),
            (Fault::Later(Later::Capacity, None), 75, Some(r#"{"kind":"capacity"}"#)),
            (Fault::Unreachable, 69, None),
            (Fault::Refused, 77, None),
            (Fault::Config, 78, None),
            (Fault::Gone, 78, None),
        ] {
            let trouble = Trouble::new(fault, "x");
            assert_eq!((trouble.code(), trouble.line().as_deref()), (code, said), "{fault:?}");
        }
    }
}
