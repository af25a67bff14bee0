//! The conversation with the server, a step at a time, so that it is known how far it came.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, SmtpConnection, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;

use super::attempt::{GivenUp, Progress};
use super::letter::Letter;
use super::verdict::{Failure, Step, judge};
use crate::channel::http::Redactor;
use crate::channel::outcome::Outcome;
use crate::channel::tls;

/// Longest wait for one answer. The library counts it anew with each byte that comes.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest wait for the answer to QUIT, after which there is nothing left to lose.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long we listen for answers that nobody may have sent yet. What was put into the line in
/// clear is in our buffer already and takes no time.
const EARLY: Duration = Duration::from_millis(1);

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

/// Whom to believe and who we are, on a line with TLS.
pub(super) struct Trust {
    /// A file of CAs that are believed in the place of the system's.
    pub ca_file: Option<PathBuf>,
    pub credentials: Option<Credentials>,
}

// By hand, as what is in it must not get into a log.
impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
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

/// A try that ended early, and at which step.
struct Stop(Step, Failure);

/// Sends `letter`, or says why not; `report` is called once, and not when the try was given up.
pub(super) fn run(
    server: &Server,
    letter: &Letter,
    progress: &Progress,
    report: impl FnOnce(Outcome),
) {
    let mut line = None;
    let Ok(result) = converse(server, letter, progress, &mut line) else { return };
    let alive = matches!(&result, Ok(_) | Err(Stop(_, Failure::Reply { .. })));
    report(match result {
        Ok(answer) => {
            let answer = format!("{} {}", answer.code(), said(&answer));
            let answer = server.display.shown(&answer);
            Outcome::Delivered { id: Some(letter.id.clone()), answer }
        }
        Err(Stop(step, failure)) => judge(step, &failure, &server.names, &server.display),
    });
    // Only now, so that a server that is slow to part holds up nobody.
    if let Some(mut connection) = line.filter(|_| alive) {
        let _ = connection.set_timeout(Some(FAREWELL));
        let _ = connection.quit();
    }
}

/// The last answer, or where and why it stopped. The connection is left in `line`.
fn converse(
    server: &Server,
    letter: &Letter,
    progress: &Progress,
    line: &mut Option<SmtpConnection>,
) -> Result<Result<Response, Stop>, GivenUp> {
    let stop = |step| move |failure| Stop(step, failure);
    let (connection, tls) = match connect(server) {
        Ok((connection, tls)) => (line.insert(connection), tls),
        Err(failure) => return Ok(Err(Stop(Step::Connect, failure))),
    };
    if let (Security::StartTls(_), Some(tls)) = (&server.security, &tls) {
        progress.enter(Step::StartTls)?;
        if let Err(failure) = start_tls(connection, tls, &server.hello) {
            return Ok(Err(Stop(Step::StartTls, failure)));
        }
    }
    if let Security::StartTls(trust) | Security::Implicit(trust) = &server.security {
        if let Some(credentials) = &trust.credentials {
            progress.enter(Step::Auth)?;
            if let Err(failure) = sign_in(connection, credentials) {
                return Ok(Err(Stop(Step::Auth, failure)));
            }
        }
    }
    for step in [Step::Mail, Step::Rcpt, Step::Data] {
        progress.enter(step)?;
        let (codes, answer) = match step {
            Step::Mail => {
                let mail = Mail::new(letter.envelope_from.clone(), Vec::new());
                (250..=250, connection.command(mail))
            }
            Step::Rcpt => (250..=252, connection.command(Rcpt::new(letter.to.clone(), Vec::new()))),
            _ => (354..=354, connection.command(Data)),
        };
        if let Err(failure) = expect(codes, answer) {
            return Ok(Err(Stop(step, failure)));
        }
    }
    progress.enter(Step::Content)?;
    let answer = connection.message(&letter.bytes);
    Ok(expect(200..=299, answer).map_err(stop(Step::Content)))
}

/// A connection on which the server has greeted, with TLS where that comes first; and what TLS
/// will need where it comes later.
fn connect(server: &Server) -> Result<(SmtpConnection, Option<TlsParameters>), Failure> {
    let (host, port) = (server.names.host.as_str(), server.names.port);
    let tls = match &server.security {
        Security::StartTls(trust) | Security::Implicit(trust) => Some(trust.parameters(host)?),
        Security::None => None,
    };
    let first = tls.as_ref().filter(|_| matches!(server.security, Security::Implicit(_)));
    let connected = SmtpConnection::connect((host, port), Some(ANSWER), &server.hello, first, None);
    connected.map(|connection| (connection, tls)).map_err(|error| Failure::of(&error))
}

fn said(answer: &Response) -> String {
    answer.message().collect::<Vec<_>>().join(" ")
}

/// STARTTLS, and nothing else than the server's own words after it.
fn start_tls(
    connection: &mut SmtpConnection,
    tls: &TlsParameters,
    hello: &ClientId,
) -> Result<(), Failure> {
    if !connection.can_starttls() {
        return Err(Failure::NoStartTls);
    }
    connection.starttls(tls, hello).map_err(|error| Failure::of(&error))?;
    // The library keeps what came in clear behind the answer to STARTTLS, and would take it for
    // the server's answers: whoever is on the way could say "250 queued" in its name. Two
    // answers or more are found here. After a single one, all that follow are off by one, and
    // the numbers that are expected tell: of AUTH, or at last of DATA, before the mail goes out.
    set_timeout(connection, EARLY)?;
    let early = connection.read_response();
    set_timeout(connection, ANSWER)?;
    match early {
        Ok(_) => Err(Failure::Early),
        Err(error) => match Failure::of(&error) {
            Failure::Timeout => Ok(()),
            Failure::Reply { .. } => Err(Failure::Early),
            failure => Err(failure),
        },
    }
}

fn set_timeout(connection: &mut SmtpConnection, time: Duration) -> Result<(), Failure> {
    connection.set_timeout(Some(time)).map_err(|error| Failure::Network(error.to_string()))
}

fn sign_in(
    connection: &mut SmtpConnection,
    credentials: &Credentials,
) -> Result<Response, Failure> {
    let info = connection.server_info();
    if !MECHANISMS.iter().any(|mechanism| info.supports_auth_mechanism(*mechanism)) {
        return Err(Failure::NoMechanism);
    }
    expect(235..=235, connection.auth(MECHANISMS, credentials))
}

/// The answer, if its number is one of `codes`.
fn expect(
    codes: std::ops::RangeInclusive<u16>,
    answer: Result<Response, Error>,
) -> Result<Response, Failure> {
    let answer = answer.map_err(|error| Failure::of(&error))?;
    let code = u16::from(answer.code());
    if codes.contains(&code) {
        return Ok(answer);
    }
    Err(Failure::Reply { code, text: said(&answer) })
}

impl Trust {
    /// Made anew for each try: the CA store may have been mended since the last one.
    pub(super) fn parameters(&self, host: &str) -> Result<TlsParameters, Failure> {
        tls::prepare();
        let mut builder = TlsParameters::builder(host.to_owned());
        if let Some(path) = &self.ca_file {
            let wrong = |what: String| Failure::Roots(format!("{}: {what}", path.display()));
            let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let marked = pem.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE);
            let certificates = Certificate::from_pem(&pem).ok().filter(|_| marked);
            let certificates = certificates.ok_or_else(|| wrong("no certificate in PEM".into()))?;
            builder = builder
                .certificate_store(CertificateStore::None)
                .add_root_certificate(certificates);
        }
        builder.build().map_err(|error| Failure::Roots(innermost(&error)))
    }
}

/// What a certificate in PEM begins with (RFC 7468).
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

impl Failure {
    /// Its words, for a person who has just written the settings.
    pub(super) fn wrong(&self) -> &str {
        match self {
            Self::Reply { text, .. } => text,
            Self::Certificate(wrong)
            | Self::Roots(wrong)
            | Self::Tls(wrong)
            | Self::Nonsense(wrong)
            | Self::Network(wrong) => wrong,
            Self::NotTls | Self::NoStartTls | Self::Early | Self::NoMechanism | Self::Timeout => "",
        }
    }

    /// What one of the library's errors is.
    fn of(error: &Error) -> Self {
        if let Some(code) = error.status() {
            let text = std::error::Error::source(error).map(ToString::to_string);
            return Self::Reply { code: code.into(), text: text.unwrap_or_default() };
        }
        let io =
            std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        let tls = io.and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>());
        match (tls, io.map(io::Error::kind)) {
            (Some(rustls::Error::InvalidCertificate(wrong)), _) => {
                Self::Certificate(wrong.to_string())
            }
            // What the verifier says when it finds no CA at all.
            (Some(rustls::Error::General(wrong)), _) => Self::Roots(wrong.clone()),
            (Some(rustls::Error::InvalidMessage(_)), _) => Self::NotTls,
            (Some(error), _) => Self::Tls(error.to_string()),
            // The one is what a blocking socket says on Linux, the other what it says elsewhere.
            (_, Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)) => Self::Timeout,
            _ if error.is_response() => Self::Nonsense(innermost(error)),
            _ => Self::Network(innermost(error)),
        }
    }
}

/// The words of an error's cause, without the library's own around them.
fn innermost(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
