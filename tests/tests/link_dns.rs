//! What linkprobe learns by DNS over a line: names, our address, and whose the line is.

use bastion_tests::link::lookup::Told;
use bastion_tests::link::names::Names;
use bastion_tests::link::orders::{NameAct, NameOrder};
use bastion_tests::link::{GOOGLE, Net, OPENDNS, RESOLVER, RESOLVER6, SPEED, SPEED6, Way};

const NAME: &str = "speed.example.net";

fn speed() -> Vec<String> {
    vec![SPEED.to_owned(), SPEED6.to_owned()]
}

fn by<'a>(interface: &'a str, at: &'a str, what: &[&'a str]) -> Vec<&'a str> {
    [&["--interface", interface, "--at", at][..], what].concat()
}

/// What `line0` learns from the resolver about the server of tests.
fn addresses(net: &Net) -> Told {
    net.lookup(&by("line0", RESOLVER, &["addresses", NAME]))
}

fn isp(net: &Net, interface: &str) -> Told {
    net.lookup(&by(interface, RESOLVER, &["--within", "5", "isp"]))
}

#[test]
fn names_are_looked_up_over_the_line_that_is_meant_and_each_byte_is_counted() {
    // The default route leads by the second line.
    let net = Net::with(&[None, None]);
    let names = Names::start(&net);
    for line in &net.lines {
        let counted = || {
            let (before, asked) = (line.count(), names.asked().len());
            let told = net.lookup(&by(&line.interface, RESOLVER, &["addresses", NAME]));
            assert_eq!(told.found, speed(), "{told:?}");
            let asked = names.asked().split_off(asked);
            assert!(asked.iter().all(|asked| asked.from == line.address), "{asked:?}");
            // The device counts the 14 bytes of Ethernet of each packet, too.
            let count = line.count().since(before);
            let packets = 14 * asked.len() as u64;
            (told.sent + packets, told.received + packets) == (count.sent, count.received)
        };
        // Neighbours look for each other now and then, and that is counted as well.
        assert!((0..10).any(|_| counted()), "{:?}", line.count());
    }
    let by_source =
        net.lookup(&["--source", &net.lines[0].address6, "--at", RESOLVER6, "addresses", NAME]);
    assert_eq!(by_source.found, [SPEED6]);
    assert_eq!(names.asked().last().unwrap().from, net.lines[0].address6);
}

#[test]
fn each_fault_of_a_resolver_has_its_word_and_its_time() {
    let net = Net::new();
    let mut names = Names::start(&net);
    let zero = "0.0.0.0".parse().unwrap();
    let portal = "10.0.0.1".parse().unwrap();
    let server = "the name server 203.0.113.53";
    for (act, answered, words, most_ms) in [
        (NameAct::Silent, false, "no answer from the name server 203.0.113.53", 3000),
        (NameAct::ServFail, true, &format!("{server} answers SERVFAIL"), 1000),
        (NameAct::Refused, true, &format!("{server} answers REFUSED"), 1000),
        (NameAct::NoName, true, "the name server says that there is no speed.example.net", 1000),
        (
            NameAct::Addresses(vec![]),
            true,
            "the name server knows nothing of that kind about",
            1000,
        ),
        (NameAct::Lie(zero), true, "gives 0.0.0.0 for speed.example.net: a filter's answer", 1000),
        (NameAct::Garbage, true, &format!("{server} answers what makes no sense"), 3000),
        (NameAct::WrongId, true, &format!("{server} answers what makes no sense"), 3000),
        (NameAct::WrongQuestion, true, &format!("{server} answers what makes no sense"), 3000),
        (NameAct::TruncatedForGood, false, "no answer from", 3000),
    ] {
        names.heal();
        names.order(&NameOrder::new(act.clone()).at(RESOLVER));
        let told = net.lookup(&by("line0", RESOLVER, &["--within", "2.5", "addresses", NAME]));
        let error = told.error.clone().unwrap_or_default();
        assert!(error.contains(words) && told.answered == answered, "{act:?}: {told:?}");
        assert!(told.took_ms < most_ms, "{act:?}: {told:?}");
        // The next server helps with all but what is known to be not there.
        let next = net.lookup(&by("line0", RESOLVER, &["--at", RESOLVER6, "addresses", NAME]));
        let is_final = answered
            && (error.contains("no speed")
                || error.contains("of that kind")
                || error.contains("filter"));
        assert_eq!(next.found, if is_final { vec![] } else { speed() }, "{act:?}: {next:?}");
        assert!(next.took_ms < 4000, "{act:?}: {next:?}");
    }
    for (act, most_ms) in
        [(NameAct::Slow(1500), 2500), (NameAct::Truncated, 1000), (NameAct::Redirect(portal), 1000)]
    {
        names.heal();
        names.order(&NameOrder::new(act.clone()).at(RESOLVER));
        let told = addresses(&net);
        assert!(told.found == speed() && told.took_ms < most_ms, "{act:?}: {told:?}");
    }
}

#[test]
fn a_lost_packet_costs_a_second_and_no_answer() {
    let net = Net::with(&[Some(Way::of_rtt_ms(50.0).loss(0.2))]);
    let _names = Names::start(&net);
    for n in 0..10 {
        let told = addresses(&net);
        // One family alone is an answer, too.
        assert!(!told.found.is_empty(), "{n}: {told:?}");
    }
}

#[test]
fn a_line_that_is_not_there_says_what_is_missing() {
    let net = Net::new();
    let _names = Names::start(&net);
    let words = |net: &Net, interface: &str| {
        let told = net.lookup(&by(interface, RESOLVER, &["addresses", NAME]));
        assert_eq!((told.sent, told.received), (0, 0), "{told:?}");
        told.error.unwrap()
    };
    assert!(words(&net, "line7").contains("there is no interface line7"));
    net.home.sh("ip link add idle0 type veth peer name idle1; ip link set idle0 up");
    assert!(words(&net, "idle0").contains("idle0 has no address"));
    net.home.sh("ip link set line0 down");
    assert!(words(&net, "line0").contains("line0 is down"));
}

#[test]
fn whose_a_line_is_costs_less_than_a_kilobyte_and_then_a_fifth() {
    let net = Net::with(&[None, None]);
    let names = Names::start(&net);
    for (line, asn, name) in [
        (&net.lines[0], "AS14593", "SPACEX-STARLINK"),
        (&net.lines[1], "AS3320", "DTAG Internet service provider operations"),
    ] {
        let told = isp(&net, &line.interface);
        assert_eq!(told.found[..3], [line.address.clone(), asn.into(), name.into()], "{told:?}");
        let first = told.sent + told.received;
        assert!(first < 1000, "{told:?}");
        // Now and then a question is asked twice, on a machine that is busy.
        let again = (0..5).map(|_| {
            let before = names.asked().len();
            let again = isp(&net, &line.interface);
            assert_eq!(again.found, told.found);
            let asked = names.asked().split_off(before);
            assert!(asked.iter().all(|asked| asked.at == GOOGLE[0]), "{asked:?}");
            again.sent + again.received
        });
        let again = again.min().unwrap();
        assert!(again < 250, "{again}");
        println!("{}: {first}, then {again} bytes", line.interface);
    }
}

#[test]
fn nobody_in_between_is_taken_for_the_isp() {
    let net = Net::new();
    let mut names = Names::start(&net);
    let ours =
        [net.lines[0].address.clone(), "AS14593".into(), "SPACEX-STARLINK".into(), "US".into()];
    let resolver = "172.217.32.1".parse().unwrap();
    let private = "192.168.1.1".parse().unwrap();
    for (act, at) in [
        (NameAct::Silent, GOOGLE[0]),
        (NameAct::ServFail, GOOGLE[0]),
        (NameAct::Between(resolver), GOOGLE[0]),
        (NameAct::You(private), GOOGLE[0]),
        (NameAct::Text("please log in".into()), GOOGLE[0]),
        (NameAct::Silent, RESOLVER),
    ] {
        names.heal();
        net.home.sh("rm -rf /var/lib/linkprobe");
        names.order(&NameOrder::new(act.clone()).at(at));
        let told = isp(&net, "line0");
        // Nobody is at the public resolvers' addresses here.
        let want = if at == RESOLVER { &ours[..1] } else { &ours[..] };
        assert!(told.found == want && told.sent + told.received < 3000, "{act:?}: {told:?}");
    }
    // All of port 53 is somebody else's, who has one answer for all.
    names.heal();
    names.order(&NameOrder::new(NameAct::Between(private)));
    let error = isp(&net, "line0").error.unwrap();
    assert!(error.contains("something on the line takes DNS for itself"), "{error}");
    names.heal();
    for at in [GOOGLE[0], GOOGLE[1], OPENDNS[0], OPENDNS[1]] {
        names.order(&NameOrder::new(NameAct::Silent).at(at));
    }
    let told = isp(&net, "line0");
    assert!(told.error.as_ref().unwrap().contains("no answer from"), "{told:?}");
    // With IPv4 out of the way the other family says it.
    names.heal();
    let told = net.lookup(&["--source", &net.lines[0].address6, "--at", RESOLVER6, "isp"]);
    assert_eq!(told.found[..2], [net.lines[0].address6.clone(), "AS14593".into()], "{told:?}");
}
