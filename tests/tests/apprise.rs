//! Our request to ntfy beside that of apprise, which many use for it (Debian's apprise).

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::host::Host;
use bastion_tests::like::Like;
use bastion_tests::provider::{Provider, Record};

const ARRIVAL: Duration = Duration::from_secs(60);

#[test]
fn ntfy_gets_from_us_what_it_gets_from_apprise() {
    let host = Host::new();
    assert!(host.path("/usr/bin/apprise").exists(), "there is no apprise: apt install apprise");
    let provider = Provider::start_like(&host, Like::Ntfy, "127.0.0.1:0", false);
    // Debian 12's knows no tokens; the stand-in refuses it, after it has written it down.
    let url =
        format!("ntfy://{}/logins?mode=private&priority=high&tags=warning", provider.address());
    let _ = host.run(&["apprise", "-t", "a title", "-b", "a text", &url]);
    provider.wait_requests(1, ARRIVAL);
    Like::Ntfy.configure(&host, &provider.url(), "");
    let _sender = host.spawn_sender();
    host.publish(&Draft::login(1, "alice"));
    let requests = provider.wait_requests(2, ARRIVAL);
    let [theirs, ours] = &requests[..] else { panic!("{requests:#?}") };
    let shape = |request: &Record| (request.method.clone(), request.path.clone());
    assert_eq!(shape(theirs), shape(ours));
    let kind = |request: &Record| request.headers["content-type"].clone();
    assert_eq!(kind(theirs), kind(ours));
    // Two things that it says in headers, ntfy takes in JSON as well.
    assert_eq!(theirs.headers["x-priority"], "high");
    assert_eq!(ours.json()["priority"], 4, "which is ntfy's high");
    assert_eq!(ours.json()["tags"], serde_json::json!([theirs.headers["x-tags"]]));
    let (theirs, ours) = (theirs.json(), ours.json());
    assert_eq!(theirs["topic"], ours["topic"]);
    for field in ["topic", "title", "message"] {
        assert!(theirs[field].is_string() && ours[field].is_string(), "{theirs} {ours}");
    }
}
