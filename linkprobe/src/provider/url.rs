//! A large file at any HTTP server. It knows neither who we are nor takes an upload.

use ureq::http::HeaderMap;

use super::{Protocol, Request};
use crate::isp::Identity;

/// See the module.
pub struct Url;

impl Protocol for Url {
    fn name(&self) -> &'static str {
        "url"
    }

    /// A part of it (RFC 9110, 14.2). Who knows no parts sends all of it, and is left in the middle.
    fn download(&self, place: &str, bytes: u64, _nonce: u32) -> Request {
        let last = bytes.saturating_sub(1);
        Request::new(place.to_owned(), bytes).header("Range", format!("bytes=0-{last}"))
    }

    fn upload(&self, _place: &str, _bytes: u64, _nonce: u32) -> Option<Request> {
        None
    }

    fn ping(&self, place: &str, nonce: u32) -> Request {
        self.download(place, 1, nonce)
    }

    fn identity(&self, _base: &str) -> Vec<Request> {
        Vec::new()
    }

    fn read_identity(&self, _headers: &HeaderMap, _body: &[u8]) -> Option<Identity> {
        None
    }
}
