//! `bastion send`: the writers' side on the command line. Reads no secret, opens no socket but
//! the log's.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use lexopt::ValueExt;

use super::Options;
use crate::clock::Stamp;
use crate::event::{Condition, Note, Severity, Status, Tally, Unit, What};
use crate::exit::{Failure, print};
use crate::ffi;
use crate::foreign::Foreign;
use crate::spool::drop::{self, Sync};
use crate::spool::{Spool, owner};
use crate::syslog::{Level, Line, Log, Source};
use crate::text;

pub(super) const HELP: &str = " [--severity info|warning|critical] [TEXT...]
       bastion send --down NAME|--up NAME [TEXT...]
       bastion send --tally NAME GOOD/ALL

Puts a text into the spool and prints the alert's id. When it returns, the alert survives a
power cut; the sender delivers it. Without TEXT it is read from standard input. A text
longer than 4096 bytes is cut, and says so.

  --severity WORD  how urgent it is (default warning; of --up, info)
  --down NAME      NAME (\"disk of nas\") is not well from now on; needs no text
  --up NAME        NAME is well again. When both wait for the line, they become one message
  --tally NAME     is not told, but added up for the weekly report: of ALL that NAME was meant to
                   do GOOD went well (\"--tally backups 1/1\"), or, in seconds, for how much of the
                   time it was up (\"--tally 'line wwan0' 3540s/3600s\")

To be run by root or a member of the group _bastion-drop.
";

/// Most of standard input that is read, so that its length can be told; what is behind it
/// is left unread.
const MAX_INPUT: u64 = 1024 * 1024;

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let mut severity = None;
    let mut condition: Option<(String, Status)> = None;
    let mut tally: Option<String> = None;
    let mut words: Vec<String> = Vec::new();
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("severity") => severity = Some(parse_severity(&mut options)?),
            lexopt::Arg::Long("down") => {
                condition = Some((parse_name(&mut options)?, Status::Down))
            }
            lexopt::Arg::Long("up") => condition = Some((parse_name(&mut options)?, Status::Up)),
            lexopt::Arg::Long("tally") => tally = Some(parse_name(&mut options)?),
            lexopt::Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    if tally.is_some() && (condition.is_some() || severity.is_some()) {
        return Err(Failure::usage("--tally is told by nobody, so it has no other option"));
    }
    let text = match &condition {
        None if words.is_empty() && tally.is_none() => read_input()?,
        _ => words.join(" "),
    };
    let text = text.trim();
    if text.is_empty() && condition.is_none() && tally.is_none() {
        return Err(Failure::data("there is no text to send"));
    }
    let up = matches!(condition, Some((_, Status::Up)));
    let default = if up { Severity::Info } else { Severity::Warning };
    let what = match (tally, condition) {
        (Some(name), _) => What::Tally(parse_tally(&name, text)?),
        (None, None) => What::Note(Note { text: fit(text) }),
        (None, Some((name, status))) => {
            let name = Foreign::new(name.as_bytes());
            What::Condition(Condition::new(name, status, fit(text)))
        }
    };
    // A script's alert must get out although somebody has just broken the file.
    let host = super::lenient_host(&options.config);
    refuse_what_nobody_believes(&what, &Spool::new(&host.spool))?;
    let event = drop::new_event(Stamp::now(), &host.name, severity.unwrap_or(default), what);
    match drop::publish(&Spool::new(&host.spool), &event, Sync::Now) {
        Ok(_) => {
            print(&format!("{}\n", event.id));
            Ok(())
        }
        Err(error) => {
            let log = Log::new(&host.syslog, "bastion", Source::Daemon);
            let line = Line::new(event.what.kind()).word("alert", event.id);
            // All of it, as it stands nowhere else.
            let line = match &event.what {
                What::Note(note) => line.text("text", &note.text),
                _ => line.text("text", &text::event_body(&event, &event.at)),
            };
            log.say(Level::Alert, &line.text("not-spooled", &error.to_string()));
            let what = "the alert is in syslog and nowhere else";
            Err(Failure::spool(what, error).or_a_member_of("_bastion-drop"))
        }
    }
}

/// Who sends what the sender will not believe hears of it here, as he does nowhere else. What cannot be
/// said here is the sender's to say.
fn refuse_what_nobody_believes(what: &What, spool: &Spool) -> Result<(), Failure> {
    // Whoever owns the queue is the sender.
    let sender = fs::metadata(spool.queue()).map_or(0, |meta| meta.uid());
    match owner::objection(ffi::geteuid(), sender, what) {
        Ok(Some(why)) => Err(Failure::permission(why)),
        Ok(None) | Err(_) => Ok(()),
    }
}

fn parse_severity(options: &mut Options) -> Result<Severity, Failure> {
    let word = options.rest.value().and_then(|value| value.string()).map_err(Failure::usage)?;
    Severity::ALL.into_iter().find(|severity| severity.as_str() == word).ok_or_else(|| {
        Failure::usage(format!("{word:?} is no severity; there are info, warning, critical"))
    })
}

fn parse_name(options: &mut Options) -> Result<String, Failure> {
    let name = options.rest.value().and_then(|value| value.string()).map_err(Failure::usage)?;
    match name.trim() {
        "" => Err(Failure::usage("the name is empty")),
        name if name.len() > Condition::MAX_NAME => {
            Err(Failure::usage(format!("the name is longer than {} bytes", Condition::MAX_NAME)))
        }
        name => Ok(name.to_owned()),
    }
}

/// `1/1` times, `3540s/3600s` seconds.
fn parse_tally(name: &str, text: &str) -> Result<Tally, Failure> {
    let parsed = || {
        let (good, all) = text.split_once('/')?;
        let (good, all, unit) = match (good.strip_suffix('s'), all.strip_suffix('s')) {
            (Some(good), Some(all)) => (good, all, Unit::Seconds),
            _ => (good, all, Unit::Times),
        };
        let (good, all): (u64, u64) = (good.parse().ok()?, all.parse().ok()?);
        let name = Foreign::new(name.as_bytes());
        (good <= all).then_some(Tally { name, good, all, unit })
    };
    parsed().ok_or_else(|| {
        Failure::usage(format!("{text:?} is no tally; write GOOD/ALL, as 1/1 or 3540s/3600s"))
    })
}

fn read_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_INPUT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::io("read standard input", &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `text` in at most [`Note::MAX`] bytes.
fn fit(text: &str) -> String {
    if text.len() <= Note::MAX {
        return text.to_owned();
    }
    let note = format!("\n(cut, it had {} bytes)", text.len());
    let mut end = Note::MAX.saturating_sub(note.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned() + &note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_has_two_numbers_of_one_unit() {
        let read = |text| parse_tally("x", text).ok().map(|t| (t.good, t.all, t.unit));
        let table = [
            ("1/1", Some((1, 1, Unit::Times))),
            ("0/0", Some((0, 0, Unit::Times))),
            ("3540s/3600s", Some((3540, 3600, Unit::Seconds))),
            ("2/1", None),
            ("1s/1", None),
            ("1", None),
            ("-1/1", None),
            ("", None),
        ];
        for (text, want) in table {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(fit("short"), "short");
        let cut = fit(&"é".repeat(4000));
        assert!(
            cut.len() <= Note::MAX && cut.ends_with("(cut, it had 8000 bytes)"),
            "{}",
            cut.len()
        );
    }
}
