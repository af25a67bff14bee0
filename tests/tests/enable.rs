//! `bastion enable` and `bastion disable`, with the service files of the distributions, libpam and sshd: a login is told
//! after the one and not after the other, and whatever happens meanwhile the file is the old one or the new one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;

use bastion_tests::disk::{fill, small};
use bastion_tests::host::{CONFIG, DEADLINE, Host, JUMP, UNKNOWN};
use bastion_tests::process::Output;
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, Rig};
use bastion_tests::wait::wait_until;

const FILE: &str = "/etc/pam.d/sshd";
const LINE: &str = "-session optional pam_bastion.so\n";
const BACKUP: &str = "/etc/bastion/pam.d-sshd.orig";
const LEFT_OVER: &str = "/etc/pam.d/.sshd.bastion-new";

/// The files as openssh-server brings them. Ubuntu 22.04 and 24.04 have Debian 12's.
const DEBIAN_12: &str = include_str!("../fixtures/pam.d/debian12");
const DEBIAN_13: &str = include_str!("../fixtures/pam.d/debian13");

/// What they include.
const COMMON: [(&str, &str); 4] = [
    ("common-auth", include_str!("../fixtures/pam.d/common-auth")),
    ("common-account", include_str!("../fixtures/pam.d/common-account")),
    ("common-session", include_str!("../fixtures/pam.d/common-session")),
    ("common-password", include_str!("../fixtures/pam.d/common-password")),
];

/// A machine with a distribution's files and the module where libpam looks for it, as the package has it.
fn installed(sshd: &str) -> Host {
    let host = Host::with_sshd();
    for (name, text) in COMMON {
        host.write(&format!("/etc/pam.d/{name}"), text, 0o644);
    }
    host.write(FILE, sshd, 0o644);
    host.sh("dir=$(dirname \"$(find /usr/lib -name pam_permit.so | head -n 1)\")
             cp -a \"$dir\" /srv/security
             ln -s /artefacts/libpam_bastion.so /srv/security/pam_bastion.so
             mount --bind /srv/security \"$dir\"
             mkdir -p /etc/security /etc/default
             touch /etc/environment /etc/default/locale /etc/security/limits.conf /etc/security/pam_env.conf");
    host
}

fn bastion(host: &Host, words: &[&str]) -> Output {
    host.run(&[&["/artefacts/bastion"], words].concat())
}

fn enable(host: &Host) -> Output {
    bastion(host, &["enable"])
}

fn disable(host: &Host) -> Output {
    bastion(host, &["disable"])
}

/// Logs in, which works, and answers how many alerts that has raised.
fn alerts_of_a_login(host: &Host) -> usize {
    let mark = host.mark();
    let output = host.ssh(&["-b", UNKNOWN, "-l", "alice", JUMP, "echo in"]);
    assert_eq!((output.code, output.text().as_str()), (Some(0), "in\n"), "{output:?}");
    if host.read(FILE).contains(LINE) {
        host.wait_ended_at_least(&mark, 1);
    }
    let alerts = host.alerts_since(&mark);
    alerts.iter().filter(|alert| alert.login("user") == "alice").count()
}

/// The file without what `enable` put there.
fn without_ours(text: &str) -> String {
    let at = text.find(LINE).expect("the line");
    let begin = text[..at - 1].rfind('\n').map_or(0, |end| end + 1);
    format!("{}{}", &text[..begin], &text[at + LINE.len() + 1..])
}

#[test]
fn a_login_is_told_after_enable_and_not_after_disable_on_each_distribution() {
    each_row(&[DEBIAN_12, DEBIAN_13], |sshd| {
        let host = installed(sshd);
        assert_eq!(alerts_of_a_login(&host), 0);
        host.sh(&format!("chmod 640 {FILE}; chgrp daemon {FILE}"));
        let label = "import os; os.setxattr('/etc/pam.d/sshd', 'security.bastiontest', b'label')";
        host.sh(&format!("python3 -c \"{label}\""));

        let shown = bastion(&host, &["enable", "--dry-run"]).ok().text();
        assert!(shown.contains(&format!("+{LINE}")) && host.read(FILE) == *sshd, "{shown}");
        host.write("/root/diff", &shown, 0o644);
        let said = enable(&host).ok();
        assert!(said.text().contains("keep this session open"), "{said:?}");
        let text = host.read(FILE);
        assert_eq!(without_ours(&text), *sshd);
        let stack: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("session") && !line.starts_with('#'))
            .collect();
        assert_eq!(stack[0], LINE.trim_end(), "{text}");
        // What was shown is what was done, as patch(1) understands it.
        host.sh(&format!(
            "cp {BACKUP} /root/file; patch -s /root/file /root/diff; cmp /root/file {FILE}"
        ));
        let kept = host.run(&["stat", "-c", "%U:%G %a", FILE, BACKUP]).ok().text();
        assert_eq!(kept, "root:daemon 640\n".repeat(2));
        let label = "import os; print(os.getxattr('/etc/pam.d/sshd', 'security.bastiontest'))";
        assert_eq!(host.run(&["python3", "-c", label]).ok().text(), "b'label'\n");
        assert_eq!(host.read(BACKUP), *sshd);
        assert_eq!(alerts_of_a_login(&host), 1);
        host.wait_syslog("bastion", "guard-on by=", 1);

        let again = enable(&host).ok();
        assert!(again.text().contains("the line is there") && host.read(FILE) == text, "{again:?}");

        let mark = host.mark();
        host.run(&["env", "SUDO_USER=alice", "/artefacts/bastion", "disable"]).ok();
        let alerts = host.alerts_since(&mark);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        let told = (
            &alerts[0].json["severity"],
            alerts[0].json["what"]["text"].as_str().unwrap_or_default(),
        );
        assert_eq!(
            told,
            (
                &"critical".into(),
                "guard off: logins are not told any more, bastion disable by alice"
            )
        );
        host.wait_syslog("bastion", "guard-off by=\"alice\" alert=", 1);
        assert_eq!(host.read(FILE), *sshd);
        assert!(!host.path(BACKUP).exists(), "it has nothing that is not in the file");
        assert_eq!(alerts_of_a_login(&host), 0);

        let mark = host.mark();
        let again = disable(&host).ok();
        assert!(again.text().contains("there is no pam_bastion line"), "{again:?}");
        assert_eq!((host.read(FILE).as_str(), host.alerts_since(&mark).len()), (*sshd, 0));
    });
}

#[test]
fn the_alert_of_disable_arrives() {
    let host = installed(DEBIAN_13);
    let provider = Provider::start(&host);
    host.configure(&provider.url());
    let rig = Rig::on(host, provider);
    let said = enable(&rig.host).ok();
    assert_eq!(said.errors(), "", "nothing to warn of");
    disable(&rig.host).ok();
    let sms = rig.provider.wait_accepted(1, DEADLINE).remove(0);
    assert!(sms.body().contains("guard off") && sms.body().contains("uid 0"), "{}", sms.body());
}

#[test]
fn what_would_do_nothing_or_harm_is_refused_and_the_file_stays() {
    let module = "/srv/security/pam_bastion.so";
    let table: &[(&str, &str, &str)] = &[
        (
            &format!("rm {module}"),
            "there is no pam_bastion.so where libpam looks",
            "install the package",
        ),
        (
            &format!("rm {module}; echo x >{module}"),
            "the module cannot be loaded: ",
            "install the package",
        ),
        (
            &format!("rm {module}; cp /srv/security/../../usr/bin/true {module}"),
            "the module cannot be loaded: ",
            "install",
        ),
        (
            &format!(
                "rm {module}; cp \"$(find /usr/lib -name pam_deny.so | head -n 1)\" {module}; chmod 666 {module}"
            ),
            "others than root may change it",
            "chmod 0644",
        ),
        (
            "sed -i 's/UsePAM yes/UsePAM no/' /etc/ssh/sshd_config",
            "sshd does not use PAM",
            "UsePAM yes",
        ),
        (
            "echo 'Nonsense 1' >>/etc/ssh/sshd_config",
            "sshd cannot say how it is set up: ",
            "sshd -t",
        ),
        (
            "rm -rf /run/sshd",
            "Missing privilege separation directory: /run/sshd",
            "systemctl start ssh",
        ),
        (
            "mkdir -p /etc/bastion; printf '[login]\\nservices = [\"login\"]\\n' >/etc/bastion/bastion.toml",
            "services in [login] is without sshd",
            "add \"sshd\"",
        ),
        (
            "sed -i '/session/d' FILE; echo 'session sufficient pam_permit.so' >>FILE",
            "no other session line decides who may come in",
            "session required pam_permit.so",
        ),
        ("sed -i 's/$/\\r/' FILE", "/etc/pam.d/sshd:1: ends as on Windows", "dos2unix"),
        ("sed -i 's/^@include common-session/@include nosuch/' FILE", "includes nosuch", "mend"),
        (
            "echo '-session optional pam_bastion.so' >>/etc/pam.d/common-session",
            "/etc/pam.d/common-session:",
            "remove the line",
        ),
        (
            "echo 'session [success=1] pam_permit.so' >>FILE; echo 'session optional pam_bastion.so' >>FILE",
            "jumps over 1",
            "by hand",
        ),
        ("mv FILE /etc/pam.d/real; ln -s real FILE", "is a link to real", "by hand"),
        ("mv FILE /etc/pam.d/real; mkfifo FILE", "is no plain file", ""),
        ("head -c 100000 /dev/zero >FILE", "has more than 65536 bytes", "look at it"),
    ];
    each_row(table, |(script, told, remedy)| {
        let host = installed(DEBIAN_12);
        host.sh(&script.replace("FILE", FILE));
        let state =
            || host.sh("ls -la --full-time /etc/pam.d; find /etc/pam.d -type f -exec md5sum {} +");
        let before = state();
        let output = enable(&host);
        let said = output.errors();
        assert!(said.contains(told) && said.contains(remedy), "{script}: {said}");
        assert!(output.code.is_some_and(|code| code != 0), "{script}: {output:?}");
        assert_eq!(state(), before, "{script}");
        assert!(!host.path(BACKUP).exists(), "{script}");
    });
}

#[test]
fn what_only_keeps_alerts_back_is_told_and_no_reason_to_refuse() {
    let host = installed(DEBIAN_12);
    let said = enable(&host).ok().errors();
    assert!(
        said.contains("the sender does not run") && said.contains("systemctl enable --now bastion"),
        "{said}"
    );
    host.write_config(LOGIN);
    host.sh("mv /var/spool/bastion/drop /srv/");
    let said = enable(&host).ok().errors();
    assert!(
        said.contains("no channel is configured") && said.contains("drop: is missing"),
        "{said}"
    );
    // And without an alert nothing is taken out.
    let text = host.read(FILE);
    let output = disable(&host);
    assert!(
        output.errors().contains("the alert of it cannot be raised, so nothing is changed"),
        "{output:?}"
    );
    assert!(output.code != Some(0) && host.read(FILE) == text, "{output:?}");
    let line =
        text.lines().position(|line| line == LINE.trim_end()).map(|at| at + 1).expect("the line");
    assert!(
        output.errors().contains(&format!("remove line {line} of {FILE} by hand")),
        "{output:?}"
    );
}

#[test]
fn only_root_may() {
    let host = installed(DEBIAN_12);
    for word in ["enable", "disable"] {
        let output = host.run(&[
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--clear-groups",
            "/artefacts/bastion",
            word,
        ]);
        assert_eq!(output.code, Some(77), "{output:?}");
        assert!(output.errors().contains("sudo bastion"), "{output:?}");
    }
}

#[test]
fn a_change_by_somebody_else_meanwhile_is_not_lost() {
    let host = installed(DEBIAN_12);
    // sshd is asked between the look and the change.
    host.write(
        "/root/sshd",
        format!("#!/bin/sh\necho '# theirs' >>{FILE}\necho usepam yes\n"),
        0o755,
    );
    host.sh("mount --bind /root/sshd /usr/sbin/sshd");
    let output = enable(&host);
    assert_eq!(output.code, Some(75), "{output:?}");
    assert!(output.errors().contains("changed by somebody else meanwhile"), "{output:?}");
    assert_eq!(host.read(FILE), format!("{DEBIAN_12}# theirs\n"));
    assert!(!host.path(LEFT_OVER).exists());
    // One that puts another file of the same content there, with other rights.
    host.write("/root/sshd", format!("#!/bin/sh\ncp {FILE} /etc/pam.d/new; chmod 600 /etc/pam.d/new; mv /etc/pam.d/new {FILE}\necho usepam yes\n"), 0o755);
    assert_eq!(enable(&host).code, Some(75));
    assert_eq!(host.sh(&format!("stat -c %a {FILE}")), "600\n");
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    let host = installed(DEBIAN_12);
    host.sh("cp -a /etc/pam.d /srv/pam.d");
    small(&host, "/etc/pam.d", "size=32k");
    host.sh("cp -a /srv/pam.d/. /etc/pam.d/");
    fill(&host, "/etc/pam.d");
    let output = enable(&host);
    assert!(output.code != Some(0) && output.errors().contains(FILE), "{output:?}");
    assert_eq!(host.read(FILE), DEBIAN_12);
    assert!(!host.path(LEFT_OVER).exists());
}

/// Ends `bastion enable` and `bastion disable` by SIGKILL at moments all over their life.
#[test]
fn killed_at_any_moment_the_file_is_the_old_one_or_the_new_one() {
    let host = installed(DEBIAN_12);
    enable(&host).ok();
    let with = host.read(FILE);
    let ino = || fs::metadata(host.path(FILE)).expect("a file").ino();
    let (mut killed, mut changed) = (0, 0);
    let began = std::time::Instant::now();
    enable(&host).ok();
    let life = began.elapsed();
    for round in 0..120_u32 {
        let word = if host.read(FILE) == with { "disable" } else { "enable" };
        let before = ino();
        let after = life.mul_f64(f64::from(round % 60) / 50.0).as_secs_f64().max(0.001);
        let script =
            format!("timeout --signal=KILL {after:.4} /artefacts/bastion {word} 2>/dev/null");
        let output = host.run(&["bash", "-c", &script]);
        killed += u32::from(output.code == Some(137));
        let text = host.read(FILE);
        assert!(text == with || text == DEBIAN_12, "{word} after {after} s: {text}");
        changed += u32::from(ino() != before);
    }
    assert!(killed > 10 && changed > 2, "of 120 {killed} were killed, {changed} came to their end");
    // Each way out of here is open, and nothing is left of the tries.
    assert_eq!(alerts_of_a_login(&host), usize::from(host.read(FILE) == with));
    if host.read(FILE) == with {
        disable(&host).ok();
    }
    enable(&host).ok();
    assert_eq!(host.read(FILE), with);
    assert!(!host.path(LEFT_OVER).exists());
}

#[test]
fn several_at_once_do_not_tear_the_file() {
    let host = installed(DEBIAN_12);
    enable(&host).ok();
    let with = host.read(FILE);
    let codes: Vec<Option<i32>> = thread::scope(|scope| {
        let one = |number: u32| {
            let host = &host;
            scope.spawn(move || if number % 2 == 0 { disable(host) } else { enable(host) }.code)
        };
        let all: Vec<_> = (0..12).map(one).collect();
        let done = wait_until(DEADLINE, || {
            let text = host.read(FILE);
            assert!(text == with || text == DEBIAN_12, "{text}");
            all.iter().all(thread::ScopedJoinHandle::is_finished)
        });
        assert!(done, "they do not end");
        all.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 75))), "{codes:?}");
    assert!(codes.contains(&Some(0)), "{codes:?}");
}

/// Where libpam would let nobody in without ours, the line does not go, and the login works before and after.
#[test]
fn disable_keeps_nobody_out() {
    let host = installed(DEBIAN_12);
    let alone =
        format!("{LINE}session [success=ok default=ignore] pam_succeed_if.so user = nobody\n");
    host.sh(&format!("sed -i '/session/d' {FILE}; printf '%s' '{alone}' >>{FILE}"));
    let text = host.read(FILE);
    assert_eq!(alerts_of_a_login(&host), 1);
    let mark = host.mark();
    let output = disable(&host);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.errors().contains("no other session line decides"), "{output:?}");
    assert_eq!((host.read(FILE), host.alerts_since(&mark).len()), (text, 0));
    host.sh(&format!("echo 'session required pam_permit.so' >>{FILE}"));
    disable(&host).ok();
    assert_eq!(alerts_of_a_login(&host), 0);
}

#[test]
fn what_others_lock_makes_nobody_wait_and_ours_they_cannot() {
    let host = installed(DEBIAN_12);
    let as_alice = "setpriv --reuid=alice --regid=alice --clear-groups";
    host.sh(&format!("{as_alice} flock /etc/pam.d true; {as_alice} sh -c 'flock /etc/pam.d sleep 1000 >/dev/null 2>&1 &'"));
    let is_locked = || host.run(&["flock", "-n", "/etc/pam.d", "true"]).code != Some(0);
    assert!(wait_until(DEADLINE, is_locked), "alice has not locked it");
    enable(&host).ok();
    assert_eq!(host.sh("stat -c '%U %a' /run/bastion-pam.lock"), "root 600\n");
    let output =
        host.run(&["flock", "-n", "/run/bastion-pam.lock", "/artefacts/bastion", "disable"]);
    assert_eq!(output.code, Some(75), "{output:?}");
    // Nor is a link of somebody's followed.
    host.sh("rm /run/bastion-pam.lock; ln -s /root/made /run/bastion-pam.lock");
    assert_ne!(disable(&host).code, Some(0));
    assert!(!host.path("/root/made").exists());
}

#[test]
fn disable_raises_no_alert_that_is_not_true() {
    let host = installed(DEBIAN_12);
    enable(&host).ok();
    let with = host.read(FILE);
    host.sh("mount --bind /etc/pam.d /etc/pam.d; mount -o remount,bind,ro /etc/pam.d");
    let mark = host.mark();
    let output = disable(&host);
    assert!(output.code != Some(0) && output.errors().contains(FILE), "{output:?}");
    assert_eq!(host.alerts_since(&mark).len(), 0);
    host.sh("umount /etc/pam.d");
    // What can only be found at the last step: nothing is renamed onto a mount point.
    host.sh(&format!("mount --bind {FILE} {FILE}"));
    let mark = host.mark();
    let output = disable(&host);
    assert!(output.code != Some(0) && output.errors().contains(FILE), "{output:?}");
    let alerts = host.alerts_since(&mark);
    let mut texts: Vec<_> =
        alerts.iter().filter_map(|alert| alert.json["what"]["text"].as_str()).collect();
    texts.sort_unstable();
    assert!(
        texts.len() == 2
            && texts[0].starts_with("guard off")
            && texts[1].starts_with("the guard is still on"),
        "{texts:?}"
    );
    assert_eq!(host.read(FILE), with);
    host.sh(&format!("umount {FILE}"));
    assert!(!host.path(LEFT_OVER).exists());
    disable(&host).ok();
    assert_eq!(host.read(FILE), DEBIAN_12);
}

#[test]
fn another_configuration_file_is_named_in_the_line() {
    let host = installed(DEBIAN_12);
    host.write("/srv/alt.toml", "", 0o644);
    let script = |word: &str| format!("cd /srv && /artefacts/bastion --config alt.toml {word}");
    host.sh(&script("enable"));
    let line = "-session optional pam_bastion.so config=/srv/alt.toml\n";
    assert!(host.read(FILE).contains(line), "{}", host.read(FILE));
    assert_eq!(host.read("/srv/pam.d-sshd.orig"), DEBIAN_12);
    host.sh(&script("disable"));
    assert_eq!(host.read(FILE), DEBIAN_12);
    assert!(!host.path("/srv/pam.d-sshd.orig").exists());
}

#[test]
fn the_copy_without_the_line_is_kept_and_a_dry_run_mends_nothing() {
    let host = installed(DEBIAN_12);
    enable(&host).ok();
    host.sh(&format!(
        "sed -i 's/^-session optional pam_bastion/session optional pam_bastion/' {FILE}"
    ));
    let wrong = host.read(FILE);
    let said = bastion(&host, &["enable", "--dry-run"]).ok().errors();
    assert!(said.contains("; would be mended") && host.read(FILE) == wrong, "{said}");
    let said = enable(&host).ok();
    assert!(said.errors().contains("; mended"), "{said:?}");
    assert!(said.text().contains("as it was without the line: "), "{said:?}");
    assert_eq!(host.read(BACKUP), DEBIAN_12);
    // One that has the line is worth nothing more.
    host.write(BACKUP, LINE, 0o644);
    host.write(FILE, &wrong, 0o644);
    enable(&host).ok();
    assert_eq!(host.read(BACKUP), wrong);
}

#[test]
fn check_finds_nothing_wrong_with_what_enable_has_made() {
    let host = installed(DEBIAN_12);
    let check = || bastion(&host, &["check"]).text();
    let before = check();
    assert!(before.contains("[pam-line-missing]"), "{before}");
    host.sh(&format!("echo 'session required pam_bastion.so config={CONFIG}' >>{FILE}"));
    let wrong = check();
    assert!(wrong.contains("[pam-line]"), "{wrong}");
    let mended = enable(&host).ok().errors();
    assert!(mended.contains("control required") && mended.contains("stood behind"), "{mended}");
    assert_eq!(
        without_ours(&host.read(FILE).replace(&format!(".so config={CONFIG}"), ".so")),
        DEBIAN_12
    );
    let after = check();
    assert!(after.contains('[') && !after.contains("[pam-"), "{after}");
    assert_eq!(alerts_of_a_login(&host), 1);
}
