//! When somebody is told what checks found: of a change that so many checks confirm, once, and of its end.

use notifier::event::ConditionFault;
use serde::{Deserialize, Serialize};

use crate::config::MofN;

/// What is told of a line, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Whether it is there.
    Up,
    /// Whether it is the right ISP's.
    Isp,
    /// Throughput.
    Speed,
    /// Latency and loss.
    Latency,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Isp, Self::Speed, Self::Latency];

    /// Name of the condition that is told of the line `link`.
    #[must_use]
    pub fn condition(self, link: &str) -> String {
        match self {
            Self::Up => format!("link {link}"),
            Self::Isp => format!("link {link} isp"),
            Self::Speed => format!("link {link} speed"),
            Self::Latency => format!("link {link} latency"),
        }
    }

    /// What it is when it is not well.
    #[must_use]
    pub fn fault(self) -> ConditionFault {
        match self {
            Self::Up => ConditionFault::Down,
            Self::Isp => ConditionFault::Wrong,
            Self::Speed => ConditionFault::Low,
            Self::Latency => ConditionFault::High,
        }
    }

    /// How many checks have to be bad. Which ISP it is was asked of two sources, and whether it is
    /// there of several targets: the next check would tell the same, an hour later.
    #[must_use]
    pub fn confirm(self, of_throughput: MofN) -> MofN {
        match self {
            Self::Up | Self::Isp => MofN { bad: 1, of: 1 },
            Self::Speed | Self::Latency => of_throughput,
        }
    }
}

/// What is remembered of one aspect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The last checks that could tell, the latest last: whether they were bad.
    pub recent: Vec<bool>,
    /// Whether it was told to be bad.
    pub told: bool,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is bad.
    Bad,
    /// It is well again.
    Well,
}

impl Memory {
    /// Takes what a check has found; nothing where it could not tell, which changes nothing.
    pub fn learn(&mut self, is_bad: Option<bool>, confirm: MofN) -> Option<News> {
        self.recent.push(is_bad?);
        let surplus = self.recent.len().saturating_sub(confirm.of);
        self.recent.drain(..surplus);
        let bad = self.recent.iter().filter(|bad| **bad).count();
        let well = self.recent.iter().rev().take_while(|bad| !**bad).count();
        if !self.told && bad >= confirm.bad {
            self.told = true;
            return Some(News::Bad);
        }
        if self.told && well >= confirm.bad {
            self.told = false;
            return Some(News::Well);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_check_is_nothing_and_each_change_is_told_once() {
        let (two, one) = (MofN { bad: 2, of: 3 }, MofN { bad: 1, of: 1 });
        for (confirm, checks, want) in [
            (two, "b", ""),
            (two, "bgggb", ""),
            (two, "bgb", "2B"),
            (two, "bb?bbb", "1B"),
            (two, "bbgbg", "1B"),
            (two, "bbggg", "1B 3W"),
            (two, "b?b", "2B"),
            (two, "bbggbb", "1B 3W 5B"),
            (one, "bbgb", "0B 2W 3B"),
        ] {
            let mut memory = Memory::default();
            let told = checks.chars().enumerate().filter_map(|(at, check)| {
                let bad = match check {
                    'b' => Some(true),
                    'g' => Some(false),
                    _ => None,
                };
                let news = memory.learn(bad, confirm)?;
                Some(format!("{at}{}", if news == News::Bad { 'B' } else { 'W' }))
            });
            assert_eq!(told.collect::<Vec<_>>().join(" "), want, "{checks}");
        }
    }
}
