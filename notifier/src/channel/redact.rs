//! Texts of others, made fit to be shown to a person.

use std::fmt::Write as _;
use std::sync::Arc;

use super::secret::Secret;
use crate::foreign::visible;

/// Longest part of a provider's text that is shown to a person, in characters.
const MAX_SHOWN: usize = 200;

/// Makes a provider's text fit to be shown: one line, visible, not too long, and without the
/// secrets that it was sent. A provider, or a proxy before it, may answer with the request.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Arc<[Secret]>);

impl Redactor {
    /// One that takes these secrets out, also where they are percent-encoded, as a URL in an
    /// error page may be.
    #[must_use]
    pub fn new(secrets: &[Secret]) -> Self {
        let mut forms: Vec<String> = Vec::new();
        for secret in secrets {
            let encoded = percent_encoded(secret.expose());
            forms.extend([secret.expose().to_owned(), encoded.to_lowercase(), encoded]);
        }
        // The longest first: what is left of a secret of which a part was taken out is no match.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self(forms.into_iter().filter(|form| !form.is_empty()).map(Secret::new).collect())
    }

    /// `text` as it may be logged. To be given decoded text: in JSON a secret may be spelled
    /// with escapes.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        let taken_out = |text: String, secret: &Secret| text.replace(secret.expose(), "<redacted>");
        let text = visible(self.0.iter().fold(text.to_owned(), taken_out).as_bytes());
        match text.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
            None => text,
        }
    }
}

/// Every byte that is not unreserved (RFC 3986, 2.3) as `%3A`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_secret_is_taken_out() {
        let secrets = ["hunter2", "QUM6aHVudGVyMg==", ""].map(|s| Secret::new(s.into()));
        let redactor = Redactor::new(&secrets);
        let shown = redactor.shown("you sent Basic QUM6aHVudGVyMg==,\nhunter2");
        assert_eq!(shown, "you sent Basic <redacted>,\\x0a<redacted>");
        assert!(!format!("{redactor:?}").contains("hunter2"));
    }

    #[test]
    fn a_secret_is_found_in_a_url_however_it_is_written_there() {
        let redactor = Redactor::new(&[Secret::new("123:AA-b".into()), Secret::new("AA-b".into())]);
        for text in ["/bot123:AA-b/x", "/bot123%3AAA-b/x", "/bot123%3aAA-b/x", "AA-b"] {
            assert!(!redactor.shown(text).contains("AA-b"), "{text}");
        }
        assert_eq!(redactor.shown("/bot123:AA-b/x"), "/bot<redacted>/x");
    }

    #[test]
    fn a_long_text_is_cut_after_the_secret_is_out() {
        let redactor = Redactor::new(&[Secret::new("hunter2".into())]);
        let shown = redactor.shown(&format!("{}hunter2{}", "a".repeat(197), "b".repeat(300)));
        assert!(shown.ends_with("<re.."), "{shown}");
    }
}
