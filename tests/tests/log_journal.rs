//! The examples for the journal in `etc/`: a real journald keeps what our programs log, and
//! systemd-journal-upload brings it to a systemd-journal-remote (Debian's package of that name).

use std::collections::BTreeSet;
use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::certificates;
use bastion_tests::host::{DEADLINE, Host, KNOWN, UNKNOWN};
use bastion_tests::pam::{PamRun, hex};
use bastion_tests::process::Daemon;
use bastion_tests::wait::wait_until;
use serde_json::Value;

const ARRIVAL: Duration = Duration::from_secs(60);

const UPLOAD: &str = "/lib/systemd/systemd-journal-upload";
const REMOTE: &str = "/lib/systemd/systemd-journal-remote";

/// The machine's own journal, by the id that `start_journald` gives it.
const LOCAL: &str = "/var/log/journal/0123456789abcdef0123456789abcdef";

/// The journals of the log server.
const THERE: &str = "/var/log/journal/remote";

const UPLOAD_CONF: &str = include_str!("../../etc/systemd/journal-upload.conf.d/bastion.conf");
const UPLOAD_UNIT: &str =
    include_str!("../../etc/systemd/system/systemd-journal-upload.service.d/bastion.conf");
const REMOTE_CONF: &str =
    include_str!("../../etc/log-server/systemd/journal-remote.conf.d/bastion.conf");
const REMOTE_UNIT: &str = include_str!(
    "../../etc/log-server/systemd/system/systemd-journal-remote.service.d/bastion.conf"
);

/// A machine with a journal, and its log server, which is another process of it.
struct Site {
    _journald: Daemon,
    server: Option<Daemon>,
    host: Host,
}

/// A record, as a journal has it: priority, facility, name, text.
type Record = (String, String, String, String);

impl Site {
    fn start() -> Self {
        let mut host = Host::new();
        for program in [UPLOAD, REMOTE] {
            assert!(host.path(program).exists(), "{program}: apt install systemd-journal-remote");
        }
        host.configure("http://127.0.0.1:9");
        let journald = host.start_journald();
        host.sh("mkdir -p /etc/systemd/journal-upload.conf.d /etc/systemd/journal-remote.conf.d
            mkdir -p /var/lib/systemd/journal-upload /var/log/journal/remote
            mkdir -p /etc/ssl/certs /etc/ssl/private /run/cert");
        let _ = certificates::make(&host.path("/run/cert"));
        host.sh("cp /run/cert/ca.pem /etc/ssl/certs/log-ca.pem
            cp /run/cert/cert.pem /etc/ssl/certs/log-cert.pem
            cp /run/cert/key.pem /etc/ssl/private/log-key.pem");
        for (unit, text) in [("upload", UPLOAD_UNIT), ("remote", REMOTE_UNIT)] {
            // What systemd would do.
            let credential = text.lines().find_map(|line| line.strip_prefix("LoadCredential="));
            let (name, file) = credential.and_then(|both| both.split_once(':')).expect("a key");
            let dir = format!("/run/credentials/systemd-journal-{unit}.service");
            host.sh(&format!("mkdir -p {dir}; install -m 400 {file} {dir}/{name}"));
        }
        let upload = UPLOAD_CONF.replace("logserver.example.net", "localhost");
        host.write("/etc/systemd/journal-upload.conf.d/bastion.conf", upload, 0o644);
        host.write("/etc/systemd/journal-remote.conf.d/bastion.conf", REMOTE_CONF, 0o644);
        let mut site = Self { _journald: journald, server: None, host };
        site.start_server();
        site
    }

    /// As its unit does, which gets the socket from systemd.
    fn start_server(&mut self) {
        let words = [REMOTE, "--listen-https=19532", "--output=/var/log/journal/remote/"];
        let server = self.host.spawn(&words);
        let listens = || {
            let table = self.host.run(&["ss", "-tln"]).text();
            table.contains(":19532 ")
        };
        assert!(wait_until(DEADLINE, listens), "{}", server.output());
        self.server = Some(server);
    }

    /// As its unit does.
    fn upload(&self) -> Daemon {
        self.host.spawn(&[UPLOAD, "--save-state"])
    }

    fn log_in(&self, user: &[u8], from: &str) {
        let report = PamRun::login(&hex(user), from).report(&self.host, DEADLINE);
        assert!(report.all_succeeded());
    }

    /// The records of our programs in the journals of a directory, as an administrator reads them.
    fn records(&self, dir: &str) -> Vec<Record> {
        let words =
            ["journalctl", "-D", dir, "-t", "pam_bastion", "-t", "bastion", "-o", "json", "-a"];
        let text = self.host.run(&words).text();
        let record = |line: &str| {
            let json: Value = serde_json::from_str(line).unwrap_or_default();
            let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
            (
                field("PRIORITY"),
                field("SYSLOG_FACILITY"),
                field("SYSLOG_IDENTIFIER"),
                field("MESSAGE"),
            )
        };
        text.lines().filter(|line| line.starts_with('{')).map(record).collect()
    }

    fn local(&self) -> Vec<Record> {
        self.records(LOCAL)
    }

    /// What is on the server, each record once (no two of a test are the same).
    fn arrived(&self) -> Vec<Record> {
        let mut seen = BTreeSet::new();
        let mut records = self.records(THERE);
        records.retain(|record| seen.insert(record.clone()));
        records
    }

    /// Waits until the server has confirmed all that is in the journal.
    fn wait_confirmed(&self) {
        let confirmed = || {
            let last = ["journalctl", "-D", LOCAL, "-n", "1", "-o", "json"];
            let last: Value = serde_json::from_slice(&self.host.run(&last).stdout).expect("JSON");
            let state = self.host.read("/var/lib/systemd/journal-upload/state");
            state.contains(last["__CURSOR"].as_str().expect("a cursor"))
        };
        assert!(wait_until(ARRIVAL, confirmed));
    }

    /// Waits until there are `logins` here, and all that is here is there, in its order.
    fn wait_all(&self, logins: usize, upload: &Daemon) {
        let count = || self.local().iter().filter(|r| r.3.starts_with("login ")).count();
        assert!(wait_until(DEADLINE, || count() >= logins), "{} of {logins}", count());
        if !wait_until(ARRIVAL, || self.arrived() == self.local()) {
            let said = self.server.as_ref().map(Daemon::output);
            let (local, arrived) = (self.local(), self.arrived());
            panic!("{local:#?}\n{arrived:#?}\n{}\n{said:?}", upload.output());
        }
    }
}

#[test]
fn each_record_arrives_whole() {
    let site = Site::start();
    let upload = site.upload();
    let sender = site.host.spawn_sender();
    let users: [&[u8]; 4] = [
        b"al\nice",
        b"alice\n<86>sshd[1]: Accepted publickey for root",
        b"\x1b[2Jx\x07\xe9\xff",
        "a\" verdict=known-good \\ zo\u{eb}\u{2028}".as_bytes(),
    ];
    for user in users {
        site.log_in(user, UNKNOWN);
    }
    site.host.publish(&Draft::login(1, "alice\r\nMESSAGE=x"));
    let queued = || site.local().iter().filter(|r| r.3.starts_with("alert-queued ")).count();
    assert!(wait_until(DEADLINE, || queued() == 5), "{}", sender.output());
    site.wait_all(4, &upload);
    let arrived = site.arrived();
    let logins: Vec<&Record> = arrived.iter().filter(|r| r.3.starts_with("login ")).collect();
    for (priority, facility, tag, text) in &logins {
        assert_eq!(
            (priority.as_str(), facility.as_str(), tag.as_str()),
            ("5", "10", "pam_bastion")
        );
        assert!(text.contains(" verdict=alert ") && !text.contains(char::is_control), "{text:?}");
    }
    assert!(logins[0].3.contains(r#" user="al\x0aice" "#), "{:?}", logins[0]);
    let started = arrived.iter().find(|r| r.3.starts_with("sender-started")).expect("it told us");
    assert_eq!((started.0.as_str(), started.1.as_str(), started.2.as_str()), ("6", "3", "bastion"));
    let names = site.host.run(&["ls", "/var/log/journal/remote"]).text();
    assert_eq!(names.lines().count(), 1, "{names}");
}

#[test]
fn nothing_is_lost_while_the_server_is_away() {
    let mut site = Site::start();
    let mut upload = site.upload();
    let log_in = |site: &Site, numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| site.log_in(format!("user{number}").as_bytes(), KNOWN));
    };
    log_in(&site, 0..3);
    site.wait_all(3, &upload);
    site.wait_confirmed();
    site.server.as_mut().expect("it runs").kill();
    log_in(&site, 3..6);
    // That is why the unit has to start it again, and again.
    assert!(wait_until(ARRIVAL, || !upload.running()), "{}", upload.output());
    let mut again = site.upload();
    assert_eq!(again.wait(ARRIVAL), Some(1), "{}", again.output());
    assert!(UPLOAD_UNIT.contains("\nStartLimitIntervalSec=0\n"));
    log_in(&site, 6..8);
    site.start_server();
    let upload = site.upload();
    site.wait_all(8, &upload);
    // The last confirmed entry comes twice, others do not.
    let twice = site.records(THERE).len() - site.arrived().len();
    assert!(twice <= 1, "{:#?}", site.records(THERE));
}

#[test]
fn a_stranger_s_certificate_gets_nothing() {
    let mut site = Site::start();
    site.server = None;
    site.host.sh("mkdir /run/other");
    let _ = certificates::make(&site.host.path("/run/other"));
    let conf = REMOTE_CONF.replace("/etc/ssl/certs/log-cert.pem", "/run/other/cert.pem").replace(
        "/run/credentials/systemd-journal-remote.service/log-key.pem",
        "/run/other/key.pem",
    );
    site.host.write("/etc/systemd/journal-remote.conf.d/bastion.conf", conf, 0o644);
    site.start_server();
    site.log_in(b"alice", UNKNOWN);
    let mut upload = site.upload();
    assert_eq!(upload.wait(ARRIVAL), Some(1), "{}", upload.output());
    assert!(upload.output().contains(" failed: "), "{}", upload.output());
    assert_eq!(site.arrived(), []);
}
