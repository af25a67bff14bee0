//! The jump host on demand from end to end: `tunnelwatch run` has `tunnelwatch-cloud` ask a cloud, whose machine comes up
//! at another address each time.

use std::time::{Duration, Instant};

use bastion_tests::cloud::Like;
use bastion_tests::host::{CONFIG, DEADLINE, require};
use bastion_tests::on_demand::OnDemand;
use bastion_tests::tunnel::PORTS;

/// How long it may take until the tunnel works, or all is off again.
const MOST: Duration = Duration::from_secs(60);

fn each_way(like: Like) {
    require("tunnelwatch-cloud");
    let times = "start-after = \"2s\"\nstop-after = \"3s\"";
    let mut all = OnDemand::at(like, Duration::from_secs(3), times);
    all.start();
    all.wait("off by plan", DEADLINE, OnDemand::rests);
    for round in 1..=2 {
        all.cut();
        all.wait("the tunnel", MOST, OnDemand::is_up);
        let address = format!("10.2.0.{}", 10 + round);
        assert_eq!(all.jump()["address"], address.as_str(), "{}", all.story());
        all.mend();
        all.wait("its end", MOST, OnDemand::rests);
        let machine = all.machine();
        assert_eq!((machine.state.as_str(), machine.starts), ("off", round), "{}", all.story());
        assert_eq!(machine.start_requests, round, "{}", all.story());
    }
}

#[test]
fn at_ec2() {
    each_way(Like::Ec2);
}

#[test]
fn at_digitalocean() {
    each_way(Like::Digitalocean);
}

#[test]
fn at_hetzner() {
    each_way(Like::Hetzner);
}

#[test]
fn one_that_runs_when_the_file_is_given_another_is_told() {
    require("tunnelwatch-cloud");
    let mut all = OnDemand::at(Like::Ec2, Duration::from_secs(1), "start-after = \"2s\"");
    all.start();
    all.wait("off by plan", DEADLINE, OnDemand::rests);
    all.cut();
    all.wait("the tunnel", MOST, OnDemand::is_up);
    let config = all.line.inside.read(CONFIG);
    let (_, rest) = config.split_once("instance = \"").expect("an id");
    let (id, _) = rest.split_once('"').expect("an end");
    let other = config.replace(id, "i-0fedcba9876543210");
    all.line.inside.write_config(&other);
    all.line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    let said = format!(
        "jump host of cloud: it runs at 10.2.0.11, and nobody stops it any more, as [tunnel.on-demand] has another machine \
         than ec2 {id} now"
    );
    all.wait("the alert", DEADLINE, |all| all.notes().iter().any(|note| note.starts_with(&said)));
}

#[test]
fn from_the_outage_to_a_tunnel_at_ec2_takes_the_boot_the_confirmation_and_ten_seconds_at_most() {
    require("tunnelwatch-cloud");
    let mut all = OnDemand::at(Like::Ec2, Duration::from_secs(20), "start-after = \"5s\"");
    all.start();
    all.wait("off by plan", DEADLINE, OnDemand::rests);
    all.cut();
    let begun = Instant::now();
    all.wait("the tunnel", Duration::from_secs(90), |all| {
        all.jump()["address"].is_string() && all.line.answers(PORTS[0])
    });
    let took = begun.elapsed();
    eprintln!(
        "main line down to tunnel usable at EC2: {took:.1?}, of which 20 s boot and 5 s start-after"
    );
    assert!(took <= Duration::from_secs(20 + 5 + 10), "{took:?} {}", all.story());
}
