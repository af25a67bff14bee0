use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use simple_dns::rdata::{A, RData, TXT};
use simple_dns::{PacketFlag, RCODE};

use super::*;
use crate::dns::tests::{bytes, reply, server};

/// A directory of this test alone, which goes when it goes.
pub struct TempDir(PathBuf);

impl std::ops::Deref for TempDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn tempdir() -> TempDir {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("linkprobe-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    TempDir(dir)
}

/// A server that knows these names and texts (an address where `myip` is asked for), answers with
/// authority or without, and SERVFAIL for others.
fn knows(zone: &'static [(&'static str, &'static str)], authoritative: bool) -> SocketAddr {
    server(move |question, _| {
        let asked = question.questions[0].qname.to_string();
        let known = zone.iter().find(|(name, _)| asked.eq_ignore_ascii_case(name));
        let record = known.map(|(name, said)| match said.parse() {
            Ok(address) if name.starts_with("myip") => {
                RData::A(A { address: std::net::Ipv4Addr::to_bits(address) })
            }
            _ => RData::TXT(TXT::new().with_string(said).unwrap()),
        });
        let mut reply = reply(question, record.into_iter().collect());
        if known.is_none() {
            *reply.rcode_mut() = RCODE::ServerFailure;
        }
        if authoritative {
            reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        }
        vec![bytes(&reply).into()]
    })
}

const OURS: &str = "98.97.32.7";
const GOOGLE: (&str, &str) = ("o-o.myaddr.l.google.com", OURS);
const OPENDNS: (&str, &str) = ("myip.opendns.com", OURS);
const ORIGIN: (&str, &str) =
    ("7.32.97.98.origin.asn.cymru.com", "14593 | 98.97.32.0/24 | US | arin | 2020-10-27");
const NAME: (&str, &str) =
    ("AS14593.asn.cymru.com", "14593 | US | arin | 2002-02-05 | SPACEX-STARLINK, US");
const CYMRU: &[(&str, &str)] = &[ORIGIN, NAME];
const NOBODY: &[(&str, &str)] = &[];

struct Asked {
    identity: Result<Identity, NoAddress>,
    usage: Usage,
}

fn ask(google: SocketAddr, opendns: SocketAddr, resolver: SocketAddr, public: SocketAddr) -> Asked {
    ask_in(&tempdir(), google, opendns, resolver, public)
}

fn ask_in(
    state: &Path,
    google: SocketAddr,
    opendns: SocketAddr,
    resolver: SocketAddr,
    public: SocketAddr,
) -> Asked {
    let servers = Servers { google: vec![google], opendns: vec![opendns], public: vec![public] };
    let line = Line { interface: Some("lo".into()), source: None };
    let resolvers = [resolver];
    let asker = Asker {
        line: &line,
        resolvers: &resolvers,
        servers: &servers,
        state,
        now_s: 1_800_000_000,
    };
    let mut usage = Usage::default();
    let deadline = Instant::now() + Duration::from_secs(20);
    Asked { identity: asker.identity(deadline, &mut usage), usage }
}

fn starlink() -> Identity {
    Identity {
        source: Source::Dns,
        ip: Some(OURS.parse().unwrap()),
        asns: vec![14593],
        names: vec!["SPACEX-STARLINK".into()],
        country: Some("US".into()),
    }
}

#[test]
fn three_questions_and_less_than_a_kilobyte_and_then_one() {
    let state = tempdir();
    let (google, cymru) = (knows(&[GOOGLE], true), knows(CYMRU, false));
    let nobody = knows(NOBODY, false);
    let first = ask_in(&state, google, nobody, cymru, nobody);
    assert_eq!(first.identity, Ok(starlink()));
    assert!((400..1000).contains(&first.usage.total()), "{:?}", first.usage);
    // Team Cymru is not asked again, whatever becomes of its answers.
    let second = ask_in(&state, google, nobody, nobody, nobody);
    assert_eq!(second.identity, Ok(starlink()));
    assert!(second.usage.total() < 400, "{:?}", second.usage);
}

#[test]
fn who_is_silent_lies_or_is_another_is_not_believed() {
    let (opendns, cymru) = (knows(&[OPENDNS], false), knows(CYMRU, false));
    let nobody = knows(NOBODY, false);
    let lies = [("o-o.myaddr.l.google.com", "192.168.1.1")];
    for google in [
        server(|_, _| vec![]),
        nobody,
        // A resolver that was told its own address, and says it as its own word.
        knows(&[("o-o.myaddr.l.google.com", "172.253.1.1")], false),
        knows(&[("o-o.myaddr.l.google.com", "login first")], true),
        knows(&[("o-o.myaddr.l.google.com", "2001:4860::1")], true),
        knows(Box::leak(Box::new(lies)), true),
    ] {
        assert_eq!(ask(google, opendns, cymru, nobody).identity, Ok(starlink()), "{google}");
    }
}

#[test]
fn where_all_lie_the_reason_is_said() {
    let google = knows(&[("o-o.myaddr.l.google.com", "10.0.0.1")], true);
    let opendns = knows(&[("myip.opendns.com", "192.168.1.1")], false);
    let nobody = knows(NOBODY, false);
    let error = ask(google, opendns, nobody, nobody).identity.unwrap_err().to_string();
    assert!(error.contains("192.168.1.1") && error.contains("takes DNS for itself"), "{error}");
    let failed = ask(nobody, nobody, nobody, nobody).identity.unwrap_err();
    assert!(matches!(failed, NoAddress::Dns(DnsError::Failed(..))), "{failed:?}");
}

#[test]
fn where_the_lines_resolvers_do_not_help_public_ones_do() {
    let (google, cymru) = (knows(&[GOOGLE], true), knows(CYMRU, false));
    let other_net = "64500 | 203.0.113.0/24 | US | arin | 2020-10-27";
    for resolver in [
        knows(NOBODY, false),
        server(|_, _| vec![]),
        knows(Box::leak(Box::new([(ORIGIN.0, other_net), NAME])), false),
    ] {
        let nobody = knows(NOBODY, false);
        let begun = Instant::now();
        let asked = ask(google, nobody, resolver, cymru);
        // The silent one was given two seconds, once.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(asked.identity, Ok(starlink()), "{resolver}");
    }
}

#[test]
fn an_address_alone_is_better_than_nothing_and_not_remembered() {
    let state = tempdir();
    let (google, nobody) = (knows(&[GOOGLE], true), knows(NOBODY, false));
    let alone = ask_in(&state, google, nobody, nobody, nobody).identity.unwrap();
    assert_eq!((alone.ip, alone.asns.len()), (Some(OURS.parse().unwrap()), 0));
    // Without the name it is asked for again.
    let nameless = ask_in(&state, google, nobody, knows(&[ORIGIN], false), nobody);
    assert_eq!(nameless.identity.unwrap().asns, [14593]);
    let whole = ask_in(&state, google, nobody, knows(CYMRU, false), nobody);
    assert_eq!(whole.identity, Ok(starlink()));
}

#[test]
fn only_an_address_of_the_internet_is_one() {
    for (address, public) in [
        ("98.97.32.7", true),
        ("100.64.0.1", false),
        ("100.128.0.1", true),
        ("172.15.0.1", true),
        ("172.31.0.1", false),
        ("192.168.1.1", false),
        ("169.254.1.1", false),
        ("0.0.0.0", false),
        ("255.255.255.255", false),
        ("224.0.0.1", false),
        ("198.19.0.1", false),
        ("::ffff:10.0.0.1", false),
        ("2605:59c8::1", true),
        ("fe80::1", false),
        ("fd00::1", false),
        ("::1", false),
        ("ff02::1", false),
        ("64:ff9b::1", false),
    ] {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }
}

#[test]
fn the_record_names_the_isp_as_a_provider_does() {
    let mut ookla = Identity::new(Source::Provider(provider::Kind::SpeedtestNet));
    ookla.add_name("SpaceX Starlink");
    let client = client(&[starlink(), ookla], &[]).unwrap();
    assert_eq!(client.isp.as_deref(), Some("SpaceX Starlink"));
    assert_eq!((client.ip.as_deref(), client.asn), (Some(OURS), Some(14593)));
    for (expected, want) in [(&[][..], "SPACEX-STARLINK"), (&["Starlink".to_owned()], "Starlink")] {
        let client = super::client(&[starlink()], expected).unwrap();
        assert_eq!(client.isp.as_deref(), Some(want));
    }
    assert_eq!(super::client(&[], &[]), None);
}

#[test]
fn names_are_made_harmless_and_empty_words_left_out() {
    let mut identity = Identity::new(Source::Dns);
    for name in ["Unknown ISP", " ", "null", "A\nB", "A\nB", &"x".repeat(500)] {
        identity.add_name(name);
    }
    assert_eq!(identity.names, ["A\\x0aB".to_owned(), "x".repeat(MAX_NAME)]);
}
