//! `bastion send`: the writers' side on the command line. Reads no secret, opens no socket but
//! the log's.

use std::io::{self, Read};

use lexopt::ValueExt;

use super::exit::print;
use super::{Failure, Options};
use crate::clock::Stamp;
use crate::event::{Event, FORMAT, Note, Severity, What};
use crate::spool::Spool;
use crate::spool::drop::{self, SpoolError, Sync};
use crate::syslog::{Level, Line, Log, Source};

pub(super) const HELP: &str = " [--severity info|warning|critical] [TEXT...]

Puts a text into the spool and prints the alert's id. When it returns, the alert survives a
power cut; the sender delivers it. Without TEXT it is read from standard input. A text
longer than 4096 bytes is cut, and says so.

  --severity WORD  how urgent it is (default warning)

To be run by root or a member of the group _bastion-drop.
";

/// Most of standard input that is read, so that its length can be told; what is behind it
/// is left unread.
const MAX_INPUT: u64 = 1024 * 1024;

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let mut severity = Severity::Warning;
    let mut words: Vec<String> = Vec::new();
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("severity") => severity = parse_severity(&mut options)?,
            lexopt::Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let text = if words.is_empty() { read_input()? } else { words.join(" ") };
    if text.trim().is_empty() {
        return Err(Failure::data("there is no text to send"));
    }
    // A script's alert must get out although somebody has just broken the file.
    let host = super::lenient_host(&options.config);
    let at = Stamp::now();
    let event = Event {
        version: FORMAT,
        id: drop::new_id(at.unix_ms),
        at,
        host: host.name.clone(),
        severity,
        what: What::Note(Note { text: fit(text.trim()) }),
    };
    match drop::publish(&Spool::new(&host.spool), &event, Sync::Now) {
        Ok(_) => {
            print(&format!("{}\n", event.id));
            Ok(())
        }
        Err(error) => {
            let log = Log::new(&host.syslog, "bastion", Source::Daemon);
            let line = Line::new("note").word("alert", event.id).text("text", text.trim());
            log.say(Level::Alert, &line.text("not-spooled", &error.to_string()));
            let what = "the alert is in syslog and nowhere else";
            Err(match error {
                SpoolError::Io { step, path, source } => {
                    Failure::io(format!("{what}: {step} {}", path.display()), &source)
                        .or_a_member_of("_bastion-drop")
                }
                SpoolError::Unsafe { .. } => Failure::config(format!("{what}: {error}")),
                SpoolError::TooLarge { .. } => Failure::data(format!("{what}: {error}")),
            })
        }
    }
}

fn parse_severity(options: &mut Options) -> Result<Severity, Failure> {
    let word = options.rest.value().and_then(|value| value.string()).map_err(Failure::usage)?;
    Severity::ALL.into_iter().find(|severity| severity.as_str() == word).ok_or_else(|| {
        Failure::usage(format!("{word:?} is no severity; there are info, warning, critical"))
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
