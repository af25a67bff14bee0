//! What is hard on tunnelwatch itself: an ssh that hangs, that says a gigabyte, that ends a hundred
//! times; a suspended machine; and tunnels that come, change and go while it runs.

use std::fs;
use std::time::Duration;

use bastion_tests::host::DEADLINE;
use bastion_tests::tunnel::{Line, PORTS, TUNNEL, told};
use bastion_tests::wait::{pause, wait_until};

/// Longest time to be back, where it is to be at once: a busy machine takes its time.
const SOON: Duration = Duration::from_secs(15);

const HOME: &[u16] = &[PORTS[0]];

/// Whether a process of the internal host is no more: process 1 there does not reap.
fn is_gone(line: &Line, pid: u64) -> bool {
    let stat = format!("/proc/{pid}/stat");
    !line.inside.path(&stat).exists() || line.inside.read(&stat).contains(") Z ")
}

#[test]
fn an_ssh_that_hangs_is_ended_by_force_and_replaced() {
    let mut line = Line::up("check-every = \"5s\"\n");
    let hung = line.ssh_pid();
    line.inside.sh(&format!("kill -STOP {hung}"));
    line.wait_status("a new ssh", Duration::from_secs(60), |status| {
        status["up"] == true && status["ssh-pid"].as_u64().is_some_and(|pid| pid != hung)
    });
    let _ = line.wait_answer(HOME, SOON);
    assert!(!line.inside.path(format!("/proc/{hung}")).exists(), "neither running nor a zombie");
    // One that hangs when we are to end.
    let hung = line.ssh_pid();
    line.inside.sh(&format!("kill -STOP {hung}"));
    line.stop();
    assert!(!line.inside.path(format!("/proc/{hung}")).exists(), "neither running nor a zombie");
    // One that hangs when we are killed: nobody would ever give the port back.
    line.start();
    line.wait_up(PORTS[0]);
    let hung = line.ssh_pid();
    line.inside.sh(&format!("kill -STOP {hung}"));
    line.run.as_mut().expect("it runs").kill();
    assert!(wait_until(DEADLINE, || is_gone(&line, hung)), "an orphan holds the port");
    line.start();
    line.wait_up(PORTS[0]);
}

#[test]
fn an_ssh_that_says_a_gigabyte_costs_no_memory_and_keeps_nobody_from_work() {
    const MOST_KIB: u64 = 8 * 1024;
    let mut line = Line::new();
    // Half of it in lines, half of it in one, while the tunnel comes up and afterwards; and a
    // megabyte before the comparison of keys, which has to hear it out.
    let script = "#!/bin/sh
        noise() {
            yes 'debug1: this is of no interest to anybody' | head -c $1 >&2
            head -c $1 /dev/zero | tr '\\0' x >&2
            echo >&2
        }
        case $1 in
            -N) (noise 512M; touch /tmp/said) & ;;
            *) noise 500k ;;
        esac
        exec /usr/bin/ssh \"$@\"
    ";
    line.inside.write("/srv/ssh", script, 0o755);
    line.inside.write_config(&format!("{TUNNEL}ssh = \"/srv/ssh\"\n"));
    line.start();
    line.wait_up(PORTS[0]);
    let said = || line.inside.path("/tmp/said").exists();
    assert!(wait_until(Duration::from_secs(240), said), "it is not heard out");
    let run = line.run.as_ref().expect("it runs");
    let peak = run.peak_kib();
    assert!(peak <= MOST_KIB, "{peak} KiB");
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    let _ = line.wait_answer(HOME, SOON);
    println!("at most {peak} KiB");
}

#[test]
fn a_session_that_comes_up_while_the_jump_host_is_asked_to_release_is_compared_too() {
    let mut line = Line::new();
    // Asking takes its time, and frees nothing.
    let script = "#!/bin/sh
        case \"$*\" in
            *release*) exec sleep 5 ;;
            *) exec /usr/bin/ssh \"$@\" ;;
        esac
    ";
    line.inside.write("/srv/ssh", script, 0o755);
    line.inside.write_config(&format!("{TUNNEL}ssh = \"/srv/ssh\"\nrelease = true\n"));
    let holder = line.jump.spawn(&["python3", "-m", "http.server", "--bind", "127.0.0.1", "2222"]);
    assert!(wait_until(DEADLINE, || line.jump.listens(PORTS[0])));
    line.start();
    line.wait_up(PORTS[1]);
    line.inside.wait_syslog("tunnelwatch", "tunnel-release", 1);
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    drop(holder);
}

#[test]
fn an_ssh_that_cannot_be_run_is_told_as_such() {
    let mut line = Line::new();
    line.inside.sh("mkdir /srv/dir; cp /usr/bin/ssh /srv/plain; chmod 644 /srv/plain
         printf '#!/no/such/shell\\n' >/srv/script; chmod 755 /srv/script");
    line.inside.write_config(&format!("{TUNNEL}ssh = \"/srv/dir\"\n"));
    line.start();
    line.inside.wait_syslog("tunnelwatch", "started", 1);
    for path in ["/srv/dir", "/srv/plain", "/srv/script", "/srv/none"] {
        line.inside.write_config(&format!("{TUNNEL}ssh = \"{path}\"\n"));
        line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
        let why = format!("message=\"{path}: ");
        line.inside.wait_syslog("tunnelwatch", &why, 1);
        line.wait_status(path, DEADLINE, |status| status["cause"] == "no-ssh");
    }
    let alerts = told(&line.inside);
    assert_eq!(alerts.len(), 1, "one cause, told once: {alerts:?}");
    assert_eq!(alerts[0].text, "ssh cannot be run here");
    // The file is mended, and the end is told as well, though another tunnel's thread tells it.
    line.inside.write_config(TUNNEL);
    line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    line.wait_up(PORTS[0]);
    let up = || told(&line.inside).iter().any(|told| told.status == "up");
    assert!(wait_until(DEADLINE, up), "{:?}", told(&line.inside));
}

/// What tunnelwatch holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// Of all in the machine.
    processes: usize,
    run_files: usize,
    spool_files: usize,
}

impl Held {
    fn by(line: &Line) -> Self {
        let pid = line.run.as_ref().expect("it runs").pid();
        let count = |dir: String| fs::read_dir(dir).map_or(0, Iterator::count);
        let processes = line.inside.sh("ps -e -o pid= | wc -l").trim().parse().expect("a number");
        let in_machine = |dir: &str| fs::read_dir(line.inside.path(dir)).map_or(0, Iterator::count);
        Self {
            descriptors: count(format!("/proc/{pid}/fd")),
            threads: count(format!("/proc/{pid}/task")),
            processes,
            run_files: in_machine("/run/tunnelwatch"),
            spool_files: in_machine("/var/spool/bastion/drop"),
        }
    }
}

/// Memory that it has resident, in KiB (`VmRSS` of proc(5)).
fn resident_kib(line: &Line) -> u64 {
    let pid = line.run.as_ref().expect("it runs").pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn a_hundred_flaps_leave_no_process_file_descriptor_or_memory_behind() {
    const FLAPS: usize = 100;
    const MOST_MORE_KIB: u64 = 512;
    let line = Line::up("");
    let flap = |line: &Line| {
        let before = line.ssh_pid();
        line.inside.sh(&format!("kill -KILL {before}"));
        line.wait_status("noticed", DEADLINE, |status| status["ssh-pid"] != before);
        // One that ends again and again waits longer and longer, which is not of interest here.
        line.run.as_ref().expect("it runs").signal(libc::SIGUSR1);
        line.wait_status("up", DEADLINE, |status| status["up"] == true);
    };
    (0..FLAPS / 10).for_each(|_| flap(&line));
    let quiet = |line: &Line, wanted: Option<Held>| {
        let mut last = Held::by(line);
        let same = || {
            // Twice the same: what compares the keys has ended.
            let before = std::mem::replace(&mut last, Held::by(line));
            before == last && wanted.is_none_or(|wanted| wanted == last)
        };
        let came = wait_until(SOON, same);
        (came, last)
    };
    pause(Duration::from_secs(2));
    let (_, before) = quiet(&line, None);
    let memory = resident_kib(&line);
    (0..FLAPS).for_each(|_| flap(&line));
    let (same, after) = quiet(&line, Some(before));
    assert!(same, "{before:?} became {after:?}\n{}", line.inside.sh("ps -ef; ls /run/tunnelwatch"));
    let more = resident_kib(&line).saturating_sub(memory);
    assert!(more <= MOST_MORE_KIB, "{memory} KiB grew by {more}");
    assert_eq!(line.alerts(), [], "none of them was long");
    println!("{after:?}, {memory} KiB and {more} more");
}

#[test]
fn a_machine_that_was_suspended_has_its_tunnel_again_in_seconds() {
    // Longer than the looks, ssh's keepalives and the patience of the jump host.
    const SUSPENDED: Duration = Duration::from_secs(40);
    let mut line = Line::new();
    line.jump.sh("printf 'Match User tunnel\\n ClientAliveInterval 4\\n ClientAliveCountMax 1\\n' >>/etc/ssh/sshd_config");
    line.jump.restart_sshd();
    line.inside.write_config(&format!("{TUNNEL}check-every = \"5s\"\nalert-after = \"10s\"\n"));
    line.start();
    line.wait_up(PORTS[0]);
    line.inside.sh("pkill -STOP -u _tunnelwatch");
    pause(SUSPENDED);
    assert!(!line.answers(PORTS[0]), "it sleeps");
    line.inside.sh("pkill -CONT -u _tunnelwatch");
    // The helper of the test stops with its child.
    line.run.as_ref().expect("it runs").signal(libc::SIGCONT);
    let took = line.wait_answer(HOME, SOON);
    line.wait_status("up", SOON, |status| status["up"] == true && status["port"] == PORTS[0]);
    pause(Duration::from_secs(12));
    assert_eq!(told(&line.inside), [], "by itself it was down for a moment");
    println!("back {took:?} after a sleep of {SUSPENDED:?}");
}

#[test]
fn tunnels_come_change_and_go_while_the_others_stay() {
    let one = |name: &str, port: u16, more: &str| {
        let whole = TUNNEL.split_once("[[tunnel]]").expect("a tunnel").1;
        let whole = whole.replace("\"cloud\"", &format!("\"{name}\""));
        format!("\n[[tunnel]]{}{more}", whole.replace("[2222, 2223]", &format!("[{port}]")))
    };
    let host = "[host]\nname = \"inside\"\n";
    let mut line = Line::new();
    let reload = |line: &Line, tunnels: &[String]| {
        line.inside.write_config(&format!("{host}{}", tunnels.concat()));
        line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    };
    line.inside.write_config(&format!("{host}{}", one("cloud", 2222, "")));
    line.start();
    line.wait_up(2222);
    let kept = line.ssh_pid();
    // One comes.
    reload(&line, &[one("cloud", 2222, ""), one("spare", 2223, "")]);
    let up = |line: &Line| line.status_of("spare")["up"] == true && line.answers(2223);
    assert!(wait_until(DEADLINE, || up(&line)), "{}", line.log());
    let spare = line.status_of("spare")["ssh-pid"].as_u64().expect("it runs");
    // It changes.
    reload(&line, &[one("cloud", 2222, ""), one("spare", 2223, "check-every = \"7s\"\n")]);
    let anew = || {
        let pid = line.status_of("spare")["ssh-pid"].as_u64();
        pid.is_some_and(|pid| pid != spare) && up(&line)
    };
    assert!(wait_until(DEADLINE, anew), "{}", line.log());
    assert!(is_gone(&line, spare));
    // It goes, with all that it had.
    let spare = line.status_of("spare")["ssh-pid"].as_u64().expect("it runs");
    reload(&line, &[one("cloud", 2222, "")]);
    let gone = || line.status_of("spare").is_null() && is_gone(&line, spare) && !line.answers(2223);
    assert!(wait_until(DEADLINE, gone), "{}", line.log());
    let files = || line.inside.sh("ls /run/tunnelwatch");
    assert!(wait_until(DEADLINE, || !files().contains("spare")), "{}", files());
    assert_eq!(line.tunnelwatch(&["status"]).code, Some(0));
    // A file that is broken, or has no tunnel any more where it was mistyped, changes nothing.
    reload(&line, &["\n[[tunnel]]\nname = \"cloud\"\n".to_owned()]);
    line.inside.wait_syslog("tunnelwatch", "config-kept", 1);
    assert_eq!(line.ssh_pid(), kept, "nobody touched it");
    assert!(line.answers(2222));
    assert_eq!(line.alerts(), []);
}
