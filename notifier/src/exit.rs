//! How a command of any program of the project ends: sysexits(3) numbers, and a text for a person on
//! standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::spool::drop::SpoolError;

/// The command line is wrong (sysexits(3), `EX_USAGE`).
const USAGE: u8 = 64;

/// Why a command did not do what was asked, or that it only printed something.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// What is wrong, for a person.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The command line is wrong.
    pub fn usage(error: impl Display) -> Self {
        Self { code: USAGE, text: error.to_string() }
    }

    /// The data given is wrong.
    pub fn data(error: impl Display) -> Self {
        Self { code: 65, text: error.to_string() }
    }

    /// Somebody or something that is needed does not do it: a provider refused, nobody answers.
    pub fn unavailable(error: impl Display) -> Self {
        Self { code: 69, text: error.to_string() }
    }

    /// The system did not let us.
    pub fn io(what: impl Display, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => 77,
            io::ErrorKind::NotFound => 73,
            _ => 75,
        };
        let remedy = if code == 77 { "; it has to be run by root or by its user" } else { "" };
        Self { code, text: format!("{what}: {error}{remedy}") }
    }

    /// Only root may do it.
    pub fn permission(error: impl Display) -> Self {
        Self { code: 77, text: error.to_string() }
    }

    /// The spool did not take an alert; `what` says what follows from that.
    #[must_use]
    pub fn spool(what: &str, error: SpoolError) -> Self {
        match error {
            SpoolError::Io { step, path, source } => {
                Self::io(format!("{what}: {step} {}", path.display()), &source)
            }
            SpoolError::Unsafe { .. } => Self::config(format!("{what}: {error}")),
            SpoolError::TooLarge { .. } => Self::data(format!("{what}: {error}")),
        }
    }

    /// Not only root may do it.
    #[must_use]
    pub fn or_a_member_of(mut self, group: &str) -> Self {
        if self.code == 77 {
            self.text = format!("{}, or by a member of the group {group}", self.text);
        }
        self
    }

    /// It may do another time.
    pub fn later(error: impl Display) -> Self {
        Self { code: 75, text: error.to_string() }
    }

    /// The configuration is wrong.
    pub fn config(error: impl Display) -> Self {
        Self { code: 78, text: error.to_string() }
    }

    /// All of it is in the journal already: so it is not said there once more.
    #[must_use]
    pub fn logged(mut self) -> Self {
        if std::env::var_os("JOURNAL_STREAM").is_some() {
            self.text.clear();
        }
        self
    }

    /// Several at once: a line each, and the exit code of the gravest, which is the settings'
    /// before the provider's before what may pass.
    ///
    /// # Errors
    ///
    /// When there is any.
    pub fn all(failures: Vec<Self>) -> Result<(), Self> {
        let gravest = |code: &u8| [75, 69, 78].iter().position(|known| known == code);
        let code = failures.iter().map(|failure| failure.code).max_by_key(gravest);
        let texts: Vec<String> = failures.into_iter().map(|failure| failure.text).collect();
        code.map_or(Ok(()), |code| Err(Self { code, text: texts.join("\n") }))
    }

    /// This exit code, of a command that has printed all there is to say.
    #[must_use]
    pub fn said(code: u8) -> Self {
        Self { code, text: String::new() }
    }

    /// Nothing is wrong: the text was asked for.
    #[must_use]
    pub fn printed(text: &str) -> Self {
        Self { code: 0, text: text.to_owned() }
    }

    /// Prints the text, as `program` says it, and answers the exit code.
    #[must_use]
    pub fn tell(self, program: &str) -> ExitCode {
        if self.code == 0 {
            print(&self.text);
        } else if !self.text.is_empty() {
            let help =
                if self.code == USAGE { format!("; see: {program} --help") } else { String::new() };
            for line in (self.text + &help).lines() {
                let _ = writeln!(io::stderr(), "{program}: {line}");
            }
        }
        ExitCode::from(self.code)
    }
}

/// Says on standard error what is not right and ends nothing; where nobody can be told, as on a full disk, it goes on
/// all the same.
pub fn complain(program: &str, text: impl Display) {
    let _ = writeln!(io::stderr(), "{program}: {text}");
}

/// Prints on standard output; a reader that has gone away (`| head`) is no fault.
pub fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
