//! A login from a network or with a key that was never seen before says `NEW`, once, whatever
//! happens to the sender between the login and the message.

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{Host, UNKNOWN};
use bastion_tests::provider::Provider;
use bastion_tests::sender::{LOGIN, ONE_BY_ONE, Rig, sms};
use serde_json::json;

const ARRIVAL: Duration = Duration::from_secs(60);

/// A login of alice.
fn login(number: u32, source: &str, key: Option<&str>) -> Draft {
    let mut draft = Draft::login(number, "alice");
    draft.json["what"]["source"] = source.into();
    if let Some(key) = key {
        let key = json!({ "algorithm": "ssh-ed25519", "fingerprint": key });
        draft.json["what"]["auth"] = json!([{ "method": "publickey", "key": key }]);
    }
    draft
}

/// Publishes it and answers the message.
fn told(rig: &Rig, draft: &Draft) -> String {
    rig.host.publish(draft);
    rig.provider.wait_alert(&draft.id, ARRIVAL).body().to_owned()
}

#[test]
fn what_was_never_seen_is_new_once_and_over_restarts() {
    let mut rig = Rig::start();
    let (a, b) = (format!("SHA256:{}", "a".repeat(43)), format!("SHA256:{}", "b".repeat(43)));
    let (a, b) = (Some(a.as_str()), Some(b.as_str()));
    let table = [
        ("203.0.113.20", None, true),
        ("203.0.113.30", None, false),
        ("203.0.113.20", a, true),
        ("203.0.113.20", a, false),
        // The tunnel is no place; a key that comes through it is one all the same.
        ("127.0.0.1", None, false),
        ("127.0.0.1", a, false),
        ("127.0.0.1", b, true),
        ("192.0.2.99", b, true),
    ];
    for (number, (source, key, new)) in table.into_iter().enumerate() {
        let draft = login(u32::try_from(number).unwrap(), source, key);
        let body = told(&rig, &draft);
        let head = if new { "jump: NEW login alice" } else { "jump: login alice" };
        assert!(body.starts_with(&format!("{head} from {source}")), "{number}: {body}");
        rig.host.wait_room(&draft.id, "sent", ARRIVAL);
        if number % 3 == 0 {
            rig.sender.kill();
            rig.start_again();
        }
    }
    // What a drop file says of itself is not believed.
    let mut liar = login(100, "203.0.113.20", a);
    for claim in [json!(true), json!({ "network": true, "key": true })] {
        liar.json["new"] = claim.clone();
        liar.json["what"]["new"] = claim;
    }
    assert!(told(&rig, &liar).starts_with("jump: login alice"));
    // Or the next sender takes it up again, and that is who makes the place familiar.
    rig.host.wait_room(&liar.id, "sent", ARRIVAL);
    // Without the file, too much is new and nothing is lost.
    rig.sender.kill();
    rig.host.write("/var/lib/bastion/seen.json", "{", 0o644);
    rig.start_again();
    assert!(told(&rig, &login(101, "203.0.113.20", a)).starts_with("jump: NEW login alice"));
}

#[test]
fn the_mark_survives_a_kill_between_intake_and_sending() {
    let mut rig = Rig::start();
    rig.provider.fault(&Fault::new(Act::Refuse));
    let drafts = [login(1, UNKNOWN, None), login(2, UNKNOWN, None)];
    for draft in &drafts {
        rig.host.publish(draft);
        rig.host.wait_room(&draft.id, "queue", ARRIVAL);
    }
    rig.host.wait_syslog("bastion", "alert-queued", 2);
    rig.sender.kill();
    let shown = rig.host.run(&["/artefacts/bastion", "queue", "show", &drafts[0].id]).ok().text();
    assert!(shown.contains("\nnew: network\n"), "{shown}");
    rig.start_again();
    rig.sender.kill();
    rig.provider.heal();
    rig.start_again();
    let body = |draft: &Draft| rig.provider.wait_alert(&draft.id, ARRIVAL).body().to_owned();
    assert!(body(&drafts[0]).starts_with("jump: NEW login alice"), "{}", body(&drafts[0]));
    assert!(body(&drafts[1]).starts_with("jump: login alice"), "{}", body(&drafts[1]));
}

#[test]
fn in_a_digest_what_is_new_is_named_first() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    let mut rig = Rig::on(host, provider);
    assert!(told(&rig, &login(1, "203.0.113.20", None)).contains("NEW"));
    rig.host.write_config(&format!("{LOGIN}{}", sms(&rig.provider.url()).replace(ONE_BY_ONE, "")));
    rig.sender.kill();
    rig.provider.fault(&Fault::new(Act::Refuse));
    rig.start_again();
    let mut drafts: Vec<Draft> = (10..30).map(|n| login(n, "203.0.113.20", None)).collect();
    drafts.push(login(30, "198.51.100.66", None));
    let mut critical = login(31, "203.0.113.20", None);
    critical.json["severity"] = "critical".into();
    critical.json["what"]["user"] = "root".into();
    drafts.push(critical);
    for draft in &drafts {
        rig.host.publish(draft);
        rig.host.wait_room(&draft.id, "queue", ARRIVAL);
    }
    rig.provider.heal();
    for draft in &drafts {
        rig.host.wait_room(&draft.id, "sent", ARRIVAL);
    }
    let bodies: Vec<String> =
        rig.provider.accepted().iter().map(|sms| sms.body().to_owned()).collect();
    let order = "CRITICAL root from 203.0.113.20, NEW alice from 198.51.100.66, alice from";
    assert!(bodies.iter().any(|body| body.contains(order)), "{bodies:#?}");
}
