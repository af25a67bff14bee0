//! `tunnelwatch check`, and `bastion check` that runs it: nothing where nothing is wrong, and each fault
//! with what to do, on the machines that have it.

use std::time::Duration;

use bastion_tests::host::{CONFIG, DEADLINE, Host, MODULE, require};
use bastion_tests::process::{Daemon, Output};
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::sms;
use bastion_tests::tunnel::{Line, PORTS, TUNNEL};
use bastion_tests::wait::wait_until;
use serde_json::Value;

/// Longest time for a check: it waits for 32 s for what does not come.
const CHECK: Duration = Duration::from_secs(90);

/// The jump host asks soon, so that a test need not wait for 15 s.
const ASKS: &str = "printf 'Match User tunnel\\n ClientAliveInterval 2\\n ClientAliveCountMax 3\\n' \
                    >>/etc/ssh/sshd_config";

/// `[[tunnel-watch]]` for the jump host.
const WATCH: &str = "[[tunnel-watch]]\nname = \"home\"\nports = [2222, 2223]\n";

/// Three machines whose jump host is as it should be, with the tunnel down.
fn in_order() -> Line {
    let mut line = Line::new();
    line.authorize("/artefacts/tunnelwatch answer 2222 2223");
    line.jump.sh("sed -i '/^tunnel:/s,[^:]*$,/bin/sh,' /etc/passwd");
    line.jump.sh(ASKS);
    line.jump.restart_sshd();
    line
}

/// The same with the tunnel up.
fn at_work() -> Line {
    let mut line = in_order();
    line.start();
    line.wait_up(PORTS[0]);
    line
}

/// `tunnelwatch check` as root.
fn check(host: &Host) -> Output {
    host.run_with(CHECK, &["/artefacts/tunnelwatch", "--config", CONFIG, "check"], b"")
}

/// What is found, each line for itself.
fn findings(output: &Output) -> Vec<String> {
    let said = output.errors();
    assert!(said.lines().all(|line| line.starts_with("tunnelwatch: ")), "{output:?}");
    assert_eq!((output.code, output.text()), (Some(78), String::new()), "{output:?}");
    said.lines().map(|line| line["tunnelwatch: ".len()..].to_owned()).collect()
}

/// That one finding is there, with its remedy, and `all` in all.
fn found(output: &Output, told: &str, remedy: &str, all: usize) {
    let findings = findings(output);
    let one = findings.iter().find(|finding| finding.contains(told));
    assert!(one.is_some_and(|one| one.contains(remedy)), "{told}, {remedy}: {findings:#?}");
    assert_eq!(findings.len(), all, "{findings:#?}");
}

#[test]
fn check_finds_nothing_where_nothing_is_wrong_and_leaves_the_tunnel_alone() {
    let line = at_work();
    let ssh = line.ssh_pid();
    let good = format!("{CONFIG}: nothing is wrong with what tunnelwatch does\n");
    for output in [check(&line.inside), line.tunnelwatch(&["check"])] {
        assert_eq!((output.code, output.text()), (Some(0), good.clone()), "{output:?}");
        assert_eq!(output.errors(), "");
    }
    assert_eq!((line.ssh_pid(), line.events("ssh-ended")), (ssh, 0), "{}", line.log());
    assert!(line.answers(PORTS[0]) && !line.answers(PORTS[1]));
    assert_eq!(line.status()["port"], PORTS[0]);
    assert_eq!(line.inside.sh("ls /tmp; pgrep -c -x ssh"), "1\n", "it leaves nothing behind");
    assert_eq!(
        line.inside.sh("find /run/tunnelwatch /var/lib/tunnelwatch ! -user _tunnelwatch"),
        ""
    );
    // And on the jump host, where the tunnel ends.
    line.jump.write_config(WATCH);
    let output = check(&line.jump);
    assert_eq!((output.code, output.errors()), (Some(0), String::new()), "{output:?}");
}

#[test]
fn a_jump_host_that_does_not_say_who_comes_through_is_a_note() {
    let line = at_work();
    // As it was enrolled before, and with a shell that runs nothing.
    line.authorize("");
    let note = "note: tunnel cloud: tunnel@10.2.0.2 port 22 does not say who comes through";
    for _ in 0..2 {
        let output = check(&line.inside);
        assert_eq!((output.code, output.errors()), (Some(0), String::new()), "{output:?}");
        let text = output.text();
        assert!(text.starts_with(note) && text.contains("chain = false\n"), "{text}");
        line.authorize("/artefacts/tunnelwatch answer 2222 2223");
        line.jump.sh("sed -i '/^tunnel:/s,[^:]*$,/usr/sbin/nologin,' /etc/passwd");
    }
    line.inside.write_config(&format!("{}chain = false\n", bastion_tests::tunnel::TUNNEL));
    assert!(!check(&line.inside).text().contains("note:"));
}

#[test]
fn check_tells_what_is_wrong_on_this_side() {
    // How many findings there are beside that no tunnelwatch runs.
    let table = [
        ("chmod 644 ID", "ID: mode 0644", "chmod 600 ID", 1),
        ("chown root ID", "_tunnelwatch may not read it", "chown _tunnelwatch ID", 1),
        ("rm ID", "ID: is missing", "tunnelwatch enroll cloud", 1),
        ("echo x >ID", "ID: is no private key", "tunnelwatch enroll cloud", 1),
        ("ssh-keygen -q -p -N secret -f ID", "has a passphrase", "tunnelwatch enroll cloud", 1),
        ("rm KNOWN", "KNOWN: is missing", "tunnelwatch enroll cloud", 1),
        ("sed -i s/10.2/10.3/ KNOWN", "no key of 10.2.0.2", "tunnelwatch enroll cloud", 1),
        (
            "sed -i 's/^10[.]2[.]0[.]2 /[10.2.0.2]:22 /' KNOWN; echo 'port = 2022' >>CONFIG",
            "no key of [10.2.0.2]:2022",
            "enroll cloud",
            1,
        ),
        ("echo 'ssh = \"/srv/ssh\"' >>CONFIG", "/srv/ssh: No such file", "install", 1),
        ("echo >/srv/ssh; echo 'ssh = \"/srv/ssh\"' >>CONFIG", "may not be", "chmod 0755", 1),
        ("pkill -KILL -x sshd", "nothing answers at 127.0.0.1:22", "systemctl status ssh", 1),
        (
            "true",
            "tunnelwatch run does not work here",
            "systemctl enable --now --no-block tunnelwatch",
            0,
        ),
        ("chown root: DIR; chmod 700 DIR", "ID: Permission denied", "chown -R _tunnelwatch DIR", 2),
        ("rm ID KNOWN; pkill -KILL -x sshd", "ID: is missing", "enroll cloud", 3),
    ];
    each_row(&table, |(script, told, remedy, beside)| {
        let line = in_order();
        let place = |text: &str| {
            let text = text.replace("ID", "/var/lib/tunnelwatch/id").replace("CONFIG", CONFIG);
            text.replace("KNOWN", "/var/lib/tunnelwatch/known_hosts")
                .replace("DIR", "/var/lib/tunnelwatch")
        };
        line.inside.sh(&place(script));
        found(&check(&line.inside), &place(told), &place(remedy), beside + 1);
    });
}

#[test]
fn enroll_pins_a_second_jump_host_beside_the_first_under_the_name_that_ssh_uses() {
    let line = in_order();
    let other = "other.example.org ssh-ed25519 \
                 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n";
    line.inside.write("/var/lib/tunnelwatch/known_hosts", other, 0o666);
    line.inside.write_config(&(TUNNEL.to_owned() + "ssh-options = [\"HostKeyAlias=Cloud\"]\n"));
    let shown = line.jump.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    assert_eq!(line.tunnelwatch(&["enroll"]).code, Some(69), "whose key it is has to be said");
    for words in [&["enroll", "--host-key", &shown][..], &["enroll"]] {
        let done = line.tunnelwatch(words);
        assert_eq!(
            (done.code, done.text().contains("Tested: through")),
            (Some(0), true),
            "{done:?}"
        );
    }
    let known = line.inside.read("/var/lib/tunnelwatch/known_hosts");
    assert!(known.starts_with(other) && known.lines().count() == 2, "{known}");
    assert!(
        known.lines().nth(1).is_some_and(|line| line.starts_with("cloud ssh-ed25519 ")),
        "{known}"
    );
    found(&check(&line.inside), "tunnelwatch run does not work here", "systemctl", 1);
}

#[test]
fn check_tells_of_a_user_that_is_missing_and_of_a_file_without_a_tunnel() {
    let host = Host::new();
    host.write_config(TUNNEL);
    host.sh("sed -i /_tunnelwatch/d /etc/passwd");
    found(&check(&host), "there is no user _tunnelwatch", "systemd-sysusers", 1);
    host.write_config("[host]\nname = \"x\"\n");
    found(&check(&host), "there is no [[tunnel]]", "no [[tunnel-watch]]", 1);
    host.write_config("[[tunnel]]\nname = 7\nport = 0\n");
    found(&check(&host), "line 2: tunnel.1.name", "string", 4);
}

#[test]
fn check_tells_what_is_wrong_with_the_key_on_the_jump_host() {
    let file = "/home/tunnel/.ssh/authorized_keys";
    let the_line = "has to be: restrict,port-forwarding,permitlisten=\"127.0.0.1:2222\"";
    let table = [
        ("mv FILE /root/gone", "rejects the key", 1),
        ("sed -i s/permitopen/permit-open/ FILE", "rejects the key", 1),
        ("sed -i s/,port-forwarding// FILE", "permits no forward", 1),
        (
            "sed -i s/,permitlisten=.127.0.0.1:2223.// FILE",
            "does not permit port 2223: permitlisten=",
            1,
        ),
        (
            "sed -i s/permitlisten=.127.0.0.1:/permitlisten=\\\"localhost:/g FILE",
            "port 2222: permitlisten=",
            2,
        ),
        ("sed -i s/,permitopen=.127.0.0.1:2222.// FILE", "look through port 2222", 1),
        ("sed -i s/,permitopen=.127.0.0.1:2223.// FILE", "look through port 2223", 1),
    ];
    each_row(&table, |(script, told, all)| {
        // The tunnel works, and has the first port, while its key is changed under it.
        let line = at_work();
        line.jump.sh(&script.replace("FILE", file));
        found(&check(&line.inside), told, the_line, *all);
        assert!(line.answers(PORTS[0]), "{script}: {}", line.log());
    });
}

#[test]
fn check_tells_what_is_wrong_with_sshd_on_the_jump_host() {
    let table = [
        (
            "sed -i 's/ClientAliveInterval 2/ClientAliveInterval 0/' FILE",
            "does not ask within 32 s",
            "ClientAliveInterval 15",
            true,
        ),
        (
            "echo ' AllowTcpForwarding no' >>FILE",
            "permits no forward",
            "AllowTcpForwarding yes",
            true,
        ),
        ("echo ' AllowTcpForwarding remote' >>FILE", "look through port 2222", "permitopen", true),
        (
            "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key",
            "shows another key",
            "enroll cloud",
            true,
        ),
        (
            "true",
            "could not be asked: the jump host refuses connections",
            "only what is here",
            false,
        ),
    ];
    each_row(&table, |(script, told, remedy, stays)| {
        let mut line = at_work();
        line.jump.sh(&script.replace("FILE", "/etc/ssh/sshd_config"));
        if *stays {
            line.jump.restart_sshd();
        } else {
            line.jump.sh("pkill -KILL -o -x sshd");
            assert!(wait_until(DEADLINE, || !line.jump.listens(22)));
        }
        let output = check(&line.inside);
        let findings = findings(&output);
        let one = findings.iter().find(|finding| finding.contains(told));
        assert!(one.is_some_and(|one| one.contains(remedy)), "{told}, {remedy}: {findings:#?}");
    });
}

#[test]
fn check_says_that_a_jump_host_could_not_be_asked() {
    let line = at_work();
    line.cut();
    found(&check(&line.inside), "could not be asked: no answer", "only what is here", 1);
}

/// Something that listens on the jump host and says `words` to whoever comes, or nothing for ever.
fn holder(jump: &Host, user: &str, address: &str, port: u16, words: &str) -> Daemon {
    let script = format!(
        "import socket
six = ':' in '{address}'
s = socket.create_server(('{address}', {port}), family=socket.AF_INET6 if six else socket.AF_INET)
print('ready', flush=True)
held = []
while True:
    c, _ = s.accept()
    c.sendall(b'{words}')
    c.close() if b'{words}' else held.append(c)
"
    );
    let daemon = jump.spawn(&["setpriv", "--reuid", user, "--", "python3", "-c", &script]);
    assert!(wait_until(DEADLINE, || daemon.output().contains("ready")), "{}", daemon.output());
    daemon
}

#[test]
fn check_tells_who_has_a_port_that_is_not_ours() {
    let table = ["silent", "no sshd", "another host", "another forward"];
    each_row(&table, |case| {
        let mut line = in_order();
        let (told, remedy) = match *case {
            "silent" => ("is held by what does not answer", "on the jump host, as root: ss -tlnp"),
            "no sshd" => ("a program that is no sshd", "take another port"),
            "another host" => ("another host's sshd", "take another port"),
            _ => ("another forward to this host, autossh perhaps", "end it here"),
        };
        // By half: on 127.0.0.1 alone, where ssh by itself takes ::1 for a success.
        let _holder = match *case {
            "silent" => holder(&line.jump, "alice", "127.0.0.1", 2222, ""),
            "no sshd" => holder(&line.jump, "alice", "127.0.0.1", 2222, "220 mail\\r\\n"),
            "another host" => line.jump.spawn(&["/usr/sbin/sshd", "-D", "-e", "-p", "2222"]),
            _ => {
                let jump = line.jump.read("/root/.ssh/id_ed25519");
                line.inside.write("/root/keys/admin", jump, 0o600);
                let ssh = "ssh -F none -N -i /root/keys/admin -o StrictHostKeyChecking=no -o \
                           ExitOnForwardFailure=yes -R 2222:127.0.0.1:22 alice@10.2.0.2";
                line.inside.spawn(&["sh", "-c", ssh])
            }
        };
        assert!(wait_until(DEADLINE, || line.jump.listens(2222)), "{case}");
        line.start();
        line.wait_up(PORTS[1]);
        found(&check(&line.inside), told, remedy, 1);
        assert!(line.answers(PORTS[1]) && line.status()["port"] == PORTS[1], "{}", line.log());
    });
}

#[test]
fn check_tells_on_the_jump_host_who_has_the_ports_and_what_sshd_permits() {
    let table = [
        (
            "sed -i 's/ClientAliveInterval 2/ClientAliveInterval 0/'",
            "never asks",
            "ClientAliveInterval 15",
        ),
        (
            "sed -i 's/ClientAliveInterval 2/ClientAliveInterval 90/'",
            "each 90 s",
            "ClientAliveInterval 15",
        ),
        ("sed -i 's/CountMax 3/CountMax 0/'", "never ends a session", "ClientAliveCountMax 3"),
        ("sed -i '$a GatewayPorts yes'", "opens the tunnel's port", "GatewayPorts no"),
        ("sed -i '$a AllowTcpForwarding no'", "permits no forward", "AllowTcpForwarding yes"),
    ];
    each_row(&table, |(script, told, remedy)| {
        let host = Host::new();
        host.write("/etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_ed25519_key\n", 0o644);
        host.sh(ASKS);
        host.sh(&format!("{script} /etc/ssh/sshd_config"));
        host.write_config(WATCH);
        found(&check(&host), told, remedy, 1);
    });
    let line = at_work();
    line.jump.write_config(WATCH);
    let _half = holder(&line.jump, "alice", "::1", 2222, "");
    let _open = holder(&line.jump, "alice", "0.0.0.0", 2223, "");
    let output = check(&line.jump);
    found(
        &output,
        "tunnel home: port 2222 is held by half: tunnel has it on 127.0.0.1, alice on ::1",
        "ss -tlnp",
        2,
    );
    found(&output, "port 2223 is open to others: alice listens on 0.0.0.0", "GatewayPorts", 2);
}

#[test]
fn bastion_check_tells_of_the_tunnel_as_well() {
    require("libpam_bastion.so");
    let mut line = in_order();
    let provider = Provider::start(&line.inside);
    line.inside.write_token(bastion_tests::provider::AUTH_TOKEN);
    line.inside.write_config(&(TUNNEL.to_owned() + &sms(&provider.url())));
    line.inside.sh(&format!("ln -s {MODULE} /srv/pam_bastion.so"));
    let module = format!("-session optional /srv/pam_bastion.so config={CONFIG}\n");
    line.inside.write("/etc/pam.d/sshd", module + "session required pam_permit.so\n", 0o644);
    let _sender = line.inside.spawn_sender();
    line.inside.wait_syslog("bastion", "sender-started", 1);
    line.start();
    line.wait_up(PORTS[0]);
    let bastion = |program: &str| {
        let output = line.inside.run_with(CHECK, &[program, "check", "--json"], b"");
        let said: Value =
            serde_json::from_str(&output.text()).unwrap_or_else(|_| panic!("{output:?}"));
        let mut all = said["findings"].as_array().cloned().unwrap_or_default();
        // What the host has beside its tunnel is the doctor's tests' to look at.
        let ours = ["config", "spool-modes", "sender-not-running", "tunnelwatch-check"];
        all.retain(|one| ours.iter().any(|id| one["id"] == *id));
        all
    };
    assert_eq!(bastion("/artefacts/bastion"), [Value::Null; 0]);
    // Its findings beside our own.
    line.inside.sh("chmod 640 /var/lib/tunnelwatch/id; chmod 755 /var/spool/bastion/sent");
    let said = bastion("/artefacts/bastion");
    assert_eq!(said.len(), 2, "{said:#?}");
    assert_eq!(said[0]["subject"], "/var/spool/bastion/sent", "{said:#?}");
    let text = said[1]["text"].as_str().unwrap();
    assert!(text.starts_with("tunnel cloud: /var/lib/tunnelwatch/id: mode 0640: "), "{said:#?}");
    assert!(said[1]["fix"].as_str().unwrap().ends_with("/id"), "{said:#?}");
    // A file that nobody understands is told once.
    line.inside.sh(&format!("cp {CONFIG} /root/good; echo 'x = ' >>{CONFIG}"));
    let said = bastion("/artefacts/bastion");
    let lines = said.iter().filter(|one| one["text"].as_str().unwrap().contains("line ")).count();
    assert_eq!(lines, 1, "{said:#?}");
    // Nobody minds the tunnel.
    line.inside.sh(&format!("cp /root/good {CONFIG}; cp /artefacts/bastion /srv/bastion"));
    let said = bastion("/srv/bastion");
    let told =
        |one: &Value| one["text"] == "there is a [[tunnel]], and no tunnelwatch that minds it";
    assert!(said.iter().any(|one| told(one) && one["severity"] == "critical"), "{said:#?}");
}
