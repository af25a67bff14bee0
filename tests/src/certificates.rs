//! A certificate authority of the test's own, and a certificate for loopback.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

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
    make_for(dir, "bastion test CA", &["localhost", "127.0.0.1", "::1"], year)
}

/// The same for other names and addresses, by a new CA of this name. Its key is there as well, for
/// [`make_by`].
///
/// # Panics
///
/// When a file cannot be written.
#[must_use]
pub fn make_for(dir: &Path, ca_name: &str, names: &[&str], year: i32) -> Certificates {
    let key = KeyPair::generate().expect("a key pair");
    let ca = ca_params(ca_name).self_signed(&key).expect("a CA certificate");
    write(dir, "ca.pem", &ca.pem());
    write(dir, "ca-key.pem", &key.serialize_pem());
    make_by((dir, ca_name), dir, names, year)
}

/// Writes `cert.pem` and `key.pem` into `dir`, by the CA that [`make_for`] made in another, under
/// this name.
///
/// # Panics
///
/// When a file cannot be read or written.
#[expect(clippy::must_use_candidate, reason = "often called for the files alone")]
pub fn make_by(ca: (&Path, &str), dir: &Path, names: &[&str], year: i32) -> Certificates {
    let (of_ca, ca_name) = ca;
    let ca_key = std::fs::read_to_string(of_ca.join("ca-key.pem")).expect("the CA's key");
    let ca_key = KeyPair::from_pem(&ca_key).expect("a key that was made here");
    let ca = Issuer::new(ca_params(ca_name), ca_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names for a certificate");
    params.not_after = date_time_ymd(year, 1, 1);
    sign(&params, &ca, of_ca, dir)
}

/// Writes `ca.pem`, `cert.pem` and `key.pem` into `dir`, as [`make`], of a certificate that is good for so long from now.
///
/// # Panics
///
/// When a file cannot be written.
#[must_use]
pub fn make_lasting(dir: &Path, left: Duration) -> Certificates {
    let name = "bastion test CA";
    let _ = make_for(dir, name, &["127.0.0.1"], 2090);
    let ca_key = std::fs::read_to_string(dir.join("ca-key.pem")).expect("the CA's key");
    let ca =
        Issuer::new(ca_params(name), KeyPair::from_pem(&ca_key).expect("a key that was made here"));
    let mut params =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name for a certificate");
    params.not_after = (SystemTime::now() + left).into();
    sign(&params, &ca, dir, dir)
}

fn sign(
    params: &CertificateParams,
    ca: &Issuer<'_, KeyPair>,
    of_ca: &Path,
    dir: &Path,
) -> Certificates {
    let key = KeyPair::generate().expect("a key pair");
    let certificate = params.signed_by(&key, ca).expect("a server certificate");
    Certificates {
        ca: of_ca.join("ca.pem"),
        certificate: write(dir, "cert.pem", &certificate.pem()),
        key: write(dir, "key.pem", &key.serialize_pem()),
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, name);
    ca
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    path
}
