//! Whether the providers can be reached and know us, by questions that send nothing.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::finding::{Finding, Severity};
use crate::channel::{Asked, Channel, Outcome};
use Severity::{Critical, Note, Warning};

/// Longest wait for all of them, who are asked at once.
const MOST: Duration = Duration::from_secs(10);

/// Somebody to ask, under a name.
pub type Question = (String, Box<dyn FnOnce() -> Asked + Send>);

/// The question of a channel.
#[must_use]
pub fn question((name, mut channel): (String, Box<dyn Channel>)) -> Question {
    (format!("channel {name}"), Box::new(move || channel.ask()))
}

/// Asks them all; what was answered, in the order of the questions.
#[must_use]
pub fn ask(questions: Vec<Question>) -> Vec<(String, Asked)> {
    let until = Instant::now() + MOST;
    let asked: Vec<_> = questions
        .into_iter()
        .map(|(name, question)| {
            let (said, hears) = mpsc::sync_channel(1);
            // One that answers too late is not waited for: it goes with the process.
            let begun = thread::Builder::new().spawn(move || said.send(question())).is_ok();
            (name, begun.then_some(hears))
        })
        .collect();
    let answer = |(name, hears): (String, Option<mpsc::Receiver<Asked>>)| {
        let rest = until.saturating_duration_since(Instant::now());
        let late = || Asked::Unanswered(format!("no answer within {} s", MOST.as_secs()));
        let asked = match hears {
            Some(hears) => hears.recv_timeout(rest).unwrap_or_else(|_| late()),
            None => Asked::Unanswered("there can be no more threads".into()),
        };
        (name, asked)
    };
    asked.into_iter().map(answer).collect()
}

/// What the answers mean: findings, and what is well.
#[must_use]
pub fn judge(answers: &[(String, Asked)]) -> (Vec<Finding>, Vec<String>) {
    let is_good = |asked: &Asked| matches!(asked, Asked::Knows(_) | Asked::Reached(_));
    let any_good = answers.iter().any(|(_, asked)| is_good(asked));
    let (mut findings, mut told) = (Vec::new(), Vec::new());
    for (name, asked) in answers {
        let mut found = |severity, id, text: &str, fix: &str| {
            findings.push(match text.contains("; ") && fix.is_empty() {
                true => Finding::told(severity, id, name, text),
                false => Finding::new(severity, id, name, text, fix),
            });
        };
        // One of several may be down: the next takes over.
        let away = if any_good { Warning } else { Critical };
        match asked {
            Asked::Knows(said) => told.push(format!("{name}: {said}")),
            Asked::Reached(said) => {
                told.push(format!("{name}: {said}; it was not asked more, for that would be a message: bastion test"));
            }
            Asked::NotAsked(why) => {
                found(Note, "channel-not-asked", why, "bastion test sends a message over it")
            }
            Asked::Unanswered(why) => {
                found(
                    away,
                    "channel-unreachable",
                    why,
                    "look at the line, the DNS and the firewall; then: bastion test",
                );
            }
            Asked::Bad(Outcome::Config { why }) => found(Critical, "channel-settings", why, ""),
            Asked::Bad(outcome) => found(away, "channel-unreachable", &outcome.to_string(), ""),
        }
    }
    (findings, told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Fault;

    #[test]
    fn an_answer_has_its_weight() {
        let named = |asked| ("channel sms".to_owned(), asked);
        let good = || named(Asked::Knows("it knows us".into()));
        let later = || {
            named(Asked::Bad(Outcome::Later {
                why: "no connection; check x".into(),
                fault: Fault::Channel,
            }))
        };
        let config = || named(Asked::Bad(Outcome::Config { why: "HTTP 401; check y".into() }));
        let silent = || named(Asked::Unanswered("no answer".into()));
        let table = [
            (vec![good()], "", 1),
            (vec![named(Asked::Reached("a server answers".into()))], "", 1),
            (vec![named(Asked::NotAsked("a program of yours"))], "note channel-not-asked", 0),
            (vec![later()], "critical channel-unreachable", 0),
            (vec![later(), good()], "warning channel-unreachable", 1),
            (vec![silent()], "critical channel-unreachable", 0),
            (vec![silent(), good()], "warning channel-unreachable", 1),
            (vec![config(), good()], "critical channel-settings", 1),
        ];
        for (answers, want, well) in table {
            let (findings, told) = judge(&answers);
            let said = findings.iter().map(|one| {
                assert!(!one.fix.is_empty(), "{one:?}");
                format!("{} {}", one.severity.as_str(), one.id)
            });
            assert_eq!((said.collect::<Vec<_>>().join(","), told.len()), (want.to_owned(), well));
        }
    }

    #[test]
    fn all_are_asked_at_once_and_none_makes_the_others_wait() {
        let slow = |name: &str| -> Question {
            let question = || {
                thread::park_timeout(Duration::from_millis(400));
                Asked::Knows("late".into())
            };
            (name.to_owned(), Box::new(question))
        };
        let begun = Instant::now();
        let answers = ask((0..20).map(|n| slow(&n.to_string())).collect());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(answers.iter().enumerate().all(|(n, (name, _))| *name == n.to_string()));
        assert!(answers.iter().all(|(_, asked)| matches!(asked, Asked::Knows(_))), "{answers:?}");
        // One that dies says nothing.
        let dies: Question = ("x".into(), Box::new(|| panic!("as a test wants it")));
        assert!(matches!(ask(vec![dies])[0].1, Asked::Unanswered(_)));
    }
}
