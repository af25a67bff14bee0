//! The conversation with the server, a step at a time, so that it is known how far it came.

use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail, Quit, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, ServerInfo};
use lettre::transport::smtp::response::Response;

use super::connection::{Connection, said};
use super::letter::Letter;
use super::line::Line;
use super::trust::Trust;
use super::verdict::{Failure, Step, judge};
use crate::channel::Kick;
use crate::channel::http::Redactor;
use crate::channel::lasting;
use crate::channel::outcome::Outcome;

/// Longest wait for the answer to QUIT, after which there is nothing left to lose.
const FAREWELL: Duration = Duration::from_secs(1);

/// Most questions that a server asks of who logs in: LOGIN has two, PLAIN none.
const CHALLENGES: usize = 10;

/// Ways to log in. Both send the password as it is, so neither goes over a line in clear.
const MECHANISMS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];

/// How the line is made safe. There is no way to write down a password for a line in clear.
#[derive(Debug)]
pub(super) enum Security {
    /// TLS after STARTTLS, which the server has to offer.
    StartTls(Trust),
    /// TLS from the first byte on.
    Implicit(Trust),
    /// None: to a relay on this machine.
    None,
}

/// A server, as the verdict names it.
#[derive(Debug)]
pub(super) struct Names {
    pub host: String,
    pub port: u16,
    pub signs_in: bool,
    /// It speaks first, in clear; so silence may mean that it waits for TLS.
    pub greets_in_clear: bool,
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    pub names: Names,
    pub security: Security,
    pub hello: ClientId,
    pub display: Redactor,
}

/// Sends `letter`, or says why not.
pub(super) fn run(server: &Server, letter: &Letter, kick: &Kick) -> Outcome {
    let mut step = Step::Connect;
    let mut connection = None;
    let result = converse(server, letter, kick, &mut step, &mut connection);
    if matches!(result, Ok(_) | Err(Failure::Reply { .. })) {
        if let Some(mut connection) = connection {
            connection.line().hurry(FAREWELL);
            // Whatever it says to that, the mail's fate is known.
            let _ = connection.ask(&Quit, &[221..=221]);
        }
    }
    match result {
        Ok(answer) => {
            let answer = format!("{} {}", answer.code(), said(&answer));
            let answer = server.display.shown(&answer);
            Outcome::Delivered { id: Some(letter.id.clone()), answer }
        }
        Err(failure) => judge(step, &failure, &server.names, &server.display),
    }
}

/// Signs in and leaves again, with no mail.
pub(super) fn ask(server: &Server, kick: &Kick) -> Result<(), Outcome> {
    let mut step = Step::Connect;
    let mut connection = None;
    let result = greet(server, kick, &mut step, &mut connection);
    if let Some(mut connection) = connection {
        connection.line().hurry(FAREWELL);
        let _ = connection.ask(&Quit, &[221..=221]);
    }
    result.map_err(|failure| judge(step, &failure, &server.names, &server.display))
}

/// The last answer, or why it stopped; `step` says where. The connection is left in `open`, once
/// it is as safe as it has to be.
///
/// Each answer has to have the number that belongs to its question: one that is out of step is
/// never taken for a yes.
fn converse(
    server: &Server,
    letter: &Letter,
    kick: &Kick,
    step: &mut Step,
    open: &mut Option<Connection>,
) -> Result<Response, Failure> {
    greet(server, kick, step, open)?;
    let Some(connection) = open else { return Err(Failure::Nonsense("it is gone".into())) };
    *step = Step::Mail;
    connection.ask(&Mail::new(letter.envelope_from.clone(), Vec::new()), &[250..=250])?;
    *step = Step::Rcpt;
    connection.ask(&Rcpt::new(letter.to.clone(), Vec::new()), &[250..=252])?;
    *step = Step::Data;
    connection.ask(&Data, &[354..=354])?;
    *step = Step::Content;
    connection.say(&transparent(&letter.bytes))?;
    connection.answer(&[200..=299])
}

/// All that is said before a mail: who we are, in safety, and that we may send.
fn greet(
    server: &Server,
    kick: &Kick,
    step: &mut Step,
    open: &mut Option<Connection>,
) -> Result<(), Failure> {
    let Names { host, port, .. } = &server.names;
    // A CA store that cannot be read is told before anybody is called.
    let (config, credentials) = match &server.security {
        Security::StartTls(trust) | Security::Implicit(trust) => {
            (Some(trust.config().map_err(Failure::Roots)?), trust.credentials.as_ref())
        }
        Security::None => (None, None),
    };
    let line = Line::open(host, *port, kick).map_err(|error| Failure::of(&error))?;
    let mut connection = Connection::new(line);
    if let (Security::Implicit(_), Some(config)) = (&server.security, &config) {
        connection = connection.secured(config.clone(), host)?;
    }
    connection.answer(&[220..=220])?;
    let mut offers = hello(&mut connection, server)?;
    if let (Security::StartTls(_), Some(config)) = (&server.security, config) {
        *step = Step::StartTls;
        if !offers.supports_feature(Extension::StartTls) {
            return Err(Failure::NoStartTls);
        }
        connection.ask(&Starttls, &[220..=220])?;
        connection = connection.secured(config, host)?;
        // What was offered in clear may have been anybody's.
        offers = hello(&mut connection, server)?;
    }
    if let Security::StartTls(trust) | Security::Implicit(trust) = &server.security {
        lasting::note_chain(host, trust.ca_file.as_deref(), connection.shown());
    }
    let connection = open.insert(connection);
    if let Some(credentials) = credentials {
        *step = Step::Auth;
        sign_in(connection, &offers, credentials)?;
    }
    Ok(())
}

/// EHLO, and what the server offers.
fn hello(connection: &mut Connection, server: &Server) -> Result<ServerInfo, Failure> {
    let answer = connection.ask(&Ehlo::new(server.hello.clone()), &[250..=250])?;
    ServerInfo::from_response(&answer).map_err(|error| Failure::Nonsense(error.to_string()))
}

fn sign_in(
    connection: &mut Connection,
    offers: &ServerInfo,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let mechanism = offers.get_auth_mechanism(MECHANISMS).ok_or(Failure::NoMechanism)?;
    let nonsense = |error: lettre::transport::smtp::Error| Failure::Nonsense(error.to_string());
    let mut command = Auth::new(mechanism, credentials.clone(), None).map_err(nonsense)?;
    for _ in 0..CHALLENGES {
        let answer = connection.ask(&command, &[235..=235, 334..=334])?;
        if answer.has_code(235) {
            return Ok(());
        }
        command =
            Auth::new_from_response(mechanism, credentials.clone(), &answer).map_err(nonsense)?;
    }
    Err(Failure::Nonsense("it asks for ever".into()))
}

/// A mail as it goes over the line, with the dot that ends it (RFC 5321, 4.5.2).
fn transparent(mail: &[u8]) -> Vec<u8> {
    let mut sent = Vec::with_capacity(mail.len() + 16);
    for (number, line) in mail.split(|byte| *byte == b'\n').enumerate() {
        if number > 0 {
            sent.push(b'\n');
        }
        if line.starts_with(b".") {
            sent.push(b'.');
        }
        sent.extend_from_slice(line);
    }
    sent.extend_from_slice(b"\r\n.\r\n");
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_mail_ends_it() {
        let table = [
            ("a", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\r\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n..b\r\nc.d", "a\r\n...b\r\nc.d\r\n.\r\n"),
            // Some servers take a bare line end for one.
            ("a\n.\nb", "a\n..\nb\r\n.\r\n"),
        ];
        for (mail, want) in table {
            assert_eq!(String::from_utf8(transparent(mail.as_bytes())).unwrap(), want, "{mail:?}");
        }
    }
}
