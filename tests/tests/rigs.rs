//! The rigs tried on things that are known: before a test of ours may fail, they must hold.

use std::time::{Duration, Instant};

use bastion_tests::cloud;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{Host, KNOWN, UNKNOWN};
use bastion_tests::login::{PASSWORD, Stack};
use bastion_tests::provider::{ACCOUNT_SID, AUTH_TOKEN, Provider};
use bastion_tests::wait::wait_until;

const SECONDS_10: Duration = Duration::from_secs(10);

/// `curl` as the diary's script calls Twilio.
fn curl(host: &Host, provider: &Provider, token: &str, extra: &[&str]) -> (i32, String) {
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json", provider.url());
    let user = format!("{ACCOUNT_SID}:{token}");
    let mut words = vec!["curl", "-sS", "-m", "3", "-w", "\n%{http_code}", "-u", &user];
    words.extend(extra);
    words.push(&url);
    let output = host.run(&words);
    (output.code.unwrap_or(-1), output.text())
}

const SMS: &[&str] =
    &["--data-urlencode", "To=+15550101", "-dFrom=%2B15550100", "-dBody=hi k7f3q2"];

#[test]
fn a_host_leaves_nothing_behind() {
    let host = Host::new();
    let pid = {
        let daemon = host.spawn(&["sleep", "1000"]);
        let pid = daemon.pid();
        std::mem::forget(daemon);
        pid
    };
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(host.read("/etc/passwd").contains("_bastion"));
    drop(host);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains("bastion-test"));
}

#[test]
fn a_killed_test_leaves_nothing_behind() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "is_killed_by_another_test", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(test.stdout.take().unwrap());
    let pid = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| line.split("daemon ").nth(1)?.parse::<u32>().ok())
        .expect("the other test starts a daemon");
    // Gone, or a zombie that waits for an init that is slow to reap.
    let stat = format!("/proc/{pid}/stat");
    let ended = || !std::fs::read_to_string(&stat).is_ok_and(|line| !line.contains(") Z "));
    assert!(!ended());
    test.kill().unwrap();
    test.wait().unwrap();
    assert!(wait_until(SECONDS_10, ended));
}

#[test]
#[ignore = "started, and killed, by a_killed_test_leaves_nothing_behind"]
fn is_killed_by_another_test() {
    let host = Host::new();
    let mut daemon = host.spawn(&["sleep", "1000"]);
    println!("daemon {}", daemon.pid());
    let _ = daemon.wait(Duration::from_secs(60));
}

#[test]
fn syslog_is_collected_and_can_be_wedged() {
    let host = Host::new();
    assert_eq!(host.run(&["logger", "-t", "tag", "one \"quoted\" line"]).code, Some(0));
    let lines = host.wait_syslog("tag", "one", 1);
    assert_eq!(lines[0].text, "one \"quoted\" line");
    host.wedge_syslog();
    let blocked = host.run_with(Duration::from_secs(1), &["logger", "-t", "tag", "two"], b"");
    assert!(blocked.cut_off(), "{blocked:?}");
    host.unwedge_syslog();
    host.wait_syslog("filler", "x", 1);
}

#[test]
fn keys_passwords_and_addresses_reach_sshd() {
    let mut host = Host::new();
    host.start_sshd();
    host.set_stack(Stack::Bare);
    let shown = host.ssh(&["-b", UNKNOWN, "alice@jump", "id -un; echo $SSH_CONNECTION"]).ok();
    assert!(shown.text().starts_with(&format!("alice\n{UNKNOWN} ")), "{shown:?}");
    let known = host.ssh(&["-b", KNOWN, "root@jump", "echo $SSH_CONNECTION"]).ok();
    assert!(known.text().starts_with(KNOWN), "{known:?}");
    host.ssh_password(PASSWORD, &["bob@jump", "true"]).ok();
    assert_eq!(host.ssh_password("wrong", &["bob@jump", "true"]).code, Some(255));
    let stranger = host.ssh(&["-i", "/root/keys/stranger", "alice@jump"]);
    assert_eq!(stranger.code, Some(255), "{stranger:?}");
    host.ssh(&["-i", "/root/keys/certy", "certy@jump", "true"]).ok();
}

#[test]
fn pamrun_opens_a_session_of_pam_permit() {
    let host = Host::new();
    let output = host.run(&["/rigs/pamrun", "--rounds", "3", "--close", "--nofile-zero"]).ok();
    let report: bastion_tests::pam::Report = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.all_succeeded(), "{report:?}");
    assert_eq!(report.rounds.len(), 3);
    assert_eq!(report.before, report.after);
    assert!(report.slowest() < Duration::from_secs(1));
    assert!(report.memory_bare.own_kib > 0);
}

#[test]
fn the_provider_behaves() {
    let host = Host::new();
    let provider = Provider::start(&host);
    let (_, answer) = curl(&host, &provider, AUTH_TOKEN, SMS);
    assert!(answer.ends_with("\n201") && answer.contains("\"status\":\"queued\""), "{answer}");
    let (_, answer) = curl(&host, &provider, "wrong", SMS);
    assert!(answer.ends_with("\n401") && answer.contains("20003"), "{answer}");
    let (_, list) = curl(&host, &provider, AUTH_TOKEN, &["-G", "-dPageSize=5", "-dTo=%2B15550101"]);
    assert!(list.contains("hi k7f3q2"), "{list}");
    let accepted = provider.accepted();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].body(), "hi k7f3q2");
}

#[test]
fn the_provider_behaves_over_tls() {
    let host = Host::new();
    let provider = Provider::start_tls(&host);
    let extra = [&["--cacert", "/run/provider/ca.pem"], SMS].concat();
    let (_, answer) = curl(&host, &provider, AUTH_TOKEN, &extra);
    assert!(answer.ends_with("\n201"), "{answer}");
    let (code, _) = curl(&host, &provider, AUTH_TOKEN, SMS);
    assert_eq!(code, 60, "curl must not know the CA by itself");
}

#[test]
fn the_provider_misbehaves_as_told() {
    let host = Host::new();
    let mut provider = Provider::start(&host);
    // Exit codes of curl: 7 refused, 1 and 8 not HTTP, 28 too late, 52 closed, 56 reset.
    let huge = Fault { status: Some(500), ..Fault::new(Act::Huge) };
    let table: [(Fault, &[i32], &str, usize); 9] = [
        (Fault::status(503), &[0], "\n503", 0),
        (Fault::status(429).retry_after("3"), &[0], "\n429", 0),
        (Fault::new(Act::Garbage), &[1, 8], "", 0),
        (Fault::new(Act::BadJson), &[0], "\n201", 0),
        (Fault::new(Act::Hang), &[28], "", 0),
        (Fault::new(Act::Close), &[52], "", 0),
        (Fault::reset_after_accept(), &[56], "", 1),
        (Fault::new(Act::Drip), &[28], "", 1),
        (huge, &[0, 23, 28, 63], "", 0),
    ];
    for (fault, codes, end, accepted) in table {
        let before = provider.accepted().len();
        provider.fault(&fault.clone().times(1));
        let extra = [&["--max-filesize", "100000"], SMS].concat();
        let (code, answer) = curl(&host, &provider, AUTH_TOKEN, &extra);
        assert!(codes.contains(&code), "{fault:?}: curl exit {code}");
        assert!(answer.trim_end_matches("000").ends_with(end), "{fault:?}: {answer}");
        assert_eq!(provider.accepted().len() - before, accepted, "{fault:?}");
    }
    let (_, answer) = curl(&host, &provider, AUTH_TOKEN, SMS);
    assert!(answer.ends_with("\n201"), "counts are used up: {answer}");
}

#[test]
fn the_provider_can_refuse_and_come_back() {
    let host = Host::new();
    let mut provider = Provider::start(&host);
    provider.fault(&Fault::new(Act::Refuse));
    let refused = || curl(&host, &provider, AUTH_TOKEN, SMS).0 == 7;
    assert!(wait_until(SECONDS_10, refused));
    provider.heal();
    let back = || curl(&host, &provider, AUTH_TOKEN, SMS).0 == 0;
    assert!(wait_until(SECONDS_10, back));
    provider.fault(&Fault::status(403).on("GET"));
    assert!(curl(&host, &provider, AUTH_TOKEN, SMS).1.ends_with("\n201"));
    assert!(curl(&host, &provider, AUTH_TOKEN, &["-G"]).1.ends_with("\n403"));
    // The same by HTTP, for a shell script.
    let url = format!("{}/control", provider.url());
    let put = |rule: &str| host.run(&["curl", "-sSf", "-X", "PUT", "-d", rule, &url]).code;
    assert_eq!(put("{\"do\":\"clear\"}"), Some(0));
    assert_eq!(put("{\"do\":\"dance\"}"), Some(22), "a rule that is not understood is refused");
    assert!(curl(&host, &provider, AUTH_TOKEN, &["-G"]).1.ends_with("\n200"));
    let start = Instant::now();
    provider.fault(&Fault::new(Act::Ok).after(Duration::from_millis(300)).times(1));
    assert!(curl(&host, &provider, AUTH_TOKEN, SMS).1.ends_with("\n201"));
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_cloud_starts_its_machine_when_it_is_asked_by_who_may() {
    let host = Host::new();
    let mut cloud = Provider::start_cloud(&host, cloud::Like::Hetzner, "127.0.0.1:0", false);
    cloud.order(&cloud::Order { boot_ms: Some(200), ..cloud::Order::default() });
    let url = format!("{}/v1/servers/{}", cloud.url(), cloud::NUMBER);
    let ask = |token: &str, words: &[&str], path: &str| {
        let (token, url) = (format!("Authorization: Bearer {token}"), format!("{url}{path}"));
        host.run(&[&["curl", "-sS", "-H", &token, &url], words].concat()).text()
    };
    assert!(ask("guess", &[], "").contains("unauthorized"));
    assert!(ask(cloud::TOKEN, &[], "").contains("\"status\":\"off\""));
    assert!(ask(cloud::TOKEN, &["-X", "POST"], "/actions/poweron").contains("\"running\""));
    assert!(wait_until(SECONDS_10, || cloud.machine().state == "on"));
    assert!(ask(cloud::TOKEN, &[], "").contains("198.51.100.7"));
    assert_eq!((cloud.machine().starts, cloud.requests().len()), (1, 4));
    assert!(!host.read("/run/provider/log-hetzner-127.0.0.1:0").contains(cloud::TOKEN));
}
