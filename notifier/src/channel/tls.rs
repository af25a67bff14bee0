//! The cryptography under TLS: ring's, without what would prove to a server who we are.
//!
//! No channel has a certificate of its own, so there is no private key to read and to sign with. And
//! no library brings a provider of its own: each would carry all of it.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;

/// Sees to it that the libraries of this process find it. To be called before a client is made:
/// they panic where they find none.
pub fn prepare() {
    if CryptoProvider::get_default().is_none() {
        let provider = CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() };
        // Another thread may have been quicker, with the same.
        let _ = provider.install_default();
    }
}

/// Reads no private key.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("there are no client certificates here".into()))
    }
}
