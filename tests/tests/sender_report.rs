//! What is counted: the weekly report by the route of choice, and metrics that a real node exporter
//! takes (Debian's prometheus-node-exporter).

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use bastion_tests::alert::Draft;
use bastion_tests::fault::Fault;
use bastion_tests::host::{DEADLINE, Host, UNKNOWN};
use bastion_tests::like::Like;
use bastion_tests::provider::Provider;
use bastion_tests::sender::{LOGIN, Rig, sms};
use bastion_tests::wait::wait_for;
use serde_json::Value;

const LEDGER: &str = "/var/lib/bastion/ledger.json";
const METRICS: &str = "/run/bastion/bastion.prom";

const WEEKLY: &str = "weekly = \"mon 09:00\"";

/// A machine with [`WEEKLY`], a webhook that reports go to, and `more` in `[notify]`.
fn start(more: &str) -> (Rig, Provider) {
    let host = Host::new();
    let provider = Provider::start(&host);
    let reports = Provider::start_like(&host, Like::Anybody, "127.0.0.1:0", false);
    host.configure(&provider.url());
    let text = sms(&provider.url()).replacen("[notify]", &format!("[notify]\n{more}"), 1);
    let rule = format!(
        "\n[[notify.rule]]\nkinds = [\"report\"]\nroute = [\"boss\"]\n\n[notify.channel.boss]\n\
         type = \"webhook\"\nurl = \"{}\"\n",
        reports.url()
    );
    host.write_config(&format!("{LOGIN}{text}{rule}"));
    (Rig::on(host, provider), reports)
}

/// Runs `bastion` with `words`.
fn bastion(rig: &Rig, words: &[&str]) -> String {
    rig.host.run(&[&["/artefacts/bastion"], words].concat()).ok().text()
}

/// The first report that came to the webhook.
fn wait_report(reports: &Provider) -> Value {
    wait_for("a report", DEADLINE, || {
        let posts = reports.posts();
        posts.iter().find_map(|post| serde_json::from_str(&post.raw).ok())
    })
}

/// Waits until `bastion report` has `line`.
fn wait_counted(rig: &Rig, line: &str) {
    wait_for(line, DEADLINE, || {
        let output = rig.host.run(&["/artefacts/bastion", "report"]);
        output.text().lines().any(|found| found == line).then_some(())
    });
}

/// Sets the beginning of the week back, while no sender runs.
fn age_ledger(host: &Host, by: Duration) {
    let mut ledger: Value = serde_json::from_str(&host.read(LEDGER)).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    ledger["since"] =
        serde_json::json!({ "unix_ms": u64::try_from((now - by).as_millis()).unwrap() });
    host.write(LEDGER, ledger.to_string(), 0o600);
    host.sh(&format!("chown _bastion {LEDGER}"));
}

#[test]
fn a_week_is_reported_once_by_its_own_route_with_all_that_was_counted() {
    let (mut rig, reports) = start(WEEKLY);
    bastion(&rig, &["allow", "203.0.113.77", "--for", "2d"]);
    for tally in ["1/1", "0/1", "1/1"] {
        bastion(&rig, &["send", "--tally", "checks", tally]);
    }
    bastion(&rig, &["send", "--tally", "tunnel cloud", "3599s/3600s"]);
    bastion(&rig, &["send", "--down", "disk of nas"]);
    let drafts: Vec<Draft> = (0..3).map(|number| Draft::login(number, "alice")).collect();
    drafts.iter().for_each(|draft| rig.host.publish(draft));
    wait_counted(&rig, "logins: 3");
    // A tally is no alert; the grant of the allowance and the disk are.
    wait_counted(&rig, "others: 2");
    wait_counted(&rig, "tally: checks: 2 of 3");
    wait_counted(&rig, "allowances: 1");
    assert!(reports.posts().is_empty(), "the week has just begun");

    // What is counted survives a kill once it is written; then a week goes by.
    rig.sender.kill();
    age_ledger(&rig.host, Duration::from_secs(7 * 86_400 + 3600 * 3));
    rig.start_again();
    let told = wait_report(&reports);
    let report = &told["report"];
    assert_eq!((&told["kind"], &told["severity"]), (&"report".into(), &"info".into()), "{told}");
    for (key, want) in [("logins", 3), ("others", 2), ("lost", 0), ("allowances", 1)] {
        assert_eq!(report[key], want, "{key}: {told}");
    }
    let tallies = report["tallies"].to_string();
    assert!(tallies.contains(r#"{"all":3,"good":2,"name":"checks","unit":"times"}"#), "{tallies}");
    assert!(tallies.contains(r#""good":3599,"name":"tunnel cloud""#), "{tallies}");
    assert!(tallies.contains(r#""name":"disk of nas","unit":"seconds""#), "{tallies}");
    let text = told["text"].as_str().unwrap_or_default();
    for words in ["checks 3 (1 failed), ", ", 1 allowance, 3 logins, 2 others, 0 alerts lost"] {
        assert!(text.contains(words), "{text}");
    }

    // Once: a new week has begun, also for the next sender.
    rig.host.wait_syslog("bastion", "alert-sent", 6);
    wait_counted(&rig, "logins: 0");
    rig.sender.kill();
    rig.start_again();
    bastion(&rig, &["send", "after it"]);
    wait_counted(&rig, "others: 1");
    assert_eq!(reports.posts().len(), 1);
    let of_report = |sms: &&bastion_tests::provider::Record| sms.body().contains("since");
    assert_eq!(
        rig.provider.accepted().iter().filter(of_report).count(),
        0,
        "its route is the rule's"
    );
}

#[test]
fn a_report_says_what_was_lost_and_nobody_but_root_and_the_sender_can_make_one() {
    let (mut rig, reports) = start(WEEKLY);
    rig.provider.fault(&Fault::status(400));
    rig.host.publish(&Draft::login(1, "alice"));
    rig.host.wait_syslog("bastion", "alert-failed", 1);
    wait_counted(&rig, "lost: 1");
    rig.sender.kill();
    age_ledger(&rig.host, Duration::from_secs(8 * 86_400));
    rig.start_again();
    let told = wait_report(&reports);
    assert_eq!((&told["report"]["lost"], &told["severity"]), (&1.into(), &"warning".into()));

    // "0 alerts lost" from a member of the writers' group is not believed.
    let mut forged = Draft::note(7, "x");
    forged.json["what"] = serde_json::json!({
        "kind": "report", "since": { "unix_ms": 5 }, "logins": 0, "others": 0, "lost": 0,
        "late_s": 0, "allowances": 0, "tallies": [],
    });
    let name = forged.name();
    rig.host.plant(OsStr::new(&format!(".{name}")), forged.text().as_bytes());
    let drop = "/var/spool/bastion/drop";
    rig.host.sh(&format!("cd {drop} && chown alice:_bastion-drop .{name} && mv .{name} {name}"));
    let lines = rig.host.wait_syslog("bastion", "drop-file-refused", 1);
    assert!(lines[0].text.contains("a report has to come from root"), "{}", lines[0].text);
    assert_eq!(reports.posts().len(), 1);
}

#[test]
fn a_node_exporter_takes_the_metrics() {
    let program = "/usr/bin/prometheus-node-exporter";
    let (rig, _reports) = start(&format!("metrics-file = \"{METRICS}\""));
    assert!(rig.host.path(program).exists(), "{program}: apt install prometheus-node-exporter");
    // As etc/bastion.toml says: a link in the collector's directory.
    rig.host.sh(&format!("mkdir /tmp/collect && ln -s {METRICS} /tmp/collect/"));
    let _exporter = rig.host.spawn(&[
        program,
        "--collector.disable-defaults",
        "--collector.textfile",
        "--collector.textfile.directory=/tmp/collect",
        "--web.listen-address=127.0.0.1:9100",
    ]);
    let hostile = "a\"b\\c\n{x=\"1\"} 7\nbastion_alerts_lost_total 99";
    bastion(&rig, &["send", "--down", hostile]);
    rig.host.publish(&Draft::login(1, UNKNOWN));
    let scrape = || rig.host.run(&["curl", "-s", "http://127.0.0.1:9100/metrics"]).text();
    let metrics = wait_for("the metrics", DEADLINE, || {
        let text = scrape();
        let there = |line: &str| text.lines().any(|found| found == line);
        let all = there("bastion_alerts_total{kind=\"login\"} 1")
            && there("bastion_alerts_total{kind=\"condition\"} 1")
            && there("bastion_messages_sent_total{channel=\"sms\"} 2")
            && there("bastion_segments_sent_total{channel=\"sms\"} 2")
            && there("bastion_alerts_waiting 0");
        all.then_some(text)
    });
    let has = |line: &str| metrics.lines().any(|found| found == line);
    assert!(has("node_textfile_scrape_error 0"), "{metrics}");
    assert!(has("bastion_alerts_lost_total 0"), "{metrics}");
    assert!(has("bastion_channel_up{channel=\"sms\"} 1"), "{metrics}");
    let condition: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("bastion_condition_up{")).collect();
    assert!(condition.len() == 1 && condition[0].ends_with(" 0"), "{condition:?}");
}
