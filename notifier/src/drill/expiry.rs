//! What ends soon: rules of who is known good, and certificates of who we are to the jump host.

use std::path::Path;

use super::plan::Tunnel;
use super::report::{Part, State};
use crate::config::moment;
use crate::doctor::programs::{self, Answer};
use crate::known_good::Rule;

/// How long before its end something is told of: a drill is once a month, and an administrator may be away.
const SOON_DAYS: i64 = 40;

const DAY: i64 = 86_400;

/// What is to be said of rules that have an end. An allowance is meant to end, so it is counted and no more.
#[must_use]
pub fn rules(rules: &[Rule], allowances: &[Rule], now_s: i64) -> Part {
    let name = "known good";
    let runs = |rule: &&Rule| rule.until.is_some_and(|until| until > now_s);
    let mut ending: Vec<&Rule> = rules.iter().filter(runs).collect();
    ending.sort_by_key(|rule| rule.until);
    let next = |rule: &Rule| days(rule.until.unwrap_or(now_s) - now_s);
    let soon = |rule: &&&Rule| rule.until.is_some_and(|until| until - now_s < SOON_DAYS * DAY);
    if let Some(rule) = ending.first().filter(soon) {
        let text = format!(
            "the rule {} ends in {}: its logins are told from then on",
            rule.name,
            next(rule)
        );
        return Part::new(
            name,
            State::Warning,
            text,
            "in [[login.allow]]: a later until, or remove the rule",
        );
    }
    let mut open: Vec<&Rule> = allowances.iter().filter(runs).collect();
    open.sort_by_key(|rule| rule.until);
    match open.first() {
        Some(first) => {
            let text =
                format!("{} allowed for a time, the next ends in {}", open.len(), next(first));
            Part::new(name, State::Ok, text, "bastion allow --list")
        }
        None => Part::ok(name, "no rule ends soon"),
    }
}

/// What is to be said of the ssh certificates of tunnels; nothing where there are none.
#[must_use]
pub fn certificates(tunnels: &[Tunnel], now_s: i64) -> Vec<Part> {
    let files = tunnels.iter().flat_map(|tunnel| {
        tunnel.certificates.iter().map(move |file| (tunnel.name.as_str(), file.as_path()))
    });
    let there = files.filter(|(_, file)| file.exists());
    // In UTC, as no local time is when clocks go back.
    let ask = |file: &Path| {
        programs::ask("env", &["TZ=UTC0", "ssh-keygen", "-L", "-f", &file.to_string_lossy()])
    };
    there.map(|(tunnel, file)| judge(tunnel, file, &ask(file), now_s)).collect()
}

fn judge(tunnel: &str, file: &Path, answer: &Answer, now_s: i64) -> Part {
    let (name, shown) = (format!("certificate {tunnel}"), file.display());
    let Some(text) = answer.good() else {
        let why = match answer {
            Answer::Unheard(why) => format!("ssh-keygen -L {why}"),
            answer => answer.first_words().to_owned(),
        };
        return Part::new(name, State::Warning, why, format!("ssh-keygen -L -f {shown}"));
    };
    let renew = format!("have it signed anew by its CA, at {shown}; then: tunnelwatch retry");
    let valid = text.lines().find_map(|line| line.trim().strip_prefix("Valid: "));
    let end = match valid.map(|valid| valid.rsplit_once(' ').unwrap_or(("", valid))) {
        Some(("", "forever")) => None,
        Some((begin, _)) if begin.starts_with("after") => None,
        Some((_, end)) => match moment::parse(end) {
            Some(end) => Some(end),
            None => {
                let fix = format!("ssh-keygen -L -f {shown}");
                return Part::new(name, State::Warning, "its end cannot be read", fix);
            }
        },
        None => {
            return Part::new(name, State::Warning, "it is no certificate", format!("rm {shown}"));
        }
    };
    match end.map(|end| end - now_s) {
        None => Part::ok(name, "it has no end"),
        Some(left) if left <= 0 => {
            Part::new(name, State::Failed, format!("it ended {} ago", days(-left)), renew)
        }
        Some(left) if left < SOON_DAYS * DAY => {
            Part::new(name, State::Warning, format!("it ends in {}", days(left)), renew)
        }
        Some(left) => Part::ok(name, format!("it ends in {}", days(left))),
    }
}

/// `3 days`, `5 h`.
#[must_use]
pub fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 | 1 => format!("{} h", seconds / 3600),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn rule(name: &str, until: Option<i64>) -> Rule {
        Rule { name: name.into(), until, ..Rule::default() }
    }

    #[test]
    fn a_rule_that_ends_soon_is_told_and_an_allowance_counted() {
        let far = rule("allow 1", Some(NOW + 41 * DAY));
        let soon = rule("allow 2", Some(NOW + 3 * DAY + 5));
        let past = rule("allow 3", Some(NOW - DAY));
        let never = rule("known-good", None);
        let granted = rule("allowance 1", Some(NOW + 3600 * 5));
        let table: [(&[Rule], &[Rule], State, &str); 4] = [
            (&[], &[], State::Ok, "no rule ends soon"),
            (&[far.clone(), past.clone(), never], &[], State::Ok, "no rule ends soon"),
            (
                &[far.clone(), soon, past.clone()],
                &[],
                State::Warning,
                "the rule allow 2 ends in 3 days: its logins are told from then on",
            ),
            (&[far], &[past, granted], State::Ok, "1 allowed for a time, the next ends in 5 h"),
        ];
        for (rules_, allowances, state, text) in table {
            let part = rules(rules_, allowances, NOW);
            assert_eq!((part.state, &*part.text), (state, text));
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_in_what_ssh_keygen_says() {
        let at = |days: i64| moment::write(NOW + days * DAY).trim_end_matches('Z').to_owned();
        let said = |valid: &str| Answer::Said {
            code: Some(0),
            out: format!(
                "/k-cert.pub:\n        Type: x\n        Valid: {valid}\n        Principals: \n"
            ),
            err: String::new(),
        };
        let table = [
            (said("forever"), State::Ok, "it has no end"),
            (said(&format!("after {}", at(-2))), State::Ok, "it has no end"),
            (said(&format!("from {} to {}", at(-2), at(80))), State::Ok, "it ends in 80 days"),
            (said(&format!("from {} to {}", at(-2), at(9))), State::Warning, "it ends in 9 days"),
            (said(&format!("before {}", at(9))), State::Warning, "it ends in 9 days"),
            (said(&format!("from {} to {}", at(-9), at(-2))), State::Failed, "it ended 2 days ago"),
            (said("nonsense"), State::Warning, "its end cannot be read"),
            (
                Answer::Said { code: Some(255), out: String::new(), err: "no such file\n".into() },
                State::Warning,
                "no such file",
            ),
        ];
        for (answer, state, text) in table {
            let part = judge("home", Path::new("/k-cert.pub"), &answer, NOW);
            assert_eq!(
                (&*part.name, part.state, &*part.text),
                ("certificate home", state, text),
                "{answer:?}"
            );
        }
    }
}
