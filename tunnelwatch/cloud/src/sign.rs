//! AWS's signature (SigV4), by reqsign; of a request without a query, as those of EC2 are.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use notifier::channel::secret::Secret;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::SignRequest;
use ureq::http::Request;

/// Who signs.
pub struct Key<'a> {
    /// The key's id, which is sent.
    pub id: &'a str,
    /// The key, which is not.
    pub secret: &'a Secret,
    /// The region that is asked.
    pub region: &'a str,
}

/// The form's content type, which is signed as well.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The headers of a POST of `body` to EC2 at `url`, with those of the signature, of now.
///
/// # Errors
///
/// What of it cannot be signed.
pub fn headers(key: &Key<'_>, url: &str, body: &[u8]) -> Result<Vec<(String, String)>, String> {
    let hash: String =
        hmac_sha256::Hash::hash(body).iter().map(|byte| format!("{byte:02x}")).collect();
    // Without a hash of the body's the crate would sign that there is none, and EC2 takes that from nobody.
    let request = Request::post(url)
        .header("content-type", FORM)
        .header("x-amz-content-sha256", hash)
        .body(())
        .map_err(|error| error.to_string())?;
    let (mut parts, ()) = request.into_parts();
    let credential = Credential {
        access_key_id: key.id.to_owned(),
        secret_access_key: key.secret.expose().to_owned(),
        ..Credential::default()
    };
    let signer = RequestSigner::new("ec2", key.region);
    let context = reqsign_core::Context::new();
    let signed = signer.sign_request(&context, &mut parts, Some(&credential), None);
    at_once(signed).ok_or("the signer waits")?.map_err(|error| error.to_string())?;
    let text = |value: &ureq::http::HeaderValue| value.to_str().map(str::to_owned).ok();
    let headers = parts.headers.iter();
    Ok(headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect())
}

/// The outcome of what waits for nothing: it is async for those alone whose key is fetched from somewhere.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
