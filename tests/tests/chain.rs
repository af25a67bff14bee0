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

/// How long a login is held at most.
const HELD: Duration = Duration::from_secs(3);

/// What a busy machine takes besides.
const SLACK: Duration = Duration::from_secs(3);

/// A login that is there for long enough that somebody can be asked about it, on a busy machine as well.
const LASTS: &str = "sleep 1";

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

    /// Everybody does so twice at a time, `rounds` times; who is let in on the jump host alone does so too, and is no login.
    fn all_log_in(&self, rounds: usize, command: fn(usize) -> &'static str) {
        let log_in = |name, from, half: usize| {
            for round in 0..rounds {
                let output =
                    self.log_in(name, from, &format!("/root/keys/{name}"), command(round + half));
                assert_eq!(output.code, Some(0), "{name}: {output:?}");
                if round % 3 == 0 {
                    let no = self.log_in(name, from, "/root/keys/stranger", "true");
                    assert_eq!(no.code, Some(255), "{no:?}");
                }
            }
        };
        thread::scope(|scope| {
            for (name, _, from) in PEOPLE {
                for half in 0..2 {
                    scope.spawn(move || log_in(name, from, half));
                }
            }
        });
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
    // Two sessions of one person at a time, some of them longer.
    chain.all_log_in(10, |round| if round % 4 == 0 { "sleep 3" } else { LASTS });
    let _ = chain.provider.wait_accepted(100, DEADLINE);
    let told = chain.told();
    let is_right = |text: &&String| want.iter().any(|(_, words)| text.contains(words.as_str()));
    let others: Vec<_> = told.iter().filter(|text| !is_right(text)).collect();
    println!("{} right of {} alerts", told.len() - others.len(), told.len());
    assert!(told.len() == 100 && others.is_empty(), "{} alerts: {others:#?}", told.len());
    for (name, words) in &want {
        let his = told.iter().filter(|text| text.contains(words.as_str()));
        assert_eq!(his.count(), 20, "{name}");
    }
    // The jump host is asked about logins, and not about each look through the tunnel.
    let asked = chain.line.jump.syslog_of("tunnelwatch").len();
    println!("asked the jump host about {asked} connections for 140 that came");
    assert!((100..=145).contains(&asked), "{asked}");
    // Of those that are over at once some are over too soon, and none is somebody else's.
    chain.all_log_in(3, |_| "true");
    let _ = chain.provider.wait_accepted(130, DEADLINE);
    let soon = chain.told().split_off(100);
    let others: Vec<_> = soon.iter().filter(|text| !is_right(text)).collect();
    println!("{} right of {} that are over at once", soon.len() - others.len(), soon.len());
    assert!(others.iter().all(|text| text.contains("via tunnel (unmatched: ")), "{others:#?}");
    let rss = chain.line.inside.sh("grep VmRSS: /proc/$(pgrep -o -x tunnelwatch)/status");
    println!("tunnelwatch run: {}", rss.trim());
}

/// The word that a text has for who it was.
fn unmatched(why: &str) -> String {
    format!("login alice from 127.0.0.1 via tunnel (unmatched: {why}), key SHA256:")
}

#[test]
fn whatever_the_jump_host_says_or_does_not_the_alert_comes_in_time() {
    // What the jump host runs is changed under way.
    let chain = Chain::new("/bin/sh /home/tunnel/answer");
    let late = "the jump host did not answer in time";
    let liar = r#"{"matched":{"user":"root, key boss","source":"192.0.2.66","auth":[{"method":"pa)ssword #x"}]}}"#;
    let table: [(&str, String); 7] = [
        // As a tunnel's key has it that was enrolled before.
        ("exit 1", unmatched("the jump host does not answer; see tunnelwatch check")),
        ("sleep 1000", unmatched(late)),
        ("printf '{\"matched\":'; sleep 1000", unmatched(late)),
        (
            "head -c 10000000 /dev/zero | tr '\\0' x",
            unmatched("the jump host's answer is too long"),
        ),
        (
            "echo This account is currently not available.",
            unmatched("the jump host's answer cannot be understood"),
        ),
        // It can lie, as somebody who has taken it could. Nothing of it passes for ours.
        (
            "cat /home/tunnel/liar",
            "login alice via jump: \"root, key boss\", by \"pa)ssword #x\", from 192.0.2.66; here key SHA256:".into(),
        ),
        (
            "exec /artefacts/tunnelwatch answer 2222 2223",
            "login alice via jump: alice, key SHA256:".into(),
        ),
    ];
    chain.line.jump.write("/home/tunnel/liar", format!("{liar}\n"), 0o644);
    for (at, (script, want)) in table.into_iter().enumerate() {
        chain.line.jump.write("/home/tunnel/answer", format!("{script}\n"), 0o644);
        let (name, _, from) = PEOPLE[0];
        let _ = chain.log_in(name, from, "/root/keys/alice", LASTS).ok();
        let _ = chain.provider.wait_accepted(at + 1, DEADLINE);
        let told = chain.told();
        assert!(told.len() == at + 1 && told[at].contains(&want), "{script}: {told:#?}");
        // What hangs there takes one of the tunnel's two sessions until it ends.
        chain.line.jump.sh("pkill -u tunnel sleep || true");
        let took = held(&chain, at);
        assert!(took < HELD + SLACK, "{script}: {took:?}");
    }
    // And the tunnel is as it was.
    assert_eq!(chain.line.events("ssh-started"), 1, "{}", chain.line.log());
    assert_eq!(chain.line.status()["up"], true);
}

/// How long the alert number `at` was with the sender before it was tried: from its being taken in to its being sent.
fn held(chain: &Chain, at: usize) -> Duration {
    let when = |word: &str| {
        let lines = chain.line.inside.wait_syslog("bastion", word, at + 1);
        lines[at].at_us
    };
    Duration::from_micros(when("alert-sent").saturating_sub(when("alert-queued")))
}

#[test]
fn a_tunnelwatch_that_hangs_or_dies_costs_the_name_and_nothing_else() {
    let mut chain = Chain::new(ANSWER);
    let (name, _, from) = PEOPLE[0];
    let pid = chain.line.inside.sh("pgrep -x tunnelwatch | head -n 1");
    let signal = |chain: &Chain, signal: &str| {
        chain.line.inside.sh(&format!("kill -{signal} {pid}"));
    };
    signal(&chain, "STOP");
    // Other alerts do not wait for it.
    let _ = chain.log_in(name, from, "/root/keys/alice", "true").ok();
    chain.line.inside.wait_syslog("bastion", "alert-queued", 1);
    let send = ["/artefacts/bastion", "--config", "/etc/bastion/bastion.toml", "send", "a note"];
    let _ = chain.line.inside.run(&send).ok();
    let _ = chain.provider.wait_accepted(2, DEADLINE);
    let told = chain.told();
    assert!(told[0].contains("a note"), "{told:#?}");
    assert!(told[1].contains(&unmatched("tunnelwatch did not answer in time")), "{told:#?}");
    // Killed while it is asked: nobody waits any longer.
    let before = chain.line.inside.events("alert-queued");
    let _ = chain.log_in(name, from, "/root/keys/alice", "true").ok();
    chain.line.inside.wait_syslog("bastion", "alert-queued", before + 1);
    let begun = Instant::now();
    signal(&chain, "KILL");
    let _ = chain.provider.wait_accepted(3, DEADLINE);
    assert!(begun.elapsed() < HELD + SLACK, "{:?}", begun.elapsed());
    let told = chain.told();
    assert!(told[2].contains(&unmatched("tunnelwatch did not answer")), "{told:#?}");
    // And with the next it is as before.
    chain.line.run = None;
    // Of the one that was killed.
    chain.line.inside.sh("rm -f /run/tunnelwatch/status.json");
    chain.line.start();
    chain.line.wait_up(2222);
    let _ = chain.log_in(name, from, "/root/keys/alice", LASTS).ok();
    let _ = chain.provider.wait_accepted(4, DEADLINE);
    assert!(chain.told()[3].contains("alice via jump: alice, key "), "{:#?}", chain.told());
}

/// Connects to this host's sshd from a port that somebody had a moment ago, and hands on what is said.
const FROM_PORT: &str = r#"
import os, select, socket, sys, time
ports = "/proc/sys/net/ipv4/ip_local_port_range"
before = open(ports).read()
until = time.time() + 20
while True:
    s = socket.socket()
    try:
        open(ports, "w").write(sys.argv[1] + " " + sys.argv[1])
        s.connect(("127.0.0.1", 22))
        break
    except OSError:
        if time.time() > until:
            raise
    finally:
        open(ports, "w").write(before)
    time.sleep(0.05)
while True:
    for end in select.select([0, s], [], [])[0]:
        said = os.read(0, 65536) if end == 0 else s.recv(65536)
        if not said:
            sys.exit()
        s.sendall(said) if end == 0 else os.write(1, said)
"#;

#[test]
fn who_logs_in_by_no_tunnel_from_a_port_that_was_somebody_s_does_not_have_his_name() {
    let chain = Chain::new(ANSWER);
    let (name, _, from) = PEOPLE[0];
    let _ = chain.log_in(name, from, "/root/keys/alice", "sleep 2").ok();
    let _ = chain.provider.wait_accepted(1, DEADLINE);
    assert!(chain.told()[0].contains("alice via jump: alice, key "), "{:#?}", chain.told());
    let inside = &chain.line.inside;
    let port = r#"cat /var/spool/bastion/sent/* | sed -n 's/.*"port":\([0-9]*\).*/\1/p'"#;
    let port = inside.sh(port).trim().to_owned();
    inside.write("/root/from.py", FROM_PORT, 0o644);
    inside.write("/root/bob", chain.line.router.read("/root/keys/bob"), 0o600);
    let by = format!("/usr/bin/python3 /root/from.py {port}");
    let script = format!("exec {SSH} -i /root/bob -o 'ProxyCommand={by}' bob@127.0.0.1 'sleep 2'");
    let _ = inside.run(&["bash", "-c", &script]).ok();
    let _ = chain.provider.wait_accepted(2, DEADLINE);
    let told = chain.told();
    let want = "login bob from 127.0.0.1 via tunnel (unmatched: it came through no tunnel";
    assert!(told[1].contains(want), "{told:#?}");
}

#[test]
fn a_sender_that_is_killed_while_it_holds_a_login_tells_it_once() {
    let mut chain = Chain::new(ANSWER);
    let (name, _, from) = PEOPLE[0];
    let pid = chain.line.inside.sh("pgrep -x tunnelwatch | head -n 1");
    chain.line.inside.sh(&format!("kill -STOP {pid}"));
    let _ = chain.log_in(name, from, "/root/keys/alice", "true").ok();
    chain.line.inside.wait_syslog("bastion", "alert-queued", 1);
    chain.sender.signal(libc::SIGKILL);
    assert_eq!(chain.sender.wait(DEADLINE), None);
    assert!(chain.told().is_empty(), "{:#?}", chain.told());
    chain.line.inside.sh(&format!("kill -CONT {pid}"));
    chain.sender = chain.line.inside.spawn_sender();
    let _ = chain.provider.wait_accepted(1, DEADLINE);
    chain.line.inside.wait_syslog("bastion", "alert-sent", 1);
    let is_told = || chain.line.inside.spool_files("sent");
    let looked = || is_told().iter().any(|(_, text)| text.contains("looked"));
    assert!(wait_until(DEADLINE, looked), "{:#?}", is_told());
    assert!(chain.only().contains("login alice "), "{}", chain.only());
    // Nor does the next start tell it again.
    chain.sender.signal(libc::SIGKILL);
    let _ = chain.sender.wait(DEADLINE);
    chain.sender = chain.line.inside.spawn_sender();
    chain.line.inside.wait_syslog("bastion", "sender-started", 3);
    assert!(wait_until(DEADLINE, || chain.line.inside.spool_files("queue").is_empty()));
    let _ = chain.only();
}
