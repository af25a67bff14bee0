//! Whatever is broken around the module, the login works, soon, and syslog tells.
//!
//! Each case is tried twice: by `pamrun`, which sees return codes, time and the state of the
//! process, and by a real sshd, which is what has to let people in.

use std::time::Duration;

use bastion_tests::host::{CONFIG, DEADLINE, Host, KNOWN, MODULE, SPOOL};
use bastion_tests::pam::{PamRun, Report};
use bastion_tests::spool::Mark;
use bastion_tests::syslog::Line;

/// Most time in `pam_open_session`. The bench holds it to a millisecond on a quiet machine;
/// here it only has to tell a bounded call from one that waits, with all cores busy.
const BOUND: Duration = Duration::from_secs(2);

/// Severity `alert` of syslog.
const ALERT: Option<u8> = Some(1);

/// A session by `pamrun` for alice from the known-good address: succeeds, is bounded, and
/// leaves the process as it was.
fn pamrun(host: &Host, why: &str) -> Report {
    let report = PamRun::login("alice", KNOWN).report(host, DEADLINE);
    check(&report, why);
    report
}

fn check(report: &Report, why: &str) {
    assert!(report.all_succeeded(), "{why}: {report:#?}");
    assert_eq!(report.before, report.after, "{why}: the process is changed");
    assert!(report.slowest() < BOUND, "{why}: {:?}", report.slowest());
}

/// A login by sshd from the known-good address works.
fn ssh(host: &Host, why: &str) {
    let output = host.ssh(&["-b", KNOWN, "alice@jump", "echo in"]);
    assert_eq!((output.code, output.text().as_str()), (Some(0), "in\n"), "{why}: {output:?}");
    assert_eq!(output.errors(), "", "{why}");
}

/// The one line with this event word since `mark`.
fn only(host: &Host, mark: &Mark, event: &str, why: &str) -> Line {
    let mut lines = host.lines_since(mark, event);
    assert_eq!(lines.len(), 1, "{why}: {event}: {lines:#?}");
    lines.remove(0)
}

/// Does `prepare`, then logs in both ways; each must be told though it is from a known-good
/// place (without a trusted configuration nobody is known), with the problem in syslog.
fn config_case(why: &str, prepare: &str, reason: &str) {
    let host = Host::with_sshd();
    host.sh(&prepare.replace("CONFIG", CONFIG));
    let runs: [fn(&Host, &str); 2] = [|host, why| drop(pamrun(host, why)), ssh];
    for run in runs {
        let mark = host.mark();
        run(&host, why);
        host.wait_ended_at_least(&mark, 1);
        assert_eq!(host.alerts_since(&mark).len(), 1, "{why}: not told");
        assert_eq!(only(&host, &mark, "login", why).field("verdict").as_deref(), Some("alert"));
        let problem = only(&host, &mark, "config-problem", why);
        assert!(problem.text.contains(reason), "{why}: {problem:?}");
        assert!(problem.text.contains(CONFIG), "{why}: {problem:?}");
    }
}

#[test]
fn config_missing() {
    config_case("missing", "rm CONFIG", "No such file");
}

#[test]
fn config_with_a_syntax_error() {
    config_case("broken", "echo 'known-good = [' >>CONFIG", "line ");
}

#[test]
fn config_of_random_bytes() {
    config_case("random", "head -c 5000 /dev/urandom >CONFIG", "UTF-8");
}

#[test]
fn config_of_100_mb_without_blocks() {
    config_case("sparse", "truncate -s 100M CONFIG", "more than");
}

#[test]
fn config_of_100_mb() {
    config_case("huge", "head -c 100000000 /dev/zero | tr '\\0' '#' >>CONFIG", "more than");
}

#[test]
fn config_is_a_directory() {
    config_case("directory", "rm CONFIG; mkdir CONFIG", "not a regular file");
}

#[test]
fn config_is_a_fifo_that_nobody_writes() {
    config_case("fifo", "rm CONFIG; mkfifo CONFIG", "not a regular file");
}

#[test]
fn config_is_an_endless_device() {
    config_case("device", "rm CONFIG; ln -s /dev/zero CONFIG", "not a regular file");
}

#[test]
fn config_writable_by_all() {
    config_case("world-writable", "chmod 666 CONFIG", "chmod go-w");
}

#[test]
fn config_owned_by_a_user() {
    config_case("stranger's", "chown alice CONFIG", "chown root");
}

#[test]
fn a_mistake_in_the_config_leaves_the_rest_in_force() {
    let host = Host::with_sshd();
    let config =
        host.read(CONFIG).replace("known-good = [", "known-goof = 1\nknown-good = [\"x\", ");
    host.write_config(&config);
    let mark = host.mark();
    ssh(&host, "mistake");
    host.wait_ended_at_least(&mark, 1);
    assert_eq!(host.alerts_since(&mark).len(), 0, "the good entries count");
    let problem = only(&host, &mark, "config-problem", "mistake");
    assert!(problem.text.contains("known-goo") && problem.text.contains("line "), "{problem:?}");
}

/// Does `prepare` to the drop directory, then logs in both ways from an unknown place: the
/// alert is in syslog, at the highest level, with the reason, and nothing is half written.
fn drop_case(why: &str, prepare: &str, reason: &str) {
    let host = Host::with_sshd();
    host.write_config("[host]\nname = \"jump\"\n");
    host.sh(&prepare.replace("DROP", &format!("{SPOOL}/drop")).replace("SPOOL", SPOOL));
    let list = |host: &Host| host.run(&["find", SPOOL, "-name", "*login*"]).text();
    let before = list(&host);
    let runs: [fn(&Host, &str); 2] = [|host, why| drop(pamrun(host, why)), ssh];
    for run in runs {
        let mark = host.mark();
        run(&host, why);
        host.wait_ended_at_least(&mark, 1);
        let lines = host.lines_since(&mark, "login");
        assert!(!lines.is_empty(), "{why}: not told");
        for line in lines {
            assert_eq!(line.severity(), ALERT, "{why}: {line:?}");
            assert_eq!(line.facility(), Some(10), "{why}: {line:?}");
            assert_eq!(line.field("user").as_deref(), Some("alice"), "{why}: {line:?}");
            assert!(line.text.contains(reason), "{why}: {line:?}");
        }
    }
    assert_eq!(list(&host), before, "{why}: a file is left behind");
}

#[test]
fn drop_directory_missing() {
    drop_case("missing", "rmdir DROP", "No such file");
}

#[test]
fn spool_missing() {
    drop_case("no spool", "rm -r SPOOL", "No such file");
}

#[test]
fn drop_directory_full() {
    let script = "mount -t tmpfs -o size=16k,mode=3730,uid=2901,gid=2902 full DROP
        head -c 1M /dev/zero >DROP/filler || true";
    drop_case("full", script, "No space left");
}

#[test]
fn drop_directory_out_of_inodes() {
    let script = "mount -t tmpfs -o nr_inodes=2,mode=3730,uid=2901,gid=2902 full DROP
        touch DROP/filler";
    drop_case("no inodes", script, "No space left");
}

#[test]
fn drop_directory_read_only() {
    drop_case("read-only", "mount --bind DROP DROP; mount -o remount,bind,ro DROP", "Read-only");
}

#[test]
fn drop_directory_of_a_stranger() {
    drop_case("stranger's", "chown alice DROP", "uid 2001");
}

#[test]
fn drop_directory_is_a_symlink() {
    let script = "mv DROP /home/alice/drop; ln -s /home/alice/drop DROP";
    drop_case("symlink", script, "not a directory");
}

#[test]
fn drop_directory_is_a_fifo() {
    drop_case("fifo", "rmdir DROP; mkfifo DROP", "not a directory");
}

#[test]
fn no_descriptor_is_left() {
    let host = Host::with_sshd();
    let mark = host.mark();
    let report =
        PamRun::login("alice", "198.51.100.7").with(&["--nofile-zero"]).report(&host, DEADLINE);
    check(&report, "EMFILE");
    // Nothing could be opened then; the end of the session is the second chance.
    let alerts = host.alerts_since(&mark).len();
    let lines = host.lines_since(&mark, "login");
    assert!(alerts == 1 || lines.iter().any(|l| l.severity() == ALERT), "lost: {lines:#?}");
}

#[test]
fn syslog_does_not_read() {
    let host = Host::with_sshd();
    host.wedge_syslog();
    let mark = host.mark();
    let report =
        PamRun::login("alice", "198.51.100.7").with(&["--rounds", "20"]).report(&host, DEADLINE);
    check(&report, "wedged");
    ssh(&host, "wedged");
    assert_eq!(host.alerts_since(&mark).len(), 20, "the spool works without syslog");
    host.unwedge_syslog();
}

#[test]
fn no_syslog() {
    let mut host = Host::with_sshd();
    host.remove_syslog();
    for (why, script) in
        [("none", "true"), ("a file", "touch /dev/log"), ("a fifo", "rm /dev/log; mkfifo /dev/log")]
    {
        host.sh(script);
        let mark = host.mark();
        let report = PamRun::login("alice", "198.51.100.7").report(&host, DEADLINE);
        check(&report, why);
        assert_eq!(host.alerts_since(&mark).len(), 1, "{why}");
        ssh(&host, why);
    }
}

#[test]
fn everything_at_once() {
    let mut host = Host::with_sshd();
    host.remove_syslog();
    host.sh(&format!("rm -r {SPOOL} {CONFIG}; mkfifo {CONFIG}"));
    pamrun(&host, "everything");
    ssh(&host, "everything");
}

#[test]
fn a_panic_ends_inside_the_module() {
    let host = Host::with_sshd();
    let module = std::fs::read(host.path(MODULE)).expect("the module");
    let hook = b"BASTION_TEST_PANIC".as_slice();
    assert!(
        module.windows(hook.len()).any(|bytes| bytes == hook),
        "this test takes a debug build of the module: a release build cannot be told to panic"
    );
    let mark = host.mark();
    let run = PamRun::login("alice", KNOWN)
        .env("BASTION_TEST_PANIC=1")
        .process_env("RUST_BACKTRACE=full")
        .with(&["--rounds", "3"]);
    let output = run.output(&host, DEADLINE).ok();
    assert_eq!(output.errors(), "", "the module wrote to its host's standard error");
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    check(&report, "panic");
    let grown = report.memory_after.own_kib.saturating_sub(report.memory_before.own_kib);
    assert!(grown < 1024, "{grown} KiB: a backtrace was taken");
    let lines = host.wait_lines(&mark, "panic", 3);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!(lines[0].severity(), ALERT);

    // The PAM environment of a real login, by pam_env.
    host.write("/etc/panic.env", "BASTION_TEST_PANIC=1\n", 0o644);
    host.set_session(&format!(
        "session required pam_env.so envfile=/etc/panic.env\n\
         session required {MODULE} config={CONFIG}\n"
    ));
    let mark = host.mark();
    ssh(&host, "panic in sshd");
    assert_eq!(host.wait_lines(&mark, "panic", 1).len(), 1);
}

#[test]
fn a_lone_module_lets_everyone_in() {
    let host = Host::with_sshd();
    host.set_session(&format!("session required {MODULE} config={CONFIG}\n"));
    ssh(&host, "alone and required");
    // A service that is not watched: a lone PAM_IGNORE would refuse the login.
    host.write_config("[login]\nservices = [\"login\"]\n");
    let mark = host.mark();
    ssh(&host, "alone, and the service is not ours");
    assert_eq!(host.alerts_since(&mark).len(), 0);
    assert_eq!(host.lines_since(&mark, "login").len(), 0);
}

#[test]
fn an_unknown_argument_is_told_and_does_no_harm() {
    let host = Host::with_sshd();
    host.set_session(&format!("session required {MODULE} config={CONFIG} colour=red\n"));
    let mark = host.mark();
    ssh(&host, "argument");
    host.wait_ended_at_least(&mark, 1);
    assert!(only(&host, &mark, "config-problem", "argument").text.contains("colour=red"));
}

#[test]
fn hold_is_bounded_and_spares_the_known() {
    let host = Host::with_sshd();
    host.write_config("[login]\nhold = \"1s\"\nknown-good = [\"203.0.113.9\"]\n");
    let told = PamRun::login("alice", "198.51.100.7").report(&host, DEADLINE);
    assert!(told.all_succeeded());
    assert!(told.slowest() >= Duration::from_secs(1), "{:?}", told.slowest());
    assert!(told.slowest() < Duration::from_secs(1) + BOUND, "{:?}", told.slowest());
    assert!(pamrun(&host, "hold").slowest() < Duration::from_secs(1));
}

#[test]
fn many_sessions_leave_no_memory_and_no_descriptor() {
    let host = Host::with_sshd();
    let memory_after = |rounds: &str| {
        let run = PamRun::login("alice", "198.51.100.7").with(&["--rounds", rounds, "--keep"]);
        let report = run.report(&host, DEADLINE);
        check(&report, "many sessions");
        report.memory_after.resident_kib
    };
    // Both have touched each page of the code; what is more comes from the sessions.
    let (few, many) = (memory_after("50"), memory_after("1050"));
    assert!(many < few + 256, "1000 sessions took {} KiB", many - few);
    assert_eq!(host.spool_files("drop").len(), 1100, "every one is told");
}
