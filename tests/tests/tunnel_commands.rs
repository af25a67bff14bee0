//! The commands around a tunnel: enrolling one, and watching it from the jump host.

use std::time::Duration;

use bastion_tests::host::{CONFIG, DEADLINE, Host};
use bastion_tests::process::Daemon;
use bastion_tests::tunnel::{Line, PORTS};
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
    assert_eq!((asked.code, asked.errors().contains(&shown)), (Some(64), true), "{asked:?}");
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
    line.jump.sh("cat /etc/ssh/drop-in >>/etc/ssh/sshd_config");
    let effective =
        line.jump.sh("sshd -T -C user=tunnel,host=x,addr=10.1.0.2 -f /etc/ssh/sshd_config");
    for setting in
        ["clientaliveinterval 15", "clientalivecountmax 3", "permittty no", "maxsessions 2"]
    {
        assert!(effective.lines().any(|found| found == setting), "{setting}: {effective}");
    }
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
