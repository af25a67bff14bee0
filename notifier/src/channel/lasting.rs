//! For how long the certificates of channels' servers will be believed: asked of who verifies them, by the question
//! whether he would believe them at a later time. So no certificate is taken apart here, and the end is that of the whole
//! chain.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_platform_verifier::Verifier;
use ureq::http::Uri;

use super::http::read_ca_file;
use super::tls;

/// How far it is looked: what is believed for longer has no end that matters.
const FAR: Duration = Duration::from_secs(400 * 86_400);

/// How exact the end is.
const GRAIN: Duration = Duration::from_secs(3600);

/// Longest wait for a server.
const MOST: Duration = Duration::from_secs(5);

/// Whether anybody wants to know: the sender does not.
static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// The servers that were seen since.
static SEEN: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// A server, and how its certificates are had.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    host: String,
    /// Whom to believe in the place of the system's CAs.
    ca_file: Option<PathBuf>,
    chain: Chain,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Chain {
    /// It shows them at this port.
    At(u16),
    /// It has shown them.
    Shown(Vec<CertificateDer<'static>>),
}

/// From now on servers are taken note of.
pub fn begin() {
    IS_WANTED.store(true, Ordering::Relaxed);
}

/// Takes note of a server that is talked to by HTTP.
pub(super) fn note_url(url: &str, ca_file: Option<&Path>) {
    let server = || {
        let uri: Uri = url.parse().ok()?;
        let is_secure = uri.scheme_str() == Some("https");
        let host = uri.host().filter(|_| is_secure)?.trim_matches(['[', ']']).to_owned();
        Some((host, uri.port_u16().unwrap_or(443)))
    };
    if let Some((host, port)) = server() {
        note(Server { host, ca_file: ca_file.map(Path::to_owned), chain: Chain::At(port) });
    }
}

/// Takes note of what a server has shown.
pub(super) fn note_chain(host: &str, ca_file: Option<&Path>, chain: Option<&[CertificateDer<'_>]>) {
    let Some(chain) = chain else { return };
    let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
    note(Server {
        host: host.to_owned(),
        ca_file: ca_file.map(Path::to_owned),
        chain: Chain::Shown(chain),
    });
}

fn note(server: Server) {
    if !IS_WANTED.load(Ordering::Relaxed) {
        return;
    }
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.contains(&server) {
        seen.push(server);
    }
}

/// The servers that were seen, each with how long it will be believed; `None` for one of whom that is not known, since he
/// could not be asked.
#[must_use]
pub fn left() -> Vec<(String, Option<Duration>)> {
    let seen = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    seen.iter().map(|server| (server.host.clone(), server.left())).collect()
}

impl Server {
    fn left(&self) -> Option<Duration> {
        let verifier = verifier(self.ca_file.as_deref())?;
        let name = ServerName::try_from(self.host.clone()).ok()?;
        let chain = match &self.chain {
            Chain::Shown(chain) => chain.clone(),
            Chain::At(port) => fetch(&self.host, *port, &verifier, &name).ok()?,
        };
        let (first, others) = chain.split_first()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let is_believed = |after: Duration| {
            let then = UnixTime::since_unix_epoch(now + after);
            verifier.verify_server_cert(first, others, &name, &[], then).is_ok()
        };
        last(is_believed)
    }
}

/// Who believes these CAs, or those of the system.
fn verifier(ca_file: Option<&Path>) -> Option<Arc<dyn ServerCertVerifier>> {
    tls::prepare();
    let Some(path) = ca_file else {
        let provider = rustls::crypto::CryptoProvider::get_default()?;
        return Some(Arc::new(Verifier::new(Arc::clone(provider)).ok()?));
    };
    let mut roots = RootCertStore::empty();
    for certificate in read_ca_file(path).ok()? {
        roots.add(CertificateDer::from(certificate.der().to_vec())).ok()?;
    }
    Some(WebPkiServerVerifier::builder(Arc::new(roots)).build().ok()?)
}

/// The certificates that a server shows, if they are believed now.
fn fetch(
    host: &str,
    port: u16,
    verifier: &Arc<dyn ServerCertVerifier>,
    name: &ServerName<'static>,
) -> io::Result<Vec<CertificateDer<'static>>> {
    let address =
        (host, port).to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, MOST)?;
    stream.set_read_timeout(Some(MOST))?;
    stream.set_write_timeout(Some(MOST))?;
    let config = ClientConfig::builder().dangerous();
    let config =
        config.with_custom_certificate_verifier(Arc::clone(verifier)).with_no_client_auth();
    let mut tls =
        ClientConnection::new(Arc::new(config), name.clone()).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    let chain = tls.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|one| one.clone().into_owned()).collect())
}

/// The last moment from now at which something is still so, if it is so now; at most [`FAR`].
fn last(is_so: impl Fn(Duration) -> bool) -> Option<Duration> {
    if !is_so(Duration::ZERO) {
        return None;
    }
    if is_so(FAR) {
        return Some(FAR);
    }
    let (mut good, mut bad) = (Duration::ZERO, FAR);
    while bad - good > GRAIN {
        let middle = good + (bad - good) / 2;
        if is_so(middle) { good = middle } else { bad = middle }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_by_asking() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        for end in [1, 9, 10, 89, 399] {
            let found = last(|after| after < days(end)).unwrap();
            assert!(found < days(end) && found >= days(end) - GRAIN, "{end}: {found:?}");
        }
        assert_eq!(last(|_| false), None, "it is not believed now");
        assert_eq!(last(|_| true), Some(FAR));
    }

    #[test]
    fn only_a_server_with_tls_is_taken_note_of_and_only_when_somebody_wants_it() {
        note_url("https://before.example/x", None);
        begin();
        for url in [
            "http://clear.example/",
            "https://one.example/a?b",
            "https://one.example/c",
            "https://[::1]:8443/",
            "nonsense",
        ] {
            note_url(url, None);
        }
        let seen = SEEN.lock().unwrap().clone();
        let seen: Vec<_> = seen.into_iter().map(|server| (server.host, server.chain)).collect();
        let at = |host: &str, port| (host.to_owned(), Chain::At(port));
        assert_eq!(seen, [at("one.example", 443), at("::1", 8443)]);
    }
}
