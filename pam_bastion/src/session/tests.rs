use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::net::UnixDatagram;

use super::*;

const KNOWN: &str = "203.0.113.7";

/// A PAM handle with what a test put into it.
#[derive(Default, Clone)]
struct Fake {
    user: Option<Vec<u8>>,
    service: Option<Vec<u8>>,
    rhost: Option<Vec<u8>>,
    env: HashMap<CString, Vec<u8>>,
}

impl Fake {
    fn sshd(user: &[u8], from: &str) -> Self {
        let mut fake = Self {
            user: Some(user.to_vec()),
            service: Some(b"sshd".to_vec()),
            rhost: Some(from.into()),
            ..Self::default()
        };
        fake.env.insert(c"SSH_CONNECTION".into(), format!("{from} 4711 192.0.2.1 22").into());
        fake.env.insert(c"SSH_AUTH_INFO_0".into(), b"password\n".to_vec());
        fake
    }
}

impl Pam for Fake {
    fn user(&self) -> Option<Vec<u8>> {
        self.user.clone()
    }
    fn service(&self) -> Option<Vec<u8>> {
        self.service.clone()
    }
    fn rhost(&self) -> Option<Vec<u8>> {
        self.rhost.clone()
    }
    fn env(&self, name: &CStr, most: usize) -> Option<Vec<u8>> {
        self.env.get(name).map(|value| value.iter().copied().take(most).collect())
    }
}

/// A spool, a log and a configuration of a test's own.
struct Machine {
    dir: PathBuf,
    log: UnixDatagram,
}

impl Machine {
    fn new(name: &str, login: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("pam-session-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for sub in ["drop", "queue", "sent", "failed"] {
            fs::create_dir_all(dir.join("spool").join(sub)).unwrap();
        }
        fs::create_dir(dir.join("sessions")).unwrap();
        let log = UnixDatagram::bind(dir.join("log")).unwrap();
        log.set_nonblocking(true).unwrap();
        let here = dir.display();
        let host = format!(
            "[host]\nname = \"jump\"\nspool = \"{here}/spool\"\nsyslog = \"{here}/log\"\nsessions = \"{here}/sessions\"\n"
        );
        fs::write(dir.join("bastion.toml"), host + login).unwrap();
        Self { dir, log }
    }

    fn arguments(&self) -> Arguments {
        Arguments { config: self.dir.join("bastion.toml"), unknown: Vec::new() }
    }

    fn lines(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| self.log.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()))
            .map(|line| String::from_utf8(line).unwrap())
            .collect()
    }

    /// The records of open sessions, by their files' names.
    fn records(&self) -> Vec<(String, Record)> {
        let entries = fs::read_dir(self.dir.join("sessions")).unwrap().map(Result::unwrap);
        let read = |entry: fs::DirEntry| {
            let record = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
            (entry.file_name().into_string().unwrap(), record)
        };
        entries.map(read).collect()
    }

    fn dropped(&self) -> Vec<Event> {
        fs::read_dir(self.dir.join("spool/drop"))
            .unwrap()
            .map(|entry| serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap())
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn policy() -> String {
    format!("[login]\nknown-good = [\"{KNOWN}\"]\n")
}

#[test]
fn an_unknown_login_is_told_and_a_known_one_is_only_logged() {
    let machine = Machine::new("verdict", &policy());
    open(&Fake::sshd(b"alice", "198.51.100.9"), &machine.arguments()).unwrap();
    open(&Fake::sshd(b"bob", KNOWN), &machine.arguments()).unwrap();
    let events = machine.dropped();
    assert_eq!(events.len(), 1);
    let What::Login(login) = &events[0].what else { panic!("{events:?}") };
    assert_eq!(login.user.as_bytes(), b"alice");
    assert_eq!(login.source, Some("198.51.100.9".parse().unwrap()));
    let lines = machine.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("<85>pam_bastion[") && lines[0].contains("verdict=alert"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("<86>") && lines[1].contains("verdict=known-good"), "{lines:?}");
}

#[test]
fn other_services_are_none_of_our_business() {
    let machine = Machine::new("service", &policy());
    let mut fake = Fake::sshd(b"alice", "198.51.100.9");
    for service in [Some(b"sudo".to_vec()), Some(b"sshd2".to_vec()), None] {
        fake.service = service;
        assert!(open(&fake, &machine.arguments()).is_none());
    }
    assert_eq!(machine.dropped(), []);
}

#[test]
fn a_changed_pam_environment_makes_nobody_known_good() {
    let machine = Machine::new("spoof", &policy());
    let mut fake = Fake::sshd(b"alice", "198.51.100.9");
    fake.env.insert(c"SSH_CONNECTION".into(), format!("{KNOWN} 1 192.0.2.1 22").into_bytes());
    open(&fake, &machine.arguments()).unwrap();
    let events = machine.dropped();
    let What::Login(login) = &events[0].what else { panic!("{events:?}") };
    assert_eq!(login.source, Some("198.51.100.9".parse().unwrap()));
    assert!(login.reason.contains("pam_environment"), "{}", login.reason);
}

#[test]
fn a_host_name_is_never_an_address() {
    let machine = Machine::new("names", &policy());
    let table: [(Option<&str>, Option<&str>, Option<&str>); 6] = [
        // (SSH_CONNECTION, PAM_RHOST, address found)
        (Some("203.0.113.7 1 2 3"), Some("evil.example"), Some(KNOWN)),
        (None, Some(KNOWN), Some(KNOWN)),
        (None, Some("203.0.113.7.evil.example"), None),
        (Some("UNKNOWN 65535 UNKNOWN 65535"), Some("UNKNOWN"), None),
        (Some(""), None, None),
        (None, None, None),
    ];
    for (connection, rhost, want) in table {
        let mut fake = Fake::sshd(b"alice", KNOWN);
        fake.env.clear();
        if let Some(connection) = connection {
            fake.env.insert(c"SSH_CONNECTION".into(), connection.into());
        }
        fake.rhost = rhost.map(Into::into);
        let opened = open(&fake, &machine.arguments()).unwrap();
        assert_eq!(
            opened.login.source,
            want.map(|ip| ip.parse().unwrap()),
            "{connection:?} {rhost:?}"
        );
    }
}

#[test]
fn the_end_is_logged_once_with_its_length() {
    let machine = Machine::new("close", &policy());
    let opened = open(&Fake::sshd(b"bob", KNOWN), &machine.arguments()).unwrap();
    close(&opened);
    close(&opened);
    let ends: Vec<_> = machine.lines().into_iter().filter(|l| l.contains("logout")).collect();
    assert_eq!(ends.len(), 1);
    assert!(ends[0].contains("user=\"bob\"") && ends[0].contains(" seconds=0 "), "{ends:?}");
}

#[test]
fn an_alert_that_found_no_spool_is_in_the_log_and_tried_again_at_the_end() {
    let machine = Machine::new("nospool", "");
    let (drop, away) = (machine.dir.join("spool/drop"), machine.dir.join("spool/away"));
    fs::rename(&drop, &away).unwrap();
    let opened = open(&Fake::sshd(b"alice", "198.51.100.9"), &machine.arguments()).unwrap();
    let lines = machine.lines();
    assert!(lines[0].starts_with("<81>") && lines[0].contains("not-spooled="), "{lines:?}");
    fs::rename(&away, &drop).unwrap();
    close(&opened);
    assert_eq!(machine.dropped().len(), 1);
}

#[test]
fn a_bad_file_means_that_everything_is_told() {
    let machine = Machine::new("broken", "[login]\nknown-good = [\"203.0.113.7\"\n");
    let mut arguments = machine.arguments();
    let log = Log::new(&machine.dir.join("log"), TAG, Source::Login);
    Settings::load(&arguments.config).remark(&log, &arguments);
    assert!(machine.lines()[0].contains("config-problem"));
    let settings = Settings::load(&arguments.config);
    assert_eq!(settings.policy, Policy::unreadable());
    arguments.config = machine.dir.join("absent.toml");
    assert!(Settings::load(&arguments.config).problem.unwrap().contains("absent.toml"));
}

#[test]
fn an_allowance_beside_the_configuration_counts_and_a_broken_file_is_told_once() {
    let machine = Machine::new("allowance", &policy());
    let file = machine.dir.join(allowances::FILE);
    let fake = Fake::sshd(b"alice", "198.51.100.9");
    let end = |days: u64| {
        let now = Stamp::now().unix_ms / 1000;
        config::moment::write(i64::try_from(now + days * 86_400).unwrap())
    };
    let entry = |until: &str| format!("[[allow]]\nfrom = [\"198.51.100.0/24\"]\nuntil = {until}\n");
    let table = [
        (None, "verdict=alert", 1),
        (Some(entry(&end(1))), "verdict=known-good rule=\"allowance 1 (198.51.100.0/24 until ", 1),
        (Some(entry("2026-01-01")), "its time is over", 1),
        (Some(entry(&end(91))), "verdict=alert", 2),
        (Some(entry(&end(1)) + "users = [\"bob\"]\n"), "verdict=alert", 1),
        (Some("allow = [".into()), "verdict=alert", 2),
    ];
    for (text, told, count) in table {
        if let Some(text) = &text {
            fs::write(&file, text).unwrap();
        }
        open(&fake, &machine.arguments()).unwrap();
        let lines = machine.lines();
        assert_eq!(lines.len(), count, "{text:?}: {lines:?}");
        assert!(lines[count - 1].contains(told), "{text:?}: {lines:?}");
        assert!(count == 1 || lines[0].contains("config-problem file="), "{text:?}: {lines:?}");
    }
}

#[test]
fn hold_ends_with_the_answer_or_with_its_time() {
    let machine = Machine::new("hold", "[login]\nhold = \"50ms\"\n");
    let begun = Instant::now();
    open(&Fake::sshd(b"alice", "198.51.100.9"), &machine.arguments()).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[test]
fn arguments_are_a_path_and_nothing_else() {
    let parsed = Arguments::parse(["config=/a/b", "debug"].map(OsStr::new).into_iter());
    assert_eq!(parsed.config, Path::new("/a/b"));
    assert_eq!(parsed.unknown, [Foreign::from("debug")]);
}

#[test]
fn a_session_has_a_record_while_it_is_open() {
    let machine = Machine::new("record", &policy());
    let key = b"publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHv7PCi4vK8fXqnQ9HmPtC3Kmx7Hq2AyKb9h2P6v2dJ6\n";
    let mut fake = Fake::sshd(b"alice", KNOWN);
    fake.env.insert(c"SSH_AUTH_INFO_0".into(), key.to_vec());
    let opened = open(&fake, &machine.arguments()).unwrap();
    let records = machine.records();
    let [(name, record)] = records.as_slice() else { panic!("{records:?}") };
    let pid = std::process::id();
    assert_eq!((name.as_str(), record.pid), (pid.to_string().as_str(), pid));
    assert_eq!(record.user.as_bytes(), b"alice");
    assert_eq!(record.source, Some(KNOWN.parse().unwrap()));
    assert_eq!(record.auth, opened.login.auth);
    assert!(record.auth[0].key.is_some());
    close(&opened);
    assert_eq!(machine.records(), []);
    // What another session of this number has left since then is not ours.
    record.publish(&machine.dir.join("sessions")).unwrap();
    close(&opened);
    assert_eq!(machine.records().len(), 1);
}

#[test]
fn no_directory_for_records_is_no_news_and_a_hostile_one_harms_nobody() {
    let machine = Machine::new("no-records", &policy());
    let dir = machine.dir.join("sessions");
    let logs_in = |machine: &Machine| {
        let opened = open(&Fake::sshd(b"alice", KNOWN), &machine.arguments()).unwrap();
        assert_eq!(opened.record, None);
        close(&opened);
        let mut lines = machine.lines();
        lines.retain(|line| !line.contains(": login ") && !line.contains(": logout "));
        lines
    };
    fs::remove_dir(&dir).unwrap();
    assert_eq!(logs_in(&machine), [""; 0]);
    std::os::unix::fs::symlink("/tmp", &dir).unwrap();
    let lines = logs_in(&machine);
    assert!(lines.len() == 1 && lines[0].contains("no-record "), "{lines:?}");
    assert!(!Path::new("/tmp").join(std::process::id().to_string()).exists());
    fs::remove_file(&dir).unwrap();
    fs::create_dir_all(dir.join(std::process::id().to_string())).unwrap();
    assert_eq!(logs_in(&machine).len(), 1);
}

#[test]
fn the_connection_is_sshds_word_and_goes_with_the_address() {
    let table = [
        ("198.51.100.9 4711 192.0.2.1 22", "198.51.100.9", Some(4711), Some("192.0.2.1:22")),
        ("127.0.0.1 65535 127.0.0.1 22", "127.0.0.1", Some(65535), Some("127.0.0.1:22")),
        ("::ffff:198.51.100.9 4711 ::1 22", "198.51.100.9", Some(4711), Some("[::1]:22")),
        ("::1 7 ::ffff:192.0.2.1 22", "::1", Some(7), Some("192.0.2.1:22")),
        ("198.51.100.9 4711 192.0.2.1 22", "gate.example.org", Some(4711), Some("192.0.2.1:22")),
        // An address that somebody has changed brings no port.
        ("127.0.0.1 4711 192.0.2.1 22", "198.51.100.9", None, None),
        ("UNKNOWN 65535 UNKNOWN 65535", "UNKNOWN", None, None),
        ("198.51.100.9 0 192.0.2.1 22", "198.51.100.9", None, Some("192.0.2.1:22")),
        ("198.51.100.9 70000 x 22", "198.51.100.9", None, None),
        ("198.51.100.9 4711 192.0.2.1", "198.51.100.9", Some(4711), None),
        ("198.51.100.9 4711 192.0.2.1 0", "198.51.100.9", Some(4711), None),
        ("198.51.100.9", "198.51.100.9", None, None),
        ("", "198.51.100.9", None, None),
    ];
    for (connection, rhost, port, server) in table {
        let mut fake = Fake::sshd(b"alice", rhost);
        fake.env.insert(c"SSH_CONNECTION".into(), connection.into());
        let (login, _) = facts(&fake, b"sshd", &BTreeMap::new());
        let server = server.map(|server| server.parse().unwrap());
        assert_eq!((login.port, login.server), (port, server), "{connection} {rhost}");
    }
}
