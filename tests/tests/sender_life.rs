//! A sender that does not run cannot say so: what watches it, and what the next one says.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime};

use bastion_tests::alert::Draft;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::provider::Provider;
use bastion_tests::sender::{LOGIN, Rig, sms};
use bastion_tests::wait::wait_until;

const SECRET: &str = "0f5c2c5e-hunter2-healthchecks";

/// A machine whose heartbeat goes to `provider` as well.
fn with_heartbeat(provider: &Provider, host: &Host) {
    host.configure(&provider.url());
    let file = "/etc/bastion/heartbeat-url";
    host.write(file, format!("{}/ping/{SECRET}", provider.url()), 0o600);
    host.sh(&format!("chown _bastion {file}"));
    let heartbeat = format!("[notify.heartbeat]\nurl-file = \"{file}\"\nevery = \"1m\"\n");
    host.write_config(&format!("{LOGIN}{}{heartbeat}", sms(&provider.url())));
}

#[test]
fn a_heartbeat_goes_out_at_the_start_and_its_trouble_is_told_without_the_address() {
    let host = Host::new();
    let mut provider = Provider::start(&host);
    with_heartbeat(&provider, &host);
    let sender = host.spawn_sender();
    let pinged =
        || provider.requests().iter().any(|r| r.method == "GET" && r.path.contains(SECRET));
    assert!(wait_until(DEADLINE, pinged), "{:#?}", provider.requests());
    drop(sender);
    provider.fault(&Fault::new(Act::Refuse));
    let _sender = host.spawn_sender();
    host.wait_syslog("bastion", "heartbeat-trouble", 1);
    assert!(host.syslog_of("bastion").iter().all(|line| !line.text.contains("hunter2")));
}

#[test]
fn the_next_sender_tells_for_how_long_there_was_none() {
    let mut rig = Rig::start();
    rig.sender.kill();
    // A restart is nothing to tell.
    rig.start_again();
    rig.sender.kill();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let state = "/var/lib/bastion/alive.json";
    rig.host.sh(&format!("echo '{{\"unix_ms\":{}}}' >{state}", now - 7_200_000));
    rig.start_again();
    let accepted = rig.provider.wait_accepted(1, DEADLINE);
    assert!(accepted[0].body().contains("alerts were off from "), "{}", accepted[0].body());
    assert_eq!(rig.provider.accepted().len(), 1);
    // Its own mark is new again.
    rig.sender.kill();
    assert!(!rig.host.read(state).contains(&(now - 7_200_000).to_string()));
}

#[test]
fn systemd_hears_of_a_loop_that_turns_and_of_no_other() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    let socket = UnixDatagram::bind(host.path("/run/notify")).unwrap();
    host.sh("chmod 777 /run/notify");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let sender = host.spawn_sender_with(&["NOTIFY_SOCKET=/run/notify", "WATCHDOG_USEC=1000000"]);
    let hear = || {
        let mut buffer = [0; 64];
        let got = socket.recv(&mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..got]).into_owned()
    };
    assert_eq!(hear(), "READY=1");
    for _ in 0..4 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    sender.stop();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // One may have been said just before.
    assert!(hear().is_empty() || hear().is_empty());
}

#[test]
fn systemd_hears_of_a_loop_that_has_its_hands_full() {
    let host = Host::new();
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    for number in 0..3000 {
        host.publish(&Draft::note(number, "x"));
    }
    let socket = UnixDatagram::bind(host.path("/run/notify")).unwrap();
    host.sh("chmod 777 /run/notify");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let _sender = host.spawn_sender_with(&["NOTIFY_SOCKET=/run/notify", "WATCHDOG_USEC=1000000"]);
    let mut buffer = [0; 64];
    for want in ["READY=1", "WATCHDOG=1"] {
        let got = socket.recv(&mut buffer).unwrap_or(0);
        assert_eq!(String::from_utf8_lossy(&buffer[..got]), want);
    }
    let left = std::fs::read_dir(host.path("/var/spool/bastion/drop")).unwrap().count();
    assert!(left > 0, "nothing was said until all was taken in");
}
