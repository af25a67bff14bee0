//! The lines and servers of linkprobe's tests, tried on things that are known.

use std::time::Duration;

use bastion_tests::host::Host;
use bastion_tests::link::names::Names;
use bastion_tests::link::orders::{Act, NameAct, NameOrder, Order, Wrong};
use bastion_tests::link::speed::{CA, Speed};
use bastion_tests::link::{GOOGLE, Net, OPENDNS, OTHER, PAYLOAD, RESOLVER, SPEED, Shape, Way};
use bastion_tests::process::{Daemon, Output};
use bastion_tests::wait::wait_until;
use serde_json::Value;

fn iperf_server(host: &Host) -> Daemon {
    let server = host.spawn(&["iperf3", "-s", "--forceflush"]);
    assert!(wait_until(Duration::from_secs(10), || server.output().contains("listening")));
    server
}

/// TCP payload in bit/s that arrives at `at` by iperf3 from `from`: the median of some tenths of a
/// second, as its first and its last moments say little.
fn iperf(at: &Host, from: &str) -> f64 {
    let words = ["iperf3", "--json", "-R", "-c", from, "-t", "4", "-i", "0.5", "-O", "1"];
    let output = at.run(&words).ok();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let intervals = report["intervals"].as_array().unwrap();
    let rate = |one: &Value| one["sum"]["bits_per_second"].as_f64().unwrap();
    let mut rates: Vec<f64> = intervals.iter().map(rate).collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn curl(net: &Net, words: &[&str]) -> Output {
    let mut all = vec!["curl", "-sS", "-m", "3", "--cacert", CA];
    all.extend(words);
    net.home.run(&all)
}

/// What is asked of a name server by `dig`-like means that every machine has: a question of our own.
fn ask(net: &Net, at: &str, by: &str, kind: u16, name: &str) -> Vec<u8> {
    let script = "import socket, struct, sys
at, by, kind, name = sys.argv[1:]
message = b'\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + b''.join(
    bytes([len(label)]) + label.encode() for label in name.split('.')) + struct.pack('>BHH', 0, int(kind), 1)
family = socket.AF_INET6 if ':' in at else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if by == 'udp' else socket.SOCK_STREAM)
s.settimeout(1)
s.connect((at, 53))
s.send(message if by == 'udp' else struct.pack('>H', len(message)) + message)
sys.stdout.buffer.write(s.recv(4096) if by == 'udp' else s.recv(4096)[2:])
";
    net.home.run(&["python3", "-c", script, at, by, &kind.to_string(), name]).stdout
}

/// The last text of an answer, or its last address.
fn last(answer: &[u8], bytes: usize) -> &[u8] {
    &answer[answer.len().saturating_sub(bytes)..]
}

#[test]
fn a_shaped_line_carries_what_it_should_near_and_far_and_both_ways() {
    for way in [None, Some(Way::of_rtt_ms(50.0))] {
        let mut net = Net::with(&[way]);
        let _servers = [&net.home, &net.internet].map(iperf_server);
        let _speed = Speed::start(&net, &[SPEED]);
        let is_right = |found: f64, mbit: f64| {
            let share = found / (mbit * 1e6 * PAYLOAD);
            assert!((0.97..1.03).contains(&share), "{way:?}: {share} of {mbit} Mbit/s");
        };
        net.lines[0].shape(Some(Shape::mbit(20.0)), Some(Shape::mbit(5.0)));
        is_right(iperf(&net.home, SPEED), 20.0);
        is_right(iperf(&net.internet, &net.lines[0].address), 5.0);
        net.lines[0].shape(Some(Shape::mbit(8.0)), None);
        is_right(iperf(&net.home, SPEED), 8.0);
        if let Some(lag) = net.lines[0].lag() {
            eprintln!("{lag:?}");
            assert!(lag.packets > 5000 && lag.lost == 0 && lag.dropped == 0, "{lag:?}");
            let url = format!("http://{SPEED}/latency.txt");
            let connect = || curl(&net, &["-o", "/dev/null", "-w", "%{time_connect}", &url]);
            let mut took: Vec<f64> =
                (0..5).map(|_| connect().ok().text().parse().unwrap()).collect();
            took.sort_by(f64::total_cmp);
            assert!((0.05..0.06).contains(&took[2]), "{took:?}");
        }
    }
}

#[test]
fn a_way_loses_what_it_should_and_others_traffic_is_counted_apart() {
    let mut net = Net::with(&[Some(Way::of_rtt_ms(2.0).loss(0.1).jitter_ms(2.0))]);
    let line = &net.lines[0];
    line.shape(Some(Shape::mbit(20.0)), None);
    let before = line.count();
    let mut cross = line.cross(&net.internet, 5e6);
    let all = || net.home.sh("cat /sys/class/net/line0/statistics/rx_bytes").trim().parse::<u64>();
    let (came, begun) = (all().unwrap(), std::time::Instant::now());
    assert!(wait_until(Duration::from_secs(10), || all().unwrap() > came + 1_000_000));
    let rate = 8e6 / begun.elapsed().as_secs_f64();
    assert!((3.5e6..5.5e6).contains(&rate), "{rate} bit/s of 5e6 less a tenth");
    cross.kill();
    assert!(line.count().since(before).received < 20_000, "{:?}", line.count().since(before));
    let lag = net.lines[0].lag().unwrap();
    let lost = lag.lost as f64 / lag.packets as f64;
    assert!((0.05..0.15).contains(&lost), "{lag:?}");
}

#[test]
fn two_lines_have_an_address_each_and_servers_know_whose() {
    let net = Net::with(&[None, None]);
    let mut names = Names::start(&net);
    let mut speed = Speed::start(&net, &[SPEED]);
    for (interface, isp, asn) in
        [("line0", "SpaceX Starlink", "14593"), ("line1", "Deutsche Telekom AG", "3320")]
    {
        let get = |more: &[&str]| curl(&net, &[&["--interface", interface][..], more].concat());
        let said = get(&["https://speed.example.net/backend/getIP.php?isp=true"]).ok().text();
        assert!(said.contains(&format!("\"org\":\"AS{asn} {isp}\"")), "{said}");
        let said = get(&["-I", "https://speed.cloudflare.com/__down?bytes=0"]).ok().text();
        assert!(said.contains(&format!("cf-meta-asn: {asn}")), "{said}");
        let said = get(&["http://www.speedtest.net/speedtest-config.php"]).ok().text();
        assert!(said.contains(&format!("isp=\"{isp}\"")), "{said}");
        let referer = ["-e", "https://speed.cloudflare.com/", "https://speed.cloudflare.com/meta"];
        assert!(get(&referer).ok().text().contains(isp));
        assert!(get(&["-f", "https://speed.cloudflare.com/meta"]).code == Some(22));
    }
    // The default route leads by the second line.
    assert_eq!(
        last(&ask(&net, GOOGLE[0], "udp", 16, "o-o.myaddr.l.google.com"), 10),
        b"93.192.0.2"
    );
    assert_eq!(last(&ask(&net, OPENDNS[0], "tcp", 1, "MyIP.opendns.com"), 4), [93, 192, 0, 2]);
    let six = ask(&net, OPENDNS[1], "udp", 28, "myip.opendns.com");
    assert_eq!(last(&six, 2), [0, 2]);
    let origin = ask(&net, RESOLVER, "udp", 16, "2.32.97.98.origin.asn.cymru.com");
    let origin = String::from_utf8_lossy(&origin);
    assert!(origin.contains("14593 | 98.97.32.0/24 | US"), "{origin}");
    let of = ask(&net, RESOLVER, "udp", 16, "AS14593.asn.cymru.com");
    assert!(String::from_utf8_lossy(&of).contains("SPACEX-STARLINK, US"));
    names.order(&NameOrder::new(NameAct::You("93.192.9.9".parse().unwrap())).at(OPENDNS[0]));
    assert_eq!(last(&ask(&net, OPENDNS[0], "udp", 1, "myip.opendns.com"), 4), [93, 192, 9, 9]);
    let isp = bastion_tests::link::isp::Isp { asn: 7, ..bastion_tests::link::isp::Isp::telekom() };
    speed.order(&Order::new(Act::Isp(isp)));
    let said = curl(&net, &["-I", "https://speed.cloudflare.com/__down?bytes=0"]).ok().text();
    assert!(said.contains("cf-meta-asn: 7"), "{said}");
    let served = speed.wait_served(10, Duration::from_secs(10));
    assert!(served.iter().all(|one| one.from.starts_with("98.97.") || one.from.starts_with("93.")));
}

#[test]
fn a_speed_server_does_wrong_what_it_is_told() {
    let net = Net::new();
    let _names = Names::start(&net);
    let [mut speed, _other] = Speed::start_both(&net);
    let file = "https://speed.example.net/__down?bytes=100000";
    let size = |more: &[&str]| {
        let words = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}", file];
        let output = curl(&net, &[&words[..], more].concat());
        (output.code.unwrap_or(-1), output.text())
    };
    let table: [(Act, i32, &str); 14] = [
        (Act::Behave, 0, "200 100000"),
        (Act::status(403), 0, "403 "),
        (Act::Status { code: 429, retry_after: Some("60".into()) }, 0, "429 "),
        (Act::Portal, 0, "200 2"),
        (Act::Truncate(1000), 18, "200 1000"),
        (Act::Reset(1000), 56, "200 "),
        (Act::Endless, 28, "200 "),
        (Act::Pace(2000), 28, "200 "),
        (Act::Redirect("http://other.example.net/file.bin".into()), 0, "302 0"),
        (Act::Silent, 28, "000 0"),
        (Act::Mute, 28, "000 0"),
        (Act::HangUp, 52, "000 0"),
        (Act::Certificate(Wrong::Stranger), 60, "000 0"),
        (Act::Certificate(Wrong::Expired), 60, "000 0"),
    ];
    for (act, code, text) in table {
        speed.order(&Order::new(act.clone()));
        let (found, said) = size(&[]);
        assert!(found == code && said.starts_with(text), "{act:?}: {found} {said}");
        speed.heal();
    }
    speed.order(&Order::new(Act::Certificate(Wrong::Name)));
    assert_eq!(size(&[]).0, 60);
    speed.heal();
    // Some requests, or so many.
    speed.order(&Order::new(Act::status(503)).path("/__down").host("speed.example.net").times(1));
    let other = curl(&net, &["-f", "http://speed.cloudflare.com/__down?bytes=9"]);
    assert_eq!(other.ok().stdout.len(), 9);
    assert_eq!(size(&[]).1.split(' ').next(), Some("503"));
    assert_eq!(size(&[]).1, "200 100000");
    // What a backend of LibreSpeed says by chunks, what it takes, and IPv6.
    let said = curl(&net, &["-6", "http://speed.example.net/garbage.php?ckSize=2"]).ok();
    assert_eq!(said.stdout.len(), 2 << 20);
    let words =
        ["--data-binary", "@/bin/bash", "-o", "/dev/null", "https://other.example.net/empty.php"];
    let _ = curl(&net, &words).ok();
    let at_other =
        curl(&net, &["-H", "Transfer-Encoding: chunked", "-d@/bin/sh", "http://203.0.113.81/__up"]);
    let _ = at_other.ok();
    assert_eq!(net.home.run(&["test", "-e", OTHER]).code, Some(1));
}

#[test]
fn a_name_server_does_wrong_what_it_is_told() {
    let net = Net::new();
    let mut names = Names::start(&net);
    let a = |by: &str| ask(&net, RESOLVER, by, 1, "speed.example.net");
    let right = a("udp");
    assert_eq!(last(&right, 4), [203, 0, 113, 80]);
    assert_eq!(a("tcp"), right);
    let lie = "192.0.2.66".parse().unwrap();
    let code = |answer: &[u8]| answer.get(3).map(|byte| byte & 15);
    let mut with = |act: NameAct| {
        names.heal();
        names.order(&NameOrder::new(act).name("example.net").at(RESOLVER));
    };
    with(NameAct::Silent);
    assert_eq!((a("udp").len(), a("tcp").len()), (0, 0));
    with(NameAct::ServFail);
    assert_eq!(code(&a("udp")), Some(2));
    with(NameAct::Lie(lie));
    assert_eq!(last(&a("udp"), 4), [192, 0, 2, 66]);
    with(NameAct::Redirect(lie));
    assert_eq!(a("udp"), right);
    assert_eq!(last(&ask(&net, RESOLVER, "udp", 1, "nosuch.example.net"), 4), [192, 0, 2, 66]);
    with(NameAct::Truncated);
    assert_eq!(a("udp")[2] & 2, 2);
    assert_eq!(a("tcp"), right);
    with(NameAct::Garbage);
    assert!(a("udp").len() == 102 && a("udp")[..2] == right[..2]);
    with(NameAct::WrongId);
    assert!(a("udp")[0] != right[0] && a("udp")[1..] == right[1..]);
    with(NameAct::WrongQuestion);
    assert_ne!(a("udp")[12..], right[12..]);
    let begun = std::time::Instant::now();
    with(NameAct::Slow(600));
    assert!(a("udp") == right && begun.elapsed() > Duration::from_millis(600));
    with(NameAct::Addresses(vec![lie]));
    assert_eq!(last(&a("udp"), 4), [192, 0, 2, 66]);
    // At other addresses, and of other names, it is as ever.
    assert_eq!(last(&ask(&net, GOOGLE[0], "udp", 1, "speed.example.net"), 4), [203, 0, 113, 80]);
    assert_eq!(code(&ask(&net, RESOLVER, "udp", 1, "nosuch.example.org")), Some(3));
    assert!(
        names.asked().iter().any(|asked| asked.by == "tcp" && asked.name == "speed.example.net")
    );
}

#[test]
fn speedtest_cli_works_as_it_came() {
    let net = Net::new();
    let _names = Names::start(&net);
    let _both = Speed::start_both(&net);
    net.lines[0].shape(Some(Shape::mbit(20.0)), Some(Shape::mbit(5.0)));
    let before = net.lines[0].count();
    let output = net.home.run(&["speedtest-cli", "--no-upload", "--json"]).ok();
    let bytes = net.lines[0].count().since(before).all();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["client"]["isp"], "SpaceX Starlink");
    let line = &net.lines[0];
    assert!(said["client"]["ip"] == *line.address || said["client"]["ip"] == *line.address6);
    let share = said["download"].as_f64().unwrap() / (20e6 * PAYLOAD);
    assert!((0.93..1.03).contains(&share), "{said}");
    assert!(said["ping"].as_f64().unwrap() < 100.0, "{said}");
    assert!((20_000_000..30_000_000).contains(&bytes), "{bytes}");
}
