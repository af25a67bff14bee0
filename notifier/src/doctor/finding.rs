//! What the doctor has found, how bad it is, and how that is told: to a person, to a program, and
//! by an exit code as monitoring plugins have it.

use serde_json::{Value, json};

use crate::foreign::visible;

/// How bad a finding is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know. It changes no exit code, or a host that lives with it would never be well.
    Note,
    /// It will hurt one day.
    Warning,
    /// It could not be looked at, so nobody knows. Graver than a warning: it may be anything.
    Unknown,
    /// An alert might not get out, or the door stands open.
    Critical,
}

impl Severity {
    /// All of them, the worst first, which is the order they are told in.
    const ALL: [Self; 4] = [Self::Critical, Self::Unknown, Self::Warning, Self::Note];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }
}

/// Something that is wrong, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable word, in kebab-case, for programs.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a file, a unit, a program.
    pub subject: String,
    /// What is wrong.
    pub text: String,
    /// What to do: a command, or a key to set. Empty where `text` says all there is.
    pub fix: String,
}

impl Finding {
    /// A finding. What others chose in its texts (a user's name, a program's words) is made visible here.
    pub fn new(
        severity: Severity,
        id: &'static str,
        subject: impl AsRef<str>,
        text: impl AsRef<str>,
        fix: impl AsRef<str>,
    ) -> Self {
        let clean = |text: &str| visible(text.trim().as_bytes());
        Self {
            id,
            severity,
            subject: clean(subject.as_ref()),
            text: clean(text.as_ref()),
            fix: clean(fix.as_ref()),
        }
    }

    /// A finding of which text and remedy come as one, `text; remedy`, as other parts of the project say it.
    #[must_use]
    pub fn told(severity: Severity, id: &'static str, subject: &str, said: &str) -> Self {
        match said.rsplit_once("; ") {
            Some((text, fix)) => Self::new(severity, id, subject, text, fix),
            None => Self::new(severity, id, subject, said, ""),
        }
    }

    /// It could not be looked at, for this reason.
    #[must_use]
    pub fn unknown(id: &'static str, subject: &str, text: &str, fix: &str) -> Self {
        Self::new(Severity::Unknown, id, subject, text, fix)
    }
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    /// What is well and worth a line all the same, as how a backup line is now.
    told: Vec<String>,
}

impl Report {
    /// Puts the worst first; of equal ones what was looked at first.
    #[must_use]
    pub fn new(mut findings: Vec<Finding>, told: Vec<String>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self { findings, told }
    }

    fn worst(&self) -> Severity {
        self.findings.first().map_or(Severity::Note, |finding| finding.severity)
    }

    /// The exit code of monitoring plugins.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            Severity::Note => 0,
            Severity::Warning => 1,
            Severity::Critical => 2,
            Severity::Unknown => 3,
        }
    }

    /// Its word, in capitals as monitoring plugins begin their line.
    fn status(&self) -> &'static str {
        match self.worst() {
            Severity::Note => "OK",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
            Severity::Unknown => "UNKNOWN",
        }
    }

    /// The one line that a monitoring system shows.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |severity| self.findings.iter().filter(|one| one.severity == severity).count();
        let words = |severity: Severity| match (count(severity), severity) {
            (0, _) => None,
            (1, _) => Some(format!("1 {}", severity.as_str())),
            (n, Severity::Note | Severity::Warning) => Some(format!("{n} {}s", severity.as_str())),
            (n, _) => Some(format!("{n} {}", severity.as_str())),
        };
        let mut parts: Vec<String> = Severity::ALL.into_iter().filter_map(words).collect();
        if self.worst() == Severity::Note {
            parts.insert(0, "nothing is wrong".into());
        }
        let first = self.findings.first().filter(|_| self.worst() > Severity::Note);
        let first = first.map(|one| format!(": {}", one.headline())).unwrap_or_default();
        format!("{}: {}{first}", self.status(), parts.join(", "))
    }

    /// For a person: the summary, then each finding with what to do under it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.summary() + "\n";
        for finding in &self.findings {
            let word = finding.severity.as_str();
            text += &format!("{word:<8}  {} [{}]\n", finding.headline(), finding.id);
            if !finding.fix.is_empty() {
                text += &format!("{:<8}  -> {}\n", "", finding.fix);
            }
        }
        for line in &self.told {
            text += &format!("{line}\n");
        }
        text
    }

    /// For a program.
    #[must_use]
    pub fn json(&self) -> String {
        let findings = self.findings.iter().map(Finding::json).collect::<Vec<_>>();
        let all = json!({
            "status": self.status().to_ascii_lowercase(),
            "summary": self.summary(),
            "findings": findings,
            "told": self.told,
        });
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }
}

impl Finding {
    fn headline(&self) -> String {
        if self.subject.is_empty() {
            self.text.clone()
        } else {
            format!("{}: {}", self.subject, self.text)
        }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "severity": self.severity.as_str(),
            "subject": self.subject,
            "text": self.text,
            "fix": self.fix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(severities: &[Severity]) -> Report {
        let one = |severity: &Severity| Finding::new(*severity, "an-id", "it", "is odd", "mend it");
        Report::new(severities.iter().map(one).collect(), vec!["link backup: good".into()])
    }

    #[test]
    fn the_worst_decides_and_comes_first() {
        use Severity::{Critical, Note, Unknown, Warning};
        let table: [(&[Severity], u8, &str); 6] = [
            (&[], 0, "OK: nothing is wrong"),
            (&[Note, Note], 0, "OK: nothing is wrong, 2 notes"),
            (&[Note, Warning], 1, "WARNING: 1 warning, 1 note: it: is odd"),
            (&[Warning, Unknown], 3, "UNKNOWN: 1 unknown, 1 warning: it: is odd"),
            (
                &[Warning, Critical, Unknown],
                2,
                "CRITICAL: 1 critical, 1 unknown, 1 warning: it: is odd",
            ),
            (
                &[Critical, Critical, Warning, Warning],
                2,
                "CRITICAL: 2 critical, 2 warnings: it: is odd",
            ),
        ];
        for (severities, code, summary) in table {
            let report = report(severities);
            assert_eq!((report.exit_code(), report.summary().as_str()), (code, summary));
            let text = report.text();
            assert!(text.starts_with(&format!("{summary}\n")), "{text}");
            assert_eq!(text.matches("-> mend it\n").count(), severities.len(), "{text}");
            assert!(text.ends_with("link backup: good\n"), "{text}");
            let json: Value = serde_json::from_str(&report.json()).unwrap();
            assert_eq!(json["summary"], summary);
            assert_eq!(
                json["status"].as_str(),
                summary.split(':').next().map(str::to_lowercase).as_deref()
            );
            assert_eq!(json["findings"].as_array().unwrap().len(), severities.len());
            assert_eq!(json["told"][0], "link backup: good");
        }
    }

    #[test]
    fn each_finding_is_one_line_whatever_others_chose() {
        let hostile = "a\nOK: nothing is wrong\x1b[2J";
        let finding = Finding::new(Severity::Critical, "x", hostile, hostile, hostile);
        let report = Report::new(vec![finding], Vec::new());
        let text = report.text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\x1b') && !text.contains("\nOK"), "{text}");
        assert!(!report.json().contains('\x1b'));
    }

    #[test]
    fn what_others_say_as_one_is_told_apart() {
        let one = Finding::told(Severity::Note, "x", "", "a: b; c; run: d");
        assert_eq!((one.text.as_str(), one.fix.as_str()), ("a: b; c", "run: d"));
        let one = Finding::told(Severity::Note, "x", "", "a: b");
        assert_eq!((one.text.as_str(), one.fix.as_str()), ("a: b", ""));
    }
}
