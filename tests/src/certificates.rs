//! A certificate authority of the test's own, and a certificate for loopback.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

/// Paths of what [`make`] wrote.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The CA's certificate: what a client is told by `SSL_CERT_FILE`.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

/// Writes `ca.pem`, `cert.pem` and `key.pem` into `dir`: a certificate for `localhost`,
/// `127.0.0.1` and `::1`, from a new CA.
///
/// # Panics
///
/// When a file cannot be written.
#[must_use]
pub fn make(dir: &Path) -> Certificates {
    make_until(dir, 2090)
}

/// The same, of a certificate that has been good until the end of the year 2020.
///
/// # Panics
///
/// When a file cannot be written.
#[must_use]
pub fn make_expired(dir: &Path) -> Certificates {
    make_until(dir, 2021)
}

/// A certificate that is good until `year` begins.
///
/// # Panics
///
/// When a file cannot be written.
#[must_use]
pub fn make_until(dir: &Path, year: i32) -> Certificates {
    let ca_key = KeyPair::generate().expect("a key pair");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "bastion test CA");
    let ca = CertifiedIssuer::self_signed(ca, ca_key).expect("a CA certificate");

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("names for a certificate");
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().expect("a key pair");
    let certificate = params.signed_by(&key, &ca).expect("a server certificate");

    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    };
    Certificates {
        ca: write("ca.pem", ca.pem()),
        certificate: write("cert.pem", certificate.pem()),
        key: write("key.pem", key.serialize_pem()),
    }
}
