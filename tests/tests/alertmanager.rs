//! Two real Alertmanagers in one cluster (Debian's prometheus-alertmanager) between the sender and
//! a webhook receiver: each alert is told once, whichever of them dies, and `up` ends `down`.

use std::collections::BTreeMap;
use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::like::Like;
use bastion_tests::process::Daemon;
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::LOGIN;
use bastion_tests::wait::{pause, wait_until};
use serde_json::{Value, json};

/// Longest time to a notification: the group's wait, the second member's, and a busy machine.
const TOLD: Duration = Duration::from_secs(60);

/// How long the second member waits for word from the first before it tells an alert itself.
const PEER_TIMEOUT: Duration = Duration::from_secs(2);

const MEMBERS: [(&str, u16); 2] = [("a", 9093), ("b", 9193)];

/// A sender, its two Alertmanagers, and who they tell.
struct Cluster {
    sender: Daemon,
    members: Vec<Daemon>,
    receiver: Provider,
    host: Host,
}

impl Cluster {
    fn start() -> Self {
        let host = Host::new();
        let program = "/usr/bin/prometheus-alertmanager";
        assert!(host.path(program).exists(), "{program}: apt install prometheus-alertmanager");
        let receiver = Provider::start_like(&host, Like::Anybody, "127.0.0.1:0", false);
        // A wait in which the other member can be killed, and no group of several alerts. Between
        // two looks at a group the second member has to be through with waiting for the first.
        let config = format!(
            "route: {{receiver: hook, group_by: ['...'], group_wait: 3s, group_interval: 10s, \
             repeat_interval: 1h}}\nreceivers: [{{name: hook, webhook_configs: [{{url: '{}'}}]}}]\n",
            receiver.url()
        );
        host.write("/etc/alertmanager.yml", config, 0o644);
        let members = MEMBERS.map(|(name, port)| {
            let peers = MEMBERS.map(|(_, port)| format!("--cluster.peer=127.0.0.1:{}", port + 1));
            let own = [
                "--config.file=/etc/alertmanager.yml".to_owned(),
                format!("--storage.path=/var/lib/alertmanager-{name}"),
                format!("--web.listen-address=127.0.0.1:{port}"),
                format!("--cluster.listen-address=127.0.0.1:{}", port + 1),
                format!("--cluster.advertise-address=127.0.0.1:{}", port + 1),
                format!("--cluster.peer-timeout={}s", PEER_TIMEOUT.as_secs()),
                "--cluster.gossip-interval=50ms".to_owned(),
                "--cluster.settle-timeout=30s".to_owned(),
            ];
            let words: Vec<&str> = own.iter().chain(&peers).map(String::as_str).collect();
            host.spawn(&[&[program], &words[..]].concat())
        });
        for ((_, port), member) in MEMBERS.iter().zip(&members) {
            let status = format!("http://127.0.0.1:{port}/api/v2/status");
            let settled = || {
                let said = host.run(&["curl", "-sS", "-m", "5", &status]).text();
                let said: Value = serde_json::from_str(&said).unwrap_or_default();
                said["cluster"]["status"] == "ready"
                    && said["cluster"]["peers"].as_array().is_some_and(|peers| peers.len() == 2)
            };
            assert!(wait_until(TOLD, settled), "{}", member.output());
        }
        let urls = MEMBERS.map(|(_, port)| format!("http://127.0.0.1:{port}"));
        host.write_config(&format!(
            "{LOGIN}\n[notify.channel.am]\ntype = \"alertmanager\"\nurls = {urls:?}\n\
             labels = {{ team = \"ops\" }}\n"
        ));
        let sender = host.spawn_sender();
        host.wait_syslog("bastion", "sender-started", 1);
        Self { sender, members: members.into(), receiver, host }
    }

    fn publish(&self, draft: Draft) -> Draft {
        self.host.publish(&draft);
        self.host.wait_room(&draft.id, "sent", DEADLINE);
        draft
    }

    /// How often the receiver was told of each alert with this label: by status.
    fn told(&self, label: &str, value: &str) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for request in self.receiver.requests() {
            for alert in request.json()["alerts"].as_array().into_iter().flatten() {
                if alert["labels"][label] == value {
                    let status = alert["status"].as_str().unwrap_or_default();
                    *told.entry(status.to_owned()).or_default() += 1;
                }
            }
        }
        told
    }

    fn wait_told(&self, label: &str, value: &str, status: &str) {
        let told = || self.told(label, value).contains_key(status);
        if !wait_until(TOLD, told) {
            let logs: Vec<String> = self.members.iter().map(Daemon::output).collect();
            panic!("{value} was not told: {:#?}\n{}", self.receiver.requests(), logs.join("\n"));
        }
    }
}

#[test]
fn each_alert_is_told_once_whichever_member_dies_and_whenever() {
    each_row(&[0, 1], |dies: &usize| {
        let mut cluster = Cluster::start();
        let both = cluster.publish(Draft::login(1, "alice"));
        cluster.wait_told("alert", &both.id, "firing");
        // The members tell each other that it has been told; one that is killed before it could
        // say so is a matter between the two.
        pause(2 * PEER_TIMEOUT);
        // Taken by both, told by none yet: the one that is left has to tell it.
        let between = cluster.publish(Draft::note(2, "taken by both"));
        assert_eq!(cluster.told("alert", &between.id), BTreeMap::new());
        cluster.members[*dies].kill();
        cluster.wait_told("alert", &between.id, "firing");
        let after = cluster.publish(Draft::login(3, "bob"));
        cluster.wait_told("alert", &after.id, "firing");
        // A second telling would come when the second member has waited for the first.
        pause(2 * PEER_TIMEOUT);
        for alert in [&both, &between, &after] {
            let told = cluster.told("alert", &alert.id);
            assert_eq!(told, BTreeMap::from([("firing".to_owned(), 1)]), "{}", alert.id);
        }
        assert!(cluster.sender.running());
    });
}

#[test]
fn an_up_ends_its_down_and_labels_are_there() {
    let cluster = Cluster::start();
    let condition = |number: u32, status: &str, severity: &str| {
        let mut draft = Draft::note(number, "");
        draft.json["severity"] = severity.into();
        draft.json["what"] = json!({
            "kind": "condition", "name": "tunnel office", "status": status, "text": "no reply",
        });
        draft
    };
    cluster.publish(condition(1, "down", "critical"));
    cluster.wait_told("name", "tunnel office", "firing");
    // Until then the second member holds the first state in its hand, and would tell it again.
    pause(2 * PEER_TIMEOUT);
    cluster.publish(condition(2, "up", "info"));
    cluster.wait_told("name", "tunnel office", "resolved");
    pause(2 * PEER_TIMEOUT);
    let told = cluster.told("name", "tunnel office");
    let once = |status: &str| (status.to_owned(), 1);
    assert_eq!(told, BTreeMap::from([once("firing"), once("resolved")]));
    let first = &cluster.receiver.requests()[0].json()["alerts"][0];
    let want = json!({
        "alertname": "BastionCondition", "host": "jump", "name": "tunnel office", "team": "ops",
    });
    assert_eq!(first["labels"], want);
    assert_eq!(first["annotations"]["severity"], "critical");
    assert!(first["annotations"]["summary"].as_str().unwrap().contains("tunnel office is DOWN"));
}
