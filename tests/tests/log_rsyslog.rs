//! The examples for rsyslog in `etc/`, with two real rsyslogds: one reads `/dev/log` of a machine
//! and forwards what our programs log, the other is the site's log server.
//!
//! Without rsyslog (packages rsyslog, rsyslog-relp, rsyslog-gnutls) the tests say so and prove
//! nothing: it would make itself the logger of the machine. Where `CI` is set they fail instead.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::certificates;
use bastion_tests::host::{DEADLINE, Host, KNOWN, UNKNOWN};
use bastion_tests::pam::{PamRun, hex};
use bastion_tests::process::Daemon;
use bastion_tests::rows::each_row;
use bastion_tests::syslog::{Line, escaped};
use bastion_tests::wait::wait_until;

/// Until a record is there: the next try to connect comes after ten seconds.
const ARRIVAL: Duration = Duration::from_secs(90);

const RSYSLOGD: &str = "/usr/sbin/rsyslogd";

/// A pair of our files.
#[derive(Clone, Copy)]
struct Way {
    sender: &'static str,
    server: &'static str,
    port: u16,
    tls: bool,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}, tls {}", self.port, self.tls)
    }
}

const RELP: Way = Way {
    sender: include_str!("../../etc/rsyslog.d/bastion.conf"),
    server: include_str!("../../etc/log-server/rsyslog.d/bastion.conf"),
    port: 2514,
    tls: false,
};
const TCP: Way = Way {
    sender: include_str!("../../etc/rsyslog.d/bastion-tcp.conf"),
    server: include_str!("../../etc/log-server/rsyslog.d/bastion-tcp.conf"),
    port: 6514,
    tls: false,
};

/// As Debian's /etc/rsyslog.conf; and what our programs sent, byte by byte, in a file of its own.
const SENDER: &str = r#"
global(workDirectory="/var/spool/rsyslog")
module(load="imuxsock")
include(file="/etc/rsyslog.d/*.conf")
template(name="raw" type="string" string="%rawmsg%\n")
auth,authpriv.* /var/log/auth.log
syslog.* /var/log/rsyslog
if $programname == ["pam_bastion", "bastion"] then {
    action(type="omfile" file="/var/log/raw" template="raw")
}
"#;

const SERVER: &str = r#"
global(workDirectory="/var/spool/rsyslog-server")
include(file="/etc/log-server.conf")
*.* /var/log/server.log
"#;

/// A file with all that waits in it to be switched on: lines with a `#` and no space behind it.
fn switched_on(file: &str) -> String {
    let on = |line: &str| {
        let code = line.trim_start();
        match code.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
            _ => line.to_owned(),
        }
    };
    file.lines().map(|line| on(line) + "\n").collect()
}

/// A machine that forwards to a server, which is another process of it.
struct Site {
    sender: Option<Daemon>,
    server: Option<Daemon>,
    port: u16,
    host: Host,
}

impl Site {
    /// One with our files as they are, but for names; `None` where there is no rsyslog.
    fn start(way: Way, change: impl Fn(&str) -> String) -> Option<Self> {
        let mut host = Host::new();
        let parts =
            "ls /usr/sbin/rsyslogd /usr/lib/*/rsyslog/omrelp.so /usr/lib/*/rsyslog/lmnsd_gtls.so";
        if host.run(&["sh", "-c", parts]).code != Some(0) {
            assert!(std::env::var_os("CI").is_none(), "rsyslog is missing");
            eprintln!(
                "SKIPPED: our examples for rsyslog are not tried, there is none (packages rsyslog, \
                 rsyslog-relp, rsyslog-gnutls)"
            );
            return None;
        }
        host.remove_syslog();
        host.configure("http://127.0.0.1:9");
        host.sh("mkdir -p /etc/rsyslog.d /var/spool/rsyslog /var/spool/rsyslog-server /run/cert
            mkdir -p /etc/ssl/certs /etc/ssl/private");
        let _ = certificates::make(&host.path("/run/cert"));
        host.sh("for side in log server; do
                cp /run/cert/ca.pem /etc/ssl/certs/$side-ca.pem
                cp /run/cert/cert.pem /etc/ssl/certs/$side-cert.pem
                cp /run/cert/key.pem /etc/ssl/private/$side-key.pem
            done");
        let here = |file: &str| {
            let file = if way.tls { switched_on(file) } else { file.to_owned() };
            file.replace("logserver.example.net", "localhost")
                .replace("jump.example.net", "localhost")
        };
        host.write("/etc/rsyslog.conf", SENDER, 0o644);
        host.write("/etc/rsyslog.d/bastion.conf", change(&here(way.sender)), 0o644);
        host.write("/etc/rsyslog-server.conf", SERVER, 0o644);
        let server = here(way.server).replace("/log-", "/server-");
        host.write("/etc/log-server.conf", server, 0o644);
        for file in ["/etc/rsyslog.conf", "/etc/rsyslog-server.conf"] {
            let judged = host.run(&[RSYSLOGD, "-N1", "-f", file]).ok();
            assert_eq!(judged.errors().matches("rsyslogd: ").count(), 2, "{judged:?}");
        }
        let mut site = Self { sender: None, server: None, port: way.port, host };
        site.start_server();
        site.start_sender("/dev/log");
        Some(site)
    }

    fn start_server(&mut self) {
        let words = [RSYSLOGD, "-n", "-iNONE", "-f", "/etc/rsyslog-server.conf"];
        let server = self.host.spawn(&words);
        let listens = || self.host.listens(self.port);
        assert!(wait_until(DEADLINE, listens), "{}", server.output());
        self.server = Some(server);
    }

    /// Starts the forwarding one, to read from `socket`.
    fn start_sender(&mut self, socket: &str) {
        // As systemd makes it (syslog.socket): from that rsyslog knows where to listen.
        let _ = fs::remove_file(self.host.path(socket));
        drop(UnixDatagram::bind(self.host.path(socket)).expect("a socket"));
        let sender = self.host.spawn(&[RSYSLOGD, "-n", "-iNONE"]);
        let socket = self.host.path(socket);
        let reads = || UnixDatagram::unbound().is_ok_and(|ours| ours.connect(&socket).is_ok());
        assert!(wait_until(DEADLINE, reads), "{}", sender.output());
        self.sender = Some(sender);
    }

    /// Ends the server in order, as its administrator does.
    fn stop_server(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.signal(libc::SIGTERM);
        assert_eq!(server.wait(DEADLINE), Some(0), "{}", server.output());
    }

    /// The same, of the machine's own.
    fn stop_sender(&mut self) {
        let mut sender = self.sender.take().expect("it runs");
        sender.signal(libc::SIGTERM);
        assert_eq!(sender.wait(DEADLINE), Some(0), "{}", sender.output());
    }

    /// One login by the module, of `user`.
    fn log_in(&self, user: &[u8], from: &str) {
        let report = PamRun::login(&hex(user), from).report(&self.host, DEADLINE);
        assert!(report.all_succeeded());
    }

    /// Logins of these numbers; the rest follows from the local log.
    fn log_in_as(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.log_in(format!("user{number}").as_bytes(), KNOWN);
        }
    }

    /// Logs in once a second, from this number on, until the forwarding rsyslog says one of
    /// `words`: it looks at its connection only when it has something to send. Answers the next
    /// number.
    fn log_in_until(&self, first: u32, words: &[&str]) -> u32 {
        let said = || {
            let said = self.host.read("/var/log/rsyslog");
            words.iter().any(|word| said.contains(word))
        };
        for number in first..first + 90 {
            self.log_in_as(number..number + 1);
            if wait_until(Duration::from_secs(1), said) {
                return number + 1;
            }
        }
        panic!("{}", self.output())
    }

    /// The records that our programs sent, in their order, without the process id.
    fn sent(&self) -> Vec<Line> {
        self.host.read("/var/log/raw").lines().map(raw).collect()
    }

    /// The lines of the server's files, one file a host.
    fn arrived(&self) -> Vec<String> {
        let dir = self.host.path("/var/log/bastion");
        let files = fs::read_dir(dir).into_iter().flatten().flatten();
        let text: String =
            files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until that many have logged in and out, and each record is on the server.
    fn wait_all(&self, sessions: usize) {
        for event in ["login", "logout"] {
            let sent = || self.sent().iter().filter(|line| line.event() == event).count();
            assert!(wait_until(DEADLINE, || sent() >= sessions), "{} of {sessions}", sent());
        }
        if !wait_until(ARRIVAL, || self.missing().is_empty()) {
            panic!("missing: {:#?}\n{}", self.missing(), self.output());
        }
    }

    /// What was sent and is not on the server.
    fn missing(&self) -> Vec<String> {
        let arrived: BTreeSet<String> = self
            .arrived()
            .iter()
            .filter_map(|line| Line::parse_rfc5424(line))
            .map(|line| key(&line))
            .collect();
        self.sent().iter().map(key).filter(|line| !arrived.contains(line)).collect()
    }

    fn output(&self) -> String {
        let said = |daemon: &Option<Daemon>| daemon.as_ref().map(Daemon::output);
        let log = self.host.read("/var/log/rsyslog");
        format!("{:?}\n{:?}\n{log}", said(&self.sender), said(&self.server))
    }
}

/// A datagram of one of our programs: `<PRI>TAG[PID]: TEXT`.
fn raw(datagram: &str) -> Line {
    Line::parse(&format!("0 {}", escaped(datagram.as_bytes()))).expect("a record")
}

/// All of a record that has to arrive.
fn key(line: &Line) -> String {
    format!("<{}>{}: {}", line.priority.unwrap_or(255), line.tag, line.text)
}

/// Bytes of the longest record (`MAX_LINE` in notifier/src/syslog.rs), less one for `é`.
const LONGEST: usize = 1999;

const HOSTILE: &[&[u8]] = &[
    b"al\nice",
    b"alice\n<86>1 2026-01-01T00:00:00Z jump sshd 1 - - Accepted publickey for root",
    b"\x1b[2Jx\x07",
    b"al\xe9x\xff",
    b"a\" verdict=known-good \\",
    "zo\u{eb} \u{202e}\u{2028}".as_bytes(),
    b"%s%n%s #012 #011",
    b"12 <86>1 - - - - - -",
];

/// Logs all that our programs may log; answers how many logins.
fn log_everything(host: &Host, log_in: impl Fn(&[u8])) -> usize {
    let _sender = host.spawn_sender();
    for user in HOSTILE {
        log_in(user);
    }
    host.publish(&Draft::login(1, "alice\r\nsshd[1]: Accepted"));
    host.publish(&Draft::note(2, &"\u{e9}\u{1f511}x".repeat(1000)));
    host.run(&["/artefacts/bastion", "send", "--severity", "critical", "the disk is full"]).ok();
    host.sh("logger -t sshd -p authpriv.info 'none of ours'");
    let queued = || host.read("/var/log/raw").matches(" alert-queued ").count();
    assert!(wait_until(DEADLINE, || queued() == 3 + HOSTILE.len()), "{}", queued());
    // Without a spool, the log gets all of the alert.
    host.sh("mv /var/spool/bastion/drop /var/spool/bastion/away");
    log_in("\u{e9}\u{1f511}\n".repeat(2000).as_bytes());
    let longest = format!("long-record text=\"{}\"", "\u{e9}".repeat((LONGEST - 19) / 2));
    host.run(&["logger", "--size", "4096", "-t", "bastion", "-p", "daemon.info", &longest]).ok();
    let there = || host.read("/var/log/raw").contains("long-record");
    assert!(wait_until(DEADLINE, there));
    HOSTILE.len() + 1
}

/// Each record is there once, whole, on one line, with facility, severity and tag.
fn check_everything(site: &Site, logins: usize) {
    site.wait_all(logins);
    let count = || (site.sent().len(), site.arrived().len());
    assert!(wait_until(ARRIVAL, || count().0 == count().1), "{:?}", count());
    let arrived = site.arrived();
    let lines: Vec<Line> =
        arrived.iter().map(|line| Line::parse_rfc5424(line).expect(line)).collect();
    let mut users = BTreeSet::new();
    for (line, text) in lines.iter().zip(&arrived) {
        assert!(!text.contains(char::is_control) && !text.contains('\u{2028}'), "{text:?}");
        // Part of a second: the old format of syslog has none, and no time zone.
        let time = text.split(' ').nth(1).expect("a time");
        assert!(time.contains('.'), "{text}");
        let source = if line.tag == "pam_bastion" { 10 } else { 3 };
        assert_eq!(line.facility(), Some(source), "{text}");
        if line.event() == "login" {
            let level = if line.field("not-spooled").is_some() { 1 } else { 5 };
            assert_eq!(line.severity(), Some(level), "{text}");
            assert_eq!(line.field("verdict").as_deref(), Some("alert"), "{text}");
            users.insert(line.field("user").expect("a user"));
        }
    }
    assert!(users.contains(r"al\x0aice") && users.len() == logins, "{users:?}");
    let long = lines.iter().map(|line| line.bytes().len()).max();
    assert_eq!(long, Some(LONGEST));
    assert_eq!(site.host.read("/var/log/auth.log").matches("none of ours").count(), 1);
    let names = site.host.run(&["ls", "/var/log/bastion"]).text();
    assert_eq!(names.lines().count(), 1, "{names}");
}

#[test]
fn each_record_arrives_whole() {
    let ways = [RELP, TCP, Way { tls: true, ..RELP }, Way { tls: true, ..TCP }];
    each_row(&ways, |way: &Way| {
        let Some(site) = Site::start(*way, str::to_owned) else { return };
        let logins = log_everything(&site.host, |user| site.log_in(user, UNKNOWN));
        check_everything(&site, logins);
    });
}

#[test]
fn each_record_arrives_whole_by_way_of_the_journal() {
    let Some(mut site) = Site::start(RELP, str::to_owned) else { return };
    site.stop_sender();
    let _journald = site.host.start_journald();
    site.start_sender("/run/systemd/journal/syslog");
    let logins = log_everything(&site.host, |user| site.log_in(user, UNKNOWN));
    check_everything(&site, logins);
}

#[test]
fn a_stranger_s_certificate_gets_nothing() {
    each_row(&[RELP, TCP], |way: &Way| {
        let way = Way { tls: true, ..*way };
        let Some(mut site) = Site::start(way, str::to_owned) else { return };
        site.log_in_as(0..1);
        site.wait_all(1);
        // Another's certificate for the same name, as who is on the way would have it.
        site.stop_server();
        site.host.sh("mkdir /run/other");
        let _ = certificates::make(&site.host.path("/run/other"));
        site.host.sh("cp /run/other/cert.pem /etc/ssl/certs/server-cert.pem
            cp /run/other/key.pem /etc/ssl/private/server-key.pem");
        site.start_server();
        site.log_in_until(1, &["certificate", "authentication error"]);
        assert!(!site.arrived().concat().contains("user1"), "{:?}", site.arrived());
        // Once it is mended it goes on: over TCP by itself, over RELP after a restart.
        site.stop_server();
        site.host.sh("cp /run/cert/cert.pem /etc/ssl/certs/server-cert.pem
            cp /run/cert/key.pem /etc/ssl/private/server-key.pem");
        site.start_server();
        if way.port == RELP.port {
            site.stop_sender();
            site.start_sender("/dev/log");
        }
        site.log_in(b"mended", KNOWN);
        let mended = || site.arrived().concat().contains("\"mended\"");
        assert!(wait_until(ARRIVAL, mended), "{}", site.output());
    });
}

#[test]
fn nothing_is_lost_while_the_server_is_away() {
    let rows = [(RELP, false), (RELP, true), (TCP, false), (TCP, true)];
    each_row(&rows, |(way, killed): &(Way, bool)| {
        let Some(mut site) = Site::start(*way, str::to_owned) else { return };
        site.log_in_as(0..3);
        site.wait_all(3);
        if *killed {
            site.server.as_mut().expect("it runs").kill();
        } else {
            site.stop_server();
        }
        site.log_in_as(3..8);
        site.start_server();
        site.wait_all(8);
    });
}

#[test]
fn nothing_is_lost_when_the_line_dies() {
    let Some(site) = Site::start(RELP, str::to_owned) else { return };
    // TCP gives up after two seconds, and not after a quarter of an hour.
    site.host.sh("echo 2 >/proc/sys/net/ipv4/tcp_retries2");
    site.log_in_as(0..3);
    site.wait_all(3);
    let chain = "nft add chain inet t in '{ type filter hook input priority 0; }'";
    let rule = "nft add rule inet t in tcp dport 2514 drop";
    site.host.sh(&format!("nft add table inet t; {chain}; {rule}"));
    // All of it is in TCP's hands when that gives up.
    site.log_in_as(3..8);
    let next = site.log_in_until(8, &["omrelp"]);
    site.host.sh("nft delete table inet t");
    site.log_in_as(next..next + 1);
    site.wait_all(next as usize + 1);
}

/// What it was sending when the outage began may be lost, as the file says.
#[test]
fn what_is_logged_in_an_outage_outlives_a_restart_and_a_power_cut() {
    let rows = [(RELP, false), (RELP, true), (TCP, false), (TCP, true)];
    each_row(&rows, |(way, power_cut): &(Way, bool)| {
        let Some(mut site) = Site::start(*way, str::to_owned) else { return };
        site.log_in_as(0..3);
        site.wait_all(3);
        site.stop_server();
        let noticed = site.log_in_until(3, &["omrelp", "omfwd", "cannot connect"]);
        site.log_in_as(noticed..noticed + 5);
        let last = Some(format!("user{}", noticed + 4));
        let logged_out = |line: &Line| line.event() == "logout" && line.field("user") == last;
        assert!(wait_until(DEADLINE, || site.sent().iter().any(logged_out)), "{:?}", site.sent());
        if *power_cut {
            site.sender.as_mut().expect("it runs").kill();
        } else {
            site.stop_sender();
        }
        site.start_sender("/dev/log");
        site.log_in_as(noticed + 5..noticed + 7);
        site.start_server();
        let kept = || {
            let missing = site.missing();
            let mut after = noticed..noticed + 7;
            after.all(|n| !missing.iter().any(|line| line.contains(&format!("\"user{n}\""))))
        };
        assert!(wait_until(ARRIVAL, kept), "{:#?}\n{}", site.missing(), site.output());
    });
}

/// More than rsyslog's own default of 1000 records.
#[test]
fn a_long_outage_fits_into_the_queue() {
    let Some(mut site) = Site::start(RELP, str::to_owned) else { return };
    site.log_in_as(0..1);
    site.wait_all(1);
    site.stop_server();
    let many: String = (0..3000).map(|n| format!("<30>bastion: record-{n} x=1\n")).collect();
    site.host.write("/root/many", many, 0o644);
    site.host.sh("logger --prio-prefix -t bastion -f /root/many");
    assert!(wait_until(ARRIVAL, || site.sent().len() == 3002), "{}", site.sent().len());
    site.start_server();
    site.wait_all(1);
}

/// A queue that is full must not hold up the log of the machine.
#[test]
fn a_full_queue_holds_nobody_up() {
    let small = |file: &str| {
        let small = file.replace(r#"queue.size="200000""#, r#"queue.size="100""#);
        assert_ne!(small, file);
        small
    };
    let Some(mut site) = Site::start(RELP, small) else { return };
    site.log_in_as(0..1);
    site.wait_all(1);
    site.stop_server();
    let many: String = (0..500).map(|n| format!("<30>bastion: record-{n} x=1\n")).collect();
    site.host.write("/root/many", many, 0o644);
    site.host.sh("logger --prio-prefix -t bastion -f /root/many");
    site.log_in_as(1..3);
    site.host.sh("logger -t sshd -p authpriv.info 'after all that'");
    let logged = || site.host.read("/var/log/auth.log").contains("after all that");
    assert!(wait_until(DEADLINE, logged), "{}", site.sent().len());
    let logins = || site.sent().iter().filter(|line| line.event() == "login").count();
    assert!(wait_until(DEADLINE, || logins() == 3), "{}", logins());
}
