//! The jump host's own alert says that somebody went on to the host behind it; with a real sshd and without logind.

use std::time::{Duration, Instant};

use bastion_tests::host::{CONFIG, DEADLINE, Host, KNOWN, UNKNOWN};
use bastion_tests::process::Daemon;
use bastion_tests::provider::Provider;
use bastion_tests::sender::{LOGIN, Rig, sms};
use bastion_tests::tunnel::AS_TUNNELWATCH;
use bastion_tests::wait::wait_until;

/// The port of the tunnel.
const PORT: &str = "127.0.0.1:2222";

/// A jump host with the sender, `tunnelwatch watch`, and a port that leads somewhere.
struct Jump {
    rig: Rig,
    watch: Daemon,
    _tunnel: Daemon,
    _look: Daemon,
}

impl Jump {
    fn new() -> Self {
        let mut host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        host.write_config(&format!(
            "{}{}\n[[tunnel-watch]]\nname = \"home\"\nports = [2222]\n",
            LOGIN.replace("known-good", "#known-good"),
            sms(&provider.url())
        ));
        host.start_sshd();
        host.sh("install -d -o _tunnelwatch /var/lib/tunnelwatch /run/tunnelwatch-watch");
        // What the tunnel leads to is this host's own sshd; who holds it is nobody of the test's people.
        let words = [
            "ssh",
            "-F",
            "/root/ssh_config",
            "-N",
            "-R",
            "127.0.0.1:2222:127.0.0.1:22",
            "-L",
            "127.0.0.1:7777:127.0.0.1:2222",
            "tunnel@jump",
        ];
        let tunnel = host.spawn(&words);
        assert!(wait_until(DEADLINE, || host.listens(2222)), "no tunnel: {}", tunnel.output());
        // It looks through itself, as it does when it is up.
        let look = "exec 3<>/dev/tcp/127.0.0.1/7777; read -r banner <&3; echo $banner; sleep 1000";
        let look = host.spawn(&["bash", "-c", look]);
        assert!(wait_until(DEADLINE, || look.output().starts_with("SSH-")), "{}", look.output());
        let watch = host.spawn(
            &[AS_TUNNELWATCH, &["/artefacts/tunnelwatch", "--config", CONFIG, "watch"]].concat(),
        );
        host.wait_syslog("tunnelwatch", "watching", 1);
        let rig = Rig::on(host, provider);
        // The tunnel's own login has been told by now, and has gone nowhere.
        let jump = Self { rig, watch, _tunnel: tunnel, _look: look };
        let told = jump.told("tunnel", 1);
        assert!(!told[0].contains("went on"), "{told:?}");
        jump
    }

    /// What was told of logins of a user, as soon as there are so many.
    fn told(&self, user: &str, count: usize) -> Vec<String> {
        let of = || -> Vec<String> {
            let all = self.rig.provider.accepted();
            let bodies = all.iter().map(|record| record.body().to_owned());
            bodies.filter(|body| body.contains(&format!("login {user} from "))).collect()
        };
        let mut told = Vec::new();
        let enough = wait_until(DEADLINE, || {
            told = of();
            told.len() >= count
        });
        assert!(enough, "{told:?}");
        told
    }

    fn goes_on(&self, user: &str, from: &str) -> Daemon {
        let target = format!("{user}@jump");
        let words = ["ssh", "-F", "/root/ssh_config", "-b", from, "-W", PORT, &target];
        let client = self.rig.host.spawn(&words);
        let through = wait_until(DEADLINE, || client.output().starts_with("SSH-2.0"));
        assert!(through, "{user}: {}", client.output());
        client
    }

    fn stays(&self, user: &str, from: &str) -> Daemon {
        let target = format!("{user}@jump");
        let words = ["ssh", "-F", "/root/ssh_config", "-b", from, &target, "echo in; sleep 1000"];
        let client = self.rig.host.spawn(&words);
        assert!(wait_until(DEADLINE, || client.output().starts_with("in")), "{}", client.output());
        client
    }
}

#[test]
fn who_goes_on_is_told_so_and_who_stays_is_not_for_all_that_others_do() {
    let mut jump = Jump::new();
    let begun = Instant::now();
    let alice = jump.goes_on("alice", UNKNOWN);
    let told = jump.told("alice", 1);
    assert!(told[0].contains(", went on to home, "), "{told:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Her connection is open still, and says nothing about others.
    let bob = jump.stays("bob", KNOWN);
    let told = jump.told("bob", 1);
    assert!(!told[0].contains("went on"), "{told:?}");
    // A second session of the same person: which of the two has gone on nobody can say.
    let again = jump.stays("alice", UNKNOWN);
    let told = jump.told("alice", 2);
    assert!(!told[1].contains("went on"), "{told:?}");
    drop((alice, bob, again));
    // Without tunnelwatch nothing is waited for, and it is told as ever.
    jump.watch.kill();
    let bob = jump.goes_on("bob", UNKNOWN);
    let told = jump.told("bob", 2);
    assert!(!told[1].contains("went on"), "{told:?}");
    drop(bob);
}

#[test]
fn nobody_else_may_ask_where_people_go() {
    let jump = Jump::new();
    let socket = "/run/tunnelwatch-watch/went";
    let ask = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
               s.sendall(b'went 1 1\\n'); print(s.recv(100))";
    let of = |user: &str| {
        let words = [
            "setpriv",
            &format!("--reuid={user}"),
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            ask,
            socket,
        ];
        jump.rig.host.run(&words)
    };
    assert_eq!(of("_bastion").ok().text(), "b'{\"went-on\":[]}\\n'\n");
    for stranger in ["alice", "nobody"] {
        let said = of(stranger);
        assert!(!said.text().contains("went-on"), "{stranger}: {said:?}");
    }
}
