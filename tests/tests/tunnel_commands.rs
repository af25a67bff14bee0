//! The commands around a tunnel: enrolling one, and watching it from the jump host.

use std::time::Duration;

use bastion_tests::host::{CONFIG, DEADLINE, Host};
use bastion_tests::process::Daemon;
use bastion_tests::tunnel::{AS_TUNNELWATCH, Line, PORTS, TUNNEL};
use bastion_tests::wait::{pause, wait_until};
use serde_json::Value;

#[test]
fn enroll_makes_what_is_missing_and_says_what_is_to_be_done_until_it_works() {
    let line = Line::new();
    line.inside.sh("rm /var/lib/tunnelwatch/*");
    line.jump.sh("rm /home/tunnel/.ssh/authorized_keys");
    // Whose key it is can only be said by somebody who has seen the jump host.
    let asked = line.tunnelwatch(&["enroll"]);
    let shown = line.jump.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    assert_eq!((asked.code, asked.errors().contains(&shown)), (Some(69), true), "{asked:?}");
    let next = "sudo -u _tunnelwatch tunnelwatch enroll cloud --host-key SHA256:...";
    assert!(asked.errors().contains(next), "{asked:?}");
    let other = line.inside.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    let wrong = line.tunnelwatch(&["enroll", "--host-key", &other]);
    assert_eq!(
        (wrong.code, wrong.errors().contains("somebody else")),
        (Some(78), true),
        "{wrong:?}"
    );
    // Pinned; but the jump host does not know our key.
    let not_yet = line.tunnelwatch(&["enroll", "cloud", "--host-key", &shown]);
    let said = not_yet.text();
    assert_eq!(not_yet.code, Some(69), "{not_yet:?}");
    assert!(
        said.contains("Not yet: the jump host rejects the key. Is the line of step 2"),
        "{said}"
    );
    assert!(said.contains("Match User tunnel\n    ClientAliveInterval 15"), "{said}");
    assert!(said.contains("Port 2222\n") && said.contains("ProxyJump YOU@10.2.0.2:22"), "{said}");
    // The line that it prints, as it is, is what the jump host needs.
    let key = said.lines().find(|line| line.starts_with("restrict,")).expect("the line").to_owned();
    let file = "/home/tunnel/.ssh/authorized_keys";
    line.jump.write(file, key.replace("permitopen", "permit-open"), 0o644);
    let broken = line.tunnelwatch(&["enroll"]);
    assert!(
        broken.text().contains("rejects the key"),
        "an option that sshd does not know: {broken:?}"
    );
    line.jump.write(file, key.replace(",permitopen=\"127.0.0.1:2222\"", ""), 0o644);
    let denied = line.tunnelwatch(&["enroll"]);
    assert!(denied.text().contains("does not permit the probe"), "{denied:?}");
    line.jump.write(
        file,
        key.replace("127.0.0.1:2222\",permitopen", "localhost:2222\",permitopen"),
        0o644,
    );
    let busy = line.tunnelwatch(&["enroll"]);
    assert!(busy.text().contains("not in permitlisten"), "{busy:?}");
    line.jump.write(file, &key, 0o644);
    let done = line.tunnelwatch(&["enroll"]);
    assert_eq!((done.code, done.text().contains("Tested: through")), (Some(0), true), "{done:?}");
    assert_eq!(line.inside.sh("stat -c %a /var/lib/tunnelwatch/id").trim(), "600");
    // And nothing else can be done with it.
    for command in [&["id"][..], &["-W", "127.0.0.1:22"], &["-L", "2000:127.0.0.1:22", "-N"]] {
        let mut words = vec!["timeout", "5", "ssh", "-F", "none", "-i", "/var/lib/tunnelwatch/id"];
        words.extend(["-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]);
        words.extend(["-o", "UserKnownHostsFile=/var/lib/tunnelwatch/known_hosts"]);
        let (before, after) =
            if command[0] == "id" { (&[][..], command) } else { (command, &[][..]) };
        words.extend(before);
        words.push("tunnel@10.2.0.2");
        words.extend(after);
        let output = line.inside.run(&words);
        assert!(!output.text().contains("uid=") && !output.text().contains("SSH-"), "{output:?}");
    }
}

#[test]
fn the_examples_for_the_jump_host_are_what_sshd_takes() {
    let line = Line::new();
    line.jump.write(
        "/etc/ssh/drop-in",
        include_str!("../../etc/ssh/sshd_config.d/tunnel.conf"),
        0o644,
    );
    line.jump.write(
        "/etc/ssh/drop-in-first",
        include_str!("../../etc/ssh/sshd_config.d/jump.conf"),
        0o644,
    );
    line.jump.sh(
        "cd /etc/ssh; cat drop-in-first sshd_config drop-in >all; mv all sshd_config; sshd -t -f sshd_config",
    );
    let effective =
        line.jump.sh("sshd -T -C user=tunnel,host=x,addr=10.1.0.2 -f /etc/ssh/sshd_config");
    for setting in
        ["clientaliveinterval 15", "clientalivecountmax 3", "permittty no", "maxsessions 2"]
    {
        assert!(effective.lines().any(|found| found == setting), "{setting}: {effective}");
    }
    let others = line.jump.sh("sshd -T -C user=alice,host=x,addr=10.1.0.2 -f /etc/ssh/sshd_config");
    for setting in [
        "permitrootlogin no",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "maxauthtries 4",
        "allowtcpforwarding local",
        "loglevel VERBOSE",
    ] {
        assert!(others.lines().any(|found| found == setting), "{setting}: {others}");
    }
    let algorithms = |name: &str| {
        let found = others.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{name}: {others}")).trim().to_owned()
    };
    for (name, there, gone) in [
        ("kexalgorithms ", "curve25519-sha256", "nistp"),
        ("kexalgorithms ", "diffie-hellman-group16-sha512", "group14"),
        ("kexalgorithms ", "sntrup761x25519-sha512@openssh.com", "group-exchange"),
        ("ciphers ", "aes256-gcm@openssh.com", "cbc"),
        ("macs ", "hmac-sha2-256-etm@openssh.com", "sha1"),
        ("hostkeyalgorithms ", "ssh-ed25519", "ecdsa"),
    ] {
        let found = algorithms(name);
        assert!(found.split(',').any(|one| one == there) && !found.contains(gone), "{found}");
    }
    assert!(algorithms("macs ").split(',').all(|mac| mac.ends_with("-etm@openssh.com")));
    // The line beside the key, with our own key in the place of the example's.
    let example = include_str!("../../etc/ssh/authorized_keys.tunnel");
    let options = example.lines().find(|line| line.starts_with("restrict")).expect("a line");
    let (options, _) = options.split_once(" ssh-ed25519").expect("a key");
    let key = line.inside.read("/var/lib/tunnelwatch/id.pub");
    line.jump.write("/home/tunnel/.ssh/authorized_keys", format!("{options} {key}"), 0o644);
    let mut line = line;
    line.jump.restart_sshd();
    line.start();
    line.wait_up(PORTS[0]);
}

/// `tunnelwatch watch` on the jump host.
fn watch(jump: &Host, more: &str) -> Daemon {
    jump.write_config(&format!(
        "[host]\nname = \"jump\"\n\n[[tunnel-watch]]\nname = \"home\"\nports = [2222, 2223]\n\
         check-every = \"5s\"\nalert-after = \"2s\"\n{more}"
    ));
    jump.sh("install -d -o _tunnelwatch -g _tunnelwatch /var/lib/tunnelwatch");
    spawn_watch(jump)
}

/// The same with the file that is there.
fn spawn_watch(jump: &Host) -> Daemon {
    let mut words = vec!["setpriv", "--reuid=_tunnelwatch", "--regid=_tunnelwatch"];
    words.extend(["--groups=_bastion-drop", "--inh-caps=-all", "--no-new-privs", "--"]);
    words.extend(["/artefacts/tunnelwatch", "--config", CONFIG, "watch"]);
    jump.spawn(&words)
}

/// The states that the jump host's alerts tell of, in their order.
fn told(jump: &Host) -> Vec<(String, String)> {
    let mut files = jump.spool_files("drop");
    files.sort();
    let json = files.iter().filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok());
    let word = |what: &Value, key: &str| what[key].as_str().unwrap_or_default().to_owned();
    let of_tunnels = json.filter(|event| event["what"]["kind"] == "condition");
    of_tunnels.map(|event| (word(&event["what"], "status"), word(&event["what"], "text"))).collect()
}

#[test]
fn who_waits_at_the_jump_host_tells_that_the_only_line_is_down() {
    let line = Line::up("");
    let key = line.inside.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    let keys = format!("host-keys = [\"{key}\"]\n");
    let mut watching = watch(&line.jump, &keys);
    line.jump.wait_syslog("tunnelwatch", "watching", 1);
    pause(Duration::from_secs(7));
    assert_eq!(told(&line.jump), [], "all is well");
    line.cut();
    let down = || told(&line.jump).first().is_some_and(|(status, _)| status == "down");
    assert!(wait_until(Duration::from_secs(40), down), "{:?}", line.jump.syslog_lines());
    assert!(told(&line.jump)[0].1.contains("held by a session that does not answer"));
    // Who watches from here on knows what was told.
    watching.kill();
    let _watch = watch(&line.jump, &keys);
    line.jump.wait_syslog("tunnelwatch", "watching", 2);
    pause(Duration::from_secs(5));
    assert_eq!(told(&line.jump).len(), 1, "{:?}", told(&line.jump));
    line.mend();
    let up = || told(&line.jump).len() == 2;
    assert!(wait_until(Duration::from_secs(60), up), "{:?}", told(&line.jump));
    assert_eq!(told(&line.jump)[1].0, "up");
}

#[test]
fn another_host_on_the_port_is_told_by_its_key() {
    let line = Line::up("");
    let other = line.jump.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    let _watch = watch(&line.jump, &format!("host-keys = [\"{other}\"]\n"));
    let down = || told(&line.jump).first().is_some_and(|(_, text)| text.contains("another host"));
    assert!(wait_until(DEADLINE, down), "{:?}", line.jump.syslog_lines());
}

#[test]
fn a_watched_port_whose_client_is_gone_is_given_up_by_sshd_all_the_same() {
    let mut line = Line::new();
    // Six seconds or so, but for whoever keeps touching the port: then never.
    line.jump.sh("printf 'Match User tunnel\\n ClientAliveInterval 3\\n ClientAliveCountMax 1\\n' >>/etc/ssh/sshd_config");
    line.jump.restart_sshd();
    line.start();
    line.wait_up(PORTS[0]);
    let _watch = watch(&line.jump, "");
    let stale = line.jump.sh("pgrep -o -u tunnel").trim().to_owned();
    line.cut();
    line.run.as_mut().expect("it runs").kill();
    let status = format!("/proc/{stale}/stat");
    let gone = || !line.jump.path(&status).exists() || line.jump.read(&status).contains(") Z ");
    assert!(wait_until(Duration::from_secs(60), gone), "the watch keeps it alive");
    let down = || told(&line.jump).iter().any(|(status, _)| status == "down");
    assert!(wait_until(DEADLINE, down), "{:?}", line.jump.syslog_lines());
}

/// Says on the first port, as who listens there, that it is an sshd, and then nothing.
const FAKE: &str = "import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', 2222))
s.listen()
kept = []
while True:
    kept.append(s.accept()[0])
    kept[-1].send(b'SSH-2.0-evil\\r\\n')
";

/// The watch of a tunnel that was up and is not, which was told.
fn watch_without_a_tunnel() -> (Line, Daemon) {
    let mut line = Line::up("");
    let key = line.inside.fingerprint("/etc/ssh/ssh_host_ed25519_key.pub");
    let watching = watch(&line.jump, &format!("host-keys = [\"{key}\"]\n"));
    line.jump.wait_syslog("tunnelwatch", "watching", 1);
    line.stop();
    let down = || told(&line.jump).first().is_some_and(|(_, text)| text.contains("no session"));
    assert!(wait_until(DEADLINE, down), "{:?}", line.jump.syslog_lines());
    (line, watching)
}

#[test]
fn a_banner_without_a_key_is_not_the_right_host() {
    let (line, _watch) = watch_without_a_tunnel();
    let _fake = line.jump.spawn(&["python3", "-c", FAKE]);
    let said = || told(&line.jump).get(1).is_some_and(|(_, text)| text.contains("does not prove"));
    assert!(wait_until(Duration::from_secs(90), said), "{:?}", told(&line.jump));
    assert!(told(&line.jump).iter().all(|(status, _)| status == "down"));
}

#[test]
fn who_takes_a_port_that_was_told_to_be_free_is_told_at_once() {
    let (mut line, _watch) = watch_without_a_tunnel();
    let mut words = vec!["/usr/sbin/sshd", "-D", "-f", "/etc/ssh/sshd_config", "-p", "2222"];
    words.extend(["-o", "ListenAddress=127.0.0.1:2222", "-o", "PidFile=none"]);
    let mut stranger = line.jump.spawn(&words);
    let said = || told(&line.jump).get(1).is_some_and(|(_, text)| text.contains("another host"));
    assert!(wait_until(DEADLINE, said), "{:?}", told(&line.jump));
    stranger.kill();
    line.start();
    line.wait_up(PORTS[0]);
    let up = || told(&line.jump).get(2).is_some_and(|(status, _)| status == "up");
    assert!(wait_until(DEADLINE, up), "{:?}", told(&line.jump));
}

#[test]
fn a_port_that_sshd_binds_on_all_addresses_is_seen() {
    let mut line = Line::new();
    line.jump.sh("sed -i '/GatewayPorts/d; 1i GatewayPorts yes' /etc/ssh/sshd_config");
    line.jump.restart_sshd();
    line.start();
    line.wait_up(PORTS[0]);
    assert!(line.jump.sh("ss -Htln sport = :2222").contains("0.0.0.0:2222"));
    let _watch = watch(&line.jump, "");
    line.jump.wait_syslog("tunnelwatch", "watching", 1);
    pause(Duration::from_secs(9));
    assert_eq!(told(&line.jump), []);
}

#[test]
fn what_was_told_of_a_tunnel_ends_when_it_is_taken_out_of_the_file() {
    let mut line = Line::new();
    line.jump.sh("pkill -KILL sshd || true");
    let config = format!("{TUNNEL}alert-after = \"1s\"\n");
    line.inside.write_config(&config);
    let file = "/var/lib/tunnelwatch/cloud.down";
    line.start();
    assert!(wait_until(DEADLINE, || line.inside.path(file).exists()), "{}", line.log());
    line.inside.write_config(&config.replace("\"cloud\"", "\"other\""));
    line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    let over = || ("up".to_owned(), "it is no longer kept".to_owned());
    assert!(wait_until(DEADLINE, || told(&line.inside).contains(&over())), "{}", line.log());
    assert!(!line.inside.path(file).exists());
    // A file without any is a mistake, and changes nothing.
    line.inside.write_config("[host]\nname = \"inside\"\n");
    line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    line.inside.wait_syslog("tunnelwatch", "config-kept", 1);
    assert!(line.run.as_mut().expect("it runs").running() && !line.status_of("other").is_null());
    // The same at the other end, and over a restart.
    let mut watching = watch(&line.jump, "");
    assert!(wait_until(DEADLINE, || told(&line.jump).len() == 1), "{:?}", told(&line.jump));
    let check = || line.jump.run(&["/artefacts/tunnelwatch", "--config", CONFIG, "check"]).errors();
    let finding = "tunnel home: is down for ";
    assert!(wait_until(DEADLINE, || check().contains(finding)), "{}", check());
    watching.kill();
    let file = line.jump.read(CONFIG).replace("\"home\"", "\"other\"");
    line.jump.write_config(&file);
    let _watch = spawn_watch(&line.jump);
    let over = || ("up".to_owned(), "it is no longer watched".to_owned());
    assert!(wait_until(DEADLINE, || told(&line.jump).contains(&over())), "{:?}", told(&line.jump));
    assert!(wait_until(DEADLINE, || !check().contains("is down for")), "{}", check());
}

#[test]
fn a_port_that_somebody_else_holds_costs_no_session_its_life() {
    let line = Line::new();
    let holder = line.jump.spawn(&["python3", "-m", "http.server", "--bind", "127.0.0.1", "2222"]);
    assert!(wait_until(DEADLINE, || line.jump.listens(2222)), "{}", holder.output());
    let as_tunnel = ["setpriv", "--reuid=tunnel", "--regid=tunnel", "--clear-groups", "--"];
    let mut words = as_tunnel.to_vec();
    words.extend(["bash", "-c", "exec -a 'sshd: tunnel' sleep 600"]);
    let mut session = line.jump.spawn(&words);
    let named = || line.jump.sh("pgrep -fc '^sshd: tunnel' || true").trim() == "1";
    assert!(wait_until(DEADLINE, named), "{}", line.jump.sh("ps -ef"));
    let mut words = as_tunnel.to_vec();
    words.extend(["env", "SSH_ORIGINAL_COMMAND=release 2222"]);
    words.extend(["/artefacts/tunnelwatch", "release", "2222"]);
    let output = line.jump.run(&words);
    assert_eq!((output.code, output.errors().contains("no session of ours")), (Some(69), true));
    assert!(session.running(), "it was ended: {output:?}");
}

#[test]
fn retry_wakes_nobody_but_run() {
    let mut line = Line::new();
    let mut words = AS_TUNNELWATCH.to_vec();
    words.extend(["sleep", "600"]);
    let retry = || line.inside.run(&["/artefacts/tunnelwatch", "retry"]);
    let lock = |pid: &str| line.inside.write("/run/tunnelwatch/lock", pid, 0o644);
    // Left behind by one that was killed, and the number is another's by now.
    let mut stranger = line.inside.spawn(&words);
    let pid = line.inside.sh("pgrep -x -u _tunnelwatch sleep");
    lock(&pid);
    line.inside.sh("chown _tunnelwatch /run/tunnelwatch/lock");
    assert_eq!(retry().code, Some(69));
    // Held, and naming a process of root's.
    let mut roots = line.inside.spawn(&["sleep", "601"]);
    let pid = line.inside.sh("pgrep -x -u root -f 'sleep 601'");
    lock(&pid);
    line.inside.sh("chown _tunnelwatch /run/tunnelwatch/lock");
    let mut words = AS_TUNNELWATCH.to_vec();
    words.extend(["flock", "/run/tunnelwatch/lock", "sleep", "602"]);
    let mut holder = line.inside.spawn(&words);
    assert!(wait_until(DEADLINE, || !line.inside.sh("pgrep -f '^sleep 602' || true").is_empty()));
    assert_eq!(retry().code, Some(69));
    assert!(stranger.running() && roots.running() && holder.running(), "they were signalled");
    line.inside.sh("pkill -KILL -f '^sleep 602'");
    let _ = holder.wait(DEADLINE);
    line.start();
    line.wait_up(PORTS[0]);
    assert_eq!(line.inside.run(&["/artefacts/tunnelwatch", "retry"]).code, Some(0));
    line.inside.wait_syslog("tunnelwatch", "try-now", 1);
}

#[test]
fn enroll_tests_what_the_tunnel_will_need_and_says_who_is_in_its_way() {
    let mut line = Line::new();
    let identity = "/var/lib/tunnelwatch/id.home";
    line.inside.sh(&format!("cd /var/lib/tunnelwatch; mv id {identity}; mv id.pub {identity}.pub"));
    let config = TUNNEL.replace("/var/lib/tunnelwatch/id", identity) + "release = true\n";
    line.inside.write_config(&config);
    let key = line.inside.read(&format!("{identity}.pub"));
    line.inside.write("/var/lib/tunnelwatch/id.pub", key, 0o644);
    line.authorize("/artefacts/tunnelwatch release 2222 2223");
    // What root makes, its user cannot read.
    let root = line.inside.run(&["/artefacts/tunnelwatch", "--config", CONFIG, "enroll"]);
    let said = root.errors();
    assert_eq!(
        (root.code, said.contains("sudo -u _tunnelwatch tunnelwatch enroll cloud")),
        (Some(77), true),
        "{root:?}"
    );
    // After systemctl stop there is no such directory, and who tests may not make one.
    line.inside.sh("rm -r /run/tunnelwatch");
    let no_shell = line.tunnelwatch(&["enroll"]);
    assert!(no_shell.text().contains("does not release a port"), "{no_shell:?}");
    assert!(no_shell.text().contains("--shell /bin/sh tunnel\n"), "{no_shell:?}");
    line.jump.sh("sed -i 's|^\\(tunnel:.*\\):/usr/sbin/nologin|\\1:/bin/sh|' /etc/passwd");
    let done = line.tunnelwatch(&["enroll"]);
    assert_eq!((done.code, done.text().contains("Tested: through")), (Some(0), true), "{done:?}");
    assert!(done.text().contains("enable --now --no-block tunnelwatch"), "{done:?}");
    // Beside one that runs.
    line.inside.sh("install -d -o _tunnelwatch -g _tunnelwatch /run/tunnelwatch");
    line.start();
    line.wait_up(PORTS[0]);
    let beside = line.tunnelwatch(&["enroll"]);
    assert_eq!((beside.code, beside.text().contains("which is up")), (Some(0), true), "{beside:?}");
}
