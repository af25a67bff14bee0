//! The lines, as linkprobe finds them: is each there, the right one, and good enough?

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::report::{Part, State};
use crate::cli::others;
use crate::doctor::programs::{self, Answer};

/// Longest time for a line. linkprobe minds `monthly-data` by itself.
const MOST: Duration = Duration::from_secs(50);

/// Has linkprobe check a line, as it does each hour.
#[must_use]
pub fn check(config: &Path, name: &str) -> Part {
    let answer = others::find("linkprobe").map_or(Answer::Missing, |program| {
        let mut command = Command::new(program);
        command.arg("--config").arg(config).args(["check", name]);
        programs::hear(command, MOST)
    });
    judge(name, &answer)
}

fn judge(name: &str, answer: &Answer) -> Part {
    let part = format!("line {name}");
    let again = format!("linkprobe check {name}");
    match answer {
        Answer::Said { code, out, err } => {
            // `OK: backup is good`, and a line for each reason and number.
            let begin = format!("{name} ");
            let mut lines = out.lines().map(str::trim);
            let first = lines.next().and_then(|line| line.split_once(": ")).map(|(_, rest)| rest);
            let first = first.map(|line| line.strip_prefix(&begin).unwrap_or(line));
            let Some(first) = first else {
                let said = err.lines().next().unwrap_or("it ended and said nothing");
                let said = said.strip_prefix("linkprobe: ").unwrap_or(said);
                return match said.contains("; ") {
                    true => Part::told(&part, State::Failed, said),
                    false => Part::new(part, State::Failed, said, again),
                };
            };
            let text: Vec<&str> = [first].into_iter().chain(lines).collect();
            let text = text.join(", ");
            match code {
                Some(0) => Part::ok(part, text),
                Some(2) => {
                    Part::new(part, State::Failed, text, "linkprobe status; linkprobe report")
                }
                Some(1) => Part::new(part, State::Warning, text, "linkprobe report"),
                _ => Part::new(part, State::Warning, text, again),
            }
        }
        Answer::Missing => {
            let fix = "apt install --reinstall pam-bastion";
            Part::new(part, State::Failed, "there is no linkprobe that minds it", fix)
        }
        Answer::Unheard(why) => {
            Part::new(part, State::Warning, format!("linkprobe check {why}"), again)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_linkprobe_says() {
        let said = |code, out: &str, err: &str| Answer::Said {
            code: Some(code),
            out: out.into(),
            err: err.into(),
        };
        let table = [
            (
                said(0, "OK: a is good\n  ping 12.0 ms\n  Starlink, AS14593\n", ""),
                State::Ok,
                "is good, ping 12.0 ms, Starlink, AS14593",
            ),
            (said(1, "WARNING: a is marginal\n", ""), State::Warning, "is marginal"),
            (
                said(2, "CRITICAL: a is down\n  wwan0 has no carrier\n", ""),
                State::Failed,
                "is down, wwan0 has no carrier",
            ),
            (
                said(3, "UNKNOWN: a is untested\n  the data is used up\n", ""),
                State::Warning,
                "is untested, the data is used up",
            ),
            (
                said(78, "", "linkprobe: /x: line 3: no such key; write it\n"),
                State::Failed,
                "/x: line 3: no such key",
            ),
            (Answer::Missing, State::Failed, "there is no linkprobe that minds it"),
            (
                Answer::Unheard("did not end within 50 s".into()),
                State::Warning,
                "linkprobe check did not end within 50 s",
            ),
        ];
        for (answer, state, text) in table {
            let part = judge("a", &answer);
            assert_eq!((&*part.name, part.state, &*part.text), ("line a", state, text));
            assert_eq!(part.fix.is_empty(), state == State::Ok, "{part:?}");
        }
    }
}
