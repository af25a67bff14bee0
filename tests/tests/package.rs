//! The package on a booted Debian 12 and 13, from its installation to its end: `./dev test --package`.
//!
//! They take two packages (`BASTION_DEBS`), which is why they are ignored elsewhere.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use bastion_tests::boot::leftovers::Files;
use bastion_tests::boot::machine::{ADDRESS, Machine, OFFICE, Release};
use bastion_tests::boot::package::{DAEMONS, Deb, Server, UNITS, debs};
use bastion_tests::boot::tunnel::{enroll, wait_up};
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{CONFIG, DEADLINE};
use bastion_tests::provider::AUTH_TOKEN;
use bastion_tests::wait::wait_until;

/// Each of them on each Debian.
macro_rules! on_each_release {
    ($($name:ident),* $(,)?) => {
        mod debian_12 {
            $(
                #[test]
                #[ignore = "takes packages: run ./dev test --package"]
                fn $name() {
                    super::$name(super::Release::Bookworm);
                }
            )*
        }
        mod debian_13 {
            $(
                #[test]
                #[ignore = "takes packages: run ./dev test --package"]
                fn $name() {
                    super::$name(super::Release::Trixie);
                }
            )*
        }
    };
}

on_each_release!(
    life_of_the_package,
    all_daemons_together_are_small_and_hardened,
    journal_and_syslog_show_the_same_lines,
    secrets_are_for_the_sender_alone,
    an_upgrade_keeps_what_was_edited_and_what_waits,
    what_is_away_for_a_while_is_no_end,
);

/// What sshd asks of PAM.
const STACK: &str = "/etc/pam.d/sshd";

/// From nothing to the first alert, as the issue asks for it.
const MOST_COMMANDS: usize = 5;

fn life_of_the_package(release: Release) {
    let (old, new) = debs();
    let mut server = Server::on(Machine::boot(release, "jump"));
    // The first login makes files of its own.
    server.logs_in_untold();
    let (before, stack) = (Files::of(&server.machine), server.machine.read(STACK));

    server.install(&old);
    assert_eq!(server.machine.read(CONFIG), include_str!("../../packaging/bastion.toml"));
    nothing_runs_that_is_not_configured(&server);
    files_have_their_owners_and_modes(&server.machine);
    server.sets_up("");
    server.told_login();
    assert!(server.typed.len() <= MOST_COMMANDS, "{:#?}", server.typed);

    server.machine.reboot();
    server.told_login();
    assert_eq!(failed(&server.machine), "");

    upgrade_while_somebody_is_in(&mut server, &new);

    let config = server.machine.read(CONFIG);
    server.types("sudo apt remove --yes pam-bastion", "").ok();
    assert_eq!(server.machine.read(CONFIG), config);
    assert_eq!(told(&server, GUARD_OFF), 1, "{:#?}", server.provider.accepted());
    server.logs_in_untold();

    server.types("sudo apt purge --yes pam-bastion", "").ok();
    server.logs_in_untold();
    assert_eq!(failed(&server.machine), "");
    nothing_is_left(&server, &before, &stack);
}

/// What is told when the package is removed and the line is in [`STACK`].
const GUARD_OFF: &str =
    "guard off: logins are not told any more, the package pam-bastion is removed";

/// How many messages with these words the provider has taken.
fn told(server: &Server, words: &str) -> usize {
    server.provider.accepted().iter().filter(|record| record.body().contains(words)).count()
}

fn failed(machine: &Machine) -> String {
    machine.run(&["systemctl", "--failed", "--no-legend", "--plain"]).ok().text()
}

/// All is enabled, and what the file says nothing of has been skipped and has not failed.
fn nothing_runs_that_is_not_configured(server: &Server) {
    let machine = &server.machine;
    for unit in UNITS {
        let enabled = machine.run(&["systemctl", "is-enabled", unit]).text();
        let active = machine.property(unit, "ActiveState");
        let timer = unit.ends_with(".timer");
        let by_timer = ["linkprobe.service", "linkprobe-measure.service", "bastion-drill.service"]
            .contains(&unit);
        if by_timer {
            // As its timer does, half an hour from now.
            machine.sh(&format!("systemctl start {unit}"));
            assert_eq!(machine.property(unit, "Result"), "exec-condition", "{unit}");
        }
        assert_eq!(enabled.trim(), if by_timer { "static" } else { "enabled" }, "{unit}");
        assert_eq!(active, if timer { "active" } else { "inactive" }, "{unit}");
    }
    assert_eq!(failed(machine), "");
}

fn files_have_their_owners_and_modes(machine: &Machine) {
    let wanted = "\
755 root root /etc/bastion
644 root root /etc/bastion/bastion.toml
700 root root /etc/bastion/secrets
700 root root /etc/bastion/tunnel-secrets
755 root root /var/spool/bastion
3730 _bastion _bastion-drop /var/spool/bastion/drop
700 _bastion _bastion /var/spool/bastion/queue
700 _bastion _bastion /var/spool/bastion/failed
700 _bastion _bastion /var/spool/bastion/sent
700 _bastion _bastion /var/lib/bastion
700 _tunnelwatch _tunnelwatch /var/lib/tunnelwatch
700 _linkprobe _linkprobe /var/lib/linkprobe
755 root root /usr/bin/bastion
755 root root /usr/bin/tunnelwatch
755 root root /usr/bin/linkprobe
755 root root /usr/lib/pam-bastion/tunnelwatch-cloud
";
    for line in wanted.lines() {
        let path = line.rsplit(' ').next().unwrap();
        let shown = machine.run(&["stat", "--dereference", "-c", "%a %U %G %n", path]).ok().text();
        assert_eq!(shown.trim(), line);
    }
    let groups = |user: &str| machine.run(&["id", "-nG", user]).ok().text();
    for user in ["_bastion", "_tunnelwatch", "_linkprobe"] {
        assert_eq!(groups(user), format!("{user} _bastion-drop\n"));
    }
}

/// Path of the module. Debian's directory for it has the name of the architecture.
fn module(machine: &Machine) -> String {
    let listed = machine.run(&["dpkg", "-L", "pam-bastion"]).ok().text();
    listed.lines().find(|path| path.ends_with("/security/pam_bastion.so")).unwrap().to_owned()
}

fn upgrade_while_somebody_is_in(server: &mut Server, new: &Deb) {
    let told = server.logins().len();
    let mut session = server.machine.session();
    server.wait_logins(told + 1);
    let logouts = |server: &Server| {
        let lines = server.machine.journal("pam_bastion");
        lines.iter().filter(|line| line.starts_with("logout ")).count()
    };
    let before = logouts(server);
    let module = module(&server.machine);
    let inode = |server: &Server| fs::metadata(server.machine.path(&module)).unwrap().ino();
    let (old_module, old_sender) = (inode(server), server.machine.main_pid("bastion"));

    server.install(new);
    let version = ["dpkg-query", "--show", "--showformat=${Version}", "pam-bastion"];
    assert_eq!(server.machine.run(&version).ok().text(), new.version);
    // Beside and renamed: sshd of the session has the old file open still, and maps it.
    assert_ne!(inode(server), old_module);
    server.wait_active("bastion");
    assert_ne!(server.machine.main_pid("bastion"), old_sender);
    assert_eq!(failed(&server.machine), "");

    assert!(session.answers("still here"));
    session.ends();
    server.machine.wait_journal("pam_bastion", "logout ", before + 1);
    server.told_login();
}

/// The most that all daemons of a host together may have resident, idle, in KiB.
const MOST_RSS_KIB: u64 = 16 * 1024;

/// The worst that systemd may say of a unit (`systemd-analyze security`): 9.6 is a bare one.
const WORST: f64 = 1.6;

/// The same of a service of root's.
const WORST_OF_ROOT: f64 = 2.9;

/// A tunnel that nobody has enrolled.
const TUNNEL: &str = "
[[tunnel]]
name = \"home\"
jump = \"tunnel@192.0.2.1\"
remote-ports = [2222, 2223]
";

/// A tunnel, which is watched from its other end, which is the same machine, and a line.
const ALL: &str = "
[[tunnel]]
name = \"home\"
jump = \"tunnel@192.0.2.1\"
remote-ports = [2222, 2223]

[[link]]
name = \"backup\"
interface = \"backup0\"
";

fn all_daemons_together_are_small_and_hardened(release: Release) {
    let (old, _) = debs();
    let machine = Machine::boot(release, "both");
    machine.sh("ip link add backup0 type veth peer name isp0
         ip address add 10.77.0.2/24 dev backup0; ip link set backup0 up; ip link set isp0 up
         ip route add default via 10.77.0.1 dev backup0 metric 700");
    let server = Server::set_up(machine, &old, ALL);
    let _ = enroll(&server, &server);
    server.machine.sh("systemctl start linkprobe-watch");
    server.machine.reboot();
    wait_up(&server.machine);
    let idle = DAEMONS.map(|unit| {
        server.wait_active(unit);
        let memory = Memory::of(&server.machine, unit);
        println!("{release:?} {unit}: {memory:?}");
        (unit, memory)
    });
    for (role, without) in
        [("internal host", "tunnelwatch-watch"), ("jump host", "tunnelwatch"), ("both", "")]
    {
        let sum = idle.iter().filter(|(unit, _)| *unit != without).map(|(_, memory)| *memory);
        let sum = sum.fold(Memory::default(), Memory::plus);
        println!("{release:?} {role}: {sum:?}");
        // No host needs both of its ends to be the same; who tries it has the pages of libc, which all share,
        // counted four times: 18 MiB, of which a machine gives 7.
        let most = if without.is_empty() { MOST_RSS_KIB * 5 / 4 } else { MOST_RSS_KIB };
        assert!(sum.rss <= most && sum.pss <= MOST_RSS_KIB / 2, "{role}: {sum:?}");
    }
    server.told_login();

    for unit in UNITS.iter().filter(|unit| unit.ends_with(".service")) {
        let words = ["systemd-analyze", "security", "--no-pager", unit];
        let said = server.machine.run(&words).text();
        let verdict = said.lines().last().unwrap_or_default();
        println!("{release:?} {verdict}");
        let score = verdict.rsplit(": ").next().and_then(|rest| rest.split(' ').next());
        let score: f64 = score.and_then(|score| score.parse().ok()).expect("a score");
        // It is root's, and becomes others.
        let worst = if *unit == "bastion-drill.service" { WORST_OF_ROOT } else { WORST };
        assert!(verdict.contains(unit) && score <= worst, "{said}");
    }
}

/// What a daemon has resident, in KiB.
#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    /// With the pages that it shares.
    rss: u64,
    /// With its share of those.
    pss: u64,
    /// What no file is behind, and what is written.
    own: u64,
}

impl Memory {
    fn plus(self, other: Self) -> Self {
        Self { rss: self.rss + other.rss, pss: self.pss + other.pss, own: self.own + other.own }
    }

    /// Of the main process of a unit (proc(5), `smaps_rollup`).
    fn of(machine: &Machine, unit: &str) -> Self {
        let pid = machine.main_pid(unit);
        assert_ne!(pid, 0, "{unit} does not run");
        let text = machine.sh(&format!("cat /proc/{pid}/smaps_rollup"));
        let kib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a number")
        };
        Self { rss: kib("Rss:"), pss: kib("Pss:"), own: kib("Private_Dirty:") }
    }
}

/// Whose records are looked for.
const IDENTS: [&str; 4] = ["pam_bastion", "bastion", "tunnelwatch", "linkprobe"];

fn journal_and_syslog_show_the_same_lines(release: Release) {
    let (old, _) = debs();
    let server = Server::set_up(Machine::boot(release, "jump"), &old, ALL);
    // There is neither a jump host nor that interface, of which both say something.
    server.machine.sh("systemctl start --no-block tunnelwatch linkprobe-watch linkprobe");
    server.told_login();
    server.machine.ssh(&["-b", OFFICE, &format!("alice@{ADDRESS}"), "true"]).ok();
    server.machine.wait_journal("pam_bastion", "login verdict=known-good", 1);
    server
        .machine
        .sh("bastion send 'a \"quoted\" word, a \\ and a tab\there'; systemctl reload bastion");
    server.machine.wait_journal("bastion", "config-reloaded", 1);
    for ident in IDENTS {
        server.machine.wait_journal(ident, "", 1);
        let (mut journal, mut syslog) = (Vec::new(), Vec::new());
        let same = wait_until(DEADLINE, || {
            journal = server.machine.journal(ident);
            syslog = of_syslog(&server.machine, ident);
            journal == syslog
        });
        assert!(same, "{ident}: journal {journal:#?}\nsyslog {syslog:#?}");
        let least = if matches!(ident, "bastion" | "pam_bastion") { 4 } else { 1 };
        assert!(journal.len() >= least, "{ident}: {journal:#?}");
    }
}

/// The records of a program in the files of rsyslog, without what is before the text.
fn of_syslog(machine: &Machine, ident: &str) -> Vec<String> {
    let files = ["/var/log/auth.log", "/var/log/syslog"].map(|path| machine.read(path)).concat();
    let start = format!(" {} {ident}[", machine.name());
    let of_ident = |line: &str| {
        let (_, rest) = line.split_once(&start)?;
        rest.split_once("]: ").map(|(_, text)| text.to_owned())
    };
    files.lines().filter_map(of_ident).collect()
}

fn secrets_are_for_the_sender_alone(release: Release) {
    let (old, _) = debs();
    let server = Server::set_up(Machine::boot(release, "jump"), &old, "");
    let machine = &server.machine;
    let pid = machine.main_pid("bastion");
    // As the sender itself, in its own mount namespace.
    let as_sender = format!(
        "nsenter --target {pid} --mount --setuid $(id -u _bastion) --setgid $(id -g _bastion)"
    );
    let credential = "/run/credentials/bastion.service/secrets_twilio-token";
    assert_eq!(machine.sh(&format!("{as_sender} cat {credential}")), format!("{AUTH_TOKEN}\n"));
    let denied = format!("! {as_sender} cat /etc/bastion/secrets/twilio-token");
    machine.sh(&denied);
    for user in ["alice", "_tunnelwatch", "_linkprobe", "nobody"] {
        for path in ["/etc/bastion/secrets/twilio-token", credential] {
            machine
                .sh(&format!("! setpriv --reuid {user} --regid nogroup --clear-groups cat {path}"));
        }
    }
    let shown = machine.sh("systemctl show bastion; systemctl status bastion; journalctl -b");
    assert!(!shown.contains(AUTH_TOKEN));
}

fn an_upgrade_keeps_what_was_edited_and_what_waits(release: Release) {
    const WAIT: usize = 3;
    let (old, new) = debs();
    let mut server = Server::set_up(Machine::boot(release, "jump"), &old, "");
    let told = server.logins().len();
    server.provider.fault(&Fault::new(Act::Refuse));
    for _ in 0..WAIT {
        server.logs_in();
    }
    server.machine.wait_journal("bastion", "alert-queued", told + WAIT);
    let config = server.machine.read(CONFIG);

    // Nobody is there to answer a question.
    let said = server.install(&new);
    assert!(!said.text().contains("Configuration file"), "{said:?}");
    assert_eq!(server.machine.read(CONFIG), config);
    server.wait_active("bastion");
    assert_eq!(server.logins().len(), told);

    server.provider.heal();
    server.machine.sh("systemctl kill -s USR1 bastion");
    server.wait_logins(told + WAIT);
    server.told_login();
    for (id, records) in server.logins() {
        assert_eq!(records.len(), 1, "{id} was told more than once: {records:#?}");
    }
    assert_eq!(server.logins().len(), told + WAIT + 1);
}

/// systemd's own codes for a program and for a directory that is away are the end of a unit, if they are a condition's.
fn what_is_away_for_a_while_is_no_end(release: Release) {
    let (old, _) = debs();
    let server = Server::set_up(Machine::boot(release, "jump"), &old, "");
    let machine = &server.machine;
    let restarts = || machine.property("bastion", "NRestarts").parse::<u32>().expect("a number");
    for path in ["/var/spool/bastion", "/usr/bin/bastion", "/etc/bastion/secrets"] {
        let before = restarts();
        machine.sh(&format!("mv {path} {path}.away; systemctl kill -s KILL bastion"));
        // The first is after the kill, the second after a try without it.
        let tries = wait_until(DEADLINE * 2, || restarts() >= before + 2);
        let shown = machine.sh("systemctl status bastion || true");
        machine.sh(&format!("mv {path}.away {path}"));
        assert!(tries, "without {path} it gives up: {shown}");
        server.wait_active("bastion");
        server.told_login();
    }
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn what_was_there_before_stays_and_nobody_is_locked_out_or_left_in_the_dark() {
    let (old, _) = debs();
    let mut server = Server::on(Machine::boot(Release::Trixie, "inside"));
    // As a source installation or Ansible leave it; nobody is there to be asked about it.
    server.machine.sh("mkdir /etc/bastion");
    server.edits(TUNNEL);
    let config = server.machine.read(CONFIG);
    let said = server.install(&old).text();
    assert_eq!(server.machine.read(CONFIG), config);
    assert!(said.contains("    systemctl start --no-block tunnelwatch"), "{said}");
    server.sets_up(TUNNEL);
    server.told_login();

    // Nobody would get in by that service any more. Copies of a file are no service's.
    for name in ["sshd.bak", "sshd~", "sshd.dpkg-old", "back-door"] {
        let line = "session required pam_bastion.so\n";
        server.machine.write(&format!("/etc/pam.d/{name}"), line, 0o644);
    }
    let refused = server.types("sudo apt remove --yes pam-bastion 2>&1", "");
    let said = refused.text();
    assert_ne!(refused.code, Some(0), "{said}");
    assert!(said.contains("take it out first: edit /etc/pam.d/back-door"), "{said}");
    assert!(!said.contains("sshd.bak") && !said.contains("sshd~"), "{said}");
    assert!(!said.contains("bastion disable"), "{said}");
    server.machine.sh("rm /etc/pam.d/back-door");
    server.told_login();
    assert_eq!(told(&server, GUARD_OFF), 0);

    let said = server.types("sudo apt remove --yes pam-bastion", "").ok().text();
    assert!(!said.contains("not sent"), "{said}");
    assert_eq!(told(&server, GUARD_OFF), 1, "{:#?}", server.provider.accepted());
    server.logs_in_untold();

    // It is as it was, but for the tunnel, which only a person starts.
    let said = server.install(&old).text();
    assert!(said.contains("    systemctl start --no-block tunnelwatch"), "{said}");
    server.wait_active("bastion");
    server.told_login();

    // The alert has no way out, and what it waits in does not go away.
    server.provider.fault(&Fault::new(Act::Refuse));
    let said = server.types("sudo apt remove --yes pam-bastion", "").ok().text();
    assert!(said.contains("not sent, and kept in /var/spool/bastion until a purge: 1 "), "{said}");
    server.machine.sh(&format!("rm {CONFIG}; mount -t tmpfs none /var/spool/bastion"));
    let said = server.types("sudo apt purge --yes pam-bastion 2>&1", "").ok().text();
    assert!(said.contains("pam-bastion: left: /var/spool/bastion"), "{said}");
    assert_eq!(server.machine.sh("ls -d /etc/bastion /var/lib/bastion 2>/dev/null || true"), "");
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn a_killed_test_leaves_nothing_behind() {
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "is_killed_by_another_test", "--nocapture"])
        .env(KILLED, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(test.stdout.take().unwrap());
    let pids: Vec<u32> = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("machine ").map(|(_, pids)| pids.to_owned()))
        .expect("the other test boots a machine")
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    // A zombie waits for an init that is slow to reap.
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat"));
    let lives = |pid: u32| stat(pid).is_ok_and(|line| !line.contains(") Z "));
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    assert!(groups().iter().any(|group| group.ends_with(&pids[0].to_string())), "{:?}", groups());
    test.kill().unwrap();
    test.wait().unwrap();
    let gone = || !pids.iter().any(|pid| lives(*pid));
    assert!(wait_until(DEADLINE, gone), "{pids:?}");
    assert!(!groups().iter().any(|group| group.ends_with(&pids[0].to_string())), "{:?}", groups());
    assert!(!fs::read_to_string("/proc/mounts").unwrap().contains("bastion-test"));
}

/// Set in the environment of a test that is started to be killed.
const KILLED: &str = "BASTION_TEST_KILLED";

#[test]
#[ignore = "started, and killed, by a_killed_test_leaves_nothing_behind"]
fn is_killed_by_another_test() {
    if std::env::var_os(KILLED).is_some() {
        let machine = Machine::boot(Release::Bookworm, "killed");
        println!("machine {} {} {}", machine.holder(), machine.around(), machine.leader());
        let _ = wait_until(DEADLINE, || false);
    }
}

/// The cgroups of booted machines, wherever cgroup2 is mounted.
fn groups() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let at = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    let entries = fs::read_dir(at.split(' ').nth(1).unwrap()).unwrap();
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("bastion-boot-")).collect()
}

/// What is there after the end and was not before, or is another, and why that is right.
const STAYS: [&str; 11] = [
    // Users and groups: a file of theirs may be about, and another must not get it by getting their number.
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    // The administrator's: no script of the package writes there, and the line is of no effect
    // without the module. It is compared by itself.
    "/etc/pam.d/sshd",
    // What apt, dpkg and systemd keep for themselves.
    "/var/cache/apt/",
    "/var/cache/debconf/",
    "/var/lib/apt/",
    "/var/lib/dpkg/status",
    "/var/tmp/systemd-private-",
    // The record of what was.
    "/var/log/",
];

fn stays(path: &str) -> bool {
    STAYS.iter().any(|start| path.starts_with(start))
}

/// Nothing is left of a package that was purged, but what [`STAYS`].
fn nothing_is_left(server: &Server, before: &Files, stack: &str) {
    let machine = &server.machine;
    machine.sh("rm /root/pam-bastion_*.deb");
    let left = Files::of(machine).changes_since(before, stays);
    assert!(left.is_empty(), "left: {left:#?}");
    let mut old = stack.lines().peekable();
    let now = machine.read(STACK);
    let ours: Vec<&str> = now.lines().filter(|line| old.next_if_eq(line).is_none()).collect();
    assert_eq!(old.next(), None, "more than the line has changed in {STACK}: {now}");
    let is_line = |line: &&&str| !line.is_empty() && !line.starts_with('#');
    let lines: Vec<_> = ours.iter().filter(is_line).collect();
    assert_eq!(lines, [&"-session optional pam_bastion.so"], "{now}");
    assert!(!machine.read("/var/lib/dpkg/status").contains("pam-bastion"));
    let names = "find /run /tmp -name '*bastion*' -o -name '*tunnelwatch*' -o -name '*linkprobe*'";
    assert_eq!(machine.sh(names), "");
    let known = "systemctl list-units --all --no-legend --plain";
    let known = machine.sh(&format!("{known} | grep -E 'bastion|tunnelwatch|linkprobe' || true"));
    assert_eq!(known, "");
}
