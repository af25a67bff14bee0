//! Whether the clock is right: certificates, allowances and the order of what happened depend on it.

use super::finding::{Finding, Severity};
use super::programs::Answer;

/// How timedatectl(1) is asked.
pub const ARGUMENTS: [&str; 3] = ["show", "-p", "NTPSynchronized"];

/// What is wrong with the clock, as far as timedatectl says.
#[must_use]
pub fn judge(answer: &Answer) -> Option<Finding> {
    if let Some(unheard) = answer.unheard("clock-unheard", "timedatectl show") {
        return Some(unheard);
    }
    // In a container there may be nobody to ask, and the clock is the host's.
    let text = answer.good()?;
    let fix = "timedatectl set-ntp true; where it stays so: apt install systemd-timesyncd";
    let unset = text.lines().any(|line| line == "NTPSynchronized=no");
    unset.then(|| {
        Finding::new(Severity::Note, "clock-not-synchronised", "clock", "nobody sets it", fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_sets_is_a_note() {
        let said = |code, out: &str| Answer::Said {
            code: Some(code),
            out: out.into(),
            err: String::new(),
        };
        assert_eq!(judge(&said(0, "NTPSynchronized=yes\n")), None);
        assert_eq!(judge(&said(1, "")), None);
        assert_eq!(judge(&Answer::Missing), None);
        let found = judge(&said(0, "NTPSynchronized=no\n")).unwrap();
        assert!(found.severity == Severity::Note && found.fix.contains("set-ntp"));
        assert_eq!(judge(&Answer::Unheard("hangs".into())).unwrap().severity, Severity::Unknown);
    }
}
