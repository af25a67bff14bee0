//! Whom to believe on a line with TLS, and who we are there.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lettre::transport::smtp::authentication::Credentials;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::channel::tls;

/// Most bytes of a `ca-file`: all the CAs of a system are a quarter of it.
const MAX_CA_FILE: u64 = 1 << 20;

/// Whom to believe and who we are, on a line with TLS.
pub(super) struct Trust {
    /// A file of CAs that are believed in the place of the system's.
    pub ca_file: Option<PathBuf>,
    pub credentials: Option<Credentials>,
}

// By hand, as what is in it must not get into a log.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

impl Trust {
    /// Made anew for each try: the CA store may have been mended since the last one.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        tls::prepare();
        let builder = ClientConfig::builder();
        let config = if let Some(path) = &self.ca_file {
            let wrong = |what: String| format!("{}: {what}", path.display());
            builder.with_root_certificates(read_roots(path).map_err(wrong)?)
        } else {
            // Its error is that there is no CA at all.
            builder.with_platform_verifier().map_err(|error| match error {
                rustls::Error::General(wrong) => wrong,
                other => other.to_string(),
            })?
        };
        Ok(Arc::new(config.with_no_client_auth()))
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.len() > MAX_CA_FILE {
        return Err("not a file of certificates".into());
    }
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate.ok().map(|certificate| roots.add(certificate));
        if !matches!(added, Some(Ok(()))) {
            return Err("no certificate in PEM".into());
        }
    }
    if roots.is_empty() { Err("no certificate in PEM".into()) } else { Ok(roots) }
}
