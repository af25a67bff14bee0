//! What is told, in words.

use std::time::Duration;

use notifier::daemon::words;
use notifier::event::Severity;
use notifier::syslog::Level;

use super::Verb;

/// Something that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tale {
    /// It is started.
    Starting {
        /// Why.
        because: String,
    },
    /// The tunnel works.
    Reachable {
        /// Where the jump host is.
        address: Option<String>,
    },
    /// It was stopped by us.
    Stopped {
        /// How long it ran.
        ran: Duration,
        /// How much of the month is used.
        used: Duration,
        /// How much there is.
        most: Duration,
    },
    /// It has stopped, and not by us.
    Ended {
        /// How long it ran.
        ran: Duration,
        /// Whether it is started again.
        again: bool,
    },
    /// It takes too long.
    Slow {
        /// For so long.
        after: Duration,
    },
    /// Somebody else has started it.
    Foreign {
        /// Why it is not needed.
        because: String,
    },
    /// The month is used up.
    Cap {
        /// How much there was.
        most: Duration,
        /// Whether it runs.
        runs: bool,
        /// How many are logged in through it.
        people: usize,
    },
    /// The provider does not do it.
    Trouble {
        /// What.
        verb: Verb,
        /// Why.
        why: String,
        /// Whether it is needed now.
        needed: bool,
    },
    /// It does again.
    TroubleOver,
    /// There is no such machine any more.
    Gone,
    /// Nobody says whether the link is up.
    LinkUnknown {
        /// The link.
        link: String,
        /// Why.
        why: String,
        /// Whether it runs.
        runs: bool,
    },
}

impl Tale {
    /// How bad it is, and how that is logged.
    #[must_use]
    pub fn severity(&self) -> (Severity, Level) {
        match self {
            Self::Starting { .. } | Self::Stopped { .. } | Self::TroubleOver => {
                (Severity::Info, Level::Info)
            }
            Self::Trouble { needed: true, .. } | Self::Gone => (Severity::Critical, Level::Error),
            // By its address one gets in, so it comes before other notes in a digest, and goes where warnings go.
            Self::Reachable { .. } => (Severity::Warning, Level::Info),
            _ => (Severity::Warning, Level::Warning),
        }
    }

    /// The word of the record.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "jump-starting",
            Self::Reachable { .. } => "jump-reachable",
            Self::Stopped { .. } => "jump-stopped",
            Self::Ended { .. } => "jump-ended",
            Self::Slow { .. } => "jump-slow",
            Self::Foreign { .. } => "jump-foreign",
            Self::Cap { .. } => "jump-used-up",
            Self::Trouble { .. } | Self::Gone => "jump-trouble",
            Self::TroubleOver => "jump-trouble-over",
            Self::LinkUnknown { .. } => "jump-link-unknown",
        }
    }

    /// The text for a person.
    #[must_use]
    pub fn text(&self, tunnel: &str) -> String {
        let of = format!("jump host of {tunnel}");
        match self {
            Self::Starting { because } => format!("{of}: starting, because {because}"),
            Self::Reachable { address: Some(address) } => {
                format!("{of}: reachable at {address}, and the tunnel is up")
            }
            Self::Reachable { address: None } => format!("{of}: reachable, and the tunnel is up"),
            Self::Stopped { ran, used, most } => format!(
                "{of}: stopped after {}; {} of {} this month",
                long(*ran),
                long(*used),
                long(*most)
            ),
            Self::Ended { ran, again } => {
                let next = match again {
                    true => "it is started again, until it is reachable",
                    false => "it is not needed",
                };
                format!("{of}: it has stopped after {}, and not by us; {next}", long(*ran))
            }
            Self::Slow { after } => format!(
                "{of}: not up {} after it was started; look at the provider's console",
                words(*after)
            ),
            Self::Foreign { because } => format!(
                "{of}: it runs, was started by somebody else, and is not needed ({because}); it is left alone: \
                 tunnelwatch jump stop {tunnel} stops it"
            ),
            Self::Cap { most, runs, people } => {
                let then = match (runs, people) {
                    (false, _) => "it is not started by itself any more".to_owned(),
                    (true, 0) => "it is stopped, and not started by itself any more".to_owned(),
                    (true, people) => format!(
                        "it is stopped when the {people} who are logged in through it have gone, and not started \
                         by itself any more"
                    ),
                };
                format!(
                    "{of}: the {} of this month are used up; {then}; tunnelwatch jump start {tunnel} starts it all \
                     the same",
                    long(*most)
                )
            }
            Self::Trouble { verb: Verb::Describe, why, needed: false } => {
                format!("{of}: it could not be started if it were needed: {why}")
            }
            Self::Trouble { verb: Verb::Stop, why, .. } => {
                format!("{of}: it is not stopped, and costs: {why}")
            }
            Self::Trouble { why, .. } => format!("{of}: it cannot be started: {why}"),
            Self::TroubleOver => format!("{of}: the provider does what it is asked for again"),
            Self::Gone => format!(
                "{of}: the provider has no such machine any more; make another, and write its id into instance"
            ),
            Self::LinkUnknown { link, why, runs: false } => {
                format!("{of}: it is not started while nobody knows whether {link} is up: {why}")
            }
            Self::LinkUnknown { link, why, runs: true } => format!(
                "{of}: it runs on while nobody knows whether {link} is up: {why}; tunnelwatch jump stop {tunnel} stops it"
            ),
        }
    }
}

/// `1 h 5 min`, `3 h`, `12 min`, `40 s`.
#[must_use]
pub fn long(time: Duration) -> String {
    let (hours, minutes) = (time.as_secs() / 3600, time.as_secs() / 60 % 60);
    match (hours, minutes) {
        (0, 0..2) => words(time),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_a_sentence_with_its_remedy() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (tale, want) in [
            (
                Tale::Starting { because: "main is down for 2 min".into() },
                "jump host of home: starting, because main is down for 2 min",
            ),
            (
                Tale::Reachable { address: Some("198.51.100.7".into()) },
                "jump host of home: reachable at 198.51.100.7, and the tunnel is up",
            ),
            (
                Tale::Stopped { ran: Duration::from_secs(3900), used: hours(3), most: hours(50) },
                "jump host of home: stopped after 1 h 5 min; 3 h of 50 h this month",
            ),
        ] {
            assert_eq!(tale.text("home"), want);
        }
        assert_eq!(long(Duration::from_secs(90)), "90 s");
        assert_eq!(long(Duration::from_secs(150)), "2 min");
    }
}
