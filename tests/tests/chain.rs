//! The chain: a login on the internal host through the tunnel names the person by the jump host's own record of him, or says
//! why not. With a real sshd on both hosts, a real tunnel, and without logind.

use std::thread;
use std::time::{Duration, Instant};

use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::process::{Daemon, Output};
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::sender::sms;
use bastion_tests::tunnel::{Line, TUNNEL};
use bastion_tests::wait::wait_until;

/// Five people: name, number, and the address they come from, which are the router's.
const PEOPLE: [(&str, u32, &str); 5] = [
    ("alice", 2001, "10.2.0.11"),
    ("bob", 2002, "10.2.0.12"),
    ("carol", 2011, "10.2.0.13"),
    ("dave", 2012, "10.2.0.14"),
    ("erin", 2013, "10.2.0.15"),
];

/// What stands beside the tunnel's key, as `enroll` prints it.
const ANSWER: &str = "/artefacts/tunnelwatch answer 2222 2223";

/// How long a login is held at most, with what a busy machine takes besides.
const HELD: Duration = Duration::from_secs(3);

/// How ssh is called: nobody is asked, and whoever answers is believed.
const SSH: &str = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no \
                   -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes";

/// The three machines with the five people on two of them, a tunnel that is up, and a sender on the internal host.
struct Chain {
    line: Line,
    provider: Provider,
    sender: Daemon,
}

impl Chain {
    /// `answer` stands beside the tunnel's key.
    fn new(answer: &str) -> Self {
        let mut line = Line::new();
        line.authorize(answer);
        line.jump.sh("sed -i '/^tunnel:/s,[^:]*$,/bin/sh,' /etc/passwd");
        // As `enroll` has it written.
        line.jump.sh("printf 'Match User tunnel\\n MaxSessions 2\\n' >>/etc/ssh/sshd_config");
        line.jump.restart_sshd();
        for (name, uid, address) in PEOPLE {
            line.router.sh(&format!(
                "ip address add {address}/24 dev b0
                 ssh-keygen -q -t ed25519 -N '' -f /root/keys/{name}"
            ));
            let key = line.router.read(&format!("/root/keys/{name}.pub"));
            for host in [&line.inside, &line.jump] {
                add_person(host, name, uid, &key);
            }
        }
        let provider = Provider::start(&line.inside);
        line.inside.write_token(AUTH_TOKEN);
        line.inside.write_config(&format!("{TUNNEL}{}", sms(&provider.url())));
        line.start();
        line.wait_up(2222);
        let sender = line.inside.spawn_sender();
        line.inside.wait_syslog("bastion", "sender-started", 1);
        Self { line, provider, sender }
    }

    /// Somebody logs in on the internal host through the jump host: `ssh -J`, with the address that he comes from.
    fn log_in(&self, name: &str, from: &str, key: &str, command: &str) -> Output {
        let outer = format!("{SSH} -i /root/keys/{name} -b {from} -W %h:%p {name}@10.2.0.2");
        let script = format!(
            "exec {SSH} -i {key} -o 'ProxyCommand={outer}' -p 2222 {name}@127.0.0.1 '{command}'"
        );
        self.line.router.run(&["bash", "-c", &script])
    }

    fn alice(&self) -> Duration {
        let begun = Instant::now();
        let (name, _, from) = PEOPLE[0];
        let _ = self.log_in(name, from, "/root/keys/alice", "true").ok();
        let _ = self.provider.wait_accepted(1, DEADLINE);
        begun.elapsed()
    }

    fn told(&self) -> Vec<String> {
        self.provider.accepted().iter().map(|sms| sms.body().to_owned()).collect()
    }

    /// The one alert that there is, and that there is no other a moment later.
    fn only(&self) -> String {
        let told = self.told();
        let [one] = told.as_slice() else { panic!("{told:#?}") };
        one.clone()
    }
}

fn add_person(host: &Host, name: &str, uid: u32, key: &str) {
    host.sh(&format!(
        "if ! grep -q '^{name}:' /etc/passwd; then
            echo '{name}:x:{uid}:{uid}::/home/{name}:/bin/bash' >>/etc/passwd
            echo '{name}:x:{uid}:' >>/etc/group
            echo '{name}:*:19700:0:99999:7:::' >>/etc/shadow
            install -d -o {name} -g {name} /home/{name} /home/{name}/.ssh
         fi
         echo '{key}' >/home/{name}/.ssh/authorized_keys"
    ));
}

#[test]
fn a_hundred_of_a_hundred_logins_of_five_people_name_the_right_one() {
    let chain = Chain::new(ANSWER);
    let fingerprint = |name: &str| {
        let all = chain.line.router.fingerprint(&format!("/root/keys/{name}.pub"));
        all.chars().take("SHA256:abcdefgh".len()).collect::<String>()
    };
    let want = PEOPLE.map(|(name, _, from)| {
        let key = fingerprint(name);
        (name, format!("login {name} via jump: {name}, key {key}.., from {from}; same key here, "))
    });
    thread::scope(|scope| {
        for (name, _, from) in PEOPLE {
            for half in 0..2 {
                let chain = &chain;
                scope.spawn(move || {
                    for round in 0..10 {
                        // Two sessions of one person at a time, most of them over at once.
                        let command = if (round + half) % 4 == 0 { "sleep 1" } else { "true" };
                        let key = format!("/root/keys/{name}");
                        let output = chain.log_in(name, from, &key, command);
                        assert_eq!(output.code, Some(0), "{name}: {output:?}");
                        if round % 3 == 0 {
                            // Who is let in on the jump host, and not here, is no login.
                            let no = chain.log_in(name, from, "/root/keys/stranger", "true");
                            assert_eq!(no.code, Some(255), "{no:?}");
                        }
                    }
                });
            }
        }
    });
    let _ = chain.provider.wait_accepted(100, DEADLINE);
    let told = chain.told();
    let count = |wanted: &dyn Fn(&String) -> bool| told.iter().filter(|text| wanted(text)).count();
    let right = count(&|text| want.iter().any(|(_, words)| text.contains(words.as_str())));
    let unmatched = count(&|text| text.contains("unmatched"));
    let wrong = told.len() - right - unmatched;
    println!("{right} right, {unmatched} unmatched, {wrong} wrong, of {} alerts", told.len());
    let others: Vec<&String> =
        told.iter().filter(|text| !want.iter().any(|(_, w)| text.contains(w.as_str()))).collect();
    assert_eq!((right, unmatched, wrong), (100, 0, 0), "{others:#?}");
    for (name, words) in &want {
        assert_eq!(count(&|text| text.contains(words.as_str())), 20, "{name}");
    }
    // The jump host is asked about logins, and not about each look through the tunnel.
    let asked = chain.line.jump.syslog_of("tunnelwatch").len();
    println!("asked the jump host about {asked} connections for 140 that came");
    assert!((100..=145).contains(&asked), "{asked}");
}
