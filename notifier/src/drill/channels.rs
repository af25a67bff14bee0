//! A test alert over each channel, and whether who watches the sender can be reached.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::expiry;
use super::report::{Part, State};
use crate::channel::{Asked, Outcome};
use crate::cli::test::CERTIFICATE;
use crate::doctor::programs::{self, Answer};

/// Longest time for one channel: a request of 15 s for each of its recipients, of whom few have more than one.
const MOST: Duration = Duration::from_secs(40);

/// How long before its end a server's certificate should have been renewed, in seconds: who does it by himself does it a
/// third of its time before, which of the shortest usual ones is two weeks.
const SOON_S: i64 = 10 * 86_400;

/// What is told by the day.
const A_YEAR_S: i64 = 365 * 86_400;

/// Sends a test message over one channel, by `bastion test` in a process of its own: that is not root while it talks to
/// the network, and can be ended.
#[must_use]
pub fn send(own: &Path, config: &Path, name: &str) -> Vec<Part> {
    let mut command = Command::new(own);
    command.arg("--config").arg(config).args(["test", "--drill", name]);
    let answer = programs::hear(command, MOST);
    let mut parts = vec![judge(name, &answer)];
    if let Answer::Said { out, .. } = &answer {
        parts.extend(certificates(out));
    }
    parts
}

/// How long the servers of a channel will be believed, each a part.
fn certificates(out: &str) -> impl Iterator<Item = Part> {
    let of = |line: &str| {
        let (host, seconds) = line.strip_prefix(CERTIFICATE)?.rsplit_once(' ')?;
        let (name, left) = (format!("certificate {host}"), seconds.parse::<i64>().ok()?);
        let text = match left < A_YEAR_S {
            true => format!("{host} is believed for {} more", expiry::days(left)),
            false => format!("{host} is believed for more than a year"),
        };
        Some(match left < SOON_S {
            true => {
                let fix = "whose server it is renews it, and its CA's; if that is you: look at what should have done so";
                Part::new(name, State::Warning, text, fix)
            }
            false => Part::ok(name, text),
        })
    };
    out.lines().filter_map(of)
}

/// What `bastion test` has said of a channel.
fn judge(name: &str, answer: &Answer) -> Part {
    let part = format!("channel {name}");
    let again = format!("bastion test {name}");
    match answer {
        Answer::Said { code, out, err } => {
            let begin = format!("{name} to ");
            let line = |line: &str| {
                let line = line.strip_prefix("bastion: ").unwrap_or(line);
                line.strip_prefix(&begin)
                    .map_or_else(|| line.to_owned(), |rest| format!("to {rest}"))
            };
            let own = |line: &&str| !line.starts_with(CERTIFICATE);
            let lines =
                |text: &str| text.lines().filter(own).map(line).collect::<Vec<_>>().join(", ");
            match (code, lines(err)) {
                (Some(0), _) => Part::ok(part, lines(out)),
                (_, said) if said.is_empty() => {
                    Part::new(part, State::Failed, "bastion test ended and said nothing", again)
                }
                (_, said) if said.contains("; ") => Part::told(&part, State::Failed, &said),
                (_, said) => Part::new(part, State::Failed, said, again),
            }
        }
        Answer::Missing => Part::new(part, State::Failed, "this program cannot be found", again),
        Answer::Unheard(why) => {
            let fix = format!("look at the line, the DNS and the firewall; then: {again}");
            Part::new(part, State::Failed, format!("bastion test {why}"), fix)
        }
    }
}

/// What became of the question to who is told that the sender lives.
#[must_use]
pub fn judge_heartbeat(asked: &Asked) -> Part {
    let name = "heartbeat";
    match asked {
        Asked::Knows(said) | Asked::Reached(said) => Part::ok(name, said),
        Asked::NotAsked(why) => Part::skipped(name, why, ""),
        Asked::Unanswered(why) => {
            Part::new(name, State::Failed, why, "look at the line, the DNS and the firewall")
        }
        Asked::Bad(Outcome::Config { why }) => Part::told(name, State::Failed, why),
        Asked::Bad(outcome) => Part::told(name, State::Failed, &outcome.to_string()),
    }
}

/// Its answer, from the process that has asked.
#[must_use]
pub fn heard_heartbeat(answer: &Answer) -> Part {
    let name = "heartbeat";
    match answer {
        Answer::Said { code: Some(0), out, .. } => Part::ok(name, out),
        Answer::Said { err, .. } => {
            let said = err.lines().next().unwrap_or("it ended and said nothing");
            Part::told(name, State::Failed, said.strip_prefix("bastion: ").unwrap_or(said))
        }
        Answer::Missing => Part::new(name, State::Failed, "this program cannot be found", ""),
        Answer::Unheard(why) => {
            Part::new(name, State::Failed, why, "look at the line, the DNS and the firewall")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, out: &str, err: &str) -> Answer {
        Answer::Said { code: Some(code), out: out.into(), err: err.into() }
    }

    #[test]
    fn what_bastion_test_says_is_a_line() {
        let table = [
            (
                said(0, "sms to +1: queued as SM1\nsms to +2: queued as SM2\n", ""),
                State::Ok,
                "to +1: queued as SM1, to +2: queued as SM2",
                "",
            ),
            (
                said(78, "", "bastion: sms to +1: HTTP 401: no; check auth-token-file\n"),
                State::Failed,
                "to +1: HTTP 401: no",
                "check auth-token-file",
            ),
            (
                said(75, "sms to +1: queued\n", "bastion: sms to +2: no connection\n"),
                State::Failed,
                "to +2: no connection",
                "bastion test sms",
            ),
            (
                said(70, "", ""),
                State::Failed,
                "bastion test ended and said nothing",
                "bastion test sms",
            ),
            (
                Answer::Unheard("did not end within 40 s".into()),
                State::Failed,
                "bastion test did not end within 40 s",
                "look at the line, the DNS and the firewall; then: bastion test sms",
            ),
        ];
        for (answer, state, text, fix) in table {
            let part = judge("sms", &answer);
            let got = (&*part.name, part.state, &*part.text, &*part.fix);
            assert_eq!(got, ("channel sms", state, text, fix));
        }
    }

    #[test]
    fn a_certificate_that_ends_soon_is_a_part_of_its_own() {
        let out =
            "sms to +1: queued\ncertificate api.example 5270000\ncertificate hook.example 600000\n";
        assert_eq!(judge("sms", &said(0, out, "")).text, "to +1: queued");
        let parts: Vec<Part> = certificates(out).collect();
        assert_eq!(
            parts[0],
            Part::ok("certificate api.example", "api.example is believed for 60 days more")
        );
        assert_eq!((parts[1].state, parts.len()), (State::Warning, 2));
        let far = certificates("certificate own.example 34560000\n").next();
        assert_eq!(
            far.map(|part| part.text).as_deref(),
            Some("own.example is believed for more than a year")
        );
    }

    #[test]
    fn a_heartbeat_that_cannot_be_reached_has_failed() {
        assert_eq!(
            heard_heartbeat(&said(0, "hc answers\n", "")),
            Part::ok("heartbeat", "hc answers")
        );
        let part = heard_heartbeat(&said(69, "", "bastion: no connection; check url-file\n"));
        assert_eq!(
            (part.state, &*part.text, &*part.fix),
            (State::Failed, "no connection", "check url-file")
        );
    }
}
