use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc;
use std::thread;

use simple_dns::rdata::{A, AAAA, RData, TXT};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::*;

/// A packet of the server's, how long after the question, and from which of its two ports.
pub(crate) struct Out {
    after: Duration,
    bytes: Vec<u8>,
    from_other_port: bool,
}

impl From<Vec<u8>> for Out {
    fn from(bytes: Vec<u8>) -> Self {
        Self { after: Duration::ZERO, bytes, from_other_port: false }
    }
}

/// A name server on loopback, which answers question `n` (from 0) as `answer` says.
pub(crate) fn server(
    answer: impl Fn(&Packet<'_>, usize) -> Vec<Out> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        for n in 0.. {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
            for out in answer(&Packet::parse(&buffer[..length]).unwrap(), n) {
                let socket =
                    if out.from_other_port { &other } else { &socket }.try_clone().unwrap();
                thread::spawn(move || {
                    thread::sleep(out.after);
                    let _ = socket.send_to(&out.bytes, from);
                });
            }
        }
    });
    at
}

/// Whether the question is for this type.
fn is(question: &Packet<'_>, kind: TYPE) -> bool {
    question.questions[0].qtype == QTYPE::TYPE(kind)
}

pub(crate) fn reply<'a>(question: &Packet<'a>, records: Vec<RData<'a>>) -> Packet<'a> {
    let mut reply = question.clone().into_reply();
    for rdata in records {
        let name = reply.questions[0].qname.clone();
        reply.answers.push(ResourceRecord::new(name, CLASS::IN, 60, rdata));
    }
    reply
}

pub(crate) fn bytes(reply: &Packet<'_>) -> Vec<u8> {
    reply.build_bytes_vec().unwrap()
}

/// 192.0.2.1 for A, nothing for others.
fn good(question: &Packet<'_>) -> Vec<u8> {
    let a = RData::A(A { address: u32::from_be_bytes([127, 0, 2, 1]) });
    let records = if is(question, TYPE::A) { vec![a] } else { vec![] };
    bytes(&reply(question, records))
}

fn coded(question: &Packet<'_>, code: RCODE) -> Vec<u8> {
    let mut reply = reply(question, vec![]);
    *reply.rcode_mut() = code;
    bytes(&reply)
}

fn lookup(servers: &[SocketAddr], most: Duration) -> (Result<Vec<IpAddr>, DnsError>, Usage) {
    let mut usage = Usage::default();
    let line = Line { interface: Some("lo".into()), source: None };
    let deadline = Instant::now() + most;
    (lookup_addresses(&line, servers, "speed.example.net", deadline, &mut usage), usage)
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

fn found() -> Result<Vec<IpAddr>, DnsError> {
    Ok(vec![IpAddr::from([127, 0, 2, 1])])
}

#[test]
fn an_answer_is_taken_and_every_byte_of_it_counted() {
    let at = server(|question, _| vec![good(question).into()]);
    // 12 + 19 + 4 bytes of question; the answer repeats them, and this server writes the name again.
    let want = Usage { sent: 28 + 35, received: 28 + 35 + 19 + 10 + 4 };
    let counted = || {
        let (answer, usage) = lookup(&[at], LONG);
        assert_eq!(answer, found());
        usage == want
    };
    // On a machine that stands still for a second the question is sent again.
    assert!((0..5).any(|_| counted()));
}

#[test]
fn a_silent_server_is_silent_and_the_next_one_is_asked() {
    let silent = server(|_, _| vec![]);
    let (answer, usage) = lookup(&[silent], SHORT);
    assert_eq!(answer, Err(DnsError::Silent(vec![silent])));
    assert_eq!(usage.received, 0);
    let begun = Instant::now();
    let (answer, _) = lookup(&[silent, server(|question, _| vec![good(question).into()])], LONG);
    assert_eq!(answer, found());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_lost_packet_is_sent_again() {
    let lossy = server(|question, n| if n == 0 { vec![] } else { vec![good(question).into()] });
    assert_eq!(lookup(&[lossy], LONG).0, found());
}

#[test]
fn a_slow_resolver_is_waited_for_though_it_was_asked_again() {
    let slow = server(|question, n| {
        let after = Duration::from_millis(1500);
        if n == 0 { vec![Out { after, ..good(question).into() }] } else { vec![] }
    });
    assert_eq!(lookup(&[slow], LONG).0, found());
}

#[test]
fn who_fails_is_left_for_the_next_one_at_once() {
    for code in [RCODE::ServerFailure, RCODE::Refused, RCODE::FormatError] {
        let failing = server(move |question, _| vec![coded(question, code).into()]);
        let next = server(|question, _| vec![good(question).into()]);
        let at_once = || {
            let begun = Instant::now();
            assert_eq!(lookup(&[failing, next], LONG).0, found());
            begun.elapsed() < Duration::from_millis(700)
        };
        assert!((0..5).any(|_| at_once()));
        let begun = Instant::now();
        // Without another one its word is the reason, and nobody waits for the end of the time.
        let answer = lookup(&[failing], LONG).0;
        assert!(matches!(answer, Err(DnsError::Failed(server, _)) if server == failing));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_name_that_is_not_there_is_not_looked_for_elsewhere() {
    let none = server(|question, _| vec![coded(question, RCODE::NameError).into()]);
    let other = server(|question, _| vec![good(question).into()]);
    let answer = lookup(&[none, other], LONG).0;
    assert_eq!(answer, Err(DnsError::NoSuchName("speed.example.net".into())));
    let empty = server(|question, _| vec![bytes(&reply(question, vec![])).into()]);
    assert_eq!(lookup(&[empty], LONG).0, Err(DnsError::NoData("speed.example.net".into())));
}

#[test]
fn nonsense_is_told_and_the_next_one_is_asked() {
    let garbage = server(|question, _| {
        let mut bytes = good(question);
        bytes.truncate(bytes.len() - 3);
        vec![bytes.into()]
    });
    assert_eq!(lookup(&[garbage], LONG).0, Err(DnsError::Malformed(garbage)));
    assert_eq!(lookup(&[garbage, server(|q, _| vec![good(q).into()])], LONG).0, found());
}

#[test]
fn who_guesses_is_not_believed() {
    let lies = |question: &Packet<'_>| {
        let lie = RData::A(A { address: u32::from_be_bytes([127, 9, 9, 9]) });
        reply(question, vec![lie]).into_owned_packet()
    };
    let liar = server(move |question, _| {
        let mut wrong_id = lies(question);
        wrong_id.set_id(question.id().wrapping_add(1));
        let mut wrong_name = lies(question);
        wrong_name.questions[0].qname = simple_dns::Name::new("example.org").unwrap();
        let right = lies(question);
        vec![
            bytes(&wrong_id).into(),
            bytes(&wrong_name).into(),
            b"what?".to_vec().into(),
            Vec::new().into(),
            Out { from_other_port: true, ..bytes(&right).into() },
            Out { after: Duration::from_millis(100), ..good(question).into() },
        ]
    });
    let (answer, usage) = lookup(&[liar], LONG);
    assert_eq!(answer, found());
    // What was thrown away has come over the line all the same; not what came from elsewhere.
    assert!(usage.received > 28 * 5 + 3 * 60, "{usage:?}");
}

#[test]
fn who_says_something_else_all_the_time_is_there() {
    let other = server(|question, _| {
        let mut wrong = reply(question, vec![]);
        wrong.set_id(question.id().wrapping_add(1));
        vec![bytes(&wrong).into()]
    });
    let (silent, begun) = (server(|_, _| vec![]), Instant::now());
    let error = lookup(&[silent, other], Duration::from_secs(1)).0.unwrap_err();
    assert!(error == DnsError::Malformed(other) && error.was_answered(), "{error}");
    // It could be somebody who guesses, so the time is waited for.
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// So that a reply may outlive the question.
trait IntoOwnedPacket {
    fn into_owned_packet(self) -> Packet<'static>;
}

impl IntoOwnedPacket for Packet<'_> {
    fn into_owned_packet(self) -> Packet<'static> {
        let mut packet = Packet::new_reply(self.id());
        packet.questions =
            self.questions.into_iter().map(simple_dns::Question::into_owned).collect();
        packet.answers = self.answers.into_iter().map(ResourceRecord::into_owned).collect();
        packet
    }
}

/// Answers over UDP that it does not fit, and over TCP as `speak` does on the connection.
fn truncating(speak: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let udp = UdpSocket::bind(at).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let question = Packet::parse(&buffer[..length]).unwrap();
            let mut reply = reply(&question, vec![]);
            reply.set_flags(PacketFlag::TRUNCATION);
            udp.send_to(&bytes(&reply), from).unwrap();
        }
    });
    thread::spawn(move || listener.incoming().flatten().for_each(speak));
    at
}

fn read_question(stream: &mut std::net::TcpStream) -> Vec<u8> {
    use std::io::Read;
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question).unwrap();
    question
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

#[test]
fn what_does_not_fit_comes_over_tcp_in_whatever_pieces() {
    use std::io::Write;
    let at = truncating(|mut stream| {
        let question = read_question(&mut stream);
        let many: Vec<_> = (1..=200)
            .map(|last| RData::A(A { address: u32::from_be_bytes([127, 0, 3, last]) }))
            .collect();
        let answer = framed(&bytes(&reply(&Packet::parse(&question).unwrap(), many)));
        let (first, rest) = answer.split_at(1);
        stream.write_all(first).unwrap();
        thread::sleep(Duration::from_millis(20));
        stream.write_all(rest).unwrap();
    });
    let (answer, usage) = lookup(&[at], LONG);
    // No more than are of use to anyone.
    assert_eq!(answer.unwrap().len(), 64);
    assert!((7000..9000).contains(&usage.received), "{usage:?}");
    assert!((300..1000).contains(&usage.sent), "{usage:?}");
}

#[test]
fn a_connection_that_leads_nowhere_ends_in_time() {
    let (hold, held) = mpsc::channel();
    let silent = truncating(move |stream| hold.send(stream).unwrap());
    let begun = Instant::now();
    assert_eq!(lookup(&[silent], SHORT).0, Err(DnsError::Silent(vec![silent])));
    assert!(begun.elapsed() < Duration::from_secs(2));
    drop(held);
    let closing = truncating(drop);
    assert!(matches!(lookup(&[closing], LONG).0, Err(DnsError::Unreachable(..))));
    let endless = truncating(|mut stream| {
        use std::io::Write;
        read_question(&mut stream);
        let _ = stream.write_all(&[0xff; 4000]);
    });
    assert_eq!(lookup(&[endless], LONG).0, Err(DnsError::Malformed(endless)));
}

#[test]
fn a_closed_port_is_said_by_its_host_at_once() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let begun = Instant::now();
    let error = lookup(&[closed], LONG).0.unwrap_err();
    assert_eq!(error, DnsError::Unreachable(closed, io::ErrorKind::ConnectionRefused));
    assert!(error.was_answered() && begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_line_that_is_not_there_is_the_reason() {
    let mut usage = Usage::default();
    let line = Line { interface: Some("nosuch0".into()), source: None };
    let servers = ["192.0.2.53:53".parse().unwrap()];
    let answer = txt(&line, &servers, "example.net", Instant::now() + LONG, &mut usage);
    assert_eq!(answer, Err(DnsError::Line(Trouble::NoInterface("nosuch0".into()))));
    assert_eq!(usage, Usage::default());
    let nobody = txt(&line, &[], "example.net", Instant::now() + LONG, &mut usage);
    assert_eq!(nobody, Err(DnsError::NoServers));
}

#[test]
fn a_filters_answer_is_no_address() {
    for (address, text) in [(0, "0.0.0.0"), (0x7f00_0001, "127.0.0.1")] {
        let filter = server(move |question, _| {
            let a = RData::A(A { address });
            let records = if is(question, TYPE::A) { vec![a] } else { vec![] };
            vec![bytes(&reply(question, records)).into()]
        });
        let error = lookup(&[filter], LONG).0.unwrap_err().to_string();
        assert!(error.contains(&format!("{text} for speed.example.net")), "{error}");
    }
}

#[test]
fn one_family_does_not_wait_for_the_other_one_for_long() {
    let at = server(|question, _| {
        let six = RData::AAAA(AAAA { address: 1 });
        let late =
            Out { after: Duration::from_secs(5), ..bytes(&reply(question, vec![six])).into() };
        if is(question, TYPE::A) { vec![good(question).into()] } else { vec![late] }
    });
    let begun = Instant::now();
    let mut usage = Usage::default();
    let line = Line::default();
    let kinds = [Kind::Aaaa, Kind::A];
    let deadline = Instant::now() + LONG;
    let answers = exchange::ask(&line, &[at], "example.net", &kinds, deadline, &mut usage);
    assert_eq!(answers[0], Err(DnsError::Silent(vec![at])));
    assert!(answers[1].is_ok() && begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn texts_come_with_who_said_them_and_when() {
    let at = server(|question, _| {
        let text = RData::TXT(TXT::new().with_string("192.0.2.7").unwrap());
        let mut reply = reply(question, vec![text]);
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        vec![Out { after: Duration::from_millis(60), ..bytes(&reply).into() }]
    });
    let mut usage = Usage::default();
    let deadline = Instant::now() + LONG;
    let answer =
        ask(&Line::default(), &[at], "who.example", Kind::Txt, deadline, &mut usage).unwrap();
    assert_eq!((answer.found.texts, answer.server), (vec!["192.0.2.7".to_owned()], at));
    assert!(answer.found.authoritative);
    assert!((Duration::from_millis(60)..Duration::from_secs(1)).contains(&answer.took));
}

#[test]
fn an_address_is_its_own_answer() {
    let mut usage = Usage::default();
    for (name, want) in [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")] {
        let found = lookup_addresses(&Line::default(), &[], name, Instant::now(), &mut usage);
        assert_eq!(found, Ok(vec![want.parse().unwrap()]));
    }
    let bad = "a".repeat(70);
    let deadline = Instant::now() + LONG;
    let servers = ["127.0.0.1:9".parse().unwrap()];
    let answer = lookup_addresses(&Line::default(), &servers, &bad, deadline, &mut usage);
    assert_eq!(answer, Err(DnsError::BadName(bad)));
    assert_eq!(usage, Usage::default());
}

#[test]
fn errors_are_told_to_a_person() {
    let server: SocketAddr = "192.0.2.53:53".parse().unwrap();
    let other: SocketAddr = "[2001:db8::53]:5353".parse().unwrap();
    for (error, want) in [
        (DnsError::Silent(vec![server]), "no answer from the name server 192.0.2.53"),
        (
            DnsError::Silent(vec![server, other]),
            "no answer from the name servers 192.0.2.53, [2001:db8::53]:5353",
        ),
        (
            DnsError::Failed(server, Code::ServerFailure),
            "the name server 192.0.2.53 answers SERVFAIL",
        ),
        (
            DnsError::Unreachable(server, io::ErrorKind::ConnectionRefused),
            "the name server 192.0.2.53 cannot be asked: connection refused",
        ),
    ] {
        assert_eq!(error.to_string(), want);
    }
}
