//! A whole exchange with a provider, over TCP: the fuzzer's bytes are what comes back.
//!
//! First byte `g`: the list of messages is asked for, as before a doubtful message is sent
//! again; else a message is sent. The rest is sent as it is, head of the HTTP answer
//! included, and the connection closed.
#![no_main]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bastion_fuzz::hides;
use libfuzzer_sys::fuzz_target;
use notifier::channel::{Channel, Found, Message, Outcome, Secrets};
use notifier::clock::Stamp;
use notifier::deliver::settings::Settings;
use notifier::event::{AlertId, Event, FORMAT, Note, Severity, What};
use notifier::foreign::Foreign;

/// Most time for an exchange on loopback, with a server that hangs up after its bytes.
const MOST: Duration = Duration::from_secs(4);

/// The provider: what it will answer, and our way there.
static RIG: LazyLock<Rig> = LazyLock::new(Rig::start);

struct Rig {
    answer: Arc<Mutex<Vec<u8>>>,
    channel: Mutex<Box<dyn Channel>>,
}

impl Rig {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let answer = Arc::new(Mutex::new(Vec::new()));
        let for_thread = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = for_thread.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A client that has enough of it leaves.
                let _ = serve(stream, &answer);
            }
        });
        Self { answer, channel: Mutex::new(channel(address)) }
    }
}

fn channel(address: SocketAddr) -> Box<dyn Channel> {
    let text = format!(
        "[notify.channel.sms]\ntype = \"twilio\"\naccount-sid = \"AC0123456789abcdef0123456789abcdef\"\n\
         auth-token-file = \"twilio-token\"\nfrom = \"+15550100\"\nto = [\"+15550101\"]\n\
         base-url = \"http://{address}\"\n"
    );
    let settings = Settings::parse(&text, &Secrets::from_environment());
    let mut settings = settings.unwrap_or_else(|findings| panic!("by fuzz/run? {findings:?}"));
    settings.notify.channels.remove(0).1
}

fn serve(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut chunk)?;
        request.extend_from_slice(&chunk[..read]);
        let head = request.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(head) = head.filter(|_| read > 0) else {
            if read == 0 { return Ok(()) } else { continue }
        };
        // The form is small and ends with the id.
        let is_get = request.starts_with(b"GET");
        if is_get || request[head..].windows(9).any(|nine| nine == b"%23000000") {
            break;
        }
    }
    stream.write_all(answer)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, answer)) = bytes.split_first() else { return };
    *RIG.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer.to_vec();
    let mut channel = RIG.channel.lock().unwrap_or_else(PoisonError::into_inner);
    let event = Event {
        version: FORMAT,
        id: AlertId::from_bits(0),
        at: Stamp { unix_ms: 1_795_000_000_000, boot: None },
        host: Foreign::from("jump"),
        severity: Severity::Info,
        what: What::Note(Note { text: "hi".to_owned() }),
    };
    let now = event.at.clone();
    let message = Message::new(event, now, "+15550101");
    let begun = Instant::now();
    if *mode == b'g' {
        match channel.find(message.id(), &message.recipient) {
            Found::Yes(id) => {
                // Believed only with the token, for this recipient, and a 200.
                assert!(contains(answer, b"000000") && contains(answer, b"15550101"), "{id}");
                assert!(contains(answer, b" 200"));
            }
            Found::Failed(outcome) => check(&outcome, answer),
            Found::No => assert!(contains(answer, b"messages")),
            Found::CannotLook => {}
        }
    } else {
        check(&channel.send(&message), answer);
    }
    assert!(begun.elapsed() < MOST, "{:?}", begun.elapsed());
});

fn check(outcome: &Outcome, answer: &[u8]) {
    let words = outcome.to_string();
    assert!(!words.contains(hides) && words.chars().count() < 1000, "{words:?}");
    if let Outcome::Delivered { .. } = outcome {
        assert!(contains(answer, b"sid") && contains(answer, b"201"), "{words:?}");
    }
}

/// Whether `word` is in the answer; where JSON's escapes or HTTP's chunks could have taken it
/// apart, it is let pass.
fn contains(answer: &[u8], word: &[u8]) -> bool {
    let has = |word: &[u8]| answer.windows(word.len()).any(|window| window == word);
    has(word) || has(b"\\") || has(b"hunked")
}
