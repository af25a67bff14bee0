//! Who gets the alerts, ours and the peers': a provider, a mail server or a program, which does one
//! of [`Wrong`] on request and tells what has come.

use bastion_tests::host::Host;
use bastion_tests::like::Like;
use bastion_tests::mail::{MailServer, Options};
use bastion_tests::provider::{Provider, Record};
use serde_json::json;

use super::rig::{packets, pass_packets, port_of};
use super::wrong::Wrong;

/// The program's folder, which is its user's, and the program.
const FOLDER: &str = "/srv/alerts";
/// The program itself.
pub const PROGRAM: &str = "/srv/alert";

/// Port of the mail server: a second one takes the place of the first.
const MAIL_PORT: u16 = 2525;

/// One of the three.
pub enum Receiver {
    /// A stand-in with HTTP.
    Web(Provider),
    /// aiosmtpd; `None` for a moment while another takes its place.
    Mail(Option<MailServer>),
    /// A script.
    Program,
}

/// A message that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// Its text, in which the alert's id stands.
    pub text: String,
    /// The mail's Message-ID.
    pub message_id: Option<String>,
}

impl Taken {
    /// Of a provider's log.
    pub fn of(record: &Record) -> Self {
        Self { at_us: record.at_us, text: record.body().to_owned(), message_id: None }
    }
}

impl Receiver {
    /// A provider.
    pub fn web(host: &Host, like: Like) -> Self {
        Self::Web(Provider::start_like(host, like, "127.0.0.1:0", false))
    }

    /// A relay on this machine: in clear, without a password, as all peers can talk to it.
    pub fn mail(host: &Host) -> Self {
        Self::Mail(Some(mail_server(host, "none")))
    }

    /// A script, which takes an alert by writing its id down.
    pub fn program(host: &Host) -> Self {
        host.sh(&format!("install -d -o _bastion {FOLDER}"));
        let script = format!(
            "#!/bin/bash\ncd {FOLDER}\ncat >/dev/null\nnow() {{ date +%s%6N; }}\n\
             take() {{ echo \"$(now) $BASTION_ALERT_ID\" >>taken; }}\nnow >>tries\n\
             for wrong in wrong-*; do [ -e \"$wrong\" ] || break; mv $wrong over; . ./over; done\n\
             take\n"
        );
        host.write(PROGRAM, script, 0o755);
        Self::Program
    }

    /// Its port; 0 of a program.
    pub fn port(&self) -> u16 {
        match self {
            Self::Web(provider) => port_of(provider.address()),
            Self::Mail(_) => MAIL_PORT,
            Self::Program => 0,
        }
    }

    /// Does wrong from now on.
    pub fn misbehave(&mut self, host: &Host, wrong: Wrong) {
        if let Some(fate) = wrong.packets() {
            packets(host, self.port(), fate);
            return;
        }
        match self {
            Self::Web(provider) => provider.fault(&wrong.web().expect("a fault of providers")),
            Self::Mail(server) => match (wrong.mail(), server.as_mut()) {
                (Some(rule), Some(server)) => server.wrong(&rule),
                _ => self.replace_mail(host, "drip"),
            },
            Self::Program => {
                let (lines, times) = wrong.program().expect("a fault of programs");
                for number in 0..times {
                    host.write(&format!("{FOLDER}/wrong-{number}"), lines, 0o644);
                }
            }
        }
    }

    /// Behaves again, where that does not come by itself.
    pub fn mend(&mut self, host: &Host, wrong: Wrong) {
        if wrong.packets().is_some() {
            pass_packets(host);
        }
        if wrong == Wrong::Drip && matches!(self, Self::Mail(_)) {
            self.replace_mail(host, "none");
        }
    }

    /// Whether somebody has to mend it.
    pub fn has_to_be_mended(&self, wrong: Wrong) -> bool {
        wrong.is_outage() || (wrong == Wrong::Drip && matches!(self, Self::Mail(_)))
    }

    fn replace_mail(&mut self, host: &Host, tls: &str) {
        *self = Self::Mail(None);
        *self = Self::Mail(Some(mail_server(host, tls)));
    }

    /// All that was taken, in the order in which it came.
    pub fn taken(&self, host: &Host) -> Vec<Taken> {
        match self {
            Self::Web(provider) => provider.accepted().iter().map(Taken::of).collect(),
            Self::Mail(server) => {
                let all = server.iter().flat_map(MailServer::mails);
                all.map(|mail| Taken {
                    at_us: mail.at_us,
                    message_id: mail.header("Message-ID").or_else(|| mail.header("Message-Id")),
                    text: mail.text.unwrap_or_default(),
                })
                .collect()
            }
            Self::Program => {
                let log = host.read(&format!("{FOLDER}/taken"));
                log.lines()
                    .filter_map(|line| line.split_once(' '))
                    .map(|(at_us, id)| Taken {
                        at_us: at_us.parse().unwrap_or(0),
                        text: id.to_owned(),
                        message_id: None,
                    })
                    .collect()
            }
        }
    }

    /// When each try came, in microseconds since 1970.
    pub fn tries(&self, host: &Host) -> Vec<u64> {
        match self {
            Self::Web(provider) => provider.posts().iter().map(|post| post.at_us).collect(),
            Self::Mail(server) => {
                let all = server.iter().flat_map(MailServer::records);
                all.filter(|record| record.ehlo.is_some()).map(|record| record.at_us).collect()
            }
            Self::Program => {
                let log = host.read(&format!("{FOLDER}/tries"));
                log.lines().filter_map(|at_us| at_us.parse().ok()).collect()
            }
        }
    }
}

fn mail_server(host: &Host, tls: &str) -> MailServer {
    MailServer::start(host, &Options::tls(tls).with("port", json!(MAIL_PORT)))
}
