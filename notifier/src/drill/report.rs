//! What a drill has found: a line a part, the worst named first, for a person, for a program, and as an exit code.

use std::time::Duration;

use serde_json::json;

use crate::doctor::finding::{Finding, Severity};
use crate::foreign::visible;

/// How a part went, the least bad first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Well.
    Ok,
    /// It was not tried, and its text says why.
    Skipped,
    /// It works, and will not for long; or nobody knows.
    Warning,
    /// It does not work.
    Failed,
}

impl State {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One part of a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is: `channel sms`, `login home`, `clock`.
    pub name: String,
    /// How it went.
    pub state: State,
    /// What there is to say of it, on one line.
    pub text: String,
    /// What to do; empty where there is nothing to do.
    pub fix: String,
    /// How long it took.
    pub took: Duration,
}

impl Part {
    /// One that went so. What others chose in its texts is made visible here.
    pub fn new(
        name: impl AsRef<str>,
        state: State,
        text: impl AsRef<str>,
        fix: impl AsRef<str>,
    ) -> Self {
        let clean = |text: &str| visible(text.trim().as_bytes());
        Self {
            name: clean(name.as_ref()),
            state,
            text: clean(text.as_ref()),
            fix: clean(fix.as_ref()),
            took: Duration::ZERO,
        }
    }

    /// One that went well.
    pub fn ok(name: impl AsRef<str>, text: impl AsRef<str>) -> Self {
        Self::new(name, State::Ok, text, "")
    }

    /// One that was not tried, and what would have to be for it.
    pub fn skipped(name: impl AsRef<str>, why: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        Self::new(name, State::Skipped, why, fix)
    }

    /// Text and remedy that come as one, `text; remedy`, as other parts of the project say it.
    #[must_use]
    pub fn told(name: &str, state: State, said: &str) -> Self {
        let (text, fix) = said.rsplit_once("; ").unwrap_or((said, ""));
        Self::new(name, state, text, fix)
    }

    /// What the doctor has found, as one part: its worst finding, and how many more there are; `well` where there is
    /// none that counts.
    #[must_use]
    pub fn of_findings<'a>(
        name: &str,
        findings: impl IntoIterator<Item = &'a Finding>,
        well: &str,
    ) -> Self {
        let counts = |finding: &&Finding| finding.severity != Severity::Note;
        let mut findings: Vec<&Finding> = findings.into_iter().filter(counts).collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let Some(worst) = findings.first() else { return Self::ok(name, well) };
        let state = match worst.severity {
            Severity::Critical => State::Failed,
            _ => State::Warning,
        };
        let more = match findings.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more: bastion check)"),
        };
        let text = match worst.subject.as_str() {
            "" => format!("{}{more}", worst.text),
            subject => format!("{subject}: {}{more}", worst.text),
        };
        Self::new(name, state, text, &worst.fix)
    }

    /// The same, with how long it took.
    #[must_use]
    pub fn taking(self, took: Duration) -> Self {
        Self { took, ..self }
    }
}

/// All parts of a drill.
#[derive(Debug)]
pub struct Report {
    /// In the order in which they are told: the worst first, and of equal ones as they were given.
    parts: Vec<Part>,
    /// All of it together.
    took: Duration,
}

impl Report {
    /// Puts what is wrong first.
    #[must_use]
    pub fn new(mut parts: Vec<Part>, took: Duration) -> Self {
        // What was skipped is nothing that anybody has to mend.
        let rank = |state| match state {
            State::Failed => 0,
            State::Warning => 1,
            State::Ok => 2,
            State::Skipped => 3,
        };
        parts.sort_by_key(|part| rank(part.state));
        Self { parts, took }
    }

    fn count(&self, state: State) -> usize {
        self.parts.iter().filter(|part| part.state == state).count()
    }

    /// Those that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.state == State::Failed)
    }

    /// How many were tried, how many of them did not work, and how many are to be looked at.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let [failed, warnings] = [State::Failed, State::Warning].map(|state| self.count(state));
        [self.count(State::Ok) + warnings + failed, failed, warnings]
    }

    /// The exit code of monitoring plugins.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.counts() {
            // A drill in which nothing was tried says nothing.
            [0, ..] => 3,
            [_, 0, 0] => 0,
            [_, 0, _] => 1,
            _ => 2,
        }
    }

    fn status(&self) -> &'static str {
        match self.exit_code() {
            0 => "OK",
            1 => "WARNING",
            2 => "CRITICAL",
            _ => "UNKNOWN",
        }
    }

    /// The one line that a monitoring system shows.
    #[must_use]
    pub fn summary(&self) -> String {
        let [tried, failed, warnings] = self.counts();
        let skipped = self.count(State::Skipped);
        let mut words = Vec::new();
        match (tried, failed + warnings) {
            (0, _) => words.push("nothing could be tried".to_owned()),
            (_, 0) => words.push(format!("{} went well", parts(tried))),
            _ => {
                let some = |count: usize, what: &str| match count {
                    0 => None,
                    count => Some(format!("{count} of {} {what}", parts(tried))),
                };
                words.extend(some(failed, "failed"));
                words.extend(some(warnings, "to be looked at"));
            }
        }
        if skipped > 0 {
            words.push(format!("{skipped} skipped"));
        }
        words.push(seconds(self.took));
        let worst = self.parts.first().filter(|part| part.state >= State::Warning);
        let worst = worst.map(|part| format!(": {}: {}", part.name, part.text)).unwrap_or_default();
        format!("{}: {}{worst}", self.status(), words.join(", "))
    }

    /// For a person: the summary, then a line each, with what to do under it.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.parts.iter().map(|part| part.name.chars().count()).max().unwrap_or(0);
        let mut text = self.summary() + "\n";
        for part in &self.parts {
            let took = match part.took.as_millis() {
                0..50 => String::new(),
                _ => format!(" ({})", seconds(part.took)),
            };
            let (state, name) = (part.state.as_str(), &part.name);
            text += &format!("{state:<8} {name:<width$}  {}{took}\n", part.text);
            if !part.fix.is_empty() {
                text += &format!("{:<8} {:<width$}  -> {}\n", "", "", part.fix);
            }
        }
        text
    }

    /// For a program.
    #[must_use]
    pub fn json(&self) -> String {
        let round = |took: Duration| (took.as_secs_f64() * 1000.0).round() / 1000.0;
        let part = |part: &Part| {
            json!({
                "name": part.name,
                "state": part.state.as_str(),
                "text": part.text,
                "fix": part.fix,
                "took_s": round(part.took),
            })
        };
        let all = json!({
            "status": self.status().to_ascii_lowercase(),
            "summary": self.summary(),
            "took_s": round(self.took),
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
        });
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }

    /// What somebody has to be told now: the parts that failed, in a note that begins with all their names, as a short
    /// message is cut; nothing where none did.
    #[must_use]
    pub fn news(&self) -> Option<String> {
        let all = |one: fn(&Part) -> String| self.failed().map(one).collect::<Vec<_>>();
        let names = all(|part| part.name.clone());
        let texts = all(|part| format!("{}: {}", part.name, part.text));
        (!names.is_empty()).then(|| {
            format!("drill: failed: {}; run: bastion drill; {}", names.join(", "), texts.join("; "))
        })
    }
}

fn parts(count: usize) -> String {
    if count == 1 { "1 part".into() } else { format!("{count} parts") }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Failed, Ok, Skipped, Warning};

    fn report(states: &[State]) -> Report {
        let one = |(at, state): (usize, &State)| {
            let fix = if *state >= Warning { "mend it" } else { "" };
            Part::new(format!("part {at}"), *state, "is so", fix).taking(Duration::from_secs(2))
        };
        Report::new(states.iter().enumerate().map(one).collect(), Duration::from_millis(14_230))
    }

    #[test]
    fn the_worst_decides_and_comes_first() {
        let table: [(&[State], u8, &str); 7] = [
            (&[], 3, "UNKNOWN: nothing could be tried, 14.2 s"),
            (&[Skipped], 3, "UNKNOWN: nothing could be tried, 1 skipped, 14.2 s"),
            (&[Ok, Ok], 0, "OK: 2 parts went well, 14.2 s"),
            (&[Skipped, Ok], 0, "OK: 1 part went well, 1 skipped, 14.2 s"),
            (
                &[Ok, Warning, Skipped],
                1,
                "WARNING: 1 of 2 parts to be looked at, 1 skipped, 14.2 s: part 1: is so",
            ),
            (&[Ok, Failed], 2, "CRITICAL: 1 of 2 parts failed, 14.2 s: part 1: is so"),
            (
                &[Warning, Ok, Failed],
                2,
                "CRITICAL: 1 of 3 parts failed, 1 of 3 parts to be looked at, 14.2 s: part 2: is so",
            ),
        ];
        for (states, code, summary) in table {
            let report = report(states);
            assert_eq!((report.exit_code(), report.summary().as_str()), (code, summary));
            let text = report.text();
            assert!(text.starts_with(&format!("{summary}\n")), "{text}");
            let wrong = states.iter().filter(|state| **state >= Warning).count();
            assert_eq!(text.lines().count(), 1 + states.len() + wrong, "{text}");
            let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
            let status = summary.split(':').next().map(str::to_lowercase);
            assert_eq!(json["status"].as_str(), status.as_deref());
            assert_eq!(json["parts"].as_array().unwrap().len(), states.len());
            let failed = states.contains(&Failed);
            assert_eq!(report.news().is_some(), failed, "only what failed is told at once");
        }
    }

    #[test]
    fn each_part_is_one_line_whatever_others_chose() {
        let hostile = "a\nok       everything\x1b[2J";
        let part = Part::new(hostile, Failed, hostile, hostile);
        let text = Report::new(vec![part], Duration::ZERO).text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\x1b') && !text.contains("\nok"), "{text}");
    }

    #[test]
    fn what_the_doctor_finds_is_one_part_by_its_worst() {
        let found = |severity, text: &str| Finding::new(severity, "x", "it", text, "mend it");
        let table: [(&[Finding], State, &str, &str); 4] = [
            (&[], Ok, "well", ""),
            (&[found(Severity::Note, "n")], Ok, "well", ""),
            (
                &[found(Severity::Warning, "w"), found(Severity::Critical, "c")],
                Failed,
                "it: c (and 1 more: bastion check)",
                "mend it",
            ),
            (&[found(Severity::Unknown, "u")], Warning, "it: u", "mend it"),
        ];
        for (findings, state, text, fix) in table {
            let part = Part::of_findings("units", findings, "well");
            assert_eq!((part.state, &*part.text, &*part.fix), (state, text, fix));
        }
        assert_eq!(Part::told("x", Failed, "a; b; c").fix, "c");
    }
}
