//! `bastion drill`: all well where all is well, and each part that does not work is named, with what to do; its key is
//! gone after it, whatever happens.

use bastion_tests::certificates;
use bastion_tests::doctor::{BASTION, dress, findings, ids, prepared, program};
use bastion_tests::drill::{DRILL, KEYS, MOST, Rig, part};
use bastion_tests::host::DEADLINE;
use bastion_tests::like::Like;
use bastion_tests::mail::{MailRig, Options};
use bastion_tests::process::Daemon;
use bastion_tests::provider::Provider;
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, sms};
use bastion_tests::wait::wait_until;
use serde_json::Value;
use std::time::Duration;

#[test]
fn a_host_on_which_all_is_well_passes_and_says_so_part_by_part() {
    let rig = Rig::new(DRILL);
    let before = rig.line.inside.read(KEYS);
    let output = rig.drill(&[]);
    let text = output.text();
    println!("{text}took {:?}", output.took);
    assert_eq!(output.code, Some(0), "{text}\n{}", output.errors());
    assert!(text.starts_with("OK: 6 parts went well, 3 skipped, "), "{text}");
    assert!(output.took < MOST, "{:?}", output.took);
    for part in ["channel sms", "tunnel cloud", "login cloud", "host", "disk", "known good"] {
        let begin = format!("ok       {part} ");
        assert_eq!(
            text.lines().filter(|line| line.starts_with(&begin)).count(),
            1,
            "{part}: {text}"
        );
    }
    assert_eq!(rig.line.inside.read(KEYS), before, "the file of keys is as it was");
    rig.nothing_is_left();
    // One message for the channel, and one for the login, which says what it was, and nothing is new.
    let told = rig.told();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().any(|text| text.contains("drill: alerts get out this way")), "{told:#?}");
    let login = told.iter().find(|text| text.contains("login alice")).expect("the login's alert");
    assert!(login.contains("via tunnel") && login.contains("key bastion drill"), "{login}");
    assert!(!login.contains("NEW") && !login.contains("unmatched"), "{login}");
    // The tunnel was left alone.
    assert_eq!(rig.line.events("ssh-ended"), 0, "{}", rig.line.log());
}

/// Has the sender take over a change of its file, by a script of sed's.
fn reconfigure(rig: &Rig, script: &str) {
    rig.line.inside.sh(&format!("sed -i '{script}' /etc/bastion/bastion.toml"));
    rig.sender.signal(libc::SIGHUP);
    rig.line.inside.wait_syslog("bastion", "config-reloaded", 1);
}

#[test]
fn its_login_is_told_at_once_and_alone_whatever_was_told_just_before() {
    let rig = Rig::new(DRILL);
    reconfigure(&rig, "s/^digest = .*/digest = true/");
    let note = |text: &str| rig.line.inside.sh(&format!("{BASTION} send {text}"));
    for (count, text) in ["one", "two"].iter().enumerate() {
        note(text);
        assert!(wait_until(DEADLINE, || rig.told().len() == count + 1), "{:#?}", rig.told());
    }
    // What comes now is collected for half a minute.
    note("three");
    let (state, text) = part(&rig.report(), "login cloud");
    assert_eq!(state, "ok", "{text}");
    let told = rig.told();
    let login = told.iter().find(|text| text.contains("login alice")).expect("the login's alert");
    assert!(login.contains("via tunnel, key bastion drill"), "{login}");
    assert!(!told.iter().any(|text| text.contains("three")), "{told:#?}");
}

#[test]
fn a_login_whose_channel_has_sent_as_much_as_it_may_waits_for_its_turn() {
    let rig = Rig::new(DRILL);
    reconfigure(&rig, "s/^max-per-hour = .*/max-per-hour = 1/");
    assert_eq!(part(&rig.report(), "login cloud").0, "ok");
    let (state, text) = part(&rig.report(), "login cloud");
    assert!(state == "warning" && text.contains("waits for its turn: sms has sent"), "{text}");
}

/// What is wrong, by a script on the internal host, in which CONFIG and KEYS are those files; then the part that says
/// so, how it went, and what it says.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[test]
fn each_part_that_does_not_work_is_named_with_what_to_do() {
    let table: &[Row] = &[
        (
            "pkill tunnelwatch; sleep 0.5",
            "login cloud",
            "failed",
            "no way through cloud: tunnelwatch run does not keep it",
        ),
        (
            "pkill tunnelwatch; sleep 0.5",
            "tunnelwatch",
            "failed",
            "tunnelwatch run does not work here -> systemctl enable --now",
        ),
        ("pkill tunnelwatch; sleep 0.5", "host", "ok", "finds nothing else"),
        ("echo wrong >/etc/bastion/twilio-token", "channel sms", "failed", "auth-token-file"),
        ("sed -i 's/^user = .*//' CONFIG", "login cloud", "skipped", "[drill] user"),
        (
            "sed -i 's/^user = .*/user = \"nosuch\"/' CONFIG",
            "login cloud",
            "warning",
            "there is no user nosuch",
        ),
        (
            "sed -i 's/^user = .*/user = \"nobody\"/' CONFIG",
            "login cloud",
            "warning",
            "lets nobody in",
        ),
        (
            "sed -i '/^.drill/a skip-channels = [\"sms\"]' CONFIG",
            "channel sms",
            "skipped",
            "skip-channels",
        ),
        ("pkill -f '[b]astion run'; sleep 0.5", "login cloud", "failed", "the sender does not run"),
        ("sed -i /pam_bastion/d /etc/pam.d/sshd", "login cloud", "failed", "bastion enable"),
        ("chown root KEYS", "login cloud", "skipped", "belongs to uid 0"),
        ("rm KEYS; mkfifo KEYS", "login cloud", "skipped", "no plain file"),
        (
            "chmod 777 /home/alice/.ssh; chmod 777 /home/alice",
            "login cloud",
            "failed",
            "did not take a key",
        ),
        (
            "sed -i 's/^PasswordA.*/&\\nForceCommand true/' /etc/ssh/sshd_config",
            "login cloud",
            "skipped",
            "forces a command",
        ),
        (
            "printf 'Match Address 127.0.0.1\\nForceCommand true\\n' >>/etc/ssh/sshd_config",
            "login cloud",
            "skipped",
            "forces a command",
        ),
        (
            "sed -i 's/^PasswordA.*/&\\nAuthorizedKeysFile \\/tmp\\/%u/' /etc/ssh/sshd_config",
            "login cloud",
            "skipped",
            "others than root may write there",
        ),
        (
            "sed -i '1i [login]\\nknown-good = [\"127.0.0.1\"]' CONFIG",
            "login cloud",
            "ok",
            "known good by rule known-good, so nobody was told",
        ),
        (
            "sed -i '1i [[login.allow]]\\nusers = [\"bob\"]\\nuntil = '$(date -d '9 days' +%F) CONFIG",
            "known good",
            "warning",
            "allow 1 ends in 8 days",
        ),
        (
            "printf '[[link]]\\nname = \"b\"\\ninterface = \"nosuch0\"\\n' >>CONFIG",
            "line b",
            "failed",
            "nosuch0",
        ),
        (
            "printf '[notify.heartbeat]\\nurl-file = \"/etc/bastion/hc\"\\n' >>CONFIG
          echo http://127.0.0.1:9/x >/etc/bastion/hc; chmod 600 /etc/bastion/hc",
            "heartbeat",
            "failed",
            "127.0.0.1:9",
        ),
        ("echo x >>CONFIG", "host", "failed", "CONFIG"),
    ];
    each_row(table, |(wrong, name, state, says)| {
        let rig = Rig::new(DRILL);
        let fill =
            |text: &str| text.replace("CONFIG", "/etc/bastion/bastion.toml").replace("KEYS", KEYS);
        rig.line.inside.sh(&fill(wrong));
        let report = rig.report();
        let (found, text) = part(&report, name);
        assert!(
            found == *state && text.contains(&fill(says)),
            "{wrong}: {found} {text}: {report:#}"
        );
        let left = rig.line.inside.sh("ls -A /run/bastion-drill");
        assert_eq!(left, "lock\n", "{wrong}");
        assert!(
            !rig.line.inside.sh(&format!("test -p {KEYS} || cat {KEYS}")).contains("bastion-drill"),
            "{wrong}"
        );
        let took = report["took_s"].as_f64().expect("a time");
        assert!(took < MOST.as_secs_f64(), "{wrong}: {took}");
    });
}

#[test]
fn an_sshd_that_is_not_this_host_s_is_never_taken_for_it() {
    let mut rig = Rig::new(DRILL);
    let inside = &rig.line.inside;
    inside.sh("ssh-keygen -q -t ed25519 -N '' -f /root/other_host_key
        sed -i 's/^remote-ports.*/&\\ntarget = \"127.0.0.1:2022\"/' /etc/bastion/bastion.toml");
    let other = [
        "/usr/sbin/sshd",
        "-D",
        "-p",
        "2022",
        "-h",
        "/root/other_host_key",
        "-o",
        "HostKey=/root/other_host_key",
        "-f",
        "/dev/null",
    ];
    let _other = inside.spawn(&other);
    assert!(wait_until(DEADLINE, || inside.listens(2022)));
    rig.line.stop();
    rig.line.start();
    rig.line.wait_up(2222);
    let (state, text) = part(&rig.report(), "login cloud");
    assert!(state == "failed" && text.contains("is not this host's"), "{state} {text}");
    rig.nothing_is_left();
}

#[test]
fn a_file_of_keys_that_is_a_link_or_is_not_there_is_as_before_after_it() {
    let rig = Rig::new(DRILL);
    let inside = &rig.line.inside;
    inside
        .sh(&format!("mkdir /home/alice/dot; mv {KEYS} /home/alice/dot/keys; ln -s ../dot/keys {KEYS}; chown -hR alice: /home/alice"));
    let shown = || {
        inside.sh("cd /home/alice; ls -lA --time-style=+ . .ssh dot | grep -v ^total; cat dot/keys")
    };
    let before = shown();
    let (state, text) = part(&rig.report(), "login cloud");
    assert_eq!((state.as_str(), shown()), ("ok", before), "{text}");

    inside.sh("rm -r /home/alice/.ssh");
    let (state, text) = part(&rig.report(), "login cloud");
    assert_eq!(state, "ok", "{text}");
    assert_eq!(inside.sh("ls -A /home/alice"), "dot\n");
}

#[test]
fn a_file_of_keys_that_root_keeps_for_a_user_is_read_by_sshd_and_gone_after_it() {
    let mut rig = Rig::new(DRILL);
    let keys = "AuthorizedKeysFile /etc/ssh/keys/%u";
    rig.line.inside.sh(&format!(
        "mkdir -m 755 /etc/ssh/keys; sed -i 's,^PasswordA.*,&\\n{keys},' /etc/ssh/sshd_config"
    ));
    rig.line.inside.restart_sshd();
    let (state, text) = part(&rig.report(), "login cloud");
    assert_eq!(state, "ok", "{text}");
    assert_eq!(rig.line.inside.sh("ls -A /etc/ssh/keys"), "");
}

/// Has the next ssh on the internal host wait as long as there is /run/hang. The tunnel's runs already.
fn hang(rig: &Rig) {
    rig.line.inside.sh("cp /usr/bin/ssh /srv/ssh-real; touch /run/hang");
    program(
        &rig.line.inside,
        "ssh",
        "case \"$*\" in *HostKeyAlias=bastion-drill*)
        while [ -e /run/hang ]; do sleep 0.1; done ;; esac; exec /srv/ssh-real \"$@\"",
    );
}

/// A drill that has put its key in place and hangs in its login.
fn in_the_middle(rig: &Rig) -> Daemon {
    let drill = rig.line.inside.spawn(&[BASTION, "drill"]);
    let there = wait_until(DEADLINE, || rig.line.inside.read(KEYS).contains(" bastion-drill-"));
    assert!(there, "{}", drill.output());
    drill
}

#[test]
fn a_drill_that_is_told_to_end_takes_its_key_out_first() {
    let rig = Rig::new(DRILL);
    let before = rig.line.inside.read(KEYS);
    hang(&rig);
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut drill = in_the_middle(&rig);
        drill.signal(signal);
        assert_eq!(drill.wait(DEADLINE), Some(75), "{}", drill.output());
        assert_eq!(rig.line.inside.read(KEYS), before, "{signal}");
        assert_eq!(rig.line.inside.sh("ls -A /run/bastion-drill"), "lock\n", "{signal}");
    }
}

#[test]
fn the_key_of_a_drill_that_was_killed_is_found_lets_nobody_in_later_and_is_taken_out_by_the_next() {
    let rig = Rig::new(DRILL);
    let inside = &rig.line.inside;
    let before = inside.read(KEYS);
    hang(&rig);
    let mut drill = in_the_middle(&rig);
    // While one is at work there is nothing to complain of, and no second one.
    assert_eq!(ids(&findings(inside, &[])), [""; 0]);
    let (state, text) = part(&rig.report(), "login cloud");
    assert!(state == "skipped" && text.contains("another drill is at work"), "{state} {text}");
    drill.kill();
    inside.sh("rm /run/hang; pkill -f '[H]ostKeyAlias=bastion-drill'; cp -r /run/bastion-drill/key-* /root/left; chown -R root /root/left");
    assert_eq!(ids(&findings(inside, &[])), ["warning drill-key-left"]);

    // With what is left one says a word and no more, until it is over, and from here alone.
    let ssh = |more: &[&str], command: &str| {
        let key = ["-i", "/root/left/key", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"];
        inside.ssh(&[&key, more, &["alice@127.0.0.1", command]].concat())
    };
    let said = ssh(&[], "id");
    assert!(said.code == Some(0) && said.text().starts_with("bastion-drill-"), "{said:?}");
    assert_eq!(
        ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", "9999:localhost:22"], "").code,
        Some(255)
    );
    assert_eq!(
        ssh(&["-b", "198.51.100.7", "-o", "HostName=192.0.2.1"], "id").code,
        Some(255),
        "from elsewhere"
    );
    inside.sh(&format!("sed -i 's/expiry-time=\"[0-9]*/expiry-time=\"'$(TZ=UTC date -d '-1 minute' +%Y%m%d%H%M)/ {KEYS}"));
    assert_eq!(ssh(&[], "id").code, Some(255), "{}", inside.read(KEYS));

    let (state, text) = part(&rig.report(), "login cloud");
    assert!(
        state == "ok" && text.contains("an earlier drill had left was taken out"),
        "{state} {text}"
    );
    assert_eq!(inside.read(KEYS), before);
    rig.nothing_is_left();
    assert_eq!(ids(&findings(inside, &[])), [""; 0]);
}

#[test]
fn a_monthly_drill_tells_what_failed_at_once_and_the_rest_in_the_weekly_report() {
    let mut rig = Rig::new(DRILL);
    let counted = |rig: &Rig, line: &str| {
        let report = || rig.line.inside.run(&[BASTION, "report"]).text();
        assert!(wait_until(DEADLINE, || report().contains(line)), "{line}: {}", report());
    };
    let notes = |rig: &Rig| {
        rig.told().into_iter().filter(|text| text.contains("drill: failed: ")).collect::<Vec<_>>()
    };
    assert_eq!(rig.drill(&["--monthly"]).ok().code, Some(0));
    counted(&rig, "drill parts: 6 of 6");
    assert_eq!(notes(&rig), [""; 0]);
    rig.line.stop();
    assert_eq!(rig.drill(&["--monthly", "--json"]).code, Some(2));
    assert!(wait_until(DEADLINE, || notes(&rig).len() == 1), "{:#?}", rig.told());
    let note = &notes(&rig)[0];
    assert!(
        note.contains("warning: drill: failed: tunnelwatch, login cloud; run: bastion drill"),
        "{note}"
    );
    counted(&rig, "drill parts: 11 of 13");
    rig.line.inside.wait_events("bastion", "drill", 2);
}

#[test]
fn where_there_is_nothing_to_try_or_no_right_to_it_is_said() {
    let rig = Rig::new(DRILL);
    let output = rig.line.inside.run(&[
        "setpriv",
        "--reuid=alice",
        "--regid=alice",
        "--clear-groups",
        BASTION,
        "drill",
        "--json",
    ]);
    let report: Value = serde_json::from_str(&output.text()).expect("a report");
    let (state, text) = part(&report, "login cloud");
    assert!(state == "skipped" && text.contains("sudo bastion drill"), "{state} {text}");
    for words in [&["drill", "--nosuch"][..], &["drill", "nosuch"], &["drill", "key-add"]] {
        let output = rig.line.inside.run(&[&[BASTION], words].concat());
        assert_eq!(output.code, Some(64), "{words:?}: {output:?}");
    }
}

#[test]
fn a_server_whose_certificate_ends_soon_is_named() {
    let table =
        [(6, "warning", "believed for 5 days more"), (60, "ok", "believed for 59 days more")];
    each_row(&table, |(days, state, says)| {
        let host = prepared();
        host.sh("mkdir -p /run/provider");
        let left = Duration::from_secs(days * 86_400);
        let _ = certificates::make_lasting(&host.path("/run/provider"), left);
        let provider = Provider::start_with(&host, Like::Twilio, "127.0.0.1:0", true);
        host.write_config(&format!(
            "{LOGIN}{}ca-file = \"/run/provider/ca.pem\"\n",
            sms(&provider.url())
        ));
        let output = host.run_with(MOST, &[BASTION, "drill", "--json"], b"");
        let report: Value = serde_json::from_str(&output.text()).expect("a report");
        let (found, text) = part(&report, "certificate 127.0.0.1");
        assert!(found == *state && text.contains(says), "{found} {text}");
        assert_eq!(part(&report, "channel sms").0, "ok", "{report:#}");
        assert_eq!(part(&report, "tunnel").0, "skipped", "{report:#}");
    });
}

#[test]
fn a_mail_server_s_certificate_is_looked_at_as_well() {
    let rig = MailRig::start(&Options::tls("starttls").signed_in(), "");
    dress(&rig.host);
    let output = rig.host.run_with(MOST, &[BASTION, "drill", "--json"], b"");
    let report: Value = serde_json::from_str(&output.text()).expect("a report");
    let parts = report["parts"].as_array().expect("parts");
    let of_server = parts
        .iter()
        .find(|part| part["name"].as_str().is_some_and(|name| name.starts_with("certificate ")));
    assert!(of_server.is_some_and(|part| part["state"] == "ok"), "{report:#}");
    assert_eq!(rig.server.mails().len(), 1, "the test message");
}
