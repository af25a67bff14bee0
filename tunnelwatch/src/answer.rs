//! `tunnelwatch answer`: on the jump host, as the command beside the tunnel's key, says who has opened a connection to one of
//! the tunnel's ports. It is asked over the tunnel's own SSH connection, by the host at its other end, for which each login
//! through the tunnel comes from 127.0.0.1.

use std::path::Path;

use notifier::chain::Answer;
use notifier::chain::look::{Ports, people_behind};
use notifier::chain::owner::Unknown;
use notifier::chain::process::line_of;
use notifier::chain::socket::connection;
use notifier::config::{self, Document, host::Host};
use notifier::event::Factor;
use notifier::exit::Failure;
use notifier::syslog::{Level, Line, Log, Source};

use crate::cli::print;
use crate::release;

/// Most connections that can be asked about at once.
const TOGETHER: usize = 16;

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// `came 45192 7/2223`: who has opened the connection from this port to one of ours, and from that one to this one of
    /// ours? A line for each answers.
    Came(Vec<Came>),
    /// `release 2222`
    Release(u16),
}

/// A connection, and to which port of ours, if that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Came {
    from: u16,
    to: Option<u16>,
}

/// Does what `SSH_ORIGINAL_COMMAND` asks for: tells of connections to these ports, and of no others; and releases them, if that
/// may be done here.
///
/// # Errors
///
/// When it asks for something else. That nobody knows who it was is an answer and no error.
pub fn answer(config: &Path, ports: &[u16], may_release: bool) -> Result<(), Failure> {
    let asked = std::env::var("SSH_ORIGINAL_COMMAND").unwrap_or_default();
    let came = match parse(&asked, ports, may_release).map_err(Failure::usage)? {
        Asked::Release(port) => return release::release_port(port),
        Asked::Came(came) => came,
    };
    let host = host(config);
    let leads_to = |came: &Came| match came.to {
        Some(to) => Ok(Ports { from: came.from, to }),
        // What cannot be asked is told by the look itself.
        None => {
            only_one(ports.iter().filter(|to| !matches!(connection(came.from, **to), Ok(None))))
                .map(|to| Ports { from: came.from, to })
        }
    };
    let known: Vec<Result<Ports, Unknown>> = came.iter().map(leads_to).collect();
    let all: Vec<Ports> = known.iter().flatten().copied().collect();
    let own = line_of(std::process::id());
    let mut people = people_behind(&all, &host.sessions, &own).into_iter();
    let log = Log::new(&host.syslog, "tunnelwatch", Source::Daemon);
    for (known, Came { from, .. }) in known.into_iter().zip(came) {
        let answer = Answer::from(known.and_then(|_| people.next().unwrap_or(Err(Unknown::Ended))));
        let line = Line::new("came").word("port", from);
        let _ = log.write(Level::Info, &describe(line, &answer));
        print(&format!("{}\n", answer.to_line()))?;
    }
    Ok(())
}

/// The one port of ours that there is a connection to from the port in question.
fn only_one<'a>(mut ports: impl Iterator<Item = &'a u16>) -> Result<u16, Unknown> {
    match (ports.next(), ports.next()) {
        (None, _) => Err(Unknown::Ended),
        (Some(port), None) => Ok(*port),
        (Some(_), Some(_)) => Err(Unknown::Several),
    }
}

/// Reads what is asked, strictly: it is the other host's word.
fn parse(asked: &str, ports: &[u16], may_release: bool) -> Result<Asked, String> {
    let number = |word: &str| {
        let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && !word.starts_with('0');
        word.parse().ok().filter(|_| is_plain)
    };
    let one = |word: &str| {
        let Some((from, to)) = word.split_once('/') else {
            return Some(Came { from: number(word)?, to: None });
        };
        let to = number(to).filter(|to| ports.contains(to))?;
        Some(Came { from: number(from)?, to: Some(to) })
    };
    if may_release && asked.starts_with("release") {
        return release::parse(asked, ports).map(Asked::Release);
    }
    let words = asked.strip_prefix("came ").map(|words| words.split(' ').take(TOGETHER + 1));
    let came: Option<Vec<Came>> = words.and_then(|words| words.map(one).collect());
    let came = came.filter(|came| came.len() <= TOGETHER).map(Asked::Came);
    let what = if may_release {
        "\"came PORT[/PORT]..\" and \"release PORT\""
    } else {
        "\"came PORT[/PORT]..\""
    };
    came.ok_or_else(|| format!("only {what} can be asked for here"))
}

/// `[host]` of the file, as far as it can be read by this user and understood.
fn host(config: &Path) -> Host {
    config::read_file(config).map_or_else(
        |_| Host::default(),
        |source| config::host::read(&mut Document::parse(&source.text)),
    )
}

fn describe(line: Line, answer: &Answer) -> Line {
    match answer {
        Answer::Unmatched(reason) => line.text("unmatched", &reason.visible()),
        Answer::Matched(person) => {
            let line = line.foreign("user", &person.user);
            let line = match (&person.source, &person.source_name) {
                (Some(ip), _) => line.word("from", ip),
                (None, Some(name)) => line.word("from", "unknown").foreign("rhost", name),
                (None, None) => line.word("from", "unknown"),
            };
            person.auth.iter().fold(line, |line, Factor { method, key }| {
                let line = line.foreign("auth", method);
                match key {
                    Some(key) => line.word("key", &key.fingerprint),
                    None => line,
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_came_to_our_ports_can_be_asked() {
        let ports = [2222, 2223];
        let came = |list: &[(u16, Option<u16>)]| {
            Ok(Asked::Came(list.iter().map(|&(from, to)| Came { from, to }).collect()))
        };
        let table = [
            ("came 45192", came(&[(45_192, None)])),
            ("came 1", came(&[(1, None)])),
            ("came 45192/2223", came(&[(45_192, Some(2223))])),
            ("came 7 8/2222 7", came(&[(7, None), (8, Some(2222)), (7, None)])),
            ("release 2222", Ok(Asked::Release(2222))),
        ];
        for (asked, want) in table {
            assert_eq!(parse(asked, &ports, true), want, "{asked}");
        }
        let wrong = [
            "",
            "came",
            "came ",
            " came 1",
            "came  1",
            "came 1 ",
            "came 0",
            "came 01",
            "came +1",
            "came -1",
            "came 65536",
            "came 1/22",
            "came 1/2222/2222",
            "came 1/",
            "came /2222",
            "came 1\n",
            "came 1;id",
            "came \u{661}",
            "Came 1",
            "id",
            "release 22",
            "release",
            "release 2222 2223",
            "sh -c id",
        ];
        for asked in wrong {
            assert!(parse(asked, &ports, true).is_err(), "{asked:?}");
        }
        assert!(parse("release 2222", &ports, false).is_err());
        assert_eq!(parse("came 1", &ports, false), came(&[(1, None)]));
        let many = |count| format!("came{}", " 65535/2222".repeat(count));
        assert!(parse(&many(TOGETHER), &ports, true).is_ok());
        assert!(parse(&many(TOGETHER + 1), &ports, true).is_err());
    }

    #[test]
    fn a_port_that_leads_to_two_of_ours_is_nobodys() {
        assert_eq!(only_one([].iter()), Err(Unknown::Ended));
        assert_eq!(only_one([2222].iter()), Ok(2222));
        assert_eq!(only_one([2222, 2223].iter()), Err(Unknown::Several));
    }
}
