//! A real mail server (Debian's python3-aiosmtpd) in a [`Host`], that misbehaves on request, and
//! the sender's configuration for it. The server is `mail.py`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::certificates;
use crate::host::{DEADLINE, Host};
use crate::process::Daemon;
use crate::sender::LOGIN;
use crate::wait::{wait_for, wait_until};

/// The name that the server knows.
pub const USER: &str = "bastion@example.org";
/// The password that it knows. Looked for in every log by a test.
pub const PASSWORD: &str = "5ecre7-p455w0rd-0f-7he-7e57";
/// The recipient of most tests.
pub const TO: &str = "ops@example.org";

/// Path of the password's file inside the machine.
pub const PASSWORD_FILE: &str = "/etc/bastion/smtp-password";

/// A line of the server's log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// Whether TLS stood.
    pub tls: bool,
    /// The name that the client gave itself.
    pub ehlo: Option<String>,
    /// Who signed in.
    pub user: Option<String>,
    /// The envelope's sender.
    pub mail_from: Option<String>,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The mail itself.
    pub text: Option<String>,
    /// The names of its header fields, as Python's reader of mail finds them.
    pub fields: Vec<String>,
    /// Its subject, decoded by the same.
    pub subject: String,
    /// Its text, decoded by the same.
    pub body: String,
    /// What was said on a line where nobody answers.
    pub said: Option<String>,
}

impl Record {
    /// The value of one header field, as it was sent.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.text.as_deref().unwrap_or_default();
        let head = text.split_once("\r\n\r\n").map_or(text, |(head, _)| head);
        let unfolded = head.replace("\r\n ", " ");
        let start = format!("{name}: ");
        unfolded.split("\r\n").find_map(|field| Some(field.strip_prefix(&start)?.to_owned()))
    }
}

/// A running server. Ends when dropped.
pub struct MailServer {
    daemon: Daemon,
    port: u16,
    log: String,
    said: usize,
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options(Value);

impl Options {
    /// `starttls`, `implicit`, `none`, `drip`, `endless` or `early`; with a good certificate.
    #[must_use]
    pub fn tls(how: &str) -> Self {
        Self(json!({ "tls": how, "certificate": "/run/mail/cert.pem", "key": "/run/mail/key.pem" }))
    }

    /// Takes mail only from who signs in as [`USER`].
    #[must_use]
    pub fn signed_in(self) -> Self {
        self.with("login", json!([USER, PASSWORD]))
    }

    /// The same with one more option.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.0[key] = value;
        self
    }
}

impl MailServer {
    /// Starts one in `host`. A CA that its certificate is from is at `/run/mail/ca.pem`.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start(host: &Host, options: &Options) -> Self {
        host.sh("mkdir -p /run/mail");
        if !host.path("/run/mail/ca.pem").exists() {
            let _ = certificates::make(&host.path("/run/mail"));
        }
        host.write("/run/mail/mail.py", include_str!("mail.py"), 0o644);
        let number = host.sh("ls /run/mail | wc -l");
        let log = format!("/run/mail/log-{}", number.trim());
        let options = options.clone().with("log", json!(log)).0.to_string();
        // Debian's own Python, which has Debian's aiosmtpd.
        let daemon = host.spawn(&["/usr/bin/python3", "/run/mail/mail.py", &options]);
        let port =
            wait_for("the mail server to listen (package python3-aiosmtpd)", DEADLINE, || {
                let output = daemon.output();
                let (_, rest) = output.split_once("listening on ")?;
                rest.split_once('\n')?.0.parse().ok()
            });
        let log = host.path(log).to_string_lossy().into_owned();
        Self { daemon, port, log, said: 0 }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Adds a rule of misbehaviour, and waits until it is in force.
    ///
    /// # Panics
    ///
    /// When the server does not understand it.
    pub fn wrong(&mut self, rule: &Value) {
        self.daemon.say(&rule.to_string());
        self.said += 1;
        let done = || self.daemon.output().matches("ok\n").count() >= self.said;
        assert!(wait_until(DEADLINE, done), "{}", self.daemon.output());
    }

    /// Forgets all rules.
    pub fn heal(&mut self) {
        self.wrong(&json!({ "at": "heal" }));
    }

    /// Its log.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The mails that it has taken.
    #[must_use]
    pub fn mails(&self) -> Vec<Record> {
        self.records().into_iter().filter(|record| record.text.is_some()).collect()
    }

    /// How many clients have greeted it or been greeted.
    #[must_use]
    pub fn visits(&self) -> usize {
        self.records().iter().filter(|record| record.ehlo.is_some()).count()
    }

    /// Waits until `count` mails have been taken, and answers all.
    ///
    /// # Panics
    ///
    /// When they are not within `deadline`.
    #[expect(clippy::must_use_candidate, reason = "often called for the waiting alone")]
    pub fn wait_mails(&self, count: usize, deadline: Duration) -> Vec<Record> {
        if !wait_until(deadline, || self.mails().len() >= count) {
            panic!("{count} mails did not come: {:#?}\n{}", self.records(), self.daemon.output());
        }
        self.mails()
    }
}

/// `[notify]` with one channel, `mail`, for a server on `port`: STARTTLS, our own CA, and a
/// password. `more` goes into its section, and a line of it takes the place of one with its key.
#[must_use]
pub fn section(port: u16, more: &str) -> String {
    let usual = format!(
        "type = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\nusername = \"{USER}\"\n\
         password-file = \"{PASSWORD_FILE}\"\nfrom = \"Bastion <{USER}>\"\nto = [\"{TO}\"]\n\
         ca-file = \"/run/mail/ca.pem\"\n"
    );
    let key = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let replaced: Vec<String> = more.lines().map(key).collect();
    let kept = usual.lines().filter(|line| !replaced.contains(&key(line)));
    let more = more.lines().filter(|line| !line.ends_with(" = "));
    let lines: Vec<&str> = kept.chain(more).collect();
    format!("[notify.channel.mail]\n{}\n", lines.join("\n"))
}

impl Host {
    /// The configuration of [`section`], and the password's file with it.
    pub fn configure_mail(&self, port: u16, more: &str) {
        self.write(PASSWORD_FILE, PASSWORD, 0o600);
        self.sh(&format!("chown _bastion {PASSWORD_FILE}"));
        self.write_config(&format!(
            "{LOGIN}\n[notify]\nroute = [\"mail\"]\n{}",
            section(port, more)
        ));
    }
}

/// A machine with a mail server, the configuration for it and a running sender.
pub struct MailRig {
    /// `bastion run`.
    pub sender: Daemon,
    /// The server.
    pub server: MailServer,
    /// The machine.
    pub host: Host,
}

impl MailRig {
    /// Makes one; the sender is at work when this returns. For `more` see [`section`].
    #[must_use]
    pub fn start(options: &Options, more: &str) -> Self {
        Self::prepared(|host| (MailServer::start(host, options), more.to_owned()))
    }

    /// The same, with whatever else `prepare` does to the machine before the sender starts.
    #[must_use]
    pub fn prepared(prepare: impl FnOnce(&Host) -> (MailServer, String)) -> Self {
        let host = Host::new();
        let (server, more) = prepare(&host);
        host.configure_mail(server.port(), &more);
        let sender = host.spawn_sender();
        host.wait_syslog("bastion", "sender-started", 1);
        Self { sender, server, host }
    }
}
