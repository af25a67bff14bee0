use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::super::probes;
use super::*;

/// A name server on loopback that does `answer` with each question, by its number.
fn server(answer: impl Fn(usize, &mut Vec<u8>) -> bool + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        for number in 0.. {
            let mut bytes = [0; 512];
            let Ok((length, from)) = socket.recv_from(&mut bytes) else { return };
            let mut said = bytes[..length].to_vec();
            said[2] |= 0x80;
            if answer(number, &mut said) {
                let _ = socket.send_to(&said, from);
            }
        }
    });
    at
}

fn well(_: usize, _: &mut Vec<u8>) -> bool {
    true
}

/// Somebody who says nothing, and a port where nobody is.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn care(most_ms: u64, patience_ms: u64, first: Option<usize>) -> Care {
    let ms = Duration::from_millis;
    Care { most: ms(most_ms), patience: ms(patience_ms), first }
}

fn words(look: &Look) -> Vec<&'static str> {
    look.probes.iter().map(|probe| probe.found.word()).collect()
}

#[test]
fn all_are_asked_at_once_and_each_answer_has_its_word() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_keep, nobody) = silent();
    let unwell = |code: u8| {
        server(move |_, said| {
            said[3] |= code;
            true
        })
    };
    let forged = server(|_, said| {
        said[0] ^= 1;
        true
    });
    let garbage = server(|_, said| {
        said.truncate(5);
        true
    });
    let resolvers = [server(well), unwell(2), unwell(5), forged, garbage, nobody];
    let targets = [listener.local_addr().unwrap(), closed()];
    let look =
        look(&Line::default(), probes(&resolvers, &targets, |_| false), &care(1_000, 300, None));
    let want =
        ["answered", "unwell", "unwell", "silent", "silent", "silent", "answered", "refused"];
    assert_eq!(words(&look), want);
    assert!(look.is_up() && look.trouble.is_none());
    // Of name servers: three who answer once, three who are asked again.
    let question = 20 + 8 + 17;
    let [sent, received] = look.bytes;
    let connects = 2 * (20 + 40) + (20 + 32) + (20 + 20);
    assert!((6 * question + connects..=12 * question + connects).contains(&sent), "{sent}");
    assert!(received >= 3 * question + 60 + 40, "{received}");
}

#[test]
fn one_is_asked_first_and_the_others_only_when_he_is_silent() {
    let all = |resolvers: &[SocketAddr]| probes(resolvers, &[closed()], |_| false);
    let (_keep, nobody) = silent();
    let two = [server(well), nobody];
    let look_at = |first| look(&Line::default(), all(&two), &care(5_000, 300, Some(first)));
    let begun = Instant::now();
    assert_eq!(words(&look_at(0)), ["answered", "not-asked", "not-asked"]);
    assert_eq!(words(&look_at(2)), ["not-asked", "not-asked", "refused"]);
    assert_eq!(words(&look_at(3)), ["answered", "not-asked", "not-asked"], "from the first again");
    assert!(begun.elapsed() < Duration::from_secs(4));
    let quick = look_at(0).bytes;
    assert_eq!(quick, [45, 45], "as little as can be");
    assert_eq!(words(&look_at(1)), ["answered", "silent", "refused"]);
}

#[test]
fn a_question_that_was_lost_is_asked_again_and_timed_by_itself() {
    let third = server(|number, _| number == 2);
    let one = look(&Line::default(), probes(&[third], &[], |_| false), &care(5_000, 300, None));
    let [Probe { found: Found::Answered(took), .. }] = &one.probes[..] else { panic!("{one:?}") };
    assert!(*took < Duration::from_millis(300), "{took:?}");
    assert_eq!(one.bytes, [3 * 45, 45]);
}

#[test]
fn nobody_is_waited_for_longer_than_is_allowed() {
    let (_keep, nobody) = silent();
    let begun = Instant::now();
    let none = look(&Line::default(), probes(&[nobody], &[], |_| false), &care(400, 100, Some(0)));
    assert!(begun.elapsed() < Duration::from_millis(2_000));
    assert_eq!((words(&none), none.is_up()), (vec!["silent"], false));
    assert_eq!(none.bytes, [3 * 45, 0]);
    let nothing = look(&Line::default(), Vec::new(), &care(400, 100, Some(0)));
    assert!(!nothing.is_up());
}

#[test]
fn a_server_that_is_not_there_is_no_answer_though_the_system_says_so() {
    let (socket, at) = silent();
    drop(socket);
    let none = look(&Line::default(), probes(&[at], &[], |_| false), &care(400, 100, None));
    assert_eq!((words(&none), none.is_up()), (vec!["failed"], false), "it may be anybody's word");
    let gone = Line { interface: Some("nosuch0".into()), source: None };
    let none = look(&gone, probes(&[at], &[], |_| false), &care(400, 100, None));
    assert_eq!(none.trouble, Some(Trouble::NoInterface("nosuch0".into())));
}
