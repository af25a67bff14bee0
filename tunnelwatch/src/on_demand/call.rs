//! A call of the provider, by a program of its own: one that hangs is ended, and this one needs no TLS.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use notifier::ffi::set_nonblocking;
use serde::Deserialize;

use super::config::Provider;
use super::decide::{Kind, Seen, Trouble, Verb};
use crate::ssh::{self, Session};

/// The program that speaks to the providers we know, where the package puts it.
const PROGRAM: &str = "tunnelwatch-cloud";
const DIRECTORY: &str = "/usr/lib/pam-bastion";

/// How long a call may take. The program's own deadline is 20 s.
const MOST: Duration = Duration::from_secs(30);

/// Most that is read of what it prints: it is a line.
const MAX_OUTPUT: u64 = 4096;

/// Exit codes, as in sysexits.h.
const UNAVAILABLE: i32 = 69;
const NOT_PERMITTED: i32 = 77;
const MISCONFIGURED: i32 = 78;

/// How the provider is called.
#[derive(Debug, Clone)]
pub struct Caller {
    words: Vec<OsString>,
}

impl Caller {
    /// For a tunnel of the file `config`. `own` is this program.
    #[must_use]
    pub fn new(provider: &Provider, tunnel: &str, config: &Path, own: &Path) -> Self {
        let words = match provider {
            Provider::Exec(words) => words.iter().map(OsString::from).collect(),
            _ => {
                let beside = own.with_file_name(PROGRAM);
                let program =
                    if beside.exists() { beside } else { PathBuf::from(DIRECTORY).join(PROGRAM) };
                [program.into(), "--config".into(), config.into(), tunnel.into()].into()
            }
        };
        Self { words }
    }

    /// Begins a call.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn call(&self, verb: Verb) -> Result<Call, Trouble> {
        let none =
            || Trouble { kind: Kind::Wrong, why: "there is no command".into(), retry_after: None };
        let (program, arguments) = self.words.split_first().ok_or_else(none)?;
        let wrong = |error: std::io::Error| Trouble {
            kind: Kind::Wrong,
            why: format!("{}: {error}", Path::new(program).display()),
            retry_after: None,
        };
        let mut command = ssh::command(Path::new(program));
        command.args(arguments).arg(verb.word()).stdout(Stdio::piped());
        // Where systemd has put the secrets.
        if let Some(secrets) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            command.env("CREDENTIALS_DIRECTORY", secrets);
        }
        let mut session = Session::of(command).map_err(wrong)?;
        let output = session.take_output();
        if let Some(output) = &output {
            set_nonblocking(output.as_fd()).map_err(wrong)?;
        }
        let program =
            Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Call { program, session, output, until: Instant::now() + MOST })
    }
}

/// A call that is under way.
#[derive(Debug)]
pub struct Call {
    program: String,
    session: Session,
    output: Option<ChildStdout>,
    until: Instant,
}

impl Call {
    /// What becomes readable when it says something or ends; nothing when it has closed its mouth.
    #[must_use]
    pub fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.session.wakes()
    }

    /// How it has ended, once it has. One that takes too long is ended.
    pub fn ended(&mut self) -> Option<Result<Seen, Trouble>> {
        if !self.session.listen() {
            if Instant::now() < self.until {
                return None;
            }
            self.session.stop();
            let why = format!("{} took more than {} s and was ended", self.program, MOST.as_secs());
            return Some(Err(Trouble { kind: Kind::Away, why, retry_after: None }));
        }
        self.session.drain();
        let code = self.session.status()?.code();
        // Of a pipe that holds more than it may say, the first line is all.
        let mut text = Vec::new();
        if let Some(output) = self.output.take() {
            let _ = output.take(MAX_OUTPUT).read_to_end(&mut text);
        }
        let said = self.session.lines(0).last().unwrap_or_default();
        Some(judge(&self.program, code, &text, said))
    }
}

/// What is printed beside a code that means "try again".
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Later {
    retry_after_s: Option<u64>,
}

fn judge(program: &str, code: Option<i32>, text: &[u8], said: &str) -> Result<Seen, Trouble> {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().next().unwrap_or_default();
    let trouble = |kind: Kind, why: String| Trouble { kind, why, retry_after: None };
    let why = || match said {
        "" => format!(
            "{program} ended with {}",
            code.map_or("a signal".into(), |code| code.to_string())
        ),
        said => said.to_owned(),
    };
    match code {
        Some(0) => {
            let seen = serde_json::from_str::<Seen>(line);
            let mut seen = seen.map_err(|error| {
                let what = format!("what {program} prints is not understood: {error}");
                trouble(Kind::Busy, what)
            })?;
            // It becomes a word of ssh's.
            let plain = |c: char| c.is_ascii_alphanumeric() || ".:-_".contains(c);
            let is_plain = |address: &String| {
                !address.is_empty()
                    && address.len() <= 253
                    && !address.starts_with('-')
                    && address.chars().all(plain)
            };
            if let Some(address) = seen.address.take_if(|address| !is_plain(address)) {
                let shown = notifier::foreign::visible(address.as_bytes());
                let what = format!("{program} prints an address that is none: {shown}");
                return Err(trouble(Kind::Busy, what));
            }
            Ok(seen)
        }
        Some(UNAVAILABLE) => Err(trouble(Kind::Away, why())),
        Some(NOT_PERMITTED) => Err(trouble(Kind::Refused, why())),
        Some(MISCONFIGURED) => Err(trouble(Kind::Wrong, why())),
        _ => {
            let later: Later = serde_json::from_str(line).unwrap_or_default();
            let retry_after = later.retry_after_s.map(Duration::from_secs);
            Err(Trouble { retry_after, ..trouble(Kind::Busy, why()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::Machine;
    use super::*;

    #[test]
    fn what_a_program_prints_and_how_it_ends_is_understood() {
        let on = Seen { machine: Machine::On, address: Some("198.51.100.7".into()) };
        for (text, want) in [
            (r#"{"state":"on","address":"198.51.100.7","more":[1]}"#, on),
            ("{\"state\":\"off\"}\nmore\n", Seen { machine: Machine::Off, address: None }),
            (r#"{"state":"gone","address":null}"#, Seen { machine: Machine::Gone, address: None }),
        ] {
            assert_eq!(judge("cloud", Some(0), text.as_bytes(), ""), Ok(want));
        }
        for (code, text, said, kind, why) in [
            (Some(0), "", "", Kind::Busy, "what cloud prints is not understood"),
            (Some(0), r#"{"state":"asleep"}"#, "", Kind::Busy, "not understood"),
            (
                Some(0),
                r#"{"state":"on","address":"-oProxyCommand=x"}"#,
                "",
                Kind::Busy,
                "an address that is none",
            ),
            (
                Some(0),
                r#"{"state":"on","address":"a b"}"#,
                "",
                Kind::Busy,
                "an address that is none",
            ),
            (Some(69), "", "cannot resolve", Kind::Away, "cannot resolve"),
            (Some(77), "", "wrong key", Kind::Refused, "wrong key"),
            (Some(78), "", "no such instance", Kind::Wrong, "no such instance"),
            (Some(75), "", "locked", Kind::Busy, "locked"),
            (Some(1), "", "", Kind::Busy, "cloud ended with 1"),
            (None, "", "", Kind::Busy, "cloud ended with a signal"),
        ] {
            let found = judge("cloud", code, text.as_bytes(), said).unwrap_err();
            assert_eq!((found.kind, found.retry_after), (kind, None), "{found:?}");
            assert!(found.why.contains(why), "{found:?}");
        }
        let later = br#"{"retry-after-s":30,"kind":"capacity"}"#;
        let found = judge("cloud", Some(75), later, "no room").unwrap_err();
        assert_eq!(found.retry_after, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_program_is_called_with_the_word_and_its_answer_is_read() {
        let script = "echo \"{\\\"state\\\":\\\"on\\\",\\\"address\\\":\\\"$1\\\"}\"";
        let words = ["/bin/sh", "-c", script, "sh"].map(str::to_owned);
        let caller =
            Caller::new(&Provider::Exec(words.into()), "home", Path::new("/c"), Path::new("/own"));
        let mut call = caller.call(Verb::Describe).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let end = loop {
            if let Some(end) = call.ended() {
                break end;
            }
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(end.unwrap().address.as_deref(), Some("describe"));
        let words = vec!["/nonexistent/cloud".to_owned()];
        let caller =
            Caller::new(&Provider::Exec(words), "home", Path::new("/c"), Path::new("/own"));
        let trouble = caller.call(Verb::Start).unwrap_err();
        assert_eq!(trouble.kind, Kind::Wrong);
        assert!(trouble.why.starts_with("/nonexistent/cloud: No such file"), "{trouble:?}");
    }
}
