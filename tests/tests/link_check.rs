//! `linkprobe check`: the verdicts, and who reads them.

use bastion_tests::link::checks::{Checks, EXPECT, PROVIDERS};
use bastion_tests::link::speed::CA;
use bastion_tests::link::{Net, Shape, Way};

/// What most lines here are asked for.
const TEN: &str = "min-download = \"10 Mbit/s\"";

/// Bytes that the kernel sends of itself by a device, to find its neighbours.
const KERNELS: u64 = 2000;

#[test]
fn a_good_line_a_slow_one_and_one_too_near_to_tell() {
    let checks = Checks::new(&format!("{EXPECT}\n{TEN}"));
    let good = checks.check(&[]).is("good", "download: at least 1");
    assert!(good.number("download").is_some_and(|rate| (10e6..20e6).contains(&rate)), "{good:#?}");
    assert_eq!(good.record["download_is"], "at-least");
    assert!(good.bytes < 2_000_000, "{good:#?}");
    // What is counted is what went over the line, but for its Ethernet headers.
    let said = good.number("bytes_sent").unwrap() + good.number("bytes_received").unwrap();
    let share = said / good.bytes as f64;
    assert!((0.9..1.1).contains(&share), "{share}: {good:#?}");
    checks.mbit(5.0);
    let slow = checks.check(&[]).is("slow", "10 Mbit/s asked for");
    assert!(slow.number("download").is_some_and(|rate| (4e6..5.5e6).contains(&rate)), "{slow:#?}");
    assert_eq!(slow.record["download_is"], "about");
    let down = Some(Shape::carrying(10e6));
    checks.net.lines[0].shape(down, None);
    let marginal = checks.check(&[]).is("marginal", "too near to tell");
    let is_near = |rate: f64| (9.4e6..10.6e6).contains(&rate);
    assert!(marginal.number("download").is_some_and(is_near), "{marginal:#?}");
    // One bad check alarms nobody.
    assert!(checks.told().is_empty(), "{:#?}", checks.told());
    assert_eq!(checks.history().0.len(), 3);
}

#[test]
fn a_wrong_line_costs_ten_kilobytes_and_a_call() {
    // Of the other ISP, and the default route leads there.
    let checks = Checks::on(Net::with(&[None, None]), "");
    checks.keys(&format!(
        "interface = \"line1\"\n{}\n{EXPECT}\n{TEN}",
        bastion_tests::link::checks::PROVIDERS
    ));
    for told in [1, 1] {
        let before = checks.net.lines.iter().map(|line| line.count().all()).collect::<Vec<_>>();
        let wrong = checks.check(&[]).is("wrong-isp", "AS3320");
        let after = checks.net.lines.iter().map(|line| line.count().all()).collect::<Vec<_>>();
        assert!(after[1] - before[1] <= 10_000, "{before:?} {after:?}");
        assert!(after[0] - before[0] < KERNELS, "the other line: {before:?} {after:?}");
        assert!(wrong.record["download"].is_null(), "{wrong:#?}");
        assert!(wrong.reasons().contains("and not AS14593 or starlink"), "{wrong:#?}");
        let all = checks.told();
        assert!(all.len() == told && all[0].name == "link backup isp", "{all:#?}");
        assert!(all[0].severity == "critical" && all[0].text.contains("AS3320"), "{all:#?}");
    }
    let served = || checks.speed.iter().flat_map(bastion_tests::link::speed::Speed::served);
    assert!(served().all(|one| !one.target.contains("garbage")), "a download was begun");
    // The right line is well by the device that has it, wherever the default route leads.
    checks.keys(&format!(
        "interface = \"line0\"\n{}\n{EXPECT}\n{TEN}",
        bastion_tests::link::checks::PROVIDERS
    ));
    let other = checks.net.lines[1].count().all();
    checks.check(&[]).is("good", "download");
    assert!(checks.net.lines[1].count().all() - other < KERNELS);
    let all = checks.told();
    assert!(all.len() == 2 && all[1].status == "up", "{all:#?}");
}

#[test]
fn a_line_that_is_far_away_has_high_latency_and_is_not_slow() {
    let net = Net::with(&[Some(Way::of_rtt_ms(150.0))]);
    net.lines[0].shape(Some(Shape::mbit(20.0)), Some(Shape::mbit(5.0)));
    let checks = Checks::on(net, &format!("{EXPECT}\n{TEN}\nmax-latency = \"100 ms\""));
    let far = checks.check(&[]).is("high-latency", "100 ms at most asked for");
    assert!(far.number("ping").is_some_and(|ms| (150.0..190.0).contains(&ms)), "{far:#?}");
    assert!(far.number("download").is_some_and(|rate| rate > 10e6), "{far:#?}");
    let mut net = checks.net;
    net.lines[0].way(Way::of_rtt_ms(40.0));
    let checks = Checks { net, ..checks };
    let near = checks.check(&[]).is("good", "latency: 4");
    assert!(near.number("ping").is_some_and(|ms| (40.0..60.0).contains(&ms)), "{near:#?}");
}

#[test]
fn upload_has_a_threshold_of_its_own() {
    let checks = Checks::new(&format!("{TEN}\nmin-upload = \"2 Mbit/s\""));
    let good = checks.check(&[]).is("good", "upload: at least");
    assert!(good.number("upload").is_some_and(|rate| (2e6..5e6).contains(&rate)), "{good:#?}");
    checks.net.lines[0].shape(Some(Shape::mbit(20.0)), Some(Shape::mbit(1.0)));
    let slow = checks.check(&[]).is("slow", "upload: about");
    assert!(slow.number("upload").is_some_and(|rate| (0.8e6..1.2e6).contains(&rate)), "{slow:#?}");
    assert!(slow.number("download").is_some_and(|rate| rate > 10e6), "{slow:#?}");
}

#[test]
fn scripts_made_for_speedtest_cli_go_on_working() {
    let checks = Checks::new(&format!("{EXPECT}\n{TEN}"));
    let script = r#".client.isp, .download, .ping, .client.ip, .timestamp"#;
    let by_jq = |json: &[u8]| {
        let deadline = std::time::Duration::from_secs(10);
        let words = ["jq", "-e", "-r", script];
        let output = checks.net.home.run_with(deadline, &words, json).ok();
        output.text().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let good = checks.check(&[]).is("good", "");
    let values = by_jq(&good.output.stdout);
    assert!(values[0].to_lowercase().contains("starlink"), "{values:?}");
    assert!(values[1].parse::<f64>().is_ok_and(|rate| rate > 10e6), "{values:?}");
    assert!(values[2].parse::<f64>().is_ok_and(|ms| (0.0..50.0).contains(&ms)), "{values:?}");
    assert_eq!(values[3], checks.net.lines[0].address);
    // The history is a log of the same.
    let history = checks.net.home.read("/var/lib/linkprobe/backup.jsonl");
    assert_eq!(by_jq(history.as_bytes()), values);
    // And of a line that is down there is null, as a script expects that knows failures.
    checks.net.lines[0].cut(true);
    let down = checks.check(&[]).is("down", "nobody answers");
    let words = ["jq", "-c", "[.client.isp, .download, .ping]"];
    let deadline = std::time::Duration::from_secs(10);
    let nothing = checks.net.home.run_with(deadline, &words, &down.output.stdout).ok();
    assert_eq!(nothing.text(), "[null,null,null]\n");
}

#[test]
fn a_person_reads_a_verdict_and_what_it_cost_and_a_script_the_code_alone() {
    let checks = Checks::new(&format!("{EXPECT}\n{TEN}"));
    let shown = checks.linkprobe(&["check"]).ok();
    let (text, errors) = (shown.text(), shown.errors());
    assert!(text.starts_with("OK: backup is good\n  download: at least 1"), "{text}");
    // The name as the file has it, so that who reads the text finds the word they wrote.
    assert!(text.contains("  starlink, AS14593, 98.97.32.2\n"), "{text}");
    assert!(text.contains("  ping "), "{text}");
    assert!(errors.contains("used ") && errors.contains(" of 2 GB since "), "{errors}");
    assert!(!errors.contains('\x1b') && !errors.contains("..."), "no terminal: {errors}");
    checks.mbit(4.0);
    let quiet = checks.linkprobe(&["check", "backup", "--quiet"]);
    assert_eq!((quiet.code, quiet.text(), quiet.errors()), (Some(2), String::new(), String::new()));
    let shown = checks.linkprobe(&["check"]);
    assert!(shown.code == Some(2), "{shown:?}");
    assert!(shown.text().starts_with("CRITICAL: backup is slow\n  download: about "), "{shown:?}");
    let other = checks.linkprobe(&["check", "main"]);
    assert!(other.code == Some(64) && other.errors().contains("there are: backup"), "{other:?}");
}

#[test]
fn on_a_terminal_it_says_what_is_going_on_and_cleans_up() {
    let checks = Checks::new(&format!("{EXPECT}\n{TEN}"));
    let command = "/artefacts/linkprobe check; echo code $?";
    let output = checks.net.home.run(&["script", "-qec", command, "/dev/null"]);
    let text = output.text();
    for part in ["whose is it? ...", "download ...", "how far is it? ...", "OK: backup is good"] {
        assert!(text.contains(part), "{part}: {text:?}");
    }
    assert!(text.contains("code 0"), "{text}");
    let verdict = text.find("OK: backup").unwrap();
    let progress = text.rfind("...").unwrap();
    assert!(progress < verdict, "{text:?}");
    // What is left on the screen when all is said: nothing of the progress.
    let after = &text[progress..verdict];
    assert!(after.contains("\r\x1b[K"), "{text:?}");
}

#[test]
fn the_providers_of_the_world_are_asked_as_they_are() {
    let checks = Checks::new("");
    let keys = |provider: &str| {
        format!(
            "interface = \"line0\"\n{EXPECT}\n{TEN}\nca-file = \"{CA}\"\nproviders = [{provider}]"
        )
    };
    for (provider, sponsor) in [
        ("\"cloudflare\"", "cloudflare"),
        ("\"speedtest.net\"", ""),
        ("\"librespeed https://speed.example.net\"", "librespeed"),
        ("\"url https://other.example.net/file.bin\"", "url"),
    ] {
        checks.keys(&keys(provider));
        let good = checks.check(&[]).is("good", "download: at least");
        let server = &good.record["server"];
        assert!(server["sponsor"].as_str().unwrap().contains(sponsor), "{provider}: {good:#?}");
        assert!(good.bytes < 2_000_000, "{provider}: {good:#?}");
    }
    assert!(checks.speed[1].served().iter().any(|one| one.tls && one.target == "/file.bin"));
}

#[test]
fn a_line_is_meant_by_its_address_as_well_as_by_its_device() {
    // The default route leads by the other.
    let checks = Checks::on(Net::with(&[None, None]), "");
    let providers = PROVIDERS;
    for (line, expect) in [(0, 14593), (1, 3320)] {
        let address = checks.net.lines[line].address.clone();
        checks
            .keys(&format!("source = \"{address}\"\n{providers}\nexpect-asn = [{expect}]\n{TEN}"));
        // Only a machine whose rules lead by the source has that: `ip rule`, as for two uplinks.
        let device = &checks.net.lines[line].interface;
        let table = 100 + line;
        let gateway = address.rsplit_once('.').map(|(net, _)| format!("{net}.1")).unwrap();
        checks.net.home.sh(&format!(
            "ip route add default via {gateway} dev {device} table {table}
             ip rule add from {address} table {table}"
        ));
        let others = checks.net.lines[1 - line].count().all();
        let good = checks.check(&[]).is("good", "download");
        assert_eq!(good.record["client"]["ip"], address);
        let more = checks.net.lines[1 - line].count().all() - others;
        assert!(more < KERNELS, "{more} {good:#?}");
        let asked = checks.names.asked();
        assert_eq!(asked.last().map(|asked| &asked.from), Some(&address), "{asked:#?}");
    }
}

#[test]
fn a_line_of_ipv6_alone_is_tested_like_any() {
    let checks = Checks::new(&format!("{EXPECT}\n{TEN}"));
    let six = checks.net.lines[0].address6.clone();
    checks.net.home.sh(&format!(
        "ip -4 address flush dev line0
         echo nameserver {} >/etc/resolv.conf",
        bastion_tests::link::RESOLVER6
    ));
    let good = checks.check(&[]).is("good", "download");
    assert_eq!(good.record["client"]["ip"], six);
    assert!(good.number("ping").is_some(), "{good:#?}");
    checks.mbit(4.0);
    checks.check(&[]).is("slow", "download");
}

#[test]
fn a_line_whose_ipv4_leads_nowhere_is_tested_by_ipv6() {
    let checks = Checks::new(&format!("{EXPECT}\n{TEN}"));
    // As with some carriers: name servers answer by both.
    checks.net.home.sh("nft add table ip silent
         nft 'add chain ip silent in { type filter hook input priority 0; }'
         nft add rule ip silent in iifname line0 meta l4proto tcp drop");
    let by_url = "providers = [\"url http://speed.example.net/file.bin\"]";
    for providers in [PROVIDERS, by_url] {
        checks.keys(&format!("interface = \"line0\"\n{providers}\n{EXPECT}\n{TEN}"));
        let good = checks.check(&[]).is("good", "download");
        assert!(good.number("ping").is_some() && good.output.took.as_secs() < 12, "{good:#?}");
    }
    checks.mbit(4.0);
    checks.check(&[]).is("slow", "download");
}

#[test]
fn routes_rules_and_addresses_of_the_machine_stay_as_they_are() {
    let checks = Checks::new(&format!("{EXPECT}\n{TEN}\nmin-upload = \"1 Mbit/s\""));
    let all = "ip -4 route show table all; ip -6 route show table all | grep -v expires; ip rule; ip -6 rule; \
               ip address show line0; nft list ruleset; cat /etc/resolv.conf; tc qdisc show dev line0";
    let before = checks.net.home.sh(all);
    // By root, who might change them.
    for words in [&["check", "--json"], &["measure", "--json"]] {
        let _ = checks.net.home.run(&[&["/artefacts/linkprobe"][..], words].concat()).ok();
    }
    assert_eq!(checks.net.home.sh(all), before);
}
