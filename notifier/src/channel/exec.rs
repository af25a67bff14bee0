//! Any program of the administrator's: apprise, sendmail, a modem, a script.
//!
//! It is started as it is written, without a shell, once for each message and recipient. On its
//! standard input it has the message's text, a fact a line; in its environment, beside `PATH`,
//! `LANG` and `HOME`, what `facts` lists, and nothing of ours. What its exit code means
//! (sysexits.h(3head), and what shells say) stands at `judge`.
//!
//! The program runs as the sender's user and inside the sender's unit.

mod process;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::http::wrong;
use super::outcome::{Asked, Fault, Outcome};
use super::{Channel, Message, Secrets};
use crate::chain::Answer;
use crate::config::{Section, duration};
use crate::event::{Event, Key, Login, What};
use crate::fact::Fact;
use crate::foreign::visible;
use crate::text;
use process::{End, Left, Program, Run};

/// `timeout` where the file says nothing, and the longest there can be: the channel has one
/// thread, and a program that hangs holds up what waits behind it.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest part of a program's last line that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// `type = "exec"`.
pub struct Exec {
    program: Program,
    to: Vec<String>,
    left: Left,
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, _: &Secrets) -> Option<Box<dyn Channel>> {
    let before = section.findings();
    let command = section.need("command").parse_list("command", parse_word);
    let command: Vec<String> = command?.into_iter().map(|word| word.value).collect();
    match command.first() {
        None => section.reject_section("command is empty; write [\"/path/of/a/program\"]"),
        Some(path) if !path.starts_with('/') => section.reject_section(
            "command: the program has to be an absolute path, as /usr/bin/apprise; there is no \
             shell that would look for it",
        ),
        Some(_) => {}
    }
    let timeout = section.parse("timeout", duration::parse).map_or(TIMEOUT, |timeout| {
        if timeout.value < Duration::from_secs(1) || timeout.value > MAX_TIMEOUT {
            section.reject("timeout", &timeout, "1s to 10m");
        }
        timeout.value
    });
    let so_far = section.findings();
    let to = section.parse_list("to", parse_recipient);
    // Of a wrong one it has been said what is wrong with it.
    if to.as_ref().is_some_and(Vec::is_empty) && section.findings() == so_far {
        section.reject_section("to is empty; write at least one recipient, or leave it out");
    }
    if section.findings() != before {
        return None;
    }
    let (path, arguments) = command.split_first()?;
    let own_name = || path.rsplit('/').next().unwrap_or_default().to_owned();
    let to = to.map(|to| to.into_iter().map(|to| to.value).collect());
    Some(Box::new(Exec {
        to: to.unwrap_or_else(|| vec![own_name()]),
        program: Program { path: path.clone(), arguments: arguments.to_vec(), timeout },
        left: Left::default(),
    }))
}

fn parse_word(text: &str) -> Result<String, &'static str> {
    if text.contains('\0') { Err("a NUL cannot be handed to a program") } else { Ok(text.into()) }
}

fn parse_recipient(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err(format!("{text:?}: 1 to 256 bytes on one line")) }
}

impl Channel for Exec {
    fn recipients(&self) -> &[String] {
        &self.to
    }

    fn ask(&mut self) -> Asked {
        let path = std::path::Path::new(&self.program.path);
        let may_run =
            |meta: &std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o111 != 0;
        match path.metadata() {
            Ok(meta) if may_run(&meta) => Asked::NotAsked("its program is there, and is not run"),
            Ok(_) => Asked::Bad(wrong(
                &format!("{} is no program that may be run", path.display()),
                "command",
            )),
            Err(error) => Asked::Bad(wrong(&format!("{}: {error}", path.display()), "command")),
        }
    }

    /// Takes `timeout` at most, and the four seconds that a program has to be gone after it.
    fn send(&mut self, message: &Message) -> Outcome {
        let run = self.program.run(&facts(message), text::body(message).as_bytes(), &mut self.left);
        judge(&run, &self.program)
    }
}

/// One fact of a login; `None` when it is not known.
type Told = fn(&Login) -> Option<String>;

/// The same of who came through a tunnel.
type Via = fn(&Answer) -> Option<String>;

/// What the program finds in its environment, each on one line.
///
/// The facts of a login are there when all events of the message are logins and agree on it:
/// of twelve logins by two users there is no `BASTION_USER`.
fn facts(message: &Message) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("BASTION_ALERT_ID", message.id().to_string()),
        ("BASTION_SUBJECT", text::subject(message)),
        ("BASTION_SMS", text::sms(message, 1)),
        ("BASTION_SEVERITY", message.severity().to_string()),
        ("BASTION_KIND", message.event.what.kind().to_owned()),
        ("BASTION_HOST", message.event.host.visible()),
        ("BASTION_RECIPIENT", message.recipient.clone()),
        ("BASTION_COUNT", message.events().count().to_string()),
    ];
    let of_logins: [(_, Told); 3] = [
        ("BASTION_USER", |login| Some(login.user.visible())),
        ("BASTION_SOURCE", source),
        ("BASTION_KEY", |login| login.key().map(key)),
    ];
    for (name, fact) in of_logins {
        let values = message.events().map(|event| match &event.what {
            What::Login(login) => fact(login),
            _ => None,
        });
        facts.extend(common(values).map(|value| (name, value)));
    }
    let of_via: [(_, Via); 4] = [
        ("BASTION_VIA_USER", |via| Some(via.person()?.user.visible())),
        ("BASTION_VIA_SOURCE", |via| Some(via.person()?.source?.to_string())),
        ("BASTION_VIA_KEY", |via| via.person()?.key().map(key)),
        ("BASTION_VIA_UNMATCHED", |via| match via {
            Answer::Unmatched(why) => Some(why.visible()),
            Answer::Matched(_) => None,
        }),
    ];
    for (name, fact) in of_via {
        let answer = |event: &Event| message.facts.get(&event.id).and_then(Fact::via);
        let values = message.events().map(|event| answer(event).and_then(fact));
        facts.extend(common(values).map(|value| (name, value)));
    }
    facts
}

/// What all say.
fn common(mut values: impl Iterator<Item = Option<String>>) -> Option<String> {
    let first = values.next().flatten()?;
    values.all(|value| value.as_ref() == Some(&first)).then_some(first)
}

/// The address; of what was no address, what stood there.
fn source(login: &Login) -> Option<String> {
    let name = || login.source_name.as_ref().map(crate::foreign::Foreign::visible);
    login.source.map(|ip| ip.to_string()).or_else(name)
}

/// Your own name for the key, else its fingerprint.
fn key(key: &Key) -> String {
    key.name.as_ref().map_or_else(|| visible(key.fingerprint.as_bytes()), |name| name.visible())
}

/// What the end of a program means:
///
/// | exit code | |
/// | --- | --- |
/// | 0 | delivered; the last line of its output is the answer |
/// | 65, 67 | this message (65) or this recipient (67) will never get out this way |
/// | 64, 77, 78, 126, 127, or it cannot be started | the settings are wrong |
/// | 69, 75 | the service is not there: the channel waits |
/// | any other | trouble of a kind that nobody knows: this message waits, others go on |
///
/// A program that a signal ends, ours at the deadline or another's, may have sent it.
fn judge(run: &Run, program: &Program) -> Outcome {
    let name = &program.path;
    let last = [&run.errors, &run.output].into_iter().find_map(|bytes| last_line(bytes));
    let said = last.map(|line| format!(": {line}")).unwrap_or_default();
    let config =
        |what: &str| Outcome::Config { why: format!("{name} {what}{said}; check command") };
    let later = |why, fault| Outcome::Later { why, fault };
    match &run.end {
        End::Code(0) => {
            let answer = last_line(&run.output).unwrap_or_else(|| "exit code 0".to_owned());
            Outcome::Delivered { id: None, answer }
        }
        End::Code(code @ 65) => Outcome::Never { why: format!("{name} ended with {code}{said}") },
        End::Code(code @ 67) => {
            Outcome::Never { why: format!("{name} ended with {code}{said}; check to") }
        }
        End::Code(126 | 127) => config("could not start what it needs"),
        End::Code(code @ (64 | 77 | 78)) => config(&format!("ended with {code}")),
        End::Code(code @ (69 | 75)) => {
            later(format!("{name} ended with {code}{said}"), Fault::Channel)
        }
        End::Code(code) => later(format!("{name} ended with {code}{said}"), Fault::Message),
        End::Signal(signal) => {
            Outcome::doubtful(format!("{name} was ended by signal {signal}{said}"), Fault::Message)
        }
        End::Deadline => {
            let most = program.timeout;
            let why = format!("{name} took more than {most:?} and was ended{said}; check timeout");
            Outcome::doubtful(why, Fault::Channel)
        }
        End::NotFound(error) => config(&format!("cannot be started: {error}")),
        End::NotStarted(error) => {
            later(format!("{name} could not be started: {error}"), Fault::Channel)
        }
        End::Stuck(count) => {
            later(format!("{count} earlier runs of {name} cannot be ended"), Fault::Channel)
        }
    }
}

/// The last line that is not empty, visible and cut.
fn last_line(output: &[u8]) -> Option<String> {
    let line = output.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).rfind(|l| !l.is_empty());
    let text = visible(line?);
    Some(match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text,
    })
}

#[cfg(test)]
mod tests;
