#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test says what is wrong by panicking"
)]

use super::*;

/// A row of `keys.tsv`.
struct Row {
    fingerprint: &'static str,
    certificate: Option<Certificate>,
    algorithm: &'static str,
    base64: &'static str,
}

impl Row {
    fn line(&self, method: &str) -> String {
        format!("{method} {} {}", self.algorithm, self.base64)
    }

    fn want(&self) -> Key {
        Key {
            algorithm: self.algorithm.into(),
            fingerprint: self.fingerprint.into(),
            name: None,
            certificate: self.certificate.clone(),
        }
    }
}

fn rows() -> Vec<Row> {
    let rows = include_str!("keys.tsv").lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<Row> = rows
        .map(|line| {
            let [fingerprint, key_id, serial, ca, key] =
                line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let (algorithm, base64) = key.split_once(' ').unwrap();
            let certificate = (ca != "-").then(|| Certificate {
                key_id: key_id.into(),
                serial: serial.parse().unwrap(),
                ca: ca.into(),
            });
            Row { fingerprint, certificate, algorithm, base64 }
        })
        .collect();
    assert_eq!(rows.len(), 2 * FAMILIES.len(), "a key and a certificate of each family");
    rows
}

fn only_key(info: &[u8]) -> Option<Key> {
    let [factor] = parse(info).try_into().unwrap();
    factor.key
}

#[test]
fn every_key_and_certificate_reads_as_ssh_keygen_prints_it() {
    for row in rows() {
        for (method, ending) in [
            ("publickey", "\n"),
            ("publickey", ""),
            ("publickey", " any detail\n"),
            ("hostbased", " client user \"bob\", client host \"web1\"\n"),
        ] {
            let info = row.line(method) + ending;
            let want = Factor { method: method.into(), key: Some(row.want()) };
            assert_eq!(parse(info.as_bytes()), [want], "{info}");
        }
    }
}

#[test]
fn methods_are_kept_in_order_and_only_two_of_them_have_keys() {
    let rows = rows();
    let info = format!(
        "{}\n\n keyless\npassword\nkeyboard-interactive/pam\ngssapi-with-mic bob@EXAMPLE.NET\n{}\nnone",
        rows[0].line("publickey"),
        rows[1].line("gssapi-keyex"),
    );
    let found: Vec<_> = parse(info.as_bytes())
        .into_iter()
        .map(|factor| (factor.method.visible(), factor.key.is_some()))
        .collect();
    let want = [
        ("publickey", true),
        ("password", false),
        ("keyboard-interactive/pam", false),
        ("gssapi-with-mic", false),
        ("gssapi-keyex", false),
        ("none", false),
    ];
    assert_eq!(found, want.map(|(method, key)| (method.to_owned(), key)));
}

#[test]
fn a_key_that_is_not_what_it_says_is_no_key() {
    let rows = rows();
    let (plain, cert) = (&rows[0], &rows[1]);
    let of = |bytes: &[u8]| STANDARD.encode(bytes);
    let string =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let plain_blob = STANDARD.decode(plain.base64).unwrap();
    let cert_blob = STANDARD.decode(cert.base64).unwrap();
    let unknown_cert = "future-cert-v01@openssh.com";
    let table = [
        ("nothing", "publickey".to_owned()),
        ("no blob", format!("publickey {}", plain.algorithm)),
        ("empty blob", format!("publickey {} ", plain.algorithm)),
        ("two spaces", format!("publickey  {} {}", plain.algorithm, plain.base64)),
        ("not base64", format!("publickey {} AAA*", plain.algorithm)),
        ("other type", format!("publickey ssh-rsa {}", plain.base64)),
        ("plain named as certificate", format!("publickey {} {}", cert.algorithm, plain.base64)),
        ("certificate named as plain", format!("publickey {} {}", plain.algorithm, cert.base64)),
        ("type alone", format!("publickey x {}", of(&string(b"x")))),
        ("no type", format!("publickey  {}", of(&[string(b""), string(b"k")].concat()))),
        ("length past the end", format!("publickey x {}", of(b"\xff\xff\xff\xffx"))),
        (
            "more behind the key",
            format!("publickey {} {}", plain.algorithm, of(&[&plain_blob[..], &[0; 4]].concat())),
        ),
        (
            "more behind the certificate",
            format!("publickey {} {}", cert.algorithm, of(&[&cert_blob[..], &[0]].concat())),
        ),
        (
            "certificate of a family that nobody knows yet",
            format!(
                "publickey {unknown_cert} {}",
                of(&[string(unknown_cert.as_bytes()), string(b"k")].concat())
            ),
        ),
    ];
    for (what, info) in table {
        assert_eq!(only_key(info.as_bytes()), None, "{what}");
    }
}

#[test]
fn a_type_that_nobody_knows_yet_has_a_fingerprint() {
    let blob = b"\0\0\0\x06future\0\0\0\x01k\0\0\0\0";
    let info = format!("publickey future {}", STANDARD.encode(blob));
    assert_eq!(only_key(info.as_bytes()).unwrap().fingerprint, fingerprint(&[blob]));
}

#[test]
fn sizes_have_ceilings() {
    let row = &rows()[0];
    let info = format!("{}\n", row.line("publickey")).repeat(MAX_FACTORS + 5);
    assert_eq!(parse(info.as_bytes()).len(), MAX_FACTORS);

    let line = row.line("publickey") + " ";
    let padded = |length: usize| line.clone() + &"x".repeat(length - line.len());
    assert_eq!(only_key(padded(MAX_LINE).as_bytes()), Some(row.want()));
    assert_eq!(only_key(padded(MAX_LINE + 1).as_bytes()), None);

    let endless = parse(&vec![b'm'; 1 << 20]);
    assert_eq!(endless[0].method.as_bytes().len(), Foreign::MAX);
}

#[test]
fn a_cut_key_never_has_a_fingerprint() {
    for row in rows() {
        let line = row.line("publickey");
        for cut in 0..line.len() {
            let found = parse(&line.as_bytes()[..cut]);
            assert!(found.iter().all(|factor| factor.key.is_none()), "{line} cut at {cut}");
        }
        let blob = STANDARD.decode(row.base64).unwrap();
        for cut in 0..blob.len() {
            let base64 = STANDARD.encode(&blob[..cut]);
            assert_eq!(key(row.algorithm.as_bytes(), base64.as_bytes()), None, "cut at {cut}");
        }
    }
}

#[test]
fn no_changed_byte_makes_it_panic_or_gives_the_key_another_name() {
    for row in rows() {
        let info = (row.line("publickey") + "\npassword\n").into_bytes();
        for at in 0..info.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut info = info.clone();
                info[at] ^= flip;
                assert!(parse(&info).len() <= 4);
            }
        }
        // In the blob too, where a changed length leads the reader astray.
        let blob = STANDARD.decode(row.base64).unwrap();
        for at in 0..blob.len() {
            for value in [0, 1, 0x7f, 0xff, blob[at] ^ 1] {
                let mut blob = blob.clone();
                blob[at] = value;
                let found = key(row.algorithm.as_bytes(), STANDARD.encode(&blob).as_bytes());
                assert!(found.is_none_or(|key| key.algorithm == row.algorithm.into()));
            }
        }
    }
}
