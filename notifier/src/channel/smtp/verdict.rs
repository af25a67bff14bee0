//! What a try that failed means: by how far it had come, and by what went wrong there.

use std::fmt;

use super::dialog::Names;
use crate::channel::http::Redactor;
use crate::channel::outcome::{Fault, Outcome};

/// How far a try has come: what is being done, and not yet known to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Step {
    /// Resolving the name, connecting, greeting, and TLS where it comes first.
    #[default]
    Connect,
    /// STARTTLS and what belongs to it.
    StartTls,
    /// Name and password.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, before the mail itself.
    Data,
    /// The mail is going out or has gone: from here on the server may have it.
    Content,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server said no.
    Reply { code: u16, text: String },
    /// The server's certificate is not what it has to be.
    Certificate(String),
    /// There is no CA to check a certificate by, or the file of it cannot be read.
    Roots(String),
    /// What came was not TLS.
    NotTls,
    /// TLS failed otherwise.
    Tls(String),
    /// The server does not offer STARTTLS.
    NoStartTls,
    /// There was an answer before its question: somebody on the way has put it there, in clear,
    /// to be taken for the server's once the line is encrypted (CVE-2011-0411 and its kind).
    Early,
    /// The server offers no way to log in that we know.
    NoMechanism,
    /// The server answered nothing in time.
    Timeout,
    /// It said something that is no SMTP, or ended in the middle of an answer.
    Nonsense(String),
    /// The line broke, or never stood.
    Network(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connection",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::Content => "the mail",
        })
    }
}

/// The verdict on a try. What the server said goes through `display`.
pub(super) fn judge(step: Step, failure: &Failure, names: &Names, display: &Redactor) -> Outcome {
    let Names { host, port, .. } = names;
    let config = |why: String| Outcome::Config { why };
    match failure {
        Failure::Reply { code, text } => {
            let text = display.shown(text);
            let why = format!("{host} answered {step} with {code} {text}");
            reply(step, *code, why.trim_end().to_owned(), names)
        }
        Failure::Certificate(wrong) => config(format!(
            "the certificate of {host}: {wrong}; check the clock, host, ca-file and ca-certificates"
        )),
        Failure::Roots(wrong) => {
            config(format!("TLS: {wrong}; install ca-certificates, or check ca-file"))
        }
        Failure::NotTls if step == Step::Connect => config(format!(
            "{host} speaks no TLS on port {port}; check port, or set tls = \"starttls\""
        )),
        Failure::NoStartTls => config(format!(
            "{host} offers no STARTTLS on port {port}, and nothing is said in clear; check host \
             and port, or set tls = \"implicit\""
        )),
        Failure::Early => config(format!(
            "{host} answered before it was asked: somebody between here and there tampers with \
             STARTTLS; check the line, or set tls = \"implicit\""
        )),
        Failure::NoMechanism => config(format!(
            "{host} offers neither AUTH PLAIN nor LOGIN on port {port}; check host and port"
        )),
        failure => {
            let why = match failure {
                Failure::NotTls => format!("{step}: what {host} said is no TLS"),
                Failure::Tls(wrong) => format!("{step}: TLS with {host}: {}", display.shown(wrong)),
                Failure::Timeout if step == Step::Connect && names.greets_in_clear => format!(
                    "{host} did not answer on port {port} in time; if that port speaks TLS from \
                     the start, set tls = \"implicit\""
                ),
                Failure::Timeout => format!("{step}: {host} did not answer in time"),
                Failure::Nonsense(said) => {
                    format!("{step}: no answer that is SMTP from {host}: {}", display.shown(said))
                }
                Failure::Network(wrong) if step == Step::Connect => {
                    let wrong = display.shown(wrong);
                    format!("{step} to {host}, port {port}: {wrong}; check host and port")
                }
                Failure::Network(wrong) => format!("{step} to {host}: {}", display.shown(wrong)),
                _ => format!("{step}: {host}: {failure:?}"),
            };
            unfinished(step, why)
        }
    }
}

/// A try that was cut off, or whose line broke, at this step.
pub(super) fn unfinished(step: Step, why: String) -> Outcome {
    if step == Step::Content {
        // The same Message-ID makes a copy harmless.
        return Outcome::doubtful(why, Fault::Channel);
    }
    Outcome::Later { why, fault: Fault::Channel }
}

/// What a refusal means (RFC 5321, 4.2; RFC 4954, 6).
fn reply(step: Step, code: u16, why: String, names: &Names) -> Outcome {
    let check = |what: &str| Outcome::Config { why: format!("{why}; check {what}") };
    match (step, code) {
        // A yes to something else: the answers are out of step with the questions.
        (Step::Content, 200..400) => Outcome::doubtful(why, Fault::Message),
        (_, 200..400) => {
            Outcome::Later { why: format!("{why}, out of turn"), fault: Fault::Channel }
        }
        // 530 authentication required, 534 mechanism too weak, 535 refused, 538 not in clear.
        (_, 530 | 534 | 535 | 538) if names.signs_in => {
            check("username and password-file, then restart the sender")
        }
        (_, 530 | 534 | 535 | 538) => check("username and password-file: this server wants both"),
        // Closing down, or too many connections: nobody's mail gets through.
        (_, 421) => Outcome::Later { why, fault: Fault::Channel },
        (Step::Connect | Step::StartTls | Step::Auth, 400..500) => {
            Outcome::Later { why, fault: Fault::Channel }
        }
        (Step::Connect | Step::StartTls, _) => check("host, port and tls"),
        (Step::Auth, _) => check("username and password-file, then restart the sender"),
        (_, 400..500) => Outcome::Later { why, fault: Fault::Message },
        // The sender is the same for all messages: not one of them would get out.
        (Step::Mail, _) => check("from and envelope-from"),
        (Step::Rcpt, _) => Outcome::Never { why: format!("{why}; check to") },
        (Step::Data | Step::Content, _) => Outcome::Never { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::secret::Secret;

    fn names(signs_in: bool) -> Names {
        Names { host: "mx.example".into(), port: 587, signs_in, greets_in_clear: true }
    }

    fn class(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Later { fault: Fault::Channel, .. } => "later, channel",
            Outcome::Later { fault: Fault::Message, .. } => "later, message",
            Outcome::Doubtful { fault: Fault::Channel, accepted: false, .. } => "doubtful",
            Outcome::Doubtful { fault: Fault::Message, accepted: false, .. } => "doubtful, message",
            Outcome::Config { .. } => "config",
            Outcome::Never { .. } => "never",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_answer_has_its_class() {
        use Step::{Auth, Connect, Content, Data, Mail, Rcpt, StartTls};
        let table = [
            (Connect, 421, "later, channel"),
            (Connect, 450, "later, channel"),
            (Connect, 554, "config"),
            (StartTls, 454, "later, channel"),
            (StartTls, 502, "config"),
            (Auth, 454, "later, channel"),
            (Auth, 500, "config"),
            (Auth, 530, "config"),
            (Auth, 534, "config"),
            (Auth, 535, "config"),
            (Auth, 538, "config"),
            (Auth, 250, "later, channel"),
            (Mail, 354, "later, channel"),
            (Mail, 421, "later, channel"),
            (Mail, 451, "later, message"),
            (Mail, 530, "config"),
            (Mail, 553, "config"),
            (Rcpt, 421, "later, channel"),
            (Rcpt, 450, "later, message"),
            (Rcpt, 452, "later, message"),
            (Rcpt, 530, "config"),
            (Rcpt, 550, "never"),
            (Rcpt, 554, "never"),
            (Data, 250, "later, channel"),
            (Data, 451, "later, message"),
            (Data, 554, "never"),
            (Content, 421, "later, channel"),
            (Content, 451, "later, message"),
            (Content, 354, "doubtful, message"),
            (Content, 535, "config"),
            (Content, 552, "never"),
            (Content, 554, "never"),
        ];
        for (step, code, want) in table {
            let failure = Failure::Reply { code, text: "5.7.8 no".into() };
            let got = judge(step, &failure, &names(true), &Redactor::default());
            assert_eq!(class(&got), want, "{step:?} {code}: {got}");
            assert!(got.to_string().contains(&format!("{code} 5.7.8 no")), "{got}");
        }
    }

    #[test]
    fn before_the_mail_goes_out_nothing_is_doubtful_and_after_it_everything_is() {
        let broken = || Failure::Network("Connection reset by peer".into());
        let steps = [Step::Connect, Step::StartTls, Step::Auth, Step::Mail, Step::Rcpt, Step::Data];
        let others = [
            Failure::Timeout,
            Failure::Nonsense("incomplete response".into()),
            Failure::Tls("alert".into()),
        ];
        for failure in others.into_iter().chain([broken()]) {
            for step in steps {
                let got = judge(step, &failure, &names(false), &Redactor::default());
                assert_eq!(class(&got), "later, channel", "{step:?} {failure:?}");
            }
            let got = judge(Step::Content, &failure, &names(false), &Redactor::default());
            assert_eq!(class(&got), "doubtful", "{failure:?}");
        }
    }

    #[test]
    fn what_somebody_has_to_mend_is_named_by_its_key() {
        let certificate = Failure::Certificate("expired".into());
        let reply = |code| Failure::Reply { code, text: String::new() };
        let table: [(Step, Failure, &[&str]); 9] = [
            (Step::Connect, certificate.clone(), &["expired", "clock", "ca-file"]),
            (Step::StartTls, certificate, &["ca-certificates"]),
            (Step::Connect, Failure::Roots("no CA".into()), &["ca-file"]),
            (Step::Connect, Failure::NotTls, &["port", "tls = "]),
            (Step::StartTls, Failure::NoStartTls, &["STARTTLS", "tls = \"implicit\""]),
            (Step::StartTls, Failure::Early, &["tampers"]),
            (Step::Auth, Failure::NoMechanism, &["host and port"]),
            (Step::Auth, reply(535), &["username", "password-file", "restart"]),
            (Step::Mail, reply(553), &["envelope-from"]),
        ];
        for (step, failure, words) in table {
            let got = judge(step, &failure, &names(true), &Redactor::default());
            assert_eq!(class(&got), "config", "{got}");
            for word in words {
                assert!(got.to_string().contains(word), "{word}: {got}");
            }
        }
        let got = judge(Step::Rcpt, &reply(530), &names(false), &Redactor::default());
        assert!(got.to_string().contains("wants both"), "{got}");
    }

    #[test]
    fn a_server_s_text_is_one_line_and_shows_no_secret() {
        let display = Redactor::new(&[Secret::new("hunter2".into())]);
        let failure =
            Failure::Reply { code: 535, text: "you said hunter2\r\nok\u{1b}[2J\u{202e}".into() };
        let got = judge(Step::Auth, &failure, &names(true), &display).to_string();
        assert!(got.contains("you said <redacted>\\x0d\\x0aok\\x1b[2J\\u{202e}"), "{got}");
        let long = Failure::Reply { code: 550, text: "x".repeat(5000) };
        assert!(judge(Step::Rcpt, &long, &names(true), &display).to_string().len() < 300);
    }
}
