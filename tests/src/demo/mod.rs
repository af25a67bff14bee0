//! What the demos share: machines with a sender and a stand-in for Twilio, and a story that tells what
//! their log and the phone get, in the order in which it comes.

pub mod link;
pub mod login;
mod style;
pub mod tunnel;

use std::io::Write;

use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::process::Daemon;
use bastion_tests::provider::Provider;
use bastion_tests::sender::TO;
use bastion_tests::tunnel::Line;
use bastion_tests::wait::wait_until;
use style::{Style, now_us, seconds};

/// One machine, or several.
pub trait Machines {
    /// The one whose log is told, where the sender runs.
    fn told(&self) -> &Host;
}

impl Machines for Host {
    fn told(&self) -> &Host {
        self
    }
}

impl Machines for Line {
    fn told(&self) -> &Host {
        &self.inside
    }
}

/// The machines, what runs in them, and what of it has been told.
pub struct Demo<M> {
    style: Style,
    sender: Option<Daemon>,
    provider: Provider,
    machines: M,
    /// Syslog lines and messages told so far.
    told: (usize, usize),
    /// Those of them that earlier steps told.
    before: (usize, usize),
    /// Event words of records that are not told.
    hidden: &'static [&'static str],
    /// When the step began, in microseconds since 1970.
    step_us: u64,
}

impl<M: Machines> Demo<M> {
    /// Begins to tell.
    fn new(machines: M, provider: Provider, sender: Daemon) -> Self {
        let (told, step_us) = ((0, 0), now_us());
        let style = Style::detect();
        let sender = Some(sender);
        Self { style, sender, provider, machines, told, before: told, hidden: &[], step_us }
    }

    /// Begins a step.
    fn heading(&mut self, text: &str) {
        println!("\n{}", self.style.bold(text));
        self.before = self.told;
        self.step_us = now_us();
    }

    fn note(&self, text: &str) {
        println!("{}", format!("  {text}").trim_end());
    }

    /// What a person would type.
    fn prompt(&self, command: &str) {
        println!("  {}", self.style.bold(&format!("$ {command}")));
    }

    fn took(&self, what: &str, us: u64) {
        println!("  {what:<44}{:>8}", seconds(us));
    }

    /// Tells what comes until `done`.
    fn follow(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let came = wait_until(DEADLINE, || {
            let done = done(self);
            self.tell_news();
            done
        });
        let lines = self.machines.told().syslog_lines();
        assert!(came, "waited {DEADLINE:?} in vain for {what}: {lines:#?}");
    }

    /// Tells what comes until an SMS of this step says `word`. Answers when that came.
    fn follow_sms(&mut self, word: &str) -> u64 {
        let at_of = |demo: &Self| {
            let all = demo.provider.accepted();
            let mut new = all.iter().skip(demo.before.1);
            new.find(|sms| sms.body().contains(word)).map(|sms| sms.at_us)
        };
        self.follow("an SMS", |demo| at_of(demo).is_some());
        at_of(self).unwrap_or(0)
    }

    /// Syslog lines and messages that have come since the last time, in the order of arrival.
    fn tell_news(&mut self) {
        let lines = self.machines.told().syslog_lines();
        let accepted = self.provider.accepted();
        let mut news: Vec<(u64, String)> = Vec::new();
        for line in lines.iter().skip(self.told.0) {
            if self.hidden.contains(&line.event()) {
                continue;
            }
            let since = line.at_us.saturating_sub(self.step_us);
            let text = format!("{}: {}", line.tag, line.text);
            news.push((line.at_us, self.style.record(&seconds(since), &text)));
        }
        for sms in accepted.iter().skip(self.told.1) {
            news.push((sms.at_us, self.style.boxed(&format!("SMS to {TO}"), sms.body())));
        }
        news.sort_by_key(|(at_us, _)| *at_us);
        for (_, text) in news {
            print!("{text}");
        }
        let _ = std::io::stdout().flush();
        self.told = (lines.len(), accepted.len());
    }

    /// When `tag` logged `event` in this step; 0 when it did not.
    fn at_of(&self, tag: &str, event: &str) -> u64 {
        let lines = self.machines.told().syslog_lines();
        let mut lines = lines.iter().skip(self.before.0);
        lines.find(|line| line.tag == tag && line.event() == event).map_or(0, |line| line.at_us)
    }

    fn logged(&self, tag: &str, event: &str) -> bool {
        self.at_of(tag, event) > 0
    }

    /// Ends it: the machines and all that they held are gone.
    fn end(self, begin_us: u64) {
        let style = self.style;
        drop(self);
        let all = seconds(now_us().saturating_sub(begin_us));
        let words = format!("Done in {all}; the machines and all they held are gone.");
        println!("\n{}", style.bold(&words));
    }
}
