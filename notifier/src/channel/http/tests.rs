use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use super::*;

/// Longest time that a server waits for a client in a test.
const WAIT: Duration = Duration::from_secs(5);

/// An answer, for the tables of the channels' tests.
pub(in super::super) fn answer(status: u16, body: &str, retry_after: Option<u64>) -> Answer {
    let retry_after = retry_after.map(Duration::from_secs);
    Answer { status, retry_after, body: Ok(body.into()), display: Redactor::default() }
}

/// The class of an outcome, for the tables of the channels' tests.
pub(in super::super) fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::Later { fault: Fault::RateLimit(_), .. } => "rate",
        Outcome::Later { .. } => "later",
        Outcome::Doubtful { accepted: true, .. } => "accepted",
        Outcome::Doubtful { .. } => "doubtful",
        Outcome::Config { .. } => "config",
        Outcome::Never { .. } => "never",
    }
}

/// A client without settings, for tests.
pub(in super::super) fn client() -> Client {
    Client::new(BASE_URL, None)
}

/// A server that takes connections one after the other, reads from each as many requests as
/// there are answers for it, and closes it. Answers the address, and the number of requests
/// on each connection when all is over.
pub(in super::super) fn server(
    answers: &'static [&'static [&'static str]],
) -> (String, std::thread::JoinHandle<Vec<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let serve = |answers: &&[&str]| {
            let mut served = 0;
            // Where nobody comes, the count tells, and no test hangs.
            let end = Instant::now() + WAIT;
            let mut stream = loop {
                match listener.accept() {
                    Ok((stream, _)) => break stream,
                    Err(_) if Instant::now() > end => return served,
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(WAIT)).unwrap();
            for answer in *answers {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                let whole = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_lowercase();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
                    let length = head.split_once("content-length: ").map_or("0", |(_, n)| n);
                    let length = length.split("\r\n").next().unwrap_or("0");
                    body.len() >= length.parse().unwrap_or(0)
                };
                while !whole(&request) {
                    match stream.read(&mut chunk) {
                        Ok(0) | Err(_) => return served,
                        Ok(read) => request.extend_from_slice(&chunk[..read]),
                    }
                }
                served += 1;
                stream.write_all(answer.as_bytes()).unwrap();
            }
            served
        };
        answers.iter().map(serve).collect()
    });
    (address, thread)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_connection_is_kept_where_that_was_asked_for_and_only_there() {
    let (url, thread) = server(&[&[OK, OK]]);
    let mut keeping = client().keeping(1);
    for _ in 0..2 {
        assert_eq!(keeping.post_json(&url, &[], b"{}").unwrap().status, 200);
    }
    assert_eq!(thread.join().unwrap(), [2]);
    let (url, thread) = server(&[&[OK], &[OK]]);
    let mut plain = client();
    for _ in 0..2 {
        assert_eq!(plain.post_json(&url, &[], b"{}").unwrap().status, 200);
    }
    assert_eq!(thread.join().unwrap(), [1, 1]);
}

#[test]
fn a_kept_connection_that_the_other_side_has_closed_makes_nothing_doubtful() {
    let (url, thread) = server(&[&[OK], &[OK]]);
    let mut keeping = client().keeping(1);
    for _ in 0..2 {
        assert_eq!(keeping.post_json(&url, &[], b"{}").unwrap().status, 200);
        // The close has to arrive, which takes no time on loopback but may take a turn of the
        // scheduler.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(thread.join().unwrap(), [1, 1]);
}

#[test]
fn a_kept_connection_that_breaks_in_a_request_makes_it_doubtful() {
    // The second request is read, and never answered.
    let (url, thread) = server(&[&[OK, ""]]);
    let mut keeping = client().keeping(1);
    assert_eq!(keeping.post_json(&url, &[], b"{}").unwrap().status, 200);
    let outcome = keeping.post_json(&url, &[], b"{}").unwrap_err();
    assert_eq!(class(&outcome), "doubtful", "{outcome}");
    assert_eq!(thread.join().unwrap(), [2]);
    // And one that cannot have gone out is not, after it.
    let outcome = keeping.post_json(&url, &[], b"{}").unwrap_err();
    assert_eq!(class(&outcome), "later", "{outcome}");
}

#[test]
fn an_idle_connection_is_retired() {
    let (url, thread) = server(&[&[OK, OK], &[OK]]);
    let mut keeping = client().keeping(1);
    assert_eq!(keeping.post_json(&url, &[], b"{}").unwrap().status, 200);
    std::thread::sleep(KEPT + Duration::from_millis(50));
    assert_eq!(keeping.post_json(&url, &[], b"{}").unwrap().status, 200);
    assert_eq!(thread.join().unwrap(), [1, 1]);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_has_a_ceiling() {
    let now = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap();
    let table = [
        ("3", Some(3)),
        ("0", Some(0)),
        ("Sun, 22 Nov 2026 10:01:00 GMT", Some(60)),
        ("Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
        ("99999999999", Some(86_400)),
        ("-1", None),
        ("soon", None),
    ];
    for (value, want) in table {
        let headers =
            HeaderMap::from_iter([("retry-after".parse().unwrap(), value.parse().unwrap())]);
        assert_eq!(retry_after(&headers, now), want.map(Duration::from_secs), "{value}");
    }
    // A clock of ours that is a day off, and the provider's own.
    for off in ["Sat, 21 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 2026 10:00:00 GMT"] {
        let headers = HeaderMap::from_iter(
            [
                ("retry-after", "Sun, 22 Nov 2026 10:01:00 GMT"),
                ("date", "Sun, 22 Nov 2026 10:00:30 GMT"),
            ]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
        );
        let now = httpdate::parse_http_date(off).unwrap();
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(30)), "{off}");
    }
}

#[test]
fn before_a_byte_is_sent_nothing_is_doubtful_and_after_it_everything_is() {
    let io = |kind| Error::Io(io::Error::from(kind));
    let tls = |error: rustls::Error| Error::Io(io::Error::new(io::ErrorKind::InvalidData, error));
    let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    let table = [
        (Error::HostNotFound, "later"),
        (Error::Timeout(Timeout::Connect), "later"),
        (Error::Timeout(Timeout::Resolve), "later"),
        (Error::Timeout(Timeout::Global), "later"),
        (io(io::ErrorKind::ConnectionRefused), "later"),
        (io(io::ErrorKind::ConnectionReset), "later"),
        (tls(rustls::Error::DecryptError), "later"),
        (tls(rustls::Error::General("no CA certificates".into())), "config"),
        (tls(expired), "config"),
        (tls(rustls::InvalidMessage::InvalidContentType.into()), "config"),
        (io(io::ErrorKind::UnexpectedEof), "later"),
        (Error::BadUri("x".into()), "config"),
    ];
    for (error, want) in table {
        assert_eq!(class(&client().outcome_of(&error, false)), want, "{error:?}");
        assert_eq!(class(&client().outcome_of(&error, true)), "doubtful", "{error:?}");
    }
}

#[test]
fn no_error_shows_an_address_that_is_a_secret() {
    let secret = Secret::new("123:hunter2hunter2".into());
    let client = client().hiding(&[secret]);
    for text in ["https://h/bot123:hunter2hunter2/x", "https://h/bot123%3Ahunter2hunter2/x"] {
        let errors = [
            Error::BadUri(text.into()),
            Error::RequireHttpsOnly(text.into()),
            Error::Io(io::Error::other(text.to_owned())),
            Error::Other(text.into()),
        ];
        for error in errors {
            for sent in [false, true] {
                let outcome = client.outcome_of(&error, sent);
                let told = format!("{outcome} {outcome:?}");
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
    }
}

#[test]
fn what_all_providers_mean_alike() {
    let table = [
        (429, Some(3), "rate"),
        (500, None, "doubtful"),
        (503, Some(3), "doubtful"),
        (408, None, "doubtful"),
        (425, None, "doubtful"),
        (599, None, "doubtful"),
    ];
    for (status, retry_after, want) in table {
        let outcome = answer(status, "", retry_after).usual("why").unwrap();
        assert_eq!(class(&outcome), want, "{status}");
    }
    for status in [200, 201, 302, 400, 401, 404, 410, 418] {
        assert_eq!(answer(status, "", Some(3)).usual("why"), None, "{status}");
    }
    let wait = |status| match answer(status, "", Some(3)).usual("why") {
        Some(Outcome::Later { fault: Fault::RateLimit(wait), .. }) => wait,
        Some(Outcome::Doubtful { fault: Fault::RateLimit(wait), .. }) => wait,
        _ => None,
    };
    assert_eq!([429, 503].map(wait), [Some(Duration::from_secs(3)); 2]);
}

#[test]
fn a_ca_file_has_to_hold_a_certificate() {
    let path = std::env::temp_dir().join(format!("notifier-ca-{}", std::process::id()));
    for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, text).unwrap();
        let error = read_ca_file(&path).err().unwrap();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(read_ca_file(&path).is_err());
    assert!(read_ca_file(Path::new("/dev/zero")).is_err());
}

#[test]
fn a_key_that_may_only_send_is_no_fault() {
    let asked = |status, refusals: &[u16]| match judge_asked(
        &answer(status, "", None),
        "api.example.org",
        "the-key",
        refusals,
    ) {
        Asked::Knows(_) => "knows",
        Asked::Reached(_) => "reached",
        Asked::Bad(Outcome::Config { .. }) => "config",
        _ => "other",
    };
    for (status, of_key, of_token) in [
        (200, "knows", "knows"),
        (401, "config", "config"),
        (403, "reached", "config"),
        (404, "reached", "config"),
        (405, "reached", "config"),
        (500, "other", "other"),
    ] {
        assert_eq!(asked(status, &[403, 404, 405]), of_key, "{status}");
        assert_eq!(asked(status, &[]), of_token, "{status}");
    }
}
