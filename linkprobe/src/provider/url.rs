//! A large file at any HTTP server. It knows neither who we are nor takes an upload.

use ureq::http::HeaderMap;

use super::{Protocol, Request};
use crate::isp::Identity;

/// See the module.
pub struct Url;

/// The least that a file has to have, in bytes, where more is asked for: what ends before the test does is asked
/// for again.
const LEAST: u64 = 1_000_000;

impl Protocol for Url {
    fn name(&self) -> &'static str {
        "url"
    }

    /// A part of it (RFC 9110, 14.2). Who knows no parts sends all of it, and is left in the middle.
    fn download(&self, place: &str, bytes: u64, _nonce: u32) -> Request {
        let last = bytes.saturating_sub(1);
        Request::new(place.to_owned(), bytes.min(LEAST)).header("Range", format!("bytes=0-{last}"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::check_download_reply;

    #[test]
    fn a_file_that_ends_before_a_long_test_does_is_asked_for_again() {
        let request = Url.download("http://192.0.2.1/file", 12_000_000, 7);
        assert_eq!(request.headers[0].1, "bytes=0-11999999");
        let has = |bytes: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-length", bytes.parse().unwrap());
            check_download_reply(&request, 206, &headers).is_ok()
        };
        assert!(has("12000000") && has("3000000") && !has("9000"));
    }
}
