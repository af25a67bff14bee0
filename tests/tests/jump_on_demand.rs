//! The jump host that runs only while the main line is down, with a real sshd on it, a real `linkprobe watch`, and a
//! cloud that does what it is asked for, and sometimes not.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use bastion_tests::doctor;
use bastion_tests::host::{CONFIG, DEADLINE};
use bastion_tests::on_demand::OnDemand;
use bastion_tests::process::Output;
use bastion_tests::tunnel::PORTS;
use bastion_tests::wait::pause;

/// Times that a test can wait for.
const SOON: &str = "start-after = \"2s\"\nstop-after = \"3s\"";

/// How long it may take until the tunnel works, or all is off again: an outage is known within six seconds.
const MOST: Duration = Duration::from_secs(40);

fn begin(more: &str) -> OnDemand {
    let mut all = OnDemand::new(more);
    all.line.start();
    all.wait("off by plan", DEADLINE, OnDemand::rests);
    all
}

fn up(all: &mut OnDemand) {
    all.cut();
    all.wait("the tunnel", MOST, OnDemand::is_up);
    assert!(all.line.answers(PORTS[0]));
}

#[test]
fn it_runs_while_the_main_line_is_down_at_another_address_each_time_and_is_off_by_plan_else() {
    let mut all = begin(SOON);
    let status = all.line.tunnelwatch(&["status"]);
    assert_eq!(status.code, Some(0), "{}", status.text());
    assert!(status.text().contains("OK: cloud off by plan for"), "{}", status.text());
    assert!(status.text().contains(": main is up for"), "{}", status.text());
    for round in 1..=2 {
        up(&mut all);
        let address = format!("10.2.0.{}", 10 + round);
        assert_eq!(all.jump()["address"], address.as_str());
        let status = all.by_hand(&["status"]);
        assert_eq!(status.code, Some(0), "{}", status.text());
        assert!(
            status.text().contains(&format!("cloud: on at {address} for")),
            "{}",
            status.text()
        );
        let said = format!("jump host of cloud: reachable at {address}, and the tunnel is up");
        all.wait("the alert", DEADLINE, |all| all.notes().contains(&said));
        all.mend();
        all.wait("its end", MOST, |all| all.rests() && all.cloud("state").trim() == "off");
        assert_eq!((all.count("starts"), all.count("stops")), (round, round), "{}", all.story());
    }
    let notes = all.notes();
    let count = |begin: &str| notes.iter().filter(|note| note.starts_with(begin)).count();
    assert_eq!(count("jump host of cloud: starting, because main is down for"), 2, "{notes:?}");
    assert_eq!(count("jump host of cloud: stopped after"), 2, "{notes:?}");
    assert!(notes.iter().any(|note| note.ends_with("of 50 h this month")), "{notes:?}");
    // Of the tunnel itself nothing was told.
    assert!(all.line.alerts().iter().all(|(kind, _)| kind != "condition"), "{}", all.story());
    assert_eq!(all.cloud("wrong"), "");
}

#[test]
fn a_boot_of_twenty_seconds_is_all_that_is_waited_for_but_the_confirmation_and_ten_more() {
    let mut all = OnDemand::new("start-after = \"5s\"");
    all.boot = Duration::from_secs(20);
    all.line.start();
    all.wait("off by plan", DEADLINE, OnDemand::rests);
    all.cut();
    let begun = Instant::now();
    all.wait("the tunnel", Duration::from_secs(90), |all| {
        !all.cloud("address").is_empty() && all.line.answers(PORTS[0])
    });
    let took = begun.elapsed();
    eprintln!(
        "main line down to tunnel usable: {took:.1?}, of which 20 s boot and 5 s start-after"
    );
    assert!(took <= Duration::from_secs(20 + 5 + 10), "{took:?} {}", all.story());
}

#[test]
fn systemd_hears_that_it_is_ready_when_nothing_runs_by_plan() {
    let mut all = OnDemand::new(SOON);
    let socket = UnixDatagram::bind(all.line.inside.path("/run/notify")).unwrap();
    all.line.inside.sh("chmod 777 /run/notify");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    all.line.start_on(&["env", "NOTIFY_SOCKET=/run/notify"]);
    let mut buffer = [0; 64];
    let got = socket.recv(&mut buffer).unwrap_or(0);
    assert_eq!(String::from_utf8_lossy(&buffer[..got]), "READY=1", "{}", all.story());
    all.wait("off by plan", DEADLINE, OnDemand::rests);
}

#[test]
fn a_short_outage_does_nothing() {
    let mut all = begin("start-after = \"20s\"\nstop-after = \"3s\"");
    all.cut();
    all.wait("the outage", DEADLINE, |all| {
        all.line.status()["why"].as_str().is_some_and(|why| why.contains("main is down"))
    });
    all.mend();
    all.wait("its end", DEADLINE, |all| {
        all.line.status()["why"].as_str().is_some_and(|why| why.contains("main is up"))
    });
    all.stays("off", Duration::from_secs(12), OnDemand::rests);
    assert_eq!(all.count("starts"), 0);
}

#[test]
fn it_is_never_stopped_under_somebody() {
    let mut all = begin(SOON);
    up(&mut all);
    let mut person = all.log_in();
    all.wait("the login", DEADLINE, |all| all.jump()["logged-in"] == 1);
    all.mend();
    all.wait("the line", MOST, |all| all.jump()["wanted"] == false);
    all.stays("on", Duration::from_secs(10), |all| all.cloud("state").trim() == "on");
    let status = all.by_hand(&["status"]).text();
    assert!(status.contains("it is stopped when the 1 who are logged in"), "{status}");
    assert_eq!(status.matches("logged in").count(), 1, "{status}");
    // Nor by hand.
    assert_eq!(all.by_hand(&["stop"]).code, Some(0));
    all.stays("on", Duration::from_secs(5), |all| all.cloud("state").trim() == "on");
    person.kill();
    all.wait("its end", MOST, |all| all.rests() && all.cloud("state").trim() == "off");
    assert_eq!(all.count("stops"), 1);
}

#[test]
fn killed_between_the_note_and_the_answer_it_is_started_once_and_stopped_once() {
    let mut all = begin(SOON);
    for round in 1..=3 {
        all.misbehave("mute", true);
        all.cut();
        // It is done, and the answer will not come.
        all.wait("the call", MOST, |all| all.count("starts") == round);
        all.line.run.as_mut().expect("it runs").kill();
        all.line.start();
        all.wait("the tunnel", MOST, OnDemand::is_up);
        assert_eq!(all.count("starts"), round, "{}", all.story());
        // And between the word to stop it and the answer.
        all.misbehave("mute", true);
        all.mend();
        all.wait("the call", MOST, |all| all.count("stops") == round);
        all.line.run.as_mut().expect("it runs").kill();
        all.line.start();
        all.wait("its end", MOST, |all| all.rests() && all.cloud("state").trim() == "off");
        assert_eq!(all.count("stops"), round, "{}", all.story());
    }
    assert_eq!(all.cloud("wrong"), "");
}

#[test]
fn killed_at_any_moment_it_is_started_once_and_what_runs_is_found() {
    let mut all = begin(SOON);
    for round in 1..=6_usize {
        all.cut();
        let begun = Instant::now();
        // Somewhere between the outage and the answer.
        let moment = Duration::from_millis(2_000 + 700 * u64::try_from(round).unwrap());
        while begun.elapsed() < moment {
            all.pump();
            pause(Duration::from_millis(5));
        }
        all.line.run.as_mut().expect("it runs").kill();
        all.mend();
        // Nobody needs it any more, and it may run: whoever comes after finds it.
        all.stays("nobody", Duration::from_secs(1), |_| true);
        all.line.start();
        all.wait("its end", MOST, |all| all.rests() && all.cloud("state").trim() == "off");
        assert_eq!(all.count("starts"), all.count("stops"), "{}", all.story());
        assert!(all.count("starts") <= round, "{}", all.story());
    }
    assert!(all.count("starts") > 0 && all.cloud("wrong").is_empty(), "{}", all.story());
}

#[test]
fn what_is_wrong_at_the_provider_is_told_and_it_goes_on_when_that_is_over() {
    let mut all = OnDemand::new(SOON);
    all.misbehave("refused", true);
    all.line.start();
    let says = |all: &OnDemand, what: &str| all.notes().iter().any(|note| note.contains(what));
    // Found before it is needed.
    all.wait("the alert", DEADLINE, |all| {
        says(all, "it could not be started if it were needed: the key is not valid")
    });
    assert_eq!(all.by_hand(&["status"]).code, Some(1));
    let check = all.line.tunnelwatch(&["check"]);
    assert!(
        check.errors().contains("the provider does not describe: the key is not valid"),
        "{}",
        check.errors()
    );
    all.misbehave("refused", false);
    assert_eq!(all.line.tunnelwatch(&["retry"]).code, Some(0));
    all.wait("its end", DEADLINE, |all| says(all, "does what it is asked for again"));
    // No room, and then no answer.
    all.misbehave("full", true);
    all.cut();
    all.wait("no room", MOST, |all| all.cloud("calls").matches("start").count() >= 2);
    assert!(all.jump()["trouble"].as_str().is_some_and(|why| why.contains("no room in this zone")));
    let status = all.line.tunnelwatch(&["status"]);
    assert!(status.text().contains("DOWN: cloud"), "{}", status.text());
    assert_eq!(status.code, Some(2));
    all.misbehave("full", false);
    all.misbehave("away", true);
    all.wait("no answer", MOST, |all| {
        all.jump()["trouble"].as_str().is_some_and(|why| why.contains("timed out"))
    });
    all.misbehave("away", false);
    all.wait("the tunnel", MOST, OnDemand::is_up);
    assert_eq!((all.count("starts"), all.cloud("wrong")), (1, String::new()));
}

#[test]
fn by_hand_it_runs_until_stop_and_a_wish_waits_for_who_can_fulfil_it() {
    let mut all = OnDemand::new(SOON);
    let enroll = all.line.tunnelwatch(&["enroll"]);
    assert_eq!(enroll.code, Some(69), "{}", enroll.text());
    assert!(enroll.errors().contains("tunnelwatch jump start cloud"), "{}", enroll.errors());
    let said = all.by_hand(&["start"]);
    assert_eq!(said.code, Some(0), "{}", said.errors());
    assert!(said.text().contains("as soon as tunnelwatch runs"), "{}", said.text());
    all.line.start();
    all.wait("the tunnel", MOST, OnDemand::is_up);
    all.stays("on", Duration::from_secs(6), |all| all.cloud("state").trim() == "on");
    let enroll = all.line.tunnelwatch(&["enroll"]);
    assert_eq!(enroll.code, Some(0), "{}", enroll.errors());
    assert!(enroll.text().contains("Host jump\n"), "{}", enroll.text());
    assert!(
        enroll.text().contains("HostName 10.2.0.11\n    HostKeyAlias jump\n"),
        "{}",
        enroll.text()
    );
    let status = all.by_hand(&["status", "cloud"]).text();
    assert!(status.contains("it was started by hand"), "{status}");
    assert_eq!(all.by_hand(&["stop", "cloud"]).code, Some(0));
    all.wait("its end", MOST, |all| all.rests() && all.cloud("state").trim() == "off");
    // Of one that is off by plan there is nothing to find.
    let check = all.line.tunnelwatch(&["check"]);
    assert_eq!(check.code, Some(0), "{}", check.errors());
    // Anybody may look, and nobody else may wish.
    let words = ["/artefacts/tunnelwatch", "--run-dir", "/run/tunnelwatch", "jump"];
    let anybody = |word: &str| {
        let mut all_words = vec!["setpriv", "--reuid=alice", "--clear-groups", "--"];
        all_words.extend(words);
        all_words.push(word);
        all_words.push("--json");
        all.line.inside.run(&all_words)
    };
    let json = anybody("status");
    assert!(json.text().contains("\"machine\": \"off\""), "{} {}", json.text(), json.errors());
    assert_ne!(anybody("start").code, Some(0));
    assert_ne!(all.by_hand(&["start", "other"]).code, Some(0));
    assert_eq!(all.count("starts"), 1);
}

#[test]
fn one_that_somebody_else_has_started_is_told_and_left_alone_and_the_month_is_held() {
    let mut all = OnDemand::new(&format!("{SOON}\nmax-hours-per-month = 1"));
    all.start_by_somebody();
    all.wait("it comes up", DEADLINE, |all| all.cloud("state").trim() == "on");
    all.line.start();
    let says = |all: &OnDemand, what: &str| all.notes().iter().any(|note| note.contains(what));
    all.wait("the alert", MOST, |all| says(all, "was started by somebody else, and is not needed"));
    all.stays("on", Duration::from_secs(8), |all| all.cloud("state").trim() == "on");
    assert_eq!(all.by_hand(&["stop"]).code, Some(0));
    all.wait("its end", MOST, |all| all.rests() && all.cloud("state").trim() == "off");
    // The month is nearly used up.
    all.line.stop();
    let file = "/var/lib/tunnelwatch/cloud.jump";
    let mut note: serde_json::Value = serde_json::from_str(&all.line.inside.read(file)).unwrap();
    let month = all.line.inside.sh("date -u +%Y-%m").trim().to_owned();
    note["used-ms"] = serde_json::json!({ month: 3_600_000 - 10_000 });
    all.line.inside.write(file, note.to_string(), 0o600);
    all.line.inside.sh(&format!("chown _tunnelwatch: {file}"));
    all.line.start();
    up(&mut all);
    all.wait("the alert", MOST, |all| says(all, "the 1 h of this month are used up"));
    // The line is down, and it is stopped all the same; status does not call that well.
    all.wait("its end", MOST, |all| all.cloud("state").trim() == "off");
    all.wait("it is said", DEADLINE, |all| {
        all.line.status()["why"].as_str().is_some_and(|why| why.contains("are used up"))
    });
    assert_eq!(all.line.tunnelwatch(&["status"]).code, Some(2));
    all.stays("off", Duration::from_secs(6), |all| all.cloud("state").trim() == "off");
    // A person may go on.
    assert_eq!(all.by_hand(&["start"]).code, Some(0));
    all.wait("the tunnel", MOST, OnDemand::is_up);
}

#[test]
fn a_file_that_is_read_anew_changes_what_is_done() {
    let mut all = begin("start-after = \"10m\"");
    all.cut();
    all.stays("off", Duration::from_secs(6), |all| all.cloud("state").trim() == "off");
    all.line.inside.write_config(&bastion_tests::on_demand::config(SOON));
    all.line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    all.wait("the tunnel", MOST, OnDemand::is_up);
    // Without the section it is a tunnel as any other, and what runs is left as it is.
    let config = bastion_tests::on_demand::config(SOON);
    let address = all.jump()["address"].as_str().unwrap_or_default().to_owned();
    let (before, rest) = config.split_once("[tunnel.on-demand]").unwrap();
    let (_, link) = rest.split_once("[[link]]").unwrap();
    let always = before.replace("tunnel@jump", &format!("tunnel@{address}"));
    let always = always.replace("BindInterface=a0\"", "BindInterface=a0\", \"HostKeyAlias=jump\"");
    all.line.inside.write_config(&format!("{always}[[link]]{link}"));
    all.line.run.as_ref().expect("it runs").signal(libc::SIGHUP);
    all.wait("the tunnel", MOST, |all| all.is_up() && all.jump().is_null());
    assert_eq!(all.cloud("state").trim(), "on");
    let said = format!("it runs at {address}, and nobody stops it any more");
    assert!(all.notes().iter().any(|note| note.contains(&said)), "{}", all.story());
}

#[test]
fn a_key_that_was_enrolled_with_its_port_is_still_believed_when_the_jump_host_is_on_demand() {
    let mut all = OnDemand::new(SOON);
    all.line.jump.sh("sed -i 's/^Port 22$/Port 22\\nPort 2022/' /etc/ssh/sshd_config");
    let on_demand = bastion_tests::on_demand::config(SOON)
        .replace("tunnel@jump\"", "tunnel@10.2.0.11\"\nport = 2022");
    let (always, _) = on_demand.split_once("[tunnel.on-demand]").unwrap();
    all.line.inside.write_config(always);
    all.line.inside.sh("rm /var/lib/tunnelwatch/known_hosts");
    all.start_by_somebody();
    all.wait("it comes up", DEADLINE, |all| all.cloud("state").trim() == "on");
    let script = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2";
    let key = all.line.jump.sh(script).trim().to_owned();
    let enroll = all.line.tunnelwatch(&["enroll", "--host-key", &key]);
    assert_eq!(enroll.code, Some(0), "{}", enroll.errors());
    let known = all.line.inside.read("/var/lib/tunnelwatch/known_hosts");
    assert!(known.starts_with("[10.2.0.11]:2022 ssh-ed25519 "), "{known}");
    all.line.inside.sh("echo stopping >/var/lib/cloud/state");
    all.wait("it is off", DEADLINE, |all| all.cloud("state").trim() == "off");
    all.line.inside.write_config(&on_demand);
    all.line.start();
    all.wait("off by plan", DEADLINE, OnDemand::rests);
    up(&mut all);
    assert_eq!(all.jump()["address"], "10.2.0.12");
    // Nobody has to enroll again, and laptops look for what they know.
    let enroll = all.line.tunnelwatch(&["enroll"]);
    assert!(enroll.text().contains("has the jump host's key already"), "{}", enroll.text());
    assert!(enroll.text().contains("    HostKeyAlias [10.2.0.11]:2022\n"), "{}", enroll.text());
    // One that was written without its port is believed as before.
    all.line.run.as_mut().expect("it runs").kill();
    all.line.inside.sh("sed -i 's/^[^ ]*/10.2.0.11/' /var/lib/tunnelwatch/known_hosts");
    all.line.start();
    all.wait("the tunnel", MOST, |all| all.is_up() && all.line.answers(PORTS[0]));
}

/// Longest time for a check of a tunnel: it waits for what may not come.
const CHECK: Duration = Duration::from_secs(90);

fn check(all: &OnDemand) -> Output {
    let words = ["/artefacts/tunnelwatch", "--config", CONFIG, "check"];
    all.line.inside.run_with(CHECK, &words, b"")
}

#[test]
fn one_that_is_off_by_plan_is_nothing_that_a_check_finds_or_asks() {
    let mut all = begin(SOON);
    let begun = Instant::now();
    let output = check(&all);
    assert_eq!((output.code, output.errors()), (Some(0), String::new()), "{output:?}");
    assert!(!output.text().contains("note:"), "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "somebody was asked: {output:?}");
    // The doctor says no more, and says what is wrong.
    doctor::dress(&all.line.inside);
    all.line.inside.sh("install -m 0755 /artefacts/tunnelwatch /artefacts/linkprobe /srv");
    let of_it = |all: &OnDemand| -> Vec<String> {
        let all = doctor::findings(&all.line.inside, &[]).into_iter().map(|one| one.to_string());
        all.filter(|one| ["tunnel", "jump", "cloud"].iter().any(|word| one.contains(word)))
            .collect()
    };
    assert_eq!(of_it(&all), [] as [&str; 0]);
    all.misbehave("refused", true);
    assert_eq!(all.line.tunnelwatch(&["retry"]).code, Some(0));
    all.wait("the trouble", DEADLINE, |all| all.jump()["trouble"].is_string());
    // And that nobody would start it: the name of the link is wrong.
    let config = all.line.inside.read(CONFIG);
    all.line.inside.write_config(&config.replace("link = \"main\"", "link = \"mian\""));
    let found = of_it(&all);
    assert_eq!(found.len(), 2, "{found:?}");
    for want in [
        "the provider does not describe: the key is not valid",
        "as nobody knows whether mian is up: linkprobe watch knows no link",
    ] {
        assert!(found.iter().any(|one| one.contains(want)), "{want}: {found:?}");
    }
}

#[test]
fn one_that_runs_is_asked_who_comes_through_where_it_is() {
    let mut all = OnDemand::new(SOON);
    all.line.authorize("/artefacts/tunnelwatch answer 2222 2223");
    all.line.jump.sh(
        "sed -i '/^tunnel:/s,[^:]*$,/bin/sh,' /etc/passwd
         printf 'Match User tunnel\\n ClientAliveInterval 2\\n ClientAliveCountMax 3\\n' >>/etc/ssh/sshd_config",
    );
    all.line.start();
    up(&mut all);
    let output = check(&all);
    assert_eq!((output.code, output.errors()), (Some(0), String::new()), "{output:?}");
    assert!(!output.text().contains("note:"), "{output:?}");
}
